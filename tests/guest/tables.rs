//! The structures a guest puts into memory: STE, CD, the descriptors of their tables, and translation tables.
//!
//! Positions are those of the architecture's tables (§5.2, §5.4, DDI 0487 §D8.3); nothing here asks the core.

#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a table that cannot be built is a mistake in a test"
)]

use crate::bits::{Record, Words};

/// A Stream Table Entry (§5.2).
pub type Ste = Record<8>;
/// A Context Descriptor (§5.4).
pub type Cd = Record<8>;

/// Fields of an STE, §5.2, and the usual ways to fill one.
#[allow(missing_docs, reason = "the names are the specification's own")]
pub mod ste {
    use super::{PageTables, Ste, stage2_sl0};
    use crate::bits::{Bits, bit, bits};

    pub const V: Bits = bit(0, 0);
    pub const CONFIG: Bits = bits(0, 3, 1);
    pub const S1FMT: Bits = bits(0, 5, 4);
    pub const S1CONTEXTPTR: Bits = bits(0, 51, 6);
    pub const S1CDMAX: Bits = bits(0, 63, 59);
    pub const S1DSS: Bits = bits(1, 1, 0);
    pub const S1CIR: Bits = bits(1, 3, 2);
    pub const S1COR: Bits = bits(1, 5, 4);
    pub const S1CSH: Bits = bits(1, 7, 6);
    pub const DRE: Bits = bit(1, 12);
    pub const CONT: Bits = bits(1, 16, 13);
    pub const DCP: Bits = bit(1, 17);
    pub const PPAR: Bits = bit(1, 18);
    pub const MEV: Bits = bit(1, 19);
    pub const S2FWB: Bits = bit(1, 25);
    pub const S1MPAM: Bits = bit(1, 26);
    pub const S1STALLD: Bits = bit(1, 27);
    pub const EATS: Bits = bits(1, 29, 28);
    pub const STRW: Bits = bits(1, 31, 30);
    pub const MEMATTR: Bits = bits(1, 35, 32);
    pub const MTCFG: Bits = bit(1, 36);
    pub const ALLOCCFG: Bits = bits(1, 40, 37);
    pub const SHCFG: Bits = bits(1, 45, 44);
    pub const NSCFG: Bits = bits(1, 47, 46);
    pub const PRIVCFG: Bits = bits(1, 49, 48);
    pub const INSTCFG: Bits = bits(1, 51, 50);
    pub const S2VMID: Bits = bits(2, 15, 0);
    pub const S2T0SZ: Bits = bits(2, 37, 32);
    pub const S2SL0: Bits = bits(2, 39, 38);
    pub const S2IR0: Bits = bits(2, 41, 40);
    pub const S2OR0: Bits = bits(2, 43, 42);
    pub const S2SH0: Bits = bits(2, 45, 44);
    pub const S2TG: Bits = bits(2, 47, 46);
    pub const S2PS: Bits = bits(2, 50, 48);
    pub const S2AA64: Bits = bit(2, 51);
    pub const S2ENDI: Bits = bit(2, 52);
    pub const S2AFFD: Bits = bit(2, 53);
    pub const S2PTW: Bits = bit(2, 54);
    pub const S2HD: Bits = bit(2, 55);
    pub const S2HA: Bits = bit(2, 56);
    pub const S2S: Bits = bit(2, 57);
    pub const S2R: Bits = bit(2, 58);
    pub const S2TTB: Bits = bits(3, 51, 4);

    pub const BYPASS: u64 = 0b100;
    pub const STAGE_1: u64 = 0b101;
    pub const STAGE_2: u64 = 0b110;
    pub const NESTED: u64 = 0b111;

    /// A valid STE of the given Config, everything else clear but SHCFG, which uses the incoming attribute.
    pub const fn of(config: u64) -> Ste {
        Ste::ZERO.with(V, 1).with(CONFIG, config).with(SHCFG, 0b01)
    }

    /// Config = 101: one CD at `context`, translations tagged with `vmid`.
    pub const fn stage1(context: u64, vmid: u16) -> Ste {
        of(STAGE_1).with(S1CONTEXTPTR, context >> 6).with(S2VMID, vmid as u64)
    }

    /// The STE with its stage 2 fields: the tables, S2PS, and S2R = 1, so that faults are recorded.
    pub const fn with_stage2(ste: Ste, vmid: u16, s2: &PageTables, ps: u64) -> Ste {
        ste.with(S2VMID, vmid as u64)
            .with(S2T0SZ, (64 - s2.bits) as u64)
            .with(S2SL0, stage2_sl0(s2.grain, s2.start))
            .with(S2TG, s2.grain.tg0())
            .with(S2PS, ps)
            .with(S2AA64, 1)
            .with(S2R, 1)
            .with(S2TTB, s2.root >> 4)
    }
}

/// Fields of a CD, §5.4, and the usual way to fill one.
#[allow(missing_docs, reason = "the names are the specification's own")]
pub mod cd {
    use super::{Cd, Grain};
    use crate::bits::{Bits, bit, bits};

    pub const T0SZ: Bits = bits(0, 5, 0);
    pub const TG0: Bits = bits(0, 7, 6);
    pub const IR0: Bits = bits(0, 9, 8);
    pub const OR0: Bits = bits(0, 11, 10);
    pub const SH0: Bits = bits(0, 13, 12);
    pub const EPD0: Bits = bit(0, 14);
    pub const ENDI: Bits = bit(0, 15);
    pub const T1SZ: Bits = bits(0, 21, 16);
    pub const TG1: Bits = bits(0, 23, 22);
    pub const IR1: Bits = bits(0, 25, 24);
    pub const OR1: Bits = bits(0, 27, 26);
    pub const SH1: Bits = bits(0, 29, 28);
    pub const EPD1: Bits = bit(0, 30);
    pub const V: Bits = bit(0, 31);
    pub const IPS: Bits = bits(0, 34, 32);
    pub const AFFD: Bits = bit(0, 35);
    pub const WXN: Bits = bit(0, 36);
    pub const TBI0: Bits = bit(0, 38);
    pub const TBI1: Bits = bit(0, 39);
    pub const PAN: Bits = bit(0, 40);
    pub const AA64: Bits = bit(0, 41);
    pub const HD: Bits = bit(0, 42);
    pub const HA: Bits = bit(0, 43);
    pub const S: Bits = bit(0, 44);
    pub const R: Bits = bit(0, 45);
    pub const A: Bits = bit(0, 46);
    pub const ASET: Bits = bit(0, 47);
    pub const ASID: Bits = bits(0, 63, 48);
    pub const HAD0: Bits = bit(1, 1);
    pub const TTB0: Bits = bits(1, 51, 4);
    pub const HAD1: Bits = bit(2, 1);
    pub const TTB1: Bits = bits(2, 51, 4);
    pub const MAIR: Bits = bits(3, 63, 0);

    /// The MAIR of the usual CD: index 0 Normal write-back, 1 Normal non-cacheable, 2 Device-nGnRnE.
    pub const USUAL_MAIR: u64 = 0x00_44_ff;

    /// A valid AArch64 CD with both halves disabled; A = R = 1, so faults abort and are recorded.
    pub const fn of(asid: u16, ips: u64) -> Cd {
        Cd::ZERO
            .with(V, 1)
            .with(AA64, 1)
            .with(A, 1)
            .with(R, 1)
            .with(EPD0, 1)
            .with(EPD1, 1)
            .with(IPS, ips)
            .with(ASID, asid as u64)
            .with(MAIR, USUAL_MAIR)
    }

    /// The CD with its lower half translated by the tables at `ttb`.
    pub const fn lower(cd: Cd, grain: Grain, t0sz: u64, ttb: u64) -> Cd {
        cd.with(EPD0, 0).with(T0SZ, t0sz).with(TG0, grain.tg0()).with(TTB0, ttb >> 4)
    }

    /// The CD with its upper half translated by the tables at `ttb`.
    pub const fn upper(cd: Cd, grain: Grain, t1sz: u64, ttb: u64) -> Cd {
        cd.with(EPD1, 0).with(T1SZ, t1sz).with(TG1, grain.tg1()).with(TTB1, ttb >> 4)
    }
}

/// A Level 1 Stream Table Descriptor: 2^(span−1) STEs at `pointer` (§5.1).
pub const fn l1std(pointer: u64, span: u64) -> u64 {
    assert!(span < 32 && pointer & 0x3f == 0);
    pointer | span
}

/// A valid Level 1 Context Descriptor: a leaf table of CDs at `pointer` (§5.3).
pub const fn l1cd(pointer: u64) -> u64 {
    assert!(pointer & 0xfff == 0);
    pointer | 1
}

/// Fields of translation table descriptors, DDI 0487 §D8.3.
#[allow(missing_docs, reason = "the names are the specification's own")]
pub mod descriptor {
    use super::Grain;
    use crate::bits::{Bits, Record, bit, bits};

    pub const TYPE: Bits = bits(0, 1, 0);
    pub const ATTRINDX: Bits = bits(0, 4, 2);
    pub const AP: Bits = bits(0, 7, 6);
    pub const SH: Bits = bits(0, 9, 8);
    pub const AF: Bits = bit(0, 10);
    pub const NG: Bits = bit(0, 11);
    pub const NT: Bits = bit(0, 16);
    pub const DBM: Bits = bit(0, 51);
    pub const CONTIGUOUS: Bits = bit(0, 52);
    pub const PXN: Bits = bit(0, 53);
    pub const UXN: Bits = bit(0, 54);
    pub const PXNTABLE: Bits = bit(0, 59);
    pub const UXNTABLE: Bits = bit(0, 60);
    pub const APTABLE: Bits = bits(0, 62, 61);
    pub const NSTABLE: Bits = bit(0, 63);
    /// Stage 2 alone.
    pub const MEMATTR: Bits = bits(0, 5, 2);
    pub const S2AP: Bits = bits(0, 7, 6);
    pub const S2XN: Bits = bits(0, 54, 53);

    /// What a descriptor says besides its address and type.
    pub type Attributes = Record<1>;

    /// Stage 1: Normal memory, inner shareable, AF = 1, not global, every privilege may read and write, none execute.
    pub const S1_RW: Attributes =
        Attributes::ZERO.with(SH, 0b11).with(AF, 1).with(NG, 1).with(AP, 0b01).with(PXN, 1).with(UXN, 1);

    /// Stage 2: Normal write-back memory, inner shareable, AF = 1, read and write.
    pub const S2_RW: Attributes =
        Attributes::ZERO.with(SH, 0b11).with(AF, 1).with(S2AP, 0b11).with(MEMATTR, 0b1111);

    /// A leaf at `level`: a page at level 3, a block above.
    pub const fn leaf(grain: Grain, level: u32, pa: u64, attributes: Attributes) -> u64 {
        attributes.0[0] | address(grain, pa) | if level == 3 { 0b11 } else { 0b01 }
    }

    /// A table descriptor.
    pub const fn table(grain: Grain, pa: u64, attributes: Attributes) -> u64 {
        attributes.0[0] | address(grain, pa) | 0b11
    }

    /// An output address in place: [47:12], and with 64 KiB [51:48] in [15:12].
    const fn address(grain: Grain, pa: u64) -> u64 {
        assert!(pa & (grain.bytes() - 1) == 0, "an output address is a multiple of the granule");
        let high = match grain {
            Grain::K64 => (pa >> 48 & 0xf) << 12,
            _ => 0,
        };
        pa & 0xffff_ffff_ffff | high
    }
}

/// A translation granule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say the size")]
pub enum Grain {
    K4,
    K16,
    K64,
}

impl Grain {
    /// All three.
    pub const ALL: [Grain; 3] = [Grain::K4, Grain::K16, Grain::K64];

    /// log2 of the page size.
    pub const fn shift(self) -> u32 {
        match self {
            Grain::K4 => 12,
            Grain::K16 => 14,
            Grain::K64 => 16,
        }
    }

    /// The page size in bytes.
    pub const fn bytes(self) -> u64 {
        1 << self.shift()
    }

    /// Index bits per level.
    pub const fn stride(self) -> u32 {
        self.shift() - 3
    }

    /// log2 of what one entry of `level` covers.
    pub const fn level_shift(self, level: u32) -> u32 {
        self.shift() + (3 - level) * self.stride()
    }

    /// Is a block (or page) allowed at `level`, with an OAS below 52 bits?
    pub const fn leaf_allowed(self, level: u32) -> bool {
        level == 3 || level == 2 || level == 1 && matches!(self, Grain::K4)
    }

    /// How many neighbouring entries the Contiguous hint joins at `level`; 1 where it means nothing.
    pub const fn contiguous(self, level: u32) -> u64 {
        match (self, level) {
            (Grain::K4, 1..=3) => 16,
            (Grain::K16, 2) | (Grain::K64, 2..=3) => 32,
            (Grain::K16, 3) => 128,
            _ => 1,
        }
    }

    /// The encoding of CD.TG0 and STE.S2TG.
    pub const fn tg0(self) -> u64 {
        match self {
            Grain::K4 => 0b00,
            Grain::K64 => 0b01,
            Grain::K16 => 0b10,
        }
    }

    /// The encoding of CD.TG1.
    pub const fn tg1(self) -> u64 {
        match self {
            Grain::K16 => 0b01,
            Grain::K4 => 0b10,
            Grain::K64 => 0b11,
        }
    }

    /// The encoding of a TLBI's TG.
    pub const fn tlbi_tg(self) -> u64 {
        match self {
            Grain::K4 => 0b01,
            Grain::K16 => 0b10,
            Grain::K64 => 0b11,
        }
    }
}

/// The start level of a stage 1 walk over `bits` of input address (tables.md §6).
pub const fn stage1_start(grain: Grain, bits: u32) -> u32 {
    4 - (bits - grain.shift()).div_ceil(grain.stride())
}

/// STE.S2SL0 for a start level (tables.md §6); 4 KiB at level 3 needs small translation tables.
pub const fn stage2_sl0(grain: Grain, start: u32) -> u64 {
    match (grain, start) {
        (Grain::K4, 0) => 0b10,
        (Grain::K4, 1) => 0b01,
        (Grain::K4, 2) => 0b00,
        (Grain::K4, _) => 0b11,
        (_, level) => 3 - level as u64,
    }
}

/// Memory that tables are allocated from, and given back to.
#[derive(Clone, Debug)]
pub struct Heap {
    next: u64,
    end: u64,
    free: Vec<(u64, u64)>,
}

impl Heap {
    /// The `bytes` from `base` on.
    pub const fn new(base: u64, bytes: u64) -> Heap {
        Heap { next: base, end: base + bytes, free: Vec::new() }
    }

    /// `bytes` (a power of two) of memory, aligned to their size.
    pub fn allocate(&mut self, bytes: u64) -> u64 {
        if let Some(found) = self.free.iter().position(|&(_, size)| size == bytes) {
            return self.free.swap_remove(found).0;
        }
        let base = self.next.next_multiple_of(bytes);
        assert!(base + bytes <= self.end, "no room for a table of {bytes} bytes");
        self.next = base + bytes;
        base
    }

    /// Gives memory back; the caller has made sure that nobody walks it any more.
    pub fn release(&mut self, base: u64, bytes: u64) {
        self.free.push((base, bytes));
    }
}

/// Where a translation ends: the first descriptor on the way of an address that is not a table's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    /// The level of the descriptor.
    pub level: u32,
    /// Where it lies in memory.
    pub pa: u64,
    /// What it says.
    pub descriptor: u64,
}

/// One set of translation tables in memory: either half of stage 1, or a stage 2.
#[derive(Clone, Debug)]
pub struct PageTables {
    /// The granule.
    pub grain: Grain,
    /// The input address size: 64 − TxSZ.
    pub bits: u32,
    /// The level the walk starts at.
    pub start: u32,
    /// The start table, or the first of the concatenated ones.
    pub root: u64,
    /// The attributes that new table descriptors get.
    pub table_attributes: descriptor::Attributes,
}

impl PageTables {
    /// Empty stage 1 tables.
    pub fn stage1(grain: Grain, txsz: u32, heap: &mut Heap, memory: &mut impl Words) -> PageTables {
        PageTables::from_level(grain, 64 - txsz, stage1_start(grain, 64 - txsz), heap, memory)
    }

    /// Empty tables that start at `start`: for stage 2, where more index bits than a table has mean concatenated tables.
    pub fn from_level(
        grain: Grain,
        bits: u32,
        start: u32,
        heap: &mut Heap,
        memory: &mut impl Words,
    ) -> PageTables {
        let index_bits = bits - grain.level_shift(start);
        assert!(index_bits <= grain.stride() + 4, "at most 16 concatenated tables");
        let root = new_table(heap, memory, (8u64 << index_bits).max(64));
        PageTables { grain, bits, start, root, table_attributes: Record::ZERO }
    }

    /// Where a descriptor of `level` for `va` lies, in the table at `table`.
    fn entry(&self, table: u64, va: u64, level: u32) -> u64 {
        let inside = va & (u64::MAX >> (64 - self.bits));
        let index = inside >> self.grain.level_shift(level);
        let width =
            if level == self.start { 64 - self.grain.level_shift(level) } else { self.grain.stride() };
        table + 8 * (index & (u64::MAX >> (64 - width)))
    }

    /// The table that a descriptor of `level` points to, if it is a table's.
    pub fn next_table(&self, level: u32, descriptor: u64) -> Option<u64> {
        let high = if self.grain == Grain::K64 { (descriptor >> 12 & 0xf) << 48 } else { 0 };
        let in_place = descriptor & 0xffff_ffff_ffff & !(self.grain.bytes() - 1);
        (level < 3 && descriptor & 0b11 == 0b11).then_some(in_place | high)
    }

    /// The first descriptor on the way of `va` that is not a table's, or the one at `deepest`.
    pub fn find(&self, memory: &impl Words, va: u64, deepest: u32) -> Slot {
        let mut table = self.root;
        let mut level = self.start;
        loop {
            let pa = self.entry(table, va, level);
            let descriptor = word(memory, pa);
            match self.next_table(level, descriptor) {
                Some(next) if level < deepest => (table, level) = (next, level + 1),
                _ => return Slot { level, pa, descriptor },
            }
        }
    }

    /// The slot for `va` at `level`, with the tables above it made as needed. A block on the way is a mistake.
    pub fn slot(&self, heap: &mut Heap, memory: &mut impl Words, va: u64, level: u32) -> Slot {
        loop {
            let slot = self.find(memory, va, level);
            if slot.level == level {
                return slot;
            }
            assert!(slot.descriptor & 1 == 0, "{va:#x}: a block of level {} is in the way", slot.level);
            let next = new_table(heap, memory, self.grain.bytes());
            memory.set_word(slot.pa, descriptor::table(self.grain, next, self.table_attributes));
        }
    }

    /// Maps 2^`log2_bytes` from `va` on to `pa`: a page, a block, or a run of either with the Contiguous hint.
    pub fn map(
        &self,
        heap: &mut Heap,
        memory: &mut impl Words,
        va: u64,
        pa: u64,
        log2_bytes: u32,
        attributes: descriptor::Attributes,
    ) {
        let grain = self.grain;
        for level in (self.start..4).filter(|&level| grain.leaf_allowed(level)) {
            let step = 1 << grain.level_shift(level);
            let run = grain.contiguous(level);
            let (count, attributes) = match 1 << log2_bytes {
                bytes if bytes == step => (1, attributes),
                bytes if bytes == step * run => (run, attributes.with(descriptor::CONTIGUOUS, 1)),
                _ => continue,
            };
            for offset in (0..count).map(|member| member * step) {
                let slot = self.slot(heap, memory, va + offset, level);
                memory.set_word(slot.pa, descriptor::leaf(grain, level, pa + offset, attributes));
            }
            return;
        }
        panic!("no page, block or run has 2^{log2_bytes} bytes");
    }

    /// Makes whatever translates `va` invalid: one descriptor, not a whole contiguous run.
    pub fn unmap(&self, memory: &mut impl Words, va: u64) {
        let slot = self.find(memory, va, 3);
        memory.set_word(slot.pa, 0);
    }

    /// Replaces the block that translates `va` by a table of leaves, one level down, that say the same.
    pub fn split(&self, heap: &mut Heap, memory: &mut impl Words, va: u64) {
        let Slot { level, pa, descriptor: block } = self.find(memory, va, 3);
        assert!(level < 3 && block & 0b11 == 0b01, "{va:#x} is not translated by a block");
        let table = new_table(heap, memory, self.grain.bytes());
        for entry in 0..self.grain.bytes() / 8 {
            let offset = entry << self.grain.level_shift(level + 1);
            let kind = if level + 1 == 3 { 0b10 } else { 0 };
            memory.set_word(table + 8 * entry, (block + offset) | kind);
        }
        memory.set_word(pa, descriptor::table(self.grain, table, self.table_attributes));
    }
}

/// A table of `bytes`, all entries invalid.
fn new_table(heap: &mut Heap, memory: &mut impl Words, bytes: u64) -> u64 {
    let table = heap.allocate(bytes);
    for pa in (table..table + bytes).step_by(8) {
        memory.set_word(pa, 0);
    }
    table
}

fn word(memory: &impl Words, pa: u64) -> u64 {
    memory.word(pa).unwrap_or_else(|| panic!("a table lies outside memory, at {pa:#x}"))
}
