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

/// A space's number `[5:0]` and generation `[13:6]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tag(u16);

impl Tag {
    pub(super) const BITS: u32 = 14;

    /// The tag in the low bits of `word`.
    #[inline]
    pub(super) const fn from_word(word: u64) -> Self {
        Self((word & ((1 << Self::BITS) - 1)) as u16)
    }

    #[inline]
    pub(super) const fn word(self) -> u64 {
        self.0 as u64
    }

    #[inline]
    pub(super) const fn number(self) -> usize {
        self.0 as usize % SPACES
    }

    /// The next generation, and whether that is the first once more.
    const fn next(self) -> (Self, bool) {
        let next = Self::from_word(self.word() + (1 << NUMBER_BITS));
        (next, next.0 >> NUMBER_BITS == 0)
    }
}

/// A space that has a number, for as long as the number stands for it; generations do not matter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SpaceRef {
    number: u8,
    name: u64,
}

impl SpaceRef {
    /// Stands for no space.
    const NONE: Self = Self { number: 0, name: u64::MAX };
}

/// The two spaces that a context looks in: its own, and that of the entries which every ASID finds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SpaceRefs {
    pub(super) own: SpaceRef,
    pub(super) global: SpaceRef,
    /// How many names had been given when they were looked for.
    pub(super) names: u64,
}

impl SpaceRefs {
    /// Nothing is known of either.
    pub(crate) const NONE: Self = Self { own: SpaceRef::NONE, global: SpaceRef::NONE, names: 0 };
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Slot {
    space: Space,
    /// The entries that every ASID finds, under ASID 0.
    global: bool,
    /// Another one whenever the number is given to another space; 0 before the first.
    name: u64,
    tag: Tag,
    /// Live entries.
    pub(super) count: u32,
    /// Those smaller than their own stage's leaf: an address inside the leaf does not lead to them.
    pub(super) fractured: u32,
    /// Bit `s` is set if an entry of `2^s` bytes is live; cleared only when none is.
    pub(super) sizes: u64,
}

const NO_SPACE: Space =
    Space { world: StreamWorld::El1, stage: Stage::S1, vmid: Vmid(0), asid: Asid(0), aset: false };

#[derive(Clone, Debug)]
pub(super) struct Spaces {
    slots: [Slot; SPACES],
    /// Bit `n` is set while space `n` has a live entry.
    live: u64,
    /// Bit `n` is set once number `n` stands for a space.
    named: u64,
    /// How many names have been given.
    names: u64,
    /// The number that was asked for last.
    last: u8,
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
            name: 0,
            tag: Tag(0),
            count: 0,
            fractured: 0,
            sizes: 0,
        }; SPACES];
        let mut n = 0;
        while n < SPACES {
            #[expect(clippy::indexing_slicing, reason = "`n` is below the length")]
            {
                slots[n].tag = Tag(n as u16);
            }
            n += 1;
        }
        Self { slots, live: 0, named: 0, names: 0, last: 0, turn: 0 }
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
        self.slots.get(number % SPACES).unwrap_or(first)
    }

    #[inline]
    fn slot_mut(&mut self, number: usize) -> Option<&mut Slot> {
        self.slots.get_mut(number)
    }

    /// The number of a space with live entries.
    #[inline]
    pub(super) fn find(&mut self, space: &Space, global: bool) -> Option<usize> {
        let live = Numbers(self.live);
        let number = self.search(live, space, global)?;
        (live.0 >> number & 1 != 0).then_some(number)
    }

    /// The number that stands for a space: the one that was asked for last, or one of `numbers`.
    #[inline]
    fn search(&mut self, mut numbers: Numbers, space: &Space, global: bool) -> Option<usize> {
        let is_it = |slot: &Slot| slot.space == *space && slot.global == global && slot.name != 0;
        let last = usize::from(self.last);
        if is_it(self.slot(last)) {
            return Some(last);
        }
        let number = numbers.find(|n| is_it(self.slot(*n)))?;
        self.last = number as u8;
        Some(number)
    }

    /// The number of a space, made room for if it has none: then a number that stands for nothing is taken, or one without
    /// entries, or one in turn with all it has. Then whether one was made to go, and whether generations have run out and
    /// old entries have to be swept.
    #[inline]
    pub(super) fn intern(&mut self, space: &Space, global: bool) -> (usize, bool, bool) {
        match self.search(Numbers(self.named), space, global) {
            Some(number) => (number, false, false),
            None => self.name(space, global),
        }
    }

    #[cold]
    #[inline(never)]
    fn name(&mut self, space: &Space, global: bool) -> (usize, bool, bool) {
        let free = match (!self.named).trailing_zeros() {
            64 => (!self.live).trailing_zeros(),
            free => free,
        } as usize;
        let (number, mut wrapped) = if free < SPACES {
            (free, false)
        } else {
            self.turn = self.turn.wrapping_add(1);
            let number = usize::from(self.turn) % SPACES;
            (number, self.forget(number).1)
        };
        self.named |= 1 << number;
        self.names += 1;
        if let Some(slot) = self.slots.get_mut(number) {
            // A tag never comes to mean another space: whoever remembers it finds it out of date.
            if !wrapped {
                (slot.tag, wrapped) = slot.tag.next();
            }
            slot.space = *space;
            slot.global = global;
            slot.name = self.names;
        }
        (number, free >= SPACES, wrapped)
    }

    /// What stands for a space, if it has a number, live or not.
    pub(super) fn find_reference(&mut self, space: &Space, global: bool) -> SpaceRef {
        let number = self.search(Numbers(self.named), space, global);
        number.map_or(SpaceRef::NONE, |number| self.reference(number))
    }

    /// What stands for the space of `number` from now on.
    #[inline]
    pub(super) fn reference(&self, number: usize) -> SpaceRef {
        SpaceRef { number: (number % SPACES) as u8, name: self.slot(number).name }
    }

    /// How many names have been given: another number means that a space without one may have one now.
    #[inline]
    pub(super) const fn names(&self) -> u64 {
        self.names
    }

    /// The number of a space, as long as it has one.
    #[inline]
    pub(super) fn resolve(&self, space: SpaceRef) -> Option<usize> {
        let number = usize::from(space.number);
        (self.slot(number).name == space.name).then_some(number)
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
        let wrapped;
        (slot.tag, wrapped) = slot.tag.next();
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
