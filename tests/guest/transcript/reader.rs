//! Reading a transcript line by line, and what can be wrong with one.

use core::fmt;
use std::{
    collections::BTreeSet,
    fs::File,
    io::{self, BufRead, BufReader, Read},
    path::{Path, PathBuf},
};

use flate2::read::MultiGzDecoder;

use super::{Access, Config, Op, Width};

/// How the name of a transcript ends.
pub const NAME_ENDINGS: [&str; 2] = [".jsonl", ".jsonl.gz"];

/// No line of a transcript is longer, and no transaction: a broken file must not fill all memory.
const LONGEST: u32 = 1 << 24;

/// A transcript cannot be read.
#[derive(Debug, thiserror::Error)]
pub struct Error {
    /// The file.
    pub file: PathBuf,
    /// The line, from 1; `None` if it did not come to reading lines.
    pub line: Option<u64>,
    /// What is wrong.
    pub cause: String,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, line, cause } = self;
        match line {
            Some(line) => write!(f, "{}:{line}: {cause}", file.display()),
            None => write!(f, "{}: {cause}", file.display()),
        }
    }
}

/// What `path` is called in reports: the name of the file without its ending.
pub fn name(path: &Path) -> String {
    let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy();
    let stem = NAME_ENDINGS.iter().find_map(|ending| name.strip_suffix(ending));
    stem.unwrap_or(&name).to_owned()
}

/// The operations of one transcript, in order, each with the number of its line.
///
/// The first line, [`Reader::config`], is read on opening. After an error there is nothing more.
pub struct Reader {
    lines: Lines,
    config: Config,
    transactions: BTreeSet<u64>,
    broken: bool,
}

impl Reader {
    /// Opens the file at `path`; it is compressed if its name ends in `.gz`.
    pub fn open(path: &Path) -> Result<Self, Error> {
        Self::open_through(path, |file, _| Box::new(file))
    }

    /// [`Reader::open`], where the bytes of the file, with its length, go through `watch` first.
    pub fn open_through(path: &Path, watch: impl FnOnce(File, u64) -> Box<dyn Read>) -> Result<Self, Error> {
        let unreadable =
            |cause: io::Error| Error { file: path.to_owned(), line: None, cause: cause.to_string() };
        let file = File::open(path).map_err(unreadable)?;
        let length = file.metadata().map_err(unreadable)?.len();
        let bytes = watch(file, length);
        if path.extension().is_some_and(|extension| extension == "gz") {
            Self::new(path, BufReader::new(MultiGzDecoder::new(bytes)))
        } else {
            Self::new(path, BufReader::new(bytes))
        }
    }

    /// Reads the transcript in `bytes`, which is called `file` in errors.
    pub fn new(file: &Path, bytes: impl BufRead + 'static) -> Result<Self, Error> {
        let mut lines = Lines { file: file.to_owned(), bytes: Box::new(bytes), number: 0, line: Vec::new() };
        let config = match lines.next()? {
            Some(Op::Config(config)) => *config,
            Some(other) => {
                return Err(lines.error(format!("the first line is `{}`, expected `config`", other.name())));
            }
            None => {
                lines.number = 1;
                return Err(lines.error("nothing there, expected `config`"));
            }
        };
        for range in &config.ram {
            if range.size == 0 || range.base.checked_add(range.size - 1).is_none() {
                let cause = format!("the ram at {:#x} is empty or ends beyond 64 bits", range.base);
                return Err(lines.error(cause));
            }
        }
        Ok(Self { lines, config, transactions: BTreeSet::new(), broken: false })
    }

    /// The device to build, and the memory around it.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Checks what one field cannot say alone.
    fn check(&mut self, op: &Op) -> Result<(), String> {
        let fits = |size: Width, value: u64| match size {
            Width::Word if value > u64::from(u32::MAX) => {
                Err(format!("{value:#x} is out of range for 4 bytes"))
            }
            _ => Ok(()),
        };
        let known = |transactions: &BTreeSet<u64>, id: u64| {
            if transactions.contains(&id) { Ok(()) } else { Err(format!("no transaction {id} comes before")) }
        };
        let in_memory =
            |pa: u64, bytes: &[u8]| match u64::try_from(bytes.len()).ok().and_then(|n| pa.checked_add(n)) {
                Some(_) => Ok(()),
                None => Err(format!("the bytes at {pa:#x} end beyond 64 bits")),
            };
        match op {
            Op::Config(_) => return Err("a second `config`".to_owned()),
            Op::Note(_) | Op::Irqs(_) => {}
            Op::Write(write) => {
                in_memory(write.pa, &write.hex)?;
                if let Some(stag) = write.stag {
                    known(&self.transactions, stag.id)?;
                    if stag.at.checked_add(2).is_none_or(|end| end > write.hex.len()) {
                        return Err(format!("no room for a STAG at byte {} of {}", stag.at, write.hex.len()));
                    }
                }
            }
            Op::MmioWrite(write) => fits(write.size, write.val)?,
            Op::MmioRead(read) => {
                fits(read.size, read.val)?;
                fits(read.size, read.arch.unwrap_or(0))?;
                if read.mask != u64::MAX {
                    fits(read.size, read.mask)?;
                }
                if read.arch.is_some() && !read.qemu_quirk {
                    return Err("`arch` without `qemu_quirk`".to_owned());
                }
            }
            Op::Mem(mem) => {
                in_memory(mem.pa, &mem.hex)?;
                if let Some(mask) = mem.mask.as_ref().filter(|mask| mask.len() != mem.hex.len()) {
                    return Err(format!("`mask` has {} bytes and `hex` {}", mask.len(), mem.hex.len()));
                }
            }
            Op::Dma(dma) => {
                if !(1..=LONGEST).contains(&dma.len) {
                    return Err(format!("`len` {} is out of range, expected 1 to {LONGEST}", dma.len));
                }
                if let Some(data) = &dma.data {
                    if dma.access == Access::Read {
                        return Err("`data` of a read".to_owned());
                    }
                    if u32::try_from(data.len()) != Ok(dma.len) {
                        return Err(format!("`data` has {} bytes and `len` is {}", data.len(), dma.len));
                    }
                }
                if dma.arch.is_some() && !dma.qemu_quirk {
                    return Err("`arch` without `qemu_quirk`".to_owned());
                }
                if let Some(id) = dma.id.filter(|&id| !self.transactions.insert(id)) {
                    return Err(format!("a second transaction {id}"));
                }
            }
            Op::Outcome(outcome) => known(&self.transactions, outcome.id)?,
            Op::Events(events) => {
                if events.any == events.expect.is_some() {
                    return Err("`events` needs one of `expect` and `\"any\": true`".to_owned());
                }
                for id in events.expect.iter().flatten().filter_map(|record| record.id) {
                    known(&self.transactions, id)?;
                }
            }
        }
        Ok(())
    }
}

impl Iterator for Reader {
    type Item = Result<(u64, Op), Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.broken {
            return None;
        }
        let op = self.lines.next().and_then(|op| match op {
            Some(op) => match self.check(&op) {
                Ok(()) => Ok(Some((self.lines.number, op))),
                Err(cause) => Err(self.lines.error(cause)),
            },
            None => Ok(None),
        });
        self.broken = op.is_err();
        op.transpose()
    }
}

struct Lines {
    file: PathBuf,
    bytes: Box<dyn BufRead>,
    number: u64,
    line: Vec<u8>,
}

impl Lines {
    /// The operation on the next line; `None` after the last.
    fn next(&mut self) -> Result<Option<Op>, Error> {
        self.number += 1;
        self.line.clear();
        let mut bytes = (&mut self.bytes).take(u64::from(LONGEST));
        let length = bytes.read_until(b'\n', &mut self.line).map_err(|cause| self.error(cause))?;
        if length == 0 {
            return Ok(None);
        }
        if self.line.last() != Some(&b'\n') && u32::try_from(length) == Ok(LONGEST) {
            return Err(self.error(format!("the line is longer than {LONGEST} bytes")));
        }
        let line =
            core::str::from_utf8(&self.line).map_err(|cause| self.error(format!("not UTF-8: {cause}")))?;
        let line = line.strip_suffix('\n').unwrap_or(line);
        if !line.trim_start().starts_with('{') {
            return Err(self.error("not an object of JSON")); // serde would take an array of the fields too
        }
        serde_json::from_str(line).map(Some).map_err(|cause| {
            // The text ends in a line and column of its own; there is but one line.
            let text = cause.to_string();
            let own = format!(" at line {} column {}", cause.line(), cause.column());
            let text = text.strip_suffix(&own).unwrap_or(&text);
            self.error(format!("{text} (column {})", cause.column()))
        })
    }

    fn error(&self, cause: impl fmt::Display) -> Error {
        Error { file: self.file.clone(), line: Some(self.number), cause: cause.to_string() }
    }
}
