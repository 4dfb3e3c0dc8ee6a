//! Compares adapted graphs with plain ones, run by ONNX Runtime's CPU provider.

use std::path::PathBuf;

use prost::bytes::Bytes;

use super::{
    library::{Log, LogLevel, Runtime, Search},
    planes::split,
    session::Session,
};
use crate::network::{
    Peak,
    contract::{IMAGE, INPUT, KEY_POINTS, OUTPUTS},
    decode,
    graph::{
        Adaptation, MEAN, STD, adapt,
        messages::{self, Dimension, Graph, Model, Node, Tensor, ValueInfo, element_type},
        read,
    },
};

pub(super) fn runtime() -> Runtime {
    let log = Log { level: LogLevel::Warning, write: |_, _, text| eprintln!("{text}") };
    Runtime::load(&Search::default(), log).unwrap()
}

pub(super) fn session(file: &[u8]) -> Session {
    runtime().builder().unwrap().load(file).ok().expect("the file is one that ONNX Runtime can load")
}

fn file(name: &str) -> Vec<u8> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    std::fs::read(root.join(name)).unwrap()
}

pub(super) fn model(name: &str) -> Model {
    read(Bytes::from(file(name))).unwrap()
}

/// A crop with large and small structures: blobs of any colour on a gradient, and noise.
pub(super) fn crop(width: usize, height: usize, seed: usize) -> Vec<u8> {
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
    let outputs = session.run((INPUT, [crops.len(), 3, height, width], &input[..]), None).unwrap();
    let (shape, simcc_x) = outputs.get(OUTPUTS[0]).unwrap();
    let (_, simcc_y) = outputs.get(OUTPUTS[1]).unwrap();
    let mut peaks = vec![Peak::default(); crops.len() * shape[1] as usize];
    decode(simcc_x, simcc_y, &mut peaks);
    peaks
}

pub(super) fn run_adapted(
    session: &mut Session,
    crops: &[Vec<u8>],
    [height, width]: [usize; 2],
) -> Vec<Peak> {
    let bytes = crops.concat();
    let outputs = session.run((IMAGE, [crops.len(), height, width, 3], &bytes[..]), None).unwrap();
    let (shape, values) = outputs.get(KEY_POINTS).unwrap();
    assert_eq!((shape[0], shape[2]), (crops.len() as i64, 4));
    let (rows, _) = values.as_chunks();
    rows.iter().map(|[x, y, max_x, max_y]| Peak { x: *x, y: *y, max_x: *max_x, max_y: *max_y }).collect()
}

/// A crop's colours as planes give the same answers as its pixels, in files with and without a convolution at their beginning.
#[test]
fn planes_answer_as_pixels() {
    for (name, [height, width]) in [
        ("models/rtmpose-t.onnx", [256, 192]),
        ("tests/networks/dots.onnx", [256, 192]),
        ("tests/networks/dots-no-conv.onnx", [256, 192]),
        ("tests/networks/yolox.onnx", [64, 96]),
        ("tests/networks/rtmdet.onnx", [64, 96]),
        ("tests/networks/rfdetr.onnx", [64, 96]),
    ] {
        let model = model(name);
        let bytes = [crop(width, height, 5), crop(width, height, 6)].concat();
        let mut planes = vec![0; bytes.len()];
        let size = height * width * 3;
        for (crop, planes) in bytes.chunks_exact(size).zip(planes.chunks_exact_mut(size)) {
            split(crop, planes);
        }
        let run = |planar, shape, bytes: &[u8]| {
            let file = adapt(&model, &Adaptation { planar, ..Adaptation::default() }).unwrap();
            let output = read(file.clone().into()).unwrap().graph.unwrap().output[0].name().to_string();
            let mut session = session(&file);
            let outputs = session.run((IMAGE, shape, bytes), None).unwrap();
            outputs.get(&output).unwrap().1.to_vec()
        };
        let pixels = run(false, [2, height, width, 3], &bytes);
        assert_eq!(run(true, [2, 3, height, width], &planes), pixels, "{name}");
        assert!(pixels.iter().any(|value| *value != 0.0), "{name}");
    }
}

/// Positions that differ, and the largest difference of a maximum.
pub(super) fn compare(one: &[Peak], other: &[Peak]) -> (usize, f32) {
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
        let model = model(name);
        let mut plain = session(&bytes);
        for (fixed_batch, rows) in [(None, 1), (None, 3), (Some(2), 2)] {
            let mut adapted = session(
                &adapt(&model, &Adaptation { half: false, fixed_batch, ..Adaptation::default() }).unwrap(),
            );
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

/// A drawn person, whom the embedded model recognises: limbs as strokes with round ends, `scale` times as large as one who is 192
/// pixels high, moved by `shift` pixels.
fn figure(shift: [f32; 2], scale: f32) -> Vec<u8> {
    let (skin, shirt, trousers, shoes, hair) =
        ([200, 150, 120], [170, 40, 40], [40, 50, 90], [30, 30, 30], [50, 30, 20]);
    // Ends, half of the width, and colour. What comes later covers what is there.
    let strokes = [
        ([-12.0, 20.0], [-14.0, 90.0], 9.0, trousers),
        ([12.0, 20.0], [14.0, 90.0], 9.0, trousers),
        ([-14.0, 92.0], [-18.0, 94.0], 6.0, shoes),
        ([14.0, 92.0], [18.0, 94.0], 6.0, shoes),
        ([-8.0, -50.0], [-6.0, 10.0], 15.0, shirt),
        ([8.0, -50.0], [6.0, 10.0], 15.0, shirt),
        ([-24.0, -52.0], [-32.0, -15.0], 7.0, shirt),
        ([24.0, -52.0], [32.0, -15.0], 7.0, shirt),
        ([-32.0, -15.0], [-30.0, 18.0], 6.0, skin),
        ([32.0, -15.0], [30.0, 18.0], 6.0, skin),
        ([0.0, -84.0], [0.0, -60.0], 6.0, skin),
        ([0.0, -84.0], [0.0, -80.0], 13.0, skin),
        ([0.0, -92.0], [0.0, -90.0], 12.0, hair),
        ([-5.0, -84.0], [-5.0, -84.0], 2.0, shoes),
        ([5.0, -84.0], [5.0, -84.0], 2.0, shoes),
    ];
    let (width, height) = (192, 256);
    let mut pixels = Vec::new();
    for (y, x) in (0..height).flat_map(|y| (0..width).map(move |x| (y, x))) {
        let at = [x as f32 - width as f32 / 2.0 - shift[0], y as f32 - height as f32 / 2.0 - shift[1]]
            .map(|distance| distance / scale);
        let covers = |from: [f32; 2], to: [f32; 2], radius: f32| {
            let (along, reach) = ([to[0] - from[0], to[1] - from[1]], [at[0] - from[0], at[1] - from[1]]);
            let length = (along[0] * along[0] + along[1] * along[1]).max(f32::MIN_POSITIVE);
            let part = ((reach[0] * along[0] + reach[1] * along[1]) / length).clamp(0.0, 1.0);
            (reach[0] - part * along[0]).hypot(reach[1] - part * along[1]) <= radius
        };
        let top = strokes.iter().rev().find(|(from, to, radius, _)| covers(*from, *to, *radius));
        pixels.extend(top.map_or([120, 140, 120], |(.., colour)| *colour));
    }
    pixels
}

/// Half precision rounds to 11 binary digits: scores of about 1 keep their third decimal, and places move only between bins
/// with nearly equal answers. (Of people, 1 to 4 % of the points move: models/README.md.)
#[test]
#[cfg_attr(
    target_arch = "aarch64",
    ignore = "sums are in half precision there: docs/performance.md, 'On ARM64'"
)]
fn half_precision_answers_nearly_as_float32() {
    let model = model("models/rtmpose-t.onnx");
    let half = adapt(&model, &Adaptation { half: true, fixed_batch: None, ..Adaptation::default() }).unwrap();
    let mut whole = session(&adapt(&model, &Adaptation::default()).unwrap());
    let crops: Vec<_> = [([0.0, 0.0], 1.0), ([8.0, -6.0], 0.9), ([-10.0, 4.0], 1.1), ([3.0, 10.0], 0.8)]
        .map(|(shift, scale)| figure(shift, scale))
        .to_vec();
    let expected = run_adapted(&mut whole, &crops, [256, 192]);
    let least = expected.iter().map(|peak| peak.max_x.min(peak.max_y)).fold(f32::MAX, f32::min);
    assert!(least > 0.3, "the figures are not recognised: {least}");
    let (moved, worst) = compare(&expected, &run_adapted(&mut session(&half), &crops, [256, 192]));
    eprintln!("{moved} of {} moved, maxima differ by {worst}", expected.len());
    assert!(moved * 20 <= expected.len() && worst > 0.0 && worst < 3e-3, "{moved}, {worst}");
}

/// Models with other operators, which half precision must keep right: a dot, found within a bin or two, because the top of
/// their parabola is flat.
#[test]
#[cfg_attr(
    target_arch = "aarch64",
    ignore = "sums are in half precision there: docs/performance.md, 'On ARM64'"
)]
fn half_precision_finds_dots() {
    for (name, [height, width]) in [
        ("tests/networks/dots.onnx", [256, 192]),
        ("tests/networks/dots-no-conv.onnx", [256, 192]),
        ("tests/networks/dots-small.onnx", [64, 48]),
    ] {
        let half =
            adapt(&model(name), &Adaptation { half: true, fixed_batch: Some(1), ..Adaptation::default() })
                .unwrap();
        let (x, y) = (width / 3, height / 4);
        let dot = |index: usize| {
            if (index % width).abs_diff(x) < 3 && (index / width).abs_diff(y) < 3 { 255 } else { 0 }
        };
        let crop: Vec<u8> = (0..height * width).flat_map(|index| [dot(index); 3]).collect();
        for peak in run_adapted(&mut session(&half), &[crop], [height, width]) {
            assert!((peak.x - x as f32).abs() <= 1.0 && (peak.y - y as f32).abs() <= 1.0, "{name}: {peak:?}");
            assert!((peak.max_x - 1.0).abs() < 2e-3 && (peak.max_y - 1.0).abs() < 2e-3, "{name}: {peak:?}");
        }
    }
}

/// A model of two nodes, which returns the crop's top row of red and its left column, normalised.
fn first_rows() -> Model {
    let slice = |name: &str| {
        let bins = format!("{name}_bins");
        let slice = Node::new("Slice", &[INPUT, "starts", "ends", &format!("{name}_axes")], &bins);
        [slice, Node::new("Reshape", &[&bins, "shape"], name)]
    };
    let constants = vec![
        Tensor::int64("starts", &[2], &[0, 0]),
        Tensor::int64("ends", &[2], &[1, 1]),
        Tensor::int64("simcc_x_axes", &[2], &[1, 2]),
        Tensor::int64("simcc_y_axes", &[2], &[1, 3]),
        Tensor::int64("shape", &[3], &[0, 1, -1]),
    ];
    let of = |sides: &[i64]| {
        let sides = sides.iter().map(|side| Dimension::of(*side));
        [Dimension::default()].into_iter().chain(sides).collect::<Vec<_>>()
    };
    let graph = Graph {
        name: Some(Bytes::from_static(b"rows")),
        node: [slice("simcc_x"), slice("simcc_y")].concat(),
        initializer: constants,
        input: vec![ValueInfo::of(INPUT, element_type::FLOAT, of(&[3, 5, 7]))],
        output: vec![
            ValueInfo::of("simcc_x", element_type::FLOAT, of(&[1, 7])),
            ValueInfo::of("simcc_y", element_type::FLOAT, of(&[1, 5])),
        ],
        ..Graph::default()
    };
    let opset = messages::OperatorSet { domain: None, version: Some(13) };
    Model { ir_version: Some(8), graph: Some(graph), opset_import: vec![opset], ..Model::default() }
}

/// TopK's order of equal values is that of numpy's argmax: the lowest index first.
#[test]
fn the_first_of_equal_maxima_wins() {
    let mut adapted = session(&adapt(&first_rows(), &Adaptation::default()).unwrap());
    let red = |x: usize, y: usize| match (x, y) {
        (2 | 4 | 6, 0) | (0, 1 | 4) => 200,
        _ => 10,
    };
    let crop = (0..5).flat_map(|y| (0..7).flat_map(move |x| [red(x, y), 0, 0])).collect::<Vec<u8>>();
    let peaks = run_adapted(&mut adapted, &[crop], [5, 7]);
    let maximum = (200.0 - MEAN[0]) / STD[0];
    assert_eq!((peaks[0].x, peaks[0].y), (1.0, 0.5));
    assert!((peaks[0].max_x - maximum).abs() < 1e-6 && (peaks[0].max_y - maximum).abs() < 1e-6);
}

/// Files from before IR version 4 list their constants as inputs.
#[test]
fn constants_among_the_inputs_are_no_inputs() {
    let name = "tests/networks/dots-small.onnx";
    let mut old = model(name);
    old.ir_version = Some(3);
    let graph = old.graph.as_mut().unwrap();
    for tensor in &graph.initializer {
        let dims = tensor.dims.iter().map(|dim| Dimension::of(*dim)).collect();
        graph.input.push(ValueInfo::of(tensor.name(), tensor.data_type(), dims));
    }
    let crops = [crop(48, 64, 3)];
    let mut adapted = session(&adapt(&old, &Adaptation::default()).unwrap());
    let expected = run_plain(&mut session(&file(name)), &crops, [64, 48]);
    assert_eq!(compare(&expected, &run_adapted(&mut adapted, &crops, [64, 48])).0, 0);
}
