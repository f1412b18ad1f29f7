//! What a device answers to a transaction, and how the format writes it.

use core::fmt;

use serde::Deserialize;

use super::field;

/// The result of a `dma` or an `outcome`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Fields")]
pub enum Answer {
    /// The access goes through, to this physical address.
    Pa(u64),
    /// Terminated with an abort, and the event it makes; `{"abort": true}` is the one without.
    Fault(Option<String>),
    /// Terminated as read-zero, write-ignored.
    RazWi,
    /// Held until software decides.
    Stalled,
    /// A translation request was completed.
    Ats(Completion),
    /// ... was answered with Unsupported Request.
    AtsUnsupportedRequest,
    /// ... was answered with Completer Abort.
    AtsCompleterAbort,
}

/// A translation completion of ATS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Completion {
    /// Reads are granted.
    pub r: bool,
    /// Writes are granted.
    pub w: bool,
    /// The address; absent where nothing is granted.
    #[serde(default, deserialize_with = "field::optional_number")]
    pub pa: Option<u64>,
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pa(pa) => write!(f, r#"{{"pa":"{pa:#x}"}}"#),
            Self::Fault(Some(event)) => write!(f, r#"{{"fault":true,"event":"{event}"}}"#),
            Self::Fault(None) => f.write_str(r#"{"fault":true,"event":null}"#),
            Self::RazWi => f.write_str(r#"{"raz":true}"#),
            Self::Stalled => f.write_str(r#"{"stalled":true}"#),
            Self::Ats(Completion { r, w, pa: Some(pa) }) => {
                write!(f, r#"{{"ats":{{"r":{r},"w":{w},"pa":"{pa:#x}"}}}}"#)
            }
            Self::Ats(Completion { r, w, pa: None }) => write!(f, r#"{{"ats":{{"r":{r},"w":{w}}}}}"#),
            Self::AtsUnsupportedRequest => f.write_str(r#"{"ats":"ur"}"#),
            Self::AtsCompleterAbort => f.write_str(r#"{"ats":"ca"}"#),
        }
    }
}

/// All that a result may hold, before it is known which one it is.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a result, such as {\"pa\": \"0x..\"}")]
struct Fields {
    #[serde(deserialize_with = "field::optional_number")]
    pa: Option<u64>,
    fault: Option<bool>,
    #[serde(deserialize_with = "present")]
    event: Option<Option<String>>, // `null` says something: no event
    raz: Option<bool>,
    stalled: Option<bool>,
    abort: Option<bool>,
    ats: Option<AtsFields>,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "\"ur\", \"ca\" or {\"r\": .., \"w\": .., \"pa\": ..}")]
enum AtsFields {
    Refused(Refusal),
    #[serde(deserialize_with = "field::object")]
    Completed(Completion),
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Refusal {
    Ur,
    Ca,
}

fn present<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<Option<String>>, D::Error> {
    Option::deserialize(from).map(Some)
}

impl TryFrom<Fields> for Answer {
    type Error = &'static str;

    fn try_from(fields: Fields) -> Result<Self, Self::Error> {
        let Fields { pa, fault, event, raz, stalled, abort, ats } = fields;
        let fault = match (fault, event) {
            (Some(true), Some(event)) => Some(Self::Fault(event)),
            (Some(true), None) => return Err("missing field `event` beside `fault`"),
            (_, Some(_)) => return Err("`event` without `fault`"),
            (_, None) => None,
        };
        let flag = |flag: Option<bool>, answer| flag.filter(|&is_so| is_so).map(|_| answer);
        let mut answers = [
            pa.map(Self::Pa),
            fault,
            flag(raz, Self::RazWi),
            flag(stalled, Self::Stalled),
            flag(abort, Self::Fault(None)),
            ats.map(Self::from),
        ]
        .into_iter()
        .flatten();
        match (answers.next(), answers.next()) {
            (Some(answer), None) => Ok(answer),
            _ => Err("a result is one of `pa`, `fault` with `event`, `raz`, `stalled`, `abort` and `ats`"),
        }
    }
}

impl From<AtsFields> for Answer {
    fn from(ats: AtsFields) -> Self {
        match ats {
            AtsFields::Completed(completion) => Self::Ats(completion),
            AtsFields::Refused(Refusal::Ur) => Self::AtsUnsupportedRequest,
            AtsFields::Refused(Refusal::Ca) => Self::AtsCompleterAbort,
        }
    }
}
