//! The time of a stream's frames, for those who ask how much of it has passed.

/// A frame without a framerate in its caps is taken to last so long.
const USUAL_DURATION: gst::ClockTime = gst::ClockTime::from_mseconds(33);

/// Runs forward whatever the time stamps do: a jump, forward or back, counts as time that has passed.
#[derive(Debug, Default)]
pub(super) struct Timeline {
    now: f64,
    last: Option<gst::ClockTime>,
}

impl Timeline {
    /// The time of the next frame in seconds. One without a time stamp comes a frame's duration after the one before.
    pub fn advance(&mut self, pts: Option<gst::ClockTime>, duration: Option<gst::ClockTime>) -> f64 {
        let passed = match (pts, self.last) {
            (Some(pts), Some(last)) => pts.absdiff(last),
            _ => duration.unwrap_or(USUAL_DURATION),
        };
        // A frame without one between two with time stamps counts twice then, which is as near as can be known.
        self.last = pts.or(self.last);
        self.now += passed.nseconds() as f64 / 1e9;
        self.now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_passes_by_stamps_or_durations() {
        let ms = gst::ClockTime::from_mseconds;
        let mut timeline = Timeline::default();
        let mut at = |pts: Option<u64>, duration: Option<u64>| {
            (timeline.advance(pts.map(ms), duration.map(ms)) * 1000.0).round() as u64
        };
        assert_eq!(at(Some(5000), Some(40)), 40, "the first frame");
        assert_eq!(at(Some(5040), Some(40)), 80);
        assert_eq!(at(None, Some(40)), 120);
        assert_eq!(at(None, None), 153);
        assert_eq!(at(Some(6040), None), 1153);
        assert_eq!(at(Some(1040), None), 6153, "a jump back");
    }
}
