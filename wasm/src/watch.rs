//! What the page remembers of the device's steps: counts, marks on the timeline, lines for the log.

use crate::command;
use crate::sorted::Sorted;
use crate::text::{bytes, grouped, hex};
use serde::Serialize;
use smmuv3::arch::entry::{Entry, Space};
use smmuv3::{Command, Iova, Step, StreamId, Trace, Transaction};

/// Counted since the scenario began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Counters {
    pub(crate) commands: u32,
    /// CMD_SYNCs among them.
    pub(crate) syncs: u32,
    pub(crate) scanned: u32,
    pub(crate) dropped: u32,
    pub(crate) excess: u32,
    pub(crate) hits: u32,
    pub(crate) misses: u32,
    pub(crate) evictions: u32,
    pub(crate) descriptors: u32,
    pub(crate) table_hits: u32,
    pub(crate) events: u32,
    pub(crate) stale: u32,
    pub(crate) register_writes: u32,
    /// Answers that an imported transcript does not expect.
    pub(crate) unexpected: u32,
}

/// Marks of a moment, for the lanes of the timeline.
pub(crate) mod lane {
    pub(crate) const CPU: u8 = 1;
    pub(crate) const QUEUE: u8 = 2;
    pub(crate) const TLB: u8 = 4;
    pub(crate) const DMA: u8 = 8;
    pub(crate) const EVENT: u8 = 16;
    pub(crate) const BAD: u8 = 32;
}

/// What kind of line the log has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    Cpu,
    Command,
    Tlb,
    Dma,
    Event,
    Error,
    Note,
}

/// A line of the log; equal commands without effect share one.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    pub(crate) first: u32,
    pub(crate) last: u32,
    pub(crate) kind: Kind,
    pub(crate) opcode: u8,
    pub(crate) text: String,
}

/// The TLBI that was executed last, and what it did.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Last {
    pub(crate) command: Command,
    pub(crate) words: [u64; 2],
    pub(crate) dropped: u32,
    pub(crate) excess: u32,
    pub(crate) scanned: u32,
    /// Tables of the walk cache that went too.
    pub(crate) tables: u32,
}

/// Which access filled an entry, and when.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Origin {
    pub(crate) transaction: Transaction,
    pub(crate) when: u32,
}

/// `when` of an entry that is no longer there.
const GONE: u32 = u32::MAX;

#[derive(Clone, Debug)]
pub(crate) struct Watch {
    pub(crate) counters: Counters,
    pub(crate) marks: u8,
    pub(crate) lines: Vec<Line>,
    pub(crate) last: Option<Last>,
    origins: Sorted<(Space, u64, u8), Origin>,
    /// How many of them are no longer there.
    gone: usize,
    /// What happened in this moment, for those who ask after it.
    pub(crate) hit: bool,
    /// The access that is being made.
    pub(crate) transaction: Transaction,
    pub(crate) now: u32,
    fetched: [u64; 2],
    excess: u32,
    tables: u32,
    /// The opcode of the line before, if it may be counted rather than repeated.
    repeat: u8,
    /// Nobody reads the lines of a moment that is lived through again.
    pub(crate) silent: bool,
}

impl Watch {
    pub(crate) fn begin(&mut self, now: u32) {
        self.marks = 0;
        self.hit = false;
        self.now = now;
        self.lines.clear();
    }

    pub(crate) fn say(&mut self, kind: Kind, text: impl FnOnce() -> String) {
        self.say_command(kind, 0, text);
    }

    fn say_command(&mut self, kind: Kind, opcode: u8, text: impl FnOnce() -> String) {
        if !self.silent {
            let text = if opcode != 0 && opcode == self.repeat { String::new() } else { text() };
            self.lines.push(Line { first: self.now, last: self.now, kind, opcode, text });
            self.repeat = opcode;
        }
    }

    const fn key(entry: &Entry) -> (Space, u64, u8) {
        (entry.space, entry.input, entry.log2_size)
    }

    pub(crate) fn origin(&self, entry: &Entry) -> Option<Origin> {
        self.origins.get(&Self::key(entry)).copied().filter(|origin| origin.when != GONE)
    }

    /// An entry went. Taking its row out would move thousands of others; now and then all such rows are.
    fn forget(&mut self, entry: &Entry) {
        if let Some(origin) = self.origins.get_mut(&Self::key(entry)) {
            origin.when = GONE;
            self.gone += 1;
        }
        if self.gone > 64 && self.gone > self.origins.len() / 2 {
            self.origins.retain(|origin| origin.when != GONE);
            self.gone = 0;
        }
    }
}

impl Default for Watch {
    fn default() -> Self {
        Self {
            counters: Counters::default(),
            marks: 0,
            lines: Vec::new(),
            last: None,
            origins: Sorted::default(),
            gone: 0,
            hit: false,
            transaction: Transaction::read(StreamId(0), Iova(0)),
            now: 0,
            fetched: [0; 2],
            excess: 0,
            tables: 0,
            repeat: 0,
            silent: false,
        }
    }
}

impl Trace for Watch {
    fn step(&mut self, step: &Step) {
        let counters = &mut self.counters;
        match step {
            Step::RegisterWrite { .. } => {
                counters.register_writes += 1;
                self.marks |= lane::CPU;
            }
            Step::CommandFetch { words, .. } => {
                counters.commands += 1;
                self.marks |= lane::QUEUE;
                self.fetched = *words;
                (self.excess, self.tables) = (0, 0);
            }
            Step::Command(by) => {
                let words = self.fetched;
                if !matches!(by, Command::Sync(_)) && is_tlbi(by) {
                    return; // told with its effect
                }
                let by = *by;
                counters.syncs += u32::from(matches!(by, Command::Sync(_)));
                self.say(Kind::Command, || command::sentence(words, Some(&by)));
            }
            Step::CommandError(error) => {
                self.marks |= lane::QUEUE | lane::BAD;
                let (words, error) = (self.fetched, *error);
                self.say(Kind::Error, || {
                    format!("{error:?}: the queue stops at {}", command::sentence(words, None))
                });
            }
            Step::Drop { entry, needed, .. } => {
                counters.excess += u32::from(!needed);
                self.excess += u32::from(!needed);
                self.marks |= lane::TLB;
                self.forget(entry);
            }
            Step::Evict(entry) => {
                counters.evictions += 1;
                self.forget(entry);
                let (input, size) = (entry.input, entry.log2_size);
                self.say(Kind::Tlb, || format!("evicted {} ({})", hex(input), bytes(1 << size)));
            }
            Step::Fill(entry) => {
                counters.misses += 1;
                self.marks |= lane::TLB;
                let origin = Origin { transaction: self.transaction, when: self.now };
                self.origins.insert(Self::key(entry), origin);
                let (input, size, pa) = (entry.input, entry.log2_size, entry.output.0);
                self.say(Kind::Tlb, || format!("filled {} → {} ({})", hex(input), hex(pa), bytes(1 << size)));
            }
            Step::Hit(_) => {
                counters.hits += 1;
                self.hit = true;
            }
            Step::Descriptor { .. } => counters.descriptors += 1,
            Step::TableHit(_) => counters.table_hits += 1,
            Step::TableDrop { entry, .. } => {
                self.tables += 1;
                self.marks |= lane::TLB;
                let (input, level) = (entry.input, entry.level.number());
                self.say(Kind::Tlb, || format!("walk cache: level {level} table of {} dropped", hex(input)));
            }
            Step::Invalidated { by, scanned, dropped } => {
                counters.scanned = counters.scanned.saturating_add(*scanned);
                counters.dropped += dropped;
                let (words, by, dropped, excess) = (self.fetched, *by, *dropped, self.excess);
                let (scanned, tables) = (*scanned, self.tables);
                self.last = Some(Last { command: by, words, dropped, excess, scanned, tables });
                let opcode = if dropped == 0 { by.opcode() } else { 0 };
                self.say_command(Kind::Command, opcode, || {
                    let more = if excess == 0 {
                        String::new()
                    } else {
                        format!(", {} of them in excess", grouped(excess.into()))
                    };
                    format!(
                        "{}: {} dropped{more}",
                        command::sentence(words, Some(&by)),
                        grouped(dropped.into())
                    )
                });
            }
            Step::Event(event) => {
                counters.events += 1;
                self.marks |= lane::EVENT;
                let name = event.kind().map_or("event", |kind| kind.name());
                let (stream, input) = (event.requester.stream.0, event.requester.input.0);
                self.say(Kind::Event, || format!("{name}: stream {stream}, {}", hex(input)));
            }
            Step::EventLost(_) => {
                self.marks |= lane::EVENT | lane::BAD;
                self.say(Kind::Error, || "an event was lost: the queue is full".to_owned());
            }
            Step::DropSte { stream, .. } => {
                let id = stream.0;
                self.say(Kind::Tlb, || format!("configuration cache: STE of stream {id} dropped"));
            }
            Step::DropCd { stream, .. } => {
                let id = stream.0;
                self.say(Kind::Tlb, || format!("configuration cache: CD of stream {id} dropped"));
            }
            _ => {}
        }
    }
}

const fn is_tlbi(command: &Command) -> bool {
    matches!(
        command,
        Command::TlbiNhAll { .. }
            | Command::TlbiNhAsid { .. }
            | Command::TlbiNhVa { .. }
            | Command::TlbiNhVaa { .. }
            | Command::TlbiEl2All
            | Command::TlbiEl2Asid { .. }
            | Command::TlbiEl2Va { .. }
            | Command::TlbiEl2Vaa { .. }
            | Command::TlbiS12Vmall { .. }
            | Command::TlbiS2Ipa { .. }
            | Command::TlbiNsnhAll
    )
}
