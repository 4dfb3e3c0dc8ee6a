use super::*;

const MS: Duration = Duration::from_millis(1);
const TIMEOUT: Duration = Duration::from_millis(15);

fn attach(batcher: &mut Batcher<u32>, timeout: Duration) -> StreamId {
    let id = batcher.attach(TimeoutPolicy { timeout, adaptive: true });
    batcher.start(id, Duration::ZERO);
    id
}

fn items(batch: Vec<Entry<u32>>) -> Vec<u32> {
    batch.into_iter().map(|entry| entry.item).collect()
}

#[test]
fn cuts_at_the_eighth_crop() {
    let mut batcher = Batcher::new(8);
    let stream = attach(&mut batcher, TIMEOUT);
    assert_eq!(batcher.decide(0, Duration::ZERO), Decision::Idle);
    for item in 0..7 {
        batcher.push(stream, None, item, MS).unwrap();
        assert_eq!(batcher.decide(0, MS), Decision::WaitUntil(MS + TIMEOUT));
    }
    batcher.push(stream, None, 7, MS).unwrap();
    assert_eq!(batcher.decide(0, MS), Decision::Cut);
    assert_eq!(items(batcher.cut(0)), (0..8).collect::<Vec<_>>());
    assert_eq!(batcher.decide(0, MS), Decision::Idle);
}

#[test]
fn cuts_exactly_at_the_oldest_crops_deadline() {
    let mut batcher = Batcher::new(8);
    let stream = attach(&mut batcher, TIMEOUT);
    batcher.push(stream, None, 0, 2 * MS).unwrap();
    batcher.push(stream, None, 1, 9 * MS).unwrap();
    let deadline = 2 * MS + TIMEOUT;
    assert_eq!(batcher.decide(0, deadline - Duration::from_nanos(1)), Decision::WaitUntil(deadline));
    assert_eq!(batcher.decide(0, deadline), Decision::Cut);
    assert_eq!(items(batcher.cut(0)), [0, 1]);
}

#[test]
fn a_zero_timeout_never_waits() {
    let mut batcher = Batcher::new(8);
    let stream = attach(&mut batcher, Duration::ZERO);
    batcher.push(stream, None, 0, MS).unwrap();
    assert_eq!(batcher.decide(0, MS), Decision::Cut);
}

#[test]
fn an_endless_timeout_does_not_overflow() {
    let mut batcher = Batcher::new(8);
    let stream = attach(&mut batcher, Duration::MAX);
    batcher.push(stream, None, 0, MS).unwrap();
    assert_eq!(batcher.decide(0, MS), Decision::WaitUntil(Duration::MAX));
}

#[test]
fn a_barrier_cuts_at_once_and_only_for_what_stands_before_it() {
    let mut batcher = Batcher::new(2);
    let stream = attach(&mut batcher, TIMEOUT);
    for item in 0..3 {
        batcher.push(stream, None, item, MS).unwrap();
    }
    batcher.hurry(stream);
    assert_eq!(items(batcher.cut(0)), [0, 1]);
    assert_eq!(batcher.decide(0, MS), Decision::Cut, "the third crop stands before the barrier too");
    assert_eq!(items(batcher.cut(0)), [2]);
    batcher.push(stream, None, 3, MS).unwrap();
    assert_eq!(batcher.decide(0, MS), Decision::WaitUntil(MS + TIMEOUT));
}

#[test]
fn cuts_when_every_stream_is_blocked() {
    let mut batcher = Batcher::new(8);
    let (a, b) = (attach(&mut batcher, TIMEOUT), attach(&mut batcher, TIMEOUT));
    batcher.push(a, None, 0, MS).unwrap();
    batcher.set_blocked(a, true);
    assert_eq!(batcher.decide(0, MS), Decision::WaitUntil(MS + TIMEOUT), "b can still send a crop");
    batcher.set_blocked(b, true);
    assert_eq!(batcher.decide(0, MS), Decision::Cut);
    batcher.set_blocked(a, false);
    assert_eq!(batcher.decide(0, MS), Decision::WaitUntil(MS + TIMEOUT));
}

#[test]
fn a_stream_whose_crop_was_taken_is_no_longer_blocked() {
    let mut batcher = Batcher::new(2);
    let stream = attach(&mut batcher, TIMEOUT);
    for item in 0..3 {
        batcher.push(stream, None, item, MS).unwrap();
    }
    batcher.set_blocked(stream, true);
    assert_eq!(items(batcher.cut(0)), [0, 1]);
    assert_eq!(batcher.decide(0, MS), Decision::WaitUntil(MS + TIMEOUT), "a crop can come to the third");
}

#[test]
fn serves_streams_in_turn_and_keeps_each_ones_order() {
    let mut batcher = Batcher::new(4);
    let (a, b) = (attach(&mut batcher, TIMEOUT), attach(&mut batcher, TIMEOUT));
    for item in 0..6 {
        batcher.push(a, None, item, MS).unwrap();
    }
    batcher.push(b, None, 100, MS).unwrap();
    batcher.push(b, None, 101, MS).unwrap();
    assert_eq!(items(batcher.cut(0)), [0, 100, 1, 101]);
    assert_eq!(items(batcher.cut(0)), [2, 3, 4, 5]);
}

#[test]
fn flush_and_detach_hand_pending_crops_back() {
    let mut batcher = Batcher::new(4);
    let (a, b) = (attach(&mut batcher, TIMEOUT), attach(&mut batcher, TIMEOUT));
    batcher.push(a, None, 0, MS).unwrap();
    batcher.push(b, None, 1, MS).unwrap();
    batcher.hurry(a);
    assert_eq!(batcher.flush(a), [0]);
    assert_eq!(batcher.decide(0, MS), Decision::WaitUntil(MS + TIMEOUT), "the barrier went with its crops");
    assert_eq!(batcher.detach(b), [1]);
    assert_eq!(batcher.decide(0, MS), Decision::Idle);
    assert_eq!(batcher.push(b, None, 2, MS), Err(2));
}

#[test]
fn streams_that_do_not_run_are_not_waited_for() {
    let mut batcher = Batcher::new(8);
    let (a, b) = (attach(&mut batcher, TIMEOUT), attach(&mut batcher, TIMEOUT));
    batcher.push(a, None, 0, MS).unwrap();
    batcher.set_blocked(a, true);
    batcher.stop(b);
    assert_eq!(batcher.decide(0, MS), Decision::Cut);
}

/// Plays `frames` frames at this interval, with one crop each, and cuts each batch.
fn play(
    batcher: &mut Batcher<u32>,
    id: StreamId,
    start: Duration,
    interval: Duration,
    frames: u32,
) -> Duration {
    let mut now = start;
    for number in 0..frames {
        now = start + interval * number;
        batcher.begin_frame(id, now);
        batcher.push(id, None, number, now).unwrap();
        batcher.end_frame(id);
        batcher.cut(0);
    }
    now
}

#[test]
fn a_slow_streams_crop_does_not_wait_for_a_frame_that_comes_too_late() {
    let mut batcher = Batcher::new(8);
    let camera = attach(&mut batcher, TIMEOUT);
    // Seven intervals are too few to judge by.
    let mut now = play(&mut batcher, camera, MS, 33 * MS, 8);
    batcher.push(camera, None, 99, now).unwrap();
    assert_eq!(batcher.decide(0, now), Decision::WaitUntil(now + TIMEOUT));
    batcher.cut(0);
    for _ in 0..2 {
        now += 33 * MS;
        batcher.begin_frame(camera, now);
        batcher.push(camera, None, 100, now).unwrap();
        assert_eq!(batcher.decide(0, now), Decision::WaitUntil(now + TIMEOUT), "more of this frame can come");
        batcher.end_frame(camera);
        assert_eq!(batcher.decide(0, now), Decision::Cut);
        batcher.cut(0);
    }
    batcher.set_timeout_policy(camera, TimeoutPolicy { timeout: TIMEOUT, adaptive: false });
    now += 33 * MS;
    batcher.push(camera, None, 101, now).unwrap();
    assert_eq!(batcher.decide(0, now), Decision::WaitUntil(now + TIMEOUT));
}

#[test]
fn a_stream_that_has_stalled_is_not_waited_for() {
    for frames in [0, 1, 20] {
        let mut batcher = Batcher::new(8);
        let (camera, dead) = (attach(&mut batcher, TIMEOUT), attach(&mut batcher, TIMEOUT));
        let last = if frames == 0 { Duration::ZERO } else { play(&mut batcher, dead, MS, 33 * MS, frames) };
        let start = last + 500 * MS;
        let now = play(&mut batcher, camera, start, 33 * MS, 10);
        let look = |batcher: &mut Batcher<u32>, now| {
            batcher.begin_frame(camera, now);
            batcher.push(camera, None, 0, now).unwrap();
            batcher.end_frame(camera);
            let decision = batcher.decide(0, now);
            batcher.cut(0);
            decision
        };
        let late = now + 33 * MS;
        assert_eq!(look(&mut batcher, late), Decision::WaitUntil(late + TIMEOUT), "it may come");
        let stalled = now + 500 * MS;
        assert_eq!(look(&mut batcher, stalled), Decision::Cut, "{frames} frames had come");
        // Its next frame arrives.
        batcher.begin_frame(dead, stalled + MS);
        batcher.end_frame(dead);
        let again = stalled + 33 * MS;
        assert_eq!(look(&mut batcher, again), Decision::WaitUntil(again + TIMEOUT));
    }
}

#[test]
fn a_crop_waits_for_another_stream_that_comes_in_time() {
    let mut batcher = Batcher::new(8);
    let (a, b) = (attach(&mut batcher, TIMEOUT), attach(&mut batcher, TIMEOUT));
    let last_a = play(&mut batcher, a, MS, 33 * MS, 10);
    // b's frames come 10 ms after a's.
    let last_b = play(&mut batcher, b, 11 * MS, 33 * MS, 10);
    let now = last_a + 33 * MS;
    batcher.begin_frame(a, now);
    batcher.push(a, None, 0, now).unwrap();
    batcher.end_frame(a);
    assert_eq!(batcher.decide(0, now), Decision::WaitUntil(now + TIMEOUT), "b is expected after 10 ms");
    let now = last_b + 33 * MS;
    batcher.begin_frame(b, now);
    batcher.push(b, None, 0, now).unwrap();
    batcher.end_frame(b);
    assert_eq!(batcher.decide(0, now), Decision::Cut, "now nobody is expected for 23 ms");
    assert_eq!(batcher.cut(0).len(), 2);
}

/// Crops for the first device only, for the second only, and for both.
const PINS: [Pin; 3] = [Some(0), Some(1), None];

#[test]
fn pinned_crops_go_to_their_own_device_only() {
    let mut batcher = Batcher::new(4);
    let streams = PINS.map(|_| attach(&mut batcher, TIMEOUT));
    for item in 0..3 {
        for (stream, pin) in streams.into_iter().zip(PINS) {
            let number = item + 10 * pin.map_or(0, |pin| pin as u32 + 1);
            batcher.push(stream, pin, number, MS * (item + 1)).unwrap();
        }
    }
    assert_eq!(PINS.map(|pin| batcher.pending_with(pin)), [3, 3, 3]);
    assert_eq!([0, 1].map(|device| batcher.decide(device, MS)), [Decision::Cut; 2]);
    assert_eq!(items(batcher.cut(1)), [20, 0, 21, 1]);
    assert_eq!(items(batcher.cut(1)), [22, 2], "the first device's are left");
    assert_eq!(batcher.decide(1, MS + TIMEOUT), Decision::Idle);
    assert_eq!(items(batcher.cut(0)), [10, 11, 12]);
    assert_eq!(batcher.pending(), 0);
}

#[test]
fn a_device_waits_for_no_stream_whose_crops_lie_on_another() {
    let mut batcher = Batcher::new(8);
    let (here, there) = (attach(&mut batcher, TIMEOUT), attach(&mut batcher, TIMEOUT));
    batcher.push(there, Some(1), 0, MS).unwrap();
    batcher.push(here, Some(0), 1, 2 * MS).unwrap();
    assert_eq!(batcher.decide(0, 2 * MS), Decision::WaitUntil(2 * MS + TIMEOUT));
    batcher.set_blocked(here, true);
    assert_eq!(batcher.decide(0, 2 * MS), Decision::Cut, "the other stream sends nothing here");
    assert_eq!(batcher.decide(1, 2 * MS), Decision::WaitUntil(MS + TIMEOUT), "but to its own device it may");
    batcher.hurry(there);
    assert_eq!(batcher.decide(1, 2 * MS), Decision::Cut);
    batcher.set_blocked(here, false);
    assert_eq!(
        batcher.decide(0, 2 * MS),
        Decision::WaitUntil(2 * MS + TIMEOUT),
        "a barrier there is none here"
    );
}

#[test]
fn crops_of_both_kinds_of_one_stream_keep_their_order_on_each_device() {
    let mut batcher = Batcher::new(8);
    let stream = attach(&mut batcher, TIMEOUT);
    for (item, pin) in [None, Some(0), Some(1), None, Some(1), Some(0), None].into_iter().enumerate() {
        batcher.push(stream, pin, item as u32, MS * (item as u32 + 1)).unwrap();
    }
    assert_eq!(items(batcher.cut(0)), [0, 1, 3, 5, 6]);
    assert_eq!(items(batcher.cut(1)), [2, 4]);
}

#[test]
fn crops_that_are_put_back_come_first_and_at_once() {
    let mut batcher = Batcher::new(2);
    let (a, b) = (attach(&mut batcher, TIMEOUT), attach(&mut batcher, TIMEOUT));
    for item in 0..5 {
        batcher.push(a, None, item, MS).unwrap();
    }
    let cut: Vec<_> = (0..2).flat_map(|_| batcher.cut(0)).collect();
    for entry in cut.into_iter().rev() {
        batcher.put_back(a, None, entry).unwrap();
    }
    assert_eq!(items(batcher.cut(1)), [0, 1]);
    assert_eq!(items(batcher.cut(1)), [2, 3]);
    assert_eq!(batcher.decide(1, MS), Decision::WaitUntil(MS + TIMEOUT), "the last one was never cut");
    let entry = batcher.cut(1).pop().unwrap();
    batcher.put_back(a, None, entry).unwrap();
    assert_eq!(batcher.decide(1, MS), Decision::Cut);
    let entry = batcher.cut(1).pop().unwrap();
    batcher.detach(b);
    assert_eq!(batcher.put_back(b, None, entry), Err(4));
}

#[test]
fn what_was_a_lost_devices_alone_is_everybodys() {
    let mut batcher = Batcher::new(8);
    let stream = attach(&mut batcher, TIMEOUT);
    for (item, pin) in [Some(1), None, Some(0), Some(1)].into_iter().enumerate() {
        batcher.push(stream, pin, item as u32, MS * (item as u32 + 1)).unwrap();
    }
    batcher.hurry(stream);
    assert_eq!(batcher.pin(stream), Some(1));
    batcher.unpin(1);
    assert_eq!(batcher.pin(stream), None);
    assert_eq!(PINS.map(|pin| batcher.pending_with(pin)), [1, 0, 3]);
    assert_eq!(batcher.decide(0, MS), Decision::Cut);
    assert_eq!(items(batcher.cut(0)), [0, 1, 2, 3]);
}

/// What `decide` returns, found by a look at every stream.
fn decided_by_all(batcher: &Batcher<u32>, device: usize, now: Duration) -> Decision {
    let lanes = || {
        batcher
            .streams
            .values()
            .flat_map(move |stream| stream.lanes_for(device).map(move |lane| (stream, lane)))
    };
    let due = lanes().map(|(stream, lane)| lane.pending[0].arrived.saturating_add(stream.policy.timeout));
    let Some(deadline) = due.min() else { return Decision::Idle };
    let adaptive = lanes().all(|(stream, _)| stream.policy.adaptive);
    let comes = |stream: &Stream<u32>| {
        let open = stream.running && !stream.blocked && fits(stream.pin, device);
        open && (!adaptive || stream.rhythm.expects(now, deadline))
    };
    let is_full = lanes().map(|(_, lane)| lane.pending.len()).sum::<usize>() >= batcher.batch_size;
    let is_hurried = lanes().any(|(_, lane)| lane.hurried > 0);
    if is_full || deadline <= now || is_hurried || !batcher.streams.values().any(comes) {
        Decision::Cut
    } else {
        Decision::WaitUntil(deadline)
    }
}

#[test]
fn what_is_counted_is_what_a_look_at_every_stream_finds() {
    let (mut batcher, mut random, mut now) = (Batcher::new(4), 7u64, Duration::ZERO);
    let mut below = |limit: usize| {
        random = random.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (random >> 33) as usize % limit
    };
    let pin = |number: usize| number.checked_sub(1);
    let mut streams = Vec::new();
    for step in 0..40_000 {
        now += MS * below(3) as u32;
        if streams.len() < 6 {
            let policy = TimeoutPolicy { timeout: TIMEOUT * below(3) as u32, adaptive: below(4) > 0 };
            streams.push(batcher.attach(policy));
        }
        let index = below(streams.len());
        let id = streams[index];
        match below(40) {
            0 => drop(batcher.detach(streams.swap_remove(index))),
            1 => drop(batcher.flush(id)),
            2 => batcher.unpin(below(2)),
            3 if below(20) == 0 => drop(batcher.drain()),
            4 => batcher.stop(id),
            5 => batcher.hurry(id),
            6..10 => batcher.start(id, now),
            10..14 => batcher.set_blocked(id, below(2) == 0),
            14..18 => batcher.begin_frame(id, now),
            18..22 => batcher.end_frame(id),
            22..26 => {
                let device = below(2);
                for entry in batcher.cut(device) {
                    // Some come back.
                    if below(8) == 0 {
                        let _ = batcher.put_back(id, pin(below(3)), entry);
                    }
                }
                assert!(batcher.take_unblocked().len() <= 4);
            }
            _ => batcher.push(id, pin(below(3)), step, now).unwrap(),
        }
        let lanes = || batcher.streams.values().flat_map(|stream| &stream.lanes);
        let count =
            |pin: Pin| lanes().filter(|lane| lane.pin == pin).map(|lane| lane.pending.len()).sum::<usize>();
        let counted = [None, Some(0), Some(1)].map(|pin| batcher.pending_with(pin));
        assert_eq!(counted, [None, Some(0), Some(1)].map(count));
        assert_eq!(batcher.pending(), counted.iter().sum::<usize>());
        assert_eq!(batcher.has_pins(), counted[1] + counted[2] > 0);
        let running = batcher.streams.values().filter(|stream| stream.running).count();
        assert_eq!(batcher.running_streams(), running);
        for device in 0..2 {
            let expected = decided_by_all(&batcher, device, now);
            assert_eq!(batcher.decide(device, now), expected, "step {step}");
        }
    }
}
