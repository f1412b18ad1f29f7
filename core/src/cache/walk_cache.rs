//! Table descriptors on the way to leaves. They make the `Leaf` bit of an invalidation mean something: with `Leaf` = 1
//! they stay, and a later miss goes through them (§4.4.1).

use crate::arch::addr::{Granule, Level, Stage, align_down, low_mask};
use crate::arch::entry::{Space, TableEntry, TableLimits};
use crate::arch::id::{Asid, StreamWorld, Vmid};
use crate::cache::scope::{Scope, Span, Verdict};
use crate::cache::spaces::El1;
use crate::env::trace::{Step, Trace};
use crate::format::command::Command;

const SETS: usize = 16;
const WAYS: usize = 4;

/// Up to 64 table descriptors, in 16 sets of 4.
#[derive(Clone, Debug)]
pub struct WalkCache {
    slots: [Slot; SETS * WAYS],
    /// Ways are replaced in turn.
    next: u8,
    live: u32,
    named: Named,
}

/// What a command may name of all that was kept since nothing was.
#[derive(Clone, Copy, Debug)]
struct Named {
    /// Bit `n` is set if the low six bits of an ASID were `n`.
    asids: u64,
    /// Likewise VMIDs.
    vmids: u64,
    /// Nothing reaches beyond this.
    extent: Span,
}

impl Named {
    const NOTHING: Self = Self { asids: 0, vmids: 0, extent: Span { first: u64::MAX, last: 0 } };
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    live: bool,
    entry: TableEntry,
}

const EMPTY: Slot = Slot {
    live: false,
    entry: TableEntry {
        space: Space { world: StreamWorld::El1, stage: Stage::S1, vmid: Vmid(0), asid: Asid(0), aset: false },
        granule: Granule::Kib4,
        level: Level::L0,
        input: 0,
        next: 0,
        limits: TableLimits {
            no_unprivileged: false,
            no_write: false,
            no_unprivileged_execute: false,
            no_privileged_execute: false,
        },
    },
};

impl WalkCache {
    /// Nothing remembered.
    pub(crate) const fn new() -> Self {
        Self { slots: [EMPTY; SETS * WAYS], next: 0, live: 0, named: Named::NOTHING }
    }

    /// The live descriptors.
    pub fn entries(&self) -> impl Iterator<Item = &TableEntry> {
        self.slots.iter().filter(|slot| slot.live).map(|slot| &slot.entry)
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.slots.fill(EMPTY);
        (self.live, self.named) = (0, Named::NOTHING);
    }

    /// The descriptor of `granule` nearest to the leaf of `input`, at level `start` or below.
    pub fn find(&self, space: &Space, granule: Granule, start: Level, input: u64) -> Option<&TableEntry> {
        if self.live == 0 {
            return None;
        }
        [Level::L2, Level::L1, Level::L0].into_iter().filter(|level| *level >= start).find_map(|level| {
            let input = align_down(input, granule.level_shift(level));
            let set = self.slots.get(ways(granule, level, input))?;
            let matches = |entry: &TableEntry| {
                entry.input == input
                    && entry.level == level
                    && entry.granule == granule
                    && entry.space == *space
            };
            set.iter().find(|slot| slot.live && matches(&slot.entry)).map(|slot| &slot.entry)
        })
    }

    /// Keeps `entry`.
    pub fn keep(&mut self, entry: &TableEntry) {
        let Some(set) = self.slots.get_mut(ways(entry.granule, entry.level, entry.input)) else { return };
        let same = |slot: &Slot| {
            let TableEntry { space, granule, level, input, .. } = slot.entry;
            slot.live
                && (space, granule, level, input) == (entry.space, entry.granule, entry.level, entry.input)
        };
        let way = set.iter().position(same).or_else(|| set.iter().position(|slot| !slot.live));
        let way = way.unwrap_or_else(|| {
            self.next = self.next.wrapping_add(1);
            usize::from(self.next) % WAYS
        });
        if let Some(slot) = set.get_mut(way) {
            self.live += u32::from(!slot.live);
            let Named { asids, vmids, extent } = &mut self.named;
            *asids |= 1 << (entry.space.asid.0 % 64);
            *vmids |= 1 << (entry.space.vmid.0 % 64);
            extent.first = extent.first.min(entry.input);
            extent.last = extent.last.max(entry.input | low_mask(entry.log2_size()));
            *slot = Slot { live: true, entry: *entry };
        }
    }

    /// Drops what `scope` names.
    pub fn invalidate<T: Trace + ?Sized>(&mut self, scope: &Scope, by: &Command, trace: &mut T) {
        if self.live == 0 || scope.leaf_only {
            return;
        }
        let meets = |entry: &TableEntry| {
            scope.span.is_none_or(|span| span.intersects(entry.input, entry.log2_size()))
        };
        for slot in self.slots.iter_mut().filter(|slot| slot.live && meets(&slot.entry)) {
            if scope.table_verdict(&slot.entry) == Verdict::Drop {
                trace.step(&Step::TableDrop { by: *by, entry: slot.entry });
                slot.live = false;
                self.live -= 1;
            }
        }
        if self.live == 0 {
            self.named = Named::NOTHING;
        }
    }

    /// Whether a command of NS-EL1 may have something to drop here.
    #[inline(always)]
    pub(crate) const fn may_name(&self, which: El1, span: Option<&Span>) -> bool {
        let Named { asids, vmids, extent } = &self.named;
        let named = match which {
            El1::All => true,
            El1::Asid(name) | El1::AsidOrGlobal(name) => *asids >> (name.0 >> 16 & 63) & 1 != 0,
            El1::Vmid(_, name) => *vmids >> (name.0 & 63) & 1 != 0,
        };
        let meets = match span {
            Some(span) => extent.first <= span.last && span.first <= extent.last,
            None => true,
        };
        self.live != 0 && named && meets
    }
}

/// The slots of the set that `input` at `level` falls into: the one index function. The space plays no part in it.
fn ways(granule: Granule, level: Level, input: u64) -> core::ops::Range<usize> {
    let page = input >> granule.level_shift(level);
    let set = (page ^ page >> 4 ^ u64::from(level.number()) << 1) as usize % SETS;
    set * WAYS..(set + 1) * WAYS
}
