//! `counts`: instructions an operation, by callgrind, beside their limits, the peer's, and those that are committed.

use core::sync::atomic::{AtomicUsize, Ordering};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::Mutex;
use std::thread;

use clap::Parser;
use comfy_table::{CellAlignment, Table, presets::UTF8_FULL_CONDENSED};
use smmuv3_tests::bench::counting::TOGGLE;
use smmuv3_tests::bench::counts::Counts;
use smmuv3_tests::bench::readme::with_table;
use smmuv3_tests::bench::{Operation, SIZES, by_name, named, rates, with_room};

/// Whether a row above its limit is an error.
const LIMITS_BIND: bool = false;
/// How far above the committed figure a row may be.
const TOLERANCE: f64 = 1.05;

/// Counts the instructions of operations, and compares them with tests/benches/counts.txt.
///
/// Exit status: 0, 1 if an operation costs 5 % more than is committed, 2 if it could not be counted.
#[derive(Parser)]
#[command(name = "counts", version)]
struct Arguments {
    /// Only operations whose names begin so
    #[arg(long, value_name = "PREFIX", default_value = "")]
    op: String,

    /// Rewrite tests/benches/counts.txt
    #[arg(long)]
    update: bool,

    /// Run one operation, for callgrind to count
    #[arg(long, value_name = "OP", hide = true)]
    count: Option<String>,

    /// Run what must be taken from the operation
    #[arg(long, requires = "count", hide = true)]
    without: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let done = match &arguments.count {
        Some(name) => count(name, arguments.without).map(|()| true),
        None => report(&arguments),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(cause) => {
            eprintln!("error: {cause}");
            ExitCode::from(2)
        }
    }
}

/// The child's part.
fn count(name: &str, without: bool) -> Result<(), String> {
    let operation = by_name(name)?;
    with_room(|| operation.count(without));
    Ok(())
}

fn report(arguments: &Arguments) -> Result<bool, String> {
    let operations = named(&arguments.op)?;
    let path: PathBuf = [env!("CARGO_MANIFEST_DIR"), "benches", "counts.txt"].iter().collect();
    let mut committed = match path.exists() {
        true => Counts::read(&path)?,
        false if arguments.update => Counts::default(),
        false => return Err(format!("{}: there is no such file; --update writes it", path.display())),
    };

    let counted = count_all(&operations)?;
    println!("{}", table(&operations, &counted, &committed));
    print_rates(&arguments.op);
    let mut complaints = grown(&operations, &counted, &committed);
    if arguments.op.is_empty() {
        let unknown =
            committed.names().filter(|name| operations.iter().all(|operation| operation.name != *name));
        complaints.extend(unknown.map(|name| format!("{name}: committed, but there is no such operation")));
    }
    let cheaper = cheaper(&operations, &counted, &committed);
    if !cheaper.is_empty() && !arguments.update {
        println!("cheaper than committed, which --update takes over: {}", cheaper.join(", "));
    }
    let above = [above_limits(&operations, &counted), growth(&counted)].concat();
    if LIMITS_BIND {
        complaints.extend(above);
    } else if !above.is_empty() {
        println!("not there yet:\n  {}", above.join("\n  "));
    }

    if arguments.update {
        for operation in &operations {
            committed.set(operation.name, counted.get(operation.name).unwrap_or(0.0));
        }
        committed
            .retain(|name| named("").is_ok_and(|all| all.iter().any(|operation| operation.name == name)));
        write(&path, &committed.text())?;
        let text = with_readme(&committed)?.1;
        write(&readme_path(), &text)?;
        return Ok(true);
    }
    let (is, should) = with_readme(&committed)?;
    if is != should {
        complaints.push("README.md: its table is not that of tests/benches/counts.txt".to_owned());
    }
    for complaint in &complaints {
        println!("FAIL {complaint}");
    }
    if !complaints.is_empty() {
        println!("where that is meant: cargo run --release -q -p smmuv3-tests --bin counts -- --update");
    }
    Ok(complaints.is_empty())
}

fn readme_path() -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "..", "README.md"].iter().collect()
}

/// README.md as it is, and as it should be.
fn with_readme(counts: &Counts) -> Result<(String, String), String> {
    let path = readme_path();
    let is = std::fs::read_to_string(&path).map_err(|cause| format!("{}: {cause}", path.display()))?;
    let should = with_table(&is, counts).map_err(|cause| format!("{}: {cause}", path.display()))?;
    Ok((is, should))
}

fn write(path: &Path, text: &str) -> Result<(), String> {
    std::fs::write(path, text).map_err(|cause| format!("{}: {cause}", path.display()))?;
    println!("{} is rewritten", path.display());
    Ok(())
}

fn print_rates(prefix: &str) {
    for rate in rates::all().iter().filter(|rate| rate.name.starts_with(prefix)) {
        println!("{rate}");
    }
}

/// Counts all of `operations`, as many at a time as there are processors.
fn count_all(operations: &[&Operation]) -> Result<Counts, String> {
    let next = AtomicUsize::new(0);
    let counted = Mutex::new(Ok(Counts::default()));
    let work = || {
        while let Some(operation) = operations.get(next.fetch_add(1, Ordering::Relaxed)) {
            let figure = figure(operation);
            let mut counted = counted.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            match (figure, counted.as_mut()) {
                (Ok(figure), Ok(counted)) => counted.set(operation.name, figure),
                (Err(cause), _) => *counted = Err(cause),
                (Ok(_), Err(_)) => return,
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(work);
        }
    });
    counted.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// Instructions of one operation.
fn figure(operation: &Operation) -> Result<f64, String> {
    let mut instructions = callgrind(operation.name, &[])?;
    if operation.without().is_some() {
        instructions -= callgrind(operation.name, &["--without"])?;
    }
    Ok(instructions / operation.operations as f64)
}

/// Instructions that callgrind collected of this program, run for one operation.
fn callgrind(name: &str, more: &[&str]) -> Result<f64, String> {
    let program = std::env::current_exe().map_err(|cause| format!("this program's path: {cause}"))?;
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null", &format!("--toggle-collect={TOGGLE}")])
        .arg(program)
        .args(["--count", name])
        .args(more)
        .output()
        .map_err(|cause| format!("valgrind: {cause}; it is a package of that name"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    let collected = said.lines().find_map(|line| line.split_once("Collected : "));
    match collected.and_then(|(_, figure)| figure.trim().parse::<f64>().ok()) {
        Some(instructions) if output.status.success() && instructions > 0.0 => Ok(instructions),
        _ => Err(format!("{name}: callgrind collected nothing ({}):\n{said}", output.status)),
    }
}

fn table(operations: &[&Operation], counted: &Counts, committed: &Counts) -> Table {
    let mut table = Table::new();
    table.load_preset(UTF8_FULL_CONDENSED).set_header([
        "operation",
        "instructions",
        "limit",
        "",
        "committed",
        "QEMU",
        "QEMU : ours",
        "what",
    ]);
    for operation in operations {
        let ours = counted.get(operation.name).unwrap_or(f64::NAN);
        let of = |figure: Option<f64>, digits: usize| {
            figure.map_or(String::new(), |figure| format!("{figure:.digits$}"))
        };
        let above = operation.limit.is_some_and(|limit| ours > f64::from(limit));
        table.add_row([
            operation.name.to_owned(),
            format!("{ours:.1}"),
            operation.limit.map_or(String::new(), |limit| limit.to_string()),
            if above { "above" } else { "" }.to_owned(),
            of(committed.get(operation.name), 1),
            of(operation.qemu, 0),
            of(operation.qemu.map(|qemu| qemu / ours), 1),
            operation.about.to_owned(),
        ]);
    }
    for column in table.column_iter_mut().skip(1).take(6) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

/// Operations that cost more than is committed.
fn grown(operations: &[&Operation], counted: &Counts, committed: &Counts) -> Vec<String> {
    let complaint = |operation: &&Operation| {
        let ours = counted.get(operation.name)?;
        match committed.get(operation.name) {
            Some(before) if ours <= before * TOLERANCE => None,
            Some(before) => {
                let percent = (ours / before - 1.0) * 100.0;
                Some(format!("{}: {ours:.1} instructions, {percent:.1} % above {before:.1}", operation.name))
            }
            None => Some(format!("{}: nothing is committed", operation.name)),
        }
    };
    operations.iter().filter_map(complaint).collect()
}

/// Operations that cost so much less than is committed that they could grow again unseen.
fn cheaper(operations: &[&Operation], counted: &Counts, committed: &Counts) -> Vec<String> {
    let is_cheaper = |name: &str| Some(counted.get(name)? * TOLERANCE < committed.get(name)?);
    let names = operations.iter().map(|operation| operation.name);
    names.filter(|name| is_cheaper(name) == Some(true)).map(str::to_owned).collect()
}

fn above_limits(operations: &[&Operation], counted: &Counts) -> Vec<String> {
    let complaint = |operation: &&Operation| {
        let (ours, limit) = (counted.get(operation.name)?, f64::from(operation.limit?));
        (ours > limit).then(|| format!("{}: {ours:.1} instructions, at most {limit}", operation.name))
    };
    operations.iter().filter_map(complaint).collect()
}

/// Growth with the size of the IOTLB beyond what is allowed; nothing where not all sizes were counted.
fn growth(counted: &Counts) -> Vec<String> {
    let mut above = Vec::new();
    for (family, at_most) in [("s_hit", 1.5), ("s_range16", 1.1)] {
        let of = |size: u32| counted.get(&format!("{family}_{size}"));
        let all: Option<Vec<f64>> = SIZES.into_iter().map(of).collect();
        let Some(all) = all else { continue };
        let least = all.iter().copied().fold(f64::INFINITY, f64::min);
        let most = all.iter().copied().fold(0.0, f64::max);
        if most > least * at_most {
            above.push(format!("{family}: grows by {:.2}, at most {at_most}", most / least));
        }
    }
    for pair in SIZES.windows(2) {
        let [smaller, larger] = pair else { continue };
        let of = |size: &u32| counted.get(&format!("s_wide_{size}"));
        if let (Some(before), Some(after)) = (of(smaller), of(larger)) {
            let (factor, sizes) = (after / before, f64::from(*larger) / f64::from(*smaller));
            if factor > sizes {
                above.push(format!("s_wide: {factor:.2} times as much for {sizes} times the entries"));
            }
        }
    }
    above
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(rows: &[(&str, f64)]) -> Counts {
        let mut counts = Counts::default();
        rows.iter().for_each(|(name, figure)| counts.set(name, *figure));
        counts
    }

    #[test]
    fn five_percent_more_are_too_many() {
        let operations = named("e_").unwrap();
        let committed = counts(&[("e_sync", 100.0), ("e_percmd_va", 100.0), ("e_range_1gib", 100.0)]);
        let counted = counts(&[
            ("e_sync", 105.0),
            ("e_percmd_va", 105.1),
            ("e_range_1gib", 95.0),
            ("e_storm_262144", 1.0),
        ]);
        assert_eq!(
            grown(&operations, &counted, &committed),
            ["e_percmd_va: 105.1 instructions, 5.1 % above 100.0", "e_storm_262144: nothing is committed"]
        );
        assert_eq!(cheaper(&operations, &counted, &committed), ["e_range_1gib"]);
    }

    #[test]
    fn a_row_above_its_limit_is_named() {
        let operations = named("e_").unwrap();
        let counted = counts(&[("e_sync", 60.0), ("e_percmd_va", 150.1)]);
        assert_eq!(above_limits(&operations, &counted), ["e_percmd_va: 150.1 instructions, at most 150"]);
    }

    #[test]
    fn growth_is_seen() {
        let family = |name: &'static str, figures: [f64; 5]| {
            SIZES.into_iter().zip(figures).map(move |(size, figure)| (format!("{name}_{size}"), figure))
        };
        let all = |hit, narrow, wide| {
            let mut counts = Counts::default();
            for (name, figure) in
                family("s_hit", hit).chain(family("s_range16", narrow)).chain(family("s_wide", wide))
            {
                counts.set(&name, figure);
            }
            growth(&counts)
        };
        let (flat, linear) = ([100.0; 5], [100.0, 400.0, 1600.0, 6400.0, 25_600.0]);
        assert!(
            all([100.0, 90.0, 120.0, 130.0, 135.0], [100.0, 110.0, 100.0, 105.0, 100.0], linear).is_empty()
        );
        assert_eq!(
            all([100.0, 100.0, 100.0, 100.0, 151.0], flat, flat),
            ["s_hit: grows by 1.51, at most 1.5"]
        );
        assert_eq!(
            all(flat, [100.0, 100.0, 112.0, 100.0, 100.0], flat),
            ["s_range16: grows by 1.12, at most 1.1"]
        );
        assert_eq!(
            all(flat, flat, [100.0, 400.0, 1601.0, 1601.0, 1601.0]),
            ["s_wide: 4.00 times as much for 4 times the entries"]
        );
        assert!(growth(&Counts::default()).is_empty());
    }
}
