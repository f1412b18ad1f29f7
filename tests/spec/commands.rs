//! The command set (§4): what is executed, what is CERROR_ILL, what CMD_SYNC does, what CFGI makes the device forget.

#![allow(clippy::panic, clippy::indexing_slicing, reason = "a failed test panics")]

use smmuv3::{Features, Settings};
use smmuv3_tests::bits::{Record, Words};
use smmuv3_tests::commands::{self, Command, Hint, Leaf, field, opcode, plain};
use smmuv3_tests::driver::{Boot, Driver, Outcome, RAM_BASE, STREAM_TABLE, Stopped, register, value};
use smmuv3_tests::machine::{ASID, Machine, SID, STRICT, VMID};
use smmuv3_tests::oracle::Access;
use smmuv3_tests::tables::{Grain, cd, ste};

type Device = Driver<16>;

fn booted(features: Features) -> Device {
    Device::booted(features, Settings::new(4, 4), 2)
}

/// commands.md §1: the opcodes that each set of features has; all others are CERROR_ILL.
#[test]
fn every_opcode_is_executed_or_illegal() {
    const CONFIGURATION: &[u8] = &[0x01, 0x02, 0x03, 0x04];
    const STAGE_1: &[u8] = &[0x05, 0x06, 0x10, 0x11, 0x12, 0x13];
    const HYP: &[u8] = &[0x20, 0x21, 0x22, 0x23];
    const STAGE_2: &[u8] = &[0x28, 0x2a];
    const ALWAYS: &[u8] = &[0x30, 0x46];
    const STALL: &[u8] = &[0x44, 0x45];
    const ATS_PRI: &[u8] = &[0x40, 0x41];
    let rows: [(&str, Features, &[&[u8]]); 5] = [
        ("SMMUv3.2", Features::SMMUV3_2, &[CONFIGURATION, STAGE_1, HYP, STAGE_2, ALWAYS, STALL, ATS_PRI]),
        ("SMMUv3.0", Features::SMMUV3_0, &[CONFIGURATION, STAGE_1, HYP, STAGE_2, ALWAYS, STALL, ATS_PRI]),
        ("stage 1", Features::QEMU_10, &[CONFIGURATION, STAGE_1, ALWAYS]),
        ("minimal", Features::MINIMAL, &[CONFIGURATION, STAGE_1, ALWAYS]),
        (
            "stage 2",
            Features { s1p: false, hyp: false, vatos: false, ssidsize: 0, cd2l: false, ..Features::SMMUV3_2 },
            &[CONFIGURATION, STAGE_2, ALWAYS, STALL, ATS_PRI],
        ),
    ];
    for (name, features, sets) in rows {
        let mut device = booted(features);
        for opcode in 0..=0xff {
            let legal = sets.iter().any(|set| set.contains(&opcode));
            let index = device.prod();
            let found = device.submit(&[plain(opcode).0]);
            let illegal = Err(Stopped { code: value::CERROR_ILL, index });
            assert_eq!(found, if legal { Ok(()) } else { illegal }, "{name}: opcode {opcode:#04x}");
            assert_eq!(
                commands::is_illegal(plain(opcode).0, &device.has),
                !legal,
                "{name}: the oracle, {opcode:#04x}"
            );
            if !legal {
                assert_eq!(device.recover(), Ok(()), "{name}: after opcode {opcode:#04x}");
            }
        }
    }
}

/// E12: what only a field makes illegal.
#[test]
fn e12_fields_that_are_illegal() {
    let ssec = |opcode| plain(opcode).with(field::SSEC, 1).0;
    let rows = [
        ("CMD_SYNC CS = 11", plain(opcode::SYNC).with(field::CS, 3).0, true),
        ("CMD_SYNC CS = 10", plain(opcode::SYNC).with(field::CS, 2).0, false),
        ("PREFETCH_CONFIG SSec", ssec(opcode::PREFETCH_CONFIG), true),
        ("PREFETCH_ADDR SSec", ssec(opcode::PREFETCH_ADDR), true),
        ("CFGI_STE SSec", ssec(opcode::CFGI_STE), true),
        ("CFGI_ALL SSec", Record(commands::cfgi_all()).with(field::SSEC, 1).0, true),
        ("CFGI_CD SSec", ssec(opcode::CFGI_CD), true),
        ("CFGI_CD_ALL SSec", ssec(opcode::CFGI_CD_ALL), true),
        ("RESUME SSec", ssec(opcode::RESUME), true),
        ("STALL_TERM SSec", ssec(opcode::STALL_TERM), true),
        ("TLBI_NH_ALL has no SSec", ssec(opcode::TLBI_NH_ALL), false),
        ("TLBI_NSNH_ALL has no SSec", ssec(opcode::TLBI_NSNH_ALL), false),
        ("CMD_SYNC has no SSec", ssec(opcode::SYNC), false),
        ("RES0 bits of a TLBI", [0x0000_0000_fc0e_0f30, 0], false),
        ("RES0 bits of CFGI_STE", [0x0000_0000_ffff_fb03, 0xffff_ffff_ffff_fffe], false),
    ];
    for (name, command, illegal) in rows {
        let mut device = booted(Features::SMMUV3_2);
        let found = device.submit(&[command]).map_err(|stopped| stopped.code);
        assert_eq!(found, if illegal { Err(value::CERROR_ILL) } else { Ok(()) }, "{name}");
    }
}

#[test]
fn e12_commands_of_absent_features_are_illegal() {
    for command in [
        commands::atc_inv(0, None, 0, 52),
        commands::pri_resp(0, None, 0, 2),
        commands::resume(0, 0, 1, 0),
        commands::stall_term(0),
        commands::tlbi_el2_all(),
        commands::tlbi_s12_vmall(0),
        commands::tlbi_s2_ipa(0, 0, Leaf::Only, Hint::NONE),
    ] {
        let mut device = booted(Features::QEMU_10);
        let found = device.submit(&[command]).map_err(|stopped| stopped.code);
        assert_eq!(found, Err(value::CERROR_ILL), "{command:x?}");
    }
}

#[test]
fn a_stream_id_out_of_range_is_no_error() {
    let mut device = booted(Features::MINIMAL);
    device.run(&[
        commands::cfgi_ste(0xffff_ffff, Leaf::Only),
        commands::cfgi_ste_range(0xffff_ffff, 30),
        commands::cfgi_cd(0x1_0000, 0xf_ffff, Leaf::AndTables),
        commands::cfgi_cd_all(64),
        commands::prefetch_config(64),
        commands::prefetch_addr(64, 0),
    ]);
    assert_eq!(device.events(), Vec::<[u64; 4]>::new());
}

#[test]
fn an_illegal_command_stops_what_comes_after_it() {
    let mut device = booted(Features::SMMUV3_2);
    let first = device.prod();
    device.put(commands::cfgi_all());
    device.put([0xff, 0]);
    device.put(commands::sync_with(1, 0, 0));
    device.put(commands::sync());
    assert_eq!(device.ring(), Err(Stopped { code: value::CERROR_ILL, index: first + 1 }));
    assert_eq!((device.lines.gerror, device.lines.cmd_sync), (1, 0));
    // Neither more commands nor the queue's enable restart it; the acknowledgement does, without a write of PROD.
    device.put(commands::sync());
    assert_eq!(device.ring(), Err(Stopped { code: value::CERROR_ILL, index: first + 1 }));
    device.write_record(device.slot(first + 1), &commands::sync());
    device.write32(register::GERRORN, device.read32(register::GERROR));
    assert_eq!(device.stopped(), Ok(()));
    assert_eq!((device.lines.gerror, device.lines.cmd_sync), (1, 1));
}

#[test]
fn an_aborted_fetch_is_cerror_abt_and_is_tried_again() {
    let mut device = Device::new(Features::SMMUV3_2, Settings::new(4, 4), 2);
    device.write64(register::CMDQ_BASE, 0x1000 | 4); // no memory there
    device.write_cr0(value::CMDQEN);
    device.write32(register::CMDQ_PROD, 1);
    assert_eq!(device.read32(register::CMDQ_CONS), value::CERROR_ABT << 24);
    assert_eq!(device.read32(register::GERROR), value::CMDQ_ERR);
    device.write32(register::GERRORN, value::CMDQ_ERR);
    assert_eq!(device.read32(register::GERROR), 0, "it aborts again");
    assert_eq!(device.read32(register::CMDQ_CONS), value::CERROR_ABT << 24);
}

#[test]
fn sync_signals_by_wire_and_by_message() {
    let mut device = booted(Features::SMMUV3_2);
    let at = RAM_BASE + 0x8_0000;
    device.ram.set_word(at, u64::MAX);
    device.run(&[commands::sync_with(1, at, 0x1234_5678)]);
    assert_eq!(device.ram.word(at), Some(0xffff_ffff_1234_5678), "32 bits are written");
    assert_eq!(device.lines.cmd_sync, 1);
    device.run(&[commands::sync_with(0, at, 0x9999_9999), commands::sync_with(2, at, 0x9999_9999)]);
    assert_eq!(device.ram.word(at), Some(0xffff_ffff_1234_5678));
    assert_eq!(device.lines.cmd_sync, 1, "only CS = 01");
    device.run(&[commands::sync_with(1, 0, 0x5555)]);
    assert_eq!(device.lines.cmd_sync, 2, "address 0 is no message");
}

#[test]
fn a_message_may_go_to_the_slot_of_its_own_sync() {
    let mut device = booted(Features::SMMUV3_2);
    let slot = device.slot(device.prod());
    device.run(&[commands::sync_with(1, slot, 0)]);
    assert_eq!(device.ram.word(slot).map(|word| word as u32), Some(0));
}

#[test]
fn a_message_that_aborts_is_a_gerror() {
    let mut device = booted(Features::SMMUV3_2);
    device.run(&[commands::sync_with(1, 0x1000, 7)]);
    assert_eq!(device.read32(register::GERROR), 1 << 4, "MSI_CMDQ_ABT_ERR, and the command is consumed");
}

/// What the page at 0x5000 was before a structure changed in memory, and what it is afterwards.
const OLD: Outcome = Ok(0x9000);
const NEW: Outcome = Ok(0xa000);

/// The device has read the machine's STE, which then points to the other CD. Who sees it after `command`?
fn after_a_new_ste(command: Command) -> Outcome {
    let mut machine = two_contexts();
    let changed = ste::stage1(machine.context + 64, VMID);
    machine.driver.ram.set_word(STREAM_TABLE + 64 * u64::from(SID), changed.0[0]);
    machine.run(command);
    machine.read(0x5000)
}

/// The device has read the machine's CD, which then becomes the other one.
fn after_a_new_cd(command: Command) -> Outcome {
    let mut machine = two_contexts();
    let second: [u64; 8] = machine.driver.read_record(machine.context + 64);
    machine.driver.write_record(machine.context, &second);
    machine.run(command);
    machine.read(0x5000)
}

#[test]
fn r7_cfgi_all_drops_everything_whatever_its_stream_id() {
    for sid in [0, SID, 0x8000_0000, 0xffff_ffff] {
        assert_eq!(after_a_new_ste(commands::cfgi_ste_range(sid, 31)), NEW, "{sid:#x}");
        assert_eq!(after_a_new_cd(commands::cfgi_ste_range(sid, 31)), NEW, "{sid:#x}");
    }
}

#[test]
fn r8_junk_in_the_low_bits_of_a_range_is_ignored() {
    for junk in 0..8 {
        assert_eq!(after_a_new_ste(commands::cfgi_ste_range(junk, 2)), NEW, "{junk}");
        assert_eq!(after_a_new_ste(commands::cfgi_ste_range(8 + junk, 2)), OLD, "{junk}");
    }
}

#[test]
fn e18_cfgi_ste_takes_the_contexts_of_its_stream_along() {
    assert_eq!(after_a_new_cd(commands::cfgi_ste(SID, Leaf::Only)), NEW);
    assert_eq!(after_a_new_cd(commands::cfgi_ste(SID, Leaf::AndTables)), NEW);
    assert_eq!(after_a_new_cd(commands::cfgi_ste_range(SID, 0)), NEW);
}

#[test]
fn e18_translations_outlive_cfgi() {
    let mut machine = Machine::usual();
    machine.cache_and_unmap(&[0x5000], 12);
    machine.driver.run(&[commands::cfgi_ste(SID, Leaf::AndTables), commands::cfgi_all()]);
    assert!(machine.is_cached(0x5000));
}

#[test]
fn cfgi_commands_drop_the_stes_that_they_name() {
    let rows = [
        ("CFGI_STE", commands::cfgi_ste(SID, Leaf::Only), NEW),
        ("CFGI_STE Leaf = 0", commands::cfgi_ste(SID, Leaf::AndTables), NEW),
        ("CFGI_STE of another", commands::cfgi_ste(SID + 1, Leaf::Only), OLD),
        ("CFGI_STE_RANGE of 8", commands::cfgi_ste_range(0, 2), NEW),
        ("CFGI_STE_RANGE of 2^31", commands::cfgi_ste_range(0x7fff_ffff, 30), NEW),
        ("CFGI_STE_RANGE of the other 2^31", commands::cfgi_ste_range(0x8000_0000, 30), OLD),
        ("CFGI_CD_ALL", commands::cfgi_cd_all(SID), OLD),
        ("TLBI_NSNH_ALL", commands::tlbi_nsnh_all(), OLD),
        ("TLBI_NH_ALL", commands::tlbi_nh_all(VMID), OLD),
    ];
    for (name, command, expected) in rows {
        assert_eq!(after_a_new_ste(command), expected, "{name}");
    }
}

#[test]
fn cfgi_commands_drop_the_cds_that_they_name() {
    let rows = [
        ("CFGI_STE of another", commands::cfgi_ste(SID + 1, Leaf::Only), OLD),
        ("CFGI_CD", commands::cfgi_cd(SID, 0, Leaf::Only), NEW),
        ("CFGI_CD Leaf = 0", commands::cfgi_cd(SID, 0, Leaf::AndTables), NEW),
        ("CFGI_CD of another stream", commands::cfgi_cd(SID + 1, 0, Leaf::Only), OLD),
        ("CFGI_CD of another substream", commands::cfgi_cd(SID, 1, Leaf::Only), OLD),
        ("CFGI_CD_ALL", commands::cfgi_cd_all(SID), NEW),
        ("CFGI_CD_ALL of another", commands::cfgi_cd_all(SID - 1), OLD),
        ("CFGI_STE_RANGE", commands::cfgi_ste_range(6, 0), NEW),
        ("TLBI_NSNH_ALL", commands::tlbi_nsnh_all(), OLD),
    ];
    for (name, command, expected) in rows {
        assert_eq!(after_a_new_cd(command), expected, "{name}");
    }
}

/// Three streams are bypassed, and known to the device; then their STEs become invalid. Which does `command` make it see?
fn forgotten(command: Command) -> [bool; 3] {
    let mut device = booted(Features::SMMUV3_2);
    for sid in [0, 7, 255] {
        device.install_ste(sid, &ste::of(ste::BYPASS));
        assert_eq!(device.access(sid, 0x5000, Access::READ), Ok(0x5000));
        device.ram.set_word(RAM_BASE + 64 * u64::from(sid), 0);
    }
    device.run(&[command]);
    [0, 7, 255].map(|sid| device.access(sid, 0x5000, Access::READ) == Err(Some("C_BAD_STE")))
}

#[test]
fn r7_cfgi_all_names_every_stream() {
    for sid in [0, 1, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff] {
        assert_eq!(forgotten(commands::cfgi_ste_range(sid, 31)), [true; 3], "StreamID {sid:#x}");
    }
    assert_eq!(forgotten(commands::cfgi_ste_range(0, 30)), [true; 3], "2^31 streams from 0 on");
    assert_eq!(forgotten(commands::cfgi_ste_range(0x8000_0000, 30)), [false; 3], "the other 2^31");
}

#[test]
fn r8_the_low_bits_of_a_stream_range_are_ignored() {
    for (sid, range, expected) in [
        (6, 0, [false, true, false]),
        (7, 0, [false, true, false]),
        (5, 0, [false; 3]),
        (8, 0, [false; 3]),
        (4, 1, [false, true, false]),
        (1, 2, [true, true, false]),
        (0xf3, 3, [false, false, true]),
        (0x80, 6, [false, false, true]),
        (0x55, 7, [true; 3]),
    ] {
        assert_eq!(forgotten(commands::cfgi_ste_range(sid, range)), expected, "{sid:#x}, Range {range}");
    }
}

/// Translations that were cached through a stream's configuration belong to their ASID and VMID: CFGI leaves them alone.
#[test]
fn e18_cfgi_ste_takes_the_contexts_along_and_leaves_translations() {
    let mut machine = two_contexts();
    let second: [u64; 8] = machine.driver.read_record(machine.context + 64);
    machine.driver.write_record(machine.context, &second);
    assert_eq!(machine.read(0x5000), Ok(0x9000), "the CD is cached");
    machine.run(commands::cfgi_ste(SID, Leaf::Only));
    assert_eq!(machine.read(0x5000), Ok(0xa000), "a new CD, with another ASID");
    // Back to the first ASID, whose tables have become empty: its translation is still there.
    machine.set_cd(
        cd::of(ASID, 5).with(cd::EPD0, 0).with(cd::T0SZ, 16).with(cd::TTB0, (RAM_BASE + 0x8_0000) >> 4),
    );
    machine.run(commands::cfgi_ste(SID, Leaf::Only));
    assert_eq!(machine.read(0x5000), Ok(0x9000), "CFGI does not touch the IOTLB");
    machine.run(commands::tlbi_nh_asid(VMID, ASID));
    assert_eq!(machine.read(0x5000), Err(Some("F_TRANSLATION")));
}

/// The page 0x5000 is 0x9000 through the CD in use, and 0xa000 through the one behind it, which has another ASID.
fn two_contexts() -> Machine {
    let mut machine = Machine::new(Features::SMMUV3_2, STRICT, Grain::K4);
    machine.context = machine.driver.heap.allocate(128);
    machine.map(0x5000, 0x9000, 12);
    let first = machine.tables.root;
    let driver = &mut machine.driver;
    machine.tables =
        smmuv3_tests::tables::PageTables::stage1(Grain::K4, 16, &mut driver.heap, &mut driver.ram);
    machine.map(0x5000, 0xa000, 12);
    let second = cd::lower(machine.cd, Grain::K4, 16, machine.tables.root).with(cd::ASID, 0x55);
    machine.driver.write_record(machine.context + 64, &second.0);
    let usual = cd::lower(machine.cd, Grain::K4, 16, first);
    machine.set_cd(usual);
    let context = machine.context;
    machine.set_ste(&ste::stage1(context, VMID));
    assert_eq!(machine.driver.access(SID, 0x5000, Access::READ), Ok(0x9000));
    machine
}

#[test]
fn e13_a_write_consumes_no_more_than_its_budget() {
    let mut settings = Settings::new(4, 4);
    settings.commands_per_write = 10;
    let mut device = Device::new(Features::SMMUV3_2, settings, 2);
    device.boot(Boot { log2_commands: 8, ..Boot::USUAL });
    let start = device.prod();
    for _ in 0..100 {
        device.put(commands::cfgi_all());
    }
    let mut env =
        smmuv3::Env { memory: &mut device.ram, interrupts: &mut device.lines, trace: &mut smmuv3::NoTrace };
    let written = device.smmu.write(register::CMDQ_PROD, &(start + 100).to_le_bytes(), &mut env);
    assert!(written.is_ok() && device.smmu.pending());
    let mut data = [0; 4];
    assert!(device.smmu.read(register::CMDQ_CONS, &mut data).is_ok());
    assert_eq!(u32::from_le_bytes(data), start + 10);
    assert_eq!(device.smmu.poll(25, &mut env), 25);
    assert_eq!(device.smmu.poll(1000, &mut env), 65);
    assert!(!device.smmu.pending());
    assert_eq!(device.stopped(), Ok(()));
}
