//! Interrupts as messages, and WFE events (§3.18, §4.7.3): every source, its enable, its attributes, and its abort.

#![allow(clippy::panic, clippy::indexing_slicing, reason = "a failed test panics")]

use smmuv3::{Env, Features, NoInterrupts, PageRequest, Settings, Step, StreamId, Trace};
use smmuv3_tests::bits::{Record, Words};
use smmuv3_tests::commands::{Command, cfgi_all, field, sync, sync_with};
use smmuv3_tests::driver::{Driver, Lines, RAM_BASE, register, transaction, value};
use smmuv3_tests::oracle::Access;
use smmuv3_tests::watch::Message;

type Device = Driver<16>;

/// Where messages go.
const AT: u64 = RAM_BASE + 0x8_0004;
/// No memory there.
const HOLE: u64 = 0x1000;
const DATA: u32 = 0xfeed_f00d;
const ON: u32 = value::CMDQEN | value::EVENTQEN | value::SMMUEN;
const ALL: u32 = value::GERROR_IRQEN | value::PRIQ_IRQEN | value::EVENTQ_IRQEN;

/// A source with registers of its own.
struct Source {
    name: &'static str,
    cfg0: u32,
    enable: u32,
    abort: u32,
    trigger: fn(&mut Device),
    pulses: fn(&Lines) -> u32,
}

const SOURCES: [Source; 3] = [
    Source {
        name: "GERROR",
        cfg0: register::GERROR_IRQ_CFG0,
        enable: value::GERROR_IRQEN,
        abort: value::MSI_GERROR_ABT_ERR,
        trigger: |device| assert!(device.submit(&[[0xff, 0]]).is_err()),
        pulses: |lines| lines.gerror,
    },
    Source {
        name: "EVENTQ",
        cfg0: register::EVENTQ_IRQ_CFG0,
        enable: value::EVENTQ_IRQEN,
        abort: value::MSI_EVENTQ_ABT_ERR,
        trigger: |device| {
            let ask = transaction(0, None, 0, Access::READ);
            assert!(device.translate(&ask).is_err(), "C_BAD_STE");
        },
        pulses: |lines| lines.eventq,
    },
    Source {
        name: "PRIQ",
        cfg0: register::PRIQ_IRQ_CFG0,
        enable: value::PRIQ_IRQEN,
        abort: value::MSI_PRIQ_ABT_ERR,
        trigger: |device| {
            let request = PageRequest {
                stream: StreamId(0),
                substream: None,
                address: 0,
                group: 0,
                read: true,
                write: false,
                execute: false,
                privileged: false,
                last: true,
            };
            device.call(|smmu, env| smmu.page_request(&request, env));
        },
        pulses: |lines| lines.priq,
    },
];

/// A device whose interrupts are off.
fn booted(features: Features) -> Device {
    let mut device = Device::booted(features, Settings::new(4, 4), 2);
    device.write64(register::PRIQ_BASE, (RAM_BASE + 0x3_0000) | 3);
    device.write_cr0(ON | if features.pri { value::PRIQEN } else { 0 });
    device.write32(register::IRQ_CTRL, 0);
    device
}

/// `MemAttr [3:0]`, encoded as `STE.MemAttr`, `SH [5:4]`, and the shareability that goes out: Device and Non-cacheable are
/// Outer Shareable, and 01 is reserved and taken as 00.
const ATTRIBUTES: [(u8, u8, u8); 10] = [
    (0b1111, 3, 3),
    (0b1111, 2, 2),
    (0b1111, 0, 0),
    (0b1111, 1, 0),
    (0b1010, 3, 3),
    (0b0111, 3, 3),
    (0b0101, 3, 2),
    (0b0000, 0, 2),
    (0b0001, 3, 2),
    (0b0011, 1, 2),
];

/// CFG0, CFG1 and CFG2 of a source.
fn configure(device: &mut Device, source: &Source, address: u64, attributes: u32) {
    device.write64(source.cfg0, address);
    device.write32(source.cfg0 + 8, DATA);
    device.write32(source.cfg0 + 12, attributes);
}

#[test]
fn each_source_has_its_message() {
    for source in &SOURCES {
        for (memattr, sh, expected) in ATTRIBUTES {
            let mut device = booted(Features::SMMUV3_2);
            configure(&mut device, source, AT, u32::from(memattr | sh << 4));
            device.write32(register::IRQ_CTRL, source.enable);
            (source.trigger)(&mut device);
            let message = Message { address: AT, data: DATA, sh: expected, attributes: memattr };
            assert_eq!(device.watch.messages, [message], "{}", source.name);
            assert_eq!(device.ram.word(AT - 4), Some(u64::from(DATA) << 32), "{}: 32 bits", source.name);
            assert_eq!(device.ram.word(AT + 4), Some(0), "{}: 32 bits", source.name);
            assert_eq!((source.pulses)(&device.lines), 1, "{}: the wire as well", source.name);
        }
    }
}

#[test]
fn enables_gate_the_wire_and_the_message() {
    for source in &SOURCES {
        let mut device = booted(Features::SMMUV3_2);
        configure(&mut device, source, AT, 0b1111);
        device.write32(register::IRQ_CTRL, ALL & !source.enable);
        let others = (source.pulses)(&device.lines);
        (source.trigger)(&mut device);
        assert!(device.watch.messages.is_empty(), "{}", source.name);
        assert_eq!((source.pulses)(&device.lines), others, "{}", source.name);
        device.write32(register::IRQ_CTRL, ALL);
        assert!(device.watch.messages.is_empty(), "{}: nothing for what happened before", source.name);
    }
}

#[test]
fn address_0_is_the_wire_alone() {
    for source in &SOURCES {
        let mut device = booted(Features::SMMUV3_2);
        configure(&mut device, source, 0, 0b1111);
        device.write32(register::IRQ_CTRL, source.enable);
        (source.trigger)(&mut device);
        assert!(device.watch.messages.is_empty(), "{}", source.name);
        assert_eq!((source.pulses)(&device.lines), 1, "{}", source.name);
        assert_eq!(device.read32(register::GERROR) & source.abort, 0, "{}", source.name);
    }
}

#[test]
fn without_msi_there_is_the_wire_alone() {
    let features = Features { msi: false, ..Features::SMMUV3_2 };
    for source in &SOURCES {
        let mut device = booted(features);
        configure(&mut device, source, AT, 0b1111);
        assert_eq!((device.read64(source.cfg0), device.read32(source.cfg0 + 8)), (0, 0), "{}", source.name);
        device.write32(register::IRQ_CTRL, source.enable);
        (source.trigger)(&mut device);
        assert!(device.watch.messages.is_empty(), "{}", source.name);
        assert_eq!((source.pulses)(&device.lines), 1, "{}", source.name);
    }
    let mut device = booted(features);
    device.run(&[sync_with(1, AT, DATA)]);
    assert!(device.watch.messages.is_empty());
    assert_eq!(device.lines.cmd_sync, 1);
}

/// An abort has a GERROR bit of its own, which interrupts, but for GERROR's own.
#[test]
fn aborts() {
    for source in &SOURCES {
        let mut device = booted(Features::SMMUV3_2);
        configure(&mut device, source, HOLE, 0b1111);
        device.write32(register::IRQ_CTRL, source.enable | value::GERROR_IRQEN);
        (source.trigger)(&mut device);
        let trigger = if source.enable == value::GERROR_IRQEN { value::CMDQ_ERR } else { 0 };
        assert_eq!(device.read32(register::GERROR), source.abort | trigger, "{}", source.name);
        assert_eq!(device.lines.gerror, 1, "{}", source.name);
        assert!(device.watch.messages.is_empty(), "{}", source.name);
    }
    let mut device = booted(Features::SMMUV3_2);
    device.write32(register::IRQ_CTRL, value::GERROR_IRQEN);
    let prod = device.prod();
    device.run(&[sync_with(1, HOLE, DATA)]);
    assert_eq!(device.read32(register::GERROR), value::MSI_CMDQ_ABT_ERR);
    assert_eq!((device.cons(), device.lines.gerror), (prod + 2, 1), "consumed all the same");
    // Active errors do not stop later messages.
    device.run(&[sync_with(1, AT, DATA)]);
    assert_eq!(device.watch.messages.len(), 1);
}

#[test]
fn acknowledged_aborts_can_be_told_again() {
    let mut device = booted(Features::SMMUV3_2);
    for expected in [value::MSI_CMDQ_ABT_ERR, 0, value::MSI_CMDQ_ABT_ERR] {
        device.run(&[sync_with(1, HOLE, DATA)]);
        assert_eq!(device.read32(register::GERROR), expected);
        device.run(&[sync_with(1, HOLE, DATA)]);
        assert_eq!(device.read32(register::GERROR), expected, "not toggled while active");
        device.write32(register::GERRORN, expected);
    }
}

#[test]
fn sync_sends_what_it_carries() {
    let with = |memattr: u64, sh: u64| {
        Record(sync_with(1, AT, DATA)).with(field::MSIATTR, memattr).with(field::MSH, sh).0
    };
    for (memattr, sh, expected) in ATTRIBUTES {
        let mut device = booted(Features::SMMUV3_2); // no enable: CS is all
        device.run(&[with(memattr.into(), sh.into())]);
        let message = Message { address: AT, data: DATA, sh: expected, attributes: memattr };
        assert_eq!(device.watch.messages, [message]);
        assert_eq!(device.lines.cmd_sync, 1);
    }
    for (name, command, messages, pulses) in [
        ("CS = 00 with an address", sync_with(0, AT, DATA), 0, 0),
        ("CS = 10 with an address", sync_with(2, AT, DATA), 0, 0),
        ("CS = 01 without an address", sync_with(1, 0, DATA), 0, 1),
    ] {
        let mut device = booted(Features::SMMUV3_2);
        device.run(&[command]);
        assert_eq!((device.watch.messages.len(), device.lines.cmd_sync), (messages, pulses), "{name}");
    }
}

/// The zero check is on the whole field; the address is then cut to OAS.
#[test]
fn addresses_beyond_oas_are_cut() {
    let mut device = booted(Features { oas_bits: 40, vax52: false, ..Features::SMMUV3_2 });
    device.run(&[sync_with(1, 1 << 45 | AT, DATA)]);
    assert_eq!(device.watch.messages.pop().map(|message| message.address), Some(AT));
    device.run(&[sync_with(1, 1 << 45, DATA)]);
    assert_eq!(device.read32(register::GERROR), value::MSI_CMDQ_ABT_ERR, "it goes to address 0");
    let mut device = booted(Features { oas_bits: 40, vax52: false, ..Features::SMMUV3_2 });
    configure(&mut device, &SOURCES[1], 1 << 45 | AT, 0b1111);
    device.write32(register::IRQ_CTRL, value::EVENTQ_IRQEN);
    (SOURCES[1].trigger)(&mut device);
    assert_eq!(device.watch.messages.pop().map(|message| message.address), Some(AT));
}

/// Linux lets a SYNC overwrite itself: the command is read whole before its message is written.
#[test]
fn a_sync_may_point_at_its_own_slot() {
    let mut device = booted(Features::SMMUV3_2);
    let slot = device.slot(device.prod());
    device.put(Record(sync_with(1, slot, 0)).with(field::MSH, 3).with(field::MSIATTR, 0xf).0);
    assert_eq!(device.ring(), Ok(()));
    assert_eq!(device.ram.word(slot), Some(0), "MSIData is 0, and so is the upper half");
    assert_eq!(device.watch.messages.len(), 1);
}

/// Names the steps that matter for order.
#[derive(Default)]
struct Order(Vec<&'static str>);

impl Trace for Order {
    fn step(&mut self, step: &Step) {
        self.0.extend(match step {
            Step::Event(_) => Some("event"),
            Step::Gerror(_) => Some("GERROR"),
            Step::Msi { .. } => Some("message"),
            Step::Interrupt(_) => Some("pulse"),
            _ => None,
        });
    }
}

#[test]
fn what_is_announced_comes_before_the_announcement() {
    let mut device = booted(Features::SMMUV3_2);
    for source in &SOURCES {
        configure(&mut device, source, AT, 0b1111);
    }
    device.write32(register::IRQ_CTRL, ALL);
    let mut order = Order::default();
    let mut env = Env { memory: &mut device.ram, interrupts: &mut NoInterrupts, trace: &mut order };
    assert!(device.smmu.translate(&transaction(0, None, 0, Access::READ), &mut env).is_err());
    assert_eq!(order.0, ["event", "message", "pulse"]);
    let mut order = Order::default();
    device.write_record(device.slot(device.prod()), &[0xff, 0]);
    let prod = device.prod() + 1;
    let mut env = Env { memory: &mut device.ram, interrupts: &mut NoInterrupts, trace: &mut order };
    assert!(device.smmu.write(register::CMDQ_PROD, &prod.to_le_bytes(), &mut env).is_ok());
    assert_eq!(order.0, ["GERROR", "message", "pulse"]);
}

#[test]
fn sig_sev_sends_an_event() {
    let sev: Command = Record(sync()).with(field::CS, 0b10).0;
    for (has, expected) in [(true, 1), (false, 0)] {
        let mut device = booted(Features { sev: has, ..Features::SMMUV3_2 });
        device.run(&[sev]);
        assert_eq!((device.lines.events, device.lines.cmd_sync), (expected, 0), "SEV = {has}");
        device.run(&[sync_with(1, 0, 0)]);
        assert_eq!(device.lines.events, expected, "SIG_IRQ sends none");
    }
}

/// A full queue that has room again sends an event, once, whatever its commands are.
#[test]
fn room_in_a_full_queue_sends_an_event() {
    for (has, expected) in [(true, 1), (false, 0)] {
        for (count, events) in [(63, 0), (64, expected)] {
            let mut device = booted(Features { sev: has, ..Features::SMMUV3_2 });
            for _ in 0..count {
                device.put(cfgi_all());
            }
            assert_eq!(device.ring(), Ok(()));
            assert_eq!(device.lines.events, events, "{count} of 64, SEV = {has}");
        }
    }
    let mut device = booted(Features::SMMUV3_2);
    for _ in 0..64 {
        device.put([0xff, 0]);
    }
    assert!(device.ring().is_err());
    assert_eq!(device.lines.events, 0, "it stopped at the first, and is still full");
    assert!(device.recover().is_err(), "at the second");
    assert_eq!(device.lines.events, 1);
}
