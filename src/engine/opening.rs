//! Opens an engine's executors, each on the thread that will own it: all at once, since each takes seconds, and with
//! less where the device has too little memory.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Duration,
};

use super::{
    BackendOf, Cancel, Clock, Core, Error, ErrorKind, Executor, LoadEvent, Loading, Network,
    fallback::{Runner, Terminator},
    panicked,
    thread::Thread,
};
use crate::sync::mpsc;

/// Runs of each size before the first frame; the last ones show how long a run takes.
const WARM_UP_RUNS: usize = 3;

pub(super) struct ExecutorThread {
    pub thread: Thread,
    pub terminator: Terminator,
}

/// What an executor's thread waits for: the engine, and what takes the executor's place if its device is lost.
pub(super) type Start<N> = (Arc<Core>, Option<Arc<BackendOf<N>>>);

/// A thread that is joined when it is dropped, so that what it holds on the device is free then. Where the loading was
/// interrupted, a step of it that does not hear of that is not waited for.
struct Joined {
    /// None once it goes on as an executor's thread.
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

/// An executor that waits for its engine. Dropped, it ends.
pub(super) struct Opened<N> {
    pub network: N,
    /// The largest batch that the backend prepared.
    pub largest: usize,
    /// The most rows that it runs at once, where the network sets a limit.
    pub most_rows: Option<usize>,
    /// Durations of runs of the largest size.
    pub warm_up: Vec<Duration>,
    terminator: Terminator,
    // Dropped before the thread, which ends then.
    start: mpsc::Sender<Start<N>>,
    thread: Joined,
}

impl<N: Network> Opened<N> {
    /// Lets it run batches.
    pub fn start(mut self, start: Start<N>) -> ExecutorThread {
        let _ = self.start.send(start);
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

/// The largest batch that is tried next where the backend's own choice needs too much memory.
const MODEST_BATCH: usize = 8;

/// Opens `executors` executors, or as many as suit the provider (0), for batches of `batch_size`, or of what suits the
/// device (0). Tells the batch size too: where the device has too little memory one executor has to do, if their number
/// was left open, and then smaller batches, and then another device, if the backend has one.
pub(super) fn open<N: Network>(
    backend: &Arc<BackendOf<N>>,
    batch_size: usize,
    asked_executors: usize,
    clock: &Arc<dyn Clock>,
    cancel: &Cancel,
    report: &dyn Fn(LoadEvent),
) -> Result<(usize, Vec<Opened<N>>), Error> {
    let asked_crops = if batch_size == 0 { usize::MAX } else { batch_size };
    let (mut backend, mut executors, mut most_crops) = (backend.clone(), asked_executors, asked_crops);
    loop {
        let error = match open_all(&backend, most_crops, executors, clock, cancel, report) {
            Err(error) if error.kind == ErrorKind::OutOfMemory => error,
            Err(error) => return Err(error),
            Ok(opened) => {
                let prepared = opened.iter().map(|opened| opened.largest).min().unwrap_or_default();
                let most = opened.iter().filter_map(|opened| opened.most_rows).min().unwrap_or(usize::MAX);
                return Ok((if batch_size == 0 { prepared } else { most_crops }.min(most), opened));
            }
        };
        let less = if executors == 0 && backend.likely_executors() > 1 {
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

fn open_all<N: Network>(
    backend: &Arc<BackendOf<N>>,
    most_crops: usize,
    executors: usize,
    clock: &Arc<dyn Clock>,
    cancel: &Cancel,
    report: &dyn Fn(LoadEvent),
) -> Result<Vec<Opened<N>>, Error> {
    // Ends the loading of the others when the first fails.
    let abandon = Cancel::default();
    let abandoned = abandon.clone();
    cancel.on_cancel(move || abandoned.cancel());
    let number = if executors == 0 { backend.likely_executors() } else { executors }.max(1);
    let mut candidates = (0..number)
        .map(|index| Candidate::start(index, backend, most_crops, clock, cancel, &abandon))
        .collect::<Result<Vec<_>, _>>()?;
    let first = candidates.remove(0);
    let result = open_after(first, &mut candidates, backend, executors, report);
    if result.is_err() {
        abandon.cancel();
    }
    // Those that are not wanted are dropped here: what they hold on the device is free again when this returns.
    result
}

/// Waits for the first executor, then for those of the others that are wanted.
fn open_after<N: Network>(
    first: Candidate<N>,
    others: &mut Vec<Candidate<N>>,
    backend: &Arc<BackendOf<N>>,
    executors: usize,
    report: &dyn Fn(LoadEvent),
) -> Result<Vec<Opened<N>>, Error> {
    let network = first.loaded(report)?;
    let wanted = if executors == 0 { backend.best_executors(&network).max(1) } else { executors };
    let mut loaded = vec![first];
    while loaded.len() < wanted && !others.is_empty() {
        let next = others.remove(0);
        // Executors are alike: what the first said of loading holds for all.
        let alike = next.loaded(&|_| ()).and_then(|other| {
            let alike = other == network;
            alike.then_some(()).ok_or_else(|| Error::new(ErrorKind::Run, "it would run on another provider"))
        });
        match alike {
            Ok(()) => loaded.push(next),
            Err(error) => {
                if executors != 0 || error.kind == ErrorKind::Cancelled {
                    return Err(error);
                }
                // As many as there is room for, where none was asked for.
                report(LoadEvent::Warning(format!(
                    "{} of {wanted} networks can be in flight at once, the next could not be loaded: {error}; set \
                     inference-streams to choose that silently",
                    loaded.len()
                )));
                break;
            }
        }
    }
    // In turn, and when nobody loads any more: the runs show how long one takes.
    loaded.into_iter().map(|candidate| candidate.warm_up(network.clone(), report)).collect()
}

/// An executor on its way. Dropped, it ends.
struct Candidate<N> {
    events: mpsc::Receiver<Opening<N>>,
    // Dropped before the thread, which ends then unless it still loads.
    proceed: mpsc::Sender<()>,
    thread: Joined,
}

impl<N: Network> Candidate<N> {
    fn start(
        index: usize,
        backend: &Arc<BackendOf<N>>,
        most_crops: usize,
        clock: &Arc<dyn Clock>,
        cancel: &Cancel,
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
        let thread =
            Thread::spawn(format!("rtmpose-run-{index}"), &**clock, forsaken, body).map_err(|error| {
                Error::new(ErrorKind::Run, format!("Cannot start a thread for inference: {error}"))
            })?;
        let thread = Joined { thread: Some(thread), clock: clock.clone(), cancel: cancel.clone() };
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

    /// Lets the loaded network run, and waits until that is done.
    fn warm_up(self, network: N, report: &dyn Fn(LoadEvent)) -> Result<Opened<N>, Error> {
        let _ = self.proceed.send(());
        loop {
            match self.next()? {
                Opening::Event(event) => report(event),
                Opening::Ready(Ready { largest, most_rows, warm_up, terminator, start }) => {
                    return Ok(Opened {
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

/// Opens an executor, says how that went, and runs batches once the engine is complete.
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
    // Nothing comes when this executor is not wanted.
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
    // Nothing comes when another executor could not be opened.
    let Ok((core, fallback)) = started.recv() else { return };
    core.run_batches(Runner { network, executor, terminator, fallback });
}

/// Runs each size a few times on black crops; gives the durations of the largest size's last runs.
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
        // The first run of a size pays for what the warm-up is there to pay for.
        took.remove(0);
    }
    Ok(took)
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::engine::{Backend, MonotonicClock, Shape, Slot};

    #[derive(Clone, Debug, PartialEq)]
    struct Fake;

    impl Network for Fake {
        fn shape(&self) -> Shape {
            Shape { width: 1, height: 1, row: 1 }
        }

        fn provider(&self) -> &str {
            "fake"
        }

        fn answers_like(&self, _: &Self) -> bool {
            true
        }
    }

    /// A device with room for so many crops in all executors together.
    #[derive(Default)]
    struct SmallDevice {
        room: usize,
        taken: Arc<Mutex<usize>>,
        likely: usize,
    }

    struct Share(usize, Arc<Mutex<usize>>);

    impl Backend for SmallDevice {
        type Network = Fake;

        fn open(&self, loading: &Loading) -> Result<(Fake, Box<dyn Executor>), Error> {
            let mut taken = self.taken.lock().unwrap();
            let batch_size = loading.most_crops.min(16);
            if *taken + batch_size > self.room {
                return Err(Error::new(ErrorKind::OutOfMemory, "The device has no room"));
            }
            *taken += batch_size;
            Ok((Fake, Box::new(Share(batch_size, self.taken.clone()))))
        }

        fn likely_executors(&self) -> usize {
            self.likely
        }

        fn best_executors(&self, _: &Fake) -> usize {
            self.likely
        }
    }

    impl Executor for Share {
        fn load(&mut self, _: usize, _: &dyn Slot) {}

        fn run(&mut self, rows: usize, _: &mut [f32]) -> Result<usize, Error> {
            Ok(rows)
        }

        fn warm_up_sizes(&self) -> Vec<usize> {
            vec![self.0]
        }
    }

    impl Drop for Share {
        fn drop(&mut self) {
            *self.1.lock().unwrap() -= self.0;
        }
    }

    fn clock() -> Arc<dyn Clock> {
        Arc::new(MonotonicClock::default())
    }

    /// Batch size, number of executors and warnings.
    fn opened(room: usize, likely: usize, executors: usize) -> Result<(usize, usize, Vec<String>), Error> {
        opened_for(8, room, likely, executors)
    }

    fn opened_for(
        batch_size: usize,
        room: usize,
        likely: usize,
        executors: usize,
    ) -> Result<(usize, usize, Vec<String>), Error> {
        let backend: Arc<BackendOf<Fake>> = Arc::new(SmallDevice { room, likely, ..SmallDevice::default() });
        let warnings = std::cell::RefCell::new(Vec::new());
        let report = |event| {
            if let LoadEvent::Warning(text) = event {
                warnings.borrow_mut().push(text);
            }
        };
        let (batch_size, opened) =
            open(&backend, batch_size, executors, &clock(), &Cancel::default(), &report)?;
        Ok((batch_size, opened.len(), warnings.into_inner()))
    }

    #[test]
    fn with_room_for_all_nothing_is_said() {
        assert_eq!(opened(16, 2, 0).unwrap(), (8, 2, vec![]));
        assert_eq!(opened(32, 2, 4).unwrap(), (8, 4, vec![]));
    }

    #[test]
    fn too_little_memory_makes_batches_smaller() {
        let (batch_size, executors, warnings) = opened(3, 1, 0).unwrap();
        assert_eq!((batch_size, executors), (2, 1));
        assert_eq!(
            warnings,
            [
                "The device has no room; trying again with batches of 4",
                "The device has no room; trying again with batches of 2"
            ]
        );
    }

    #[test]
    fn an_open_number_of_executors_is_given_up_before_the_batch_size() {
        let (batch_size, executors, warnings) = opened(4, 2, 0).unwrap();
        assert_eq!((batch_size, executors), (4, 1));
        assert_eq!(
            warnings,
            [
                "The device has no room; trying again with one batch in flight",
                "The device has no room; trying again with batches of 4"
            ]
        );
    }

    #[test]
    fn a_number_that_was_asked_for_is_kept() {
        let (batch_size, executors, warnings) = opened(9, 1, 2).unwrap();
        assert_eq!((batch_size, executors, warnings.len()), (4, 2, 1));
    }

    #[test]
    fn an_open_batch_size_is_what_the_backend_prepared() {
        assert_eq!(opened_for(0, 16, 1, 0).unwrap(), (16, 1, vec![]));
        let (batch_size, _, warnings) = opened_for(0, 15, 1, 0).unwrap();
        assert_eq!(
            (batch_size, &warnings[..]),
            (8, &["The device has no room; trying again with batches of 8".to_string()][..])
        );
    }

    #[test]
    fn without_room_for_one_crop_loading_fails() {
        assert_eq!(opened(0, 2, 0).unwrap_err().kind, ErrorKind::OutOfMemory);
    }

    #[test]
    fn where_batches_cannot_be_smaller_another_device_is_tried() {
        /// Its file is for batches of one size.
        struct Fixed(SmallDevice, Option<Arc<BackendOf<Fake>>>);
        impl Backend for Fixed {
            type Network = Fake;

            fn open(&self, loading: &Loading) -> Result<(Fake, Box<dyn Executor>), Error> {
                assert_eq!(loading.most_crops, 8, "it is not asked for fewer");
                self.0.open(loading)
            }
            fn likely_executors(&self) -> usize {
                self.0.likely
            }
            fn takes_smaller_batches(&self) -> bool {
                false
            }
            fn elsewhere(&self) -> Option<(&'static str, Arc<BackendOf<Fake>>)> {
                self.1.clone().map(|other| ("the spare", other))
            }
        }
        let device = |room| SmallDevice { room, likely: 2, ..SmallDevice::default() };
        let warnings = std::cell::RefCell::new(Vec::new());
        let report = |event| warnings.borrow_mut().push(event);
        let open = |backend: Arc<BackendOf<Fake>>| {
            open(&backend, 8, 0, &clock(), &Cancel::default(), &report)
                .map(|(batch_size, opened)| (batch_size, opened.len()))
        };
        let spare: Arc<BackendOf<Fake>> = Arc::new(device(16));
        assert_eq!(open(Arc::new(Fixed(device(7), Some(spare)))), Ok((8, 2)));
        let text = |less: &str| LoadEvent::Warning(format!("The device has no room; trying again {less}"));
        let is_warning = |event: &LoadEvent| matches!(event, LoadEvent::Warning(_));
        let told = |events: Vec<LoadEvent>| events.into_iter().filter(is_warning).collect::<Vec<_>>();
        assert_eq!(told(warnings.take()), [text("with one batch in flight"), text("on the spare")]);
        // Asked for there, with nowhere else to go.
        assert_eq!(open(Arc::new(Fixed(device(7), None))).unwrap_err().kind, ErrorKind::OutOfMemory);
        assert_eq!(told(warnings.take()), [text("with one batch in flight")]);
    }

    #[test]
    fn a_warm_up_that_fails_has_freed_all_before_the_next_try() {
        /// Has room to load, but not for the second executor's runs of batches of 8.
        #[derive(Default)]
        struct Tight {
            living: Arc<Mutex<Vec<usize>>>,
            warmed: Arc<Mutex<usize>>,
        }
        struct Working(usize, Arc<Mutex<Vec<usize>>>, Arc<Mutex<usize>>);
        impl Backend for Tight {
            type Network = Fake;

            fn open(&self, loading: &Loading) -> Result<(Fake, Box<dyn Executor>), Error> {
                let size = loading.most_crops;
                let mut living = self.living.lock().unwrap();
                assert!(living.iter().all(|other| *other == size), "{living:?} live beside one of {size}");
                living.push(size);
                Ok((Fake, Box::new(Working(size, self.living.clone(), self.warmed.clone()))))
            }
        }
        impl Executor for Working {
            fn load(&mut self, _: usize, _: &dyn Slot) {}
            fn run(&mut self, rows: usize, _: &mut [f32]) -> Result<usize, Error> {
                let mut warmed = self.2.lock().unwrap();
                *warmed += 1;
                if rows == 8 && *warmed > WARM_UP_RUNS {
                    return Err(Error::new(ErrorKind::OutOfMemory, "The device has no room"));
                }
                Ok(rows)
            }
            fn warm_up_sizes(&self) -> Vec<usize> {
                vec![self.0]
            }
        }
        impl Drop for Working {
            fn drop(&mut self) {
                // Freeing takes its time.
                (0..1000).for_each(|_| std::thread::yield_now());
                let mut living = self.1.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                let own = living.iter().position(|size| *size == self.0).unwrap();
                living.remove(own);
            }
        }
        let tight = Tight::default();
        let living = tight.living.clone();
        let backend: Arc<BackendOf<Fake>> = Arc::new(tight);
        let (batch_size, opened) =
            open(&backend, 8, 2, &clock(), &Cancel::default(), &|_| ()).expect("the second try has room");
        assert_eq!((batch_size, opened.len()), (4, 2));
        drop(opened);
        assert_eq!(*living.lock().unwrap(), [0; 0], "nobody lives when they are dropped");
    }
}
