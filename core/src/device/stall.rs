//! Stalled transactions: a bounded list of those that wait for CMD_RESUME (§3.12.2).

use heapless::Vec;

use super::{Smmu, Terminated, Transaction, Translation};
use crate::arch::features::{Features, MAX_STALLS};
use crate::arch::id::{Stag, StreamId};
use crate::device::Response;
use crate::env::Host;
use crate::env::trace::Step;
use crate::format::command::Resume;
use crate::format::event::Event;

/// A transaction that waits.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
struct Stalled {
    stag: Stag,
    transaction: Transaction,
    event: Event,
    /// Its record is in the event queue.
    recorded: bool,
    /// What software decided, once it did.
    decision: Option<Resume>,
}

/// Stalled transactions, oldest first.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub(super) struct Stalls {
    list: Vec<Stalled, MAX_STALLS>,
    next: u16,
    /// An invalidation has been executed since the last CMD_SYNC.
    touched: bool,
}

/// What has become of a transaction that was stalled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Resumed {
    /// The name under which it was stalled.
    pub stag: Stag,
    /// The transaction.
    pub transaction: Transaction,
    /// Its result now. A retried transaction may be stalled again, under another name.
    pub result: Result<Translation, Terminated>,
}

impl Stalls {
    pub(super) const fn new() -> Self {
        Self { list: Vec::new(), next: 0, touched: false }
    }

    /// Whether another transaction can be held.
    pub(super) fn has_room(&self, features: &Features) -> bool {
        self.list.len() < usize::from(features.stall_max) && !self.list.is_full()
    }

    /// Whether any transaction is held.
    #[inline]
    pub(super) fn are_held(&self) -> bool {
        !self.list.is_empty()
    }

    /// A name that no held transaction has.
    pub(super) fn fresh_stag(&mut self) -> Stag {
        // One of MAX_STALLS + 1 consecutive numbers is free.
        for _ in 0..=MAX_STALLS {
            self.next = self.next.wrapping_add(1);
            if self.list.iter().all(|held| held.stag.0 != self.next) {
                break;
            }
        }
        Stag(self.next)
    }

    /// Holds a transaction; the caller has asked for room.
    pub(super) fn hold(&mut self, transaction: Transaction, event: Event, stag: Stag, recorded: bool) {
        let held = Stalled { stag, transaction, event, recorded, decision: None };
        let kept = self.list.push(held);
        debug_assert!(kept.is_ok(), "the caller has asked for room");
    }

    /// The oldest transaction whose record has found no room yet.
    pub(super) fn next_unrecorded(&self) -> Option<(Stag, Event)> {
        let waiting = |held: &&Stalled| !held.recorded && held.decision.is_none();
        self.list.iter().find(waiting).map(|held| (held.stag, held.event))
    }

    pub(super) fn mark_recorded(&mut self, stag: Stag) {
        if let Some(held) = self.list.iter_mut().find(|held| held.stag == stag) {
            held.recorded = true;
        }
    }

    /// A CFGI or TLBI command has been executed.
    #[inline]
    pub(super) fn touch(&mut self) {
        self.touched = true;
    }

    /// CMD_SYNC after an invalidation: transactions whose records still wait for room try again, since the record would
    /// tell of what may have been invalidated (§7.2).
    #[inline]
    pub(super) fn retry_unrecorded(&mut self) {
        let touched = core::mem::take(&mut self.touched);
        if self.are_held() && touched {
            for held in self.list.iter_mut().filter(|held| !held.recorded) {
                held.decision.get_or_insert(Resume::Retry);
            }
        }
    }

    /// CMD_RESUME: both StreamID and STAG have to match; otherwise nothing happens.
    pub(super) fn resume(&mut self, stream: StreamId, stag: Stag, action: Resume, features: &Features) {
        let action = match action {
            Resume::Terminate if features.term_model => Resume::Abort,
            action => action,
        };
        let named =
            |held: &&mut Stalled| held.stag == stag && held.transaction.stream == stream && held.recorded;
        if let Some(held) = self.list.iter_mut().find(named) {
            held.decision.get_or_insert(action);
        }
    }

    /// CMD_STALL_TERM: every stalled transaction of the stream aborts.
    pub(super) fn terminate(&mut self, stream: StreamId) {
        for held in self.list.iter_mut().filter(|held| held.transaction.stream == stream) {
            held.decision.get_or_insert(Resume::Abort);
        }
    }

    /// SMMUEN has become 0: every stalled transaction aborts (§6.3.9.6).
    pub(super) fn abort_all(&mut self) {
        for held in &mut self.list {
            held.decision.get_or_insert(Resume::Abort);
        }
    }

    fn take_decided(&mut self) -> Option<(Stalled, Resume)> {
        let index = self.list.iter().position(|held| held.decision.is_some())?;
        let held = self.list.remove(index);
        held.decision.map(|decision| (held, decision))
    }
}

impl<const N: usize> Smmu<N> {
    /// Transactions that are stalled now, and those whose end has not been told yet, oldest first.
    pub fn stalled(&self) -> impl Iterator<Item = (Stag, &Transaction)> {
        self.stalls.list.iter().map(|held| (held.stag, &held.transaction))
    }

    /// The next transaction that CMD_RESUME, CMD_STALL_TERM or SMMUEN = 0 has released, with its result now; `None` if
    /// there is none. Call it after register writes and polls until it is. A retry translates with the
    /// configuration and tables of this moment; the record of an event that it makes is new.
    pub fn next_resumed<H: Host + ?Sized>(&mut self, host: &mut H) -> Option<Resumed> {
        let (held, decision) = self.stalls.take_decided()?;
        host.step(&Step::Resumed(held.stag));
        let end = |response| Err(Terminated { response, event: None });
        let result = match decision {
            Resume::Retry => self.translate(&held.transaction, host),
            Resume::Abort => end(Response::Abort),
            Resume::Terminate => end(Response::RazWi),
        };
        Some(Resumed { stag: held.stag, transaction: held.transaction, result })
    }
}
