//! Element `rtmposejson`: what it writes for a frame in each format, when, and where.

#[path = "../network_rig/mod.rs"]
mod network_rig;

mod files;
mod formats;
mod lines;
mod mqtt;
mod times;

use gst::prelude::*;
use gst_check::Harness;
use gstrtmpose::{
    meta::{self, FramePeople},
    pose::{KeyPoint, Person, Region},
};
use network_rig::{init, process::patience};
use serde_json::Value;

const CAPS: &str = "video/x-raw,format=RGB,width=64,height=32,framerate=25/1";
const FRAME: gst::ClockTime = gst::ClockTime::from_mseconds(40);

fn harness() -> Harness {
    init();
    let mut harness = Harness::new("rtmposejson");
    harness.set_src_caps_str(CAPS);
    harness
}

/// Frame `number` of the stream, 25 a second; its memory holds no picture.
fn frame(number: u64) -> gst::Buffer {
    let mut buffer = gst::Buffer::new();
    let frame = buffer.make_mut();
    frame.set_pts(FRAME * number);
    frame.set_duration(FRAME);
    buffer
}

/// One person of two key points, found in a frame of 64x32.
fn people() -> FramePeople {
    FramePeople {
        source: "pose".to_string(),
        width: 64,
        height: 32,
        skeleton: "custom-2".to_string(),
        points: 2,
        people: vec![Person {
            region: Region::new(8.0, 4.0, 16.0, 24.0),
            key_points: vec![
                KeyPoint { x: 10.0, y: 6.0, score: 0.75, z: None },
                KeyPoint { x: -2.0, y: 31.5, score: 1.25, z: None },
            ],
            id: Some(5),
        }],
        carried: false,
    }
}

fn with_people(mut buffer: gst::Buffer, people: &FramePeople) -> gst::Buffer {
    meta::write(buffer.make_mut(), people).unwrap();
    buffer
}

/// The buffer's only line.
fn line(buffer: &gst::BufferRef) -> Value {
    let bytes = buffer.map_readable().unwrap();
    let (end, line) = bytes.split_last().unwrap();
    assert_eq!(*end, b'\n');
    assert!(!line.contains(&b'\n'), "one line a buffer");
    serde_json::from_slice(line).unwrap()
}

/// Runs a launch line to its end; returns the error's text, if there is one.
fn play(text: &str) -> Result<(), String> {
    init();
    let pipeline = gst::parse::launch(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    let bus = pipeline.bus().unwrap();
    // The bus has the reason of a failure.
    let _ = pipeline.set_state(gst::State::Playing);
    let message = patience::message(&bus, &[gst::MessageType::Eos, gst::MessageType::Error])
        .unwrap_or_else(|| panic!("{text} hangs"));
    pipeline.set_state(gst::State::Null).unwrap();
    match message.view() {
        gst::MessageView::Error(error) => Err(error.error().message().to_string()),
        _ => Ok(()),
    }
}
