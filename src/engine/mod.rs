//! Runs crops through the network in batches: streams submit crops and get pending answers, executors cut batches and
//! give the answers. Nothing here knows GStreamer.
//!
//! Locks: an engine has one, which is never held while a backend runs, while a promise is kept or while a crop is
//! copied. Callers may hold their own lock while they call in here, except where a function says otherwise.

mod answer;
mod backend;
mod batcher;
mod clock;
mod device;
mod error;
mod fallback;
mod news;
mod opening;
mod pool;
mod registry;
mod runs;
#[cfg(test)]
mod simulation;
mod statistics;
mod stream;
mod thread;

use std::{sync::Arc, time::Duration};

pub use answer::{Notify, Outcome, PendingAnswer};
pub use backend::{
    Backend, BackendOf, Cancel, Device, Executor, LoadEvent, Loading, Network, Overlapping, Place, Shape,
    Slot,
};
pub use batcher::TimeoutPolicy;
#[cfg(any(debug_assertions, feature = "testing"))]
pub use clock::ManualClock;
pub use clock::{Clock, MonotonicClock};
pub use device::DeviceFigures;
pub use error::{Error, ErrorKind};
pub use news::{Change, News};
pub use pool::CropBuffer;
pub use registry::{Agreement, Registry};
use statistics::RunTimes;
pub use statistics::{Statistics, Window};
pub use stream::{Flushing, FrameInProgress, Stream};
pub use thread::{TIME_TO_END, left_behind};

use crate::sync::{Condvar, Mutex, lock, wait, wait_timeout};
use answer::Promise;
use batcher::{Batcher, Decision, Entry};
use opening::ExecutorThread;
use pool::Pool;

/// How an engine works.
#[derive(Clone)]
pub struct EngineSettings {
    /// Crops in one run; 0: as many as the backend prepared.
    pub batch_size: usize,
    /// Batches in flight at once on each device, each with a network and a thread of its own; 0: as many as suit the
    /// provider.
    pub executors: usize,
    /// When the provider is lost, go on where the backend's fallback runs.
    pub fallback: bool,
    pub clock: Arc<dyn Clock>,
    /// Hears of every batch, on the executor's thread.
    pub observer: fn(&BatchReport),
}

impl Default for EngineSettings {
    /// As the backend likes it, by the machine's clock.
    fn default() -> Self {
        let clock = Arc::new(MonotonicClock::default());
        Self { batch_size: 0, executors: 0, fallback: false, clock, observer: |_| () }
    }
}

/// A batch that was run.
#[derive(Clone, Copy, Debug)]
pub struct BatchReport {
    pub crops: usize,
    /// Rows that the network computed for nothing.
    pub padding: usize,
    /// From the oldest crop's arrival to the cut.
    pub waited: Duration,
    /// Duration of the run.
    pub ran: Duration,
}

/// A crop on its way to an executor.
struct Job {
    crop: CropBuffer,
    promise: Promise,
}

/// Crops that are run together.
struct Batch {
    promises: Vec<Promise>,
    /// In the order of the promises; empty once the executor has them, unless they are kept for another run.
    crops: Vec<CropBuffer>,
    /// When they arrived.
    arrived: Vec<Duration>,
    /// How long they waited was counted.
    counted: bool,
    /// How long the oldest one waited for the run.
    waited: Duration,
    /// The executor has them in its rows.
    loaded: bool,
}

/// A batch that was run, before anyone heard of it.
struct Done {
    answers: Vec<(Promise, Outcome)>,
    /// Those that were kept.
    crops: Vec<CropBuffer>,
    /// None where the run failed.
    report: Option<BatchReport>,
}

/// What an executor's thread does while the device runs a batch, where it works on its own.
#[derive(Default)]
struct Overlap {
    /// The batch before is answered.
    done: Option<Done>,
    /// The batch after is loaded.
    next: Option<Batch>,
}

/// What the engine's lock guards.
struct Shared {
    batcher: Batcher<Job>,
    pool: Pool,
    statistics: Statistics,
    run_times: RunTimes,
    devices: Vec<device::Device>,
    closing: bool,
    /// Set once an executor is gone: no crop will be run any more.
    failed: Option<Error>,
}

struct Core {
    shared: Mutex<Shared>,
    /// Executors wait here for crops.
    crops: Condvar,
    clock: Arc<dyn Clock>,
    observer: fn(&BatchReport),
    batch_size: usize,
    has_several_devices: bool,
    shape: Shape,
    /// What runs the network, unless the news are that something else does.
    provider: String,
    news: Arc<News>,
    /// Where the backend runs batches.
    places: Box<dyn Fn() -> Vec<Place> + Send + Sync>,
}

/// A loaded network with its executors. Dropping it ends them.
pub struct Engine {
    core: Arc<Core>,
    threads: Vec<ExecutorThread>,
}

impl Engine {
    /// Loads and warms up the networks; tells of them, too. Takes seconds; `report` is called on this thread. `cancel` makes it return with
    /// an error at the next step.
    pub fn open<N: Network>(
        backend: Arc<BackendOf<N>>,
        settings: EngineSettings,
        cancel: &Cancel,
        report: &dyn Fn(LoadEvent),
    ) -> Result<(Self, N), Error> {
        let EngineSettings { batch_size, executors, fallback, clock, observer } = settings;
        let news = Arc::<News>::default();
        backend.report_to(&news);
        let opening::All { batch_size, executors: opened, devices } =
            opening::open(&backend, batch_size, executors, &clock, cancel, report)?;
        // What was loaded cannot be interrupted any more: others may share it.
        cancel.disarm()?;
        let network = opened[0].network.clone();
        let shape = network.shape();
        let fallback = fallback.then(|| backend.fallback(&network, batch_size)).flatten();
        let has_several_devices = devices.len() > 1;
        // Of each executor a batch that fills and one that is sampled; where a batch may have to be run again its crops
        // are kept until it was run.
        let keeps = fallback.is_some() || has_several_devices;
        let batches = if keeps { 3 * opened.len() + 1 } else { 2 * opened.len() + 1 };
        let core = Arc::new(Core {
            shared: Mutex::new(Shared {
                batcher: Batcher::new(batch_size),
                pool: Pool::new((0..batches * batch_size).map(|_| backend.slot(&shape)).collect()),
                statistics: Statistics::default(),
                run_times: RunTimes::after_warm_up(opened.iter().flat_map(|ready| &ready.warm_up).copied()),
                devices,
                closing: false,
                failed: None,
            }),
            crops: Condvar::new(),
            clock: clock.clone(),
            observer,
            batch_size,
            has_several_devices,
            shape,
            provider: network.provider().to_string(),
            news,
            places: Box::new(move || backend.places()),
        });
        let weak = Arc::downgrade(&core);
        clock.on_jump(Arc::new(move || {
            if let Some(core) = weak.upgrade() {
                core.wake();
            }
        }));
        let threads = opened.into_iter().map(|opened| opened.start(core.clone(), fallback.clone()));
        Ok((Self { threads: threads.collect(), core: core.clone() }, network))
    }

    /// Lets a stream of crops in. `notify` is called from executors, with no lock held, whenever one of its answers
    /// went on. The stream begins with `Stream::resume`.
    pub fn attach(&self, policy: TimeoutPolicy, notify: Notify) -> Stream {
        Stream::new(self.core.clone(), policy, notify)
    }

    /// Ends its executors, as dropping it does. A run that hangs and does not end in [`TIME_TO_END`] after it was told to is
    /// left behind, with its thread and its network: the error says so.
    pub fn close(mut self) -> Result<(), Error> {
        match self.end() {
            0 => Ok(()),
            hanging => Err(Error::new(
                ErrorKind::Run,
                format!(
                    "A run of the model hangs on {} and did not end within {} s of being cancelled: {hanging} of its \
                     threads and their memory are left behind ({} in this process now), until the process ends",
                    self.core.provider(),
                    TIME_TO_END.as_secs(),
                    left_behind()
                ),
            )),
        }
    }

    /// Gives the number of threads that were left behind.
    fn end(&mut self) -> usize {
        {
            let mut shared = lock(&self.core.shared);
            shared.closing = true;
            shared.pool.wake_all();
        }
        self.core.wake();
        for thread in &self.threads {
            thread.terminator.terminate();
        }
        let clock = &*self.core.clock;
        let deadline = clock.now().saturating_add(TIME_TO_END);
        let ended = self.threads.drain(..).map(|thread| thread.thread.join_until(deadline, clock));
        let hanging = ended.filter(|ended| !ended).count();
        self.core.give_up(&closed());
        hanging
    }

    /// The devices that it was opened on, where it was asked for several.
    pub fn devices(&self) -> Vec<u32> {
        lock(&self.core.shared).devices.iter().filter_map(|device| device.number).collect()
    }

    /// Whether its executors are gone, after a panic.
    pub fn has_failed(&self) -> bool {
        lock(&self.core.shared).failed.is_some()
    }
}

impl AsRef<Self> for Engine {
    fn as_ref(&self) -> &Self {
        self
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.end();
    }
}

impl Core {
    fn wake(&self) {
        let _shared = lock(&self.shared);
        self.crops.notify_all();
    }

    /// Buffers are free again: wakes streams that wait for one.
    fn wake_waiting(&self, shared: &mut Shared) {
        let streams = shared.batcher.running_streams();
        let mut changed = false;
        for waiting in shared.pool.wake(streams) {
            changed |= shared.batcher.set_blocked(waiting, true);
        }
        if changed {
            self.crops.notify_all();
        }
    }

    /// Changes what batches are cut from. Idle executors look again: whatever was changed, a batch may be due now.
    fn change_batcher<T>(&self, change: impl FnOnce(&mut Batcher<Job>) -> T) -> T {
        let changed = change(&mut lock(&self.shared).batcher);
        self.crops.notify_all();
        changed
    }

    /// The provider in use.
    fn provider(&self) -> String {
        self.news.provider().unwrap_or_else(|| self.provider.clone())
    }

    fn is_closing(&self) -> bool {
        lock(&self.shared).closing
    }

    /// Answers every pending crop, and every later one, with an error.
    fn give_up(&self, error: &Error) {
        let jobs = {
            let mut shared = lock(&self.shared);
            shared.failed.get_or_insert_with(|| error.clone());
            shared.pool.wake_all();
            shared.batcher.drain()
        };
        Promise::answer_all(jobs.into_iter().map(|job| (job.promise, Err(error.clone()))));
    }

    /// Waits for the moment to cut a batch for an executor of the device; none when the engine closes, or the device is lost
    /// and others are not.
    fn next_batch(&self, device: usize) -> Option<Batch> {
        let mut shared = lock(&self.shared);
        shared.devices[device].idle += 1;
        let batch = loop {
            if shared.has_ended() || self.has_several_devices && !shared.devices[device].runs() {
                break None;
            }
            shared = match shared.batcher.decide(device, self.clock.now()) {
                Decision::Cut => break Some(shared.cut(device)),
                Decision::Idle => wait(&self.crops, shared),
                Decision::WaitUntil(deadline) => match self.clock.sleep_until(deadline) {
                    Some(sleep) => wait_timeout(&self.crops, shared, sleep),
                    None => wait(&self.crops, shared),
                },
            };
        };
        shared.devices[device].idle -= 1;
        batch
    }

    /// Cuts a batch for an executor that still runs, where one is to be had.
    fn next_batch_ahead(&self, device: usize) -> Option<Batch> {
        let mut shared = lock(&self.shared);
        let is_there = !shared.has_ended()
            && device::has_batch_ahead(&shared.devices, &shared.batcher, device, self.batch_size);
        is_there.then(|| shared.cut(device))
    }

    /// Gives batches that an executor of the device could not run back, to be run by others; the one that is to be run first
    /// comes last.
    fn put_back(&self, device: usize, batches: impl IntoIterator<Item = Batch>) {
        let mut refused = Vec::new();
        {
            let mut shared = lock(&self.shared);
            let has_ended = shared.has_ended();
            for Batch { promises, crops, arrived, .. } in batches {
                shared.devices[device].end(promises.len(), None);
                let jobs = promises.into_iter().zip(crops).map(|(promise, crop)| Job { crop, promise });
                for (item, arrived) in jobs.zip(arrived).rev() {
                    if has_ended {
                        refused.push(item);
                        continue;
                    }
                    let (stream, pin) =
                        (item.crop.stream(), device::pin(&shared.devices, item.crop.slot().device()));
                    refused.extend(shared.batcher.put_back(stream, pin, Entry { arrived, item }).err());
                }
            }
        }
        self.crops.notify_all();
        // Nobody runs them any more, or hears of them.
        drop(refused);
    }
}

impl Shared {
    /// Whether no batch will be run any more.
    fn has_ended(&self) -> bool {
        self.closing || self.failed.is_some()
    }

    fn cut(&mut self, device: usize) -> Batch {
        let entries = self.batcher.cut(device);
        self.devices[device].begin(entries.len());
        let arrived = entries.iter().map(|entry| entry.arrived).collect();
        let jobs = entries.into_iter().map(|Entry { item: Job { crop, promise }, .. }| (crop, promise));
        let (crops, promises) = jobs.unzip();
        Batch { promises, crops, arrived, counted: false, waited: Duration::ZERO, loaded: false }
    }
}

fn closed() -> Error {
    Error::new(ErrorKind::Run, "The engine was closed")
}

fn panicked(what: &str, panic: &(dyn std::any::Any + Send)) -> Error {
    let text = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message");
    Error::new(ErrorKind::Run, format!("{what} panicked: {text}"))
}
