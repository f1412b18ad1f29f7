//! 64 bytes → a stream table entry that is legal, or the reason it is not (§5.2); level 1 stream table descriptors.

use super::{Endian, address_bits, output_bits};
use crate::arch::addr::{Granule, Level, Pa, align_down, low_mask};
use crate::arch::bits::{Field, disjoint};
use crate::arch::fault::Fault;
use crate::arch::features::{Features, StallModel, Version};
use crate::arch::id::{StreamWorld, Vmid};
use crate::format::regs::gbpa;

/// Size of an STE in bytes.
pub const STE_BYTES: u64 = 64;
/// Size of an L1STD in bytes.
pub const L1STD_BYTES: u64 = 8;

/// Fields of an STE, numbered across its 512 bits as `64 * word + bit`.
pub mod field {
    use super::{Field, disjoint};

    /// `V`.
    pub const V: Field = Field::word(0, 0, 0);
    /// `Config`.
    pub const CONFIG: Field = Field::word(0, 3, 1);
    /// `S1Fmt`.
    pub const S1FMT: Field = Field::word(0, 5, 4);
    /// `S1ContextPtr[51:6]`.
    pub const S1CONTEXTPTR: Field = Field::word(0, 51, 6);
    /// `S1CDMax`.
    pub const S1CDMAX: Field = Field::word(0, 63, 59);
    /// `S1DSS`.
    pub const S1DSS: Field = Field::word(1, 1, 0);
    /// `PPAR`.
    pub const PPAR: Field = Field::word(1, 18, 18);
    /// `EATS`.
    pub const EATS: Field = Field::word(1, 29, 28);
    /// `S2FWB`.
    pub const S2FWB: Field = Field::word(1, 25, 25);
    /// `S1STALLD`.
    pub const S1STALLD: Field = Field::word(1, 27, 27);
    /// `STRW`.
    pub const STRW: Field = Field::word(1, 31, 30);
    /// `MemAttr`.
    pub const MEMATTR: Field = Field::word(1, 35, 32);
    /// `MTCFG`.
    pub const MTCFG: Field = Field::word(1, 36, 36);
    /// `ALLOCCFG`.
    pub const ALLOCCFG: Field = Field::word(1, 40, 37);
    /// `SHCFG`.
    pub const SHCFG: Field = Field::word(1, 45, 44);
    /// `PRIVCFG`.
    pub const PRIVCFG: Field = Field::word(1, 49, 48);
    /// `INSTCFG`.
    pub const INSTCFG: Field = Field::word(1, 51, 50);
    /// `S2VMID`.
    pub const S2VMID: Field = Field::word(2, 15, 0);
    /// `S2T0SZ`.
    pub const S2T0SZ: Field = Field::word(2, 37, 32);
    /// `S2SL0`.
    pub const S2SL0: Field = Field::word(2, 39, 38);
    /// `S2TG`.
    pub const S2TG: Field = Field::word(2, 47, 46);
    /// `S2PS`.
    pub const S2PS: Field = Field::word(2, 50, 48);
    /// `S2AA64`.
    pub const S2AA64: Field = Field::word(2, 51, 51);
    /// `S2ENDI`.
    pub const S2ENDI: Field = Field::word(2, 52, 52);
    /// `S2AFFD`.
    pub const S2AFFD: Field = Field::word(2, 53, 53);
    /// `S2PTW`.
    pub const S2PTW: Field = Field::word(2, 54, 54);
    /// `S2HD`.
    pub const S2HD: Field = Field::word(2, 55, 55);
    /// `S2HA`.
    pub const S2HA: Field = Field::word(2, 56, 56);
    /// `S2S`.
    pub const S2S: Field = Field::word(2, 57, 57);
    /// `S2R`.
    pub const S2R: Field = Field::word(2, 58, 58);
    /// `S2TTB[51:4]`.
    pub const S2TTB: Field = Field::word(3, 51, 4);

    const _: () = assert!(disjoint(&[
        V,
        CONFIG,
        S1FMT,
        S1CONTEXTPTR,
        S1CDMAX,
        S1DSS,
        S2FWB,
        S1STALLD,
        STRW,
        MEMATTR,
        MTCFG,
        ALLOCCFG,
        SHCFG,
        PRIVCFG,
        INSTCFG,
        S2VMID,
        S2T0SZ,
        S2SL0,
        S2TG,
        S2PS,
        S2AA64,
        S2ENDI,
        S2AFFD,
        S2PTW,
        S2HD,
        S2HA,
        S2S,
        S2R,
        S2TTB
    ]));
}

/// A legal stream table entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Ste {
    /// `Config` = 0b0xx: abort without a record.
    Abort {
        /// `PPAR`, which counts in every legal STE.
        page_response_pasid: bool,
    },
    /// `Config` = 0b100: bypass both stages.
    Bypass {
        /// What the STE does to a transaction's attributes.
        overrides: Overrides,
        /// `PPAR`.
        page_response_pasid: bool,
    },
    /// `Config` = 0b101, 0b110 or 0b111: translate.
    Translate(Stream),
}

/// How a stream is translated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Stream {
    /// Stage 1, if enabled.
    pub s1: Option<Stage1>,
    /// Stage 2, if enabled.
    pub s2: Option<Stage2>,
    /// The exception level of its translations. `STRW` with `CR2.E2H` at the time of the fetch.
    pub world: StreamWorld,
    /// `S2VMID`, or 0 where it is not used.
    pub vmid: Vmid,
    /// `EATS`.
    pub ats: Ats,
    /// `PPAR`: automatic responses to page requests keep the PASID.
    pub page_response_pasid: bool,
    /// What the STE does to a transaction's attributes.
    pub overrides: Overrides,
}

/// `EATS`: what a stream's device may do by ATS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Ats {
    /// 0b00, or ATS is not implemented: nothing.
    Off,
    /// 0b01: translation requests return physical addresses, and translated transactions pass.
    Full,
    /// 0b10: split-stage; requests return intermediate physical addresses, and translated transactions pass stage 2. Off
    /// unless `CR0.ATSCHK`.
    SplitStage,
}

/// Stage 1 as the STE configures it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Stage1 {
    /// `S1ContextPtr`: an IPA if stage 2 is enabled, otherwise a PA. Aligned to what it points at.
    pub context: u64,
    /// `S1Fmt`.
    pub format: CdTable,
    /// `S1CDMax`: log2 of the number of CDs, 0 to 20; 0 where there are no substreams.
    pub log2_cds: u8,
    /// `S1DSS`.
    pub default_substream: DefaultSubstream,
    /// `S1STALLD`: stalling is disabled.
    pub stall_disabled: bool,
}

/// `S1Fmt`: the shape of a CD table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum CdTable {
    /// 0b00: linear, or a single CD.
    Linear,
    /// 0b01: two levels, 4 KiB leaf tables of 64 CDs.
    Leaf4k,
    /// 0b10: two levels, 64 KiB leaf tables of 1,024 CDs.
    Leaf64k,
}

impl CdTable {
    /// log2 of the CDs in a leaf table, or `None` for a linear table.
    #[must_use]
    pub const fn split(self) -> Option<u8> {
        match self {
            Self::Linear => None,
            Self::Leaf4k => Some(6),
            Self::Leaf64k => Some(10),
        }
    }
}

/// `S1DSS`: what becomes of a transaction without SubstreamID, where there are substreams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum DefaultSubstream {
    /// 0b00: F_STREAM_DISABLED.
    Terminate,
    /// 0b01: bypass stage 1.
    Bypass,
    /// 0b10: use CD 0, which no SubstreamID may then name.
    Cd0,
}

/// Stage 2 as the STE configures it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Stage2 {
    /// `S2TTB`, aligned to the start level's tables.
    pub base: Pa,
    /// `S2TG`.
    pub granule: Granule,
    /// `64 - S2T0SZ`: bits of input address.
    pub input_bits: u8,
    /// Where the walk starts, from `S2SL0`.
    pub start: Level,
    /// `S2PS`, effective: bits of output address.
    pub output_bits: u8,
    /// `S2ENDI`.
    pub endian: Endian,
    /// `S2AFFD`: an Access flag of 0 is taken as 1.
    pub access_flag_fault_disabled: bool,
    /// `S2PTW`: walks may not use Device memory.
    pub protected_table_walk: bool,
    /// `S2HA`.
    pub hardware_access: bool,
    /// `S2HD`, effective only with `S2HA`.
    pub hardware_dirty: bool,
    /// `S2S`: faults stall.
    pub stall: bool,
    /// `S2R`: faults are recorded.
    pub record: bool,
    /// `S2FWB`.
    pub force_write_back: bool,
    /// The word of the STE that tells all of this but `base` and `force_write_back`, and the VMID.
    pub word: u64,
}

/// `MTCFG`, `MemAttr`, `SHCFG`, `ALLOCCFG`, `PRIVCFG` and `INSTCFG`: what an STE does to incoming attributes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Overrides {
    /// `MemAttr` if `MTCFG`: the memory type, as a stage 2 descriptor encodes it.
    pub memory_type: Option<u8>,
    /// `SHCFG`, unless it says "incoming": 0 N, 2 O, 3 I.
    pub shareability: Option<u8>,
    /// `ALLOCCFG[2:0]` (R, W, T) if `ALLOCCFG[3]`.
    pub allocation: Option<u8>,
    /// `PRIVCFG`: whether the transaction is privileged.
    pub privileged: Option<bool>,
    /// `INSTCFG`: whether a read is an instruction fetch.
    pub instruction: Option<bool>,
}

impl Ste {
    /// The STE in `words` on an SMMU with `features`; `e2h` is `CR2.E2H`.
    ///
    /// Fields of a disabled stage are not looked at. Addresses beyond OAS make the STE ILLEGAL.
    ///
    /// # Errors
    /// [`Fault::BadSte`] for every row of §5.2.2.
    pub fn parse(words: &[u64; 8], features: &Features, e2h: bool) -> Result<Self, Fault> {
        let w: &[u64] = words;
        if !field::V.is_set(w) {
            return Err(Fault::BadSte);
        }
        let config = field::CONFIG.of(w);
        let page_response_pasid = field::PPAR.is_set(w);
        if config & 0b100 == 0 {
            return Ok(Self::Abort { page_response_pasid });
        }
        let (s1, s2) = (config & 0b001 != 0, config & 0b010 != 0);
        if (s1 && !features.s1p) || (s2 && !features.s2p) {
            return Err(Fault::BadSte);
        }
        let overrides = Overrides::parse(w, features);
        if !s1 && !s2 {
            return Ok(Self::Bypass { overrides, page_response_pasid });
        }
        let world = if s1 && !s2 && features.hyp {
            match field::STRW.of(w) {
                0b00 => StreamWorld::El1,
                0b10 if e2h => StreamWorld::El2E2h,
                0b10 => StreamWorld::El2,
                _ => return Err(Fault::BadSte),
            }
        } else {
            StreamWorld::El1
        };
        let vmid = if features.s2p && world == StreamWorld::El1 {
            let vmid = field::S2VMID.of(w) as u16;
            if !features.vmid16 && vmid > 0xff {
                return Err(Fault::BadSte);
            }
            Vmid(vmid)
        } else {
            Vmid(0)
        };
        let ats = match field::EATS.of(w) {
            0b01 if features.ats => Ats::Full,
            0b10 if features.ats => Ats::SplitStage,
            _ => Ats::Off,
        };
        // The one check that looks at a field of a stage that may be disabled.
        let stage2_stalls = field::S2S.is_set(w);
        let illegal = match ats {
            Ats::Off => false,
            Ats::Full => s2 && stage2_stalls,
            Ats::SplitStage => !(s1 && s2) || stage2_stalls || features.ns1ats,
        };
        if illegal {
            return Err(Fault::BadSte);
        }
        let s1 = if s1 { Some(Stage1::parse(w, features, s2)?) } else { None };
        let s2 = if s2 { Some(Stage2::parse(w, features)?) } else { None };
        Ok(Self::Translate(Stream { s1, s2, world, vmid, ats, page_response_pasid, overrides }))
    }
}

impl Ste {
    /// `PPAR`: automatic responses to page requests keep the PASID.
    #[must_use]
    pub const fn page_response_pasid(&self) -> bool {
        match self {
            Self::Abort { page_response_pasid }
            | Self::Bypass { page_response_pasid, .. }
            | Self::Translate(Stream { page_response_pasid, .. }) => *page_response_pasid,
        }
    }
}

impl Stage1 {
    fn parse(w: &[u64], features: &Features, nested: bool) -> Result<Self, Fault> {
        let stall_disabled = field::S1STALLD.is_set(w);
        if stall_disabled && features.stall_model != StallModel::StallOrTerminate {
            return Err(Fault::BadSte);
        }
        let log2_cds = if features.ssidsize == 0 { 0 } else { field::S1CDMAX.of(w) as u8 };
        if log2_cds > features.ssidsize {
            return Err(Fault::BadSte);
        }
        let format = match field::S1FMT.of(w) {
            _ if log2_cds == 0 => CdTable::Linear,
            0b01 => CdTable::Leaf4k,
            0b10 => CdTable::Leaf64k,
            _ => CdTable::Linear,
        };
        if format != CdTable::Linear && !features.cd2l {
            return Err(Fault::BadSte);
        }
        // The table is aligned to its size: CDs of 64 bytes, or L1CDs of 8 but at least 64 bytes in all.
        let size_bits = match format.split() {
            None => u32::from(log2_cds) + 6,
            Some(split) => (u32::from(log2_cds.saturating_sub(split)) + 3).max(6),
        };
        let context = address_bits(features, field::S1CONTEXTPTR.in_place(w));
        let limit = if nested { features.ias_bits() } else { u32::from(features.oas_bits) };
        if context > low_mask(limit) {
            return Err(Fault::BadSte);
        }
        Ok(Self {
            context: align_down(context, size_bits),
            format,
            log2_cds,
            default_substream: match field::S1DSS.of(w) {
                0b01 => DefaultSubstream::Bypass,
                0b10 => DefaultSubstream::Cd0,
                _ => DefaultSubstream::Terminate,
            },
            stall_disabled,
        })
    }
}

impl Stage2 {
    fn parse(w: &[u64], features: &Features) -> Result<Self, Fault> {
        let granule = match field::S2TG.of(w) {
            0b00 if features.gran4k => Granule::Kib4,
            0b01 if features.gran64k => Granule::Kib64,
            0b10 if features.gran16k => Granule::Kib16,
            _ => return Err(Fault::BadSte),
        };
        let stall = field::S2S.is_set(w);
        let (access, dirty) = (field::S2HA.is_set(w), field::S2HD.is_set(w));
        let endian = Endian::from_bit(field::S2ENDI.is_set(w));
        let illegal = match features.stall_model {
            StallModel::Terminate => stall,
            StallModel::Stall => !stall,
            StallModel::StallOrTerminate => false,
        } || !field::S2AA64.is_set(w)
            || ((access || dirty) && features.httu == 0)
            || (dirty && features.httu < 2)
            || !endian.is_allowed(features);
        if illegal {
            return Err(Fault::BadSte);
        }

        let size = field::S2T0SZ.of(w) as u32;
        let largest = match (features.stt, granule) {
            (false, _) => 39,
            (true, Granule::Kib64) => 47,
            (true, _) => 48,
        };
        let by_input = 64 - features.ias_bits();
        let smallest = match granule {
            _ if features.version == Version::V3_0 => by_input,
            Granule::Kib64 => by_input.max(12),
            _ => by_input.max(16),
        };
        if !(smallest..=largest).contains(&size) {
            return Err(Fault::BadSte);
        }
        let input_bits = 64 - size;

        let start = match (granule, field::S2SL0.of(w)) {
            (Granule::Kib4, 0b00) => Level::L2,
            (Granule::Kib4, 0b01) => Level::L1,
            (Granule::Kib4, 0b10) => Level::L0,
            (Granule::Kib4, 0b11) if features.stt => Level::L3,
            (Granule::Kib16 | Granule::Kib64, 0b00) => Level::L3,
            (Granule::Kib16 | Granule::Kib64, 0b01) => Level::L2,
            (Granule::Kib16 | Granule::Kib64, 0b10) => Level::L1,
            _ => return Err(Fault::BadSte),
        };
        // Fewer bits would leave the start level without an index, more would need over 16 concatenated tables.
        let below = granule.level_shift(start);
        if !(below + 1..=below + granule.stride() + 4).contains(&input_bits) {
            return Err(Fault::BadSte);
        }

        let output_bits = output_bits(features, field::S2PS.of(w));
        let base = address_bits(features, field::S2TTB.in_place(w));
        let table_bits = if granule == Granule::Kib64 { output_bits } else { output_bits.min(48) };
        if base > low_mask(table_bits.into()) {
            return Err(Fault::BadSte);
        }
        let table_shift = (input_bits - below + 3).max(if output_bits == 52 { 6 } else { 4 });
        Ok(Self {
            base: Pa(align_down(base, table_shift)),
            granule,
            input_bits: input_bits as u8,
            start,
            output_bits,
            endian,
            access_flag_fault_disabled: field::S2AFFD.is_set(w),
            protected_table_walk: field::S2PTW.is_set(w),
            hardware_access: access,
            hardware_dirty: access && dirty,
            stall,
            record: field::S2R.is_set(w),
            force_write_back: features.fwb && field::S2FWB.is_set(w),
            word: w.get(2).copied().unwrap_or(0),
        })
    }
}

impl Overrides {
    fn parse(w: &[u64], features: &Features) -> Self {
        Self::from_fields(
            features,
            field::MTCFG.is_set(w).then_some(field::MEMATTR.of(w)),
            [field::SHCFG, field::ALLOCCFG, field::PRIVCFG, field::INSTCFG].map(|field| field.of(w)),
        )
    }

    /// What GBPA does to transactions while the SMMU is disabled.
    #[must_use]
    pub fn from_gbpa(value: u64, features: &Features) -> Self {
        Self::from_fields(
            features,
            (gbpa::MTCFG.get(value) != 0).then_some(gbpa::MEMATTR.get(value)),
            [gbpa::SHCFG, gbpa::ALLOCCFG, gbpa::PRIVCFG, gbpa::INSTCFG].map(|field| field.get(value)),
        )
    }

    /// STE and GBPA say the same in other places; the fields need `ATTR_TYPES_OVR` and `ATTR_PERMS_OVR`.
    fn from_fields(features: &Features, memory: Option<u64>, [sh, alloc, privilege, inst]: [u64; 4]) -> Self {
        let (types, permissions) = (features.attr_types_ovr, features.attr_perms_ovr);
        let choice = |value: u64| match value {
            0b10 => Some(false),
            0b11 => Some(true),
            _ => None,
        };
        Self {
            memory_type: memory.filter(|_| types).map(|code| code as u8),
            shareability: (types && sh != 0b01).then_some(sh as u8),
            allocation: (types && alloc & 0b1000 != 0).then_some((alloc & 0b111) as u8),
            privileged: choice(privilege).filter(|_| permissions),
            instruction: choice(inst).filter(|_| permissions),
        }
    }
}

/// A level 1 stream table descriptor that leads to STEs (§5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct L1Std {
    /// `L2Ptr`, aligned to its array.
    pub table: Pa,
    /// `Span` - 1: log2 of the number of STEs.
    pub log2_stes: u8,
}

impl L1Std {
    /// The descriptor `word` of a table split at `split` bits; `None` where it is invalid: `Span` 0, over 11, or
    /// over `split` + 1.
    #[must_use]
    pub fn parse(word: u64, split: u8, features: &Features) -> Option<Self> {
        let span = Field::bits(4, 0).get(word) as u8;
        if span == 0 || span > 11 || span > split + 1 {
            return None;
        }
        let pointer = address_bits(features, word & Field::bits(51, 6).mask());
        Some(Self { table: Pa(align_down(pointer, 5 + u32::from(span))), log2_stes: span - 1 })
    }
}
