//! Registers (§6): the map, access rules, handshakes, guards, reset.

#![allow(clippy::panic, clippy::indexing_slicing, reason = "a failed test panics")]

use smmuv3::{Features, Settings};
use smmuv3_tests::commands;
use smmuv3_tests::driver::{Driver, register, value};
use smmuv3_tests::machine::Machine;
use smmuv3_tests::oracle::Access;

type Device = Driver<16>;

fn device(features: Features) -> Device {
    Device::new(features, Settings::new(4, 4), 2)
}

#[test]
fn id_registers_show_the_features_and_never_change() {
    for features in
        [Features::MINIMAL, Features::QEMU_10, Features::SMMUV3_0, Features::SMMUV3_1, Features::SMMUV3_2]
    {
        let mut device = device(features);
        for n in 0..6 {
            let offset = 4 * n as u32;
            device.write32(offset, !features.idr(n));
            assert_eq!(device.read32(offset), features.idr(n), "IDR{n}");
        }
    }
    // Bit by bit from registers.md §3, as QEMU 10.0.2 shows them.
    let qemu = device(Features::QEMU_10);
    let found: Vec<_> = (0..6).map(|n| qemu.read32(4 * n)).collect();
    assert_eq!(found, [0x0d44_101a, 0x0273_0010, 0, 0x1404, 0, 0x74]);
}

#[test]
fn b10_iidr_and_aidr_are_where_they_belong() {
    let device = device(Features { iidr: 0x1234_043b, ..Features::SMMUV3_2 });
    assert_eq!(device.read32(0x18), 0x1234_043b);
    assert_eq!(device.read32(0x1c), 0x02, "SMMUv3.2");
}

#[test]
fn b10_cr0ack_shows_only_what_is_implemented() {
    // SMMUEN, EVENTQEN, CMDQEN; PRIQEN with PRI, ATSCHK with ATS, VMW with VMW.
    let rows = [
        (Features::MINIMAL, 0b0_0000_1101),
        (Features { ats: true, ..Features::QEMU_10 }, 0b0_0001_1101),
        (Features { ats: true, pri: true, ..Features::QEMU_10 }, 0b0_0001_1111),
        (Features { vmw: true, s2p: true, xnx: true, ..Features::QEMU_10 }, 0b1_1100_1101),
        (Features::SMMUV3_2, 0b1_1101_1111),
    ];
    for (features, implemented) in rows {
        let mut device = Device::new(features, Settings::new(4, 4), 2);
        device.write32(register::CR0, !0);
        assert_eq!(device.read32(register::CR0ACK), implemented);
        assert_eq!(device.read32(register::CR0), implemented);
    }
    let mut device = device(Features::QEMU_10);
    device.write32(register::CR0, !value::SMMUEN);
    let ack = device.read32(register::CR0ACK);
    assert_eq!(ack & (value::EVENTQEN | value::CMDQEN), value::EVENTQEN | value::CMDQEN);
    assert_eq!(
        device.read32(register::CR0) & (value::EVENTQEN | value::CMDQEN),
        value::EVENTQEN | value::CMDQEN
    );
    device.write32(register::CR0ACK, 0);
    assert_eq!(device.read32(register::CR0ACK), ack, "read only");
    device.write32(register::CR0, 0);
    assert_eq!(device.read32(register::CR0ACK), 0);
    device.write32(register::IRQ_CTRL, 0xffff_ffff);
    assert_eq!(device.read32(register::IRQ_CTRLACK), value::GERROR_IRQEN | value::EVENTQ_IRQEN);
}

/// Name, offset, the bits that keep what is written, for an SMMU with MSI and 52-bit addresses.
const WIDE: [(&str, u32, u64); 5] = [
    ("GERROR_IRQ_CFG0", register::GERROR_IRQ_CFG0, 0x000f_ffff_ffff_fffc),
    ("STRTAB_BASE", register::STRTAB_BASE, 0x400f_ffff_ffff_ffc0),
    ("CMDQ_BASE", register::CMDQ_BASE, 0x400f_ffff_ffff_ffff),
    ("EVENTQ_BASE", register::EVENTQ_BASE, 0x400f_ffff_ffff_ffff),
    ("EVENTQ_IRQ_CFG0", register::EVENTQ_IRQ_CFG0, 0x000f_ffff_ffff_fffc),
];

#[test]
fn b11_wide_registers_work_whole_and_in_halves() {
    for (name, offset, mask) in WIDE {
        let mut device = device(Features::SMMUV3_2);
        for value in [u64::MAX, 0x0123_4567_89ab_cdef, 0x5555_5555_5555_5555, 0] {
            device.write64(offset, value);
            assert_eq!(device.read64(offset), value & mask, "{name} whole");
            assert_eq!(device.read32(offset), (value & mask) as u32, "{name}, low half");
            assert_eq!(device.read32(offset + 4), ((value & mask) >> 32) as u32, "{name}, high half");
            device.write32(offset, !value as u32);
            assert_eq!(
                device.read64(offset),
                (value >> 32 << 32 | u64::from(!value as u32)) & mask,
                "{name}"
            );
            device.write32(offset + 4, (!value >> 32) as u32);
            assert_eq!(device.read64(offset), !value & mask, "{name}");
        }
    }
}

/// Name, offset, the bits that keep what is written.
const NARROW: [(&str, u32, u32); 14] = [
    ("CR1", register::CR1, 0x0000_0fff),
    ("CR2", register::CR2, 0x0000_0003),
    ("STRTAB_BASE_CFG", register::STRTAB_BASE_CFG, 0x0003_07ff),
    ("CMDQ_PROD", register::CMDQ_PROD, 0x000f_ffff),
    ("CMDQ_CONS", register::CMDQ_CONS, 0x000f_ffff),
    ("EVENTQ_PROD", register::EVENTQ_PROD, 0x800f_ffff),
    ("EVENTQ_CONS", register::EVENTQ_CONS, 0x800f_ffff),
    ("GERROR_IRQ_CFG1", register::GERROR_IRQ_CFG1, 0xffff_ffff),
    ("GERROR_IRQ_CFG2", register::GERROR_IRQ_CFG2, 0x0000_003f),
    ("EVENTQ_IRQ_CFG1", register::EVENTQ_IRQ_CFG1, 0xffff_ffff),
    ("EVENTQ_IRQ_CFG2", register::EVENTQ_IRQ_CFG2, 0x0000_003f),
    ("GERROR", register::GERROR, 0),
    ("STATUSR", register::STATUSR, 0),
    ("IRQ_CTRLACK", register::IRQ_CTRLACK, 0),
];

#[test]
fn narrow_registers_keep_their_fields() {
    for (name, offset, mask) in NARROW {
        let mut device = device(Features::SMMUV3_2);
        for value in [0x7f7f_7f7f & mask, 0x2a2a_2a2a & mask, 0] {
            device.write32(offset, value | !mask);
            assert_eq!(device.read32(offset) & mask, value, "{name}: {value:#x}");
        }
    }
}

#[test]
fn without_msi_the_message_registers_are_res0() {
    let mut device = device(Features::QEMU_10);
    for offset in [register::GERROR_IRQ_CFG0, register::EVENTQ_IRQ_CFG0] {
        device.write64(offset, u64::MAX);
        device.write32(offset + 8, u32::MAX);
        device.write32(offset + 12, u32::MAX);
        assert_eq!((device.read64(offset), device.read32(offset + 8), device.read32(offset + 12)), (0, 0, 0));
    }
}

/// Name, offset, width, and the CR0 bits that make it read-only.
#[test]
fn b12_guarded_registers_ignore_writes_while_enabled() {
    let rows = [
        ("CR1 by SMMUEN", register::CR1, 4, value::SMMUEN, 0xfc0),
        ("CR1 by CMDQEN", register::CR1, 4, value::CMDQEN, 0x03f),
        ("CR1 by EVENTQEN", register::CR1, 4, value::EVENTQEN, 0x03f),
        ("CR2", register::CR2, 4, value::SMMUEN, 0x3),
        ("STRTAB_BASE", register::STRTAB_BASE, 8, value::SMMUEN, u64::MAX),
        ("STRTAB_BASE_CFG", register::STRTAB_BASE_CFG, 4, value::SMMUEN, u64::MAX),
        ("CMDQ_BASE", register::CMDQ_BASE, 8, value::CMDQEN, u64::MAX),
        ("CMDQ_CONS", register::CMDQ_CONS, 4, value::CMDQEN, u64::MAX),
        ("EVENTQ_BASE", register::EVENTQ_BASE, 8, value::EVENTQEN, u64::MAX),
        ("EVENTQ_PROD", register::EVENTQ_PROD, 4, value::EVENTQEN, u64::MAX),
    ];
    for (name, offset, width, enable, mask) in rows {
        let mut device = device(Features::SMMUV3_2);
        let read = |device: &Device| match width {
            4 => u64::from(device.read32(offset)) & mask,
            _ => device.read64(offset) & mask,
        };
        let write = |device: &mut Device, value: u64| match width {
            4 => device.write32(offset, value as u32),
            _ => device.write64(offset, value),
        };
        let before = read(&device);
        device.write_cr0(enable);
        write(&mut device, !0);
        assert_eq!(read(&device), before, "{name}: ignored while enabled");
        if width == 8 {
            device.write32(offset + 4, !0);
            assert_eq!(read(&device), before, "{name}: so is a half");
        }
        device.write_cr0(0);
        write(&mut device, !0);
        assert_ne!(read(&device), before, "{name}: writable again");
    }
}

/// registers.md §6: each source by its own enable, and by no other.
#[test]
fn interrupt_configuration_is_guarded_by_its_enable() {
    let gerror = (register::GERROR_IRQ_CFG0, register::GERROR_IRQ_CFG1, register::GERROR_IRQ_CFG2);
    let eventq = (register::EVENTQ_IRQ_CFG0, register::EVENTQ_IRQ_CFG1, register::EVENTQ_IRQ_CFG2);
    for (enable, guarded, free) in
        [(value::GERROR_IRQEN, gerror, eventq), (value::EVENTQ_IRQEN, eventq, gerror)]
    {
        let mut device = device(Features::SMMUV3_2);
        device.write32(register::IRQ_CTRL, enable);
        for ((cfg0, cfg1, cfg2), expected) in [(guarded, (0, 0, 0)), (free, (0x1000, 7, 0x3f))] {
            device.write64(cfg0, 0x1000);
            device.write32(cfg1, 7);
            device.write32(cfg2, 0x3f);
            let found = (device.read64(cfg0), device.read32(cfg1), device.read32(cfg2));
            assert_eq!(found, expected, "{cfg0:#x} with IRQ_CTRL {enable}");
        }
        device.write32(register::IRQ_CTRL, 0);
        device.write64(guarded.0, 0x2000);
        assert_eq!(device.read64(guarded.0), 0x2000, "writable again");
    }
}

#[test]
fn b14_reset_restores_every_register_and_forgets_translations() {
    let mut machine = Machine::usual();
    let fresh = Driver::<256>::new(Features::SMMUV3_2, smmuv3_tests::machine::STRICT, 2);
    machine.cache_and_unmap(&[0x5000], 12);
    assert!(machine.driver.submit(&[[0xff, 0]]).is_err());
    machine.driver.smmu.reset();
    for offset in (0..0x200).step_by(4).chain((0x100a8..0x100d0).step_by(4)) {
        let mut data = [[0; 4]; 2];
        let known = machine.driver.smmu.read(offset, &mut data[0]);
        let expected = fresh.smmu.read(offset, &mut data[1]);
        assert_eq!(known.is_ok(), expected.is_ok(), "{offset:#x}");
        assert_eq!(data[0], data[1], "{offset:#x}");
    }
}

#[test]
fn b15_gbpa_rules_while_smmuen_is_0() {
    let mut device = device(Features::SMMUV3_2);
    let bypass = Ok(0x1234_5678);
    assert_eq!(device.access(5, 0x1234_5678, Access::READ), bypass);
    device.write32(register::GBPA, value::GBPA_ABORT);
    assert_eq!(device.read32(register::GBPA) & value::GBPA_ABORT, 0, "ignored without Update");
    assert_eq!(device.access(5, 0x1234_5678, Access::READ), bypass);
    device.write32(register::GBPA, value::GBPA_ABORT | value::GBPA_UPDATE);
    assert_eq!(device.read32(register::GBPA) & (value::GBPA_ABORT | value::GBPA_UPDATE), value::GBPA_ABORT);
    assert_eq!(device.access(5, 0x1234_5678, Access::READ), Err(None), "an abort without an event");
    device.write32(register::GBPA, value::GBPA_UPDATE);
    assert_eq!(device.access(5, 0x1234_5678, Access::READ), bypass);
}

#[test]
fn bypass_by_gbpa_aborts_beyond_the_output_address_size() {
    let mut device = device(Features::QEMU_10);
    assert_eq!(device.access(5, (1 << 44) - 1, Access::READ), Ok((1 << 44) - 1));
    assert_eq!(device.access(5, 1 << 44, Access::READ), Err(None));
    assert_eq!(device.access(5, u64::MAX, Access::WRITE), Err(None));
}

#[test]
fn gbpa_does_not_matter_while_smmuen_is_1() {
    let mut machine = Machine::usual();
    machine.map(0x5000, 0x9000, 12);
    machine.driver.write32(register::GBPA, value::GBPA_ABORT | value::GBPA_UPDATE);
    assert_eq!(machine.read(0x5000), Ok(0x9000));
}

#[test]
fn commands_work_while_smmuen_is_0() {
    let mut machine = Machine::usual();
    machine.cache_and_unmap(&[0x5000, 0x6000], 12);
    machine.driver.write_cr0(value::CMDQEN | value::EVENTQEN);
    machine.run(smmuv3_tests::machine::nh_va(0x5000, commands::Hint::NONE));
    machine.driver.write_cr0(value::CMDQEN | value::EVENTQEN | value::SMMUEN);
    assert!(!machine.is_cached(0x5000));
}

#[test]
fn sizes_and_alignments_that_are_no_accesses_are_refused() {
    let device = device(Features::SMMUV3_2);
    for (offset, size) in
        [(0x20, 1), (0x20, 2), (0x20, 3), (0x20, 16), (0x21, 4), (0x22, 4), (0x84, 8), (0x20, 0)]
    {
        let mut data = vec![0; size];
        assert!(device.smmu.read(offset, &mut data).is_err(), "{size} bytes at {offset:#x}");
    }
    let past = device.smmu.window_bytes();
    assert_eq!(past, 0x3_0000, "pages 0 and 1, and VATOS");
    assert!(device.smmu.read(past, &mut [0; 4]).is_err(), "beyond the window");
    let two_pages = Device::new(Features::QEMU_10, Settings::new(4, 4), 2);
    assert!(two_pages.smmu.read(0x2_0000, &mut [0; 4]).is_err(), "beyond the second page");
    assert!(device.smmu.read(u32::MAX - 3, &mut [0; 4]).is_err());
}
