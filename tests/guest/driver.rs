//! A small driver in front of a device: what firmware and Linux do with an SMMU, through its registers and queues alone.

#![allow(
    clippy::panic,
    clippy::indexing_slicing,
    clippy::expect_used,
    reason = "a driver whose device does not answer, or that is misused, must stop the test"
)]

use smmuv3::{Env, Features, Interrupt, Interrupts, Iova, Memory, Pa, Settings, Smmu, StreamId, SubstreamId};
use smmuv3::{Transaction, Translation};

use crate::bits::Words;
use crate::commands::{self, Command, Implemented, Leaf};
use crate::counters::Counters;
use crate::oracle::{Access, Fault};
use crate::tables::{Cd, Heap, Ste};
use crate::watch::{Both, Watch};

/// Register offsets that the driver uses, §6.2.
#[allow(missing_docs, reason = "the names are the specification's own")]
pub mod register {
    pub const IDR0: u32 = 0x00;
    pub const IIDR: u32 = 0x18;
    pub const AIDR: u32 = 0x1c;
    pub const CR0: u32 = 0x20;
    pub const CR0ACK: u32 = 0x24;
    pub const CR1: u32 = 0x28;
    pub const CR2: u32 = 0x2c;
    pub const STATUSR: u32 = 0x40;
    pub const GBPA: u32 = 0x44;
    pub const IRQ_CTRL: u32 = 0x50;
    pub const IRQ_CTRLACK: u32 = 0x54;
    pub const GERROR: u32 = 0x60;
    pub const GERRORN: u32 = 0x64;
    pub const GERROR_IRQ_CFG0: u32 = 0x68;
    pub const GERROR_IRQ_CFG1: u32 = 0x70;
    pub const GERROR_IRQ_CFG2: u32 = 0x74;
    pub const STRTAB_BASE: u32 = 0x80;
    pub const STRTAB_BASE_CFG: u32 = 0x88;
    pub const CMDQ_BASE: u32 = 0x90;
    pub const CMDQ_PROD: u32 = 0x98;
    pub const CMDQ_CONS: u32 = 0x9c;
    pub const EVENTQ_BASE: u32 = 0xa0;
    pub const EVENTQ_IRQ_CFG0: u32 = 0xb0;
    pub const EVENTQ_IRQ_CFG1: u32 = 0xb8;
    pub const EVENTQ_IRQ_CFG2: u32 = 0xbc;
    pub const PRIQ_BASE: u32 = 0xc0;
    pub const PRIQ_IRQ_CFG0: u32 = 0xd0;
    pub const PRIQ_IRQ_CFG1: u32 = 0xd8;
    pub const PRIQ_IRQ_CFG2: u32 = 0xdc;
    pub const GATOS_CTRL: u32 = 0x100;
    pub const GATOS_SID: u32 = 0x108;
    pub const GATOS_ADDR: u32 = 0x110;
    pub const GATOS_PAR: u32 = 0x118;
    pub const VATOS_SEL: u32 = 0x180;
    pub const IDR6: u32 = 0x190;
    pub const CMDQ_CONTROL_PAGE_BASE0: u32 = 0x4000;
    pub const EVENTQ_PROD: u32 = 0x100a8;
    pub const EVENTQ_CONS: u32 = 0x100ac;
    pub const PRIQ_PROD: u32 = 0x100c8;
    pub const PRIQ_CONS: u32 = 0x100cc;
    /// In the VATOS page.
    pub const VATOS_CTRL: u32 = 0xa00;
    pub const VATOS_SID: u32 = 0xa08;
    pub const VATOS_ADDR: u32 = 0xa10;
    pub const VATOS_PAR: u32 = 0xa18;
}

/// Bits of CR0, CR2 and GERROR, and the codes of CMDQ_CONS.ERR.
#[allow(missing_docs, reason = "the names are the specification's own")]
pub mod value {
    pub const SMMUEN: u32 = 1 << 0;
    pub const PRIQEN: u32 = 1 << 1;
    pub const ATSCHK: u32 = 1 << 4;
    pub const EVENTQEN: u32 = 1 << 2;
    pub const CMDQEN: u32 = 1 << 3;
    pub const RECINVSID: u32 = 1 << 1;
    pub const PTM: u32 = 1 << 2;
    pub const E2H: u32 = 1 << 0;
    pub const REC_CFG_ATS: u32 = 1 << 3;
    pub const CMDQ_ERR: u32 = 1 << 0;
    pub const EVENTQ_ABT_ERR: u32 = 1 << 2;
    pub const PRIQ_ABT_ERR: u32 = 1 << 3;
    pub const MSI_CMDQ_ABT_ERR: u32 = 1 << 4;
    pub const MSI_EVENTQ_ABT_ERR: u32 = 1 << 5;
    pub const MSI_PRIQ_ABT_ERR: u32 = 1 << 6;
    pub const MSI_GERROR_ABT_ERR: u32 = 1 << 7;
    pub const CMDQP_ERR: u32 = 1 << 9;
    pub const CERROR_ILL: u32 = 1;
    pub const CERROR_ABT: u32 = 2;
    pub const CERROR_ATC_INV_SYNC: u32 = 3;
    pub const GERROR_IRQEN: u32 = 1 << 0;
    pub const PRIQ_IRQEN: u32 = 1 << 1;
    pub const EVENTQ_IRQEN: u32 = 1 << 2;
    pub const GBPA_ABORT: u32 = 1 << 20;
    pub const GBPA_UPDATE: u32 = 1 << 31;
    pub const OVERFLOW: u32 = 1 << 31;
}

/// One block of RAM; everything else aborts.
#[derive(Clone)]
pub struct Ram {
    base: u64,
    bytes: Vec<u8>,
}

impl Ram {
    /// `bytes` of zeros from `base` on.
    pub fn new(base: u64, bytes: usize) -> Ram {
        Ram { base, bytes: vec![0; bytes] }
    }

    fn range(&self, pa: u64, length: usize) -> Option<core::ops::Range<usize>> {
        let start = usize::try_from(pa.checked_sub(self.base)?).ok()?;
        let end = start.checked_add(length)?;
        (end <= self.bytes.len()).then_some(start..end)
    }
}

impl Memory for Ram {
    fn read(&self, pa: Pa, data: &mut [u8]) -> Result<(), smmuv3::Abort> {
        let range = self.range(pa.0, data.len()).ok_or(smmuv3::Abort)?;
        data.copy_from_slice(&self.bytes[range]);
        Ok(())
    }

    fn write(&mut self, pa: Pa, data: &[u8]) -> Result<(), smmuv3::Abort> {
        let range = self.range(pa.0, data.len()).ok_or(smmuv3::Abort)?;
        self.bytes[range].copy_from_slice(data);
        Ok(())
    }
}

impl Words for Ram {
    fn word(&self, pa: u64) -> Option<u64> {
        let range = self.range(pa, 8)?;
        Some(u64::from_le_bytes(self.bytes[range].try_into().expect("eight bytes")))
    }

    fn set_word(&mut self, pa: u64, value: u64) {
        let range = self.range(pa, 8).unwrap_or_else(|| panic!("{pa:#x} is not RAM"));
        self.bytes[range].copy_from_slice(&value.to_le_bytes());
    }
}

/// Counts the pulses of the wired interrupts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are the specification's own")]
pub struct Lines {
    pub eventq: u32,
    pub priq: u32,
    pub cmd_sync: u32,
    pub gerror: u32,
    /// WFE events.
    pub events: u32,
}

impl Interrupts for Lines {
    fn pulse(&mut self, line: Interrupt) {
        match line {
            Interrupt::Eventq => self.eventq += 1,
            Interrupt::Priq => self.priq += 1,
            Interrupt::CmdSync => self.cmd_sync += 1,
            Interrupt::Gerror => self.gerror += 1,
        }
    }

    fn send_event(&mut self) {
        self.events += 1;
    }
}

/// A stopped command queue: CMDQ_CONS as it was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stopped {
    /// CMDQ_CONS.ERR
    pub code: u32,
    /// CMDQ_CONS.RD, with its wrap bit.
    pub index: u32,
}

/// Where a transaction ended: its physical address, or the name of the event that it made, if any.
pub type Outcome = Result<u64, Option<&'static str>>;

/// What boot writes where it has a choice.
#[derive(Clone, Copy, Debug)]
pub struct Boot {
    /// SMMU_STRTAB_BASE
    pub strtab_base: u64,
    /// SMMU_STRTAB_BASE_CFG
    pub strtab_base_cfg: u32,
    /// SMMU_CR2
    pub cr2: u32,
    /// log2 of the command queue's entries.
    pub log2_commands: u32,
    /// log2 of the event queue's entries.
    pub log2_events: u32,
}

/// Where RAM begins.
pub const RAM_BASE: u64 = 0x8000_0000;
/// Where the linear stream table of the usual boot lies.
pub const STREAM_TABLE: u64 = RAM_BASE;
/// log2 of the STEs in it.
pub const LOG2_STREAMS: u32 = 8;
/// Where the command queue lies.
pub const COMMAND_QUEUE: u64 = RAM_BASE + 0x1_0000;
/// Where the event queue lies.
pub const EVENT_QUEUE: u64 = RAM_BASE + 0x2_0000;
/// From here on, memory is the tests' own.
pub const FREE: u64 = RAM_BASE + 0x10_0000;

impl Boot {
    /// A linear table of 256 STEs, queues of 64 commands and 32 events.
    pub const USUAL: Boot = Boot {
        strtab_base: STREAM_TABLE,
        strtab_base_cfg: LOG2_STREAMS,
        cr2: value::RECINVSID | value::PTM,
        log2_commands: 6,
        log2_events: 5,
    };
}

/// A device, its memory, and the driver's own indices.
#[derive(Clone)]
pub struct Driver<const N: usize> {
    /// The device.
    pub smmu: Smmu<N>,
    /// Memory.
    pub ram: Ram,
    /// The wired interrupts.
    pub lines: Lines,
    /// What the device did.
    pub counters: Counters,
    /// What else the world saw of it.
    pub watch: Watch,
    /// What the ID registers say.
    pub has: Implemented,
    /// Memory that tests build their tables in.
    pub heap: Heap,
    boot: Boot,
    prod: u32,
    event_cons: u32,
}

impl<const N: usize> Driver<N> {
    /// A device in reset with `megabytes` of RAM.
    pub fn new(features: Features, settings: Settings, megabytes: usize) -> Driver<N> {
        let smmu = Smmu::new(features, settings).unwrap_or_else(|error| panic!("{error}"));
        let bytes = megabytes << 20;
        let mut driver = Driver {
            smmu,
            ram: Ram::new(RAM_BASE, bytes),
            lines: Lines::default(),
            counters: Counters::default(),
            watch: Watch::default(),
            has: Implemented::from_idr([0; 6]),
            heap: Heap::new(FREE, RAM_BASE + bytes as u64 - FREE),
            boot: Boot::USUAL,
            prod: 0,
            event_cons: 0,
        };
        driver.has =
            Implemented::from_idr(core::array::from_fn(|n| driver.read32(register::IDR0 + 4 * n as u32)));
        driver
    }

    /// A booted device.
    pub fn booted(features: Features, settings: Settings, megabytes: usize) -> Driver<N> {
        let mut driver = Driver::new(features, settings, megabytes);
        driver.boot(Boot::USUAL);
        driver
    }

    /// Reads a 32-bit register.
    pub fn read32(&self, offset: u32) -> u32 {
        let mut data = [0; 4];
        self.smmu.read(offset, &mut data).unwrap_or_else(|error| panic!("read of {offset:#x}: {error:?}"));
        u32::from_le_bytes(data)
    }

    /// Reads a 64-bit register.
    pub fn read64(&self, offset: u32) -> u64 {
        let mut data = [0; 8];
        self.smmu.read(offset, &mut data).unwrap_or_else(|error| panic!("read of {offset:#x}: {error:?}"));
        u64::from_le_bytes(data)
    }

    /// Writes a 32-bit register, and gives the device the time to react.
    pub fn write32(&mut self, offset: u32, value: u32) {
        self.write(offset, &value.to_le_bytes());
    }

    /// Writes a 64-bit register, and gives the device the time to react.
    pub fn write64(&mut self, offset: u32, value: u64) {
        self.write(offset, &value.to_le_bytes());
    }

    fn write(&mut self, offset: u32, data: &[u8]) {
        self.call(|smmu, env| {
            let written = smmu.write(offset, data, env);
            written.unwrap_or_else(|error| panic!("write of {offset:#x}: {error:?}"));
            let mut rounds = 0;
            while smmu.pending() {
                smmu.poll(1 << 12, env);
                rounds += 1;
                assert!(rounds < 1 << 12, "the device never comes to rest");
            }
        });
    }

    /// Calls the device with all that it is lent.
    pub fn call<R>(&mut self, what: impl FnOnce(&mut Smmu<N>, &mut Env<'_, Ram, Lines, Both<'_>>) -> R) -> R {
        let mut trace = Both { counters: &mut self.counters, watch: &mut self.watch };
        let mut env = Env { memory: &mut self.ram, interrupts: &mut self.lines, trace: &mut trace };
        what(&mut self.smmu, &mut env)
    }

    /// Writes CR0 and polls CR0ACK for the whole value, as Linux does.
    pub fn write_cr0(&mut self, value: u32) {
        self.write32(register::CR0, value);
        assert_eq!(self.read32(register::CR0ACK), value, "CR0ACK");
    }

    /// Brings the device up in the order of Linux' `arm_smmu_device_reset`.
    pub fn boot(&mut self, boot: Boot) {
        self.boot = boot;
        if self.read32(register::CR0) & value::SMMUEN != 0 {
            self.write32(register::GBPA, value::GBPA_ABORT | value::GBPA_UPDATE);
            assert_eq!(self.read32(register::GBPA) & value::GBPA_UPDATE, 0);
        }
        self.write_cr0(0);
        self.write32(register::CR1, 0xd75); // tables and queues: inner shareable, write-back
        self.write32(register::CR2, boot.cr2);
        self.write64(register::STRTAB_BASE, boot.strtab_base | 1 << 62);
        self.write32(register::STRTAB_BASE_CFG, boot.strtab_base_cfg);
        self.write64(register::CMDQ_BASE, COMMAND_QUEUE | u64::from(boot.log2_commands) | 1 << 62);
        self.write32(register::CMDQ_PROD, 0);
        self.write32(register::CMDQ_CONS, 0);
        self.prod = 0;
        self.write_cr0(value::CMDQEN);
        self.run(&[commands::cfgi_all()]);
        if self.has.hyp {
            self.run(&[commands::tlbi_el2_all()]);
        }
        self.run(&[commands::tlbi_nsnh_all()]);
        self.write64(register::EVENTQ_BASE, EVENT_QUEUE | u64::from(boot.log2_events) | 1 << 62);
        self.write32(register::EVENTQ_PROD, 0);
        self.write32(register::EVENTQ_CONS, 0);
        self.event_cons = 0;
        self.write_cr0(value::CMDQEN | value::EVENTQEN);
        self.write32(register::IRQ_CTRL, 0);
        self.write64(register::GERROR_IRQ_CFG0, 0);
        self.write64(register::EVENTQ_IRQ_CFG0, 0);
        let enables = value::GERROR_IRQEN | value::EVENTQ_IRQEN;
        self.write32(register::IRQ_CTRL, enables);
        assert_eq!(self.read32(register::IRQ_CTRLACK), enables, "IRQ_CTRLACK");
        self.write_cr0(value::CMDQEN | value::EVENTQEN | value::SMMUEN);
    }

    /// Puts an STE into the linear table, and invalidates what was cached of it.
    pub fn install_ste(&mut self, sid: u32, ste: &Ste) {
        self.write_record(self.boot.strtab_base + 64 * u64::from(sid), &ste.0);
        self.run(&[commands::cfgi_ste(sid, Leaf::Only)]);
    }

    /// Puts a CD somewhere, and invalidates what was cached of it through (`sid`, `ssid`).
    pub fn install_cd(&mut self, sid: u32, ssid: u32, pa: u64, cd: &Cd) {
        self.write_record(pa, &cd.0);
        self.run(&[commands::cfgi_cd(sid, ssid, Leaf::Only)]);
    }

    /// Writes dwords to memory.
    pub fn write_record(&mut self, pa: u64, dwords: &[u64]) {
        for (address, &dword) in (pa..).step_by(8).zip(dwords) {
            self.ram.set_word(address, dword);
        }
    }

    /// Reads `W` dwords of memory.
    pub fn read_record<const W: usize>(&self, pa: u64) -> [u64; W] {
        core::array::from_fn(|n| self.ram.word(pa + 8 * n as u64).expect("RAM"))
    }

    /// Issues commands and a CMD_SYNC, none of which may fail.
    pub fn run(&mut self, commands: &[Command]) {
        if let Err(stopped) = self.submit(commands) {
            panic!("{commands:x?}: {stopped:?}");
        }
    }

    /// Issues commands and a CMD_SYNC; all are consumed, or the queue has stopped.
    pub fn submit(&mut self, commands: &[Command]) -> Result<(), Stopped> {
        for &command in commands.iter().chain(&[commands::sync()]) {
            self.put(command);
            if self.prod.wrapping_sub(self.cons()) & self.index_mask() == self.entries() {
                self.ring()?;
            }
        }
        self.ring()
    }

    /// Puts one command into the queue's memory, without telling the device.
    pub fn put(&mut self, command: Command) {
        self.write_record(self.slot(self.prod), &command);
        self.prod = (self.prod + 1) & self.index_mask();
    }

    /// Tells the device what was put, and looks whether it consumed everything.
    pub fn ring(&mut self) -> Result<(), Stopped> {
        self.write32(register::CMDQ_PROD, self.prod);
        self.stopped()
    }

    /// Has the queue stopped? If not, everything has to be consumed.
    pub fn stopped(&self) -> Result<(), Stopped> {
        let cons = self.read32(register::CMDQ_CONS);
        let active = self.read32(register::GERROR) ^ self.read32(register::GERRORN);
        if active & value::CMDQ_ERR != 0 {
            return Err(Stopped { code: cons >> 24 & 0x7f, index: cons & self.index_mask() });
        }
        assert_eq!(self.cons(), self.prod, "the queue neither stopped nor was it consumed");
        Ok(())
    }

    /// What Linux does about CERROR_ILL: the bad slot becomes a CMD_SYNC, and GERRORN acknowledges. The rest then runs.
    pub fn recover(&mut self) -> Result<(), Stopped> {
        let index = self.cons();
        self.write_record(self.slot(index), &commands::sync());
        self.write32(register::GERRORN, self.read32(register::GERROR));
        self.stopped()
    }

    /// CMDQ_CONS.RD with its wrap bit.
    pub fn cons(&self) -> u32 {
        self.read32(register::CMDQ_CONS) & self.index_mask()
    }

    /// The driver's own CMDQ_PROD.WR with its wrap bit.
    pub const fn prod(&self) -> u32 {
        self.prod
    }

    const fn entries(&self) -> u32 {
        1 << self.boot.log2_commands
    }

    const fn index_mask(&self) -> u32 {
        2 * self.entries() - 1
    }

    /// Where the command of an index lies.
    pub const fn slot(&self, index: u32) -> u64 {
        COMMAND_QUEUE + 16 * (index & (self.entries() - 1)) as u64
    }

    /// Drains the event queue.
    pub fn events(&mut self) -> Vec<[u64; 4]> {
        let mask = (2u32 << self.boot.log2_events) - 1;
        let prod = self.read32(register::EVENTQ_PROD);
        let mut records = Vec::new();
        while self.event_cons != prod & mask {
            let index = u64::from(self.event_cons & (mask >> 1));
            records.push(self.read_record(EVENT_QUEUE + 32 * index));
            self.event_cons = (self.event_cons + 1) & mask;
        }
        self.write32(register::EVENTQ_CONS, self.event_cons | prod & value::OVERFLOW);
        records
    }

    /// A device's access: through the caches.
    pub fn translate(&mut self, transaction: &Transaction) -> Result<Translation, Option<&'static str>> {
        let done = self.call(|smmu, env| smmu.translate(transaction, env));
        done.map_err(|terminated| terminated.event.map(|event| event.name()))
    }

    /// The same access, without caches and without effects.
    pub fn walk(&self, transaction: &Transaction) -> Outcome {
        let done = self.smmu.walk(transaction, &self.ram);
        done.map(|found| found.pa.0).map_err(|terminated| terminated.event.map(|event| event.name()))
    }

    /// An access of a stream without substreams.
    pub fn access(&mut self, sid: u32, address: u64, access: Access) -> Outcome {
        self.translate(&transaction(sid, None, address, access)).map(|found| found.pa.0)
    }

    /// A device reads memory, span by span.
    pub fn dma_read(&mut self, sid: u32, address: u64, data: &mut [u8]) -> Result<(), Option<&'static str>> {
        let mut done = 0;
        while done < data.len() {
            let here = Transaction::read(StreamId(sid), Iova(address + done as u64));
            let found = self.translate(&here)?;
            let length = usize::try_from(found.span).unwrap_or(usize::MAX).min(data.len() - done);
            self.ram.read(found.pa, &mut data[done..done + length]).map_err(|_| None)?;
            done += length;
        }
        Ok(())
    }

    /// A device writes memory, span by span.
    pub fn dma_write(&mut self, sid: u32, address: u64, data: &[u8]) -> Result<(), Option<&'static str>> {
        let mut done = 0;
        while done < data.len() {
            let here = Transaction::write(StreamId(sid), Iova(address + done as u64));
            let found = self.translate(&here)?;
            let length = usize::try_from(found.span).unwrap_or(usize::MAX).min(data.len() - done);
            self.ram.write(found.pa, &data[done..done + length]).map_err(|_| None)?;
            done += length;
        }
        Ok(())
    }
}

/// A transaction in the core's words.
pub const fn transaction(sid: u32, ssid: Option<u32>, address: u64, access: Access) -> Transaction {
    let mut transaction = if access.write {
        Transaction::write(StreamId(sid), Iova(address))
    } else {
        Transaction::read(StreamId(sid), Iova(address))
    };
    if let Some(ssid) = ssid {
        transaction = transaction.with_substream(SubstreamId(ssid));
    }
    if access.privileged {
        transaction = transaction.privileged();
    }
    if access.instruction {
        transaction = transaction.instruction();
    }
    transaction
}

/// An oracle's answer in the words of the device: a fault is the event that it records.
pub fn outcome(answer: Result<u64, Fault>) -> Outcome {
    answer.map_err(|fault| Some(fault.name()))
}
