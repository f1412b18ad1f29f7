//! Table descriptors on the way to leaves. They make the `Leaf` bit of an invalidation mean something: with `Leaf` = 1
//! they stay, and a later miss goes through them (§4.4.1).

use crate::arch::addr::{Granule, Level, Stage, align_down, low_mask};
use crate::arch::entry::{Space, TableEntry, TableLimits};
use crate::arch::id::{Asid, StreamWorld, Vmid};
use crate::cache::scope::{Scope, Span, Verdict};
use crate::cache::spaces::{El1, Name, Numbers};
use crate::env::trace::{Step, Trace};
use crate::format::command::Command;

const SETS: usize = 16;
const WAYS: usize = 4;
const SLOTS: usize = SETS * WAYS;

/// Up to 64 table descriptors, in 16 sets of 4.
#[derive(Clone, Debug)]
pub struct WalkCache {
    slots: [TableEntry; SLOTS],
    /// Ways are replaced in turn.
    next: u8,
    /// Bit `n` is set while slot `n` is live.
    live: u64,
    /// The table at level 2 that was found last, of each stage.
    last: [u8; 2],
    /// How often something that was kept was dropped or replaced.
    changes: u64,
    named: Named,
}

const _: () = assert!(SLOTS == 64, "a bit a slot");

/// What a command may name of all that was kept since nothing was.
#[derive(Clone, Copy, Debug)]
struct Named {
    /// The name of all their spaces, if all are of stage 1 of NS-EL1 and have the same.
    sole: Option<Name>,
    /// Bit `n` is set if the low six bits of an ASID were `n`.
    asids: u64,
    /// Likewise VMIDs.
    vmids: u64,
    /// Nothing reaches beyond this.
    extent: Span,
}

impl Named {
    const NOTHING: Self = Self { sole: None, asids: 0, vmids: 0, extent: Span { first: u64::MAX, last: 0 } };
}

const EMPTY: TableEntry = TableEntry {
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
};

impl WalkCache {
    /// Nothing remembered.
    pub(crate) const fn new() -> Self {
        Self { slots: [EMPTY; SLOTS], next: 0, live: 0, last: [0; 2], changes: 0, named: Named::NOTHING }
    }

    /// The live descriptors.
    pub fn entries(&self) -> impl Iterator<Item = &TableEntry> {
        Numbers(self.live).filter_map(|n| self.slots.get(n))
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.forget();
    }

    #[inline]
    pub(crate) fn forget(&mut self) {
        self.changes += 1;
        (self.live, self.named) = (0, Named::NOTHING);
    }

    /// How often something that was kept here was dropped or replaced.
    #[inline]
    pub(crate) const fn changes(&self) -> u64 {
        self.changes
    }

    /// The descriptor of `granule` nearest to the leaf of `input`, at level `start` or below.
    #[inline]
    pub(crate) fn find(
        &mut self,
        space: &Space,
        granule: Granule,
        start: Level,
        input: u64,
    ) -> Option<&TableEntry> {
        if self.live == 0 {
            return None;
        }
        // Most walks end in the table in which the last one did.
        let [first, second] = self.last;
        let last = usize::from(if space.stage == Stage::S1 { first } else { second });
        let is_it = self.live >> (last % SLOTS) & 1 != 0
            && start <= Level::L2
            && self.slots.get(last).is_some_and(|entry| {
                entry.level == Level::L2
                    && entry.granule == granule
                    && (entry.input ^ input) >> granule.level_shift(Level::L2) == 0
                    && entry.space == *space
            });
        let slot = if is_it { last } else { self.search(space, granule, start, input)? };
        self.slots.get(slot)
    }

    #[inline(never)]
    fn search(&mut self, space: &Space, granule: Granule, start: Level, input: u64) -> Option<usize> {
        for level in [Level::L2, Level::L1, Level::L0].into_iter().filter(|level| *level >= start) {
            let input = align_down(input, granule.level_shift(level));
            let ways = ways(granule, level, input);
            let first = ways.start;
            let (live, set) = (self.live >> first, self.slots.get(ways)?);
            let matches = |entry: &TableEntry| {
                entry.input == input
                    && entry.level == level
                    && entry.granule == granule
                    && entry.space == *space
            };
            let found = (0..).zip(set).position(|(way, entry)| live >> way & 1 != 0 && matches(entry));
            if let Some(way) = found {
                let slot = first + way;
                if level == Level::L2 {
                    let [first, second] = &mut self.last;
                    *(if space.stage == Stage::S1 { first } else { second }) = slot as u8;
                }
                return Some(slot);
            }
        }
        None
    }

    /// Keeps `entry`.
    pub fn keep(&mut self, entry: &TableEntry) {
        let ways = ways(entry.granule, entry.level, entry.input);
        let first = ways.start;
        let live = self.live >> first;
        let Some(set) = self.slots.get(ways) else { return };
        let same = |kept: &TableEntry| {
            let TableEntry { space, granule, level, input, .. } = *kept;
            (space, granule, level, input) == (entry.space, entry.granule, entry.level, entry.input)
        };
        let is_live = |way: usize| live >> way & 1 != 0;
        let way = (0..).zip(set).position(|(way, kept)| is_live(way) && same(kept));
        let way = way.or_else(|| (0..WAYS).find(|way| !is_live(*way)));
        let slot = first
            + way.unwrap_or_else(|| {
                self.next = self.next.wrapping_add(1);
                usize::from(self.next) % WAYS
            });
        if let Some(kept) = self.slots.get_mut(slot) {
            self.changes += u64::from(self.live >> slot & 1 != 0 && *kept != *entry);
            *kept = *entry;
            let Named { sole, asids, vmids, extent } = &mut self.named;
            let is_usual = entry.space.world == StreamWorld::El1 && entry.space.stage == Stage::S1;
            let name = is_usual.then_some(Name::of(&entry.space));
            if self.live == 0 {
                *sole = name;
            } else if *sole != name {
                *sole = None;
            }
            self.live |= 1 << slot;
            *asids |= 1 << (entry.space.asid.0 % 64);
            *vmids |= 1 << (entry.space.vmid.0 % 64);
            extent.first = extent.first.min(entry.input);
            extent.last = extent.last.max(entry.input | low_mask(entry.log2_size()));
        }
    }

    /// Drops what `scope` names.
    pub fn invalidate<T: Trace + ?Sized>(&mut self, scope: &Scope, by: &Command, trace: &mut T) {
        if scope.leaf_only {
            return;
        }
        for n in Numbers(self.live) {
            if let Some(entry) = self.slots.get(n)
                && scope.span.is_none_or(|span| span.intersects(entry.input, entry.log2_size()))
                && scope.table_verdict(entry) == Verdict::Drop
            {
                if trace.wants_entries() {
                    trace.step(&Step::TableDrop { by: *by, entry: *entry });
                }
                self.live &= !(1 << n);
                self.changes += 1;
            }
        }
        if self.live == 0 {
            self.forget();
        }
    }

    /// How much a command of NS-EL1 without a span names of what is kept here.
    #[inline(always)]
    pub(crate) fn named(&self, which: El1) -> Share {
        let Named { sole, asids, vmids, .. } = &self.named;
        if self.live == 0 {
            return Share::None;
        }
        match sole {
            Some(sole) => {
                let is_named = match which {
                    El1::All => true,
                    El1::Asid(name) | El1::AsidOrGlobal(name) => *sole == name,
                    El1::Vmid(stage, name) => stage.names(Stage::S1) && sole.vmid() == name.vmid(),
                };
                if is_named { Share::All } else { Share::None }
            }
            None => {
                let may_be_named = match which {
                    El1::All => true,
                    El1::Asid(name) | El1::AsidOrGlobal(name) => *asids >> (name.0 >> 16 & 63) & 1 != 0,
                    El1::Vmid(_, name) => *vmids >> (name.0 & 63) & 1 != 0,
                };
                if may_be_named { Share::Some } else { Share::None }
            }
        }
    }

    /// Whether anything that is kept here meets `span`, perhaps.
    #[inline]
    pub(crate) const fn may_meet(&self, span: &Span) -> bool {
        let Named { extent, .. } = &self.named;
        extent.first <= span.last && span.first <= extent.last
    }
}

/// A part of what is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Share {
    /// Nothing.
    None,
    /// Perhaps some.
    Some,
    /// All of it.
    All,
}

/// The slots of the set that `input` at `level` falls into: the one index function. The space plays no part in it.
fn ways(granule: Granule, level: Level, input: u64) -> core::ops::Range<usize> {
    let page = input >> granule.level_shift(level);
    let set = (page ^ page >> 4 ^ u64::from(level.number()) << 1) as usize % SETS;
    set * WAYS..(set + 1) * WAYS
}
