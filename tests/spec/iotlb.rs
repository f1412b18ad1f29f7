//! What the IOTLB keeps, finds again, and forgets (§3.17, §4.4).

#![allow(clippy::panic, clippy::indexing_slicing, reason = "a failed test panics")]

use smmuv3::{Features, Settings};
use smmuv3_tests::bits::Words;
use smmuv3_tests::commands::{self, Hint, Leaf};
use smmuv3_tests::driver::{Boot, Driver};
use smmuv3_tests::machine::{ASID, Machine, SID, STRICT, VMID, nh_va};
use smmuv3_tests::oracle::Access;
use smmuv3_tests::tables::{Grain, PageTables, cd, descriptor, ste};

#[test]
fn r12_whatever_is_filled_can_be_found_and_invalidated() {
    for grain in Grain::ALL {
        for (sets, ways) in [(1, 1), (2, 1), (4, 4), (64, 4), (256, 1)] {
            for log2 in [grain.shift(), grain.level_shift(2)] {
                let mut machine = Machine::new(Features::SMMUV3_2, Settings::new(sets, ways), grain);
                for place in 0..40u64 {
                    let va = (place * 0x1357) << log2 & 0xffff_ffff_ffff;
                    machine.cache_and_unmap(&[va], log2);
                    assert!(machine.is_cached(va), "{grain:?} {sets}x{ways}: {va:#x} is found");
                    machine.run(nh_va(va, Hint::NONE));
                    assert!(!machine.is_cached(va), "{grain:?} {sets}x{ways}: {va:#x} is forgotten");
                }
            }
        }
    }
}

#[test]
fn r13_a_block_hits_at_each_of_its_pages() {
    for grain in Grain::ALL {
        let mut machine = Machine::new(Features::SMMUV3_2, STRICT, grain);
        let log2 = grain.level_shift(2);
        let base = 3 << log2;
        machine.cache_and_unmap(&[base], log2);
        for offset in [grain.bytes(), (1 << log2) / 2 + 8, (1 << log2) - 1] {
            assert!(machine.is_cached(base + offset), "{grain:?}: offset {offset:#x}");
        }
        assert!(!machine.is_cached(base + (1 << log2)));
        assert!(!machine.is_cached(base - 1));
    }
}

#[test]
fn e16_a_full_iotlb_replaces_one_entry() {
    let mut machine = Machine::usual();
    let pages: Vec<u64> = (0..257).map(|page| page << 12).collect();
    machine.cache_and_unmap(&pages, 12);
    let left = pages.iter().filter(|&&page| machine.is_cached(page)).count();
    assert!((192..=256).contains(&left), "{left} of 257 pages are left in 64 x 4 entries");
}

/// The core's own promise: of a full set, what was used longest ago goes.
#[test]
fn replacement_takes_the_least_recently_used() {
    let mut settings = Settings::new(1, 4);
    settings.walk_cache = false;
    let mut machine = Machine::new(Features::SMMUV3_2, settings, Grain::K4);
    machine.cache_and_unmap(&[0x1000, 0x2000, 0x3000, 0x4000], 12);
    assert!(machine.is_cached(0x1000));
    machine.cache_and_unmap(&[0x5000], 12);
    let left = [0x1000, 0x2000, 0x3000, 0x4000, 0x5000].map(|page| machine.is_cached(page));
    assert_eq!(left, [true, false, true, true, true]);
}

/// APTable, UXNTable and PXNTable of a table hold for what is found through the walk cache.
#[test]
fn the_limits_of_tables_are_cached_with_them() {
    let rows = [
        ("APTable", descriptor::APTABLE, 0b10, Access::WRITE),
        ("APTable[0]", descriptor::APTABLE, 0b01, Access::READ),
        ("UXNTable", descriptor::UXNTABLE, 1, Access { instruction: true, ..Access::READ }),
        ("PXNTable", descriptor::PXNTABLE, 1, Access { instruction: true, privileged: true, ..Access::READ }),
    ];
    let reader = Access { privileged: true, ..Access::READ };
    for (name, field, value, access) in rows {
        let mut machine = Machine::usual();
        machine.tables.table_attributes = machine.tables.table_attributes.with(field, value);
        // AP = 11 with both XN clear where it is about execution; otherwise all may read and write.
        let ap = if access.instruction { 0b11 } else { 0b01 };
        let leaf =
            descriptor::S1_RW.with(descriptor::AP, ap).with(descriptor::UXN, 0).with(descriptor::PXN, 0);
        machine.map_as(0x5000, 0x9000, 12, leaf);
        machine.map_as(0x6000, 0xa000, 12, leaf);
        assert_eq!(machine.driver.access(SID, 0x5000, reader), Ok(0x9000), "{name}: the tables are cached");
        assert_eq!(machine.driver.access(SID, 0x6000, access), Err(Some("F_PERMISSION")), "{name}");
    }
}

/// commands.md §5: what is cached of a stream in NS-EL2, or in NS-EL2-E2H with ASID 9; a page and a global page.
#[test]
fn el2_commands_drop_their_scope_and_no_more() {
    let va = |asid, va| commands::tlbi_el2_va(asid, va, Leaf::Only, Hint::NONE);
    let vaa = |va| commands::tlbi_el2_vaa(va, Leaf::Only, Hint::NONE);
    // The command; what is left of (page, global page) with E2H = 0, and with E2H = 1.
    let rows = [
        ("EL2_ALL", commands::tlbi_el2_all(), [(false, false), (false, false)]),
        ("EL2_ASID", commands::tlbi_el2_asid(ASID), [(true, true), (false, true)]),
        ("EL2_ASID, another", commands::tlbi_el2_asid(ASID + 1), [(true, true), (true, true)]),
        ("EL2_VA", va(ASID, PAGE), [(false, true), (false, true)]),
        ("EL2_VA, another ASID", va(ASID + 1, PAGE), [(false, true), (true, true)]),
        ("EL2_VA of a global page, another ASID", va(ASID + 1, GLOBAL), [(true, false), (true, false)]),
        ("EL2_VAA", vaa(PAGE), [(false, true), (false, true)]),
        ("NH_ALL", commands::tlbi_nh_all(0), [(true, true), (true, true)]),
        ("NH_ASID", commands::tlbi_nh_asid(0, ASID), [(true, true), (true, true)]),
        ("NH_VA", commands::tlbi_nh_va(0, ASID, PAGE, Leaf::Only, Hint::NONE), [(true, true), (true, true)]),
        ("NH_VAA", commands::tlbi_nh_vaa(0, PAGE, Leaf::Only, Hint::NONE), [(true, true), (true, true)]),
        ("S12_VMALL", commands::tlbi_s12_vmall(0), [(true, true), (true, true)]),
        ("NSNH_ALL", commands::tlbi_nsnh_all(), [(true, true), (true, true)]),
    ];
    for (name, command, expected) in rows {
        for (e2h, expected) in (0..).zip(expected) {
            let mut machine = Machine::usual();
            machine.driver.boot(Boot { cr2: e2h, ..Boot::USUAL });
            machine.set_ste(&ste::stage1(machine.context, 0).with(ste::STRW, 0b10));
            machine.cache_and_unmap(&[PAGE], 12);
            machine.map_as(GLOBAL, GLOBAL, 12, descriptor::S1_RW.with(descriptor::NG, 0));
            assert_eq!(machine.read(GLOBAL), Ok(GLOBAL));
            machine.unmap(GLOBAL);
            machine.run(command);
            let left = (machine.is_cached(PAGE), machine.is_cached(GLOBAL));
            assert_eq!(left, expected, "{name}, E2H {e2h}");
        }
    }
}

/// commands.md §5: global entries match the same ASET alone; commands do not look at it.
#[test]
fn aset_keeps_global_entries_apart() {
    let mut machine = Machine::usual();
    let global = descriptor::S1_RW.with(descriptor::NG, 0);
    machine.map_as(PAGE, PAGE, 12, global);
    assert_eq!(machine.read(PAGE), Ok(PAGE));
    machine.unmap(PAGE);
    machine.set_cd(machine.cd.with(cd::ASET, 1));
    assert!(!machine.is_cached(PAGE), "found by ASET 0 alone");
    machine.set_cd(machine.cd.with(cd::ASET, 0));
    assert!(machine.is_cached(PAGE));
    machine.set_cd(machine.cd.with(cd::ASET, 1));
    machine.cache_and_unmap(&[0x7000], 12);
    machine.run(nh_va(0x7000, Hint::NONE));
    assert!(!machine.is_cached(0x7000), "commands name both sets of ASIDs");
}

#[test]
fn a_fault_is_not_cached() {
    let mut machine = Machine::usual();
    assert_eq!(machine.read(0x5000), Err(Some("F_TRANSLATION")));
    machine.map_as(0x5000, 0x9000, 12, descriptor::S1_RW.with(descriptor::AF, 0));
    assert_eq!(machine.read(0x5000), Err(Some("F_ACCESS")));
    machine.map(0x5000, 0x9000, 12);
    assert_eq!(machine.read(0x5000), Ok(0x9000));
}

#[test]
fn permissions_are_cached_with_the_entry() {
    let mut machine = Machine::usual();
    machine.map_as(0x5000, 0x9000, 12, descriptor::S1_RW.with(descriptor::AP, 0b11));
    assert_eq!(machine.read(0x5000), Ok(0x9000));
    assert_eq!(machine.write(0x5000), Err(Some("F_PERMISSION")));
    machine.map(0x5000, 0x9000, 12);
    machine.run(nh_va(0x5000, Hint::NONE));
    assert_eq!(machine.write(0x5000), Ok(0x9000));
}

/// Four streams: two VMIDs with two ASIDs each, and in each a page and a global page, cached and then unmapped.
struct Four {
    driver: Driver<256>,
}

const PAGE: u64 = 0x5000;
const GLOBAL: u64 = 0x6000;

impl Four {
    fn new() -> Four {
        let mut driver = Driver::<256>::booted(Features::SMMUV3_2, STRICT, 16);
        for (sid, (vmid, asid)) in (0..).zip([(1, 1), (1, 2), (2, 1), (2, 2)]) {
            let tables = PageTables::stage1(Grain::K4, 25, &mut driver.heap, &mut driver.ram);
            let context = driver.heap.allocate(64);
            driver.write_record(context, &cd::lower(cd::of(asid, 5), Grain::K4, 25, tables.root).0);
            driver.install_ste(sid, &ste::stage1(context, vmid));
            let pa = u64::from(sid) << 32;
            let Driver { heap, ram, .. } = &mut driver;
            tables.map(heap, ram, PAGE, pa | PAGE, 12, descriptor::S1_RW);
            // Of the global pages of one VMID only the first one is ever used: the other finds it in the IOTLB.
            tables.map(heap, ram, GLOBAL, pa | GLOBAL, 12, descriptor::S1_RW.with(descriptor::NG, 0));
            assert_eq!(driver.access(sid, PAGE, Access::READ), Ok(pa | PAGE));
            let shared = u64::from(sid & !1) << 32;
            assert_eq!(driver.access(sid, GLOBAL, Access::READ), Ok(shared | GLOBAL));
            tables.unmap(&mut driver.ram, PAGE);
            tables.unmap(&mut driver.ram, GLOBAL);
        }
        Four { driver }
    }

    /// Which of the streams still have their page, and which the global one.
    fn cached(&mut self) -> (String, String) {
        let mut of = |va| {
            (0..4)
                .map(|sid| if self.driver.access(sid, va, Access::READ).is_ok() { '+' } else { '-' })
                .collect()
        };
        (of(PAGE), of(GLOBAL))
    }
}

/// commands.md §5: streams are (VMID, ASID) = (1,1) (1,2) (2,1) (2,2).
#[test]
fn each_tlbi_drops_its_scope_and_no_more() {
    let va = |vmid, asid, va| commands::tlbi_nh_va(vmid, asid, va, Leaf::Only, Hint::NONE);
    let vaa = |vmid, va| commands::tlbi_nh_vaa(vmid, va, Leaf::Only, Hint::NONE);
    let rows = [
        ("NH_ALL", commands::tlbi_nh_all(1), "--++", "--++"),
        ("NH_ASID", commands::tlbi_nh_asid(1, 1), "-+++", "++++"),
        ("NH_VA", va(2, 2, PAGE), "+++-", "++++"),
        ("NH_VA of a global page", va(2, 2, GLOBAL), "++++", "++--"),
        ("NH_VA of a global page, other ASID", va(2, 77, GLOBAL), "++++", "++--"),
        ("NH_VA, other ASID", va(2, 77, PAGE), "++++", "++++"),
        ("NH_VA, other VMID", va(3, 1, PAGE), "++++", "++++"),
        ("NH_VAA", vaa(1, PAGE), "--++", "++++"),
        ("NH_VAA of a global page", vaa(1, GLOBAL), "++++", "--++"),
        ("NSNH_ALL", commands::tlbi_nsnh_all(), "----", "----"),
        ("S12_VMALL", commands::tlbi_s12_vmall(2), "++--", "++--"),
        ("S2_IPA", commands::tlbi_s2_ipa(1, PAGE, Leaf::Only, Hint::NONE), "++++", "++++"),
        ("EL2_ALL", commands::tlbi_el2_all(), "++++", "++++"),
        ("EL2_ASID", commands::tlbi_el2_asid(1), "++++", "++++"),
        ("EL2_VA", commands::tlbi_el2_va(1, PAGE, Leaf::Only, Hint::NONE), "++++", "++++"),
        ("EL2_VAA", commands::tlbi_el2_vaa(PAGE, Leaf::Only, Hint::NONE), "++++", "++++"),
        ("CFGI_ALL", commands::cfgi_all(), "++++", "++++"),
        ("CFGI_STE", commands::cfgi_ste(0, Leaf::AndTables), "++++", "++++"),
        ("SYNC", commands::sync(), "++++", "++++"),
    ];
    for (name, command, pages, globals) in rows {
        let mut four = Four::new();
        four.driver.run(&[command]);
        assert_eq!(four.cached(), (pages.to_owned(), globals.to_owned()), "{name}");
    }
}

#[test]
fn leaf_0_drops_the_tables_too() {
    for (leaf, hint) in [
        (Leaf::AndTables, Hint::NONE),
        (Leaf::AndTables, Hint { num: 1, scale: 0, ttl: 0, tg: 1 }),
        (Leaf::AndTables, Hint { num: 0, scale: 0, ttl: 3, tg: 1 }),
    ] {
        let mut machine = Machine::usual();
        machine.map(0x5000, 0x9000, 12);
        assert_eq!(machine.read(0x5000), Ok(0x9000));
        // Another level 3 table, with another page.
        let slot = machine.tables.find(&machine.driver.ram, 0x5000, 2);
        machine.driver.ram.set_word(slot.pa, 0);
        machine.map(0x5000, 0xa000, 12);
        machine.run(commands::tlbi_nh_va(VMID, ASID, 0x5000, leaf, hint));
        assert_eq!(machine.read(0x5000), Ok(0xa000), "{hint:?}");
    }
}

/// commands.md §4: with Leaf = 0 and TTL = k, tables of the levels above k go; those of k and below stay.
#[test]
fn ttl_names_the_tables_above_it() {
    for table in 0..3u64 {
        for ttl in 1..4 {
            let mut machine = Machine::usual();
            machine.map(0x5000, 0x9000, 12);
            assert_eq!(machine.read(0x5000), Ok(0x9000));
            let slot = machine.tables.find(&machine.driver.ram, 0x5000, table as u32);
            machine.driver.ram.set_word(slot.pa, 0);
            machine.run(commands::tlbi_nh_va(
                VMID,
                ASID,
                0,
                Leaf::AndTables,
                Hint { num: 0, scale: 3, ttl, tg: 1 },
            ));
            // The page itself, to see the tables.
            machine.run(nh_va(0x5000, Hint::NONE));
            // Any table nearer to the leaf that is still cached hides the one that was removed.
            let hidden = (table..3).any(|level| level >= ttl);
            let expected = if hidden { Ok(0x9000) } else { Err(Some("F_TRANSLATION")) };
            assert_eq!(machine.read(0x5000), expected, "the table of level {table}, TTL {ttl}");
        }
    }
}

#[test]
fn leaf_1_keeps_a_cached_table() {
    let mut machine = Machine::usual();
    machine.map(0x5000, 0x9000, 12);
    assert_eq!(machine.read(0x5000), Ok(0x9000));
    let slot = machine.tables.find(&machine.driver.ram, 0x5000, 2);
    machine.driver.ram.set_word(slot.pa, 0);
    machine.run(nh_va(0x5000, Hint::NONE));
    assert_eq!(machine.read(0x5000), Ok(0x9000), "through the table that the walk cache kept");
    machine.run(commands::tlbi_nh_va(VMID, ASID, 0x5000, Leaf::AndTables, Hint::NONE));
    assert_eq!(machine.read(0x5000), Err(Some("F_TRANSLATION")));
}

#[test]
fn without_a_walk_cache_every_table_is_read_again() {
    let mut settings = STRICT;
    settings.walk_cache = false;
    let mut machine = Machine::new(Features::SMMUV3_2, settings, Grain::K4);
    machine.map(0x5000, 0x9000, 12);
    assert_eq!(machine.read(0x5000), Ok(0x9000));
    let slot = machine.tables.find(&machine.driver.ram, 0x5000, 2);
    machine.driver.ram.set_word(slot.pa, 0);
    machine.run(nh_va(0x5000, Hint::NONE));
    assert_eq!(machine.read(0x5000), Err(Some("F_TRANSLATION")));
}

#[test]
fn a_contiguous_run_goes_by_any_of_its_members() {
    for grain in Grain::ALL {
        for level in [2, 3] {
            let run = grain.contiguous(level);
            let shift = grain.level_shift(level);
            let mut machine = Machine::new(Features::SMMUV3_2, STRICT, grain);
            let base = run << shift;
            machine.map(base, 4 * base, shift + run.trailing_zeros());
            let (first, last) = (base, base + ((run - 1) << shift));
            assert_eq!(machine.read(first), Ok(4 * base));
            for member in 0..run {
                machine.unmap(base + (member << shift));
            }
            machine.run(nh_va(last, Hint::NONE));
            // Either the whole span was kept and is gone, or only the first member was, which nobody named.
            let after = machine.read(last);
            assert_eq!(after, Err(Some("F_TRANSLATION")), "{grain:?} level {level}");
        }
    }
}

#[test]
fn spans_do_not_leave_the_cached_entry() {
    let mut machine = Machine::usual();
    machine.map(0x20_0000, 0x60_0000, 21);
    machine.map(0x5000, 0x9000, 12);
    let span = |machine: &mut Machine, va| {
        let transaction = smmuv3_tests::driver::transaction(SID, None, va, Access::READ);
        machine.driver.translate(&transaction).map(|found| (found.pa.0, found.span))
    };
    for _ in 0..2 {
        assert_eq!(span(&mut machine, 0x5123), Ok((0x9123, 0xedd)));
        assert_eq!(span(&mut machine, 0x20_0000), Ok((0x60_0000, 0x20_0000)));
        assert_eq!(span(&mut machine, 0x3f_ffff), Ok((0x7f_ffff, 1)));
    }
}

/// A start table of two entries, each the head of a contiguous run of sixteen: what is kept ends with T0SZ all the same.
#[test]
fn spans_end_with_the_input_range() {
    let mut machine = Machine::usual();
    let driver = &mut machine.driver;
    let tables = PageTables::stage1(Grain::K4, 33, &mut driver.heap, &mut driver.ram);
    for entry in 0..2 {
        let slot = tables.slot(&mut driver.heap, &mut driver.ram, entry << 30, 1);
        let run = descriptor::S1_RW.with(descriptor::CONTIGUOUS, 1);
        driver.ram.set_word(slot.pa, descriptor::leaf(Grain::K4, 1, entry << 30, run));
    }
    machine.set_cd(cd::lower(machine.cd, Grain::K4, 33, tables.root));
    let last = smmuv3_tests::driver::transaction(SID, None, 0x7fff_ffff, Access::READ);
    assert_eq!(machine.driver.translate(&last).map(|found| found.span), Ok(1));
}

#[test]
fn dma_moves_bytes_through_scattered_pages() {
    let mut machine = Machine::usual();
    let frames: Vec<u64> = (0..4).map(|_| machine.driver.heap.allocate(0x2000)).collect();
    for (page, &frame) in (0..).zip(&frames) {
        machine.map(0x10_0000 + (page << 12), frame, 12);
    }
    let sent: Vec<u8> = (0..0x3000u32).map(|byte| ((byte * 7) >> 3) as u8).collect();
    assert_eq!(machine.driver.dma_write(SID, 0x10_0800, &sent), Ok(()));
    let mut back = vec![0; sent.len()];
    assert_eq!(machine.driver.dma_read(SID, 0x10_0800, &mut back), Ok(()));
    assert_eq!(back, sent);
    let word = machine.driver.ram.word(frames[1]);
    assert_eq!(word.map(u64::to_le_bytes).as_ref().map(|bytes| &bytes[..]), Some(&sent[0x800..0x808]));
}

/// Spaces come and go under few numbers: once one is empty, no command may take another for it.
#[test]
fn a_space_that_is_empty_leaves_no_name_behind() {
    for asks_no_entries in [false, true] {
        for empty_by in [nh_va(0x1000, Hint::NONE), commands::tlbi_nh_asid(VMID, ASID)] {
            let mut machine = Machine::usual();
            machine.driver.counters.asks_no_entries = asks_no_entries;
            machine.cache_and_unmap(&[0x1000], 12);
            machine.run(empty_by);
            assert!(!machine.is_cached(0x1000));
            let other = machine.cd.with(cd::ASID, u64::from(ASID) + 1);
            machine.set_cd(other);
            machine.cache_and_unmap(&[0x1000], 12);
            machine.run(nh_va(0x1000, Hint::NONE));
            machine.run(commands::tlbi_nh_asid(VMID, ASID));
            assert!(machine.is_cached(0x1000), "the other ASID's");
            machine.run(commands::tlbi_nh_va(VMID, ASID + 1, 0x1000, Leaf::Only, Hint::NONE));
            assert!(!machine.is_cached(0x1000));
        }
    }
}
