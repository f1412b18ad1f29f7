//! The address spaces that have live translations: a small number and a generation for each.
//!
//! An entry carries its space's tag, number and generation in one word, so that a look-up compares one word, an
//! invalidation asks about spaces rather than entries, and forgetting a whole space is a step to the next
//! generation: entries of older ones are free room from then on.
//!
//! Sets of spaces are words of 64 bits, ready by StreamWorld, stage, ASID and VMID: what a command names is their
//! intersection. Each space knows the extent of all that was kept in it since it was empty, so that a span outside of
//! it costs nothing, and one around it forgets the space.

use crate::arch::addr::{Stage, low_mask};
use crate::arch::entry::{Entry, Space};
use crate::arch::id::{Asid, StreamWorld, Vmid};
use crate::cache::scope::{AsidScope, Regime, Scope, Span, Stages, VmidScope};

/// Address spaces that can have live translations at once; a further one takes the place of another.
pub(super) const SPACES: usize = 64;
const NUMBER_BITS: u32 = SPACES.trailing_zeros();

/// A space's number and generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tag(pub(super) u32);

impl Tag {
    pub(super) const fn number(self) -> usize {
        self.0 as usize % SPACES
    }
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Slot {
    space: Space,
    /// The entries that every ASID finds, under ASID 0.
    global: bool,
    tag: Tag,
    /// Live entries.
    pub(super) count: u32,
    /// Those smaller than their own stage's leaf: an address inside the leaf does not lead to them.
    pub(super) fractured: u32,
    /// Bit `s` is set if an entry of `2^s` bytes is live; cleared only when none is.
    pub(super) sizes: u64,
    /// Spreads spaces over sets.
    pub(super) spread: u32,
    /// No leaf that was kept since the space was empty reaches beyond this.
    extent: Span,
}

/// The extent of an empty space: nothing is between its first address and its last.
const NOWHERE: Span = Span { first: u64::MAX, last: 0 };

const NO_SPACE: Space =
    Space { world: StreamWorld::El1, stage: Stage::S1, vmid: Vmid(0), asid: Asid(0), aset: false };

#[derive(Clone, Debug)]
pub(super) struct Spaces {
    slots: [Slot; SPACES],
    /// Bit `n` is set while space `n` has a live entry.
    live: u64,
    sets: Sets,
    turn: u8,
}

/// The live spaces by what a command may name. An empty space is in none of these sets.
#[derive(Clone, Debug)]
struct Sets {
    worlds: [u64; 3],
    stage2: u64,
    global: u64,
    /// By [`bucket`].
    asids: [u64; BUCKETS],
    vmids: [u64; BUCKETS],
}

const BUCKETS: usize = 16;

/// Where an ASID or VMID is looked for; others may be there too.
const fn bucket(id: u16) -> usize {
    (id ^ id >> 4 ^ id >> 8 ^ id >> 12) as usize % BUCKETS
}

impl Sets {
    const fn new() -> Self {
        Self { worlds: [0; 3], stage2: 0, global: 0, asids: [0; BUCKETS], vmids: [0; BUCKETS] }
    }

    fn change(&mut self, space: &Space, global: bool, change: impl Fn(&mut u64)) {
        let Self { worlds, stage2, global: globals, asids, vmids } = self;
        let words = [
            worlds.get_mut(space.world as usize),
            (space.stage == Stage::S2).then_some(stage2),
            global.then_some(globals),
            asids.get_mut(bucket(space.asid.0)),
            vmids.get_mut(bucket(space.vmid.0)),
        ];
        words.into_iter().flatten().for_each(change);
    }

    #[inline]
    fn world(&self, world: StreamWorld) -> u64 {
        self.worlds.get(world as usize).copied().unwrap_or(0)
    }

    /// Spaces whose entries have no ASID.
    #[inline]
    fn bare(&self) -> u64 {
        self.stage2 | self.world(StreamWorld::El2)
    }

    #[inline]
    fn asid(&self, asid: Asid) -> u64 {
        self.asids.get(bucket(asid.0)).copied().unwrap_or(0) | self.bare()
    }

    /// All that a command can name, and of ASIDs and VMIDs perhaps others.
    #[inline]
    fn named(&self, regime: Regime, stage: Stages, vmid: Option<VmidScope>, asid: AsidScope) -> u64 {
        let world = match regime {
            Regime::One(world) => self.world(world),
            Regime::AnyEl2 => self.world(StreamWorld::El2) | self.world(StreamWorld::El2E2h),
        };
        let stage = match stage {
            Stages::S1 => !self.stage2,
            Stages::S2 => self.stage2,
            Stages::Both => u64::MAX,
        };
        let asid = match asid {
            AsidScope::Any => u64::MAX,
            AsidScope::Only(asid) => self.asid(asid) & !self.global,
            AsidScope::OrGlobal(asid) => self.asid(asid) | self.global,
        };
        let vmid = match vmid {
            Some(VmidScope { vmid, ignored_bits: 0 }) => self.vmids.get(bucket(vmid.0)).copied().unwrap_or(0),
            _ => u64::MAX,
        };
        world & stage & asid & vmid
    }
}

/// The key of an entry's space: global entries have no ASID, and where there is none nothing is global.
pub(super) fn key(entry: &Entry) -> (Space, bool) {
    let global = entry.global && has_asid(&entry.space);
    (if global { Space { asid: Asid(0), ..entry.space } } else { entry.space }, global)
}

pub(super) const fn has_asid(space: &Space) -> bool {
    matches!(space.stage, Stage::S1) && !matches!(space.world, StreamWorld::El2)
}

impl Spaces {
    pub(super) const fn new() -> Self {
        let mut slots = [Slot {
            space: NO_SPACE,
            global: false,
            tag: Tag(0),
            count: 0,
            fractured: 0,
            sizes: 0,
            spread: 0,
            extent: NOWHERE,
        }; SPACES];
        let mut n = 0;
        while n < SPACES {
            #[expect(clippy::indexing_slicing, reason = "`n` is below the length")]
            {
                slots[n].tag = Tag(n as u32);
            }
            n += 1;
        }
        Self { slots, live: 0, sets: Sets::new(), turn: 0 }
    }

    /// Live entries over all spaces.
    pub(super) fn total(&self) -> u32 {
        Numbers(self.live).filter_map(|n| self.slots.get(n)).map(|slot| slot.count).sum()
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.live == 0
    }

    #[inline]
    pub(super) fn slot(&self, number: usize) -> &Slot {
        let [first, ..] = &self.slots;
        self.slots.get(number).unwrap_or(first)
    }

    #[inline]
    fn slot_mut(&mut self, number: usize) -> Option<&mut Slot> {
        self.slots.get_mut(number)
    }

    /// The number of a space with live entries.
    #[inline]
    pub(super) fn find(&self, space: &Space, global: bool) -> Option<usize> {
        Numbers(self.live).find(|n| {
            let slot = self.slot(*n);
            slot.space == *space && slot.global == global
        })
    }

    /// The number of a space, made room for if it has none: then a space without entries goes, or one in turn with all it
    /// has. Then whether one was made to go, and whether generations have run out and old entries have to be swept.
    pub(super) fn intern(&mut self, space: &Space, global: bool) -> (usize, bool, bool) {
        if let Some(number) = self.find(space, global) {
            return (number, false, false);
        }
        let free = (!self.live).trailing_zeros() as usize;
        let (number, mut wrapped) = if free < SPACES {
            (free, false)
        } else {
            self.turn = self.turn.wrapping_add(1);
            let number = usize::from(self.turn) % SPACES;
            (number, self.forget(number).1)
        };
        let words = u64::from(space.asid.0)
            | u64::from(space.vmid.0) << 16
            | (space.world as u64) << 32
            | (space.stage as u64) << 34
            | u64::from(space.aset) << 35
            | u64::from(global) << 36;
        if let Some(slot) = self.slot_mut(number) {
            // A tag never comes to mean another space: whoever remembers it finds it out of date.
            if (slot.space, slot.global) != (*space, global) && !wrapped {
                let (next, over) = slot.tag.0.overflowing_add(1 << NUMBER_BITS);
                (slot.tag, wrapped) = (Tag(next), over);
            }
            slot.space = *space;
            slot.global = global;
            slot.spread = (words.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as u32;
        }
        (number, free >= SPACES, wrapped)
    }

    #[inline]
    pub(super) fn tag(&self, number: usize) -> Tag {
        self.slot(number).tag
    }

    /// Whether entries with this tag are live.
    #[inline]
    pub(super) fn is_current(&self, tag: Tag) -> bool {
        self.slot(tag.number()).tag == tag
    }

    pub(super) fn space(&self, number: usize) -> (Space, bool) {
        let slot = self.slot(number);
        (slot.space, slot.global)
    }

    /// An entry of the space has come.
    #[inline]
    pub(super) fn add(&mut self, number: usize, entry: &Entry) {
        let (start, log2_leaf) = entry.leaf_span();
        let Some(slot) = self.slots.get_mut(number) else { return };
        if slot.count == 0 {
            self.enter(number);
        }
        let Some(slot) = self.slots.get_mut(number) else { return };
        slot.count += 1;
        slot.fractured += u32::from(log2_leaf > entry.log2_size.into());
        slot.sizes |= 1 << entry.log2_size;
        slot.extent.first = slot.extent.first.min(start);
        slot.extent.last = slot.extent.last.max(start | low_mask(log2_leaf));
    }

    /// An entry of the space has gone.
    #[inline]
    pub(super) fn remove(&mut self, number: usize, fractured: bool) {
        let Some(slot) = self.slots.get_mut(number) else { return };
        slot.count = slot.count.saturating_sub(1);
        slot.fractured = slot.fractured.saturating_sub(fractured.into());
        if slot.count == 0 {
            self.leave(number);
        }
    }

    /// Drops every entry of a space at once: how many, and whether generations have run out.
    #[inline]
    pub(super) fn forget(&mut self, number: usize) -> (u32, bool) {
        self.leave(number);
        let Some(slot) = self.slots.get_mut(number) else { return (0, false) };
        let count = core::mem::take(&mut slot.count);
        let (next, wrapped) = slot.tag.0.overflowing_add(1 << NUMBER_BITS);
        slot.tag = Tag(next);
        (count, wrapped)
    }

    /// The space has its first entry: commands find it by its name.
    #[cold]
    #[inline(never)]
    fn enter(&mut self, number: usize) {
        self.live |= 1 << number;
        if let Some(slot) = self.slots.get(number) {
            self.sets.change(&slot.space, slot.global, |set| *set |= 1 << number);
        }
    }

    /// The space has no entry any more, no name that a command could find, and no extent.
    #[inline(never)]
    fn leave(&mut self, number: usize) {
        self.live &= !(1 << number);
        if let Some(slot) = self.slots.get_mut(number) {
            (slot.fractured, slot.sizes, slot.extent) = (0, 0, NOWHERE);
            self.sets.change(&slot.space, slot.global, |set| *set &= !(1 << number));
        }
    }

    /// The live spaces that a scope names.
    #[inline]
    pub(super) fn named(&self, scope: &Scope) -> Numbers {
        self.named_by(scope.regime, scope.stage, scope.vmid, scope.asid)
    }

    /// The live spaces of a StreamWorld, stage, VMID and ASID.
    #[inline]
    pub(super) fn named_by(
        &self,
        regime: Regime,
        stage: Stages,
        vmid: Option<VmidScope>,
        asid: AsidScope,
    ) -> Numbers {
        let mut named = self.sets.named(regime, stage, vmid, asid);
        if vmid.is_none() && asid == AsidScope::Any {
            return Numbers(named);
        }
        let bare = self.sets.bare();
        for n in Numbers(named) {
            let slot = self.slot(n);
            let is_other = match asid {
                AsidScope::Only(asid) | AsidScope::OrGlobal(asid) => {
                    slot.space.asid != asid && !slot.global && bare >> n & 1 == 0
                }
                AsidScope::Any => false,
            };
            if is_other || vmid.is_some_and(|vmid| !vmid.names(slot.space.vmid)) {
                named &= !(1 << n);
            }
        }
        Numbers(named)
    }
}

impl Slot {
    #[inline]
    pub(super) const fn stage(&self) -> Stage {
        self.space.stage
    }

    /// Whether no entry of the space meets `span`.
    #[inline]
    pub(super) const fn misses(&self, span: &Span) -> bool {
        self.extent.first > span.last || self.extent.last < span.first
    }

    /// What `span` and the entries of the space may have in common, if they have anything.
    #[inline]
    pub(super) const fn clip(&self, span: &Span) -> Span {
        let Span { first, last } = self.extent;
        Span {
            first: if span.first > first { span.first } else { first },
            last: if span.last < last { span.last } else { last },
        }
    }

    /// Whether every entry of the space is inside `span`.
    #[inline]
    pub(super) const fn is_inside(&self, span: &Span) -> bool {
        span.first <= self.extent.first && self.extent.last <= span.last
    }
}

/// Numbers of spaces, as a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Numbers(pub(super) u64);

impl Numbers {
    pub(super) const NONE: Self = Self(0);

    pub(super) const fn is_empty(self) -> bool {
        self.0 == 0
    }

    #[inline]
    pub(super) const fn contains(self, number: usize) -> bool {
        self.0 >> (number % SPACES) & 1 != 0
    }

    #[inline]
    pub(super) const fn insert(&mut self, number: usize) {
        self.0 |= 1 << (number % SPACES);
    }
}

impl Iterator for Numbers {
    type Item = usize;

    #[inline]
    fn next(&mut self) -> Option<usize> {
        if self.0 == 0 {
            return None;
        }
        let number = self.0.trailing_zeros() as usize;
        self.0 &= self.0 - 1;
        Some(number)
    }
}
