//! The way from a StreamID to its configuration: stream table, STE, CD table, CD (§3.3).

use super::{Keep, Walk};
use crate::arch::addr::{Ipa, Pa, align_down, low_mask};
use crate::arch::entry::Space;
use crate::arch::fault::{Class, Fault};
use crate::arch::features::Features;
use crate::arch::id::{StreamId, SubstreamId};
use crate::env::memory::{Memory, read_words};
use crate::env::trace::{Step, Trace};
use crate::format::cd::{CD_BYTES, Cd, L1CD_BYTES, l1cd_pointer};
use crate::format::ste::{DefaultSubstream, L1STD_BYTES, L1Std, STE_BYTES, Ste, Stream};
use crate::walk::permission::Demand;

/// The stream table as STRTAB_BASE and STRTAB_BASE_CFG describe it, derived from them at each use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct StreamTable {
    /// `ADDR`, before alignment.
    pub base: Pa,
    /// `LOG2SIZE`, as written: it aligns the base. The range of StreamIDs is the smaller of it and SIDSIZE.
    pub log2_size: u8,
    /// `SPLIT` if `FMT` says two levels: 6, 8 or 10.
    pub split: Option<u8>,
}

impl StreamTable {
    /// The first byte of the table: the base, aligned to the configured size (§6.3.25).
    #[must_use]
    pub fn address(&self) -> Pa {
        let bits = match self.split {
            None => u32::from(self.log2_size) + 6,
            Some(split) => u32::from(self.log2_size.saturating_sub(split)) + 3,
        };
        Pa(align_down(self.base.0, bits.max(6)))
    }
}

/// Where a transaction finds its context, once the STE and its SubstreamID are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Context {
    /// Stage 1 is disabled, or `S1DSS` bypasses it.
    Bypass,
    /// The CD of this index.
    Cd(SubstreamId),
}

/// Which CD a transaction uses (§5.2 `S1DSS`, §7.3.22).
///
/// # Errors
/// [`Fault::BadSubstreamId`] or [`Fault::StreamDisabled`].
pub(crate) fn context(stream: &Stream, substream: Option<SubstreamId>) -> Result<Context, Fault> {
    let Some(s1) = &stream.s1 else {
        return if substream.is_some() { Err(Fault::BadSubstreamId) } else { Ok(Context::Bypass) };
    };
    let Some(ssid) = substream else {
        return match s1.default_substream {
            _ if s1.log2_cds == 0 => Ok(Context::Cd(SubstreamId(0))),
            DefaultSubstream::Terminate => Err(Fault::StreamDisabled),
            DefaultSubstream::Bypass => Ok(Context::Bypass),
            DefaultSubstream::Cd0 => Ok(Context::Cd(SubstreamId(0))),
        };
    };
    if s1.log2_cds == 0 || u64::from(ssid.0) > low_mask(s1.log2_cds.into()) {
        return Err(Fault::BadSubstreamId);
    }
    if ssid.0 == 0 && s1.default_substream == DefaultSubstream::Cd0 {
        return Err(Fault::StreamDisabled);
    }
    Ok(Context::Cd(ssid))
}

impl<H: Memory + Trace + ?Sized, K: Keep> Walk<'_, H, K> {
    /// The STE of `stream`, remembered or fetched.
    #[inline]
    pub(crate) fn ste(&mut self, table: &StreamTable, stream: StreamId, e2h: bool) -> Result<Ste, Fault> {
        if let Some(ste) = self.kept.find_ste(stream) {
            return Ok(ste);
        }
        let ste = self.fetch_ste(table, stream, e2h)?;
        self.kept.keep_ste(stream, &ste);
        Ok(ste)
    }

    /// The CD with index `substream` of `stream`, remembered or fetched.
    #[inline]
    pub(crate) fn cd(
        &mut self,
        stream: &Stream,
        id: StreamId,
        substream: SubstreamId,
        space: &Space,
    ) -> Result<Cd, Fault> {
        if let Some(cd) = self.kept.find_cd(id, substream) {
            return Ok(cd);
        }
        let cd = self.fetch_cd(stream, id, substream, space)?;
        self.kept.keep_cd(id, substream, &cd);
        Ok(cd)
    }

    /// The STE of `stream`; at most two reads. `e2h` is `CR2.E2H`.
    fn fetch_ste(&mut self, table: &StreamTable, stream: StreamId, e2h: bool) -> Result<Ste, Fault> {
        let sid = u64::from(stream.0);
        if sid > low_mask(u32::from(table.log2_size.min(self.features.sidsize))) {
            return Err(Fault::BadStreamId);
        }
        let base = table.address();
        let address = match table.split {
            None => base.offset(sid * STE_BYTES),
            Some(split) => {
                let address = self.physical(base.offset((sid >> split) * L1STD_BYTES));
                let word = self.host.read_u64(address).map_err(|_| Fault::SteFetch(address))?;
                self.host.step(&Step::L1Std { stream, address, word });
                let leaf = L1Std::parse(word, split, self.features).ok_or(Fault::BadStreamId)?;
                let index = sid & low_mask(split.into());
                if index > low_mask(leaf.log2_stes.into()) {
                    return Err(Fault::BadStreamId);
                }
                leaf.table.offset(index * STE_BYTES)
            }
        };
        let address = self.physical(address);
        let words = read_words(self.host, address).map_err(|_| Fault::SteFetch(address))?;
        self.host.step(&Step::Ste { stream, address, words });
        Ste::parse(&words, self.features, e2h)
    }

    /// The CD with index `substream` of `stream`; at most two reads, each through stage 2 if that is enabled.
    fn fetch_cd(
        &mut self,
        stream: &Stream,
        id: StreamId,
        substream: SubstreamId,
        space: &Space,
    ) -> Result<Cd, Fault> {
        let Some(s1) = &stream.s1 else { return Err(Fault::BadCd) };
        let index = u64::from(substream.0);
        let location = match s1.format.split() {
            None => s1.context | (index * CD_BYTES),
            Some(split) => {
                let location = s1.context | ((index >> split) * L1CD_BYTES);
                let address = self.structure(stream, space, location)?;
                let word = self.host.read_u64(address).map_err(|_| Fault::CdFetch(address))?;
                self.host.step(&Step::L1Cd { stream: id, substream, address, word });
                let leaf = l1cd_pointer(word, split, self.features).ok_or(Fault::BadSubstreamId)?;
                if leaf > low_mask(limit(self.features, stream)) {
                    return Err(Fault::BadSubstreamId);
                }
                leaf | ((index & low_mask(split.into())) * CD_BYTES)
            }
        };
        let address = self.structure(stream, space, location)?;
        let words = read_words(self.host, address).map_err(|_| Fault::CdFetch(address))?;
        self.host.step(&Step::Cd { stream: id, substream, address, words });
        Cd::parse(&words, self.features, stream)
    }

    /// The physical address of a CD or L1CD.
    fn structure(&mut self, stream: &Stream, space: &Space, location: u64) -> Result<Pa, Fault> {
        let Some(s2) = &stream.s2 else { return Ok(Pa(location)) };
        self.table_access(s2, space, Ipa(location), Demand::STRUCTURE_READ, Class::Cd)
    }

    /// An address of the stream table, truncated to OAS (§3.4.3).
    fn physical(&self, address: Pa) -> Pa {
        Pa(address.0 & low_mask(self.features.oas_bits.into()))
    }
}

/// Bits of the space that CD pointers address.
fn limit(features: &Features, stream: &Stream) -> u32 {
    if stream.s2.is_some() { features.ias_bits() } else { features.oas_bits.into() }
}
