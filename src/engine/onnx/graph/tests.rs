//! Adapted graphs against plain ones, run by ONNX Runtime's CPU provider.

use std::path::PathBuf;

use ort::{session::Session, value::TensorRef};

use super::*;
use crate::{
    engine::onnx::library::{self, Log, Search},
    pose::{Peak, decode},
};

fn session(file: &[u8]) -> Session {
    let log = Log { level: ort::logging::LogLevel::Warning, write: |_, _, text| eprintln!("{text}") };
    let environment = library::environment(&Search::default(), log).unwrap();
    Session::builder(environment).unwrap().commit_from_memory(file).unwrap()
}

fn file(name: &str) -> Vec<u8> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    std::fs::read(root.join(name)).unwrap()
}

/// A crop with large and small structure: blobs of any colour on a ramp, and noise.
fn crop(width: usize, height: usize, seed: usize) -> Vec<u8> {
    let mut state = seed as u32 * 77 + 5;
    let mut random = move || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 16) as f32 / 65536.0
    };
    let blobs: Vec<[f32; 6]> = (0..6)
        .map(|_| {
            [
                random() * width as f32,
                random() * height as f32,
                random() * 255.0,
                random() * 255.0,
                random() * 255.0,
                3.0 + random() * 20.0,
            ]
        })
        .collect();
    let mut bytes = Vec::new();
    for y in 0..height {
        for x in 0..width {
            for channel in 0..3 {
                let ramp = 60.0
                    + 40.0 * (x as f32 / width as f32)
                    + 20.0 * channel as f32 * (y as f32 / height as f32);
                let value = blobs.iter().fold(ramp, |value, blob| {
                    let distance = (x as f32 - blob[0]).powi(2) + (y as f32 - blob[1]).powi(2);
                    let share = (-distance / (2.0 * blob[5] * blob[5])).exp();
                    value + share * (blob[2 + channel] - value)
                });
                bytes.push((value + 10.0 * random()).clamp(0.0, 255.0) as u8);
            }
        }
    }
    bytes
}

fn run_plain(session: &mut Session, crops: &[Vec<u8>], [height, width]: [usize; 2]) -> Vec<Peak> {
    let mut input = vec![0f32; crops.len() * 3 * height * width];
    for (crop, planes) in crops.iter().zip(input.chunks_exact_mut(3 * height * width)) {
        for (index, value) in crop.iter().enumerate() {
            let (pixel, channel) = (index / 3, index % 3);
            planes[channel * height * width + pixel] = (f32::from(*value) - MEAN[channel]) / STD[channel];
        }
    }
    let input = TensorRef::from_array_view(([crops.len(), 3, height, width], &input[..])).unwrap();
    let outputs = session.run(ort::inputs![INPUT => input]).unwrap();
    let (shape, simcc_x) = outputs[OUTPUTS[0]].try_extract_tensor::<f32>().unwrap();
    let (_, simcc_y) = outputs[OUTPUTS[1]].try_extract_tensor::<f32>().unwrap();
    let mut peaks = vec![Peak::default(); crops.len() * shape[1] as usize];
    decode(simcc_x, simcc_y, &mut peaks);
    peaks
}

fn run_adapted(session: &mut Session, crops: &[Vec<u8>], [height, width]: [usize; 2]) -> Vec<Peak> {
    let bytes = crops.concat();
    let input = TensorRef::from_array_view(([crops.len(), height, width, 3], &bytes[..])).unwrap();
    let outputs = session.run(ort::inputs![IMAGE => input]).unwrap();
    let (shape, values) = outputs[KEY_POINTS].try_extract_tensor::<f32>().unwrap();
    assert_eq!((shape[0], shape[2]), (crops.len() as i64, 4));
    let (rows, _) = values.as_chunks();
    rows.iter().map(|[x, y, max_x, max_y]| Peak { x: *x, y: *y, max_x: *max_x, max_y: *max_y }).collect()
}

/// Positions that differ, and the largest difference of a maximum.
fn compare(one: &[Peak], other: &[Peak]) -> (usize, f32) {
    assert_eq!(one.len(), other.len());
    one.iter().zip(other).fold((0, 0.0), |(moved, worst), (one, other)| {
        let differs = (one.x, one.y) != (other.x, other.y);
        let scores: f32 = (one.max_x - other.max_x).abs().max((one.max_y - other.max_y).abs());
        (moved + usize::from(differs), scores.max(worst))
    })
}

#[test]
fn adapted_graphs_answer_as_the_plain_ones() {
    for (name, size) in [
        ("models/rtmpose-t.onnx", [256, 192]),
        ("tests/networks/dots.onnx", [256, 192]),
        ("tests/networks/colours.onnx", [256, 192]),
        ("tests/networks/dots-17.onnx", [256, 192]),
        ("tests/networks/dots-small.onnx", [64, 48]),
        ("tests/networks/dots-no-conv.onnx", [256, 192]),
        ("tests/networks/dots-symbolic.onnx", [256, 192]),
        ("tests/networks/scores.onnx", [256, 192]),
    ] {
        let bytes = file(name);
        let model = read(Bytes::from(bytes.clone())).unwrap();
        let mut plain = session(&bytes);
        for (fixed_batch, rows) in [(None, 1), (None, 3), (Some(2), 2)] {
            let mut adapted = session(&adapt(&model, &Adaptation { half: false, fixed_batch }).unwrap());
            let crops: Vec<_> = (0..rows).map(|row| crop(size[1], size[0], 10 * rows + row)).collect();
            let expected = run_plain(&mut plain, &crops, size);
            let found = run_adapted(&mut adapted, &crops, size);
            let (moved, worst) = compare(&expected, &found);
            eprintln!(
                "{name} {fixed_batch:?}: {moved} of {} moved, maxima differ by {worst}",
                expected.len()
            );
            assert!(moved == 0 && worst < 1e-4, "{name}, {fixed_batch:?}");
        }
    }
}
