//! The box in which somebody is looked at, from one pose to the next.

use super::{
    body::{Anatomy, Pose, intersection, is_confident},
    scaled,
};
use crate::pose::{KeyPoint, Region};

/// How far the edges of a box stay behind those of the pose, as a share of its side.
const LOOSE: f32 = 0.08;
/// A point that is not confident any more is taken to be where it was on the body for so long, in seconds: a hand or foot
/// that swings is blurred or hidden for about half a step.
const REMEMBERED: f64 = 0.4;
/// The ample box shrinks by a factor of e in so long, in seconds: limbs that swing out again do so within about a step. A
/// box that is too large does less harm than one that cuts a limb off, which would not be found again.
const SHRINKING: f64 = 0.7;

/// Where somebody's body is.
#[derive(Clone, Debug)]
pub struct Extent {
    /// The body's points as they were last confident, moved on with the body; and when that was.
    points: Vec<(KeyPoint, f64)>,
    /// Follows the points.
    tight: Region,
    /// Grows with the points, but shrinks slowly.
    ample: Region,
}

impl Extent {
    /// As that pose has it, found at `now` (the stream's time in seconds).
    pub fn of(anatomy: &Anatomy, pose: &Pose, now: f64) -> Self {
        let dated = |point: &KeyPoint| (*point, if is_confident(point) { now } else { f64::MIN });
        let points = anatomy.body(&pose.points).iter().map(dated).collect();
        Self { points, tight: pose.region, ample: pose.region }
    }

    /// Goes on to a pose that was found `passed` seconds after the last, at `now`, while the body moved by `shift`.
    pub fn follow(&mut self, anatomy: &Anatomy, pose: &Pose, now: f64, passed: f64, shift: [f32; 2]) {
        for ((kept, seen), point) in self.points.iter_mut().zip(anatomy.body(&pose.points)) {
            if is_confident(point) {
                (*kept, *seen) = (*point, now);
            } else {
                (kept.x, kept.y) = (kept.x + shift[0], kept.y + shift[1]);
            }
        }
        let remembered = self.points.iter().filter(|(_, seen)| now - seen <= REMEMBERED);
        let to = anatomy.region(remembered.map(|(point, _)| point)).unwrap_or(pose.region);
        let moved = |Region { x, y, width, height }| Region::new(x + shift[0], y + shift[1], width, height);
        self.tight = followed(&moved(self.tight), &to, 0.0);
        self.ample = followed(&moved(self.ample), &to, (-passed / SHRINKING).exp() as f32);
    }

    /// The box to look at: the ample one, unless it shows more of `others`, each in a box, than the tight one.
    pub fn region<'a>(&self, mut others: impl Iterator<Item = &'a Region>) -> Region {
        let crowded = others.any(|other| intersection(&self.ample, other) > intersection(&self.tight, other));
        if crowded { self.tight } else { self.ample }
    }

    /// In a frame of another size.
    pub fn scale(&mut self, by: [f32; 2]) {
        for (point, _) in &mut self.points {
            (point.x, point.y) = (point.x * by[0], point.y * by[1]);
        }
        (self.tight, self.ample) = (scaled(&self.tight, by), scaled(&self.ample, by));
    }
}

/// The box `region` once it follows the box `to`. Its edges may move a little within it, since a box that trembles with the
/// points makes them tremble more; farther out they come at once, but for the share `kept` of their way.
fn followed(region: &Region, to: &Region, kept: f32) -> Region {
    let axis = |at: f32, size: f32, to: f32, to_size: f32| {
        let loose = LOOSE * size.max(to_size);
        // How far the edge lies outside of the one to follow.
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
