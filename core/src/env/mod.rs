//! What is lent to the device, call by call: physical memory, interrupt lines, and a watcher of every step.
//!
//! Nothing is owned that can be lent. [`Env`] gathers three separate borrowings; an embedder whose bus is one object
//! implements the three traits on it and lends that.

pub mod interrupt;
pub mod memory;
pub mod trace;

use interrupt::{Interrupt, Interrupts};
use memory::{Abort, Memory};
use trace::{AtcCompletion, Step, Trace};

use crate::arch::addr::Pa;
use crate::arch::id::{StreamId, SubstreamId};
use crate::format::command::{AtcInvalidation, PageResponse};

/// All that a device needs during a call.
pub trait Host: Memory + Interrupts + Trace {}

impl<T: Memory + Interrupts + Trace + ?Sized> Host for T {}

/// A [`Host`] of three borrowed parts.
#[derive(Debug)]
pub struct Env<'a, M: ?Sized, I: ?Sized, T: ?Sized> {
    /// Physical memory.
    pub memory: &'a mut M,
    /// Interrupt lines.
    pub interrupts: &'a mut I,
    /// Who is told every step.
    pub trace: &'a mut T,
}

impl<M: Memory + ?Sized, I: ?Sized, T: ?Sized> Memory for Env<'_, M, I, T> {
    #[inline]
    fn read(&self, address: Pa, data: &mut [u8]) -> Result<(), Abort> {
        self.memory.read(address, data)
    }

    #[inline]
    fn write(&mut self, address: Pa, data: &[u8]) -> Result<(), Abort> {
        self.memory.write(address, data)
    }

    #[inline]
    fn read_u64(&self, address: Pa) -> Result<u64, Abort> {
        self.memory.read_u64(address)
    }

    #[inline]
    fn compare_exchange(&mut self, address: Pa, current: u64, new: u64) -> Result<bool, Abort> {
        self.memory.compare_exchange(address, current, new)
    }
}

impl<M: ?Sized, I: Interrupts + ?Sized, T: ?Sized> Interrupts for Env<'_, M, I, T> {
    #[inline]
    fn pulse(&mut self, line: Interrupt) {
        self.interrupts.pulse(line);
    }

    #[inline]
    fn send_event(&mut self) {
        self.interrupts.send_event();
    }
}

impl<M: ?Sized, I: ?Sized, T: Trace + ?Sized> Trace for Env<'_, M, I, T> {
    #[inline]
    fn step(&mut self, step: &Step) {
        self.trace.step(step);
    }

    fn invalidate_atc(&mut self, invalidation: &AtcInvalidation) -> AtcCompletion {
        self.trace.invalidate_atc(invalidation)
    }

    fn respond_to_page_request(
        &mut self,
        stream: StreamId,
        substream: Option<SubstreamId>,
        group: u16,
        response: PageResponse,
    ) {
        self.trace.respond_to_page_request(stream, substream, group, response);
    }

    #[inline]
    fn watches(&self) -> bool {
        self.trace.watches()
    }

    #[inline]
    fn wants_entries(&self) -> bool {
        self.trace.wants_entries()
    }

    #[inline]
    fn wants_spared(&self) -> bool {
        self.trace.wants_spared()
    }
}
