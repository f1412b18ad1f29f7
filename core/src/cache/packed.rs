//! An entry's payload in three words: what the IOTLB keeps beside the tag.

use crate::arch::addr::{Granule, Ipa, Level, Pa};
use crate::arch::attributes::{MemoryType, Shareability};
use crate::arch::bits::{Field, disjoint};
use crate::arch::entry::{Entry, Leaf, Rights, Space};

const RIGHTS_S1: Field = Field::bits(5, 0);
const RIGHTS_S2: Field = Field::bits(11, 6);
const CLEAN: Field = Field::bit(12);
const GLOBAL: Field = Field::bit(13);
const S1: Field = Field::bits(24, 14);
const S2: Field = Field::bits(35, 25);
const MEMORY: Field = Field::bits(43, 36);
const SH: Field = Field::bits(45, 44);
const MEMORY_S2: Field = Field::bits(49, 46);

const _: () = assert!(disjoint(&[RIGHTS_S1, RIGHTS_S2, CLEAN, GLOBAL, S1, S2, MEMORY, SH, MEMORY_S2]));

/// 24 bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Packed {
    output: u64,
    ipa: u64,
    bits: u64,
}

impl Packed {
    pub(super) const EMPTY: Self = Self { output: 0, ipa: 0, bits: 0 };

    pub(super) fn new(entry: &Entry) -> Self {
        let fields = [
            (RIGHTS_S1, entry.rights_s1.0.into()),
            (RIGHTS_S2, entry.rights_s2.0.into()),
            (CLEAN, entry.clean.into()),
            (GLOBAL, entry.global.into()),
            (S1, pack_leaf(entry.s1)),
            (S2, pack_leaf(entry.s2)),
            (MEMORY, entry.memory.mair().into()),
            (SH, entry.sh.sh().into()),
            (MEMORY_S2, entry.memory_s2.into()),
        ];
        let bits = fields.into_iter().fold(0, |bits, (field, value)| field.put(bits, value));
        Self { output: entry.output.0, ipa: entry.ipa.0, bits }
    }

    /// First output address, the rights that both stages give without a descriptor being marked dirty first, and the memory
    /// attributes.
    #[inline]
    pub(super) fn answer(&self) -> (u64, Rights, MemoryType, Shareability) {
        let both = (RIGHTS_S1.get(self.bits) & RIGHTS_S2.get(self.bits)) as u8;
        let dirty = if CLEAN.get(self.bits) != 0 { Rights::PW | Rights::UW } else { 0 };
        let memory = MemoryType::from_canonical(MEMORY.get(self.bits) as u8);
        (self.output, Rights(both).without(dirty), memory, Shareability::from_sh(SH.get(self.bits) as u8))
    }

    #[inline]
    pub(super) fn entry(&self, space: Space, input: u64, log2_size: u8) -> Entry {
        Entry {
            space,
            global: GLOBAL.get(self.bits) != 0,
            input,
            log2_size,
            output: Pa(self.output),
            ipa: Ipa(self.ipa),
            s1: unpack_leaf(S1.get(self.bits)),
            s2: unpack_leaf(S2.get(self.bits)),
            rights_s1: Rights(RIGHTS_S1.get(self.bits) as u8),
            rights_s2: Rights(RIGHTS_S2.get(self.bits) as u8),
            clean: CLEAN.get(self.bits) != 0,
            memory: MemoryType::from_canonical(MEMORY.get(self.bits) as u8),
            sh: Shareability::from_sh(SH.get(self.bits) as u8),
            memory_s2: MEMORY_S2.get(self.bits) as u8,
        }
    }
}

/// Presence, granule, level and size in 11 bits.
fn pack_leaf(leaf: Option<Leaf>) -> u64 {
    leaf.map_or(0, |leaf| {
        1 | (leaf.granule as u64) << 1 | u64::from(leaf.level.number()) << 3 | u64::from(leaf.log2_size) << 5
    })
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
