//! The stall model (§3.12.2, §4.6, §5.5): what stalls, its record, CMD_RESUME, CMD_STALL_TERM, and what has no room.

#![allow(clippy::panic, clippy::indexing_slicing, reason = "a failed test panics")]

use smmuv3::arch::features::StallModel;
use smmuv3::{Env, Features, Response, Stag, Terminated};
use smmuv3_tests::commands::{self, Hint, Leaf};
use smmuv3_tests::driver::{Boot, Driver, outcome, register, transaction, value};
use smmuv3_tests::machine::{SID, STRICT, VMID};
use smmuv3_tests::machine_nested::NestedMachine;
use smmuv3_tests::oracle::Access;
use smmuv3_tests::tables::{Grain, cd, descriptor, ste};

const V3_2: Features = Features::SMMUV3_2;
const READ: Access = Access::READ;
const WRITE: Access = Access::WRITE;
const VA: u64 = 0x80_0000_5000;
const IPA: u64 = 0x4000_9000;
const PA: u64 = 0x1_2000;
const ON: u32 = value::CMDQEN | value::EVENTQEN;

const ABORT: Result<u64, Terminated> = Err(Terminated { response: Response::Abort, event: None });
const RAZ_WI: Result<u64, Terminated> = Err(Terminated { response: Response::RazWi, event: None });

/// A machine whose VA has an IPA and nothing more, with CD.S and STE.S2S.
fn stalling(features: Features, s: u64, s2s: u64) -> NestedMachine {
    let mut machine = NestedMachine::new(features, STRICT, Grain::K4, (Grain::K4, 1, 40));
    machine.map1(VA, IPA, 12);
    machine.set_cd(machine.cd.with(cd::S, s));
    machine.set_ste(machine.ste.with(ste::S2S, s2s));
    machine
}

/// The STAG of an access that has to stall.
fn stall(machine: &mut NestedMachine, address: u64, access: Access) -> u16 {
    match machine.ask(address, access) {
        Err(Terminated { response: Response::Stalled(Stag(stag)), .. }) => stag,
        other => panic!("{address:#x}: {other:x?} instead of a stall"),
    }
}

/// Everything that software has released: STAG and result.
fn resumed(machine: &mut NestedMachine) -> Vec<(u16, Result<u64, Terminated>)> {
    let Driver { smmu, ram, lines, counters, .. } = &mut machine.driver;
    let mut env = Env { memory: ram, interrupts: lines, trace: counters };
    let mut all = Vec::new();
    while let Some(resumed) = smmu.next_resumed(&mut env) {
        all.push((resumed.stag.0, resumed.result.map(|found| found.pa.0)));
    }
    all
}

/// Bits 95 and 79:64 of a record.
fn stall_of(record: &[u64; 4]) -> Option<u16> {
    (record[1] >> 31 & 1 == 1).then_some(record[1] as u16)
}

#[test]
fn the_stall_model_rules_s_and_s2s() {
    let bad_cd = Err(Some("C_BAD_CD"));
    let bad_ste = Err(Some("C_BAD_STE"));
    let fault = Err(Some("F_TRANSLATION"));
    let both = V3_2;
    let never = Features { stall_model: StallModel::Terminate, stall_max: 0, ..V3_2 };
    let always = Features { stall_model: StallModel::Stall, ..V3_2 };
    for (features, s, s2s, expected, stalls) in [
        (both, 0, 0, fault, false),
        (both, 1, 0, fault, false), // stage 2 faults: CD.S does not matter
        (both, 0, 1, fault, true),
        (both, 1, 1, fault, true),
        (never, 0, 0, fault, false),
        (never, 1, 0, bad_cd, false),
        (never, 0, 1, bad_ste, false),
        (always, 1, 1, fault, true),
        (always, 0, 1, bad_cd, false),
        (always, 1, 0, bad_ste, false),
    ] {
        let mut machine = stalling(features, s, s2s);
        assert_eq!(machine.read(VA), expected, "{:?} S {s} S2S {s2s}", features.stall_model);
        let events = machine.driver.events();
        assert_eq!(stall_of(&events[0]).is_some(), stalls, "{:?} S {s} S2S {s2s}", features.stall_model);
        let held = machine.driver.smmu.stalled().count();
        assert_eq!(held, usize::from(stalls));
        // RESUME and STALL_TERM are CERROR_ILL where nothing can stall.
        let known = features.stall_model != StallModel::Terminate;
        for command in [commands::resume(SID, 0xffff, 1, 0), commands::stall_term(SID ^ 1)] {
            let found = machine.driver.submit(&[command]);
            assert_eq!(found.is_ok(), known, "{:?}", features.stall_model);
            if found.is_err() {
                assert_eq!(machine.driver.recover(), Ok(()));
            }
        }
    }
}

/// tables.md §9: the four faults, of stage 1 (CD.S) and of stage 2 for input, table and CD (STE.S2S). R does not count.
#[test]
fn each_ruled_fault_stalls_with_its_record() {
    type Break = fn(&mut NestedMachine);
    let rows: [(&str, Break, u64, u64, u64); 7] = [
        ("S1 F_TRANSLATION", |machine| machine.unmap1(VA), 0x10, 0x208_8000_0000, 0),
        (
            "S1 F_ACCESS",
            |machine| machine.map1_as(VA, IPA, 12, descriptor::S1_RW.with(descriptor::AF, 0)),
            0x12,
            0x208_8000_0000,
            0,
        ),
        (
            "S1 F_PERMISSION",
            |machine| machine.map1_as(VA, IPA, 12, descriptor::S1_RW.with(descriptor::AP, 0b10)),
            0x13,
            0x208_8000_0000,
            0,
        ),
        ("S2 F_TRANSLATION", |_| {}, 0x10, 0x288_8000_0000, IPA),
        (
            "S2 F_ACCESS",
            |machine| machine.map2_as(IPA, PA, 12, descriptor::S2_RW.with(descriptor::AF, 0)),
            0x12,
            0x288_8000_0000,
            IPA,
        ),
        (
            "S2 F_PERMISSION",
            |machine| machine.map2_as(IPA, PA, 12, descriptor::S2_RW.with(descriptor::S2AP, 0b10)),
            0x13,
            0x288_8000_0000,
            IPA,
        ),
        (
            "S1 F_ADDR_SIZE",
            |machine| {
                machine.set_cd(machine.cd.with(cd::IPS, 0));
                machine.map1(VA, 1 << 33, 12);
            },
            0x11,
            0x208_8000_0000,
            0,
        ),
    ];
    for (name, prepare, event, flags, ipa) in rows {
        for (a, r) in [(0, 0), (1, 1)] {
            let mut machine = stalling(V3_2, 1, 1);
            machine.set_cd(machine.cd.with(cd::A, a).with(cd::R, r));
            machine.set_ste(machine.ste.with(ste::S2R, r));
            prepare(&mut machine);
            let stag = stall(&mut machine, VA | 0x123, READ);
            let record = [0x7_0000_0000 | event, flags | u64::from(stag), VA | 0x123, ipa];
            assert_eq!(machine.driver.events(), [record], "{name} A {a} R {r}");
            assert!(resumed(&mut machine).is_empty(), "nobody has decided yet");
        }
    }
    for place in 0..2 {
        let mut machine = stalling(V3_2, 0, 1);
        let ipa = [machine.context, machine.slot1(VA, 1).pa][place] & !0xfff;
        machine.unmap2(ipa);
        let stag = stall(&mut machine, VA, READ);
        let flags = [0x088_8000_0000, 0x188_8000_0000][place];
        assert_eq!(machine.driver.events(), [[0x7_0000_0010, flags | u64::from(stag), VA, ipa]]);
        // A retry begins with the configuration.
        machine.remap2(ipa, descriptor::S2_RW);
        machine.map2(IPA, PA, 12);
        machine.run(commands::resume(SID, stag, 1, 0));
        assert_eq!(resumed(&mut machine), [(stag, Ok(PA))]);
    }
}

#[test]
fn other_faults_do_not_stall() {
    let mut machine = stalling(V3_2, 1, 1);
    machine.set_ste(machine.ste.with(ste::S1CDMAX, 1).with(ste::S1DSS, 0b01));
    // Above IAS with stage 1 bypassed.
    assert_eq!(machine.record(1 << 52, READ), [0x7_0000_0011, 0x208_0000_0000, 1 << 52, 0]);
    let mut machine = stalling(V3_2, 1, 1);
    let table = machine.slot2(IPA, 1);
    machine.driver.write_record(table.pa, &[0x2_0003]);
    assert_eq!(machine.record(VA, READ)[0], 0x7_0000_000b);
    machine.set_cd(machine.cd.with(cd::V, 0));
    assert_eq!(machine.record(VA, READ), [0x7_0000_000a, 0, 0, 0]);
    assert_eq!(machine.driver.smmu.stalled().count(), 0);
}

#[test]
fn resume_decides() {
    for (ac, ab, expected) in [(0, 0, RAZ_WI), (0, 1, ABORT), (1, 0, Ok(PA | 8)), (1, 1, Ok(PA | 8))] {
        let mut machine = stalling(V3_2, 1, 1);
        let stag = stall(&mut machine, VA | 8, WRITE);
        machine.driver.events();
        machine.map2(IPA, PA, 12);
        machine.run(commands::resume(SID, stag, ac, ab));
        assert_eq!(resumed(&mut machine), [(stag, expected)], "Ac {ac} Ab {ab}");
        assert_eq!(machine.driver.smmu.stalled().count(), 0);
        assert!(machine.driver.events().is_empty(), "a decision is no event");
        // Once only.
        machine.run(commands::resume(SID, stag, ac, ab));
        assert!(resumed(&mut machine).is_empty());
    }
}

#[test]
fn with_term_model_a_terminated_transaction_aborts() {
    let mut machine = stalling(Features { term_model: true, ..V3_2 }, 1, 1);
    let stag = stall(&mut machine, VA, READ);
    machine.run(commands::resume(SID, stag, 0, 0));
    assert_eq!(resumed(&mut machine), [(stag, ABORT)]);
}

#[test]
fn a_retry_that_faults_again_is_a_new_stall() {
    let mut machine = stalling(V3_2, 1, 1);
    let first = stall(&mut machine, VA, READ);
    machine.driver.events();
    machine.run(commands::resume(SID, first, 1, 0));
    let found = resumed(&mut machine);
    let [(stag, Err(Terminated { response: Response::Stalled(Stag(second)), .. }))] = found[..] else {
        panic!("{found:x?}");
    };
    assert_eq!(stag, first);
    let events = machine.driver.events();
    assert_eq!(stall_of(&events[0]), Some(second), "and a new record");
    machine.run(commands::resume(SID, second, 0, 1));
    assert_eq!(resumed(&mut machine), [(second, ABORT)]);
}

/// A retry uses the configuration of that moment, which may not stall any more, or not translate at all.
#[test]
fn a_retry_is_as_newly_arrived() {
    let mut machine = stalling(V3_2, 1, 1);
    let stag = stall(&mut machine, VA, READ);
    machine.driver.events();
    machine.set_ste(machine.ste.with(ste::S2S, 0));
    machine.run(commands::resume(SID, stag, 1, 0));
    assert!(matches!(resumed(&mut machine)[..], [(_, Err(Terminated { response: Response::Abort, .. }))]));
    assert_eq!(machine.driver.events(), [[0x7_0000_0010, 0x288_0000_0000, VA, IPA]]);
    machine.set_ste(machine.ste.with(ste::S2S, 1));
    let stag = stall(&mut machine, VA, READ);
    machine.set_ste(ste::of(ste::BYPASS));
    machine.run(commands::resume(SID, stag, 1, 0));
    assert_eq!(resumed(&mut machine), [(stag, Ok(VA))]);
}

#[test]
fn resume_needs_both_streamid_and_stag() {
    let mut machine = stalling(V3_2, 1, 1);
    let stag = stall(&mut machine, VA, READ);
    for command in [
        commands::resume(SID ^ 1, stag, 0, 1),
        commands::resume(SID, stag ^ 1, 0, 1),
        commands::resume(SID, stag ^ 0x8000, 1, 0),
        commands::resume(0xffff_ffff, stag, 1, 0),
        commands::stall_term(SID ^ 1),
    ] {
        machine.run(command);
        assert!(resumed(&mut machine).is_empty(), "{command:x?}");
        assert_eq!(machine.driver.smmu.stalled().count(), 1);
    }
    machine.run(commands::resume(SID, stag, 0, 1));
    assert_eq!(resumed(&mut machine), [(stag, ABORT)]);
}

/// CFGI and TLBI commands do not touch a stalled transaction.
#[test]
fn invalidations_leave_stalls_alone() {
    let mut machine = stalling(V3_2, 1, 1);
    let stag = stall(&mut machine, VA, READ);
    for command in [
        commands::cfgi_all(),
        commands::cfgi_ste(SID, Leaf::AndTables),
        commands::tlbi_nsnh_all(),
        commands::tlbi_s2_ipa(VMID, IPA, Leaf::AndTables, Hint::NONE),
        commands::sync(),
    ] {
        machine.run(command);
    }
    assert!(resumed(&mut machine).is_empty());
    machine.run(commands::resume(SID, stag, 0, 1));
    assert_eq!(resumed(&mut machine), [(stag, ABORT)]);
}

/// Every StreamID of its own is told apart by its STAG, whatever is freed in between.
#[test]
fn stags_are_unique_while_they_are_held() {
    let mut machine = stalling(V3_2, 1, 1);
    let mut rng = fastrand::Rng::with_seed(5);
    let mut held = Vec::new();
    for _ in 0..70_000 {
        if held.len() < 8 {
            let stag = stall(&mut machine, VA, READ);
            machine.driver.events();
            assert!(!held.contains(&stag), "{stag:#x} is taken");
            held.push(stag);
        } else {
            let stag = held.swap_remove(rng.usize(0..8));
            machine.run(commands::resume(SID, stag, 0, 1));
            assert_eq!(resumed(&mut machine), [(stag, ABORT)]);
        }
    }
}

#[test]
fn stall_term_ends_those_of_one_stream() {
    let mut machine = stalling(V3_2, 1, 1);
    machine.driver.install_ste(SID + 1, &machine.ste);
    let mine: Vec<u16> = (0..3).map(|n| stall(&mut machine, VA + n, READ)).collect();
    let other = transaction(SID + 1, None, VA, READ);
    let event = machine.driver.translate(&other).map(|found| found.pa.0);
    assert_eq!(event, Err(Some("F_TRANSLATION")));
    // Software first makes the STE abort what is new.
    machine.set_ste(ste::of(0));
    machine.run(commands::stall_term(SID));
    let ended = resumed(&mut machine);
    assert_eq!(ended, mine.iter().map(|&stag| (stag, ABORT)).collect::<Vec<_>>());
    assert_eq!(machine.driver.smmu.stalled().count(), 1, "the other stream's");
    machine.run(commands::resume(SID, mine[0], 1, 0));
    assert!(resumed(&mut machine).is_empty(), "its STAG is free");
}

#[test]
fn smmuen_0_ends_all_of_them() {
    let mut machine = stalling(V3_2, 1, 1);
    machine.driver.install_ste(SID + 1, &machine.ste);
    stall(&mut machine, VA, READ);
    stall(&mut machine, VA, WRITE);
    machine.driver.translate(&transaction(SID + 1, None, VA, READ)).ok();
    machine.driver.events();
    machine.driver.write_cr0(ON);
    let ended = resumed(&mut machine);
    assert_eq!(ended.iter().map(|ended| ended.1).collect::<Vec<_>>(), [ABORT; 3]);
    assert!(machine.driver.events().is_empty());
    machine.driver.write_cr0(ON | value::SMMUEN);
    assert_eq!(machine.driver.smmu.stalled().count(), 0);
    stall(&mut machine, VA, READ);
}

/// More than STALL_MAX: terminated with an abort, and recorded with Stall = 0, even with S2R = 0 (S = 1 records always).
#[test]
fn what_cannot_be_held_aborts() {
    for s2r in [0, 1] {
        let mut machine = stalling(Features { stall_max: 2, ..V3_2 }, 1, 1);
        machine.set_ste(machine.ste.with(ste::S2R, s2r));
        let held = [stall(&mut machine, VA, READ), stall(&mut machine, VA, READ)];
        machine.driver.events();
        let third = machine.ask(VA, READ).map(|found| found.pa).map_err(|ended| ended.response);
        assert_eq!(third, Err(Response::Abort));
        assert_eq!(machine.driver.events(), [[0x7_0000_0010, 0x288_0000_0000, VA, IPA]], "S2R {s2r}");
        machine.run(commands::resume(SID, held[0], 0, 1));
        assert_eq!(resumed(&mut machine), [(held[0], ABORT)]);
        stall(&mut machine, VA, READ);
    }
}

/// events.md §3: the queue is full; a stall waits for room and is no overflow, another event is lost and is one.
#[test]
fn a_stall_waits_for_room_in_the_queue() {
    let mut machine = stalling(V3_2, 0, 1);
    machine.driver.boot(Boot { log2_events: 1, ..Boot::USUAL });
    let driver = &mut machine.driver;
    for _ in 0..2 {
        assert_eq!(
            driver.access(SID, VA + 0x1000, READ),
            outcome(Err(smmuv3_tests::oracle::Fault::Translation))
        );
    }
    let overflow = |machine: &NestedMachine| machine.driver.read32(register::EVENTQ_PROD) & value::OVERFLOW;
    let stags = [stall(&mut machine, VA, READ), stall(&mut machine, VA | 8, READ)];
    assert_eq!(overflow(&machine), 0, "a stall that waits is no overflow");
    assert_eq!(machine.driver.smmu.stalled().count(), 2);
    // Not told of yet, so that software cannot know its name.
    machine.driver.read32(register::EVENTQ_PROD);
    // Room: both records follow, in order, exactly once.
    let first = machine.driver.events();
    assert_eq!(first.iter().map(stall_of).collect::<Vec<_>>(), [None, None]);
    let second = machine.driver.events();
    assert_eq!(second.iter().map(stall_of).collect::<Vec<_>>(), stags.map(Some));
    assert_eq!((second[0][2], second[1][2]), (VA, VA | 8));
    assert!(machine.driver.events().is_empty());
    machine.map2(IPA, PA, 12);
    for (stag, pa) in stags.into_iter().zip([PA, PA | 8]) {
        machine.run(commands::resume(SID, stag, 1, 0));
        assert_eq!(resumed(&mut machine), [(stag, Ok(pa))]);
    }
    // What does not stall is lost, and that is an overflow.
    for _ in 0..3 {
        machine.read(VA + 0x1000).ok();
    }
    assert_ne!(overflow(&machine), 0);
}

/// The record waits while the queue is disabled, too.
#[test]
fn a_stall_waits_for_the_queue_to_be_enabled() {
    let mut machine = stalling(V3_2, 0, 1);
    machine.driver.write_cr0(value::CMDQEN | value::SMMUEN);
    let stag = stall(&mut machine, VA, READ);
    machine.driver.write_cr0(ON | value::SMMUEN);
    let events = machine.driver.events();
    assert_eq!(events.iter().map(stall_of).collect::<Vec<_>>(), [Some(stag)]);
}

/// A transaction that ends before its record found room makes none.
#[test]
fn terminated_before_it_was_recorded() {
    let mut machine = stalling(V3_2, 0, 1);
    machine.driver.boot(Boot { log2_events: 0, ..Boot::USUAL });
    machine.read(VA + 0x1000).ok();
    stall(&mut machine, VA, READ);
    machine.driver.write_cr0(ON);
    assert_eq!(resumed(&mut machine).len(), 1);
    machine.driver.write_cr0(ON | value::SMMUEN);
    let events = machine.driver.events();
    assert_eq!(events.iter().map(stall_of).collect::<Vec<_>>(), [None]);
    assert!(machine.driver.events().is_empty());
}
