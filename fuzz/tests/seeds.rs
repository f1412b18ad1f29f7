//! Every named seed, through the body of the target that its folder is named after.

use std::{fs, path::Path};

#[test]
fn command_queue() {
    replay("command_queue", smmuv3_fuzz::command_queue::run);
}

#[test]
fn every_prefix_of_a_seed_is_a_seed() {
    for (_, seed) in seeds("command_queue") {
        for length in 0..seed.len() {
            smmuv3_fuzz::command_queue::run(&seed[..length]);
        }
    }
}

fn replay(target: &str, run: fn(&[u8])) {
    for (name, seed) in seeds(target) {
        println!("{target}: {name}"); // shown when `run` panics
        run(&seed);
    }
}

fn seeds(target: &str) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds").join(target);
    let mut seeds: Vec<_> = fs::read_dir(&folder)
        .expect("every target has a folder of seeds")
        .map(|entry| entry.expect("a readable folder"))
        .map(|entry| {
            (
                entry.file_name().to_string_lossy().into_owned(),
                fs::read(entry.path()).expect("a readable seed"),
            )
        })
        .collect();
    assert!(!seeds.is_empty(), "{} holds no seed", folder.display());
    seeds.sort();
    seeds
}
