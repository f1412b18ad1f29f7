//! Who watches a device: counts its steps, and holds what each says against what it must.

use smmuv3::{Step, Trace};

use crate::event;

/// What happened during one call.
#[derive(Clone, Debug, Default)]
pub struct Watch {
    /// Whether anybody watches, and asks for every entry that goes: other ways through the device, with the same results.
    pub is_watching: bool,
    /// How many steps are left to this call.
    allowance: u32,
    /// Where the last STE was read.
    pub ste: Option<u64>,
}

impl Watch {
    /// A new call begins, which may take so many steps: a further one is unbounded work.
    pub fn begin(&mut self, steps: u32) {
        self.allowance = steps;
        self.ste = None;
    }
}

impl Trace for Watch {
    fn step(&mut self, step: &Step) {
        assert!(self.allowance != 0, "unbounded work: more steps than one call may take");
        self.allowance -= 1;
        match step {
            Step::Event(record) => {
                event::check(record);
            }
            Step::Ste { address, .. } => self.ste = Some(address.0),
            _ => {}
        }
    }

    fn watches(&self) -> bool {
        self.is_watching
    }

    fn wants_entries(&self) -> bool {
        self.is_watching
    }
}
