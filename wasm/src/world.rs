//! The whole world of a moment: a device, its memory, the guest in front of it, and how far the script has come.
//!
//! Going on by one moment is `tick`: one command is consumed, or one action of the script is done. Time travel is a copy
//! of a world and ticks from there.

use crate::access::{Answer, Ats, Pending, Request};
use crate::command;
use crate::guest::{self, COMMAND_QUEUE, EVENT_QUEUE, Guest, LOG2_EVENTS, LOG2_STREAMS, STREAM_TABLE};
use crate::knobs::Knobs;
use crate::ram::Ram;
use crate::script::{Action, Error, StagAt, Words};
use crate::tape::Tape;
use crate::text::{bytes, grouped, hex, hexadecimal};
use crate::watch::{Kind, Watch, lane};
use smmuv3::arch::addr::low_mask;
use smmuv3::device::queue::Queue;
use smmuv3::format::command::field as cmd;
use smmuv3::format::regs::{Reg, queue_index};
use smmuv3::{Env, Iova, Level, Memory, NoInterrupts, Pa, Smmu, StreamId, Trace, Transaction};

/// IOTLB entries that every machine has memory for; the knobs choose how many of them are in use.
pub(crate) const ENTRIES: usize = 4096;
/// Commands that Linux submits at once.
const BATCH: u32 = 64;

pub(crate) type Device = Smmu<ENTRIES>;

/// The last access.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Access {
    pub(crate) stream: u32,
    pub(crate) address: u64,
    pub(crate) result: Answer,
    /// What the tables say, where anybody can tell.
    pub(crate) truth: Option<Answer>,
    pub(crate) stale: bool,
    pub(crate) hit: bool,
    /// Descriptors that were read for it.
    pub(crate) reads: u32,
}

impl Access {
    /// From where to where, and how that was found.
    fn way(&self) -> String {
        let cache = match (self.hit, self.reads) {
            (true, _) => "a hit in the IOTLB, ",
            (false, 0) => "", // no translation, or none that got as far as tables
            _ => "a miss, ",
        };
        match self.reads {
            0 => format!("{cache}no descriptor read"),
            1 => format!("{cache}1 descriptor read"),
            n => format!("{cache}{n} descriptors read"),
        }
    }

    /// For people.
    pub(crate) fn words(&self) -> String {
        let arrow = if self.result.is_ok() { " →" } else { ":" };
        format!("IOVA {}{arrow} {}; {}", hex(self.address), self.result.words(), self.way())
    }
}

#[derive(Clone)]
pub(crate) struct World {
    pub(crate) smmu: Device,
    pub(crate) ram: Ram,
    pub(crate) guest: Guest,
    pub(crate) watch: Watch,
    pub(crate) knobs: Knobs,
    pub(crate) now: u32,
    /// The next action, and how much of it is done.
    pub(crate) at: usize,
    done: u32,
    /// Counts what may change where addresses lead.
    pub(crate) memory_version: u32,
    pub(crate) note: String,
    pub(crate) access: Option<Access>,
    pub(crate) pending: Pending,
    pub(crate) tape: Option<Box<Tape>>,
}

impl World {
    pub(crate) fn new(knobs: Knobs) -> Result<Self, smmuv3::ConfigError> {
        Ok(Self {
            smmu: Smmu::new(knobs.features, knobs.settings)?,
            ram: Ram::default(),
            guest: Guest::new(),
            watch: Watch::default(),
            knobs,
            now: 0,
            at: 0,
            done: 0,
            memory_version: 0,
            note: String::new(),
            access: None,
            pending: Pending::default(),
            tape: None,
        })
    }

    /// Brings the device up in the order in which Linux does.
    pub(crate) fn boot(&mut self) -> Result<(), Error> {
        let valid = 1 << 62; // RA or WA: an allocation hint
        let write = |world: &mut Self, register: Reg, value: u64| {
            world.write_register(register.row().offset, register.row().width == 8, value)
        };
        write(self, Reg::Cr0, 0)?;
        write(self, Reg::Cr1, 0xd75)?;
        write(self, Reg::Cr2, 0b10)?;
        write(self, Reg::StrtabBase, STREAM_TABLE | valid)?;
        write(self, Reg::StrtabBaseCfg, LOG2_STREAMS.into())?;
        write(self, Reg::CmdqBase, COMMAND_QUEUE | u64::from(self.knobs.log2_commands) | valid)?;
        write(self, Reg::CmdqProd, 0)?;
        write(self, Reg::CmdqCons, 0)?;
        write(self, Reg::EventqBase, EVENT_QUEUE | u64::from(LOG2_EVENTS) | valid)?;
        write(self, Reg::EventqProd, 0)?;
        write(self, Reg::EventqCons, 0)?;
        write(self, Reg::IrqCtrl, 0b101)?;
        write(self, Reg::Cr0, 0b1101)?;
        self.watch = Watch::default();
        Ok(())
    }

    /// Whether `tick` has anything left to do.
    pub(crate) fn is_over(&self, script: &[Action]) -> bool {
        self.at >= script.len() && !self.smmu.pending()
    }

    /// One moment; false if there is nothing left to do.
    pub(crate) fn tick(&mut self, script: &[Action]) -> Result<bool, Error> {
        self.watch.begin(self.now + 1);
        if self.smmu.pending() {
            self.consume(1);
            self.settle();
        } else if let Some(action) = script.get(self.at) {
            self.act(action)?;
        } else {
            return Ok(false);
        }
        self.now += 1;
        Ok(true)
    }

    fn act(&mut self, action: &Action) -> Result<(), Error> {
        let mut finished = true;
        match action {
            Action::Stream { stream, asid, vmid, stages, granule } => {
                let stages = stages.unwrap_or(self.knobs.stages);
                let granule = granule.unwrap_or(self.knobs.granule);
                let (knobs, ids) = (self.knobs, (*stream, *asid, *vmid));
                self.change(&mut |guest, ram| guest.add_stream(ram, &knobs, ids, stages, granule))?;
                self.cpu(|| format!("STE of stream {stream}: ASID {asid}, VMID {vmid}, empty tables"));
            }
            Action::Map { stream, address, pa, bytes: size, level, global, stage2 } => {
                let tables = self.guest.tables(*stream, *stage2)?;
                let level = Level::from_number(*level);
                let size = (*size).max(1 << tables.granule.level_shift(level));
                let span = (*address, *pa, size);
                self.change(&mut |guest, ram| tables.map(&mut guest.heap, ram, span, level, *global))?;
                // What stage 1 puts out has to get through stage 2 somehow; a script that says more maps it first.
                self.cpu(|| {
                    let leaf = bytes(1 << tables.granule.level_shift(level));
                    format!("tables: {} → {}, {} by {leaf}", hex(*address), hex(*pa), bytes(size))
                });
            }
            Action::Unmap { stream, address, bytes: size, stage2 } => {
                let tables = self.guest.tables(*stream, *stage2)?;
                let mut count = 0;
                self.change(&mut |_, ram| {
                    count = tables.unmap(ram, *address, *size)?;
                    Ok(())
                })?;
                self.cpu(|| {
                    format!("tables: {} leaves from {} on made invalid", grouped(count), hex(*address))
                });
            }
            Action::Free { stream, address, level } => {
                let tables = self.guest.tables(*stream, false)?;
                self.change(&mut |guest, ram| {
                    guest.freed = Some((tables.free(ram, *address, *level)?, tables.granule));
                    Ok(())
                })?;
                self.cpu(|| {
                    format!(
                        "tables: the level {level} descriptor of {} cleared, its table freed",
                        hex(*address)
                    )
                });
            }
            Action::Reuse { pa } => {
                self.change(&mut |guest, ram| guest.reuse(ram, *pa))?;
                self.cpu(|| "the freed table's page is used for something else".to_owned());
            }
            Action::Remap { stream, address, pa, stage2 } => {
                let tables = self.guest.tables(*stream, *stage2)?;
                self.change(&mut |_, ram| tables.remap(ram, *address, *pa))?;
                self.cpu(|| format!("tables: {} now leads to {}", hex(*address), hex(*pa)));
            }
            Action::Split { stream, address } => {
                let tables = self.guest.tables(*stream, false)?;
                self.change(&mut |guest, ram| tables.split(&mut guest.heap, ram, *address))?;
                self.cpu(|| format!("tables: the block at {} split into a table", hex(*address)));
            }
            Action::Dma { request, count, stride, expect } => {
                let address = request.address.wrapping_add(u64::from(self.done).wrapping_mul(*stride));
                let answer = self.dma(&Request { address, ..request.clone() });
                self.check(answer, expect);
                self.done += 1;
                finished = self.done >= *count;
            }
            Action::Outcome { id, expect } => {
                let answer = self
                    .pending
                    .outcome(*id)
                    .ok_or_else(|| Error(format!("there is no transaction {id}")))?;
                self.watch.say(Kind::Dma, || format!("transaction {id}: {}", answer.words()));
                if let Some(tape) = &mut self.tape {
                    tape.outcome(*id, answer);
                }
                self.check(answer, expect);
            }
            Action::Commands { words, ring } => {
                for command in words {
                    self.put(*command)?;
                }
                if *ring {
                    self.ring()?;
                } else {
                    let words = words.first().copied().unwrap_or_default();
                    self.cpu(|| {
                        format!(
                            "into the queue, not announced: {}",
                            command::sentence(words, None).replace("illegal command", "command")
                        )
                    });
                }
            }
            Action::Storm { first, count, stride } => {
                let batch = (count - self.done).min(BATCH).min((1 << self.knobs.log2_commands) - 1);
                for n in self.done..self.done + batch {
                    let mut words = *first;
                    let address =
                        (cmd::ADDRESS.of(first) << 12).wrapping_add(u64::from(n).wrapping_mul(*stride));
                    cmd::ADDRESS.set(&mut words, address >> 12);
                    self.put(words)?;
                }
                self.done += batch;
                finished = self.done >= *count;
                self.ring()?;
            }
            Action::Linux { stream, address, bytes: size, leaf, ttl } => {
                let known = self.guest.stream(*stream)?.clone();
                let granule = known.s1.or(known.s2).map_or(self.knobs.granule, |tables| tables.granule);
                let template = guest::template(&known, *leaf)?;
                let mut commands =
                    guest::linux_range(template, *address, size >> granule.shift(), granule, *ttl);
                commands.push(command::sync());
                for command in commands {
                    self.put(command)?;
                }
                self.ring()?;
            }
            Action::Register { offset, eight, value } => {
                self.write_register(*offset, *eight, *value)?;
                let name = smmuv3::format::regs::find(*offset).map_or("?", |row| row.name);
                self.cpu(|| format!("SMMU_{name} = {}", hex(*value)));
            }
            Action::Poke { pa, bytes, stag } => {
                self.write_memory(*pa, bytes, *stag)?;
                self.cpu(|| format!("{} bytes written at {}", bytes.len(), hex(*pa)));
            }
            Action::Read { offset, eight, value, mask } => {
                let mut data = [0; 8];
                let (word, _) = data.split_at_mut(if *eight { 8 } else { 4 });
                self.smmu
                    .read(*offset, word)
                    .map_err(|error| Error(format!("{}: {error:?}", hex((*offset).into()))))?;
                let found = u64::from_le_bytes(data);
                let name = smmuv3::format::regs::find(*offset).map_or("?", |row| row.name);
                self.cpu(|| format!("SMMU_{name} reads {}", hex(found)));
                if (found ^ value) & mask != 0 {
                    self.unexpected(&hex(*value), &hex(found));
                }
            }
            Action::Memory { pa, bytes, mask } => {
                let mut found = vec![0; bytes.len()];
                self.ram
                    .read(Pa(*pa), &mut found)
                    .map_err(|_| Error(format!("there is no memory at {}", hex(*pa))))?;
                self.cpu(|| format!("{} bytes read at {}", found.len(), hex(*pa)));
                let differs = |((a, b), mask): ((&u8, &u8), &u8)| (a ^ b) & mask != 0;
                if found.iter().zip(bytes).zip(mask).any(differs) {
                    self.unexpected(&hexadecimal(bytes), &hexadecimal(&found));
                }
            }
            Action::Events => {
                let count = self.drain_events()?;
                self.cpu(|| format!("event queue drained: {count} records"));
            }
            Action::Note(text) => {
                self.note.clone_from(text);
                self.watch.say(Kind::Note, || text.clone());
            }
        }
        if finished {
            (self.at, self.done) = (self.at + 1, 0);
        }
        Ok(())
    }

    fn cpu(&mut self, text: impl FnOnce() -> String) {
        self.watch.marks |= lane::CPU;
        self.watch.say(Kind::Cpu, text);
    }

    /// Lets the guest change memory, and takes down what it changed.
    fn change(&mut self, f: &mut dyn FnMut(&mut Guest, &mut Ram) -> Result<(), Error>) -> Result<(), Error> {
        let before = self.tape.is_some().then(|| self.ram.clone());
        f(&mut self.guest, &mut self.ram)?;
        self.memory_version += 1;
        if let (Some(tape), Some(before)) = (&mut self.tape, before) {
            tape.memory(&before, &self.ram);
        }
        Ok(())
    }

    fn write_memory(&mut self, pa: u64, data: &[u8], stag: Option<StagAt>) -> Result<(), Error> {
        let mut data = data.to_vec();
        if let Some(at) = stag {
            at.fill(&mut data, &self.pending);
        }
        self.ram.write(Pa(pa), &data).map_err(|_| Error(format!("there is no memory at {}", hex(pa))))?;
        self.memory_version += 1;
        if let Some(tape) = &mut self.tape {
            tape.write(pa, &data, stag);
        }
        Ok(())
    }

    fn write_register(&mut self, offset: u32, eight: bool, value: u64) -> Result<(), Error> {
        let bytes = value.to_le_bytes();
        let (data, rest) = bytes.split_at(if eight { 8 } else { 4 });
        if rest.iter().any(|byte| *byte != 0) {
            return Err(Error(format!("{} does not fit 4 bytes", hex(value))));
        }
        if let Some(tape) = &mut self.tape {
            tape.register(offset, data, value);
        }
        self.watch.marks |= lane::CPU;
        let mut env = watched(&mut self.ram, &mut self.watch);
        self.smmu
            .write(offset, data, &mut env)
            .map_err(|error| Error(format!("{}: {error:?}", hex(offset.into()))))?;
        if smmuv3::format::regs::find(offset).is_some_and(|row| row.id == Reg::CmdqProd) {
            self.guest.prod = value as u32;
        }
        self.settle();
        self.memory_version += u32::from(offset != Reg::CmdqProd.row().offset);
        Ok(())
    }

    pub(crate) fn consume(&mut self, budget: u32) -> u32 {
        let mut env = watched(&mut self.ram, &mut self.watch);
        self.smmu.poll(budget, &mut env)
    }

    /// When nothing is left to consume, what software has released goes on.
    fn settle(&mut self) {
        if !self.smmu.pending() {
            self.pending.resume(&mut self.smmu, &mut self.ram, &mut self.watch);
        }
    }

    /// The command queue as the registers describe it.
    pub(crate) fn command_queue(&self) -> Queue {
        self.smmu.registers().command_queue(self.smmu.features())
    }

    fn put(&mut self, words: Words) -> Result<(), Error> {
        let queue = self.command_queue();
        let cons = self.smmu.registers().field(Reg::CmdqCons, queue_index::POSITION) as u32;
        if queue.is_full(self.guest.prod, cons) {
            return Err(Error("the command queue is full: nothing consumes it".to_owned()));
        }
        let at = queue.entry(self.guest.prod);
        let image: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        self.ram.write(at, &image).map_err(|_| Error("the command queue lies outside memory".to_owned()))?;
        if let Some(tape) = &mut self.tape {
            tape.write(at.0, &image, None);
        }
        self.guest.prod = queue.next(self.guest.prod);
        Ok(())
    }

    fn ring(&mut self) -> Result<(), Error> {
        let prod = self.guest.prod;
        self.write_register(Reg::CmdqProd.row().offset, false, prod.into())
    }

    /// A device's access, through the caches, and the truth beside it.
    fn dma(&mut self, request: &Request) -> Answer {
        let truth = request.truth(&self.smmu, &self.ram);
        self.watch.transaction = request.transaction(0);
        self.watch.marks |= lane::DMA;
        let before = self.watch.counters.descriptors;
        let result = self.pending.begin(&mut self.smmu, &mut self.ram, &mut self.watch, request);
        let hit = self.watch.hit;
        let reads = self.watch.counters.descriptors - before;
        // Whether there is room to hold a transaction is no question of translation.
        let stale =
            truth.is_some_and(|truth| truth != result && (truth != Answer::Stalled || result.is_ok()));
        self.watch.counters.stale += u32::from(stale);
        if stale {
            self.watch.marks |= lane::BAD;
        }
        let Request { stream, address, write, ats, .. } = *request;
        self.watch.say(if stale { Kind::Error } else { Kind::Dma }, || {
            let way = match (ats, write) {
                (Some(Ats::Request), _) => "asks for",
                (Some(Ats::Translated), _) => "goes to, translated,",
                (None, true) => "writes",
                (None, false) => "reads",
            };
            let mut text = format!("stream {stream} {way} IOVA {}: {}", hex(address), result.words());
            if hit {
                text += ", IOTLB hit";
            }
            if let (true, Some(truth)) = (stale, truth) {
                text += "; STALE: the tables say ";
                text += &truth.words();
            }
            text
        });
        if let Some(tape) = &mut self.tape {
            tape.dma(request, result, truth);
        }
        self.access = Some(Access { stream, address, result, truth, stale, hit, reads });
        result
    }

    /// What an imported transcript expects.
    fn check(&mut self, answer: Answer, expect: &[Answer]) {
        if !expect.is_empty() && !expect.contains(&answer) {
            let legal: Vec<String> = expect.iter().map(Answer::words).collect();
            self.unexpected(&legal.join(" or "), &answer.words());
        }
    }

    fn unexpected(&mut self, expected: &str, found: &str) {
        self.watch.marks |= lane::BAD;
        self.watch.counters.unexpected += 1;
        self.watch.say(Kind::Error, || format!("the transcript expects {expected}, here it is {found}"));
    }

    /// The records from EVENTQ_CONS to EVENTQ_PROD.
    pub(crate) fn events(&self) -> Vec<[u64; 4]> {
        let registers = self.smmu.registers();
        let queue = registers.event_queue(self.smmu.features());
        let prod = registers.field(Reg::EventqProd, queue_index::POSITION) as u32;
        let mut cons = registers.field(Reg::EventqCons, queue_index::POSITION) as u32;
        let mut records = Vec::new();
        while !queue.is_empty(prod, cons) {
            let at = queue.entry(cons).0;
            records.push(core::array::from_fn(|n| self.ram.word(at + 8 * n as u64)));
            cons = queue.next(cons);
        }
        records
    }

    fn drain_events(&mut self) -> Result<usize, Error> {
        let records = self.events();
        let prod = self.smmu.registers().get(Reg::EventqProd);
        if let Some(tape) = &mut self.tape {
            tape.events(&records, &self.pending);
        }
        // The transcript's line writes EVENTQ_CONS by itself.
        let tape = self.tape.take();
        let written = self.write_register(Reg::EventqCons.row().offset, false, prod);
        self.tape = tape;
        written.map(|()| records.len())
    }

    /// The truth about an access: no caches, no effects.
    pub(crate) fn truth(&self, transaction: &Transaction) -> Answer {
        Answer::of(self.smmu.walk(transaction, &self.ram))
    }

    /// The steps of an access on a copy of the device, which is forgotten afterwards.
    pub(crate) fn rehearse(&self, transaction: &Transaction, cold: bool, trace: &mut dyn Trace) -> Answer {
        let (mut smmu, mut ram) = (Box::new(self.smmu.clone()), self.ram.clone());
        if cold {
            smmu.drop_caches();
        }
        Answer::of(smmu.translate(transaction, &mut watched(&mut ram, trace)))
    }

    /// How a stream's accesses look: as the last one did, if it was of that stream.
    pub(crate) fn transaction(&self, stream: u32, address: u64) -> Transaction {
        let last = self.watch.transaction;
        let plain = Transaction::read(StreamId(stream), Iova(address));
        if last.stream.0 == stream { Transaction { address: Iova(address), ..last } } else { plain }
    }

    /// What a command's span means: its low bits of an address.
    pub(crate) const fn low(address: u64) -> f64 {
        (address & low_mask(52)) as f64
    }
}

/// What is lent to a device. One type for all who watch, so that the device is compiled once.
pub(crate) fn watched<'a>(ram: &'a mut Ram, trace: &'a mut dyn Trace) -> Lent<'a> {
    // It has no size, so nothing is allocated.
    let interrupts = Box::leak(Box::new(NoInterrupts));
    Env { memory: ram, interrupts, trace }
}

pub(crate) type Lent<'a> = Env<'a, Ram, NoInterrupts, dyn Trace + 'a>;
