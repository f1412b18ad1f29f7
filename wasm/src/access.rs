//! What devices behind the SMMU do, and what becomes of it: accesses, ATS, and transactions that are held.

use crate::ram::Ram;
use crate::text::hex;
use crate::world::{Device, watched};
use smmuv3::{
    AtsGrant, AtsRefusal, Iova, Memory, Response, Stag, StreamId, SubstreamId, Terminated, Trace,
    Transaction, Translation,
};

/// An access as a script or a transcript words it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Request {
    pub(crate) stream: u32,
    pub(crate) substream: Option<u32>,
    pub(crate) address: u64,
    pub(crate) write: bool,
    pub(crate) privileged: bool,
    pub(crate) instruction: bool,
    pub(crate) ats: Option<Ats>,
    pub(crate) bytes: u32,
    /// What is written; nothing moves without it.
    pub(crate) data: Vec<u8>,
    /// The name under which a later line asks for its end.
    pub(crate) id: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ats {
    /// A translation request.
    Request,
    /// An access to an address that the device has translated before.
    Translated,
}

/// What a device sees of its access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Pa(u64),
    /// Terminated; the name of the event that it made, if any.
    Fault(Option<&'static str>),
    RazWi,
    Stalled,
    Granted {
        read: bool,
        write: bool,
        pa: Option<u64>,
    },
    UnsupportedRequest,
    CompleterAbort,
}

impl Request {
    /// The transaction of what is left after `done` bytes.
    pub(crate) fn transaction(&self, done: u32) -> Transaction {
        let address = Iova(self.address.wrapping_add(done.into()));
        let plain = if self.write {
            Transaction::write(StreamId(self.stream), address)
        } else {
            Transaction::read(StreamId(self.stream), address)
        };
        Transaction {
            substream: self.substream.map(SubstreamId),
            privileged: self.privileged,
            instruction: self.instruction,
            ..plain
        }
    }

    /// What the tables say; for traffic of ATS nobody can.
    pub(crate) fn truth(&self, smmu: &Device, ram: &Ram) -> Option<Answer> {
        self.ats.is_none().then(|| Answer::of(smmu.walk(&self.transaction(0), ram)))
    }
}

impl Answer {
    pub(crate) fn of(result: Result<Translation, Terminated>) -> Self {
        match result {
            Ok(found) => Self::Pa(found.pa.0),
            Err(Terminated { response: Response::Stalled(_), .. }) => Self::Stalled,
            Err(Terminated { response: Response::RazWi, .. }) => Self::RazWi,
            Err(Terminated { response: Response::Abort, event }) => {
                Self::Fault(event.map(|event| event.name()))
            }
        }
    }

    pub(crate) const fn is_ok(&self) -> bool {
        matches!(self, Self::Pa(_) | Self::Granted { .. })
    }

    /// For people.
    pub(crate) fn words(&self) -> String {
        let granted = |read, write| match (read, write) {
            (true, true) => "reading and writing granted",
            (true, false) => "reading granted",
            (false, true) => "writing granted",
            (false, false) => "nothing granted",
        };
        match *self {
            Self::Pa(pa) => format!("PA {}", hex(pa)),
            Self::Fault(Some("F_TRANSLATION")) => "no mapping: fault (F_TRANSLATION)".to_owned(),
            Self::Fault(event) => format!("fault ({})", event.unwrap_or("no event")),
            Self::RazWi => "read as zero, writes ignored".to_owned(),
            Self::Stalled => "stalled".to_owned(),
            Self::Granted { read, write, pa: Some(pa) } => format!("{}: {}", hex(pa), granted(read, write)),
            Self::Granted { read, write, pa: None } => granted(read, write).to_owned(),
            Self::UnsupportedRequest => "Unsupported Request".to_owned(),
            Self::CompleterAbort => "Completer Abort".to_owned(),
        }
    }

    /// As a transcript has it.
    pub(crate) fn json(&self) -> String {
        match *self {
            Self::Pa(pa) => format!("{{\"pa\":\"{pa:#x}\"}}"),
            Self::Fault(Some(event)) => format!("{{\"fault\":true,\"event\":\"{event}\"}}"),
            Self::Fault(None) => "{\"fault\":true,\"event\":null}".to_owned(),
            Self::RazWi => "{\"raz\":true}".to_owned(),
            Self::Stalled => "{\"stalled\":true}".to_owned(),
            Self::Granted { read, write, pa } => {
                let pa = pa.map_or_else(String::new, |pa| format!(",\"pa\":\"{pa:#x}\""));
                format!("{{\"ats\":{{\"r\":{read},\"w\":{write}{pa}}}}}")
            }
            Self::UnsupportedRequest => "{\"ats\":\"ur\"}".to_owned(),
            Self::CompleterAbort => "{\"ats\":\"ca\"}".to_owned(),
        }
    }
}

/// A request on its way: a long one takes a transaction for each translation that it needs.
#[derive(Clone, Debug)]
struct Passage {
    request: Request,
    done: u32,
    first: Option<u64>,
}

/// What has become of a transaction with a name.
#[derive(Clone, Debug)]
struct Named {
    id: u64,
    answer: Answer,
    stags: Vec<Stag>,
}

/// Transactions that one device holds, and what has become of those with a name.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pending {
    held: Vec<(Stag, Passage)>,
    named: Vec<Named>,
}

impl Pending {
    /// A device's access.
    pub(crate) fn begin(
        &mut self,
        smmu: &mut Device,
        ram: &mut Ram,
        trace: &mut dyn Trace,
        request: &Request,
    ) -> Answer {
        if request.ats == Some(Ats::Request) {
            let asked = smmu.translation_request(&request.transaction(0), &mut watched(ram, trace));
            return match asked {
                Ok(AtsGrant { address: pa, read, write, .. }) => Answer::Granted { read, write, pa },
                Err(AtsRefusal::UnsupportedRequest) => Answer::UnsupportedRequest,
                Err(AtsRefusal::CompleterAbort) => Answer::CompleterAbort,
            };
        }
        let passage = Passage { request: request.clone(), done: 0, first: None };
        let result = passage.translate(smmu, ram, trace);
        self.go_on(passage, result, smmu, ram, trace)
    }

    /// Goes on with what software has released. Call it when commands have been consumed.
    pub(crate) fn resume(&mut self, smmu: &mut Device, ram: &mut Ram, trace: &mut dyn Trace) {
        while !self.held.is_empty() {
            let Some(resumed) = smmu.next_resumed(&mut watched(ram, trace)) else { return };
            if let Some(at) = self.held.iter().position(|(stag, _)| *stag == resumed.stag) {
                let (_, passage) = self.held.swap_remove(at);
                self.go_on(passage, resumed.result, smmu, ram, trace);
            }
        }
    }

    /// Follows a passage to its end, or until it is held.
    fn go_on(
        &mut self,
        mut passage: Passage,
        mut result: Result<Translation, Terminated>,
        smmu: &mut Device,
        ram: &mut Ram,
        trace: &mut dyn Trace,
    ) -> Answer {
        let id = passage.request.id;
        let mut held = None;
        let answer = loop {
            match result {
                Ok(translation) => {
                    if let Some(pa) = passage.advance(&translation, ram) {
                        break Answer::Pa(pa);
                    }
                    result = passage.translate(smmu, ram, trace);
                }
                Err(terminated) => {
                    if let Response::Stalled(stag) = terminated.response {
                        self.held.push((stag, passage));
                        held = Some(stag);
                    }
                    break Answer::of(Err(terminated));
                }
            }
        };
        if let Some(id) = id {
            let at = self.named.iter().position(|named| named.id == id).unwrap_or_else(|| {
                self.named.push(Named { id, answer, stags: Vec::new() });
                self.named.len() - 1
            });
            if let Some(named) = self.named.get_mut(at) {
                named.answer = answer;
                named.stags.extend(held);
            }
        }
        answer
    }

    /// What has become of the transaction called `id`.
    pub(crate) fn outcome(&self, id: u64) -> Option<Answer> {
        self.named.iter().find(|named| named.id == id).map(|named| named.answer)
    }

    /// The name under which the device has stalled it last.
    pub(crate) fn stag(&self, id: u64) -> Option<Stag> {
        self.named.iter().find(|named| named.id == id)?.stags.last().copied()
    }

    /// The transaction that was stalled under this name.
    pub(crate) fn id(&self, stag: Stag) -> Option<u64> {
        self.named.iter().rfind(|named| named.stags.contains(&stag)).map(|named| named.id)
    }

    /// Whether transactions with names came to the same end.
    pub(crate) fn agrees(&self, other: &Self) -> bool {
        let ends =
            |pending: &Self| pending.named.iter().map(|named| (named.id, named.answer)).collect::<Vec<_>>();
        ends(self) == ends(other)
    }
}

impl Passage {
    fn translate(
        &self,
        smmu: &mut Device,
        ram: &mut Ram,
        trace: &mut dyn Trace,
    ) -> Result<Translation, Terminated> {
        let (transaction, mut env) = (self.request.transaction(self.done), watched(ram, trace));
        match self.request.ats {
            Some(Ats::Translated) => smmu.translated(&transaction, &mut env),
            _ => smmu.translate(&transaction, &mut env),
        }
    }

    /// Moves the data of the next piece; the address of the first one, once there is none left.
    fn advance(&mut self, translation: &Translation, ram: &mut Ram) -> Option<u64> {
        let left = self.request.bytes.max(1) - self.done;
        let piece = u32::try_from(translation.span).map_or(left, |span| span.clamp(1, left));
        let (from, to) = (self.done as usize, (self.done + piece) as usize);
        if let Some(data) = self.request.data.get(from..to) {
            // An address without memory is no fault of the SMMU.
            let _nobody_answers = ram.write(translation.pa, data);
        }
        self.done += piece;
        let first = *self.first.get_or_insert(translation.pa.0);
        (piece == left).then_some(first)
    }
}
