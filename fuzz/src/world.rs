//! A small machine that has been set up as a driver and a hypervisor would: streams of every kind, their tables, a command
//! queue, an event queue and a PRI queue. All bytes come from the guest's side ([`smmuv3_tests::tables`]).
//!
//! | stream | what it is | VMID | ASID |
//! |---|---|---|---|
//! | 0 | bypass | | |
//! | 1 | stage 1, 4 KiB | 1 | 1 |
//! | 2 | aborts, silently | | |
//! | 3 | stage 1, 4 KiB, another lower half, the same upper half; ATS | 1 | 2 |
//! | 4 | nested: CD and stage 1 tables lie in a virtual machine | 2 | 1 |
//! | 5 | stage 2 of that machine alone | 2 | |
//! | 6 | nested with substreams: 0 (and none) is stream 4's context, 1 another one | 2 | 1, 2 |
//! | 7 | stage 1 of NS-EL2 | | |
//! | 8 | stage 1, 16 KiB | 3 | 1 |
//! | 9 | stage 1, 64 KiB | 3 | 2 |
//! | 10 | as stream 1, but faults stall | 1 | 1 |
//! | others | no STE | | |

use core::cell::OnceCell;

use smmuv3::{Features, Settings};
use smmuv3_tests::bits::{Record, Words};
use smmuv3_tests::driver::value;
use smmuv3_tests::tables::{Cd, Grain, Heap, PageTables, Ste, cd, descriptor, ste};

use crate::machine::{Device, Machine};
use crate::memory::Ram;

/// Where physical memory ends; what lies beyond answers with an abort.
pub const RAM_BYTES: u64 = 0x6_0000;
/// The linear stream table.
pub const STREAM_TABLE: u64 = 0x1000;
/// log2 of its STEs.
pub const LOG2_STREAMS: u32 = 4;
/// CDs of the streams without stage 2, 64 bytes each.
pub const CONTEXTS: u64 = 0x2000;
/// The command queue.
pub const COMMAND_QUEUE: u64 = 0x4000;
/// Its slots, as a power of two.
pub const LOG2_COMMANDS: u32 = 5;
/// The event queue.
pub const EVENT_QUEUE: u64 = 0x5000;
/// Its slots, as a power of two.
pub const LOG2_EVENTS: u32 = 4;
/// The PRI queue.
pub const PRI_QUEUE: u64 = 0x5800;
/// Where messages may be written.
pub const MESSAGES: u64 = 0x6000;
/// The end of what a device may write.
pub const LENT_END: u64 = 0x7000;
const HEAP: u64 = 0x8000;

/// Pages of the virtual machine's own memory, from IPA 0 on: one of CDs, nine of stage 1 tables.
pub const VM_PAGES: u64 = 10;
/// The CD of stream 4, and the table of stream 6's two: IPAs.
pub const VM_CONTEXTS: [u64; 3] = [0, 0x80, 0xc0];

/// Register offsets (§6.2).
#[allow(missing_docs, reason = "the names are the specification's own")]
pub mod reg {
    pub use smmuv3_tests::driver::register::*;
}

/// Whose addresses a tree translates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// Stage 1 of a VMID, for these ASIDs.
    El1 {
        /// VMID.
        vmid: u16,
        /// ASIDs.
        asids: &'static [u16],
    },
    /// Stage 1 of NS-EL2.
    El2,
    /// Stage 2 of a VMID.
    Stage2 {
        /// VMID.
        vmid: u16,
    },
}

/// One translation table, always at the same place in its tree.
#[derive(Clone, Copy, Debug)]
pub struct Node {
    /// Its level.
    pub level: u32,
    /// The first address that it translates, from the beginning of the tree.
    pub base: u64,
    /// Where it lies: a physical address, or that of a virtual machine.
    pub location: u64,
    /// Which table's which entry leads to it.
    pub parent: Option<(usize, u64)>,
    /// Its entries.
    pub entries: u64,
}

/// A tree of tables: a half of a stage 1 address space, or a stage 2.
#[derive(Clone, Debug)]
pub struct Tree {
    /// Whose.
    pub owner: Owner,
    /// Its granule.
    pub grain: Grain,
    /// Bits of its input addresses.
    pub bits: u32,
    /// It translates the addresses whose upper bits are ones.
    pub is_upper: bool,
    /// Its tables lie in the virtual machine.
    pub is_virtual: bool,
    /// The tables; the first is the root.
    pub nodes: Vec<Node>,
}

/// The trees, by number.
#[allow(missing_docs, reason = "see the table above")]
pub mod tree {
    pub const FIRST: usize = 0;
    pub const SECOND: usize = 1;
    pub const UPPER: usize = 2;
    pub const EL2: usize = 3;
    pub const STAGE_2: usize = 4;
    pub const VM_FIRST: usize = 5;
    pub const VM_SECOND: usize = 6;
    pub const K16: usize = 7;
    pub const K64: usize = 8;
}

/// A CD: where it lies, whether in the virtual machine, who finds it there, and what it says in the beginning.
#[derive(Clone, Copy, Debug)]
pub struct Context {
    /// Where.
    pub location: u64,
    /// In the virtual machine.
    pub is_virtual: bool,
    /// StreamID.
    pub sid: u32,
    /// SubstreamID.
    pub ssid: u32,
    /// Whose translations it leads to.
    pub owner: Owner,
    /// What it says.
    pub cd: Cd,
}

/// How everything begins.
pub struct World {
    /// Booted, enabled, queues empty.
    pub machine: Machine,
    /// The tables.
    pub trees: Vec<Tree>,
    /// The CDs.
    pub contexts: Vec<Context>,
    /// The STEs.
    pub streams: Vec<Ste>,
    /// The frame of each page of the virtual machine, and another one.
    pub frames: [[u64; 2]; VM_PAGES as usize],
    /// The booted device with other settings, made when it is asked for.
    pub devices: [OnceCell<Box<Device>>; SETTINGS],
}

/// What the device implements: range invalidation, and as much else as one device can have.
pub const FEATURES: Features = Features::SMMUV3_2;

impl World {
    /// The one world, built once a thread.
    pub fn get() -> &'static Self {
        thread_local!(static WORLD: &'static World = Box::leak(Box::new(World::build(FEATURES))));
        WORLD.with(|world| *world)
    }

    /// The same without range invalidation.
    pub fn without_ranges() -> &'static Self {
        thread_local!(static WORLD: &'static World = Box::leak(Box::new(World::build(Features::SMMUV3_1))));
        WORLD.with(|world| *world)
    }

    /// The booted device with the [`settings`] of this number.
    pub fn device(&self, choice: u8) -> &Device {
        self.devices[usize::from(choice) % SETTINGS].get_or_init(|| {
            let state = self.machine.smmu.state();
            Box::new(Device::from_state(&state, settings(choice)).expect("a state that was taken"))
        })
    }

    fn build(features: Features) -> Self {
        let smmu = Device::new(features, settings(0)).expect("a geometry that fits");
        let ram = Ram::new(RAM_BYTES as usize, EVENT_QUEUE..LENT_END);
        let mut builder = Builder { ram, heap: Heap::new(HEAP, RAM_BYTES - HEAP), trees: Vec::new() };
        let frames = core::array::from_fn(|_| [builder.heap.allocate(4096), builder.heap.allocate(4096)]);
        builder.trees(&frames);
        let Builder { ram, heap: _, trees } = builder;
        let mut machine = Machine::new(smmu, ram);
        machine.asks_what_is_kept = false;
        let contexts = contexts(&trees);
        for context in &contexts {
            let (page, offset) = (context.location >> 12, context.location & 0xfff);
            let pa = if context.is_virtual { frames[page as usize][0] + offset } else { context.location };
            for (n, word) in (0..).zip(context.cd.0) {
                machine.ram.set_word(pa + 8 * n, word);
            }
        }
        let streams = streams(&trees);
        for (sid, ste) in (0..).zip(&streams) {
            for (n, &word) in (0..).zip(&ste.0) {
                machine.ram.set_word(STREAM_TABLE + 64 * sid + 8 * n, word);
            }
        }
        boot(&mut machine);
        machine.ram.settle();
        Self { machine, trees, contexts, streams, frames, devices: Default::default() }
    }
}

/// How many [`settings`] differ.
const SETTINGS: usize = 32;

/// Settings by number: geometry, behaviour, walk cache, patience.
pub fn settings(choice: u8) -> Settings {
    let (sets, ways) = [(8, 4), (1, 1), (16, 4), (4, 1)][usize::from(choice & 3)];
    let mut settings = Settings::new(sets, ways);
    if choice & 4 != 0 {
        settings.behaviour = smmuv3::Behaviour::Strict;
    }
    settings.walk_cache = choice & 8 == 0;
    settings.commands_per_write = if choice & 16 == 0 { 64 } else { 3 };
    settings
}

/// Registers in the order in which Linux writes them, as far as it matters here.
pub fn boot(machine: &mut Machine) {
    machine.set(reg::CR0, 0);
    machine.set64(reg::STRTAB_BASE, STREAM_TABLE);
    machine.set(reg::STRTAB_BASE_CFG, LOG2_STREAMS);
    machine.set(reg::CR2, value::RECINVSID | value::PTM);
    machine.set64(reg::CMDQ_BASE, COMMAND_QUEUE | u64::from(LOG2_COMMANDS));
    machine.set64(reg::EVENTQ_BASE, EVENT_QUEUE | u64::from(LOG2_EVENTS));
    machine.set64(reg::PRIQ_BASE, PRI_QUEUE | 4);
    for offset in [reg::CMDQ_PROD, reg::CMDQ_CONS, reg::EVENTQ_PROD, reg::EVENTQ_CONS] {
        machine.set(offset, 0);
    }
    machine.set(reg::CR0, value::CMDQEN | value::EVENTQEN | value::PRIQEN | value::SMMUEN);
}

struct Builder {
    ram: Ram,
    heap: Heap,
    trees: Vec<Tree>,
}

impl Builder {
    fn trees(&mut self, frames: &[[u64; 2]; VM_PAGES as usize]) {
        const ROOT: (usize, u64) = (0, 0);
        let full = [ROOT, (0, 1), (1, 0), (1, 1), (2, 0)];
        let small = [ROOT, (1, 0)];
        let el1 = |vmid, asids| Owner::El1 { vmid, asids };
        self.tree(el1(1, &[1]), Grain::K4, 39, &full, None);
        self.tree(el1(1, &[2]), Grain::K4, 39, &small, None);
        self.tree(el1(1, &[1, 2]), Grain::K4, 39, &small, None);
        self.tree(Owner::El2, Grain::K4, 39, &small, None);
        self.tree(Owner::Stage2 { vmid: 2 }, Grain::K4, 39, &full, None);
        self.tree(el1(2, &[1]), Grain::K4, 39, &full, Some(1));
        self.tree(el1(2, &[2]), Grain::K4, 39, &small, Some(7));
        self.tree(el1(3, &[1]), Grain::K16, 30, &[ROOT], None);
        self.tree(el1(3, &[2]), Grain::K64, 30, &[ROOT], None);
        self.trees[tree::UPPER].is_upper = true;
        for number in 0..self.trees.len() {
            self.fill(number, frames);
        }
    }

    /// Tables, each at an entry of an earlier one; in the virtual machine from `page` on, or anywhere.
    fn tree(&mut self, owner: Owner, grain: Grain, bits: u32, shape: &[(usize, u64)], page: Option<u64>) {
        let start = 4 - (bits - grain.shift()).div_ceil(grain.stride());
        let entries = 1 << (bits - grain.level_shift(start));
        let mut nodes = Vec::new();
        let mut add = |level: u32, base: u64, parent: Option<(usize, u64)>, entries: u64| {
            let location = match page {
                Some(page) => (page + nodes.len() as u64) << 12,
                None => self.heap.allocate((8 * entries).max(64)),
            };
            nodes.push(Node { level, base, location, parent, entries });
        };
        add(start, 0, None, entries);
        let mut places = vec![(start, 0)];
        for &(parent, index) in shape {
            let (level, base) = places[parent];
            let base = base + (index << grain.level_shift(level));
            add(level + 1, base, Some((parent, index)), grain.bytes() / 8);
            places.push((level + 1, base));
        }
        let is_virtual = page.is_some();
        self.trees.push(Tree { owner, grain, bits, is_upper: false, is_virtual, nodes });
    }

    /// Links, and leaves of every size beside them.
    fn fill(&mut self, number: usize, frames: &[[u64; 2]; VM_PAGES as usize]) {
        let tree = self.trees[number].clone();
        let attributes = if number == tree::STAGE_2 { descriptor::S2_RW } else { descriptor::S1_RW };
        for (n, node) in tree.nodes.iter().enumerate() {
            let pa = |index: u64| {
                let location = node.location + 8 * index;
                let frame = || frames[(location >> 12) as usize][0] + (location & 0xfff);
                if tree.is_virtual { frame() } else { location }
            };
            for index in 0..node.entries.min(32) {
                let run = index >= 16 && node.level == 3 && tree.grain == Grain::K4;
                if !tree.grain.leaf_allowed(node.level) {
                    continue;
                }
                let first = if run { index & !15 } else { index };
                let output = match (number, node.level) {
                    (tree::STAGE_2, 3) if n == 3 && index < VM_PAGES => frames[index as usize][0],
                    _ => tree.output(number, first as u16 ^ (5 * n as u16) & 0xf, node.level, run.into()),
                };
                let attributes = attributes.with(descriptor::CONTIGUOUS, run.into());
                let output = output + ((index - first) << tree.grain.level_shift(node.level));
                self.ram.set_word(pa(index), descriptor::leaf(tree.grain, node.level, output, attributes));
            }
        }
        for node in &tree.nodes {
            let Some((parent, index)) = node.parent else { continue };
            let parent = &tree.nodes[parent];
            let location = parent.location + 8 * index;
            let pa = if tree.is_virtual {
                frames[(location >> 12) as usize][0] + (location & 0xfff)
            } else {
                location
            };
            self.ram.set_word(pa, descriptor::table(tree.grain, node.location, Record::ZERO));
        }
    }
}

impl Tree {
    /// Where a leaf of `level` goes if two bytes are to say so; `run` if it is the first of a contiguous one.
    pub fn output(&self, number: usize, choice: u16, level: u32, run: u64) -> u64 {
        let choice = u64::from(choice);
        let shift = self.grain.level_shift(level);
        let size = if run == 1 { self.grain.contiguous(level) << shift } else { 1 << shift };
        let output = if number == tree::VM_FIRST || number == tree::VM_SECOND {
            // What stage 2 maps: pages, a table's pages, blocks, large blocks.
            match choice >> 14 {
                0 => (VM_PAGES + choice % 32) << 12,
                1 => (choice % 32) << 12,
                2 => (choice % 8) << 21 | (choice >> 3 & 0x1f) << 12,
                _ => (choice % 4) << 30 | (choice >> 3 & 0x1f) << 12,
            }
        } else {
            0x80_0000_0000 | choice << 21 | (choice & 0x1ff) << 12
        };
        output & !(size - 1)
    }

    /// The input address of an entry of a table.
    pub fn address(&self, node: usize, index: u64) -> u64 {
        let node = &self.nodes[node];
        let offset = node.base + (index << self.grain.level_shift(node.level));
        if self.is_upper { offset | u64::MAX << self.bits } else { offset }
    }

    fn tables(&self) -> PageTables {
        PageTables {
            grain: self.grain,
            bits: self.bits,
            start: self.nodes[0].level,
            root: self.nodes[0].location,
            table_attributes: Record::ZERO,
        }
    }
}

fn contexts(trees: &[Tree]) -> Vec<Context> {
    let plain = |asid: u16, lower: usize| {
        let tree = &trees[lower];
        cd::lower(cd::of(asid, 5), tree.grain, u64::from(64 - tree.bits), tree.nodes[0].location)
    };
    let both = |asid: u16, lower: usize| {
        let upper = &trees[tree::UPPER];
        cd::upper(plain(asid, lower), upper.grain, u64::from(64 - upper.bits), upper.nodes[0].location)
    };
    let at = |n: u64, sid: u32, lower: usize, cd: Cd| Context {
        location: CONTEXTS + 64 * n,
        is_virtual: false,
        sid,
        ssid: 0,
        owner: trees[lower].owner,
        cd,
    };
    let inside = |location: u64, sid: u32, ssid: u32, lower: usize, asid: u16| Context {
        location,
        is_virtual: true,
        sid,
        ssid,
        owner: trees[lower].owner,
        cd: plain(asid, lower),
    };
    vec![
        at(0, 1, tree::FIRST, both(1, tree::FIRST)),
        at(1, 3, tree::SECOND, both(2, tree::SECOND)),
        at(2, 7, tree::EL2, plain(0, tree::EL2)),
        at(3, 8, tree::K16, plain(1, tree::K16)),
        at(4, 9, tree::K64, plain(2, tree::K64)),
        at(5, 10, tree::FIRST, both(1, tree::FIRST).with(cd::S, 1)),
        inside(VM_CONTEXTS[0], 4, 0, tree::VM_FIRST, 1),
        inside(VM_CONTEXTS[1], 6, 0, tree::VM_FIRST, 1),
        inside(VM_CONTEXTS[2], 6, 1, tree::VM_SECOND, 2),
    ]
}

fn streams(trees: &[Tree]) -> Vec<Ste> {
    let second = trees[tree::STAGE_2].tables();
    let stage1 = |n: u64, vmid: u16| ste::stage1(CONTEXTS + 64 * n, vmid);
    let stage2 = |config: u64| ste::with_stage2(ste::of(config), 2, &second, 5);
    let nested = |ipa: u64| stage2(ste::NESTED).with(ste::S1CONTEXTPTR, ipa >> 6);
    vec![
        ste::of(ste::BYPASS),
        stage1(0, 1),
        ste::of(0),
        stage1(1, 1).with(ste::EATS, 0b01),
        nested(VM_CONTEXTS[0]),
        stage2(ste::STAGE_2),
        nested(VM_CONTEXTS[1]).with(ste::S1CDMAX, 1).with(ste::S1DSS, 0b10),
        stage1(2, 0).with(ste::STRW, 0b10),
        stage1(3, 3),
        stage1(4, 3),
        stage1(5, 1),
    ]
}
