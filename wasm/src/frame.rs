//! The IOTLB as flat columns, one row a slot, filled once a step: what the canvases draw and the tables list.

use crate::access::Answer;
use crate::history::History;
use crate::world::World;
use smmuv3::arch::entry::Entry;
use smmuv3::arch::id::StreamWorld;
use smmuv3::cache::scope::{Answer as Holds, Judgement, Scope, Verdict};
use smmuv3::{Command, env::trace::Reason};
use smmuv3::{Iova, Stage, Transaction};

/// What is known of an entry beside the truth.
pub(crate) mod stale {
    pub(crate) const FRESH: u8 = 0;
    /// The tables lead elsewhere.
    pub(crate) const MOVED: u8 = 1;
    /// The tables lead nowhere.
    pub(crate) const GONE: u8 = 2;
    /// Nobody can ask: the entry translates intermediate addresses.
    pub(crate) const UNKNOWN: u8 = 3;
}

/// What the composed command would do with an entry.
pub(crate) mod verdict {
    pub(crate) const STAYS: u8 = 0;
    pub(crate) const NEEDED: u8 = 1;
    pub(crate) const EXCESS: u8 = 2;
    /// Stale, and it stays.
    pub(crate) const MISSED: u8 = 3;
}

/// Bits of `flags`.
pub(crate) mod flag {
    pub(crate) const LIVE: u8 = 1;
    pub(crate) const GLOBAL: u8 = 2;
    pub(crate) const STAGE2: u8 = 4;
    pub(crate) const BOTH: u8 = 8;
    pub(crate) const FRACTURED: u8 = 16;
    pub(crate) const EL2: u8 = 32;
    /// It went in the last moment.
    pub(crate) const JUST_GONE: u8 = 64;
}

#[derive(Default)]
pub(crate) struct Frame {
    pub(crate) start: Vec<f64>,
    pub(crate) output: Vec<f64>,
    pub(crate) log2: Vec<u8>,
    pub(crate) asid: Vec<u16>,
    pub(crate) vmid: Vec<u16>,
    pub(crate) age: Vec<u32>,
    pub(crate) flags: Vec<u8>,
    pub(crate) stale: Vec<u8>,
    pub(crate) verdict: Vec<u8>,
    /// The first predicate that fails, counted from 1 in the order of `Judgement::answers`; 0 if none does.
    pub(crate) reason: Vec<u8>,
    /// What the truth was found for: asked again only if memory or the entry has changed.
    asked: Vec<(u32, Option<Entry>)>,
    stale_memo: Vec<u8>,
    pub(crate) needed: u32,
    pub(crate) excess: u32,
    pub(crate) missed: u32,
    pub(crate) stale_entries: u32,
}

/// A TLBI about which entries are asked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Question {
    pub(crate) command: Command,
    /// What it names.
    pub(crate) letter: Scope,
    /// What this device drops for it.
    pub(crate) applied: Scope,
}

impl Question {
    pub(crate) fn new(world: &World, command: &Command) -> Option<Self> {
        let letter = world.smmu.scope(command)?;
        Some(Self { command: *command, letter, applied: world.smmu.applied(&letter) })
    }
}

impl Frame {
    /// Asks about every entry anew.
    pub(crate) fn forget(&mut self) {
        self.asked.fill((u32::MAX, None));
    }

    pub(crate) fn fill(&mut self, history: &History, question: Option<&Question>) {
        let world = &history.world;
        let iotlb = world.smmu.iotlb();
        let (sets, ways) = iotlb.geometry();
        let slots = (sets * ways) as usize;
        self.resize(slots);
        self.flags.fill(0);
        self.verdict.fill(verdict::STAYS);
        self.reason.fill(0);
        self.stale.fill(stale::FRESH);
        (self.needed, self.excess, self.missed, self.stale_entries) = (0, 0, 0, 0);
        for slot in history.before.iter().copied() {
            put(&mut self.flags, slot, flag::JUST_GONE);
        }
        for (slot, entry) in iotlb.entries() {
            let (Some(slot), entry) = (slot.filter(|slot| *slot < slots), &entry) else { continue };
            put(&mut self.start, slot, World::low(entry.input));
            put(&mut self.output, slot, World::low(entry.output.0));
            put(&mut self.log2, slot, entry.log2_size);
            put(&mut self.asid, slot, entry.space.asid.0);
            put(&mut self.vmid, slot, entry.space.vmid.0);
            put(&mut self.age, slot, iotlb.age(slot));
            put(&mut self.flags, slot, flags(entry));
            let staleness = self.staleness(world, slot, entry);
            put(&mut self.stale, slot, staleness);
            let is_stale = staleness == stale::MOVED || staleness == stale::GONE;
            self.stale_entries += u32::from(is_stale);
            let Some(question) = question else { continue };
            let answer = question.applied.judge(entry);
            put(&mut self.reason, slot, reason(&answer));
            let verdict = match answer.verdict() {
                Verdict::Drop if question.letter.verdict(entry) == Verdict::Drop => {
                    self.needed += 1;
                    verdict::NEEDED
                }
                Verdict::Drop => {
                    self.excess += 1;
                    verdict::EXCESS
                }
                Verdict::Spare(_) if is_stale => {
                    self.missed += 1;
                    verdict::MISSED
                }
                Verdict::Spare(_) => verdict::STAYS,
            };
            put(&mut self.verdict, slot, verdict);
        }
    }

    fn resize(&mut self, slots: usize) {
        self.start.resize(slots, 0.0);
        self.output.resize(slots, 0.0);
        self.log2.resize(slots, 0);
        self.asid.resize(slots, 0);
        self.vmid.resize(slots, 0);
        self.age.resize(slots, 0);
        for column in [&mut self.flags, &mut self.stale, &mut self.verdict, &mut self.reason] {
            column.resize(slots, 0);
        }
        self.asked.resize(slots, (u32::MAX, None));
        self.stale_memo.resize(slots, 0);
    }

    /// What the tables say about the entry, remembered while neither has changed.
    fn staleness(&mut self, world: &World, slot: usize, entry: &Entry) -> u8 {
        let Some(asked) = self.asked.get_mut(slot) else { return stale::UNKNOWN };
        let previous = self.stale_memo.get(slot).copied();
        if let (true, Some(known)) = (*asked == (world.memory_version, Some(*entry)), previous) {
            return known;
        }
        *asked = (world.memory_version, Some(*entry));
        let found = staleness(world, entry);
        put(&mut self.stale_memo, slot, found);
        found
    }
}

/// Whether an entry still says what the tables say.
pub(crate) fn staleness(world: &World, entry: &Entry) -> u8 {
    match truth(world, entry) {
        None => stale::UNKNOWN,
        Some(Answer::Pa(pa)) if pa == entry.output.0 => stale::FRESH,
        Some(Answer::Pa(_)) => stale::MOVED,
        Some(_) => stale::GONE,
    }
}

/// What the tables say now about the entry's first address.
pub(crate) fn truth(world: &World, entry: &Entry) -> Option<Answer> {
    let origin = world.watch.origin(entry)?;
    // The pure walk begins at a device's address; an entry of stage 2 under a stage 1 does not.
    if entry.space.stage == Stage::S2
        && world.guest.stream(origin.transaction.stream.0).is_ok_and(|stream| stream.s1.is_some())
    {
        return None;
    }
    Some(world.truth(&Transaction { address: Iova(entry.input), ..origin.transaction }))
}

fn flags(entry: &Entry) -> u8 {
    let set = |condition: bool, bit: u8| if condition { bit } else { 0 };
    flag::LIVE
        | set(entry.global, flag::GLOBAL)
        | set(entry.space.stage == Stage::S2, flag::STAGE2)
        | set(entry.s1.is_some() && entry.s2.is_some(), flag::BOTH)
        | set(entry.is_fractured(), flag::FRACTURED)
        | set(entry.space.world != StreamWorld::El1, flag::EL2)
}

fn reason(judgement: &Judgement) -> u8 {
    let failed = judgement.answers().iter().position(|(answer, _)| *answer == Holds::Fails);
    failed.map_or(0, |at| at as u8 + 1)
}

fn put<T>(column: &mut [T], slot: usize, value: T) {
    if let Some(cell) = column.get_mut(slot) {
        *cell = value;
    }
}

/// A predicate's name.
pub(crate) const fn name(reason: Reason) -> &'static str {
    match reason {
        Reason::Regime => "Regime",
        Reason::Stage => "Stage",
        Reason::Vmid => "VMID",
        Reason::Asid => "ASID",
        Reason::Global => "Global",
        Reason::Span => "Span",
        Reason::Granule => "TG",
        Reason::Level => "TTL",
        Reason::Leaf => "Leaf",
    }
}
