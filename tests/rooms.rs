//! The rooms of src/: each uses only rooms below it, and the files of a room do not use one another in a circle.
//! `src/lib.rs` describes them.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// Floors from top to bottom. Rooms of one floor do not use each other.
const FLOORS: [&[&str]; 12] = [
    &["detect", "posebatch", "overlay", "json"],
    &["common"],
    &["stage"],
    &["track"],
    &["meta"],
    &["runtime"],
    &["network"],
    &["engine"],
    &["pose"],
    &["video"],
    &["platform"],
    &["properties", "sync"],
];

fn floor(room: &str) -> usize {
    let found = FLOORS.iter().position(|rooms| rooms.contains(&room));
    found.unwrap_or_else(|| panic!("`{room}` stands on no floor: give it a place in this test's list"))
}

/// The file of a module's code, and its contents.
#[derive(Default)]
struct Module {
    /// The file's path below src/.
    file: String,
    /// Paths in the code: those of `use`, and those that begin with `crate`, `super` or `self`, as far as they
    /// go.
    paths: Vec<Vec<String>>,
    /// Names that the module passes on by `use` from modules below it: a path to such a name means the module
    /// below.
    passed_on: BTreeMap<String, Vec<String>>,
}

type Modules = BTreeMap<Vec<String>, Module>;

/// The words and marks of Rust code, without comments and strings.
fn tokens(code: &str) -> Vec<String> {
    let bytes = code.as_bytes();
    let (mut tokens, mut at) = (Vec::new(), 0);
    let end_of =
        |from: usize, end: &str| code[from..].find(end).map_or(code.len(), |found| from + found + end.len());
    while at < bytes.len() {
        let rest = &code[at..];
        if rest.starts_with("//") {
            at = end_of(at, "\n");
        } else if rest.starts_with("/*") {
            at = end_of(at, "*/");
        } else if rest.starts_with("r#\"") {
            at = end_of(at + 3, "\"#");
        } else if bytes[at] == b'"' {
            at += 1;
            while bytes[at] != b'"' {
                at += if bytes[at] == b'\\' { 2 } else { 1 };
            }
            at += 1;
        } else if rest.starts_with("'\\") {
            at = end_of(at + 3, "'");
        } else if bytes[at] == b'\'' && code[at + 1..].chars().nth(1) == Some('\'') {
            at = end_of(at + 1 + code[at + 1..].chars().next().unwrap().len_utf8(), "'");
        } else if rest.starts_with("::") {
            tokens.push("::".to_string());
            at += 2;
        } else if bytes[at].is_ascii_alphanumeric() || bytes[at] == b'_' {
            let is_word = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
            let length = bytes[at..].iter().take_while(|byte| is_word(byte)).count();
            tokens.push(code[at..at + length].to_string());
            at += length;
        } else {
            let letter = rest.chars().next().unwrap();
            if !letter.is_whitespace() {
                tokens.push(letter.to_string());
            }
            at += letter.len_utf8();
        }
    }
    tokens
}

/// The paths of a `use`, from the token behind that word, with their names here.
fn tree(tokens: &[String], at: &mut usize, before: &[String], found: &mut Vec<(Vec<String>, String)>) {
    let mut path = before.to_vec();
    loop {
        match tokens[*at].as_str() {
            "{" => {
                *at += 1;
                while tokens[*at] != "}" {
                    tree(tokens, at, &path, found);
                    if tokens[*at] == "," {
                        *at += 1;
                    }
                }
                *at += 1;
                return;
            }
            "::" => *at += 1,
            "," | ";" | "}" => {
                let name = path.last().cloned().unwrap_or_default();
                found.push((path, name));
                return;
            }
            "as" => {
                let name = tokens[*at + 1].clone();
                *at += 2;
                found.push((path, name));
                return;
            }
            word => {
                if word != "self" || path.is_empty() {
                    path.push(word.to_string());
                }
                *at += 1;
            }
        }
    }
}

/// A path from the crate's root, for a path in a module that may be inside others of its file; none if it
/// begins in another crate or in the language.
fn absolute(path: &[String], module: &[String], children: &BTreeSet<Vec<String>>) -> Option<Vec<String>> {
    let (first, rest) = path.split_first()?;
    let mut base = match first.as_str() {
        "crate" => Vec::new(),
        "self" => module.to_vec(),
        "super" => module[..module.len().checked_sub(1)?].to_vec(),
        _ => {
            let child = [module, &path[..1]].concat();
            children.contains(&child).then_some(())?;
            return Some([module, path].concat());
        }
    };
    for word in rest {
        if word == "super" {
            base.pop();
        } else {
            base.push(word.clone());
        }
    }
    Some(base)
}

fn read_modules() -> Modules {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    let mut folders = vec![source.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    let module_of = |file: &PathBuf| {
        let inside = file.strip_prefix(&source).unwrap().with_extension("");
        let mut module: Vec<_> = inside.iter().map(|part| part.to_str().unwrap().to_string()).collect();
        if module.last().is_some_and(|last| last == "mod" || last == "lib") {
            module.pop();
        }
        module
    };
    let known: BTreeSet<_> = files.iter().map(module_of).collect();
    let mut modules = Modules::new();
    for file in &files {
        let module = module_of(file);
        let tokens = tokens(&fs::read_to_string(file).unwrap());
        let mut read =
            Module { file: file.strip_prefix(&source).unwrap().display().to_string(), ..Module::default() };
        // Inside modules such as `mod tests { use super::*; }`, `super` is this module.
        let mut inner: Vec<(usize, String)> = Vec::new();
        let (mut at, mut depth) = (0, 0);
        while at < tokens.len() {
            let here: Vec<_> =
                module.iter().cloned().chain(inner.iter().map(|(_, name)| name.clone())).collect();
            match tokens[at].as_str() {
                "{" => depth += 1,
                "}" => {
                    depth -= 1;
                    inner.retain(|(opened, _)| *opened <= depth);
                }
                "mod" if tokens.get(at + 2).is_some_and(|token| token == "{") => {
                    inner.push((depth + 1, tokens[at + 1].clone()));
                }
                "use" => {
                    at += 1;
                    let mut found = Vec::new();
                    tree(&tokens, &mut at, &[], &mut found);
                    for (path, name) in found {
                        let Some(path) = absolute(&path, &here, &known) else { continue };
                        if inner.is_empty() && path.len() > module.len() + 1 && path.starts_with(&module) {
                            read.passed_on.insert(name, path.clone());
                        }
                        read.paths.push(path);
                    }
                    continue;
                }
                "crate" | "super" if tokens.get(at + 1).is_some_and(|token| token == "::") => {
                    let mut path = vec![tokens[at].clone()];
                    while tokens.get(at + 1).is_some_and(|token| token == "::")
                        && tokens
                            .get(at + 2)
                            .is_some_and(|token| token.starts_with(|letter: char| letter.is_alphabetic()))
                    {
                        path.push(tokens[at + 2].clone());
                        at += 2;
                    }
                    read.paths.extend(absolute(&path, &here, &known));
                }
                _ => (),
            }
            at += 1;
        }
        modules.insert(module, read);
    }
    modules
}

/// The module in which a path ends. If a module only passes a name on, the module that the name comes from.
fn target(path: &[String], modules: &Modules) -> Vec<String> {
    let mut path = path.to_vec();
    for _ in 0..8 {
        let length = (0..=path.len()).rev().find(|length| modules.contains_key(&path[..*length])).unwrap();
        let passed_on = path.get(length).and_then(|name| modules[&path[..length]].passed_on.get(name));
        let Some(further) = passed_on else { return path[..length].to_vec() };
        path = [further, &path[length + 1..]].concat();
    }
    panic!("a name goes in a circle: {path:?}")
}

/// The modules that each module uses.
fn uses(modules: &Modules) -> BTreeMap<&Vec<String>, BTreeSet<Vec<String>>> {
    let of = |module: &Module| module.paths.iter().map(|path| target(path, modules)).collect();
    modules.iter().map(|(name, module)| (name, of(module))).collect()
}

#[test]
fn rooms_use_only_rooms_below_them() {
    let modules = read_modules();
    let mut upward = Vec::new();
    let mut seen = 0;
    for (user, used) in uses(&modules) {
        let Some(room) = user.first() else { continue };
        for used in used {
            let Some(other) = used.first().filter(|other| *other != room) else { continue };
            seen += 1;
            if floor(room) >= floor(other) {
                upward.push(format!("{} uses {}", modules[user].file, modules[&used].file));
            }
        }
    }
    assert!(seen > 50, "only {seen} uses were found: the test reads too little");
    assert!(upward.is_empty(), "a room above or beside its own:\n{}", upward.join("\n"));
}

/// A module and those inside it count as one: a folder's mod.rs is for all of its files.
#[test]
fn files_do_not_go_in_circles() {
    let modules = read_modules();
    let uses = uses(&modules);
    let further = |module: &Vec<String>| -> Vec<Vec<String>> {
        let apart = |other: &&Vec<String>| !other.starts_with(module) && !module.starts_with(other);
        uses[module].iter().filter(apart).cloned().collect()
    };
    let mut circles = Vec::new();
    for start in modules.keys() {
        // The modules reached, and from where.
        let mut came_from: BTreeMap<Vec<String>, Vec<String>> = BTreeMap::new();
        let mut open = vec![start.clone()];
        while let Some(module) = open.pop() {
            for next in further(&module) {
                if !came_from.contains_key(&next) {
                    came_from.insert(next.clone(), module.clone());
                    open.push(next);
                }
            }
        }
        let Some(mut at) = came_from.get(start) else { continue };
        let mut circle = vec![&modules[start].file];
        while at != start {
            circle.push(&modules[at].file);
            at = &came_from[at];
        }
        circle.push(&modules[start].file);
        circle.reverse();
        circles.push(circle.into_iter().map(String::as_str).collect::<Vec<_>>().join(" -> "));
    }
    assert!(circles.is_empty(), "files that use each other:\n{}", circles.join("\n"));
}

#[test]
fn the_code_is_read_as_rust_is() {
    let text = r##"use a::{self, b::{c as d, e}, f}; // use x::y;
        let s = "use z::w; \" {"; let c = '{'; let l: &'static str = r#"}"#; '\''; crate::g::h();"##;
    let tokens = tokens(text);
    assert!(!tokens.iter().any(|token| ["x", "z", "w"].contains(&&token[..])), "{tokens:?}");
    let (mut at, mut found) = (1, Vec::new());
    tree(&tokens, &mut at, &[], &mut found);
    let found: Vec<_> = found.iter().map(|(path, name)| (path.join("::"), name.as_str())).collect();
    let expected = [("a", "a"), ("a::b::c", "d"), ("a::b::e", "e"), ("a::f", "f")];
    assert_eq!(found, expected.map(|(path, name)| (path.to_string(), name)));
    assert_eq!(tokens.iter().filter(|token| *token == "{").count(), 2);
    let known = BTreeSet::from([vec!["m".to_string(), "n".to_string()]]);
    let path = |text: &str| text.split("::").map(str::to_string).collect::<Vec<_>>();
    let seen = |text: &str| absolute(&path(text), &path("m"), &known).map(|path| path.join("::"));
    assert_eq!(seen("super::o::p").as_deref(), Some("o::p"));
    assert_eq!(seen("n::q").as_deref(), Some("m::n::q"));
    assert_eq!(seen("std::sync"), None);
}
