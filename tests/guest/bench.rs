//! What `bench` measures: operations on a booted device, each through the public interface alone.
//!
//! An operation is a closure that runs a segment and says how many times it did what it is named after. Streams of
//! addresses are fixed; 16,384 of them, repeated, so that predictors can learn only some.

#![allow(clippy::indexing_slicing, reason = "a benchmark that is wrong about itself must stop")]

use smmuv3::{Env, Features, Iova, NoInterrupts, NoTrace, Settings, Smmu, StreamId, Transaction};

use crate::bits::Words;
use crate::commands::{Command, Hint, Leaf, sync, tlbi_nh_all, tlbi_nh_asid, tlbi_nh_va, tlbi_nsnh_all};
use crate::driver::{Boot, COMMAND_QUEUE, Driver, Ram, register};
use crate::tables::{Grain, PageTables, cd, descriptor, ste};

const SID: u32 = 8;
const ASID: u16 = 5;
const STREAM: usize = 16_384;
const IOVA: u64 = 0x40_0000_0000;
const ELSEWHERE: u64 = 0x80_0000_0000;
const LOG2_COMMANDS: u32 = 12;

/// One operation.
pub struct Operation {
    /// Its name.
    pub name: &'static str,
    /// What it is.
    pub about: &'static str,
    /// Makes the closure that runs a segment, and returns how many operations that was.
    pub prepare: fn() -> Box<dyn FnMut() -> u64>,
}

/// All operations, in the order of their names.
pub const OPERATIONS: &[Operation] = &[
    Operation {
        name: "a_translate_hit_4k_64",
        about: "hit, 64 pages in random order",
        prepare: || hits(64, 0),
    },
    Operation {
        name: "a_translate_hit_4k_256",
        about: "hit, 256 pages in random order",
        prepare: || hits(256, 0),
    },
    Operation {
        name: "a_translate_hit_4k_256_dep",
        about: "the same, each address depending on the last answer",
        prepare: dependent_hits,
    },
    Operation {
        name: "a_translate_hit_mixed_256",
        about: "hit, 4 KiB, 2 MiB and 1 GiB live",
        prepare: || hits(256, 3),
    },
    Operation {
        name: "a_translate_hit_stream",
        about: "sequential DMA through one 2 MiB block",
        prepare: stream_hits,
    },
    Operation {
        name: "b_insert_full",
        about: "miss and fill of a full IOTLB of 1,024",
        prepare: || sweep(4096, 256, 4, true),
    },
    Operation {
        name: "b_nested_miss",
        about: "miss, 4 levels under 4 levels, nothing remembered",
        prepare: || nested_miss(false),
    },
    Operation {
        name: "b_nested_miss_cached",
        about: "miss, 4 levels under 4 levels, tables remembered",
        prepare: || nested_miss(true),
    },
    Operation {
        name: "b_translate_miss_sweep1024",
        about: "miss, 4-level walk and fill, capacity 256",
        prepare: || sweep(1024, 64, 4, false),
    },
    Operation {
        name: "b_walk_4lvl_cached",
        about: "miss with the walk cache warm, capacity 256",
        prepare: || sweep(1024, 64, 4, true),
    },
    Operation {
        name: "c_uniform1024",
        about: "uniform trace over 1,024 pages, capacity 256",
        prepare: uniform,
    },
    Operation {
        name: "c_zipf4096",
        about: "Zipf(0.99) trace over 4,096 pages, capacity 1,024",
        prepare: zipf,
    },
    Operation {
        name: "d_inv_all",
        about: "NSNH_ALL, 256 live, refilled",
        prepare: || drop_all(|_| tlbi_nsnh_all()),
    },
    Operation {
        name: "d_inv_asid",
        about: "NH_ASID of another ASID, 256 live",
        prepare: || commands(|n| tlbi_nh_asid(0, 100 + (n & 63) as u16)),
    },
    Operation {
        name: "d_inv_range16_512",
        about: "one range of 512 pages, none live in it",
        prepare: || commands(|n| range(IOVA + (n << 30), 0, 9)),
    },
    Operation {
        name: "d_inv_range16_none",
        about: "one range of 16 pages, none live in it",
        prepare: || commands(|n| range(IOVA + (n << 30), 15, 0)),
    },
    Operation {
        name: "d_inv_range_262144",
        about: "one range of 1 GiB, none live in it",
        prepare: || commands(|n| range(IOVA + (n << 31), 0, 18)),
    },
    Operation {
        name: "d_inv_range_odd",
        about: "odd start, 31 << 13 pages, none live in it",
        prepare: || commands(|n| range(IOVA + 0x3000 + (n << 31), 30, 13)),
    },
    Operation {
        name: "d_inv_range_other_asid",
        about: "one range of 512 pages of an ASID with nothing live",
        prepare: || commands(|n| other_range(IOVA + (n << 21), 0, 9)),
    },
    Operation {
        name: "d_inv_va_absent",
        about: "one NH_VA of a page that is not live, 256 live",
        prepare: || commands(|n| tlbi_nh_va(0, ASID, IOVA + (n << 12), Leaf::Only, Hint::NONE)),
    },
    Operation {
        name: "d_inv_vmid",
        about: "NH_ALL of another VMID, 256 live",
        prepare: || commands(|n| tlbi_nh_all(100 + (n & 63) as u16)),
    },
    Operation {
        name: "e_percmd_va",
        about: "a TLBI_NH_VA through the queue, 256 live elsewhere",
        prepare: percmd_va,
    },
    Operation {
        name: "e_range_1gib",
        about: "1 GiB as one range command, and CMD_SYNC",
        prepare: range_1gib,
    },
    Operation { name: "e_storm_262144", about: "1 GiB as 262,144 NH_VA, 256 live elsewhere", prepare: storm },
    Operation { name: "e_sync", about: "a CMD_SYNC through the queue", prepare: || commands(|_| sync()) },
    Operation { name: "f_faults", about: "translation fault with its event record", prepare: faults },
    Operation { name: "g_mmio_rw", about: "a register read or write", prepare: mmio },
];

/// A booted device with one stream, and the addresses that are mapped.
struct Bench<const N: usize> {
    driver: Driver<N>,
    tables: PageTables,
}

impl<const N: usize> Bench<N> {
    fn new(features: Features, settings: Settings) -> Box<Self> {
        let mut driver = Driver::new(features, settings, 24);
        driver.boot(Boot { log2_commands: LOG2_COMMANDS, ..Boot::USUAL });
        let tables = PageTables::stage1(Grain::K4, 16, &mut driver.heap, &mut driver.ram);
        let context = driver.heap.allocate(64);
        driver.install_cd(SID, 0, context, &cd::lower(cd::of(ASID, 4), Grain::K4, 16, tables.root));
        driver.install_ste(SID, &ste::stage1(context, 0));
        Box::new(Self { driver, tables })
    }

    fn map(&mut self, va: u64, log2_size: u32) {
        let Driver { heap, ram, .. } = &mut self.driver;
        let pa = 0x1000_0000_0000_u64 >> 4 | (va & 0xff_ffff_ffff);
        self.tables.map(heap, ram, va, pa & !((1 << log2_size) - 1), log2_size, descriptor::S1_RW);
    }

    fn translate(&mut self, va: u64) -> u64 {
        translate(&mut self.driver.smmu, &mut self.driver.ram, va)
    }

    /// Maps and touches `count` pages elsewhere.
    fn live(&mut self, count: u64) {
        for n in 0..count {
            self.map(ELSEWHERE + (n << 12), 12);
            self.translate(ELSEWHERE + (n << 12));
        }
    }

    /// Puts `commands` into queue memory and rings once; the device consumes all.
    fn ring(&mut self, prod: &mut u32, commands: &[Command]) {
        for command in commands {
            let slot = COMMAND_QUEUE + 16 * u64::from(*prod & ((1 << LOG2_COMMANDS) - 1));
            self.driver.ram.set_word(slot, command[0]);
            self.driver.ram.set_word(slot + 8, command[1]);
            *prod = (*prod + 1) & ((2 << LOG2_COMMANDS) - 1);
        }
        ring(&mut self.driver.smmu, &mut self.driver.ram, *prod);
    }
}

#[inline(always)]
fn translate<const N: usize>(smmu: &mut Smmu<N>, ram: &mut Ram, va: u64) -> u64 {
    let mut env = Env { memory: ram, interrupts: &mut NoInterrupts, trace: &mut NoTrace };
    let transaction = Transaction::read(StreamId(SID), Iova(va));
    smmu.translate(&transaction, &mut env).map_or(0, |translation| translation.pa.0)
}

#[inline(always)]
fn ring<const N: usize>(smmu: &mut Smmu<N>, ram: &mut Ram, prod: u32) {
    let mut env = Env { memory: ram, interrupts: &mut NoInterrupts, trace: &mut NoTrace };
    let _rung = smmu.write(register::CMDQ_PROD, &prod.to_le_bytes(), &mut env);
    while smmu.pending() {
        smmu.poll(1 << LOG2_COMMANDS, &mut env);
    }
}

fn qemu() -> Features {
    Features::QEMU_10
}

/// Addresses in random order, `sizes` sizes mixed.
fn hits(pages: u64, sizes: u64) -> Box<dyn FnMut() -> u64> {
    let mut bench = Bench::<1024>::new(qemu(), Settings::new(256, 4));
    let mut addresses = Vec::new();
    for n in 0..pages {
        let (va, log2_size) = match if sizes == 0 { 0 } else { n % sizes } {
            0 => (IOVA + (n << 12), 12),
            1 => (IOVA + (1 << 36) + (n << 21), 21),
            _ => (IOVA + (1 << 38) + (n << 30), 30),
        };
        bench.map(va, log2_size);
        bench.translate(va);
        addresses.push(va);
    }
    let mut random = fastrand::Rng::with_seed(1);
    let order: Vec<u64> = (0..STREAM).map(|_| addresses[random.usize(..addresses.len())] | 0x123).collect();
    Box::new(move || {
        let mut sum = 0;
        for va in &order {
            sum ^= bench.translate(*va);
        }
        core::hint::black_box(sum);
        order.len() as u64
    })
}

fn dependent_hits() -> Box<dyn FnMut() -> u64> {
    let mut bench = Bench::<1024>::new(qemu(), Settings::new(256, 4));
    for n in 0..256 {
        bench.map(IOVA + (n << 12), 12);
        bench.translate(IOVA + (n << 12));
    }
    let mut random = fastrand::Rng::with_seed(1);
    let order: Vec<u64> = (0..STREAM).map(|_| IOVA + (random.u64(..256) << 12)).collect();
    Box::new(move || {
        let mut last = 0;
        for va in &order {
            last = bench.translate(*va | (last & 0xff));
        }
        core::hint::black_box(last);
        order.len() as u64
    })
}

fn stream_hits() -> Box<dyn FnMut() -> u64> {
    let mut bench = Bench::<1024>::new(qemu(), Settings::new(256, 4));
    bench.map(IOVA, 21);
    bench.live(64);
    Box::new(move || {
        let mut sum = 0;
        for offset in (0..1 << 21).step_by(128) {
            sum ^= bench.translate(IOVA + offset);
        }
        core::hint::black_box(sum);
        (1 << 21) / 128
    })
}

/// Misses only: more pages than there is room for, one after another.
fn sweep(pages: u64, sets: u32, ways: u32, walk_cache: bool) -> Box<dyn FnMut() -> u64> {
    let settings = Settings { walk_cache, ..Settings::new(sets, ways) };
    let mut bench = Bench::<1024>::new(qemu(), settings);
    (0..pages).for_each(|n| bench.map(IOVA + (n << 12), 12));
    Box::new(move || {
        let mut sum = 0;
        for n in 0..pages {
            sum ^= bench.translate(IOVA + (n << 12));
        }
        core::hint::black_box(sum);
        pages
    })
}

fn nested_miss(remembered: bool) -> Box<dyn FnMut() -> u64> {
    let features = Features { s2p: true, xnx: true, ..qemu() };
    let settings = Settings { walk_cache: remembered, ..Settings::new(256, 4) };
    let mut bench = Bench::<1024>::new(features, settings);
    let driver = &mut bench.driver;
    let s2 = PageTables::from_level(Grain::K4, 44, 0, &mut driver.heap, &mut driver.ram);
    for page in 0..512 {
        bench.map(IOVA + (page << 12), 12);
    }
    let Driver { heap, ram, .. } = &mut bench.driver;
    let (first, end) = (crate::driver::RAM_BASE, crate::driver::RAM_BASE + (24 << 20));
    for page in (first..end).step_by(4096) {
        s2.map(heap, ram, page, page, 12, descriptor::S2_RW);
    }
    for page in 0..512 {
        let ipa = 0x1000_0000_0000_u64 >> 4 | ((IOVA + (page << 12)) & 0xff_ffff_ffff);
        s2.map(heap, ram, ipa, ipa, 12, descriptor::S2_RW);
    }
    let ste = bench.driver.read_record::<8>(crate::driver::STREAM_TABLE + 64 * u64::from(SID));
    let nested = crate::bits::Record(ste)
        .with(ste::CONFIG, ste::NESTED)
        .with(ste::S2T0SZ, 20)
        .with(ste::S2SL0, 2)
        .with(ste::S2PS, 4)
        .with(ste::S2AA64, 1)
        .with(ste::S2R, 1)
        .with(ste::S2TTB, s2.root >> 4);
    bench.driver.install_ste(SID, &nested);
    bench.translate(IOVA);
    Box::new(move || {
        let mut sum = 0;
        for page in 0..512 {
            if !remembered {
                bench.driver.smmu.drop_caches();
            } else if page == 0 {
                let mut prod = bench.driver.prod();
                bench.ring(&mut prod, &[tlbi_nsnh_all()]);
            }
            sum ^= bench.translate(IOVA + (page << 12));
        }
        core::hint::black_box(sum);
        512
    })
}

fn uniform() -> Box<dyn FnMut() -> u64> {
    let mut bench = Bench::<1024>::new(qemu(), Settings::new(64, 4));
    (0..1024).for_each(|n| bench.map(IOVA + (n << 12), 12));
    let mut random = fastrand::Rng::with_seed(2);
    let trace: Vec<u64> = (0..STREAM).map(|_| random.u64(..1024)).collect();
    run_trace(bench, trace)
}

fn zipf() -> Box<dyn FnMut() -> u64> {
    let mut bench = Bench::<1024>::new(qemu(), Settings::new(256, 4));
    (0..4096).for_each(|n| bench.map(IOVA + (n << 12), 12));
    let weights: Vec<f64> = (1..=4096).map(|rank| 1.0 / f64::from(rank).powf(0.99)).collect();
    let total: f64 = weights.iter().sum();
    let mut pages: Vec<u64> = (0..4096).collect();
    let mut random = fastrand::Rng::with_seed(3);
    random.shuffle(&mut pages);
    let trace = (0..STREAM)
        .map(|_| {
            let mut left = random.f64() * total;
            let rank = weights.iter().position(|weight| {
                left -= weight;
                left <= 0.0
            });
            pages[rank.unwrap_or(0)]
        })
        .collect();
    run_trace(bench, trace)
}

fn run_trace(mut bench: Box<Bench<1024>>, trace: Vec<u64>) -> Box<dyn FnMut() -> u64> {
    Box::new(move || {
        let mut sum = 0;
        for page in &trace {
            sum ^= bench.translate(IOVA + (page << 12));
        }
        core::hint::black_box(sum);
        trace.len() as u64
    })
}

const fn range(va: u64, num: u64, scale: u64) -> Command {
    tlbi_nh_va(0, ASID, va, Leaf::Only, Hint { num, scale, ttl: 3, tg: 1 })
}

const fn other_range(va: u64, num: u64, scale: u64) -> Command {
    tlbi_nh_va(0, ASID + 1, va, Leaf::Only, Hint { num, scale, ttl: 3, tg: 1 })
}

/// A full queue of one command at a time, 256 pages live elsewhere.
fn commands(command: fn(u64) -> Command) -> Box<dyn FnMut() -> u64> {
    let mut bench = Bench::<1024>::new(qemu(), Settings::new(256, 4));
    bench.live(256);
    let batch: Vec<Command> = (0..1 << (LOG2_COMMANDS - 1)).map(command).collect();
    let mut prod = bench.driver.prod();
    Box::new(move || {
        bench.ring(&mut prod, &batch);
        batch.len() as u64
    })
}

/// An invalidation that drops everything, and the refill that the next one needs; what is counted is the command.
fn drop_all(command: fn(u64) -> Command) -> Box<dyn FnMut() -> u64> {
    let mut bench = Bench::<1024>::new(qemu(), Settings::new(256, 4));
    bench.live(256);
    let mut prod = bench.driver.prod();
    Box::new(move || {
        bench.ring(&mut prod, &[command(0)]);
        1
    })
}

fn percmd_va() -> Box<dyn FnMut() -> u64> {
    commands(|n| tlbi_nh_va(0, ASID, IOVA + (n << 12), Leaf::Only, Hint { num: 0, scale: 0, ttl: 3, tg: 1 }))
}

fn range_1gib() -> Box<dyn FnMut() -> u64> {
    let mut bench = Bench::<1024>::new(qemu(), Settings::new(256, 4));
    bench.live(256);
    let mut prod = bench.driver.prod();
    Box::new(move || {
        bench.ring(&mut prod, &[range(IOVA, 0, 18), sync()]);
        1
    })
}

fn storm() -> Box<dyn FnMut() -> u64> {
    let mut bench = Bench::<1024>::new(qemu(), Settings::new(256, 4));
    bench.live(256);
    let mut prod = bench.driver.prod();
    let pages: Vec<u64> = (0..262_144).collect();
    Box::new(move || {
        for batch in pages.chunks(64) {
            let commands: [Command; 64] = core::array::from_fn(|n| {
                tlbi_nh_va(0, ASID, IOVA + (batch[n] << 12), Leaf::Only, Hint::NONE)
            });
            bench.ring(&mut prod, &commands);
        }
        1
    })
}

fn faults() -> Box<dyn FnMut() -> u64> {
    let mut bench = Bench::<1024>::new(qemu(), Settings::new(256, 4));
    bench.live(1);
    Box::new(move || {
        let Driver { smmu, ram, .. } = &mut bench.driver;
        for n in 0..1024u64 {
            translate(smmu, ram, IOVA + (n << 12));
            if n % 16 == 15 {
                let mut prod = [0; 4];
                let mut env = Env { memory: ram, interrupts: &mut NoInterrupts, trace: &mut NoTrace };
                let _read = smmu.read(register::EVENTQ_PROD, &mut prod);
                let _written = smmu.write(register::EVENTQ_CONS, &prod, &mut env);
            }
        }
        1024
    })
}

fn mmio() -> Box<dyn FnMut() -> u64> {
    let mut bench = Bench::<1024>::new(qemu(), Settings::new(256, 4));
    let offsets =
        [register::IDR0, register::CR0ACK, register::GERROR, register::CMDQ_CONS, register::EVENTQ_PROD];
    Box::new(move || {
        let Driver { smmu, ram, .. } = &mut bench.driver;
        let mut sum = 0;
        for _ in 0..1000 {
            for offset in offsets {
                let mut data = [0; 4];
                let _read = smmu.read(offset, &mut data);
                sum ^= u32::from_le_bytes(data);
            }
            let mut env = Env { memory: &mut *ram, interrupts: &mut NoInterrupts, trace: &mut NoTrace };
            let _written = smmu.write(register::EVENTQ_CONS, &0u32.to_le_bytes(), &mut env);
        }
        core::hint::black_box(sum);
        6000
    })
}
