//! Runs a firmware on a small AArch64 machine whose SMMU is the model, and compares what it says with what it said on QEMU:
//! `emulator ELF QEMU_TEXT DIFFERENCES QEMU_VERSION OUR_TEXT`.
//!
//! The model is given the ID registers that QEMU showed. Exit status 1 where the two differ in what is not explained, or
//! an explained difference is gone; 2 where a file cannot be used. OUR_TEXT is written.

mod board;
mod compare;
mod unicorn;

use std::cell::RefCell;
use std::process::ExitCode;
use std::rc::Rc;
use std::{env, fs};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use board::{Board, RAM, WINDOWS};
use object::{Object as _, ObjectSegment as _};
use smmuv3::Features;
use unicorn::Machine;

/// Seconds that the firmware may run.
const PATIENCE: u64 = 60;

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

/// Whether both devices agree.
fn run(arguments: &[String]) -> Result<bool> {
    let [elf, theirs, differences, version, ours] = arguments else {
        bail!("usage: emulator ELF QEMU_TEXT DIFFERENCES QEMU_VERSION OUR_TEXT");
    };
    let their_text = fs::read(theirs).with_context(|| theirs.clone())?;
    let their_text = String::from_utf8_lossy(&their_text).replace(['\r', '\u{4}'], "");
    let features = features(&their_text).with_context(|| theirs.clone())?;
    let our_text = emulate(elf, features)?;
    fs::write(ours, &our_text).with_context(|| ours.clone())?;
    compare::agree(&their_text, &our_text, differences, version)
}

/// The features that a firmware found.
fn features(text: &str) -> Result<Features> {
    let register = |name: &str| {
        let prefix = format!("{name}: 0x");
        let digits = text.lines().find_map(|line| line.strip_prefix(&prefix));
        let value = digits.and_then(|digits| u32::from_str_radix(digits, 16).ok());
        value.with_context(|| format!("no line \"{name}: 0x...\""))
    };
    let mut idr = [0; 6];
    for (number, value) in idr.iter_mut().enumerate() {
        *value = register(&format!("IDR{number}"))?;
    }
    Features::from_idr(idr, register("IIDR")?, register("AIDR")?).map_err(|error| anyhow!("{error}"))
}

/// What the firmware in `elf` says before a model with `features`.
fn emulate(elf: &str, features: Features) -> Result<String> {
    let board = Board::new(features).map_err(|error| anyhow!("{error}"))?;
    let board = Rc::new(RefCell::new(board));
    let mut machine = Machine::new(Rc::clone(&board))?;
    machine.add_ram(RAM.base, RAM.bytes as usize)?;
    for window in WINDOWS {
        machine.add_window(window.base, window.bytes as usize)?;
    }
    let image = fs::read(elf).with_context(|| elf.to_owned())?;
    let file = object::File::parse(&*image).with_context(|| elf.to_owned())?;
    for segment in file.segments() {
        let data = segment.data().with_context(|| elf.to_owned())?;
        ensure!(machine.ram().write(segment.address(), data), "{elf}: a segment outside of memory");
    }
    // The machine ends at a word of the firmware, so how the CPU stops says nothing.
    let stopped = machine.run(file.entry(), PATIENCE);
    let board = board.borrow();
    let said = String::from_utf8_lossy(&board.said).into_owned();
    if !board.ended {
        stopped?;
        bail!("the firmware did not end; it said\n{said}");
    }
    Ok(said)
}
