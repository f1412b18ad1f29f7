//! What operations cost in instructions, as a file: a line for each, name and figure.

use core::fmt::Write as _;
use std::collections::BTreeMap;
use std::path::Path;

/// Instructions by name of operation.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Counts(BTreeMap<String, f64>);

/// What the first line of the file says to who opens it.
const HEADER: &str = "# Instructions an operation, counted by callgrind: `make bench-count`, which also says how to rewrite this.\n";

impl Counts {
    /// Reads a file.
    ///
    /// # Errors
    /// File, line and cause.
    pub fn read(path: &Path) -> Result<Self, String> {
        let text = std::fs::read_to_string(path).map_err(|cause| format!("{}: {cause}", path.display()))?;
        Self::parse(&text).map_err(|(line, cause)| format!("{}:{line}: {cause}", path.display()))
    }

    /// Lines of name and figure; `#` begins a comment.
    ///
    /// # Errors
    /// The line's number, and what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, (usize, String)> {
        let mut counts = Self::default();
        for (n, line) in (1..).zip(text.lines()) {
            let line = line.split('#').next().unwrap_or("").trim();
            if line.is_empty() {
                continue;
            }
            let mut words = line.split_whitespace();
            let (Some(name), Some(figure), None) = (words.next(), words.next(), words.next()) else {
                return Err((n, format!("expected a name and a figure, found `{line}`")));
            };
            match figure.parse::<f64>() {
                Ok(figure) if figure.is_finite() && figure >= 0.0 => {
                    if counts.0.insert(name.to_owned(), figure).is_some() {
                        return Err((n, format!("`{name}` again")));
                    }
                }
                _ => return Err((n, format!("`{figure}` is no number of instructions"))),
            }
        }
        Ok(counts)
    }

    /// The file.
    pub fn text(&self) -> String {
        let mut text = HEADER.to_owned();
        for (name, figure) in &self.0 {
            let _infallible = writeln!(text, "{name:<28}{figure:>14.1}");
        }
        text
    }

    /// What an operation costs.
    pub fn get(&self, name: &str) -> Option<f64> {
        self.0.get(name).copied()
    }

    /// Sets what an operation costs, to a tenth.
    pub fn set(&mut self, name: &str, figure: f64) {
        self.0.insert(name.to_owned(), (figure * 10.0).round() / 10.0);
    }

    /// The names of all operations.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// Forgets operations that are no longer there.
    pub fn retain(&mut self, keep: impl Fn(&str) -> bool) {
        self.0.retain(|name, _| keep(name));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_back_as_it_was_written() {
        let mut counts = Counts::default();
        counts.set("b_storm", 184_000_000.04);
        counts.set("a_hit", 224.96);
        assert_eq!(Counts::parse(&counts.text()), Ok(counts.clone()));
        assert_eq!((counts.get("a_hit"), counts.get("b_storm")), (Some(225.0), Some(184_000_000.0)));
        assert_eq!(counts.names().collect::<Vec<_>>(), ["a_hit", "b_storm"]);
    }

    #[test]
    fn a_bad_line_is_named() {
        for (text, line, cause) in [
            ("a 1\n\nb", 3, "expected a name and a figure, found `b`"),
            ("a 1 # fine\na 2", 2, "`a` again"),
            ("# c\na x", 2, "`x` is no number of instructions"),
            ("a -1", 1, "`-1` is no number of instructions"),
            ("a NaN", 1, "`NaN` is no number of instructions"),
            ("a 1 2", 1, "expected a name and a figure, found `a 1 2`"),
        ] {
            assert_eq!(Counts::parse(text), Err((line, cause.to_owned())), "{text:?}");
        }
    }
}
