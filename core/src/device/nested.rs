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
use crate::cache::iotlb::{Character, Gap, Iotlb, Packed, SpaceRefs};
use crate::env::Host;
use crate::env::memory::Memory;
use crate::env::trace::NoTrace;
use crate::format::Endian;
use crate::format::descriptor::field;
use crate::format::ste::Stage2;
use crate::walk::permission::Demand;
use crate::walk::{At, Descent, Found, Second, Usual, Walk, combine, second_space};

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

    /// What two leaves become together, if they are like the last ones: the payload, and log2 of its size.
    #[inline]
    fn payload(
        &self,
        first: Character,
        second: &Second,
        log2_first: u32,
        ipa: Ipa,
        required: u8,
    ) -> Option<(Packed, u32)> {
        let alike = first == self.first && second.bits() == self.second;
        if !alike || !self.both.rights().has(required) {
            return None;
        }
        let log2_size = log2_first.min(second.log2_size());
        Some((self.both.of_both(second.at(ipa), ipa, log2_size), log2_size))
    }
}

/// A look-up that has found nothing.
pub(super) struct Miss<'a> {
    pub(super) known: &'a Known,
    pub(super) spaces: &'a mut SpaceRefs,
    /// The rights that are needed.
    pub(super) required: u8,
    pub(super) input: u64,
    pub(super) gap: Option<&'a Gap>,
}

/// Closes a gap where nobody watches and both leaves are like the last ones: the payload, and log2 of its size. `None`, and
/// nothing has happened, if it is otherwise.
#[inline(never)]
pub(super) fn close_both<const N: usize, H: Memory + ?Sized>(
    caches: &mut Caches<N>,
    miss: Miss<'_>,
    host: &H,
) -> Option<(Packed, u32)> {
    let Miss { known, .. } = miss;
    let Caches { iotlb, seconds, .. } = caches;
    let seconds = seconds.as_mut()?;
    let s2 = known.stream.s2.as_ref()?;
    if !seconds.are_of(s2, known.space.world) {
        return None;
    }
    if iotlb.is_stale(&seconds.spaces) {
        seconds.spaces = iotlb.references(&second_space(&known.space));
    }
    if caches.keeps_tables { close_in_last(caches, miss, host) } else { close_from_first(caches, miss, host) }
}

/// Both stages end in the tables in which they ended the last time, and stage 1's is where the IOTLB says.
#[inline(always)]
fn close_in_last<const N: usize, H: Memory + ?Sized>(
    caches: &mut Caches<N>,
    miss: Miss<'_>,
    host: &H,
) -> Option<(Packed, u32)> {
    let Caches { iotlb, tables, seconds, .. } = caches;
    let Miss { known, input, .. } = miss;
    let (seconds, s2) = (seconds.as_ref()?, known.stream.s2.as_ref()?);
    let upper = known.is_upper(input);
    let usual = known.usual(upper)?;
    let at = usual.last(known.last_table(input, tables.changes())?);
    let location = Ipa(at.location(input));
    let table = iotlb.hit(&seconds.spaces, location.0).ok()?;
    let through = iotlb.payload(table.slot)?.second()?;
    if seconds.is_outside(s2, location) || !through.rights().has(READ) {
        return None;
    }
    let word = host.read_u64(through.at(location)).ok()?;
    let first = known.usual_character(word, at.shift, upper)?;
    let ipa = Ipa(usual.output(word, at.shift)? | input & low_mask(at.shift));
    if seconds.is_outside(s2, ipa) || iotlb.hit(&seconds.spaces, ipa.0).is_ok() {
        return None;
    }
    let second = seconds.in_last_table(s2, ipa, tables.changes(), host)?;
    let (payload, log2_size) = known.pair.payload(first, &second, at.shift, ipa, miss.required)?;
    iotlb.used(table.slot);
    keep_both(iotlb, miss, payload, log2_size)
}

/// Tables of stage 1, one for each level.
const LEVELS: usize = 4;

/// No table is remembered, nor anything of stage 2: both are walked from their first tables on, but for those of stage 2
/// that this very walk has just come through.
#[inline(always)]
fn close_from_first<const N: usize, H: Memory + ?Sized>(
    caches: &mut Caches<N>,
    miss: Miss<'_>,
    host: &H,
) -> Option<(Packed, u32)> {
    let Caches { iotlb, seconds, .. } = caches;
    let Miss { known, input, .. } = miss;
    let (seconds, s2) = (seconds.as_ref()?, known.stream.s2.as_ref()?);
    let upper = known.is_upper(input);
    let usual = known.usual(upper)?;
    if !seconds.second.rights().has(READ) || !iotlb.has_nothing(&seconds.spaces) {
        return None;
    }
    let mut near = Near { region: u64::MAX, at: seconds.usual.first() };
    // Each is in a page of its own, so that none of them would find what another one brings.
    let mut found = [(Ipa(0), Pa(0)); LEVELS];
    let mut count = 0;
    let mut at = usual.first();
    let (word, ipa) = loop {
        let location = Ipa(at.location(input));
        let (before, rest) = found.split_at_mut_checked(count)?;
        let output = seconds.walk(s2, location, before, &mut near, host)?;
        *rest.first_mut()? = (location, output);
        count += 1;
        let word = host.read_u64(Pa(output.0 | location.0 & low_mask(seconds.shift))).ok()?;
        match usual.below(at, word) {
            Some(below) => at = below,
            None if usual.goes_on(at, word) => return None,
            None => break (word, Ipa(usual.output(word, at.shift)? | input & low_mask(at.shift))),
        }
    };
    let first = known.usual_character(word, at.shift, upper)?;
    let found = found.get(..count)?;
    let second = seconds.second.moved(seconds.walk(s2, ipa, found, &mut near, host)?);
    let (payload, log2_size) = known.pair.payload(first, &second, at.shift, ipa, miss.required)?;
    iotlb.open_each(&seconds.spaces, &seconds.second, found)?;
    keep_both(iotlb, miss, payload, log2_size)
}

/// The last level's table that a walk of stage 2 has come through, for the addresses of a region.
struct Near {
    region: u64,
    at: At,
}

/// Keeps what both stages have become.
#[inline]
fn keep_both<const N: usize>(
    iotlb: &mut Iotlb<N>,
    miss: Miss<'_>,
    payload: Packed,
    log2_size: u32,
) -> Option<(Packed, u32)> {
    let Miss { known, spaces, input, gap, .. } = miss;
    let first = align_down(input, log2_size);
    let own = payload.character().is_own();
    if let Some(gap) = gap.filter(|gap| own && gap.log2_size == log2_size) {
        iotlb.close(gap, first, payload)?;
    } else if !own || iotlb.open(spaces, first, log2_size, payload).is_none() {
        iotlb.fill(spaces, &known.space, first, log2_size, payload, &mut NoTrace)?;
    }
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
    if let Some(both) = known.pair.payload(first, &second, log2_first, ipa, required) {
        return Ok(both);
    }
    let log2_size = log2_first.min(second.log2_size());
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

/// What reading a table takes.
const READ: u8 = Demand::STRUCTURE_READ.required();

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

    /// Whether stage 2 does not take an address.
    #[inline]
    fn is_outside(&self, s2: &Stage2, ipa: Ipa) -> bool {
        ipa.0 >> (s2.input_bits % 64) != 0
    }

    /// The leaf of `ipa` in the last table, if it is there and like the last one.
    #[inline]
    fn in_last_table<H: Memory + ?Sized>(
        &self,
        s2: &Stage2,
        ipa: Ipa,
        changes: u64,
        host: &H,
    ) -> Option<Second> {
        if self.changes != changes || ipa.0 >> region_shift(s2) != self.region {
            return None;
        }
        let at = self.usual.last(self.table.0);
        let word = host.read_u64(Pa(at.location(ipa.0))).ok()?;
        self.like_last(word, at.shift)
    }

    /// Where `ipa` leads, if its leaf is like the last one and no page of `others` has it.
    #[inline(never)]
    fn walk<H: Memory + ?Sized>(
        &self,
        s2: &Stage2,
        ipa: Ipa,
        others: &[(Ipa, Pa)],
        near: &mut Near,
        host: &H,
    ) -> Option<Pa> {
        let is_there = |(other, _): &(Ipa, Pa)| (other.0 ^ ipa.0) >> (self.shift % 64) == 0;
        if self.is_outside(s2, ipa) || others.iter().any(is_there) {
            return None;
        }
        let region = ipa.0 >> region_shift(s2);
        let mut at = if region == near.region { near.at } else { self.usual.first() };
        let word = loop {
            let word = host.read_u64(Pa(at.location(ipa.0))).ok()?;
            match self.usual.below(at, word) {
                Some(below) => at = below,
                None => break word,
            }
        };
        if self.usual.is_last(at) {
            *near = Near { region, at };
        }
        Some(self.like_last(word, at.shift)?.output())
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
        if !seconds.are_of(s2, space.world)
            || ipa.0.wrapping_shr(s2.input_bits.into()) != 0
            || !iotlb.is_bounded()
        {
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
