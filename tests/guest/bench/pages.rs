//! Many pages at once, a table of leaves at a time: the set-up of large IOTLBs is not what is measured.

use crate::bits::Words;
use crate::driver::Ram;
use crate::tables::{Heap, PageTables, descriptor};

/// Maps `count` pages of 4 KiB from `va` on to `pa` and what follows.
pub(super) fn map_pages(
    tables: &PageTables,
    heap: &mut Heap,
    ram: &mut Ram,
    va: u64,
    pa: u64,
    count: u64,
    attributes: descriptor::Attributes,
) {
    let mut slot = 0;
    for page in 0..count {
        let offset = page << 12;
        slot = match (va + offset) >> 12 & 511 {
            _ if page == 0 => tables.slot(heap, ram, va, 3).pa,
            0 => tables.slot(heap, ram, va + offset, 3).pa,
            _ => slot + 8,
        };
        ram.set_word(slot, descriptor::leaf(tables.grain, 3, pa + offset, attributes));
    }
}
