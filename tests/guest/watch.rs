//! What the world around an SMMU sees of it beside memory and interrupt lines: messages, invalidations of ATCs, answers to
//! page requests. And the one thing that it says back: whether an ATC has answered.

use smmuv3::{AtcCompletion, AtcInvalidation, PageResponse, Step, StreamId, SubstreamId, Trace};

use crate::counters::Counters;

/// A message-signalled interrupt: one 32-bit write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message {
    /// Where.
    pub address: u64,
    /// What.
    pub data: u32,
    /// Shareability, as `SH` encodes it.
    pub sh: u8,
    /// Memory type, as `STE.MemAttr` encodes it.
    pub attributes: u8,
}

/// CMD_PRI_RESP as a device sees it: whose, for which PASID and group, and the answer.
pub type Answer = (u32, Option<u32>, u16, PageResponse);

/// Everything of this kind, oldest first.
#[derive(Clone, Debug, Default)]
pub struct Watch {
    /// Messages.
    pub messages: Vec<Message>,
    /// CMD_ATC_INV, as it is passed on.
    pub invalidations: Vec<AtcInvalidation>,
    /// Whether ATCs are silent.
    pub atc_is_silent: bool,
    /// CMD_PRI_RESP.
    pub answers: Vec<Answer>,
    /// Descriptors that hardware has updated, with their new words.
    pub updates: Vec<(u64, u64)>,
}

/// Counts and watches.
#[derive(Debug)]
pub struct Both<'a> {
    /// Who counts.
    pub counters: &'a mut Counters,
    /// Who watches.
    pub watch: &'a mut Watch,
}

impl Trace for Both<'_> {
    fn step(&mut self, step: &Step) {
        self.counters.step(step);
        match *step {
            Step::Msi { address, data, sh, attributes } => {
                self.watch.messages.push(Message { address: address.0, data, sh, attributes });
            }
            Step::Update { address, word, .. } => self.watch.updates.push((address.0, word)),
            _ => {}
        }
    }

    fn watches(&self) -> bool {
        self.counters.watches()
    }

    fn wants_entries(&self) -> bool {
        self.counters.wants_entries()
    }

    fn invalidate_atc(&mut self, invalidation: &AtcInvalidation) -> AtcCompletion {
        self.watch.invalidations.push(*invalidation);
        if self.watch.atc_is_silent { AtcCompletion::TimedOut } else { AtcCompletion::Done }
    }

    fn respond_to_page_request(
        &mut self,
        stream: StreamId,
        substream: Option<SubstreamId>,
        group: u16,
        response: PageResponse,
    ) {
        self.watch.answers.push((stream.0, substream.map(|substream| substream.0), group, response));
    }
}
