//! `examples/cameras.rs` as a program.

mod network_rig;
#[path = "../examples/support/pipeline.rs"]
#[allow(dead_code, reason = "the program uses the rest")]
mod pipeline;

use std::{
    io::Read,
    path::{Path, PathBuf},
    process::Command,
};

use gst::prelude::*;
use network_rig::{
    init, network,
    process::{Folder, Running, example, run, text, watched},
};

const FRAMES: u32 = 30;

/// The program with a tiny network and one crop a frame, the whole frame.
fn cameras() -> Command {
    let mut command = example("cameras");
    let model = network("dots-small");
    command.arg("--pose");
    command.arg(format!("execution-provider=cpu inference-region=full-frame model-file={}", model.display()));
    command
}

/// A short video.
fn clip(folder: &Folder, name: &str) -> PathBuf {
    let file = folder.path().join(name);
    assert!(is_written(&file, "identity"), "{name}");
    file
}

/// Writes a short video through these elements. Returns whether it came to its end.
fn is_written(file: &Path, elements: &str) -> bool {
    init();
    let line = format!(
        "videotestsrc num-buffers={FRAMES} ! video/x-raw,format=I420,width=64,height=48,framerate=30/1 ! {elements} ! \
         matroskamux ! filesink location={}",
        file.display()
    );
    let pipeline = gst::parse::launch(&line).unwrap();
    let bus = pipeline.bus().unwrap();
    pipeline.set_state(gst::State::Playing).unwrap();
    let end = bus.timed_pop_filtered(gst::ClockTime::NONE, &[gst::MessageType::Eos, gst::MessageType::Error]);
    pipeline.set_state(gst::State::Null).unwrap();
    end.unwrap().type_() == gst::MessageType::Eos
}

#[test]
fn an_input_that_failed_comes_back_and_files_end_the_program() {
    let output = watched("the program", || {
        let folder = Folder::new("cameras");
        let clip = clip(&folder, "clip.mkv");
        let later = folder.path().join("later.mkv");
        let mut command = cameras();
        command.args([&clip, &later]).args(["--sink", "fakesink", "--retry", "0.05"]);
        let mut program = Running::start(command);
        let mut output = String::new();
        let mut failures = 0;
        while let Some(line) = program.line() {
            if line.starts_with("input 2:") && line.contains("again in") {
                failures += 1;
                // Each wait is twice as long as the previous one.
                assert!(line.contains(["", "0.1 s", "0.1 s", "0.2 s"][failures.min(3)]), "{line}");
                if failures == 3 {
                    std::fs::rename(&clip, &later).unwrap();
                }
            }
            output += &format!("{line}\n");
        }
        assert!(program.0.wait().unwrap().success(), "{output}");
        output
    });
    assert!(output.contains(&format!("input 1: ended after {FRAMES} frames")), "{output}");
    assert!(output.contains(&format!("input 2: ended after {FRAMES} frames")), "{output}");
    let all = 2 * FRAMES;
    assert!(output.contains(&format!("{all} frames in ")), "{output}");
    assert!(output.contains(&format!("; {all} crops, ")), "one network for both: {output}");
}

/// One detector for all inputs. It finds no people in these pictures, so none are searched.
#[test]
fn a_detector_is_shared_and_asked_first() {
    let folder = Folder::new("cameras-detector");
    let clip = clip(&folder, "clip.mkv");
    let run_with = |detector: &str| {
        let mut command = example("cameras");
        command.args([&clip, &clip]).args(["--sink", "fakesink"]);
        command
            .arg("--pose")
            .arg(format!("execution-provider=cpu model-file={}", network("dots-small").display()));
        command.arg("--detector");
        command.arg(format!(
            "execution-provider=cpu score-threshold=1 model-file={}",
            network(detector).display()
        ));
        run(command)
    };
    let output = run_with("yolox");
    let all = text(&output);
    assert!(output.status.success(), "{all}");
    assert!(all.contains(&format!("{} frames in ", 2 * FRAMES)) && all.contains("; 0 crops, "), "{all}");
    let output = run_with("dots-small");
    assert!(!output.status.success());
    assert!(text(&output).contains("is a pose model (RTMPose)"), "{}", text(&output));
}

#[test]
fn a_wall_of_live_inputs_ends_after_its_seconds() {
    let mut command = cameras();
    command.args(["test:", "test:ball", "--wall", "--sink", "fakesink", "--seconds", "1"]);
    let output = run(command);
    assert!(output.status.success(), "{}", text(&output));
}

#[test]
fn a_camera_that_is_away_is_told_of_without_its_password() {
    let text = watched("a camera that is away", || {
        let mut command = cameras();
        command.args(["test:", "test:ball", "rtsp://viewer:se:cr@t/1@127.0.0.1:9/live?pwd=secret&channel=1"]);
        // Figures come often enough to fall into the waits of 0.3, 0.6 and 1.2 s.
        command.args(["--wall", "--sink", "fakesink", "--figures", "0.1", "--retry", "0.3"]);
        let mut program = Running::start(command);
        let mut text = String::new();
        while !(text.contains("again in 0.3 s") && text.contains(", 3: away); ")) {
            text += &format!("{}\n", program.line().unwrap_or_else(|| panic!("it ended: {text}")));
        }
        text
    });
    assert!(text.contains("input 3: rtsp://viewer:***@127.0.0.1:9/live?pwd=***&channel=1\n"), "{text}");
    for secret in ["se:cr", "t/1", "secret"] {
        assert!(!text.contains(secret), "{text}");
    }
}

#[test]
fn the_wall_holds_every_input_whatever_size_its_sink_wants() {
    const SIZE: (usize, usize) = (64, 36);
    let folder = Folder::new("cameras-wall");
    // A pipe: the program runs until its pictures are as expected.
    let file = folder.path().join("wall.raw");
    assert!(Command::new("mkfifo").arg(&file).status().unwrap().success());
    let (width, height) = SIZE;
    let mut command = cameras();
    command.args(["test:red", "test:green", "test:blue", "--wall", "--sink"]).arg(format!(
        "videoscale ! video/x-raw,width={width},height={height} ! videoconvert ! video/x-raw,format=RGB ! \
         filesink location={}",
        file.display()
    ));
    // A pixel near the lower right corner of each quarter, where nothing is drawn.
    let quarters = move |frame: &[u8]| {
        [(1, 1), (2, 1), (1, 2), (2, 2)].map(|(column, row)| {
            let (x, y) = (column * width / 2 - 6, row * height / 2 - 4);
            let pixel = &frame[(y * width + x) * 3..][..3];
            [pixel[0] > 128, pixel[1] > 128, pixel[2] > 128]
        })
    };
    let colours = [[true, false, false], [false, true, false], [false, false, true], [false; 3]];
    watched("a wall of colours", move || {
        let _program = Running::start(command);
        let mut pictures = std::fs::File::open(file).unwrap();
        let mut picture = vec![0; width * height * 3];
        // The first pictures are black until the inputs have started.
        while quarters(&picture) != colours {
            pictures.read_exact(&mut picture).expect("the program goes on");
        }
    });
}

#[test]
fn what_cannot_work_ends_with_a_status_and_the_message() {
    let failing = |mut command: Command, arguments: &[&str]| {
        command.args(arguments);
        let output = run(command);
        assert!(!output.status.success(), "{}", text(&output));
        text(&output)
    };
    let model = failing(example("cameras"), &["test:", "--pose", "model-file=/nowhere.onnx"]);
    assert!(model.contains("error: The model file /nowhere.onnx cannot be read"), "{model}");
    assert!(!model.contains("again in"), "no input is tried without a network: {model}");
    let sink = failing(cameras(), &["test:", "--sink", "nosuchsink"]);
    assert!(sink.contains("nosuchsink"), "{sink}");
    let usage = failing(cameras(), &["--figures", "rtsp://viewer:secret@camera/", "test:"]);
    assert!(usage.contains("rtsp://viewer:***@camera/") && usage.contains("--help"), "{usage}");
}

/// On machines with NVIDIA's elements, tests/cuda_frames.rs tests this option.
#[test]
fn without_nvidias_elements_frames_cannot_stay_on_the_gpu_in_one_sentence() {
    init();
    if gst::ElementFactory::find("cudaupload").is_some() {
        eprintln!("not played: this machine has NVIDIA's elements");
        return;
    }
    let mut command = cameras();
    command.args(["test:", "--gpu", "--sink", "fakesink"]);
    let output = run(command);
    assert!(!output.status.success());
    let text = text(&output);
    let errors: Vec<_> = text.lines().filter(|line| line.starts_with("error: ")).collect();
    assert_eq!(errors.len(), 1, "{text}");
    for part in ["no cudaupload", "plugin nvcodec", "NVIDIA driver", "leave out --gpu"] {
        assert!(errors[0].contains(part), "{part} is missing: {text}");
    }
    assert!(!text.contains("again in"), "no input is tried: {text}");
}

#[test]
fn inputs_can_come_from_a_list() {
    let folder = Folder::new("cameras-list");
    let clip = clip(&folder, "clip.mkv");
    let list = folder.write("list", format!("{}\n\n{}\n", clip.display(), clip.display()));
    let mut command = cameras();
    command.arg(format!("@{}", list.display())).args(["--sink", "fakesink"]);
    let output = run(command);
    assert!(output.status.success() && text(&output).contains(&format!("{} frames in", 2 * FRAMES)));
}

/// Encoders, each of its own codec, and the elements that put their streams into a file.
const CODECS: [&str; 7] = [
    "openh264enc ! h264parse",
    "x265enc ! h265parse",
    "vp8enc",
    "vp9enc",
    "av1enc ! av1parse",
    "theoraenc",
    "jpegenc",
];

/// A short video in a codec; none if this GStreamer has no encoder for it.
fn coded(folder: &Folder, number: usize) -> Option<PathBuf> {
    init();
    let codec = CODECS[number];
    if !codec.split(" ! ").all(|element| gst::ElementFactory::find(element).is_some()) {
        return None;
    }
    let file = folder.path().join(format!("{number}.mkv"));
    is_written(&file, codec).then_some(file)
}

/// The number of frames that decodebin makes of a file; none if it cannot play the file.
fn decoded(file: &Path) -> Option<u64> {
    let line = format!("filesrc location={} ! decodebin ! fakesink name=end sync=false", file.display());
    let pipeline = gst::parse::launch(&line).unwrap().downcast::<gst::Pipeline>().unwrap();
    let bus = pipeline.bus().unwrap();
    pipeline.set_state(gst::State::Playing).unwrap();
    let end = bus.timed_pop_filtered(gst::ClockTime::NONE, &[gst::MessageType::Eos, gst::MessageType::Error]);
    let stats = pipeline.by_name("end").unwrap().property::<gst::Structure>("stats");
    pipeline.set_state(gst::State::Null).unwrap();
    (end.unwrap().type_() == gst::MessageType::Eos).then(|| stats.get("rendered").unwrap())
}

#[test]
fn every_codec_that_decodebin_plays_is_played() {
    let folder = Folder::new("cameras-codecs");
    let files = (0..CODECS.len()).filter_map(|number| coded(&folder, number));
    let files: Vec<_> = files.filter_map(|file| Some((decoded(&file)?, file))).collect();
    println!("{files:?}");
    // The set-up installs elements for these.
    assert!(files.len() >= 4, "{files:?}");
    let mut command = cameras();
    command.args(files.iter().map(|(_, file)| file)).args(["--sink", "fakesink"]);
    let output = run(command);
    let text = text(&output);
    assert!(output.status.success() && !text.contains("again in"), "{text}");
    for (index, (frames, file)) in files.iter().enumerate() {
        let line = format!("input {}: ended after {frames} frames", index + 1);
        assert!(text.contains(&line), "{}: `{line}` is missing in:\n{text}", file.display());
    }
}

/// A decoder that also offers frames of single fields, which caps features mark, as libav's decoders do.
mod featured {
    use gst::{glib, prelude::*, subclass::prelude::*};

    #[derive(Default)]
    pub struct Decoder;

    #[glib::object_subclass]
    impl ObjectSubclass for Decoder {
        const NAME: &'static str = "TestFeaturedDecoder";
        type Type = super::FeaturedDecoder;
        type ParentType = gst::Bin;
    }

    impl ObjectImpl for Decoder {
        fn constructed(&self) {
            self.parent_constructed();
            let bin = self.obj();
            let decoder = gst::ElementFactory::make("jpegdec").build().unwrap();
            bin.add(&decoder).unwrap();
            for name in ["sink", "src"] {
                let template = bin.pad_template(name).unwrap();
                let pad = gst::GhostPad::builder_from_template_with_target(
                    &template,
                    &decoder.static_pad(name).unwrap(),
                );
                bin.add_pad(&pad.unwrap().name(name).build()).unwrap();
            }
        }
    }

    impl GstObjectImpl for Decoder {}

    impl ElementImpl for Decoder {
        fn metadata() -> Option<&'static gst::subclass::ElementMetadata> {
            static METADATA: std::sync::LazyLock<gst::subclass::ElementMetadata> =
                std::sync::LazyLock::new(|| {
                    gst::subclass::ElementMetadata::new("Decoder", "Codec/Decoder/Video", "For a test", "Us")
                });
            Some(&METADATA)
        }

        fn pad_templates() -> &'static [gst::PadTemplate] {
            static TEMPLATES: std::sync::LazyLock<[gst::PadTemplate; 2]> = std::sync::LazyLock::new(|| {
                let template = |name, direction, caps: &str| {
                    let caps = caps.parse::<gst::Caps>().unwrap();
                    gst::PadTemplate::new(name, direction, gst::PadPresence::Always, &caps).unwrap()
                };
                [
                    template("sink", gst::PadDirection::Sink, "image/jpeg"),
                    template("src", gst::PadDirection::Src, "video/x-raw; video/x-raw(format:Interlaced)"),
                ]
            });
            &*TEMPLATES
        }
    }

    impl BinImpl for Decoder {}
}

gst::glib::wrapper! {
    pub struct FeaturedDecoder(ObjectSubclass<featured::Decoder>) @extends gst::Bin, gst::Element, gst::Object;
}

/// Runs the program's decoder in this process.
#[test]
fn a_decoder_that_offers_caps_with_features_is_taken() {
    let folder = Folder::new("cameras-features");
    let file = coded(&folder, 6).expect("the set-up brings jpegenc");
    gst::Element::register(None, "testfeatureddec", gst::Rank::PRIMARY + 100, FeaturedDecoder::static_type())
        .unwrap();
    let line = format!(
        "{} ! videoconvert ! {} ! fakesink name=end",
        pipeline::DECODER,
        network_rig::with_network("dots-small")
    );
    let played = gst::parse::launch(&line).unwrap().downcast::<gst::Pipeline>().unwrap();
    let uri = gst::glib::filename_to_uri(&file, None).unwrap();
    played.by_name("address").unwrap().set_property("uri", uri);
    let bus = played.bus().unwrap();
    played.set_state(gst::State::Playing).unwrap();
    let end = bus.timed_pop_filtered(gst::ClockTime::NONE, &[gst::MessageType::Eos, gst::MessageType::Error]);
    let types: Vec<_> = played
        .iterate_recurse()
        .into_iter()
        .flatten()
        .map(|element| element.type_().name().to_string())
        .collect();
    played.set_state(gst::State::Null).unwrap();
    let end = end.unwrap();
    assert_eq!(end.type_(), gst::MessageType::Eos, "{end:?}");
    assert!(types.iter().any(|name| name == "TestFeaturedDecoder"), "{types:?}");
}

#[test]
fn a_decoder_that_is_missing_is_named_once_and_the_others_play() {
    let folder = Folder::new("cameras-missing");
    let (jpeg, clip) = (coded(&folder, 6).expect("the set-up brings jpegenc"), clip(&folder, "clip.mkv"));
    let kind = gst::ElementFactoryType::DECODER;
    let caps = gst::Caps::builder("image/jpeg").build();
    let decoders: Vec<_> = gst::ElementFactory::factories_with_type(kind, gst::Rank::MARGINAL)
        .into_iter()
        .filter(|factory| factory.can_sink_any_caps(&caps) && factory.name() != "testfeatureddec")
        .map(|factory| format!("{}:NONE", factory.name()))
        .collect();
    let mut command = cameras();
    command.env("GST_PLUGIN_FEATURE_RANK", decoders.join(","));
    command.args([&jpeg, &clip]).args(["--sink", "fakesink", "--retry", "0.05"]);
    let output = run(command);
    let text = text(&output);
    assert!(!output.status.success(), "{text}");
    assert_eq!(text.matches("input 1: this GStreamer lacks: ").count(), 1, "{text}");
    assert!(text.contains("JPEG") && !text.contains("again in"), "{text}");
    assert!(text.contains(&format!("input 2: ended after {FRAMES} frames")), "{text}");
    assert!(text.contains("error: 1 of 2 inputs cannot be played here"), "{text}");
}

/// By this the program distinguishes an input that has failed from an input whose frames the network has not
/// answered yet.
#[test]
fn frames_that_wait_for_the_network_are_told_from_those_that_wait_for_the_sink() {
    init();
    let play = |source: &str, properties: &str, state| {
        let (sender, _) = std::sync::mpsc::channel();
        let network = network_rig::with_network("dots-small");
        let line = format!("{source} ! {network} name=pose {properties} ! fakesink");
        let pipeline = pipeline::Pipeline::parse(&line, None, &sender).unwrap();
        pipeline.0.set_state(state).unwrap();
        pipeline
    };
    // The only frame waits for others to fill its batch.
    let size = "video/x-raw,format=RGB,width=64,height=48,framerate=30/1";
    let waiting = play(
        &format!("appsrc name=frames format=time caps={size}"),
        "batch-timeout=18446744073709551615 adaptive-timeout=false",
        gst::State::Playing,
    );
    assert!(!pipeline::wait_for_network(&waiting.stats()), "nothing has come");
    let frames = waiting.0.by_name("frames").unwrap();
    let buffer = gst::Buffer::with_size(64 * 48 * 3).unwrap();
    assert_eq!(frames.emit_by_name::<gst::FlowReturn>("push-buffer", &[&buffer]), gst::FlowReturn::Ok);
    watched("a frame", move || {
        while waiting.stats().get::<u64>("frames-in").unwrap() == 0 {
            std::thread::yield_now();
        }
        assert!(pipeline::wait_for_network(&waiting.stats()), "{}", waiting.stats());
    });
    // A sink that blocks at its second frame.
    let blocked = play(&format!("videotestsrc ! {size}"), "batch-timeout=0", gst::State::Paused);
    watched("finished frames", move || {
        // The sink holds the first frame, so the next frame stays in the queue.
        blocked.0.state(gst::ClockTime::NONE).0.unwrap();
        while blocked.stats().get::<u32>("output-queue").unwrap() == 0 {
            std::thread::yield_now();
        }
        assert!(!pipeline::wait_for_network(&blocked.stats()));
    });
}
