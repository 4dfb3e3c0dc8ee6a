//! Which people of a frame are looked at, and what the metadata says of them.

use gst::{glib, prelude::*};
use gst_video::VideoFormat;
use gstrtmpose::pose::Region;

use crate::network_rig::{picture::*, *};

const SIZE: (u32, u32) = (1280, 720);
const WHOLE: [i32; 4] = [0, 0, 1280, 720];

/// Regions with one dot each. No crop contains another region's dot.
const PEOPLE: [([i32; 4], (f32, f32)); 4] = [
    ([900, 100, 150, 200], (930.4, 150.5)),
    ([100, 60, 120, 300], (180.2, 300.1)),
    ([500, 400, 200, 200], (650.5, 444.4)),
    ([1000, 450, 300, 200], (1240.0, 600.6)),
];

fn frame_of_people(count: usize) -> gst::Buffer {
    let mut picture = Picture::new(SIZE.0, SIZE.1);
    for (_, dot) in &PEOPLE[..count] {
        picture = picture.dot(*dot, 20.0, WHITE);
    }
    let mut buffer = picture.frame(&video(VideoFormat::Nv12, SIZE.0, SIZE.1), Layout::Plain);
    for (region, _) in &PEOPLE[..count] {
        add_person(&mut buffer, *region);
    }
    buffer
}

fn nv12_rig(network: &str, properties: &str) -> Rig {
    let mut rig = Rig::start(network, &format!("inference-region=auto {properties}"));
    rig.set_video(&video(VideoFormat::Nv12, SIZE.0, SIZE.1));
    rig
}

fn black(regions: &[(&str, [i32; 4])]) -> gst::Buffer {
    let mut buffer =
        Picture::new(SIZE.0, SIZE.1).frame(&video(VideoFormat::Nv12, SIZE.0, SIZE.1), Layout::Plain);
    for (kind, region) in regions {
        add_region(&mut buffer, kind, *region);
    }
    buffer
}

fn boxes(people: &gstrtmpose::meta::FramePeople) -> Vec<[i32; 4]> {
    let whole =
        |Region { x, y, width, height }| [x, y, width, height].map(|number: f32| number.round() as i32);
    people.people.iter().map(|person| whole(person.region)).collect()
}

#[test]
fn each_person_has_its_own_points_in_upstreams_order() {
    for batch_size in [1, 3, 8] {
        let mut rig = nv12_rig("dots", &format!("batch-size={batch_size}"));
        // Frames of different numbers of people share batches.
        let counts = [4, 1, 3, 2, 4];
        counts.into_iter().for_each(|count| rig.push(frame_of_people(count)));
        rig.cut();
        for count in counts {
            let people = rig.pull_people();
            assert_eq!(boxes(&people), PEOPLE[..count].iter().map(|(region, _)| *region).collect::<Vec<_>>());
            for (person, (region, dot)) in PEOPLE[..count].iter().enumerate() {
                let what = format!("batch-size {batch_size}, {count} people");
                assert_found(&what, &people, (person, 0), *dot, *region, NETWORK);
            }
        }
    }
}

#[test]
fn max_people_takes_the_first_regions() {
    let mut rig = nv12_rig("dots", "batch-size=8 max-people=2");
    assert_eq!(boxes(&rig.find(frame_of_people(4))), [PEOPLE[0].0, PEOPLE[1].0]);
    // The property can change while PLAYING.
    rig.element.set_property("max-people", 3u32);
    assert_eq!(boxes(&rig.find(frame_of_people(4))).len(), 3);
    assert_eq!(boxes(&rig.find(frame_of_people(1))).len(), 1);
}

/// More crops in a frame than the engine has buffers for ((2 + 1) x batch-size).
#[test]
fn a_crowd_goes_through_small_batches() {
    let mut rig = nv12_rig("dots-small", &format!("{NEVER} batch-size=2 max-people=100"));
    let crowd: Vec<_> = (0..60).map(|i| ("person", [20 * i, 10 * i, 60, 80])).collect();
    let people = rig.find(black(&crowd));
    assert_eq!(boxes(&people), crowd.iter().map(|(_, region)| *region).collect::<Vec<_>>());
    assert_eq!(rig.stat("crops"), 60);
}

#[test]
fn ids_are_upstreams() {
    let mut rig = nv12_rig("dots-small", "batch-size=8");
    let mut buffer = black(&[]);
    add_region(&mut buffer, "person", PEOPLE[0].0);
    add_region(&mut buffer, "person", PEOPLE[1].0).set_id(7);
    let tracked = gst::Structure::builder("object_id").field("id", 42i32).build();
    add_region(&mut buffer, "person", PEOPLE[2].0).add_param(tracked);
    let people = rig.find(buffer);
    let ids: Vec<_> = people.people.iter().map(|person| person.id).collect();
    assert_eq!(ids, [None, Some(7), Some(42)]);
}

/// What each `inference-region` infers, frame by frame of one stream.
#[test]
fn inference_region_follows_its_rules() {
    const BOX: [i32; 4] = [300, 200, 100, 150];
    const OTHER: [i32; 4] = [10, 20, 30, 40];
    type Case = (&'static str, &'static [(&'static str, [i32; 4])], [&'static [[i32; 4]]; 4]);
    // For auto, roi-list, track and full-frame. The pictures contain no people for a tracker to find or track.
    let frames: [Case; 8] = [
        ("no region yet", &[], [&[], &[], &[], &[WHOLE]]),
        ("a region of something else", &[("car", BOX)], [&[], &[], &[], &[WHOLE]]),
        ("a person", &[("person", BOX)], [&[BOX], &[BOX], &[], &[WHOLE]]),
        ("no region any more", &[], [&[], &[], &[], &[WHOLE]]),
        ("something else again", &[("car", BOX)], [&[], &[], &[], &[WHOLE]]),
        ("a person and a car", &[("car", BOX), ("Person", OTHER)], [&[OTHER], &[OTHER], &[], &[WHOLE]]),
        ("a region without area", &[("person", [5, 5, 0, 0])], [&[], &[], &[], &[WHOLE]]),
        ("again none", &[], [&[], &[], &[], &[WHOLE]]),
    ];
    for (index, mode) in ["auto", "roi-list", "track", "full-frame"].into_iter().enumerate() {
        let mut rig = nv12_rig("dots-small", &format!("batch-size=1 inference-region={mode}"));
        for (name, regions, expected) in &frames {
            assert_eq!(boxes(&rig.find(black(regions))), expected[index], "{mode}: {name}");
        }
    }
}

/// Once a stream has carried a region, people are no longer searched in it, until a flush or a new stream.
#[test]
fn a_detector_upstream_ends_the_search() {
    const BOX: [i32; 4] = [300, 200, 100, 150];
    const WALK: u64 = 125;
    let mut rig = nv12_rig("dots-small", "batch-size=1");
    rig.find(black(&[]));
    // A stream's first frame is searched completely.
    assert_eq!(rig.stat("search-crops"), WALK);
    rig.find(black(&[("person", BOX)]));
    for _ in 0..3 {
        rig.find(black(&[]));
    }
    // The person of upstream's region is tracked, with a crop a frame.
    assert_eq!((rig.stat("search-crops"), rig.stat("crops")), (WALK, WALK + 4));
    rig.harness.push_event(gst::event::FlushStart::new());
    rig.harness.push_event(gst::event::FlushStop::new(true));
    let segment = gst::FormattedSegment::<gst::ClockTime>::new();
    rig.harness.push_event(gst::event::Segment::new(&segment));
    rig.find(black(&[]));
    assert_eq!(rig.stat("search-crops"), 2 * WALK, "after a flush");
    rig.find(black(&[("person", BOX)]));
    rig.harness.push_event(gst::event::StreamStart::new("another"));
    rig.set_video(&video(VideoFormat::Nv12, SIZE.0, SIZE.1));
    rig.find(black(&[]));
    assert_eq!(rig.stat("search-crops"), 3 * WALK, "in a new stream");
}

#[test]
fn region_label_says_which_regions_are_people() {
    const BOX: [i32; 4] = [300, 200, 100, 150];
    const OTHER: [i32; 4] = [10, 20, 30, 40];
    let regions = [("person", BOX), ("0", OTHER), ("Rider", OTHER)];
    let mut rig = nv12_rig("dots-small", "batch-size=1 inference-region=roi-list");
    // The property can change while PLAYING.
    for (label, expected) in [
        ("person", vec![BOX]),
        ("0", vec![OTHER]),
        ("PERSON, rider", vec![BOX, OTHER]),
        ("person,0,rider", vec![BOX, OTHER, OTHER]),
        ("", vec![]),
    ] {
        rig.element.set_property("region-label", label);
        assert_eq!(boxes(&rig.find(black(&regions))), expected, "{label}");
    }
}

/// If there are more people than `max-people`, those with the highest confidence are used, in the detector's
/// order.
#[test]
fn max_people_keeps_the_surest() {
    let mut rig = nv12_rig("dots-small", "batch-size=8 max-people=3 inference-region=roi-list");
    let mut buffer = black(&[]);
    for index in 0..300 {
        let confidence = match index {
            7 => 0.95,
            120 => 0.99,
            299 => 0.9,
            other => f64::from(other % 50) / 100.0,
        };
        let detection = gst::Structure::builder("detection").field("confidence", confidence).build();
        add_region(&mut buffer, "person", [index, 10, 60, 80]).add_param(detection);
    }
    let people = rig.find(buffer);
    assert_eq!(boxes(&people), [[7, 10, 60, 80], [120, 10, 60, 80], [299, 10, 60, 80]]);
    assert_eq!(rig.stat("crops"), 3);
}

#[test]
fn score_mode_is_the_smaller_maximum_or_their_mean() {
    let mut rig = nv12_rig("scores", "batch-size=1");
    for (mode, expected) in [("min", 1.2), ("mean", 1.4)] {
        rig.element.set_property_from_str("score-mode", mode);
        let people = rig.find(frame_of_people(1));
        let person = &people.people[0];
        assert!(
            person.key_points.iter().all(|point| (point.score - expected).abs() < 0.02),
            "{mode}: {person:?}"
        );
        assert!((person.score() - expected).abs() < 0.02, "{mode}");
    }
}

/// The fields as any language reads them (`docs/metadata.md`), not through the crate's reader.
#[test]
fn the_metadata_has_the_fields_of_its_contract() {
    let mut rig = nv12_rig("dots-17", "name=pose batch-size=8");
    let mut buffer = frame_of_people(2);
    add_region(&mut buffer, "person", PEOPLE[2].0).set_id(9);
    rig.push(buffer);
    rig.cut();
    let buffer = rig.pull();
    let meta = gst::meta::CustomMeta::from_buffer(&buffer, "RtmPoseMeta").unwrap();
    let fields = meta.structure();
    let uint = |name: &str| fields.get::<u32>(name).unwrap();
    let text = |name: &str| fields.get::<String>(name).unwrap();
    let floats = |name: &str| -> Vec<f32> {
        let bytes = fields.get::<glib::Bytes>(name).unwrap();
        bytes.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
    };
    assert_eq!(uint("version"), 1);
    assert_eq!((uint("width"), uint("height")), SIZE);
    assert_eq!((uint("people"), uint("points")), (3, 17));
    assert_eq!((text("source"), text("skeleton")), ("pose".to_string(), "coco-17".to_string()));
    assert!(!fields.has_field("carried"));

    let close = |a: f32, b: f32| (a - b).abs() < 1e-5;
    let boxes = floats("boxes");
    assert_eq!(boxes.len(), 3 * 4);
    for (found, (region, _)) in boxes.chunks(4).zip(PEOPLE) {
        let [x, y, width, height] = region.map(|number| number as f32);
        let expected = [x / 1280.0, y / 720.0, width / 1280.0, height / 720.0];
        assert!(found.iter().zip(expected).all(|(a, b)| close(*a, b)), "{found:?}, not {expected:?}");
    }
    let (points, scores) = (floats("keypoints"), floats("scores"));
    assert_eq!((points.len(), scores.len()), (3 * 17 * 3, 3));
    for (person, points) in points.chunks(17 * 3).enumerate() {
        let mean = points.chunks(3).map(|point| point[2]).sum::<f32>() / 17.0;
        assert!(close(mean, scores[person]));
        if let Some((region, (x, y))) = PEOPLE[..2].get(person) {
            let allowed = 0.5 * pixels_per_network_pixel(*region, NETWORK);
            for point in points.chunks(3) {
                assert!((point[0] * 1280.0 - x).abs() <= allowed && (point[1] * 720.0 - y).abs() <= allowed);
            }
        }
    }
    let ids = fields.get::<glib::Bytes>("ids").unwrap();
    let ids: Vec<_> = ids.as_chunks::<8>().0.iter().map(|bytes| i64::from_le_bytes(*bytes)).collect();
    assert_eq!(ids, [-1, -1, 9]);
}

#[test]
fn a_frame_without_people_carries_the_metadata_with_none() {
    let mut rig = nv12_rig("dots", "batch-size=1 inference-region=roi-list");
    let people = rig.find(black(&[]));
    assert_eq!((people.people.len(), people.points, people.width), (0, 3, 1280));
    assert_eq!(rig.stat("crops"), 0);
}

#[test]
fn the_skeleton_is_told_by_the_number_of_points_or_by_its_property() {
    for (network, properties, expected) in [
        ("dots", "", "custom-3"),
        ("dots-symbolic", "", "custom-3"),
        ("dots-17", "", "coco-17"),
        ("dots-17", "skeleton=coco-17", "coco-17"),
        ("dots-17", "skeleton=ap10k-17", "ap10k-17"),
        ("dots-17", "skeleton=models/skeletons/example.toml", "custom-17"),
    ] {
        let mut rig = nv12_rig(network, &format!("batch-size=1 {properties}"));
        assert_eq!(rig.find(frame_of_people(1)).skeleton, expected, "{network} {properties}");
    }
}

#[test]
fn the_element_tells_the_model_and_the_provider() {
    let mut rig = nv12_rig("dots", "batch-size=1");
    let program = std::process::Command::new("sha256sum").arg(network("dots")).output().unwrap();
    let expected = String::from_utf8(program.stdout).unwrap();
    let sha256 = rig.element.property::<Option<String>>("model-sha256").unwrap();
    assert_eq!(Some(sha256.as_str()), expected.split_whitespace().next());
    assert_eq!(rig.element.property::<Option<String>>("active-provider").as_deref(), Some("cpu"));
    rig.find(frame_of_people(1));
    rig.element.set_state(gst::State::Null).unwrap();
    for property in ["model-sha256", "active-provider"] {
        assert_eq!(rig.element.property::<Option<String>>(property), None, "{property} in NULL");
    }
}
