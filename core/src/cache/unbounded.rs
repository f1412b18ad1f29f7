//! Entries that no set has room for, so that a missing hit is never an eviction (feature `alloc`).
//!
//! For people who test drivers; the bounded part stays as it is. A fixed hasher keeps every run the same, and the order
//! of a hash table never reaches a result: invalidation judges each entry by itself.

use core::hash::{BuildHasherDefault, Hasher};

use hashbrown::HashMap;

use super::iotlb::{Effect, Key};
use super::scope::{Scope, Verdict};
use crate::arch::entry::Entry;
use crate::env::trace::{Step, Trace};
use crate::format::command::Command;

#[derive(Clone, Debug)]
pub(super) struct Unbounded {
    entries: HashMap<Key, Entry, BuildHasherDefault<Mix>>,
}

impl Unbounded {
    pub(super) const fn new() -> Self {
        Self { entries: HashMap::with_hasher(BuildHasherDefault::new()) }
    }

    pub(super) fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.entries.values()
    }

    pub(super) fn clear(&mut self) {
        self.entries.clear();
    }

    pub(super) fn get(&self, key: Key) -> Option<&Entry> {
        self.entries.get(&key)
    }

    pub(super) fn insert(&mut self, key: Key, entry: Entry) {
        self.entries.insert(key, entry);
    }

    pub(super) fn remove(&mut self, key: Key) -> Option<Entry> {
        self.entries.remove(&key)
    }

    /// Drops what `scope` names and tells `dropped` of each.
    pub(super) fn invalidate<T: Trace + ?Sized>(
        &mut self,
        scope: &Scope,
        letter: &Scope,
        by: &Command,
        effect: &mut Effect,
        trace: &mut T,
        mut dropped: impl FnMut(Key, &Entry),
    ) {
        self.entries.retain(|key, entry| {
            effect.scanned += 1;
            match scope.verdict(entry) {
                Verdict::Drop => {
                    let needed = letter.verdict(entry) == Verdict::Drop;
                    trace.step(&Step::Drop { by: *by, entry: *entry, needed });
                    dropped(*key, entry);
                    effect.dropped += 1;
                    false
                }
                Verdict::Spare(reason) => {
                    trace.step(&Step::Spare { by: *by, entry: *entry, reason });
                    true
                }
            }
        });
    }
}

/// A multiply-and-fold hash over the two words of a key.
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
