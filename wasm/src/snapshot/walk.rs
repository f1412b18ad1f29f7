//! A walk of tables, as the walk panel shows it.

use super::{Bits, fields, rows};
use crate::text::{bytes, hex};
use crate::world::World;
use serde::Serialize;
use smmuv3::format::cd;
use smmuv3::format::descriptor::Descriptor;
use smmuv3::{Granule, Level, Memory, Pa, Stage, Step, Trace};

/// A walk of tables as the device makes it when it remembers nothing, and what it remembers of it.
#[derive(Serialize)]
pub(crate) struct Walk {
    address: String,
    stream: u32,
    split: Vec<Bits>,
    steps: Vec<WalkStep>,
    result: String,
    ok: bool,
    /// The device's own way, where it remembers part of it.
    own: Vec<String>,
    cached: String,
    reads: u32,
    stale: bool,
}

#[derive(Serialize)]
struct WalkStep {
    kind: &'static str,
    title: String,
    text: String,
    address: String,
    word: String,
    fields: Vec<Bits>,
    near: Vec<Near>,
}

#[derive(Serialize)]
struct Near {
    address: String,
    word: String,
    text: String,
    here: bool,
}

#[derive(Default)]
struct Steps(Vec<Step>);

impl Trace for Steps {
    fn step(&mut self, step: &Step) {
        self.0.push(*step);
    }
}

pub(crate) fn walk(world: &World, stream: u32, address: u64) -> Walk {
    let (mut cold, mut warm) = (Steps::default(), Steps::default());
    let transaction = world.transaction(stream, address);
    let truth = world.rehearse(&transaction, true, &mut cold);
    let answer = world.rehearse(&transaction, false, &mut warm);
    let hit = warm.0.iter().find_map(|step| if let Step::Hit(entry) = step { Some(*entry) } else { None });
    let table =
        warm.0.iter().find_map(|step| if let Step::TableHit(entry) = step { Some(*entry) } else { None });
    let read_warm = warm.0.iter().filter(|step| matches!(step, Step::Descriptor { .. })).count() as u32;
    let granule = world
        .guest
        .stream(stream)
        .ok()
        .and_then(|stream| stream.s1.or(stream.s2))
        .map_or(Granule::Kib4, |tables| tables.granule);
    let mut split = Vec::new();
    for level in Level::ALL {
        let low = granule.level_shift(level);
        if low >= 48 {
            continue;
        }
        let high = (low + granule.stride() - 1).min(47);
        split.push(Bits {
            name: ["L0", "L1", "L2", "L3"].get(level.number() as usize).copied().unwrap_or("L"),
            high,
            low,
            value: format!("{:#x}", address >> low & ((1 << (high - low + 1)) - 1)),
        });
    }
    split.push(Bits {
        name: "offset",
        high: granule.shift() - 1,
        low: 0,
        value: format!("{:#x}", address & (granule.bytes() - 1)),
    });
    let mut steps = Vec::new();
    for step in &cold.0 {
        match step {
            Step::Ste { address, words, .. } => steps.push(WalkStep {
                kind: "ste",
                title: "STE".to_owned(),
                text: format!("stream table entry, Config {}", super::config(words)),
                address: hex(address.0),
                word: hex(words.first().copied().unwrap_or(0)),
                fields: Vec::new(),
                near: Vec::new(),
            }),
            Step::Cd { address, words, .. } => steps.push(WalkStep {
                kind: "cd",
                title: "CD".to_owned(),
                text: format!("context descriptor, ASID {}", cd::field::ASID.of(words)),
                address: hex(address.0),
                word: hex(words.first().copied().unwrap_or(0)),
                fields: Vec::new(),
                near: Vec::new(),
            }),
            Step::Descriptor { stage, level, address, word } => {
                let granule = if *stage == Stage::S1 { granule } else { Granule::Kib4 };
                steps.push(WalkStep {
                    kind: if *stage == Stage::S1 { "s1" } else { "s2" },
                    title: format!("{}L{}", if *stage == Stage::S1 { "" } else { "S2 " }, level.number()),
                    text: descriptor(*word, granule, *level),
                    address: hex(address.0),
                    word: hex(*word),
                    fields: descriptor_fields(*word, *stage, *level),
                    near: near(world, *address, granule, *level),
                });
            }
            _ => {}
        }
    }
    let mut own = Vec::new();
    let read =
        |step: &&Step| warm.0.iter().any(|other| place(other).is_some_and(|at| Some(at) == place(step)));
    for (name, is_it) in [("STE", is_ste as fn(&&Step) -> bool), ("CD", is_cd)] {
        if let Some(step) = cold.0.iter().find(is_it) {
            own.push(format!("{name}: {}", if read(&step) { "read from memory" } else { "remembered" }));
        }
    }
    if let Some(entry) = hit {
        own.push(format!("IOTLB: {} → {}", hex(entry.input), hex(entry.output.0)));
    } else if let Some(table) = table {
        own.push(format!("walk cache: the table below L{}, at {}", table.level.number(), hex(table.next)));
        for step in &warm.0 {
            if let Step::Descriptor { stage: Stage::S1, level, address, word } = step {
                let text = descriptor(*word, granule, *level);
                own.push(format!("L{} read at {}: {text}", level.number(), hex(address.0)));
            }
        }
    }
    let cached = match (hit, table) {
        (Some(entry), _) => format!("a hit: the IOTLB answers, an entry of {}", bytes(1 << entry.log2_size)),
        (None, Some(_)) => format!("a miss: the walk cache shortens the way, descriptor reads: {read_warm}"),
        (None, None) => format!("a miss: no table is remembered, descriptor reads: {read_warm}"),
    };
    Walk {
        address: hex(address),
        stream,
        split,
        steps,
        result: truth.words(),
        ok: truth.is_ok(),
        stale: answer != truth,
        own,
        cached: if answer == truth {
            cached
        } else {
            format!("{cached}; STALE: the device would get {}", answer.words())
        },
        reads: read_warm,
    }
}

const fn is_ste(step: &&Step) -> bool {
    matches!(step, Step::Ste { .. })
}

const fn is_cd(step: &&Step) -> bool {
    matches!(step, Step::Cd { .. })
}

/// Where a step reads memory.
const fn place(step: &Step) -> Option<u64> {
    match step {
        Step::Ste { address, .. } | Step::Cd { address, .. } | Step::Descriptor { address, .. } => {
            Some(address.0)
        }
        _ => None,
    }
}

fn descriptor(word: u64, granule: Granule, level: Level) -> String {
    match Descriptor::parse(word, granule, level, 48) {
        Descriptor::Invalid => "invalid".to_owned(),
        Descriptor::Table(next) => format!("table at {}", hex(next)),
        Descriptor::Leaf(pa) => format!("{} at {}", bytes(1 << granule.level_shift(level)), hex(pa)),
    }
}

fn descriptor_fields(word: u64, stage: Stage, level: Level) -> Vec<Bits> {
    if word & 1 == 0 || (word & 0b10 != 0 && level != Level::L3) {
        return Vec::new();
    }
    match stage {
        Stage::S1 => fields(
            &rows!(smmuv3::format::descriptor::field: ATTRINDX AP1 AP2 SH AF NG DBM CONTIGUOUS PXN UXN),
            &[word],
        ),
        Stage::S2 => fields(
            &rows!(smmuv3::format::descriptor::field: MEMATTR S2AP0 S2AP1 SH AF DBM CONTIGUOUS S2XN),
            &[word],
        ),
    }
}

fn near(world: &World, address: Pa, granule: Granule, level: Level) -> Vec<Near> {
    let table = address.0 & !(granule.bytes() - 1);
    let first = (address.0 - 24).max(table).min(table + granule.bytes() - 64);
    (0..8)
        .map(|n| {
            let at = first + 8 * n;
            let word = world.ram.read_u64(Pa(at)).unwrap_or(0);
            Near {
                address: hex(at),
                word: hex(word),
                text: descriptor(word, granule, level),
                here: at == address.0,
            }
        })
        .collect()
}
