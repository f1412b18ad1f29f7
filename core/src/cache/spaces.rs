//! The address spaces that have live translations: a small number and a generation for each.
//!
//! An entry carries its space's tag, number and generation in one word, so that a look-up compares one word, an
//! invalidation asks about spaces rather than entries, and forgetting a whole space is a step to the next
//! generation: entries of older ones are free room from then on.
//!
//! Sets of spaces are words of 64 bits, those of NS-EL1 ready by stage, ASID and VMID: what a command names is at hand
//! without asking each space. Each space knows the extent of all that was kept in it since it was empty, so that a span outside of
//! it costs nothing, and one around it forgets the space.

use crate::arch::addr::{Stage, low_mask};
use crate::arch::entry::{Entry, Space};
use crate::arch::id::{Asid, StreamWorld, Vmid};
use crate::cache::scope::{Scope, Span, Stages};

/// Address spaces that can have live translations at once; a further one takes the place of another.
pub(super) const SPACES: usize = 64;
const NUMBER_BITS: u32 = SPACES.trailing_zeros();

/// A space's number `[5:0]` and generation `[16:6]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tag(u32);

impl Tag {
    pub(super) const BITS: u32 = 17;

    /// The tag in the low bits of `word`.
    #[inline]
    pub(super) const fn from_word(word: u64) -> Self {
        Self((word & ((1 << Self::BITS) - 1)) as u32)
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
    el1: Name,
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
    /// Bit `n` is set once number `n` stands for a space.
    named: u64,
    /// How many names have been given.
    names: u64,
    /// Live entries over all spaces.
    total: u32,
    /// The number that was asked for last.
    last: u8,
    sets: Sets,
    turn: u8,
}

/// The numbers that stand for spaces of NS-EL1 by what its commands name, with live entries or without.
#[derive(Clone, Debug)]
struct Sets {
    all: u64,
    /// Those of stage 2.
    stage2: u64,
    /// Those of stage 1 that hold the entries for every ASID.
    global: u64,
    /// The rest of stage 1, by the bucket of their name.
    named: [u64; BUCKETS],
    /// All, by the bucket of their VMID.
    vmids: [u64; BUCKETS],
}

const BUCKETS: usize = 16;

/// ASID `[31:16]` and VMID `[15:0]` as one word, in the order in which commands have them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Name(pub(crate) u32);

impl Name {
    pub(super) const fn of(space: &Space) -> Self {
        Self((space.asid.0 as u32) << 16 | space.vmid.0 as u32)
    }

    /// The VMID under ASID 0.
    pub(super) const fn vmid(self) -> Self {
        Self(self.0 & 0xffff)
    }

    /// Where a name is looked for; others may be there too.
    const fn bucket(self) -> usize {
        (self.0.wrapping_mul(0x9e37_79b1) >> 28) as usize % BUCKETS
    }
}

impl Sets {
    const fn new() -> Self {
        Self { all: 0, stage2: 0, global: 0, named: [0; BUCKETS], vmids: [0; BUCKETS] }
    }

    fn change(&mut self, space: &Space, global: bool, change: impl Fn(&mut u64)) {
        if space.world != StreamWorld::El1 {
            return;
        }
        let name = Name::of(space);
        change(&mut self.all);
        self.vmids.get_mut(name.vmid().bucket()).map(&change);
        match space.stage {
            Stage::S2 => change(&mut self.stage2),
            Stage::S1 if global => change(&mut self.global),
            Stage::S1 => {
                self.named.get_mut(name.bucket()).map(&change);
            }
        }
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
            el1: Name::of(&NO_SPACE),
            global: false,
            name: 0,
            tag: Tag(0),
            count: 0,
            fractured: 0,
            sizes: 0,
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
        Self { slots, live: 0, named: 0, names: 0, total: 0, last: 0, sets: Sets::new(), turn: 0 }
    }

    /// Live entries over all spaces.
    #[inline]
    pub(super) const fn total(&self) -> u32 {
        self.total
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.live == 0
    }

    #[inline]
    pub(super) fn slot(&self, number: usize) -> &Slot {
        let [first, ..] = &self.slots;
        self.slots.get(number % SPACES).unwrap_or(first)
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
            if slot.name != 0 {
                self.sets.change(&slot.space, slot.global, |set| *set &= !(1 << number));
            }
            self.sets.change(space, global, |set| *set |= 1 << number);
            slot.space = *space;
            slot.el1 = Name::of(space);
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

    /// An entry of the space has come: `2^log2_size` bytes from `input` on, of a leaf of `2^log2_leaf` bytes.
    #[inline]
    pub(super) fn add(&mut self, number: usize, input: u64, log2_size: u32, log2_leaf: u32) {
        let Some(slot) = self.slots.get_mut(number % SPACES) else { return };
        self.live |= 1 << (number % SPACES);
        self.total += 1;
        slot.count += 1;
        slot.fractured += u32::from(log2_leaf > log2_size);
        slot.take_in(input, log2_size, log2_leaf);
    }

    /// An entry of the space has taken the place of another, which was as large as its leaf, as this one is.
    #[inline]
    pub(super) fn exchange(&mut self, number: usize, input: u64, log2_size: u32) {
        if let Some(slot) = self.slots.get_mut(number % SPACES) {
            slot.take_in(input, log2_size, log2_size);
        }
    }

    /// An entry of the space has gone.
    #[inline]
    pub(super) fn remove(&mut self, number: usize, fractured: bool) {
        let Some(slot) = self.slots.get_mut(number % SPACES) else { return };
        self.total = self.total.wrapping_sub(1);
        slot.count = slot.count.saturating_sub(1);
        slot.fractured = slot.fractured.saturating_sub(fractured.into());
        if slot.count == 0 {
            slot.empty();
            self.live &= !(1 << (number % SPACES));
        }
    }

    /// Drops every entry of a space at once: how many, and whether generations have run out.
    #[inline]
    pub(super) fn forget(&mut self, number: usize) -> (u32, bool) {
        self.live &= !(1 << (number % SPACES));
        let Some(slot) = self.slots.get_mut(number % SPACES) else { return (0, false) };
        let (tag, wrapped) = slot.tag.next();
        let count = slot.count;
        slot.tag = tag;
        slot.empty();
        self.total = self.total.wrapping_sub(count);
        (count, wrapped)
    }

    /// The live spaces that a scope names.
    pub(super) fn named(&self, scope: &Scope) -> Numbers {
        let mut named = Numbers::NONE;
        for n in Numbers(self.live) {
            let slot = self.slot(n);
            if scope.names_space(&slot.space, slot.global) {
                named.insert(n);
            }
        }
        named
    }

    /// The live spaces that a command of NS-EL1 names.
    #[inline(always)]
    pub(super) fn of_el1(&self, which: El1) -> Numbers {
        let Sets { all, stage2, named, vmids, .. } = &self.sets;
        match which {
            El1::All => Numbers(*all & self.live),
            El1::Asid(name) => self.with(in_bucket(named, name), |space| space == name),
            El1::AsidOrGlobal(name) => self.of_name(name),
            El1::Vmid(stage, name) => {
                let vmid = name.vmid();
                let stage = match stage {
                    Stages::S1 => !stage2,
                    Stages::S2 => *stage2,
                    Stages::Both => u64::MAX,
                };
                self.with(in_bucket(vmids, vmid) & stage, |space| space.vmid() == vmid)
            }
        }
    }

    /// The live spaces of stage 1 with an ASID and VMID, and the global ones of the VMID.
    fn of_name(&self, name: Name) -> Numbers {
        let Sets { global, named, .. } = &self.sets;
        Numbers(
            self.with(in_bucket(named, name), |space| space == name).0
                | self.with(*global, |space| space == name.vmid()).0,
        )
    }

    /// Whether any space may have this ASID and VMID, or be a global one of the VMID.
    #[inline]
    pub(super) fn may_have(&self, name: Name) -> bool {
        (in_bucket(&self.sets.named, name) | self.sets.global) & self.live != 0
    }

    /// Those of [`El1::AsidOrGlobal`] some of whose entries may meet `span`.
    #[inline(always)]
    pub(super) fn met(&self, name: Name, span: &Span) -> Numbers {
        let mut met = Numbers::NONE;
        for n in Numbers((in_bucket(&self.sets.named, name) | self.sets.global) & self.live) {
            let slot = self.slot(n);
            let own = if slot.global { name.vmid() } else { name };
            if !slot.misses(span) && slot.el1 == own {
                met.insert(n);
            }
        }
        met
    }

    /// The live ones of `numbers` whose names are right.
    #[inline]
    fn with(&self, numbers: u64, is_right: impl Fn(Name) -> bool) -> Numbers {
        let mut right = numbers & self.live;
        for n in Numbers(right) {
            if !is_right(self.slot(n).el1) {
                right &= !(1 << n);
            }
        }
        Numbers(right)
    }
}

#[inline]
fn in_bucket(sets: &[u64; BUCKETS], name: Name) -> u64 {
    sets.get(name.bucket()).copied().unwrap_or(0)
}

/// What a command of NS-EL1 asks a space for. A VMID is 0 where there are none.
#[derive(Clone, Copy, Debug)]
pub(crate) enum El1 {
    /// Nothing.
    All,
    /// Stage 1, ASID and VMID, entries that are not global.
    Asid(Name),
    /// The same, and the global ones of the VMID.
    AsidOrGlobal(Name),
    /// A stage, and the VMID.
    Vmid(Stages, Name),
}

impl Slot {
    /// The space has no entry any more, and no extent.
    #[inline]
    fn empty(&mut self) {
        (self.count, self.fractured, self.sizes, self.extent) = (0, 0, 0, NOWHERE);
    }

    /// Sizes and extent with another entry.
    #[inline]
    fn take_in(&mut self, input: u64, log2_size: u32, log2_leaf: u32) {
        self.sizes |= 1 << log2_size;
        let within = low_mask(log2_leaf);
        self.extent.first = self.extent.first.min(input & !within);
        self.extent.last = self.extent.last.max(input | within);
    }

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

    pub(crate) const fn is_empty(self) -> bool {
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

#[cfg(test)]
mod tests {
    use super::{El1, Name, Numbers, SPACES, Spaces};
    use crate::arch::addr::Stage;
    use crate::arch::entry::Space;
    use crate::arch::id::{Asid, StreamWorld, Vmid};
    use crate::cache::scope::{AsidScope, Regime, Scope, Span, Stages, VmidScope};

    const fn scope(stage: Stages, vmid: Option<u16>, asid: AsidScope) -> Scope {
        let vmid = match vmid {
            Some(vmid) => Some(VmidScope { vmid: Vmid(vmid), ignored_bits: 0 }),
            None => None,
        };
        let regime = Regime::One(StreamWorld::El1);
        Scope { regime, stage, vmid, asid, span: None, granule: None, level: None, leaf_only: false }
    }

    /// What is ready by name is what the predicates say, space by space, whatever has come and gone.
    #[test]
    fn sets_are_what_the_predicates_say() {
        const IDS: [u16; 6] = [0, 1, 0x10, 0x11, 0xff, 0xff00];
        let mut spaces = Spaces::new();
        let mut state = 1u64;
        let mut random = |below: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 33) % below
        };
        for _ in 0..4000 {
            let stage = if random(4) == 0 { Stage::S2 } else { Stage::S1 };
            let world = [StreamWorld::El1, StreamWorld::El1, StreamWorld::El2, StreamWorld::El2E2h];
            let world = if stage == Stage::S2 { StreamWorld::El1 } else { world[random(4) as usize] };
            let has_asid = stage == Stage::S1 && world != StreamWorld::El2;
            let global = has_asid && random(4) == 0;
            let asid = if has_asid && !global { IDS[random(6) as usize] } else { 0 };
            let vmid = if world == StreamWorld::El1 { IDS[random(6) as usize] } else { 0 };
            let space = Space { world, stage, vmid: Vmid(vmid), asid: Asid(asid), aset: random(8) == 0 };
            let (number, _, _) = spaces.intern(&space, global);
            match random(3) {
                0 => spaces.add(number, random(1 << 20) << 12, 12, 12),
                1 if spaces.slot(number).count != 0 => spaces.remove(number, false),
                _ => {
                    if random(4) == 0 {
                        spaces.forget(number);
                    }
                }
            }
            let (vmid, asid) = (IDS[random(6) as usize], IDS[random(6) as usize]);
            let name = Name(u32::from(asid) << 16 | u32::from(vmid));
            let (only, or_global) = (AsidScope::Only(Asid(asid)), AsidScope::OrGlobal(Asid(asid)));
            let rows = [
                (El1::All, scope(Stages::Both, None, AsidScope::Any)),
                (El1::Asid(name), scope(Stages::S1, Some(vmid), only)),
                (El1::AsidOrGlobal(name), scope(Stages::S1, Some(vmid), or_global)),
                (El1::Vmid(Stages::S1, name), scope(Stages::S1, Some(vmid), AsidScope::Any)),
                (El1::Vmid(Stages::S2, name), scope(Stages::S2, Some(vmid), AsidScope::Any)),
                (El1::Vmid(Stages::Both, name), scope(Stages::Both, Some(vmid), AsidScope::Any)),
            ];
            for (which, scope) in rows {
                assert_eq!(spaces.of_el1(which), spaces.named(&scope), "{which:x?}");
            }
            let everywhere = Span { first: 1, last: u64::MAX - 1 };
            let named = spaces.of_el1(El1::AsidOrGlobal(name));
            assert_eq!(spaces.met(name, &everywhere), named);
            assert!(named.is_empty() || spaces.may_have(name));
            for n in Numbers(u64::MAX >> (64 - SPACES)) {
                let slot = spaces.slot(n);
                assert_eq!(slot.count == 0, slot.misses(&everywhere), "an empty space has no extent");
            }
        }
    }
}
