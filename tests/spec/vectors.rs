//! Every golden transcript, on devices of several shapes.

#![expect(clippy::unwrap_used, reason = "a test says what it expects by failing")]

use std::path::{Path, PathBuf};

use smmuv3::{Behaviour, Settings};
use smmuv3_tests::{
    replay::{Forget, Plan, Verdict, replay},
    transcript::{Reader, name},
};

/// The shapes of a device; whatever it keeps or forgets, and however strict it is, its answers are legal.
fn rows() -> Vec<(&'static str, Plan)> {
    let default = Settings::new(64, 4);
    let keep = |settings| Plan { settings, forget: None };
    let drop = |seed| Plan { settings: default, forget: Some(Forget { probability: 0.3, seed }) };
    vec![
        ("default", keep(default)),
        ("IOTLB 1x1", keep(Settings::new(1, 1))),
        ("IOTLB 4x4", keep(Settings::new(4, 4))),
        ("IOTLB 1024x4", keep(Settings::new(1024, 4))),
        ("IOTLB unbounded", keep(Settings { iotlb_unbounded: true, ..default })),
        ("no walk cache", keep(Settings { walk_cache: false, ..default })),
        ("strict", keep(Settings { behaviour: Behaviour::Strict, ..default })),
        ("drop 0.3, seed 1", drop(1)),
        ("drop 0.3, seed 2", drop(2)),
        ("drop 0.3, seed 3", drop(3)),
        ("drop 0.3, seed 4", drop(4)),
        ("drop 0.3, seed 5", drop(5)),
    ]
}

fn vectors() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/vectors");
    let mut files: Vec<_> = folder.read_dir().unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

#[test]
fn every_answer_is_legal_on_every_shape() {
    let vectors = vectors();
    assert_eq!(vectors.len(), 352);
    let mut wrong = Vec::new();
    for (shape, plan) in rows() {
        for file in &vectors {
            let name = name(file);
            match Reader::open(file).and_then(|transcript| replay(transcript, &plan)) {
                Ok(Verdict::Passed { .. }) => {}
                Ok(Verdict::Skipped(reason)) => wrong.push(format!("{shape}: {name} skipped: {reason}")),
                Ok(Verdict::Failed(failure)) => wrong.push(format!("{shape}: {name}:{failure}")),
                Err(error) => wrong.push(format!("{shape}: {error}")),
            }
        }
    }
    assert!(wrong.is_empty(), "{} of them:\n{}", wrong.len(), wrong.join("\n"));
}
