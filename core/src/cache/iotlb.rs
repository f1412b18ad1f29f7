//! The IOTLB: a fixed number of translations in sets, pages and blocks alike.
//!
//! One function, `place`, yields set and tag of an address for fill, look-up and invalidation. A look-up probes only
//! the sizes that are live in its space. Replacement takes the least recently used way of one set, never the whole table.
//! An invalidation first asks the live address spaces; then it forgets whole ones by their generation, probes where the
//! span is small, and otherwise makes one pass over 32-bit halves of the tags, whatever the span's alignment.

use super::packed::Packed;
use super::spaces::{Spaces, Tag, has_asid, key};
#[cfg(feature = "alloc")]
use super::unbounded::{Key, Unbounded};
use crate::arch::addr::{Granule, Level, Stage, align_down, low_mask};
use crate::arch::attributes::{MemoryType, Shareability};
use crate::arch::entry::{Entry, Rights, Space};
use crate::arch::id::Asid;
use crate::cache::scope::{Scope, Span, Verdict};
use crate::env::trace::{Step, Trace};
use crate::format::command::Command;

/// Slots whose tags are compared with a span before any of them is looked at more closely.
const CHUNK: usize = 32;

/// A fixed-capacity IOTLB. See the module.
#[derive(Clone, Debug)]
pub struct Iotlb<const N: usize> {
    /// Bits `[43:12]` of each entry's first address.
    pages: [u32; N],
    /// What else a look-up compares.
    marks: [Mark; N],
    stamps: [u32; N],
    payloads: [Packed; N],
    spaces: Spaces,
    sets: u32,
    ways: u32,
    clock: u32,
    epoch: u64,
    #[cfg(feature = "alloc")]
    unbounded: Option<Unbounded>,
}

/// The tag of an entry's space `[31:0]`, bits `[55:44]` of its first address, and log2 of its size `[49:44]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Mark(u64);

impl Mark {
    const DEAD: Self = Self(u64::MAX);

    #[inline]
    const fn new(tag: Tag, page: u64, log2_size: u32) -> Self {
        Self(tag.0 as u64 | (page >> 32 & 0xfff) << 32 | (log2_size as u64) << 44)
    }

    #[inline]
    const fn tag(self) -> Tag {
        Tag(self.0 as u32)
    }

    #[inline]
    const fn log2_size(self) -> u8 {
        (self.0 >> 44) as u8 & 0x3f
    }

    /// The page number `[55:12]` of the entry whose low half is `low`.
    #[inline]
    const fn page(self, low: u32) -> u64 {
        (self.0 >> 32 & 0xfff) << 32 | low as u64
    }
}

/// A space with live entries, as the IOTLB calls it; out of date once all of them are forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SpaceTag(Tag);

/// What a live entry answers to all its addresses.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hit {
    pub(crate) slot: u32,
    pub(crate) log2_size: u8,
    pub(crate) output: u64,
    /// What may be done at once: where a descriptor has to be marked dirty first, not writing.
    pub(crate) rights: Rights,
    pub(crate) memory: MemoryType,
    pub(crate) sh: Shareability,
    /// Current until any entry is dropped or replaced.
    pub(crate) epoch: u64,
}

/// Where an address is or would be: its set's first slot, and what the slots of the set are compared with.
struct Place {
    first: usize,
    page: u32,
    mark: Mark,
}

/// What an invalidation did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Effect {
    /// Slots that were looked at.
    pub scanned: u32,
    /// Entries that were dropped.
    pub dropped: u32,
}

/// One invalidation: what it names, what the architecture demands of it, and the command that it is.
#[derive(Clone, Copy, Debug)]
pub struct Invalidation<'a> {
    /// What is dropped.
    pub scope: &'a Scope,
    /// What has to be: the rest is dropped in excess.
    pub letter: &'a Scope,
    /// Which command does it.
    pub by: &'a Command,
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
        let address = mark.page(*self.pages.get(slot)?) << 12;
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
        self.epoch = self.epoch.wrapping_add(1);
        #[cfg(feature = "alloc")]
        if let Some(unbounded) = &mut self.unbounded {
            unbounded.clear();
        }
    }

    /// The entry that translates `address` in `space`.
    pub fn find(&mut self, space: &Space, address: u64) -> Option<Entry> {
        self.clock = self.clock.wrapping_add(1);
        let slot = self.find_in(space, false, address).or_else(|| {
            let shared = Space { asid: Asid(0), ..*space };
            if has_asid(space) { self.find_in(&shared, true, address) } else { None }
        });
        if let Some(slot) = slot {
            if let Some(stamp) = self.stamps.get_mut(slot) {
                *stamp = self.clock;
            }
            return self.entry(slot);
        }
        #[cfg(feature = "alloc")]
        if let Some(unbounded) = &self.unbounded {
            return unbounded.find(space, address).copied();
        }
        None
    }

    /// The tag of a space with live entries, not global ones: what [`Iotlb::hit`] asks for.
    pub(crate) fn tag(&self, space: &Space) -> Option<SpaceTag> {
        self.spaces.find(space, false).map(|number| SpaceTag(self.spaces.tag(number)))
    }

    /// The number of times that an entry was dropped or replaced.
    #[inline]
    pub(crate) const fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The answer for `address` in the space of `tag`, if one of its own entries has it.
    #[inline]
    pub(crate) fn hit(&mut self, tag: SpaceTag, address: u64) -> Option<Hit> {
        let tag = tag.0;
        if !self.spaces.is_current(tag) {
            return None;
        }
        let mut sizes = self.spaces.slot(tag.number()).sizes;
        loop {
            if sizes == 0 {
                return None;
            }
            let size = sizes.trailing_zeros();
            sizes &= sizes - 1;
            if let Some(slot) = self.probe(tag.number(), address, size) {
                let (output, rights, memory, sh) = self.payloads.get(slot)?.answer();
                self.used(slot as u32);
                let (slot, log2_size) = (slot as u32, size as u8);
                return Some(Hit { slot, log2_size, output, rights, memory, sh, epoch: self.epoch });
            }
        }
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
    fn find_in(&self, space: &Space, global: bool, address: u64) -> Option<usize> {
        let number = self.spaces.find(space, global)?;
        let mut sizes = self.spaces.slot(number).sizes;
        while sizes != 0 {
            let size = sizes.trailing_zeros();
            sizes &= sizes - 1;
            if let Some(slot) = self.probe(number, address, size) {
                return Some(slot);
            }
        }
        None
    }

    /// Keeps `entry`, in the place of one that has the same key, of nothing, or of its set's least recently used.
    pub fn keep<T: Trace + ?Sized>(&mut self, entry: &Entry, trace: &mut T) {
        trace.step(&Step::Fill(*entry));
        #[cfg(feature = "alloc")]
        if let Some(unbounded) = &mut self.unbounded {
            unbounded.remove(Key::of(entry));
        }
        let (space, global) = key(entry);
        let (number, displaced, wrapped) = self.spaces.intern(&space, global);
        if displaced {
            self.epoch = self.epoch.wrapping_add(1);
        }
        if wrapped {
            self.sweep();
        }
        let place = self.place(number, entry.input, entry.log2_size.into());
        let slots = place.first..place.first + self.ways as usize;
        let slot = self.slot_of(&place).or_else(|| {
            let marks = self.marks.get(slots.clone())?;
            let free = marks.iter().position(|mark| !self.is_live(*mark)).map(|way| place.first + way);
            free.or_else(|| slots.clone().max_by_key(|slot| self.age(*slot)))
        });
        let Some(slot) = slot else { return };
        self.give_up(slot, &place, trace);
        if let (Some(page), Some(mark), Some(stamp), Some(payload)) = (
            self.pages.get_mut(slot),
            self.marks.get_mut(slot),
            self.stamps.get_mut(slot),
            self.payloads.get_mut(slot),
        ) {
            (*page, *mark, *stamp, *payload) = (place.page, place.mark, self.clock, Packed::new(entry));
            self.spaces.add(number, entry.log2_size, entry.is_fractured());
        }
    }

    /// Drops what the invalidation names, in one pass at most.
    pub fn invalidate<T: Trace + ?Sized>(&mut self, what: &Invalidation<'_>, trace: &mut T) -> Effect {
        let mut effect = Effect::default();
        #[cfg(feature = "alloc")]
        if let Some(unbounded) = &mut self.unbounded {
            unbounded.invalidate(what, &mut effect, trace);
        }
        if self.spaces.is_empty() {
            return effect;
        }
        if trace.wants_spared() {
            return self.judge_all(what, effect, trace);
        }
        let named = self.spaces.named(what.scope);
        if named.is_empty() {
            return effect;
        }
        let Some(span) = what.scope.span else {
            if trace.wants_entries() {
                return self.judge_all(what, effect, trace);
            }
            for number in named {
                let (dropped, wrapped) = self.spaces.forget(number);
                self.epoch = self.epoch.wrapping_add(1);
                effect.dropped += dropped;
                if wrapped {
                    self.sweep();
                }
            }
            return effect;
        };

        let mut pages = 0u64;
        for number in named {
            let slot = self.spaces.slot(number);
            // A fractured entry is kept under its own address, but named by its leaf's.
            if slot.fractured != 0 {
                return self.judge_all(what, effect, trace);
            }
            let mut sizes = slot.sizes;
            while sizes != 0 {
                let size = sizes.trailing_zeros();
                sizes &= sizes - 1;
                pages = pages.saturating_add((span.last >> size) - (span.first >> size)).saturating_add(1);
            }
        }
        // A probe costs about as much as the pass over 24 slots.
        let few = pages <= (self.slots() as u64 / 24).max(1);
        for number in named {
            let mut sizes = self.spaces.slot(number).sizes;
            while sizes != 0 {
                let size = sizes.trailing_zeros();
                sizes &= sizes - 1;
                // An entry that begins before the span holds its first address.
                let last = if few { span.last >> size } else { span.first >> size };
                for page in span.first >> size..=last {
                    effect.scanned += self.ways;
                    if let Some(slot) = self.probe(number, page << size, size) {
                        self.judge(slot, what, &mut effect, trace);
                    }
                }
            }
        }
        if !few {
            self.pass(&span, named.0, what, &mut effect, trace);
        }
        effect
    }

    /// One pass over all slots for entries that begin inside `span`: 32-bit halves first, the rest where one matches.
    fn pass<T: Trace + ?Sized>(
        &mut self,
        span: &Span,
        named: u64,
        what: &Invalidation<'_>,
        effect: &mut Effect,
        trace: &mut T,
    ) {
        let first = (span.first >> 12) as u32;
        let length = u32::try_from((span.last >> 12) - (span.first >> 12)).unwrap_or(u32::MAX);
        let slots = self.slots();
        effect.scanned += slots as u32;
        for start in (0..slots).step_by(CHUNK) {
            let Some(pages) = self.pages.get(start..(start + CHUNK).min(slots)) else { return };
            if !any_between(pages, first, length) {
                continue;
            }
            for slot in start..start + pages.len() {
                let Some(mark) = self.marks.get(slot) else { return };
                if named >> mark.tag().number() & 1 != 0 && self.is_live(*mark) {
                    self.judge(slot, what, effect, trace);
                }
            }
        }
    }

    /// Judges every live entry.
    fn judge_all<T: Trace + ?Sized>(
        &mut self,
        what: &Invalidation<'_>,
        mut effect: Effect,
        trace: &mut T,
    ) -> Effect {
        effect.scanned += self.slots() as u32;
        for slot in 0..self.slots() {
            self.judge(slot, what, &mut effect, trace);
        }
        effect
    }

    /// Drops or spares the entry in `slot`.
    fn judge<T: Trace + ?Sized>(
        &mut self,
        slot: usize,
        what: &Invalidation<'_>,
        effect: &mut Effect,
        trace: &mut T,
    ) {
        let Some(entry) = self.entry(slot) else { return };
        match what.scope.verdict(&entry) {
            Verdict::Drop => {
                if trace.wants_entries() {
                    let needed = what.letter.verdict(&entry) == Verdict::Drop;
                    trace.step(&Step::Drop { by: *what.by, entry, needed });
                }
                if let Some(mark) = self.marks.get_mut(slot) {
                    self.spaces.remove(mark.tag().number(), entry.is_fractured());
                    self.epoch = self.epoch.wrapping_add(1);
                    *mark = Mark::DEAD;
                }
                effect.dropped += 1;
            }
            Verdict::Spare(reason) => trace.step(&Step::Spare { by: *what.by, entry, reason }),
        }
    }

    /// The one index function. The page number is folded over the set bits, so that neighbouring pages and pages at any
    /// power-of-two distance fall into different sets; spaces and sizes are spread.
    #[inline]
    fn place(&self, number: usize, address: u64, log2_size: u32) -> Place {
        let slot = self.spaces.slot(number);
        let bits = self.sets.trailing_zeros();
        let mut folded = address >> log2_size;
        folded ^= folded >> bits;
        folded ^= folded >> (2 * bits);
        folded ^= folded >> (4 * bits).min(63);
        let set = (folded as u32 ^ slot.spread ^ log2_size << 3) & (self.sets - 1);
        let page = align_down(address, log2_size) >> 12;
        Place {
            first: set as usize * self.ways as usize,
            page: page as u32,
            mark: Mark::new(self.spaces.tag(number), page, log2_size),
        }
    }

    #[inline]
    fn probe(&self, number: usize, address: u64, log2_size: u32) -> Option<usize> {
        self.slot_of(&self.place(number, address, log2_size))
    }

    #[inline]
    fn slot_of(&self, place: &Place) -> Option<usize> {
        let ways = place.first..place.first + self.ways as usize;
        let (marks, pages) = (self.marks.get(ways.clone())?, self.pages.get(ways)?);
        let way = marks.iter().zip(pages).position(|(mark, page)| *mark == place.mark && *page == place.page);
        way.map(|way| place.first + way)
    }

    #[inline]
    fn is_live(&self, mark: Mark) -> bool {
        mark != Mark::DEAD && self.spaces.is_current(mark.tag())
    }

    const fn slots(&self) -> usize {
        self.sets as usize * self.ways as usize
    }

    /// Marks what older generations have left as free: once in 2^26 times, when the generations of a space begin anew.
    fn sweep(&mut self) {
        let spaces = &self.spaces;
        for mark in &mut self.marks {
            if !spaces.is_current(mark.tag()) || spaces.slot(mark.tag().number()).count == 0 {
                *mark = Mark::DEAD;
            }
        }
    }

    /// Empties `slot` for what belongs to `place`. What was there is replaced if it has the same key, otherwise evicted.
    fn give_up<T: Trace + ?Sized>(&mut self, slot: usize, place: &Place, trace: &mut T) {
        let (Some(mark), Some(page)) = (self.marks.get(slot).copied(), self.pages.get(slot).copied()) else {
            return;
        };
        if !self.is_live(mark) {
            return;
        }
        let Some(old) = self.entry(slot) else { return };
        self.spaces.remove(mark.tag().number(), old.is_fractured());
        self.epoch = self.epoch.wrapping_add(1);
        if mark == place.mark && page == place.page {
            return;
        }
        #[cfg(feature = "alloc")]
        if let Some(unbounded) = &mut self.unbounded {
            unbounded.insert(old);
            return;
        }
        trace.step(&Step::Evict(old));
    }
}

/// Whether any of `pages` lies between `first` and `first + length`, both included; wraps with 32 bits.
#[inline]
fn any_between(pages: &[u32], first: u32, length: u32) -> bool {
    pages.iter().fold(false, |any, page| any | (page.wrapping_sub(first) <= length))
}

/// An address of 56 bits with the bits above equal to bit 55.
const fn sign_extend(address: u64) -> u64 {
    if address >> 55 & 1 == 0 { address } else { address | !low_mask(56) }
}

impl Entry {
    /// The granule and level of the own stage's leaf, for display: 4 KiB level 3 where there is none.
    #[must_use]
    pub fn shape(&self) -> (Granule, Level) {
        self.own_leaf().map_or((Granule::Kib4, Level::L3), |leaf| (leaf.granule, leaf.level))
    }
}
