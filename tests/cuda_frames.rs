//! Frames that stay on an NVIDIA GPU: ignored by default, `cargo test --release --test cuda_frames -- --ignored` runs them
//! where GStreamer's plugin nvcodec is. `src/video/cuda/tests.rs` tests the kernels' arithmetic without a GPU.

mod common;

use std::sync::OnceLock;

use common::{
    card::{harness_on_cards, is_alone, lose_the_card, stop_after_an_error},
    errors_and_warnings, init,
};
use cudarc::driver::{CudaContext, result};
use gst::prelude::*;
use gstrtmpose::{pose::KeyPoint, video::cuda};

const CARD: &str = "video/x-raw(memory:CUDAMemory)";
/// Batches of one crop, so that the numbers do not depend on what shares a batch. The network is loaded once,
/// for all tests.
const POSE: &str =
    "rtmposebatch name=pose execution-provider=cuda precision=fp32 batch-size=1 model-instance-id=frames";

/// Keeps the network of `POSE` loaded.
fn keep_network() {
    static KEEPER: OnceLock<gst::Element> = OnceLock::new();
    init();
    KEEPER.get_or_init(|| {
        let keeper = gst::parse::launch(POSE).unwrap();
        keeper.set_state(gst::State::Ready).unwrap();
        keeper
    });
}

/// What a pipeline's sink received.
struct Ended {
    samples: Vec<gst::Sample>,
    errors: Vec<String>,
    warnings: Vec<String>,
}

/// Plays `line`, which ends in `appsink name=sink`, to its end. Calls `before` in NULL.
fn play_with(line: &str, before: impl FnOnce(&gst::Pipeline)) -> Ended {
    init();
    let pipeline = gst::parse::launch(line).unwrap().downcast::<gst::Pipeline>().unwrap();
    let bus = pipeline.bus().unwrap();
    stop_after_an_error(&pipeline);
    let sink = pipeline.by_name("sink").unwrap().downcast::<gst_app::AppSink>().unwrap();
    sink.set_property("sync", false);
    before(&pipeline);
    let started = pipeline.set_state(gst::State::Playing);
    let mut samples = Vec::new();
    if started.is_ok() {
        while let Ok(sample) = sink.pull_sample() {
            samples.push(sample);
        }
    }
    pipeline.set_state(gst::State::Null).unwrap();
    let (errors, warnings) = errors_and_warnings(&bus);
    Ended { samples, errors, warnings }
}

fn play(line: &str) -> Vec<gst::Sample> {
    keep_network();
    let Ended { samples, errors, warnings } = play_with(line, |_| ());
    assert_eq!((errors, warnings), (vec![], vec![]), "{line}");
    samples
}

/// The picture in docs as a stream of `frames` frames.
fn picture(frames: usize, caps: &str) -> String {
    format!(
        "multifilesrc location=docs/demo.jpg num-buffers={frames} caps=image/jpeg,framerate=30/1 ! jpegdec ! \
         videoconvertscale ! video/x-raw,{caps}"
    )
}

/// Key points of all people of a frame.
fn people(sample: &gst::Sample) -> Vec<Vec<KeyPoint>> {
    let people = common::people(sample.buffer().unwrap()).expect("the frame was inferred");
    people.people.into_iter().map(|person| person.key_points).collect()
}

fn is_on_a_card(sample: &gst::Sample) -> bool {
    let features = sample.caps().unwrap().features(0).unwrap();
    features.contains(cuda::FEATURE) && cuda::is_on_a_card(sample.buffer().unwrap())
}

#[test]
#[ignore = "needs an NVIDIA GPU and GStreamer's nvcodec"]
fn frames_on_a_card_show_the_same_people() {
    for (width, height) in [(1280, 720), (642, 362)] {
        for format in ["NV12", "RGBA", "BGRA", "RGBx", "BGRx"] {
            for more in ["inference-region=full-frame", "inference-scale=0.65", "smoothing=one-euro"] {
                let source = picture(6, &format!("format={format},width={width},height={height}"));
                let host = play(&format!("{source} ! {POSE} {more} ! appsink name=sink"));
                let card =
                    play(&format!("{source} ! cudaupload ! {CARD} ! {POSE} {more} ! appsink name=sink"));
                assert_eq!((host.len(), card.len()), (6, 6));
                assert!(card.iter().all(is_on_a_card) && !host.iter().any(is_on_a_card));
                let found: usize = host.iter().map(|sample| people(sample).len()).sum();
                assert!(found >= 6, "{found} people in 6 frames of {format}, {more}");
                for (host, card) in host.iter().zip(&card) {
                    assert_eq!(people(host), people(card), "{width}x{height} {format} {more}");
                    assert_eq!(host.buffer().unwrap().pts(), card.buffer().unwrap().pts());
                }
            }
        }
    }
}

#[test]
#[ignore = "needs an NVIDIA GPU and GStreamer's nvcodec"]
fn ten_bits_show_the_people_of_eight() {
    let frames = |format: &str, upload: &str, region: &str| {
        let source = picture(2, &format!("format={format},width=1280,height=720"));
        play(&format!("{source} ! {upload} {POSE} inference-region={region} ! appsink name=sink"))
    };
    for region in ["full-frame", "track"] {
        let (eight, ten) =
            (frames("NV12", "", region), frames("P010_10LE", &format!("cudaupload ! {CARD} !"), region));
        assert_eq!(eight.len(), ten.len());
        for (eight, ten) in eight.iter().zip(&ten) {
            let caps = (eight.caps().unwrap(), ten.caps().unwrap());
            let (eight, ten) = (people(eight), people(ten));
            // A person at the threshold of the search may be found in one of them only.
            let (fewer, more) = if eight.len() < ten.len() { (&eight, &ten) } else { (&ten, &eight) };
            assert!(!fewer.is_empty() && more.len() - fewer.len() <= 1, "{caps:?}\n{eight:?}\n{ten:?}");
            let apart = |a: &[KeyPoint], b: &[KeyPoint]| {
                a.iter().zip(b).map(|(a, b)| (a.x - b.x).hypot(a.y - b.y)).sum::<f32>()
            };
            let nearest = |one: &Vec<KeyPoint>| {
                more.iter().min_by(|a, b| apart(one, a).total_cmp(&apart(one, b))).unwrap()
            };
            let points = fewer.iter().flat_map(|one| one.iter().zip(nearest(one)));
            let sure: Vec<_> = points.filter(|(a, _)| a.score > 0.5).collect();
            // Where two places are about equally likely, the smallest change of the picture decides.
            let far = sure.iter().filter(|(a, b)| (a.x - b.x).hypot(a.y - b.y) > 8.0).count();
            assert!(
                far * 20 <= sure.len(),
                "{far} of {} points are apart, {caps:?}\n{eight:?}\n{ten:?}",
                sure.len()
            );
        }
    }
}

/// Frames in CUDA memory leave unchanged. They cannot be pixelated yet, and must not leave unpixelated.
#[test]
#[ignore = "needs an NVIDIA GPU and GStreamer's nvcodec"]
fn hiding_faces_is_refused_on_a_card() {
    init();
    let source = picture(2, "format=NV12,width=640,height=360");
    let line = format!("{source} ! cudaupload ! {CARD} ! rtmposeoverlay redact=faces ! fakesink");
    let pipeline = gst::parse::launch(&line).unwrap();
    let _ = pipeline.set_state(gst::State::Playing);
    let bus = pipeline.bus().unwrap();
    let message = common::patience::message(&bus, &[gst::MessageType::Error, gst::MessageType::Eos]);
    pipeline.set_state(gst::State::Null).unwrap();
    let text = match message.as_ref().map(|message| message.view()) {
        Some(gst::MessageView::Error(error)) => error.error().to_string(),
        other => panic!("it was not refused: {other:?}"),
    };
    assert!(
        text.contains("redact needs frames in system memory: put cudadownload upstream of this element"),
        "{text}"
    );
}

#[test]
#[ignore = "needs an NVIDIA GPU and GStreamer's nvcodec"]
fn frames_go_on_unchanged() {
    for format in ["NV12", "RGBA"] {
        let source = format!(
            "videotestsrc num-buffers=20 pattern=ball ! video/x-raw,format={format},width=640,height=360"
        );
        let rgb = "videoconvert ! video/x-raw,format=RGB ! appsink name=sink";
        let host = play(&format!("{source} ! {rgb}"));
        let card = play(&format!("{source} ! cudaupload ! {CARD} ! {POSE} ! cudadownload ! {rgb}"));
        let bytes = |sample: &gst::Sample| sample.buffer().unwrap().map_readable().unwrap().to_vec();
        assert_eq!((host.len(), card.len()), (20, 20));
        assert!(host.iter().zip(&card).all(|(host, card)| bytes(host) == bytes(card)), "{format}");
        assert!(bytes(&host[0]) != bytes(&host[10]), "the frames differ");
    }
}

/// The overlay draws the same picture in CUDA memory as in system memory.
#[test]
#[ignore = "needs an NVIDIA GPU and GStreamer's nvcodec"]
fn people_are_drawn_on_the_card() {
    for format in ["NV12", "RGBA"] {
        let source = picture(3, &format!("format={format},width=1280,height=720"));
        let draw = "rtmposeoverlay draw-box=true";
        let plain = play(&format!("{source} ! appsink name=sink"));
        let host = play(&format!("{source} ! {POSE} ! {draw} ! appsink name=sink"));
        let card = play(&format!(
            "{source} ! cudaupload ! {CARD} ! {POSE} ! {draw} ! cudadownload ! video/x-raw ! appsink name=sink"
        ));
        let bytes = |sample: &gst::Sample| sample.buffer().unwrap().map_readable().unwrap().to_vec();
        for ((host, card), plain) in host.iter().zip(&card).zip(&plain) {
            let (host, card, plain) = (bytes(host), bytes(card), bytes(plain));
            assert_eq!((host.len(), plain.len()), (card.len(), card.len()));
            let apart = host.iter().zip(&card).map(|(a, b)| a.abs_diff(*b)).max().unwrap();
            assert!(apart <= 2, "{format}: {apart} grey levels");
            assert!(host != plain);
        }
    }
}

/// Frames from another element's context, which the test pushes into ours.
#[test]
#[ignore = "needs an NVIDIA GPU and GStreamer's nvcodec"]
fn frames_of_another_context_are_copied_with_one_warning() {
    let source = picture(6, "format=NV12,width=1280,height=720");
    let host = play(&format!("{source} ! {POSE} inference-region=full-frame ! appsink name=sink"));
    let card = play(&format!("{source} ! cudaupload ! {CARD} ! appsink name=sink"));
    let element = gst::parse::launch(&format!("{POSE} inference-region=full-frame")).unwrap();
    let bus = gst::Bus::new();
    element.set_bus(Some(&bus));
    let mut harness = gst_check::Harness::with_element(&element, Some("sink"), Some("src"));
    harness.set_live(false);
    harness.set_src_caps(card[0].caps_owned().unwrap());
    harness.play();
    for (host, card) in host.iter().zip(&card) {
        harness.push(card.buffer_owned().unwrap()).unwrap();
        let found = common::people(&harness.pull().unwrap()).expect("it was inferred").people;
        let found: Vec<_> = found.into_iter().map(|person| person.key_points).collect();
        assert_eq!(people(host), found);
    }
    element.set_state(gst::State::Null).unwrap();
    let (errors, warnings) = errors_and_warnings(&bus);
    assert_eq!((errors.len(), warnings.len()), (0, 1), "{errors:?} {warnings:?}");
    assert!(warnings[0].contains("each is copied"), "{warnings:?}");
}

/// In mid-stream frames come in CUDA memory, then in system memory again.
#[test]
#[ignore = "needs an NVIDIA GPU and GStreamer's nvcodec"]
fn frames_may_change_between_card_and_system_memory() {
    let source = picture(4, "format=NV12,width=640,height=360");
    let host = play(&format!("{source} ! appsink name=sink"));
    let card = play(&format!("{source} ! cudaupload ! {CARD} ! appsink name=sink"));
    keep_network();
    let element = gst::parse::launch(&format!("{POSE} inference-region=full-frame")).unwrap();
    let mut harness = gst_check::Harness::with_element(&element, Some("sink"), Some("src"));
    harness.set_live(false);
    harness.set_src_caps(host[0].caps_owned().unwrap());
    harness.play();
    let mut found = Vec::new();
    for samples in [&host, &card, &host, &card] {
        let caps = gst::event::Caps::new(&samples[0].caps_owned().unwrap());
        assert!(harness.push_event(caps));
        for sample in samples {
            harness.push(sample.buffer_owned().unwrap()).unwrap();
            let buffer = harness.pull().unwrap();
            assert_eq!(cuda::is_on_a_card(&buffer), is_on_a_card(sample));
            found.push(common::people(&buffer).expect("it was inferred").people[0].key_points.clone());
        }
    }
    assert_eq!(found.len(), 16);
    for (index, points) in found.iter().enumerate() {
        assert_eq!(*points, found[0], "frame {index}");
    }
    element.set_state(gst::State::Null).unwrap();
}

/// Seeks drop queued frames and runs, again and again.
#[test]
#[ignore = "needs an NVIDIA GPU and GStreamer's nvcodec"]
fn flushes_while_crops_are_sampled_lose_nothing_that_comes_after() {
    init();
    let line = format!(
        "videotestsrc name=source pattern=ball num-buffers=100000 ! video/x-raw,format=NV12,width=640,height=360 ! cudaupload ! \
         {CARD} ! rtmposebatch execution-provider=cuda inference-region=full-frame ! appsink name=sink sync=false"
    );
    let pipeline = gst::parse::launch(&line).unwrap().downcast::<gst::Pipeline>().unwrap();
    stop_after_an_error(&pipeline);
    let sink = pipeline.by_name("sink").unwrap().downcast::<gst_app::AppSink>().unwrap();
    pipeline.set_state(gst::State::Playing).unwrap();
    for round in 0..100u64 {
        for _ in 0..round % 7 + 1 {
            let sample = sink.pull_sample().unwrap();
            assert_eq!(people(&sample).len(), 1);
        }
        let to = gst::ClockTime::from_mseconds(1000 * (round * 31 % 17));
        pipeline.seek_simple(gst::SeekFlags::FLUSH, to).unwrap();
        let sample = sink.pull_sample().unwrap();
        assert_eq!((people(&sample).len(), sample.buffer().unwrap().pts()), (1, Some(to)));
    }
    pipeline.set_state(gst::State::Null).unwrap();
    let (errors, warnings) = errors_and_warnings(&pipeline.bus().unwrap());
    assert_eq!((errors, warnings), (vec![], vec![]));
}

/// VIDEO: H.264 in MP4, over 100 frames, with people. The video that the set-up fetches is VP9 in 4:4:4, which NVDEC does not
/// decode.
fn video() -> Option<String> {
    let video = std::env::var("VIDEO").ok();
    if video.is_none() {
        eprintln!("not played: VIDEO names no file (H.264 in MP4, over 100 frames, with people)");
    }
    video
}

/// VIDEO from the GPU's decoder: also with few surfaces, of which other elements keep some.
#[test]
#[ignore = "needs an NVIDIA GPU and GStreamer's nvcodec"]
fn a_decoders_frames_never_leave_the_card() {
    let Some(video) = video() else { return };
    let decoded = format!("filesrc location={video} ! qtdemux ! h264parse ! nvh264dec");
    let pose = "rtmposebatch execution-provider=cuda batch-size=8";
    let host = play(&format!("{decoded} ! video/x-raw,format=NV12 ! {pose} ! appsink name=sink"));
    let card = play(&format!("{decoded} ! {pose} ! queue ! appsink name=sink max-buffers=1"));
    assert_eq!(host.len(), card.len());
    assert!(host.len() > 100 && card.iter().all(is_on_a_card));
    let counts = |samples: &[gst::Sample]| samples.iter().map(|sample| people(sample).len()).sum::<usize>();
    let (on_the_host, on_the_card) = (counts(&host), counts(&card));
    assert!(on_the_host > 0);
    // From run to run crops share other batches, which moves points by rounding, and the search finds a newcomer earlier or later.
    assert!(on_the_host.abs_diff(on_the_card) * 10 <= on_the_host, "{on_the_host} and {on_the_card} people");
}

/// A frame of red, green and blue rectangles on grey, as the tiny detectors of `tests/networks` find them, in a file.
fn rectangles(name: &str, width: usize, height: usize) -> std::path::PathBuf {
    let mut pixels = vec![114u8; width * height * 3];
    for channel in 0..3 {
        let (left, top) = (width * (1 + 6 * channel) / 20, height * (1 + channel) / 6);
        for y in top..top + height / 2 {
            for x in left..left + width / 5 {
                let pixel = &mut pixels[(y * width + x) * 3..][..3];
                pixel.fill(0);
                pixel[channel] = 255;
            }
        }
    }
    let file = std::env::temp_dir().join(format!("rtmpose-{name}-{}.ppm", std::process::id()));
    let mut bytes = format!("P6\n{width} {height}\n255\n").into_bytes();
    bytes.extend(pixels);
    std::fs::write(&file, bytes).unwrap();
    file
}

/// Whole frames, fitted into the input: the same boxes. (How the letterbox is sampled is compared in `src/video/cuda/tests`.)
#[test]
#[ignore = "needs an NVIDIA GPU and GStreamer's nvcodec"]
fn a_detector_finds_the_same_boxes_on_a_card() {
    init();
    let regions = |sample: &gst::Sample| {
        let metas = sample.buffer().unwrap().iter_meta::<gst_video::VideoRegionOfInterestMeta>();
        metas.map(|meta| meta.rect()).collect::<Vec<_>>()
    };
    for (width, height) in [(1280, 720), (640, 480), (360, 640)] {
        let file = rectangles("detect", width, height);
        for network in ["yolox-anchors", "rfdetr", "yolox", "yolox-by-class", "rtmdet"] {
            for format in ["NV12", "RGBA"] {
                let line = |upload: &str| {
                    format!(
                        "multifilesrc location={} num-buffers=6 caps=image/x-portable-pixmap,framerate=30/1 ! pnmdec ! \
                         videoconvertscale ! video/x-raw,format={format},width={width},height={height} ! {upload} rtmposedetect \
                         execution-provider=cuda precision=fp32 batch-size=2 model-file=tests/networks/{network}.onnx ! \
                         appsink name=sink",
                        file.display()
                    )
                };
                let played = ["", &format!("cudaupload ! {CARD} !")].map(|upload| {
                    let Ended { samples, errors, .. } = play_with(&line(upload), |_| ());
                    assert_eq!(errors, [""; 0]);
                    samples
                });
                let [host, card] = &played;
                assert_eq!((host.len(), card.len()), (6, 6));
                assert!(card.iter().all(is_on_a_card) && !host.iter().any(is_on_a_card));
                for (host, card) in host.iter().zip(card) {
                    let (host, card) = (regions(host), regions(card));
                    assert_eq!((host.len(), &host), (2, &card), "{network} {width}x{height} {format}");
                }
            }
        }
        std::fs::remove_file(file).unwrap();
    }
}

/// The element is removed from a stream in CUDA memory and inserted again: the stream continues, without a
/// message.
#[test]
#[ignore = "needs an NVIDIA GPU and GStreamer's nvcodec"]
fn an_element_can_be_taken_out_in_mid_stream() {
    keep_network();
    let line = format!(
        "videotestsrc pattern=ball ! video/x-raw,format=NV12,width=640,height=360,framerate=30/1 ! cudaupload ! {CARD} ! \
         identity name=before ! {POSE} inference-region=full-frame ! identity name=behind ! appsink name=sink sync=false \
         max-buffers=4"
    );
    let pipeline = gst::parse::launch(&line).unwrap().downcast::<gst::Pipeline>().unwrap();
    stop_after_an_error(&pipeline);
    let [before, behind] = ["before", "behind"].map(|name| pipeline.by_name(name).unwrap());
    let sink = pipeline.by_name("sink").unwrap().downcast::<gst_app::AppSink>().unwrap();
    pipeline.set_state(gst::State::Playing).unwrap();
    let mut pose = pipeline.by_name("pose").unwrap();
    let next = |inferred: bool| {
        // Frames that were on their way come first.
        for _ in 0..200 {
            let sample = sink.pull_sample().unwrap();
            assert!(is_on_a_card(&sample));
            if common::people(sample.buffer().unwrap()).is_some() == inferred {
                return;
            }
        }
        panic!("no frame comes that was{} inferred", if inferred { "" } else { " not" });
    };
    // Changes the pipeline while no frame passes that pad.
    let change = |what: Box<dyn Fn() + Send + Sync>| {
        let (done, is_done) = std::sync::mpsc::channel();
        let pad = before.static_pad("src").unwrap();
        pad.add_probe(gst::PadProbeType::BLOCK_DOWNSTREAM, move |_, _| {
            what();
            done.send(()).unwrap();
            gst::PadProbeReturn::Remove
        });
        // The probe is called only while frames flow.
        while is_done.try_recv().is_err() {
            let _ = sink.try_pull_sample(gst::ClockTime::from_mseconds(1));
        }
    };
    for _ in 0..5 {
        next(true);
        let (pipeline_, before_, behind_, pose_) =
            (pipeline.clone(), before.clone(), behind.clone(), pose.clone());
        change(Box::new(move || {
            before_.unlink(&pose_);
            pose_.unlink(&behind_);
            pipeline_.remove(&pose_).unwrap();
            before_.link(&behind_).unwrap();
        }));
        // Stops while the network still has or keeps frames.
        pose.set_state(gst::State::Null).unwrap();
        next(false);
        pose = gst::parse::launch(&format!("{POSE} inference-region=full-frame")).unwrap();
        let (pipeline_, before_, behind_, pose_) =
            (pipeline.clone(), before.clone(), behind.clone(), pose.clone());
        change(Box::new(move || {
            before_.unlink(&behind_);
            pipeline_.add(&pose_).unwrap();
            gst::Element::link_many([&before_, &pose_, &behind_]).unwrap();
            pose_.sync_state_with_parent().unwrap();
        }));
    }
    pipeline.set_state(gst::State::Null).unwrap();
    assert_eq!(errors_and_warnings(&pipeline.bus().unwrap()), (vec![], vec![]));
}

/// VIDEO, from a decoder with as few spare surfaces as possible: frames that the element keeps must not stall
/// the decoder.
#[test]
#[ignore = "needs an NVIDIA GPU and GStreamer's nvcodec"]
fn a_decoder_without_spare_surfaces_does_not_stall() {
    keep_network();
    let Some(video) = video() else { return };
    const SURFACES: &str = "num-output-surfaces";
    let made = gst::ElementFactory::make("nvh264dec").build().unwrap();
    if made.find_property(SURFACES).is_none() {
        eprintln!("not played: nvh264dec of this GStreamer has no {SURFACES}");
        return;
    }
    let frames = |properties: &str, pose: &str| {
        let line = format!(
            "filesrc location={video} ! qtdemux ! h264parse ! nvh264dec {properties} ! {CARD} ! {pose} queue \
             max-size-buffers=8 ! appsink name=sink max-buffers=1"
        );
        play(&line).len()
    };
    let all = frames("", "");
    for pose in [
        "rtmposebatch execution-provider=cuda batch-size=8 input-queue-size=40 !",
        "rtmposebatch execution-provider=cuda batch-size=1 !",
    ] {
        assert_eq!(frames(&format!("{SURFACES}=1"), pose), all, "{pose}");
    }
}

/// `examples/cameras.rs --gpu` (CAMERAS names the program) with VIDEO and a test picture.
#[test]
#[ignore = "needs an NVIDIA GPU and GStreamer's nvcodec"]
fn the_example_of_cameras_leaves_frames_on_the_card() {
    init();
    let Ok(program) = std::env::var("CAMERAS") else {
        eprintln!("not played: CAMERAS names no program (target/release/examples/cameras)");
        return;
    };
    let Some(video) = video() else { return };
    // A sink that takes frames in CUDA memory only.
    let sink = "capsfilter caps=video/x-raw(memory:CUDAMemory) ! fakesink";
    let output = std::process::Command::new(program)
        .args([&video, "test:ball", "--gpu", "--seconds", "20", "--sink", sink])
        .output()
        .unwrap();
    let text =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    eprintln!("{text}");
    assert!(output.status.success());
    assert!(text.contains("input 1: ended after ") && !text.contains("again in"), "{text}");
}

/// After starts and stops the GPU's free memory is as after the first ones.
#[test]
#[ignore = "needs an NVIDIA GPU and GStreamer's nvcodec"]
fn starts_and_stops_leave_nothing_on_the_card() {
    let rounds = std::env::var("ROUNDS").map_or(20, |rounds| rounds.parse().unwrap());
    let context = CudaContext::new(0).unwrap();
    let free = || {
        context.bind_to_thread().unwrap();
        result::mem_get_info().unwrap().0
    };
    let source = "videotestsrc num-buffers=8 ! video/x-raw,format=NV12,width=640,height=360";
    let line = format!(
        "{source} ! cudaupload ! {CARD} ! rtmposebatch execution-provider=cuda batch-size=2 \
         model-file=tests/networks/dots-small.onnx ! appsink name=sink"
    );
    let mut after = Vec::new();
    for _ in 0..rounds {
        assert_eq!(play(&line).len(), 8);
        after.push(free());
    }
    eprintln!("free after each: {after:?}");
    // The memory that is kept for the next start is allocated after a few starts.
    let settled = after[rounds / 2];
    assert!(after[rounds - 1] + (4 << 20) >= settled, "{after:?}");
}

/// Crops of frames in the memory of a lost GPU cannot be fetched. The frames leave without metadata, and none
/// is lost.
#[test]
#[ignore = "needs an NVIDIA GPU and GStreamer's nvcodec"]
fn frames_on_a_lost_card_go_on_without_people() {
    if !is_alone("frames_on_a_lost_card_go_on_without_people") {
        return;
    }
    let source = "videotestsrc num-buffers=60 ! video/x-raw,format=NV12,width=640,height=360";
    let frames = play(&format!("{source} ! cudaupload ! {CARD} ! appsink name=sink"));
    let caps = frames[0].caps_owned().unwrap();
    let (mut harness, element, bus) = harness_on_cards(caps, &[("on-error", "passthrough")]);
    let push = |harness: &mut gst_check::Harness, frames: &[gst::Sample]| {
        frames.iter().for_each(|frame| assert!(harness.push(frame.buffer_owned().unwrap()).is_ok()));
    };
    push(&mut harness, &frames[..20]);
    for _ in 0..12 {
        assert!(common::people(&harness.pull().unwrap()).is_some());
    }
    lose_the_card(0);
    push(&mut harness, &frames[20..]);
    assert!(harness.push_event(gst::event::Eos::new()));
    let rest: Vec<_> = (12..60).map(|_| harness.pull().unwrap()).collect();
    assert_eq!(rest.iter().filter_map(|buffer| buffer.pts()).collect::<Vec<_>>().len(), 48);
    assert!(rest[8..].iter().all(|buffer| common::people(buffer).is_none()));
    element.set_state(gst::State::Null).unwrap();
    let (errors, warnings) = errors_and_warnings(&bus);
    eprintln!("{warnings:#?}");
    assert_eq!(errors, [""; 0]);
    assert!(warnings.iter().any(|warning| warning.contains("frames pass without metadata")), "{warnings:?}");
}
