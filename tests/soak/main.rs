//! Memory, threads and open files over hours at full speed, and over many starts.
//!
//! In `cargo test` it runs for a second, with 40 starts. `make soak MINUTES=n` sets `RTMPOSE_SOAK_MINUTES`: three quarters
//! of them with a tiny model, one quarter with the embedded one, then 1,000 starts and stops.

mod figures;
mod slope;

use std::{
    sync::Mutex,
    time::{Duration, Instant},
};

use figures::{Counting, Figures};
use gst::prelude::*;
use slope::{Slope, Verdict, least, mean};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Tests that count what the process holds take turns.
static TURN: Mutex<()> = Mutex::new(());

/// The slope of a series: its unit, and the allowed growth.
#[derive(Clone, Copy)]
struct Unit {
    name: &'static str,
    limit: f64,
}

const AN_HOUR: Unit = Unit { name: "MB an hour", limit: 5.0 };
/// A pipeline without the element grows by a tenth of this, because caches of malloc and GLib fill.
const A_START: Unit = Unit { name: "MB in 1,000 starts", limit: 1.0 };

/// Frames that every run reaches, however slow the machine is.
const LEAST_FRAMES: u64 = 100;

/// What a series must show, by its length: short series show more of the start than of growth.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Demand {
    /// Nothing: the series is only printed.
    Nothing,
    /// No limit is certainly passed.
    NotPassed,
    /// Every limit is certainly held.
    Held,
}

impl Demand {
    fn of(time: Duration) -> Self {
        match time.as_secs() / 60 {
            0..4 => Self::Nothing,
            4..10 => Self::NotPassed,
            _ => Self::Held,
        }
    }
}

const STARTS: usize = 1000;

/// How long, or how often, each part is played.
struct Length {
    tiny: Duration,
    embedded: Duration,
    starts: usize,
}

impl Length {
    fn chosen() -> Self {
        match std::env::var("RTMPOSE_SOAK_MINUTES") {
            Ok(text) => {
                let minutes = text.parse().ok().filter(|minutes| *minutes > 0);
                let minutes: u64 =
                    minutes.unwrap_or_else(|| panic!("RTMPOSE_SOAK_MINUTES={text} is no number"));
                let quarter = Duration::from_secs(15 * minutes);
                Self { tiny: 3 * quarter, embedded: quarter, starts: STARTS }
            }
            Err(_) => Self { tiny: Duration::from_secs(1), embedded: Duration::ZERO, starts: 40 },
        }
    }
}

fn file(path: &str) -> String {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    assert!(path.exists(), "{} is missing: `make setup` fetches what is not in the project", path.display());
    path.display().to_string()
}

/// All elements of the plugin downstream of that source. The queues are short, because the fill of a long queue
/// depends on what else the machine does, and would look like growth.
fn pipeline(source: &str, properties: &str) -> gst::Pipeline {
    const QUEUE: &str = "queue max-size-buffers=2 max-size-bytes=0 max-size-time=0";
    let line = format!(
        "{source} ! rtmposebatch name=pose execution-provider=cpu {properties} ! tee name=t
         t. ! {QUEUE} ! rtmposeoverlay ! fakesink sync=false
         t. ! {QUEUE} ! rtmposejson ! fakesink sync=false"
    );
    gst::parse::launch(&line).unwrap().downcast().unwrap()
}

fn tiny(frames: i32) -> gst::Pipeline {
    let source = format!(
        "videotestsrc pattern=ball num-buffers={frames} ! video/x-raw,format=I420,width=320,height=240"
    );
    let network = file("tests/networks/dots-small.onnx");
    pipeline(&source, &format!("inference-region=full-frame model-file={network}"))
}

/// The embedded network finds and tracks people, from a file that begins again at its end.
fn embedded() -> gst::Pipeline {
    let source = format!("filesrc location={} ! decodebin ! videoconvert", file(".deps/video/demo.mp4"));
    pipeline(&source, "")
}

/// The next EOS within that time, if any. An error or a warning fails the test.
fn next_message(bus: &gst::Bus, within: Duration) -> Option<gst::Message> {
    let until = Instant::now() + within;
    loop {
        let left = gst::ClockTime::try_from(until.saturating_duration_since(Instant::now())).unwrap();
        let message = bus.timed_pop(left)?;
        match message.view() {
            gst::MessageView::Error(error) => panic!("{} {:?}", error.error(), error.debug()),
            gst::MessageView::Warning(warning) => panic!("{} {:?}", warning.error(), warning.debug()),
            gst::MessageView::Eos(_) => return Some(message),
            _ => (),
        }
    }
}

fn frames(pipeline: &gst::Pipeline) -> u64 {
    let stats: gst::Structure = pipeline.by_name("pose").unwrap().property("stats");
    stats.get("frames-out").unwrap()
}

fn start(pipeline: &gst::Pipeline, bus: &gst::Bus) {
    if pipeline.set_state(gst::State::Playing).is_err() {
        // The bus has the reason of the failure.
        next_message(bus, Duration::ZERO);
        panic!("the pipeline does not start");
    }
}

/// Plays for this time at full speed; a file begins again at its end. Returns a series of figures by hours, and
/// the number of frames. For a file the figures are taken at each end, when no frame is in flight.
fn play(pipeline: &gst::Pipeline, time: Duration) -> (Vec<(f64, Figures)>, u64) {
    let bus = pipeline.bus().unwrap();
    start(pipeline, &bus);
    let start = Instant::now();
    // Often enough for the shortest form, but not so often that taking figures is most of the work.
    let interval = (time / 400).clamp(Duration::from_millis(10), Duration::from_secs(1));
    // Allocated now, so that the series itself does not grow in the figures.
    let mut series = Vec::with_capacity(100_000);
    let mut ended = false;
    while start.elapsed() < time || frames(pipeline) < LEAST_FRAMES {
        let at_the_end = next_message(&bus, interval).is_some();
        if at_the_end && !ended {
            ended = true;
            series.clear();
        }
        if at_the_end || !ended {
            series.push((start.elapsed().as_secs_f64() / 3600.0, Figures::now()));
        }
        if at_the_end {
            pipeline.seek_simple(gst::SeekFlags::FLUSH, gst::ClockTime::ZERO).unwrap();
        }
    }
    let frames = frames(pipeline);
    pipeline.set_state(gst::State::Null).unwrap();
    (series, frames)
}

/// Starts and stops. Returns a series of figures, taken at each stop, by thousands of starts.
fn start_and_stop(pipeline: &gst::Pipeline, starts: usize) -> Vec<(f64, Figures)> {
    let bus = pipeline.bus().unwrap();
    (0..starts)
        .map(|number| {
            start(pipeline, &bus);
            next_message(&bus, Duration::from_secs(60)).expect("the frames come to their end");
            pipeline.set_state(gst::State::Null).unwrap();
            bus.set_flushing(true);
            bus.set_flushing(false);
            (number as f64 / 1000.0, Figures::now())
        })
        .collect()
}

/// Prints the slopes of a series' second half, and returns what is wrong with them.
fn judge(what: &str, series: &[(f64, Figures)], unit: Unit, demand: Demand) -> Vec<String> {
    let (first, second) = series.split_at(series.len() / 2);
    let mut wrong = Vec::new();
    let mut slope = |name: &str, figure: fn(&Figures) -> usize, value: fn(&[f64]) -> f64| {
        let values: Vec<_> = second.iter().map(|(time, now)| (*time, figure(now) as f64 / 1e6)).collect();
        let last = values.last().map_or(0.0, |(_, value)| *value);
        let Some(slope) = Slope::of(&values, value) else {
            println!("  {name}: {last:.2} MB at the end, too few samples for a slope");
            return;
        };
        let Slope { estimate, half_width } = slope;
        let verdict = slope.verdict(unit.limit);
        println!(
            "  {name}: {last:.2} MB at the end, {estimate:+.3} {} (95 %: {:+.3} to {:+.3}), limit {}: {}",
            unit.name,
            estimate - half_width,
            estimate + half_width,
            unit.limit,
            match verdict {
                Verdict::Held => "held",
                Verdict::Passed => "PASSED",
                Verdict::Open => "open, a longer run is needed to tell",
            }
        );
        let enough = match demand {
            Demand::Nothing => true,
            Demand::NotPassed => verdict != Verdict::Passed,
            Demand::Held => verdict == Verdict::Held,
        };
        if !enough {
            wrong.push(format!("{what}: {name} grows by {estimate:.3} +- {half_width:.3} {}", unit.name));
        }
    };
    // Memory in flight comes and goes: the minimum of each block is what stays.
    slope("live bytes of Rust", |now| now.rust, least);
    slope("live bytes of malloc", |now| now.heap, least);
    slope("resident memory", |now| now.resident, mean);
    for (name, figure) in
        [("threads", (|now| now.threads) as fn(&Figures) -> usize), ("files", |now| now.files)]
    {
        let most = |part: &[(f64, Figures)]| part.iter().map(|(_, now)| figure(now)).max().unwrap_or(0);
        println!("  {name}: at most {} in the first half, {} in the second", most(first), most(second));
        if demand > Demand::Nothing && most(second) > most(first) {
            wrong.push(format!("{what}: more {name}: {} after {}", most(second), most(first)));
        }
    }
    wrong
}

#[test]
fn memory_threads_and_files_do_not_grow() {
    let _turn = TURN.lock().unwrap();
    // Each of malloc's arenas keeps what was freed in it, and it is chance which thread uses which arena.
    // SAFETY: a plain call.
    assert_eq!(unsafe { libc::mallopt(libc::M_ARENA_MAX, 1) }, 1);
    gst::init().unwrap();
    gstrtmpose::plugin_register_static().unwrap();
    let length = Length::chosen();
    let mut wrong = Vec::new();
    // One frame more or less in the file's decoder is 2.6 MB, which widens any interval.
    for (what, pipeline, time, most) in [
        ("tiny network", tiny(-1), length.tiny, Demand::Held),
        ("embedded network", embedded(), length.embedded, Demand::NotPassed),
    ] {
        if time.is_zero() {
            continue;
        }
        let (series, frames) = play(&pipeline, time);
        println!("{what}, {} s at full speed, {frames} frames:", time.as_secs());
        assert!(frames > 0, "{what}: no frame came out");
        wrong.extend(judge(what, &series, AN_HOUR, Demand::of(time).min(most)));
    }
    let pipeline = tiny(8);
    let series = start_and_stop(&pipeline, length.starts);
    println!("{} starts and stops:", length.starts);
    let demand = if length.starts < STARTS { Demand::Nothing } else { Demand::NotPassed };
    wrong.extend(judge("starts and stops", &series, A_START, demand));
    // At every stop Rust code has freed all of its memory, however few stops there are. A thread that is about
    // to end may still hold some hundred bytes at one of them, so the minimum of each half counts.
    let fewest = |part: &[(f64, Figures)]| part.iter().map(|(_, now)| now.rust).min().unwrap();
    let (first, second) = series.split_at(series.len() / 2);
    if fewest(second) > fewest(first) + 16 * second.len() {
        wrong.push(format!("live bytes of Rust after a stop: {} after {}", fewest(second), fewest(first)));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
