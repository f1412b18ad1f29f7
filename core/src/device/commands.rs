//! The command queue: consumption, execution, errors (§4, §7.1).

use super::{Behaviour, Smmu};
use crate::arch::addr::{Pa, low_mask};
use crate::cache::scope::Scope;
use crate::env::Host;
use crate::env::interrupt::Interrupt;
use crate::env::memory::read_words;
use crate::env::trace::{CommandError, Step};
use crate::format::command::{Command, Signal};
use crate::format::regs::{Reg, cr0, cr2, gerror, queue_index};

impl<const N: usize> Smmu<N> {
    /// Whether commands are waiting that [`Smmu::poll`] would consume.
    #[must_use]
    pub fn pending(&self) -> bool {
        let registers = &self.registers;
        let queue = registers.command_queue(&self.features);
        let stopped = gerror::CMDQ_ERR.get(registers.active_errors()) != 0;
        registers.is_set(Reg::Cr0, cr0::CMDQEN)
            && !stopped
            && !queue.is_empty(registers.position(Reg::CmdqProd), registers.position(Reg::CmdqCons))
    }

    /// Consumes at most `budget` commands, and says how many it did.
    pub fn poll<H: Host + ?Sized>(&mut self, budget: u32, host: &mut H) -> u32 {
        let mut consumed = 0;
        while consumed < budget && self.pending() {
            if !self.consume_one(host) {
                break;
            }
            consumed += 1;
        }
        consumed
    }

    /// What a register write that may start consumption does.
    pub(super) fn consume<H: Host + ?Sized>(&mut self, host: &mut H) {
        self.poll(self.settings.commands_per_write, host);
    }

    /// Consumes one command; false if it stops consumption with an error. The command is read anew every time, since
    /// software may have replaced one that was refused.
    fn consume_one<H: Host + ?Sized>(&mut self, host: &mut H) -> bool {
        let queue = self.registers.command_queue(&self.features);
        let position = self.registers.position(Reg::CmdqCons);
        let address = queue.entry(position);
        let Ok(words) = read_words::<2, _>(host, address) else {
            self.stop(CommandError::Abort, host);
            return false;
        };
        host.step(&Step::CommandFetch { index: queue.index(position), address, words });
        let Ok(command) = Command::decode(words, &self.features) else {
            self.stop(CommandError::Illegal, host);
            return false;
        };
        host.step(&Step::Command(command));
        self.execute(&command, host);
        self.registers.put(Reg::CmdqCons, queue_index::POSITION, queue.next(position).into());
        if let Command::Sync(signal) = command {
            self.complete(signal, host);
        }
        true
    }

    /// CMDQ_CONS.ERR is set before GERROR tells of it; CONS stays at the command.
    fn stop<H: Host + ?Sized>(&mut self, error: CommandError, host: &mut H) {
        host.step(&Step::CommandError(error));
        let code = match error {
            CommandError::Illegal => 1,
            CommandError::Abort => 2,
        };
        self.registers.put(Reg::CmdqCons, queue_index::ERR, code);
        self.raise(gerror::CMDQ_ERR, host);
    }

    fn execute<H: Host + ?Sized>(&mut self, command: &Command, host: &mut H) {
        if let Some(letter) = self.scope(command) {
            let scope = match self.settings.behaviour {
                Behaviour::Natural => letter.relaxed(),
                Behaviour::Strict => letter,
            };
            let effect = self.caches.iotlb.invalidate(&scope, &letter, command, host);
            self.caches.tables.invalidate(&scope, command, host);
            host.step(&Step::Invalidated { by: *command, scanned: effect.scanned, dropped: effect.dropped });
            return;
        }
        match *command {
            Command::CfgiSte { .. }
            | Command::CfgiSteRange { .. }
            | Command::CfgiCd { .. }
            | Command::CfgiCdAll { .. } => self.caches.config.invalidate(command, host),
            Command::Resume { stream, stag, action } => {
                self.stalls.resume(stream, stag, action, &self.features)
            }
            Command::StallTerm { stream } => self.stalls.terminate(stream),
            // Prefetching is optional, and every earlier command has completed when CMD_SYNC is reached.
            _ => {}
        }
    }

    /// What a TLBI command names on this device now, to the letter; `None` for other commands. This is what
    /// [`Behaviour::Strict`] applies, and what a preview asks.
    #[must_use]
    pub fn scope(&self, command: &Command) -> Option<Scope> {
        Scope::of(command, self.registers.is_set(Reg::Cr2, cr2::E2H), self.features.s2p)
    }

    /// Signals the completion of CMD_SYNC, which CMDQ_CONS has passed already (§4.7.3).
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
