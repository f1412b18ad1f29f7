//! The register window: accesses, guards, and the registers that do something (§6.3).

use super::Smmu;
use super::queue::Queue;
use crate::arch::addr::{Pa, low_mask};
use crate::arch::bits::Field;
use crate::arch::features::Features;
use crate::cache::scope::Control;
use crate::device::pri::PAGE_REQUEST_BYTES;
use crate::env::Host;
use crate::env::trace::Step;
use crate::format::command::COMMAND_BYTES;
use crate::format::event::EVENT_BYTES;
use crate::format::regs::{
    self, Guard, Kind, Needs, PAGE_BYTES, REGISTERS, Reg, Register, SIZE_BYTES, VATOS_PAGE, atos, cr0, cr1,
    cr2, gbpa, gerror, irq_cfg2, irq_ctrl, queue_base, queue_index, strtab,
};
use crate::walk::structures::StreamTable;

/// Why an access to the register window is refused. Nothing has changed; the embedder answers with an abort or RAZ/WI.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum RegisterError {
    /// The offset is outside of the two pages.
    InvalidRegister,
    /// The access is neither 4 nor 8 bytes long.
    InvalidSize,
    /// The offset is not a multiple of the size.
    Unaligned,
}

/// The value of every register.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registers {
    values: [u64; REGISTERS.len()],
}

/// As a sequence of words in the order of the table.
#[cfg(feature = "serde")]
mod registers_serde {
    use serde::de::{Error, SeqAccess, Visitor};
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::{REGISTERS, Registers};

    impl Serialize for Registers {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serializer.collect_seq(self.values)
        }
    }

    impl<'de> Deserialize<'de> for Registers {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            struct Words;

            impl<'de> Visitor<'de> for Words {
                type Value = Registers;

                fn expecting(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                    write!(f, "{} register values", REGISTERS.len())
                }

                fn visit_seq<A: SeqAccess<'de>>(self, mut words: A) -> Result<Registers, A::Error> {
                    let mut values = [0; REGISTERS.len()];
                    for (n, value) in values.iter_mut().enumerate() {
                        *value = words.next_element()?.ok_or_else(|| A::Error::invalid_length(n, &self))?;
                    }
                    Ok(Registers { values })
                }
            }

            deserializer.deserialize_seq(Words)
        }
    }
}

impl Registers {
    pub(super) const fn new(features: &Features) -> Self {
        let mut values = [0; REGISTERS.len()];
        let mut i = 0;
        while i < REGISTERS.len() {
            #[expect(
                clippy::indexing_slicing,
                reason = "`get` is not const; `i` is below the length of both"
            )]
            {
                let row = &REGISTERS[i];
                values[i] = match row.id {
                    Reg::Idr0 => features.idr(0) as u64,
                    Reg::Idr1 => features.idr(1) as u64,
                    Reg::Idr2 => features.idr(2) as u64,
                    Reg::Idr3 => features.idr(3) as u64,
                    Reg::Idr4 => features.idr(4) as u64,
                    Reg::Idr5 => features.idr(5) as u64,
                    Reg::Idr6 => features.idr(6) as u64,
                    // Participation in broadcasts is the guest's to ask for.
                    Reg::Cr2 if features.btm => cr2::PTM.mask(),
                    Reg::StrtabBase => match features.tables_preset {
                        Some(preset) => preset.base & row.bits,
                        None => row.reset,
                    },
                    Reg::StrtabBaseCfg => match features.tables_preset {
                        Some(preset) => preset.config as u64 & row.bits,
                        None => row.reset,
                    },
                    Reg::CmdqBase => match features.queues_preset {
                        Some(preset) => preset.command & row.bits,
                        None => row.reset,
                    },
                    Reg::EventqBase => match features.queues_preset {
                        Some(preset) => preset.event & row.bits,
                        None => row.reset,
                    },
                    Reg::PriqBase => match features.queues_preset {
                        Some(preset) if features.pri => preset.pri & row.bits,
                        _ => row.reset,
                    },
                    Reg::Iidr => features.iidr as u64,
                    Reg::Aidr => features.aidr() as u64,
                    _ => row.reset,
                };
            }
            i += 1;
        }
        Self { values }
    }

    /// These values on an SMMU with `features`: constants as it has them, and of the rest the bits that it has.
    pub(super) fn restored(&self, features: &Features) -> Self {
        let mut registers = Self::new(features);
        for row in &REGISTERS {
            let shown =
                matches!(row.id, Reg::Cr0ack | Reg::IrqCtrlack | Reg::Gerror | Reg::GatosPar | Reg::VatosPar);
            if shown || is_writable(row, features) {
                registers.set(row.id, self.get(row.id) & implemented(row, features));
            }
        }
        registers
    }

    /// The value of a register.
    #[must_use]
    #[inline]
    pub fn get(&self, register: Reg) -> u64 {
        self.values.get(register as usize).copied().unwrap_or(0)
    }

    /// The value of a field of a register.
    #[must_use]
    #[inline]
    pub fn field(&self, register: Reg, field: Field) -> u64 {
        field.get(self.get(register))
    }

    /// Whether a field of a register is not 0.
    #[must_use]
    #[inline]
    pub fn is_set(&self, register: Reg, field: Field) -> bool {
        self.field(register, field) != 0
    }

    #[inline]
    pub(super) fn set(&mut self, register: Reg, value: u64) {
        if let Some(slot) = self.values.get_mut(register as usize) {
            *slot = value;
        }
    }

    #[inline]
    pub(super) fn put(&mut self, register: Reg, field: Field, value: u64) {
        self.set(register, field.put(self.get(register), value));
    }

    /// Whether an enable is 0 in both the control register and its acknowledgement.
    fn is_off(&self, control: Reg, acknowledge: Reg, enable: Field) -> bool {
        !self.is_set(control, enable) && !self.is_set(acknowledge, enable)
    }

    /// The global errors that are active: those whose GERROR and GERRORN bits differ.
    #[must_use]
    #[inline]
    pub fn active_errors(&self) -> u64 {
        self.get(Reg::Gerror) ^ self.get(Reg::Gerrorn)
    }

    /// The stream table, derived from its registers at each use.
    #[must_use]
    pub fn stream_table(&self, features: &Features) -> StreamTable {
        let config = self.get(Reg::StrtabBaseCfg);
        let two_level = features.two_level_stream_table && strtab::FMT.get(config) == 0b01;
        StreamTable {
            base: Pa(self.get(Reg::StrtabBase) & strtab::ADDR.mask() & low_mask(features.oas_bits.into())),
            log2_size: strtab::LOG2SIZE.get(config) as u8,
            split: two_level.then(|| match strtab::SPLIT.get(config) {
                8 => 8,
                10 => 10,
                _ => 6,
            }),
        }
    }

    /// The command queue.
    #[must_use]
    #[inline]
    pub fn command_queue(&self, features: &Features) -> Queue {
        self.queue(Reg::CmdqBase, features, features.cmdqs, COMMAND_BYTES)
    }

    /// The event queue.
    #[must_use]
    #[inline]
    pub fn event_queue(&self, features: &Features) -> Queue {
        self.queue(Reg::EventqBase, features, features.eventqs, EVENT_BYTES)
    }

    /// The PRI queue.
    #[must_use]
    pub fn pri_queue(&self, features: &Features) -> Queue {
        self.queue(Reg::PriqBase, features, features.priqs, PAGE_REQUEST_BYTES)
    }

    /// What invalidations depend on.
    #[must_use]
    #[inline]
    pub fn scope_control(&self, features: &Features) -> Control {
        let wildcard = self.field(Reg::Cr0, cr0::VMW) as u8;
        Control {
            e2h: self.is_set(Reg::Cr2, cr2::E2H),
            has_vmid: features.s2p,
            // 5 to 7 are reserved and behave as 0.
            vmid_wildcard: if wildcard <= 4 { wildcard } else { 0 },
        }
    }

    #[inline]
    fn queue(&self, base: Reg, features: &Features, limit: u8, entry_bytes: u64) -> Queue {
        let value = self.get(base);
        let address = value & queue_base::ADDR.mask() & low_mask(features.oas_bits.into());
        Queue::new(address, queue_base::LOG2SIZE.get(value), limit, entry_bytes)
    }

    /// A queue's position: `WR` or `RD`.
    #[must_use]
    #[inline]
    pub fn position(&self, index: Reg) -> u32 {
        self.field(index, queue_index::POSITION) as u32
    }

    /// Whether a write to `row` has effect now.
    fn permits(&self, row: &Register) -> bool {
        match row.guard {
            Guard::None | Guard::Cr1 | Guard::Update => true,
            Guard::SmmuDisabled => self.is_off(Reg::Cr0, Reg::Cr0ack, cr0::SMMUEN),
            Guard::CmdqDisabled => self.is_off(Reg::Cr0, Reg::Cr0ack, cr0::CMDQEN),
            Guard::EventqDisabled => self.is_off(Reg::Cr0, Reg::Cr0ack, cr0::EVENTQEN),
            Guard::GerrorIrqDisabled => self.is_off(Reg::IrqCtrl, Reg::IrqCtrlack, irq_ctrl::GERROR_IRQEN),
            Guard::EventqIrqDisabled => self.is_off(Reg::IrqCtrl, Reg::IrqCtrlack, irq_ctrl::EVENTQ_IRQEN),
            Guard::PriqDisabled => self.is_off(Reg::Cr0, Reg::Cr0ack, cr0::PRIQEN),
            Guard::PriqIrqDisabled => self.is_off(Reg::IrqCtrl, Reg::IrqCtrlack, irq_ctrl::PRIQ_IRQEN),
        }
    }

    /// CR1's two groups of fields have a guard each.
    fn merge_cr1(&self, value: u64, ecmdqs_off: bool) -> u64 {
        let mut merged = self.get(Reg::Cr1);
        if self.permits(Reg::Cr2.row()) {
            merged = cr1::TABLE.put(merged, cr1::TABLE.get(value));
        }
        let queues = [Reg::CmdqBase, Reg::EventqBase, Reg::PriqBase];
        if ecmdqs_off && queues.into_iter().all(|queue| self.permits(queue.row())) {
            merged = cr1::QUEUE.put(merged, cr1::QUEUE.get(value));
        }
        merged
    }
}

/// The bits of a register that exist on an SMMU with `features`.
fn implemented(row: &Register, features: &Features) -> u64 {
    let exists = match row.needs {
        Needs::Nothing => true,
        Needs::Msi => features.msi,
        Needs::Pri => features.pri,
        Needs::PriMsi => features.pri && features.msi,
        Needs::Atos => features.atos,
        Needs::Vatos => features.vatos,
        Needs::Absent => false,
    };
    if !exists {
        return 0;
    }
    let without = |present: bool, fields: &[Field]| {
        if present { 0 } else { fields.iter().fold(0, |mask, field| mask | field.mask()) }
    };
    let absent = match row.id {
        Reg::Cr0 | Reg::Cr0ack => {
            without(features.pri, &[cr0::PRIQEN])
                | without(features.ats, &[cr0::ATSCHK])
                | without(features.vmw, &[cr0::VMW])
        }
        Reg::Cr2 => {
            without(features.hyp, &[cr2::E2H])
                | without(features.btm, &[cr2::PTM])
                | without(features.atsrecerr, &[cr2::REC_CFG_ATS])
        }
        Reg::IrqCtrl | Reg::IrqCtrlack => without(features.pri, &[irq_ctrl::PRIQ_IRQEN]),
        Reg::Gerror | Reg::Gerrorn => {
            let msi = [gerror::MSI_CMDQ_ABT_ERR, gerror::MSI_EVENTQ_ABT_ERR, gerror::MSI_GERROR_ABT_ERR];
            without(features.msi, &msi)
                | without(features.pri, &[gerror::PRIQ_ABT_ERR])
                | without(features.pri && features.msi, &[gerror::MSI_PRIQ_ABT_ERR])
                | without(features.ecmdq.is_some(), &[gerror::CMDQP_ERR])
        }
        Reg::PriqIrqCfg2 => without(features.msi, &[irq_cfg2::MEMATTR, irq_cfg2::SH]),
        Reg::StrtabBaseCfg => without(features.two_level_stream_table, &[strtab::FMT, strtab::SPLIT]),
        Reg::GatosSid | Reg::VatosSid => {
            let beyond = |field: Field, bits: u8| field.put(0, !low_mask(bits.into()));
            beyond(atos::STREAMID, features.sidsize)
                | beyond(atos::SUBSTREAMID, features.ssidsize)
                | without(features.ssidsize != 0, &[atos::SSID_VALID])
        }
        Reg::VatosSel if !features.vmid16 => 0xff00,
        _ => 0,
    };
    row.bits & !absent
}

/// Whether a write to `row` can ever have effect on an SMMU with `features`.
fn is_writable(row: &Register, features: &Features) -> bool {
    let preset = match row.id {
        Reg::StrtabBase | Reg::StrtabBaseCfg => features.tables_preset.is_some(),
        Reg::CmdqBase | Reg::EventqBase | Reg::PriqBase => features.queues_preset.is_some(),
        _ => false,
    };
    row.kind == Kind::ReadWrite && !preset
}

const CMDQ_PROD: usize = Reg::CmdqProd as usize;
const EVENTQ_CONS: usize = Reg::EventqCons as usize;

/// Why an access is refused, in the order in which that is looked for.
#[cold]
#[inline(never)]
const fn refusal(offset: u32, size: usize) -> RegisterError {
    if size != 4 && size != 8 {
        RegisterError::InvalidSize
    } else if !offset.is_multiple_of(size as u32) {
        RegisterError::Unaligned
    } else {
        RegisterError::InvalidRegister
    }
}

impl<const N: usize> Smmu<N> {
    /// Bytes of the register window: pages 0 and 1, then the VATOS page and the command queue control pages, if any.
    #[must_use]
    pub fn window_bytes(&self) -> u32 {
        self.first_control_page() + self.control_pages() * PAGE_BYTES
    }

    /// Where the command queue control pages begin: behind the VATOS page, if there is one.
    pub(super) fn first_control_page(&self) -> u32 {
        if self.features.vatos {
            SIZE_BYTES + (u32::from(self.features.ba_vatos) + 1) * PAGE_BYTES
        } else {
            SIZE_BYTES
        }
    }

    /// The row of the register at `offset`, if there is one.
    #[inline]
    fn row(&self, offset: u32) -> Option<&'static Register> {
        if offset < SIZE_BYTES { regs::find(offset) } else { self.vatos_row(offset) }
    }

    #[cold]
    #[inline(never)]
    fn vatos_row(&self, offset: u32) -> Option<&'static Register> {
        let page = SIZE_BYTES + u32::from(self.features.ba_vatos) * PAGE_BYTES;
        let inside = offset.checked_sub(page).filter(|inside| self.features.vatos && *inside < PAGE_BYTES)?;
        regs::find(VATOS_PAGE + inside)
    }

    /// Whether `offset` is inside of the register window.
    #[inline]
    fn holds(&self, offset: u32) -> bool {
        offset < SIZE_BYTES || offset < self.window_bytes()
    }

    /// The 32 bits at `offset`, a multiple of 4.
    #[inline(always)]
    fn read_half(&self, offset: u32) -> u32 {
        match regs::word(offset) {
            Some((row, shift)) if offset < SIZE_BYTES => {
                (self.registers.values.get(row).copied().unwrap_or(0) >> (shift & 32)) as u32
            }
            _ => self.read_far(offset),
        }
    }

    /// The 32 bits at `offset` that belong to no register of pages 0 and 1.
    #[cold]
    #[inline(never)]
    fn read_far(&self, offset: u32) -> u32 {
        match self.row(offset) {
            Some(row) => (self.registers.get(row.id) >> (8 * (offset & (row.width - 1) & 4))) as u32,
            None => self.read_ecmdq(offset),
        }
    }

    #[inline(never)]
    fn read_both(&self, offset: u32) -> u64 {
        u64::from(self.read_half(offset + 4)) << 32 | u64::from(self.read_half(offset))
    }

    /// Reads 4 or 8 bytes of the register window at `offset` from page 0, little-endian.
    ///
    /// Undefined offsets read 0. 64-bit registers can be read whole or in halves; an 8-byte read of two 32-bit
    /// registers reads both.
    ///
    /// # Errors
    /// [`RegisterError`]; `data` is then unchanged.
    pub fn read(&self, offset: u32, data: &mut [u8]) -> Result<(), RegisterError> {
        if let Ok(word) = <&mut [u8; 4]>::try_from(&mut *data)
            && offset.is_multiple_of(4)
            && self.holds(offset)
        {
            *word = self.read_half(offset).to_le_bytes();
            Ok(())
        } else if let Ok(words) = <&mut [u8; 8]>::try_from(&mut *data)
            && offset.is_multiple_of(8)
            && self.holds(offset)
        {
            *words = self.read_both(offset).to_le_bytes();
            Ok(())
        } else {
            Err(refusal(offset, data.len()))
        }
    }

    /// Writes 4 or 8 bytes of the register window at `offset` from page 0, little-endian.
    ///
    /// Writes to undefined offsets, read-only registers and registers whose guard does not hold are ignored. An
    /// 8-byte write to two 32-bit registers writes the lower one first. Consumes at most
    /// [`Settings::commands_per_write`](super::Settings::commands_per_write) commands.
    ///
    /// # Errors
    /// [`RegisterError`]; nothing has changed then.
    pub fn write<H: Host + ?Sized>(
        &mut self,
        offset: u32,
        data: &[u8],
        host: &mut H,
    ) -> Result<(), RegisterError> {
        if let Ok(word) = <&[u8; 4]>::try_from(data)
            && offset.is_multiple_of(4)
            && self.holds(offset)
        {
            let value = u32::from_le_bytes(*word);
            host.step(&Step::RegisterWrite { offset, size: 4, value: value.into() });
            // The two indices that software writes all the time: every SMMU has them, and nothing guards them.
            match regs::word(offset).filter(|_| offset < SIZE_BYTES) {
                Some((CMDQ_PROD, _)) => {
                    self.registers.set(Reg::CmdqProd, u64::from(value) & Reg::CmdqProd.row().bits);
                    self.consume(host);
                }
                Some((EVENTQ_CONS, _)) => {
                    self.registers.set(Reg::EventqCons, u64::from(value) & Reg::EventqCons.row().bits);
                    self.record_waiting(host);
                }
                _ => self.write_half(offset, value, host),
            }
            Ok(())
        } else if let Ok(words) = <&[u8; 8]>::try_from(data)
            && offset.is_multiple_of(8)
            && self.holds(offset)
        {
            let value = u64::from_le_bytes(*words);
            host.step(&Step::RegisterWrite { offset, size: 8, value });
            match self.row(offset) {
                Some(row) if row.width == 8 => self.write_row(row, value, u64::MAX, host),
                _ => {
                    self.write_half(offset, value as u32, host);
                    self.write_half(offset + 4, (value >> 32) as u32, host);
                }
            }
            Ok(())
        } else {
            Err(refusal(offset, data.len()))
        }
    }

    /// Writes 32 bits: a whole 32-bit register or half of a 64-bit one.
    #[inline(never)]
    fn write_half<H: Host + ?Sized>(&mut self, offset: u32, value: u32, host: &mut H) {
        match self.row(offset) {
            Some(row) => {
                let shift = 8 * (offset & (row.width - 1) & 4);
                self.write_row(row, u64::from(value) << shift, 0xffff_ffff << shift, host);
            }
            None => self.write_ecmdq(offset, value, host),
        }
    }

    /// Writes the bits of `mask`.
    fn write_row<H: Host + ?Sized>(&mut self, row: &Register, value: u64, mask: u64, host: &mut H) {
        if !is_writable(row, &self.features) || !self.registers.permits(row) {
            return;
        }
        let bits = implemented(row, &self.features) & mask;
        let old = self.registers.get(row.id);
        let new = old & !mask | value & bits;
        match row.id {
            Reg::Cr0 => self.write_cr0(old, new, host),
            Reg::Cr1 => self.registers.set(Reg::Cr1, self.registers.merge_cr1(new, self.ecmdqs_are_off())),
            Reg::Cr2 => {
                // STEs are remembered with the StreamWorld that E2H gives them.
                if cr2::E2H.get(old ^ new) != 0 {
                    self.caches.config.clear();
                    self.recents.clear();
                }
                self.registers.set(Reg::Cr2, new);
            }
            Reg::Gbpa => {
                if gbpa::UPDATE.get(new) != 0 {
                    self.registers.set(Reg::Gbpa, gbpa::UPDATE.put(new, 0));
                }
            }
            Reg::IrqCtrl => {
                self.registers.set(Reg::IrqCtrl, new);
                self.registers.set(Reg::IrqCtrlack, new);
            }
            Reg::Gerrorn => {
                self.registers.set(Reg::Gerrorn, new);
                self.consume(host);
                self.record_waiting(host);
            }
            Reg::CmdqProd => {
                self.registers.set(Reg::CmdqProd, new);
                self.consume(host);
            }
            Reg::GatosCtrl | Reg::VatosCtrl => self.run_atos(row.id, new, host),
            Reg::EventqCons => {
                self.registers.set(Reg::EventqCons, new);
                self.record_waiting(host);
            }
            id => self.registers.set(id, new),
        }
    }

    /// CR0: every update completes at once, and CR0ACK follows (§6.3.9).
    fn write_cr0<H: Host + ?Sized>(&mut self, old: u64, new: u64, host: &mut H) {
        self.registers.set(Reg::Cr0, new);
        self.registers.set(Reg::Cr0ack, new);
        self.recents.clear();
        let (risen, fallen) = (new & !old, old & !new);
        if cr0::SMMUEN.get(fallen) != 0 {
            self.stalls.abort_all();
        }
        if cr0::EVENTQEN.get(risen) != 0 {
            self.record_waiting(host);
        }
        if cr0::CMDQEN.get(risen) != 0 {
            self.consume(host);
        }
    }
}
