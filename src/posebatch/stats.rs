//! Figures for users: the property `stats` and the message `rtmposebatch-stats`. Figures of frames and queues are the
//! element's own; those from `streams` on are the engine's, of all elements that share it.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use gst::{prelude::*, subclass::prelude::*};

use super::{imp::RtmPoseBatch, skip::Skipping};
use crate::{platform::gpu::GpuMonitor, sync::lock};

/// Frames over which the present rate is measured.
const RATE_WINDOW: usize = 256;

#[derive(Default)]
pub(super) struct Stats {
    pub frames_in: u64,
    pub frames_out: u64,
    /// Frames that went on without inference because of overload.
    pub frames_skipped: u64,
    /// Those of them that no warning has told of.
    pub skipping: Skipping,
    /// Crops for people who were not followed yet.
    pub search_crops: u64,
    /// Upstream is live; none before the first frame.
    pub live: Option<bool>,
    /// The one warning about inference errors was posted.
    pub warned_of_error: bool,
    /// When the last frames went out.
    out_times: VecDeque<Instant>,
    last_posted: Option<Instant>,
}

impl Stats {
    pub fn frame_out(&mut self, now: Instant) {
        self.frames_out += 1;
        if self.out_times.len() == RATE_WINDOW {
            self.out_times.pop_front();
        }
        self.out_times.push_back(now);
    }

    /// Frames a second over the last frames that went out.
    fn rate(&self) -> f64 {
        let (Some(first), Some(last)) = (self.out_times.front(), self.out_times.back()) else { return 0.0 };
        let seconds = last.duration_since(*first).as_secs_f64();
        if seconds > 0.0 { (self.out_times.len() - 1) as f64 / seconds } else { 0.0 }
    }

    /// Whether a message is due; counts it as posted.
    fn is_due(&mut self, interval: Duration, now: Instant) -> bool {
        let last = *self.last_posted.get_or_insert(now);
        let due = !interval.is_zero() && now.duration_since(last) >= interval;
        if due {
            self.last_posted = Some(now);
        }
        due
    }
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

impl RtmPoseBatch {
    pub(super) fn statistics(&self) -> gst::Structure {
        let running = self.running();
        let engine = running.as_ref().map(|running| running.stream.statistics()).unwrap_or_default();
        let streams = running.as_ref().map_or(0, |running| running.stream.streams());
        let gpu = running.as_ref().and_then(|running| running.gpu.as_ref()).and_then(GpuMonitor::figures);
        let batch_size = running.map_or(1, |running| running.stream.batch_size());
        let fill = lock(&self.queue.state).fill();
        let stats = lock(&self.stats);
        let fills =
            (1..=batch_size).map(|crops| engine.fills.get(&crops).copied().unwrap_or(0).to_send_value());
        let mut by_size = gst::Structure::builder("inference-ms-by-size");
        for (size, runs) in &engine.runs_by_size {
            by_size = by_size
                .field(format!("{size}-p50"), ms(runs.percentile(0.5)))
                .field(format!("{size}-p99"), ms(runs.percentile(0.99)));
        }
        let mut structure = gst::Structure::builder("rtmposebatch-stats")
            .field("frames-in", stats.frames_in)
            .field("frames-out", stats.frames_out)
            .field("frames-skipped", stats.frames_skipped)
            .field("search-crops", stats.search_crops)
            .field("fps", stats.rate())
            .field("input-queue", fill.waiting as u32)
            .field("output-queue", fill.finished as u32)
            .field("live", stats.live.unwrap_or(false))
            .field("streams", streams as u32)
            .field("crops", engine.crops)
            .field("batches", engine.batches)
            .field("padding", engine.padding)
            .field("batch-size", batch_size as u32)
            .field("mean-fill", engine.mean_fill(batch_size))
            .field("fills", gst::Array::from_values(fills))
            .field("wait-ms-p50", ms(engine.waits.percentile(0.5)))
            .field("wait-ms-p99", ms(engine.waits.percentile(0.99)))
            .field("inference-ms-p50", ms(engine.runs.percentile(0.5)))
            .field("inference-ms-p99", ms(engine.runs.percentile(0.99)))
            .field("inference-ms-by-size", by_size.build());
        if let Some(gpu) = gpu {
            structure = structure
                .field("gpu-utilization", gpu.utilization)
                .field("gpu-memory", gpu.memory)
                .field("gpu-temperature", gpu.temperature)
                .field("gpu-power", gpu.power);
        }
        structure.build()
    }

    /// Posts the figures when `stats-interval` has passed. Not to be called with a lock held.
    pub(super) fn post_statistics_if_due(&self) {
        let interval = Duration::from_nanos(self.settings().stats_interval);
        if lock(&self.stats).is_due(interval, Instant::now()) {
            let message = gst::message::Element::builder(self.statistics()).src(&*self.obj()).build();
            let _ = self.obj().post_message(message);
        }
    }
}
