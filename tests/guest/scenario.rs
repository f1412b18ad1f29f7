//! A guest that does what it is told: maps, unmaps, invalidates and lets devices access, and holds every answer against
//! the oracles.
//!
//! A *polite* guest invalidates whatever it changed before anything is accessed again, so that a device may answer only what the
//! tables say. A *sloppy* one invalidates leaves when it pleases; the device may then answer from anything that no command
//! required to be gone. Both invalidate table descriptors as they must, since their memory is used again.

#![allow(
    clippy::panic,
    clippy::indexing_slicing,
    reason = "what these would report is a mistake of the guest, and must stop the test"
)]

use smmuv3::{Behaviour, Features, Settings};

use crate::bits::{Record, Words};
use crate::commands::{self, Command, Hint, Leaf, linux_range_invalidation};
use crate::driver::{Driver, value};
use crate::kept::{Illegal, Kept, Misaligned};
use crate::oracle::{self, Access, Answer};
use crate::tables::{Cd, Grain, PageTables, cd, descriptor, ste};

/// How a guest is set up: two VMIDs (one if there is no stage 2) with two ASIDs each.
#[derive(Clone, Debug)]
pub struct Plan {
    /// What the device implements.
    pub features: Features,
    /// Its caches.
    pub settings: Settings,
    /// Does the guest invalidate all that it changes?
    pub polite: bool,
    /// Must the device answer from what it kept as long as no command names it? For strict devices that never evict. The
    /// guest then uses no contiguous runs, and sends no command that leaves open what it names.
    pub exact: bool,
    /// Granule and TxSZ of the lower and the upper half.
    pub halves: [(Grain, u32); 2],
    /// CD.IPS
    pub ips: u64,
    /// Further bits of dword 0 of every CD: TBI, WXN, PAN, AFFD.
    pub cd_bits: u64,
    /// Attributes of table descriptors.
    pub table_attributes: u64,
}

/// Which half of the address space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Half {
    /// TTB0, an own one for each ASID.
    Lower,
    /// TTB1, shared by the ASIDs of a VMID.
    Upper,
}

/// A place in some table: which one of the spaces, an offset into one of its halves, and a level.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// The space, modulo their number.
    pub space: usize,
    /// The half.
    pub half: Half,
    /// Any address; only its low bits are used.
    pub offset: u64,
    /// The level, moved to the next that can hold a leaf.
    pub level: u32,
}

/// How many neighbouring leaves an action is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// So many, as far as their half goes.
    Leaves(u8),
    /// All members of a contiguous run, with the hint.
    Run,
}

/// One thing that a guest does. Every action means something in every state, so that any list of them can be cut anywhere.
#[derive(Clone, Copy, Debug)]
pub enum Action {
    /// Makes a place, and those after it, leaves, whatever was there.
    Map {
        /// Where.
        place: Place,
        /// The output address, cut to alignment.
        pa: u64,
        /// Attribute bits of the descriptors.
        attributes: u64,
        /// How many.
        extent: Extent,
        /// Which of the right invalidations to use.
        how: u8,
    },
    /// Makes a place, and those after it, invalid.
    Unmap {
        /// Where.
        place: Place,
        /// How many.
        extent: Extent,
        /// Which of the right invalidations to use.
        how: u8,
    },
    /// Replaces the block on the way of a place by a table that says the same.
    Split {
        /// Where.
        place: Place,
        /// Which of the right invalidations to use.
        how: u8,
    },
    /// Issues a command and a CMD_SYNC.
    Issue(Command),
    /// Sends CMD_PREFETCH_ADDR for a stream.
    Prefetch {
        /// The stream, modulo their number.
        stream: usize,
        /// The address.
        address: u64,
    },
    /// Clears and sets SMMUEN again; caches may survive that.
    Restart,
    /// Accesses memory.
    Dma {
        /// The stream, modulo their number.
        stream: usize,
        /// The input address.
        address: u64,
        /// Read or write, and who.
        access: Access,
    },
}

/// An address space: a VMID and an ASID.
#[derive(Clone, Copy, Debug)]
struct Space {
    vmid: u16,
    asid: u16,
    lower: usize,
    upper: usize,
}

/// A leaf that is no longer what it was.
#[derive(Clone, Copy, Debug)]
struct Retired {
    base: u64,
    level: u32,
    global: bool,
}

/// The guest, its device and the oracles.
pub struct World<const N: usize> {
    /// The device and its driver.
    pub driver: Driver<N>,
    /// What may be cached.
    pub kept: Kept,
    /// What an exact device has to hold.
    held: Option<Kept>,
    polite: bool,
    spaces: Vec<Space>,
    tables: Vec<PageTables>,
    cds: Vec<Cd>,
}

/// From this many leaves on, one command for each would only take time.
const MANY: usize = 256;

/// Two streams for each space: number `STREAMS_PER_SPACE` × space, and the next.
pub const STREAMS_PER_SPACE: usize = 2;

impl<const N: usize> World<N> {
    /// Boots a device, and gives each space its streams and empty tables.
    pub fn new(plan: &Plan) -> World<N> {
        let mut driver = Driver::<N>::booted(plan.features, plan.settings, 48);
        // To the letter, a misaligned hint requires nothing at all.
        let misaligned = match plan.settings.behaviour {
            Behaviour::Strict => Misaligned::Nothing,
            Behaviour::Natural => Misaligned::WholeRange,
        };
        let kept = Kept::new(driver.has, misaligned);
        let vmids: &[u16] = if driver.has.s2p { &[1, 2] } else { &[0] };
        let mut tables = Vec::new();
        let mut spaces = Vec::new();
        let mut cds = Vec::new();
        let mut empty = |driver: &mut Driver<N>, (grain, txsz): (Grain, u32)| {
            let mut made = PageTables::stage1(grain, txsz, &mut driver.heap, &mut driver.ram);
            made.table_attributes = Record([plan.table_attributes]);
            tables.push(made);
            tables.len() - 1
        };
        for &vmid in vmids {
            let upper = empty(&mut driver, plan.halves[1]);
            for asid in [5, 6] {
                let lower = empty(&mut driver, plan.halves[0]);
                spaces.push(Space { vmid, asid, lower, upper });
            }
        }
        for (index, space) in spaces.iter().enumerate() {
            let mut cd = cd::of(space.asid, plan.ips);
            cd = cd::lower(cd, plan.halves[0].0, u64::from(plan.halves[0].1), tables[space.lower].root);
            cd = cd::upper(cd, plan.halves[1].0, u64::from(plan.halves[1].1), tables[space.upper].root);
            cd.0[0] |= plan.cd_bits;
            let context = driver.heap.allocate(64);
            driver.write_record(context, &cd.0);
            for stream in 0..STREAMS_PER_SPACE {
                let sid = (index * STREAMS_PER_SPACE + stream) as u32;
                driver.install_ste(sid, &ste::stage1(context, space.vmid));
            }
            cds.push(cd);
        }
        let held = plan.exact.then(|| kept.clone());
        World { driver, kept, held, polite: plan.polite, spaces, tables, cds }
    }

    /// Does one thing; an answer that is not legal is an error that says why.
    pub fn step(&mut self, action: &Action) -> Result<(), String> {
        match *action {
            Action::Map { place, pa, attributes, extent, how } => {
                self.replace(place, Some((pa, attributes)), extent, how)
            }
            Action::Unmap { place, extent, how } => self.replace(place, None, extent, how),
            Action::Split { place, how } => self.split(place, how),
            Action::Issue(command) if self.held.as_ref().is_some_and(|held| !held.is_certain(command)) => {
                Ok(())
            }
            Action::Issue(command) => self.issue(command),
            Action::Prefetch { stream, address } => self.prefetch(stream, address),
            Action::Restart => {
                let enabled = value::CMDQEN | value::EVENTQEN;
                self.driver.write_cr0(enabled);
                self.driver.write_cr0(enabled | value::SMMUEN);
                Ok(())
            }
            Action::Dma { stream, address, access } => self.dma(stream, address, access),
        }
    }

    fn table_of(&self, place: Place) -> (Space, usize) {
        let space = self.spaces[place.space % self.spaces.len()];
        (space, if place.half == Half::Lower { space.lower } else { space.upper })
    }

    /// The address and level that a place means in its tables.
    fn resolve(&self, place: Place) -> (usize, u64, u32) {
        let (_, table) = self.table_of(place);
        let tables = &self.tables[table];
        let mut level = place.level.clamp(tables.start, 3);
        while !tables.grain.leaf_allowed(level) {
            level += 1;
        }
        let shift = tables.grain.level_shift(level);
        let offset = place.offset & (u64::MAX >> (64 - tables.bits)) >> shift << shift;
        let bottom = if place.half == Half::Lower { 0 } else { u64::MAX << tables.bits };
        (table, bottom | offset, level)
    }

    /// Makes leaves of a place and its neighbours, or makes them invalid.
    fn replace(
        &mut self,
        place: Place,
        new: Option<(u64, u64)>,
        extent: Extent,
        how: u8,
    ) -> Result<(), String> {
        let (table, va, level) = self.resolve(place);
        let tables = self.tables[table].clone();
        let shift = tables.grain.level_shift(level);
        let left = (u64::MAX >> (64 - tables.bits) & !va) >> shift;
        let run = tables.grain.contiguous(level);
        let run_fits = run > 1 && tables.bits - shift >= run.trailing_zeros();
        let (first, count, hint) = match extent {
            Extent::Run if run_fits && self.held.is_none() => (va & !((run << shift) - 1), run, 1),
            Extent::Run => (va, 1, 0),
            Extent::Leaves(count) => (va, u64::from(count).min(left + 1), 0),
        };
        let mut retired = Vec::new();
        for member in 0..count {
            self.make_way(place, table, first + (member << shift), level, &mut retired, how)?;
        }
        if let Some((pa, attributes)) = new {
            let unit = if hint == 1 { run } else { 1 };
            let pa = pa & !((unit << shift) - 1) & (u64::MAX >> 16);
            let attributes = Record([attributes]).with(descriptor::CONTIGUOUS, hint);
            for offset in (0..count).map(|member| member << shift) {
                let slot = tables.slot(&mut self.driver.heap, &mut self.driver.ram, first + offset, level);
                let leaf = descriptor::leaf(tables.grain, level, pa + offset, attributes);
                self.driver.ram.set_word(slot.pa, leaf);
            }
        }
        if self.polite { self.invalidate_leaves(place, &retired, how) } else { Ok(()) }
    }

    /// Makes the slot of `va` at `level` invalid, and nothing above it a block.
    fn make_way(
        &mut self,
        place: Place,
        table: usize,
        va: u64,
        level: u32,
        retired: &mut Vec<Retired>,
        how: u8,
    ) -> Result<(), String> {
        let tables = self.tables[table].clone();
        loop {
            let slot = tables.find(&self.driver.ram, va, level);
            if slot.descriptor & 1 == 0 {
                return Ok(());
            }
            if tables.next_table(slot.level, slot.descriptor).is_some() {
                self.remove_table(place, table, va, slot.level, retired, how)?;
            } else if self.is_run(&tables, slot.level, slot.descriptor) {
                self.clear_run(&tables, va, slot.level, retired);
            } else {
                retired.push(retire(&tables, va, slot.level, slot.descriptor));
                if slot.level < level {
                    tables.split(&mut self.driver.heap, &mut self.driver.ram, va);
                } else {
                    self.driver.ram.set_word(slot.pa, 0);
                }
            }
        }
    }

    fn is_run(&self, tables: &PageTables, level: u32, descriptor: u64) -> bool {
        Record([descriptor]).get(descriptor::CONTIGUOUS) == 1 && tables.grain.contiguous(level) > 1
    }

    /// Makes every member of a contiguous run invalid.
    fn clear_run(&mut self, tables: &PageTables, va: u64, level: u32, retired: &mut Vec<Retired>) {
        let shift = tables.grain.level_shift(level);
        let count = tables.grain.contiguous(level);
        let first = va & !((count << shift) - 1);
        for member in 0..count {
            let slot = tables.find(&self.driver.ram, first + (member << shift), level);
            retired.push(retire(tables, first + (member << shift), level, slot.descriptor));
            self.driver.ram.set_word(slot.pa, 0);
        }
    }

    /// Removes a table and those below it, invalidates their descriptors, and gives their memory back.
    fn remove_table(
        &mut self,
        place: Place,
        table: usize,
        va: u64,
        level: u32,
        retired: &mut Vec<Retired>,
        how: u8,
    ) -> Result<(), String> {
        let tables = self.tables[table].clone();
        let base = va >> tables.grain.level_shift(level) << tables.grain.level_shift(level);
        let mut removed = Vec::new();
        let mut freed = Vec::new();
        let mut pending = vec![(base, level)];
        while let Some((base, level)) = pending.pop() {
            let slot = tables.find(&self.driver.ram, base, level);
            let Some(next) = tables.next_table(level, slot.descriptor) else {
                if slot.descriptor & 1 == 1 {
                    retired.push(retire(&tables, base, level, slot.descriptor));
                }
                continue;
            };
            removed.push((base, level));
            freed.push(next);
            for entry in 0..tables.grain.bytes() / 8 {
                if self.driver.ram.word(next + 8 * entry) != Some(0) {
                    pending.push((base + (entry << tables.grain.level_shift(level + 1)), level + 1));
                }
            }
        }
        let slot = tables.find(&self.driver.ram, base, level);
        self.driver.ram.set_word(slot.pa, 0);
        for (base, level) in removed {
            self.invalidate_table(place, &tables, base, level, how)?;
        }
        for table in freed {
            self.driver.heap.release(table, tables.grain.bytes());
        }
        Ok(())
    }

    /// One of the right ways to make caches forget a table descriptor.
    fn invalidate_table(
        &mut self,
        place: Place,
        tables: &PageTables,
        base: u64,
        level: u32,
        how: u8,
    ) -> Result<(), String> {
        let (space, _) = self.table_of(place);
        let tg = tables.grain.tlbi_tg();
        let below = Hint { num: 0, scale: 0, ttl: u64::from(level + 1), tg };
        let any = Hint { num: 1, scale: 0, ttl: 0, tg };
        let hint = match how % 4 {
            _ if !self.driver.has.ril => Hint::NONE,
            0 => Hint::NONE,
            1 if !(tables.grain == Grain::K16 && level == 0) => below,
            _ => any,
        };
        match how >> 2 & 3 {
            0 => self.issue(commands::tlbi_nsnh_all()),
            1 => self.issue(commands::tlbi_nh_all(space.vmid)),
            2 => self.issue(commands::tlbi_nh_vaa(space.vmid, base, Leaf::AndTables, hint)),
            _ => self.for_each_asid(place, |vmid, asid| {
                vec![commands::tlbi_nh_va(vmid, asid, base, Leaf::AndTables, hint)]
            }),
        }
    }

    /// One of the right ways to make caches forget leaves.
    fn invalidate_leaves(&mut self, place: Place, retired: &[Retired], how: u8) -> Result<(), String> {
        let (Some(first), Some(last)) =
            (retired.iter().min_by_key(|leaf| leaf.base), retired.iter().max_by_key(|leaf| leaf.base))
        else {
            return Ok(());
        };
        let (space, table) = self.table_of(place);
        let grain = self.tables[table].grain;
        let global = retired.iter().any(|leaf| leaf.global);
        let end = u128::from(last.base) + (1u128 << grain.level_shift(last.level));
        let pages = ((end - u128::from(first.base)) >> grain.shift()) as u64;
        let vaa = commands::tlbi_nh_vaa(space.vmid, 0, Leaf::Only, Hint::NONE);
        let how = if retired.len() > MANY { how & 0x1f } else { how };
        match how >> 4 {
            0 => self.issue(commands::tlbi_nsnh_all()),
            1 => self.issue(commands::tlbi_nh_all(space.vmid)),
            2 if self.driver.has.s2p => self.issue(commands::tlbi_s12_vmall(space.vmid)),
            3 if !global => self.for_each_asid(place, |vmid, asid| vec![commands::tlbi_nh_asid(vmid, asid)]),
            4 | 5 => self.for_each_asid(place, |vmid, asid| {
                let one =
                    |leaf: &Retired| commands::tlbi_nh_va(vmid, asid, leaf.base, Leaf::Only, Hint::NONE);
                retired.iter().map(one).collect()
            }),
            6 | 7 if self.driver.has.ril => self.for_each_asid(place, |vmid, asid| {
                let template = commands::tlbi_nh_va(vmid, asid, 0, Leaf::Only, Hint::NONE);
                linux_range_invalidation(template, first.base, pages, grain, 0, Leaf::Only)
            }),
            8 | 9 if self.driver.has.ril => self.for_each_asid(place, |vmid, asid| {
                let template = commands::tlbi_nh_va(vmid, asid, 0, Leaf::Only, Hint::NONE);
                retired.iter().flat_map(|leaf| one_leaf(template, grain, leaf)).collect()
            }),
            10 | 11 if self.driver.has.ril => {
                self.issue_all(&linux_range_invalidation(vaa, first.base, pages, grain, 0, Leaf::Only))
            }
            12 if self.driver.has.ril => {
                let all: Vec<_> = retired.iter().flat_map(|leaf| one_leaf(vaa, grain, leaf)).collect();
                self.issue_all(&all)
            }
            13 if self.driver.has.ril => {
                let scale = u64::from(u64::BITS - pages.leading_zeros());
                let wide = Hint { num: u64::from(how & 15), scale, ttl: 0, tg: grain.tlbi_tg() };
                self.issue(commands::tlbi_nh_vaa(space.vmid, first.base, Leaf::Only, wide))
            }
            _ => {
                let one =
                    |leaf: &Retired| commands::tlbi_nh_vaa(space.vmid, leaf.base, Leaf::Only, Hint::NONE);
                let all: Vec<_> = retired.iter().map(one).collect();
                self.issue_all(&all)
            }
        }
    }

    /// Issues commands for each ASID that uses the tables of a place.
    fn for_each_asid(
        &mut self,
        place: Place,
        commands: impl Fn(u16, u16) -> Vec<Command>,
    ) -> Result<(), String> {
        let (_, table) = self.table_of(place);
        let users: Vec<_> =
            self.spaces.iter().filter(|user| user.lower == table || user.upper == table).copied().collect();
        users.iter().try_for_each(|user| self.issue_all(&commands(user.vmid, user.asid)))
    }

    fn split(&mut self, place: Place, how: u8) -> Result<(), String> {
        let (table, va, _) = self.resolve(place);
        let tables = self.tables[table].clone();
        let slot = tables.find(&self.driver.ram, va, 3);
        let mut retired = Vec::new();
        if slot.descriptor & 1 == 0 || slot.level == 3 {
            return Ok(());
        }
        if self.is_run(&tables, slot.level, slot.descriptor) {
            self.clear_run(&tables, va, slot.level, &mut retired);
        } else if tables.grain.leaf_allowed(slot.level + 1) {
            retired.push(retire(&tables, va, slot.level, slot.descriptor));
            tables.split(&mut self.driver.heap, &mut self.driver.ram, va);
        }
        if self.polite { self.invalidate_leaves(place, &retired, how) } else { Ok(()) }
    }

    /// Issues legal commands, and one CMD_SYNC after them.
    fn issue_all(&mut self, commands: &[Command]) -> Result<(), String> {
        for &command in commands {
            self.forget(command).map_err(|_| format!("the guest sent the illegal {command:x?}"))?;
        }
        self.driver.submit(commands).map_err(|stopped| format!("{commands:x?}: {stopped:?}"))
    }

    /// Tells the oracles of a command.
    fn forget(&mut self, command: Command) -> Result<(), Illegal> {
        self.held.as_mut().map_or(Ok(()), |held| held.execute(command))?;
        self.kept.execute(command)
    }

    /// Issues a command, which the device must judge as the oracle does.
    fn issue(&mut self, command: Command) -> Result<(), String> {
        let expected = self.forget(command);
        let before = self.driver.prod();
        match (self.driver.submit(&[command]), expected) {
            (Ok(()), Ok(())) => Ok(()),
            (Err(stopped), Err(_)) if stopped.code == value::CERROR_ILL && stopped.index == before => {
                self.driver.recover().map_err(|stopped| format!("{command:x?}: not recovered: {stopped:?}"))
            }
            (found, expected) => Err(format!("{command:x?}: device {found:?}, oracle {expected:?}")),
        }
    }

    fn prefetch(&mut self, stream: usize, address: u64) -> Result<(), String> {
        let (sid, space) = self.stream(stream);
        for privileged in [false, true] {
            let access = Access { privileged, ..Access::READ };
            let walk = oracle::walk(
                &self.cds[space],
                self.driver.has.oas,
                &self.driver.ram,
                address & !0xfff,
                access,
            );
            self.kept.remember(self.spaces[space].vmid, self.spaces[space].asid, &walk);
        }
        self.issue(commands::prefetch_addr(sid, address))?;
        self.no_events("a prefetch")
    }

    fn stream(&self, stream: usize) -> (u32, usize) {
        let sid = stream % (self.spaces.len() * STREAMS_PER_SPACE);
        (sid as u32, sid / STREAMS_PER_SPACE)
    }

    fn no_events(&mut self, after: &str) -> Result<(), String> {
        let events = self.driver.events();
        if events.is_empty() { Ok(()) } else { Err(format!("{after} recorded {events:x?}")) }
    }

    /// An access, its answer and its event, held against what is legal.
    fn dma(&mut self, stream: usize, address: u64, access: Access) -> Result<(), String> {
        let (sid, index) = self.stream(stream);
        let Space { vmid, asid, .. } = self.spaces[index];
        let walk = oracle::walk(&self.cds[index], self.driver.has.oas, &self.driver.ram, address, access);
        let truth = self.driver.walk(&crate::driver::transaction(sid, None, address, access));
        if truth != crate::driver::outcome(walk.answer) {
            return Err(format!("{address:#x}: walk says {truth:x?}, the tables {:x?}", walk.answer));
        }
        let stale = self.kept.stale_tables(&self.driver.ram);
        assert!(stale.is_empty(), "the guest forgot to invalidate {stale:x?}");
        let mut legal = self.kept.answers(vmid, asid, walk.va, access);
        legal.push(walk.answer);
        if self.polite {
            assert!(
                legal.iter().all(|answer| *answer == walk.answer),
                "the guest was not polite: {legal:x?}"
            );
        }
        self.kept.remember(vmid, asid, &walk);

        let found = self.driver.access(sid, address, access);
        let Some(answer) = legal.iter().find(|&&answer| crate::driver::outcome(answer) == found) else {
            return Err(format!("{address:#x}: device says {found:x?}, legal are {legal:x?}"));
        };
        if let Some(held) = &mut self.held {
            let hits = held.answers(vmid, asid, walk.va, access);
            if hits.is_empty() && found.is_ok() {
                held.remember(vmid, asid, &walk);
            } else if !hits.is_empty() && !hits.contains(answer) {
                return Err(format!("{address:#x}: device says {found:x?}, but no command named {hits:x?}"));
            }
        }
        self.expect_event(sid, address, access, *answer)
    }

    fn expect_event(&mut self, sid: u32, address: u64, access: Access, answer: Answer) -> Result<(), String> {
        let expected: Vec<_> =
            answer.err().map(|fault| oracle::record(fault, sid, None, address, access)).into_iter().collect();
        let events = self.driver.events();
        if events == expected {
            return Ok(());
        }
        Err(format!("{address:#x}: recorded {events:x?}, expected {expected:x?}"))
    }
}

fn retire(tables: &PageTables, va: u64, level: u32, descriptor: u64) -> Retired {
    let shift = tables.grain.level_shift(level);
    Retired { base: va >> shift << shift, level, global: Record([descriptor]).get(descriptor::NG) == 0 }
}

/// The invalidation of one leaf with the right TTL, as Linux sends it.
fn one_leaf(template: Command, grain: Grain, leaf: &Retired) -> Vec<Command> {
    let pages = 1 << (grain.level_shift(leaf.level) - grain.shift());
    linux_range_invalidation(template, leaf.base, pages, grain, u64::from(leaf.level), Leaf::Only)
}
