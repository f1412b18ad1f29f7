//! The stage 2 walk (DDI 0487 §D8.2), for a stream's own addresses and for what stage 1 reads.

use super::geometry::Descent;
use super::permission::{self, is_device};
use super::stage1::contiguous;
use super::{Keep, RESTARTS, Updates, Walk};
use crate::arch::addr::{Granule, Ipa, Pa, Stage, align_down, low_mask};
use crate::arch::attributes::{MemoryType, Shareability};
use crate::arch::entry::{Entry, Leaf, Rights, Space, TableEntry, TableLimits};
use crate::arch::fault::{Class, Denied, Fault, Place};
use crate::env::memory::Memory;
use crate::env::trace::Trace;
use crate::format::descriptor::{Descriptor, field};
use crate::format::ste::Stage2;

impl<H: Memory + Trace + ?Sized, K: Keep> Walk<'_, H, K> {
    /// Stage 2 of `ipa`, which is being accessed as `class` by what `self.demand` says.
    pub(crate) fn stage2(
        &mut self,
        s2: &Stage2,
        space: &Space,
        ipa: Ipa,
        class: Class,
    ) -> Result<Entry, Fault> {
        let place = Place { stage: Stage::S2, class, ipa };
        if ipa.0 > low_mask(s2.input_bits.into()) {
            return Err(Fault::Translation(place));
        }
        if let Some(entry) = self.kept.find_ipa(space, ipa, self.host)
            && !(entry.clean && self.demand.writes())
        {
            self.check_stage2(s2, entry.rights_s2, entry.memory_s2, place)?;
            return Ok(entry);
        }
        for _ in 0..RESTARTS {
            if let Some(entry) = self.walk_stage2(s2, space, ipa, place)? {
                if class != Class::In {
                    self.kept.keep(&entry, self.host);
                }
                return Ok(entry);
            }
        }
        Err(Fault::WalkEabt(place, s2.base))
    }

    fn check_stage2(&self, s2: &Stage2, rights: Rights, memory: u8, place: Place) -> Result<(), Fault> {
        let protected = s2.protected_table_walk && place.class != Class::In;
        if protected && is_device(memory, s2.force_write_back) {
            let read = !self.demand.writes();
            return Err(Fault::Permission(place, Denied { read, table_write: false }));
        }
        self.demand.check(rights).map_err(|denied| Fault::Permission(place, denied))
    }

    /// One try; `None` if the leaf changed under a hardware update.
    fn walk_stage2(
        &mut self,
        s2: &Stage2,
        space: &Space,
        ipa: Ipa,
        place: Place,
    ) -> Result<Option<Entry>, Fault> {
        let granule = s2.granule;
        let kept = self.kept.find_table(space, granule, s2.start, ipa.0, self.host);
        let mut descent = match kept.and_then(|kept| Some((kept, kept.level.next()?))) {
            Some((kept, below)) => Descent::from_table(granule, below, kept.next),
            None => Descent::from_start(granule, s2.start, s2.base.0, s2.input_bits),
        };
        let beyond = !low_mask(s2.output_bits.into());
        let high = granule == Granule::Kib64 && self.features.oas_bits >= 52;
        let (word, output, level, address) = loop {
            let address = Pa(descent.location(ipa.0));
            let level = descent.level;
            let word = self.read_descriptor(Stage::S2, level, s2.endian, address, place.class, place.ipa)?;
            let Some(next) = descent.table(word, high) else {
                match Descriptor::parse(word, granule, level, self.features.oas_bits) {
                    Descriptor::Leaf(output) if output & beyond != 0 => return Err(Fault::AddrSize(place)),
                    Descriptor::Leaf(output) => break (word, output, level, address),
                    _ => return Err(Fault::Translation(place)),
                }
            };
            if next & beyond != 0 {
                return Err(Fault::AddrSize(place));
            }
            if self.kept.keeps_tables() {
                let input = align_down(ipa.0, descent.shift());
                let limits = TableLimits::NONE;
                let kept = TableEntry { space: *space, granule, level, input, next, limits };
                self.kept.keep_table(&kept, self.host);
            }
            descent.down(next);
        };

        let accessed = field::AF.get(word) != 0;
        if !accessed && !s2.hardware_access && !s2.access_flag_fault_disabled {
            return Err(Fault::Access(place));
        }
        let (rights, mut clean) = permission::stage2(word, s2, self.features.xnx);
        let memory = field::MEMATTR.get(word) as u8;
        self.check_stage2(s2, rights, memory, place)?;

        let mut updated = word;
        if !accessed && s2.hardware_access {
            updated = field::AF.put(updated, 1);
        }
        if clean && self.demand.dirties(rights) {
            updated = field::S2AP1.put(updated, 1);
            clean = false;
        }
        if K::UPDATES == Updates::Written
            && updated != word
            && !self.update_descriptor(Stage::S2, s2.endian, address, word, updated, place)?
        {
            return Ok(None);
        }

        let shift = granule.level_shift(level);
        let log2_size = contiguous(
            word,
            granule.contiguous_shift(level),
            shift,
            ipa.0,
            output,
            s2.input_bits.min(s2.output_bits),
        );
        let input = align_down(ipa.0, log2_size);
        Ok(Some(Entry {
            space: *space,
            global: true,
            input,
            log2_size: log2_size as u8,
            output: Pa(align_down(output, log2_size)),
            ipa: Ipa(input),
            s1: None,
            s2: Some(Leaf { granule, level, log2_size: log2_size as u8 }),
            rights_s1: Rights::ALL,
            rights_s2: rights,
            clean,
            memory: MemoryType::WRITE_BACK,
            sh: Shareability::from_sh(field::SH.get(word) as u8),
            memory_s2: memory,
        }))
    }
}
