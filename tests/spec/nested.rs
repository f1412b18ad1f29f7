//! Stage 1 under stage 2 (§3.4, §7.3): what each stage reads and reports, and what invalidation finds of both.

#![allow(clippy::panic, reason = "a failed test panics")]

use smmuv3::{Features, Settings};
use smmuv3_tests::bits::Words;
use smmuv3_tests::commands::{Hint, Leaf, tlbi_nh_all, tlbi_nh_vaa, tlbi_nsnh_all, tlbi_s2_ipa};
use smmuv3_tests::driver::{Driver, FREE, Outcome};
use smmuv3_tests::machine::{Machine, SID, STRICT, VMID, nh_va};
use smmuv3_tests::oracle::Access;
use smmuv3_tests::tables::{Grain, PageTables, Ste, cd, descriptor, ste};

const TRANSLATION: Outcome = Err(Some("F_TRANSLATION"));

/// The usual machine under a stage 2 of 4 KiB granules and 40 bits that maps the first megabyte of the tests' own memory,
/// where the CD and all tables lie, page by page onto itself.
struct Nested {
    machine: Machine,
    s2: PageTables,
}

impl Nested {
    fn new(settings: Settings) -> Nested {
        let mut machine = Machine::new(Features::SMMUV3_2, settings, Grain::K4);
        let driver = &mut machine.driver;
        let s2 = PageTables::from_level(Grain::K4, 40, 1, &mut driver.heap, &mut driver.ram);
        let mut nested = Nested { machine, s2 };
        for page in (FREE..FREE + 0x10_0000).step_by(0x1000) {
            nested.map(page, page);
        }
        nested.machine.set_ste(&nested.ste());
        nested
    }

    /// Config = 111, start level 1, S2PS = 5 (48 bits).
    fn ste(&self) -> Ste {
        ste::stage1(self.machine.context, VMID)
            .with(ste::CONFIG, ste::NESTED)
            .with(ste::S2T0SZ, 24)
            .with(ste::S2SL0, 1)
            .with(ste::S2PS, 5)
            .with(ste::S2AA64, 1)
            .with(ste::S2R, 1)
            .with(ste::S2TTB, self.s2.root >> 4)
    }

    /// Maps an IPA page of stage 2.
    fn map(&mut self, ipa: u64, pa: u64) {
        self.map_as(ipa, pa, descriptor::S2_RW);
    }

    fn map_as(&mut self, ipa: u64, pa: u64, attributes: descriptor::Attributes) {
        let Driver { heap, ram, .. } = &mut self.machine.driver;
        self.s2.map(heap, ram, ipa, pa, 12, attributes);
    }

    /// Makes an IPA page of stage 2 invalid, and tells nobody.
    fn unmap(&mut self, ipa: u64) {
        self.s2.unmap(&mut self.machine.driver.ram, ipa);
    }
}

/// Pages 0, 1, 255 and 511 of the 2 MiB block of stage 1 at 0x4000_0000, each cached through a page of stage 2.
const PIECES: [u64; 4] = [0x4000_0000, 0x4000_1000, 0x400f_f000, 0x401f_f000];

fn with_pieces(settings: Settings) -> Nested {
    let mut nested = Nested::new(settings);
    nested.machine.map(0x4000_0000, 0x60_0000, 21);
    for va in PIECES {
        let ipa = va - 0x4000_0000 + 0x60_0000;
        nested.map(ipa, 0x12_0000_0000 + 2 * ipa);
        assert_eq!(nested.machine.read(va), Ok(0x12_0000_0000 + 2 * ipa));
    }
    nested.machine.unmap(0x4000_0000);
    assert!(nested.machine.read(0x4000_1000).is_ok(), "cached");
    nested
}

#[test]
fn r11_one_command_at_a_block_of_stage_1_drops_every_piece() {
    let commands = [
        ("NH_VA at the block", nh_va(0x4000_0000, Hint::NONE)),
        ("NH_VA inside the block", nh_va(0x4012_3000, Hint::NONE)),
        ("NH_VAA", tlbi_nh_vaa(VMID, 0x4000_0000, Leaf::Only, Hint::NONE)),
        ("TTL is stage 1's level", nh_va(0x4000_0000, Hint { num: 0, scale: 9, ttl: 2, tg: 1 })),
        ("a range of one page, TTL 2", nh_va(0x4000_0000, Hint { num: 0, scale: 0, ttl: 2, tg: 1 })),
        ("a range of two pages", nh_va(0x4000_0000, Hint { num: 1, scale: 0, ttl: 0, tg: 1 })),
    ];
    for settings in [STRICT, Settings::new(64, 4), Settings::new(1, 64)] {
        for (name, command) in commands {
            let mut nested = with_pieces(settings);
            nested.machine.run(command);
            for va in PIECES {
                assert_eq!(nested.machine.read(va), TRANSLATION, "{name}: {va:#x}");
            }
        }
    }
}

#[test]
fn r11_hints_of_other_leaves_spare_the_pieces() {
    for hint in [Hint { num: 0, scale: 9, ttl: 3, tg: 1 }, Hint { num: 0, scale: 9, ttl: 2, tg: 3 }] {
        let mut nested = with_pieces(STRICT);
        nested.machine.run(nh_va(0x4000_0000, hint));
        assert!(nested.machine.read(PIECES[1]).is_ok(), "{hint:?}");
    }
}

#[test]
fn e7_the_root_table_is_translated_at_each_walk() {
    let mut nested = Nested::new(STRICT);
    nested.map(0x9000, 0x9000);
    nested.map(0xa000, 0xa000);
    nested.machine.map(0x5000, 0x9000, 12);
    let root = nested.machine.tables.root;
    assert_eq!(nested.machine.read(0x5000), Ok(0x9000));
    // Another page gets the root table's IPA; its first entry leads to 0xa000.
    let driver = &mut nested.machine.driver;
    let other = PageTables::stage1(Grain::K4, 16, &mut driver.heap, &mut driver.ram);
    other.map(&mut driver.heap, &mut driver.ram, 0x5000, 0xa000, 12, descriptor::S1_RW);
    nested.map(root, other.root);
    nested.machine.driver.run(&[tlbi_s2_ipa(VMID, root, Leaf::Only, Hint::NONE), tlbi_nh_all(VMID)]);
    assert_eq!(nested.machine.read(0x5000), Ok(0xa000));
}

#[test]
fn e8_every_descriptor_is_translated_by_its_own_address() {
    // Stage 1: 64 KiB granules and 29 bits, so one level 3 table of 64 KiB: sixteen pages of stage 2.
    let table = 0x1_0000_0000;
    let mut nested = Nested::new(STRICT);
    let pages: Vec<u64> = (0..16).map(|_| nested.machine.driver.heap.allocate(0x2000)).collect();
    for (page, &pa) in (0..).zip(pages.iter().rev()) {
        nested.map(table + (page << 12), pa);
    }
    let context = nested.machine.cd;
    nested.machine.set_cd(cd::lower(context, Grain::K64, 35, table));
    for index in [0u64, 1, 511, 512, 1024, 4095, 7680, 8191] {
        let ipa = 0x2_0000_0000 + (index << 16);
        nested.map(ipa + 0x3000, 0x34_0000_0000 + (index << 12));
        let page = pages.iter().rev().nth((index / 512) as usize).copied().unwrap_or_default();
        let leaf = descriptor::leaf(Grain::K64, 3, ipa, descriptor::S1_RW);
        nested.machine.driver.ram.set_word(page + 8 * (index % 512), leaf);
        let found = nested.machine.read(index << 16 | 0x3456);
        assert_eq!(found, Ok(0x34_0000_0456 + (index << 12)), "entry {index}");
    }
}

/// RnW = bit 99, S2 = bit 103, CLASS = bits 105:104; IPA in dword 3.
#[test]
fn e9_a_hit_that_is_denied_names_its_stage() {
    let mut nested = Nested::new(STRICT);
    let read_only = descriptor::S2_RW.with(descriptor::S2AP, 0b01);
    nested.map_as(0x9000, 0x12_0000_9000, read_only);
    nested.map(0xa000, 0x12_0000_a000);
    nested.machine.map(0x5000, 0x9000, 12);
    nested.machine.map_as(0x6000, 0xa000, 12, descriptor::S1_RW.with(descriptor::AP, 0b11));
    nested.machine.map_as(0x7000, 0x9000, 12, descriptor::S1_RW.with(descriptor::AP, 0b11));
    let rows = [
        ("stage 2", 0x5678, [0x0000_0007_0000_0013, 0x0000_0280_0000_0000, 0x5678, 0x9000]),
        ("stage 1", 0x6678, [0x0000_0007_0000_0013, 0x0000_0200_0000_0000, 0x6678, 0]),
        ("both: stage 1 comes first", 0x7678, [0x0000_0007_0000_0013, 0x0000_0200_0000_0000, 0x7678, 0]),
    ];
    for (name, va, record) in rows {
        for cached in [false, true] {
            nested.machine.run(tlbi_nh_all(VMID));
            if cached {
                assert!(nested.machine.read(va).is_ok(), "{name}");
            }
            assert_eq!(nested.machine.write(va), Err(Some("F_PERMISSION")), "{name}");
            assert_eq!(nested.machine.driver.events(), [record], "{name}, cached: {cached}");
        }
    }
}

/// events.md §2, S2 / CLASS / IPA: CD 0, TT 1, IN 2; the IPA is that of the descriptor or CD, not of the transaction.
#[test]
fn e20_a_stage_2_fault_on_a_table_says_so() {
    let (flags_cd, flags_tt, flags_in) =
        (0x0000_0088_0000_0000, 0x0000_0188_0000_0000, 0x0000_0288_0000_0000);
    let slot =
        |nested: &Nested, level| nested.machine.tables.find(&nested.machine.driver.ram, 0x5000, level).pa;
    type Ipa<'a> = &'a dyn Fn(&Nested) -> u64;
    let rows: [(&str, u64, Ipa<'_>); 6] = [
        ("E3: the CD", flags_cd, &|nested| nested.machine.context),
        ("level 0", flags_tt, &|nested| slot(nested, 0)),
        ("level 1", flags_tt, &|nested| slot(nested, 1)),
        ("level 2", flags_tt, &|nested| slot(nested, 2)),
        ("level 3", flags_tt, &|nested| slot(nested, 3)),
        ("the output", flags_in, &|_| 0x9000),
    ];
    for (name, flags, ipa) in rows {
        let mut nested = Nested::new(STRICT);
        nested.map(0x9000, 0x9000);
        nested.machine.map(0x5000, 0x9000, 12);
        let ipa = ipa(&nested);
        nested.unmap(ipa);
        assert_eq!(nested.machine.read(0x5678), TRANSLATION, "{name}");
        let record = [0x0000_0007_0000_0010, flags, 0x5678, ipa & !0xfff];
        assert_eq!(nested.machine.driver.events(), [record], "{name}");
    }
}

#[test]
fn e11_a_walk_leaves_the_cached_configuration_alone() {
    let mut nested = Nested::new(STRICT);
    nested.map(0x9000, 0x9000);
    nested.machine.map(0x5000, 0x9000, 12);
    assert_eq!(nested.machine.read(0x5000), Ok(0x9000));
    let before = nested.machine.driver.smmu.config_cache().clone();
    let ask = Access { write: true, instruction: false, privileged: true };
    for va in [0x5000, 0x6000, 0x0001_0000_0000_0000, u64::MAX] {
        nested.machine.driver.access(SID, va, ask).ok();
    }
    let after = nested.machine.driver.smmu.config_cache();
    assert!(before.stes().eq(after.stes()), "STEs");
    assert!(before.cds().eq(after.cds()), "CDs");
}

/// tables.md §8: the update of a descriptor of stage 1 is a write at stage 2, which the record of its denial tells: TTRnW = 0.
#[test]
fn an_update_of_stage_1_needs_the_right_to_write_its_table() {
    for (s2ap, expected) in [(0b11, Ok(0x9000)), (0b01, Err(Some("F_PERMISSION")))] {
        let mut nested = Nested::new(STRICT);
        nested.map(0x9000, 0x9000);
        let clean = descriptor::S1_RW.with(descriptor::AP, 0b11).with(descriptor::DBM, 1);
        nested.machine.map_as(0x5000, 0x9000, 12, clean);
        let cd = nested.machine.cd.with(cd::HA, 1).with(cd::HD, 1);
        nested.machine.set_cd(cd);
        let slot = nested.machine.tables.find(&nested.machine.driver.ram, 0x5000, 3);
        let page = slot.pa & !0xfff;
        nested.map_as(page, page, descriptor::S2_RW.with(descriptor::S2AP, s2ap));
        assert!(nested.machine.read(0x5678).is_ok(), "reading needs no update");
        assert_eq!(nested.machine.write(0x5000), expected, "S2AP {s2ap:02b}");
        let after = nested.machine.tables.find(&nested.machine.driver.ram, 0x5000, 3);
        assert_eq!(slot.descriptor ^ after.descriptor, if expected.is_ok() { 1 << 7 } else { 0 });
        if expected.is_err() {
            let record = [0x0000_0007_0000_0013, 0x0000_0180_0000_0000, 0x5000, page];
            assert_eq!(nested.machine.driver.events(), [record]);
        }
    }
}

/// S2PTW = 1: stage 1's tables and CDs may not lie in what stage 2 calls Device memory (MemAttr 00xx).
#[test]
fn protected_walks_do_not_use_device_memory() {
    let device = descriptor::S2_RW.with(descriptor::MEMATTR, 0b0001);
    for s2ptw in [0, 1] {
        let mut nested = Nested::new(STRICT);
        nested.map_as(0x9000, 0x9000, device);
        nested.machine.map(0x5000, 0x9000, 12);
        let ste = nested.ste().with(ste::S2PTW, s2ptw);
        nested.machine.set_ste(&ste);
        assert_eq!(nested.machine.read(0x5000), Ok(0x9000), "the output may be Device memory");
        let root = nested.machine.tables.root;
        nested.map_as(root, root, device);
        nested.machine.driver.run(&[tlbi_nsnh_all()]);
        let found = nested.machine.read(0x5000);
        assert_eq!(found, if s2ptw == 1 { Err(Some("F_PERMISSION")) } else { Ok(0x9000) }, "S2PTW {s2ptw}");
        if s2ptw == 1 {
            // TTRnW = bit 108: the walk reads.
            let record = [0x0000_0007_0000_0013, 0x0000_1188_0000_0000, 0x5000, root];
            assert_eq!(nested.machine.driver.events(), [record]);
        }
    }
}

/// commands.md §5: S2_IPA with Leaf = 0 drops stage 2's own tables as well, with Leaf = 1 it need not.
#[test]
fn s2_ipa_with_leaf_0_drops_the_tables_of_stage_2() {
    for (leaf, expected) in [(Leaf::Only, Ok(0x9000)), (Leaf::AndTables, TRANSLATION)] {
        let mut nested = Nested::new(STRICT);
        nested.map(0x9000, 0x9000);
        nested.machine.map(0x5000, 0x9000, 12);
        assert_eq!(nested.machine.read(0x5000), Ok(0x9000));
        let slot = nested.s2.find(&nested.machine.driver.ram, 0x9000, 2);
        nested.machine.driver.ram.set_word(slot.pa, 0);
        nested.machine.driver.run(&[tlbi_s2_ipa(VMID, 0x9000, leaf, Hint::NONE), tlbi_nh_all(VMID)]);
        assert_eq!(nested.machine.read(0x5000), expected, "{leaf:?}");
    }
}

/// tables.md §8: the update of a stage 1 descriptor is a write to its intermediate physical address; the walk without
/// caches asks for it as the device does.
#[test]
fn a_flag_update_needs_stage_2_to_let_it_write() {
    let mut nested = Nested::new(STRICT);
    nested.machine.map_as(0x5000, 0x7000, 12, descriptor::S1_RW.with(descriptor::AF, 0));
    nested.map(0x7000, 0x9000);
    nested.machine.set_cd(nested.machine.cd.with(cd::HA, 1));
    let table = nested.machine.tables.find(&nested.machine.driver.ram, 0x5000, 3).pa & !0xfff;
    nested.map_as(table, table, descriptor::S2_RW.with(descriptor::S2AP, 0b01));
    nested.machine.run(tlbi_nsnh_all());
    let ask = smmuv3_tests::driver::transaction(SID, None, 0x5000, Access::READ);
    assert_eq!(nested.machine.driver.walk(&ask), Err(Some("F_PERMISSION")));
    assert_eq!(nested.machine.read(0x5000), Err(Some("F_PERMISSION")));
    let records = nested.machine.driver.events();
    let class_and_stage =
        records.first().map(|record| (record[1] >> 39 & 1, record[1] >> 40 & 0b11, record[1] >> 44 & 1));
    assert_eq!(class_and_stage, Some((1, 1, 0)), "S2, CLASS = TT, TTRnW = 0");
}
