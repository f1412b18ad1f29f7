//! Commands as 16 bytes (§4).

/// A command as it lies in the queue.
pub type Command = [u64; 2];

/// `NUM`, `SCALE`, `TG` and `TTL` of a TLBI by address (§4.4.1).
#[derive(Clone, Copy, Debug, Default)]
pub struct Range {
    /// Units less one.
    pub num: u64,
    /// A unit is `2^scale` granules.
    pub scale: u64,
    /// 1 is 4 KiB; 0 is no range.
    pub tg: u64,
    /// The level of the leaves; 0 is any.
    pub ttl: u64,
}

impl Range {
    const fn low(self) -> u64 {
        self.num << 12 | self.scale << 20
    }

    const fn high(self) -> u64 {
        self.ttl << 8 | self.tg << 10
    }
}

/// CMD_PREFETCH_CONFIG.
pub const fn prefetch_config(sid: u32) -> Command {
    [0x01 | (sid as u64) << 32, 0]
}

/// CMD_CFGI_STE.
pub const fn cfgi_ste(sid: u32) -> Command {
    [0x03 | (sid as u64) << 32, 1]
}

/// CMD_CFGI_ALL.
pub const fn cfgi_all() -> Command {
    [0x04, 31]
}

/// CMD_CFGI_CD.
pub const fn cfgi_cd(sid: u32, ssid: u32) -> Command {
    [0x05 | (ssid as u64) << 12 | (sid as u64) << 32, 1]
}

/// CMD_CFGI_CD_ALL.
pub const fn cfgi_cd_all(sid: u32) -> Command {
    [0x06 | (sid as u64) << 32, 0]
}

/// CMD_TLBI_NH_ALL.
pub const fn tlbi_nh_all(vmid: u16) -> Command {
    [0x10 | (vmid as u64) << 32, 0]
}

/// CMD_TLBI_NH_ASID.
pub const fn tlbi_nh_asid(vmid: u16, asid: u16) -> Command {
    [0x11 | (vmid as u64) << 32 | (asid as u64) << 48, 0]
}

/// CMD_TLBI_NH_VA with `Leaf` = 1.
pub const fn tlbi_nh_va(vmid: u16, asid: u16, address: u64, range: Range) -> Command {
    [0x12 | range.low() | (vmid as u64) << 32 | (asid as u64) << 48, address | range.high() | 1]
}

/// CMD_TLBI_NH_VAA with `Leaf` = 0.
pub const fn tlbi_nh_vaa(vmid: u16, address: u64, range: Range) -> Command {
    [0x13 | range.low() | (vmid as u64) << 32, address | range.high()]
}

/// CMD_TLBI_EL2_ALL.
pub const fn tlbi_el2_all() -> Command {
    [0x20, 0]
}

/// CMD_TLBI_EL2_VA.
pub const fn tlbi_el2_va(asid: u16, address: u64, range: Range) -> Command {
    [0x22 | range.low() | (asid as u64) << 48, address | range.high()]
}

/// CMD_TLBI_S12_VMALL.
pub const fn tlbi_s12_vmall(vmid: u16) -> Command {
    [0x28 | (vmid as u64) << 32, 0]
}

/// CMD_TLBI_S2_IPA.
pub const fn tlbi_s2_ipa(vmid: u16, address: u64, range: Range) -> Command {
    [0x2a | range.low() | (vmid as u64) << 32, address | range.high()]
}

/// CMD_TLBI_NSNH_ALL.
pub const fn tlbi_nsnh_all() -> Command {
    [0x30, 0]
}

/// CMD_ATC_INV of everything.
pub const fn atc_inv(sid: u32) -> Command {
    [0x40 | (sid as u64) << 32, 52]
}

/// CMD_PRI_RESP: success.
pub const fn pri_resp(sid: u32, group: u16) -> Command {
    [0x41 | (sid as u64) << 32, group as u64 | 0b10 << 12]
}

/// CMD_RESUME: retry.
pub const fn resume(sid: u32, stag: u16) -> Command {
    [0x44 | 1 << 12 | (sid as u64) << 32, stag as u64]
}

/// CMD_STALL_TERM.
pub const fn stall_term(sid: u32) -> Command {
    [0x45 | (sid as u64) << 32, 0]
}

/// CMD_SYNC with `CS` = SIG_NONE.
pub const fn sync() -> Command {
    [0x46, 0]
}

/// CMD_SYNC with `CS` = SIG_IRQ: an MSI of `data` to `address`.
pub const fn sync_msi(address: u64, data: u32) -> Command {
    [0x46 | 0b01 << 12 | (data as u64) << 32, address]
}
