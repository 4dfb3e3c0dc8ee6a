//! The time in UTC: what the source says comes first, then what the clock of a live stream says.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use gst::{glib, prelude::*};
use gst_check::Harness;
use serde_json::{Value, json};

use crate::{frame, harness, line};

/// 2026-03-01 12:00:00 UTC.
const NOON: gst::ClockTime = gst::ClockTime::from_seconds(1_772_366_400);

/// The `utc` of a frame's line.
fn utc(harness: &mut Harness, buffer: gst::Buffer) -> Value {
    harness.push(buffer).unwrap();
    line(&harness.pull().unwrap())["utc"].clone()
}

/// A frame with a reference timestamp of that name: the time at which it was taken.
fn told(reference: &str, time: gst::ClockTime) -> gst::Buffer {
    let mut buffer = frame(3);
    let caps = gst::Caps::new_empty_simple(reference);
    gst::ReferenceTimestampMeta::add(buffer.make_mut(), &caps, time, gst::ClockTime::NONE);
    buffer
}

/// A harness whose element is in a pipeline that began at noon, by a clock of this kind.
fn since_noon(kind: gst::ClockType) -> Harness {
    let harness = harness();
    let clock = glib::Object::builder::<gst::SystemClock>().property("clock-type", kind).build();
    let element = harness.element().unwrap();
    element.set_clock(Some(&clock)).unwrap();
    element.set_base_time(NOON);
    harness
}

#[test]
fn a_source_tells_when_its_frames_were_taken() {
    let mut harness = harness();
    let taken = NOON + gst::ClockTime::from_mseconds(1);
    // 70 years, 17 of them leap years, lie between NTP's epoch and UNIX's.
    let ntp = taken + gst::ClockTime::from_seconds((70 * 365 + 17) * 86_400);
    for buffer in [told("timestamp/x-unix", taken), told("timestamp/x-ntp", ntp)] {
        assert_eq!(utc(&mut harness, buffer), json!("2026-03-01T12:00:00.001000000Z"));
    }
}

#[test]
fn a_clock_that_shows_utc_tells_it_for_live_streams() {
    let mut harness = since_noon(gst::ClockType::Realtime);
    assert_eq!(utc(&mut harness, frame(3)), json!("2026-03-01T12:00:00.120000000Z"));
    // The source's time takes precedence over the clock.
    assert_eq!(utc(&mut harness, told("timestamp/x-unix", NOON)), json!("2026-03-01T12:00:00.000000000Z"));
    // An unknown kind of reference is ignored.
    assert_eq!(utc(&mut harness, told("timestamp/x-else", NOON)), json!("2026-03-01T12:00:00.120000000Z"));
    // A frame without a timestamp has no UTC time.
    assert_eq!(utc(&mut harness, gst::Buffer::new()), Value::Null);
}

/// The time at which a file's frame is shown is not the time at which it was taken.
#[test]
fn no_clock_tells_when_a_files_frames_were_taken() {
    let mut harness = since_noon(gst::ClockType::Realtime);
    harness.set_live(false);
    assert_eq!(utc(&mut harness, frame(3)), Value::Null);
    // The element asks again in a new stream.
    harness.set_live(true);
    harness.push_event(gst::event::StreamStart::new("live"));
    harness.push_event(gst::event::Segment::new(&gst::FormattedSegment::<gst::ClockTime>::new()));
    assert_eq!(utc(&mut harness, frame(3)), json!("2026-03-01T12:00:00.120000000Z"));
}

/// A clock that does not show UTC still measures a frame's age, which is subtracted from the computer's time.
#[test]
fn other_clocks_tell_how_old_a_frame_is() {
    let mut harness = since_noon(gst::ClockType::Monotonic);
    let element = harness.element().unwrap();
    let clock = element.clock().unwrap();
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let before = now();
    // The frame at 0.12 s is 10 s old.
    element.set_base_time(clock.time().saturating_sub(gst::ClockTime::from_mseconds(10_120)));
    let asked = now();
    let text = utc(&mut harness, frame(3));
    // The element reads two clocks, and the thread may lose the CPU between them.
    let between_the_clocks = now() - asked;
    let found = glib::DateTime::from_iso8601(text.as_str().unwrap(), None).unwrap();
    let found = Duration::from_secs(found.to_unix().try_into().unwrap())
        + Duration::from_micros(found.microsecond().try_into().unwrap());
    let slack = Duration::from_micros(1);
    let age = Duration::from_secs(10);
    assert!(found + age + slack >= before - between_the_clocks, "{text} is before {before:?}");
    assert!(found + age <= now() + slack, "{text} is after {:?}", now());
}
