//! A frame's people as OpenPose writes them with `--write_json`:
//! <https://github.com/CMU-Perceptual-Computing-Lab/openpose/blob/master/doc/02_output.md>.

use std::ops::Range;

use serde::Serialize;

use super::whole_body::{FACE, LEFT_HAND, RIGHT_HAND};
use crate::{
    meta::FramePeople,
    pose::{KeyPoint, Skeleton},
};

/// The version of OpenPose's format.
const VERSION: f32 = 1.3;

#[derive(Serialize)]
struct Text {
    version: f32,
    people: Vec<JsonPerson>,
}

#[derive(Default, Serialize)]
struct JsonPerson {
    person_id: [i64; 1],
    pose_keypoints_2d: Vec<f32>,
    face_keypoints_2d: Vec<f32>,
    hand_left_keypoints_2d: Vec<f32>,
    hand_right_keypoints_2d: Vec<f32>,
    pose_keypoints_3d: [f32; 0],
    face_keypoints_3d: [f32; 0],
    hand_left_keypoints_3d: [f32; 0],
    hand_right_keypoints_3d: [f32; 0],
}

/// Where a point of OpenPose's comes from.
enum From {
    Point(usize),
    /// Half-way between two points, with the lower of their scores: OpenPose's own neck and middle of the hips are that.
    Between(usize, usize),
}
use From::{Between, Point};

/// BODY_25 from halpe-26, which has all of its points, and also the top of the head.
const BODY_25_OF_HALPE: [From; 25] = body_25(Point(18), Point(19), [20, 22, 24, 21, 23, 25]);
/// BODY_25 from coco-wholebody-133.
const BODY_25_OF_WHOLE_BODY: [From; 25] = body_25(Between(5, 6), Between(11, 12), [17, 18, 19, 20, 21, 22]);

/// Nose, neck; right, then left shoulder, elbow, wrist; middle of the hips; right, then left hip, knee, ankle; right and left
/// eye, right and left ear; left, then right big toe, small toe, heel. All three skeletons begin with COCO's 17 points.
const fn body_25(neck: From, hips: From, [a, b, c, d, e, f]: [usize; 6]) -> [From; 25] {
    [
        Point(0),
        neck,
        Point(6),
        Point(8),
        Point(10),
        Point(5),
        Point(7),
        Point(9),
        hips,
        Point(12),
        Point(14),
        Point(16),
        Point(11),
        Point(13),
        Point(15),
        Point(2),
        Point(1),
        Point(4),
        Point(3),
        Point(a),
        Point(b),
        Point(c),
        Point(d),
        Point(e),
        Point(f),
    ]
}

/// OpenPose's COCO model with 18 points: the same without the middle of the hips and the feet.
const COCO_OF_COCO: [From; 18] = [
    Point(0),
    Between(5, 6),
    Point(6),
    Point(8),
    Point(10),
    Point(5),
    Point(7),
    Point(9),
    Point(12),
    Point(14),
    Point(16),
    Point(11),
    Point(13),
    Point(15),
    Point(2),
    Point(1),
    Point(4),
    Point(3),
];

/// OpenPose's face ends with the pupils, which no skeleton here has.
const PUPILS: [f32; 6] = [0.0; 6];

/// The text of a frame, with its end. Positions are in pixels of the frame. People come in the order of their ids, then
/// those without an id.
pub fn text(found: &[FramePeople], asked: Option<&'static Skeleton>) -> Result<Vec<u8>, serde_json::Error> {
    let mut people: Vec<_> = found
        .iter()
        .flat_map(|found| {
            let name = found.skeleton_or(asked).map(|skeleton| skeleton.name);
            found.people.iter().map(move |person| {
                let person_id = [person.id.unwrap_or(-1)];
                JsonPerson { person_id, ..json_person(name, &person.key_points) }
            })
        })
        .collect();
    people.sort_by_key(|person| match person.person_id {
        [-1] => i64::MAX,
        [id] => id,
    });
    let mut text = serde_json::to_vec(&Text { version: VERSION, people })?;
    text.push(b'\n');
    Ok(text)
}

fn json_person(skeleton: Option<&str>, points: &[KeyPoint]) -> JsonPerson {
    let body = |from: &[From]| from.iter().flat_map(|from| numbers(from, points)).collect();
    let straight = |range: Range<usize>| range.flat_map(|point| numbers(&Point(point), points));
    match skeleton {
        Some("coco-17") => JsonPerson { pose_keypoints_2d: body(&COCO_OF_COCO), ..Default::default() },
        Some("halpe-26") => JsonPerson { pose_keypoints_2d: body(&BODY_25_OF_HALPE), ..Default::default() },
        Some("coco-wholebody-133") => JsonPerson {
            pose_keypoints_2d: body(&BODY_25_OF_WHOLE_BODY),
            face_keypoints_2d: straight(FACE).chain(PUPILS).collect(),
            hand_left_keypoints_2d: straight(LEFT_HAND).collect(),
            hand_right_keypoints_2d: straight(RIGHT_HAND).collect(),
            ..Default::default()
        },
        // OpenPose has no such skeleton: its readers must know the order.
        _ => JsonPerson { pose_keypoints_2d: straight(0..points.len()).collect(), ..Default::default() },
    }
}

/// x, y and the confidence from 0 to 1; three zeros for a missing point, as in OpenPose.
fn numbers(from: &From, points: &[KeyPoint]) -> [f32; 3] {
    let point = |index: usize| {
        let KeyPoint { x, y, score, .. } = points[index];
        let there = x.is_finite() && y.is_finite() && score > 0.0;
        there.then_some([x, y, score.min(1.0)])
    };
    let found = match *from {
        Point(index) => point(index),
        Between(a, b) => point(a)
            .zip(point(b))
            .map(|([ax, ay, a], [bx, by, b])| [(ax + bx) / 2.0, (ay + by) / 2.0, a.min(b)]),
    };
    found.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pose::{Person, Region};

    /// A person whose point `index` is at (10 + index, 200 + index).
    fn someone(skeleton: &str, id: Option<i64>) -> FramePeople {
        let points = Skeleton::by_name(skeleton).map_or(5, |skeleton| skeleton.points);
        let key_points = (0..points).map(|index| KeyPoint {
            x: 10.0 + index as f32,
            y: 200.0 + index as f32,
            score: 0.5,
            z: None,
        });
        let person = Person { region: Region::default(), key_points: key_points.collect(), id };
        FramePeople {
            source: String::new(),
            width: 1,
            height: 1,
            skeleton: skeleton.to_string(),
            points,
            people: vec![person],
            carried: false,
        }
    }

    fn read(found: &[FramePeople]) -> serde_json::Value {
        serde_json::from_slice(&text(found, None).unwrap()).unwrap()
    }

    /// OpenPose's names, in its order: `POSE_BODY_25_BODY_PARTS` and `POSE_COCO_BODY_PARTS` of its `poseParameters.cpp`.
    const BODY_25: &str = "Nose Neck RShoulder RElbow RWrist LShoulder LElbow LWrist MidHip RHip RKnee RAnkle LHip LKnee LAnkle \
                           REye LEye REar LEar LBigToe LSmallToe LHeel RBigToe RSmallToe RHeel";
    const COCO: &str = "Nose Neck RShoulder RElbow RWrist LShoulder LElbow LWrist RHip RKnee RAnkle LHip LKnee LAnkle REye LEye \
                        REar LEar";

    #[test]
    fn points_are_where_openposes_readers_look_for_them() {
        for (skeleton, order) in [("halpe-26", BODY_25), ("coco-wholebody-133", BODY_25), ("coco-17", COCO)] {
            let names = Skeleton::by_name(skeleton).unwrap().point_names();
            let index = |name: &str| names.iter().position(|known| *known == name);
            let text = read(&[someone(skeleton, None)]);
            let points = text["people"][0]["pose_keypoints_2d"].as_array().unwrap();
            assert_eq!(points.len(), 3 * order.split_whitespace().count(), "{skeleton}");
            for (name, point) in order.split_whitespace().zip(points.chunks(3)) {
                let ours = match name.strip_prefix(['L', 'R']) {
                    _ if name == "MidHip" => "hip".to_string(),
                    Some(rest) => {
                        let side = if name.starts_with('L') { "left_" } else { "right_" };
                        let rest = rest.replace("Toe", "_toe").to_lowercase();
                        format!("{side}{rest}")
                    }
                    None => name.to_lowercase(),
                };
                let place = match (index(&ours), ours.as_str()) {
                    (Some(index), _) => index as f64,
                    (None, "neck") => 5.5,
                    (None, "hip") => 11.5,
                    (None, other) => panic!("{skeleton} has no {other}"),
                };
                let expected = serde_json::json!([10.0 + place, 200.0 + place, 0.5]);
                assert_eq!(serde_json::json!(point), expected, "{skeleton}: {name}");
            }
        }
    }

    #[test]
    fn faces_and_hands_have_arrays_of_their_own() {
        let text = read(&[someone("coco-wholebody-133", None)]);
        let array = |name: &str| text["people"][0][name].as_array().unwrap().clone();
        let [face, left, right] =
            ["face_keypoints_2d", "hand_left_keypoints_2d", "hand_right_keypoints_2d"].map(array);
        assert_eq!([face.len(), left.len(), right.len()], [3 * 70, 3 * 21, 3 * 21]);
        assert_eq!([&face[0], &left[0], &right[0]], [33.0, 101.0, 122.0]);
        assert!(face[3 * 68..].iter().all(|number| *number == 0.0), "nobody has pupils");
        let body = read(&[someone("halpe-26", None)]);
        assert_eq!(body["people"][0]["face_keypoints_2d"], serde_json::json!([]));
    }

    #[test]
    fn people_come_in_the_order_of_their_ids() {
        let found = [someone("coco-17", None), someone("halpe-26", Some(7)), someone("coco-17", Some(2))];
        let text = read(&found);
        let ids: Vec<_> =
            (0..3).map(|person| text["people"][person]["person_id"][0].as_i64().unwrap()).collect();
        assert_eq!(ids, [2, 7, -1]);
    }

    #[test]
    fn a_point_that_is_not_there_is_three_zeros() {
        let mut found = someone("coco-17", None);
        let points = &mut found.people[0].key_points;
        points[0].score = 0.0;
        points[5].x = f32::NAN;
        points[1].score = 1.5;
        let text = read(&[found]);
        let point = |index: usize| {
            let points = text["people"][0]["pose_keypoints_2d"].as_array().unwrap();
            [0, 1, 2].map(|number| points[3 * index + number].as_f64().unwrap())
        };
        assert_eq!(point(0), [0.0; 3]);
        assert_eq!(point(1), [0.0; 3], "the neck hangs on a shoulder that is missing");
        assert_eq!(point(14), [12.0, 202.0, 0.5]);
        assert_eq!(point(15), [11.0, 201.0, 1.0], "confidences end at 1");
    }

    #[test]
    fn points_of_other_skeletons_keep_their_order() {
        let text = read(&[someone("custom-5", None)]);
        let points = text["people"][0]["pose_keypoints_2d"].as_array().unwrap();
        assert_eq!((points.len(), &points[12]), (15, &serde_json::json!(14.0)));
    }
}
