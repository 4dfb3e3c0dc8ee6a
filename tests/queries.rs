//! Latency, allocation, overload and statistics: what the element reports to the pipeline.

mod common;

use std::{ops::Range, time::Duration};

use common::{patience::WATCHDOG, *};
use gst::prelude::*;
use gst_check::Harness;

fn ms(ms: u64) -> gst::ClockTime {
    gst::ClockTime::from_mseconds(ms)
}

fn push(harness: &mut Harness, numbers: Range<u32>) {
    for number in numbers {
        harness.push(frame(number)).unwrap();
    }
}

/// Takes frames that carry their own result.
fn pull(harness: &mut Harness, numbers: Range<u32>) {
    for number in numbers {
        check(&harness.pull().unwrap(), number);
    }
}

fn latency(harness: &mut Harness) -> (gst::ClockTime, Option<gst::ClockTime>) {
    let mut query = gst::query::Latency::new();
    assert!(harness.element().unwrap().static_pad("src").unwrap().query(&mut query));
    let (_, min, max) = query.result();
    (min, max)
}

/// Asks for the latency and uses it, as a pipeline does.
fn configure_latency(harness: &mut Harness) -> gst::ClockTime {
    let (min, _) = latency(harness);
    harness.push_upstream_event(gst::event::Latency::new(min));
    min
}

#[test]
fn latency_is_the_timeout_and_a_run() {
    let fake = Fake::default();
    let (element, clock) = element_by_hand(&fake);
    let mut harness = harness(&element);
    harness.set_live(true);
    assert_eq!(latency(&mut harness).0, ms(15), "no run has taken any time yet");

    // A full batch takes 4 ms by the clock.
    fake.gate.close();
    push(&mut harness, 0..8);
    fake.gate.wait_for_a_run();
    clock.advance(Duration::from_millis(4));
    fake.gate.open();
    pull(&mut harness, 0..8);
    let (min, max) = latency(&mut harness);
    assert_eq!(min, ms(15 + 4));
    assert_eq!(max, None, "the harness's upstream has no limit");

    harness.set_upstream_latency(ms(7));
    assert_eq!(latency(&mut harness).0, ms(7 + 15 + 4));

    // A smaller batch that takes longer shows that the device is busy with something else.
    fake.gate.close();
    push(&mut harness, 8..11);
    assert!(harness.push_event(gst::event::Eos::new()));
    fake.gate.wait_for_a_run();
    clock.advance(Duration::from_millis(50));
    fake.gate.open();
    pull(&mut harness, 8..11);
    assert_eq!(latency(&mut harness).0, ms(7 + 50 + 50));
}

#[test]
fn the_greatest_latency_is_what_the_queues_hold() {
    let (element, _clock) = element_by_hand(&Fake::default());
    let source = gst::Pad::builder(gst::PadDirection::Src)
        .query_function(|_, _, query| match query.view_mut() {
            gst::QueryViewMut::Latency(latency) => {
                latency.set(true, ms(1), ms(2));
                true
            }
            _ => false,
        })
        .build();
    source.link(&element.static_pad("sink").unwrap()).unwrap();
    source.set_active(true).unwrap();
    element.set_state(gst::State::Paused).unwrap();
    source.push_event(gst::event::StreamStart::new("test"));
    // 8 frames can wait for downstream. Frames that wait for a batch, or are in one, do not wait for
    // downstream.
    for (framerate, max) in [("25/1", Some(ms(2 + 8 * 40))), ("500/1", Some(ms(2 + 8 * 2))), ("0/1", None)] {
        let caps = format!("video/x-raw,format=RGB,width=4,height=4,framerate={framerate}");
        source.push_event(gst::event::Caps::new(&caps.parse().unwrap()));
        let mut query = gst::query::Latency::new();
        assert!(element.static_pad("src").unwrap().query(&mut query));
        assert_eq!(query.result(), (true, ms(1 + 15), max), "{framerate}");
    }
    // The element never announces a maximum below its minimum.
    let caps = "video/x-raw,format=RGB,width=4,height=4,framerate=30000/1";
    source.push_event(gst::event::Caps::new(&caps.parse().unwrap()));
    let mut query = gst::query::Latency::new();
    assert!(element.static_pad("src").unwrap().query(&mut query));
    assert_eq!(query.result(), (true, ms(1 + 15), Some(ms(2 + 15))));
    element.set_state(gst::State::Null).unwrap();
}

#[test]
fn a_longer_timeout_is_announced() {
    let (element, _clock) = element_by_hand(&Fake::default());
    let mut harness = harness(&element);
    let bus = bus(&element);
    let announced = || std::iter::from_fn(|| bus.pop_filtered(&[gst::MessageType::Latency])).count();
    element.set_property("batch-timeout", 16_000_000u64);
    latency(&mut harness);
    element.set_property("batch-timeout", 15_000_000u64);
    assert_eq!(announced(), 0, "nobody uses a latency yet");
    configure_latency(&mut harness);
    element.set_property("batch-timeout", 10_000_000u64);
    assert_eq!(announced(), 0, "a little less is no news");
    element.set_property("batch-timeout", 40_000_000u64);
    element.set_property("batch-timeout", 40_000_000u64);
    assert_eq!(announced(), 1);
    assert_eq!(configure_latency(&mut harness), ms(40));
    // A query alone changes nothing: the pipeline still uses 40 ms.
    element.set_property("batch-timeout", 30_000_000u64);
    assert_eq!(latency(&mut harness).0, ms(30));
    element.set_property("batch-timeout", 40_000_000u64);
    assert_eq!(announced(), 0, "it counts with as much");
}

#[test]
fn a_frame_of_more_crops_than_a_batch_needs_more_than_one_run() {
    let fake = Fake::default();
    let (element, clock) = element_by_hand(&fake);
    element.set_property_from_str("inference-region", "roi-list");
    let mut harness = harness(&element);
    harness.set_live(true);
    assert_eq!(latency(&mut harness).0, ms(15));
    let mut crowd = frame(0);
    for _ in 0..16 {
        let buffer = crowd.get_mut().unwrap();
        gst_video::VideoRegionOfInterestMeta::add(buffer, "person", (0, 0, 4, 4));
    }
    fake.gate.close();
    harness.push(crowd).unwrap();
    fake.gate.wait_for_a_run();
    clock.advance(Duration::from_millis(4));
    fake.gate.open();
    harness.pull().unwrap();
    assert_eq!(*fake.runs.lock().unwrap(), [8, 8]);
    assert_eq!(latency(&mut harness).0, ms(15 + 2 * 4));
}

#[test]
fn a_sink_that_waits_for_the_latency_does_not_hold_a_live_source_up() {
    let fake = Fake::default();
    let (element, clock) = element_by_hand(&fake);
    element.set_property("output-queue-size", 1u32);
    element.set_property("batch-size", 2u32);
    element.set_property_from_str("overload", "block");
    let source = gst::Pad::builder(gst::PadDirection::Src)
        .query_function(|_, _, query| match query.view_mut() {
            gst::QueryViewMut::Latency(latency) => {
                latency.set(true, gst::ClockTime::ZERO, Some(gst::ClockTime::ZERO));
                true
            }
            _ => false,
        })
        .build();
    let waits = std::sync::Arc::new(Gate::default());
    let (waiting, (sender, came)) = (waits.clone(), std::sync::mpsc::channel());
    let sink = gst::Pad::builder(gst::PadDirection::Sink)
        .chain_function(move |_, _, buffer| {
            waiting.pass();
            sender.send(buffer.offset()).unwrap();
            Ok(gst::FlowSuccess::Ok)
        })
        .event_function(|_, _, _| true)
        .build();
    connect(&element, &source, &sink);
    element.set_state(gst::State::Playing).unwrap();
    source.push_event(gst::event::StreamStart::new("test"));
    source.push_event(gst::event::Caps::new(&CAPS.parse().unwrap()));
    source.push_event(gst::event::Segment::new(&gst::FormattedSegment::<gst::ClockTime>::new()));
    fake.gate.close();
    (0..2).for_each(|number| assert!(source.push(frame(number)).is_ok()));
    fake.gate.wait_for_a_run();
    clock.advance(Duration::from_millis(60));
    fake.gate.open();
    (0..2).for_each(|number| assert_eq!(came.recv(), Ok(number)));
    // 120 ms: at 30 frames a second a sink holds four frames back, however quickly they are answered.
    let mut query = gst::query::Latency::new();
    assert!(element.static_pad("src").unwrap().query(&mut query));
    assert_eq!(query.result(), (true, ms(120), Some(ms(120))));
    sink.push_event(gst::event::Latency::new(ms(120)));
    waits.close();
    let (pushed, is_pushed) = std::sync::mpsc::channel();
    let pushing = std::thread::spawn(move || {
        for number in 2..6 {
            source.push(frame(number)).unwrap();
        }
        pushed.send(()).unwrap();
        source
    });
    let in_time = patience::receive(WATCHDOG, &is_pushed);
    waits.open();
    let source = pushing.join().unwrap();
    assert_eq!(in_time, Some(Ok(())), "the source was held up");
    source.push_event(gst::event::Eos::new());
    (2..6).for_each(|number| assert_eq!(came.recv(), Ok(number)));
    element.set_state(gst::State::Null).unwrap();
}

/// The element's answer to an ALLOCATION query if downstream answers with `downstream`.
fn allocation(
    element: &gstrtmpose::posebatch::RtmPoseBatch,
    downstream: Option<fn(&mut gst::query::Allocation)>,
) -> (Vec<(u32, u32, u32)>, bool) {
    let sink = gst::Pad::builder(gst::PadDirection::Sink)
        .event_function(|_, _, _| true)
        .query_function(move |_, _, query| match (query.view_mut(), downstream) {
            (gst::QueryViewMut::Allocation(query), Some(answer)) => {
                answer(query);
                true
            }
            _ => false,
        })
        .build();
    let source = gst::Pad::builder(gst::PadDirection::Src).build();
    connect(element, &source, &sink);
    element.set_state(gst::State::Playing).unwrap();
    source.push_event(gst::event::StreamStart::new("test"));
    let caps: gst::Caps = CAPS.parse().unwrap();
    source.push_event(gst::event::Caps::new(&caps));
    let mut query = gst::query::Allocation::new(Some(&caps), true);
    assert!(source.peer_query(&mut query), "the element answers even where downstream does not");
    let pools = query.allocation_pools().map(|(_, size, min, max)| (size, min, max)).collect();
    let meta = query.find_allocation_meta::<gst_video::VideoMeta>().is_some();
    // With that meta an element upstream would leave the whole picture in the frame, and crops would be at the
    // wrong place.
    assert_eq!(query.find_allocation_meta::<gst_video::VideoCropMeta>(), None);
    element.set_state(gst::State::Null).unwrap();
    (pools, meta)
}

#[test]
fn allocation_asks_for_the_frames_that_are_kept() {
    let fresh = || element(&Fake::default());
    assert_eq!(allocation(&fresh(), None), (vec![(48, 9, 0)], false), "no answer from downstream");
    assert_eq!(allocation(&fresh(), Some(|_| ())), (vec![(48, 9, 0)], false), "no pool");
    let with_pool = |query: &mut gst::query::Allocation| {
        query.add_allocation_pool(gst::BufferPool::NONE, 64, 2, 5);
        query.add_allocation_pool(gst::BufferPool::NONE, 64, 0, 0);
        query.add_allocation_meta::<gst_video::VideoCropMeta>(None);
        query.add_allocation_meta::<gst_video::VideoMeta>(None);
    };
    assert_eq!(allocation(&fresh(), Some(with_pool)), (vec![(64, 11, 14), (64, 9, 0)], true));
    let small = fresh();
    small.set_property("input-queue-size", 3u32);
    assert_eq!(allocation(&small, None).0, [(48, 4, 0)]);
}

/// Holds back a run, so that the network seems slow: 8 frames in a run of 100 ms.
fn overloaded(live: bool, overload: &str) -> (Harness, Fake, gst::Bus) {
    let fake = Fake::default();
    let (element, clock) = element_by_hand(&fake);
    element.set_property_from_str("overload", overload);
    let mut harness = Harness::with_element(&element, Some("sink"), Some("src"));
    harness.set_live(live);
    harness.set_src_caps_str(CAPS);
    harness.play();
    configure_latency(&mut harness);
    let bus = bus(&element);
    fake.gate.close();
    push(&mut harness, 0..8);
    fake.gate.wait_for_a_run();
    clock.advance(Duration::from_millis(100));
    fake.gate.open();
    pull(&mut harness, 0..8);
    // From now on a second batch is held in the network.
    fake.gate.close();
    push(&mut harness, 8..16);
    fake.gate.wait_for_a_run();
    (harness, fake, bus)
}

#[test]
fn a_live_stream_goes_on_without_inference_when_overloaded() {
    for overload in ["auto", "skip-inference"] {
        let (mut harness, fake, bus) = overloaded(true, overload);
        // 8 more crops are still in time: max(15, 100) + 100 ms were announced.
        push(&mut harness, 16..40);
        fake.gate.open();
        assert!(harness.push_event(gst::event::Eos::new()));
        pull(&mut harness, 8..16);
        let mut skipped = 0;
        for number in 16..40 {
            let buffer = harness.pull().unwrap();
            assert_eq!(buffer.offset(), number, "in order, none lost");
            skipped += u64::from(people(&buffer).is_none());
        }
        assert!(skipped > 0, "{overload}");
        let stats: gst::Structure = harness.element().unwrap().property("stats");
        assert_eq!(stats.get::<u64>("frames-skipped"), Ok(skipped));
        assert_eq!(stats.get::<bool>("live"), Ok(true));
        let (mut of_qos, mut told) = (0, 0);
        while let Some(message) = bus.pop() {
            match message.view() {
                gst::MessageView::Qos(_) => of_qos += 1,
                gst::MessageView::Warning(warning) => {
                    let text = warning.error().message().to_string();
                    assert!(text.contains("passed without inference, because the model is slower"), "{text}");
                    told += text.split(' ').next().unwrap().parse::<u64>().unwrap();
                }
                _ => (),
            }
        }
        assert_eq!(of_qos, skipped, "a QoS message for each");
        assert_eq!(told, skipped, "a warning that counts them, or two");
    }
}

#[test]
fn a_stored_stream_waits_when_overloaded() {
    for (live, overload) in [(false, "auto"), (true, "block")] {
        let (mut harness, fake, _bus) = overloaded(live, overload);
        push(&mut harness, 16..30);
        fake.gate.open();
        assert!(harness.push_event(gst::event::Eos::new()));
        pull(&mut harness, 8..30);
    }
}

#[test]
fn frames_that_downstream_calls_late_go_on_without_inference() {
    let (element, _clock) = element_by_hand(&Fake::default());
    let mut harness = harness(&element);
    let bus = bus(&element);
    let late_by_a_second = || {
        let one_second = 1_000_000_000;
        gst::event::Qos::builder(gst::QOSType::Underflow, 0.5, one_second)
            .timestamp(gst::ClockTime::ZERO)
            .build()
    };
    harness.push_upstream_event(late_by_a_second());
    // By default any lateness is allowed. Next, 900 ms are allowed: frame 3 is due at 99 ms, frame 4 at 132 ms.
    push(&mut harness, 0..1);
    element.set_property("max-lateness", 900_000_000i64);
    push(&mut harness, 1..6);
    assert!(harness.push_event(gst::event::Eos::new()));
    check(&harness.pull().unwrap(), 0);
    for number in 1..6 {
        let buffer = harness.pull().unwrap();
        assert_eq!(seen_number(&buffer), (number >= 4).then_some(number), "frame {number}");
    }
    let messages = std::iter::from_fn(|| bus.pop_filtered(&[gst::MessageType::Qos]));
    assert_eq!(messages.count(), 3);
}

#[test]
fn frames_between_inferred_ones_carry_their_people_on() {
    let fake = Fake::default();
    let (element, _clock) = element_by_hand(&fake);
    element.set_property("inference-interval", 3u32);
    let mut harness = harness(&element);
    let check_run = |harness: &mut Harness, first: u32| {
        push(harness, first..first + 7);
        assert!(harness.push_event(gst::event::Eos::new()));
        for number in first..first + 7 {
            let buffer = harness.pull().unwrap();
            let people = people(&buffer).unwrap();
            let inferred = first + (number - first) / 3 * 3;
            assert_eq!(buffer.offset(), u64::from(number));
            assert_eq!(people.people[0].key_points[0].score, inferred as f32);
            assert_eq!(people.carried, number != inferred);
        }
    };
    check_run(&mut harness, 0);
    assert_eq!(fake.runs.lock().unwrap().iter().sum::<usize>(), 3);
    // A new stream does not carry people of the old one.
    assert!(harness.push_event(gst::event::StreamStart::new("next")));
    assert!(harness.push_event(gst::event::Segment::new(&gst::FormattedSegment::<gst::ClockTime>::new())));
    check_run(&mut harness, 100);

    // A frame behind one that could not be inferred carries no people either.
    element.set_property_from_str("on-error", "passthrough");
    assert!(harness.push_event(gst::event::StreamStart::new("failing")));
    assert!(harness.push_event(gst::event::Segment::new(&gst::FormattedSegment::<gst::ClockTime>::new())));
    *fake.behaviour.lock().unwrap() = Behaviour::Fail;
    push(&mut harness, 0..3);
    assert!(harness.push_event(gst::event::Eos::new()));
    for _ in 0..3 {
        assert!(people(&harness.pull().unwrap()).is_none());
    }
}

#[test]
fn figures_add_up_and_are_posted() {
    let fake = Fake::default();
    let element = element(&fake);
    element.set_property("stats-interval", 1u64);
    let mut harness = harness(&element);
    let bus = bus(&element);
    push(&mut harness, 0..100);
    assert!(harness.push_event(gst::event::Eos::new()));
    pull(&mut harness, 0..100);
    let stats: gst::Structure = element.property("stats");
    let runs = fake.runs.lock().unwrap();
    assert_eq!(stats.get::<u64>("frames-in"), Ok(100));
    assert_eq!(stats.get::<u64>("crops"), Ok(100));
    assert_eq!(stats.get::<u64>("batches"), Ok(runs.len() as u64));
    assert_eq!(stats.get::<u64>("padding"), Ok(0));
    assert_eq!(stats.get::<u32>("streams"), Ok(1));
    let fills = stats.get::<gst::Array>("fills").unwrap();
    let fills: Vec<_> = fills.iter().map(|fill| fill.get::<u64>().unwrap()).collect();
    let counted: Vec<_> =
        (1..=8).map(|crops| runs.iter().filter(|rows| **rows == crops).count() as u64).collect();
    assert_eq!(fills, counted, "runs by their number of crops");
    let by_size = stats.get::<gst::Structure>("inference-ms-by-size").unwrap();
    assert_eq!(by_size.n_fields(), 2 * counted.iter().filter(|runs| **runs > 0).count());
    assert!(!stats.has_field("gpu-power"), "no GPU is in use");
    assert_eq!(stats.get::<f64>("mean-fill"), Ok(100.0 / (8.0 * runs.len() as f64)));
    assert_eq!(stats.get::<bool>("live"), Ok(false));
    let message = patience::message(&bus, &[gst::MessageType::Element]).unwrap();
    assert_eq!(message.structure().unwrap().name(), "rtmposebatch-stats");
    assert!(message.structure().unwrap().n_fields() == stats.n_fields());
    let page = include_str!("../docs/elements.md");
    for field in stats.fields() {
        assert!(page.contains(&format!("`{field}`")), "{field} is missing in docs/elements.md");
    }
}

#[test]
fn a_skeleton_that_does_not_fit_is_refused() {
    for (skeleton, part) in [("coco-17", "17 key points"), ("walrus", "neither one of coco-17")] {
        let element = element(&Fake::default());
        let bus = bus(&element);
        element.set_property("skeleton", skeleton);
        assert!(element.set_state(gst::State::Ready).is_err());
        let errors = errors_and_warnings(&bus).0;
        assert!(errors.len() == 1 && errors[0].contains(part), "{errors:?}");
    }
}

/// The pad template contains CUDA memory, for elements that ask before anything is loaded. A network that runs
/// elsewhere does not accept it.
#[test]
fn frames_on_a_card_are_taken_only_where_the_network_runs_there() {
    let element = element(&Fake::default());
    let on_a_card: gst::Caps =
        "video/x-raw(memory:CUDAMemory),format=NV12,width=4,height=4,framerate=30/1".parse().unwrap();
    let pads = [element.static_pad("sink").unwrap(), element.static_pad("src").unwrap()];
    assert!(pads.iter().all(|pad| pad.query_caps(None).can_intersect(&on_a_card)));
    assert!(pads[0].query_accept_caps(&on_a_card));
    element.set_state(gst::State::Ready).unwrap();
    for pad in &pads {
        let caps = pad.query_caps(None);
        assert!(!caps.can_intersect(&on_a_card), "{caps}");
        assert!(caps.can_intersect(&CAPS.parse::<gst::Caps>().unwrap()), "{caps}");
        assert!(pad.query_caps(Some(&on_a_card)).is_empty());
    }
    assert!(!pads[0].query_accept_caps(&on_a_card));
    assert!(pads[0].query_accept_caps(&CAPS.parse::<gst::Caps>().unwrap()));
    // There is no context to share either.
    let mut context = gst::query::Context::new("gst.cuda.context");
    assert!(!pads[0].query(&mut context));
    element.set_state(gst::State::Null).unwrap();
}
