//! The commands of §4 as values. Every opcode is decoded; what the table calls CERROR_ILL is an [`Illegal`].

mod codec;

pub use codec::{field, opcode};

use crate::arch::id::{Asid, Stag, StreamId, SubstreamId, Vmid};

/// Size of a command queue entry in bytes.
pub const COMMAND_BYTES: u64 = 16;

/// The address operand of a TLBI command: one address, or a range of granules with a level hint (§4.4.1).
///
/// Where `IDR3.RIL` is 0, only `address` and `leaf` are decoded and the rest is zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Operand {
    /// `Address[63:12]` or `IPA[51:12]`, in place.
    pub address: u64,
    /// `NUM`, as encoded: the number of units less one, 0 to 31.
    pub num: u8,
    /// `SCALE`, 0 to 63: a unit is `2^SCALE` granules.
    pub scale: u8,
    /// `TG`: 0 is no range, 1 is 4 KiB, 2 is 16 KiB, 3 is 64 KiB.
    pub tg: u8,
    /// `TTL`: 0 is any level, otherwise the level of the leaves.
    pub ttl: u8,
    /// `Leaf`: only leaf entries need to go.
    pub leaf: bool,
}

impl Operand {
    /// One address, all levels, leaves and tables.
    #[must_use]
    pub const fn at(address: u64) -> Self {
        Self { address, num: 0, scale: 0, tg: 0, ttl: 0, leaf: false }
    }

    /// `TTL` as it acts: a 16 KiB granule has no level 1 leaves without `IDR5.DS`, so 0b01 counts as 0b00.
    #[must_use]
    pub const fn effective_ttl(&self) -> u8 {
        if self.tg == 0 || (self.tg == 2 && self.ttl == 1) { 0 } else { self.ttl }
    }
}

/// `CS` of CMD_SYNC: how completion is signalled (§4.7.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Signal {
    /// 0b00: not at all.
    None,
    /// 0b01: by interrupt: wired, and as an MSI if `address` is not 0.
    Irq {
        /// `MSIAddress[51:2]`, in place.
        address: u64,
        /// `MSIData`.
        data: u32,
        /// `MSH`: shareability, 0 N, 2 O, 3 I.
        sh: u8,
        /// `MSIAttr`: memory type, encoded as `STE.MemAttr`.
        attributes: u8,
    },
    /// 0b10: by a WFE event, if `IDR0.SEV`.
    Sev,
}

/// A command that this SMMU executes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Command {
    /// CMD_PREFETCH_CONFIG: a permitted no-op.
    PrefetchConfig {
        /// Whose configuration.
        stream: StreamId,
        /// Which of its substreams, if `SSV`.
        substream: Option<SubstreamId>,
    },
    /// CMD_PREFETCH_ADDR: a permitted no-op.
    PrefetchAddr {
        /// Whose address space.
        stream: StreamId,
        /// Which of its substreams, if `SSV`.
        substream: Option<SubstreamId>,
        /// `Address[63:12]`, in place.
        address: u64,
        /// `Size`: log2 of the number of addresses.
        size: u8,
        /// `Stride`: log2 of their distance in 4 KiB.
        stride: u8,
    },
    /// CMD_CFGI_STE.
    CfgiSte {
        /// Whose STE.
        stream: StreamId,
        /// Keep the L1STD that leads to it.
        leaf: bool,
    },
    /// CMD_CFGI_STE_RANGE; `range` = 31 is CMD_CFGI_ALL.
    CfgiSteRange {
        /// Any StreamID of the span; its low `range` + 1 bits are ignored.
        stream: StreamId,
        /// `Range`: the span is `2^(range + 1)` StreamIDs.
        range: u8,
    },
    /// CMD_CFGI_CD.
    CfgiCd {
        /// Whose CD.
        stream: StreamId,
        /// Which of its CDs.
        substream: SubstreamId,
        /// Keep the L1CD that leads to it.
        leaf: bool,
    },
    /// CMD_CFGI_CD_ALL.
    CfgiCdAll {
        /// Whose CDs.
        stream: StreamId,
    },
    /// CMD_TLBI_NH_ALL.
    TlbiNhAll {
        /// VMID.
        vmid: Vmid,
    },
    /// CMD_TLBI_NH_ASID.
    TlbiNhAsid {
        /// VMID.
        vmid: Vmid,
        /// ASID.
        asid: Asid,
    },
    /// CMD_TLBI_NH_VA.
    TlbiNhVa {
        /// VMID.
        vmid: Vmid,
        /// ASID.
        asid: Asid,
        /// Which addresses.
        operand: Operand,
    },
    /// CMD_TLBI_NH_VAA.
    TlbiNhVaa {
        /// VMID.
        vmid: Vmid,
        /// Which addresses.
        operand: Operand,
    },
    /// CMD_TLBI_EL2_ALL.
    TlbiEl2All,
    /// CMD_TLBI_EL2_ASID.
    TlbiEl2Asid {
        /// ASID.
        asid: Asid,
    },
    /// CMD_TLBI_EL2_VA.
    TlbiEl2Va {
        /// ASID, used if `CR2.E2H`.
        asid: Asid,
        /// Which addresses.
        operand: Operand,
    },
    /// CMD_TLBI_EL2_VAA.
    TlbiEl2Vaa {
        /// Which addresses.
        operand: Operand,
    },
    /// CMD_TLBI_S12_VMALL.
    TlbiS12Vmall {
        /// VMID.
        vmid: Vmid,
    },
    /// CMD_TLBI_S2_IPA.
    TlbiS2Ipa {
        /// VMID.
        vmid: Vmid,
        /// Which intermediate physical addresses.
        operand: Operand,
    },
    /// CMD_TLBI_NSNH_ALL.
    TlbiNsnhAll,
    /// CMD_ATC_INV.
    AtcInv(AtcInvalidation),
    /// CMD_PRI_RESP.
    PriResp {
        /// Whose request.
        stream: StreamId,
        /// Of which of its substreams, if `SSV`.
        substream: Option<SubstreamId>,
        /// `PRGIndex`, 0 to 511.
        group: u16,
        /// The answer.
        response: PageResponse,
    },
    /// CMD_RESUME.
    Resume {
        /// Whose transaction.
        stream: StreamId,
        /// Which one.
        stag: Stag,
        /// What becomes of it.
        action: Resume,
    },
    /// CMD_STALL_TERM.
    StallTerm {
        /// Whose transactions.
        stream: StreamId,
    },
    /// CMD_SYNC.
    Sync(Signal),
}

/// What CMD_ATC_INV drops from a device's Address Translation Cache (§4.5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct AtcInvalidation {
    /// Whose ATC.
    pub stream: StreamId,
    /// Which of its address spaces, if `SSV`.
    pub substream: Option<SubstreamId>,
    /// `G`: all substreams; used only with a substream.
    pub global: bool,
    /// First address, aligned to the span.
    pub address: u64,
    /// `Size`: the span is `4096 << size` bytes; 52 is everything.
    pub size: u8,
}

/// `Resp` of CMD_PRI_RESP, and what an SMMU answers by itself (§8.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum PageResponse {
    /// 0b00: Response Failure.
    Failure,
    /// 0b01: Invalid Request.
    Invalid,
    /// 0b10: Success.
    Success,
}

/// What CMD_RESUME asks for (`Ac`, `Ab`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Resume {
    /// `Ac` = 1: try again, as a new transaction.
    Retry,
    /// `Ac` = 0, `Ab` = 1: terminate with an abort.
    Abort,
    /// `Ac` = 0, `Ab` = 0: terminate as RAZ/WI.
    Terminate,
}

/// CERROR_ILL: the opcode is reserved, its feature is absent, or its fields make a reserved combination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Illegal;

impl Command {
    /// The opcode, `[7:0]`.
    #[must_use]
    pub const fn opcode(&self) -> u8 {
        match self {
            Self::PrefetchConfig { .. } => opcode::PREFETCH_CONFIG,
            Self::PrefetchAddr { .. } => opcode::PREFETCH_ADDR,
            Self::CfgiSte { .. } => opcode::CFGI_STE,
            Self::CfgiSteRange { .. } => opcode::CFGI_STE_RANGE,
            Self::CfgiCd { .. } => opcode::CFGI_CD,
            Self::CfgiCdAll { .. } => opcode::CFGI_CD_ALL,
            Self::TlbiNhAll { .. } => opcode::TLBI_NH_ALL,
            Self::TlbiNhAsid { .. } => opcode::TLBI_NH_ASID,
            Self::TlbiNhVa { .. } => opcode::TLBI_NH_VA,
            Self::TlbiNhVaa { .. } => opcode::TLBI_NH_VAA,
            Self::TlbiEl2All => opcode::TLBI_EL2_ALL,
            Self::TlbiEl2Asid { .. } => opcode::TLBI_EL2_ASID,
            Self::TlbiEl2Va { .. } => opcode::TLBI_EL2_VA,
            Self::TlbiEl2Vaa { .. } => opcode::TLBI_EL2_VAA,
            Self::TlbiS12Vmall { .. } => opcode::TLBI_S12_VMALL,
            Self::TlbiS2Ipa { .. } => opcode::TLBI_S2_IPA,
            Self::TlbiNsnhAll => opcode::TLBI_NSNH_ALL,
            Self::AtcInv(_) => opcode::ATC_INV,
            Self::PriResp { .. } => opcode::PRI_RESP,
            Self::Resume { .. } => opcode::RESUME,
            Self::StallTerm { .. } => opcode::STALL_TERM,
            Self::Sync(_) => opcode::SYNC,
        }
    }

    /// Arm's name, such as `CMD_TLBI_NH_VA`.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::PrefetchConfig { .. } => "CMD_PREFETCH_CONFIG",
            Self::PrefetchAddr { .. } => "CMD_PREFETCH_ADDR",
            Self::CfgiSte { .. } => "CMD_CFGI_STE",
            Self::CfgiSteRange { range: 31, .. } => "CMD_CFGI_ALL",
            Self::CfgiSteRange { .. } => "CMD_CFGI_STE_RANGE",
            Self::CfgiCd { .. } => "CMD_CFGI_CD",
            Self::CfgiCdAll { .. } => "CMD_CFGI_CD_ALL",
            Self::TlbiNhAll { .. } => "CMD_TLBI_NH_ALL",
            Self::TlbiNhAsid { .. } => "CMD_TLBI_NH_ASID",
            Self::TlbiNhVa { .. } => "CMD_TLBI_NH_VA",
            Self::TlbiNhVaa { .. } => "CMD_TLBI_NH_VAA",
            Self::TlbiEl2All => "CMD_TLBI_EL2_ALL",
            Self::TlbiEl2Asid { .. } => "CMD_TLBI_EL2_ASID",
            Self::TlbiEl2Va { .. } => "CMD_TLBI_EL2_VA",
            Self::TlbiEl2Vaa { .. } => "CMD_TLBI_EL2_VAA",
            Self::TlbiS12Vmall { .. } => "CMD_TLBI_S12_VMALL",
            Self::TlbiS2Ipa { .. } => "CMD_TLBI_S2_IPA",
            Self::TlbiNsnhAll => "CMD_TLBI_NSNH_ALL",
            Self::AtcInv(_) => "CMD_ATC_INV",
            Self::PriResp { .. } => "CMD_PRI_RESP",
            Self::Resume { .. } => "CMD_RESUME",
            Self::StallTerm { .. } => "CMD_STALL_TERM",
            Self::Sync(_) => "CMD_SYNC",
        }
    }
}
