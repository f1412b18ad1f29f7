//! Seeds from recorded conversations: for each category the commands that occur, and the beginning of one conversation.

use std::collections::{BTreeMap, BTreeSet};
use std::{fs, path::Path};

use smmuv3_tests::transcript::{Op, Reader};

use super::{Seed, bytes::CommandQueue};

/// Commands of one seed.
const COMMANDS: usize = 48;
/// Bytes of one transcript, cut after a line.
const BYTES: usize = 4000;

/// Each category's commands, with an access after every fourth.
pub(crate) fn commands() -> Vec<Seed> {
    let mut of_category: BTreeMap<String, BTreeSet<[u64; 2]>> = BTreeMap::new();
    for (category, bytes) in files() {
        let seen = of_category.entry(category).or_default();
        let reader = Reader::new(Path::new("vector"), std::io::Cursor::new(bytes)).expect("a transcript");
        let mut queue = None;
        for op in reader {
            match op.expect("a transcript").1 {
                Op::MmioWrite(write) if write.off == 0x90 => {
                    queue = Some((write.val & 0xf_ffff_ffff_ffe0, 16 << (write.val & 0x1f)));
                }
                Op::Write(write) => {
                    let Some((base, size)) = queue else { continue };
                    if (base..base + size).contains(&write.pa) && write.hex.len().is_multiple_of(16) {
                        seen.extend(write.hex.as_chunks::<16>().0.iter().map(|command| {
                            let both = u128::from_le_bytes(*command);
                            [both as u64, (both >> 64) as u64]
                        }));
                    }
                }
                _ => {}
            }
        }
    }
    of_category
        .into_iter()
        .filter(|(_, commands)| !commands.is_empty())
        .map(|(category, commands)| {
            let step = commands.len().div_ceil(COMMANDS);
            let mut queue = CommandQueue::new();
            for (n, &command) in commands.iter().step_by(step).enumerate() {
                queue = queue.put(command);
                if n % 4 == 3 {
                    queue = queue.ring().acknowledge().read([1, 3, 4, 5, 7][n / 4 % 5], 0x1000 * n as u64);
                }
            }
            ("command_queue", format!("vector_{category}"), queue.ring().bytes())
        })
        .collect()
}

/// The first conversation of each category, cut.
pub(crate) fn transcripts() -> Vec<Seed> {
    let mut first: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    for (category, bytes) in files() {
        let end = bytes.iter().take(BYTES).rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        first.entry(category).or_insert_with(|| bytes[..end].to_vec());
    }
    first.into_iter().map(|(category, bytes)| ("transcript", format!("vector_{category}"), bytes)).collect()
}

/// Category and bytes of each vector, by name.
fn files() -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/vectors");
    let mut paths: Vec<_> =
        fs::read_dir(folder).expect("the vectors").map(|entry| entry.expect("a vector").path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "jsonl"));
    paths.sort();
    paths
        .into_iter()
        .map(|path| {
            let name = path.file_name().expect("a file").to_string_lossy().into_owned();
            let category = name.split('.').next().unwrap_or_default().to_owned();
            (category, fs::read(&path).expect("a vector that can be read"))
        })
        .collect()
}
