//! What each operation does: the world that it needs, what comes before a lap, and a lap.

use core::hint::black_box;

use super::segment::{Segment, segment, steady};
use super::trace;
use super::world::{ASID, Shape, Subject, World};
use crate::commands::{Command, Hint, Leaf, sync, tlbi_nh_all, tlbi_nh_asid, tlbi_nh_va, tlbi_nsnh_all};
use crate::driver::register;

/// Addresses of a random stream: enough that a predictor learns only some.
pub const STREAM: usize = 16_384;
/// Commands that one register write announces, where the cost of a command is measured.
pub const BATCH: usize = 2048;
/// The same, beside full IOTLBs of all sizes.
pub const FULL_BATCH: usize = 64;
/// Commands that Linux announces at once.
pub const LINUX_BATCH: usize = 64;
/// The commands of [`LINUX_BATCH`] besides the one whose cost is measured.
const OTHERS: usize = LINUX_BATCH - 1;
/// Live translations where commands are measured.
pub const LIVE: u64 = 256;
/// Faults of a lap.
pub const FAULTS: u64 = 64;
/// Register accesses of a lap.
pub const ACCESSES: u64 = 6000;
/// Pages of a nested world.
pub const NESTED_PAGES: u64 = 256;
/// Bytes between two accesses of sequential DMA.
const STRIDE: usize = 128;
/// Accesses of a lap of sequential DMA.
pub const STREAM_ACCESSES: u64 = (1 << 21) / STRIDE as u64;
/// Commands of the storm.
pub const STORM: u64 = 262_144;

/// Where transactions go.
pub const IOVA: u64 = 0x40_0000_0000;
/// Where translations live that no command of [`IOVA`]'s names.
const ELSEWHERE: u64 = 0x7000_0000_0000;
/// Where half of them live, if what commands name is to lie amid them.
const BELOW: u64 = 0x10_0000_0000;

/// A hit, and how the addresses come.
#[derive(Clone, Copy, Debug)]
pub enum Order {
    /// Random.
    Random,
    /// Random, each depending on the last answer.
    Dependent,
}

/// Where the live translations are, and what is invalidated.
#[derive(Clone, Copy, Debug)]
pub enum Target {
    /// One page that is not live.
    Absent,
    /// A range of 2^n pages in which nothing is live.
    Range(u64),
    /// 31 · 2^13 pages from an odd page on, in which nothing is live.
    Odd,
    /// A range of 2^n pages of an ASID of which nothing is live.
    Nobody(u64),
    /// CMD_SYNC.
    Sync,
    /// An ASID of which nothing is live.
    OtherAsid,
}

/// A command that drops translations, which are made live again before the next lap.
#[derive(Clone, Copy, Debug)]
pub enum Destroyer {
    /// A range that holds all that is live.
    Range,
    /// NH_ASID.
    Asid,
    /// NH_ALL.
    Vmid,
    /// NSNH_ALL.
    All,
}

/// What is measured.
#[derive(Clone, Copy, Debug)]
pub enum Work {
    /// Hits of so many pages.
    Hits(u64, Order),
    /// Hits of pages and blocks of both sizes.
    Mixed(u64),
    /// Sequential DMA through one block of 2 MiB.
    Sequential,
    /// Misses alone: so many pages, one after another, more than the shape has room for.
    Sweep(u64, Shape),
    /// A miss through both stages, with nothing remembered but the configuration.
    NestedCold,
    /// Misses through both stages, with stage 1's tables and every IPA remembered.
    NestedWarm,
    /// A uniform trace of 1,024 pages.
    Uniform(Shape),
    /// A Zipf trace of 4,096 pages.
    Zipf(Shape),
    /// A command that changes nothing, [`BATCH`] to a register write.
    Command(Target),
    /// The same, where translations live below and above what it names.
    Amid(Target),
    /// NH_VA of pages that are live, [`LINUX_BATCH`] to a register write.
    Present,
    /// A command amid 63 of CMD_SYNC.
    Destroy(Destroyer),
    /// A command alone, register write and all.
    Alone(Destroyer),
    /// The 63 alone.
    Others(Destroyer),
    /// 1 GiB page by page, [`LINUX_BATCH`] to a register write.
    Storm,
    /// 1 GiB as one range, and CMD_SYNC.
    Range1Gib,
    /// Translation faults at level 3.
    Faults,
    /// Reads of five registers, and a write of one.
    Registers,
    /// Hits of an IOTLB that is full with so many pages.
    FullHits(u32),
    /// A range of 2^n pages amid so many live translations, for which the IOTLB has just room.
    FullRange(u32, u64),
}

/// The segment that does a piece of work on a subject.
pub fn prepare<S: Subject>(work: Work) -> Box<dyn Segment> {
    match work {
        Work::Hits(pages, order) => hits::<S>(pages, Shape::of(1024), order),
        Work::Mixed(pages) => mixed::<S>(pages),
        Work::Sequential => sequential::<S>(),
        Work::Sweep(pages, shape) => sweep::<S>(pages, shape),
        Work::NestedCold => nested_cold::<S>(),
        Work::NestedWarm => nested_warm::<S>(),
        Work::Uniform(shape) => replay::<S>(1024, trace::uniform(1024, STREAM, 2), shape),
        Work::Zipf(shape) => replay::<S>(4096, trace::zipf(4096, STREAM, 3), shape),
        Work::Command(target) => commands::<S>(live_world::<S>(Shape::of(1024), LIVE), target, BATCH),
        Work::Amid(target) => commands::<S>(world_around::<S>(Shape::of(1024), LIVE), target, BATCH),
        Work::Present => present::<S>(),
        Work::Destroy(destroyer) => destroy::<S>(destroyer, &[sync(); OTHERS], true),
        Work::Alone(destroyer) => destroy::<S>(destroyer, &[], true),
        Work::Others(destroyer) => destroy::<S>(destroyer, &[sync(); OTHERS], false),
        Work::Storm => storm::<S>(),
        Work::Range1Gib => range_1gib::<S>(),
        Work::Faults => faults::<S>(),
        Work::Registers => registers::<S>(),
        Work::FullHits(entries) => hits::<S>(entries.into(), Shape::of(entries), Order::Random),
        Work::FullRange(entries, log2_pages) => {
            let world = world_around::<S>(Shape::of(entries), entries.into());
            commands::<S>(world, Target::Range(log2_pages), FULL_BATCH)
        }
    }
}

/// A world with `count` live translations elsewhere.
fn live_world<S: Subject>(shape: Shape, count: u64) -> World<S> {
    let mut world = World::<S>::new(shape);
    world.map_pages(ELSEWHERE, count);
    world.touch(ELSEWHERE, count);
    world
}

/// A world with `count` live translations, half of them below [`IOVA`] and half above.
fn world_around<S: Subject>(shape: Shape, count: u64) -> World<S> {
    let mut world = World::<S>::new(shape);
    for (va, part) in [(BELOW, count / 2), (ELSEWHERE + ((count / 2) << 12), count / 2)] {
        world.map_pages(va, part);
        world.touch(va, part);
    }
    world
}

fn hits<S: Subject>(pages: u64, shape: Shape, order: Order) -> Box<dyn Segment> {
    let mut world = World::<S>::new(shape);
    world.map_pages(IOVA, pages);
    world.touch(IOVA, pages);
    let addresses: Vec<u64> =
        trace::uniform(pages, STREAM, 2).iter().map(|page| IOVA + (page << 12) + 0x100).collect();
    match order {
        Order::Random => over(world, addresses),
        Order::Dependent => segment(world, steady, move |world| {
            addresses.iter().fold(0, |last, va| world.translate(*va | last & 0xff))
        }),
    }
}

/// A segment that accesses each of `addresses`.
fn over<S: Subject>(world: World<S>, addresses: Vec<u64>) -> Box<dyn Segment> {
    segment(world, steady, move |world| addresses.iter().fold(0, |sum, va| sum ^ world.translate(*va)))
}

fn mixed<S: Subject>(pages: u64) -> Box<dyn Segment> {
    let mut world = World::<S>::new(Shape::of(1024));
    let mut starts = Vec::new();
    for n in 0..pages {
        let (va, log2_size) = match n % 3 {
            0 => (IOVA + (n << 12), 12),
            1 => (IOVA + (1 << 36) + (n << 21), 21),
            _ => (ELSEWHERE + (n << 30), 30),
        };
        world.map(va, log2_size);
        world.touch(va, 1);
        starts.push(va + 0x100);
    }
    let addresses = trace::uniform(pages, STREAM, 2).iter().map(|page| starts[*page as usize]).collect();
    over(world, addresses)
}

fn sequential<S: Subject>() -> Box<dyn Segment> {
    let mut world = live_world::<S>(Shape::of(1024), 64);
    world.map(IOVA, 21);
    world.touch(IOVA, 1);
    segment(world, steady, |world| {
        (IOVA..IOVA + (1 << 21)).step_by(STRIDE).fold(0, |sum, va| sum ^ world.translate(va))
    })
}

fn sweep<S: Subject>(pages: u64, shape: Shape) -> Box<dyn Segment> {
    let mut world = World::<S>::new(shape);
    world.map_pages(IOVA, pages);
    world.touch(IOVA, pages);
    over(world, (0..pages).map(|page| IOVA + (page << 12)).collect())
}

fn nested_world<S: Subject>(walk_cache: bool) -> World<S> {
    let mut world = World::<S>::new(Shape { nested: true, walk_cache, ..Shape::of(1024) });
    for page in 0..NESTED_PAGES {
        world.map(IOVA + (page << 12), 12);
    }
    world.touch(IOVA, NESTED_PAGES);
    world
}

fn nested_cold<S: Subject>() -> Box<dyn Segment> {
    let mut page = 0;
    segment(
        nested_world::<S>(false),
        |world| world.announce(&[tlbi_nsnh_all()]),
        move |world| {
            page = (page + 1) % NESTED_PAGES;
            world.translate(IOVA + (page << 12))
        },
    )
}

/// NH_ASID leaves what stage 2 alone says. One access brings the tables of stage 1 back.
fn nested_warm<S: Subject>() -> Box<dyn Segment> {
    segment(
        nested_world::<S>(true),
        |world| {
            world.announce(&[tlbi_nh_asid(0, ASID)]);
            world.touch(IOVA, 1);
        },
        |world| {
            let pages = IOVA + 4096..IOVA + (NESTED_PAGES << 12);
            pages.step_by(4096).fold(0, |sum, va| sum ^ world.translate(va))
        },
    )
}

fn replay<S: Subject>(pages: u64, trace: Vec<u64>, shape: Shape) -> Box<dyn Segment> {
    let mut world = World::<S>::new(shape);
    world.map_pages(IOVA, pages);
    over(world, trace.iter().map(|page| IOVA + (page << 12)).collect())
}

/// A segment of one register write, which has the device consume `batch`.
fn consumption<S: Subject>(
    world: World<S>,
    batch: Vec<Command>,
    mut ready: impl FnMut(&mut World<S>) + 'static,
) -> Box<dyn Segment> {
    segment(
        world,
        move |world| {
            world.consumed();
            ready(world);
            world.put(&batch);
        },
        |world| {
            world.ring();
            0
        },
    )
}

const fn range(asid: u16, va: u64, num: u64, scale: u64) -> Command {
    tlbi_nh_va(0, asid, va, Leaf::Only, Hint { num: num - 1, scale, ttl: 3, tg: 1 })
}

const fn page(va: u64) -> Command {
    tlbi_nh_va(0, ASID, va, Leaf::Only, Hint::NONE)
}

/// 2^`log2_pages` pages from `va` on: NUM counts to 32, so 16 pages are 16 · 2^0.
const fn aligned_range(asid: u16, va: u64, log2_pages: u64) -> Command {
    if log2_pages == 4 { range(asid, va, 16, 0) } else { range(asid, va, 1, log2_pages) }
}

fn commands<S: Subject>(world: World<S>, target: Target, batch: usize) -> Box<dyn Segment> {
    let command = |n: u64| match target {
        Target::Absent => page(IOVA + (n << 12)),
        Target::Range(log2_pages) => aligned_range(ASID, IOVA + ((n % 64) << 31), log2_pages),
        Target::Odd => range(ASID, IOVA + ((n % 64) << 31) + 0x3000, 31, 13),
        Target::Nobody(log2_pages) => aligned_range(ASID + 1, IOVA + ((n % 64) << 31), log2_pages),
        Target::Sync => sync(),
        Target::OtherAsid => tlbi_nh_asid(0, 100 + (n % 64) as u16),
    };
    consumption(world, (0..batch as u64).map(command).collect(), steady)
}

fn present<S: Subject>() -> Box<dyn Segment> {
    let batch = (0..LINUX_BATCH as u64).map(|n| page(ELSEWHERE + ((n * 4) << 12))).collect();
    consumption(live_world::<S>(Shape::of(1024), LIVE), batch, |world| world.touch(ELSEWHERE, LIVE))
}

fn destroy<S: Subject>(destroyer: Destroyer, others: &[Command], with: bool) -> Box<dyn Segment> {
    let command = match destroyer {
        Destroyer::Range => aligned_range(ASID, ELSEWHERE, 18),
        Destroyer::Asid => tlbi_nh_asid(0, ASID),
        Destroyer::Vmid => tlbi_nh_all(0),
        Destroyer::All => tlbi_nsnh_all(),
    };
    let mut batch = others.to_vec();
    if with {
        batch.insert(others.len() / 2, command);
    }
    consumption(live_world::<S>(Shape::of(1024), LIVE), batch, |world| world.touch(ELSEWHERE, LIVE))
}

fn storm<S: Subject>() -> Box<dyn Segment> {
    let mut next = 0;
    segment(
        live_world::<S>(Shape::of(1024), LIVE),
        move |world| {
            world.consumed();
            let batch: [Command; LINUX_BATCH] =
                core::array::from_fn(|n| page(IOVA + ((next + n as u64) << 12)));
            world.put(&batch);
            next = (next + LINUX_BATCH as u64) % STORM;
        },
        |world| {
            world.ring();
            0
        },
    )
}

fn range_1gib<S: Subject>() -> Box<dyn Segment> {
    let batch = vec![aligned_range(ASID, IOVA, 18), sync()];
    consumption(live_world::<S>(Shape::of(1024), LIVE), batch, steady)
}

/// The first page of the 2 MiB is mapped, so that the tables are there; the others fault at level 3.
fn faults<S: Subject>() -> Box<dyn Segment> {
    let mut world = live_world::<S>(Shape::of(1024), 1);
    world.map(IOVA, 12);
    world.touch(IOVA, 1);
    segment(world, World::drain_events, |world| {
        (1..=FAULTS).fold(0, |sum, page| sum ^ world.translate(IOVA + (page << 12)))
    })
}

fn registers<S: Subject>() -> Box<dyn Segment> {
    const READ: [u32; 5] =
        [register::IDR0, register::CR0ACK, register::GERROR, register::CMDQ_CONS, register::EVENTQ_PROD];
    segment(World::<S>::new(Shape::of(1024)), steady, |world| {
        let mut sum = 0;
        for _ in 0..ACCESSES / 6 {
            sum = READ.iter().fold(sum, |sum, offset| sum ^ world.subject.read(black_box(*offset)));
            world.write32(black_box(register::EVENTQ_CONS), 0);
        }
        sum.into()
    })
}
