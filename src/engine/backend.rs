//! The contract between the engine and what runs models, or a test's fake.

use std::{any::Any, sync::Arc, time::Duration};

use super::{Error, News};
use crate::sync::{
    Mutex,
    atomic::{AtomicBool, Ordering},
    lock,
    thread::ThreadId,
};

/// What goes into a network and what comes out: bytes in, rows of numbers out. The reader of a row knows what it means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Size of a crop in pixels.
    pub width: u32,
    pub height: u32,
    /// Numbers that answer a crop, R.
    pub row: usize,
}

impl Shape {
    /// Bytes of one crop: rows of 8-bit RGB.
    pub fn crop_bytes(&self) -> usize {
        self.width as usize * self.height as usize * 3
    }
}

/// What a backend says about the network that it has loaded. The engine uses nothing else of it, and passes it to the caller
/// of `open`.
pub trait Network: Clone + PartialEq + Send + 'static {
    fn shape(&self) -> Shape;

    /// The execution provider's name, as users know it.
    fn provider(&self) -> &str;

    /// Whether the other network's answers have the same meaning, wherever it runs.
    fn answers_like(&self, other: &Self) -> bool;
}

/// What happens while a model is loaded, for applications that show progress.
#[derive(Clone, Debug, PartialEq)]
pub enum LoadEvent {
    /// Loading has reached this step.
    Step(String),
    /// Loading continues, but with less than was asked for.
    Warning(String),
    /// A fact worth a line in the log.
    Info(String),
}

/// Passed to a backend while it loads.
pub struct Loading<'a> {
    pub report: &'a dyn Fn(LoadEvent),
    pub cancelled: &'a Cancel,
    /// Most crops in a run: fewer than were asked for if the device had too little memory for that.
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

    /// Calls `hook` when loading is interrupted, or at once if it already was.
    pub fn on_cancel(&self, hook: impl Fn() + Send + Sync + 'static) {
        let mut hooks = lock(&self.0.hooks);
        if self.is_cancelled() {
            hook();
        }
        hooks.push(Box::new(hook));
    }

    /// Loading has ended, and can no longer be interrupted. An error if it already was.
    pub fn disarm(&self) -> Result<(), Error> {
        let hooks = {
            let mut hooks = lock(&self.0.hooks);
            self.check()?;
            std::mem::take(&mut *hooks)
        };
        drop(hooks);
        Ok(())
    }

    /// An error if loading was interrupted.
    pub fn check(&self) -> Result<(), Error> {
        if self.is_cancelled() { Err(Error::cancelled()) } else { Ok(()) }
    }
}

/// One of several places where a backend runs batches.
#[derive(Clone, Debug, PartialEq)]
pub struct Place {
    pub name: String,
    /// Whether it accepts batches, as a word for users.
    pub state: &'static str,
    /// Batches that it has not answered yet.
    pub in_flight: usize,
    /// Batches that it answered, and batches that failed.
    pub batches: u64,
    pub failures: u64,
    /// How long the latest answers took.
    pub median: Duration,
    pub percentile_99: Duration,
}

/// One of several devices on which a backend runs the network.
pub struct Device<N> {
    /// What [`Slot::device`] returns for crops on this device.
    pub number: u32,
    /// The name for users.
    pub name: String,
    /// The network on only that device.
    pub backend: Arc<BackendOf<N>>,
}

/// A way to run the network.
pub trait Backend: Send + Sync {
    /// What it says about a network.
    type Network: Network;

    /// Loads the model, checks its contract and warms it up. Runs on the thread that will own the executor.
    fn open(&self, loading: &Loading) -> Result<(Self::Network, Box<dyn Executor>), Error>;

    /// Called before anything is opened: where to report changes while batches run.
    fn report_to(&self, _news: &Arc<News>) {}

    /// The places where it runs batches, with figures of each; none if there is only one place.
    fn places(&self) -> Vec<Place> {
        Vec::new()
    }

    /// The devices on which it runs the network, each with its own executors, instead of `open`; none if there is only one
    /// device. Called before anything is opened.
    fn devices(&self) -> Result<Vec<Device<Self::Network>>, Error> {
        Ok(Vec::new())
    }

    /// A slot for one crop of such a network. The engine makes a fixed number of slots.
    fn slot(&self, shape: &Shape) -> Box<dyn Slot> {
        Box::new(vec![0u8; shape.crop_bytes()].into_boxed_slice())
    }

    /// How many executors are likely to be needed, before one is opened: that many are opened at once.
    fn likely_executors(&self) -> usize {
        1
    }

    /// How many executors make the best use of the provider that `open` chose; `likely_executors` at most.
    fn best_executors(&self, _network: &Self::Network) -> usize {
        1
    }

    /// Whether runs with fewer crops need less memory. If so, a device that is short of memory is asked for smaller batches.
    fn takes_smaller_batches(&self) -> bool {
        true
    }

    /// The same network on a device with other memory, and the name of that place: used if this device has too little memory
    /// even for the smallest batch, or if none of several devices can be used. None if the user asked for this device.
    fn elsewhere(&self) -> Option<(&'static str, Arc<BackendOf<Self::Network>>)> {
        None
    }

    /// A thread that opened or ran one of its executors hangs and was left behind. Locks that it holds may block others.
    fn left_behind(&self, _thread: ThreadId) {}

    /// The same network, for batches of that size, on a device that is always there; none if `open` already uses it.
    fn fallback(
        &self,
        _network: &Self::Network,
        _batch_size: usize,
    ) -> Option<Arc<BackendOf<Self::Network>>> {
        None
    }
}

/// Any backend with that type of network.
pub type BackendOf<N> = dyn Backend<Network = N>;

/// Where one crop waits on its way from a stream to an executor: a stream fills it, and an executor of the backend that made
/// it, or of a backend that replaces that one, loads it.
///
/// A slot either is bytes in host memory, or describes where a crop is, as `runtime::onnx::CropSlot` can: 'this region of
/// that frame on the GPU'. In that case it has no bytes. The stream gets its own type with `(slot as &mut dyn
/// Any).downcast_mut::<CropSlot>()`; the executor does the same in `load`, and has the device sample the crop into the row.
/// The slot holds the frame until `clear`: after the executor has loaded it or, if it may have to run again elsewhere, after
/// it was run. A backend that replaces a lost device receives the same slots.
pub trait Slot: Any + Send {
    /// The crop's bytes in host memory, rows of 8-bit RGB; empty if it is elsewhere.
    fn bytes(&self) -> &[u8];

    fn bytes_mut(&mut self) -> &mut [u8];

    /// The device whose executors must load the crop, as long as it has any, by [`Device::number`]; none: any executor may.
    fn device(&self) -> Option<u32> {
        None
    }

    /// The engine takes the slot back, which must release its frame. Called before the crop is answered.
    fn clear(&mut self) {}
}

impl Slot for Box<[u8]> {
    fn bytes(&self) -> &[u8] {
        self
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        self
    }
}

/// One loaded network, owned by one thread.
pub trait Executor {
    /// Copies a crop into a row of the next batch. If that fails, the run or `refused` says so.
    fn load(&mut self, row: usize, crop: &dyn Slot);

    /// Rows of the last run whose crop could not be loaded, and why: their answers mean nothing.
    fn refused(&mut self) -> Vec<(usize, Error)> {
        Vec::new()
    }

    /// Runs the network on the first `rows` rows and writes their answers, `Shape::row` numbers for each. Returns how many
    /// rows the network computed: more than `rows` if only some batch sizes are prepared.
    fn run(&mut self, rows: usize, answers: &mut [f32]) -> Result<usize, Error>;

    /// How long the last run took where it was tried in several places: in the one that answered. None: from its beginning to its end.
    fn took(&self) -> Option<Duration> {
        None
    }

    /// The batch sizes to run a few times before the first frame, the largest last.
    fn warm_up_sizes(&self) -> Vec<usize>;

    /// The most rows that it can run at once, if that is less than it was opened for; none: as many as that.
    fn most_rows(&self) -> Option<usize> {
        None
    }

    /// The overlapping form of a device that runs by itself, so that the next batch can be loaded meanwhile.
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
    /// Starts the network on the first `rows` rows. From now on, `load` fills the rows of the next run.
    fn begin(&mut self, rows: usize) -> Result<(), Error>;

    /// Waits for the end of the started run; returns what `run` returns.
    fn finish(&mut self, answers: &mut [f32]) -> Result<usize, Error>;
}
