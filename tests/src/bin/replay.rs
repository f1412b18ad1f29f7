//! `replay`: replays transcripts against the model, and says which of its answers are wrong.

use core::str::FromStr;
use std::{
    io::{self, BufWriter, IsTerminal, Read, StdoutLock, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};
use smmuv3::{Behaviour, Settings};
use smmuv3_tests::{
    device::IOTLB_ENTRIES,
    replay::{Forget, Plan, Verdict, replay},
    transcript::{self, NAME_ENDINGS, Reader, name},
};
use walkdir::WalkDir;

/// Replays recorded conversations with an SMMUv3 against the model; the answers have to agree.
///
/// Exit status: 0 if every transcript passed or was skipped, 1 if one failed, 2 if one could not be read.
#[derive(Parser)]
#[command(name = "replay", version)]
struct Arguments {
    /// Transcripts (*.jsonl, *.jsonl.gz), or folders which hold some
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,

    /// Forget all caches before each access with this probability
    #[arg(long, value_name = "P", value_parser = probability)]
    drop: Option<f64>,

    /// Where the dice of --drop start
    #[arg(long, value_name = "S", default_value_t = 0)]
    seed: u64,

    /// The shape of the IOTLB
    #[arg(long, value_name = "SETSxWAYS", default_value = "1024x4")]
    iotlb: Shape,

    /// Let the IOTLB keep every entry that it ever had
    #[arg(long)]
    unbounded: bool,

    /// Be as strict as the architecture allows, where it leaves a choice
    #[arg(long)]
    strict: bool,

    /// Walk each table from its root
    #[arg(long)]
    no_walk_cache: bool,
}

#[derive(Clone, Copy)]
struct Shape {
    sets: u32,
    ways: u32,
}

impl FromStr for Shape {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (sets, ways) = text.split_once('x').ok_or("expected SETSxWAYS, such as 1024x4")?;
        let number = |text: &str| text.parse::<u32>().map_err(|cause| format!("`{text}`: {cause}"));
        let shape = Self { sets: number(sets)?, ways: number(ways)? };
        let entries = u64::from(shape.sets) * u64::from(shape.ways);
        if !shape.sets.is_power_of_two() {
            Err("the number of sets has to be a power of two".to_owned())
        } else if !(1..=IOTLB_ENTRIES as u64).contains(&entries) {
            Err(format!("{entries} entries, expected 1 to {IOTLB_ENTRIES}"))
        } else {
            Ok(shape)
        }
    }
}

fn probability(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(probability) if (0.0..=1.0).contains(&probability) => Ok(probability),
        Ok(_) => Err("expected 0 to 1".to_owned()),
        Err(cause) => Err(cause.to_string()),
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let plan = Plan {
        settings: Settings {
            iotlb_unbounded: arguments.unbounded,
            walk_cache: !arguments.no_walk_cache,
            behaviour: if arguments.strict { Behaviour::Strict } else { Behaviour::Natural },
            ..Settings::new(arguments.iotlb.sets, arguments.iotlb.ways)
        },
        forget: arguments.drop.map(|probability| Forget { probability, seed: arguments.seed }),
    };

    let mut report = Report::new();
    for path in &arguments.paths {
        match transcripts(path) {
            Ok(files) => files.iter().for_each(|file| report.replay(file, &plan)),
            Err(error) => report.error(&error),
        }
    }
    report.finish()
}

/// `path` itself, or all transcripts below it, sorted by name.
fn transcripts(path: &Path) -> Result<Vec<PathBuf>, transcript::Error> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let error = |file: &Path, cause: String| transcript::Error { file: file.to_owned(), line: None, cause };
    let mut files = Vec::new();
    for entry in WalkDir::new(path).follow_links(true).sort_by_file_name() {
        let entry = entry.map_err(|cause| error(cause.path().unwrap_or(path), cause.to_string()))?;
        let name = entry.file_name().to_string_lossy();
        if entry.file_type().is_file() && NAME_ENDINGS.iter().any(|ending| name.ends_with(ending)) {
            files.push(entry.into_path());
        }
    }
    if files.is_empty() {
        return Err(error(path, format!("no transcripts ({}) in this folder", NAME_ENDINGS.join(", "))));
    }
    Ok(files)
}

/// What is said on the way, and what remains to be said at the end.
struct Report {
    out: BufWriter<StdoutLock<'static>>,
    reader_gone: bool,
    passed: u64,
    failed: u64,
    skipped: u64,
    broken: bool,
}

impl Report {
    fn new() -> Self {
        let out = BufWriter::new(io::stdout().lock());
        Self { out, reader_gone: false, passed: 0, failed: 0, skipped: 0, broken: false }
    }

    fn replay(&mut self, file: &Path, plan: &Plan) {
        let bar = ProgressBar::hidden();
        let verdict = Reader::open_through(file, |bytes, length| watched(bytes, length, &bar))
            .and_then(|transcript| replay(transcript, plan));
        bar.finish_and_clear();
        let name = name(file);
        match verdict {
            Ok(Verdict::Passed { quirks: 0 }) => {
                self.passed += 1;
                self.line(format_args!("ok {name}"));
            }
            Ok(Verdict::Passed { quirks }) => {
                self.passed += 1;
                let s = if quirks == 1 { "" } else { "s" };
                self.line(format_args!("ok {name} ({quirks} quirk{s} skipped)"));
            }
            Ok(Verdict::Failed(failure)) => {
                self.failed += 1;
                self.line(format_args!("FAIL {name}:{failure}"));
            }
            Ok(Verdict::Skipped(reason)) => {
                self.skipped += 1;
                self.line(format_args!("skip {name}: {reason}"));
            }
            Err(error) => self.error(&error),
        }
    }

    fn line(&mut self, line: core::fmt::Arguments<'_>) {
        if self.reader_gone {
            return; // the exit status is still of use
        }
        if let Err(error) = writeln!(self.out, "{line}").and_then(|()| self.out.flush()) {
            self.reader_gone = true;
            if error.kind() != io::ErrorKind::BrokenPipe {
                self.error(&format_args!("standard output: {error}"));
            }
        }
    }

    fn error(&mut self, error: &dyn core::fmt::Display) {
        self.broken = true;
        // Where even this cannot be said, the exit status says it.
        let _unheard = writeln!(io::stderr(), "error: {error}");
    }

    fn finish(mut self) -> ExitCode {
        let Self { passed, failed, skipped, .. } = self;
        self.line(format_args!("replay: {passed} passed, {failed} failed, {skipped} skipped"));
        if self.broken {
            ExitCode::from(2)
        } else if failed != 0 {
            ExitCode::FAILURE
        } else {
            ExitCode::SUCCESS
        }
    }
}

/// `bytes`, with a bar on the terminal, if there is one, that shows how much of a long file has been read.
fn watched(bytes: std::fs::File, length: u64, bar: &ProgressBar) -> Box<dyn Read> {
    const LONG: u64 = 128 * 1024;
    if length < LONG || !io::stderr().is_terminal() {
        return Box::new(bytes);
    }
    bar.set_length(length);
    bar.set_style(ProgressStyle::default_bar());
    bar.set_draw_target(indicatif::ProgressDrawTarget::stderr_with_hz(10));
    Box::new(bar.wrap_read(bytes))
}
