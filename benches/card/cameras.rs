//! Live cameras with random phases that share an engine: how long a frame takes from in to out.

use std::{
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use gst::prelude::*;

use super::{
    Options, Result,
    element::{self, Card, Stream},
    report::Row,
};

/// The first second, while the rhythm is learned, does not count.
const LEARNING: Duration = Duration::from_secs(1);

pub fn measure(options: &Options) -> Result<Row> {
    element::init()?;
    let frames = element::frames();
    let (cameras, fps) = (options.count("cameras", 8)?, options.number("fps", 30.0)?);
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
    let opened = start.elapsed();
    let interval = Duration::from_secs_f64(1.0 / fps);
    let begin = Instant::now();
    let frames = &frames;
    thread::scope(|scope| {
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
    });
    // All frames have come out.
    for _ in 0..cameras {
        ends.recv()?;
    }
    let mut row = Row::default();
    element::stages(&streams[0].element, &mut row);
    if let Some(memory) = Card::find().and_then(|card| card.memory_mib()) {
        row.set("gpu-memory-mib", memory);
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
    row.set("start-s", opened.as_secs_f64());
    Ok(row)
}
