//! 64 bytes → a context descriptor that is legal, or the reason it is not (§5.4); level 1 CD descriptors.

use super::ste::Stream;
use super::{Endian, address_bits, output_bits};
use crate::arch::addr::{Granule, Level, align_down, low_mask};
use crate::arch::bits::{Field, disjoint};
use crate::arch::fault::Fault;
use crate::arch::features::{Features, StallModel};
use crate::arch::id::{Asid, StreamWorld};

/// Size of a CD in bytes.
pub const CD_BYTES: u64 = 64;
/// Size of an L1CD in bytes.
pub const L1CD_BYTES: u64 = 8;

/// Fields of a CD, numbered across its 512 bits as `64 * word + bit`.
pub mod field {
    use super::{Field, disjoint};

    /// `T0SZ`.
    pub const T0SZ: Field = Field::word(0, 5, 0);
    /// `TG0`.
    pub const TG0: Field = Field::word(0, 7, 6);
    /// `EPD0`.
    pub const EPD0: Field = Field::word(0, 14, 14);
    /// `ENDI`.
    pub const ENDI: Field = Field::word(0, 15, 15);
    /// `T1SZ`.
    pub const T1SZ: Field = Field::word(0, 21, 16);
    /// `TG1`.
    pub const TG1: Field = Field::word(0, 23, 22);
    /// `EPD1`.
    pub const EPD1: Field = Field::word(0, 30, 30);
    /// `V`.
    pub const V: Field = Field::word(0, 31, 31);
    /// `IPS`.
    pub const IPS: Field = Field::word(0, 34, 32);
    /// `AFFD`.
    pub const AFFD: Field = Field::word(0, 35, 35);
    /// `WXN`.
    pub const WXN: Field = Field::word(0, 36, 36);
    /// `TBI0`.
    pub const TBI0: Field = Field::word(0, 38, 38);
    /// `TBI1`.
    pub const TBI1: Field = Field::word(0, 39, 39);
    /// `PAN`.
    pub const PAN: Field = Field::word(0, 40, 40);
    /// `AA64`.
    pub const AA64: Field = Field::word(0, 41, 41);
    /// `HD`.
    pub const HD: Field = Field::word(0, 42, 42);
    /// `HA`.
    pub const HA: Field = Field::word(0, 43, 43);
    /// `S`.
    pub const S: Field = Field::word(0, 44, 44);
    /// `R`.
    pub const R: Field = Field::word(0, 45, 45);
    /// `A`.
    pub const A: Field = Field::word(0, 46, 46);
    /// `ASET`.
    pub const ASET: Field = Field::word(0, 47, 47);
    /// `ASID`.
    pub const ASID: Field = Field::word(0, 63, 48);
    /// `HAD0`.
    pub const HAD0: Field = Field::word(1, 1, 1);
    /// `E0PD0`.
    pub const E0PD0: Field = Field::word(1, 2, 2);
    /// `TTB0[51:4]`.
    pub const TTB0: Field = Field::word(1, 51, 4);
    /// `HAD1`.
    pub const HAD1: Field = Field::word(2, 1, 1);
    /// `E0PD1`.
    pub const E0PD1: Field = Field::word(2, 2, 2);
    /// `TTB1[51:4]`.
    pub const TTB1: Field = Field::word(2, 51, 4);
    /// `MAIR0` and `MAIR1`.
    pub const MAIR: Field = Field::word(3, 63, 0);

    const _: () = assert!(disjoint(&[
        T0SZ, TG0, EPD0, ENDI, T1SZ, TG1, EPD1, V, IPS, AFFD, WXN, TBI0, TBI1, PAN, AA64, HD, HA, S, R, A,
        ASET, ASID, HAD0, E0PD0, TTB0, HAD1, E0PD1, TTB1, MAIR
    ]));
}

/// A legal context descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Cd {
    /// The lower range of addresses (TTB0), unless `EPD0` disables it.
    pub lower: Option<Half>,
    /// The upper range (TTB1), unless `EPD1` disables it or the StreamWorld has none.
    pub upper: Option<Half>,
    /// `IPS`, effective: bits of output address.
    pub output_bits: u8,
    /// `ENDI`.
    pub endian: Endian,
    /// `AFFD`: an Access flag of 0 is taken as 1.
    pub access_flag_fault_disabled: bool,
    /// `WXN`: writable is never executable.
    pub write_never_execute: bool,
    /// `PAN`: privileged data accesses may not use what unprivileged ones can.
    pub privileged_access_never: bool,
    /// `HA`.
    pub hardware_access: bool,
    /// `HD`, effective only with `HA`.
    pub hardware_dirty: bool,
    /// `S`: faults stall.
    pub stall: bool,
    /// `R`: faults are recorded.
    pub record: bool,
    /// `A`: a terminated transaction aborts; otherwise it is RAZ/WI.
    pub abort: bool,
    /// `ASET`: the ASID is not shared with PEs.
    pub aset: bool,
    /// `ASID`; 0 where the StreamWorld has none.
    pub asid: Asid,
    /// `MAIR1:MAIR0`: eight memory attribute bytes.
    pub mair: u64,
}

/// One of the two ranges of virtual addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Half {
    /// `TTBx`, aligned to the start level's table: an IPA if stage 2 is enabled, otherwise a PA.
    pub base: u64,
    /// `TGx`.
    pub granule: Granule,
    /// `64 - TxSZ`: bits of input address.
    pub input_bits: u8,
    /// Where the walk starts.
    pub start: Level,
    /// `TBIx`: bits `[63:56]` of the address are ignored.
    pub top_byte_ignored: bool,
    /// `HADx`: attributes of table descriptors are ignored.
    pub hierarchical_disabled: bool,
    /// `E0PDx`: unprivileged accesses fault.
    pub unprivileged_disabled: bool,
}

/// The fields of one half, so that both are parsed by the same lines.
struct Layout {
    size: Field,
    granule: Field,
    disabled: Field,
    top_byte: Field,
    hierarchical: Field,
    unprivileged: Field,
    base: Field,
}

const LOWER: Layout = Layout {
    size: field::T0SZ,
    granule: field::TG0,
    disabled: field::EPD0,
    top_byte: field::TBI0,
    hierarchical: field::HAD0,
    unprivileged: field::E0PD0,
    base: field::TTB0,
};

const UPPER: Layout = Layout {
    size: field::T1SZ,
    granule: field::TG1,
    disabled: field::EPD1,
    top_byte: field::TBI1,
    hierarchical: field::HAD1,
    unprivileged: field::E0PD1,
    base: field::TTB1,
};

impl Cd {
    /// The CD in `words` for a stream configured as `stream`, whose stage 1 has stalls disabled or not.
    ///
    /// # Errors
    /// [`Fault::BadCd`] for every row of §5.4.2.
    pub fn parse(words: &[u64; 8], features: &Features, stream: &Stream) -> Result<Self, Fault> {
        let w: &[u64] = words;
        if !field::V.is_set(w) {
            return Err(Fault::BadCd);
        }
        let stall = field::S.is_set(w);
        let abort = field::A.is_set(w);
        let (access, dirty) = (field::HA.is_set(w), field::HD.is_set(w));
        let stall_disabled = stream.s1.is_some_and(|s1| s1.stall_disabled);
        let asid = Asid(field::ASID.of(w) as u16);
        let has_asid = stream.world != StreamWorld::El2;
        let illegal = (stall_disabled && stall)
            || (features.term_model && !abort)
            || match features.stall_model {
                StallModel::Terminate => stall,
                StallModel::Stall => !stall,
                StallModel::StallOrTerminate => false,
            }
            || !field::AA64.is_set(w)
            || ((access || dirty) && features.httu == 0)
            || (dirty && features.httu < 2)
            || (has_asid && !features.asid16 && asid.0 > 0xff);
        if illegal {
            return Err(Fault::BadCd);
        }
        let output_bits = output_bits(features, field::IPS.of(w));
        let single_range = stream.world == StreamWorld::El2;
        let lower = (single_range || !LOWER.disabled.is_set(w))
            .then(|| Half::parse(w, &LOWER, granule_0, features, output_bits))
            .transpose()?;
        let upper = (!single_range && !UPPER.disabled.is_set(w))
            .then(|| Half::parse(w, &UPPER, granule_1, features, output_bits))
            .transpose()?;
        let endian = Endian::from_bit(field::ENDI.is_set(w));
        if (lower.is_some() || upper.is_some()) && !endian.is_allowed(features) {
            return Err(Fault::BadCd);
        }
        Ok(Self {
            lower,
            upper,
            output_bits,
            endian,
            access_flag_fault_disabled: field::AFFD.is_set(w),
            write_never_execute: field::WXN.is_set(w),
            privileged_access_never: field::PAN.is_set(w) && !single_range,
            hardware_access: access,
            hardware_dirty: access && dirty,
            stall,
            record: field::R.is_set(w),
            abort,
            aset: field::ASET.is_set(w),
            asid: if has_asid { asid } else { Asid(0) },
            mair: field::MAIR.of(w),
        })
    }
}

impl Half {
    fn parse(
        w: &[u64],
        layout: &Layout,
        decode: fn(u64) -> Option<Granule>,
        features: &Features,
        output_bits: u8,
    ) -> Result<Self, Fault> {
        let granule = decode(layout.granule.of(w))
            .filter(|granule| match granule {
                Granule::Kib4 => features.gran4k,
                Granule::Kib16 => features.gran16k,
                Granule::Kib64 => features.gran64k,
            })
            .ok_or(Fault::BadCd)?;
        let large = granule == Granule::Kib64;
        let size = layout.size.of(w) as u32;
        let smallest = if features.vax52 && large { 12 } else { 16 };
        let largest = match (features.stt, large) {
            (false, _) => 39,
            (true, true) => 47,
            (true, false) => 48,
        };
        if !(smallest..=largest).contains(&size) {
            return Err(Fault::BadCd);
        }
        let input_bits = 64 - size;
        let base = address_bits(features, layout.base.in_place(w));
        let base_bits = if large { output_bits } else { output_bits.min(48) };
        if base > low_mask(base_bits.into()) {
            return Err(Fault::BadCd);
        }
        let start = start_level(granule, input_bits);
        // The start level's table is aligned to its size, and to 64 bytes where outputs have 52 bits.
        let table_shift = input_bits - granule.level_shift(start) + 3;
        let table_shift = if output_bits == 52 { table_shift.max(6) } else { table_shift };
        Ok(Self {
            base: align_down(base, table_shift),
            granule,
            input_bits: input_bits as u8,
            start,
            top_byte_ignored: layout.top_byte.is_set(w),
            hierarchical_disabled: features.had && layout.hierarchical.is_set(w),
            unprivileged_disabled: features.e0pd && layout.unprivileged.is_set(w),
        })
    }
}

/// The level at which one table resolves what is left of `input_bits` (DDI 0487 §D8.2).
fn start_level(granule: Granule, input_bits: u32) -> Level {
    Level::ALL.into_iter().find(|level| granule.level_shift(*level) < input_bits).unwrap_or(Level::L3)
}

/// `TG0`: not the encoding of `TG1`, nor that of a TLBI command.
const fn granule_0(code: u64) -> Option<Granule> {
    match code {
        0b00 => Some(Granule::Kib4),
        0b01 => Some(Granule::Kib64),
        0b10 => Some(Granule::Kib16),
        _ => None,
    }
}

/// `TG1`.
const fn granule_1(code: u64) -> Option<Granule> {
    match code {
        0b01 => Some(Granule::Kib16),
        0b10 => Some(Granule::Kib4),
        0b11 => Some(Granule::Kib64),
        _ => None,
    }
}

/// The CDs that a level 1 CD descriptor points at; `None` where `V` is 0.
#[must_use]
pub fn l1cd_pointer(word: u64, split: u8, features: &Features) -> Option<u64> {
    if word & 1 == 0 {
        return None;
    }
    let pointer = address_bits(features, word & Field::bits(51, 12).mask());
    Some(align_down(pointer, u32::from(split) + 6))
}
