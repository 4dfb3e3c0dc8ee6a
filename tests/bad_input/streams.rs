//! What goes wrong while frames flow: caps, frames and runs that fail.

use std::sync::{Arc, Mutex};

use gst::prelude::*;
use gst_video::VideoFormat;

use crate::{
    assert_clear,
    network_rig::{self, NEVER, Rig, network, picture::*, process::watched},
    play,
};

/// Pushes a frame with these caps; gives the flow and the element's errors.
fn push(
    caps: Option<&'static str>,
    properties: &'static str,
    bytes: usize,
) -> (Result<gst::FlowSuccess, gst::FlowError>, Vec<String>) {
    watched(caps.unwrap_or("no caps"), move || {
        let mut rig = Rig::start("dots-small", &format!("batch-size=1 {properties}"));
        match caps {
            Some(caps) => rig.harness.set_src_caps(caps.parse().unwrap()),
            None => {
                rig.harness.push_event(gst::event::StreamStart::new("test"));
                let segment = gst::FormattedSegment::<gst::ClockTime>::new();
                rig.harness.push_event(gst::event::Segment::new(&segment));
            }
        }
        let flow = rig.harness.push(gst::Buffer::with_size(bytes).unwrap());
        // The query's caller must not wait forever behind a frame that failed.
        rig.cut();
        (flow, rig.errors())
    })
}

#[test]
fn frames_without_readable_caps_are_refused() {
    const SIZE: [&str; 2] = ["width", "height"];
    for (caps, words) in [
        (None, ["without usable caps", "videoconvert"]),
        (Some("video/x-raw"), SIZE),
        (Some("video/x-raw,format=RGB,framerate=30/1"), SIZE),
        (Some("video/x-raw,format=RGB,width=64"), SIZE),
        (
            Some("video/x-raw,format=RGB,width=64,height=48,interlace-mode=alternate"),
            ["alternate", "both fields"],
        ),
    ] {
        let what = caps.unwrap_or("no caps");
        let (flow, errors) = push(caps, "", 64 * 48 * 3);
        assert_eq!(flow, Err(gst::FlowError::NotNegotiated), "{what}: {errors:?}");
        assert_eq!(errors.len(), 1, "{what}: {errors:?}");
        assert_clear(what, &errors[0], &words);
    }
}

/// GStreamer itself refuses what the pad template excludes, with upstream's error.
#[test]
fn caps_outside_of_the_template_do_not_get_in() {
    for caps in [
        "video/x-raw,format=P010_10LE,width=64,height=48",
        "video/x-raw,format=RGB,width=0,height=48",
        "video/x-raw(memory:CUDAMemory),format=NV12,width=64,height=48",
        "audio/x-raw,format=S16LE,rate=8000,channels=1,layout=interleaved",
    ] {
        let (flow, errors) = push(Some(caps), "", 1000);
        assert_eq!((flow, &errors[..]), (Err(gst::FlowError::NotNegotiated), &[][..]), "{caps}");
    }
}

#[test]
fn a_frame_that_is_too_short_for_its_caps_is_an_inference_error() {
    const CAPS: &str = "video/x-raw,format=NV12,width=1280,height=720,framerate=30/1";
    let (_, errors) = push(Some(CAPS), "on-error=fail", 100);
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert_clear("too short", &errors[0], &["100 bytes", "1280x720", "on-error=passthrough"]);
    let (flow, errors) = push(Some(CAPS), "on-error=passthrough", 100);
    assert_eq!((flow, errors.len()), (Ok(gst::FlowSuccess::Ok), 0), "{errors:?}");
}

/// Frames of an application that does not pad rows as GStreamer does: the message says how many bytes are
/// needed, in which rows.
#[test]
fn rows_without_their_padding_are_told() {
    for (caps, bytes, words) in [
        ("BGR,width=5,height=4", 5 * 3 * 4, ["60 bytes", "64 bytes are needed", "rows of 16 bytes, not 15"]),
        ("GRAY8,width=5,height=4", 5 * 4, ["20 bytes", "32 bytes are needed", "rows of 8 bytes, not 5"]),
        ("NV12,width=6,height=4", 6 * 6, ["36 bytes", "48 bytes are needed", "rows of 8 bytes, not 6"]),
        ("YUY2,width=5,height=4", 47, ["47 bytes", "48 bytes are needed", "rows of 12 bytes"]),
    ] {
        let caps = format!("video/x-raw,framerate=30/1,format={caps}").leak();
        let (_, errors) = push(Some(caps), "", bytes);
        assert_eq!(errors.len(), 1, "{errors:?}");
        assert_clear(caps, &errors[0], &words);
        assert_clear(caps, &errors[0], &["send such rows", "GstVideoMeta", "on-error=passthrough"]);
    }
}

/// The lines of a debug category at INFO that contain `text`, while `case` runs.
fn logged(category: &str, text: &'static str, case: impl FnOnce()) -> Vec<String> {
    let lines = Arc::new(Mutex::new(Vec::new()));
    let (noted, wanted) = (lines.clone(), category.to_string());
    gst::log::set_threshold_for_name(category, gst::DebugLevel::Info);
    let function = gst::log::add_log_function(move |category, _, _, _, _, _, message| {
        let message = message.get().unwrap_or_default();
        if category.name() == wanted && message.contains(text) {
            noted.lock().unwrap().push(message.to_string());
        }
    });
    case();
    gst::log::remove_log_function(function);
    let lines = lines.lock().unwrap();
    lines.clone()
}

/// The pipeline fails upstream of the element. Upstream's message names no format.
#[test]
fn caps_that_are_refused_are_in_the_log() {
    const OFFERED: &str = "video/x-raw,format=P010_10LE,width=62,height=46,framerate=30/1";
    network_rig::init();
    let pose = format!("{} name=pose", network_rig::with_network("dots-small"));
    for (category, line) in [("rtmposebatch", pose.as_str()), ("rtmposeoverlay", "rtmposeoverlay")] {
        let offered: gst::Caps = OFFERED.parse().unwrap();
        let lines = logged(category, "width=(int)62", || {
            let mut rig = Rig::start_bin(line);
            rig.harness.set_src_caps(offered.clone());
            assert_eq!(rig.harness.push(gst::Buffer::new()), Err(gst::FlowError::NotNegotiated));
            let pad = rig.element.static_pad("sink").unwrap();
            assert!(pad.query_caps(Some(&offered)).is_empty());
        });
        assert!(lines.len() >= 2, "{category}: {lines:?}");
        for line in lines {
            for words in ["Caps refused", "P010_10LE", "this element accepts", "NV12"] {
                assert!(line.contains(words), "{category}: `{words}` is missing in: {line}");
            }
        }
    }
    // A format that downstream refuses is not this element's fault.
    let lines = logged("rtmposebatch", "width=(int)62", || {
        let rig = Rig::start_bin(&format!("{pose} ! capsfilter caps=video/x-raw,format=RGB"));
        let offered: gst::Caps = OFFERED.replace("P010_10LE", "NV12").parse().unwrap();
        assert!(rig.element.static_pad("sink").unwrap().query_caps(Some(&offered)).is_empty());
    });
    assert!(lines.iter().any(|line| line.contains("elements downstream do not accept")), "{lines:?}");
}

#[test]
fn pictures_that_are_not_upright_are_warned_of_once() {
    let tag = |orientation: &str| {
        let mut tags = gst::TagList::new();
        let mode = gst::TagMergeMode::Append;
        tags.get_mut().unwrap().add::<gst::tags::ImageOrientation>(&orientation, mode);
        gst::event::Tag::new(tags)
    };
    let warnings = |line: &str, orientations: &[&str]| {
        let mut rig = Rig::start_bin(line);
        rig.set_video(&video(VideoFormat::Gray8, 64, 48));
        for orientation in orientations {
            assert!(rig.harness.push_event(tag(orientation)));
            rig.push(gst::Buffer::from_mut_slice(vec![0; 64 * 64]));
        }
        rig.cut();
        network_rig::messages(&rig.bus, gst::MessageType::Warning)
    };
    let pose = format!("{} batch-size=1", network_rig::with_network("dots-small"));
    assert_eq!(warnings(&pose, &["rotate-0", "rotate-0"]), [""; 0]);
    for orientation in ["rotate-90", "rotate-180", "flip-rotate-0"] {
        let warnings = warnings(&pose, &["rotate-0", orientation, orientation]);
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        assert_clear(
            orientation,
            &warnings[0],
            &["not upright", orientation, "videoflip video-direction=auto"],
        );
    }
    // The remedy that the message names.
    let flipped = format!("videoflip video-direction=auto ! {pose}");
    assert_eq!(warnings(&flipped, &["rotate-90", "rotate-180"]), [""; 0]);
}

/// Plays 12 frames of a pattern through a network of `tests/networks`. Returns which of them carried people.
fn play_pattern(name: &str, pattern: &str, properties: &str) -> (crate::End, Vec<bool>) {
    network_rig::init();
    let seen = Arc::new(Mutex::new(Vec::new()));
    // A probe on the sink's pad reads the metadata.
    let line = format!(
        "videotestsrc num-buffers=12 pattern={pattern} ! video/x-raw,format=NV12,width=64,height=48 ! rtmposebatch \
         name=pose execution-provider=cpu model-file=\"{}\" batch-size=4 {properties} ! fakesink name=sink sync=false",
        network(name).display()
    );
    let end = {
        let seen = seen.clone();
        crate::play_with(&line, move |pipeline| {
            let pad = pipeline.by_name("sink").unwrap().static_pad("sink").unwrap();
            pad.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
                if let Some(buffer) = info.buffer() {
                    seen.lock().unwrap().push(gstrtmpose::meta::read(buffer).count() == 1);
                }
                gst::PadProbeReturn::Ok
            });
        })
    };
    let seen = seen.lock().unwrap().clone();
    (end, seen)
}

#[test]
fn a_run_that_fails_ends_the_stream_with_one_error() {
    let (end, seen) = play_pattern("fails", "white", "on-error=fail");
    assert!(!end.failed_to_start && !end.reached_eos);
    assert_eq!(end.errors.len(), 1, "{:?}", end.errors);
    assert_clear("fails, white", &end.errors[0], &["Inference failed", "Gather", "on-error=passthrough"]);
    assert!(seen.is_empty(), "no frame goes on before the error: {seen:?}");
}

/// An EOS behind failed frames adds no second error.
#[test]
fn an_error_before_eos_is_the_only_one() {
    let info = video(VideoFormat::Gray8, 64, 48);
    let white = Picture::new(64, 48).dot((32.0, 24.0), 40.0, WHITE).frame(&info, Layout::Plain);
    for frames in [1, 3] {
        let errors = watched("EOS after a failed run", {
            let (info, white) = (info.clone(), white.clone());
            move || {
                let mut rig = Rig::start("fails", &format!("{NEVER} batch-size=8 on-error=fail"));
                rig.set_video(&info);
                (0..frames).for_each(|_| rig.push(white.clone()));
                // The EOS cuts the batch, which fails before the queue reaches the EOS.
                rig.harness.push_event(gst::event::Eos::new());
                let first = rig.bus.timed_pop_filtered(None, &[gst::MessageType::Error]);
                rig.element.set_state(gst::State::Null).unwrap();
                first.map(|_| "first".to_string()).into_iter().chain(rig.errors()).collect::<Vec<_>>()
            }
        });
        assert_eq!(errors, ["first"]);
    }
}

/// Every frame is inferred; a search would skip some.
#[test]
fn a_run_that_fails_is_passed_through_with_one_warning() {
    let (end, seen) = play_pattern("fails", "white", "on-error=passthrough inference-region=full-frame");
    assert!(end.reached_eos, "{:?}", end.errors);
    assert_eq!((end.errors.len(), end.warnings.len()), (0, 1), "{:?} {:?}", end.errors, end.warnings);
    assert_clear("fails, white", &end.warnings[0], &["Inference failed", "without metadata", "passthrough"]);
    assert_eq!(seen, [false; 12]);
}

#[test]
fn the_same_network_runs_on_other_frames() {
    for on_error in ["fail", "passthrough"] {
        let (end, seen) = play_pattern("fails", "black", &format!("on-error={on_error}"));
        assert!(end.reached_eos && end.errors.is_empty() && end.warnings.is_empty(), "{:?}", end.errors);
        assert_eq!(seen, [true; 12]);
    }
}

/// One frame's run fails. With on-error=passthrough only the frames of its batch leave without metadata.
#[test]
fn frames_after_a_failed_run_are_looked_at_again() {
    let info = video(VideoFormat::Gray8, 64, 48);
    let frame = |value: u8| {
        let dot = Picture::new(64, 48).dot((32.0, 24.0), 20.0, [value; 3]);
        dot.frame(&info, Layout::Plain)
    };
    let mut rig = Rig::start("fails", "batch-size=1 on-error=passthrough");
    rig.set_video(&info);
    let values = [100, 255, 100, 255, 255, 100];
    values.into_iter().for_each(|value| rig.push(frame(value)));
    rig.cut();
    for (index, value) in values.into_iter().enumerate() {
        let buffer = rig.pull();
        assert_eq!(gstrtmpose::meta::read(&buffer).count(), usize::from(value == 100), "frame {index}");
    }
    assert_eq!(network_rig::messages(&rig.bus, gst::MessageType::Warning).len(), 1);
    assert!(rig.errors().is_empty());
}

/// A NaN in a network's answer is a point that was not found, and moves no other point.
#[test]
fn nan_is_a_missing_point() {
    let info = video(VideoFormat::Rgb, 640, 480);
    for (colour, found) in [(WHITE, [true; 3]), (RED, [true, false, false]), (BLUE, [false, false, true])] {
        let mut rig = Rig::start("nan", "batch-size=1");
        rig.set_video(&info);
        let people =
            rig.find(Picture::new(640, 480).dot((300.0, 200.0), 60.0, colour).frame(&info, Layout::Plain));
        let points = &people.people[0].key_points;
        assert_eq!(points.len(), 3);
        for (point, found) in points.iter().zip(found) {
            assert!(point.x.is_finite() && point.y.is_finite() && point.score.is_finite(), "{point:?}");
            assert_eq!(point.score > 0.9, found, "{colour:?}: {point:?}");
        }
        assert!(rig.errors().is_empty());
    }
}

#[test]
fn the_pipeline_ends_on_eos_with_a_good_network() {
    let (end, seen) = play_pattern("dots", "ball", "");
    assert!(end.reached_eos && end.errors.is_empty() && end.warnings.is_empty());
    assert_eq!(seen, [true; 12]);
    let end =
        play("videotestsrc num-buffers=0 ! video/x-raw,format=NV12 ! rtmposebatch name=pose ! fakesink");
    assert!(end.reached_eos && end.errors.is_empty(), "{:?}", end.errors);
}
