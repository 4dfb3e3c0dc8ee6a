//! The sampler's code for this CPU gives the same bits as its portable code. Frames end with their last sample, so that a
//! memory checker sees every read beyond it: `valgrind` reports nothing for this test's binary.

#[path = "support/pictures.rs"]
mod pictures;

use gstrtmpose::pose::Region;
use gstrtmpose::video::{
    ChromaSite, Colour, Component, Crop, Fit, FrameShape, Picture, Sampler, Whole, YuvMatrix,
};
use pictures::{FORMATS, Frame, Layout, Matrix};
use std::fmt::Debug;

/// xorshift64*: the same cases in every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 16
    }

    fn below(&mut self, end: usize) -> usize {
        self.next() as usize % end
    }

    fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.below(1 << 30) as f64 / f64::from(1 << 30)
    }

    fn one_of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }

    fn byte(&mut self) -> u8 {
        // The ends of the range come more often than by chance.
        match self.below(8) {
            0 => 0,
            1 => 255,
            _ => self.next() as u8,
        }
    }

    fn side(&mut self) -> usize {
        match self.below(4) {
            0 => 1 + self.below(4),
            1 => 1 + self.below(40),
            2 => 16 * (1 + self.below(8)),
            _ => 1 + self.below(150),
        }
    }

    fn site(&mut self) -> ChromaSite {
        self.one_of(&[ChromaSite::MPEG2, ChromaSite::JPEG, ChromaSite::COSITED])
    }

    /// Regions from far inside to far around the frame, across each border, on whole pixels or between them.
    fn region(&mut self, (width, height): (usize, usize)) -> Region {
        let (width, height) = (width as f64, height as f64);
        let size = width.max(height) * 2.0_f64.powf(self.between(-5.0, 1.5));
        let (w, h) = (size * self.between(0.3, 1.0), size * self.between(0.3, 1.0));
        let (x, y) = match self.below(3) {
            0 => (self.between(-w, width), self.between(-h, height)),
            _ => (self.between(0.0, (width - w).max(1.0)), self.between(0.0, (height - h).max(1.0))),
        };
        let [x, y, w, h] =
            if self.below(3) == 0 { [x, y, w, h].map(|n| n.round().max(1.0)) } else { [x, y, w, h] };
        Region::new(x as f32, y as f32, w as f32, h as f32)
    }

    fn network(&mut self) -> (u32, u32) {
        let (w, h) = (self.side() as u32, 1 + self.below(60) as u32);
        if self.below(3) == 0 { (48, 64) } else { (w, h) }
    }

    fn scale(&mut self) -> f64 {
        if self.below(2) == 0 { 1.0 } else { self.between(0.05, 1.0) }
    }
}

/// A frame of random bytes. Each plane ends with its last sample.
fn any_frame(random: &mut Random, layout: Layout, size: (usize, usize), padding: usize) -> Frame {
    let [kr, kb] = random.one_of(&[[0.299, 0.114], [0.2126, 0.0722], [0.2627, 0.0593]]);
    let matrix = Matrix { kr, kb, full_range: random.below(2) == 0 };
    let mut frame = Frame::new(layout, size, padding, matrix, random.site(), |_, _| [0; 3]);
    for (data, _) in &mut frame.planes {
        data.truncate(data.len() - padding);
        data.shrink_to_fit();
        data.fill_with(|| random.byte());
    }
    frame
}

/// Samples by both codes, several crops with one pair of samplers.
fn compare(random: &mut Random, pictures: &[Picture], what: &dyn Debug) {
    let (network, scale) = (random.network(), random.scale());
    let sampler = || Sampler::new(network.0, network.1, scale);
    let (mut portable, mut fast) = (sampler().portable(), sampler());
    let whole = (network.0 * network.1 * 3) as usize;
    // The room can also be too small or too large.
    let len = match random.below(5) {
        0 => random.below(whole),
        1 => whole + random.below(100),
        _ => whole,
    };
    let (mut wanted, mut got) = (vec![1; len], vec![2; len]);
    for picture in pictures {
        let region = random.region((picture.width, picture.height));
        let crop = Crop::new(&region, network.0, network.1).unwrap();
        portable.sample(picture, &crop, &mut wanted);
        fast.sample(picture, &crop, &mut got);
        if let Some(at) = (0..len).find(|i| wanted[*i] != got[*i]) {
            let (x, y) = (at / 3 % network.0 as usize, at / 3 / network.0 as usize);
            let size = (picture.width, picture.height);
            panic!(
                "{what:?} {size:?} {region:?} network {network:?} scale {scale}: {} is {} at ({x}, {y})",
                wanted[at], got[at]
            );
        }
    }
}

#[test]
fn every_format_is_the_same_in_both_codes() {
    let mut random = Random(1);
    for (name, layout) in FORMATS {
        for case in 0..150 {
            let frames: Vec<Frame> = (0..2)
                .map(|_| {
                    let (size, padding) = ((random.side(), random.side()), random.one_of(&[0, 1, 3, 64]));
                    any_frame(&mut random, layout, size, padding)
                })
                .collect();
            let pictures: Vec<Picture> = frames.iter().map(Frame::picture).collect();
            compare(&mut random, &pictures, &(name, case));
        }
    }
}

/// Layouts that no format has, one after another with the same samplers. Some have their own code, others do
/// not, and no layout's table may remain for the next.
#[test]
fn every_layout_is_the_same_in_both_codes() {
    let mut random = Random(2);
    for case in 0..400 {
        let data: Vec<Vec<u8>> =
            (0..3).map(|_| (0..100 * 120 * 5).map(|_| random.byte()).collect()).collect();
        let pictures: Vec<Picture> = (0..6)
            .map(|_| {
                let (width, height) = (1 + random.below(100), 1 + random.below(120));
                let colour = match random.below(5) {
                    0 => Colour::Gray,
                    1 => Colour::Rgb,
                    4 => Colour::LimitedRgb,
                    // Also a matrix whose results exceed i16, and so saturate.
                    2 => Colour::Yuv(YuvMatrix::new(0.98, 0.0, false)),
                    _ => Colour::Yuv(YuvMatrix::bt709(random.below(2) == 0)),
                };
                let planar = random.below(2) == 0;
                let pixel_stride = 1 + random.below(5);
                let (across, down) = (1 + random.below(3), 1 + random.below(3));
                let components = [0, 1, 2].map(|i| {
                    let (across, down) = if i == 0 { (1, 1) } else { (across, down) };
                    let (width, height) = (width.div_ceil(across), height.div_ceil(down));
                    let data = if planar { &data[i][..] } else { &data[0][random.below(4)..] };
                    let row_stride = width * pixel_stride + random.below(2);
                    let end = (height - 1) * row_stride + (width - 1) * pixel_stride + 1;
                    Component { data: &data[..end], row_stride, pixel_stride, width, height }
                });
                Picture { width, height, components, colour, chroma_site: random.site() }
            })
            .collect();
        compare(&mut random, &pictures, &case);
    }
}

/// Crops and frames of realistic sizes.
#[test]
fn large_crops_are_the_same_in_both_codes() {
    let mut random = Random(3);
    for (name, layout) in FORMATS {
        let frame = any_frame(&mut random, layout, (641, 481), 0);
        for scale in [1.0, 0.65] {
            let (mut portable, mut fast) =
                (Sampler::new(192, 256, scale).portable(), Sampler::new(192, 256, scale));
            let (mut wanted, mut got) = (vec![1; 192 * 256 * 3], vec![2; 192 * 256 * 3]);
            for _ in 0..4 {
                let region = random.region((641, 481));
                let crop = Crop::new(&region, 192, 256).unwrap();
                portable.sample(&frame.picture(), &crop, &mut wanted);
                fast.sample(&frame.picture(), &crop, &mut got);
                assert!(wanted == got, "{name} scale {scale} {region:?}");
            }
        }
    }
}

/// Whole frames of all formats, with crops and broken pictures in between. Consecutive frames often have the
/// same format, for which the sampler keeps tables. A sampler that has seen them all gives the result of the
/// portable code of a new one.
#[test]
fn whole_frames_are_the_same_in_both_codes() {
    let mut random = Random(4);
    for input in [(96, 64), (208, 208), (48, 90)] {
        let frames: Vec<[Frame; 2]> = FORMATS
            .iter()
            .map(|(_, layout)| {
                let size = random.one_of(&[(641, 481), (160, 90), (40, 30), (96, 64), (7, 300)]);
                [0, 1].map(|_| any_frame(&mut random, *layout, size, 0))
            })
            .collect();
        let sampler = || Sampler::new(input.0, input.1, 1.0);
        let (mut used, mut kind, mut fit) = (sampler(), 0, Fit::Letterbox);
        let length = (input.0 * input.1 * 3) as usize;
        for case in 0..300 {
            if random.below(3) == 0 {
                kind = random.below(frames.len());
                fit = random.one_of(&[Fit::Letterbox, Fit::Stretch]);
            }
            let mut picture = frames[kind][random.below(2)].picture();
            let region = random.region((picture.width, picture.height));
            if random.below(8) == 0 {
                used.sample(&picture, &Crop::new(&region, input.0, input.1).unwrap(), &mut vec![0; length]);
            }
            if random.below(8) == 0 {
                picture.components[0].data = &picture.components[0].data[1..];
            }
            let shape = FrameShape::new(picture.width as u32, picture.height as u32, (1, 1));
            let whole = Whole::new(fit, shape, input.0, input.1).unwrap();
            let (mut wanted, mut got) = (vec![1; length], vec![2; length]);
            sampler().portable().sample_whole(&picture, &whole, &mut wanted);
            used.sample_whole(&picture, &whole, &mut got);
            assert!(wanted == got, "{input:?} {} {fit:?} case {case}", FORMATS[kind].0);
        }
    }
}
