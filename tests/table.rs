//! The tests in the tables of tests/README.md exist.

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

/// A test: its file's name, then its name as cargo shows it.
struct Test {
    name: String,
    /// Whether it runs only with `--ignored`.
    ignored: bool,
}

fn tests_of(file: &Path) -> Vec<Test> {
    let text = fs::read_to_string(file).unwrap();
    let module = file.file_stem().unwrap().to_str().unwrap();
    let lines: Vec<_> = text.lines().map(str::trim).collect();
    let is_test = |line: &usize| lines[*line] == "#[test]";
    let function = |line| {
        lines[line..].iter().find_map(|line| Some(line.strip_prefix("fn ")?.split_once('(')?.0)).unwrap()
    };
    let test = |line| {
        let attributes = lines[line..].iter().take_while(|line| line.starts_with("#["));
        let ignored = attributes.clone().any(|attribute| attribute.starts_with("#[ignore"));
        Test { name: format!("{module}::{}", function(line)), ignored }
    };
    (0..lines.len()).filter(is_test).map(test).collect()
}

/// Checks a command of the table; the error says what is wrong.
fn check(command: &str) -> Result<(), String> {
    let (plain, ignored) = match command.strip_suffix(" -- --ignored") {
        Some(plain) => (plain, true),
        None => (command, false),
    };
    let words: Vec<_> = plain.split_whitespace().collect();
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
        ["scripts/journeys", name] => {
            let folders = ["tests/journeys", "tests/journeys/long"];
            let found = folders.iter().any(|folder| root().join(folder).join(name).is_file());
            return found.then_some(()).ok_or("no such journey".to_string());
        }
        [script, ..] if root().join(script).is_file() => return Ok(()),
        _ => return Err("neither a test, a target of make nor a script".to_string()),
    };
    let runs = |test: &Test| test.name.contains(filter) && test.ignored == ignored;
    let found = files.iter().flat_map(|file| tests_of(file)).any(|test| runs(&test));
    found.then_some(()).ok_or("no such test, or one that is ignored".to_string())
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
        "cargo test --test cuda_faults a_lost_card_loses_no_frame",
        "cargo test --test order eos_cuts_the_batch_at_every_fill -- --ignored",
        "make nothing",
        "tests/nothing",
        "scripts/journeys nothing",
    ] {
        assert!(check(command).is_err(), "{command}");
    }
    assert_eq!(check("cargo test --test order eos_cuts_the_batch_at_every_fill"), Ok(()));
    assert_eq!(check("cargo test --test bad_input libraries"), Ok(()));
}
