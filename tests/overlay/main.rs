//! Element `rtmposeoverlay`: the right pixels in the right colours, in every format, and no others.

#[path = "../network_rig/mod.rs"]
mod network_rig;

mod redact;

use gst::prelude::*;
use gst_check::Harness;
use gst_video::{VideoColorimetry, VideoConverter, VideoFormat, VideoFrame, VideoInfo, VideoMeta};
use gstrtmpose::meta::{self, FramePeople};
use gstrtmpose::pose::{KeyPoint, Person, Region};
use network_rig::process::Folder;

const LEFT: [u8; 3] = [0, 160, 255];
const RIGHT: [u8; 3] = [255, 140, 0];
const CENTRE: [u8; 3] = [255, 255, 255];
/// Every sample of a fresh frame: a grey in each format.
const BACKGROUND: u8 = 128;

// Points of coco-17 that no link joins.
const NOSE: usize = 0;
const LEFT_WRIST: usize = 9;
const RIGHT_WRIST: usize = 10;

const FORMATS: [VideoFormat; 17] = [
    VideoFormat::Rgb,
    VideoFormat::Bgr,
    VideoFormat::Rgbx,
    VideoFormat::Bgrx,
    VideoFormat::Xrgb,
    VideoFormat::Xbgr,
    VideoFormat::Rgba,
    VideoFormat::Bgra,
    VideoFormat::Argb,
    VideoFormat::Abgr,
    VideoFormat::Nv12,
    VideoFormat::Nv21,
    VideoFormat::I420,
    VideoFormat::Yv12,
    VideoFormat::Yuy2,
    VideoFormat::Uyvy,
    VideoFormat::Gray8,
];

fn init() {
    gst::init().unwrap();
    gstrtmpose::plugin_register_static().unwrap();
}

fn harness(info: &VideoInfo) -> Harness {
    let mut harness = Harness::new("rtmposeoverlay");
    // The radius is larger than the colour samples that GStreamer's converter blends.
    harness.element().unwrap().set_property("point-radius", 6.0f32);
    harness.set_src_caps(info.to_caps().unwrap());
    harness
}

fn info(format: VideoFormat, width: u32, height: u32) -> VideoInfo {
    VideoInfo::builder(format, width, height).fps((30, 1)).build().unwrap()
}

fn blank(info: &VideoInfo) -> gst::Buffer {
    gst::Buffer::from_mut_slice(vec![BACKGROUND; info.size()])
}

/// A coco-17 person with only these points found.
fn person(found: &[(usize, f32, f32)]) -> Person {
    let mut key_points = vec![KeyPoint { x: 5.0, y: 5.0, score: 0.0, z: None }; 17];
    for &(index, x, y) in found {
        key_points[index] = KeyPoint { x, y, score: 0.9, z: None };
    }
    Person { region: Region::new(20.0, 40.0, 200.0, 150.0), key_points, id: None }
}

fn people(width: u32, height: u32, people: Vec<Person>) -> FramePeople {
    FramePeople {
        source: "pose".into(),
        width,
        height,
        skeleton: "coco-17".into(),
        points: 17,
        people,
        carried: false,
    }
}

fn with_people(mut buffer: gst::Buffer, people: &FramePeople) -> gst::Buffer {
    meta::write(buffer.get_mut().unwrap(), people).unwrap();
    buffer
}

fn overlay(harness: &mut Harness, buffer: gst::Buffer) -> gst::Buffer {
    harness.push_and_pull(buffer).unwrap()
}

fn bytes(buffer: &gst::BufferRef) -> Vec<u8> {
    buffer.map_readable().unwrap().to_vec()
}

/// The frame as GStreamer's own converter shows it, in RGB.
struct Picture {
    width: usize,
    height: usize,
    stride: usize,
    data: Vec<u8>,
}

impl Picture {
    fn new(buffer: &gst::Buffer, info: &VideoInfo) -> Self {
        let rgb = VideoInfo::builder(VideoFormat::Rgb, info.width(), info.height())
            .fps(info.fps())
            .build()
            .unwrap();
        let converter = VideoConverter::new(info, &rgb, None).unwrap();
        let source = VideoFrame::from_buffer_readable(buffer.clone(), info).unwrap();
        let target = gst::Buffer::with_size(rgb.size()).unwrap();
        let mut target = VideoFrame::from_buffer_writable(target, &rgb).unwrap();
        converter.frame(&source, &mut target);
        Self {
            width: rgb.width() as usize,
            height: rgb.height() as usize,
            stride: rgb.stride()[0] as usize,
            data: bytes(&target.into_buffer()),
        }
    }

    fn at(&self, x: usize, y: usize) -> [u8; 3] {
        self.data[y * self.stride + 3 * x..][..3].try_into().unwrap()
    }

    /// Positions where two pictures differ.
    fn differences(&self, other: &Self) -> Vec<(usize, usize)> {
        (0..self.height)
            .flat_map(|y| (0..self.width).map(move |x| (x, y)))
            .filter(|&(x, y)| self.at(x, y) != other.at(x, y))
            .collect()
    }
}

/// Whether the colours are the same, up to the error of the converter's fast paths, which is at most 5.
fn near(found: [u8; 3], expected: [u8; 3]) -> bool {
    found.iter().zip(expected).all(|(&found, expected)| found.abs_diff(expected) <= 6)
}

/// Draws three points that no link joins, and checks the whole picture. Returns the frame.
fn check_three_points(info: &VideoInfo, buffer: gst::Buffer) -> gst::Buffer {
    let (width, height) = (info.width(), info.height());
    let places = [(NOSE, 160, 60, CENTRE), (LEFT_WRIST, 250, 121, LEFT), (RIGHT_WRIST, 61, 180, RIGHT)];
    let found = places.map(|(index, x, y, _)| (index, x as f32, y as f32));
    let before = Picture::new(&buffer, info);
    let buffer = with_people(buffer, &people(width, height, vec![person(&found)]));

    let mut harness = harness(info);
    let drawn = overlay(&mut harness, buffer);
    let after = Picture::new(&drawn, info);

    let text = info.to_caps().unwrap();
    for (_, x, y, colour) in places {
        let expected = match info.format() {
            // The caps' matrix for grey is that of BT.601.
            VideoFormat::Gray8 => {
                let [r, g, b] = colour.map(f64::from);
                [(0.299 * r + 0.587 * g + 0.114 * b).round() as u8; 3]
            }
            _ => colour,
        };
        let at = after.at(x, y);
        assert!(near(at, expected), "{text}: {at:?} at {x}, {y} should be {expected:?}");
    }
    let differences = after.differences(&before);
    assert!(differences.len() > 60, "{text}");
    for (x, y) in differences {
        let distance = |&(_, px, py, _): &(usize, usize, usize, [u8; 3])| {
            ((x as f64 - px as f64).powi(2) + (y as f64 - py as f64).powi(2)).sqrt()
        };
        assert!(places.iter().any(|place| distance(place) < 10.0), "{text}: touched at {x}, {y}");
    }
    drawn
}

#[test]
fn points_have_the_colour_of_their_side_in_every_format() {
    init();
    for format in FORMATS {
        for (width, height) in [(320, 240), (321, 241)] {
            let info = info(format, width, height);
            check_three_points(&info, blank(&info));
        }
    }
}

/// Pixels of a disc's row and column through its middle.
fn sides_of_a_disc(format: VideoFormat, (width, height): (u32, u32), aspect: (i32, i32)) -> (usize, usize) {
    let info = VideoInfo::builder(format, width, height).par(aspect).build().unwrap();
    let (x, y) = (width as usize / 2, height as usize / 2);
    let before = blank(&info);
    let found = person(&[(NOSE, x as f32, y as f32)]);
    let drawn = with_people(before.copy(), &people(width, height, vec![found]));
    let mut harness = harness(&info);
    harness.element().unwrap().set_property("point-radius", 20.0f32);
    let drawn = Picture::new(&overlay(&mut harness, drawn), &info);
    let differences = drawn.differences(&Picture::new(&before, &info));
    (differences.iter().filter(|at| at.1 == y).count(), differences.iter().filter(|at| at.0 == x).count())
}

#[test]
fn what_is_round_is_shown_round() {
    init();
    for format in [VideoFormat::Rgb, VideoFormat::I420, VideoFormat::Yuy2] {
        let (across, down) = sides_of_a_disc(format, (320, 240), (1, 1));
        assert!((40..52).contains(&across) && across.abs_diff(down) <= 2, "{format}: {across} by {down}");
        for (size, aspect, expected) in [
            ((160, 240), (2, 1), (across / 2, down)),
            ((320, 120), (1, 2), (across * 2, down)),
            ((320, 240), (16, 15), (across * 15 / 16, down)),
            ((320, 240), (0, 1), (across, down)),
        ] {
            let found = sides_of_a_disc(format, size, aspect);
            let near = found.0.abs_diff(expected.0) <= 3 && found.1.abs_diff(expected.1) <= 3;
            assert!(near, "{format}, pixels of {aspect:?}: {found:?}, not {expected:?}");
        }
    }
}

#[test]
fn matrix_and_range_are_those_of_the_caps() {
    init();
    // Y, Cb and Cr of the left side's blue by the formulas of BT.601, BT.709 and BT.2020, limited and full range.
    for (colorimetry, blue) in [
        ("bt601", [122, 193, 51]),
        ("bt709", [130, 186, 54]),
        ("bt2020", [122, 189, 54]),
        ("1:4:0:0", [123, 202, 40]),
        ("1:3:5:1", [133, 194, 44]),
    ] {
        let colorimetry: VideoColorimetry = colorimetry.parse().unwrap();
        for format in [VideoFormat::I420, VideoFormat::Nv12, VideoFormat::Yuy2] {
            let info = VideoInfo::builder(format, 320, 240).colorimetry(&colorimetry).build().unwrap();
            let drawn = check_three_points(&info, blank(&info));
            if format == VideoFormat::I420 {
                let data = bytes(&drawn);
                let (x, y) = (250, 121);
                let chroma = 320 * 240 + y / 2 * 160 + x / 2;
                assert_eq!(
                    [data[y * 320 + x], data[chroma], data[chroma + 160 * 120]],
                    blue,
                    "{colorimetry}"
                );
            }
        }
    }
}

#[test]
fn rgb_has_the_range_of_the_caps() {
    init();
    for (range, blue) in [("1:1:7:1", LEFT), ("0:1:7:1", LEFT), ("2:1:7:1", [16, 153, 235])] {
        let colorimetry: VideoColorimetry = range.parse().unwrap();
        let info = VideoInfo::builder(VideoFormat::Rgb, 320, 240).colorimetry(&colorimetry).build().unwrap();
        let left = person(&[(LEFT_WRIST, 250.0, 121.0)]);
        let drawn = overlay(&mut harness(&info), with_people(blank(&info), &people(320, 240, vec![left])));
        assert_eq!(bytes(&drawn)[3 * (121 * 320 + 250)..][..3], blue, "{range}");
    }
}

#[test]
fn a_frame_that_is_drawn_on_is_no_gap_any_more() {
    init();
    let info = info(VideoFormat::Rgb, 320, 240);
    let mut harness = harness(&info);
    for (found, expected) in [(vec![person(&[(NOSE, 100.0, 100.0)])], false), (vec![], true)] {
        let mut gap = with_people(blank(&info), &people(320, 240, found));
        gap.get_mut().unwrap().set_flags(gst::BufferFlags::GAP);
        let passed = overlay(&mut harness, gap);
        assert_eq!(passed.flags().contains(gst::BufferFlags::GAP), expected);
    }
}

#[test]
fn strides_come_from_the_buffer() {
    init();
    for (format, stride, offset) in [
        (VideoFormat::I420, vec![416, 208, 224], vec![64, 64 + 416 * 240, 64 + 416 * 240 + 208 * 120]),
        (VideoFormat::Nv12, vec![352, 384], vec![0, 352 * 260]),
        (VideoFormat::Bgr, vec![1001], vec![32]),
    ] {
        let info = info(format, 320, 240);
        let mut buffer = gst::Buffer::from_mut_slice(vec![BACKGROUND; 400_000]);
        let meta = buffer.get_mut().unwrap();
        VideoMeta::add_full(meta, gst_video::VideoFrameFlags::empty(), format, 320, 240, &offset, &stride)
            .unwrap();
        check_three_points(&info, buffer);
    }
}

#[test]
fn what_is_drawn_becomes_opaque() {
    init();
    for (format, alpha) in [(VideoFormat::Rgba, 3), (VideoFormat::Argb, 0), (VideoFormat::Bgrx, 3)] {
        let info = info(format, 320, 240);
        let buffer = with_people(blank(&info), &people(320, 240, vec![person(&[(NOSE, 100.0, 100.0)])]));
        let data = bytes(&overlay(&mut harness(&info), buffer));
        let at = |x: usize, y: usize| data[4 * (y * 320 + x) + alpha];
        let drawn = if format == VideoFormat::Bgrx { BACKGROUND } else { 255 };
        assert_eq!((at(100, 100), at(50, 50)), (drawn, BACKGROUND), "{format}");
    }
}

#[test]
fn a_wrong_position_costs_nothing_and_spoils_nothing() {
    init();
    const INFINITY: f32 = f32::INFINITY;
    for format in FORMATS {
        let info = info(format, 321, 241);
        let mut harness = harness(&info);
        harness.element().unwrap().set_property("draw-box", true);
        let before = bytes(&blank(&info));
        for (x, y) in [
            (f32::NAN, 10.0),
            (10.0, INFINITY),
            (-INFINITY, f32::NAN),
            (f32::MAX, f32::MAX),
            (1e30, -1e30),
            (-5000.0, 100.0),
            (100.0, 1e9),
        ] {
            let mut lost = person(&[(NOSE, x, y), (1, x, y), (5, x, y), (6, -x, y)]);
            lost.region = Region::new(x, y, 10.0, x);
            lost.id = Some(i64::MIN);
            let buffer = with_people(blank(&info), &people(321, 241, vec![lost]));
            let drawn = overlay(&mut harness, buffer);
            // Links and boxes with an end far outside may cross the frame. Here only the link between the
            // shoulders does.
            if y != 100.0 {
                assert_eq!(bytes(&drawn), before, "{format} {x} {y}");
            }
        }
    }
}

#[test]
fn points_on_the_border_are_drawn_as_far_as_they_are_inside() {
    init();
    for format in [VideoFormat::Rgb, VideoFormat::I420, VideoFormat::Nv12, VideoFormat::Uyvy] {
        for (width, height) in [(321, 241), (1, 1), (2, 3)] {
            let info = info(format, width, height);
            let (right, bottom) = ((width - 1) as f32, (height - 1) as f32);
            for (x, y) in [(0.0, 0.0), (right, 0.0), (0.0, bottom), (right, bottom)] {
                let buffer =
                    with_people(blank(&info), &people(width, height, vec![person(&[(RIGHT_WRIST, x, y)])]));
                let drawn = Picture::new(&overlay(&mut harness(&info), buffer), &info);
                let at = drawn.at(x as usize, y as usize);
                assert!(near(at, RIGHT), "{format} {width}x{height} {x},{y}: {at:?}");
            }
        }
    }
}

#[test]
fn links_are_drawn_between_points_that_were_found() {
    init();
    let info = info(VideoFormat::Rgb, 320, 240);
    let mut harness = harness(&info);
    let mut middle = |change: &dyn Fn(&mut Person)| {
        let mut arm = person(&[(5, 100.0, 100.0), (7, 200.0, 100.0)]);
        change(&mut arm);
        let buffer = with_people(blank(&info), &people(320, 240, vec![arm]));
        Picture::new(&overlay(&mut harness, buffer), &info).at(150, 100)
    };
    assert!(near(middle(&|_| ()), LEFT));
    // A link from inside the frame to a point far outside.
    assert!(near(middle(&|arm| arm.key_points[7].x = 1e7), LEFT));
    let untouched = [BACKGROUND; 3];
    assert_eq!(middle(&|arm| arm.key_points[7].score = 0.29), untouched);
    assert_eq!(middle(&|arm| arm.key_points[5].score = f32::NAN), untouched);
    assert_eq!(middle(&|arm| arm.key_points[7].x = f32::NAN), untouched);
    assert_eq!(middle(&|arm| arm.key_points[7].y = f32::INFINITY), untouched);
    // A link from a left to a right point has the centre's colour, a link from the centre to a left point the
    // left's.
    assert!(near(middle(&|arm| arm.key_points.swap(7, 6)), CENTRE));
    let head = |arm: &mut Person| {
        arm.key_points.swap(5, 0);
        arm.key_points.swap(7, 1);
    };
    assert!(near(middle(&head), LEFT));
}

#[test]
fn properties_can_change_while_playing() {
    init();
    let info = info(VideoFormat::Bgrx, 320, 240);
    let mut harness = harness(&info);
    let element = harness.element().unwrap();
    assert_eq!(element.property::<f32>("score-threshold"), 0.3);
    assert_eq!(element.property::<f32>("line-width"), 0.0);
    assert!(!element.property::<bool>("draw-box"));
    assert!(element.property::<bool>("draw-id"));
    let fresh = gst::ElementFactory::make("rtmposeoverlay").build().unwrap();
    assert_eq!(fresh.property::<f32>("point-radius"), 0.0);
    let blank = bytes(&blank(&info));
    let mut touched = |id| {
        let mut someone = person(&[(NOSE, 300.0, 200.0), (LEFT_WRIST, 200.0, 220.0), (7, 100.0, 220.0)]);
        someone.id = id;
        let buffer = with_people(self::blank(&info), &people(320, 240, vec![someone]));
        let drawn = bytes(&overlay(&mut harness, buffer));
        drawn.chunks(4).zip(blank.chunks(4)).filter(|(a, b)| a != b).count()
    };
    let plain = touched(None);
    let with_id = touched(Some(1234567890));
    assert!(with_id > plain);
    element.set_property("draw-id", false);
    assert_eq!(touched(Some(1234567890)), plain);
    element.set_property("draw-box", true);
    let with_box = touched(None);
    assert!(with_box > plain + 600);
    element.set_property("draw-box", false);
    element.set_property("line-width", 9.0f32);
    assert!(touched(None) > plain + 500);
    element.set_property("line-width", 0.0f32);
    element.set_property("point-radius", 20.0f32);
    assert!(touched(None) > plain + 2000);
    element.set_property("score-threshold", 0.95f32);
    assert_eq!(touched(None), 0);
    // Scores can be above 1.
    element.set_property("score-threshold", 1.5f32);
    assert_eq!(touched(None), 0);
}

#[test]
fn a_property_that_comes_too_late_is_warned_of() {
    init();
    let element =
        gst::ElementFactory::make("rtmposeoverlay").property("skeleton", "coco-17").build().unwrap();
    let bus = gst::Bus::new();
    element.set_bus(Some(&bus));
    for _ in 0..2 {
        element.set_property("skeleton", "halpe-26");
        element.set_state(gst::State::Paused).unwrap();
        assert!(bus.pop_filtered(&[gst::MessageType::Warning]).is_none(), "it is in time");
        element.set_property("skeleton", "hand-21");
        let texts = network_rig::messages(&bus, gst::MessageType::Warning);
        assert_eq!(texts.len(), 1, "{texts:?}");
        assert!(texts[0].contains("skeleton") && texts[0].contains("READY to PAUSED"), "{texts:?}");
        element.set_property("draw-box", true);
        element.set_state(gst::State::Ready).unwrap();
        assert!(bus.pop_filtered(&[gst::MessageType::Warning]).is_none(), "that takes effect at once");
    }
    element.set_state(gst::State::Null).unwrap();
}

#[test]
fn nobody_leaves_the_memory_alone() {
    init();
    let info = info(VideoFormat::I420, 320, 240);
    let mut harness = harness(&info);
    for buffer in [
        gst::Buffer::from_slice(vec![1u8; info.size()]),
        with_people(gst::Buffer::from_slice(vec![1u8; info.size()]), &people(320, 240, vec![])),
    ] {
        // A read-only buffer with a second owner: mapping it for writing would copy it.
        let memory = buffer.peek_memory(0).as_ptr();
        let _other = buffer.clone();
        let passed = overlay(&mut harness, buffer);
        assert_eq!(passed.peek_memory(0).as_ptr(), memory);
    }
}

#[test]
fn somebody_elses_view_of_the_frame_stays_as_it_is() {
    init();
    let info = info(VideoFormat::I420, 320, 240);
    let buffer = with_people(blank(&info), &people(320, 240, vec![person(&[(NOSE, 100.0, 100.0)])]));
    let other = buffer.clone();
    let drawn = overlay(&mut harness(&info), buffer);
    assert_ne!(bytes(&drawn), bytes(&other));
    assert_eq!(bytes(&other), bytes(&blank(&info)));
}

#[test]
fn people_of_a_frame_of_another_size_are_scaled() {
    init();
    let info = info(VideoFormat::Rgb, 320, 240);
    let far = people(1280, 480, vec![person(&[(LEFT_WRIST, 800.0, 100.0)])]);
    let drawn = Picture::new(&overlay(&mut harness(&info), with_people(blank(&info), &far)), &info);
    assert!(near(drawn.at(200, 50), LEFT));
}

#[test]
fn unknown_skeletons_are_points_without_links() {
    init();
    let info = info(VideoFormat::Rgb, 320, 240);
    let mut harness = harness(&info);
    // The last one claims to be coco-17, but has fewer points.
    for skeleton in ["custom-5", "", "coco-17"] {
        let at = |x| KeyPoint { x, y: 100.0, score: 1.2, z: None };
        let key_points = [50.0, 100.0, 150.0, 200.0, 250.0].map(at).to_vec();
        let someone = Person { region: Region::new(0.0, 0.0, 9.0, 9.0), key_points, id: None };
        let custom = FramePeople { skeleton: skeleton.into(), points: 5, ..people(320, 240, vec![someone]) };
        let drawn = Picture::new(&overlay(&mut harness, with_people(blank(&info), &custom)), &info);
        for x in [50, 100, 150, 200, 250] {
            assert!(near(drawn.at(x, 100), CENTRE), "{skeleton}");
        }
        for x in [75, 125, 175, 225] {
            assert_eq!(drawn.at(x, 100), [BACKGROUND; 3], "{skeleton}");
        }
    }
}

/// Five points in a row, of which the first two and the last two are joined.
const ROW: &str = r#"
    names = ["a", "b", "c", "d", "e"]
    links = [["a", "b"], ["e", "d"]]
    left = ["a", "b"]
    right = ["e"]
"#;

/// The property applies to people with its skeleton's number of points, whatever the metadata calls them.
#[test]
fn the_property_tells_how_custom_points_are_joined() {
    init();
    let folder = Folder::new("overlay-skeleton");
    let row = folder.write("row.toml", ROW);
    let element =
        gst::ElementFactory::make("rtmposeoverlay").property("skeleton", row.to_str()).build().unwrap();
    assert_eq!(element.property::<Option<String>>("skeleton").as_deref(), row.to_str());
    let info = info(VideoFormat::Rgb, 320, 240);
    let mut harness = Harness::with_element(&element, Some("sink"), Some("src"));
    harness.set_src_caps(info.to_caps().unwrap());
    for skeleton in ["custom-5", "any"] {
        let at = |x| KeyPoint { x, y: 100.0, score: 1.2, z: None };
        let key_points = [50.0, 100.0, 150.0, 200.0, 250.0].map(at).to_vec();
        let someone = Person { region: Region::new(0.0, 0.0, 9.0, 9.0), key_points, id: None };
        let custom = FramePeople { skeleton: skeleton.into(), points: 5, ..people(320, 240, vec![someone]) };
        let drawn = Picture::new(&overlay(&mut harness, with_people(blank(&info), &custom)), &info);
        for (x, colour) in
            [(50, LEFT), (75, LEFT), (100, LEFT), (150, CENTRE), (200, CENTRE), (225, RIGHT), (250, RIGHT)]
        {
            assert!(near(drawn.at(x, 100), colour), "{skeleton} at {x}: {:?}", drawn.at(x, 100));
        }
        for x in [125, 175] {
            assert_eq!(drawn.at(x, 100), [BACKGROUND; 3], "{skeleton} at {x}");
        }
    }
    // The property does not apply to 17 points.
    let arm = people(320, 240, vec![person(&[(7, 100.0, 100.0), (LEFT_WRIST, 200.0, 100.0)])]);
    let drawn = Picture::new(&overlay(&mut harness, with_people(blank(&info), &arm)), &info);
    assert!(near(drawn.at(150, 100), LEFT));
}

#[test]
fn a_skeleton_that_cannot_be_read_stops_the_start() {
    init();
    let folder = Folder::new("overlay-bad-skeleton");
    let typo = folder.write("typo.toml", ROW.replace("links", "lines"));
    for (skeleton, words) in [
        (typo.to_str().unwrap(), ["is not a skeleton: line 3: unknown field `lines`", "example.toml"]),
        ("/nowhere/x.toml", ["/nowhere/x.toml, which cannot be read: No such file", "example.toml"]),
        (
            "walrus",
            ["walrus, which is neither one of coco-17, halpe-26", "nor a TOML file: set it to one of them"],
        ),
    ] {
        let element =
            gst::ElementFactory::make("rtmposeoverlay").property("skeleton", skeleton).build().unwrap();
        let bus = gst::Bus::new();
        element.set_bus(Some(&bus));
        assert!(element.set_state(gst::State::Paused).is_err(), "{skeleton}");
        let errors: Vec<_> = std::iter::from_fn(|| bus.pop_filtered(&[gst::MessageType::Error])).collect();
        let [error] = &errors[..] else { panic!("{skeleton}: {errors:?}") };
        let gst::MessageView::Error(error) = error.view() else { unreachable!() };
        let text = error.error().message().to_string();
        for word in ["The property skeleton is ", words[0], words[1], "or leave the property unset"] {
            assert!(text.contains(word), "`{word}` is missing in: {text}");
        }
        element.set_property("skeleton", "");
        element.set_state(gst::State::Paused).unwrap();
        element.set_state(gst::State::Null).unwrap();
    }
}

#[test]
fn every_meta_is_drawn_but_the_malformed() {
    init();
    let info = info(VideoFormat::Rgb, 320, 240);
    let mut buffer = blank(&info);
    for (index, x) in [(LEFT_WRIST, 50.0), (NOSE, 150.0), (RIGHT_WRIST, 250.0)] {
        buffer = with_people(buffer, &people(320, 240, vec![person(&[(index, x, 100.0)])]));
        if index == LEFT_WRIST {
            let mut first =
                gst::meta::CustomMeta::from_mut_buffer(buffer.get_mut().unwrap(), meta::NAME).unwrap();
            first.mut_structure().set("points", u32::MAX);
        }
    }
    let drawn = Picture::new(&overlay(&mut harness(&info), buffer), &info);
    assert_eq!(drawn.at(50, 100), [BACKGROUND; 3]);
    assert!(near(drawn.at(150, 100), CENTRE));
    assert!(near(drawn.at(250, 100), RIGHT));
}

#[test]
fn a_caps_change_in_mid_stream_changes_the_format() {
    init();
    let mut harness = Harness::new("rtmposeoverlay");
    harness.element().unwrap().set_property("point-radius", 6.0f32);
    for (format, width) in [(VideoFormat::I420, 320), (VideoFormat::Argb, 200), (VideoFormat::Nv12, 641)] {
        let info = info(format, width, 240);
        harness.set_src_caps(info.to_caps().unwrap());
        let buffer =
            with_people(blank(&info), &people(width, 240, vec![person(&[(RIGHT_WRIST, 100.0, 100.0)])]));
        let drawn = overlay(&mut harness, buffer);
        assert!(near(Picture::new(&drawn, &info).at(100, 100), RIGHT), "{format}");
    }
}

#[test]
fn a_frame_that_is_too_small_is_an_error_and_no_panic() {
    init();
    let info = info(VideoFormat::Rgb, 320, 240);
    let buffer = gst::Buffer::from_mut_slice(vec![0u8; 100]);
    let buffer = with_people(buffer, &people(320, 240, vec![person(&[(NOSE, 1.0, 1.0)])]));
    assert_eq!(harness(&info).push(buffer), Err(gst::FlowError::Error));
}

#[test]
fn allocation_is_what_downstream_answers() {
    init();
    let info = info(VideoFormat::I420, 320, 240);
    for offered in [false, true] {
        let mut harness = harness(&info);
        if offered {
            harness.add_propose_allocation_meta(VideoMeta::meta_api(), None);
            harness.add_propose_allocation_meta(gst_video::VideoCropMeta::meta_api(), None);
        }
        overlay(&mut harness, blank(&info));
        let mut query = gst::query::Allocation::new(Some(&info.to_caps().unwrap()), true);
        let pad = harness.element().unwrap().static_pad("sink").unwrap();
        let answered = pad.query(&mut query);
        let found = query.find_allocation_meta::<VideoMeta>().is_some();
        assert_eq!(answered && found, offered);
        // With that meta an element upstream would leave the whole picture in the frame, and people would be
        // drawn at the wrong place.
        assert_eq!(query.find_allocation_meta::<gst_video::VideoCropMeta>(), None);
    }
}

/// A GstVideoMeta may be larger than the caps, with padding beside and below the picture.
#[test]
fn padding_is_no_part_of_the_picture() {
    init();
    let info = info(VideoFormat::Rgb, 320, 240);
    let people = people(320, 240, vec![person(&[(NOSE, 300.0, 230.0), (LEFT_WRIST, 319.0, 100.0)])]);
    let plain = overlay(&mut harness(&info), with_people(blank(&info), &people));
    let (stride, height) = (352 * 3, 256);
    let mut padded = gst::Buffer::from_mut_slice(vec![BACKGROUND; stride * height]);
    let meta = padded.get_mut().unwrap();
    let flags = gst_video::VideoFrameFlags::empty();
    VideoMeta::add_full(meta, flags, VideoFormat::Rgb, 352, 256, &[0], &[stride as i32]).unwrap();
    let padded = overlay(&mut harness(&info), with_people(padded, &people));
    let (plain, padded) = (plain.map_readable().unwrap(), padded.map_readable().unwrap());
    for (row, pixels) in padded.chunks_exact(stride).enumerate() {
        let (picture, padding) = pixels.split_at(320 * 3);
        let expected = plain.get(row * 320 * 3..(row + 1) * 320 * 3);
        assert!(picture == expected.unwrap_or(&[BACKGROUND; 320 * 3]), "row {row}");
        assert!(padding.iter().all(|value| *value == BACKGROUND), "padding of row {row}");
    }
}
