//! One frame's people as one line of JSON, described for other programs by `docs/rtmposejson.schema.json`.

use serde::Serialize;

use super::frame::Frame;
use crate::meta::FramePeople;
use crate::pose::{Person, Skeleton};

/// Increases by one if a field changes its meaning; new fields do not increase it.
const VERSION: u32 = 1;

/// The line, with its end. `sources` are the elements that infer the stream, and `found` is what each found in this frame,
/// with positions in its pixels. `asked` is the skeleton for the names of key points, if it has as many points; otherwise
/// the metadata's skeleton.
///
/// A number that is not finite becomes `null`, so that the line is JSON, whatever the model returns.
pub fn line(
    frame: &Frame,
    sources: &[String],
    found: &[FramePeople],
    asked: Option<&'static Skeleton>,
) -> Result<Vec<u8>, serde_json::Error> {
    let line = Line {
        version: VERSION,
        frame: frame.number,
        pts: frame.pts,
        running_time: frame.running_time,
        utc: frame.utc.as_deref(),
        width: frame.width,
        height: frame.height,
        status: Status::of(found),
        sources,
        people: found.iter().flat_map(|people| people_of(people, asked)).collect(),
    };
    let mut bytes = serde_json::to_vec(&line)?;
    bytes.push(b'\n');
    Ok(bytes)
}

#[derive(Serialize)]
struct Line<'a> {
    version: u32,
    frame: u64,
    pts: Option<u64>,
    running_time: Option<u64>,
    utc: Option<&'a str>,
    width: u32,
    height: u32,
    status: Status,
    sources: &'a [String],
    people: Vec<JsonPerson<'a>>,
}

/// An empty list means 'no people' only if the frame was inferred.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
enum Status {
    /// Inferred by at least one element.
    Inferred,
    /// Only people of earlier frames.
    Carried,
    NotInferred,
}

impl Status {
    fn of(found: &[FramePeople]) -> Self {
        match found {
            [] => Self::NotInferred,
            _ if found.iter().all(|people| people.carried) => Self::Carried,
            _ => Self::Inferred,
        }
    }
}

#[derive(Serialize)]
struct JsonPerson<'a> {
    source: &'a str,
    skeleton: &'a str,
    id: Option<i64>,
    score: f32,
    #[serde(rename = "box")]
    region: JsonBox,
    keypoints: Vec<JsonPoint>,
}

#[derive(Serialize)]
struct JsonBox {
    x: f32,
    y: f32,
    width: f32,
    height: f32,
}

#[derive(Serialize)]
struct JsonPoint {
    name: Option<&'static str>,
    x: f32,
    y: f32,
    score: f32,
    /// With models that return it.
    #[serde(skip_serializing_if = "Option::is_none")]
    z: Option<f32>,
}

fn people_of<'a>(
    found: &'a FramePeople,
    asked: Option<&'static Skeleton>,
) -> impl Iterator<Item = JsonPerson<'a>> {
    let skeleton = found.skeleton_or(asked);
    let names = skeleton.map_or(&[][..], Skeleton::point_names);
    found.people.iter().map(move |person: &Person| JsonPerson {
        source: &found.source,
        skeleton: &found.skeleton,
        id: person.id,
        score: person.score(),
        region: JsonBox {
            x: person.region.x,
            y: person.region.y,
            width: person.region.width,
            height: person.region.height,
        },
        keypoints: (0..)
            .zip(&person.key_points)
            .map(|(index, point)| JsonPoint {
                name: names.get::<usize>(index).copied(),
                x: point.x,
                y: point.y,
                score: point.score,
                z: point.z,
            })
            .collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pose::{KeyPoint, Region};

    const FRAME: Frame =
        Frame { number: 3, pts: Some(40), running_time: None, utc: None, width: 200, height: 100 };

    fn people(skeleton: &str, scores: &[f32], id: Option<i64>) -> FramePeople {
        let key_points =
            scores.iter().map(|&score| KeyPoint { x: 10.5, y: 20.25, score, z: None }).collect::<Vec<_>>();
        FramePeople {
            source: "pose".to_string(),
            width: 200,
            height: 100,
            skeleton: skeleton.to_string(),
            points: scores.len(),
            people: vec![Person { region: Region::new(1.0, 2.0, 3.0, 4.0), key_points, id }],
            carried: false,
        }
    }

    fn text(found: Vec<FramePeople>) -> String {
        String::from_utf8(line(&FRAME, &["pose".to_string()], &found, None).unwrap()).unwrap()
    }

    #[test]
    fn a_person_is_written_with_all_that_is_known() {
        assert_eq!(
            text(vec![people("custom-2", &[0.5, 1.25], Some(7))]),
            concat!(
                r#"{"version":1,"frame":3,"pts":40,"running_time":null,"utc":null,"width":200,"height":100,"status":"inferred","#,
                r#""sources":["pose"],"people":[{"source":"pose","skeleton":"custom-2","id":7,"score":0.875,"#,
                r#""box":{"x":1.0,"y":2.0,"width":3.0,"height":4.0},"keypoints":["#,
                r#"{"name":null,"x":10.5,"y":20.25,"score":0.5},{"name":null,"x":10.5,"y":20.25,"score":1.25}]}]}"#,
                "\n"
            )
        );
    }

    #[test]
    fn a_depth_is_told_where_there_is_one() {
        let mut found = people("custom-2", &[0.5, 0.5], None);
        found.people[0].key_points[1].z = Some(-0.25);
        let line: serde_json::Value = serde_json::from_str(&text(vec![found])).unwrap();
        let points = &line["people"][0]["keypoints"];
        assert_eq!((points[0].get("z"), &points[1]["z"]), (None, &serde_json::json!(-0.25)));
    }

    #[test]
    fn numbers_that_are_not_finite_are_null() {
        let mut found = people("custom-3", &[f32::NAN, f32::INFINITY, f32::NEG_INFINITY], None);
        found.people[0].key_points[0].x = f32::NAN;
        found.people[0].region.width = f32::INFINITY;
        let line: serde_json::Value = serde_json::from_str(&text(vec![found])).unwrap();
        let person = &line["people"][0];
        assert!(person["id"].is_null() && person["score"].is_null() && person["box"]["width"].is_null());
        assert!(person["keypoints"][0]["x"].is_null());
        assert_eq!(person["keypoints"][0]["y"], 20.25);
        assert_eq!(person["keypoints"].as_array().unwrap().len(), 3, "no point is left out");
        assert!((0..3).all(|point| person["keypoints"][point]["score"].is_null()));
    }

    #[test]
    fn points_have_the_names_of_their_skeleton() {
        let names = |skeleton: &str| {
            let line: serde_json::Value =
                serde_json::from_str(&text(vec![people(skeleton, &[1.0; 17], None)])).unwrap();
            let points = line["people"][0]["keypoints"].as_array().unwrap().clone();
            [0, 16].map(|point: usize| points[point]["name"].as_str().map(str::to_string))
        };
        assert_eq!(names("coco-17"), [Some("nose".to_string()), Some("right_ankle".to_string())]);
        // A known name with another number of points.
        assert_eq!(names("halpe-26"), [None, None]);

        let asked = |points: usize| {
            let animal = Skeleton::by_name("ap10k-17");
            let people = people("coco-17", &vec![1.0; points], None);
            let line: serde_json::Value =
                serde_json::from_slice(&line(&FRAME, &[], &[people], animal).unwrap()).unwrap();
            line["people"][0]["keypoints"][0]["name"].clone()
        };
        assert_eq!(asked(17), "L_Eye", "the skeleton that is asked for comes first");
        assert_eq!(asked(16), serde_json::Value::Null, "only where it has as many points");
    }

    #[test]
    fn the_status_tells_nobody_from_not_looked_at() {
        let nobody = FramePeople { people: Vec::new(), ..people("coco-17", &[], None) };
        let carried = FramePeople { carried: true, ..nobody.clone() };
        let status = |found| {
            let line: serde_json::Value = serde_json::from_str(&text(found)).unwrap();
            assert_eq!(line["people"], serde_json::json!([]));
            line["status"].as_str().unwrap().to_string()
        };
        assert_eq!(status(vec![]), "not-inferred");
        assert_eq!(status(vec![nobody.clone()]), "inferred");
        assert_eq!(status(vec![carried.clone()]), "carried");
        assert_eq!(status(vec![carried, nobody]), "inferred");
    }
}
