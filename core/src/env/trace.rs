//! The one seam through which a device is watched.
//!
//! Every step is told as a value: registers, commands, structures, descriptors, cache fills, hits, evictions and
//! invalidations with the command that caused them, events, interrupts. Logs, statistics, golden files, a VMM's
//! downstream caches and the browser page all hang on it. [`NoTrace`] compiles to nothing.

use crate::arch::addr::{Level, Pa, Stage};
use crate::arch::entry::{Entry, TableEntry};
use crate::arch::id::{Stag, StreamId, SubstreamId};
use crate::env::interrupt::Interrupt;
use crate::format::command::{AtcInvalidation, Command, PageResponse};
use crate::format::event::{Event, PageHint};

/// Why an invalidation leaves an entry alone: the first predicate that does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Reason {
    /// Another StreamWorld.
    Regime,
    /// The command names the other stage, or the entry combines both and the command names stage 2 alone.
    Stage,
    /// Another VMID.
    Vmid,
    /// Another ASID.
    Asid,
    /// A global entry, which a command by ASID need not drop.
    Global,
    /// The spans do not intersect.
    Span,
    /// Another granule than `TG`.
    Granule,
    /// Another level than `TTL`.
    Level,
    /// A table descriptor, and `Leaf` is 1.
    Leaf,
}

/// Why command consumption stopped (`CMDQ_CONS.ERR`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum CommandError {
    /// CERROR_ILL: an illegal command.
    Illegal,
    /// CERROR_ABT: an external abort on the read of a command.
    Abort,
    /// CERROR_ATC_INV_SYNC: an earlier CMD_ATC_INV timed out.
    AtcInvSync,
}

/// How a device answered CMD_ATC_INV.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum AtcCompletion {
    /// It did, or answered Unsupported Request: there is nothing to invalidate.
    #[default]
    Done,
    /// It did not: the next CMD_SYNC reports CERROR_ATC_INV_SYNC.
    TimedOut,
}

/// One step of the device.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Step {
    /// A register was written; the value is what the guest wrote.
    RegisterWrite {
        /// Offset from page 0.
        offset: u32,
        /// 4 or 8 bytes.
        size: u8,
        /// What was written.
        value: u64,
    },
    /// A command was read from the queue.
    CommandFetch {
        /// Its slot.
        index: u32,
        /// Its address.
        address: Pa,
        /// Its 16 bytes.
        words: [u64; 2],
    },
    /// A command is executed.
    Command(Command),
    /// Command consumption stops.
    CommandError(CommandError),
    /// A level 1 stream table descriptor was read.
    L1Std {
        /// For which StreamID.
        stream: StreamId,
        /// Its address.
        address: Pa,
        /// Its 8 bytes.
        word: u64,
    },
    /// A stream table entry was read.
    Ste {
        /// For which StreamID.
        stream: StreamId,
        /// Its address.
        address: Pa,
        /// Its 64 bytes.
        words: [u64; 8],
    },
    /// A level 1 CD descriptor was read.
    L1Cd {
        /// For which StreamID.
        stream: StreamId,
        /// And which of its substreams.
        substream: SubstreamId,
        /// Its address.
        address: Pa,
        /// Its 8 bytes.
        word: u64,
    },
    /// A context descriptor was read.
    Cd {
        /// For which StreamID.
        stream: StreamId,
        /// And which of its substreams.
        substream: SubstreamId,
        /// Its address.
        address: Pa,
        /// Its 64 bytes.
        words: [u64; 8],
    },
    /// A translation table descriptor was read.
    Descriptor {
        /// Of which stage.
        stage: Stage,
        /// At which level.
        level: Level,
        /// Its address.
        address: Pa,
        /// Its 8 bytes.
        word: u64,
    },
    /// A translation table descriptor was updated by hardware (§3.13).
    Update {
        /// Of which stage.
        stage: Stage,
        /// Its address.
        address: Pa,
        /// What it holds now.
        word: u64,
    },
    /// The IOTLB answered.
    Hit(Entry),
    /// The IOTLB keeps a translation.
    Fill(Entry),
    /// The IOTLB gave up a translation to make room.
    Evict(Entry),
    /// A command dropped a translation.
    Drop {
        /// The command.
        by: Command,
        /// What it dropped.
        entry: Entry,
        /// Whether the architecture demands it; otherwise it was dropped in excess.
        needed: bool,
    },
    /// A command left a translation alone. Told only if [`Trace::wants_spared`].
    Spare {
        /// The command.
        by: Command,
        /// What it spared.
        entry: Entry,
        /// Why.
        reason: Reason,
    },
    /// The walk cache answered.
    TableHit(TableEntry),
    /// The walk cache keeps a table descriptor.
    TableFill(TableEntry),
    /// A command dropped a table descriptor.
    TableDrop {
        /// The command.
        by: Command,
        /// What it dropped.
        entry: TableEntry,
    },
    /// A TLBI command has been applied to all caches.
    Invalidated {
        /// The command.
        by: Command,
        /// IOTLB slots that were looked at.
        scanned: u32,
        /// IOTLB entries that were dropped.
        dropped: u32,
    },
    /// A command dropped a kept STE.
    DropSte {
        /// The command.
        by: Command,
        /// Whose.
        stream: StreamId,
    },
    /// A command dropped a kept CD.
    DropCd {
        /// The command.
        by: Command,
        /// Whose.
        stream: StreamId,
        /// Which of its substreams.
        substream: SubstreamId,
    },
    /// An event was written to the event queue.
    Event(Event),
    /// A page hint was written to the event queue.
    PageHint(PageHint),
    /// A page request was written to the PRI queue.
    PageRequest {
        /// Whose.
        stream: StreamId,
        /// Its 16 bytes.
        words: [u64; 2],
    },
    /// An event was lost: the queue was not writable.
    EventLost(Event),
    /// A transaction waits for CMD_RESUME.
    Stalled(Stag),
    /// A stalled transaction goes on, or ends.
    Resumed(Stag),
    /// A wired interrupt was pulsed.
    Interrupt(Interrupt),
    /// A message-signalled interrupt was written.
    Msi {
        /// Where.
        address: Pa,
        /// What.
        data: u32,
        /// Shareability: 0 N, 2 O, 3 I.
        sh: u8,
        /// Memory type, encoded as `STE.MemAttr`.
        attributes: u8,
    },
    /// Bits of `GERROR` became active.
    Gerror(u32),
}

/// Told every step.
pub trait Trace {
    /// One step, in the order in which the device takes them.
    fn step(&mut self, step: &Step);

    /// CMD_ATC_INV for a device behind the SMMU: the watcher passes it on, and says how the device answered.
    fn invalidate_atc(&mut self, _invalidation: &AtcInvalidation) -> AtcCompletion {
        AtcCompletion::Done
    }

    /// CMD_PRI_RESP for a device behind the SMMU.
    fn respond_to_page_request(
        &mut self,
        _stream: StreamId,
        _substream: Option<SubstreamId>,
        _group: u16,
        _response: PageResponse,
    ) {
    }

    /// Whether anybody is told anything. Where nobody is, steps are not even made up; results do not change.
    #[inline]
    fn watches(&self) -> bool {
        true
    }

    /// Whether [`Step::Drop`] and [`Step::TableDrop`] are worth the look at each entry that they cost; otherwise they are not
    /// told, and a command that names whole address spaces forgets them at once.
    #[inline]
    fn wants_entries(&self) -> bool {
        true
    }

    /// Whether [`Step::Spare`] is worth the full scan that it costs.
    fn wants_spared(&self) -> bool {
        false
    }
}

/// Nobody watches; costs nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NoTrace;

impl Trace for NoTrace {
    #[inline(always)]
    fn step(&mut self, _: &Step) {}

    #[inline(always)]
    fn watches(&self) -> bool {
        false
    }

    #[inline(always)]
    fn wants_entries(&self) -> bool {
        false
    }
}
