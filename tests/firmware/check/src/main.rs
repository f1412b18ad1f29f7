//! Judges what the Cortex-M4 firmware said: `firmware-check ELF FRAMES EXPECTED README SIZE_ELF [--bless]`.
//!
//! FRAMES, decoded by ELF, must be the text of EXPECTED, but for figures (`stack: …`, `memory: …`): those are printed with the
//! code size of SIZE_ELF, and must not exceed what README's table allows. Exit status 1 where something differs, 2 where
//! a file cannot be used. `--bless` writes EXPECTED anew.

use std::process::ExitCode;
use std::{env, fs};

use anyhow::{Context as _, Result, bail, ensure};
use defmt_decoder::{DecodeError, Table};
use object::{Object as _, ObjectSection as _};

fn main() -> ExitCode {
    match run(&env::args().skip(1).collect::<Vec<_>>()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::from(2)
        }
    }
}

/// Whether all is as it is to be.
fn run(arguments: &[String]) -> Result<bool> {
    let (paths, bless) = match arguments {
        [paths @ .., last] if last == "--bless" => (paths, true),
        paths => (paths, false),
    };
    let [elf, frames, expected, readme, size] = paths else {
        bail!("usage: firmware-check ELF FRAMES EXPECTED README SIZE_ELF [--bless]");
    };
    let lines = decode(elf, frames)?;
    let (figures, said): (Vec<_>, Vec<_>) = lines.iter().partition(|line| figure(line).is_some());
    let mut figures: Vec<Figure> = figures.into_iter().filter_map(|line| figure(line)).collect();
    ensure!(!figures.is_empty(), "{frames}: the firmware has measured nothing");
    figures.push(Figure { name: "code and constants".into(), bytes: code_size(size)? });

    let said: String = said.into_iter().map(|line| format!("{line}\n")).collect();
    if bless {
        fs::write(expected, &said).with_context(|| expected.clone())?;
    }
    let same = compare(expected, &said)?;
    Ok(judge(&figures, readme)? && same)
}

/// What the frames say, line by line.
fn decode(elf: &str, frames: &str) -> Result<Vec<String>> {
    let image = fs::read(elf).with_context(|| elf.to_owned())?;
    let table = Table::parse(&image)?.with_context(|| format!("{elf}: no defmt table"))?;
    let mut decoder = table.new_stream_decoder();
    decoder.received(&fs::read(frames).with_context(|| frames.to_owned())?);
    let mut lines = Vec::new();
    loop {
        match decoder.decode() {
            Ok(frame) => {
                let level = frame.level().map(|level| format!("{} ", level.as_str())).unwrap_or_default();
                lines.push(format!("{level}{}", frame.display_message()));
            }
            Err(DecodeError::UnexpectedEof) => return Ok(lines),
            Err(DecodeError::Malformed) => bail!("{frames}: a malformed frame after line {}", lines.len()),
        }
    }
}

/// A number of bytes that has a limit.
struct Figure {
    name: String,
    bytes: u64,
}

/// The figure that a line tells: `stack: NAME BYTES` or `memory: NAME BYTES`.
fn figure(line: &str) -> Option<Figure> {
    let kind = ["stack", "memory"].into_iter().find(|kind| line.starts_with(&format!("{kind}: ")))?;
    let (name, bytes) = line[kind.len() + 2..].rsplit_once(' ')?;
    Some(Figure { name: format!("{kind} of {name}"), bytes: bytes.parse().ok()? })
}

/// Bytes of code and constants in an ELF file.
fn code_size(path: &str) -> Result<u64> {
    let image = fs::read(path).with_context(|| path.to_owned())?;
    let file = object::File::parse(&*image).with_context(|| path.to_owned())?;
    let sections = file.sections().filter(|section| matches!(section.name(), Ok(".text" | ".rodata")));
    let bytes = sections.map(|section| section.size()).sum();
    ensure!(bytes > 0, "{path}: neither .text nor .rodata");
    Ok(bytes)
}

/// Whether `said` is what the file holds; says where it is not.
fn compare(expected: &str, said: &str) -> Result<bool> {
    let wanted = fs::read_to_string(expected).with_context(|| expected.to_owned())?;
    if wanted == said {
        println!("{} lines as {expected} has them", said.lines().count());
        return Ok(true);
    }
    let (mut wanted, mut said) = (wanted.lines(), said.lines());
    for line in 1.. {
        match (wanted.next(), said.next()) {
            (None, None) => break,
            (wanted, said) if wanted == said => {}
            (wanted, said) => {
                let (wanted, said) = (wanted.unwrap_or("(the end)"), said.unwrap_or("(the end)"));
                eprintln!("{expected}:{line}: expected\n  {wanted}\nthe firmware says\n  {said}");
                break;
            }
        }
    }
    Ok(false)
}

/// Whether every figure is at or below what its row in the README allows.
fn judge(figures: &[Figure], readme: &str) -> Result<bool> {
    let text = fs::read_to_string(readme).with_context(|| readme.to_owned())?;
    let mut good = true;
    for Figure { name, bytes } in figures {
        let limit = limit(&text, name).with_context(|| format!("{readme}: no row `| {name} | BYTES |`"))?;
        println!("{name:48} {bytes:>7} of {limit:>7} bytes");
        if *bytes > limit {
            eprintln!("{name}: {bytes} bytes, and {readme} allows {limit}");
            good = false;
        }
    }
    Ok(good)
}

/// The number in the second cell of the row whose first cell is `name`.
fn limit(readme: &str, name: &str) -> Option<u64> {
    readme.lines().find_map(|line| {
        let mut cells = line.strip_prefix("| ")?.split(" | ");
        (cells.next()? == name).then_some(())?;
        let digits = cells.next()?.trim_end_matches(" |").replace(',', "");
        digits.trim().parse().ok()
    })
}

#[cfg(test)]
mod tests {
    use super::{figure, limit};

    #[test]
    fn limits_are_read_from_a_table() {
        let readme = "| what | at most |\n|---|---|\n| stack of `write` | 2,048 |\n| stack of `write`, CMDQ | 7 | x |\n";
        assert_eq!(limit(readme, "stack of `write`"), Some(2048));
        assert_eq!(limit(readme, "stack of `write`, CMDQ"), Some(7));
        assert_eq!(limit(readme, "what"), None);
        assert_eq!(limit(readme, "code"), None);
    }

    #[test]
    fn figures_are_told_from_other_lines() {
        let told = figure("stack: `translate`, hit 176").map(|figure| (figure.name, figure.bytes));
        assert_eq!(told, Some(("stack of `translate`, hit".to_owned(), 176)));
        assert!(figure("stack: `translate`").is_none() && figure("INFO stack: x 1").is_none());
    }
}
