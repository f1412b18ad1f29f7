//! Virtual machines that do what they are told: hypervisors edit stage 2, guests edit stage 1 behind it, devices access, and
//! every answer, record and updated descriptor is held against [`crate::oracle_nested`].
//!
//! A *polite* world invalidates all that it changed before anything is accessed again; a *sloppy* one invalidates what it likes,
//! tables too, and its devices may then answer whatever no command required to be gone.

#![allow(
    clippy::panic,
    clippy::indexing_slicing,
    clippy::expect_used,
    reason = "what these would report is a mistake of the guest, and must stop the test"
)]

use smmuv3::{Behaviour, Env, Features, Response as Seen, Settings, Terminated, Translation};

use crate::bits::{Record, Words};
use crate::commands::{self, Command, Hint, Leaf, linux_range_invalidation};
use crate::driver::{Boot, Driver, transaction, value};
use crate::edits::{AnyWords, Retired, clear_run, is_run, leaf_of, make_way};
use crate::kept::{Illegal, Misaligned};
use crate::kept_nested::Facts;
use crate::machine_nested::{GUEST_RAM, GUEST_RAM_BYTES, Recorder, View};
use crate::oracle::Access;
use crate::oracle_nested::{Ask, Device, Outcome, Response, World as Regime};
use crate::tables::{Cd, Grain, Heap, PageTables, Ste, cd, descriptor, l1cd, ste};

/// CR2.E2H
const E2H: u32 = 1 << 0;

/// The SubstreamIDs that the streams with substreams know.
pub const SUBSTREAMS: [u32; 2] = [0, 65];

/// How the machine is set up.
#[derive(Clone, Debug)]
pub struct Plan {
    /// What the device implements; both stages.
    pub features: Features,
    /// Its caches.
    pub settings: Settings,
    /// Is everything invalidated that was changed?
    pub polite: bool,
    /// Virtual machines that translate by stage 2 alone.
    pub only_stage2: bool,
    /// CR2.E2H
    pub e2h: bool,
    /// CR0.VMW
    pub vmw: u32,
    /// Granule and TxSZ of the halves of stage 1.
    pub halves: [(Grain, u32); 2],
    /// CD.IPS
    pub ips: u64,
    /// Further bits of dword 0 of every CD: TBI, WXN, PAN, AFFD, HA, HD, S, and what is not set there of A and R.
    pub cd_bits: u64,
    /// Attributes of stage 1 table descriptors.
    pub table_attributes: u64,
    /// Granule, start level and input bits of stage 2.
    pub stage2: (Grain, u32, u32),
    /// STE.S2PS
    pub ps: u64,
    /// Further bits of dwords 1 and 2 of every STE with stage 2: S2FWB; S2AFFD, S2PTW, S2HA, S2HD, S2S.
    pub ste_bits: [u64; 2],
    /// STE.S1Fmt and STE.S1DSS of the streams with substreams.
    pub substreams: (u64, u64),
}

/// Whose tables: the half of a space, or the stage 2 of a virtual machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    /// TTB0 of a space.
    Lower(usize),
    /// TTB1 of a space; the lower one where there is one range.
    Upper(usize),
    /// Stage 2 of a virtual machine.
    Stage2(usize),
}

/// A place in tables.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// Whose; numbers count modulo what there is.
    pub whose: Whose,
    /// Any address; only its low bits are used.
    pub offset: u64,
    /// The level, moved to the next that can hold a leaf.
    pub level: u32,
}

/// What a hypervisor does to a page of a machine's memory, where its tables lie.
#[derive(Clone, Copy, Debug)]
pub enum Paging {
    /// Moves it to another frame.
    Migrate,
    /// Maps it with these attributes; 0 makes it invalid.
    Change(u64),
}

/// One thing that happens. Each means something in every state, so that any list of them can be cut anywhere.
#[derive(Clone, Copy, Debug)]
pub enum Action {
    /// Makes a place, and those after it, leaves or invalid.
    Replace {
        /// Where.
        place: Place,
        /// How many; 0 for a contiguous run.
        count: u8,
        /// The output and the attributes, or invalid.
        new: Option<(u64, u64)>,
        /// Which of the right invalidations to use.
        how: u16,
    },
    /// Replaces a block by a table that says the same.
    Split {
        /// Where.
        place: Place,
        /// Which of the right invalidations to use.
        how: u16,
    },
    /// Replaces a table by one block that says what its first leaf says.
    Merge {
        /// Where.
        place: Place,
        /// Which of the right invalidations to use.
        how: u16,
    },
    /// Does something to a page of a machine's memory.
    Page {
        /// Which machine.
        vm: usize,
        /// Which page, counted among those in use.
        page: u64,
        /// What.
        paging: Paging,
        /// Which of the right invalidations to use.
        how: u16,
    },
    /// Writes a CD again, with other bits A, R and S, and tells so.
    Context {
        /// Which space.
        space: usize,
        /// A, R and S.
        ars: u64,
    },
    /// Issues a command and a CMD_SYNC.
    Issue(Command),
    /// Clears and sets SMMUEN again; caches may survive that.
    Restart,
    /// Forgets all that may be forgotten.
    Evict,
    /// Accesses memory.
    Dma {
        /// The stream, modulo their number.
        stream: usize,
        /// The input address.
        address: u64,
        /// Read or write, and who.
        access: Access,
    },
    /// Releases a stalled transaction.
    Resume {
        /// Which of them.
        which: usize,
        /// CMD_RESUME.Ac
        retry: bool,
        /// CMD_RESUME.Ab
        abort: bool,
        /// Names another StreamID or STAG: nothing happens.
        wrong: Option<bool>,
    },
    /// Terminates the stalled transactions of a stream.
    StallTerm(usize),
}

/// An address space of stage 1.
#[derive(Clone, Debug)]
struct Space {
    regime: Regime,
    vmid: u16,
    asid: u16,
    vm: Option<usize>,
    /// Whose tables: indices into `World::tables`, shared by spaces of one machine for the upper half.
    lower: usize,
    upper: Option<usize>,
    /// Where its CDs lie, and which (StreamID, SubstreamID) use them.
    contexts: Vec<(u64, u32, u32)>,
    cd: Cd,
}

/// A virtual machine.
#[derive(Clone, Debug)]
struct Machine {
    vmid: u16,
    tables: PageTables,
    heap: Heap,
    /// The frame of every page of its memory.
    frames: Vec<u64>,
    streams: Vec<u32>,
}

/// Something that accesses memory.
#[derive(Clone, Copy, Debug)]
struct Master {
    sid: u32,
    ssid: Option<u32>,
    ste: Ste,
}

/// How much of what a world is for has happened in it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    /// Accesses.
    pub accesses: u64,
    /// Those that went through.
    pub through: u64,
    /// Those that more than one answer was legal for.
    pub open: u64,
    /// Those that stalled.
    pub stalled: u64,
    /// Descriptors that were updated.
    pub updates: u64,
}

impl core::ops::AddAssign for Tally {
    fn add_assign(&mut self, more: Tally) {
        self.accesses += more.accesses;
        self.through += more.through;
        self.open += more.open;
        self.stalled += more.stalled;
        self.updates += more.updates;
    }
}

/// The machine, its devices and the oracle.
pub struct World<const N: usize> {
    /// The device and its driver.
    pub driver: Driver<N>,
    /// What may be cached.
    pub facts: Facts,
    /// What has happened so far.
    pub tally: Tally,
    plan: Plan,
    spaces: Vec<Space>,
    /// Tables, and the machine in whose memory they lie.
    tables: Vec<(PageTables, Option<usize>)>,
    machines: Vec<Machine>,
    masters: Vec<Master>,
    stalled: Vec<(u16, Ask, Ste)>,
}

impl<const N: usize> World<N> {
    /// Boots a device, and sets up two machines, a stage 1 stream beside each, and two streams of the hypervisor.
    pub fn new(plan: &Plan) -> World<N> {
        let mut driver = Driver::<N>::new(plan.features, plan.settings, 64);
        driver.boot(Boot { cr2: Boot::USUAL.cr2 | if plan.e2h { E2H } else { 0 }, ..Boot::USUAL });
        let on = value::CMDQEN | value::EVENTQEN | value::SMMUEN;
        driver.write_cr0(on | plan.vmw << 6);
        let misaligned = match plan.settings.behaviour {
            Behaviour::Strict => Misaligned::Nothing,
            Behaviour::Natural => Misaligned::WholeRange,
        };
        let mut facts = Facts::new(driver.has, misaligned);
        // CR0.VMW = 5 to 7 behave as 0.
        (facts.e2h, facts.vmw) = (plan.e2h, if plan.vmw > 4 { 0 } else { plan.vmw });
        let mut world = World {
            driver,
            facts,
            tally: Tally::default(),
            plan: plan.clone(),
            spaces: Vec::new(),
            tables: Vec::new(),
            machines: Vec::new(),
            masters: Vec::new(),
            stalled: Vec::new(),
        };
        for vm in 0..2 {
            world.add_machine(vm);
        }
        if world.driver.has.hyp {
            // Without ASIDs there is one space, for both streams.
            let regime = if plan.e2h { Regime::El2E2h } else { Regime::El2 };
            let shared = world.add_stage1(32, regime, 0, 5);
            if plan.e2h {
                world.add_stage1(33, regime, 0, 6);
            } else {
                world.add_master(33, None, shared);
            }
        }
        world
    }

    /// A virtual machine with its streams: two nested ones, one of stage 2 alone, one with substreams.
    fn add_machine(&mut self, vm: usize) {
        let plan = self.plan.clone();
        let (grain, start, bits) = plan.stage2;
        let (vmid, first) = (vm as u16 + 1, 8 * vm as u32);
        let Driver { heap, ram, .. } = &mut self.driver;
        let tables = PageTables::from_level(grain, bits, start, heap, ram);
        let region = heap.allocate(GUEST_RAM_BYTES);
        let pages = GUEST_RAM_BYTES >> grain.shift();
        // An odd factor scatters the frames over their power of two.
        let frame = |page: u64| region + ((page * 0x2b + 7 * vm as u64) & (pages - 1)) * grain.bytes();
        let frames: Vec<u64> = (0..pages).map(frame).collect();
        for (ipa, &frame) in (GUEST_RAM..).step_by(grain.bytes() as usize).zip(&frames) {
            tables.map(heap, ram, ipa, frame, grain.shift(), descriptor::S2_RW);
        }
        let heap = Heap::new(GUEST_RAM, GUEST_RAM_BYTES);
        let with_stage2 = |config: u64| {
            let mut ste = ste::with_stage2(ste::of(config), vmid, &tables, plan.ps);
            ste.0[1] |= plan.ste_bits[0];
            ste.0[2] |= plan.ste_bits[1];
            ste
        };
        let (only_stage2, nested) = (with_stage2(ste::STAGE_2), with_stage2(ste::NESTED));
        self.machines.push(Machine { vmid, tables, heap, frames, streams: Vec::new() });
        self.add_master(first + 2, None, only_stage2);
        // Another VMID: what is global would be found by all of them.
        self.add_stage1(first + 4, Regime::El1, vmid | 0x10, 7);
        if plan.only_stage2 {
            return;
        }

        let upper = self.add_tables(plan.halves[1], Some(vm));
        let mut in_table = Vec::new();
        for n in 0..2 {
            let lower = self.add_tables(plan.halves[0], Some(vm));
            let context = self.machines[vm].heap.allocate(64);
            let cd = self.context(5 + n as u16, lower, Some(upper));
            let sid = first + n;
            self.add_master(sid, None, nested.with(ste::S1CONTEXTPTR, context >> 6));
            self.machines[vm].streams.push(sid);
            let contexts = vec![(context, sid, 0)];
            let (asid, upper) = (5 + n as u16, Some(upper));
            in_table.push(self.spaces.len());
            self.spaces.push(Space {
                regime: Regime::El1,
                vmid,
                asid,
                vm: Some(vm),
                lower,
                upper,
                contexts,
                cd,
            });
        }
        // A table of 128 CDs, of which 0 and 65 exist.
        let (format, s1dss) = plan.substreams;
        let heap = &mut self.machines[vm].heap;
        let (pointer, locations) = match format {
            0b01 => {
                let (l1, leaves) = (heap.allocate(64), [heap.allocate(0x1000), heap.allocate(0x1000)]);
                (l1, [leaves[0], leaves[1] + 64])
            }
            0b10 => {
                let (l1, leaf) = (heap.allocate(64), heap.allocate(0x1_0000));
                (l1, [leaf, leaf + 65 * 64])
            }
            _ => {
                let table = heap.allocate(128 * 64);
                (table, [table, table + 65 * 64])
            }
        };
        let sid = first + 3;
        let ste = nested.with(ste::S1CONTEXTPTR, pointer >> 6).with(ste::S1CDMAX, 7);
        let ste = ste.with(ste::S1FMT, format).with(ste::S1DSS, s1dss);
        for (ssid, (space, location)) in SUBSTREAMS.into_iter().zip(in_table.into_iter().zip(locations)) {
            self.spaces[space].contexts.push((location, sid, ssid));
            self.add_master(sid, Some(ssid), ste);
        }
        self.add_master(sid, None, ste);
        self.machines[vm].streams.push(sid);
        let mut view = self.view(vm);
        for (n, leaf) in (0..).zip(locations) {
            match format {
                0b01 => view.set_word(pointer + 8 * n, l1cd(leaf & !0xfff)),
                0b10 => view.set_word(pointer, l1cd(leaf & !0xffff)),
                _ => {}
            }
        }
        for space in 0..self.spaces.len() {
            self.write_contexts(space);
        }
    }

    /// A stream of stage 1 alone, with tables and CD in physical memory.
    fn add_stage1(&mut self, sid: u32, regime: Regime, vmid: u16, asid: u16) -> Ste {
        let lower = self.add_tables(self.plan.halves[0], None);
        let upper = (regime != Regime::El2).then(|| self.add_tables(self.plan.halves[1], None));
        let context = self.driver.heap.allocate(64);
        let strw = if regime == Regime::El1 { 0b00 } else { 0b10 };
        let ste = ste::stage1(context, vmid).with(ste::STRW, strw);
        self.add_master(sid, None, ste);
        let cd = self.context(asid, lower, upper);
        let contexts = vec![(context, sid, 0)];
        self.spaces.push(Space { regime, vmid, asid, vm: None, lower, upper, contexts, cd });
        self.write_contexts(self.spaces.len() - 1);
        ste
    }

    fn add_master(&mut self, sid: u32, ssid: Option<u32>, ste: Ste) {
        self.driver.install_ste(sid, &ste);
        self.masters.push(Master { sid, ssid, ste });
    }

    fn add_tables(&mut self, (grain, txsz): (Grain, u32), vm: Option<usize>) -> usize {
        let attributes = Record([self.plan.table_attributes]);
        let mut tables = match vm {
            Some(vm) => {
                let mut heap = self.machines[vm].heap.clone();
                let made = PageTables::stage1(grain, txsz, &mut heap, &mut self.view(vm));
                self.machines[vm].heap = heap;
                made
            }
            None => PageTables::stage1(grain, txsz, &mut self.driver.heap, &mut self.driver.ram),
        };
        tables.table_attributes = attributes;
        self.tables.push((tables, vm));
        self.tables.len() - 1
    }

    fn context(&self, asid: u16, lower: usize, upper: Option<usize>) -> Cd {
        let halves = self.plan.halves;
        let mut cd = cd::of(asid, self.plan.ips).with(cd::A, 0).with(cd::R, 0);
        cd = cd::lower(cd, halves[0].0, u64::from(halves[0].1), self.tables[lower].0.root);
        if let Some(upper) = upper {
            cd = cd::upper(cd, halves[1].0, u64::from(halves[1].1), self.tables[upper].0.root);
        }
        cd.0[0] |= self.plan.cd_bits;
        cd
    }

    /// Writes the CD of a space wherever it lies.
    fn write_contexts(&mut self, space: usize) {
        let Space { contexts, cd, vm, .. } = self.spaces[space].clone();
        for (location, _, _) in contexts {
            for (address, &dword) in (location..).step_by(8).zip(&cd.0) {
                match vm {
                    Some(vm) => self.view(vm).set_word(address, dword),
                    None => self.driver.ram.set_word(address, dword),
                }
            }
        }
    }

    fn view(&mut self, vm: usize) -> View<'_> {
        let shift = self.plan.stage2.0.shift();
        View { ram: &mut self.driver.ram, frames: &self.machines[vm].frames, shift }
    }

    /// Does one thing; an answer that is not legal is an error that says why.
    pub fn step(&mut self, action: &Action) -> Result<(), String> {
        match *action {
            Action::Replace { place, count, new, how } => self.replace(place, count, new, how),
            Action::Split { place, how } => self.split(place, how),
            Action::Merge { place, how } => self.merge(place, how),
            Action::Page { vm, page, paging, how } => self.page(vm % self.machines.len(), page, paging, how),
            Action::Context { space, ars } => self.change_context(space % self.spaces.len(), ars),
            Action::Issue(command) => self.issue(command),
            Action::Restart => {
                let enabled = value::CMDQEN | value::EVENTQEN | self.plan.vmw << 6;
                self.driver.write_cr0(enabled);
                let ended = self.ended()?;
                if ended != self.stalled.len() {
                    return Err(format!("SMMUEN = 0 ended {ended} of {:x?}", self.stalled));
                }
                self.stalled.clear();
                self.driver.write_cr0(enabled | value::SMMUEN);
                Ok(())
            }
            Action::Evict => {
                self.driver.smmu.drop_caches();
                Ok(())
            }
            Action::Dma { stream, address, access } => {
                let Master { sid, ssid, ste } = self.masters[stream % self.masters.len()];
                self.dma(Ask { sid, ssid, input: address, access }, ste)
            }
            Action::Resume { which, retry, abort, wrong } => self.resume(which, retry, abort, wrong),
            Action::StallTerm(stream) => self.stall_term(stream),
        }
    }

    /// The tables of a place, whose they are, and the address and level that are meant.
    fn resolve(&self, place: Place) -> (Whose, PageTables, u64, u32) {
        let spaces = self.spaces.len();
        let (whose, tables, is_upper) = match place.whose {
            Whose::Stage2(vm) => {
                let vm = vm % self.machines.len();
                (Whose::Stage2(vm), &self.machines[vm].tables, false)
            }
            Whose::Upper(space) if self.spaces[space % spaces].upper.is_some() => {
                let upper = self.spaces[space % spaces].upper.expect("it has one");
                (Whose::Upper(space % spaces), &self.tables[upper].0, true)
            }
            Whose::Lower(space) | Whose::Upper(space) => {
                (Whose::Lower(space % spaces), &self.tables[self.spaces[space % spaces].lower].0, false)
            }
        };
        let mut level = place.level.clamp(tables.start, 3);
        while !tables.grain.leaf_allowed(level) {
            level += 1;
        }
        let shift = tables.grain.level_shift(level);
        let offset = place.offset & (u64::MAX >> (64 - tables.bits)) >> shift << shift;
        let bottom = if is_upper { u64::MAX << tables.bits } else { 0 };
        (whose, tables.clone(), bottom | offset, level)
    }

    /// Is any of these addresses memory of the machine whose stage 2 this is?
    fn is_guest_ram(whose: Whose, base: u64, bytes: u64) -> bool {
        let ram = GUEST_RAM..GUEST_RAM + GUEST_RAM_BYTES;
        matches!(whose, Whose::Stage2(_)) && base < ram.end && base + bytes > ram.start
    }

    /// Edits tables with their own memory and heap.
    fn edit<T>(&mut self, whose: Whose, work: impl Fn(&mut Heap, &mut dyn AnyWords) -> T) -> T {
        let vm = match whose {
            Whose::Stage2(_) => None,
            Whose::Lower(space) | Whose::Upper(space) => self.spaces[space].vm,
        };
        match vm {
            Some(vm) => {
                let mut heap = self.machines[vm].heap.clone();
                let done = work(&mut heap, &mut self.view(vm));
                self.machines[vm].heap = heap;
                done
            }
            None => work(&mut self.driver.heap, &mut self.driver.ram),
        }
    }

    fn replace(&mut self, place: Place, count: u8, new: Option<(u64, u64)>, how: u16) -> Result<(), String> {
        let (whose, tables, va, level) = self.resolve(place);
        let shift = tables.grain.level_shift(level);
        let left = (u64::MAX >> (64 - tables.bits) & !va) >> shift;
        let run = tables.grain.contiguous(level);
        let run_fits = run > 1 && tables.bits - shift >= run.trailing_zeros();
        let (first, count, hint) = match count {
            0 if run_fits => (va & !((run << shift) - 1), run, 1),
            0 => (va, 1, 0),
            count => (va, u64::from(count).min(left + 1), 0),
        };
        if Self::is_guest_ram(whose, first, count << shift) {
            return Ok(());
        }
        let retired = self.edit(whose, |heap, mut memory| {
            let mut retired = Retired::default();
            for member in 0..count {
                make_way(&tables, heap, &mut memory, first + (member << shift), level, &mut retired);
            }
            if let Some((pa, attributes)) = new {
                let unit = if hint == 1 { run } else { 1 };
                let pa = pa & !((unit << shift) - 1) & (u64::MAX >> 16);
                let attributes = Record([attributes]).with(descriptor::CONTIGUOUS, hint);
                for offset in (0..count).map(|member| member << shift) {
                    let slot = tables.slot(heap, &mut memory, first + offset, level);
                    memory.set_word(slot.pa, descriptor::leaf(tables.grain, level, pa + offset, attributes));
                }
            }
            retired
        });
        self.tell(whose, &tables, &retired, how)
    }

    fn split(&mut self, place: Place, how: u16) -> Result<(), String> {
        let (whose, tables, va, _) = self.resolve(place);
        let retired = self.edit(whose, |heap, mut memory| {
            let slot = tables.find(&memory, va, 3);
            let mut retired = Retired::default();
            if slot.level < 3 && slot.descriptor & 1 == 1 && tables.grain.leaf_allowed(slot.level + 1) {
                if is_run(&tables, slot.level, slot.descriptor) {
                    clear_run(&tables, &mut memory, va, slot.level, &mut retired);
                } else {
                    retired.leaves.push(leaf_of(&tables, va, slot.level, slot.descriptor));
                    tables.split(heap, &mut memory, va);
                }
            }
            retired
        });
        self.tell(whose, &tables, &retired, how)
    }

    fn merge(&mut self, place: Place, how: u16) -> Result<(), String> {
        let (whose, tables, va, level) = self.resolve(place);
        let shift = tables.grain.level_shift(level);
        let base = va >> shift << shift;
        if level == 3 || Self::is_guest_ram(whose, base, 1 << shift) {
            return Ok(());
        }
        let retired = self.edit(whose, |heap, mut memory| {
            let mut retired = Retired::default();
            let slot = tables.find(&memory, base, level);
            let first = tables.find(&memory, base, 3);
            if slot.level == level
                && tables.next_table(level, slot.descriptor).is_some()
                && first.descriptor & 1 == 1
            {
                make_way(&tables, heap, &mut memory, base, level, &mut retired);
                let address = first.descriptor & 0xffff_ffff_ffff & !((1 << shift) - 1);
                let attributes = first.descriptor & 0x0060_0000_0000_0ffc;
                memory.set_word(slot.pa, address | attributes | 0b01);
            }
            retired
        });
        self.tell(whose, &tables, &retired, how)
    }

    /// Pages a machine's memory out, in, or to another place.
    fn page(&mut self, vm: usize, page: u64, paging: Paging, how: u16) -> Result<(), String> {
        let grain = self.plan.stage2.0;
        let tables = self.machines[vm].tables.clone();
        // Mostly those in use: the heap grows from the bottom.
        let used = (16 << 20 >> 4 >> grain.shift()).max(1);
        let page = page % used;
        let ipa = GUEST_RAM + (page << grain.shift());
        let slot = tables.find(&self.driver.ram, ipa, 3);
        let old = self.machines[vm].frames[page as usize];
        let attributes = match paging {
            Paging::Migrate => {
                let new = self.driver.heap.allocate(grain.bytes());
                for offset in (0..grain.bytes()).step_by(8) {
                    let word = self.driver.ram.word(old + offset).expect("a frame");
                    self.driver.ram.set_word(new + offset, word);
                }
                // The old frame stays as it is: a stale translation must find a CD there, if an old one.
                self.machines[vm].frames[page as usize] = new;
                descriptor::S2_RW.0[0]
            }
            Paging::Change(attributes) => attributes,
        };
        let frame = self.machines[vm].frames[page as usize];
        let leaf = match attributes {
            0 => 0,
            attributes => {
                descriptor::leaf(grain, 3, frame, Record([attributes]).with(descriptor::CONTIGUOUS, 0))
            }
        };
        self.driver.ram.set_word(slot.pa, leaf);
        let retired = Retired { leaves: vec![(ipa, 3, false)], tables: Vec::new() };
        self.tell(Whose::Stage2(vm), &tables, &retired, how)?;
        // What was read through the page and is remembered elsewhere.
        let streams = self.machines[vm].streams.clone();
        streams.iter().try_for_each(|&sid| self.issue(commands::cfgi_cd_all(sid)))
    }

    fn change_context(&mut self, space: usize, ars: u64) -> Result<(), String> {
        let cd = self.spaces[space].cd;
        self.spaces[space].cd = cd.with(cd::A, ars & 1).with(cd::R, ars >> 1 & 1);
        self.write_contexts(space);
        let contexts = self.spaces[space].contexts.clone();
        contexts.iter().try_for_each(|&(_, sid, ssid)| self.issue(commands::cfgi_cd(sid, ssid, Leaf::Only)))
    }

    /// Invalidates what was changed, in one of the right ways; a sloppy world does so now and then.
    fn tell(&mut self, whose: Whose, tables: &PageTables, retired: &Retired, how: u16) -> Result<(), String> {
        let is_silent = !self.plan.polite && how >> 14 != 0;
        if is_silent || retired.leaves.is_empty() && retired.tables.is_empty() {
            return Ok(());
        }
        match whose {
            Whose::Stage2(vm) => self.tell_stage2(vm, tables, retired, how),
            Whose::Lower(space) => {
                let lower = self.spaces[space].lower;
                self.tell_stage1(space, lower, tables, retired, how)
            }
            Whose::Upper(space) => {
                let upper = self.spaces[space].upper.expect("it has one");
                self.tell_stage1(space, upper, tables, retired, how)
            }
        }
    }

    fn tell_stage1(
        &mut self,
        space: usize,
        table: usize,
        tables: &PageTables,
        retired: &Retired,
        how: u16,
    ) -> Result<(), String> {
        let Space { regime, vmid, .. } = self.spaces[space].clone();
        let users: Vec<u16> = self
            .spaces
            .iter()
            .filter(|user| user.lower == table || user.upper == Some(table))
            .map(|user| user.asid)
            .collect();
        let is_global = retired.leaves.iter().any(|leaf| leaf.2);
        let many = retired.leaves.len() + retired.tables.len() > 64;
        let way = if many { how % 3 } else { how % 8 };
        let all: Vec<Command> = match (way, regime) {
            (0, Regime::El1) => vec![commands::tlbi_nsnh_all()],
            (1, Regime::El1) => vec![commands::tlbi_nh_all(vmid)],
            (2, Regime::El1) => vec![commands::tlbi_s12_vmall(vmid)],
            (3, Regime::El1) if !is_global => {
                users.iter().map(|&asid| commands::tlbi_nh_asid(vmid, asid)).collect()
            }
            (3, Regime::El2E2h) if !is_global => {
                users.iter().map(|&asid| commands::tlbi_el2_asid(asid)).collect()
            }
            (0..=2, _) => vec![commands::tlbi_el2_all()],
            _ => {
                let by_asid = how >> 3 & 1 == 1;
                let templates: Vec<Command> = match (regime, by_asid) {
                    (Regime::El1, false) => vec![commands::tlbi_nh_vaa(vmid, 0, Leaf::Only, Hint::NONE)],
                    (Regime::El1, true) => users
                        .iter()
                        .map(|&asid| commands::tlbi_nh_va(vmid, asid, 0, Leaf::Only, Hint::NONE))
                        .collect(),
                    (_, false) => vec![commands::tlbi_el2_vaa(0, Leaf::Only, Hint::NONE)],
                    (_, true) => users
                        .iter()
                        .map(|&asid| commands::tlbi_el2_va(asid, 0, Leaf::Only, Hint::NONE))
                        .collect(),
                };
                templates
                    .iter()
                    .flat_map(|&template| self.by_address(template, tables, retired, how))
                    .collect()
            }
        };
        self.issue_all(&all)
    }

    fn tell_stage2(
        &mut self,
        vm: usize,
        tables: &PageTables,
        retired: &Retired,
        how: u16,
    ) -> Result<(), String> {
        let vmid = self.machines[vm].vmid;
        let many = retired.leaves.len() + retired.tables.len() > 64;
        match if many { how % 2 } else { how % 6 } {
            0 => return self.issue(commands::tlbi_nsnh_all()),
            1 => return self.issue(commands::tlbi_s12_vmall(vmid)),
            _ => {}
        }
        let template = commands::tlbi_s2_ipa(vmid, 0, Leaf::Only, Hint::NONE);
        let mut all = self.by_address(template, tables, retired, how);
        // Entries that combine both stages know nothing of the IPA; nor do stage 1 walk caches.
        if !self.plan.only_stage2 {
            if self.driver.has.ril && how >> 3 & 1 == 1 {
                for (grain, _) in self.plan.halves {
                    let everything = Hint { num: 31, scale: 40, ttl: 0, tg: grain.tlbi_tg() };
                    all.push(commands::tlbi_nh_vaa(vmid, 0, Leaf::AndTables, everything));
                    let bottom = u64::MAX << (self.driver.has.vas - 1);
                    all.push(commands::tlbi_nh_vaa(vmid, bottom, Leaf::AndTables, everything));
                }
            } else {
                all.push(commands::tlbi_nh_all(vmid));
            }
        }
        self.issue_all(&all)
    }

    /// A TLBI by address for each leaf and each table, or for all of them together.
    fn by_address(
        &self,
        template: Command,
        tables: &PageTables,
        retired: &Retired,
        how: u16,
    ) -> Vec<Command> {
        let grain = tables.grain;
        let at = |address: u64, leaf: Leaf, hint: Hint| at(template, address, leaf, hint);
        let has_ril = self.driver.has.ril;
        let mut all = Vec::new();
        if has_ril && how >> 4 & 3 == 3 {
            let ends = retired.leaves.iter().map(|leaf| (leaf.0, leaf.1));
            let ends = ends.chain(retired.tables.iter().copied());
            let first = ends.clone().map(|end| end.0).min().expect("something changed");
            let last = ends.map(|end| end.0 + ((1 << grain.level_shift(end.1)) - 1)).max().expect("likewise");
            let pages = ((last - first) >> grain.shift()) + 1;
            let leaf = if retired.tables.is_empty() { Leaf::Only } else { Leaf::AndTables };
            let template = at(0, leaf, Hint::NONE);
            return linux_range_invalidation(template, first, pages, grain, 0, leaf);
        }
        for &(base, level, _) in &retired.leaves {
            if has_ril && how >> 4 & 3 == 2 {
                let pages = 1 << (grain.level_shift(level) - grain.shift());
                all.extend(linux_range_invalidation(
                    template,
                    base,
                    pages,
                    grain,
                    u64::from(level),
                    Leaf::Only,
                ));
            } else {
                all.push(at(base, Leaf::Only, Hint::NONE));
            }
        }
        for &(base, level) in &retired.tables {
            let tg = grain.tlbi_tg();
            let hint = match how >> 6 & 3 {
                1 if has_ril && !(grain == Grain::K16 && level == 0) => {
                    Hint { num: 0, scale: 0, ttl: u64::from(level + 1), tg }
                }
                2 if has_ril => Hint { num: 1, scale: 0, ttl: 0, tg },
                _ => Hint::NONE,
            };
            all.push(at(base, Leaf::AndTables, hint));
        }
        all
    }

    /// Issues legal commands, and one CMD_SYNC after them.
    fn issue_all(&mut self, commands: &[Command]) -> Result<(), String> {
        for &command in commands {
            self.facts.execute(command).map_err(|_| format!("the guest sent the illegal {command:x?}"))?;
        }
        self.driver.submit(commands).map_err(|stopped| format!("{commands:x?}: {stopped:?}"))
    }

    /// Issues a command, which the device must judge as the oracle does.
    fn issue(&mut self, command: Command) -> Result<(), String> {
        let expected = self.facts.execute(command);
        let before = self.driver.prod();
        match (self.driver.submit(&[command]), expected) {
            (Ok(()), Ok(())) => Ok(()),
            (Err(stopped), Err(Illegal)) if stopped.code == value::CERROR_ILL && stopped.index == before => {
                self.driver.recover().map_err(|stopped| format!("{command:x?}: not recovered: {stopped:?}"))
            }
            (found, expected) => Err(format!("{command:x?}: device {found:?}, oracle {expected:?}")),
        }
    }

    /// An access, its answer, its event and its updates, held against what is legal.
    fn dma(&mut self, ask: Ask, ste: Ste) -> Result<(), String> {
        self.check_walk(&ask, ste)?;
        let outcomes = self.outcomes(&ask, ste)?;
        let transaction = transaction(ask.sid, ask.ssid, ask.input, ask.access);
        let Driver { smmu, ram, lines, counters, .. } = &mut self.driver;
        let mut memory = Recorder { ram, writes: Vec::new() };
        let mut env = Env { memory: &mut memory, interrupts: lines, trace: counters };
        let found = smmu.translate(&transaction, &mut env);
        let writes = memory.writes;
        self.judge(&ask, ste, &outcomes, &found, &writes)
    }

    /// The walk without caches says what the tables say.
    fn check_walk(&self, ask: &Ask, ste: Ste) -> Result<(), String> {
        let Driver { has, ram, smmu, .. } = &self.driver;
        let device = Device { has, e2h: self.plan.e2h, ste, memory: ram, updates: false };
        let truth = device.truth(ask);
        let transaction = transaction(ask.sid, ask.ssid, ask.input, ask.access);
        let found = smmu.walk(&transaction, ram);
        let same = match (&found, truth.result) {
            (Ok(found), Ok(pa)) => found.pa.0 == pa,
            (Err(Terminated { response, event }), Err(failure)) => {
                event.map(|event| event.name()) == truth.recorded.then(|| failure.kind.name())
                    && same_response(*response, truth.response)
            }
            _ => false,
        };
        if same { Ok(()) } else { Err(format!("{ask:x?}: walk says {found:x?}, the tables {truth:x?}")) }
    }

    /// What is legal now, and remembers what the access may leave in caches.
    fn outcomes(&mut self, ask: &Ask, ste: Ste) -> Result<Vec<Outcome>, String> {
        let device = Device {
            has: &self.driver.has,
            e2h: self.plan.e2h,
            ste,
            memory: &self.driver.ram,
            updates: true,
        };
        let Some(outcomes) = device.legal(ask, &self.facts) else {
            for command in [commands::tlbi_nsnh_all(), commands::cfgi_all()] {
                self.issue(command)?;
            }
            if self.driver.has.hyp {
                self.issue(commands::tlbi_el2_all())?;
            }
            return self.outcomes(ask, ste); // nothing is left to choose
        };
        let truth = &outcomes[0];
        // A contiguous run may be one entry once the flags of one member are set: those of the others may stay as they are.
        let open = outcomes.iter().any(|outcome| outcome.result != truth.result);
        if self.plan.polite && open {
            let results: Vec<_> = outcomes.iter().map(|outcome| outcome.result).collect();
            panic!("the guest was not polite: {ask:x?} {results:x?}");
        }
        self.tally.accesses += 1;
        self.tally.open += u64::from(open);
        for outcome in &outcomes {
            self.facts.remember(&outcome.learned);
        }
        Ok(outcomes)
    }

    /// Is this answer one of the legal ones? A transaction that stalls is held.
    fn judge(
        &mut self,
        ask: &Ask,
        ste: Ste,
        outcomes: &[Outcome],
        found: &Result<Translation, Terminated>,
        writes: &[(u64, u64, u64)],
    ) -> Result<(), String> {
        let events = self.driver.events();
        let has_room = self.stalled.len() < usize::from(self.plan.features.stall_max);
        let stag = match found {
            Err(Terminated { response: Seen::Stalled(stag), .. }) => Some(stag.0),
            _ => None,
        };
        let is_this = |outcome: &&Outcome| {
            let answers = match (found, outcome.result) {
                (Ok(found), Ok(pa)) => found.pa.0 == pa,
                (Err(Terminated { response, .. }), Err(_)) => {
                    let expected = match outcome.response {
                        Response::Stall if !has_room => Response::Abort,
                        response => response,
                    };
                    same_response(*response, expected)
                }
                _ => false,
            };
            let record: Vec<_> = outcome.record(ask, stag).into_iter().collect();
            answers && events == record && writes == outcome.updates
        };
        if !outcomes.iter().any(|outcome| is_this(&outcome)) {
            let legal: Vec<_> = outcomes
                .iter()
                .map(|outcome| {
                    (outcome.result, outcome.response, outcome.record(ask, stag), &outcome.updates)
                })
                .collect();
            return Err(format!(
                "{ask:x?}: device says {found:x?} {events:x?} {writes:x?}, legal are {legal:x?}"
            ));
        }
        self.tally.through += u64::from(found.is_ok());
        self.tally.stalled += u64::from(stag.is_some());
        self.tally.updates += writes.len() as u64;
        if let Some(stag) = stag {
            if self.stalled.iter().any(|held| held.0 == stag) {
                return Err(format!("STAG {stag:#x} is taken"));
            }
            self.stalled.push((stag, *ask, ste));
        }
        Ok(())
    }

    /// How many transactions have ended with an abort.
    fn ended(&mut self) -> Result<usize, String> {
        let Driver { smmu, ram, lines, counters, .. } = &mut self.driver;
        let mut env = Env { memory: ram, interrupts: lines, trace: counters };
        let mut ended = 0;
        while let Some(resumed) = smmu.next_resumed(&mut env) {
            let aborted = Err(Terminated { response: Seen::Abort, event: None });
            if resumed.result != aborted || !self.stalled.iter().any(|held| held.0 == resumed.stag.0) {
                return Err(format!("{resumed:x?} instead of an abort"));
            }
            ended += 1;
        }
        Ok(ended)
    }

    fn resume(&mut self, which: usize, retry: bool, abort: bool, wrong: Option<bool>) -> Result<(), String> {
        if self.stalled.is_empty() || self.driver.has.stall_model == 0b01 {
            return Ok(());
        }
        let (stag, ask, ste) = self.stalled[which % self.stalled.len()];
        let (ac, ab) = (u64::from(retry), u64::from(abort));
        let command = match wrong {
            None => commands::resume(ask.sid, stag, ac, ab),
            Some(true) => commands::resume(ask.sid ^ 1 << 9, stag, ac, ab),
            Some(false) => commands::resume(ask.sid, stag ^ 1 << 12, ac, ab),
        };
        self.driver.submit(&[command]).map_err(|stopped| format!("{command:x?}: {stopped:?}"))?;
        // Whatever it does, it is what the tables say, or what caches may, at this moment.
        let outcomes = if wrong.is_none() && retry {
            self.stalled.retain(|held| held.0 != stag);
            self.check_walk(&ask, ste)?;
            self.outcomes(&ask, ste)?
        } else {
            Vec::new()
        };
        let Driver { smmu, ram, lines, counters, .. } = &mut self.driver;
        let mut memory = Recorder { ram, writes: Vec::new() };
        let mut env = Env { memory: &mut memory, interrupts: lines, trace: counters };
        let resumed = smmu.next_resumed(&mut env);
        let writes = memory.writes;
        match (resumed, wrong) {
            (None, Some(_)) => Ok(()),
            (Some(resumed), None) if resumed.stag.0 == stag => {
                if retry {
                    return self.judge(&ask, ste, &outcomes, &resumed.result, &writes);
                }
                self.stalled.retain(|held| held.0 != stag);
                let response = if abort || self.plan.features.term_model { Seen::Abort } else { Seen::RazWi };
                let events = self.driver.events();
                if resumed.result == Err(Terminated { response, event: None }) && events.is_empty() {
                    return Ok(());
                }
                Err(format!("terminated {stag:#x}: {resumed:x?} {events:x?}"))
            }
            (resumed, _) => Err(format!("{command:x?} resumed {resumed:x?}")),
        }
    }

    fn stall_term(&mut self, stream: usize) -> Result<(), String> {
        if self.driver.has.stall_model == 0b01 {
            return Ok(());
        }
        let sid = self.masters[stream % self.masters.len()].sid;
        self.issue(commands::stall_term(sid))?;
        let expected = self.stalled.iter().filter(|held| held.1.sid == sid).count();
        let ended = self.ended()?;
        if ended != expected {
            return Err(format!("CMD_STALL_TERM of {sid} ended {ended}, not {expected}"));
        }
        self.stalled.retain(|held| held.1.sid != sid);
        Ok(())
    }
}

fn same_response(seen: Seen, expected: Response) -> bool {
    matches!(
        (seen, expected),
        (Seen::Abort, Response::Abort) | (Seen::RazWi, Response::RazWi) | (Seen::Stalled(_), Response::Stall)
    )
}

/// A command by address, somewhere else.
fn at(template: Command, address: u64, leaf: Leaf, hint: Hint) -> Command {
    use crate::commands::field;
    let raw = Record(template).with(field::ADDRESS, address >> 12).with(field::LEAF, leaf as u64);
    raw.with(field::NUM, hint.num)
        .with(field::SCALE, hint.scale)
        .with(field::TTL, hint.ttl)
        .with(field::TG, hint.tg)
        .0
}
