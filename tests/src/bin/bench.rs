//! `bench`: what an operation costs.

use std::process::ExitCode;

use clap::Parser;
use smmuv3_tests::bench::{named, with_room};

/// Measures operations of the model.
#[derive(Parser)]
#[command(name = "bench", version)]
struct Arguments {
    /// Runs one operation, for `valgrind --tool=callgrind --toggle-collect='*segment_that_callgrind_counts*'`
    #[arg(long, value_name = "OP")]
    count: String,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match named(&arguments.count) {
        Ok(operations) => {
            with_room(|| operations.iter().for_each(|operation| operation.count(false)));
            ExitCode::SUCCESS
        }
        Err(cause) => {
            eprintln!("error: {cause}");
            ExitCode::from(2)
        }
    }
}
