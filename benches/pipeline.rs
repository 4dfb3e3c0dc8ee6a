//! The element against its own limit, in one run: 32 pre-made 1280x720 NV12 frames cycled through
//! `appsrc ! rtmposebatch inference-region=full-frame ! fakesink`, side by side with the bare ONNX Runtime session at the
//! same batch size, threads and model, which gets a fresh batch copied in and its key points copied out on every run.
//! Then the latency that the element adds to a frame beyond waiting and inference.
//!
//! `cargo bench --features testing --bench pipeline -- [--model FILE] [--provider cpu|cuda] [--batch N] [--inference-streams N] [--seconds S]
//! [--rounds R]`

use std::{
    error::Error,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use gst::prelude::*;
use gstrtmpose::{
    engine::{Backend, Executor, Loading, MonotonicClock, Slot},
    network::{Network, Peak, decode},
    posebatch::{RtmPoseBatch, testing},
};
use ort::{environment::Environment, ep, session::Session, value::TensorRef};

const FRAMES: usize = 32;
const CAPS: &str = "video/x-raw,format=NV12,width=1280,height=720,framerate=30/1,colorimetry=bt709";

struct Options {
    model: String,
    provider: String,
    batch: usize,
    inference_streams: u32,
    seconds: f64,
    rounds: usize,
}

impl Options {
    fn parse() -> Result<Self, Box<dyn Error>> {
        let mut options = Self {
            model: concat!(env!("CARGO_MANIFEST_DIR"), "/models/rtmpose-t.onnx").to_string(),
            provider: "cpu".to_string(),
            batch: 8,
            inference_streams: 0,
            seconds: 4.0,
            rounds: 5,
        };
        let mut arguments = std::env::args().skip(1);
        while let Some(name) = arguments.next() {
            // `cargo bench` adds this argument.
            if name == "--bench" {
                continue;
            }
            let value = arguments.next().ok_or_else(|| format!("{name} needs a value"))?;
            match name.as_str() {
                "--model" => options.model = value,
                "--provider" => options.provider = value,
                "--batch" => options.batch = value.parse()?,
                "--inference-streams" => options.inference_streams = value.parse()?,
                "--seconds" => options.seconds = value.parse()?,
                "--rounds" => options.rounds = value.parse()?,
                other => return Err(format!("no option {other}: see the top of benches/pipeline.rs").into()),
            }
        }
        Ok(options)
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let options = Options::parse()?;
    gst::init()?;
    gstrtmpose::plugin_register_static()?;
    let library =
        std::env::var("ORT_DYLIB_PATH").map_err(|_| "set ORT_DYLIB_PATH to ONNX Runtime's library")?;
    let environment = ort::init_from(library)?.with_telemetry(false).build()?;
    gstrtmpose::set_environment(environment.clone()).map_err(|_| "an environment is there already")?;

    println!("model {}, {}, batch {}", options.model, options.provider, options.batch);
    let frames = frames();
    let mut bare = Bare::open(&environment, &options)?;
    let element = Pipeline::open(&options, frames.clone())?;
    let (mut bare_rates, mut element_rates, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..options.rounds {
        let bare_rate = bare.measure(options.seconds)?;
        let element_rate = element.measure(options.seconds)?;
        bare_rates.push(bare_rate);
        element_rates.push(element_rate);
        ratios.push(element_rate / bare_rate);
    }
    println!("bare session       {:8.1} crops/s (median of {})", median(&mut bare_rates), options.rounds);
    println!("rtmposebatch       {:8.1} crops/s", median(&mut element_rates));
    println!("ratio              {:8.3}", median(&mut ratios));
    let stats: gst::Structure = element.element.property("stats");
    println!("mean fill {:.3}, stats {stats}", stats.get::<f64>("mean-fill")?);
    drop(element);
    added_latency(frames)
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Smooth pictures, each different.
fn frames() -> Arc<Vec<gst::Buffer>> {
    let frames = (0..FRAMES).map(|index| {
        let (width, height) = (1280, 720);
        let mut pixels = vec![128; width * height * 3 / 2];
        for (y, row) in pixels[..width * height].chunks_exact_mut(width).enumerate() {
            for (x, sample) in row.iter_mut().enumerate() {
                *sample = ((x / 4 + y / 3 + index * 7) % 220 + 16) as u8;
            }
        }
        gst::Buffer::from_mut_slice(pixels)
    });
    Arc::new(frames.collect())
}

/// The bare session: ready-made normalised batches in, key points out.
struct Bare {
    session: Session,
    batches: Vec<Vec<f32>>,
    input: Vec<f32>,
    shape: [usize; 4],
    turn: usize,
}

impl Bare {
    fn open(environment: &Environment, options: &Options) -> Result<Self, Box<dyn Error>> {
        let mut builder =
            Session::builder(environment)?.with_intra_op_spinning(false)?.with_inter_op_spinning(false)?;
        if options.provider == "cuda" {
            let search = ep::cuda::ConvAlgorithmSearch::Heuristic;
            let cuda = ep::CUDA::default().with_tf32(true).with_conv_algorithm_search(search);
            builder = builder.with_execution_providers([cuda.build().error_on_failure()])?;
        }
        let session = builder.commit_from_file(&options.model)?;
        let dims = session.inputs()[0].dtype().tensor_shape().ok_or("the input is no tensor")?;
        let shape = [options.batch, 3, dims[2] as usize, dims[3] as usize];
        let length = shape.iter().product();
        let batch =
            |seed: usize| (0..length).map(|i| ((i / 7 + seed * 31) % 255) as f32 / 64.0 - 2.0).collect();
        let mut bare =
            Self { session, batches: (0..4).map(batch).collect(), input: vec![0.0; length], shape, turn: 0 };
        for _ in 0..5 {
            bare.run()?;
        }
        Ok(bare)
    }

    fn run(&mut self) -> Result<Vec<Peak>, Box<dyn Error>> {
        self.turn += 1;
        self.input.copy_from_slice(&self.batches[self.turn % self.batches.len()]);
        let input = TensorRef::from_array_view((self.shape, self.input.as_slice()))?;
        let outputs = self.session.run(ort::inputs![input])?;
        let (shape, simcc_x) = outputs["simcc_x"].try_extract_tensor::<f32>()?;
        let (_, simcc_y) = outputs["simcc_y"].try_extract_tensor::<f32>()?;
        let mut peaks = vec![Peak::default(); (shape[0] * shape[1]) as usize];
        decode(simcc_x, simcc_y, &mut peaks);
        Ok(peaks)
    }

    /// Crops a second.
    fn measure(&mut self, seconds: f64) -> Result<f64, Box<dyn Error>> {
        let (started, mut crops) = (Instant::now(), 0);
        while started.elapsed().as_secs_f64() < seconds {
            self.run()?;
            crops += self.shape[0];
        }
        Ok(crops as f64 / started.elapsed().as_secs_f64())
    }
}

/// The element in a running pipeline, fed as fast as it takes frames.
struct Pipeline {
    pipeline: gst::Pipeline,
    source: gst_app::AppSrc,
    element: gst::Element,
    frames: Arc<Vec<gst::Buffer>>,
}

impl Pipeline {
    fn open(options: &Options, frames: Arc<Vec<gst::Buffer>>) -> Result<Self, Box<dyn Error>> {
        let line = format!(
            "appsrc name=source caps=\"{CAPS}\" format=time block=true max-buffers=4 max-bytes=0 ! \
             rtmposebatch name=pose inference-region=full-frame model-file={} execution-provider={} batch-size={} \
             inference-streams={} ! fakesink sync=false",
            options.model, options.provider, options.batch, options.inference_streams
        );
        let pipeline = gst::parse::launch(&line)?.downcast::<gst::Pipeline>().map_err(|_| "no pipeline")?;
        pipeline.set_state(gst::State::Playing)?;
        let named = |name| pipeline.by_name(name).ok_or("no such element");
        let source = named("source")?.downcast::<gst_app::AppSrc>().map_err(|_| "no appsrc")?;
        let element = named("pose")?;
        Ok(Self { source, element, pipeline, frames })
    }

    fn crops(&self) -> Result<u64, Box<dyn Error>> {
        Ok(self.element.property::<gst::Structure>("stats").get("crops")?)
    }

    /// Crops a second. The queue stays full, so that the next measurement starts in the steady state.
    fn measure(&self, seconds: f64) -> Result<f64, Box<dyn Error>> {
        let feed = |until: Instant| -> Result<(), Box<dyn Error>> {
            for buffer in self.frames.iter().cycle() {
                if Instant::now() >= until {
                    return Ok(());
                }
                self.source.push_buffer(buffer.copy())?;
            }
            Ok(())
        };
        feed(Instant::now() + Duration::from_secs_f64(seconds / 8.0))?;
        let (started, before) = (Instant::now(), self.crops()?);
        feed(started + Duration::from_secs_f64(seconds))?;
        let rate = (self.crops()? - before) as f64 / started.elapsed().as_secs_f64();
        // The bare session must have the machine to itself.
        let idle = || -> Result<bool, Box<dyn Error>> {
            let stats = self.element.property::<gst::Structure>("stats");
            Ok(stats.get::<u64>("frames-in")? == stats.get::<u64>("frames-out")?)
        };
        while self.source.current_level_buffers() > 0 || !idle()? {
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(rate)
    }
}

impl Drop for Pipeline {
    fn drop(&mut self) {
        let _ = self.pipeline.set_state(gst::State::Null);
    }
}

/// A network that takes no time: the measured time is the element's own.
struct Instantly;

impl Backend for Instantly {
    type Network = Network;

    fn open(&self, _: &Loading) -> Result<(Network, Box<dyn Executor>), gstrtmpose::engine::Error> {
        Ok((Network::simcc(192, 256, 17, "none"), Box::new(Self)))
    }
}

impl Executor for Instantly {
    fn load(&mut self, _: usize, _: &dyn Slot) {}

    fn run(&mut self, rows: usize, _: &mut [f32]) -> Result<usize, gstrtmpose::engine::Error> {
        Ok(rows)
    }

    fn warm_up_sizes(&self) -> Vec<usize> {
        Vec::new()
    }
}

/// Time from a frame's arrival to its departure, with a network that takes no time and a batch-timeout of 0.
fn added_latency(frames: Arc<Vec<gst::Buffer>>) -> Result<(), Box<dyn Error>> {
    let element = gst::ElementFactory::make("rtmposebatch")
        .property("batch-timeout", 0u64)
        .property_from_str("inference-region", "full-frame")
        .build()?;
    let element = element.downcast::<RtmPoseBatch>().map_err(|_| "no rtmposebatch")?;
    testing::inject(&element, Arc::new(Instantly), Arc::new(MonotonicClock::default()));
    let out = Arc::new(Mutex::new(None));
    let seen = out.clone();
    let source = gst::Pad::builder(gst::PadDirection::Src).build();
    let sink = gst::Pad::builder(gst::PadDirection::Sink)
        .chain_function(move |_, _, _| {
            *seen.lock().unwrap() = Some(Instant::now());
            Ok(gst::FlowSuccess::Ok)
        })
        .event_function(|_, _, _| true)
        .build();
    source.link(&element.static_pad("sink").ok_or("no pad")?)?;
    element.static_pad("src").ok_or("no pad")?.link(&sink)?;
    sink.set_active(true)?;
    source.set_active(true)?;
    element.set_state(gst::State::Playing)?;
    source.push_event(gst::event::StreamStart::new("bench"));
    source.push_event(gst::event::Caps::new(&CAPS.parse()?));
    source.push_event(gst::event::Segment::new(&gst::FormattedSegment::<gst::ClockTime>::new()));
    let mut added = Vec::new();
    for buffer in frames.iter().cycle().take(2000) {
        let started = Instant::now();
        source.push(buffer.copy())?;
        let left = loop {
            if let Some(left) = out.lock().unwrap().take() {
                break left;
            }
            std::thread::yield_now();
        };
        added.push(left.duration_since(started).as_secs_f64() * 1000.0);
    }
    element.set_state(gst::State::Null)?;
    added.sort_by(f64::total_cmp);
    println!(
        "added to a 1280x720 NV12 frame beyond waiting and inference: p50 {:.3} ms, p99 {:.3} ms",
        added[added.len() / 2],
        added[added.len() * 99 / 100]
    );
    Ok(())
}
