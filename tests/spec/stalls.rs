//! Stalled transactions (§3.12.2): their records, and how they end.

#![allow(clippy::panic, clippy::indexing_slicing, reason = "a failed test panics")]

use smmuv3::{Env, NoTrace, Response};
use smmuv3_tests::commands::{self, Command};
use smmuv3_tests::driver::{Boot, EVENT_QUEUE, register, transaction, value};
use smmuv3_tests::machine::{Machine, SID};
use smmuv3_tests::oracle::Access;
use smmuv3_tests::tables::cd;

/// The usual machine with CD.S = 1 and an event queue of 2^`log2_events`.
fn machine(log2_events: u32) -> Machine {
    let mut machine = Machine::usual();
    machine.driver.boot(Boot { log2_events, ..Boot::USUAL });
    machine.set_cd(machine.cd.with(cd::S, 1));
    machine
}

/// An access to a page that is not mapped: it stalls, under this STAG.
fn stall(machine: &mut Machine, va: u64) -> u16 {
    let ask = transaction(SID, None, va, Access::READ);
    let driver = &mut machine.driver;
    let mut env = Env { memory: &mut driver.ram, interrupts: &mut driver.lines, trace: &mut NoTrace };
    match driver.smmu.translate(&ask, &mut env).map_err(|ended| ended.response) {
        Err(Response::Stalled(stag)) => stag.0,
        other => panic!("{va:#x}: {other:?}"),
    }
}

/// The addresses of the transactions that have been released since, and what became of each.
fn released(machine: &mut Machine) -> Vec<(u64, Result<u64, Response>)> {
    let driver = &mut machine.driver;
    let mut env = Env { memory: &mut driver.ram, interrupts: &mut driver.lines, trace: &mut NoTrace };
    core::iter::from_fn(|| driver.smmu.next_resumed(&mut env))
        .map(|resumed| {
            let result = resumed.result.map(|found| found.pa.0).map_err(|ended| ended.response);
            (resumed.transaction.address.0, result)
        })
        .collect()
}

/// Stall = bit 95, STAG = bits 79:64, RnW = bit 99, CLASS = IN.
const fn record(stag: u16, va: u64) -> [u64; 4] {
    [0x0000_0007_0000_0010, 0x0000_0208_8000_0000 | stag as u64, va, 0]
}

#[test]
fn a_stall_is_recorded_with_its_stag() {
    let mut machine = machine(5);
    let first = stall(&mut machine, 0x5678);
    let second = stall(&mut machine, 0x6678);
    assert_ne!(first, second, "each has a name of its own");
    assert_eq!(machine.driver.events(), [record(first, 0x5678), record(second, 0x6678)]);
    assert!(released(&mut machine).is_empty(), "they wait");
}

/// tables.md §9: S = 1 stalls and records, whatever A and R say.
#[test]
fn s_comes_before_a_and_r() {
    for (a, r) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
        let mut machine = machine(5);
        machine.set_cd(machine.cd.with(cd::A, a).with(cd::R, r));
        let stag = stall(&mut machine, 0x5000);
        assert_eq!(machine.driver.events(), [record(stag, 0x5000)], "A {a} R {r}");
    }
}

/// commands.md §6: Ac = 1 tries again, Ac = 0 ends with an abort (Ab = 1) or as RAZ/WI (Ab = 0).
#[test]
fn resume_does_as_it_is_told() {
    let rows = [
        ("retry", 1, 0, Ok(0x9678)),
        ("retry, Ab does not count", 1, 1, Ok(0x9678)),
        ("abort", 0, 1, Err(Response::Abort)),
        ("RAZ/WI", 0, 0, Err(Response::RazWi)),
    ];
    for (name, ac, ab, expected) in rows {
        let mut machine = machine(5);
        let stag = stall(&mut machine, 0x5678);
        machine.map(0x5000, 0x9000, 12);
        machine.run(commands::resume(SID, stag, ac, ab));
        assert_eq!(released(&mut machine), [(0x5678, expected)], "{name}");
        machine.run(commands::resume(SID, stag, ac, ab));
        assert!(released(&mut machine).is_empty(), "{name}: only once");
    }
}

#[test]
fn resume_needs_both_the_stream_and_the_stag() {
    let mut machine = machine(5);
    let stag = stall(&mut machine, 0x5000);
    for (sid, other) in [(SID + 1, stag), (SID, stag.wrapping_add(1)), (0, stag)] {
        machine.run(commands::resume(sid, other, 0, 1));
        assert!(released(&mut machine).is_empty(), "StreamID {sid}, STAG {other}");
    }
    machine.run(commands::resume(SID, stag, 0, 1));
    assert_eq!(released(&mut machine), [(0x5000, Err(Response::Abort))]);
}

#[test]
fn stall_term_aborts_all_of_one_stream() {
    let mut machine = machine(5);
    stall(&mut machine, 0x5000);
    stall(&mut machine, 0x6000);
    machine.run(commands::stall_term(SID + 1));
    assert!(released(&mut machine).is_empty());
    machine.run(commands::stall_term(SID));
    let aborted = Err(Response::Abort);
    assert_eq!(released(&mut machine), [(0x5000, aborted), (0x6000, aborted)]);
}

/// registers.md §4: SMMUEN 1 → 0 terminates what is stalled, with an abort.
#[test]
fn smmuen_0_aborts_what_is_stalled() {
    let mut machine = machine(5);
    stall(&mut machine, 0x5000);
    machine.driver.write_cr0(value::CMDQEN | value::EVENTQEN);
    assert_eq!(released(&mut machine), [(0x5000, Err(Response::Abort))]);
}

/// events.md §3: a stall that finds no room is recorded later, and never an overflow.
#[test]
fn a_record_that_found_no_room_follows_with_the_next_cons() {
    let mut machine = machine(0);
    let first = stall(&mut machine, 0x5000);
    let second = stall(&mut machine, 0x6000);
    assert_eq!(machine.driver.read32(register::EVENTQ_PROD), 1, "full, and no overflow");
    assert_eq!(machine.driver.events(), [record(first, 0x5000)]);
    assert_eq!(machine.driver.events(), [record(second, 0x6000)], "after EVENTQ_CONS was written");
    assert!(machine.driver.events().is_empty());
}

#[test]
fn a_record_that_found_no_queue_follows_with_its_enable() {
    let mut machine = machine(5);
    machine.driver.write_cr0(value::CMDQEN | value::SMMUEN);
    let stag = stall(&mut machine, 0x5000);
    assert!(machine.driver.events().is_empty());
    machine.driver.write_cr0(value::CMDQEN | value::EVENTQEN | value::SMMUEN);
    assert_eq!(machine.driver.events(), [record(stag, 0x5000)]);
}

#[test]
fn a_record_that_found_an_error_follows_with_its_acknowledgement() {
    let mut machine = machine(5);
    let all = value::CMDQEN | value::EVENTQEN | value::SMMUEN;
    machine.driver.write_cr0(value::CMDQEN | value::SMMUEN);
    machine.driver.write64(register::EVENTQ_BASE, 0x1000 | 5); // no memory there
    machine.driver.write_cr0(all);
    stall(&mut machine, 0x5000); // its record is lost, and GERROR tells
    assert_eq!(machine.driver.read32(register::GERROR), value::EVENTQ_ABT_ERR);
    let stag = stall(&mut machine, 0x6000);
    machine.driver.write_cr0(value::CMDQEN | value::SMMUEN);
    machine.driver.write64(register::EVENTQ_BASE, EVENT_QUEUE | 5);
    machine.driver.write_cr0(all);
    assert_eq!(machine.driver.read32(register::EVENTQ_PROD), 0, "the error is still active");
    machine.driver.write32(register::GERRORN, value::EVENTQ_ABT_ERR);
    assert_eq!(machine.driver.events(), [record(stag, 0x6000)]);
}

#[test]
fn commands_about_nothing_do_nothing() {
    let rows: [Command; 3] = [
        commands::resume(SID, 1, 1, 0),
        commands::resume(0xffff_ffff, 0xffff, 0, 1),
        commands::stall_term(SID),
    ];
    let mut machine = machine(5);
    machine.driver.run(&rows);
    assert!(released(&mut machine).is_empty());
}

/// events.md §3: no record of what has been invalidated since; the transaction tries again.
#[test]
fn a_waiting_record_is_retried_after_an_invalidation_and_sync() {
    let mut machine = machine(0);
    let first = stall(&mut machine, 0x5678);
    stall(&mut machine, 0x6678);
    // The queue holds the first record alone. The second transaction's page appears, and is invalidated.
    machine.map(0x6000, 0x9000, 12);
    machine.run(commands::tlbi_nh_all(smmuv3_tests::machine::VMID));
    assert_eq!(released(&mut machine), [(0x6678, Ok(0x9678))]);
    assert_eq!(machine.driver.events(), [record(first, 0x5678)]);
    assert!(machine.driver.events().is_empty(), "nothing is left to be recorded");
}

#[test]
fn a_waiting_record_stays_when_nothing_is_invalidated() {
    let mut machine = machine(0);
    let first = stall(&mut machine, 0x5678);
    let second = stall(&mut machine, 0x6678);
    machine.run(commands::sync());
    assert!(released(&mut machine).is_empty());
    assert_eq!(machine.driver.events(), [record(first, 0x5678)]);
    assert_eq!(machine.driver.events(), [record(second, 0x6678)]);
}
