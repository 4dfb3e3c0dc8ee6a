//! Bodies that the frame's edge cuts off: in front of a webcam, the hips of a person are outside the frame. Head and
//! shoulders show where the rest must be. Points outside the frame cannot be seen, so their low scores do not count.

use crate::pose::KeyPoint;

/// A key point with a lower score, without the model's unit, does not say where its joint is.
const CONFIDENT: f32 = 0.3;
/// A standing body with hanging arms, seen from the front: COCO's points relative to the middle of the shoulders, to the
/// right and below, as shares of the height (rough proportions of an adult).
const STANDING: [[f32; 2]; 17] = [
    [0.0, -0.12],
    [0.02, -0.14],
    [-0.02, -0.14],
    [0.04, -0.13],
    [-0.04, -0.13],
    [0.1, 0.0],
    [-0.1, 0.0],
    [0.13, 0.17],
    [-0.13, 0.17],
    [0.14, 0.32],
    [-0.14, 0.32],
    [0.07, 0.3],
    [-0.07, 0.3],
    [0.08, 0.52],
    [-0.08, 0.52],
    [0.08, 0.72],
    [-0.08, 0.72],
];
/// Of its points, those that head and shoulders do not need.
const BELOW_THE_SHOULDERS: std::ops::Range<usize> = 7..17;
/// Knees and ankles: if most are outside, it is half a body.
const LEGS: std::ops::Range<usize> = 13..17;
const MOST_OF_THE_LEGS: usize = 3;
/// Of that body, as shares of the height: the width of the shoulders, and the distance from the head's points down to them.
const SHOULDERS: f32 = 0.2;
const NECK: f32 = 0.132;
/// Points of the head that show where it is.
const ENOUGH_OF_A_HEAD: usize = 2;
/// A joint this near to the edge, as a share of the height, is cut off, together with what follows it.
const MARGIN: f32 = 0.06;

/// Whether the point shows where its joint is.
pub fn is_confident(point: &KeyPoint) -> bool {
    point.score >= CONFIDENT
}

/// Joints of arms, hips and legs of a human body (the first 17 points are COCO's) that are not confident and, judging by
/// head and shoulders, must be outside a frame of that size: which, and where. None without a head and two shoulders, and
/// none for a body whose legs are visible.
pub fn cut_off(points: &[KeyPoint], picture: (u32, u32)) -> Vec<(usize, [f32; 2])> {
    let Some(body) = Upright::of(points) else { return Vec::new() };
    let (width, height) = (picture.0 as f32, picture.1 as f32);
    let margin = MARGIN * body.height;
    let inside =
        |[x, y]: [f32; 2]| (margin..=width - margin).contains(&x) && (margin..=height - margin).contains(&y);
    let missing: Vec<_> = body.unseen(points).filter(|(_, place)| !inside(*place)).collect();
    // For a person who stands on visible legs, a foot at the edge does not matter.
    let half = missing.iter().filter(|(index, _)| LEGS.contains(index)).count() >= MOST_OF_THE_LEGS;
    if half { missing } else { Vec::new() }
}

/// Where the joints of arms, hips and legs that are not confident must be, judging by head and shoulders, if the person stands.
/// None without a head and two shoulders.
pub fn unseen(points: &[KeyPoint]) -> Vec<[f32; 2]> {
    Upright::of(points).map_or(Vec::new(), |body| body.unseen(points).map(|(_, place)| place).collect())
}

/// The frame of reference of a body: the middle of its shoulders, its height when standing, and the direction from the head
/// down.
struct Upright {
    shoulders: [f32; 2],
    height: f32,
    down: [f32; 2],
}

impl Upright {
    fn of(points: &[KeyPoint]) -> Option<Self> {
        let [head, shoulders] = [points.get(..5)?, points.get(5..7)?];
        points.get(STANDING.len() - 1)?;
        let mean = |of: &[KeyPoint]| {
            let confident = of.iter().filter(|point| is_confident(point));
            let (sum, count) = confident
                .fold(([0.0; 2], 0), |([x, y], count), point| ([x + point.x, y + point.y], count + 1));
            (count, sum.map(|sum| sum / count.max(1) as f32))
        };
        let ((seen, head), (both, middle)) = (mean(head), mean(shoulders));
        if seen < ENOUGH_OF_A_HEAD || both < 2 {
            return None;
        }
        let neck = [middle[0] - head[0], middle[1] - head[1]];
        let length = neck[0].hypot(neck[1]);
        let breadth = (shoulders[0].x - shoulders[1].x).hypot(shoulders[0].y - shoulders[1].y);
        let down = neck.map(|part| part / length);
        // From the side, the shoulders look narrow; with a lowered head, the neck looks short.
        let height = (breadth / SHOULDERS).max(length / NECK);
        down[0].is_finite().then_some(Self { shoulders: middle, height, down })
    }

    /// Of the joints below the shoulders, those that are not confident, and their places.
    fn unseen(&self, points: &[KeyPoint]) -> impl Iterator<Item = (usize, [f32; 2])> {
        BELOW_THE_SHOULDERS
            .filter(|index| !is_confident(&points[*index]))
            .map(|index| (index, self.joint(index)))
    }

    fn joint(&self, index: usize) -> [f32; 2] {
        let ([right, below], [x, y]) = (STANDING[index], self.down);
        let (right, below) = (right * self.height, below * self.height);
        [self.shoulders[0] + right * y + below * x, self.shoulders[1] - right * x + below * y]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A body with its shoulders at (x, y), rotated by this share of a circle. Its points are confident down
    /// to this share of the height below the shoulders.
    fn body([x, y]: [f32; 2], height: f32, turn: f32, seen: f32) -> Vec<KeyPoint> {
        let (sin, cos) = (turn * std::f32::consts::TAU).sin_cos();
        let point = |[right, below]: [f32; 2]| KeyPoint {
            x: x + height * (right * cos - below * sin),
            y: y + height * (right * sin + below * cos),
            score: if below <= seen { 0.9 } else { 0.05 },
            z: None,
        };
        STANDING.into_iter().map(point).collect()
    }

    fn missing(points: &[KeyPoint], picture: (u32, u32)) -> Vec<usize> {
        cut_off(points, picture).into_iter().map(|(index, _)| index).collect()
    }

    #[test]
    fn what_hangs_below_the_picture_cannot_be_seen() {
        let picture = (640, 480);
        // Shoulders 200 above the lower edge: the hips of a person 800 high are 240 below them, the elbows 136.
        let points = body([320.0, 280.0], 800.0, 0.0, 0.1);
        assert_eq!(missing(&points, picture), [9, 10, 11, 12, 13, 14, 15, 16]);
        assert_eq!(missing(&body([320.0, 280.0], 500.0, 0.0, 0.2), picture), [13, 14, 15, 16], "hips inside");
        for (index, [x, y]) in cut_off(&points, picture) {
            assert!((points[index].x - x).hypot(points[index].y - y) < 1.0, "{index} at {x}, {y}");
        }
        // Only the feet are below the edge: the whole body counts.
        let mut standing = body([320.0, 180.0], 450.0, 0.0, 0.6);
        assert!(missing(&standing, picture).is_empty());
        (13..15).for_each(|knee| standing[knee].score = 0.1);
        assert!(missing(&standing, picture).is_empty(), "knees that were not seen, but are inside");
        // A body inside the frame lacks nothing, and confident points count wherever they are.
        assert!(missing(&body([320.0, 120.0], 400.0, 0.0, 0.1), picture).is_empty());
        assert!(missing(&body([320.0, 280.0], 800.0, 0.0, 1.0), picture).is_empty());
    }

    #[test]
    fn a_body_hangs_from_its_head_whichever_way_it_lies() {
        let picture = (640, 480);
        // Upside down, with hips above the upper edge; lying, with hips left of the frame.
        assert_eq!(missing(&body([320.0, 200.0], 800.0, 0.5, 0.2), picture), [9, 10, 11, 12, 13, 14, 15, 16]);
        assert_eq!(
            missing(&body([150.0, 240.0], 800.0, 0.25, 0.2), picture),
            [9, 10, 11, 12, 13, 14, 15, 16]
        );
        assert!(missing(&body([600.0, 240.0], 700.0, 0.25, 0.2), picture).is_empty());
    }

    #[test]
    fn without_a_head_and_both_shoulders_nothing_is_known() {
        let picture = (640, 480);
        for unseen in [&[5][..], &[6], &[0, 1, 2, 3]] {
            let mut points = body([320.0, 280.0], 1000.0, 0.0, 0.1);
            unseen.iter().for_each(|index| points[*index].score = 0.1);
            assert!(missing(&points, picture).is_empty(), "without {unseen:?}");
        }
        let one_place = vec![KeyPoint { x: 320.0, y: 240.0, score: 0.9, z: None }; 17];
        assert!(missing(&one_place, picture).is_empty());
        assert!(missing(&one_place[..10], picture).is_empty());
    }
}
