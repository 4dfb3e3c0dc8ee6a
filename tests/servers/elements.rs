//! The element with servers: the same metadata as from this process, faults in mid-stream, and properties.

use std::sync::Arc;

use gst::prelude::*;
use gst_video::VideoFormat;
use gstrtmpose::{
    engine::{Backend, Executor, Loading, Slot},
    network::{
        check_and_adapt,
        graph::{self, Adaptation, messages::ValueInfo},
    },
    runtime::onnx::{OnnxBackend, Provider},
};

use super::double::{Compute, Double, Fault, Model, tensor};
use crate::network_rig::{
    Rig, init, messages, network, people_of,
    picture::{GREEN, Layout, Picture, RED, WHITE, add_person, video},
};

const SIZE: (u32, u32) = (640, 480);

fn onnx(file: &std::path::Path) -> OnnxBackend {
    let (model_file, provider) = (Some(file.to_path_buf()), Provider::Cpu);
    OnnxBackend { model_file, provider, suppresses_in_the_file: true, ..OnnxBackend::default() }
}

fn open(file: &std::path::Path) -> (gstrtmpose::network::Network, Box<dyn Executor>) {
    let loading = Loading { report: &|_| (), cancelled: &Default::default(), most_crops: 8 };
    onnx(file).open(&loading).unwrap()
}

/// A server that runs a file of `tests/networks`, as the plugin adapts it.
fn serve(name: &str) -> Double {
    serve_at("127.0.0.1:0", name)
}

fn serve_at(at: &str, name: &str) -> Double {
    let file = network(name);
    // The model's description by a server with the file that models/server-repository makes.
    let adapted = check_and_adapt(&std::fs::read(&file).unwrap(), &Adaptation::default()).unwrap();
    let graph = graph::read(adapted.into()).unwrap().graph.unwrap();
    let told = |value: &ValueInfo, datatype| {
        let sides = value.dimensions().into_iter().map(|side| side.unwrap_or(-1)).collect::<Vec<_>>();
        tensor(value.name(), datatype, &sides)
    };
    let fixed = graph.inputs().next().unwrap().dimensions()[0];
    let model = Model {
        inputs: graph.inputs().map(|input| told(input, "UINT8")).collect(),
        outputs: graph.output.iter().map(|output| told(output, "FP32")).collect(),
        most: Some(if fixed.is_some() { 0 } else { 8 }),
        ..Model::default()
    };
    let make = move || -> Compute {
        let (network, mut executor) = open(&file);
        let shape = gstrtmpose::engine::Network::shape(&network);
        Box::new(move |bytes, rows| {
            for (row, crop) in bytes.chunks_exact(shape.crop_bytes()).enumerate() {
                let crop: Box<[u8]> = crop.into();
                executor.load(row, &crop as &dyn Slot);
            }
            let mut answers = vec![0.0; rows * shape.row];
            executor.run(rows, &mut answers).unwrap();
            answers
        })
    };
    Double::start_at(at.parse().unwrap(), model, None, Some(Box::new(make)))
}

pub fn line(servers: &str, properties: &str) -> String {
    format!("rtmposebatch name=pose inference-server={servers} model-name=known {properties}")
}

pub fn start(line: &str) -> Rig {
    let mut rig = Rig::start_bin(line);
    rig.set_video(&video(VideoFormat::Nv12, SIZE.0, SIZE.1));
    rig
}

/// Two people, one of whom walks.
fn frame(number: u32) -> gst::Buffer {
    let x = 100.0 + number as f32 * 3.0;
    let picture = Picture::new(SIZE.0, SIZE.1).dot((x, 200.5), 14.0, WHITE).dot((500.0, 300.0), 20.0, WHITE);
    let mut buffer = picture.frame(&video(VideoFormat::Nv12, SIZE.0, SIZE.1), Layout::Plain);
    add_person(&mut buffer, [x as i32 - 60, 60, 120, 300]);
    add_person(&mut buffer, [400, 150, 200, 250]);
    buffer
}

pub fn pose(rig: &Rig) -> gst::Element {
    rig.element.downcast_ref::<gst::Bin>().unwrap().by_name("pose").unwrap()
}

/// Pushes frames and pulls them all.
pub fn play(rig: &mut Rig, numbers: std::ops::Range<u32>) -> Vec<gst::Buffer> {
    let count = numbers.len();
    numbers.for_each(|number| rig.push(frame(number)));
    rig.cut();
    (0..count).map(|_| rig.pull()).collect()
}

/// Crops for a server must be in system memory. A decoder that offers both is asked for system memory.
#[test]
fn frames_in_cuda_memory_are_not_taken_where_a_server_runs_the_network() {
    let server = serve("dots-small");
    let rig = start(&line(&server.name(), ""));
    let pose = pose(&rig);
    let on_a_gpu: gst::Caps =
        "video/x-raw(memory:CUDAMemory),format=NV12,width=640,height=480,framerate=30/1".parse().unwrap();
    let mut both = on_a_gpu.copy();
    both.merge(video(VideoFormat::Nv12, SIZE.0, SIZE.1).to_caps().unwrap());
    for pad in [pose.static_pad("sink").unwrap(), pose.static_pad("src").unwrap()] {
        let taken = pad.query_caps(Some(&both));
        assert!(!taken.is_empty() && !taken.can_intersect(&on_a_gpu), "{taken}");
    }
    let sink = pose.static_pad("sink").unwrap();
    assert!(!sink.query_accept_caps(&on_a_gpu));
    assert!(!sink.query(&mut gst::query::Context::new("gst.cuda.context")));
    assert_eq!(rig.warnings(), [""; 0]);
}

#[test]
fn the_metadata_is_what_it_is_without_a_server() {
    init();
    for name in ["dots-17", "dots-133-256x192", "vitpose", "packed-3"] {
        let double = serve(name);
        let file = network(name);
        let mut here =
            start(&format!("rtmposebatch name=pose execution-provider=cpu model-file={}", file.display()));
        let mut there = start(&line(&double.name(), "fallback=none"));
        assert_eq!(pose(&there).property::<String>("active-provider"), "server");
        let expected = play(&mut here, 0..20);
        let found = play(&mut there, 0..20);
        for (expected, found) in expected.iter().zip(&found) {
            assert_eq!(expected.pts(), found.pts());
            let (expected, found) = (people_of(expected), people_of(found));
            assert_eq!(expected.people.len(), 2);
            let shape =
                |people: &gstrtmpose::meta::FramePeople| (people.skeleton.clone(), people.source.clone());
            assert_eq!(shape(&expected), shape(&found), "{name}");
            assert_eq!(format!("{:?}", expected.people), format!("{:?}", found.people), "{name}");
        }
        assert!(there.errors().is_empty() && messages(&there.bus, gst::MessageType::Warning).is_empty());
    }
}

/// A red and a green rectangle, which RTMO and the detectors of `tests/networks` find.
fn rectangles() -> gst::Buffer {
    let picture = Picture::filled(SIZE.0, SIZE.1, [114; 3])
        .rectangle([32, 96, 128, 288], RED)
        .rectangle([256, 48, 96, 360], GREEN);
    picture.frame(&video(VideoFormat::Nv12, SIZE.0, SIZE.1), Layout::Plain)
}

#[test]
fn detectors_find_on_a_server_what_they_find_here() {
    init();
    let regions = |buffer: &gst::BufferRef| {
        let region = |meta: gst::MetaRef<gst_video::VideoRegionOfInterestMeta>| {
            format!("{:?} {:?}", meta.rect(), meta.param("detection"))
        };
        buffer.iter_meta().map(region).collect::<Vec<_>>()
    };
    let play = |line: &str| {
        let mut rig = start(line);
        (0..6).for_each(|_| rig.push(rectangles()));
        rig.cut();
        (0..6).map(|_| rig.pull()).collect::<Vec<_>>()
    };
    for name in ["yolox", "yolox-by-class", "yolox-anchors", "yolox-one", "rtmdet", "rfdetr"] {
        let mut double = serve(name);
        let file = network(name);
        let expected = play(&format!("rtmposedetect execution-provider=cpu model-file={}", file.display()));
        let there = |properties: &str| {
            let server = format!("inference-server={} model-name=known", double.name());
            format!("rtmposedetect name=pose {server} {properties}")
        };
        let compare = |found: Vec<gst::Buffer>| {
            for (expected, found) in expected.iter().zip(found) {
                assert_eq!(regions(expected).len(), 2, "{name}");
                assert_eq!(regions(expected), regions(&found), "{name}");
            }
        };
        compare(play(&there("fallback=none")));
        // After the server, the file finds the same boxes here.
        let mut rig = start(&there(&format!("fallback=cpu model-file={}", file.display())));
        let mut more = || {
            (0..6).for_each(|_| rig.push(rectangles()));
            rig.cut();
            (0..6).map(|_| rig.pull()).collect()
        };
        compare(more());
        double.kill();
        compare(more());
        assert_eq!(pose(&rig).property::<String>("active-provider"), "cpu", "{name}");
    }
    let double = serve("rtmo");
    let here =
        format!("rtmposebatch name=pose execution-provider=cpu model-file={}", network("rtmo").display());
    for (expected, found) in play(&here).iter().zip(play(&line(&double.name(), "fallback=none"))) {
        let people = |buffer| format!("{:?}", people_of(buffer).people);
        assert!(!people_of(expected).people.is_empty());
        assert_eq!(people(expected), people(&found));
    }
    // Each element accepts only models for its task.
    let pose = serve("dots-small");
    let error = refusal_of(&format!("rtmposedetect inference-server={} model-name=known", pose.name()));
    assert!(error.contains("is a pose model") && error.contains("use rtmposebatch for it"), "{error}");
}

/// With one server of two, and then with none, no frame is lost. The fallback finds the same people.
#[test]
fn servers_that_go_in_mid_stream_cost_no_frame() {
    init();
    let (mut first, mut second) = (serve("dots-17"), serve("dots-17"));
    let ats = [first.at, second.at];
    let mut here = start(&format!(
        "rtmposebatch name=pose execution-provider=cpu model-file={}",
        network("dots-17").display()
    ));
    let servers = format!("{},{}", first.name(), second.name());
    let mut there = start(&line(&servers, &format!("model-file={}", network("dots-17").display())));
    let mut number = 0;
    let mut same = |here: &mut Rig, there: &mut Rig| {
        let numbers = number..number + 24;
        number += 24;
        for (expected, found) in play(here, numbers.clone()).iter().zip(play(there, numbers)) {
            assert_eq!(expected.pts(), found.pts());
            assert_eq!(
                format!("{:?}", people_of(expected).people),
                format!("{:?}", people_of(&found).people)
            );
        }
    };
    same(&mut here, &mut there);
    first.kill();
    same(&mut here, &mut there);
    second.kill();
    same(&mut here, &mut there);
    same(&mut here, &mut there);
    let warned = messages(&there.bus, gst::MessageType::Warning);
    assert_eq!(warned.len(), 2, "{warned:?}");
    assert!(warned[0].contains("1 of 2 are left"), "{warned:?}");
    assert!(warned[1].contains("so the model runs in this process (cpu)"), "{warned:?}");
    assert_eq!(pose(&there).property::<String>("active-provider"), "cpu");

    let _second = serve_at(&ats[1].to_string(), "dots-17");
    while pose(&there).property::<String>("active-provider") != "server" {
        same(&mut here, &mut there);
    }
    same(&mut here, &mut there);
    let told = messages(&there.bus, gst::MessageType::Info);
    assert!(told.len() == 1 && told[0].contains("is ready: 1 of 2 servers"), "{told:?}");
    assert!(there.errors().is_empty());

    let stats = pose(&there).property::<gst::Structure>("stats");
    let servers = stats.get::<gst::Array>("servers").unwrap();
    let states: Vec<_> = servers
        .iter()
        .map(|server| {
            let server = server.get::<gst::Structure>().unwrap();
            assert!(server.get::<u64>("batches").unwrap() > 0 && server.get::<f64>("ms-p50").unwrap() > 0.0);
            assert_eq!(server.get::<u32>("in-flight").unwrap(), 0);
            (
                server.get::<String>("name").unwrap(),
                server.get::<String>("state").unwrap(),
                server.get::<u64>("failures").unwrap() > 0,
            )
        })
        .collect();
    let expected = [(ats[0], "out"), (ats[1], "ready")];
    assert_eq!(states, expected.map(|(at, state)| (format!("grpc://{at}"), state.to_string(), true)));
}

/// `on-error` decides, as for any inference error.
#[test]
fn a_server_that_refuses_is_an_inference_error() {
    init();
    let double = serve("dots-small");
    let mut rig = start(&line(&double.name(), "fallback=none on-error=passthrough server-timeout=50000000"));
    double.fail(Fault::Refuse);
    let frames = play(&mut rig, 0..24);
    assert!(frames.iter().all(|frame| gstrtmpose::meta::read(frame).next().is_none()), "no metadata");
    let warned = messages(&rig.bus, gst::MessageType::Warning);
    let of_inference: Vec<_> = warned.iter().filter(|text| text.contains("Inference failed")).collect();
    assert_eq!(of_inference.len(), 1, "{warned:?}");
    assert!(of_inference[0].contains("it says: out of order"), "{warned:?}");
}

/// Elements that share an engine share its servers. Each element posts messages on its own bus.
#[test]
fn shared_engines_share_their_servers() {
    init();
    let mut double = serve("dots-small");
    let name = double.name();
    let properties =
        "model-instance-id=shared-servers fallback=none on-error=passthrough server-timeout=50000000";
    let mut rigs = [0, 1].map(|_| start(&line(&name, properties)));
    let before = double.batches().len();
    for rig in &mut rigs {
        play(rig, 0..8);
    }
    assert!(double.batches().len() > before);
    double.kill();
    for rig in &mut rigs {
        play(rig, 8..16);
        let warned = messages(&rig.bus, gst::MessageType::Warning);
        let out: Vec<_> = warned.iter().filter(|text| text.contains("no server is left")).collect();
        assert_eq!(out.len(), 1, "{warned:?}");
    }
}

fn refusal(properties: &str) -> String {
    refusal_of(&format!("rtmposebatch {properties}"))
}

fn refusal_of(line: &str) -> String {
    init();
    let element = gst::parse::launch(line).unwrap();
    let bus = gst::Bus::new();
    element.set_bus(Some(&bus));
    assert!(element.set_state(gst::State::Ready).is_err(), "{line}");
    let errors = messages(&bus, gst::MessageType::Error);
    assert_eq!(errors.len(), 1, "{errors:?}");
    let _ = element.set_state(gst::State::Null);
    errors.into_iter().next().unwrap()
}

#[test]
fn properties_that_do_not_go_together_are_refused_by_name() {
    let servers = "inference-server=grpc://127.0.0.1:1 model-name=known";
    for (properties, words) in [
        (format!("{servers} execution-provider=cuda"), "execution-provider and inference-server are set"),
        (format!("{servers} device-id=1"), "device-id and inference-server are set"),
        (format!("{servers} device-ids=0,1"), "device-ids and inference-server are set"),
        (format!("{servers} precision=fp16"), "precision and inference-server are set"),
        (format!("{servers} gpu-memory-limit=1"), "gpu-memory-limit and inference-server are set"),
        (
            format!("{servers} cudnn-conv-algo-search=default"),
            "cudnn-conv-algo-search and inference-server are set",
        ),
        (
            format!("{servers} model-file=a.onnx fallback=none"),
            "model-file and inference-server are set with fallback=none",
        ),
        ("inference-server=grpc://127.0.0.1:1".to_string(), "model-name is not"),
        ("model-name=known".to_string(), "model-name is set, but has no effect without inference-server"),
        (
            "server-timeout=5000000".to_string(),
            "server-timeout is set, but has no effect without inference-server",
        ),
        (
            "server-metadata=authorization=hunter2".to_string(),
            "server-metadata is set, but has no effect without inference-server",
        ),
        (
            "inference-server=127.0.0.1:1 model-name=known".to_string(),
            "inference-server cannot be used: `127.0.0.1:1`",
        ),
        (format!("{servers} server-metadata=hunter2"), "server-metadata cannot be used: an entry has no ="),
    ] {
        let error = refusal(&properties);
        assert!(error.contains(words) && !error.contains("hunter2"), "{properties}: {error}");
    }
}

/// The secret is also not in the element's most detailed log, in drawings of the pipeline, or in the error of
/// two elements that disagree.
#[test]
fn secrets_are_in_no_log_and_no_drawing() {
    init();
    let double = serve("dots-small");
    let log = Arc::<std::sync::Mutex<String>>::default();
    let written = log.clone();
    let function = gst::log::add_log_function(move |category, _, _, _, _, object, message| {
        if ["rtmposebatch", "rtmpose-onnxruntime"].contains(&category.name()) {
            let mut log = written.lock().unwrap();
            *log += &format!("{object:?} {}\n", message.get().unwrap_or_default());
        }
    });
    // Keeps the detailed log off the terminal.
    gst::log::remove_default_log_function();
    gst::log::set_threshold_for_name("rtmposebatch", gst::DebugLevel::Trace);
    let secret = "server-metadata=authorization=hunter2 fallback=none server-timeout=50000000 model-instance-id=secret";
    let mut rig = start(&line(&double.name(), secret));
    assert_eq!(double.headers()["authorization"], "hunter2");
    double.fail(Fault::Refuse);
    // This frame's run fails with an error, which is logged.
    rig.harness.push(frame(0)).unwrap();
    rig.cut();
    let pipeline = gst::Pipeline::new();
    let other = gst::parse::launch(&line(&double.name(), &secret.replace("hunter2", "hunter3"))).unwrap();
    pipeline.add(&other).unwrap();
    let bus = gst::Bus::new();
    other.set_bus(Some(&bus));
    assert!(other.set_state(gst::State::Ready).is_err());
    let drawing = pipeline.debug_to_dot_data(gst::DebugGraphDetails::all()).to_string();
    let errors = messages(&bus, gst::MessageType::Error);
    assert!(errors.len() == 1 && errors[0].contains("but server-metadata is (secret "), "{errors:?}");
    gst::log::set_threshold_for_name("rtmposebatch", gst::DebugLevel::None);
    gst::log::remove_log_function(function);
    let log = log.lock().unwrap().clone();
    assert!(log.contains("Inference failed"), "the log was written");
    let stats = format!("{:?}", pose(&rig).property::<gst::Structure>("stats"));
    for text in
        [log, drawing, stats, errors.join(" "), messages(&rig.bus, gst::MessageType::Warning).join(" ")]
    {
        assert!(!text.contains("hunter"), "{text}");
    }
    let _ = other.set_state(gst::State::Null);
}
