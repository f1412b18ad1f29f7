//! Who may do what (DDI 0487 §D8.4; §13 for SMMU transactions).

use crate::arch::entry::{Rights, TableLimits};
use crate::arch::fault::Denied;
use crate::arch::id::StreamWorld;
use crate::format::cd::Cd;
use crate::format::descriptor::field;
use crate::format::ste::Stage2;

/// What a transaction does to memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Access {
    /// It reads.
    Read,
    /// It writes.
    Write,
    /// It does both at once; always data.
    Atomic,
}

/// What a transaction needs, after the overrides of the STE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Demand {
    /// Read, write or both.
    pub access: Access,
    /// `PnU`.
    pub privileged: bool,
    /// `InD`: an instruction fetch. Only reads can be.
    pub instruction: bool,
    /// Permissions are asked for rather than needed: none is missing, whatever it is (a translation request).
    pub asks: bool,
}

impl Demand {
    /// Whether memory is written.
    #[must_use]
    #[inline]
    pub const fn writes(&self) -> bool {
        !matches!(self.access, Access::Read)
    }

    /// Whether `rights` grant a request anything.
    #[must_use]
    pub const fn is_granted_anything(&self, rights: Rights) -> bool {
        let execute = if self.instruction { Rights::UX } else { 0 };
        let any = Rights::UR | Rights::UW | execute;
        rights.0 & (if self.privileged { any >> Rights::UNPRIVILEGED_SHIFT } else { any }) != 0
    }

    /// Whether a leaf of `rights` is to be marked dirty for this access.
    #[must_use]
    #[inline]
    pub const fn dirties(&self, rights: Rights) -> bool {
        self.writes() && rights.has(if self.privileged { Rights::PW } else { Rights::UW })
    }

    /// What the SMMU itself does when it reads a structure or table.
    pub const STRUCTURE_READ: Self =
        Self { access: Access::Read, privileged: true, instruction: false, asks: false };

    /// What the SMMU itself does when it updates a descriptor.
    pub const STRUCTURE_WRITE: Self = Self { access: Access::Write, ..Self::STRUCTURE_READ };

    /// The rights that the access needs.
    #[must_use]
    #[inline]
    pub const fn required(&self) -> u8 {
        // A byte for each kind of access, instruction fetches last: this is asked of every hit.
        const UNPRIVILEGED: u32 =
            u32::from_le_bytes([Rights::UR, Rights::UW, Rights::UR | Rights::UW, Rights::UX]);
        let kind = match self.access {
            Access::Read if self.instruction => 3,
            access => access as u32,
        };
        let unprivileged = (UNPRIVILEGED >> (8 * kind)) as u8;
        if self.privileged { unprivileged >> Rights::UNPRIVILEGED_SHIFT } else { unprivileged }
    }

    /// Whether `rights` suffice. An instruction fetch needs execute permission alone.
    ///
    /// # Errors
    /// [`Denied`] tells what the record's `RnW` shows: an atomic access that lacks only the read says 1.
    #[inline]
    pub const fn check(&self, rights: Rights) -> Result<(), Denied> {
        let allowed = rights.has(self.required());
        let write = if self.privileged { Rights::PW } else { Rights::UW };
        let read = match self.access {
            Access::Read => true,
            Access::Write => false,
            Access::Atomic => rights.has(write),
        };
        if allowed || self.asks { Ok(()) } else { Err(Denied { read, table_write: false }) }
    }
}

/// The rights that a stage 1 leaf gives, and whether writing needs it to be marked dirty first.
#[must_use]
pub fn stage1(leaf: u64, limits: TableLimits, cd: &Cd, world: StreamWorld) -> (Rights, bool) {
    let clean = cd.hardware_dirty && field::DBM.get(leaf) != 0 && field::AP2.get(leaf) != 0;
    let writable = (clean || field::AP2.get(leaf) == 0) && !limits.no_write;
    let (uxn, pxn) = (field::UXN.get(leaf) != 0, field::PXN.get(leaf) != 0);

    if world == StreamWorld::El2 {
        let never = uxn || limits.no_unprivileged_execute || (cd.write_never_execute && writable);
        let mut rights = Rights::PR | Rights::UR;
        if writable {
            rights |= Rights::PW | Rights::UW;
        }
        if !never {
            rights |= Rights::PX | Rights::UX;
        }
        return (Rights(rights), clean && writable);
    }

    let unprivileged = field::AP1.get(leaf) != 0 && !limits.no_unprivileged;
    let (ur, uw) = (unprivileged, unprivileged && writable);
    let ux = !uxn && !limits.no_unprivileged_execute;
    let px = !pxn && !limits.no_privileged_execute && !uw;
    let hidden = cd.privileged_access_never && (ur || uw);
    let (pr, pw) = (!hidden, writable && !hidden);
    let wxn = cd.write_never_execute;
    let right = |bit: u8, held: bool| if held { bit } else { 0 };
    let rights = right(Rights::PR, pr)
        | right(Rights::PW, pw)
        | right(Rights::PX, px && !(wxn && pw))
        | right(Rights::UR, ur)
        | right(Rights::UW, uw)
        | right(Rights::UX, ux && !(wxn && uw));
    (Rights(rights), clean && writable)
}

/// The rights that a stage 2 leaf gives, and whether writing needs it to be marked dirty first.
#[must_use]
#[inline]
pub fn stage2(leaf: u64, s2: &Stage2, xnx: bool) -> (Rights, bool) {
    // A byte for each value of XN[1:0]; without XNX only its bit 1 counts.
    const BOTH: u8 = Rights::PX | Rights::UX;
    const EXECUTE: [u32; 2] =
        [u32::from_le_bytes([BOTH, BOTH, 0, 0]), u32::from_le_bytes([BOTH, Rights::UX, 0, Rights::PX])];
    let [without, with] = EXECUTE;
    let execute = (if xnx { with } else { without } >> (8 * field::S2XN.get(leaf))) as u8;
    let clean = s2.hardware_dirty && field::DBM.get(leaf) != 0 && field::S2AP1.get(leaf) == 0;
    let read = field::S2AP0.get(leaf) as u8 * (Rights::PR | Rights::UR);
    let write = (field::S2AP1.get(leaf) as u8 | u8::from(clean)) * (Rights::PW | Rights::UW);
    (Rights(read | write | execute), clean)
}

/// Whether `MemAttr` of a stage 2 leaf makes the SMMU's own accesses go to Device memory, which `S2PTW` forbids. Reserved
/// encodings are taken as Device-nGnRnE.
#[must_use]
pub const fn is_device(memory: u8, force_write_back: bool) -> bool {
    if force_write_back { memory & 0b111 <= 0b100 } else { memory >> 2 == 0 || memory & 0b11 == 0 }
}
