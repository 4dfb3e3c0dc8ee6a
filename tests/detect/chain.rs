//! A detector in front of `rtmposebatch`.

use gst::prelude::*;
use gst_video::VideoFormat;

use crate::network_rig::{picture::*, *};
use crate::*;

const SIZE: (u32, u32) = (640, 480);

fn chain(detector: &str, pose: &str) -> Rig {
    let file = network("dots-17");
    Rig::start_bin(&format!(
        "{} {detector} ! rtmposebatch name=pose execution-provider=cpu model-file=\"{}\" {pose}",
        with_detector("yolox"),
        file.display()
    ))
}

fn frame(info: &gst_video::VideoInfo, rectangles: &[[i32; 4]]) -> gst::Buffer {
    let colours = [RED, GREEN];
    let drawn = rectangles.iter().zip(colours);
    let picture = drawn.fold(Picture::filled(SIZE.0, SIZE.1, GREY), |picture, (rectangle, colour)| {
        picture.rectangle(*rectangle, colour)
    });
    picture.frame(info, Layout::Plain)
}

/// Two people walk, and the detector infers every n-th frame. No person is missing in between, and both keep
/// their ids.
#[test]
fn people_keep_their_ids_between_detections() {
    // 6 is a detector at 5 frames a second and a pose network at 30.
    for interval in [1, 3, 6, 10] {
        let mut rig = chain(&format!("inference-interval={interval}"), "");
        let info = video(VideoFormat::I420, SIZE.0, SIZE.1);
        rig.set_video(&info);
        const FRAMES: i32 = 40;
        let at = |number: i32| [[60 + 2 * number, 100, 100, 260], [420 - 2 * number, 120, 90, 240]];
        for number in 0..FRAMES {
            rig.push(frame(&info, &at(number)));
        }
        rig.cut();
        let mut ids = Vec::new();
        for number in 0..FRAMES {
            let people = rig.pull_people();
            let what = format!("interval {interval}, frame {number}");
            assert_eq!(people.people.len(), 2, "{what}");
            let now: Vec<_> =
                people.people.iter().map(|person| person.id.expect("people are followed")).collect();
            if number == 0 {
                ids.clone_from(&now);
            }
            assert_eq!(now, ids, "{what}");
            if number % interval == 0 {
                let regions = people.people.iter().map(|person| person.region);
                let found: Vec<_> =
                    regions.map(|region| [region.x, region.y, region.width, region.height]).collect();
                for expected in at(number).map(|region| region.map(|number| number as f32)) {
                    let is_near =
                        |found: &[f32; 4]| found.iter().zip(expected).all(|(a, b)| (a - b).abs() <= 9.0);
                    assert!(found.iter().any(is_near), "{what}: {expected:?} is not in {found:?}");
                }
            }
        }
    }
}

/// In a frame in which the detector found no people, none are searched and none are carried.
#[test]
fn nobody_is_nobody() {
    let mut rig = chain("", "");
    let info = video(VideoFormat::I420, SIZE.0, SIZE.1);
    rig.set_video(&info);
    let person = [200, 100, 120, 280];
    // No people from the beginning on. Without a detector the whole frame would be searched.
    for number in 0..12 {
        rig.push(frame(&info, &[]));
        rig.cut();
        assert_eq!(rig.pull_people().people.len(), 0, "frame {number}");
    }
    let bin = rig.element.clone().downcast::<gst::Bin>().unwrap();
    let stats = || bin.by_name("pose").unwrap().property::<gst::Structure>("stats");
    assert_eq!((stats().get::<u64>("crops"), stats().get::<u64>("search-crops")), (Ok(0), Ok(0)));
    for number in 0..6 {
        rig.push(frame(&info, &[person]));
        rig.cut();
        assert_eq!(rig.pull_people().people.len(), 1, "frame {number}");
    }
    rig.push(frame(&info, &[]));
    rig.cut();
    assert_eq!(rig.pull_people().people.len(), 0, "who is not seen is not bridged");
}

/// Two cameras share one detector and one pose network, and an overlay draws. Each camera has its own people,
/// in its order.
#[test]
fn two_cameras_share_a_detector_and_a_pose_network() {
    let line = |name: &str| {
        format!(
            "{} model-instance-id=chain-detector inference-interval=2 ! rtmposebatch name={name} execution-provider=cpu \
             model-file=\"{}\" model-instance-id=chain-pose ! rtmposeoverlay draw-box=true",
            with_detector("yolox"),
            network("dots-17").display()
        )
    };
    let mut rigs = ["a", "b"].map(|name| Rig::start_bin(&line(name)));
    let info = video(VideoFormat::I420, SIZE.0, SIZE.1);
    const FRAMES: i32 = 12;
    let at = |camera: i32, number: i32| [60 + 250 * camera + 2 * number, 100, 100, 260];
    for (camera, rig) in (0..).zip(&mut rigs) {
        rig.set_video(&info);
        (0..FRAMES).for_each(|number| rig.push(frame(&info, &[at(camera, number)])));
    }
    for (camera, rig) in (0..).zip(&mut rigs) {
        for number in 0..FRAMES {
            let buffer = rig.pull();
            let what = format!("camera {camera}, frame {number}");
            assert_eq!(buffer.pts(), Some(gst::ClockTime::from_mseconds(number as u64)), "{what}");
            let people = people_of(&buffer);
            assert_eq!(people.people.len(), 1, "{what}");
            assert_eq!(people.people[0].id, Some(1), "{what}: each stream counts its own");
            if number % 2 == 0 {
                let [x, ..] = at(camera, number);
                assert!((people.people[0].region.x - x as f32).abs() <= 9.0, "{what}: {people:?}");
            }
        }
    }
    let bin = rigs[0].element.clone().downcast::<gst::Bin>().unwrap();
    let streams = bin.by_name("a").unwrap().property::<gst::Structure>("stats").get::<u32>("streams");
    assert_eq!(streams, Ok(2));
}
