//! What caches may still hold: every translation that was ever made, until a command says that it must be gone.
//!
//! The rules are those of commands.md §4 and §5, applied to one remembered entry after the other. A device may forget more
//! than this; it may never answer from an entry that is no longer here.

use crate::bits::Record;
use crate::commands::{Command, Implemented, effective_ttl, field, is_illegal, opcode};
use crate::oracle::{Access, Answer, Fault, Rights, Table, Walk};
use crate::tables::Grain;

/// A translation that a TLB may hold: a page, a block, or a contiguous run of either.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The VMID it is tagged with.
    pub vmid: u16,
    /// The ASID it is tagged with; `None` for a global entry.
    pub asid: Option<u16>,
    /// The first address it translates, sign-extended.
    pub base: u64,
    /// log2 of its size.
    pub log2: u32,
    /// What `base` translates to.
    pub pa: u64,
    /// The granule of its tables.
    pub grain: Grain,
    /// The level of its descriptor.
    pub level: u32,
    /// Who may do what.
    pub rights: Rights,
}

/// A table descriptor that a walk cache may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeptTable {
    /// The VMID it is tagged with.
    pub vmid: u16,
    /// The ASID it is tagged with.
    pub asid: u16,
    /// The descriptor.
    pub table: Table,
}

/// What is required of a TLBI whose Address is not aligned as its TG and TTL ask: the range is UNPREDICTABLE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Misaligned {
    /// Nothing, as the architecture has it.
    Nothing,
    /// The range as written, at any level: the choice of this project for a device that is not strict.
    WholeRange,
}

/// All that may be cached.
#[derive(Clone, Debug)]
pub struct Kept {
    has: Implemented,
    misaligned: Misaligned,
    /// Leaves.
    pub entries: Vec<Entry>,
    /// Tables.
    pub tables: Vec<KeptTable>,
}

/// A command that stops the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Illegal;

/// What a TLBI by address says of addresses, granule and level.
pub(crate) struct Operand {
    is_ipa: bool,
    start: u64,
    bytes: u128,
    grain: Option<Grain>,
    ttl: u32,
    tables: bool,
    is_aligned: bool,
}

impl Kept {
    /// Empty caches.
    pub const fn new(has: Implemented, misaligned: Misaligned) -> Kept {
        Kept { has, misaligned, entries: Vec::new(), tables: Vec::new() }
    }

    /// A walk happened: whatever it read and was valid may be kept.
    pub fn remember(&mut self, vmid: u16, asid: u16, walk: &Walk) {
        for &table in &walk.tables {
            let kept = KeptTable { vmid, asid, table };
            if !self.tables.contains(&kept) {
                self.tables.push(kept);
            }
        }
        let Some(leaf) = walk.leaf else { return };
        let run = if leaf.contiguous { leaf.grain.contiguous(leaf.level).trailing_zeros() } else { 0 };
        for log2 in [leaf.log2, leaf.log2 + run] {
            let entry = Entry {
                vmid,
                asid: (!leaf.global).then_some(asid),
                base: leaf.base >> log2 << log2,
                log2,
                pa: leaf.pa >> log2 << log2,
                grain: leaf.grain,
                level: leaf.level,
                rights: leaf.rights,
            };
            if !self.entries.contains(&entry) {
                self.entries.push(entry);
            }
        }
    }

    /// What caches may answer for an address without its tag, besides what the tables say now.
    pub fn answers(&self, vmid: u16, asid: u16, va: u64, access: Access) -> Vec<Answer> {
        let mut answers = Vec::new();
        for entry in &self.entries {
            let ours = self.same_vmid(entry.vmid, vmid) && entry.asid.is_none_or(|tag| tag == asid);
            if ours && va >> entry.log2 == entry.base >> entry.log2 {
                let offset = va - entry.base;
                answers.push(if entry.rights.allow(access) {
                    Ok(entry.pa + offset)
                } else {
                    Err(Fault::Permission)
                });
            }
        }
        answers
    }

    /// A command was executed: forgets what it requires to be gone.
    pub fn execute(&mut self, command: Command) -> Result<(), Illegal> {
        if is_illegal(command, &self.has) {
            return Err(Illegal);
        }
        let raw = Record(command);
        let has = self.has;
        let vmid = raw.get(field::VMID) as u16 & if has.vmid16 { 0xffff } else { 0xff };
        let asid = raw.get(field::ASID) as u16 & if has.asid16 { 0xffff } else { 0xff };
        let in_vmid = |tag: u16| !has.s2p || tag == vmid;
        match raw.get(field::OPCODE) as u8 {
            opcode::TLBI_NSNH_ALL => {
                self.entries.clear();
                self.tables.clear();
            }
            opcode::TLBI_NH_ALL | opcode::TLBI_S12_VMALL => {
                self.entries.retain(|entry| !in_vmid(entry.vmid));
                self.tables.retain(|kept| !in_vmid(kept.vmid));
            }
            opcode::TLBI_NH_ASID => {
                self.entries.retain(|entry| !(in_vmid(entry.vmid) && entry.asid == Some(asid)));
                self.tables.retain(|kept| !(in_vmid(kept.vmid) && kept.asid == asid));
            }
            opcode::TLBI_NH_VA => {
                let operand = self.operand(command);
                self.entries.retain(|entry| {
                    let ours = in_vmid(entry.vmid) && entry.asid.is_none_or(|tag| tag == asid);
                    !(ours && operand.names_entry(entry, &has))
                });
                self.tables.retain(|kept| {
                    !(in_vmid(kept.vmid) && kept.asid == asid && operand.names_table(&kept.table, &has))
                });
            }
            opcode::TLBI_NH_VAA => {
                let operand = self.operand(command);
                self.entries.retain(|entry| !(in_vmid(entry.vmid) && operand.names_entry(entry, &has)));
                self.tables.retain(|kept| !(in_vmid(kept.vmid) && operand.names_table(&kept.table, &has)));
            }
            _ => {} // other regimes, other stages, configuration
        }
        Ok(())
    }

    /// Does the architecture say precisely what a command names? Not for a misaligned or non-canonical Address.
    pub fn is_certain(&self, command: Command) -> bool {
        let by_address = [opcode::TLBI_NH_VA, opcode::TLBI_NH_VAA];
        if !by_address.contains(&(Record(command).get(field::OPCODE) as u8)) {
            return true;
        }
        let operand = self.operand(command);
        operand.is_aligned && operand.sign(&self.has).is_some()
    }

    /// The table descriptors that may be cached although memory says something else now.
    pub fn stale_tables(&self, memory: &impl crate::bits::Words) -> Vec<KeptTable> {
        self.tables
            .iter()
            .filter(|kept| memory.word(kept.table.pa) != Some(kept.table.descriptor))
            .copied()
            .collect()
    }

    fn same_vmid(&self, tag: u16, vmid: u16) -> bool {
        !self.has.s2p || tag == vmid
    }

    fn operand(&self, command: Command) -> Operand {
        Operand::of(command, &self.has, self.misaligned)
    }
}

impl Operand {
    /// The addresses, granule and level of a TLBI by VA or IPA.
    pub(crate) fn of(command: Command, has: &Implemented, misaligned: Misaligned) -> Operand {
        let raw = Record(command);
        let is_ipa = raw.get(field::OPCODE) as u8 == opcode::TLBI_S2_IPA;
        let start = if is_ipa { raw.get(field::IPA) } else { raw.get(field::ADDRESS) } << 12;
        let tables = raw.get(field::LEAF) == 0;
        let grain = match raw.get(field::TG) {
            _ if !has.ril => None,
            0b01 => Some(Grain::K4),
            0b10 => Some(Grain::K16),
            0b11 => Some(Grain::K64),
            _ => None,
        };
        let Some(grain) = grain else {
            return Operand { is_ipa, start, bytes: 1, grain: None, ttl: 0, tables, is_aligned: true };
        };
        let bytes = u128::from(raw.get(field::NUM) + 1) << raw.get(field::SCALE) << grain.shift();
        let mut ttl = effective_ttl(command, has) as u32;
        let unit = match (grain, ttl) {
            (Grain::K4, 0 | 3) => 12,
            (Grain::K16, 0 | 3) => 14,
            (Grain::K64, 0 | 3) => 16,
            (grain, ttl) => grain.level_shift(ttl),
        };
        let mut length = bytes;
        let is_aligned = start & ((1 << unit) - 1) == 0;
        if !is_aligned {
            ttl = 0;
            if misaligned == Misaligned::Nothing {
                length = 0;
            }
        }
        Operand { is_ipa, start, bytes: length, grain: Some(grain), ttl, tables, is_aligned }
    }

    fn names_entry(&self, entry: &Entry, has: &Implemented) -> bool {
        self.names_leaf(entry.grain, entry.level, entry.base, entry.log2, has)
    }

    fn names_table(&self, table: &Table, has: &Implemented) -> bool {
        self.names_tables(table.grain, table.level, table.base, has)
    }

    /// Must a leaf of this shape go?
    pub(crate) fn names_leaf(
        &self,
        grain: Grain,
        level: u32,
        base: u64,
        log2: u32,
        has: &Implemented,
    ) -> bool {
        self.grain.is_none_or(|named| named == grain)
            && (self.ttl == 0 || self.ttl == level)
            && self.touches(base, log2, has)
    }

    /// Must a table descriptor of this shape go?
    pub(crate) fn names_tables(&self, grain: Grain, level: u32, base: u64, has: &Implemented) -> bool {
        self.tables
            && self.grain.is_none_or(|named| named == grain)
            && (self.ttl == 0 || level < self.ttl)
            && self.touches(base, grain.level_shift(level), has)
    }

    /// The half that the command is about: 0 or -1, if its Address is in one.
    const fn sign(&self, has: &Implemented) -> Option<i64> {
        match self.start as i64 >> (has.vas - 1) {
            sign @ (0 | -1) => Some(sign),
            _ => None,
        }
    }

    /// Is any address of the command's set inside? Sets do not wrap, and do not cross from one half into the other.
    fn touches(&self, base: u64, log2: u32, has: &Implemented) -> bool {
        if self.bytes == 0 || !self.is_ipa && self.sign(has).is_none() {
            return false; // nothing is required
        }
        let (from, to) = (u128::from(self.start), u128::from(self.start) + self.bytes);
        let (first, end) = (u128::from(base), u128::from(base) + (1u128 << log2));
        base >> 63 == self.start >> 63 && from < end && first < to
    }
}
