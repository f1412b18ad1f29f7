//! Stage 1 walks (§3.4, DDI 0487 §D8): ranges, levels, checks and their order. All of them hand-made, against one device.

#![allow(clippy::panic, clippy::indexing_slicing, reason = "a failed test panics")]

use smmuv3::{Features, Settings};
use smmuv3_tests::bits::{Record, Words};
use smmuv3_tests::driver::{Outcome, outcome, transaction};
use smmuv3_tests::machine::{Machine, SID, STRICT};
use smmuv3_tests::oracle::{Access, walk};
use smmuv3_tests::tables::{Grain, PageTables, cd, descriptor};

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
    machine.run(smmuv3_tests::commands::tlbi_nsnh_all());
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
    machine.run(smmuv3_tests::commands::tlbi_nsnh_all());
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
                machine.run(smmuv3_tests::commands::tlbi_nsnh_all());
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
        machine.run(smmuv3_tests::commands::tlbi_nsnh_all());
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
