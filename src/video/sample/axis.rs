//! Where the model's columns (or rows) are in the frame, as tables: each axis is computed once per crop.

/// Coverage of a column or row completely inside the frame.
pub(super) const FULL: u32 = 1 << 12;

/// Column weights add up to 1 << COLUMN_BITS.
pub(super) const COLUMN_BITS: u32 = 14;
/// Row weights add up to 1 << ROW_WEIGHT_BITS: 255 times this still fits into i16.
pub(super) const ROW_WEIGHT_BITS: u32 = 7;

/// Two neighbouring samples, `at` and the one after it, and their weights. The weights of all pairs of one output sample add
/// up to the unit they were made with, so that a uniform picture stays exactly uniform.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pair {
    pub at: u32,
    pub weights: [i16; 2],
}

/// One model column (or row) that touches the frame.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    /// Frame pixels to take the sample from; the second is used only if the frame is resized first.
    positions: [f64; 2],
    /// Weight of the second position, 0 to 1.
    share: f64,
    /// How much of the sample is inside the frame, 1 to `FULL`.
    pub coverage: u32,
}

/// One axis of a crop: the model columns (or rows) `first..first + places.len()` touch the frame, in order.
#[derive(Debug, Default)]
pub(super) struct Axis {
    pub first: usize,
    pub places: Vec<Place>,
}

impl Axis {
    /// Distributes `network` output samples over `size` frame pixels around `centre`.
    ///
    /// Output sample d is at frame pixel `centre + (d - network / 2) * size / network`, the inverse of the matrix that
    /// mmpose passes to `cv2.warpAffine` (`structures/bbox/transforms.py` `get_warp_matrix`), without a half-pixel offset.
    /// `warpAffine` interpolates with black beyond the border. That equals interpolating with the border's samples repeated,
    /// and then weighting by how much of the sample is inside: its coverage.
    ///
    /// With `scale` < 1, the result is that of a frame resized first to `round(frame * scale)` pixels by `cv2.resize`
    /// (bilinear, half-pixel centres, border repeated), with the crop over the same part of the scene. Each output sample is
    /// then between two of the small frame's pixels, each of which is between two of the frame's.
    pub fn plan(&mut self, centre: f64, size: f64, network: usize, frame: usize, scale: f64) {
        self.first = 0;
        self.places.clear();
        if frame == 0 {
            return;
        }
        let small =
            if scale < 1.0 { (frame as f64 * scale).round_ties_even().max(1.0) } else { frame as f64 };
        // Multiplying by these is faster than dividing by their inverses.
        let (step, ratio, inverse) = (size / network as f64, frame as f64 / small, small / frame as f64);
        for d in 0..network {
            let in_frame = centre + (d as f64 - network as f64 / 2.0) * step;
            let position = if scale < 1.0 { (in_frame + 0.5) * inverse - 0.5 } else { in_frame };
            if !(position > -1.0 && position < small) {
                continue; // Outside, or NaN.
            }
            let coverage = (1.0 + position).min(small - position).min(1.0);
            let coverage = rounded(coverage * f64::from(FULL));
            if coverage == 0 {
                continue;
            }
            if self.places.is_empty() {
                self.first = d;
            }
            let position = position.clamp(0.0, small - 1.0);
            let (positions, share) = if scale < 1.0 {
                let back = |p: f64| ((p + 0.5) * ratio - 0.5).clamp(0.0, frame as f64 - 1.0);
                let left = f64::from(position as u32);
                ([back(left), back((left + 1.0).min(small - 1.0))], position - left)
            } else {
                ([position; 2], 0.0)
            };
            self.places.push(Place { positions, share, coverage });
        }
    }

    /// Distributes the first `inside` output samples over all of `frame` pixels, as `cv2.resize` does: bilinear, with
    /// half-pixel centres, and the border repeated.
    pub fn plan_whole(&mut self, inside: usize, frame: usize) {
        self.first = 0;
        self.places.clear();
        let step = frame as f64 / inside as f64;
        let last = frame as f64 - 1.0;
        self.places.extend((0..inside).filter(|_| frame > 0).map(|d| {
            let position = ((d as f64 + 0.5) * step - 0.5).clamp(0.0, last);
            Place { positions: [position; 2], share: 0.0, coverage: FULL }
        }));
    }

    /// The pairs of samples for each place, in a component with one sample for every `step` frame pixels, `len` in total.
    /// `cosited`: its first sample is on the first pixel, else in the middle of the first `step` pixels. `PAIRS` is 2 if the
    /// frame is resized first, else 1.
    pub fn pairs<const PAIRS: usize>(
        &self,
        step: usize,
        cosited: bool,
        len: usize,
        bits: u32,
        out: &mut Vec<[Pair; PAIRS]>,
    ) {
        let offset = if cosited { 0.0 } else { (step as f64 - 1.0) / (2.0 * step as f64) };
        let samples_per_pixel = 1.0 / step as f64;
        let last = len.saturating_sub(1) as f64;
        // The last pair ends at the last sample, so that no pair reaches beyond it.
        let last_pair = len.saturating_sub(2) as u32;
        let unit = f64::from(1 << bits);
        out.clear();
        out.extend(self.places.iter().map(|place| {
            let shares = if PAIRS == 1 { [1.0, 0.0] } else { [1.0 - place.share, place.share] };
            let mut pairs = [Pair::default(); PAIRS];
            // Rounding the running sum keeps the total exact and every weight at 0 or more.
            let (mut sum, mut given) = (0.0, 0);
            for ((pair, position), share) in pairs.iter_mut().zip(place.positions).zip(shares) {
                let position = (position * samples_per_pixel - offset).clamp(0.0, last);
                pair.at = (position as u32).min(last_pair);
                let right = position - f64::from(pair.at);
                for (weight, part) in pair.weights.iter_mut().zip([1.0 - right, right]) {
                    sum += share * part;
                    let upto = rounded(sum * unit) as i16;
                    *weight = upto - given;
                    given = upto;
                }
            }
            pairs
        }));
    }
}

/// Rounds numbers from 0 on to the nearest integer, without the call that `f64::round` is on a plain x86-64.
fn rounded(value: f64) -> u32 {
    (value + 0.5) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check<const PAIRS: usize>(scale: f64) {
        let mut axis = Axis::default();
        let mut pairs: Vec<[Pair; PAIRS]> = Vec::new();
        for frame in [1, 2, 3, 50, 1281] {
            for (centre, size) in [(0.0, 10.0), (25.3, 7.7), (640.0, 3000.0), (1281.0, 100.0), (0.5, 1e-9)] {
                axis.plan(centre, size, 192, frame, scale);
                assert!(axis.first + axis.places.len() <= 192);
                assert!(axis.places.iter().all(|place| (1..=FULL).contains(&place.coverage)));
                for (step, bits) in [(1, COLUMN_BITS), (2, ROW_WEIGHT_BITS), (frame, ROW_WEIGHT_BITS)] {
                    for cosited in [true, false] {
                        let len = frame.div_ceil(step);
                        axis.pairs(step, cosited, len, bits, &mut pairs);
                        assert_eq!(pairs.len(), axis.places.len());
                        for pair in &pairs {
                            let weights = || pair.iter().flat_map(|pair| pair.weights);
                            assert_eq!(weights().sum::<i16>(), 1 << bits);
                            assert!(weights().all(|weight| weight >= 0));
                            assert!(
                                pair.iter().all(|pair| (pair.at as usize) < len.saturating_sub(1).max(1))
                            );
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn weights_add_up_and_no_pair_reaches_past_the_end() {
        check::<1>(1.0);
        check::<2>(0.65);
        check::<2>(0.1);
    }

    #[test]
    fn nothing_to_take_gives_no_places() {
        let mut axis = Axis::default();
        for (centre, size, frame) in [
            (0.0, 10.0, 0),
            (-100.0, 10.0, 50),
            (1e30, 1e30, 50),
            (f64::NAN, 1.0, 50),
            (1.0, f64::INFINITY, 50),
        ] {
            axis.plan(centre, size, 1, frame, 1.0);
            assert!(axis.places.is_empty(), "{centre} {size} {frame}");
        }
    }
}
