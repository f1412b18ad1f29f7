//! Invalidation by range (§4.4.1): NUM, SCALE, TG and TTL, and the ways in which others got them wrong.

#![allow(clippy::panic, reason = "a failed test panics")]

use smmuv3::{Features, Settings};
use smmuv3_tests::commands::{Hint, Leaf, linux_range_invalidation, tlbi_nh_va, tlbi_nh_vaa};
use smmuv3_tests::driver::{Stopped, value};
use smmuv3_tests::machine::{ASID, Machine, STRICT, VMID, nh_va, nh_vaa};
use smmuv3_tests::tables::Grain;

const GIB: u64 = 1 << 30;

const fn range(num: u64, scale: u64, ttl: u64) -> Hint {
    Hint { num, scale, ttl, tg: 1 }
}

#[test]
fn r1_range_too_small_for_scale_31() {
    for (scale, page) in
        [(20, 3 * GIB), (31, 5 * GIB), (31, (1 << 43) - 0x1000), (35, 1 << 46), (63, (1 << 48) - 0x1000)]
    {
        let mut machine = Machine::usual();
        machine.cache_and_unmap(&[0, page], 12);
        machine.run(nh_va(0, range(0, scale, 0)));
        assert!(!machine.is_cached(0), "SCALE {scale}: the first page");
        assert!(!machine.is_cached(page), "SCALE {scale}: {page:#x}");
    }
}

#[test]
fn r2_tg_is_an_encoded_granule() {
    for grain in Grain::ALL {
        let mut machine = Machine::new(Features::SMMUV3_2, STRICT, grain);
        let pages: Vec<_> = (0..4).map(|page| page << grain.shift()).collect();
        machine.cache_and_unmap(&pages, grain.shift());
        machine.run(nh_va(0, Hint { num: 2, scale: 0, ttl: 0, tg: grain.tlbi_tg() }));
        let left: Vec<_> = pages.iter().map(|&page| machine.is_cached(page)).collect();
        assert_eq!(left, [false, false, false, true], "three pages of {grain:?}");
    }
}

#[test]
fn r3_vaa_with_ttl_removes_every_asid() {
    let mut machine = Machine::usual();
    machine.cache_and_unmap(&[0x5000], 12);
    machine.run(nh_vaa(0x5000, range(0, 0, 3)));
    assert!(!machine.is_cached(0x5000));
}

#[test]
fn r4_a_block_goes_by_any_of_its_pages() {
    for command in [
        nh_va(0x40_3000, range(0, 1, 0)),
        nh_va(0x40_3000, Hint::NONE),
        nh_vaa(0x40_3000, range(4, 0, 0)),
        nh_va(0x3f_f000, range(1, 0, 0)),
    ] {
        let mut machine = Machine::usual();
        machine.cache_and_unmap(&[0x40_0000], 21);
        machine.run(command);
        assert!(!machine.is_cached(0x5f_f000), "{command:x?}");
    }
}

#[test]
fn r5_three_five_and_seven_pages() {
    for count in [3, 5, 7, 11, 13, 31] {
        let mut machine = Machine::usual();
        let pages: Vec<u64> = (0..count + 2).map(|page| 0x1_0000 + (page << 12)).collect();
        machine.cache_and_unmap(&pages, 12);
        machine.run(nh_va(0x1_1000, range(count - 1, 0, 3)));
        for (index, &page) in (0..).zip(&pages) {
            assert_eq!(machine.is_cached(page), index == 0 || index > count, "{count} pages: page {index}");
        }
    }
}

#[test]
fn r6_a_start_that_is_not_aligned_to_the_length() {
    let mut machine = Machine::usual();
    let pages: Vec<u64> = (0..33).map(|page| 0xff39_5000 + (page << 12)).collect();
    machine.cache_and_unmap(&pages, 12);
    machine.run(nh_va(0xff39_5000, range(0, 5, 3)));
    for (index, &page) in pages.iter().enumerate() {
        assert_eq!(machine.is_cached(page), index == 32, "page {index}");
    }
}

#[test]
fn r6_every_chunk_that_linux_sends() {
    for pages in [1, 2, 3, 31, 32, 33, 63, 100, 150] {
        for ttl in [0, 3] {
            let mut machine = Machine::usual();
            let first = 0x7_ffff_d000;
            let vas: Vec<u64> = (0..pages).map(|page| first + (page << 12)).collect();
            machine.cache_and_unmap(&vas, 12);
            let template = tlbi_nh_va(VMID, ASID, 0, Leaf::Only, Hint::NONE);
            machine.driver.run(&linux_range_invalidation(template, first, pages, Grain::K4, ttl, Leaf::Only));
            assert!(vas.iter().all(|&va| !machine.is_cached(va)), "{pages} pages, TTL {ttl}");
        }
    }
}

#[test]
fn r9_a_wide_unaligned_range_is_exact_at_both_ends() {
    let mut machine = Machine::usual();
    let (first, bytes) = (0x12_3456_7000, 31u64 << 24 << 12);
    let pages = [first - 0x1000, first, first + bytes / 2, first + bytes - 0x1000, first + bytes];
    machine.cache_and_unmap(&pages, 12);
    machine.run(nh_va(first, range(30, 24, 0)));
    assert_eq!(pages.map(|page| machine.is_cached(page)), [true, false, false, false, true]);
}

#[test]
fn r10_a_granule_without_range_and_level_is_illegal() {
    for tg in 0..4 {
        for ttl in 0..4 {
            for (num, scale) in [(0, 0), (1, 0), (0, 1), (0, 32)] {
                for leaf in [Leaf::AndTables, Leaf::Only] {
                    let reserved = tg == 2 && ttl == 1; // 16 KiB has no level 1 leaf: the hint counts as 0
                    let illegal = tg != 0 && num == 0 && scale == 0 && (ttl == 0 || reserved);
                    let hint = Hint { num, scale, ttl, tg };
                    for command in [tlbi_nh_va(VMID, ASID, 0, leaf, hint), tlbi_nh_vaa(VMID, 0, leaf, hint)] {
                        let mut machine = Machine::usual();
                        let index = machine.driver.prod();
                        let expected = Stopped { code: value::CERROR_ILL, index };
                        let found = machine.driver.submit(&[command]);
                        assert_eq!(found, if illegal { Err(expected) } else { Ok(()) }, "{hint:?} {leaf:?}");
                    }
                }
            }
        }
    }
}

#[test]
fn r10_an_illegal_command_has_no_effect() {
    let mut machine = Machine::usual();
    machine.cache_and_unmap(&[0x5000], 12);
    assert!(machine.driver.submit(&[nh_va(0x5000, range(0, 0, 0))]).is_err());
    machine.driver.recover().unwrap_or_else(|stopped| panic!("{stopped:?}"));
    assert!(machine.is_cached(0x5000));
}

#[test]
fn without_ril_the_hints_are_ignored() {
    let mut machine = Machine::new(Features::MINIMAL, STRICT, Grain::K4);
    machine.cache_and_unmap(&[0x5000, 0x6000], 12);
    machine.run(nh_va(0x5000, range(1, 0, 0)));
    machine.run(nh_va(0x5000, range(0, 0, 0)));
    assert!(!machine.is_cached(0x5000));
    assert!(machine.is_cached(0x6000));
}

#[test]
fn ranges_stop_at_the_top_of_the_address_space() {
    use smmuv3_tests::tables::{PageTables, cd, descriptor};
    let mut machine = Machine::usual();
    let driver = &mut machine.driver;
    let upper = PageTables::stage1(Grain::K4, 16, &mut driver.heap, &mut driver.ram);
    let last = 0xffff_ffff_ffff_f000;
    upper.map(&mut driver.heap, &mut driver.ram, last, 0x1000, 12, descriptor::S1_RW);
    machine.set_cd(cd::upper(machine.cd, Grain::K4, 16, upper.root));
    assert_eq!(machine.read(last), Ok(0x1000));
    machine.cache_and_unmap(&[0], 12);
    upper.unmap(&mut machine.driver.ram, last);
    machine.run(nh_va(last, range(31, 63, 0)));
    assert_eq!(machine.read(last), Err(Some("F_TRANSLATION")));
    machine.driver.events();
    assert!(machine.is_cached(0), "the range does not wrap");
}

#[test]
fn strict_ranges_stay_in_their_half() {
    use smmuv3_tests::tables::{PageTables, cd, descriptor};
    let mut machine = Machine::usual();
    let driver = &mut machine.driver;
    let upper = PageTables::stage1(Grain::K4, 16, &mut driver.heap, &mut driver.ram);
    let last = 0xffff_ffff_ffff_f000;
    upper.map(&mut driver.heap, &mut driver.ram, last, 0x1000, 12, descriptor::S1_RW);
    machine.set_cd(cd::upper(machine.cd, Grain::K4, 16, upper.root));
    assert_eq!(machine.read(last), Ok(0x1000));
    upper.unmap(&mut machine.driver.ram, last);
    machine.run(nh_va(0, range(31, 63, 0)));
    assert_eq!(machine.read(last), Ok(0x1000));
}

/// The table "What must be removed" of commands.md §4, for leaves.
#[test]
fn ttl_narrows_to_one_level() {
    for (level, log2) in [(1, 30), (2, 21), (3, 12)] {
        for ttl in 0..4 {
            let mut machine = Machine::usual();
            machine.cache_and_unmap(&[0], log2);
            machine.run(nh_va(0, range(0, 1, ttl)));
            assert_eq!(machine.is_cached(0), ttl != 0 && ttl != level, "level {level}, TTL {ttl}");
        }
    }
}

#[test]
fn tg_narrows_to_one_granule() {
    for grain in Grain::ALL {
        for tg in 0..4 {
            let mut machine = Machine::new(Features::SMMUV3_2, STRICT, grain);
            machine.cache_and_unmap(&[0], grain.shift());
            machine.run(nh_va(0, Hint { num: 1, scale: 4, ttl: 0, tg }));
            assert_eq!(machine.is_cached(0), tg != 0 && tg != grain.tlbi_tg(), "{grain:?}, TG {tg}");
        }
    }
}

/// The same, for a device that is free to drop more: what must be gone is gone.
#[test]
fn natural_devices_drop_at_least_as_much() {
    for grain in Grain::ALL {
        for (sets, ways) in [(1, 1), (4, 4), (64, 4)] {
            let mut machine = Machine::new(Features::SMMUV3_2, Settings::new(sets, ways), grain);
            let pages: Vec<_> = (0..40).map(|page| page << grain.shift()).collect();
            machine.cache_and_unmap(&pages, grain.shift());
            machine.run(nh_va(pages[3], Hint { num: 20, scale: 0, ttl: 3, tg: grain.tlbi_tg() }));
            for &page in &pages[3..24] {
                assert!(!machine.is_cached(page), "{grain:?} {sets}x{ways}: {page:#x}");
            }
        }
    }
}

/// commands.md §4: an Address that is not aligned as its TTL asks makes the range UNPREDICTABLE. A device that is free to drop
/// more then rounds the range outwards, and takes no level from the hint.
#[test]
fn natural_devices_drop_around_a_misaligned_address() {
    for (va, hint) in [
        (0x20_5000, Hint { num: 0, scale: 0, ttl: 2, tg: 1 }),
        (0x20_5000, Hint { num: 0, scale: 9, ttl: 2, tg: 1 }),
        (0x20_5000, Hint { num: 0, scale: 0, ttl: 1, tg: 1 }),
    ] {
        let mut machine = Machine::new(Features::SMMUV3_2, Settings::new(64, 4), Grain::K4);
        let pages = [0x20_0000, 0x20_5000, 0x20_6000, 0x3f_f000];
        machine.cache_and_unmap(&pages, 12);
        machine.run(nh_va(va, hint));
        assert_eq!(pages.map(|page| machine.is_cached(page)), [false; 4], "{hint:?}");
    }
}
