//! Transcripts: recorded conversations with an SMMUv3, one operation a line.
//!
//! This module knows the format and judges it strictly: what it does not understand is an [`Error`] that
//! names file, line and cause. It knows nothing of a device; `replay` does.

mod answer;
mod field;
mod reader;

pub use answer::{Answer, Completion};
pub use reader::{Error, NAME_ENDINGS, Reader, name};

use serde::Deserialize;

/// One line of a transcript.
#[derive(Debug, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case", deny_unknown_fields)]
pub enum Op {
    /// The device to build; the first line and no other.
    Config(Box<Config>),
    /// Text for the reader.
    Note(Note),
    /// Guest software writes memory.
    Write(Write),
    /// Guest software writes a register.
    #[serde(rename = "mmio_w")]
    MmioWrite(MmioWrite),
    /// Guest software reads a register.
    #[serde(rename = "mmio_r")]
    MmioRead(MmioRead),
    /// Memory holds these bytes.
    Mem(Mem),
    /// A device accesses memory through the SMMU.
    Dma(Dma),
    /// What has become of a stalled transaction.
    Outcome(Outcome),
    /// The wired interrupts pulsed since the last such line.
    Irqs(Irqs),
    /// The event queue is drained.
    Events(Events),
}

impl Op {
    /// The word in `op`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Config(_) => "config",
            Self::Note(_) => "note",
            Self::Write(_) => "write",
            Self::MmioWrite(_) => "mmio_w",
            Self::MmioRead(_) => "mmio_r",
            Self::Mem(_) => "mem",
            Self::Dma(_) => "dma",
            Self::Outcome(_) => "outcome",
            Self::Irqs(_) => "irqs",
            Self::Events(_) => "events",
        }
    }
}

/// `config`: what the device is, and the memory around it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// 1, or 1.1 where the device is built from `idr`.
    #[serde(default = "field::version_1", deserialize_with = "field::version")]
    pub version: f64,
    /// What the transcript is called where it was recorded.
    pub name: String,
    /// The group it belongs to, such as `c_tlbi`.
    pub category: String,
    /// The stages the device has; repeats S1P and S2P of `idr`.
    pub stage: Stages,
    /// The ID registers.
    #[serde(deserialize_with = "field::object")]
    pub idr: IdRegisters,
    /// Where memory is.
    #[serde(deserialize_with = "field::objects")]
    pub ram: Vec<Range>,
    /// The StreamIDs that occur.
    pub sids: Vec<u32>,
    /// Whose answers these are.
    pub source: String,
    /// Text for the reader.
    pub note: Option<String>,
}

/// The stages of translation a device has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum Stages {
    /// Stage 1 alone.
    #[serde(rename = "1")]
    S1,
    /// Stage 2 alone.
    #[serde(rename = "2")]
    S2,
    /// Both.
    #[serde(rename = "nested")]
    Nested,
}

/// SMMU_IDR0 to SMMU_IDR5, SMMU_IIDR and SMMU_AIDR.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "the names say it")]
pub struct IdRegisters {
    #[serde(rename = "IDR0", deserialize_with = "field::number")]
    pub idr0: u32,
    #[serde(rename = "IDR1", deserialize_with = "field::number")]
    pub idr1: u32,
    #[serde(rename = "IDR2", deserialize_with = "field::number")]
    pub idr2: u32,
    #[serde(rename = "IDR3", deserialize_with = "field::number")]
    pub idr3: u32,
    #[serde(rename = "IDR4", deserialize_with = "field::number")]
    pub idr4: u32,
    #[serde(rename = "IDR5", deserialize_with = "field::number")]
    pub idr5: u32,
    #[serde(rename = "IIDR", deserialize_with = "field::number")]
    pub iidr: u32,
    #[serde(rename = "AIDR", deserialize_with = "field::number")]
    pub aidr: u32,
}

/// A range of physical addresses; the reader has seen to it that its end fits 64 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Range {
    /// Its first byte.
    #[serde(deserialize_with = "field::number")]
    pub base: u64,
    /// Its length in bytes, not 0.
    #[serde(deserialize_with = "field::number")]
    pub size: u64,
}

/// `note`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Note {
    /// Text for the reader.
    pub note: String,
}

/// `write`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Write {
    /// The address of the first byte.
    #[serde(deserialize_with = "field::number")]
    pub pa: u64,
    /// The bytes, in the order of their addresses.
    #[serde(with = "hex::serde")]
    pub hex: Vec<u8>,
    /// Where a STAG goes into them.
    #[serde(default, deserialize_with = "field::optional_object")]
    pub stag: Option<StagAt>,
    /// Text for the reader.
    pub note: Option<String>,
}

/// The place of a STAG in the bytes of a `write`.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StagAt {
    /// Which two bytes are replaced.
    pub at: usize,
    /// The transaction whose STAG it is.
    pub id: u64,
}

/// `mmio_w`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MmioWrite {
    /// The offset in the device.
    #[serde(deserialize_with = "field::number")]
    pub off: u32,
    /// How many bytes.
    #[serde(deserialize_with = "field::width")]
    pub size: Width,
    /// What is written.
    #[serde(deserialize_with = "field::number")]
    pub val: u64,
    /// Text for the reader.
    pub note: Option<String>,
}

/// The bytes of a register access.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Width {
    /// 4 bytes.
    Word,
    /// 8 bytes.
    Doubleword,
}

/// `mmio_r`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MmioRead {
    /// The offset in the device.
    #[serde(deserialize_with = "field::number")]
    pub off: u32,
    /// How many bytes.
    #[serde(deserialize_with = "field::width")]
    pub size: Width,
    /// What is read.
    #[serde(deserialize_with = "field::number")]
    pub val: u64,
    /// The bits of it that count.
    #[serde(default = "field::all_ones", deserialize_with = "field::number")]
    pub mask: u64,
    /// The register says who the device is: no concern of one that says something else.
    #[serde(default)]
    pub ident: bool,
    /// `val` is not what the architecture asks for.
    #[serde(default)]
    pub qemu_quirk: bool,
    /// What it asks for, where that is known.
    #[serde(default, deserialize_with = "field::optional_number")]
    pub arch: Option<u64>,
    /// Text for the reader.
    pub note: Option<String>,
}

/// `mem`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mem {
    /// The address of the first byte.
    #[serde(deserialize_with = "field::number")]
    pub pa: u64,
    /// The bytes, in the order of their addresses.
    #[serde(with = "hex::serde")]
    pub hex: Vec<u8>,
    /// The bits of them that count; as long as `hex`.
    #[serde(default, deserialize_with = "field::optional_bytes")]
    pub mask: Option<Vec<u8>>,
    /// `hex` is not what the architecture asks for.
    #[serde(default)]
    pub qemu_quirk: bool,
    /// Text for the reader.
    pub note: Option<String>,
}

/// `dma`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dma {
    /// StreamID.
    pub sid: u32,
    /// SubstreamID; 0 is not `null`.
    #[serde(deserialize_with = "Option::deserialize")]
    pub ssid: Option<u32>,
    /// The address as the device sees it.
    #[serde(deserialize_with = "field::number")]
    pub iova: u64,
    /// Read or write.
    pub access: Access,
    /// How many bytes.
    pub len: u32,
    /// What is written; `len` bytes.
    #[serde(default, deserialize_with = "field::optional_bytes")]
    pub data: Option<Vec<u8>>,
    /// PnU as the device sends it.
    #[serde(default, rename = "priv")]
    pub privileged: bool,
    /// InD as the device sends it.
    #[serde(default, rename = "inst")]
    pub instruction: bool,
    /// This is ATS traffic.
    pub ats: Option<Ats>,
    /// The name of this transaction further down.
    pub id: Option<u64>,
    /// The answer.
    pub expect: Answer,
    /// Other answers, as legal.
    #[serde(default)]
    pub alt: Vec<Answer>,
    /// `expect` came from a cache.
    #[serde(default)]
    pub stale: bool,
    /// `expect` is not what the architecture asks for.
    #[serde(default)]
    pub qemu_quirk: bool,
    /// What it asks for, where that is known.
    pub arch: Option<Answer>,
    /// Text for the reader.
    pub note: Option<String>,
}

/// The direction of an access.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum Access {
    /// From memory to the device.
    #[serde(rename = "r")]
    Read,
    /// From the device to memory.
    #[serde(rename = "w")]
    Write,
}

/// The kind of ATS traffic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ats {
    /// A Translation Request; NW = 0 if the access is a write.
    Tr,
    /// A Translated transaction.
    Translated,
}

/// `outcome`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Outcome {
    /// The `id` of the `dma`.
    pub id: u64,
    /// Its result now.
    pub expect: Answer,
    /// Other results, as legal.
    #[serde(default)]
    pub alt: Vec<Answer>,
    /// Text for the reader.
    pub note: Option<String>,
}

/// `irqs`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Irqs {
    /// The lines pulsed, each once, in any order.
    pub expect: Vec<Line>,
    /// Text for the reader.
    pub note: Option<String>,
}

/// A wired interrupt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the names say it")]
pub enum Line {
    Evtq,
    Gerror,
    Sync,
    Priq,
}

/// `events`: either `expect`, or `any`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Events {
    /// The records, in their order; `None` where any will do.
    #[serde(default, deserialize_with = "field::optional_objects")]
    pub expect: Option<Vec<Record>>,
    /// Any records will do.
    #[serde(default)]
    pub any: bool,
    /// The records are not what the architecture asks for.
    #[serde(default)]
    pub qemu_quirk: bool,
    /// Text for the reader.
    pub note: Option<String>,
}

/// A record of the event queue.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// Its name, such as `F_TRANSLATION`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Its bytes.
    #[serde(with = "hex::serde")]
    pub hex: [u8; 32],
    /// The bits of them that count.
    #[serde(with = "hex::serde")]
    pub mask: [u8; 32],
    /// The stalled transaction whose record it is; bits `79:64` are its STAG.
    pub id: Option<u64>,
}
