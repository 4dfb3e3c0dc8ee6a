//! What a server must have, and what is said where it has not.

use std::net::SocketAddr;

use gstrtmpose::{
    engine::{ErrorKind, LoadEvent},
    network::{Columns, Kind},
};

use super::{
    double::{Double, Model, POINTS, SIDE, tensor},
    rig::{backend, crop, names, open},
};

#[test]
fn batches_are_run_by_a_server_as_they_are_here() {
    let double = Double::start(Model::default());
    let rig = open(backend(&double.name())).unwrap();
    let kind = Kind::SimCc { points: POINTS, columns: Columns::Maxima };
    assert_eq!((rig.network.width, rig.network.height, rig.network.kind), (SIDE as u32, SIDE as u32, kind));
    assert_eq!(rig.stream.provider(), "server");
    let before = double.batches().len();
    let crops: Vec<_> = (0..100).map(crop).collect();
    for eight in crops.chunks(8) {
        let pending: Vec<_> = eight.iter().map(|crop| rig.submit(crop)).collect();
        for (crop, pending) in eight.iter().zip(&pending) {
            assert_eq!(rig.answer(pending).unwrap(), super::double::row_of(crop));
        }
    }
    let batches = double.batches()[before..].to_vec();
    assert_eq!(batches.iter().sum::<usize>(), 100, "each crop went once: {batches:?}");
    let statistics = rig.stream.statistics();
    assert_eq!((statistics.crops, statistics.padding), (100, 0));
    let places = rig.stream.places();
    assert_eq!((places.len(), places[0].name.as_str(), places[0].state), (1, &double.name()[..], "ready"));
    assert!(places[0].failures == 0 && places[0].in_flight == 0 && !places[0].median.is_zero());
    assert!(rig.news().is_empty());
}

/// The calls by their names in the protocol, and their contents.
#[test]
fn requests_are_those_of_the_protocol() {
    let double = Double::start(Model::default());
    let mut backend = backend(&double.name());
    backend.timeout = std::time::Duration::from_millis(1500);
    backend.metadata = gstrtmpose::runtime::kserve::Metadata::parse("Authorization=Bearer hunter2").unwrap();
    let rig = open(backend).unwrap();
    rig.run(1).unwrap();
    let paths = double.paths();
    let asked = ["ServerLive", "ModelReady", "ModelMetadata", "ModelConfig", "ModelInfer"];
    assert_eq!(paths[..5], asked.map(|call| format!("/inference.GRPCInferenceService/{call}")));
    let headers = double.headers();
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    assert_eq!(header("content-type"), "application/grpc");
    assert_eq!(header("te"), "trailers");
    assert_eq!(header("grpc-timeout"), "1500000u");
    assert_eq!(header("authorization"), "Bearer hunter2");
    assert_eq!(double.parameters(), [("timeout".to_string(), 1_500_000)].into());
}

#[test]
fn a_server_that_knows_no_configuration_is_taken_at_its_word() {
    let double = Double::start(Model { most: None, ..Model::default() });
    let mut backend = backend(&double.name());
    backend.batch_size = 32;
    let rig = open(backend).unwrap();
    assert_eq!(rig.stream.batch_size(), 32);
    rig.run(1).unwrap();
}

/// With batch-size=0 the batch is what the server accepts, at most eight.
#[test]
fn the_batch_size_can_be_the_servers() {
    for (most, expected) in [(Some(4), 4), (Some(64), 8), (Some(0), 8), (None, 8)] {
        let double = Double::start(Model { most, ..Model::default() });
        let mut backend = backend(&double.name());
        backend.batch_size = 0;
        assert_eq!(open(backend).unwrap().stream.batch_size(), expected);
    }
}

/// Only full batches: each new number of crops would cost Triton's ONNX Runtime a fraction of a second.
#[test]
fn on_a_gpu_all_batches_are_of_one_size() {
    for (kind, expected) in [(1, 8), (2, 3)] {
        let double = Double::start(Model { kind, ..Model::default() });
        let rig = open(backend(&double.name())).unwrap();
        let before = double.batches().len();
        let pending = [1, 2, 3].map(|number| rig.submit(&crop(number)));
        for (number, pending) in (1..).zip(&pending) {
            assert_eq!(rig.answer(pending).unwrap(), super::double::row_of(&crop(number)));
        }
        let rows: usize = double.batches()[before..].iter().sum();
        let batches = double.batches().len() - before;
        assert_eq!(rows, if kind == 1 { expected * batches } else { expected });
        assert!(kind == 2 || double.batches().iter().all(|rows| *rows == 8), "{:?}", double.batches());
    }
}

#[test]
fn a_fixed_batch_is_filled_up() {
    let side = SIDE as i64;
    let double = Double::start(Model {
        inputs: vec![tensor("image", "UINT8", &[8, side, side, 3])],
        outputs: vec![tensor("keypoints", "FP32", &[8, POINTS as i64, 4])],
        most: Some(0),
        ..Model::default()
    });
    let rig = open(backend(&double.name())).unwrap();
    rig.run(1).unwrap();
    assert!(double.batches().iter().all(|rows| *rows == 8), "{:?}", double.batches());
    assert_eq!(rig.stream.statistics().padding, 7);
}

/// Each error is one sentence: what was expected, what was found, and what to do.
#[test]
fn what_does_not_fit_is_refused_with_one_sentence() {
    let side = SIDE as i64;
    let outputs = || Model::default().outputs;
    for (model, batch_size, kind, words) in [
        (
            Model { inputs: vec![tensor("image", "FP16", &[-1, side, side, 3])], ..Model::default() },
            8,
            ErrorKind::ModelRefused,
            [
                "The model known of grpc://127.0.0.1:",
                "expected an input `image` of uint8",
                "models/server-repository",
            ],
        ),
        (
            Model { outputs: vec![tensor("boxes", "FP32", &[-1, 100, 5])], ..Model::default() },
            8,
            ErrorKind::ModelRefused,
            ["expected an output `keypoints`", "`boxes` of float32 [?, 100, 5]", "model-name"],
        ),
        (
            Model { most: Some(4), ..Model::default() },
            8,
            ErrorKind::ModelRefused,
            ["accepts 4 crops at once (max_batch_size)", "batch-size is 8", "batch-size=4"],
        ),
        (
            Model {
                inputs: vec![tensor("image", "UINT8", &[4, side, side, 3])],
                outputs: outputs(),
                ..Model::default()
            },
            8,
            ErrorKind::ModelRefused,
            ["fixed batch dimension of 4", "batch-size is 8", "batch-size=4"],
        ),
    ] {
        let double = Double::start(model);
        let mut backend = backend(&double.name());
        backend.batch_size = batch_size;
        let error = open(backend).map(|_| ()).unwrap_err();
        assert_eq!(error.kind, kind, "{error}");
        assert!(words.iter().all(|word| error.message.contains(word)), "{error}");
        assert!(!error.message.contains("model-file"), "{error}");
    }
}

#[test]
fn a_model_that_is_still_loading_is_waited_for() {
    let double = Double::start(Model { ready: false, ..Model::default() });
    let opening = backend(&double.name());
    let waiting =
        std::thread::spawn(move || open(opening).map(|rig| rig.told).map_err(|error| error.message));
    // Waits until the engine has asked, and got the answer no.
    while double.paths().iter().filter(|path| path.ends_with("ModelReady")).count() < 2 {
        std::thread::yield_now();
    }
    double.change_model(|model| model.ready = true);
    let told = waiting.join().unwrap().unwrap();
    let waited = |event: &LoadEvent| matches!(event, LoadEvent::Step(text) if text.starts_with("Waiting for the model known"));
    assert!(told.iter().any(waited), "{told:?}");
    assert!(!told.iter().any(|event| matches!(event, LoadEvent::Warning(_))), "{told:?}");
}

#[test]
fn servers_that_are_not_there_are_told_of_after_a_while() {
    let mut gone = Double::start(Model::default());
    let name = gone.name();
    gone.kill();
    let mut backend = backend(&name);
    backend.timeout = std::time::Duration::from_millis(30);
    let error = open(backend).map(|_| ()).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Server);
    for word in
        ["After 300ms, no server has the model known ready", &name, "Connection refused", "server-timeout"]
    {
        assert!(error.message.contains(word), "{error}");
    }
    let mut unknown = super::rig::backend("grpc://nowhere.invalid:8001");
    unknown.timeout = std::time::Duration::from_millis(300);
    let error = open(unknown).map(|_| ()).unwrap_err();
    assert!(error.message.contains("nowhere.invalid:8001 (its host name cannot be resolved"), "{error}");
}

#[test]
fn waiting_for_a_server_can_be_interrupted() {
    let double = Double::start(Model { ready: false, ..Model::default() });
    let cancel = gstrtmpose::engine::Cancel::default();
    let (opening, cancelled) = (backend(&double.name()), cancel.clone());
    let waiting = std::thread::spawn(move || super::rig::open_with(opening, &cancelled).map(|_| ()));
    while double.paths().is_empty() {
        std::thread::yield_now();
    }
    cancel.cancel();
    assert_eq!(waiting.join().unwrap().unwrap_err().kind, ErrorKind::Cancelled);
}

#[test]
fn servers_with_different_models_are_refused() {
    let one = Double::start(Model::default());
    let side = SIDE as i64;
    let other = Double::start(Model {
        inputs: vec![tensor("image", "UINT8", &[-1, 2 * side, side, 3])],
        ..Model::default()
    });
    let error = open(backend(&names(&[&one, &other]))).map(|_| ()).unwrap_err();
    assert!(error.message.contains("differs from the other servers'"), "{error}");
}

/// A server with mmdeploy's own file: floats in, SimCC out. The peak of x lies at the red of the crop's first
/// pixel before it was normalised.
pub fn official_at(at: SocketAddr) -> Double {
    let side = SIDE as i64;
    let model = Model {
        inputs: vec![tensor("input", "FP32", &[-1, 3, side, side])],
        outputs: vec![
            tensor("simcc_x", "FP32", &[-1, 1, 2 * side]),
            tensor("simcc_y", "FP32", &[-1, 1, 2 * side]),
        ],
        ..Model::default()
    };
    let make = || -> super::double::Compute {
        Box::new(|bytes, rows| {
            let bins = 2 * SIDE;
            let floats: Vec<f32> =
                bytes.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
            let red = |row: usize| floats[row * 3 * SIDE * SIDE] * 58.395 + 123.675;
            let mut answer = vec![0.0; rows * 2 * bins];
            for row in 0..rows {
                let bin = red(row).round() as usize;
                answer[row * bins + bin.min(bins - 1)] = 0.75;
                answer[rows * bins + row * bins + 1] = 0.5;
            }
            answer
        })
    };
    Double::start_at(at, model, None, Some(Box::new(make)))
}

/// The server runs the file only: normalising and finding peaks happen in this process.
#[test]
fn an_official_file_on_a_server_is_served_from_here() {
    let mut double = Double::start(Model::default());
    let at = double.at;
    double.kill();
    let double = official_at(at);
    let rig = open(backend(&double.name())).unwrap();
    let warned = |event: &LoadEvent| matches!(event, LoadEvent::Warning(text) if text.contains("four times as large as the images' bytes"));
    assert_eq!(rig.told.iter().filter(|event| warned(event)).count(), 1, "{:?}", rig.told);
    for red in [0, 3, 7] {
        let mut crop = crop(9);
        crop[0] = red;
        let pending = rig.submit(&crop);
        assert_eq!(rig.answer(&pending).unwrap(), [f32::from(red) / 2.0, 0.5, 0.75, 0.5]);
    }
}
