//! How fast a figure grows, and how sure that is.

/// The number of points to which a series is reduced. Neighbouring samples are alike, so they prove less than
/// their number suggests.
const BLOCKS: usize = 20;

/// The slope of a straight line, with the half width of its 95 % confidence interval.
#[derive(Clone, Copy, Debug)]
pub struct Slope {
    pub estimate: f64,
    pub half_width: f64,
}

/// What the confidence interval says of a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The whole interval is below the limit.
    Held,
    /// The whole interval is above it.
    Passed,
    /// The limit lies within the interval: the series is too short to decide.
    Open,
}

impl Slope {
    /// The line through the blocks of a series of (time, value). A block has its mean time, and what `value`
    /// computes of its values. None with fewer than two samples a block.
    pub fn of(series: &[(f64, f64)], value: impl Fn(&[f64]) -> f64) -> Option<Self> {
        if series.len() < 2 * BLOCKS {
            return None;
        }
        let block = |index: usize| {
            let from = |index: usize| index * series.len() / BLOCKS;
            let samples = &series[from(index)..from(index + 1)];
            let (times, values): (Vec<_>, Vec<_>) = samples.iter().copied().unzip();
            (mean(&times), value(&values))
        };
        Some(Self::through(&(0..BLOCKS).map(block).collect::<Vec<_>>()))
    }

    /// Ordinary least squares, for at least three points with different times.
    fn through(points: &[(f64, f64)]) -> Self {
        let (times, values): (Vec<_>, Vec<_>) = points.iter().copied().unzip();
        let (mean_time, mean_value) = (mean(&times), mean(&values));
        let spread: f64 = times.iter().map(|time| (time - mean_time).powi(2)).sum();
        let common: f64 = points.iter().map(|(time, value)| (time - mean_time) * (value - mean_value)).sum();
        let estimate = common / spread;
        let residue = |(time, value): &(f64, f64)| value - mean_value - estimate * (time - mean_time);
        let freedom = points.len() as f64 - 2.0;
        let variance = points.iter().map(|point| residue(point).powi(2)).sum::<f64>() / freedom;
        Self { estimate, half_width: student_quantile(freedom) * (variance / spread).sqrt() }
    }

    pub fn verdict(&self, limit: f64) -> Verdict {
        if self.estimate + self.half_width <= limit {
            Verdict::Held
        } else if self.estimate - self.half_width > limit {
            Verdict::Passed
        } else {
            Verdict::Open
        }
    }
}

pub fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

pub fn least(values: &[f64]) -> f64 {
    values.iter().copied().fold(f64::INFINITY, f64::min)
}

/// The 97.5 % quantile of Student's distribution, for 10 degrees of freedom or more: Cornish-Fisher expansion around the
/// normal distribution's (Abramowitz and Stegun, 26.7.5), right to 0.1 %.
fn student_quantile(freedom: f64) -> f64 {
    let z = 1.959_964_f64;
    let first = (z.powi(3) + z) / 4.0;
    let second = (5.0 * z.powi(5) + 16.0 * z.powi(3) + 3.0 * z) / 96.0;
    let third = (3.0 * z.powi(7) + 19.0 * z.powi(5) + 17.0 * z.powi(3) - 15.0 * z) / 384.0;
    z + first / freedom + second / freedom.powi(2) + third / freedom.powi(3)
}

#[test]
fn students_quantiles_are_those_of_the_tables() {
    for (freedom, table) in [(10.0, 2.2281), (18.0, 2.1009), (60.0, 2.0003)] {
        assert!((student_quantile(freedom) - table).abs() < 0.001, "{freedom}");
    }
}

#[test]
fn a_line_with_known_noise_has_the_textbooks_interval() {
    // y = 2 x with residues +1, -1, -1, +1, ... which change no line: s^2 = 20 / 18, sum (x - mean)^2 = 665.
    let noise = |index: usize| if matches!(index % 4, 0 | 3) { 1.0 } else { -1.0 };
    let points: Vec<_> = (0..20).map(|index| (index as f64, 2.0 * index as f64 + noise(index))).collect();
    let slope = Slope::through(&points);
    assert!((slope.estimate - 2.0).abs() < 1e-12, "{slope:?}");
    assert!((slope.half_width - 2.1009 * (20.0 / 18.0 / 665.0_f64).sqrt()).abs() < 1e-4, "{slope:?}");
}

#[test]
fn a_verdict_needs_the_whole_interval() {
    let slope = Slope { estimate: 4.0, half_width: 0.9 };
    assert_eq!(slope.verdict(5.0), Verdict::Held);
    assert_eq!(slope.verdict(4.5), Verdict::Open);
    assert_eq!(slope.verdict(3.5), Verdict::Open);
    assert_eq!(slope.verdict(3.0), Verdict::Passed);
}

#[test]
fn blocks_hide_what_comes_and_goes_but_not_what_stays() {
    // Every third sample has memory in flight. From the middle on, 10 more stay every 10 samples.
    let flat: Vec<_> = (0..400).map(|n| (f64::from(n), if n % 3 == 0 { 900.0 } else { 100.0 })).collect();
    let slope = Slope::of(&flat, least).unwrap();
    assert_eq!((slope.estimate, slope.half_width), (0.0, 0.0));
    let leaking: Vec<_> =
        flat.iter().map(|(time, value)| (*time, value + (time / 10.0).floor() * 10.0)).collect();
    let slope = Slope::of(&leaking, least).unwrap();
    assert!((slope.estimate - 1.0).abs() < 0.02, "{slope:?}");
    assert_eq!(slope.verdict(0.5), Verdict::Passed);
    assert!(Slope::of(&flat[..39], least).is_none());
}
