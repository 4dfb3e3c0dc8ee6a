//! Runs crops through the network in batches. Streams submit crops and get pending answers; executors cut batches and give
//! the answers. Nothing here knows GStreamer.
//!
//! Locks: an engine has one. It is never held while a backend runs, while a promise is kept, or while a crop is copied.
//! Callers may hold their own lock while they call functions here, unless a function says otherwise.

mod answer;
mod backend;
mod batcher;
mod clock;
mod device;
mod error;
mod fallback;
mod idle;
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
use statistics::RunTime;
pub use statistics::{Statistics, Window};
pub use stream::{Flushing, FrameInProgress, Stream};
pub use thread::{TIME_TO_END, left_behind};

use crate::sync::{Mutex, MutexGuard, atomic::AtomicUsize, lock, wait, wait_timeout};
use answer::Promise;
use batcher::{Batcher, Decision, Entry};
use idle::Wakes;
use opening::ExecutorThread;
use pool::Pool;

/// Settings of an engine.
#[derive(Clone)]
pub struct EngineSettings {
    /// Crops in one run; 0: as many as the backend has prepared.
    pub batch_size: usize,
    /// Batches in flight at once on each device, each with its own network and thread; 0: as many as suit the provider.
    pub executors: usize,
    /// If the provider is lost, continue with the backend's fallback.
    pub fallback: bool,
    pub clock: Arc<dyn Clock>,
    /// Called after every batch, on the executor's thread.
    pub observer: fn(&BatchReport),
}

impl Default for EngineSettings {
    /// The backend's choices, with the machine's clock.
    fn default() -> Self {
        let clock = Arc::new(MonotonicClock::default());
        Self { batch_size: 0, executors: 0, fallback: false, clock, observer: |_| () }
    }
}

/// A batch that was run.
#[derive(Clone, Copy, Debug)]
pub struct BatchReport {
    pub crops: usize,
    /// Rows that the network computed without a crop.
    pub padding: usize,
    /// From the oldest crop's arrival until the batch was cut.
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
    /// Their waiting time was counted.
    counted: bool,
    /// How long the oldest crop waited for the run.
    waited: Duration,
    /// The executor has copied them into its rows.
    loaded: bool,
}

/// A batch that was run but not yet answered.
struct Done {
    answers: Vec<(Promise, Outcome)>,
    /// Crops that were kept.
    crops: Vec<CropBuffer>,
    /// None if the run failed.
    report: Option<BatchReport>,
}

/// What an executor's thread does while its device runs a batch by itself.
#[derive(Default)]
struct Overlap {
    /// The previous batch, which is answered now.
    done: Option<Done>,
    /// The next batch, which is loaded now.
    next: Option<Batch>,
}

/// What the engine's lock guards.
struct Shared {
    batcher: Batcher<Job>,
    pool: Pool,
    statistics: Statistics,
    run_time: RunTime,
    devices: Vec<device::Device>,
    closing: bool,
    /// Set once the executors are gone: no more crops will be run.
    failed: Option<Error>,
}

struct Core {
    shared: Mutex<Shared>,
    clock: Arc<dyn Clock>,
    observer: fn(&BatchReport),
    batch_size: usize,
    /// Executors of the devices that run: each frame asks, so without the lock.
    executors: AtomicUsize,
    has_several_devices: bool,
    shape: Shape,
    /// What runs the network, unless the news say otherwise.
    provider: String,
    news: Arc<News>,
    /// The places where the backend runs batches.
    places: Box<dyn Fn() -> Vec<Place> + Send + Sync>,
}

/// A loaded network with its executors. Dropping it ends them.
pub struct Engine {
    core: Arc<Core>,
    threads: Vec<ExecutorThread>,
}

impl Engine {
    /// Loads and warms up the networks, and returns a description of them. Takes seconds; `report` is called on this thread.
    /// After `cancel`, it returns with an error at the next step.
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
        // The loaded network can no longer be interrupted: others may share it.
        cancel.disarm()?;
        let network = opened[0].network.clone();
        let shape = network.shape();
        let fallback = fallback.then(|| backend.fallback(&network, batch_size)).flatten();
        let has_several_devices = devices.len() > 1;
        // For each executor, a batch that fills and one that is being sampled. If a batch may have to run again, its crops
        // are also kept until it was run: those of the batch that runs, and of the next one, which is loaded.
        let keeps = fallback.is_some() || has_several_devices;
        let batches = if keeps { 4 } else { 2 } * opened.len() + 1;
        let core = Arc::new(Core {
            shared: Mutex::new(Shared {
                batcher: Batcher::new(batch_size),
                pool: Pool::new((0..batches * batch_size).map(|_| backend.slot(&shape)).collect()),
                statistics: Statistics::default(),
                run_time: RunTime::after_warm_up(opened.iter().flat_map(|ready| &ready.warm_up).copied()),
                devices,
                closing: false,
                failed: None,
            }),
            clock: clock.clone(),
            observer,
            batch_size,
            executors: AtomicUsize::new(opened.len()),
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

    /// Attaches a stream of crops. `notify` is called from executors, with no lock held, whenever one of its answers makes
    /// progress. The stream begins with `Stream::resume`.
    pub fn attach(&self, policy: TimeoutPolicy, notify: Notify) -> Stream {
        Stream::new(self.core.clone(), policy, notify)
    }

    /// Ends its executors, as dropping it does. A run that hangs, and does not end within [`TIME_TO_END`], is left behind
    /// with its thread and its network; the error says so.
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

    /// Returns the number of threads that were left behind.
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

    /// The devices on which it was opened, if several were asked for.
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
    /// Wakes all executors.
    fn wake(&self) {
        lock(&self.shared).wake_executors();
    }

    /// Changes what the lock guards, and wakes the threads that this concerns.
    fn change<T>(&self, change: impl FnOnce(&mut Shared, &mut Wakes) -> T) -> T {
        let mut wakes = Wakes::default();
        let mut shared = lock(&self.shared);
        let changed = change(&mut shared, &mut wakes);
        self.unlock(shared, wakes);
        changed
    }

    /// Ends a change: wakes these threads, and the executors that now have something to do, once the lock is free.
    fn unlock(&self, mut shared: MutexGuard<'_, Shared>, mut wakes: Wakes) {
        shared.call_executors(self.clock.now(), &mut wakes);
        drop(shared);
        wakes.send();
    }

    fn change_batcher<T>(&self, change: impl FnOnce(&mut Batcher<Job>) -> T) -> T {
        self.change(|shared, _| change(&mut shared.batcher))
    }

    /// The provider in use.
    fn provider(&self) -> String {
        self.news.provider().unwrap_or_else(|| self.provider.clone())
    }

    fn is_closing(&self) -> bool {
        lock(&self.shared).closing
    }

    /// Answers all pending and all later crops with an error.
    fn give_up(&self, error: &Error) {
        let jobs = {
            let mut shared = lock(&self.shared);
            shared.failed.get_or_insert_with(|| error.clone());
            shared.pool.wake_all();
            shared.batcher.drain()
        };
        Promise::answer_all(jobs.into_iter().map(|job| (job.promise, Err(error.clone()))));
    }

    /// Waits until a batch must be cut for an executor of the device. None if the engine closes, or if the device is lost
    /// and others remain.
    fn next_batch(&self, device: usize) -> Option<Batch> {
        let mut shared = lock(&self.shared);
        shared.devices[device].idle.begin();
        let batch = loop {
            if shared.has_ended() || self.has_several_devices && !shared.devices[device].runs() {
                break None;
            }
            let until = match shared.batcher.decide(device, self.clock.now()) {
                Decision::Cut => break Some(shared.cut(device)),
                Decision::Idle => None,
                Decision::WaitUntil(deadline) => Some(deadline),
            };
            let (woken, alarm) = shared.devices[device].idle.sleep(until);
            shared = match alarm.and_then(|alarm| self.clock.sleep_until(alarm)) {
                Some(sleep) => wait_timeout(&woken, shared, sleep),
                None => wait(&woken, shared),
            };
            shared.devices[device].idle.look(alarm);
        };
        shared.devices[device].idle.end();
        // Another batch may be due, and another executor must look at the next deadline.
        self.unlock(shared, Wakes::default());
        batch
    }

    /// Cuts a batch for an executor that is still running, if there is one.
    fn next_batch_ahead(&self, device: usize) -> Option<Batch> {
        let mut shared = lock(&self.shared);
        let is_there =
            !shared.has_ended() && device::has_batch_ahead(&shared.devices, &shared.batcher, device);
        is_there.then(|| shared.cut(device))
    }

    /// Gives back batches that an executor of a device that was given up could not run, and all crops of that device, for
    /// other executors. The last batch given runs first.
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
            // Only now, so that no other executor takes a crop before an older one.
            shared.batcher.unpin(device);
            shared.wake_executors();
        }
        // No executor will run them, and no frame waits for them.
        drop(refused);
    }
}

impl Shared {
    /// Whether no more batches will be run.
    fn has_ended(&self) -> bool {
        self.closing || self.failed.is_some()
    }

    /// Wakes all executors that wait for a batch.
    fn wake_executors(&self) {
        self.devices.iter().for_each(|device| device.idle.wake_all());
    }

    /// Buffers are free again: wakes streams that wait for one.
    fn wake_waiting(&mut self, wakes: &mut Wakes) {
        let woken = self.pool.wake(self.batcher.running_streams(), wakes);
        for stream in self.batcher.take_unblocked() {
            if !woken.contains(&stream) && self.pool.has_in_line(stream) {
                self.batcher.set_blocked(stream, true);
            }
        }
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
