//! What the panels show, as plain data in the page's own words. Names and bit positions are the model's.

pub(crate) mod preview;
pub(crate) mod walk;
pub(crate) mod why;

use crate::command;
use crate::frame::{Frame, Question, name};
use crate::history::History;
use crate::registers;
use crate::text::{bytes, hex, plain_hex};
use crate::watch::{Counters, Kind};
use crate::world::World;
use serde::Serialize;
use smmuv3::Command;
use smmuv3::arch::bits::Field;
use smmuv3::cache::scope::Verdict;
use smmuv3::format::event::{EventKind, field as event};
use smmuv3::format::regs::{Kind as Access, Reg, gerror, queue_index};
use smmuv3::format::{cd, ste};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Panels<'a> {
    now: u32,
    end: u32,
    over: bool,
    trouble: Option<&'a str>,
    note: &'a str,
    knobs: String,
    sets: u32,
    ways: u32,
    live: u32,
    stale: u32,
    counters: Counters,
    registers: Vec<Register>,
    queue: Queue,
    events: Vec<Record>,
    config: Vec<Record>,
    tables: Vec<Table>,
    log: Vec<Line<'a>>,
    last: Option<Done>,
    access: Option<Reached>,
    streams: Vec<Stream>,
}

#[derive(Serialize)]
pub(crate) struct Bits {
    name: &'static str,
    high: u32,
    low: u32,
    value: String,
}

#[derive(Serialize)]
struct Register {
    name: &'static str,
    offset: u32,
    width: u32,
    value: String,
    writable: bool,
    fields: Vec<Bits>,
}

#[derive(Serialize)]
struct Slot {
    index: u32,
    text: String,
    words: [String; 2],
    state: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Queue {
    entries: u32,
    prod: u32,
    prod_wrap: u32,
    cons: u32,
    cons_wrap: u32,
    waiting: u32,
    unannounced: u32,
    error: u32,
    stopped: bool,
    slots: Vec<Slot>,
}

/// A record of memory, decoded: an event, an STE, a CD.
#[derive(Serialize)]
struct Record {
    title: String,
    text: String,
    address: String,
    words: Vec<String>,
    fields: Vec<Bits>,
    cached: bool,
}

#[derive(Serialize)]
struct Table {
    text: String,
    level: u32,
    input: String,
    size: String,
    next: String,
    verdict: &'static str,
}

#[derive(Serialize)]
struct Line<'a> {
    first: u32,
    last: u32,
    kind: Kind,
    text: &'a str,
}

#[derive(Serialize)]
struct Done {
    text: String,
    script: String,
    dropped: u32,
    excess: u32,
    scanned: u32,
    tables: u32,
    span: Option<preview::Span>,
}

#[derive(Serialize)]
struct Reached {
    stream: u32,
    text: String,
    truth: String,
    stale: bool,
    hit: bool,
    reads: u32,
    ok: bool,
}

#[derive(Serialize)]
struct Stream {
    id: u32,
    asid: u16,
    vmid: u16,
    stages: &'static str,
    granule: u32,
}

fn fields(rows: &[(&'static str, Field)], words: &[u64]) -> Vec<Bits> {
    rows.iter().map(|(name, field)| bits(name, *field, words)).collect()
}

fn bits(name: &'static str, field: Field, words: &[u64]) -> Bits {
    let low = u32::from(field.lo());
    Bits { name, high: low + u32::from(field.width()) - 1, low, value: plain_hex(field.of(words)) }
}

macro_rules! rows {
    ($module:path: $($name:ident)*) => {{
        use $module as module;
        [$((stringify!($name), module::$name)),*]
    }};
}
use rows;

/// The lines of the log that are sent at most.
const LINES: usize = 120;
/// Around a full queue, only this many slots are decoded.
const SLOTS: u32 = 128;

pub(crate) fn panels<'a>(history: &'a History, frame: &Frame, question: Option<&Question>) -> Panels<'a> {
    let world = &history.world;
    let iotlb = world.smmu.iotlb();
    let (sets, ways) = iotlb.geometry();
    Panels {
        now: world.now,
        end: history.end(),
        over: history.is_over(),
        trouble: history.trouble.as_deref(),
        note: &world.note,
        knobs: history.knobs.words(),
        sets,
        ways,
        live: iotlb.len(),
        stale: frame.stale_entries,
        counters: world.watch.counters,
        registers: registers(world),
        queue: queue(world),
        events: world.events().iter().rev().take(32).map(decode_event).collect(),
        config: configuration(world),
        tables: tables(world, question),
        log: log(history),
        last: world.watch.last.map(|last| Done {
            text: command::sentence(last.words, Some(&last.command)),
            script: command::script(last.words),
            dropped: last.dropped,
            excess: last.excess,
            scanned: last.scanned,
            tables: last.tables,
            span: Question::new(world, &last.command).and_then(|question| preview::span(&question)),
        }),
        access: world.access.as_ref().map(|access| Reached {
            stream: access.stream,
            text: access.words(),
            truth: access.truth.map_or_else(String::new, |truth| truth.words()),
            stale: access.stale,
            hit: access.hit,
            reads: access.reads,
            ok: access.result.is_ok(),
        }),
        streams: world
            .guest
            .streams
            .iter()
            .map(|stream| Stream {
                id: stream.id,
                asid: stream.asid,
                vmid: stream.vmid,
                stages: match (&stream.s1, &stream.s2) {
                    (Some(_), Some(_)) => "12",
                    (None, Some(_)) => "2",
                    _ => "1",
                },
                granule: stream.s1.or(stream.s2).map_or(12, |tables| tables.granule.shift()),
            })
            .collect(),
    }
}

fn registers(world: &World) -> Vec<Register> {
    let values = world.smmu.registers();
    registers::shown()
        .into_iter()
        .map(|(id, rows)| {
            let row = id.row();
            Register {
                name: row.name,
                offset: row.offset,
                width: row.width,
                value: hex(values.get(id)),
                writable: row.kind == Access::ReadWrite,
                fields: fields(&rows, &[values.get(id)]),
            }
        })
        .collect()
}

fn queue(world: &World) -> Queue {
    let registers = world.smmu.registers();
    let queue = world.command_queue();
    let mask = 2 * queue.entries() - 1;
    let prod = registers.field(Reg::CmdqProd, queue_index::POSITION) as u32 & mask;
    let cons = registers.field(Reg::CmdqCons, queue_index::POSITION) as u32 & mask;
    let driver = world.guest.prod & mask;
    let waiting = queue.len(prod, cons).unwrap_or(0);
    let unannounced = queue.len(driver, prod).unwrap_or(0);
    let errors = registers.get(Reg::Gerror) ^ registers.get(Reg::Gerrorn);
    let stopped = gerror::CMDQ_ERR.get(errors) != 0;
    let shown = queue.entries().min(SLOTS);
    let slots = (0..shown)
        .map(|index| {
            let at = queue.entry(index).0;
            let words = [world.ram.word(at), world.ram.word(at + 8)];
            let ahead = |from: u32, count: u32| index.wrapping_sub(from) & (queue.entries() - 1) < count;
            let decoded = Command::decode(words, world.smmu.features()).ok();
            let state = if stopped && queue.index(cons) == index {
                "refused"
            } else if ahead(cons, waiting) {
                "waiting"
            } else if ahead(prod, unannounced) {
                "unannounced"
            } else if words == [0, 0] {
                "empty"
            } else {
                "done"
            };
            let text =
                if words == [0, 0] { "–".to_owned() } else { command::sentence(words, decoded.as_ref()) };
            Slot { index, text, words: words.map(hex), state }
        })
        .collect();
    Queue {
        entries: queue.entries(),
        prod: queue.index(prod),
        prod_wrap: u32::from(prod >= queue.entries()),
        cons: queue.index(cons),
        cons_wrap: u32::from(cons >= queue.entries()),
        waiting,
        unannounced,
        error: registers.field(Reg::CmdqCons, queue_index::ERR) as u32,
        stopped,
        slots,
    }
}

fn decode_event(words: &[u64; 4]) -> Record {
    let number = event::NUMBER.of(words) as u8;
    let kind = EventKind::from_number(number);
    let all = rows!(smmuv3::format::event::field: NUMBER SSV SSID SID STALL STAG PNU IND RNW S2 CLASS INPUTADDR IPA FETCHADDR);
    let has_fetch = matches!(kind, Some(EventKind::SteFetch | EventKind::CdFetch | EventKind::WalkEabt));
    let shown: Vec<_> = all
        .into_iter()
        .filter(|(name, field)| match *name {
            "NUMBER" | "SID" | "RNW" | "INPUTADDR" => true,
            "FETCHADDR" => has_fetch,
            "IPA" => !has_fetch && event::S2.is_set(words),
            _ => field.is_set(words),
        })
        .collect();
    let class = match event::CLASS.of(words) {
        0 => "CD",
        1 => "TT",
        _ => "IN",
    };
    let name = kind.map_or("unknown", EventKind::name);
    Record {
        title: name.to_owned(),
        text: format!(
            "stream {}, {} of {}, stage {}, CLASS {class}",
            event::SID.of(words),
            if event::RNW.is_set(words) { "read" } else { "write" },
            hex(event::INPUTADDR.of(words)),
            if event::S2.is_set(words) { 2 } else { 1 },
        ),
        address: String::new(),
        words: words.iter().map(|word| hex(*word)).collect(),
        fields: fields(&shown, words),
        cached: false,
    }
}

fn configuration(world: &World) -> Vec<Record> {
    let mut records = Vec::new();
    for stream in &world.guest.streams {
        let at = crate::guest::STREAM_TABLE + 64 * u64::from(stream.id);
        let words: [u64; 8] = core::array::from_fn(|n| world.ram.word(at + 8 * n as u64));
        let shown = rows!(smmuv3::format::ste::field: V CONFIG S1FMT S1CONTEXTPTR S1CDMAX SHCFG S2VMID S2T0SZ S2SL0 S2TG S2PS S2AA64 S2R S2TTB);
        records.push(Record {
            title: format!("STE of stream {}", stream.id),
            text: config(&words).to_owned(),
            address: hex(at),
            words: words.iter().map(|word| hex(*word)).collect(),
            fields: fields(&shown, &words),
            cached: world.smmu.config_cache().ste(smmuv3::StreamId(stream.id)).is_some(),
        });
        if stream.s1.is_none() {
            continue;
        }
        let at = ste::field::S1CONTEXTPTR.in_place(&words);
        let words: [u64; 8] = core::array::from_fn(|n| world.ram.word(at + 8 * n as u64));
        let shown = rows!(smmuv3::format::cd::field: T0SZ TG0 EPD0 EPD1 V IPS AFFD TBI0 AA64 S R A ASET ASID TTB0 TTB1 MAIR);
        records.push(Record {
            title: format!("CD of stream {}", stream.id),
            text: format!(
                "ASID {}, tables at {}",
                cd::field::ASID.of(&words),
                hex(cd::field::TTB0.of(&words) << 4)
            ),
            address: hex(at),
            words: words.iter().map(|word| hex(*word)).collect(),
            fields: fields(&shown, &words),
            cached: world
                .smmu
                .config_cache()
                .cd(smmuv3::StreamId(stream.id), smmuv3::SubstreamId(0))
                .is_some(),
        });
    }
    records
}

/// What an STE does with a transaction.
fn config(ste: &[u64]) -> &'static str {
    match ste::field::CONFIG.of(ste) {
        0b100 => "bypass",
        0b101 => "stage 1",
        0b110 => "stage 2",
        0b111 => "stage 1 and 2",
        _ => "abort",
    }
}

fn tables(world: &World, question: Option<&Question>) -> Vec<Table> {
    let rows = world.smmu.walk_cache().entries().map(|entry| {
        let verdict = match question.map(|question| question.applied.table_verdict(entry)) {
            Some(Verdict::Drop) => "goes",
            Some(Verdict::Spare(reason)) => name(reason),
            None => "–",
        };
        let order = (entry.level.number(), entry.input);
        let table = Table {
            text: format!(
                "stage {}, ASID {}, VMID {}",
                entry.space.stage as u8 + 1,
                entry.space.asid.0,
                entry.space.vmid.0
            ),
            level: entry.level.number(),
            input: hex(entry.input),
            size: bytes(1 << entry.log2_size()),
            next: hex(entry.next),
            verdict,
        };
        (order, table)
    });
    // A few dozen rows: the standard sort is 4 kB of the page.
    let mut sorted: Vec<((u32, u64), Table)> = Vec::new();
    for row in rows {
        let after = sorted.iter().rposition(|other| other.0 <= row.0).map_or(0, |at| at + 1);
        sorted.insert(after, row);
    }
    sorted.into_iter().map(|(_, table)| table).collect()
}

fn log(history: &History) -> Vec<Line<'_>> {
    let now = history.world.now;
    let shown = history.lines.iter().rev().skip_while(|line| line.first > now).take(LINES);
    shown
        .map(|line| Line { first: line.first, last: line.last.min(now), kind: line.kind, text: &line.text })
        .collect()
}
