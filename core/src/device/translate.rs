//! A transaction's way through the SMMU, in the order of §3.3 and §7.3.22.

use super::{Response, Smmu, Terminated, Transaction, Translation};
use crate::arch::addr::Stage;
use crate::arch::addr::{Pa, low_mask};
use crate::arch::entry::{Entry, Space};
use crate::arch::fault::{Class, Fault, Place};
use crate::arch::features::Features;
use crate::arch::id::Asid;
use crate::env::Host;
use crate::env::memory::Memory;
use crate::env::trace::{Step, Trace};
use crate::format::cd::Cd;
use crate::format::event::{Event, EventKind, Requester};
use crate::format::regs::{Reg, cr0, cr2, gbpa};
use crate::format::ste::{Overrides, Ste, Stream};
use crate::walk::geometry::select;
use crate::walk::permission::{Access, Demand};
use crate::walk::structures::{Context, StreamTable, context};
use crate::walk::{Forget, Keep, ReadOnly, Walk, second_space};

/// What the registers say about translation.
struct Control {
    enabled: bool,
    bypass_aborts: bool,
    records_bad_stream: bool,
    e2h: bool,
    table: StreamTable,
}

/// A transaction that does not go through.
struct Failure {
    /// What failed; `None` for an abort without a record.
    fault: Option<Fault>,
    /// The transaction after the overrides of the STE, as far as they are known.
    demand: Demand,
    /// What `CD.{A,R,S}` or `STE.{S2R,S2S}` make of it.
    rule: Rule,
}

/// `A`, `R` and `S` (§5.5).
#[derive(Clone, Copy)]
struct Rule {
    abort: bool,
    record: bool,
    stall: bool,
}

impl Rule {
    /// Faults that nothing rules over abort and are recorded.
    const FIRM: Self = Self { abort: true, record: true, stall: false };
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
    pub fn translate<H: Host + ?Sized>(
        &mut self,
        transaction: &Transaction,
        host: &mut H,
    ) -> Result<Translation, Terminated> {
        let control = self.control();
        match resolve(&self.features, &control, transaction, &mut self.caches, host) {
            Ok(translation) => Ok(translation),
            Err(failure) => Err(self.terminate(transaction, &failure, host)),
        }
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
        resolve(&self.features, &control, transaction, &mut Forget, &mut ReadOnly(memory)).map_err(
            |failure| {
                let kind = failure.fault.and_then(|fault| EventKind::of(&fault));
                let Rule { abort, record, stall } = failure.rule;
                let response = match () {
                    () if stall => Response::Stalled(crate::arch::id::Stag(0)),
                    () if abort => Response::Abort,
                    () => Response::RazWi,
                };
                Terminated { response, event: kind.filter(|_| record || stall) }
            },
        )
    }

    fn control(&self) -> Control {
        let registers = &self.registers;
        Control {
            enabled: registers.is_set(Reg::Cr0, cr0::SMMUEN),
            bypass_aborts: registers.is_set(Reg::Gbpa, gbpa::ABORT),
            records_bad_stream: registers.is_set(Reg::Cr2, cr2::RECINVSID),
            e2h: registers.is_set(Reg::Cr2, cr2::E2H),
            table: registers.stream_table(&self.features),
        }
    }

    /// Ends or holds a failed transaction.
    #[cold]
    fn terminate<H: Host + ?Sized>(
        &mut self,
        transaction: &Transaction,
        failure: &Failure,
        host: &mut H,
    ) -> Terminated {
        let Failure { fault, demand, rule } = failure;
        let Some(fault) = *fault else { return Terminated { response: Response::Abort, event: None } };
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

/// The whole procedure, with or without memory of earlier transactions.
fn resolve<H: Memory + Trace + ?Sized, K: Keep>(
    features: &Features,
    control: &Control,
    transaction: &Transaction,
    kept: &mut K,
    host: &mut H,
) -> Result<Translation, Failure> {
    let incoming = Demand {
        access: transaction.access,
        privileged: transaction.privileged,
        instruction: transaction.instruction && transaction.access == Access::Read,
    };
    let fail = |fault: Option<Fault>, demand: Demand, rule: Rule| Failure { fault, demand, rule };
    let firm = |fault: Fault| fail(Some(fault), incoming, Rule::FIRM);
    let address = transaction.address.0;
    let physical = low_mask(features.oas_bits.into());

    if !control.enabled {
        let refused = control.bypass_aborts || address > physical;
        return if refused { Err(fail(None, incoming, Rule::FIRM)) } else { Ok(bypass(address, physical)) };
    }

    // The stream table entry.
    let mut walk = Walk { features, host, kept, demand: incoming };
    let ste = match walk.kept.find_ste(transaction.stream) {
        Some(ste) => ste,
        None => {
            let ste =
                walk.fetch_ste(&control.table, transaction.stream, control.e2h).map_err(
                    |fault| match fault {
                        Fault::BadStreamId if !control.records_bad_stream => fail(None, incoming, Rule::FIRM),
                        fault => firm(fault),
                    },
                )?;
            walk.kept.keep_ste(transaction.stream, &ste);
            ste
        }
    };
    let stream = match &ste {
        Ste::Abort => return Err(fail(None, incoming, Rule::FIRM)),
        Ste::Bypass(overrides) => {
            if transaction.substream.is_some() {
                return Err(firm(Fault::BadSubstreamId));
            }
            if address > physical {
                return Err(fail(Some(Fault::BypassAddrSize), apply(overrides, incoming), Rule::FIRM));
            }
            return Ok(bypass(address, physical));
        }
        Ste::Translate(stream) => stream,
    };
    let demand = apply(&stream.overrides, incoming);
    walk.demand = demand;

    // The context descriptor.
    let base = Space { world: stream.world, stage: Stage::S1, vmid: stream.vmid, asid: Asid(0), aset: false };
    let cd = match context(stream, transaction.substream).map_err(firm)? {
        Context::Bypass => None,
        Context::Cd(substream) => Some(match walk.kept.find_cd(transaction.stream, substream) {
            Some(cd) => cd,
            None => {
                let cd = walk
                    .fetch_cd(stream, transaction.stream, substream, &base)
                    .map_err(|fault| fail(Some(fault), demand, rule(&fault, stream, None)))?;
                walk.kept.keep_cd(transaction.stream, substream, &cd);
                cd
            }
        }),
    };
    let cd = cd.as_ref();
    let refuse = |fault: Fault| fail(Some(fault), demand, rule(&fault, stream, cd));

    // The address.
    let (space, input) = match cd {
        Some(cd) => {
            let Some((_, input)) = select(cd, stream.world, address) else {
                return Err(refuse(Fault::Translation(Place::INPUT)));
            };
            (Space { asid: cd.asid, aset: cd.aset, ..base }, input)
        }
        None => {
            if address > low_mask(features.ias_bits()) {
                return Err(refuse(Fault::BypassAddrSize));
            }
            if stream.s2.is_none() {
                return Ok(bypass(address, physical));
            }
            (second_space(&base), address)
        }
    };
    if let Some(entry) = walk.kept.find(&space, input, walk.host) {
        // Writing through a writable-clean entry needs a walk that marks its descriptor dirty.
        if !(entry.clean && demand.writes()) {
            check(&entry, demand, input).map_err(refuse)?;
            return Ok(through(&entry, input));
        }
    }
    let entry = walk.translate(stream, cd, &space, input).map_err(refuse)?;
    walk.kept.keep(&entry, walk.host);
    Ok(through(&entry, input))
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

/// `PRIVCFG` and `INSTCFG`; a write is never an instruction fetch.
fn apply(overrides: &Overrides, demand: Demand) -> Demand {
    Demand {
        privileged: overrides.privileged.unwrap_or(demand.privileged),
        instruction: overrides.instruction.unwrap_or(demand.instruction) && demand.access == Access::Read,
        ..demand
    }
}

/// An address that no stage translates.
const fn bypass(address: u64, last: u64) -> Translation {
    Translation { pa: Pa(address), span: (last - address).saturating_add(1) }
}

/// An address that `entry` translates.
fn through(entry: &Entry, input: u64) -> Translation {
    let offset = input - entry.input;
    Translation { pa: entry.output.offset(offset), span: (1 << entry.log2_size) - offset }
}
