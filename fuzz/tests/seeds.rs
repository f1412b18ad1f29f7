//! Every seed, packed corpus and past finding, through the body of its target.
//!
//! `seeds/<target>/` holds the named seeds of [`named`] and, under names that begin with `found_`, what a fuzzer has found
//! once. `BLESS=1 cargo test` writes the named ones.

mod named;

use std::collections::BTreeMap;
use std::{env, fs, path::Path, path::PathBuf};

use smmuv3_fuzz::{TARGETS, corpus};

#[test]
fn command_queue() {
    replay("command_queue");
}

#[test]
fn registers() {
    replay("registers");
}

#[test]
fn ste_cd() {
    replay("ste_cd");
}

#[test]
fn guest() {
    replay("guest");
}

#[test]
fn range() {
    replay("range");
}

#[test]
fn transcript() {
    replay("transcript");
}

#[test]
fn every_target_is_replayed() {
    let mut targets: Vec<_> = TARGETS.iter().map(|(name, _)| *name).collect();
    targets.sort_unstable();
    assert_eq!(targets, ["command_queue", "guest", "range", "registers", "ste_cd", "transcript"]);
}

/// An input may end anywhere.
#[test]
fn every_prefix_of_a_seed_is_a_seed() {
    for (target, run) in TARGETS.iter().filter(|(target, _)| *target != "transcript") {
        for (name, seed) in seeds(target) {
            println!("{target}: prefixes of {name}");
            let step = (seed.len() / 64).max(1);
            (0..seed.len()).step_by(step).for_each(|length| run(&seed[..length]));
        }
    }
}

#[test]
fn named_seeds_are_what_their_names_say() {
    let mut of_target: BTreeMap<&str, BTreeMap<String, Vec<u8>>> = BTreeMap::new();
    for (target, name, bytes) in named::all() {
        let other = of_target.entry(target).or_default().insert(name.clone(), bytes);
        assert!(other.is_none(), "{target}: two seeds are called {name}");
    }
    for (target, named) in of_target {
        let folder = root().join("seeds").join(target);
        if env::var_os("BLESS").is_some() {
            fs::create_dir_all(&folder).expect("a folder that can be written");
            for (name, _) in seeds(target).into_iter().filter(|(name, _)| !name.starts_with("found_")) {
                fs::remove_file(folder.join(name)).expect("a seed that can be removed");
            }
            for (name, bytes) in &named {
                fs::write(folder.join(name), bytes).expect("a seed that can be written");
            }
        }
        let on_disk: BTreeMap<_, _> =
            seeds(target).into_iter().filter(|(name, _)| !name.starts_with("found_")).collect();
        let names = |seeds: &BTreeMap<String, Vec<u8>>| seeds.keys().cloned().collect::<Vec<_>>();
        assert_eq!(names(&on_disk), names(&named), "{target}: `BLESS=1 cargo test` writes them");
        for (name, bytes) in named {
            assert!(on_disk[&name] == bytes, "{target}: {name} has changed; `BLESS=1 cargo test` writes it");
        }
    }
}

/// Each row of known bugs has a seed in some target.
#[test]
fn known_bugs_have_seeds() {
    let names: Vec<String> = named::all().into_iter().map(|(_, name, _)| name).collect();
    let rows = (1..=13).map(|n| format!("r{n}_")).chain((1..=15).map(|n| format!("b{n}_")));
    let rows = rows.chain((1..=21).map(|n| format!("e{n}_")));
    let missing: Vec<_> =
        rows.filter(|row| !names.iter().any(|name| name.starts_with(row.as_str()))).collect();
    assert!(missing.is_empty(), "no seed is called {missing:?}");
}

fn replay(target: &str) {
    let (_, run) = TARGETS.into_iter().find(|(name, _)| *name == target).expect("a target");
    let seeds = seeds(target);
    assert!(!seeds.is_empty(), "{target} has no seeds");
    for (name, seed) in seeds {
        println!("{target}: {name}"); // shown when `run` panics
        run(&seed);
    }
    let path = root().join("corpora").join(target);
    let packed = fs::read(&path).expect("every target has a packed corpus");
    let inputs =
        corpus::unpack(&packed).unwrap_or_else(|offset| panic!("{}: cut off at {offset}", path.display()));
    for (number, input) in inputs.iter().enumerate() {
        println!("{target}: number {number} of its packed corpus");
        run(input);
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

fn seeds(target: &str) -> Vec<(String, Vec<u8>)> {
    let Ok(entries) = fs::read_dir(root().join("seeds").join(target)) else { return Vec::new() };
    let mut seeds: Vec<_> = entries
        .map(|entry| entry.expect("a readable folder"))
        .map(|entry| {
            let bytes = fs::read(entry.path()).expect("a readable seed");
            (entry.file_name().to_string_lossy().into_owned(), bytes)
        })
        .collect();
    seeds.sort();
    seeds
}
