//! The candidates of this program. Each reads numbers of frames from its input, works so many, and writes what that took:
//! seconds, seconds of processor time, and the memory that it holds without what the bench itself keeps ready.

use std::{
    io::BufRead,
    sync::mpsc,
    time::{Duration, Instant},
};

use gst::prelude::*;
use gstrtmpose::{
    meta::{self, FramePeople},
    network::{Peak, decode},
    pose::{KeyPoint, Person, Region},
    video::{ChromaSite, Crop, Sampler},
};
use ort::{ep, session::Session, value::TensorRef};

use super::{
    Options, Result, detectors,
    pictures::{FORMATS, Frame, Matrix},
    report::Row,
};

const FRAMES: usize = 32;
pub const SIZE: (usize, usize) = (1280, 720);
const NETWORK: (u32, u32) = (192, 256);

/// Processes the given number of frames.
pub type Work = Box<dyn FnMut(usize) -> Result<()>>;

pub fn serve(what: &str, options: &Options) -> Result<()> {
    let (mut work, kept): (Work, usize) = match what {
        "bare" => bare(options)?,
        "element" => element(options)?,
        "sampler" => (sampler(options)?, 0),
        "overlay" => (overlay(options)?, 0),
        "bare-detector" => detectors::bare(options)?,
        "detector" => detectors::element(options)?,
        "chain" => detectors::chain(options)?,
        "letterbox" => (detectors::letterbox(options)?, 0),
        "decoder" => return keep_decoding(options.text("file", "")),
        other => return Err(format!("no such work: {other}").into()),
    };
    for line in std::io::stdin().lock().lines() {
        let frames = line?.parse()?;
        let (started, before) = (Instant::now(), processor_time());
        work(frames)?;
        let (wall, cpu) = (started.elapsed(), processor_time() - before);
        println!("BLOCK {} {} {}", wall.as_secs_f64(), cpu.as_secs_f64(), memory_mib(kept)?);
    }
    Ok(())
}

/// CPU time of all threads of this process.
fn processor_time() -> Duration {
    #[repr(C)]
    struct Time {
        seconds: i64,
        nanoseconds: i64,
    }
    unsafe extern "C" {
        fn clock_gettime(clock: i32, time: *mut Time) -> i32;
    }
    const OF_THE_PROCESS: i32 = 2;
    let mut time = Time { seconds: 0, nanoseconds: 0 };
    // SAFETY: POSIX's function, given room for what it writes; both fields are 64 bits wide on 64-bit Linux.
    let failed = unsafe { clock_gettime(OF_THE_PROCESS, &mut time) };
    assert_eq!(failed, 0, "this system does not tell the processor time");
    Duration::new(time.seconds as u64, time.nanoseconds as u32)
}

fn memory_mib(kept: usize) -> Result<f64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
    let kib: f64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kib / 1024.0 - kept as f64 / f64::from(1 << 20))
}

/// A session of the plain graph, with the element's settings.
pub fn session(options: &Options) -> Result<Session> {
    let library = std::env::var("ORT_DYLIB_PATH").unwrap_or_default();
    let environment = ort::init_from(options.text("library", &library))?.with_telemetry(false).build()?;
    let threads = options.count("threads", 1)?;
    let mut builder = Session::builder(&environment)?
        .with_intra_threads(threads)?
        .with_intra_op_spinning(false)?
        .with_inter_op_spinning(false)?;
    if options.text("provider", "cpu") == "openvino" {
        use ep::ArbitrarilyConfigurableExecutionProvider;
        let openvino = ep::OpenVINO::default()
            .with_device_type("CPU")
            .with_num_threads(threads)
            .with_arbitrary_config("load_config", r#"{"CPU":{"INFERENCE_PRECISION_HINT":"f32"}}"#);
        builder = builder.with_execution_providers([openvino.build().error_on_failure()])?;
    }
    Ok(builder.commit_from_file(options.text("model", ""))?)
}

/// The bare session of the plain graph: ready-made normalised batches in, key points out.
fn bare(options: &Options) -> Result<(Work, usize)> {
    let mut session = session(options)?;
    let rows = options.count("batch", 8)?;
    let shape = [rows, 3, NETWORK.1 as usize, NETWORK.0 as usize];
    let length = shape.iter().product();
    let ready = |seed: usize| (0..length).map(|i| ((i / 7 + seed * 31) % 255) as f32 / 64.0 - 2.0).collect();
    let batches: Vec<Vec<f32>> = (0..4).map(ready).collect();
    let (mut input, mut turn) = (vec![0.0; length], 0);
    let kept = 4 * length * size_of::<f32>();
    let work = move |frames: usize| {
        for _ in 0..frames / rows {
            turn += 1;
            input.copy_from_slice(&batches[turn % batches.len()]);
            let input = TensorRef::from_array_view((shape, &input[..]))?;
            let outputs = session.run(ort::inputs![input])?;
            let (shape, simcc_x) = outputs["simcc_x"].try_extract_tensor::<f32>()?;
            let (_, simcc_y) = outputs["simcc_y"].try_extract_tensor::<f32>()?;
            let mut peaks = vec![Peak::default(); (shape[0] * shape[1]) as usize];
            decode(simcc_x, simcc_y, &mut peaks);
            std::hint::black_box(&peaks);
        }
        Ok(())
    };
    Ok((Box::new(work), kept))
}

/// An element between two pads; its output goes into a channel.
pub struct Pads {
    element: gst::Element,
    pub source: gst::Pad,
    pub passed: mpsc::Receiver<gst::Buffer>,
    _sink: gst::Pad,
}

impl Drop for Pads {
    fn drop(&mut self) {
        let _ = self.source.set_active(false);
        let _ = self.element.set_state(gst::State::Null);
    }
}

pub fn between_pads(element: gst::Element, caps: &str) -> Result<Pads> {
    let (sender, passed) = mpsc::channel();
    let sink = gst::Pad::builder(gst::PadDirection::Sink)
        .chain_function(move |_, _, buffer| {
            let _ = sender.send(buffer);
            Ok(gst::FlowSuccess::Ok)
        })
        .event_function(|_, _, _| true)
        .build();
    let source = gst::Pad::builder(gst::PadDirection::Src).build();
    source.link(&element.static_pad("sink").ok_or("no sink pad")?)?;
    element.static_pad("src").ok_or("no source pad")?.link(&sink)?;
    sink.set_active(true)?;
    source.set_active(true)?;
    element.set_state(gst::State::Playing)?;
    source.push_event(gst::event::StreamStart::new("bench"));
    source.push_event(gst::event::Caps::new(&caps.parse()?));
    source.push_event(gst::event::Segment::new(&gst::FormattedSegment::<gst::ClockTime>::new()));
    Ok(Pads { element, source, passed, _sink: sink })
}

pub fn init() -> Result<()> {
    gst::init()?;
    Ok(gstrtmpose::plugin_register_static()?)
}

/// Smooth pictures, each different; peer.py makes the same.
pub fn frames() -> Vec<gst::Buffer> {
    let (width, height) = SIZE;
    let frame = |index: usize| {
        let mut pixels = vec![128; width * height * 3 / 2];
        for (y, row) in pixels[..width * height].chunks_exact_mut(width).enumerate() {
            for (x, sample) in row.iter_mut().enumerate() {
                *sample = ((x / 4 + y / 3 + index * 7) % 220 + 16) as u8;
            }
        }
        gst::Buffer::from_mut_slice(pixels)
    };
    (0..FRAMES).map(frame).collect()
}

/// rtmposebatch fed with decoded NV12 frames, the whole frame as region.
fn element(options: &Options) -> Result<(Work, usize)> {
    init()?;
    let mut element = gst::ElementFactory::make("rtmposebatch")
        .property_from_str("inference-region", "full-frame")
        .property_from_str("execution-provider", options.text("provider", "cpu"))
        .property("inference-threads", options.count("threads", 0)? as u32)
        .property("inference-streams", options.count("in-flight", 0)? as u32)
        .property("batch-size", options.count("batch", 8)? as u32);
    if options.text("model", "default") != "default" {
        element = element.property("model-file", options.text("model", ""));
    }
    if !options.text("library", "").is_empty() {
        element = element.property("ort-library", options.text("library", ""));
    }
    let caps = "video/x-raw,format=NV12,width=1280,height=720,framerate=30/1,colorimetry=bt709";
    let element = element.build()?;
    let pads = between_pads(element, caps)?;
    let frames = frames();
    let kept = frames.iter().map(|frame| frame.size()).sum();
    let work = move |count: usize| {
        for frame in frames.iter().cycle().take(count) {
            pads.source.push(frame.copy())?;
        }
        for buffer in pads.passed.iter().take(count) {
            let people = meta::read(&buffer).next().ok_or("a frame without people")??.people;
            assert_eq!(people.len(), 1);
        }
        Ok(())
    };
    Ok((Box::new(work), kept))
}

/// Crops wholly inside the frame, 0.5 to 2.8 times the network's size; peer.py takes the same.
fn sampler(options: &Options) -> Result<Work> {
    let name = options.text("format", "RGB");
    let (_, layout) = FORMATS.iter().find(|(format, _)| *format == name).ok_or("no such format")?;
    let bt709 = Matrix { kr: 0.2126, kb: 0.0722, full_range: false };
    let colour = |x: usize, y: usize| [(x * 3 + y) as u8, (x ^ y) as u8, (x * y / 64) as u8];
    let frame = Frame::new(*layout, SIZE, 0, bt709, ChromaSite::MPEG2, colour);
    let mut sampler = Sampler::new(NETWORK.0, NETWORK.1, options.text("scale", "1").parse()?);
    let mut out = vec![0; (NETWORK.0 * NETWORK.1 * 3) as usize];
    let crops: Vec<_> = (0..60)
        .map(|k| {
            let zoom = 0.5 * 5.6f64.powf(f64::from(k) / 59.0);
            let (width, height) = (192.0 * zoom, 256.0 * zoom);
            let x = (SIZE.0 as f64 - width) * (f64::from(k) * 0.618).fract();
            let y = (SIZE.1 as f64 - height) * (f64::from(k) * 0.382 + 0.1).fract();
            // The region is the crop without its padding of 1.25.
            let region =
                [x + 0.1 * width, y + 0.1 * height, 0.8 * width, 0.8 * height].map(|side| side as f32);
            let region = Region::new(region[0], region[1], region[2], region[3]);
            Crop::new(&region, NETWORK.0, NETWORK.1).expect("a usable region")
        })
        .collect();
    Ok(Box::new(move |count| {
        for crop in crops.iter().cycle().take(count) {
            sampler.sample(std::hint::black_box(&frame.picture()), crop, &mut out);
            std::hint::black_box(&out);
        }
        Ok(())
    }))
}

/// A standing person's key points, in parts of the person's height, from the middle of the head.
const STANDING: [(f32, f32); 17] = [
    (0.0, 0.0),
    (0.02, -0.02),
    (-0.02, -0.02),
    (0.04, 0.0),
    (-0.04, 0.0),
    (0.1, 0.13),
    (-0.1, 0.13),
    (0.15, 0.28),
    (-0.17, 0.27),
    (0.17, 0.42),
    (-0.2, 0.4),
    (0.07, 0.45),
    (-0.07, 0.45),
    (0.08, 0.68),
    (-0.09, 0.68),
    (0.09, 0.9),
    (-0.1, 0.9),
];

/// rtmposeoverlay on a 1920x1080 I420 frame; one person is 900 pixels high, each of ten 450.
fn overlay(options: &Options) -> Result<Work> {
    init()?;
    let people = options.count("people", 1)?;
    let height = if people == 1 { 900.0 } else { 450.0 };
    let person = |index: usize| {
        let (x, y) = if people == 1 {
            (960.0, 120.0)
        } else {
            (200.0 + 380.0 * (index % 5) as f32, 80.5 + 520.0 * (index / 5) as f32)
        };
        let point =
            |(dx, dy): &(f32, f32)| KeyPoint { x: x + dx * height, y: y + dy * height, score: 0.9, z: None };
        Person {
            region: Region::new(x - 0.25 * height, y - 0.1 * height, 0.5 * height, 1.1 * height),
            key_points: STANDING.iter().map(point).collect(),
            id: Some(index as i64 + 1),
        }
    };
    let people = FramePeople {
        source: "bench".into(),
        width: 1920,
        height: 1080,
        skeleton: "coco-17".into(),
        points: 17,
        people: (0..people).map(person).collect(),
        carried: false,
    };
    let mut frame = gst::Buffer::from_mut_slice(vec![100u8; 1920 * 1080 * 3 / 2]);
    meta::write(frame.make_mut(), &people)?;
    let element = gst::ElementFactory::make("rtmposeoverlay").build()?;
    let caps = "video/x-raw,format=I420,width=1920,height=1080,framerate=30/1,colorimetry=bt709";
    let pads = between_pads(element, caps)?;
    let mut frame = Some(frame);
    Ok(Box::new(move |count| {
        for _ in 0..count {
            // Pushes the same frame again: the overlay draws on it in place.
            pads.source.push(frame.take().ok_or("no frame")?)?;
            frame = Some(pads.passed.recv()?);
        }
        Ok(())
    }))
}

/// Decodes a file again and again, as fast as it goes, until the input ends.
fn keep_decoding(file: &str) -> Result<()> {
    std::thread::spawn(|| {
        let _ = std::io::stdin().lines().count();
        std::process::exit(0);
    });
    gst::init()?;
    loop {
        run(&gst::parse::launch(&format!("filesrc location={file} ! decodebin ! fakesink"))?)?;
    }
}

/// Plays a pipeline to its end.
fn run(pipeline: &gst::Element) -> Result<()> {
    pipeline.set_state(gst::State::Playing)?;
    let bus = pipeline.bus().ok_or("no bus")?;
    let message =
        bus.timed_pop_filtered(gst::ClockTime::NONE, &[gst::MessageType::Eos, gst::MessageType::Error]);
    let failed = match message.as_ref().map(|message| message.view()) {
        Some(gst::MessageView::Error(error)) => Some(error.error().to_string()),
        _ => None,
    };
    pipeline.set_state(gst::State::Null)?;
    failed.map_or(Ok(()), |text| Err(text.into()))
}

/// Plays a file in real time with skeletons drawn on it; returns the share of the cores that this used.
pub fn play(options: &Options, file: &str) -> Result<Row> {
    init()?;
    let line = format!(
        "filesrc location={file} ! decodebin ! videoconvert ! rtmposebatch name=pose inference-threads={} ! \
         rtmposeoverlay ! fakesink name=sink sync=true",
        options.count("threads", 0)?
    );
    let pipeline = gst::parse::launch(&line)?;
    let bin = pipeline.downcast_ref::<gst::Bin>().ok_or("no pipeline")?;
    let (pose, sink) = (bin.by_name("pose").ok_or("no element")?, bin.by_name("sink").ok_or("no sink")?);
    // Excludes loading: PAUSED is reached with the first frame.
    pipeline.set_state(gst::State::Paused)?;
    pipeline.state(gst::ClockTime::NONE).0?;
    let (started, before) = (Instant::now(), processor_time());
    pipeline.set_state(gst::State::Playing)?;
    let bus = pipeline.bus().ok_or("no bus")?;
    let kinds = [gst::MessageType::Eos, gst::MessageType::Error];
    let message = bus.timed_pop_filtered(gst::ClockTime::NONE, &kinds).ok_or("no message")?;
    let (wall, cpu) = (started.elapsed().as_secs_f64(), (processor_time() - before).as_secs_f64());
    if let gst::MessageView::Error(error) = message.view() {
        return Err(error.error().to_string().into());
    }
    let length = pipeline.query_duration::<gst::ClockTime>().ok_or("no duration")?.nseconds() as f64 / 1e9;
    let stats: gst::Structure = pose.property("stats");
    let crops = stats.get::<u64>("crops")?;
    let rendered = sink.property::<gst::Structure>("stats").get::<u64>("rendered")?;
    pipeline.set_state(gst::State::Null)?;
    let cores = std::thread::available_parallelism()?.get() as f64;
    let mut row = Row::default();
    row.set_text("part", "file");
    row.set("frames", rendered as f64);
    row.set("crops", crops as f64);
    row.set("length-s", length);
    row.set("wall-s", wall);
    row.set("cpu-ms", cpu * 1000.0 / rendered as f64);
    row.set("cores-used", cpu / wall);
    row.set("cores", cores);
    row.set("free-percent", 100.0 * (1.0 - cpu / wall / cores));
    Ok(row)
}
