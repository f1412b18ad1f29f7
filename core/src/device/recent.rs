//! What the last transactions have learnt: a stream's range of addresses and the name of its space in the IOTLB, so that a
//! hit asks neither STE nor CD again.
//!
//! Everything here is derived from a remembered STE and CD, and forgotten with them: by any CFGI command, when SMMUEN or
//! E2H changes, and when caches are dropped. Only streams whose stage 1 translates are here; anything else, and any
//! access that is not simply allowed, goes the long way, which finds the fault.

use crate::arch::addr::low_mask;
use crate::arch::attributes::{MemoryType, Shareability};
use crate::arch::entry::{Rights, Space};
use crate::arch::id::{StreamId, StreamWorld, SubstreamId};
use crate::cache::iotlb::{Hit, SpaceTag};
use crate::format::cd::{Cd, Half};
use crate::format::ste::Stream;
use crate::walk::permission::{Access, Demand};

const SLOTS: usize = 16;

/// A stream's accepted addresses and overrides.
#[derive(Clone, Copy, Debug)]
pub(super) struct Recent {
    stream: StreamId,
    substream: Option<SubstreamId>,
    lower: Window,
    upper: Window,
    single_range: bool,
    privileged: Option<bool>,
    instruction: Option<bool>,
    space: Space,
    pub(super) tag: SpaceTag,
    last: Last,
}

/// The answer before this one: what serves sequential DMA.
#[derive(Clone, Copy, Debug)]
struct Last {
    /// The addresses that it answers: those equal to `page` in the bits of `mask`, tags included.
    page: u64,
    mask: u64,
    hit: Hit,
}

impl Last {
    const NONE: Self = Self {
        page: 1,
        mask: 0,
        hit: Hit {
            slot: 0,
            log2_size: 0,
            output: 0,
            rights: Rights(0),
            memory: MemoryType::DEVICE_NGNRNE,
            sh: Shareability::NonShareable,
            epoch: 0,
        },
    };
}

/// One range of input addresses: those whose bits of `kept` are at most `last`, seen from the range's own end.
#[derive(Clone, Copy, Debug)]
struct Window {
    kept: u64,
    last: u64,
    open_to: OpenTo,
}

/// Who may use a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum OpenTo {
    Nobody,
    Privileged,
    All,
}

impl Window {
    fn new(half: Option<&Half>, world: StreamWorld) -> Self {
        half.map_or(Self { kept: 0, last: 0, open_to: OpenTo::Nobody }, |half| Self {
            kept: if half.top_byte_ignored { low_mask(56) } else { u64::MAX },
            last: low_mask(half.input_bits.into()),
            open_to: match half.unprivileged_disabled && world != StreamWorld::El2 {
                true => OpenTo::Privileged,
                false => OpenTo::All,
            },
        })
    }
}

/// The most recent streams.
#[derive(Clone, Debug)]
pub(super) struct Recents {
    slots: [Option<Recent>; SLOTS],
    /// The slot that was asked for last.
    current: u8,
}

fn slot(stream: StreamId, substream: Option<SubstreamId>) -> usize {
    let ssid = substream.map_or(0, |ssid| ssid.0.wrapping_add(1));
    (stream.0 ^ stream.0 >> 4 ^ ssid) as usize % SLOTS
}

impl Recents {
    pub(super) const fn new() -> Self {
        Self { slots: [None; SLOTS], current: 0 }
    }

    pub(super) fn clear(&mut self) {
        self.slots = [None; SLOTS];
    }

    #[inline]
    pub(super) fn find(&mut self, stream: StreamId, substream: Option<SubstreamId>) -> Option<&mut Recent> {
        let is_it = |recent: &Recent| recent.stream == stream && recent.substream == substream;
        let current = usize::from(self.current);
        if !self.slots.get(current).and_then(Option::as_ref).is_some_and(is_it) {
            self.current = slot(stream, substream) as u8;
            if !self.slots.get(usize::from(self.current)).and_then(Option::as_ref).is_some_and(is_it) {
                return None;
            }
        }
        self.slots.get_mut(usize::from(self.current))?.as_mut()
    }

    pub(super) fn keep(&mut self, recent: Recent) {
        if let Some(kept) = self.slots.get_mut(slot(recent.stream, recent.substream)) {
            *kept = Some(recent);
        }
    }
}

impl Recent {
    pub(super) fn new(
        id: StreamId,
        substream: Option<SubstreamId>,
        stream: &Stream,
        cd: &Cd,
        space: Space,
        tag: SpaceTag,
    ) -> Self {
        Self {
            stream: id,
            substream,
            lower: Window::new(cd.lower.as_ref(), space.world),
            upper: Window::new(cd.upper.as_ref(), space.world),
            single_range: space.world == StreamWorld::El2,
            privileged: stream.overrides.privileged,
            instruction: stream.overrides.instruction,
            space,
            tag,
            last: Last::NONE,
        }
    }

    pub(super) const fn space(&self) -> &Space {
        &self.space
    }

    /// The access after the overrides of the STE.
    #[inline]
    pub(super) fn demand(&self, demand: Demand) -> Demand {
        Demand {
            privileged: self.privileged.unwrap_or(demand.privileged),
            instruction: self.instruction.unwrap_or(demand.instruction)
                && matches!(demand.access, Access::Read),
            ..demand
        }
    }

    /// The last answer, if it is current and answers `address` too.
    #[inline]
    pub(super) fn again(&self, address: u64, epoch: u64) -> Option<&Hit> {
        let Last { page, mask, hit } = &self.last;
        (address & mask == *page && hit.epoch == epoch).then_some(hit)
    }

    /// Remembers an answer. Ranges for privileged accesses alone answer no other.
    pub(super) fn keep(&mut self, address: u64, hit: &Hit) {
        if self.lower.open_to != OpenTo::Privileged && self.upper.open_to != OpenTo::Privileged {
            let mask = !low_mask(hit.log2_size.into());
            self.last = Last { page: address & mask, mask, hit: *hit };
        }
    }

    /// The address that the IOTLB knows `address` by; `None` if no range accepts it.
    #[inline]
    pub(super) fn accept(&self, address: u64, privileged: bool) -> Option<u64> {
        let upper = !self.single_range && address >> 55 & 1 != 0;
        let (window, ends) = if upper { (&self.upper, u64::MAX) } else { (&self.lower, 0) };
        let from_end = (address ^ ends) & window.kept;
        let open = window.open_to == OpenTo::All || (window.open_to == OpenTo::Privileged && privileged);
        (open && from_end <= window.last).then_some(from_end ^ ends)
    }
}
