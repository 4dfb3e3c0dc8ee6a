//! Draws people's skeletons on a video file: writes the video and a contact sheet, and prints a line of statistics.
//!
//!     cargo run --release --example annotate -- INPUT [--output STEM] [--detector FILE]
//!
//! writes STEM.mp4 (STEM.webm if GStreamer's openh264enc is missing) and STEM.png. It shows how an application runs the
//! plugin and reads its statistics. The main part is `Annotator::new`.

#[path = "support/output.rs"]
mod output;

use std::error::Error;
use std::fs;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use gst::prelude::*;
use gst_video::prelude::*;

const USAGE: &str = "usage: annotate INPUT [--output STEM] [--detector FILE]
  INPUT           a video file
  --output STEM   output files: STEM.mp4 or STEM.webm, and STEM.png (default: annotated)
  --detector FILE ONNX file of a detector (YOLOX, RTMDet or RF-DETR) that finds people in every third frame";

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> ExitCode {
    match Arguments::parse(std::env::args().skip(1)).and_then(run) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> Result<()> {
    if !arguments.input.is_file() {
        return Err(format!("{}: no such file", arguments.input.display()).into());
    }
    output::make_folder_of(&arguments.output)?;
    gst::init()?;
    // A program that is not linked with the plugin omits this, and needs the plugin in GStreamer's plugin path.
    gstrtmpose::plugin_register_static()?;

    let annotator = Annotator::new(&arguments)?;
    let seconds = annotator.run().inspect_err(|_| annotator.discard())?;
    annotator.finish(&arguments, seconds)
}

struct Arguments {
    input: PathBuf,
    output: PathBuf,
    detector: Option<PathBuf>,
}

impl Arguments {
    fn parse(mut words: impl Iterator<Item = String>) -> Result<Self> {
        let (mut input, mut output, mut detector) = (None, PathBuf::from("annotated"), None);
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or(format!("{word} needs a value\n{USAGE}"));
            match word.as_str() {
                "--help" | "-h" => {
                    println!("{USAGE}");
                    std::process::exit(0);
                }
                "--output" => output = value()?.into(),
                "--detector" => detector = Some(value()?.into()),
                _ if word.starts_with("--") => return Err(format!("{word} is not known\n{USAGE}").into()),
                _ => input = Some(word.into()),
            }
        }
        Ok(Self { input: input.ok_or(USAGE)?, output, detector })
    }
}

/// The pipeline, and what is needed of it while it runs.
struct Annotator {
    pipeline: gst::Pipeline,
    pose: gst::Element,
    sheet: Arc<Mutex<ContactSheet>>,
    /// The video is written here, and renamed when it is complete.
    partial: PathBuf,
    video: PathBuf,
}

impl Annotator {
    fn new(arguments: &Arguments) -> Result<Self> {
        let (extension, encoder) = encoder()?;
        // rtmposebatch accepts decoded frames as they are; the encoders need I420, so nothing is converted twice. videoflip
        // turns a phone's video upright.
        let detector = match arguments.detector {
            Some(_) => "rtmposedetect name=detector inference-interval=3 !",
            None => "",
        };
        let pipeline = gst::parse::launch(&format!(
            "filesrc name=source ! decodebin ! videoconvert !
             videoflip video-direction=auto ! capsfilter name=frames caps=video/x-raw,format=I420 !
             {detector} rtmposebatch name=pose ! rtmposeoverlay ! tee name=annotated
             annotated. ! queue ! videoscale ! {LARGEST} ! {encoder} ! filesink name=file
             annotated. ! queue name=pictures ! videoscale ! videoconvert !
             video/x-raw,format=RGB,width={},pixel-aspect-ratio=1/1 ! appsink name=sheet sync=false",
            ContactSheet::CELL_WIDTH
        ))
        .map_err(|error| format!("{error} (`make setup` installs GStreamer's usual plugins)"))?
        .downcast::<gst::Pipeline>()
        .map_err(|_| "not a pipeline")?;
        let element = |name: &str| pipeline.by_name(name).ok_or(format!("no element {name}"));

        let video = with_extension(&arguments.output, extension);
        let partial = with_extension(&arguments.output, &format!("{extension}.part"));
        element("source")?
            .set_property("location", arguments.input.to_str().ok_or("the file's name is not UTF-8")?);
        element("file")?.set_property("location", partial.to_str().ok_or("the output's name is not UTF-8")?);

        if let Some(file) = &arguments.detector {
            element("detector")?
                .set_property("model-file", file.to_str().ok_or("the detector's name is not UTF-8")?);
        }

        let pose = element("pose")?;
        let sheet = Arc::new(Mutex::new(ContactSheet::default()));
        let sink = element("sheet")?.downcast::<gst_app::AppSink>().map_err(|_| "not an appsink")?;
        ContactSheet::collect(&sheet, &element("pictures")?.static_pad("sink").ok_or("no pad")?, &sink);
        Ok(Self { pipeline, pose, sheet, partial, video })
    }

    /// Runs to the end of the file; returns the seconds from the first frame on.
    fn run(&self) -> Result<f64> {
        let bus = self.pipeline.bus().ok_or("the pipeline has no bus")?;
        let mut missing = Vec::new();
        // The reason of a failed change of state is on the bus, which is read below.
        let _ = self.pipeline.set_state(gst::State::Playing);
        let mut start = Instant::now();
        loop {
            let message = bus.timed_pop(gst::ClockTime::from_mseconds(500));
            match message.as_ref().map(|message| message.view()) {
                None => self.show_progress(),
                Some(gst::MessageView::AsyncDone(_)) => start = Instant::now(),
                Some(gst::MessageView::Eos(_)) => break,
                Some(gst::MessageView::Error(error)) => {
                    if !missing.is_empty() {
                        return Err(missing.join("\n").into());
                    }
                    let debug = error.debug().map(|debug| format!("\n{debug}")).unwrap_or_default();
                    return Err(format!("{}{debug}", error.error()).into());
                }
                Some(gst::MessageView::Warning(warning)) => eprintln!("warning: {}", warning.error()),
                Some(gst::MessageView::Progress(progress)) => eprintln!("{}", progress.get().2),
                Some(gst::MessageView::Element(element)) => {
                    let structure =
                        element.structure().filter(|structure| structure.name() == "missing-plugin");
                    missing.extend(structure.map(missing_codec));
                }
                _ => (),
            }
        }
        if std::io::stdout().is_terminal() {
            println!();
        }
        Ok(start.elapsed().as_secs_f64())
    }

    fn show_progress(&self) {
        let position = self.pipeline.query_position::<gst::ClockTime>().unwrap_or_default();
        let duration = self.pipeline.query_duration::<gst::ClockTime>();
        let of = duration.map(|time| format!(" of {:.1}", time.mseconds() as f64 / 1e3)).unwrap_or_default();
        if std::io::stdout().is_terminal() {
            print!("\r{:.1}{of} seconds of video ", position.mseconds() as f64 / 1e3);
            let _ = std::io::stdout().flush();
        }
    }

    fn discard(&self) {
        let _ = self.pipeline.set_state(gst::State::Null);
        let _ = fs::remove_file(&self.partial);
    }

    /// Prints the names of the files, and the statistics.
    fn finish(&self, arguments: &Arguments, seconds: f64) -> Result<()> {
        let stats = self.pose.property::<gst::Structure>("stats");
        let provider = self.pose.property::<Option<String>>("active-provider").unwrap_or_default();
        let _ = self.pipeline.set_state(gst::State::Null);
        let frames: u64 = stats.get("frames-out")?;
        let crops: u64 = stats.get("crops")?;
        let batches: u64 = stats.get("batches")?;
        let searched: u64 = stats.get("search-crops")?;
        let fill = 100.0 * stats.get::<f64>("mean-fill")?;

        let picture = with_extension(&arguments.output, "png");
        self.sheet.lock().unwrap().write(&picture)?;
        fs::rename(&self.partial, &self.video)?;
        println!("{}\n{}", self.video.display(), picture.display());
        println!(
            "{frames} frames in {seconds:.1} s: {:.1} frames/s with decoding and encoding; {crops} crops, {searched} of \
             them in search of people, in {batches} batches, mean batch fill {fill:.0} %; provider {provider}",
            frames as f64 / seconds,
        );
        Ok(())
    }
}

/// Largest size for the encoders; photographs are often larger.
const LARGEST: &str = "video/x-raw,width=(int)[2,3840],height=(int)[2,2160],pixel-aspect-ratio=1/1";

/// File name extension, and the elements from raw video to the file's bytes.
fn encoder() -> Result<(&'static str, &'static str)> {
    let there = |name| gst::ElementFactory::find(name).is_some();
    if there("openh264enc") && there("h264parse") && there("mp4mux") {
        Ok(("mp4", "openh264enc bitrate=6000000 ! h264parse ! mp4mux"))
    } else if there("vp8enc") && there("webmmux") {
        Ok(("webm", "vp8enc target-bitrate=6000000 deadline=1 cpu-used=8 threads=4 ! webmmux"))
    } else {
        Err("no video encoder: install gstreamer1.0-plugins-bad (H.264) or gstreamer1.0-plugins-good (VP8)"
            .into())
    }
}

fn with_extension(stem: &Path, extension: &str) -> PathBuf {
    let mut name = stem.as_os_str().to_owned();
    name.push(".");
    name.push(extension);
    name.into()
}

/// GStreamer's missing-plugin message, and the Debian package that helps.
fn missing_codec(structure: &gst::StructureRef) -> String {
    let name = structure.get::<String>("name").unwrap_or_else(|_| "a decoder".to_owned());
    let format = structure.get::<gst::Caps>("detail").ok();
    let format =
        format.as_ref().and_then(|caps| caps.structure(0)).map_or("", |detail| detail.name().as_str());
    let package = match format {
        "video/x-vp8" | "video/x-vp9" | "video/x-matroska" | "video/webm" | "video/quicktime"
        | "video/x-msvideo" | "image/jpeg" => "gstreamer1.0-plugins-good",
        "video/x-h264" | "video/x-av1" | "video/mpegts" => "gstreamer1.0-plugins-bad",
        "video/x-theora" | "application/ogg" => "gstreamer1.0-plugins-base",
        _ => "gstreamer1.0-libav",
    };
    format!("GStreamer lacks {name} ({format}): sudo apt-get install {package}")
}

/// Evenly spaced frames, collected without knowing how many will come: every `stride`th is kept; when there are too many,
/// every second one is dropped and the stride doubles.
#[derive(Default)]
struct ContactSheet {
    frames: Vec<Frame>,
    stride: Arc<AtomicU64>,
}

struct Frame {
    time: gst::ClockTime,
    height: usize,
    /// Rows of RGB without padding.
    pixels: Vec<u8>,
}

impl ContactSheet {
    const COLUMNS: usize = 2;
    const ROWS: usize = 3;
    const CELL_WIDTH: usize = 800;
    const KEPT: usize = 48;

    /// Keeps frames that arrive at `sink`; frames that are not needed are dropped at `pad`, before they are scaled.
    fn collect(sheet: &Arc<Mutex<Self>>, pad: &gst::Pad, sink: &gst_app::AppSink) {
        let stride = sheet.lock().unwrap().stride.clone();
        stride.store(1, Ordering::Relaxed);
        let count = AtomicU64::new(0);
        pad.add_probe(gst::PadProbeType::BUFFER, move |_, _| {
            match count.fetch_add(1, Ordering::Relaxed) % stride.load(Ordering::Relaxed) {
                0 => gst::PadProbeReturn::Ok,
                // Taken and dropped here.
                _ => gst::PadProbeReturn::Handled,
            }
        });
        let sheet = sheet.clone();
        let callbacks = gst_app::AppSinkCallbacks::builder().new_sample(move |sink| {
            let sample = sink.pull_sample().map_err(|_| gst::FlowError::Eos)?;
            if let Some(frame) = Frame::of(&sample) {
                sheet.lock().unwrap().keep(frame);
            }
            Ok(gst::FlowSuccess::Ok)
        });
        sink.set_callbacks(callbacks.build());
    }

    fn keep(&mut self, frame: Frame) {
        self.frames.push(frame);
        if self.frames.len() > Self::KEPT {
            let mut even = false;
            self.frames.retain(|_| {
                even = !even;
                even
            });
            self.stride.fetch_add(self.stride.load(Ordering::Relaxed), Ordering::Relaxed);
        }
    }

    /// The kept frames nearest to the middles of equal parts of the video, each once: a photograph has only one.
    fn chosen(&self) -> Vec<&Frame> {
        let Some(end) = self.frames.iter().map(|frame| frame.time).max() else { return Vec::new() };
        let parts = Self::COLUMNS * Self::ROWS;
        let middles = (0..parts).map(|part| end.nseconds() * (2 * part as u64 + 1) / (2 * parts as u64));
        let nearest = middles.filter_map(|middle| {
            self.frames.iter().min_by_key(|frame| frame.time.nseconds().abs_diff(middle))
        });
        let mut chosen: Vec<_> = nearest.collect();
        chosen.dedup_by_key(|frame| frame.time);
        chosen
    }

    fn write(&self, path: &Path) -> Result<()> {
        let frames = self.chosen();
        let Some(height) = frames.iter().map(|frame| frame.height).max() else {
            return Err("the file has no video frames".into());
        };
        let columns = Self::COLUMNS.min(frames.len());
        let rows = frames.len().div_ceil(columns);
        let (cell, width) = (Self::CELL_WIDTH * 3, Self::CELL_WIDTH * columns);
        let mut pixels = vec![0; width * 3 * height * rows];
        for (i, frame) in frames.iter().enumerate() {
            let (column, row) = (i % columns, i / columns);
            for (y, line) in frame.pixels.chunks_exact(cell).enumerate() {
                let start = (row * height + y) * width * 3 + column * cell;
                pixels[start..start + cell].copy_from_slice(line);
            }
        }
        let info =
            gst_video::VideoInfo::builder(gst_video::VideoFormat::Rgb, width as u32, (height * rows) as u32);
        let caps = info.fps(gst::Fraction::new(1, 1)).build()?.to_caps()?;
        let sample = gst::Sample::builder().buffer(&gst::Buffer::from_mut_slice(pixels)).caps(&caps).build();
        let png = gst_video::convert_sample(&sample, &gst::Caps::new_empty_simple("image/png"), None)?;
        fs::write(path, png.buffer().ok_or("no picture")?.map_readable()?)
            .map_err(|error| format!("{}: {error}", path.display()).into())
    }
}

impl Frame {
    fn of(sample: &gst::Sample) -> Option<Self> {
        let info = gst_video::VideoInfo::from_caps(sample.caps()?).ok()?;
        let frame = gst_video::VideoFrameRef::from_buffer_ref_readable(sample.buffer()?, &info).ok()?;
        let (stride, row) = (frame.plane_stride()[0] as usize, frame.width() as usize * 3);
        let rows = frame.plane_data(0).ok()?.chunks(stride).take(frame.height() as usize);
        let pixels = rows.flat_map(|line| line[..row].iter().copied()).collect();
        Some(Self { time: sample.buffer()?.pts()?, height: frame.height() as usize, pixels })
    }
}
