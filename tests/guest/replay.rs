//! Replaying a transcript: the model is asked what was asked then, and has to agree.

mod queue;

use core::fmt;

use smmuv3::{Memory, Pa, Settings, Stag};

use crate::{
    device::{Device, Unsupported},
    ram::Ram,
    transcript::{
        self, Answer, Config, Dma, Events, Irqs, Mem, MmioRead, MmioWrite, Op, Outcome, Reader, Record, Write,
    },
};

/// How transcripts are replayed.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The sizes and the ways of the device.
    pub settings: Settings,
    /// How often its caches are dropped; never, if `None`.
    pub forget: Option<Forget>,
}

/// Before each access all caches are dropped with this probability.
#[derive(Debug, Clone, Copy)]
pub struct Forget {
    /// 0 to 1.
    pub probability: f64,
    /// Where the dice start, for each transcript anew.
    pub seed: u64,
}

/// What a replay has found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Every answer was right, but for this many that are known to be none.
    Passed {
        /// Answers of QEMU that depart from the architecture in ways of which the transcript does not say more.
        quirks: u64,
    },
    /// An answer was wrong; nothing after it was compared.
    Failed(Failure),
    /// The device cannot be built, or not do what it is asked; the reason.
    Skipped(String),
}

/// A wrong answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The line of the transcript.
    pub line: u64,
    /// The operation on it.
    pub op: &'static str,
    /// What is right.
    pub expected: String,
    /// What came.
    pub got: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { line, op, expected, got } = self;
        write!(f, "{line} {op}, expected {expected}, got {got}")
    }
}

/// Replays `transcript`. It is read to its end whatever happens, so that an error in it never goes unnoticed.
pub fn replay(transcript: Reader, plan: &Plan) -> Result<Verdict, transcript::Error> {
    let mut replayer = Replayer::new(transcript.config(), plan);
    let mut verdict = Verdict::Passed { quirks: 0 };
    for op in transcript {
        let (line, op) = op?;
        let (Verdict::Passed { quirks }, Ok(replayer)) = (&mut verdict, &mut replayer) else {
            continue;
        };
        match replayer.step(&op) {
            Ok(Compared::Agrees) => {}
            Ok(Compared::Quirk) => *quirks += 1,
            Err(Wrong { expected, got }) => {
                verdict = Verdict::Failed(Failure { line, op: op.name(), expected, got });
            }
        }
    }
    Ok(match replayer {
        Ok(_) => verdict,
        Err(Unsupported(reason)) => Verdict::Skipped(reason),
    })
}

/// A device in the middle of a transcript, with the memory around it.
struct Replayer {
    device: Device,
    ram: Ram,
    forget: Option<(f64, fastrand::Rng)>,
    event_queue_bits: u32,
}

enum Compared {
    Agrees,
    Quirk,
}

struct Wrong {
    expected: String,
    got: String,
}

type Step = Result<Compared, Wrong>;

impl Replayer {
    fn new(config: &Config, plan: &Plan) -> Result<Self, Unsupported> {
        Ok(Self {
            device: Device::new(&config.idr, plan.settings)?,
            ram: Ram::new(config.ram.iter().map(|range| (range.base, range.size))),
            forget: plan.forget.map(|forget| (forget.probability, fastrand::Rng::with_seed(forget.seed))),
            event_queue_bits: queue::log2_limit(config.idr.idr1),
        })
    }

    fn step(&mut self, op: &Op) -> Step {
        match op {
            Op::Config(_) | Op::Note(_) => Ok(Compared::Agrees),
            Op::Write(write) => self.write(write),
            Op::MmioWrite(write) => self.mmio_write(write),
            Op::MmioRead(read) => self.mmio_read(read),
            Op::Mem(mem) => self.mem(mem),
            Op::Dma(dma) => self.dma(dma),
            Op::Outcome(outcome) => self.outcome(outcome),
            Op::Irqs(irqs) => self.irqs(irqs),
            Op::Events(events) => self.events(events),
        }
    }

    fn write(&mut self, write: &Write) -> Step {
        let mut bytes = write.hex.clone();
        if let Some(stag) = write.stag {
            let Some(Stag(name)) = self.device.stags(stag.id).last() else {
                return wrong(format_args!("transaction {} stalled", stag.id), "one that never was");
            };
            if let Some(place) = bytes.get_mut(stag.at..).and_then(|rest| rest.first_chunk_mut()) {
                *place = name.to_le_bytes();
            }
        }
        match self.ram.write(Pa(write.pa), &bytes) {
            Ok(()) => Ok(Compared::Agrees),
            Err(_) => wrong("memory", format_args!("none at {:#x}", write.pa)),
        }
    }

    fn mmio_write(&mut self, write: &MmioWrite) -> Step {
        match self.device.write(write.off, write.size, write.val, &mut self.ram) {
            Ok(()) => Ok(Compared::Agrees),
            Err(refusal) => wrong(format_args!("a register at {:#x}", write.off), refusal),
        }
    }

    fn mmio_read(&mut self, read: &MmioRead) -> Step {
        let right = match (read.qemu_quirk, read.arch) {
            (false, _) => read.val,
            (true, Some(arch)) => arch,
            (true, None) => return Ok(Compared::Quirk),
        };
        let mask = read.mask;
        match self.device.read(read.off, read.size) {
            Ok(value) if (value ^ right) & mask == 0 => Ok(Compared::Agrees),
            Ok(value) if mask == u64::MAX => wrong(format_args!("{right:#x}"), format_args!("{value:#x}")),
            Ok(value) => wrong(format_args!("{right:#x} under {mask:#x}"), format_args!("{value:#x}")),
            Err(refusal) => wrong(format_args!("{right:#x}"), refusal),
        }
    }

    fn mem(&mut self, mem: &Mem) -> Step {
        if mem.qemu_quirk {
            return Ok(Compared::Quirk);
        }
        let mut bytes = vec![0; mem.hex.len()];
        if self.ram.read(Pa(mem.pa), &mut bytes).is_err() {
            return wrong(hex::encode(&mem.hex), format_args!("no memory at {:#x}", mem.pa));
        }
        match &mem.mask {
            None if bytes == mem.hex => Ok(Compared::Agrees),
            None => wrong(hex::encode(&mem.hex), hex::encode(&bytes)),
            Some(mask) if agree(&bytes, &mem.hex, mask) => Ok(Compared::Agrees),
            Some(mask) => wrong(
                format_args!("{} under {}", hex::encode(&mem.hex), hex::encode(mask)),
                hex::encode(&bytes),
            ),
        }
    }

    fn dma(&mut self, dma: &Dma) -> Step {
        if let Some((probability, dice)) = &mut self.forget
            && dice.f64() < *probability
        {
            self.device.drop_caches();
        }
        let answer = self.device.access(dma, &mut self.ram);
        let right = match (dma.qemu_quirk, &dma.arch) {
            (false, _) => &dma.expect,
            (true, Some(arch)) => arch,
            (true, None) => return Ok(Compared::Quirk),
        };
        judge(&answer, right, &dma.alt)?;
        match (answer, &dma.data) {
            (Answer::Pa(pa), Some(data)) => self.data_arrived(pa, data),
            _ => Ok(Compared::Agrees),
        }
    }

    /// What was written through the SMMU is all at the address that was the answer, if that is memory.
    fn data_arrived(&self, pa: u64, data: &[u8]) -> Step {
        let mut there = vec![0; data.len()];
        match self.ram.read(Pa(pa), &mut there) {
            Ok(()) if there != data => {
                wrong(format_args!("{} at {pa:#x}", hex::encode(data)), hex::encode(&there))
            }
            _ => Ok(Compared::Agrees),
        }
    }

    fn outcome(&mut self, outcome: &Outcome) -> Step {
        match self.device.outcome(outcome.id) {
            Some(answer) => judge(answer, &outcome.expect, &outcome.alt),
            None => wrong(&outcome.expect, "no transaction"),
        }
    }

    fn irqs(&mut self, irqs: &Irqs) -> Step {
        let pulses = self.device.take_pulses();
        let expected = irqs.expect.iter().copied().collect();
        if pulses == expected {
            Ok(Compared::Agrees)
        } else {
            wrong(format_args!("{expected:?}"), format_args!("{pulses:?}"))
        }
    }

    fn events(&mut self, events: &Events) -> Step {
        let records = queue::drain(&mut self.device, &mut self.ram, self.event_queue_bits)
            .or_else(|trouble| wrong("an event queue", trouble).map(|_| Vec::new()))?;
        let Some(expected) = events.expect.as_ref().filter(|_| !events.qemu_quirk) else {
            return Ok(if events.qemu_quirk { Compared::Quirk } else { Compared::Agrees });
        };
        let names: Vec<_> = expected.iter().map(|record| record.kind.as_str()).collect();
        if records.len() != expected.len() {
            let got: Vec<_> = records.iter().map(hex::encode).collect();
            return wrong(format_args!("[{}]", names.join(", ")), format_args!("[{}]", got.join(", ")));
        }
        for (record, expected) in records.iter().zip(expected) {
            self.record(record, expected)?;
        }
        Ok(Compared::Agrees)
    }

    fn record(&self, record: &[u8; 32], expected: &Record) -> Step {
        if !agree(record, &expected.hex, &expected.mask) {
            let Record { kind, hex, mask, .. } = expected;
            return wrong(
                format_args!("{kind} {} under {}", hex::encode(hex), hex::encode(mask)),
                hex::encode(record),
            );
        }
        if let Some(id) = expected.id {
            let [.., low, high, _, _, _, _, _, _] = *record.first_chunk::<16>().unwrap_or(&[0; 16]);
            let own = Stag(u16::from_le_bytes([low, high]));
            let stags = self.device.stags(id);
            if !stags.contains(&own) {
                return wrong(format_args!("one of STAGs {stags:?} of transaction {id}"), own);
            }
        }
        Ok(Compared::Agrees)
    }
}

fn judge(answer: &Answer, right: &Answer, alt: &[Answer]) -> Step {
    if answer == right || alt.contains(answer) {
        return Ok(Compared::Agrees);
    }
    let expected: Vec<_> = core::iter::once(right).chain(alt).map(Answer::to_string).collect();
    wrong(expected.join(" or "), answer)
}

fn agree(bytes: &[u8], expected: &[u8], mask: &[u8]) -> bool {
    bytes.iter().zip(expected).zip(mask).all(|((byte, expected), mask)| (byte ^ expected) & mask == 0)
}

fn wrong(expected: impl fmt::Display, got: impl fmt::Display) -> Step {
    Err(Wrong { expected: expected.to_string(), got: got.to_string() })
}
