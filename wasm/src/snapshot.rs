//! What the panels show, as plain data in the page's own words. Names and bit positions are the model's.

use crate::command;
use crate::frame::{Frame, Question, name, stale, staleness, truth};
use crate::history::History;
use crate::registers;
use crate::text::{bytes, grouped, hex};
use crate::watch::{Counters, Kind};
use crate::world::{World, place};
use serde::Serialize;
use smmuv3::arch::addr::low_mask;
use smmuv3::arch::bits::Field;
use smmuv3::arch::entry::Entry;
use smmuv3::arch::id::StreamWorld;
use smmuv3::cache::scope::{Answer as Holds, AsidScope, Regime, Scope, Stages, Verdict};
use smmuv3::env::trace::Reason;
use smmuv3::format::command::{Operand, field as cmd};
use smmuv3::format::descriptor::Descriptor;
use smmuv3::format::event::{EventKind, field as event};
use smmuv3::format::regs::{Kind as Access, Reg, gerror, queue_index};
use smmuv3::format::{cd, ste};
use smmuv3::{Command, Granule, Level, Memory, Pa, Stage, Step, Trace};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Panels {
    now: u32,
    end: u32,
    over: bool,
    trouble: Option<String>,
    note: String,
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
    log: Vec<Line>,
    last: Option<Done>,
    access: Option<Reached>,
    streams: Vec<Stream>,
}

#[derive(Serialize)]
pub(crate) struct Bits {
    name: String,
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
struct Line {
    first: u32,
    last: u32,
    kind: Kind,
    text: String,
}

#[derive(Serialize)]
struct Done {
    text: String,
    script: String,
    dropped: u32,
    excess: u32,
    scanned: u32,
}

#[derive(Serialize)]
struct Reached {
    stream: u32,
    address: String,
    text: String,
    truth: String,
    stale: bool,
    hit: bool,
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

fn fields(rows: &[(&str, Field)], words: &[u64]) -> Vec<Bits> {
    rows.iter().map(|(name, field)| bits(name, *field, words)).collect()
}

fn bits(name: &str, field: Field, words: &[u64]) -> Bits {
    let low = u32::from(field.lo());
    Bits {
        name: name.to_owned(),
        high: low + u32::from(field.width()) - 1,
        low,
        value: format!("{:#x}", field.of(words)),
    }
}

macro_rules! rows {
    ($module:path: $($name:ident)*) => {{
        use $module as module;
        [$((stringify!($name), module::$name)),*]
    }};
}

/// The lines of the log that are sent at most.
const LINES: usize = 120;
/// Around a full queue, only this many slots are decoded.
const SLOTS: u32 = 128;

pub(crate) fn panels(history: &History, frame: &Frame, question: Option<&Question>) -> Panels {
    let world = &history.world;
    let iotlb = world.smmu.iotlb();
    let (sets, ways) = iotlb.geometry();
    Panels {
        now: world.now,
        end: history.end(),
        over: history.is_over(),
        trouble: history.trouble.clone(),
        note: world.note.clone(),
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
        }),
        access: world.access.as_ref().map(|access| Reached {
            stream: access.stream,
            address: hex(access.address),
            text: place(&access.result),
            truth: place(&access.truth),
            stale: access.result != access.truth,
            hit: access.hit,
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
        let config = match ste::field::CONFIG.of(&words) {
            0b100 => "bypass",
            0b101 => "stage 1",
            0b110 => "stage 2",
            0b111 => "stage 1 and 2",
            _ => "abort",
        };
        records.push(Record {
            title: format!("STE of stream {}", stream.id),
            text: config.to_owned(),
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

fn tables(world: &World, question: Option<&Question>) -> Vec<Table> {
    let mut rows: Vec<Table> = world
        .smmu
        .walk_cache()
        .entries()
        .map(|entry| {
            let verdict = match question.map(|question| question.applied.table_verdict(entry)) {
                Some(Verdict::Drop) => "goes",
                Some(Verdict::Spare(reason)) => name(reason),
                None => "–",
            };
            Table {
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
            }
        })
        .collect();
    rows.sort_by(|a, b| (a.level, &a.input).cmp(&(b.level, &b.input)));
    rows
}

fn log(history: &History) -> Vec<Line> {
    let now = history.world.now;
    let shown = history.lines.iter().rev().skip_while(|line| line.first > now).take(LINES);
    shown
        .map(|line| Line {
            first: line.first,
            last: line.last.min(now),
            kind: line.kind,
            text: line.text.clone(),
        })
        .collect()
}

/// A composed command: its bytes, what it names, and what it would drop.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Preview {
    name: String,
    script: String,
    words: [String; 2],
    fields: Vec<Bits>,
    legal: bool,
    tlbi: bool,
    span: Option<Span>,
    needed: u32,
    excess: u32,
    missed: u32,
    tables: u32,
    sentence: String,
}

#[derive(Serialize)]
struct Span {
    first: u64,
    last: u64,
    text: String,
    formula: String,
}

pub(crate) fn preview(world: &World, frame: &Frame, words: [u64; 2]) -> Preview {
    let decoded = Command::decode(words, world.smmu.features()).ok();
    let question = decoded.and_then(|command| Question::new(world, &command));
    let operand = decoded.as_ref().and_then(operand);
    let rows = command::rows(words).map_or(&[] as &[_], |row| row.2);
    let mut fields = vec![bits("opcode", cmd::OPCODE, &words)];
    fields.extend(rows.iter().map(|row| bits(row.name, row.bits, &words)));
    let span = question.and_then(|question| question.letter.span).map(|span| {
        let length = span.last.wrapping_sub(span.first).wrapping_add(1);
        let size = if length == 0 { "everything".to_owned() } else { bytes(length) };
        Span {
            first: span.first & low_mask(52),
            last: span.last & low_mask(52),
            text: format!("{} … {}, {size}", hex(span.first), hex(span.last)),
            formula: operand.map_or_else(String::new, |operand| formula(&operand, &size)),
        }
    });
    let tables = question.map_or(0, |question| {
        let names = |entry: &&_| question.applied.table_verdict(entry) == Verdict::Drop;
        world.smmu.walk_cache().entries().filter(names).count() as u32
    });
    let name = command::sentence(words, decoded.as_ref());
    let sentence = match (&decoded, &question) {
        (None, _) => "CERROR_ILL: the queue would stop at this command".to_owned(),
        (Some(_), None) => "no TLBI: the IOTLB keeps everything".to_owned(),
        _ => {
            let total = frame.needed + frame.excess;
            let mut text = match total {
                0 => "would drop no entry".to_owned(),
                1 => "would drop 1 entry".to_owned(),
                n => format!("would drop {} entries", grouped(n.into())),
            };
            if frame.excess != 0 {
                text += &format!(", {} of them in excess", grouped(frame.excess.into()));
            }
            if frame.missed != 0 {
                text += &format!("; {} stale would stay", grouped(frame.missed.into()));
            }
            text
        }
    };
    Preview {
        name,
        script: command::script(words),
        words: words.map(hex),
        fields,
        legal: decoded.is_some(),
        tlbi: question.is_some(),
        span,
        needed: frame.needed,
        excess: frame.excess,
        missed: frame.missed,
        tables,
        sentence,
    }
}

fn operand(command: &Command) -> Option<Operand> {
    match *command {
        Command::TlbiNhVa { operand, .. }
        | Command::TlbiNhVaa { operand, .. }
        | Command::TlbiEl2Va { operand, .. }
        | Command::TlbiEl2Vaa { operand }
        | Command::TlbiS2Ipa { operand, .. } => Some(operand),
        _ => None,
    }
}

fn formula(operand: &Operand, size: &str) -> String {
    let unit = match operand.tg {
        0 => return "TG 0: whatever contains the address".to_owned(),
        1 => "4 KiB",
        2 => "16 KiB",
        _ => "64 KiB",
    };
    format!("(NUM {} + 1) · 2^{} · {unit} = {size}", operand.num, operand.scale)
}

/// Why an entry goes or stays: every predicate.
#[derive(Serialize)]
pub(crate) struct Why {
    entry: Vec<[String; 2]>,
    command: String,
    rows: Vec<Predicate>,
    goes: bool,
    needed: bool,
    sentence: String,
    truth: String,
    stale: bool,
    slot: u32,
}

#[derive(Serialize)]
struct Predicate {
    name: &'static str,
    answer: &'static str,
    asks: String,
    has: String,
    decides: bool,
}

pub(crate) fn why(world: &World, slot: u32, question: Option<&Question>) -> Option<Why> {
    let (_, entry) = world.smmu.iotlb().entries().find(|(at, _)| *at == Some(slot as usize))?;
    let entry = &entry;
    let known = truth(world, entry);
    let state = staleness(world, entry);
    let is_stale = state == stale::MOVED || state == stale::GONE;
    let truth_text = match known {
        None => "translates intermediate addresses: no device's address leads to it alone".to_owned(),
        Some(answer) if is_stale => {
            format!(
                "a DMA to {} lands at {}, the tables say {}",
                hex(entry.input),
                hex(entry.output.0),
                place(&answer)
            )
        }
        Some(_) => "the tables say the same".to_owned(),
    };
    let mut rows = Vec::new();
    let (mut goes, mut needed) = (false, false);
    let mut sentence = "no TLBI is composed and none has been executed".to_owned();
    if let Some(question) = question {
        let judgement = question.applied.judge(entry);
        let verdict = judgement.verdict();
        goes = verdict == Verdict::Drop;
        needed = question.letter.verdict(entry) == Verdict::Drop;
        let first = judgement
            .answers()
            .into_iter()
            .find(|(answer, _)| *answer == Holds::Fails)
            .map(|(_, reason)| reason);
        for (answer, reason) in judgement.answers() {
            let (asks, has) = describe(&question.applied, entry, reason);
            rows.push(Predicate {
                name: name(reason),
                answer: match answer {
                    Holds::Unasked => "unasked",
                    Holds::Holds => "holds",
                    Holds::Fails => "fails",
                },
                asks,
                has,
                decides: first == Some(reason),
            });
        }
        sentence = match verdict {
            Verdict::Drop if needed => {
                "It goes: every predicate that the command asks holds, and the architecture demands it."
                    .to_owned()
            }
            Verdict::Drop => {
                let spared = match question.letter.verdict(entry) {
                    Verdict::Spare(reason) => name(reason),
                    Verdict::Drop => "",
                };
                format!(
                    "It goes in excess: {spared} would let it stay, but this implementation takes that as a hint."
                )
            }
            Verdict::Spare(reason) => {
                let mut text = format!("It stays: {}.", because(reason));
                if is_stale {
                    text += " And it is stale: the driver meant another command.";
                }
                text
            }
        };
    }
    Some(Why {
        entry: facts(world, entry),
        command: question.map_or_else(String::new, |question| {
            command::sentence(question.command.encode(), Some(&question.command))
        }),
        rows,
        goes,
        needed,
        sentence,
        truth: truth_text,
        stale: is_stale,
        slot,
    })
}

const fn because(reason: Reason) -> &'static str {
    match reason {
        Reason::Regime => "it belongs to another exception level's translations",
        Reason::Stage => "the command names the other stage alone; combined entries go by CMD_TLBI_NH_*",
        Reason::Vmid => "it belongs to another VMID",
        Reason::Asid => "it belongs to another ASID",
        Reason::Global => "it is global, and a command by ASID need not drop global entries",
        Reason::Span => "its addresses and the command's do not overlap",
        Reason::Granule => "TG names another granule than the one it was made with",
        Reason::Level => "TTL says that the leaf is at another level than it is",
        Reason::Leaf => "Leaf = 1 spares tables",
    }
}

fn facts(world: &World, entry: &Entry) -> Vec<[String; 2]> {
    let fact = |name: &str, value: String| [name.to_owned(), value];
    let mut facts = vec![
        fact("input", format!("{}, {}", hex(entry.input), bytes(1 << entry.log2_size))),
        fact("output", hex(entry.output.0)),
        fact("ASID", if entry.global { "any (global)".to_owned() } else { entry.space.asid.0.to_string() }),
        fact("VMID", entry.space.vmid.0.to_string()),
    ];
    for (name, leaf) in [("stage 1 leaf", entry.s1), ("stage 2 leaf", entry.s2)] {
        if let Some(leaf) = leaf {
            let text = format!(
                "level {}, {} of {}",
                leaf.level.number(),
                bytes(1 << leaf.log2_size),
                granule(leaf.granule)
            );
            facts.push(fact(name, text));
        }
    }
    if let Some(origin) = world.watch.origin(entry) {
        facts.push(fact("filled", format!("step {}, by stream {}", origin.when, origin.stream)));
    }
    facts
}

const fn granule(granule: Granule) -> &'static str {
    match granule {
        Granule::Kib4 => "4 KiB granule",
        Granule::Kib16 => "16 KiB granule",
        Granule::Kib64 => "64 KiB granule",
    }
}

/// What a predicate compares: the command's side and the entry's.
fn describe(scope: &Scope, entry: &Entry, reason: Reason) -> (String, String) {
    let world = |world: StreamWorld| match world {
        StreamWorld::El1 => "NS-EL1",
        StreamWorld::El2 => "NS-EL2",
        StreamWorld::El2E2h => "NS-EL2-E2H",
    };
    let leaf = entry.own_leaf();
    match reason {
        Reason::Regime => {
            let asks = match scope.regime {
                Regime::One(one) => world(one),
                Regime::AnyEl2 => "any EL2",
            };
            (asks.to_owned(), world(entry.space.world).to_owned())
        }
        Reason::Stage => {
            let asks = match scope.stage {
                Stages::S1 => "stage 1, alone or combined",
                Stages::S2 => "stage 2 alone",
                Stages::Both => "any",
            };
            let has = match (entry.space.stage, entry.s1.is_some() && entry.s2.is_some()) {
                (Stage::S1, true) => "stages 1 and 2 combined",
                (Stage::S1, false) => "stage 1",
                (Stage::S2, _) => "stage 2",
            };
            (asks.to_owned(), has.to_owned())
        }
        Reason::Vmid => (
            scope.vmid.map_or_else(|| "any".to_owned(), |vmid| vmid.vmid.0.to_string()),
            entry.space.vmid.0.to_string(),
        ),
        Reason::Global => {
            let asks = if matches!(scope.asid, AsidScope::Only(_)) { "not global" } else { "any" };
            (asks.to_owned(), if entry.global { "global" } else { "not global" }.to_owned())
        }
        Reason::Asid => {
            let asks = match scope.asid {
                AsidScope::Any => "any".to_owned(),
                AsidScope::Only(asid) => asid.0.to_string(),
                AsidScope::OrGlobal(asid) => format!("{} or global", asid.0),
            };
            (asks, if entry.global { "global".to_owned() } else { entry.space.asid.0.to_string() })
        }
        Reason::Span => {
            let asks = scope
                .span
                .map_or_else(|| "any".to_owned(), |span| format!("{} … {}", hex(span.first), hex(span.last)));
            let (start, log2) = entry.leaf_span();
            (asks, format!("{} … {}", hex(start), hex(start + ((1u64 << log2) - 1))))
        }
        Reason::Leaf => (
            if scope.leaf_only { "leaves only" } else { "leaves and tables" }.to_owned(),
            "a leaf".to_owned(),
        ),
        Reason::Granule => {
            let asks = scope.granule.map_or("any", granule);
            (asks.to_owned(), leaf.map_or("none", |leaf| granule(leaf.granule)).to_owned())
        }
        Reason::Level => {
            let asks =
                scope.level.map_or_else(|| "any".to_owned(), |level| format!("level {}", level.number()));
            (asks, leaf.map_or_else(|| "none".to_owned(), |leaf| format!("level {}", leaf.level.number())))
        }
    }
}

/// A walk of tables as the device makes it when it remembers nothing, and what it remembers of it.
#[derive(Serialize)]
pub(crate) struct Walk {
    address: String,
    stream: u32,
    split: Vec<Bits>,
    steps: Vec<WalkStep>,
    result: String,
    ok: bool,
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
    remembered: bool,
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
    let truth = world.rehearse(stream, address, true, &mut cold);
    let answer = world.rehearse(stream, address, false, &mut warm);
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
            name: format!("L{}", level.number()),
            high,
            low,
            value: format!("{:#x}", address >> low & ((1 << (high - low + 1)) - 1)),
        });
    }
    split.push(Bits {
        name: "offset".to_owned(),
        high: granule.shift() - 1,
        low: 0,
        value: format!("{:#x}", address & (granule.bytes() - 1)),
    });
    let mut steps = Vec::new();
    for step in &cold.0 {
        let read = |step: &Step| warm.0.contains(step);
        match step {
            Step::Ste { address, words, .. } => steps.push(WalkStep {
                kind: "ste",
                title: "STE".to_owned(),
                text: format!("Config {:#05b}", ste::field::CONFIG.of(words)),
                address: hex(address.0),
                word: hex(words.first().copied().unwrap_or(0)),
                remembered: !read(step),
                fields: Vec::new(),
                near: Vec::new(),
            }),
            Step::Cd { address, words, .. } => steps.push(WalkStep {
                kind: "cd",
                title: "CD".to_owned(),
                text: format!("ASID {}", cd::field::ASID.of(words)),
                address: hex(address.0),
                word: hex(words.first().copied().unwrap_or(0)),
                remembered: !read(step),
                fields: Vec::new(),
                near: Vec::new(),
            }),
            Step::Descriptor { stage, level, address, word } => {
                let granule = if *stage == Stage::S1 { granule } else { Granule::Kib4 };
                let remembered = hit.is_none()
                    && !read(step)
                    && table.is_some_and(|table| table.space.stage == *stage && *level <= table.level);
                steps.push(WalkStep {
                    kind: if *stage == Stage::S1 { "s1" } else { "s2" },
                    title: format!("{}L{}", if *stage == Stage::S1 { "" } else { "S2 " }, level.number()),
                    text: descriptor(*word, granule, *level),
                    address: hex(address.0),
                    word: hex(*word),
                    remembered,
                    fields: descriptor_fields(*word, *stage, *level),
                    near: near(world, *address, granule, *level),
                });
            }
            _ => {}
        }
    }
    let cached = match (hit, table) {
        (Some(entry), _) => format!(
            "the IOTLB answers: {} → {}, {}",
            hex(entry.input),
            hex(entry.output.0),
            bytes(1 << entry.log2_size)
        ),
        (None, Some(table)) => format!(
            "the walk cache skips to the table below level {}: {read_warm} reads are left",
            table.level.number()
        ),
        (None, None) => format!("nothing is remembered: {read_warm} descriptor reads"),
    };
    Walk {
        address: hex(address),
        stream,
        split,
        steps,
        result: place(&truth),
        ok: truth.is_ok(),
        stale: answer != truth,
        cached: if answer == truth {
            cached
        } else {
            format!("{cached}; STALE: the device would get {}", place(&answer))
        },
        reads: read_warm,
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
