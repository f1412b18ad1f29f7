//! BBML = 2 (§3.21.1, IDR3.BBML): a block becomes a table, or a table a block, without break-before-make. Nothing faults, and
//! nothing is translated as neither of the two says.

#![allow(clippy::panic, clippy::indexing_slicing, reason = "a failed test panics")]

use fastrand::Rng;
use smmuv3::{Behaviour, Features, Settings};
use smmuv3_tests::bits::Words;
use smmuv3_tests::commands::{Hint, Leaf, tlbi_nh_all, tlbi_nh_va, tlbi_s2_ipa};
use smmuv3_tests::driver::Outcome;
use smmuv3_tests::machine::{ASID, VMID};
use smmuv3_tests::machine_nested::NestedMachine;
use smmuv3_tests::tables::{Grain, PageTables, descriptor, ste};

const GEOMETRIES: [(u32, u32); 5] = [(1, 1), (1, 2), (2, 1), (4, 4), (64, 4)];

/// Which tables a size changes in, and what the stream has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Stage 1 of a nested stream, over one large block of stage 2.
    First,
    /// Stage 2 of a nested stream, under one large block of stage 1.
    Second,
    /// Stage 2 alone.
    Alone,
}

const ALL: [Stage; 3] = [Stage::First, Stage::Second, Stage::Alone];

/// A machine and a block, run or table in the middle of a larger one of the other stage.
struct Change {
    machine: NestedMachine,
    stage: Stage,
    base: u64,
    log2: u32,
    level: u32,
}

/// Where everything is, of both inputs.
const BASE: u64 = 3 << 42;

impl Change {
    /// A block of `level` that is mapped to itself.
    fn new(settings: Settings, stage: Stage, grain: Grain, level: u32) -> Change {
        let start = if grain == Grain::K4 { 0 } else { 1 };
        let mut machine = NestedMachine::new(Features::SMMUV3_2, settings, grain, (grain, start, 48));
        let log2 = grain.level_shift(level);
        let other = [(Grain::K4, 30), (Grain::K16, 25), (Grain::K64, 29)];
        let other = other.iter().find(|other| other.0 == grain).map_or(30, |other| other.1);
        match stage {
            Stage::First => machine.map2(BASE, BASE, other),
            Stage::Second => machine.map1(BASE, BASE, other),
            Stage::Alone => machine = machine.stage2_alone(),
        }
        let mut change = Change { machine, stage, base: BASE, log2, level };
        change.with(|tables, heap, memory| {
            let attributes = change_attributes(stage);
            tables.map(heap, memory, BASE, BASE, log2, attributes);
        });
        change
    }

    /// Edits the tables that change.
    fn with(&mut self, edit: impl Fn(&PageTables, &mut smmuv3_tests::tables::Heap, &mut Any<'_>)) {
        if self.stage == Stage::First {
            let (first, mut heap) = (self.machine.first.clone(), self.machine.heap.clone());
            edit(&first, &mut heap, &mut Any(&mut self.machine.view()));
            self.machine.heap = heap;
        } else {
            let second = self.machine.second.clone();
            let smmuv3_tests::driver::Driver { heap, ram, .. } = &mut self.machine.driver;
            edit(&second, heap, &mut Any(ram));
        }
    }

    fn read(&mut self, address: u64) -> Outcome {
        self.machine.read(address)
    }

    /// Reads some of the pages; each answer must be one of those that are allowed.
    fn look(&mut self, rng: &mut Rng, allowed: &dyn Fn(u64) -> Vec<u64>, what: &str) {
        for _ in 0..12 {
            let address = self.base + (rng.u64(..) & ((1 << self.log2) - 1));
            let found = self.read(address);
            let Ok(pa) = found else { panic!("{what}: {address:#x} {found:?}") };
            assert!(allowed(address).contains(&pa), "{what}: {address:#x} is {pa:#x}");
        }
        assert!(self.machine.driver.events().is_empty(), "{what}");
    }

    /// Forgets everything of the block.
    fn forget(&mut self) {
        let grain =
            if self.stage == Stage::First { self.machine.first.grain } else { self.machine.second.grain };
        let hint = Hint { num: 0, scale: u64::from(self.log2 - grain.shift()), ttl: 0, tg: grain.tlbi_tg() };
        self.machine.run(match self.stage {
            Stage::First => tlbi_nh_va(VMID, ASID, self.base, Leaf::AndTables, hint),
            Stage::Second | Stage::Alone => tlbi_s2_ipa(VMID, self.base, Leaf::AndTables, hint),
        });
        if self.stage == Stage::Second {
            self.machine.run(tlbi_nh_all(VMID));
        }
    }
}

fn change_attributes(stage: Stage) -> descriptor::Attributes {
    if stage == Stage::First { descriptor::S1_RW } else { descriptor::S2_RW }
}

/// Memory of either kind.
struct Any<'a>(&'a mut dyn AnyWords);

trait AnyWords {
    fn get(&self, pa: u64) -> Option<u64>;
    fn set(&mut self, pa: u64, value: u64);
}

impl<W: Words> AnyWords for W {
    fn get(&self, pa: u64) -> Option<u64> {
        self.word(pa)
    }

    fn set(&mut self, pa: u64, value: u64) {
        self.set_word(pa, value);
    }
}

impl Words for Any<'_> {
    fn word(&self, pa: u64) -> Option<u64> {
        self.0.get(pa)
    }

    fn set_word(&mut self, pa: u64, value: u64) {
        self.0.set(pa, value);
    }
}

/// Every device, and every level that can be a block and a table.
fn everywhere(test: impl Fn(Settings, Stage, Grain, u32, &mut Rng)) {
    let mut rng = Rng::with_seed(21);
    for (sets, ways) in GEOMETRIES {
        for behaviour in [Behaviour::Natural, Behaviour::Strict] {
            for walk_cache in [false, true] {
                let settings = Settings { behaviour, walk_cache, ..Settings::new(sets, ways) };
                for stage in ALL {
                    for (grain, level) in [(Grain::K4, 1), (Grain::K4, 2), (Grain::K16, 2), (Grain::K64, 2)] {
                        test(settings, stage, grain, level, &mut rng);
                    }
                }
            }
        }
    }
}

/// A block becomes a table that says the same, whose leaves then change one by one, and at last a block again.
#[test]
fn split_and_merged_without_break_before_make() {
    everywhere(|settings, stage, grain, level, rng| {
        let mut change = Change::new(settings, stage, grain, level);
        let name = |what: &str| format!("{settings:?} {stage:?} {grain:?} level {level}: {what}");
        let same = |address: u64| vec![address];
        change.look(rng, &same, &name("block"));
        change.with(|tables, heap, memory| tables.split(heap, memory, BASE));
        change.look(rng, &same, &name("split, block cached"));

        // One leaf of the new table goes elsewhere: the block may still answer, or the leaf.
        let leaf = grain.level_shift(change.level + 1);
        let moved = BASE + (3 << leaf);
        let elsewhere = BASE ^ 1 << 46 | 3 << leaf;
        change.with(|tables, heap, memory| {
            let slot = tables.slot(heap, memory, moved, level + 1);
            memory.set_word(slot.pa, descriptor::leaf(grain, level + 1, elsewhere, change_attributes(stage)));
        });
        let both = move |address: u64| {
            let is_there = stage != Stage::First && address >> leaf == moved >> leaf;
            let mut allowed = vec![address];
            if is_there {
                allowed.push(address ^ 1 << 46);
            }
            allowed
        };
        if stage != Stage::First {
            change.look(rng, &both, &name("a leaf of the new table moved"));
            for _ in 0..4 {
                let address = moved + (rng.u64(..) & ((1 << leaf) - 1));
                let found =
                    change.read(address).unwrap_or_else(|event| panic!("{}: {event:?}", name("moved")));
                assert!(both(address).contains(&found), "{}", name("moved"));
            }
            change.forget();
            assert_eq!(change.read(moved + 8), Ok((moved + 8) ^ 1 << 46), "{}", name("forgotten"));
        }
        change.with(|tables, heap, memory| {
            let slot = tables.slot(heap, memory, moved, level + 1);
            memory.set_word(slot.pa, descriptor::leaf(grain, level + 1, moved, change_attributes(stage)));
        });
        change.forget();
        change.look(rng, &same, &name("table"));

        // And back to a block, whose memory is somewhere else than the table's.
        let leaf_at = change.level;
        change.with(|tables, _, memory| {
            let slot = tables.find(memory, BASE, leaf_at);
            memory.set_word(slot.pa, descriptor::leaf(grain, leaf_at, BASE, change_attributes(stage)));
        });
        change.look(rng, &same, &name("merged, leaves cached"));
        change.forget();
        change.look(rng, &same, &name("merged and forgotten"));
        if stage != Stage::First {
            let block = BASE ^ 1 << 46;
            change.with(|tables, _, memory| {
                let slot = tables.find(memory, BASE, leaf_at);
                memory.set_word(slot.pa, descriptor::leaf(grain, leaf_at, block, change_attributes(stage)));
            });
            change.forget();
            let other = |address: u64| vec![address ^ 1 << 46];
            change.look(rng, &other, &name("moved as a whole"));
        }
    });
}

/// A contiguous run becomes single leaves and a run again, member by member.
#[test]
fn contiguous_hints_come_and_go() {
    everywhere(|settings, stage, grain, level, rng| {
        if level == 1 {
            return; // the run is larger than the block of the other stage
        }
        let mut change = Change::new(settings, stage, grain, level);
        change.with(|tables, heap, memory| tables.split(heap, memory, BASE));
        change.forget();
        let same = |address: u64| vec![address];
        let leaf = grain.level_shift(level + 1);
        let run = grain.contiguous(level + 1);
        for hint in [1, 0, 1] {
            for member in 0..run {
                change.with(|tables, _, memory| {
                    let slot = tables.find(memory, BASE + (member << leaf), level + 1);
                    let attributes = change_attributes(stage).with(descriptor::CONTIGUOUS, hint);
                    let word = descriptor::leaf(grain, level + 1, BASE + (member << leaf), attributes);
                    memory.set_word(slot.pa, word);
                });
                if member % 5 == 0 {
                    let name = format!("{settings:?} {stage:?} {grain:?}: hint {hint}, member {member}");
                    change.look(rng, &same, &name);
                }
            }
        }
    });
}

/// BBML 1: with nT set, a block is replaced in the same way.
#[test]
fn nt_is_ignored() {
    for stage in ALL {
        let mut change = Change::new(Settings::new(64, 4), stage, Grain::K4, 2);
        change.with(|tables, _, memory| {
            let slot = tables.find(memory, BASE, 2);
            memory.set_word(slot.pa, slot.descriptor | 1 << 16);
        });
        assert_eq!(change.read(BASE | 0x1_2345), Ok(BASE | 0x1_2345), "{stage:?}");
        assert_eq!(change.machine.ste.get(ste::V), 1);
    }
}
