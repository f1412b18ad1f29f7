//! The truth without caches: from registers, memory and a transaction to an address or a fault.
//!
//! A `Walk` borrows memory and something that may remember ([`Keep`]). With [`Forget`] it is a pure function of
//! memory; with the device's caches it is what a translation miss does. There is no second implementation: a guest
//! that invalidates as it must cannot tell the two apart. The walk knows no queue and no event record.

pub mod geometry;
pub mod permission;
pub(crate) mod second;
mod stage1;
mod stage2;
pub mod structures;

pub(crate) use geometry::{At, Descent, Usual};
pub(crate) use second::Second;
pub(crate) use stage1::{Found, Path};

use crate::arch::addr::{Granule, Ipa, Level, Pa, Stage, align_down};
use crate::arch::attributes::MemoryType;
use crate::arch::entry::{Entry, Space, TableEntry, TableLimits};
use crate::arch::fault::{Class, Denied, Fault, Place};
use crate::arch::features::Features;
use crate::arch::id::{Asid, StreamId, SubstreamId};
use crate::env::interrupt::{Interrupt, Interrupts};
use crate::env::memory::{Abort, Memory};
use crate::env::trace::{Step, Trace};
use crate::format::cd::Cd;
use crate::format::ste::{Stage2, Ste, Stream};
use permission::{Access, Demand};

/// Tries at a walk whose descriptor changed under a hardware update (§3.13) before it is given up.
const RESTARTS: u32 = 8;

/// What becomes of hardware updates of translation tables (§3.13).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Updates {
    /// They are written to memory.
    Written,
    /// They count as written, and everything that could keep them from it is checked.
    Assumed,
    /// They are not asked for: flags count as they would be (`HTTUI` of ATOS).
    Unasked,
}

/// A table on the way to a leaf, as a walk goes on from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Table {
    /// Its address: see [`TableEntry::next`].
    pub next: u64,
    /// The level of the descriptor that names it.
    pub level: Level,
    /// What that descriptor and those above it forbid.
    pub limits: TableLimits,
}

/// What transactions may remember for later ones. Every method's default remembers nothing.
pub trait Keep {
    /// What becomes of hardware updates of Access flag and dirty state.
    const UPDATES: Updates;

    /// The STE of `stream`.
    fn find_ste(&mut self, _stream: StreamId) -> Option<Ste> {
        None
    }

    /// Offers an STE.
    fn keep_ste(&mut self, _stream: StreamId, _ste: &Ste) {}

    /// The CD of `stream` and `substream`.
    fn find_cd(&mut self, _stream: StreamId, _substream: SubstreamId) -> Option<Cd> {
        None
    }

    /// Offers a CD.
    fn keep_cd(&mut self, _stream: StreamId, _substream: SubstreamId, _cd: &Cd) {}

    /// A translation of `input` in `space`.
    fn find<T: Trace + ?Sized>(&mut self, _space: &Space, _input: u64, _trace: &mut T) -> Option<Entry> {
        None
    }

    /// Offers a translation.
    fn keep<T: Trace + ?Sized>(&mut self, _entry: &Entry, _trace: &mut T) {}

    /// A stage 2 translation of `ipa` in `space`.
    fn find_second<T: Trace + ?Sized>(
        &mut self,
        _space: &Space,
        _ipa: Ipa,
        _trace: &mut T,
    ) -> Option<Second> {
        None
    }

    /// Offers a stage 2 translation of `ipa` in `space`.
    fn keep_second<T: Trace + ?Sized>(
        &mut self,
        _space: &Space,
        _ipa: Ipa,
        _second: &Second,
        _trace: &mut T,
    ) {
    }

    /// Stage 2 of `ipa` for an access of `class` that needs rights, of the translations of `space` or of the space of stage 2
    /// beside it, if it is as usual: done, with all that remembering it takes. Otherwise nothing has happened.
    #[inline]
    #[expect(clippy::too_many_arguments, reason = "all of an access")]
    fn usual_second<H: Memory + Trace + ?Sized>(
        &mut self,
        _s2: &Stage2,
        _space: &Space,
        _ipa: Ipa,
        _class: Class,
        _required: u8,
        _writes: bool,
        _host: &H,
    ) -> Option<Second> {
        None
    }

    /// Tells which leaf `word`, read at `location`, has become `second`.
    #[expect(clippy::too_many_arguments, reason = "all of a walk")]
    fn learn_second(
        &mut self,
        _s2: &Stage2,
        _space: &Space,
        _ipa: Ipa,
        _word: u64,
        _location: Pa,
        _second: &Second,
        _features: &Features,
    ) {
    }

    /// The table descriptor of `granule` nearest to the leaf of `input`, at level `start` or below.
    fn find_table<T: Trace + ?Sized>(
        &mut self,
        _space: &Space,
        _granule: Granule,
        _start: Level,
        _input: u64,
        _trace: &mut T,
    ) -> Option<Table> {
        None
    }

    /// Whether table descriptors are worth offering.
    fn keeps_tables(&self) -> bool {
        false
    }

    /// Offers a table descriptor.
    fn keep_table<T: Trace + ?Sized>(&mut self, _entry: &TableEntry, _trace: &mut T) {}
}

/// Remembers nothing and changes nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Forget;

impl Keep for Forget {
    const UPDATES: Updates = Updates::Assumed;
}

/// Remembers nothing, and asks for no hardware updates.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Inhibit;

impl Keep for Inhibit {
    const UPDATES: Updates = Updates::Unasked;
}

/// Memory that is only read, without interrupts or a watcher: what the pure walk lends.
pub(crate) struct ReadOnly<'a, M: ?Sized>(pub(crate) &'a M);

impl<M: Memory + ?Sized> Memory for ReadOnly<'_, M> {
    fn read(&self, address: Pa, data: &mut [u8]) -> Result<(), Abort> {
        self.0.read(address, data)
    }

    fn write(&mut self, _: Pa, _: &[u8]) -> Result<(), Abort> {
        Err(Abort)
    }

    fn read_u64(&self, address: Pa) -> Result<u64, Abort> {
        self.0.read_u64(address)
    }
}

impl<M: ?Sized> Interrupts for ReadOnly<'_, M> {
    fn pulse(&mut self, _: Interrupt) {}
}

impl<M: ?Sized> Trace for ReadOnly<'_, M> {
    fn step(&mut self, _: &Step) {}
}

/// One transaction's walk.
pub(crate) struct Walk<'a, H: ?Sized, K> {
    pub(crate) features: &'a Features,
    pub(crate) host: &'a mut H,
    pub(crate) kept: &'a mut K,
    /// What the transaction does, after the overrides of the STE.
    pub(crate) demand: Demand,
}

impl<H: Memory + Trace + ?Sized, K: Keep> Walk<'_, H, K> {
    /// Translates `input` by the stages that `stream` enables; `cd` is its context, unless stage 1 is bypassed.
    ///
    /// `space` is that of the result. Bounded: at most four descriptors a stage, each of stage 1's through stage 2, and
    /// [`RESTARTS`] tries.
    ///
    /// # Errors
    /// The first [`Fault`] in the order of §7.3.22.
    pub(crate) fn translate(
        &mut self,
        stream: &Stream,
        cd: Option<&Cd>,
        space: &Space,
        input: u64,
    ) -> Result<Entry, Fault> {
        let Some(cd) = cd else {
            // Without stage 1 the input is an IPA; a stream that enables neither stage never gets here.
            let Some(s2) = &stream.s2 else { return Err(Fault::BadSte) };
            let second = self.stage2(s2, space, Ipa(input), Class::In)?;
            return Ok(second.entry(space, Ipa(input)));
        };
        let first = self.stage1(stream, cd, space, input)?;
        self.after_first(stream, first, space, input)
    }

    /// Goes on with what stage 1 has made of `input`.
    pub(crate) fn after_first(
        &mut self,
        stream: &Stream,
        first: Entry,
        space: &Space,
        input: u64,
    ) -> Result<Entry, Fault> {
        let Some(s2) = &stream.s2 else { return Ok(first) };
        let ipa = first.ipa.offset(input - first.input);
        // What stage 1 does not allow is not asked of stage 2.
        if self.demand.asks {
            if !self.demand.is_granted_anything(first.rights_s1) {
                return Err(Fault::Permission(at_input(), Denied { read: true, table_write: false }));
            }
            if !self.demand.dirties(first.rights_s1) {
                self.demand.access = Access::Read;
            }
        }
        let second = self.stage2(s2, &second_space(space), ipa, Class::In)?;
        Ok(combine(first, &second, s2, input, ipa))
    }
}

impl<H: Memory + Trace + ?Sized, K: Keep> Walk<'_, H, K> {
    /// Stage 1 alone of a stream that may have both: an entry whose output is an IPA, with the address that it is to be
    /// entered at. `None` if stage 1 is bypassed. Not remembered, since remembered entries combine both stages.
    ///
    /// # Errors
    /// The first [`Fault`] of the context and of stage 1.
    pub(crate) fn first_stage(
        &mut self,
        stream: &Stream,
        id: StreamId,
        substream: Option<SubstreamId>,
        address: u64,
    ) -> Result<Option<(Entry, u64)>, Fault> {
        let base =
            Space { world: stream.world, stage: Stage::S1, vmid: stream.vmid, asid: Asid(0), aset: false };
        let structures::Context::Cd(index) = structures::context(stream, substream)? else { return Ok(None) };
        let cd = self.cd(stream, id, index, &base)?;
        let space = Space { asid: cd.asid, aset: cd.aset, ..base };
        let Some((_, input)) = geometry::select(&cd, space.world, self.demand.privileged, address) else {
            return Err(Fault::Translation(Place::INPUT));
        };
        self.stage1(stream, &cd, &space, input).map(|entry| Some((entry, input)))
    }
}

/// The space of stage 2 translations that a nested walk in `space` uses.
pub(crate) fn second_space(space: &Space) -> Space {
    Space { stage: Stage::S2, asid: Asid(0), aset: false, ..*space }
}

/// One entry for both stages: as large as the smaller leaf, with the rights of each.
pub(crate) fn combine(first: Entry, second: &Second, s2: &Stage2, input: u64, ipa: Ipa) -> Entry {
    let size = u32::from(first.log2_size).min(second.log2_size());
    let memory = second_memory(first.memory, second.memory(), s2);
    Entry {
        input: align_down(input, size),
        log2_size: size as u8,
        ipa: Ipa(align_down(ipa.0, size)),
        output: Pa(align_down(second.at(ipa).0, size)),
        s2: second.leaf(),
        rights_s2: second.rights(),
        clean: first.clean || second.is_clean(),
        memory,
        sh: first.sh.combine(second.sh()).of(memory),
        memory_s2: second.memory(),
        ..first
    }
}

/// The memory type `first` after stage 2 (§13.1.5, DDI 0487 §D8.6).
pub(crate) fn second_memory(first: MemoryType, memory_s2: u8, s2: &Stage2) -> MemoryType {
    if s2.force_write_back {
        first.forced(memory_s2)
    } else {
        first.combine(MemoryType::from_stage2(memory_s2))
    }
}

/// Stage 1, at the transaction's input address.
const fn at_input() -> Place {
    Place::INPUT
}
