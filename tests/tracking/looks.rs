//! Pictures, frames that are far apart, time stamps that are wrong, and boxes from upstream that come and go.

use super::*;

/// The people in frames at these times (in milliseconds), all with a person in the middle.
fn at_times(properties: &str, live: bool, times: impl Iterator<Item = Option<u64>>) -> Vec<FramePeople> {
    lasting(None, properties, live, times)
}

/// Like `at_times`, for frames with these durations in milliseconds, or as the caps say.
fn lasting(
    duration: Option<u64>,
    properties: &str,
    live: bool,
    times: impl Iterator<Item = Option<u64>>,
) -> Vec<FramePeople> {
    let element = element(&Finder::default(), Arc::new(MonotonicClock::default()));
    for (name, value) in properties.split_whitespace().filter_map(|word| word.split_once('=')) {
        element.set_property_from_str(name, value);
    }
    let mut harness = play(&element, live);
    let frames = times.map(|time| {
        let mut buffer = frame(0, &[(160.0, 120.0)]);
        let made = buffer.get_mut().unwrap();
        made.set_pts(time.map(gst::ClockTime::from_mseconds));
        made.set_duration(duration.map(gst::ClockTime::from_mseconds));
        buffer
    });
    if live {
        // Each frame has its answer before the next frame comes.
        let answer = |frame| {
            harness.push(frame).unwrap();
            people(&harness.pull().unwrap())
        };
        return frames.map(answer).collect();
    }
    through(&mut harness, frames).iter().map(|buffer| people(buffer)).collect()
}

#[test]
fn somebody_in_a_single_picture_is_found_in_it() {
    watched("a picture", || {
        for time in [Some(0), None] {
            let found = at_times("", false, [time].into_iter());
            assert_eq!(ids(&found[0]), [Some(1)], "at {time:?}");
        }
    });
}

/// An application that sends the next picture after the answer to the last one.
#[test]
fn a_picture_is_answered_before_anything_comes_behind_it() {
    watched("a question and its answer", || {
        let element = element(&Finder::default(), Arc::new(MonotonicClock::default()));
        let mut harness = play(&element, false);
        for number in 0..5 {
            harness.push(frame(number * 30, &[(160.0, 120.0)])).unwrap();
            assert_eq!(people(&harness.pull().unwrap()).people.len(), 1, "picture {number}");
        }
    });
}

#[test]
fn everybody_in_a_file_is_there_from_the_first_frame_on() {
    for lookahead in ["", "track-lookahead=1", "track-lookahead=8"] {
        let found = at_times(lookahead, false, (0..30).map(|number| Some(number * 33)));
        assert!(found.iter().all(|people| ids(people) == [Some(1)]), "{lookahead}");
    }
}

#[test]
fn frames_that_are_far_apart_show_somebody_too() {
    for (properties, step) in [("", 1000), ("", 5000), ("track-lifetime=0", 2000), ("track-lifetime=0", 33)] {
        let found = lasting(Some(step), properties, false, (0..8).map(|number| Some(number * step)));
        assert!(found.iter().all(|people| ids(people) == [Some(1)]), "{properties} every {step} ms");
        // Live frames do not wait for closer looks.
        let live = format!("overload=block {properties}");
        let found = lasting(Some(step), &live, true, (0..12).map(|number| Some(number * step)));
        assert!(
            found[5..].iter().all(|people| ids(people) == [Some(1)]),
            "live, {properties} every {step} ms"
        );
    }
    let found = at_times("inference-interval=31", false, (0..200).map(|number| Some(number * 33)));
    assert!(found.iter().all(|people| ids(people) == [Some(1)]));
}

#[test]
fn one_wrong_stamp_is_one_wrong_stamp() {
    let stamp = |number: u64| match number % 60 {
        59 => Some(200_000 + 33 * number),
        29 => None,
        _ => Some(10_000_000 + 33 * number),
    };
    let found = at_times("", false, (0..180).map(stamp));
    assert!(found.iter().all(|people| ids(people) == [Some(1)]));
    // After a jump in time no people are known.
    let found = at_times("", false, (0..60).map(|n| Some(33 * n + if n >= 30 { 3_600_000 } else { 0 })));
    assert_eq!((ids(&found[29]), ids(&found[59])), (vec![Some(1)], vec![Some(2)]));
}

#[test]
fn a_detector_that_misses_somebody_changes_no_id() {
    let element = element(&Finder::default(), Arc::new(MonotonicClock::default()));
    let mut harness = play(&element, false);
    let places = [(80.0, 120.0), (240.0, 120.0)];
    let frames = (0..90).map(|number| {
        let mut buffer = frame(number, &places);
        for (index, (x, y)) in places.into_iter().enumerate() {
            if index == 0 || number % 15 < 10 {
                add_person(&mut buffer, [x as i32 - 30, y as i32 - 55, 60, 110]);
            }
        }
        buffer
    });
    for (number, buffer) in through(&mut harness, frames).iter().enumerate() {
        let expected = if number % 15 < 10 { vec![Some(1), Some(2)] } else { vec![Some(1)] };
        assert_eq!(ids(&people(buffer)), expected, "frame {number}");
    }
}

/// Upstream's numbers beside a parameter `detection` are people's ids if they repeat, else numbers of boxes.
#[test]
fn numbers_beside_a_detection_are_ids_if_they_come_again() {
    for tracked in [true, false] {
        let element = element(&Finder::default(), Arc::new(MonotonicClock::default()));
        let mut harness = play(&element, false);
        let places = [(80.0, 120.0), (240.0, 120.0)];
        let frames = (0..30).map(|number| {
            let mut buffer = frame(number, &places);
            for (index, (x, y)) in places.into_iter().enumerate() {
                let place = [x as i32 - 30, y as i32 - 55, 60, 110];
                let mut region = add_region(&mut buffer, "person", place);
                region.set_id(if tracked {
                    41 + index as i32
                } else {
                    41 + 2 * number as i32 + index as i32
                });
                region.add_param(gst::Structure::builder("detection").field("confidence", 0.9f64).build());
            }
            buffer
        });
        let found: Vec<_> = through(&mut harness, frames).iter().map(|buffer| ids(&people(buffer))).collect();
        let expected = if tracked { [Some(41), Some(42)] } else { [Some(1), Some(2)] };
        assert_eq!(found[0], [Some(1), Some(2)], "not known from one frame");
        assert!(found[1..].iter().all(|ids| *ids == expected), "tracked {tracked}: {found:?}");
    }
}
