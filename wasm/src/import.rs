//! A transcript as a script: every line is checked before anything changes, and the first bad one is named.

use crate::knobs::Knobs;
use crate::script::{self, Error, number};
use serde_json::{Map, Value};
use smmuv3::Features;

/// How a note begins that tells the shape of the caches; the ID registers do not.
pub(crate) const KNOBS: &str = "page: ";

/// The knobs and actions of a transcript.
pub(crate) fn import(text: &str) -> Result<(Knobs, String), Error> {
    let mut knobs = None;
    let mut lines = String::new();
    let numbered = text.lines().enumerate().map(|(n, line)| (n + 1, line.trim()));
    for (n, line) in numbered.filter(|(_, line)| !line.is_empty()) {
        let at = |Error(cause): Error| Error(format!("line {n}: {cause}"));
        let value: Value =
            serde_json::from_str(line).map_err(|error| at(Error(format!("no JSON: {error}"))))?;
        let Value::Object(map) = value else { return Err(at(Error("an operation is an object".to_owned()))) };
        let mut fields = Fields { op: String::new(), map };
        fields.op = fields.text("op").map_err(at)?;
        if fields.op != "note" {
            fields.take("note");
        }
        if knobs.is_none() {
            if fields.op != "config" {
                return Err(at(Error(format!("the first line is `{}`, expected `config`", fields.op))));
            }
            knobs = Some(config(fields).map_err(at)?);
            continue;
        }
        let said = fields.map.get("note").and_then(Value::as_str).and_then(|note| note.strip_prefix(KNOBS));
        if let (Some(words), Some((knobs, _))) = (said, &mut knobs) {
            let shape = |word: &&str| {
                ["sets=", "ways=", "walk=", "strict="].iter().any(|name| word.starts_with(name))
            };
            let words: Vec<&str> = words.split_whitespace().filter(shape).collect();
            *knobs = knobs.parse(&words.join(" ")).map_err(at)?;
            continue;
        }
        for line in operation(fields, line).map_err(at)? {
            script::action(&line).map_err(at)?;
            lines += &line;
            lines.push('\n');
        }
    }
    let (knobs, ranges) =
        knobs.ok_or_else(|| Error("line 1: nothing there, expected `config`".to_owned()))?;
    Ok((knobs, format!("{ranges}\n{lines}")))
}

struct Fields {
    op: String,
    map: Map<String, Value>,
}

impl Fields {
    fn take(&mut self, name: &str) -> Option<Value> {
        self.map.remove(name)
    }

    fn text(&mut self, name: &str) -> Result<String, Error> {
        match self.take(name) {
            Some(Value::String(text)) => Ok(text),
            Some(other) => Err(Error(format!("`{name}` is {other}, expected a string"))),
            None => Err(Error(format!("`{}` lacks `{name}`", self.op))),
        }
    }

    fn number(&mut self, name: &str) -> Result<u64, Error> {
        match self.take(name) {
            Some(value) => numeric(&value)
                .ok_or_else(|| Error(format!("`{name}` is {value}, expected a number below 2^64"))),
            None => Err(Error(format!("`{}` lacks `{name}`", self.op))),
        }
    }

    fn finish(self) -> Result<(), Error> {
        match self.map.keys().next() {
            Some(name) => Err(Error(format!("`{}` has no field `{name}`", self.op))),
            None => Ok(()),
        }
    }
}

fn numeric(value: &Value) -> Option<u64> {
    match value {
        Value::Number(number) => number.as_u64(),
        Value::String(text) => number(text).ok(),
        _ => None,
    }
}

fn config(mut fields: Fields) -> Result<(Knobs, String), Error> {
    for name in ["version", "name", "category", "stage", "sids", "source"] {
        fields.take(name);
    }
    let Some(Value::Object(map)) = fields.take("idr") else {
        return Err(Error("`config` lacks `idr`".to_owned()));
    };
    let mut idr = Fields { op: "idr".to_owned(), map };
    let mut words = [0; 8];
    for (word, name) in words.iter_mut().zip(["IDR0", "IDR1", "IDR2", "IDR3", "IDR4", "IDR5", "IIDR", "AIDR"])
    {
        *word = u32::try_from(idr.number(name)?).map_err(|_| Error(format!("{name} has 32 bits")))?;
    }
    idr.finish()?;
    let [i0, i1, i2, i3, i4, i5, iidr, aidr] = words;
    let features =
        Features::from_idr([i0, i1, i2, i3, i4, i5], iidr, aidr).map_err(|error| Error(error.to_string()))?;
    let mut ranges = "ram".to_owned();
    match fields.take("ram") {
        Some(Value::Array(list)) => {
            for range in list {
                let Value::Object(map) = range else { return Err(Error("`ram` holds objects".to_owned())) };
                let mut range = Fields { op: "ram".to_owned(), map };
                let (base, size) = (range.number("base")?, range.number("size")?);
                range.finish()?;
                if size == 0 || base.checked_add(size - 1).is_none() {
                    return Err(Error(format!("the ram at {base:#x} is empty or ends beyond 64 bits")));
                }
                ranges += &format!(" {base:#x} {size:#x}");
            }
        }
        _ => return Err(Error("`config` lacks `ram`".to_owned())),
    }
    fields.finish()?;
    Ok((Knobs { features, raw: true, ..Knobs::USUAL }, ranges))
}

/// The lines of one operation: none for what only asks.
fn operation(mut fields: Fields, line: &str) -> Result<Vec<String>, Error> {
    let absent = |what: &str| Error(format!("{what} cannot be shown here; `replay` reads this file"));
    let mut lines = Vec::new();
    match fields.op.clone().as_str() {
        "config" => return Err(Error("`config` is the first line and no other".to_owned())),
        "note" => lines.push(format!("note {}", fields.text("note")?.replace('\n', " "))),
        "write" => {
            if fields.map.contains_key("stag") {
                return Err(absent("a stalled transaction"));
            }
            let pa = fields.number("pa")?;
            let hex = fields.text("hex")?;
            if !hex.is_empty() {
                lines.push(format!("poke {pa:#x} {hex}"));
            }
        }
        "mmio_w" => {
            let (off, size, val) = (fields.number("off")?, fields.number("size")?, fields.number("val")?);
            let eight = match size {
                4 => "",
                8 => " eight",
                _ => return Err(Error(format!("`size` is {size}, expected 4 or 8"))),
            };
            lines.push(format!("reg {off:#x} {val:#x}{eight}"));
        }
        "mmio_r" => {
            for name in ["off", "size", "val"] {
                fields.number(name)?;
            }
            for name in ["mask", "ident", "qemu_quirk", "arch"] {
                fields.take(name);
            }
        }
        "mem" => {
            fields.number("pa")?;
            script::bytes(&fields.text("hex")?)?;
            for name in ["mask", "qemu_quirk"] {
                fields.take(name);
            }
        }
        "irqs" => {
            fields.take("expect");
        }
        "events" => {
            for name in ["expect", "any", "qemu_quirk"] {
                fields.take(name);
            }
            lines.push("events".to_owned());
        }
        "dma" => {
            let set = |value: Option<Value>| {
                value.is_some_and(|value| !matches!(value, Value::Null | Value::Bool(false)))
            };
            if set(fields.take("ssid")) {
                return Err(absent("a SubstreamID"));
            }
            for name in ["priv", "inst", "ats", "id"] {
                if set(fields.take(name)) {
                    return Err(absent(&format!("`{name}`")));
                }
            }
            let (sid, iova) = (fields.number("sid")?, fields.number("iova")?);
            let write = match fields.text("access")?.as_str() {
                "r" => "",
                "w" => " write",
                other => return Err(Error(format!("`access` is `{other}`, expected `r` or `w`"))),
            };
            fields.number("len")?;
            fields.take("data");
            let mut legal =
                vec![fields.take("expect").ok_or_else(|| Error("`dma` lacks `expect`".to_owned()))?];
            if let Some(Value::Array(others)) = fields.take("alt") {
                legal.extend(others);
            }
            legal.extend(fields.take("arch"));
            for name in ["stale", "qemu_quirk"] {
                fields.take(name);
            }
            let names: Vec<String> = legal.iter().map(expected).collect::<Result<_, _>>()?;
            lines.push(format!("dma {sid} {iova:#x}{write} expect={}", names.join(",")));
        }
        "outcome" => return Err(absent("a stalled transaction")),
        other => {
            return Err(Error(format!(
                "there is no operation `{other}` in {}",
                line.chars().take(40).collect::<String>()
            )));
        }
    }
    fields.finish()?;
    Ok(lines)
}

fn expected(value: &Value) -> Result<String, Error> {
    let wrong = || Error(format!("{value} is no result of a `dma`"));
    let map = value.as_object().ok_or_else(wrong)?;
    if let Some(pa) = map.get("pa").and_then(numeric) {
        return Ok(format!("{pa:#x}"));
    }
    match map.get("event") {
        Some(Value::String(event)) => Ok(event.clone()),
        _ if map.contains_key("fault") || map.contains_key("abort") || map.contains_key("raz") => {
            Ok("abort".to_owned())
        }
        _ => Err(wrong()),
    }
}
