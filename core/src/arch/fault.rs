//! Why a transaction failed, as a value that knows nothing of queues (§7.3).

use super::addr::{Ipa, Pa, Stage};

/// What was being accessed when translation failed (`CLASS` of an event record).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Class {
    /// 0b00: a context descriptor, or the L1CD that leads to it.
    Cd,
    /// 0b01: a stage 1 translation table descriptor.
    Tt,
    /// 0b10: the transaction's own input address.
    In,
}

/// Where a translation fault happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Place {
    /// The stage that failed.
    pub stage: Stage,
    /// What was being accessed.
    pub class: Class,
    /// The input of stage 2, where stage 2 failed; 0 otherwise.
    pub ipa: Ipa,
}

impl Place {
    /// Stage 1, at the transaction's input address.
    pub const INPUT: Self = Self { stage: Stage::S1, class: Class::In, ipa: Ipa(0) };
}

/// A failed transaction: configuration errors in the order of §7.3.22, then translation faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Fault {
    /// C_BAD_STREAMID: the StreamID is out of range, or its L1STD is invalid.
    BadStreamId,
    /// F_STE_FETCH: external abort on an STE or L1STD.
    SteFetch(Pa),
    /// C_BAD_STE: `V` is 0 or the STE is ILLEGAL.
    BadSte,
    /// `STE.Config` is 0b0xx: abort, and no event.
    SteAbort,
    /// C_BAD_SUBSTREAMID: a SubstreamID where none can be, out of range, or behind an invalid L1CD.
    BadSubstreamId,
    /// F_BAD_ATS_TREQ: a translation request where the stream may not make any.
    BadAtsTreq,
    /// F_TRANSL_FORBIDDEN: a translated transaction where the stream may not make any.
    TranslForbidden,
    /// F_STREAM_DISABLED: `STE.S1DSS` terminates this transaction.
    StreamDisabled,
    /// F_CD_FETCH: external abort on a CD or L1CD.
    CdFetch(Pa),
    /// C_BAD_CD: `V` is 0 or the CD is ILLEGAL.
    BadCd,
    /// F_WALK_EABT: external abort on a translation table descriptor, at this address.
    WalkEabt(Place, Pa),
    /// F_TRANSLATION: input out of range, a disabled table, or an invalid descriptor.
    Translation(Place),
    /// F_ADDR_SIZE: an output address beyond the effective IPS or PS.
    AddrSize(Place),
    /// F_ADDR_SIZE of an address that bypasses stage 1: terminates with abort whatever the CD or STE say (§3.12).
    BypassAddrSize,
    /// F_ACCESS: the Access flag is 0 and nothing sets it.
    Access(Place),
    /// F_PERMISSION.
    Permission(Place, Denied),
}

/// What a permission fault has to tell beside its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Denied {
    /// `RnW` of the record: for an atomic access, whether only the read was denied (§13.1.1).
    pub read: bool,
    /// `TTRnW`: the access to a stage 1 table was a write, to update flags in it.
    pub table_write: bool,
}

impl Fault {
    /// Whether `CD.{A,R,S}` or `STE.{S2R,S2S}` rule over this fault (§5.5): the stage that failed, or `None`.
    #[must_use]
    pub const fn ruled_by(&self) -> Option<Stage> {
        match self {
            Self::Translation(place)
            | Self::AddrSize(place)
            | Self::Access(place)
            | Self::Permission(place, _) => Some(place.stage),
            _ => None,
        }
    }
}
