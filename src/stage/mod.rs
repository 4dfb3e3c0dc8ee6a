//! What an inference element is made of, whatever it looks for: pads, the ordered queue, the chain function and the task,
//! the batch deadline, latency, overload, figures, and the loading of the network. It knows frames, crops and rows of
//! numbers.
//!
//! An element says what to look at in a frame and what to do with the answers, by [`Inference`]; its object holds a
//! [`Stage`] and tells where by [`Staged`]. `posebatch` is one; `tests/mean_colour.rs` is another, a page long.
//!
//! What only the chain function uses is behind one lock that only it takes (`Input`), what only the task uses is the task's
//! own (`Output`), and what both use is the queue. Locks, of which none is held while something is pushed, posted or joined:
//! the input's may be held while the queue's is taken, the queue's while the engine's is, and no other two at once.

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

/// When frames go on without inference because their results would come too late.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overload {
    /// Where the stream is live.
    Auto,
    Block,
    SkipInference,
}

/// What an inference error does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnError {
    /// It stops the stream with an error message.
    Fail,
    /// One warning is posted, and frames go on as they are.
    Passthrough,
}

/// What the stage must know of the element's properties.
#[derive(Clone, Debug)]
pub struct Settings {
    pub policy: TimeoutPolicy,
    /// Most frames with a crop that waits for its batch, and most finished ones; read at NULL->READY.
    pub input_queue_size: u32,
    pub output_queue_size: u32,
    pub overload: Overload,
    /// Nanoseconds that a frame may be late at the sink; below 0: any.
    pub max_lateness: i64,
    /// Look only at every n-th frame; 0 and 1: at every one.
    pub interval: u32,
    pub on_error: OnError,
    /// Resolution at which crops are sampled, as a share of the frame's.
    pub scale: f64,
    /// Between two messages with figures; 0: none.
    pub stats_interval: Duration,
}

impl Default for Settings {
    /// The usual ones: batches wait 15 ms, 20 frames wait for a batch and 8 for downstream.
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

/// What an element adds to the stage. Functions are given the stage that they are a part of.
pub trait Inference: Send + Sync + Sized + 'static {
    /// Of the element, in the names of its messages.
    const NAME: &'static str;

    /// What comes of it that a live stream is looked at too seldom, and that pictures are not upright, in warnings.
    const SELDOM: &'static str = "results are late";
    const TURNED: &'static str = "little is found";
    /// What a user of the element can do where frames come faster than the network runs, in a warning.
    const REMEDIES: &'static str =
        "use a smaller model, a faster device, a lower frame rate, or inference-interval";

    /// What the backend tells of the network.
    type Network: engine::Network + Sync;
    /// What the element knows more, from READY on.
    type Ready: Send + Sync;
    /// What a frame in the queue waits for.
    type Work: Work;
    /// What only the chain function uses.
    type Input: Default + Send;
    /// What only the task uses. Each flush and each start begins with a new one.
    type Output: Default + Send;

    fn category() -> gst::DebugCategory;

    /// The settings of the moment.
    fn settings(&self) -> Settings;

    /// NULL->READY: opens the engine, or takes part in one that is shared.
    fn open(stage: &Stage<Self>, opening: &Opening) -> Result<Opened<Self>, engine::Error>;

    /// The next frame has come, whether it is looked at or not. Says when, in the stream's seconds, where the element keeps
    /// the time; a live stream that is looked at too seldom is told of by it.
    fn arrived(
        &self,
        _input: &mut Self::Input,
        _pts: Option<gst::ClockTime>,
        _duration: Option<gst::ClockTime>,
    ) -> Option<f64> {
        None
    }

    /// Frames begin anew, after STREAM_START or a flush.
    fn restarted(&self, _input: &mut Self::Input) {}

    /// Cuts the crops that are to be looked at in a frame. Runs in the chain function.
    fn look(
        stage: &Stage<Self>,
        arrival: &Arrival<'_, Self>,
        input: &mut Self::Input,
        cutter: &mut CropCutter<'_>,
    ) -> Result<Self::Work, gst::FlowError>;

    /// What answers have made possible, in the task. It wakes those who wait for it with [`Stage::wake`].
    fn step(_stage: &Stage<Self>, _step: <Self::Work as Work>::Step) {}

    /// Gives a frame what was found in it. The error ends a sentence such as 'Inference failed: '.
    fn attach(
        stage: &Stage<Self>,
        ready: &Running<Self>,
        frame: &mut gst::Buffer,
        shape: FrameShape,
        work: Self::Work,
        output: &mut Self::Output,
    ) -> Result<(), String>;

    /// Gives a frame that is not looked at what was found in the last one that was.
    fn carry(_stage: &Stage<Self>, _frame: &mut gst::Buffer, _shape: FrameShape, _output: &mut Self::Output) {
    }

    /// An event goes out.
    fn sends(&self, _event: &gst::EventRef, _output: &mut Self::Output) {}

    /// The inference of a frame has failed.
    fn failed(&self, _output: &mut Self::Output) {}

    /// Figures of the element's own, behind those of its frames.
    fn figures(&self) -> Vec<(&'static str, u64)> {
        Vec::new()
    }

    /// READY->PAUSED: counts begin anew.
    fn forget_figures(&self) {}
}

/// What exists from READY on.
pub struct Running<I: Inference> {
    // Dropped before its engine.
    pub stream: Stream,
    loaded: Arc<Loaded<I::Network>>,
    /// Of the NVIDIA cards that the network runs on those whose driver tells, with their numbers.
    gpus: Vec<(u32, GpuMonitor)>,
    /// The cards on which frames can stay.
    cards: Cards,
    /// The settings at NULL->READY.
    settings: Settings,
    pub ready: I::Ready,
}

impl<I: Inference> Running<I> {
    pub fn network(&self) -> &I::Network {
        &self.loaded.network
    }

    /// What the cards do, by their numbers.
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

    /// To be called when the element is constructed: gives it its pads.
    pub fn constructed(&self, element: &gst::Element) {
        let _ = self.element.set(element.downgrade());
        element.add_pad(&self.sinkpad).expect("a new element takes its pads");
        element.add_pad(&self.srcpad).expect("a new element takes its pads");
    }

    /// The element. It lives while one of its functions runs.
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

    /// Wakes all who wait for frames to be done, after a step.
    pub fn wake(&self) {
        self.queue.wake();
    }

    /// A property that the stage works by was set.
    pub fn settings_changed(&self) {
        if let Some(running) = self.running() {
            running.stream.set_timeout_policy(self.inference.settings().policy);
            self.check_latency(&running);
        }
    }

    /// To be called before the element's parent changes the state.
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

    /// To be called once the element's parent has changed the state.
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
