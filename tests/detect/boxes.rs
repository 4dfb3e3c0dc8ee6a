//! Every kind of detector, in frames of every size, shape and format.

use gst::prelude::*;
use gst_video::VideoFormat;

use crate::network_rig::{picture::*, *};
use crate::*;

/// How many pixels of the frame are one pixel of the input (96x64), across and down.
fn ratio(size: (u32, u32), is_stretched: bool) -> [f32; 2] {
    let ratio = [size.0 as f32 / 96.0, size.1 as f32 / 64.0];
    if is_stretched { ratio } else { [ratio[0].max(ratio[1]); 2] }
}

#[test]
fn each_kind_finds_people_in_frames_of_any_size() {
    for name in
        ["yolox", "yolox-int32", "yolox-by-class", "rtmdet", "rtmdet-by-class", "rfdetr", "yolox-anchors"]
    {
        let mut rig = Rig::start_detector(name, "batch-size=1");
        for size in [(1280, 720), (720, 1280), (641, 479), (96, 64), (1920, 200), (61, 43)] {
            let info = video(VideoFormat::Rgb, size.0, size.1);
            rig.set_video(&info);
            let all = rectangles(size);
            rig.push(picture(size, &all).frame(&info, Layout::Plain));
            let what = format!("{name}, {size:?}");
            assert_boxes(&what, &rig.pull(), &all[..2], ratio(size, name == "rfdetr"));
        }
        assert_eq!(rig.warnings(), [""; 0]);
    }
}

#[test]
fn every_format_and_layout_is_read() {
    let size = (640, 480);
    let mut rig = Rig::start_detector("yolox", "batch-size=1");
    for format in FORMATS {
        for layout in [Layout::Plain, Layout::Padded] {
            let info = video(format, size.0, size.1);
            rig.set_video(&info);
            let all = rectangles(size);
            rig.push(picture(size, &all).frame(&info, layout));
            // In a grey frame the network finds no colour.
            let expected = if format == VideoFormat::Gray8 { &[][..] } else { &all[..2] };
            assert_boxes(&format!("{format} {layout:?}"), &rig.pull(), expected, ratio(size, false));
        }
    }
}

#[test]
fn pixels_that_are_not_square_are_looked_at_as_they_are_shown() {
    let shown = (640, 480);
    let all = rectangles(shown);
    for (across, down) in [(2, 1), (1, 2)] {
        for name in ["yolox", "rfdetr"] {
            let mut rig = Rig::start_detector(name, "batch-size=1");
            let fields = format!(",pixel-aspect-ratio={across}/{down}");
            let info = video_with(VideoFormat::Rgb, shown.0 / across, shown.1 / down, &fields);
            rig.set_video(&info);
            rig.push(
                picture(shown, &all).squeezed(across as usize, down as usize).frame(&info, Layout::Plain),
            );
            let [across, down] = [across as i32, down as i32];
            let own = |[x, y, width, height]: [i32; 4]| [x / across, y / down, width / across, height / down];
            let expected = [own(all[0]), own(all[1])];
            let [x, y] = ratio(shown, name == "rfdetr");
            assert_boxes(
                &format!("{name} {across}:{down}"),
                &rig.pull(),
                &expected,
                [x / across as f32, y / down as f32],
            );
        }
    }
}

/// An input size that the file leaves open is 640x640.
#[test]
fn a_file_of_any_size_is_taken_at_640() {
    let size = (1280, 720);
    let mut rig = Rig::start_detector("yolox-any-size", "batch-size=1");
    let info = video(VideoFormat::Rgb, size.0, size.1);
    rig.set_video(&info);
    let all = rectangles(size);
    rig.push(picture(size, &all).frame(&info, Layout::Plain));
    assert_boxes("640x640", &rig.pull(), &all[..2], [2.0; 2]);
}

#[test]
fn properties_say_which_boxes_are_people() {
    let size = (640, 480);
    let info = video(VideoFormat::Rgb, size.0, size.1);
    let all = rectangles(size);
    for (name, properties, expected) in [
        ("yolox", "class-ids=0,1", &all[..]),
        ("yolox", "class-ids=1", &all[2..]),
        ("yolox", "class-ids=7", &[]),
        ("rtmdet", "class-ids=0,1", &all[..]),
        ("yolox-anchors", "class-ids=0,1", &all[..]),
        ("yolox-anchors", "class-ids=1", &all[2..]),
        ("rfdetr", "class-ids=0,1", &all[..]),
        ("rfdetr", "class-ids=1", &all[2..]),
    ] {
        let mut rig = Rig::start_detector(name, &format!("batch-size=1 {properties}"));
        rig.set_video(&info);
        rig.push(picture(size, &all).frame(&info, Layout::Plain));
        let what = format!("{name} {properties}");
        assert_boxes(&what, &rig.pull(), expected, ratio(size, name == "rfdetr"));
    }
    // Each rectangle twice, the second time with a score of .8.
    let mut rig = Rig::start_detector("yolox-anchors", "batch-size=1 nms-threshold=1");
    rig.set_video(&info);
    let mut count = |property: &str, value: &str| {
        rig.element.set_property_from_str(property, value);
        rig.push(picture(size, &all).frame(&info, Layout::Plain));
        regions(&rig.pull()).len()
    };
    assert_eq!(count("nms-threshold", "1"), 4);
    assert_eq!(count("max-detections", "3"), 3);
    assert_eq!(count("score-threshold", "0.9"), 2);
    assert_eq!(count("max-detections", "1"), 1);
    assert_eq!(count("score-threshold", "1"), 0, "only higher scores");
}
