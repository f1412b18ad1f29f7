//! The stage 2 walk (DDI 0487 §D8.2), for a stream's own addresses and for what stage 1 reads.

use super::geometry::Descent;
use super::permission::{self, is_device};
use super::second::Second;
use super::stage1::contiguous;
use super::{Keep, RESTARTS, Updates, Walk};
use crate::arch::addr::{Granule, Ipa, Level, Pa, Stage, align_down, low_mask};
use crate::arch::entry::{Leaf, Rights, Space, TableEntry, TableLimits};
use crate::arch::fault::{Class, Denied, Fault, Place};
use crate::env::memory::Memory;
use crate::env::trace::Trace;
use crate::format::descriptor::{Descriptor, field};
use crate::format::ste::Stage2;

impl<H: Memory + Trace + ?Sized, K: Keep> Walk<'_, H, K> {
    /// Stage 2 of `ipa`, which is being accessed as `class` by what `self.demand` says.
    #[inline]
    pub(crate) fn stage2(
        &mut self,
        s2: &Stage2,
        space: &Space,
        ipa: Ipa,
        class: Class,
    ) -> Result<Second, Fault> {
        let (required, writes) = (self.demand.required(), self.demand.writes());
        match self.kept.usual_second(s2, space, ipa, class, required, writes, self.host) {
            Some(second) => Ok(second),
            None => self.any_stage2(s2, space, ipa, class),
        }
    }

    /// The same, whatever it takes.
    #[inline(never)]
    pub(super) fn any_stage2(
        &mut self,
        s2: &Stage2,
        space: &Space,
        ipa: Ipa,
        class: Class,
    ) -> Result<Second, Fault> {
        let place = Place { stage: Stage::S2, class, ipa };
        if ipa.0.wrapping_shr(s2.input_bits.into()) != 0 {
            return Err(Fault::Translation(place));
        }
        if let Some(second) = self.kept.find_second(space, ipa, self.host)
            && !(second.is_clean() && self.demand.writes())
        {
            self.check_stage2(s2, second.rights(), second.memory(), place)?;
            return Ok(second);
        }
        match self.walk_stage2(s2, space, ipa, class)? {
            Some(second) => Ok(second),
            None => self.walk_stage2_again(s2, space, ipa, class),
        }
    }

    #[cold]
    #[inline(never)]
    fn walk_stage2_again(
        &mut self,
        s2: &Stage2,
        space: &Space,
        ipa: Ipa,
        class: Class,
    ) -> Result<Second, Fault> {
        for _ in 1..RESTARTS {
            if let Some(second) = self.walk_stage2(s2, space, ipa, class)? {
                return Ok(second);
            }
        }
        Err(Fault::WalkEabt(Place { stage: Stage::S2, class, ipa }, s2.base))
    }

    #[inline]
    fn check_stage2(&self, s2: &Stage2, rights: Rights, memory: u8, place: Place) -> Result<(), Fault> {
        let protected = s2.protected_table_walk && place.class != Class::In;
        if protected && is_device(memory, s2.force_write_back) {
            let read = !self.demand.writes();
            return Err(Fault::Permission(place, Denied { read, table_write: false }));
        }
        self.demand.check(rights).map_err(|denied| Fault::Permission(place, denied))
    }

    /// One try; `None` if the leaf changed under a hardware update.
    #[inline(never)]
    fn walk_stage2(
        &mut self,
        s2: &Stage2,
        space: &Space,
        ipa: Ipa,
        class: Class,
    ) -> Result<Option<Second>, Fault> {
        let place = Place { stage: Stage::S2, class, ipa };
        let granule = s2.granule;
        let kept = self.kept.find_table(space, granule, s2.start, ipa.0, self.host);
        let mut descent = match kept.and_then(|kept| Some((kept, kept.level.next()?))) {
            Some((kept, below)) => Descent::from_table(granule, below, kept.next),
            None => Descent::from_start(granule, s2.start, s2.base.0, s2.input_bits),
        };
        let beyond = !low_mask(s2.output_bits.into());
        let high = granule == Granule::Kib64 && self.features.oas_bits >= 52;
        let (word, address) = loop {
            let address = Pa(descent.location(ipa.0));
            let word = self.read_descriptor(Stage::S2, descent.level, s2.endian, address, class, ipa)?;
            let Some(next) = descent.table(word, high) else { break (word, address) };
            if next & beyond != 0 {
                return Err(Fault::AddrSize(place));
            }
            if self.kept.keeps_tables() {
                self.keep_stage2_table(space, granule, descent.level, ipa, next);
            }
            descent.down(next);
        };
        let level = descent.level;
        let output = match Descriptor::parse(word, granule, level, self.features.oas_bits) {
            Descriptor::Leaf(output) if output & beyond != 0 => return Err(Fault::AddrSize(place)),
            Descriptor::Leaf(output) => output,
            _ => return Err(Fault::Translation(place)),
        };

        let (rights, mut clean) = permission::stage2(word, s2, self.features.xnx);
        let accessed = field::AF.get(word) != 0;
        if !accessed && !s2.hardware_access && !s2.access_flag_fault_disabled {
            return Err(Fault::Access(place));
        }
        let memory = field::MEMATTR.get(word) as u8;
        self.check_stage2(s2, rights, memory, place)?;
        if !accessed || clean {
            let dirtied = clean && self.demand.dirties(rights);
            if !self.flag_stage2(s2, address, word, dirtied, place)? {
                return Ok(None);
            }
            clean &= !dirtied;
        }

        let mut log2_size = descent.shift();
        if field::CONTIGUOUS.get(word) != 0 {
            let neighbours = granule.contiguous_shift(level);
            let bits = s2.input_bits.min(s2.output_bits);
            log2_size = contiguous(word, neighbours, log2_size, ipa.0, output, bits);
        }
        let output = Pa(align_down(output, log2_size));
        let second =
            Second::new(output, Leaf { granule, level, log2_size: log2_size as u8 }, rights, clean, word);
        if class != Class::In {
            self.kept.keep_second(space, ipa, &second, self.host);
        }
        if !self.host.watches() {
            self.kept.learn_second(s2, space, ipa, word, address, &second, self.features);
        }
        Ok(Some(second))
    }

    #[inline(never)]
    fn keep_stage2_table(&mut self, space: &Space, granule: Granule, level: Level, ipa: Ipa, next: u64) {
        let input = align_down(ipa.0, granule.level_shift(level));
        let kept = TableEntry { space: *space, granule, level, input, next, limits: TableLimits::NONE };
        self.kept.keep_table(&kept, self.host);
    }

    /// Has hardware update the leaf's flags, where it does; false if the leaf changed before.
    #[cold]
    #[inline(never)]
    fn flag_stage2(
        &mut self,
        s2: &Stage2,
        address: Pa,
        word: u64,
        dirtied: bool,
        place: Place,
    ) -> Result<bool, Fault> {
        let mut updated = word;
        if s2.hardware_access {
            updated = field::AF.put(updated, 1);
        }
        if dirtied {
            updated = field::S2AP1.put(updated, 1);
        }
        if K::UPDATES != Updates::Written || updated == word {
            return Ok(true);
        }
        self.update_descriptor(Stage::S2, s2.endian, address, word, updated, place)
    }
}
