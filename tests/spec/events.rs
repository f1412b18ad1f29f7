//! Event records (§7.3): each one written out by hand, 32 bytes.

#![allow(clippy::panic, clippy::indexing_slicing, reason = "a failed test panics")]

use smmuv3::{Features, Settings};
use smmuv3_tests::commands::tlbi_nsnh_all;
use smmuv3_tests::driver::{Boot, Driver, transaction};
use smmuv3_tests::machine::{Machine, SID, VMID};
use smmuv3_tests::oracle::Access;
use smmuv3_tests::tables::{cd, descriptor, ste};

const READ: Access = Access::READ;
const WRITE: Access = Access::WRITE;
const PRIVILEGED_FETCH: Access = Access { write: false, instruction: true, privileged: true };

/// One fault: what leads to it, the access, and the record. SID = 7, so dword 0 is `7 << 32 | number`.
struct Row {
    name: &'static str,
    prepare: fn(&mut Machine),
    ssid: Option<u32>,
    address: u64,
    access: Access,
    event: &'static str,
    record: [u64; 4],
}

/// PnU = bit 97, InD = bit 98, RnW = bit 99, CLASS = bits 105:104; InputAddr in dword 2, FetchAddr in dword 3.
const ROWS: &[Row] = &[
    Row {
        name: "C_BAD_STREAMID",
        prepare: |machine| machine.driver.boot(Boot { strtab_base_cfg: 2, ..Boot::USUAL }),
        ssid: None,
        address: 0x5000,
        access: READ,
        event: "C_BAD_STREAMID",
        record: [0x0000_0007_0000_0002, 0, 0, 0],
    },
    Row {
        name: "F_STE_FETCH",
        prepare: |machine| machine.driver.boot(Boot { strtab_base: 0x4_0000, ..Boot::USUAL }),
        ssid: None,
        address: 0x5000,
        access: READ,
        event: "F_STE_FETCH",
        record: [0x0000_0007_0000_0003, 0, 0, 0x4_01c0],
    },
    Row {
        name: "C_BAD_STE",
        prepare: |machine| machine.set_ste(&ste::of(ste::STAGE_1).with(ste::V, 0)),
        ssid: None,
        address: 0x5000,
        access: WRITE,
        event: "C_BAD_STE",
        record: [0x0000_0007_0000_0004, 0, 0, 0],
    },
    Row {
        name: "C_BAD_STE with a SubstreamID",
        prepare: |machine| machine.set_ste(&ste::of(ste::STAGE_1).with(ste::V, 0)),
        ssid: Some(0xabcde),
        address: 0x5000,
        access: WRITE,
        event: "C_BAD_STE",
        record: [0x0000_0007_abcd_e804, 0, 0, 0],
    },
    Row {
        name: "F_STREAM_DISABLED",
        prepare: |machine| {
            let ste = ste::stage1(machine.context, VMID).with(ste::S1CDMAX, 1).with(ste::S1DSS, 0b00);
            machine.set_ste(&ste);
        },
        ssid: None,
        address: 0x5000,
        access: READ,
        event: "F_STREAM_DISABLED",
        record: [0x0000_0007_0000_0006, 0, 0, 0],
    },
    Row {
        name: "C_BAD_SUBSTREAMID: no substreams; bit 11 is 0",
        prepare: |_| {},
        ssid: Some(0x12345),
        address: 0x5000,
        access: READ,
        event: "C_BAD_SUBSTREAMID",
        record: [0x0000_0007_1234_5008, 0, 0, 0],
    },
    Row {
        name: "F_CD_FETCH",
        prepare: |machine| machine.set_ste(&ste::stage1(0x1_2340, VMID)),
        ssid: None,
        address: 0x5000,
        access: READ,
        event: "F_CD_FETCH",
        record: [0x0000_0007_0000_0009, 0, 0, 0x1_2340],
    },
    Row {
        name: "C_BAD_CD",
        prepare: |machine| machine.set_cd(machine.cd.with(cd::V, 0)),
        ssid: None,
        address: 0x5000,
        access: READ,
        event: "C_BAD_CD",
        record: [0x0000_0007_0000_000a, 0, 0, 0],
    },
    Row {
        name: "F_WALK_EABT of stage 1 is CLASS = TT",
        prepare: |machine| machine.set_cd(machine.cd.with(cd::TTB0, 0x2_0000 >> 4)),
        ssid: None,
        address: 0x0000_0080_0000_5678,
        access: READ,
        event: "F_WALK_EABT",
        record: [0x0000_0007_0000_000b, 0x0000_0108_0000_0000, 0x0000_0080_0000_5678, 0x2_0008],
    },
    Row {
        name: "F_TRANSLATION, read",
        prepare: |_| {},
        ssid: None,
        address: 0x1234_5678,
        access: READ,
        event: "F_TRANSLATION",
        record: [0x0000_0007_0000_0010, 0x0000_0208_0000_0000, 0x1234_5678, 0],
    },
    Row {
        name: "F_TRANSLATION, write, all address bits as they came",
        prepare: |machine| machine.set_cd(machine.cd.with(cd::TBI0, 1)),
        ssid: None,
        address: 0xa500_0000_1234_5678,
        access: WRITE,
        event: "F_TRANSLATION",
        record: [0x0000_0007_0000_0010, 0x0000_0200_0000_0000, 0xa500_0000_1234_5678, 0],
    },
    Row {
        name: "F_TRANSLATION, privileged instruction read",
        prepare: |_| {},
        ssid: None,
        address: 0x1234_5678,
        access: PRIVILEGED_FETCH,
        event: "F_TRANSLATION",
        record: [0x0000_0007_0000_0010, 0x0000_020e_0000_0000, 0x1234_5678, 0],
    },
    Row {
        name: "F_TRANSLATION of a substream",
        prepare: |machine| {
            let second: [u64; 8] = machine.driver.read_record(machine.context);
            let contexts = machine.driver.heap.allocate(128);
            machine.driver.write_record(contexts + 64, &second);
            machine.set_ste(&ste::stage1(contexts, VMID).with(ste::S1CDMAX, 1));
        },
        ssid: Some(1),
        address: 0x1234_5678,
        access: READ,
        event: "F_TRANSLATION",
        record: [0x0000_0007_0000_1810, 0x0000_0208_0000_0000, 0x1234_5678, 0],
    },
    Row {
        name: "F_ADDR_SIZE",
        prepare: |machine| {
            machine.set_cd(machine.cd.with(cd::IPS, 4));
            machine.map(0x5000, 1 << 44, 12);
        },
        ssid: None,
        address: 0x5678,
        access: READ,
        event: "F_ADDR_SIZE",
        record: [0x0000_0007_0000_0011, 0x0000_0208_0000_0000, 0x5678, 0],
    },
    Row {
        name: "F_ACCESS",
        prepare: |machine| machine.map_as(0x5000, 0x9000, 12, descriptor::S1_RW.with(descriptor::AF, 0)),
        ssid: None,
        address: 0x5678,
        access: WRITE,
        event: "F_ACCESS",
        record: [0x0000_0007_0000_0012, 0x0000_0200_0000_0000, 0x5678, 0],
    },
    Row {
        name: "F_PERMISSION",
        prepare: |machine| machine.map_as(0x5000, 0x9000, 12, descriptor::S1_RW.with(descriptor::AP, 0b11)),
        ssid: None,
        address: 0x5678,
        access: WRITE,
        event: "F_PERMISSION",
        record: [0x0000_0007_0000_0013, 0x0000_0200_0000_0000, 0x5678, 0],
    },
    Row {
        name: "bypass above OAS",
        prepare: |machine| {
            machine.driver = Driver::booted(Features::QEMU_10, Settings::new(4, 4), 2);
            machine.set_ste(&ste::of(ste::BYPASS));
        },
        ssid: None,
        address: 1 << 44,
        access: READ,
        event: "F_ADDR_SIZE",
        record: [0x0000_0007_0000_0011, 0x0000_0208_0000_0000, 1 << 44, 0],
    },
];

#[test]
fn b13_every_record_bit_by_bit() {
    for row in ROWS {
        let mut machine = Machine::usual();
        (row.prepare)(&mut machine);
        machine.driver.events();
        let ask = transaction(SID, row.ssid, row.address, row.access);
        let found = machine.driver.translate(&ask).map(|found| found.pa.0);
        assert_eq!(found, Err(Some(row.event)), "{}", row.name);
        let events = machine.driver.events();
        assert_eq!(events, [row.record], "{}: {events:x?}", row.name);
        assert_eq!(machine.driver.walk(&ask), Err(Some(row.event)), "{}: walk", row.name);
        assert!(machine.driver.events().is_empty(), "{}: a walk records nothing", row.name);
    }
}

/// One record of a machine that `prepare` has broken.
fn record_of(prepare: impl FnOnce(&mut Machine), address: u64) -> [u64; 4] {
    let mut machine = Machine::usual();
    prepare(&mut machine);
    machine.driver.events();
    assert!(machine.read(address).is_err());
    let events = machine.driver.events();
    assert_eq!(events.len(), 1);
    events[0]
}

/// Bits 105:104: 0 is CD, 1 is TT, 2 is IN. CD is a matter of stage 2 (`nested`).
#[test]
fn e3_class_numbers() {
    let class = |record: [u64; 4]| record[1] >> 40 & 0b11;
    let no_table = |machine: &mut Machine| machine.set_cd(machine.cd.with(cd::TTB0, 0x2_0000 >> 4));
    let not_accessed = descriptor::S1_RW.with(descriptor::AF, 0);
    assert_eq!(class(record_of(no_table, 0x5000)), 1, "F_WALK_EABT: TT");
    assert_eq!(class(record_of(|_| (), 0x5000)), 2, "F_TRANSLATION: IN");
    assert_eq!(class(record_of(|machine| machine.map_as(0x5000, 0x9000, 12, not_accessed), 0x5000)), 2);
}

#[test]
fn e4_fetch_addresses_are_in_dword_3() {
    let no_stes = |machine: &mut Machine| machine.driver.boot(Boot { strtab_base: 0x4_0000, ..Boot::USUAL });
    let no_cd = |machine: &mut Machine| machine.set_ste(&ste::stage1(0x1_2340, VMID));
    let no_table = |machine: &mut Machine| machine.set_cd(machine.cd.with(cd::TTB0, 0x2_0000 >> 4));
    assert_eq!(record_of(no_stes, 0x5000)[2..], [0, 0x4_01c0], "F_STE_FETCH");
    assert_eq!(record_of(no_cd, 0x5000)[2..], [0, 0x1_2340], "F_CD_FETCH");
    assert_eq!(record_of(no_table, 0x5000)[2..], [0x5000, 0x2_0000], "F_WALK_EABT has both");
}

#[test]
fn e2_c_bad_streamid_is_recorded_only_with_recinvsid() {
    let mut machine = Machine::usual();
    machine.driver.boot(Boot { cr2: 0, ..Boot::USUAL });
    assert_eq!(machine.driver.access(0x1234, 0, READ), Err(None));
    assert!(machine.driver.events().is_empty());
}

#[test]
fn config_0xx_aborts_without_an_event() {
    for config in 0..4 {
        let mut machine = Machine::usual();
        machine.set_ste(&ste::of(config));
        assert_eq!(machine.read(0x5000), Err(None), "Config = {config:03b}");
        assert!(machine.driver.events().is_empty());
    }
}

/// tables.md §9: A and R for the four translation faults, with S = 0.
#[test]
fn a_and_r_rule_abort_and_record() {
    use smmuv3::Response;
    for (a, r) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
        let mut machine = Machine::usual();
        machine.set_cd(machine.cd.with(cd::A, a).with(cd::R, r));
        let mut env = smmuv3::Env {
            memory: &mut machine.driver.ram,
            interrupts: &mut machine.driver.lines,
            trace: &mut smmuv3::NoTrace,
        };
        let ended = machine.driver.smmu.translate(&transaction(SID, None, 0x5000, READ), &mut env);
        let response = ended.map(|_| ()).map_err(|terminated| terminated.response);
        assert_eq!(response, Err(if a == 1 { Response::Abort } else { Response::RazWi }), "A {a} R {r}");
        assert_eq!(machine.driver.events().len(), r as usize, "A {a} R {r}");
    }
}

#[test]
fn configuration_faults_are_recorded_whatever_r_says() {
    let mut machine = Machine::usual();
    machine.set_cd(machine.cd.with(cd::R, 0).with(cd::A, 0).with(cd::TTB0, 0x2_0000 >> 4));
    assert_eq!(machine.read(0x5000), Err(Some("F_WALK_EABT")));
    assert_eq!(machine.driver.events().len(), 1);
}

#[test]
fn a_failed_fetch_is_not_cached() {
    let mut machine = Machine::usual();
    machine.map(0x5000, 0x9000, 12);
    let ste = ste::stage1(machine.context, VMID);
    machine.set_ste(&ste::stage1(0x1_2340, VMID));
    assert_eq!(machine.read(0x5000), Err(Some("F_CD_FETCH")));
    machine.set_ste(&ste);
    assert_eq!(machine.read(0x5000), Ok(0x9000));
    let root = machine.cd.get(cd::TTB0);
    machine.set_cd(machine.cd.with(cd::TTB0, 0x2_0000 >> 4));
    machine.run(tlbi_nsnh_all());
    assert_eq!(machine.read(0x5000), Err(Some("F_WALK_EABT")));
    machine.set_cd(machine.cd.with(cd::TTB0, root));
    machine.run(tlbi_nsnh_all());
    assert_eq!(machine.read(0x5000), Ok(0x9000));
}
