//! Times of segments, interleaved: what disturbs the machine for a while disturbs all of them.

use core::hint::black_box;
use core::time::Duration;
use std::time::Instant;

use serde::Serialize;
use smmuv3_tests::bench::segment::Segment;
use smmuv3_tests::bench::work::Work;
use smmuv3_tests::bench::{Operation, ours, reference};

/// How long a contender runs in a round, and in how many laps at most.
const ROUND: Duration = Duration::from_millis(3);
const LAPS: u32 = 20_000;

/// Nanoseconds an operation.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Times {
    pub(crate) min: f64,
    pub(crate) median: f64,
    pub(crate) max: f64,
}

/// What is measured against others.
pub(crate) struct Contender {
    segment: Box<dyn Segment>,
    each_lap: f64,
    times: Vec<f64>,
}

impl Contender {
    fn new(segment: Box<dyn Segment>, each_lap: f64) -> Self {
        Self { segment, each_lap, times: Vec::new() }
    }

    /// The model and the reference, in this order.
    pub(crate) fn both(operation: &Operation) -> [Self; 2] {
        Self::of(operation.timed(), operation.each_lap())
    }

    /// The same, of a piece of work with so many operations a lap.
    pub(crate) fn of(work: Work, each_lap: f64) -> [Self; 2] {
        [ours(work), reference(work)].map(|segment| Self::new(segment, each_lap))
    }

    /// Laps for the time of a round; what a clock costs is taken off.
    fn run(&mut self, clock: Duration) -> f64 {
        let mut spent = Duration::ZERO;
        let mut laps = 0;
        let begun = Instant::now();
        while laps == 0 || begun.elapsed() < ROUND && laps < LAPS {
            self.segment.ready();
            let start = Instant::now();
            black_box(self.segment.run());
            spent += start.elapsed();
            laps += 1;
        }
        let net = spent.saturating_sub(clock * laps);
        net.as_secs_f64() * 1e9 / f64::from(laps) / self.each_lap
    }
}

/// Times of all, in the order in which they came.
pub(crate) fn measure(mut contenders: Vec<Contender>, rounds: u32) -> Vec<Times> {
    let clock = clock();
    let mut random = fastrand::Rng::new();
    let mut order: Vec<usize> = (0..contenders.len()).collect();
    contenders.iter_mut().for_each(|contender| {
        contender.run(clock);
    });
    for _ in 0..rounds {
        random.shuffle(&mut order);
        for at in &order {
            if let Some(contender) = contenders.get_mut(*at) {
                let time = contender.run(clock);
                contender.times.push(time);
            }
        }
    }
    contenders.iter_mut().map(|contender| summary(&mut contender.times)).collect()
}

/// The time between two looks at the clock with nothing between them: the least of many.
fn clock() -> Duration {
    (0..10_000).map(|_| Instant::now().elapsed()).min().unwrap_or_default()
}

fn summary(times: &mut [f64]) -> Times {
    times.sort_by(f64::total_cmp);
    let at = |place: usize| times.get(place).copied().unwrap_or(f64::NAN);
    Times { min: at(0), median: at(times.len() / 2), max: at(times.len().saturating_sub(1)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle() {
        let times = summary(&mut [3.0, 1.0, 9.0, 2.0, 5.0]);
        assert_eq!([times.min, times.median, times.max], [1.0, 3.0, 9.0]);
        let one = summary(&mut [4.0]);
        assert_eq!([one.min, one.median, one.max], [4.0; 3]);
    }
}
