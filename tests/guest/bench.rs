//! What operations cost: the model beside a straight IOTLB of the kind that most peers have.
//!
//! Everything goes through the public interface: [`smmuv3::Smmu::translate`], register accesses, and queue memory. The
//! operations are rows of [`OPERATIONS`]; [`counting`] is how callgrind counts them.
//!
//! - The cost of a command is that of the register write by which the device consumes a batch, divided by the batch: 2,048
//!   commands that change nothing, or 64 that each drop a page. The guest's own writes to queue memory do not count.
//! - A command that drops all 256 live translations cannot be repeated. It stands amid 63 CMD_SYNC; its cost is that of
//!   the whole batch without that of the 63 alone. Fetch, decode and execution count, the register write does not.
//! - Where 256 are live "elsewhere", they lie above all that is named; rows `amid` have half of them below it and half above.
//! - `e_storm_262144` and `e_range_1gib` are whole: every register write counts.

#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a benchmark that is wrong about itself must stop"
)]

pub mod counting;
pub mod counts;
pub mod lru;
mod pages;
pub mod rates;
pub mod readme;
pub mod reference;
pub mod segment;
pub mod trace;
pub mod work;
pub mod world;

use reference::Reference;
use segment::Segment;
use work::{Destroyer, Order, Target, Work};
use world::{Ours, Shape};

/// Entries of the IOTLBs whose growth is measured.
pub const SIZES: [u32; 5] = [256, 1024, 4096, 16_384, 65_536];

/// One operation.
#[derive(Clone, Copy, Debug)]
pub struct Operation {
    /// Its name.
    pub name: &'static str,
    /// What it is.
    pub about: &'static str,
    /// What is measured.
    pub work: Work,
    /// Laps that are counted.
    pub laps: u64,
    /// Operations in all of these laps.
    pub operations: u64,
    /// What it may cost, in instructions.
    pub limit: Option<u32>,
    /// What it costs QEMU 10.0.2, in instructions.
    pub qemu: Option<f64>,
}

/// The segment that does a piece of work on the model.
pub fn ours(work: Work) -> Box<dyn Segment> {
    match work {
        Work::FullHits(256) | Work::FullRange(256, _) => work::prepare::<Ours<256>>(work),
        Work::FullHits(4096) | Work::FullRange(4096, _) => work::prepare::<Ours<4096>>(work),
        Work::FullHits(16_384) | Work::FullRange(16_384, _) => work::prepare::<Ours<16_384>>(work),
        Work::FullHits(65_536) | Work::FullRange(65_536, _) => work::prepare::<Ours<65_536>>(work),
        _ => work::prepare::<Ours<1024>>(work),
    }
}

/// The segment that does the same on the yardstick.
pub fn reference(work: Work) -> Box<dyn Segment> {
    work::prepare::<Reference>(work)
}

impl Operation {
    /// The work whose cost is no part of this operation's.
    pub const fn without(&self) -> Option<Work> {
        match self.work {
            Work::Destroy(destroyer) => Some(Work::Others(destroyer)),
            _ => None,
        }
    }

    /// The work that is timed: a clock cannot tell one command from the 63 beside it, so it stands alone there.
    pub const fn timed(&self) -> Work {
        match self.work {
            Work::Destroy(destroyer) => Work::Alone(destroyer),
            work => work,
        }
    }

    /// Operations of one lap; of an operation that is many laps, a part.
    pub fn each_lap(&self) -> f64 {
        self.operations as f64 / self.laps as f64
    }

    /// Counts the operation, or what must be taken from it.
    pub fn count(&self, without: bool) {
        let work = if without { self.without() } else { Some(self.work) };
        if let Some(work) = work {
            counting::run(ours(work).as_mut(), self.laps);
        }
    }
}

const fn row(name: &'static str, about: &'static str, work: Work) -> Operation {
    let (laps, operations) = match work {
        Work::Hits(..) | Work::Mixed(_) | Work::FullHits(_) => (1, work::STREAM as u64),
        Work::Uniform(_) | Work::Zipf(_) => (1, work::STREAM as u64),
        Work::Sequential => (1, work::STREAM_ACCESSES),
        Work::Sweep(pages, _) => (1, pages),
        Work::NestedCold => (64, 64),
        Work::NestedWarm => (2, 2 * (work::NESTED_PAGES - 1)),
        Work::Command(_) | Work::Amid(_) => (1, work::BATCH as u64),
        Work::FullRange(..) => (1, work::FULL_BATCH as u64),
        Work::Present => (4, 4 * work::LINUX_BATCH as u64),
        Work::Destroy(_) | Work::Others(_) | Work::Alone(_) => (4, 4),
        Work::Storm => (work::STORM / work::LINUX_BATCH as u64, 1),
        Work::Range1Gib => (8, 8),
        Work::Faults => (2, 2 * work::FAULTS),
        Work::Registers => (1, work::ACCESSES),
    };
    Operation { name, about, work, laps, operations, limit: None, qemu: None }
}

impl Operation {
    const fn at_most(self, limit: u32) -> Self {
        Self { limit: Some(limit), ..self }
    }

    const fn qemu(self, instructions: f64) -> Self {
        Self { qemu: Some(instructions), ..self }
    }
}

const SMALL: Shape = Shape::of(256);
const LARGE: Shape = Shape::of(1024);

const fn forgetful(shape: Shape) -> Shape {
    Shape { walk_cache: false, ..shape }
}

/// All operations.
pub const OPERATIONS: &[Operation] = &[
    row("a_translate_hit_4k_64", "hit, 64 pages in random order", Work::Hits(64, Order::Random))
        .at_most(130)
        .qemu(1100.0),
    row("a_translate_hit_4k_256", "hit, 256 pages in random order", Work::Hits(256, Order::Random))
        .at_most(130)
        .qemu(1103.0),
    row(
        "a_translate_hit_4k_256_dep",
        "the same, each address depending on the last answer",
        Work::Hits(256, Order::Dependent),
    )
    .at_most(130)
    .qemu(1103.0),
    row("a_translate_hit_mixed_256", "hit, 4 KiB, 2 MiB and 1 GiB live", Work::Mixed(256))
        .at_most(180)
        .qemu(980.0),
    row("a_translate_hit_stream", "sequential DMA through one 2 MiB block", Work::Sequential)
        .at_most(60)
        .qemu(1100.0),
    row(
        "b_translate_miss_sweep1024",
        "miss, 4-level walk and fill, capacity 256",
        Work::Sweep(1024, forgetful(SMALL)),
    )
    .at_most(450)
    .qemu(2866.0),
    row("b_walk_4lvl_cached", "miss with the walk cache warm, capacity 256", Work::Sweep(1024, SMALL))
        .at_most(250),
    row("b_nested_miss", "miss, 4 levels under 4 levels, nothing remembered", Work::NestedCold).at_most(2500),
    row("b_nested_miss_warm", "the same, tables and IPAs remembered", Work::NestedWarm).at_most(900),
    row("b_insert_full", "miss and fill of a full IOTLB of 1,024", Work::Sweep(4096, forgetful(LARGE)))
        .at_most(450)
        .qemu(105_218.0),
    row("c_uniform1024", "uniform trace over 1,024 pages, capacity 256", Work::Uniform(SMALL)).qemu(2663.0),
    row("c_zipf4096", "Zipf trace over 4,096 pages, capacity 256", Work::Zipf(SMALL)).qemu(2114.0),
    row("c_zipf4096_1024", "the same, capacity 1,024", Work::Zipf(LARGE)),
    row("d_inv_va_absent", "NH_VA of a page that is not live", Work::Command(Target::Absent))
        .at_most(110)
        .qemu(18_813.0),
    row("d_inv_va_present", "NH_VA of a page that is live", Work::Present).at_most(110).qemu(19_064.0),
    row("d_inv_range16_none", "a range of 16 pages, none live", Work::Command(Target::Range(4)))
        .at_most(1500)
        .qemu(18_811.0),
    row("d_inv_range512_none", "a range of 512 pages, none live", Work::Command(Target::Range(9)))
        .at_most(1500)
        .qemu(18_811.0),
    row("d_inv_range262144_none", "a range of 1 GiB, none live", Work::Command(Target::Range(18)))
        .at_most(1500)
        .qemu(18_811.0),
    row(
        "d_inv_range512_nobody",
        "a range of 512 pages of an ASID with nothing live",
        Work::Command(Target::Nobody(9)),
    )
    .at_most(60)
    .qemu(18_811.0),
    row(
        "d_inv_range262144_nobody",
        "a range of 1 GiB of an ASID with nothing live",
        Work::Command(Target::Nobody(18)),
    )
    .at_most(60)
    .qemu(18_811.0),
    row(
        "d_inv_va_amid",
        "NH_VA of a page that is not live, 128 below, 128 above",
        Work::Amid(Target::Absent),
    )
    .at_most(110)
    .qemu(18_813.0),
    row("d_inv_range16_amid", "a range of 16 pages, 128 live below, 128 above", Work::Amid(Target::Range(4)))
        .at_most(1500)
        .qemu(18_811.0),
    row("d_inv_range512_amid", "a range of 512 pages, likewise", Work::Amid(Target::Range(9)))
        .at_most(1500)
        .qemu(18_811.0),
    row("d_inv_range262144_amid", "a range of 1 GiB, likewise", Work::Amid(Target::Range(18)))
        .at_most(1500)
        .qemu(18_811.0),
    row("d_inv_range_odd_amid", "odd start, 31 << 13 pages, likewise", Work::Amid(Target::Odd))
        .at_most(1500)
        .qemu(415_503.0),
    row("d_inv_range_odd", "odd start, 31 << 13 pages, none live", Work::Command(Target::Odd))
        .at_most(1500)
        .qemu(415_503.0),
    row("d_inv_range_all", "a range with all 256 live in it", Work::Destroy(Destroyer::Range))
        .at_most(2500)
        .qemu(132_397.0),
    row("d_inv_asid_none", "NH_ASID with nothing live", Work::Command(Target::OtherAsid))
        .at_most(100)
        .qemu(13_644.0),
    row("d_inv_asid", "NH_ASID with all 256 live", Work::Destroy(Destroyer::Asid))
        .at_most(100)
        .qemu(127_234.0),
    row("d_inv_vmid", "NH_ALL with all 256 live", Work::Destroy(Destroyer::Vmid)).at_most(100),
    row("d_inv_all", "NSNH_ALL with all 256 live", Work::Destroy(Destroyer::All)).at_most(100).qemu(71_289.0),
    row("e_sync", "CMD_SYNC", Work::Command(Target::Sync)).at_most(60).qemu(133.0),
    row("e_percmd_va", "NH_VA of a page, 256 live elsewhere", Work::Command(Target::Absent))
        .at_most(150)
        .qemu(19_042.0),
    row("e_storm_262144", "1 GiB as 262,144 NH_VA, 256 live elsewhere", Work::Storm)
        .at_most(40_000_000)
        .qemu(5.0e9),
    row("e_range_1gib", "1 GiB as one range, and CMD_SYNC", Work::Range1Gib).at_most(1600).qemu(19_151.0),
    row("f_faults", "translation fault with its event record", Work::Faults).at_most(600),
    row("g_mmio_rw", "a register read or write", Work::Registers).at_most(80),
    row("s_hit_256", "hit, IOTLB of 256, full", Work::FullHits(256)),
    row("s_hit_1024", "hit, IOTLB of 1,024, full", Work::FullHits(1024)),
    row("s_hit_4096", "hit, IOTLB of 4,096, full", Work::FullHits(4096)),
    row("s_hit_16384", "hit, IOTLB of 16,384, full", Work::FullHits(16_384)),
    row("s_hit_65536", "hit, IOTLB of 65,536, full", Work::FullHits(65_536)),
    row("s_range16_256", "a range of 16 pages amid 256", Work::FullRange(256, 4)),
    row("s_range16_1024", "a range of 16 pages amid 1,024", Work::FullRange(1024, 4)),
    row("s_range16_4096", "a range of 16 pages amid 4,096", Work::FullRange(4096, 4)),
    row("s_range16_16384", "a range of 16 pages amid 16,384", Work::FullRange(16_384, 4)),
    row("s_range16_65536", "a range of 16 pages amid 65,536", Work::FullRange(65_536, 4)),
    row("s_wide_256", "a range of 1 GiB amid 256", Work::FullRange(256, 18)),
    row("s_wide_1024", "a range of 1 GiB amid 1,024", Work::FullRange(1024, 18)),
    row("s_wide_4096", "a range of 1 GiB amid 4,096", Work::FullRange(4096, 18)),
    row("s_wide_16384", "a range of 1 GiB amid 16,384", Work::FullRange(16_384, 18)),
    row("s_wide_65536", "a range of 1 GiB amid 65,536", Work::FullRange(65_536, 18)),
];

/// The operations whose names begin so.
///
/// # Errors
/// A sentence, where there are none.
pub fn named(prefix: &str) -> Result<Vec<&'static Operation>, String> {
    let found: Vec<_> = OPERATIONS.iter().filter(|operation| operation.name.starts_with(prefix)).collect();
    match found.is_empty() {
        true => Err(format!("no operation begins with `{prefix}`; `bench --list` shows all")),
        false => Ok(found),
    }
}

/// The operation of that name.
///
/// # Errors
/// A sentence, where there is none.
pub fn by_name(name: &str) -> Result<&'static Operation, String> {
    let found = OPERATIONS.iter().find(|operation| operation.name == name);
    found.ok_or_else(|| format!("no operation `{name}`; `bench --list` shows all"))
}

/// Runs `what` where a device of 65,536 entries finds room on the stack while it is made.
pub fn with_room<R: Send>(what: impl FnOnce() -> R + Send) -> R {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().stack_size(256 << 20).spawn_scoped(scope, what);
        let thread = thread.unwrap_or_else(|cause| panic!("no thread: {cause}"));
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}
