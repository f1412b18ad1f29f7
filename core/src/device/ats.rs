//! PCIe Address Translation Services: translation requests and translated transactions (§3.9, §7.3.6 to §7.3.8).

use super::translate::{Failure, Rule, apply, resolve};
use super::{Smmu, Terminated, Transaction, Translation};
use crate::arch::addr::{Ipa, Pa, Stage, low_mask};
use crate::arch::entry::{Entry, Rights, Space};
use crate::arch::fault::{Class, Fault};
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
    /// Bytes from `address` on that the completion covers.
    pub span: u64,
    /// `R`.
    pub read: bool,
    /// `W`.
    pub write: bool,
    /// `Exe`.
    pub execute: bool,
    /// `Global`: the translation is the same in every address space.
    pub global: bool,
}

impl AtsGrant {
    /// Success without any permission: what a device is told of a page that is not there.
    const NOTHING: Self =
        Self { address: None, span: 0, read: false, write: false, execute: false, global: false };
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
    /// where nothing has to be made ready for it.
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
        let asked = Demand { asks: true, instruction: transaction.instruction, ..transaction.demand() };
        if !self.registers.is_set(Reg::Cr0, cr0::SMMUEN) {
            return Err(self.bad_request(transaction, asked, host));
        }
        let control = self.control();
        let ats_check = self.registers.is_set(Reg::Cr0, cr0::ATSCHK);
        let mut walk = Walk { features: &self.features, host, kept: &mut self.caches, demand: asked };
        let stream = match walk.ste(&control.table, transaction.stream, control.e2h) {
            Ok(Ste::Translate(stream)) => stream,
            Ok(Ste::Abort) => return Err(AtsRefusal::UnsupportedRequest),
            Ok(Ste::Bypass(_)) => return Err(self.bad_request(transaction, asked, host)),
            Err(fault) => {
                let failure = Failure { fault: Some(fault), demand: asked, rule: Rule::FIRM };
                return Err(self.bad_configuration(transaction, &failure, host));
            }
        };
        let split = match stream.ats {
            Ats::Full => false,
            Ats::SplitStage if ats_check => true,
            _ => return Err(self.bad_request(transaction, asked, host)),
        };
        // Split-stage requests are answered by stage 1 alone; its tables still lie behind stage 2.
        let demand = apply(&stream.overrides, asked);
        let outcome = if split {
            let mut walk = Walk { features: &self.features, host, kept: &mut self.caches, demand };
            walk.first_stage(&stream, transaction.stream, transaction.substream, transaction.address.0)
                .map_err(|fault| Failure { fault: Some(fault), demand, rule: Rule::FIRM })
        } else {
            resolve(&self.features, &control, transaction, asked, &mut self.caches, host)
                .map(|passage| passage.entry.map(|entry| (entry, passage.input)))
        };
        match outcome {
            // Stage 1 is bypassed, and there is no stage 2 or it is not asked: the identity.
            Ok(None) => {
                let address = transaction.address.0;
                let identity = low_mask(self.features.ias_bits()).checked_sub(address).map(|left| AtsGrant {
                    address: Some(address),
                    span: left.saturating_add(1),
                    read: true,
                    write: true,
                    ..AtsGrant::NOTHING
                });
                Ok(identity.unwrap_or(AtsGrant::NOTHING))
            }
            Ok(Some((entry, input))) => Ok(grant(&entry, input, demand, split)),
            Err(failure) => match failure.fault {
                Some(
                    Fault::Translation(_) | Fault::AddrSize(_) | Fault::Access(_) | Fault::BypassAddrSize,
                ) => Ok(AtsGrant::NOTHING),
                // Of a table or structure: the page is as good as absent.
                Some(Fault::Permission(..)) => Ok(AtsGrant::NOTHING),
                _ => Err(self.bad_configuration(transaction, &failure, host)),
            },
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

    /// CA; recorded only if software asks for it.
    fn bad_configuration<H: Host + ?Sized>(
        &mut self,
        transaction: &Transaction,
        failure: &Failure,
        host: &mut H,
    ) -> AtsRefusal {
        let hidden = failure.fault == Some(Fault::BadStreamId) && !self.control().records_bad_stream;
        if self.registers.is_set(Reg::Cr2, cr2::REC_CFG_ATS) && !hidden {
            self.terminate(transaction, &Failure { rule: Rule::FIRM, ..*failure }, host);
        }
        AtsRefusal::CompleterAbort
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
            Ok(Ste::Bypass(_)) => {
                let failure = Failure { fault: Some(Fault::TranslForbidden), ..silent };
                return Err(self.terminate(transaction, &failure, host));
            }
            Ok(Ste::Abort) | Err(_) => return Err(self.terminate(transaction, &silent, host)),
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
        let entry = walk.stage2(s2, &space, Ipa(input), Class::In).map_err(failure)?;
        let offset = input - entry.input;
        Ok(Translation {
            pa: Pa(entry.output.0 + offset),
            span: (1 << entry.log2_size) - offset,
            attributes: transaction.through_stage2(&stream.overrides, demand, &entry, s2),
        })
    }
}

/// What an entry grants to a request.
fn grant(entry: &Entry, input: u64, demand: Demand, split: bool) -> AtsGrant {
    let rights = Rights(entry.rights_s1.0 & if split { Rights::ALL.0 } else { entry.rights_s2.0 });
    let (read, write, execute) = if demand.privileged {
        (Rights::PR, Rights::PW, Rights::PX)
    } else {
        (Rights::UR, Rights::UW, Rights::UX)
    };
    let offset = input - entry.input;
    // A writable-clean page is granted for writing only once it is dirty, which a request with NW = 1 does not make it.
    let writable = rights.has(write) && !entry.clean;
    let (readable, executable) = (rights.has(read), rights.has(execute) && demand.instruction);
    let first = if split { entry.ipa.0 } else { entry.output.0 };
    AtsGrant {
        address: (readable || writable).then_some(first + offset),
        span: (1 << entry.log2_size) - offset,
        read: readable,
        write: writable,
        execute: executable,
        global: entry.global && entry.s1.is_some(),
    }
}
