//! Every public function of the model is named in the proof, or the proof is none: a new one that is not named stops the
//! build.

use std::path::{Path, PathBuf};
use std::{env, fs};

/// What only a host calls, or what is there for constants alone.
const EXEMPT: [&str; 1] = [
    "disjoint", // evaluated at compile time, over constants of the model
];

fn main() {
    let core = Path::new("../../core/src");
    println!("cargo::rerun-if-changed={}", core.display());
    println!("cargo::rerun-if-changed=src");
    let proof: String = sources(Path::new("src")).iter().map(|path| read(path)).collect();
    let missing: Vec<String> = sources(core)
        .iter()
        .flat_map(|path| public_functions(&read(path)).into_iter().map(move |name| (path.clone(), name)))
        .filter(|(_, name)| !EXEMPT.contains(&name.as_str()) && !names(&proof, name))
        .map(|(path, name)| format!("{}: {name}", path.display()))
        .collect();
    assert!(missing.is_empty(), "public functions that the proof does not call:\n{}", missing.join("\n"));
    if env::var_os("CARGO_FEATURE_DEFMT").is_some() {
        println!("cargo::rustc-link-arg-bins=-Tdefmt.x");
    }
}

/// Rust sources below `folder`.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut found: Vec<PathBuf> = entries
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .flat_map(|path| if path.is_dir() { sources(&path) } else { vec![path] })
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .collect();
    found.sort();
    found
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Names after `pub fn` and `pub const fn`, up to a file's tests.
fn public_functions(source: &str) -> Vec<String> {
    let code = source.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
    code.lines()
        .filter_map(|line| {
            let line = line.trim_start().strip_prefix("pub ")?;
            let line = line.strip_prefix("const ").unwrap_or(line).strip_prefix("fn ")?;
            Some(line.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect())
        })
        .collect()
}

/// Whether `name` stands in `text` as a word.
fn names(text: &str, name: &str) -> bool {
    text.match_indices(name).any(|(at, _)| {
        let part = |c: char| c.is_alphanumeric() || c == '_';
        !text[..at].ends_with(part) && !text[at + name.len()..].starts_with(part)
    })
}
