//! Statistics for users: the property `stats`, and the message with the same fields. The figures of frames and queues belong
//! to the element; those from `streams` on belong to the engine, with all elements that share it.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use gst::prelude::*;

use super::{overload::Skipping, queue::Fill};
use crate::{
    engine::{DeviceFigures, Place, Statistics},
    platform::gpu::GpuFigures,
};

/// Frames over which the current rate is measured.
const RATE_WINDOW: usize = 256;

#[derive(Default)]
pub(super) struct Figures {
    pub frames_in: u64,
    pub frames_out: u64,
    /// Frames that passed without inference because of overload.
    pub frames_skipped: u64,
    /// Those among them that no warning has reported.
    pub skipping: Skipping,
    /// Whether upstream is live; none before the first frame.
    pub live: Option<bool>,
    /// The only warning about inference errors was posted.
    pub warned_of_error: bool,
    /// When the last frames went out.
    out_times: VecDeque<Instant>,
    last_posted: Option<Instant>,
}

impl Figures {
    pub fn frame_out(&mut self, now: Instant) {
        self.frames_out += 1;
        if self.out_times.len() == RATE_WINDOW {
            self.out_times.pop_front();
        }
        self.out_times.push_back(now);
    }

    /// Frames per second over the latest frames.
    fn rate(&self) -> f64 {
        let (Some(first), Some(last)) = (self.out_times.front(), self.out_times.back()) else { return 0.0 };
        let seconds = last.duration_since(*first).as_secs_f64();
        if seconds > 0.0 { (self.out_times.len() - 1) as f64 / seconds } else { 0.0 }
    }

    /// Whether a message is due; counts it as posted.
    pub fn is_due(&mut self, interval: Duration, now: Instant) -> bool {
        let last = *self.last_posted.get_or_insert(now);
        let due = !interval.is_zero() && now.duration_since(last) >= interval;
        if due {
            self.last_posted = Some(now);
        }
        due
    }

    /// All figures, with the element's own in `own`.
    pub fn structure(
        &self,
        name: &str,
        own: &[(&'static str, u64)],
        fill: &Fill,
        EngineFigures { statistics, streams, batch_size, places, devices, gpus }: &EngineFigures,
    ) -> gst::Structure {
        let fills =
            (1..=*batch_size).map(|crops| statistics.fills.get(&crops).copied().unwrap_or(0).to_send_value());
        let mut by_size = gst::Structure::builder("inference-ms-by-size");
        for (size, runs) in &statistics.runs_by_size {
            by_size = by_size
                .field(format!("{size}-p50"), ms(runs.percentile(0.5)))
                .field(format!("{size}-p99"), ms(runs.percentile(0.99)));
        }
        let mut structure = gst::Structure::builder(name)
            .field("frames-in", self.frames_in)
            .field("frames-out", self.frames_out)
            .field("frames-skipped", self.frames_skipped);
        for (name, number) in own {
            structure = structure.field(*name, number);
        }
        structure = structure
            .field("fps", self.rate())
            .field("input-queue", fill.waiting as u32)
            .field("output-queue", fill.finished as u32)
            .field("live", self.live.unwrap_or(false))
            .field("streams", *streams as u32)
            .field("crops", statistics.crops)
            .field("batches", statistics.batches)
            .field("padding", statistics.padding)
            .field("batch-size", *batch_size as u32)
            .field("mean-fill", statistics.mean_fill(*batch_size))
            .field("fills", gst::Array::from_values(fills))
            .field("wait-ms-p50", ms(statistics.waits.percentile(0.5)))
            .field("wait-ms-p99", ms(statistics.waits.percentile(0.99)))
            .field("inference-ms-p50", ms(statistics.runs.percentile(0.5)))
            .field("inference-ms-p99", ms(statistics.runs.percentile(0.99)))
            .field("inference-ms-by-size", by_size.build());
        if !places.is_empty() {
            let places = places.iter().map(|place| {
                gst::Structure::builder("server")
                    .field("name", &place.name)
                    .field("state", place.state)
                    .field("in-flight", place.in_flight as u32)
                    .field("batches", place.batches)
                    .field("failures", place.failures)
                    .field("ms-p50", ms(place.median))
                    .field("ms-p99", ms(place.percentile_99))
                    .build()
                    .to_send_value()
            });
            structure = structure.field("servers", gst::Array::from_values(places));
        }
        if devices.is_empty() {
            // At most one.
            structure = gpus.iter().fold(structure, |structure, (_, gpu)| with_gpu(structure, gpu));
        } else {
            let cards = devices.iter().map(|device| {
                let card = gst::Structure::builder("gpu")
                    .field("device-id", device.number)
                    .field("state", device.state)
                    .field("in-flight", device.in_flight as u32)
                    .field("crops", device.crops)
                    .field("batches", device.batches)
                    .field("inference-ms-p50", ms(device.median))
                    .field("inference-ms-p99", ms(device.percentile_99));
                let own = gpus.iter().find(|(number, _)| *number == device.number);
                own.into_iter().fold(card, |card, (_, gpu)| with_gpu(card, gpu)).build().to_send_value()
            });
            structure = structure.field("gpus", gst::Array::from_values(cards));
        }
        structure.build()
    }
}

fn with_gpu(structure: gst::structure::Builder, gpu: &GpuFigures) -> gst::structure::Builder {
    structure
        .field("gpu-utilization", gpu.utilization)
        .field("gpu-memory", gpu.memory)
        .field("gpu-temperature", gpu.temperature)
        .field("gpu-power", gpu.power)
}

/// Figures of the engine, for all elements that share it.
pub(super) struct EngineFigures {
    pub statistics: Statistics,
    pub streams: usize,
    pub batch_size: usize,
    pub places: Vec<Place>,
    /// If it has several.
    pub devices: Vec<DeviceFigures>,
    pub gpus: Vec<(u32, GpuFigures)>,
}

impl Default for EngineFigures {
    /// If there is no engine.
    fn default() -> Self {
        Self {
            statistics: Statistics::default(),
            streams: 0,
            batch_size: 1,
            places: Vec::new(),
            devices: Vec::new(),
            gpus: Vec::new(),
        }
    }
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}
