//! The SMMU as transcripts see it: registers, time to work, transactions, interrupts.
//!
//! Here, and nowhere else in the replayer, the words of the format become those of the model.

use std::collections::{BTreeMap, BTreeSet};

use smmuv3::{
    AtsGrant, AtsRefusal, Env, Features, Interrupt, Interrupts, Iova, Memory, NoTrace, Response, Settings,
    Smmu, Stag, StreamId, SubstreamId, Terminated, Transaction, Translation,
};

use crate::{
    ram::Ram,
    transcript::{Access as Direction, Answer, Ats, Completion, Dma, IdRegisters, Line, Width},
};

/// The entries that the IOTLB of a [`Device`] has room for.
pub const IOTLB_ENTRIES: usize = 4096;

/// An SMMU, with the interrupts that it has pulsed and the accesses that it holds.
pub struct Device {
    smmu: Box<Smmu<IOTLB_ENTRIES>>,
    pulses: Pulses,
    held: BTreeMap<Stag, Access>,
    named: BTreeMap<u64, Named>,
}

/// What has become of a transaction that the transcript has named, and how the device has called it.
struct Named {
    answer: Answer,
    stags: Vec<Stag>,
}

/// The model does not have what a transcript needs; the text says what that is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unsupported(pub String);

impl Device {
    /// The device that shows these ID registers.
    pub fn new(idr: &IdRegisters, settings: Settings) -> Result<Self, Unsupported> {
        let IdRegisters { idr0, idr1, idr2, idr3, idr4, idr5, iidr, aidr } = *idr;
        let features = Features::from_idr([idr0, idr1, idr2, idr3, idr4, idr5], iidr, aidr);
        let smmu = features.and_then(|features| Smmu::new(features, settings));
        match smmu {
            Ok(smmu) => Ok(Self {
                smmu: Box::new(smmu),
                pulses: Pulses::default(),
                held: BTreeMap::new(),
                named: BTreeMap::new(),
            }),
            Err(refusal) => Err(Unsupported(refusal.to_string())),
        }
    }

    /// Reads the register at `offset`.
    pub fn read(&self, offset: u32, width: Width) -> Result<u64, String> {
        let mut bytes = [0; 8];
        let (word, _) = bytes.split_at_mut(width.bytes());
        self.smmu.read(offset, word).map_err(|refusal| format!("{refusal:?}"))?;
        Ok(u64::from_le_bytes(bytes))
    }

    /// Writes the register at `offset`, and gives the device the time that it needs.
    pub fn write(&mut self, offset: u32, width: Width, value: u64, ram: &mut Ram) -> Result<(), String> {
        let bytes = value.to_le_bytes();
        let (word, _) = bytes.split_at(width.bytes());
        let mut env = Env { memory: &mut *ram, interrupts: &mut self.pulses, trace: &mut NoTrace };
        self.smmu.write(offset, word, &mut env).map_err(|refusal| format!("{refusal:?}"))?;
        while self.smmu.pending() {
            if self.smmu.poll(4096, &mut env) == 0 {
                return Err("commands that are never consumed".to_owned());
            }
        }
        self.resume(ram);
        Ok(())
    }

    /// Lets a device behind the SMMU access memory. Data moves if the addresses it goes to are memory.
    pub fn access(&mut self, dma: &Dma, ram: &mut Ram) -> Answer {
        let access = Access { dma: dma.clone(), done: 0, first: None };
        let mut env = Env { memory: &mut *ram, interrupts: &mut self.pulses, trace: &mut NoTrace };
        if dma.ats == Some(Ats::Tr) {
            return match self.smmu.translation_request(&access.transaction(), &mut env) {
                Ok(AtsGrant { address, read, write, .. }) => {
                    Answer::Ats(Completion { r: read, w: write, pa: address })
                }
                Err(AtsRefusal::UnsupportedRequest) => Answer::AtsUnsupportedRequest,
                Err(AtsRefusal::CompleterAbort) => Answer::AtsCompleterAbort,
            };
        }
        let result = self.translate(&access, ram);
        self.go_on(access, result, ram)
    }

    /// The next piece of `access`, untranslated or translated by its device before.
    fn translate(&mut self, access: &Access, ram: &mut Ram) -> Result<Translation, Terminated> {
        let mut env = Env { memory: ram, interrupts: &mut self.pulses, trace: &mut NoTrace };
        match access.dma.ats {
            Some(Ats::Translated) => self.smmu.translated(&access.transaction(), &mut env),
            _ => self.smmu.translate(&access.transaction(), &mut env),
        }
    }

    /// Goes on with what software has released.
    fn resume(&mut self, ram: &mut Ram) {
        loop {
            let mut env = Env { memory: &mut *ram, interrupts: &mut self.pulses, trace: &mut NoTrace };
            let Some(resumed) = self.smmu.next_resumed(&mut env) else { return };
            if let Some(access) = self.held.remove(&resumed.stag) {
                self.go_on(access, resumed.result, ram);
            }
        }
    }

    /// Follows `access` from the `result` of its next piece to its end, or until it is held.
    fn go_on(
        &mut self,
        mut access: Access,
        result: Result<Translation, Terminated>,
        ram: &mut Ram,
    ) -> Answer {
        let id = access.dma.id;
        let mut result = result;
        let (answer, stag) = loop {
            match result {
                Ok(translation) => {
                    if let Some(pa) = access.advance(&translation, ram) {
                        break (Answer::Pa(pa), None);
                    }
                    result = self.translate(&access, ram);
                }
                Err(Terminated { response: Response::Stalled(stag), .. }) => {
                    self.held.insert(stag, access);
                    break (Answer::Stalled, Some(stag));
                }
                Err(Terminated { response: Response::RazWi, .. }) => break (Answer::RazWi, None),
                Err(Terminated { response: Response::Abort, event }) => {
                    break (Answer::Fault(event.map(|event| event.name().to_owned())), None);
                }
            }
        };
        if let Some(id) = id {
            let named = self.named.entry(id).or_insert(Named { answer: Answer::Stalled, stags: Vec::new() });
            named.answer = answer.clone();
            named.stags.extend(stag);
        }
        answer
    }

    /// What has become of transaction `id`.
    pub fn outcome(&self, id: u64) -> Option<&Answer> {
        self.named.get(&id).map(|named| &named.answer)
    }

    /// The names under which transaction `id` was stalled, the latest last.
    pub fn stags(&self, id: u64) -> &[Stag] {
        self.named.get(&id).map_or(&[], |named| &named.stags)
    }

    /// The wired interrupts pulsed since the last call.
    pub fn take_pulses(&mut self) -> BTreeSet<Line> {
        core::mem::take(&mut self.pulses.0)
    }

    /// Forgets all that the device may forget at any time.
    pub fn drop_caches(&mut self) {
        self.smmu.drop_caches();
    }
}

impl Width {
    /// 4 or 8.
    pub fn bytes(self) -> usize {
        match self {
            Self::Word => 4,
            Self::Doubleword => 8,
        }
    }
}

/// An access on its way: a long one takes a transaction for each translation that it needs.
struct Access {
    dma: Dma,
    done: u32,
    first: Option<u64>,
}

impl Access {
    /// The transaction of its next piece.
    fn transaction(&self) -> Transaction {
        let Dma { sid, ssid, iova, access, privileged, instruction, .. } = self.dma;
        let address = Iova(iova.wrapping_add(u64::from(self.done)));
        let plain = match access {
            Direction::Read => Transaction::read(StreamId(sid), address),
            Direction::Write => Transaction::write(StreamId(sid), address),
        };
        Transaction { substream: ssid.map(SubstreamId), privileged, instruction, ..plain }
    }

    /// Moves the data of the next piece; the address of the first one, once there is none left.
    fn advance(&mut self, translation: &Translation, ram: &mut Ram) -> Option<u64> {
        let pa = translation.pa;
        let left = self.dma.len - self.done;
        let piece = u32::try_from(translation.span).map_or(left, |span| span.clamp(1, left));
        let (from, to) = (self.done as usize, (self.done + piece) as usize);
        if let Some(data) = self.dma.data.as_ref().and_then(|data| data.get(from..to)) {
            // An address without memory is no fault of the SMMU.
            let _unanswered = ram.write(pa, data);
        }
        self.done += piece;
        let first = *self.first.get_or_insert(pa.0);
        (self.done == self.dma.len).then_some(first)
    }
}

#[derive(Default)]
struct Pulses(BTreeSet<Line>);

impl Interrupts for Pulses {
    fn pulse(&mut self, line: Interrupt) {
        self.0.insert(match line {
            Interrupt::Eventq => Line::Evtq,
            Interrupt::Gerror => Line::Gerror,
            Interrupt::CmdSync => Line::Sync,
            Interrupt::Priq => Line::Priq,
        });
    }
}
