//! Queues (§3.5): indices, wrap bits, sizes, overflow.

#![allow(clippy::panic, clippy::indexing_slicing, reason = "a failed test panics")]

use smmuv3::{Features, Settings};
use smmuv3_tests::bits::Words;
use smmuv3_tests::commands;
use smmuv3_tests::driver::{Boot, Driver, EVENT_QUEUE, RAM_BASE, register, value};
use smmuv3_tests::oracle::Access;

type Device = Driver<16>;

fn booted(boot: Boot) -> Device {
    let mut device = Device::new(Features::SMMUV3_2, Settings::new(4, 4), 2);
    device.boot(boot);
    device
}

/// A transaction of a stream whose STE is all zeros: C_BAD_STE.
fn make_event(device: &mut Device, sid: u32) {
    assert_eq!(device.access(sid, 0, Access::READ), Err(Some("C_BAD_STE")));
}

#[test]
fn e15_the_wrap_bit_survives_many_laps() {
    for log2_commands in [0, 1, 2, 3, 8] {
        let mut device = booted(Boot { log2_commands, ..Boot::USUAL });
        for round in 0..5u32 << log2_commands {
            let before = device.prod();
            device.run(&[]); // one CMD_SYNC
            assert_eq!(
                device.prod(),
                (before + 1) & ((2 << log2_commands) - 1),
                "2^{log2_commands}, round {round}"
            );
            assert_eq!(device.cons(), device.prod());
        }
    }
}

#[test]
fn e15_events_wrap_too() {
    for log2_events in [0, 1, 3] {
        let mut device = booted(Boot { log2_events, ..Boot::USUAL });
        for round in 0..5u32 << log2_events {
            make_event(&mut device, round);
            let events = device.events();
            assert_eq!(events.len(), 1, "2^{log2_events}, round {round}");
            assert_eq!(events[0][0], 0x04 | u64::from(round) << 32);
        }
    }
}

#[test]
fn a_full_command_queue_is_consumed_whole() {
    let mut device = booted(Boot { log2_commands: 3, ..Boot::USUAL });
    for _ in 0..8 {
        device.put(commands::cfgi_all());
    }
    let prod = device.prod();
    assert_eq!(device.ring(), Ok(()));
    assert_eq!(device.cons(), prod, "same index, other wrap bit");
}

#[test]
fn e14_an_inconsistent_prod_is_not_processed() {
    let mut device = booted(Boot { log2_commands: 3, ..Boot::USUAL });
    let start = device.prod();
    for slot in 0..8 {
        device.write_record(device.slot(slot), &[0xff, 0]); // each would be CERROR_ILL
    }
    // Nine ahead: the wrap bits differ, and the index has passed the consumer's.
    device.write32(register::CMDQ_PROD, (start + 9) & 0xf);
    assert_eq!(device.cons(), start);
    assert_eq!(device.read32(register::GERROR), 0);
    assert!(!device.smmu.pending());
}

#[test]
fn bits_above_the_wrap_bit_do_not_count() {
    let mut device = booted(Boot { log2_commands: 3, ..Boot::USUAL });
    let start = device.prod();
    device.write_record(device.slot(start), &commands::sync());
    device.write32(register::CMDQ_PROD, (start + 1) & 0xf | 0xffff_fff0);
    assert_eq!(device.read32(register::CMDQ_CONS), (start + 1) & 0xf);
}

/// The index has not moved, so nothing of it may change: neither where a command is refused nor where none can be read.
#[test]
fn bits_above_the_wrap_bit_stay_until_the_index_moves() {
    for asks_no_entries in [false, true] {
        for readable in [true, false] {
            let mut device = Device::new(Features::SMMUV3_2, Settings::new(4, 4), 2);
            device.counters.asks_no_entries = asks_no_entries;
            let base = if readable { RAM_BASE + 0x4_0000 } else { RAM_BASE - 0x1000 };
            device.write64(register::CMDQ_BASE, base | 3);
            device.write32(register::CMDQ_CONS, 0x120); // index 0, wrap 0
            device.write32(register::CMDQ_PROD, 0x4_0343); // index 3, wrap 0
            if readable {
                device.write_record(base, &[0xff, 0]);
            }
            device.write_cr0(value::CMDQEN);
            let code = if readable { value::CERROR_ILL } else { value::CERROR_ABT };
            assert_eq!(device.read32(register::CMDQ_CONS), code << 24 | 0x120);
            if readable {
                for slot in 0..2 {
                    device.write_record(base + 16 * slot, &commands::sync());
                }
                device.write_record(base + 32, &[0xff, 0]);
                device.write32(register::GERRORN, value::CMDQ_ERR);
                assert_eq!(device.read32(register::CMDQ_CONS), code << 24 | 2, "two commands on");
            }
        }
    }
}

#[test]
fn a_queue_is_no_larger_than_idr1_allows() {
    let mut device = Device::new(Features::MINIMAL, Settings::new(4, 4), 2);
    let base = RAM_BASE + 0x4_0000;
    device.write64(register::CMDQ_BASE, base | 19);
    assert_eq!(device.read64(register::CMDQ_BASE) & 0x1f, 19, "LOG2SIZE reads back raw");
    device.write32(register::CMDQ_PROD, 0x1ff); // 256 entries: index 255, wrap 1
    device.write32(register::CMDQ_CONS, 0x1ff);
    device.write_record(base + 255 * 16, &commands::sync());
    device.write_cr0(value::CMDQEN);
    device.write32(register::CMDQ_PROD, 0);
    assert_eq!(device.read32(register::CMDQ_CONS), 0);
}

#[test]
fn a_base_is_aligned_to_the_size_of_its_queue() {
    let mut device = Device::new(Features::SMMUV3_2, Settings::new(4, 4), 2);
    let base = RAM_BASE + 0x4_0000;
    device.write64(register::CMDQ_BASE, base | 0x1e0 | 6); // 64 commands: 1 KiB
    device.write_record(base, &commands::sync());
    device.write_record(base + 0x1e0, &[0xff, 0]);
    device.write_cr0(value::CMDQEN);
    device.write32(register::CMDQ_PROD, 1);
    assert_eq!(device.read32(register::CMDQ_CONS), 1);
}

#[test]
fn e1_a_full_event_queue_toggles_ovflg() {
    let mut device = booted(Boot { log2_events: 1, ..Boot::USUAL });
    for sid in 0..2 {
        make_event(&mut device, sid);
    }
    assert_eq!(device.read32(register::EVENTQ_PROD), 2);
    make_event(&mut device, 2);
    assert_eq!(device.read32(register::EVENTQ_PROD), value::OVERFLOW | 2);
    make_event(&mut device, 3);
    assert_eq!(device.read32(register::EVENTQ_PROD), value::OVERFLOW | 2, "only once");
    assert_eq!(device.read32(register::GERROR), 0, "no global error");
    assert_eq!(device.lines.eventq, 1, "from empty to not empty");
    let sids: Vec<_> = device.events().iter().map(|event| event[0] >> 32).collect();
    assert_eq!(sids, [0, 1]);
    // Acknowledged by events(); a second overflow toggles back.
    for sid in 4..7 {
        make_event(&mut device, sid);
    }
    assert_eq!(device.read32(register::EVENTQ_PROD) & value::OVERFLOW, 0);
}

#[test]
fn an_unacknowledged_overflow_does_not_stop_events() {
    let mut device = booted(Boot { log2_events: 0, ..Boot::USUAL });
    make_event(&mut device, 0);
    make_event(&mut device, 1);
    assert_eq!(device.read32(register::EVENTQ_PROD), value::OVERFLOW | 1);
    device.write32(register::EVENTQ_CONS, 1); // OVACKFLG stays 0
    make_event(&mut device, 2);
    assert_eq!(device.read32(register::EVENTQ_PROD), value::OVERFLOW);
    assert_eq!(device.ram.word(EVENT_QUEUE), Some(2 << 32 | 4));
}

#[test]
fn events_are_dropped_without_a_trace_while_the_queue_is_off() {
    let mut device = booted(Boot::USUAL);
    device.write_cr0(value::CMDQEN | value::SMMUEN);
    make_event(&mut device, 0);
    assert_eq!(device.read32(register::EVENTQ_PROD), 0);
    assert_eq!(device.lines.eventq, 0);
}

#[test]
fn the_interrupt_follows_from_empty_to_not_empty_only() {
    let mut device = booted(Boot::USUAL);
    for sid in 0..3 {
        make_event(&mut device, sid);
    }
    assert_eq!(device.lines.eventq, 1);
    device.events();
    make_event(&mut device, 0);
    assert_eq!(device.lines.eventq, 2);
    device.write32(register::IRQ_CTRL, 0);
    device.events();
    make_event(&mut device, 0);
    assert_eq!(device.lines.eventq, 2, "disabled");
}

#[test]
fn the_event_interrupt_can_be_a_message() {
    let mut device = booted(Boot::USUAL);
    let at = RAM_BASE + 0x8_0000;
    device.write32(register::IRQ_CTRL, 0);
    device.write64(register::EVENTQ_IRQ_CFG0, at);
    device.write32(register::EVENTQ_IRQ_CFG1, 0xcafe);
    device.write32(register::IRQ_CTRL, value::EVENTQ_IRQEN);
    make_event(&mut device, 0);
    assert_eq!(device.ram.word(at), Some(0xcafe));
}

#[test]
fn commands_wait_for_the_enable() {
    let mut device = Device::new(Features::SMMUV3_2, Settings::new(4, 4), 2);
    let base = RAM_BASE + 0x4_0000;
    device.write64(register::CMDQ_BASE, base | 4);
    device.write_record(base, &commands::sync());
    device.write32(register::CMDQ_PROD, 1);
    assert_eq!(device.read32(register::CMDQ_CONS), 0);
    device.write_cr0(value::CMDQEN);
    assert_eq!(device.read32(register::CMDQ_CONS), 1);
}
