//! Two devices' words, observation by observation, and the differences that are explained.

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Context as _, Result, bail};

/// One line of a chapter with the event records that belong to it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Observation {
    chapter: String,
    name: String,
    /// What follows the name.
    value: String,
}

/// What a firmware said, taken apart: `# chapter`, `name: value`, and indented lines that belong to the one before.
pub(crate) fn observations(text: &str) -> Vec<Observation> {
    let mut chapter = "";
    let mut found: Vec<Observation> = Vec::new();
    for line in text.lines() {
        if let Some(title) = line.strip_prefix("# ") {
            chapter = title;
        } else if let (true, Some(last)) = (line.starts_with(' '), found.last_mut()) {
            last.value = format!("{}\n{line}", last.value);
        } else {
            // A name may hold colons, a value does not hold one with a space.
            let (name, value) = line.rsplit_once(": ").unwrap_or((line, ""));
            found.push(Observation { chapter: chapter.into(), name: name.into(), value: value.into() });
        }
    }
    found
}

/// A difference that is explained.
struct Explained {
    line: usize,
    reason: String,
    found: bool,
}

/// The differences of `path` that concern QEMU of `version`: lines `VERSIONS | CHAPTER | NAME | REASON`.
fn explained(path: &str, version: &str) -> Result<BTreeMap<(String, String), Explained>> {
    let text = fs::read_to_string(path).with_context(|| path.to_owned())?;
    let mut all = BTreeMap::new();
    for (line, row) in (1..).zip(text.lines()) {
        if row.is_empty() || row.starts_with('#') {
            continue;
        }
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let [versions, chapter, name, reason] = cells[..] else {
            bail!("{path}:{line}: not VERSIONS | CHAPTER | NAME | REASON");
        };
        if reason.is_empty() {
            bail!("{path}:{line}: a difference without a reason");
        }
        if versions.split(' ').any(|known| version.starts_with(known)) {
            let reason = reason.to_owned();
            all.insert((chapter.to_owned(), name.to_owned()), Explained { line, reason, found: false });
        }
    }
    Ok(all)
}

/// Whether both say the same but for what is explained, and all that is explained is there. Says what is not.
pub(crate) fn agree(theirs: &str, ours: &str, path: &str, version: &str) -> Result<bool> {
    let mut explained = explained(path, version)?;
    let (theirs, ours) = (observations(theirs), observations(ours));
    let mut good = true;
    for pair in theirs.iter().zip(&ours) {
        let (their, our) = pair;
        if (&their.chapter, &their.name) != (&our.chapter, &our.name) {
            eprintln!("QEMU tells \"{}\", the model \"{}\": they went different ways", their.name, our.name);
            return Ok(false);
        }
        if their.value == our.value {
            continue;
        }
        match explained.get_mut(&(our.chapter.clone(), our.name.clone())) {
            Some(known) => known.found = true,
            None => {
                eprintln!("{} | {}\n  QEMU:  {}\n  model: {}", our.chapter, our.name, their.value, our.value);
                good = false;
            }
        }
    }
    if theirs.len() != ours.len() {
        eprintln!("QEMU makes {} observations, the model {}", theirs.len(), ours.len());
        good = false;
    }
    for ((chapter, name), known) in &explained {
        if !known.found {
            eprintln!("{path}:{}: {chapter} | {name}: no difference ({})", known.line, known.reason);
            good = false;
        }
    }
    let differences = explained.values().filter(|known| known.found).count();
    println!("QEMU {version}: {} observations, {differences} explained differences", ours.len());
    Ok(good)
}

#[cfg(test)]
mod tests {
    use super::observations;

    #[test]
    fn events_belong_to_what_made_them() {
        let text = "# faults\nnested: A: nowhere\n  event 1\n  event 2\nend\n";
        let seen: Vec<_> = observations(text).into_iter().map(|one| (one.name, one.value)).collect();
        let expected = [("nested: A", "nowhere\n  event 1\n  event 2"), ("end", "")];
        assert_eq!(seen, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
    }
}
