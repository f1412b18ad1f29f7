//! The smallest machine to show one rule of both stages with: a stream whose stage 1 tables and CD lie in the memory of a
//! virtual machine, which stage 2 scatters over frames.

#![allow(
    clippy::panic,
    clippy::indexing_slicing,
    clippy::expect_used,
    reason = "a machine that is misused must stop the test"
)]

use smmuv3::{Abort, Env, Features, Memory, Pa, Settings, Terminated, Translation};

use crate::bits::Words;
use crate::commands::{self, Command};
use crate::driver::{Driver, EVENT_QUEUE, Outcome, Ram, transaction};
use crate::machine::{ASID, SID, STRICT, VMID};
use crate::oracle::Access;
use crate::tables::{Cd, Grain, Heap, PageTables, Slot, Ste, cd, descriptor, ste};

/// Where the memory of every virtual machine begins, as it sees it.
pub const GUEST_RAM: u64 = 0x1000_0000;
/// How much it has.
pub const GUEST_RAM_BYTES: u64 = 8 << 20;

/// A virtual machine's memory as it sees it.
pub struct View<'a> {
    /// All memory.
    pub ram: &'a mut Ram,
    /// The frame of each of its pages.
    pub frames: &'a [u64],
    /// log2 of the size of a page.
    pub shift: u32,
}

impl View<'_> {
    /// Where an address really is.
    pub fn pa(&self, ipa: u64) -> Option<u64> {
        let offset = ipa.checked_sub(GUEST_RAM)?;
        let frame = self.frames.get(usize::try_from(offset >> self.shift).ok()?)?;
        Some(frame + (offset & ((1 << self.shift) - 1)))
    }
}

impl Words for View<'_> {
    fn word(&self, ipa: u64) -> Option<u64> {
        self.ram.word(self.pa(ipa)?)
    }

    fn set_word(&mut self, ipa: u64, value: u64) {
        let pa = self.pa(ipa).unwrap_or_else(|| panic!("{ipa:#x} is not the machine's memory"));
        self.ram.set_word(pa, value);
    }
}

/// Memory that remembers which descriptors were written.
pub struct Recorder<'a> {
    /// All memory.
    pub ram: &'a mut Ram,
    /// Where, from what, to what; event records are no descriptors.
    pub writes: Vec<(u64, u64, u64)>,
}

impl Memory for Recorder<'_> {
    fn read(&self, pa: Pa, data: &mut [u8]) -> Result<(), Abort> {
        self.ram.read(pa, data)
    }

    fn write(&mut self, pa: Pa, data: &[u8]) -> Result<(), Abort> {
        if !(EVENT_QUEUE..EVENT_QUEUE + 0x1_0000).contains(&pa.0) {
            let new = u64::from_le_bytes(data.try_into().expect("the device writes descriptors"));
            self.writes.push((pa.0, self.ram.word(pa.0).ok_or(Abort)?, new));
        }
        self.ram.write(pa, data)
    }
}

/// A booted device, a stream with both stages, and its tables.
#[derive(Clone)]
pub struct NestedMachine {
    /// The device.
    pub driver: Driver<256>,
    /// Stage 1, in the machine's memory.
    pub first: PageTables,
    /// Stage 2.
    pub second: PageTables,
    /// The machine's memory for further structures.
    pub heap: Heap,
    /// The frame of every page of its memory.
    pub frames: Vec<u64>,
    /// Where the CD lies: an IPA.
    pub context: u64,
    /// The CD.
    pub cd: Cd,
    /// The STE.
    pub ste: Ste,
}

impl NestedMachine {
    /// An SMMUv3.2; 4 KiB granules; 48 bits of input address at stage 1, and 40 at stage 2, which starts at level 1 with two
    /// concatenated tables.
    pub fn usual() -> NestedMachine {
        NestedMachine::new(Features::SMMUV3_2, STRICT, Grain::K4, (Grain::K4, 1, 40))
    }

    /// Any device, granule of stage 1, and granule, start level and input bits of stage 2.
    pub fn new(
        features: Features,
        settings: Settings,
        grain: Grain,
        (grain2, start2, bits2): (Grain, u32, u32),
    ) -> NestedMachine {
        let mut driver = Driver::booted(features, settings, 64);
        let Driver { heap, ram, .. } = &mut driver;
        let second = PageTables::from_level(grain2, bits2, start2, heap, ram);
        let region = heap.allocate(GUEST_RAM_BYTES);
        let pages = GUEST_RAM_BYTES >> grain2.shift();
        // An odd factor scatters the frames over their power of two.
        let frame = |page: u64| region + ((page * 0x2b) & (pages - 1)) * grain2.bytes();
        let frames: Vec<u64> = (0..pages).map(frame).collect();
        for (ipa, &frame) in (GUEST_RAM..).step_by(grain2.bytes() as usize).zip(&frames) {
            second.map(heap, ram, ipa, frame, grain2.shift(), descriptor::S2_RW);
        }
        let mut heap = Heap::new(GUEST_RAM, GUEST_RAM_BYTES);
        let mut view = View { ram, frames: &frames, shift: grain2.shift() };
        let first = PageTables::stage1(grain, 16, &mut heap, &mut view);
        let context = heap.allocate(64);
        let cd = cd::lower(cd::of(ASID, 5), grain, 16, first.root);
        let ste = ste::of(ste::NESTED).with(ste::S1CONTEXTPTR, context >> 6);
        let ste = ste::with_stage2(ste, VMID, &second, 5);
        let mut machine = NestedMachine { driver, first, second, heap, frames, context, cd, ste };
        machine.set_cd(cd);
        machine.set_ste(ste);
        machine
    }

    /// The same stream with stage 2 alone.
    pub fn stage2_alone(mut self) -> NestedMachine {
        self.set_ste(self.ste.with(ste::CONFIG, ste::STAGE_2));
        self
    }

    /// The machine's memory as it sees it.
    pub fn view(&mut self) -> View<'_> {
        View { ram: &mut self.driver.ram, frames: &self.frames, shift: self.second.grain.shift() }
    }

    /// Where an address of the machine's memory really is.
    pub fn frame(&mut self, ipa: u64) -> u64 {
        self.view().pa(ipa).expect("the machine's memory")
    }

    /// Replaces the CD, with CMD_CFGI_CD.
    pub fn set_cd(&mut self, cd: Cd) {
        self.cd = cd;
        let context = self.context;
        for (ipa, &dword) in (context..).step_by(8).zip(&cd.0) {
            self.view().set_word(ipa, dword);
        }
        self.run(commands::cfgi_cd(SID, 0, commands::Leaf::Only));
    }

    /// Replaces the STE, with CMD_CFGI_STE.
    pub fn set_ste(&mut self, ste: Ste) {
        self.ste = ste;
        self.driver.install_ste(SID, &ste);
    }

    /// Stage 1: readable and writable for everybody, not global.
    pub fn map1(&mut self, va: u64, ipa: u64, log2_bytes: u32) {
        self.map1_as(va, ipa, log2_bytes, descriptor::S1_RW);
    }

    /// Stage 1 with other attributes.
    pub fn map1_as(&mut self, va: u64, ipa: u64, log2_bytes: u32, attributes: descriptor::Attributes) {
        let (first, mut heap) = (self.first.clone(), self.heap.clone());
        first.map(&mut heap, &mut self.view(), va, ipa, log2_bytes, attributes);
        self.heap = heap;
    }

    /// Stage 2: readable, writable, executable.
    pub fn map2(&mut self, ipa: u64, pa: u64, log2_bytes: u32) {
        self.map2_as(ipa, pa, log2_bytes, descriptor::S2_RW);
    }

    /// Stage 2 with other attributes.
    pub fn map2_as(&mut self, ipa: u64, pa: u64, log2_bytes: u32, attributes: descriptor::Attributes) {
        let Driver { heap, ram, .. } = &mut self.driver;
        self.second.map(heap, ram, ipa, pa, log2_bytes, attributes);
    }

    /// Maps the page of the machine's memory that `ipa` is in with other attributes; its frame stays.
    pub fn remap2(&mut self, ipa: u64, attributes: descriptor::Attributes) {
        let grain = self.second.grain;
        let page = ipa & !(grain.bytes() - 1);
        let frame = self.frame(page);
        self.map2_as(page, frame, grain.shift(), attributes);
    }

    /// Makes the stage 1 descriptor that translates `va` invalid, and tells nobody.
    pub fn unmap1(&mut self, va: u64) {
        let first = self.first.clone();
        first.unmap(&mut self.view(), va);
    }

    /// Makes the stage 2 descriptor that translates `ipa` invalid, and tells nobody.
    pub fn unmap2(&mut self, ipa: u64) {
        self.second.unmap(&mut self.driver.ram, ipa);
    }

    /// The stage 1 descriptor of `va` at `level` or above; its address is an IPA.
    pub fn slot1(&mut self, va: u64, level: u32) -> Slot {
        let first = self.first.clone();
        first.find(&self.view(), va, level)
    }

    /// The stage 2 descriptor of `ipa` at `level` or above.
    pub fn slot2(&self, ipa: u64, level: u32) -> Slot {
        self.second.find(&self.driver.ram, ipa, level)
    }

    /// An unprivileged data read.
    pub fn read(&mut self, address: u64) -> Outcome {
        self.driver.access(SID, address, Access::READ)
    }

    /// An unprivileged data write.
    pub fn write(&mut self, address: u64) -> Outcome {
        self.driver.access(SID, address, Access::WRITE)
    }

    /// The one record that a failing access makes.
    pub fn record(&mut self, address: u64, access: Access) -> [u64; 4] {
        self.driver.events();
        let found = self.driver.access(SID, address, access);
        let events = self.driver.events();
        assert!(found.is_err() && events.len() == 1, "{address:#x}: {found:x?} {events:x?}");
        events[0]
    }

    /// An access with all that the device says of it.
    pub fn ask(&mut self, address: u64, access: Access) -> Result<Translation, Terminated> {
        let Driver { smmu, ram, lines, counters, .. } = &mut self.driver;
        let mut env = Env { memory: ram, interrupts: lines, trace: counters };
        smmu.translate(&transaction(SID, None, address, access), &mut env)
    }

    /// An access, and what the device writes for it besides records.
    pub fn watch(&mut self, address: u64, access: Access) -> (Outcome, Vec<(u64, u64, u64)>) {
        let Driver { smmu, ram, lines, counters, .. } = &mut self.driver;
        let mut memory = Recorder { ram, writes: Vec::new() };
        let mut env = Env { memory: &mut memory, interrupts: lines, trace: counters };
        let found = smmu.translate(&transaction(SID, None, address, access), &mut env);
        let found = found.map(|found| found.pa.0);
        (found.map_err(|ended| ended.event.map(|event| event.name())), memory.writes)
    }

    /// Issues a command that must be executed, and CMD_SYNC.
    pub fn run(&mut self, command: Command) {
        self.driver.run(&[command]);
    }
}
