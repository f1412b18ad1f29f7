//! Any bytes as a transcript: read strictly, and replayed as far as it can be read.
//!
//! An error names a line of the file; the device behind a transcript obeys the same bounds as any other.

use std::io::Cursor;
use std::path::Path;

use smmuv3::Settings;
use smmuv3_tests::replay::{Plan, Verdict, replay};
use smmuv3_tests::transcript::{Error, Op, Reader};

/// Transactions that are replayed: one of 16 MiB takes thousands of translations, and several are no news.
const BYTES_OF_DMA: u64 = 1 << 16;

/// Reads, and if all is well replays, the transcript in `data`.
pub fn run(data: &[u8]) {
    let lines = data.split_inclusive(|byte| *byte == b'\n').count().max(1) as u64;
    let is_sane = |error: &Error| {
        let line = error.line.expect("bytes in memory can be opened");
        assert!((1..=lines).contains(&line), "line {line} of {lines}: {error}");
        assert!(!error.cause.is_empty());
    };
    let mut moved = 0u64;
    match open(data) {
        Ok(reader) => {
            for op in reader {
                match op {
                    Ok((line, op)) => {
                        assert!((1..=lines).contains(&line), "line {line} of {lines}");
                        if let Op::Dma(dma) = op {
                            moved += u64::from(dma.len);
                        }
                    }
                    Err(error) => return is_sane(&error),
                }
            }
        }
        Err(error) => return is_sane(&error),
    }
    if moved > BYTES_OF_DMA {
        return;
    }
    let plan = Plan { settings: Settings::new(16, 4), forget: None };
    match replay(open(data).expect("it was read before"), &plan) {
        Ok(Verdict::Failed(failure)) => assert!(failure.line <= lines, "{failure}"),
        Ok(Verdict::Passed { .. } | Verdict::Skipped(_)) => {}
        Err(error) => panic!("read once, and not again: {error}"),
    }
}

fn open(data: &[u8]) -> Result<Reader, Error> {
    Reader::new(Path::new("fuzz.jsonl"), Cursor::new(data.to_vec()))
}
