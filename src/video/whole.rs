//! How a whole frame becomes a model's input.

use super::FrameShape;

/// The value of all three colours beside the frame in a letterbox (YOLOX, RTMDet, RTMO).
pub(super) const BORDER: u8 = 114;

/// How a frame is fitted into an input of another shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fit {
    /// Scaled by the smaller ratio of the sides, with its sizes truncated to whole pixels, at the top left; the rest is grey
    /// (mmdet `Resize(keep_ratio=True)` and `Pad`, rtmlib `YOLOX.preprocess`).
    Letterbox,
    /// Stretched to the whole input (rtmlib `RFDETR.preprocess`).
    Stretch,
}

/// A whole frame in a model's input.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Whole {
    /// Columns and rows of the input that show the frame, from the top left.
    inside: [u32; 2],
    /// Square pixels of the frame for each pixel of the input, in each direction.
    ratio: [f32; 2],
}

impl Whole {
    /// For frames of that shape in an input of that size. None if a side is 0.
    pub fn new(fit: Fit, shape: FrameShape, width: u32, height: u32) -> Option<Self> {
        let (frame_width, frame_height) = shape.square_size();
        if [frame_width, frame_height, width, height].contains(&0) {
            return None;
        }
        let [across, down] = [(width, frame_width), (height, frame_height)]
            .map(|(input, frame)| f64::from(input) / f64::from(frame));
        Some(match fit {
            Fit::Stretch => {
                Self { inside: [width, height], ratio: [across, down].map(|by| (1.0 / by) as f32) }
            }
            Fit::Letterbox => {
                let by = across.min(down);
                let side = |frame: u32, input: u32| ((f64::from(frame) * by) as u32).clamp(1, input);
                let inside = [side(frame_width, width), side(frame_height, height)];
                // Truncation changes the ratio a little in each direction (mmdet's `scale_factor`; rtmlib ignores it).
                let ratio = [(frame_width, inside[0]), (frame_height, inside[1])];
                Self {
                    inside,
                    ratio: ratio.map(|(frame, inside)| (f64::from(frame) / f64::from(inside)) as f32),
                }
            }
        })
    }

    /// Columns and rows of the input that show the frame.
    pub fn inside(&self) -> [u32; 2] {
        self.inside
    }

    /// From the input's pixels to the frame's square pixels.
    pub fn to_frame(&self, x: f32, y: f32) -> (f32, f32) {
        (x * self.ratio[0], y * self.ratio[1])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(fit: Fit, frame: (u32, u32), aspect: (i32, i32), input: (u32, u32)) -> Whole {
        Whole::new(fit, FrameShape::new(frame.0, frame.1, aspect), input.0, input.1).unwrap()
    }

    #[test]
    fn the_smaller_ratio_fits_the_frame_in() {
        let letterbox = |frame, input| whole(Fit::Letterbox, frame, (1, 1), input);
        let wide = letterbox((1280, 720), (416, 416));
        assert_eq!(wide.inside(), [416, 234]);
        let (x, y) = wide.to_frame(416.0, 234.0);
        assert!((x - 1280.0).abs() < 1e-3 && (y - 720.0).abs() < 1e-3);
        assert_eq!(letterbox((720, 1280), (416, 416)).inside(), [234, 416]);
        // 640 / 639 * 427 = 427.67, truncated to whole pixels.
        let cut = letterbox((639, 427), (640, 640));
        assert_eq!((cut.inside(), cut.to_frame(640.0, 427.0)), ([640, 427], (639.0, 427.0)));
        assert_eq!(letterbox((100, 50), (640, 320)).inside(), [640, 320], "grown");
        assert_eq!(letterbox((10_000, 1), (416, 416)).inside(), [416, 1], "never nothing");
    }

    #[test]
    fn pixels_that_are_not_square_are_shown_as_they_are() {
        let whole = whole(Fit::Letterbox, (640, 720), (2, 1), (416, 416));
        assert_eq!(whole.inside(), [416, 234]);
        let (x, y) = whole.to_frame(416.0, 234.0);
        assert!((x - 1280.0).abs() < 1e-3 && (y - 720.0).abs() < 1e-3, "square pixels");
    }

    #[test]
    fn a_stretched_frame_fills_the_input() {
        let whole = whole(Fit::Stretch, (1280, 720), (1, 1), (512, 512));
        assert_eq!(whole.inside(), [512, 512]);
        assert_eq!(whole.to_frame(256.0, 256.0), (640.0, 360.0));
    }

    #[test]
    fn nothing_fits_into_nothing() {
        for (frame, input) in
            [((0, 10), (10, 10)), ((10, 0), (10, 10)), ((10, 10), (0, 10)), ((10, 10), (10, 0))]
        {
            let shape = FrameShape::new(frame.0, frame.1, (1, 1));
            assert_eq!(Whole::new(Fit::Letterbox, shape, input.0, input.1), None);
        }
    }
}
