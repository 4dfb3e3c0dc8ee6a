//! The tables of tests/README.md name tests that are there.

use std::{
    fs,
    path::{Path, PathBuf},
};

fn root() -> PathBuf {
    env!("CARGO_MANIFEST_DIR").into()
}

/// All Rust files in a folder and below.
fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    entries
        .flat_map(|entry| {
            let path = entry.unwrap().path();
            if path.is_dir() {
                return rust_files(&path);
            }
            if path.extension().is_some_and(|extension| extension == "rs") { vec![path] } else { vec![] }
        })
        .collect()
}

/// Names of the tests in a file, behind its own name as cargo would show them.
fn tests_of(file: &Path) -> Vec<String> {
    let text = fs::read_to_string(file).unwrap();
    let module = file.file_stem().unwrap().to_str().unwrap();
    let lines: Vec<_> = text.lines().map(str::trim).collect();
    let is_test = |line: &usize| lines[*line] == "#[test]";
    let function = |line| {
        lines[line..].iter().find_map(|line| Some(line.strip_prefix("fn ")?.split_once('(')?.0)).unwrap()
    };
    (0..lines.len()).filter(is_test).map(|line| format!("{module}::{}", function(line))).collect()
}

/// What is wrong with a command of the table.
fn check(command: &str) -> Result<(), String> {
    let words: Vec<_> = command.split_whitespace().collect();
    let (files, filter) = match words[..] {
        ["make", target] => {
            let makefile = fs::read_to_string(root().join("Makefile")).unwrap();
            let is_rule = |line: &str| {
                line.split_once(':').is_some_and(|(targets, _)| targets.split(' ').any(|name| name == target))
            };
            return makefile.lines().any(is_rule).then_some(()).ok_or("no such target".to_string());
        }
        ["cargo", "test", "--lib", filter] => (rust_files(&root().join("src")), filter),
        ["cargo", "test", "--test", program] => (program_files(program), ""),
        ["cargo", "test", "--test", program, filter] => (program_files(program), filter),
        [script, ..] if root().join(script).is_file() => return Ok(()),
        _ => return Err("neither a test, a target of make nor a script".to_string()),
    };
    let found = files.iter().flat_map(|file| tests_of(file)).any(|name| name.contains(filter));
    found.then_some(()).ok_or("no such test".to_string())
}

fn program_files(program: &str) -> Vec<PathBuf> {
    let file = root().join("tests").join(program).with_extension("rs");
    if file.is_file() { vec![file] } else { rust_files(&root().join("tests").join(program)) }
}

#[test]
fn every_row_names_a_command_that_is_there() {
    let text = fs::read_to_string(root().join("tests/README.md")).unwrap();
    let rows: Vec<_> = text.lines().filter(|line| line.starts_with("| ") && line.contains(" | `")).collect();
    assert!(rows.len() > 30, "{} rows", rows.len());
    let wrong: Vec<_> = rows
        .iter()
        .filter_map(|row| {
            let command = row.split(" | ").nth(1).unwrap().trim_matches('`');
            Some(format!("{command}: {}", check(command).err()?))
        })
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_is_not_there_is_noticed() {
    for command in [
        "cargo test --test order no_such_test",
        "cargo test --lib eos_cuts_the_batch_at_every_fill",
        "make nothing",
        "tests/nothing",
    ] {
        assert!(check(command).is_err(), "{command}");
    }
    assert_eq!(check("cargo test --test order eos_cuts_the_batch_at_every_fill"), Ok(()));
    assert_eq!(check("cargo test --test bad_input libraries"), Ok(()));
}
