//! Memory that holds anything and aborts at will, interrupt lines that lead nowhere, and a watcher that wants everything.

use smmuv3::arch::addr::Pa;
use smmuv3::fmt::Log;
use smmuv3::{
    Abort, AtcCompletion, AtcInvalidation, Interrupt, Interrupts, Memory, PageResponse, Step, StreamId,
    SubstreamId, Trace,
};

use crate::{any, keep};

/// What an embedder lends.
pub(crate) struct Anything;

fn may_abort() -> Result<(), Abort> {
    if any(false) { Err(Abort) } else { Ok(()) }
}

impl Memory for Anything {
    fn read(&self, address: Pa, data: &mut [u8]) -> Result<(), Abort> {
        keep(address);
        for byte in data {
            *byte = any(0);
        }
        may_abort()
    }

    fn write(&mut self, address: Pa, data: &[u8]) -> Result<(), Abort> {
        keep((address, data));
        may_abort()
    }
}

impl Interrupts for Anything {
    fn pulse(&mut self, line: Interrupt) {
        keep(line);
    }
}

impl Trace for Anything {
    fn step(&mut self, step: &Step) {
        Log.step(step);
        keep(step);
    }

    fn invalidate_atc(&mut self, invalidation: &AtcInvalidation) -> AtcCompletion {
        keep(invalidation);
        any(AtcCompletion::Done)
    }

    fn respond_to_page_request(
        &mut self,
        stream: StreamId,
        substream: Option<SubstreamId>,
        group: u16,
        response: PageResponse,
    ) {
        keep((stream, substream, group, response));
    }

    fn wants_entries(&self) -> bool {
        any(true)
    }

    fn wants_spared(&self) -> bool {
        any(true)
    }
}

/// Where defmt's frames go: nowhere.
#[cfg(feature = "defmt")]
mod logger {
    #[defmt::global_logger]
    struct Nowhere;

    // SAFETY: every method does nothing but keep a reference for the length of a call.
    unsafe impl defmt::Logger for Nowhere {
        fn acquire() {}
        unsafe fn flush() {}
        unsafe fn release() {}
        unsafe fn write(bytes: &[u8]) {
            crate::keep(bytes);
        }
    }

    defmt::timestamp!("");
}
