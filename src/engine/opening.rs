//! Opens an engine's executors, each on the thread that will own it. They open at the same time, because each takes seconds;
//! and with smaller settings if the device has too little memory.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Duration,
};

use super::{
    BackendOf, Cancel, Clock, Core, Device, Error, ErrorKind, Executor, LoadEvent, Loading, Network, device,
    fallback::{Runner, Terminator},
    panicked,
    thread::Thread,
};
use crate::sync::mpsc;

/// Runs of each size before the first frame. The last ones show how long a run takes.
const WARM_UP_RUNS: usize = 3;

pub(super) struct ExecutorThread {
    pub thread: Thread,
    pub terminator: Terminator,
}

/// What an executor's thread waits for: the engine, the number of its device in it, and what replaces the executor if the
/// device is lost.
pub(super) type Start<N> = (Arc<Core>, usize, Option<Arc<BackendOf<N>>>);

/// A thread that is joined when dropped, so that its memory on the device is free afterwards. If loading was interrupted, a
/// step that does not react is not waited for.
struct Joined {
    /// None once it continues as an executor's thread.
    thread: Option<Thread>,
    clock: Arc<dyn Clock>,
    cancel: Cancel,
}

impl Drop for Joined {
    fn drop(&mut self) {
        if let Some(thread) = self.thread.take() {
            thread.join_unless(&self.cancel, &*self.clock);
        }
    }
}

/// An executor that waits for its engine. It ends when dropped.
pub(super) struct Opened<N> {
    /// Number of its device in the engine.
    pub device: usize,
    pub network: N,
    /// The largest batch that the backend prepared.
    pub largest: usize,
    /// The most rows that it runs at once, if the network sets a limit.
    pub most_rows: Option<usize>,
    /// Durations of runs of the largest size.
    pub warm_up: Vec<Duration>,
    terminator: Terminator,
    // Dropped before the thread, which then ends.
    start: mpsc::Sender<Start<N>>,
    thread: Joined,
}

impl<N: Network> Opened<N> {
    /// Lets it run batches.
    pub fn start(mut self, core: Arc<Core>, fallback: Option<Arc<BackendOf<N>>>) -> ExecutorThread {
        let _ = self.start.send((core, self.device, fallback));
        let thread = self.thread.thread.take().expect("it is taken once");
        ExecutorThread { thread, terminator: self.terminator }
    }
}

/// From an executor's thread to the thread that opens the engine.
enum Opening<N> {
    Event(LoadEvent),
    Loaded(N),
    Ready(Ready<N>),
    Failed(Error),
    /// From the thread that interrupts the loading.
    Cancelled,
}

struct Ready<N> {
    largest: usize,
    most_rows: Option<usize>,
    warm_up: Vec<Duration>,
    terminator: Terminator,
    start: mpsc::Sender<Start<N>>,
}

/// The largest batch to try next if the backend's own choice needs too much memory.
const MODEST_BATCH: usize = 8;

/// What an engine consists of.
pub(super) struct All<N> {
    pub batch_size: usize,
    pub executors: Vec<Opened<N>>,
    pub devices: Vec<device::Device>,
}

/// The executors of one device that are being opened.
struct Site<N> {
    number: Option<u32>,
    name: String,
    backend: Arc<BackendOf<N>>,
    candidates: Vec<Candidate<N>>,
    /// Ends the loading of its candidates.
    abandon: Cancel,
}

/// How executors are opened.
struct How<'a> {
    clock: &'a Arc<dyn Clock>,
    cancel: &'a Cancel,
    report: &'a dyn Fn(LoadEvent),
}

/// Opens `executors` executors on each device, or as many as suit the provider (0), for batches of `batch_size`, or of what
/// suits the device (0). Returns the batch size, too. If a device has too little memory, these are tried in turn: one
/// executor, if their number was left open; smaller batches; another device, if the backend has one.
pub(super) fn open<N: Network>(
    backend: &Arc<BackendOf<N>>,
    batch_size: usize,
    asked_executors: usize,
    clock: &Arc<dyn Clock>,
    cancel: &Cancel,
    report: &dyn Fn(LoadEvent),
) -> Result<All<N>, Error> {
    let how = How { clock, cancel, report };
    let asked_crops = if batch_size == 0 { usize::MAX } else { batch_size };
    let (mut backend, mut executors, mut most_crops) = (backend.clone(), asked_executors, asked_crops);
    loop {
        let devices = backend.devices()?;
        let several = devices.len() > 1;
        let likely = match devices.first() {
            Some(device) => device.backend.likely_executors(),
            None => backend.likely_executors(),
        };
        let error = match open_all(&backend, devices, most_crops, executors, &how) {
            Err(error) if error.kind == ErrorKind::OutOfMemory => error,
            Err(error) => match backend.elsewhere().filter(|_| several && is_the_devices(&error)) {
                None => return Err(error),
                Some((place, other)) => {
                    report(LoadEvent::Warning(format!("{error}; trying again on {place}")));
                    (backend, executors, most_crops) = (other, asked_executors, asked_crops);
                    continue;
                }
            },
            Ok((opened, devices)) => {
                let prepared = opened.iter().map(|opened| opened.largest).min().unwrap_or_default();
                let most = opened.iter().filter_map(|opened| opened.most_rows).min().unwrap_or(usize::MAX);
                let batch_size = if batch_size == 0 { prepared } else { most_crops }.min(most);
                return Ok(All { batch_size, executors: opened, devices });
            }
        };
        let less = if executors == 0 && likely > 1 {
            executors = 1;
            "with one batch in flight".to_string()
        } else if most_crops > 1 && backend.takes_smaller_batches() {
            most_crops = if most_crops == usize::MAX { MODEST_BATCH } else { most_crops / 2 };
            format!("with batches of {most_crops}")
        } else if let Some((place, other)) = backend.elsewhere() {
            (backend, executors, most_crops) = (other, asked_executors, asked_crops);
            format!("on {place}")
        } else {
            return Err(error);
        };
        report(LoadEvent::Warning(format!("{error}; trying again {less}")));
    }
}

/// Whether another device may succeed after this error.
fn is_the_devices(error: &Error) -> bool {
    matches!(error.kind, ErrorKind::Provider | ErrorKind::Run)
}

/// Opens executors on all devices at once. If one of several devices cannot be used, it is left out, with a warning.
fn open_all<N: Network>(
    backend: &Arc<BackendOf<N>>,
    devices: Vec<Device<N>>,
    most_crops: usize,
    executors: usize,
    how: &How,
) -> Result<(Vec<Opened<N>>, Vec<device::Device>), Error> {
    let sites = if devices.is_empty() {
        vec![(None, String::new(), backend.clone())]
    } else {
        devices.into_iter().map(|Device { number, name, backend }| (Some(number), name, backend)).collect()
    };
    let sites = sites
        .into_iter()
        .map(|(number, name, backend)| {
            let abandon = Cancel::default();
            let abandoned = abandon.clone();
            how.cancel.on_cancel(move || abandoned.cancel());
            let count = if executors == 0 { backend.likely_executors() } else { executors }.max(1);
            let candidates = (0..count).map(|index| {
                let thread = match number {
                    None => format!("rtmpose-run-{index}"),
                    Some(number) => format!("rtmpose-{number}-{index}"),
                };
                Candidate::start(thread, &backend, most_crops, how, &abandon)
            });
            let candidates = candidates.collect::<Result<_, _>>()?;
            Ok(Site { number, name, backend, candidates, abandon })
        })
        .collect::<Result<Vec<_>, _>>()?;
    // Executors that are not needed are dropped in there: their memory on the device is free when this returns.
    open_sites(sites, executors, how)
}

/// Waits for the executors of all devices.
fn open_sites<N: Network>(
    sites: Vec<Site<N>>,
    executors: usize,
    how: &How,
) -> Result<(Vec<Opened<N>>, Vec<device::Device>), Error> {
    let several = sites.len() > 1;
    let abandons: Vec<_> = sites.iter().map(|site| site.abandon.clone()).collect();
    let mut left_out: Vec<(String, Error)> = Vec::new();
    let mut leave_out = |site: &Site<N>, error: Error| -> Result<(), Error> {
        if !several || !is_the_devices(&error) {
            // Before they are dropped, which waits for their end.
            abandons.iter().for_each(Cancel::cancel);
            return Err(error);
        }
        site.abandon.cancel();
        left_out.push((site.name.clone(), error));
        Ok(())
    };
    // All devices mostly report the same: it is reported once.
    let told = std::cell::RefCell::new(std::collections::HashSet::new());
    let report_of = |name: &str, event: LoadEvent| match event {
        LoadEvent::Warning(text) if several && !told.borrow_mut().insert(text.clone()) => (),
        LoadEvent::Warning(text) if several => (how.report)(LoadEvent::Warning(format!("{name}: {text}"))),
        event => (how.report)(event),
    };
    let mut known: Option<N> = None;
    let mut loaded = Vec::new();
    for mut site in sites {
        let (name, backend) = (&site.name, &site.backend);
        let report = |event| report_of(name, event);
        match load(&mut site.candidates, backend, known.as_ref(), executors, &report) {
            Ok((network, candidates)) => {
                known.get_or_insert(network);
                loaded.push((site, candidates));
            }
            Err(error) => leave_out(&site, error)?,
        }
    }
    let (mut opened, mut devices, mut rest) = (Vec::new(), Vec::new(), Vec::new());
    // One after the other, after all loading has ended, so that the runs show how long one takes.
    for (site, candidates) in loaded {
        let network = known.clone().expect("one was loaded");
        let report = |event| report_of(&site.name, event);
        let warm = candidates
            .into_iter()
            .map(|candidate| candidate.warm_up(devices.len(), network.clone(), &report));
        match warm.collect::<Result<Vec<_>, _>>() {
            Ok(warm) => {
                devices.push(device::Device::new(site.number, site.name.clone(), warm.len()));
                opened.extend(warm);
                rest.push(site);
            }
            Err(error) => leave_out(&site, error)?,
        }
    }
    if devices.is_empty() {
        // An error of all devices is reported once.
        let (_, error) = left_out.swap_remove(0);
        return Err(error);
    }
    for (name, error) in left_out {
        (how.report)(LoadEvent::Warning(format!("{name} is left out: {error}")));
    }
    Ok((opened, devices))
}

/// Waits until the first executor of a device is loaded, then for as many others as are wanted.
fn load<N: Network>(
    candidates: &mut Vec<Candidate<N>>,
    backend: &Arc<BackendOf<N>>,
    known: Option<&N>,
    executors: usize,
    report: &dyn Fn(LoadEvent),
) -> Result<(N, Vec<Candidate<N>>), Error> {
    let is_alike = |one: &N, other: &N| match one == other {
        true => Ok(()),
        false => Err(Error::new(ErrorKind::Run, "it would run on a different provider")),
    };
    let first = candidates.remove(0);
    let network = first.loaded(report)?;
    known.map_or(Ok(()), |known| is_alike(&network, known))?;
    let wanted = if executors == 0 { backend.best_executors(&network).max(1) } else { executors };
    let mut loaded = vec![first];
    while loaded.len() < wanted && !candidates.is_empty() {
        let next = candidates.remove(0);
        // Executors are alike: what the first one reported holds for all.
        match next.loaded(&|_| ()).and_then(|other| is_alike(&network, &other)) {
            Ok(()) => loaded.push(next),
            Err(error) => {
                if executors != 0 || error.kind == ErrorKind::Cancelled {
                    return Err(error);
                }
                // If no number was set, as many as there is room for.
                report(LoadEvent::Warning(format!(
                    "Only {} of {wanted} copies of the model are loaded, because the next one failed: {error}; set \
                     inference-streams to choose that number without a warning",
                    loaded.len()
                )));
                break;
            }
        }
    }
    Ok((network, loaded))
}

/// An executor that is being opened. It ends when dropped.
struct Candidate<N> {
    events: mpsc::Receiver<Opening<N>>,
    // Dropped before the thread, which then ends unless it is still loading.
    proceed: mpsc::Sender<()>,
    thread: Joined,
}

impl<N: Network> Candidate<N> {
    fn start(
        name: String,
        backend: &Arc<BackendOf<N>>,
        most_crops: usize,
        How { clock, cancel, .. }: &How,
        abandon: &Cancel,
    ) -> Result<Self, Error> {
        let (sender, events) = mpsc::channel();
        let sender = Arc::new(sender);
        // Weak, so that the channel closes with the thread.
        let interrupt = Arc::downgrade(&sender);
        abandon.on_cancel(move || {
            if let Some(sender) = interrupt.upgrade() {
                let _ = sender.send(Opening::Cancelled);
            }
        });
        let (proceed, proceeding) = mpsc::channel();
        let (owner, opener, abandon) = (backend.clone(), backend.clone(), abandon.clone());
        let forsaken = move |thread| owner.left_behind(thread);
        let body = move || executor_thread(&*opener, most_crops, &abandon, &sender, &proceeding);
        let thread = Thread::spawn(name, &***clock, forsaken, body).map_err(|error| {
            Error::new(ErrorKind::Run, format!("Cannot start a thread for inference: {error}"))
        })?;
        let (clock, cancel) = (Arc::clone(clock), Cancel::clone(cancel));
        let thread = Joined { thread: Some(thread), clock, cancel };
        Ok(Self { events, proceed, thread })
    }

    /// Waits until the network is loaded.
    fn loaded(&self, report: &dyn Fn(LoadEvent)) -> Result<N, Error> {
        loop {
            match self.next()? {
                Opening::Event(event) => report(event),
                Opening::Loaded(network) => return Ok(network),
                Opening::Failed(error) => return Err(error),
                Opening::Cancelled => return Err(Error::cancelled()),
                Opening::Ready(_) => unreachable!("nothing is ready before it was told to proceed"),
            }
        }
    }

    /// Warms up the loaded network, and waits for the end of that.
    fn warm_up(self, device: usize, network: N, report: &dyn Fn(LoadEvent)) -> Result<Opened<N>, Error> {
        let _ = self.proceed.send(());
        loop {
            match self.next()? {
                Opening::Event(event) => report(event),
                Opening::Ready(Ready { largest, most_rows, warm_up, terminator, start }) => {
                    return Ok(Opened {
                        device,
                        network,
                        largest,
                        most_rows,
                        warm_up,
                        terminator,
                        start,
                        thread: self.thread,
                    });
                }
                Opening::Failed(error) => return Err(error),
                Opening::Cancelled => return Err(Error::cancelled()),
                Opening::Loaded(_) => unreachable!("it was loaded before"),
            }
        }
    }

    fn next(&self) -> Result<Opening<N>, Error> {
        let ended = |mpsc::RecvError| Error::new(ErrorKind::Run, "Loading the model ended with a panic");
        self.events.recv().map_err(ended)
    }
}

/// Opens an executor, reports the result, and runs batches once the engine is complete.
fn executor_thread<N: Network>(
    backend: &BackendOf<N>,
    most_crops: usize,
    cancel: &Cancel,
    opening: &mpsc::Sender<Opening<N>>,
    proceed: &mpsc::Receiver<()>,
) {
    let report = |event| {
        let _ = opening.send(Opening::Event(event));
    };
    let loading = Loading { report: &report, cancelled: cancel, most_crops };
    let fail = |error| drop(opening.send(Opening::Failed(error)));
    let opened = catch_unwind(AssertUnwindSafe(|| backend.open(&loading)));
    let (network, mut executor) = match opened {
        Ok(Ok(opened)) => opened,
        Ok(Err(error)) => return fail(error),
        Err(panic) => return fail(panicked("Loading the model", &*panic)),
    };
    let terminate = executor.terminator();
    cancel.on_cancel(move || terminate());
    let _ = opening.send(Opening::Loaded(network.clone()));
    // The channel closes if this executor is not needed.
    if proceed.recv().is_err() {
        return;
    }
    let warm_up =
        match catch_unwind(AssertUnwindSafe(|| warm_up(&mut *executor, backend, &network, &loading))) {
            Ok(Ok(warm_up)) => warm_up,
            Ok(Err(error)) => return fail(error),
            Err(panic) => return fail(panicked("Loading the model", &*panic)),
        };
    let (start, started) = mpsc::channel();
    let terminator = Terminator::of(&*executor);
    let largest = executor.warm_up_sizes().last().copied().unwrap_or(1);
    let most_rows = executor.most_rows();
    let _ = opening.send(Opening::Ready(Ready {
        largest,
        most_rows,
        warm_up,
        terminator: terminator.clone(),
        start,
    }));
    // The channel closes if another executor could not be opened.
    let Ok((core, device, fallback)) = started.recv() else { return };
    core.run_batches(Runner { device, network, executor, terminator, fallback });
}

/// Runs each size a few times on black crops; returns the durations of the largest size's last runs.
fn warm_up<N: Network>(
    executor: &mut dyn Executor,
    backend: &BackendOf<N>,
    network: &N,
    loading: &Loading,
) -> Result<Vec<Duration>, Error> {
    let mut took = Vec::new();
    let shape = network.shape();
    let black = backend.slot(&shape);
    for size in executor.warm_up_sizes() {
        (loading.report)(LoadEvent::Step(format!("Warming up batches of {size} on {}", network.provider())));
        let mut answers = vec![0f32; size * shape.row];
        took.clear();
        for _ in 0..WARM_UP_RUNS {
            loading.cancelled.check()?;
            (0..size).for_each(|row| executor.load(row, &*black));
            let started = std::time::Instant::now();
            executor.run(size, &mut answers)?;
            took.push(started.elapsed());
        }
        // The first run of a size includes one-time costs, which the warm-up exists to pay.
        took.remove(0);
    }
    Ok(took)
}

#[cfg(test)]
mod tests;
