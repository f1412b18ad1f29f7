//! Physical memory that is cheap to restore, counts what it is asked, and is lent only in part.

use core::cell::Cell;
use core::ops::Range;

use smmuv3::{Abort, Memory, Pa};
use smmuv3_tests::bits::Words;

/// log2 of what is restored at once. Small, since a guest's writes are.
const CHUNK_SHIFT: u32 = 9;

/// Memory from address 0 up; beyond its end everything aborts.
#[derive(Clone)]
pub struct Ram {
    bytes: Vec<u8>,
    /// A bit for each chunk that is not as it was in the beginning.
    dirty: Vec<u64>,
    /// Where a device may write at all. A descriptor that it updates may lie anywhere.
    lent: Range<u64>,
    /// How many accesses are left to this call.
    allowance: Cell<u32>,
    /// Descriptors updated since somebody asked.
    updates: u32,
    /// Nothing answers any more: what is still translated then was remembered.
    pub is_unplugged: bool,
}

impl Ram {
    /// `bytes` of zeros. A device may write `lent`, and update descriptors; other writes abort, as to read-only memory: a
    /// CMD_SYNC that signals by a memory write would otherwise change tables, which without an invalidation have no
    /// single truth.
    pub fn new(bytes: usize, lent: Range<u64>) -> Self {
        let dirty = vec![0; (bytes >> CHUNK_SHIFT).div_ceil(64)];
        Self { bytes: vec![0; bytes], dirty, lent, allowance: Cell::new(0), updates: 0, is_unplugged: false }
    }

    /// What is in memory now is what [`Ram::restore`] goes back to.
    pub fn settle(&mut self) {
        self.dirty.fill(0);
    }

    /// Back to `image`, which this memory is a copy of.
    pub fn restore(&mut self, image: &Self) {
        for (n, word) in self.dirty.iter_mut().enumerate() {
            while *word != 0 {
                let chunk = 64 * n + word.trailing_zeros() as usize;
                *word &= *word - 1;
                let range = chunk << CHUNK_SHIFT..(chunk + 1) << CHUNK_SHIFT;
                self.bytes[range.clone()].copy_from_slice(&image.bytes[range]);
            }
        }
        self.updates = 0;
        self.is_unplugged = false;
    }

    /// Allows the device so many accesses from now on: a further one is unbounded work.
    pub fn allow(&self, accesses: u32) {
        self.allowance.set(accesses);
    }

    /// How many descriptors were updated since the last call.
    pub fn take_updates(&mut self) -> u32 {
        core::mem::take(&mut self.updates)
    }

    /// Writes as software does.
    ///
    /// # Panics
    /// Beyond the end: a mistake of the target's.
    pub fn put(&mut self, pa: u64, data: &[u8]) {
        let start = usize::try_from(pa).expect("an address below the end of memory");
        self.store(start, data);
    }

    /// Reads as software does.
    ///
    /// # Panics
    /// As [`Ram::put`].
    pub fn get<const N: usize>(&self, pa: u64) -> [u8; N] {
        let start = usize::try_from(pa).expect("an address below the end of memory");
        self.bytes[start..start + N].try_into().expect("N bytes")
    }

    /// Copies 4 KiB as software does.
    pub fn copy_page(&mut self, from: u64, to: u64) {
        let page: [u8; 4096] = self.get(from);
        self.put(to, &page);
    }

    /// How many bytes there are.
    pub fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    fn store(&mut self, start: usize, data: &[u8]) {
        self.bytes[start..start + data.len()].copy_from_slice(data);
        for chunk in start >> CHUNK_SHIFT..=(start + data.len() - 1) >> CHUNK_SHIFT {
            self.dirty[chunk / 64] |= 1 << (chunk % 64);
        }
    }

    fn count(&self) {
        let left = self.allowance.get();
        assert!(left != 0, "unbounded work: more memory accesses than one call may make");
        self.allowance.set(left - 1);
    }

    /// Where an access of the device begins: it has to have a size and an alignment that [`Memory`] speaks of.
    fn locate(&self, pa: Pa, length: usize) -> Result<usize, Abort> {
        assert!(
            pa.0.is_multiple_of((length as u64).min(8)),
            "an access of {length} bytes at {pa:x?} is not aligned"
        );
        let start = usize::try_from(pa.0).map_err(|_| Abort)?;
        let end = start.checked_add(length).ok_or(Abort)?;
        if end > self.bytes.len() || self.is_unplugged { Err(Abort) } else { Ok(start) }
    }
}

impl Memory for Ram {
    fn read(&self, pa: Pa, data: &mut [u8]) -> Result<(), Abort> {
        self.count();
        let length = data.len();
        let is_of_the_contract = length == 8 || length == 64 || length.is_multiple_of(16) && length <= 256;
        assert!(is_of_the_contract, "a read of {length} bytes");
        let start = self.locate(pa, length)?;
        data.copy_from_slice(&self.bytes[start..start + length]);
        Ok(())
    }

    fn write(&mut self, pa: Pa, data: &[u8]) -> Result<(), Abort> {
        self.count();
        let length = data.len();
        assert!(matches!(length, 4 | 16 | 32), "a write of {length} bytes");
        let start = self.locate(pa, length)?;
        if !(self.lent.contains(&pa.0) && self.lent.end - pa.0 >= length as u64) {
            return Err(Abort);
        }
        self.store(start, data);
        Ok(())
    }

    fn compare_exchange(&mut self, pa: Pa, current: u64, new: u64) -> Result<bool, Abort> {
        self.count();
        let start = self.locate(pa, 8)?;
        // Each update may be followed by another look at the tables.
        self.allowance.set(self.allowance.get() + UPDATE_ALLOWANCE);
        self.updates += 1;
        assert!(self.updates < 256, "unbounded work: updates of descriptors");
        if self.bytes[start..start + 8] != current.to_le_bytes() {
            return Ok(false);
        }
        self.store(start, &new.to_le_bytes());
        Ok(true)
    }
}

/// What a walk may read again once it has updated a descriptor.
const UPDATE_ALLOWANCE: u32 = 40;

impl Words for Ram {
    fn word(&self, pa: u64) -> Option<u64> {
        let start = usize::try_from(pa).ok()?;
        let bytes = self.bytes.get(start..start.checked_add(8)?)?;
        Some(u64::from_le_bytes(bytes.try_into().ok()?))
    }

    fn set_word(&mut self, pa: u64, value: u64) {
        self.put(pa, &value.to_le_bytes());
    }
}
