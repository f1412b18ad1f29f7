//! Draining the event queue by its registers, as a driver does (§3.5.1).

use smmuv3::{Memory, Pa};

use crate::{device::Device, ram::Ram, transcript::Width};

const EVENTQ_BASE: u32 = 0xa0;
const EVENTQ_PROD: u32 = 0x1_00a8;
const EVENTQ_CONS: u32 = 0x1_00ac;

/// `IDR1.EVENTQS`: log2 of the entries that the event queue may have at most.
pub(super) fn log2_limit(idr1: u32) -> u32 {
    idr1 >> 16 & 0x1f
}

/// Takes the records from EVENTQ_CONS to EVENTQ_PROD, and sets CONS to PROD.
pub(super) fn drain(device: &mut Device, ram: &mut Ram, log2_limit: u32) -> Result<Vec<[u8; 32]>, String> {
    let producer = device.read(EVENTQ_PROD, Width::Word)?;
    let consumer = device.read(EVENTQ_CONS, Width::Word)?;
    let base = device.read(EVENTQ_BASE, Width::Doubleword)?;

    let log2_entries = (base as u32 & 0x1f).min(log2_limit);
    let entries = 1_u64 << log2_entries;
    // The queue is aligned to its size; bits below that are taken as zero.
    let base = base & 0x000f_ffff_ffff_ffe0 & !(entries * 32 - 1);
    // One bit more than the index: the wrap bit, by which full and empty differ.
    let count = producer.wrapping_sub(consumer) % (entries * 2);
    if count > entries {
        return Err(format!("PROD {producer:#x} and CONS {consumer:#x}, {count} records of {entries}"));
    }
    let records = (0..count)
        .map(|n| {
            let at = base + consumer.wrapping_add(n) % entries * 32;
            let mut record = [0; 32];
            match ram.read(Pa(at), &mut record) {
                Ok(()) => Ok(record),
                Err(_) => Err(format!("no memory at {at:#x}")),
            }
        })
        .collect::<Result<_, _>>()?;
    device.write(EVENTQ_CONS, Width::Word, producer, ram)?;
    Ok(records)
}
