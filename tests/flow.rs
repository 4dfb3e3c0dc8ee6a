//! Flushes, flow returns, states and faults of the model.

mod common;

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering},
    mpsc,
};

use common::{patience::WATCHDOG, *};
use gst::prelude::*;
use gstrtmpose::{
    engine::{Error, ErrorKind},
    posebatch::RtmPoseBatch,
};

/// The element between two pads of the test. The second pad answers as the test says.
struct Rig {
    element: RtmPoseBatch,
    source: gst::Pad,
    sink: gst::Pad,
    bus: gst::Bus,
    answer: Arc<Mutex<Result<gst::FlowSuccess, gst::FlowError>>>,
    frames: mpsc::Receiver<gst::Buffer>,
    events: mpsc::Receiver<gst::Event>,
}

impl Rig {
    fn new(element: RtmPoseBatch) -> Self {
        let answer = Arc::new(Mutex::new(Ok(gst::FlowSuccess::Ok)));
        let (frame_sender, frames) = mpsc::channel();
        let (event_sender, events) = mpsc::channel();
        let source = gst::Pad::builder(gst::PadDirection::Src).name("source").build();
        let given = answer.clone();
        let sink = gst::Pad::builder(gst::PadDirection::Sink)
            .name("sink")
            .chain_function(move |_, _, buffer| {
                frame_sender.send(buffer).unwrap();
                *given.lock().unwrap()
            })
            .event_function(move |_, _, event| event_sender.send(event).is_ok())
            .build();
        connect(&element, &source, &sink);
        let bus = bus(&element);
        element.set_state(gst::State::Playing).unwrap();
        let rig = Self { element, source, sink, bus, answer, frames, events };
        rig.start_stream();
        rig
    }

    fn start_stream(&self) {
        let segment = gst::FormattedSegment::<gst::ClockTime>::new();
        self.source.push_event(gst::event::StreamStart::new("test"));
        self.source.push_event(gst::event::Caps::new(&CAPS.parse().unwrap()));
        self.source.push_event(gst::event::Segment::new(&segment));
    }

    /// Pushes frames until one is refused; returns the refusal.
    fn push_until_refused(&self) -> gst::FlowError {
        (0..).find_map(|number| self.source.push(frame(number)).err()).unwrap()
    }

    /// The same on its own thread.
    fn push_until_refused_elsewhere(&self) -> std::thread::JoinHandle<gst::FlowError> {
        let source = self.source.clone();
        std::thread::spawn(move || (0..).find_map(|number| source.push(frame(number)).err()).unwrap())
    }

    fn push(&self, numbers: std::ops::Range<u32>) {
        for number in numbers {
            self.source.push(frame(number)).unwrap();
        }
    }

    fn wait_for_event(&self, wanted: gst::EventType) {
        while self.events.recv().unwrap().type_() != wanted {}
    }

    fn errors(&self) -> Vec<String> {
        errors_and_warnings(&self.bus).0
    }

    /// A flush whose answer does not matter.
    fn flush_alone(&self) {
        self.source.push_event(gst::event::FlushStart::new());
        self.source.push_event(gst::event::FlushStop::new(true));
    }

    fn flush(&self) {
        assert!(self.source.push_event(gst::event::FlushStart::new()));
        assert!(self.source.push_event(gst::event::FlushStop::new(true)));
        self.source.push_event(gst::event::Segment::new(&gst::FormattedSegment::<gst::ClockTime>::new()));
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.element.set_state(gst::State::Null).unwrap();
        self.source.set_active(false).unwrap();
        self.sink.set_active(false).unwrap();
    }
}

#[test]
fn downstreams_refusal_comes_back_from_the_chain_function() {
    for refusal in [gst::FlowError::NotLinked, gst::FlowError::Error, gst::FlowError::NotNegotiated] {
        let rig = Rig::new(element(&Fake::default()));
        *rig.answer.lock().unwrap() = Err(refusal);
        assert_eq!(rig.push_until_refused(), refusal);
        assert_eq!(rig.errors(), [""; 0], "the source reports it");
    }
}

#[test]
fn a_refusal_after_eos_is_reported_by_the_element() {
    let (element, _clock) = element_by_hand(&Fake::default());
    let rig = Rig::new(element);
    *rig.answer.lock().unwrap() = Err(gst::FlowError::Error);
    rig.source.push(frame(0)).unwrap();
    assert!(rig.source.push_event(gst::event::Eos::new()));
    rig.frames.recv().unwrap();
    let message = patience::message(&rig.bus, &[gst::MessageType::Error]);
    let gst::MessageView::Error(error) = message.as_ref().unwrap().view() else { unreachable!() };
    assert_eq!(error.error().message(), "Internal data stream error.");
}

#[test]
fn eos_while_downstream_flushes_is_no_error() {
    let rig = Rig::new(element(&Fake::default()));
    *rig.answer.lock().unwrap() = Err(gst::FlowError::Flushing);
    assert_eq!(rig.push_until_refused(), gst::FlowError::Flushing);
    assert!(!rig.source.push_event(gst::event::Eos::new()), "it cannot go through");
    assert_eq!(rig.errors(), [""; 0]);
}

#[test]
fn downstreams_eos_lasts_until_a_new_segment() {
    let rig = Rig::new(element(&Fake::default()));
    *rig.answer.lock().unwrap() = Err(gst::FlowError::Eos);
    assert_eq!(rig.push_until_refused(), gst::FlowError::Eos);
    *rig.answer.lock().unwrap() = Ok(gst::FlowSuccess::Ok);
    while rig.frames.try_recv().is_ok() {}
    rig.source.push_event(gst::event::Segment::new(&gst::FormattedSegment::<gst::ClockTime>::new()));
    rig.source.push(frame(77)).unwrap();
    check(&rig.frames.recv().unwrap(), 77);
    assert!(rig.source.push_event(gst::event::Eos::new()), "EOS goes through");
    rig.wait_for_event(gst::EventType::Eos);
}

#[test]
fn downstreams_eos_lets_the_queued_eos_through() {
    for _ in 0..100 {
        let (element, _clock) = element_by_hand(&Fake::default());
        let rig = Rig::new(element);
        *rig.answer.lock().unwrap() = Err(gst::FlowError::Eos);
        rig.push(0..5);
        assert!(rig.source.push_event(gst::event::Eos::new()));
        rig.wait_for_event(gst::EventType::Eos);
        assert_eq!(rig.frames.try_iter().count(), 1, "downstream gets no frame after its EOS");
        assert_eq!(rig.errors(), [""; 0]);
    }
}

#[test]
fn a_frame_waits_for_those_that_downstreams_eos_made_useless() {
    for _ in 0..20 {
        let fake = Fake::default();
        let element = element(&fake);
        element.set_property_from_str("inference-region", "auto");
        element.set_property("batch-size", 1u32);
        element.set_property("track-lookahead", 8u32);
        let rig = Rig::new(element);
        let with_person = |number| {
            let mut buffer = frame(number);
            gst_video::VideoRegionOfInterestMeta::add(buffer.get_mut().unwrap(), "person", (0, 0, 4, 4));
            buffer
        };
        // Downstream answers EOS while the second frame is with the network.
        let mut answer = rig.answer.lock().unwrap();
        rig.source.push(with_person(0)).unwrap();
        rig.frames.recv().unwrap();
        fake.gate.close();
        rig.source.push(with_person(1)).unwrap();
        fake.gate.wait_for_a_run();
        rig.source.push_event(gst::event::Segment::new(&gst::FormattedSegment::<gst::ClockTime>::new()));
        // This frame has no boxes of its own: it carries the people of the frame before.
        rig.source.push(frame(2)).unwrap();
        *answer = Err(gst::FlowError::Eos);
        drop(answer);
        fake.gate.open();
        let buffer = patience::receive(WATCHDOG, &rig.frames);
        let buffer = buffer.unwrap_or_else(|| panic!("{:?}", rig.errors())).unwrap();
        assert_eq!(buffer.offset(), 2);
        assert!(people(&buffer).is_some());
        assert_eq!(rig.errors(), [""; 0]);
    }
}

#[test]
fn a_new_link_starts_the_stream_again() {
    let rig = Rig::new(element(&Fake::default()));
    *rig.answer.lock().unwrap() = Err(gst::FlowError::NotLinked);
    assert_eq!(rig.push_until_refused(), gst::FlowError::NotLinked);
    *rig.answer.lock().unwrap() = Ok(gst::FlowSuccess::Ok);
    rig.sink.push_event(gst::event::Reconfigure::new());
    rig.source.push(frame(5)).unwrap();
    while rig.frames.recv().unwrap().offset() != 5 {}
}

#[test]
fn a_flush_drops_what_runs_and_what_waits() {
    for round in 0..200 {
        let fake = Fake::default();
        let (element, _clock) = element_by_hand(&fake);
        let rig = Rig::new(element);
        fake.gate.close();
        // The first batch is held in the network, others wait.
        rig.push(0..8 + round % 8);
        fake.gate.wait_for_a_run();
        rig.flush();
        rig.source.push(frame(1000)).unwrap();
        assert!(rig.source.push_event(gst::event::Eos::new()));
        fake.gate.open();
        check(&rig.frames.recv().unwrap(), 1000);
        rig.wait_for_event(gst::EventType::Eos);
        assert_eq!(rig.frames.try_iter().count(), 0);
    }
}

#[test]
fn a_flush_frees_a_waiting_chain_function() {
    for round in 0..100 {
        let fake = Fake::default();
        let rig = Rig::new(element(&fake));
        fake.gate.close();
        let pushing = rig.push_until_refused_elsewhere();
        fake.gate.wait_for_a_run();
        if round % 2 == 0 {
            // Half of the rounds wait until the queue must be full.
            while rig.element.property::<gst::Structure>("stats").get::<u32>("input-queue").unwrap() < 15 {
                std::thread::yield_now();
            }
        }
        assert!(rig.source.push_event(gst::event::FlushStart::new()));
        assert_eq!(pushing.join().unwrap(), gst::FlowError::Flushing);
        fake.gate.open();
        assert!(rig.source.push_event(gst::event::FlushStop::new(true)));
    }
}

#[test]
fn a_flush_ends_a_serialized_query() {
    for _ in 0..100 {
        let fake = Fake::default();
        let (element, _clock) = element_by_hand(&fake);
        let rig = Rig::new(element);
        fake.gate.close();
        rig.source.push(frame(0)).unwrap();
        let source = rig.source.clone();
        let asking = std::thread::spawn(move || source.peer_query(&mut gst::query::Drain::new()));
        // The query cuts the batch, so the run shows that the query is queued.
        fake.gate.wait_for_a_run();
        assert!(rig.source.push_event(gst::event::FlushStart::new()));
        assert!(!asking.join().unwrap());
        fake.gate.open();
        assert!(rig.source.push_event(gst::event::FlushStop::new(true)));
    }
}

#[test]
fn stopping_ends_everything_that_waits() {
    for _ in 0..100 {
        let fake = Fake::default();
        let rig = Rig::new(element(&fake));
        fake.gate.close();
        let pushing = rig.push_until_refused_elsewhere();
        fake.gate.wait_for_a_run();
        rig.element.set_state(gst::State::Ready).unwrap();
        assert_eq!(pushing.join().unwrap(), gst::FlowError::Flushing);
        fake.gate.open();
    }
}

#[test]
fn up_and_down_a_hundred_times_leaves_no_executor() {
    let fake = Fake::default();
    let element = element(&fake);
    let rig = Rig::new(element);
    for round in 0..100 {
        rig.element.set_state(gst::State::Null).unwrap();
        assert_eq!(fake.executors.load(Ordering::SeqCst), 0);
        rig.element.set_state(gst::State::Playing).unwrap();
        rig.start_stream();
        rig.source.push(frame(round)).unwrap();
        if round % 2 == 0 {
            check(&rig.frames.recv().unwrap(), round);
        } else {
            rig.element.set_state(gst::State::Null).unwrap();
            while rig.frames.try_recv().is_ok() {}
        }
    }
}

#[test]
fn a_loading_that_fails_fails_the_state_change_once() {
    let fake = Fake::default();
    let element = element(&fake);
    let bus = bus(&element);
    *fake.load_error.lock().unwrap() = Some(Error::new(ErrorKind::ModelMissing, "no such model"));
    assert!(element.set_state(gst::State::Ready).is_err());
    assert_eq!(errors_and_warnings(&bus).0, ["no such model"]);
    // The next try can succeed.
    element.set_state(gst::State::Ready).unwrap();
    assert_eq!(element.property::<Option<String>>("active-provider").as_deref(), Some("fake"));
    element.set_state(gst::State::Null).unwrap();
    assert_eq!(element.property::<Option<String>>("active-provider"), None);
}

#[test]
fn a_change_to_null_interrupts_loading() {
    for _ in 0..50 {
        let fake = Fake::default();
        let element = element(&fake);
        let bus = bus(&element);
        fake.load_gate.close();
        let loading = {
            let element = element.clone();
            std::thread::spawn(move || element.set_state(gst::State::Ready))
        };
        fake.load_gate.wait_for_a_run();
        let stopping = {
            let element = element.clone();
            std::thread::spawn(move || element.set_state(gst::State::Null))
        };
        // The interruption is requested before the change waits. Loading notices it once it continues.
        while !testing_is_cancelled(&element) {
            std::thread::yield_now();
        }
        fake.load_gate.open();
        assert!(loading.join().unwrap().is_err());
        stopping.join().unwrap().unwrap();
        assert_eq!(element.current_state(), gst::State::Null);
        assert_eq!(errors_and_warnings(&bus).0, [""; 0], "an interruption is no error");
    }
}

#[test]
fn a_change_to_null_is_heard_before_the_loading_has_begun() {
    use gst::glib::{ffi, translate::ToGlibPtr};

    for _ in 0..50 {
        let element = element(&Fake::default());
        let bus = bus(&element);
        let raw: *mut gst::ffi::GstElement = element.upcast_ref::<gst::Element>().to_glib_none().0;
        // SAFETY: the element lives, and this thread holds the lock, which it may take again.
        let lock = unsafe { &raw mut (*raw).state_lock };
        unsafe { ffi::g_rec_mutex_lock(lock) };
        // This change waits for the one under way, which waits for GStreamer's lock and has not come to
        // loading.
        let stopping = {
            let element = element.clone();
            std::thread::spawn(move || element.set_state(gst::State::Null))
        };
        while !testing_is_cancelled(&element) {
            std::thread::yield_now();
        }
        assert!(element.set_state(gst::State::Ready).is_err());
        // SAFETY: locked above.
        unsafe { ffi::g_rec_mutex_unlock(lock) };
        stopping.join().unwrap().unwrap();
        assert_eq!(errors_and_warnings(&bus).0, [""; 0], "an interruption is no error");
        // The next start is not interrupted.
        element.set_state(gst::State::Ready).unwrap();
        element.set_state(gst::State::Null).unwrap();
    }
}

fn testing_is_cancelled(element: &RtmPoseBatch) -> bool {
    gstrtmpose::posebatch::testing::loading_is_cancelled(element)
}

#[test]
fn loading_shows_its_progress() {
    let element = element(&Fake::default());
    let bus = bus(&element);
    element.set_state(gst::State::Ready).unwrap();
    let kinds: Vec<_> = std::iter::from_fn(|| bus.pop_filtered(&[gst::MessageType::Progress]))
        .map(|message| match message.view() {
            gst::MessageView::Progress(progress) => progress.get().0,
            _ => unreachable!(),
        })
        .collect();
    assert_eq!(kinds.first(), Some(&gst::ProgressType::Start));
    assert_eq!(kinds.last(), Some(&gst::ProgressType::Complete));
    element.set_state(gst::State::Null).unwrap();
}

#[test]
fn an_inference_error_stops_the_stream_with_one_message() {
    for behaviour in [Behaviour::Fail, Behaviour::Panic] {
        let fake = Fake::default();
        let rig = Rig::new(element(&fake));
        *fake.behaviour.lock().unwrap() = behaviour.clone();
        assert_eq!(rig.push_until_refused(), gst::FlowError::Error);
        let errors = rig.errors();
        assert_eq!(errors.len(), 1, "{behaviour:?}: {errors:?}");
        assert!(errors[0].contains("the fake network") && errors[0].contains("on-error"), "{errors:?}");
        assert_eq!(rig.frames.try_iter().count(), 0);
    }
}

#[test]
fn an_inference_error_can_be_passed_over() {
    for behaviour in [Behaviour::Fail, Behaviour::Panic] {
        let fake = Fake::default();
        let rig = Rig::new(element(&fake));
        rig.element.set_property_from_str("on-error", "passthrough");
        rig.source.push(frame(0)).unwrap();
        check(&rig.frames.recv().unwrap(), 0);
        *fake.behaviour.lock().unwrap() = behaviour.clone();
        for number in 1..100 {
            rig.source.push(frame(number)).unwrap();
        }
        for number in 1..100 {
            let buffer = rig.frames.recv().unwrap();
            assert_eq!(buffer.offset(), number);
            assert!(people(&buffer).is_none());
        }
        let (errors, warnings) = errors_and_warnings(&rig.bus);
        assert_eq!(errors, [""; 0]);
        assert_eq!(warnings.len(), 1, "{behaviour:?}: {warnings:?}");
        // A network that failed for a while answers again; a network that panicked is gone.
        *fake.behaviour.lock().unwrap() = Behaviour::Answer;
        rig.source.push(frame(100)).unwrap();
        let seen = seen_number(&rig.frames.recv().unwrap());
        assert_eq!(seen.is_some(), matches!(behaviour, Behaviour::Fail));
    }
}

#[test]
fn a_frame_before_its_caps_is_an_error() {
    let element = element(&Fake::default());
    let bus = bus(&element);
    element.set_state(gst::State::Playing).unwrap();
    let sink = element.static_pad("sink").unwrap();
    sink.send_event(gst::event::StreamStart::new("test"));
    sink.send_event(gst::event::Segment::new(&gst::FormattedSegment::<gst::ClockTime>::new()));
    assert_eq!(sink.chain(frame(0)), Err(gst::FlowError::NotNegotiated));
    let errors = errors_and_warnings(&bus).0;
    assert!(errors.len() == 1 && errors[0].contains("caps"), "{errors:?}");
    element.set_state(gst::State::Null).unwrap();
}

#[test]
fn a_frame_smaller_than_its_caps_is_an_inference_error() {
    let rig = Rig::new(element(&Fake::default()));
    rig.element.set_property_from_str("on-error", "passthrough");
    rig.source.push(gst::Buffer::with_size(7).unwrap()).unwrap();
    assert!(people(&rig.frames.recv().unwrap()).is_none());
    let warnings = errors_and_warnings(&rig.bus).1;
    assert!(warnings.len() == 1 && warnings[0].contains("7 bytes"), "{warnings:?}");
}

#[test]
fn a_property_set_too_late_warns() {
    let rig = Rig::new(element(&Fake::default()));
    rig.element.set_property("batch-size", 3u32);
    // These properties take effect at once.
    rig.element.set_property("max-people", 3u32);
    rig.element.set_property("adaptive-timeout", false);
    rig.element.set_property("max-lateness", 5i64);
    rig.element.set_property("inference-interval", 2u32);
    let warnings = errors_and_warnings(&rig.bus).1;
    assert!(warnings.len() == 1 && warnings[0].contains("batch-size"), "{warnings:?}");
}

#[test]
fn a_timeout_in_milliseconds_warns_at_start() {
    for (timeout, warns) in [(0u64, 0), (15, 1), (99_999, 1), (100_000, 0), (15_000_000, 0)] {
        let element = element(&Fake::default());
        let bus = bus(&element);
        element.set_property("batch-timeout", timeout);
        element.set_state(gst::State::Ready).unwrap();
        assert_eq!(errors_and_warnings(&bus).1.len(), warns, "{timeout}");
        element.set_state(gst::State::Null).unwrap();
    }
}

#[test]
fn races_of_flush_stop_and_frames_lose_no_order() {
    let fake = Fake::default();
    *fake.behaviour.lock().unwrap() = Behaviour::Delay(200);
    let rig = Rig::new(element(&fake));
    // A source sends frames and FLUSH_STOP from one thread or under one lock. FLUSH_START comes at any time.
    let source = Mutex::new(0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..3000 {
                let mut next = source.lock().unwrap();
                // A frame is refused if a flush was faster.
                let _ = rig.source.push(frame(*next));
                *next += 1;
            }
        });
        for _ in 0..300 {
            assert!(rig.source.push_event(gst::event::FlushStart::new()));
            let _source = source.lock().unwrap();
            assert!(rig.source.push_event(gst::event::FlushStop::new(true)));
            rig.source.push_event(gst::event::Segment::new(&gst::FormattedSegment::<gst::ClockTime>::new()));
        }
    });
    assert!(rig.source.push_event(gst::event::Eos::new()));
    rig.wait_for_event(gst::EventType::Eos);
    let mut last = None;
    for buffer in rig.frames.try_iter() {
        let number = buffer.offset() as u32;
        assert!(last < Some(number), "{last:?} before {number}");
        assert_eq!(seen_number(&buffer), Some(number));
        last = Some(number);
    }
}

#[test]
fn sticky_events_outlive_a_flush() {
    for _ in 0..100 {
        let fake = Fake::default();
        let (element, _clock) = element_by_hand(&fake);
        let rig = Rig::new(element);
        fake.gate.close();
        rig.push(0..8);
        fake.gate.wait_for_a_run();
        let mut tags = gst::TagList::new();
        tags.get_mut().unwrap().add::<gst::tags::Title>(&"kept", gst::TagMergeMode::Append);
        assert!(rig.source.push_event(gst::event::Tag::new(tags)), "queued behind frames that stand still");
        rig.flush();
        fake.gate.open();
        rig.source.push(frame(8)).unwrap();
        assert!(rig.source.push_event(gst::event::Eos::new()));
        rig.wait_for_event(gst::EventType::Tag);
        rig.wait_for_event(gst::EventType::Eos);
    }
}

#[test]
fn the_element_is_freed_after_flushes_and_new_streams() {
    let rig = Rig::new(element(&Fake::default()));
    for number in 0..3 {
        rig.flush();
        rig.source.push(frame(number)).unwrap();
        check(&rig.frames.recv().unwrap(), number);
        assert!(rig.source.push_event(gst::event::Eos::new()));
        rig.wait_for_event(gst::EventType::Eos);
        rig.start_stream();
    }
    rig.element.set_state(gst::State::Null).unwrap();
    rig.errors();
    let element = rig.element.downgrade();
    drop(rig);
    assert!(element.upgrade().is_none());
}

#[test]
fn nothing_starts_again_while_the_element_stops() {
    let rig = Rig::new(element(&Fake::default()));
    let pad = rig.element.static_pad("src").unwrap();
    assert!(rig.source.push_event(gst::event::Eos::new()));
    rig.wait_for_event(gst::EventType::Eos);
    // A stop deactivates the source pad first. What comes before the sink pad's deactivation must not wake the
    // task.
    pad.set_active(false).unwrap();
    rig.start_stream();
    assert_eq!(pad.task_state(), gst::TaskState::Stopped, "after a new stream");
    rig.flush_alone();
    assert_eq!(pad.task_state(), gst::TaskState::Stopped, "after a flush");
}

/// A flush begins while a new stream's event is already on its way through the pad. If that event started the task again, the
/// flush would wait for it, and for frames that do not come. (GStreamer lets no other event pass after EOS.)
#[test]
fn a_new_stream_does_not_end_a_flush_that_has_begun() {
    let rig = Rig::new(element(&Fake::default()));
    let [sink, src] = ["sink", "src"].map(|name| rig.element.static_pad(name).unwrap());
    for _ in 0..20 {
        assert!(rig.source.push_event(gst::event::Eos::new()));
        rig.wait_for_event(gst::EventType::Eos);
        let flushes = Arc::new(AtomicUsize::new(0));
        let counted = flushes.clone();
        let probe = sink.add_probe(gst::PadProbeType::EVENT_DOWNSTREAM, move |pad, info| {
            let is_new_stream =
                info.event().is_some_and(|event| event.type_() == gst::EventType::StreamStart);
            if is_new_stream && counted.fetch_add(1, Ordering::SeqCst) == 0 {
                // A flush does not wait for the streaming thread, so it can come from here as from any other.
                assert!(pad.send_event(gst::event::FlushStart::new()));
            }
            gst::PadProbeReturn::Ok
        });
        rig.source.push_event(gst::event::StreamStart::new("next"));
        assert_ne!(flushes.load(Ordering::SeqCst), 0, "the event did not reach the pad");
        assert_eq!(src.task_state(), gst::TaskState::Paused);
        sink.remove_probe(probe.unwrap());
        assert!(rig.source.push_event(gst::event::FlushStop::new(true)));
        rig.start_stream();
        rig.push(0..3);
        (0..3).for_each(|number| check(&rig.frames.recv().unwrap(), number));
    }
}

#[test]
fn a_new_stream_right_behind_eos_is_not_refused() {
    let rig = Rig::new(element(&Fake::default()));
    for round in 0..5000 {
        rig.source.push(frame(round)).unwrap();
        assert!(rig.source.push_event(gst::event::Eos::new()));
        // The task pauses after EOS. The new stream comes a little earlier or later each time.
        check(&rig.frames.recv().unwrap(), round);
        (0..round % 500).for_each(|_| std::hint::spin_loop());
        rig.start_stream();
    }
}
