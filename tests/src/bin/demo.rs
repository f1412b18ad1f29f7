//! `demo`: the main job, live. Linux's own driver, then 1 GiB unmapped four ways with and without range invalidation.

#![allow(clippy::disallowed_types, reason = "figures for people: the time is shown, never compared")]

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use comfy_table::{Cell, CellAlignment, Table, presets::UTF8_FULL_CONDENSED};
use smmuv3::Settings;
use smmuv3_tests::figures::grouped;
use smmuv3_tests::replay::{Plan, Verdict, replay};
use smmuv3_tests::transcript::Reader;
use smmuv3_tests::unmap::{Cost, LIVE, Mapping, unmap};

fn main() -> ExitCode {
    if let Err(cause) = linux() {
        eprintln!("error: {cause}");
        return ExitCode::from(2);
    }
    println!(
        "\n1 GiB is unmapped while {LIVE} of its translations and {LIVE} others are live in a 1,024-entry IOTLB.\n\
         Commands as Linux sends them; every register write is a trap for a hypervisor.\n"
    );
    println!("{}", table());
    println!(
        "\nscanned: IOTLB slots looked at; excess: entries dropped that could have stayed; reads after: descriptors\n\
         read when the {LIVE} others are used again. Times are this run's: compare them with each other."
    );
    ExitCode::SUCCESS
}

/// Replays the conversation that Linux 6.12 had with the peer while it booted and did I/O.
fn linux() -> Result<(), String> {
    let path: PathBuf =
        [env!("CARGO_MANIFEST_DIR"), "golden", "vectors", "g_linux.linux_4k.jsonl.gz"].iter().collect();
    println!("Linux 6.12 boots and does disk, network and VFIO I/O through the device …");
    let start = Instant::now();
    let transcript = Reader::open(&path).map_err(|error| error.to_string())?;
    let plan = Plan { settings: Settings::new(256, 4), forget: None };
    match replay(transcript, &plan).map_err(|error| error.to_string())? {
        Verdict::Passed { .. } => {
            println!(
                "… and every answer is the recorded one ({:.0} ms).",
                start.elapsed().as_secs_f64() * 1e3
            );
            Ok(())
        }
        Verdict::Failed(failure) => Err(format!("{}:{failure}", path.display())),
        Verdict::Skipped(reason) => Err(format!("{}: {reason}", path.display())),
    }
}

fn table() -> Table {
    let header = [
        "mapped as",
        "RIL",
        "commands",
        "queue bytes",
        "traps",
        "scanned",
        "dropped",
        "excess",
        "reads after",
        "time",
    ];
    let mut table = Table::new();
    table.load_preset(UTF8_FULL_CONDENSED).set_header(header);
    for mapping in Mapping::ALL {
        for ril in [false, true] {
            table.add_row(row(mapping, ril, &unmap(mapping, ril)));
        }
    }
    for column in table.column_iter_mut().skip(2) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

fn row(mapping: Mapping, ril: bool, cost: &Cost) -> Vec<Cell> {
    let mut cells = vec![Cell::new(mapping.name()), Cell::new(if ril { "yes" } else { "no" })];
    let counts = [
        cost.commands,
        16 * cost.commands,
        cost.during.register_writes,
        cost.during.scanned,
        cost.during.dropped,
        cost.during.excess,
        cost.afterwards.descriptors,
    ];
    cells.extend(counts.map(|count| Cell::new(grouped(count))));
    cells.push(Cell::new(format!("{:.1} µs", cost.time.as_secs_f64() * 1e6)));
    cells
}
