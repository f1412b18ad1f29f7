//! The IOTLB: a fixed number of translations in sets, pages and blocks alike.
//!
//! One function, `place`, yields set and tag of an address for fill, look-up and invalidation. A look-up probes only
//! the sizes that are live in its space. Replacement takes the least recently used way of one set, never the whole table.
//! An invalidation first asks the live address spaces; then it forgets whole ones by their generation, probes where the
//! span is small, and otherwise makes one pass over 32-bit halves of the tags, whatever the span's alignment.

mod invalidate;
mod second;

use core::ops::Range;

use super::packed;
pub(crate) use super::packed::{Character, Packed};
pub(crate) use super::spaces::SpaceRefs;
use super::spaces::{Spaces, Tag, has_asid, key};
#[cfg(feature = "alloc")]
use super::unbounded::{Key, Unbounded};
use crate::arch::addr::{Granule, Level, Stage, low_mask};
use crate::arch::attributes::{MemoryType, Shareability};
use crate::arch::entry::{Entry, Space};
use crate::arch::id::Asid;
use crate::env::trace::{Step, Trace};

pub use invalidate::{Effect, Invalidation};

/// A fixed-capacity IOTLB. See the module.
#[derive(Clone, Debug)]
pub struct Iotlb<const N: usize> {
    /// Bits `[43:12]` of each entry's first address, for the pass over all of them.
    pages: [u32; N],
    marks: [Mark; N],
    stamps: [u32; N],
    payloads: [Packed; N],
    /// What was answered lately: most accesses ask no more.
    front: [Answer; FRONT],
    spaces: Spaces,
    sets: u32,
    ways: u32,
    clock: u32,
    epoch: u32,
    #[cfg(feature = "alloc")]
    unbounded: Option<Unbounded>,
}

/// All that a look-up compares, in one word: the number of the page or block among those of its size, log2 of the size, and
/// the tag of the space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Mark(u64);

impl Mark {
    const DEAD: Self = Self(u64::MAX);
    const SIZE_SHIFT: u32 = Tag::BITS;
    const INDEX_SHIFT: u32 = Self::SIZE_SHIFT + 6;

    /// The mark of block `index` of `2^log2_size` bytes. Addresses have 52 bits and a sign, and blocks are 4 KiB or larger.
    #[inline]
    const fn new(tag: Tag, index: u64, log2_size: u32) -> Self {
        Self(index << Self::INDEX_SHIFT | (log2_size as u64) << Self::SIZE_SHIFT | tag.word())
    }

    #[inline]
    const fn tag(self) -> Tag {
        Tag::from_word(self.0)
    }

    #[inline]
    const fn log2_size(self) -> u8 {
        (self.0 >> Self::SIZE_SHIFT) as u8 & 0x3f
    }

    /// Bits `[52:0]` of the first address; those above are equal to bit 52.
    #[inline]
    const fn first(self) -> u64 {
        self.0 >> Self::INDEX_SHIFT << self.log2_size() & low_mask(SIGN_BIT + 1)
    }
}

/// Where a live entry is, and log2 of its size.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hit {
    pub(crate) slot: u32,
    pub(crate) log2_size: u32,
}

/// Where an address is or would be: its set, and what the slots of the set are compared with.
struct Place {
    set: usize,
    mark: Mark,
}

/// Answers that are remembered.
const FRONT: usize = 256;

/// What an entry says about one 4 KiB page to one question. The question names the page, the stream and what its access
/// needs, so that equal questions have equal answers as long as nothing is dropped or replaced.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Answer {
    question: u64,
    /// Where the page is, and below that the memory attributes.
    output: u64,
    /// Current until any entry is dropped or replaced.
    epoch: u32,
    /// The entry's slot, and below it log2 of its size.
    hit: u32,
}

/// Bits of an answer's size; slots that find no room above it are not remembered.
const SIZE_BITS: u32 = 6;

impl Answer {
    /// Answers a question that nobody asks: every access needs something.
    const NONE: Self = Self { question: 0, output: 0, epoch: 0, hit: 0 };

    /// The one place of a question: neighbouring pages are spread evenly.
    #[inline]
    const fn place(question: u64) -> usize {
        let spread = (question >> 8).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (spread >> (64 - FRONT.trailing_zeros())) as usize % FRONT
    }

    #[inline]
    const fn slot(self) -> usize {
        (self.hit >> SIZE_BITS) as usize
    }

    /// The output address of an address of the page.
    #[inline]
    pub(crate) const fn output(self, address: u64) -> u64 {
        self.output & !low_mask(12) | address & low_mask(12)
    }

    /// Bytes from `address` to the entry's end.
    #[inline]
    pub(crate) const fn span(self, address: u64) -> u64 {
        let inside = low_mask(self.hit & 0x3f);
        inside - (address & inside) + 1
    }

    #[inline]
    pub(crate) const fn memory(self) -> MemoryType {
        packed::memory(self.output)
    }

    #[inline]
    pub(crate) const fn sh(self) -> Shareability {
        packed::sh(self.output)
    }
}

impl<const N: usize> Iotlb<N> {
    /// An empty IOTLB of `sets` (a power of two) × `ways` entries, at most `N`; the caller has checked both.
    pub(crate) const fn new(sets: u32, ways: u32, unbounded: bool) -> Self {
        #[cfg(not(feature = "alloc"))]
        let _ = unbounded;
        Self {
            pages: [0; N],
            marks: [Mark::DEAD; N],
            stamps: [0; N],
            payloads: [Packed::EMPTY; N],
            front: [Answer::NONE; FRONT],
            spaces: Spaces::new(),
            sets,
            ways,
            clock: 0,
            epoch: 0,
            #[cfg(feature = "alloc")]
            unbounded: if unbounded { Some(Unbounded::new()) } else { None },
        }
    }

    /// The number of live entries.
    #[must_use]
    pub fn len(&self) -> u32 {
        #[cfg(feature = "alloc")]
        let more = self.unbounded.as_ref().map_or(0, Unbounded::len);
        #[cfg(not(feature = "alloc"))]
        let more = 0;
        self.spaces.total() + more
    }

    /// Whether nothing is live.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Sets and ways.
    #[must_use]
    pub const fn geometry(&self) -> (u32, u32) {
        (self.sets, self.ways)
    }

    /// The live entries with their slots, set by set; those that no set has room for come last, with slot `None`.
    pub fn entries(&self) -> impl Iterator<Item = (Option<usize>, Entry)> {
        let kept = (0..self.slots()).filter_map(|slot| self.entry(slot).map(|entry| (Some(slot), entry)));
        #[cfg(feature = "alloc")]
        let kept = kept.chain(self.unbounded.iter().flat_map(Unbounded::entries).map(|entry| (None, *entry)));
        kept
    }

    /// The entry in `slot`, if one is live there.
    #[must_use]
    pub fn entry(&self, slot: usize) -> Option<Entry> {
        let mark = *self.marks.get(slot).filter(|mark| self.is_live(**mark))?;
        let (space, _) = self.spaces.space(mark.tag().number());
        let address = mark.first();
        let input = match space.stage {
            Stage::S1 => sign_extend(address),
            Stage::S2 => address,
        };
        Some(self.payloads.get(slot)?.entry(space, input, mark.log2_size()))
    }

    /// How many look-ups ago the entry in `slot` was last used.
    #[must_use]
    pub fn age(&self, slot: usize) -> u32 {
        self.stamps.get(slot).map_or(0, |stamp| self.clock.wrapping_sub(*stamp))
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.marks.fill(Mark::DEAD);
        self.spaces = Spaces::new();
        self.forget_answers();
        #[cfg(feature = "alloc")]
        if let Some(unbounded) = &mut self.unbounded {
            unbounded.clear();
        }
    }

    /// The entry that translates `address` in `space`.
    pub fn find(&mut self, space: &Space, address: u64) -> Option<Entry> {
        let slot = self.find_in(space, false, address).or_else(|| {
            let shared = Space { asid: Asid(0), ..*space };
            if has_asid(space) { self.find_in(&shared, true, address) } else { None }
        });
        if let Some(slot) = slot {
            self.used(slot as u32);
            return self.entry(slot);
        }
        #[cfg(feature = "alloc")]
        if let Some(unbounded) = &self.unbounded {
            return unbounded.find(space, address).copied();
        }
        None
    }

    /// What stands for `space` and for the global entries that it finds, as far as they have numbers.
    pub(crate) fn references(&mut self, space: &Space) -> SpaceRefs {
        let own = self.spaces.find_reference(space, false);
        let shared = Space { asid: Asid(0), ..*space };
        let global =
            if has_asid(space) { self.spaces.find_reference(&shared, true) } else { SpaceRefs::NONE.global };
        SpaceRefs { own, global, names: self.spaces.names() }
    }

    /// Whether either space may have got a number since it was looked for; it is looked for again.
    #[inline]
    pub(crate) fn refresh(&mut self, spaces: &mut SpaceRefs, space: &Space) -> bool {
        let stale = spaces.names != self.spaces.names();
        if stale {
            *spaces = self.references(space);
        }
        stale
    }

    /// The answer to a question that was asked before, if nothing was dropped or replaced since.
    #[inline(always)]
    pub(crate) fn again<T: Trace + ?Sized>(&mut self, question: u64, trace: &mut T) -> Option<Answer> {
        let answer = *self.front.get(Answer::place(question))?;
        if answer.question != question || answer.epoch != self.epoch {
            return None;
        }
        *self.stamps.get_mut(answer.slot())? = self.clock.wrapping_add(1);
        self.clock = self.clock.wrapping_add(1);
        if trace.wants_entries()
            && let Some(entry) = self.entry(answer.slot())
        {
            trace.step(&Step::Hit(entry));
        }
        Some(answer)
    }

    /// What an entry answers about `address`, for the question that is asked about its page: it is remembered.
    #[inline]
    pub(crate) fn answer(&mut self, question: u64, address: u64, payload: Packed, hit: Hit) -> Answer {
        let Hit { slot, log2_size } = hit;
        let page = payload.output() | address & low_mask(log2_size) & !low_mask(12);
        let answer = Answer {
            question,
            output: page | payload.attributes(),
            epoch: self.epoch,
            hit: slot << SIZE_BITS | log2_size,
        };
        if slot >> (u32::BITS - SIZE_BITS) == 0
            && let Some(place) = self.front.get_mut(Answer::place(question))
        {
            *place = answer;
        }
        answer
    }

    /// Answers to earlier questions are of no use any more.
    #[inline]
    pub(crate) fn forget_answers(&mut self) {
        self.epoch = self.epoch.wrapping_add(1);
        if self.epoch == 0 {
            self.front.fill(Answer::NONE);
        }
    }

    /// An entry that has `address`: one of the space's own before a global one.
    #[inline(always)]
    pub(crate) fn hit(&self, spaces: &SpaceRefs, address: u64) -> Option<Hit> {
        if let Some(number) = self.spaces.resolve(spaces.own)
            && let Some(hit) = self.find_among(number, address)
        {
            return Some(hit);
        }
        self.hit_global(spaces, address)
    }

    #[inline(never)]
    fn hit_global(&self, spaces: &SpaceRefs, address: u64) -> Option<Hit> {
        self.find_among(self.spaces.resolve(spaces.global)?, address)
    }

    /// The payload in `slot`.
    #[inline]
    pub(crate) fn payload(&self, slot: u32) -> Option<Packed> {
        self.payloads.get(slot as usize).copied()
    }

    /// The payload in `slot`, which is being used.
    #[inline]
    pub(crate) fn take<T: Trace + ?Sized>(&mut self, slot: u32, trace: &mut T) -> Option<Packed> {
        let payload = self.payload(slot)?;
        self.used(slot);
        if trace.wants_entries()
            && let Some(entry) = self.entry(slot as usize)
        {
            trace.step(&Step::Hit(entry));
        }
        Some(payload)
    }

    /// The entry in `slot` has been used.
    #[inline]
    fn used(&mut self, slot: u32) {
        self.clock = self.clock.wrapping_add(1);
        if let Some(stamp) = self.stamps.get_mut(slot as usize) {
            *stamp = self.clock;
        }
    }

    #[inline]
    fn find_in(&mut self, space: &Space, global: bool, address: u64) -> Option<usize> {
        let number = self.spaces.find(space, global)?;
        self.find_among(number, address).map(|hit| hit.slot as usize)
    }

    #[inline(always)]
    fn find_among(&self, number: usize, address: u64) -> Option<Hit> {
        let mut sizes = self.spaces.slot(number).sizes;
        while sizes != 0 {
            let log2_size = sizes.trailing_zeros();
            sizes &= sizes - 1;
            if let Some(slot) = self.probe(number, address, log2_size) {
                return Some(Hit { slot: slot as u32, log2_size });
            }
        }
        None
    }

    /// Keeps `entry`, in the place of one that has the same key, of nothing, or of its set's least recently used.
    pub fn keep<T: Trace + ?Sized>(&mut self, entry: &Entry, trace: &mut T) {
        let (space, global) = key(entry);
        let number = self.intern(&space, global);
        self.put(number, entry.input, entry.log2_size.into(), Packed::new(entry), trace);
    }

    /// Keeps the translation of `input` in `space`, by what stands for it; that is brought up to date. The slot, if there is
    /// one.
    #[inline]
    pub(crate) fn fill<T: Trace + ?Sized>(
        &mut self,
        spaces: &mut SpaceRefs,
        space: &Space,
        input: u64,
        log2_size: u32,
        payload: Packed,
        trace: &mut T,
    ) -> Option<u32> {
        let global = payload.is_global() && has_asid(space);
        let known = if global { &mut spaces.global } else { &mut spaces.own };
        let number = match self.spaces.resolve(*known) {
            Some(number) => number,
            None => {
                let key = if global { Space { asid: Asid(0), ..*space } } else { *space };
                let number = self.intern(&key, global);
                *known = self.spaces.reference(number);
                number
            }
        };
        self.put(number, input, log2_size, payload, trace).map(|slot| slot as u32)
    }

    /// Whether entries are kept that no set had room for.
    #[inline]
    pub(crate) fn overflows(&self) -> bool {
        #[cfg(feature = "alloc")]
        return self.unbounded.as_ref().is_some_and(|unbounded| unbounded.len() != 0);
        #[cfg(not(feature = "alloc"))]
        false
    }

    fn intern(&mut self, space: &Space, global: bool) -> usize {
        let (number, displaced, wrapped) = self.spaces.intern(space, global);
        if displaced {
            self.forget_answers();
        }
        if wrapped {
            self.sweep();
        }
        number
    }

    #[inline]
    fn put<T: Trace + ?Sized>(
        &mut self,
        number: usize,
        input: u64,
        log2_size: u32,
        payload: Packed,
        trace: &mut T,
    ) -> Option<usize> {
        let (space, _) = self.spaces.space(number);
        if trace.watches() {
            trace.step(&Step::Fill(payload.entry(space, input, log2_size as u8)));
        }
        #[cfg(feature = "alloc")]
        if let Some(unbounded) = &mut self.unbounded {
            unbounded.remove(Key::of(&payload.entry(space, input, log2_size as u8)));
        }
        let place = self.place(number, input, log2_size);
        let slot = self.victim(&place)?;
        self.clock = self.clock.wrapping_add(1);
        self.give_up(slot, &place, trace);
        *self.pages.get_mut(slot)? = (input >> 12) as u32;
        *self.marks.get_mut(slot)? = place.mark;
        *self.stamps.get_mut(slot)? = self.clock;
        *self.payloads.get_mut(slot)? = payload;
        self.spaces.add(number, input, log2_size, payload.log2_leaf(space.stage, log2_size));
        Some(slot)
    }

    /// The slot of what has the same key, of nothing, or of the set's least recently used.
    #[inline]
    fn victim(&self, place: &Place) -> Option<usize> {
        let slots = self.slots_of(place.set);
        let (marks, stamps) = (self.marks.get(slots.clone())?, self.stamps.get(slots.clone())?);
        let (mut chosen, mut most) = (0, 0);
        for (way, (mark, stamp)) in marks.iter().zip(stamps).enumerate() {
            if *mark == place.mark {
                return Some(slots.start + way);
            }
            // Later ways win among equals; a free one wins over all, and the first of them.
            let age = u64::from(self.clock.wrapping_sub(*stamp));
            let age = if self.is_live(*mark) { age } else { u64::from(u32::MAX) + 1 };
            if age > most || (age == most && age <= u32::MAX.into()) {
                (chosen, most) = (way, age);
            }
        }
        Some(slots.start + chosen)
    }

    /// The one index function. The page number is folded over the set bits, so that neighbouring pages and pages at any
    /// power-of-two distance fall into different sets; spaces and sizes are spread.
    #[inline]
    fn place(&self, number: usize, address: u64, log2_size: u32) -> Place {
        let bits = self.sets.trailing_zeros() % 32;
        let index = address >> log2_size;
        let mut folded = index;
        folded ^= folded >> bits;
        folded ^= folded >> (2 * bits);
        folded ^= folded >> (4 * bits).min(63);
        let set = (folded as u32 ^ number as u32 ^ log2_size << 3) & (self.sets - 1);
        Place { set: set as usize, mark: Mark::new(self.spaces.tag(number), index, log2_size) }
    }

    #[inline]
    fn probe(&self, number: usize, address: u64, log2_size: u32) -> Option<usize> {
        self.slot_of(&self.place(number, address, log2_size))
    }

    /// The slots of a set.
    #[inline]
    const fn slots_of(&self, set: usize) -> Range<usize> {
        let first = set * self.ways as usize;
        first..first + self.ways as usize
    }

    #[inline]
    fn slot_of(&self, place: &Place) -> Option<usize> {
        if self.ways == 4 {
            // The usual number of ways costs no loop.
            let [a, b, c, d] = self.marks.as_chunks::<4>().0.get(place.set)?;
            let way = match place.mark {
                mark if mark == *a => 0,
                mark if mark == *b => 1,
                mark if mark == *c => 2,
                mark if mark == *d => 3,
                _ => return None,
            };
            return Some(place.set * 4 + way);
        }
        self.slot_of_many(place)
    }

    #[inline(never)]
    fn slot_of_many(&self, place: &Place) -> Option<usize> {
        let slots = self.slots_of(place.set);
        let way = self.marks.get(slots.clone())?.iter().position(|mark| *mark == place.mark);
        way.map(|way| slots.start + way)
    }

    #[inline]
    fn is_live(&self, mark: Mark) -> bool {
        mark != Mark::DEAD && self.spaces.is_current(mark.tag())
    }

    const fn slots(&self) -> usize {
        self.sets as usize * self.ways as usize
    }

    /// Empties `slot` for what belongs to `place`. What was there is replaced if it has the same key, otherwise evicted.
    #[inline]
    fn give_up<T: Trace + ?Sized>(&mut self, slot: usize, place: &Place, trace: &mut T) {
        let Some(mark) = self.marks.get(slot).copied() else { return };
        if !self.is_live(mark) {
            return;
        }
        let fractured = self.payloads.get(slot).is_some_and(|payload| payload.is_fractured());
        let replaced = mark == place.mark;
        if !replaced && (trace.watches() || !self.is_bounded()) {
            self.evict(slot, trace);
        }
        self.spaces.remove(mark.tag().number(), fractured);
        self.forget_answers();
    }

    /// What is in `slot` makes room, and is told.
    #[inline(never)]
    fn evict<T: Trace + ?Sized>(&mut self, slot: usize, trace: &mut T) {
        let Some(old) = self.entry(slot) else { return };
        #[cfg(feature = "alloc")]
        if let Some(unbounded) = &mut self.unbounded {
            unbounded.insert(old);
            return;
        }
        trace.step(&Step::Evict(old));
    }
}

/// Virtual addresses have 52 bits at most; this one tells the upper range from the lower.
const SIGN_BIT: u32 = 52;

/// A virtual address with the bits above its sign equal to that.
const fn sign_extend(address: u64) -> u64 {
    if address >> SIGN_BIT & 1 == 0 { address } else { address | !low_mask(SIGN_BIT) }
}

impl Entry {
    /// The granule and level of the own stage's leaf, for display: 4 KiB level 3 where there is none.
    #[must_use]
    pub fn shape(&self) -> (Granule, Level) {
        self.own_leaf().map_or((Granule::Kib4, Level::L3), |leaf| (leaf.granule, leaf.level))
    }
}
