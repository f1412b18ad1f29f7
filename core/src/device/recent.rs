//! The streams of the last transactions: STE and CD as they were parsed, and what they make of an access, so that neither
//! has to be asked again.
//!
//! Everything here is derived from a remembered STE and CD, and forgotten with them: by any CFGI command, when SMMUEN or
//! E2H changes, and when caches are dropped. Only streams whose stage 1 translates are here. What a range does not accept
//! and what an entry does not allow goes the long way, which finds the fault.

use super::Transaction;
use super::nested::Pair;
use crate::arch::addr::{Level, low_mask};
use crate::arch::entry::{Entry, Space, TableLimits};
use crate::arch::features::Features;
use crate::arch::id::{StreamId, StreamWorld, SubstreamId};
use crate::cache::iotlb::{Character, Packed, SpaceRefs};
use crate::format::cd::{Cd, Half};
use crate::format::descriptor::field;
use crate::format::ste::{Overrides, Stream};
use crate::walk::geometry::Usual;
use crate::walk::permission::{Access, Demand};
use crate::walk::{Found, Path};

const SLOTS: usize = 16;

/// What every access of a known stream asks for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Recent {
    /// Whose: see [`key`].
    key: u64,
    windows: Windows,
    /// What each kind of access needs.
    needs: [Need; Kind::ALL],
    pub(super) spaces: SpaceRefs,
}

/// What its misses ask for besides.
#[derive(Clone, Debug)]
pub(super) struct Known {
    pub(super) stream: Stream,
    pub(super) cd: Cd,
    pub(super) space: Space,
    /// How the lower and the upper range are looked up.
    paths: [Option<Path>; 2],
    /// The same where nothing is unusual.
    usual: [Option<Usual>; 2],
    last_table: LastTable,
    alike: Alike,
    pub(super) pair: Pair,
}

/// The last level's table that was walked through last, of those that are remembered.
#[derive(Clone, Copy, Debug)]
struct LastTable {
    /// The addresses that it resolves, without those bits.
    region: u64,
    /// log2 of the bytes that it resolves.
    shift: u32,
    table: u64,
    /// Current until any table is dropped or replaced.
    changes: u64,
}

impl LastTable {
    const NONE: Self = Self { region: u64::MAX, shift: 0, table: 0, changes: 0 };
}

/// How an access arrives: whether it reads, writes or does both, and whether it is an instruction fetch and privileged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Kind(u8);

impl Kind {
    const ALL: usize = 16;

    #[inline]
    pub(super) const fn of(transaction: &Transaction) -> Self {
        let Transaction { access, privileged, instruction, .. } = transaction;
        Self((*access as u8) << 2 | (*instruction as u8) << 1 | *privileged as u8)
    }

    const fn access(self) -> Access {
        match self.0 >> 2 {
            0 => Access::Read,
            1 => Access::Write,
            _ => Access::Atomic,
        }
    }
}

/// What a kind of access becomes by `PRIVCFG` and `INSTCFG`: the rights that it needs `[5:0]`, whether it is privileged
/// `[6]`, and an instruction fetch `[7]`. Above that, which stream's it is `[11:8]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Need(u16);

impl Need {
    fn of(kind: Kind, overrides: &Overrides, place: usize) -> Self {
        let demand = Demand {
            access: kind.access(),
            privileged: overrides.privileged.unwrap_or(kind.0 & 1 != 0),
            // A write is never an instruction fetch.
            instruction: overrides.instruction.unwrap_or(kind.0 & 2 != 0) && kind.access() == Access::Read,
            asks: false,
        };
        let Demand { privileged, instruction, .. } = demand;
        let bits = demand.required() | u8::from(privileged) << 6 | u8::from(instruction) << 7;
        Self(u16::from(bits) | ((place % SLOTS) as u16) << 8)
    }

    /// The question that such an access asks of the IOTLB about a page.
    #[inline]
    pub(super) const fn question(self, address: u64) -> u64 {
        address & !low_mask(12) | self.0 as u64
    }

    /// An access that needs this.
    pub(super) const fn demand(self, access: Access) -> Demand {
        Demand { access, privileged: self.privileged(), instruction: self.instruction(), asks: false }
    }

    #[inline]
    pub(super) const fn rights(self) -> u8 {
        self.0 as u8 & 0x3f
    }

    #[inline]
    pub(super) const fn privileged(self) -> bool {
        self.0 & 1 << 6 != 0
    }

    #[inline]
    pub(super) const fn instruction(self) -> bool {
        self.0 & 1 << 7 != 0
    }
}

/// The two ranges of input addresses, by bit 55 of an address: those whose bits of `kept`, seen from the range's own end,
/// are below the limit.
#[derive(Clone, Copy, Debug)]
struct Windows {
    ends: [u64; 2],
    kept: [u64; 2],
    /// For unprivileged accesses, then for privileged ones; 0 where the range is closed.
    limits: [[u64; 2]; 2],
}

/// The last leaf that became an entry by its descriptor alone. Another one that differs from it in nothing but the address
/// becomes the same: what [`Character`] holds is a function of the rest.
#[derive(Clone, Copy, Debug)]
struct Alike {
    /// The descriptor without its address.
    leaf: u64,
    /// What tables on the way to it forbid; log2 of the bytes that it maps, or 0 if they forbid anything.
    limits: TableLimits,
    shift: u32,
    level: Level,
    upper: bool,
    character: Character,
}

impl Alike {
    const NOTHING: Self = Self {
        leaf: 0,
        limits: TableLimits::NONE,
        shift: 0,
        level: Level::L0,
        upper: false,
        character: Character::NONE,
    };
}

/// Bits of a leaf that may be address, whatever the granule.
const ADDRESS: u64 = low_mask(48) & !low_mask(12);

impl Windows {
    const CLOSED: Self = Self { ends: [0; 2], kept: [0; 2], limits: [[0; 2]; 2] };

    fn new(cd: &Cd, world: StreamWorld) -> Self {
        // A StreamWorld with one range takes bit 55 as any other.
        let single = world == StreamWorld::El2;
        let halves = [cd.lower.as_ref(), if single { cd.lower.as_ref() } else { cd.upper.as_ref() }];
        let kept = |half: &Half| if half.top_byte_ignored { low_mask(56) } else { u64::MAX };
        let limit = |half: &Half| 1 << half.input_bits;
        let open = |half: &Half| if half.unprivileged_disabled && !single { 0 } else { limit(half) };
        Self {
            ends: [0, if single { 0 } else { u64::MAX }],
            kept: halves.map(|half| half.map_or(0, kept)),
            limits: [halves.map(|half| half.map_or(0, open)), halves.map(|half| half.map_or(0, limit))],
        }
    }
}

/// The most recent streams.
#[derive(Clone, Debug)]
pub(super) struct Recents {
    slots: [Recent; SLOTS],
    known: [Option<Known>; SLOTS],
}

/// StreamID and SubstreamID in one word. SubstreamIDs that none of the architecture's 20 bits reach are not told apart: no
/// stream is known by such a one.
#[inline]
fn key(stream: StreamId, substream: Option<SubstreamId>) -> u64 {
    let ssid = substream.map_or(0, |ssid| ssid.0.saturating_add(1));
    u64::from(stream.0) | u64::from(ssid) << 32
}

/// The one place of a key.
#[inline]
const fn slot(key: u64) -> usize {
    (key ^ key >> 4 ^ key >> 32) as usize % SLOTS
}

impl Recents {
    pub(super) const fn new() -> Self {
        Self { slots: [Recent::NOBODY; SLOTS], known: [const { None }; SLOTS] }
    }

    pub(super) fn clear(&mut self) {
        self.slots.fill(Recent::NOBODY);
    }

    /// Where a stream is, if it is known. (See [`Recents::at`].)
    #[inline]
    pub(super) fn find(&self, stream: StreamId, substream: Option<SubstreamId>) -> Option<usize> {
        let key = key(stream, substream);
        (self.slots.get(slot(key))?.key == key).then_some(slot(key))
    }

    #[inline]
    pub(super) fn at(&mut self, place: usize) -> Option<&mut Recent> {
        self.slots.get_mut(place % SLOTS)
    }

    /// All that is known of a stream.
    pub(super) fn known(&mut self, place: usize) -> Option<(&mut Recent, &mut Known)> {
        Some((self.slots.get_mut(place % SLOTS)?, self.known.get_mut(place % SLOTS)?.as_mut()?))
    }

    /// Keeps a stream, in the place of another.
    pub(super) fn keep(
        &mut self,
        id: StreamId,
        substream: Option<SubstreamId>,
        known: Known,
        spaces: SpaceRefs,
    ) {
        let key = key(id, substream);
        let Known { stream, cd, space, .. } = &known;
        if let Some(recent) = self.slots.get_mut(slot(key)) {
            *recent = Recent::new(key, stream, cd, space.world, spaces);
        }
        if let Some(kept) = self.known.get_mut(slot(key)) {
            *kept = Some(known);
        }
    }
}

impl Recent {
    /// The key is that of an impossible SubstreamID; no range is open.
    const NOBODY: Self = Self {
        key: u64::MAX,
        windows: Windows::CLOSED,
        needs: [Need(0); Kind::ALL],
        spaces: SpaceRefs::NONE,
    };

    fn new(key: u64, stream: &Stream, cd: &Cd, world: StreamWorld, spaces: SpaceRefs) -> Self {
        Self {
            key,
            windows: Windows::new(cd, world),
            needs: core::array::from_fn(|kind| Need::of(Kind(kind as u8), &stream.overrides, slot(key))),
            spaces,
        }
    }

    /// What a kind of access needs.
    #[inline]
    pub(super) fn need(&self, kind: Kind) -> Need {
        self.needs.get(usize::from(kind.0) % Kind::ALL).copied().unwrap_or(Need(0))
    }

    /// The address that the IOTLB knows `address` by; `None` if no range accepts it.
    #[inline]
    pub(super) fn accept(&self, address: u64, privileged: bool) -> Option<u64> {
        let Windows { ends, kept, limits } = &self.windows;
        let upper = (address >> 55 & 1) as usize;
        let end = *ends.get(upper)?;
        let from_end = (address ^ end) & *kept.get(upper)?;
        let limit = *limits.get(usize::from(privileged))?.get(upper)?;
        (from_end < limit).then_some(from_end ^ end)
    }
}

impl Known {
    /// A stream whose CD has told its space.
    pub(super) fn new(stream: &Stream, cd: &Cd, space: Space, features: &Features) -> Self {
        let path = |half: &Option<Half>| half.as_ref().map(|half| Path::new(cd, half, features));
        let paths = [path(&cd.lower), path(&cd.upper)];
        let usual = paths.map(|path| path?.usual());
        let (last_table, alike, pair) = (LastTable::NONE, Alike::NOTHING, Pair::NOTHING);
        Self { stream: *stream, cd: *cd, space, paths, usual, last_table, alike, pair }
    }

    /// Whether an accepted address belongs to the upper range.
    #[inline]
    pub(super) fn is_upper(&self, address: u64) -> bool {
        address >> 55 & 1 != 0 && self.space.world != StreamWorld::El2
    }

    /// How one of the two ranges is looked up.
    #[inline]
    pub(super) fn path(&self, upper: bool) -> Option<&Path> {
        self.paths.get(usize::from(upper))?.as_ref()
    }

    /// The same, where it is as usual.
    #[inline]
    pub(super) fn usual(&self, upper: bool) -> Option<&Usual> {
        self.usual.get(usize::from(upper))?.as_ref()
    }

    /// The remembered table of the last level that resolves `input`, if it was the last one.
    #[inline]
    pub(super) fn last_table(&self, input: u64, changes: u64) -> Option<u64> {
        let LastTable { region, shift, table, .. } = self.last_table;
        let same = input >> (shift % 64) == region && self.last_table.changes == changes;
        same.then_some(table)
    }

    /// Remembers the table of the last level that has led to a leaf, if it forbids nothing.
    pub(super) fn keep_table(&mut self, upper: bool, input: u64, found: &Found, changes: u64) {
        if let Some(path) = self.path(upper)
            && let Some(usual) = self.usual(upper)
            && found.level == Level::L3
            && found.limits == TableLimits::NONE
            && path.granule.level_shift(Level::L2) <= path.start_shift()
        {
            let shift = path.granule.level_shift(Level::L2);
            let table = usual.table_at(found.location);
            self.last_table = LastTable { region: input >> shift, shift, table, changes };
        }
    }

    /// One of the two ranges.
    #[inline]
    pub(super) const fn half(&self, upper: bool) -> Option<&Half> {
        if upper { self.cd.upper.as_ref() } else { self.cd.lower.as_ref() }
    }

    /// The same for a leaf of `2^shift` bytes that no table on the way to it limits.
    #[inline]
    pub(super) const fn usual_character(&self, word: u64, shift: u32, upper: bool) -> Option<Character> {
        let Alike { leaf, shift: log2_size, character, .. } = self.alike;
        let alike = word & !ADDRESS == leaf && shift == log2_size && upper == self.alike.upper;
        if alike { Some(character) } else { None }
    }

    /// What a leaf of stage 1 becomes, if one like it has become an entry before.
    #[inline]
    pub(super) fn alike(&self, found: &Found, upper: bool) -> Option<Character> {
        let Alike { leaf, level, limits, .. } = self.alike;
        let alike = found.word & !ADDRESS == leaf && found.level == level && found.limits == limits;
        (alike && upper == self.alike.upper).then_some(self.alike.character)
    }

    /// Learns from a leaf of stage 1 that has become `entry`: not where its neighbours, or an update of its flags, had a
    /// part in that.
    pub(super) fn learn(&mut self, found: &Found, upper: bool, entry: &Entry) {
        let word = found.word;
        let alone = field::CONTIGUOUS.get(word) == 0;
        let firm = field::AF.get(word) != 0 && !(self.cd.hardware_dirty && field::DBM.get(word) != 0);
        if alone && firm {
            let Found { limits, level, .. } = *found;
            let shift = if limits == TableLimits::NONE { entry.log2_size.into() } else { 0 };
            let character = Packed::new(entry).character();
            self.alike = Alike { leaf: word & !ADDRESS, limits, shift, level, upper, character };
        }
    }
}
