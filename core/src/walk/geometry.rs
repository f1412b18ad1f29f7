//! Which addresses a stage accepts, and which descriptor stands for one (§3.4, DDI 0487 §D8.2).

use crate::arch::addr::{Granule, Level, low_mask};
use crate::arch::id::StreamWorld;
use crate::format::cd::{Cd, Half};

/// The half of the address space that `address` selects, with the address sign-extended where its top byte is ignored;
/// `None` where it is in neither range, in one that is disabled, or in one that is for privileged accesses alone.
#[must_use]
#[inline]
pub fn select(cd: &Cd, world: StreamWorld, privileged: bool, address: u64) -> Option<(&Half, u64)> {
    let upper = world != StreamWorld::El2 && address >> 55 & 1 != 0;
    let half = if upper { cd.upper.as_ref() } else { cd.lower.as_ref() }?;
    if half.unprivileged_disabled && !privileged && world != StreamWorld::El2 {
        return None;
    }
    let address = if !half.top_byte_ignored {
        address
    } else if upper {
        address | 0xff << 56
    } else {
        address & low_mask(56)
    };
    let outside = if upper { !address } else { address };
    (outside <= low_mask(half.input_bits.into())).then_some((half, address))
}

/// The byte offset of the descriptor for `input` in the table at `level`. `width` is the number of address bits that
/// are left at this level: all of them at the start, where tables may be larger or smaller than a granule.
#[must_use]
#[inline]
pub fn descriptor_offset(granule: Granule, level: Level, width: u32, input: u64) -> u64 {
    (input & low_mask(width)) >> granule.level_shift(level) << 3
}

/// Address bits that are left below `level`'s parent: what the table at `level` and those below it resolve.
#[must_use]
#[inline]
pub const fn full_width(granule: Granule, level: Level) -> u32 {
    granule.level_shift(level) + granule.stride()
}
