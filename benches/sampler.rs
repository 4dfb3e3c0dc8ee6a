//! Time for one 256x192 crop, by format: `cargo bench --bench sampler`.
//!
//! Regions inside a 1280x720 frame whose crops are 0.5 to 4 times the network's size (2.8 times is the frame's height);
//! what of a crop lies outside the frame is not sampled. The median of many crops, on one core.

#[path = "../tests/support/pictures.rs"]
mod pictures;

use gstrtmpose::pose::{ChromaSite, Crop, Region, Sampler};
use pictures::{FORMATS, Frame, Matrix};
use std::time::{Duration, Instant};

const FRAME: (usize, usize) = (1280, 720);
const NETWORK: (u32, u32) = (192, 256);
const ZOOMS: [f32; 5] = [0.5, 1.0, 2.0, 2.8, 4.0];
const TIME_PER_NUMBER: Duration = Duration::from_millis(150);

fn main() {
    let bt709 = Matrix { kr: 0.2126, kb: 0.0722, full_range: false };
    let colour = |x: usize, y: usize| [(x * 3 + y) as u8, (x ^ y) as u8, (x * y / 64) as u8];
    for scale in [1.0, 0.65] {
        println!("inference-scale {scale}: median microseconds per crop");
        print!("{:<8}", "format");
        ZOOMS.iter().for_each(|zoom| print!("{zoom:>8}x"));
        println!("{:>9}", "mean");
        for (name, layout) in FORMATS {
            if !["RGB", "RGBx", "NV12", "I420", "YUY2", "GRAY8"].contains(&name) {
                continue;
            }
            let frame = Frame::new(layout, FRAME, 0, bt709, ChromaSite::MPEG2, colour);
            let times = ZOOMS.map(|zoom| median(&frame, zoom, scale));
            print!("{name:<8}");
            times.iter().for_each(|time| print!("{time:>9.1}"));
            println!("{:>9.1}", times.iter().sum::<f64>() / times.len() as f64);
        }
    }
}

/// Median time of a crop `zoom` times the network's size, over positions across the frame.
fn median(frame: &Frame, zoom: f32, scale: f64) -> f64 {
    let mut sampler = Sampler::new(NETWORK.0, NETWORK.1, scale);
    let mut out = vec![0; (NETWORK.0 * NETWORK.1 * 3) as usize];
    // The region is what the crop is without its padding of 1.25; it stays inside the frame where it fits.
    let (width, height) = (NETWORK.0 as f32 * zoom / 1.25, NETWORK.1 as f32 * zoom / 1.25);
    let start = Instant::now();
    let mut times = Vec::new();
    for i in 0.. {
        let across = (FRAME.0 as f32 - width) * (i % 7) as f32 / 6.0;
        let down = (FRAME.1 as f32 - height) * (i % 5) as f32 / 4.0;
        let crop = Crop::new(&Region::new(across, down, width, height), NETWORK.0, NETWORK.1)
            .expect("a usable region");
        let picture = frame.picture();
        let before = Instant::now();
        sampler.sample(std::hint::black_box(&picture), &crop, &mut out);
        std::hint::black_box(&out);
        times.push(before.elapsed().as_secs_f64() * 1e6);
        if start.elapsed() > TIME_PER_NUMBER {
            break;
        }
    }
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}
