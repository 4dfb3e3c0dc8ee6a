//! How long a frame can take from the sink pad to the source pad.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

/// A lower latency is announced after the estimate was low for this long.
const CALM: Duration = Duration::from_secs(10);

/// Frames whose number of crops is remembered.
const REMEMBERED_FRAMES: usize = 256;

/// The latency that was reported to the pipeline, and the latency that the pipeline uses.
#[derive(Default)]
pub(super) struct Latency {
    /// The last answer to a query: the element's own minimum latency, and upstream's. Anything can ask at any time.
    answered: Option<(Duration, Duration)>,
    /// The element's share of the pipeline's latency, from the last LATENCY event.
    used: Option<Duration>,
    /// A latency announced after that, but not set by the pipeline.
    announced: Option<Duration>,
    /// Since when the estimate has been below half of that.
    low_since: Option<Instant>,
    /// How long a frame lasts; none without a framerate.
    frame_duration: Option<gst::ClockTime>,
    /// Numbers of crops of the latest frames that had any.
    crops: VecDeque<usize>,
}

impl Latency {
    /// The minimum latency that the pipeline uses or was asked to use; none before the first.
    pub fn held_to(&self) -> Option<Duration> {
        self.announced.or(self.used)
    }

    pub fn set_frame_duration(&mut self, duration: Option<gst::ClockTime>) {
        self.frame_duration = duration;
    }

    /// A frame has this many crops.
    pub fn note_crops(&mut self, crops: usize) {
        if self.crops.len() == REMEMBERED_FRAMES {
            self.crops.pop_front();
        }
        self.crops.push_back(crops);
    }

    /// The most crops in one of the latest frames; 1 before the first.
    pub fn most_crops(&self) -> usize {
        self.crops.iter().copied().max().unwrap_or(1)
    }

    /// The pipeline uses that total latency from now on.
    pub fn configured(&mut self, all: Duration) {
        let Some((own, upstream)) = self.answered else { return };
        let used = own.min(all.saturating_sub(upstream));
        self.used = Some(used);
        // Announcing again what the pipeline does not set would change nothing.
        self.announced = (used < own).then_some(own);
        self.low_since = None;
    }

    /// Whether the pipeline must query the latency again.
    pub fn must_announce(&mut self, estimate: Duration, now: Instant) -> bool {
        let Some(held_to) = self.held_to() else { return false };
        let low = estimate < held_to / 2;
        let low_since = low.then(|| self.low_since.unwrap_or(now));
        self.low_since = low_since;
        let announce = estimate > held_to || low_since.is_some_and(|since| now.duration_since(since) >= CALM);
        if announce {
            self.announced = Some(estimate);
            self.low_since = None;
        }
        announce
    }

    /// Records an answer to a query: the element's own minimum latency, and upstream's. Returns a frame's duration, if it is
    /// known.
    pub fn answer(&mut self, own: Duration, upstream: Duration) -> Option<gst::ClockTime> {
        self.answered = Some((own, upstream));
        self.frame_duration
    }

    /// Frames that a sink holds back here for the latency that it uses, and for which there must be room.
    pub fn frames_held_back(&self) -> usize {
        let (Some(held_to), Some(frame)) = (self.held_to(), self.frame_duration) else { return 0 };
        let frames = held_to.as_nanos().div_ceil(u128::from(frame.nseconds().max(1)));
        usize::try_from(frames).unwrap_or(usize::MAX)
    }
}

/// A crop that just misses a batch waits for that batch's run, or for the timeout, and then for the runs of its own frame.
/// Rounded up to a millisecond, so that tiny changes are not announced.
pub(super) fn estimate(timeout: Duration, run: Duration, runs: u32) -> Duration {
    let exact = timeout.max(run).saturating_add(run.saturating_mul(runs));
    Duration::from_millis(exact.as_micros().div_ceil(1000).try_into().unwrap_or(u64::MAX))
}

/// The longest latency for which the element can hold frames: answered frames wait in the output queue, and can fill it. It
/// can also hold frames for the latency that it asks for.
pub(super) fn greatest(
    least: gst::ClockTime,
    frame: gst::ClockTime,
    output_queue_size: u32,
) -> gst::ClockTime {
    frame.saturating_mul(output_queue_size.into()).max(least)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn the_estimate_is_a_wait_and_the_runs_of_a_frame() {
        assert_eq!(estimate(15 * MS, 4 * MS, 1), 19 * MS);
        assert_eq!(estimate(15 * MS, 40 * MS, 1), 80 * MS);
        assert_eq!(estimate(15 * MS, 4 * MS, 3), 27 * MS);
        assert_eq!(estimate(15 * MS, Duration::from_micros(3100), 1), 19 * MS);
        assert!(estimate(Duration::from_nanos(u64::MAX), MS, 1) > Duration::from_secs(1));
        assert!(estimate(15 * MS, Duration::MAX, u32::MAX) > Duration::from_secs(1));
    }

    #[test]
    fn the_greatest_latency_is_what_answered_frames_have_places_for() {
        let ms = gst::ClockTime::from_mseconds;
        assert_eq!(greatest(ms(15), ms(40), 8), ms(320));
        assert_eq!(greatest(ms(15), ms(1), 8), ms(15), "never less than what is asked for");
    }

    /// A pipeline that queries the latency again.
    fn reconfigure(latency: &mut Latency, estimate: Duration) {
        latency.answered = Some((estimate, 3 * MS));
        latency.configured(estimate + 3 * MS);
    }

    #[test]
    fn news_are_a_higher_estimate_or_one_that_stays_low() {
        let start = Instant::now();
        let mut latency = Latency::default();
        assert!(!latency.must_announce(20 * MS, start), "no latency is in use yet");
        reconfigure(&mut latency, 20 * MS);
        assert!(!latency.must_announce(20 * MS, start));
        assert!(latency.must_announce(21 * MS, start));
        assert!(!latency.must_announce(21 * MS, start), "told already");
        reconfigure(&mut latency, 21 * MS);
        assert!(!latency.must_announce(5 * MS, start));
        assert!(!latency.must_announce(15 * MS, start + CALM), "it was not low all the time");
        assert!(!latency.must_announce(5 * MS, start + CALM));
        assert!(!latency.must_announce(5 * MS, start + 2 * CALM - MS));
        assert!(latency.must_announce(5 * MS, start + 2 * CALM));
        reconfigure(&mut latency, 5 * MS);
        assert_eq!(latency.held_to(), Some(5 * MS));
    }

    #[test]
    fn an_answer_alone_changes_nothing() {
        let start = Instant::now();
        let mut latency = Latency { answered: Some((20 * MS, Duration::ZERO)), ..Latency::default() };
        assert_eq!(latency.held_to(), None);
        reconfigure(&mut latency, 20 * MS);
        // A query that changes nothing.
        latency.answered = Some((30 * MS, Duration::ZERO));
        assert_eq!(latency.held_to(), Some(20 * MS));
        assert!(latency.must_announce(30 * MS, start), "the pipeline does not count with it");
    }

    #[test]
    fn a_pipeline_that_gives_less_is_not_asked_again_and_again() {
        let start = Instant::now();
        let mut latency = Latency::default();
        reconfigure(&mut latency, 20 * MS);
        for _ in 0..3 {
            // Its latency is set by hand: 10 ms, of which upstream has 3.
            latency.answered = Some((40 * MS, 3 * MS));
            latency.configured(10 * MS);
            assert_eq!(latency.used, Some(7 * MS));
            assert!(!latency.must_announce(40 * MS, start));
        }
        assert!(latency.must_announce(41 * MS, start));
    }

    #[test]
    fn frames_are_held_back_for_the_latency_in_use() {
        let mut latency = Latency::default();
        latency.set_frame_duration(Some(gst::ClockTime::from_mseconds(33)));
        assert_eq!(latency.frames_held_back(), 0);
        reconfigure(&mut latency, 200 * MS);
        assert_eq!(latency.frames_held_back(), 7);
        latency.set_frame_duration(None);
        assert_eq!(latency.frames_held_back(), 0);
    }

    #[test]
    fn the_most_crops_are_those_of_the_last_frames() {
        let mut latency = Latency::default();
        assert_eq!(latency.most_crops(), 1);
        latency.note_crops(16);
        (1..REMEMBERED_FRAMES).for_each(|_| latency.note_crops(3));
        assert_eq!(latency.most_crops(), 16);
        latency.note_crops(3);
        assert_eq!(latency.most_crops(), 3);
    }
}
