//! `rtmposebatch` with several streams that share one engine, each fed with decoded 1280x720 NV12 frames as fast as it
//! takes them.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use gst::prelude::*;
use nvml_wrapper::{Nvml, enums::device::UsedGpuMemory};

use super::{Options, Result, report::Row};

pub const CAPS: &str = "video/x-raw,format=NV12,width=1280,height=720,framerate=30/1,colorimetry=bt709";
const FRAMES: usize = 256;
const STREAMS: [usize; 3] = [1, 4, 16];

/// Smooth pictures, each different.
pub fn frames() -> Vec<gst::Buffer> {
    let (width, height) = (1280, 720);
    let frame = |index: usize| {
        let mut pixels = vec![128; width * height * 3 / 2];
        for (y, row) in pixels[..width * height].chunks_exact_mut(width).enumerate() {
            for (x, sample) in row.iter_mut().enumerate() {
                *sample = ((x / 4 + y / 3 + index * 7 + (x * y * (index + 1)) / 40_000) % 220 + 16) as u8;
            }
        }
        gst::Buffer::from_mut_slice(pixels)
    };
    (0..FRAMES).map(frame).collect()
}

/// NVIDIA's GPU 0, read through NVML.
pub struct Card(Nvml);

impl Card {
    pub fn find() -> Option<Self> {
        Nvml::builder().lib_path("libnvidia-ml.so.1".as_ref()).init().ok().map(Self)
    }

    pub fn memory_mib(&self) -> Option<f64> {
        Some(self.0.device_by_index(0).ok()?.memory_info().ok()?.used as f64 / f64::from(1 << 20))
    }

    /// GPU memory of this process; none if the driver does not report it.
    pub fn own_memory_mib(&self) -> Option<f64> {
        let processes = self.0.device_by_index(0).ok()?.running_compute_processes().ok()?;
        let own = processes.into_iter().find(|process| process.pid == std::process::id())?;
        match own.used_gpu_memory {
            UsedGpuMemory::Used(bytes) => Some(bytes as f64 / f64::from(1 << 20)),
            UsedGpuMemory::Unavailable => None,
        }
    }

    /// GPU memory of this process or, if the driver does not report it, of all processes.
    pub fn own_or_all_memory_mib(&self) -> Option<f64> {
        self.own_memory_mib().or_else(|| self.memory_mib())
    }

    pub fn tell_memory(row: &mut Row) {
        let Some(card) = Self::find() else { return };
        for (name, value) in
            [("gpu-memory-mib", card.memory_mib()), ("own-memory-mib", card.own_memory_mib())]
        {
            if let Some(value) = value {
                row.set(name, value);
            }
        }
    }

    /// Utilisation of the GPU, its decoder and its encoder.
    pub fn parts(&self) -> Option<[f64; 3]> {
        let card = self.0.device_by_index(0).ok()?;
        let decoder = card.decoder_utilization().ok()?.utilization;
        let encoder = card.encoder_utilization().ok()?.utilization;
        Some([self.utilization()?, f64::from(decoder), f64::from(encoder)])
    }

    pub fn utilization(&self) -> Option<f64> {
        Some(f64::from(self.0.device_by_index(0).ok()?.utilization_rates().ok()?.gpu))
    }
}

/// An element with the settings in the options.
pub fn make(options: &Options, name: &str) -> Result<gst::Element> {
    let element = gst::ElementFactory::make("rtmposebatch")
        .property("model-file", options.model())
        .property("model-instance-id", name)
        .property_from_str("execution-provider", options.text("provider", "cuda"))
        .property_from_str("precision", options.text("precision", "fp16"))
        .property_from_str("cudnn-conv-algo-search", options.text("search", "heuristic"))
        .property_from_str("cudnn-fuse-conv-bias", options.text("fuse", "auto"))
        .property("batch-size", options.count("batch", 8)? as u32)
        .property("batch-timeout", (options.number("timeout-ms", 15.0)? * 1e6) as u64)
        .property("input-queue-size", options.count("input-queue", 20)? as u32)
        .property("output-queue-size", options.count("output-queue", 8)? as u32)
        .property("inference-scale", options.number("scale", 1.0)?)
        .property("inference-streams", options.count("in-flight", 0)? as u32)
        .property_from_str("fallback", options.text("fallback", "cpu"))
        .property("adaptive-timeout", options.text("adaptive", "true") == "true")
        .property_from_str("inference-region", "full-frame")
        .build()?;
    Ok(element)
}

/// One stream: a pad that pushes into the element, and a pad that receives its output.
pub struct Stream {
    pub element: gst::Element,
    pub source: gst::Pad,
    _sink: gst::Pad,
    /// Number of the next frame.
    next: AtomicU64,
}

impl Stream {
    /// Starts the element in PLAYING; `out` receives each frame that comes out.
    pub fn start(
        element: gst::Element,
        live: bool,
        out: impl Fn(&gst::Buffer) + Send + Sync + 'static,
        ended: impl Fn() + Send + Sync + 'static,
    ) -> Result<Self> {
        let sink = gst::Pad::builder(gst::PadDirection::Sink)
            .chain_function(move |_, _, buffer| {
                out(&buffer);
                Ok(gst::FlowSuccess::Ok)
            })
            .event_function(move |_, _, event| {
                if event.type_() == gst::EventType::Eos {
                    ended();
                }
                true
            })
            .build();
        let source = gst::Pad::builder(gst::PadDirection::Src)
            .query_function(move |_, _, query| match query.view_mut() {
                gst::QueryViewMut::Latency(latency) => {
                    latency.set(live, gst::ClockTime::ZERO, gst::ClockTime::NONE);
                    true
                }
                _ => false,
            })
            .build();
        source.link(&element.static_pad("sink").ok_or("no sink pad")?)?;
        element.static_pad("src").ok_or("no source pad")?.link(&sink)?;
        sink.set_active(true)?;
        source.set_active(true)?;
        element.set_state(gst::State::Playing)?;
        source.push_event(gst::event::StreamStart::new("bench"));
        source.push_event(gst::event::Caps::new(&CAPS.parse()?));
        source.push_event(gst::event::Segment::new(&gst::FormattedSegment::<gst::ClockTime>::new()));
        Ok(Self { element, source, _sink: sink, next: AtomicU64::new(0) })
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let _ = self.source.set_active(false);
        let _ = self.element.set_state(gst::State::Null);
    }
}

pub fn init() -> Result<()> {
    gst::init()?;
    Ok(gstrtmpose::plugin_register_static()?)
}

/// Figures of the engine, from the element's stats.
pub fn stages(element: &gst::Element, row: &mut Row) {
    let stats: gst::Structure = element.property("stats");
    for name in ["wait-ms-p50", "wait-ms-p99", "inference-ms-p50", "inference-ms-p99", "mean-fill"] {
        if let Ok(value) = stats.get::<f64>(name) {
            row.set(name, value);
        }
    }
}

pub fn measure(options: &Options) -> Result<Row> {
    init()?;
    let frames = Arc::new(frames());
    if let Some(file) = options.0.get("frames") {
        write(&frames, file)?;
    }
    let mut row = Row::default();
    let (started, first) = (Instant::now(), Arc::new(std::sync::OnceLock::new()));
    let counted = Arc::new(AtomicU64::new(0));
    let mut streams = Vec::new();
    for count in STREAMS {
        while streams.len() < count {
            let (first, counted) = (first.clone(), counted.clone());
            let out = move |_: &gst::Buffer| {
                first.get_or_init(Instant::now);
                counted.fetch_add(1, Ordering::Relaxed);
            };
            streams.push(Stream::start(make(options, "bench")?, false, out, || ())?);
        }
        if count == 1 {
            streams[0].source.push(frames[0].copy())?;
            let pose = loop {
                match first.get() {
                    Some(pose) => break *pose,
                    None => thread::sleep(Duration::from_millis(1)),
                }
            };
            row.set("start-s", (pose - started).as_secs_f64());
            options.wait_for_turn()?;
        }
        let (rate, utilization) = feed(&streams, &frames, &counted, options.seconds()?);
        let plural = if count == 1 { "" } else { "s" };
        row.set(&format!("crops-per-second-{count}-stream{plural}"), rate);
        if count == 16 {
            if let Some(teraflops) = options.teraflops(rate) {
                row.set("teraflops", teraflops);
            }
            if let Some(utilization) = utilization {
                row.set("gpu-use-percent", utilization);
            }
        }
    }
    stages(&streams[0].element, &mut row);
    Card::tell_memory(&mut row);
    Ok(row)
}

/// Feeds all streams. Returns crops a second in the steady state, and the GPU's mean utilisation.
pub fn feed(
    streams: &[Stream],
    frames: &Arc<Vec<gst::Buffer>>,
    counted: &AtomicU64,
    length: Duration,
) -> (f64, Option<f64>) {
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        for (index, stream) in streams.iter().enumerate() {
            let (frames, stop) = (frames.clone(), &stop);
            scope.spawn(move || {
                for frame in frames.iter().cycle().skip(index * FRAMES / 16 % FRAMES) {
                    if stop.load(Ordering::Relaxed) {
                        return;
                    }
                    let mut frame = frame.copy();
                    let number = stream.next.fetch_add(1, Ordering::Relaxed);
                    frame.get_mut().expect("nobody else has the copy").set_offset(number);
                    if stream.source.push(frame).is_err() {
                        return;
                    }
                }
            });
        }
        // Waits until all queues are full.
        thread::sleep(Duration::from_millis(300));
        let card = Card::find();
        let (begun, before) = (Instant::now(), counted.load(Ordering::Relaxed));
        let mut samples = Vec::new();
        while begun.elapsed() < length {
            thread::sleep(Duration::from_millis(50));
            samples.extend(card.as_ref().and_then(Card::utilization));
        }
        let rate = (counted.load(Ordering::Relaxed) - before) as f64 / begun.elapsed().as_secs_f64();
        stop.store(true, Ordering::Relaxed);
        let mean = samples.iter().sum::<f64>() / samples.len() as f64;
        (rate, (!samples.is_empty()).then_some(mean))
    })
}

/// Writes the frames to a file, for another program.
fn write(frames: &[gst::Buffer], file: &str) -> Result<()> {
    if !std::path::Path::new(file).exists() {
        let mut bytes = Vec::new();
        for frame in frames {
            bytes.extend_from_slice(&frame.map_readable()?);
        }
        std::fs::write(file, bytes)?;
    }
    Ok(())
}
