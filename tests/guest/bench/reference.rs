//! The yardstick: an SMMU as most peers build one.
//!
//! Its IOTLB is one hash map. A look-up probes it once a level, from the start level down; every invalidation by address
//! or address space looks at the whole map; a range is first split into aligned powers of two; a map that is full is
//! emptied. Nothing of a walk is remembered. Guest memory is a trait object that is asked for a command or a descriptor at
//! a time, and calls are calls: none of it is inlined into the loop that measures. It is complete enough to be asked the same questions as the model: stage 1
//! and nested translation with 4 KiB granules, configuration, the command queue, event records, registers. It holds the
//! model's contract too: its answers are those of its tables, for a guest that invalidates.

#![allow(
    clippy::disallowed_types,
    reason = "a std HashMap is what a straight IOTLB is; its hasher is fixed here, and its order never shows"
)]

use core::hash::BuildHasherDefault;
use core::hint::black_box;
use std::collections::HashMap;
use std::hash::DefaultHasher;

use smmuv3::{Features, Memory, Pa};

use super::world::{SID, Shape, Subject};
use crate::bits::Record;
use crate::commands::{field, opcode};
use crate::driver::{Ram, register, value};
use crate::tables::{Cd, Ste, cd, descriptor, ste};

type Map<K, V> = HashMap<K, V, BuildHasherDefault<DefaultHasher>>;

const PAGE: u32 = 12;
const STRIDE: u32 = 9;
const TRANSLATION_FAULT: u64 = 0x10;
const ACCESS_FAULT: u64 = 0x12;
const PERMISSION_FAULT: u64 = 0x13;
/// What is not translated because its configuration is not there.
const BAD_CONFIGURATION: u64 = 0x04;

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Key {
    page: u64,
    asid: u16,
    vmid: u16,
    level: u8,
}

#[derive(Clone, Copy)]
struct Entry {
    output: u64,
    readable: bool,
}

/// What an STE and its CD say.
#[derive(Clone, Copy)]
struct Config {
    asid: u16,
    vmid: u16,
    bits: u32,
    root: u64,
    stage2: Option<(u32, u64)>, // input bits and root
}

struct Fault(u64);

/// The yardstick. See the module.
pub struct Reference {
    iotlb: Map<Key, Entry>,
    capacity: usize,
    configs: Map<u32, Config>,
    cr0: u32,
    cr1: u32,
    cr2: u32,
    gbpa: u32,
    irq_ctrl: u32,
    gerror: u32,
    gerrorn: u32,
    strtab_base: u64,
    strtab_base_cfg: u32,
    cmdq_base: u64,
    cmdq_prod: u32,
    cmdq_cons: u32,
    eventq_base: u64,
    eventq_prod: u32,
    eventq_cons: u32,
    idr: [u32; 6],
}

impl Subject for Reference {
    fn new(shape: Shape) -> Box<Self> {
        let features = Features { s2p: shape.nested, ..Features::QEMU_10 };
        Box::new(Self {
            iotlb: Map::default(),
            capacity: (shape.sets * shape.ways) as usize,
            configs: Map::default(),
            cr0: 0,
            cr1: 0,
            cr2: 0,
            gbpa: 0,
            irq_ctrl: 0,
            gerror: 0,
            gerrorn: 0,
            strtab_base: 0,
            strtab_base_cfg: 0,
            cmdq_base: 0,
            cmdq_prod: 0,
            cmdq_cons: 0,
            eventq_base: 0,
            eventq_prod: 0,
            eventq_cons: 0,
            idr: core::array::from_fn(|n| features.idr(n)),
        })
    }

    #[inline(never)]
    fn translate(&mut self, ram: &mut Ram, address: u64) -> u64 {
        let ram = opaque(ram);
        match self.answer(ram, SID, address) {
            Ok(output) => output,
            Err(Fault(event)) => {
                self.record(ram, event, SID, address);
                0
            }
        }
    }

    #[inline(never)]
    fn write(&mut self, ram: &mut Ram, offset: u32, data: &[u8]) {
        let value = match *data {
            [a, b, c, d] => u32::from_le_bytes([a, b, c, d]).into(),
            [a, b, c, d, e, f, g, h] => u64::from_le_bytes([a, b, c, d, e, f, g, h]),
            _ => return,
        };
        let low = value as u32;
        match offset {
            register::CR0 => self.cr0 = low,
            register::CR1 => self.cr1 = low,
            register::CR2 => self.cr2 = low,
            register::GBPA => self.gbpa = low,
            register::IRQ_CTRL => self.irq_ctrl = low,
            register::GERRORN => self.gerrorn = low,
            register::STRTAB_BASE => self.strtab_base = value,
            register::STRTAB_BASE_CFG => self.strtab_base_cfg = low,
            register::CMDQ_BASE => self.cmdq_base = value,
            register::CMDQ_PROD => {
                self.cmdq_prod = low;
                self.consume(opaque(ram));
            }
            register::CMDQ_CONS => self.cmdq_cons = low,
            register::EVENTQ_BASE => self.eventq_base = value,
            register::EVENTQ_PROD => self.eventq_prod = low,
            register::EVENTQ_CONS => self.eventq_cons = low,
            _ => {}
        }
    }

    #[inline(never)]
    fn read(&self, offset: u32) -> u32 {
        match offset {
            0x00..=0x14 if offset & 3 == 0 => self.idr[offset as usize / 4],
            register::CR0 | register::CR0ACK => self.cr0,
            register::CR1 => self.cr1,
            register::CR2 => self.cr2,
            register::GBPA => self.gbpa,
            register::IRQ_CTRL | register::IRQ_CTRLACK => self.irq_ctrl,
            register::GERROR => self.gerror,
            register::GERRORN => self.gerrorn,
            register::STRTAB_BASE_CFG => self.strtab_base_cfg,
            register::CMDQ_PROD => self.cmdq_prod,
            register::CMDQ_CONS => self.cmdq_cons,
            register::EVENTQ_PROD => self.eventq_prod,
            register::EVENTQ_CONS => self.eventq_cons,
            _ => 0,
        }
    }
}

/// A descriptor of the architecture, by its type.
enum Descriptor {
    Table(u64),
    Leaf(u64),
}

fn descriptor(ram: &dyn Memory, table: u64, input: u64, level: u32) -> Result<(u64, Descriptor), Fault> {
    let index = input >> shift(level) & ((1 << STRIDE) - 1);
    let word = ram.read_u64(Pa(table + 8 * index)).map_err(|_| Fault(TRANSLATION_FAULT))?;
    let address = word & 0xffff_ffff_f000;
    match word & 0b11 {
        0b11 if level < 3 => Ok((word, Descriptor::Table(address))),
        0b11 => Ok((word, Descriptor::Leaf(address))),
        0b01 if level == 1 || level == 2 => Ok((word, Descriptor::Leaf(address))),
        _ => Err(Fault(TRANSLATION_FAULT)),
    }
}

const fn shift(level: u32) -> u32 {
    PAGE + (3 - level) * STRIDE
}

const fn start_level(bits: u32) -> u32 {
    4 - (bits - PAGE).div_ceil(STRIDE)
}

impl Reference {
    /// The translations that are remembered.
    pub fn len(&self) -> usize {
        self.iotlb.len()
    }

    /// Whether nothing is remembered.
    pub fn is_empty(&self) -> bool {
        self.iotlb.is_empty()
    }

    fn answer(&mut self, ram: &dyn Memory, sid: u32, va: u64) -> Result<u64, Fault> {
        if self.cr0 & value::SMMUEN == 0 {
            return Ok(va);
        }
        let config = match self.configs.get(&sid) {
            Some(config) => *config,
            None => {
                let config = self.fetch(ram, sid).ok_or(Fault(BAD_CONFIGURATION))?;
                self.configs.insert(sid, config);
                config
            }
        };
        if va >> config.bits != 0 {
            return Err(Fault(TRANSLATION_FAULT));
        }
        let start = start_level(config.bits);
        let key = |level: u32| Key {
            page: va >> shift(level),
            asid: config.asid,
            vmid: config.vmid,
            level: level as u8,
        };
        let offset = |level: u32| va & ((1 << shift(level)) - 1);
        for level in start..4 {
            if let Some(entry) = self.iotlb.get(&key(level)) {
                return allowed(*entry).map(|output| output | offset(level));
            }
        }
        let (level, entry) = self.walk(ram, &config, va, start)?;
        if self.iotlb.len() >= self.capacity {
            self.iotlb.clear();
        }
        self.iotlb.insert(key(level), entry);
        allowed(entry).map(|output| output | offset(level))
    }

    fn fetch(&self, ram: &dyn Memory, sid: u32) -> Option<Config> {
        let read = |pa: u64| -> Option<Record<8>> {
            let mut bytes = [0; 64];
            ram.read(Pa(pa), &mut bytes).ok()?;
            let (dwords, _) = bytes.as_chunks::<8>();
            Some(Record(core::array::from_fn(|n| u64::from_le_bytes(dwords[n]))))
        };
        if sid >> (self.strtab_base_cfg & 0x3f) != 0 {
            return None;
        }
        let entry: Ste = read((self.strtab_base & 0xf_ffff_ffff_ffc0) + 64 * u64::from(sid))?;
        let kind = entry.get(ste::CONFIG);
        if entry.get(ste::V) == 0 || kind != ste::STAGE_1 && kind != ste::NESTED {
            return None;
        }
        let vmid = entry.get(ste::S2VMID) as u16;
        let stage2 =
            (kind == ste::NESTED).then(|| (64 - entry.get(ste::S2T0SZ) as u32, entry.get(ste::S2TTB) << 4));
        let at = through(ram, stage2, entry.get(ste::S1CONTEXTPTR) << 6).ok()?;
        let context: Cd = read(at)?;
        (context.get(cd::V) == 1 && context.get(cd::EPD0) == 0).then(|| Config {
            asid: context.get(cd::ASID) as u16,
            vmid,
            bits: 64 - context.get(cd::T0SZ) as u32,
            root: context.get(cd::TTB0) << 4,
            stage2,
        })
    }

    fn walk(&self, ram: &dyn Memory, config: &Config, va: u64, start: u32) -> Result<(u32, Entry), Fault> {
        let mut table = config.root;
        for level in start..4 {
            match descriptor(ram, through(ram, config.stage2, table)?, va, level)? {
                (_, Descriptor::Table(next)) => table = next,
                (word, Descriptor::Leaf(output)) => {
                    if Record([word]).get(descriptor::AF) == 0 {
                        return Err(Fault(ACCESS_FAULT));
                    }
                    let readable = Record([word]).get(descriptor::AP) & 0b01 != 0;
                    let output = output & !((1 << shift(level)) - 1);
                    return match config.stage2 {
                        None => Ok((level, Entry { output, readable })),
                        Some(_) => {
                            let page = output | va & ((1 << shift(level)) - 1) & !0xfff;
                            let output = through(ram, config.stage2, page)?;
                            Ok((3, Entry { output, readable }))
                        }
                    };
                }
            }
        }
        Err(Fault(TRANSLATION_FAULT))
    }

    fn record(&mut self, ram: &mut dyn Memory, event: u64, sid: u32, va: u64) {
        let log2 = (self.eventq_base & 0x1f) as u32;
        let (entries, mask) = (1 << log2, (2 << log2) - 1);
        if self.cr0 & value::EVENTQEN == 0
            || self.eventq_prod.wrapping_sub(self.eventq_cons) & mask == entries
        {
            return;
        }
        let slot = (self.eventq_base & 0xf_ffff_ffff_ffe0) + 32 * u64::from(self.eventq_prod & (entries - 1));
        let mut bytes = [0; 32];
        let words = [event | u64::from(sid) << 32, 1 << 35, va, 0]; // RnW
        for (bytes, word) in bytes.chunks_exact_mut(8).zip(words) {
            bytes.copy_from_slice(&word.to_le_bytes());
        }
        if ram.write(Pa(slot), &bytes).is_ok() {
            self.eventq_prod = (self.eventq_prod + 1) & mask;
        }
    }

    fn consume(&mut self, ram: &dyn Memory) {
        let log2 = (self.cmdq_base & 0x1f) as u32;
        let mask = (2 << log2) - 1;
        while self.cr0 & value::CMDQEN != 0
            && (self.gerror ^ self.gerrorn) & value::CMDQ_ERR == 0
            && self.cmdq_cons & mask != self.cmdq_prod & mask
        {
            let index = u64::from(self.cmdq_cons & (mask >> 1));
            let mut bytes = [0; 16];
            let read = ram.read(Pa((self.cmdq_base & 0xf_ffff_ffff_ffe0) + 16 * index), &mut bytes);
            let both = u128::from_le_bytes(bytes);
            let code = match read {
                Err(_) => value::CERROR_ABT,
                Ok(()) if self.execute(Record([both as u64, (both >> 64) as u64])) => {
                    self.cmdq_cons = (self.cmdq_cons + 1) & mask;
                    continue;
                }
                Ok(()) => value::CERROR_ILL,
            };
            self.cmdq_cons = self.cmdq_cons & mask | code << 24;
            self.gerror ^= value::CMDQ_ERR;
        }
    }

    /// False where there is no such command.
    fn execute(&mut self, command: Record<2>) -> bool {
        let (vmid, asid) = (command.get(field::VMID) as u16, command.get(field::ASID) as u16);
        match command.get(field::OPCODE) as u8 {
            opcode::SYNC | opcode::PREFETCH_CONFIG | opcode::PREFETCH_ADDR => {}
            opcode::CFGI_STE | opcode::CFGI_STE_RANGE | opcode::CFGI_CD | opcode::CFGI_CD_ALL => {
                self.configs.clear();
            }
            opcode::TLBI_NSNH_ALL => self.iotlb.clear(),
            opcode::TLBI_NH_ALL => self.iotlb.retain(|key, _| key.vmid != vmid),
            opcode::TLBI_NH_ASID => self.iotlb.retain(|key, _| key.vmid != vmid || key.asid != asid),
            opcode::TLBI_NH_VA => self.range(command, vmid, asid),
            _ => return false,
        }
        true
    }

    /// One pass over the map for each aligned power of two of which the range is made.
    fn range(&mut self, command: Record<2>, vmid: u16, asid: u16) {
        let mut page = command.get(field::ADDRESS);
        let mut left = match command.get(field::TG) {
            0 => 1,
            _ => (command.get(field::NUM) + 1) << command.get(field::SCALE),
        };
        while left != 0 {
            let count = 1 << (page | 1 << 52).trailing_zeros().min(left.ilog2());
            let last = page + (count - 1);
            self.iotlb.retain(|key, _| {
                let below = STRIDE * (3 - u32::from(key.level));
                let (first, end) = (key.page << below, (key.page << below) + ((1 << below) - 1));
                key.vmid != vmid || key.asid != asid || end < page || last < first
            });
            page += count;
            left -= count;
        }
    }
}

/// Memory of which the compiler does not know what it is: a peer's is behind its machine's address map.
fn opaque(ram: &mut Ram) -> &mut dyn Memory {
    black_box(ram)
}

fn allowed(entry: Entry) -> Result<u64, Fault> {
    if entry.readable { Ok(entry.output) } else { Err(Fault(PERMISSION_FAULT)) }
}

/// An intermediate address through stage 2, where there is one.
fn through(ram: &dyn Memory, stage2: Option<(u32, u64)>, ipa: u64) -> Result<u64, Fault> {
    let Some((bits, root)) = stage2 else { return Ok(ipa) };
    if ipa >> bits != 0 {
        return Err(Fault(TRANSLATION_FAULT));
    }
    let mut table = root;
    for level in start_level(bits)..4 {
        match descriptor(ram, table, ipa, level)? {
            (_, Descriptor::Table(next)) => table = next,
            (word, Descriptor::Leaf(output)) => {
                let word = Record([word]);
                if word.get(descriptor::AF) == 0 {
                    return Err(Fault(ACCESS_FAULT));
                }
                if word.get(descriptor::S2AP) & 0b01 == 0 {
                    return Err(Fault(PERMISSION_FAULT));
                }
                let inside = (1 << shift(level)) - 1;
                return Ok(output & !inside | ipa & inside);
            }
        }
    }
    Err(Fault(TRANSLATION_FAULT))
}
