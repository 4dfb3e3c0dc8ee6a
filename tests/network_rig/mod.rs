//! What the tests with real models share: the element between two pads, and pictures of dots in any format.
#![allow(dead_code, reason = "each test program uses a part of it")]

pub mod picture;
pub mod process;
pub mod rows;
pub mod stub;

use std::{path::PathBuf, sync::Once};

use gst::prelude::*;
use gstrtmpose::meta::{self, FramePeople};

/// Crop size of the networks in `tests/networks`, except `dots-small`.
pub const NETWORK: (f32, f32) = (192.0, 256.0);
pub const SMALL_NETWORK: (f32, f32) = (48.0, 64.0);

/// A batch-timeout that never comes: a batch is cut when it is full, or when a test cuts it.
pub const NEVER: &str = "batch-timeout=3600000000000";

pub fn init() {
    static INIT: Once = Once::new();
    INIT.call_once(|| {
        gst::init().unwrap();
        gstrtmpose::plugin_register_static().unwrap();
    });
}

/// The path of a network of `tests/networks`.
pub fn network(name: &str) -> PathBuf {
    let file =
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/networks").join(name).with_extension("onnx");
    assert!(file.exists(), "{} is missing", file.display());
    file
}

/// A launch line's text for that network on the CPU, with the whole frame as the person's box.
pub fn with_network(name: &str) -> String {
    let file = network(name);
    format!(
        "rtmposebatch execution-provider=cpu inference-region=full-frame model-file=\"{}\"",
        file.display()
    )
}

/// A launch line's text for that detector on the CPU.
pub fn with_detector(name: &str) -> String {
    format!("rtmposedetect execution-provider=cpu model-file=\"{}\"", network(name).display())
}

/// The element (or a bin around it) in PLAYING, with a harness that collects its output.
pub struct Rig {
    pub harness: gst_check::Harness,
    pub element: gst::Element,
    pub bus: gst::Bus,
    frames: u64,
}

impl Rig {
    /// Starts a network of `tests/networks` on the CPU with further properties.
    pub fn start(name: &str, properties: &str) -> Self {
        init();
        let line = format!("{} {properties}", with_network(name));
        Self::around(gst::parse::launch(&line).unwrap_or_else(|error| panic!("{line}: {error}")))
    }

    /// Starts a network of `tests/networks` on the CPU, with the element's default `inference-region`, and with
    /// further properties.
    pub fn start_with(name: &str, properties: &str) -> Self {
        init();
        let file = network(name);
        let line =
            format!("rtmposebatch execution-provider=cpu model-file=\"{}\" {properties}", file.display());
        Self::around(gst::parse::launch(&line).unwrap_or_else(|error| panic!("{line}: {error}")))
    }

    /// Starts `rtmposedetect` with a network of `tests/networks` on the CPU, with further properties.
    pub fn start_detector(name: &str, properties: &str) -> Self {
        init();
        let line = format!("{} {properties}", with_detector(name));
        Self::around(gst::parse::launch(&line).unwrap_or_else(|error| panic!("{line}: {error}")))
    }

    /// Starts the elements of a launch line.
    pub fn start_bin(line: &str) -> Self {
        init();
        let bin =
            gst::parse::bin_from_description(line, true).unwrap_or_else(|error| panic!("{line}: {error}"));
        Self::around(bin.upcast())
    }

    fn around(element: gst::Element) -> Self {
        let bus = gst::Bus::new();
        element.set_bus(Some(&bus));
        let mut harness = gst_check::Harness::with_element(&element, Some("sink"), Some("src"));
        // Not live, because frames of a live upstream may be skipped.
        harness.set_live(false);
        let rig = Self { harness, element, bus, frames: 0 };
        assert_eq!(rig.element.current_state(), gst::State::Playing, "{:?}", rig.errors());
        rig
    }

    pub fn set_video(&mut self, info: &gst_video::VideoInfo) {
        self.harness.set_src_caps(info.to_caps().unwrap());
    }

    /// Pushes a frame with the next frame number as its time in milliseconds.
    pub fn push(&mut self, mut buffer: gst::Buffer) {
        buffer.make_mut().set_pts(gst::ClockTime::from_mseconds(self.frames));
        self.frames += 1;
        self.harness.push(buffer).unwrap_or_else(|error| panic!("{error}: {:?}", self.errors()));
    }

    /// Cuts the batch: all pushed frames come out before this returns.
    pub fn cut(&self) {
        let pad = self.element.static_pad("sink").unwrap();
        pad.query(&mut gst::query::Drain::new());
    }

    pub fn pull(&mut self) -> gst::Buffer {
        self.harness.pull().unwrap_or_else(|error| panic!("{error}: {:?}", self.errors()))
    }

    /// The people of the next frame.
    pub fn pull_people(&mut self) -> FramePeople {
        people_of(&self.pull())
    }

    /// Pushes a frame, and returns the people found in it.
    pub fn find(&mut self, buffer: gst::Buffer) -> FramePeople {
        self.push(buffer);
        self.cut();
        self.pull_people()
    }

    /// A number of the property `stats`.
    pub fn stat(&self, name: &str) -> u64 {
        self.element.property::<gst::Structure>("stats").get(name).unwrap()
    }

    pub fn errors(&self) -> Vec<String> {
        messages(&self.bus, gst::MessageType::Error)
    }

    pub fn warnings(&self) -> Vec<String> {
        messages(&self.bus, gst::MessageType::Warning)
    }
}

/// The only `RtmPoseMeta` of a frame.
pub fn people_of(buffer: &gst::BufferRef) -> FramePeople {
    let mut metas: Vec<_> = meta::read(buffer).map(Result::unwrap).collect();
    assert_eq!(metas.len(), 1, "one RtmPoseMeta a frame");
    metas.remove(0)
}

/// Texts of the messages of a type that wait on the bus.
pub fn messages(bus: &gst::Bus, kind: gst::MessageType) -> Vec<String> {
    std::iter::from_fn(|| bus.pop_filtered(&[kind]))
        .map(|message| match message.view() {
            gst::MessageView::Error(error) => error.error().message().to_string(),
            gst::MessageView::Warning(warning) => warning.error().message().to_string(),
            other => format!("{other:?}"),
        })
        .collect()
}

/// The number of frame pixels per network pixel: the region grown by 1.25, then to the network's aspect ratio.
pub fn pixels_per_network_pixel([_, _, width, height]: [i32; 4], network: (f32, f32)) -> f32 {
    let (width, height) = (width as f32 * 1.25, height as f32 * 1.25);
    (width / network.0).max(height / network.1)
}

/// Asserts that key point `point` of person `person` lies within half a network pixel of where its dot was drawn.
#[track_caller]
pub fn assert_found(
    what: &str,
    people: &FramePeople,
    (person, point): (usize, usize),
    (x, y): (f32, f32),
    region: [i32; 4],
    network: (f32, f32),
) {
    let found = people.people[person].key_points[point];
    let allowed = 0.5 * pixels_per_network_pixel(region, network);
    assert!(
        (found.x - x).abs() <= allowed && (found.y - y).abs() <= allowed,
        "{what}: point {point} of person {person} drawn at {x}, {y} was found at {}, {} (score {}), allowed are {allowed} px",
        found.x,
        found.y,
        found.score
    );
}
