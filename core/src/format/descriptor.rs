//! VMSAv8-64 translation table descriptors (DDI 0487 §D8.3). Raw fields; who may do what is `walk::permission`.

use crate::arch::addr::{Granule, Level, align_down, low_mask};
use crate::arch::bits::Field;

/// Size of a descriptor in bytes.
pub const DESCRIPTOR_BYTES: u64 = 8;

/// Fields of a block or page descriptor, stage 1 names first, stage 2 beside them.
pub mod field {
    use super::Field;

    /// `AttrIndx`.
    pub const ATTRINDX: Field = Field::bits(4, 2);
    /// Stage 2 `MemAttr`.
    pub const MEMATTR: Field = Field::bits(5, 2);
    /// `AP[1]`: unprivileged access.
    pub const AP1: Field = Field::bit(6);
    /// `AP[2]`: read-only.
    pub const AP2: Field = Field::bit(7);
    /// `S2AP[0]`: readable.
    pub const S2AP0: Field = Field::bit(6);
    /// `S2AP[1]`: writable.
    pub const S2AP1: Field = Field::bit(7);
    /// `SH`.
    pub const SH: Field = Field::bits(9, 8);
    /// `AF`.
    pub const AF: Field = Field::bit(10);
    /// `nG`.
    pub const NG: Field = Field::bit(11);
    /// `DBM`.
    pub const DBM: Field = Field::bit(51);
    /// `Contiguous`.
    pub const CONTIGUOUS: Field = Field::bit(52);
    /// `PXN`.
    pub const PXN: Field = Field::bit(53);
    /// `UXN`, or `XN` where there is one privilege.
    pub const UXN: Field = Field::bit(54);
    /// Stage 2 `XN[1:0]`.
    pub const S2XN: Field = Field::bits(54, 53);
    /// `PXNTable` of a table descriptor.
    pub const PXNTABLE: Field = Field::bit(59);
    /// `UXNTable`, or `XNTable`.
    pub const UXNTABLE: Field = Field::bit(60);
    /// `APTable`.
    pub const APTABLE: Field = Field::bits(62, 61);
}

/// What a descriptor is at its level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Descriptor {
    /// Invalid, reserved, or a block at a level that has none.
    Invalid,
    /// The next table's address.
    Table(u64),
    /// A block or page: its output address, aligned to its size.
    Leaf(u64),
}

impl Descriptor {
    /// `word` read at `level` of tables of `granule`, on an SMMU whose OAS is `oas_bits`.
    ///
    /// With 64 KiB granules and an OAS of 52 bits, `[15:12]` are address bits 51 to 48; otherwise they are RES0 and
    /// ignored.
    #[must_use]
    #[inline]
    pub fn parse(word: u64, granule: Granule, level: Level, oas_bits: u8) -> Self {
        let high = if granule == Granule::Kib64 && oas_bits >= 52 { (word >> 12 & 0xf) << 48 } else { 0 };
        let address = |shift: u32| align_down(word & low_mask(48), shift) | high;
        match (word & 0b11, level) {
            (0b11, Level::L3) => Self::Leaf(address(granule.shift())),
            (0b11, _) => Self::Table(address(granule.shift())),
            (0b01, Level::L0 | Level::L1 | Level::L2) if granule.has_leaf(level, oas_bits.into()) => {
                Self::Leaf(address(granule.level_shift(level)))
            }
            _ => Self::Invalid,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Descriptor::{self, Invalid, Leaf, Table};
    use crate::arch::addr::Granule::{Kib4, Kib16, Kib64};
    use crate::arch::addr::Level::{L0, L1, L2, L3};

    /// Words written by hand from DDI 0487 §D8.3.
    #[test]
    fn known_words() {
        let rows = [
            (0x0060_0000_8000_0f01, Kib4, L1, 48, Leaf(0x8000_0000)),
            (0x0060_0000_8000_0f01, Kib4, L0, 48, Invalid),
            (0x0060_0000_8000_0f01, Kib16, L1, 48, Invalid),
            (0x0000_0000_8012_3701, Kib4, L2, 48, Leaf(0x8000_0000)),
            (0x0000_0000_8012_3703, Kib4, L2, 48, Table(0x8012_3000)),
            (0x0000_0000_8012_3703, Kib4, L3, 48, Leaf(0x8012_3000)),
            (0x0000_0000_8012_3701, Kib4, L3, 48, Invalid),
            (0x0000_0000_8012_3702, Kib4, L3, 48, Invalid),
            (0x0000_0000_8012_7703, Kib16, L3, 48, Leaf(0x8012_4000)),
            (0x0000_ffff_ffff_f703, Kib64, L3, 48, Leaf(0xffff_ffff_0000)),
            (0x0000_ffff_ffff_f703, Kib64, L3, 52, Leaf(0xf_ffff_ffff_0000)),
            (0x0000_0400_0000_2701, Kib64, L1, 52, Leaf(0x2_0400_0000_0000)),
            (0x0000_0400_0000_2701, Kib64, L1, 48, Invalid),
        ];
        for (word, granule, level, oas, expected) in rows {
            assert_eq!(
                Descriptor::parse(word, granule, level, oas),
                expected,
                "{word:#x} {granule:?} {level:?}"
            );
        }
    }
}
