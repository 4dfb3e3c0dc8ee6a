//! Execution providers that not every build of ONNX Runtime has, and their precisions.

mod network_rig;

use std::time::Instant;

use gst::prelude::*;
use gstrtmpose::{
    engine::{Backend, Cancel, Error, ErrorKind, Executor, LoadEvent, Loading},
    network::{Network, Peak},
    runtime::onnx::{OnnxBackend, Precision, Provider},
};
use network_rig::rows::{peaks, room};

type Opened = Result<(Network, Box<dyn Executor>), Error>;

/// Opens the backend; also returns its warnings.
fn open(backend: &OnnxBackend) -> (Opened, Vec<String>) {
    let warnings = std::cell::RefCell::new(Vec::new());
    let report = |event| {
        if let LoadEvent::Warning(text) = event {
            warnings.borrow_mut().push(text);
        }
    };
    let opened =
        backend.open(&Loading { report: &report, cancelled: &Cancel::default(), most_crops: usize::MAX });
    (opened, warnings.into_inner())
}

fn small(provider: Provider) -> OnnxBackend {
    OnnxBackend {
        model_file: Some(network_rig::network("dots-small")),
        provider,
        batch_size: 2,
        ..OnnxBackend::default()
    }
}

/// A provider is used if ONNX Runtime's build has it and its libraries are there. Otherwise the error says what
/// it needs.
#[test]
fn providers_are_used_or_their_lack_explained() {
    for (provider, name, words) in [
        (Provider::TensorRt, "tensorrt", ["TensorRT", "NVIDIA driver", "GPU build of ONNX Runtime"]),
        (Provider::OpenVino, "openvino", ["OpenVINO", "onnxruntime-openvino", "ort-library"]),
    ] {
        match open(&small(provider)).0 {
            Ok((model, _)) => assert_eq!(model.provider.name(), name),
            Err(error) => {
                assert_eq!(error.kind, ErrorKind::Provider, "{error}");
                for word in words.iter().chain(&["execution-provider=cpu"]) {
                    assert!(error.message.contains(word), "`{word}` is missing in: {error}");
                }
            }
        }
    }
}

/// All GPUs of a machine without GPUs: as without the property.
#[test]
fn all_gpus_without_a_driver_are_the_cpu_or_an_error() {
    if std::path::Path::new("/proc/driver/nvidia/version").exists() {
        eprintln!("not played: this machine has NVIDIA's driver");
        return;
    }
    network_rig::init();
    for devices in ["all", "0,1"] {
        let model = network_rig::network("dots-small");
        let line = format!("rtmposebatch model-file=\"{}\" device-ids={devices}", model.display());
        let element = gst::parse::launch(&line).unwrap();
        let bus = gst::Bus::new();
        element.set_bus(Some(&bus));
        element.set_state(gst::State::Ready).unwrap();
        assert_eq!(element.property::<String>("active-provider"), "cpu");
        assert!(!element.property::<gst::Structure>("stats").has_field("gpus"));
        element.set_state(gst::State::Null).unwrap();
        assert_eq!(network_rig::messages(&bus, gst::MessageType::Warning), [""; 0]);
        element.set_property_from_str("execution-provider", "cuda");
        assert!(element.set_state(gst::State::Ready).is_err());
        element.set_state(gst::State::Null).unwrap();
        let errors = network_rig::messages(&bus, gst::MessageType::Error);
        assert!(
            errors.len() == 1 && errors[0].starts_with("The CUDA execution provider cannot be used"),
            "{errors:?}"
        );
    }
}

#[test]
fn half_precision_is_never_silently_ignored() {
    let backend = OnnxBackend { precision: Precision::Fp16, ..small(Provider::Cpu) };
    let (opened, warnings) = open(&backend);
    assert_eq!(opened.unwrap().0.provider.name(), "cpu");
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].contains("precision=fp16 has no effect on the CPU"), "{warnings:?}");
    // A file that takes bytes already cannot be converted.
    let (opened, warnings) =
        open(&OnnxBackend { model_file: Some(network_rig::network("packed")), ..backend });
    assert!(opened.is_ok());
    assert!(warnings[0].contains("packed.onnx accepts bytes and is run unchanged"), "{warnings:?}");
    assert!(open(&small(Provider::Cpu)).1.is_empty());
}

/// With 0 the number of crops in a run suits the device.
#[test]
fn the_cpu_takes_eight_crops_where_none_is_asked_for() {
    for (file, asked, largest) in [("dots-small", 0, 8), ("dots-small", 3, 3), ("batch-1", 0, 1)] {
        let backend = OnnxBackend {
            model_file: Some(network_rig::network(file)),
            batch_size: asked,
            ..small(Provider::Cpu)
        };
        let (_, executor) = open(&backend).0.unwrap();
        assert_eq!(executor.warm_up_sizes(), [largest], "{file}, batch-size={asked}");
    }
}

/// A picture with a few bright discs, which has clear answers.
fn crop(network: &Network, seed: usize) -> Box<[u8]> {
    let (width, height) = (network.width as usize, network.height as usize);
    let disc = |x: usize, y: usize, k: usize| {
        let (cx, cy) = ((seed * 37 + k * 61) % width, (seed * 53 + k * 97) % height);
        let distance = (x.abs_diff(cx).pow(2) + y.abs_diff(cy).pow(2)) as f32;
        180.0 * (-distance / 300.0).exp()
    };
    let pixel = |i: usize| {
        let (x, y) = (i % width, i / width);
        [disc(x, y, 0) + (x % 50) as f32, disc(x, y, 1) + (y % 50) as f32, disc(x, y, 2)]
            .map(|value| value as u8)
    };
    (0..width * height).flat_map(pixel).collect()
}

fn run(executor: &mut dyn Executor, network: &Network, seeds: &[usize]) -> Vec<Peak> {
    let mut answers = room(network, seeds.len());
    for (row, seed) in seeds.iter().enumerate() {
        executor.load(row, &crop(network, *seed));
    }
    executor.run(seeds.len(), &mut answers).unwrap();
    peaks(network, &answers)
}

/// Files that take bytes and return key points already run unchanged: the same network in three forms.
#[test]
fn adapted_files_answer_as_official_ones() {
    let opened = ["scores", "packed", "packed-3"].map(|file| {
        let model_file = Some(network_rig::network(file));
        open(&OnnxBackend { model_file, ..small(Provider::Cpu) }).0.unwrap()
    });
    let [official, four, three] = opened.map(|(network, mut executor)| {
        let mut answers = room(&network, 2);
        for (row, centre) in [(40usize, 200usize), (150, 61)].into_iter().enumerate() {
            let is_dot = |i: usize| (i % 192).abs_diff(centre.0) < 4 && (i / 192).abs_diff(centre.1) < 4;
            let dot: Box<[u8]> = (0..192 * 256).flat_map(|i| [if is_dot(i) { 230 } else { 0 }; 3]).collect();
            executor.load(row, &dot);
        }
        executor.run(2, &mut answers).unwrap();
        (network.kind.only_score().is_some(), peaks(&network, &answers))
    });
    assert_eq!([official.0, four.0, three.0], [false, false, true]);
    assert_eq!(official.1.len(), 6);
    assert_eq!((official.1[0].x, official.1[0].y), (40.0, 200.0));
    for ((official, four), three) in official.1.iter().zip(&four.1).zip(&three.1) {
        for (found, max_x, max_y) in
            [(four, four.max_x, four.max_y), (three, three.max_x * 1.6 / 1.2, three.max_y)]
        {
            assert_eq!((official.x, official.y), (found.x, found.y));
            assert!((official.max_x - max_x).abs() < 1e-4 && (official.max_y - max_y).abs() < 1e-4);
        }
    }
}

/// The embedded network runs in 8-bit integers if the CPU has the instructions and no other precision is set.
/// (models/README.md says what this costs on people.)
#[test]
#[cfg(feature = "embedded-model")]
fn the_embedded_network_runs_in_integers_where_that_is_faster() {
    #[cfg(target_arch = "x86_64")]
    let faster = is_x86_feature_detected!("avx512vnni") || is_x86_feature_detected!("avxvnni");
    #[cfg(target_arch = "aarch64")]
    let faster =
        std::arch::is_aarch64_feature_detected!("dotprod") || std::arch::is_aarch64_feature_detected!("i8mm");
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let faster = false;
    let on = |precision| {
        let backend = OnnxBackend { provider: Provider::Cpu, precision, ..OnnxBackend::default() };
        let (model, mut executor) = open(&backend).0.unwrap();
        let peaks = run(&mut *executor, &model, &[1, 2, 3]);
        (model.sha256, peaks)
    };
    let ((float, expected), (chosen, found)) = (on(Precision::Fp32), on(Precision::Model));
    assert_eq!(chosen != float, faster);
    let difference = |(a, b): (&Peak, &Peak)| (a.max_x - b.max_x).abs().max((a.max_y - b.max_y).abs());
    let mean = expected.iter().zip(&found).map(difference).sum::<f32>() / found.len() as f32;
    eprintln!("int8: {faster}, scores differ by {mean} on average");
    assert_eq!(mean > 0.0, faster);
    assert!(mean < 0.05, "{mean}");
}

/// `stats` has the number that `batch-size=0` chose.
#[test]
fn stats_tell_the_batch_size() {
    for (properties, expected) in [("batch-size=0", 8u32), ("batch-size=3", 3)] {
        let rig = network_rig::Rig::start("dots-small", properties);
        let stats = rig.element.property::<gst::Structure>("stats");
        assert_eq!(stats.get::<u32>("batch-size"), Ok(expected));
    }
}

#[test]
fn a_score_mode_without_effect_is_warned_of() {
    let rig = network_rig::Rig::start("packed-3", "");
    rig.element.set_property_from_str("score-mode", "mean");
    let warnings = network_rig::messages(&rig.bus, gst::MessageType::Warning);
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].contains("score-mode=mean has no effect on this model"), "{warnings:?}");
}

/// ORT_DYLIB_PATH names a build with OpenVINO, such as the one in the Python package onnxruntime-openvino:
/// `cargo test --test providers -- --ignored`.
#[test]
#[cfg(feature = "embedded-model")]
#[ignore = "needs ONNX Runtime with OpenVINO"]
fn openvino_answers_as_the_cpu_provider_does() {
    let on = |provider| OnnxBackend { provider, precision: Precision::Fp32, ..OnnxBackend::default() };
    let (model, mut cpu) = open(&on(Provider::Cpu)).0.unwrap();
    let (on_openvino, mut openvino) = open(&on(Provider::OpenVino)).0.unwrap();
    assert_eq!(on_openvino.provider.name(), "openvino");
    let (mut moved, mut worst) = (0, 0f32);
    for fill in [8, 1, 3, 5, 8, 2, 7, 8] {
        let seeds: Vec<_> = (0..fill).map(|row| fill * 10 + row).collect();
        let expected = run(&mut *cpu, &model, &seeds);
        let started = Instant::now();
        let found = run(&mut *openvino, &model, &seeds);
        eprintln!("{fill} crops: {:?}", started.elapsed());
        for (expected, found) in expected.iter().zip(&found) {
            moved += usize::from((expected.x, expected.y) != (found.x, found.y));
            worst = worst.max((expected.max_x - found.max_x).abs()).max((expected.max_y - found.max_y).abs());
        }
    }
    eprintln!("{moved} points moved, the maxima differ by {worst} at most");
    // A difference of 0 would mean that the CPU provider ran.
    assert!(moved == 0 && worst > 0.0 && worst < 1e-3);
}
