//! The guest: a driver that boots the device as Linux does, keeps tables, and fills the command queue.

use crate::command;
use crate::knobs::{Knobs, Stages};
use crate::ram::Ram;
use crate::script::{Error, Words};
use crate::tables::{Heap, Tables};
use smmuv3::arch::addr::align_down;
use smmuv3::format::command::field as cmd;
use smmuv3::format::{cd, ste};
use smmuv3::{Granule, Level, Stage};

/// Where the guest's memory begins.
pub(crate) const RAM_BASE: u64 = 0x8000_0000;
/// How much there is.
pub(crate) const RAM_BYTES: u64 = 64 << 20;
/// The linear stream table of 256 STEs.
pub(crate) const STREAM_TABLE: u64 = RAM_BASE;
pub(crate) const LOG2_STREAMS: u32 = 8;
pub(crate) const COMMAND_QUEUE: u64 = RAM_BASE + 0x1_0000;
pub(crate) const EVENT_QUEUE: u64 = RAM_BASE + 0x2_0000;
pub(crate) const LOG2_EVENTS: u32 = 7;
const FREE: u64 = RAM_BASE + 0x10_0000;
/// Input bits of stage 1 and of stage 2.
const S1_BITS: u32 = 48;
const S2_BITS: u32 = 39;

/// What a driver remembers of a stream.
#[derive(Clone, Debug)]
pub(crate) struct Stream {
    pub(crate) id: u32,
    pub(crate) asid: u16,
    pub(crate) vmid: u16,
    pub(crate) s1: Option<Tables>,
    pub(crate) s2: Option<Tables>,
}

#[derive(Clone, Debug)]
pub(crate) struct Guest {
    pub(crate) heap: Heap,
    pub(crate) streams: Vec<Stream>,
    /// The table that was freed last.
    pub(crate) freed: Option<(u64, Granule)>,
    /// CMDQ_PROD.WR as the driver counts it.
    pub(crate) prod: u32,
}

impl Guest {
    pub(crate) const fn new() -> Self {
        Self { heap: Heap { next: FREE }, streams: Vec::new(), freed: None, prod: 0 }
    }

    pub(crate) fn stream(&self, id: u32) -> Result<&Stream, Error> {
        self.streams
            .iter()
            .find(|stream| stream.id == id)
            .ok_or_else(|| Error(format!("there is no stream {id}")))
    }

    /// The tables of a stream: those of `stage2`, or those that a device's addresses enter first.
    pub(crate) fn tables(&self, id: u32, stage2: bool) -> Result<Tables, Error> {
        let stream = self.stream(id)?;
        let tables = if stage2 { stream.s2 } else { stream.s1.or(stream.s2) };
        tables.ok_or_else(|| Error(format!("stream {id} has no stage 2")))
    }

    /// Writes an STE, a CD and empty tables.
    pub(crate) fn add_stream(
        &mut self,
        ram: &mut Ram,
        knobs: &Knobs,
        (id, asid, vmid): (u32, u16, u16),
        stages: Stages,
        granule: Granule,
    ) -> Result<(), Error> {
        if id >> LOG2_STREAMS != 0 {
            return Err(Error(format!("the stream table has {} entries", 1 << LOG2_STREAMS)));
        }
        let oas = 0b101; // 48 bits
        let mut entry = [0u64; 8];
        let w = &mut entry;
        ste::field::V.set(w, 1);
        ste::field::SHCFG.set(w, 0b01);
        ste::field::S2VMID.set(w, if knobs.features.s2p { vmid.into() } else { 0 });
        let (first, second) = match stages {
            Stages::One => (true, false),
            Stages::Two => (false, true),
            Stages::Both => (true, true),
        };
        ste::field::CONFIG.set(w, 0b100 | u64::from(first) | u64::from(second) << 1);
        // An address space belongs to an ASID and a VMID: streams that share them share tables.
        let twin = self.streams.iter().find(|other| {
            other.vmid == vmid
                && (other.asid == asid || !first)
                && (other.s1.is_some(), other.s2.is_some()) == (first, second)
        });
        let (s1, s2) = match twin {
            Some(twin) => (twin.s1, twin.s2),
            None => {
                let neighbour = self.streams.iter().filter(|_| second).find(|other| other.vmid == vmid);
                let shared = neighbour.and_then(|other| other.s2);
                let s2 = match shared {
                    Some(tables) => Some(tables),
                    None if second => Some(self.stage2(ram, first)?),
                    None => None,
                };
                (first.then(|| Tables::new(Stage::S1, granule, S1_BITS, &mut self.heap)), s2)
            }
        };
        if let Some(tables) = s2 {
            ste::field::S2T0SZ.set(w, u64::from(64 - tables.bits));
            ste::field::S2SL0.set(w, 0b01);
            ste::field::S2PS.set(w, oas);
            ste::field::S2AA64.set(w, 1);
            ste::field::S2R.set(w, 1);
            ste::field::S2TTB.set(w, tables.root >> 4);
        }
        if let Some(tables) = s1 {
            let at = self.heap.allocate(64);
            let mut context = [0u64; 8];
            let c = &mut context;
            cd::field::V.set(c, 1);
            cd::field::AA64.set(c, 1);
            cd::field::A.set(c, 1);
            cd::field::R.set(c, 1);
            cd::field::EPD1.set(c, 1);
            cd::field::IPS.set(c, oas);
            cd::field::ASID.set(c, asid.into());
            cd::field::MAIR.set(c, 0x44_ff);
            cd::field::T0SZ.set(c, u64::from(64 - tables.bits));
            let tg0 = match tables.granule {
                Granule::Kib4 => 0b00,
                Granule::Kib16 => 0b10,
                Granule::Kib64 => 0b01,
            };
            cd::field::TG0.set(c, tg0);
            cd::field::TTB0.set(c, tables.root >> 4);
            ram.set_words(at, &context);
            ste::field::S1CONTEXTPTR.set(w, at >> 6);
        }
        ram.set_words(STREAM_TABLE + 64 * u64::from(id), &entry);
        self.streams.retain(|stream| stream.id != id);
        self.streams.push(Stream { id, asid, vmid, s1, s2 });
        Ok(())
    }

    /// Stage 2 tables; those under a stage 1 map the guest's memory as it is, so that its tables can be walked.
    fn stage2(&mut self, ram: &mut Ram, nested: bool) -> Result<Tables, Error> {
        let tables = Tables::new(Stage::S2, Granule::Kib4, S2_BITS, &mut self.heap);
        if nested {
            tables.map(&mut self.heap, ram, (RAM_BASE, RAM_BASE, RAM_BYTES), Level::L2, false)?;
        }
        Ok(tables)
    }

    /// The table that was freed last comes into use for something else: it now reads as leaves to `pa`.
    pub(crate) fn reuse(&self, ram: &mut Ram, pa: u64) -> Result<(), Error> {
        let (table, granule) = self.freed.ok_or_else(|| Error("no table has been freed".to_owned()))?;
        let words: Vec<u64> = (0..granule.bytes() / 8)
            .map(|n| (align_down(pa, granule.shift()) + (n << granule.shift())) | 0x0060_0000_0000_0f43)
            .collect();
        ram.set_words(table, &words);
        Ok(())
    }
}

/// The range commands that Linux sends for `units` granules from `address` on, lowest first.
pub(crate) fn linux_range(
    template: Words,
    address: u64,
    units: u64,
    granule: Granule,
    ttl: u8,
) -> Vec<Words> {
    let mut left = if ttl == 0 && units & 31 == 1 { units + 1 } else { units };
    let mut at = address;
    let mut commands = Vec::new();
    while left != 0 {
        let scale = left.trailing_zeros();
        let num = left >> scale & 31;
        let mut words = template;
        cmd::ADDRESS.set(&mut words, at >> 12);
        cmd::NUM.set(&mut words, num - 1);
        cmd::SCALE.set(&mut words, scale.into());
        cmd::TTL.set(&mut words, ttl.into());
        cmd::TG.set(&mut words, tg(granule));
        commands.push(words);
        at = at.wrapping_add(num << (scale + granule.shift()));
        left -= num << scale;
    }
    commands
}

/// `TG` of a TLBI.
pub(crate) const fn tg(granule: Granule) -> u64 {
    match granule {
        Granule::Kib4 => 1,
        Granule::Kib16 => 2,
        Granule::Kib64 => 3,
    }
}

/// The command that Linux invalidates a stream's addresses with.
pub(crate) fn template(stream: &Stream, leaf: bool) -> Result<Words, Error> {
    let name = if stream.s1.is_some() { "tlbi_nh_va" } else { "tlbi_s2_ipa" };
    let asid = if stream.s1.is_some() { format!("asid={}", stream.asid) } else { String::new() };
    let text = format!("vmid={} {asid} leaf={}", stream.vmid, u8::from(leaf));
    command::compose(name, &mut crate::script::Arguments::of(&text))
}
