//! Who watches a device: counts its steps, and holds what each says against what it must.

use smmuv3::{Command, Features, Step, Trace};

use crate::event;

/// What happened during one call.
#[derive(Clone, Debug)]
pub struct Watch {
    features: Features,
    /// Whether every entry that goes is asked for: another way through the device, with the same result.
    pub asks_for_entries: bool,
    /// How many steps are left to this call.
    allowance: u32,
    /// Commands that were executed, as they lay in the queue.
    pub executed: Vec<[u64; 2]>,
    fetched: Option<[u64; 2]>,
    /// Where the last STE was read.
    pub ste: Option<u64>,
    /// The last event record that was written.
    pub recorded: Option<[u64; 4]>,
    /// Messages that were written.
    pub messages: u32,
    /// Entries that had to make room for others, since the last reset.
    pub evicted: u32,
}

impl Watch {
    /// Watches a device with `features`.
    pub const fn new(features: Features) -> Self {
        Self {
            features,
            asks_for_entries: false,
            allowance: 0,
            executed: Vec::new(),
            fetched: None,
            ste: None,
            recorded: None,
            messages: 0,
            evicted: 0,
        }
    }

    /// A new call begins, which may take so many steps: a further one is unbounded work.
    pub fn begin(&mut self, steps: u32) {
        self.allowance = steps;
        self.executed.clear();
        self.fetched = None;
        self.ste = None;
        self.recorded = None;
        self.messages = 0;
    }
}

impl Trace for Watch {
    fn step(&mut self, step: &Step) {
        assert!(self.allowance != 0, "unbounded work: more steps than one call may take");
        self.allowance -= 1;
        match step {
            Step::CommandFetch { words, .. } => self.fetched = Some(*words),
            Step::Command(command) => {
                let again = Command::decode(command.encode(), &self.features);
                assert_eq!(again, Ok(*command), "decode is not the inverse of encode");
                self.executed.extend(self.fetched.take());
            }
            Step::Event(record) => self.recorded = event::check(record),
            Step::Ste { address, .. } => self.ste = Some(address.0),
            Step::Msi { .. } => self.messages += 1,
            Step::Evict(_) => self.evicted += 1,
            _ => {}
        }
    }

    fn wants_entries(&self) -> bool {
        self.asks_for_entries
    }
}
