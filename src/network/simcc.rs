//! From the model's SimCC answer to key points: the place of each row's maximum, and its value (mmpose
//! `codecs/utils/post_processing.py` `get_simcc_maximum`, `codecs/simcc_label.py`).

use crate::{pose::KeyPoint, video::Crop};

/// SimCC rows have this many bins for each network pixel (`simcc_split_ratio=2.0` in every RTMPose config).
const BINS_PER_PIXEL: f32 = 2.0;

/// How a key point's score is computed from the two maxima.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ScoreMode {
    /// The minimum (mmpose, mmdeploy).
    #[default]
    Min,
    /// The mean (rtmlib).
    Mean,
}

/// One row of the model's answer: the position of the maxima in crop pixels (x in 0..W, y in 0..H, in steps of a half), and
/// both maxima (about 0 to 1, not limited).
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[repr(C)]
pub struct Peak {
    pub x: f32,
    pub y: f32,
    pub max_x: f32,
    pub max_y: f32,
}

impl Peak {
    /// The key point's score; 0 or less means missing. A maximum that is not finite counts as 0.
    pub fn score(&self, mode: ScoreMode) -> f32 {
        if !self.max_x.is_finite() || !self.max_y.is_finite() {
            return 0.0;
        }
        match mode {
            ScoreMode::Min => self.max_x.min(self.max_y),
            ScoreMode::Mean => self.max_x / 2.0 + self.max_y / 2.0,
        }
    }

    /// The same point, that many metres along the camera's axis from the middle of the hips; a depth that is not finite is
    /// none.
    pub fn to_key_point_at(&self, crop: &Crop, mode: ScoreMode, z: f32) -> KeyPoint {
        KeyPoint { z: Some(z).filter(|z| z.is_finite()), ..self.to_key_point(crop, mode) }
    }

    /// The key point in frame pixels. A missing one keeps its position. A position that is not finite (a broken model)
    /// becomes crop pixel 0 with score 0, so that later points keep their places.
    pub fn to_key_point(&self, crop: &Crop, mode: ScoreMode) -> KeyPoint {
        let finite = self.x.is_finite() && self.y.is_finite();
        let (x, y) = if finite { crop.to_frame(self.x, self.y) } else { crop.to_frame(0.0, 0.0) };
        KeyPoint { x, y, score: if finite { self.score(mode) } else { 0.0 }, z: None }
    }
}

/// The peak search of the adapted graph (`network::graph`), for code that runs an official file directly. Finds the peaks of
/// `K = peaks.len()` key points: `simcc_x` is `[K, 2W]`, `simcc_y` `[K, 2H]`, both flattened. Of equal maxima the first
/// wins. NaN never wins; a row without any number has its peak at 0 with a maximum of 0. The consecutive answers of several
/// crops are K x crops key points.
pub fn decode(simcc_x: &[f32], simcc_y: &[f32], peaks: &mut [Peak]) {
    if peaks.is_empty() {
        return;
    }
    let (bins_x, bins_y) = (simcc_x.len() / peaks.len(), simcc_y.len() / peaks.len());
    for (k, peak) in peaks.iter_mut().enumerate() {
        let (at_x, max_x) = maximum(&simcc_x[k * bins_x..(k + 1) * bins_x]);
        let (at_y, max_y) = maximum(&simcc_y[k * bins_y..(k + 1) * bins_y]);
        *peak = Peak { x: at_x as f32 / BINS_PER_PIXEL, y: at_y as f32 / BINS_PER_PIXEL, max_x, max_y };
    }
}

/// First position of the largest number, and that number. Two passes, because each of them vectorises; a search that keeps
/// the position does not.
pub(super) fn maximum(row: &[f32]) -> (usize, f32) {
    // Not f32::max: this comparison keeps the old value on NaN, and is one instruction per lane.
    let larger = |old: f32, new: f32| if new > old { new } else { old };
    let (lanes, rest) = row.as_chunks::<16>();
    let mut best = [f32::NEG_INFINITY; 16];
    for chunk in lanes {
        for (best, value) in best.iter_mut().zip(chunk) {
            *best = larger(*best, *value);
        }
    }
    let max = best.iter().chain(rest).copied().fold(f32::NEG_INFINITY, larger);
    if max == f32::NEG_INFINITY {
        return (0, 0.0);
    }
    (row.iter().position(|value| *value == max).unwrap_or(0), max)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pose::Region;

    /// An independent method: sorts (value, position) pairs.
    fn naive(row: &[f32]) -> (usize, f32) {
        let mut all: Vec<_> = row.iter().copied().enumerate().filter(|(_, value)| !value.is_nan()).collect();
        all.sort_by(|a, b| b.1.partial_cmp(&a.1).unwrap().then(a.0.cmp(&b.0)));
        all.first().copied().unwrap_or((0, 0.0))
    }

    fn noise(seed: &mut u32) -> u32 {
        *seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        *seed >> 8
    }

    #[test]
    fn peaks_equal_a_naive_search_with_ties_and_nan() {
        let mut seed = 7;
        for (points, width, height) in [(1, 1, 2), (17, 384, 512), (133, 5, 33), (26, 17, 16)] {
            for kinds in [3, 50, 1 << 20] {
                let mut draw = |count: usize| -> Vec<f32> {
                    let value =
                        |n: u32| if n.is_multiple_of(11) { f32::NAN } else { (n % kinds) as f32 - 1.0 };
                    (0..count).map(|_| value(noise(&mut seed))).collect()
                };
                let (x, y) = (draw(points * width), draw(points * height));
                let mut peaks = vec![Peak::default(); points];
                decode(&x, &y, &mut peaks);
                for (k, peak) in peaks.iter().enumerate() {
                    let (at_x, max_x) = naive(&x[k * width..][..width]);
                    let (at_y, max_y) = naive(&y[k * height..][..height]);
                    let wanted = Peak { x: at_x as f32 * 0.5, y: at_y as f32 * 0.5, max_x, max_y };
                    assert_eq!(*peak, wanted, "key point {k} of {points}");
                }
            }
        }
    }

    #[test]
    fn odd_answers_do_not_panic() {
        decode(&[], &[], &mut []);
        decode(&[1.0], &[1.0], &mut []);
        let mut peaks = [Peak { x: 9.0, ..Peak::default() }; 3];
        decode(&[], &[1.0, 2.0], &mut peaks);
        assert_eq!(peaks, [Peak::default(); 3]);
        decode(&[f32::NAN; 6], &[f32::NEG_INFINITY; 6], &mut peaks);
        assert_eq!(peaks, [Peak::default(); 3]);
        decode(&[-3.0, -2.0], &[f32::NAN, -1.0], &mut peaks[..1]);
        assert_eq!(peaks[0], Peak { x: 0.5, y: 0.5, max_x: -2.0, max_y: -1.0 });
    }

    #[test]
    fn score_by_mode() {
        let peak = Peak { max_x: 0.5, max_y: 1.25, ..Peak::default() };
        assert_eq!(peak.score(ScoreMode::Min), 0.5);
        assert_eq!(peak.score(ScoreMode::Mean), 0.875);
        for (max_x, max_y) in
            [(f32::NAN, 0.5), (0.5, f32::NAN), (f32::INFINITY, 0.5), (0.5, f32::NEG_INFINITY)]
        {
            for mode in [ScoreMode::Min, ScoreMode::Mean] {
                assert_eq!(Peak { max_x, max_y, ..Peak::default() }.score(mode), 0.0);
            }
        }
    }

    #[test]
    fn peaks_go_back_to_the_frame() {
        let crop = Crop::new(&Region::new(100.0, 50.0, 40.0, 200.0), 192, 256).unwrap();
        let peak = Peak { x: 96.0, y: 128.0, max_x: -0.25, max_y: 0.5 };
        let point = peak.to_key_point(&crop, ScoreMode::Min);
        assert_eq!(point, KeyPoint { x: 120.0, y: 150.0, score: -0.25, z: None });
        let (x, y) = crop.to_frame(0.0, 0.0);
        let broken = Peak { x: f32::NAN, ..peak }.to_key_point(&crop, ScoreMode::Min);
        assert_eq!(broken, KeyPoint { x, y, score: 0.0, z: None });
    }
}
