//! QEMU's board `virt` as far as the firmware uses it, with the model in the place of its SMMU: a serial port, configuration
//! space with one `edu` device, and that device.

use smmuv3::{
    Abort, Env, Features, Iova, Memory, NoInterrupts, NoTrace, Pa, Settings, Smmu, StreamId, Transaction,
};

use crate::unicorn::{Devices, Ram};

/// Where a device is, and how many bytes of addresses it has.
pub(crate) struct Place {
    pub(crate) base: u64,
    pub(crate) bytes: u64,
}

impl Place {
    fn offset(&self, address: u64) -> Option<u64> {
        address.checked_sub(self.base).filter(|offset| *offset < self.bytes)
    }
}

const UART: Place = Place { base: 0x0900_0000, bytes: 0x1000 };
const SMMU: Place = Place { base: 0x0905_0000, bytes: 0x2_0000 };
const PCI_MEMORY: Place = Place { base: 0x1000_0000, bytes: 0x1000_0000 };
const ECAM: Place = Place { base: 0x3f00_0000, bytes: 0x10_0000 };

/// All windows of the board.
pub(crate) const WINDOWS: [Place; 4] = [UART, SMMU, PCI_MEMORY, ECAM];

/// Memory.
pub(crate) const RAM: Place = Place { base: 0x4000_0000, bytes: 0x800_0000 };

/// What the firmware says last.
const END: u8 = 0x04;

/// Device 1, function 0 of bus 0.
const EDU_STREAM: u32 = 1 << 3;

/// The devices.
pub(crate) struct Board {
    smmu: Smmu<1024>,
    edu: Edu,
    /// What was said on the serial port.
    pub(crate) said: Vec<u8>,
    /// Whether it has ended.
    pub(crate) ended: bool,
}

impl Board {
    /// A board whose SMMU has `features`.
    pub(crate) fn new(features: Features) -> Result<Self, smmuv3::ConfigError> {
        let smmu = Smmu::new(features, Settings::new(256, 4))?;
        Ok(Self { smmu, edu: Edu::default(), said: Vec::new(), ended: false })
    }
}

impl Devices for Board {
    fn read(&mut self, address: u64, size: u32) -> u64 {
        let mut data = [0; 8];
        if let Some(offset) = SMMU.offset(address) {
            if let Some(data) = data.get_mut(..size as usize) {
                // What the window refuses reads 0.
                let _ = self.smmu.read(offset as u32, data);
            }
            return u64::from_le_bytes(data);
        }
        if let Some(offset) = ECAM.offset(address) {
            return self.edu.read_config(offset).into();
        }
        self.edu.read(address)
    }

    fn write(&mut self, address: u64, size: u32, value: u64, ram: &mut Ram<'_>) -> bool {
        if UART.offset(address) == Some(0) {
            self.ended = value as u8 == END;
            if !self.ended {
                self.said.push(value as u8);
            }
            return !self.ended;
        }
        let mut memory = Guest(ram);
        let mut env = Env { memory: &mut memory, interrupts: &mut NoInterrupts, trace: &mut NoTrace };
        if let Some(offset) = SMMU.offset(address) {
            let data = value.to_le_bytes();
            if let Some(data) = data.get(..size as usize) {
                // What the window refuses is ignored.
                let _ = self.smmu.write(offset as u32, data, &mut env);
            }
            while self.smmu.pending() {
                self.smmu.poll(64, &mut env);
            }
        } else if let Some(offset) = ECAM.offset(address) {
            self.edu.write_config(offset, value as u32);
        } else if let Some(dma) = self.edu.write(address, size, value) {
            self.edu.transfer(&dma, &mut self.smmu, &mut env);
        }
        true
    }
}

/// The machine's memory as the SMMU and its devices see it.
struct Guest<'a, 'b>(&'a mut Ram<'b>);

impl Memory for Guest<'_, '_> {
    fn read(&self, address: Pa, data: &mut [u8]) -> Result<(), Abort> {
        if self.0.read(address.0, data) { Ok(()) } else { Err(Abort) }
    }

    fn write(&mut self, address: Pa, data: &[u8]) -> Result<(), Abort> {
        if self.0.write(address.0, data) { Ok(()) } else { Err(Abort) }
    }
}

/// The device `edu` of QEMU, by its description (`docs/specs/edu`): a buffer of 4 KiB, and DMA to and from it.
struct Edu {
    base: u32,
    command: u32,
    inverted: u32,
    source: u64,
    destination: u64,
    count: u64,
    buffer: [u8; 4096],
}

impl Default for Edu {
    fn default() -> Self {
        Self { base: 0, command: 0, inverted: 0, source: 0, destination: 0, count: 0, buffer: [0; 4096] }
    }
}

/// A DMA: an address, a range of the buffer, and whether memory is written.
struct Dma {
    address: u64,
    buffer: std::ops::Range<usize>,
    to_memory: bool,
}

impl Edu {
    const BUFFER: u64 = 0x4_0000;

    fn read_config(&self, offset: u64) -> u32 {
        match offset.checked_sub(u64::from(EDU_STREAM) << 12) {
            Some(0x00) => 0x11e8_1234,
            Some(0x04) => self.command,
            Some(0x10) => self.base,
            _ => u32::MAX,
        }
    }

    fn write_config(&mut self, offset: u64, value: u32) {
        match offset.checked_sub(u64::from(EDU_STREAM) << 12) {
            Some(0x04) => self.command = value & 0b110,
            // 1 MiB.
            Some(0x10) => self.base = value & 0xfff0_0000,
            _ => {}
        }
    }

    /// The register at `address`, where memory space is enabled.
    fn register(&self, address: u64) -> Option<u64> {
        let place = Place { base: self.base.into(), bytes: 0x10_0000 };
        place.offset(address).filter(|_| self.command & 0b010 != 0)
    }

    fn read(&self, address: u64) -> u64 {
        match self.register(address) {
            Some(0x00) => 0x0100_00ed,
            Some(0x04) => self.inverted.into(),
            // A transfer takes no time here.
            Some(0x98) => 0,
            _ => u64::MAX,
        }
    }

    /// Writes `size` bytes; a CPU's 64 bits may come in halves.
    fn write(&mut self, address: u64, size: u32, value: u64) -> Option<Dma> {
        let at = self.register(address)?;
        let part = |whole: &mut u64| {
            let shift = 8 * (at & 4);
            let mask = u64::MAX >> (64 - 8 * u64::from(size.clamp(1, 8))) << shift;
            *whole = *whole & !mask | value << shift & mask;
        };
        match at {
            0x04 => self.inverted = !(value as u32),
            0x80 | 0x84 => part(&mut self.source),
            0x88 | 0x8c => part(&mut self.destination),
            0x90 | 0x94 => part(&mut self.count),
            // The device is a master only where it may be.
            0x98 if value & 1 != 0 && self.command & 0b100 != 0 => {
                let to_memory = value & 0b10 != 0;
                let (address, buffer) =
                    if to_memory { (self.destination, self.source) } else { (self.source, self.destination) };
                let first = usize::try_from(buffer.checked_sub(Self::BUFFER)?).ok()?;
                let buffer = first..first.checked_add(usize::try_from(self.count).ok()?)?;
                return (buffer.end <= self.buffer.len()).then_some(Dma { address, buffer, to_memory });
            }
            _ => {}
        }
        None
    }

    /// Moves the data, as far as the SMMU lets it; a part that does not go through is lost.
    fn transfer<M: Memory>(
        &mut self,
        dma: &Dma,
        smmu: &mut Smmu<1024>,
        env: &mut Env<'_, M, NoInterrupts, NoTrace>,
    ) {
        let mut address = dma.address;
        let mut rest = &mut self.buffer[dma.buffer.clone()];
        while !rest.is_empty() {
            let access = if dma.to_memory { Transaction::write } else { Transaction::read };
            let transaction = access(StreamId(EDU_STREAM), Iova(address));
            let Ok(to) = smmu.translate(&transaction, env) else { return };
            let bytes = rest.len().min(usize::try_from(to.span).unwrap_or(usize::MAX));
            let (part, others) = rest.split_at_mut(bytes);
            // An abort of memory itself is the device's affair, which has no way to tell.
            let _ = if dma.to_memory { env.memory.write(to.pa, part) } else { env.memory.read(to.pa, part) };
            rest = others;
            address = address.wrapping_add(bytes as u64);
        }
    }
}
