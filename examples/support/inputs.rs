//! Inputs of a program. Each has its own pipeline, so that one that fails can be destroyed and built again while the others
//! run. They share one model, and one detector, by `model-instance-id`. An `Outlet` of the program decides what happens to
//! their frames.

use std::sync::mpsc::{self, Receiver, Sender};
use std::time::{Duration, Instant};

use gst::{glib, prelude::*};
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM},
    iterator::Signals,
};

use super::passwords::say;
use super::pipeline::{DECODER, News, Pipeline, Result, What, wait_for_network};

/// The inputs, and the models for them.
#[derive(clap::Args)]
pub struct Watched {
    /// Inputs, one or more of these:
    ///   FILE                        a video file
    ///   rtsp://USER:PASSWORD@HOST/  a network camera, or another address that GStreamer's uridecodebin plays
    ///   /dev/videoN                 a camera of this machine
    ///   test:, test:PATTERN         a live test picture; PATTERN as in `gst-inspect-1.0 videotestsrc`, such as ball
    ///   @LIST                       a file with one input per line, so that no password is in the list of processes
    /// Passwords are masked in everything that this program prints (but not in GStreamer's own log, GST_DEBUG).
    #[arg(required = true, value_name = "INPUT", verbatim_doc_comment)]
    inputs: Vec<String>,
    /// Properties of rtmposebatch, as in gst-launch-1.0: --pose 'model-file=rtmpose-m.onnx batch-size=16'
    #[arg(long, value_name = "PROPERTIES", default_value = "")]
    pose: String,
    /// Find people with a detector, shared by all inputs. Properties of rtmposedetect, as in gst-launch-1.0:
    /// --detector 'model-file=yolox.onnx inference-interval=3'
    #[arg(long, value_name = "PROPERTIES", verbatim_doc_comment)]
    detector: Option<String>,
    /// Seconds after which the program ends
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub seconds: Option<Duration>,
    /// Seconds before a failed input is opened again for the first time
    #[arg(long, value_name = "SECONDS", default_value = "1", value_parser = seconds)]
    retry: Duration,
    /// NVIDIA's decoders are used, and frames stay in CUDA memory, where the program's `Outlet` receives them.
    #[arg(skip)]
    pub gpu: bool,
}

pub fn seconds(text: &str) -> Result<Duration> {
    let duration = Duration::try_from_secs_f64(text.parse()?)?;
    if duration.is_zero() { Err("more than 0 is needed".into()) } else { Ok(duration) }
}

/// Names for the shared engines that nothing else in the process uses.
const SHARED: &str = "model-instance-id=inputs";
const SHARED_DETECTOR: &str = "model-instance-id=inputs-detector";
const LONGEST_RETRY: Duration = Duration::from_secs(60);
/// An input that sends no frame for this long, although none waits for the model, has failed.
const STALL: Duration = Duration::from_secs(10);
/// Milliseconds that packets of network cameras may be late.
const LATENCY: u32 = 100;
/// Time to complete files that are being written.
const LAST_WORDS: Duration = Duration::from_secs(3);

/// What happens to the frames of an input.
pub trait Outlet {
    /// The elements after the model, as in gst-launch-1.0. Frames of a live input arrive when they are taken, others as fast
    /// as they are consumed.
    fn elements(&self, index: usize, is_live: bool) -> String;

    /// Called with these elements of the pipeline, before it starts.
    fn connect(&self, _index: usize, _pipeline: &gst::Pipeline) -> Result<()> {
        Ok(())
    }
}

#[allow(dead_code)] // Some programs show the reasons, all print them.
pub enum Phase {
    Running(Pipeline),
    /// It has failed.
    Waiting {
        until: Instant,
        reason: String,
    },
    Ended,
    /// GStreamer cannot play it here.
    Left {
        reason: String,
    },
}

pub struct Input {
    pub address: String,
    pub phase: Phase,
    opened: u32,
    /// Since the last frame.
    failures: u32,
    /// Frames of this pipeline, and when it last sent one or had one waiting for the model.
    frames: u64,
    last_frame: Instant,
    /// Frames of all its pipelines so far.
    pub total: u64,
}

impl Input {
    fn new(address: &str) -> Self {
        let now = Instant::now();
        let phase = Phase::Waiting { until: now, reason: "it has not been opened yet".to_string() };
        Self {
            address: address.to_string(),
            phase,
            opened: 0,
            failures: 0,
            frames: 0,
            last_frame: now,
            total: 0,
        }
    }

    /// Its end is a failure.
    fn is_live(&self) -> bool {
        ["rtsp", "/dev/", "test:"].iter().any(|start| self.address.starts_with(start))
    }

    fn source(&self) -> String {
        if let Some(pattern) = self.address.strip_prefix("test:") {
            let pattern = if pattern.is_empty() { "smpte" } else { pattern };
            format!("videotestsrc is-live=true pattern={pattern} ! video/x-raw,width=640,height=360")
        } else if self.address.starts_with("/dev/") {
            "v4l2src name=device ! decodebin".to_string()
        } else {
            DECODER.to_string()
        }
    }

    fn open(
        &mut self,
        index: usize,
        options: &Watched,
        outlet: &dyn Outlet,
        sender: &Sender<News>,
    ) -> Result<()> {
        let prepared = if options.gpu {
            on_the_gpu()
        } else {
            "videoconvert ! videoflip video-direction=auto".to_string()
        };
        let line = format!(
            "{} ! {prepared} ! {} ! {}",
            self.source(),
            elements(options),
            outlet.elements(index, self.is_live())
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
        outlet.connect(index, &pipeline.0)?;
        if pipeline.0.set_state(gst::State::Playing).is_err() {
            // Appended to the reason, if an element gave one.
            let _ = sender.send((who, What::Failed("it cannot be started".to_string())));
        }
        (self.frames, self.last_frame) = (0, Instant::now());
        self.phase = Phase::Running(pipeline);
        Ok(())
    }

    /// Closes the pipeline. After each failure in a row, the next one comes later.
    fn fail(&mut self, index: usize, reason: &str, options: &Watched) {
        self.count_frames();
        let wait = options.retry.saturating_mul(1 << self.failures.min(16)).min(LONGEST_RETRY);
        self.failures += 1;
        say(format!("input {}: {reason}; again in {:.1} s", index + 1, wait.as_secs_f64()));
        self.phase = Phase::Waiting { until: Instant::now() + wait, reason: reason.to_string() };
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
}

/// Frames of NVIDIA's decoders pass unchanged. Other frames, such as a test picture's, are uploaded; formats that the
/// elements do not accept are converted, if this GStreamer can do that on the GPU.
fn on_the_gpu() -> String {
    let convert = gst::ElementFactory::find("cudaconvert").map_or("", |_| "cudaconvert ! ");
    format!(
        "cudaupload ! {convert}video/x-raw(memory:CUDAMemory),format=(string){{NV12,RGBA,BGRA,RGBx,BGRx}}"
    )
}

/// Makes GStreamer prefer NVIDIA's decoders.
fn prefer_the_gpu() -> Result<()> {
    for name in ["cudaupload", "cudadownload"] {
        if gst::ElementFactory::find(name).is_none() {
            return Err(format!(
                "frames cannot stay in the GPU's memory: this GStreamer has no {name}, which its plugin nvcodec brings where \
                 there is an NVIDIA driver; leave out --gpu"
            )
            .into());
        }
    }
    let decoders = gst::ElementFactoryType::DECODER | gst::ElementFactoryType::MEDIA_VIDEO;
    for factory in gst::ElementFactory::factories_with_type(decoders, gst::Rank::NONE) {
        if factory.plugin().is_some_and(|plugin| plugin.plugin_name() == "nvcodec") {
            factory.set_rank(gst::Rank::PRIMARY + 512);
        }
    }
    Ok(())
}

/// The elements that find people and their key points, with the models that all inputs share.
fn elements(options: &Watched) -> String {
    // Frames in this GPU's memory could not be read elsewhere.
    let provider = if options.gpu { "execution-provider=cuda" } else { "" };
    let detector = options.detector.as_ref();
    let detector = detector.map_or_else(String::new, |properties| {
        format!("rtmposedetect name=detector {SHARED_DETECTOR} {provider} {properties} ! ")
    });
    format!("{detector}rtmposebatch name=pose {SHARED} {provider} {}", options.pose)
}

/// What the program must do now.
pub enum Step {
    /// Continue; statistics may have changed.
    On,
    /// End: all inputs have ended, or a signal came.
    End,
    /// Make a pipeline of its own query the latency again.
    Latency,
}

/// The inputs, and what they share. Pipelines that a program adds are parsed with `sender` and without an input's number: a
/// failure in one of them ends the program.
pub struct Inputs {
    pub options: Watched,
    pub inputs: Vec<Input>,
    /// Play files again when they have ended.
    pub repeat: bool,
    /// Closed after the inputs. One more rtmposebatch, which stays in READY: it finds errors in the settings before anything
    /// starts, keeps the model loaded while inputs come and go, and has the model's statistics.
    pub network: Pipeline,
    pub sender: Sender<News>,
    news: Receiver<News>,
}

impl Inputs {
    pub fn new(options: Watched) -> Result<Self> {
        if options.gpu {
            prefer_the_gpu()?;
        }
        let mut inputs = Vec::new();
        for argument in &options.inputs {
            match argument.strip_prefix('@') {
                Some(list) => {
                    let text = std::fs::read_to_string(list).map_err(|error| format!("{list}: {error}"))?;
                    inputs
                        .extend(text.lines().map(str::trim).filter(|line| !line.is_empty()).map(Input::new));
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
        // The reason why a pipeline does not start arrives as news.
        let network = Pipeline::parse(&elements(&options), None, &sender)?;
        let _ = network.0.set_state(gst::State::Ready);
        Ok(Self { options, inputs, repeat: false, network, sender, news })
    }

    /// Waits for news, at most until then, and does what is due for the inputs.
    pub fn step(&mut self, until: Instant, outlet: &dyn Outlet) -> Result<Step> {
        if self.inputs.iter().all(|input| matches!(input.phase, Phase::Ended | Phase::Left { .. })) {
            return Ok(Step::End);
        }
        // Inputs that have stalled are looked for every second.
        let mut next = until.min(Instant::now() + Duration::from_secs(1));
        for input in &self.inputs {
            if let Phase::Waiting { until, .. } = input.phase {
                next = next.min(until);
            }
        }
        let mut step = Step::On;
        match self.news.recv_timeout(next.saturating_duration_since(Instant::now())) {
            Ok((None, What::Ended)) => return Ok(Step::End),
            Ok((None, What::Failed(reason) | What::Missing(reason))) => return Err(reason.into()),
            Ok((None, What::Latency)) => step = Step::Latency,
            Ok((None, What::Warning(_))) => (),
            Ok((Some(who), what)) => self.hear(who, what),
            // There is no news; the sender is kept above.
            Err(_) => (),
        }
        let now = Instant::now();
        for (index, input) in self.inputs.iter_mut().enumerate() {
            input.count_frames();
            match input.phase {
                Phase::Waiting { until, .. } if until <= now => {
                    input.open(index, &self.options, outlet, &self.sender)?
                }
                Phase::Running(_) if input.last_frame + STALL <= now => {
                    input.fail(index, "no frame comes", &self.options)
                }
                _ => (),
            }
        }
        Ok(step)
    }

    fn hear(&mut self, (index, opened): (usize, u32), what: What) {
        let input = &mut self.inputs[index];
        let Phase::Running(pipeline) = &input.phase else { return };
        if input.opened != opened {
            return;
        }
        match what {
            What::Failed(reason) => input.fail(index, &reason, &self.options),
            What::Missing(name) => {
                let reason = format!(
                    "this GStreamer lacks: {name}. Install the plugin that has it (`gst-inspect-1.0` lists those that are there)"
                );
                say(format!("input {}: {reason}; the input is left", index + 1));
                input.phase = Phase::Left { reason };
            }
            What::Ended if input.is_live() => input.fail(index, "the stream has ended", &self.options),
            What::Ended => {
                input.count_frames();
                // An input without a frame would be opened again forever.
                if self.repeat && input.frames > 0 {
                    input.phase =
                        Phase::Waiting { until: Instant::now(), reason: "it begins again".to_string() };
                } else {
                    say(format!("input {}: ended after {} frames", index + 1, input.total));
                    input.phase = Phase::Ended;
                }
            }
            What::Warning(text) => say(format!("input {}: warning: {text}", index + 1)),
            What::Latency => drop(pipeline.0.recalculate_latency()),
        }
    }

    /// Ends all streams, also that of the program's own pipeline, so that files that are being written are complete.
    pub fn finish(&mut self, own: Option<&Pipeline>) -> Result<()> {
        let until = Instant::now() + LAST_WORDS;
        let inputs = self.inputs.iter().filter_map(|input| match &input.phase {
            // A pipeline that has sent nothing yet may not end normally.
            Phase::Running(pipeline) if input.frames > 0 => Some(pipeline),
            _ => None,
        });
        let mut open = 0;
        for pipeline in inputs.chain(own) {
            pipeline.0.send_event(gst::event::Eos::new());
            open += 1;
        }
        while open > 0 {
            match self.news.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok((Some((index, opened)), _)) if self.inputs[index].opened != opened => (),
                Ok((_, What::Ended | What::Failed(_) | What::Missing(_))) => open -= 1,
                Ok(_) => (),
                Err(_) => break,
            }
        }
        self.inputs.iter_mut().for_each(Input::count_frames);
        let left = self.inputs.iter().filter(|input| matches!(input.phase, Phase::Left { .. })).count();
        match left {
            0 => Ok(()),
            _ => Err(format!("{left} of {} inputs cannot be played here", self.inputs.len()).into()),
        }
    }
}
