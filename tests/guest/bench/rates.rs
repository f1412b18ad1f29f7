//! How often the IOTLB answers, beside a cache of the same capacity with true least-recently-used replacement.

use core::fmt;

use super::work::IOVA;
use super::world::{Ours, Shape, World};
use super::{lru, trace};
use crate::counters::Counters;

/// The share of a trace that hits, once the caches are warm.
#[derive(Clone, Copy, Debug)]
pub struct Rate {
    /// The trace.
    pub name: &'static str,
    /// Entries of the IOTLB.
    pub capacity: u32,
    /// Of the model, in percent.
    pub ours: f64,
    /// Of true LRU, in percent.
    pub lru: f64,
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, capacity, ours, lru } = self;
        write!(f, "{name}: {ours:.1} % hit with {capacity} entries, {lru:.1} % with true LRU of as many")
    }
}

/// Points by which the model may miss true LRU.
pub const POINTS: f64 = 2.0;

/// Accesses before those that are rated, and as many again.
const LENGTH: usize = 1 << 13;
/// Traces whose hits are taken together: which pages fall into one set is luck.
const SEEDS: u64 = 8;

/// All traces, at two capacities each.
pub fn all() -> Vec<Rate> {
    let uniform = (0..SEEDS).map(|seed| trace::uniform(1024, 2 * LENGTH, seed)).collect::<Vec<_>>();
    let zipf = (0..SEEDS).map(|seed| trace::zipf(4096, 2 * LENGTH, seed)).collect::<Vec<_>>();
    [("c_uniform1024", &uniform, 256), ("c_uniform1024", &uniform, 1024)]
        .into_iter()
        .chain([("c_zipf4096", &zipf, 256), ("c_zipf4096", &zipf, 1024)])
        .map(|(name, traces, capacity)| rate(name, traces, capacity))
        .collect()
}

fn rate(name: &'static str, traces: &[Vec<u64>], capacity: u32) -> Rate {
    let percent = |hits: u64| 100.0 * hits as f64 / (traces.len() * LENGTH) as f64;
    let ours = traces.iter().map(|trace| hits(trace, capacity)).sum();
    let lru = traces.iter().map(|trace| lru::hits(trace, LENGTH, capacity as usize) as u64).sum();
    Rate { name, capacity, ours: percent(ours), lru: percent(lru) }
}

/// Hits of the model in a trace's second half.
fn hits(trace: &[u64], capacity: u32) -> u64 {
    let mut world = World::<Ours<1024, Counters>>::new(Shape::of(capacity));
    world.map_pages(IOVA, 4096);
    let mut before = 0;
    for (n, page) in trace.iter().enumerate() {
        if n == LENGTH {
            before = world.subject.trace.hits;
        }
        world.translate(IOVA + (page << 12));
    }
    world.subject.trace.hits - before
}
