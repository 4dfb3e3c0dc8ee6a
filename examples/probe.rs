//! Reads people's key points in Rust, in a probe on a pad.
//!
//!     cargo run --release --example probe -- 'filesrc location=video.mp4 ! decodebin ! videoconvert !
//!         videoflip video-direction=auto ! rtmposebatch name=pose ! fakesink'
//!
//! Prints a line for each person of each frame. `examples/c/pose_probe.c` and `examples/python/pose_probe.py` are the same
//! program in other languages.

use std::error::Error;

use gst::prelude::*;
use gstrtmpose::meta;

fn main() -> Result<(), Box<dyn Error>> {
    gst::init()?;
    // A program that is not linked with the plugin omits this, and needs the plugin in GStreamer's plugin path.
    gstrtmpose::plugin_register_static()?;
    let line = std::env::args().nth(1).ok_or("usage: probe 'LAUNCH LINE with rtmposebatch name=pose'")?;
    let pipeline = gst::parse::launch(&line)?;
    let pose = pipeline.downcast_ref::<gst::Bin>().and_then(|bin| bin.by_name("pose"));
    let pad = pose
        .and_then(|pose| pose.static_pad("src"))
        .ok_or("the launch line has no rtmposebatch with name=pose")?;
    pad.add_probe(gst::PadProbeType::BUFFER, |_, info| {
        if let Some(buffer) = info.buffer() {
            print_people(buffer);
        }
        gst::PadProbeReturn::Ok
    });

    let bus = pipeline.bus().ok_or("the pipeline has no bus")?;
    // The reason why it does not start is on the bus.
    let _ = pipeline.set_state(gst::State::Playing);
    let end = bus.timed_pop_filtered(None, &[gst::MessageType::Eos, gst::MessageType::Error]);
    pipeline.set_state(gst::State::Null)?;
    match end.as_ref().map(|message| message.view()) {
        Some(gst::MessageView::Error(error)) => Err(error.error().message().into()),
        _ => Ok(()),
    }
}

fn print_people(buffer: &gst::BufferRef) {
    let pts = buffer.pts().unwrap_or_default().mseconds();
    for found in meta::read(buffer) {
        // Another element may have written a malformed one under this name.
        let Ok(found) = found.inspect_err(|error| eprintln!("{error}")) else { continue };
        for (index, person) in found.people.iter().enumerate() {
            let positions: Vec<_> =
                person.key_points.iter().map(|point| format!("{:.1},{:.1}", point.x, point.y)).collect();
            println!(
                "{pts} ms, person {index}, id {}, {}, score {:.2}: {}",
                person.id.unwrap_or(-1),
                found.skeleton,
                person.score(),
                positions.join(" ")
            );
        }
    }
}
