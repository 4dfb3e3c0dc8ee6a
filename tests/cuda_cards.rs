//! A network on several real NVIDIA GPUs: ignored by default, `cargo test --release --test cuda_cards -- --ignored` runs
//! them. `cards.rs` tests the same with fake GPUs.

mod common;

use common::{
    card::{harness_on_cards, is_alone, lose_the_card, stop_after_an_error},
    errors_and_warnings, init,
};
use cudarc::driver::CudaContext;
use gst::prelude::*;
use gstrtmpose::pose::KeyPoint;

/// Whether the machine has this number of GPUs.
fn has_cards(count: i32) -> bool {
    let found = CudaContext::device_count().unwrap();
    if found < count {
        eprintln!("not played: there are {found} cards, and it takes {count}");
    }
    found >= count
}

/// The picture in docs as a stream of `frames` frames.
fn picture(frames: usize, width: u32, height: u32) -> String {
    format!(
        "multifilesrc location=docs/demo.jpg num-buffers={frames} caps=image/jpeg,framerate=30/1 ! jpegdec ! \
         videoconvertscale ! video/x-raw,format=NV12,width={width},height={height}"
    )
}

const POSE: &str =
    "rtmposebatch name=pose execution-provider=cuda precision=fp32 inference-region=full-frame";

/// The frames that each sink of a pipeline received, in order, with the messages and the statistics.
struct Ended {
    samples: Vec<Vec<gst::Sample>>,
    errors: Vec<String>,
    warnings: Vec<String>,
    /// GPU, state and crops.
    cards: Vec<(u32, String, u64)>,
}

/// Plays a line with `rtmposebatch name=pose` and an appsink `sinkN` for each stream.
fn play(line: &str, sinks: usize) -> Ended {
    init();
    let pipeline = gst::parse::launch(line).unwrap().downcast::<gst::Pipeline>().unwrap();
    let sinks: Vec<_> = (0..sinks)
        .map(|index| {
            pipeline.by_name(&format!("sink{index}")).unwrap().downcast::<gst_app::AppSink>().unwrap()
        })
        .collect();
    sinks.iter().for_each(|sink| sink.set_property("sync", false));
    stop_after_an_error(&pipeline);
    let pose = pipeline.by_name("pose").unwrap();
    let bus = pipeline.bus().unwrap();
    let started = pipeline.set_state(gst::State::Playing);
    let samples: Vec<Vec<_>> = std::thread::scope(|scope| {
        let pull = |sink: &gst_app::AppSink| std::iter::from_fn(|| sink.pull_sample().ok()).collect();
        let streams: Vec<_> =
            sinks.iter().filter(|_| started.is_ok()).map(|sink| scope.spawn(move || pull(sink))).collect();
        streams.into_iter().map(|stream| stream.join().unwrap()).collect()
    });
    let cards = cards(&pose);
    let (errors, warnings) = errors_and_warnings(&bus);
    pipeline.set_state(gst::State::Null).unwrap();
    Ended { samples, errors, warnings, cards }
}

fn cards(element: &gst::Element) -> Vec<(u32, String, u64)> {
    let stats: gst::Structure = element.property("stats");
    let Ok(cards) = stats.get::<gst::Array>("gpus") else { return Vec::new() };
    eprintln!("{cards:?}");
    let card = |value: &gst::glib::SendValue| {
        let card = value.get::<gst::Structure>().unwrap();
        (card.get("device-id").unwrap(), card.get("state").unwrap(), card.get("crops").unwrap())
    };
    cards.iter().map(card).collect()
}

/// Key points of the frame's only person.
fn points(sample: &gst::Sample) -> Vec<KeyPoint> {
    let mut people = common::people(sample.buffer().unwrap()).expect("the frame was inferred").people;
    assert_eq!(people.len(), 1);
    people.remove(0).key_points
}

/// Checks that the frames came in order, each with the expected key points. In another batch or on another GPU
/// points move by rounding only.
fn check(samples: &[gst::Sample], expected: &[KeyPoint]) {
    let times: Vec<_> = samples.iter().map(|sample| sample.buffer().unwrap().pts().unwrap()).collect();
    assert!(times.is_sorted() && times.windows(2).all(|two| two[0] < two[1]), "{times:?}");
    let (mut all, mut apart) = (0, 0);
    for sample in samples {
        for (found, expected) in points(sample).iter().zip(expected) {
            all += 1;
            apart += usize::from((found.x - expected.x).abs() > 0.01 || (found.y - expected.y).abs() > 0.01);
            assert!((found.score - expected.score).abs() < 0.02, "{found:?} and {expected:?}");
        }
    }
    // A few points may differ: where two bins are nearly as high.
    assert!(apart * 20 <= all, "{apart} of {all} points are elsewhere");
}

/// The key points that a single GPU finds in the picture.
fn expected(width: u32, height: u32) -> Vec<KeyPoint> {
    let line = format!("{} ! {POSE} device-id=0 ! appsink name=sink0", picture(1, width, height));
    let Ended { samples, errors, .. } = play(&line, 1);
    assert_eq!(errors, [""; 0]);
    points(&samples[0][0])
}

#[test]
#[ignore = "needs two NVIDIA GPUs"]
fn frames_in_system_memory_go_to_all_cards_and_keep_their_order() {
    if !has_cards(2) {
        return;
    }
    let expected = expected(640, 360);
    let streams: String = (0..8)
        .map(|index| {
            let name = if index == 0 { "name=pose" } else { "" };
            let pose = POSE.replace("name=pose", name);
            format!(
                "{} ! {pose} device-ids=all model-instance-id=all ! appsink name=sink{index} ",
                picture(200, 640, 360)
            )
        })
        .collect();
    let Ended { samples, errors, warnings, cards } = play(&streams, 8);
    assert_eq!((errors, warnings), (vec![], vec![]));
    for samples in &samples {
        assert_eq!(samples.len(), 200);
        check(samples, &expected);
    }
    assert_eq!(cards.len(), CudaContext::device_count().unwrap() as usize);
    assert!(cards.iter().all(|(_, state, crops)| state == "ready" && *crops > 0), "{cards:?}");
    assert_eq!(cards.iter().map(|(_, _, crops)| crops).sum::<u64>(), 1600);
}

#[test]
#[ignore = "needs two NVIDIA GPUs and GStreamer's nvcodec"]
fn frames_on_cards_are_looked_at_where_they_lie() {
    if !has_cards(2) {
        return;
    }
    let expected = expected(640, 360);
    let stream = |card: usize, name: &str| {
        let pose = POSE.replace("name=pose", name);
        format!(
            "{} ! cudaupload cuda-device-id={card} ! video/x-raw(memory:CUDAMemory) ! {pose} device-ids=0,1 \
             model-instance-id=both ! appsink name=sink{card} ",
            picture(40 + 20 * card, 640, 360)
        )
    };
    let Ended { samples, errors, warnings, cards } =
        play(&format!("{}{}", stream(0, "name=pose"), stream(1, "")), 2);
    assert_eq!((errors, warnings), (vec![], vec![]));
    assert_eq!(samples.iter().map(Vec::len).collect::<Vec<_>>(), [40, 60]);
    samples.iter().for_each(|samples| check(samples, &expected));
    assert_eq!(cards, [(0, "ready".to_string(), 40), (1, "ready".to_string(), 60)]);
}

#[test]
#[ignore = "needs two NVIDIA GPUs and GStreamer's nvcodec"]
fn frames_of_a_card_that_the_engine_does_not_have_are_copied_with_one_warning() {
    if !has_cards(2) {
        return;
    }
    let expected = expected(640, 360);
    for devices in ["device-id=0", "device-ids=0"] {
        let line = format!(
            "{} ! cudaupload cuda-device-id=1 ! video/x-raw(memory:CUDAMemory) ! {POSE} {devices} ! appsink name=sink0",
            picture(40, 640, 360)
        );
        let Ended { samples, errors, warnings, .. } = play(&line, 1);
        assert_eq!((errors.len(), warnings.len()), (0, 1), "{errors:?} {warnings:?}");
        assert!(warnings[0].contains("from another GPU, so each is copied"), "{warnings:?}");
        assert_eq!(samples[0].len(), 40);
        check(&samples[0], &expected);
    }
}

#[test]
#[ignore = "needs two NVIDIA GPUs"]
fn with_a_card_that_is_lost_no_frame_is() {
    if !is_alone("with_a_card_that_is_lost_no_frame_is") {
        return;
    }
    if !has_cards(2) {
        return;
    }
    init();
    let source = format!("{} ! appsink name=sink0", picture(300, 256, 256));
    let pipeline = gst::parse::launch(&source).unwrap().downcast::<gst::Pipeline>().unwrap();
    let sink = pipeline.by_name("sink0").unwrap().downcast::<gst_app::AppSink>().unwrap();
    sink.set_property("sync", false);
    pipeline.set_state(gst::State::Playing).unwrap();
    let frames: Vec<_> = std::iter::from_fn(|| sink.pull_sample().ok()).collect();
    pipeline.set_state(gst::State::Null).unwrap();

    let caps = frames[0].caps_owned().unwrap();
    let (mut harness, element, bus) = harness_on_cards(caps, &[("device-ids", "0,1"), ("batch-size", "4")]);
    let mut next = 0;
    let mut push = |harness: &mut gst_check::Harness, count: usize| {
        for frame in &frames[next..next + count] {
            assert!(harness.push(frame.buffer_owned().unwrap()).is_ok());
        }
        next += count;
    };
    push(&mut harness, 60);
    // Each GPU has had batches, and probably has one now.
    lose_the_card(1);
    push(&mut harness, 240);
    assert!(harness.push_event(gst::event::Eos::new()));
    for (number, frame) in frames.iter().enumerate() {
        let buffer = harness.pull().unwrap();
        assert_eq!(buffer.pts(), frame.buffer().unwrap().pts(), "frame {number}");
        assert_eq!(common::people(&buffer).expect("it was inferred").people.len(), 1, "frame {number}");
    }
    let (errors, warnings) = errors_and_warnings(&bus);
    eprintln!("{warnings:#?}");
    let cards = cards(&element);
    // The illegal access, which imitates a lost GPU, ends CUDA in the whole process, as CUDA's documentation
    // says. So the other GPU's next runs fail, too.
    assert_eq!((errors.len(), warnings.len()), (0, 2), "{errors:?} {warnings:?}");
    assert!(warnings[0].starts_with("GPU 1 is lost"), "{warnings:?}");
    assert!(warnings[0].ends_with("the model keeps running on GPU 0, and no frame is lost"), "{warnings:?}");
    assert!(warnings[1].starts_with("cuda is lost"), "{warnings:?}");
    assert_eq!(element.property::<String>("active-provider"), "cpu");
    assert_eq!(cards[1].1, "lost");
    element.set_state(gst::State::Null).unwrap();
    assert_eq!(errors_and_warnings(&bus), (vec![], vec![]));
}
