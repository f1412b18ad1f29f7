//! What stage 2 alone says about the tables of stage 1: a nested walk asks for it at each of them.

#[cfg(feature = "alloc")]
use super::Entry;
use super::{Gap, Iotlb, Packed, SpaceRefs};
use crate::arch::addr::{Ipa, Pa, align_down};
use crate::arch::entry::Space;
use crate::env::trace::{Step, Trace};
use crate::walk::Second;

impl<const N: usize> Iotlb<N> {
    /// What stage 2 makes of `ipa`, if that is kept.
    #[inline]
    pub(crate) fn find_second<T: Trace + ?Sized>(
        &mut self,
        space: &Space,
        ipa: Ipa,
        trace: &mut T,
    ) -> Option<Second> {
        let number = self.spaces.find(space, false);
        let Some(hit) = number.and_then(|number| self.find_among(number, ipa.0)) else {
            #[cfg(feature = "alloc")]
            if self.overflows() {
                return self.find_second_elsewhere(space, ipa, trace);
            }
            return None;
        };
        self.used(hit.slot);
        if trace.watches()
            && let Some(entry) = self.entry(hit.slot as usize)
        {
            trace.step(&Step::Hit(entry));
        }
        self.payload(hit.slot)?.second()
    }

    /// The same among what no set has room for.
    #[cfg(feature = "alloc")]
    #[cold]
    #[inline(never)]
    fn find_second_elsewhere<T: Trace + ?Sized>(
        &self,
        space: &Space,
        ipa: Ipa,
        trace: &mut T,
    ) -> Option<Second> {
        let entry: Entry = *self.unbounded.as_ref()?.find(space, ipa.0)?;
        trace.step(&Step::Hit(entry));
        Packed::new(&entry).second()
    }

    /// Whether a space has no entry of its own.
    #[inline]
    pub(crate) fn has_nothing(&self, spaces: &SpaceRefs) -> bool {
        self.spaces.resolve(spaces.own).is_none_or(|number| self.spaces.slot(number).count == 0)
    }

    /// Keeps what stage 2 makes of some addresses, all of them as large as `second` and in other respects like it, in a space
    /// that has none for them: where they are, and where they lead. Nobody watches, and all entries are in sets.
    #[inline]
    pub(crate) fn open_each(
        &mut self,
        spaces: &SpaceRefs,
        second: &Second,
        found: &[(Ipa, Pa)],
    ) -> Option<()> {
        let number = self.spaces.resolve(spaces.own)?;
        let log2_size = second.log2_size();
        for (ipa, output) in found {
            let payload = Packed::of_second(&second.moved(*output), *ipa);
            let place = self.place(number, ipa.0, log2_size);
            self.close(&Gap { place, number, log2_size }, align_down(ipa.0, log2_size), payload)?;
        }
        Some(())
    }

    /// Keeps an entry in a space of its own that has none for its addresses; nothing happens if that has no number. Nobody
    /// watches, and all entries are in sets.
    #[inline(never)]
    pub(crate) fn open(
        &mut self,
        spaces: &SpaceRefs,
        input: u64,
        log2_size: u32,
        payload: Packed,
    ) -> Option<()> {
        let number = self.spaces.resolve(spaces.own)?;
        let place = self.place(number, input, log2_size);
        self.close(&Gap { place, number, log2_size }, input, payload)
    }

    /// Keeps what stage 2 makes of the addresses around `ipa`.
    pub(crate) fn keep_second<T: Trace + ?Sized>(
        &mut self,
        space: &Space,
        ipa: Ipa,
        second: &Second,
        trace: &mut T,
    ) {
        let number = self.intern(space, false);
        let log2_size = second.log2_size();
        let payload = Packed::of_second(second, ipa);
        self.put(number, align_down(ipa.0, log2_size), log2_size, payload, trace);
    }
}
