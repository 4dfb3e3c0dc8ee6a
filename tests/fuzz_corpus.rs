//! Repeats the useful findings of fuzzing (`fuzz/corpus`): foreign bytes give a result or an error, never a panic, a hang,
//! or unlimited memory. `make fuzz` searches for more.

#[path = "../fuzz/src/lib.rs"]
mod targets;

use std::path::Path;

fn replay(target: &str, run: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let mut files: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(files.len() >= 20, "{} has {} files only", folder.display(), files.len());
    files.sort();
    for file in files {
        // Shown if the file fails.
        println!("{}", file.display());
        run(&std::fs::read(file).unwrap());
    }
}

#[test]
fn boxes() {
    replay("boxes", targets::boxes::run);
}

#[test]
fn crop() {
    replay("crop", targets::crop::run);
}

#[test]
fn frames() {
    replay("frames", targets::frames::run);
}

#[test]
fn metadata() {
    replay("metadata", targets::metadata::run);
}

#[test]
fn model() {
    replay("model", targets::model::run);
}

#[test]
fn skeleton() {
    replay("skeleton", targets::skeleton::run);
}
