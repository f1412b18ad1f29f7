//! The IOTLB: a fixed number of translations in sets, pages and blocks alike.
//!
//! One function, `Key::set`, places an entry for fill, look-up and invalidation. A look-up probes only the sizes that
//! are live. Replacement takes the least recently used way of one set, never the whole table. An invalidation probes
//! where its span is small and otherwise makes one pass, whatever the span's alignment.

#[cfg(feature = "alloc")]
use super::unbounded::Unbounded;
use crate::arch::addr::{Granule, Ipa, Level, Pa, Stage, align_down};
use crate::arch::attributes::{MemoryType, Shareability};
use crate::arch::entry::{Entry, Rights, Space};
use crate::arch::id::{Asid, StreamWorld, Vmid};
use crate::cache::scope::{AsidScope, Regime, Scope, Stages, Verdict, VmidScope};
use crate::env::trace::{Step, Trace};
use crate::format::command::Command;

/// Where an entry is found: its address space and its first address with its size, compared as two words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    /// ASID `[15:0]`, VMID `[31:16]`, StreamWorld `[33:32]`, stage `[34]`, ASET `[35]`, global `[36]`.
    space: u64,
    /// First address, log2 of the size in `[5:0]`.
    page: u64,
}

const GLOBAL: u64 = 1 << 36;

impl Key {
    const EMPTY: Self = Self { space: 0, page: u64::MAX };

    fn new(space: u64, address: u64, log2_size: u32) -> Self {
        Self { space, page: align_down(address, log2_size) | u64::from(log2_size) }
    }

    fn of(entry: &Entry) -> Self {
        let space = space_key(&entry.space);
        Self::new(if entry.global { global_key(space) } else { space }, entry.input, entry.log2_size.into())
    }

    const fn is_live(self) -> bool {
        self.page != Self::EMPTY.page
    }

    const fn log2_size(self) -> u32 {
        (self.page & 0x3f) as u32
    }

    /// The one index function. The page number is folded over the set bits, so that neighbouring pages and pages at any
    /// power-of-two distance fall into different sets; spaces and sizes are spread.
    #[inline]
    fn set(self, sets: u32) -> usize {
        let bits = sets.trailing_zeros();
        let mut page = self.page >> self.log2_size();
        page ^= page >> bits;
        page ^= page >> (2 * bits);
        page ^= page >> (4 * bits).min(63);
        let spread =
            (self.space ^ u64::from(self.log2_size()) << 40).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        ((page ^ spread) & u64::from(sets - 1)) as usize
    }
}

#[inline]
fn space_key(space: &Space) -> u64 {
    u64::from(space.asid.0)
        | u64::from(space.vmid.0) << 16
        | (space.world as u64) << 32
        | (space.stage as u64) << 34
        | u64::from(space.aset) << 35
}

/// The key of global entries of a space: no ASID.
const fn global_key(space: u64) -> u64 {
    space & !0xffff | GLOBAL
}

/// A fixed-capacity IOTLB. See the module.
#[derive(Clone, Debug)]
pub struct Iotlb<const N: usize> {
    keys: [Key; N],
    stamps: [u32; N],
    entries: [Entry; N],
    sets: u32,
    ways: u32,
    clock: u32,
    live: Live,
    #[cfg(feature = "alloc")]
    unbounded: Option<Unbounded>,
}

/// How many entries are live, by what a look-up or an invalidation has to know.
#[derive(Clone, Debug)]
struct Live {
    /// By log2 of the size: `counts[s][0]` of one ASID, `[1]` global.
    counts: [[u32; 2]; 64],
    /// Bit `s` is set while an entry of `2^s` bytes is live.
    sizes: u64,
    /// Likewise for global entries.
    global_sizes: u64,
    /// Entries smaller than their own stage's leaf: an address inside the leaf does not lead to them.
    fractured: u32,
    total: u32,
}

impl Live {
    const NONE: Self = Self { counts: [[0; 2]; 64], sizes: 0, global_sizes: 0, fractured: 0, total: 0 };

    fn add(&mut self, key: Key, entry: &Entry) {
        self.change(key, entry, 1);
    }

    fn remove(&mut self, key: Key, entry: &Entry) {
        self.change(key, entry, u32::MAX);
    }

    /// Adds `by` (1 or -1) to every count that the entry is part of.
    fn change(&mut self, key: Key, entry: &Entry, by: u32) {
        let global = key.space & GLOBAL != 0;
        let bit = 1 << key.log2_size();
        if let Some([own, shared]) = self.counts.get_mut(key.log2_size() as usize) {
            let count = if global { &mut *shared } else { &mut *own };
            *count = count.wrapping_add(by);
            self.sizes = if *own + *shared == 0 { self.sizes & !bit } else { self.sizes | bit };
            self.global_sizes = if *shared == 0 { self.global_sizes & !bit } else { self.global_sizes | bit };
        }
        if entry.is_fractured() {
            self.fractured = self.fractured.wrapping_add(by);
        }
        self.total = self.total.wrapping_add(by);
    }
}

const NO_ENTRY: Entry = Entry {
    space: Space { world: StreamWorld::El1, stage: Stage::S1, vmid: Vmid(0), asid: Asid(0), aset: false },
    global: false,
    input: 0,
    log2_size: 0,
    output: Pa(0),
    ipa: Ipa(0),
    s1: None,
    s2: None,
    rights_s1: Rights(0),
    rights_s2: Rights(0),
    clean: false,
    memory: MemoryType::DEVICE_NGNRNE,
    sh: Shareability::NonShareable,
    memory_s2: 0,
};

/// What an invalidation did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Effect {
    /// Slots that were looked at.
    pub scanned: u32,
    /// Entries that were dropped.
    pub dropped: u32,
}

impl<const N: usize> Iotlb<N> {
    /// An empty IOTLB of `sets` (a power of two) × `ways` entries, at most `N`; the caller has checked both.
    pub(crate) const fn new(sets: u32, ways: u32, unbounded: bool) -> Self {
        #[cfg(not(feature = "alloc"))]
        let _ = unbounded;
        Self {
            keys: [Key::EMPTY; N],
            stamps: [0; N],
            entries: [NO_ENTRY; N],
            sets,
            ways,
            clock: 0,
            live: Live::NONE,
            #[cfg(feature = "alloc")]
            unbounded: if unbounded { Some(Unbounded::new()) } else { None },
        }
    }

    /// The number of live entries.
    #[must_use]
    pub const fn len(&self) -> u32 {
        self.live.total
    }

    /// Whether nothing is live.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.live.total == 0
    }

    /// Sets and ways.
    #[must_use]
    pub const fn geometry(&self) -> (u32, u32) {
        (self.sets, self.ways)
    }

    /// The live entries with their slots, set by set; those that no set has room for come last, with slot `None`.
    pub fn entries(&self) -> impl Iterator<Item = (Option<usize>, &Entry)> {
        let slots = self.keys.iter().zip(&self.entries).enumerate();
        let kept = slots.filter(|(_, (key, _))| key.is_live()).map(|(slot, (_, entry))| (Some(slot), entry));
        #[cfg(feature = "alloc")]
        let kept = kept.chain(self.unbounded.iter().flat_map(Unbounded::entries).map(|entry| (None, entry)));
        kept
    }

    /// How many look-ups ago the entry in `slot` was last used.
    #[must_use]
    pub fn age(&self, slot: usize) -> u32 {
        self.stamps.get(slot).map_or(0, |stamp| self.clock.wrapping_sub(*stamp))
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.keys.fill(Key::EMPTY);
        self.live = Live::NONE;
        #[cfg(feature = "alloc")]
        if let Some(unbounded) = &mut self.unbounded {
            unbounded.clear();
        }
    }

    /// The entry that translates `address` in `space`.
    #[inline]
    pub fn find(&mut self, space: &Space, address: u64) -> Option<&Entry> {
        self.clock = self.clock.wrapping_add(1);
        let own = space_key(space);
        let mut sizes = self.live.sizes;
        while sizes != 0 {
            let size = sizes.trailing_zeros();
            sizes &= sizes - 1;
            let key = Key::new(own, address, size);
            let shared = Key { space: global_key(own), ..key };
            let slot = match self.slot(key) {
                None if self.live.global_sizes >> size & 1 != 0 => self.slot(shared),
                found => found,
            };
            if let Some(slot) = slot {
                if let Some(stamp) = self.stamps.get_mut(slot) {
                    *stamp = self.clock;
                }
                return self.entries.get(slot);
            }
        }
        #[cfg(feature = "alloc")]
        if let Some(unbounded) = &self.unbounded {
            let sizes = (12..64).filter(|size| self.live.sizes >> size & 1 != 0);
            return sizes
                .flat_map(|size| {
                    let key = Key::new(own, address, size);
                    [key, Key { space: global_key(own), ..key }]
                })
                .find_map(|key| unbounded.get(key));
        }
        None
    }

    /// Keeps `entry`, in the place of one that has the same key, of nothing, or of its set's least recently used.
    pub fn keep<T: Trace + ?Sized>(&mut self, entry: &Entry, trace: &mut T) {
        let key = Key::of(entry);
        trace.step(&Step::Fill(*entry));
        #[cfg(feature = "alloc")]
        if let Some(old) = self.unbounded.as_mut().and_then(|unbounded| unbounded.remove(key)) {
            self.live.remove(key, &old);
        }
        let slot = self.slot(key).or_else(|| self.slot_for(key));
        let Some(slot) = slot else { return };
        self.give_up(slot, key, trace);
        if let (Some(k), Some(e), Some(s)) =
            (self.keys.get_mut(slot), self.entries.get_mut(slot), self.stamps.get_mut(slot))
        {
            (*k, *e, *s) = (key, *entry, self.clock);
            self.live.add(key, entry);
        }
    }

    /// Drops what `scope` names. `letter` is what the architecture demands, which tells need from excess.
    pub fn invalidate<T: Trace + ?Sized>(
        &mut self,
        scope: &Scope,
        letter: &Scope,
        by: &Command,
        trace: &mut T,
    ) -> Effect {
        if self.is_empty() {
            return Effect::default();
        }
        let mut effect = Effect::default();
        match self.probes(scope) {
            Some(spaces) if !trace.wants_spared() => {
                for space in spaces {
                    self.probe(space, scope, letter, by, &mut effect, trace);
                }
            }
            _ => {
                let slots = self.sets as usize * self.ways as usize;
                effect.scanned = slots as u32;
                for slot in 0..slots {
                    self.judge(slot, scope, letter, by, &mut effect, trace);
                }
            }
        }
        #[cfg(feature = "alloc")]
        if let Some(unbounded) = &mut self.unbounded {
            let live = &mut self.live;
            unbounded.invalidate(scope, letter, by, &mut effect, trace, |key, entry| live.remove(key, entry));
        }
        effect
    }

    /// The spaces in which probing every page of the scope's span costs less than one pass; `None` if it costs more, or
    /// if keys do not lead to all that is named.
    fn probes(&self, scope: &Scope) -> Option<[u64; 2]> {
        let span = scope.span?;
        let Regime::One(world) = scope.regime else { return None };
        let stage = match scope.stage {
            Stages::S1 => Stage::S1,
            Stages::S2 => Stage::S2,
            Stages::Both => return None,
        };
        let asid = match scope.asid {
            AsidScope::OrGlobal(asid) => asid,
            // Without ASIDs, "any" is the one there is.
            AsidScope::Any if stage == Stage::S2 || world == StreamWorld::El2 => Asid(0),
            _ => return None,
        };
        // A fractured entry is keyed by its own address, but named by its leaf's.
        if self.live.fractured != 0 {
            return None;
        }
        let mut pages = 0u64;
        let mut sizes = self.live.sizes;
        while sizes != 0 {
            let size = sizes.trailing_zeros();
            sizes &= sizes - 1;
            pages = pages.saturating_add((span.last >> size) - (span.first >> size)).saturating_add(1);
        }
        if pages > u64::from(self.sets / 4).max(1) {
            return None;
        }
        let vmid = match scope.vmid {
            Some(VmidScope { vmid, ignored_bits: 0 }) => vmid,
            Some(_) => return None,
            None => Vmid(0),
        };
        let key = space_key(&Space { world, stage, vmid, asid, aset: false });
        // Commands do not tell the two sets of ASIDs apart.
        Some([key, space_key(&Space { world, stage, vmid, asid, aset: true })])
    }

    fn probe<T: Trace + ?Sized>(
        &mut self,
        space: u64,
        scope: &Scope,
        letter: &Scope,
        by: &Command,
        effect: &mut Effect,
        trace: &mut T,
    ) {
        let Some(span) = scope.span else { return };
        let mut sizes = self.live.sizes;
        while sizes != 0 {
            let size = sizes.trailing_zeros();
            sizes &= sizes - 1;
            for page in span.first >> size..=span.last >> size {
                let own = Key::new(space, page << size, size);
                let shared = Key { space: global_key(space), ..own };
                for key in [own, shared] {
                    effect.scanned += self.ways;
                    if let Some(slot) = self.slot(key) {
                        self.judge(slot, scope, letter, by, effect, trace);
                    }
                }
            }
        }
    }

    /// Drops or spares the entry in `slot`.
    fn judge<T: Trace + ?Sized>(
        &mut self,
        slot: usize,
        scope: &Scope,
        letter: &Scope,
        by: &Command,
        effect: &mut Effect,
        trace: &mut T,
    ) {
        let (Some(key), Some(entry)) = (self.keys.get_mut(slot), self.entries.get(slot)) else { return };
        if !key.is_live() {
            return;
        }
        match scope.verdict(entry) {
            Verdict::Drop => {
                let needed = letter.verdict(entry) == Verdict::Drop;
                trace.step(&Step::Drop { by: *by, entry: *entry, needed });
                self.live.remove(*key, entry);
                *key = Key::EMPTY;
                effect.dropped += 1;
            }
            Verdict::Spare(reason) => trace.step(&Step::Spare { by: *by, entry: *entry, reason }),
        }
    }

    /// The slot that holds `key`.
    #[inline]
    fn slot(&self, key: Key) -> Option<usize> {
        let first = key.set(self.sets) * self.ways as usize;
        let ways = self.keys.get(first..first + self.ways as usize)?;
        ways.iter().position(|k| *k == key).map(|way| first + way)
    }

    /// The slot of `key`'s set that is free, or was used longest ago.
    fn slot_for(&self, key: Key) -> Option<usize> {
        let first = key.set(self.sets) * self.ways as usize;
        let slots = first..first + self.ways as usize;
        let free = self.keys.get(slots.clone())?.iter().position(|k| !k.is_live());
        free.map(|way| first + way).or_else(|| slots.max_by_key(|slot| self.age(*slot)))
    }

    /// Empties `slot` for `key`. What was there is replaced if it has the same key, otherwise evicted.
    fn give_up<T: Trace + ?Sized>(&mut self, slot: usize, key: Key, trace: &mut T) {
        let (Some(old_key), Some(old)) = (self.keys.get_mut(slot), self.entries.get(slot)) else { return };
        if !old_key.is_live() {
            return;
        }
        let (evicted, old) = (core::mem::replace(old_key, Key::EMPTY), *old);
        #[cfg(feature = "alloc")]
        if let Some(unbounded) = self.unbounded.as_mut().filter(|_| evicted != key) {
            unbounded.insert(evicted, old);
            return;
        }
        self.live.remove(evicted, &old);
        if evicted != key {
            trace.step(&Step::Evict(old));
        }
    }
}

impl Entry {
    /// The granule and level of the own stage's leaf, for display: 4 KiB level 3 where there is none.
    #[must_use]
    pub fn shape(&self) -> (Granule, Level) {
        self.own_leaf().map_or((Granule::Kib4, Level::L3), |leaf| (leaf.granule, leaf.level))
    }
}
