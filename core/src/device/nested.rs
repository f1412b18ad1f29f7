//! Misses of known streams that both stages translate.
//!
//! What becomes of two leaves is, but for the addresses, a function of what each of them becomes and of the configuration:
//! where both are as they were the last time, so is the entry.

use super::Caches;
use super::recent::Known;
use crate::arch::addr::{Ipa, low_mask};
use crate::arch::fault::{Class, Fault};
use crate::cache::iotlb::{Character, Packed};
use crate::env::Host;
use crate::walk::{Found, Walk, combine, second_space};

/// What the last two leaves have become together.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pair {
    first: Character,
    /// See [`Second::bits`]: 0 is that of no leaf.
    second: u64,
    both: Character,
}

impl Pair {
    pub(super) const NOTHING: Self =
        Self { first: Character::NONE, second: 0, both: Character::NONE };
}

/// Walks both stages for `input`: the payload, and log2 of its size.
#[inline(never)]
pub(super) fn walk_both<const N: usize, H: Host + ?Sized>(
    walk: &mut Walk<'_, H, Caches<N>>,
    known: &mut Known,
    upper: bool,
    input: u64,
) -> Result<(Packed, u32), Fault> {
    let Some(half) = known.half(upper) else { return Err(Fault::Translation(crate::arch::fault::Place::INPUT)) };
    let Some(s2) = &known.stream.s2 else { return Err(Fault::BadSte) };
    let found = walk.find_leaf_of(&known.stream, &known.cd, half, &known.space, input)?;
    let required = walk.demand.required();
    let Some(first) = known.alike(&found, upper).filter(|first| first.rights().has(required)) else {
        return study_both(walk, known, upper, input, found);
    };
    let log2_first = half.granule.level_shift(found.level);
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
    found: Found,
) -> Result<(Packed, u32), Fault> {
    let Some(half) = known.half(upper) else { return Err(Fault::BadCd) };
    let first = walk.entry_of(&known.stream, &known.cd, half, &known.space, input, found)?;
    known.learn(&found, upper, &first);
    let entry = walk.after_first(&known.stream, first, &known.space, input)?;
    Ok((Packed::new(&entry), entry.log2_size.into()))
}
