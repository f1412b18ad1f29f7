//! The stage 1 walk (DDI 0487 §D8.2; order of checks §7.3.22).

use super::geometry::{Descent, Usual, select};
use super::{Keep, RESTARTS, Updates, Walk, at_input, permission, second_space};
use crate::arch::addr::{Granule, Ipa, Level, Pa, Stage, align_down, low_mask};
use crate::arch::attributes::{MemoryType, Shareability};
use crate::arch::entry::{Entry, Leaf, Rights, Space, TableEntry, TableLimits};
use crate::arch::fault::{Class, Denied, Fault, Place};
use crate::arch::features::Features;
use crate::arch::id::StreamWorld;
use crate::env::memory::Memory;
use crate::env::trace::{Step, Trace};
use crate::format::Endian;
use crate::format::cd::{Cd, Half};
use crate::format::descriptor::{Descriptor, field};
use crate::format::ste::{Stage2, Stream};
use crate::walk::permission::Demand;

/// A descriptor that ended the walk, and where it was read.
#[derive(Clone, Copy)]
pub(crate) struct Found {
    pub(crate) word: u64,
    pub(crate) output: u64,
    pub(crate) level: Level,
    pub(crate) limits: TableLimits,
    /// Its address as stage 1 knows it.
    pub(crate) location: u64,
    /// Its physical address.
    address: Pa,
}

impl<H: Memory + Trace + ?Sized, K: Keep> Walk<'_, H, K> {
    /// Stage 1 of `input`: an entry whose output is an IPA, and also a PA where there is no stage 2.
    pub(super) fn stage1(
        &mut self,
        stream: &Stream,
        cd: &Cd,
        space: &Space,
        input: u64,
    ) -> Result<Entry, Fault> {
        let Some((half, input)) = select(cd, space.world, self.demand.privileged, input) else {
            return Err(Fault::Translation(at_input()));
        };
        let found = self.find_leaf_of(stream, cd, half, space, input)?;
        self.entry_of(stream, cd, half, space, input, found)
    }

    /// The entry that a leaf becomes; where it changes under a hardware update, the walk starts again.
    pub(crate) fn entry_of(
        &mut self,
        stream: &Stream,
        cd: &Cd,
        half: &Half,
        space: &Space,
        input: u64,
        mut found: Found,
    ) -> Result<Entry, Fault> {
        for _ in 1..RESTARTS {
            if let Some(entry) = self.use_leaf(stream, cd, half, space, input, &found)? {
                return Ok(entry);
            }
            found = self.find_leaf_of(stream, cd, half, space, input)?;
        }
        let last = self.use_leaf(stream, cd, half, space, input, &found)?;
        last.ok_or(Fault::WalkEabt(Place { class: Class::Tt, ..at_input() }, Pa(half.base)))
    }

    #[inline(never)]
    fn find_leaf_of(
        &mut self,
        stream: &Stream,
        cd: &Cd,
        half: &Half,
        space: &Space,
        input: u64,
    ) -> Result<Found, Fault> {
        let path = Path::new(cd, half, self.features);
        match &stream.s2 {
            None => self.find_leaf_alone(&path, space, input),
            Some(s2) => self.find_leaf_nested(s2, &path, space, input),
        }
    }

    /// The same where there is no stage 2.
    #[inline(never)]
    pub(crate) fn find_leaf_alone(&mut self, path: &Path, space: &Space, input: u64) -> Result<Found, Fault> {
        self.find_leaf(None, path, space, input)
    }

    /// The same where there is.
    #[inline(never)]
    pub(crate) fn find_leaf_nested(
        &mut self,
        s2: &Stage2,
        path: &Path,
        space: &Space,
        input: u64,
    ) -> Result<Found, Fault> {
        self.find_leaf(Some(s2), path, space, input)
    }

    /// Reads descriptors from the nearest remembered table on, to a leaf.
    #[inline(always)]
    fn find_leaf(
        &mut self,
        s2: Option<&Stage2>,
        path: &Path,
        space: &Space,
        input: u64,
    ) -> Result<Found, Fault> {
        let Path { granule, start, beyond, wide, endian, .. } = *path;
        let mut limits = TableLimits::NONE;
        let mut descent = start;
        if self.kept.keeps_tables()
            && let Some(kept) = self.kept.find_table(space, granule, start.level, input, self.host)
            && let Some(below) = kept.level.next()
        {
            limits = kept.limits;
            descent = Descent::from_table(granule, below, kept.next);
        }
        loop {
            let location = descent.location(input);
            let level = descent.level;
            let address = match s2 {
                None => Pa(location),
                Some(s2) => self.table_read(s2, space, Ipa(location))?,
            };
            let word = self.read_descriptor(Stage::S1, level, endian, address, Class::Tt, Ipa(0))?;
            let Some(next) = descent.table(word, wide) else {
                return match Descriptor::parse(word, granule, level, self.features.oas_bits) {
                    Descriptor::Leaf(output) if output & beyond != 0 => Err(Fault::AddrSize(at_input())),
                    Descriptor::Leaf(output) => Ok(Found { word, output, level, limits, location, address }),
                    _ => Err(Fault::Translation(at_input())),
                };
            };
            if next & beyond != 0 {
                return Err(Fault::AddrSize(at_input()));
            }
            if word >> TABLE_LIMITS != 0 && !path.hierarchical_disabled {
                limits = add_limits(limits, word, space.world);
            }
            if self.kept.keeps_tables() {
                let input = align_down(input, descent.shift());
                let kept = TableEntry { space: *space, granule, level, input, next, limits };
                self.kept.keep_table(&kept, self.host);
            }
            descent.down(next);
        }
    }

    /// Checks the leaf, updates its flags where hardware does, and makes an entry of it. `None` if it changed since it
    /// was read, so that the walk starts again.
    fn use_leaf(
        &mut self,
        stream: &Stream,
        cd: &Cd,
        half: &Half,
        space: &Space,
        input: u64,
        found: &Found,
    ) -> Result<Option<Entry>, Fault> {
        let &Found { word, output, level, limits, .. } = found;
        let accessed = field::AF.get(word) != 0;
        if !accessed && !cd.hardware_access && !cd.access_flag_fault_disabled {
            return Err(Fault::Access(at_input()));
        }
        let (rights, mut clean) = permission::stage1(word, limits, cd, space.world);
        self.demand.check(rights).map_err(|denied| Fault::Permission(at_input(), denied))?;

        let mut updated = word;
        if !accessed && cd.hardware_access {
            updated = field::AF.put(updated, 1);
        }
        if clean && self.demand.dirties(rights) {
            updated = field::AP2.put(updated, 0);
            clean = false;
        }
        if K::UPDATES != Updates::Unasked && updated != word {
            if let Some(s2) = &stream.s2 {
                self.table_access(s2, space, Ipa(found.location), Demand::STRUCTURE_WRITE, Class::Tt)?;
            }
            let place = Place { class: Class::Tt, ..at_input() };
            if K::UPDATES == Updates::Written
                && !self.update_descriptor(Stage::S1, cd.endian, found.address, word, updated, place)?
            {
                return Ok(None);
            }
        }

        let granule = half.granule;
        let shift = granule.level_shift(level);
        let log2_size = contiguous(
            word,
            granule.contiguous_shift(level),
            shift,
            input,
            output,
            half.input_bits.min(cd.output_bits),
        );
        let memory = MemoryType::from_mair((cd.mair >> (8 * field::ATTRINDX.get(word))) as u8);
        let base = align_down(output, log2_size);
        Ok(Some(Entry {
            space: *space,
            global: space.world == StreamWorld::El2 || field::NG.get(word) == 0,
            input: align_down(input, log2_size),
            log2_size: log2_size as u8,
            output: Pa(base),
            ipa: Ipa(base),
            s1: Some(Leaf { granule, level, log2_size: log2_size as u8 }),
            s2: None,
            rights_s1: rights,
            rights_s2: Rights::ALL,
            clean,
            memory,
            sh: Shareability::from_sh(field::SH.get(word) as u8).of(memory),
            memory_s2: 0,
        }))
    }

    /// The physical address of a descriptor of stage 1 that is read, through stage 2.
    #[inline(always)]
    fn table_read(&mut self, s2: &Stage2, space: &Space, ipa: Ipa) -> Result<Pa, Fault> {
        let read = Demand::STRUCTURE_READ;
        match self.kept.usual_second(s2, space, ipa, Class::Tt, read.required(), false, self.host) {
            Some(second) => Ok(second.at(ipa)),
            None => self.table_access(s2, space, ipa, read, Class::Tt),
        }
    }

    /// The physical address of a structure that stage 1 uses, through stage 2.
    #[inline(never)]
    pub(super) fn table_access(
        &mut self,
        s2: &Stage2,
        space: &Space,
        ipa: Ipa,
        access: Demand,
        class: Class,
    ) -> Result<Pa, Fault> {
        let transaction = self.demand;
        self.demand = access;
        let result = self.any_stage2(s2, &second_space(space), ipa, class);
        self.demand = transaction;
        match result {
            Ok(second) => Ok(second.at(ipa)),
            Err(fault) => Err(of_table(fault, transaction, access)),
        }
    }

    /// One descriptor, in CPU order.
    pub(super) fn read_descriptor(
        &mut self,
        stage: Stage,
        level: Level,
        endian: Endian,
        address: Pa,
        class: Class,
        ipa: Ipa,
    ) -> Result<u64, Fault> {
        let word =
            self.host.read_u64(address).map_err(|_| Fault::WalkEabt(Place { stage, class, ipa }, address))?;
        let word = in_order(endian, word);
        self.host.step(&Step::Descriptor { stage, level, address, word });
        Ok(word)
    }

    /// Writes a descriptor's new flags if it still holds `old`, and says whether it did.
    pub(super) fn update_descriptor(
        &mut self,
        stage: Stage,
        endian: Endian,
        address: Pa,
        old: u64,
        new: u64,
        place: Place,
    ) -> Result<bool, Fault> {
        let done = self
            .host
            .compare_exchange(address, in_order(endian, old), in_order(endian, new))
            .map_err(|_| Fault::WalkEabt(place, address))?;
        if done {
            self.host.step(&Step::Update { stage, address, word: new });
        }
        Ok(done)
    }
}

/// The fault of a table access: the record tells of the transaction, and only TTRnW of the table access.
#[cold]
fn of_table(fault: Fault, transaction: Demand, access: Demand) -> Fault {
    match fault {
        Fault::Permission(place, _) => {
            let read = transaction.access == permission::Access::Read;
            Fault::Permission(place, Denied { read, table_write: access.writes() })
        }
        fault => fault,
    }
}

/// A descriptor's word between memory's little-endian order and `endian`.
const fn in_order(endian: Endian, word: u64) -> u64 {
    match endian {
        Endian::Little => word,
        Endian::Big => word.swap_bytes(),
    }
}

/// How addresses of one range are looked up: what a walk asks of the CD.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Path {
    pub(crate) granule: Granule,
    start: Descent,
    /// Bits of output addresses that are too many.
    beyond: u64,
    /// Whether descriptors have address bits 51 to 48.
    wide: bool,
    endian: Endian,
    hierarchical_disabled: bool,
}

impl Path {
    /// The same, if it is as usual.
    pub(crate) fn usual(&self) -> Option<Usual> {
        let usual = !self.wide && self.endian == Endian::Little;
        usual.then(|| Usual::new(self.start, self.granule, (!self.beyond).count_ones() as u8))
    }

    /// log2 of the bytes that a descriptor of the first table covers.
    pub(crate) const fn start_shift(&self) -> u32 {
        self.start.shift()
    }

    pub(crate) fn new(cd: &Cd, half: &Half, features: &Features) -> Self {
        let granule = half.granule;
        Self {
            granule,
            start: Descent::from_start(granule, half.start, half.base, half.input_bits),
            beyond: !low_mask(cd.output_bits.into()),
            wide: granule == Granule::Kib64 && features.oas_bits >= 52,
            endian: cd.endian,
            hierarchical_disabled: half.hierarchical_disabled,
        }
    }
}

/// The lowest bit of a table descriptor that may forbid something: `PXNTable`.
const TABLE_LIMITS: u32 = 59;

/// What a table descriptor adds to the limits of those above it. Where there is one privilege, only `APTable[1]` and
/// `XNTable` count.
fn add_limits(limits: TableLimits, word: u64, world: StreamWorld) -> TableLimits {
    let two = world != StreamWorld::El2;
    let ap = field::APTABLE.get(word);
    TableLimits {
        no_unprivileged: limits.no_unprivileged || (two && ap & 0b01 != 0),
        no_write: limits.no_write || ap & 0b10 != 0,
        no_unprivileged_execute: limits.no_unprivileged_execute || field::UXNTABLE.get(word) != 0,
        no_privileged_execute: limits.no_privileged_execute || (two && field::PXNTABLE.get(word) != 0),
    }
}

/// log2 of the bytes that a leaf of `shift` maps together with its contiguous neighbours. A group whose output is not
/// aligned as its input is misprogrammed; then, and where the group would pass the input or output size, the leaf stands
/// alone.
pub(super) fn contiguous(word: u64, neighbours: u32, shift: u32, input: u64, output: u64, bits: u8) -> u32 {
    let span = shift + neighbours;
    let inside = low_mask(span) & !low_mask(shift);
    let aligned = (input ^ output) & inside == 0;
    let fits = span <= bits.into();
    if field::CONTIGUOUS.get(word) != 0 && aligned && fits { span } else { shift }
}
