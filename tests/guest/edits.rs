//! Edits of translation tables, wherever they lie, and a list of what they made stale.

use crate::bits::{Record, Words};
use crate::tables::{Heap, PageTables, descriptor};

/// What an edit has changed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Retired {
    pub(crate) leaves: Vec<(u64, u32, bool)>,
    pub(crate) tables: Vec<(u64, u32)>,
}

/// Some memory or other, for work that is the same on all.
pub(crate) trait AnyWords {
    fn any_word(&self, pa: u64) -> Option<u64>;
    fn set_any_word(&mut self, pa: u64, value: u64);
}

impl<W: Words> AnyWords for W {
    fn any_word(&self, pa: u64) -> Option<u64> {
        self.word(pa)
    }

    fn set_any_word(&mut self, pa: u64, value: u64) {
        self.set_word(pa, value);
    }
}

impl Words for &mut dyn AnyWords {
    fn word(&self, pa: u64) -> Option<u64> {
        (**self).any_word(pa)
    }

    fn set_word(&mut self, pa: u64, value: u64) {
        (**self).set_any_word(pa, value);
    }
}

pub(crate) fn leaf_of(tables: &PageTables, va: u64, level: u32, entry: u64) -> (u64, u32, bool) {
    let shift = tables.grain.level_shift(level);
    (va >> shift << shift, level, Record([entry]).get(descriptor::NG) == 0)
}

pub(crate) fn is_run(tables: &PageTables, level: u32, entry: u64) -> bool {
    Record([entry]).get(descriptor::CONTIGUOUS) == 1 && tables.grain.contiguous(level) > 1
}

/// Makes every member of a contiguous run invalid.
pub(crate) fn clear_run(
    tables: &PageTables,
    memory: &mut impl Words,
    va: u64,
    level: u32,
    retired: &mut Retired,
) {
    let shift = tables.grain.level_shift(level);
    let count = tables.grain.contiguous(level);
    let first = va & !((count << shift) - 1);
    for member in (0..count).map(|member| first + (member << shift)) {
        let slot = tables.find(memory, member, level);
        retired.leaves.push(leaf_of(tables, member, level, slot.descriptor));
        memory.set_word(slot.pa, 0);
    }
}

/// Makes the slot of `va` at `level` invalid, and nothing above it a block. Tables below it are given back.
pub(crate) fn make_way(
    tables: &PageTables,
    heap: &mut Heap,
    memory: &mut impl Words,
    va: u64,
    level: u32,
    retired: &mut Retired,
) {
    loop {
        let slot = tables.find(memory, va, level);
        if slot.descriptor & 1 == 0 {
            return;
        }
        if tables.next_table(slot.level, slot.descriptor).is_some() {
            let shift = tables.grain.level_shift(slot.level);
            remove_table(tables, heap, memory, va >> shift << shift, slot.level, retired);
        } else if is_run(tables, slot.level, slot.descriptor) {
            clear_run(tables, memory, va, slot.level, retired);
        } else {
            retired.leaves.push(leaf_of(tables, va, slot.level, slot.descriptor));
            if slot.level < level {
                tables.split(heap, memory, va);
            } else {
                memory.set_word(slot.pa, 0);
            }
        }
    }
}

fn remove_table(
    tables: &PageTables,
    heap: &mut Heap,
    memory: &mut impl Words,
    base: u64,
    level: u32,
    retired: &mut Retired,
) {
    let mut pending = vec![(base, level)];
    while let Some((base, level)) = pending.pop() {
        let slot = tables.find(memory, base, level);
        let Some(next) = tables.next_table(level, slot.descriptor) else {
            if slot.descriptor & 1 == 1 {
                retired.leaves.push(leaf_of(tables, base, level, slot.descriptor));
            }
            continue;
        };
        retired.tables.push((base, level));
        heap.release(next, tables.grain.bytes());
        for entry in 0..tables.grain.bytes() / 8 {
            if memory.word(next + 8 * entry) != Some(0) {
                pending.push((base + (entry << tables.grain.level_shift(level + 1)), level + 1));
            }
        }
    }
    let slot = tables.find(memory, base, level);
    memory.set_word(slot.pa, 0);
}
