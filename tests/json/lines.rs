//! The numbers of the lines, when each form of a line comes, and events.

use gst::prelude::*;
use gst_check::Harness;
use gst_video::VideoFormat;
use gstrtmpose::{
    meta::{self, FramePeople},
    pose::{KeyPoint, Person, Region},
};
use serde_json::{Value, json};

use crate::{
    CAPS, FRAME, frame, harness, line,
    network_rig::{picture::*, process::Folder, *},
    people, with_people,
};

#[test]
fn a_frame_becomes_a_line_with_its_times() {
    let mut harness = harness();
    harness.push(with_people(frame(3), &people())).unwrap();
    let buffer = harness.pull().unwrap();
    assert_eq!((buffer.pts(), buffer.duration()), (Some(3 * FRAME), Some(FRAME)));
    let mut found = line(&buffer);
    // Other tests check `utc`.
    found.as_object_mut().unwrap().remove("utc").unwrap();
    assert_eq!(
        found,
        json!({
            "version": 1, "frame": 0, "pts": 120_000_000, "running_time": 120_000_000, "width": 64, "height": 32,
            "status": "inferred", "sources": ["pose"],
            "people": [{
                "source": "pose", "skeleton": "custom-2", "id": 5, "score": 1.0,
                "box": {"x": 8.0, "y": 4.0, "width": 16.0, "height": 24.0},
                "keypoints": [
                    {"name": null, "x": 10.0, "y": 6.0, "score": 0.75},
                    {"name": null, "x": -2.0, "y": 31.5, "score": 1.25},
                ],
            }],
        })
    );
    let caps = harness.sinkpad().unwrap().current_caps().unwrap();
    assert_eq!(caps.to_string(), "application/x-json-lines");
}

#[test]
fn every_frame_has_a_line_and_positions_are_in_its_own_pixels() {
    let mut harness = harness();
    let nobody = FramePeople { people: Vec::new(), ..people() };
    let carried = FramePeople { carried: true, ..people() };
    let mut status = |buffer: gst::Buffer| {
        harness.push(buffer).unwrap();
        let line = line(&harness.pull().unwrap());
        (line["status"].as_str().unwrap().to_string(), line["people"].as_array().unwrap().len())
    };
    assert_eq!(status(frame(0)), ("not-inferred".to_string(), 0));
    assert_eq!(status(with_people(frame(1), &nobody)), ("inferred".to_string(), 0));
    assert_eq!(status(with_people(frame(2), &carried)), ("carried".to_string(), 1));
    // Two elements inferred the frame.
    assert_eq!(status(with_people(with_people(frame(3), &people()), &people())), ("inferred".to_string(), 2));

    // A caps change in mid-stream: frames are twice as wide from now on.
    harness.set_src_caps_str("video/x-raw,format=RGB,width=128,height=32,framerate=25/1");
    harness.push(with_people(frame(4), &people())).unwrap();
    let line = line(&harness.pull().unwrap());
    assert_eq!((&line["width"], &line["height"]), (&json!(128), &json!(32)));
    assert_eq!(line["people"][0]["keypoints"][0]["x"], json!(20.0));
    assert_eq!(line["people"][0]["box"], json!({"x": 16.0, "y": 4.0, "width": 32.0, "height": 24.0}));
}

/// Lines of many cameras in one file can be distinguished, with or without people.
#[test]
fn every_line_says_which_frame_it_is_and_who_looks() {
    let mut harness = harness();
    let mut next = |buffer: gst::Buffer| {
        harness.push(buffer).unwrap();
        let line = line(&harness.pull().unwrap());
        (line["frame"].as_u64().unwrap(), line["sources"].clone())
    };
    let nobody = FramePeople { people: Vec::new(), ..people() };
    let other = FramePeople { source: "hands".to_string(), ..nobody.clone() };
    assert_eq!(next(frame(7)), (0, json!([])), "nobody has looked yet");
    assert_eq!(next(with_people(frame(8), &nobody)), (1, json!(["pose"])));
    assert_eq!(next(frame(9)), (2, json!(["pose"])), "a frame between two looks");
    assert_eq!(next(with_people(with_people(frame(9), &nobody), &other)), (3, json!(["pose", "hands"])));
}

#[test]
fn malformed_metadata_is_left_out() {
    let mut harness = harness();
    let mut buffer = frame(0);
    gst::meta::CustomMeta::add(buffer.make_mut(), meta::NAME).unwrap();
    harness.push(buffer).unwrap();
    assert_eq!(line(&harness.pull().unwrap())["status"], "not-inferred");
}

/// A user's own skeleton names the points of people with that number of points. Other people keep their own
/// names.
#[test]
fn points_have_the_names_of_the_skeleton_that_is_asked_for() {
    init();
    let folder = Folder::new("json-skeleton");
    let file = folder.write("mine.toml", "names = [\"tip\", \"root\"]\n");
    let mut harness = Harness::new_parse(&format!("rtmposejson skeleton={}", file.display()));
    harness.set_src_caps_str(CAPS);
    let hand = FramePeople {
        skeleton: "hand-21".to_string(),
        points: 21,
        people: vec![Person {
            region: Region::default(),
            key_points: vec![KeyPoint::default(); 21],
            id: None,
        }],
        ..people()
    };
    harness.push(with_people(with_people(frame(0), &people()), &hand)).unwrap();
    let line = line(&harness.pull().unwrap());
    let names = |person: usize| {
        let points = line["people"][person]["keypoints"].as_array().unwrap().clone();
        points.into_iter().map(|point| point["name"].as_str().unwrap().to_string()).collect::<Vec<_>>()
    };
    assert_eq!(names(0), ["tip", "root"]);
    assert_eq!(names(1)[..2], ["wrist", "thumb1"]);
}

#[test]
fn a_skeleton_that_is_none_is_refused_when_the_element_starts() {
    init();
    let element = gst::ElementFactory::make("rtmposejson").property("skeleton", "coco17").build().unwrap();
    let bus = gst::Bus::new();
    element.set_bus(Some(&bus));
    assert!(element.set_state(gst::State::Paused).is_err());
    let errors = messages(&bus, gst::MessageType::Error);
    let [error] = &errors[..] else { panic!("{errors:?}") };
    let words = "The property skeleton is coco17, which is neither one of coco-17, ";
    assert!(error.starts_with(words) && error.ends_with(", or leave the property unset"), "{error}");
    element.set_state(gst::State::Null).unwrap();
    // With the property unset the element starts.
    element.set_property("skeleton", "");
    element.set_state(gst::State::Paused).unwrap();
    element.set_state(gst::State::Null).unwrap();
}

#[test]
fn running_time_is_that_of_the_segment() {
    let mut harness = harness();
    let mut segment = gst::FormattedSegment::<gst::ClockTime>::new();
    segment.set_start(gst::ClockTime::from_seconds(1));
    segment.set_base(gst::ClockTime::from_seconds(10));
    harness.push_event(gst::event::Segment::new(&segment));
    let mut times = |buffer: gst::Buffer| {
        harness.push(buffer).unwrap();
        let line = line(&harness.pull().unwrap());
        (line["pts"].as_u64(), line["running_time"].as_u64())
    };
    assert_eq!(times(frame(50)), (Some(2_000_000_000), Some(11_000_000_000)));
    // Before the segment, and without a time.
    assert_eq!(times(frame(1)), (Some(40_000_000), None));
    assert_eq!(times(gst::Buffer::new()), (None, None));
}

#[test]
fn events_come_in_order_and_a_flush_starts_clean() {
    let mut harness = harness();
    harness.push(frame(0)).unwrap();
    harness.push_event(gst::event::Gap::new(FRAME, FRAME));
    harness.push(frame(2)).unwrap();
    harness.push_event(gst::event::Eos::new());
    assert!(harness.push(frame(3)).is_err(), "nothing passes after EOS");
    let mut events = Vec::new();
    while let Ok(event) = harness.try_pull_event().ok_or(()) {
        events.push(event.type_());
    }
    use gst::EventType::*;
    assert_eq!(events, [StreamStart, Caps, Segment, Gap, Eos]);
    assert_eq!(harness.buffers_received(), 2, "a gap is no frame");

    harness.push_event(gst::event::FlushStart::new());
    harness.push_event(gst::event::FlushStop::new(true));
    let mut segment = gst::FormattedSegment::<gst::ClockTime>::new();
    segment.set_base(gst::ClockTime::from_seconds(7));
    harness.push_event(gst::event::Segment::new(&segment));
    harness.push(frame(0)).unwrap();
    while harness.buffers_in_queue() > 1 {
        harness.pull().unwrap();
    }
    assert_eq!(line(&harness.pull().unwrap())["running_time"], 7_000_000_000u64);
}

#[test]
fn frames_before_caps_and_caps_without_a_size_are_refused() {
    init();
    let mut harness = Harness::new("rtmposejson");
    harness.play();
    let pad = harness.element().unwrap().static_pad("sink").unwrap();
    pad.send_event(gst::event::StreamStart::new("stream"));
    pad.send_event(gst::event::Segment::new(&gst::FormattedSegment::<gst::ClockTime>::new()));
    assert_eq!(pad.chain(frame(0)), Err(gst::FlowError::NotNegotiated));
    let sizeless = gst::Caps::builder("video/x-raw").field("format", "RGB").build();
    assert!(!pad.send_event(gst::event::Caps::new(&sizeless)));
    assert_eq!(pad.chain(frame(0)), Err(gst::FlowError::NotNegotiated));
}

#[test]
fn a_tee_keeps_the_other_branchs_allocation() {
    let mut harness = harness();
    let caps = CAPS.parse().unwrap();
    let mut query = gst::query::Allocation::new(Some(&caps), true);
    assert!(harness.element().unwrap().static_pad("sink").unwrap().query(&mut query));
    assert!(query.find_allocation_meta::<gst_video::VideoMeta>().is_some());
    // The element does not keep the frame: upstream may write into it again once downstream has the line.
    let buffer = frame(0);
    harness.push(buffer.clone()).unwrap();
    assert!(buffer.is_writable(), "nobody else holds it");
    assert_eq!(harness.buffers_received(), 1);
}

/// With a network: drawn dots come back as named points in pixels.
#[test]
fn the_networks_points_are_named_and_in_pixels() {
    const REGION: [i32; 4] = [500, 300, 150, 200];
    const DOT: (f32, f32) = (570.4, 380.5);
    let mut rig = Rig::start_bin(&format!(
        "{} name=pose inference-region=roi-list ! rtmposejson",
        with_network("dots-17")
    ));
    let info = video(VideoFormat::Nv12, 1280, 720);
    rig.set_video(&info);
    let mut buffer = Picture::new(1280, 720).dot(DOT, 20.0, WHITE).frame(&info, Layout::Plain);
    add_region(&mut buffer, "person", REGION).set_id(9);
    rig.push(buffer);
    rig.cut();
    let line = line(&rig.pull());
    let person = &line["people"][0];
    assert_eq!(line["people"].as_array().unwrap().len(), 1);
    assert_eq!(
        (&person["source"], &person["skeleton"], &person["id"]),
        (&json!("pose"), &json!("coco-17"), &json!(9))
    );
    let number = |value: &Value| value.as_f64().unwrap() as f32;
    for (name, expected) in ["x", "y", "width", "height"].into_iter().zip(REGION) {
        assert!((number(&person["box"][name]) - expected as f32).abs() < 1e-3, "{}", person["box"]);
    }
    let points = person["keypoints"].as_array().unwrap();
    assert_eq!(points.len(), 17);
    assert_eq!((&points[0]["name"], &points[16]["name"]), (&json!("nose"), &json!("right_ankle")));
    let allowed = 0.5 * pixels_per_network_pixel(REGION, NETWORK);
    for point in points {
        let (x, y) = (number(&point["x"]), number(&point["y"]));
        assert!((x - DOT.0).abs() <= allowed && (y - DOT.1).abs() <= allowed, "{point}");
        assert!((number(&point["score"]) - 1.0).abs() < 0.02, "{point}");
    }
}

/// Frames between inferred frames repeat the people. A frame that a setting skips is not a frame without
/// people.
#[test]
fn people_that_are_carried_are_marked() {
    let mut rig = Rig::start_bin(&format!(
        "{} batch-size=1 inference-interval=2 ! rtmposejson",
        with_network("dots-small")
    ));
    let info = video(VideoFormat::Rgb, 320, 240);
    rig.set_video(&info);
    let status: Vec<_> = (0..4)
        .map(|_| {
            rig.push(Picture::new(320, 240).frame(&info, Layout::Plain));
            rig.cut();
            let line = line(&rig.pull());
            assert_eq!(line["people"].as_array().unwrap().len(), 1);
            line["status"].as_str().unwrap().to_string()
        })
        .collect();
    assert_eq!(status, ["inferred", "carried", "inferred", "carried"]);
}

/// Metadata may contain any number. A line stays JSON, and has all points.
#[test]
fn numbers_that_json_does_not_have_are_null() {
    let mut harness = harness();
    let mut people = people();
    people.people[0].key_points[0] = KeyPoint { x: f32::NAN, y: f32::INFINITY, score: f32::NAN, z: None };
    harness.push(with_people(frame(0), &people)).unwrap();
    let line = line(&harness.pull().unwrap());
    let person = &line["people"][0];
    assert_eq!(person["score"], Value::Null);
    assert_eq!(
        person["keypoints"],
        json!([
            {"name": null, "x": null, "y": null, "score": null},
            {"name": null, "x": -2.0, "y": 31.5, "score": 1.25},
        ])
    );
}

/// A client of tcpserversink reads whole lines, in the frames' order.
#[test]
fn lines_come_over_tcp() {
    use std::io::BufRead;

    init();
    let pipeline = gst::parse::launch(
        "appsrc name=frames format=time caps=video/x-raw,format=RGB,width=64,height=32,framerate=25/1 ! rtmposejson !
         tcpserversink name=server host=127.0.0.1 port=0 sync=false",
    )
    .unwrap()
    .downcast::<gst::Pipeline>()
    .unwrap();
    let frames = pipeline.by_name("frames").unwrap().downcast::<gst_app::AppSrc>().unwrap();
    let server = pipeline.by_name("server").unwrap();
    pipeline.set_state(gst::State::Playing).unwrap();
    let port = u16::try_from(server.property::<i32>("current-port")).unwrap();
    let client = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
    // The server sends the client only frames that come after it has accepted the client.
    while server.property::<u32>("num-handles") == 0 {
        std::thread::yield_now();
    }
    (0..20).for_each(|number| _ = frames.push_buffer(with_people(frame(number), &people())).unwrap());
    for (number, line) in std::io::BufReader::new(client).lines().take(20).enumerate() {
        let frame: Value = serde_json::from_str(&line.unwrap()).unwrap();
        assert_eq!(frame["pts"].as_u64(), Some(40_000_000 * number as u64), "{frame}");
        assert_eq!(frame["people"].as_array().unwrap().len(), 1);
    }
    pipeline.set_state(gst::State::Null).unwrap();
}
