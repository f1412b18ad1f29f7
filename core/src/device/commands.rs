//! The command queue: consumption, execution, errors (§4, §7.1).

use super::queue::Queue;
use super::{Behaviour, Caches, Smmu};
use crate::arch::addr::{Pa, low_mask};
use crate::arch::id::{StreamId, SubstreamId};
use crate::cache::iotlb::{Effect, Invalidation};
use crate::cache::scope::{Scope, Span, Stages};
use crate::cache::spaces::{El1, Name};
use crate::cache::walk_cache::Share;
use crate::env::Host;
use crate::env::interrupt::Interrupt;
use crate::env::memory::{Abort, Memory};
use crate::env::trace::{AtcCompletion, CommandError, Step};
use crate::format::command::{AtcInvalidation, COMMAND_BYTES, Command, Operand, Signal, field, opcode};
use crate::format::regs::{Reg, cr0, cr2, gerror, queue_index};

/// Commands that one read of memory brings at most.
const BULK: usize = 16;

/// A command as it lies in memory.
type Raw = [u8; COMMAND_BYTES as usize];

const fn words(raw: &Raw) -> [u64; 2] {
    let both = u128::from_le_bytes(*raw);
    [both as u64, (both >> 64) as u64]
}

/// Fills `bulk` with commands that lie one behind the other from `address` on, and says how many: all in one read where
/// memory answers for all, otherwise as many as it answers for one by one.
#[inline]
fn fetch<M: Memory + ?Sized>(address: Pa, bulk: &mut [Raw], memory: &M) -> usize {
    if memory.read(address, bulk.as_flattened_mut()).is_ok() {
        bulk.len()
    } else {
        fetch_singly(address, bulk, memory)
    }
}

#[cold]
#[inline(never)]
fn fetch_singly<M: Memory + ?Sized>(address: Pa, bulk: &mut [Raw], memory: &M) -> usize {
    let is_abort = |(n, raw): (u64, &mut Raw)| memory.read(address.offset(COMMAND_BYTES * n), raw).is_err();
    let count = bulk.len();
    (0..).zip(bulk).position(is_abort).unwrap_or(count)
}

/// CMDQ with commands to consume.
struct Ready {
    queue: Queue,
    cons: u32,
    count: u32,
}

/// What the commands depend on that [`Smmu::run_plain`] executes.
struct Plain {
    /// The bits of a command's ASID and VMID that exist.
    name: u32,
}

/// Which command queue. A CMD_SYNC waits for the commands of its own queue alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// CMDQ.
    Legacy,
    /// An enhanced command queue.
    Enhanced(usize),
}

/// `ERR` of CMDQ_CONS and `ERR_REASON` of an enhanced queue.
pub(super) const fn error_code(error: CommandError) -> u32 {
    match error {
        CommandError::Illegal => 1,
        CommandError::Abort => 2,
        CommandError::AtcInvSync => 3,
    }
}

impl<const N: usize> Smmu<N> {
    /// Whether commands are waiting that [`Smmu::poll`] would consume.
    #[must_use]
    pub fn pending(&self) -> bool {
        self.legacy_pending() || self.ecmdq_pending().is_some()
    }

    fn legacy_pending(&self) -> bool {
        self.legacy_ready().is_some()
    }

    /// CMDQ, the position of its next command, and how many wait there, if it runs and has any.
    #[inline]
    fn legacy_ready(&self) -> Option<Ready> {
        let registers = &self.registers;
        let (prod, cons) = (registers.position(Reg::CmdqProd), registers.position(Reg::CmdqCons));
        let runs =
            registers.is_set(Reg::Cr0, cr0::CMDQEN) && gerror::CMDQ_ERR.get(registers.active_errors()) == 0;
        if prod == cons || !runs {
            return None;
        }
        let queue = registers.command_queue(&self.features);
        let count = queue.len(prod, cons).filter(|count| *count != 0)?;
        Some(Ready { queue, cons, count })
    }

    /// Reads and executes at most `budget` commands, and says how many it read, one that stops its queue included.
    pub fn poll<H: Host + ?Sized>(&mut self, budget: u32, host: &mut H) -> u32 {
        let mut read = 0;
        while read < budget {
            if let Some(ready) = self.legacy_ready() {
                read += self.consume_legacy(&ready, budget - read, host);
            } else if let Some(index) = self.ecmdq_pending() {
                self.consume_enhanced(index, host);
                read += 1;
            } else {
                break;
            }
        }
        read
    }

    /// What a register write that may start consumption does.
    pub(super) fn consume<H: Host + ?Sized>(&mut self, host: &mut H) {
        self.poll(self.settings.commands_per_write, host);
    }

    /// Consumes commands of CMDQ up to the end of the ring, or to the one at which it stops with an error: at most `budget`,
    /// and as many as one read of memory brings. Says how many that were, at least 1.
    #[inline]
    fn consume_legacy<H: Host + ?Sized>(&mut self, ready: &Ready, budget: u32, host: &mut H) -> u32 {
        let Ready { queue, cons, count } = *ready;
        let was_full = count == queue.entries();
        let ready = count.min(queue.contiguous(cons)).min(budget);
        let address = queue.entry(cons);
        // One command is what a guest that waits for each sends: it needs no buffer for many.
        if ready == 1 {
            let mut one = [[0; 16]];
            let fetched = fetch(address, &mut one, host);
            self.run_all(&queue, was_full, one.get(..fetched).unwrap_or(&[]), host)
        } else {
            let mut many = [[0; 16]; BULK];
            let bulk = many.get_mut(..BULK.min(ready as usize)).unwrap_or(&mut []);
            let fetched = fetch(address, bulk, host);
            self.run_all(&queue, was_full, many.get(..fetched).unwrap_or(&[]), host)
        }
    }

    /// Executes what was fetched from CMDQ, and says how many commands it read, at least 1.
    fn run_all<H: Host + ?Sized>(
        &mut self,
        queue: &Queue,
        mut was_full: bool,
        fetched: &[Raw],
        host: &mut H,
    ) -> u32 {
        let start = self.registers.position(Reg::CmdqCons);
        let plain = if was_full { None } else { self.plain(host) };
        let mut count = 0;
        for raw in fetched {
            let words = words(raw);
            if let Some(plain) = &plain
                && self.run_plain(plain, (queue, start, count), words, host)
            {
                count += 1;
                continue;
            }
            if !self.run_singly(queue, queue.after(start, count), words, was_full, host) {
                return count + 1;
            }
            was_full = false;
            count += 1;
        }
        self.registers.put(Reg::CmdqCons, queue_index::POSITION, queue.after(start, count).into());
        if count == 0 {
            self.stop_unread(host);
            count = 1;
        }
        count
    }

    /// Executes the command at `cons`, or stops CMDQ at it and says so. CONS is right wherever a signal or an error can be
    /// seen.
    #[inline(never)]
    fn run_singly<H: Host + ?Sized>(
        &mut self,
        queue: &Queue,
        cons: u32,
        words: [u64; 2],
        was_full: bool,
        host: &mut H,
    ) -> bool {
        self.registers.put(Reg::CmdqCons, queue_index::POSITION, cons.into());
        match self.run_one(Source::Legacy, queue, cons, Ok(words), host) {
            Ok(command) => {
                self.registers.put(Reg::CmdqCons, queue_index::POSITION, queue.next(cons).into());
                self.passed(&command, was_full, host);
                true
            }
            Err(error) => {
                self.stop(error, host);
                false
            }
        }
    }

    /// What plain commands depend on, if they can be executed at once: nobody asks which entries go, hints are taken for
    /// hints, no VMID is a wildcard, and all entries are in sets.
    #[inline]
    fn plain<H: Host + ?Sized>(&self, host: &H) -> Option<Plain> {
        let features = &self.features;
        let is_plain = !host.wants_entries()
            && !host.wants_spared()
            && self.registers.field(Reg::Cr0, cr0::VMW) == 0
            && self.settings.behaviour == Behaviour::Natural
            && self.caches.iotlb.is_bounded();
        let asid = if features.asid16 { 0xffff_0000 } else { 0x00ff_0000 };
        let vmid = match (features.s2p, features.vmid16) {
            (false, _) => 0,
            (true, true) => 0xffff,
            (true, false) => 0xff,
        };
        is_plain.then_some(Plain { name: asid | vmid })
    }

    /// Executes a command at once that tells nobody: CMD_SYNC without a signal, and invalidations of NS-EL1. False if it is
    /// none of these, and nothing has happened then.
    ///
    /// It does what [`Smmu::run_one`] does, without a [`Scope`]: what goes is the intersection of address spaces and a span.
    #[inline]
    fn run_plain<H: Host + ?Sized>(
        &mut self,
        plain: &Plain,
        (queue, start, count): (&Queue, u32, u32),
        words: [u64; 2],
        host: &mut H,
    ) -> bool {
        let features = &self.features;
        let tell = |command: Command, host: &mut H| {
            let position = queue.after(start, count);
            let (index, address) = (queue.index(position), queue.entry(position));
            host.step(&Step::CommandFetch { index, address, words });
            host.step(&Step::Command(command));
        };
        let opcode = field::OPCODE.of(&words) as u8;
        if opcode == opcode::SYNC {
            if field::CS.is_set(&words) || self.atc_timed_out {
                return false;
            }
            tell(Command::Sync(Signal::None), host);
            self.stalls.retry_unrecorded();
            return true;
        }
        let name = Name((words[0] >> 32) as u32 & plain.name);
        let (vmid, asid) = (Command::vmid(&words, features), Command::asid(&words, features));
        if opcode == opcode::TLBI_NH_VA && features.s1p {
            let has_granule = features.ril && field::TG.is_set(&words);
            if has_granule && Operand::is_reserved(&words) {
                return false;
            }
            let leaf = field::LEAF.is_set(&words);
            let operand = Operand { leaf, ..Operand::at(field::ADDRESS.in_place(&words)) };
            let operand = if features.ril { Operand::ranged(&words, operand) } else { operand };
            let command = Command::TlbiNhVa { vmid, asid, operand };
            tell(command, host);
            self.stalls.touch();
            let has_tables = !leaf && self.caches.tables.named(El1::AsidOrGlobal(name)) != Share::None;
            let mut effect = Effect::default();
            if has_tables || self.caches.iotlb.may_have(name) {
                // Most unmapping is of pages, without a range.
                let span = if has_granule { Span::hinted(&words) } else { Span::page(words[1]) };
                effect = self.caches.iotlb.forget_named(name, &span);
                if has_tables && self.caches.tables.may_meet(&span) {
                    self.invalidate_tables(words, host);
                }
            }
            host.step(&Step::Invalidated { by: command, scanned: effect.scanned, dropped: effect.dropped });
            return true;
        }
        let Caches { iotlb, tables, .. } = &self.caches;
        let named = |which: El1| (iotlb.of_el1(which), tables.named(which));
        let (command, (spaces, share)) = match opcode {
            opcode::TLBI_NH_ASID if features.s1p => {
                (Command::TlbiNhAsid { vmid, asid }, named(El1::Asid(name)))
            }
            opcode::TLBI_NH_ALL if features.s1p => {
                (Command::TlbiNhAll { vmid }, named(El1::Vmid(Stages::S1, name)))
            }
            opcode::TLBI_S12_VMALL if features.s2p => {
                (Command::TlbiS12Vmall { vmid }, named(El1::Vmid(Stages::Both, name)))
            }
            opcode::TLBI_NSNH_ALL => (Command::TlbiNsnhAll, named(El1::All)),
            _ => return false,
        };
        tell(command, host);
        self.stalls.touch();
        let dropped = self.caches.iotlb.forget_all(spaces);
        match share {
            Share::None => {}
            Share::Some => self.invalidate_tables(words, host),
            Share::All => self.caches.tables.forget(),
        }
        host.step(&Step::Invalidated { by: command, scanned: 0, dropped });
        true
    }

    /// Applies a TLBI to the walk cache alone.
    #[cold]
    #[inline(never)]
    fn invalidate_tables<H: Host + ?Sized>(&mut self, words: [u64; 2], host: &mut H) {
        if let Ok(command) = Command::decode(words, &self.features)
            && let Some(letter) = self.scope(&command)
        {
            self.caches.tables.invalidate(&self.applied(&letter), &command, host);
        }
    }

    /// No command could be read.
    #[cold]
    #[inline(never)]
    fn stop_unread<H: Host + ?Sized>(&mut self, host: &mut H) {
        host.step(&Step::CommandError(CommandError::Abort));
        self.stop(CommandError::Abort, host);
    }

    /// ERR is set before GERROR tells of it; CONS stays at the command.
    fn stop<H: Host + ?Sized>(&mut self, error: CommandError, host: &mut H) {
        self.registers.put(Reg::CmdqCons, queue_index::ERR, error_code(error).into());
        self.raise(gerror::CMDQ_ERR, host);
    }

    /// Reads and executes the command at `position`. It is read anew every time, since software may have replaced one
    /// that was refused.
    pub(super) fn run_one<H: Host + ?Sized>(
        &mut self,
        source: Source,
        queue: &Queue,
        position: u32,
        words: Result<[u64; 2], Abort>,
        host: &mut H,
    ) -> Result<Command, CommandError> {
        let refuse = |error: CommandError, host: &mut H| {
            host.step(&Step::CommandError(error));
            Err(error)
        };
        let Ok(words) = words else {
            return refuse(CommandError::Abort, host);
        };
        host.step(&Step::CommandFetch {
            index: queue.index(position),
            address: queue.entry(position),
            words,
        });
        let Ok(command) = Command::decode(words, &self.features) else {
            return refuse(CommandError::Illegal, host);
        };
        if matches!(command, Command::Sync(_)) && core::mem::take(self.atc_timed_out(source)) {
            return refuse(CommandError::AtcInvSync, host);
        }
        host.step(&Step::Command(command));
        self.execute(source, &command, host);
        Ok(command)
    }

    /// What follows once CONS has passed a command: signals, and the event that a full queue has room again.
    pub(super) fn passed<H: Host + ?Sized>(&mut self, command: &Command, was_full: bool, host: &mut H) {
        if let Command::Sync(signal) = *command {
            self.complete(signal, host);
        }
        if was_full && self.features.sev {
            host.send_event();
        }
    }

    /// Whether an earlier CMD_ATC_INV of this queue timed out, and no CMD_SYNC has told yet.
    fn atc_timed_out(&mut self, source: Source) -> &mut bool {
        match source {
            Source::Legacy => &mut self.atc_timed_out,
            Source::Enhanced(index) => self.ecmdqs.atc_timed_out(index),
        }
    }

    fn execute<H: Host + ?Sized>(&mut self, source: Source, command: &Command, host: &mut H) {
        if let Some(letter) = self.scope(command) {
            self.stalls.touch();
            return self.invalidate(&letter, command, host);
        }
        let enabled = self.registers.is_set(Reg::Cr0, cr0::SMMUEN);
        match *command {
            Command::CfgiSte { .. }
            | Command::CfgiSteRange { .. }
            | Command::CfgiCd { .. }
            | Command::CfgiCdAll { .. } => {
                self.stalls.touch();
                self.recents.clear();
                self.caches.config.invalidate(command, host);
            }
            // A completed invalidation leaves no event of what it invalidated to come.
            Command::Sync(_) => self.stalls.retry_unrecorded(),
            Command::AtcInv(AtcInvalidation { stream, substream, .. })
            | Command::PriResp { stream, substream, .. }
                if !self.exists(stream, substream) => {}
            Command::AtcInv(invalidation) if enabled => {
                let timed_out = host.invalidate_atc(&invalidation) == AtcCompletion::TimedOut;
                *self.atc_timed_out(source) |= timed_out;
            }
            Command::PriResp { stream, substream, group, response } if enabled => {
                host.respond_to_page_request(stream, substream, group, response);
            }
            Command::Resume { stream, stag, action } => {
                self.stalls.resume(stream, stag, action, &self.features);
            }
            Command::StallTerm { stream } => self.stalls.terminate(stream),
            // Prefetching is optional.
            _ => {}
        }
    }

    /// Whether a StreamID and SubstreamID are within the sizes of IDR1; commands for others have no effect.
    fn exists(&self, stream: StreamId, substream: Option<SubstreamId>) -> bool {
        let ssid = substream.map_or(0, |ssid| u64::from(ssid.0));
        u64::from(stream.0) <= low_mask(self.features.sidsize.into())
            && ssid <= low_mask(self.features.ssidsize.into())
    }

    /// Applies a TLBI to every cache in one pass each.
    fn invalidate<H: Host + ?Sized>(&mut self, letter: &Scope, command: &Command, host: &mut H) {
        let scope = self.applied(letter);
        let effect = self.caches.iotlb.invalidate(&Invalidation { scope: &scope, letter, by: command }, host);
        self.caches.tables.invalidate(&scope, command, host);
        host.step(&Step::Invalidated { by: *command, scanned: effect.scanned, dropped: effect.dropped });
    }

    /// What this device drops for a scope: all of it, or with [`Behaviour::Natural`] what an implementation drops that takes
    /// hints for hints. Asking it about entries is the dry run of a command.
    #[must_use]
    pub fn applied(&self, letter: &Scope) -> Scope {
        match self.settings.behaviour {
            Behaviour::Natural => letter.relaxed(),
            Behaviour::Strict => *letter,
        }
    }

    /// What a TLBI command names on this device now, to the letter; `None` for other commands. This is what
    /// [`Behaviour::Strict`] applies, and what a preview asks.
    #[must_use]
    pub fn scope(&self, command: &Command) -> Option<Scope> {
        Scope::of(command, self.registers.scope_control(&self.features))
    }

    /// Broadcast TLB maintenance by a PE, which reaches the SMMU if `IDR0.BTM` (§3.17): the TLBI instruction in the form
    /// of the command that names the same entries. True if it had effect: not without BTM, not while `CR2.PTM` is 1, and
    /// not for other commands.
    ///
    /// Entries of CDs with `ASET` = 1 need not go where an ASID is named, but do: sharing them is the guest's affair.
    pub fn broadcast<H: Host + ?Sized>(&mut self, maintenance: &Command, host: &mut H) -> bool {
        let ignored = !self.features.btm || self.registers.is_set(Reg::Cr2, cr2::PTM);
        match self.scope(maintenance).filter(|_| !ignored) {
            Some(letter) => {
                self.invalidate(&letter, maintenance, host);
                true
            }
            None => false,
        }
    }

    /// Signals the completion of CMD_SYNC, which CONS has passed already (§4.7.3).
    fn complete<H: Host + ?Sized>(&mut self, signal: Signal, host: &mut H) {
        match signal {
            Signal::None => {}
            Signal::Irq { address, data, sh, attributes } => {
                if self.features.msi && address != 0 {
                    let address = Pa(address & low_mask(self.features.oas_bits.into()));
                    self.send_msi(address, data, sh, attributes, gerror::MSI_CMDQ_ABT_ERR, host);
                }
                host.step(&Step::Interrupt(Interrupt::CmdSync));
                host.pulse(Interrupt::CmdSync);
            }
            Signal::Sev => {
                if self.features.sev {
                    host.send_event();
                }
            }
        }
    }
}
