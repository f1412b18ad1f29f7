//! Enhanced command queues and their control pages (SMMUv3.3, §3.5.6).
//!
//! Each page holds `2^LOG2NUMQ` interfaces, evenly spaced; each interface is a queue of its own, with its own enable,
//! error and acknowledgement. They ignore `GERROR.CMDQ_ERR`, and CMDQ ignores theirs.

use super::Smmu;
use super::commands::{Source, error_code};
use super::queue::Queue;
use crate::arch::addr::low_mask;
use crate::arch::bits::Field;
use crate::arch::features::MAX_ECMDQS;
use crate::env::Host;
use crate::env::memory::read_words;
use crate::format::command::COMMAND_BYTES;
use crate::format::regs::{PAGE_BYTES, gerror, queue_base};

/// ECMDQ_BASE: what exists.
const BASE_BITS: u64 = 0x400f_ffff_ffff_ffff;
/// Where CMDQ_CONTROL_PAGE_BASE0 is; 32 bytes a page.
const CONTROL_BASE: u32 = 0x4000;

/// ECMDQ_PROD and ECMDQ_CONS.
mod field {
    use super::Field;

    pub(super) const POSITION: Field = Field::bits(19, 0);
    /// `ERRACK` of PROD, `ERR` of CONS.
    pub(super) const ERR: Field = Field::bit(23);
    /// `ERR_REASON` of CONS.
    pub(super) const ERR_REASON: Field = Field::bits(26, 24);
    /// `EN` of PROD, `ENACK` of CONS.
    pub(super) const EN: Field = Field::bit(31);
    pub(super) const PROD_BITS: u32 = 0x808f_ffff;
    pub(super) const CONS_BITS: u32 = 0x078f_ffff;
}

/// One interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
struct Ecmdq {
    base: u64,
    prod: u32,
    cons: u32,
    atc_timed_out: bool,
}

/// All interfaces; those beyond `IDR6` are never reached.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub(super) struct Ecmdqs {
    queues: [Ecmdq; MAX_ECMDQS],
    /// For a queue that does not exist.
    nowhere: bool,
}

impl Ecmdqs {
    pub(super) const fn new() -> Self {
        let queue = Ecmdq { base: 0, prod: 0, cons: 0, atc_timed_out: false };
        Self { queues: [queue; MAX_ECMDQS], nowhere: false }
    }

    pub(super) fn atc_timed_out(&mut self, index: usize) -> &mut bool {
        match self.queues.get_mut(index) {
            Some(queue) => &mut queue.atc_timed_out,
            None => &mut self.nowhere,
        }
    }
}

impl Ecmdq {
    const fn is_enabled(&self) -> bool {
        self.prod & field::EN.mask() as u32 != 0
    }

    /// Enabled, and no error is unacknowledged.
    const fn runs(&self) -> bool {
        self.is_enabled() && (self.prod ^ self.cons) & field::ERR.mask() as u32 == 0
    }

    fn queue(&self, limit: u8, oas_bits: u8) -> Queue {
        let address = self.base & queue_base::ADDR.mask() & low_mask(oas_bits.into());
        Queue::new(address, queue_base::LOG2SIZE.get(self.base), limit, COMMAND_BYTES)
    }

    fn write_field(word: u32, field: Field, value: u32) -> u32 {
        field.put(word.into(), value.into()) as u32
    }
}

impl<const N: usize> Smmu<N> {
    /// Command queue control pages.
    pub(super) fn control_pages(&self) -> u32 {
        self.features.ecmdq.map_or(0, |ecmdqs| 1 << ecmdqs.log2_pages)
    }

    /// Whether every interface is disabled: CR1.QUEUE_* can be written only then.
    pub(super) fn ecmdqs_are_off(&self) -> bool {
        self.ecmdqs.queues.iter().all(|queue| !queue.is_enabled())
    }

    /// The interface that `offset` lies in, and the offset inside it.
    fn ecmdq_at(&self, offset: u32) -> Option<(usize, u32)> {
        let ecmdqs = self.features.ecmdq?;
        let inside = offset.checked_sub(self.first_control_page())?;
        // A power of two: shifted rather than divided by, so that nothing can divide by zero.
        let log2_stride = PAGE_BYTES.ilog2().saturating_sub(ecmdqs.log2_queues.into());
        let index = (inside >> log2_stride) as usize;
        (index < self.features.ecmdq_count()).then_some((index, inside & low_mask(log2_stride) as u32))
    }

    /// 32 bits of an interface, or of the registers that say where the control pages are; 0 elsewhere.
    pub(super) fn read_ecmdq(&self, offset: u32) -> u32 {
        if let Some((index, inside)) = self.ecmdq_at(offset) {
            let Some(queue) = self.ecmdqs.queues.get(index) else { return 0 };
            return match inside {
                0x0 => queue.base as u32,
                0x4 => (queue.base >> 32) as u32,
                0x8 => queue.prod,
                0xc => queue.cons,
                _ => 0,
            };
        }
        let Some(inside) =
            offset.checked_sub(CONTROL_BASE).filter(|inside| inside / 32 < self.control_pages())
        else {
            return 0;
        };
        let page = self.first_control_page() + inside / 32 * PAGE_BYTES;
        match inside % 32 {
            // CMDQGS: 64 KiB; PRESET.
            0x0 => page | 0b01 << 1 | 1,
            // EN and ENACK: the pages are always there.
            0x8 | 0xc => 1,
            _ => 0,
        }
    }

    /// Writes 32 bits of an interface; nothing elsewhere.
    pub(super) fn write_ecmdq<H: Host + ?Sized>(&mut self, offset: u32, value: u32, host: &mut H) {
        let Some((index, inside)) = self.ecmdq_at(offset) else { return };
        let Some(queue) = self.ecmdqs.queues.get_mut(index) else { return };
        let half = |shift: u32| (u64::from(value) << shift, 0xffff_ffff << shift);
        match inside {
            0x0 | 0x4 if !queue.is_enabled() => {
                let (value, mask) = half(8 * inside);
                queue.base = queue.base & !mask | value & mask & BASE_BITS;
            }
            0x8 => {
                queue.prod = value & field::PROD_BITS;
                // ENACK follows EN at once, also while an error is unacknowledged.
                queue.cons = Ecmdq::write_field(queue.cons, field::EN, u32::from(queue.is_enabled()));
                self.consume(host);
            }
            0xc if !queue.is_enabled() => queue.cons = value & field::CONS_BITS,
            _ => {}
        }
    }

    /// An interface that has a command to consume.
    #[inline]
    pub(super) fn ecmdq_pending(&self) -> Option<usize> {
        self.features.ecmdq?;
        self.next_ecmdq()
    }

    #[inline(never)]
    fn next_ecmdq(&self) -> Option<usize> {
        let waits = |queue: &Ecmdq| {
            let shape = queue.queue(self.features.cmdqs, self.features.oas_bits);
            queue.runs() && !shape.is_empty(queue.prod, queue.cons)
        };
        self.ecmdqs.queues.iter().take(self.features.ecmdq_count()).position(waits)
    }

    /// Consumes one command of an interface, or stops at it with an error.
    pub(super) fn consume_enhanced<H: Host + ?Sized>(&mut self, index: usize, host: &mut H) {
        let Some(&queue) = self.ecmdqs.queues.get(index) else { return };
        let shape = queue.queue(self.features.cmdqs, self.features.oas_bits);
        let was_full = shape.is_full(queue.prod, queue.cons);
        let words = read_words(host, shape.entry(queue.cons));
        let result = self.run_one(Source::Enhanced(index), &shape, queue.cons, words, host);
        if let Some(queue) = self.ecmdqs.queues.get_mut(index) {
            match result {
                Ok(_) => {
                    let next = shape.next(queue.cons);
                    queue.cons = Ecmdq::write_field(queue.cons, field::POSITION, next);
                }
                Err(error) => {
                    queue.cons = Ecmdq::write_field(queue.cons, field::ERR_REASON, error_code(error));
                    queue.cons ^= field::ERR.mask() as u32;
                }
            }
        }
        match result {
            Ok(command) => self.passed(&command, was_full, host),
            Err(_) => self.raise(gerror::CMDQP_ERR, host),
        }
    }
}
