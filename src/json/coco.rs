//! People as the list of results that COCO's evaluation reads (`COCO.loadRes` of pycocotools):
//! <https://cocodataset.org/#format-results>.

use std::ops::Range;

use serde::Serialize;

use super::whole_body::{BODY, FACE, FEET, LEFT_HAND, RIGHT_HAND};
use crate::{
    meta::FramePeople,
    pose::{KeyPoint, Skeleton},
};

/// COCO's number of the category `person`.
const PERSON: u32 = 1;

/// The end of the list.
pub const END: &[u8] = b"\n]\n";

#[derive(Serialize)]
struct Entry {
    image_id: u64,
    category_id: u32,
    keypoints: Vec<f32>,
    score: f32,
    #[serde(skip_serializing_if = "Option::is_none")]
    track_id: Option<i64>,
    /// The other points of a whole body, under the names of COCO-WholeBody's evaluation.
    #[serde(flatten)]
    whole_body: Option<WholeBody>,
}

#[derive(Serialize)]
struct WholeBody {
    foot_kpts: Vec<f32>,
    face_kpts: Vec<f32>,
    lefthand_kpts: Vec<f32>,
    righthand_kpts: Vec<f32>,
}

/// The people of frame `number`, with positions in its pixels, separated by commas; empty if there are none.
pub fn entries(
    number: u64,
    found: &[FramePeople],
    asked: Option<&'static Skeleton>,
) -> Result<Vec<u8>, serde_json::Error> {
    let mut text = Vec::new();
    for people in found {
        let skeleton = people.skeleton_or(asked).map(|skeleton| skeleton.name);
        for person in &people.people {
            let points = |range: Range<usize>| flat(&person.key_points[range]);
            let whole = skeleton == Some("coco-wholebody-133");
            let begins_with_the_body = whole || skeleton == Some("halpe-26");
            let entry = Entry {
                image_id: number,
                category_id: PERSON,
                keypoints: if begins_with_the_body { points(BODY) } else { flat(&person.key_points) },
                score: finite(person.score()),
                track_id: person.id,
                whole_body: whole.then(|| WholeBody {
                    foot_kpts: points(FEET),
                    face_kpts: points(FACE),
                    lefthand_kpts: points(LEFT_HAND),
                    righthand_kpts: points(RIGHT_HAND),
                }),
            };
            if !text.is_empty() {
                text.extend_from_slice(b",\n");
            }
            serde_json::to_writer(&mut text, &entry)?;
        }
    }
    Ok(text)
}

/// x, y and score of each point. The evaluation only reads numbers, so a point without numbers is at 0, 0 with score 0.
fn flat(points: &[KeyPoint]) -> Vec<f32> {
    let numbers = |point: &KeyPoint| {
        let all = [point.x, point.y, point.score];
        if all.iter().all(|number| number.is_finite()) { all } else { [0.0; 3] }
    };
    points.iter().flat_map(numbers).collect()
}

fn finite(number: f32) -> f32 {
    if number.is_finite() { number } else { 0.0 }
}

/// The list as it grows.
#[derive(Default)]
pub struct List {
    begun: bool,
    filled: bool,
}

impl List {
    /// The text to append for these entries.
    pub fn add(&mut self, entries: &[u8]) -> Vec<u8> {
        let mut text = Vec::new();
        if !std::mem::replace(&mut self.begun, true) {
            text.push(b'[');
        }
        if !entries.is_empty() {
            text.extend_from_slice(if std::mem::replace(&mut self.filled, true) { b",\n" } else { b"\n" });
            text.extend_from_slice(entries);
        }
        text
    }

    /// The end of the list; entries added later begin another list.
    pub fn end(&mut self) -> Vec<u8> {
        let mut text = self.add(b"");
        text.extend_from_slice(END);
        *self = Self::default();
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_whole_at_its_end() {
        let texts: [&[&str]; 4] = [&[], &["", ""], &["1", "", "2,\n3"], &["", "1"]];
        let mut list = List::default();
        for entries in texts {
            let mut text: Vec<u8> = entries.iter().flat_map(|entry| list.add(entry.as_bytes())).collect();
            text.extend(list.end());
            let read: Vec<u32> = serde_json::from_slice(&text).unwrap();
            let numbers = entries.iter().flat_map(|entry| entry.split(",\n")).filter_map(|n| n.parse().ok());
            assert_eq!(read, numbers.collect::<Vec<u32>>());
        }
    }
}
