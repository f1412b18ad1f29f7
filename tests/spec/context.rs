//! Context descriptors (§5.4): every reason for C_BAD_CD, fields that must be ignored, CD tables and S1DSS.

#![allow(clippy::panic, clippy::indexing_slicing, reason = "a failed test panics")]

use smmuv3::Features;
use smmuv3::arch::features::{StallModel, TtEndian, Version};
use smmuv3_tests::bits::{Bits, Words, bit};
use smmuv3_tests::driver::{Outcome, transaction};
use smmuv3_tests::machine::{Machine, SID, STRICT, VMID};
use smmuv3_tests::oracle::Access;
use smmuv3_tests::tables::{Cd, Grain, cd, l1cd, ste};

const BAD: Outcome = Err(Some("C_BAD_CD"));
const GOOD: Outcome = Ok(0x9123);

/// SMMUv3.2 as the usual machine has it.
const V3_2: Features = Features::SMMUV3_2;

/// A machine whose page 0x5000 is 0x9000; what it says with this CD.
fn ask(features: Features, change: impl Fn(Cd) -> Cd) -> Outcome {
    let mut machine = Machine::new(features, STRICT, Grain::K4);
    machine.map(0x5000, 0x9000, 12);
    machine.set_cd(change(machine.cd));
    let found = machine.read(0x5123);
    machine.driver.events();
    found
}

type Change = (Bits, u64);

/// tables.md §5, NS, v3.1 and later: row, features, fields, what an access says.
#[test]
fn c_bad_cd_rows() {
    let stall = Features { stall_model: StallModel::Stall, stall_max: 8, ..V3_2 };
    let terminate = Features { stall_model: StallModel::Terminate, stall_max: 0, ..V3_2 };
    let rows: &[(&str, Features, &[Change], Outcome)] = &[
        ("as it is", V3_2, &[], GOOD),
        ("1: V = 0", V3_2, &[(cd::V, 0)], BAD),
        ("3: TERM_MODEL = 1, A = 0", Features { term_model: true, ..V3_2 }, &[(cd::A, 0)], BAD),
        ("3: TERM_MODEL = 1, A = 1", Features { term_model: true, ..V3_2 }, &[], GOOD),
        ("4: STALL_MODEL = 01, S = 1", terminate, &[(cd::S, 1)], BAD),
        ("4: STALL_MODEL = 01, S = 0", terminate, &[], GOOD),
        ("4: STALL_MODEL = 10, S = 0", stall, &[], BAD),
        ("4: STALL_MODEL = 10, S = 1", stall, &[(cd::S, 1)], GOOD),
        ("5: little-endian only, ENDI = 1", V3_2, &[(cd::ENDI, 1)], BAD),
        ("5: big-endian only, ENDI = 0", Features { ttendian: TtEndian::Big, ..V3_2 }, &[], BAD),
        ("6: AA64 = 0 without LPAE", V3_2, &[(cd::AA64, 0)], BAD),
        ("8: HA without HTTU", Features { httu: 0, ..V3_2 }, &[(cd::HA, 1)], BAD),
        ("8: HD without HTTU", Features { httu: 0, ..V3_2 }, &[(cd::HD, 1)], BAD),
        ("8: HD with HTTU = 01", Features { httu: 1, ..V3_2 }, &[(cd::HA, 1), (cd::HD, 1)], BAD),
        ("8: HA with HTTU = 01", Features { httu: 1, ..V3_2 }, &[(cd::HA, 1)], GOOD),
        ("8: HD without HA acts as 0", V3_2, &[(cd::HD, 1)], GOOD),
        ("9: wide ASID without ASID16", Features { asid16: false, ..V3_2 }, &[(cd::ASID, 0x100)], BAD),
        ("9: narrow ASID without ASID16", Features { asid16: false, ..V3_2 }, &[(cd::ASID, 0xff)], GOOD),
        ("9: wide ASID", V3_2, &[(cd::ASID, 0xffff)], GOOD),
        ("10: T0SZ below 16 with 4 KiB", V3_2, &[(cd::T0SZ, 15)], BAD),
        ("10: T0SZ above 48", V3_2, &[(cd::T0SZ, 49)], BAD),
        ("10: T0SZ above 39 without STT", Features { stt: false, ..V3_2 }, &[(cd::T0SZ, 40)], BAD),
        ("10: TG0 = 11", V3_2, &[(cd::TG0, 3)], BAD),
        ("10: TG0 unsupported", Features { gran16k: false, ..V3_2 }, &[(cd::TG0, 2)], BAD),
        ("10: TTB0 above IPS", V3_2, &[(cd::IPS, 0), (cd::TTB0, 1 << (32 - 4))], BAD),
        ("10: TTB0 above 48 bits with 4 KiB", V3_2, &[(cd::IPS, 6), (cd::TTB0, 1 << (48 - 4))], BAD),
        ("10: EPD0 hides T0SZ, TG0, TTB0", V3_2, &[(cd::EPD0, 1), (cd::T0SZ, 63), (cd::TG0, 3)], TRANSLATION),
        ("10: T1SZ with the upper half on", V3_2, &[(cd::EPD1, 0), (cd::TG1, 2), (cd::T1SZ, 15)], BAD),
        ("10: TG1 = 00 with the upper half on", V3_2, &[(cd::EPD1, 0), (cd::T1SZ, 25)], BAD),
        ("10: EPD1 hides T1SZ, TG1, TTB1", V3_2, &[(cd::T1SZ, 63), (cd::TTB1, 0xffff_ffff_ffff)], GOOD),
        ("5: ENDI does not count with both halves off", V3_2, &[(cd::EPD0, 1), (cd::ENDI, 1)], TRANSLATION),
        ("reserved bits are ignored", V3_2, &[(bit(0, 37), 1), (bit(1, 3), 1), (bit(2, 58), 1)], GOOD),
    ];
    for (name, features, changes, expected) in rows {
        let change = |cd: Cd| changes.iter().fold(cd, |cd, &(at, value)| cd.with(at, value));
        assert_eq!(ask(*features, change), *expected, "{name}");
    }
}

const TRANSLATION: Outcome = Err(Some("F_TRANSLATION"));

/// Bit 31 of dword 0, written without the table of fields.
#[test]
fn b6_v_is_bit_31() {
    let with = |bits: u64| {
        ask(V3_2, |cd| {
            smmuv3_tests::bits::Record([
                cd.0[0] & !(0b11 << 30) | bits << 30,
                cd.0[1],
                cd.0[2],
                cd.0[3],
                0,
                0,
                0,
                0,
            ])
        })
    };
    assert_eq!(with(0b00), BAD);
    assert_eq!(with(0b01), BAD, "bit 30 is EPD1");
    assert_eq!(with(0b11), GOOD);
}

#[test]
fn b6_v_is_bit_31_and_bit_30_is_epd1() {
    for (bits_31_30, expected) in [(0b00, BAD), (0b01, BAD), (0b11, GOOD)] {
        let set = |mut cd: Cd| {
            cd.0[0] = cd.0[0] & !(0b11 << 30) | bits_31_30 << 30;
            cd
        };
        assert_eq!(ask(V3_2, set), expected, "bits 31:30 = {bits_31_30:02b}");
    }
}

#[test]
fn c_bad_cd_2_stalls_disabled_by_the_ste() {
    let mut machine = Machine::usual();
    machine.map(0x5000, 0x9000, 12);
    let ste = ste::stage1(machine.context, VMID);
    machine.set_ste(&ste.with(ste::S1STALLD, 1));
    assert_eq!(machine.read(0x5123), GOOD);
    machine.set_cd(machine.cd.with(cd::S, 1));
    assert_eq!(machine.read(0x5123), BAD);
}

#[test]
fn b8_every_ips_is_a_size() {
    for ips in 0..8 {
        let found = ask(V3_2, |cd| cd.with(cd::IPS, ips));
        assert_eq!(found, GOOD, "IPS {ips}");
    }
    let v3_0 = Features { version: Version::V3_0, ..Features::SMMUV3_0 };
    for ips in 0..8 {
        assert_eq!(ask(v3_0, |cd| cd.with(cd::IPS, ips)), GOOD, "v3.0, IPS {ips}");
    }
}

/// E17: whatever a CD or an STE says, the device answers.
#[test]
fn e17_no_structure_stops_the_device() {
    let mut machine = Machine::usual();
    machine.map(0x5000, 0x9000, 12);
    let mut rng = fastrand::Rng::with_seed(17);
    for _ in 0..4000 {
        let mut cd = machine.cd;
        let mut ste = ste::stage1(machine.context, VMID);
        for _ in 0..rng.usize(1..4) {
            cd.0[rng.usize(0..3)] ^= 1 << rng.u32(0..64);
            ste.0[rng.usize(0..4)] ^= 1 << rng.u32(0..64);
        }
        if rng.u32(0..8) == 0 {
            cd.0 = core::array::from_fn(|_| rng.u64(..));
        }
        if rng.u32(0..8) == 0 {
            ste.0 = core::array::from_fn(|_| rng.u64(..));
        }
        machine.driver.install_cd(SID, 0, machine.context, &cd);
        machine.driver.install_ste(SID, &ste);
        for address in [0x5000, rng.u64(..)] {
            let ask = transaction(SID, None, address, Access { write: rng.bool(), ..Access::READ });
            machine.driver.translate(&ask).ok();
        }
        machine
            .driver
            .run(&[smmuv3_tests::commands::tlbi_nsnh_all(), smmuv3_tests::commands::stall_term(SID)]);
        machine.driver.events();
    }
}

/// CDs 0, 1 and 5 of eight map 0x5000 to 0x10_0000, 0x11_0000 and 0x15_0000; the others are all zeros.
fn with_substreams(format: u64) -> Machine {
    let mut machine = Machine::usual();
    let leaf_bytes = if format == 2 { 0x1_0000 } else { 0x1000 };
    let leaf = machine.driver.heap.allocate(leaf_bytes);
    let l1 = machine.driver.heap.allocate(64);
    machine.driver.ram.set_word(l1, l1cd(leaf));
    for number in [0, 1, 5] {
        let driver = &mut machine.driver;
        let tables =
            smmuv3_tests::tables::PageTables::stage1(Grain::K4, 25, &mut driver.heap, &mut driver.ram);
        machine.tables = tables;
        machine.map(0x5000, 0x10_0000 + (number << 16), 12);
        let cd = cd::lower(cd::of(number as u16, 5), Grain::K4, 25, machine.tables.root);
        machine.driver.write_record(leaf + 64 * number, &cd.0);
    }
    let pointer = if format == 0 { leaf } else { l1 };
    machine.context = leaf;
    machine.set_ste(&ste::stage1(pointer, VMID).with(ste::S1CDMAX, 3).with(ste::S1FMT, format));
    machine
}

#[test]
fn substreams_choose_their_context() {
    let disabled = Err(Some("F_STREAM_DISABLED"));
    for format in 0..3 {
        for (s1dss, expected) in [
            (0b00, [disabled, Ok(0x10_0000), Ok(0x11_0000), Ok(0x15_0000)]),
            (0b01, [Ok(0x5000), Ok(0x10_0000), Ok(0x11_0000), Ok(0x15_0000)]),
            (0b10, [Ok(0x10_0000), disabled, Ok(0x11_0000), Ok(0x15_0000)]),
            (0b11, [disabled, Ok(0x10_0000), Ok(0x11_0000), Ok(0x15_0000)]),
        ] {
            let mut machine = with_substreams(format);
            let ste = smmuv3_tests::bits::Record(
                machine.driver.read_record(smmuv3_tests::driver::STREAM_TABLE + 64 * u64::from(SID)),
            );
            machine.set_ste(&ste.with(ste::S1DSS, s1dss));
            let found = [None, Some(0), Some(1), Some(5)].map(|ssid| {
                let ask = transaction(SID, ssid, 0x5000, Access::READ);
                machine.driver.translate(&ask).map(|found| found.pa.0)
            });
            assert_eq!(found, expected, "S1Fmt {format}, S1DSS {s1dss:02b}");
        }
    }
}

#[test]
fn substreams_that_are_not_there() {
    for format in 0..3 {
        let mut machine = with_substreams(format);
        for (ssid, event) in
            [(2, "C_BAD_CD"), (7, "C_BAD_CD"), (8, "C_BAD_SUBSTREAMID"), (0xf_ffff, "C_BAD_SUBSTREAMID")]
        {
            let ask = transaction(SID, Some(ssid), 0x5000, Access::READ);
            let found = machine.driver.translate(&ask).map(|found| found.pa.0);
            assert_eq!(found, Err(Some(event)), "S1Fmt {format}, SubstreamID {ssid:#x}");
        }
    }
}

#[test]
fn an_invalid_l1cd_is_c_bad_substreamid() {
    let mut machine = Machine::usual();
    let l1 = machine.driver.heap.allocate(64);
    machine.set_ste(&ste::stage1(l1, VMID).with(ste::S1CDMAX, 8).with(ste::S1FMT, 1).with(ste::S1DSS, 2));
    for (ssid, record) in [(Some(0x41), 0x0000_0007_0004_1008), (None, 0x0000_0007_0000_0008)] {
        machine.driver.events();
        let ask = transaction(SID, ssid, 0x5000, Access::READ);
        let found = machine.driver.translate(&ask).map(|found| found.pa.0);
        assert_eq!(found, Err(Some("C_BAD_SUBSTREAMID")), "{ssid:?}");
        assert_eq!(machine.driver.events(), [[record, 0, 0, 0]], "{ssid:?}");
    }
}
