//! The time of a stream's frames, for code that asks how much of it has passed.

/// A frame is assumed to last this long if its caps have no framerate.
const USUAL_DURATION: gst::ClockTime = gst::ClockTime::from_mseconds(33);
/// A frame that comes this many seconds, or this many frames, after the one before (by its timestamp) is normal.
const BORNE: f64 = 1.0;
const BORNE_FRAMES: f64 = 4.0;

/// Runs forward, whatever the timestamps do. A timestamp that does not follow from earlier ones may be wrong. Only if the
/// next frame's timestamp continues from it, time has jumped. A jump, forward or back, counts as time that has passed.
#[derive(Debug, Default)]
pub(super) struct Timeline {
    now: f64,
    /// How far `now` is ahead of the timestamps; none before the first one.
    ahead: Option<f64>,
    /// The timestamp that did not follow from earlier ones, and by how many seconds.
    odd: Option<(f64, f64)>,
    /// How long frames without a duration last, judging by timestamps that followed from one another.
    step: Option<f64>,
}

impl Timeline {
    /// The next frames have other timestamps.
    pub fn restart(&mut self) {
        *self = Self { now: self.now, ..Self::default() };
    }

    /// The time of the next frame in seconds. A frame without a timestamp comes a frame's duration after the one before.
    pub fn advance(&mut self, pts: Option<gst::ClockTime>, duration: Option<gst::ClockTime>) -> f64 {
        let known = duration.map(seconds);
        let step = known.or(self.step).unwrap_or(seconds(USUAL_DURATION));
        let next = self.now + step;
        let Some(pts) = pts.map(seconds) else {
            self.now = next;
            return next;
        };
        let Some(ahead) = self.ahead else {
            self.ahead = Some(next - pts);
            self.now = next;
            return next;
        };
        let passed = pts + ahead - self.now;
        // Caps may promise more frames than arrive.
        let borne = (BORNE_FRAMES * self.step.map_or(step, |seen| seen.max(step))).max(BORNE);
        self.now = if passed.abs() <= borne {
            self.odd = None;
            if passed > 0.0 {
                self.step = Some(passed);
                self.now + passed
            } else {
                // Frames in the wrong order, or a clock that was set: time does not stop for it.
                self.ahead = Some(next - pts);
                next
            }
        } else {
            let agrees = |(odd, _): &(f64, f64)| (0.0..passed.abs()).contains(&(pts - odd));
            match self.odd.filter(agrees) {
                Some((odd, off)) => {
                    // The timestamp before was right: time has jumped.
                    self.odd = None;
                    self.step = Some(pts - odd).filter(|step| *step > 0.0);
                    let now = self.now + off.abs() + (pts - odd);
                    self.ahead = Some(now - pts);
                    now
                }
                None => {
                    self.odd = Some((pts, passed - step));
                    next
                }
            }
        };
        self.now
    }
}

fn seconds(time: gst::ClockTime) -> f64 {
    time.nseconds() as f64 / 1e9
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The times of frames with these timestamps, all in milliseconds.
    fn times(stamps: &[Option<u64>], duration: Option<u64>) -> Vec<u64> {
        let ms = gst::ClockTime::from_mseconds;
        let mut timeline = Timeline::default();
        let time = |pts: &Option<u64>| timeline.advance(pts.map(ms), duration.map(ms));
        stamps.iter().map(time).map(|time| (time * 1000.0).round() as u64).collect()
    }

    #[test]
    fn time_passes_by_stamps_or_durations() {
        let stamps = [Some(5000), Some(5040), None, Some(5120), Some(5160)];
        assert_eq!(times(&stamps, Some(40)), [40, 80, 120, 160, 200]);
        assert_eq!(times(&[None, None, None], Some(40)), [40, 80, 120]);
        assert_eq!(times(&[None, None], None), [33, 66], "of unknown duration");
        let (after, none) = (times(&[Some(0), Some(50), None, None], None), times(&[Some(0), None], None));
        assert_eq!((after, none), (vec![33, 83, 133, 183], vec![33, 66]), "as long as the one before");
        assert_eq!(times(&[Some(0), Some(900), Some(940)], Some(40)), [40, 940, 980], "a pause");
    }

    #[test]
    fn one_wrong_stamp_is_a_frame_like_others() {
        for wrong in [0, 200, 7_000, 90_000_000] {
            let stamps = [8000, 8040, 8080, wrong, 8160, 8200, wrong, 8280].map(Some);
            let expected = [40, 80, 120, 160, 200, 240, 280, 320];
            assert_eq!(times(&stamps, Some(40)), expected, "{wrong}");
        }
    }

    #[test]
    fn time_has_jumped_once_two_frames_agree() {
        for (back, jump) in [(false, 10_000), (true, 10_000)] {
            let after = if back { 20_000 - jump } else { 20_000 + jump };
            let stamps = [20_000, 20_040, after + 40, after + 80, after + 120].map(Some);
            // The second frame knows that the first one's timestamp was right.
            let passed = jump - if back { 40 } else { 0 };
            let found = times(&stamps, Some(40));
            assert_eq!(found[..3], [40, 80, 120]);
            let off = found[3] as i64 - (160 + passed as i64);
            assert!(off.abs() <= 80, "{found:?}");
            assert_eq!(found[4], found[3] + 40);
        }
    }

    /// A sender that starts again from 0 now and then, with frames without a timestamp in between.
    #[test]
    fn resets_with_frames_without_stamps_in_between_are_jumps() {
        let stamps = [Some(9000), None, None, Some(0), None, Some(80), Some(120), None, Some(200)];
        let found = times(&stamps, Some(40));
        assert_eq!(found[..5], [40, 80, 120, 160, 200]);
        assert!(found[5] > 9000, "{found:?}");
        assert_eq!(found[8] - found[5], 120);
    }

    #[test]
    fn frames_seconds_apart_are_no_jumps() {
        let apart: Vec<_> = (0..6).map(|n| Some(5000 * n)).collect();
        let slow = times(&apart, Some(5000));
        assert_eq!(slow, [5000, 10_000, 15_000, 20_000, 25_000, 30_000]);
        // The caps say nothing: known from the third on.
        // Caps that say nothing, or something else: known from the third on.
        for said in [None, Some(33)] {
            let found = times(&apart, said);
            let passed: Vec<_> = found[3..].iter().zip(&found[2..]).map(|(b, a)| b - a).collect();
            assert_eq!(passed, [5000; 3], "{said:?}");
        }
    }

    #[test]
    fn stamps_in_the_wrong_order_never_turn_time_back() {
        let found = times(&[Some(0), Some(120), Some(40), Some(80), Some(240), Some(160)], Some(40));
        assert!(found.windows(2).all(|pair| pair[0] < pair[1]), "{found:?}");
        assert!(found[5] < 500, "{found:?}");
    }

    #[test]
    fn another_stream_goes_on_from_where_time_is() {
        let mut timeline = Timeline::default();
        let ms = gst::ClockTime::from_mseconds;
        let frame = Some(ms(40));
        for number in 0..3 {
            timeline.advance(Some(ms(50_000 + 40 * number)), frame);
        }
        timeline.restart();
        let times = [0, 40].map(|pts| (timeline.advance(Some(ms(pts)), frame) * 1000.0).round());
        assert_eq!(times, [160.0, 200.0]);
    }
}
