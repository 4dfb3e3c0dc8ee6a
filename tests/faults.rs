//! A model that hangs, and a device that is lost in mid-stream.

mod common;

use std::{
    sync::{Arc, Mutex, atomic::Ordering},
    time::Duration,
};

use common::*;
use gst::prelude::*;
use gstrtmpose::{
    engine::{self, Error, ErrorKind, TIME_TO_END},
    network::Network,
};

/// Tests that count abandoned threads, of which the process has one list, take turns.
static LEFT_BEHIND: Mutex<()> = Mutex::new(());

#[test]
fn a_run_that_hangs_is_ended_by_a_stop() {
    let _turn = LEFT_BEHIND.lock().unwrap();
    for _ in 0..50 {
        let fake = Fake::default();
        // This clock stands still: the run ends only because it is told to.
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
    // The wait begins at an unknown moment of this clock. The clock moves until the wait has ended, and no
    // further.
    let mut moved = Duration::ZERO;
    while engine::left_behind() == 0 {
        clock.advance(TIME_TO_END / 5);
        moved += TIME_TO_END / 5;
        std::thread::yield_now();
    }
    assert!(moved >= TIME_TO_END, "given up after {moved:?}");
    stopping.join().unwrap().unwrap();
    assert_eq!(fake.forsaken.lock().unwrap().len(), 1, "what it holds in turn is given up");
    let (errors, warnings) = errors_and_warnings(&bus);
    assert_eq!((errors.len(), warnings.len()), (1, 0), "{errors:?} {warnings:?}");
    assert!(
        errors[0].contains("hangs on fake") && errors[0].contains("(1 in this process now)"),
        "{errors:?}"
    );

    // The element works again with a network that answers.
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
        clock.advance(TIME_TO_END / 5);
        std::thread::yield_now();
    }
    assert!(loading.join().unwrap().is_err());
    stopping.join().unwrap().unwrap();
    assert_eq!(errors_and_warnings(&bus), (vec![], vec![]), "an interruption is no error");
    assert_eq!(fake.forsaken.lock().unwrap().len(), 1, "what it holds in turn is given up");
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
        type Network = Network;
        fn open(
            &self,
            loading: &engine::Loading,
        ) -> Result<(Network, Box<dyn engine::Executor>), engine::Error> {
            let (network, executor) = self.0.open(loading)?;
            Ok((network, Box::new(WithWarmUp(executor))))
        }
    }
    struct WithWarmUp(Box<dyn engine::Executor>);
    impl engine::Executor for WithWarmUp {
        fn load(&mut self, row: usize, crop: &dyn engine::Slot) {
            self.0.load(row, crop);
        }
        fn run(&mut self, rows: usize, answers: &mut [f32]) -> Result<usize, engine::Error> {
            self.0.run(rows, answers)
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
            fallback: false,
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

/// A network on a device that can be lost, and its fallback.
fn with_spare() -> (Fake, Arc<Fake>) {
    let spare = Arc::new(Fake::default());
    (Fake { spare: Some(spare.clone()), ..Fake::default() }, spare)
}

fn provider(element: &impl IsA<gst::Element>) -> String {
    element.property("active-provider")
}

#[test]
fn a_lost_device_loses_no_frame() {
    for (executors, overlaps) in [(1u32, false), (2, false), (1, true), (2, true)] {
        let (mut fake, spare) = with_spare();
        fake.overlaps = overlaps;
        let (element, _clock) = element_by_hand(&fake);
        element.set_property("inference-streams", executors);
        let bus = bus(&element);
        let mut harness = harness(&element);
        // The device is lost while a batch is in it and others wait.
        fake.gate.close();
        (0..20).for_each(|number| assert!(harness.push(frame(number)).is_ok()));
        fake.gate.wait_for_a_run();
        assert_eq!(provider(&element), "device");
        *fake.behaviour.lock().unwrap() = Behaviour::Fail;
        fake.gate.open();
        assert!(harness.push_event(gst::event::Eos::new()));
        (0..20).for_each(|number| check(&harness.pull().unwrap(), number));
        assert_eq!(provider(&element), "fake");
        let (errors, warnings) = errors_and_warnings(&bus);
        assert_eq!((errors.len(), warnings.len()), (0, 1), "{errors:?} {warnings:?}");
        for part in ["device is lost (the fake network fails)", "now runs on fake", "fallback=none"] {
            assert!(warnings[0].contains(part), "{part} is missing: {warnings:?}");
        }
        assert!(spare.executors.load(Ordering::SeqCst) <= executors as usize);
        assert_eq!(spare.runs.lock().unwrap().iter().sum::<usize>(), 20);
        // The next start tries the device again.
        *fake.behaviour.lock().unwrap() = Behaviour::Answer;
        element.set_state(gst::State::Null).unwrap();
        element.set_state(gst::State::Ready).unwrap();
        assert_eq!(provider(&element), "device");
        element.set_state(gst::State::Null).unwrap();
    }
}

#[test]
fn a_device_that_is_short_of_memory_is_not_lost() {
    for behaviour in [Behaviour::OutOfMemory, Behaviour::Fail] {
        let (fake, spare) = with_spare();
        let element = element(&fake);
        let bus = bus(&element);
        let mut harness = harness(&element);
        let is_short = matches!(behaviour, Behaviour::OutOfMemory);
        *fake.behaviour.lock().unwrap() = behaviour;
        for number in 0..20 {
            harness.push(frame(number)).unwrap();
            check(&harness.pull().unwrap(), number);
        }
        let (errors, warnings) = errors_and_warnings(&bus);
        assert_eq!((errors.len(), warnings.len()), (0, 1), "{errors:?} {warnings:?}");
        let short = "device has too little memory for a run (the fake network has no room)";
        let text = if is_short { short } else { "device is lost (the fake network fails)" };
        assert!(warnings[0].contains(text) && warnings[0].contains("now runs on fake"), "{warnings:?}");
        // A device short of memory gives back what it holds. A device that does not answer is left alone.
        assert_eq!(fake.executors.load(Ordering::SeqCst), usize::from(!is_short));
        assert_eq!(spare.executors.load(Ordering::SeqCst), 1);
    }
}

#[test]
fn a_single_failed_run_is_tried_again_where_it_failed() {
    let (mut fake, spare) = with_spare();
    fake.overlaps = true;
    let element = element(&fake);
    let bus = bus(&element);
    let mut harness = harness(&element);
    for number in 0..50 {
        *fake.behaviour.lock().unwrap() = Behaviour::FailOnce;
        harness.push(frame(number)).unwrap();
        check(&harness.pull().unwrap(), number);
    }
    assert_eq!((provider(&element), spare.executors.load(Ordering::SeqCst)), ("device".to_string(), 0));
    assert_eq!(errors_and_warnings(&bus), (vec![], vec![]));
}

#[test]
fn without_a_fallback_a_lost_device_is_an_inference_error() {
    for (fallback, passthrough) in [("none", false), ("none", true), ("cpu", false), ("cpu", true)] {
        let (fake, spare) = with_spare();
        // If there is a fallback, it cannot be loaded.
        let missing = Error::new(ErrorKind::Library, "no library");
        *spare.load_error.lock().unwrap() = Some(missing);
        let (element, _clock) = element_by_hand(&fake);
        element.set_property_from_str("fallback", fallback);
        element.set_property_from_str("on-error", if passthrough { "passthrough" } else { "fail" });
        let bus = bus(&element);
        let mut harness = harness(&element);
        *fake.behaviour.lock().unwrap() = Behaviour::Fail;
        (0..7).for_each(|number| assert!(harness.push(frame(number)).is_ok()));
        // The run may have failed, and ended the stream, before the last frame is in the queue.
        assert!(harness.push(frame(7)).is_ok() || !passthrough);
        let messages = if passthrough {
            for number in 0..8 {
                let buffer = harness.pull().unwrap();
                assert_eq!((buffer.offset(), people(&buffer)), (number, None));
            }
            let (errors, warnings) = errors_and_warnings(&bus);
            assert_eq!(errors, [""; 0]);
            warnings
        } else {
            let error = [gst::MessageType::Error];
            let first = patience::message(&bus, &error).unwrap();
            let gst::MessageView::Error(first) = first.view() else { unreachable!() };
            let (others, warnings) = errors_and_warnings(&bus);
            assert_eq!((others, warnings), (vec![], vec![]));
            vec![first.error().message().to_string()]
        };
        assert_eq!(messages.len(), 1, "{messages:?}");
        assert!(messages[0].contains("the fake network fails"), "{messages:?}");
        assert_eq!(messages[0].contains("cannot run elsewhere: no library"), fallback == "cpu");
        element.set_state(gst::State::Null).unwrap();
    }
}

#[test]
fn all_who_share_a_lost_device_are_told_once() {
    let (fake, _spare) = with_spare();
    let elements = [element(&fake), element(&fake)];
    elements.iter().for_each(|element| element.set_property("model-instance-id", "shares-a-lost-device"));
    let buses = elements.each_ref().map(bus);
    let mut harnesses = elements.each_ref().map(harness);
    *fake.behaviour.lock().unwrap() = Behaviour::Fail;
    for number in 0..10 {
        for harness in &mut harnesses {
            harness.push(frame(number)).unwrap();
            check(&harness.pull().unwrap(), number);
        }
    }
    for bus in buses {
        let (errors, warnings) = errors_and_warnings(&bus);
        assert_eq!((errors.len(), warnings.len()), (0, 1), "{errors:?} {warnings:?}");
    }
}

/// A crop that the network's device cannot reach is an inference error of its frame. The other crops of its
/// batch get their answers.
#[test]
fn a_crop_that_cannot_be_loaded_fails_alone() {
    let fake = Fake::default();
    *fake.refuses.lock().unwrap() = vec![2, 5, 6];
    let element = element(&fake);
    element.set_property_from_str("on-error", "passthrough");
    let bus = bus(&element);
    let mut harness = harness(&element);
    (0..8).for_each(|number| assert!(harness.push(frame(number)).is_ok()));
    for number in 0..8 {
        let buffer = harness.pull().unwrap();
        if [2, 5, 6].contains(&number) {
            assert_eq!((buffer.offset(), people(&buffer)), (number.into(), None));
        } else {
            check(&buffer, number);
        }
    }
    let (errors, warnings) = errors_and_warnings(&bus);
    assert_eq!((errors.len(), warnings.len()), (0, 1), "{errors:?} {warnings:?}");
    assert!(warnings[0].contains("the crop cannot be loaded"), "{warnings:?}");
    element.set_state(gst::State::Null).unwrap();
}
