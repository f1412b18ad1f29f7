//! A small machine that has been set up as a driver would: one linear stream table, one stage-1 address space, a
//! command queue and an event queue. It speaks to the device through memory and registers only.

use smmuv3::{Abort, Env, Features, Memory, NoInterrupts, NoTrace, Pa, RegisterError, Settings, Smmu};

/// Where the guest's physical memory ends; what lies beyond answers with an abort.
pub const RAM_BYTES: u64 = 0x2_0000;
/// The command queue's slots, as a power of two.
pub const LOG2_COMMANDS: u32 = 5;

/// Register offsets (§6.1).
pub mod reg {
    #![allow(missing_docs)]
    pub const CR0: u32 = 0x20;
    pub const CR2: u32 = 0x2c;
    pub const GERROR: u32 = 0x60;
    pub const GERRORN: u32 = 0x64;
    pub const STRTAB_BASE: u32 = 0x80;
    pub const STRTAB_BASE_CFG: u32 = 0x88;
    pub const CMDQ_BASE: u32 = 0x90;
    pub const CMDQ_PROD: u32 = 0x98;
    pub const CMDQ_CONS: u32 = 0x9c;
    pub const EVENTQ_BASE: u32 = 0xa0;
    pub const EVENTQ_PROD: u32 = 0x1_00a8;
    pub const EVENTQ_CONS: u32 = 0x1_00ac;
}

const STREAM_TABLE: u64 = 0x0_1000;
const CONTEXT: u64 = 0x0_2000;
const TABLE_L1: u64 = 0x0_3000;
const TABLE_L2: u64 = 0x0_4000;
const TABLE_L3: u64 = 0x0_5000;
const COMMANDS: u64 = 0x0_8000;
const EVENTS: u64 = 0x1_0000;

const LOG2_STREAMS: u32 = 3;
const LOG2_EVENTS: u32 = 4;
const CR0_SMMUEN: u32 = 1 << 0;
const CR0_EVENTQEN: u32 = 1 << 2;
const CR0_CMDQEN: u32 = 1 << 3;
const CR2_RECINVSID: u32 = 1 << 1;

/// The device, its memory, and the producer index that a driver would keep.
pub struct World {
    /// The device.
    pub smmu: Smmu<64>,
    /// Physical memory.
    pub ram: Ram,
    produced: u32,
}

impl World {
    /// Tables written, queues empty, everything enabled.
    pub fn new() -> Self {
        let smmu = Smmu::new(Features::SMMUV3_2, Settings::new(16, 4)).expect("a geometry that fits");
        let mut world = Self { smmu, ram: Ram(vec![0; RAM_BYTES as usize]), produced: 0 };
        world.write_tables();
        world.set64(reg::STRTAB_BASE, STREAM_TABLE);
        world.set(reg::STRTAB_BASE_CFG, LOG2_STREAMS);
        world.set(reg::CR2, CR2_RECINVSID);
        world.set64(reg::CMDQ_BASE, COMMANDS | u64::from(LOG2_COMMANDS));
        world.set64(reg::EVENTQ_BASE, EVENTS | u64::from(LOG2_EVENTS));
        for offset in [reg::CMDQ_PROD, reg::CMDQ_CONS, reg::EVENTQ_PROD, reg::EVENTQ_CONS] {
            world.set(offset, 0);
        }
        world.set(reg::CR0, CR0_CMDQEN | CR0_EVENTQEN | CR0_SMMUEN);
        world
    }

    /// Stream 0 bypasses, stream 1 is translated by stage 1, stream 2 is aborted silently; the others are no STE at all.
    fn write_tables(&mut self) {
        const VALID: u64 = 1;
        self.ram.put(STREAM_TABLE, VALID | 0b100 << 1);
        self.ram.put(STREAM_TABLE + 0x40, VALID | 0b101 << 1 | CONTEXT);
        self.ram.put(STREAM_TABLE + 0x80, VALID);

        // T0SZ = 25: a 39-bit space from level 1. EPD1, V, IPS = 44 bits, AA64, R, A, ASET, ASID 1.
        let context = 25 | 1 << 30 | 1 << 31 | 0b100 << 32 | 1 << 41 | 1 << 45 | 1 << 46 | 1 << 47 | 1 << 48;
        self.ram.put(CONTEXT, context);
        self.ram.put(CONTEXT + 8, TABLE_L1);
        self.ram.put(CONTEXT + 24, 0xff); // MAIR: Attr0 is normal, write-back

        const TABLE: u64 = 0b11;
        const BLOCK: u64 = 0b01 | 1 << 6 | 0b11 << 8 | 1 << 10; // AP = read and write, inner shareable, AF
        const PAGE: u64 = BLOCK | 0b11;
        const NOT_GLOBAL: u64 = 1 << 11;
        self.ram.put(TABLE_L1, TABLE | TABLE_L2);
        self.ram.put(TABLE_L1 + 8, BLOCK | NOT_GLOBAL | 0x40_0000_0000); // 1 GiB
        self.ram.put(TABLE_L2, TABLE | TABLE_L3);
        self.ram.put(TABLE_L2 + 8, BLOCK | 0x80_0020_0000); // 2 MiB, global
        for page in 0..64 {
            let attributes = if page % 3 == 0 { PAGE } else { PAGE | NOT_GLOBAL };
            self.ram.put(TABLE_L3 + 8 * page, attributes | 0x90_0000_0000 | (page ^ 0x15) << 12);
        }
    }

    /// Puts one command into the next slot, as a driver does that never looks whether there is room.
    pub fn produce(&mut self, command: [u8; 16]) {
        let slot = u64::from(self.produced & ((1 << LOG2_COMMANDS) - 1));
        self.ram.put_bytes(COMMANDS + 16 * slot, &command);
        self.produced = (self.produced + 1) & ((2 << LOG2_COMMANDS) - 1);
    }

    /// Tells the device of all commands produced so far.
    pub fn ring(&mut self) {
        self.set(reg::CMDQ_PROD, self.produced);
    }

    /// Acknowledges the errors in SMMU_GERROR (§7.5), stepping over a command that was in error.
    pub fn acknowledge(&mut self) {
        let gerror = self.get(reg::GERROR);
        self.set(reg::GERRORN, gerror);
    }

    /// Consumes the whole event queue.
    pub fn drain_events(&mut self) {
        let produced = self.get(reg::EVENTQ_PROD);
        self.set(reg::EVENTQ_CONS, produced);
    }

    /// Reads a 32-bit register.
    pub fn get(&self, offset: u32) -> u32 {
        let mut data = [0; 4];
        self.smmu.read(offset, &mut data).expect("a register that exists");
        u32::from_le_bytes(data)
    }

    /// Writes a 32-bit register.
    pub fn set(&mut self, offset: u32, value: u32) {
        self.write(offset, &value.to_le_bytes()).expect("a register that exists");
    }

    fn set64(&mut self, offset: u32, value: u64) {
        self.write(offset, &value.to_le_bytes()).expect("a register that exists");
    }

    /// Writes to the register window, then gives the device all the time it needs.
    fn write(&mut self, offset: u32, data: &[u8]) -> Result<(), RegisterError> {
        let mut env = Env { memory: &mut self.ram, interrupts: &mut NoInterrupts, trace: &mut NoTrace };
        self.smmu.write(offset, data, &mut env)?;
        while self.smmu.pending() && self.smmu.poll(8, &mut env) > 0 {}
        Ok(())
    }
}

impl Default for World {
    fn default() -> Self {
        Self::new()
    }
}

/// Memory from address 0 up. A device may write only from the event queue on: a CMD_SYNC that signals by a memory write
/// would change the tables otherwise, and a changed table without an invalidation has no single truth.
pub struct Ram(Vec<u8>);

impl Ram {
    /// Writes one 64-bit word, as software does.
    pub fn put(&mut self, pa: u64, value: u64) {
        self.put_bytes(pa, &value.to_le_bytes());
    }

    fn put_bytes(&mut self, pa: u64, data: &[u8]) {
        let start = usize::try_from(pa).expect("an address below the end of memory");
        self.0[start..start + data.len()].copy_from_slice(data);
    }
}

impl Memory for Ram {
    fn read(&self, pa: Pa, data: &mut [u8]) -> Result<(), Abort> {
        let start = usize::try_from(pa.0).map_err(|_| Abort)?;
        let end = start.checked_add(data.len()).ok_or(Abort)?;
        data.copy_from_slice(self.0.get(start..end).ok_or(Abort)?);
        Ok(())
    }

    fn write(&mut self, pa: Pa, data: &[u8]) -> Result<(), Abort> {
        if pa.0 < EVENTS {
            return Err(Abort);
        }
        let start = usize::try_from(pa.0).map_err(|_| Abort)?;
        let end = start.checked_add(data.len()).ok_or(Abort)?;
        self.0.get_mut(start..end).ok_or(Abort)?.copy_from_slice(data);
        Ok(())
    }
}
