//! A transaction's way through the SMMU, in the order of §3.3 and §7.3.22.

use super::nested::{Miss, close_both, walk_both};
use super::recent::{Kind, Known, Need};
use super::{Caches, Response, Smmu, Terminated, Transaction, Translation};
use crate::arch::addr::{Pa, Stage, align_down, low_mask};
use crate::arch::attributes::{Attributes, MemoryType, Shareability};
use crate::arch::entry::{Entry, Space};
use crate::arch::fault::{Class, Fault, Place};
use crate::arch::features::{Features, Version};
use crate::arch::id::{Asid, Stag};
use crate::cache::iotlb::{Answer, Gap, Hit, Packed, SpaceRefs};
use crate::env::Host;
use crate::env::memory::Memory;
use crate::env::trace::{NoTrace, Step, Trace};
use crate::format::cd::Cd;
use crate::format::event::{Event, EventKind, Requester};
use crate::format::regs::{Reg, cr0, cr2, gbpa};
use crate::format::ste::{Overrides, Stage2, Ste, Stream};
use crate::walk::geometry::select;
use crate::walk::permission::{Access, Demand};
use crate::walk::structures::{Context, StreamTable, context};
use crate::walk::{Forget, Found, Keep, ReadOnly, Walk, second_memory, second_space};

/// What the registers say about translation.
pub(super) struct Control {
    enabled: bool,
    bypass_aborts: bool,
    bypass: Overrides,
    pub(super) records_bad_stream: bool,
    pub(super) e2h: bool,
    pub(super) table: StreamTable,
}

/// A transaction that goes through.
pub(super) struct Passage {
    /// What translated it, unless it bypassed both stages.
    pub(super) entry: Option<Entry>,
    /// Its address, as `entry` knows it.
    pub(super) input: u64,
    pub(super) translation: Translation,
}

/// A transaction that does not go through.
#[derive(Clone, Copy)]
pub(super) struct Failure {
    /// What failed; `None` for an abort without a record.
    pub(super) fault: Option<Fault>,
    /// The transaction after the overrides of the STE, as far as they are known.
    pub(super) demand: Demand,
    /// What `CD.{A,R,S}` or `STE.{S2R,S2S}` make of it.
    pub(super) rule: Rule,
}

/// `A`, `R` and `S` (§5.5).
#[derive(Clone, Copy)]
pub(super) struct Rule {
    pub(super) abort: bool,
    pub(super) record: bool,
    pub(super) stall: bool,
}

impl Rule {
    /// Faults that nothing rules over abort and are recorded.
    pub(super) const FIRM: Self = Self { abort: true, record: true, stall: false };
}

impl<const N: usize> Smmu<N> {
    /// Translates one access, remembering what it learns.
    ///
    /// A fault is recorded in the event queue as the architecture says, and may raise an interrupt or a global error.
    /// Bounded work: at most 2 + 2 structure reads and 4 + 4 × 4 + 4 descriptor reads, a few of them again if tables
    /// change under a hardware update.
    ///
    /// # Errors
    /// [`Terminated`] says what the device behind the SMMU sees, and which record was made.
    #[inline(always)]
    pub fn translate<H: Host + ?Sized>(
        &mut self,
        transaction: &Transaction,
        host: &mut H,
    ) -> Result<Translation, Terminated> {
        let Some(place) = self.recents.find(transaction.stream, transaction.substream) else {
            return self.translate_anew(transaction, host);
        };
        // Hints that come in would have to be combined with the entry's.
        if transaction.memory != MemoryType::WRITE_BACK {
            return self.translate_anew(transaction, host);
        }
        if let Some(recent) = self.recents.at(place) {
            let need = recent.need(Kind::of(transaction));
            let address = transaction.address.0;
            if let Some(answer) = self.caches.iotlb.again(need.question(address), host) {
                return Ok(translation(answer, address, need));
            }
        }
        self.translate_known(place, transaction, host)
    }

    /// A stream that is known.
    #[inline(never)]
    fn translate_known<H: Host + ?Sized>(
        &mut self,
        place: usize,
        transaction: &Transaction,
        host: &mut H,
    ) -> Result<Translation, Terminated> {
        let address = transaction.address.0;
        let iotlb = &mut self.caches.iotlb;
        if let Some(recent) = self.recents.at(place) {
            let need = recent.need(Kind::of(transaction));
            if let Some(input) = recent.accept(address, need.privileged()) {
                match iotlb.hit(&recent.spaces, input) {
                    Ok(hit) => {
                        if iotlb.payload(hit.slot).is_some_and(|payload| payload.rights().has(need.rights()))
                            && let Some(payload) = iotlb.take(hit.slot, host)
                        {
                            let answer = Answer::of(need.question(address), address, payload, hit);
                            iotlb.remember(answer);
                            return Ok(translation(answer, address, need));
                        }
                    }
                    Err(gap) => {
                        // Where nobody watches, the usual walk needs no more than its descriptors.
                        if !host.watches()
                            && let Some(closed) = self.close(place, need, input, gap.as_ref(), host)
                        {
                            return match closed {
                                Ok((payload, log2_size)) => {
                                    let answer = Answer::of(0, address, payload, Hit { slot: 0, log2_size });
                                    Ok(translation(answer, address, need))
                                }
                                Err(fault) => Err(self.fail(place, transaction, need, fault, host)),
                            };
                        }
                        return self.translate_missed(place, transaction, input, host);
                    }
                }
            }
        }
        self.translate_anew(transaction, host)
    }

    /// Closes a gap by the usual walk to a leaf like the last one. An invalid descriptor is a fault; `None`, and nothing has
    /// happened, if it is anything else.
    #[inline(never)]
    fn close<H: Host + ?Sized>(
        &mut self,
        place: usize,
        need: Need,
        input: u64,
        gap: Option<&Gap>,
        host: &H,
    ) -> Option<Result<(Packed, u32), Fault>> {
        let Caches { iotlb, tables, keeps_tables, .. } = &mut self.caches;
        let (recent, known) = self.recents.known(place)?;
        if iotlb.is_stale(&recent.spaces) || !iotlb.is_bounded() {
            return None;
        }
        if known.stream.s2.is_some() {
            let miss = Miss { known, spaces: &mut recent.spaces, required: need.rights(), input, gap };
            return close_both(&mut self.caches, miss, host).map(Ok);
        }
        let upper = known.is_upper(input);
        let usual = known.usual(upper)?;
        let table = match keeps_tables {
            true => Some(known.last_table(input, tables.changes())?),
            false => None,
        };
        let (word, shift) = usual.leaf(table, input, host);
        let Some(character) = known.usual_character(word, shift, upper) else {
            return (word & 1 == 0).then_some(Err(Fault::Translation(Place::INPUT)));
        };
        let output = usual.output(word, shift)?;
        if !character.rights().has(need.rights()) {
            return None;
        }
        let payload = character.at(output);
        let first = input & (u64::MAX << (shift % 64));
        if let Some(gap) = gap.filter(|gap| gap.log2_size == shift && character.is_own()) {
            iotlb.close(gap, first, payload)?;
        } else {
            iotlb.fill(&mut recent.spaces, &known.space, first, shift, payload, &mut NoTrace)?;
        }
        Some(Ok((payload, shift)))
    }

    /// A miss of such a stream, which may use `input`.
    #[inline(never)]
    fn translate_missed<H: Host + ?Sized>(
        &mut self,
        place: usize,
        transaction: &Transaction,
        input: u64,
        host: &mut H,
    ) -> Result<Translation, Terminated> {
        let Self { caches, recents, .. } = self;
        let Some((recent, known)) = recents.known(place) else {
            return self.translate_anew(transaction, host);
        };
        if caches.iotlb.is_stale(&recent.spaces) {
            recent.spaces = caches.iotlb.references(&known.space);
            return self.translate_known(place, transaction, host);
        }
        if caches.iotlb.overflows() {
            return self.translate_anew(transaction, host);
        }
        self.translate_refilled(place, transaction, input, host)
    }

    /// The same by the walk that leaves nothing out.
    #[inline(never)]
    fn translate_refilled<H: Host + ?Sized>(
        &mut self,
        place: usize,
        transaction: &Transaction,
        input: u64,
        host: &mut H,
    ) -> Result<Translation, Terminated> {
        let Self { features, caches, recents, .. } = self;
        let address = transaction.address.0;
        let Some((recent, known)) = recents.known(place) else {
            return self.translate_anew(transaction, host);
        };
        let need = recent.need(Kind::of(transaction));
        let demand = need.demand(transaction.access);
        let mut walk = Walk { features, host, kept: caches, demand };
        match refill(&mut walk, known, &mut recent.spaces, input) {
            Ok((payload, hit)) => {
                Ok(translation(Answer::of(need.question(address), address, payload, hit), address, need))
            }
            Err(fault) => Err(self.fail(place, transaction, need, fault, host)),
        }
    }

    /// Ends a transaction of a known stream by what its CD and STE say.
    #[cold]
    #[inline(never)]
    fn fail<H: Host + ?Sized>(
        &mut self,
        place: usize,
        transaction: &Transaction,
        need: Need,
        fault: Fault,
        host: &mut H,
    ) -> Terminated {
        let known = self.recents.known(place);
        let rule = known.map_or(Rule::FIRM, |(_, known)| rule(&fault, &known.stream, Some(&known.cd)));
        let demand = need.demand(transaction.access);
        self.terminate(transaction, &Failure { fault: Some(fault), demand, rule }, host)
    }

    /// The long way: registers, structures, IOTLB, walk.
    #[inline(never)]
    fn translate_anew<H: Host + ?Sized>(
        &mut self,
        transaction: &Transaction,
        host: &mut H,
    ) -> Result<Translation, Terminated> {
        let control = self.control();
        match resolve(&self.features, &control, transaction, transaction.demand(), &mut self.caches, host) {
            Ok(passage) => {
                self.remember(transaction, &passage);
                Ok(passage.translation)
            }
            Err(failure) => Err(self.terminate(transaction, &failure, host)),
        }
    }

    /// Remembers what an entry of stage 1 has taught about its stream.
    fn remember(&mut self, transaction: &Transaction, passage: &Passage) {
        let Some(entry) = passage.entry.as_ref().filter(|entry| entry.s1.is_some()) else { return };
        let Transaction { stream: id, substream, .. } = *transaction;
        if self.recents.find(id, substream).is_some() {
            return;
        }
        let config = &self.caches.config;
        let Some(Ste::Translate(stream)) = config.ste(id) else { return };
        let Ok(Context::Cd(index)) = context(stream, substream) else { return };
        if stream.overrides.allocation.is_some() {
            return;
        }
        let Some(cd) = config.cd(id, index) else { return };
        let space = Space { asid: cd.asid, aset: cd.aset, ..entry.space };
        let spaces = self.caches.iotlb.references(&space);
        self.recents.keep(id, substream, Known::new(stream, cd, space, &self.features), spaces);
        self.caches.iotlb.forget_answers();
    }

    /// Translates one access from registers and memory alone: no caches, no records, no side effects. Flags that
    /// hardware would update count as updated.
    ///
    /// # Errors
    /// [`Terminated`]; a transaction that would stall shows the STAG 0.
    pub fn walk<M: Memory + ?Sized>(
        &self,
        transaction: &Transaction,
        memory: &M,
    ) -> Result<Translation, Terminated> {
        let control = self.control();
        let (demand, host) = (transaction.demand(), &mut ReadOnly(memory));
        let result = resolve(&self.features, &control, transaction, demand, &mut Forget, host);
        result.map(|passage| passage.translation).map_err(|failure| {
            let kind = failure.fault.and_then(|fault| EventKind::of(&fault));
            let Rule { abort, record, stall } = failure.rule;
            let response = match () {
                () if stall => Response::Stalled(Stag(0)),
                () if abort => Response::Abort,
                () => Response::RazWi,
            };
            Terminated { response, event: kind.filter(|_| record || stall) }
        })
    }

    pub(super) fn control(&self) -> Control {
        let registers = &self.registers;
        let bypass = registers.get(Reg::Gbpa);
        Control {
            enabled: registers.is_set(Reg::Cr0, cr0::SMMUEN),
            bypass_aborts: gbpa::ABORT.get(bypass) != 0,
            bypass: Overrides::from_gbpa(bypass, &self.features),
            records_bad_stream: registers.is_set(Reg::Cr2, cr2::RECINVSID),
            e2h: registers.is_set(Reg::Cr2, cr2::E2H),
            table: registers.stream_table(&self.features),
        }
    }

    /// Ends or holds a failed transaction.
    #[cold]
    pub(super) fn terminate<H: Host + ?Sized>(
        &mut self,
        transaction: &Transaction,
        failure: &Failure,
        host: &mut H,
    ) -> Terminated {
        let Failure { fault, demand, rule } = failure;
        let Some(mut fault) = *fault else { return Terminated { response: Response::Abort, event: None } };
        // Before SMMUv3.1 the record of an atomic access says write, whatever it lacked.
        if let (Fault::Permission(_, denied), Access::Atomic, Version::V3_0) =
            (&mut fault, demand.access, self.features.version)
        {
            denied.read = false;
        }
        let requester = Requester {
            stream: transaction.stream,
            substream: transaction.substream,
            input: transaction.address,
            privileged: demand.privileged,
            instruction: demand.instruction,
            read: demand.access == Access::Read,
        };
        let event = Event { fault, requester, stall: None };
        let kind = event.kind();
        // A transaction that cannot be held is terminated with an abort, as a client that cannot stall is.
        if rule.stall && self.stalls.has_room(&self.features) {
            let stag = self.stalls.fresh_stag();
            let event = Event { stall: Some(stag), ..event };
            host.step(&Step::Stalled(stag));
            let recorded = self.record_stall(&event, host);
            self.stalls.hold(*transaction, event, stag, recorded);
            return Terminated { response: Response::Stalled(stag), event: kind };
        }
        let record = rule.record || rule.stall;
        if record {
            self.record(&event, host);
        }
        let response = if rule.abort || rule.stall { Response::Abort } else { Response::RazWi };
        Terminated { response, event: kind.filter(|_| record) }
    }
}

/// Walks for a known stream, and keeps the translation: what it is, and where.
#[inline(always)]
fn refill<const N: usize, H: Host + ?Sized>(
    walk: &mut Walk<'_, H, Caches<N>>,
    known: &mut Known,
    spaces: &mut SpaceRefs,
    input: u64,
) -> Result<(Packed, Hit), Fault> {
    let upper = known.is_upper(input);
    let (payload, log2_size) = match known.path(upper) {
        Some(path) if known.stream.s2.is_none() => {
            let granule = path.granule;
            let found = walk.find_leaf_alone(path, &known.space, input)?;
            if walk.kept.keeps_tables {
                known.keep_table(upper, input, &found, walk.kept.tables.changes());
            }
            let alike = known.alike(&found, upper);
            match alike.filter(|character| character.rights().has(walk.demand.required())) {
                Some(character) => (character.at(found.output), granule.level_shift(found.level)),
                None => study(walk, known, upper, input, &found)?,
            }
        }
        _ => walk_both(walk, known, upper, input)?,
    };
    let first = align_down(input, log2_size);
    let slot = walk.kept.iotlb.fill(spaces, &known.space, first, log2_size, payload, walk.host);
    Ok((payload, Hit { slot: slot.unwrap_or(u32::MAX), log2_size }))
}

/// What a leaf becomes that is like none before: later ones may be like it.
#[inline(never)]
fn study<const N: usize, H: Host + ?Sized>(
    walk: &mut Walk<'_, H, Caches<N>>,
    known: &mut Known,
    upper: bool,
    input: u64,
    found: &Found,
) -> Result<(Packed, u32), Fault> {
    let Some(half) = known.half(upper) else { return Err(Fault::BadCd) };
    let entry = walk.entry_of(&known.stream, &known.cd, half, &known.space, input, *found)?;
    known.learn(found, upper, &entry);
    Ok((Packed::new(&entry), entry.log2_size.into()))
}

/// Where an access goes that was answered.
#[inline(always)]
fn translation(answer: Answer, address: u64, need: Need) -> Translation {
    let attributes = Attributes {
        memory: answer.memory,
        sh: answer.sh,
        privileged: need.privileged(),
        instruction: need.instruction(),
    };
    Translation { pa: Pa(answer.output(address)), span: answer.span(address), attributes }
}

impl Transaction {
    /// What the transaction needs, as it arrives.
    pub(super) const fn demand(&self) -> Demand {
        Demand {
            access: self.access,
            privileged: self.privileged,
            instruction: self.instruction && matches!(self.access, Access::Read),
            asks: false,
        }
    }

    /// Memory type and shareability after the overrides of the STE or GBPA.
    fn incoming(&self, overrides: &Overrides) -> (MemoryType, Shareability) {
        let memory = overrides
            .memory_type
            .map_or(self.memory, |code| MemoryType::from_stage2(code).hinted_by(self.memory));
        let memory = overrides.allocation.map_or(memory, |hints| memory.with_allocation(hints));
        (memory, overrides.shareability.map_or(self.sh, Shareability::from_sh))
    }

    /// The attributes of a transaction that no stage translates (§13.1.2).
    pub(super) fn attributes(&self, overrides: &Overrides, demand: Demand) -> Attributes {
        let (memory, sh) = self.incoming(overrides);
        attributes(memory, sh, demand)
    }

    /// The attributes of a transaction that stage 2 alone translates (§13.1.4).
    pub(super) fn through_stage2(
        &self,
        overrides: &Overrides,
        demand: Demand,
        (memory_s2, sh_s2): (u8, Shareability),
        s2: &Stage2,
    ) -> Attributes {
        let (memory, sh) = self.incoming(overrides);
        attributes(second_memory(memory, memory_s2, s2), sh.of(memory).combine(sh_s2), demand)
    }
}

fn attributes(memory: MemoryType, sh: Shareability, demand: Demand) -> Attributes {
    let Demand { privileged, instruction, .. } = demand;
    Attributes { memory, sh: sh.of(memory), privileged, instruction }
}

/// The whole procedure, with or without memory of earlier transactions.
pub(super) fn resolve<H: Memory + Trace + ?Sized, K: Keep>(
    features: &Features,
    control: &Control,
    transaction: &Transaction,
    incoming: Demand,
    kept: &mut K,
    host: &mut H,
) -> Result<Passage, Failure> {
    let fail = |fault: Option<Fault>, demand: Demand, rule: Rule| Failure { fault, demand, rule };
    let firm = |fault: Fault| fail(Some(fault), incoming, Rule::FIRM);
    let address = transaction.address.0;
    let physical = low_mask(features.oas_bits.into());
    let bypass = |overrides: &Overrides, demand: Demand| {
        let attributes = transaction.attributes(overrides, demand);
        let span = (physical - address).saturating_add(1);
        Passage {
            entry: None,
            input: address,
            translation: Translation { pa: Pa(address), span, attributes },
        }
    };

    if !control.enabled {
        let refused = control.bypass_aborts || address > physical;
        let demand = apply(&control.bypass, incoming);
        return if refused {
            Err(fail(None, demand, Rule::FIRM))
        } else {
            Ok(bypass(&control.bypass, demand))
        };
    }

    // The stream table entry.
    let mut walk = Walk { features, host, kept, demand: incoming };
    let ste = walk.ste(&control.table, transaction.stream, control.e2h).map_err(|fault| match fault {
        Fault::BadStreamId if !control.records_bad_stream => fail(None, incoming, Rule::FIRM),
        fault => firm(fault),
    })?;
    let stream = match &ste {
        Ste::Abort { .. } => return Err(fail(None, incoming, Rule::FIRM)),
        Ste::Bypass { overrides, .. } => {
            let demand = apply(overrides, incoming);
            return if transaction.substream.is_some() {
                Err(firm(Fault::BadSubstreamId))
            } else if address > physical {
                Err(fail(Some(Fault::BypassAddrSize), demand, Rule::FIRM))
            } else {
                Ok(bypass(overrides, demand))
            };
        }
        Ste::Translate(stream) => stream,
    };
    let demand = apply(&stream.overrides, incoming);
    walk.demand = demand;

    // The context descriptor.
    let base = Space { world: stream.world, stage: Stage::S1, vmid: stream.vmid, asid: Asid(0), aset: false };
    let cd = match context(stream, transaction.substream).map_err(firm)? {
        Context::Bypass => None,
        Context::Cd(index) => {
            let cd = walk.cd(stream, transaction.stream, index, &base);
            Some(cd.map_err(|fault| fail(Some(fault), demand, rule(&fault, stream, None)))?)
        }
    };
    let cd = cd.as_ref();
    let refuse = |fault: Fault| fail(Some(fault), demand, rule(&fault, stream, cd));

    // The address.
    let (space, input) = match cd {
        Some(cd) => {
            let Some((_, input)) = select(cd, stream.world, demand.privileged, address) else {
                return Err(refuse(Fault::Translation(Place::INPUT)));
            };
            (Space { asid: cd.asid, aset: cd.aset, ..base }, input)
        }
        None => {
            if address > low_mask(features.ias_bits()) {
                return Err(refuse(Fault::BypassAddrSize));
            }
            if stream.s2.is_none() {
                return Ok(bypass(&stream.overrides, demand));
            }
            (second_space(&base), address)
        }
    };
    // Writing through a writable-clean entry needs a walk that marks its descriptor dirty.
    let found = walk.kept.find(&space, input, walk.host).filter(|entry| !(entry.clean && demand.writes()));
    let entry = match found {
        Some(entry) => {
            check(&entry, demand, input).map_err(refuse)?;
            entry
        }
        None => {
            let entry = walk.translate(stream, cd, &space, input).map_err(refuse)?;
            walk.kept.keep(&entry, walk.host);
            entry
        }
    };
    let attributes = match (&entry.s1, &stream.s2) {
        (None, Some(s2)) => {
            transaction.through_stage2(&stream.overrides, demand, (entry.memory_s2, entry.sh), s2)
        }
        _ => {
            let hints = stream.overrides.allocation;
            let incoming =
                hints.map_or(transaction.memory, |hints| transaction.memory.with_allocation(hints));
            attributes(entry.memory.hinted_by(incoming), entry.sh, demand)
        }
    };
    let offset = input - entry.input;
    let translation =
        Translation { pa: entry.output.offset(offset), span: (1 << entry.log2_size) - offset, attributes };
    Ok(Passage { entry: Some(entry), input, translation })
}

/// What a remembered translation allows: stage 1 decides first.
fn check(entry: &Entry, demand: Demand, input: u64) -> Result<(), Fault> {
    demand.check(entry.rights_s1).map_err(|denied| Fault::Permission(Place::INPUT, denied))?;
    demand.check(entry.rights_s2).map_err(|denied| {
        let ipa = entry.ipa.offset(input - entry.input);
        Fault::Permission(Place { stage: Stage::S2, class: Class::In, ipa }, denied)
    })
}

/// `A`, `R` and `S` of the stage that failed.
fn rule(fault: &Fault, stream: &Stream, cd: Option<&Cd>) -> Rule {
    match (fault.ruled_by(), cd, &stream.s2) {
        (Some(Stage::S1), Some(cd), _) => Rule { abort: cd.abort, record: cd.record, stall: cd.stall },
        (Some(Stage::S2), _, Some(s2)) => Rule { abort: true, record: s2.record, stall: s2.stall },
        _ => Rule::FIRM,
    }
}

/// `PRIVCFG` and `INSTCFG`; a write is never an instruction fetch, but a request may ask for both.
pub(super) fn apply(overrides: &Overrides, demand: Demand) -> Demand {
    Demand {
        privileged: overrides.privileged.unwrap_or(demand.privileged),
        instruction: overrides.instruction.unwrap_or(demand.instruction)
            && (demand.access == Access::Read || demand.asks),
        ..demand
    }
}
