//! Walks as they usually are: page after page in tables alike, for which a device that nobody watches takes shorter ways. It has
//! to answer, and to remember, what a watched one does.
//!
//! `SEED=n` runs one guest again, `GUESTS=n` changes how many there are.

#![allow(clippy::panic, clippy::indexing_slicing, reason = "a failed test panics")]

use core::cell::Cell;

use fastrand::Rng;
use smmuv3::{Features, Settings};
use smmuv3_tests::bits::Words;
use smmuv3_tests::campaign;
use smmuv3_tests::commands::{self, Command, Hint, Leaf};
use smmuv3_tests::driver::{Driver, transaction};
use smmuv3_tests::machine::{ASID, SID, VMID};
use smmuv3_tests::machine_nested::{GUEST_RAM, NestedMachine};
use smmuv3_tests::oracle::Access;
use smmuv3_tests::tables::{Grain, PageTables, cd, descriptor, ste};
use smmuv3_tests::twins::same;

const GUESTS: u64 = 100;
const ACTIONS: usize = 200;
/// Pages of a guest: in each of three regions some that follow one another.
const PAGES: u64 = 24;
const VA: u64 = 0x80_0000_0000;
const IPA: u64 = 0x4000_0000;
const PA: u64 = 0x100_0000;
/// A stream with another stage 2.
const OTHER: u32 = SID + 1;

/// How a guest is set up.
#[derive(Clone, Debug)]
struct Plan {
    grain: Grain,
    stage2: (Grain, u32, u32),
    settings: Settings,
    global: bool,
    /// Hardware sets Access flags, and some are not set.
    flags: bool,
}

/// What it does. Pages are numbers.
#[derive(Clone, Copy, Debug)]
enum Action {
    Read(u64),
    Write(u64),
    /// Reads as another stream, whose stage 2 is another.
    ReadOther(u64),
    /// Nothing is kept any more, so that a read says what the tables say.
    Truth(u64),
    Command(Command),
    /// Stage 1 of a page leads elsewhere, or nowhere.
    Change1(u64, Option<u64>),
    /// Likewise stage 2.
    Change2(u64, Option<u64>),
    /// Its leaf of stage 2 has other attributes.
    Attributes2(u64, descriptor::Attributes),
    /// The last table of stage 2 that leads to a page lies elsewhere, and the page too.
    Move2(u64, u64),
    /// The page that holds a table of stage 1, at a level, has other attributes for stage 2.
    Table(u64, u32, descriptor::Attributes),
    DropCaches,
}

fn offset(plan: &Plan, page: u64) -> u64 {
    let bytes = plan.grain.bytes().max(plan.stage2.0.bytes());
    ((page % 3) << 30) + page / 3 * bytes
}

fn random_plan(rng: &mut Rng) -> Plan {
    let shapes = [(Grain::K4, 1, 40), (Grain::K4, 0, 44), (Grain::K16, 1, 40), (Grain::K64, 2, 42)];
    let grains = [Grain::K4, Grain::K4, Grain::K16, Grain::K64];
    let (sets, ways) = [(64, 4), (4, 4), (2, 4), (1, 4), (16, 2), (1, 1)][rng.usize(..6)];
    let mut settings = Settings::new(sets, ways);
    settings.walk_cache = rng.bool();
    settings.iotlb_unbounded = rng.u8(..8) == 0;
    Plan {
        grain: grains[rng.usize(..4)],
        stage2: shapes[rng.usize(..4)],
        settings,
        global: rng.u8(..4) == 0,
        flags: rng.u8(..4) == 0,
    }
}

fn random_actions(rng: &mut Rng, plan: &Plan) -> Vec<Action> {
    let mut next = 0;
    let mut one = |rng: &mut Rng| {
        let page = rng.u64(..PAGES);
        let elsewhere = (rng.u8(..4) != 0).then(|| rng.u64(..PAGES));
        match rng.u32(..100) {
            // One after another, as most devices go.
            0..50 => {
                next = (next + 1) % PAGES;
                Action::Read(next)
            }
            50..59 => Action::Read(page),
            59..65 => Action::ReadOther(page),
            65..70 => Action::Write(page),
            70..75 => Action::Truth(page),
            75..90 => Action::Command(random_command(rng, plan, page)),
            90..93 => Action::Change1(page, elsewhere),
            93..95 => Action::Change2(page, elsewhere),
            95 => Action::Move2(page, rng.u64(..PAGES)),
            96..98 => Action::Attributes2(page, random_attributes(rng)),
            98 => {
                let unread = descriptor::S2_RW.with(descriptor::S2AP, 0b10);
                let attributes = if rng.bool() { descriptor::S2_RW } else { unread };
                Action::Table(page, rng.u32(1..4), attributes)
            }
            _ => Action::DropCaches,
        }
    };
    (0..ACTIONS).map(|_| one(rng)).collect()
}

fn random_attributes(rng: &mut Rng) -> descriptor::Attributes {
    match rng.u8(..3) {
        0 => descriptor::S2_RW.with(descriptor::S2AP, 0b01),
        1 => descriptor::S2_RW.with(descriptor::MEMATTR, 0b0101),
        _ => descriptor::S2_RW,
    }
}

fn random_command(rng: &mut Rng, plan: &Plan, page: u64) -> Command {
    let leaf = if rng.bool() { Leaf::Only } else { Leaf::AndTables };
    match rng.u32(..8) {
        0 | 1 => commands::tlbi_nh_asid(VMID, ASID),
        2 => commands::tlbi_nsnh_all(),
        3 => commands::tlbi_s12_vmall(VMID),
        4 => commands::tlbi_s2_ipa(VMID, IPA + offset(plan, page), leaf, Hint::NONE),
        5 => commands::cfgi_all(),
        _ => commands::tlbi_nh_va(VMID, ASID, VA + offset(plan, page), leaf, Hint::NONE),
    }
}

fn machine(plan: &Plan) -> NestedMachine {
    let mut machine = NestedMachine::new(Features::SMMUV3_2, plan.settings, plan.grain, plan.stage2);
    if plan.flags {
        machine.set_cd(machine.cd.with(cd::HA, 1));
        machine.set_ste(machine.ste.with(ste::S2HA, 1));
    }
    add_other(&mut machine, plan);
    for page in 0..PAGES {
        lead1(&mut machine, plan, page, Some(page));
        lead2(&mut machine, plan, page, Some(page));
    }
    machine
}

/// A stream beside the machine's own: the same stage 1, its tables where they are, and its pages elsewhere.
fn add_other(machine: &mut NestedMachine, plan: &Plan) {
    let (grain, start, bits) = plan.stage2;
    let frames = machine.frames.clone();
    let Driver { heap, ram, .. } = &mut machine.driver;
    let other = PageTables::from_level(grain, bits, start, heap, ram);
    for (ipa, frame) in (GUEST_RAM..).step_by(grain.bytes() as usize).zip(frames) {
        other.map(heap, ram, ipa, frame, grain.shift(), descriptor::S2_RW);
    }
    for page in 0..PAGES {
        let (ipa, pa) = (IPA + offset(plan, page), PA + offset(plan, (page + 1) % PAGES));
        other.map(heap, ram, ipa, pa, grain.shift(), descriptor::S2_RW);
    }
    let ste = ste::with_stage2(machine.ste, VMID + 1, &other, 5);
    machine.driver.install_ste(OTHER, &ste);
}

fn lead1(machine: &mut NestedMachine, plan: &Plan, page: u64, to: Option<u64>) {
    let va = VA + offset(plan, page);
    match to {
        None => machine.unmap1(va),
        Some(to) => {
            let attributes = descriptor::S1_RW.with(descriptor::NG, u64::from(!plan.global));
            let attributes = attributes.with(descriptor::AF, u64::from(!plan.flags || to % 4 != 0));
            machine.map1_as(va, IPA + offset(plan, to), plan.grain.shift(), attributes);
        }
    }
}

fn lead2(machine: &mut NestedMachine, plan: &Plan, page: u64, to: Option<u64>) {
    let ipa = IPA + offset(plan, page);
    match to {
        None => machine.unmap2(ipa),
        Some(to) => {
            let attributes = descriptor::S2_RW.with(descriptor::AF, u64::from(!plan.flags || to % 5 != 0));
            machine.map2_as(ipa, PA + offset(plan, to), plan.stage2.0.shift(), attributes);
        }
    }
}

/// Moves the last table of stage 2 that leads to `page`, which leads to `to` from then on.
fn move2(machine: &mut NestedMachine, plan: &Plan, page: u64, to: u64) {
    let grain = plan.stage2.0;
    let ipa = IPA + offset(plan, page);
    let (leaf, above) = (machine.slot2(ipa, 3), machine.slot2(ipa, 2));
    if leaf.level != 3 || above.level != 2 {
        return;
    }
    let Driver { heap, ram, .. } = &mut machine.driver;
    let (old, new) = (leaf.pa & !(grain.bytes() - 1), heap.allocate(grain.bytes()));
    for at in (0..grain.bytes()).step_by(8) {
        let word = ram.word(old + at).unwrap_or(0);
        ram.set_word(new + at, word);
    }
    let word = ram.word(above.pa).unwrap_or(0);
    ram.set_word(above.pa, word & !(0xffff_ffff_ffff & !(grain.bytes() - 1)) | new);
    lead2(machine, plan, page, Some(to));
}

fn act(machine: &mut NestedMachine, plan: &Plan, action: Action) -> String {
    let address = |page: u64| VA + offset(plan, page);
    match action {
        Action::Read(page) => return format!("{:x?}", machine.ask(address(page), Access::READ)),
        Action::Write(page) => return format!("{:x?}", machine.ask(address(page), Access::WRITE)),
        Action::ReadOther(page) => {
            return format!("{:x?}", machine.driver.access(OTHER, address(page), Access::READ));
        }
        Action::Truth(page) => {
            machine.run(commands::tlbi_nsnh_all());
            let Driver { smmu, ram, .. } = &machine.driver;
            let truth = smmu.walk(&transaction(SID, None, address(page), Access::READ), ram);
            assert_eq!(machine.ask(address(page), Access::READ), truth, "what the tables say");
        }
        Action::Command(command) => machine.run(command),
        Action::Change1(page, to) => lead1(machine, plan, page, to),
        Action::Change2(page, to) => lead2(machine, plan, page, to),
        Action::Attributes2(page, attributes) => {
            let (ipa, pa) = (IPA + offset(plan, page), PA + offset(plan, page));
            machine.map2_as(ipa, pa, plan.stage2.0.shift(), attributes);
        }
        Action::Move2(page, to) => move2(machine, plan, page, to),
        Action::Table(page, level, attributes) => {
            let table = machine.slot1(address(page), level).pa;
            machine.remap2(table, attributes);
        }
        Action::DropCaches => machine.driver.smmu.drop_caches(),
    }
    machine.driver.events();
    String::new()
}

#[test]
fn a_device_that_nobody_watches_does_the_same() {
    let make = |rng: &mut Rng| {
        let plan = random_plan(rng);
        let actions = random_actions(rng, &plan);
        (plan, actions)
    };
    let (hits, misses) = (Cell::new(0), Cell::new(0));
    campaign::run(GUESTS, make, |plan: &Plan, actions: &[Action]| {
        let mut watched = machine(plan);
        let mut alone = watched.clone();
        alone.driver.counters.looks_away = true;
        for action in actions {
            let before = watched.driver.counters;
            let [said, says] = [&mut watched, &mut alone].map(|machine| act(machine, plan, *action));
            if said != says {
                return Err(format!("{action:x?}: {said} watched, {says} unwatched"));
            }
            same(&watched.driver.smmu, &alone.driver.smmu).map_err(|what| format!("{action:x?}: {what}"))?;
            let now = watched.driver.counters;
            hits.set(hits.get() + u64::from(now.hits > before.hits));
            misses.set(misses.get() + u64::from(now.fills > before.fills));
        }
        Ok(())
    });
    println!("{} actions with hits, {} with misses", hits.get(), misses.get());
}
