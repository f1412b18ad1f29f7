//! The IOTLB: a fixed number of translations in sets, pages and blocks alike.
//!
//! One function, `place`, yields set and tag of an address for fill, look-up and invalidation. A look-up probes only
//! the sizes that are live in its space. Replacement takes the least recently used way of one set, never the whole table.
//! An invalidation first asks the live address spaces; then it forgets whole ones by their generation, probes where the
//! span is small, and otherwise makes one pass over 32-bit halves of the tags, whatever the span's alignment.

mod invalidate;
mod second;

use core::ops::Range;

pub(crate) use super::packed::{Character, Packed};
pub(crate) use super::spaces::SpaceRefs;
use super::spaces::{SPACES, Spaces, Tag, has_asid, key};
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
    /// How far a page number is shifted in each step of folding it over the bits of a set's number.
    folds: [u8; 3],
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
#[derive(Clone, Copy)]
struct Place {
    set: usize,
    mark: Mark,
}

/// Shifts by the bits of a set's number, and by twice and four times as many.
const fn folds(sets: u32) -> [u8; 3] {
    let bits = sets.trailing_zeros() as u8 % 32;
    [bits, 2 * bits, if bits < 16 { 4 * bits } else { 63 }]
}

/// A look-up that has found nothing in a space of its own, and where it has looked last: there a page is missing.
#[derive(Clone, Copy)]
pub(crate) struct Gap {
    place: Place,
    number: usize,
    pub(crate) log2_size: u32,
}

/// Answers that are remembered.
const FRONT: usize = 256;

/// What an entry says about one 4 KiB page to one question. The question names the page, the stream and what its access
/// needs, so that equal questions have equal answers as long as nothing is dropped or replaced.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Answer {
    question: u64,
    /// From an address of the page to where it goes; wraps.
    distance: u64,
    /// Current until any entry is dropped or replaced.
    epoch: u32,
    slot: u32,
    pub(crate) memory: MemoryType,
    pub(crate) sh: Shareability,
    /// log2 of the entry's bytes.
    log2_size: u8,
}

impl Answer {
    /// Answers a question that nobody asks: every access needs something.
    const NONE: Self = Self {
        question: 0,
        distance: 0,
        epoch: 0,
        slot: 0,
        memory: MemoryType::DEVICE_NGNRNE,
        sh: Shareability::NonShareable,
        log2_size: 12,
    };

    /// What an entry says about `address`, to the question that is asked about its page.
    #[inline(always)]
    pub(crate) const fn of(question: u64, address: u64, payload: Packed, hit: Hit) -> Self {
        let first = address & !low_mask(hit.log2_size % 64);
        Self {
            question,
            distance: payload.output().wrapping_sub(first),
            epoch: 0,
            slot: hit.slot,
            memory: payload.memory(),
            sh: payload.sh(),
            log2_size: hit.log2_size as u8,
        }
    }

    /// The one place of a question: neighbouring pages are spread evenly.
    #[inline]
    const fn place(question: u64) -> usize {
        let spread = (question >> 8).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (spread >> (64 - FRONT.trailing_zeros())) as usize % FRONT
    }

    /// The output address of an address of the page.
    #[inline]
    pub(crate) const fn output(self, address: u64) -> u64 {
        address.wrapping_add(self.distance)
    }

    /// Bytes from `address` to the entry's end.
    #[inline]
    pub(crate) const fn span(self, address: u64) -> u64 {
        let inside = low_mask(self.log2_size as u32 % 64);
        inside - (address & inside) + 1
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
            folds: folds(sets),
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

    /// Whether either space may have got a number since it was looked for.
    #[inline]
    pub(crate) const fn is_stale(&self, spaces: &SpaceRefs) -> bool {
        spaces.names != self.spaces.names()
    }

    /// The answer to a question that was asked before, if nothing was dropped or replaced since.
    #[inline(always)]
    pub(crate) fn again<T: Trace + ?Sized>(&mut self, question: u64, trace: &mut T) -> Option<Answer> {
        let answer = *self.front.get(Answer::place(question))?;
        if answer.question != question || answer.epoch != self.epoch {
            return None;
        }
        self.used(answer.slot);
        if trace.wants_entries()
            && let Some(entry) = self.entry(answer.slot as usize)
        {
            trace.step(&Step::Hit(entry));
        }
        Some(answer)
    }

    /// Remembers an answer.
    #[inline]
    pub(crate) fn remember(&mut self, answer: Answer) {
        if let Some(place) = self.front.get_mut(Answer::place(answer.question)) {
            *place = Answer { epoch: self.epoch, ..answer };
        }
    }

    /// Answers to earlier questions are of no use any more.
    #[inline]
    pub(crate) fn forget_answers(&mut self) {
        self.epoch = self.epoch.wrapping_add(1);
        if self.epoch == 0 {
            self.front.fill(Answer::NONE);
        }
    }

    /// An entry that has `address`: one of the space's own before a global one. If there is none, where it is missing: `None`
    /// if that is not known.
    #[inline(always)]
    pub(crate) fn hit(&self, spaces: &SpaceRefs, address: u64) -> Result<Hit, Option<Gap>> {
        let mut gap = None;
        if let Some(number) = self.spaces.resolve(spaces.own) {
            let mut sizes = self.spaces.slot(number).sizes;
            while sizes != 0 {
                let log2_size = sizes.trailing_zeros();
                sizes &= sizes - 1;
                let place = self.place(number, address, log2_size);
                if let Some(slot) = self.slot_of(&place) {
                    return Ok(Hit { slot: slot as u32, log2_size });
                }
                gap = Some(Gap { place, number, log2_size });
            }
        }
        match self.spaces.resolve(spaces.global) {
            Some(global) if self.spaces.slot(global).sizes != 0 => {
                self.find_among(global, address).ok_or(None)
            }
            _ => Err(gap),
        }
    }

    /// Keeps what closes a gap: an entry of the space's own, as large as its leaf and as what was looked for last. Nobody
    /// watches, and all entries are in sets.
    #[inline(always)]
    pub(crate) fn close(&mut self, gap: &Gap, input: u64, payload: Packed) -> Option<()> {
        let Gap { place, number, log2_size } = *gap;
        let slot = self.room(&place)?;
        self.settle(slot, &place, number, input, log2_size, payload)
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
    pub(crate) fn used(&mut self, slot: u32) {
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

    #[inline(never)]
    fn put<T: Trace + ?Sized>(
        &mut self,
        number: usize,
        input: u64,
        log2_size: u32,
        payload: Packed,
        trace: &mut T,
    ) -> Option<usize> {
        if trace.watches() || !self.is_bounded() {
            self.announce(number, input, log2_size, payload, trace);
        }
        let place = self.place(number, input, log2_size);
        let slot = self.slot_of(&place).or_else(|| self.room(&place))?;
        let mark = *self.marks.get(slot)?;
        if mark != place.mark && self.is_live(mark) && (trace.watches() || !self.is_bounded()) {
            self.evict(slot, trace);
        }
        self.settle(slot, &place, number, input, log2_size, payload)?;
        Some(slot)
    }

    /// Puts an entry into `slot`, whatever is there.
    #[inline(always)]
    fn settle(
        &mut self,
        slot: usize,
        place: &Place,
        number: usize,
        input: u64,
        log2_size: u32,
        payload: Packed,
    ) -> Option<()> {
        self.clock = self.clock.wrapping_add(1);
        *self.stamps.get_mut(slot)? = self.clock;
        *self.pages.get_mut(slot)? = (input >> 12) as u32;
        let mark = core::mem::replace(self.marks.get_mut(slot)?, place.mark);
        let old = core::mem::replace(self.payloads.get_mut(slot)?, payload);
        if self.is_live(mark) {
            self.forget_answers();
            let fractured = old.is_fractured();
            if mark.tag().number() == number % SPACES && !fractured && !payload.is_fractured() {
                self.spaces.exchange(number, input, log2_size);
                return Some(());
            }
            self.spaces.remove(mark.tag().number(), fractured);
        }
        let stage = self.spaces.slot(number).stage();
        let log2_leaf = if payload.is_fractured() { payload.log2_leaf(stage, log2_size) } else { log2_size };
        self.spaces.add(number, input, log2_size, log2_leaf);
        Some(())
    }

    /// An entry comes: watchers are told, and none of the same key is kept outside of the sets.
    #[inline(never)]
    fn announce<T: Trace + ?Sized>(
        &mut self,
        number: usize,
        input: u64,
        log2_size: u32,
        payload: Packed,
        trace: &mut T,
    ) {
        let entry = payload.entry(self.spaces.space(number).0, input, log2_size as u8);
        #[cfg(feature = "alloc")]
        if let Some(unbounded) = &mut self.unbounded {
            unbounded.remove(Key::of(&entry));
        }
        trace.step(&Step::Fill(entry));
    }

    /// What is in `slot` makes room: watchers are told, or it is kept outside of the sets.
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

    /// A slot of a set without the entry in question: a free one, or the least recently used.
    #[inline(always)]
    fn room(&self, place: &Place) -> Option<usize> {
        // While all slots are live, there is no free one to be looked for.
        if (self.spaces.total() as usize) < self.slots()
            && let Some(slot) = self.free_slot(place.set)
        {
            return Some(slot);
        }
        if self.ways == 4 {
            let stamps = self.stamps.as_chunks::<4>().0.get(place.set)?;
            let [a, b, c, d] = stamps.map(|stamp| self.clock.wrapping_sub(stamp));
            // Later ways win among equals.
            let (low, older) = if b >= a { (1, b) } else { (0, a) };
            let (high, old) = if d >= c { (3, d) } else { (2, c) };
            return Some(place.set * 4 + if old >= older { high } else { low });
        }
        self.slots_of(place.set).max_by_key(|slot| self.age(*slot))
    }

    #[inline(never)]
    fn free_slot(&self, set: usize) -> Option<usize> {
        let slots = self.slots_of(set);
        let way = self.marks.get(slots.clone())?.iter().position(|mark| !self.is_live(*mark))?;
        Some(slots.start + way)
    }

    /// The one index function. The page number is folded over the set bits, so that neighbouring pages and pages at any
    /// power-of-two distance fall into different sets; spaces and sizes are spread.
    #[inline]
    fn place(&self, number: usize, address: u64, log2_size: u32) -> Place {
        let [once, twice, four_times] = self.folds;
        let index = address >> (log2_size % 64);
        let mut folded = index;
        folded ^= folded >> (once % 64);
        folded ^= folded >> (twice % 64);
        folded ^= folded >> (four_times % 64);
        let set = (folded as u32 ^ number as u32 ^ log2_size << 3) & self.sets.wrapping_sub(1);
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
