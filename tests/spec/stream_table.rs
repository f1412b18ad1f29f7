//! Stream tables and STEs (§5.1, §5.2): geometry, and every reason for C_BAD_STE.

#![allow(clippy::panic, clippy::indexing_slicing, reason = "a failed test panics")]

use smmuv3::arch::features::{StallModel, TtEndian};
use smmuv3::{Features, Settings};
use smmuv3_tests::bits::{Bits, Words, bit};
use smmuv3_tests::commands::cfgi_all;
use smmuv3_tests::driver::{Boot, Driver, Outcome, RAM_BASE, STREAM_TABLE, transaction};
use smmuv3_tests::machine::{Machine, SID, STRICT, VMID};
use smmuv3_tests::oracle::Access;
use smmuv3_tests::tables::{Grain, Ste, l1std, ste};

type Device = Driver<16>;

const BAD_STREAM: Outcome = Err(Some("C_BAD_STREAMID"));
const BAD_STE: Outcome = Err(Some("C_BAD_STE"));
const TWO_LEVEL: u32 = 1 << 16;
const TABLE: u64 = RAM_BASE + 0x10_0000;

/// A device with another stream table, whose STEs are bypass where the list says so, and zeros elsewhere.
fn device(strtab_base: u64, strtab_base_cfg: u32, bypass_stes: &[u64]) -> Device {
    let mut device = Device::new(Features::SMMUV3_2, Settings::new(4, 4), 4);
    for &pa in bypass_stes {
        device.write_record(pa, &ste::of(ste::BYPASS).0);
    }
    device.boot(Boot { strtab_base, strtab_base_cfg, ..Boot::USUAL });
    device
}

/// What a stream's access says; bypassed ones say `Ok(0x1000)`.
fn ask(device: &mut Device, sid: u32) -> Outcome {
    let found = device.access(sid, 0x1000, Access::READ);
    device.events();
    found
}

const BYPASSED: Outcome = Ok(0x1000);

#[test]
fn b4_stream_ids_are_compared_with_log2size() {
    for log2size in [0, 1, 5, 8] {
        let last = (1u32 << log2size) - 1;
        let stes: Vec<u64> = [0, last, last + 1].iter().map(|&sid| TABLE + 64 * u64::from(sid)).collect();
        let mut device = device(TABLE, log2size, &stes);
        assert_eq!(ask(&mut device, 0), BYPASSED, "2^{log2size}");
        assert_eq!(ask(&mut device, last), BYPASSED, "2^{log2size}");
        assert_eq!(ask(&mut device, last + 1), BAD_STREAM, "2^{log2size}");
        assert_eq!(ask(&mut device, u32::MAX), BAD_STREAM, "2^{log2size}");
    }
}

#[test]
fn b4_and_with_sidsize() {
    let features = Features { sidsize: 4, ..Features::QEMU_10 };
    let mut device = Device::new(features, Settings::new(4, 4), 4);
    for sid in [15, 16] {
        device.write_record(STREAM_TABLE + 64 * sid, &ste::of(ste::BYPASS).0);
    }
    device.boot(Boot::USUAL);
    assert_eq!(ask(&mut device, 15), BYPASSED);
    assert_eq!(ask(&mut device, 16), BAD_STREAM);
}

#[test]
fn b2_the_base_is_aligned_to_the_size_of_the_table() {
    // 2^8 STEs are 16 KiB: bits 13:6 of the base do not count, nor do bits 5:0.
    let mut device = device(TABLE | 0x3fc0, 8, &[TABLE + 64 * 3]);
    assert_eq!(ask(&mut device, 3), BYPASSED);
}

#[test]
fn b5_log2size_of_32_and_more() {
    for log2size in [32, 33, 40, 58, 63] {
        // The literal LOG2SIZE aligns the base, here down to 0, where no memory is.
        let mut device = device(TABLE, log2size, &[TABLE]);
        assert_eq!(ask(&mut device, 0), Err(Some("F_STE_FETCH")), "LOG2SIZE {log2size}");
        assert_eq!(ask(&mut device, 0xffff), Err(Some("F_STE_FETCH")), "LOG2SIZE {log2size}");
        assert_eq!(ask(&mut device, 0x1_0000), BAD_STREAM, "LOG2SIZE {log2size}: above SIDSIZE");
    }
}

/// Level 1: 16 entries for groups of 2^6; level 2 tables behind it.
fn two_level(span: u64, pointer: u64, stes: &[u64], cfg: u32) -> Device {
    let mut device = Device::new(Features::SMMUV3_2, Settings::new(4, 4), 4);
    for &pa in stes {
        device.write_record(pa, &ste::of(ste::BYPASS).0);
    }
    device.ram.set_word(TABLE + 8, l1std(pointer, span));
    device.boot(Boot { strtab_base: TABLE, strtab_base_cfg: cfg, ..Boot::USUAL });
    device
}

#[test]
fn b1_span_is_one_less_than_log2_of_the_group() {
    let second = TABLE + 0x1_0000;
    for span in 0..32 {
        let count = if (1..=7).contains(&span) { 1u64 << (span - 1) } else { 0 };
        let stes: Vec<_> = (0..64).map(|index| second + 64 * index).collect();
        let mut device = two_level(span, second, &stes, TWO_LEVEL | 6 << 6 | 10);
        for index in 0..64 {
            let expected = if u64::from(index) < count { BYPASSED } else { BAD_STREAM };
            assert_eq!(ask(&mut device, 64 + index), expected, "Span {span}, index {index}");
        }
        assert_eq!(ask(&mut device, 0), BAD_STREAM, "the group before: Span 0");
    }
}

#[test]
fn the_second_level_is_aligned_to_its_array() {
    let second = TABLE + 0x1_0000;
    let mut device = two_level(7, second | 0xfc0, &[second + 64 * 2], TWO_LEVEL | 6 << 6 | 10);
    assert_eq!(ask(&mut device, 64 + 2), BYPASSED);
}

#[test]
fn b3_split_8_and_10_and_reserved_ones() {
    for (split, effective) in [(6, 6), (8, 8), (10, 10), (0, 6), (7, 6), (9, 6), (11, 6), (31, 6)] {
        let second = TABLE + 0x2_0000;
        let mut device = two_level(effective + 1, second, &[second + 64 * 5], TWO_LEVEL | split << 6 | 14);
        let sid = (1 << effective) + 5;
        assert_eq!(ask(&mut device, sid), BYPASSED, "SPLIT {split}");
        assert_eq!(ask(&mut device, sid + 1), BAD_STE, "SPLIT {split}");
    }
}

#[test]
fn b3_two_level_and_linear_follow_the_register() {
    let second = TABLE + 0x1_0000;
    let mut device = two_level(7, second, &[second], TWO_LEVEL | 6 << 6 | 10);
    assert_eq!(ask(&mut device, 64), BYPASSED);
    assert_eq!(ask(&mut device, 0), BAD_STREAM);
    // The first STE of the linear table lies over the L1STDs; stream 4 has one of its own.
    device.write_record(TABLE + 4 * 64, &ste::of(ste::BYPASS).0);
    device.boot(Boot { strtab_base: TABLE, strtab_base_cfg: 4, ..Boot::USUAL });
    assert_eq!(ask(&mut device, 4), BYPASSED);
    assert_eq!(ask(&mut device, 64), BAD_STREAM);
    for reserved in [2, 3] {
        device.boot(Boot { strtab_base: TABLE, strtab_base_cfg: reserved << 16 | 4, ..Boot::USUAL });
        assert_eq!(ask(&mut device, 4), BYPASSED, "FMT {reserved} behaves as linear");
    }
}

#[test]
fn an_l1std_that_cannot_be_read_is_f_ste_fetch() {
    let mut device = device(0x40_0000, TWO_LEVEL | 6 << 6 | 10, &[]);
    assert_eq!(device.access(0x45, 0, Access::READ), Err(Some("F_STE_FETCH")));
    assert_eq!(device.events(), [[0x0000_0045_0000_0003, 0, 0, 0x40_0008]]);
}

#[test]
fn an_invalid_ste_may_be_cached_until_cfgi() {
    let mut device = device(TABLE, 4, &[]);
    assert_eq!(ask(&mut device, 1), BAD_STE);
    device.write_record(TABLE + 64, &ste::of(ste::BYPASS).0);
    device.run(&[cfgi_all()]);
    assert_eq!(ask(&mut device, 1), BYPASSED);
}

type Change = (Bits, u64);
const V3_2: Features = Features::SMMUV3_2;
const GOOD: Outcome = Ok(0x9000);

/// tables.md §3: row, features, the STE's Config, what else is set, what an access to 0x5000 says.
///
/// With stage 1, 0x5000 is 0x9000; stage 2 rows are only asked whether the STE is bad.
#[test]
fn c_bad_ste_rows_of_stage_1() {
    let only_1 = Features {
        s2p: false,
        hyp: false,
        vmid16: false,
        vmw: false,
        vatos: false,
        xnx: false,
        fwb: false,
        ..V3_2
    };
    let no_ats = Features { ats: false, pri: false, priqs: 0, ..V3_2 };
    let terminate = Features { stall_model: StallModel::Terminate, stall_max: 0, ..V3_2 };
    let stall = Features { stall_model: StallModel::Stall, stall_max: 8, ..V3_2 };
    let rows: &[(&str, Features, u64, &[Change], Outcome)] = &[
        ("as it is", V3_2, ste::STAGE_1, &[], GOOD),
        ("1: V = 0", V3_2, ste::STAGE_1, &[(ste::V, 0)], BAD_STE),
        ("1: Config = 0xx is never illegal", V3_2, 0b011, &[(ste::S1CDMAX, 31), (ste::STRW, 1)], Err(None)),
        ("2: stage 2 without S2P", only_1, ste::STAGE_2, &[], BAD_STE),
        ("2: both stages without S2P", only_1, ste::NESTED, &[], BAD_STE),
        ("2: bypass", only_1, ste::BYPASS, &[], Ok(0x5000)),
        ("5: STRW = 01", V3_2, ste::STAGE_1, &[(ste::STRW, 1)], BAD_STE),
        ("5: STRW = 11", V3_2, ste::STAGE_1, &[(ste::STRW, 3)], BAD_STE),
        (
            "5: STRW is not used without Hyp",
            Features { hyp: false, ..only_1 },
            ste::STAGE_1,
            &[(ste::STRW, 1)],
            GOOD,
        ),
        ("5: STRW is not used in bypass", V3_2, ste::BYPASS, &[(ste::STRW, 1)], Ok(0x5000)),
        ("6: S1STALLD, STALL_MODEL = 01", terminate, ste::STAGE_1, &[(ste::S1STALLD, 1)], BAD_STE),
        ("6: S1STALLD, STALL_MODEL = 10", stall, ste::STAGE_1, &[(ste::S1STALLD, 1)], BAD_STE),
        ("6: S1STALLD, STALL_MODEL = 00", V3_2, ste::STAGE_1, &[(ste::S1STALLD, 1)], GOOD),
        ("6: not with stage 1 off", terminate, ste::BYPASS, &[(ste::S1STALLD, 1)], Ok(0x5000)),
        ("7: S1CDMax above SSIDSIZE", V3_2, ste::STAGE_1, &[(ste::S1CDMAX, 21), (ste::S1DSS, 2)], BAD_STE),
        (
            "7: not without substreams",
            Features { ssidsize: 0, ..V3_2 },
            ste::STAGE_1,
            &[(ste::S1CDMAX, 21)],
            GOOD,
        ),
        ("7: not in bypass", V3_2, ste::BYPASS, &[(ste::S1CDMAX, 21)], Ok(0x5000)),
        (
            "8: two levels without CD2L",
            Features { cd2l: false, ..V3_2 },
            ste::STAGE_1,
            &[(ste::S1CDMAX, 1), (ste::S1FMT, 1), (ste::S1DSS, 2)],
            BAD_STE,
        ),
        ("8: not with one CD", Features { cd2l: false, ..V3_2 }, ste::STAGE_1, &[(ste::S1FMT, 1)], GOOD),
        (
            "8: reserved S1Fmt is linear",
            V3_2,
            ste::STAGE_1,
            &[(ste::S1FMT, 3), (ste::S1CDMAX, 1), (ste::S1DSS, 2)],
            GOOD,
        ),
        (
            "9: S1ContextPtr above OAS",
            Features { oas_bits: 44, vax52: false, ..V3_2 },
            ste::STAGE_1,
            &[(ste::S1CONTEXTPTR, 1 << (44 - 6))],
            BAD_STE,
        ),
        (
            "19: wide S2VMID without VMID16",
            Features { vmid16: false, ..V3_2 },
            ste::STAGE_1,
            &[(ste::S2VMID, 0x100)],
            BAD_STE,
        ),
        ("19: not without S2P", only_1, ste::STAGE_1, &[(ste::S2VMID, 0x100)], GOOD),
        (
            "19: not in bypass",
            Features { vmid16: false, ..V3_2 },
            ste::BYPASS,
            &[(ste::S2VMID, 0x100)],
            Ok(0x5000),
        ),
        (
            "fields of stage 2 do not count",
            V3_2,
            ste::STAGE_1,
            &[(ste::S2TG, 3), (ste::S2T0SZ, 63), (ste::S2SL0, 3)],
            GOOD,
        ),
        ("3: split-stage ATS with stage 1 alone", V3_2, ste::STAGE_1, &[(ste::EATS, 2)], BAD_STE),
        ("3: not without ATS", no_ats, ste::STAGE_1, &[(ste::EATS, 2)], GOOD),
        ("3: not in bypass", V3_2, ste::BYPASS, &[(ste::EATS, 2)], Ok(0x5000)),
        ("3: reserved EATS is off", V3_2, ste::STAGE_1, &[(ste::EATS, 3)], GOOD),
        (
            "4: full ATS with stage 1 alone looks at no S2S",
            V3_2,
            ste::STAGE_1,
            &[(ste::EATS, 1), (ste::S2S, 1)],
            GOOD,
        ),
        (
            "reserved bits do not count",
            V3_2,
            ste::STAGE_1,
            &[(bit(1, 20), 1), (bit(1, 63), 1), (bit(5, 0), 1)],
            GOOD,
        ),
    ];
    for (name, features, config, changes, expected) in rows {
        let mut machine = Machine::new(*features, STRICT, Grain::K4);
        machine.map(0x5000, 0x9000, 12);
        let start =
            ste::stage1(machine.context, if features.s2p { VMID } else { 0 }).with(ste::CONFIG, *config);
        machine.set_ste(&changes.iter().fold(start, |ste, &(at, value)| ste.with(at, value)));
        assert_eq!(machine.read(0x5000), *expected, "{name}");
    }
}

/// A legal stage 2: 4 KiB, 40 bits of IPA, start level 1, AArch64, recording.
fn stage2() -> Ste {
    ste::of(ste::STAGE_2)
        .with(ste::S2VMID, 1)
        .with(ste::S2T0SZ, 24)
        .with(ste::S2SL0, 1)
        .with(ste::S2PS, 5)
        .with(ste::S2AA64, 1)
        .with(ste::S2R, 1)
        .with(ste::S2TTB, (RAM_BASE + 0x20_0000) >> 4)
}

#[test]
fn c_bad_ste_rows_of_stage_2() {
    let terminate = Features { stall_model: StallModel::Terminate, stall_max: 0, ..V3_2 };
    let stall = Features { stall_model: StallModel::Stall, stall_max: 8, ..V3_2 };
    let rows: &[(&str, Features, &[Change], bool)] = &[
        ("as it is", V3_2, &[], false),
        ("3: split-stage ATS with stage 2 alone", V3_2, &[(ste::EATS, 2)], true),
        ("4: full ATS with S2S", V3_2, &[(ste::EATS, 1), (ste::S2S, 1)], true),
        ("4: full ATS without S2S", V3_2, &[(ste::EATS, 1)], false),
        ("10: S2S, STALL_MODEL = 01", terminate, &[(ste::S2S, 1)], true),
        ("10: S2S, STALL_MODEL = 00", V3_2, &[(ste::S2S, 1)], false),
        ("10: no S2S, STALL_MODEL = 10", stall, &[], true),
        ("11: S2AA64 = 0 without LPAE", V3_2, &[(ste::S2AA64, 0)], true),
        ("12: S2HA without HTTU", Features { httu: 0, ..V3_2 }, &[(ste::S2HA, 1)], true),
        ("12: S2HD without HTTU", Features { httu: 0, ..V3_2 }, &[(ste::S2HD, 1)], true),
        ("12: S2HD with HTTU = 01", Features { httu: 1, ..V3_2 }, &[(ste::S2HA, 1), (ste::S2HD, 1)], true),
        ("12: S2HA with HTTU = 01", Features { httu: 1, ..V3_2 }, &[(ste::S2HA, 1)], false),
        ("13: S2TG = 11", V3_2, &[(ste::S2TG, 3)], true),
        (
            "13: S2TG unsupported",
            Features { gran64k: false, oas_bits: 48, vax52: false, ..V3_2 },
            &[(ste::S2TG, 1)],
            true,
        ),
        ("14: S2TTB above S2PS", V3_2, &[(ste::S2PS, 0), (ste::S2TTB, 1 << (32 - 4))], true),
        ("14: S2TTB above 48 bits with 4 KiB", V3_2, &[(ste::S2PS, 6), (ste::S2TTB, 1 << (48 - 4))], true),
        (
            "15: S2T0SZ below 64 - IAS",
            Features { oas_bits: 40, vax52: false, ..V3_2 },
            &[(ste::S2T0SZ, 20)],
            true,
        ),
        ("15: S2T0SZ below 16", V3_2, &[(ste::S2T0SZ, 15), (ste::S2SL0, 2)], true),
        (
            "15: S2T0SZ above 39 without STT",
            Features { stt: false, ..V3_2 },
            &[(ste::S2T0SZ, 40), (ste::S2SL0, 0)],
            true,
        ),
        ("16: start level too low for the size", V3_2, &[(ste::S2T0SZ, 16), (ste::S2SL0, 0)], true),
        ("16: start level too high for the size", V3_2, &[(ste::S2T0SZ, 39), (ste::S2SL0, 2)], true),
        ("16: 16 concatenated tables", V3_2, &[(ste::S2T0SZ, 21), (ste::S2SL0, 1)], false),
        ("16: 32 concatenated tables", V3_2, &[(ste::S2T0SZ, 20), (ste::S2SL0, 1)], true),
        ("16: S2SL0 = 11 without STT", Features { stt: false, ..V3_2 }, &[(ste::S2SL0, 3)], true),
        ("17: S2ENDI = 1, little-endian only", V3_2, &[(ste::S2ENDI, 1)], true),
        ("17: S2ENDI = 0, big-endian only", Features { ttendian: TtEndian::Big, ..V3_2 }, &[], true),
        ("18: S2FWB with AArch64", V3_2, &[(ste::S2FWB, 1)], false),
        ("19: wide S2VMID without VMID16", Features { vmid16: false, ..V3_2 }, &[(ste::S2VMID, 0x100)], true),
        ("S2HD without S2HA", V3_2, &[(ste::S2HD, 1)], false),
        ("B8: S2PS = 7", V3_2, &[(ste::S2PS, 7)], false),
        (
            "fields of stage 1 do not count",
            V3_2,
            &[(ste::S1CDMAX, 31), (ste::S1STALLD, 1), (ste::STRW, 1)],
            false,
        ),
    ];
    for (name, features, changes, bad) in rows {
        let mut device = Device::booted(*features, Settings::new(4, 4), 4);
        let ste = changes.iter().fold(stage2(), |ste, &(at, value)| ste.with(at, value));
        device.install_ste(SID, &ste);
        let ended = device.translate(&transaction(SID, None, 0x5000, Access::READ)).map(|found| found.pa.0);
        assert_eq!(ended == BAD_STE, *bad, "{name}: {ended:x?}");
    }
}
