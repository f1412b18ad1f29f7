//! What a device did, counted step by step: the figures of `demo`, and what tests of cost compare.

use smmuv3::{Step, Trace};

/// Counts steps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Register writes: what a VMM traps.
    pub register_writes: u64,
    /// Commands that were read from the queue.
    pub commands: u64,
    /// IOTLB slots that TLBI commands looked at.
    pub scanned: u64,
    /// IOTLB entries that TLBI commands dropped.
    pub dropped: u64,
    /// Those of them that the architecture would have let stay.
    pub excess: u64,
    /// Translations that the IOTLB answered.
    pub hits: u64,
    /// Translations that the IOTLB kept.
    pub fills: u64,
    /// Translations that it gave up for others.
    pub evictions: u64,
    /// Translation table descriptors that were read.
    pub descriptors: u64,
    /// Event records that were written.
    pub events: u64,
    /// Nobody asks which entries go: `excess` is not counted.
    pub asks_no_entries: bool,
    /// Nobody asks anything: the device may do what it does without saying so, and figures mean nothing.
    pub looks_away: bool,
}

impl Trace for Counters {
    fn step(&mut self, step: &Step) {
        match step {
            Step::RegisterWrite { .. } => self.register_writes += 1,
            Step::CommandFetch { .. } => self.commands += 1,
            Step::Invalidated { scanned, dropped, .. } => {
                self.scanned += u64::from(*scanned);
                self.dropped += u64::from(*dropped);
            }
            Step::Drop { needed, .. } => self.excess += u64::from(!needed),
            Step::Hit(_) => self.hits += 1,
            Step::Fill(_) => self.fills += 1,
            Step::Evict(_) => self.evictions += 1,
            Step::Descriptor { .. } => self.descriptors += 1,
            Step::Event(_) => self.events += 1,
            _ => {}
        }
    }

    fn watches(&self) -> bool {
        !self.looks_away
    }

    fn wants_entries(&self) -> bool {
        !(self.asks_no_entries || self.looks_away)
    }
}
