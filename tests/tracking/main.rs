//! Tracking people through the element: a model that finds coloured dots replaces one that finds people.

#![allow(clippy::duplicate_mod, reason = "both rigs wait with `patience`")]

#[path = "../common/mod.rs"]
mod common;
mod looks;
#[path = "../network_rig/mod.rs"]
mod network_rig;

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    time::Duration,
};

use common::{Gate, connect};
use gst::prelude::*;
use gst_video::VideoFormat;
use gstrtmpose::{
    engine::{Backend, Clock, Error, Executor, Loading, ManualClock, MonotonicClock, Slot},
    meta::{self, FramePeople},
    network::Network,
    posebatch::{RtmPoseBatch, testing},
};
use network_rig::{NEVER, Rig, picture::*, process::watched};

const SIZE: (u32, u32) = (320, 240);
const CROP: (u32, u32) = (48, 64);

/// A person of this network: a red, a green and a blue dot, below one another.
fn draw(picture: Picture, (x, y): (f32, f32)) -> Picture {
    let dot = |picture: Picture, dy: f32, colour| picture.dot((x, y + dy), 20.0, colour);
    dot(dot(dot(picture, -40.0, RED), 0.0, GREEN), 40.0, BLUE)
}

fn info() -> gst_video::VideoInfo {
    video(VideoFormat::Rgb, SIZE.0, SIZE.1)
}

/// The frame of that number, 30 a second, with people at these places.
fn frame(number: u64, people: &[(f32, f32)]) -> gst::Buffer {
    let picture = people.iter().fold(Picture::new(SIZE.0, SIZE.1), |picture, place| draw(picture, *place));
    let mut buffer = picture.frame(&info(), Layout::Plain);
    let made = buffer.get_mut().unwrap();
    made.set_pts(gst::ClockTime::from_nseconds(number * 1_000_000_000 / 30));
    made.set_offset(number);
    buffer
}

/// Finds the centroid of each channel's brightest part, in batches of any size. Its runs can be delayed or stopped.
#[derive(Clone, Default)]
struct Finder {
    /// Runs take up to this number of microseconds, at random.
    delay: u64,
    gate: Arc<Gate>,
    runs: Arc<AtomicUsize>,
}

struct FinderExecutor {
    finder: Finder,
    rows: Vec<[[f32; 4]; 3]>,
    seed: u64,
}

impl Backend for Finder {
    type Network = Network;

    fn open(&self, _loading: &Loading) -> Result<(Network, Box<dyn Executor>), Error> {
        let network = Network::simcc(CROP.0, CROP.1, 3, "fake");
        Ok((network, Box::new(FinderExecutor { finder: self.clone(), rows: Vec::new(), seed: self.delay })))
    }
}

impl Executor for FinderExecutor {
    fn load(&mut self, row: usize, crop: &dyn Slot) {
        self.rows.truncate(row);
        self.rows.push(std::array::from_fn(|channel| find(crop.bytes(), channel)));
    }

    fn run(&mut self, rows: usize, answers: &mut [f32]) -> Result<usize, Error> {
        self.finder.gate.pass();
        self.finder.runs.fetch_add(1, Ordering::SeqCst);
        if self.finder.delay > 0 {
            self.seed = self.seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            std::thread::sleep(Duration::from_micros((self.seed >> 33) % self.finder.delay));
        }
        for (answer, found) in answers.chunks_exact_mut(12).zip(&self.rows[..rows]) {
            answer.copy_from_slice(found.as_flattened());
        }
        Ok(rows)
    }

    fn warm_up_sizes(&self) -> Vec<usize> {
        Vec::new()
    }
}

fn find(crop: &[u8], channel: usize) -> [f32; 4] {
    let value = |x: u32, y: u32| f32::from(crop[((y * CROP.0 + x) * 3) as usize + channel]);
    let places = || (0..CROP.1).flat_map(|y| (0..CROP.0).map(move |x| (x, y)));
    let brightest = places().map(|(x, y)| value(x, y)).fold(0.0, f32::max);
    let (mut sum, mut at_x, mut at_y) = (0.0, 0.0, 0.0);
    for (x, y) in places() {
        let weight = (value(x, y) - brightest / 2.0).max(0.0);
        sum += weight;
        at_x += weight * x as f32;
        at_y += weight * y as f32;
    }
    let score = brightest / 255.0;
    let mean = |at: f32| if sum > 0.0 { (2.0 * at / sum).round() / 2.0 } else { 0.0 };
    [mean(at_x), mean(at_y), score, score]
}

fn element(finder: &Finder, clock: Arc<dyn Clock>) -> RtmPoseBatch {
    network_rig::init();
    let element = gst::ElementFactory::make("rtmposebatch").build().unwrap();
    let element = element.downcast::<RtmPoseBatch>().unwrap();
    testing::inject(&element, Arc::new(finder.clone()), clock);
    element
}

/// A harness in PLAYING around an element over the finder; `live` says whether upstream is live.
fn play(element: &RtmPoseBatch, live: bool) -> gst_check::Harness {
    let mut harness = gst_check::Harness::with_element(element, Some("sink"), Some("src"));
    harness.set_live(live);
    harness.set_src_caps(info().to_caps().unwrap());
    harness.play();
    harness
}

fn people(buffer: &gst::BufferRef) -> FramePeople {
    meta::read(buffer).next().expect("a frame that was inferred carries metadata").unwrap()
}

fn ids(people: &FramePeople) -> Vec<Option<i64>> {
    people.people.iter().map(|person| person.id).collect()
}

/// Sends these frames and EOS; returns all frames that come out.
fn through(harness: &mut gst_check::Harness, frames: impl Iterator<Item = gst::Buffer>) -> Vec<gst::Buffer> {
    let count = frames.map(|frame| harness.push(frame).unwrap()).count();
    assert!(harness.push_event(gst::event::Eos::new()));
    let buffers: Vec<_> = (0..count).map(|_| harness.pull().unwrap()).collect();
    assert!(harness.pull_until_eos().unwrap().is_none(), "more came out than went in");
    buffers
}

/// Two people who walk past each other in two lanes, and a third who stands in a corner and leaves.
fn scene(number: u64) -> gst::Buffer {
    let way = number as f32;
    let mut places = vec![(30.0 + way * 1.5, 60.0), (290.0 - way * 1.5, 180.0)];
    if number < 80 {
        places.push((34.0, 180.0));
    }
    frame(number, &places)
}

#[test]
fn a_file_with_one_person_works_with_no_property_set() {
    let mut rig = Rig::start("dots-small", "inference-region=auto");
    rig.set_video(&info());
    let at = |number: u64| (60.0 + 1.5 * number as f32, 120.0);
    (0..120).for_each(|number| {
        rig.harness.push(frame(number, &[at(number)])).unwrap();
    });
    rig.harness.push_event(gst::event::Eos::new());
    let mut first = None;
    for number in 0..120 {
        let people = people(&rig.pull());
        if people.people.is_empty() {
            assert!(first.is_none(), "frame {number}: lost");
            continue;
        }
        first.get_or_insert(number);
        assert_eq!(ids(&people), [Some(1)], "frame {number}");
        for (point, dy) in people.people[0].key_points.iter().zip([-40.0, 0.0, 40.0]) {
            let (x, y) = at(number);
            let off = (point.x - x).hypot(point.y - y - dy);
            assert!(off < 4.0, "frame {number}: {point:?} is {off} pixels off");
        }
    }
    assert!(first.unwrap() <= 12, "first found in frame {first:?}");
    assert!(rig.stat("search-crops") >= 6);
}

/// The length of runs does not change what is found.
#[test]
fn two_runs_of_a_file_give_identical_metadata() {
    for properties in
        [&[][..], &[("track-lookahead", 1)], &[("track-lookahead", 4)], &[("inference-interval", 3)]]
    {
        let run = |delay: u64, executors: u32| {
            let finder = Finder { delay, ..Finder::default() };
            let element = element(&finder, Arc::new(MonotonicClock::default()));
            element.set_property("inference-streams", executors);
            // For more than one executor: by default 8 frames of one person are in flight.
            element.set_property("batch-size", 8 / executors);
            properties.iter().for_each(|(name, value)| element.set_property(name, *value as u32));
            let mut harness = play(&element, false);
            let buffers = through(&mut harness, (0..150).map(scene));
            let frames = buffers.iter().map(|buffer| {
                let found = people(buffer);
                (found.carried, found.people)
            });
            frames.collect::<Vec<_>>()
        };
        let first = run(0, 1);
        let most = first.iter().map(|(_, people)| people.len()).max();
        assert!(most >= Some(2), "{properties:?}: {most:?} people at most");
        for (delay, executors) in [(3000, 1), (500, 2), (5000, 2)] {
            assert!(
                run(delay, executors) == first,
                "{properties:?}: a delay of {delay}, {executors} executors"
            );
        }
        let carried = first.iter().filter(|(carried, _)| *carried).count();
        let interval = properties.first().is_some_and(|(name, _)| *name == "inference-interval");
        assert_eq!(carried, if interval { 100 } else { 0 }, "{properties:?}");
    }
}

/// With a clock that stands still, a batch is cut only because nothing more can come before it.
#[test]
fn who_waits_for_a_result_cuts_the_batch() {
    watched("frames that wait for one another", || {
        let element = element(&Finder::default(), Arc::new(ManualClock::default()));
        element.set_property("track-lookahead", 1u32);
        let mut harness = play(&element, false);
        let buffers = through(&mut harness, (0..40).map(|number| frame(number, &[(100.0, 120.0)])));
        assert_eq!(ids(&people(&buffers[39])), [Some(1)]);
        let batches: u64 = element.property::<gst::Structure>("stats").get("batches").unwrap();
        assert!(batches >= 39, "{batches} batches of 40 frames");
    });
}

#[test]
fn a_blocked_sink_does_not_stop_the_tracker() {
    watched("a blocked sink", || {
        let element = element(&Finder::default(), Arc::new(ManualClock::default()));
        element.set_property("track-lookahead", 1u32);
        let (arrived, at_sink) = mpsc::channel();
        let release = Arc::new(Gate::default());
        release.close();
        let gate = release.clone();
        let source = gst::Pad::builder(gst::PadDirection::Src).name("source").build();
        let sink = gst::Pad::builder(gst::PadDirection::Sink)
            .name("sink")
            .chain_function(move |_, _, buffer| {
                gate.pass();
                arrived.send(buffer).unwrap();
                Ok(gst::FlowSuccess::Ok)
            })
            .build();
        element.set_state(gst::State::Playing).unwrap();
        connect(&element, &source, &sink);
        assert!(source.push_event(gst::event::StreamStart::new("test")));
        assert!(source.push_event(gst::event::Caps::new(&info().to_caps().unwrap())));
        let segment = gst::FormattedSegment::<gst::ClockTime>::new();
        assert!(source.push_event(gst::event::Segment::new(&segment)));
        // One frame is in the blocked push; 8 more may be finished after it.
        for number in 0..9 {
            source.push(frame(number, &[(100.0, 120.0)])).unwrap();
        }
        // The batch of the last frames must not wait for more.
        assert!(source.push_event(gst::event::Eos::new()));
        release.open();
        for number in 0..9 {
            assert_eq!(at_sink.recv().unwrap().offset(), number);
        }
        element.set_state(gst::State::Null).unwrap();
    });
}

/// A live stream's frames come while the network is busy. Looks come from the newest result.
#[test]
fn a_live_stream_waits_for_no_result() {
    watched("a live stream", || {
        let finder = Finder::default();
        let element = element(&finder, Arc::new(ManualClock::default()));
        element.set_property("track-lookahead", 1u32);
        element.set_property_from_str("overload", "block");
        let mut harness = play(&element, true);
        finder.gate.close();
        for number in 0..4 {
            harness.push(frame(number, &[(100.0, 120.0)])).unwrap();
        }
        finder.gate.open();
        assert!(harness.push_event(gst::event::Eos::new()));
        for number in 0..4 {
            let buffer = harness.pull().unwrap();
            assert_eq!(buffer.offset(), number);
            assert!(people(&buffer).people.is_empty(), "nobody was known when frame {number} came");
        }
    });
}

#[test]
fn a_flush_ends_the_wait_for_a_result_and_forgets_everybody() {
    watched("a flush", || {
        let finder = Finder::default();
        let element = element(&finder, Arc::new(ManualClock::default()));
        element.set_property("track-lookahead", 1u32);
        let mut harness = play(&element, false);
        for number in 0..30 {
            harness.push(frame(number, &[(100.0, 120.0)])).unwrap();
        }
        finder.gate.close();
        let pad = element.static_pad("sink").unwrap().peer().unwrap();
        let pushing = {
            let pad = pad.clone();
            std::thread::spawn(move || {
                (30..40).find_map(|number| pad.push(frame(number, &[(100.0, 120.0)])).err())
            })
        };
        finder.gate.wait_for_a_run();
        assert!(pad.push_event(gst::event::FlushStart::new()));
        assert_eq!(pushing.join().unwrap(), Some(gst::FlowError::Flushing));
        finder.gate.open();
        assert!(pad.push_event(gst::event::FlushStop::new(true)));
        while harness.try_pull().is_some() {}
        let segment = gst::FormattedSegment::<gst::ClockTime>::new();
        assert!(pad.push_event(gst::event::Segment::new(&segment)));
        let buffers = through(&mut harness, (0..30).map(|number| frame(number, &[(220.0, 120.0)])));
        for number in [0, 29] {
            let people = people(&buffers[number]);
            assert_eq!(ids(&people), [Some(1)], "frame {number}: everybody is forgotten, and numbered anew");
            let middle = people.people[0].key_points[1];
            assert!((middle.x - 220.0).abs() < 4.0, "frame {number}: {middle:?}");
        }
    });
}

/// A detector upstream that runs in every fourth frame.
#[test]
fn a_detector_is_bridged_without_a_gap() {
    let element = element(&Finder::default(), Arc::new(MonotonicClock::default()));
    element.set_property("track-lookahead", 2u32);
    let mut harness = play(&element, false);
    let at = |number: u64| (60.0 + 1.5 * number as f32, 120.0);
    let frames = (0..80).map(|number| {
        let (x, y) = at(number);
        let mut buffer = frame(number, &[(x, y)]);
        if number % 4 == 0 {
            add_person(&mut buffer, [x as i32 - 30, y as i32 - 55, 60, 110]);
        }
        buffer
    });
    // The first frames after the first detection come too early for it: their looks come from two frames
    // before.
    for (number, buffer) in
        through(&mut harness, frames).iter().enumerate().filter(|(number, _)| *number != 1)
    {
        let people = people(buffer);
        assert_eq!(ids(&people), [Some(1)], "frame {number}");
        let (x, y) = at(number as u64);
        let middle = people.people[0].key_points[1];
        assert!((middle.x - x).hypot(middle.y - y) < 4.0, "frame {number}: {middle:?}");
    }
    let stats = element.property::<gst::Structure>("stats");
    assert_eq!(stats.get::<u64>("search-crops").unwrap(), 0);
}

#[test]
fn boxes_outside_the_frame_empty_ones_and_hundreds_of_them_are_borne() {
    let element = element(&Finder::default(), Arc::new(MonotonicClock::default()));
    element.set_property("max-people", 300u32);
    let mut harness = play(&element, false);
    let frames = (0..6).map(|number| {
        let mut buffer = frame(number, &[(100.0, 120.0)]);
        add_person(&mut buffer, [70, 65, 60, 110]);
        for region in [[-500, -500, 60, 80], [5000, 10, 60, 80], [10, 10, 0, 40], [-1, -1, 100_000, 100_000]]
        {
            add_person(&mut buffer, region);
        }
        (0..250).for_each(|index| add_person(&mut buffer, [index, index / 2, 40, 60]));
        buffer
    });
    for buffer in through(&mut harness, frames) {
        let people = people(&buffer);
        assert_eq!(people.people.len(), 254, "all but the one without area");
        let id = people.people[0].id;
        assert!(id.is_some() && people.people[1..].iter().all(|other| other.id != id));
        assert!(people.people.iter().all(|person| person.key_points.iter().all(|point| point.x.is_finite())));
    }
}

/// Streams that share an engine each track their own people, with their own ids.
#[test]
fn streams_that_share_an_engine_follow_their_own() {
    let pose = format!(
        "{} inference-region=auto model-instance-id=tracking",
        network_rig::with_network("dots-small")
    );
    let mut rigs = [Rig::start_bin(&pose), Rig::start_bin(&pose)];
    let places = [(80.0, 120.0), (240.0, 120.0)];
    std::thread::scope(|scope| {
        for (rig, place) in rigs.iter_mut().zip(places) {
            scope.spawn(move || {
                rig.set_video(&info());
                let buffers = through(&mut rig.harness, (0..60).map(|number| frame(number, &[place])));
                let people = people(&buffers[59]);
                assert_eq!(ids(&people), [Some(1)]);
                let middle = people.people[0].key_points[1];
                assert!((middle.x - place.0).hypot(middle.y - place.1) < 4.0, "{middle:?}");
            });
        }
    });
}

#[test]
fn smoothing_holds_points_that_rest() {
    let moves = |smoothing: &str, cutoff: f64| {
        let element = element(&Finder::default(), Arc::new(MonotonicClock::default()));
        element.set_property_from_str("smoothing", smoothing);
        element.set_property("smoothing-min-cutoff", cutoff);
        let mut harness = play(&element, false);
        // A person with a jitter of one pixel.
        let frames = (0..90).map(|number| frame(number, &[(100.0 + (number * 7 % 3) as f32, 120.0)]));
        let buffers = through(&mut harness, frames);
        let at: Vec<_> =
            buffers[30..].iter().map(|buffer| people(buffer).people[0].key_points[1].x).collect();
        at.windows(2).map(|pair| (pair[1] - pair[0]).abs()).sum::<f32>() / (at.len() - 1) as f32
    };
    let (raw, smooth) = (moves("none", 1.0), moves("one-euro", 1.0));
    let smoother = moves("one-euro", 0.1);
    assert!(smoother < smooth / 2.0, "{smooth} pixels a frame become {smoother} with a lower cutoff");
    assert!(raw > 0.5 && smooth < raw / 2.0, "{raw} pixels a frame become {smooth}");
}

/// An inference error concerns only its frame: with passthrough, tracking continues in the frames after it.
#[test]
fn frames_that_cannot_be_read_do_not_stop_the_tracker() {
    let seen = Arc::new(Mutex::new(0));
    let element = element(&Finder::default(), Arc::new(MonotonicClock::default()));
    element.set_property_from_str("on-error", "passthrough");
    let mut harness = play(&element, false);
    let frames = (0..60).map(|number| {
        let mut buffer = frame(number, &[(100.0, 120.0)]);
        if number % 10 == 9 {
            buffer = gst::Buffer::from_mut_slice(vec![0; 7]);
        }
        *seen.lock().unwrap() += 1;
        buffer
    });
    let buffers = through(&mut harness, frames);
    for (number, buffer) in buffers.iter().enumerate().skip(20) {
        match number % 10 {
            9 => assert!(meta::read(buffer).next().is_none(), "frame {number}"),
            _ => assert_eq!(ids(&people(buffer)), [Some(1)], "frame {number}"),
        }
    }
    assert_eq!(*seen.lock().unwrap(), 60);
}

#[test]
fn a_timeout_that_never_comes_is_not_waited_for() {
    watched("an endless timeout", || {
        let mut rig = Rig::start("dots-small", &format!("{NEVER} inference-region=track track-lookahead=3"));
        rig.set_video(&info());
        let buffers = through(&mut rig.harness, (0..30).map(|number| frame(number, &[(100.0, 120.0)])));
        assert_eq!(ids(&people(&buffers[29])), [Some(1)]);
    });
}
