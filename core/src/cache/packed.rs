//! An entry's payload in three words: what the IOTLB keeps beside the tag.

use crate::arch::addr::{Ipa, Pa, Stage, align_down};
use crate::arch::attributes::{MemoryType, Shareability};
use crate::arch::bits::{Field, disjoint};
use crate::arch::entry::{Entry, Rights, Space};
use crate::walk::second::{Second, field, pack_leaf, unpack_leaf, unpack_sh};

/// Memory type and shareability come first: they are what every hit reads.
const MEMORY: Field = Field::bits(7, 0);
const SH: Field = field::SH;
const RIGHTS_S1: Field = Field::bits(15, 10);
const RIGHTS_S2: Field = field::RIGHTS;
const CLEAN: Field = field::CLEAN;
const GLOBAL: Field = Field::bit(23);
const S1: Field = Field::bits(34, 24);
const S2: Field = field::LEAF;
const MEMORY_S2: Field = field::MEMORY;
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
            (S1, entry.s1.map_or(0, pack_leaf)),
            (S2, entry.s2.map_or(0, pack_leaf)),
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

    /// Whether it belongs to its ASID alone.
    #[inline]
    pub(crate) const fn is_own(self) -> bool {
        GLOBAL.get(self.bits) == 0
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
    pub(crate) const fn of_second(second: &Second, ipa: Ipa) -> Self {
        // Write-Back, all rights of stage 1, and global, as any entry without stage 1.
        const ALONE: u64 = MEMORY.mask() | RIGHTS_S1.mask() | GLOBAL.mask();
        let dirty = if second.is_clean() { Rights::PW | Rights::UW } else { 0 };
        Self {
            answer: second.output().0 | second.rights().without(dirty).0 as u64,
            ipa: align_down(ipa.0, second.log2_size()),
            bits: ALONE | second.bits(),
        }
    }

    /// The leaf of stage 2 alone that it was made of; `None` if stage 2 had no part in the entry.
    #[inline]
    pub(crate) const fn second(self) -> Option<Second> {
        Second::from_bits(self.output(), self.bits)
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

    #[inline]
    pub(crate) const fn memory(self) -> MemoryType {
        memory(self.bits)
    }

    #[inline]
    pub(crate) const fn sh(self) -> Shareability {
        sh(self.bits)
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
const fn memory(bits: u64) -> MemoryType {
    MemoryType::from_canonical(MEMORY.get(bits) as u8)
}

#[inline]
const fn sh(bits: u64) -> Shareability {
    unpack_sh(SH.get(bits))
}
