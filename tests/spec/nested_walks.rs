//! Both stages (§3.3.2, §3.4, §4.4, §7.3): whose fault it is, in which order, what is combined and how it is forgotten.

#![allow(clippy::panic, clippy::indexing_slicing, reason = "a failed test panics")]

use smmuv3::{Behaviour, Features, Settings};
use smmuv3_tests::bits::Words;
use smmuv3_tests::commands::{self, Command, Hint, Leaf};
use smmuv3_tests::driver::{Boot, Driver, transaction, value};
use smmuv3_tests::machine::{ASID, SID, STRICT, VMID, nh_va};
use smmuv3_tests::machine_nested::NestedMachine;
use smmuv3_tests::oracle::Access;
use smmuv3_tests::tables::{Grain, PageTables, cd, descriptor, l1cd, ste};

const V3_2: Features = Features::SMMUV3_2;
const READ: Access = Access::READ;
const WRITE: Access = Access::WRITE;

/// Where the machine's page is for stage 1, between the stages, and in the end.
const VA: u64 = 0x80_0000_5000;
const IPA: u64 = 0x4000_9000;
const PA: u64 = 0x1_2000;

/// Dword 0 of a record of stream 7.
const fn number(event: u64) -> u64 {
    0x7_0000_0000 | event
}

/// Dword 1: S2 = 1 with each CLASS, of a read; TTRnW where F_PERMISSION has it.
const S2_CD: u64 = 0x088_0000_0000;
const S2_TT: u64 = 0x188_0000_0000;
const S2_IN: u64 = 0x288_0000_0000;
const TTRNW: u64 = 0x1000_0000_0000;

fn usual() -> NestedMachine {
    let mut machine = NestedMachine::usual();
    machine.map1(VA, IPA, 12);
    machine.map2(IPA, PA, 12);
    machine
}

/// Stage 2 descriptors that fail, in the order in which they are found out; S2PS = 44 bits.
const FAILING: [(&str, u64, u64); 4] = [
    ("F_TRANSLATION", 0x10, 0),
    ("F_ADDR_SIZE", 0x11, 0x0000_1000_0000_0003), // and AF = 0, and S2AP = 00
    ("F_ACCESS", 0x12, 0x0000_0000_0001_2003),    // and S2AP = 00
    ("F_PERMISSION", 0x13, 0x0000_0000_0001_2403),
];

/// Writes the stage 2 page descriptor of an address.
fn set2(machine: &mut NestedMachine, ipa: u64, word: u64) {
    let slot = machine.slot2(ipa, 3);
    machine.driver.ram.set_word(slot.pa, word);
}

/// events.md §2: each fault of stage 2, met at the CD, at the stage 1 descriptor of each level, and at the output.
#[test]
fn s2_class_and_ipa() {
    for (name, event, word) in FAILING {
        for place in 0..6 {
            let mut machine = usual();
            machine.set_ste(machine.ste.with(ste::S2PS, 4));
            let (ipa, flags) = match place {
                0 => (machine.context, S2_CD),
                1..5 => (machine.slot1(VA, place - 1).pa, S2_TT),
                _ => (IPA, S2_IN),
            };
            set2(&mut machine, ipa, word);
            let ttrnw = if event == 0x13 && flags == S2_TT { TTRNW } else { 0 };
            let expected = [number(event), flags | ttrnw, VA | 0x123, ipa & !0xfff];
            assert_eq!(machine.record(VA | 0x123, READ), expected, "{name} at place {place}");
            // Whatever is being accessed for it, the transaction is a privileged write.
            let access = Access { privileged: true, ..WRITE };
            let expected = [number(event), flags & !0x8_0000_0000 | ttrnw | 0x2_0000_0000, VA, ipa & !0xfff];
            assert_eq!(machine.record(VA, access), expected, "{name} at place {place}, write");
            let walked = machine.driver.walk(&transaction(SID, None, VA, access));
            assert_eq!(walked, Err(Some(name)), "{name} at place {place}, walk");
        }
    }
}

#[test]
fn faults_of_stage_1_have_no_ipa() {
    let mut machine = usual();
    assert_eq!(machine.record(VA + 0x1000, READ), [number(0x10), 0x208_0000_0000, VA + 0x1000, 0]);
    machine.map1_as(VA, IPA, 12, descriptor::S1_RW.with(descriptor::AF, 0));
    assert_eq!(machine.record(VA, READ), [number(0x12), 0x208_0000_0000, VA, 0]);
    machine.map1_as(VA, IPA, 12, descriptor::S1_RW.with(descriptor::AP, 0b11));
    assert_eq!(machine.record(VA, WRITE), [number(0x13), 0x200_0000_0000, VA, 0]);
}

#[test]
fn e5_outputs_above_the_sizes_are_told_by_the_stage_that_made_them() {
    let mut machine = usual();
    // Fits IPS (48 bits), not S2T0SZ (40 bits): a translation fault of stage 2.
    machine.map1(VA, 1 << 40, 12);
    assert_eq!(machine.record(VA, READ), [number(0x10), S2_IN, VA, 1 << 40]);
    // Above IPS: an address size fault of stage 1, before anything of stage 2.
    machine.set_cd(machine.cd.with(cd::IPS, 1));
    assert_eq!(machine.record(VA, READ), [number(0x11), 0x208_0000_0000, VA, 0]);
    // IPS above OAS counts as OAS.
    let features = Features { oas_bits: 40, vax52: false, ..V3_2 };
    let mut machine = NestedMachine::new(features, STRICT, Grain::K4, (Grain::K4, 1, 40));
    machine.map1(VA, 1 << 40, 12);
    assert_eq!(machine.record(VA, READ), [number(0x11), 0x208_0000_0000, VA, 0]);
}

/// CDs of a two-level table: the IPA is that of the entry, not of its table.
#[test]
fn l1cd_and_cd_go_through_stage_2() {
    let mut machine = usual();
    // 2^16 CDs: 1,024 L1CDs in two pages; SubstreamID 0xffff is the last one of its leaf table.
    let l1 = machine.heap.allocate(0x2000);
    let leaf = machine.heap.allocate(0x1000);
    let cd = machine.cd;
    machine.view().set_word(l1 + 0x1ff8, l1cd(leaf));
    for (address, &dword) in (leaf + 63 * 64..).step_by(8).zip(&cd.0) {
        machine.view().set_word(address, dword);
    }
    let ste = machine.ste.with(ste::S1CDMAX, 16).with(ste::S1FMT, 1).with(ste::S1CONTEXTPTR, l1 >> 6);
    machine.set_ste(ste);
    let ask = transaction(SID, Some(0xffff), VA, READ);
    for (ipa, name) in [(l1 + 0x1000, "L1CD"), (leaf, "CD")] {
        let was = machine.slot2(ipa, 3).descriptor;
        set2(&mut machine, ipa, 0);
        assert_eq!(
            machine.driver.translate(&ask).map(|found| found.pa.0),
            Err(Some("F_TRANSLATION")),
            "{name}"
        );
        let record = [0x7_0fff_f810, S2_CD, VA, ipa];
        assert_eq!(machine.driver.events(), [record], "{name}");
        // A frame that is not there: F_CD_FETCH, with its physical address.
        set2(&mut machine, ipa, 0x2_07c3);
        let offset = if ipa == leaf { 63 * 64 } else { 0xff8 };
        assert_eq!(machine.driver.translate(&ask).map(|found| found.pa.0), Err(Some("F_CD_FETCH")), "{name}");
        assert_eq!(machine.driver.events(), [[0x7_0fff_f809, 0, 0, 0x2_0000 + offset]], "{name}");
        set2(&mut machine, ipa, was);
        machine.run(commands::tlbi_s12_vmall(VMID));
    }
    assert_eq!(machine.driver.translate(&ask).map(|found| found.pa.0), Ok(PA));
}

#[test]
fn an_abort_of_a_walk_tells_whose_descriptor_it_was() {
    // A stage 1 descriptor's page lies where no memory is: S2 = 0, CLASS = TT.
    let mut machine = usual();
    let ipa = machine.slot1(VA, 1).pa;
    set2(&mut machine, ipa, 0x2_07c3);
    assert_eq!(machine.record(VA, READ), [number(0x0b), 0x108_0000_0000, VA, 0x2_0000 + (ipa & 0xfff)]);
    // A stage 2 descriptor is not there: for the CD, for stage 1, for the output.
    for (place, flags) in [(0, S2_CD), (1, S2_TT), (2, S2_IN)] {
        let mut machine = usual();
        let slot = match place {
            2 => machine.slot2(IPA, 2),
            _ => machine.slot2(machine.context, 2),
        };
        if place == 1 {
            assert_eq!(machine.read(VA), Ok(PA)); // remembers the CD
            machine.run(commands::tlbi_s12_vmall(VMID));
        }
        machine.driver.ram.set_word(slot.pa, 0x2_0003);
        let ipa = [machine.context, machine.slot1(VA, 0).pa, IPA][place];
        let fetch = 0x2_0000 + 8 * (ipa >> 12 & 0x1ff);
        assert_eq!(machine.record(VA, READ), [number(0x0b), flags, VA, fetch], "place {place}");
    }
}

#[test]
fn s1_bypassed_by_s1dss_is_stage_2_alone() {
    let mut machine = usual();
    machine.set_ste(machine.ste.with(ste::S1CDMAX, 1).with(ste::S1DSS, 0b01));
    assert_eq!(machine.read(IPA), Ok(PA));
    assert_eq!(machine.record(VA, READ), [number(0x10), S2_IN, VA, VA]);
    assert_eq!(machine.record(1 << 52, READ), [number(0x11), 0x208_0000_0000, 1 << 52, 0], "above IAS");
}

/// events.md §4: everything is wrong at once; what is found first is put right, and so on.
#[test]
fn priority_of_nested_faults() {
    let mut machine = usual();
    machine.set_ste(machine.ste.with(ste::S2PS, 4));
    let context = machine.context;
    let good_cd = machine.cd;
    let mut expect = |machine: &mut NestedMachine, event: u64, flags: u64, what: &str| {
        machine.run(commands::tlbi_s12_vmall(VMID));
        machine.run(commands::cfgi_cd_all(SID));
        let record = machine.record(VA, WRITE);
        let mask = 0x380_0000_0000; // S2, CLASS
        assert_eq!((record[0] & 0xff, record[1] & mask), (event, flags & mask), "{what}");
    };
    let second = |machine: &mut NestedMachine,
                  ipa: u64,
                  flags: u64,
                  expect: &mut dyn FnMut(&mut NestedMachine, u64, u64, &str)| {
        let was = machine.slot2(ipa, 3).descriptor;
        for (name, event, word) in FAILING {
            set2(machine, ipa, word);
            expect(machine, event, flags, name);
        }
        // The write of the output needs S2AP[1] as well.
        set2(machine, ipa, was);
    };

    // From the end to the beginning: each thing is broken before the one that comes after it.
    let leaf = machine.slot1(VA, 3);
    second(&mut machine, IPA, S2_IN, &mut expect);
    set2(&mut machine, IPA, 0);
    // Stage 1's leaf: F_PERMISSION, before that F_ACCESS, F_ADDR_SIZE and F_TRANSLATION, all before stage 2 of its output.
    let read_only = leaf.descriptor | 0b10 << 6;
    for (event, word, what) in [
        (0x13, read_only, "S1 F_PERMISSION"),
        (0x12, read_only & !(1 << 10), "S1 F_ACCESS"),
        (0x11, read_only & !(1 << 10) | 1 << 47, "S1 F_ADDR_SIZE"),
        (0x10, 0, "S1 F_TRANSLATION"),
    ] {
        if event == 0x11 {
            machine.set_cd(good_cd.with(cd::IPS, 4));
        }
        machine.view().set_word(leaf.pa, word);
        expect(&mut machine, event, 0x200_0000_0000, what);
    }
    // Every level above it, from the last to the first.
    for level in (0..4).rev() {
        let slot = machine.slot1(VA, level);
        let was = machine.slot2(slot.pa, 3).descriptor;
        set2(&mut machine, slot.pa, 0x2_07c3);
        expect(&mut machine, 0x0b, 0x100_0000_0000, "F_WALK_EABT of stage 1");
        set2(&mut machine, slot.pa, was);
        second(&mut machine, slot.pa, S2_TT, &mut expect);
        if level > 0 {
            let above = machine.slot1(VA, level - 1);
            machine.view().set_word(above.pa, 1 << 47 | 0b11);
            expect(&mut machine, 0x11, 0x200_0000_0000, "S1 F_ADDR_SIZE of a table");
            machine.view().set_word(above.pa, above.descriptor & !1);
            expect(&mut machine, 0x10, 0x200_0000_0000, "S1 F_TRANSLATION of a table");
            machine.view().set_word(above.pa, above.descriptor);
            set2(&mut machine, slot.pa, 0);
        }
    }
    // The range of stage 1, before any descriptor of it.
    machine.set_cd(good_cd.with(cd::T0SZ, 25));
    expect(&mut machine, 0x10, 0x200_0000_0000, "S1 range");
    machine.set_cd(good_cd.with(cd::V, 0));
    expect(&mut machine, 0x0a, 0, "C_BAD_CD");
    let was = machine.slot2(context, 3).descriptor;
    set2(&mut machine, context, 0x2_07c3);
    expect(&mut machine, 0x09, 0, "F_CD_FETCH");
    set2(&mut machine, context, was);
    second(&mut machine, context, S2_CD, &mut expect);
    set2(&mut machine, context, 0);
    machine.set_ste(machine.ste.with(ste::S1CDMAX, 1).with(ste::S1DSS, 0));
    expect(&mut machine, 0x06, 0, "F_STREAM_DISABLED");
    machine.set_ste(machine.ste.with(ste::S2TG, 0b11));
    expect(&mut machine, 0x04, 0, "C_BAD_STE");
}

#[test]
fn e20_a_stage_2_fault_on_a_stage_1_table_is_stage_2s() {
    let mut machine = usual();
    let table = machine.slot1(VA, 2).pa;
    machine.unmap2(table);
    assert_eq!(machine.record(VA, READ), [number(0x10), S2_TT, VA, table & !0xfff]);
}

/// S2R rules faults of stage 2 wherever they are met, CD.A and CD.R those of stage 1.
#[test]
fn each_stage_has_its_own_rules() {
    use smmuv3::Response;
    for place in 0..3 {
        let mut machine = usual();
        machine.set_cd(machine.cd.with(cd::A, 0).with(cd::R, 1));
        machine.set_ste(machine.ste.with(ste::S2R, 0));
        let ipa = [machine.context, machine.slot1(VA, 2).pa, IPA][place];
        machine.unmap2(ipa);
        let response = machine.ask(VA, READ).map(|found| found.pa).map_err(|ended| ended.response);
        assert_eq!(response, Err(Response::Abort), "place {place}");
        assert!(machine.driver.events().is_empty(), "place {place}");
    }
    let mut machine = usual();
    machine.set_cd(machine.cd.with(cd::A, 0).with(cd::R, 1));
    machine.set_ste(machine.ste.with(ste::S2R, 0));
    let response = machine.ask(VA + 0x1000, READ).map(|found| found.pa).map_err(|ended| ended.response);
    assert_eq!(response, Err(Response::RazWi));
    assert_eq!(machine.driver.events().len(), 1);
}

#[test]
fn r11_a_block_of_stage_1_over_pages_of_stage_2_goes_as_one() {
    let block = 0x4020_0000;
    for (behaviour, hint) in [Behaviour::Strict, Behaviour::Natural].into_iter().flat_map(|behaviour| {
        let range = |num, scale, ttl| Hint { num, scale, ttl, tg: 1 };
        [
            (behaviour, Hint::NONE),
            (behaviour, range(0, 0, 2)),
            (behaviour, range(0, 9, 0)),
            (behaviour, range(1, 0, 0)),
        ]
    }) {
        let settings = Settings { behaviour, iotlb_unbounded: true, ..STRICT };
        let mut machine = NestedMachine::new(V3_2, settings, Grain::K4, (Grain::K4, 1, 40));
        machine.map1(block, block, 21);
        let pages: Vec<u64> = (0..512).step_by(3).map(|page| block + (page << 12)).collect();
        for &page in &pages {
            machine.map2(page, page ^ 1 << 36, 12);
            assert_eq!(machine.read(page), Ok(page ^ 1 << 36));
        }
        for &page in &pages {
            machine.unmap2(page);
        }
        assert!(pages.iter().all(|&page| machine.read(page).is_ok()), "still cached");
        machine.run(nh_va(block, hint));
        let left = pages.iter().filter(|&&page| machine.read(page).is_ok()).count();
        machine.driver.events();
        assert_eq!(left, 0, "{behaviour:?} {hint:?}: pieces left of the block");
    }
}

#[test]
fn combined_entries_keep_both_sizes() {
    // Stage 1 2 MiB over stage 2 4 KiB, and the other way round.
    let range = |num, scale, ttl| Hint { num, scale, ttl, tg: 1 };
    for (log1, log2) in [(21, 12), (12, 21), (30, 12), (12, 30), (30, 21), (21, 30)] {
        let level = |log2: u32| 3 - (u64::from(log2) - 12) / 9;
        let base = 5 << 30;
        for ttl in 1..4 {
            let mut machine = NestedMachine::usual();
            machine.map1(base, base, log1);
            machine.map2(base, base, log2);
            assert_eq!(machine.read(base), Ok(base));
            machine.unmap2(base);
            // The level is that of stage 1; the size that an address has to be inside of is too.
            let start = base + ((1 << log1) - (1 << 12)) * u64::from(ttl == level(log1));
            let start = if ttl == 3 { start } else { base };
            machine.run(nh_va(start, range(0, 0, ttl)));
            let gone = ttl == level(log1);
            assert_eq!(machine.read(base).is_err(), gone, "S1 2^{log1}, S2 2^{log2}, TTL {ttl}");
        }
        let mut machine = NestedMachine::usual();
        machine.map1(base, base, log1);
        machine.map2(base, base, log2);
        assert_eq!(machine.read(base), Ok(base));
        machine.unmap2(base);
        machine.run(nh_va(base + (1 << log1), Hint::NONE));
        assert_eq!(machine.read(base), Ok(base), "beside the leaf of stage 1");
        machine.run(nh_va(base + (1 << log1) - 0x1000, Hint::NONE));
        assert!(machine.read(base).is_err(), "the last page of the leaf of stage 1");
    }
}

#[test]
fn tg_is_the_granule_of_the_stage_that_a_command_names() {
    for (first, second) in [(Grain::K4, Grain::K64), (Grain::K64, Grain::K4), (Grain::K16, Grain::K4)] {
        for tg in Grain::ALL {
            let shape = match second {
                Grain::K4 => (Grain::K4, 1, 40),
                grain => (grain, 2, 42),
            };
            let mut machine = NestedMachine::new(V3_2, STRICT, first, shape);
            machine.map1(0x5_0000, 0x4000_0000, first.shift());
            machine.map2(0x4000_0000, 0x7_0000, second.shift());
            assert_eq!(machine.read(0x5_0000), Ok(0x7_0000));
            machine.unmap1(0x5_0000);
            machine.run(nh_va(0x5_0000, Hint { num: 0, scale: 0, ttl: 3, tg: tg.tlbi_tg() }));
            assert_eq!(machine.read(0x5_0000).is_err(), tg == first, "S1 {first:?} S2 {second:?} TG {tg:?}");
        }
    }
}

#[test]
fn s2_ipa_alone_leaves_combined_entries() {
    for behaviour in [Behaviour::Strict, Behaviour::Natural] {
        let settings = Settings { behaviour, ..STRICT };
        let mut machine = NestedMachine::new(V3_2, settings, Grain::K4, (Grain::K4, 1, 40));
        machine.map1(VA, IPA, 12);
        machine.map2(IPA, PA, 12);
        assert_eq!(machine.read(VA), Ok(PA));
        machine.unmap2(IPA);
        machine.run(commands::tlbi_s2_ipa(VMID, IPA, Leaf::AndTables, Hint::NONE));
        assert_eq!(machine.read(VA), Ok(PA), "{behaviour:?}");
        machine.run(commands::tlbi_nh_all(VMID));
        assert_eq!(machine.read(VA), Err(Some("F_TRANSLATION")), "{behaviour:?}");
    }
}

#[test]
fn e7_after_s2_ipa_and_nh_all_a_moved_root_is_seen() {
    for second in [commands::tlbi_nh_all(VMID), commands::tlbi_nh_vaa(VMID, VA, Leaf::AndTables, Hint::NONE)]
    {
        for level in 0..4 {
            let mut machine = usual();
            assert_eq!(machine.read(VA), Ok(PA));
            // A copy of the table of this level, in which VA has nothing; then the IPA means the copy.
            let slot = machine.slot1(VA, level);
            let page = slot.pa & !0xfff;
            let copy = machine.driver.heap.allocate(0x1000);
            set2(&mut machine, page, copy | 0x7ff);
            machine.run(commands::tlbi_s2_ipa(VMID, page, Leaf::Only, Hint::NONE));
            machine.run(second);
            let expected = [number(0x10), 0x208_0000_0000, VA, 0];
            assert_eq!(machine.record(VA, READ), expected, "the table of level {level}");
        }
    }
}

#[test]
fn e8_each_descriptor_is_translated_by_itself() {
    const BASE: u64 = 0x80_0000_0000;
    // 64 KiB tables of stage 1: sixteen scattered pages of stage 2 each.
    let mut machine = NestedMachine::new(V3_2, STRICT, Grain::K64, (Grain::K4, 1, 40));
    machine.map2(0x8000_0000, 0x8000_0000, 30);
    for entry in (0..8192).step_by(97) {
        machine.map1(BASE + (entry << 16), 0x8000_0000 + (entry << 16), 16);
    }
    for entry in (0..8192).step_by(97) {
        let va = BASE + (entry << 16);
        assert_eq!(machine.read(va + 0x123), Ok(0x8000_0123 + (entry << 16)), "entry {entry}");
        assert_eq!(machine.read(va + 0x1_0000), Err(Some("F_TRANSLATION")), "entry {}", entry + 1);
        machine.driver.events();
    }
    // The same with one of the pages out.
    let page = machine.slot1(BASE + (4096 << 16), 3).pa;
    machine.unmap2(page);
    machine.run(commands::tlbi_s12_vmall(VMID));
    let va = BASE + (4096 << 16);
    assert_eq!(machine.record(va, READ), [number(0x10), S2_TT, va, page & !0xfff]);
    assert_eq!(machine.read(BASE + 0x123), Ok(0x8000_0123));
}

#[test]
fn e9_a_permission_fault_on_a_hit_names_its_stage() {
    let read_only = descriptor::S2_RW.with(descriptor::S2AP, 0b01);
    let mut machine = usual();
    machine.map2_as(IPA, PA, 12, read_only);
    for _ in 0..2 {
        assert_eq!(machine.read(VA), Ok(PA));
        assert_eq!(machine.record(VA | 0x18, WRITE), [number(0x13), 0x280_0000_0000, VA | 0x18, IPA]);
    }
    // What stage 1 forbids is stage 1's, whatever stage 2 says of it.
    machine.map1_as(VA, IPA, 12, descriptor::S1_RW.with(descriptor::AP, 0b11));
    machine.run(commands::tlbi_nh_all(VMID));
    for _ in 0..2 {
        assert_eq!(machine.read(VA), Ok(PA));
        assert_eq!(machine.record(VA, WRITE), [number(0x13), 0x200_0000_0000, VA, 0]);
    }
    // An IPA inside a block of both stages.
    let mut machine = NestedMachine::usual();
    machine.map1(1 << 30, 2 << 30, 30);
    machine.map2_as(2 << 30, 3 << 30, 30, read_only);
    let va = (1 << 30) + 0x1234_5678;
    assert_eq!(machine.read(va), Ok((3 << 30) + 0x1234_5678));
    assert_eq!(machine.record(va, WRITE), [number(0x13), 0x280_0000_0000, va, (2 << 30) + 0x1234_5000]);
}

/// Device memory under a CD or a stage 1 table: tables.md §7, S2PTW.
#[test]
fn s2ptw_forbids_walks_of_device_memory() {
    for ptwnnc in [false, true] {
        let features = if ptwnnc { Features::SMMUV3_3 } else { V3_2 };
        for (fwb, memattr, device) in [
            (0, 0b0000, true),
            (0, 0b0011, true),
            (0, 0b0101, false),
            (0, 0b1010, false),
            (0, 0b1111, false),
            (0, 0b0100, true), // reserved: taken as Device-nGnRnE
            (0, 0b1100, true),
            (1, 0b0000, true),
            (1, 0b0011, true),
            (1, 0b0101, false),
            (1, 0b0110, false),
            (1, 0b0111, false),
        ] {
            for s2ptw in [0, 1] {
                for place in 0..2 {
                    let mut machine = NestedMachine::new(features, STRICT, Grain::K4, (Grain::K4, 1, 40));
                    machine.map1(VA, IPA, 12);
                    machine.map2_as(IPA, PA, 12, descriptor::S2_RW.with(descriptor::MEMATTR, memattr));
                    machine.set_ste(machine.ste.with(ste::S2PTW, s2ptw).with(ste::S2FWB, fwb));
                    let ipa = [machine.context, machine.slot1(VA, 2).pa][place];
                    let was = machine.slot2(ipa, 3).descriptor;
                    // With S2FWB everything else has to be something that is not Device either.
                    if fwb == 1 {
                        for page in [
                            machine.context,
                            machine.slot1(VA, 0).pa,
                            machine.slot1(VA, 1).pa,
                            machine.slot1(VA, 2).pa,
                            machine.slot1(VA, 3).pa,
                        ] {
                            machine.remap2(page, descriptor::S2_RW.with(descriptor::MEMATTR, 0b0110));
                        }
                    }
                    set2(&mut machine, ipa, was & !(0xf << 2) | memattr << 2);
                    let name = format!("S2FWB {fwb} MemAttr {memattr:04b} S2PTW {s2ptw} place {place}");
                    if s2ptw == 1 && device {
                        let flags = [S2_CD, S2_TT | TTRNW][place];
                        assert_eq!(
                            machine.record(VA, READ),
                            [number(0x13), flags, VA, ipa & !0xfff],
                            "{name}"
                        );
                    } else {
                        assert_eq!(machine.read(VA), Ok(PA), "{name}");
                    }
                }
            }
        }
    }
}

/// Reading a descriptor or a CD is a data read: XN is nothing to it, S2AP[0] is.
#[test]
fn structures_are_read_as_data() {
    let mut machine = usual();
    for ipa in [machine.context, machine.slot1(VA, 0).pa, machine.slot1(VA, 1).pa, machine.slot1(VA, 3).pa] {
        machine.remap2(ipa, descriptor::S2_RW.with(descriptor::S2AP, 0b01).with(descriptor::S2XN, 0b10));
    }
    assert_eq!(machine.read(VA), Ok(PA));
    for ipa in [machine.context, machine.slot1(VA, 2).pa] {
        let mut machine = usual();
        machine.remap2(ipa, descriptor::S2_RW.with(descriptor::S2AP, 0b10));
        assert_eq!(machine.read(VA), Err(Some("F_PERMISSION")), "{ipa:#x}");
    }
}

/// All nine pairs of granules: pages and blocks of both, at an address in the middle.
#[test]
fn every_pair_of_granules() {
    for first in Grain::ALL {
        for (second, start, bits) in [(Grain::K4, 0, 48), (Grain::K16, 1, 48), (Grain::K64, 1, 48)] {
            let levels = |grain: Grain| (1..4).filter(move |&level| grain.leaf_allowed(level));
            for level1 in levels(first) {
                for level2 in levels(second) {
                    let mut machine = NestedMachine::new(V3_2, STRICT, first, (second, start, bits));
                    let (log1, log2) = (first.level_shift(level1), second.level_shift(level2));
                    let (va, ipa, pa) = (3 << 38, 5 << 38, 7 << 38);
                    machine.map1(va, ipa, log1);
                    machine.map2(ipa, pa, log2);
                    let name = format!("{first:?} level {level1} over {second:?} level {level2}");
                    let least = 1u64 << log1.min(log2);
                    for _ in 0..2 {
                        for offset in [0, least / 2, least - 1] {
                            let found = machine.driver.translate(&transaction(SID, None, va + offset, READ));
                            let found = found.map(|found| (found.pa.0, found.span));
                            assert_eq!(found, Ok((pa + offset, least - offset)), "{name}");
                        }
                    }
                    let fault = if log1 > log2 { S2_IN } else { 0x208_0000_0000 };
                    if log1 != log2 {
                        assert_eq!(machine.record(va + least, READ)[1], fault, "{name}");
                    }
                }
            }
        }
    }
}

/// Streams: (VMID 1, ASID 1) and (1, 2) nested, stage 2 of 1, stage 1 with VMID 1 and ASID 3, nested (2, 1), stage 2 of 2, and
/// two of the hypervisor with ASIDs 1 and 2 and the same tables.
struct Streams {
    driver: Driver<256>,
}

const PAGE: u64 = 0x5000;
const NESTED_PAGE: u64 = 0x4000_0000;

impl Streams {
    fn new(e2h: bool) -> Streams {
        let mut driver = Driver::<256>::new(V3_2, STRICT, 16);
        driver.boot(Boot { cr2: Boot::USUAL.cr2 | u32::from(e2h), ..Boot::USUAL });
        let seconds = [1, 2].map(|_| {
            let Driver { heap, ram, .. } = &mut driver;
            let tables = PageTables::from_level(Grain::K4, 40, 1, heap, ram);
            tables.map(heap, ram, 0x8000_0000, 0x8000_0000, 30, descriptor::S2_RW);
            tables.map(heap, ram, NESTED_PAGE, NESTED_PAGE, 12, descriptor::S2_RW);
            tables.map(heap, ram, PAGE, PAGE, 12, descriptor::S2_RW);
            tables
        });
        let mut firsts = Vec::new();
        let shared = PageTables::stage1(Grain::K4, 25, &mut driver.heap, &mut driver.ram);
        for (sid, (config, vmid, asid)) in (0..).zip([
            (ste::NESTED, 1, 1),
            (ste::NESTED, 1, 2),
            (ste::STAGE_2, 1, 0),
            (ste::STAGE_1, 1, 3),
            (ste::NESTED, 2, 1),
            (ste::STAGE_2, 2, 0),
            (ste::STAGE_1, 0, 1),
            (ste::STAGE_1, 0, 2),
        ]) {
            let Driver { heap, ram, .. } = &mut driver;
            let tables = if sid < 6 { PageTables::stage1(Grain::K4, 25, heap, ram) } else { shared.clone() };
            tables.map(heap, ram, PAGE, NESTED_PAGE, 12, descriptor::S1_RW);
            let context = heap.allocate(64);
            driver.write_record(context, &cd::lower(cd::of(asid, 5), Grain::K4, 25, tables.root).0);
            let second = &seconds[usize::from(vmid == 2)];
            let mut ste =
                ste::with_stage2(ste::of(config), vmid, second, 5).with(ste::S1CONTEXTPTR, context >> 6);
            if sid >= 6 {
                ste = ste.with(ste::STRW, 0b10);
            }
            driver.install_ste(sid, &ste);
            let expected = if config == ste::STAGE_2 { PAGE } else { NESTED_PAGE };
            assert_eq!(driver.access(sid, PAGE, READ), Ok(expected), "stream {sid}");
            firsts.push(tables);
        }
        for tables in firsts.iter().chain(&seconds) {
            tables.unmap(&mut driver.ram, PAGE);
        }
        Streams { driver }
    }

    fn cached(&mut self) -> String {
        (0..8).map(|sid| if self.driver.access(sid, PAGE, READ).is_ok() { '+' } else { '-' }).collect()
    }
}

/// commands.md §5, to the letter, with CR2.E2H = 0 and 1.
#[test]
fn each_tlbi_drops_its_scope_and_no_more() {
    let (only, none) = (Leaf::Only, Hint::NONE);
    let wide = Hint { num: 0, scale: 30, ttl: 0, tg: 1 };
    let rows: [(&str, Command, &str, &str); 22] = [
        ("NH_ALL", commands::tlbi_nh_all(1), "--+-++++", "--+-++++"),
        ("NH_ALL, other VMID", commands::tlbi_nh_all(3), "++++++++", "++++++++"),
        ("NH_ASID", commands::tlbi_nh_asid(1, 1), "-+++++++", "-+++++++"),
        ("NH_ASID", commands::tlbi_nh_asid(1, 3), "+++-++++", "+++-++++"),
        ("NH_VA", commands::tlbi_nh_va(1, 2, PAGE, only, none), "+-++++++", "+-++++++"),
        ("NH_VA", commands::tlbi_nh_va(2, 1, PAGE, only, none), "++++-+++", "++++-+++"),
        ("NH_VA of the IPA", commands::tlbi_nh_va(1, 1, NESTED_PAGE, only, none), "++++++++", "++++++++"),
        ("NH_VAA", commands::tlbi_nh_vaa(1, PAGE, only, none), "--+-++++", "--+-++++"),
        ("NH_VAA, all addresses", commands::tlbi_nh_vaa(2, 0, only, wide), "++++-+++", "++++-+++"),
        ("S2_IPA", commands::tlbi_s2_ipa(1, PAGE, only, none), "++-+++++", "++-+++++"),
        (
            "S2_IPA of the nested page",
            commands::tlbi_s2_ipa(1, NESTED_PAGE, only, none),
            "++++++++",
            "++++++++",
        ),
        ("S2_IPA, all addresses", commands::tlbi_s2_ipa(2, 0, only, wide), "+++++-++", "+++++-++"),
        ("S12_VMALL", commands::tlbi_s12_vmall(1), "----++++", "----++++"),
        ("S12_VMALL", commands::tlbi_s12_vmall(2), "++++--++", "++++--++"),
        ("NSNH_ALL", commands::tlbi_nsnh_all(), "------++", "------++"),
        ("EL2_ALL", commands::tlbi_el2_all(), "++++++--", "++++++--"),
        ("EL2_ASID", commands::tlbi_el2_asid(1), "++++++++", "++++++-+"),
        ("EL2_VA", commands::tlbi_el2_va(2, PAGE, only, none), "++++++--", "+++++++-"),
        ("EL2_VA, other ASID", commands::tlbi_el2_va(77, PAGE, only, none), "++++++--", "++++++++"),
        ("EL2_VA, elsewhere", commands::tlbi_el2_va(1, PAGE + 0x1000, only, none), "++++++++", "++++++++"),
        ("EL2_VAA", commands::tlbi_el2_vaa(PAGE, only, none), "++++++--", "++++++--"),
        ("CFGI_ALL", commands::cfgi_all(), "++++++++", "++++++++"),
    ];
    for (name, command, without, with) in rows {
        for (e2h, expected) in [(false, without), (true, with)] {
            let mut streams = Streams::new(e2h);
            streams.driver.run(&[command]);
            assert_eq!(streams.cached(), expected, "{name}, E2H {e2h}: {command:x?}");
        }
    }
}

/// CR0.VMW = k: the low k bits of the VMID do not count for invalidation; 5 to 7 behave as 0. Look-ups compare all of them.
#[test]
fn vmid_wildcards() {
    let vmids: [u16; 7] = [0x20, 0x21, 0x22, 0x24, 0x28, 0x30, 0x3f];
    let rows: [(u32, &str); 8] = [
        (0, "-++++++"),
        (1, "--+++++"),
        (2, "---++++"),
        (3, "----+++"),
        (4, "-----++"),
        (5, "-++++++"),
        (6, "-++++++"),
        (7, "-++++++"),
    ];
    for (vmw, expected) in rows {
        for by_va in [false, true] {
            let commands: &[Command] = if by_va {
                &[
                    commands::tlbi_nh_all(0x20),
                    commands::tlbi_nh_asid(0x20, 1),
                    commands::tlbi_nh_va(0x20, 1, PAGE, Leaf::Only, Hint::NONE),
                    commands::tlbi_nh_vaa(0x20, PAGE, Leaf::Only, Hint::NONE),
                    commands::tlbi_s12_vmall(0x20),
                ]
            } else {
                &[commands::tlbi_s2_ipa(0x20, PAGE, Leaf::Only, Hint::NONE), commands::tlbi_s12_vmall(0x20)]
            };
            for &command in commands {
                let mut driver = Driver::<256>::booted(V3_2, STRICT, 16);
                driver.write_cr0(value::CMDQEN | value::EVENTQEN | value::SMMUEN | vmw << 6);
                let mut all = Vec::new();
                for (sid, vmid) in (0..).zip(vmids) {
                    let Driver { heap, ram, .. } = &mut driver;
                    let pa = 0x10_0000 + (u64::from(sid) << 12);
                    let (tables, ste) = if by_va {
                        let tables = PageTables::stage1(Grain::K4, 25, heap, ram);
                        tables.map(heap, ram, PAGE, pa, 12, descriptor::S1_RW);
                        let context = heap.allocate(64);
                        driver.write_record(context, &cd::lower(cd::of(1, 5), Grain::K4, 25, tables.root).0);
                        (tables, ste::stage1(context, vmid))
                    } else {
                        let tables = PageTables::from_level(Grain::K4, 40, 1, heap, ram);
                        tables.map(heap, ram, PAGE, pa, 12, descriptor::S2_RW);
                        let ste = ste::with_stage2(ste::of(ste::STAGE_2), vmid, &tables, 5);
                        (tables, ste)
                    };
                    driver.install_ste(sid, &ste);
                    assert_eq!(driver.access(sid, PAGE, READ), Ok(pa));
                    all.push(tables);
                }
                for (sid, tables) in (0..).zip(&all) {
                    tables.unmap(&mut driver.ram, PAGE);
                    let own = Ok(0x10_0000 + (u64::from(sid) << 12));
                    assert_eq!(driver.access(sid, PAGE, READ), own, "look-ups compare the whole VMID");
                }
                driver.run(&[command]);
                let left: String = (0..7)
                    .map(|sid| if driver.access(sid, PAGE, READ).is_ok() { '+' } else { '-' })
                    .collect();
                assert_eq!(left, expected, "VMW {vmw}: {command:x?}");
            }
        }
    }
}

/// Ranges, TG, TTL and Leaf of S2_IPA mean stage 2, as those of NH_VA mean stage 1.
#[test]
fn s2_ipa_ranges_and_levels() {
    let hint = |num, scale, ttl| Hint { num, scale, ttl, tg: 1 };
    let at = |ipa, hint| commands::tlbi_s2_ipa(VMID, ipa, Leaf::Only, hint);
    // A page at 5 << 30, a block of 2 MiB at 6 << 30, one of 1 GiB at 7 << 30.
    let rows: [(&str, Command, &str); 13] = [
        ("one address", at(5 << 30, Hint::NONE), "-++"),
        ("inside the 2 MiB block", at((6 << 30) + 0x1f_f000, Hint::NONE), "+-+"),
        ("after the 2 MiB block", at((6 << 30) + 0x20_0000, Hint::NONE), "+++"),
        ("inside the 1 GiB block", at((8 << 30) - 0x1000, Hint::NONE), "++-"),
        ("level 3 of all", at(0, hint(0, 28, 3)), "-++"),
        ("level 2 of all", at(0, hint(0, 28, 2)), "+-+"),
        ("level 1 of all", at(0, hint(0, 28, 1)), "++-"),
        ("any level of all", at(0, hint(0, 28, 0)), "---"),
        ("32 GiB and no further", at(0, hint(31, 18, 0)), "---"),
        ("up to the first block", at(0, hint(5, 18, 0)), "-++"),
        ("another granule", at(0, Hint { num: 0, scale: 28, ttl: 0, tg: 2 }), "+++"),
        ("not aligned to its length", at((6 << 30) - 0x1000, hint(1, 0, 0)), "+-+"),
        ("no wrap at the top", at(0xf_ffff_ffff_f000, hint(31, 63, 0)), "+++"),
    ];
    for (name, command, expected) in rows {
        let mut machine = NestedMachine::usual().stage2_alone();
        let places = [(5 << 30, 12), (6 << 30, 21), (7 << 30, 30)];
        for (ipa, log2) in places {
            machine.map2(ipa, ipa, log2);
            assert_eq!(machine.read(ipa), Ok(ipa));
            machine.unmap2(ipa);
        }
        machine.run(command);
        let left: String =
            places.iter().map(|&(ipa, _)| if machine.read(ipa).is_ok() { '+' } else { '-' }).collect();
        assert_eq!(left, expected, "{name}");
    }
}

#[test]
fn s2_ipa_with_leaf_0_drops_the_tables_too() {
    for (leaf, dropped) in [(Leaf::Only, false), (Leaf::AndTables, true)] {
        let mut machine = NestedMachine::usual().stage2_alone();
        machine.map2(IPA, PA, 12);
        assert_eq!(machine.read(IPA), Ok(PA));
        let slot = machine.slot2(IPA, 2);
        machine.driver.ram.set_word(slot.pa, 0);
        machine.map2(IPA, PA + 0x1000, 12);
        machine.run(commands::tlbi_s2_ipa(VMID, IPA, leaf, Hint::NONE));
        assert_eq!(machine.read(IPA), Ok(if dropped { PA + 0x1000 } else { PA }), "{leaf:?}");
    }
}

/// tables.md §2: whose ASID an entry has is no matter where stage 2 is looked up for a stage 1 table.
#[test]
fn two_guests_asids_share_stage_2() {
    let mut machine = usual();
    assert_eq!(machine.read(VA), Ok(PA));
    machine.set_cd(machine.cd.with(cd::ASID, u64::from(ASID) + 1));
    let reads = machine.driver.counters.descriptors;
    assert_eq!(machine.read(VA), Ok(PA));
    let more = machine.driver.counters.descriptors - reads;
    assert!((4..=8).contains(&more), "{more} descriptors: stage 1's, and stage 2's of the output alone");
}

/// Reserved bits of what a nested walk reads do not disturb it.
#[test]
fn ignored_bits_of_nested_tables() {
    let mut machine = usual();
    let slot = machine.slot1(VA, 3);
    machine.view().set_word(slot.pa, slot.descriptor | 0x0780_0000_0000_0000);
    let table = machine.slot1(VA, 2);
    machine.view().set_word(table.pa, table.descriptor | 0x07f0_0000_0000_0ffc);
    assert_eq!(machine.read(VA), Ok(PA));
}
