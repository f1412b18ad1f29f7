//! 32 bytes ⇄ [`Event`] (§7.3). Which fields a record has follows from its number.

use crate::arch::addr::{Iova, Ipa, Pa, Stage};
use crate::arch::bits::{Field, disjoint};
use crate::arch::fault::{Class, Fault, Place};
use crate::arch::id::{Stag, StreamId, SubstreamId};

/// Size of an event queue entry in bytes.
pub const EVENT_BYTES: u64 = 32;

/// Fields of an event record, numbered across its 256 bits.
pub mod field {
    use super::{Field, disjoint};

    /// The event number.
    pub const NUMBER: Field = Field::bits(7, 0);
    /// `SSV`.
    pub const SSV: Field = Field::bit(11);
    /// `SubstreamID`.
    pub const SSID: Field = Field::bits(31, 12);
    /// `StreamID`.
    pub const SID: Field = Field::bits(63, 32);
    /// `STAG`.
    pub const STAG: Field = Field::bits(79, 64);
    /// `Stall`.
    pub const STALL: Field = Field::bit(95);
    /// `PnU`: 1 is privileged.
    pub const PNU: Field = Field::bit(97);
    /// `InD`: 1 is instruction.
    pub const IND: Field = Field::bit(98);
    /// `RnW`: 1 is read.
    pub const RNW: Field = Field::bit(99);
    /// `S2`: 1 is a stage 2 fault.
    pub const S2: Field = Field::bit(103);
    /// `CLASS`.
    pub const CLASS: Field = Field::bits(105, 104);
    /// `TTRnW` of F_PERMISSION.
    pub const TTRNW: Field = Field::bit(108);
    /// `InputAddr`.
    pub const INPUTADDR: Field = Field::bits(191, 128);
    /// `Span` of F_BAD_ATS_TREQ, in translation units.
    pub const TREQ_SPAN: Field = Field::bits(67, 64);
    /// `P`, `X`, `W` and `R` of F_BAD_ATS_TREQ.
    pub const REQUESTED: Field = Field::bits(95, 92);
    /// `InputAddr[63:12]` of F_BAD_ATS_TREQ and E_PAGE_REQUEST.
    pub const PAGE: Field = Field::bits(191, 140);
    /// `uX`, `uW` and `uR` of E_PAGE_REQUEST.
    pub const HINT_UNPRIVILEGED: Field = Field::bits(99, 97);
    /// `pX`, `pW` and `pR` of E_PAGE_REQUEST.
    pub const HINT_PRIVILEGED: Field = Field::bits(103, 101);
    /// `Span` of E_PAGE_REQUEST, in units of 4 KiB.
    pub const HINT_SPAN: Field = Field::bits(115, 108);
    /// `IPA[51:12]`.
    pub const IPA: Field = Field::bits(243, 204);
    /// `FetchAddr[51:3]`.
    pub const FETCHADDR: Field = Field::bits(243, 195);

    const _: () = assert!(disjoint(&[
        NUMBER, SSV, SSID, SID, STAG, STALL, PNU, IND, RNW, S2, CLASS, TTRNW, INPUTADDR, IPA
    ]));
}

/// The number of an event record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[repr(u8)]
pub enum EventKind {
    /// F_UUT.
    Uut = 0x01,
    /// C_BAD_STREAMID.
    BadStreamId = 0x02,
    /// F_STE_FETCH.
    SteFetch = 0x03,
    /// C_BAD_STE.
    BadSte = 0x04,
    /// F_BAD_ATS_TREQ.
    BadAtsTreq = 0x05,
    /// F_STREAM_DISABLED.
    StreamDisabled = 0x06,
    /// F_TRANSL_FORBIDDEN.
    TranslForbidden = 0x07,
    /// C_BAD_SUBSTREAMID.
    BadSubstreamId = 0x08,
    /// F_CD_FETCH.
    CdFetch = 0x09,
    /// C_BAD_CD.
    BadCd = 0x0a,
    /// F_WALK_EABT.
    WalkEabt = 0x0b,
    /// F_TRANSLATION.
    Translation = 0x10,
    /// F_ADDR_SIZE.
    AddrSize = 0x11,
    /// F_ACCESS.
    Access = 0x12,
    /// F_PERMISSION.
    Permission = 0x13,
    /// F_TLB_CONFLICT.
    TlbConflict = 0x20,
    /// F_CFG_CONFLICT.
    CfgConflict = 0x21,
    /// E_PAGE_REQUEST.
    PageRequest = 0x24,
    /// F_VMS_FETCH.
    VmsFetch = 0x25,
}

impl EventKind {
    /// All numbers of the table, in order.
    pub const ALL: [Self; 19] = [
        Self::Uut,
        Self::BadStreamId,
        Self::SteFetch,
        Self::BadSte,
        Self::BadAtsTreq,
        Self::StreamDisabled,
        Self::TranslForbidden,
        Self::BadSubstreamId,
        Self::CdFetch,
        Self::BadCd,
        Self::WalkEabt,
        Self::Translation,
        Self::AddrSize,
        Self::Access,
        Self::Permission,
        Self::TlbConflict,
        Self::CfgConflict,
        Self::PageRequest,
        Self::VmsFetch,
    ];

    /// The kind with this number.
    #[must_use]
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| *kind as u8 == number)
    }

    /// Arm's name, such as `F_TRANSLATION`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Uut => "F_UUT",
            Self::BadStreamId => "C_BAD_STREAMID",
            Self::SteFetch => "F_STE_FETCH",
            Self::BadSte => "C_BAD_STE",
            Self::BadAtsTreq => "F_BAD_ATS_TREQ",
            Self::StreamDisabled => "F_STREAM_DISABLED",
            Self::TranslForbidden => "F_TRANSL_FORBIDDEN",
            Self::BadSubstreamId => "C_BAD_SUBSTREAMID",
            Self::CdFetch => "F_CD_FETCH",
            Self::BadCd => "C_BAD_CD",
            Self::WalkEabt => "F_WALK_EABT",
            Self::Translation => "F_TRANSLATION",
            Self::AddrSize => "F_ADDR_SIZE",
            Self::Access => "F_ACCESS",
            Self::Permission => "F_PERMISSION",
            Self::TlbConflict => "F_TLB_CONFLICT",
            Self::CfgConflict => "F_CFG_CONFLICT",
            Self::PageRequest => "E_PAGE_REQUEST",
            Self::VmsFetch => "F_VMS_FETCH",
        }
    }

    /// The record that `fault` makes; `None` for the one that makes none.
    #[must_use]
    pub const fn of(fault: &Fault) -> Option<Self> {
        Some(match fault {
            Fault::BadStreamId => Self::BadStreamId,
            Fault::SteFetch(_) => Self::SteFetch,
            Fault::BadSte => Self::BadSte,
            Fault::SteAbort => return None,
            Fault::BadAtsTreq => Self::BadAtsTreq,
            Fault::TranslForbidden => Self::TranslForbidden,
            Fault::BadSubstreamId => Self::BadSubstreamId,
            Fault::StreamDisabled => Self::StreamDisabled,
            Fault::CdFetch(_) => Self::CdFetch,
            Fault::BadCd => Self::BadCd,
            Fault::WalkEabt(..) => Self::WalkEabt,
            Fault::Translation(_) => Self::Translation,
            Fault::AddrSize(_) | Fault::BypassAddrSize => Self::AddrSize,
            Fault::Access(_) => Self::Access,
            Fault::Permission(..) => Self::Permission,
        })
    }
}

/// The transaction as an event record tells it, after the overrides of the STE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Requester {
    /// `StreamID`.
    pub stream: StreamId,
    /// `SubstreamID`, if `SSV`.
    pub substream: Option<SubstreamId>,
    /// `InputAddr`: as it came, tag bits included.
    pub input: Iova,
    /// `PnU`.
    pub privileged: bool,
    /// `InD`; false for writes.
    pub instruction: bool,
    /// `RnW`; false for atomics.
    pub read: bool,
}

/// An event record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Event {
    /// What failed.
    pub fault: Fault,
    /// Whose transaction.
    pub requester: Requester,
    /// `Stall` and `STAG`: the transaction waits for CMD_RESUME.
    pub stall: Option<Stag>,
}

impl Event {
    /// The number of the record; `None` for a fault that makes none.
    #[must_use]
    pub const fn kind(&self) -> Option<EventKind> {
        EventKind::of(&self.fault)
    }

    /// The 32 bytes of the record, or `None` for a fault that makes none. Fields that are UNKNOWN or RES0 are 0.
    #[must_use]
    #[inline]
    pub fn encode(&self) -> Option<[u64; 4]> {
        let mut words = [0; 4];
        let w = &mut words;
        let from = &self.requester;
        let kind = self.kind()?;
        field::NUMBER.set(w, kind as u64);
        field::SID.set(w, from.stream.0.into());
        match self.fault {
            Fault::StreamDisabled | Fault::TranslForbidden => {}
            // The SubstreamID of this record is always valid, and SSV is RES0.
            Fault::BadSubstreamId => field::SSID.set(w, from.substream.unwrap_or_default().0.into()),
            _ => {
                field::SSV.set(w, from.substream.is_some().into());
                field::SSID.set(w, from.substream.unwrap_or_default().0.into());
            }
        }
        match self.fault {
            Fault::SteFetch(address) | Fault::CdFetch(address) => put_fetch_address(w, address),
            Fault::BadAtsTreq => {
                // R is always requested; NW = 0 requests W as well.
                let requested = [from.privileged, from.instruction, !from.read, true];
                let bits = requested.into_iter().rev().fold(0, |bits, bit| bits << 1 | u64::from(bit));
                field::REQUESTED.set(w, bits);
                field::TREQ_SPAN.set(w, 1);
                field::PAGE.set(w, from.input.0 >> 12);
            }
            Fault::TranslForbidden => {
                field::RNW.set(w, from.read.into());
                field::INPUTADDR.set(w, from.input.0);
            }
            Fault::WalkEabt(place, address) => {
                put_place(w, from, Place { ipa: Ipa(0), ..place });
                put_fetch_address(w, address);
            }
            Fault::Translation(place) | Fault::AddrSize(place) | Fault::Access(place) => {
                put_place(w, from, place)
            }
            Fault::BypassAddrSize => put_place(w, from, Place::INPUT),
            Fault::Permission(place, denied) => {
                put_place(w, from, place);
                field::RNW.set(w, denied.read.into());
                field::TTRNW.set(w, (place.class == Class::Tt && !denied.table_write).into());
            }
            _ => {}
        }
        if let Some(stag) = self.stall {
            field::STALL.set(w, 1);
            field::STAG.set(w, stag.0.into());
        }
        Some(words)
    }
}

/// E_PAGE_REQUEST: a device expects to use these pages soon (§7.3.19). A hint, and no failure of anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct PageHint {
    /// Which device.
    pub stream: StreamId,
    /// Which of its substreams.
    pub substream: Option<SubstreamId>,
    /// First address; its low 12 bits are not recorded.
    pub address: Iova,
    /// How many pages of 4 KiB, 0 to 255.
    pub pages: u8,
    /// Unprivileged read, write and execute.
    pub unprivileged: [bool; 3],
    /// Privileged read, write and execute.
    pub privileged: [bool; 3],
}

impl PageHint {
    /// The 32 bytes of the record.
    #[must_use]
    pub fn encode(&self) -> [u64; 4] {
        let mut words = [0; 4];
        let w = &mut words;
        // Execute is the lowest bit, read the highest.
        let bits = |[read, write, execute]: [bool; 3]| {
            u64::from(execute) | u64::from(write) << 1 | u64::from(read) << 2
        };
        field::NUMBER.set(w, EventKind::PageRequest as u64);
        field::SSV.set(w, self.substream.is_some().into());
        field::SSID.set(w, self.substream.unwrap_or_default().0.into());
        field::SID.set(w, self.stream.0.into());
        field::HINT_UNPRIVILEGED.set(w, bits(self.unprivileged));
        field::HINT_PRIVILEGED.set(w, bits(self.privileged));
        field::HINT_SPAN.set(w, self.pages.into());
        field::PAGE.set(w, self.address.0 >> 12);
        words
    }
}

#[inline]
fn put_fetch_address(words: &mut [u64; 4], address: Pa) {
    field::FETCHADDR.set(words, address.0 >> 3);
}

#[inline]
fn put_place(words: &mut [u64; 4], from: &Requester, place: Place) {
    field::PNU.set(words, from.privileged.into());
    field::IND.set(words, from.instruction.into());
    field::RNW.set(words, from.read.into());
    field::INPUTADDR.set(words, from.input.0);
    field::CLASS.set(words, place.class as u64);
    if place.stage == Stage::S2 {
        field::S2.set(words, 1);
        field::IPA.set(words, place.ipa.0 >> 12);
    }
}

#[cfg(test)]
mod tests {
    use super::{Event, EventKind, PageHint, Requester};
    use crate::arch::addr::{Iova, Ipa, Pa, Stage};
    use crate::arch::fault::{Class, Denied, Fault, Place};
    use crate::arch::id::{Stag, StreamId, SubstreamId};

    const FROM: Requester = Requester {
        stream: StreamId(0x0123_4567),
        substream: Some(SubstreamId(0xabcde)),
        input: Iova(0xfedc_ba98_7654_3210),
        privileged: true,
        instruction: false,
        read: true,
    };
    const NESTED: Place = Place { stage: Stage::S2, class: Class::Tt, ipa: Ipa(0x000f_1234_5678_9abc) };

    /// Words written by hand from the table of §7.3.
    #[test]
    fn known_bytes() {
        let input = 0xfedc_ba98_7654_3210;
        let head = 0x0123_4567_abcd_e800;
        let rows = [
            (Fault::BadStreamId, [head | 0x02, 0, 0, 0]),
            (Fault::SteFetch(Pa(0x000f_0000_1234_5678)), [head | 0x03, 0, 0, 0x000f_0000_1234_5678]),
            (Fault::BadSte, [head | 0x04, 0, 0, 0]),
            (Fault::StreamDisabled, [0x0123_4567_0000_0006, 0, 0, 0]),
            (Fault::BadSubstreamId, [0x0123_4567_abcd_e008, 0, 0, 0]),
            (Fault::BadAtsTreq, [head | 0x05, 0x0000_0000_9000_0001, 0xfedc_ba98_7654_3000, 0]),
            (Fault::TranslForbidden, [0x0123_4567_0000_0007, 0x0000_0008_0000_0000, input, 0]),
            (Fault::CdFetch(Pa(0x40)), [head | 0x09, 0, 0, 0x40]),
            (Fault::BadCd, [head | 0x0a, 0, 0, 0]),
            (
                Fault::WalkEabt(Place { class: Class::Tt, ..Place::INPUT }, Pa(0x1008)),
                [head | 0x0b, 0x0000_010a_0000_0000, input, 0x1008],
            ),
            (Fault::Translation(Place::INPUT), [head | 0x10, 0x0000_020a_0000_0000, input, 0]),
            (Fault::AddrSize(NESTED), [head | 0x11, 0x0000_018a_0000_0000, input, 0x000f_1234_5678_9000]),
            (Fault::BypassAddrSize, [head | 0x11, 0x0000_020a_0000_0000, input, 0]),
            (Fault::Access(Place::INPUT), [head | 0x12, 0x0000_020a_0000_0000, input, 0]),
            (
                Fault::Permission(NESTED, Denied { read: true, table_write: false }),
                [head | 0x13, 0x0000_118a_0000_0000, input, 0x000f_1234_5678_9000],
            ),
            (
                Fault::Permission(NESTED, Denied { read: false, table_write: true }),
                [head | 0x13, 0x0000_0182_0000_0000, input, 0x000f_1234_5678_9000],
            ),
        ];
        for (fault, words) in rows {
            assert_eq!(Event { fault, requester: FROM, stall: None }.encode(), Some(words), "{fault:?}");
        }
        assert_eq!(Event { fault: Fault::SteAbort, requester: FROM, stall: None }.encode(), None);
        let stalled =
            Event { fault: Fault::Translation(Place::INPUT), requester: FROM, stall: Some(Stag(0x1234)) };
        assert_eq!(stalled.encode().map(|w| w[1]), Some(0x0000_020a_8000_1234));
    }

    #[test]
    fn known_bytes_of_a_page_hint() {
        let hint = PageHint {
            stream: StreamId(5),
            substream: None,
            address: Iova(0x1234_5fff),
            pages: 0x12,
            unprivileged: [true, true, false],
            privileged: [true, false, true],
        };
        assert_eq!(hint.encode(), [0x0000_0005_0000_0024, 0x0001_20ac_0000_0000, 0x1234_5000, 0]);
    }

    #[test]
    fn numbers_and_names_agree() {
        for kind in EventKind::ALL {
            assert_eq!(EventKind::from_number(kind as u8), Some(kind), "{}", kind.name());
        }
    }
}
