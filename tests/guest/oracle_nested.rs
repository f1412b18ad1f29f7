//! The truth about every walk: stage 1, stage 2 and both, CD and L1CD included, with hardware updates of flags; and what
//! caches may hold of it.
//!
//! A walk is plain code that goes the way of events.md §5 from top to bottom. Wherever a cache could step in, it asks its
//! [`Choices`]. With none to make it is the truth; with all of them made in turn it gives every answer that is legal.

#![allow(
    clippy::panic,
    clippy::indexing_slicing,
    clippy::expect_used,
    reason = "an oracle that is asked what it cannot know must stop the test"
)]

use crate::bits::{Record, Words};
use crate::commands::Implemented;
use crate::kept_nested::{Context, Entry, Fact, Facts, Limits, Shape, Table};
use crate::oracle::{Access, Rights, size_bits};
use crate::tables::{Cd, Grain, Ste, cd, descriptor, ste};

/// The effective StreamWorld of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum World {
    /// NS-EL1
    El1,
    /// NS-EL2: one privilege, one range of addresses, no ASIDs.
    El2,
    /// NS-EL2-E2H
    El2E2h,
}

/// CLASS of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// A CD or L1CD.
    Cd = 0,
    /// A stage 1 descriptor.
    Tt = 1,
    /// The input address.
    In = 2,
}

/// What went wrong, in the order of the events' numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// F_STREAM_DISABLED
    StreamDisabled,
    /// C_BAD_SUBSTREAMID
    BadSubstreamId,
    /// F_CD_FETCH, with the address of the CD or L1CD.
    CdFetch(u64),
    /// C_BAD_CD
    BadCd,
    /// F_WALK_EABT, with the address of the descriptor.
    WalkEabt(u64),
    /// F_TRANSLATION
    Translation,
    /// F_ADDR_SIZE
    AddrSize,
    /// F_ACCESS
    Access,
    /// F_PERMISSION
    Permission,
}

impl Kind {
    /// The specification's name of the event.
    pub const fn name(self) -> &'static str {
        match self {
            Kind::StreamDisabled => "F_STREAM_DISABLED",
            Kind::BadSubstreamId => "C_BAD_SUBSTREAMID",
            Kind::CdFetch(_) => "F_CD_FETCH",
            Kind::BadCd => "C_BAD_CD",
            Kind::WalkEabt(_) => "F_WALK_EABT",
            Kind::Translation => "F_TRANSLATION",
            Kind::AddrSize => "F_ADDR_SIZE",
            Kind::Access => "F_ACCESS",
            Kind::Permission => "F_PERMISSION",
        }
    }

    const fn number(self) -> u64 {
        match self {
            Kind::StreamDisabled => 0x06,
            Kind::BadSubstreamId => 0x08,
            Kind::CdFetch(_) => 0x09,
            Kind::BadCd => 0x0a,
            Kind::WalkEabt(_) => 0x0b,
            Kind::Translation => 0x10,
            Kind::AddrSize => 0x11,
            Kind::Access => 0x12,
            Kind::Permission => 0x13,
        }
    }

    /// Is it one of the four that A, R and S rule?
    const fn is_ruled(self) -> bool {
        matches!(self, Kind::Translation | Kind::AddrSize | Kind::Access | Kind::Permission)
    }
}

/// A fault and all that its record tells of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What.
    pub kind: Kind,
    /// Stage 2 failed.
    pub s2: bool,
    /// What was being accessed.
    pub class: Class,
    /// The input of stage 2, if that failed.
    pub ipa: u64,
    /// The access was the write of a stage 1 descriptor: TTRnW = 0.
    pub table_write: bool,
    /// Aborts and is recorded whatever A, R and S say.
    pub firm: bool,
}

impl Failure {
    const fn stage1(kind: Kind) -> Failure {
        let class = if matches!(kind, Kind::WalkEabt(_)) { Class::Tt } else { Class::In };
        Failure { kind, s2: false, class, ipa: 0, table_write: false, firm: !kind.is_ruled() }
    }

    const fn stage2(kind: Kind, class: Class, ipa: u64) -> Failure {
        Failure { kind, s2: true, class, ipa, table_write: false, firm: !kind.is_ruled() }
    }
}

/// What a device sees of a transaction that fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are the specification's own")]
pub enum Response {
    Abort,
    RazWi,
    Stall,
}

/// A transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ask {
    /// The StreamID.
    pub sid: u32,
    /// The SubstreamID.
    pub ssid: Option<u32>,
    /// The input address.
    pub input: u64,
    /// What it does.
    pub access: Access,
}

/// One way that a transaction may go.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The physical address, or the fault.
    pub result: Result<u64, Failure>,
    /// What the device sees of a fault.
    pub response: Response,
    /// Is the fault recorded?
    pub recorded: bool,
    /// The descriptors that are updated on the way: where, from what, to what.
    pub updates: Vec<(u64, u64, u64)>,
    /// What caches may keep of it.
    pub learned: Vec<Fact>,
}

impl Outcome {
    /// The record of the fault, events.md §1 and §2, if there is one; `stag` if it stalls.
    pub fn record(&self, ask: &Ask, stag: Option<u16>) -> Option<[u64; 4]> {
        let failure = self.result.err().filter(|_| self.recorded)?;
        let Failure { kind, s2, class, ipa, table_write, .. } = failure;
        let sid = u64::from(ask.sid) << 32;
        let substream = ask.ssid.map_or(0, |ssid| 1 << 11 | u64::from(ssid) << 12);
        let number = kind.number();
        match kind {
            Kind::StreamDisabled => return Some([number | sid, 0, 0, 0]),
            Kind::BadSubstreamId => return Some([number | sid | substream & !(1 << 11), 0, 0, 0]),
            Kind::BadCd => return Some([number | sid | substream, 0, 0, 0]),
            Kind::CdFetch(pa) => return Some([number | sid | substream, 0, 0, pa]),
            _ => {}
        }
        let dword1 = stag.map_or(0, |stag| u64::from(stag) | 1 << (95 - 64))
            | u64::from(ask.access.privileged) << (97 - 64)
            | u64::from(ask.access.instruction) << (98 - 64)
            | u64::from(!ask.access.write) << (99 - 64)
            | u64::from(s2) << (103 - 64)
            | (class as u64) << (104 - 64)
            | u64::from(kind == Kind::Permission && class == Class::Tt && !table_write) << (108 - 64);
        let dword3 = match kind {
            Kind::WalkEabt(pa) => pa,
            _ if s2 => ipa & 0x000f_ffff_ffff_f000,
            _ => 0,
        };
        Some([number | sid | substream, dword1, ask.input, dword3])
    }
}

/// Which of several ways a walk takes; all of them, one walk after the other.
#[derive(Debug, Default)]
pub struct Choices {
    taken: Vec<(usize, usize)>,
    at: usize,
}

impl Choices {
    /// One of `0..ways`.
    fn choose(&mut self, ways: usize) -> usize {
        if self.at == self.taken.len() {
            self.taken.push((0, ways));
        }
        self.at += 1;
        self.taken[self.at - 1].0
    }

    /// Goes on to the next way; false if there is none left.
    fn advance(&mut self) -> bool {
        self.at = 0;
        while let Some((taken, ways)) = self.taken.pop() {
            if taken + 1 < ways {
                self.taken.push((taken + 1, ways));
                return true;
            }
        }
        false
    }
}

/// What a transaction meets: an enabled device and a legal STE of Config 101, 110 or 111.
#[derive(Clone, Copy, Debug)]
pub struct Device<'a, M> {
    /// What is implemented.
    pub has: &'a Implemented,
    /// CR2.E2H
    pub e2h: bool,
    /// The STE.
    pub ste: Ste,
    /// Memory.
    pub memory: &'a M,
    /// Are descriptors updated? If not, flags that would be are taken as updated.
    pub updates: bool,
}

/// More ways than this are not looked at.
const MOST_WAYS: usize = 400;

impl<M: Words> Device<'_, M> {
    /// What the tables say.
    pub fn truth(&self, ask: &Ask) -> Outcome {
        self.one_way(ask, &[], &[], &mut Choices::default())
    }

    /// Every outcome that is legal if caches may hold `facts`; `None` if there are too many to look at.
    pub fn legal(&self, ask: &Ask, facts: &Facts) -> Option<Vec<Outcome>> {
        let truth = self.truth(ask);
        // What says the same as memory makes no difference, unless it saves an update.
        let fresh: &[Fact] = if truth.updates.is_empty() { &truth.learned } else { &[] };
        let stale: Vec<Fact> = facts.list.iter().filter(|fact| !fresh.contains(fact)).copied().collect();
        let mut choices = Choices::default();
        let mut outcomes = Vec::new();
        loop {
            outcomes.push(self.one_way(ask, &stale, fresh, &mut choices));
            if !choices.advance() {
                return Some(outcomes);
            }
            if outcomes.len() == MOST_WAYS {
                return None;
            }
        }
    }

    fn one_way(&self, ask: &Ask, stale: &[Fact], fresh: &[Fact], choices: &mut Choices) -> Outcome {
        let mut way = Way {
            device: self,
            ask,
            stale,
            fresh,
            choices,
            updates: Vec::new(),
            learned: Vec::new(),
            cd: None,
        };
        let result = way.go();
        let Way { updates, learned, cd, .. } = way;
        let (mut response, mut recorded) = (Response::Abort, true);
        if let Err(failure) = result
            && !failure.firm
        {
            let (a, r, s) = if failure.s2 {
                (1, self.ste.get(ste::S2R), self.ste.get(ste::S2S))
            } else {
                let cd = cd.expect("stage 1 has a CD");
                (cd.get(cd::A), cd.get(cd::R), cd.get(cd::S))
            };
            recorded = r == 1 || s == 1;
            response = match (s, a) {
                (1, _) => Response::Stall,
                (_, 1) => Response::Abort,
                _ => Response::RazWi,
            };
        }
        Outcome { result, response, recorded, updates, learned }
    }
}

/// What an access needs of one stage.
#[derive(Clone, Copy)]
struct Want {
    access: Access,
    class: Class,
}

/// A leaf of stage 2 that an access may use.
#[derive(Clone, Copy)]
struct Second {
    base: u64,
    pa: u64,
    shape: Shape,
    run: u32,
    rights: Rights,
    clean: bool,
    is_device: bool,
}

/// A leaf of stage 1 that an access may use.
struct First {
    base: u64,
    ipa: u64,
    shape: Shape,
    run: u32,
    global: bool,
    rights: Rights,
    clean: bool,
}

/// One walk.
struct Way<'a, 'c, M> {
    device: &'a Device<'a, M>,
    ask: &'a Ask,
    stale: &'a [Fact],
    fresh: &'a [Fact],
    choices: &'c mut Choices,
    updates: Vec<(u64, u64, u64)>,
    learned: Vec<Fact>,
    cd: Option<Cd>,
}

const DATA_READ: Access = Access { write: false, instruction: false, privileged: true };
const DATA_WRITE: Access = Access { write: true, instruction: false, privileged: true };

/// Which half of a CD translates.
struct Half {
    grain: Grain,
    txsz: u32,
    ttb: u64,
    is_off: bool,
    tbi: bool,
    had: bool,
}

impl<M: Words> Way<'_, '_, M> {
    fn ste(&self) -> &Ste {
        &self.device.ste
    }

    fn nested(&self) -> bool {
        self.ste().get(ste::CONFIG) == ste::NESTED
    }

    fn world(&self) -> World {
        match self.ste().get(ste::STRW) {
            0b10 if self.ste().get(ste::CONFIG) == ste::STAGE_1 && self.device.has.hyp => {
                if self.device.e2h {
                    World::El2E2h
                } else {
                    World::El2
                }
            }
            _ => World::El1,
        }
    }

    fn vmid(&self) -> u16 {
        let is_tagged = self.world() == World::El1 && self.device.has.s2p;
        if is_tagged { self.ste().get(ste::S2VMID) as u16 } else { 0 }
    }

    /// Memory, or what caches may hold instead: the steps of `options` are those that would make a difference.
    fn pick<T: Copy + PartialEq>(&mut self, options: impl Iterator<Item = T>) -> Option<T> {
        let mut different = Vec::new();
        for option in options {
            if !different.contains(&option) {
                different.push(option);
            }
        }
        if different.is_empty() {
            return None;
        }
        let choice = self.choices.choose(different.len() + 1);
        choice.checked_sub(1).map(|choice| different[choice])
    }

    /// A word of memory, with the updates that this very walk made.
    fn word(&self, pa: u64) -> Option<u64> {
        let updated = self.updates.iter().rev().find(|update| update.0 == pa);
        updated.map(|update| update.2).or_else(|| self.device.memory.word(pa))
    }

    fn update(&mut self, pa: u64, old: u64, new: u64) {
        if old != new && self.device.updates {
            self.updates.push((pa, old, new));
        }
    }

    fn learn(&mut self, fact: Fact) {
        if !self.learned.contains(&fact) {
            self.learned.push(fact);
        }
    }

    /// events.md §5, from step 8 on.
    fn go(&mut self) -> Result<u64, Failure> {
        let (ste, ask) = (*self.ste(), *self.ask);
        let config = ste.get(ste::CONFIG);
        assert!(config & 0b100 != 0 && config != ste::BYPASS, "a stream that translates");
        let log2_cds = ste.get(ste::S1CDMAX);
        let mut index = Some(0);
        if config == ste::STAGE_2 {
            if ask.ssid.is_some() {
                return Err(Failure::stage1(Kind::BadSubstreamId));
            }
            index = None;
        } else if let Some(ssid) = ask.ssid {
            if log2_cds == 0 || ssid >> log2_cds != 0 {
                return Err(Failure::stage1(Kind::BadSubstreamId));
            }
            if ssid == 0 && ste.get(ste::S1DSS) == 0b10 {
                return Err(Failure::stage1(Kind::StreamDisabled));
            }
            index = Some(ssid);
        } else if log2_cds != 0 {
            match ste.get(ste::S1DSS) {
                0b01 => index = None,
                0b10 => {}
                _ => return Err(Failure::stage1(Kind::StreamDisabled)),
            }
        }
        let Some(index) = index else {
            if ask.input >> self.device.has.oas != 0 {
                return Err(Failure { firm: true, ..Failure::stage1(Kind::AddrSize) });
            }
            if config == ste::STAGE_1 {
                return Ok(ask.input);
            }
            let second = self.stage2(ask.input, Want { access: ask.access, class: Class::In })?;
            return Ok(second.pa + (ask.input - second.base));
        };
        let cd = self.context(index)?;
        self.cd = Some(cd);
        self.translate(&cd)
    }

    /// The CD of an index, through L1CD and stage 2.
    fn context(&mut self, index: u32) -> Result<Cd, Failure> {
        let sid = self.ask.sid;
        let kept = self.stale.iter().filter_map(|fact| match fact {
            Fact::Context(kept) if kept.sid == sid && kept.ssid == index => Some(kept.cd),
            _ => None,
        });
        if let Some(cd) = self.pick(kept) {
            return Ok(cd);
        }
        let ste = *self.ste();
        let log2_cds = ste.get(ste::S1CDMAX) as u32;
        let pointer = ste.get(ste::S1CONTEXTPTR) << 6;
        let split = match ste.get(ste::S1FMT) {
            _ if log2_cds == 0 => None,
            0b01 => Some(6),
            0b10 => Some(10),
            _ => None,
        };
        let location = match split {
            None => (pointer >> (log2_cds + 6) << (log2_cds + 6)) + 64 * u64::from(index),
            Some(split) => {
                let bytes = (8 << log2_cds.saturating_sub(split)).max(64);
                let entry = (pointer & !(bytes - 1)) + 8 * u64::from(index >> split);
                let pa = self.structure(entry)?;
                let l1cd = self.word(pa).ok_or(Failure::stage1(Kind::CdFetch(pa)))?;
                let leaf = l1cd & 0x000f_ffff_ffff_f000 & !((64 << split) - 1);
                if l1cd & 1 == 0 || leaf >> self.device.has.oas != 0 {
                    return Err(Failure::stage1(Kind::BadSubstreamId));
                }
                leaf + 64 * u64::from(index & ((1 << split) - 1))
            }
        };
        let pa = self.structure(location)?;
        let mut cd = Cd::ZERO;
        for (n, dword) in (0..).zip(&mut cd.0) {
            *dword = self.word(pa + 8 * n).ok_or(Failure::stage1(Kind::CdFetch(pa)))?;
        }
        if cd.get(cd::V) == 0 {
            return Err(Failure::stage1(Kind::BadCd));
        }
        self.learn(Fact::Context(Context { sid, ssid: index, cd }));
        Ok(cd)
    }

    /// The physical address of a CD or L1CD.
    fn structure(&mut self, location: u64) -> Result<u64, Failure> {
        if !self.nested() {
            return Ok(location);
        }
        let second = self.stage2(location, Want { access: DATA_READ, class: Class::Cd })?;
        Ok(second.pa + (location - second.base))
    }

    fn half(&self, cd: &Cd, upper: bool) -> Half {
        let grains = Grain::ALL.iter().copied();
        if upper {
            Half {
                grain: grains.into_iter().find(|grain| grain.tg1() == cd.get(cd::TG1)).unwrap_or(Grain::K4),
                txsz: cd.get(cd::T1SZ) as u32,
                ttb: cd.get(cd::TTB1) << 4,
                is_off: cd.get(cd::EPD1) == 1,
                tbi: cd.get(cd::TBI1) == 1,
                had: cd.get(cd::HAD1) == 1,
            }
        } else {
            Half {
                grain: grains.into_iter().find(|grain| grain.tg0() == cd.get(cd::TG0)).unwrap_or(Grain::K4),
                txsz: cd.get(cd::T0SZ) as u32,
                ttb: cd.get(cd::TTB0) << 4,
                is_off: cd.get(cd::EPD0) == 1 && self.world() != World::El2,
                tbi: cd.get(cd::TBI0) == 1,
                had: cd.get(cd::HAD0) == 1,
            }
        }
    }

    /// From a CD to a physical address.
    fn translate(&mut self, cd: &Cd) -> Result<u64, Failure> {
        let (ask, world, vmid) = (*self.ask, self.world(), self.vmid());
        let single = world == World::El2;
        let upper = !single && ask.input >> 55 & 1 == 1;
        let half = self.half(cd, upper);
        let mut va = ask.input;
        if half.tbi {
            va = if upper { va | 0xff << 56 } else { va & !(0xff << 56) };
        }
        let in_range = (64 - half.txsz..64).all(|position| (va >> position & 1 == 1) == upper);
        if !in_range || half.is_off {
            return Err(Failure::stage1(Kind::Translation));
        }
        let asid = (!single).then_some(cd.get(cd::ASID) as u16);

        // A TLB may answer for everything.
        let hits = self.stale.iter().filter_map(|fact| match fact {
            Fact::Entry(entry) => {
                let ours = !entry.is_ipa && entry.world == world && entry.vmid == vmid;
                let in_space = entry.asid.is_none() || entry.asid == asid;
                let here = va >> entry.log2 == entry.base >> entry.log2;
                let usable = !(entry.clean && ask.access.write);
                (ours && in_space && here && usable).then_some(*entry)
            }
            _ => None,
        });
        if let Some(entry) = self.pick(hits) {
            let offset = va - entry.base;
            if !entry.first.allow(ask.access) {
                return Err(Failure::stage1(Kind::Permission));
            }
            if !entry.second.allow(ask.access) {
                return Err(Failure::stage2(Kind::Permission, Class::In, entry.ipa + offset));
            }
            return Ok(entry.pa + offset);
        }

        let first = self.stage1(cd, &half, va, asid)?;
        let ipa = first.ipa + (va - first.base);
        let second = if self.nested() {
            Some(self.stage2(ipa, Want { access: ask.access, class: Class::In })?)
        } else {
            None
        };
        let pa = second.map_or(ipa, |second| second.pa + (ipa - second.base));
        let asid = if first.global { None } else { asid };
        for run1 in [0, first.run] {
            for run2 in [0, second.map_or(0, |second| second.run)] {
                let log1 = first.shape.log2 + run1;
                let log2 = second.map_or(log1, |second| log1.min(second.shape.log2 + run2));
                let entry = Entry {
                    world,
                    is_ipa: false,
                    vmid,
                    asid,
                    base: va >> log2 << log2,
                    log2,
                    pa: pa >> log2 << log2,
                    ipa: ipa >> log2 << log2,
                    s1: Some(Shape { log2: log1, ..first.shape }),
                    s2: second.map(|second| Shape { log2: second.shape.log2 + run2, ..second.shape }),
                    first: first.rights,
                    second: second.map_or(ALL, |second| second.rights),
                    clean: first.clean || second.is_some_and(|second| second.clean),
                    is_device: second.is_some_and(|second| second.is_device),
                };
                self.learn(Fact::Entry(entry));
            }
        }
        Ok(pa)
    }

    /// The tables and the leaf of stage 1.
    fn stage1(&mut self, cd: &Cd, half: &Half, va: u64, asid: Option<u16>) -> Result<First, Failure> {
        let (has, world, vmid, access) = (self.device.has, self.world(), self.vmid(), self.ask.access);
        let grain = half.grain;
        let single = world == World::El2;
        let output_bits = size_bits(cd.get(cd::IPS)).min(has.oas);
        let bits = 64 - half.txsz;
        let mut level = 3;
        while level > 0 && bits > grain.level_shift(level - 1) {
            level -= 1;
        }
        let start = level;
        let entries = 1u64 << (bits - grain.level_shift(level));
        let alignment = (entries * 8).max(if output_bits == 52 { 64 } else { 1 });
        let mut table = half.ttb & !(alignment - 1);
        let mut index = (va & (u64::MAX >> half.txsz)) >> grain.level_shift(level);
        let mut limits = Limits::default();

        let is_ours = |kept: &Table| {
            (kept.world, kept.is_ipa, kept.vmid, kept.asid, kept.grain) == (world, false, vmid, asid, grain)
                && kept.level >= start
                && va >> grain.level_shift(kept.level) == kept.base >> grain.level_shift(kept.level)
        };
        let kept = self.different_tables(is_ours);
        if let Some(kept) = self.pick(kept.into_iter()) {
            (level, table, limits) = (kept.level + 1, kept.next, kept.limits);
            index = va >> grain.level_shift(level) & (grain.bytes() / 8 - 1);
        }
        loop {
            let shift = grain.level_shift(level);
            let location = table + 8 * index;
            let pa = if self.nested() {
                let second = self.stage2(location, Want { access: DATA_READ, class: Class::Tt })?;
                second.pa + (location - second.base)
            } else {
                location
            };
            let entry = self.word(pa).ok_or(Failure::stage1(Kind::WalkEabt(pa)))?;
            let Some((is_table, output)) = self.parse(entry, grain, level) else {
                return Err(Failure::stage1(Kind::Translation));
            };
            if output >> output_bits != 0 {
                return Err(Failure::stage1(Kind::AddrSize));
            }
            if is_table {
                if !half.had {
                    limits.no_unprivileged |= !single && entry >> 61 & 1 == 1;
                    limits.read_only |= entry >> 62 & 1 == 1;
                    limits.uxn |= entry >> 60 & 1 == 1;
                    limits.pxn |= !single && entry >> 59 & 1 == 1;
                }
                let base = va >> shift << shift;
                let next = output;
                let made = Table { world, is_ipa: false, vmid, asid, grain, level, base, next, limits };
                self.learn(Fact::Table(made));
                table = output;
                level += 1;
                index = va >> grain.level_shift(level) & (grain.bytes() / 8 - 1);
                continue;
            }

            let leaf = Record([entry]);
            let access_by_hardware = cd.get(cd::HA) == 1;
            if leaf.get(descriptor::AF) == 0 && !access_by_hardware && cd.get(cd::AFFD) == 0 {
                return Err(Failure::stage1(Kind::Access));
            }
            let ap = leaf.get(descriptor::AP);
            let dirty_by_hardware =
                access_by_hardware && cd.get(cd::HD) == 1 && leaf.get(descriptor::DBM) == 1 && ap & 0b10 != 0;
            let ap = if dirty_by_hardware { ap & 0b01 } else { ap };
            let rights = if single {
                one_privilege(cd, leaf, ap, limits)
            } else {
                two_privileges(cd, leaf, ap, limits)
            };
            if !rights.allow(access) {
                return Err(Failure::stage1(Kind::Permission));
            }
            let mut updated = leaf;
            if access_by_hardware {
                updated = updated.with(descriptor::AF, 1);
            }
            let marks_dirty = dirty_by_hardware && access.write;
            if marks_dirty {
                updated = updated.with(descriptor::AP, ap);
            }
            if updated != leaf {
                if self.nested() {
                    self.stage2(location, Want { access: DATA_WRITE, class: Class::Tt })?;
                }
                self.update(pa, entry, updated.0[0]);
            }
            let run = if leaf.get(descriptor::CONTIGUOUS) == 1 {
                grain.contiguous(level).trailing_zeros()
            } else {
                0
            };
            return Ok(First {
                base: va >> shift << shift,
                ipa: output,
                shape: Shape { grain, level, log2: shift },
                run,
                global: single || leaf.get(descriptor::NG) == 0,
                rights,
                clean: dirty_by_hardware && !marks_dirty && !limits.read_only,
            });
        }
    }

    /// Table descriptors that caches may hold, without those that say what memory says.
    fn different_tables(&self, is_ours: impl Fn(&Table) -> bool) -> Vec<Table> {
        let fresh = |kept: &Table| {
            self.fresh.iter().any(|fact| match fact {
                Fact::Table(table) => table == kept,
                _ => false,
            })
        };
        let tables = self.stale.iter().filter_map(|fact| match fact {
            Fact::Table(table) if is_ours(table) && !fresh(table) => Some(*table),
            _ => None,
        });
        tables.collect()
    }

    /// Is it a table's descriptor, and which address is in it? `None` if it is invalid.
    fn parse(&self, entry: u64, grain: Grain, level: u32) -> Option<(bool, u64)> {
        let oas = self.device.has.oas;
        let is_table = level < 3 && entry & 0b11 == 0b11;
        let is_page = level == 3 && entry & 0b11 == 0b11;
        let is_block = entry & 0b11 == 0b01
            && match (grain, level) {
                (_, 2) | (Grain::K4, 1) => true,
                (Grain::K64, 1) => oas >= 52,
                _ => false,
            };
        if !is_table && !is_page && !is_block {
            return None;
        }
        let low = if is_table { grain.shift() } else { grain.level_shift(level) };
        let mut output = entry & 0xffff_ffff_ffff & !((1 << low) - 1);
        if grain == Grain::K64 && oas == 52 {
            output |= (entry >> 12 & 0xf) << 48;
        }
        Some((is_table, output))
    }

    /// Stage 2 of one address: tables.md §6 to §8.
    fn stage2(&mut self, ipa: u64, want: Want) -> Result<Second, Failure> {
        let fail = |kind| {
            let table_write = want.class == Class::Tt && want.access.write;
            Err(Failure { table_write, ..Failure::stage2(kind, want.class, ipa) })
        };
        let (ste, has, vmid) = (*self.ste(), self.device.has, self.vmid());
        let bits = 64 - ste.get(ste::S2T0SZ) as u32;
        let output_bits = size_bits(ste.get(ste::S2PS)).min(has.oas);
        let grain = *Grain::ALL.iter().find(|grain| grain.tg0() == ste.get(ste::S2TG)).expect("a legal S2TG");
        if ipa >> bits != 0 {
            return fail(Kind::Translation);
        }
        let judge = |second: &Second| {
            if want.class != Class::In && second.is_device && ste.get(ste::S2PTW) == 1 {
                return false;
            }
            second.rights.allow(want.access)
        };

        let kept = self.stale.iter().filter_map(|fact| match fact {
            Fact::Entry(entry) => {
                let ours = entry.is_ipa && entry.vmid == vmid;
                let here = ipa >> entry.log2 == entry.base >> entry.log2;
                let usable = !(entry.clean && want.access.write);
                let same = self.fresh.iter().any(|fact| matches!(fact, Fact::Entry(other) if other == entry));
                (ours && here && usable && !same).then_some(*entry)
            }
            _ => None,
        });
        if let Some(entry) = self.pick(kept) {
            let Entry { base, pa, second: rights, clean, is_device, s2, .. } = entry;
            let shape = Shape { log2: entry.log2, ..s2.expect("stage 2 took part") };
            let second = Second { base, pa, shape, run: 0, rights, clean, is_device };
            return if judge(&second) { Ok(second) } else { fail(Kind::Permission) };
        }

        let start = match (grain, ste.get(ste::S2SL0)) {
            (Grain::K4, 0b11) => 3,
            (Grain::K4, sl0) => 2 - sl0 as u32,
            (_, sl0) => 3 - sl0 as u32,
        };
        let mut level = start;
        let entries = 1u64 << (bits - grain.level_shift(start));
        let alignment = (entries * 8).max(if output_bits == 52 { 64 } else { 16 });
        let mut table = (ste.get(ste::S2TTB) << 4) & !(alignment - 1);
        let mut index = ipa >> grain.level_shift(level);
        let is_ours = |kept: &Table| {
            (kept.is_ipa, kept.vmid, kept.grain) == (true, vmid, grain)
                && kept.level >= start
                && ipa >> grain.level_shift(kept.level) == kept.base >> grain.level_shift(kept.level)
        };
        let kept = self.different_tables(is_ours);
        if let Some(kept) = self.pick(kept.into_iter()) {
            (level, table) = (kept.level + 1, kept.next);
            index = ipa >> grain.level_shift(level) & (grain.bytes() / 8 - 1);
        }
        loop {
            let shift = grain.level_shift(level);
            let pa = table + 8 * index;
            let Some(entry) = self.word(pa) else { return fail(Kind::WalkEabt(pa)) };
            let Some((is_table, output)) = self.parse(entry, grain, level) else {
                return fail(Kind::Translation);
            };
            if output >> output_bits != 0 {
                return fail(Kind::AddrSize);
            }
            let world = World::El1;
            if is_table {
                let base = ipa >> shift << shift;
                let (next, limits) = (output, Limits::default());
                let made = Table { world, is_ipa: true, vmid, asid: None, grain, level, base, next, limits };
                self.learn(Fact::Table(made));
                table = output;
                level += 1;
                index = ipa >> grain.level_shift(level) & (grain.bytes() / 8 - 1);
                continue;
            }

            let leaf = Record([entry]);
            let access_by_hardware = ste.get(ste::S2HA) == 1;
            if leaf.get(descriptor::AF) == 0 && !access_by_hardware && ste.get(ste::S2AFFD) == 0 {
                return fail(Kind::Access);
            }
            let ap = leaf.get(descriptor::S2AP);
            let dirty_by_hardware = access_by_hardware
                && ste.get(ste::S2HD) == 1
                && leaf.get(descriptor::DBM) == 1
                && ap & 0b10 == 0;
            let (read, write) = (ap & 0b01 != 0, ap & 0b10 != 0 || dirty_by_hardware);
            let (ux, px) = match (leaf.get(descriptor::S2XN), has.xnx) {
                (0b00, _) | (0b01, false) => (true, true),
                (0b01, true) => (true, false),
                (0b11, true) => (false, true),
                _ => (false, false),
            };
            let rights = Rights { ur: read, pr: read, uw: write, pw: write, ux, px };
            let is_device = is_device(leaf.get(descriptor::MEMATTR), ste.get(ste::S2FWB) == 1);
            let mut second = Second {
                base: ipa >> shift << shift,
                pa: output,
                shape: Shape { grain, level, log2: shift },
                run: 0,
                rights,
                clean: dirty_by_hardware,
                is_device,
            };
            if !judge(&second) {
                return fail(Kind::Permission);
            }
            let mut updated = leaf;
            if access_by_hardware {
                updated = updated.with(descriptor::AF, 1);
            }
            if dirty_by_hardware && want.access.write {
                updated = updated.with(descriptor::S2AP, ap | 0b10);
                second.clean = false;
            }
            self.update(pa, entry, updated.0[0]);
            if leaf.get(descriptor::CONTIGUOUS) == 1 {
                second.run = grain.contiguous(level).trailing_zeros();
            }
            for run in [0, second.run] {
                let log2 = shift + run;
                let base = ipa >> log2 << log2;
                let entry = Entry {
                    world,
                    is_ipa: true,
                    vmid,
                    asid: None,
                    base,
                    log2,
                    pa: output >> log2 << log2,
                    ipa: base,
                    s1: None,
                    s2: Some(Shape { grain, level, log2 }),
                    first: ALL,
                    second: rights,
                    clean: second.clean,
                    is_device,
                };
                self.learn(Fact::Entry(entry));
            }
            return Ok(second);
        }
    }
}

const ALL: Rights = Rights { ur: true, uw: true, ux: true, pr: true, pw: true, px: true };

/// tables.md §7, stage 2 MemAttr: is the type Device, as far as S2PTW is concerned?
const fn is_device(memattr: u64, s2fwb: bool) -> bool {
    if s2fwb { memattr & 0b111 <= 0b100 } else { memattr >> 2 == 0 || memattr & 0b11 == 0 }
}

/// tables.md §7, the column of two privileges; `ap` after DBM.
fn two_privileges(cd: &Cd, leaf: Record<1>, ap: u64, limits: Limits) -> Rights {
    let mut rights =
        Rights { pr: true, pw: ap & 0b10 == 0, ur: ap & 0b01 != 0, uw: ap == 0b01, ux: true, px: true };
    if limits.no_unprivileged {
        rights.ur = false;
        rights.uw = false;
    }
    if limits.read_only {
        rights.uw = false;
        rights.pw = false;
    }
    rights.ux = leaf.get(descriptor::UXN) == 0 && !limits.uxn;
    rights.px = leaf.get(descriptor::PXN) == 0 && !limits.pxn && !rights.uw;
    if cd.get(cd::PAN) == 1 && (rights.ur || rights.uw) {
        rights.pr = false;
        rights.pw = false;
    }
    if cd.get(cd::WXN) == 1 {
        rights.ux &= !rights.uw;
        rights.px &= !rights.pw;
    }
    rights
}

/// tables.md §7, the column of one privilege.
fn one_privilege(cd: &Cd, leaf: Record<1>, ap: u64, limits: Limits) -> Rights {
    let w = ap & 0b10 == 0 && !limits.read_only;
    let x = leaf.get(descriptor::UXN) == 0 && !limits.uxn && !(cd.get(cd::WXN) == 1 && w);
    Rights { ur: true, pr: true, uw: w, pw: w, ux: x, px: x }
}
