//! The physical memory of a guest: a few ranges, however large, of which only what is written is kept.

use core::cell::Cell;
use std::collections::BTreeMap;

use smmuv3::{Abort, Memory, Pa};

const CHUNK: usize = 1 << CHUNK_SHIFT;
const CHUNK_SHIFT: u32 = 16;

/// Sparse memory. It is all zeros at the start; outside its ranges every access is an [`Abort`].
#[derive(Clone, Default)]
pub struct Ram {
    ranges: Vec<(u64, u64)>, // first and last address, in order, neither touching nor overlapping
    index: BTreeMap<u64, usize>,
    chunks: Vec<Box<[u8; CHUNK]>>,
    last: Cell<Option<(u64, usize)>>, // an access is mostly near the one before
}

impl Ram {
    /// Memory at each `(base, size)`. A range which goes beyond the top of the address space ends there.
    pub fn new(ranges: impl IntoIterator<Item = (u64, u64)>) -> Self {
        let mut sorted: Vec<_> = ranges
            .into_iter()
            .filter(|&(_, size)| size != 0)
            .map(|(base, size)| (base, base.saturating_add(size - 1)))
            .collect();
        sorted.sort_unstable();
        let mut ranges: Vec<(u64, u64)> = Vec::new();
        for (first, last) in sorted {
            match ranges.last_mut() {
                Some(previous) if first <= previous.1.saturating_add(1) => previous.1 = previous.1.max(last),
                _ => ranges.push((first, last)),
            }
        }
        Self { ranges, ..Self::default() }
    }

    /// Whether all of the `length` bytes at `pa` are memory.
    pub fn contains(&self, pa: u64, length: usize) -> bool {
        let Some(beyond) = u64::try_from(length).ok().and_then(|length| length.checked_sub(1)) else {
            return true;
        };
        let Some(end) = pa.checked_add(beyond) else { return false };
        self.ranges.iter().any(|&(first, last)| first <= pa && end <= last)
    }

    fn find(&self, chunk: u64) -> Option<usize> {
        match self.last.get() {
            Some((last, at)) if last == chunk => Some(at),
            _ => {
                let at = *self.index.get(&chunk)?;
                self.last.set(Some((chunk, at)));
                Some(at)
            }
        }
    }
}

impl Memory for Ram {
    fn read(&self, pa: Pa, data: &mut [u8]) -> Result<(), Abort> {
        if !self.contains(pa.0, data.len()) {
            return Err(Abort);
        }
        let (mut pa, mut data) = (pa.0, data);
        while !data.is_empty() {
            let (chunk, offset, length) = piece(pa, data.len());
            let (now, later) = data.split_at_mut(length);
            match self.find(chunk).and_then(|at| self.chunks.get(at)?.get(offset..offset + length)) {
                Some(bytes) => now.copy_from_slice(bytes),
                None => now.fill(0),
            }
            (pa, data) = (pa.wrapping_add(length as u64), later);
        }
        Ok(())
    }

    fn write(&mut self, pa: Pa, data: &[u8]) -> Result<(), Abort> {
        if !self.contains(pa.0, data.len()) {
            return Err(Abort);
        }
        let (mut pa, mut data) = (pa.0, data);
        while !data.is_empty() {
            let (chunk, offset, length) = piece(pa, data.len());
            let (now, later) = data.split_at(length);
            let at = self.find(chunk).unwrap_or_else(|| {
                self.chunks.push(Box::new([0; CHUNK]));
                self.index.insert(chunk, self.chunks.len() - 1);
                self.chunks.len() - 1
            });
            if let Some(bytes) =
                self.chunks.get_mut(at).and_then(|bytes| bytes.get_mut(offset..offset + length))
            {
                bytes.copy_from_slice(now);
            }
            (pa, data) = (pa.wrapping_add(length as u64), later);
        }
        Ok(())
    }
}

/// The chunk in which `pa` is, where in it, and how many of `length` bytes fit.
fn piece(pa: u64, length: usize) -> (u64, usize, usize) {
    let offset = pa as usize % CHUNK;
    (pa >> CHUNK_SHIFT, offset, length.min(CHUNK - offset))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeros_until_written_and_abort_outside() {
        let mut ram = Ram::new([(0x4000_0000, 0x2000_0000), (0x6000_0000, 0x1000), (u64::MAX - 0xf, 0x10)]);
        let across = Pa(0x4000_0000 + CHUNK as u64 - 2);
        let mut data = [0xaa; 4];

        assert_eq!(ram.read(across, &mut data), Ok(()));
        assert_eq!(data, [0; 4]);

        assert_eq!(ram.write(across, &[1, 2, 3, 4]), Ok(()));
        assert_eq!(ram.read(across, &mut data), Ok(()));
        assert_eq!(data, [1, 2, 3, 4]);
        assert_eq!(ram.read(Pa(across.0 + 2), &mut data), Ok(()));
        assert_eq!(data, [3, 4, 0, 0]);

        for (pa, length, inside) in [
            (0x3fff_ffff, 1, false),
            (0x3fff_ffff, 2, false),
            (0x5fff_fffe, 4, true), // from one range into the next
            (0x6000_0ffe, 4, false),
            (u64::MAX - 0xf, 16, true),
            (u64::MAX - 3, 8, false),
        ] {
            let mut data = vec![0; length];
            assert_eq!(ram.read(Pa(pa), &mut data).is_ok(), inside, "reading {length} at {pa:#x}");
            assert_eq!(ram.write(Pa(pa), &data).is_ok(), inside, "writing {length} at {pa:#x}");
        }
    }
}
