//! Elements that share an engine by `model-instance-id`.

mod common;

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
};

use common::{patience::WATCHDOG, *};
use gst::prelude::*;
use gstrtmpose::{
    engine::{Error, ErrorKind},
    posebatch::RtmPoseBatch,
};

fn set_states(elements: &[RtmPoseBatch], state: gst::State) {
    for element in elements {
        element.set_state(state).unwrap();
    }
}

fn sharing(element: &RtmPoseBatch, name: &str) {
    element.set_property("model-instance-id", name);
}

#[test]
fn batches_fill_across_streams() {
    let fake = Fake::default();
    // The engine uses the clock of the first element that loads. It stands still.
    let elements: Vec<_> = (0..8).map(|_| element_by_hand(&fake).0).collect();
    elements.iter().for_each(|element| sharing(element, "batches_fill_across_streams"));
    let mut harnesses: Vec<_> = elements.iter().map(harness).collect();
    assert_eq!(fake.executors.load(Ordering::SeqCst), 1, "one network for all");
    for (number, harness) in harnesses.iter_mut().enumerate() {
        harness.push(frame(number as u32)).unwrap();
    }
    for (number, harness) in harnesses.iter_mut().enumerate() {
        check(&harness.pull().unwrap(), number as u32);
    }
    assert_eq!(*fake.runs.lock().unwrap(), [8], "one crop of each stream in one batch");

    // The batch does not wait for a stream that has ended.
    let (last, others) = harnesses.split_last_mut().unwrap();
    others.iter_mut().for_each(|harness| assert!(harness.push_event(gst::event::Eos::new())));
    last.push(frame(100)).unwrap();
    assert!(last.push_event(gst::event::Eos::new()));
    check(&last.pull().unwrap(), 100);
}

#[test]
fn without_a_name_or_with_another_nothing_is_shared() {
    let fake = Fake::default();
    let elements: Vec<_> = (0..4).map(|_| element(&fake)).collect();
    sharing(&elements[2], "nothing-is-shared-a");
    sharing(&elements[3], "nothing-is-shared-b");
    set_states(&elements, gst::State::Ready);
    assert_eq!(fake.executors.load(Ordering::SeqCst), 4);
    set_states(&elements, gst::State::Null);
    assert_eq!(fake.executors.load(Ordering::SeqCst), 0);
}

#[test]
fn elements_come_and_go_and_the_last_closes_the_engine() {
    let fake = Fake::default();
    let elements: Vec<_> = (0..3).map(|_| element(&fake)).collect();
    elements.iter().for_each(|element| sharing(element, "come_and_go"));
    for round in 0..50 {
        for element in &elements {
            element.set_state(gst::State::Ready).unwrap();
        }
        assert_eq!(fake.executors.load(Ordering::SeqCst), 1);
        let (first, rest) = (round % 3, [1, 2].map(|step| (round + step) % 3));
        elements[first].set_state(gst::State::Null).unwrap();
        elements[rest[0]].set_state(gst::State::Null).unwrap();
        assert_eq!(fake.executors.load(Ordering::SeqCst), 1, "one still uses it");
        elements[rest[1]].set_state(gst::State::Null).unwrap();
        assert_eq!(fake.executors.load(Ordering::SeqCst), 0);
    }
}

#[test]
fn settings_that_disagree_are_named() {
    let fake = Fake::default();
    let (one, other) = (element(&fake), element(&fake));
    sharing(&one, "settings_that_disagree");
    sharing(&other, "settings_that_disagree");
    other.set_property("batch-size", 4u32);
    one.set_state(gst::State::Ready).unwrap();
    let bus = bus(&other);
    assert!(other.set_state(gst::State::Ready).is_err());
    let errors = errors_and_warnings(&bus).0;
    assert_eq!(errors.len(), 1);
    for part in ["batch-size is 4 here and 8 there", "settings_that_disagree", one.name().as_str()] {
        assert!(errors[0].contains(part), "{errors:?}");
    }
    // Properties that each element has for itself may differ.
    other.set_property("batch-size", 8u32);
    other.set_property("batch-timeout", 0u64);
    other.set_state(gst::State::Ready).unwrap();
    assert_eq!(fake.executors.load(Ordering::SeqCst), 1);
    for element in [one, other] {
        element.set_state(gst::State::Null).unwrap();
    }
}

#[test]
fn a_file_that_was_replaced_is_told_of_with_both_checksums() {
    let file = std::env::temp_dir().join(format!("rtmpose-sharing-{}.onnx", std::process::id()));
    // SHA-256 of "one" and of "two".
    let one = "7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed";
    let two = "3fc4ccfe745870e2c0d99f71f30ff0656c8dedd41cc1d7d3d376b0dbe685e2f3";
    let fake = Fake { sha256: one.to_string(), ..Fake::default() };
    let started = || {
        let element = element(&fake);
        sharing(&element, "a_file_that_was_replaced");
        element.set_property("model-file", file.to_str().unwrap());
        let bus = bus(&element);
        element.set_state(gst::State::Ready).unwrap();
        let (errors, warnings) = errors_and_warnings(&bus);
        assert_eq!(errors, [""; 0]);
        (element, warnings)
    };
    std::fs::write(&file, "one").unwrap();
    let (first, warnings) = started();
    assert_eq!(warnings, [""; 0]);
    let (same, warnings) = started();
    assert_eq!(warnings, [""; 0], "the file is the same");
    std::fs::write(&file, "two").unwrap();
    let (replaced, warnings) = started();
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    for part in [one, two, "a_file_that_was_replaced", file.to_str().unwrap(), "start them again"] {
        assert!(warnings[0].contains(part), "{part} is missing: {warnings:?}");
    }
    std::fs::remove_file(&file).unwrap();
    let (removed, warnings) = started();
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].contains("can no longer be read (No such file or directory)"), "{warnings:?}");
    assert_eq!(fake.executors.load(Ordering::SeqCst), 1, "all run what the first has loaded");
    set_states(&[first, same, replaced, removed], gst::State::Null);
}

#[test]
fn a_loading_that_failed_is_tried_again_by_the_next() {
    for _ in 0..50 {
        let fake = Fake::default();
        let elements = [element(&fake), element(&fake)];
        elements.iter().for_each(|element| sharing(element, "tried_again"));
        *fake.load_error.lock().unwrap() = Some(Error::new(ErrorKind::ModelMissing, "not yet"));
        fake.load_gate.close();
        // Both start at once: one loads and fails, the other waits for it and then loads itself.
        let changes: Vec<_> = elements
            .iter()
            .cloned()
            .map(|element| std::thread::spawn(move || element.set_state(gst::State::Ready)))
            .collect();
        fake.load_gate.wait_for_a_run();
        fake.load_gate.open();
        let failed = changes.into_iter().map(|change| change.join().unwrap()).filter(Result::is_err).count();
        assert_eq!(failed, 1);
        assert_eq!(fake.executors.load(Ordering::SeqCst), 1);
        set_states(&elements, gst::State::Null);
    }
}

#[test]
fn a_failed_engine_is_not_handed_on() {
    let fake = Fake::default();
    let (one, other) = (element(&fake), element(&fake));
    sharing(&one, "a_failed_engine");
    sharing(&other, "a_failed_engine");
    let mut broken = harness(&one);
    *fake.behaviour.lock().unwrap() = Behaviour::Panic;
    let _ = broken.push(frame(0));
    assert!(broken.push_event(gst::event::Eos::new()));
    while !has_error(&one) {
        std::thread::yield_now();
    }
    *fake.behaviour.lock().unwrap() = Behaviour::Answer;
    let mut whole = harness(&other);
    whole.push(frame(1)).unwrap();
    check(&whole.pull().unwrap(), 1);
}

/// Whether the stream has stopped with an error.
fn has_error(element: &RtmPoseBatch) -> bool {
    element.static_pad("src").unwrap().task_state() == gst::TaskState::Paused
}

#[test]
fn many_streams_start_stop_flush_and_fail_and_each_frame_gets_its_own_result() {
    for streams in [1u32, 2, 8, 16, 32] {
        let fake = Fake::default();
        *fake.behaviour.lock().unwrap() = Behaviour::Delay(200);
        std::thread::scope(|scope| {
            for stream in 0..streams {
                let element = element(&fake);
                sharing(&element, &format!("many_streams-{streams}"));
                element.set_property("inference-streams", 1 + streams % 3);
                scope.spawn(move || play(&element, stream));
            }
        });
        assert_eq!(fake.executors.load(Ordering::SeqCst), 0);
    }
}

/// Sends frames through one of many elements, with flushes and restarts in between. The frames' numbers contain
/// the stream's.
fn play(element: &RtmPoseBatch, stream: u32) {
    let (sender, frames) = mpsc::channel();
    let fails = Arc::new(AtomicBool::new(false));
    let failing = fails.clone();
    let sink = gst::Pad::builder(gst::PadDirection::Sink)
        .chain_function(move |_, _, buffer| {
            sender.send(buffer).unwrap();
            if failing.load(Ordering::SeqCst) { Err(gst::FlowError::Error) } else { Ok(gst::FlowSuccess::Ok) }
        })
        .event_function(|_, _, _| true)
        .build();
    let source = gst::Pad::builder(gst::PadDirection::Src).build();
    connect(element, &source, &sink);
    let mut last = BTreeMap::new();
    for round in 0..6 {
        element.set_state(gst::State::Playing).unwrap();
        source.push_event(gst::event::StreamStart::new("test"));
        source.push_event(gst::event::Caps::new(&CAPS.parse().unwrap()));
        source.push_event(gst::event::Segment::new(&gst::FormattedSegment::<gst::ClockTime>::new()));
        let first = stream << 16 | round << 8;
        if round == 3 && stream % 4 == 1 {
            // Downstream of this stream fails. The other streams continue.
            fails.store(true, Ordering::SeqCst);
            let refused = (0..250).find_map(|number| source.push(frame(first + number)).err());
            assert_eq!(refused, Some(gst::FlowError::Error));
            fails.store(false, Ordering::SeqCst);
            element.set_state(gst::State::Null).unwrap();
            continue;
        }
        for number in 0..60 {
            if number == 17 + stream % 20 {
                source.push_event(gst::event::FlushStart::new());
                source.push_event(gst::event::FlushStop::new(true));
                source.push_event(gst::event::Segment::new(&gst::FormattedSegment::<gst::ClockTime>::new()));
            }
            source.push(frame(first + number)).unwrap();
        }
        if round % 2 == 0 {
            source.push_event(gst::event::Eos::new());
            // Waits for the last frame, which leaves after all others.
            while last.get(&round) != Some(&(first + 59)) {
                let buffer = patience::receive(WATCHDOG, &frames).expect("the last frame comes").unwrap();
                note(&buffer, stream, &mut last);
            }
        }
        element.set_state(gst::State::Null).unwrap();
    }
    frames.try_iter().for_each(|buffer| note(&buffer, stream, &mut last));
}

/// Checks that a frame belongs to this stream, carries its own result, and follows its predecessors.
fn note(buffer: &gst::BufferRef, stream: u32, last: &mut BTreeMap<u32, u32>) {
    let number = buffer.offset() as u32;
    assert_eq!(seen_number(buffer), Some(number));
    assert_eq!(number >> 16, stream);
    let before = last.insert(number >> 8 & 0xff, number);
    assert!(before < Some(number), "{before:?} before {number}");
}
