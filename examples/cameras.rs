//! Pose estimation on many cameras in one process: all inputs share one network, whose batches fill across them.
//!
//!     cargo run --release --example cameras -- test: test:ball video.mp4 --wall
//!
//! `--help` tells the rest. What it shows an application that is built on the plugin:
//!
//! - Each input has a pipeline of its own, so that one that fails is thrown away and built again while others go on
//!   (`Input`, `Cameras::run`). Its `rtmposebatch` finds the shared network by `model-instance-id`.
//! - With --detector an `rtmposedetect` stands before each, which share a network of their own.
//! - One more `rtmposebatch` of that name stands in READY (`run`): it finds errors in the settings before anything
//!   starts, keeps the network loaded while inputs come and go, and gives the figures of the network.
//! - The wall is a pipeline too. intervideosink and intervideosrc hand it the pictures, so that no input holds up
//!   another: the picture of one that is away turns black.
//! - Addresses hold passwords, and GStreamer's messages hold addresses: all output goes through `masked`.

#[path = "support/passwords.rs"]
mod passwords;
#[path = "support/pipeline.rs"]
mod pipeline;

use std::process::ExitCode;
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::{Duration, Instant};

use clap::Parser;
use gst::{glib, prelude::*};
use passwords::{masked, say};
use pipeline::{DECODER, News, Pipeline, Result, What, Who, wait_for_network};
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM},
    iterator::Signals,
};

/// Finds people's key points in many videos at once, with one network, and draws them.
///
/// An input that fails, ends though it is live, or gives no frame for a while is closed and opened again: after --retry
/// seconds, then after twice as long each time, up to a minute. The others go on meanwhile. One that GStreamer has no
/// plugin for is named once and left. The program ends when all files have ended, after --seconds, or at Ctrl-C; it fails
/// when the network, the wall or a setting is at fault, or an input was left.
#[derive(Parser)]
struct Options {
    /// What to watch, one or more of these:
    ///   FILE                        a video file
    ///   rtsp://USER:PASSWORD@HOST/  a network camera, or another address that GStreamer's uridecodebin plays
    ///   /dev/videoN                 a camera of this machine
    ///   test:, test:PATTERN         a live test picture; PATTERN as in `gst-inspect-1.0 videotestsrc`, such as ball
    ///   @LIST                       a file with one input a line: no password in the list of processes
    /// Passwords are masked in all that this program prints (not in GStreamer's own log, GST_DEBUG).
    #[arg(required = true, value_name = "INPUT", verbatim_doc_comment)]
    inputs: Vec<String>,
    /// Show all inputs in one picture instead of each in its own sink
    #[arg(long)]
    wall: bool,
    /// Where pictures go, as in gst-launch-1.0; {} becomes the input's number:
    /// --sink 'openh264enc bitrate=2000000 ! h264parse ! mp4mux ! filesink location=camera-{}.mp4'
    #[arg(long, value_name = "ELEMENTS", default_value = "autovideosink", verbatim_doc_comment)]
    sink: String,
    /// Properties of rtmposebatch, as in gst-launch-1.0: --pose 'model-file=rtmpose-m.onnx batch-size=16'
    #[arg(long, value_name = "PROPERTIES", default_value = "")]
    pose: String,
    /// A detector that finds the people, one for all inputs: properties of rtmposedetect, as in gst-launch-1.0:
    /// --detector 'model-file=yolox.onnx inference-interval=3'
    #[arg(long, value_name = "PROPERTIES", verbatim_doc_comment)]
    detector: Option<String>,
    /// End after so many seconds
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    seconds: Option<Duration>,
    /// Print a line of figures every so many seconds
    #[arg(long, value_name = "SECONDS", default_value = "5", value_parser = seconds)]
    figures: Duration,
    /// First wait before an input that failed is opened again
    #[arg(long, value_name = "SECONDS", default_value = "1", value_parser = seconds)]
    retry: Duration,
}

fn seconds(text: &str) -> Result<Duration> {
    let duration = Duration::try_from_secs_f64(text.parse()?)?;
    if duration.is_zero() { Err("more than 0 is needed".into()) } else { Ok(duration) }
}

/// The engine's name: any that nobody else in the process uses.
const SHARED: &str = "model-instance-id=cameras";
const SHARED_DETECTOR: &str = "model-instance-id=cameras-detector";
const LONGEST_RETRY: Duration = Duration::from_secs(60);
/// An input without a frame for so long, though none waits for the network, has failed.
const STALL: Duration = Duration::from_secs(10);
/// Milliseconds by which packets of network cameras may be late.
const LATENCY: u32 = 100;
/// Size of an input's picture in the wall.
const TILE: (usize, usize) = (640, 360);
/// Time for files that are being written to be completed.
const LAST_WORDS: Duration = Duration::from_secs(3);

fn main() -> ExitCode {
    let options = match Options::try_parse() {
        Ok(options) => options,
        Err(error) if error.use_stderr() => {
            eprintln!("{}", masked(&error.to_string()));
            return ExitCode::from(error.exit_code() as u8);
        }
        Err(help) => help.exit(),
    };
    match run(options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}", masked(&error.to_string()));
            ExitCode::FAILURE
        }
    }
}

fn run(options: Options) -> Result<()> {
    gst::init()?;
    // A program that is not linked with the plugin leaves this out and has it in GStreamer's plugin path.
    gstrtmpose::plugin_register_static()?;
    let mut inputs = Vec::new();
    for argument in &options.inputs {
        match argument.strip_prefix('@') {
            Some(list) => {
                let text = std::fs::read_to_string(list).map_err(|error| format!("{list}: {error}"))?;
                inputs.extend(text.lines().map(str::trim).filter(|line| !line.is_empty()).map(Input::new));
            }
            None => inputs.push(Input::new(argument)),
        }
    }
    for (index, input) in inputs.iter().enumerate() {
        say(format!("input {}: {}", index + 1, input.address));
    }

    let (sender, news) = mpsc::channel();
    let stop = sender.clone();
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])?;
    std::thread::spawn(move || signals.forever().try_for_each(|_| stop.send((None, What::Ended))));
    // Why a pipeline does not start comes as news.
    let network = Pipeline::parse(&elements(&options), None, &sender)?;
    let _ = network.0.set_state(gst::State::Ready);
    let wall = options.wall.then(|| wall(&options, inputs.len(), &sender)).transpose()?;
    let _ = wall.as_ref().map(|wall| wall.0.set_state(gst::State::Playing));
    Cameras { options, inputs, wall, network, sender }.run(&news)
}

/// The elements that find people and their key points, with the networks that all inputs share.
fn elements(options: &Options) -> String {
    let detector = options.detector.as_ref();
    let detector = detector.map_or_else(String::new, |properties| {
        format!("rtmposedetect name=detector {SHARED_DETECTOR} {properties} ! ")
    });
    format!("{detector}rtmposebatch name=pose {SHARED} {}", options.pose)
}

/// A picture of all inputs, row by row.
fn wall(options: &Options, inputs: usize, sender: &Sender<News>) -> Result<Pipeline> {
    let (width, height) = TILE;
    let columns = (1..).find(|columns| columns * columns >= inputs).unwrap_or(1);
    let mut line = "compositor name=wall background=black".to_string();
    for index in 0..inputs {
        let (x, y) = (index % columns * width, index / columns * height);
        line += &format!(" sink_{index}::xpos={x} sink_{index}::ypos={y}");
    }
    // Said here, or a sink that wants another size would get a part of it.
    let (across, down) = (columns * width, inputs.div_ceil(columns) * height);
    line += &format!(" ! video/x-raw,width={across},height={down} ! videoconvert ! {}", options.sink);
    for index in 0..inputs {
        line += &format!(
            " intervideosrc channel=input-{index} ! \
             video/x-raw,format=I420,width={width},height={height},framerate=30/1 ! wall.sink_{index}"
        );
    }
    Pipeline::parse(&line, None, sender)
}

enum Phase {
    Running(Pipeline),
    Waiting {
        until: Instant,
    },
    Ended,
    /// GStreamer cannot play it here.
    Left,
}

struct Input {
    address: String,
    phase: Phase,
    opened: u32,
    /// Since the last frame.
    failures: u32,
    /// Frames of this pipeline, and when it last gave one or had one waiting for the network.
    frames: u64,
    last_frame: Instant,
    /// Frames of all its pipelines, and as many of them as were told in a line of figures.
    total: u64,
    told: u64,
}

impl Input {
    fn new(address: &str) -> Self {
        let (address, now) = (address.to_string(), Instant::now());
        let phase = Phase::Waiting { until: now };
        Self { address, phase, opened: 0, failures: 0, frames: 0, last_frame: now, total: 0, told: 0 }
    }

    /// Its end is a failure.
    fn is_live(&self) -> bool {
        ["rtsp", "/dev/", "test:"].iter().any(|start| self.address.starts_with(start))
    }

    fn open(&mut self, index: usize, options: &Options, sender: &Sender<News>) -> Result<()> {
        let source = if let Some(pattern) = self.address.strip_prefix("test:") {
            let pattern = if pattern.is_empty() { "smpte" } else { pattern };
            format!("videotestsrc is-live=true pattern={pattern} ! video/x-raw,width=640,height=360")
        } else if self.address.starts_with("/dev/") {
            "v4l2src name=device ! decodebin".to_string()
        } else {
            DECODER.to_string()
        };
        let (width, height) = TILE;
        let sink = match options.wall {
            true => format!(
                "videoscale ! video/x-raw,format=I420,width={width},height={height},pixel-aspect-ratio=1/1 ! \
                 intervideosink channel=input-{index}"
            ),
            false => options.sink.replace("{}", &(index + 1).to_string()),
        };
        let line = format!(
            "{source} ! videoconvert ! videoflip video-direction=auto ! {} ! rtmposeoverlay ! videoconvert ! {sink}",
            elements(options)
        );
        self.opened += 1;
        let who = Some((index, self.opened));
        let pipeline = Pipeline::parse(&line, who, sender)?;
        if let Some(device) = pipeline.0.by_name("device") {
            device.set_property("device", &self.address);
        }
        if let Some(decoder) = pipeline.0.by_name("address") {
            let is_file = !self.address.contains("://");
            let path = std::path::absolute(&self.address)?;
            let uri = if is_file { glib::filename_to_uri(path, None)?.into() } else { self.address.clone() };
            decoder.set_property("uri", uri);
            decoder.connect("source-setup", false, |arguments| {
                let source = arguments[1].get::<gst::Element>().ok()?;
                if source.has_property_with_type("latency", u32::static_type()) {
                    source.set_property("latency", LATENCY);
                }
                None
            });
        }
        if pipeline.0.set_state(gst::State::Playing).is_err() {
            // Behind the reason, if an element gave one.
            let _ = sender.send((who, What::Failed("it cannot be started".to_string())));
        }
        (self.frames, self.last_frame) = (0, Instant::now());
        self.phase = Phase::Running(pipeline);
        Ok(())
    }

    /// Closes the pipeline. The next one comes later with each failure in a row.
    fn fail(&mut self, index: usize, reason: &str, options: &Options) {
        self.count_frames();
        let wait = options.retry.saturating_mul(1 << self.failures.min(16)).min(LONGEST_RETRY);
        self.failures += 1;
        say(format!("input {}: {reason}; again in {:.1} s", index + 1, wait.as_secs_f64()));
        self.phase = Phase::Waiting { until: Instant::now() + wait };
    }

    fn count_frames(&mut self) {
        let Phase::Running(pipeline) = &self.phase else { return };
        let stats = pipeline.stats();
        let frames = stats.get("frames-out").unwrap_or(0);
        if frames > self.frames {
            self.total += frames - self.frames;
            (self.frames, self.failures) = (frames, 0);
        } else if !wait_for_network(&stats) {
            return;
        }
        self.last_frame = Instant::now();
    }

    fn figures(&mut self, seconds: f64) -> String {
        let rate = (self.total - self.told) as f64 / seconds;
        self.told = self.total;
        match &self.phase {
            Phase::Running(_) => format!("{rate:.1}"),
            Phase::Waiting { .. } => "away".to_string(),
            Phase::Ended => "ended".to_string(),
            Phase::Left => "left".to_string(),
        }
    }
}

struct Cameras {
    options: Options,
    inputs: Vec<Input>,
    // Closed after the inputs.
    wall: Option<Pipeline>,
    network: Pipeline,
    sender: Sender<News>,
}

impl Cameras {
    fn run(mut self, news: &Receiver<News>) -> Result<()> {
        let start = Instant::now();
        let end = self.options.seconds.map(|seconds| start + seconds);
        let (mut told, mut next) = (start, start);
        while !self.inputs.iter().all(|input| matches!(input.phase, Phase::Ended | Phase::Left)) {
            match news.recv_timeout(next.saturating_duration_since(Instant::now())) {
                Ok((None, What::Ended)) => break,
                Ok((who, what)) => self.hear(who, what)?,
                // Nothing is new; the sender is kept above.
                Err(_) => (),
            }
            let now = Instant::now();
            if end.is_some_and(|end| end <= now) {
                break;
            }
            // Stalls are looked for every second.
            next = end.into_iter().fold(now + Duration::from_secs(1), Instant::min);
            for (index, input) in self.inputs.iter_mut().enumerate() {
                input.count_frames();
                match input.phase {
                    Phase::Waiting { until } if until <= now => {
                        input.open(index, &self.options, &self.sender)?
                    }
                    Phase::Waiting { until } => next = next.min(until),
                    Phase::Running(_) if input.last_frame + STALL <= now => {
                        input.fail(index, "no frame comes", &self.options)
                    }
                    _ => (),
                }
            }
            if told + self.options.figures <= now {
                self.tell((now - start).as_secs_f64(), (now - told).as_secs_f64());
                told = now;
            }
            next = next.min(told + self.options.figures);
        }
        self.finish(news);
        let frames: u64 = self.inputs.iter().map(|input| input.total).sum();
        say(format!("{frames} frames in {:.1} s; {}", start.elapsed().as_secs_f64(), self.network()));
        let left = self.inputs.iter().filter(|input| matches!(input.phase, Phase::Left)).count();
        match left {
            0 => Ok(()),
            _ => Err(format!("{left} of {} inputs cannot be played here", self.inputs.len()).into()),
        }
    }

    fn hear(&mut self, who: Who, what: What) -> Result<()> {
        let Some((index, opened)) = who else {
            match what {
                What::Failed(reason) | What::Missing(reason) => return Err(reason.into()),
                What::Latency => drop(self.wall.as_ref().map(|wall| wall.0.recalculate_latency())),
                _ => (),
            }
            return Ok(());
        };
        let input = &mut self.inputs[index];
        let Phase::Running(pipeline) = &input.phase else { return Ok(()) };
        if input.opened != opened {
            return Ok(());
        }
        match what {
            What::Failed(reason) => input.fail(index, &reason, &self.options),
            What::Missing(name) => {
                say(format!(
                    "input {}: this GStreamer lacks: {name}. Install the plugin that has it (`gst-inspect-1.0` lists those \
                     that are there); the input is left",
                    index + 1
                ));
                input.phase = Phase::Left;
            }
            What::Ended if input.is_live() => input.fail(index, "the stream has ended", &self.options),
            What::Ended => {
                input.count_frames();
                say(format!("input {}: ended after {} frames", index + 1, input.total));
                input.phase = Phase::Ended;
            }
            What::Warning(text) => say(format!("input {}: warning: {text}", index + 1)),
            What::Latency => drop(pipeline.0.recalculate_latency()),
        }
        Ok(())
    }

    /// Ends all streams, so that files which are being written are complete.
    fn finish(&mut self, news: &Receiver<News>) {
        let until = Instant::now() + LAST_WORDS;
        let inputs = self.inputs.iter().filter_map(|input| match &input.phase {
            // One that has sent nothing yet need not end well.
            Phase::Running(pipeline) if input.frames > 0 => Some(pipeline),
            _ => None,
        });
        let mut open = 0;
        for pipeline in inputs.chain(&self.wall) {
            pipeline.0.send_event(gst::event::Eos::new());
            open += 1;
        }
        while open > 0 {
            match news.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok((Some((index, opened)), _)) if self.inputs[index].opened != opened => (),
                Ok((_, What::Ended | What::Failed(_) | What::Missing(_))) => open -= 1,
                Ok(_) => (),
                Err(_) => break,
            }
        }
        self.inputs.iter_mut().for_each(Input::count_frames);
    }

    /// The line of figures: frames a second of all inputs and of each.
    fn tell(&mut self, time: f64, seconds: f64) {
        let frames: u64 = self.inputs.iter().map(|input| input.total - input.told).sum();
        let inputs = self.inputs.iter_mut().enumerate();
        let each: Vec<_> =
            inputs.map(|(index, input)| format!("{}: {}", index + 1, input.figures(seconds))).collect();
        let rate = frames as f64 / seconds;
        say(format!("{time:.1} s: {rate:.1} frames/s ({}); {}", each.join(", "), self.network()));
    }

    /// The figures of the network, which all inputs share.
    fn network(&self) -> String {
        let stats = self.network.stats();
        let number = |name| stats.get::<f64>(name).unwrap_or(0.0);
        format!(
            "{} crops, mean fill {:.2}, waits {:.1} ms, runs {:.1} ms (p99)",
            stats.get::<u64>("crops").unwrap_or(0),
            number("mean-fill"),
            number("wait-ms-p99"),
            number("inference-ms-p99")
        )
    }
}
