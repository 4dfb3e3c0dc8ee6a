//! The size of a frame, and the shape of its pixels.

/// No real video has pixels whose sides differ by more than this factor.
const MOST_STRETCHED: f32 = 64.0;

/// A frame's size in its own pixels, and the aspect at which one of them is shown.
///
/// People are searched, sampled, tracked and smoothed in **square pixels**: y as in the frame, x times the pixel's aspect,
/// so that a person has the same shape in every video. The frame's own pixels are used where a crop is sampled, and at the
/// borders: upstream's regions, and the `FramePeople` that metadata is written from. In most videos both are the same.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FrameShape {
    /// In the frame's own pixels.
    pub width: u32,
    pub height: u32,
    pixel_aspect: f32,
}

impl FrameShape {
    /// With that many pixels, whose width relative to their height is `pixel_aspect`. An impossible aspect (0 or below)
    /// counts as square, one beyond 1:64 or 64:1 as these.
    pub fn new(width: u32, height: u32, pixel_aspect: (i32, i32)) -> Self {
        let (across, down) = pixel_aspect;
        let pixel_aspect = if across > 0 && down > 0 { across as f32 / down as f32 } else { 1.0 };
        Self { width, height, pixel_aspect: pixel_aspect.clamp(1.0 / MOST_STRETCHED, MOST_STRETCHED) }
    }

    /// Width and height in square pixels; at least 1 each if the frame has any pixels.
    pub fn square_size(&self) -> (u32, u32) {
        let width = f64::from(self.width) * f64::from(self.pixel_aspect);
        ((width.round() as u32).max(self.width.min(1)), self.height)
    }

    /// Factors for x and y from the frame's own pixels to square pixels.
    pub fn to_square(&self) -> [f32; 2] {
        [self.pixel_aspect, 1.0]
    }

    /// Factors for x and y from square pixels to the frame's own pixels.
    pub fn to_pixels(&self) -> [f32; 2] {
        [1.0 / self.pixel_aspect, 1.0]
    }
}

impl From<&gst_video::VideoInfo> for FrameShape {
    /// From the caps.
    fn from(info: &gst_video::VideoInfo) -> Self {
        let aspect = info.par();
        Self::new(info.width(), info.height(), (aspect.numer(), aspect.denom()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_as_wide_as_it_is_shown() {
        let size = |width, height, aspect| FrameShape::new(width, height, aspect).square_size();
        assert_eq!(size(1280, 720, (1, 1)), (1280, 720));
        assert_eq!(size(640, 720, (2, 1)), (1280, 720));
        assert_eq!(size(720, 576, (16, 15)), (768, 576));
        assert_eq!(size(720, 480, (8, 9)), (640, 480));
    }

    #[test]
    fn pixels_of_no_video_are_held_to_what_can_be() {
        for aspect in [(0, 1), (1, 0), (-2, 1), (2, -1)] {
            assert_eq!(FrameShape::new(10, 20, aspect).square_size(), (10, 20), "{aspect:?}");
        }
        assert_eq!(FrameShape::new(10, 20, (i32::MAX, 1)).square_size(), (640, 20));
        assert_eq!(FrameShape::new(10, 20, (1, i32::MAX)).square_size(), (1, 20));
        assert_eq!(FrameShape::new(0, 0, (1, 1)).square_size(), (0, 0));
        assert_eq!(FrameShape::new(u32::MAX, 1, (64, 1)).square_size(), (u32::MAX, 1));
    }

    #[test]
    fn there_and_back_is_where_it_was() {
        for aspect in [(1, 1), (2, 1), (16, 15), (8, 9)] {
            let shape = FrameShape::new(720, 576, aspect);
            let there_and_back = 719.25 * shape.to_square()[0] * shape.to_pixels()[0];
            assert!((there_and_back - 719.25_f32).abs() < 1e-3, "{aspect:?}: {there_and_back}");
        }
        assert_eq!(FrameShape::new(720, 576, (1, 1)).to_square(), [1.0; 2]);
    }
}
