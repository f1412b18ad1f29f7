//! Stage 2 alone (§3.4, §5.2, DDI 0487 §D8): start levels, concatenated tables, ranges, permissions.

#![allow(clippy::panic, clippy::indexing_slicing, reason = "a failed test panics")]

use smmuv3::Features;
use smmuv3_tests::bits::{Record, Words};
use smmuv3_tests::commands::tlbi_s12_vmall;
use smmuv3_tests::driver::{Driver, Outcome};
use smmuv3_tests::machine::{SID, STRICT, VMID};
use smmuv3_tests::machine_nested::NestedMachine;
use smmuv3_tests::oracle::Access;
use smmuv3_tests::tables::{Grain, PageTables, descriptor, ste};

const TRANSLATION: Outcome = Err(Some("F_TRANSLATION"));
const ADDR_SIZE: Outcome = Err(Some("F_ADDR_SIZE"));
const PERMISSION: Outcome = Err(Some("F_PERMISSION"));
const BAD_STE: Outcome = Err(Some("C_BAD_STE"));
const V3_2: Features = Features::SMMUV3_2;

/// A booted device and one stream of stage 2 alone.
fn alone(features: Features, tables: &PageTables, mut driver: Driver<256>, ps: u64) -> Driver<256> {
    assert_eq!(driver.smmu.features(), &features);
    driver.install_ste(SID, &ste::with_stage2(ste::of(ste::STAGE_2), VMID, tables, ps));
    driver
}

/// Granule, start level, and the bits that need 2, 4, 8 and 16 concatenated tables there.
const CONCATENATED: [(Grain, u32, [u32; 4]); 7] = [
    (Grain::K4, 2, [31, 32, 33, 34]),
    (Grain::K4, 1, [40, 41, 42, 43]),
    (Grain::K16, 3, [26, 27, 28, 29]),
    (Grain::K16, 2, [37, 38, 39, 40]),
    (Grain::K16, 1, [48, 48, 48, 48]),
    (Grain::K64, 3, [30, 31, 32, 33]),
    (Grain::K64, 2, [43, 44, 45, 46]),
];

#[test]
fn e19_every_concatenated_table_is_read() {
    for (grain, start, sizes) in CONCATENATED {
        for (bits, log2_tables) in sizes.into_iter().zip(1..) {
            let log2_tables = if bits == 48 { 1 } else { log2_tables };
            let mut driver = Driver::booted(V3_2, STRICT, 32);
            let Driver { heap, ram, .. } = &mut driver;
            let tables = PageTables::from_level(grain, bits, start, heap, ram);
            assert_eq!(tables.root % (grain.bytes() << log2_tables), 0);
            for table in 0..1u64 << log2_tables {
                // The last page under each of the tables.
                let ipa = ((table + 1) << (bits - log2_tables)) - grain.bytes();
                let pa = (table + 1) << 20;
                tables.map(heap, ram, ipa, pa, grain.shift(), descriptor::S2_RW);
            }
            let mut driver = alone(V3_2, &tables, driver, 5);
            for table in 0..1u64 << log2_tables {
                let last = ((table + 1) << (bits - log2_tables)) - 1;
                let expected = Ok(((table + 1) << 20) + grain.bytes() - 1);
                let name = format!("{grain:?} start {start}, {bits} bits, table {table}");
                assert_eq!(driver.access(SID, last, Access::READ), expected, "{name}");
                assert_eq!(driver.access(SID, last, Access::READ), expected, "{name}, again");
            }
            assert_eq!(driver.access(SID, 1 << bits, Access::READ), TRANSLATION, "{grain:?} {bits} bits");
        }
    }
}

#[test]
fn concatenated_tables_are_aligned_to_all_of_them() {
    let mut driver = Driver::<256>::booted(V3_2, STRICT, 32);
    let Driver { heap, ram, .. } = &mut driver;
    let tables = PageTables::from_level(Grain::K4, 43, 1, heap, ram);
    tables.map(heap, ram, 0x5000, 0x9000, 12, descriptor::S2_RW);
    let ste = ste::with_stage2(ste::of(ste::STAGE_2), VMID, &tables, 5);
    // 16 tables of 4 KiB: bits 15 to 0 of S2TTB are taken as 0.
    for low in [0x10, 0x1000, 0x8000, 0xfff0] {
        driver.install_ste(SID, &ste.with(ste::S2TTB, (tables.root | low) >> 4));
        driver.run(&[tlbi_s12_vmall(VMID)]);
        assert_eq!(driver.access(SID, 0x5000, Access::READ), Ok(0x9000), "S2TTB[15:4] = {low:#x}");
    }
}

/// tables.md §6: levels, and how many bits each may translate; with small tables and without. OAS = 52.
#[test]
fn start_levels_and_their_sizes() {
    // Granule, S2SL0, fewest and most bits; (1, 0) where there is no such level. T0SZ at most 39, or 48, or 47 with 64 KiB.
    let rows: [(Grain, u64, bool, (u64, u64)); 19] = [
        (Grain::K4, 0b00, false, (25, 34)),
        (Grain::K4, 0b00, true, (22, 34)),
        (Grain::K4, 0b01, true, (31, 43)),
        (Grain::K4, 0b10, true, (40, 48)),
        (Grain::K4, 0b11, false, (1, 0)),
        (Grain::K4, 0b11, true, (16, 25)),
        (Grain::K16, 0b00, false, (25, 29)),
        (Grain::K16, 0b00, true, (16, 29)),
        (Grain::K16, 0b01, true, (26, 40)),
        (Grain::K16, 0b10, true, (37, 48)),
        (Grain::K16, 0b11, false, (1, 0)),
        (Grain::K16, 0b11, true, (1, 0)),
        (Grain::K64, 0b00, false, (25, 33)),
        (Grain::K64, 0b00, true, (17, 33)),
        (Grain::K64, 0b01, true, (30, 46)),
        (Grain::K64, 0b10, true, (43, 52)),
        (Grain::K64, 0b10, false, (43, 52)),
        (Grain::K64, 0b11, false, (1, 0)),
        (Grain::K64, 0b11, true, (1, 0)),
    ];
    for (grain, sl0, stt, (fewest, most)) in rows {
        let features = Features { stt, ..V3_2 };
        let mut driver = Driver::<256>::booted(features, STRICT, 4);
        let ste = ste::of(ste::STAGE_2).with(ste::S2TG, grain.tg0()).with(ste::S2SL0, sl0);
        let ste =
            ste.with(ste::S2AA64, 1).with(ste::S2PS, 5).with(ste::S2R, 1).with(ste::S2TTB, 0x8030_0000 >> 4);
        for t0sz in 0..64 {
            let bits = 64 - t0sz;
            driver.install_ste(SID, &ste.with(ste::S2T0SZ, t0sz));
            let found = driver.access(SID, 0, Access::READ);
            let expected = if (fewest..=most).contains(&bits) { TRANSLATION } else { BAD_STE };
            assert_eq!(found, expected, "{grain:?} S2SL0 {sl0:02b} STT {stt}, {bits} bits");
            driver.events();
        }
    }
}

#[test]
fn s2tg_11_is_illegal_and_unsupported_granules_too() {
    let machine = NestedMachine::usual().stage2_alone();
    let with = |features: Features, s2tg: u64| {
        let mut driver = Driver::<256>::booted(features, STRICT, 4);
        driver.install_ste(SID, &machine.ste.with(ste::S2TG, s2tg).with(ste::S2TTB, 0x8030_0000 >> 4));
        driver.access(SID, 0, Access::READ)
    };
    assert_eq!(with(V3_2, 0b11), BAD_STE);
    assert_eq!(with(V3_2, 0b00), TRANSLATION);
    assert_eq!(with(Features { gran4k: false, ..V3_2 }, 0b00), BAD_STE);
}

#[test]
fn the_input_range_ends_with_s2t0sz() {
    let mut machine = NestedMachine::usual().stage2_alone();
    machine.map2((1 << 40) - 0x1000, 0x9000, 12);
    assert_eq!(machine.read((1 << 40) - 1), Ok(0x9fff));
    assert_eq!(machine.read(1 << 40), TRANSLATION, "above S2T0SZ");
    assert_eq!(machine.record(1 << 40, Access::READ), [0x7_0000_0010, 0x288_0000_0000, 1 << 40, 1 << 40]);
    // Above IAS: no stage is to blame, and S2R does not matter.
    machine.set_ste(machine.ste.with(ste::S2R, 0));
    assert_eq!(machine.record(1 << 52, Access::READ), [0x7_0000_0011, 0x208_0000_0000, 1 << 52, 0]);
}

#[test]
fn s2ps_limits_tables_and_leaves() {
    for (ps, bits) in [(0, 32), (1, 36), (2, 40), (3, 42), (4, 44), (5, 48)] {
        let mut machine = NestedMachine::usual().stage2_alone();
        machine.set_ste(machine.ste.with(ste::S2PS, ps));
        machine.map2(0x5000, (1 << bits) - 0x1000, 12);
        assert_eq!(machine.read(0x5000), Ok((1 << bits) - 0x1000), "S2PS {ps}");
        if bits == 48 {
            continue; // nothing in a descriptor of 4 KiB is above
        }
        machine.map2(0x6000, 1 << bits, 12);
        assert_eq!(machine.read(0x6000), ADDR_SIZE, "S2PS {ps}, page");
        machine.map2(1 << 30, 1 << bits, 30);
        assert_eq!(machine.read(1 << 30), ADDR_SIZE, "S2PS {ps}, block");
        let slot = machine.slot2(2 << 30, 1);
        machine.driver.ram.set_word(slot.pa, 1 << bits | 0b11);
        assert_eq!(machine.read(2 << 30), ADDR_SIZE, "S2PS {ps}, table");
    }
}

#[test]
fn s2ttb_above_s2ps_is_illegal() {
    let mut machine = NestedMachine::usual().stage2_alone();
    machine.set_ste(machine.ste.with(ste::S2PS, 0).with(ste::S2TTB, 1 << (32 - 4)));
    assert_eq!(machine.read(0x5000), BAD_STE);
    machine.set_ste(machine.ste.with(ste::S2PS, 6).with(ste::S2TTB, 1 << (48 - 4)));
    assert_eq!(machine.read(0x5000), BAD_STE, "4 KiB: 48 bits");
}

/// 64 KiB, OAS = 52: [51:48] of every address is in [15:12], and a level 1 block has 4 TiB.
#[test]
fn addresses_of_52_bits() {
    let mut driver = Driver::<256>::booted(V3_2, STRICT, 32);
    let Driver { heap, ram, .. } = &mut driver;
    let tables = PageTables::from_level(Grain::K64, 52, 1, heap, ram);
    tables.map(heap, ram, 0x5_0000, 0xa_1234_5678_0000, 16, descriptor::S2_RW);
    tables.map(heap, ram, 0x2000_0000, 0xb_0000_2000_0000, 29, descriptor::S2_RW);
    let block = tables.slot(heap, ram, 0x3_0400_0000_0000, 1);
    ram.set_word(block.pa, 0x0400_0000_c7fd); // type 01, RW, AF; 42 bits of offset, [51:48] = 0xc
    let mut driver = alone(V3_2, &tables, driver, 6);
    let read = |driver: &mut Driver<256>, ipa| driver.access(SID, ipa, Access::READ);
    assert_eq!(read(&mut driver, 0x5_0123), Ok(0xa_1234_5678_0123));
    assert_eq!(read(&mut driver, 0x2abc_def0), Ok(0xb_0000_2abc_def0));
    assert_eq!(read(&mut driver, 0x3_07ff_ffff_ffff), Ok(0xc_07ff_ffff_ffff));
    // A smaller S2PS: the bits are checked, not ignored.
    let ste = ste::with_stage2(ste::of(ste::STAGE_2), VMID, &tables, 5);
    driver.install_ste(SID, &ste);
    driver.run(&[tlbi_s12_vmall(VMID)]);
    for ipa in [0x5_0123, 0x2abc_def0, 0x3_07ff_ffff_ffff] {
        assert_eq!(read(&mut driver, ipa), ADDR_SIZE, "{ipa:#x}");
    }
}

#[test]
fn s2ap_and_s2affd() {
    let rows = [(0b00, PERMISSION, PERMISSION), (0b01, Ok(0x9000), PERMISSION)];
    let more = [(0b10, PERMISSION, Ok(0x9000)), (0b11, Ok(0x9000), Ok(0x9000))];
    for (s2ap, read, write) in rows.into_iter().chain(more) {
        for affd in [0, 1] {
            let mut machine = NestedMachine::usual().stage2_alone();
            machine.set_ste(machine.ste.with(ste::S2AFFD, affd));
            machine.map2_as(0x5000, 0x9000, 12, descriptor::S2_RW.with(descriptor::S2AP, s2ap));
            assert_eq!(machine.write(0x5000), write, "S2AP {s2ap:02b}");
            assert_eq!(machine.read(0x5000), read, "S2AP {s2ap:02b}");
            machine.map2_as(
                0x5000,
                0x9000,
                12,
                descriptor::S2_RW.with(descriptor::S2AP, s2ap).with(descriptor::AF, 0),
            );
            machine.run(tlbi_s12_vmall(VMID));
            let access = Err(Some("F_ACCESS"));
            assert_eq!(machine.read(0x5000), if affd == 1 { read } else { access }, "AF = 0, S2AFFD {affd}");
        }
    }
}

/// tables.md §7: XN[1:0] with XNX and without; rows are unprivileged, columns privileged execution.
#[test]
fn xn_with_and_without_xnx() {
    let without = Features {
        xnx: false,
        had: false,
        fwb: false,
        vax52: false,
        ril: false,
        bbml: 0,
        stt: false,
        ..Features::SMMUV3_0
    };
    for (features, rows) in [
        (V3_2, [(0b00, true, true), (0b01, true, false), (0b10, false, false), (0b11, false, true)]),
        (without, [(0b00, true, true), (0b01, true, true), (0b10, false, false), (0b11, false, false)]),
    ] {
        for (xn, unprivileged, privileged) in rows {
            for s2ap in [0b00, 0b11] {
                let mut machine =
                    NestedMachine::new(features, STRICT, Grain::K4, (Grain::K4, 1, 40)).stage2_alone();
                let leaf = descriptor::S2_RW.with(descriptor::S2XN, xn).with(descriptor::S2AP, s2ap);
                machine.map2_as(0x5000, 0x9000, 12, leaf);
                for (is_privileged, allowed) in [(false, unprivileged), (true, privileged)] {
                    let fetch = Access { write: false, instruction: true, privileged: is_privileged };
                    let expected = if allowed { Ok(0x9000) } else { PERMISSION };
                    let found = machine.driver.access(SID, 0x5000, fetch);
                    assert_eq!(
                        found, expected,
                        "XNX {} XN {xn:02b} S2AP {s2ap:02b} PnU {is_privileged}",
                        features.xnx
                    );
                    // What execution says is nothing to data.
                    let data = Access { instruction: false, ..fetch };
                    let expected = if s2ap == 0 { PERMISSION } else { Ok(0x9000) };
                    assert_eq!(machine.driver.access(SID, 0x5000, data), expected, "XN {xn:02b}, data");
                }
            }
        }
    }
}

#[test]
fn blocks_pages_and_runs_of_every_granule() {
    for (grain, start, bits) in [(Grain::K4, 0, 48), (Grain::K16, 1, 48), (Grain::K64, 1, 48)] {
        let mut driver = Driver::<256>::booted(V3_2, STRICT, 64);
        let Driver { heap, ram, .. } = &mut driver;
        let tables = PageTables::from_level(grain, bits, start, heap, ram);
        let mut places = Vec::new();
        for level in (start..4).filter(|&level| grain.leaf_allowed(level)) {
            let shift = grain.level_shift(level);
            for log2 in [shift, shift + grain.contiguous(level).trailing_zeros()] {
                let ipa = (places.len() as u64 + 1) << 37;
                tables.map(heap, ram, ipa, 5 << 37, log2, descriptor::S2_RW);
                places.push((ipa, log2));
            }
        }
        let mut driver = alone(V3_2, &tables, driver, 5);
        for (ipa, log2) in places {
            for offset in [0, (1 << log2) / 2, (1 << log2) - 1] {
                assert_eq!(
                    driver.access(SID, ipa + offset, Access::READ),
                    Ok((5 << 37) + offset),
                    "{grain:?} 2^{log2}"
                );
            }
            assert_eq!(
                driver.access(SID, ipa + (1 << log2), Access::READ),
                TRANSLATION,
                "{grain:?} 2^{log2}"
            );
        }
    }
}

#[test]
fn bits_that_stage_2_has_no_use_for_are_ignored() {
    let mut machine = NestedMachine::usual().stage2_alone();
    let ignored = Record([0x7f80_0000_0000_0800]); // [62:55], [11]
    machine.map2_as(0x5000, 0x9000, 12, Record([descriptor::S2_RW.0[0] | ignored.0[0]]));
    assert_eq!(machine.read(0x5000), Ok(0x9000));
    let slot = machine.slot2(0x5000, 2);
    // Of a table descriptor all but the address; stage 2 has no APTable, UXNTable or PXNTable.
    machine.driver.ram.set_word(slot.pa, slot.descriptor | 0xfff0_0000_0000_0ffc);
    machine.run(tlbi_s12_vmall(VMID));
    assert_eq!(machine.write(0x5000), Ok(0x9000));
}
