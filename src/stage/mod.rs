//! What every inference element consists of: pads, the ordered queue, the chain function and the task, the batch deadline,
//! latency, overload, statistics, and the loading of the network. It knows frames, crops and rows of numbers.
//!
//! An element implements [`Inference`], which says what to infer in a frame and what to do with the answers. Its object
//! holds a [`Stage`], which [`Staged`] returns. `posebatch` is such an element; `tests/mean_colour.rs` is another one, a
//! page long.
//!
//! State that only the chain function uses is behind a lock that only it takes (`Input`); state that only the task uses
//! belongs to the task (`Output`); the queue belongs to both. No lock is held during a push, a post or a join. The input's
//! lock may be held while the queue's is taken, and the queue's while the engine's is; no other two at once.

mod crops;
mod figures;
mod input;
mod latency;
mod loading;
mod memory;
mod output;
mod overload;
mod pads;
pub(crate) mod properties;
mod queue;
#[cfg(all(test, shuttle))]
mod schedules;
mod slow;
mod warnings;

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use gst::{glib, prelude::*};

pub use crops::{CropCutter, Video, WholeFrame};
pub use input::Arrival;
pub use loading::{Loaded, Opened, Opening};
pub use pads::{Staged, install_set_state, pad_templates, pads};
pub use queue::{Fate, Work};
#[cfg(test)]
pub(crate) use queue::{Frame, Item, State};

use crate::{
    engine::{self, Stream, TimeoutPolicy},
    platform::gpu::{GpuFigures, GpuMonitor},
    sync::{Mutex, MutexGuard, lock},
    video::{FrameShape, cuda::Cards},
};
use figures::Figures;
use input::Input;
use latency::Latency;
use loading::LoadingState;
use overload::Qos;
use queue::Queue;

/// When frames pass without inference because their results would be late.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overload {
    /// If the stream is live.
    Auto,
    Block,
    SkipInference,
}

/// What an inference error does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnError {
    /// It ends the stream with an error message.
    Fail,
    /// One warning is posted, and frames pass unchanged.
    Passthrough,
}

/// The element's properties that the stage needs.
#[derive(Clone, Debug)]
pub struct Settings {
    pub policy: TimeoutPolicy,
    /// Most frames that wait for their batch, and most finished frames; read at NULL->READY.
    pub input_queue_size: u32,
    pub output_queue_size: u32,
    pub overload: Overload,
    /// Nanoseconds that a frame may be late at the sink; below 0: no limit.
    pub max_lateness: i64,
    /// Infer only every n-th frame; 0 and 1: every frame.
    pub interval: u32,
    pub on_error: OnError,
    /// Scale at which crops are sampled, relative to the frame.
    pub scale: f64,
    /// Time between two messages with statistics; 0: no messages.
    pub stats_interval: Duration,
}

impl Default for Settings {
    /// The defaults: batches wait 15 ms, 20 frames wait for a batch and 8 for downstream.
    fn default() -> Self {
        Self {
            policy: TimeoutPolicy { timeout: Duration::from_millis(15), adaptive: true },
            input_queue_size: 20,
            output_queue_size: 8,
            overload: Overload::Auto,
            max_lateness: -1,
            interval: 0,
            on_error: OnError::Fail,
            scale: 1.0,
            stats_interval: Duration::ZERO,
        }
    }
}

/// What an element adds to the stage. Its functions receive the stage that they belong to.
pub trait Inference: Send + Sync + Sized + 'static {
    /// The element's name in the names of its messages.
    const NAME: &'static str;

    /// In warnings: the effect if a live stream is inferred too rarely, and if the video is not upright.
    const SELDOM: &'static str = "results are late";
    const TURNED: &'static str = "little is found";
    /// In a warning: what a user can do if frames come faster than the model runs.
    const REMEDIES: &'static str =
        "use a smaller model, a faster device, a lower frame rate, or inference-interval";

    /// What the backend says about the network.
    type Network: engine::Network + Sync;
    /// What else the element knows from READY on.
    type Ready: Send + Sync;
    /// What a frame in the queue waits for.
    type Work: Work;
    /// What only the chain function uses.
    type Input: Default + Send;
    /// State that only the task uses. Each flush and each start creates a new one.
    type Output: Default + Send;

    fn category() -> gst::DebugCategory;

    /// The current settings.
    fn settings(&self) -> Settings;

    /// NULL->READY: opens the engine, or joins a shared one.
    fn open(stage: &Stage<Self>, opening: &Opening) -> Result<Opened<Self>, engine::Error>;

    /// The next frame has arrived, whether it will be inferred or not. Returns its time in the stream, in seconds, if the
    /// element keeps time; with it, a live stream that is inferred too rarely gets a warning.
    fn arrived(
        &self,
        _input: &mut Self::Input,
        _pts: Option<gst::ClockTime>,
        _duration: Option<gst::ClockTime>,
    ) -> Option<f64> {
        None
    }

    /// Frames begin again, after STREAM_START or a flush.
    fn restarted(&self, _input: &mut Self::Input) {}

    /// Samples and submits the crops of a frame. Runs in the chain function.
    fn look(
        stage: &Stage<Self>,
        arrival: &Arrival<'_, Self>,
        input: &mut Self::Input,
        cutter: &mut CropCutter<'_>,
    ) -> Result<Self::Work, gst::FlowError>;

    /// Does what answers have made possible, in the task. It wakes threads that wait for it with [`Stage::wake`].
    fn step(_stage: &Stage<Self>, _step: <Self::Work as Work>::Step) {}

    /// Attaches what was found to a frame. The error completes a sentence that begins with 'Inference failed: '.
    fn attach(
        stage: &Stage<Self>,
        ready: &Running<Self>,
        frame: &mut gst::Buffer,
        shape: FrameShape,
        work: Self::Work,
        output: &mut Self::Output,
    ) -> Result<(), String>;

    /// Attaches to a frame that is not inferred what was found in the last inferred one.
    fn carry(_stage: &Stage<Self>, _frame: &mut gst::Buffer, _shape: FrameShape, _output: &mut Self::Output) {
    }

    /// An event leaves the source pad.
    fn sends(&self, _event: &gst::EventRef, _output: &mut Self::Output) {}

    /// The inference of a frame has failed.
    fn failed(&self, _output: &mut Self::Output) {}

    /// The element's own figures, after those of its frames.
    fn figures(&self) -> Vec<(&'static str, u64)> {
        Vec::new()
    }

    /// READY->PAUSED: counters start at zero.
    fn forget_figures(&self) {}
}

/// What exists from READY on.
pub struct Running<I: Inference> {
    // Dropped before its engine.
    pub stream: Stream,
    loaded: Arc<Loaded<I::Network>>,
    /// The NVIDIA GPUs that run the network, with their numbers, if their driver reports figures.
    gpus: Vec<(u32, GpuMonitor)>,
    /// The GPUs in whose memory frames can stay.
    cards: Cards,
    /// The settings at NULL->READY.
    settings: Settings,
    pub ready: I::Ready,
}

impl<I: Inference> Running<I> {
    pub fn network(&self) -> &I::Network {
        &self.loaded.network
    }

    /// Figures of the GPUs, by their numbers.
    fn gpu_figures(&self) -> Vec<(u32, GpuFigures)> {
        self.gpus.iter().filter_map(|(number, gpu)| Some((*number, gpu.figures()?))).collect()
    }
}

/// The streaming side of an inference element.
pub struct Stage<I: Inference> {
    pub inference: I,
    sinkpad: gst::Pad,
    srcpad: gst::Pad,
    /// Set when the element is made.
    element: OnceLock<glib::WeakRef<gst::Element>>,
    running: Mutex<Option<Arc<Running<I>>>>,
    loading: Mutex<LoadingState>,
    /// What only the sink pad's streaming thread uses.
    input: Mutex<Input<I::Input>>,
    queue: Arc<Queue<I::Work>>,
    latency: Mutex<Latency>,
    figures: Mutex<Figures>,
    qos: Mutex<Qos>,
}

impl<I: Inference> Stage<I> {
    pub fn new(inference: I, [sinkpad, srcpad]: [gst::Pad; 2]) -> Self {
        Self {
            inference,
            sinkpad,
            srcpad,
            element: OnceLock::new(),
            running: Mutex::default(),
            loading: Mutex::default(),
            input: Mutex::default(),
            queue: Arc::default(),
            latency: Mutex::default(),
            figures: Mutex::default(),
            qos: Mutex::default(),
        }
    }

    /// Call this when the element is constructed: it adds the pads to it.
    pub fn constructed(&self, element: &gst::Element) {
        let _ = self.element.set(element.downgrade());
        element.add_pad(&self.sinkpad).expect("a new element takes its pads");
        element.add_pad(&self.srcpad).expect("a new element takes its pads");
    }

    /// The element, which lives while one of its functions runs.
    pub fn element(&self) -> gst::Element {
        let element = self.element.get().and_then(glib::WeakRef::upgrade);
        element.expect("the element was constructed and lives")
    }

    pub fn srcpad(&self) -> &gst::Pad {
        &self.srcpad
    }

    pub fn running(&self) -> Option<Arc<Running<I>>> {
        lock(&self.running).clone()
    }

    /// Wakes all threads that wait for frames to be done, after a step.
    pub fn wake(&self) {
        self.queue.wake();
    }

    /// A property that the stage uses was set.
    pub fn settings_changed(&self) {
        if let Some(running) = self.running() {
            running.stream.set_timeout_policy(self.inference.settings().policy);
            self.check_latency(&running);
        }
    }

    /// Call this before the element's parent changes the state.
    pub fn before_change(&self, transition: gst::StateChange) -> Result<(), gst::StateChangeError> {
        match transition {
            gst::StateChange::NullToReady => self.load()?,
            gst::StateChange::ReadyToPaused => {
                *lock(&self.input) = Input::default();
                *lock(&self.latency) = Latency::default();
                *lock(&self.figures) = Figures::default();
                self.inference.forget_figures();
            }
            _ => (),
        }
        Ok(())
    }

    /// Call this after the element's parent has changed the state.
    pub fn after_change(&self, transition: gst::StateChange) {
        match transition {
            gst::StateChange::PausedToReady => self.warn_of_the_last_skipped_frames(),
            gst::StateChange::ReadyToNull => self.unload(),
            _ => (),
        }
    }

    fn figures(&self) -> MutexGuard<'_, Figures> {
        lock(&self.figures)
    }

    fn post(&self, message: gst::Message) {
        let _ = self.element().post_message(message);
    }
}
