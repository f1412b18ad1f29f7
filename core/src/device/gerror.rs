//! Global errors and interrupts, wired and message-signalled (§3.18, §7.5).

use super::Smmu;
use crate::arch::addr::{Pa, low_mask};
use crate::arch::attributes::{MemoryType, Shareability};
use crate::arch::bits::Field;
use crate::env::Host;
use crate::env::interrupt::Interrupt;
use crate::env::trace::Step;
use crate::format::regs::{Reg, gerror, irq_cfg2, irq_ctrl};

/// The registers that configure one interrupt.
struct Source {
    line: Interrupt,
    enable: Field,
    address: Reg,
    data: Reg,
    attributes: Reg,
    aborted: Field,
}

const EVENTQ: Source = Source {
    line: Interrupt::Eventq,
    enable: irq_ctrl::EVENTQ_IRQEN,
    address: Reg::EventqIrqCfg0,
    data: Reg::EventqIrqCfg1,
    attributes: Reg::EventqIrqCfg2,
    aborted: gerror::MSI_EVENTQ_ABT_ERR,
};

const PRIQ: Source = Source {
    line: Interrupt::Priq,
    enable: irq_ctrl::PRIQ_IRQEN,
    address: Reg::PriqIrqCfg0,
    data: Reg::PriqIrqCfg1,
    attributes: Reg::PriqIrqCfg2,
    aborted: gerror::MSI_PRIQ_ABT_ERR,
};

const GERROR: Source = Source {
    line: Interrupt::Gerror,
    enable: irq_ctrl::GERROR_IRQEN,
    address: Reg::GerrorIrqCfg0,
    data: Reg::GerrorIrqCfg1,
    attributes: Reg::GerrorIrqCfg2,
    aborted: gerror::MSI_GERROR_ABT_ERR,
};

impl<const N: usize> Smmu<N> {
    /// Makes a global error active, unless it is: toggling it again would hide it.
    pub(super) fn raise<H: Host + ?Sized>(&mut self, error: Field, host: &mut H) {
        if error.get(self.registers.active_errors()) != 0 {
            return;
        }
        let value = self.registers.get(Reg::Gerror) ^ error.mask();
        self.registers.set(Reg::Gerror, value);
        host.step(&Step::Gerror(error.mask() as u32));
        // A failed GERROR MSI is not announced by another.
        if error != gerror::MSI_GERROR_ABT_ERR {
            self.interrupt(&GERROR, host);
        }
    }

    /// The event queue has become non-empty.
    pub(super) fn interrupt_eventq<H: Host + ?Sized>(&mut self, host: &mut H) {
        self.interrupt(&EVENTQ, host);
    }

    /// The PRI queue has something to tell.
    pub(super) fn interrupt_priq<H: Host + ?Sized>(&mut self, host: &mut H) {
        self.interrupt(&PRIQ, host);
    }

    fn interrupt<H: Host + ?Sized>(&mut self, source: &Source, host: &mut H) {
        if !self.registers.is_set(Reg::IrqCtrl, source.enable) {
            return;
        }
        // Without IDR0.MSI the register is RES0.
        let address = self.registers.get(source.address);
        if address != 0 {
            let attributes = self.registers.get(source.attributes);
            self.send_msi(
                Pa(address & low_mask(self.features.oas_bits.into())),
                self.registers.get(source.data) as u32,
                irq_cfg2::SH.get(attributes) as u8,
                irq_cfg2::MEMATTR.get(attributes) as u8,
                source.aborted,
                host,
            );
        }
        host.step(&Step::Interrupt(source.line));
        host.pulse(source.line);
    }

    /// One aligned 32-bit write; an abort makes `aborted` active.
    pub(super) fn send_msi<H: Host + ?Sized>(
        &mut self,
        address: Pa,
        data: u32,
        sh: u8,
        attributes: u8,
        aborted: Field,
        host: &mut H,
    ) {
        if host.write(address, &data.to_le_bytes()).is_ok() {
            let sh = Shareability::from_sh(sh).of(MemoryType::from_stage2(attributes)).sh();
            host.step(&Step::Msi { address, data, sh, attributes });
        } else {
            self.raise(aborted, host);
        }
    }
}
