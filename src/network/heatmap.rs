//! From heat maps to key points: the highest value of each map, refined to a fraction of a map's pixel by DARK (Zhang et
//! al., CVPR 2020) in the form of UDP (Huang et al., CVPR 2020): the map is smoothed, and a parabola is fitted to the
//! logarithms around the highest value (mmpose `codecs/utils/refinement.py` `refine_keypoints_dark_udp`).

use super::simcc::maximum;

/// Taps of the smoothing Gaussian on each side of the middle one.
const RADIUS: usize = 5;
/// Its standard deviation in pixels of the map: OpenCV's choice for that many taps.
const DEVIATION: f64 = 2.0;
/// Smoothed values are limited to this range before the logarithm.
const RANGE: (f64, f64) = (0.001, 50.0);

/// The highest value of a map and its place, in shares of the map from its first pixel (0) to its last (1), in each
/// direction. Of equal values the first is taken; NaN is never the highest.
pub(super) fn peak(map: &[f32], width: usize, height: usize) -> ([f32; 2], f32) {
    let (at, score) = maximum(map);
    let place = [at % width, at / width];
    let shift = if score > 0.0 { refinement(map, [width, height], place) } else { [0.0; 2] };
    let share = |axis: usize, side: usize| {
        // There is no direction in a map one pixel wide.
        let last = side.saturating_sub(1).max(1) as f64;
        ((place[axis] as f64 + shift[axis]) / last) as f32
    };
    ([share(0, width), share(1, height)], score)
}

/// The distance of the map's top from its highest pixel.
fn refinement(map: &[f32], size: [usize; 2], place: [usize; 2]) -> [f64; 2] {
    // Beyond its edge, a map continues with the values at the edge.
    let near = |axis: usize, step: isize| place[axis].saturating_add_signed(step).min(size[axis] - 1);
    let log =
        |dx: isize, dy: isize| smoothed(map, size, [near(0, dx), near(1, dy)]).clamp(RANGE.0, RANGE.1).ln();
    let here = log(0, 0);
    let (left, right, above, below) = (log(-1, 0), log(1, 0), log(0, -1), log(0, 1));
    let [dx, dy] = [(right - left) / 2.0, (below - above) / 2.0];
    let epsilon = f64::from(f32::EPSILON);
    let dxx = right - 2.0 * here + left + epsilon;
    let dyy = below - 2.0 * here + above + epsilon;
    let dxy = (log(1, 1) - right - below + 2.0 * here - left - above + log(-1, -1)) / 2.0;
    let determinant = dxx * dyy - dxy * dxy;
    let shift = [(dxy * dy - dyy * dx) / determinant, (dxy * dx - dxx * dy) / determinant];
    // A map without a top there, flat or broken, gives any number.
    let holds = shift.iter().all(|shift| shift.abs() <= RADIUS as f64);
    if holds { shift } else { [0.0; 2] }
}

/// The map's smoothed value at a pixel. The border reflects, without repeating its own pixels.
fn smoothed(map: &[f32], [width, height]: [usize; 2], [x, y]: [usize; 2]) -> f64 {
    let taps: [f64; 2 * RADIUS + 1] = std::array::from_fn(|tap| {
        let distance = tap as f64 - RADIUS as f64;
        (-distance * distance / (2.0 * DEVIATION * DEVIATION)).exp()
    });
    let whole: f64 = taps.iter().sum();
    let row = |y: usize| -> f64 {
        let value =
            |(tap, weight): (usize, &f64)| weight * f64::from(map[y * width + mirrored(x, tap, width)]);
        taps.iter().enumerate().map(value).sum()
    };
    let sum: f64 = taps.iter().enumerate().map(|(tap, weight)| weight * row(mirrored(y, tap, height))).sum();
    sum / (whole * whole)
}

/// The pixel under a tap about `middle`.
fn mirrored(middle: usize, tap: usize, side: usize) -> usize {
    if side == 1 {
        return 0;
    }
    let period = 2 * (side - 1);
    let at = (middle + tap + period * RADIUS - RADIUS) % period;
    at.min(period - at)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: [usize; 2] = [48, 64];

    fn gaussian([x, y]: [f64; 2], height: f64) -> Vec<f32> {
        let value = |index: usize| {
            let (dx, dy) = ((index % SIZE[0]) as f64 - x, (index / SIZE[0]) as f64 - y);
            (height * (-(dx * dx + dy * dy) / 8.0).exp()) as f32
        };
        (0..SIZE[0] * SIZE[1]).map(value).collect()
    }

    #[test]
    fn the_top_of_a_gaussian_is_found_between_the_pixels() {
        for place in [[20.0, 30.0], [20.3, 30.45], [10.5, 40.25], [33.0, 7.75]] {
            let ([x, y], score) = peak(&gaussian(place, 0.8), SIZE[0], SIZE[1]);
            let found = [f64::from(x) * 47.0, f64::from(y) * 63.0];
            assert!(
                (found[0] - place[0]).abs() < 0.02 && (found[1] - place[1]).abs() < 0.02,
                "{place:?}: {found:?}"
            );
            assert!((0.75..=0.8).contains(&score), "{score}");
        }
    }

    #[test]
    fn maps_without_a_top_keep_their_pixel() {
        let flat = vec![0.5; 48 * 64];
        assert_eq!(peak(&flat, 48, 64), ([0.0, 0.0], 0.5));
        let nothing = vec![f32::NAN; 48 * 64];
        assert_eq!(peak(&nothing, 48, 64), ([0.0, 0.0], 0.0));
        let mut below = vec![-1.0; 48 * 64];
        below[48 * 32 + 24] = -0.5;
        let ([x, y], score) = peak(&below, 48, 64);
        assert_eq!((x * 47.0, y * 63.0, score), (24.0, 32.0, -0.5));
        let mut broken = gaussian([20.0, 30.0], 0.8);
        broken[48 * 31 + 20] = f32::NAN;
        let ([x, y], _) = peak(&broken, 48, 64);
        assert!(((x * 47.0) - 20.0).abs() < 1e-4 && ((y * 63.0) - 30.0).abs() < 1e-4);
        for (width, height) in [(1, 1), (1, 3), (3, 1), (2, 2)] {
            let ([x, y], score) = peak(&vec![0.25; width * height], width, height);
            assert!(x.is_finite() && y.is_finite() && score == 0.25);
        }
    }

    #[test]
    fn the_border_is_a_mirror() {
        let pixels = |middle: usize, side: usize| {
            (0..2 * RADIUS + 1).map(|tap| mirrored(middle, tap, side)).collect::<Vec<_>>()
        };
        assert_eq!(pixels(1, 48), [4, 3, 2, 1, 0, 1, 2, 3, 4, 5, 6]);
        assert_eq!(pixels(46, 48), [41, 42, 43, 44, 45, 46, 47, 46, 45, 44, 43]);
        assert_eq!(pixels(1, 3), [0, 1, 2, 1, 0, 1, 2, 1, 0, 1, 2]);
        assert_eq!(pixels(0, 1), [0; 11]);
    }
}
