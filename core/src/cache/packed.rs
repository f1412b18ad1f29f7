//! An entry's payload in three words: what the IOTLB keeps beside the tag.

use crate::arch::addr::{Granule, Ipa, Level, Pa, Stage, align_down};
use crate::arch::attributes::{MemoryType, Shareability};
use crate::arch::bits::{Field, disjoint};
use crate::arch::entry::{Entry, Leaf, Rights, Space};
use crate::walk::Second;

/// Memory type and shareability come first: they are what every hit reads.
const MEMORY: Field = Field::bits(7, 0);
const SH: Field = Field::bits(9, 8);
const RIGHTS_S1: Field = Field::bits(15, 10);
const RIGHTS_S2: Field = Field::bits(21, 16);
const CLEAN: Field = Field::bit(22);
const GLOBAL: Field = Field::bit(23);
const S1: Field = Field::bits(34, 24);
const S2: Field = Field::bits(45, 35);
const MEMORY_S2: Field = Field::bits(49, 46);
const FRACTURED: Field = Field::bit(50);

const _: () =
    assert!(disjoint(&[MEMORY, SH, RIGHTS_S1, RIGHTS_S2, CLEAN, GLOBAL, S1, S2, MEMORY_S2, FRACTURED]));

/// The rights of an answer, below the first output address.
const ANSWER_RIGHTS: Field = Field::bits(5, 0);
const ANSWER_PAGE: Field = Field::bits(63, 12);

/// 24 bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Packed {
    /// First output address; below it, what may be done at once.
    answer: u64,
    ipa: u64,
    bits: u64,
}

/// All of a payload that no address has a part in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Character {
    bits: u64,
    rights: Rights,
}

impl Character {
    /// Suits no access.
    pub(crate) const NONE: Self = Self { bits: 0, rights: Rights(0) };

    fn of(entry: &Entry) -> Self {
        let fields = [
            (RIGHTS_S1, entry.rights_s1.0.into()),
            (RIGHTS_S2, entry.rights_s2.0.into()),
            (CLEAN, entry.clean.into()),
            (GLOBAL, entry.global.into()),
            (S1, pack_leaf(entry.s1)),
            (S2, pack_leaf(entry.s2)),
            (MEMORY, entry.memory.mair().into()),
            (SH, entry.sh as u64),
            (MEMORY_S2, entry.memory_s2.into()),
            (FRACTURED, entry.is_fractured().into()),
        ];
        let bits = fields.into_iter().fold(0, |bits, (field, value)| field.put(bits, value));
        // Where a descriptor has to be marked dirty first, nothing may be written at once.
        let dirty = if entry.clean { Rights::PW | Rights::UW } else { 0 };
        let rights = Rights(entry.rights_s1.0 & entry.rights_s2.0).without(dirty);
        Self { bits, rights }
    }

    /// What may be done at once.
    #[inline]
    pub(crate) const fn rights(self) -> Rights {
        self.rights
    }

    /// The payload of `2^log2_size` bytes with this character, some of which are at `ipa` and `output`.
    #[inline]
    pub(crate) const fn of_both(self, output: Pa, ipa: Ipa, log2_size: u32) -> Packed {
        let first = align_down(output.0, log2_size);
        Packed { answer: first | self.rights.0 as u64, ipa: align_down(ipa.0, log2_size), bits: self.bits }
    }

    /// The payload of a leaf of stage 1 alone with this character, at `output`.
    #[inline]
    pub(crate) const fn at(self, output: u64) -> Packed {
        Packed { answer: output | self.rights.0 as u64, ipa: output, bits: self.bits }
    }
}

impl Packed {
    pub(super) const EMPTY: Self = Self { answer: 0, ipa: 0, bits: 0 };

    pub(crate) fn new(entry: &Entry) -> Self {
        let Character { bits, rights } = Character::of(entry);
        Self { answer: entry.output.0 | u64::from(rights.0), ipa: entry.ipa.0, bits }
    }

    /// The payload of a leaf of stage 2 alone, whose addresses are those around `ipa`.
    #[inline]
    pub(crate) fn of_second(second: &Second, ipa: Ipa) -> Self {
        let Second { output, log2_size, granule, level, rights, clean, memory, sh } = *second;
        let leaf = pack(granule, level, log2_size);
        // All rights of stage 1, Write-Back, and global, as any entry without stage 1.
        let bits = MEMORY.mask()
            | RIGHTS_S1.mask()
            | GLOBAL.mask()
            | (sh as u64) << SH.lo()
            | u64::from(rights.0) << RIGHTS_S2.lo()
            | u64::from(clean) << CLEAN.lo()
            | leaf << S2.lo()
            | u64::from(memory) << MEMORY_S2.lo();
        let dirty = if clean { Rights::PW | Rights::UW } else { 0 };
        let ipa = align_down(ipa.0, log2_size.into());
        Self { answer: output.0 | u64::from(rights.without(dirty).0), ipa, bits }
    }

    /// What [`Packed::of_second`] was made of; `None` if stage 2 had no part in the entry.
    #[inline]
    pub(super) fn second(self, log2_size: u32) -> Option<Second> {
        let Leaf { granule, level, .. } = unpack_leaf(S2.get(self.bits))?;
        Some(Second {
            output: Pa(self.output()),
            log2_size: log2_size as u8,
            granule,
            level,
            rights: Rights(RIGHTS_S2.get(self.bits) as u8),
            clean: CLEAN.get(self.bits) != 0,
            memory: MEMORY_S2.get(self.bits) as u8,
            sh: sh(self.bits),
        })
    }

    /// All but the addresses.
    #[inline]
    pub(crate) const fn character(self) -> Character {
        Character { bits: self.bits, rights: self.rights() }
    }

    /// First output address.
    #[inline]
    pub(crate) const fn output(self) -> u64 {
        self.answer & ANSWER_PAGE.mask()
    }

    /// What may be done at once.
    #[inline]
    pub(crate) const fn rights(self) -> Rights {
        Rights(ANSWER_RIGHTS.get(self.answer) as u8)
    }

    /// Memory type and shareability, for [`memory`] and [`sh`].
    #[inline]
    pub(super) const fn attributes(self) -> u64 {
        self.bits & (MEMORY.mask() | SH.mask())
    }

    /// Whether every ASID finds it.
    #[inline]
    pub(super) const fn is_global(self) -> bool {
        GLOBAL.get(self.bits) != 0
    }

    /// Whether the entry is smaller than its own stage's leaf.
    #[inline]
    pub(super) const fn is_fractured(self) -> bool {
        FRACTURED.get(self.bits) != 0
    }

    /// log2 of the bytes that the leaf of `stage` maps, for an entry of `2^log2_size`.
    #[inline]
    pub(super) fn log2_leaf(self, stage: Stage, log2_size: u32) -> u32 {
        let leaf = match stage {
            Stage::S1 => S1.get(self.bits),
            Stage::S2 => S2.get(self.bits),
        };
        ((leaf >> 5) as u32).max(log2_size)
    }

    #[inline]
    pub(crate) fn entry(self, space: Space, input: u64, log2_size: u8) -> Entry {
        Entry {
            space,
            global: GLOBAL.get(self.bits) != 0,
            input,
            log2_size,
            output: Pa(self.output()),
            ipa: Ipa(self.ipa),
            s1: unpack_leaf(S1.get(self.bits)),
            s2: unpack_leaf(S2.get(self.bits)),
            rights_s1: Rights(RIGHTS_S1.get(self.bits) as u8),
            rights_s2: Rights(RIGHTS_S2.get(self.bits) as u8),
            clean: CLEAN.get(self.bits) != 0,
            memory: memory(self.bits),
            sh: sh(self.bits),
            memory_s2: MEMORY_S2.get(self.bits) as u8,
        }
    }
}

#[inline]
pub(super) const fn memory(bits: u64) -> MemoryType {
    MemoryType::from_canonical(MEMORY.get(bits) as u8)
}

#[inline]
pub(super) const fn sh(bits: u64) -> Shareability {
    match SH.get(bits) {
        0 => Shareability::NonShareable,
        1 => Shareability::Outer,
        _ => Shareability::Inner,
    }
}

/// Presence, granule, level and size in 11 bits.
fn pack_leaf(leaf: Option<Leaf>) -> u64 {
    leaf.map_or(0, |leaf| pack(leaf.granule, leaf.level, leaf.log2_size))
}

#[inline]
fn pack(granule: Granule, level: Level, log2_size: u8) -> u64 {
    1 | (granule as u64) << 1 | u64::from(level.number()) << 3 | u64::from(log2_size) << 5
}

#[inline]
fn unpack_leaf(bits: u64) -> Option<Leaf> {
    let granule = match bits >> 1 & 0b11 {
        0 => Granule::Kib4,
        1 => Granule::Kib16,
        _ => Granule::Kib64,
    };
    let level = Level::from_number((bits >> 3 & 0b11) as u32);
    (bits & 1 != 0).then_some(Leaf { granule, level, log2_size: (bits >> 5) as u8 })
}
