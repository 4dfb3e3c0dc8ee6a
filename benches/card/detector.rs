//! What a detector in front takes from the pose stage: streams of decoded frames whose people are known, with and without
//! `rtmposedetect` before `rtmposebatch`, in turn in one process.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use gst::prelude::*;
use gst_video::VideoRegionOfInterestMeta;

use super::{
    Options, Result, Run,
    element::{self, Card, Stream},
    report::Row,
};

/// Wanted: crops a second with a detector, as a share of those without.
const WANTED: f64 = 0.9;
/// Size of a person in a frame of 1280 x 720 pixels.
const PERSON: (u32, u32) = (120, 320);

/// Frames with the regions of `people` people, so that the pose stage has the same crops with and without a
/// detector.
fn frames(people: u32) -> Vec<gst::Buffer> {
    let mut frames = element::frames();
    for frame in &mut frames {
        let frame = frame.get_mut().expect("nobody else has the frame");
        for number in 0..people {
            let place = (number * (1280 - PERSON.0) / people.max(2), 200);
            VideoRegionOfInterestMeta::add(frame, "person", (place.0, place.1, PERSON.0, PERSON.1));
        }
    }
    frames
}

/// A pose element, with `detector` upstream if it is given.
fn chain(options: &Options, detector: Option<&str>) -> Result<gst::Element> {
    let pose = element::make(options, "pose")?;
    pose.set_property_from_str("inference-region", "roi-list");
    let Some(file) = detector else { return Ok(pose) };
    let detector = gst::ElementFactory::make("rtmposedetect")
        .name("detector")
        .property("model-file", file)
        .property("model-instance-id", "detector")
        .property_from_str("execution-provider", options.text("provider", "cuda"))
        .property_from_str("precision", options.text("detector-precision", "model"))
        .property_from_str("cudnn-fuse-conv-bias", options.text("detector-fuse", "auto"))
        .property("batch-size", options.count("detector-batch", 8)? as u32)
        .property("inference-interval", options.count("interval", 5)? as u32)
        .property_from_str("fallback", options.text("fallback", "cpu"))
        .build()?;
    let bin = gst::Bin::new();
    bin.add_many([&detector, &pose])?;
    detector.link(&pose)?;
    for (element, name) in [(&detector, "sink"), (&pose, "src")] {
        let pad = element.static_pad(name).ok_or("no pad")?;
        bin.add_pad(&gst::GhostPad::with_target(&pad)?)?;
    }
    Ok(bin.upcast())
}

struct Form {
    streams: Vec<Stream>,
    counted: Arc<AtomicU64>,
    rates: Vec<f64>,
}

impl Form {
    fn start(options: &Options, detector: Option<&str>, people: u64) -> Result<Self> {
        let counted = Arc::<AtomicU64>::default();
        let count = options.count("streams", 16)?;
        let stream = |_| {
            let counted = counted.clone();
            let out = move |_: &gst::Buffer| {
                counted.fetch_add(people, Ordering::Relaxed);
            };
            Stream::start(chain(options, detector)?, false, out, || ())
        };
        let streams = (0..count).map(stream).collect::<Result<Vec<_>>>()?;
        Ok(Self { streams, counted, rates: Vec::new() })
    }

    fn feed(&mut self, frames: &Arc<Vec<gst::Buffer>>, length: Duration) {
        let (rate, _) = element::feed(&self.streams, frames, &self.counted, length);
        self.rates.push(rate);
        // Frames left in the queues must not count in the other form's time.
        for stream in &self.streams {
            stream.source.peer_query(&mut gst::query::Drain::new());
        }
    }

    fn element(&self, factory: &str) -> Result<gst::Element> {
        let element = &self.streams[0].element;
        let Some(bin) = element.downcast_ref::<gst::Bin>() else { return Ok(element.clone()) };
        let mut found = bin.iterate_all_by_element_factory_name(factory).into_iter().flatten();
        Ok(found.next().ok_or("no such element in the bin")?)
    }
}

/// Crops that an engine has run, for all rows so far.
fn crops(element: &gst::Element) -> Result<u64> {
    Ok(element.property::<gst::Structure>("stats").get::<u64>("crops")?)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// One row for each number of `people` in a frame.
pub fn measure(options: &Options) -> Result<Vec<Row>> {
    element::init()?;
    let file = options.0.get("detector").ok_or("detector=FILE is missing")?;
    // Keeps the engines loaded between rows.
    let engines = chain(options, Some(file))?;
    engines.set_state(gst::State::Ready)?;
    let numbers = options.text("people", "1,4").split(',');
    let rows = numbers.map(|people| measure_with(options, file, people.parse()?)).collect();
    engines.set_state(gst::State::Null)?;
    rows
}

fn measure_with(options: &Options, file: &str, people: u32) -> Result<Row> {
    let frames = Arc::new(frames(people));
    let started = Instant::now();
    let mut alone = Form::start(options, None, people.into())?;
    let mut with = Form::start(options, Some(file), people.into())?;
    let mut row = Row::default();
    row.set("start-s", started.elapsed().as_secs_f64());
    options.wait_for_turn()?;
    let (detector, pose) = (with.element("rtmposedetect")?, with.element("rtmposebatch")?);
    let crops_before = crops(&detector)?;
    // Warms up: the GPU's clocks rise, and everything has run once.
    for form in [&mut alone, &mut with] {
        form.feed(&frames, Duration::from_millis(500));
        form.rates.clear();
    }
    let rounds = options.count("rounds", 5)?;
    for _ in 0..rounds {
        alone.feed(&frames, options.seconds()?);
        with.feed(&frames, options.seconds()?);
    }
    let ratios = with.rates.iter().zip(&alone.rates).map(|(with, alone)| with / alone).collect();
    row.set("crops-per-second", median(with.rates.clone()));
    row.set("crops-without-detector", median(alone.rates.clone()));
    row.set_text("by-without", &format!("{:.3}", median(ratios)));
    element::stages(&pose, &mut row);
    let stats: gst::Structure = detector.property("stats");
    row.set("detector-ms-p50", stats.get::<f64>("inference-ms-p50")?);
    row.set("detector-fill", stats.get::<f64>("mean-fill")?);
    // The detector's share of the frames of the form with a detector: one in every so many.
    let looked = (crops(&detector)? - crops_before) as f64;
    let passed = with.counted.load(Ordering::Relaxed) as f64 / f64::from(people);
    row.set_text("looked-at", &format!("{:.3}", looked / passed));
    row.set_text("people", &people.to_string());
    Card::tell_memory(&mut row);
    Ok(row)
}

impl Run<'_> {
    /// Each of `detectors` in turn.
    pub(super) fn detector(mut self) -> Result<Self> {
        let folder = self.options.text("models", "models").to_string();
        let detectors = self.options.text("detectors", "yolox-nano,yolox-nano-coco,rtmdet-nano").to_string();
        for name in detectors.split(',') {
            let before = self.rows.len();
            self.part("detector", &[("detector", &format!("{folder}/{name}-random.onnx"))])?;
            for row in self.rows[before..].iter().filter(|row| !row.has_failed()) {
                let share = row.number("by-without").ok_or("no ratio")?;
                let verdict = if share >= WANTED { "held" } else { "missed" };
                println!("{share} of the crops without a detector, at least {WANTED}: {verdict}");
            }
        }
        Ok(self)
    }
}
