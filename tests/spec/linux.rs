//! Linux's driver, the client that matters: its probe, its refusals and its reset, on every preset.

#![allow(clippy::panic, clippy::indexing_slicing, reason = "a failed test panics")]

use smmuv3::Features;
use smmuv3::arch::features::{QueuesPreset, TablesPreset};
use smmuv3_tests::commands::{cfgi_all, sync, tlbi_el2_all, tlbi_nsnh_all};
use smmuv3_tests::driver::{COMMAND_QUEUE, Driver, EVENT_QUEUE, RAM_BASE, STREAM_TABLE, register, value};
use smmuv3_tests::machine::STRICT;

const V3_0: Features = Features::SMMUV3_0;
const V3_1: Features = Features::SMMUV3_1;
const V3_2: Features = Features::SMMUV3_2;
const V3_3: Features = Features::SMMUV3_3;
const PRESET_TABLES: Features =
    Features { tables_preset: Some(TablesPreset { base: STREAM_TABLE, config: 8 }), ..V3_2 };
const PRESET_QUEUES: Features = Features {
    queues_preset: Some(QueuesPreset {
        command: COMMAND_QUEUE | 6,
        event: EVENT_QUEUE | 5,
        pri: (RAM_BASE + 0x3_0000) | 3,
    }),
    ..V3_2
};

/// What Linux' `arm_smmu_device_hw_probe` makes of the ID registers.
#[derive(Debug, PartialEq, Eq)]
struct Probed {
    features: Vec<&'static str>,
    /// StreamIDs, SubstreamIDs, ASIDs, VMIDs, addresses.
    widths: [u32; 5],
    /// log2 of command, event and PRI queue.
    queues: [u32; 3],
    /// 4, 16, 64 KiB.
    granules: [bool; 3],
}

/// The probe, with its refusals.
fn probe(device: &Driver<256>) -> Result<Probed, &'static str> {
    let [idr0, idr1, _, idr3, _, idr5] = core::array::from_fn(|n| device.read32(4 * n as u32));
    let mut features = Vec::new();
    let mut note = |has: bool, name: &'static str| {
        if has {
            features.push(name);
        }
    };
    note(idr0 >> 27 & 3 == 1, "two-level stream tables");
    note(idr0 >> 19 & 1 == 1, "two-level context tables");
    match idr0 >> 21 & 3 {
        0 => {
            note(true, "little-endian tables");
            note(true, "big-endian tables");
        }
        2 => note(true, "little-endian tables"),
        3 => note(true, "big-endian tables"),
        _ => return Err("unknown/unsupported TT endianness"),
    }
    note(idr0 >> 16 & 1 == 1, "PRI");
    note(idr0 >> 10 & 1 == 1, "ATS");
    note(idr0 >> 14 & 1 == 1, "SEV");
    let (msi, coherent) = (idr0 >> 13 & 1 == 1, idr0 >> 4 & 1 == 1);
    note(msi, "MSI");
    note(msi && coherent, "MSI polling");
    note(idr0 >> 9 & 1 == 1, "Hyp");
    note(coherent, "coherent");
    match idr0 >> 24 & 3 {
        2 => note(true, "stalls forced"),
        0 => note(true, "stalls"),
        _ => {}
    }
    note(idr0 >> 1 & 1 == 1, "stage 1");
    note(idr0 & 1 == 1, "stage 2");
    note(idr0 >> 6 & 3 >= 1, "HA");
    note(idr0 >> 6 & 3 >= 2, "HD");
    if idr0 & 3 == 0 {
        return Err("no translation support!");
    }
    if idr0 >> 2 & 2 == 0 {
        return Err("AArch64 table format not supported!");
    }
    if idr1 & (1 << 30 | 1 << 29 | 1 << 28) != 0 {
        return Err("embedded implementation not supported");
    }
    let queues = [idr1 >> 21 & 31, idr1 >> 16 & 31, idr1 >> 11 & 31];
    if queues[0] <= 6 {
        return Err("command queue too small");
    }
    note(idr3 >> 10 & 1 == 1, "range invalidation");
    note(idr5 >> 10 & 3 == 1, "52-bit VA");
    let widths = [
        idr1 & 0x3f,
        idr1 >> 6 & 0x1f,
        if idr0 >> 12 & 1 == 1 { 16 } else { 8 },
        if idr0 >> 18 & 1 == 1 { 16 } else { 8 },
        [32, 36, 40, 42, 44, 48, 52, 0][idr5 as usize & 7],
    ];
    Ok(Probed { features, widths, queues, granules: [4, 5, 6].map(|bit| idr5 >> bit & 1 == 1) })
}

/// `arm_smmu_device_reset`, in its order, with every queue that there is.
fn linux_reset(device: &mut Driver<256>, probed: &Probed) {
    let has = |name: &str| probed.features.contains(&name);
    let poll = |device: &mut Driver<256>, control: u32, value: u32| {
        device.write32(control, value);
        assert_eq!(device.read32(control + 4), value, "{control:#x} and its ACK");
    };
    // A queue as large as IDR1 allows, here at most 2^8, and a table for 2^8 streams.
    let size = |log2: u32| u64::from(log2.min(8));
    let [command, event, pri] = probed.queues.map(size);
    if device.read32(register::CR0) & value::SMMUEN != 0 {
        device.write32(register::GBPA, value::GBPA_ABORT | value::GBPA_UPDATE);
        assert_eq!(device.read32(register::GBPA) & value::GBPA_UPDATE, 0);
    }
    poll(device, register::CR0, 0);
    device.write32(register::CR1, 0xd75);
    device.write32(register::CR2, value::PTM | value::RECINVSID);
    device.write64(register::STRTAB_BASE, STREAM_TABLE | 1 << 62);
    device.write32(register::STRTAB_BASE_CFG, 8.min(probed.widths[0]));
    device.write64(register::CMDQ_BASE, COMMAND_QUEUE | 1 << 62 | command);
    device.write32(register::CMDQ_PROD, 0);
    device.write32(register::CMDQ_CONS, 0);
    let mut enables = value::CMDQEN;
    poll(device, register::CR0, enables);

    let mut prod = 0;
    let mut issue = |device: &mut Driver<256>, commands: &[smmuv3_tests::commands::Command]| {
        for command in commands.iter().chain(&[sync()]) {
            device.write_record(COMMAND_QUEUE + 16 * u64::from(prod), command);
            prod += 1;
        }
        device.write32(register::CMDQ_PROD, prod);
        assert_eq!(device.read32(register::CMDQ_CONS), prod, "{commands:x?}");
    };
    issue(device, &[cfgi_all()]);
    if has("Hyp") {
        issue(device, &[tlbi_el2_all()]);
    }
    issue(device, &[tlbi_nsnh_all()]);

    device.write64(register::EVENTQ_BASE, EVENT_QUEUE | 1 << 62 | event);
    device.write32(register::EVENTQ_PROD, 0);
    device.write32(register::EVENTQ_CONS, 0);
    enables |= value::EVENTQEN;
    poll(device, register::CR0, enables);
    if has("PRI") {
        device.write64(register::PRIQ_BASE, (RAM_BASE + 0x3_0000) | 1 << 62 | pri);
        device.write32(register::PRIQ_PROD, 0);
        device.write32(register::PRIQ_CONS, 0);
        enables |= value::PRIQEN;
        poll(device, register::CR0, enables);
    }
    if has("ATS") {
        enables |= value::ATSCHK;
        poll(device, register::CR0, enables);
    }
    poll(device, register::IRQ_CTRL, 0);
    device.write64(register::GERROR_IRQ_CFG0, 0);
    device.write64(register::EVENTQ_IRQ_CFG0, 0);
    let mut interrupts = value::EVENTQ_IRQEN | value::GERROR_IRQEN;
    if has("PRI") {
        device.write64(register::PRIQ_IRQ_CFG0, 0);
        interrupts |= value::PRIQ_IRQEN;
    }
    poll(device, register::IRQ_CTRL, interrupts);
    poll(device, register::CR0, enables | value::SMMUEN);
}

#[test]
fn linux_probes_and_resets_every_preset() {
    const SMALL: &[&str] = &["little-endian tables", "coherent", "stage 1"];
    const QEMU: &[&str] =
        &["two-level stream tables", "little-endian tables", "coherent", "stage 1", "range invalidation"];
    const FULL: &[&str] = &[
        "two-level stream tables",
        "two-level context tables",
        "little-endian tables",
        "PRI",
        "ATS",
        "SEV",
        "MSI",
        "MSI polling",
        "Hyp",
        "coherent",
        "stalls",
        "stage 1",
        "stage 2",
        "HA",
        "HD",
    ];
    type Expected = (&'static str, Features, Vec<&'static str>, [u32; 5], [u32; 3], [bool; 3]);
    let with = |more: &[&'static str]| [FULL, more].concat();
    let all = [true; 3];
    let rows: [Expected; 6] = [
        ("MINIMAL", Features::MINIMAL, SMALL.to_vec(), [6, 0, 8, 8, 40], [8, 7, 0], [true, false, false]),
        ("QEMU_10", Features::QEMU_10, QEMU.to_vec(), [16, 0, 16, 16, 44], [19, 19, 0], all),
        ("SMMUV3_0", V3_0, with(&[]), [16, 20, 16, 16, 48], [19, 19, 19], all),
        ("SMMUV3_1", V3_1, with(&["52-bit VA"]), [16, 20, 16, 16, 52], [19, 19, 19], all),
        (
            "SMMUV3_2",
            V3_2,
            with(&["range invalidation", "52-bit VA"]),
            [16, 20, 16, 16, 52],
            [19, 19, 19],
            all,
        ),
        (
            "SMMUV3_3",
            V3_3,
            with(&["range invalidation", "52-bit VA"]),
            [16, 20, 16, 16, 52],
            [19, 19, 19],
            all,
        ),
    ];
    for (name, features, detected, widths, queues, granules) in rows {
        let mut device = device(features);
        let expected = Probed { features: detected, widths, queues, granules };
        assert_eq!(probe(&device), Ok(expected), "{name}");
        let Ok(probed) = probe(&device) else { continue };
        // From reset, and from whatever a predecessor has left.
        for _ in 0..2 {
            linux_reset(&mut device, &probed);
            assert_ne!(device.read32(register::CR0ACK) & value::SMMUEN, 0, "{name}");
            assert_eq!(device.read32(register::GERROR), device.read32(register::GERRORN), "{name}");
            assert_eq!(device.read32(register::GERROR), 0, "{name}");
            assert_eq!((device.lines.gerror, device.lines.eventq), (0, 0), "{name}");
        }
    }
}

#[test]
fn linux_refuses_what_it_cannot_drive() {
    for (features, refusal) in [
        (PRESET_QUEUES, "embedded implementation not supported"),
        (PRESET_TABLES, "embedded implementation not supported"),
        (Features { cmdqs: 6, ..V3_2 }, "command queue too small"),
    ] {
        assert_eq!(probe(&device(features)), Err(refusal));
    }
}

/// A device in reset.
fn device(features: Features) -> Driver<256> {
    Driver::new(features, STRICT, 4)
}
