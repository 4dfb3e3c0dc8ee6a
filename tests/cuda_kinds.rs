//! Compares every kind of model on an NVIDIA GPU with the CPU: ignored by default, `cargo test --release --test cuda_kinds
//! -- --ignored` runs them. The models are the tiny ones in `tests/networks`.

mod network_rig;

use gstrtmpose::{
    engine::{Backend, Cancel, Error, ErrorKind, Executor, LoadEvent, Loading},
    network::{Network, Provider as Runs, Task, Wanted},
    runtime::onnx::{OnnxBackend, Precision, Provider},
};
use network_rig::{
    network,
    rows::{printed, room},
};

const BATCH: usize = 4;

/// Each network, with its task: poses of crops, poses of frames, or boxes of frames.
const NETWORKS: [(&str, Task); 14] = [
    ("dots", Task::Poses),
    ("dots-133-384x288", Task::Poses),
    ("packed-3", Task::Poses),
    ("rtmw3d", Task::Poses),
    ("vitpose", Task::Poses),
    ("rtmo", Task::Poses),
    ("yolox", Task::Boxes),
    ("yolox-one", Task::Boxes),
    ("yolox-anchors", Task::Boxes),
    ("yolox-body", Task::Boxes),
    ("yolox-by-class", Task::Boxes),
    ("rtmdet", Task::Boxes),
    ("rtmdet-by-class", Task::Boxes),
    ("rfdetr", Task::Boxes),
];

fn open(
    name: &str,
    task: Task,
    provider: Provider,
    precision: Precision,
) -> Result<(Network, Box<dyn Executor>), Error> {
    open_telling(name, task, provider, precision, &mut Vec::new())
}

/// Also collects what the loading reports as its steps.
fn open_telling(
    name: &str,
    task: Task,
    provider: Provider,
    precision: Precision,
    steps: &mut Vec<String>,
) -> Result<(Network, Box<dyn Executor>), Error> {
    let steps = std::cell::RefCell::new(steps);
    let backend = OnnxBackend {
        model_file: Some(network(name)),
        wanted: Wanted { task: Some(task), ..Wanted::default() },
        batch_size: BATCH,
        provider,
        precision,
        log: printed(),
        ..OnnxBackend::default()
    };
    let report = |event| match event {
        LoadEvent::Warning(text) => eprintln!("{name} on {provider:?}: {text}"),
        LoadEvent::Step(text) => steps.borrow_mut().push(text),
        _ => (),
    };
    backend.open(&Loading { report: &report, cancelled: &Cancel::default(), most_crops: BATCH })
}

/// A picture with a red, a green and a blue square, at other places for each seed: dots on black, or people on
/// grey.
fn picture(shape: (u32, u32), task: Task, name: &str, seed: usize) -> Box<[u8]> {
    let (width, height) = (shape.0 as usize, shape.1 as usize);
    let on_grey = task == Task::Boxes || name == "rtmo";
    let mut pixels = vec![if on_grey { 114u8 } else { 0 }; width * height * 3];
    let side = (width.min(height) / 8).max(4);
    for channel in 0..3 {
        let left = (channel * width / 3 + 2 + seed * 3 % 5).min(width - side);
        let top = (height / 5 + seed * 7 % (height / 3) + channel * height / 9).min(height - side);
        for y in top..top + side {
            for x in left..left + side {
                let pixel = &mut pixels[(y * width + x) * 3..][..3];
                pixel.fill(0);
                pixel[channel] = 255;
            }
        }
    }
    pixels.into()
}

fn run(executor: &mut dyn Executor, network: &Network, task: Task, name: &str, seeds: &[usize]) -> Vec<f32> {
    let mut answers = room(network, seeds.len());
    for (row, seed) in seeds.iter().enumerate() {
        executor.load(row, &picture((network.width, network.height), task, name, *seed));
    }
    executor.run(seeds.len(), &mut answers).unwrap();
    if task == Task::Boxes {
        // An unused place for a box has class -1, or 0 if the file returned fewer places.
        answers.iter_mut().filter(|number| **number == -1.0).for_each(|number| *number = 0.0);
    }
    answers
}

/// Largest difference of two numbers of the rows; NaN counts as far.
fn apart(expected: &[f32], found: &[f32]) -> f32 {
    assert_eq!(expected.len(), found.len());
    expected.iter().zip(found).fold(0.0, |most, (a, b)| {
        let apart = (a - b).abs();
        if apart <= most { most } else { apart }
    })
}

/// Describes rows that differ by more than the bound.
fn difference(expected: &[f32], found: &[f32], rows: usize, bound: f32) -> String {
    let row = expected.len() / rows;
    let at = expected.iter().zip(found).position(|(a, b)| apart(&[*a], &[*b]) > bound).unwrap();
    let (first, last) = (at - at % row, (at - at % row + row).min(at + 12));
    format!(
        "number {} of row {}: {:?}, not {:?}",
        at % row,
        at / row,
        &found[first..last],
        &expected[first..last]
    )
}

/// Compares the provider's rows with the CPU's, for every batch fill, up and down.
fn compare(networks: &[(&str, Task)], provider: Provider, runs: Runs, precision: Precision, bound: f32) {
    let mut different = Vec::new();
    for &(name, task) in networks {
        let (network, mut executor) = match open(name, task, provider, precision) {
            Ok(opened) => opened,
            Err(error) if provider == Provider::TensorRt && error.kind == ErrorKind::Provider => {
                eprintln!("not played: {error}");
                return;
            }
            Err(error) => panic!("{name}: {error}"),
        };
        assert_eq!(network.provider, runs, "{name}");
        let (on_the_cpu, mut cpu) = open(name, task, Provider::Cpu, Precision::Fp32).unwrap();
        assert_eq!(Network { provider: runs, ..on_the_cpu }, network, "{name}");
        // Some files accept only one picture in a run.
        let largest =
            [&executor, &cpu].iter().filter_map(|executor| executor.most_rows()).fold(BATCH, usize::min);
        let mut most = 0f32;
        for fill in (1..=largest).chain((1..largest).rev()) {
            let seeds: Vec<_> = (0..fill).map(|row| fill * 10 + row).collect();
            let expected = run(&mut *cpu, &network, task, name, &seeds);
            assert!(expected.iter().any(|number| *number != 0.0), "{name}: the CPU finds nothing");
            let found = run(&mut *executor, &network, task, name, &seeds);
            let now = apart(&expected, &found);
            if now > bound && most <= bound {
                different.push(format!(
                    "{name}, {fill} in a batch: {}",
                    difference(&expected, &found, fill, bound)
                ));
            }
            most = most.max(now);
        }
        eprintln!("{name} on {provider:?} in {precision:?}: {most} apart");
    }
    assert!(different.is_empty(), "{}", different.join("\n"));
}

/// Coordinates are pixels of the input, scores about 0 to 1.
#[test]
#[ignore = "needs an NVIDIA GPU"]
fn every_kind_answers_on_cuda_as_on_the_cpu() {
    compare(&NETWORKS, Provider::Cuda, Runs::Cuda, Precision::Fp32, 0.02);
}

#[test]
#[ignore = "needs an NVIDIA GPU, and plays where ONNX Runtime's TensorRT provider is"]
fn every_kind_answers_on_tensorrt_as_on_the_cpu() {
    compare(&NETWORKS, Provider::TensorRt, Runs::TensorRt, Precision::Model, 0.05);
}

/// Detectors whose graph ends before the suppression of boxes.
const CUT: [(&str, Task); 2] = [("yolox-by-class", Task::Boxes), ("rtmdet-by-class", Task::Boxes)];

#[test]
#[ignore = "needs an NVIDIA GPU"]
fn detectors_answer_in_half_precision() {
    compare(&CUT, Provider::Cuda, Runs::Cuda, Precision::Fp16, 0.25);
}

/// A body with operators of ours for values with channels last. TF32 and half precision round to three digits.
#[test]
#[ignore = "needs an NVIDIA GPU"]
fn a_detectors_body_answers_with_channels_last() {
    for precision in [Precision::Model, Precision::Fp16] {
        compare(&[("yolox-body", Task::Boxes)], Provider::Cuda, Runs::Cuda, precision, 1.0);
    }
}

#[test]
#[ignore = "needs an NVIDIA GPU"]
fn detectors_are_captured_as_cuda_graphs() {
    for (name, is_captured) in [("yolox-by-class", true), ("rtmdet-by-class", true), ("yolox", false)] {
        let mut steps = Vec::new();
        open_telling(name, Task::Boxes, Provider::Cuda, Precision::Model, &mut steps).unwrap();
        let captured = steps.iter().any(|step| step.starts_with("Capturing batches"));
        assert_eq!(captured, is_captured, "{name}: {steps:?}");
    }
}
