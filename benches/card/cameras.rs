//! Live cameras with random phases that share an engine: how long a frame takes from in to out.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use gst::prelude::*;

use super::{
    Options, Result,
    element::{self, Card, Stream},
    report::Row,
};

/// The first second does not count: the element learns the frame intervals.
const LEARNING: Duration = Duration::from_secs(1);

/// One row for each number of `cameras`, and with `full=true` one at the element's full speed.
pub fn measure(options: &Options) -> Result<Vec<Row>> {
    element::init()?;
    let frames = Arc::new(element::frames());
    let opened = Instant::now();
    // Keeps the engine loaded between rows. In READY the element sends nothing that a batch would wait for.
    let engine = element::make(options, "cameras")?;
    engine.set_state(gst::State::Ready)?;
    let start = opened.elapsed().as_secs_f64();
    options.wait_for_turn()?;
    let mut rows = Vec::new();
    for cameras in options.text("cameras", "8").split(',') {
        let mut row = live(options, &frames, cameras.parse()?)?;
        row.set_text("cameras", cameras);
        row.set("start-s", start);
        rows.push(row);
    }
    if options.text("full", "false") == "true" {
        rows.push(full(options, &frames)?);
    }
    engine.set_state(gst::State::Null)?;
    Ok(rows)
}

/// 16 streams, as fast as the element takes frames.
fn full(options: &Options, frames: &Arc<Vec<gst::Buffer>>) -> Result<Row> {
    let counted = Arc::new(AtomicU64::new(0));
    let streams = (0..16)
        .map(|_| {
            let counted = counted.clone();
            let out = move |_: &gst::Buffer| _ = counted.fetch_add(1, Ordering::Relaxed);
            Stream::start(element::make(options, "cameras")?, false, out, || ())
        })
        .collect::<Result<Vec<_>>>()?;
    let (rate, utilization) = element::feed(&streams, frames, &counted, options.seconds()?);
    let mut row = Row::default();
    row.set_text("files", "16");
    row.set("crops-per-second", rate);
    if let Some(utilization) = utilization {
        row.set("gpu-use-percent", utilization);
    }
    element::stages(&streams[0].element, &mut row);
    Card::tell_memory(&mut row);
    Ok(row)
}

fn live(options: &Options, frames: &[gst::Buffer], cameras: usize) -> Result<Row> {
    let fps = options.number("fps", 30.0)?;
    let length = Duration::from_secs_f64(options.number("camera-seconds", 5.0)?);
    let (sender, passed) = mpsc::channel();
    let (ended, ends) = mpsc::channel();
    let start = Instant::now();
    let streams = (0..cameras)
        .map(|_| {
            let (sender, ended) = (sender.clone(), ended.clone());
            let out = move |buffer: &gst::Buffer| {
                let arrived = start + Duration::from(buffer.pts().unwrap_or_default());
                let inferred = gstrtmpose::meta::read(buffer).next().is_some();
                let _ = sender.send((arrived, Instant::now(), inferred));
            };
            let at_end = move || {
                let _ = ended.send(());
            };
            Stream::start(element::make(options, "cameras")?, true, out, at_end)
        })
        .collect::<Result<Vec<_>>>()?;
    drop((sender, ended));
    let interval = Duration::from_secs_f64(1.0 / fps);
    let begin = Instant::now();
    let used = thread::scope(|scope| {
        let use_of_the_card = scope.spawn(move || {
            let card = Card::find();
            let mut samples = Vec::new();
            while begin.elapsed() < LEARNING + length {
                thread::sleep(Duration::from_millis(50));
                samples
                    .extend(card.as_ref().and_then(Card::utilization).filter(|_| begin.elapsed() > LEARNING));
            }
            (!samples.is_empty()).then(|| samples.iter().sum::<f64>() / samples.len() as f64)
        });
        for (number, stream) in streams.iter().enumerate() {
            scope.spawn(move || {
                let mut random = number as u64 * 7919 + 1;
                for _ in 0..3 {
                    random = random.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                }
                let mut due = begin + interval.mul_f64((random >> 11) as f64 / (1u64 << 53) as f64);
                for frame in frames.iter().cycle() {
                    if due > begin + LEARNING + length {
                        break;
                    }
                    thread::sleep(due.saturating_duration_since(Instant::now()));
                    due += interval;
                    let mut frame = frame.copy();
                    let arrived = gst::ClockTime::try_from(start.elapsed()).unwrap_or_default();
                    frame.make_mut().set_pts(arrived);
                    if stream.source.push(frame).is_err() {
                        break;
                    }
                }
                stream.source.push_event(gst::event::Eos::new());
            });
        }
        use_of_the_card.join().unwrap_or_default()
    });
    // Waits until all frames have come out.
    for _ in 0..cameras {
        ends.recv()?;
    }
    let mut row = Row::default();
    element::stages(&streams[0].element, &mut row);
    Card::tell_memory(&mut row);
    if let Some(used) = used {
        row.set("gpu-use-percent", used);
    }
    drop(streams);
    let counted: Vec<_> = passed.iter().filter(|(arrived, ..)| *arrived >= begin + LEARNING).collect();
    let mut took: Vec<_> = counted
        .iter()
        .filter(|(.., inferred)| *inferred)
        .map(|(arrived, left, _)| *left - *arrived)
        .collect();
    took.sort_unstable();
    let percentile = |share: f64| took.get(((took.len().max(1) - 1) as f64 * share) as usize);
    for (name, share) in [("p50-ms", 0.5), ("p99-ms", 0.99), ("worst-ms", 1.0)] {
        if let Some(time) = percentile(share) {
            row.set(name, time.as_secs_f64() * 1000.0);
        }
    }
    row.set("crops-per-second", took.len() as f64 / length.as_secs_f64());
    row.set("not-inferred", (counted.len() - took.len()) as f64);
    Ok(row)
}
