//! Recording events, and what happens when there is no room (§7.2, §7.4).

use super::Smmu;
use crate::env::Host;
use crate::env::memory::write_words;
use crate::env::trace::Step;
use crate::format::event::Event;
use crate::format::regs::{Reg, cr0, gerror, queue_index};

/// What became of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Written {
    /// It is in the queue.
    Done,
    /// It met an external abort, and EVENTQ_ABT_ERR tells.
    Lost,
    /// The queue is full.
    Full,
    /// The queue is disabled, or stopped by EVENTQ_ABT_ERR.
    Closed,
}

impl<const N: usize> Smmu<N> {
    /// Records an event of a terminated transaction; where there is no room it is lost, and OVFLG tells.
    pub(super) fn record<H: Host + ?Sized>(&mut self, event: &Event, host: &mut H) {
        let written = self.write_event(event, host);
        if written != Written::Done {
            host.step(&Step::EventLost(*event));
        }
        if written == Written::Full {
            self.overflow();
        }
    }

    /// Records stalled transactions whose records found no room, oldest first, as far as there is room now.
    #[inline]
    pub(super) fn record_waiting<H: Host + ?Sized>(&mut self, host: &mut H) {
        if self.stalls.are_held() {
            self.record_held(host);
        }
    }

    #[cold]
    #[inline(never)]
    fn record_held<H: Host + ?Sized>(&mut self, host: &mut H) {
        while let Some((stag, event)) = self.stalls.next_unrecorded() {
            if !self.record_stall(&event, host) {
                break;
            }
            self.stalls.mark_recorded(stag);
        }
    }

    /// Writes one record.
    fn write_event<H: Host + ?Sized>(&mut self, event: &Event, host: &mut H) -> Written {
        let Some(words) = event.encode() else { return Written::Done };
        self.write_record(&words, &Step::Event(*event), host)
    }

    /// Records what is no failure of a transaction; where there is no room it is lost, and OVFLG tells.
    pub(super) fn record_words<H: Host + ?Sized>(&mut self, words: &[u64; 4], step: &Step, host: &mut H) {
        if self.write_record(words, step, host) == Written::Full {
            self.overflow();
        }
    }

    /// An overflow that software has not acknowledged is not told again.
    fn overflow(&mut self) {
        let prod = self.registers.get(Reg::EventqProd);
        let cons = self.registers.get(Reg::EventqCons);
        if queue_index::OVERFLOW.get(prod ^ cons) == 0 {
            self.registers.set(Reg::EventqProd, prod ^ queue_index::OVERFLOW.mask());
        }
    }

    /// Writes 32 bytes: data first, then PROD, then an interrupt if the queue was empty.
    fn write_record<H: Host + ?Sized>(&mut self, words: &[u64; 4], step: &Step, host: &mut H) -> Written {
        let registers = &self.registers;
        let stopped = gerror::EVENTQ_ABT_ERR.get(registers.active_errors()) != 0;
        if !registers.is_set(Reg::Cr0, cr0::EVENTQEN) || stopped {
            return Written::Closed;
        }
        let queue = registers.event_queue(&self.features);
        let (prod, cons) = (registers.position(Reg::EventqProd), registers.position(Reg::EventqCons));
        if queue.is_full(prod, cons) {
            return Written::Full;
        }
        let was_empty = queue.is_empty(prod, cons);
        if write_words(host, queue.entry(prod), words).is_err() {
            self.raise(gerror::EVENTQ_ABT_ERR, host);
            return Written::Lost;
        }
        self.registers.put(Reg::EventqProd, queue_index::POSITION, queue.next(prod).into());
        host.step(step);
        if was_empty {
            self.interrupt_eventq(host);
        }
        Written::Done
    }

    /// Records that a transaction is held, and says whether its record is done with: a record that meets an abort is lost,
    /// one that finds no room waits.
    pub(super) fn record_stall<H: Host + ?Sized>(&mut self, event: &Event, host: &mut H) -> bool {
        matches!(self.write_event(event, host), Written::Done | Written::Lost)
    }
}
