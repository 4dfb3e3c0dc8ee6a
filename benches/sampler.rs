//! Time for one 256x192 crop, by format: `cargo bench --bench sampler [format...]`; and for a whole frame in a letterbox, whose
//! counterpart with OpenCV is `benches/letterbox.py`.
//!
//! Regions inside a 1280x720 frame whose crops are 0.5 to 2.8 times the network's size (the frame's height), and 4 times,
//! of which a part lies outside the frame and is not sampled. For each format the portable code and the one that the
//! CPU allows, crop by crop in turn; medians in microseconds on one core, then over all crops wholly inside the median
//! and the time that the fastest tenth keeps within, which tells more on a busy machine.
//!
//! `--crops COUNT CODE FORMAT SCALE ZOOM` samples so many crops by `portable` or `vectors` and does nothing else, for
//! `benches/arm64`, which counts instructions.

#[path = "../tests/support/pictures.rs"]
mod pictures;

use gstrtmpose::pose::Region;
use gstrtmpose::video::{ChromaSite, Crop, Fit, FrameShape, Sampler, Whole};
use pictures::{FORMATS, Frame, Matrix};
use std::time::{Duration, Instant};

const FRAME: (usize, usize) = (1280, 720);
const NETWORK: (u32, u32) = (192, 256);
const ZOOMS: [f32; 7] = [0.5, 0.7, 1.0, 1.4, 2.0, 2.8, 4.0];
/// How many of ZOOMS give crops that fit into the frame.
const INSIDE: usize = 6;
const TIME_PER_ZOOM: Duration = Duration::from_millis(150);
const BT709: Matrix = Matrix { kr: 0.2126, kb: 0.0722, full_range: false };

fn colour(x: usize, y: usize) -> [u8; 3] {
    [(x * 3 + y) as u8, (x ^ y) as u8, (x * y / 64) as u8]
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let Some(at) = arguments.iter().position(|argument| argument == "--crops") {
        let [count, code, format, scale, zoom, ..] = &arguments[at + 1..] else {
            panic!("--crops COUNT CODE FORMAT SCALE ZOOM")
        };
        let (count, scale, zoom) = (count.parse(), scale.parse(), zoom.parse());
        return crops(count.unwrap(), code, format, scale.unwrap(), zoom.unwrap());
    }
    let mut wanted: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    if wanted.is_empty() {
        wanted = ["RGB", "RGBx", "NV12", "I420", "YUY2", "GRAY8"].map(String::from).to_vec();
    }
    for scale in [1.0, 0.65] {
        println!("inference-scale {scale}: median microseconds per crop");
        print!("{:<16}", "format");
        ZOOMS.iter().for_each(|zoom| print!("{zoom:>7}x"));
        println!("{:>8}{:>8}", "inside", "tenth");
        for (name, layout) in FORMATS {
            if !wanted.iter().any(|wanted| wanted == name) {
                continue;
            }
            let frame = Frame::new(layout, FRAME, 0, BT709, ChromaSite::MPEG2, colour);
            let times = ZOOMS.map(|zoom| times(&frame, zoom, scale));
            for (i, code) in ["portable", "this CPU"].iter().enumerate() {
                print!("{name:<7}{code:<9}");
                times.iter().for_each(|times| print!("{:>8.1}", part(&times[i], 0.5)));
                let inside: Vec<f64> = times[..INSIDE].iter().flat_map(|times| times[i].clone()).collect();
                println!("{:>8.1}{:>8.1}", part(&inside, 0.5), part(&inside, 0.1));
            }
        }
    }
    println!("letterbox of 1280x720: microseconds, median and the time that the fastest tenth keeps within");
    for (name, layout) in FORMATS.into_iter().filter(|(name, _)| wanted.iter().any(|wanted| wanted == name)) {
        let frame = Frame::new(layout, FRAME, 0, BT709, ChromaSite::MPEG2, colour);
        for side in [416, 640] {
            let times = letterbox_times(&frame, side);
            for (code, times) in ["portable", "this CPU"].iter().zip(&times) {
                println!(
                    "{name:<7}{code:<9} {side}x{side}{:>8.1}{:>8.1}",
                    part(times, 0.5),
                    part(times, 0.1)
                );
            }
        }
    }
}

/// The same crop in the middle of the frame, again and again.
fn crops(count: usize, code: &str, format: &str, scale: f64, zoom: f32) {
    let (_, layout) = *FORMATS.iter().find(|(name, _)| *name == format).expect("a format that is known");
    let frame = Frame::new(layout, FRAME, 0, BT709, ChromaSite::MPEG2, colour);
    let sampler = Sampler::new(NETWORK.0, NETWORK.1, scale);
    let mut sampler = match code {
        "portable" => sampler.portable(),
        "vectors" => sampler,
        _ => panic!("{code}: portable or vectors"),
    };
    let crop = crop(zoom, [0.5; 2]);
    let mut out = vec![0; (NETWORK.0 * NETWORK.1 * 3) as usize];
    for _ in 0..count {
        sampler.sample(std::hint::black_box(&frame.picture()), &crop, &mut out);
        std::hint::black_box(&out);
    }
}

/// A crop `zoom` times the network's size, at a place from the left (0) to the right and from the top to the bottom (1).
fn crop(zoom: f32, place: [f32; 2]) -> Crop {
    // The region is the crop without its padding of 1.25.
    let (width, height) = (NETWORK.0 as f32 * zoom, NETWORK.1 as f32 * zoom);
    let across = (FRAME.0 as f32 - width) * place[0] + width * 0.1;
    let down = (FRAME.1 as f32 - height) * place[1] + height * 0.1;
    let region = Region::new(across, down, width * 0.8, height * 0.8);
    Crop::new(&region, NETWORK.0, NETWORK.1).expect("a usable region")
}

/// Times of the whole frame in a letterbox of `side` pixels, by each code.
fn letterbox_times(frame: &Frame, side: u32) -> [Vec<f64>; 2] {
    let shape = FrameShape::new(FRAME.0 as u32, FRAME.1 as u32, (1, 1));
    let whole = Whole::new(Fit::Letterbox, shape, side, side).expect("sides above 0");
    let sampler = || Sampler::new(side, side, 1.0);
    let mut samplers = [sampler().portable(), sampler()];
    let mut out = vec![0; (side * side * 3) as usize];
    let mut times = [const { Vec::new() }; 2];
    for _ in 0..500 {
        let picture = frame.picture();
        for (sampler, times) in samplers.iter_mut().zip(&mut times) {
            let before = Instant::now();
            sampler.sample_whole(std::hint::black_box(&picture), &whole, &mut out);
            std::hint::black_box(&out);
            times.push(before.elapsed().as_secs_f64() * 1e6);
        }
    }
    times
}

/// The time that `part` of all crops do not exceed: 0.5 gives the median.
fn part(times: &[f64], part: f64) -> f64 {
    let mut times = times.to_vec();
    times.sort_by(f64::total_cmp);
    times[(times.len() as f64 * part) as usize]
}

/// Times of crops `zoom` times the network's size at positions across the frame, by each code.
fn times(frame: &Frame, zoom: f32, scale: f64) -> [Vec<f64>; 2] {
    let sampler = || Sampler::new(NETWORK.0, NETWORK.1, scale);
    let mut samplers = [sampler().portable(), sampler()];
    let mut out = vec![0; (NETWORK.0 * NETWORK.1 * 3) as usize];
    let start = Instant::now();
    let mut times = [const { Vec::new() }; 2];
    // The same number of crops for each zoom, so that the median over all zooms favours none.
    for i in 0..1000 {
        let crop = crop(zoom, [(i % 7) as f32 / 6.0, (i % 5) as f32 / 4.0]);
        let picture = frame.picture();
        for (sampler, times) in samplers.iter_mut().zip(&mut times) {
            let before = Instant::now();
            sampler.sample(std::hint::black_box(&picture), &crop, &mut out);
            std::hint::black_box(&out);
            times.push(before.elapsed().as_secs_f64() * 1e6);
        }
        if start.elapsed() > TIME_PER_ZOOM {
            break;
        }
    }
    times
}
