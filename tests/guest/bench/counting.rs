//! Instructions of an operation, as callgrind counts them.
//!
//! Callgrind counts what happens between entry to and exit from one function, and nothing else: tables are built and queue
//! memory is written outside.

use core::hint::black_box;

use super::segment::Segment;

/// Laps before the first one that is counted: caches are then in their steady state.
const WARM_UP: u64 = 2;

/// What callgrind toggles at. No other function may have a name that contains it.
pub const TOGGLE: &str = "*segment_that_callgrind_counts*";

/// Runs `laps` laps of a segment so that callgrind counts them.
pub fn run(segment: &mut dyn Segment, laps: u64) {
    for _ in 0..WARM_UP.min(laps) {
        segment.ready();
        black_box(segment.run());
    }
    for _ in 0..laps {
        segment.ready();
        black_box(segment_that_callgrind_counts(segment));
    }
}

#[inline(never)]
fn segment_that_callgrind_counts(segment: &mut dyn Segment) -> u64 {
    segment.run()
}
