//! Caps, frames of any memory layout, the regions on them, and a model's answers: through `rtmposebatch`.

use std::{
    cell::RefCell,
    ffi::CString,
    sync::{Arc, Mutex, Once},
};

use gst::{
    glib::translate::{IntoGlib, IntoGlibPtr},
    prelude::*,
};
use gst_check::Harness;
use gst_video::ffi::{
    GstVideoRegionOfInterestMeta, gst_buffer_add_video_meta_full,
    gst_buffer_add_video_region_of_interest_meta, gst_video_region_of_interest_meta_add_param,
};
use gstrtmpose::{
    engine::{Backend, Error, Executor, Loading, MonotonicClock, Slot},
    meta,
    network::Network,
    posebatch::{RtmPoseBatch, testing},
};

use super::input::Input;

const POINTS: usize = 17;
/// Frames of one input.
const MOST_FRAMES: u8 = 6;
/// Larger frames are not made: the caps may say what they like.
const MOST_BYTES: usize = 8 << 20;
const FORMATS: [&str; 19] = [
    "RGB",
    "BGR",
    "RGBx",
    "BGRx",
    "xRGB",
    "xBGR",
    "RGBA",
    "BGRA",
    "ARGB",
    "ABGR",
    "NV12",
    "NV21",
    "I420",
    "YV12",
    "YUY2",
    "UYVY",
    "GRAY8",
    "P010_10LE",
    "none",
];

/// GStreamer with the plugin.
pub fn init() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        gst::init().unwrap();
        gstrtmpose::plugin_register_static().unwrap();
    });
}

/// Asserts that an element has not panicked, which GStreamer's bindings turn into an error message.
#[track_caller]
pub fn assert_calm(bus: &gst::Bus) {
    while let Some(message) = bus.pop() {
        if let gst::MessageView::Error(error) = message.view() {
            let text = error.error().to_string();
            assert!(!text.to_lowercase().contains("panic"), "{text}: {:?}", error.debug());
        }
    }
}

/// A network whose answers are those of the input, over and over.
#[derive(Clone, Default)]
struct Answers(Arc<Mutex<Vec<f32>>>);

impl Backend for Answers {
    type Network = Network;

    fn open(&self, _: &Loading) -> Result<(Network, Box<dyn Executor>), Error> {
        Ok((Network::simcc(12, 16, POINTS, "fuzz"), Box::new(self.clone())))
    }
}

impl Executor for Answers {
    fn load(&mut self, _: usize, _: &dyn Slot) {}

    fn run(&mut self, rows: usize, row: &mut [f32]) -> Result<usize, Error> {
        let answers = self.0.lock().unwrap();
        if !answers.is_empty() {
            row.iter_mut().zip(answers.iter().cycle()).for_each(|(number, answer)| *number = *answer);
        }
        Ok(rows)
    }

    fn warm_up_sizes(&self) -> Vec<usize> {
        Vec::new()
    }
}

struct Rig {
    harness: Harness,
    element: gst::Element,
    bus: gst::Bus,
    answers: Answers,
}

thread_local! {
    static RIG: RefCell<Rig> = RefCell::new(Rig::new());
}

impl Rig {
    fn new() -> Self {
        init();
        let element = gst::ElementFactory::make("rtmposebatch")
            .property("batch-timeout", 3_600_000_000_000u64)
            .property_from_str("on-error", "passthrough")
            .build()
            .unwrap();
        let answers = Answers::default();
        let batch = element.downcast_ref::<RtmPoseBatch>().unwrap();
        testing::inject(batch, Arc::new(answers.clone()), Arc::new(MonotonicClock::default()));
        let bus = gst::Bus::new();
        element.set_bus(Some(&bus));
        let mut harness = Harness::with_element(&element, Some("sink"), Some("src"));
        harness.set_live(false);
        harness.play();
        Self { harness, element, bus, answers }
    }

    fn run(&mut self, input: &mut Input) {
        // What earlier inputs left goes.
        self.harness.push_event(gst::event::FlushStart::new());
        self.harness.push_event(gst::event::FlushStop::new(true));
        while self.harness.try_pull().is_some() {}
        while self.harness.try_pull_event().is_some() {}
        while self.harness.try_pull_upstream_event().is_some() {}
        let segment = gst::FormattedSegment::<gst::ClockTime>::new();
        self.harness.push_event(gst::event::StreamStart::new("fuzz"));

        self.set_properties(input);
        let answers = (0..input.below(40))
            .flat_map(|_| [input.f32(), input.f32(), input.f32() / 64.0, input.f32() / 64.0]);
        *self.answers.0.lock().unwrap() = answers.collect();

        let mut pushed = 0;
        let mut size = None;
        for number in 0..1 + input.below(MOST_FRAMES) {
            if number == 0 || input.chance(4) {
                // Events take no others.
                let caps = Some(caps(input)).filter(|caps| caps.is_fixed());
                let caps = caps.unwrap_or_else(|| gst::Caps::new_empty_simple("video/x-raw"));
                size = gst_video::VideoInfo::from_caps(&caps).ok().map(|info| info.size());
                self.harness.push_event(gst::event::Caps::new(&caps));
                if number == 0 {
                    self.harness.push_event(gst::event::Segment::new(&segment));
                }
            }
            pushed += usize::from(self.harness.push(frame(input, size, number)).is_ok());
        }
        self.element.static_pad("sink").unwrap().query(&mut gst::query::Drain::new());
        let mut pulled = 0;
        while let Some(frame) = self.harness.try_pull() {
            pulled += 1;
            for people in meta::read(&frame) {
                let people = people.unwrap();
                assert!(people.people.iter().all(|person| person.key_points.len() == POINTS));
            }
        }
        assert_eq!(pulled, pushed, "every frame that was taken comes out");
        assert_calm(&self.bus);
    }

    fn set_properties(&self, input: &mut Input) {
        let mut set =
            |name: &str, values: &[&str]| self.element.set_property_from_str(name, input.pick(values));
        set("inference-region", &["auto", "track", "roi-list", "full-frame"]);
        set("score-mode", &["min", "mean"]);
        set("smoothing", &["none", "one-euro"]);
        set("max-people", &["1", "2", "16"]);
        set("inference-interval", &["1", "1", "2"]);
    }
}

pub fn run(bytes: &[u8]) {
    RIG.with_borrow_mut(|rig| rig.run(&mut Input(bytes)));
}

fn caps(input: &mut Input) -> gst::Caps {
    init();
    if input.chance(8) {
        return input.text().parse().unwrap_or_else(|_| gst::Caps::new_empty_simple("video/x-raw"));
    }
    let mut caps = gst::Structure::builder("video/x-raw").field("format", input.pick(&FORMATS));
    let mut side = |name: &'static str, caps: gst::structure::Builder| match input.byte() {
        0 => caps.field(name, input.u32() as i32),
        1 => caps.field(name, gst::IntRange::new(1, 7)),
        2 => caps,
        3 => caps.field(name, (input.u32() % MOST_BYTES as u32) as i32),
        small => caps.field(name, i32::from(small % 64)),
    };
    caps = side("width", caps);
    caps = side("height", caps);
    caps = match input.below(4) {
        0 => caps,
        1 => caps.field("framerate", gst::Fraction::new(input.u32() as i32, 1 + i32::from(input.byte()))),
        _ => caps.field("framerate", gst::Fraction::new(30, 1)),
    };
    if input.chance(4) {
        let side =
            |input: &mut Input| if input.chance(4) { input.u32() as i32 } else { i32::from(input.byte()) };
        let (across, down) = (side(input), side(input));
        if down != 0 && down != i32::MIN && across != i32::MIN {
            caps = caps.field("pixel-aspect-ratio", gst::Fraction::new(across, down));
        }
    }
    for (name, values) in [
        ("colorimetry", &["bt601", "bt709", "bt2020", "sRGB", "1:3:5:1", "2:1:7:1", "9:9:9:9", "?"][..]),
        ("chroma-site", &["mpeg2", "jpeg", "cosited", "dv", "?"]),
        ("interlace-mode", &["progressive", "mixed", "interleaved", "fields", "alternate", "?"]),
    ] {
        if input.chance(4) {
            caps = caps.field(name, input.pick(values));
        }
    }
    if input.chance(8) {
        let name = input.pick(&["width", "height", "framerate", "format", "pixel-aspect-ratio", "views"]);
        let mut caps = caps.build();
        caps.set_value(name, input.value());
        return gst::Caps::builder_full().structure(caps).build();
    }
    gst::Caps::builder_full().structure(caps.build()).build()
}

fn frame(input: &mut Input, size: Option<usize>, number: u8) -> gst::Buffer {
    let size = match size.filter(|_| !input.chance(4)) {
        Some(size) => size.min(MOST_BYTES),
        None => usize::from(input.u16()),
    };
    let mut frame = gst::Buffer::from_mut_slice(vec![input.byte(); size]);
    let buffer = frame.make_mut();
    match input.below(8) {
        0 => buffer.set_pts(gst::ClockTime::try_from(input.i64() as u64).ok()),
        1 => (),
        _ => buffer.set_pts(gst::ClockTime::from_mseconds(33) * u64::from(number)),
    }
    if input.chance(16) {
        buffer.set_flags(gst::BufferFlags::GAP);
    }
    if input.chance(4) {
        add_layout(buffer, input);
    }
    for _ in 0..input.below(5) {
        add_region(buffer, input);
    }
    frame
}

/// A GstVideoMeta as another element writes it: GStreamer does not look whether it fits.
fn add_layout(buffer: &mut gst::BufferRef, input: &mut Input) {
    let format = input.pick(&FORMATS).parse().unwrap_or(gst_video::VideoFormat::Rgb);
    let planes = u32::from(1 + input.below(4));
    let (width, height) = (u32::from(input.below(64)), u32::from(input.below(64)));
    let offsets: [usize; 4] =
        std::array::from_fn(|_| if input.chance(8) { input.i64() as usize } else { input.u16().into() });
    let strides: [i32; 4] = std::array::from_fn(|_| match input.byte() {
        0 => input.u32() as i32,
        stride => stride.into(),
    });
    // SAFETY: the buffer is writable, and the arrays hold as many numbers as there can be planes.
    unsafe {
        gst_buffer_add_video_meta_full(
            buffer.as_mut_ptr(),
            0,
            format.into_glib(),
            width,
            height,
            planes,
            &offsets,
            &strides,
        );
    }
}

/// A region as a detector writes it, in whatever numbers.
fn add_region(buffer: &mut gst::BufferRef, input: &mut Input) {
    let kind = match input.below(8) {
        0 => CString::new(input.text()).unwrap_or_default(),
        1 => CString::new(&b"per\xffson"[..]).unwrap(),
        _ => c"person".to_owned(),
    };
    let mut number = || match input.byte() {
        0 => input.u32(),
        1 => u32::MAX,
        2 => i32::MAX as u32,
        3 => u32::MAX - u32::from(input.byte()),
        small => u32::from(small % 64),
    };
    let (x, y, width, height) = (number(), number(), number(), number());
    // SAFETY: the buffer is writable, and the text ends with 0.
    let meta: *mut GstVideoRegionOfInterestMeta = unsafe {
        gst_buffer_add_video_region_of_interest_meta(buffer.as_mut_ptr(), kind.as_ptr(), x, y, width, height)
    };
    for (name, field) in [("object_id", "id"), ("detection", "confidence")] {
        if !input.chance(4) {
            continue;
        }
        let mut structure = gst::Structure::new_empty(name);
        if !input.chance(4) {
            structure.set_value(field, input.value());
        }
        // SAFETY: the meta was just added; it takes the structure.
        unsafe { gst_video_region_of_interest_meta_add_param(meta, structure.into_glib_ptr()) };
    }
}
