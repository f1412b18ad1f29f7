//! Random virtual machines against the oracle of both stages: stage 2 alone and nested, EL2 streams beside them, hardware
//! updates, stalls, and every non-secure TLBI.
//!
//! `SEED=n` runs one world again, `GUESTS=n` changes how many there are.

#![allow(clippy::panic, clippy::indexing_slicing, clippy::expect_used, reason = "a failed test panics")]

use fastrand::Rng;
use smmuv3::arch::features::StallModel;
use smmuv3::{Behaviour, Features, Settings};
use smmuv3_tests::bits::Record;
use smmuv3_tests::campaign;
use smmuv3_tests::commands::{self, Leaf, field, opcode, plain};
use smmuv3_tests::machine_nested::GUEST_RAM;
use smmuv3_tests::oracle::Access;
use smmuv3_tests::scenario_nested::{Action, Paging, Place, Plan, Tally, Whose, World};
use smmuv3_tests::tables::{Grain, cd, descriptor, ste};
use smmuv3_tests::twins::same;

const GUESTS: u64 = 200;
const ACTIONS: usize = 70;

#[test]
fn polite_worlds_see_what_their_tables_say() {
    run_worlds(|plan| plan.polite = true);
}

#[test]
fn sloppy_worlds_never_see_what_must_be_gone() {
    run_worlds(|plan| plan.polite = false);
}

#[test]
fn stage_2_alone_needs_no_command_but_its_own() {
    run_worlds(|plan| (plan.polite, plan.only_stage2) = (true, true));
}

/// The same with stage 2, whose leaves may be smaller than those of stage 1.
#[test]
fn a_device_that_nobody_watches_remembers_the_same() {
    let make = |rng: &mut Rng| {
        let plan = random_plan(rng);
        let mut generator = Generator { rng, plan: &plan, recent: Vec::new(), mapped: Vec::new() };
        let actions = (0..ACTIONS).map(|n| generator.action(n)).collect();
        (plan, actions)
    };
    campaign::run(GUESTS, make, |plan: &Plan, actions: &[Action]| {
        let (mut watched, mut alone) = (World::<256>::new(plan), World::<256>::new(plan));
        alone.driver.counters.looks_away = true;
        actions.iter().try_for_each(|action| {
            watched.step(action)?;
            alone.step(action)?;
            same(&watched.driver.smmu, &alone.driver.smmu)
        })
    });
}

fn run_worlds(choose: impl Fn(&mut Plan)) {
    let make = |rng: &mut Rng| {
        let mut plan = random_plan(rng);
        choose(&mut plan);
        let mut generator = Generator { rng, plan: &plan, recent: Vec::new(), mapped: Vec::new() };
        let actions = (0..ACTIONS).map(|n| generator.action(n)).collect();
        (plan, actions)
    };
    let tallies = campaign::run(GUESTS, make, |plan: &Plan, actions: &[Action]| {
        let mut world = World::<256>::new(plan);
        actions.iter().try_for_each(|action| world.step(action)).map(|()| world.tally)
    });
    let mut all = Tally::default();
    tallies.into_iter().for_each(|tally| all += tally);
    println!("{all:?}");
}

/// Granule, start level and input bits of stage 2: one table, and 2 to 16 concatenated ones (tables.md §6).
const STAGE_2: [(Grain, u32, u32); 20] = [
    (Grain::K4, 2, 30),
    (Grain::K4, 2, 32),
    (Grain::K4, 2, 34),
    (Grain::K4, 1, 32),
    (Grain::K4, 1, 39),
    (Grain::K4, 1, 40),
    (Grain::K4, 1, 43),
    (Grain::K4, 0, 44),
    (Grain::K4, 0, 48),
    (Grain::K16, 3, 29),
    (Grain::K16, 2, 36),
    (Grain::K16, 2, 38),
    (Grain::K16, 1, 40),
    (Grain::K16, 1, 48),
    (Grain::K64, 3, 30),
    (Grain::K64, 2, 32),
    (Grain::K64, 2, 42),
    (Grain::K64, 2, 46),
    (Grain::K64, 1, 48),
    (Grain::K64, 1, 52),
];

fn random_plan(rng: &mut Rng) -> Plan {
    let mut features = match rng.u32(0..8) {
        0 => Features::SMMUV3_0,
        1 => Features::SMMUV3_1,
        2 => Features { oas_bits: 44, vax52: false, ..Features::SMMUV3_2 },
        3 => Features::SMMUV3_3,
        _ => Features::SMMUV3_2,
    };
    (features.stall_model, features.stall_max) = match rng.u32(0..6) {
        0 => (StallModel::Terminate, 0),
        1 => (StallModel::Stall, 3),
        _ => (StallModel::StallOrTerminate, 4),
    };
    features.httu = rng.u8(0..3);
    features.term_model = rng.u32(0..6) == 0;
    let (sets, ways) = *rng.choice(&[(1, 1), (4, 4), (64, 4)]).expect("three of them");
    let mut settings = Settings::new(sets, ways);
    settings.walk_cache = rng.bool();
    settings.iotlb_unbounded = rng.u32(0..4) == 0;
    settings.behaviour = if rng.bool() { Behaviour::Strict } else { Behaviour::Natural };
    let mut half = || (Grain::ALL[rng.usize(0..3)], [16, 20, 25, 28, 32, 34, 39][rng.usize(0..7)]);
    let halves = [half(), half()];
    let fits = |shape: &&(Grain, u32, u32)| shape.2 <= u32::from(features.oas_bits);
    let shapes: Vec<_> = STAGE_2.iter().filter(fits).copied().collect();
    let stage2 = *rng.choice(&shapes).expect("there are some");
    let mut seldom = |odds: u32| u64::from(rng.u32(0..odds) == 0);
    let stalls = |chosen: u64| match features.stall_model {
        StallModel::Terminate => 0,
        StallModel::Stall => 1,
        StallModel::StallOrTerminate => chosen,
    };
    let mut context = Record::<8>::ZERO.with(cd::A, 1).with(cd::R, 1).with(cd::S, stalls(seldom(4)));
    for option in [cd::TBI0, cd::TBI1, cd::WXN, cd::PAN, cd::AFFD] {
        context = context.with(option, seldom(6));
    }
    let mut stream = Record::<8>::ZERO.with(ste::S2S, stalls(seldom(4)));
    for option in [ste::S2AFFD, ste::S2PTW, ste::S2FWB] {
        stream = stream.with(option, seldom(5));
    }
    if features.httu >= 1 {
        context = context.with(cd::HA, 1 - seldom(4));
        stream = stream.with(ste::S2HA, 1 - seldom(4));
    }
    if features.httu == 2 {
        context = context.with(cd::HD, 1 - seldom(4));
        stream = stream.with(ste::S2HD, 1 - seldom(4));
    }
    let mut table = Record::<1>::ZERO;
    if seldom(4) == 1 {
        table = table.with(descriptor::APTABLE, rng.u64(0..4)).with(descriptor::UXNTABLE, rng.u64(0..2));
        table = table.with(descriptor::PXNTABLE, rng.u64(0..2));
    }
    Plan {
        features,
        settings,
        polite: false,
        only_stage2: false,
        e2h: rng.bool(),
        vmw: if rng.u32(0..6) == 0 { rng.u32(0..8) } else { 0 },
        halves,
        ips: if rng.u32(0..5) > 0 { 5 } else { rng.u64(0..8) },
        cd_bits: context.0[0],
        table_attributes: table.0[0],
        stage2,
        ps: if rng.u32(0..5) > 0 { 5 } else { rng.u64(0..8) },
        ste_bits: [stream.0[1], stream.0[2]],
        substreams: (rng.u64(0..4), rng.u64(0..4)),
    }
}

/// Where something happened.
#[derive(Clone, Copy)]
struct Spot {
    whose: Whose,
    address: u64,
}

/// Makes up what happens. It keeps coming back to where it was, since only that can show what a cache kept.
struct Generator<'a> {
    rng: &'a mut Rng,
    plan: &'a Plan,
    recent: Vec<Spot>,
    /// Where something was mapped.
    mapped: Vec<Spot>,
}

impl Generator<'_> {
    fn action(&mut self, n: usize) -> Action {
        // First of all there is something to find.
        let what = if n < 14 { 0 } else { self.rng.u32(0..100) };
        match what {
            0..17 => {
                let place = self.place();
                let new = Some((self.output(place.whose), self.attributes(place.whose)));
                self.mapped.push(Spot { whose: place.whose, address: place.offset });
                Action::Replace { place, count: self.count(), new, how: self.rng.u16(..) }
            }
            17..23 => {
                let (place, count) = (self.place(), self.count());
                Action::Replace { place, count, new: None, how: self.rng.u16(..) }
            }
            23..26 => Action::Split { place: self.place(), how: self.rng.u16(..) },
            26..29 => Action::Merge { place: self.place(), how: self.rng.u16(..) },
            29..35 => {
                let paging = self.paging();
                let (vm, page) = (self.rng.usize(0..2), self.rng.u64(0..24));
                Action::Page { vm, page, paging, how: self.rng.u16(..) }
            }
            35 => {
                let forced = u64::from(self.plan.features.term_model);
                Action::Context { space: self.rng.usize(0..8), ars: self.rng.u64(0..4) | forced }
            }
            36..48 => Action::Issue(self.command()),
            48 => Action::Restart,
            49 => Action::Evict,
            50..54 => Action::Resume {
                which: self.rng.usize(..),
                retry: self.rng.bool(),
                abort: self.rng.bool(),
                wrong: if self.rng.u32(0..4) == 0 { Some(self.rng.bool()) } else { None },
            },
            54 => Action::StallTerm(self.rng.usize(0..16)),
            _ => {
                let seen = self.rng.choice(&self.mapped).copied().filter(|_| self.rng.u32(0..4) > 0);
                let spot = seen.unwrap_or_else(|| self.spot());
                let write = self.rng.u32(0..3) == 0;
                let instruction = !write && self.rng.u32(0..8) == 0;
                let access = Access { write, instruction, privileged: self.rng.u32(0..3) == 0 };
                Action::Dma { stream: self.stream(spot), address: self.address(spot), access }
            }
        }
    }

    /// Granule and input bits of a spot's tables.
    fn shape(&self, whose: Whose) -> (Grain, u32) {
        match whose {
            Whose::Lower(_) => (self.plan.halves[0].0, 64 - self.plan.halves[0].1),
            Whose::Upper(_) => (self.plan.halves[1].0, 64 - self.plan.halves[1].1),
            Whose::Stage2(_) => (self.plan.stage2.0, self.plan.stage2.2),
        }
    }

    /// Spaces of nested streams more often than others.
    fn whose(&mut self) -> Whose {
        let rng = &mut *self.rng;
        let spaces = if self.plan.only_stage2 { 3 } else { 7 } + usize::from(self.plan.e2h);
        let nested = *rng.choice(&[1, 1, 2, 4, 5]).expect("five of them");
        let space = if rng.u32(0..4) == 0 || self.plan.only_stage2 { rng.usize(0..spaces) } else { nested };
        match rng.u32(0..if self.plan.only_stage2 { 12 } else { 6 }) {
            0 => Whose::Upper(space),
            1..4 => Whose::Lower(space),
            _ => Whose::Stage2(rng.usize(0..2)),
        }
    }

    /// Mostly one of the last few spots or a neighbour, else a new one, which is remembered.
    fn spot(&mut self) -> Spot {
        let latest = self.recent.len().saturating_sub(5);
        let seen = self.rng.choice(&self.recent[latest..]).copied();
        match (seen, self.rng.u32(0..8)) {
            (Some(spot), 1 | 2) => {
                let pages = self.rng.u64(0..20) << self.shape(spot.whose).0.shift();
                Spot { address: self.inside(spot.whose, spot.address.wrapping_add(pages)), ..spot }
            }
            (Some(spot), 3..) => spot,
            _ => {
                let whose = self.whose();
                let offset = self.offset(self.shape(whose).0);
                let spot = Spot { whose, address: self.inside(whose, offset) };
                self.recent.push(spot);
                spot
            }
        }
    }

    fn inside(&self, whose: Whose, address: u64) -> u64 {
        let bits = self.shape(whose).1;
        let low = address & (u64::MAX >> (64 - bits));
        if matches!(whose, Whose::Upper(_)) { low | u64::MAX << bits } else { low }
    }

    /// Few places, so that worlds meet their own traces again.
    fn offset(&mut self, grain: Grain) -> u64 {
        let last = (1 << grain.stride()) - 1;
        let mut offset = 0u64;
        for level in 0..4 {
            let entries: &[u64] = if level == 3 { &[0, 1, 2, 15, 16, last] } else { &[0, 0, 0, 1, last] };
            offset |= self.rng.choice(entries).expect("there are some") << grain.level_shift(level);
        }
        offset
    }

    /// Streams that use the tables of a spot; the order is that of the world.
    fn stream(&mut self, spot: Spot) -> usize {
        let second = self.rng.usize(0..3) / 2;
        match (spot.whose, self.plan.only_stage2) {
            (Whose::Stage2(vm), true) => 2 * vm,
            (Whose::Stage2(vm), false) => 7 * vm + 6 * second,
            (Whose::Lower(space) | Whose::Upper(space), true) => {
                [1, 3, 4, 4 + usize::from(self.plan.e2h)][space]
            }
            (Whose::Lower(space) | Whose::Upper(space), false) => match (space / 3, space % 3) {
                (2, k) => 14 + k,
                (vm, 0) => 7 * vm + 1,
                (vm, k) => 7 * vm + 1 + k + 2 * second,
            },
        }
    }

    fn place(&mut self) -> Place {
        let spot = self.spot();
        let level = *self.rng.choice(&[1, 2, 2, 3, 3, 3]).expect("six of them");
        Place { whose: spot.whose, offset: spot.address, level }
    }

    /// What stage 1 maps to is mostly what stage 2 maps too.
    fn output(&mut self, whose: Whose) -> u64 {
        if matches!(whose, Whose::Stage2(_)) || self.rng.u32(0..8) == 0 {
            return self.rng.u64(..) >> self.rng.choice(&[16, 24, 32, 33, 34]).expect("five of them");
        }
        if self.rng.u32(0..12) == 0 {
            return GUEST_RAM + self.rng.u64(0..0x2_0000);
        }
        let stage2: Vec<_> =
            self.mapped.iter().filter(|spot| matches!(spot.whose, Whose::Stage2(_))).copied().collect();
        match self.rng.choice(&stage2) {
            Some(spot) if self.rng.u32(0..6) > 0 => spot.address,
            _ => {
                let offset = self.offset(self.plan.stage2.0);
                self.inside(Whose::Stage2(0), offset)
            }
        }
    }

    fn attributes(&mut self, whose: Whose) -> u64 {
        let rng = &mut *self.rng;
        if matches!(whose, Whose::Stage2(_)) {
            let mut leaf = descriptor::S2_RW.with(descriptor::AF, u64::from(rng.u32(0..6) > 0));
            if rng.u32(0..4) == 0 {
                leaf = leaf.with(descriptor::S2AP, rng.u64(0..4)).with(descriptor::DBM, rng.u64(0..2));
            }
            if rng.u32(0..4) == 0 {
                leaf = leaf.with(descriptor::S2XN, rng.u64(0..4)).with(descriptor::MEMATTR, rng.u64(0..16));
            }
            return leaf.0[0];
        }
        let mut leaf = descriptor::S1_RW.with(descriptor::ATTRINDX, rng.u64(0..3));
        let odds = [(descriptor::AF, 2), (descriptor::NG, 3), (descriptor::UXN, 8), (descriptor::PXN, 8)];
        for (at, clear) in odds {
            leaf = leaf.with(at, u64::from(rng.u32(0..16) >= clear));
        }
        if rng.u32(0..3) == 0 {
            leaf = leaf.with(descriptor::AP, rng.u64(0..4)).with(descriptor::DBM, rng.u64(0..2));
        }
        // A global page has to be the same for all ASIDs.
        let is_shared = matches!(whose, Whose::Upper(1 | 2 | 4 | 5)) && !self.plan.only_stage2;
        if self.plan.polite && !is_shared {
            leaf = leaf.with(descriptor::NG, 1);
        }
        leaf.0[0]
    }

    /// 0 for a contiguous run.
    fn count(&mut self) -> u8 {
        match self.rng.u32(0..8) {
            0 => 0,
            1 | 2 => self.rng.u8(2..20),
            _ => 1,
        }
    }

    fn paging(&mut self) -> Paging {
        let read_only = descriptor::S2_RW.with(descriptor::S2AP, 0b01);
        let changes = [
            0,
            read_only.0[0],
            read_only.with(descriptor::DBM, 1).0[0],
            read_only.with(descriptor::DBM, 1).with(descriptor::AF, 0).0[0],
            descriptor::S2_RW.with(descriptor::S2AP, 0b10).0[0],
            descriptor::S2_RW.with(descriptor::AF, 0).0[0],
            descriptor::S2_RW.with(descriptor::MEMATTR, 0b0001).0[0],
        ];
        match self.rng.u32(0..3) {
            0 => Paging::Migrate,
            1 => Paging::Change(descriptor::S2_RW.0[0]),
            _ => Paging::Change(*self.rng.choice(&changes).expect("some")),
        }
    }

    /// An address at a spot; seldom one that is tagged, or outside.
    fn address(&mut self, spot: Spot) -> u64 {
        let rng = &mut *self.rng;
        match rng.u32(0..32) {
            0 => spot.address ^ rng.u64(..) << 56,
            1 => spot.address ^ 1 << rng.u32(12..64),
            2 => rng.u64(..),
            _ => spot.address | rng.u64(0..0x1000),
        }
    }

    /// Any invalidation that a guest or hypervisor may send, hostile ones too.
    fn command(&mut self) -> [u64; 2] {
        use opcode::*;
        let spot = self.spot();
        let is_stage2 = matches!(spot.whose, Whose::Stage2(_));
        let by_address: &[u8] = if is_stage2 && self.rng.u32(0..8) > 0 {
            &[TLBI_S2_IPA]
        } else {
            &[TLBI_NH_VA, TLBI_NH_VA, TLBI_NH_VAA, TLBI_EL2_VA, TLBI_EL2_VAA, TLBI_S2_IPA]
        };
        let others = [TLBI_NH_ALL, TLBI_NH_ASID, TLBI_NSNH_ALL, TLBI_S12_VMALL, TLBI_EL2_ALL, TLBI_EL2_ASID];
        let address = self.address(spot);
        let rng = &mut *self.rng;
        if rng.u32(0..24) == 0 {
            let sid = rng.u32(0..16);
            return match rng.u32(0..4) {
                0 => commands::cfgi_ste(sid, Leaf::AndTables),
                1 => commands::cfgi_ste_range(sid, rng.u64(0..32)),
                2 => commands::cfgi_cd_all(sid),
                _ => commands::cfgi_cd(sid, 0, Leaf::Only),
            };
        }
        let is_by_address = rng.u32(0..6) > 0;
        let opcode = *rng.choice(if is_by_address { by_address } else { &others }).expect("one of them");
        let (vmid, asid) = match spot.whose {
            Whose::Stage2(vm) => (vm as u64 + 1, 5 + rng.u64(0..2)),
            Whose::Lower(space) | Whose::Upper(space) => match (self.plan.only_stage2, space) {
                (true, 0 | 1) => (space as u64 + 0x11, 7),
                (true, _) => (0, space as u64 + 3),
                (false, 6..) => (0, space as u64 - 1),
                (false, _) if space % 3 == 0 => (space as u64 / 3 + 0x11, 7),
                (false, _) => (space as u64 / 3 + 1, space as u64 % 3 + 4),
            },
        };
        let mut raw = plain(opcode)
            .with(field::VMID, if rng.u32(0..8) == 0 { rng.u64(0..1 << 16) } else { vmid })
            .with(field::ASID, if rng.u32(0..8) == 0 { rng.u64(0..1 << 16) } else { asid });
        if is_by_address {
            let grain = self.shape(spot.whose).0;
            let rng = &mut *self.rng;
            let scale = match rng.u32(0..6) {
                0 => rng.u64(0..64),
                1 => 31,
                2 | 3 => 0,
                _ => rng.u64(0..20),
            };
            let num = if rng.bool() { 0 } else { rng.u64(0..32) };
            // The spot may lie anywhere in the range; its start may be aligned as the hint asks, or not.
            let back = (rng.u64(..) % (num + 1)) << (scale + u64::from(grain.shift())).min(63);
            let start = if rng.bool() { address } else { address.wrapping_sub(back) };
            let shift = grain.level_shift(rng.u32(1..4));
            let mut start = if rng.bool() { start >> shift << shift >> 12 } else { start >> 12 };
            if opcode == TLBI_S2_IPA && rng.u32(0..16) > 0 {
                start &= (1 << 40) - 1;
            }
            raw = raw
                .with(field::ADDRESS, start)
                .with(field::LEAF, rng.u64(0..2))
                .with(field::NUM, num)
                .with(field::SCALE, scale)
                .with(field::TTL, rng.u64(0..4))
                .with(field::TG, if rng.u32(0..3) == 0 { rng.u64(0..4) } else { grain.tlbi_tg() });
        }
        if self.rng.u32(0..8) == 0 {
            raw.0[0] |= self.rng.u64(..) & 0xfc0e_0f00; // RES0
        }
        raw.0
    }
}
