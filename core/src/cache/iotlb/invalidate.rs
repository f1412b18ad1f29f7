//! How the IOTLB forgets: whole spaces by their generation, probes where the span is small, otherwise one pass.

use super::{Iotlb, Mark, sign_extend};
use crate::arch::addr::{Stage, low_mask};
use crate::cache::scope::{Scope, Span, Verdict};
use crate::cache::spaces::{El1, Name, Numbers};
use crate::env::trace::{Step, Trace};
use crate::format::command::Command;

/// Slots whose tags are compared with a span before any of them is looked at more closely.
const CHUNK: usize = 128;

/// A probe costs about as much as the pass over so many slots.
const PROBE: u64 = 24;

/// Pages that are probed for in any IOTLB, so that a short range costs the same in all.
const FEW: u64 = 16;

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
        let scope = what.scope;
        let named = self.spaces.named(scope);
        if trace.wants_spared() {
            return self.judge_all(what, effect, trace);
        }
        if !trace.wants_entries() && scope.granule.is_none() && scope.level.is_none() {
            let forgotten = match &scope.span {
                Some(span) => self.forget_inside(named, span),
                None => Effect { scanned: 0, dropped: self.forget_all(named) },
            };
            effect.scanned += forgotten.scanned;
            effect.dropped += forgotten.dropped;
            return effect;
        }
        let Some(span) = &scope.span else {
            return if named.is_empty() { effect } else { self.judge_all(what, effect, trace) };
        };
        let met = self.meeting(named, span);
        effect.scanned +=
            self.each_inside(met, span, |iotlb, slot| iotlb.judge(slot, what, &mut effect.dropped, trace));
        effect
    }

    /// Whether there are no entries but those in sets.
    #[inline]
    pub(crate) const fn is_bounded(&self) -> bool {
        #[cfg(feature = "alloc")]
        return self.unbounded.is_none();
        #[cfg(not(feature = "alloc"))]
        true
    }

    /// The live spaces that a command of NS-EL1 names.
    #[inline(always)]
    pub(crate) fn of_el1(&self, which: El1) -> Numbers {
        self.spaces.of_el1(which)
    }

    /// Drops all entries of the spaces, and says how many.
    #[inline]
    pub(crate) fn forget_all(&mut self, named: Numbers) -> u32 {
        let mut dropped = 0;
        for number in named {
            dropped += self.forget_space(number);
        }
        dropped
    }

    #[inline]
    fn forget_space(&mut self, number: usize) -> u32 {
        let (dropped, wrapped) = self.spaces.forget(number);
        self.forget_answers();
        if wrapped {
            self.sweep();
        }
        dropped
    }

    /// Whether CMD_TLBI_NH_VA for `name` may find anything, wherever it is.
    #[inline]
    pub(crate) fn may_have(&self, name: Name) -> bool {
        self.spaces.may_have(name)
    }

    /// Drops what CMD_TLBI_NH_VA names: entries of `name`, and global ones, whose leaves meet `span`.
    #[inline(always)]
    pub(crate) fn forget_named(&mut self, name: Name, span: &Span) -> Effect {
        let met = self.spaces.met(name, span);
        if met.is_empty() { Effect::default() } else { self.forget_met(met, span) }
    }

    /// Drops the entries of the spaces whose leaves meet `span`.
    fn forget_inside(&mut self, named: Numbers, span: &Span) -> Effect {
        self.forget_met(self.meeting(named, span), span)
    }

    /// Those of the spaces some of whose entries may meet `span`.
    fn meeting(&self, named: Numbers, span: &Span) -> Numbers {
        let mut met = Numbers::NONE;
        for number in named {
            if !self.spaces.slot(number).misses(span) {
                met.insert(number);
            }
        }
        met
    }

    /// Drops the entries of spaces that may meet `span`.
    #[inline(never)]
    fn forget_met(&mut self, met: Numbers, span: &Span) -> Effect {
        let mut effect = Effect::default();
        let mut rest = met;
        if span.first >> 12 == span.last >> 12 {
            rest = Numbers::NONE;
            for number in met {
                if self.spaces.slot(number).fractured == 0 {
                    let Effect { scanned, dropped } = self.forget_page(number, span.first);
                    effect.scanned += scanned;
                    effect.dropped += dropped;
                } else {
                    rest.insert(number);
                }
            }
        }
        if !rest.is_empty() {
            self.forget_range(rest, span, &mut effect);
        }
        effect
    }

    /// Drops the entries of a space that hold one page, none of which is smaller than its leaf.
    #[inline(always)]
    fn forget_page(&mut self, number: usize, address: u64) -> Effect {
        let mut effect = Effect::default();
        for size in Numbers(self.spaces.slot(number).sizes) {
            effect.scanned += self.ways;
            if let Some(slot) = self.probe(number, address, size as u32) {
                effect.dropped += 1;
                self.kill(slot, number, false);
            }
        }
        effect
    }

    /// The same for spans of more than a page, and for entries that are smaller than their leaves.
    #[inline(never)]
    fn forget_range(&mut self, met: Numbers, span: &Span, effect: &mut Effect) {
        let mut rest = Numbers::NONE;
        for number in met {
            if self.spaces.slot(number).is_inside(span) {
                effect.dropped += self.forget_space(number);
            } else {
                rest.insert(number);
            }
        }
        if !rest.is_empty() {
            effect.scanned += self.each_inside(rest, span, |iotlb, slot| {
                iotlb.drop_slot(slot);
                effect.dropped += 1;
            });
        }
    }

    /// Calls `found` with every slot of the spaces `named` whose leaf meets `span`, and says how many slots it looked at.
    fn each_inside(&mut self, named: Numbers, span: &Span, mut found: impl FnMut(&mut Self, usize)) -> u32 {
        let mut pages = 0u64;
        for number in named {
            let slot = self.spaces.slot(number);
            // A fractured entry is kept under its own address, but named by its leaf's.
            if slot.fractured != 0 {
                return self.each_leaf_inside(named, span, found);
            }
            let span = slot.clip(span);
            for size in Numbers(slot.sizes) {
                pages = pages.saturating_add((span.last >> size) - (span.first >> size)).saturating_add(1);
            }
        }
        let few = pages <= (self.slots() as u64 / PROBE).max(FEW);
        let mut scanned = 0;
        for number in named {
            let slot = self.spaces.slot(number);
            let span = slot.clip(span);
            for size in Numbers(slot.sizes) {
                // An entry that begins before the span holds its first address; the pass finds those that begin inside.
                if !few && span.first & low_mask(size as u32) == 0 {
                    continue;
                }
                let last = if few { span.last >> size } else { span.first >> size };
                for page in span.first >> size..=last {
                    scanned += self.ways;
                    if let Some(slot) = self.probe(number, page << size, size as u32) {
                        found(self, slot);
                    }
                }
            }
        }
        if few { scanned } else { scanned + self.pass(named, span, found) }
    }

    /// One pass over all slots for entries that begin inside `span`: 32-bit halves first, the rest where one matches.
    fn pass(&mut self, named: Numbers, span: &Span, mut found: impl FnMut(&mut Self, usize)) -> u32 {
        let first = (span.first >> 12) as u32;
        let length = u32::try_from((span.last >> 12) - (span.first >> 12)).unwrap_or(u32::MAX);
        let slots = self.slots();
        let mut start = 0;
        while let Some(at) = self.chunk_between(start, first, length) {
            let end = (at + CHUNK).min(slots);
            start = end;
            for slot in at..end {
                let Some(mark) = self.marks.get(slot) else { break };
                let number = mark.tag().number();
                let address = self.address(*mark);
                let inside = span.first <= address && address <= span.last;
                if inside && named.contains(number) && self.is_live(*mark) {
                    found(self, slot);
                }
            }
        }
        slots as u32
    }

    /// The first slot of the next chunk, from `start` on, in which an entry may begin between two 32-bit halves of pages.
    #[inline]
    fn chunk_between(&self, start: usize, first: u32, length: u32) -> Option<usize> {
        let slots = self.slots();
        let (chunks, rest) = self.pages.get(start..slots)?.as_chunks::<CHUNK>();
        match chunks.iter().position(|pages| any_between(pages, first, length)) {
            Some(chunk) => Some(start + chunk * CHUNK),
            None => (!rest.is_empty()).then_some(slots - rest.len()),
        }
    }

    /// The same where entries are smaller than their leaves.
    #[cold]
    #[inline(never)]
    fn each_leaf_inside(
        &mut self,
        named: Numbers,
        span: &Span,
        mut found: impl FnMut(&mut Self, usize),
    ) -> u32 {
        for slot in 0..self.slots() {
            let Some(number) = self.marks.get(slot).map(|mark| mark.tag().number()) else { break };
            if named.contains(number)
                && let Some(entry) = self.entry(slot)
            {
                let (start, log2_size) = entry.leaf_span();
                if span.intersects(start, log2_size) {
                    found(self, slot);
                }
            }
        }
        self.slots() as u32
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
            self.judge(slot, what, &mut effect.dropped, trace);
        }
        effect
    }

    /// Drops or spares the entry in `slot`.
    fn judge<T: Trace + ?Sized>(
        &mut self,
        slot: usize,
        what: &Invalidation<'_>,
        dropped: &mut u32,
        trace: &mut T,
    ) {
        let Some(entry) = self.entry(slot) else { return };
        match what.scope.verdict(&entry) {
            Verdict::Drop => {
                if trace.wants_entries() {
                    let needed = what.letter.verdict(&entry) == Verdict::Drop;
                    trace.step(&Step::Drop { by: *what.by, entry, needed });
                }
                self.drop_slot(slot);
                *dropped += 1;
            }
            Verdict::Spare(reason) => {
                if trace.wants_spared() {
                    trace.step(&Step::Spare { by: *what.by, entry, reason });
                }
            }
        }
    }

    /// Drops the live entry in `slot`.
    fn drop_slot(&mut self, slot: usize) {
        let Some(mark) = self.marks.get(slot).copied() else { return };
        let fractured = self.payloads.get(slot).is_some_and(|payload| payload.is_fractured());
        self.kill(slot, mark.tag().number(), fractured);
    }

    /// Drops the live entry of space `number` in `slot`.
    #[inline]
    fn kill(&mut self, slot: usize, number: usize, fractured: bool) {
        self.spaces.remove(number, fractured);
        self.forget_answers();
        if let Some(mark) = self.marks.get_mut(slot) {
            *mark = Mark::DEAD;
        }
    }

    /// The first address of the entry with this mark.
    #[inline]
    fn address(&self, mark: Mark) -> u64 {
        let address = mark.first();
        match self.spaces.slot(mark.tag().number()).stage() {
            Stage::S1 => sign_extend(address),
            Stage::S2 => address,
        }
    }

    /// Marks what older generations have left as free: once in 2,048 times, when the generations of a space begin anew.
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
fn any_between<const C: usize>(pages: &[u32; C], first: u32, length: u32) -> bool {
    // Of 32-bit numbers, SSE2 compares signed ones alone: all are seen from where the least one of these is `first`.
    let origin = first.wrapping_sub(1 << 31);
    let last = length.wrapping_sub(1 << 31) as i32;
    !pages.iter().fold(true, |none, page| none & (page.wrapping_sub(origin) as i32 > last))
}
