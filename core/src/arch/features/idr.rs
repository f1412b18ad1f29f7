//! [`Features`] ⇄ the ID registers that show them (§6.3.1 to §6.3.8).

use super::{ConfigError, Ecmdqs, Features, QueuesPreset, StallModel, TablesPreset, TtEndian, Version};
use crate::arch::bits::Field;

/// Fields of IDR0 to IDR6, as the architecture numbers them.
pub mod field {
    use super::Field;

    macro_rules! id_fields {
        ($($register:literal $id:ident $name:literal = $field:expr;)*) => {
            $(
                #[doc = concat!("`", $register, ".", $name, "`.")]
                pub const $id: Field = $field;
            )*

            /// Every field: its register's name, its own, and its bits.
            pub const ALL: [(&str, &str, Field); [$($name),*].len()] = [$(($register, $name, $id)),*];
        };
    }

    id_fields! {
        "IDR0" S2P "S2P" = Field::bit(0);
        "IDR0" S1P "S1P" = Field::bit(1);
        "IDR0" TTF "TTF" = Field::bits(3, 2); // 0b10: VMSAv8-64 alone
        "IDR0" COHACC "COHACC" = Field::bit(4);
        "IDR0" BTM "BTM" = Field::bit(5);
        "IDR0" HTTU "HTTU" = Field::bits(7, 6);
        "IDR0" DORMHINT "DORMHINT" = Field::bit(8);
        "IDR0" HYP "Hyp" = Field::bit(9);
        "IDR0" ATS "ATS" = Field::bit(10);
        "IDR0" NS1ATS "NS1ATS" = Field::bit(11);
        "IDR0" ASID16 "ASID16" = Field::bit(12);
        "IDR0" MSI "MSI" = Field::bit(13);
        "IDR0" SEV "SEV" = Field::bit(14);
        "IDR0" ATOS "ATOS" = Field::bit(15);
        "IDR0" PRI "PRI" = Field::bit(16);
        "IDR0" VMW "VMW" = Field::bit(17);
        "IDR0" VMID16 "VMID16" = Field::bit(18);
        "IDR0" CD2L "CD2L" = Field::bit(19);
        "IDR0" VATOS "VATOS" = Field::bit(20);
        "IDR0" TTENDIAN "TTENDIAN" = Field::bits(22, 21);
        "IDR0" ATSRECERR "ATSRECERR" = Field::bit(23);
        "IDR0" STALL_MODEL "STALL_MODEL" = Field::bits(25, 24);
        "IDR0" TERM_MODEL "TERM_MODEL" = Field::bit(26);
        "IDR0" ST_LEVEL "ST_LEVEL" = Field::bits(28, 27);

        "IDR1" SIDSIZE "SIDSIZE" = Field::bits(5, 0);
        "IDR1" SSIDSIZE "SSIDSIZE" = Field::bits(10, 6);
        "IDR1" PRIQS "PRIQS" = Field::bits(15, 11);
        "IDR1" EVENTQS "EVENTQS" = Field::bits(20, 16);
        "IDR1" CMDQS "CMDQS" = Field::bits(25, 21);
        "IDR1" ATTR_PERMS_OVR "ATTR_PERMS_OVR" = Field::bit(26);
        "IDR1" ATTR_TYPES_OVR "ATTR_TYPES_OVR" = Field::bit(27);
        "IDR1" REL "REL" = Field::bit(28);
        "IDR1" QUEUES_PRESET "QUEUES_PRESET" = Field::bit(29);
        "IDR1" TABLES_PRESET "TABLES_PRESET" = Field::bit(30);
        "IDR1" ECMDQ "ECMDQ" = Field::bit(31);

        "IDR2" BA_VATOS "BA_VATOS" = Field::bits(9, 0);

        "IDR3" HAD "HAD" = Field::bit(2);
        "IDR3" XNX "XNX" = Field::bit(4);
        "IDR3" PPS "PPS" = Field::bit(5);
        "IDR3" FWB "FWB" = Field::bit(8);
        "IDR3" STT "STT" = Field::bit(9);
        "IDR3" RIL "RIL" = Field::bit(10);
        "IDR3" BBML "BBML" = Field::bits(12, 11);
        "IDR3" E0PD "E0PD" = Field::bit(13);
        "IDR3" PTWNNC "PTWNNC" = Field::bit(14);

        "IDR5" OAS "OAS" = Field::bits(2, 0);
        "IDR5" GRAN4K "GRAN4K" = Field::bit(4);
        "IDR5" GRAN16K "GRAN16K" = Field::bit(5);
        "IDR5" GRAN64K "GRAN64K" = Field::bit(6);
        "IDR5" VAX "VAX" = Field::bits(11, 10);
        "IDR5" STALL_MAX "STALL_MAX" = Field::bits(31, 16);

        "IDR6" LOG2NUMQ "CMDQ_CONTROL_PAGE_LOG2NUMQ" = Field::bits(19, 16);
        "IDR6" LOG2NUMP "CMDQ_CONTROL_PAGE_LOG2NUMP" = Field::bits(27, 24);
    }
}

impl Features {
    /// The features that a set of ID register values shows. Preset addresses are 0, and enhanced command queues one,
    /// until the fields are set: the ID registers do not show them.
    ///
    /// # Errors
    /// [`ConfigError`] names the first field that shows what this model does not have.
    pub const fn from_idr(idr: [u32; 6], iidr: u32, aidr: u32) -> Result<Self, ConfigError> {
        let [idr0, idr1, idr2, idr3, idr4, idr5] = idr;
        let (idr0, idr1, idr2, idr3, idr5) =
            (idr0 as u64, idr1 as u64, idr2 as u64, idr3 as u64, idr5 as u64);
        macro_rules! bit {
            ($word:ident, $field:ident) => {
                field::$field.get($word) != 0
            };
        }
        let version = match aidr {
            0 => Version::V3_0,
            1 => Version::V3_1,
            2 => Version::V3_2,
            3 => Version::V3_3,
            _ => return Err(ConfigError::absent("AIDR")),
        };
        let features = Self {
            version,
            iidr,
            s1p: bit!(idr0, S1P),
            s2p: bit!(idr0, S2P),
            cohacc: bit!(idr0, COHACC),
            btm: bit!(idr0, BTM),
            httu: field::HTTU.get(idr0) as u8,
            hyp: bit!(idr0, HYP),
            ats: bit!(idr0, ATS),
            ns1ats: bit!(idr0, NS1ATS),
            atos: bit!(idr0, ATOS),
            pri: bit!(idr0, PRI),
            vmw: bit!(idr0, VMW),
            vatos: bit!(idr0, VATOS),
            atsrecerr: bit!(idr0, ATSRECERR),
            priqs: field::PRIQS.get(idr1) as u8,
            tables_preset: if bit!(idr1, TABLES_PRESET) {
                Some(TablesPreset { base: 0, config: 0 })
            } else {
                None
            },
            queues_preset: if bit!(idr1, QUEUES_PRESET) {
                Some(QueuesPreset { command: 0, event: 0, pri: 0 })
            } else {
                None
            },
            rel: bit!(idr1, REL),
            ecmdq: if bit!(idr1, ECMDQ) { Some(Ecmdqs { log2_pages: 0, log2_queues: 0 }) } else { None },
            ba_vatos: field::BA_VATOS.get(idr2) as u16,
            pps: bit!(idr3, PPS),
            asid16: bit!(idr0, ASID16),
            msi: bit!(idr0, MSI),
            sev: bit!(idr0, SEV),
            vmid16: bit!(idr0, VMID16),
            cd2l: bit!(idr0, CD2L),
            ttendian: match field::TTENDIAN.get(idr0) {
                0b00 => TtEndian::Mixed,
                0b10 => TtEndian::Little,
                0b11 => TtEndian::Big,
                _ => return Err(ConfigError::inconsistent("IDR0.TTENDIAN", "0b01 is reserved")),
            },
            stall_model: match field::STALL_MODEL.get(idr0) {
                0b00 => StallModel::StallOrTerminate,
                0b01 => StallModel::Terminate,
                0b10 => StallModel::Stall,
                _ => return Err(ConfigError::inconsistent("IDR0.STALL_MODEL", "0b11 is reserved")),
            },
            term_model: bit!(idr0, TERM_MODEL),
            two_level_stream_table: bit!(idr0, ST_LEVEL),
            sidsize: field::SIDSIZE.get(idr1) as u8,
            ssidsize: field::SSIDSIZE.get(idr1) as u8,
            eventqs: field::EVENTQS.get(idr1) as u8,
            cmdqs: field::CMDQS.get(idr1) as u8,
            attr_perms_ovr: bit!(idr1, ATTR_PERMS_OVR),
            attr_types_ovr: bit!(idr1, ATTR_TYPES_OVR),
            had: bit!(idr3, HAD),
            xnx: bit!(idr3, XNX),
            fwb: bit!(idr3, FWB),
            stt: bit!(idr3, STT),
            ril: bit!(idr3, RIL),
            bbml: field::BBML.get(idr3) as u8,
            e0pd: bit!(idr3, E0PD),
            ptwnnc: bit!(idr3, PTWNNC),
            oas_bits: match field::OAS.get(idr5) {
                0 => 32,
                1 => 36,
                2 => 40,
                3 => 42,
                4 => 44,
                5 => 48,
                6 => 52,
                _ => return Err(ConfigError::absent("IDR5.OAS")),
            },
            gran4k: bit!(idr5, GRAN4K),
            gran16k: bit!(idr5, GRAN16K),
            gran64k: bit!(idr5, GRAN64K),
            vax52: field::VAX.get(idr5) == 1,
            stall_max: field::STALL_MAX.get(idr5) as u16,
        };
        // Whatever does not come back out is a field that this model does not have.
        let missing = if idr0 as u32 != features.idr(0) {
            missing_in_idr0(idr0 ^ features.idr(0) as u64)
        } else if idr1 as u32 != features.idr(1) {
            "IDR1"
        } else if idr2 as u32 != features.idr(2) {
            "IDR2"
        } else if idr3 as u32 != features.idr(3) {
            "IDR3"
        } else if idr4 != 0 {
            "IDR4"
        } else if idr5 as u32 != features.idr(5) {
            "IDR5"
        } else {
            return Ok(features);
        };
        Err(ConfigError::absent(missing))
    }

    /// `IDR0` to `IDR6` as a guest reads them; zero for any other number.
    #[must_use]
    pub const fn idr(&self, number: usize) -> u32 {
        macro_rules! word {
            ($($field:ident = $value:expr),* $(,)?) => {{
                let mut word = 0u64;
                $(word = field::$field.put(word, $value as u64);)*
                word as u32
            }};
        }
        match number {
            0 => word!(
                S2P = self.s2p,
                S1P = self.s1p,
                TTF = 0b10,
                COHACC = self.cohacc,
                BTM = self.btm,
                HTTU = self.httu,
                HYP = self.hyp,
                ATS = self.ats,
                NS1ATS = self.ns1ats,
                ASID16 = self.asid16,
                MSI = self.msi,
                SEV = self.sev,
                ATOS = self.atos,
                PRI = self.pri,
                VMW = self.vmw,
                VATOS = self.vatos,
                ATSRECERR = self.atsrecerr,
                VMID16 = self.vmid16,
                CD2L = self.cd2l,
                TTENDIAN = match self.ttendian {
                    TtEndian::Mixed => 0b00,
                    TtEndian::Little => 0b10,
                    TtEndian::Big => 0b11,
                },
                STALL_MODEL = match self.stall_model {
                    StallModel::StallOrTerminate => 0b00,
                    StallModel::Terminate => 0b01,
                    StallModel::Stall => 0b10,
                },
                TERM_MODEL = self.term_model,
                ST_LEVEL = self.two_level_stream_table,
            ),
            1 => word!(
                SIDSIZE = self.sidsize,
                SSIDSIZE = self.ssidsize,
                PRIQS = self.priqs,
                EVENTQS = self.eventqs,
                CMDQS = self.cmdqs,
                REL = self.rel,
                QUEUES_PRESET = self.queues_preset.is_some(),
                TABLES_PRESET = self.tables_preset.is_some(),
                ECMDQ = self.ecmdq.is_some(),
                ATTR_PERMS_OVR = self.attr_perms_ovr,
                ATTR_TYPES_OVR = self.attr_types_ovr,
            ),
            2 => word!(BA_VATOS = self.ba_vatos),
            3 => word!(
                HAD = self.had,
                PPS = self.pps,
                XNX = self.xnx,
                FWB = self.fwb,
                STT = self.stt,
                RIL = self.ril,
                BBML = self.bbml,
                E0PD = self.e0pd,
                PTWNNC = self.ptwnnc,
            ),
            5 => word!(
                OAS = match self.oas_bits {
                    32 => 0,
                    36 => 1,
                    40 => 2,
                    42 => 3,
                    44 => 4,
                    48 => 5,
                    _ => 6,
                },
                GRAN4K = self.gran4k,
                GRAN16K = self.gran16k,
                GRAN64K = self.gran64k,
                VAX = self.vax52,
                STALL_MAX = self.stall_max,
            ),
            6 => match self.ecmdq {
                Some(ecmdqs) => word!(LOG2NUMQ = ecmdqs.log2_queues, LOG2NUMP = ecmdqs.log2_pages),
                None => 0,
            },
            _ => 0,
        }
    }
}

/// The name of the lowest bit of IDR0 that this model never shows, or always does.
const fn missing_in_idr0(bits: u64) -> &'static str {
    match bits.trailing_zeros() {
        2 => "IDR0.TTF (AArch32 tables)",
        3 => "IDR0.TTF without AArch64",
        8 => "IDR0.DORMHINT",
        30 => "IDR0.RME_IMPL",
        _ => "IDR0",
    }
}
