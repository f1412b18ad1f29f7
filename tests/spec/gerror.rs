//! Global errors (§7.5): toggles, acknowledgements, interrupts.

#![allow(clippy::panic, reason = "a failed test panics")]

use smmuv3::{Features, Settings};
use smmuv3_tests::bits::Words;
use smmuv3_tests::commands;
use smmuv3_tests::driver::{Boot, Driver, RAM_BASE, register, value};
use smmuv3_tests::oracle::Access;

type Device = Driver<16>;

fn booted() -> Device {
    Device::booted(Features::SMMUV3_2, Settings::new(4, 4), 2)
}

#[test]
fn an_error_toggles_once_and_each_acknowledgement_allows_the_next() {
    let mut device = booted();
    for expected in [value::CMDQ_ERR, 0, value::CMDQ_ERR] {
        assert!(device.submit(&[[0xff, 0]]).is_err());
        assert_eq!(device.read32(register::GERROR), expected);
        device.write32(register::CMDQ_PROD, device.prod());
        assert_eq!(device.read32(register::GERROR), expected, "not toggled while active");
        assert_eq!(device.read32(register::GERRORN), expected ^ value::CMDQ_ERR, "never changed by the SMMU");
        assert_eq!(device.recover(), Ok(()));
    }
    assert_eq!(device.lines.gerror, 3);
}

/// registers.md §7: the SMMU activates by a toggle, and does nothing if the error is already active.
#[test]
fn an_active_error_is_not_toggled_again() {
    let mut device = booted();
    let (bad, active) = (commands::sync_with(1, 0x1000, 7), 1 << 4); // no memory there: MSI_CMDQ_ABT_ERR
    for _ in 0..3 {
        device.run(&[bad]);
        assert_eq!(device.read32(register::GERROR), active);
    }
    assert_eq!(device.lines.gerror, 1, "one activation, one interrupt");
    device.write32(register::GERRORN, active);
    assert_eq!(device.read32(register::GERROR), active, "an acknowledgement changes GERRORN alone");
    for _ in 0..2 {
        device.run(&[bad]);
        assert_eq!(device.read32(register::GERROR), 0, "active again: the bits differ");
    }
    assert_eq!(device.lines.gerror, 2);
}

#[test]
fn disabling_the_command_queue_does_not_acknowledge() {
    let mut device = booted();
    assert!(device.submit(&[[0xff, 0]]).is_err());
    device.write_cr0(value::EVENTQEN | value::SMMUEN);
    device.write_cr0(value::CMDQEN | value::EVENTQEN | value::SMMUEN);
    assert!(device.stopped().is_err());
    assert_eq!(device.read32(register::GERROR), value::CMDQ_ERR);
}

#[test]
fn an_event_write_that_aborts() {
    let mut device = Device::new(Features::SMMUV3_2, Settings::new(4, 4), 2);
    device.boot(Boot::USUAL);
    device.write_cr0(value::CMDQEN);
    device.write64(register::EVENTQ_BASE, 0x1000 | 3); // no memory there
    device.write_cr0(value::CMDQEN | value::EVENTQEN | value::SMMUEN);
    assert_eq!(device.access(0, 0, Access::READ), Err(Some("C_BAD_STE")));
    assert_eq!(device.read32(register::GERROR), value::EVENTQ_ABT_ERR);
    assert_eq!(device.read32(register::EVENTQ_PROD), 0, "PROD does not advance");
    assert_eq!((device.lines.gerror, device.lines.eventq), (1, 0));
    device.access(0, 0, Access::READ).ok();
    assert_eq!(device.read32(register::EVENTQ_PROD), 0, "not writable, and no overflow");
    assert_eq!(device.lines.gerror, 1);
    device.run(&[commands::cfgi_all()]);
}

#[test]
fn the_interrupt_has_an_enable_and_may_be_a_message() {
    let mut device = booted();
    let at = RAM_BASE + 0x8_0000;
    device.write32(register::IRQ_CTRL, 0);
    assert!(device.submit(&[[0xff, 0]]).is_err());
    assert_eq!(device.lines.gerror, 0);
    device.write64(register::GERROR_IRQ_CFG0, at);
    device.write32(register::GERROR_IRQ_CFG1, 0xbeef);
    device.write32(register::IRQ_CTRL, value::GERROR_IRQEN);
    assert_eq!((device.lines.gerror, device.ram.word(at)), (0, Some(0)), "nothing for what happened before");
    assert_eq!(device.recover(), Ok(()));
    assert!(device.submit(&[[0xff, 0]]).is_err());
    assert_eq!(device.ram.word(at), Some(0xbeef));
}

#[test]
fn a_message_that_aborts_activates_its_own_error() {
    let mut device = booted();
    device.write32(register::IRQ_CTRL, 0);
    device.write64(register::GERROR_IRQ_CFG0, 0x1000);
    device.write64(register::EVENTQ_IRQ_CFG0, 0x1000);
    device.write32(register::IRQ_CTRL, value::GERROR_IRQEN | value::EVENTQ_IRQEN);
    device.access(0, 0, Access::READ).ok();
    // MSI_EVENTQ_ABT_ERR, whose own message aborts as well: MSI_GERROR_ABT_ERR.
    assert_eq!(device.read32(register::GERROR), 1 << 5 | 1 << 7);
    assert_eq!(device.events().len(), 1, "the event itself is recorded");
}

#[test]
fn reserved_bits_of_gerrorn_do_nothing() {
    let mut device = booted();
    device.write32(register::GERRORN, 0xffff_f802);
    assert_eq!(device.read32(register::GERROR), 0);
    device.run(&[commands::cfgi_all()]);
}
