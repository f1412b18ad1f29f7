//! Page requests of PCIe devices: the PRI queue, its overflow, and automatic responses (§8).

use super::{Smmu, Transaction};
use crate::arch::addr::Iova;
use crate::arch::bits::Field;
use crate::arch::id::{StreamId, SubstreamId};
use crate::env::Host;
use crate::env::memory::write_words;
use crate::env::trace::Step;
use crate::format::command::PageResponse;
use crate::format::event::PageHint;
use crate::format::regs::{Reg, cr0, gerror, irq_cfg2, queue_index};
use crate::walk::Walk;
use crate::walk::permission::Demand;

/// Size of a PRI queue entry in bytes.
pub(super) const PAGE_REQUEST_BYTES: u64 = 16;

/// A PCIe Page Request message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct PageRequest {
    /// Whose.
    pub stream: StreamId,
    /// Its PASID, if it has one.
    pub substream: Option<SubstreamId>,
    /// The page; the low 12 bits are not recorded.
    pub address: u64,
    /// `PRGIndex`, 0 to 511.
    pub group: u16,
    /// Read permission is requested.
    pub read: bool,
    /// Write permission is requested.
    pub write: bool,
    /// Execute permission is requested; recorded only with a PASID.
    pub execute: bool,
    /// For privileged access; recorded only with a PASID.
    pub privileged: bool,
    /// The last of its group. With a PASID and neither read nor write, the message is a Stop Marker.
    pub last: bool,
}

/// What becomes of a page request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum PageRequestOutcome {
    /// It is in the PRI queue; software answers with CMD_PRI_RESP.
    Queued,
    /// It was discarded, and the SMMU answers the group.
    Answered {
        /// The answer.
        response: PageResponse,
        /// Whether it carries the request's PASID.
        pasid: bool,
    },
    /// It was discarded, and nobody answers: a later message of its group is answered, or it was a Stop Marker.
    Discarded,
}

mod field {
    use super::Field;

    pub(super) const SID: Field = Field::bits(31, 0);
    pub(super) const SSID: Field = Field::bits(51, 32);
    pub(super) const PRIV: Field = Field::bit(58);
    pub(super) const X: Field = Field::bit(59);
    pub(super) const R: Field = Field::bit(60);
    pub(super) const W: Field = Field::bit(61);
    pub(super) const LAST: Field = Field::bit(62);
    pub(super) const SSV: Field = Field::bit(63);
    pub(super) const PRGINDEX: Field = Field::bits(72, 64);
    pub(super) const ADDR: Field = Field::bits(127, 76);
}

impl PageRequest {
    /// Whether the message stops a PASID rather than asks for a page: L, W, R = 0b100 with a PASID.
    #[must_use]
    pub const fn is_stop_marker(&self) -> bool {
        self.substream.is_some() && self.last && !self.write && !self.read
    }

    /// The 16 bytes of its PRI queue entry.
    #[must_use]
    pub fn encode(&self) -> [u64; 2] {
        let mut words = [0; 2];
        let pasid = self.substream.is_some();
        let fields = [
            (field::SID, self.stream.0.into()),
            (field::SSID, self.substream.unwrap_or_default().0.into()),
            (field::PRIV, (self.privileged && pasid).into()),
            (field::X, (self.execute && pasid).into()),
            (field::R, self.read.into()),
            (field::W, self.write.into()),
            (field::LAST, self.last.into()),
            (field::SSV, pasid.into()),
            (field::PRGINDEX, self.group.into()),
            (field::ADDR, self.address >> 12),
        ];
        for (field, value) in fields {
            field.set(&mut words, value);
        }
        words
    }
}

impl<const N: usize> Smmu<N> {
    /// A device asks for a page. Without `IDR0.PRI` every request fails.
    pub fn page_request<H: Host + ?Sized>(
        &mut self,
        request: &PageRequest,
        host: &mut H,
    ) -> PageRequestOutcome {
        let failure = if request.is_stop_marker() {
            PageRequestOutcome::Discarded
        } else {
            PageRequestOutcome::Answered { response: PageResponse::Failure, pasid: false }
        };
        let registers = &self.registers;
        let enabled = registers.is_set(Reg::Cr0, cr0::PRIQEN) && registers.is_set(Reg::Cr0, cr0::SMMUEN);
        let stopped = gerror::PRIQ_ABT_ERR.get(registers.active_errors()) != 0;
        if !enabled || stopped {
            return failure;
        }
        let queue = registers.pri_queue(&self.features);
        let (prod, cons) = (registers.position(Reg::PriqProd), registers.position(Reg::PriqCons));
        let told =
            queue_index::OVERFLOW.get(registers.get(Reg::PriqProd) ^ registers.get(Reg::PriqCons)) != 0;
        let interrupts_on_last = irq_cfg2::LO.get(registers.get(Reg::PriqIrqCfg2)) != 0;

        // An overflow that software has not acknowledged keeps every message out, whatever room there is.
        if told || queue.is_full(prod, cons) {
            if !told {
                let value = self.registers.get(Reg::PriqProd) ^ queue_index::OVERFLOW.mask();
                self.registers.set(Reg::PriqProd, value);
            }
            if interrupts_on_last && request.last {
                self.interrupt_priq(host);
            }
            return self.overflowed(request, host);
        }

        let words = request.encode();
        if write_words(host, queue.entry(prod), &words).is_err() {
            self.raise(gerror::PRIQ_ABT_ERR, host);
            return failure;
        }
        self.registers.put(Reg::PriqProd, queue_index::POSITION, queue.next(prod).into());
        host.step(&Step::PageRequest { stream: request.stream, words });
        let was_empty = queue.is_empty(prod, cons);
        if if interrupts_on_last { request.last } else { was_empty } {
            self.interrupt_priq(host);
        }
        PageRequestOutcome::Queued
    }

    /// The answer to a message that found no room (§8.1).
    fn overflowed<H: Host + ?Sized>(&mut self, request: &PageRequest, host: &mut H) -> PageRequestOutcome {
        if !request.last || request.is_stop_marker() {
            return PageRequestOutcome::Discarded;
        }
        let success = |pasid| PageRequestOutcome::Answered { response: PageResponse::Success, pasid };
        if request.substream.is_none() {
            return success(false);
        }
        if self.features.pps {
            return success(true);
        }
        // Whether the PASID is kept is the STE's to say.
        let control = self.control();
        let mut walk =
            Walk { features: &self.features, host, kept: &mut self.caches, demand: Demand::STRUCTURE_READ };
        match walk.ste(&control.table, request.stream, control.e2h) {
            Ok(ste) => success(ste.page_response_pasid()),
            Err(fault) => {
                let demand = Demand {
                    privileged: request.privileged,
                    instruction: request.execute,
                    ..Demand::STRUCTURE_READ
                };
                let page = Transaction::read(request.stream, Iova(request.address));
                let page = Transaction { substream: request.substream, ..page };
                self.record_configuration_error(&page, fault, demand, control.records_bad_stream, host);
                PageRequestOutcome::Answered { response: PageResponse::Failure, pasid: false }
            }
        }
    }

    /// E_PAGE_REQUEST: a device tells which pages it is about to use. Recorded like any event; lost where there is no
    /// room.
    pub fn page_hint<H: Host + ?Sized>(&mut self, hint: &PageHint, host: &mut H) {
        self.record_words(&hint.encode(), &Step::PageHint(*hint), host);
    }
}
