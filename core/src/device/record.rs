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
    /// It is in the queue, or was lost to an external abort.
    Done,
    /// The queue is full.
    Full,
    /// The queue is disabled, or stopped by EVENTQ_ABT_ERR.
    Closed,
}

impl<const N: usize> Smmu<N> {
    /// Records an event of a terminated transaction; where there is no room it is lost, and OVFLG tells.
    pub(super) fn record<H: Host + ?Sized>(&mut self, event: &Event, host: &mut H) {
        match self.write_event(event, host) {
            Written::Done => {}
            Written::Closed => host.step(&Step::EventLost(*event)),
            Written::Full => {
                host.step(&Step::EventLost(*event));
                let prod = self.registers.get(Reg::EventqProd);
                let cons = self.registers.get(Reg::EventqCons);
                // An overflow that software has not acknowledged is not told again.
                if queue_index::OVERFLOW.get(prod ^ cons) == 0 {
                    self.registers.set(Reg::EventqProd, prod ^ queue_index::OVERFLOW.mask());
                }
            }
        }
    }

    /// Records stalled transactions whose records found no room, oldest first, as far as there is room now.
    pub(super) fn record_waiting<H: Host + ?Sized>(&mut self, host: &mut H) {
        while let Some((stag, event)) = self.stalls.next_unrecorded() {
            if self.write_event(&event, host) != Written::Done {
                break;
            }
            self.stalls.mark_recorded(stag);
        }
    }

    /// Writes one record: data first, then PROD, then an interrupt if the queue was empty.
    fn write_event<H: Host + ?Sized>(&mut self, event: &Event, host: &mut H) -> Written {
        let registers = &self.registers;
        let stopped = gerror::EVENTQ_ABT_ERR.get(registers.active_errors()) != 0;
        if !registers.is_set(Reg::Cr0, cr0::EVENTQEN) || stopped {
            return Written::Closed;
        }
        let Some(words) = event.encode() else { return Written::Done };
        let queue = registers.event_queue(&self.features);
        let (prod, cons) = (registers.position(Reg::EventqProd), registers.position(Reg::EventqCons));
        if queue.is_full(prod, cons) {
            return Written::Full;
        }
        let was_empty = queue.is_empty(prod, cons);
        if write_words(host, queue.entry(prod), &words).is_err() {
            host.step(&Step::EventLost(*event));
            self.raise(gerror::EVENTQ_ABT_ERR, host);
            return Written::Done;
        }
        self.registers.put(Reg::EventqProd, queue_index::POSITION, queue.next(prod).into());
        host.step(&Step::Event(*event));
        if was_empty {
            self.interrupt_eventq(host);
        }
        Written::Done
    }

    /// Holds a transaction or refuses it, and records why. `Some` if it is held.
    pub(super) fn record_stall<H: Host + ?Sized>(&mut self, event: &Event, host: &mut H) -> bool {
        self.write_event(event, host) == Written::Done
    }
}
