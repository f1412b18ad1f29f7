//! An event record, read back from its bytes.
//!
//! The model only writes records. Here they are read, by the positions that §7.3 prints, and have to say what was meant.

use smmuv3::{Event, EventKind, Iova, Stag, StreamId, SubstreamId};

/// What a record says. Fields that a kind of record does not have are not to be looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are the specification's own")]
pub struct Record {
    pub kind: EventKind,
    pub stream: StreamId,
    pub substream: Option<SubstreamId>,
    pub input: Iova,
    pub read: bool,
    pub privileged: bool,
    pub instruction: bool,
    pub stage2: bool,
    pub ipa: u64,
    pub fetch: u64,
    pub stall: Option<Stag>,
}

/// Reads a record; `None` if its number is none of the table's.
pub fn decode(words: [u64; 4]) -> Option<Record> {
    let bit = |n: usize| words[n / 64] >> (n % 64) & 1 == 1;
    Some(Record {
        kind: EventKind::from_number(words[0] as u8)?,
        stream: StreamId((words[0] >> 32) as u32),
        substream: bit(11).then_some(SubstreamId((words[0] >> 12) as u32 & 0xf_ffff)),
        input: Iova(words[2]),
        read: bit(99),
        privileged: bit(97),
        instruction: bit(98),
        stage2: bit(103),
        ipa: words[3] & 0x000f_ffff_ffff_f000,
        fetch: words[3] & 0x000f_ffff_ffff_fff8,
        stall: bit(95).then_some(Stag(words[1] as u16)),
    })
}

/// The bytes of `event`, which have to say what it says.
///
/// # Panics
/// If they do not.
pub fn check(event: &Event) -> Option<[u64; 4]> {
    use EventKind as Kind;
    let words = event.encode()?;
    let record = decode(words).expect("the number of a record");
    let from = &event.requester;
    assert_eq!(Some(record.kind), event.kind(), "{event:x?}");
    assert_eq!(record.stream, from.stream, "{event:x?}");
    if !matches!(record.kind, Kind::BadSubstreamId | Kind::StreamDisabled | Kind::TranslForbidden) {
        assert_eq!(record.substream, from.substream, "{event:x?}");
    }
    if matches!(
        record.kind,
        Kind::WalkEabt | Kind::Translation | Kind::AddrSize | Kind::Access | Kind::Permission
    ) {
        assert_eq!(record.input, from.input, "{event:x?}");
        assert_eq!(
            (record.privileged, record.instruction),
            (from.privileged, from.instruction),
            "{event:x?}"
        );
    }
    if record.kind != Kind::BadAtsTreq {
        assert_eq!(record.stall, event.stall, "{event:x?}");
    }
    Some(words)
}
