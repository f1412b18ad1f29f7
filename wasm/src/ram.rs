//! Physical memory that exists where it was written: a page of the model's world costs nothing until it is used, and a
//! copy of the whole shares every page until one of them is written.

use crate::sorted::Sorted;
use smmuv3::{Abort, Memory, Pa};
use std::rc::Rc;

const PAGE_BYTES: usize = 4096;
/// The first address that no SMMU can put out.
const END: u64 = 1 << 52;

type Page = Rc<[u8; PAGE_BYTES]>;

/// Memory by 4 KiB pages; a page that was never written reads as zero.
#[derive(Clone, Default)]
pub(crate) struct Ram {
    pages: Sorted<u64, Page>,
    /// If there are any: all memory outside of these first and last addresses aborts.
    ranges: Vec<(u64, u64)>,
}

impl Ram {
    /// Memory only at each `(base, size)`.
    pub(crate) fn limit(&mut self, ranges: &[(u64, u64)]) {
        self.ranges = ranges.iter().map(|&(base, size)| (base, base.saturating_add(size - 1))).collect();
    }

    pub(crate) fn word(&self, pa: u64) -> u64 {
        self.read_u64(Pa(pa)).unwrap_or(0)
    }

    pub(crate) fn set_words(&mut self, pa: u64, words: &[u64]) {
        for (at, word) in (pa..).step_by(8).zip(words) {
            // The guest's own tables lie where memory is; a script that limits memory otherwise gets zeros.
            let _nobody_answers = self.write(Pa(at), &word.to_le_bytes());
        }
    }

    /// The pieces of this memory that differ from `before`, at most a page each.
    pub(crate) fn changes(&self, before: &Self) -> Vec<(u64, Vec<u8>)> {
        let mut pieces = Vec::new();
        for (page, bytes) in self.pages.iter() {
            let old = before.pages.get(page);
            if old.is_some_and(|old| Rc::ptr_eq(old, bytes)) {
                continue;
            }
            let was = |at: usize| old.and_then(|old| old.get(at)).copied().unwrap_or(0);
            let differs = |at: &usize| bytes.get(*at).copied().unwrap_or(0) != was(*at);
            let (Some(first), Some(last)) =
                ((0..PAGE_BYTES).find(&differs), (0..PAGE_BYTES).rev().find(&differs))
            else {
                continue;
            };
            let (first, last) = (first & !7, last | 7);
            let data = bytes.get(first..=last).unwrap_or_default().to_vec();
            pieces.push((page * PAGE_BYTES as u64 + first as u64, data));
        }
        pieces
    }

    fn check(&self, pa: Pa, length: usize) -> Result<(), Abort> {
        let last = pa.0.checked_add((length as u64).saturating_sub(1)).ok_or(Abort)?;
        let inside = last < END
            && (self.ranges.is_empty()
                || self.ranges.iter().any(|&(first, end)| first <= pa.0 && last <= end));
        if inside { Ok(()) } else { Err(Abort) }
    }
}

impl Memory for Ram {
    fn read(&self, pa: Pa, data: &mut [u8]) -> Result<(), Abort> {
        self.check(pa, data.len())?;
        let (mut at, mut rest) = (pa.0, data);
        while !rest.is_empty() {
            let (page, offset, length) = piece(at, rest.len());
            let (now, later) = rest.split_at_mut(length);
            match self.pages.get(&page).and_then(|bytes| bytes.get(offset..offset + length)) {
                Some(bytes) => now.copy_from_slice(bytes),
                None => now.fill(0),
            }
            (at, rest) = (at.wrapping_add(length as u64), later);
        }
        Ok(())
    }

    fn write(&mut self, pa: Pa, data: &[u8]) -> Result<(), Abort> {
        self.check(pa, data.len())?;
        let (mut at, mut rest) = (pa.0, data);
        while !rest.is_empty() {
            let (page, offset, length) = piece(at, rest.len());
            let (now, later) = rest.split_at(length);
            if self.pages.get(&page).is_none() {
                self.pages.insert(page, Rc::new([0; PAGE_BYTES]));
            }
            let bytes = self.pages.get_mut(&page).ok_or(Abort)?;
            Rc::make_mut(bytes).get_mut(offset..offset + length).ok_or(Abort)?.copy_from_slice(now);
            (at, rest) = (at.wrapping_add(length as u64), later);
        }
        Ok(())
    }
}

/// The page in which `address` is, where in it, and how many of `length` bytes fit.
fn piece(address: u64, length: usize) -> (u64, usize, usize) {
    let offset = (address % PAGE_BYTES as u64) as usize;
    (address / PAGE_BYTES as u64, offset, length.min(PAGE_BYTES - offset))
}
