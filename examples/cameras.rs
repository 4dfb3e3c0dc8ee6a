//! Pose estimation on many cameras in one process: all inputs share one model, and their crops share its batches.
//!
//!     cargo run --release --example cameras -- test: test:ball video.mp4 --wall
//!
//! `--help` lists the options. What an application can learn from it:
//!
//! - Each input has its own pipeline, so that one that fails can be destroyed and built again while the others run
//!   (`support/inputs.rs`, which examples/web also uses). Its `rtmposebatch` finds the shared model by `model-instance-id`.
//! - With --detector, each pipeline also has an `rtmposedetect`; these share a model, too.
//! - One more `rtmposebatch` with that `model-instance-id` stays in READY (`Inputs::new`): it finds errors in the settings
//!   before anything starts, keeps the model loaded while inputs come and go, and has the model's statistics.
//! - The wall is a pipeline too. intervideosink and intervideosrc hand it the frames, so that no input delays another:
//!   the tile of a lost input turns black.
//! - Addresses can contain passwords, and GStreamer's messages contain addresses: all output goes through `masked`.

#[path = "support/inputs.rs"]
mod inputs;
#[path = "support/passwords.rs"]
mod passwords;
#[path = "support/pipeline.rs"]
mod pipeline;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use gst::prelude::*;
use inputs::{Inputs, Outlet, Phase, Step, seconds};
use passwords::{run_masked, say};
use pipeline::{Pipeline, Result};

/// Finds people's key points in many videos at once, with one model, and draws them.
///
/// An input that fails, stops although it is live, or sends no frame for a while is closed and opened again: after --retry
/// seconds, then after twice as long each time, up to a minute. The other inputs keep running. An input for which
/// GStreamer has no plugin is reported once and not tried again. The program ends when all files have ended, after
/// --seconds, or at Ctrl-C. It fails if the model, the wall or a setting fails, or if an input was given up.
#[derive(Parser)]
struct Options {
    #[command(flatten)]
    inputs: inputs::Watched,
    #[command(flatten)]
    shown: Shown,
    /// Seconds between two lines of statistics
    #[arg(long, value_name = "SECONDS", default_value = "5", value_parser = seconds)]
    figures: Duration,
}

/// Where the frames go.
#[derive(clap::Args)]
struct Shown {
    /// Show all inputs in one picture instead of each in its own sink
    #[arg(long)]
    wall: bool,
    /// Elements that receive the drawn frames, as in gst-launch-1.0 [default: autovideosink]; {} becomes the input's
    /// number: --sink 'openh264enc bitrate=2000000 ! h264parse ! mp4mux ! filesink location=camera-{}.mp4'
    #[arg(long, value_name = "ELEMENTS", verbatim_doc_comment)]
    sink: Option<String>,
    /// Use NVIDIA's decoders, and keep frames in GPU memory from decoding to drawing.
    /// Without --wall, --sink receives them in GPU memory too:
    /// --gpu --sink 'nvh264enc ! h264parse ! mp4mux ! filesink location=camera-{}.mp4'
    /// Rotated video is not turned upright then
    #[arg(long, verbatim_doc_comment)]
    gpu: bool,
}

/// The sink if --sink is not given.
const WINDOW: &str = "autovideosink";

/// Size of an input's tile in the wall.
const TILE: (usize, usize) = (640, 360);

fn main() -> ExitCode {
    run_masked(run)
}

fn run(options: Options) -> Result<()> {
    gst::init()?;
    // A program that is not linked with the plugin omits this, and needs the plugin in GStreamer's plugin path.
    gstrtmpose::plugin_register_static()?;
    let (shown, mut watched) = (options.shown, options.inputs);
    watched.gpu = shown.gpu;
    let inputs = Inputs::new(watched)?;
    let wall = shown.wall.then(|| wall(&shown, &inputs)).transpose()?;
    let _ = wall.as_ref().map(|wall| wall.0.set_state(gst::State::Playing));
    let told = vec![0; inputs.inputs.len()];
    Cameras { shown, figures: options.figures, inputs, wall, told }.run()
}

/// All inputs in one picture, row by row.
fn wall(shown: &Shown, inputs: &Inputs) -> Result<Pipeline> {
    let (width, height) = TILE;
    let count = inputs.inputs.len();
    let columns = (1..).find(|columns| columns * columns >= count).unwrap_or(1);
    let mut line = "compositor name=wall background=black".to_string();
    for index in 0..count {
        let (x, y) = (index % columns * width, index / columns * height);
        line += &format!(" sink_{index}::xpos={x} sink_{index}::ypos={y}");
    }
    // Without this size, a sink that asks for another one would receive a part of the wall.
    let (across, down) = (columns * width, count.div_ceil(columns) * height);
    line += &format!(
        " ! video/x-raw,width={across},height={down} ! videoconvert ! {}",
        shown.sink.as_deref().unwrap_or(WINDOW)
    );
    for index in 0..count {
        line += &format!(
            " intervideosrc channel=input-{index} ! \
             video/x-raw,format=I420,width={width},height={height},framerate=30/1 ! wall.sink_{index}"
        );
    }
    Pipeline::parse(&line, None, &inputs.sender)
}

impl Outlet for Shown {
    fn elements(&self, index: usize, _is_live: bool) -> String {
        let (width, height) = TILE;
        let sink = match (self.wall, &self.sink) {
            (true, _) => format!(
                "videoscale ! video/x-raw,format=I420,width={width},height={height},pixel-aspect-ratio=1/1 ! \
                 intervideosink channel=input-{index}"
            ),
            (false, Some(sink)) => sink.replace("{}", &(index + 1).to_string()),
            (false, None) => WINDOW.to_string(),
        };
        let from_the_gpu = match (self.gpu, self.wall || self.sink.is_none()) {
            (true, true) => "cudadownload ! videoconvert ! ",
            (true, false) => "",
            (false, _) => "videoconvert ! ",
        };
        format!("rtmposeoverlay ! {from_the_gpu}{sink}")
    }
}

struct Cameras {
    shown: Shown,
    figures: Duration,
    inputs: Inputs,
    // Closed after the inputs.
    wall: Option<Pipeline>,
    /// Number of each input's frames at the last line of statistics.
    told: Vec<u64>,
}

impl Cameras {
    fn run(mut self) -> Result<()> {
        let start = Instant::now();
        let end = self.inputs.options.seconds.map(|seconds| start + seconds);
        let mut told = start;
        while end.is_none_or(|end| Instant::now() < end) {
            let until = end.into_iter().fold(told + self.figures, Instant::min);
            match self.inputs.step(until, &self.shown)? {
                Step::On => (),
                Step::End => break,
                Step::Latency => drop(self.wall.as_ref().map(|wall| wall.0.recalculate_latency())),
            }
            let now = Instant::now();
            if told + self.figures <= now {
                self.tell((now - start).as_secs_f64(), (now - told).as_secs_f64());
                told = now;
            }
        }
        let result = self.inputs.finish(self.wall.as_ref());
        let frames: u64 = self.inputs.inputs.iter().map(|input| input.total).sum();
        say(format!("{frames} frames in {:.1} s; {}", start.elapsed().as_secs_f64(), self.network()));
        result
    }

    /// The line of statistics: frames per second of all inputs and of each.
    fn tell(&mut self, time: f64, seconds: f64) {
        let mut all = 0;
        let mut each = Vec::new();
        for ((index, input), told) in self.inputs.inputs.iter().enumerate().zip(&mut self.told) {
            let frames = input.total - std::mem::replace(told, input.total);
            all += frames;
            let state = match input.phase {
                Phase::Running(_) => format!("{:.1}", frames as f64 / seconds),
                Phase::Waiting { .. } => "away".to_string(),
                Phase::Ended => "ended".to_string(),
                Phase::Left { .. } => "left".to_string(),
            };
            each.push(format!("{}: {state}", index + 1));
        }
        let rate = all as f64 / seconds;
        say(format!("{time:.1} s: {rate:.1} frames/s ({}); {}", each.join(", "), self.network()));
    }

    fn network(&self) -> String {
        let stats = self.inputs.network.stats();
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
