//! How far apart the frames are that are inferred.

#[derive(Clone, Copy, Debug, Default)]
pub struct Pace {
    last: Option<f64>,
    /// The last two intervals, in seconds.
    gaps: [Option<f64>; 2],
}

impl Pace {
    pub fn step(&mut self, now: f64) {
        if let Some(last) = self.last {
            self.gaps = [Some(now - last), self.gaps[0]];
        }
        self.last = Some(now);
    }

    /// Usual seconds between two inferred frames. A single long gap does not count: the time has jumped there.
    pub fn usual(&self) -> f64 {
        let [last, before] = self.gaps;
        last.map_or(0.0, |last| before.map_or(last, |before| last.min(before)))
    }
}
