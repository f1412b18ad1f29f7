//! What stage 2 makes of an address, in two words: a nested walk asks for it at each table of stage 1.

use crate::arch::addr::{Granule, Ipa, Level, Pa, align_down, low_mask};
use crate::arch::attributes::{MemoryType, Shareability};
use crate::arch::bits::Field;
use crate::arch::entry::{Entry, Leaf, Rights, Space};
use crate::format::descriptor::field as leaf;

/// Where the parts are, which leaves room for those of stage 1: an IOTLB keeps the bits as they are.
pub(crate) mod field {
    use super::Field;

    /// Shareability, as its number.
    pub(crate) const SH: Field = Field::bits(9, 8);
    pub(crate) const RIGHTS: Field = Field::bits(21, 16);
    pub(crate) const CLEAN: Field = Field::bit(22);
    /// Presence, granule, level and size of the leaf: see [`super::pack_leaf`].
    pub(crate) const LEAF: Field = Field::bits(45, 35);
    /// `MemAttr[3:0]`.
    pub(crate) const MEMORY: Field = Field::bits(49, 46);
    /// log2 of the bytes that the leaf maps.
    pub(super) const SIZE: Field = Field::bits(45, 40);

    pub(super) const ALL: u64 = SH.mask() | RIGHTS.mask() | CLEAN.mask() | LEAF.mask() | MEMORY.mask();
}

/// A leaf of stage 2, all that differs from one to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Second {
    /// First output address.
    output: Pa,
    bits: u64,
}

impl Second {
    /// What the leaf `word` says; `rights` and `clean` are `walk::permission`'s.
    #[inline]
    pub(super) const fn new(output: Pa, leaf: Leaf, rights: Rights, clean: bool, word: u64) -> Self {
        let sh = Shareability::from_sh(leaf::SH.get(word) as u8);
        let bits = pack_leaf(leaf) << field::LEAF.lo()
            | (rights.0 as u64) << field::RIGHTS.lo()
            | (clean as u64) << field::CLEAN.lo()
            | leaf::MEMATTR.get(word) << field::MEMORY.lo()
            | (sh as u64) << field::SH.lo();
        Self { output, bits }
    }

    /// From the first output address, and bits that hold those of a leaf among others; `None` if they hold none.
    #[inline]
    pub(crate) const fn from_bits(output: u64, bits: u64) -> Option<Self> {
        if bits & 1 << field::LEAF.lo() == 0 {
            return None;
        }
        Some(Self { output: Pa(output), bits: bits & field::ALL })
    }

    /// The same at another address.
    #[inline]
    pub(crate) const fn moved(self, output: Pa) -> Self {
        Self { output, ..self }
    }

    /// The leaf's level.
    pub(crate) fn level(&self) -> Option<Level> {
        self.leaf().map(|leaf| leaf.level)
    }

    #[inline]
    pub(crate) const fn bits(&self) -> u64 {
        self.bits
    }

    #[inline]
    pub(crate) const fn output(&self) -> Pa {
        self.output
    }

    /// Where `ipa` is, one of its addresses.
    #[inline]
    pub(crate) const fn at(&self, ipa: Ipa) -> Pa {
        Pa(self.output.0 | ipa.0 & low_mask(self.log2_size()))
    }

    #[inline]
    pub(crate) const fn log2_size(&self) -> u32 {
        field::SIZE.get(self.bits) as u32
    }

    pub(crate) const fn leaf(&self) -> Option<Leaf> {
        unpack_leaf(field::LEAF.get(self.bits))
    }

    #[inline]
    pub(crate) const fn rights(&self) -> Rights {
        Rights(field::RIGHTS.get(self.bits) as u8)
    }

    /// See [`Entry::clean`].
    #[inline]
    pub(crate) const fn is_clean(&self) -> bool {
        field::CLEAN.get(self.bits) != 0
    }

    /// `MemAttr[3:0]`.
    #[inline]
    pub(crate) const fn memory(&self) -> u8 {
        field::MEMORY.get(self.bits) as u8
    }

    pub(crate) const fn sh(&self) -> Shareability {
        unpack_sh(field::SH.get(self.bits))
    }

    /// The translation without stage 1, of the addresses around `ipa`.
    pub(crate) fn entry(&self, space: &Space, ipa: Ipa) -> Entry {
        let input = align_down(ipa.0, self.log2_size());
        Entry {
            space: *space,
            global: true,
            input,
            log2_size: self.log2_size() as u8,
            output: self.output,
            ipa: Ipa(input),
            s1: None,
            s2: self.leaf(),
            rights_s1: Rights::ALL,
            rights_s2: self.rights(),
            clean: self.is_clean(),
            memory: MemoryType::WRITE_BACK,
            sh: self.sh(),
            memory_s2: self.memory(),
        }
    }
}

/// A leaf in 11 bits, the lowest of which is 1.
#[inline]
pub(crate) const fn pack_leaf(leaf: Leaf) -> u64 {
    1 | (leaf.granule as u64) << 1 | (leaf.level.number() as u64) << 3 | (leaf.log2_size as u64) << 5
}

/// The leaf of 11 bits, unless the lowest is 0.
#[inline]
pub(crate) const fn unpack_leaf(bits: u64) -> Option<Leaf> {
    if bits & 1 == 0 {
        return None;
    }
    let granule = match bits >> 1 & 0b11 {
        0 => Granule::Kib4,
        1 => Granule::Kib16,
        _ => Granule::Kib64,
    };
    let level = Level::from_number((bits >> 3 & 0b11) as u32);
    Some(Leaf { granule, level, log2_size: (bits >> 5) as u8 })
}

/// The shareability of a number.
#[inline]
pub(crate) const fn unpack_sh(number: u64) -> Shareability {
    match number {
        0 => Shareability::NonShareable,
        1 => Shareability::Outer,
        _ => Shareability::Inner,
    }
}
