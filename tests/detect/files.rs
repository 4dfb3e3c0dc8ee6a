//! Files that an element does not take, and answers that no detector should give.

use gst::prelude::*;
use gst_video::VideoFormat;

use crate::network_rig::{picture::*, *};
use crate::*;

/// The one error of an element that does not start.
#[track_caller]
fn refusal(line: &str) -> String {
    init();
    let element = gst::parse::launch(line).unwrap_or_else(|error| panic!("{line}: {error}"));
    let bus = gst::Bus::new();
    element.set_bus(Some(&bus));
    assert!(element.set_state(gst::State::Ready).is_err(), "{line}");
    element.set_state(gst::State::Null).unwrap();
    let mut errors = messages(&bus, gst::MessageType::Error);
    assert_eq!(errors.len(), 1, "{errors:?}");
    errors.remove(0)
}

#[test]
fn a_file_of_another_kind_is_told_which_element_takes_it() {
    let pose = |name: &str| with_network(name);
    for (line, words) in [
        (with_detector("dots-small"), ["is a pose model (RTMPose)", "use rtmposebatch for it"]),
        (with_detector("vitpose"), ["is a pose model (ViTPose", "use rtmposebatch for it"]),
        (with_detector("packed"), ["is a pose model (RTMPose)", "use rtmposebatch for it"]),
        (with_detector("rtmo"), ["is a pose model (RTMO)", "use rtmposebatch for it"]),
        (with_detector("classifier"), ["is a classifier", "which this plugin cannot use"]),
        (
            with_detector("heatmaps"),
            ["is not a detector that rtmposedetect supports", "`heatmaps` of float32"],
        ),
        (pose("yolox"), ["is a detector (YOLOX)", "use rtmposedetect for it"]),
        (pose("yolox-one"), ["is a detector (YOLOX)", "use rtmposedetect for it"]),
        (pose("yolox-anchors"), ["is a detector (YOLOX)", "use rtmposedetect for it"]),
        (pose("rtmdet"), ["is a detector (RTMDet)", "use rtmposedetect for it"]),
        (pose("rfdetr"), ["is a detector (RF-DETR)", "use rtmposedetect for it"]),
        (pose("classifier"), ["is a classifier", "which this plugin cannot use"]),
    ] {
        let error = refusal(&line);
        assert!(words.iter().all(|word| error.contains(word)), "{line}: {error}");
        assert!(
            error.contains(".onnx") && !error.contains('\n') && !error.contains(". "),
            "one sentence: {error}"
        );
    }
}

#[test]
fn settings_that_fit_no_network_are_refused() {
    let line = |properties: &str| format!("{} {properties}", with_detector("yolox-anchors"));
    for (line, words) in [
        ("rtmposedetect".to_string(), "No detector is embedded in the plugin: set the property model-file"),
        (line("class-ids=person"), "class-ids contains \"person\", which is not a class number"),
        (line("class-ids=2"), "class-ids contains class 2, but the model"),
        (line("class-ids=0,1,79"), "class-ids contains class 79"),
        (format!("{} class-ids=2", with_detector("rfdetr")), "has classes 0 to 1"),
        ("rtmposedetect model-file=/nowhere/detector.onnx".to_string(), "cannot be read"),
    ] {
        let error = refusal(&line);
        assert!(error.contains(words), "{line}: {error}");
    }
}

/// Of 10,000 boxes at most `max-detections` are kept, and each answer has the same size.
#[test]
fn ten_thousand_boxes_are_held_to_the_most() {
    let size = (192, 128);
    let info = video(VideoFormat::Rgb, size.0, size.1);
    for (properties, most) in [("", 100), ("max-detections=7", 7), ("max-detections=1000", 300)] {
        let mut rig = Rig::start_detector("boxes-many", &format!("batch-size=2 {properties}"));
        rig.set_video(&info);
        for _ in 0..4 {
            rig.push(Picture::new(size.0, size.1).frame(&info, Layout::Plain));
        }
        for _ in 0..4 {
            let found = regions(&rig.pull());
            assert_eq!(found.len(), most, "{properties}");
            assert!(found.windows(2).all(|pair| pair[0].1 >= pair[1].1), "the surest first");
            let inside =
                |([x, y, w, h], _): &([i32; 4], f64)| *x >= 0 && *y >= 0 && x + w <= 192 && y + h <= 128;
            assert!(found.iter().all(inside), "{found:?}");
        }
    }
}

/// Boxes with NaN, without area, turned round, outside or endless are dropped. A box across the border is cut
/// off there.
#[test]
fn broken_boxes_are_left_out() {
    let size = (192, 128);
    let info = video(VideoFormat::Rgb, size.0, size.1);
    let mut rig = Rig::start_detector("boxes-bad", "batch-size=1");
    rig.set_video(&info);
    rig.push(Picture::new(size.0, size.1).frame(&info, Layout::Plain));
    let found = regions(&rig.pull());
    let expected = [([20, 20, 40, 60], 0.9), ([0, 0, 192, 128], 0.8), ([120, 20, 40, 60], 7.0)];
    assert_eq!(found.len(), 3, "{found:?}");
    for ((region, confidence), (expected, sure)) in found.iter().zip(expected) {
        assert!(*region == expected && (confidence - sure).abs() < 1e-6, "{found:?}");
    }
}
