//! A network that hangs.

mod common;

use std::{
    sync::{Arc, Mutex, atomic::Ordering},
    time::Duration,
};

use common::*;
use gst::prelude::*;
use gstrtmpose::engine::{self, PATIENCE};

/// Tests that count the threads left behind, which are the process's, take turns.
static LEFT_BEHIND: Mutex<()> = Mutex::new(());

#[test]
fn a_run_that_hangs_is_ended_by_a_stop() {
    let _turn = LEFT_BEHIND.lock().unwrap();
    for _ in 0..50 {
        let fake = Fake::default();
        // By this clock no time passes: the run ends because it is told to.
        let (element, _clock) = element_by_hand(&fake);
        let bus = bus(&element);
        *fake.behaviour.lock().unwrap() = Behaviour::Hang;
        let mut harness = harness(&element);
        harness.push(frame(0)).unwrap();
        assert!(harness.push_event(gst::event::Eos::new()));
        fake.hanging.wait_for_a_run();
        element.set_state(gst::State::Null).unwrap();
        assert_eq!(fake.executors.load(Ordering::SeqCst), 0, "its thread has ended");
        assert_eq!(engine::left_behind(), 0);
        assert_eq!(errors_and_warnings(&bus), (vec![], vec![]));
    }
}

#[test]
fn a_run_that_does_not_end_is_left_behind_with_one_error() {
    let _turn = LEFT_BEHIND.lock().unwrap();
    let fake = Fake::default();
    let (element, clock) = element_by_hand(&fake);
    let bus = bus(&element);
    *fake.behaviour.lock().unwrap() = Behaviour::HangForEver;
    let mut harness = harness(&element);
    harness.push(frame(0)).unwrap();
    assert!(harness.push_event(gst::event::Eos::new()));
    fake.hanging.wait_for_a_run();
    let stopping = {
        let element = element.clone();
        std::thread::spawn(move || element.set_state(gst::State::Null))
    };
    // The wait begins at some moment of this clock: it is moved until the wait has ended, and no further.
    let mut moved = Duration::ZERO;
    while engine::left_behind() == 0 {
        clock.advance(PATIENCE / 5);
        moved += PATIENCE / 5;
        std::thread::yield_now();
    }
    assert!(moved >= PATIENCE, "given up after {moved:?}");
    stopping.join().unwrap().unwrap();
    let (errors, warnings) = errors_and_warnings(&bus);
    assert_eq!((errors.len(), warnings.len()), (1, 0), "{errors:?} {warnings:?}");
    assert!(
        errors[0].contains("hangs on fake") && errors[0].contains("(1 in this process now)"),
        "{errors:?}"
    );

    // The element is as good as new with a network that answers.
    *fake.behaviour.lock().unwrap() = Behaviour::Answer;
    element.set_state(gst::State::Playing).unwrap();
    harness.push_event(gst::event::StreamStart::new("again"));
    harness.push_event(gst::event::Caps::new(&CAPS.parse().unwrap()));
    harness.push_event(gst::event::Segment::new(&gst::FormattedSegment::<gst::ClockTime>::new()));
    for number in 0..8 {
        harness.push(frame(number)).unwrap();
    }
    for number in 0..8 {
        check(&harness.pull().unwrap(), number);
    }
    element.set_state(gst::State::Null).unwrap();

    fake.hanging.release();
    while engine::left_behind() != 0 {
        std::thread::yield_now();
    }
    assert_eq!(fake.executors.load(Ordering::SeqCst), 0, "its network is freed after all");
}

#[test]
fn a_hanging_load_is_left_behind_when_it_is_interrupted() {
    let _turn = LEFT_BEHIND.lock().unwrap();
    let fake = Fake::default();
    let (element, clock) = element_by_hand(&fake);
    let bus = bus(&element);
    fake.load_gate.close();
    let change = |state| {
        let element = element.clone();
        std::thread::spawn(move || element.set_state(state))
    };
    let loading = change(gst::State::Ready);
    fake.load_gate.wait_for_a_run();
    let stopping = change(gst::State::Null);
    while engine::left_behind() == 0 {
        clock.advance(PATIENCE / 5);
        std::thread::yield_now();
    }
    assert!(loading.join().unwrap().is_err());
    stopping.join().unwrap().unwrap();
    assert_eq!(errors_and_warnings(&bus), (vec![], vec![]), "an interruption is no error");
    fake.load_gate.open();
    while engine::left_behind() != 0 {
        std::thread::yield_now();
    }
    element.set_state(gst::State::Ready).unwrap();
    assert_eq!(fake.executors.load(Ordering::SeqCst), 1);
    element.set_state(gst::State::Null).unwrap();
}

#[test]
fn a_warm_up_that_hangs_is_ended_by_an_interruption() {
    struct Slow(Fake);
    impl engine::Backend for Slow {
        fn open(
            &self,
            loading: &engine::Loading,
        ) -> Result<(engine::Model, Box<dyn engine::Executor>), engine::Error> {
            let (model, executor) = self.0.open(loading)?;
            Ok((model, Box::new(WithWarmUp(executor))))
        }
    }
    struct WithWarmUp(Box<dyn engine::Executor>);
    impl engine::Executor for WithWarmUp {
        fn load(&mut self, row: usize, crop: &[u8]) {
            self.0.load(row, crop);
        }
        fn run(&mut self, rows: usize, peaks: &mut [gstrtmpose::pose::Peak]) -> Result<usize, engine::Error> {
            self.0.run(rows, peaks)
        }
        fn warm_up_sizes(&self) -> Vec<usize> {
            vec![1]
        }
        fn terminator(&self) -> Arc<dyn Fn() + Send + Sync> {
            self.0.terminator()
        }
    }
    let _turn = LEFT_BEHIND.lock().unwrap();
    let fake = Fake::default();
    *fake.behaviour.lock().unwrap() = Behaviour::Hang;
    let cancel = engine::Cancel::default();
    let opening = {
        let (backend, cancel) = (Arc::new(Slow(fake.clone())), cancel.clone());
        let settings = engine::EngineSettings {
            batch_size: 1,
            executors: 1,
            clock: Arc::new(engine::ManualClock::default()),
            observer: |_| (),
        };
        std::thread::spawn(move || engine::Engine::open(backend, settings, &cancel, &|_| ()).err())
    };
    fake.hanging.wait_for_a_run();
    cancel.cancel();
    assert_eq!(opening.join().unwrap(), Some(engine::Error::cancelled()));
    assert_eq!((fake.executors.load(Ordering::SeqCst), engine::left_behind()), (0, 0));
}
