//! The guest's translation tables in memory: how a driver maps, unmaps and changes them.

use crate::ram::Ram;
use crate::script::Error;
use crate::text::hex;
use smmuv3::arch::addr::{align_down, low_mask};
use smmuv3::format::descriptor::{Descriptor, field};
use smmuv3::{Granule, Level, Memory, Pa, Stage};

/// The bits of output address that the tables are made for.
const OUTPUT_BITS: u8 = 48;

/// One set of tables.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tables {
    pub(crate) stage: Stage,
    pub(crate) granule: Granule,
    /// Bits of input address.
    pub(crate) bits: u32,
    pub(crate) start: Level,
    pub(crate) root: u64,
}

/// A descriptor on the way of an address.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slot {
    pub(crate) level: Level,
    pub(crate) pa: u64,
    pub(crate) word: u64,
}

/// Memory that tables are taken from, never given back.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Heap {
    pub(crate) next: u64,
}

impl Heap {
    pub(crate) fn allocate(&mut self, bytes: u64) -> u64 {
        let at = self.next.next_multiple_of(bytes.max(64));
        self.next = at + bytes;
        at
    }
}

impl Tables {
    /// Empty tables for `bits` of input address.
    pub(crate) fn new(stage: Stage, granule: Granule, bits: u32, heap: &mut Heap) -> Self {
        let levels = (bits - granule.shift()).div_ceil(granule.stride());
        let start = Level::from_number(4 - levels);
        Self { stage, granule, bits, start, root: heap.allocate(granule.bytes()) }
    }

    fn descriptor(&self, table: u64, address: u64, level: Level) -> u64 {
        let index = address >> self.granule.level_shift(level) & low_mask(self.granule.stride());
        table + 8 * index
    }

    fn parse(&self, word: u64, level: Level) -> Descriptor {
        Descriptor::parse(word, self.granule, level, OUTPUT_BITS)
    }

    /// The descriptor of `address` at `deepest`, or above it where the way ends.
    pub(crate) fn find(&self, ram: &Ram, address: u64, deepest: Level) -> Slot {
        let (mut table, mut level) = (self.root, self.start);
        loop {
            let pa = self.descriptor(table, address, level);
            let word = ram.word(pa);
            match (self.parse(word, level), level.next()) {
                (Descriptor::Table(next), Some(below)) if level < deepest => (table, level) = (next, below),
                _ => return Slot { level, pa, word },
            }
        }
    }

    fn check(&self, address: u64, bytes: u64) -> Result<(), Error> {
        let last = address.checked_add(bytes.saturating_sub(1));
        if last.is_none_or(|last| last > low_mask(self.bits)) {
            return Err(Error(format!("{} is beyond the tables' {} bits", hex(address), self.bits)));
        }
        Ok(())
    }

    fn leaf(&self, level: Level, pa: u64, global: bool) -> u64 {
        let kind = if level == Level::L3 { 0b11 } else { 0b01 };
        let word = field::SH.put(field::AF.put(pa | kind, 1), 0b11);
        match self.stage {
            Stage::S1 => field::UXN
                .put(field::PXN.put(field::AP1.put(field::NG.put(word, u64::from(!global)), 1), 1), 1),
            Stage::S2 => field::MEMATTR.put(field::S2AP1.put(field::S2AP0.put(word, 1), 1), 0b1111),
        }
    }

    /// Maps `bytes` by leaves of `level`.
    pub(crate) fn map(
        &self,
        heap: &mut Heap,
        ram: &mut Ram,
        (address, pa, bytes): (u64, u64, u64),
        level: Level,
        global: bool,
    ) -> Result<(), Error> {
        let shift = self.granule.level_shift(level);
        let bytes = bytes.max(1 << shift);
        self.check(address, bytes)?;
        if !self.granule.has_leaf(level, OUTPUT_BITS.into()) || level < self.start {
            return Err(Error(format!("{:?} tables have no leaf at level {}", self.granule, level.number())));
        }
        if (address | pa | bytes) & low_mask(shift) != 0 {
            return Err(Error(format!("address, pa and bytes have to be multiples of {:#x}", 1u64 << shift)));
        }
        let mut done = 0;
        while done < bytes {
            let at = address + done;
            let slot = loop {
                let slot = self.find(ram, at, level);
                if slot.level == level {
                    break slot;
                }
                if slot.word & 1 != 0 {
                    return Err(Error(format!(
                        "{}: a block of level {} is in the way",
                        hex(at),
                        slot.level.number()
                    )));
                }
                let table = heap.allocate(self.granule.bytes());
                ram.set_words(slot.pa, &[table | 0b11]);
            };
            // All that fits into this table at once.
            let index = at >> shift & low_mask(self.granule.stride());
            let count = ((1 << self.granule.stride()) - index).min((bytes - done) >> shift);
            let words: Vec<u64> =
                (0..count).map(|n| self.leaf(level, pa + done + (n << shift), global)).collect();
            let image: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
            ram.write(Pa(slot.pa), &image).map_err(|_| Error("the tables do not fit memory".to_owned()))?;
            done += count << shift;
        }
        Ok(())
    }

    /// Calls `f` with every table that maps part of `first..=last`: its address, level, first input address and words.
    fn visit(
        &self,
        ram: &Ram,
        (table, level, base): (u64, Level, u64),
        (first, last): (u64, u64),
        f: &mut impl FnMut(u64, Level, u64, &[u64]),
    ) {
        let shift = self.granule.level_shift(level);
        let top = if level == self.start {
            low_mask(self.bits)
        } else {
            base | low_mask(shift + self.granule.stride())
        };
        let from = (first.max(base) - base) >> shift;
        let to = (last.min(top) - base) >> shift;
        let mut image = vec![0; 8 * (to - from + 1) as usize];
        if ram.read(Pa(table + 8 * from), &mut image).is_err() {
            return;
        }
        let (words, _) = image.as_chunks::<8>();
        let words: Vec<u64> = words.iter().map(|word| u64::from_le_bytes(*word)).collect();
        let start = base + (from << shift);
        if let Some(below) = level.next() {
            for (n, word) in words.iter().enumerate() {
                if let Descriptor::Table(next) = self.parse(*word, level) {
                    self.visit(ram, (next, below, start + ((n as u64) << shift)), (first, last), f);
                }
            }
        }
        f(table + 8 * from, level, start, &words);
    }

    /// Makes every leaf of `bytes` from `address` on invalid, and says how many there were.
    pub(crate) fn unmap(&self, ram: &mut Ram, address: u64, bytes: u64) -> Result<u64, Error> {
        self.check(address, bytes)?;
        let mut changes = Vec::new();
        let mut count = 0;
        let range = (address, address + bytes.max(1) - 1);
        self.visit(ram, (self.root, self.start, 0), range, &mut |pa, level, _, words| {
            let leaves =
                words.iter().filter(|word| matches!(self.parse(**word, level), Descriptor::Leaf(_))).count();
            if leaves != 0 {
                let kept = |word: &u64| {
                    if matches!(self.parse(*word, level), Descriptor::Leaf(_)) { 0 } else { *word }
                };
                let image: Vec<u8> = words.iter().flat_map(|word| kept(word).to_le_bytes()).collect();
                changes.push((pa, image));
                count += leaves as u64;
            }
        });
        for (pa, image) in changes {
            ram.write(Pa(pa), &image).map_err(|_| Error("the tables lie outside memory".to_owned()))?;
        }
        Ok(count)
    }

    /// What the tables map, as first and last addresses with a leaf's log2, neighbours joined.
    pub(crate) fn mapped(&self, ram: &Ram) -> Vec<(u64, u64, u32)> {
        let mut runs: Vec<(u64, u64, u32)> = Vec::new();
        self.visit(
            ram,
            (self.root, self.start, 0),
            (0, low_mask(self.bits)),
            &mut |_, level, start, words| {
                let shift = self.granule.level_shift(level);
                for (n, word) in words.iter().enumerate() {
                    if !matches!(self.parse(*word, level), Descriptor::Leaf(_)) {
                        continue;
                    }
                    let first = start + ((n as u64) << shift);
                    let last = first | low_mask(shift);
                    // Leaves come in order within a table, and tables nearly so: the place is at the end or close to it.
                    let after = runs.iter().rposition(|run| run.0 < first).map_or(0, |at| at + 1);
                    match after.checked_sub(1).and_then(|at| runs.get_mut(at)) {
                        Some(run) if run.2 == shift && run.1.wrapping_add(1) == first => run.1 = last,
                        _ => runs.insert(after, (first, last, shift)),
                    }
                }
            },
        );
        runs
    }

    /// Replaces the block of `address` by a table of leaves, one level down, that say the same.
    pub(crate) fn split(&self, heap: &mut Heap, ram: &mut Ram, address: u64) -> Result<(), Error> {
        let slot = self.find(ram, address, Level::L3);
        let (Descriptor::Leaf(pa), Some(below)) = (self.parse(slot.word, slot.level), slot.level.next())
        else {
            return Err(Error(format!("{} is not translated by a block", hex(address))));
        };
        let table = heap.allocate(self.granule.bytes());
        let shift = self.granule.level_shift(below);
        let words: Vec<u64> =
            (0..1u64 << self.granule.stride()).map(|n| self.leaf(below, pa + (n << shift), false)).collect();
        ram.set_words(table, &words);
        ram.set_words(slot.pa, &[table | 0b11]);
        Ok(())
    }

    /// Changes the output address of the leaf of `address`.
    pub(crate) fn remap(&self, ram: &mut Ram, address: u64, pa: u64) -> Result<(), Error> {
        let slot = self.find(ram, address, Level::L3);
        let Descriptor::Leaf(_) = self.parse(slot.word, slot.level) else {
            return Err(Error(format!("{} is not mapped", hex(address))));
        };
        let shift = self.granule.level_shift(slot.level);
        ram.set_words(slot.pa, &[self.leaf(slot.level, align_down(pa, shift), false)]);
        Ok(())
    }

    /// Takes the table below the descriptor of `address` at `level` away, and says where it was.
    pub(crate) fn free(&self, ram: &mut Ram, address: u64, level: u32) -> Result<u64, Error> {
        let slot = self.find(ram, address, Level::from_number(level));
        let Descriptor::Table(next) = self.parse(slot.word, slot.level) else {
            return Err(Error(format!("{}: level {level} holds no table", hex(address))));
        };
        ram.set_words(slot.pa, &[0]);
        Ok(next)
    }
}
