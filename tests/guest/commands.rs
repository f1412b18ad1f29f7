//! Commands as 16 raw bytes, §4, and which of them are CERROR_ILL.

use crate::bits::{Bits, Record, across, bit};
use crate::tables::Grain;

/// A command as it lies in the queue.
pub type Command = [u64; 2];

/// The fields of every command, numbered across its 128 bits.
#[allow(missing_docs, reason = "the names are the specification's own")]
pub mod field {
    use super::{Bits, across, bit};

    pub const OPCODE: Bits = across(7, 0);
    pub const SSEC: Bits = bit(0, 10);
    pub const SSV: Bits = bit(0, 11);
    pub const SSID: Bits = across(31, 12);
    pub const SID: Bits = across(63, 32);
    pub const LEAF: Bits = bit(1, 0);
    pub const RANGE: Bits = across(68, 64);
    pub const NUM: Bits = across(16, 12);
    pub const SCALE: Bits = across(25, 20);
    pub const VMID: Bits = across(47, 32);
    pub const ASID: Bits = across(63, 48);
    pub const TTL: Bits = across(73, 72);
    pub const TG: Bits = across(75, 74);
    pub const ADDRESS: Bits = across(127, 76);
    pub const IPA: Bits = across(115, 76);
    pub const CS: Bits = across(13, 12);
    pub const MSH: Bits = across(23, 22);
    pub const MSIATTR: Bits = across(27, 24);
    pub const MSIDATA: Bits = across(63, 32);
    pub const MSIADDRESS: Bits = across(115, 66);
    pub const AC: Bits = bit(0, 12);
    pub const AB: Bits = bit(0, 13);
    pub const STAG: Bits = across(79, 64);
    pub const ATC_GLOBAL: Bits = bit(0, 9);
    pub const ATC_SIZE: Bits = across(69, 64);
    pub const PREFETCH_SIZE: Bits = across(68, 64);
    pub const PREFETCH_STRIDE: Bits = across(73, 69);
    pub const PRGINDEX: Bits = across(72, 64);
    pub const RESP: Bits = across(77, 76);
}

/// Opcodes, §4.1.1.
#[allow(missing_docs, reason = "the names are the specification's own")]
pub mod opcode {
    pub const PREFETCH_CONFIG: u8 = 0x01;
    pub const PREFETCH_ADDR: u8 = 0x02;
    pub const CFGI_STE: u8 = 0x03;
    pub const CFGI_STE_RANGE: u8 = 0x04;
    pub const CFGI_CD: u8 = 0x05;
    pub const CFGI_CD_ALL: u8 = 0x06;
    pub const CFGI_VMS_PIDM: u8 = 0x07;
    pub const TLBI_NH_ALL: u8 = 0x10;
    pub const TLBI_NH_ASID: u8 = 0x11;
    pub const TLBI_NH_VA: u8 = 0x12;
    pub const TLBI_NH_VAA: u8 = 0x13;
    pub const TLBI_EL2_ALL: u8 = 0x20;
    pub const TLBI_EL2_ASID: u8 = 0x21;
    pub const TLBI_EL2_VA: u8 = 0x22;
    pub const TLBI_EL2_VAA: u8 = 0x23;
    pub const TLBI_S12_VMALL: u8 = 0x28;
    pub const TLBI_S2_IPA: u8 = 0x2a;
    pub const TLBI_NSNH_ALL: u8 = 0x30;
    pub const ATC_INV: u8 = 0x40;
    pub const PRI_RESP: u8 = 0x41;
    pub const RESUME: u8 = 0x44;
    pub const STALL_TERM: u8 = 0x45;
    pub const SYNC: u8 = 0x46;
}

/// NUM, SCALE, TTL and TG of a TLBI by address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are the specification's own")]
pub struct Hint {
    pub num: u64,
    pub scale: u64,
    pub ttl: u64,
    pub tg: u64,
}

impl Hint {
    /// TG = 0: one address, any granule, any level.
    pub const NONE: Hint = Hint { num: 0, scale: 0, ttl: 0, tg: 0 };
}

/// Does a TLBI leave the walk caches alone?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leaf {
    /// Leaf = 0: tables on the way are dropped too.
    AndTables,
    /// Leaf = 1
    Only,
}

/// A command with nothing but its opcode.
pub const fn plain(opcode: u8) -> Record<2> {
    Record::<2>::ZERO.with(field::OPCODE, opcode as u64)
}

/// CMD_PREFETCH_CONFIG
pub const fn prefetch_config(sid: u32) -> Command {
    plain(opcode::PREFETCH_CONFIG).with(field::SID, sid as u64).0
}

/// CMD_PREFETCH_ADDR of one page.
pub const fn prefetch_addr(sid: u32, address: u64) -> Command {
    plain(opcode::PREFETCH_ADDR).with(field::SID, sid as u64).with(field::ADDRESS, address >> 12).0
}

/// CMD_CFGI_STE
pub const fn cfgi_ste(sid: u32, leaf: Leaf) -> Command {
    plain(opcode::CFGI_STE).with(field::SID, sid as u64).with(field::LEAF, leaf as u64).0
}

/// CMD_CFGI_STE_RANGE: 2^(range+1) StreamIDs.
pub const fn cfgi_ste_range(sid: u32, range: u64) -> Command {
    plain(opcode::CFGI_STE_RANGE).with(field::SID, sid as u64).with(field::RANGE, range).0
}

/// CMD_CFGI_ALL
pub const fn cfgi_all() -> Command {
    cfgi_ste_range(0, 31)
}

/// CMD_CFGI_CD
pub const fn cfgi_cd(sid: u32, ssid: u32, leaf: Leaf) -> Command {
    plain(opcode::CFGI_CD)
        .with(field::SID, sid as u64)
        .with(field::SSID, ssid as u64)
        .with(field::LEAF, leaf as u64)
        .0
}

/// CMD_CFGI_CD_ALL
pub const fn cfgi_cd_all(sid: u32) -> Command {
    plain(opcode::CFGI_CD_ALL).with(field::SID, sid as u64).0
}

/// CMD_TLBI_NH_ALL
pub const fn tlbi_nh_all(vmid: u16) -> Command {
    plain(opcode::TLBI_NH_ALL).with(field::VMID, vmid as u64).0
}

/// CMD_TLBI_NH_ASID
pub const fn tlbi_nh_asid(vmid: u16, asid: u16) -> Command {
    plain(opcode::TLBI_NH_ASID).with(field::VMID, vmid as u64).with(field::ASID, asid as u64).0
}

/// CMD_TLBI_NH_VA
pub const fn tlbi_nh_va(vmid: u16, asid: u16, address: u64, leaf: Leaf, hint: Hint) -> Command {
    by_address(
        plain(opcode::TLBI_NH_VA).with(field::VMID, vmid as u64).with(field::ASID, asid as u64),
        address,
        leaf,
        hint,
    )
}

/// CMD_TLBI_NH_VAA
pub const fn tlbi_nh_vaa(vmid: u16, address: u64, leaf: Leaf, hint: Hint) -> Command {
    by_address(plain(opcode::TLBI_NH_VAA).with(field::VMID, vmid as u64), address, leaf, hint)
}

/// CMD_TLBI_EL2_ALL
pub const fn tlbi_el2_all() -> Command {
    plain(opcode::TLBI_EL2_ALL).0
}

/// CMD_TLBI_EL2_ASID
pub const fn tlbi_el2_asid(asid: u16) -> Command {
    plain(opcode::TLBI_EL2_ASID).with(field::ASID, asid as u64).0
}

/// CMD_TLBI_EL2_VA
pub const fn tlbi_el2_va(asid: u16, address: u64, leaf: Leaf, hint: Hint) -> Command {
    by_address(plain(opcode::TLBI_EL2_VA).with(field::ASID, asid as u64), address, leaf, hint)
}

/// CMD_TLBI_EL2_VAA
pub const fn tlbi_el2_vaa(address: u64, leaf: Leaf, hint: Hint) -> Command {
    by_address(plain(opcode::TLBI_EL2_VAA), address, leaf, hint)
}

/// CMD_TLBI_S12_VMALL
pub const fn tlbi_s12_vmall(vmid: u16) -> Command {
    plain(opcode::TLBI_S12_VMALL).with(field::VMID, vmid as u64).0
}

/// CMD_TLBI_S2_IPA
pub const fn tlbi_s2_ipa(vmid: u16, ipa: u64, leaf: Leaf, hint: Hint) -> Command {
    assert!(ipa >> 52 == 0);
    by_address(plain(opcode::TLBI_S2_IPA).with(field::VMID, vmid as u64), ipa, leaf, hint)
}

/// CMD_TLBI_NSNH_ALL
pub const fn tlbi_nsnh_all() -> Command {
    plain(opcode::TLBI_NSNH_ALL).0
}

/// CMD_ATC_INV of 4096 · 2^size bytes.
pub const fn atc_inv(sid: u32, ssid: Option<u32>, address: u64, size: u64) -> Command {
    with_ssid(plain(opcode::ATC_INV), ssid)
        .with(field::SID, sid as u64)
        .with(field::ATC_SIZE, size)
        .with(field::ADDRESS, address >> 12)
        .0
}

/// CMD_PRI_RESP
pub const fn pri_resp(sid: u32, ssid: Option<u32>, group: u64, response: u64) -> Command {
    with_ssid(plain(opcode::PRI_RESP), ssid)
        .with(field::SID, sid as u64)
        .with(field::PRGINDEX, group)
        .with(field::RESP, response)
        .0
}

/// CMD_RESUME
pub const fn resume(sid: u32, stag: u16, ac: u64, ab: u64) -> Command {
    plain(opcode::RESUME)
        .with(field::SID, sid as u64)
        .with(field::STAG, stag as u64)
        .with(field::AC, ac)
        .with(field::AB, ab)
        .0
}

/// CMD_STALL_TERM
pub const fn stall_term(sid: u32) -> Command {
    plain(opcode::STALL_TERM).with(field::SID, sid as u64).0
}

/// CMD_SYNC without a signal.
pub const fn sync() -> Command {
    sync_with(0, 0, 0)
}

/// CMD_SYNC with completion signal `cs` and, for CS = 01, an MSI.
pub const fn sync_with(cs: u64, msi_address: u64, msi_data: u32) -> Command {
    plain(opcode::SYNC)
        .with(field::CS, cs)
        .with(field::MSIDATA, msi_data as u64)
        .with(field::MSIADDRESS, msi_address >> 2)
        .0
}

const fn with_ssid(command: Record<2>, ssid: Option<u32>) -> Record<2> {
    match ssid {
        Some(ssid) => command.with(field::SSV, 1).with(field::SSID, ssid as u64),
        None => command,
    }
}

const fn by_address(command: Record<2>, address: u64, leaf: Leaf, hint: Hint) -> Command {
    command
        .with(field::ADDRESS, address >> 12)
        .with(field::LEAF, leaf as u64)
        .with(field::NUM, hint.num)
        .with(field::SCALE, hint.scale)
        .with(field::TTL, hint.ttl)
        .with(field::TG, hint.tg)
        .0
}

/// The range commands that Linux sends for `pages` granules from `iova` on (commands.md §7).
///
/// `template` is a TLBI by address with its opcode, VMID and ASID. A TTL of 0 comes with its rounding up, so that no command has
/// the illegal all-zero form.
pub fn linux_range_invalidation(
    template: Command,
    iova: u64,
    pages: u64,
    granule: Grain,
    ttl: u64,
    leaf: Leaf,
) -> Vec<Command> {
    let mut address = iova;
    let mut left = if ttl == 0 && pages & 31 == 1 { pages + 1 } else { pages };
    let mut commands = Vec::new();
    while left != 0 {
        let scale = left.trailing_zeros();
        let num = left >> scale & 31;
        let hint = Hint { num: num - 1, scale: u64::from(scale), ttl, tg: granule.tlbi_tg() };
        commands.push(by_address(Record(template), address, leaf, hint));
        address = address.wrapping_add(num << (scale + granule.shift()));
        left -= num << scale;
    }
    commands
}

/// What an SMMU implements, as far as commands and caches depend on it; read from its ID registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are the specification's own")]
pub struct Implemented {
    pub s1p: bool,
    pub s2p: bool,
    pub hyp: bool,
    pub ats: bool,
    pub pri: bool,
    pub asid16: bool,
    pub vmid16: bool,
    pub stall_model: u32,
    pub ril: bool,
    pub mpam: bool,
    pub ds: bool,
    pub httu: u32,
    pub xnx: bool,
    pub vas: u32,
    pub oas: u32,
    pub sidsize: u32,
    pub ssidsize: u32,
}

impl Implemented {
    /// From SMMU_IDR0 … SMMU_IDR5, §6.3.1 to §6.3.6.
    pub const fn from_idr(idr: [u32; 6]) -> Implemented {
        let [idr0, idr1, _, idr3, _, idr5] = idr;
        Implemented {
            s1p: idr0 >> 1 & 1 == 1,
            s2p: idr0 & 1 == 1,
            hyp: idr0 >> 9 & 1 == 1,
            ats: idr0 >> 10 & 1 == 1,
            pri: idr0 >> 16 & 1 == 1,
            asid16: idr0 >> 12 & 1 == 1,
            vmid16: idr0 >> 18 & 1 == 1,
            stall_model: idr0 >> 24 & 3,
            ril: idr3 >> 10 & 1 == 1,
            mpam: idr3 >> 7 & 1 == 1,
            ds: idr5 >> 7 & 1 == 1,
            httu: idr0 >> 6 & 3,
            xnx: idr3 >> 4 & 1 == 1,
            vas: if idr5 >> 10 & 3 == 0 { 49 } else { 53 },
            oas: crate::oracle::size_bits((idr5 & 7) as u64),
            sidsize: idr1 & 0x3f,
            ssidsize: idr1 >> 6 & 0x1f,
        }
    }
}

/// Is the command CERROR_ILL in the Non-secure queue? commands.md §1, §2 and §4.
pub const fn is_illegal(command: Command, has: &Implemented) -> bool {
    let raw = Record(command);
    let ssec = raw.get(field::SSEC) == 1;
    match raw.get(field::OPCODE) as u8 {
        opcode::PREFETCH_CONFIG | opcode::PREFETCH_ADDR | opcode::CFGI_STE | opcode::CFGI_STE_RANGE => ssec,
        opcode::CFGI_CD | opcode::CFGI_CD_ALL => ssec || !has.s1p,
        opcode::CFGI_VMS_PIDM => ssec || !has.mpam,
        opcode::TLBI_NH_ALL | opcode::TLBI_NH_ASID => !has.s1p,
        opcode::TLBI_NH_VA | opcode::TLBI_NH_VAA => !has.s1p || empty_range(command, has),
        opcode::TLBI_EL2_ALL | opcode::TLBI_EL2_ASID => !has.hyp,
        opcode::TLBI_EL2_VA | opcode::TLBI_EL2_VAA => !has.hyp || empty_range(command, has),
        opcode::TLBI_S12_VMALL => !has.s2p,
        opcode::TLBI_S2_IPA => !has.s2p || empty_range(command, has),
        opcode::TLBI_NSNH_ALL => false,
        opcode::ATC_INV => !has.ats,
        opcode::PRI_RESP => !has.pri || raw.get(field::RESP) == 0b11,
        opcode::RESUME | opcode::STALL_TERM => ssec || has.stall_model == 0b01,
        opcode::SYNC => raw.get(field::CS) == 0b11,
        _ => true,
    }
}

/// TG ≠ 0 and NUM = SCALE = TTL = 0: a granule without range and without level. A reserved TTL counts as 0.
const fn empty_range(command: Command, has: &Implemented) -> bool {
    let raw = Record(command);
    has.ril
        && raw.get(field::TG) != 0
        && raw.get(field::NUM) == 0
        && raw.get(field::SCALE) == 0
        && effective_ttl(command, has) == 0
}

/// TTL with the reserved encoding (16 KiB, level 1, DS = 0) taken as 0.
pub const fn effective_ttl(command: Command, has: &Implemented) -> u64 {
    let raw = Record(command);
    match (raw.get(field::TG), raw.get(field::TTL)) {
        (0b10, 0b01) if !has.ds => 0,
        (_, ttl) => ttl,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Hand-written from the rows of commands.md §1.
    #[test]
    fn commands_have_the_bytes_of_the_tables() {
        let hint = Hint { num: 0x1f, scale: 0x3f, ttl: 3, tg: 2 };
        let rows = [
            (cfgi_ste(0x1234_5678, Leaf::Only), [0x1234_5678_0000_0003, 1]),
            (cfgi_all(), [4, 31]),
            (cfgi_cd(7, 0xf_ffff, Leaf::AndTables), [0x0000_0007_ffff_f005, 0]),
            (tlbi_nh_asid(0xaaaa, 0xbbbb), [0xbbbb_aaaa_0000_0011, 0]),
            (
                tlbi_nh_va(1, 2, 0xffff_8000_0000_3000, Leaf::Only, hint),
                [0x0002_0001_03f1_f012, 0xffff_8000_0000_3b01],
            ),
            (
                tlbi_s2_ipa(3, 0xf_ffff_ffff_f000, Leaf::AndTables, Hint::NONE),
                [0x0000_0003_0000_002a, 0xf_ffff_ffff_f000],
            ),
            (tlbi_nsnh_all(), [0x30, 0]),
            (sync_with(1, 0x8_0000_1004, 0xdead_beef), [0xdead_beef_0000_1046, 0x8_0000_1004]),
            (resume(5, 0xcafe, 1, 0), [0x0000_0005_0000_1044, 0xcafe]),
            (atc_inv(9, Some(1), 0x5000, 52), [0x0000_0009_0000_1840, 0x5034]),
        ];
        for (command, expected) in rows {
            assert_eq!(command, expected, "{command:x?}");
        }
    }

    /// The table of lessons.md §4, NUM as encoded.
    #[test]
    fn linux_splits_ranges_low_chunk_first() {
        const GIB: u64 = 1 << 30;
        type Row = (u64, Grain, u64, &'static [(u64, u64)]);
        let rows: [Row; 8] = [
            (GIB, Grain::K4, 3, &[(0, 18)]),
            (GIB, Grain::K4, 2, &[(0, 18)]),
            (GIB, Grain::K4, 0, &[(0, 18)]),
            (GIB, Grain::K16, 3, &[(0, 16)]),
            (GIB, Grain::K64, 3, &[(0, 14)]),
            (GIB - 4096, Grain::K4, 3, &[(30, 0), (30, 5), (30, 10), (6, 15)]),
            (GIB + 4096, Grain::K4, 3, &[(0, 0), (0, 18)]),
            (4096, Grain::K4, 0, &[(0, 1)]),
        ];
        for (bytes, grain, ttl, expected) in rows {
            let commands = linux_range_invalidation(
                tlbi_nh_va(0, 1, 0, Leaf::Only, Hint::NONE),
                0x4000_0000,
                bytes >> grain.shift(),
                grain,
                ttl,
                Leaf::Only,
            );
            let split: Vec<_> = commands
                .iter()
                .map(|&raw| (Record(raw).get(field::NUM), Record(raw).get(field::SCALE)))
                .collect();
            assert_eq!(split, expected, "{bytes:#x} bytes of {grain:?}");
            let covered: u64 = split.iter().map(|(num, scale)| (num + 1) << scale << grain.shift()).sum();
            assert!(covered >= bytes);
        }
    }
}
