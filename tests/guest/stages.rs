//! A machine whose stream may have either stage, both or none: what the optional interfaces are shown with.

use smmuv3::{Features, Transaction, Translation};

use crate::commands::{cfgi_all, tlbi_nsnh_all};
use crate::driver::{Driver, Outcome, RAM_BASE};
use crate::machine::{ASID, SID, STRICT, VMID};
use crate::tables::{Cd, Grain, PageTables, Slot, Ste, cd, descriptor, ste};

/// Mapped by stage 1 of the usual stream, readable and writable.
pub const VA: u64 = 0x5000;
/// What stage 1 makes of it, and mapped by stage 2, readable and writable.
pub const IPA: u64 = 0x9000;
/// What stage 2 makes of that.
pub const PA: u64 = 0x1_3000;

/// A booted device, a stream, and the tables of both its stages (4 KiB granule, 48 bits each). Stage 2 maps RAM one to one, so
/// that a CD and stage 1 tables lie where they seem to.
#[derive(Clone)]
pub struct Stages {
    /// The device.
    pub driver: Driver<256>,
    /// Where the CD lies.
    pub context: u64,
    /// The CD.
    pub cd: Cd,
    /// The STE.
    pub ste: Ste,
    /// Stage 1, lower half.
    pub first: PageTables,
    /// Stage 2.
    pub second: PageTables,
}

impl Stages {
    /// An SMMUv3.2 and a stream of this Config.
    pub fn usual(config: u64) -> Stages {
        Stages::new(Features::SMMUV3_2, config)
    }

    /// Any device with 4 KiB pages.
    pub fn new(features: Features, config: u64) -> Stages {
        let mut driver = Driver::booted(features, STRICT, 4);
        let bits = u32::from(features.oas_bits).min(48);
        let Driver { heap, ram, .. } = &mut driver;
        let first = PageTables::stage1(Grain::K4, 16, heap, ram);
        // 44 bits and more have to start at level 0, fewer may start at level 1 (tables.md §6).
        let start = if bits >= 44 { 0 } else { 1 };
        let second = PageTables::from_level(Grain::K4, bits, start, heap, ram);
        let context = heap.allocate(64);
        let ips = match bits {
            32 => 0,
            36 => 1,
            40 => 2,
            42 => 3,
            44 => 4,
            _ => 5,
        };
        let cd = cd::lower(cd::of(ASID, ips), Grain::K4, 16, first.root);
        let ste = ste::stage1(context, VMID)
            .with(ste::CONFIG, config)
            .with(ste::S2T0SZ, u64::from(64 - bits))
            .with(ste::S2SL0, 2 - u64::from(start))
            .with(ste::S2PS, ips)
            .with(ste::S2AA64, 1)
            .with(ste::S2R, 1)
            .with(ste::S2TTB, second.root >> 4);
        let mut stages = Stages { driver, context, cd, ste, first, second };
        stages.map_second(RAM_BASE, RAM_BASE, 30, descriptor::S2_RW);
        stages.map_first(VA, IPA, 12, descriptor::S1_RW);
        stages.map_second(IPA, PA, 12, descriptor::S2_RW);
        stages.set_cd(|cd| cd);
        stages.set_ste(|ste| ste);
        stages
    }

    /// Changes the CD, and forgets all that was remembered.
    pub fn set_cd(&mut self, change: impl FnOnce(Cd) -> Cd) {
        self.cd = change(self.cd);
        let cd = self.cd;
        self.driver.write_record(self.context, &cd.0);
        self.forget();
    }

    /// Changes the STE, and forgets all that was remembered.
    pub fn set_ste(&mut self, change: impl FnOnce(Ste) -> Ste) {
        self.ste = change(self.ste);
        let ste = self.ste;
        self.driver.install_ste(SID, &ste);
        self.forget();
    }

    /// CMD_CFGI_ALL and CMD_TLBI_NSNH_ALL.
    pub fn forget(&mut self) {
        self.driver.run(&[cfgi_all(), tlbi_nsnh_all()]);
    }

    /// Maps 2^`log2_bytes` in stage 1.
    pub fn map_first(&mut self, va: u64, ipa: u64, log2_bytes: u32, attributes: descriptor::Attributes) {
        let Driver { heap, ram, .. } = &mut self.driver;
        self.first.map(heap, ram, va, ipa, log2_bytes, attributes);
    }

    /// Maps 2^`log2_bytes` in stage 2.
    pub fn map_second(&mut self, ipa: u64, pa: u64, log2_bytes: u32, attributes: descriptor::Attributes) {
        let Driver { heap, ram, .. } = &mut self.driver;
        self.second.map(heap, ram, ipa, pa, log2_bytes, attributes);
    }

    /// Gives the stream two contexts that say the same: CD 0 without a SubstreamID (S1DSS = 10), and CD 1.
    pub fn add_substream(&mut self) {
        let contexts = self.driver.heap.allocate(128);
        self.driver.write_record(contexts, &self.cd.0);
        self.context = contexts + 64;
        self.set_cd(|cd| cd);
        let pointer = contexts >> 6;
        self.set_ste(|ste| ste.with(ste::S1CONTEXTPTR, pointer).with(ste::S1CDMAX, 1).with(ste::S1DSS, 0b10));
    }

    /// The descriptor that ends stage 1's walk of `va`.
    pub fn first_leaf(&self, va: u64) -> Slot {
        self.first.find(&self.driver.ram, va, 3)
    }

    /// The descriptor that ends stage 2's walk of `ipa`.
    pub fn second_leaf(&self, ipa: u64) -> Slot {
        self.second.find(&self.driver.ram, ipa, 3)
    }

    /// A device's access, with everything that it answers.
    pub fn translate(&mut self, transaction: &Transaction) -> Result<Translation, Option<&'static str>> {
        self.driver.translate(transaction)
    }

    /// A device's access.
    pub fn ask(&mut self, transaction: &Transaction) -> Outcome {
        self.translate(transaction).map(|found| found.pa.0)
    }
}
