//! Runs crops through the network in batches: streams submit crops and get tickets, executors cut batches and answer
//! the tickets. Nothing here knows GStreamer.
//!
//! Locks: an engine has one, which is never held while a backend runs, while a ticket is answered or while a crop is
//! copied. Callers may hold their own lock while they call in here, except where a function says otherwise.

mod backend;
mod batcher;
mod clock;
mod error;
mod gpu;
pub mod onnx;
mod pool;
mod registry;
#[cfg(test)]
mod simulation;
mod statistics;
mod stream;
mod thread;
mod ticket;

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Condvar, Mutex, mpsc},
    time::Duration,
};

pub use backend::{Backend, Cancel, Executor, LoadEvent, Loading, Model};
pub use batcher::Patience;
pub use clock::{Clock, ManualClock, MonotonicClock};
pub use error::{Error, ErrorKind};
pub use gpu::{GpuFigures, GpuMonitor};
pub use pool::CropBuffer;
pub use registry::{Agreement, Registry};
pub use statistics::{Statistics, Window};
pub use stream::{Flushing, FrameInProgress, Stream};
pub use thread::{PATIENCE, left_behind};
pub use ticket::{Notify, Outcome, Ticket};

use crate::{
    pose::Peak,
    sync::{lock, wait, wait_timeout},
};
use batcher::{Batcher, Decision, Entry};
use pool::Pool;
use thread::Thread;
use ticket::Duty;

/// Runs of each size before the first frame; the last ones show how long a run takes.
const WARM_UP_RUNS: usize = 3;

/// How an engine works.
#[derive(Clone)]
pub struct EngineSettings {
    /// Crops in one run.
    pub batch_size: usize,
    /// Batches in flight at once, each with a network and a thread of its own; 0: as many as suit the provider.
    pub executors: usize,
    pub clock: Arc<dyn Clock>,
    /// Hears of every batch, on the executor's thread.
    pub observer: fn(&BatchReport),
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
    duty: Duty,
}

/// Jobs that are run together.
struct Batch {
    jobs: Vec<Job>,
    /// How long the oldest crop has waited.
    waited: Duration,
}

/// What the engine's lock guards.
struct Shared {
    batcher: Batcher<Job>,
    pool: Pool,
    statistics: Statistics,
    /// Durations of runs of the full batch size, and of smaller ones that took longer still.
    full_runs: Window,
    /// Their 99th percentile, which every frame asks for.
    run_time: Duration,
    /// Crops that an executor has and has not yet answered.
    running: usize,
    closing: bool,
    /// Set once an executor is gone: no crop will be run any more.
    failed: Option<Error>,
}

struct Core {
    shared: Mutex<Shared>,
    /// Executors wait here for crops.
    crops: Condvar,
    /// Streams wait here for a crop buffer.
    buffers: Condvar,
    clock: Arc<dyn Clock>,
    observer: fn(&BatchReport),
    batch_size: usize,
    executors: usize,
    model: Model,
}

/// A loaded network with its executors. Dropping it ends them.
pub struct Engine {
    core: Arc<Core>,
    threads: Vec<ExecutorThread>,
}

struct ExecutorThread {
    thread: Thread,
    terminate: Arc<dyn Fn() + Send + Sync>,
}

/// From an executor's thread to the thread that opens the engine.
enum Opening {
    Event(LoadEvent),
    Ready(Ready),
    Failed(Error),
    /// From the thread that interrupts the loading.
    Cancelled,
}

struct Ready {
    model: Model,
    warm_up: Vec<Duration>,
    terminate: Arc<dyn Fn() + Send + Sync>,
    start: mpsc::Sender<Arc<Core>>,
}

/// An executor that waits for its engine. Dropped, it ends.
struct Opened {
    model: Model,
    warm_up: Vec<Duration>,
    start: mpsc::Sender<Arc<Core>>,
    thread: ExecutorThread,
}

impl Engine {
    /// Loads and warms up the networks. Takes seconds; `report` is called on this thread. `cancel` makes it return with
    /// an error at the next step.
    pub fn open(
        backend: Arc<dyn Backend>,
        settings: EngineSettings,
        cancel: &Cancel,
        report: &dyn Fn(LoadEvent),
    ) -> Result<Self, Error> {
        let EngineSettings { batch_size, executors, clock, observer } = settings;
        let mut opened = vec![open_executor(0, &backend, &*clock, cancel, report)?];
        let wanted = if executors == 0 { backend.best_executors(&opened[0].model) } else { executors };
        while opened.len() < wanted {
            // Executors are alike: what the first said of loading holds for all.
            let next = open_executor(opened.len(), &backend, &*clock, cancel, &|_| ()).and_then(|next| {
                let alike = next.model == opened[0].model;
                alike
                    .then_some(next)
                    .ok_or_else(|| Error::new(ErrorKind::Run, "it would run on another provider"))
            });
            match next {
                Ok(next) => opened.push(next),
                // As many as there is room for, where none was asked for.
                Err(error) if executors == 0 && error.kind != ErrorKind::Cancelled => {
                    report(LoadEvent::Warning(format!(
                        "{} of {wanted} networks can be in flight at once, the next could not be loaded: {error}; set \
                         inference-streams to choose that silently",
                        opened.len()
                    )));
                    break;
                }
                Err(error) => return Err(error),
            }
        }
        // What was loaded cannot be interrupted any more: others may share it.
        cancel.disarm()?;
        let model = opened[0].model.clone();
        let mut full_runs = Window::default();
        opened.iter().flat_map(|ready| &ready.warm_up).for_each(|run| full_runs.add(*run));
        let core = Arc::new(Core {
            shared: Mutex::new(Shared {
                batcher: Batcher::new(batch_size),
                pool: Pool::new((2 * opened.len() + 1) * batch_size, model.crop_bytes()),
                statistics: Statistics::default(),
                run_time: full_runs.percentile(0.99),
                full_runs,
                running: 0,
                closing: false,
                failed: None,
            }),
            crops: Condvar::new(),
            buffers: Condvar::new(),
            clock: clock.clone(),
            observer,
            batch_size,
            executors: opened.len(),
            model,
        });
        let weak = Arc::downgrade(&core);
        clock.on_jump(Arc::new(move || {
            if let Some(core) = weak.upgrade() {
                core.wake();
            }
        }));
        let threads = opened.into_iter().map(|ready| {
            let _ = ready.start.send(core.clone());
            ready.thread
        });
        Ok(Self { threads: threads.collect(), core: core.clone() })
    }

    pub fn model(&self) -> &Model {
        &self.core.model
    }

    /// Lets a stream of crops in. `notify` is called from executors, with no lock held, whenever one of its tickets
    /// went on. The stream begins with `Stream::resume`.
    pub fn attach(&self, patience: Patience, notify: Notify) -> Stream {
        Stream::new(self.core.clone(), patience, notify)
    }

    /// Ends its executors, as dropping it does. A run that hangs and does not end in [`PATIENCE`] after it was told to is
    /// left behind, with its thread and its network: the error says so.
    pub fn close(mut self) -> Result<(), Error> {
        match self.end() {
            0 => Ok(()),
            hanging => Err(Error::new(
                ErrorKind::Run,
                format!(
                    "A run of the network hangs on {} and did not end {} s after it was told to: {hanging} of its threads \
                     and what they hold stay behind ({} in this process now); only the process's end frees them",
                    self.core.model.provider,
                    PATIENCE.as_secs(),
                    left_behind()
                ),
            )),
        }
    }

    /// Gives the number of threads that were left behind.
    fn end(&mut self) -> usize {
        lock(&self.core.shared).closing = true;
        self.core.wake();
        self.core.buffers.notify_all();
        for thread in &self.threads {
            (thread.terminate)();
        }
        let clock = &*self.core.clock;
        let deadline = clock.now().saturating_add(PATIENCE);
        let ended = self.threads.drain(..).map(|thread| thread.thread.join_until(deadline, clock));
        let hanging = ended.filter(|ended| !ended).count();
        self.core.give_up(&Error::new(ErrorKind::Run, "The engine was closed"));
        hanging
    }

    /// Whether its executors are gone, after a panic.
    pub fn has_failed(&self) -> bool {
        lock(&self.core.shared).failed.is_some()
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

    /// Answers every pending crop, and every later one, with an error.
    fn give_up(&self, error: &Error) {
        let jobs = {
            let mut shared = lock(&self.shared);
            shared.failed.get_or_insert_with(|| error.clone());
            self.buffers.notify_all();
            let mut jobs = Vec::new();
            while shared.batcher.pending() > 0 {
                jobs.extend(shared.batcher.cut());
            }
            jobs
        };
        for Entry { item: Job { duty, .. }, .. } in jobs {
            duty.answer(Err(error.clone()));
        }
    }

    /// Waits for the moment to cut a batch; none when the engine closes.
    fn next_batch(&self) -> Option<Batch> {
        let mut shared = lock(&self.shared);
        loop {
            if shared.closing || shared.failed.is_some() {
                return None;
            }
            let now = self.clock.now();
            shared = match shared.batcher.decide(now) {
                Decision::Cut => {
                    let entries = shared.batcher.cut();
                    let mut waited = Duration::ZERO;
                    for entry in &entries {
                        let wait = now.saturating_sub(entry.arrived);
                        shared.statistics.waits.add(wait);
                        waited = waited.max(wait);
                    }
                    shared.running += entries.len();
                    let jobs = entries.into_iter().map(|entry| entry.item).collect();
                    return Some(Batch { jobs, waited });
                }
                Decision::Idle => wait(&self.crops, shared),
                Decision::WaitUntil(deadline) => match self.clock.sleep_until(deadline) {
                    Some(sleep) => wait_timeout(&self.crops, shared, sleep),
                    None => wait(&self.crops, shared),
                },
            };
        }
    }

    /// Runs batches until the engine closes or a run panics.
    fn run_batches(&self, executor: &mut dyn Executor) {
        let points = self.model.points;
        let mut peaks = vec![Peak::default(); self.batch_size * points];
        while let Some(Batch { jobs, waited }) = self.next_batch() {
            let (crops, duties): (Vec<_>, Vec<_>) =
                jobs.into_iter().map(|Job { crop, duty }| (crop, duty)).unzip();
            let run = catch_unwind(AssertUnwindSafe(|| self.run_batch(executor, crops, &duties, &mut peaks)));
            let result = run.unwrap_or_else(|panic| {
                let error = panicked("Inference", &*panic);
                self.give_up(&error);
                Err(error)
            });
            lock(&self.shared).running -= duties.len();
            if let Ok((rows, ran)) = &result {
                let report = BatchReport {
                    crops: duties.len(),
                    padding: rows.saturating_sub(duties.len()),
                    waited,
                    ran: *ran,
                };
                self.count(&report);
                (self.observer)(&report);
            }
            for (row, duty) in duties.into_iter().enumerate() {
                duty.answer(match &result {
                    Ok(_) => Ok(peaks[row * points..][..points].into()),
                    Err(error) => Err(error.clone()),
                });
            }
        }
    }

    /// Runs one batch; gives the rows that the network computed and how long that took. The crops' buffers are free again
    /// before the network runs.
    fn run_batch(
        &self,
        executor: &mut dyn Executor,
        crops: Vec<CropBuffer>,
        duties: &[Duty],
        peaks: &mut [Peak],
    ) -> Result<(usize, Duration), Error> {
        for (row, crop) in crops.into_iter().enumerate() {
            executor.load(row, &crop);
        }
        duties.iter().for_each(Duty::hand);
        let started = self.clock.now();
        let rows = executor.run(duties.len(), peaks)?;
        Ok((rows, self.clock.now().saturating_sub(started)))
    }

    fn count(&self, report: &BatchReport) {
        let mut shared = lock(&self.shared);
        shared.statistics.count(report);
        let full = report.crops + report.padding >= self.batch_size;
        // A smaller batch that takes longer tells, too: the device is busy with something else.
        if full || report.ran > shared.run_time {
            shared.full_runs.add(report.ran);
            shared.run_time = shared.full_runs.percentile(0.99);
        }
    }
}

/// Starts a thread that loads a network, and waits until that is done.
fn open_executor(
    index: usize,
    backend: &Arc<dyn Backend>,
    clock: &dyn Clock,
    cancel: &Cancel,
    report: &dyn Fn(LoadEvent),
) -> Result<Opened, Error> {
    let (sender, events) = mpsc::channel();
    let sender = Arc::new(sender);
    // Weak, so that the channel closes with the thread.
    let interrupt = Arc::downgrade(&sender);
    cancel.on_cancel(move || {
        if let Some(sender) = interrupt.upgrade() {
            let _ = sender.send(Opening::Cancelled);
        }
    });
    let thread = {
        let (backend, cancel) = (backend.clone(), cancel.clone());
        let body = move || executor_thread(&*backend, &cancel, &sender);
        Thread::spawn(format!("rtmpose-run-{index}"), clock, body)
    }
    .map_err(|error| Error::new(ErrorKind::Run, format!("Cannot start a thread for inference: {error}")))?;
    loop {
        match events.recv() {
            Ok(Opening::Event(event)) => report(event),
            Ok(Opening::Ready(Ready { model, warm_up, terminate, start })) => {
                return Ok(Opened { model, warm_up, start, thread: ExecutorThread { thread, terminate } });
            }
            Ok(Opening::Failed(error)) => return Err(error),
            Ok(Opening::Cancelled) => {
                // A step of loading that does not hear of it is not waited for.
                drop(events);
                thread.join_until(clock.now().saturating_add(PATIENCE), clock);
                return Err(Error::cancelled());
            }
            Err(mpsc::RecvError) => {
                return Err(Error::new(ErrorKind::Run, "Loading the model ended with a panic"));
            }
        }
    }
}

/// Opens an executor, says how that went, and runs batches once the engine is complete.
fn executor_thread(backend: &dyn Backend, cancel: &Cancel, opening: &mpsc::Sender<Opening>) {
    let report = |event| {
        let _ = opening.send(Opening::Event(event));
    };
    let opened = catch_unwind(AssertUnwindSafe(|| {
        let loading = Loading { report: &report, cancelled: cancel };
        let (model, mut executor) = backend.open(&loading)?;
        let terminate = executor.terminator();
        cancel.on_cancel(move || terminate());
        let warm_up = warm_up(&mut *executor, &model, &loading)?;
        Ok((model, executor, warm_up))
    }));
    let (model, mut executor, warm_up) = match opened {
        Ok(Ok(opened)) => opened,
        Ok(Err(error)) => return drop(opening.send(Opening::Failed(error))),
        Err(panic) => return drop(opening.send(Opening::Failed(panicked("Loading the model", &*panic)))),
    };
    let (start, started) = mpsc::channel();
    let terminate = executor.terminator();
    let _ = opening.send(Opening::Ready(Ready { model, warm_up, terminate, start }));
    // Nothing comes when another executor could not be opened.
    let Ok(core) = started.recv() else { return };
    core.run_batches(&mut *executor);
}

/// Runs each size a few times on black crops; gives the durations of the largest size's last runs.
fn warm_up(executor: &mut dyn Executor, model: &Model, loading: &Loading) -> Result<Vec<Duration>, Error> {
    let mut took = Vec::new();
    let black = vec![0; model.crop_bytes()];
    for size in executor.warm_up_sizes() {
        (loading.report)(LoadEvent::Step(format!("Warming up batches of {size} on {}", model.provider)));
        let mut peaks = vec![Peak::default(); size * model.points];
        took.clear();
        for _ in 0..WARM_UP_RUNS {
            loading.cancelled.check()?;
            (0..size).for_each(|row| executor.load(row, &black));
            let started = std::time::Instant::now();
            executor.run(size, &mut peaks)?;
            took.push(started.elapsed());
        }
        // The first run of a size pays for what the warm-up is there to pay for.
        took.remove(0);
    }
    Ok(took)
}

fn panicked(what: &str, panic: &(dyn std::any::Any + Send)) -> Error {
    let text = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message");
    Error::new(ErrorKind::Run, format!("{what} panicked: {text}"))
}
