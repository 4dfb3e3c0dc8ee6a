//! Skeletons: which key points a model has, which of them are linked, and which belong to the person's left and right. Those
//! of the published models are built in; others come from a file.
//!
//! The data comes from mmpose's data set descriptions (`configs/_base_/datasets/*.py`, named at each table): order and names
//! of the points, links, mirrored pairs and sigmas.

mod file;
// Tables of numbers are easier to read as wide lines.
#[rustfmt::skip]
mod tables;

use std::{ops::Range, path::Path};

use tables::{AP10K_17, COCO_17, COCO_WHOLEBODY_133, FACE_106, HALPE_26, HAND_21};

/// The side of a key point: the person's own left and right, not the image's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    Left,
    Right,
    /// On the middle line, or on no known side.
    Centre,
}

/// The key points of one kind of model.
#[derive(Clone, Debug, PartialEq)]
pub struct Skeleton {
    /// Name in the metadata. A built-in skeleton has the same name in the property `skeleton`; one from a file is
    /// `custom-K`.
    pub name: &'static str,
    /// Number of key points, K.
    pub points: usize,
    /// Pairs of linked points; both below `points`.
    pub links: &'static [(u16, u16)],
    names: &'static [&'static str],
    sides: &'static [Side],
    sigmas: Option<&'static [f32]>,
    /// Points that are close together (face and hands of a whole body).
    fine: Range<usize>,
}

impl Skeleton {
    /// The skeleton of that name: `coco-17`, `halpe-26`, `coco-wholebody-133`, `hand-21`, `face-106` or `ap10k-17`.
    pub fn by_name(name: &str) -> Option<&'static Skeleton> {
        SKELETONS.iter().copied().find(|skeleton| skeleton.name == name)
    }

    /// The skeleton with that name: a built-in one, or a TOML file if the text has a `/` or ends in `.toml`. An error begins
    /// with the text and ends with a remedy; it is part of a sentence.
    pub fn find(text: &str) -> Result<&'static Skeleton, String> {
        if text.contains('/') || text.ends_with(".toml") {
            return file::load(Path::new(text)).map_err(|error| {
                format!("{text}, which {error}: set it to a file such as models/skeletons/example.toml")
            });
        }
        Self::by_name(text).ok_or_else(|| {
            let names: Vec<_> = SKELETONS.iter().map(|skeleton| skeleton.name).collect();
            format!(
                "{text}, which is neither one of {} nor a TOML file: set it to one of them",
                names.join(", ")
            )
        })
    }

    /// The most likely skeleton of a model with `points` key points. 17 points are a person (`coco-17`); the animals of
    /// `ap10k-17` must be requested by name.
    pub fn for_points(points: usize) -> Option<&'static Skeleton> {
        SKELETONS.iter().copied().find(|skeleton| skeleton.points == points)
    }

    /// All built-in skeletons, with `coco-17` before `ap10k-17`.
    pub fn all() -> &'static [&'static Skeleton] {
        SKELETONS
    }

    /// Names of the points in their order, as published.
    pub fn point_names(&self) -> &'static [&'static str] {
        self.names
    }

    /// Side of the point; [`Side::Centre`] for an index that the skeleton does not have.
    pub fn side(&self, point: usize) -> Side {
        self.sides.get(point).copied().unwrap_or(Side::Centre)
    }

    /// How far labels of each point scatter, as a share of the person's size: the constants of COCO's object key point
    /// similarity (its k is twice sigma). None if none are published.
    pub fn sigmas(&self) -> Option<&'static [f32]> {
        self.sigmas
    }

    /// Whether the point has close neighbours, as on a face or on the hands of a whole body, and should be drawn small.
    pub fn is_fine(&self, point: usize) -> bool {
        self.fine.contains(&point)
    }
}

/// Checks whether a TOML text is a skeleton. The error completes a sentence that begins with the file's name. Unlike
/// [`Skeleton::find`], it keeps nothing.
pub fn check(text: &str) -> Result<(), String> {
    file::parse(text).map(|definition| drop(definition.resolve()))
}

/// Name in the metadata for `points` key points without a built-in skeleton: `custom-K`.
pub fn custom_name(points: usize) -> String {
    format!("custom-{points}")
}

/// For 17 points the first one wins: people before animals.
static SKELETONS: &[&Skeleton] = &[&COCO_17, &HALPE_26, &COCO_WHOLEBODY_133, &HAND_21, &FACE_106, &AP10K_17];

/// Sides of `K` points from the pairs (left, right); a point in no pair is in the centre.
const fn sides<const K: usize>(pairs: &[(u16, u16)]) -> [Side; K] {
    let mut sides = [Side::Centre; K];
    let mut i = 0;
    while i < pairs.len() {
        sides[pairs[i].0 as usize] = Side::Left;
        sides[pairs[i].1 as usize] = Side::Right;
        i += 1;
    }
    sides
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn names_and_numbers_find_the_skeletons() {
        for (name, points) in [
            ("coco-17", 17),
            ("halpe-26", 26),
            ("coco-wholebody-133", 133),
            ("hand-21", 21),
            ("face-106", 106),
            ("ap10k-17", 17),
        ] {
            let skeleton = Skeleton::by_name(name).unwrap();
            assert_eq!((skeleton.name, skeleton.points), (name, points));
        }
        assert_eq!(Skeleton::all().len(), 6);
        assert_eq!(Skeleton::for_points(17).unwrap().name, "coco-17");
        assert_eq!(Skeleton::for_points(133).unwrap().name, "coco-wholebody-133");
        assert!(Skeleton::for_points(5).is_none());
        assert!(Skeleton::by_name("custom-5").is_none());
        assert!(std::ptr::eq(Skeleton::find("hand-21").unwrap(), Skeleton::by_name("hand-21").unwrap()));
        let names = "coco-17, halpe-26, coco-wholebody-133, hand-21, face-106, ap10k-17";
        let unknown = Skeleton::find("custom-5").unwrap_err();
        assert_eq!(
            unknown,
            format!("custom-5, which is neither one of {names} nor a TOML file: set it to one of them")
        );
        for file in ["nowhere.toml", "./nowhere", "/nowhere/skeleton.txt"] {
            let missing = Skeleton::find(file).unwrap_err();
            let words =
                format!("{file}, which cannot be read: No such file or directory: set it to a file such as");
            assert!(missing.starts_with(&words), "{missing}");
        }
        assert_eq!(custom_name(5), "custom-5");
    }

    #[test]
    fn tables_have_one_entry_a_point() {
        for skeleton in Skeleton::all() {
            assert_eq!(skeleton.point_names().len(), skeleton.points, "{}", skeleton.name);
            assert_eq!(skeleton.sides.len(), skeleton.points, "{}", skeleton.name);
            if let Some(sigmas) = skeleton.sigmas() {
                assert_eq!(sigmas.len(), skeleton.points, "{}", skeleton.name);
                assert!(sigmas.iter().all(|sigma| (0.005..0.2).contains(sigma)), "{}", skeleton.name);
                // A point and its mirror image are equally hard to place, except on an outline drawn by hand.
                let mirrored = skeleton.points != 133;
                let sum = |side| -> f32 {
                    (0..skeleton.points).filter(|&i| skeleton.side(i) == side).map(|i| sigmas[i]).sum()
                };
                assert!(!mirrored || (sum(Side::Left) - sum(Side::Right)).abs() < 1e-6, "{}", skeleton.name);
            }
            let names: HashSet<_> = skeleton.point_names().iter().collect();
            assert_eq!(names.len(), skeleton.points, "{}: a name occurs twice", skeleton.name);
            assert_eq!(skeleton.side(skeleton.points), Side::Centre);
        }
    }

    /// `docs/metadata.md` has number and name of every point; of numbered points only the first and the last.
    #[test]
    fn the_documents_give_the_points_of_every_skeleton() {
        let page = include_str!("../../docs/metadata.md");
        for skeleton in Skeleton::all() {
            let counted = |point: usize| {
                let name = *skeleton.names.get(point)?;
                let word = name.trim_end_matches(|letter: char| letter.is_ascii_digit());
                Some((word, name[word.len()..].parse::<usize>().ok()?))
            };
            let goes_on = |point: usize| {
                counted(point).is_some_and(|(word, number)| counted(point + 1) == Some((word, number + 1)))
            };
            let coco = &COCO_17;
            let (mut parts, mut point) = (Vec::new(), 0);
            if skeleton.name != coco.name && skeleton.names.starts_with(coco.names) {
                parts.push(format!("0 to {} as {}", coco.points - 1, coco.name));
                point = coco.points;
            }
            while point < skeleton.points {
                let last = (point..).find(|point| !goes_on(*point)).unwrap();
                let named = |point: usize| format!("{point} {}", skeleton.names[point]);
                let part =
                    if last == point { named(point) } else { format!("{} to {}", named(point), named(last)) };
                parts.push(part);
                point = last + 1;
            }
            let row = format!("| {} | {} |\n", skeleton.name, parts.join(", "));
            assert!(page.contains(&row), "docs/metadata.md lacks the row\n{row}");
        }
    }

    #[test]
    fn links_join_two_points_once() {
        for skeleton in Skeleton::all() {
            let mut seen = HashSet::new();
            for &(a, b) in skeleton.links {
                assert!(
                    (a as usize) < skeleton.points && (b as usize) < skeleton.points,
                    "{}",
                    skeleton.name
                );
                assert_ne!(a, b, "{}", skeleton.name);
                assert!(seen.insert((a.min(b), a.max(b))), "{}: {a} to {b} occurs twice", skeleton.name);
            }
        }
        assert!(Skeleton::by_name("face-106").unwrap().links.is_empty());
    }

    #[test]
    fn every_left_has_its_right() {
        for skeleton in Skeleton::all() {
            let count = |side| (0..skeleton.points).filter(|&i| skeleton.side(i) == side).count();
            assert_eq!(count(Side::Left), count(Side::Right), "{}", skeleton.name);
            for (index, name) in skeleton.point_names().iter().enumerate() {
                let (side, twin) = if let Some(rest) = name.strip_prefix("left_") {
                    (Side::Left, format!("right_{rest}"))
                } else if let Some(rest) = name.strip_prefix("right_") {
                    (Side::Right, format!("left_{rest}"))
                } else if let Some(rest) = name.strip_prefix("L_") {
                    (Side::Left, format!("R_{rest}"))
                } else if let Some(rest) = name.strip_prefix("R_") {
                    (Side::Right, format!("L_{rest}"))
                } else {
                    continue;
                };
                assert_eq!(skeleton.side(index), side, "{}: {name}", skeleton.name);
                assert!(skeleton.point_names().contains(&twin.as_str()), "{}: {name}", skeleton.name);
            }
        }
    }

    #[test]
    fn faces_begin_at_the_persons_right() {
        let whole = Skeleton::by_name("coco-wholebody-133").unwrap();
        let face = |point: usize| whole.side(23 + point);
        // Outline, brows and eyes, then the corners of the mouth and its lower lip, which runs back from the left.
        assert_eq!([face(0), face(17), face(36), face(48), face(59)], [Side::Right; 5]);
        assert_eq!([face(16), face(26), face(45), face(54), face(55)], [Side::Left; 5]);
        assert_eq!([face(8), face(30), face(51), face(57)], [Side::Centre; 4]);

        let face = Skeleton::by_name("face-106").unwrap();
        assert_eq!([0, 33, 66, 84, 95, 104].map(|point| face.side(point)), [Side::Right; 6]);
        assert_eq!([32, 46, 79, 90, 91, 105].map(|point| face.side(point)), [Side::Left; 6]);
        assert_eq!([16, 51, 60, 87, 93, 98, 102].map(|point| face.side(point)), [Side::Centre; 7]);
        // mmpose also trains the 106 points with the 68, by this table (`kpt_68_to_106` in its config
        // `rtmpose-m_8xb256-120e_face6-256x256.py`; points made from two are left out).
        let outline = (0..17).map(|point| (point, 2 * point));
        let brows = (17..22).zip(33..).chain((22..27).zip(42..));
        let nose = (27..31).zip(51..).chain((31..36).zip(58..));
        let eyes = [(36, 66), (39, 70), (42, 75), (45, 79)].into_iter();
        let mouth = (48..68).zip(84..);
        for (of_68, of_106) in outline.chain(brows).chain(nose).chain(eyes).chain(mouth) {
            assert_eq!(whole.side(23 + of_68), face.side(of_106), "{of_68} is {of_106}");
        }
    }
}
