//! The configuration cache: StreamID → STE, and StreamID and SubstreamID → CD, kept until a CFGI command names them
//! (§4.3). Only legal structures are kept; level 1 descriptors are not.

use crate::arch::id::{StreamId, SubstreamId};
use crate::env::trace::{Step, Trace};
use crate::format::cd::Cd;
use crate::format::command::Command;
use crate::format::ste::Ste;

/// Structures of each kind that are kept.
const SLOTS: usize = 32;
const WAYS: usize = 4;

/// Up to 32 STEs and 32 CDs.
#[derive(Clone, Debug)]
pub struct ConfigCache {
    stes: [Option<(StreamId, Ste)>; SLOTS],
    cds: [Option<(StreamId, SubstreamId, Cd)>; SLOTS],
    next: u8,
}

impl ConfigCache {
    /// Nothing remembered.
    pub(crate) const fn new() -> Self {
        Self { stes: [None; SLOTS], cds: [None; SLOTS], next: 0 }
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        // In place: another one of these on the stack would be large.
        self.stes.fill(None);
        self.cds.fill(None);
        self.next = 0;
    }

    /// The STEs kept.
    pub fn stes(&self) -> impl Iterator<Item = &(StreamId, Ste)> {
        self.stes.iter().flatten()
    }

    /// The CDs kept.
    pub fn cds(&self) -> impl Iterator<Item = &(StreamId, SubstreamId, Cd)> {
        self.cds.iter().flatten()
    }

    /// The STE of `stream`.
    #[inline]
    pub fn ste(&self, stream: StreamId) -> Option<&Ste> {
        let set = self.stes.get(ways(stream, SubstreamId(0)))?;
        set.iter().flatten().find(|(id, _)| *id == stream).map(|(_, ste)| ste)
    }

    /// The CD of `stream` and `substream`.
    #[inline]
    pub fn cd(&self, stream: StreamId, substream: SubstreamId) -> Option<&Cd> {
        let set = self.cds.get(ways(stream, substream))?;
        set.iter().flatten().find(|(id, ssid, _)| (*id, *ssid) == (stream, substream)).map(|(.., cd)| cd)
    }

    /// Keeps the STE of `stream`.
    pub fn keep_ste(&mut self, stream: StreamId, ste: &Ste) {
        self.next = self.next.wrapping_add(1);
        if let Some(set) = self.stes.get_mut(ways(stream, SubstreamId(0))) {
            place(set, self.next, |(id, _)| *id == stream, (stream, *ste));
        }
    }

    /// Keeps the CD of `stream` and `substream`.
    pub fn keep_cd(&mut self, stream: StreamId, substream: SubstreamId, cd: &Cd) {
        self.next = self.next.wrapping_add(1);
        if let Some(set) = self.cds.get_mut(ways(stream, substream)) {
            place(
                set,
                self.next,
                |(id, ssid, _)| (*id, *ssid) == (stream, substream),
                (stream, substream, *cd),
            );
        }
    }

    /// Drops what a CFGI command names; any other command names nothing. An STE takes its CDs with it.
    pub fn invalidate<T: Trace + ?Sized>(&mut self, by: &Command, trace: &mut T) {
        for slot in &mut self.stes {
            if let Some((stream, _)) = slot.filter(|(id, _)| names_ste(by, *id)) {
                trace.step(&Step::DropSte { by: *by, stream });
                *slot = None;
            }
        }
        for slot in &mut self.cds {
            if let Some((stream, substream, _)) = slot.filter(|(id, ssid, _)| names_cd(by, *id, *ssid)) {
                trace.step(&Step::DropCd { by: *by, stream, substream });
                *slot = None;
            }
        }
    }
}

fn names_ste(command: &Command, id: StreamId) -> bool {
    match *command {
        Command::CfgiSte { stream, .. } => id == stream,
        // The low `range` + 1 bits of the StreamID are ignored; 31 names them all.
        Command::CfgiSteRange { stream, range } => {
            (u64::from(id.0 ^ stream.0) >> (u32::from(range) + 1)) == 0
        }
        _ => false,
    }
}

fn names_cd(command: &Command, id: StreamId, ssid: SubstreamId) -> bool {
    match *command {
        Command::CfgiCd { stream, substream, .. } => id == stream && ssid == substream,
        Command::CfgiCdAll { stream } => id == stream,
        _ => names_ste(command, id),
    }
}

/// The set of a structure: the one index function.
fn ways(stream: StreamId, substream: SubstreamId) -> core::ops::Range<usize> {
    let set = (stream.0 ^ stream.0 >> 3 ^ substream.0 ^ substream.0 >> 3) as usize % (SLOTS / WAYS);
    set * WAYS..(set + 1) * WAYS
}

/// Puts `value` where its like is, where nothing is, or in the place of one way in turn.
fn place<T>(set: &mut [Option<T>], turn: u8, same: impl Fn(&T) -> bool, value: T) {
    let way = set
        .iter()
        .position(|slot| slot.as_ref().is_some_and(&same))
        .or_else(|| set.iter().position(Option::is_none))
        .unwrap_or(usize::from(turn) % WAYS);
    if let Some(slot) = set.get_mut(way) {
        *slot = Some(value);
    }
}
