//! What caches may hold of walks of both stages, and what each command requires to be gone of it.

#![allow(clippy::expect_used, reason = "an oracle that is asked what it cannot know must stop the test")]

use crate::bits::Record;
use crate::commands::{Command, Implemented, field, is_illegal, opcode};
use crate::kept::{Illegal, Misaligned, Operand};
use crate::oracle::Rights;
use crate::oracle_nested::World;
use crate::tables::{Cd, Grain};

/// A leaf as one stage's tables have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub struct Shape {
    pub grain: Grain,
    pub level: u32,
    pub log2: u32,
}

/// A translation that a TLB may hold: of stage 1, of stage 2, or of both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Whose.
    pub world: World,
    /// Its addresses are IPAs.
    pub is_ipa: bool,
    /// VMID.
    pub vmid: u16,
    /// ASID; `None` for a global entry.
    pub asid: Option<u16>,
    /// The first address that it translates.
    pub base: u64,
    /// log2 of its size.
    pub log2: u32,
    /// What `base` translates to.
    pub pa: u64,
    /// What stage 1 makes of `base`.
    pub ipa: u64,
    /// The leaf of stage 1.
    pub s1: Option<Shape>,
    /// The leaf of stage 2.
    pub s2: Option<Shape>,
    /// What stage 1 allows.
    pub first: Rights,
    /// What stage 2 allows.
    pub second: Rights,
    /// A write has to mark a descriptor dirty first.
    pub clean: bool,
    /// Stage 2 says Device.
    pub is_device: bool,
}

/// A table descriptor that a walk cache may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "as in `Entry`")]
pub struct Table {
    pub world: World,
    pub is_ipa: bool,
    pub vmid: u16,
    pub asid: Option<u16>,
    pub grain: Grain,
    pub level: u32,
    pub base: u64,
    pub next: u64,
    pub limits: Limits,
}

/// A CD that the configuration cache may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub struct Context {
    pub sid: u32,
    pub ssid: u32,
    pub cd: Cd,
}

/// Something that caches may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Fact {
    Entry(Entry),
    Table(Table),
    Context(Context),
}

/// APTable, UXNTable and PXNTable of all tables on the way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub struct Limits {
    pub no_unprivileged: bool,
    pub read_only: bool,
    pub uxn: bool,
    pub pxn: bool,
}

/// All that caches may hold.
#[derive(Clone, Debug)]
pub struct Facts {
    has: Implemented,
    misaligned: Misaligned,
    /// CR2.E2H
    pub e2h: bool,
    /// CR0.VMW
    pub vmw: u32,
    /// What.
    pub list: Vec<Fact>,
}

impl Facts {
    /// Empty caches.
    pub const fn new(has: Implemented, misaligned: Misaligned) -> Facts {
        Facts { has, misaligned, e2h: false, vmw: 0, list: Vec::new() }
    }

    /// A walk happened: whatever it read may be kept.
    pub fn remember(&mut self, learned: &[Fact]) {
        for fact in learned {
            if !self.list.contains(fact) {
                self.list.push(*fact);
            }
        }
    }

    /// A command was executed: forgets what it requires to be gone (commands.md §3 to §5).
    pub fn execute(&mut self, command: Command) -> Result<(), Illegal> {
        if is_illegal(command, &self.has) {
            return Err(Illegal);
        }
        let Facts { has, misaligned, e2h, vmw, .. } = *self;
        self.list.retain(|fact| !is_named(command, fact, &has, misaligned, e2h, vmw));
        Ok(())
    }
}

/// Does the architecture require that a command drops this?
fn is_named(
    command: Command,
    fact: &Fact,
    has: &Implemented,
    misaligned: Misaligned,
    e2h: bool,
    vmw: u32,
) -> bool {
    let raw = Record(command);
    let code = raw.get(field::OPCODE) as u8;
    let (world, is_ipa, vmid, asid) = match fact {
        Fact::Entry(entry) => (entry.world, entry.is_ipa, entry.vmid, entry.asid),
        Fact::Table(table) => (table.world, table.is_ipa, table.vmid, table.asid),
        Fact::Context(context) => {
            let same = u64::from(context.sid) == raw.get(field::SID);
            return match code {
                opcode::CFGI_STE | opcode::CFGI_CD_ALL => same,
                opcode::CFGI_CD => same && u64::from(context.ssid) == raw.get(field::SSID),
                opcode::CFGI_STE_RANGE => {
                    (u64::from(context.sid) ^ raw.get(field::SID)) >> (raw.get(field::RANGE) + 1) == 0
                        || raw.get(field::RANGE) == 31
                }
                _ => false,
            };
        }
    };
    let wide = |is_16: bool| if is_16 { 0xffff } else { 0xff };
    let named_vmid = raw.get(field::VMID) & wide(has.vmid16);
    let named_asid = (raw.get(field::ASID) & wide(has.asid16)) as u16;
    let in_vmid = !has.s2p || (u64::from(vmid) ^ named_vmid) >> vmw == 0;
    let el1 = world == World::El1;
    let el2 = if e2h { World::El2E2h } else { World::El2 };
    let in_asid = asid == Some(named_asid);
    let or_global = asid.is_none() || in_asid;
    let in_range = || {
        let operand = Operand::of(command, has, misaligned);
        match fact {
            Fact::Entry(entry) => {
                let own = if entry.is_ipa { entry.s2 } else { entry.s1 };
                let Shape { grain, level, log2 } = own.expect("its own stage took part");
                operand.names_leaf(grain, level, entry.base >> log2 << log2, log2, has)
            }
            Fact::Table(table) => operand.names_tables(table.grain, table.level, table.base, has),
            Fact::Context(_) => false,
        }
    };
    match code {
        opcode::TLBI_NSNH_ALL => el1,
        opcode::TLBI_S12_VMALL => el1 && in_vmid,
        opcode::TLBI_NH_ALL => el1 && !is_ipa && in_vmid,
        opcode::TLBI_NH_ASID => el1 && !is_ipa && in_vmid && in_asid,
        opcode::TLBI_NH_VA => el1 && !is_ipa && in_vmid && or_global && in_range(),
        opcode::TLBI_NH_VAA => el1 && !is_ipa && in_vmid && in_range(),
        opcode::TLBI_S2_IPA => el1 && is_ipa && in_vmid && in_range(),
        opcode::TLBI_EL2_ALL => !el1,
        opcode::TLBI_EL2_ASID => world == World::El2E2h && in_asid,
        opcode::TLBI_EL2_VA => world == el2 && (or_global || world == World::El2) && in_range(),
        opcode::TLBI_EL2_VAA => world == el2 && in_range(),
        _ => false,
    }
}
