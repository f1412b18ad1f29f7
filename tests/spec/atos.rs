//! Address translation by register (§9): GATOS and VATOS.

#![allow(clippy::panic, clippy::indexing_slicing, reason = "a failed test panics")]

use smmuv3::Features;
use smmuv3_tests::bits::Words;
use smmuv3_tests::driver::{Boot, register, transaction, value};
use smmuv3_tests::machine::{SID, VMID};
use smmuv3_tests::oracle::Access;
use smmuv3_tests::stages::{IPA, PA, Stages, VA};
use smmuv3_tests::tables::{cd, descriptor, ste};

/// Fields of ATOS_ADDR, registers.md §11.
const HTTUI: u64 = 1 << 6;
const IND: u64 = 1 << 7;
const RNW: u64 = 1 << 8;
const PNU: u64 = 1 << 9;
const S1: u64 = 1 << 10;
const S2: u64 = 2 << 10;
const BOTH: u64 = 3 << 10;
/// Fields of ATOS_SID.
const SSID_VALID: u64 = 1 << 52;

/// Not mapped by stage 2.
const NOWHERE: u64 = 0x4000_0000;
/// No memory there.
const HOLE: u64 = 0x2_0000;

const INV_REQ: u64 = 0xff;
const INV_STAGE: u64 = 0xfe;

/// PAR of a fault: FAULT `[0]`, REASON `[2:1]`, FAULTCODE `[11:4]`, FADDR `[51:12]`.
const fn fault(code: u64, reason: u64, faddr: u64) -> u64 {
    1 | reason << 1 | code << 4 | faddr
}

/// PAR of an address: SH `[9:8]`, Size `[11]` with ADDR `[51:12]`, ATTR `[63:56]`.
const fn found(addr_and_size: u64, sh: u64, attr: u64) -> u64 {
    attr << 56 | sh << 8 | addr_and_size
}

/// Asks GATOS, and gives back PAR.
fn gatos(stages: &mut Stages, sid: u64, addr: u64) -> u64 {
    let driver = &mut stages.driver;
    driver.write64(register::GATOS_SID, sid);
    driver.write64(register::GATOS_ADDR, addr);
    driver.write32(register::GATOS_CTRL, 1);
    assert_eq!(driver.read32(register::GATOS_CTRL), 0, "RUN");
    driver.read64(register::GATOS_PAR)
}

/// The VATOS page behind pages 0 and 1, BA_VATOS = 0.
const VATOS: u32 = 0x2_0000;

/// Asks VATOS for this VMID, and gives back PAR.
fn vatos(stages: &mut Stages, vmid: u16, sid: u64, addr: u64) -> u64 {
    let driver = &mut stages.driver;
    driver.write32(register::VATOS_SEL, vmid.into());
    driver.write64(VATOS + register::VATOS_SID, sid);
    driver.write64(VATOS + register::VATOS_ADDR, addr);
    driver.write32(VATOS + register::VATOS_CTRL, 1);
    assert_eq!(driver.read32(VATOS + register::VATOS_CTRL), 0, "RUN");
    driver.read64(VATOS + register::VATOS_PAR)
}

const SID_7: u64 = SID as u64;

/// Write-back, inner shareable: what the usual descriptors say.
const WB: u64 = 0xff;

#[test]
fn each_type_stops_where_it_says() {
    for (config, addr, expected) in [
        (ste::STAGE_1, VA | S1 | RNW, found(IPA, 3, WB)),
        (ste::STAGE_2, IPA | S2 | RNW, found(PA, 3, WB)),
        (ste::NESTED, VA | S1 | RNW, found(IPA, 3, WB)),
        (ste::NESTED, IPA | S2 | RNW, found(PA, 3, WB)),
        (ste::NESTED, VA | BOTH | RNW, found(PA, 3, WB)),
        (ste::NESTED, VA | BOTH, found(PA, 3, WB)),
    ] {
        let mut stages = Stages::usual(config);
        let par = gatos(&mut stages, SID_7, addr);
        assert_eq!(par, expected, "Config = {config:03b}, ADDR = {addr:#x}: {par:#x}");
    }
}

#[test]
fn a_substream_is_asked_for_by_its_number() {
    let mut stages = Stages::usual(ste::NESTED);
    stages.add_substream();
    assert_eq!(gatos(&mut stages, SID_7 | SSID_VALID | 1 << 32, VA | BOTH | RNW), found(PA, 3, WB));
    stages.set_cd(|cd| cd.with(cd::V, 0));
    assert_eq!(gatos(&mut stages, SID_7 | SSID_VALID | 1 << 32, VA | BOTH | RNW), fault(0x0a, 0, 0));
    assert_eq!(
        gatos(&mut stages, SID_7 | 1 << 32, VA | BOTH | RNW),
        found(PA, 3, WB),
        "SSID_VALID = 0: CD 0"
    );
}

/// INV_REQ comes before anything is read, INV_STAGE behind a valid STE and before the CD.
#[test]
fn requests_that_cannot_be() {
    const NO_S2: Features = Features {
        s2p: false,
        xnx: false,
        fwb: false,
        hyp: false,
        vmw: false,
        vatos: false,
        ..Features::SMMUV3_2
    };
    const NO_S1: Features = Features { s1p: false, hyp: false, vatos: false, ..Features::SMMUV3_2 };
    const V3_2: Features = Features::SMMUV3_2;
    let no_ste = |stages: &mut Stages| stages.set_ste(|ste| ste.with(ste::V, 0));
    let no_cd = |stages: &mut Stages| stages.set_cd(|cd| cd.with(cd::V, 0));
    type Row = (&'static str, Features, u64, fn(&mut Stages), u64, u64, u64);
    let rows: &[Row] = &[
        ("TYPE = 0", V3_2, ste::NESTED, |_| {}, SID_7, 0, INV_REQ),
        ("TYPE = 0 before the STE", V3_2, ste::NESTED, no_ste, SID_7, 0, INV_REQ),
        ("stage 2 is not implemented", NO_S2, ste::STAGE_1, |_| {}, SID_7, S2, INV_REQ),
        ("both are not implemented", NO_S2, ste::STAGE_1, |_| {}, SID_7, BOTH, INV_REQ),
        ("stage 1 is not implemented", NO_S1, ste::STAGE_2, |_| {}, SID_7, S1, INV_REQ),
        ("both are not implemented, S1", NO_S1, ste::STAGE_2, |_| {}, SID_7, BOTH, INV_REQ),
        ("TYPE = 2 with a SubstreamID", V3_2, ste::NESTED, |_| {}, SID_7 | SSID_VALID, S2, INV_REQ),
        ("TYPE = 1, Config = 110", V3_2, ste::STAGE_2, |_| {}, SID_7, S1, INV_STAGE),
        ("TYPE = 3, Config = 110", V3_2, ste::STAGE_2, |_| {}, SID_7, BOTH, INV_STAGE),
        ("TYPE = 2, Config = 101", V3_2, ste::STAGE_1, |_| {}, SID_7, S2, INV_STAGE),
        ("TYPE = 3, Config = 101", V3_2, ste::STAGE_1, |_| {}, SID_7, BOTH, INV_STAGE),
        ("TYPE = 1, Config = 100", V3_2, ste::BYPASS, |_| {}, SID_7, S1, INV_STAGE),
        ("TYPE = 2, Config = 100", V3_2, ste::BYPASS, |_| {}, SID_7, S2, INV_STAGE),
        ("TYPE = 1, Config = 000", V3_2, 0b000, |_| {}, SID_7, S1, INV_STAGE),
        ("TYPE = 3, Config = 011", V3_2, 0b011, |_| {}, SID_7, BOTH, INV_STAGE),
        ("INV_STAGE before a bad CD", V3_2, ste::STAGE_1, no_cd, SID_7, BOTH, INV_STAGE),
        ("INV_STAGE before a bad SubstreamID", V3_2, ste::STAGE_2, |_| {}, SID_7 | SSID_VALID, S1, INV_STAGE),
    ];
    for (name, features, config, prepare, sid, kind, code) in rows {
        let mut stages = Stages::new(*features, *config);
        prepare(&mut stages);
        let par = gatos(&mut stages, *sid, VA | kind | RNW);
        assert_eq!(par, fault(*code, 0, 0), "{name}: {par:#x}");
    }
}

/// Every FAULTCODE with its REASON and FADDR: Config, what leads to the fault, ATOS_SID, ATOS_ADDR, PAR.
#[test]
fn faults() {
    const READ_ONLY: descriptor::Attributes = descriptor::S1_RW.with(descriptor::AP, 0b11);
    const NO_AF: descriptor::Attributes = descriptor::S1_RW.with(descriptor::AF, 0);
    const S2_NO_AF: descriptor::Attributes = descriptor::S2_RW.with(descriptor::AF, 0);
    const S2_READ_ONLY: descriptor::Attributes = descriptor::S2_RW.with(descriptor::S2AP, 0b01);
    const S2_WRITE_ONLY: descriptor::Attributes = descriptor::S2_RW.with(descriptor::S2AP, 0b10);
    const READ: u64 = RNW;
    let out = |stages: &mut Stages| stages.map_first(0x6000, NOWHERE, 12, descriptor::S1_RW);
    type Row = (&'static str, u64, fn(&mut Stages), u64, u64, u64);
    let rows: &[Row] = &[
        ("C_BAD_STREAMID", ste::STAGE_1, |_| {}, 0x1234, VA | S1 | READ, fault(0x02, 0, 0)),
        (
            "C_BAD_STREAMID, whatever RECINVSID says",
            ste::STAGE_1,
            |stages| stages.driver.boot(Boot { cr2: 0, ..Boot::USUAL }),
            0x1234,
            VA | S1 | READ,
            fault(0x02, 0, 0),
        ),
        (
            "F_STE_FETCH",
            ste::STAGE_1,
            |stages| stages.driver.boot(Boot { strtab_base: HOLE, ..Boot::USUAL }),
            SID_7,
            VA | S1 | READ,
            fault(0x03, 0, 0),
        ),
        (
            "C_BAD_STE",
            ste::STAGE_1,
            |stages| stages.set_ste(|ste| ste.with(ste::V, 0)),
            SID_7,
            VA | S1,
            fault(0x04, 0, 0),
        ),
        (
            "F_STREAM_DISABLED",
            ste::STAGE_1,
            |stages| {
                stages.add_substream();
                stages.set_ste(|ste| ste.with(ste::S1DSS, 0b00));
            },
            SID_7,
            VA | S1 | READ,
            fault(0x06, 0, 0),
        ),
        (
            "F_STREAM_DISABLED, SubstreamID 0",
            ste::STAGE_1,
            Stages::add_substream,
            SID_7 | SSID_VALID,
            VA | S1 | READ,
            fault(0x06, 0, 0),
        ),
        ("C_BAD_SUBSTREAMID", ste::STAGE_1, |_| {}, SID_7 | SSID_VALID, VA | S1 | READ, fault(0x08, 0, 0)),
        (
            "C_BAD_SUBSTREAMID, 2 of 2",
            ste::STAGE_1,
            Stages::add_substream,
            SID_7 | SSID_VALID | 2 << 32,
            VA | S1 | READ,
            fault(0x08, 0, 0),
        ),
        (
            "F_CD_FETCH",
            ste::STAGE_1,
            |stages| stages.set_ste(|ste| ste.with(ste::S1CONTEXTPTR, HOLE >> 6)),
            SID_7,
            VA | S1 | READ,
            fault(0x09, 0, 0),
        ),
        (
            "F_CD_FETCH of a nested stream",
            ste::NESTED,
            |stages| {
                stages.map_second(NOWHERE, HOLE, 12, descriptor::S2_RW);
                stages.set_ste(|ste| ste.with(ste::S1CONTEXTPTR, NOWHERE >> 6));
            },
            SID_7,
            VA | BOTH | READ,
            fault(0x09, 0, 0),
        ),
        (
            "C_BAD_CD",
            ste::STAGE_1,
            |stages| stages.set_cd(|cd| cd.with(cd::V, 0)),
            SID_7,
            VA | S1,
            fault(0x0a, 0, 0),
        ),
        (
            "F_WALK_EABT of stage 1",
            ste::STAGE_1,
            |stages| stages.set_cd(|cd| cd.with(cd::TTB0, HOLE >> 4)),
            SID_7,
            VA | S1 | READ,
            fault(0x0b, 0, 0),
        ),
        (
            "F_WALK_EABT of stage 1, nested",
            ste::NESTED,
            |stages| {
                stages.map_second(NOWHERE, HOLE, 12, descriptor::S2_RW);
                stages.set_cd(|cd| cd.with(cd::TTB0, NOWHERE >> 4));
            },
            SID_7,
            VA | BOTH | READ,
            fault(0x0b, 0, 0),
        ),
        (
            "F_WALK_EABT of stage 2, for the CD",
            ste::NESTED,
            |stages| stages.set_ste(|ste| ste.with(ste::S2TTB, HOLE >> 4)),
            SID_7,
            VA | BOTH | READ,
            fault(0x0b, 0b01, 0),
        ),
        (
            "F_WALK_EABT of stage 2, TYPE = 2",
            ste::NESTED,
            |stages| stages.set_ste(|ste| ste.with(ste::S2TTB, HOLE >> 4)),
            SID_7,
            IPA | S2 | READ,
            fault(0x0b, 0b11, 0),
        ),
        (
            "F_WALK_EABT of stage 2, for a table",
            ste::NESTED,
            |stages| {
                walk_aborts(stages, NOWHERE);
                stages.set_cd(|cd| cd.with(cd::TTB0, NOWHERE >> 4));
            },
            SID_7,
            VA | BOTH | READ,
            fault(0x0b, 0b10, 0),
        ),
        (
            "F_WALK_EABT of stage 2, for stage 1's output",
            ste::NESTED,
            |stages| {
                walk_aborts(stages, NOWHERE);
                stages.map_first(0x6000, NOWHERE, 12, descriptor::S1_RW);
            },
            SID_7,
            0x6000 | BOTH | READ,
            fault(0x0b, 0b11, 0),
        ),
        ("stage 1 F_TRANSLATION", ste::STAGE_1, |_| {}, SID_7, 0x6000 | S1 | READ, fault(0x10, 0, 0)),
        (
            "stage 1 F_TRANSLATION, TYPE = 3",
            ste::NESTED,
            |_| {},
            SID_7,
            0x6000 | BOTH | READ,
            fault(0x10, 0, 0),
        ),
        (
            "stage 1 F_TRANSLATION, out of range",
            ste::STAGE_1,
            |_| {},
            SID_7,
            1 << 50 | S1 | READ,
            fault(0x10, 0, 0),
        ),
        (
            "stage 1 F_ADDR_SIZE",
            ste::STAGE_1,
            |stages| {
                stages.set_cd(|cd| cd.with(cd::IPS, 4));
                stages.map_first(0x6000, 1 << 44, 12, descriptor::S1_RW);
            },
            SID_7,
            0x6000 | S1 | READ,
            fault(0x11, 0, 0),
        ),
        (
            "stage 1 F_ACCESS",
            ste::STAGE_1,
            |stages| stages.map_first(0x6000, IPA, 12, NO_AF),
            SID_7,
            0x6000 | S1 | READ,
            fault(0x12, 0, 0),
        ),
        (
            "stage 1 F_PERMISSION",
            ste::STAGE_1,
            |stages| stages.map_first(0x6000, IPA, 12, READ_ONLY),
            SID_7,
            0x6000 | S1,
            fault(0x13, 0, 0),
        ),
        (
            "stage 2 F_TRANSLATION, TYPE = 3",
            ste::NESTED,
            out,
            SID_7,
            0x6000 | BOTH | READ,
            fault(0x10, 0b11, NOWHERE),
        ),
        (
            "stage 2 F_TRANSLATION, TYPE = 2",
            ste::NESTED,
            |_| {},
            SID_7,
            NOWHERE | S2 | READ,
            fault(0x10, 0b11, 0),
        ),
        ("TYPE = 1 stops before it", ste::NESTED, out, SID_7, 0x6000 | S1 | READ, found(NOWHERE, 3, WB)),
        (
            "stage 2 F_ADDR_SIZE, TYPE = 3",
            ste::NESTED,
            |stages| {
                stages.set_ste(|ste| ste.with(ste::S2PS, 4));
                stages.map_second(NOWHERE, 1 << 44, 12, descriptor::S2_RW);
                stages.map_first(0x6000, NOWHERE, 12, descriptor::S1_RW);
            },
            SID_7,
            0x6000 | BOTH | READ,
            fault(0x11, 0b11, NOWHERE),
        ),
        (
            "stage 2 F_ACCESS, TYPE = 3",
            ste::NESTED,
            |stages| {
                stages.map_second(NOWHERE, 0x9000, 12, S2_NO_AF);
                stages.map_first(0x6000, NOWHERE, 12, descriptor::S1_RW);
            },
            SID_7,
            0x6000 | BOTH | READ,
            fault(0x12, 0b11, NOWHERE),
        ),
        (
            "stage 2 F_PERMISSION, TYPE = 3",
            ste::NESTED,
            |stages| {
                stages.map_second(NOWHERE, 0x9000, 12, S2_READ_ONLY);
                stages.map_first(0x6000, NOWHERE, 12, descriptor::S1_RW);
            },
            SID_7,
            0x6000 | BOTH,
            fault(0x13, 0b11, NOWHERE),
        ),
        (
            "stage 2 F_PERMISSION, TYPE = 2",
            ste::NESTED,
            |stages| stages.map_second(NOWHERE, 0x9000, 12, S2_READ_ONLY),
            SID_7,
            NOWHERE | S2,
            fault(0x13, 0b11, 0),
        ),
        (
            "stage 2 F_TRANSLATION of the CD, TYPE = 3",
            ste::NESTED,
            |stages| stages.set_ste(|ste| ste.with(ste::S1CONTEXTPTR, (NOWHERE + 0x1040) >> 6)),
            SID_7,
            VA | BOTH | READ,
            fault(0x10, 0b01, NOWHERE + 0x1000),
        ),
        (
            "stage 2 F_TRANSLATION of the CD, TYPE = 1",
            ste::NESTED,
            |stages| stages.set_ste(|ste| ste.with(ste::S1CONTEXTPTR, NOWHERE >> 6)),
            SID_7,
            VA | S1 | READ,
            fault(0x09, 0, 0),
        ),
        (
            "stage 2 F_WALK_EABT of the CD, TYPE = 1",
            ste::NESTED,
            |stages| stages.set_ste(|ste| ste.with(ste::S2TTB, HOLE >> 4)),
            SID_7,
            VA | S1 | READ,
            fault(0x09, 0, 0),
        ),
        (
            "stage 2 F_TRANSLATION of a table, TYPE = 3",
            ste::NESTED,
            |stages| stages.set_cd(|cd| cd.with(cd::TTB0, NOWHERE >> 4)),
            SID_7,
            VA | BOTH | READ,
            fault(0x10, 0b10, NOWHERE),
        ),
        (
            "stage 2 F_PERMISSION of a table, TYPE = 3",
            ste::NESTED,
            |stages| {
                let root = stages.first.root;
                stages.map_second(NOWHERE, root, 12, S2_WRITE_ONLY);
                stages.set_cd(|cd| cd.with(cd::TTB0, NOWHERE >> 4));
            },
            SID_7,
            VA | BOTH | READ,
            fault(0x13, 0b10, NOWHERE),
        ),
        (
            "stage 2 F_TRANSLATION of a table, TYPE = 1",
            ste::NESTED,
            |stages| stages.set_cd(|cd| cd.with(cd::TTB0, NOWHERE >> 4)),
            SID_7,
            VA | S1 | READ,
            fault(0x0b, 0, 0),
        ),
    ];
    for (name, config, prepare, sid, addr, expected) in rows {
        let mut stages = Stages::usual(*config);
        prepare(&mut stages);
        // Nothing of this waits or is recorded.
        stages.driver.events();
        let par = gatos(&mut stages, *sid, *addr);
        assert_eq!(par, *expected, "{name}: {par:#x}, not {expected:#x}");
        assert!(stages.driver.events().is_empty(), "{name}: no record");
        assert_eq!(stages.driver.smmu.stalled().count(), 0, "{name}: nothing waits");
    }
}

/// Makes stage 2's walk of `ipa` lead into a hole at level 3.
fn walk_aborts(stages: &mut Stages, ipa: u64) {
    stages.map_second(ipa, 0x9000, 12, descriptor::S2_RW);
    let above = stages.second.find(&stages.driver.ram, ipa, 2);
    stages.driver.ram.set_word(above.pa, HOLE | 0b11);
}

#[test]
fn a_fault_that_would_stall_does_not() {
    let mut stages = Stages::usual(ste::NESTED);
    stages.set_cd(|cd| cd.with(cd::S, 1));
    stages.set_ste(|ste| ste.with(ste::S2S, 1));
    assert_eq!(gatos(&mut stages, SID_7, 0x6000 | BOTH | RNW), fault(0x10, 0, 0));
    assert_eq!(gatos(&mut stages, SID_7, NOWHERE | S2 | RNW), fault(0x10, 0b11, 0));
    assert_eq!(stages.driver.smmu.stalled().count(), 0);
    assert!(stages.driver.events().is_empty());
}

#[test]
fn an_input_beyond_ias_is_f_addr_size_and_no_stage() {
    let mut stages = Stages::new(Features { oas_bits: 44, vax52: false, ..Features::SMMUV3_2 }, ste::STAGE_2);
    assert_eq!(gatos(&mut stages, SID_7, 1 << 44 | S2 | RNW), fault(0x11, 0, 0));
}

/// §9.1.3: S1DSS = 01 is no INV_STAGE; stage 1 is the identity, of a size that is anybody's choice.
#[test]
fn where_s1dss_bypasses_stage_1() {
    let address = |par: u64| if par & 1 == 0 { Ok(par & 0xf_ffff_ffff_f000) } else { Err(par) };
    for (config, kind, expected) in [(ste::STAGE_1, S1, IPA), (ste::NESTED, S1, IPA), (ste::NESTED, BOTH, PA)]
    {
        let features = Features { oas_bits: 44, vax52: false, ..Features::SMMUV3_2 };
        let mut stages = Stages::new(features, config);
        stages.add_substream();
        stages.set_ste(|ste| ste.with(ste::S1DSS, 0b01));
        assert_eq!(address(gatos(&mut stages, SID_7, IPA | kind | RNW)), Ok(expected), "{config:03b}");
        assert_eq!(gatos(&mut stages, SID_7, 1 << 44 | kind | RNW), fault(0x11, 0, 0), "beyond IAS");
    }
}

/// The lowest set bit N of ADDR says 2^(N + 1) bytes; 4 KiB say Size = 0.
#[test]
fn sizes() {
    use smmuv3_tests::tables::{Grain, PageTables};
    // Grain, log2 of the leaf, an address inside, ADDR and Size.
    let rows = [
        (Grain::K4, 12, 0x1234_5000, 0x1234_5000),
        (Grain::K4, 21, 0x1234_5000, 0x1220_0000 | 1 << 20 | 1 << 11),
        (Grain::K4, 30, 0x5234_5000, 0x4000_0000 | 1 << 29 | 1 << 11),
        (Grain::K16, 14, 0x1234_5000, 0x1234_4000 | 1 << 13 | 1 << 11),
        (Grain::K16, 25, 0x1234_5000, 0x1200_0000 | 1 << 24 | 1 << 11),
        (Grain::K64, 16, 0x1234_5000, 0x1234_0000 | 1 << 15 | 1 << 11),
        (Grain::K64, 29, 0x3234_5000, 0x2000_0000 | 1 << 28 | 1 << 11),
    ];
    for (grain, log2_bytes, va, expected) in rows {
        let mut stages = Stages::usual(ste::STAGE_1);
        let driver = &mut stages.driver;
        stages.first = PageTables::stage1(grain, 16, &mut driver.heap, &mut driver.ram);
        let root = stages.first.root;
        stages.set_cd(|cd| cd::lower(cd, grain, 16, root));
        let base = va >> log2_bytes << log2_bytes;
        stages.map_first(base, base, log2_bytes, descriptor::S1_RW);
        let par = gatos(&mut stages, SID_7, va | S1 | RNW);
        assert_eq!(par, found(expected, 3, WB), "2^{log2_bytes} of {grain:?}: {par:#x}");
    }
}

#[test]
fn the_size_of_both_stages_is_the_smaller() {
    let mut stages = Stages::usual(ste::NESTED);
    stages.map_first(0x4020_0000, 0x4060_0000, 21, descriptor::S1_RW);
    stages.map_second(0x4060_0000, 0x1_0000, 12, descriptor::S2_RW);
    assert_eq!(gatos(&mut stages, SID_7, 0x4020_0000 | BOTH | RNW), found(0x1_0000, 3, WB));
    assert_eq!(
        gatos(&mut stages, SID_7, 0x4020_0000 | S1 | RNW),
        found(0x4060_0000 | 1 << 20 | 1 << 11, 3, WB)
    );
    stages.map_first(0x6000, 0x4080_1000, 12, descriptor::S1_RW);
    stages.map_second(0x4080_0000, 0x1_c000_0000, 21, descriptor::S2_RW);
    assert_eq!(gatos(&mut stages, SID_7, 0x6000 | BOTH | RNW), found(0x1_c000_1000, 3, WB));
    assert_eq!(
        gatos(&mut stages, SID_7, 0x4080_1000 | S2 | RNW),
        found(0x1_c000_0000 | 1 << 20 | 1 << 11, 3, WB)
    );
}

/// ATTR is the tables' alone, as a MAIR byte; Device and Normal Non-cacheable are Outer Shareable.
#[test]
fn attributes() {
    // MAIR byte, stage 1 SH, stage 2 MemAttr, stage 2 SH, TYPE, ATTR, SH.
    let rows = [
        (0xff, 3, 0b1111, 3, S1, 0xff, 3),
        (0xbb, 0, 0b1111, 0, S1, 0xbb, 0),
        (0x44, 3, 0b1111, 0, S1, 0x44, 2),
        (0x04, 0, 0b1111, 0, S1, 0x04, 2),
        (0x00, 3, 0b1111, 0, BOTH, 0x00, 2),
        (0xff, 0, 0b1111, 0, BOTH, 0xff, 0),
        (0xff, 0, 0b1111, 3, BOTH, 0xff, 3),
        (0xff, 3, 0b1111, 2, BOTH, 0xff, 2),
        (0xff, 3, 0b1010, 3, BOTH, 0xbb, 3),
        (0xff, 3, 0b0101, 3, BOTH, 0x44, 2),
        (0xff, 3, 0b0001, 3, BOTH, 0x04, 2),
        (0xff, 3, 0b1111, 3, S2, 0xff, 3),
        (0x00, 3, 0b1010, 2, S2, 0xbb, 2),
        (0x00, 3, 0b0010, 3, S2, 0x08, 2),
    ];
    for (mair, sh, memattr, sh2, kind, attr, expected_sh) in rows {
        let mut stages = Stages::usual(ste::NESTED);
        stages.set_cd(|cd| cd.with(cd::MAIR, mair));
        stages.map_first(VA, IPA, 12, descriptor::S1_RW.with(descriptor::SH, sh));
        let second = descriptor::S2_RW.with(descriptor::SH, sh2).with(descriptor::MEMATTR, memattr);
        stages.map_second(IPA, PA, 12, second);
        // Overrides of the STE do not count.
        stages.set_ste(|ste| {
            let ste = ste.with(ste::MTCFG, 1).with(ste::MEMATTR, 0b0001).with(ste::SHCFG, 0b10);
            ste.with(ste::ALLOCCFG, 0b1000)
        });
        let (input, output) = if kind == S2 { (IPA, PA) } else { (VA, if kind == S1 { IPA } else { PA }) };
        let par = gatos(&mut stages, SID_7, input | kind | RNW);
        assert_eq!(par, found(output, expected_sh, attr), "MAIR {mair:#x}, MemAttr {memattr:04b}: {par:#x}");
    }
}

/// The request's own PnU and InD count, InD for reads only; PRIVCFG and INSTCFG do not.
#[test]
fn permissions() {
    let rows = [
        ("unprivileged read", 0b00, 1, 1, RNW, false),
        ("privileged read", 0b00, 1, 1, RNW | PNU, true),
        ("unprivileged write of a read-only page", 0b11, 1, 1, 0, false),
        ("unprivileged read of a read-only page", 0b11, 1, 1, RNW, true),
        ("unprivileged fetch, UXN = 1", 0b11, 1, 0, RNW | IND, false),
        ("unprivileged fetch, UXN = 0", 0b11, 0, 1, RNW | IND, true),
        ("privileged fetch, PXN = 1", 0b11, 0, 1, RNW | IND | PNU, false),
        ("privileged fetch, PXN = 0", 0b11, 1, 0, RNW | IND | PNU, true),
        ("a write is never a fetch", 0b01, 1, 1, IND, true),
    ];
    for (privcfg, instcfg) in [(0b00, 0b00), (0b10, 0b10), (0b11, 0b11)] {
        for (name, ap, uxn, pxn, bits, allowed) in rows {
            let mut stages = Stages::usual(ste::STAGE_1);
            let page = descriptor::S1_RW.with(descriptor::AP, ap);
            let page = page.with(descriptor::UXN, uxn).with(descriptor::PXN, pxn);
            stages.map_first(VA, IPA, 12, page);
            stages.set_ste(|ste| ste.with(ste::PRIVCFG, privcfg).with(ste::INSTCFG, instcfg));
            let expected = if allowed { found(IPA, 3, WB) } else { fault(0x13, 0, 0) };
            assert_eq!(gatos(&mut stages, SID_7, VA | S1 | bits), expected, "{name}, PRIVCFG {privcfg:02b}");
        }
    }
}

/// HTTUI = 0 updates as a transaction does; HTTUI = 1 takes updates as done.
#[test]
fn flags() {
    let dirty = descriptor::S1_RW;
    let clean = dirty.with(descriptor::AP, 0b11).with(descriptor::DBM, 1);
    let made_dirty = clean.with(descriptor::AP, 0b01);
    let rows = [
        ("AF = 0", dirty.with(descriptor::AF, 0), RNW, dirty),
        ("AF = 0, HTTUI", dirty.with(descriptor::AF, 0), RNW | HTTUI, dirty.with(descriptor::AF, 0)),
        ("writable clean, read", clean, RNW, clean),
        ("writable clean, write", clean, 0, made_dirty),
        ("writable clean, write, HTTUI", clean, HTTUI, clean),
        ("both, write", clean.with(descriptor::AF, 0), 0, made_dirty),
        ("both, write, HTTUI", clean.with(descriptor::AF, 0), HTTUI, clean.with(descriptor::AF, 0)),
    ];
    for (name, before, bits, after) in rows {
        let mut stages = Stages::usual(ste::STAGE_1);
        stages.set_cd(|cd| cd.with(cd::HA, 1).with(cd::HD, 1));
        stages.map_first(VA, IPA, 12, before);
        assert_eq!(gatos(&mut stages, SID_7, VA | S1 | bits), found(IPA, 3, WB), "{name}");
        let now = stages.first_leaf(VA).descriptor & !(IPA | 0b11);
        assert_eq!(now, after.0[0], "{name}: {now:#x}");
    }
}

#[test]
fn run_is_ignored_while_smmuen_is_0() {
    let mut stages = Stages::usual(ste::STAGE_1);
    let before = gatos(&mut stages, SID_7, VA | S1 | RNW);
    stages.driver.write_cr0(value::CMDQEN | value::EVENTQEN);
    assert_eq!(gatos(&mut stages, SID_7, 0x6000 | S1 | RNW), before, "PAR as it was");
}

#[test]
fn an_answer_goes_with_the_invalidation_of_what_it_used() {
    let mut stages = Stages::usual(ste::STAGE_1);
    assert_eq!(gatos(&mut stages, SID_7, VA | S1 | RNW), found(IPA, 3, WB));
    stages.map_first(VA, 0xb000, 12, descriptor::S1_RW);
    stages.forget();
    assert_eq!(gatos(&mut stages, SID_7, VA | S1 | RNW), found(0xb000, 3, WB));
    // And what it may have filled serves nobody afterwards.
    assert_eq!(stages.ask(&transaction(SID, None, VA, Access::READ)), Ok(0xb000));
}

#[test]
fn registers_keep_their_fields() {
    let mut stages = Stages::usual(ste::STAGE_1);
    let driver = &mut stages.driver;
    let narrow = Features { sidsize: 10, ssidsize: 0, ..Features::SMMUV3_2 };
    for (offset, mask) in [
        (register::GATOS_SID, 0x001f_ffff_0000_ffff), // SIDSIZE = 16, SSIDSIZE = 20
        (register::GATOS_ADDR, 0xffff_ffff_ffff_ffc0),
        (VATOS + register::VATOS_SID, 0x001f_ffff_0000_ffff),
        (VATOS + register::VATOS_ADDR, 0xffff_ffff_ffff_ffc0),
    ] {
        driver.write64(offset, u64::MAX);
        assert_eq!(driver.read64(offset), mask, "{offset:#x}");
        driver.write32(offset + 4, 0);
        assert_eq!(driver.read64(offset), mask & 0xffff_ffff, "{offset:#x}");
    }
    for offset in [register::GATOS_PAR, VATOS + register::VATOS_PAR] {
        driver.write64(offset, u64::MAX);
        assert_eq!(driver.read64(offset), 0, "{offset:#x} is read-only");
    }
    driver.write32(register::VATOS_SEL, u32::MAX);
    assert_eq!(driver.read32(register::VATOS_SEL), 0xffff);
    let mut stages = Stages::new(narrow, ste::STAGE_1);
    stages.driver.write64(register::GATOS_SID, u64::MAX);
    assert_eq!(stages.driver.read64(register::GATOS_SID), 0x3ff, "no SubstreamIDs, so no SSID_VALID");
    let mut stages = Stages::new(Features { vmid16: false, ..Features::SMMUV3_2 }, ste::STAGE_1);
    stages.driver.write32(register::VATOS_SEL, u32::MAX);
    assert_eq!(stages.driver.read32(register::VATOS_SEL), 0xff);
}

#[test]
fn without_atos_there_is_nothing() {
    let mut stages = Stages::new(Features { atos: false, vatos: false, ..Features::SMMUV3_2 }, ste::STAGE_1);
    let driver = &mut stages.driver;
    for offset in [register::GATOS_SID, register::GATOS_ADDR, register::GATOS_PAR] {
        driver.write64(offset, u64::MAX);
        assert_eq!(driver.read64(offset), 0, "{offset:#x}");
    }
    driver.write32(register::GATOS_CTRL, 1);
    driver.write32(register::VATOS_SEL, 1);
    assert_eq!((driver.read32(register::GATOS_CTRL), driver.read32(register::VATOS_SEL)), (0, 0));
    assert_eq!(driver.smmu.window_bytes(), 0x2_0000);
}

#[test]
fn the_vatos_page_is_where_idr2_says() {
    for (ba_vatos, page) in [(0, 0x2_0000), (1, 0x3_0000), (5, 0x7_0000)] {
        let mut stages = Stages::new(Features { ba_vatos, ..Features::SMMUV3_2 }, ste::STAGE_1);
        let driver = &mut stages.driver;
        assert_eq!(driver.read32(register::IDR0 + 8), u32::from(ba_vatos), "IDR2");
        driver.write64(page + register::VATOS_ADDR, 0x1234_5000);
        assert_eq!(driver.read64(page + register::VATOS_ADDR), 0x1234_5000);
        driver.write64(page + register::GATOS_ADDR, 0x1234_5000);
        assert_eq!(driver.read64(page + register::GATOS_ADDR), 0, "GATOS is not in that page");
    }
}

/// VATOS: Config, what is prepared, VMID of VATOS_SEL, request, PAR.
#[test]
fn vatos_requests() {
    type Row = (&'static str, u64, fn(&mut Stages), u16, u64, u64);
    let rows: &[Row] = &[
        ("stage 1 alone", ste::STAGE_1, |_| {}, VMID, VA | S1 | RNW, found(IPA, 3, WB)),
        ("stage 1 of both", ste::NESTED, |_| {}, VMID, VA | S1 | RNW, found(IPA, 3, WB)),
        ("another VMID", ste::NESTED, |_| {}, VMID + 1, VA | S1 | RNW, fault(0x04, 0, 0)),
        ("another VMID, stage 1 alone", ste::STAGE_1, |_| {}, VMID ^ 0x100, VA | S1 | RNW, fault(0x04, 0, 0)),
        ("TYPE = 0", ste::NESTED, |_| {}, VMID, VA | RNW, fault(INV_REQ, 0, 0)),
        ("TYPE = 2", ste::NESTED, |_| {}, VMID, IPA | S2 | RNW, fault(INV_REQ, 0, 0)),
        ("TYPE = 3", ste::NESTED, |_| {}, VMID, VA | BOTH | RNW, fault(INV_REQ, 0, 0)),
        ("TYPE = 3, another VMID", ste::NESTED, |_| {}, VMID + 1, VA | BOTH | RNW, fault(INV_REQ, 0, 0)),
        ("Config = 110", ste::STAGE_2, |_| {}, VMID, VA | S1 | RNW, fault(INV_STAGE, 0, 0)),
        ("Config = 110, another VMID", ste::STAGE_2, |_| {}, VMID + 1, VA | S1 | RNW, fault(0x04, 0, 0)),
        ("Config = 100", ste::BYPASS, |_| {}, VMID, VA | S1 | RNW, fault(0x04, 0, 0)),
        ("Config = 000", 0b000, |_| {}, VMID, VA | S1 | RNW, fault(0x04, 0, 0)),
        (
            "EL2: no VMID",
            ste::STAGE_1,
            |stages| stages.set_ste(|ste| ste.with(ste::STRW, 0b10)),
            VMID,
            VA | S1 | RNW,
            fault(0x04, 0, 0),
        ),
        (
            "EL2: no VMID, VATOS_SEL = 0",
            ste::STAGE_1,
            |stages| stages.set_ste(|ste| ste.with(ste::STRW, 0b10).with(ste::S2VMID, 0)),
            0,
            VA | S1 | RNW,
            fault(0x04, 0, 0),
        ),
        ("F_TRANSLATION", ste::NESTED, |_| {}, VMID, 0x6000 | S1 | RNW, fault(0x10, 0, 0)),
        (
            "stage 2 fault of the CD",
            ste::NESTED,
            |stages| stages.set_ste(|ste| ste.with(ste::S1CONTEXTPTR, NOWHERE >> 6)),
            VMID,
            VA | S1 | RNW,
            fault(0x09, 0, 0),
        ),
        (
            "stage 2 fault of a table",
            ste::NESTED,
            |stages| stages.set_cd(|cd| cd.with(cd::TTB0, NOWHERE >> 4)),
            VMID,
            VA | S1 | RNW,
            fault(0x0b, 0, 0),
        ),
        (
            "V = 0",
            ste::NESTED,
            |stages| stages.set_ste(|ste| ste.with(ste::V, 0)),
            VMID,
            VA | S1,
            fault(0x04, 0, 0),
        ),
    ];
    for (name, config, prepare, vmid, addr, expected) in rows {
        let mut stages = Stages::usual(*config);
        prepare(&mut stages);
        let gatos_before = stages.driver.read64(register::GATOS_PAR);
        let par = vatos(&mut stages, *vmid, SID_7, *addr);
        assert_eq!(par, *expected, "{name}: {par:#x}");
        assert!(stages.driver.events().is_empty(), "{name}");
        assert_eq!(stages.driver.read64(register::GATOS_PAR), gatos_before, "{name}: two interfaces");
    }
    let mut stages = Stages::usual(ste::NESTED);
    assert_eq!(vatos(&mut stages, VMID, 0x1234, VA | S1), fault(0x02, 0, 0), "C_BAD_STREAMID");
    stages.driver.write_cr0(value::CMDQEN | value::EVENTQEN);
    assert_eq!(vatos(&mut stages, VMID, SID_7, VA | S1), fault(0x02, 0, 0), "ignored while SMMUEN is 0");
}
