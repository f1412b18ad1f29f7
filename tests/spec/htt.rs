//! Hardware updates of Access flag and dirty state (§3.13, tables of DDI 0487 §D8.5), at both stages: the answer, and every
//! descriptor afterwards.

#![allow(clippy::panic, clippy::indexing_slicing, reason = "a failed test panics")]

use smmuv3::{Abort, Env, Features, Memory, NoInterrupts, NoTrace, Pa, Terminated, Transaction, Translation};
use smmuv3::{Iova, StreamId};
use smmuv3_tests::bits::{Record, Words};
use smmuv3_tests::commands::{tlbi_nsnh_all, tlbi_s12_vmall};
use smmuv3_tests::driver::{Driver, Outcome, Ram, transaction, value};
use smmuv3_tests::machine::{SID, STRICT, VMID};
use smmuv3_tests::machine_nested::NestedMachine;
use smmuv3_tests::oracle::Access;
use smmuv3_tests::tables::{Grain, cd, descriptor, ste};

const READ: Access = Access::READ;
const WRITE: Access = Access::WRITE;
const VA: u64 = 0x80_0000_5000;
const IPA: u64 = 0x4000_9000;
const PA: u64 = 0x1_2000;

const AF: u64 = 1 << 10;
/// AP[2] of stage 1, S2AP[1] of stage 2.
const WRITABLE: u64 = 1 << 7;

const ACCESS: Outcome = Err(Some("F_ACCESS"));
const PERMISSION: Outcome = Err(Some("F_PERMISSION"));

/// Both stages with what HA, HD, AFFD are to be at each.
fn machine(first: [u64; 3], second: [u64; 3]) -> NestedMachine {
    let mut machine = NestedMachine::usual();
    let [ha, hd, affd] = first;
    machine.set_cd(machine.cd.with(cd::HA, ha).with(cd::HD, hd).with(cd::AFFD, affd));
    let [ha, hd, affd] = second;
    machine.set_ste(machine.ste.with(ste::S2HA, ha).with(ste::S2HD, hd).with(ste::S2AFFD, affd));
    machine.map1(VA, IPA, 12);
    machine.map2(IPA, PA, 12);
    machine
}

/// The leaf of stage 1 or 2 that translates the machine's page.
fn leaf(machine: &mut NestedMachine, stage: usize) -> u64 {
    if stage == 1 { machine.slot1(VA, 3).descriptor } else { machine.slot2(IPA, 3).descriptor }
}

/// Where that leaf really is.
fn place(machine: &mut NestedMachine, stage: usize) -> u64 {
    if stage == 1 {
        let slot = machine.slot1(VA, 3);
        machine.frame(slot.pa)
    } else {
        machine.slot2(IPA, 3).pa
    }
}

fn set_leaf(machine: &mut NestedMachine, stage: usize, word: u64) {
    if stage == 1 {
        let slot = machine.slot1(VA, 3);
        machine.view().set_word(slot.pa, word);
    } else {
        let slot = machine.slot2(IPA, 3);
        machine.driver.ram.set_word(slot.pa, word);
    }
}

/// tables.md §8, rows 1 to 3: AF = 0.
#[test]
fn access_flags() {
    for stage in [1, 2] {
        for (ha, affd, expected, set) in
            [(0, 0, ACCESS, false), (0, 1, Ok(PA), false), (1, 0, Ok(PA), true), (1, 1, Ok(PA), true)]
        {
            let (mine, other) = ([ha, 0, affd], [0, 0, 0]);
            let mut machine = if stage == 1 { machine(mine, other) } else { machine(other, mine) };
            let word = leaf(&mut machine, stage) & !AF;
            set_leaf(&mut machine, stage, word);
            assert_eq!(
                machine.driver.walk(&transaction(SID, None, VA, READ)),
                expected,
                "stage {stage} walk"
            );
            let pa = place(&mut machine, stage);
            let wanted = if set { vec![(pa, word, word | AF)] } else { Vec::new() };
            assert_eq!(machine.watch(VA, READ), (expected, wanted), "stage {stage} HA {ha} AFFD {affd}");
            assert_eq!(machine.watch(VA, READ), (expected, Vec::new()), "stage {stage}, again");
        }
    }
}

/// Rows 4 to 6: a write to what is read-only, by every setting of HA, HD, DBM; and what a read does.
#[test]
fn dirty_state() {
    for stage in [1, 2] {
        for bits in 0..16u64 {
            let [ha, hd, dbm, af] = [bits & 1, bits >> 1 & 1, bits >> 2 & 1, bits >> 3];
            let (mine, other) = ([ha, hd, 0], [0, 0, 0]);
            let name = format!("stage {stage} HA {ha} HD {hd} DBM {dbm} AF {af}");
            for access in [READ, WRITE] {
                let mut machine = if stage == 1 { machine(mine, other) } else { machine(other, mine) };
                let word = leaf(&mut machine, stage) & !AF | (af * AF) | dbm << 51;
                // Read-only: AP[2] = 1, or S2AP[1] = 0.
                let word = if stage == 1 { word | WRITABLE } else { word & !WRITABLE };
                set_leaf(&mut machine, stage, word);
                let is_accessed = af == 1 || ha == 1;
                let dirties = ha == 1 && hd == 1 && dbm == 1 && access.write;
                let expected = match () {
                    () if !is_accessed => ACCESS,
                    () if access.write && !dirties => PERMISSION,
                    () => Ok(PA),
                };
                let asked = transaction(SID, None, VA, access);
                assert_eq!(machine.driver.walk(&asked), expected, "{name} {access:?}, walk");
                let mut wanted = word;
                if expected.is_ok() && ha == 1 {
                    wanted |= AF;
                }
                if dirties {
                    wanted ^= WRITABLE;
                }
                let pa = place(&mut machine, stage);
                let wanted = if wanted == word { Vec::new() } else { vec![(pa, word, wanted)] };
                assert_eq!(machine.watch(VA, access), (expected, wanted), "{name} {access:?}");
            }
        }
    }
}

/// A remembered translation that is writable clean lets reads pass; the first write marks the descriptor, and only that one.
#[test]
fn a_clean_entry_is_walked_again_for_a_write() {
    for stage in [1, 2] {
        let mut machine = machine([1, 1, 0], [1, 1, 0]);
        let word = leaf(&mut machine, stage) | 1 << 51;
        let clean = if stage == 1 { word | WRITABLE } else { word & !WRITABLE };
        set_leaf(&mut machine, stage, clean);
        assert_eq!(machine.read(VA), Ok(PA));
        assert_eq!(machine.read(VA), Ok(PA));
        assert_eq!(leaf(&mut machine, stage), clean, "stage {stage}: a read does not make it dirty");
        assert_eq!(machine.write(VA), Ok(PA));
        assert_eq!(leaf(&mut machine, stage), clean ^ WRITABLE, "stage {stage}: a write does");
        let reads = machine.driver.counters.descriptors;
        assert_eq!(machine.write(VA), Ok(PA));
        assert_eq!(machine.driver.counters.descriptors, reads, "stage {stage}: the second write hits");
    }
}

/// Both stages clean: one write marks both.
#[test]
fn both_stages_become_dirty() {
    let mut machine = machine([1, 1, 0], [1, 1, 0]);
    let first = leaf(&mut machine, 1) | 1 << 51 | WRITABLE;
    let second = leaf(&mut machine, 2) & !WRITABLE | 1 << 51;
    set_leaf(&mut machine, 1, first & !AF);
    set_leaf(&mut machine, 2, second & !AF);
    assert_eq!(machine.read(VA), Ok(PA));
    assert_eq!((leaf(&mut machine, 1), leaf(&mut machine, 2)), (first, second), "a read: the Access flags");
    assert_eq!(machine.write(VA), Ok(PA));
    assert_eq!((leaf(&mut machine, 1), leaf(&mut machine, 2)), (first ^ WRITABLE, second ^ WRITABLE));
}

#[test]
fn an_atomic_access_makes_dirty_too() {
    let mut machine = machine([1, 1, 0], [0, 0, 0]);
    let clean = leaf(&mut machine, 1) | 1 << 51 | WRITABLE;
    set_leaf(&mut machine, 1, clean);
    let atomic = Transaction { access: smmuv3::Access::Atomic, ..Transaction::read(StreamId(SID), Iova(VA)) };
    assert_eq!(machine.driver.translate(&atomic).map(|found| found.pa.0), Ok(PA));
    assert_eq!(leaf(&mut machine, 1), clean ^ WRITABLE);
}

/// Row 7: a writable-clean page counts as writable where execution is decided, and is not updated by that.
#[test]
fn writable_clean_pages_are_not_executable() {
    let fetch = Access { write: false, instruction: true, privileged: false };
    let executable =
        descriptor::S1_RW.with(descriptor::UXN, 0).with(descriptor::PXN, 0).with(descriptor::DBM, 1);
    // AP, WXN, PnU, HD → may execute
    for (ap, wxn, privileged, hd, allowed) in [
        (0b11, 1, false, 1, false),
        (0b11, 1, false, 0, true),
        (0b11, 0, false, 1, true),
        (0b11, 0, true, 1, false), // unprivileged writes: never executable for the privileged
        (0b11, 0, true, 0, true),
        (0b10, 1, true, 1, false),
        (0b10, 1, true, 0, true),
        (0b10, 0, true, 1, true),
    ] {
        let mut machine = machine([1, hd, 0], [0, 0, 0]);
        machine.set_cd(machine.cd.with(cd::WXN, wxn));
        machine.map1_as(VA, IPA, 12, executable.with(descriptor::AP, ap));
        let before = leaf(&mut machine, 1);
        let found = machine.driver.access(SID, VA, Access { privileged, ..fetch });
        let expected = if allowed { Ok(PA) } else { PERMISSION };
        assert_eq!(found, expected, "AP {ap:02b} WXN {wxn} PnU {privileged} HD {hd}");
        assert_eq!(leaf(&mut machine, 1), before);
    }
}

/// Pitfall 66: nothing becomes dirty if the write fails for another reason.
#[test]
fn no_update_if_something_else_forbids_the_write() {
    let clean = descriptor::S1_RW.with(descriptor::DBM, 1).with(descriptor::AP, 0b11);
    type Forbid = fn(&mut NestedMachine);
    let rows: [(&str, Forbid, descriptor::Attributes, bool); 4] = [
        (
            "APTable[1]",
            |machine| {
                let table = machine.slot1(VA, 1);
                machine.view().set_word(table.pa, table.descriptor | 1 << 62);
            },
            clean,
            false,
        ),
        (
            "APTable[0], unprivileged",
            |machine| {
                let table = machine.slot1(VA, 1);
                machine.view().set_word(table.pa, table.descriptor | 1 << 61);
            },
            clean,
            false,
        ),
        ("AP[1] = 0, unprivileged", |_| {}, clean.with(descriptor::AP, 0b10), false),
        ("PAN, privileged", |machine| machine.set_cd(machine.cd.with(cd::PAN, 1)), clean, true),
    ];
    for (name, forbid, attributes, privileged) in rows {
        let mut machine = machine([1, 1, 0], [0, 0, 0]);
        machine.map1_as(VA, IPA, 12, attributes);
        forbid(&mut machine);
        let before = leaf(&mut machine, 1);
        let found = machine.driver.access(SID, VA, Access { privileged, ..WRITE });
        assert_eq!(found, PERMISSION, "{name}");
        assert_eq!(leaf(&mut machine, 1), before, "{name}");
    }
}

/// Row 2: S2HA sets the Access flag for the page of the CD, and of each stage 1 table; nothing of that is ever dirty.
#[test]
fn pages_of_structures_are_accessed() {
    let mut machine = machine([0, 0, 0], [1, 1, 0]);
    let pages: Vec<u64> =
        [machine.context].into_iter().chain((0..4).map(|level| machine.slot1(VA, level).pa)).collect();
    let clean =
        descriptor::S2_RW.with(descriptor::S2AP, 0b01).with(descriptor::DBM, 1).with(descriptor::AF, 0);
    for &page in &pages {
        machine.remap2(page, clean);
    }
    assert_eq!(machine.write(VA), Ok(PA));
    for page in pages {
        let found = machine.slot2(page, 3).descriptor;
        assert_eq!(found & (AF | WRITABLE), AF, "{page:#x}: {found:#x}");
    }
}

/// Without S2HA the same page is F_ACCESS, of the right class.
#[test]
fn pages_of_structures_without_hardware_updates() {
    for (place, flags) in [(0, 0x088_0000_0000), (1, 0x188_0000_0000)] {
        let mut machine = machine([1, 1, 0], [0, 0, 0]);
        let ipa = [machine.context, machine.slot1(VA, 2).pa][place];
        machine.remap2(ipa, descriptor::S2_RW.with(descriptor::AF, 0));
        assert_eq!(machine.record(VA, READ), [0x7_0000_0012, flags, VA, ipa & !0xfff]);
    }
}

/// Row 9 and the note below it: updating a stage 1 descriptor is a write of stage 2.
#[test]
fn an_update_of_stage_1_needs_to_be_allowed_to_write() {
    for dirty in [false, true] {
        let access = if dirty { WRITE } else { READ };
        let prepare = |second: [u64; 3], s2ap: u64, dbm: u64| {
            let mut machine = machine([1, 1, 0], second);
            let word = leaf(&mut machine, 1);
            set_leaf(&mut machine, 1, if dirty { word | 1 << 51 | WRITABLE } else { word & !AF });
            let page = machine.slot1(VA, 3).pa & !0xfff;
            let attributes = descriptor::S2_RW.with(descriptor::S2AP, s2ap).with(descriptor::DBM, dbm);
            machine.remap2(page, attributes);
            (machine, page)
        };
        for (second, s2ap, dbm, allowed) in [
            ([0, 0, 0], 0b11, 0, true),
            ([0, 0, 0], 0b01, 0, false),
            ([0, 0, 0], 0b01, 1, false),
            ([1, 0, 0], 0b01, 1, false),
            ([1, 1, 0], 0b01, 0, false),
            ([1, 1, 0], 0b01, 1, true),
        ] {
            let name = format!("dirty {dirty}, S2 {second:?}, S2AP {s2ap:02b}, DBM {dbm}");
            let (mut machine, page) = prepare(second, s2ap, dbm);
            let before = leaf(&mut machine, 1);
            if allowed {
                assert_eq!(machine.driver.access(SID, VA, access), Ok(PA), "{name}");
                let expected = if dirty { before ^ WRITABLE } else { before | AF };
                assert_eq!(leaf(&mut machine, 1), expected, "{name}");
                let second = machine.slot2(page, 3).descriptor;
                assert_eq!(second & WRITABLE, WRITABLE, "{name}: the page of the table is dirty, too");
            } else {
                let walked = machine.driver.walk(&transaction(SID, None, VA, access));
                assert_eq!(walked, PERMISSION, "{name}, walk");
                // F_PERMISSION, S2 = 1, CLASS = TT, TTRnW = 0; RnW is the transaction's.
                let flags = 0x180_0000_0000 | if dirty { 0 } else { 0x8_0000_0000 };
                assert_eq!(machine.record(VA, access), [0x7_0000_0013, flags, VA, page], "{name}");
                assert_eq!(leaf(&mut machine, 1), before, "{name}");
            }
        }
    }
}

/// What needs no update does not write: read-only tables of stage 1 are fine.
#[test]
fn without_an_update_reading_is_enough() {
    let mut machine = machine([1, 1, 0], [0, 0, 0]);
    let page = machine.slot1(VA, 3).pa & !0xfff;
    machine.remap2(page, descriptor::S2_RW.with(descriptor::S2AP, 0b01));
    assert_eq!(machine.write(VA), Ok(PA));
}

/// Row: AF = 0 entries are never cached, unless AFFD says they count as 1.
#[test]
fn entries_without_access_flag_are_not_remembered() {
    for stage in [1, 2] {
        let mut machine = machine([0, 0, 0], [0, 0, 0]);
        let word = leaf(&mut machine, stage);
        set_leaf(&mut machine, stage, word & !AF);
        assert_eq!(machine.read(VA), ACCESS);
        set_leaf(&mut machine, stage, word);
        assert_eq!(machine.read(VA), Ok(PA), "stage {stage}");
    }
}

#[test]
fn nothing_is_updated_while_the_smmu_is_disabled() {
    let mut machine = machine([1, 1, 0], [1, 1, 0]);
    let word = leaf(&mut machine, 1) & !AF;
    set_leaf(&mut machine, 1, word);
    machine.driver.write_cr0(value::CMDQEN | value::EVENTQEN);
    assert_eq!(machine.read(VA), Ok(VA), "bypass");
    assert_eq!(leaf(&mut machine, 1), word);
}

/// HTTU = 1: Access flags alone.
#[test]
fn access_flags_without_dirty_state() {
    let features = Features { httu: 1, ..Features::SMMUV3_2 };
    let mut machine = NestedMachine::new(features, STRICT, Grain::K4, (Grain::K4, 1, 40));
    machine.map1_as(VA, IPA, 12, descriptor::S1_RW.with(descriptor::AF, 0));
    machine.map2_as(IPA, PA, 12, descriptor::S2_RW.with(descriptor::AF, 0));
    machine.set_cd(machine.cd.with(cd::HA, 1));
    machine.set_ste(machine.ste.with(ste::S2HA, 1));
    assert_eq!(machine.read(VA), Ok(PA));
    assert_eq!((leaf(&mut machine, 1) & AF, leaf(&mut machine, 2) & AF), (AF, AF));
    machine.set_ste(machine.ste.with(ste::S2HD, 1));
    assert_eq!(machine.read(VA), Err(Some("C_BAD_STE")));
}

/// Memory in which somebody else writes the descriptor just before the device does, or which refuses to be updated.
struct Racing<'a> {
    ram: &'a mut Ram,
    /// Compare-and-exchange operations that will still fail.
    failures: u32,
    /// What is written then, at whatever address.
    instead: Option<u64>,
    /// Updates abort.
    aborts: bool,
    /// Those that were tried.
    tries: Vec<u64>,
}

impl Memory for Racing<'_> {
    fn read(&self, pa: Pa, data: &mut [u8]) -> Result<(), Abort> {
        self.ram.read(pa, data)
    }

    fn write(&mut self, pa: Pa, data: &[u8]) -> Result<(), Abort> {
        self.ram.write(pa, data)
    }

    fn compare_exchange(&mut self, pa: Pa, current: u64, new: u64) -> Result<bool, Abort> {
        self.tries.push(pa.0);
        if self.aborts {
            return Err(Abort);
        }
        if self.failures > 0 {
            self.failures -= 1;
            if let Some(word) = self.instead {
                self.ram.set_word(pa.0, word);
            }
            return Ok(false);
        }
        if self.ram.word(pa.0) != Some(current) {
            return Ok(false);
        }
        self.ram.set_word(pa.0, new);
        Ok(true)
    }
}

/// An access while somebody else writes; the answer, and the addresses of the updates that were tried.
fn race(
    machine: &mut NestedMachine,
    access: Access,
    failures: u32,
    instead: Option<u64>,
    aborts: bool,
) -> (Result<Translation, Terminated>, Vec<u64>) {
    let Driver { smmu, ram, .. } = &mut machine.driver;
    let mut memory = Racing { ram, failures, instead, aborts, tries: Vec::new() };
    let mut env = Env { memory: &mut memory, interrupts: &mut NoInterrupts, trace: &mut NoTrace };
    let found = smmu.translate(&transaction(SID, None, VA, access), &mut env);
    (found, memory.tries)
}

fn name(found: Result<Translation, Terminated>) -> Outcome {
    found.map(|found| found.pa.0).map_err(|ended| ended.event.map(|event| event.name()))
}

/// A machine whose leaf of `stage` waits for its Access flag; the leaf's physical address and word.
fn waiting(stage: usize) -> (NestedMachine, u64, u64) {
    let mut machine = machine([1, 1, 0], [1, 1, 0]);
    let word = leaf(&mut machine, stage) & !AF;
    set_leaf(&mut machine, stage, word);
    let pa = place(&mut machine, stage);
    (machine, pa, word)
}

#[test]
fn a_lost_race_walks_again() {
    for stage in [1, 2] {
        for failures in 0..8 {
            let (mut machine, pa, word) = waiting(stage);
            let (found, tries) = race(&mut machine, READ, failures, None, false);
            assert_eq!(name(found), Ok(PA), "stage {stage}, {failures} failures");
            assert_eq!(tries, vec![pa; failures as usize + 1], "stage {stage}, {failures} failures");
            assert_eq!(machine.driver.ram.word(pa), Some(word | AF));
        }
        // It has to end some time: this model gives up after eight tries.
        let (mut machine, pa, word) = waiting(stage);
        let (found, tries) = race(&mut machine, READ, u32::MAX, None, false);
        assert_eq!(name(found), Err(Some("F_WALK_EABT")), "stage {stage}");
        assert!(tries.len() <= 64 && tries.iter().all(|&tried| tried == pa), "stage {stage}: {tries:x?}");
        assert_eq!(machine.driver.ram.word(pa), Some(word));
    }
}

/// The walk after the race believes what it finds then.
#[test]
fn a_lost_race_sees_what_won_it() {
    for stage in [1, 2] {
        let (mut machine, pa, _) = waiting(stage);
        let (found, _) = race(&mut machine, READ, 1, Some(0), false);
        assert_eq!(name(found), Err(Some("F_TRANSLATION")), "stage {stage}: unmapped");
        assert_eq!(machine.driver.ram.word(pa), Some(0));

        let (mut machine, pa, word) = waiting(stage);
        let (found, tries) = race(&mut machine, READ, 1, Some(word | AF), false);
        assert_eq!((name(found), tries), (Ok(PA), vec![pa]), "stage {stage}: set by somebody else");

        let (mut machine, pa, word) = waiting(stage);
        let read_only = if stage == 1 { word | WRITABLE } else { word & !WRITABLE };
        let (found, _) = race(&mut machine, WRITE, 1, Some(read_only), false);
        assert_eq!(name(found), PERMISSION, "stage {stage}: write-protected, no DBM");
        assert_eq!(machine.driver.ram.word(pa), Some(read_only), "stage {stage}: and left alone");

        let (mut machine, pa, _) = waiting(stage);
        let frame = 0x7_7000;
        let elsewhere = if stage == 1 { descriptor::S1_RW } else { descriptor::S2_RW };
        let target = if stage == 1 { IPA + 0x1000 } else { frame };
        if stage == 1 {
            machine.map2(IPA + 0x1000, frame, 12);
        }
        let moved = descriptor::leaf(Grain::K4, 3, target, elsewhere.with(descriptor::AF, 0));
        let (found, _) = race(&mut machine, READ, 1, Some(moved), false);
        assert_eq!(name(found), Ok(frame), "stage {stage}: moved");
        assert_eq!(machine.driver.ram.word(pa), Some(moved | AF));
    }
}

/// events.md §2: an abort of the update is one of the walk, at the descriptor's address.
#[test]
fn an_update_that_aborts() {
    for (stage, flags) in [(1, 0x108_0000_0000), (2, 0x288_0000_0000)] {
        let (mut machine, pa, word) = waiting(stage);
        machine.driver.events();
        let (found, tries) = race(&mut machine, READ, 0, None, true);
        assert_eq!((name(found), tries), (Err(Some("F_WALK_EABT")), vec![pa]));
        assert_eq!(machine.driver.events(), [[0x7_0000_000b, flags, VA, pa]], "stage {stage}");
        assert_eq!(machine.driver.ram.word(pa), Some(word));
    }
    // Stage 2, for a page that a CD or a stage 1 table is in.
    for (place, flags) in [(0, 0x088_0000_0000), (1, 0x188_0000_0000)] {
        let mut machine = machine([0, 0, 0], [1, 0, 0]);
        let ipa = [machine.context, machine.slot1(VA, 2).pa][place];
        machine.remap2(ipa, descriptor::S2_RW.with(descriptor::AF, 0));
        let pa = machine.slot2(ipa, 3).pa;
        machine.driver.events();
        let (found, _) = race(&mut machine, READ, 0, None, true);
        assert_eq!(name(found), Err(Some("F_WALK_EABT")));
        assert_eq!(machine.driver.events(), [[0x7_0000_000b, flags, VA, pa]], "place {place}");
    }
}

/// Blocks of every level and granule are updated where they are.
#[test]
fn blocks_are_updated_too() {
    for grain in Grain::ALL {
        let (start, bits) = if grain == Grain::K4 { (0, 48) } else { (1, 48) };
        for level in (1..4).filter(|&level| grain.leaf_allowed(level)) {
            let mut machine = NestedMachine::new(Features::SMMUV3_2, STRICT, grain, (grain, start, bits));
            machine.set_cd(machine.cd.with(cd::HA, 1).with(cd::HD, 1));
            machine.set_ste(machine.ste.with(ste::S2HA, 1).with(ste::S2HD, 1));
            let (log2, va, ipa, pa) = (grain.level_shift(level), 3 << 38, 5 << 38, 7 << 38);
            let clean = descriptor::S1_RW.with(descriptor::AP, 0b11).with(descriptor::DBM, 1);
            machine.map1_as(va, ipa, log2, clean.with(descriptor::AF, 0));
            let clean = descriptor::S2_RW.with(descriptor::S2AP, 0b01).with(descriptor::DBM, 1);
            machine.map2_as(ipa, pa, log2, clean.with(descriptor::AF, 0));
            let offset = (1 << log2) - 8;
            let (one, two) = (machine.slot1(va, 3).descriptor, machine.slot2(ipa, 3).descriptor);
            assert_eq!(machine.write(va + offset), Ok(pa + offset), "{grain:?} level {level}");
            assert_eq!(machine.slot1(va, 3).descriptor, (one | AF) & !WRITABLE, "{grain:?} level {level}");
            assert_eq!(machine.slot2(ipa, 3).descriptor, two | AF | WRITABLE, "{grain:?} level {level}");
        }
    }
}

/// Software that takes an Access flag away and invalidates sees it come back; without an invalidation it may not.
#[test]
fn access_flags_come_back_after_an_invalidation() {
    let mut machine = machine([1, 0, 0], [1, 0, 0]);
    for stage in [1, 2] {
        assert_eq!(machine.read(VA), Ok(PA));
        let word = leaf(&mut machine, stage);
        assert_eq!(word & AF, AF);
        set_leaf(&mut machine, stage, word & !AF);
        machine.run(if stage == 1 { tlbi_nsnh_all() } else { tlbi_s12_vmall(VMID) });
        assert_eq!(machine.read(VA), Ok(PA));
        assert_eq!(leaf(&mut machine, stage), word, "stage {stage}");
    }
    assert_eq!(Record([leaf(&mut machine, 1)]).get(descriptor::AF), 1);
}
