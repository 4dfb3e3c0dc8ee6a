//! Who runs a batch of crops: the contract between the engine and ONNX Runtime, or a test's fake.

use std::sync::Arc;

use super::Error;
use crate::{
    network::Peak,
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
        lock,
        thread::ThreadId,
    },
};

/// What the engine must know of a loaded model.
#[derive(Clone, Debug, PartialEq)]
pub struct Model {
    /// Size of a crop in pixels.
    pub width: u32,
    pub height: u32,
    /// Key points of a person, K.
    pub points: usize,
    /// The network gives one score for a key point, the smaller maximum, in place of both maxima.
    pub only_score: bool,
    /// Name of the execution provider in use: `cpu`, `cuda`, `tensorrt`, `openvino`.
    pub provider: String,
    /// SHA-256 of the model file, in hexadecimal.
    pub sha256: String,
}

impl Model {
    /// Bytes of one crop: rows of 8-bit RGB.
    pub fn crop_bytes(&self) -> usize {
        self.width as usize * self.height as usize * 3
    }
}

/// What happens while a model is loaded, for applications that show progress.
#[derive(Clone, Debug, PartialEq)]
pub enum LoadEvent {
    /// Loading went on to this step.
    Step(String),
    /// Loading goes on, but with less than what was asked for.
    Warning(String),
    /// A fact worth a line in the log.
    Info(String),
}

/// Handed to a backend while it loads.
pub struct Loading<'a> {
    pub report: &'a dyn Fn(LoadEvent),
    pub cancelled: &'a Cancel,
    /// Most crops in a run: fewer than were asked for where the device had too little memory for those.
    pub most_crops: usize,
}

/// Interrupts the loading of a model.
#[derive(Clone, Default)]
pub struct Cancel(Arc<CancelState>);

#[derive(Default)]
struct CancelState {
    cancelled: AtomicBool,
    hooks: Mutex<Vec<Box<dyn Fn() + Send + Sync>>>,
}

impl Cancel {
    pub fn cancel(&self) {
        self.0.cancelled.store(true, Ordering::SeqCst);
        lock(&self.0.hooks).iter().for_each(|hook| hook());
    }

    pub fn is_cancelled(&self) -> bool {
        self.0.cancelled.load(Ordering::SeqCst)
    }

    /// Calls `hook` when loading is interrupted, at once if that has happened.
    pub fn on_cancel(&self, hook: impl Fn() + Send + Sync + 'static) {
        let mut hooks = lock(&self.0.hooks);
        if self.is_cancelled() {
            hook();
        }
        hooks.push(Box::new(hook));
    }

    /// Loading has ended: nothing hears of an interruption any more. An error if it came before.
    pub fn disarm(&self) -> Result<(), Error> {
        let hooks = {
            let mut hooks = lock(&self.0.hooks);
            self.check()?;
            std::mem::take(&mut *hooks)
        };
        drop(hooks);
        Ok(())
    }

    /// An error once loading was interrupted.
    pub fn check(&self) -> Result<(), Error> {
        if self.is_cancelled() { Err(Error::cancelled()) } else { Ok(()) }
    }
}

/// A way to run the network.
pub trait Backend: Send + Sync {
    /// Loads the model, checks its contract and warms it up. Runs on the thread that will own the executor.
    fn open(&self, loading: &Loading) -> Result<(Model, Box<dyn Executor>), Error>;

    /// How many executors are likely to be wanted, before one was opened: so many are opened at once.
    fn likely_executors(&self) -> usize {
        1
    }

    /// How many executors make the most of the provider that `open` chose; `likely_executors` at most.
    fn best_executors(&self, _model: &Model) -> usize {
        1
    }

    /// Whether fewer crops in a run than it was asked for need less memory: a device that is short of it is asked for fewer.
    fn takes_smaller_batches(&self) -> bool {
        true
    }

    /// The same network on a device with other memory, and that place's name, for when this one's is too small even for
    /// the smallest batch; none where the user asked for this one.
    fn elsewhere(&self) -> Option<(&'static str, Arc<dyn Backend>)> {
        None
    }

    /// A thread that opened or ran one of its executors hangs and was left behind. What it holds in turn with others is
    /// theirs.
    fn left_behind(&self, _thread: ThreadId) {}

    /// The same network, for batches of that size, on a device that is always there; none where `open` uses no other.
    fn fallback(&self, _model: &Model, _batch_size: usize) -> Option<Arc<dyn Backend>> {
        None
    }
}

/// One loaded network, owned by one thread.
pub trait Executor {
    /// Copies a crop (`Model::crop_bytes` of RGB) into a row of the next batch.
    fn load(&mut self, row: usize, crop: &[u8]);

    /// Runs the network on the first `rows` rows and writes their peaks, `Model::points` for each row. Tells how many
    /// rows the network computed: more than `rows` where only some batch sizes are prepared.
    fn run(&mut self, rows: usize, peaks: &mut [Peak]) -> Result<usize, Error>;

    /// The batch sizes to run a few times before the first frame, the largest last.
    fn warm_up_sizes(&self) -> Vec<usize>;

    /// Where the device runs on its own: so the next batch can be loaded meanwhile.
    fn overlapping(&mut self) -> Option<&mut dyn Overlapping> {
        None
    }

    /// A call that makes a `run` in flight return with an error soon, from any thread.
    fn terminator(&self) -> Arc<dyn Fn() + Send + Sync> {
        Arc::new(|| ())
    }
}

/// An executor whose thread is free while its device runs.
pub trait Overlapping: Executor {
    /// Begins to run the network on the first `rows` rows. `load` fills the rows of the run after this one now.
    fn begin(&mut self, rows: usize) -> Result<(), Error>;

    /// Waits for the end of the run that was begun; gives what `run` gives.
    fn finish(&mut self, peaks: &mut [Peak]) -> Result<usize, Error>;
}
