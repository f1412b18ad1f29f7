//! Circular queues: positions of index and wrap bit as one number (§3.5.1).

use crate::arch::addr::{Pa, align_down};

/// A queue's place in memory: `2^log2_entries` entries of `entry_bytes` from `base` on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Queue {
    base: Pa,
    log2_entries: u32,
    log2_bytes: u32,
}

impl Queue {
    /// A queue whose base register holds `address` and `log2_size`; an SMMU caps the size to `limit` and aligns the
    /// base to the queue's bytes, at least 32.
    #[must_use]
    #[inline]
    pub fn new(address: u64, log2_size: u64, limit: u8, entry_bytes: u64) -> Self {
        let log2_entries = (log2_size as u32).min(limit.into());
        let log2_bytes = entry_bytes.trailing_zeros();
        let base = Pa(align_down(address, (log2_entries + log2_bytes).max(5)));
        Self { base, log2_entries, log2_bytes }
    }

    /// The number of entries.
    #[must_use]
    #[inline]
    pub const fn entries(&self) -> u32 {
        1 << self.log2_entries
    }

    /// The index and wrap bits of `position`; the rest is ignored.
    #[inline]
    const fn position(&self, position: u32) -> u32 {
        position & (self.entries() * 2).wrapping_sub(1)
    }

    /// Entries between a consumer and a producer, or `None` where the positions make no sense: more than a full queue
    /// apart. Such a queue is left alone.
    #[must_use]
    #[inline]
    pub const fn len(&self, prod: u32, cons: u32) -> Option<u32> {
        let distance = self.position(prod.wrapping_sub(cons));
        if distance > self.entries() { None } else { Some(distance) }
    }

    /// Whether there is no entry to consume.
    #[must_use]
    #[inline]
    pub const fn is_empty(&self, prod: u32, cons: u32) -> bool {
        matches!(self.len(prod, cons), None | Some(0))
    }

    /// Whether there is no room to produce into.
    #[must_use]
    #[inline]
    pub const fn is_full(&self, prod: u32, cons: u32) -> bool {
        match self.len(prod, cons) {
            Some(len) => len == self.entries(),
            None => true,
        }
    }

    /// The position after `position`: the wrap bit toggles when the index comes back to 0.
    #[must_use]
    #[inline]
    pub const fn next(&self, position: u32) -> u32 {
        self.after(position, 1)
    }

    /// The position `count` entries after `position`, which is left as it is if that is 0.
    #[must_use]
    #[inline]
    pub const fn after(&self, position: u32, count: u32) -> u32 {
        if count == 0 { position } else { self.position(position.wrapping_add(count)) }
    }

    /// Entries from `position` to the end of the ring.
    #[must_use]
    #[inline]
    pub const fn contiguous(&self, position: u32) -> u32 {
        self.entries() - self.index(position)
    }

    /// The slot that `position` names.
    #[must_use]
    #[inline]
    pub const fn index(&self, position: u32) -> u32 {
        position & self.entries().wrapping_sub(1)
    }

    /// The address of the entry at `position`.
    #[must_use]
    #[inline]
    pub fn entry(&self, position: u32) -> Pa {
        self.base.offset(u64::from(self.index(position)) << self.log2_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::Queue;
    use crate::arch::addr::Pa;

    #[test]
    fn a_queue_of_one_entry_has_only_a_wrap_bit() {
        let queue = Queue::new(0x1000, 0, 19, 16);
        assert!(queue.is_empty(0, 0) && queue.is_full(1, 0) && queue.is_empty(1, 1));
        assert_eq!([queue.next(0), queue.next(1)], [1, 0]);
        assert_eq!(queue.entry(1), Pa(0x1000));
    }

    #[test]
    fn positions_wrap_at_twice_the_entries() {
        let queue = Queue::new(0, 2, 19, 16);
        let lap: [u32; 9] = core::array::from_fn(|n| (0..n).fold(0, |position, _| queue.next(position)));
        assert_eq!(lap, [0, 1, 2, 3, 4, 5, 6, 7, 0]);
        assert!(queue.is_full(4, 0) && queue.is_full(0, 4));
        assert_eq!(queue.len(5, 0), None, "more than a queue ahead");
        assert_eq!(queue.len(1, 7), Some(2));
        assert_eq!(queue.len(0xffff8 | 1, 7), Some(2), "bits above the wrap bit are ignored");
    }

    #[test]
    fn the_base_is_aligned_to_the_capped_size() {
        assert_eq!(Queue::new(0x1234_5678_9ae0, 31, 8, 16).entry(1), Pa(0x1234_5678_9010));
        assert_eq!(Queue::new(0x1234_5678_9ae0, 0, 8, 16).entry(0), Pa(0x1234_5678_9ae0));
        assert_eq!(Queue::new(u64::MAX, 31, 8, 32).entries(), 256);
    }
}
