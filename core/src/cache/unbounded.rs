//! Entries that no set has room for, so that a missing hit is never an eviction (feature `alloc`).
//!
//! For people who test drivers; the bounded part stays as it is. A fixed hasher keeps every run the same, and the order
//! of a hash table never reaches a result: invalidation judges each entry by itself.

use core::hash::{BuildHasherDefault, Hasher};

use hashbrown::HashMap;

use super::iotlb::{Effect, Invalidation};
use super::scope::Verdict;
use super::spaces::{has_asid, key};
use crate::arch::addr::align_down;
use crate::arch::entry::{Entry, Space};
use crate::arch::id::Asid;
use crate::env::trace::{Step, Trace};

/// What an entry is found by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    space: Space,
    global: bool,
    input: u64,
    log2_size: u8,
}

impl Key {
    pub(super) fn of(entry: &Entry) -> Self {
        let (space, global) = key(entry);
        Self { space, global, input: entry.input, log2_size: entry.log2_size }
    }
}

#[derive(Clone, Debug)]
pub(super) struct Unbounded {
    entries: HashMap<Key, Entry, BuildHasherDefault<Mix>>,
    /// Sizes that were ever kept since the last time that nothing was.
    sizes: u64,
}

impl Unbounded {
    pub(super) const fn new() -> Self {
        Self { entries: HashMap::with_hasher(BuildHasherDefault::new()), sizes: 0 }
    }

    pub(super) fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.entries.values()
    }

    pub(super) fn len(&self) -> u32 {
        self.entries.len() as u32
    }

    pub(super) fn clear(&mut self) {
        self.entries.clear();
        self.sizes = 0;
    }

    pub(super) fn find(&self, space: &Space, address: u64) -> Option<&Entry> {
        let shared = Space { asid: Asid(0), ..*space };
        let spaces = [(*space, false), (shared, true)];
        let spaces = spaces.into_iter().filter(|(_, global)| !global || has_asid(space));
        spaces
            .flat_map(|(space, global)| {
                (12..64).filter(|size| self.sizes >> size & 1 != 0).map(move |size: u8| Key {
                    space,
                    global,
                    input: align_down(address, size.into()),
                    log2_size: size,
                })
            })
            .find_map(|key| self.entries.get(&key))
    }

    pub(super) fn insert(&mut self, entry: Entry) {
        self.sizes |= 1 << entry.log2_size;
        self.entries.insert(Key::of(&entry), entry);
    }

    pub(super) fn remove(&mut self, key: Key) {
        self.entries.remove(&key);
    }

    /// Drops what is named.
    pub(super) fn invalidate<T: Trace + ?Sized>(
        &mut self,
        what: &Invalidation<'_>,
        effect: &mut Effect,
        trace: &mut T,
    ) {
        self.entries.retain(|_, entry| {
            effect.scanned += 1;
            match what.scope.verdict(entry) {
                Verdict::Drop => {
                    let needed = what.letter.verdict(entry) == Verdict::Drop;
                    trace.step(&Step::Drop { by: *what.by, entry: *entry, needed });
                    effect.dropped += 1;
                    false
                }
                Verdict::Spare(reason) => {
                    trace.step(&Step::Spare { by: *what.by, entry: *entry, reason });
                    true
                }
            }
        });
        if self.entries.is_empty() {
            self.sizes = 0;
        }
    }
}

/// A multiply-and-fold hash.
#[derive(Clone, Debug, Default)]
struct Mix(u64);

impl Hasher for Mix {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64((*byte).into());
        }
    }

    fn write_u64(&mut self, word: u64) {
        let product = u128::from(self.0 ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
        self.0 = (product >> 64) as u64 ^ product as u64;
    }
}
