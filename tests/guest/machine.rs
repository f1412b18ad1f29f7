//! The smallest machine to show one rule of stage 1 with: a booted device and one stream with one set of tables.

use smmuv3::{Behaviour, Features, Settings};

use crate::commands::{Command, Hint, Leaf, tlbi_nh_va, tlbi_nh_vaa};
use crate::driver::{Driver, Outcome};
use crate::oracle::Access;
use crate::tables::{Cd, Grain, PageTables, Ste, cd, descriptor, ste};

/// The stream.
pub const SID: u32 = 7;
/// Its VMID.
pub const VMID: u16 = 3;
/// Its ASID.
pub const ASID: u16 = 9;

/// A device with enough room that nothing is evicted, and which drops only what it must.
pub const STRICT: Settings = {
    let mut settings = Settings::new(64, 4);
    settings.behaviour = Behaviour::Strict;
    settings
};

/// A booted device, a stream, and its lower half.
#[derive(Clone)]
pub struct Machine {
    /// The device.
    pub driver: Driver<256>,
    /// Where the CD lies.
    pub context: u64,
    /// The CD.
    pub cd: Cd,
    /// The tables of TTB0.
    pub tables: PageTables,
}

impl Machine {
    /// An SMMUv3.2, 4 KiB granule, 48 bits of input address.
    pub fn usual() -> Machine {
        Machine::new(Features::SMMUV3_2, STRICT, Grain::K4)
    }

    /// Any device and granule; 48 bits of input address.
    pub fn new(features: Features, settings: Settings, grain: Grain) -> Machine {
        let mut driver = Driver::booted(features, settings, 32);
        let tables = PageTables::stage1(grain, 16, &mut driver.heap, &mut driver.ram);
        let context = driver.heap.allocate(64);
        let cd = cd::lower(cd::of(ASID, 5), grain, 16, tables.root);
        let mut machine = Machine { driver, context, cd, tables };
        machine.set_cd(cd);
        machine.set_ste(&ste::stage1(context, VMID));
        machine
    }

    /// Replaces the CD, with CMD_CFGI_CD.
    pub fn set_cd(&mut self, cd: Cd) {
        self.cd = cd;
        self.driver.install_cd(SID, 0, self.context, &cd);
    }

    /// Replaces the STE, with CMD_CFGI_STE.
    pub fn set_ste(&mut self, ste: &Ste) {
        self.driver.install_ste(SID, ste);
    }

    /// Maps 2^`log2_bytes`, readable and writable for everybody, not global.
    pub fn map(&mut self, va: u64, pa: u64, log2_bytes: u32) {
        self.map_as(va, pa, log2_bytes, descriptor::S1_RW);
    }

    /// Maps with other attributes.
    pub fn map_as(&mut self, va: u64, pa: u64, log2_bytes: u32, attributes: descriptor::Attributes) {
        let Driver { heap, ram, .. } = &mut self.driver;
        self.tables.map(heap, ram, va, pa, log2_bytes, attributes);
    }

    /// Makes the descriptor that translates `va` invalid, and tells nobody.
    pub fn unmap(&mut self, va: u64) {
        self.tables.unmap(&mut self.driver.ram, va);
    }

    /// An unprivileged data read.
    pub fn read(&mut self, va: u64) -> Outcome {
        self.driver.access(SID, va, Access::READ)
    }

    /// An unprivileged data write.
    pub fn write(&mut self, va: u64) -> Outcome {
        self.driver.access(SID, va, Access::WRITE)
    }

    /// Maps leaves one to one, lets the device cache each, and makes them invalid again behind its back.
    pub fn cache_and_unmap(&mut self, vas: &[u64], log2_bytes: u32) {
        for &va in vas {
            self.map(va, va, log2_bytes);
            assert_eq!(self.read(va), Ok(va));
        }
        for &va in vas {
            self.unmap(va);
        }
    }

    /// Is the one-to-one translation of `va` still cached? Records of faults are dropped.
    pub fn is_cached(&mut self, va: u64) -> bool {
        let cached = self.read(va) == Ok(va);
        self.driver.events();
        cached
    }

    /// Issues a command that must be executed, and CMD_SYNC.
    pub fn run(&mut self, command: Command) {
        self.driver.run(&[command]);
    }
}

/// CMD_TLBI_NH_VA of the machine's stream, Leaf = 1.
pub const fn nh_va(va: u64, hint: Hint) -> Command {
    tlbi_nh_va(VMID, ASID, va, Leaf::Only, hint)
}

/// CMD_TLBI_NH_VAA of the machine's VMID, Leaf = 1.
pub const fn nh_vaa(va: u64, hint: Hint) -> Command {
    tlbi_nh_vaa(VMID, va, Leaf::Only, hint)
}
