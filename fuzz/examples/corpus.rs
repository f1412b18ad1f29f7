//! Inputs by hand: runs them, packs a folder of them into a file, unpacks it.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::{env, fs};

use smmuv3_fuzz::{TARGETS, corpus};

const USAGE: &str = "usage: corpus run TARGET FILE...
       corpus pack FOLDER FILE     every file of FOLDER into FILE
       corpus unpack FILE FOLDER   and back; names are numbers";

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result = match arguments.as_slice() {
        ["run", target, files @ ..] if !files.is_empty() => run(target, files),
        ["pack", folder, file] => pack(Path::new(folder), Path::new(file)),
        ["unpack", file, folder] => unpack(Path::new(file), Path::new(folder)),
        _ => Err(USAGE.into()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(2)
        }
    }
}

fn run(target: &str, files: &[&str]) -> Result<(), Box<dyn Error>> {
    let Some((_, run)) = TARGETS.iter().find(|(name, _)| *name == target) else {
        let names = TARGETS.map(|(name, _)| name).join(", ");
        return Err(format!("{target}: no such target; there are {names}").into());
    };
    for file in files {
        println!("{file}"); // shown last when it panics
        run(&read(Path::new(file))?);
    }
    Ok(())
}

fn pack(folder: &Path, file: &Path) -> Result<(), Box<dyn Error>> {
    let entries = fs::read_dir(folder).map_err(|cause| format!("{}: {cause}", folder.display()))?;
    let mut paths: Vec<PathBuf> =
        entries.map(|entry| Ok(entry?.path())).collect::<Result<_, std::io::Error>>()?;
    paths.sort();
    let mut inputs = paths.iter().map(|path| read(path)).collect::<Result<Vec<_>, _>>()?;
    inputs.sort_by_key(Vec::len);
    fs::write(file, corpus::pack(inputs.iter().map(Vec::as_slice)))
        .map_err(|cause| format!("{}: {cause}", file.display()).into())
}

fn unpack(file: &Path, folder: &Path) -> Result<(), Box<dyn Error>> {
    let packed = read(file)?;
    let inputs = corpus::unpack(&packed)
        .map_err(|offset| format!("{}: the input at byte {offset} is cut off", file.display()))?;
    fs::create_dir_all(folder).map_err(|cause| format!("{}: {cause}", folder.display()))?;
    for (number, input) in inputs.iter().enumerate() {
        let path = folder.join(format!("{number:05}"));
        fs::write(&path, input).map_err(|cause| format!("{}: {cause}", path.display()))?;
    }
    Ok(())
}

fn read(path: &Path) -> Result<Vec<u8>, Box<dyn Error>> {
    fs::read(path).map_err(|cause| format!("{}: {cause}", path.display()).into())
}
