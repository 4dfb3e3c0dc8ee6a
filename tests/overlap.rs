//! A batch is loaded while the previous one runs, if the executor can do that.

use std::{
    sync::{Arc, Condvar, Mutex},
    time::Duration,
};

use gstrtmpose::{
    engine::{
        Backend, BatchReport, Cancel, Engine, EngineSettings, Error, ErrorKind, Executor, Loading,
        ManualClock, Notify, Overlapping, PendingAnswer, Slot, Stream, TimeoutPolicy,
    },
    network::Network,
};

/// A call of the engine to the executor.
#[derive(Clone, Debug, PartialEq)]
enum Step {
    Load(u8),
    Begin(usize),
    Finish,
}
use Step::{Begin, Finish, Load};

#[derive(Default)]
struct State {
    steps: Vec<Step>,
    /// How many calls of `begin`, and of `finish`, may return.
    may_begin: usize,
    may_finish: usize,
    begin_fails: bool,
    finish_panics: bool,
}

/// A network that continues when the test lets it. Its score is the crop's number.
#[derive(Clone, Default)]
struct Device(Arc<(Mutex<State>, Condvar)>);

impl Device {
    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.0.0.lock().unwrap());
        self.0.1.notify_all();
    }

    fn wait(&self, until: impl Fn(&mut State) -> bool) {
        let mut state = self.0.0.lock().unwrap();
        while !until(&mut state) {
            state = self.0.1.wait(state).unwrap();
        }
    }

    /// Waits until this number of steps was done.
    fn steps(&self, count: usize) -> Vec<Step> {
        self.wait(|state| state.steps.len() >= count);
        self.0.0.lock().unwrap().steps.clone()
    }

    /// Waits for an answer.
    fn outcome(&self, pending: &PendingAnswer) -> Result<f32, String> {
        self.wait(|_| pending.outcome().is_some());
        let outcome = pending.outcome().cloned().unwrap();
        outcome.map(|row| row[2]).map_err(|error| error.message)
    }
}

struct Rows {
    device: Device,
    loaded: Vec<u8>,
    begun: Vec<u8>,
}

impl Backend for Device {
    type Network = Network;

    fn open(&self, _: &Loading) -> Result<(Network, Box<dyn Executor>), Error> {
        let network = Network::simcc(1, 1, 1, "fake");
        Ok((network, Box::new(Rows { device: self.clone(), loaded: Vec::new(), begun: Vec::new() })))
    }
}

impl Executor for Rows {
    fn load(&mut self, row: usize, crop: &dyn Slot) {
        let crop = crop.bytes();
        self.loaded.truncate(row);
        self.loaded.push(crop[0]);
        self.device.change(|state| state.steps.push(Load(crop[0])));
    }

    fn run(&mut self, _: usize, _: &mut [f32]) -> Result<usize, Error> {
        unreachable!("it overlaps")
    }

    fn warm_up_sizes(&self) -> Vec<usize> {
        Vec::new()
    }

    fn overlapping(&mut self) -> Option<&mut dyn Overlapping> {
        Some(self)
    }
}

impl Overlapping for Rows {
    fn begin(&mut self, rows: usize) -> Result<(), Error> {
        assert_eq!(rows, self.loaded.len());
        self.device.change(|state| state.steps.push(Begin(rows)));
        self.device.wait(|state| state.may_begin.checked_sub(1).map(|left| state.may_begin = left).is_some());
        if self.device.0.0.lock().unwrap().begin_fails {
            return Err(Error::new(ErrorKind::Run, "it does not begin"));
        }
        self.begun = std::mem::take(&mut self.loaded);
        Ok(())
    }

    fn finish(&mut self, answers: &mut [f32]) -> Result<usize, Error> {
        self.device
            .wait(|state| state.may_finish.checked_sub(1).map(|left| state.may_finish = left).is_some());
        self.device.change(|state| state.steps.push(Finish));
        let panics = self.device.0.0.lock().unwrap().finish_panics;
        assert!(!panics, "the device broke");
        for (answer, number) in answers.chunks_exact_mut(4).zip(&self.begun) {
            answer.copy_from_slice(&[0.0, 0.0, f32::from(*number), 1.0]);
        }
        Ok(self.begun.len())
    }
}

/// Batches of 2, one executor, a clock that stands still.
fn start(device: &Device, clock: &Arc<ManualClock>) -> (Engine, Stream) {
    let observer: fn(&BatchReport) = |_| ();
    let settings =
        EngineSettings { batch_size: 2, executors: 1, fallback: false, clock: clock.clone(), observer };
    let (engine, _) = Engine::open(Arc::new(device.clone()), settings, &Cancel::default(), &|_| ()).unwrap();
    let told = device.clone();
    let notify: Notify = Arc::new(move || told.change(|_| ()));
    let stream = engine.attach(TimeoutPolicy { timeout: Duration::MAX, adaptive: false }, notify);
    stream.resume();
    (engine, stream)
}

fn submit(stream: &Stream, numbers: std::ops::Range<u8>) -> Vec<PendingAnswer> {
    let submit = |number| {
        let mut crop = stream.buffer().unwrap();
        crop.slot_mut().bytes_mut().fill(number);
        stream.submit(crop)
    };
    numbers.map(submit).collect()
}

#[test]
fn a_full_batch_is_loaded_during_the_run_before_and_a_partial_one_is_not() {
    let (device, clock) = (Device::default(), Arc::new(ManualClock::default()));
    let (engine, stream) = start(&device, &clock);
    let mut pending = submit(&stream, 0..2);
    assert_eq!(device.steps(3), [Load(0), Load(1), Begin(2)]);
    pending.extend(submit(&stream, 2..5));
    clock.advance(Duration::from_millis(3));
    device.change(|state| state.may_begin = 1);
    // The first run has begun, and has not ended.
    assert_eq!(device.steps(5)[3..], [Load(2), Load(3)]);
    device.wait(|_| pending[3].is_handed());
    assert!(!pending[4].is_handed() && pending[0].outcome().is_none());
    clock.advance(Duration::from_millis(2));
    device.change(|state| state.may_finish = 1);
    // The device gets the next batch before the first batch's answers are sent.
    assert_eq!(device.steps(7)[5..], [Finish, Begin(2)]);
    assert!(pending[0].outcome().is_none());
    device.change(|state| state.may_begin = 1);
    assert_eq!((device.outcome(&pending[0]), device.outcome(&pending[1])), (Ok(0.0), Ok(1.0)));
    device.change(|state| (state.may_begin, state.may_finish) = (1, 2));
    assert_eq!((device.outcome(&pending[2]), device.outcome(&pending[3])), (Ok(2.0), Ok(3.0)));
    // If no batch was loaded ahead, the answers come at once.
    stream.hurry();
    assert_eq!(device.outcome(&pending[4]), Ok(4.0));
    // The fifth crop was not loaded ahead.
    assert_eq!(device.steps(11)[7..], [Finish, Load(4), Begin(1), Finish]);
    let statistics = stream.statistics();
    assert_eq!((statistics.batches, statistics.crops), (3, 5));
    // A crop that was loaded ahead waited until its own run began: 0, 0, 5, 5 and 5 ms.
    let wait = |share| statistics.waits.percentile(share);
    assert_eq!((wait(0.1), wait(0.9)), (Duration::ZERO, Duration::from_millis(5)));
    drop(stream);
    engine.close().unwrap();
}

#[test]
fn a_run_that_does_not_begin_holds_no_other_answer_back() {
    let (device, clock) = (Device::default(), Arc::new(ManualClock::default()));
    let (engine, stream) = start(&device, &clock);
    let mut pending = submit(&stream, 0..2);
    device.steps(3);
    pending.extend(submit(&stream, 2..4));
    device.change(|state| state.may_begin = 1);
    device.steps(5);
    device.change(|state| (state.may_finish, state.begin_fails, state.may_begin) = (1, true, 1));
    let outcomes: Vec<_> = pending.iter().map(|pending| device.outcome(pending)).collect();
    let failed = Err("it does not begin".to_string());
    assert_eq!(outcomes, [Ok(0.0), Ok(1.0), failed.clone(), failed]);
    // The next one begins.
    device.change(|state| (state.begin_fails, state.may_begin, state.may_finish) = (false, 1, 1));
    let pending = submit(&stream, 4..6);
    assert_eq!((device.outcome(&pending[0]), device.outcome(&pending[1])), (Ok(4.0), Ok(5.0)));
    drop(stream);
    engine.close().unwrap();
}

#[test]
fn a_panic_answers_the_batch_that_was_loaded_ahead_too() {
    let (device, clock) = (Device::default(), Arc::new(ManualClock::default()));
    let (engine, stream) = start(&device, &clock);
    let mut pending = submit(&stream, 0..2);
    device.steps(3);
    pending.extend(submit(&stream, 2..5));
    device.change(|state| state.may_begin = 1);
    device.steps(5);
    device.change(|state| (state.may_finish, state.finish_panics) = (1, true));
    for pending in &pending {
        assert_eq!(device.outcome(pending), Err("Inference panicked: the device broke".to_string()));
    }
    assert!(engine.has_failed());
    drop(stream);
    engine.close().unwrap();
}

#[test]
fn a_batch_that_is_loaded_ahead_is_answered_when_the_engine_closes() {
    let (device, clock) = (Device::default(), Arc::new(ManualClock::default()));
    let (engine, stream) = start(&device, &clock);
    let mut pending = submit(&stream, 0..2);
    device.steps(3);
    pending.extend(submit(&stream, 2..4));
    device.change(|state| state.may_begin = 1);
    device.steps(5);
    let closing = std::thread::spawn(move || engine.close());
    // A closed engine gives no buffers.
    while stream.buffer().is_ok() {
        std::thread::yield_now();
    }
    device.change(|state| state.may_finish = 1);
    let outcomes: Vec<_> = pending.iter().map(|pending| device.outcome(pending)).collect();
    let closed = Err("The engine was closed".to_string());
    assert_eq!(outcomes, [Ok(0.0), Ok(1.0), closed.clone(), closed]);
    assert_eq!(device.steps(6)[5..], [Finish]);
    closing.join().unwrap().unwrap();
}
