//! Compares crops with OpenCV's, whose values tests/reference/make_crops.py has written.

use gstrtmpose::pose::Region;
use gstrtmpose::video::{ChromaSite, Colour, Component, Crop, Picture, Sampler};

const WIDTH: usize = 321;
const HEIGHT: usize = 243;

/// The picture of make_crops.py.
fn draw() -> Vec<u8> {
    let wave = |n: usize| (n % 510).abs_diff(255) as u8;
    let mut picture = Vec::new();
    for y in 0..HEIGHT {
        for x in 0..WIDTH {
            let blue = (x / 8 + y / 8) % 2 * 160 + (x * 7 + y * 13) % 64;
            picture.extend([wave(2 * x + y), wave(x * x / 64 + 3 * y), blue as u8]);
        }
    }
    picture
}

#[test]
fn crops_equal_opencvs() {
    let data = draw();
    let components = [0, 1, 2].map(|i| Component {
        data: &data[i..],
        row_stride: WIDTH * 3,
        pixel_stride: 3,
        width: WIDTH,
        height: HEIGHT,
    });
    let picture = Picture {
        width: WIDTH,
        height: HEIGHT,
        components,
        colour: Colour::Rgb,
        chroma_site: ChromaSite::default(),
    };
    let mut reference = include_bytes!("reference/crops.bin").as_slice();
    for line in include_str!("reference/crops.csv").lines() {
        let (name, numbers) = line.split_once(',').unwrap();
        let numbers: Vec<f64> = numbers.split(',').map(|number| number.parse().unwrap()).collect();
        let [width, height, x, y, w, h, scale] = numbers[..] else { panic!("{line}") };
        let region = Region::new(x as f32, y as f32, w as f32, h as f32);
        let crop = Crop::new(&region, width as u32, height as u32).unwrap();
        let mut out = vec![0; width as usize * height as usize * 3];
        Sampler::new(width as u32, height as u32, scale).sample(&picture, &crop, &mut out);

        let wanted = reference.split_off(..out.len()).unwrap();
        let differences = || out.iter().zip(wanted).map(|(a, b)| a.abs_diff(*b));
        let mean = differences().map(f64::from).sum::<f64>() / out.len() as f64;
        let max = differences().max().unwrap();
        println!("{name}: mean {mean:.3}, max {max}");
        // OpenCV rounds positions to 1/32 pixel. At the pattern's edges this is up to 160 / 64 grey levels each
        // way.
        let (mean_allowed, max_allowed) = if scale < 1.0 { (1.0, 8) } else { (0.5, 8) };
        assert!(mean <= mean_allowed && max <= max_allowed, "{name}: mean {mean:.3}, max {max}");
    }
    assert!(reference.is_empty());
}
