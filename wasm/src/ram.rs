//! Physical memory that exists where it was written: a page of the model's world costs nothing until it is used.

use smmuv3::{Abort, Memory, Pa};
use std::collections::BTreeMap;

const PAGE_BYTES: usize = 4096;
/// The first address that no SMMU can put out.
const END: u64 = 1 << 52;

/// Memory by 4 KiB pages; a page that was never written reads as zero.
#[derive(Default)]
pub(crate) struct Ram {
    pages: BTreeMap<u64, Box<[u8; PAGE_BYTES]>>,
}

impl Memory for Ram {
    fn read(&self, pa: Pa, data: &mut [u8]) -> Result<(), Abort> {
        check(pa, data.len())?;
        for (byte, at) in data.iter_mut().zip(pa.0..) {
            let (page, offset) = split(at);
            *byte = self.pages.get(&page).and_then(|bytes| bytes.get(offset)).copied().unwrap_or(0);
        }
        Ok(())
    }

    fn write(&mut self, pa: Pa, data: &[u8]) -> Result<(), Abort> {
        check(pa, data.len())?;
        for (byte, at) in data.iter().zip(pa.0..) {
            let (page, offset) = split(at);
            let bytes = self.pages.entry(page).or_insert_with(|| Box::new([0; PAGE_BYTES]));
            *bytes.get_mut(offset).ok_or(Abort)? = *byte;
        }
        Ok(())
    }
}

fn check(pa: Pa, length: usize) -> Result<(), Abort> {
    let end = pa.0.checked_add(length as u64).ok_or(Abort)?;
    if end <= END { Ok(()) } else { Err(Abort) }
}

fn split(address: u64) -> (u64, usize) {
    (address / PAGE_BYTES as u64, (address % PAGE_BYTES as u64) as usize)
}
