//! Guest memory with a driver's structures in it, and a device that uses them.

use cortex_m::singleton;
use guest::command::Command;
use guest::{cd, descriptor, l1cd, register, ste};
use smmuv3::{Abort, Configuration, Features, Memory, Pa, Settings, Smmu};

pub(crate) const ENTRIES: usize = 64;

const CONFIGURATION: Configuration<ENTRIES> =
    match Configuration::new(Features::SMMUV3_3, Settings::new(16, 4)) {
        Ok(configuration) => configuration,
        Err(_) => panic!("SMMUv3.3 with 16 sets of 4 ways is a device"),
    };

/// Guest memory, from address 0 on.
const WORDS: usize = 0x1_8000 / 8;

const STREAM_TABLE: u64 = 0x1000; // 64 entries
const CD: u64 = 0x2000;
const STAGE1: [u64; 4] = [0x3000, 0x4000, 0x5000, 0x6000];
const STAGE2: [u64; 4] = [0x8000, 0x9000, 0xa000, 0xb000];
const L1CD: u64 = 0xc000;
const CDS: u64 = 0xd000;
const CMDQ: u64 = 0x1_0000; // 256 entries
const EVENTQ: u64 = 0x1_1000; // 64 entries
const MESSAGES: u64 = 0x1_2000;
/// Where the mapped pages lead.
pub(crate) const DATA: u64 = 0x1_4000;

/// Streams: through stage 1, through stage 2, through both, and one without a valid entry.
pub(crate) const S1: u32 = 1;
pub(crate) const S2: u32 = 2;
pub(crate) const NESTED: u32 = 3;
pub(crate) const NOBODY: u32 = 4;
/// The nested stream's substream, whose CD is behind a level 1 descriptor.
pub(crate) const SUBSTREAM: u32 = 5;

/// A virtual address whose four indices all differ; its page and the next are mapped, the second read-only.
pub(crate) const VA: u64 = 0x1234_5678_9000;
/// A virtual address that stage 1 sends where stage 2 has nothing.
pub(crate) const VA_OUTSIDE: u64 = VA + 0x2000;
/// A virtual address that stage 1 does not map.
pub(crate) const VA_NOWHERE: u64 = VA + 0x3000;

pub(crate) const ASID: u16 = 0x21;
pub(crate) const VMID: u16 = 0x42;

/// Guest memory.
pub(crate) struct Ram(&'static mut [u64; WORDS]);

impl Ram {
    fn words(&self, address: Pa, bytes: usize) -> Result<core::ops::Range<usize>, Abort> {
        let first = usize::try_from(address.0 / 8).map_err(|_| Abort)?;
        Ok(first..first.checked_add(bytes.div_ceil(8)).filter(|end| *end <= WORDS).ok_or(Abort)?)
    }

    pub(crate) fn set(&mut self, address: u64, words: &[u64]) {
        let first = address as usize / 8;
        self.0[first..first + words.len()].copy_from_slice(words);
    }
}

impl Memory for Ram {
    fn read(&self, address: Pa, data: &mut [u8]) -> Result<(), Abort> {
        let words = &self.0[self.words(address, data.len())?];
        for (bytes, word) in data.chunks_mut(8).zip(words) {
            bytes.copy_from_slice(&word.to_le_bytes()[..bytes.len()]);
        }
        Ok(())
    }

    fn write(&mut self, address: Pa, data: &[u8]) -> Result<(), Abort> {
        let shift = address.0 as usize % 8;
        let range = self.words(address, data.len())?;
        for (bytes, word) in data.chunks(8).zip(&mut self.0[range]) {
            let mut whole = word.to_le_bytes();
            whole[shift..shift + bytes.len()].copy_from_slice(bytes);
            *word = u64::from_le_bytes(whole);
        }
        Ok(())
    }
}

/// A device and the memory that its guest has.
pub(crate) struct World {
    pub(crate) smmu: &'static mut Smmu<ENTRIES>,
    pub(crate) ram: Ram,
    prod: u32,
}

impl World {
    /// The one world; called once.
    pub(crate) fn take() -> &'static mut Self {
        let words = singleton!(: [u64; WORDS] = [0; WORDS]).expect("taken once");
        let smmu = singleton!(: Smmu<ENTRIES> = Smmu::of(CONFIGURATION)).expect("taken once");
        let mut ram = Ram(words);
        tables(&mut ram);
        singleton!(: World = World { smmu, ram, prod: 0 }).expect("taken once")
    }

    /// Stores commands behind those that are there, and gives the value that CMDQ_PROD is to have.
    pub(crate) fn queue(&mut self, commands: &[Command]) -> u32 {
        for command in commands {
            self.ram.set(CMDQ + u64::from(self.prod % 256) * 16, command);
            self.prod = (self.prod + 1) % 512;
        }
        self.prod
    }

    /// The last event record.
    pub(crate) fn last_event(&self) -> [u64; 4] {
        let mut prod = [0; 4];
        self.smmu.read(register::EVENTQ_PROD, &mut prod).expect("a register");
        let last = u64::from(u32::from_le_bytes(prod).wrapping_sub(1) % 64);
        [0, 1, 2, 3].map(|word| self.ram.read_u64(Pa(EVENTQ + last * 32 + word * 8)).expect("memory"))
    }
}

/// The registers that a driver sets before it enables anything, and the values.
pub(crate) const BOOT: [(u32, u64, usize); 12] = [
    (register::STRTAB_BASE, STREAM_TABLE, 8),
    (register::STRTAB_BASE_CFG, 6, 4),
    (register::CMDQ_BASE, CMDQ | 8, 8),
    (register::EVENTQ_BASE, EVENTQ | 6, 8),
    (register::GERROR_IRQ_CFG0, MESSAGES, 8),
    (register::GERROR_IRQ_CFG1, 0x6e, 4),
    (register::EVENTQ_IRQ_CFG0, MESSAGES + 8, 8),
    (register::EVENTQ_IRQ_CFG1, 0xe4, 4),
    (register::EVENTQ_IRQ_CFG2, 0, 4),
    (register::IRQ_CTRL, (register::irq_ctrl::GERROR_IRQEN | register::irq_ctrl::EVENTQ_IRQEN) as u64, 4),
    (register::CR0, (register::cr0::CMDQEN | register::cr0::EVENTQEN) as u64, 4),
    (register::CR0, (register::cr0::CMDQEN | register::cr0::EVENTQEN | register::cr0::SMMUEN) as u64, 4),
];

fn tables(ram: &mut Ram) {
    let stream = |sid: u32| STREAM_TABLE + u64::from(sid) * 64;
    ram.set(stream(S1), &ste::stage1(CD));
    ram.set(stream(S2), &ste::stage2(VMID, STAGE2[0]));
    ram.set(stream(NESTED), &ste::nested_substreams(L1CD, 6, VMID, STAGE2[0]));
    ram.set(L1CD, &[l1cd(CDS)]);

    // 48 bits of input and of output.
    let context = cd(ASID, 16, 0b101, STAGE1[0]);
    ram.set(CD, &context);
    ram.set(CDS + u64::from(SUBSTREAM) * 64, &context);
    let slot = |tables: [u64; 4], level: usize, address: u64| {
        tables[level] + descriptor::index(address, level as u32) * 8
    };
    for level in 0..3 {
        ram.set(slot(STAGE1, level, VA), &[descriptor::table(STAGE1[level + 1])]);
        ram.set(slot(STAGE2, level, 0), &[descriptor::table(STAGE2[level + 1])]);
    }
    ram.set(slot(STAGE1, 3, VA), &[descriptor::page(DATA), descriptor::read_only_page(DATA + 0x1000)]);
    ram.set(slot(STAGE1, 3, VA_OUTSIDE), &[descriptor::page(0x80_0000)]);
    // Stage 2 is the identity, as far as memory goes.
    for page in (0..WORDS as u64 * 8).step_by(0x1000) {
        ram.set(slot(STAGE2, 3, page), &[descriptor::page2(page)]);
    }
}
