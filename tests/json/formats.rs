//! The formats that other tools read: OpenPose's files, and COCO's list.

use std::os::unix::fs::PermissionsExt;

use gst::prelude::*;
use gst_check::Harness;
use gstrtmpose::meta::FramePeople;
use serde_json::{Value, json};

use crate::{
    CAPS, frame,
    network_rig::{init, messages, process::Folder},
    people, with_people,
};

fn harness_of(properties: &str) -> Harness {
    init();
    let mut harness = Harness::new_parse(&format!("rtmposejson {properties}"));
    harness.set_src_caps_str(CAPS);
    harness
}

fn text_of(buffer: &gst::BufferRef) -> String {
    String::from_utf8(buffer.map_readable().unwrap().to_vec()).unwrap()
}

fn media_type(harness: &Harness) -> String {
    harness.sinkpad().unwrap().current_caps().unwrap().to_string()
}

fn read(path: &std::path::Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display())))
        .unwrap()
}

#[test]
fn openposes_files_are_one_a_frame() {
    let folder = Folder::new("json-openpose");
    let pattern = folder.path().join("cam_%06d_keypoints.json");
    let properties = format!("format=openpose location={}", pattern.display());
    let mut harness = harness_of(&properties);
    let first = frame(0);
    harness.push(first).unwrap();
    harness.push(with_people(frame(1), &people())).unwrap();
    let texts: Vec<Value> =
        (0..2).map(|_| serde_json::from_str(&text_of(&harness.pull().unwrap())).unwrap()).collect();
    assert_eq!(media_type(&harness), "application/json");
    assert_eq!(
        texts[0],
        json!({"version": 1.3, "people": []}),
        "a frame that nobody looked at has its file, too"
    );
    assert_eq!(
        texts[1]["people"][0]["pose_keypoints_2d"],
        json!([10.0, 6.0, 0.75, -2.0, 31.5, 1.0]),
        "points of no known skeleton in their own order"
    );
    for (number, text) in texts.iter().enumerate() {
        let file = folder.path().join(format!("cam_00000{number}_keypoints.json"));
        assert_eq!(read(&file), *text);
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    }

    // A second run does not overwrite the files without `overwrite`.
    let mut again = harness_of(&properties);
    let bus = gst::Bus::new();
    again.element().unwrap().set_bus(Some(&bus));
    assert_eq!(again.push(with_people(frame(0), &people())), Err(gst::FlowError::Error));
    let errors = messages(&bus, gst::MessageType::Error);
    let [error] = &errors[..] else { panic!("{errors:?}") };
    assert!(error.contains("cam_000000_keypoints.json") && error.contains("overwrite=true"), "{error}");
    let mut asked = harness_of(&format!("{properties} overwrite=true"));
    asked.push(with_people(frame(0), &people())).unwrap();
    assert_eq!(read(&folder.path().join("cam_000000_keypoints.json")), texts[1]);
}

#[test]
fn openposes_files_need_a_pattern() {
    init();
    for location in ["people.json", "%s.json", "%d_%d.json"] {
        let element =
            gst::ElementFactory::make("rtmposejson").property("location", location).build().unwrap();
        element.set_property_from_str("format", "openpose");
        let bus = gst::Bus::new();
        element.set_bus(Some(&bus));
        assert!(element.set_state(gst::State::Paused).is_err());
        let errors = messages(&bus, gst::MessageType::Error);
        let [error] = &errors[..] else { panic!("{errors:?}") };
        assert!(error.contains(location) && error.contains("such as out/%012d_keypoints.json"), "{error}");
        element.set_state(gst::State::Null).unwrap();
    }
}

/// However and whenever the pipeline ends, the file is a complete list.
#[test]
fn cocos_list_is_whole_after_each_frame() {
    let folder = Folder::new("json-coco");
    let file = folder.path().join("results.json");
    let mut harness = harness_of(&format!("format=coco location={}", file.display()));
    assert_eq!(read(&file), json!([]), "also before the first frame");
    let nobody = FramePeople { people: Vec::new(), ..people() };
    let two =
        FramePeople { people: vec![people().people[0].clone(), people().people[0].clone()], ..people() };
    let mut images = Vec::new();
    for (number, found) in [&nobody, &people(), &nobody, &two].into_iter().enumerate() {
        harness.push(with_people(frame(number as u64), found)).unwrap();
        images.extend(std::iter::repeat_n(number as u64, found.people.len()));
        let list = read(&file);
        let found: Vec<_> =
            list.as_array().unwrap().iter().map(|entry| entry["image_id"].as_u64().unwrap()).collect();
        assert_eq!(found, images);
    }
    assert_eq!(
        read(&file)[0],
        json!({
            "image_id": 1, "category_id": 1, "score": 1.0, "track_id": 5,
            "keypoints": [10.0, 6.0, 0.75, -2.0, 31.5, 1.25],
        })
    );
    // The source pad's output is complete at the end of the stream.
    harness.push_event(gst::event::Eos::new());
    let text: String = std::iter::from_fn(|| harness.try_pull()).map(|buffer| text_of(&buffer)).collect();
    assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), read(&file));
    assert_eq!(media_type(&harness), "application/json");
}

#[test]
fn cocos_list_without_frames_is_empty() {
    let mut harness = harness_of("format=coco");
    harness.push_event(gst::event::Eos::new());
    assert_eq!(text_of(&harness.pull().unwrap()), "[\n]\n");
}
