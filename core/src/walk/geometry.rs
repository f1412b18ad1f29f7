//! Which addresses a stage accepts, and which descriptor stands for one (§3.4, DDI 0487 §D8.2).

use crate::arch::addr::{Granule, Level, Pa, low_mask};
use crate::arch::id::StreamWorld;
use crate::env::memory::Memory;
use crate::format::cd::{Cd, Half};

/// The half of the address space that `address` selects, with the address sign-extended where its top byte is ignored;
/// `None` where it is in neither range, in one that is disabled, or in one that is for privileged accesses alone.
#[must_use]
#[inline]
pub fn select(cd: &Cd, world: StreamWorld, privileged: bool, address: u64) -> Option<(&Half, u64)> {
    let upper = world != StreamWorld::El2 && address >> 55 & 1 != 0;
    let half = if upper { cd.upper.as_ref() } else { cd.lower.as_ref() }?;
    if half.unprivileged_disabled && !privileged && world != StreamWorld::El2 {
        return None;
    }
    let address = if !half.top_byte_ignored {
        address
    } else if upper {
        address | 0xff << 56
    } else {
        address & low_mask(56)
    };
    let outside = if upper { !address } else { address };
    (outside <= low_mask(half.input_bits.into())).then_some((half, address))
}

/// Where a descent is: which table's descriptor is read next.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Descent {
    pub(crate) level: Level,
    /// Address of the table.
    table: u64,
    /// log2 of the bytes that a descriptor of this level covers.
    shift: u32,
    /// Index bits that a full table resolves.
    stride: u32,
    /// Bits of the index at this level: all that are left at the start, where tables may be larger or smaller than a granule.
    index: u64,
}

impl Descent {
    /// From the start of a walk of addresses of `input_bits`.
    #[inline]
    pub(crate) const fn from_start(granule: Granule, start: Level, table: u64, input_bits: u8) -> Self {
        let shift = granule.level_shift(start);
        let index = low_mask((input_bits as u32).saturating_sub(shift));
        Self { level: start, table, shift, stride: granule.stride(), index }
    }

    /// From a table of `level` that is remembered.
    #[inline]
    pub(crate) const fn from_table(granule: Granule, level: Level, table: u64) -> Self {
        let stride = granule.stride();
        Self { level, table, shift: granule.level_shift(level), stride, index: low_mask(stride) }
    }

    /// The address of the descriptor for `input`.
    #[inline]
    pub(crate) const fn location(&self, input: u64) -> u64 {
        self.table | (input >> (self.shift % 64) & self.index) << 3
    }

    /// The next table's address, if `word` is a table descriptor of this level.
    #[inline]
    pub(crate) const fn table(&self, word: u64, high: bool) -> Option<u64> {
        if word & 0b11 != 0b11 || matches!(self.level, Level::L3) {
            return None;
        }
        // A table is a granule: of as many bytes as a full index has descriptors of 8.
        let low = word & low_mask(48) & !low_mask(self.stride + 3);
        Some(if high { low | (word >> 12 & 0xf) << 48 } else { low })
    }

    /// To the table at `table`, one level down.
    #[inline]
    pub(crate) const fn down(&mut self, table: u64) {
        if let Some(below) = self.level.next() {
            self.level = below;
        }
        self.table = table;
        self.shift -= self.stride;
        self.index = low_mask(self.stride);
    }

    /// log2 of the bytes that a descriptor of this level covers.
    #[inline]
    pub(crate) const fn shift(&self) -> u32 {
        self.shift
    }
}

/// A table on the usual walk.
#[derive(Clone, Copy, Debug)]
pub(crate) struct At {
    table: u64,
    /// log2 of the bytes that one of its descriptors covers.
    pub(crate) shift: u32,
    /// Bits of the index.
    index: u64,
}

impl At {
    /// The address of the descriptor for `input`.
    #[inline]
    pub(crate) const fn location(&self, input: u64) -> u64 {
        self.table | (input >> (self.shift % 64) & self.index) << 3
    }
}

/// A walk as it usually is: one stage, little-endian tables that forbid nothing, output addresses of 48 bits or fewer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Usual {
    start: Descent,
    /// log2 of the bytes of a page.
    page: u32,
    /// The address bits of a table descriptor.
    tables: u64,
    /// Bits that no table descriptor has on such a walk: addresses beyond the output size, and limits.
    unusual: u64,
}

impl Usual {
    /// No leaf: where a descriptor is this itself, the walk that leaves nothing out has to look at it too.
    pub(crate) const OTHER: u64 = u64::MAX;

    pub(crate) const fn new(start: Descent, granule: Granule, output_bits: u8) -> Self {
        let tables = low_mask(48) & !low_mask(granule.shift());
        // Bits 63 to 59 of a table descriptor forbid.
        let unusual = tables & !low_mask(output_bits as u32) | 0x1f << 59;
        Self { start, page: granule.shift(), tables, unusual }
    }

    /// The leaf of `input`, or whatever stands in its place, and log2 of the bytes that it covers; from the last level's table
    /// on, if that is known. [`Usual::OTHER`] where the walk is not as usual, or memory aborts.
    #[inline(never)]
    pub(crate) fn leaf<M: Memory + ?Sized>(&self, table: Option<u64>, input: u64, memory: &M) -> (u64, u32) {
        let mut at = table.map_or_else(|| self.first(), |table| self.last(table));
        loop {
            let Ok(word) = memory.read_u64(Pa(at.location(input))) else { return (Self::OTHER, at.shift) };
            match self.below(at, word) {
                Some(below) => at = below,
                None if self.goes_on(at, word) => return (Self::OTHER, at.shift),
                None => return (word, at.shift),
            }
        }
    }

    /// Where it starts.
    #[inline]
    pub(crate) const fn first(&self) -> At {
        let Descent { table, shift, index, .. } = self.start;
        At { table, shift, index }
    }

    /// In the last level's table.
    #[inline]
    pub(crate) const fn last(&self, table: u64) -> At {
        At { table, shift: self.page, index: (1 << (self.start.stride % 64)) - 1 }
    }

    /// Whether a table is of the last level.
    #[inline]
    pub(crate) const fn is_last(&self, at: At) -> bool {
        at.shift == self.page
    }

    /// To the next table, if `word` leads there and is as usual.
    #[inline]
    pub(crate) const fn below(&self, at: At, word: u64) -> Option<At> {
        if !self.goes_on(at, word) || word & self.unusual != 0 {
            return None;
        }
        let shift = at.shift - self.start.stride;
        Some(At { table: word & self.tables, shift, index: (1 << (self.start.stride % 64)) - 1 })
    }

    /// Whether `word` is a table descriptor.
    #[inline]
    pub(crate) const fn goes_on(&self, at: At, word: u64) -> bool {
        word & 0b11 == 0b11 && at.shift > self.page
    }

    /// The output address of a leaf of `2^shift` bytes, unless it is too large.
    #[inline]
    pub(crate) const fn output(&self, word: u64, shift: u32) -> Option<u64> {
        let output = word & self.tables & (u64::MAX << (shift % 64));
        if output & self.unusual == 0 { Some(output) } else { None }
    }

    /// The last level's table, of which `location` is a descriptor.
    pub(crate) const fn table_at(&self, location: u64) -> u64 {
        location & !low_mask(self.page)
    }
}
