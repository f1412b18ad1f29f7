//! Enhanced command queues (SMMUv3.3, §3.5.6): control pages, enables, errors, and what one queue knows of another.

#![allow(clippy::panic, clippy::indexing_slicing, reason = "a failed test panics")]

use smmuv3::arch::features::Ecmdqs;
use smmuv3::{Features, Settings};
use smmuv3_tests::bits::{Record, Words};
use smmuv3_tests::commands::{Command, Hint, atc_inv, cfgi_all, field, sync, sync_with};
use smmuv3_tests::driver::{Driver, RAM_BASE, register, value};
use smmuv3_tests::machine::{Machine, STRICT, nh_va};
use smmuv3_tests::tables::Grain;

/// ECMDQ_PROD, ECMDQ_CONS: registers.md §10.
const EN: u32 = 1 << 31;
const ERR: u32 = 1 << 23;
const ILL: u32 = 1 << 24;
const ABT: u32 = 2 << 24;
const ATC_INV_SYNC: u32 = 3 << 24;
/// Where the registers of an interface are.
const BASE: u32 = 0;
const PROD: u32 = 8;
const CONS: u32 = 12;

/// Two pages of four: an interface every 16 KiB, behind the VATOS page.
const PAGES: u32 = 0x3_0000;
const STRIDE: u32 = 0x4000;

/// Where the registers of interface `n` are.
const fn interface(n: u32) -> u32 {
    PAGES + n * STRIDE
}

/// Where the memory of queue `n` is.
const fn memory(n: u32) -> u64 {
    RAM_BASE + 0x4_0000 + 0x1000 * n as u64
}

fn machine() -> Machine {
    Machine::new(Features::SMMUV3_3, STRICT, Grain::K4)
}

/// A machine whose interface `n` is enabled with 2^`log2_commands` entries.
fn enable(machine: &mut Machine, n: u32, log2_commands: u64) {
    let driver = &mut machine.driver;
    driver.write64(interface(n) + BASE, memory(n) | log2_commands | 1 << 62);
    driver.write32(interface(n) + PROD, 0);
    driver.write32(interface(n) + CONS, 0);
    driver.write32(interface(n) + PROD, EN);
    assert_eq!(driver.read32(interface(n) + CONS), EN, "ENACK");
}

/// Puts commands at index 0 on, and rings.
fn submit(machine: &mut Machine, n: u32, commands: &[Command]) {
    for (index, command) in (0..).zip(commands) {
        machine.driver.write_record(memory(n) + 16 * index, command);
    }
    machine.driver.write32(interface(n) + PROD, EN | commands.len() as u32);
}

fn cons(machine: &Machine, n: u32) -> u32 {
    machine.driver.read32(interface(n) + CONS)
}

const ILLEGAL: Command = [0xff, 0];

#[test]
fn control_pages_say_where_they_are() {
    let rows = [
        (Ecmdqs { log2_pages: 0, log2_queues: 0 }, 0x0000_0000, 1),
        (Ecmdqs { log2_pages: 1, log2_queues: 2 }, 0x0102_0000, 2),
        (Ecmdqs { log2_pages: 2, log2_queues: 1 }, 0x0201_0000, 4),
        (Ecmdqs { log2_pages: 0, log2_queues: 4 }, 0x0004_0000, 1),
    ];
    for (ecmdqs, idr6, pages) in rows {
        let features = Features { ecmdq: Some(ecmdqs), ..Features::SMMUV3_3 };
        let mut machine = Machine::new(features, STRICT, Grain::K4);
        let driver = &mut machine.driver;
        assert_eq!(driver.read32(register::IDR6), idr6, "LOG2NUMP [27:24], LOG2NUMQ [19:16]");
        assert_eq!(driver.read32(register::IDR0 + 4) >> 31, 1, "IDR1.ECMDQ");
        for page in 0..pages {
            let at = register::CMDQ_CONTROL_PAGE_BASE0 + 32 * page;
            // ADDR is the offset from page 0, CMDQGS = 01 is 64 KiB, PRESET = 1.
            let base = u64::from(PAGES + 0x1_0000 * page) | 0b01 << 1 | 1;
            for _ in 0..2 {
                assert_eq!(driver.read64(at), base, "BASE{page}");
                assert_eq!((driver.read32(at), driver.read32(at + 4)), (base as u32, 0), "in halves");
                assert_eq!(driver.read32(at + 8), 1, "CFG{page}.EN");
                assert_eq!(driver.read32(at + 12), 1, "STATUS{page}.ENACK");
                driver.write64(at, u64::MAX);
                driver.write32(at + 8, 0);
                driver.write32(at + 12, 0);
            }
        }
        let beyond = register::CMDQ_CONTROL_PAGE_BASE0 + 32 * pages;
        assert_eq!((driver.read64(beyond), driver.read32(beyond + 8)), (0, 0));
        assert_eq!(driver.smmu.window_bytes(), PAGES + 0x1_0000 * pages);
    }
}

#[test]
fn without_ecmdq_there_is_nothing() {
    let machine = Machine::usual();
    assert_eq!(machine.driver.read32(register::IDR6), 0);
    assert_eq!(machine.driver.read64(register::CMDQ_CONTROL_PAGE_BASE0), 0);
    assert_eq!(machine.driver.read32(register::CMDQ_CONTROL_PAGE_BASE0 + 8), 0);
}

/// Interfaces are spaced evenly over their page: 64 KiB / 2^LOG2NUMQ.
#[test]
fn interfaces_are_spaced_evenly() {
    for (log2_pages, log2_queues) in [(0, 0), (0, 1), (1, 2), (0, 4), (2, 2), (4, 0)] {
        let ecmdqs = Ecmdqs { log2_pages, log2_queues };
        let mut machine =
            Machine::new(Features { ecmdq: Some(ecmdqs), ..Features::SMMUV3_3 }, STRICT, Grain::K4);
        let stride = 0x1_0000 >> log2_queues;
        let count = 1u32 << (log2_pages + log2_queues);
        for n in 0..count {
            let at = PAGES + stride * n;
            machine.driver.write64(at, memory(n) | 3);
            machine.driver.write_record(memory(n), &sync());
            machine.driver.write32(at + PROD, EN | 1);
        }
        for n in 0..count {
            let at = PAGES + stride * n;
            assert_eq!(machine.driver.read64(at), memory(n) | 3, "{ecmdqs:?}, {n}");
            assert_eq!(machine.driver.read32(at + CONS), EN | 1, "{ecmdqs:?}, {n}");
            assert_eq!(machine.driver.read64(at + 0x10), 0, "nothing between interfaces");
        }
    }
}

#[test]
fn registers_keep_their_fields_while_the_queue_is_off() {
    let mut machine = machine();
    let driver = &mut machine.driver;
    let at = interface(5);
    let read = |driver: &Driver<256>| (driver.read64(at), driver.read32(at + PROD), driver.read32(at + CONS));
    assert_eq!(read(driver), (0, 0, 0), "EN = ENACK = ERR = ERRACK = 0 after reset");
    driver.write64(at, u64::MAX);
    driver.write32(at + CONS, !EN);
    driver.write32(at + PROD, 0x7fff_ffff);
    // LOG2SIZE [4:0], ADDR [51:5], RA 62; WR [19:0], ERRACK 23; RD [19:0], ERR 23, ERR_REASON [26:24].
    assert_eq!(read(driver), (0x400f_ffff_ffff_ffff, 0x008f_ffff, 0x078f_ffff));
    driver.write32(at, 0x1234_5678);
    driver.write32(at + 4, 0);
    assert_eq!(read(driver).0, 0x1234_5678, "halves");
    // PROD and CONS together.
    driver.write64(at + PROD, 0x0000_0002_0000_0001);
    assert_eq!(driver.read64(at + PROD), 0x0000_0002_0000_0001);
}

#[test]
fn base_and_cons_are_guarded_by_the_enable() {
    let mut machine = machine();
    enable(&mut machine, 0, 3);
    let driver = &mut machine.driver;
    driver.write64(interface(0) + BASE, 0);
    driver.write32(interface(0) + BASE + 4, 0);
    driver.write32(interface(0) + CONS, 5);
    assert_eq!(driver.read64(interface(0) + BASE), memory(0) | 3 | 1 << 62);
    assert_eq!(driver.read32(interface(0) + CONS), EN);
    driver.write32(interface(0) + PROD, 0);
    assert_eq!(driver.read32(interface(0) + CONS), 0, "ENACK follows");
    driver.write64(interface(0) + BASE, 0);
    driver.write32(interface(0) + CONS, 5);
    assert_eq!(driver.read64(interface(0) + BASE), 0);
    assert_eq!(driver.read32(interface(0) + CONS), 5);
}

#[test]
fn cr1_queue_fields_wait_for_every_interface() {
    let mut machine = machine();
    enable(&mut machine, 7, 3);
    machine.driver.write_cr0(0);
    machine.driver.write32(register::CR1, 0);
    assert_eq!(machine.driver.read32(register::CR1), 0x035, "TABLE_* is free, QUEUE_* is not");
    machine.driver.write32(interface(7) + PROD, 0);
    machine.driver.write32(register::CR1, 0);
    assert_eq!(machine.driver.read32(register::CR1), 0);
}

#[test]
fn commands_are_executed_in_order() {
    let mut machine = machine();
    machine.cache_and_unmap(&[0x5000, 0x6000, 0x7000], 12);
    enable(&mut machine, 3, 3);
    submit(&mut machine, 3, &[nh_va(0x5000, Hint::NONE), nh_va(0x7000, Hint::NONE), sync()]);
    assert_eq!(cons(&machine, 3), EN | 3);
    assert_eq!([0x5000, 0x6000, 0x7000].map(|va| machine.is_cached(va)), [false, true, false]);
    assert_eq!(machine.driver.read32(register::GERROR), 0);
}

#[test]
fn it_does_not_need_cmdqen() {
    let mut machine = machine();
    enable(&mut machine, 0, 3);
    machine.driver.write_cr0(value::SMMUEN);
    submit(&mut machine, 0, &[sync()]);
    assert_eq!(cons(&machine, 0), EN | 1);
}

#[test]
fn commands_wait_for_the_enable() {
    let mut machine = machine();
    machine.driver.write64(interface(0) + BASE, memory(0) | 3);
    machine.driver.write_record(memory(0), &sync());
    machine.driver.write32(interface(0) + PROD, 1);
    assert_eq!(cons(&machine, 0), 0);
    machine.driver.write32(interface(0) + PROD, EN | 1);
    assert_eq!(cons(&machine, 0), EN | 1);
}

/// 8 bytes at PROD reach CONS as well, which is read-only while the queue is on: PROD counts, and counts once.
#[test]
fn prod_can_be_written_with_eight_bytes() {
    let mut machine = machine();
    enable(&mut machine, 0, 3);
    for index in 0..2 {
        machine.driver.write_record(memory(0) + 16 * index, &sync_with(1, 0, 0));
    }
    machine.driver.write64(interface(0) + PROD, u64::from(EN | 2) | 0x0000_0007 << 32);
    assert_eq!(machine.driver.read64(interface(0) + PROD), u64::from(EN | 2) | u64::from(EN | 2) << 32);
    assert_eq!(machine.driver.lines.cmd_sync, 2, "each command once");
}

#[test]
fn e15_it_wraps() {
    for log2_commands in [0, 1, 3] {
        let mut machine = machine();
        enable(&mut machine, 1, log2_commands);
        let mask = (2u32 << log2_commands) - 1;
        for round in 0..5u32 << log2_commands {
            let slot = u64::from(round & (mask >> 1));
            machine.driver.write_record(memory(1) + 16 * slot, &sync_with(1, RAM_BASE + 0x8_0000, round));
            machine.driver.write32(interface(1) + PROD, EN | (round + 1) & mask);
            assert_eq!(cons(&machine, 1), EN | (round + 1) & mask, "2^{log2_commands}, round {round}");
            assert_eq!(machine.driver.ram.word(RAM_BASE + 0x8_0000), Some(round.into()));
        }
    }
}

#[test]
fn the_size_is_capped_and_the_base_aligned() {
    // CMDQS = 1: two commands, 32 bytes, so bit 5 of the base counts.
    let features = Features { cmdqs: 1, ..Features::SMMUV3_3 };
    let mut device = Driver::<16>::new(features, Settings::new(4, 4), 2);
    device.write64(interface(0) + BASE, memory(0) | 0x20 | 19);
    device.write_record(memory(0) + 0x20, &sync());
    device.write_record(memory(0) + 0x30, &sync());
    device.write32(interface(0) + PROD, EN | 2);
    assert_eq!(device.read32(interface(0) + CONS), EN | 2, "index 0, wrap 1");
    assert_eq!(device.read64(interface(0) + BASE) & 0x1f, 19, "LOG2SIZE reads back raw");
}

#[test]
fn e14_an_inconsistent_prod_is_not_processed() {
    let mut machine = machine();
    enable(&mut machine, 0, 2);
    submit(&mut machine, 0, &[ILLEGAL; 4]);
    machine.driver.write32(interface(0) + PROD, 0); // off, and on again further ahead than the queue is long
    machine.driver.write32(interface(0) + CONS, 0);
    machine.driver.write32(interface(0) + PROD, EN | 5);
    assert_eq!(cons(&machine, 0), EN);
    assert!(!machine.driver.smmu.pending());
}

/// ERR toggles, ERR_REASON says why, RD stays; ERRACK lets it go on. CMDQP_ERR tells, and means nothing.
#[test]
fn an_error_stops_its_queue_until_it_is_acknowledged() {
    let mut machine = machine();
    enable(&mut machine, 2, 3);
    submit(&mut machine, 2, &[sync(), ILLEGAL, sync_with(1, 0, 0)]);
    assert_eq!(cons(&machine, 2), EN | ERR | ILL | 1);
    assert_eq!(machine.driver.read32(register::GERROR), value::CMDQP_ERR);
    assert_eq!(machine.driver.lines.gerror, 1);
    // Neither PROD nor the acknowledgement of the summary moves it.
    machine.driver.write32(interface(2) + PROD, EN | 3);
    machine.driver.write32(register::GERRORN, value::CMDQP_ERR);
    assert_eq!(cons(&machine, 2), EN | ERR | ILL | 1);
    assert_eq!(machine.driver.lines.cmd_sync, 0);
    // The command is read anew.
    machine.driver.write_record(memory(2) + 16, &sync());
    machine.driver.write32(interface(2) + PROD, EN | ERR | 3);
    assert_eq!(cons(&machine, 2) & !ILL, EN | ERR | 3);
    assert_eq!(machine.driver.lines.cmd_sync, 1);
    // The next error toggles back, and the summary with it.
    machine.driver.write_record(memory(2) + 16 * 3, &ILLEGAL);
    machine.driver.write32(interface(2) + PROD, EN | ERR | 4);
    assert_eq!(cons(&machine, 2), EN | ILL | 3);
    assert_eq!(machine.driver.read32(register::GERROR), 0, "active: GERRORN is 1");
    assert_eq!(machine.driver.lines.gerror, 2);
}

#[test]
fn a_queue_that_cannot_be_read() {
    let mut machine = machine();
    machine.driver.write64(interface(0) + BASE, 0x2_0000 | 3);
    machine.driver.write32(interface(0) + PROD, EN | 1);
    assert_eq!(cons(&machine, 0), EN | ERR | ABT);
    assert_eq!(machine.driver.read32(register::GERROR), value::CMDQP_ERR);
}

#[test]
fn the_enable_can_be_taken_back_while_there_is_an_error() {
    let mut machine = machine();
    enable(&mut machine, 0, 3);
    submit(&mut machine, 0, &[ILLEGAL]);
    machine.driver.write32(interface(0) + PROD, 1);
    assert_eq!(cons(&machine, 0), ERR | ILL, "ENACK follows");
    machine.driver.write32(interface(0) + CONS, 0);
    machine.driver.write32(interface(0) + PROD, 0);
    machine.driver.write_record(memory(0), &sync());
    machine.driver.write32(interface(0) + PROD, EN | 1);
    assert_eq!(cons(&machine, 0), EN | 1);
}

#[test]
fn queues_do_not_know_of_each_others_errors() {
    let mut machine = machine();
    for n in 0..8 {
        enable(&mut machine, n, 3);
    }
    submit(&mut machine, 4, &[ILLEGAL]);
    for n in [0, 1, 2, 3, 5, 6, 7] {
        submit(&mut machine, n, &[sync()]);
        assert_eq!(cons(&machine, n), EN | 1);
    }
    machine.run(cfgi_all());
    assert_eq!(machine.driver.read32(register::GERROR), value::CMDQP_ERR, "CMDQ has none");
    // And the other way round.
    assert!(machine.driver.submit(&[ILLEGAL]).is_err());
    assert_eq!(machine.driver.read32(register::GERROR), value::CMDQP_ERR | value::CMDQ_ERR);
    machine.driver.write_record(memory(0) + 16, &sync());
    machine.driver.write32(interface(0) + PROD, EN | 2);
    assert_eq!(cons(&machine, 0), EN | 2);
    // A second queue that stops finds the summary active.
    submit(&mut machine, 6, &[sync(), ILLEGAL]);
    assert_eq!(cons(&machine, 6), EN | ERR | ILL | 1);
    assert_eq!(machine.driver.read32(register::GERROR), value::CMDQP_ERR | value::CMDQ_ERR);
}

/// A SYNC waits for its own queue alone, and so hears of its own queue's ATCs alone.
#[test]
fn a_sync_belongs_to_its_queue() {
    for asks_no_entries in [false, true] {
        let mut machine = machine();
        machine.driver.counters.asks_no_entries = asks_no_entries;
        enable(&mut machine, 0, 3);
        enable(&mut machine, 1, 3);
        machine.driver.watch.atc_is_silent = true;
        submit(&mut machine, 0, &[atc_inv(7, None, 0, 52)]);
        submit(&mut machine, 1, &[sync()]);
        assert_eq!((cons(&machine, 0), cons(&machine, 1)), (EN | 1, EN | 1));
        machine.run(cfgi_all());
        machine.driver.write_record(memory(0) + 16, &sync());
        machine.driver.write32(interface(0) + PROD, EN | 2);
        assert_eq!(cons(&machine, 0), EN | ERR | ATC_INV_SYNC | 1);
        machine.driver.write32(interface(0) + PROD, EN | ERR | 2);
        assert_eq!(cons(&machine, 0) & !ATC_INV_SYNC, EN | ERR | 2, "it runs again");
        machine.driver.put(atc_inv(7, None, 0, 52));
        assert_eq!(machine.driver.ring(), Ok(()));
        machine.driver.write_record(memory(1) + 16, &sync());
        machine.driver.write32(interface(1) + PROD, EN | 2);
        assert_eq!(cons(&machine, 1), EN | 2);
        machine.driver.put(sync());
        assert!(machine.driver.ring().is_err(), "CMDQ hears of its own");
    }
}

#[test]
fn signals_of_a_sync() {
    let mut machine = machine();
    enable(&mut machine, 0, 1);
    let sev = Record(sync()).with(field::CS, 0b10).0;
    submit(&mut machine, 0, &[sev]);
    assert_eq!(machine.driver.lines.events, 1, "SIG_SEV");
    machine.driver.write_record(memory(0) + 16, &sync_with(1, 0x1000, 7)); // no memory there
    machine.driver.write32(interface(0) + PROD, EN | 2);
    assert_eq!(cons(&machine, 0), EN | 2, "consumed all the same");
    assert_eq!(machine.driver.read32(register::GERROR), value::MSI_CMDQ_ABT_ERR);
}

#[test]
fn a_full_queue_that_has_room_again_sends_an_event() {
    let mut machine = machine();
    enable(&mut machine, 0, 1);
    submit(&mut machine, 0, &[sync()]);
    assert_eq!(machine.driver.lines.events, 0, "it was not full");
    machine.driver.write_record(memory(0) + 16, &sync());
    machine.driver.write_record(memory(0), &sync());
    machine.driver.write32(interface(0) + PROD, EN | 3);
    assert_eq!(cons(&machine, 0), EN | 3);
    assert_eq!(machine.driver.lines.events, 1);
}
