//! 16 bytes ⇄ [`Command`].

use super::{AtcInvalidation, Command, Illegal, Operand, PageResponse, Resume, Signal};
use crate::arch::addr::align_down;
use crate::arch::bits::{Field, disjoint};
use crate::arch::features::{Features, StallModel};
use crate::arch::id::{Asid, Stag, StreamId, SubstreamId, Vmid};

/// Fields of a command, numbered across its 128 bits.
pub mod field {
    use super::{Field, disjoint};

    /// Opcode.
    pub const OPCODE: Field = Field::bits(7, 0);
    /// `SSec`: the StreamID is Secure; CERROR_ILL on a Non-secure queue.
    pub const SSEC: Field = Field::bit(10);
    /// `SSV`: the SubstreamID is valid.
    pub const SSV: Field = Field::bit(11);
    /// `SubstreamID`.
    pub const SSID: Field = Field::bits(31, 12);
    /// `StreamID`.
    pub const SID: Field = Field::bits(63, 32);
    /// `Leaf`.
    pub const LEAF: Field = Field::bit(64);
    /// CMD_CFGI_STE_RANGE `Range`.
    pub const RANGE: Field = Field::bits(68, 64);
    /// `VMID`.
    pub const VMID: Field = Field::bits(47, 32);
    /// `ASID`.
    pub const ASID: Field = Field::bits(63, 48);
    /// `NUM`.
    pub const NUM: Field = Field::bits(16, 12);
    /// `SCALE`, six bits: bit 25 is RES0 for software that knows five.
    pub const SCALE: Field = Field::bits(25, 20);
    /// `TTL`.
    pub const TTL: Field = Field::bits(73, 72);
    /// `TG`.
    pub const TG: Field = Field::bits(75, 74);
    /// `TG` and `TTL` as one number.
    pub(crate) const HINT: Field = Field::bits(75, 72);
    /// `Address[63:12]`.
    pub const ADDRESS: Field = Field::bits(127, 76);
    /// `IPA[51:12]` of CMD_TLBI_S2_IPA.
    pub const IPA: Field = Field::bits(115, 76);
    /// CMD_PREFETCH_ADDR `Size`.
    pub const PREFETCH_SIZE: Field = Field::bits(68, 64);
    /// CMD_PREFETCH_ADDR `Stride`.
    pub const STRIDE: Field = Field::bits(73, 69);
    /// CMD_ATC_INV `G`: global.
    pub const G: Field = Field::bit(9);
    /// CMD_ATC_INV `Size`.
    pub const ATC_SIZE: Field = Field::bits(69, 64);
    /// CMD_PRI_RESP `PRGIndex`.
    pub const PRGINDEX: Field = Field::bits(72, 64);
    /// CMD_PRI_RESP `Resp`.
    pub const RESP: Field = Field::bits(77, 76);
    /// CMD_RESUME `Ac`: retry rather than terminate.
    pub const AC: Field = Field::bit(12);
    /// CMD_RESUME `Ab`: terminate with abort rather than RAZ/WI.
    pub const AB: Field = Field::bit(13);
    /// CMD_RESUME `STAG`.
    pub const STAG: Field = Field::bits(79, 64);
    /// CMD_SYNC `CS`.
    pub const CS: Field = Field::bits(13, 12);
    /// CMD_SYNC `MSH`.
    pub const MSH: Field = Field::bits(23, 22);
    /// CMD_SYNC `MSIAttr`.
    pub const MSIATTR: Field = Field::bits(27, 24);
    /// CMD_SYNC `MSIData`.
    pub const MSIDATA: Field = Field::bits(63, 32);
    /// CMD_SYNC `MSIAddress[51:2]`.
    pub const MSIADDRESS: Field = Field::bits(115, 66);

    const _: () = assert!(disjoint(&[OPCODE, NUM, SCALE, VMID, ASID, LEAF, TTL, TG, ADDRESS]));
    const _: () = assert!(disjoint(&[OPCODE, SSEC, SSV, SSID, SID, PREFETCH_SIZE, STRIDE, ADDRESS]));
    const _: () = assert!(disjoint(&[OPCODE, SSEC, AC, AB, SID, STAG]));
    const _: () = assert!(disjoint(&[OPCODE, G, SSV, SSID, SID, ATC_SIZE, ADDRESS]));
    const _: () = assert!(disjoint(&[OPCODE, SSV, SSID, SID, PRGINDEX, RESP]));
    const _: () = assert!(disjoint(&[OPCODE, CS, MSH, MSIATTR, MSIDATA, MSIADDRESS]));
}

/// Opcodes of §4.1.1 that a Non-secure queue can execute.
pub mod opcode {
    /// CMD_PREFETCH_CONFIG.
    pub const PREFETCH_CONFIG: u8 = 0x01;
    /// CMD_PREFETCH_ADDR.
    pub const PREFETCH_ADDR: u8 = 0x02;
    /// CMD_CFGI_STE.
    pub const CFGI_STE: u8 = 0x03;
    /// CMD_CFGI_STE_RANGE; with `Range` = 31, CMD_CFGI_ALL.
    pub const CFGI_STE_RANGE: u8 = 0x04;
    /// CMD_CFGI_CD.
    pub const CFGI_CD: u8 = 0x05;
    /// CMD_CFGI_CD_ALL.
    pub const CFGI_CD_ALL: u8 = 0x06;
    /// CMD_TLBI_NH_ALL.
    pub const TLBI_NH_ALL: u8 = 0x10;
    /// CMD_TLBI_NH_ASID.
    pub const TLBI_NH_ASID: u8 = 0x11;
    /// CMD_TLBI_NH_VA.
    pub const TLBI_NH_VA: u8 = 0x12;
    /// CMD_TLBI_NH_VAA.
    pub const TLBI_NH_VAA: u8 = 0x13;
    /// CMD_TLBI_EL2_ALL.
    pub const TLBI_EL2_ALL: u8 = 0x20;
    /// CMD_TLBI_EL2_ASID.
    pub const TLBI_EL2_ASID: u8 = 0x21;
    /// CMD_TLBI_EL2_VA.
    pub const TLBI_EL2_VA: u8 = 0x22;
    /// CMD_TLBI_EL2_VAA.
    pub const TLBI_EL2_VAA: u8 = 0x23;
    /// CMD_TLBI_S12_VMALL.
    pub const TLBI_S12_VMALL: u8 = 0x28;
    /// CMD_TLBI_S2_IPA.
    pub const TLBI_S2_IPA: u8 = 0x2a;
    /// CMD_TLBI_NSNH_ALL.
    pub const TLBI_NSNH_ALL: u8 = 0x30;
    /// CMD_ATC_INV.
    pub const ATC_INV: u8 = 0x40;
    /// CMD_PRI_RESP.
    pub const PRI_RESP: u8 = 0x41;
    /// CMD_RESUME.
    pub const RESUME: u8 = 0x44;
    /// CMD_STALL_TERM.
    pub const STALL_TERM: u8 = 0x45;
    /// CMD_SYNC.
    pub const SYNC: u8 = 0x46;
}

impl Operand {
    /// The operand of a TLBI command whose address is in the field `address`.
    #[inline]
    pub(crate) fn decode(words: &[u64; 2], address: Field, features: &Features) -> Result<Self, Illegal> {
        let leaf = field::LEAF.is_set(words);
        let operand = Self { leaf, ..Self::at(address.of(words) << 12) };
        if !features.ril {
            return Ok(operand);
        }
        if Self::is_reserved(words) { Err(Illegal) } else { Ok(Self::ranged(words, operand)) }
    }

    /// `operand` with what only SMMUs with `IDR3.RIL` decode.
    #[inline]
    pub(crate) fn ranged(words: &[u64; 2], operand: Self) -> Self {
        Self {
            num: field::NUM.of(words) as u8,
            scale: field::SCALE.of(words) as u8,
            tg: field::TG.of(words) as u8,
            ttl: field::TTL.of(words) as u8,
            ..operand
        }
    }

    /// Whether a granule is given with neither a range nor a level.
    #[inline]
    pub(crate) const fn is_reserved(words: &[u64; 2]) -> bool {
        /// By `TG` and `TTL` as one number: those with a granule and no level.
        const NO_LEVEL: u64 = {
            let mut set = 0;
            let mut hint = 4;
            while hint < 16 {
                let operand = Operand { tg: hint >> 2, ttl: hint & 3, ..Operand::at(0) };
                if operand.effective_ttl() == 0 {
                    set |= 1 << hint;
                }
                hint += 1;
            }
            set
        };
        let [low, high] = *words;
        let has_range = low & (field::NUM.mask() | field::SCALE.mask()) != 0;
        !has_range && NO_LEVEL >> field::HINT.get(high) & 1 != 0
    }

    fn encode(&self, words: &mut [u64; 2], address: Field) {
        field::LEAF.set(words, u64::from(self.leaf));
        field::NUM.set(words, self.num.into());
        field::SCALE.set(words, self.scale.into());
        field::TG.set(words, self.tg.into());
        field::TTL.set(words, self.ttl.into());
        address.set(words, self.address >> 12);
    }
}

impl Command {
    /// The command in `words`, by the table of §4.1.1 for a Non-secure queue of an SMMU with `features`.
    ///
    /// Undefined fields are RES0 and ignored. ASIDs and VMIDs of an SMMU that has 8 bits of them keep the low 8.
    ///
    /// # Errors
    /// [`Illegal`] is CERROR_ILL.
    pub fn decode(words: [u64; 2], features: &Features) -> Result<Self, Illegal> {
        let w = &words;
        let opcode = field::OPCODE.of(w) as u8;
        let stream = StreamId(field::SID.of(w) as u32);
        let ssid = SubstreamId(field::SSID.of(w) as u32);
        let substream = field::SSV.is_set(w).then_some(ssid);
        let leaf = field::LEAF.is_set(w);
        let vmid = Self::vmid(w, features);
        let asid = Self::asid(w, features);

        let has_ssec = matches!(opcode, 0x01..=0x07 | opcode::RESUME | opcode::STALL_TERM);
        let can_stall = features.stall_model != StallModel::Terminate;
        let present = match opcode {
            0x01..=0x04 | opcode::TLBI_NSNH_ALL | opcode::SYNC => true,
            opcode::CFGI_CD | opcode::CFGI_CD_ALL | 0x10..=0x13 => features.s1p,
            0x20..=0x23 => features.hyp,
            opcode::TLBI_S12_VMALL | opcode::TLBI_S2_IPA => features.s2p,
            opcode::ATC_INV => features.ats,
            opcode::PRI_RESP => features.pri,
            opcode::RESUME | opcode::STALL_TERM => can_stall,
            _ => false,
        };
        if !present || (has_ssec && field::SSEC.is_set(w)) {
            return Err(Illegal);
        }
        Ok(match opcode {
            opcode::PREFETCH_CONFIG => Self::PrefetchConfig { stream, substream },
            opcode::PREFETCH_ADDR => Self::PrefetchAddr {
                stream,
                substream,
                address: field::ADDRESS.of(w) << 12,
                size: field::PREFETCH_SIZE.of(w) as u8,
                stride: field::STRIDE.of(w) as u8,
            },
            opcode::CFGI_STE => Self::CfgiSte { stream, leaf },
            opcode::CFGI_STE_RANGE => Self::CfgiSteRange { stream, range: field::RANGE.of(w) as u8 },
            opcode::CFGI_CD => Self::CfgiCd { stream, substream: ssid, leaf },
            opcode::CFGI_CD_ALL => Self::CfgiCdAll { stream },
            opcode::TLBI_NH_ALL => Self::TlbiNhAll { vmid },
            opcode::TLBI_NH_ASID => Self::TlbiNhAsid { vmid, asid },
            opcode::TLBI_NH_VA => {
                Self::TlbiNhVa { vmid, asid, operand: Operand::decode(w, field::ADDRESS, features)? }
            }
            opcode::TLBI_NH_VAA => {
                Self::TlbiNhVaa { vmid, operand: Operand::decode(w, field::ADDRESS, features)? }
            }
            opcode::TLBI_EL2_ALL => Self::TlbiEl2All,
            opcode::TLBI_EL2_ASID => Self::TlbiEl2Asid { asid },
            opcode::TLBI_EL2_VA => {
                Self::TlbiEl2Va { asid, operand: Operand::decode(w, field::ADDRESS, features)? }
            }
            opcode::TLBI_EL2_VAA => {
                Self::TlbiEl2Vaa { operand: Operand::decode(w, field::ADDRESS, features)? }
            }
            opcode::TLBI_S12_VMALL => Self::TlbiS12Vmall { vmid },
            opcode::TLBI_S2_IPA => {
                Self::TlbiS2Ipa { vmid, operand: Operand::decode(w, field::IPA, features)? }
            }
            opcode::TLBI_NSNH_ALL => Self::TlbiNsnhAll,
            opcode::ATC_INV => {
                // A span over the whole address space has no address; above 52 it is no larger.
                let size = (field::ATC_SIZE.of(w) as u8).min(52);
                Self::AtcInv(AtcInvalidation {
                    stream,
                    substream,
                    global: field::G.is_set(w) && substream.is_some(),
                    address: align_down(field::ADDRESS.of(w) << 12, 12 + u32::from(size)),
                    size,
                })
            }
            opcode::PRI_RESP => Self::PriResp {
                stream,
                substream,
                group: field::PRGINDEX.of(w) as u16,
                response: match field::RESP.of(w) {
                    0b00 => PageResponse::Failure,
                    0b01 => PageResponse::Invalid,
                    0b10 => PageResponse::Success,
                    _ => return Err(Illegal),
                },
            },
            opcode::RESUME => Self::Resume {
                stream,
                stag: Stag(field::STAG.of(w) as u16),
                action: match (field::AC.is_set(w), field::AB.is_set(w)) {
                    (true, _) => Resume::Retry,
                    (false, true) => Resume::Abort,
                    (false, false) => Resume::Terminate,
                },
            },
            opcode::STALL_TERM => Self::StallTerm { stream },
            opcode::SYNC => Self::Sync(match field::CS.of(w) {
                0b00 => Signal::None,
                0b01 => Signal::Irq {
                    address: field::MSIADDRESS.in_place(w),
                    data: field::MSIDATA.of(w) as u32,
                    sh: field::MSH.of(w) as u8,
                    attributes: field::MSIATTR.of(w) as u8,
                },
                0b10 => Signal::Sev,
                _ => return Err(Illegal),
            }),
            _ => return Err(Illegal),
        })
    }

    /// The VMID of a TLBI command.
    #[inline]
    pub(crate) fn vmid(words: &[u64; 2], features: &Features) -> Vmid {
        Vmid(field::VMID.of(words) as u16 & if features.vmid16 { 0xffff } else { 0xff })
    }

    /// The ASID of a TLBI command.
    #[inline]
    pub(crate) fn asid(words: &[u64; 2], features: &Features) -> Asid {
        Asid(field::ASID.of(words) as u16 & if features.asid16 { 0xffff } else { 0xff })
    }

    /// The 16 bytes of this command: the inverse of [`Command::decode`] on an SMMU that has it.
    #[must_use]
    pub fn encode(&self) -> [u64; 2] {
        let mut words = [u64::from(self.opcode()), 0];
        let w = &mut words;
        let mut set = |field: Field, value: u64| field.set(w, value);
        match *self {
            Self::PrefetchConfig { stream, substream } => {
                set(field::SID, stream.0.into());
                set(field::SSV, substream.is_some().into());
                set(field::SSID, substream.unwrap_or_default().0.into());
            }
            Self::PrefetchAddr { stream, substream, address, size, stride } => {
                set(field::SID, stream.0.into());
                set(field::SSV, substream.is_some().into());
                set(field::SSID, substream.unwrap_or_default().0.into());
                set(field::PREFETCH_SIZE, size.into());
                set(field::STRIDE, stride.into());
                set(field::ADDRESS, address >> 12);
            }
            Self::CfgiSte { stream, leaf } => {
                set(field::SID, stream.0.into());
                set(field::LEAF, leaf.into());
            }
            Self::CfgiSteRange { stream, range } => {
                set(field::SID, stream.0.into());
                set(field::RANGE, range.into());
            }
            Self::CfgiCd { stream, substream, leaf } => {
                set(field::SID, stream.0.into());
                set(field::SSID, substream.0.into());
                set(field::LEAF, leaf.into());
            }
            Self::CfgiCdAll { stream } | Self::StallTerm { stream } => set(field::SID, stream.0.into()),
            Self::TlbiNhAll { vmid } | Self::TlbiS12Vmall { vmid } => set(field::VMID, vmid.0.into()),
            Self::TlbiNhAsid { vmid, asid } => {
                set(field::VMID, vmid.0.into());
                set(field::ASID, asid.0.into());
            }
            Self::TlbiNhVa { vmid, asid, operand } => {
                set(field::VMID, vmid.0.into());
                set(field::ASID, asid.0.into());
                operand.encode(w, field::ADDRESS);
            }
            Self::TlbiNhVaa { vmid, operand } => {
                set(field::VMID, vmid.0.into());
                operand.encode(w, field::ADDRESS);
            }
            Self::TlbiEl2All | Self::TlbiNsnhAll => {}
            Self::TlbiEl2Asid { asid } => set(field::ASID, asid.0.into()),
            Self::TlbiEl2Va { asid, operand } => {
                set(field::ASID, asid.0.into());
                operand.encode(w, field::ADDRESS);
            }
            Self::TlbiEl2Vaa { operand } => operand.encode(w, field::ADDRESS),
            Self::TlbiS2Ipa { vmid, operand } => {
                set(field::VMID, vmid.0.into());
                operand.encode(w, field::IPA);
            }
            Self::AtcInv(AtcInvalidation { stream, substream, global, address, size }) => {
                set(field::SID, stream.0.into());
                set(field::SSV, substream.is_some().into());
                set(field::SSID, substream.unwrap_or_default().0.into());
                set(field::G, global.into());
                set(field::ATC_SIZE, size.into());
                set(field::ADDRESS, address >> 12);
            }
            Self::PriResp { stream, substream, group, response } => {
                set(field::SID, stream.0.into());
                set(field::SSV, substream.is_some().into());
                set(field::SSID, substream.unwrap_or_default().0.into());
                set(field::PRGINDEX, group.into());
                set(field::RESP, response as u64);
            }
            Self::Resume { stream, stag, action } => {
                set(field::SID, stream.0.into());
                set(field::STAG, stag.0.into());
                set(field::AC, (action == Resume::Retry).into());
                set(field::AB, (action == Resume::Abort).into());
            }
            Self::Sync(signal) => match signal {
                Signal::None => {}
                Signal::Irq { address, data, sh, attributes } => {
                    set(field::CS, 0b01);
                    set(field::MSIADDRESS, address >> 2);
                    set(field::MSIDATA, data.into());
                    set(field::MSH, sh.into());
                    set(field::MSIATTR, attributes.into());
                }
                Signal::Sev => set(field::CS, 0b10),
            },
        }
        words
    }
}

#[cfg(test)]
mod tests {
    use crate::arch::features::Features;
    use crate::arch::id::{Asid, StreamId, SubstreamId, Vmid};
    use crate::format::command::{Command, Illegal, Operand, Signal};

    const SMMU: Features = Features::SMMUV3_2;

    /// Bytes written by hand from the table of §4, not by the encoder.
    #[test]
    fn known_bytes() {
        let va = Operand { address: 0xffff_8000_1234_5000, num: 31, scale: 18, tg: 1, ttl: 3, leaf: true };
        let rows = [
            ([0x0000_0042_0000_0003, 1], Command::CfgiSte { stream: StreamId(0x42), leaf: true }),
            ([0x0000_0000_0000_0004, 31], Command::CfgiSteRange { stream: StreamId(0), range: 31 }),
            (
                [0x0000_0042_0000_7005, 0],
                Command::CfgiCd { stream: StreamId(0x42), substream: SubstreamId(7), leaf: false },
            ),
            (
                [0x0102_0304_0121_f012, 0xffff_8000_1234_5701],
                Command::TlbiNhVa { vmid: Vmid(0x304), asid: Asid(0x102), operand: va },
            ),
            (
                [0x0000_0005_0000_002a, 0x0000_0000_8000_0000],
                Command::TlbiS2Ipa { vmid: Vmid(5), operand: Operand::at(0x8000_0000) },
            ),
            (
                [0x1122_3344_0fc0_1046, 0x0000_0000_4002_0ff0],
                Command::Sync(Signal::Irq {
                    address: 0x4002_0ff0,
                    data: 0x1122_3344,
                    sh: 3,
                    attributes: 0xf,
                }),
            ),
        ];
        for (words, command) in rows {
            assert_eq!(Command::decode(words, &SMMU), Ok(command));
            assert_eq!(command.encode(), words, "{}", command.name());
        }
    }

    #[test]
    fn a_granule_without_range_or_level_is_reserved() {
        let nh_va = |tg: u64, ttl: u64, num: u64, scale: u64| {
            Command::decode([0x12 | num << 12 | scale << 20, tg << 10 | ttl << 8], &SMMU)
        };
        assert_eq!(nh_va(1, 0, 0, 0), Err(Illegal));
        assert_eq!(nh_va(2, 1, 0, 0), Err(Illegal), "16 KiB has no level 1 leaves");
        for (tg, ttl, num, scale) in
            [(0, 0, 0, 0), (0, 3, 31, 31), (1, 3, 0, 0), (1, 0, 1, 0), (1, 0, 0, 32), (3, 1, 0, 0)]
        {
            assert!(nh_va(tg, ttl, num, scale).is_ok(), "TG {tg} TTL {ttl} NUM {num} SCALE {scale}");
        }
        assert!(Command::decode([0x12, 1 << 10], &Features::MINIMAL).is_ok(), "RES0 without RIL");
    }
}
