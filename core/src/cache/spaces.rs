//! The address spaces that have live translations: a small number and a generation for each.
//!
//! An entry carries its space's tag, number and generation in one word, so that a look-up compares one word, an
//! invalidation asks each live space rather than each entry, and forgetting a whole space is a step to the next
//! generation: entries of older ones are free room from then on.

use crate::arch::addr::Stage;
use crate::arch::entry::{Entry, Space};
use crate::arch::id::{Asid, StreamWorld, Vmid};
use crate::cache::scope::Scope;

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
}

const NO_SPACE: Space =
    Space { world: StreamWorld::El1, stage: Stage::S1, vmid: Vmid(0), asid: Asid(0), aset: false };

#[derive(Clone, Debug)]
pub(super) struct Spaces {
    slots: [Slot; SPACES],
    /// Bit `n` is set while space `n` has a live entry.
    live: u64,
    turn: u8,
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
        }; SPACES];
        let mut n = 0;
        while n < SPACES {
            #[expect(clippy::indexing_slicing, reason = "`n` is below the length")]
            {
                slots[n].tag = Tag(n as u32);
            }
            n += 1;
        }
        Self { slots, live: 0, turn: 0 }
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

    pub(super) fn add(&mut self, number: usize, log2_size: u8, fractured: bool) {
        self.live |= 1 << number;
        if let Some(slot) = self.slot_mut(number) {
            slot.count += 1;
            slot.fractured += u32::from(fractured);
            slot.sizes |= 1 << log2_size;
        }
    }

    pub(super) fn remove(&mut self, number: usize, fractured: bool) {
        let Some(slot) = self.slots.get_mut(number) else { return };
        slot.count = slot.count.saturating_sub(1);
        slot.fractured = slot.fractured.saturating_sub(fractured.into());
        if slot.count == 0 {
            slot.sizes = 0;
            self.live &= !(1 << number);
        }
    }

    /// Drops every entry of a space at once: how many, and whether generations have run out.
    pub(super) fn forget(&mut self, number: usize) -> (u32, bool) {
        self.live &= !(1 << number);
        let Some(slot) = self.slot_mut(number) else { return (0, false) };
        let count = core::mem::take(&mut slot.count);
        (slot.fractured, slot.sizes) = (0, 0);
        let (next, wrapped) = slot.tag.0.overflowing_add(1 << NUMBER_BITS);
        slot.tag = Tag(next);
        (count, wrapped)
    }

    /// The live spaces that a scope names, and whether any of them has fractured entries.
    #[inline]
    pub(super) fn named(&self, scope: &Scope) -> Numbers {
        let mut named = 0;
        for n in Numbers(self.live) {
            let slot = self.slot(n);
            named |= u64::from(scope.names_space(&slot.space, slot.global)) << n;
        }
        Numbers(named)
    }
}

/// Numbers of spaces, as a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Numbers(pub(super) u64);

impl Numbers {
    pub(super) const fn is_empty(self) -> bool {
        self.0 == 0
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
