//! The table of costs in README.md, made from the committed counts so that it cannot go stale.

use core::fmt::Write as _;

use super::OPERATIONS;
use super::counts::Counts;
use crate::figures::grouped;

/// The lines around the table.
const BEGIN: &str = "<!-- counts: rewritten by make bench-count UPDATE=1 -->";
const END: &str = "<!-- end of counts -->";

/// `readme` with the table that belongs to `counts`.
///
/// # Errors
/// A sentence, where the lines around the table are missing.
pub fn with_table(readme: &str, counts: &Counts) -> Result<String, String> {
    let missing = |line: &str| format!("there is no line `{line}`");
    let (before, rest) = readme.split_once(BEGIN).ok_or_else(|| missing(BEGIN))?;
    let (_, after) = rest.split_once(END).ok_or_else(|| missing(END))?;
    Ok(format!("{before}{BEGIN}\n{}{END}{after}", table(counts)))
}

fn table(counts: &Counts) -> String {
    let mut text =
        String::from("| operation | what | ours | QEMU | QEMU : ours |\n|---|---|---:|---:|---:|\n");
    // Growth with the size of the IOTLB is for `make bench-count` to judge, not for readers to look up.
    for operation in OPERATIONS.iter().filter(|operation| !operation.name.starts_with("s_")) {
        let Some(ours) = counts.get(operation.name) else { continue };
        let (peer, ratio) = match operation.qemu {
            Some(qemu) => (whole(qemu), ratio(qemu / ours)),
            None => ("–".to_owned(), "–".to_owned()),
        };
        let (name, about, ours) = (operation.name, operation.about, whole(ours));
        let _infallible = writeln!(text, "| `{name}` | {about} | {ours} | {peer} | {ratio} |");
    }
    text
}

fn ratio(ratio: f64) -> String {
    if ratio < 10.0 { format!("{ratio:.1}") } else { whole(ratio) }
}

fn whole(figure: f64) -> String {
    grouped(figure.round() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_replaced_and_nothing_else() {
        let mut counts = Counts::default();
        counts.set("e_sync", 44.4);
        counts.set("e_storm_262144", 20_000_000.0);
        let readme = format!("before\n{BEGIN}\nold\n{END}\nafter\n");
        let storm = "| `e_storm_262144` | 1 GiB as 262,144 NH_VA, 256 live elsewhere | 20,000,000 | 5,000,000,000 | 250 |";
        let expected = format!(
            "before\n{BEGIN}\n| operation | what | ours | QEMU | QEMU : ours |\n|---|---|---:|---:|---:|\n\
             | `e_sync` | CMD_SYNC | 44 | 133 | 3.0 |\n{storm}\n{END}\nafter\n"
        );
        assert_eq!(with_table(&readme, &counts).as_ref(), Ok(&expected));
        assert_eq!(with_table(&expected, &counts), Ok(expected));
        assert_eq!(with_table("nothing", &counts), Err(format!("there is no line `{BEGIN}`")));
    }
}
