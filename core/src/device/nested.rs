//! Misses of known streams that both stages translate.
//!
//! What becomes of two leaves is, but for the addresses, a function of what each of them becomes and of the configuration:
//! where both are as they were the last time, so is the entry.

use super::Caches;
use super::recent::Known;
use crate::arch::addr::{Granule, Ipa, Level, Pa, align_down, low_mask};
use crate::arch::entry::Space;
use crate::arch::fault::{Class, Fault};
use crate::arch::features::Features;
use crate::arch::id::StreamWorld;
use crate::cache::iotlb::{Character, Gap, Packed, SpaceRefs};
use crate::env::Host;
use crate::env::memory::Memory;
use crate::format::Endian;
use crate::format::descriptor::field;
use crate::format::ste::Stage2;
use crate::walk::permission::Demand;
use crate::walk::{Descent, Found, Second, Usual, Walk, combine, second_space};

/// What the last two leaves have become together.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pair {
    first: Character,
    /// See [`Second::bits`]: 0 is that of no leaf.
    second: u64,
    both: Character,
}

impl Pair {
    pub(super) const NOTHING: Self = Self { first: Character::NONE, second: 0, both: Character::NONE };
}

/// Closes a gap where both stages end in the tables in which they ended the last time, in leaves like the last ones, and the
/// last table of stage 1 is where the IOTLB says: then three descriptors of all those are read. `None`, and nothing has
/// happened, if it is otherwise.
#[inline(never)]
pub(super) fn close_both<const N: usize, H: Memory + ?Sized>(
    caches: &mut Caches<N>,
    known: &Known,
    required: u8,
    input: u64,
    gap: &Gap,
    host: &H,
) -> Option<(Packed, u32)> {
    let Caches { iotlb, tables, keeps_tables, seconds, .. } = caches;
    let seconds = seconds.as_ref().filter(|_| *keeps_tables)?;
    let s2 = known.stream.s2.as_ref()?;
    if !seconds.are_of(s2, known.space.world) || iotlb.is_stale(&seconds.spaces) {
        return None;
    }
    // Stage 1's last table, through what is kept of stage 2.
    let upper = known.is_upper(input);
    let usual = known.usual(upper)?;
    let (location, log2_first) = usual.last(known.last_table(input, tables.changes())?, input);
    if location >> (s2.input_bits % 64) != 0 {
        return None;
    }
    let table = iotlb.hit(&seconds.spaces, location).ok()?;
    let at = iotlb.payload(table.slot)?.second()?;
    if !at.rights().has(Demand::STRUCTURE_READ.required()) {
        return None;
    }
    let word = host.read_u64(at.at(Ipa(location))).ok()?;
    let first = known.usual_character(word, log2_first, upper)?;
    let ipa = Ipa(usual.output(word, log2_first)? | input & low_mask(log2_first));
    // Stage 2 of where that leads.
    if ipa.0 >> (s2.input_bits % 64) != 0 || iotlb.hit(&seconds.spaces, ipa.0).is_ok() {
        return None;
    }
    let second = seconds.at_end(s2, ipa, tables.changes(), host)?;
    let Pair { first: last_first, second: last_second, both } = known.pair;
    let log2_size = log2_first.min(second.log2_size());
    if first != last_first || second.bits() != last_second || !both.rights().has(required) {
        return None;
    }
    if log2_size != gap.log2_size || !both.is_own() {
        return None;
    }
    iotlb.used(table.slot);
    let payload = both.of_both(second.at(ipa), ipa, log2_size);
    iotlb.close(gap, align_down(input, log2_size), payload)?;
    Some((payload, log2_size))
}

/// Walks both stages for `input`: the payload, and log2 of its size.
#[inline(never)]
pub(super) fn walk_both<const N: usize, H: Host + ?Sized>(
    walk: &mut Walk<'_, H, Caches<N>>,
    known: &mut Known,
    upper: bool,
    input: u64,
) -> Result<(Packed, u32), Fault> {
    let Some(path) = known.path(upper) else { return Err(Fault::BadCd) };
    let Some(s2) = known.stream.s2 else { return Err(Fault::BadSte) };
    let s2 = &s2;
    let found = walk.find_leaf_nested(s2, path, &known.space, input)?;
    let granule = path.granule;
    if walk.kept.keeps_tables {
        known.keep_table(upper, input, &found, walk.kept.tables.changes());
    }
    let required = walk.demand.required();
    let Some(first) = known.alike(&found, upper).filter(|first| first.rights().has(required)) else {
        return study_both(walk, known, upper, input, &found);
    };
    let log2_first = granule.level_shift(found.level);
    let ipa = Ipa(found.output | input & low_mask(log2_first));
    let second = walk.stage2(s2, &second_space(&known.space), ipa, Class::In)?;
    let log2_size = log2_first.min(second.log2_size());
    let last = &known.pair;
    if first == last.first && second.bits() == last.second {
        return Ok((last.both.of_both(second.at(ipa), ipa, log2_size), log2_size));
    }
    let entry = first.at(found.output).entry(known.space, input & !low_mask(log2_first), log2_first as u8);
    let payload = Packed::new(&combine(entry, &second, s2, input, ipa));
    known.pair = Pair { first, second: second.bits(), both: payload.character() };
    Ok((payload, log2_size))
}

/// The same for a leaf of stage 1 that is like none before.
#[inline(never)]
fn study_both<const N: usize, H: Host + ?Sized>(
    walk: &mut Walk<'_, H, Caches<N>>,
    known: &mut Known,
    upper: bool,
    input: u64,
    found: &Found,
) -> Result<(Packed, u32), Fault> {
    let Some(half) = known.half(upper) else { return Err(Fault::BadCd) };
    let first = walk.entry_of(&known.stream, &known.cd, half, &known.space, input, *found)?;
    known.learn(found, upper, &first);
    let entry = walk.after_first(&known.stream, first, &known.space, input)?;
    Ok((Packed::new(&entry), entry.log2_size.into()))
}

/// Stage 2 as the last stream had it, and the leaf of the last descriptor that became one by itself: an access to a table of
/// stage 1 asks for little else.
#[derive(Clone, Debug)]
pub(super) struct Seconds {
    /// Whose: `S2TTB`, the word of the STE, and the StreamWorld.
    base: Pa,
    word: u64,
    world: StreamWorld,
    usual: Usual,
    spaces: SpaceRefs,
    /// The leaf's descriptor without its address, log2 of the bytes that it maps, and what it becomes.
    leaf: u64,
    shift: u32,
    second: Second,
    /// The last level's table that was walked through last, which resolves the addresses of `region`.
    table: Pa,
    region: u64,
    /// Current until any table is dropped or replaced.
    changes: u64,
}

/// Bits of a leaf that may be address, whatever the granule.
const ADDRESS: u64 = low_mask(48) & !low_mask(12);

/// log2 of the bytes that the last level's table at the end of the walk resolves.
const fn region_shift(s2: &Stage2) -> u32 {
    s2.granule.level_shift(Level::L2)
}

impl Seconds {
    /// Whether this is the stage 2 of a stream.
    #[inline]
    fn are_of(&self, s2: &Stage2, world: StreamWorld) -> bool {
        self.base == s2.base && self.word == s2.word && self.world == world
    }

    /// The leaf of `ipa` in the last table, if it is there and like the last one.
    #[inline]
    fn at_end<H: Memory + ?Sized>(&self, s2: &Stage2, ipa: Ipa, changes: u64, host: &H) -> Option<Second> {
        if self.changes != changes || ipa.0 >> region_shift(s2) != self.region {
            return None;
        }
        let (location, shift) = self.usual.last(self.table.0, ipa.0);
        let word = host.read_u64(Pa(location)).ok()?;
        self.like_last(word, shift)
    }

    /// What a leaf of `2^shift` bytes becomes, if it is like the last one.
    #[inline]
    fn like_last(&self, word: u64, shift: u32) -> Option<Second> {
        let alike = word & !ADDRESS == self.leaf && shift == self.shift;
        Some(self.second.moved(Pa(self.usual.output(word, shift).filter(|_| alike)?)))
    }
}

impl<const N: usize> Caches<N> {
    /// See [`Keep::usual_second`].
    #[inline(never)]
    pub(super) fn second_as_usual<H: Memory + ?Sized>(
        &mut self,
        s2: &Stage2,
        space: &Space,
        ipa: Ipa,
        class: Class,
        (required, writes): (u8, bool),
        host: &H,
    ) -> Option<Second> {
        let Self { seconds, iotlb, tables, keeps_tables, .. } = self;
        let seconds = seconds.as_mut()?;
        if !seconds.are_of(s2, space.world) || ipa.0.wrapping_shr(s2.input_bits.into()) != 0 || !iotlb.is_bounded() {
            return None;
        }
        if iotlb.is_stale(&seconds.spaces) {
            seconds.spaces = iotlb.references(&second_space(space));
        }
        let gap = match iotlb.hit(&seconds.spaces, ipa.0) {
            Ok(hit) => {
                let second = iotlb.payload(hit.slot)?.second()?;
                let allowed = second.rights().has(required) && !(second.is_clean() && writes);
                if allowed {
                    iotlb.used(hit.slot);
                }
                return allowed.then_some(second);
            }
            Err(gap) => gap,
        };
        let table = match *keeps_tables {
            true if seconds.changes != tables.changes() || ipa.0 >> region_shift(s2) != seconds.region => {
                return None;
            }
            true => Some(seconds.table.0),
            false => None,
        };
        let (word, shift) = seconds.usual.leaf(table, ipa.0, host);
        if word & !ADDRESS != seconds.leaf || shift != seconds.shift || !seconds.second.rights().has(required)
        {
            return None;
        }
        let second = seconds.second.moved(Pa(seconds.usual.output(word, shift)?));
        if class != Class::In {
            let payload = Packed::of_second(&second, ipa);
            let first = align_down(ipa.0, shift);
            match gap.filter(|gap| gap.log2_size == shift) {
                Some(gap) => iotlb.close(&gap, first, payload)?,
                None => iotlb.open(&seconds.spaces, first, shift, payload)?,
            }
        }
        Some(second)
    }

    /// See [`Keep::learn_second`].
    #[cold]
    #[inline(never)]
    pub(super) fn study_second(
        &mut self,
        s2: &Stage2,
        space: &Space,
        ipa: Ipa,
        (word, location): (u64, Pa),
        second: &Second,
        features: &Features,
    ) {
        let alone = field::CONTIGUOUS.get(word) == 0;
        let firm = field::AF.get(word) != 0 && !(s2.hardware_dirty && field::DBM.get(word) != 0);
        let wide = s2.granule == Granule::Kib64 && features.oas_bits >= 52;
        let plain = s2.endian == Endian::Little && !s2.protected_table_walk;
        if !(alone && firm && plain) || wide {
            return;
        }
        let start = Descent::from_start(s2.granule, s2.start, s2.base.0, s2.input_bits);
        let usual = Usual::new(start, s2.granule, s2.output_bits);
        // Only a table that a remembered descriptor leads to counts as remembered.
        let below = second.level() == Some(Level::L3) && s2.start < Level::L3;
        self.seconds = Some(Seconds {
            base: s2.base,
            word: s2.word,
            world: space.world,
            usual,
            spaces: self.iotlb.references(space),
            leaf: word & !ADDRESS,
            shift: second.log2_size(),
            second: *second,
            table: Pa(usual.table_at(location.0)),
            region: if below { ipa.0 >> region_shift(s2) } else { u64::MAX },
            changes: self.tables.changes(),
        });
    }
}
