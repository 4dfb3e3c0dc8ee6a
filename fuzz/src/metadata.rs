//! `RtmPoseMeta` of any content: through the reader, and with it `rtmposeoverlay` and `rtmposejson`.

use std::cell::RefCell;

use gst::{glib, meta::CustomMeta};
use gst_check::Harness;
use gstrtmpose::meta;

use super::{frames::assert_calm, input::Input};

const FIELDS: [&str; 12] = [
    "version",
    "source",
    "width",
    "height",
    "skeleton",
    "people",
    "points",
    "keypoints",
    "boxes",
    "scores",
    "ids",
    "carried",
];
const SKELETONS: [&str; 4] = ["coco-17", "hand-21", "custom-3", "no-such"];
const FORMATS: [&str; 6] = ["RGB", "BGRA", "NV12", "I420", "YUY2", "GRAY8"];
/// Of the frames.
const SIZES: [(u32, u32); 3] = [(30, 22), (70_001, 3), (3, 50_001)];
/// Of the frame that metadata says it was found in, unless it says something else.
const FOUND_IN: (u32, u32) = SIZES[0];

/// Elements that stay from input to input, each with its bus.
struct Rig {
    overlays: Vec<(Harness, gst::Bus, usize)>,
    json: (Harness, gst::Bus),
}

thread_local! {
    static RIG: RefCell<Rig> = RefCell::new(Rig::new());
}

impl Rig {
    fn new() -> Self {
        super::frames::init();
        let overlay = |(format, size): (&&str, (u32, u32))| {
            let caps = caps(format, size);
            let size = gst_video::VideoInfo::from_caps(&caps).unwrap().size();
            let (harness, bus) = start("rtmposeoverlay draw-box=true score-threshold=0", &caps);
            (harness, bus, size)
        };
        let all = SIZES.into_iter().flat_map(|size| FORMATS.iter().map(move |format| (format, size)));
        Self { overlays: all.map(overlay).collect(), json: start("rtmposejson", &caps("RGB", FOUND_IN)) }
    }
}

fn caps(format: &str, (width, height): (u32, u32)) -> gst::Caps {
    let text = format!("video/x-raw,format={format},width={width},height={height},framerate=25/1");
    text.parse().unwrap()
}

fn start(line: &str, caps: &gst::Caps) -> (Harness, gst::Bus) {
    use gst::prelude::*;
    let element = gst::parse::launch(line).unwrap();
    let bus = gst::Bus::new();
    element.set_bus(Some(&bus));
    let mut harness = Harness::with_element(&element, Some("sink"), Some("src"));
    harness.set_src_caps(caps.clone());
    (harness, bus)
}

pub fn run(bytes: &[u8]) {
    RIG.with_borrow_mut(|rig| rig.run(&mut Input(bytes)));
}

impl Rig {
    fn run(&mut self, input: &mut Input) {
        let (overlay, bus, size) =
            &mut self.overlays[usize::from(input.byte()) % (FORMATS.len() * SIZES.len())];
        let mut frame = gst::Buffer::from_mut_slice(vec![100u8; *size]);
        for _ in 0..=input.below(3) {
            add(frame.make_mut(), input);
        }
        let read = meta::read(&frame).filter_map(Result::ok).count();

        overlay.push(frame.copy()).unwrap();
        assert_eq!(overlay.pull().unwrap().size(), *size);
        assert_calm(bus);

        let (json, bus) = &mut self.json;
        json.push(frame).unwrap();
        let line = json.pull().unwrap();
        let line = line.map_readable().unwrap();
        let line: serde_json::Value = serde_json::from_slice(&line).unwrap();
        assert_eq!(line["status"] == "not-inferred", read == 0);
        assert_calm(bus);
    }
}

/// Adds a meta: as the contract says, but for some fields.
fn add(frame: &mut gst::BufferRef, input: &mut Input) {
    let (people, points) = (u32::from(input.below(4)), u32::from(input.pick(&[0u8, 1, 3, 17, 21])));
    let floats = |input: &mut Input, count: u32| {
        let numbers = (0..count).flat_map(|_| (input.f32() / 32.0).to_le_bytes());
        glib::Bytes::from_owned(numbers.collect::<Vec<_>>())
    };
    let skeleton = input.pick(&SKELETONS);
    let mut meta = CustomMeta::add(frame, meta::NAME).unwrap();
    let structure = meta.mut_structure();
    structure.set("version", 1u32);
    structure.set("source", "fuzz");
    structure.set("width", FOUND_IN.0);
    structure.set("height", FOUND_IN.1);
    structure.set("skeleton", skeleton);
    structure.set("people", people);
    structure.set("points", points);
    structure.set("keypoints", floats(input, people * points * 3));
    structure.set("boxes", floats(input, people * 4));
    structure.set("scores", floats(input, people));
    let ids = (0..people).flat_map(|_| input.i64().to_le_bytes());
    structure.set("ids", glib::Bytes::from_owned(ids.collect::<Vec<_>>()));
    for _ in 0..input.below(4) {
        let field = input.pick(&FIELDS);
        match input.below(4) {
            0 => structure.remove_field(field),
            1 => structure.set(field, input.u32()),
            _ => structure.set_value(field, input.value()),
        }
    }
}
