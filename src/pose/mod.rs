//! People: their key points, their skeletons, and smoothing. Nothing here knows GStreamer or ONNX Runtime.

pub mod skeleton;
mod smooth;

pub use skeleton::{Side, Skeleton};
pub use smooth::{OneEuro, Smoother};

pub use crate::video::Region;

/// One key point in the frame: x and y in pixels (square ones, see [`FrameShape`](crate::video::FrameShape), but the frame's
/// own in `meta::FramePeople`; not limited to the frame), and the model's raw score, which is about 0 to 1 but can be
/// negative or above 1.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct KeyPoint {
    pub x: f32,
    pub y: f32,
    pub score: f32,
    /// Metres along the camera's axis from the middle of the hips; none if the model gives no depths.
    pub z: Option<f32>,
}

/// A person in a frame: its box (upstream's, or around the points that were found), and its key points in the skeleton's
/// order.
#[derive(Clone, Debug, PartialEq)]
pub struct Person {
    /// The person's box in the same pixels as the key points, before padding: what a detector would call the box.
    pub region: Region,
    pub key_points: Vec<KeyPoint>,
    /// The detector's or tracker's number of this person; none if not tracked.
    pub id: Option<i64>,
}

impl Person {
    /// Multiplies all positions: converts the frame's own pixels to square ones, or back, or to a frame of another size.
    pub fn scale(&mut self, by: [f32; 2]) {
        self.region = self.region.scaled(by);
        for point in &mut self.key_points {
            (point.x, point.y) = (point.x * by[0], point.y * by[1]);
        }
    }

    /// Mean of the key points' scores; 0 without key points.
    pub fn score(&self) -> f32 {
        if self.key_points.is_empty() {
            return 0.0;
        }
        self.key_points.iter().map(|point| point.score).sum::<f32>() / self.key_points.len() as f32
    }
}
