//! The box in which a person is inferred, from one pose to the next.

use super::{
    body::{Anatomy, Pose, intersection},
    edge::is_confident,
    scaled,
};
use crate::pose::{KeyPoint, Region};

/// How far the edges of a box stay behind those of the pose, as a share of its side.
const LOOSE: f32 = 0.12;
/// A point that is no longer confident is assumed to be at its old place on the body for this long, in seconds: a hand or
/// foot that swings is blurred or hidden for about half a step.
const REMEMBERED: f64 = 0.4;
/// The ample box shrinks by a factor of e in this many seconds: limbs swing out again within about a step. A box that is too
/// large does less harm than one that cuts off a limb, because the limb would not be found again.
const SHRINKING: f64 = 0.7;

/// Where a person's body is.
#[derive(Clone, Debug)]
pub struct Extent {
    /// The body's points when they were last confident, moved with the body; and when that was.
    points: Vec<(KeyPoint, f64)>,
    /// Follows the points.
    tight: Region,
    /// Grows with the points at once, but shrinks slowly.
    ample: Region,
}

impl Extent {
    /// From that pose, found at `now` (the stream's time in seconds).
    pub fn of(anatomy: &Anatomy, pose: &Pose, now: f64) -> Self {
        let dated = |point: &KeyPoint| (*point, if is_confident(point) { now } else { f64::MIN });
        let points = anatomy.body(&pose.points).iter().map(dated).collect();
        Self { points, tight: pose.region, ample: pose.region }
    }

    /// Updates it with a pose found `passed` seconds after the last, at `now`, while the body moved by `shift`.
    pub fn follow(&mut self, anatomy: &Anatomy, pose: &Pose, now: f64, passed: f64, shift: [f32; 2]) {
        for ((kept, seen), point) in self.points.iter_mut().zip(anatomy.body(&pose.points)) {
            if is_confident(point) {
                (*kept, *seen) = (*point, now);
            } else {
                (kept.x, kept.y) = (kept.x + shift[0], kept.y + shift[1]);
            }
        }
        let remembered = self.points.iter().filter(|(_, seen)| now - seen <= REMEMBERED);
        let to = anatomy.region(remembered.map(|(point, _)| point)).filter(|_| pose.cut_off.is_empty());
        let to = to.unwrap_or(pose.region);
        let moved = |Region { x, y, width, height }| Region::new(x + shift[0], y + shift[1], width, height);
        self.tight = followed(&moved(self.tight), &to, 0.0);
        self.ample = followed(&moved(self.ample), &to, (-passed / SHRINKING).exp() as f32);
    }

    /// The box to infer: the ample one, unless it shows more of `others` (boxes) than the tight one does.
    pub fn region<'a>(&self, mut others: impl Iterator<Item = &'a Region>) -> Region {
        let crowded = others.any(|other| intersection(&self.ample, other) > intersection(&self.tight, other));
        if crowded { self.tight } else { self.ample }
    }

    /// Scaled to a frame of another size.
    pub fn scale(&mut self, by: [f32; 2]) {
        for (point, _) in &mut self.points {
            (point.x, point.y) = (point.x * by[0], point.y * by[1]);
        }
        (self.tight, self.ample) = (scaled(&self.tight, by), scaled(&self.ample, by));
    }
}

/// The box `region` after it follows the box `to`. Its edges may move a little inside it, because a box that moves with the
/// points' jitter increases that jitter. Farther out they follow at once, except for the share `kept` of the distance.
fn followed(region: &Region, to: &Region, kept: f32) -> Region {
    let axis = |at: f32, size: f32, to: f32, to_size: f32| {
        let loose = LOOSE * size.max(to_size);
        // How far the edge is outside the box to follow.
        let edge = |outside: f32| {
            if outside > loose { loose + (outside - loose) * kept } else { outside.max(-loose) }
        };
        let (low, high) = (to - edge(to - at), to + to_size + edge(at + size - to - to_size));
        (low, high - low)
    };
    let (x, width) = axis(region.x, region.width, to.x, to.width);
    let (y, height) = axis(region.y, region.height, to.y, to.height);
    Region::new(x, y, width, height)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND_OF_FRAMES: usize = 60;
    const FRAME: f64 = 1.0 / SECOND_OF_FRAMES as f64;

    /// A person with 17 points from (0, 0) to (100, 100 + `reach`), moved by `x`. The lowest point, a foot,
    /// has this score.
    fn pose(anatomy: &Anatomy, x: f32, reach: f32, foot: f32) -> Pose {
        let mut points: Vec<_> = (0..16)
            .map(|n| KeyPoint {
                x: x + 100.0 * (n % 2) as f32,
                y: 100.0 * (n / 8) as f32,
                score: 0.9,
                z: None,
            })
            .collect();
        points.push(KeyPoint { x: x + 50.0, y: 100.0 + reach, score: foot, z: None });
        anatomy.pose(points, (1280, 720)).unwrap()
    }

    fn bottom(extent: &Extent) -> f32 {
        let region = extent.region([].iter());
        region.y + region.height
    }

    fn tight_bottom(extent: &Extent) -> f32 {
        extent.tight.y + extent.tight.height
    }

    #[test]
    fn a_foot_that_is_not_seen_for_a_moment_stays_in_the_box() {
        let anatomy = Anatomy::of("coco-17", 17, None);
        let mut extent = Extent::of(&anatomy, &pose(&anatomy, 0.0, 100.0, 0.9), 0.0);
        let whole = extent.tight;
        let mut reached = Vec::new();
        for frame in 1..=SECOND_OF_FRAMES {
            let now = frame as f64 * FRAME;
            extent.follow(&anatomy, &pose(&anatomy, 0.0, 100.0, 0.1), now, FRAME, [0.0; 2]);
            reached.push(tight_bottom(&extent));
        }
        // 200 high, extended by 1.2, then 100 high and up to LOOSE of the larger side below that.
        assert_eq!(whole.y + whole.height, 220.0);
        assert!(reached[..23].iter().all(|y| *y == 220.0), "for 0.4 s: {reached:?}");
        assert!((reached[24] - (110.0 + LOOSE * 240.0)).abs() < 1e-3, "later: {}", reached[24]);
        assert!(reached.last().unwrap() < &(110.0 + LOOSE * 240.0 + 1e-3));
    }

    #[test]
    fn the_box_moves_with_the_body_and_so_does_a_foot_that_is_not_seen() {
        let anatomy = Anatomy::of("coco-17", 17, None);
        let mut extent = Extent::of(&anatomy, &pose(&anatomy, 0.0, 100.0, 0.9), 0.0);
        for frame in 1..=20 {
            let (now, x) = (frame as f64 * FRAME, 3.0 * frame as f32);
            extent.follow(&anatomy, &pose(&anatomy, x, 100.0, 0.1), now, FRAME, [3.0, 0.0]);
        }
        let (point, seen) = extent.points[16];
        assert_eq!((point.x, point.y, seen), (110.0, 200.0, 0.0));
        let Region { x, y, width, height } = extent.tight;
        for (found, expected) in [(x, 50.0), (y, -20.0), (width, 120.0), (height, 240.0)] {
            assert!((found - expected).abs() < 1e-3, "{:?}", extent.tight);
        }
        assert_eq!(extent.ample, extent.tight);
    }

    #[test]
    fn a_box_grows_at_once_and_shrinks_slowly_but_not_over_others() {
        let anatomy = Anatomy::of("coco-17", 17, None);
        let (short, tall) = (pose(&anatomy, 0.0, 0.0, 0.9), pose(&anatomy, 0.0, 100.0, 0.9));
        let mut extent = Extent::of(&anatomy, &short, 0.0);
        extent.follow(&anatomy, &tall, FRAME, FRAME, [0.0; 2]);
        let loose = LOOSE * 240.0;
        assert!((bottom(&extent) - (220.0 - loose)).abs() < 1e-3, "{}", bottom(&extent));
        let mut extent = Extent::of(&anatomy, &tall, 0.0);
        extent.follow(&anatomy, &short, 0.7, 0.7, [0.0; 2]);
        // The part outside the loose edge shrinks by e in 0.7 s.
        let expected = 110.0 + loose + (110.0 - loose) / std::f32::consts::E;
        assert!((bottom(&extent) - expected).abs() < 1e-3, "{} is not {expected}", bottom(&extent));
        assert!((tight_bottom(&extent) - (110.0 + loose)).abs() < 1e-3);
        let (below, beside) = (Region::new(0.0, 140.0, 100.0, 100.0), Region::new(500.0, 0.0, 100.0, 100.0));
        assert_eq!(extent.region([beside].iter()), extent.ample);
        assert_eq!(extent.region([beside, below].iter()), extent.tight);
        extent.scale([0.5, 2.0]);
        assert!((bottom(&extent) - 2.0 * expected).abs() < 1e-3);
        assert_eq!(extent.points[16].0, KeyPoint { x: 25.0, y: 200.0, score: 0.9, z: None });
    }
}
