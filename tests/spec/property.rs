//! Random guests against the oracles: a device with caches may never answer what is neither in the tables nor allowed to be
//! cached.
//!
//! `SEED=n` runs one guest again, `GUESTS=n` changes how many there are.

#![allow(clippy::panic, clippy::indexing_slicing, clippy::expect_used, reason = "a failed test panics")]

use fastrand::Rng;
use smmuv3::{Behaviour, Features, Settings};
use smmuv3_tests::bits::Record;
use smmuv3_tests::campaign;
use smmuv3_tests::commands::{field, opcode, plain};
use smmuv3_tests::oracle::Access;
use smmuv3_tests::scenario::{Action, Extent, Half, Place, Plan, STREAMS_PER_SPACE, World};
use smmuv3_tests::tables::{Grain, cd, descriptor};
use smmuv3_tests::twins::same;

const GUESTS: u64 = 700;
const ACTIONS: usize = 60;

#[test]
fn polite_guests_see_what_their_tables_say() {
    run_guests(|plan| plan.polite = true);
}

#[test]
fn sloppy_guests_never_see_what_must_be_gone() {
    run_guests(|plan| plan.polite = false);
}

#[test]
fn strict_devices_keep_what_no_command_names() {
    run_guests(|plan| {
        plan.exact = true;
        plan.settings.behaviour = Behaviour::Strict;
        plan.settings.iotlb_unbounded = true;
    });
}

/// Evictions are part of it: which entry goes next depends on all that has gone before.
#[test]
fn a_device_that_nobody_watches_remembers_the_same() {
    let make = |rng: &mut Rng| {
        let plan = random_plan(rng);
        let mut generator = Generator { rng, plan: &plan, recent: Vec::new() };
        let actions = (0..ACTIONS).map(|_| generator.action()).collect();
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

fn run_guests(choose: impl Fn(&mut Plan)) {
    let make = |rng: &mut Rng| {
        let mut plan = random_plan(rng);
        choose(&mut plan);
        let mut generator = Generator { rng, plan: &plan, recent: Vec::new() };
        let actions = (0..ACTIONS).map(|_| generator.action()).collect();
        (plan, actions)
    };
    campaign::run(GUESTS, make, |plan: &Plan, actions: &[Action]| {
        let mut world = World::<256>::new(plan);
        actions.iter().try_for_each(|action| world.step(action))
    });
}

fn random_plan(rng: &mut Rng) -> Plan {
    let features = match rng.u32(0..8) {
        0 => Features::MINIMAL,
        1 => Features::QEMU_10,
        2 => Features::SMMUV3_1,
        _ => Features::SMMUV3_2,
    };
    let (sets, ways) = *rng.choice(&[(1, 1), (4, 4), (64, 4)]).expect("three of them");
    let mut settings = Settings::new(sets, ways);
    settings.walk_cache = rng.bool();
    settings.iotlb_unbounded = rng.u32(0..4) == 0;
    settings.behaviour = if rng.bool() { Behaviour::Strict } else { Behaviour::Natural };
    let granules = features.idr(5) >> 4;
    let grains: Vec<_> = [Grain::K4, Grain::K16, Grain::K64]
        .into_iter()
        .zip([granules & 1, granules >> 1 & 1, granules >> 2 & 1])
        .filter_map(|(grain, supported)| (supported == 1).then_some(grain))
        .collect();
    let mut half = || (grains[rng.usize(0..grains.len())], [16, 20, 25, 28, 32, 34, 39][rng.usize(0..7)]);
    let halves = [half(), half()];
    let mut cd = cd::of(0, 0).with(cd::V, 0).with(cd::AA64, 0).with(cd::A, 0).with(cd::R, 0);
    cd = cd.with(cd::EPD0, 0).with(cd::EPD1, 0);
    for option in [cd::TBI0, cd::TBI1, cd::WXN, cd::PAN, cd::AFFD] {
        cd = cd.with(option, u64::from(rng.u32(0..6) == 0));
    }
    let mut table = Record::<1>::ZERO;
    if rng.u32(0..4) == 0 {
        table = table.with(descriptor::APTABLE, rng.u64(0..4)).with(descriptor::UXNTABLE, rng.u64(0..2));
        table = table.with(descriptor::PXNTABLE, rng.u64(0..2));
    }
    let ips = rng.u64(0..6);
    Plan {
        features,
        settings,
        polite: false,
        exact: false,
        halves,
        ips,
        cd_bits: cd.0[0],
        table_attributes: table.0[0],
    }
}

/// Where something happened: a space, a half, an address.
#[derive(Clone, Copy)]
struct Spot {
    space: usize,
    half: Half,
    address: u64,
}

/// Makes up what a guest does. It keeps coming back to where it was, since only that can show what a cache kept.
struct Generator<'a> {
    rng: &'a mut Rng,
    plan: &'a Plan,
    recent: Vec<Spot>,
}

impl Generator<'_> {
    fn action(&mut self) -> Action {
        match self.rng.u32(0..100) {
            0..20 => {
                let place = self.place();
                let pa = self.rng.u64(..) >> self.rng.u32(16..40);
                let attributes = self.attributes(place.half);
                Action::Map { place, pa, attributes, extent: self.extent(), how: self.rng.u8(..) }
            }
            20..30 => Action::Unmap { place: self.place(), extent: self.extent(), how: self.rng.u8(..) },
            30..33 => Action::Split { place: self.place(), how: self.rng.u8(..) },
            33..50 => Action::Issue(self.command()),
            50 => {
                let spot = self.spot();
                Action::Prefetch { stream: self.stream(spot), address: spot.address }
            }
            51 => Action::Restart,
            _ => {
                let spot = self.spot();
                let write = self.rng.u32(0..4) == 0;
                let instruction = !write && self.rng.u32(0..8) == 0;
                let access = Access { write, instruction, privileged: self.rng.u32(0..3) == 0 };
                Action::Dma { stream: self.stream(spot), address: self.address(spot), access }
            }
        }
    }

    /// Mostly one of the last few spots or a neighbour, else a new one, which is remembered.
    fn spot(&mut self) -> Spot {
        let latest = self.recent.len().saturating_sub(3);
        let seen = self.rng.choice(&self.recent[latest..]).copied();
        match (seen, self.rng.u32(0..8)) {
            (Some(spot), 0) => Spot { space: spot.space ^ self.rng.usize(1..4), ..spot },
            (Some(spot), 1 | 2) => {
                let pages = self.rng.u64(0..20) << self.plan.halves[spot.half as usize].0.shift();
                Spot { address: self.inside(spot.half, spot.address.wrapping_add(pages)), ..spot }
            }
            (Some(spot), 3..) => spot,
            _ => {
                let half = if self.rng.bool() { Half::Lower } else { Half::Upper };
                let offset = self.offset(self.plan.halves[half as usize].0);
                let spot = Spot { space: self.rng.usize(0..4), half, address: self.inside(half, offset) };
                self.recent.push(spot);
                spot
            }
        }
    }

    fn inside(&self, half: Half, address: u64) -> u64 {
        let txsz = self.plan.halves[half as usize].1;
        let low = address & (u64::MAX >> txsz);
        if half == Half::Lower { low } else { low | u64::MAX << (64 - txsz) }
    }

    /// Few places, so that guests meet their own traces again.
    fn offset(&mut self, grain: Grain) -> u64 {
        let last = (1 << grain.stride()) - 1;
        let mut offset = 0u64;
        for level in 0..4 {
            let entries: &[u64] = if level == 3 { &[0, 1, 2, 15, 16, last] } else { &[0, 0, 1, last] };
            offset |= self.rng.choice(entries).expect("there are some") << grain.level_shift(level);
        }
        offset
    }

    fn stream(&mut self, spot: Spot) -> usize {
        spot.space * STREAMS_PER_SPACE + self.rng.usize(0..STREAMS_PER_SPACE)
    }

    fn place(&mut self) -> Place {
        let spot = self.spot();
        let level = *self.rng.choice(&[1, 2, 2, 3, 3, 3]).expect("six of them");
        Place { space: spot.space, half: spot.half, offset: spot.address, level }
    }

    fn attributes(&mut self, half: Half) -> u64 {
        let rng = &mut *self.rng;
        let mut leaf = descriptor::S1_RW.with(descriptor::ATTRINDX, rng.u64(0..3));
        let odds = [(descriptor::AF, 1), (descriptor::NG, 4), (descriptor::UXN, 8), (descriptor::PXN, 8)];
        for (at, clear) in odds {
            leaf = leaf.with(at, u64::from(rng.u32(0..16) >= clear));
        }
        if rng.u32(0..4) == 0 {
            leaf = leaf.with(descriptor::AP, rng.u64(0..4)).with(descriptor::DBM, rng.u64(0..2));
        }
        if self.plan.polite && half == Half::Lower {
            leaf = leaf.with(descriptor::NG, 1); // a global page has to be the same for all ASIDs
        }
        leaf.0[0]
    }

    fn extent(&mut self) -> Extent {
        match self.rng.u32(0..8) {
            0 => Extent::Run,
            1 | 2 => Extent::Leaves(self.rng.u8(2..20)),
            _ => Extent::Leaves(1),
        }
    }

    /// An address at a spot; seldom one that is tagged, or in neither half.
    fn address(&mut self, spot: Spot) -> u64 {
        let rng = &mut *self.rng;
        match rng.u32(0..32) {
            0 => spot.address ^ rng.u64(..) << 56,
            1 => spot.address ^ 1 << rng.u32(12..64),
            2 => rng.u64(..),
            _ => spot.address | rng.u64(0..0x1000),
        }
    }

    /// Any invalidation that a guest may send, hostile ones too.
    fn command(&mut self) -> [u64; 2] {
        use opcode::*;
        let by_address = [
            TLBI_NH_VA,
            TLBI_NH_VA,
            TLBI_NH_VA,
            TLBI_NH_VA,
            TLBI_NH_VAA,
            TLBI_NH_VAA,
            TLBI_EL2_VA,
            TLBI_EL2_VAA,
        ];
        let others = [TLBI_NH_ALL, TLBI_NH_ASID, TLBI_NSNH_ALL, TLBI_S12_VMALL, TLBI_EL2_ALL, TLBI_EL2_ASID];
        let spot = self.spot();
        let address = self.address(spot);
        let rng = &mut *self.rng;
        let opcode = if rng.u32(0..6) > 0 { rng.choice(&by_address) } else { rng.choice(&others) };
        let opcode = *opcode.expect("one of them");
        let (vmid, asid) = (1 + spot.space as u64 / 2, 5 + spot.space as u64 % 2);
        let mut raw = plain(opcode)
            .with(field::VMID, if rng.u32(0..8) == 0 { rng.u64(0..1 << 16) } else { vmid })
            .with(field::ASID, if rng.u32(0..8) == 0 { rng.u64(0..1 << 16) } else { asid });
        if by_address.contains(&opcode) {
            let grain = self.plan.halves[spot.half as usize].0;
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
            raw = raw
                .with(field::ADDRESS, if rng.bool() { start >> shift << shift >> 12 } else { start >> 12 })
                .with(field::LEAF, rng.u64(0..2))
                .with(field::NUM, num)
                .with(field::SCALE, scale)
                .with(field::TTL, rng.u64(0..4))
                .with(field::TG, if rng.u32(0..3) == 0 { rng.u64(0..4) } else { grain.tlbi_tg() });
        }
        if rng.u32(0..8) == 0 {
            raw.0[0] |= rng.u64(..) & 0xfc0e_0f00; // RES0
        }
        raw.0
    }
}
