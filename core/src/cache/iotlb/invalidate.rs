//! How the IOTLB forgets: whole spaces by their generation, probes where the span is small, otherwise one pass.

use super::{Iotlb, Mark};
use crate::cache::scope::{Scope, Span, Verdict};
use crate::env::trace::{Step, Trace};
use crate::format::command::Command;

/// Slots whose tags are compared with a span before any of them is looked at more closely.
const CHUNK: usize = 32;

/// What an invalidation did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Effect {
    /// Slots that were looked at.
    pub scanned: u32,
    /// Entries that were dropped.
    pub dropped: u32,
}

/// One invalidation: what it names, what the architecture demands of it, and the command that it is.
#[derive(Clone, Copy, Debug)]
pub struct Invalidation<'a> {
    /// What is dropped.
    pub scope: &'a Scope,
    /// What has to be: the rest is dropped in excess.
    pub letter: &'a Scope,
    /// Which command does it.
    pub by: &'a Command,
}

impl<const N: usize> Iotlb<N> {
    /// Drops what the invalidation names, in one pass at most.
    pub fn invalidate<T: Trace + ?Sized>(&mut self, what: &Invalidation<'_>, trace: &mut T) -> Effect {
        let mut effect = Effect::default();
        #[cfg(feature = "alloc")]
        if let Some(unbounded) = &mut self.unbounded {
            unbounded.invalidate(what, &mut effect, trace);
        }
        if self.spaces.is_empty() {
            return effect;
        }
        if trace.wants_spared() {
            return self.judge_all(what, effect, trace);
        }
        let named = self.spaces.named(what.scope);
        if named.is_empty() {
            return effect;
        }
        let Some(span) = what.scope.span else {
            if trace.wants_entries() {
                return self.judge_all(what, effect, trace);
            }
            for number in named {
                let (dropped, wrapped) = self.spaces.forget(number);
                self.epoch = self.epoch.wrapping_add(1);
                effect.dropped += dropped;
                if wrapped {
                    self.sweep();
                }
            }
            return effect;
        };

        let mut pages = 0u64;
        for number in named {
            let slot = self.spaces.slot(number);
            // A fractured entry is kept under its own address, but named by its leaf's.
            if slot.fractured != 0 {
                return self.judge_all(what, effect, trace);
            }
            let mut sizes = slot.sizes;
            while sizes != 0 {
                let size = sizes.trailing_zeros();
                sizes &= sizes - 1;
                pages = pages.saturating_add((span.last >> size) - (span.first >> size)).saturating_add(1);
            }
        }
        // A probe costs about as much as the pass over 24 slots.
        let few = pages <= (self.slots() as u64 / 24).max(1);
        for number in named {
            let mut sizes = self.spaces.slot(number).sizes;
            while sizes != 0 {
                let size = sizes.trailing_zeros();
                sizes &= sizes - 1;
                // An entry that begins before the span holds its first address.
                let last = if few { span.last >> size } else { span.first >> size };
                for page in span.first >> size..=last {
                    effect.scanned += self.ways;
                    if let Some(slot) = self.probe(number, page << size, size) {
                        self.judge(slot, what, &mut effect, trace);
                    }
                }
            }
        }
        if !few {
            self.pass(&span, named.0, what, &mut effect, trace);
        }
        effect
    }

    /// One pass over all slots for entries that begin inside `span`: 32-bit halves first, the rest where one matches.
    fn pass<T: Trace + ?Sized>(
        &mut self,
        span: &Span,
        named: u64,
        what: &Invalidation<'_>,
        effect: &mut Effect,
        trace: &mut T,
    ) {
        let first = (span.first >> 12) as u32;
        let length = u32::try_from((span.last >> 12) - (span.first >> 12)).unwrap_or(u32::MAX);
        let slots = self.slots();
        effect.scanned += slots as u32;
        for start in (0..slots).step_by(CHUNK) {
            let Some(pages) = self.pages.get(start..(start + CHUNK).min(slots)) else { return };
            if !any_between(pages, first, length) {
                continue;
            }
            for slot in start..start + pages.len() {
                let Some(mark) = self.marks.get(slot) else { return };
                if named >> mark.tag().number() & 1 != 0 && self.is_live(*mark) {
                    self.judge(slot, what, effect, trace);
                }
            }
        }
    }

    /// Judges every live entry.
    fn judge_all<T: Trace + ?Sized>(
        &mut self,
        what: &Invalidation<'_>,
        mut effect: Effect,
        trace: &mut T,
    ) -> Effect {
        effect.scanned += self.slots() as u32;
        for slot in 0..self.slots() {
            self.judge(slot, what, &mut effect, trace);
        }
        effect
    }

    /// Drops or spares the entry in `slot`.
    fn judge<T: Trace + ?Sized>(
        &mut self,
        slot: usize,
        what: &Invalidation<'_>,
        effect: &mut Effect,
        trace: &mut T,
    ) {
        let Some(entry) = self.entry(slot) else { return };
        match what.scope.verdict(&entry) {
            Verdict::Drop => {
                if trace.wants_entries() {
                    let needed = what.letter.verdict(&entry) == Verdict::Drop;
                    trace.step(&Step::Drop { by: *what.by, entry, needed });
                }
                if let Some(mark) = self.marks.get_mut(slot) {
                    self.spaces.remove(mark.tag().number(), entry.is_fractured());
                    self.epoch = self.epoch.wrapping_add(1);
                    *mark = Mark::DEAD;
                }
                effect.dropped += 1;
            }
            Verdict::Spare(reason) => trace.step(&Step::Spare { by: *what.by, entry, reason }),
        }
    }

    /// Marks what older generations have left as free: once in 2^26 times, when the generations of a space begin anew.
    pub(super) fn sweep(&mut self) {
        let spaces = &self.spaces;
        for mark in &mut self.marks {
            if !spaces.is_current(mark.tag()) || spaces.slot(mark.tag().number()).count == 0 {
                *mark = Mark::DEAD;
            }
        }
    }
}

/// Whether any of `pages` lies between `first` and `first + length`, both included; wraps with 32 bits.
#[inline]
fn any_between(pages: &[u32], first: u32, length: u32) -> bool {
    pages.iter().fold(false, |any, page| any | (page.wrapping_sub(first) <= length))
}
