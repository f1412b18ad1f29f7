//! The bytes of an SMMUv3 driver: structures, descriptors and commands.
//!
//! Positions are those of the architecture's tables (§4, §5, DDI 0487 §D8.3). Nothing here asks the model, which is what
//! these bytes are to test.

#![no_std]
#![forbid(unsafe_code)]

pub mod command;
pub mod register;

/// Stream table entries (§5.2). `SHCFG` is "incoming" in all of them.
pub mod ste {
    const SHCFG_INCOMING: u64 = 0b01 << 44;

    /// An entry that is not valid.
    pub const INVALID: [u64; 8] = [0; 8];

    /// `Config` = 0b000: abort.
    pub const ABORT: [u64; 8] = [1, SHCFG_INCOMING, 0, 0, 0, 0, 0, 0];

    /// `Config` = 0b100: bypass.
    pub const BYPASS: [u64; 8] = [1 | 0b100 << 1, SHCFG_INCOMING, 0, 0, 0, 0, 0, 0];

    /// `Config` = 0b101: stage 1 with one CD at `context`.
    pub const fn stage1(context: u64) -> [u64; 8] {
        [1 | 0b101 << 1 | context, SHCFG_INCOMING, 0, 0, 0, 0, 0, 0]
    }

    /// Stage 2 fields: 44 bits of input, 4 KiB granule, start level 0, output of 44 bits, faults recorded.
    const fn stage2_fields(vmid: u16, table: u64) -> [u64; 2] {
        let (t0sz, sl0, granule, ps) = (20, 0b10, 0b00, 0b100);
        let (aa64, record) = (1 << 51, 1 << 58);
        [vmid as u64 | t0sz << 32 | sl0 << 38 | granule << 46 | ps << 48 | aa64 | record, table]
    }

    /// `Config` = 0b110: stage 2 with its root table.
    pub const fn stage2(vmid: u16, table: u64) -> [u64; 8] {
        let [d2, d3] = stage2_fields(vmid, table);
        [1 | 0b110 << 1, SHCFG_INCOMING, d2, d3, 0, 0, 0, 0]
    }

    /// `Config` = 0b111: both stages, one CD at `context`, which is an IPA.
    pub const fn nested(context: u64, vmid: u16, table: u64) -> [u64; 8] {
        let [d2, d3] = stage2_fields(vmid, table);
        [1 | 0b111 << 1 | context, SHCFG_INCOMING, d2, d3, 0, 0, 0, 0]
    }

    /// The same for `2^log2_cds` substreams, their CDs in a table of two levels, `S1Fmt` = 0b01.
    pub const fn nested_substreams(context: u64, log2_cds: u8, vmid: u16, table: u64) -> [u64; 8] {
        let [d0, d1, d2, d3, ..] = nested(context, vmid, table);
        [d0 | 0b01 << 4 | (log2_cds as u64) << 59, d1, d2, d3, 0, 0, 0, 0]
    }
}

/// A context descriptor (§5.4): TTB0 alone, `64 - t0sz` bits of input, 4 KiB granule, faults abort and are recorded.
/// `ips` is the encoding of `IPS`. MAIR 0 is Normal Write-Back.
pub const fn cd(asid: u16, t0sz: u64, ips: u64, ttb0: u64) -> [u64; 8] {
    let (epd1, v, aa64, r, a) = (1 << 30, 1 << 31, 1 << 41, 1 << 45, 1 << 46);
    [t0sz | epd1 | v | ips << 32 | aa64 | r | a | (asid as u64) << 48, ttb0, 0, 0xff, 0, 0, 0, 0]
}

/// A level 1 CD descriptor (§5.3): valid, its leaf table at `leaf`.
pub const fn l1cd(leaf: u64) -> u64 {
    leaf | 1
}

/// VMSAv8-64 descriptors (DDI 0487 §D8.3).
pub mod descriptor {
    const AF: u64 = 1 << 10;
    const INNER_SHAREABLE: u64 = 0b11 << 8;

    /// A table descriptor.
    pub const fn table(next: u64) -> u64 {
        next | 0b11
    }

    /// A page of stage 1: readable and writable by everyone, not global.
    pub const fn page(output: u64) -> u64 {
        output | 1 << 11 | AF | INNER_SHAREABLE | 0b01 << 6 | 0b11
    }

    /// The same, read-only.
    pub const fn read_only_page(output: u64) -> u64 {
        page(output) | 1 << 7
    }

    /// A block of stage 1, otherwise as [`page`].
    pub const fn block(output: u64) -> u64 {
        page(output) & !0b10
    }

    /// A page of stage 2: Normal Write-Back, readable and writable.
    pub const fn page2(output: u64) -> u64 {
        output | AF | INNER_SHAREABLE | 0b11 << 6 | 0b1111 << 2 | 0b11
    }

    /// A block of stage 2, otherwise as [`page2`].
    pub const fn block2(output: u64) -> u64 {
        page2(output) & !0b10
    }

    /// The index of `address` in a table of 4 KiB at `level`.
    pub const fn index(address: u64, level: u32) -> u64 {
        address >> (12 + 9 * (3 - level)) & 0x1ff
    }
}
