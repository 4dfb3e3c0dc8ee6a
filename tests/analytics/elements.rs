//! `rtmposebatch` between elements that write and read GstAnalytics.

use gst::prelude::*;
use gst_analytics::{AnalyticsRelationMeta, RelTypes};
use gst_video::VideoFormat;
use gstrtmpose::{meta::FramePeople, pose::Region};

use crate::{
    network_rig::{picture::*, *},
    rig::*,
};

const SIZE: (u32, u32) = (1280, 720);
const BOX: [i32; 4] = [500, 400, 200, 200];
const DOT: (f32, f32) = (650.5, 444.4);

fn nv12() -> gst_video::VideoInfo {
    video(VideoFormat::Nv12, SIZE.0, SIZE.1)
}

fn dotted() -> gst::Buffer {
    Picture::new(SIZE.0, SIZE.1).dot(DOT, 20.0, WHITE).frame(&nv12(), Layout::Plain)
}

fn black() -> gst::Buffer {
    Picture::new(SIZE.0, SIZE.1).frame(&nv12(), Layout::Plain)
}

/// Infers the people of upstream's metadata, unless `properties` say otherwise.
fn rig(properties: &str) -> Rig {
    let mut rig = Rig::start("dots", &format!("batch-size=1 inference-region=roi-list {properties}"));
    rig.set_video(&nv12());
    rig
}

fn boxes(people: &FramePeople) -> Vec<[i32; 4]> {
    let whole = |Region { x, y, width, height }| [x, y, width, height].map(|number: f32| number as i32);
    people.people.iter().map(|person| whole(person.region)).collect()
}

#[test]
fn a_detectors_objects_are_looked_at() {
    let mut rig = rig("");
    let mut buffer = dotted();
    let detected = add_object(buffer.make_mut(), "person", BOX);
    let track = add_track(buffer.make_mut(), 42);
    relate(buffer.make_mut(), RelTypes::RELATE_TO, detected, track);
    rig.push(buffer);
    rig.cut();
    let buffer = rig.pull();
    let people = people_of(&buffer);
    assert_eq!((boxes(&people), people.people[0].id), (vec![BOX], Some(42)));
    assert_found("a detected person", &people, (0, 0), DOT, BOX, NETWORK);
    // No second object, no second track.
    let objects = objects(&buffer);
    assert_eq!((objects.len(), objects[0].id, objects[0].place), (1, detected, BOX));
    assert_eq!(tracks(&buffer, detected).len(), 1);
}

/// What `auto` infers, frame by frame of one stream: the people, and the number of boxes.
#[test]
fn an_empty_relation_meta_means_nobody() {
    let mut rig = rig("inference-region=auto");
    let mut look = |objects: Option<&[(&str, [i32; 4])]>| {
        let mut buffer = black();
        if let Some(objects) = objects {
            AnalyticsRelationMeta::add(buffer.make_mut());
            for (label, place) in objects {
                add_object(buffer.make_mut(), label, *place);
            }
        }
        let before = rig.stat("crops");
        let people = boxes(&rig.find(buffer));
        (people, rig.stat("crops") - before)
    };
    let (people, searched) = look(None);
    assert_eq!(people, [[0; 4]; 0]);
    assert!(searched > 0, "there is no detector: people are searched");
    assert_eq!(look(Some(&[])), (vec![], 0), "a detector that found nothing");
    assert_eq!(look(None), (vec![], 0), "it did not look at this frame");
    assert_eq!(look(Some(&[("car", BOX)])), (vec![], 0));
    assert_eq!(look(Some(&[("car", BOX), ("Person", [10, 20, 30, 40])])), (vec![[10, 20, 30, 40]], 1));
}

/// The relation meta of a pool's buffer stays on the buffer. What the element wrote into one frame must not
/// count for the next.
#[test]
fn buffers_that_come_again_are_looked_at_again() {
    let mut rig = rig("inference-region=full-frame");
    let pool = pool_of_one(nv12().size() as u32);
    for number in 1..=5 {
        let buffer = pool.acquire_buffer(None).unwrap();
        assert_eq!(boxes(&rig.find(buffer)), [[0, 0, 1280, 720]], "frame {number}");
    }
    pool.set_active(false).unwrap();
    assert_eq!(rig.stat("crops"), 5);
}

#[test]
fn frames_carry_the_same_people_in_both_metadata() {
    let mut rig = rig("batch-size=8");
    let mut buffer = dotted();
    add_person(&mut buffer, BOX);
    add_region(&mut buffer, "person", [10, 20, 30, 40]).set_id(9);
    rig.push(buffer);
    rig.push(black());
    rig.cut();
    let buffer = rig.pull();
    let people = people_of(&buffer);
    let objects = objects(&buffer);
    assert_eq!(objects.iter().map(|object| object.place).collect::<Vec<_>>(), boxes(&people));
    for (object, person) in objects.iter().zip(&people.people) {
        assert!((object.confidence - person.score().clamp(0.0, 1.0)).abs() < 1e-6);
        let track: Vec<_> = tracks(&buffer, object.id).iter().map(|track| track.0 as i64).collect();
        assert_eq!(track, Vec::from_iter(person.id));
    }
    assert_eq!(entries(&rig.pull()), 0, "nobody");
}

/// First and last seen are running times. A flush and a new stream start them anew.
#[test]
fn tracks_have_running_times() {
    let mut rig = rig("");
    let mut segment = gst::FormattedSegment::<gst::ClockTime>::new();
    segment.set_start(gst::ClockTime::from_mseconds(0));
    segment.set_base(gst::ClockTime::from_seconds(10));
    let track = |rig: &mut Rig| {
        let mut buffer = black();
        add_region(&mut buffer, "person", BOX).set_id(9);
        rig.push(buffer);
        rig.cut();
        let buffer = rig.pull();
        let tracks = tracks(&buffer, objects(&buffer)[0].id);
        assert_eq!(tracks.len(), 1);
        (tracks[0].1.mseconds(), tracks[0].2.mseconds())
    };
    rig.harness.push_event(gst::event::Segment::new(&segment));
    // The rig's frames are a millisecond apart.
    assert_eq!(track(&mut rig), (10_000, 10_000));
    assert_eq!(track(&mut rig), (10_000, 10_001));
    rig.harness.push_event(gst::event::FlushStart::new());
    rig.harness.push_event(gst::event::FlushStop::new(true));
    rig.harness.push_event(gst::event::Segment::new(&segment));
    assert_eq!(track(&mut rig), (10_002, 10_002));
    assert_eq!(track(&mut rig), (10_002, 10_003));
    rig.harness.push_event(gst::event::StreamStart::new("another"));
    rig.set_video(&nv12());
    rig.harness.push_event(gst::event::Segment::new(&segment));
    assert_eq!(track(&mut rig), (10_004, 10_004));
}

/// GStreamer's own overlay draws a box around a person whom upstream marked with a region.
#[test]
fn objectdetectionoverlay_boxes_our_people() {
    require("objectdetectionoverlay");
    let line = format!(
        "{} batch-size=1 inference-region=roi-list ! objectdetectionoverlay draw-labels=false",
        with_network("dots")
    );
    let mut rig = Rig::start_bin(&line);
    rig.set_video(&nv12());
    let mut buffer = black();
    add_person(&mut buffer, BOX);
    rig.push(buffer);
    rig.cut();
    let buffer = rig.pull();
    let map = buffer.map_readable().unwrap();
    let luma = |x: usize, y: usize| map[y * SIZE.0 as usize + x];
    let [left, top, width, height] = BOX.map(|number| number as usize);
    // The line is two pixels wide, one on each side of the edge.
    for (x, y) in
        [(left + 50, top), (left + 50, top + height - 1), (left, top + 50), (left + width - 1, top + 50)]
    {
        assert!(luma(x, y) > 200, "{} at {x}, {y}", luma(x, y));
    }
    for (x, y) in [(left + 50, top + 50), (left - 10, top + 50), (left + 50, top - 10), (10, 10)] {
        assert_eq!(luma(x, y), 16, "at {x}, {y}");
    }
}

/// `rtmposedetect` writes an object for each person, where the region is, with the detector's confidence. For a
/// frame without people it writes a relation meta without objects.
#[test]
fn a_detectors_people_are_objects() {
    let mut rig = Rig::start_detector("yolox", "batch-size=1 class-ids=0");
    rig.set_video(&nv12());
    let frame = |people: &[([i32; 4], [u8; 3])]| {
        let empty = Picture::filled(SIZE.0, SIZE.1, [114; 3]);
        let picture =
            people.iter().fold(empty, |picture, (place, colour)| picture.rectangle(*place, *colour));
        picture.frame(&nv12(), Layout::Plain)
    };
    rig.push(frame(&[([160, 160, 240, 400], RED), ([720, 80, 320, 480], GREEN)]));
    rig.push(frame(&[]));
    rig.cut();
    let buffer = rig.pull();
    let regions: Vec<_> = buffer
        .iter_meta::<gst_video::VideoRegionOfInterestMeta>()
        .map(|meta| {
            let (x, y, width, height) = meta.rect();
            let confidence = meta.param("detection").unwrap().get::<f64>("confidence").unwrap() as f32;
            ([x, y, width, height].map(|number| number as i32), confidence)
        })
        .collect();
    assert_eq!(regions.len(), 2, "{regions:?}");
    let found = objects(&buffer);
    assert!(found.iter().all(|object| object.label == "person"), "{found:?}");
    assert_eq!(found.len(), 2, "{found:?}");
    for (object, (place, confidence)) in found.iter().zip(&regions) {
        let is_near = object.place.iter().zip(place).all(|(a, b)| a.abs_diff(*b) <= 1);
        assert!(
            is_near && object.confidence == confidence.clamp(0.0, 1.0),
            "{object:?} of {place:?}, {confidence}"
        );
    }
    assert_eq!(objects(&rig.pull()), []);
}
