//! The main job: a guest unmaps 1 GiB, and the device is told so, as Linux tells it.
//!
//! Without range invalidation Linux sends one CMD_TLBI_NH_VA for every unit that was unmapped, in batches of 64; with it,
//! as few range commands as NUM and SCALE can say.

#![allow(clippy::disallowed_types, reason = "figures for people: the time is shown, never compared")]

use core::time::Duration;
use std::time::Instant;

use smmuv3::{Features, Settings};

use crate::commands::{Hint, Leaf, linux_range_invalidation, tlbi_nh_va};
use crate::counters::Counters;
use crate::driver::{Boot, Driver};
use crate::oracle::Access;
use crate::tables::{Grain, PageTables, cd, descriptor, ste};

/// What is unmapped, from [`IOVA`] on.
pub const BYTES: u64 = 1 << 30;
/// Where it begins.
pub const IOVA: u64 = 0x40_0000_0000;
/// Where other buffers of the same device are mapped, which stay.
pub const ELSEWHERE: u64 = 0x80_0000_0000;
/// Live translations inside and elsewhere, each.
pub const LIVE: u64 = 256;
/// Room in the IOTLB.
pub const ENTRIES: usize = 1024;
/// Commands that Linux submits at once.
pub const BATCH: usize = 64;

const SID: u32 = 8;
const ASID: u16 = 5;
const PA: u64 = 0x20_0000_0000;

/// How the 1 GiB is mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mapping {
    /// 262,144 pages of 4 KiB.
    Pages,
    /// 512 blocks of 2 MiB.
    Blocks,
    /// One block of 1 GiB.
    Block,
    /// 4 KiB pages, whose tables are freed as well: `Leaf` = 0.
    Table,
}

impl Mapping {
    /// All of them.
    pub const ALL: [Mapping; 4] = [Mapping::Pages, Mapping::Blocks, Mapping::Block, Mapping::Table];

    /// For people.
    pub const fn name(self) -> &'static str {
        match self {
            Mapping::Pages => "4 KiB pages",
            Mapping::Blocks => "2 MiB blocks",
            Mapping::Block => "a 1 GiB block",
            Mapping::Table => "a whole table",
        }
    }

    /// log2 of the bytes that one leaf maps.
    const fn log2_leaf(self) -> u32 {
        match self {
            Mapping::Pages | Mapping::Table => 12,
            Mapping::Blocks => 21,
            Mapping::Block => 30,
        }
    }

    /// The level hint that Linux gives.
    const fn ttl(self) -> u64 {
        match self {
            Mapping::Pages => 3,
            Mapping::Blocks => 2,
            Mapping::Block => 1,
            Mapping::Table => 0,
        }
    }

    const fn leaf(self) -> Leaf {
        match self {
            Mapping::Table => Leaf::AndTables,
            _ => Leaf::Only,
        }
    }
}

/// What the unmap took.
#[derive(Clone, Copy, Debug)]
pub struct Cost {
    /// Commands, CMD_SYNC included.
    pub commands: u64,
    /// What the device did for them.
    pub during: Counters,
    /// What it did when the device used its other buffers again.
    pub afterwards: Counters,
    /// From the first command written to CMD_SYNC consumed.
    pub time: Duration,
}

/// Unmaps 1 GiB on a device with or without `IDR3.RIL`, while 256 translations of it and 256 others are live.
///
/// # Panics
/// If a translation that was unmapped still answers, or another one no longer does.
#[allow(clippy::panic, reason = "a wrong answer must stop whoever asked for figures")]
pub fn unmap(mapping: Mapping, ril: bool) -> Cost {
    let features = Features { ril, ..Features::QEMU_10 };
    let mut driver = Driver::<ENTRIES>::new(features, Settings::new(256, 4), 16);
    driver.boot(Boot { log2_commands: 8, ..Boot::USUAL });
    let tables = PageTables::stage1(Grain::K4, 16, &mut driver.heap, &mut driver.ram);
    let context = driver.heap.allocate(64);
    driver.install_cd(SID, 0, context, &cd::lower(cd::of(ASID, 4), Grain::K4, 16, tables.root));
    driver.install_ste(SID, &ste::stage1(context, 0));

    let leaf = mapping.log2_leaf();
    let map = |driver: &mut Driver<ENTRIES>, offset: u64, va: u64, log2: u32| {
        let Driver { heap, ram, .. } = driver;
        tables.map(heap, ram, va + offset, PA + offset, log2, descriptor::S1_RW);
    };
    for offset in (0..BYTES).step_by(1 << leaf) {
        map(&mut driver, offset, IOVA, leaf);
    }
    for page in 0..LIVE {
        map(&mut driver, page << 12, ELSEWHERE, 12);
    }
    for n in 0..LIVE {
        touch(&mut driver, IOVA + n * (BYTES / LIVE));
        touch(&mut driver, ELSEWHERE + (n << 12));
    }

    // The driver clears its tables, then tells the device.
    match mapping {
        Mapping::Table => {
            let slot = tables.find(&driver.ram, IOVA, 1);
            driver.write_record(slot.pa, &[0]);
        }
        _ => (0..BYTES).step_by(1 << leaf).for_each(|offset| tables.unmap(&mut driver.ram, IOVA + offset)),
    }
    driver.counters = Counters::default();
    let template = tlbi_nh_va(0, ASID, 0, mapping.leaf(), Hint::NONE);
    let start = Instant::now();
    if ril {
        let commands =
            linux_range_invalidation(template, IOVA, BYTES >> 12, Grain::K4, mapping.ttl(), mapping.leaf());
        driver.run(&commands);
    } else {
        let unit = 1 << leaf;
        let addresses: Vec<u64> = (0..BYTES).step_by(unit).map(|offset| IOVA + offset).collect();
        let mut batches = addresses.chunks(BATCH).peekable();
        while let Some(batch) = batches.next() {
            let commands: Vec<_> =
                batch.iter().map(|&va| tlbi_nh_va(0, ASID, va, mapping.leaf(), Hint::NONE)).collect();
            if batches.peek().is_some() {
                commands.iter().for_each(|&command| driver.put(command));
                driver.ring().unwrap_or_else(|stopped| panic!("{stopped:?}"));
            } else {
                driver.run(&commands);
            }
        }
    }
    let time = start.elapsed();
    let during = core::mem::take(&mut driver.counters);

    for n in 0..LIVE {
        touch(&mut driver, ELSEWHERE + (n << 12));
    }
    let afterwards = core::mem::take(&mut driver.counters);
    for n in 0..LIVE {
        let va = IOVA + n * (BYTES / LIVE);
        let answer = driver.access(SID, va, Access::READ);
        assert_eq!(answer, Err(Some("F_TRANSLATION")), "{va:#x} is still remembered");
        driver.events();
    }
    Cost { commands: during.commands, during, afterwards, time }
}

#[allow(clippy::panic, reason = "see `unmap`")]
fn touch(driver: &mut Driver<ENTRIES>, va: u64) {
    if let Err(event) = driver.access(SID, va, Access::READ) {
        panic!("{va:#x}: {event:?}");
    }
}

#[cfg(test)]
#[allow(clippy::panic, reason = "tests")]
mod tests {
    use super::{Mapping, unmap};

    /// Linux' figures (`lessons.md` §4), one CMD_SYNC added; nothing goes that may stay, and the others stay.
    #[test]
    fn linux_sends_what_it_sends() {
        let rows = [
            (Mapping::Pages, 262_144, 1),
            (Mapping::Blocks, 512, 1),
            (Mapping::Block, 1, 1),
            (Mapping::Table, 262_144, 1),
        ];
        for (mapping, without, with) in rows {
            for (ril, commands) in [(false, without), (true, with)] {
                let cost = unmap(mapping, ril);
                assert_eq!(cost.commands, commands + 1, "{} RIL {ril}", mapping.name());
                let live = if mapping == Mapping::Block { 1 } else { 256 };
                assert_eq!(cost.during.dropped, live, "{} RIL {ril}", mapping.name());
                assert_eq!(
                    (cost.during.excess, cost.afterwards.descriptors),
                    (0, 0),
                    "{} RIL {ril}",
                    mapping.name()
                );
            }
        }
    }
}
