//! `bench`: what an operation costs, beside a straight IOTLB of the kind that most peers have, in one run.

#![allow(clippy::disallowed_types, reason = "figures for people: the time is shown, never compared")]

mod curves;
mod timing;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use comfy_table::{CellAlignment, Table, presets::UTF8_FULL_CONDENSED};
use serde::Serialize;
use smmuv3_tests::bench::{Operation, by_name, named, rates, with_room};
use timing::{Contender, Times};

/// Measures operations of the model beside the same ones of a straight IOTLB: a hash map with a probe a level, a pass over
/// all of it for each invalidation, emptied when full.
///
/// Exit status: 0, or 2 where there is nothing to measure.
#[derive(Parser)]
#[command(name = "bench", version)]
struct Arguments {
    /// Only operations whose names begin so
    #[arg(long, value_name = "PREFIX", default_value = "")]
    op: String,

    /// Times that each operation is measured, in random order
    #[arg(long, value_name = "N", default_value_t = 9, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    rounds: u32,

    /// A line of JSON for each operation instead of the table
    #[arg(long)]
    json: bool,

    /// Names and what they are, and nothing else
    #[arg(long)]
    list: bool,

    /// Draws cost against the size of the IOTLB and the length of a range
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,

    /// Runs one operation for `valgrind --tool=callgrind --toggle-collect='*segment_that_callgrind_counts*'`; `counts` does
    /// so for all
    #[arg(long, value_name = "OP", conflicts_with_all = ["op", "rounds", "json", "list", "svg"])]
    count: Option<String>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match with_room(|| run(&arguments)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(cause) => {
            eprintln!("error: {cause}");
            ExitCode::from(2)
        }
    }
}

fn run(arguments: &Arguments) -> Result<(), String> {
    if let Some(name) = &arguments.count {
        by_name(name)?.count(false);
        return Ok(());
    }
    let operations = named(&arguments.op)?;
    if arguments.list {
        operations.iter().for_each(|operation| println!("{:28} {}", operation.name, operation.about));
        return Ok(());
    }
    let contenders = operations.iter().flat_map(|operation| Contender::both(operation)).collect();
    let times = timing::measure(contenders, arguments.rounds);
    let rows: Vec<Row> = operations.iter().zip(times.chunks(2)).filter_map(Row::new).collect();
    if arguments.json {
        for row in &rows {
            println!("{}", serde_json::to_string(row).map_err(|cause| cause.to_string())?);
        }
    } else {
        println!("{}", table(&rows));
        println!(
            "ns an operation; ratio: the reference's min by ours. Compare them within one run, never between two."
        );
        print_rates(&arguments.op);
    }
    if let Some(path) = &arguments.svg {
        curves::draw(path, arguments.rounds)?;
        eprintln!("{} is written", path.display());
    }
    Ok(())
}

/// An operation's times, and the reference's.
#[derive(Serialize)]
struct Row {
    name: &'static str,
    ours: Times,
    reference: Times,
    ratio: f64,
}

impl Row {
    fn new((operation, times): (&&Operation, &[Times])) -> Option<Self> {
        let [ours, reference] = *times else { return None };
        Some(Self { name: operation.name, ours, reference, ratio: reference.min / ours.min })
    }
}

fn table(rows: &[Row]) -> Table {
    let mut table = Table::new();
    let header = ["operation", "min", "median", "max", "reference", "median", "max", "ratio"];
    table.load_preset(UTF8_FULL_CONDENSED).set_header(header);
    for row in rows {
        let mut cells = vec![row.name.to_owned()];
        for times in [&row.ours, &row.reference] {
            cells.extend([times.min, times.median, times.max].map(|time| format!("{time:.1}")));
        }
        cells.push(format!("{:.1}", row.ratio));
        table.add_row(cells);
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

/// Hit rates, which are the same in every run.
fn print_rates(prefix: &str) {
    for rate in rates::all().iter().filter(|rate| rate.name.starts_with(prefix)) {
        println!("{rate}");
    }
}
