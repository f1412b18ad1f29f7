//! Which addresses a stage accepts, and which descriptor stands for one (§3.4, DDI 0487 §D8.2).

use crate::arch::addr::{Granule, Level, low_mask};
use crate::arch::id::StreamWorld;
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

/// Where a descent is: which table's descriptor is read next. Its level follows from what its descriptors cover.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Descent {
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
        Self { table, shift, stride: granule.stride(), index }
    }

    /// From a table that is remembered, to which a descriptor of `level` leads; `None` if nothing can be below.
    #[inline]
    pub(crate) const fn below(granule: Granule, level: Level, table: u64) -> Option<Self> {
        let stride = granule.stride();
        if matches!(level, Level::L3) {
            return None;
        }
        Some(Self { table, shift: granule.level_shift(level) - stride, stride, index: low_mask(stride) })
    }

    /// The level of the descriptor that is read next.
    #[inline]
    pub(crate) const fn level(&self) -> Level {
        match self.shift - self.page() {
            0 => Level::L3,
            above if above == self.stride => Level::L2,
            above if above == 2 * self.stride => Level::L1,
            _ => Level::L0,
        }
    }

    /// log2 of the bytes of a page, which are those of a table: as many as a full index has descriptors of 8.
    #[inline]
    const fn page(&self) -> u32 {
        self.stride + 3
    }

    /// The address of the descriptor for `input`.
    #[inline]
    pub(crate) const fn location(&self, input: u64) -> u64 {
        self.table | (input >> self.shift & self.index) << 3
    }

    /// The next table's address, if `word` is a table descriptor of this level. `high` says whether it has bits 51 to 48 of
    /// the address.
    #[inline]
    pub(crate) const fn table(&self, word: u64, high: bool) -> Option<u64> {
        if word & 0b11 != 0b11 || self.shift == self.page() {
            return None;
        }
        Some(address(word, self.page(), high))
    }

    /// The output address, if `word` is no table descriptor, but a block or page of this level.
    #[inline]
    pub(crate) const fn leaf(&self, word: u64, granule: Granule, oas_bits: u8, high: bool) -> Option<u64> {
        let page = self.shift == self.page();
        let legal = if page { 0b11 } else { 0b01 };
        if word & 0b11 != legal || !(page || granule.has_leaf(self.level(), oas_bits as u32)) {
            return None;
        }
        Some(address(word, self.shift, high))
    }

    /// To the table at `table`, one level down. There is one: `table` came from [`Descent::table`].
    #[inline]
    pub(crate) const fn down(&mut self, table: u64) {
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

/// The address that a descriptor holds, aligned to `2^shift` bytes.
#[inline]
const fn address(word: u64, shift: u32, high: bool) -> u64 {
    let above = if high { 0xf << 12 } else { 0 };
    word & low_mask(48) & !low_mask(shift) | (word & above) << 36
}
