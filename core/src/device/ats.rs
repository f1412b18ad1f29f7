//! PCIe Address Translation Services: translation requests and translated transactions (§3.9, §7.3.6 to §7.3.8).

use super::translate::{Failure, Passage, Rule, apply, resolve};
use super::{Smmu, Terminated, Transaction, Translation};
use crate::arch::addr::{Ipa, Pa, Stage, low_mask};
use crate::arch::entry::{Entry, Rights, Space};
use crate::arch::fault::{Class, Fault};
use crate::arch::features::Features;
use crate::arch::id::Asid;
use crate::env::Host;
use crate::format::regs::{Reg, cr0, cr2};
use crate::format::ste::{Ats, Overrides, Ste, Stream};
use crate::walk::Walk;
use crate::walk::permission::Demand;

/// A translation completion: Success.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct AtsGrant {
    /// Where the requested address is; `None` where neither reading nor writing is granted. With split-stage ATS this is
    /// an intermediate physical address.
    pub address: Option<u64>,
    /// Bytes from `address` on that the completion covers: one translation unit where nothing is granted.
    pub span: u64,
    /// `R`.
    pub read: bool,
    /// `W`.
    pub write: bool,
    /// `Exe`: granted only to requests that ask for it and have a PASID.
    pub execute: bool,
}

/// A translation completion that is no Success.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum AtsRefusal {
    /// UR: the device may not use ATS.
    UnsupportedRequest,
    /// CA: the configuration is bad.
    CompleterAbort,
}

impl<const N: usize> Smmu<N> {
    /// A translation request. `Access::Read` is a request with `NW` = 1: it makes no page dirty, and is granted writing only
    /// where nothing has to be made ready for it. Without a PASID there is neither privilege nor execution.
    ///
    /// It never stalls and records nothing, but for F_BAD_ATS_TREQ and, with `CR2.REC_CFG_ATS`, configuration errors.
    ///
    /// # Errors
    /// [`AtsRefusal`].
    pub fn translation_request<H: Host + ?Sized>(
        &mut self,
        transaction: &Transaction,
        host: &mut H,
    ) -> Result<AtsGrant, AtsRefusal> {
        // Reading, writing and executing are asked for independently.
        let pasid = transaction.substream.is_some();
        let asked = Demand {
            asks: true,
            privileged: transaction.privileged && pasid,
            instruction: transaction.instruction && pasid,
            ..transaction.demand()
        };
        if !self.registers.is_set(Reg::Cr0, cr0::SMMUEN) {
            return Err(self.bad_request(transaction, asked, host));
        }
        let control = self.control();
        let mut walk = Walk { features: &self.features, host, kept: &mut self.caches, demand: asked };
        let stream = match walk.ste(&control.table, transaction.stream, control.e2h) {
            Ok(Ste::Translate(stream)) => stream,
            Ok(Ste::Abort { .. }) => return Err(AtsRefusal::UnsupportedRequest),
            Ok(Ste::Bypass { .. }) => return Err(self.bad_request(transaction, asked, host)),
            Err(fault) => {
                let records = control.records_bad_stream;
                self.record_configuration_error(transaction, fault, asked, records, host);
                return Err(AtsRefusal::CompleterAbort);
            }
        };
        let split = match stream.ats {
            Ats::Full => false,
            Ats::SplitStage if self.registers.is_set(Reg::Cr0, cr0::ATSCHK) => true,
            _ => return Err(self.bad_request(transaction, asked, host)),
        };
        match resolve(&self.features, &control, transaction, asked, &mut self.caches, host) {
            Ok(Passage { entry: Some(entry), input, .. }) => Ok(self.grant(
                &entry,
                input,
                asked.instruction,
                &stream.overrides,
                apply(&stream.overrides, asked),
                split,
            )),
            // Stage 1 is bypassed and there is no stage 2: the identity, for everything unprivileged.
            Ok(Passage { entry: None, translation, .. }) => Ok(AtsGrant {
                address: Some(translation.pa.0),
                span: translation.span,
                read: true,
                write: true,
                execute: false,
            }),
            // A page that is not there, or a table or structure that may not be used.
            Err(Failure {
                fault:
                    Some(
                        Fault::Translation(_)
                        | Fault::AddrSize(_)
                        | Fault::Access(_)
                        | Fault::Permission(..)
                        | Fault::BypassAddrSize,
                    ),
                ..
            }) => Ok(self.nothing()),
            Err(failure) => {
                if let Some(fault) = failure.fault {
                    let records = control.records_bad_stream;
                    self.record_configuration_error(transaction, fault, failure.demand, records, host);
                }
                Err(AtsRefusal::CompleterAbort)
            }
        }
    }

    /// Success without any permission: one translation unit, which is the smallest granule.
    const fn nothing(&self) -> AtsGrant {
        let Features { gran4k, gran16k, .. } = self.features;
        let log2_unit = if gran4k { 12 } else { 16 - if gran16k { 2 } else { 0 } };
        AtsGrant { address: None, span: 1 << log2_unit, read: false, write: false, execute: false }
    }

    /// What an entry grants to a request (§13.7): what both stages allow, though the address may be stage 1's.
    fn grant(
        &self,
        entry: &Entry,
        input: u64,
        executes: bool,
        overrides: &Overrides,
        demand: Demand,
        split: bool,
    ) -> AtsGrant {
        let rights = Rights(entry.rights_s1.0 & entry.rights_s2.0);
        let has = |unprivileged: u8| {
            rights.has(if demand.privileged {
                unprivileged >> Rights::UNPRIVILEGED_SHIFT
            } else {
                unprivileged
            })
        };
        // `INSTCFG` decides what reading is; nothing is granted for execution alone.
        let read = has(if overrides.instruction == Some(true) { Rights::UX } else { Rights::UR });
        let execute = executes && read && (overrides.instruction.is_some() || has(Rights::UX));
        // A writable-clean page is granted for writing only once it is dirty, which a request with NW = 1 does not make it.
        let write = has(Rights::UW) && !entry.clean;
        if !(read || write) {
            return self.nothing();
        }
        let offset = input - entry.input;
        let first = if split { entry.ipa.0 } else { entry.output.0 };
        AtsGrant {
            address: Some(first + offset),
            span: (1 << entry.log2_size) - offset,
            read,
            write,
            execute,
        }
    }

    /// UR and F_BAD_ATS_TREQ.
    fn bad_request<H: Host + ?Sized>(
        &mut self,
        transaction: &Transaction,
        demand: Demand,
        host: &mut H,
    ) -> AtsRefusal {
        let failure = Failure { fault: Some(Fault::BadAtsTreq), demand, rule: Rule::FIRM };
        self.terminate(transaction, &failure, host);
        AtsRefusal::UnsupportedRequest
    }

    /// Records a configuration error of ATS or PRI traffic, if `CR2.REC_CFG_ATS` asks for it; one of the StreamID only if
    /// `bad_stream` does as well.
    pub(super) fn record_configuration_error<H: Host + ?Sized>(
        &mut self,
        transaction: &Transaction,
        fault: Fault,
        demand: Demand,
        bad_stream: bool,
        host: &mut H,
    ) {
        let hidden = fault == Fault::BadStreamId && !bad_stream;
        if self.registers.is_set(Reg::Cr2, cr2::REC_CFG_ATS) && !hidden {
            self.terminate(transaction, &Failure { fault: Some(fault), demand, rule: Rule::FIRM }, host);
        }
    }

    /// A transaction whose address its device has translated by an earlier request.
    ///
    /// # Errors
    /// [`Terminated`].
    pub fn translated<H: Host + ?Sized>(
        &mut self,
        transaction: &Transaction,
        host: &mut H,
    ) -> Result<Translation, Terminated> {
        let demand = transaction.demand();
        let silent = Failure { fault: None, demand, rule: Rule::FIRM };
        let address = transaction.address.0;
        let physical = low_mask(self.features.oas_bits.into());
        if !self.features.ats || !self.registers.is_set(Reg::Cr0, cr0::SMMUEN) {
            return Err(self.terminate(transaction, &silent, host));
        }
        let attributes = transaction.attributes(&Overrides::default(), demand);
        let passes = Translation {
            pa: Pa(address),
            span: physical.saturating_sub(address).saturating_add(1),
            attributes,
        };
        if !self.registers.is_set(Reg::Cr0, cr0::ATSCHK) {
            return if address > physical {
                Err(self.terminate(transaction, &silent, host))
            } else {
                Ok(passes)
            };
        }
        let control = self.control();
        let mut walk = Walk { features: &self.features, host, kept: &mut self.caches, demand };
        let stream = match walk.ste(&control.table, transaction.stream, control.e2h) {
            Ok(Ste::Translate(stream)) => stream,
            Ok(Ste::Bypass { .. }) => {
                let failure = Failure { fault: Some(Fault::TranslForbidden), ..silent };
                return Err(self.terminate(transaction, &failure, host));
            }
            Ok(Ste::Abort { .. }) => return Err(self.terminate(transaction, &silent, host)),
            Err(fault) => {
                // RECINVSID does not count here.
                self.record_configuration_error(transaction, fault, demand, true, host);
                return Err(self.terminate(transaction, &silent, host));
            }
        };
        let failure = match stream.ats {
            Ats::Off => Failure { fault: Some(Fault::TranslForbidden), ..silent },
            Ats::Full if address > physical => silent,
            Ats::Full => return Ok(passes),
            Ats::SplitStage => {
                // Unprivileged data, without SubstreamID.
                let plain =
                    Transaction { substream: None, privileged: false, instruction: false, ..*transaction };
                let result = self.second_stage(&plain, &stream, host);
                return result.map_err(|failure| self.terminate(&plain, &failure, host));
            }
        };
        Err(self.terminate(transaction, &failure, host))
    }

    /// Stage 2 of an address that stage 1 has translated before.
    fn second_stage<H: Host + ?Sized>(
        &mut self,
        transaction: &Transaction,
        stream: &Stream,
        host: &mut H,
    ) -> Result<Translation, Failure> {
        let demand = apply(&stream.overrides, transaction.demand());
        let input = transaction.address.0;
        let failure = |fault: Fault| {
            let stage2 = stream.s2.filter(|_| fault.ruled_by() == Some(Stage::S2));
            let rule =
                stage2.map_or(Rule::FIRM, |s2| Rule { abort: true, record: s2.record, stall: s2.stall });
            Failure { fault: Some(fault), demand, rule }
        };
        if input > low_mask(self.features.ias_bits()) {
            return Err(failure(Fault::BypassAddrSize));
        }
        let Some(s2) = &stream.s2 else { return Err(failure(Fault::TranslForbidden)) };
        let space =
            Space { world: stream.world, stage: Stage::S2, vmid: stream.vmid, asid: Asid(0), aset: false };
        let mut walk = Walk { features: &self.features, host, kept: &mut self.caches, demand };
        let second = walk.stage2(s2, &space, Ipa(input), Class::In).map_err(failure)?;
        let size = 1 << second.log2_size();
        Ok(Translation {
            pa: second.at(Ipa(input)),
            span: size - (input & (size - 1)),
            attributes: transaction.through_stage2(
                &stream.overrides,
                demand,
                (second.memory(), second.sh()),
                s2,
            ),
        })
    }
}
