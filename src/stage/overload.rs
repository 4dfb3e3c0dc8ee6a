//! Frames that pass without inference, because their result would be late.

use std::time::{Duration, Instant};

/// Why a frame is not inferred.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reason {
    /// Its result would exceed the latency that the pipeline uses.
    Overload,
    /// Downstream's QoS says that it will be late by more than `max-lateness`.
    Lateness,
}

/// What downstream's QoS events report.
#[derive(Default)]
pub(super) struct Qos {
    /// Frames before this running time reach the sink too late.
    earliest: Option<gst::ClockTime>,
}

impl Qos {
    pub fn reset(&mut self) {
        self.earliest = None;
    }

    /// The frame with that running time arrived `late` nanoseconds late (negative: early).
    pub fn heard(&mut self, running_time: Option<gst::ClockTime>, late: i64) {
        self.earliest = running_time
            .and_then(|time| time.nseconds().checked_add_signed(late))
            .map(gst::ClockTime::from_nseconds);
    }

    /// Whether a frame with that running time will be later than that.
    pub fn is_late(&self, running_time: Option<gst::ClockTime>, most: u64) -> bool {
        let (Some(earliest), Some(time)) = (self.earliest, running_time) else { return false };
        time.nseconds().saturating_add(most) < earliest.nseconds()
    }
}

/// How many frames passed without inference since the last warning.
#[derive(Default)]
pub(super) struct Skipping {
    /// Since the first of them; none if there was none.
    since: Option<Instant>,
    /// Frames that arrived from that one on.
    frames: u64,
    overload: u64,
    late: u64,
    /// The last warning.
    warned: Option<Instant>,
}

impl Skipping {
    /// The first warning comes after this time, so that it can give a number.
    const FIRST: Duration = Duration::from_secs(1);
    /// Between warnings.
    const PAUSE: Duration = Duration::from_secs(60);

    pub fn skip(&mut self, reason: Reason, now: Instant) {
        if self.since.is_none() {
            self.since = Some(now);
            self.frames = 1;
        }
        match reason {
            Reason::Overload => self.overload += 1,
            Reason::Lateness => self.late += 1,
        }
    }

    /// A frame has arrived. Returns the text of a warning that is due.
    pub fn count_frame(&mut self, now: Instant, remedies: &str) -> Option<String> {
        let since = self.since?;
        let due = now.duration_since(since) >= Self::FIRST
            && self.warned.is_none_or(|warned| now.duration_since(warned) >= Self::PAUSE);
        let text = if due { self.take_warning(now, remedies) } else { None };
        // The next count starts with its own first frame.
        self.frames += 1;
        text
    }

    /// The text of a warning about frames that no warning has reported yet.
    pub fn take_warning(&mut self, now: Instant, remedies: &str) -> Option<String> {
        let since = self.since.take()?;
        let skipped = self.overload + self.late;
        let share = 100.0 * skipped as f64 / self.frames as f64;
        let seconds = now.duration_since(since).as_secs_f64();
        let why = match (self.overload, self.late) {
            (_, 0) => "the model is slower than this live stream".to_string(),
            (0, _) => "they would be late at the sink (max-lateness)".to_string(),
            (overload, late) => format!(
                "{overload} because the model is slower than this live stream, {late} because they would be late at \
                 the sink (max-lateness)"
            ),
        };
        let text = format!(
            "{skipped} of {} frames in {seconds:.1} s ({share:.0} %) passed without inference, because {why}: \
             {remedies}; with overload=block, upstream waits instead",
            self.frames
        );
        *self = Self { warned: Some(now), ..Self::default() };
        Some(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HELP: &str = "fewer frames help";

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

    #[test]
    fn skipped_frames_are_told_of_with_their_number_once_in_a_while() {
        let start = Instant::now();
        let at = |seconds: f64| start + Duration::from_secs_f64(seconds);
        let mut skipping = Skipping::default();
        // Ten frames a second, for 100 s; from the 5th to the 70th every second one is skipped.
        let mut warnings = Vec::new();
        for number in 0..1000 {
            let now = f64::from(number) / 10.0;
            warnings.extend(skipping.count_frame(at(now), HELP).map(|text| (number, text)));
            if (50..700).contains(&number) && number % 2 == 0 {
                skipping.skip(Reason::Overload, at(now));
            }
        }
        assert_eq!(warnings.iter().map(|(number, _)| *number).collect::<Vec<_>>(), [60, 660]);
        assert!(
            warnings[0].1.starts_with("5 of 10 frames in 1.0 s (50 %) passed without inference"),
            "{warnings:?}"
        );
        assert!(warnings[1].1.starts_with("300 of 600 frames in 60.0 s (50 %)"), "{warnings:?}");
        assert!(warnings[0].1.contains("slower than this live stream"), "{warnings:?}");
        assert!(
            warnings[0].1.ends_with(": fewer frames help; with overload=block, upstream waits instead"),
            "{warnings:?}"
        );
        // The rest is reported at the end of the stream, and nothing after that.
        let rest = skipping.take_warning(at(100.0), HELP).unwrap();
        assert!(rest.starts_with("20 of "), "{rest}");
        assert_eq!(skipping.take_warning(at(101.0), HELP), None);
        skipping.skip(Reason::Lateness, at(200.0));
        assert!(skipping.count_frame(at(200.1), HELP).is_none(), "one frame's share tells nothing");
        let late = skipping.count_frame(at(201.0), HELP).unwrap();
        assert!(late.starts_with("1 of 2 frames in 1.0 s (50 %)") && late.contains("max-lateness"), "{late}");
    }
}
