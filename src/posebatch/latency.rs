//! How long a frame can take from the sink pad to the source pad.

use std::time::{Duration, Instant};

use gst::{prelude::*, subclass::prelude::*};

use super::{
    imp::{RtmPoseBatch, Running},
    log::CAT,
};
use crate::sync::lock;

/// The estimate must have been low for so long before a lower latency is announced.
const CALM: Duration = Duration::from_secs(10);

/// What was told to the pipeline.
#[derive(Default)]
pub(super) struct Latency {
    /// The least latency in the last answer, or announced since.
    told: Option<Duration>,
    /// Since when the estimate has been under half of that.
    low_since: Option<Instant>,
    /// How long a frame lasts; none without a framerate.
    frame_duration: Option<gst::ClockTime>,
}

impl Latency {
    /// The least latency the pipeline counts with; none before the first query.
    pub fn told(&self) -> Option<Duration> {
        self.told
    }

    pub fn set_frame_duration(&mut self, duration: Option<gst::ClockTime>) {
        self.frame_duration = duration;
    }

    /// Whether the pipeline must ask again.
    fn must_announce(&mut self, estimate: Duration, now: Instant) -> bool {
        let Some(told) = self.told else { return false };
        let low = estimate < told / 2;
        let low_since = low.then(|| self.low_since.unwrap_or(now));
        self.low_since = low_since;
        let announce = estimate > told || low_since.is_some_and(|since| now.duration_since(since) >= CALM);
        if announce {
            self.told = Some(estimate);
            self.low_since = None;
        }
        announce
    }
}

/// A crop that just misses a batch waits for that one's run, or for the timeout, and then for its own run. Rounded up
/// to a millisecond, so that a trifle more is no news.
fn estimate(timeout: Duration, run: Duration) -> Duration {
    let exact = timeout.max(run).saturating_add(run);
    Duration::from_millis(exact.as_micros().div_ceil(1000).try_into().unwrap_or(u64::MAX))
}

impl RtmPoseBatch {
    fn estimated_latency(&self, running: &Running) -> Duration {
        let timeout = self.settings().timeout();
        estimate(timeout, running.stream.run_time())
    }

    /// The latency that frames are held to: what the pipeline counts with, or would be told now.
    pub(super) fn told_latency(&self, running: &Running) -> Duration {
        let told = lock(&self.latency).told();
        told.unwrap_or_else(|| self.estimated_latency(running))
    }

    /// Answers the LATENCY query of downstream.
    pub(super) fn query_latency(&self, pad: &gst::Pad, query: &mut gst::QueryRef) -> bool {
        if !gst::Pad::query_default(pad, Some(&*self.obj()), query) {
            return false;
        }
        let Some(running) = self.running() else { return true };
        let gst::QueryViewMut::Latency(query) = query.view_mut() else { return false };
        let (live, upstream_min, upstream_max) = query.result();
        let least = self.estimated_latency(&running);
        let frame_duration = {
            let mut latency = lock(&self.latency);
            latency.told = Some(least);
            latency.low_since = None;
            latency.frame_duration
        };
        let own_min = gst::ClockTime::try_from(least).unwrap_or(gst::ClockTime::MAX);
        let settings = &running.settings;
        let queued = u64::from(settings.input_queue_size) + u64::from(settings.output_queue_size);
        let frames = queued + running.stream.crops_in_flight() as u64;
        let own_max = frame_duration.map(|frame| frame.saturating_mul(frames).max(own_min));
        let min = upstream_min.saturating_add(own_min);
        let max = upstream_max.zip(own_max).map(|(upstream, own)| upstream.saturating_add(own));
        gst::debug!(
            CAT,
            imp = self,
            "Latency: live {live}, min {upstream_min} + {own_min}, max {}",
            max.display()
        );
        query.set(live, min, max);
        true
    }

    /// Asks the pipeline to count anew when the estimate has left what was told. Not to be called with a lock held.
    pub(super) fn check_latency(&self, running: &Running) {
        let estimate = self.estimated_latency(running);
        if lock(&self.latency).must_announce(estimate, Instant::now()) {
            gst::debug!(CAT, imp = self, "The latency is now {estimate:?}");
            let _ = self.obj().post_message(gst::message::Latency::builder().src(&*self.obj()).build());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn the_estimate_is_a_wait_and_a_run() {
        assert_eq!(estimate(15 * MS, 4 * MS), 19 * MS);
        assert_eq!(estimate(15 * MS, 40 * MS), 80 * MS);
        assert_eq!(estimate(15 * MS, Duration::from_micros(3100)), 19 * MS);
        assert!(estimate(Duration::from_nanos(u64::MAX), MS) > Duration::from_secs(1));
    }

    #[test]
    fn news_are_a_higher_estimate_or_one_that_stays_low() {
        let start = Instant::now();
        let mut latency = Latency::default();
        assert!(!latency.must_announce(20 * MS, start), "nobody has asked yet");
        latency.told = Some(20 * MS);
        assert!(!latency.must_announce(20 * MS, start));
        assert!(latency.must_announce(21 * MS, start));
        assert!(!latency.must_announce(21 * MS, start), "told already");
        assert!(!latency.must_announce(5 * MS, start));
        assert!(!latency.must_announce(15 * MS, start + CALM), "it was not low all the time");
        assert!(!latency.must_announce(5 * MS, start + CALM));
        assert!(!latency.must_announce(5 * MS, start + 2 * CALM - MS));
        assert!(latency.must_announce(5 * MS, start + 2 * CALM));
        assert_eq!(latency.told, Some(5 * MS));
    }
}
