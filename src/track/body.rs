//! What a set of key points says about the body: its box, how similar two bodies are, and whether it can be a person.

use super::edge::{cut_off, is_confident, unseen};
use crate::pose::{KeyPoint, Region};

/// A box needs this many confident points, or all of them if the skeleton has fewer.
const ENOUGH_POINTS: usize = 5;
/// A detector's box extends beyond the outermost joints: over the head, the hands and the feet.
const FLESH: f32 = 1.2;
/// Narrowest box, as a share of its longer side: a person seen from the side, or lying.
const NARROWEST: f32 = 0.3;
/// Smallest side of a box, in square pixels of the frame.
const SMALLEST_SIDE: f32 = 16.0;

/// The boxes of a person who walks overlap at least this much from one crop to the next.
const WALKED: f32 = 0.3;

/// For points without a published value: that of a shoulder.
const OTHER_SIGMA: f32 = 0.079;

/// Which of a skeleton's key points belong to a body.
#[derive(Clone, Debug)]
pub struct Anatomy {
    /// Points that count, from the first on.
    points: usize,
    /// The first 17 are those of COCO's body.
    human: bool,
    /// How far labels of the points scatter, if that is known.
    sigmas: Option<&'static [f32]>,
}

/// A person as found in one crop.
#[derive(Clone, Debug, PartialEq)]
pub struct Pose {
    pub points: Vec<KeyPoint>,
    /// Box around its confident points; if the frame cuts the body off, up to the frame's edge.
    pub region: Region,
    /// Mean score of those points of the body that can be inside the frame.
    pub score: f32,
    /// Points that cannot, in ascending order.
    pub cut_off: Vec<usize>,
}

impl Anatomy {
    /// The body in the skeleton of that name, with that many points. In Halpe and the whole body, the first 17 points are
    /// COCO's; face, hands and feet are ignored. `sigmas` says how far labels of the points scatter (`Skeleton::sigmas`), if
    /// that is known.
    pub fn of(skeleton: &str, points: usize, sigmas: Option<&'static [f32]>) -> Self {
        let human = matches!(skeleton, "coco-17" | "halpe-26" | "coco-wholebody-133") && points >= 17;
        Self { points: if human { 17 } else { points }, human, sigmas }
    }

    /// The points of the body.
    pub fn body<'a>(&self, points: &'a [KeyPoint]) -> &'a [KeyPoint] {
        &points[..self.points.min(points.len())]
    }

    /// The pose of these points in a frame of that size; none if too few are confident to say where it is.
    pub fn pose(&self, points: Vec<KeyPoint>, picture: (u32, u32)) -> Option<Pose> {
        let body = self.body(&points);
        let outside = if self.human { cut_off(body, picture) } else { Vec::new() };
        let mut region = self.region(body.iter().filter(|point| is_confident(point)))?;
        if !outside.is_empty() {
            region = up_to_the_edge(&region, outside.iter().map(|(_, place)| *place), picture);
        }
        let cut_off: Vec<_> = outside.into_iter().map(|(index, _)| index).collect();
        let counted = body.iter().enumerate().filter(|(index, _)| cut_off.binary_search(index).is_err());
        let score = counted.map(|(_, point)| point.score).sum::<f32>() / (body.len() - cut_off.len()) as f32;
        region.is_usable().then_some(Pose { points, region, score, cut_off })
    }

    /// The box around the confident points of the body, as a detector would draw it; none if they are too few.
    pub fn region<'a>(&self, confident: impl Iterator<Item = &'a KeyPoint>) -> Option<Region> {
        let (mut x, mut y, mut count) = ((f32::MAX, f32::MIN), (f32::MAX, f32::MIN), 0);
        for point in confident {
            (x, y) = ((x.0.min(point.x), x.1.max(point.x)), (y.0.min(point.y), y.1.max(point.y)));
            count += 1;
        }
        if count < ENOUGH_POINTS.min(self.points).max(1) {
            return None;
        }
        let (width, height) = ((x.1 - x.0) * FLESH, (y.1 - y.0) * FLESH);
        let narrowest = (width.max(height) * NARROWEST).max(SMALLEST_SIDE);
        let region =
            around((x.0 + x.1) / 2.0, (y.0 + y.1) / 2.0, width.max(narrowest), height.max(narrowest));
        region.is_usable().then_some(region)
    }

    /// The pose's box, extended to where its unseen joints must be if the person stands, as far as the frame of that size
    /// reaches.
    pub fn whole(&self, pose: &Pose, picture: (u32, u32)) -> Region {
        let unseen = if self.human { unseen(self.body(&pose.points)) } else { Vec::new() };
        if unseen.is_empty() {
            return pose.region;
        }
        up_to_the_edge(&pose.region, unseen.into_iter(), picture)
    }

    /// Object key point similarity, 0 to 1, as COCO computes it between a person and the labels, over the points that are
    /// confident in both. 0 if those are too few, or if the boxes do not overlap enough.
    pub fn oks(&self, a: &Pose, b: &Pose) -> f32 {
        if intersection(&a.region, &b.region) > 0.0 { self.shifted_oks(a, b, [0.0; 2]) } else { 0.0 }
    }

    /// How similar two poses are apart from their place, 0 to 1: their OKS after one is moved onto the other, because the
    /// person may have walked since. 0 if they are too far apart for that.
    pub fn agreement(&self, a: &Pose, b: &Pose) -> f32 {
        if overlap(&a.region, &b.region) < WALKED {
            return 0.0;
        }
        self.shift(a, b).map_or(0.0, |shift| self.shifted_oks(a, b, shift))
    }

    /// How far the body moved from `b` to `a`: the mean over points that are confident in both, if there are any.
    pub fn shift(&self, a: &Pose, b: &Pose) -> Option<[f32; 2]> {
        let (mut shift, mut count) = ([0.0; 2], 0.0);
        for (_, p, q) in self.confident_in_both(a, b) {
            shift = [shift[0] + p.x - q.x, shift[1] + p.y - q.y];
            count += 1.0;
        }
        (count > 0.0).then(|| shift.map(|sum| sum / count))
    }

    fn shifted_oks(&self, a: &Pose, b: &Pose, shift: [f32; 2]) -> f32 {
        let area = (area(&a.region) + area(&b.region)) / 2.0;
        let (mut sum, mut count) = (0.0, 0);
        for (index, p, q) in self.confident_in_both(a, b) {
            let sigma = self.sigmas.and_then(|sigmas| sigmas.get(index)).copied().unwrap_or(OTHER_SIGMA);
            let distance = (p.x - q.x - shift[0]).powi(2) + (p.y - q.y - shift[1]).powi(2);
            sum += (-distance / (2.0 * (2.0 * sigma).powi(2) * area)).exp();
            count += 1;
        }
        if count < ENOUGH_POINTS.min(self.points) { 0.0 } else { sum / count as f32 }
    }

    fn confident_in_both<'a>(
        &self,
        a: &'a Pose,
        b: &'a Pose,
    ) -> impl Iterator<Item = (usize, &'a KeyPoint, &'a KeyPoint)> {
        let pairs = self.body(&a.points).iter().zip(self.body(&b.points)).enumerate();
        let pairs = pairs.map(|(index, (p, q))| (index, p, q));
        pairs.filter(|(_, p, q)| is_confident(p) && is_confident(q))
    }

    /// How similar two poses are, 0 to 1. `boxes` is the share of the boxes, and the points have the rest.
    pub fn similarity(&self, a: &Pose, b: &Pose, boxes: f32) -> f32 {
        boxes * overlap(&a.region, &b.region) + (1.0 - boxes) * self.oks(a, b)
    }

    /// Whether the points can be a body: a head, a trunk, and enough of the rest. If the frame cuts the legs off: a head,
    /// two shoulders, and the visible part of an arm.
    pub fn is_plausible(&self, pose: &Pose) -> bool {
        let [head, shoulders, hips, limbs] = self.confident_parts(pose);
        let cut = |index: &usize| pose.cut_off.binary_search(index).is_ok();
        let whole = head >= 2 && shoulders == 2 && hips >= 1 && head + shoulders + hips + limbs >= 10;
        let (no_legs, an_elbow) = (!pose.cut_off.is_empty(), [7, 8].iter().any(cut));
        let half = no_legs && head >= 3 && shoulders == 2 && (limbs >= 1 || an_elbow);
        !self.human || whole || half
    }

    /// Whether another crop could find a body there: part of a trunk, and enough of the rest.
    pub fn is_hint(&self, pose: &Pose) -> bool {
        let [head, shoulders, hips, limbs] = self.confident_parts(pose);
        !self.human || shoulders >= 1 && (hips >= 1 || head >= 2) && head + shoulders + hips + limbs >= 6
    }

    /// Confident points of the head, the shoulders, the hips, and of arms and legs, for a human body.
    fn confident_parts(&self, pose: &Pose) -> [usize; 4] {
        let parts: [&[usize]; 4] = [&[0, 1, 2, 3, 4], &[5, 6], &[11, 12], &[7, 8, 9, 10, 13, 14, 15, 16]];
        let confident = |index: &&usize| pose.points.get(**index).is_some_and(is_confident);
        parts.map(|part| part.iter().filter(confident).count())
    }
}

/// The box, extended to these places as far as the frame reaches.
fn up_to_the_edge(region: &Region, places: impl Iterator<Item = [f32; 2]>, picture: (u32, u32)) -> Region {
    let (width, height) = (picture.0 as f32, picture.1 as f32);
    let (mut low, mut high) = ([region.x, region.y], [region.x + region.width, region.y + region.height]);
    for [x, y] in places {
        (low, high) = ([low[0].min(x), low[1].min(y)], [high[0].max(x), high[1].max(y)]);
    }
    let [left, top] = [low[0].clamp(0.0, width), low[1].clamp(0.0, height)];
    Region::new(left, top, high[0].clamp(0.0, width) - left, high[1].clamp(0.0, height) - top)
}

/// The box with that size and centre.
pub fn around(x: f32, y: f32, width: f32, height: f32) -> Region {
    Region::new(x - width / 2.0, y - height / 2.0, width, height)
}

pub fn centre(region: &Region) -> [f32; 2] {
    [region.x + region.width / 2.0, region.y + region.height / 2.0]
}

pub fn area(region: &Region) -> f32 {
    region.width * region.height
}

/// Intersection over union.
pub fn overlap(a: &Region, b: &Region) -> f32 {
    let both = intersection(a, b);
    let either = area(a) + area(b) - both;
    if either > 0.0 { both / either } else { 0.0 }
}

/// The area of the intersection.
pub fn intersection(a: &Region, b: &Region) -> f32 {
    let side = |a: f32, a_size: f32, b: f32, b_size: f32| ((a + a_size).min(b + b_size) - a.max(b)).max(0.0);
    side(a.x, a.width, b.x, b.width) * side(a.y, a.height, b.y, b.height)
}
