//! Frames, events and queries: all of them, once and in order, and batches that are cut at the right moment.

mod common;

use std::time::Duration;

use common::*;
use gst::prelude::*;
use gst_check::Harness;

const MS: u64 = 1_000_000;

fn waits_p99_ms(element: &impl IsA<gst::Element>) -> f64 {
    element.property::<gst::Structure>("stats").get::<f64>("wait-ms-p99").unwrap()
}

#[test]
fn ten_thousand_frames_keep_their_order_and_their_own_result() {
    for batch_size in [1u32, 3, 8, 64] {
        let fake = Fake::default();
        *fake.behaviour.lock().unwrap() = Behaviour::Delay(300);
        let element = element(&fake);
        element.set_property("batch-size", batch_size);
        let mut harness = harness(&element);
        const FRAMES: u32 = 10_000;
        std::thread::scope(|scope| {
            let sink = element.static_pad("sink").unwrap().peer().unwrap();
            scope.spawn(move || {
                for number in 0..FRAMES {
                    sink.push(frame(number)).unwrap();
                }
                assert!(sink.push_event(gst::event::Eos::new()));
            });
            for number in 0..FRAMES {
                check(&harness.pull().unwrap(), number);
            }
        });
        wait_for_eos(&mut harness);
        assert_eq!(harness.try_pull(), None, "nothing twice");
        let runs = fake.runs.lock().unwrap();
        assert_eq!(runs.iter().sum::<usize>(), FRAMES as usize);
        assert!(runs.iter().all(|rows| *rows <= batch_size as usize));
    }
}

/// Waits for the EOS event behind the frames.
fn wait_for_eos(harness: &mut Harness) {
    while harness.pull_event().unwrap().type_() != gst::EventType::Eos {}
}

#[test]
fn a_batch_is_cut_at_the_eighth_frame() {
    let fake = Fake::default();
    let (element, _clock) = element_by_hand(&fake);
    let mut harness = harness(&element);
    for number in 0..8 {
        harness.push(frame(number)).unwrap();
    }
    for number in 0..8 {
        check(&harness.pull().unwrap(), number);
    }
    assert_eq!(*fake.runs.lock().unwrap(), [8]);
    assert_eq!(waits_p99_ms(&element), 0.0);
}

#[test]
fn a_batch_is_cut_exactly_at_the_oldest_frames_deadline() {
    let fake = Fake::default();
    let (element, clock) = element_by_hand(&fake);
    let mut harness = harness(&element);
    harness.push(frame(0)).unwrap();
    clock.advance(Duration::from_nanos(5 * MS));
    harness.push(frame(1)).unwrap();
    clock.advance(Duration::from_nanos(10 * MS - 1));
    clock.advance(Duration::from_nanos(1));
    check(&harness.pull().unwrap(), 0);
    check(&harness.pull().unwrap(), 1);
    assert_eq!(*fake.runs.lock().unwrap(), [2]);
    assert_eq!(waits_p99_ms(&element), 15.0, "neither earlier nor later");
}

#[test]
fn the_deadline_holds_in_paused_too() {
    let fake = Fake::default();
    let (element, clock) = element_by_hand(&fake);
    let mut harness = harness(&element);
    element.set_state(gst::State::Paused).unwrap();
    harness.push(frame(0)).unwrap();
    clock.advance(Duration::from_nanos(15 * MS));
    check(&harness.pull().unwrap(), 0);
}

#[test]
fn batch_timeout_can_change_while_playing() {
    let fake = Fake::default();
    let (element, _clock) = element_by_hand(&fake);
    let mut harness = harness(&element);
    harness.push(frame(0)).unwrap();
    element.set_property("batch-timeout", 0u64);
    check(&harness.pull().unwrap(), 0);
}

#[test]
fn eos_cuts_the_batch_at_every_fill() {
    for frames in 0..=17 {
        let (element, _clock) = element_by_hand(&Fake::default());
        let mut harness = harness(&element);
        for number in 0..frames {
            harness.push(frame(number)).unwrap();
        }
        assert!(harness.push_event(gst::event::Eos::new()));
        for number in 0..frames {
            check(&harness.pull().unwrap(), number);
        }
        wait_for_eos(&mut harness);
        assert_eq!(harness.push(frame(99)), Err(gst::FlowError::Eos));
    }
}

#[test]
fn a_new_stream_after_eos_starts_again() {
    let (element, _clock) = element_by_hand(&Fake::default());
    let mut harness = harness(&element);
    for round in 0..20 {
        harness.push(frame(round)).unwrap();
        assert!(harness.push_event(gst::event::Eos::new()));
        check(&harness.pull().unwrap(), round);
        wait_for_eos(&mut harness);
        assert!(harness.push_event(gst::event::StreamStart::new("again")));
        assert!(
            harness.push_event(gst::event::Segment::new(&gst::FormattedSegment::<gst::ClockTime>::new()))
        );
    }
}

#[test]
fn serialized_events_stay_between_their_frames() {
    let (element, _clock) = element_by_hand(&Fake::default());
    let mut harness = harness(&element);
    let arrivals = record_arrivals(&element);
    let tag = |text: &str| {
        let mut tags = gst::TagList::new();
        tags.get_mut().unwrap().add::<gst::tags::Title>(&text, gst::TagMergeMode::Append);
        gst::event::Tag::new(tags)
    };
    let larger = gst::Caps::builder("video/x-raw")
        .field("format", "RGB")
        .field("width", 8)
        .field("height", 4)
        .field("framerate", gst::Fraction::new(30, 1))
        .build();
    harness.push(frame(0)).unwrap();
    assert!(harness.push_event(tag("a")));
    assert!(harness.push_event(gst::event::Gap::builder(gst::ClockTime::from_mseconds(33)).build()));
    harness.push(frame(1)).unwrap();
    assert!(harness.push_event(gst::event::Caps::new(&larger)));
    let mut wide = gst::Buffer::from_mut_slice(vec![0; 8 * 4 * 3]);
    wide.get_mut().unwrap().set_offset(2);
    harness.push(wide).unwrap();
    assert!(harness.push_event(gst::event::Segment::new(&gst::FormattedSegment::<gst::ClockTime>::new())));
    harness.push(gst::Buffer::from_mut_slice(vec![0; 8 * 4 * 3])).unwrap();
    assert!(harness.push_event(gst::event::Eos::new()));
    wait_for_eos(&mut harness);
    assert_eq!(
        arrivals(),
        ["buffer", "tag", "gap", "buffer", "caps", "buffer", "segment", "buffer", "eos"],
        "events neither overtake frames nor are overtaken"
    );
}

/// Records what comes out of the element's source pad from now on.
fn record_arrivals(element: &impl IsA<gst::Element>) -> impl Fn() -> Vec<String> {
    let arrivals = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let noted = arrivals.clone();
    let kinds = gst::PadProbeType::BUFFER | gst::PadProbeType::EVENT_DOWNSTREAM;
    element.static_pad("src").unwrap().add_probe(kinds, move |_, info| {
        let name = match &info.data {
            Some(gst::PadProbeData::Event(event)) => event.type_().name().to_string(),
            _ => "buffer".to_string(),
        };
        noted.lock().unwrap().push(name);
        gst::PadProbeReturn::Ok
    });
    // Sticky events on the pad leave with the first frame. They are not what the test sends.
    move || {
        let arrivals = arrivals.lock().unwrap();
        let first = arrivals.iter().position(|name| name == "buffer").unwrap();
        arrivals[first..].to_vec()
    }
}

#[test]
fn a_serialized_query_cuts_the_batch_and_comes_behind_its_frames() {
    for _ in 0..200 {
        let (element, _clock) = element_by_hand(&Fake::default());
        let mut harness = harness(&element);
        for number in 0..3 {
            harness.push(frame(number)).unwrap();
        }
        // The clock stands still: if the query did not cut the batch, this would wait forever.
        let mut drain = gst::query::Drain::new();
        element.static_pad("sink").unwrap().peer().unwrap().peer_query(&mut drain);
        for number in 0..3 {
            check(&harness.try_pull().expect("the frames came out before the query was answered"), number);
        }
    }
}

#[test]
fn frames_that_are_no_pictures_pass_in_order() {
    let (element, _clock) = element_by_hand(&Fake::default());
    let mut harness = harness(&element);
    let mut gap = frame(1);
    gap.get_mut().unwrap().set_flags(gst::BufferFlags::GAP);
    let mut untimed = frame(3);
    untimed.get_mut().unwrap().set_pts(None);
    harness.push(frame(0)).unwrap();
    harness.push(gap).unwrap();
    let mut empty = gst::Buffer::new();
    empty.get_mut().unwrap().set_flags(gst::BufferFlags::GAP);
    harness.push(empty).unwrap();
    harness.push(untimed).unwrap();
    assert!(harness.push_event(gst::event::Eos::new()));
    check(&harness.pull().unwrap(), 0);
    // A frame flagged GAP that has pixels is a frame like others.
    check(&harness.pull().unwrap(), 1);
    let empty = harness.pull().unwrap();
    assert_eq!((empty.size(), people(&empty)), (0, None));
    check(&harness.pull().unwrap(), 3);
}

#[test]
fn batches_larger_than_the_input_queue_do_not_wait_for_what_cannot_come() {
    let fake = Fake::default();
    let (element, _clock) = element_by_hand(&fake);
    element.set_property("batch-size", 64u32);
    element.set_property("input-queue-size", 5u32);
    let mut harness = harness(&element);
    for number in 0..50 {
        harness.push(frame(number)).unwrap();
        while let Some(buffer) = harness.try_pull() {
            drop(buffer);
        }
    }
    assert!(harness.push_event(gst::event::Eos::new()));
    wait_for_eos(&mut harness);
    assert!(fake.runs.lock().unwrap().iter().all(|rows| *rows <= 5));
}

#[test]
fn the_frame_is_not_copied() {
    let (element, _clock) = element_by_hand(&Fake::default());
    let mut harness = harness(&element);
    let buffer = frame(0);
    let pixels = buffer.map_readable().unwrap().as_ptr();
    harness.push(buffer).unwrap();
    assert!(harness.push_event(gst::event::Eos::new()));
    assert_eq!(harness.pull().unwrap().map_readable().unwrap().as_ptr(), pixels);
}

#[test]
fn a_batch_goes_on_filling_while_downstream_is_slow() {
    for _ in 0..20 {
        let fake = Fake::default();
        let (element, _clock) = element_by_hand(&fake);
        element.set_property("output-queue-size", 1u32);
        let mut harness = harness(&element);
        // Downstream takes time for every frame, so that finished frames wait and the queue is full.
        element.static_pad("src").unwrap().add_probe(gst::PadProbeType::BUFFER, |_, _| {
            std::thread::yield_now();
            gst::PadProbeReturn::Ok
        });
        for number in 0..80 {
            harness.push(frame(number)).unwrap();
        }
        assert!(harness.push_event(gst::event::Eos::new()));
        wait_for_eos(&mut harness);
        assert_eq!(*fake.runs.lock().unwrap(), [8; 10], "no batch was cut early");
    }
}

/// A GstVideoMeta may be larger than the caps, with padding beside and below the picture.
#[test]
fn padding_is_no_part_of_the_picture() {
    let element = element(&Fake::default());
    element.set_property("batch-size", 1u32);
    let mut harness = harness(&element);
    // `frame`'s picture in the corner of a white 8x6 frame.
    let number = 4711u32;
    let [r, g, b, _] = number.to_le_bytes();
    let (stride, rows) = (8 * 3, 6);
    let mut pixels = vec![255; stride * rows];
    for row in pixels.chunks_exact_mut(stride).take(4) {
        row[..4 * 3].chunks_exact_mut(3).for_each(|pixel| pixel.copy_from_slice(&[r, g, b]));
    }
    let mut padded = gst::Buffer::from_mut_slice(pixels);
    let buffer = padded.get_mut().unwrap();
    buffer.set_offset(u64::from(number));
    let (flags, format) = (gst_video::VideoFrameFlags::empty(), gst_video::VideoFormat::Rgb);
    gst_video::VideoMeta::add_full(buffer, flags, format, 8, 6, &[0], &[stride as i32]).unwrap();
    harness.push(padded).unwrap();
    check(&harness.pull().unwrap(), number);
}
