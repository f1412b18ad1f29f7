//! What is remembered of a translation: the leaf that ended a walk, and the tables on the way to it.
//!
//! Values only; where they are kept is the caches' business. An entry keeps everything that an invalidation asks
//! about: regime, VMID, ASID or global, and granule, level and size of both stages' leaves (§4.4).

use super::addr::{Granule, Ipa, Level, Pa, Stage, align_down};
use super::attributes::{MemoryType, Shareability};
use super::id::{Asid, StreamWorld, Vmid};

/// The address space that an entry belongs to, and a look-up asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Space {
    /// StreamWorld.
    pub world: StreamWorld,
    /// Stage 1: addresses are virtual. Stage 2: they are intermediate physical, and ASIDs have no meaning.
    pub stage: Stage,
    /// VMID; 0 where the StreamWorld has none or stage 2 is not implemented.
    pub vmid: Vmid,
    /// ASID; 0 where there is none.
    pub asid: Asid,
    /// `CD.ASET`: a look-up finds only entries of its own set of ASIDs. Commands do not tell them apart.
    pub aset: bool,
}

/// The descriptor that ended one stage's walk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Leaf {
    /// Granule of its tables.
    pub granule: Granule,
    /// Its level.
    pub level: Level,
    /// log2 of the bytes that it maps, its contiguous neighbours included.
    pub log2_size: u8,
}

/// Who may do what: read, write and execute, by privilege.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Rights(pub u8);

impl Rights {
    /// Privileged read.
    pub const PR: u8 = 1;
    /// Privileged write.
    pub const PW: u8 = 1 << 1;
    /// Privileged execute.
    pub const PX: u8 = 1 << 2;
    /// Unprivileged read.
    pub const UR: u8 = 1 << 3;
    /// Unprivileged write.
    pub const UW: u8 = 1 << 4;
    /// Unprivileged execute.
    pub const UX: u8 = 1 << 5;
    /// Each unprivileged right is the privileged one, shifted by this.
    pub const UNPRIVILEGED_SHIFT: u32 = 3;
    /// Everything: a stage that is bypassed.
    pub const ALL: Self = Self(0x3f);

    /// Whether all rights of `mask` are held.
    #[must_use]
    #[inline]
    pub const fn has(self, mask: u8) -> bool {
        self.0 & mask == mask
    }

    /// These rights without those of `mask`.
    #[must_use]
    pub const fn without(self, mask: u8) -> Self {
        Self(self.0 & !mask)
    }
}

/// A translation: one page, block or contiguous run, of one stage or of both combined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Entry {
    /// Whose translation.
    pub space: Space,
    /// Any ASID of its set finds it (`nG` = 0, or a StreamWorld without ASIDs).
    pub global: bool,
    /// First input address.
    pub input: u64,
    /// log2 of the bytes that it translates: the smaller of both stages' leaves.
    pub log2_size: u8,
    /// First output address.
    pub output: Pa,
    /// First address between the stages; equal to `output` without stage 2, to `input` without stage 1.
    pub ipa: Ipa,
    /// Stage 1's leaf, if stage 1 took part.
    pub s1: Option<Leaf>,
    /// Stage 2's leaf, if stage 2 took part.
    pub s2: Option<Leaf>,
    /// What stage 1 allows.
    pub rights_s1: Rights,
    /// What stage 2 allows.
    pub rights_s2: Rights,
    /// Writable clean: a write must first mark a descriptor dirty, so it does not use the entry (§3.13).
    pub clean: bool,
    /// The memory type of both stages combined; without stage 1 the transaction's own has yet to be combined with that
    /// of `memory_s2`.
    pub memory: MemoryType,
    /// Likewise the shareability; Device and Non-cacheable are Outer Shareable already.
    pub sh: Shareability,
    /// Stage 2's `MemAttr[3:0]`.
    pub memory_s2: u8,
}

impl Entry {
    /// The leaf of the stage that `space` addresses belong to: whose granule, level and size a command means.
    #[must_use]
    #[inline]
    pub const fn own_leaf(&self) -> Option<Leaf> {
        match self.space.stage {
            Stage::S1 => self.s1,
            Stage::S2 => self.s2,
        }
    }

    /// First address and log2 of the bytes that the own stage's leaf maps: what an invalidation must hit. Larger than
    /// what the entry translates where the other stage's leaf is smaller.
    #[must_use]
    #[inline]
    pub fn leaf_span(&self) -> (u64, u32) {
        let own = self.own_leaf().map_or(self.log2_size, |leaf| leaf.log2_size.max(self.log2_size));
        (align_down(self.input, own.into()), own.into())
    }

    /// Whether the entry is smaller than its own stage's leaf.
    #[must_use]
    #[inline]
    pub fn is_fractured(&self) -> bool {
        self.own_leaf().is_some_and(|leaf| leaf.log2_size > self.log2_size)
    }

    /// Whether the entry answers for `address` of `space`.
    #[must_use]
    pub fn translates(&self, space: &Space, address: u64) -> bool {
        let asid = if self.global { space.asid } else { self.space.asid };
        Space { asid, ..self.space } == *space && align_down(address, self.log2_size.into()) == self.input
    }
}

/// What table descriptors on the way to a leaf forbid (`APTable`, `UXNTable`, `PXNTable`), all levels together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct TableLimits {
    /// `APTable[0]`: no unprivileged access.
    pub no_unprivileged: bool,
    /// `APTable[1]`: no writes.
    pub no_write: bool,
    /// `UXNTable`, or `XNTable`.
    pub no_unprivileged_execute: bool,
    /// `PXNTable`.
    pub no_privileged_execute: bool,
}

/// A table descriptor: where the next level's table is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct TableEntry {
    /// Whose tables. The stage is that of the tables.
    pub space: Space,
    /// Granule of the tables.
    pub granule: Granule,
    /// Level of the descriptor.
    pub level: Level,
    /// First input address that it covers.
    pub input: u64,
    /// The next table's address: an IPA for stage 1 of a nested stream, otherwise a PA.
    pub next: u64,
    /// What this descriptor and those above it forbid.
    pub limits: TableLimits,
}

impl TableLimits {
    /// Nothing is forbidden.
    pub const NONE: Self = Self {
        no_unprivileged: false,
        no_write: false,
        no_unprivileged_execute: false,
        no_privileged_execute: false,
    };

    /// A bit for each.
    #[must_use]
    #[inline]
    pub const fn bits(&self) -> u8 {
        self.no_unprivileged as u8
            | (self.no_write as u8) << 1
            | (self.no_unprivileged_execute as u8) << 2
            | (self.no_privileged_execute as u8) << 3
    }
}

impl TableEntry {
    /// log2 of the bytes that the descriptor covers.
    #[must_use]
    pub const fn log2_size(&self) -> u32 {
        self.granule.level_shift(self.level)
    }
}
