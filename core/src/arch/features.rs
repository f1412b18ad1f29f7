//! What this SMMU implements: the one source from which the ID registers follow (§6.3.1 to §6.3.8).
//!
//! A [`Features`] value is plain data with public fields, since only the integrator knows what the machine is to
//! have; there is no default. [`Features::check`] refuses sets that the architecture does not allow, and features
//! that this model does not have, by the name of the field.

use core::fmt;

mod idr;

pub use idr::field;

/// The largest `IDR5.STALL_MAX` that can be configured: stalled transactions are held inline.
pub const MAX_STALLS: usize = 32;

/// The most enhanced command queues that can be configured, over all their pages: they are held inline.
pub const MAX_ECMDQS: usize = 16;

/// The architecture version that `AIDR` shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Version {
    /// SMMUv3.0.
    V3_0,
    /// SMMUv3.1.
    V3_1,
    /// SMMUv3.2.
    V3_2,
    /// SMMUv3.3.
    V3_3,
}

/// `IDR0.TTENDIAN`: the byte order of translation tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum TtEndian {
    /// 0b00: `CD.ENDI` and `STE.S2ENDI` choose.
    Mixed,
    /// 0b10: little-endian only.
    Little,
    /// 0b11: big-endian only.
    Big,
}

/// `IDR0.STALL_MODEL`: whether a faulting transaction may wait for software.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum StallModel {
    /// 0b00: `CD.S` and `STE.S2S` choose.
    StallOrTerminate,
    /// 0b01: faults terminate.
    Terminate,
    /// 0b10: faults stall.
    Stall,
}

/// What STRTAB_BASE and STRTAB_BASE_CFG hold where they are fixed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct TablesPreset {
    /// STRTAB_BASE.
    pub base: u64,
    /// STRTAB_BASE_CFG.
    pub config: u32,
}

/// What CMDQ_BASE, EVENTQ_BASE and PRIQ_BASE hold where they are fixed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct QueuesPreset {
    /// CMDQ_BASE.
    pub command: u64,
    /// EVENTQ_BASE.
    pub event: u64,
    /// PRIQ_BASE.
    pub pri: u64,
}

/// `IDR6`: how many enhanced command queues there are (SMMUv3.3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Ecmdqs {
    /// `CMDQ_CONTROL_PAGE_LOG2NUMP`: log2 of the control pages.
    pub log2_pages: u8,
    /// `CMDQ_CONTROL_PAGE_LOG2NUMQ`: log2 of the queues of each page, 0 to 8.
    pub log2_queues: u8,
}

/// What an SMMU implements. See the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Features {
    /// `AIDR`: the architecture version.
    pub version: Version,
    /// `IIDR`, all 32 bits: product, variant, revision, implementer.
    pub iidr: u32,
    /// `IDR0.S1P`: stage 1 translation.
    pub s1p: bool,
    /// `IDR0.S2P`: stage 2 translation.
    pub s2p: bool,
    /// `IDR0.COHACC`: accesses to tables and queues are coherent. Shown; memory is always coherent here.
    pub cohacc: bool,
    /// `IDR0.BTM`: broadcast TLB maintenance reaches the SMMU.
    pub btm: bool,
    /// `IDR0.HTTU`: 0 none, 1 Access flag, 2 Access flag and dirty state.
    pub httu: u8,
    /// `IDR0.Hyp`: StreamWorld EL2.
    pub hyp: bool,
    /// `IDR0.ATS`: PCIe Address Translation Services.
    pub ats: bool,
    /// `IDR0.NS1ATS`: split-stage ATS is *not* supported.
    pub ns1ats: bool,
    /// `IDR0.ASID16`: 16-bit ASIDs, otherwise 8.
    pub asid16: bool,
    /// `IDR0.MSI`: message-signalled interrupts.
    pub msi: bool,
    /// `IDR0.SEV`: CMD_SYNC can send a WFE event.
    pub sev: bool,
    /// `IDR0.ATOS`: address translation by register.
    pub atos: bool,
    /// `IDR0.PRI`: PCIe Page Request Interface.
    pub pri: bool,
    /// `IDR0.VMW`: VMID wildcards for invalidation.
    pub vmw: bool,
    /// `IDR0.VMID16`: 16-bit VMIDs, otherwise 8.
    pub vmid16: bool,
    /// `IDR0.CD2L`: two-level CD tables.
    pub cd2l: bool,
    /// `IDR0.VATOS`: address translation by register for virtual machines.
    pub vatos: bool,
    /// `IDR0.TTENDIAN`.
    pub ttendian: TtEndian,
    /// `IDR0.ATSRECERR`: `CR2.REC_CFG_ATS` works.
    pub atsrecerr: bool,
    /// `IDR0.STALL_MODEL`.
    pub stall_model: StallModel,
    /// `IDR0.TERM_MODEL`: terminated transactions always abort; `CD.A` must be 1.
    pub term_model: bool,
    /// `IDR0.ST_LEVEL`: two-level stream tables.
    pub two_level_stream_table: bool,
    /// `IDR1.SIDSIZE`: StreamID bits, 0 to 32.
    pub sidsize: u8,
    /// `IDR1.SSIDSIZE`: SubstreamID bits, 0 to 20.
    pub ssidsize: u8,
    /// `IDR1.PRIQS`: log2 of the largest PRI queue, 0 to 19.
    pub priqs: u8,
    /// `IDR1.EVENTQS`: log2 of the largest event queue, 0 to 19.
    pub eventqs: u8,
    /// `IDR1.CMDQS`: log2 of the largest command queue, 0 to 19.
    pub cmdqs: u8,
    /// `IDR1.ATTR_PERMS_OVR`: `STE.PRIVCFG` and `STE.INSTCFG` work.
    pub attr_perms_ovr: bool,
    /// `IDR1.ATTR_TYPES_OVR`: `STE.MTCFG`, `STE.SHCFG` and `STE.ALLOCCFG` work.
    pub attr_types_ovr: bool,
    /// `IDR1.TABLES_PRESET`: the stream table's registers are fixed.
    pub tables_preset: Option<TablesPreset>,
    /// `IDR1.QUEUES_PRESET`: the queues' base registers are fixed.
    pub queues_preset: Option<QueuesPreset>,
    /// `IDR1.REL`: preset addresses are offsets from page 0. Shown; this model adds nothing to them.
    pub rel: bool,
    /// `IDR1.ECMDQ`: enhanced command queues, `IDR6`.
    pub ecmdq: Option<Ecmdqs>,
    /// `IDR2.BA_VATOS`: the VATOS page lies at 0x20000 + `BA_VATOS` × 0x10000, 0 to 1,023.
    pub ba_vatos: u16,
    /// `IDR3.PPS`: automatic PRI responses keep the PASID.
    pub pps: bool,
    /// `IDR3.HAD`: `CD.HAD0` and `CD.HAD1` work.
    pub had: bool,
    /// `IDR3.XNX`: stage 2 execute permission by privilege.
    pub xnx: bool,
    /// `IDR3.FWB`: `STE.S2FWB` works.
    pub fwb: bool,
    /// `IDR3.STT`: small translation tables.
    pub stt: bool,
    /// `IDR3.RIL`: range invalidation and level hints.
    pub ril: bool,
    /// `IDR3.BBML`: break-before-make level, 0 to 2.
    pub bbml: u8,
    /// `IDR3.E0PD`: `CD.E0PD0` and `CD.E0PD1` work.
    pub e0pd: bool,
    /// `IDR3.PTWNNC`: with `STE.S2PTW` = 0, walks of Device memory are treated as Normal Non-cacheable.
    pub ptwnnc: bool,
    /// `IDR5.OAS` in bits: 32, 36, 40, 42, 44, 48 or 52.
    pub oas_bits: u8,
    /// `IDR5.GRAN4K`.
    pub gran4k: bool,
    /// `IDR5.GRAN16K`.
    pub gran16k: bool,
    /// `IDR5.GRAN64K`.
    pub gran64k: bool,
    /// `IDR5.VAX` = 1: 52-bit virtual addresses.
    pub vax52: bool,
    /// `IDR5.STALL_MAX`: transactions that can be stalled at once, up to [`MAX_STALLS`].
    pub stall_max: u16,
}

impl Features {
    /// A small SMMUv3.1 without range invalidation: stage 1, 4 KiB pages, 8-bit ASIDs, linear stream table.
    pub const MINIMAL: Self = Self {
        version: Version::V3_1,
        iidr: 0,
        s1p: true,
        s2p: false,
        cohacc: true,
        btm: false,
        httu: 0,
        hyp: false,
        ats: false,
        ns1ats: false,
        asid16: false,
        msi: false,
        sev: false,
        atos: false,
        pri: false,
        vmw: false,
        vmid16: false,
        cd2l: false,
        vatos: false,
        atsrecerr: false,
        priqs: 0,
        tables_preset: None,
        queues_preset: None,
        rel: false,
        ecmdq: None,
        ba_vatos: 0,
        pps: false,
        ttendian: TtEndian::Little,
        stall_model: StallModel::Terminate,
        term_model: true,
        two_level_stream_table: false,
        sidsize: 6,
        ssidsize: 0,
        eventqs: 7,
        cmdqs: 8,
        attr_perms_ovr: false,
        attr_types_ovr: false,
        had: true,
        xnx: false,
        fwb: false,
        stt: false,
        ril: false,
        bbml: 0,
        e0pd: false,
        ptwnnc: false,
        oas_bits: 40,
        gran4k: true,
        gran16k: false,
        gran64k: false,
        vax52: false,
        stall_max: 0,
    };

    /// What QEMU 10.0.2 shows with stage 1: the peer of the recorded transcripts.
    pub const QEMU_10: Self = Self {
        asid16: true,
        vmid16: true,
        two_level_stream_table: true,
        sidsize: 16,
        eventqs: 19,
        cmdqs: 19,
        ril: true,
        bbml: 2,
        oas_bits: 44,
        gran16k: true,
        gran64k: true,
        ..Self::MINIMAL
    };

    /// SMMUv3.0 with both stages, substreams, ATS, PRI and all granules.
    pub const SMMUV3_0: Self = Self {
        version: Version::V3_0,
        s2p: true,
        btm: true,
        ats: true,
        atos: true,
        pri: true,
        vmw: true,
        vatos: true,
        priqs: 19,
        hyp: true,
        asid16: true,
        msi: true,
        sev: true,
        vmid16: true,
        cd2l: true,
        stall_model: StallModel::StallOrTerminate,
        stall_max: 16,
        term_model: false,
        two_level_stream_table: true,
        sidsize: 16,
        ssidsize: 20,
        eventqs: 19,
        cmdqs: 19,
        attr_perms_ovr: true,
        attr_types_ovr: true,
        had: false,
        httu: 2,
        oas_bits: 48,
        gran16k: true,
        gran64k: true,
        ..Self::MINIMAL
    };

    /// SMMUv3.1: what [`Features::SMMUV3_0`] has, HAD, XNX and 52-bit addresses.
    pub const SMMUV3_1: Self =
        Self { version: Version::V3_1, had: true, xnx: true, oas_bits: 52, vax52: true, ..Self::SMMUV3_0 };

    /// SMMUv3.2: what [`Features::SMMUV3_1`] has, range invalidation, BBML 2, FWB and small tables.
    pub const SMMUV3_2: Self =
        Self { version: Version::V3_2, ril: true, bbml: 2, fwb: true, stt: true, ..Self::SMMUV3_1 };

    /// SMMUv3.3: what [`Features::SMMUV3_2`] has, E0PD, PTWNNC, and two pages of four enhanced command queues.
    pub const SMMUV3_3: Self = Self {
        version: Version::V3_3,
        e0pd: true,
        ptwnnc: true,
        atsrecerr: true,
        pps: true,
        ecmdq: Some(Ecmdqs { log2_pages: 1, log2_queues: 2 }),
        ..Self::SMMUV3_2
    };

    /// `AIDR`: `[7:4]` is 0 for every SMMUv3.x.
    #[must_use]
    pub const fn aidr(&self) -> u32 {
        self.version as u32
    }

    /// Refuses a set that the architecture does not allow or that this model does not have.
    ///
    /// # Errors
    /// [`ConfigError`] names the field and the rule.
    pub const fn check(&self) -> Result<(), ConfigError> {
        use ConfigError as E;
        let both_stages = self.s1p && self.s2p;
        let v3_1 = self.version as u8 >= Version::V3_1 as u8;
        let v3_2 = self.version as u8 >= Version::V3_2 as u8;
        let v3_3 = self.version as u8 >= Version::V3_3 as u8;
        let rules = [
            (self.s1p || self.s2p, "IDR0.S1P", "at least one stage is needed"),
            (self.httu <= 2, "IDR0.HTTU", "0b11 belongs to SMMUv3.4"),
            (!self.hyp || both_stages, "IDR0.Hyp", "EL2 needs both stages"),
            (!v3_2 || !both_stages || self.hyp, "IDR0.Hyp", "SMMUv3.2 with both stages has EL2"),
            (
                !self.ns1ats || (self.ats && both_stages),
                "IDR0.NS1ATS",
                "RES0 without ATS or without both stages",
            ),
            (!self.pri || self.ats, "IDR0.PRI", "needs ATS"),
            (!self.vmw || self.s2p, "IDR0.VMW", "needs stage 2"),
            (!self.vatos || (self.atos && both_stages), "IDR0.VATOS", "needs ATOS and both stages"),
            (!self.atsrecerr || self.ats, "IDR0.ATSRECERR", "needs ATS"),
            (!self.pps || (self.pri && self.ssidsize != 0), "IDR3.PPS", "needs PRI and SubstreamIDs"),
            (
                self.priqs <= 19 && (self.pri || self.priqs == 0),
                "IDR1.PRIQS",
                "at most 19, and 0 without PRI",
            ),
            (
                !self.rel || self.tables_preset.is_some() || self.queues_preset.is_some(),
                "IDR1.REL",
                "RES0 without presets",
            ),
            (
                self.ecmdq.is_none() || (v3_3 && self.cohacc && self.msi),
                "IDR1.ECMDQ",
                "needs SMMUv3.3, COHACC and MSI",
            ),
            (self.ecmdq.is_none() || self.queues_preset.is_none(), "IDR1.QUEUES_PRESET", "0 with ECMDQ"),
            (self.ecmdq_count() <= MAX_ECMDQS, "IDR6", "this model holds at most 16 queues"),
            (
                self.ba_vatos <= 0x3ff && (self.vatos || self.ba_vatos == 0),
                "IDR2.BA_VATOS",
                "10 bits, and 0 without VATOS",
            ),
            (self.sidsize <= 32, "IDR1.SIDSIZE", "at most 32"),
            (
                self.sidsize < 7 || self.two_level_stream_table,
                "IDR0.ST_LEVEL",
                "SIDSIZE of 7 or more needs two levels",
            ),
            (self.ssidsize <= 20, "IDR1.SSIDSIZE", "at most 20"),
            (self.eventqs <= 19, "IDR1.EVENTQS", "at most 19"),
            (self.cmdqs <= 19, "IDR1.CMDQS", "at most 19"),
            (!v3_1 || !self.s1p || self.had, "IDR3.HAD", "mandatory since SMMUv3.1 with stage 1"),
            (!v3_1 || !self.s2p || self.xnx, "IDR3.XNX", "mandatory since SMMUv3.1 with stage 2"),
            (!v3_2 || !self.s2p || self.fwb, "IDR3.FWB", "mandatory since SMMUv3.2 with stage 2"),
            (!v3_2 || self.ril, "IDR3.RIL", "mandatory since SMMUv3.2"),
            (!v3_2 || self.bbml != 0, "IDR3.BBML", "at least 1 since SMMUv3.2"),
            (self.bbml <= 2, "IDR3.BBML", "0b11 is reserved"),
            (!v3_3 || self.e0pd, "IDR3.E0PD", "mandatory since SMMUv3.3"),
            (!v3_3 || !self.s2p || self.ptwnnc, "IDR3.PTWNNC", "mandatory since SMMUv3.3 with stage 2"),
            (self.gran4k || self.gran16k || self.gran64k, "IDR5.GRAN4K", "at least one granule is needed"),
            (matches!(self.oas_bits, 32 | 36 | 40 | 42 | 44 | 48 | 52), "IDR5.OAS", "no such size"),
            (
                self.oas_bits < 52 || (v3_1 && self.gran64k),
                "IDR5.OAS",
                "52 bits need SMMUv3.1 and 64 KiB granules",
            ),
            (!self.vax52 || (v3_1 && self.gran64k), "IDR5.VAX", "52 bits need SMMUv3.1 and 64 KiB granules"),
            (
                self.stall_max == 0 || !matches!(self.stall_model, StallModel::Terminate),
                "IDR5.STALL_MAX",
                "0 where nothing stalls",
            ),
            (
                self.stall_max != 0 || matches!(self.stall_model, StallModel::Terminate),
                "IDR5.STALL_MAX",
                "at least 1 where transactions can stall",
            ),
            (self.stall_max as usize <= MAX_STALLS, "IDR5.STALL_MAX", "this model holds at most 32"),
        ];
        let mut i = 0;
        while i < rules.len() {
            #[expect(clippy::indexing_slicing, reason = "`get` is not const; `i` is below the length")]
            let (holds, field, rule) = rules[i];
            if !holds {
                return Err(E::inconsistent(field, rule));
            }
            i += 1;
        }
        Ok(())
    }

    /// Enhanced command queues, over all pages.
    #[must_use]
    pub const fn ecmdq_count(&self) -> usize {
        match self.ecmdq {
            Some(Ecmdqs { log2_pages, log2_queues }) if log2_pages <= 8 && log2_queues <= 8 => {
                1 << (log2_pages + log2_queues)
            }
            Some(_) => usize::MAX,
            None => 0,
        }
    }

    /// IAS in bits: the widest intermediate physical address, OAS where tables are VMSAv8-64 alone (§3.4).
    #[must_use]
    #[inline]
    pub const fn ias_bits(&self) -> u32 {
        self.oas_bits as u32
    }
}

/// Why [`Smmu::new`](crate::Smmu::new) refuses to build a device: the integrator's mistake, never the guest's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum ConfigError {
    /// The field is inconsistent with others, for the reason given.
    Inconsistent {
        /// The field, in Arm's spelling.
        field: &'static str,
        /// The rule that it breaks.
        rule: &'static str,
    },
    /// The field shows a feature that this model does not have.
    Absent {
        /// The field, in Arm's spelling.
        field: &'static str,
    },
}

impl ConfigError {
    pub(crate) const fn inconsistent(field: &'static str, rule: &'static str) -> Self {
        Self::Inconsistent { field, rule }
    }

    const fn absent(field: &'static str) -> Self {
        Self::Absent { field }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inconsistent { field, rule } => write!(f, "{field}: {rule}"),
            Self::Absent { field } => write!(f, "{field}: not modelled"),
        }
    }
}

impl core::error::Error for ConfigError {}

#[cfg(test)]
mod tests {
    use super::{ConfigError, Ecmdqs, Features};

    /// The ID registers that QEMU 10.0.2 shows with stage 1, read from it.
    #[test]
    fn qemu_preset_shows_what_qemu_shows() {
        let idr = [0x0d44_101a, 0x0273_0010, 0, 0x1404, 0, 0x74];
        assert_eq!([0, 1, 2, 3, 4, 5].map(|n| Features::QEMU_10.idr(n)), idr);
        assert_eq!(Features::from_idr(idr, 0, 1), Ok(Features::QEMU_10));
    }

    #[test]
    fn presets_are_consistent() {
        for features in [
            Features::MINIMAL,
            Features::QEMU_10,
            Features::SMMUV3_0,
            Features::SMMUV3_1,
            Features::SMMUV3_2,
            Features::SMMUV3_3,
        ] {
            assert_eq!(features.check(), Ok(()));
            let idr = [0, 1, 2, 3, 4, 5].map(|n| features.idr(n));
            // The number of enhanced queues is IDR6's affair.
            let shown = Features { ecmdq: features.ecmdq.map(|_| Ecmdqs::default()), ..features };
            assert_eq!(Features::from_idr(idr, features.iidr, features.aidr()), Ok(shown));
        }
    }

    #[test]
    fn inconsistent_sets_are_refused_by_name() {
        let rows = [
            (Features { s1p: false, ..Features::MINIMAL }, "IDR0.S1P"),
            (Features { hyp: true, ..Features::MINIMAL }, "IDR0.Hyp"),
            (Features { hyp: false, ..Features::SMMUV3_2 }, "IDR0.Hyp"),
            (Features { sidsize: 7, ..Features::MINIMAL }, "IDR0.ST_LEVEL"),
            (Features { ssidsize: 21, ..Features::MINIMAL }, "IDR1.SSIDSIZE"),
            (Features { had: false, ..Features::MINIMAL }, "IDR3.HAD"),
            (Features { ril: false, ..Features::SMMUV3_2 }, "IDR3.RIL"),
            (Features { bbml: 0, ..Features::SMMUV3_2 }, "IDR3.BBML"),
            (Features { gran64k: false, ..Features::SMMUV3_2 }, "IDR5.OAS"),
            (Features { oas_bits: 41, ..Features::MINIMAL }, "IDR5.OAS"),
            (Features { stall_max: 1, ..Features::MINIMAL }, "IDR5.STALL_MAX"),
            (Features { stall_max: 33, ..Features::SMMUV3_2 }, "IDR5.STALL_MAX"),
        ];
        for (features, expected) in rows {
            let Err(ConfigError::Inconsistent { field, .. }) = features.check() else {
                panic!("{expected} was accepted");
            };
            assert_eq!(field, expected);
        }
    }

    #[test]
    fn what_is_not_modelled_is_named() {
        let lpae = Features::from_idr([0x0d44_101e, 0x0273_0010, 0, 0x1404, 0, 0x74], 0, 1);
        assert_eq!(lpae, Err(ConfigError::Absent { field: "IDR0.TTF (AArch32 tables)" }));
        let mpam = Features::from_idr([0x0d44_101a, 0x0273_0010, 0, 0x1484, 0, 0x74], 0, 1);
        assert_eq!(mpam, Err(ConfigError::Absent { field: "IDR3" }));
    }
}
