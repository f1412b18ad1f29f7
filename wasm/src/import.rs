//! A transcript as a script: every line is checked before anything changes, and the first bad one is named.

use crate::access::{Answer, Ats, Request};
use crate::json::Json;
use crate::knobs::Knobs;
use crate::script::{self, Action, Error, StagAt, number};
use smmuv3::Features;
use smmuv3::format::event::EventKind;

/// How a note begins that tells the shape of the caches; the ID registers do not.
pub(crate) const KNOBS: &str = "page: ";

/// What a transcript holds.
pub(crate) struct Imported {
    pub(crate) knobs: Knobs,
    pub(crate) streams: Vec<u32>,
    /// Where memory is: first bytes and lengths.
    pub(crate) ram: Vec<(u64, u64)>,
    pub(crate) actions: Vec<Action>,
}

pub(crate) fn import(text: &str) -> Result<Imported, Error> {
    let mut imported = None;
    let numbered = text.lines().enumerate().map(|(n, line)| (n + 1, line.trim()));
    for (n, line) in numbered.filter(|(_, line)| !line.is_empty()) {
        let at = |Error(cause): Error| Error(format!("line {n}: {cause}"));
        let value: Json = serde_json::from_str(line)
            .map_err(|error| at(Error(format!("no JSON at column {}", error.column()))))?;
        let mut fields = Fields::of(value, "an operation").map_err(at)?;
        fields.op = fields.text("op").map_err(at)?;
        if fields.op != "note" {
            fields.take("note");
        }
        match &mut imported {
            None if fields.op == "config" => imported = Some(config(fields).map_err(at)?),
            None => {
                return Err(at(Error(format!("the first line is `{}`, expected `config`", fields.op))));
            }
            Some(imported) => operation(fields, imported).map_err(at)?,
        }
    }
    imported.ok_or_else(|| Error("line 1: nothing there, expected `config`".to_owned()))
}

struct Fields {
    op: String,
    map: Vec<(String, Json)>,
}

impl Fields {
    fn of(value: Json, what: &str) -> Result<Self, Error> {
        match value {
            Json::Map(map) => Ok(Self { op: what.to_owned(), map }),
            _ => Err(Error(format!("{what} is an object"))),
        }
    }

    /// A field, if it is there and not null.
    fn take(&mut self, name: &str) -> Option<Json> {
        let at = self.map.iter().position(|(key, _)| key == name)?;
        Some(self.map.remove(at).1).filter(|value| *value != Json::Null)
    }

    fn skip(&mut self, names: &[&str]) {
        for name in names {
            self.take(name);
        }
    }

    fn need(&mut self, name: &str) -> Result<Json, Error> {
        self.take(name).ok_or_else(|| Error(format!("`{}` lacks `{name}`", self.op)))
    }

    fn text(&mut self, name: &str) -> Result<String, Error> {
        match self.need(name)? {
            Json::Text(text) => Ok(text),
            _ => Err(Error(format!("`{name}` is no string"))),
        }
    }

    fn bytes(&mut self, name: &str) -> Result<Vec<u8>, Error> {
        script::bytes(&self.text(name)?)
    }

    fn number<T: TryFrom<u64>>(&mut self, name: &str) -> Result<T, Error> {
        self.optional(name)?.ok_or_else(|| Error(format!("`{}` lacks `{name}`", self.op)))
    }

    fn optional<T: TryFrom<u64>>(&mut self, name: &str) -> Result<Option<T>, Error> {
        let Some(value) = self.take(name) else { return Ok(None) };
        let number = numeric(&value).and_then(|n| n.try_into().ok());
        number.map(Some).ok_or_else(|| Error(format!("`{name}` is no number, or too large")))
    }

    fn flag(&mut self, name: &str) -> bool {
        self.take(name) == Some(Json::Bool(true))
    }

    fn list(&mut self, name: &str) -> Result<Vec<Json>, Error> {
        match self.need(name)? {
            Json::List(list) => Ok(list),
            _ => Err(Error(format!("`{name}` is no list"))),
        }
    }

    fn finish(self) -> Result<(), Error> {
        match self.map.first() {
            Some((name, _)) => Err(Error(format!("`{}` has no field `{name}`", self.op))),
            None => Ok(()),
        }
    }
}

fn numeric(value: &Json) -> Option<u64> {
    match value {
        Json::Number(n) => Some(*n),
        Json::Text(text) => number(text).ok(),
        _ => None,
    }
}

fn config(mut fields: Fields) -> Result<Imported, Error> {
    fields.skip(&["version", "name", "category", "stage", "source"]);
    let mut idr = Fields::of(fields.need("idr")?, "idr")?;
    let mut words = [0; 8];
    for (word, name) in words.iter_mut().zip(["IDR0", "IDR1", "IDR2", "IDR3", "IDR4", "IDR5", "IIDR", "AIDR"])
    {
        *word = idr.number(name)?;
    }
    idr.finish()?;
    let [i0, i1, i2, i3, i4, i5, iidr, aidr] = words;
    let features =
        Features::from_idr([i0, i1, i2, i3, i4, i5], iidr, aidr).map_err(|error| Error(error.to_string()))?;
    let mut ram = Vec::new();
    for range in fields.list("ram")? {
        let mut range = Fields::of(range, "ram")?;
        let (base, size): (u64, u64) = (range.number("base")?, range.number("size")?);
        range.finish()?;
        if size == 0 || base.checked_add(size - 1).is_none() {
            return Err(Error(format!("the ram at {base:#x} is empty or ends beyond 64 bits")));
        }
        ram.push((base, size));
    }
    let streams = fields.list("sids")?.iter().filter_map(numeric).map(|n| n as u32).collect();
    fields.finish()?;
    let knobs = Knobs { features, raw: true, ..Knobs::USUAL };
    Ok(Imported { knobs, streams, ram, actions: Vec::new() })
}

/// Adds what an operation does: nothing, if it only asks for what the page does not compare.
fn operation(mut fields: Fields, to: &mut Imported) -> Result<(), Error> {
    let op = fields.op.clone();
    let action = match op.as_str() {
        "config" => return Err(Error("`config` is the first line and no other".to_owned())),
        "note" => {
            let note = fields.text("note")?;
            if let Some(words) = note.strip_prefix(KNOBS) {
                let shape = |word: &&str| {
                    ["sets=", "ways=", "walk=", "strict="].iter().any(|name| word.starts_with(name))
                };
                for word in words.split_whitespace().filter(shape) {
                    to.knobs = to.knobs.parse(word)?;
                }
                None
            } else {
                Some(Action::Note(note))
            }
        }
        "write" => {
            let (pa, bytes) = (fields.number("pa")?, fields.bytes("hex")?);
            let stag = match fields.take("stag") {
                None => None,
                Some(stag) => {
                    let mut stag = Fields::of(stag, "stag")?;
                    let place = StagAt { at: stag.number("at")?, id: stag.number("id")? };
                    stag.finish()?;
                    Some(place)
                }
            };
            (!bytes.is_empty()).then_some(Action::Poke { pa, bytes, stag })
        }
        "mmio_w" => {
            let (offset, value) = (fields.number("off")?, fields.number("val")?);
            Some(Action::Register { offset, eight: eight(&mut fields)?, value })
        }
        "mmio_r" => {
            let (offset, eight) = (fields.number("off")?, eight(&mut fields)?);
            let (shown, arch) = (fields.number("val")?, fields.optional("arch")?);
            let mask = fields.optional("mask")?.unwrap_or(u64::MAX);
            fields.skip(&["ident"]);
            // Of a quirk only what the architecture asks for counts, if anything is known.
            let value = if fields.flag("qemu_quirk") { arch } else { Some(shown) };
            value.map(|value| Action::Read { offset, eight, value, mask })
        }
        "mem" => {
            let (pa, bytes) = (fields.number("pa")?, fields.bytes("hex")?);
            let mask = match fields.take("mask") {
                Some(Json::Text(mask)) => script::bytes(&mask)?,
                _ => vec![0xff; bytes.len()],
            };
            (!fields.flag("qemu_quirk")).then_some(Action::Memory { pa, bytes, mask })
        }
        "irqs" => {
            fields.list("expect")?;
            None
        }
        "events" => {
            fields.skip(&["expect", "any", "qemu_quirk"]);
            Some(Action::Events)
        }
        "dma" => Some(dma(&mut fields)?),
        "outcome" => Some(Action::Outcome { id: fields.number("id")?, expect: legal(&mut fields)? }),
        other => return Err(Error(format!("there is no operation `{other}`"))),
    };
    to.actions.extend(action);
    fields.finish()
}

fn eight(fields: &mut Fields) -> Result<bool, Error> {
    match fields.number("size")? {
        4u64 => Ok(false),
        8 => Ok(true),
        size => Err(Error(format!("`size` is {size}, expected 4 or 8"))),
    }
}

fn dma(fields: &mut Fields) -> Result<Action, Error> {
    let request = Request {
        stream: fields.number("sid")?,
        substream: fields.optional("ssid")?,
        address: fields.number("iova")?,
        write: match fields.text("access")?.as_str() {
            "r" => false,
            "w" => true,
            other => return Err(Error(format!("`access` is `{other}`, expected `r` or `w`"))),
        },
        privileged: fields.flag("priv"),
        instruction: fields.flag("inst"),
        ats: match fields.take("ats") {
            None => None,
            Some(Json::Text(kind)) if kind == "tr" => Some(Ats::Request),
            Some(Json::Text(kind)) if kind == "translated" => Some(Ats::Translated),
            Some(_) => return Err(Error("`ats` is `tr` or `translated`".to_owned())),
        },
        bytes: fields.number("len")?,
        data: match fields.take("data") {
            Some(Json::Text(data)) => script::bytes(&data)?,
            _ => Vec::new(),
        },
        id: fields.optional("id")?,
    };
    let quirk = fields.flag("qemu_quirk");
    let arch = fields.take("arch").map(answer).transpose()?;
    fields.take("stale");
    let mut expect = legal(fields)?;
    if quirk {
        // Only what the architecture asks for counts, if anything is known.
        expect = arch.into_iter().collect();
    }
    Ok(Action::Dma { request, count: 1, stride: 0, expect })
}

/// `expect` and `alt`.
fn legal(fields: &mut Fields) -> Result<Vec<Answer>, Error> {
    let mut all = vec![answer(fields.need("expect")?)?];
    if let Some(Json::List(others)) = fields.take("alt") {
        for other in others {
            all.push(answer(other)?);
        }
    }
    Ok(all)
}

fn answer(value: Json) -> Result<Answer, Error> {
    let mut fields = Fields::of(value, "a result")?;
    let event = match fields.take("event") {
        Some(Json::Text(name)) => {
            let mut kinds = (0..=u8::MAX).filter_map(EventKind::from_number).map(EventKind::name);
            Some(
                kinds
                    .find(|known| *known == name)
                    .ok_or_else(|| Error(format!("there is no event `{name}`")))?,
            )
        }
        _ => None,
    };
    let found = if fields.flag("fault") || fields.flag("abort") {
        Answer::Fault(event)
    } else if fields.flag("raz") {
        Answer::RazWi
    } else if fields.flag("stalled") {
        Answer::Stalled
    } else {
        match fields.take("ats") {
            None => Answer::Pa(fields.number("pa")?),
            Some(Json::Text(text)) if text == "ur" => Answer::UnsupportedRequest,
            Some(Json::Text(text)) if text == "ca" => Answer::CompleterAbort,
            Some(granted) => {
                let mut granted = Fields::of(granted, "ats")?;
                Answer::Granted {
                    read: granted.flag("r"),
                    write: granted.flag("w"),
                    pa: granted.optional("pa")?,
                }
            }
        }
    };
    fields.finish()?;
    Ok(found)
}
