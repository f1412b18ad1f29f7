//! The logging facade: each step of a device as a record of `log`, a frame of `defmt`, both, or nothing at all.
//!
//! [`Log`] is a [`Trace`]; lend it where steps are to be read. With neither feature it is as silent as
//! [`NoTrace`](crate::NoTrace). Refused commands, lost events and global errors are warnings; commands, events and
//! interrupts are information; caches are for debugging; registers, structures and descriptors are traced.

use crate::env::trace::{Step, Trace};

/// Logs every step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Log;

/// How much a step matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Severity {
    Trace,
    Debug,
    Info,
    Warn,
}

impl Severity {
    const fn of(step: &Step) -> Self {
        match step {
            Step::CommandError(_) | Step::EventLost(_) | Step::Gerror(_) => Self::Warn,
            Step::Command(_)
            | Step::Event(_)
            | Step::Stalled(_)
            | Step::Resumed(_)
            | Step::Interrupt(_)
            | Step::Msi { .. } => Self::Info,
            Step::Fill(_)
            | Step::Evict(_)
            | Step::Drop { .. }
            | Step::Spare { .. }
            | Step::TableFill(_)
            | Step::TableDrop { .. }
            | Step::Invalidated { .. }
            | Step::DropSte { .. }
            | Step::DropCd { .. }
            | Step::Update { .. } => Self::Debug,
            _ => Self::Trace,
        }
    }
}

impl Trace for Log {
    #[inline]
    fn step(&mut self, step: &Step) {
        let severity = Severity::of(step);
        #[cfg(feature = "log")]
        log::log!(
            match severity {
                Severity::Trace => log::Level::Trace,
                Severity::Debug => log::Level::Debug,
                Severity::Info => log::Level::Info,
                Severity::Warn => log::Level::Warn,
            },
            "{step:x?}"
        );
        #[cfg(feature = "defmt")]
        match severity {
            Severity::Trace => defmt::trace!("{}", step),
            Severity::Debug => defmt::debug!("{}", step),
            Severity::Info => defmt::info!("{}", step),
            Severity::Warn => defmt::warn!("{}", step),
        }
        #[cfg(not(any(feature = "log", feature = "defmt")))]
        let _ = severity;
    }
}
