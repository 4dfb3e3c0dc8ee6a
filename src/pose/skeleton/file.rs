//! The user's own skeleton, from a small TOML file (`models/skeletons/` has an example).

use std::{
    collections::{HashMap, HashSet},
    path::Path,
};

use serde::Deserialize;

use super::{Side, Skeleton, custom_name};
use crate::{
    platform::files::{self, bounded},
    sync::{Mutex, lock},
};

/// A larger file is not a skeleton: 4096 points with names, sides and links are smaller.
const MAX_BYTES: u64 = 1 << 20;
/// Most key points of a model.
const MAX_POINTS: usize = 4096;

/// The contents of the file.
#[derive(Clone, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub(super) struct Definition {
    names: Vec<String>,
    #[serde(default)]
    links: Vec<[String; 2]>,
    #[serde(default)]
    left: Vec<String>,
    #[serde(default)]
    right: Vec<String>,
    sigmas: Option<Vec<f32>>,
}

/// Every definition that was loaded, with its skeleton.
static LOADED: Mutex<Vec<(Definition, &'static Skeleton)>> = Mutex::new(Vec::new());

/// Loads the file; an error completes a sentence that begins with the file's name. A skeleton is kept until the process
/// ends, like built-in ones, but only once, however often its file is loaded.
pub(super) fn load(path: &Path) -> Result<&'static Skeleton, String> {
    let bytes = files::read(path, MAX_BYTES).map_err(|why| format!("cannot be read: {why}"))?;
    let text = str::from_utf8(&bytes).map_err(|_| "is not a skeleton: it is not UTF-8 text")?;
    let definition = parse(text)?;
    let mut loaded = lock(&LOADED);
    if let Some((_, skeleton)) = loaded.iter().find(|(known, _)| *known == definition) {
        return Ok(skeleton);
    }
    let skeleton = definition.clone().keep();
    loaded.push((definition, skeleton));
    Ok(skeleton)
}

/// The definition in a text; an error completes a sentence that begins with the file's name.
pub(super) fn parse(text: &str) -> Result<Definition, String> {
    let definition = toml::from_str::<Definition>(text).map_err(|error| {
        let line = error.span().map_or(1, |span| text[..span.start].matches('\n').count() + 1);
        // The parser's message may have several lines.
        let words = error.message().split_whitespace().collect::<Vec<_>>().join(" ");
        format!("is not a skeleton: line {line}: {}", bounded(&words))
    })?;
    definition.check().map_err(|error| format!("is not a skeleton: {}", bounded(&error)))?;
    Ok(definition)
}

impl Definition {
    /// Checks that all names are known, and that the numbers of entries are right.
    fn check(&self) -> Result<(), String> {
        let points = self.names.len();
        if !(1..=MAX_POINTS).contains(&points) {
            return Err(format!("`names` has {points} names, expected 1 to {MAX_POINTS}"));
        }
        let mut names = HashSet::new();
        if let Some(name) = self.names.iter().find(|name| !names.insert(*name)) {
            return Err(format!("`names` has `{name}` twice"));
        }
        let known = |list: &str, name: &String| match names.contains(name) {
            true => Ok(()),
            false => Err(format!("`{list}` names `{name}`, which is not in `names`")),
        };

        let mut joined = HashSet::new();
        for [from, to] in &self.links {
            known("links", from)?;
            known("links", to)?;
            if from == to {
                return Err(format!("`links` joins `{from}` to itself"));
            }
            if !joined.insert((from.min(to), from.max(to))) {
                return Err(format!("`links` joins `{from}` and `{to}` twice"));
            }
        }

        let mut placed = HashSet::new();
        for (list, side) in [("left", &self.left), ("right", &self.right)] {
            for name in side {
                known(list, name)?;
                if !placed.insert(name) {
                    return Err(format!("`left` and `right` have `{name}` twice"));
                }
            }
        }

        let Some(sigmas) = &self.sigmas else { return Ok(()) };
        if sigmas.len() != points {
            return Err(format!("`sigmas` has {} numbers for {points} names", sigmas.len()));
        }
        match sigmas.iter().find(|sigma| !(sigma.is_finite() && **sigma > 0.0)) {
            Some(sigma) => Err(format!("`sigmas` has {sigma}, expected numbers above 0")),
            None => Ok(()),
        }
    }

    /// Links and sides as point numbers, from a checked definition.
    pub(super) fn resolve(&self) -> (Vec<(u16, u16)>, Vec<Side>) {
        let indices: HashMap<_, _> = self.names.iter().zip(0u16..).collect();
        let links = self.links.iter().map(|[from, to]| (indices[from], indices[to])).collect();
        let mut sides = vec![Side::Centre; self.names.len()];
        for (names, side) in [(&self.left, Side::Left), (&self.right, Side::Right)] {
            for name in names {
                sides[usize::from(indices[name])] = side;
            }
        }
        (links, sides)
    }

    /// The skeleton of a checked definition, in memory that is never freed.
    fn keep(self) -> &'static Skeleton {
        let points = self.names.len();
        let (links, sides) = self.resolve();
        let names: Vec<&'static str> = self.names.into_iter().map(|name| &*name.leak()).collect();
        Box::leak(Box::new(Skeleton {
            name: custom_name(points).leak(),
            points,
            links: links.leak(),
            names: names.leak(),
            sides: sides.leak(),
            sigmas: self.sigmas.map(|sigmas| &*sigmas.leak()),
            fine: points..points,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Loads a text through a file.
    fn load_text(test: &str, text: impl AsRef<[u8]>) -> Result<&'static Skeleton, String> {
        let path = std::env::temp_dir().join(format!("rtmpose-skeleton-{test}-{}.toml", std::process::id()));
        std::fs::write(&path, text).unwrap();
        let result = load(&path);
        std::fs::remove_file(&path).unwrap();
        result
    }

    const GOOD: &str = r#"
        names = ["base", "arm_l", "arm_r"]
        links = [["base", "arm_l"], ["arm_r", "base"]]
        left = ["arm_l"]
        right = ["arm_r"]
        sigmas = [0.05, 0.1, 1]
    "#;

    #[test]
    fn a_file_becomes_a_skeleton() {
        let skeleton = load_text("good", GOOD).unwrap();
        assert_eq!((skeleton.name, skeleton.points), ("custom-3", 3));
        assert_eq!(skeleton.point_names(), ["base", "arm_l", "arm_r"]);
        assert_eq!(skeleton.links, [(0, 1), (2, 0)]);
        assert_eq!([0, 1, 2].map(|point| skeleton.side(point)), [Side::Centre, Side::Left, Side::Right]);
        assert_eq!(skeleton.sigmas(), Some(&[0.05, 0.1, 1.0][..]));
        assert!((0..4).all(|point| !skeleton.is_fine(point)));

        let bare = load_text("bare", r#"names = ["only"]"#).unwrap();
        assert_eq!((bare.name, bare.links.len(), bare.sigmas()), ("custom-1", 0, None));
    }

    #[test]
    fn the_example_is_coco_17_written_down() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/models/skeletons/example.toml");
        let (example, coco) = (Skeleton::find(path).unwrap(), Skeleton::by_name("coco-17").unwrap());
        assert_eq!(example.name, "custom-17");
        assert_eq!(*example, Skeleton { name: example.name, fine: example.fine.clone(), ..coco.clone() });
    }

    #[test]
    fn a_definition_is_kept_once() {
        let first = load_text("first", GOOD).unwrap();
        assert!(std::ptr::eq(first, load_text("again", format!("# a comment\n{GOOD}")).unwrap()));
        assert!(!std::ptr::eq(first, load_text("other", GOOD.replace("arm_l", "arm_x")).unwrap()));
    }

    #[test]
    fn what_is_wrong_is_named() {
        let swap = |old: &str, new: &str| GOOD.replace(old, new);
        let cases = [
            (String::new(), "line 1: missing field `names`"),
            (swap("left", "lefft"), "line 4: unknown field `lefft`"),
            ("names = [\"a\", 3]".to_string(), "line 1: invalid type: integer `3`, expected a string"),
            ("names = [\"a\"\nlinks = 1".to_string(), "line 2: "),
            ("names = []".to_string(), "`names` has 0 names, expected 1 to 4096"),
            (swap("\"arm_r\"]\n        links", "\"base\"]\n        links"), "`names` has `base` twice"),
            (
                swap("[\"arm_r\", \"base\"]", "[\"leg\", \"base\"]"),
                "`links` names `leg`, which is not in `names`",
            ),
            (swap("[\"arm_r\", \"base\"]", "[\"base\", \"base\"]"), "`links` joins `base` to itself"),
            (
                swap("[\"arm_r\", \"base\"]", "[\"arm_l\", \"base\"]"),
                "`links` joins `arm_l` and `base` twice",
            ),
            (swap("[\"arm_r\", \"base\"]", "[\"base\"]"), "line 3: "),
            (swap("left = [\"arm_l\"]", "left = [\"leg\"]"), "`left` names `leg`, which is not in `names`"),
            (swap("right = [\"arm_r\"]", "right = [\"arm_l\"]"), "`left` and `right` have `arm_l` twice"),
            (swap("0.1, 1]", "0.1]"), "`sigmas` has 2 numbers for 3 names"),
            (swap("0.1, 1]", "0.1, 0]"), "`sigmas` has 0, expected numbers above 0"),
            (swap("0.1, 1]", "0.1, nan]"), "`sigmas` has NaN"),
        ];
        for (text, words) in cases {
            let error = load_text("wrong", &text).unwrap_err();
            assert!(error.starts_with("is not a skeleton: ") && error.contains(words), "{words}: {error}");
            assert!(!error.contains('\n'), "{error}");
        }
        let error = load_text("bytes", [0xff, 0xfe]).unwrap_err();
        assert_eq!(error, "is not a skeleton: it is not UTF-8 text");
        let error = load_text("large", " ".repeat(2 << 20)).unwrap_err();
        assert_eq!(error, "cannot be read: it has more than 1048576 bytes");
        let missing = load(Path::new("/nowhere/skeleton.toml")).unwrap_err();
        assert_eq!(missing, "cannot be read: No such file or directory");
        let folder = load(&std::env::temp_dir()).unwrap_err();
        assert_eq!(folder, "cannot be read: it is a folder");
    }
}
