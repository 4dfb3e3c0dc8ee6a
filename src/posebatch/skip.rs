//! Frames that go on without inference, because their result would come too late.

use gst::{prelude::*, subclass::prelude::*};

use super::{
    enums::Overload,
    imp::{RtmPoseBatch, Running},
    log::CAT,
    settings::Settings,
};
use crate::sync::lock;

/// Why a frame is not inferred.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reason {
    /// Its result would pass the latency that the pipeline counts with.
    Overload,
    /// Downstream's QoS says that it will be late by more than `max-lateness`.
    Lateness,
}

/// What downstream's QoS events tell.
#[derive(Default)]
pub(super) struct Qos {
    /// Frames before this running time reach the sink too late.
    earliest: Option<gst::ClockTime>,
}

impl Qos {
    pub fn reset(&mut self) {
        self.earliest = None;
    }

    /// Heard: the frame of that running time came `late` nanoseconds late (negative: early).
    pub fn heard(&mut self, running_time: Option<gst::ClockTime>, late: i64) {
        self.earliest = running_time
            .and_then(|time| time.nseconds().checked_add_signed(late))
            .map(gst::ClockTime::from_nseconds);
    }

    /// Whether a frame of that running time will be later than that.
    fn is_late(&self, running_time: Option<gst::ClockTime>, most: u64) -> bool {
        let (Some(earliest), Some(time)) = (self.earliest, running_time) else { return false };
        time.nseconds().saturating_add(most) < earliest.nseconds()
    }
}

impl RtmPoseBatch {
    pub(super) fn reason_to_skip(
        &self,
        buffer: &gst::BufferRef,
        segment: &gst::FormattedSegment<gst::ClockTime>,
        live: bool,
        settings: &Settings,
        running: &Running,
    ) -> Option<Reason> {
        let skips = match settings.overload {
            Overload::Auto => live,
            Overload::Block => false,
            Overload::SkipInference => true,
        };
        if skips && running.stream.time_to_answer() > self.told_latency(running) {
            return Some(Reason::Overload);
        }
        let most = u64::try_from(settings.max_lateness).ok()?;
        let running_time = segment.to_running_time(buffer.pts());
        lock(&self.qos).is_late(running_time, most).then_some(Reason::Lateness)
    }

    /// Counts a frame that goes on without inference and tells the application. Not to be called with a lock held.
    pub(super) fn count_skipped(
        &self,
        buffer: &gst::BufferRef,
        segment: &gst::FormattedSegment<gst::ClockTime>,
        live: bool,
        reason: Reason,
    ) {
        let (inferred, skipped) = {
            let mut stats = lock(&self.stats);
            stats.frames_skipped += 1;
            (stats.frames_in - stats.frames_skipped, stats.frames_skipped)
        };
        gst::debug!(CAT, imp = self, "{reason:?}: frame {:?} goes on without inference", buffer.pts());
        let message = gst::message::Qos::builder(live)
            .src(&*self.obj())
            .running_time(segment.to_running_time(buffer.pts()))
            .stream_time(segment.to_stream_time(buffer.pts()))
            .timestamp(buffer.pts())
            .duration(buffer.duration())
            .stats(gst::format::Buffers::from_u64(inferred), gst::format::Buffers::from_u64(skipped))
            .build();
        let _ = self.obj().post_message(message);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lateness_is_counted_from_downstreams_word() {
        let ms = gst::ClockTime::from_mseconds;
        let mut qos = Qos::default();
        assert!(!qos.is_late(Some(ms(0)), 0), "nothing was heard");
        qos.heard(Some(ms(1000)), 200_000_000);
        assert!(qos.is_late(Some(ms(1100)), 50_000_000));
        assert!(!qos.is_late(Some(ms(1100)), 100_000_000));
        assert!(!qos.is_late(Some(ms(1200)), 0));
        assert!(!qos.is_late(None, 0), "a frame without time is never late");
        qos.heard(Some(ms(1000)), -200_000_000);
        assert!(!qos.is_late(Some(ms(900)), 0), "downstream has time");
        qos.heard(Some(ms(1)), -200_000_000);
        assert!(!qos.is_late(Some(ms(0)), 0));
    }
}
