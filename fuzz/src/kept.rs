//! What may still be remembered once a command has been executed: the device's caches, judged by the guest's side's own
//! reading of the architecture ([`Facts`]), which shares no code with the device.

use smmuv3::arch::addr::{Granule, Stage};
use smmuv3::arch::entry::{Entry, Leaf, TableEntry};
use smmuv3::arch::id::{Asid, StreamWorld};
use smmuv3::format::regs::{Reg, cr0, cr2};
use smmuv3_tests::commands::{Command, Implemented};
use smmuv3_tests::kept::Misaligned;
use smmuv3_tests::kept_nested::{self, Context, Fact, Facts, Limits, Shape, Table};
use smmuv3_tests::oracle::Rights;
use smmuv3_tests::oracle_nested::World;
use smmuv3_tests::tables::{Cd, Grain};

use crate::machine::Device;

/// The judge.
#[derive(Clone, Debug)]
pub struct Kept {
    facts: Facts,
}

impl Kept {
    /// A judge of devices like `smmu`.
    pub fn of(smmu: &Device) -> Self {
        let idr = core::array::from_fn(|n| smmu.features().idr(n));
        // An address that is not aligned as its hints ask for makes the range UNPREDICTABLE: nothing has to go.
        Self { facts: Facts::new(Implemented::from_idr(idr), Misaligned::Nothing) }
    }

    /// What commands depend on beside their own bytes.
    fn look(&mut self, smmu: &Device) {
        let registers = smmu.registers();
        let wildcard = registers.field(Reg::Cr0, cr0::VMW) as u32;
        self.facts.e2h = registers.is_set(Reg::Cr2, cr2::E2H);
        self.facts.vmw = if wildcard <= 4 { wildcard } else { 0 };
    }

    /// After `executed`, and before anything is translated again, nothing is left that these commands name.
    ///
    /// # Panics
    /// If something is.
    pub fn check(&mut self, smmu: &Device, executed: &[Command]) {
        self.look(smmu);
        self.facts.list.clear();
        self.facts.list.extend(live(smmu));
        let before = self.facts.list.len();
        if before == 0 {
            return;
        }
        for command in executed {
            assert!(self.facts.execute(*command).is_ok(), "{command:x?} is illegal, and was executed");
            if self.facts.list.len() != before {
                let stale = live(smmu).find(|fact| !self.facts.list.contains(fact));
                panic!("after {command:x?} the device still holds {stale:x?}");
            }
        }
    }

    /// What is left of `held` after `command`, at most and, on a strict device, at least.
    pub fn survivors(&mut self, smmu: &Device, held: &[Fact], command: Command) -> &[Fact] {
        self.look(smmu);
        self.facts.list.clear();
        self.facts.list.extend_from_slice(held);
        // An illegal command leaves everything.
        let _ = self.facts.execute(command);
        &self.facts.list
    }
}

/// Everything that a device remembers.
pub fn live(smmu: &Device) -> impl Iterator<Item = Fact> {
    let entries = smmu.iotlb().entries().map(|(_, entry)| Fact::Entry(translation(&entry)));
    let tables = smmu.walk_cache().entries().map(|table| Fact::Table(descriptor(table)));
    // A CD's words are not remembered, and no command asks for them.
    let contexts = smmu.config_cache().cds().map(|(stream, substream, _)| {
        Fact::Context(Context { sid: stream.0, ssid: substream.0, cd: Cd::ZERO })
    });
    // An STE goes where its CDs go, but for CMD_CFGI_CD and CMD_CFGI_CD_ALL: a CD that no SubstreamID has.
    entries.chain(tables).chain(contexts)
}

fn translation(entry: &Entry) -> kept_nested::Entry {
    let nothing = Rights { ur: false, uw: false, ux: false, pr: false, pw: false, px: false };
    let global = entry.global || entry.space.world == StreamWorld::El2;
    kept_nested::Entry {
        world: world(entry.space.world),
        is_ipa: entry.space.stage == Stage::S2,
        vmid: entry.space.vmid.0,
        asid: (!global).then_some(entry.space.asid.0),
        base: entry.input,
        log2: entry.log2_size.into(),
        pa: entry.output.0,
        ipa: entry.ipa.0,
        s1: entry.s1.map(shape),
        s2: entry.s2.map(shape),
        // No command asks for the rest.
        first: nothing,
        second: nothing,
        clean: entry.clean,
        is_device: false,
    }
}

fn descriptor(table: &TableEntry) -> Table {
    let Asid(asid) = table.space.asid;
    Table {
        world: world(table.space.world),
        is_ipa: table.space.stage == Stage::S2,
        vmid: table.space.vmid.0,
        asid: Some(asid),
        grain: grain(table.granule),
        level: table.level.number(),
        base: table.input,
        next: table.next,
        limits: Limits::default(),
    }
}

fn shape(leaf: Leaf) -> Shape {
    Shape { grain: grain(leaf.granule), level: leaf.level.number(), log2: leaf.log2_size.into() }
}

const fn grain(granule: Granule) -> Grain {
    match granule {
        Granule::Kib4 => Grain::K4,
        Granule::Kib16 => Grain::K16,
        Granule::Kib64 => Grain::K64,
    }
}

const fn world(world: StreamWorld) -> World {
    match world {
        StreamWorld::El1 => World::El1,
        StreamWorld::El2 => World::El2,
        StreamWorld::El2E2h => World::El2E2h,
    }
}
