//! Statistics of a running engine.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use super::BatchReport;

/// The last few hundred durations of something, for percentiles of the recent past.
#[derive(Clone, Debug, Default)]
pub struct Window(VecDeque<Duration>);

impl Window {
    const LENGTH: usize = 512;

    /// Returns the value that it replaces.
    pub fn add(&mut self, value: Duration) -> Option<Duration> {
        let oldest = if self.0.len() == Self::LENGTH { self.0.pop_front() } else { None };
        self.0.push_back(value);
        oldest
    }

    /// The smallest value that is not exceeded by `share` (0 to 1) of all values; 0 without values.
    pub fn percentile(&self, share: f64) -> Duration {
        let mut all: Vec<_> = self.0.iter().copied().collect();
        rank(share, all.len()).map(|index| *all.select_nth_unstable(index).1).unwrap_or_default()
    }
}

/// Where that percentile is among so many sorted values.
fn rank(share: f64, values: usize) -> Option<usize> {
    let rank = (share * values as f64).ceil() as usize;
    (values > 0).then(|| rank.clamp(1, values) - 1)
}

/// A window in order of size too, for percentiles that are needed after each value.
#[derive(Default)]
struct Ranking {
    window: Window,
    sorted: Vec<Duration>,
}

impl Ranking {
    fn add(&mut self, value: Duration) {
        let place = |sorted: &[Duration], value| sorted.partition_point(|other| *other < value);
        if let Some(oldest) = self.window.add(value) {
            self.sorted.remove(place(&self.sorted, oldest));
        }
        self.sorted.insert(place(&self.sorted, value), value);
    }

    fn percentile(&self, share: f64) -> Duration {
        rank(share, self.sorted.len()).map(|index| self.sorted[index]).unwrap_or_default()
    }
}

/// How long the next run is expected to take: as long as the last full batches, or as the last runs of any size, if those took
/// longer, as they do on a device that is busy with something else. A run in a hundred that hung changes nothing, and what was slow
/// once is forgotten, also where no batch is ever full.
#[derive(Default)]
pub struct RunTime {
    full: Ranking,
    all: Ranking,
}

impl RunTime {
    /// From runs of full batches before the first frame.
    pub fn after_warm_up(runs: impl Iterator<Item = Duration>) -> Self {
        let mut this = Self::default();
        runs.for_each(|run| this.full.add(run));
        this
    }

    pub fn add(&mut self, run: Duration, is_full: bool) {
        if is_full {
            self.full.add(run);
        }
        self.all.add(run);
    }

    pub fn expected(&self) -> Duration {
        self.full.percentile(0.9).max(self.all.percentile(0.99))
    }
}

/// Counted since the engine was opened.
#[derive(Clone, Debug, Default)]
pub struct Statistics {
    /// Crops that were run.
    pub crops: u64,
    /// Runs of the network.
    pub batches: u64,
    /// Empty rows of all runs together.
    pub padding: u64,
    /// From a crop's arrival to the cut of its batch.
    pub waits: Window,
    /// Duration of a run.
    pub runs: Window,
    /// The same, by the number of rows that the network computed.
    pub runs_by_size: BTreeMap<usize, Window>,
    /// Runs, by the number of their crops.
    pub fills: BTreeMap<usize, u64>,
}

impl Statistics {
    pub fn count(&mut self, report: &BatchReport) {
        self.crops += report.crops as u64;
        self.batches += 1;
        self.padding += report.padding as u64;
        self.runs.add(report.ran);
        self.runs_by_size.entry(report.crops + report.padding).or_default().add(report.ran);
        *self.fills.entry(report.crops).or_default() += 1;
    }

    /// Mean share of a batch's rows that held a crop, 0 to 1, relative to the batch size that was asked for.
    pub fn mean_fill(&self, batch_size: usize) -> f64 {
        if self.batches == 0 {
            return 0.0;
        }
        self.crops as f64 / (self.batches as f64 * batch_size as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_by_nearest_rank_over_the_last_values() {
        let mut window = Window::default();
        assert_eq!(window.percentile(0.99), Duration::ZERO);
        for ms in (1..=100).rev() {
            window.add(Duration::from_millis(ms));
        }
        assert_eq!(window.percentile(0.5), Duration::from_millis(50));
        assert_eq!(window.percentile(0.99), Duration::from_millis(99));
        assert_eq!(window.percentile(1.0), Duration::from_millis(100));
        for _ in 0..Window::LENGTH {
            window.add(Duration::from_millis(7));
        }
        assert_eq!(window.percentile(1.0), Duration::from_millis(7));
    }

    #[test]
    fn a_ranking_has_the_percentiles_of_its_window() {
        let (mut ranking, mut window, mut random) = (Ranking::default(), Window::default(), 7u64);
        for _ in 0..3 * Window::LENGTH {
            random = random.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            // Some values are equal.
            let value = Duration::from_micros(random >> 56);
            ranking.add(value);
            window.add(value);
            for share in [0.0, 0.1, 0.5, 0.9, 0.99, 1.0] {
                assert_eq!(ranking.percentile(share), window.percentile(share));
            }
        }
    }

    #[test]
    fn a_run_that_hung_is_forgotten_though_no_batch_is_full() {
        let ms = Duration::from_millis;
        let mut times = RunTime::after_warm_up([20, 18, 19].map(ms).into_iter());
        assert_eq!(times.expected(), ms(20));
        times.add(ms(4), false);
        assert_eq!(times.expected(), ms(20), "a full batch could come");
        times.add(ms(1000), false);
        assert_eq!(times.expected(), ms(1000), "one of two");
        (0..98).for_each(|_| times.add(ms(4), false));
        assert_eq!(times.expected(), ms(20), "one of a hundred");
        times.add(ms(1000), false);
        assert_eq!(times.expected(), ms(1000), "one of fifty");
    }

    #[test]
    fn a_full_run_that_hung_is_forgotten_too() {
        let ms = Duration::from_millis;
        let mut times = RunTime::after_warm_up([ms(20)].into_iter());
        (0..99).for_each(|_| times.add(ms(20), true));
        times.add(ms(1000), true);
        assert_eq!(times.expected(), ms(20));
        // The device is shared from now on.
        (0..10).for_each(|_| times.add(ms(35), true));
        assert_eq!(times.expected(), ms(35));
    }
}
