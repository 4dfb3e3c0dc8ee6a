//! Who runs a batch of crops: the contract between the engine and what runs networks, or a test's fake.

use std::{any::Any, sync::Arc, time::Duration};

use super::{Error, News};
use crate::sync::{
    Mutex,
    atomic::{AtomicBool, Ordering},
    lock,
    thread::ThreadId,
};

/// What goes into a network and what comes out: bytes in, rows of numbers out. What a row means is known to whoever reads it.
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

/// What a backend tells of the network that it has loaded. The engine looks at nothing else of it, and hands it to who
/// opened the engine.
pub trait Network: Clone + PartialEq + Send + 'static {
    fn shape(&self) -> Shape;

    /// What runs it, by the name that users know.
    fn provider(&self) -> &str;

    /// Whether the other one's answers mean the same, wherever it runs.
    fn answers_like(&self, other: &Self) -> bool;
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

/// One of several places where a backend runs batches.
#[derive(Clone, Debug, PartialEq)]
pub struct Place {
    pub name: String,
    /// Whether it takes batches: a word for users.
    pub state: &'static str,
    /// Batches that it has and has not answered yet.
    pub in_flight: usize,
    /// Batches that it has answered, and that it has failed at.
    pub batches: u64,
    pub failures: u64,
    /// How long it took to answer one, of the last ones.
    pub median: Duration,
    pub percentile_99: Duration,
}

/// One of several devices on each of which a backend runs the network.
pub struct Device<N> {
    /// What [`Slot::device`] says of crops that lie there.
    pub number: u32,
    /// For users.
    pub name: String,
    /// The network on that device alone.
    pub backend: Arc<BackendOf<N>>,
}

/// A way to run the network.
pub trait Backend: Send + Sync {
    /// What it tells of a network.
    type Network: Network;

    /// Loads the model, checks its contract and warms it up. Runs on the thread that will own the executor.
    fn open(&self, loading: &Loading) -> Result<(Self::Network, Box<dyn Executor>), Error>;

    /// Called before anything is opened: where to tell of changes while batches run.
    fn report_to(&self, _news: &Arc<News>) {}

    /// Where it runs batches, with figures of each; none where there is one place only.
    fn places(&self) -> Vec<Place> {
        Vec::new()
    }

    /// The devices on each of which it runs the network, with executors of their own, in the place of `open`; none where there is
    /// one device only. Called before anything is opened.
    fn devices(&self) -> Result<Vec<Device<Self::Network>>, Error> {
        Ok(Vec::new())
    }

    /// A slot for one crop of such a network. The engine makes a fixed number of them.
    fn slot(&self, shape: &Shape) -> Box<dyn Slot> {
        Box::new(vec![0u8; shape.crop_bytes()].into_boxed_slice())
    }

    /// How many executors are likely to be wanted, before one was opened: so many are opened at once.
    fn likely_executors(&self) -> usize {
        1
    }

    /// How many executors make the most of the provider that `open` chose; `likely_executors` at most.
    fn best_executors(&self, _network: &Self::Network) -> usize {
        1
    }

    /// Whether fewer crops in a run than it was asked for need less memory: a device that is short of it is asked for fewer.
    fn takes_smaller_batches(&self) -> bool {
        true
    }

    /// The same network on a device with other memory, and that place's name, for when this one's is too small even for
    /// the smallest batch, or none of several devices can be used; none where the user asked for this one.
    fn elsewhere(&self) -> Option<(&'static str, Arc<BackendOf<Self::Network>>)> {
        None
    }

    /// A thread that opened or ran one of its executors hangs and was left behind. What it holds of locks that others
    /// wait for is theirs.
    fn left_behind(&self, _thread: ThreadId) {}

    /// The same network, for batches of that size, on a device that is always there; none where `open` uses no other.
    fn fallback(
        &self,
        _network: &Self::Network,
        _batch_size: usize,
    ) -> Option<Arc<BackendOf<Self::Network>>> {
        None
    }
}

/// Any backend whose networks are told of in that way.
pub type BackendOf<N> = dyn Backend<Network = N>;

/// Where one crop waits on its way from a stream to an executor: a stream fills it, and an executor of the backend that
/// made it, or of one that takes its place, loads it.
///
/// A slot is bytes in host memory, or says where a crop is instead, as `runtime::onnx::CropSlot` can: 'this region of that frame
/// on the GPU'. Then it has no bytes. Who fills it finds its own type by `(slot as &mut dyn Any).downcast_mut::<CropSlot>()`;
/// the executor finds that again in `load` and has the device sample the crop into the row. The slot holds the frame until
/// `clear`: once the executor has loaded it, or once it was run, where it may have to be run again elsewhere. Whoever takes
/// a lost device's place is handed the same slots.
pub trait Slot: Any + Send {
    /// The crop's bytes in host memory, rows of 8-bit RGB; empty where it does not lie there.
    fn bytes(&self) -> &[u8];

    fn bytes_mut(&mut self) -> &mut [u8];

    /// The device whose executors alone are to load the crop, as long as it has any, by [`Device::number`]; none: all may.
    fn device(&self) -> Option<u32> {
        None
    }

    /// The engine takes it back: a frame that it holds is held no longer. Called before the crop is answered.
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
    /// Copies a crop into a row of the next batch. Where that fails, the run tells, or `refused`.
    fn load(&mut self, row: usize, crop: &dyn Slot);

    /// Rows of the run that has ended whose crop could not be loaded, and why: their answers mean nothing.
    fn refused(&mut self) -> Vec<(usize, Error)> {
        Vec::new()
    }

    /// Runs the network on the first `rows` rows and writes their answers, `Shape::row` numbers for each. Tells how many
    /// rows the network computed: more than `rows` where only some batch sizes are prepared.
    fn run(&mut self, rows: usize, answers: &mut [f32]) -> Result<usize, Error>;

    /// How long the last run took where it was tried in several places: in the one that answered. None: from its beginning to its end.
    fn took(&self) -> Option<Duration> {
        None
    }

    /// The batch sizes to run a few times before the first frame, the largest last.
    fn warm_up_sizes(&self) -> Vec<usize>;

    /// The most rows that it can run at once, where that is less than it was opened for; none: it runs as many as that.
    fn most_rows(&self) -> Option<usize> {
        None
    }

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
    fn finish(&mut self, answers: &mut [f32]) -> Result<usize, Error>;
}
