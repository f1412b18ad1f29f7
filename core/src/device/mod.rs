//! The device: registers, queues and caches wired together. Wiring, no arithmetic.

mod atos;
mod ats;
mod commands;
mod ecmdq;
mod gerror;
mod mmio;
mod nested;
mod pri;
pub mod queue;
mod recent;
mod record;
mod stall;
mod state;
mod translate;

use crate::arch::addr::{Granule, Iova, Ipa, Level, Pa};
use crate::arch::attributes::{Attributes, MemoryType, Shareability};
use crate::arch::entry::{Entry, Space, TableEntry};
use crate::arch::fault::Class;
use crate::arch::features::{ConfigError, Features};
use crate::arch::id::{Stag, StreamId, SubstreamId};
use crate::cache::config::ConfigCache;
use crate::cache::iotlb::Iotlb;
use crate::cache::walk_cache::WalkCache;
use crate::env::memory::Memory;
use crate::env::trace::{Step, Trace};
use crate::format::cd::Cd;
use crate::format::event::EventKind;
use crate::format::ste::{Stage2, Ste};
use crate::walk::permission::Access;
use crate::walk::{Keep, Second, Table, Updates};
use ecmdq::Ecmdqs;
use nested::Seconds;
use recent::Recents;
use stall::Stalls;

pub use ats::{AtsGrant, AtsRefusal};
pub use mmio::{RegisterError, Registers};
pub use pri::{PageRequest, PageRequestOutcome};
pub use stall::Resumed;
pub use state::State;

/// How an implementation invalidates, where the architecture leaves a choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Behaviour {
    /// `TG` and `TTL` are taken as hints: entries of other granules and levels inside the span go as well.
    Natural,
    /// Only what the architecture says must go goes, so that a wrong hint shows.
    Strict,
}

/// What a guest cannot read from the ID registers: sizes and behaviour of the caches, and the bound on work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Settings {
    /// Sets of the IOTLB: a power of two.
    pub iotlb_sets: u32,
    /// Ways of each set, at least 1. `iotlb_sets` × `iotlb_ways` is at most the device's `N`.
    pub iotlb_ways: u32,
    /// Entries that no set has room for are kept all the same. Needs the feature `alloc`.
    pub iotlb_unbounded: bool,
    /// Whether table descriptors are remembered.
    pub walk_cache: bool,
    /// How commands invalidate.
    pub behaviour: Behaviour,
    /// Commands that one register write consumes at most; the rest waits for [`Smmu::poll`].
    pub commands_per_write: u32,
}

impl Settings {
    /// An IOTLB of `sets` × `ways` entries, a walk cache, [`Behaviour::Natural`], and up to 4,096 commands a write.
    #[must_use]
    pub const fn new(sets: u32, ways: u32) -> Self {
        Self {
            iotlb_sets: sets,
            iotlb_ways: ways,
            iotlb_unbounded: false,
            walk_cache: true,
            behaviour: Behaviour::Natural,
            commands_per_write: 4096,
        }
    }

    const fn check(&self, capacity: usize) -> Result<(), ConfigError> {
        let rule = if !self.iotlb_sets.is_power_of_two() {
            ("iotlb_sets", "a power of two")
        } else if self.iotlb_ways == 0 {
            ("iotlb_ways", "at least 1")
        } else if self.iotlb_sets as u64 * self.iotlb_ways as u64 > capacity as u64 {
            ("iotlb_sets", "sets times ways must fit the device's capacity")
        } else if self.iotlb_unbounded && cfg!(not(feature = "alloc")) {
            ("iotlb_unbounded", "needs the feature `alloc`")
        } else if self.commands_per_write == 0 {
            ("commands_per_write", "at least 1")
        } else {
            return Ok(());
        };
        Err(ConfigError::inconsistent(rule.0, rule.1))
    }
}

/// Features and settings that fit each other, and `N` entries: what a device is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Configuration<const N: usize> {
    features: Features,
    settings: Settings,
}

impl<const N: usize> Configuration<N> {
    /// Checks `features` and `settings`.
    ///
    /// # Errors
    /// [`ConfigError`] names the feature or setting that cannot be.
    pub const fn new(features: Features, settings: Settings) -> Result<Self, ConfigError> {
        if let Err(error) = features.check() {
            return Err(error);
        }
        if let Err(error) = settings.check(N) {
            return Err(error);
        }
        Ok(Self { features, settings })
    }
}

/// An SMMUv3: a plain value with room for `N` translations.
///
/// Memory, interrupt lines and a watcher are lent to each call. Nothing allocates, blocks, or loops without bound;
/// nothing that a guest writes can panic.
#[derive(Clone, Debug)]
pub struct Smmu<const N: usize> {
    features: Features,
    settings: Settings,
    registers: Registers,
    caches: Caches<N>,
    recents: Recents,
    stalls: Stalls,
    ecmdqs: Ecmdqs,
    /// CMD_ATC_INV of CMDQ has timed out, and no CMD_SYNC has told yet.
    atc_timed_out: bool,
}

impl<const N: usize> Smmu<N> {
    /// A device after reset, with empty caches.
    ///
    /// # Errors
    /// [`ConfigError`] names the feature or setting that cannot be.
    pub const fn new(features: Features, settings: Settings) -> Result<Self, ConfigError> {
        match Configuration::new(features, settings) {
            Ok(configuration) => Ok(Self::of(configuration)),
            Err(error) => Err(error),
        }
    }

    /// A device after reset, with empty caches: [`Smmu::new`] for a `static`.
    ///
    /// ```
    /// use smmuv3::{Configuration, Features, Settings, Smmu};
    ///
    /// const CONFIGURATION: Configuration<64> =
    ///     match Configuration::new(Features::SMMUV3_2, Settings::new(16, 4)) {
    ///         Ok(configuration) => configuration,
    ///         Err(_) => panic!("does not compile"),
    ///     };
    /// static DEVICE: Smmu<64> = Smmu::of(CONFIGURATION);
    /// assert!(DEVICE.iotlb().is_empty());
    /// ```
    #[must_use]
    pub const fn of(configuration: Configuration<N>) -> Self {
        let Configuration { features, settings } = configuration;
        Self {
            features,
            settings,
            registers: Registers::new(&features),
            caches: Caches {
                config: ConfigCache::new(),
                iotlb: Iotlb::new(settings.iotlb_sets, settings.iotlb_ways, settings.iotlb_unbounded),
                tables: WalkCache::new(),
                keeps_tables: settings.walk_cache,
                seconds: None,
            },
            recents: Recents::new(),
            stalls: Stalls::new(),
            ecmdqs: Ecmdqs::new(),
            atc_timed_out: false,
        }
    }

    /// What the device implements.
    #[must_use]
    pub const fn features(&self) -> &Features {
        &self.features
    }

    /// What a guest cannot read of it.
    #[must_use]
    pub const fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Every register's value.
    #[must_use]
    pub const fn registers(&self) -> &Registers {
        &self.registers
    }

    /// The translations that are remembered.
    #[must_use]
    pub const fn iotlb(&self) -> &Iotlb<N> {
        &self.caches.iotlb
    }

    /// The table descriptors that are remembered.
    #[must_use]
    pub const fn walk_cache(&self) -> &WalkCache {
        &self.caches.tables
    }

    /// The STEs and CDs that are remembered.
    #[must_use]
    pub const fn config_cache(&self) -> &ConfigCache {
        &self.caches.config
    }

    /// Back to the state after reset: every register, all caches, and stalled transactions, which end with an abort
    /// that [`Smmu::next_resumed`] does not tell. DMA masters are reset first.
    pub fn reset(&mut self) {
        self.registers = Registers::new(&self.features);
        self.stalls = Stalls::new();
        self.ecmdqs = Ecmdqs::new();
        self.atc_timed_out = false;
        self.drop_caches();
    }

    /// Forgets all that is remembered, which an SMMU may do at any time. Results do not change for a guest that
    /// invalidates as it must.
    pub fn drop_caches(&mut self) {
        self.recents.clear();
        self.caches.config.clear();
        self.caches.iotlb.clear();
        self.caches.tables.clear();
        self.caches.seconds = None;
    }
}

/// All caches together: what a miss may remember.
#[derive(Clone, Debug)]
struct Caches<const N: usize> {
    config: ConfigCache,
    iotlb: Iotlb<N>,
    tables: WalkCache,
    keeps_tables: bool,
    seconds: Option<Seconds>,
}

impl<const N: usize> Keep for Caches<N> {
    const UPDATES: Updates = Updates::Written;

    #[inline]
    fn find_ste(&mut self, stream: StreamId) -> Option<Ste> {
        self.config.ste(stream).copied()
    }

    fn keep_ste(&mut self, stream: StreamId, ste: &Ste) {
        self.config.keep_ste(stream, ste);
    }

    #[inline]
    fn find_cd(&mut self, stream: StreamId, substream: SubstreamId) -> Option<Cd> {
        self.config.cd(stream, substream).copied()
    }

    fn keep_cd(&mut self, stream: StreamId, substream: SubstreamId, cd: &Cd) {
        self.config.keep_cd(stream, substream, cd);
    }

    #[inline]
    fn find<T: Trace + ?Sized>(&mut self, space: &Space, input: u64, trace: &mut T) -> Option<Entry> {
        let entry = self.iotlb.find(space, input)?;
        trace.step(&Step::Hit(entry));
        Some(entry)
    }

    fn keep<T: Trace + ?Sized>(&mut self, entry: &Entry, trace: &mut T) {
        self.iotlb.keep(entry, trace);
    }

    #[inline]
    fn find_second<T: Trace + ?Sized>(&mut self, space: &Space, ipa: Ipa, trace: &mut T) -> Option<Second> {
        self.iotlb.find_second(space, ipa, trace)
    }

    #[inline]
    fn keep_second<T: Trace + ?Sized>(&mut self, space: &Space, ipa: Ipa, second: &Second, trace: &mut T) {
        self.iotlb.keep_second(space, ipa, second, trace);
    }

    #[inline]
    fn usual_second<H: Memory + Trace + ?Sized>(
        &mut self,
        s2: &Stage2,
        space: &Space,
        ipa: Ipa,
        class: Class,
        required: u8,
        writes: bool,
        host: &H,
    ) -> Option<Second> {
        let need = (required, writes);
        if host.watches() { None } else { self.second_as_usual(s2, space, ipa, class, need, host) }
    }

    #[inline]
    fn learn_second(
        &mut self,
        s2: &Stage2,
        space: &Space,
        ipa: Ipa,
        word: u64,
        location: Pa,
        second: &Second,
        features: &Features,
    ) {
        self.study_second(s2, space, ipa, (word, location), second, features);
    }

    #[inline]
    fn find_table<T: Trace + ?Sized>(
        &mut self,
        space: &Space,
        granule: Granule,
        start: Level,
        input: u64,
        trace: &mut T,
    ) -> Option<Table> {
        let entry = self.tables.find(space, granule, start, input)?;
        if trace.watches() {
            trace.step(&Step::TableHit(*entry));
        }
        Some(Table { next: entry.next, level: entry.level, limits: entry.limits })
    }

    #[inline]
    fn keeps_tables(&self) -> bool {
        self.keeps_tables
    }

    fn keep_table<T: Trace + ?Sized>(&mut self, entry: &TableEntry, trace: &mut T) {
        self.tables.keep(entry);
        trace.step(&Step::TableFill(*entry));
    }
}

/// One access of a device behind the SMMU, within one translation granule or not: the result says how far it reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Transaction {
    /// StreamID.
    pub stream: StreamId,
    /// SubstreamID, if the transaction has one (`SSV`).
    pub substream: Option<SubstreamId>,
    /// Input address.
    pub address: Iova,
    /// Read, write or both.
    pub access: Access,
    /// `PnU`, as it arrives.
    pub privileged: bool,
    /// `InD`, as it arrives; ignored for writes.
    pub instruction: bool,
    /// Memory type, as it arrives.
    pub memory: MemoryType,
    /// Shareability, as it arrives.
    pub sh: Shareability,
}

impl Transaction {
    /// An unprivileged data read without SubstreamID, and with the attributes of a client that has none: Write-Back,
    /// Non-shareable.
    #[must_use]
    pub const fn read(stream: StreamId, address: Iova) -> Self {
        Self {
            stream,
            substream: None,
            address,
            access: Access::Read,
            privileged: false,
            instruction: false,
            memory: MemoryType::WRITE_BACK,
            sh: Shareability::NonShareable,
        }
    }

    /// An unprivileged write without SubstreamID.
    #[must_use]
    pub const fn write(stream: StreamId, address: Iova) -> Self {
        Self { access: Access::Write, ..Self::read(stream, address) }
    }

    /// The same with a SubstreamID.
    #[must_use]
    pub const fn with_substream(self, substream: SubstreamId) -> Self {
        Self { substream: Some(substream), ..self }
    }

    /// The same, privileged.
    #[must_use]
    pub const fn privileged(self) -> Self {
        Self { privileged: true, ..self }
    }

    /// The same as an instruction fetch.
    #[must_use]
    pub const fn instruction(self) -> Self {
        Self { instruction: true, ..self }
    }
}

/// Where an access goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Translation {
    /// Physical address of the transaction's first byte.
    pub pa: Pa,
    /// Bytes from `pa` on that the same translation covers, at least 1: an access that is longer goes on with another.
    pub span: u64,
    /// The attributes with which the access goes on.
    pub attributes: Attributes,
}

/// How an access ends that goes nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Terminated {
    /// What its device sees.
    pub response: Response,
    /// The event record that it makes; `None` if it makes none. Whether the record finds room is the queue's affair.
    pub event: Option<EventKind>,
}

/// What a device sees of an access that goes nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Response {
    /// An abort.
    Abort,
    /// Reads give zeros, writes are ignored.
    RazWi,
    /// Nothing yet: it waits for CMD_RESUME under this name. See [`Smmu::next_resumed`].
    Stalled(Stag),
}
