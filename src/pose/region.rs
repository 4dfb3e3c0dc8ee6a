//! A person's region in the frame, and the crop of the frame that the network sees.

/// A box in frame pixels: left, top, width, height. May reach over the frame's border.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Region {
    pub x: f32,
    pub y: f32,
    pub width: f32,
    pub height: f32,
}

impl Region {
    pub fn new(x: f32, y: f32, width: f32, height: f32) -> Self {
        Self { x, y, width, height }
    }
}
