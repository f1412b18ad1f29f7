//! Stage 2 alone (§3.4, DDI 0487 §D8): concatenated tables, and what its events tell.

#![allow(clippy::panic, reason = "a failed test panics")]

use smmuv3_tests::machine::{Machine, SID, VMID};
use smmuv3_tests::oracle::Access;
use smmuv3_tests::tables::{Grain, PageTables, Ste, descriptor, ste};

/// Config = 110 over these tables: 2^`bits` bytes of IPA, S2PS = 5 (48 bits), AArch64, recording.
fn stage2(tables: &PageTables, s2sl0: u64) -> Ste {
    ste::of(ste::STAGE_2)
        .with(ste::S2VMID, u64::from(VMID))
        .with(ste::S2T0SZ, u64::from(64 - tables.bits))
        .with(ste::S2SL0, s2sl0)
        .with(ste::S2TG, tables.grain.tg0())
        .with(ste::S2PS, 5)
        .with(ste::S2AA64, 1)
        .with(ste::S2R, 1)
        .with(ste::S2TTB, tables.root >> 4)
}

/// A machine whose stream has stage 2 alone, with its tables.
fn machine(grain: Grain, bits: u32, start: u32, s2sl0: u64) -> Machine {
    let mut machine = Machine::usual();
    let driver = &mut machine.driver;
    machine.tables = PageTables::from_level(grain, bits, start, &mut driver.heap, &mut driver.ram);
    machine.set_ste(&stage2(&machine.tables, s2sl0));
    machine
}

#[test]
fn e19_each_of_the_concatenated_tables_is_read() {
    // tables.md §6: granule, start level with its S2SL0, and the bits that one table at this level resolves.
    let rows = [
        (Grain::K4, 1, 0b01, 39),
        (Grain::K4, 2, 0b00, 30),
        (Grain::K16, 2, 0b01, 36),
        (Grain::K16, 3, 0b00, 25),
        (Grain::K64, 2, 0b01, 42),
        (Grain::K64, 3, 0b00, 29),
    ];
    for (grain, start, s2sl0, one) in rows {
        for extra in 0..=4 {
            let mut machine = machine(grain, one + extra, start, s2sl0);
            let page = 5 << grain.shift();
            for table in 0..1u64 << extra {
                let pa = 0x10_0000_0000 + (table << 20);
                machine.map_as(table << one | page, pa, grain.shift(), descriptor::S2_RW);
            }
            for table in 0..1u64 << extra {
                let found = machine.read(table << one | page | 0x123);
                let expected = Ok(0x10_0000_0123 + (table << 20));
                assert_eq!(found, expected, "{grain:?} level {start}: table {table} of 2^{extra}");
            }
        }
    }
}

#[test]
fn e19_the_base_is_aligned_to_all_of_the_tables() {
    // Two tables of 4 KiB: bits 12:4 of S2TTB do not count.
    let mut machine = machine(Grain::K4, 40, 1, 0b01);
    let junk = machine.tables.root | 0x1ff0;
    machine.set_ste(&stage2(&machine.tables, 0b01).with(ste::S2TTB, junk >> 4));
    for (ipa, pa) in [(0x5000, 0x9000), (1 << 39 | 0x5000, 0xa000)] {
        machine.map_as(ipa, pa, 12, descriptor::S2_RW);
        assert_eq!(machine.read(ipa), Ok(pa), "{ipa:#x}");
    }
}

/// S2 = bit 103, RnW = bit 99, CLASS = bits 105:104, IPA in dword 3.
#[test]
fn e5_stage_2_events_tell_the_ipa() {
    let no_access = descriptor::S2_RW.with(descriptor::AF, 0);
    let read_only = descriptor::S2_RW.with(descriptor::S2AP, 0b01);
    let rows = [
        ("F_TRANSLATION", Access::READ, 0x7_5678, 0x10, 0x0000_0288_0000_0000),
        ("F_TRANSLATION", Access::WRITE, 0xff_ffff_f678, 0x10, 0x0000_0280_0000_0000),
        ("F_TRANSLATION", Access::READ, 0x100_0000_0678, 0x10, 0x0000_0288_0000_0000),
        ("F_ADDR_SIZE", Access::READ, 0x4678, 0x11, 0x0000_0288_0000_0000),
        ("F_ACCESS", Access::READ, 0x5678, 0x12, 0x0000_0288_0000_0000),
        ("F_PERMISSION", Access::WRITE, 0x6678, 0x13, 0x0000_0280_0000_0000),
    ];
    for (event, access, address, number, flags) in rows {
        let mut machine = machine(Grain::K4, 40, 1, 0b01);
        machine.set_ste(&stage2(&machine.tables, 0b01).with(ste::S2PS, 4));
        machine.map_as(0x4000, 1 << 44, 12, descriptor::S2_RW);
        machine.map_as(0x5000, 0x9000, 12, no_access);
        machine.map_as(0x6000, 0x9000, 12, read_only);
        assert_eq!(machine.driver.access(SID, address, access), Err(Some(event)), "{address:#x}");
        let record = [7 << 32 | number, flags, address, address & !0xfff];
        assert_eq!(machine.driver.events(), [record], "{event} at {address:#x}");
    }
}
