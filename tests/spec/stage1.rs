//! Stage 1 walks (§3.4, DDI 0487 §D8): ranges, levels, checks and their order. All of them hand-made, against one device.

#![allow(clippy::panic, clippy::indexing_slicing, reason = "a failed test panics")]

use smmuv3::arch::features::TtEndian;
use smmuv3::{Features, Settings};
use smmuv3_tests::bits::{Record, Words};
use smmuv3_tests::commands::{tlbi_el2_all, tlbi_nsnh_all};
use smmuv3_tests::driver::{Boot, Outcome, outcome, register, transaction, value};
use smmuv3_tests::machine::{Machine, SID, STRICT, VMID};
use smmuv3_tests::oracle::{Access, walk};
use smmuv3_tests::tables::{Grain, PageTables, cd, descriptor, stage1_start, ste};

const TRANSLATION: Outcome = Err(Some("F_TRANSLATION"));
const ADDR_SIZE: Outcome = Err(Some("F_ADDR_SIZE"));
const PERMISSION: Outcome = Err(Some("F_PERMISSION"));

#[test]
fn b7_each_tbi_rules_its_own_half() {
    for (tbi0, tbi1) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
        let mut machine = with_upper_half(25);
        machine.set_cd(machine.cd.with(cd::TBI0, tbi0).with(cd::TBI1, tbi1));
        let tagged = |tbi, pa| if tbi == 1 { Ok(pa) } else { TRANSLATION };
        assert_eq!(machine.read(0x5a00_0000_0000_5000), tagged(tbi0, 0x9000), "TBI0 {tbi0}, TBI1 {tbi1}");
        assert_eq!(machine.read(0x5aff_ffff_ffff_f000), tagged(tbi1, 0xa000), "TBI0 {tbi0}, TBI1 {tbi1}");
        assert_eq!(machine.read(0x5000), Ok(0x9000));
        assert_eq!(machine.read(0xffff_ffff_ffff_f000), Ok(0xa000));
    }
}

/// 0x5000 is 0x9000 in the lower half; the last page of the upper one, of 64 − `t1sz` bits, is 0xa000.
fn with_upper_half(t1sz: u32) -> Machine {
    let mut machine = Machine::usual();
    machine.map(0x5000, 0x9000, 12);
    let driver = &mut machine.driver;
    let upper = PageTables::stage1(Grain::K4, t1sz, &mut driver.heap, &mut driver.ram);
    upper.map(&mut driver.heap, &mut driver.ram, 0xffff_ffff_ffff_f000, 0xa000, 12, descriptor::S1_RW);
    machine.set_cd(cd::upper(machine.cd, Grain::K4, u64::from(t1sz), upper.root));
    machine
}

#[test]
fn e6_the_upper_half_is_reached_by_sign_extended_addresses() {
    let mut machine = with_upper_half(25);
    assert_eq!(machine.read(0xffff_ffff_ffff_f123), Ok(0xa123));
    assert_eq!(machine.read(0xffff_ff7f_ffff_f123), TRANSLATION, "outside 39 bits");
    assert_eq!(machine.read(0x0000_007f_ffff_f123), TRANSLATION, "in the lower half");
    assert_eq!(machine.read(0x00ff_ffff_ffff_f123), TRANSLATION);
    machine.set_cd(machine.cd.with(cd::EPD1, 1));
    machine.run(tlbi_nsnh_all());
    assert_eq!(machine.read(0xffff_ffff_ffff_f123), TRANSLATION, "EPD1");
    assert_eq!(machine.read(0x5000), Ok(0x9000));
}

#[test]
fn b9_blocks_only_where_the_granule_has_them() {
    let rows = [
        (Grain::K4, 0, false),
        (Grain::K4, 1, true),
        (Grain::K4, 2, true),
        (Grain::K16, 0, false),
        (Grain::K16, 1, false),
        (Grain::K16, 2, true),
        (Grain::K64, 1, false),
        (Grain::K64, 2, true),
    ];
    let features = Features { oas_bits: 48, vax52: false, ..Features::SMMUV3_2 };
    for (grain, level, allowed) in rows {
        let mut machine = Machine::new(features, STRICT, grain);
        let driver = &mut machine.driver;
        let slot = machine.tables.slot(&mut driver.heap, &mut driver.ram, 0, level);
        driver.ram.set_word(slot.pa, descriptor::S1_RW.0[0] | 0b01);
        let expected = if allowed { Ok(0x1234) } else { TRANSLATION };
        assert_eq!(machine.read(0x1234), expected, "{grain:?}, level {level}");
    }
}

#[test]
fn a_level_1_block_of_64_kib_needs_52_bits() {
    let mut machine = Machine::new(Features::SMMUV3_2, STRICT, Grain::K64);
    let driver = &mut machine.driver;
    let slot = machine.tables.slot(&mut driver.heap, &mut driver.ram, 0, 1);
    driver.ram.set_word(slot.pa, descriptor::S1_RW.0[0] | 0b01);
    assert_eq!(machine.read(0x1234), Ok(0x1234));
}

#[test]
fn descriptor_types() {
    let rows: [(&str, u32, u64, Outcome); 7] = [
        ("L3 invalid", 3, 0b00, TRANSLATION),
        ("L3 reserved", 3, 0b01, TRANSLATION),
        ("L3 invalid, bit 1 set", 3, 0b10, TRANSLATION),
        ("L3 page", 3, 0b11, Ok(0x123)),
        ("L2 invalid", 2, 0b10, TRANSLATION),
        ("L1 invalid", 1, 0b10, TRANSLATION),
        ("L0 invalid", 0, 0b00, TRANSLATION),
    ];
    for (name, level, kind, expected) in rows {
        let mut machine = Machine::usual();
        let driver = &mut machine.driver;
        let slot = machine.tables.slot(&mut driver.heap, &mut driver.ram, 0, level);
        driver.ram.set_word(slot.pa, descriptor::S1_RW.0[0] | kind);
        assert_eq!(machine.read(0x123), expected, "{name}");
    }
}

#[test]
fn e5_outputs_above_ips_are_address_size_faults_in_tables_and_leaves() {
    for (ips, bits) in [(0u64, 32), (1, 36), (2, 40), (3, 42), (4, 44), (5, 48)] {
        let mut machine = Machine::usual();
        machine.set_cd(machine.cd.with(cd::IPS, ips));
        machine.map(0x5000, (1 << bits) - 0x1000, 12);
        assert_eq!(machine.read(0x5000), Ok((1 << bits) - 0x1000), "IPS {ips}");
        if bits < 48 {
            machine.map(0x6000, 1 << bits, 12);
            machine.map(0x4000_0000, 1 << bits, 30);
            assert_eq!(machine.read(0x6000), ADDR_SIZE, "IPS {ips}: a page");
            assert_eq!(machine.read(0x4000_0000), ADDR_SIZE, "IPS {ips}: a block");
            let slot = machine.tables.find(&machine.driver.ram, 0x20_0000, 2);
            machine.driver.ram.set_word(slot.pa, 1 << bits | 0b11);
            assert_eq!(machine.read(0x20_0000), ADDR_SIZE, "IPS {ips}: a table");
        }
    }
}

#[test]
fn outputs_above_oas_are_faults_whatever_ips_says() {
    let features = Features { oas_bits: 40, vax52: false, ..Features::SMMUV3_2 };
    let mut machine = Machine::new(features, STRICT, Grain::K4);
    machine.map(0x5000, 1 << 40, 12);
    assert_eq!(machine.read(0x5000), ADDR_SIZE);
}

#[test]
fn wide_outputs_of_64_kib_pages() {
    let mut machine = Machine::new(Features::SMMUV3_2, STRICT, Grain::K64);
    machine.set_cd(machine.cd.with(cd::IPS, 6));
    machine.map(0x5_0000, 0xf_ffff_ffff_0000, 16);
    assert_eq!(machine.read(0x5_0123), Ok(0xf_ffff_ffff_0123));
    machine.set_cd(machine.cd.with(cd::IPS, 5));
    machine.run(tlbi_nsnh_all());
    assert_eq!(machine.read(0x5_0123), ADDR_SIZE);
}

#[test]
fn e21_the_order_of_checks() {
    let rows = [
        ("address size before access", 1u64 << 44, 0, 0b01, ADDR_SIZE),
        ("address size before permission", 1 << 44, 1, 0b00, ADDR_SIZE),
        ("access before permission", 0x9000, 0, 0b00, Err(Some("F_ACCESS"))),
        ("permission", 0x9000, 1, 0b00, PERMISSION),
        ("none", 0x9000, 1, 0b01, Ok(0x9000)),
    ];
    for (name, pa, af, ap, expected) in rows {
        let mut machine = Machine::usual();
        machine.set_cd(machine.cd.with(cd::IPS, 4));
        machine.map_as(0x5000, pa, 12, descriptor::S1_RW.with(descriptor::AF, af).with(descriptor::AP, ap));
        assert_eq!(machine.read(0x5000), expected, "{name}");
    }
}

#[test]
fn affd_takes_the_access_flag_as_set() {
    let mut machine = Machine::usual();
    machine.set_cd(machine.cd.with(cd::AFFD, 1));
    machine.map_as(0x5000, 0x9000, 12, descriptor::S1_RW.with(descriptor::AF, 0));
    assert_eq!(machine.read(0x5000), Ok(0x9000));
}

#[test]
fn hierarchical_denials_fault_at_the_leaf_unless_had() {
    for (had, expected) in [(0, PERMISSION), (1, Ok(0x9000))] {
        let mut machine = Machine::usual();
        machine.tables.table_attributes = machine.tables.table_attributes.with(descriptor::APTABLE, 0b10);
        machine.map(0x5000, 0x9000, 12);
        machine.set_cd(machine.cd.with(cd::HAD0, had));
        assert_eq!(machine.write(0x5000), expected, "HAD0 {had}");
        assert_eq!(machine.read(0x5000), Ok(0x9000), "reads go on");
        assert_eq!(machine.read(0x6000), TRANSLATION, "no fault before the leaf");
    }
}

/// All legal sizes, all granules, both halves, edges of the input range: device, walk and oracle say the same.
#[test]
fn every_input_size_and_its_edges() {
    for grain in Grain::ALL {
        for txsz in 12..=48u32 {
            let bits = 64 - txsz;
            if grain == Grain::K64 && txsz > 47 || grain != Grain::K64 && txsz < 16 {
                continue;
            }
            let mut machine = Machine::new(Features::SMMUV3_2, Settings::new(4, 4), grain);
            for upper in [false, true] {
                let driver = &mut machine.driver;
                let tables = PageTables::stage1(grain, txsz, &mut driver.heap, &mut driver.ram);
                let set = if upper { cd::upper } else { cd::lower };
                let bottom = if upper { u64::MAX << bits } else { 0 };
                let top = bottom + ((1 << bits) - grain.bytes());
                for (va, pa) in [(bottom, 0x10_0000), (top, 0x20_0000)] {
                    tables.map(&mut driver.heap, &mut driver.ram, va, pa, grain.shift(), descriptor::S1_RW);
                }
                machine.set_cd(set(machine.cd, grain, u64::from(txsz), tables.root));
                machine.run(tlbi_nsnh_all());
                for va in [
                    bottom,
                    bottom + 5,
                    top,
                    top + 9,
                    bottom.wrapping_sub(1),
                    top.wrapping_add(grain.bytes()),
                ] {
                    let has = &machine.driver.has;
                    let expected =
                        outcome(walk(&machine.cd, has.oas, &machine.driver.ram, va, Access::READ).answer);
                    let ask = transaction(SID, None, va, Access::READ);
                    assert_eq!(machine.driver.walk(&ask), expected, "walk: {grain:?} TxSZ {txsz} {va:#x}");
                    assert_eq!(machine.read(va), expected, "device: {grain:?} TxSZ {txsz} {va:#x}");
                }
                assert_eq!(machine.read(top), Ok(0x20_0000), "{grain:?} TxSZ {txsz}");
                machine.driver.events();
            }
        }
    }
}

/// All permission bits against all accesses: device and oracle say the same.
#[test]
fn every_permission() {
    let mut machine = Machine::usual();
    machine.map(0x5000, 0x9000, 12);
    let leaf = machine.tables.find(&machine.driver.ram, 0x5000, 3);
    let table = machine.tables.find(&machine.driver.ram, 0x5000, 2);
    for bits in 0..1u64 << 11 {
        let bit = |position: u32| bits >> position & 1;
        let page = Record([leaf.descriptor])
            .with(descriptor::AP, bits & 3)
            .with(descriptor::UXN, bit(2))
            .with(descriptor::PXN, bit(3));
        let above = Record([table.descriptor])
            .with(descriptor::APTABLE, bits >> 4 & 3)
            .with(descriptor::UXNTABLE, bit(6))
            .with(descriptor::PXNTABLE, bit(7));
        machine.driver.ram.set_word(leaf.pa, page.0[0]);
        machine.driver.ram.set_word(table.pa, above.0[0]);
        machine.set_cd(machine.cd.with(cd::WXN, bit(8)).with(cd::PAN, bit(9)).with(cd::HAD0, bit(10)));
        machine.run(tlbi_nsnh_all());
        for (write, instruction) in [(false, false), (true, false), (false, true)] {
            for privileged in [false, true] {
                let access = Access { write, instruction, privileged };
                let expected = outcome(walk(&machine.cd, 52, &machine.driver.ram, 0x5000, access).answer);
                let found = machine.driver.access(SID, 0x5000, access);
                assert_eq!(
                    found, expected,
                    "{page:x?} under {above:x?}, CD {:x}, {access:?}",
                    machine.cd.0[0]
                );
            }
        }
    }
}

#[test]
fn each_had_rules_its_own_half() {
    for (had0, had1) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
        let mut machine = with_upper_half(25);
        let upper = upper_tables(&machine, 25);
        for (tables, va) in [(machine.tables.clone(), 0x5000), (upper, 0xffff_ffff_ffff_f000)] {
            let table = tables.find(&machine.driver.ram, va, 2);
            let read_only = Record([table.descriptor]).with(descriptor::APTABLE, 0b10);
            machine.driver.ram.set_word(table.pa, read_only.0[0]);
        }
        machine.set_cd(machine.cd.with(cd::HAD0, had0).with(cd::HAD1, had1));
        let written = |had, pa| if had == 1 { Ok(pa) } else { PERMISSION };
        assert_eq!(machine.write(0x5000), written(had0, 0x9000), "HAD0 {had0}, HAD1 {had1}");
        assert_eq!(machine.write(0xffff_ffff_ffff_f000), written(had1, 0xa000), "HAD0 {had0}, HAD1 {had1}");
    }
}

/// The tables of `with_upper_half`.
fn upper_tables(machine: &Machine, t1sz: u32) -> PageTables {
    let (bits, root) = (64 - t1sz, machine.cd.get(cd::TTB1) << 4);
    PageTables { bits, start: stage1_start(Grain::K4, bits), root, ..machine.tables.clone() }
}

#[test]
fn endi_rules_the_byte_order_of_both_halves() {
    let features = Features { ttendian: TtEndian::Mixed, ..Features::SMMUV3_2 };
    for endi in [0, 1] {
        let mut machine = Machine::new(features, STRICT, Grain::K4);
        machine.map(0x5000, 0x9000, 12);
        for level in 0..4 {
            // From the leaf up, so that the way down can still be found.
            let slot = machine.tables.find(&machine.driver.ram, 0x5000, 3 - level);
            let word = if endi == 1 { slot.descriptor.swap_bytes() } else { slot.descriptor };
            machine.driver.ram.set_word(slot.pa, word);
        }
        machine.set_cd(machine.cd.with(cd::ENDI, endi));
        assert_eq!(machine.read(0x5000), Ok(0x9000), "ENDI {endi}");
        machine.set_cd(machine.cd.with(cd::ENDI, 1 - endi));
        machine.run(tlbi_nsnh_all());
        assert!(machine.read(0x5000).is_err(), "ENDI {endi}: the other one");
    }
}

/// The usual machine in NS-EL2 (`STRW` = 10, `CR2.E2H` = 0), or in NS-EL2-E2H.
fn el2(e2h: u32) -> Machine {
    let mut machine = Machine::usual();
    let cr2 = value::RECINVSID | value::PTM | e2h;
    machine.driver.boot(Boot { cr2, ..Boot::USUAL });
    machine.set_ste(&ste::stage1(machine.context, 0).with(ste::STRW, 0b10));
    machine
}

/// tables.md §7, the column of one privilege: AP[1], APTable[0], PXN, PXNTable, PAN and PnU have no effect.
#[test]
fn there_is_one_privilege_at_el2() {
    type Attributes = descriptor::Attributes;
    type Row = (&'static str, Attributes, Attributes, u64, u64, [bool; 3]);
    let leaf = |ap, uxn, pxn| {
        let leaf = descriptor::S1_RW.with(descriptor::AP, ap);
        leaf.with(descriptor::UXN, uxn).with(descriptor::PXN, pxn)
    };
    let none = Attributes::ZERO;
    // What the leaf and its tables say, CD.WXN and CD.PAN; whether all can read, write and execute.
    let rows: [Row; 11] = [
        ("AP = 00", leaf(0b00, 0, 0), none, 0, 0, [true, true, true]),
        ("AP = 01", leaf(0b01, 0, 0), none, 0, 0, [true, true, true]),
        ("AP = 10", leaf(0b10, 0, 0), none, 0, 0, [true, false, true]),
        ("AP = 11", leaf(0b11, 0, 0), none, 0, 0, [true, false, true]),
        ("XN", leaf(0b00, 1, 0), none, 0, 0, [true, true, false]),
        ("PXN", leaf(0b00, 0, 1), none, 0, 0, [true, true, true]),
        ("APTable", leaf(0b00, 0, 0), none.with(descriptor::APTABLE, 0b11), 0, 0, [true, false, true]),
        ("APTable[0]", leaf(0b00, 0, 0), none.with(descriptor::APTABLE, 0b01), 0, 0, [true, true, true]),
        ("XNTable", leaf(0b00, 0, 0), none.with(descriptor::UXNTABLE, 1), 0, 0, [true, true, false]),
        ("PXNTable", leaf(0b00, 0, 0), none.with(descriptor::PXNTABLE, 1), 0, 0, [true, true, true]),
        ("WXN and PAN", leaf(0b01, 0, 0), none, 1, 1, [true, true, false]),
    ];
    for (name, leaf, table, wxn, pan, allowed) in rows {
        let mut machine = el2(0);
        machine.tables.table_attributes = table;
        machine.map_as(0x5000, 0x9000, 12, leaf);
        machine.set_cd(machine.cd.with(cd::WXN, wxn).with(cd::PAN, pan));
        for privileged in [false, true] {
            let kinds = [(false, false), (true, false), (false, true)];
            for ((write, instruction), allowed) in kinds.into_iter().zip(allowed) {
                let access = Access { write, instruction, privileged };
                let expected = if allowed { Ok(0x9000) } else { PERMISSION };
                assert_eq!(machine.driver.access(SID, 0x5000, access), expected, "{name}: {access:?}");
            }
        }
    }
}

/// tables.md §6, single-range regimes: all bits above the range are zero, and EPD0 does not count.
#[test]
fn there_is_one_range_at_el2() {
    for (e2h, upper) in [(0, TRANSLATION), (1, Ok(0xa000))] {
        let mut machine = el2(e2h);
        machine.map(0x5000, 0x9000, 12);
        let driver = &mut machine.driver;
        let other = PageTables::stage1(Grain::K4, 16, &mut driver.heap, &mut driver.ram);
        let last = 0xffff_ffff_ffff_f000;
        other.map(&mut driver.heap, &mut driver.ram, last, 0xa000, 12, descriptor::S1_RW);
        machine.set_cd(cd::upper(machine.cd, Grain::K4, 16, other.root));
        assert_eq!(machine.read(0x5000), Ok(0x9000), "E2H {e2h}");
        assert_eq!(machine.read(last), upper, "E2H {e2h}");
        machine.set_cd(machine.cd.with(cd::TBI0, 1));
        assert_eq!(machine.read(0x5a00_0000_0000_5000), Ok(0x9000), "E2H {e2h}: TBI0");
        assert_eq!(machine.read(0x5a80_0000_0000_5000), TRANSLATION, "E2H {e2h}: bit 55 is no tag");
        machine.set_cd(machine.cd.with(cd::EPD0, 1));
        machine.run(tlbi_el2_all());
        let without = if e2h == 0 { Ok(0x9000) } else { TRANSLATION };
        assert_eq!(machine.read(0x5000), without, "E2H {e2h}: EPD0");
    }
}

/// tables.md §8: HA = HD = 1, a leaf with AP[2] = 1 and DBM = 1.
#[test]
fn a_page_becomes_dirty_only_if_nothing_else_forbids_the_write() {
    let clean = descriptor::S1_RW.with(descriptor::AP, 0b11).with(descriptor::DBM, 1);
    let user = Access::WRITE;
    let kernel = Access { privileged: true, ..Access::WRITE };
    // HD, DBM, AP, APTable, PAN, who writes; whether it may.
    let rows = [
        ("writable-clean", 1, 1, 0b11, 0b00, 0, user, true),
        ("HD = 0", 0, 1, 0b11, 0b00, 0, user, false),
        ("DBM = 0", 1, 0, 0b11, 0b00, 0, user, false),
        ("APTable[1]", 1, 1, 0b11, 0b10, 0, user, false),
        ("APTable[0]", 1, 1, 0b11, 0b01, 0, user, false),
        ("APTable[0], privileged", 1, 1, 0b11, 0b01, 0, kernel, true),
        ("privileged pages are not the user's", 1, 1, 0b10, 0b00, 0, user, false),
        ("PAN", 1, 1, 0b11, 0b00, 1, kernel, false),
        ("PAN does not hide what APTable[0] takes from users", 1, 1, 0b11, 0b01, 1, kernel, true),
    ];
    for (name, hd, dbm, ap, aptable, pan, access, may) in rows {
        let mut machine = Machine::usual();
        machine.tables.table_attributes = machine.tables.table_attributes.with(descriptor::APTABLE, aptable);
        let leaf = clean.with(descriptor::DBM, dbm).with(descriptor::AP, ap);
        machine.map_as(0x5000, 0x9000, 12, leaf);
        machine.set_cd(machine.cd.with(cd::HA, 1).with(cd::HD, hd).with(cd::PAN, pan));
        let before = machine.tables.find(&machine.driver.ram, 0x5000, 3).descriptor;
        let expected = if may { Ok(0x9000) } else { PERMISSION };
        assert_eq!(machine.driver.access(SID, 0x5000, access), expected, "{name}");
        let after = machine.tables.find(&machine.driver.ram, 0x5000, 3).descriptor;
        assert_eq!(before ^ after, if may { 1 << 7 } else { 0 }, "{name}: AP[2]");
    }
}

/// tables.md §8: for execution a writable-clean page counts as writable, and a fetch does not make it dirty.
#[test]
fn a_writable_clean_page_is_not_executed_under_wxn() {
    let page = descriptor::S1_RW.with(descriptor::AP, 0b11).with(descriptor::UXN, 0).with(descriptor::PXN, 0);
    let fetch = |privileged| Access { write: false, instruction: true, privileged };
    for (dbm, wxn, user, kernel) in
        [(0, 0, true, true), (0, 1, true, true), (1, 0, true, false), (1, 1, false, false)]
    {
        let mut machine = Machine::usual();
        machine.map_as(0x5000, 0x9000, 12, page.with(descriptor::DBM, dbm));
        machine.set_cd(machine.cd.with(cd::HA, 1).with(cd::HD, 1).with(cd::WXN, wxn));
        let before = machine.tables.find(&machine.driver.ram, 0x5000, 3).descriptor;
        for (privileged, allowed) in [(false, user), (true, kernel)] {
            let expected = if allowed { Ok(0x9000) } else { PERMISSION };
            let found = machine.driver.access(SID, 0x5000, fetch(privileged));
            assert_eq!(found, expected, "DBM {dbm}, WXN {wxn}, privileged: {privileged}");
        }
        assert_eq!(machine.tables.find(&machine.driver.ram, 0x5000, 3).descriptor, before);
    }
}

/// tables.md §8: AF = 0 and HA = 1, whatever AFFD says.
#[test]
fn the_access_flag_is_set_by_hardware() {
    for affd in [0, 1] {
        let mut machine = Machine::usual();
        machine.map_as(0x5000, 0x9000, 12, descriptor::S1_RW.with(descriptor::AF, 0));
        machine.set_cd(machine.cd.with(cd::HA, 1).with(cd::AFFD, affd));
        assert_eq!(machine.read(0x5000), Ok(0x9000));
        let after = machine.tables.find(&machine.driver.ram, 0x5000, 3).descriptor;
        assert_eq!(Record([after]).get(descriptor::AF), 1, "AFFD {affd}");
    }
}

/// An instruction read needs the right to execute alone.
#[test]
fn what_may_be_executed_need_not_be_readable() {
    // AP = 00: nothing for users but UXN = 0.
    let mut machine = Machine::usual();
    let leaf = descriptor::S1_RW.with(descriptor::AP, 0b00).with(descriptor::UXN, 0);
    machine.map_as(0x5000, 0x9000, 12, leaf);
    let fetch = Access { instruction: true, ..Access::READ };
    assert_eq!(machine.driver.access(SID, 0x5000, fetch), Ok(0x9000));
    assert_eq!(machine.read(0x5000), PERMISSION);
}

/// tables.md §2: PRIVCFG and INSTCFG, and PnU (bit 97), InD (bit 98) and RnW (bit 99) of the record after them.
#[test]
fn overrides_come_before_permissions_and_records() {
    let kernel_fetch = Access { write: false, instruction: true, privileged: true };
    let rows = [
        ("incoming", 0, 0, kernel_fetch, 0x0000_020e_0000_0000),
        ("reserved is incoming", 1, 1, kernel_fetch, 0x0000_020e_0000_0000),
        ("data", 0, 2, kernel_fetch, 0x0000_020a_0000_0000),
        ("unprivileged", 2, 0, kernel_fetch, 0x0000_020c_0000_0000),
        ("privileged instruction", 3, 3, Access::READ, 0x0000_020e_0000_0000),
        ("a write is data", 3, 3, Access::WRITE, 0x0000_0202_0000_0000),
    ];
    for (name, privcfg, instcfg, access, flags) in rows {
        let mut machine = Machine::usual();
        let ste = ste::stage1(machine.context, VMID);
        machine.set_ste(&ste.with(ste::PRIVCFG, privcfg).with(ste::INSTCFG, instcfg));
        assert_eq!(machine.driver.access(SID, 0x5678, access), TRANSLATION, "{name}");
        assert_eq!(machine.driver.events(), [[0x0000_0007_0000_0010, flags, 0x5678, 0]], "{name}");
    }
}

/// events.md §5, step 15: stage 1 bypassed by S1DSS = 01.
#[test]
fn a_bypass_of_stage_1_ends_at_ias() {
    let features = Features { oas_bits: 40, vax52: false, ..Features::SMMUV3_2 };
    let mut machine = Machine::new(features, STRICT, Grain::K4);
    machine.set_ste(&ste::stage1(machine.context, VMID).with(ste::S1CDMAX, 1).with(ste::S1DSS, 0b01));
    assert_eq!(machine.read(0xff_ffff_ffff), Ok(0xff_ffff_ffff));
    assert_eq!(machine.read(0x100_0000_0000), ADDR_SIZE);
    let record = [0x0000_0007_0000_0011, 0x0000_0208_0000_0000, 0x100_0000_0000, 0];
    assert_eq!(machine.driver.events(), [record]);
}

/// registers.md §4: SMMUEN 0 → 1 makes a change of CR2 take effect, here without CFGI; the effective StreamWorld is E2H's.
#[test]
fn e2h_rules_streams_that_are_already_cached() {
    let mut machine = el2(0);
    let driver = &mut machine.driver;
    let other = PageTables::stage1(Grain::K4, 16, &mut driver.heap, &mut driver.ram);
    let last = 0xffff_ffff_ffff_f000;
    other.map(&mut driver.heap, &mut driver.ram, last, 0xa000, 12, descriptor::S1_RW);
    machine.set_cd(cd::upper(machine.cd, Grain::K4, 16, other.root));
    for (e2h, expected) in [(0, TRANSLATION), (1, Ok(0xa000)), (0, TRANSLATION)] {
        machine.driver.write_cr0(value::CMDQEN | value::EVENTQEN);
        machine.driver.write32(register::CR2, e2h);
        machine.driver.write_cr0(value::CMDQEN | value::EVENTQEN | value::SMMUEN);
        assert_eq!(machine.read(last), expected, "E2H {e2h}");
    }
}

/// tables.md §7, E0PD: the half faults for unprivileged accesses, whether or not a privileged one has been there before.
#[test]
fn e0pd_is_obeyed_on_a_hit() {
    let mut machine = Machine::new(Features::SMMUV3_3, STRICT, Grain::K4);
    machine.map(0x5000, 0x9000, 12);
    let cd = machine.cd.with(smmuv3_tests::bits::bit(1, 2), 1); // E0PD0
    machine.set_cd(cd);
    let privileged = Access { privileged: true, ..Access::READ };
    for _ in 0..2 {
        assert_eq!(machine.driver.access(SID, 0x5000, privileged), Ok(0x9000));
        assert_eq!(machine.read(0x5000), Err(Some("F_TRANSLATION")));
        machine.driver.events();
    }
}
