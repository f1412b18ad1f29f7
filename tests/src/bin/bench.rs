//! `bench`: what an operation costs.

#![allow(clippy::disallowed_types, reason = "figures for people: the time is shown, never compared")]

use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use smmuv3_tests::bench::{OPERATIONS, Operation};

/// Measures operations of the model.
#[derive(Parser)]
#[command(name = "bench", version)]
struct Arguments {
    /// Only operations whose names begin so
    #[arg(long, value_name = "PREFIX", default_value = "")]
    op: String,

    /// Rounds; the least, the median and the largest time are shown
    #[arg(long, default_value_t = 9)]
    rounds: usize,

    /// Names and what they are, and nothing else
    #[arg(long)]
    list: bool,

    /// Runs one operation once, for `valgrind --tool=callgrind --toggle-collect='*measured*'`
    #[arg(long, value_name = "OP")]
    count: Option<String>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if let Some(name) = &arguments.count {
        let Some(operation) = OPERATIONS.iter().find(|operation| operation.name == name) else {
            eprintln!("error: no operation `{name}`; --list shows them");
            return ExitCode::from(2);
        };
        let mut segment = (operation.prepare)();
        println!("{} {}", operation.name, measured(&mut segment));
        return ExitCode::SUCCESS;
    }
    for operation in OPERATIONS.iter().filter(|operation| operation.name.starts_with(&arguments.op)) {
        if arguments.list {
            println!("{:28} {}", operation.name, operation.about);
        } else {
            time(operation, arguments.rounds);
        }
    }
    ExitCode::SUCCESS
}

/// What callgrind counts.
#[inline(never)]
fn measured(segment: &mut Box<dyn FnMut() -> u64>) -> u64 {
    segment()
}

fn time(operation: &Operation, rounds: usize) {
    let mut segment = (operation.prepare)();
    segment();
    let mut times: Vec<f64> = (0..rounds.max(1))
        .map(|_| {
            let start = Instant::now();
            let count = measured(&mut segment);
            start.elapsed().as_secs_f64() * 1e9 / count as f64
        })
        .collect();
    times.sort_by(f64::total_cmp);
    let (least, median, most) = (times.first(), times.get(times.len() / 2), times.last());
    if let (Some(least), Some(median), Some(most)) = (least, median, most) {
        println!("{:28} {least:12.1} {median:12.1} {most:12.1} ns", operation.name);
    }
}
