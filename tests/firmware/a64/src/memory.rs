//! Structures and tables in memory, and the pages that a DMA may land in.

use guest::{cd, descriptor, ste};

use crate::machine::{EDU_STREAM, read32, write_words, write32, write64};

/// 32 entries, one level.
pub(crate) const STREAM_TABLE: u64 = 0x4200_0000;
/// The second level of a table of two: 256 entries.
pub(crate) const STREAM_LEAVES: u64 = 0x4200_8000;
pub(crate) const CD: u64 = 0x4200_2000;

/// Tables of stage 1 at levels 1 to 3: 39 bits of address.
pub(crate) const STAGE1: [u64; 3] = [0x4203_0000, 0x4203_1000, 0x4203_2000];
/// Tables of stage 2 at levels 0 to 3.
pub(crate) const STAGE2: [u64; 4] = [0x4204_0000, 0x4204_1000, 0x4204_2000, 0x4204_3000];
/// Tables of larger granules.
pub(crate) const LARGE: [u64; 2] = [0x4205_0000, 0x4206_0000];

/// Pages that a DMA may land in, by name. The last two lie in a block of 2 MiB.
pub(crate) const A: u64 = 0x4300_0000;
pub(crate) const B: u64 = 0x4300_1000;
pub(crate) const C: u64 = 0x4301_0000;
pub(crate) const BLOCK: u64 = 0x4320_0000;
const PAGES: [(&str, u64); 5] =
    [("A", A), ("B", B), ("C", C), ("first of the block", BLOCK), ("third of the block", BLOCK + 0x2000)];

/// Where the device's buffer is filled from, and what with.
pub(crate) const SOURCE: u64 = 0x4310_0000;
pub(crate) const TOKEN: u32 = 0x89ab_cdef;
/// Where in its page a DMA lands.
pub(crate) const OFFSET: u64 = 0x128;

/// An input address; its page's descriptor is entry 5 of level 3.
pub(crate) const VA: u64 = 0x40_0020_5000;
pub(crate) const ASID: u16 = 7;

/// Everything zero, then one stream's structures, with nothing mapped.
pub(crate) fn clear() {
    for at in (STREAM_TABLE..0x4207_0000).step_by(8) {
        write64(at, 0);
    }
    set_ste(&ste::stage1(CD));
    write_words(CD, &context());
    let index = |level: u32| descriptor::index(VA, level) * 8;
    write64(STAGE1[0] + index(1), descriptor::table(STAGE1[1]));
    write64(STAGE1[1] + index(2), descriptor::table(STAGE1[2]));
}

/// The context of everything here: 39 bits of input, 44 of output, 4 KiB granule.
pub(crate) const fn context() -> [u64; 8] {
    cd(ASID, 25, 0b100, STAGE1[0])
}

/// Changes the stream table entry of the device.
pub(crate) fn set_ste(words: &[u64; 8]) {
    write_words(STREAM_TABLE + u64::from(EDU_STREAM) * 64, words);
}

/// Changes the descriptor of the `page`th page from `VA` on.
pub(crate) fn set_page(page: u64, descriptor: u64) {
    write64(STAGE1[2] + (descriptor::index(VA, 3) + page) * 8, descriptor);
}

/// Changes the level 2 descriptor of `VA`.
pub(crate) fn set_level2(descriptor: u64) {
    write64(STAGE1[1] + descriptor::index(VA, 2) * 8, descriptor);
}

/// The page that holds the token, which is taken out.
pub(crate) fn landing() -> &'static str {
    let mut found = "nowhere";
    for (name, page) in PAGES {
        if read32(page + OFFSET) == TOKEN {
            found = name;
        }
        write32(page + OFFSET, 0);
    }
    found
}
