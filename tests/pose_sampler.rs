//! Compares the crop sampler with an independent implementation in floating point, in every format.

#[path = "support/pictures.rs"]
mod pictures;

use gstrtmpose::pose::Region;
use gstrtmpose::video::{ChromaSite, Colour, Component, Crop, Picture, Sampler, YuvMatrix};
use pictures::{FORMATS, Frame, Layout, Matrix};

const WIDTH: usize = 24;
const HEIGHT: usize = 32;
const BT601: Matrix = Matrix { kr: 0.299, kb: 0.114, full_range: false };
const BT709_FULL: Matrix = Matrix { kr: 0.2126, kb: 0.0722, full_range: true };

/// Regions inside the frame, across each border, around the whole frame, far too large, tiny, outside.
const REGIONS: [[f32; 4]; 12] = [
    [20.0, 10.0, 40.0, 60.0],
    [31.3, 17.7, 9.1, 30.4],
    [-15.5, 12.0, 40.0, 50.0],
    [80.0, 30.25, 40.0, 20.0],
    [30.0, -25.0, 30.0, 60.0],
    [22.0, 55.0, 30.0, 60.0],
    [0.0, 0.0, 101.0, 77.0],
    [-900.0, -1100.0, 2000.0, 2300.0],
    [50.2, 40.9, 0.3, 0.2],
    [-3.0, -4.0, 4.0, 5.0],
    [300.0, 10.0, 50.0, 60.0],
    [10.0, -1e9, 30.0, 30.0],
];

fn crop_of([x, y, w, h]: [f32; 4]) -> Crop {
    Crop::new(&Region::new(x, y, w, h), WIDTH as u32, HEIGHT as u32).unwrap()
}

fn sample(picture: &Picture, region: [f32; 4], scale: f64) -> Vec<u8> {
    let mut out = vec![77; WIDTH * HEIGHT * 3];
    Sampler::new(WIDTH as u32, HEIGHT as u32, scale).sample(picture, &crop_of(region), &mut out);
    out
}

/// The picture's colour at a place inside it, in floating point. Chroma is interpolated between its own
/// samples.
fn colour_at(picture: &Picture, matrix: Matrix, x: f64, y: f64) -> [f64; 3] {
    let sample = |c: &Component, x: f64, y: f64| {
        let (right, bottom) = (c.width as f64 - 1.0, c.height as f64 - 1.0);
        let get = |x: f64, y: f64| {
            let (x, y) = (x.clamp(0.0, right) as usize, y.clamp(0.0, bottom) as usize);
            f64::from(c.data[y * c.row_stride + x * c.pixel_stride])
        };
        let (fx, fy) = (x - x.floor(), y - y.floor());
        let line = |y: f64| get(x.floor(), y) * (1.0 - fx) + get(x.floor() + 1.0, y) * fx;
        line(y.floor()) * (1.0 - fy) + line(y.floor() + 1.0) * fy
    };
    let chroma = |c: &Component| {
        let place = |at: f64, end: usize, samples: usize, cosited: bool| match (samples < end, cosited) {
            (false, _) => at,
            (true, true) => at / 2.0,
            (true, false) => at / 2.0 - 0.25,
        };
        let site = picture.chroma_site;
        let cx = place(x, picture.width, c.width, site.horizontally_cosited);
        let cy = place(y, picture.height, c.height, site.vertically_cosited);
        sample(c, cx.clamp(0.0, c.width as f64 - 1.0), cy.clamp(0.0, c.height as f64 - 1.0))
    };
    let [first, second, third] = &picture.components;
    match picture.colour {
        Colour::Gray => [sample(first, x, y); 3],
        Colour::Rgb => [sample(first, x, y), sample(second, x, y), sample(third, x, y)],
        Colour::LimitedRgb => [first, second, third].map(|c| (sample(c, x, y) - 16.0) * 255.0 / 219.0),
        Colour::Yuv(_) => {
            let Matrix { kr, kb, full_range } = matrix;
            let (luma, u, v) = (sample(first, x, y), chroma(second) - 128.0, chroma(third) - 128.0);
            let (luma, u, v) = if full_range {
                (luma, u, v)
            } else {
                ((luma - 16.0) * 255.0 / 219.0, u * 255.0 / 224.0, v * 255.0 / 224.0)
            };
            let (r, b) = (luma + 2.0 * (1.0 - kr) * v, luma + 2.0 * (1.0 - kb) * u);
            [r, (luma - kr * r - kb * b) / (1.0 - kr - kb), b]
        }
    }
}

/// A whole picture, converted to RGB in floating point.
struct Exact {
    width: usize,
    height: usize,
    rgb: Vec<[f64; 3]>,
}

impl Exact {
    /// Scales like `cv2.resize`, bilinear. A scale of 1 only converts the frame.
    fn resized(picture: &Picture, matrix: Matrix, scale: f64) -> Self {
        let size = |pixels: usize| (pixels as f64 * scale).round_ties_even().max(1.0);
        let (width, height) = (size(picture.width), size(picture.height));
        let place = |at: usize, small: f64, pixels: usize| {
            ((at as f64 + 0.5) * pixels as f64 / small - 0.5).clamp(0.0, pixels as f64 - 1.0)
        };
        let mut rgb = Vec::new();
        for y in 0..height as usize {
            for x in 0..width as usize {
                let (fx, fy) = (place(x, width, picture.width), place(y, height, picture.height));
                rgb.push(colour_at(picture, matrix, fx, fy));
            }
        }
        Self { width: width as usize, height: height as usize, rgb }
    }

    fn at(&self, x: f64, y: f64) -> [f64; 3] {
        let inside = x >= 0.0 && y >= 0.0 && x < self.width as f64 && y < self.height as f64;
        if inside { self.rgb[y as usize * self.width + x as usize] } else { [0.0; 3] }
    }

    /// Bilinear, black outside.
    fn between(&self, x: f64, y: f64) -> [f64; 3] {
        let (left, top) = (x.floor(), y.floor());
        let (fx, fy) = (x - left, y - top);
        let corners = [
            (self.at(left, top), (1.0 - fx) * (1.0 - fy)),
            (self.at(left + 1.0, top), fx * (1.0 - fy)),
            (self.at(left, top + 1.0), (1.0 - fx) * fy),
            (self.at(left + 1.0, top + 1.0), fx * fy),
        ];
        std::array::from_fn(|i| corners.iter().map(|(rgb, weight)| rgb[i] * weight).sum())
    }
}

/// The crop in floating point; `whole` is the picture at the scale to crop at.
fn exact_crop(picture: &Picture, matrix: Matrix, region: [f32; 4], whole: &Exact) -> Vec<f64> {
    let crop = crop_of(region);
    let ((cx, cy), (sw, sh)) = (crop.centre(), crop.size());
    let plain = whole.width == picture.width && whole.height == picture.height;
    let (right, bottom) = (picture.width as f64 - 1.0, picture.height as f64 - 1.0);
    let mut out = Vec::new();
    for y in 0..HEIGHT {
        for x in 0..WIDTH {
            let fx = f64::from(cx) + (x as f64 - WIDTH as f64 / 2.0) * f64::from(sw) / WIDTH as f64;
            let fy = f64::from(cy) + (y as f64 - HEIGHT as f64 / 2.0) * f64::from(sh) / HEIGHT as f64;
            let rgb = if plain && matches!(picture.colour, Colour::Yuv(_)) {
                // Interpolated chroma has a bend between pixels there, which a picture of pixels cannot
                // represent.
                let inside = |at: f64, last: f64| (1.0 + at).min(last + 1.0 - at).clamp(0.0, 1.0);
                let colour = colour_at(picture, matrix, fx.clamp(0.0, right), fy.clamp(0.0, bottom));
                colour.map(|value| value * inside(fx, right) * inside(fy, bottom))
            } else {
                whole.between(
                    (fx + 0.5) * whole.width as f64 / picture.width as f64 - 0.5,
                    (fy + 0.5) * whole.height as f64 / picture.height as f64 - 0.5,
                )
            };
            out.extend(rgb.map(|value| value.clamp(0.0, 255.0)));
        }
    }
    out
}

fn assert_near(got: &[u8], wanted: &[f64], (mean, max): (f64, f64), what: &str) {
    let differences = || got.iter().zip(wanted).map(|(a, b)| (f64::from(*a) - b).abs());
    let largest = differences().fold(0.0, f64::max);
    let average = differences().sum::<f64>() / got.len() as f64;
    assert!(largest <= max && average <= mean, "{what}: mean {average:.3}, max {largest:.3}");
}

fn noise(x: usize, y: usize, salt: usize) -> usize {
    let mut n = (x * 7919 + y * 104_729 + salt * 1_299_709) as u32;
    n = (n ^ (n >> 15)).wrapping_mul(0x2C1B_3C6D);
    n = (n ^ (n >> 12)).wrapping_mul(0x297A_2D39);
    (n >> 24) as usize
}

/// Noise, without colours that Y'CbCr cannot hold after its chroma is interpolated.
fn noisy(x: usize, y: usize) -> [u8; 3] {
    std::array::from_fn(|i| 100 + (noise(x, y, i) / 5) as u8)
}

#[test]
fn every_format_equals_the_exact_crop() {
    for (name, layout) in FORMATS {
        for (size, padding, matrix, site) in [
            ((101, 77), 0, BT601, ChromaSite::MPEG2),
            ((101, 77), 13, BT709_FULL, ChromaSite::JPEG),
            ((64, 90), 5, BT601, ChromaSite::COSITED),
            ((3, 5), 1, BT601, ChromaSite::MPEG2),
            ((1, 1), 0, BT601, ChromaSite::JPEG),
            ((2, 1), 7, BT709_FULL, ChromaSite::MPEG2),
        ] {
            let frame = Frame::new(layout, size, padding, matrix, site, noisy);
            let picture = frame.picture();
            for scale in [1.0, 0.65, 0.3] {
                let whole = Exact::resized(&picture, matrix, scale);
                for region in REGIONS {
                    let what = format!("{name} {size:?} {region:?} scale {scale}");
                    let got = sample(&picture, region, scale);
                    assert_near(&got, &exact_crop(&picture, matrix, region, &whole), (0.4, 1.5), &what);
                }
            }
        }
    }
}

#[test]
fn rgb_noise_of_full_contrast_stays_near() {
    let rgb = |x, y| std::array::from_fn(|i| noise(x, y, i) as u8);
    let frame = Frame::new(Layout::Packed(3, [0, 1, 2]), (101, 77), 0, BT601, ChromaSite::MPEG2, rgb);
    for scale in [1.0, 0.65] {
        let whole = Exact::resized(&frame.picture(), BT601, scale);
        for region in REGIONS {
            let got = sample(&frame.picture(), region, scale);
            assert_near(
                &got,
                &exact_crop(&frame.picture(), BT601, region, &whole),
                (0.5, 2.0),
                &format!("{region:?} scale {scale}"),
            );
        }
    }
}

#[test]
fn the_same_picture_in_every_format_gives_the_same_crop() {
    // Colours change slowly, so that chroma subsampling loses nothing.
    let smooth = |x: usize, y: usize| [60 + x as u8, 70 + y as u8, 180 - x as u8];
    let gray = |x: usize, y: usize| [60 + x as u8 / 2 + y as u8; 3];
    let size = (121, 99);
    for (matrix, site) in [
        (BT601, ChromaSite::MPEG2),
        (BT709_FULL, ChromaSite::JPEG),
        (BT601, ChromaSite::COSITED),
        (Matrix { kr: 0.2627, kb: 0.0593, full_range: false }, ChromaSite::MPEG2),
    ] {
        for (name, layout) in FORMATS {
            let picture: &dyn Fn(usize, usize) -> [u8; 3] =
                if matches!(layout, Layout::Gray) { &gray } else { &smooth };
            let wanted = Frame::new(Layout::Packed(3, [0, 1, 2]), size, 0, matrix, site, picture);
            let frame = Frame::new(layout, size, 11, matrix, site, picture);
            for region in REGIONS {
                let wanted: Vec<_> =
                    sample(&wanted.picture(), region, 1.0).into_iter().map(f64::from).collect();
                // The last cosited chroma sample of an even side is repeated beyond it: an error of one pixel
                // at the edge.
                assert_near(
                    &sample(&frame.picture(), region, 1.0),
                    &wanted,
                    (1.0, 3.0),
                    &format!("{name} {region:?}"),
                );
            }
        }
    }
}

#[test]
fn an_even_picture_stays_exactly_even() {
    for level in [0, 1, 127, 254, 255] {
        for (name, layout) in FORMATS {
            let full = Matrix { full_range: true, ..BT601 };
            let frame = Frame::new(layout, (50, 40), 3, full, ChromaSite::MPEG2, |_, _| [level; 3]);
            for scale in [1.0, 0.65] {
                let inside = sample(&frame.picture(), [20.0, 15.0, 5.0, 6.0], scale);
                assert!(inside.iter().all(|value| *value == level), "{name} {level} {scale}");
            }
        }
    }
}

#[test]
fn limited_grey_is_luma_with_one_chroma_sample() {
    let luma = [126_u8; 30 * 20];
    let first = Component { data: &luma, row_stride: 30, pixel_stride: 1, width: 30, height: 20 };
    let middle = Component { data: &[128], row_stride: 1, pixel_stride: 1, width: 1, height: 1 };
    let picture = Picture {
        width: 30,
        height: 20,
        components: [first, middle, middle],
        colour: Colour::Yuv(YuvMatrix::bt601(false)),
        chroma_site: ChromaSite::MPEG2,
    };
    let inside = sample(&picture, [10.0, 8.0, 4.0, 4.0], 1.0);
    // (126 - 16) * 255 / 219 = 128.1
    assert!(inside.iter().all(|value| *value == 128));
}

/// Also samples beyond black and white, and crops partly outside the frame, where black is 0.
#[test]
fn limited_rgb_equals_the_exact_crop() {
    let rgb = |x, y| std::array::from_fn(|i| (noise(x / 3, y / 3, i) / 2 + 8 + 16 * i) as u8);
    for (name, layout) in &FORMATS[..10] {
        let frame = Frame::new(*layout, (101, 77), 5, BT601, ChromaSite::MPEG2, rgb);
        let picture = Picture { colour: Colour::LimitedRgb, ..frame.picture() };
        for scale in [1.0, 0.65] {
            let whole = Exact::resized(&picture, BT601, scale);
            for region in REGIONS {
                let wanted = exact_crop(&picture, BT601, region, &whole);
                let what = format!("{name} {region:?} scale {scale}");
                assert_near(&sample(&picture, region, scale), &wanted, (0.5, 2.0), &what);
            }
        }
    }
}

#[test]
fn scale_one_is_no_scale() {
    let frame = Frame::new(Layout::SemiPlanar(false), (101, 77), 3, BT601, ChromaSite::MPEG2, noisy);
    for region in REGIONS {
        let plain = sample(&frame.picture(), region, 1.0);
        for scale in [1.5, f64::NAN, f64::INFINITY] {
            assert_eq!(plain, sample(&frame.picture(), region, scale));
        }
    }
}

#[test]
fn a_used_sampler_gives_what_a_new_one_gives() {
    let big = Frame::new(Layout::Packed(4, [0, 1, 2]), (101, 77), 3, BT601, ChromaSite::MPEG2, noisy);
    let small = Frame::new(Layout::Planar(false), (17, 9), 0, BT601, ChromaSite::MPEG2, noisy);
    for scale in [1.0, 0.5] {
        let mut used = Sampler::new(WIDTH as u32, HEIGHT as u32, scale);
        let mut out = vec![0; WIDTH * HEIGHT * 3];
        for region in REGIONS {
            for frame in [&big, &small] {
                used.sample(&frame.picture(), &crop_of(region), &mut out);
                assert_eq!(out, sample(&frame.picture(), region, scale));
            }
        }
    }
}

/// At every scale, a place in the crop shows the place in the frame that `to_frame` gives.
#[test]
fn a_blob_is_found_where_it_was_drawn() {
    let (bx, by) = (61.0, 43.0);
    let blob = |x: usize, y: usize| {
        let distance = (x as f64 - bx).powi(2) + (y as f64 - by).powi(2);
        [(250.0 * (-distance / 50.0).exp()) as u8; 3]
    };
    for (name, layout) in FORMATS {
        let full = Matrix { full_range: true, ..BT601 };
        let frame = Frame::new(layout, (121, 99), 3, full, ChromaSite::MPEG2, blob);
        for region in [[40.0, 20.0, 40.0, 50.0], [0.0, 0.0, 121.0, 99.0], [30.0, 10.0, 100.0, 60.0]] {
            for scale in [1.0, 0.65, 0.3] {
                let out = sample(&frame.picture(), region, scale);
                let (mut sum, mut x_sum, mut y_sum) = (0.0, 0.0, 0.0);
                for (i, rgb) in out.chunks_exact(3).enumerate() {
                    let weight = f32::from(rgb[1]);
                    sum += weight;
                    x_sum += weight * (i % WIDTH) as f32;
                    y_sum += weight * (i / WIDTH) as f32;
                }
                let (x, y) = crop_of(region).to_frame(x_sum / sum, y_sum / sum);
                let error = (x - bx as f32).hypot(y - by as f32);
                assert!(error < 0.3, "{name} {region:?} scale {scale}: {error} pixels away");
            }
        }
    }
}

#[test]
fn outside_is_black_and_border_pixels_fade() {
    let white =
        Frame::new(Layout::Packed(3, [0, 1, 2]), (100, 100), 0, BT601, ChromaSite::MPEG2, |_, _| [255; 3]);
    assert!(sample(&white.picture(), [500.0, 0.0, 20.0, 20.0], 1.0).iter().all(|value| *value == 0));
    // One frame pixel is four network pixels wide; column 12 lies on frame pixel 0.
    let out = sample(&white.picture(), [-2.4, 40.0, 4.8, 6.4], 1.0);
    let row = &out[16 * WIDTH * 3..][..WIDTH * 3];
    let red: Vec<u8> = row.iter().step_by(3).copied().collect();
    assert!(red[..9].iter().all(|value| *value == 0), "{red:?}");
    assert_eq!(red[8..14], [0, 64, 128, 191, 255, 255], "{red:?}");
}

#[test]
fn broken_pictures_are_black_and_do_not_panic() {
    let region = [0.0, 0.0, 10.0, 10.0];
    let data = [200_u8; 300];
    let whole = Component { data: &data, row_stride: 30, pixel_stride: 3, width: 10, height: 10 };
    let picture = |component, width, height, colour| Picture {
        width,
        height,
        components: [component; 3],
        colour,
        chroma_site: ChromaSite::MPEG2,
    };
    for colour in [Colour::Rgb, Colour::Gray, Colour::Yuv(YuvMatrix::new(f64::NAN, 9.0, true))] {
        for component in [
            Component { data: &[], ..whole },
            Component { data: &data[..200], ..whole },
            Component { row_stride: usize::MAX, ..whole },
            Component { pixel_stride: usize::MAX, ..whole },
            Component { width: 0, ..whole },
            Component { height: 0, ..whole },
            Component { width: usize::MAX, height: usize::MAX, ..whole },
        ] {
            for (width, height) in [(10, 10), (0, 0), (10, 0), (1 << 40, 1 << 40)] {
                for scale in [1.0, 0.65] {
                    let out = sample(&picture(component, width, height, colour), region, scale);
                    assert!(out.iter().all(|value| *value == 0));
                }
            }
        }
        // Sizes that contradict each other, strides of 0, outputs of another size.
        for component in [
            Component { width: 3, height: 2, ..whole },
            Component { row_stride: 0, pixel_stride: 0, ..whole },
            whole,
        ] {
            for (width, height) in [(10, 10), (1, 1), (5000, 3)] {
                let picture = picture(component, width, height, colour);
                for (network, len) in
                    [((48, 64), 0), ((48, 64), 1000), ((48, 64), 20_000), ((0, 0), 10), ((1, 1), 3)]
                {
                    for scale in [1.0, 0.65, -1.0] {
                        let mut out = vec![9; len];
                        Sampler::new(network.0, network.1, scale).sample(
                            &picture,
                            &crop_of(region),
                            &mut out,
                        );
                    }
                }
            }
        }
    }
    for extreme in [[-1e38, -1e38, 2e38, 2e38], [0.0, 0.0, 1e-45, 1e-45], [3e38, 3e38, 1.0, 1.0]] {
        for scale in [1.0, 0.65] {
            sample(&picture(whole, 10, 10, Colour::Rgb), extreme, scale);
        }
    }
}
