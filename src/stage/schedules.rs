//! The ordered queue and the engine together, under many orders of their threads' steps, run by shuttle: the sink pad's
//! streaming thread, the source pad's task, the executors, and a thread that flushes, stops or moves the clock. A deadlock,
//! a lost wake-up, and a frame without its own result or out of order are failures; the order of steps is printed.
//!
//! GStreamer's own locks are not included: there are no pads and elements, but everything that they call is the real code.
//! Time stands still unless a test moves the clock, so that a deadline cannot hide a fault.
//!
//! `scripts/schedules` runs this. `RTMPOSE_SCHEDULES=n` sets the orders per test, `RTMPOSE_SCHEDULE=text` repeats the order
//! that a failure has printed.

use std::{sync::Arc, time::Duration};

use shuttle::{
    Config, Runner,
    scheduler::{PctScheduler, RandomScheduler},
    thread,
};

use super::queue::{Fate, Frame, Item, Query, Queue, Room, Turn};
use crate::{
    engine::{
        Backend, BackendOf, Cancel, Device, Engine, EngineSettings, Error, ErrorKind, Executor, Flushing,
        Loading, ManualClock, PendingAnswer, Slot, Stream, TimeoutPolicy,
    },
    network::Network,
    sync::{Mutex, lock},
    video::FrameShape,
};

const TIMEOUT: Duration = Duration::from_millis(15);
const ROOM: Room = Room { waiting: 2, finished: 2, all: 5 };

/// Runs a test in many orders: half of them random, half with few preemptions in unlikely places.
fn play(test: impl Fn() + Send + Sync + 'static) {
    gst::init().unwrap();
    let test = Arc::new(test);
    let played = test.clone();
    if let Ok(schedule) = std::env::var("RTMPOSE_SCHEDULE") {
        return shuttle::replay(move || played(), &schedule);
    }
    let orders = std::env::var("RTMPOSE_SCHEDULES").map_or(2000, |text| text.parse().unwrap());
    let mut config = Config::new();
    config.stack_size = 1 << 18;
    Runner::new(RandomScheduler::new(orders / 2), config.clone()).run(move || played());
    Runner::new(PctScheduler::new(3, orders / 2), config).run(move || test());
}

/// A network that finds the number that fills a crop.
#[derive(Clone, Default)]
struct Numbers {
    fails: bool,
    /// Replaces it when it fails.
    spare: bool,
    /// Whether two devices run it.
    twice: bool,
}

struct NumbersExecutor(bool, Vec<u8>);

impl Backend for Numbers {
    type Network = Network;

    fn open(&self, _: &Loading) -> Result<(Network, Box<dyn Executor>), Error> {
        Ok((Network::simcc(1, 1, 1, "numbers"), Box::new(NumbersExecutor(self.fails, Vec::new()))))
    }

    fn devices(&self) -> Result<Vec<Device<Network>>, Error> {
        let devices = if self.twice { 0..2 } else { 0..0 };
        let device = |number| Device {
            number,
            name: format!("device {number}"),
            backend: Arc::new(Self { twice: false, ..self.clone() }) as Arc<BackendOf<Network>>,
        };
        Ok(devices.map(device).collect())
    }

    fn fallback(&self, _: &Network, _: usize) -> Option<Arc<BackendOf<Network>>> {
        self.spare.then(|| Arc::new(Numbers::default()) as Arc<BackendOf<Network>>)
    }
}

impl Executor for NumbersExecutor {
    fn load(&mut self, row: usize, crop: &dyn Slot) {
        self.1.truncate(row);
        self.1.push(crop.bytes()[0]);
    }

    fn run(&mut self, rows: usize, answers: &mut [f32]) -> Result<usize, Error> {
        thread::yield_now();
        if self.0 {
            return Err(Error::new(ErrorKind::Run, "on purpose"));
        }
        for (answer, number) in answers.chunks_exact_mut(4).zip(&self.1[..rows]) {
            answer[2] = f32::from(*number);
        }
        Ok(rows)
    }

    fn warm_up_sizes(&self) -> Vec<usize> {
        Vec::new()
    }
}

fn engine(network: Numbers, batch_size: usize, executors: usize) -> (Engine, Arc<ManualClock>) {
    let clock = Arc::new(ManualClock::default());
    let fallback = network.spare;
    let settings = EngineSettings { batch_size, executors, fallback, clock: clock.clone(), observer: |_| () };
    (Engine::open(Arc::new(network), settings, &Cancel::default(), &|_| ()).unwrap().0, clock)
}

/// What left an element's queue.
#[derive(Clone, Debug, PartialEq)]
enum Out {
    /// A frame, and the number that was found in it.
    Frame(u8, Result<u8, String>),
    Query,
    Eos,
}

/// What an element has between its pads.
struct Element {
    queue: Arc<Queue<PendingAnswer>>,
    stream: Stream,
    out: Mutex<Vec<Out>>,
}

impl Element {
    fn new(engine: &Engine) -> Self {
        let queue = Arc::new(Queue::<PendingAnswer>::default());
        let woken = queue.clone();
        let policy = TimeoutPolicy { timeout: TIMEOUT, adaptive: true };
        let stream = engine.attach(policy, Arc::new(move || woken.wake()));
        let element = Self { queue, stream, out: Mutex::new(Vec::new()) };
        element.resume();
        element
    }

    fn resume(&self) {
        self.stream.resume();
        lock(&self.queue.state).resume();
    }

    fn flush(&self) {
        self.queue.flush();
        self.stream.flush();
    }

    /// The sink pad's chain function.
    fn push(&self, number: u8) -> Result<(), gst::FlowError> {
        self.queue.wait_for_room(ROOM, &self.stream, |_| ())?;
        let fate = {
            let _in_progress = self.stream.begin_frame();
            let mut slot = self.stream.buffer().map_err(|Flushing| gst::FlowError::Flushing)?;
            slot.slot_mut().bytes_mut().fill(number);
            Fate::Look(self.stream.submit(slot))
        };
        let mut buffer = gst::Buffer::new();
        buffer.get_mut().unwrap().set_offset(number.into());
        self.queue.push(Item::Frame(Frame { buffer, shape: FrameShape::new(1, 1, (1, 1)), fate }))
    }

    fn push_all(&self, numbers: std::ops::Range<u8>) -> Result<(), gst::FlowError> {
        numbers.into_iter().try_for_each(|number| self.push(number))
    }

    /// The sink pad's event function.
    fn push_eos(&self) -> Result<(), gst::FlowError> {
        self.queue.push(Item::Event(gst::event::Eos::new()))?;
        self.stream.hurry();
        self.stream.pause();
        Ok(())
    }

    /// The sink pad's query function.
    fn drain(&self) -> bool {
        let mut query = gst::query::Drain::new();
        let (query, answered) = Query::new(query.get_mut().unwrap());
        if self.queue.push(Item::Query(query)).is_err() {
            return false;
        }
        self.stream.hurry();
        answered.recv().unwrap_or(false)
    }

    /// The source pad's task, until EOS or a flush.
    fn run_task(&self) {
        loop {
            let out = match self.queue.take_ready() {
                Err((mut state, _)) => {
                    let queries = state.take_queries();
                    drop(state);
                    drop(queries);
                    return;
                }
                Ok(Turn::Send(Item::Event(_), _)) => return lock(&self.out).push(Out::Eos),
                Ok(Turn::Send(Item::Query(query), _)) => {
                    query.answer(|_| true);
                    Out::Query
                }
                Ok(Turn::Step(never)) => match never {},
                Ok(Turn::Send(Item::Frame(frame), _)) => {
                    let Fate::Look(pending) = &frame.fate else { unreachable!("push makes no other") };
                    let found = pending.outcome().expect("the frame is done");
                    let found = found.as_ref().map(|row| row[2] as u8);
                    Out::Frame(frame.buffer.offset() as u8, found.map_err(|error| error.message.clone()))
                }
            };
            lock(&self.out).push(out);
        }
    }

    fn out(&self) -> Vec<Out> {
        lock(&self.out).clone()
    }
}

/// Each with its own result.
fn found(numbers: std::ops::Range<u8>) -> impl Iterator<Item = Out> {
    numbers.map(|number| Out::Frame(number, Ok(number)))
}

#[test]
fn frames_come_out_in_order_with_their_own_results_before_a_query_and_eos() {
    for (batch_size, executors, twice) in
        [(1, 1, false), (2, 1, false), (3, 2, false), (1, 1, true), (2, 2, true)]
    {
        play(move || {
            let network = Numbers { twice, ..Numbers::default() };
            let (engine, _clock) = engine(network, batch_size, executors);
            let element = Element::new(&engine);
            thread::scope(|scope| {
                scope.spawn(|| element.run_task());
                element.push_all(0..5).unwrap();
                assert!(element.drain());
                element.push_all(5..7).unwrap();
                element.push_eos().unwrap();
            });
            let expected: Vec<_> =
                found(0..5).chain([Out::Query]).chain(found(5..7)).chain([Out::Eos]).collect();
            assert_eq!(element.out(), expected);
        });
    }
}

#[test]
fn a_deadline_is_not_slept_through() {
    for twice in [false, true] {
        play(move || {
            let (engine, clock) = engine(Numbers { twice, ..Numbers::default() }, 3, 1);
            let element = Element::new(&engine);
            thread::scope(|scope| {
                scope.spawn(|| element.run_task());
                let moving = clock.clone();
                element.push(0).unwrap();
                // Whether the executor already sleeps or not.
                scope.spawn(move || moving.advance(TIMEOUT));
                let query_is_there = || lock(&element.out).first().cloned();
                while query_is_there().is_none() {
                    thread::yield_now();
                }
                element.push_eos().unwrap();
            });
            assert_eq!(element.out(), [Out::Frame(0, Ok(0)), Out::Eos]);
        });
    }
}

#[test]
fn after_a_flush_at_any_moment_only_new_frames_come() {
    play(|| {
        let (engine, _clock) = engine(Numbers::default(), 2, 2);
        let element = Element::new(&engine);
        thread::scope(|scope| {
            let source = scope.spawn(|| element.push_all(0..6));
            let task = scope.spawn(|| element.run_task());
            element.flush();
            let _ = source.join().unwrap();
            task.join().unwrap();
        });
        let before = element.out();
        assert_eq!(before, found(0..before.len() as u8).collect::<Vec<_>>());
        lock(&element.out).clear();
        element.resume();
        thread::scope(|scope| {
            scope.spawn(|| element.run_task());
            element.push_all(10..13).unwrap();
            element.push_eos().unwrap();
        });
        assert_eq!(element.out(), found(10..13).chain([Out::Eos]).collect::<Vec<_>>());
    });
}

#[test]
fn a_stop_at_any_moment_ends_all_who_wait() {
    play(|| {
        let (engine, _clock) = engine(Numbers::default(), 2, 1);
        let element = Element::new(&engine);
        thread::scope(|scope| {
            let source = scope.spawn(|| element.push_all(0..6).map(|()| element.drain()));
            let task = scope.spawn(|| element.run_task());
            // Both pads are deactivated, then the engine goes.
            element.flush();
            let _ = source.join().unwrap();
            task.join().unwrap();
            engine.close().unwrap();
        });
        let out = element.out();
        let frames = out.iter().filter(|out| **out != Out::Query).count() as u8;
        assert_eq!(out[..frames.into()], found(0..frames).collect::<Vec<_>>());
    });
}

#[test]
fn who_shares_an_engine_is_not_held_up_by_one_who_leaves() {
    play(|| {
        let (engine, _clock) = engine(Numbers::default(), 2, 1);
        let (stays, leaves) = (Element::new(&engine), Element::new(&engine));
        thread::scope(|scope| {
            scope.spawn(|| stays.run_task());
            scope.spawn(|| {
                stays.push_all(0..4).unwrap();
                stays.push_eos().unwrap();
            });
            scope.spawn(move || {
                thread::scope(|scope| {
                    let source = scope.spawn(|| leaves.push_all(100..104));
                    let task = scope.spawn(|| leaves.run_task());
                    leaves.flush();
                    let _ = source.join().unwrap();
                    task.join().unwrap();
                });
                let out = leaves.out();
                assert_eq!(out, found(100..100 + out.len() as u8).collect::<Vec<_>>());
                drop(leaves);
            });
        });
        assert_eq!(stays.out(), found(0..4).chain([Out::Eos]).collect::<Vec<_>>());
    });
}

#[test]
fn who_shares_an_engine_is_not_held_up_by_one_who_flushes() {
    play(|| {
        let (engine, _clock) = engine(Numbers::default(), 3, 1);
        let (stays, flushes) = (Element::new(&engine), Element::new(&engine));
        thread::scope(|scope| {
            scope.spawn(|| stays.run_task());
            scope.spawn(|| flushes.flush());
            // There is room for two: the third waits for their batch, which waits for a crop of the other stream, until that
            // is flushed.
            stays.push_all(0..3).unwrap();
            stays.push_eos().unwrap();
        });
        assert_eq!(stays.out(), found(0..3).chain([Out::Eos]).collect::<Vec<_>>());
    });
}

#[test]
fn a_network_that_fails_answers_every_frame() {
    play(|| {
        let (engine, _clock) = engine(Numbers { fails: true, ..Numbers::default() }, 2, 2);
        let element = Element::new(&engine);
        thread::scope(|scope| {
            scope.spawn(|| element.run_task());
            element.push_all(0..5).unwrap();
            element.push_eos().unwrap();
        });
        let failed = (0..5).map(|number| Out::Frame(number, Err("on purpose".to_string())));
        assert_eq!(element.out(), failed.chain([Out::Eos]).collect::<Vec<_>>());
    });
}

#[test]
fn a_network_that_is_lost_is_replaced_without_losing_a_frame() {
    play(|| {
        let (engine, _clock) = engine(Numbers { fails: true, spare: true, twice: false }, 2, 2);
        let element = Element::new(&engine);
        thread::scope(|scope| {
            scope.spawn(|| element.run_task());
            element.push_all(0..5).unwrap();
            element.push_eos().unwrap();
        });
        assert_eq!(element.out(), found(0..5).chain([Out::Eos]).collect::<Vec<_>>());
    });
}
