//! The IOTLB: a fixed number of translations in sets, pages and blocks alike.
//!
//! One function, `place`, yields set and tag of an address for fill, look-up and invalidation. A look-up probes only
//! the sizes that are live in its space. Replacement takes the least recently used way of one set, never the whole table.
//! An invalidation first asks the live address spaces; then it forgets whole ones by their generation, probes where the
//! span is small, and otherwise makes one pass over 32-bit halves of the tags, whatever the span's alignment.

mod invalidate;

use super::packed::Packed;
use super::spaces::{Spaces, Tag, has_asid, key};
#[cfg(feature = "alloc")]
use super::unbounded::{Key, Unbounded};
use crate::arch::addr::{Granule, Level, Stage, align_down, low_mask};
use crate::arch::attributes::{MemoryType, Shareability};
use crate::arch::entry::{Entry, Rights, Space};
use crate::arch::id::Asid;
use crate::env::trace::{Step, Trace};

pub use invalidate::{Effect, Invalidation};

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
