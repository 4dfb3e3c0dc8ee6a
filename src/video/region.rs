//! A person's region in the frame, and the crop that the model receives.

/// How much larger than the region the crop is (mmpose `GetBBoxCenterScale`, `padding=1.25`).
const PADDING: f64 = 1.25;

/// A box in the frame's square pixels ([`FrameShape`](super::FrameShape)): left, top, width, height. It may extend over the
/// frame's border.
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

    /// The same box with x and y multiplied by these.
    pub fn scaled(&self, by: [f32; 2]) -> Self {
        Self::new(self.x * by[0], self.y * by[1], self.width * by[0], self.height * by[1])
    }

    /// The part inside a frame of that size; nothing remains of a box outside, so its width or height is 0.
    pub fn clipped(&self, width: f32, height: f32) -> Self {
        let side = |start: f32, length: f32, most: f32| {
            let (from, to) = (start.clamp(0.0, most), (start + length).clamp(0.0, most));
            // The end of a side from minus infinity to infinity is NaN: such a side gets length 0. f32::max drops NaN.
            (from.max(0.0), (to - from).max(0.0))
        };
        let ((x, width), (y, height)) = (side(self.x, self.width, width), side(self.y, self.height, height));
        Self { x, y, width, height }
    }

    /// Whether a crop can be made of it: four finite numbers, and an area.
    pub fn is_usable(&self) -> bool {
        [self.x, self.y, self.width, self.height].iter().all(|number| number.is_finite())
            && self.width > 0.0
            && self.height > 0.0
    }
}

/// The part of the frame that becomes one model input, in square pixels: the region extended by 1.25 around its centre, then
/// extended on its smaller side to the model's aspect, so that nothing is distorted (mmpose
/// `datasets/transforms/common_transforms.py` `GetBBoxCenterScale`, `topdown_transforms.py` `TopdownAffine`). It may extend
/// over the frame's border, or be completely outside.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Crop {
    centre: [f32; 2],
    size: [f32; 2],
    network: [f32; 2],
}

impl Crop {
    /// The crop of `region` for a model input of that many pixels. None if the region is not usable (numbers that are not
    /// finite, no area), if it is so large that its crop exceeds f32, or if a side of the input is 0.
    pub fn new(region: &Region, network_width: u32, network_height: u32) -> Option<Crop> {
        if !region.is_usable() || network_width == 0 || network_height == 0 {
            return None;
        }
        let aspect = f64::from(network_width) / f64::from(network_height);
        let width = f64::from(region.width) * PADDING;
        let height = f64::from(region.height) * PADDING;
        let (width, height) =
            if width > height * aspect { (width, width / aspect) } else { (height * aspect, height) };
        let crop = Crop {
            centre: [
                (f64::from(region.x) + f64::from(region.width) / 2.0) as f32,
                (f64::from(region.y) + f64::from(region.height) / 2.0) as f32,
            ],
            size: [width as f32, height as f32],
            network: [network_width as f32, network_height as f32],
        };
        let finite = crop.centre.iter().chain(&crop.size).all(|number| number.is_finite());
        finite.then_some(crop)
    }

    /// The same part of the frame with x and y multiplied by these: in the frame's own pixels, for sampling.
    pub fn scaled(&self, [x, y]: [f32; 2]) -> Self {
        let scaled = |[a, b]: [f32; 2]| [a * x, b * y];
        Self { centre: scaled(self.centre), size: scaled(self.size), ..*self }
    }

    /// The centre (x, y).
    pub fn centre(&self) -> (f32, f32) {
        (self.centre[0], self.centre[1])
    }

    /// Width and height.
    pub fn size(&self) -> (f32, f32) {
        (self.size[0], self.size[1])
    }

    /// From input pixels to the frame: `(p - (W, H) / 2) * sw / W + c`.
    pub fn to_frame(&self, x: f32, y: f32) -> (f32, f32) {
        let axis =
            |p: f32, i: usize| (p - self.network[i] / 2.0) * self.size[i] / self.network[i] + self.centre[i];
        (axis(x, 0), axis(y, 1))
    }

    /// From shares of the crop's sides (0 to 1) to frame pixels.
    pub fn share_to_frame(&self, across: f32, down: f32) -> (f32, f32) {
        self.to_frame(across * self.network[0], down * self.network[1])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_outside_is_cut_off() {
        let clipped = |x, y, width, height| Region::new(x, y, width, height).clipped(100.0, 50.0);
        assert_eq!(clipped(10.0, 5.0, 20.0, 20.0), Region::new(10.0, 5.0, 20.0, 20.0));
        assert_eq!(clipped(-10.0, -5.0, 200.0, 20.0), Region::new(0.0, 0.0, 100.0, 15.0));
        assert_eq!(clipped(200.0, 5.0, 20.0, 20.0), Region::new(100.0, 5.0, 0.0, 20.0));
        assert_eq!(clipped(-30.0, -30.0, 20.0, 20.0), Region::default());
        assert_eq!(clipped(f32::NEG_INFINITY, 5.0, f32::INFINITY, 20.0), Region::new(0.0, 5.0, 0.0, 20.0));
        assert_eq!(clipped(f32::NAN, f32::NAN, 1.0, 1.0), Region::default());
    }

    #[test]
    fn crop_is_padded_and_has_the_networks_aspect() {
        // Tall region: its height decides, and the width is extended.
        let crop = Crop::new(&Region::new(100.0, 50.0, 40.0, 200.0), 192, 256).unwrap();
        assert_eq!(crop.centre(), (120.0, 150.0));
        assert_eq!(crop.size(), (187.5, 250.0));
        // Wide region: its width decides.
        let crop = Crop::new(&Region::new(-10.0, 0.0, 240.0, 10.0), 192, 256).unwrap();
        assert_eq!(crop.centre(), (110.0, 5.0));
        assert_eq!(crop.size(), (300.0, 400.0));
    }

    #[test]
    fn network_corners_lie_on_the_crops_corners() {
        let crop = Crop::new(&Region::new(17.0, -33.0, 61.5, 140.25), 192, 256).unwrap();
        let ((cx, cy), (sw, sh)) = (crop.centre(), crop.size());
        for (x, y) in [(0.0, 0.0), (192.0, 0.0), (0.0, 256.0), (192.0, 256.0), (48.0, 200.0)] {
            let (fx, fy) = crop.to_frame(x, y);
            assert!((fx - (cx + (x / 192.0 - 0.5) * sw)).abs() < 1e-3);
            assert!((fy - (cy + (y / 256.0 - 0.5) * sh)).abs() < 1e-3);
            // The forward matrix [[s, 0, W/2 - s cx], [0, s, H/2 - s cy]] reverses it.
            let s = 192.0 / sw;
            assert!((s * fx + 96.0 - s * cx - x).abs() < 1e-3);
            assert!((s * fy + 128.0 - s * cy - y).abs() < 1e-3);
        }
    }

    #[test]
    fn unusable_regions_give_no_crop() {
        let bad = [0.0, -1.0, f32::NAN, f32::INFINITY, f32::NEG_INFINITY];
        for value in bad {
            assert_eq!(Crop::new(&Region::new(0.0, 0.0, value, 5.0), 192, 256), None);
            assert_eq!(Crop::new(&Region::new(0.0, 0.0, 5.0, value), 192, 256), None);
        }
        for value in &bad[2..] {
            assert!(!Region::new(*value, 0.0, 5.0, 5.0).is_usable());
            assert!(!Region::new(0.0, *value, 5.0, 5.0).is_usable());
        }
        assert_eq!(Crop::new(&Region::new(0.0, 0.0, f32::MAX, 5.0), 192, 256), None);
        assert_eq!(Crop::new(&Region::new(0.0, 0.0, 5.0, 5.0), 0, 256), None);
        assert_eq!(Crop::new(&Region::new(0.0, 0.0, 5.0, 5.0), 192, 0), None);
        assert!(Crop::new(&Region::new(1e30, -1e30, 1e-30, 1e30), 192, 256).is_some());
    }
}
