//! A booted device with one stream, its tables, and memory: what an operation is measured on.

use smmuv3::{Env, Features, Iova, NoInterrupts, NoTrace, Settings, Smmu, StreamId, Trace, Transaction};

use super::pages::map_pages;
use crate::bits::Words;
use crate::commands::{Command, tlbi_nsnh_all};
use crate::driver::{COMMAND_QUEUE, EVENT_QUEUE, FREE, RAM_BASE, Ram, STREAM_TABLE, register, value};
use crate::tables::{Grain, Heap, PageTables, cd, descriptor, ste};

/// The stream that every transaction comes from.
pub const SID: u32 = 8;
/// Its address space.
pub const ASID: u16 = 5;
/// log2 of the commands that the queue holds.
pub const LOG2_COMMANDS: u32 = 12;
/// log2 of the events that the queue holds.
pub const LOG2_EVENTS: u32 = 7;

const RAM_BYTES: usize = 8 << 20;
const OUTPUT: u64 = 0x100_0000_0000;
/// The address of a page's output: as many bits of its input as leave room in 44 bits.
const OUTPUT_BITS: u64 = 0xff_ffff_ffff;

/// The shape of the caches.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Sets of the IOTLB.
    pub sets: u32,
    /// Ways of each.
    pub ways: u32,
    /// Whether tables are remembered.
    pub walk_cache: bool,
    /// Whether stage 2 is there, and used.
    pub nested: bool,
}

impl Shape {
    /// `entries` in sets of four, and a walk cache.
    pub const fn of(entries: u32) -> Self {
        Self { sets: entries / 4, ways: 4, walk_cache: true, nested: false }
    }
}

/// What can be measured: a device that translates, and whose registers are written and read.
pub trait Subject: Sized + 'static {
    /// A device in reset.
    fn new(shape: Shape) -> Box<Self>;
    /// A read of `address`; the physical address, or 0 where it goes nowhere.
    fn translate(&mut self, ram: &mut Ram, address: u64) -> u64;
    /// A write of a register of 4 or 8 bytes, and all that it sets in motion.
    fn write(&mut self, ram: &mut Ram, offset: u32, data: &[u8]);
    /// A read of a 32-bit register.
    fn read(&self, offset: u32) -> u32;
}

/// The model, with room for `N` translations, watched by `T`.
pub struct Ours<const N: usize, T = NoTrace> {
    smmu: Smmu<N>,
    /// Who watches.
    pub trace: T,
}

impl<const N: usize, T: Trace + Default + 'static> Subject for Ours<N, T> {
    fn new(shape: Shape) -> Box<Self> {
        let features = match shape.nested {
            true => Features { s2p: true, xnx: true, ..Features::QEMU_10 },
            false => Features::QEMU_10,
        };
        let settings = Settings { walk_cache: shape.walk_cache, ..Settings::new(shape.sets, shape.ways) };
        let smmu = Smmu::new(features, settings).unwrap_or_else(|error| panic!("{error}"));
        Box::new(Self { smmu, trace: T::default() })
    }

    #[inline(always)]
    fn translate(&mut self, ram: &mut Ram, address: u64) -> u64 {
        let mut env = Env { memory: ram, interrupts: &mut NoInterrupts, trace: &mut self.trace };
        let transaction = Transaction::read(StreamId(SID), Iova(address));
        self.smmu.translate(&transaction, &mut env).map_or(0, |translation| translation.pa.0)
    }

    #[inline(always)]
    fn write(&mut self, ram: &mut Ram, offset: u32, data: &[u8]) {
        let mut env = Env { memory: ram, interrupts: &mut NoInterrupts, trace: &mut self.trace };
        let _refused = self.smmu.write(offset, data, &mut env);
    }

    #[inline(always)]
    fn read(&self, offset: u32) -> u32 {
        let mut data = [0; 4];
        let _refused = self.smmu.read(offset, &mut data);
        u32::from_le_bytes(data)
    }
}

/// A subject, and the guest around it.
pub struct World<S> {
    /// What is measured.
    pub subject: Box<S>,
    /// Its memory.
    pub ram: Ram,
    heap: Heap,
    tables: PageTables,
    stage2: Option<PageTables>,
    prod: u32,
}

impl<S: Subject> World<S> {
    /// A device that was booted, with a stream whose tables are empty.
    pub fn new(shape: Shape) -> Self {
        let mut ram = Ram::new(RAM_BASE, RAM_BYTES);
        let mut heap = Heap::new(FREE, RAM_BASE + RAM_BYTES as u64 - FREE);
        let tables = PageTables::stage1(Grain::K4, 16, &mut heap, &mut ram);
        let context = heap.allocate(64);
        put(&mut ram, context, &cd::lower(cd::of(ASID, 4), Grain::K4, 16, tables.root).0);
        let mut entry = ste::stage1(context, 0);
        let stage2 = shape.nested.then(|| {
            let s2 = PageTables::from_level(Grain::K4, 44, 0, &mut heap, &mut ram);
            map_pages(
                &s2,
                &mut heap,
                &mut ram,
                RAM_BASE,
                RAM_BASE,
                RAM_BYTES as u64 >> 12,
                descriptor::S2_RW,
            );
            entry = ste::with_stage2(entry, 0, &s2, 4).with(ste::CONFIG, ste::NESTED);
            s2
        });
        put(&mut ram, STREAM_TABLE + 64 * u64::from(SID), &entry.0);
        let mut world = Self { subject: S::new(shape), ram, heap, tables, stage2, prod: 0 };
        world.boot();
        world
    }

    fn boot(&mut self) {
        let coherent = 1 << 62; // the hint by which tables and queues are allocated in caches
        self.write32(register::CR1, 0xd75);
        self.write64(register::STRTAB_BASE, STREAM_TABLE | coherent);
        self.write32(register::STRTAB_BASE_CFG, crate::driver::LOG2_STREAMS);
        self.write64(register::CMDQ_BASE, COMMAND_QUEUE | u64::from(LOG2_COMMANDS) | coherent);
        self.write64(register::EVENTQ_BASE, EVENT_QUEUE | u64::from(LOG2_EVENTS) | coherent);
        self.write32(register::CR0, value::CMDQEN | value::EVENTQEN);
        self.write32(register::CR0, value::CMDQEN | value::EVENTQEN | value::SMMUEN);
        assert_eq!(
            self.subject.read(register::CR0ACK),
            value::CMDQEN | value::EVENTQEN | value::SMMUEN,
            "boot"
        );
        self.announce(&[tlbi_nsnh_all()]);
    }

    /// Has the device consume commands, outside of what is measured.
    pub fn announce(&mut self, commands: &[Command]) {
        self.put(commands);
        self.ring();
        self.consumed();
    }

    /// Writes a 32-bit register.
    pub fn write32(&mut self, offset: u32, value: u32) {
        self.subject.write(&mut self.ram, offset, &value.to_le_bytes());
    }

    /// Writes a 64-bit register.
    pub fn write64(&mut self, offset: u32, value: u64) {
        self.subject.write(&mut self.ram, offset, &value.to_le_bytes());
    }

    /// Maps a page or block.
    pub fn map(&mut self, va: u64, log2_size: u32) {
        let Self { heap, ram, tables, stage2, .. } = self;
        let output = output(va);
        tables.map(heap, ram, va, output, log2_size, descriptor::S1_RW);
        if let Some(stage2) = stage2 {
            stage2.map(heap, ram, output, output, log2_size, descriptor::S2_RW);
        }
    }

    /// Makes a page of stage 1 invalid.
    pub fn unmap(&mut self, va: u64) {
        self.tables.unmap(&mut self.ram, va);
    }

    /// Maps `count` pages of 4 KiB from `va` on, in one stage.
    pub fn map_pages(&mut self, va: u64, count: u64) {
        let Self { heap, ram, tables, .. } = self;
        map_pages(tables, heap, ram, va, output(va), count, descriptor::S1_RW);
    }

    /// One access.
    #[inline(always)]
    pub fn translate(&mut self, va: u64) -> u64 {
        self.subject.translate(&mut self.ram, va)
    }

    /// Accesses `count` pages from `va` on, none of which may fault.
    pub fn touch(&mut self, va: u64, count: u64) {
        for page in (va..).step_by(4096).take(count as usize) {
            assert_eq!(self.translate(page), output(page), "{page:#x}");
        }
    }

    /// Puts `commands` into queue memory, without telling the device.
    pub fn put(&mut self, commands: &[Command]) {
        for command in commands {
            let slot = COMMAND_QUEUE + 16 * u64::from(self.prod & ((1 << LOG2_COMMANDS) - 1));
            put(&mut self.ram, slot, command);
            self.prod = (self.prod + 1) & ((2 << LOG2_COMMANDS) - 1);
        }
    }

    /// Tells the device how far the queue is written: it consumes all of it in this one write.
    #[inline(always)]
    pub fn ring(&mut self) {
        self.subject.write(&mut self.ram, register::CMDQ_PROD, &self.prod.to_le_bytes());
    }

    /// Makes sure that the device consumed all that it was told of.
    pub fn consumed(&self) {
        assert_eq!(self.subject.read(register::CMDQ_CONS), self.prod, "CMDQ_CONS");
    }

    /// Gives the event queue back to the device, all of it.
    pub fn drain_events(&mut self) {
        let prod = self.subject.read(register::EVENTQ_PROD);
        self.write32(register::EVENTQ_CONS, prod);
    }
}

/// Where a page goes.
pub const fn output(va: u64) -> u64 {
    OUTPUT | va & OUTPUT_BITS
}

fn put(ram: &mut Ram, pa: u64, dwords: &[u64]) {
    for (address, dword) in (pa..).step_by(8).zip(dwords) {
        ram.set_word(address, *dword);
    }
}
