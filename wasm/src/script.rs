//! Scripts: what a guest and its devices do, one action a line. The scenarios, the reader's own actions, links and imported
//! transcripts are all scripts, so that there is one way to act and one way to go back.
//!
//! ```text
//! stream 8 asid=5                        an STE, a CD and empty tables
//! map 8 0x4000000000 pa=0x2000000000 bytes=1G with=page
//! dma 8 0x4000000000 count=256 stride=4M
//! unmap 8 0x4000000000 bytes=1G
//! tlbi_nh_va asid=5 address=0x4000000000 tg=1 scale=18 ttl=3 leaf=1
//! sync
//! ```

use crate::access::{Answer, Ats, Pending, Request};
use crate::command;
use crate::knobs::{Stages, granule, stages};
use smmuv3::{Granule, Stag};

/// Why a line is not understood or cannot be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Error(pub(crate) String);

/// A command as it lies in the queue.
pub(crate) type Words = [u64; 2];

/// One line.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Action {
    Stream {
        stream: u32,
        asid: u16,
        vmid: u16,
        stages: Option<Stages>,
        granule: Option<Granule>,
    },
    Map {
        stream: u32,
        address: u64,
        pa: u64,
        bytes: u64,
        level: u32,
        global: bool,
        stage2: bool,
    },
    Unmap {
        stream: u32,
        address: u64,
        bytes: u64,
        stage2: bool,
    },
    Free {
        stream: u32,
        address: u64,
        level: u32,
    },
    Reuse {
        pa: u64,
    },
    Remap {
        stream: u32,
        address: u64,
        pa: u64,
        stage2: bool,
    },
    Split {
        stream: u32,
        address: u64,
    },
    /// So many accesses; if anything is expected, one of `expect` comes.
    Dma {
        request: Request,
        count: u32,
        stride: u64,
        expect: Vec<Answer>,
    },
    /// What has become of a transaction that was stalled.
    Outcome {
        id: u64,
        expect: Vec<Answer>,
    },
    /// Put into the queue and, if `ring`, announced.
    Commands {
        words: Vec<Words>,
        ring: bool,
    },
    Storm {
        first: Words,
        count: u32,
        stride: u64,
    },
    Linux {
        stream: u32,
        address: u64,
        bytes: u64,
        leaf: bool,
        ttl: u8,
    },
    Register {
        offset: u32,
        eight: bool,
        value: u64,
    },
    Poke {
        pa: u64,
        bytes: Vec<u8>,
        stag: Option<StagAt>,
    },
    /// A register is read, and shows `value` in the bits of `mask`.
    Read {
        offset: u32,
        eight: bool,
        value: u64,
        mask: u64,
    },
    /// Memory holds `bytes`, in the bits of `mask`.
    Memory {
        pa: u64,
        bytes: Vec<u8>,
        mask: Vec<u8>,
    },
    Events,
    Note(String),
}

/// Two bytes that are the name of a stalled transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StagAt {
    pub(crate) at: usize,
    pub(crate) id: u64,
}

impl StagAt {
    /// Puts the name into `bytes`, if there is one.
    pub(crate) fn fill(self, bytes: &mut [u8], pending: &Pending) {
        let place = bytes.get_mut(self.at..).and_then(|rest| rest.first_chunk_mut());
        if let (Some(place), Some(Stag(name))) = (place, pending.stag(self.id)) {
            *place = name.to_le_bytes();
        }
    }
}

/// The actions of `text`, without empty lines and comments.
pub(crate) fn parse(text: &str) -> Result<Vec<Action>, Error> {
    let lines =
        text.lines().enumerate().map(|(n, line)| (n + 1, line.split('#').next().unwrap_or("").trim()));
    lines
        .filter(|(_, line)| !line.is_empty())
        .map(|(n, line)| action(line).map_err(|Error(cause)| Error(format!("line {n}: {cause}"))))
        .collect()
}

/// One line that is not empty.
pub(crate) fn action(line: &str) -> Result<Action, Error> {
    let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
    let mut words = Arguments::of(rest);
    let action = match verb {
        "note" => return Ok(Action::Note(rest.trim().to_owned())),
        "stream" => Action::Stream {
            stream: words.next()?,
            asid: words.named("asid")?.unwrap_or(0),
            vmid: words.named("vmid")?.unwrap_or(0),
            stages: words.text("stages").map(stages).transpose()?,
            granule: words.text("granule").map(granule).transpose()?,
        },
        "map" => Action::Map {
            stream: words.next()?,
            address: words.next()?,
            pa: words.required("pa")?,
            bytes: words.named("bytes")?.unwrap_or(0),
            level: match words.text("with").unwrap_or("page") {
                "page" => 3,
                "block" => 2,
                "giant" => 1,
                other => return Err(Error(format!("with= is page, block or giant, not `{other}`"))),
            },
            global: words.flag("global"),
            stage2: words.named("stage")? == Some(2u8),
        },
        "unmap" => Action::Unmap {
            stream: words.next()?,
            address: words.next()?,
            bytes: words.named("bytes")?.unwrap_or(1),
            stage2: words.named("stage")? == Some(2u8),
        },
        "free" => {
            Action::Free { stream: words.next()?, address: words.next()?, level: words.required("level")? }
        }
        "reuse" => Action::Reuse { pa: words.required("pa")? },
        "remap" => Action::Remap {
            stream: words.next()?,
            address: words.next()?,
            pa: words.required("pa")?,
            stage2: words.named("stage")? == Some(2u8),
        },
        "split" => Action::Split { stream: words.next()?, address: words.next()? },
        "dma" => Action::Dma {
            request: Request {
                stream: words.next()?,
                substream: words.named("ssid")?,
                address: words.next()?,
                write: words.flag("write"),
                privileged: words.flag("privileged"),
                instruction: words.flag("instruction"),
                ats: match words.text("ats") {
                    None => None,
                    Some("request") => Some(Ats::Request),
                    Some("translated") => Some(Ats::Translated),
                    Some(other) => {
                        return Err(Error(format!("ats= is request or translated, not `{other}`")));
                    }
                },
                bytes: 1,
                data: Vec::new(),
                id: None,
            },
            count: words.named("count")?.unwrap_or(1),
            stride: words.named("stride")?.unwrap_or(4096),
            expect: Vec::new(),
        },
        "storm" => {
            let (count, stride) = (words.required("count")?, words.named("stride")?.unwrap_or(4096));
            let name: String = words.next_text()?.to_owned();
            Action::Storm { first: command::compose(&name, &mut words)?, count, stride }
        }
        "linux" => Action::Linux {
            stream: words.next()?,
            address: words.next()?,
            bytes: words.required("bytes")?,
            leaf: words.named("leaf")?.unwrap_or(1u8) != 0,
            ttl: words.named("ttl")?.unwrap_or(3),
        },
        "put" => {
            let name: String = words.next_text()?.to_owned();
            Action::Commands { words: vec![command::compose(&name, &mut words)?], ring: false }
        }
        "reg" => {
            let offset = register(words.next_text()?)?;
            Action::Register { offset, value: words.next()?, eight: words.flag("eight") }
        }
        "poke" => {
            let pa = words.next()?;
            Action::Poke { pa, bytes: bytes(words.next_text()?)?, stag: None }
        }
        "events" => Action::Events,
        name => Action::Commands { words: vec![command::compose(name, &mut words)?], ring: true },
    };
    words.finish()?;
    Ok(action)
}

/// `0x1_0000`, `4096`, `4K`, `2M`, `1G`, `1G-4K`.
pub(crate) fn number(text: &str) -> Result<u64, Error> {
    if let Some((left, right)) = text.split_once('-') {
        let (left, right) = (number(left)?, number(right)?);
        return left.checked_sub(right).ok_or_else(|| Error(format!("{text} is below 0")));
    }
    let wrong = || Error(format!("`{text}` is no number below 2^64"));
    let digits = text.replace('_', "");
    if let Some(hex) = digits.strip_prefix("0x") {
        return u64::from_str_radix(hex, 16).map_err(|_| wrong());
    }
    let (digits, shift) = match digits.chars().last() {
        Some('K') => (digits.trim_end_matches('K'), 10),
        Some('M') => (digits.trim_end_matches('M'), 20),
        Some('G') => (digits.trim_end_matches('G'), 30),
        Some('T') => (digits.trim_end_matches('T'), 40),
        _ => (digits.as_str(), 0),
    };
    digits.parse::<u64>().ok().and_then(|n| n.checked_mul(1 << shift)).ok_or_else(wrong)
}

/// Bytes in the order of their addresses.
pub(crate) fn bytes(hex: &str) -> Result<Vec<u8>, Error> {
    let odd = || Error(format!("`{}` is not hexadecimal bytes", hex.chars().take(20).collect::<String>()));
    if !hex.len().is_multiple_of(2) || !hex.is_ascii() {
        return Err(odd());
    }
    (0..hex.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(hex.get(at..at + 2).unwrap_or("?"), 16).map_err(|_| odd()))
        .collect()
}

fn register(text: &str) -> Result<u32, Error> {
    let row = smmuv3::format::regs::REGISTERS.iter().find(|row| row.name == text);
    match row {
        Some(row) => Ok(row.offset),
        None => number(text)?.try_into().map_err(|_| Error(format!("there is no register `{text}`"))),
    }
}

/// The words after the verb: some by place, some by name. What nobody asks for is refused at the end.
pub(crate) struct Arguments<'a> {
    placed: std::collections::VecDeque<&'a str>,
    named: Vec<(&'a str, &'a str)>,
}

impl<'a> Arguments<'a> {
    pub(crate) fn of(text: &'a str) -> Self {
        let (mut placed, mut named) = (std::collections::VecDeque::new(), Vec::new());
        for word in text.split_whitespace() {
            match word.split_once('=') {
                Some(pair) => named.push(pair),
                None => placed.push_back(word),
            }
        }
        Self { placed, named }
    }

    fn next_text(&mut self) -> Result<&'a str, Error> {
        self.placed.pop_front().ok_or_else(|| Error("something is missing at the end".to_owned()))
    }

    fn next<T: TryFrom<u64>>(&mut self) -> Result<T, Error> {
        let text = self.next_text()?;
        number(text)?.try_into().map_err(|_| Error(format!("{text} is too large")))
    }

    pub(crate) fn text(&mut self, name: &str) -> Option<&'a str> {
        let at = self.named.iter().position(|(key, _)| *key == name)?;
        Some(self.named.swap_remove(at).1)
    }

    pub(crate) fn named<T: TryFrom<u64>>(&mut self, name: &str) -> Result<Option<T>, Error> {
        let Some(text) = self.text(name) else { return Ok(None) };
        let value = number(text)?.try_into().map_err(|_| Error(format!("{name}={text} is too large")))?;
        Ok(Some(value))
    }

    fn required<T: TryFrom<u64>>(&mut self, name: &str) -> Result<T, Error> {
        self.named(name)?.ok_or_else(|| Error(format!("{name}= is missing")))
    }

    fn flag(&mut self, name: &str) -> bool {
        let at = self.placed.iter().position(|word| *word == name);
        at.is_some_and(|at| self.placed.remove(at).is_some())
    }

    pub(crate) fn finish(self) -> Result<(), Error> {
        match (self.placed.front(), self.named.first()) {
            (None, None) => Ok(()),
            (Some(word), _) => Err(Error(format!("`{word}` is not understood"))),
            (None, Some((name, _))) => Err(Error(format!("`{name}=` is not understood"))),
        }
    }
}
