//! Live streams of which too few frames are inferred.

/// If the model is slow, inferred frames that are this many seconds apart are reported.
const APART: f64 = 1.0;

/// Notices that frames are inferred too rarely.
#[derive(Default)]
pub struct Slow {
    /// When a frame was last inferred, in the stream's seconds.
    looked: Option<f64>,
    /// Since then, frames passed without inference because the model was busy.
    pub skipped: bool,
    times: u32,
    /// How many seconds apart inferred frames are, to be reported once.
    pub news: Option<f64>,
}

impl Slow {
    /// A frame is inferred, at that time of the stream.
    pub fn look(&mut self, now: f64) {
        let apart = self.looked.replace(now).map_or(0.0, |before| now - before);
        if std::mem::take(&mut self.skipped) && apart > APART {
            self.times += 1;
            // A single case can be an accident.
            self.news = (self.times == 2).then_some(apart);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_live_stream_is_slow_when_looks_come_too_late_twice() {
        let mut slow = Slow::default();
        let mut look = |at: f64, skipped: bool| {
            slow.skipped = skipped;
            slow.look(at);
            slow.news.take()
        };
        // A pause alone is not a reason.
        assert_eq!([look(0.0, false), look(5.0, false), look(5.5, true)], [None; 3]);
        assert_eq!([look(7.0, true), look(7.5, true)], [None; 2]);
        assert_eq!(look(9.0, true), Some(1.5));
        assert_eq!([look(11.0, true), look(13.0, true)], [None; 2], "it was said");
    }
}
