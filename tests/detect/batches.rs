//! Frames in batches of any size, each with its own people and in its place.

use gst_video::VideoFormat;

use crate::network_rig::{picture::*, *};
use crate::*;

const SIZE: (u32, u32) = (192, 128);

/// A rectangle whose place shows its frame's number.
fn rectangle(number: usize) -> [i32; 4] {
    [4 + 7 * (number as i32 % 20), 20 + 2 * (number as i32 % 9), 30, 60]
}

fn frame(info: &gst_video::VideoInfo, number: usize) -> gst::Buffer {
    Picture::filled(SIZE.0, SIZE.1, GREY).rectangle(rectangle(number), RED).frame(info, Layout::Plain)
}

fn info() -> gst_video::VideoInfo {
    video(VideoFormat::I420, SIZE.0, SIZE.1)
}

#[test]
fn batches_of_any_size_answer_each_frame() {
    for name in ["yolox", "yolox-by-class", "yolox-anchors", "rfdetr"] {
        for batch in 1..=8 {
            let mut rig = Rig::start_detector(name, &format!("batch-size={batch} {NEVER}"));
            let info = info();
            rig.set_video(&info);
            // The last batch is cut before it is full.
            let count = 2 * batch + batch / 2;
            (0..count).for_each(|number| rig.push(frame(&info, number)));
            rig.cut();
            for number in 0..count {
                let found = rig.pull();
                assert_eq!(found.pts(), Some(gst::ClockTime::from_mseconds(number as u64)));
                assert_boxes(
                    &format!("{name} {batch}, frame {number}"),
                    &found,
                    &[rectangle(number)],
                    [2.0; 2],
                );
            }
            assert_eq!(rig.stat("crops"), count as u64);
            assert_eq!(rig.stat("batches"), count.div_ceil(batch) as u64, "{name} {batch}");
            assert_eq!(rig.warnings(), [""; 0]);
        }
    }
}

/// A file for one frame, and a file that fails only on more: batches of one, one warning, every frame right.
#[test]
fn files_that_take_one_frame_are_run_on_one_after_another() {
    for (name, warning) in
        [("yolox-one", "accepts batches of 1, not 4"), ("yolox-one-hidden", "cannot run 4 frames at once")]
    {
        let mut rig = Rig::start_detector(name, NEVER);
        let warnings = rig.warnings();
        assert!(warnings.len() == 1 && warnings[0].contains(warning), "{warnings:?}");
        assert!(warnings[0].contains("set batch-size=1"), "{warnings:?}");
        let info = info();
        rig.set_video(&info);
        for number in 0..6 {
            // Pushes nothing after this frame.
            rig.push(frame(&info, number));
            assert_boxes(name, &rig.pull(), &[rectangle(number)], [2.0; 2]);
        }
        assert_eq!((rig.stat("batches"), rig.stat("crops")), (6, 6));
        let silent = Rig::start_detector(name, "batch-size=1");
        assert_eq!(silent.warnings(), [""; 0]);
    }
}

#[test]
fn streams_share_a_detector_and_keep_their_order() {
    let line = |name: &str| {
        format!(
            "{} name={name} model-instance-id=shared-detector batch-size=4 inference-interval=1",
            with_detector("yolox")
        )
    };
    let mut rigs = ["a", "b", "c"].map(|name| Rig::start_bin(&line(name)));
    let info = info();
    for (stream, rig) in rigs.iter_mut().enumerate() {
        rig.set_video(&info);
        (0..5).for_each(|number| rig.push(frame(&info, 7 * stream + number)));
    }
    for (stream, rig) in rigs.iter_mut().enumerate() {
        for number in 0..5 {
            let what = format!("stream {stream}, frame {number}");
            assert_boxes(&what, &rig.pull(), &[rectangle(7 * stream + number)], [2.0; 2]);
        }
    }
}

/// Frames between two inferences carry neither regions nor a mark.
#[test]
fn frames_between_detections_carry_nothing() {
    let mut rig = Rig::start_detector("yolox", "batch-size=1 inference-interval=3");
    let info = info();
    rig.set_video(&info);
    (0..9).for_each(|number| rig.push(frame(&info, number)));
    rig.cut();
    for number in 0..9 {
        let found = rig.pull();
        let looked = gstrtmpose::meta::was_looked_at(&found);
        assert_eq!(
            (regions(&found).len(), looked),
            (usize::from(number % 3 == 0), number % 3 == 0),
            "{number}"
        );
    }
}
