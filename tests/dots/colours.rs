//! What is red in the scene is red to the network, whatever the caps say about the bytes: the scores of coloured dots.

use gst_video::VideoFormat;

use crate::network_rig::{picture::*, *};

const SIZE: (u32, u32) = (320, 240);
const CENTRE: (f32, f32) = (150.0, 120.0);
const DIAMETER: f32 = 60.0;

const COLOURS: [[u8; 3]; 4] = [[220, 60, 40], [40, 200, 70], [60, 50, 230], [130, 90, 50]];

/// GStreamer's shorthand is range:matrix:transfer:primaries.
const COLORIMETRIES: [(&str, &str); 5] = [
    ("BT.601 limited", "bt601"),
    ("BT.709 limited", "bt709"),
    ("BT.601 full", "1:4:0:0"),
    ("BT.709 full", "1:3:0:0"),
    ("BT.2020 limited", "2:6:0:0"),
];

/// Scores of the three key points for a dot of that colour.
fn scores(rig: &mut Rig, info: &gst_video::VideoInfo, colour: [u8; 3]) -> [f32; 3] {
    rig.set_video(info);
    let picture = Picture::new(SIZE.0, SIZE.1).dot(CENTRE, DIAMETER, colour);
    scores_of(&rig.find(picture.frame(info, Layout::Plain)))
}

fn scores_of(people: &gstrtmpose::meta::FramePeople) -> [f32; 3] {
    std::array::from_fn(|point| people.people[0].key_points[point].score)
}

fn distance(a: [f32; 3], b: [f32; 3]) -> f32 {
    a.into_iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

/// `dots.onnx`: key point k's score is channel k's brightness.
#[test]
fn channels_keep_their_order_in_every_format() {
    let mut rig = Rig::start("dots", "batch-size=1");
    for format in FORMATS {
        let info = video(format, SIZE.0, SIZE.1);
        for colour in COLOURS {
            let expected = match format {
                VideoFormat::Gray8 => [luma(colour); 3],
                _ => colour.map(|value| f32::from(value) / 255.0),
            };
            let found = scores(&mut rig, &info, colour);
            let allowed = if info.is_rgb() { 0.003 } else { 0.015 };
            assert!(distance(found, expected) < allowed, "{format} {colour:?}: {found:?}, not {expected:?}");
        }
    }
}

/// Luma by BT.601, which GStreamer uses for grey without a colorimetry.
fn luma([r, g, b]: [u8; 3]) -> f32 {
    (0.299 * f32::from(r) + 0.587 * f32::from(g) + 0.114 * f32::from(b)) / 255.0
}

/// `colours.onnx`: key point k's score is how far channel k stands out.
#[test]
fn yuv_is_read_with_the_matrix_and_the_range_of_the_caps() {
    let mut rig = Rig::start("colours", "batch-size=1");
    for format in [VideoFormat::I420, VideoFormat::Nv12, VideoFormat::Yuy2] {
        for (name, colorimetry) in COLORIMETRIES {
            let info = video_with(format, SIZE.0, SIZE.1, &format!(",colorimetry={colorimetry}"));
            for colour in COLOURS {
                let [r, g, b] = colour.map(|value| f32::from(value) / 255.0);
                let stands_out = [r - (g + b) / 2.0, g - (r + b) / 2.0, b - (r + g) / 2.0];
                let expected = stands_out.map(|value| value.max(0.0));
                let found = scores(&mut rig, &info, colour);
                assert!(
                    distance(found, expected) < 0.02,
                    "{format} {name} {colour:?}: {found:?}, not {expected:?}"
                );
            }
        }
    }
}

/// The test above fails if caps are ignored: under other caps the same bytes are another colour.
#[test]
fn the_same_bytes_under_other_caps_are_another_colour() {
    let mut rig = Rig::start("dots", "batch-size=1");
    let infos = COLORIMETRIES.map(|(name, colorimetry)| {
        (name, video_with(VideoFormat::Nv12, SIZE.0, SIZE.1, &format!(",colorimetry={colorimetry}")))
    });
    let buffer =
        Picture::new(SIZE.0, SIZE.1).dot(CENTRE, DIAMETER, COLOURS[0]).frame(&infos[0].1, Layout::Plain);
    let found = infos.map(|(name, info)| {
        rig.set_video(&info);
        (name, scores_of(&rig.find(buffer.clone())))
    });
    for (i, (a, first)) in found.iter().enumerate() {
        for (b, second) in &found[i + 1..] {
            assert!(distance(*first, *second) > 0.01, "{a} gives {first:?}, {b} gives {second:?}");
        }
    }
}

#[test]
fn grey_has_the_range_of_the_caps() {
    let mut rig = Rig::start("dots", "batch-size=1");
    for (name, colorimetry) in COLORIMETRIES {
        let info = video_with(VideoFormat::Gray8, SIZE.0, SIZE.1, &format!(",colorimetry={colorimetry}"));
        for value in [255, 128, 0] {
            let [score, ..] = scores(&mut rig, &info, [value; 3]);
            let expected = f32::from(value) / 255.0;
            assert!(
                (score - expected).abs() < 0.006,
                "{name}: grey {value} has the score {score}, not {expected}"
            );
        }
    }
}

#[test]
fn rgb_has_the_range_of_the_caps() {
    let mut rig = Rig::start("dots", "batch-size=1");
    for format in [VideoFormat::Rgb, VideoFormat::Bgrx, VideoFormat::Argb] {
        for (name, colorimetry) in [("limited", "2:1:7:1"), ("full", "1:1:7:1"), ("unsaid", "0:1:7:1")] {
            for colour in COLOURS {
                let picture = Picture::new(SIZE.0, SIZE.1).dot(CENTRE, DIAMETER, colour);
                let mut buffer = picture.frame(&video(format, SIZE.0, SIZE.1), Layout::Plain);
                if name == "limited" {
                    // GStreamer's converter copies RGB unchanged, whatever its range.
                    let mut bytes = buffer.make_mut().map_writable().unwrap();
                    bytes.iter_mut().for_each(|byte| *byte = (f32::from(*byte) * 219.0 / 255.0 + 16.5) as u8);
                }
                rig.set_video(&video_with(format, SIZE.0, SIZE.1, &format!(",colorimetry={colorimetry}")));
                let found = scores_of(&rig.find(buffer));
                let expected = colour.map(|value| f32::from(value) / 255.0);
                assert!(
                    distance(found, expected) < 0.006,
                    "{format} {name} {colour:?}: {found:?}, not {expected:?}"
                );
            }
        }
    }
}

/// Chroma is not shifted, whether it lies on a pixel or between two pixels, as the caps say.
#[test]
fn coloured_dots_stay_in_place_for_every_chroma_site() {
    let mut rig = Rig::start("colours", "batch-size=1 inference-region=roi-list");
    for site in ["mpeg2", "jpeg", "cosited", "dv"] {
        for format in [VideoFormat::I420, VideoFormat::Nv21] {
            let info = video_with(format, SIZE.0, SIZE.1, &format!(",colorimetry=bt709,chroma-site={site}"));
            rig.set_video(&info);
            // A pixel of the crop is a pixel of the frame, so that half a pixel counts.
            let (region, dot) = ([80, 60, 144, 192], (140.3, 100.7));
            let picture = Picture::new(SIZE.0, SIZE.1).dot(dot, 24.0, BLUE);
            let mut buffer = picture.frame(&info, Layout::Plain);
            add_person(&mut buffer, region);
            let people = rig.find(buffer);
            assert_found(&format!("{format} {site}"), &people, (0, 2), dot, region, NETWORK);
        }
    }
}
