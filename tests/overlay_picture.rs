//! A picture to look at, and a time measurement; not part of `cargo test`:
//! `cargo test --release --test overlay_picture -- --ignored --nocapture`.

#[path = "support/patience.rs"]
mod patience;

use std::time::{Duration, Instant};

use gst::prelude::*;
use gst_check::Harness;
use gst_video::{VideoFormat, VideoInfo};
use gstrtmpose::meta::{self, FramePeople};
use gstrtmpose::pose::{KeyPoint, Person, Region, Skeleton};

/// A person who stands and waves, seen from the front, in tenths of the body's height from the top of the
/// head's middle. The person's left is at the picture's right. The order is halpe-26's, whose first 17 points
/// are coco-17's.
const STANDING: [(f32, f32); 26] = [
    (0.0, 0.8),
    (0.2, 0.6),
    (-0.2, 0.6),
    (0.45, 0.7),
    (-0.45, 0.7),
    (1.0, 1.9),
    (-1.0, 1.9),
    (1.5, 3.4),
    (-2.1, 2.6),
    (1.6, 4.9),
    (-2.3, 1.1),
    (0.65, 4.9),
    (-0.65, 4.9),
    (0.75, 7.2),
    (-0.8, 7.2),
    (0.8, 9.5),
    (-0.9, 9.5),
    (0.0, 0.0),
    (0.0, 1.7),
    (0.0, 4.8),
    (1.1, 9.9),
    (-1.2, 9.9),
    (1.3, 9.8),
    (-1.4, 9.8),
    (0.7, 9.8),
    (-0.8, 9.8),
];

fn standing(x: f32, y: f32, height: f32, points: usize, id: Option<i64>) -> Person {
    let unit = height / 10.0;
    // The feet come in another order in coco-wholebody-133.
    let feet = [20, 22, 24, 21, 23, 25];
    let key_points = (0..points).map(|index| match index {
        17..23 if points > 26 => feet[index - 17],
        _ => index,
    });
    let key_points = key_points.enumerate().map(|(index, place)| match STANDING.get(place) {
        Some(&(dx, dy)) if index < 23 || points == 26 => {
            KeyPoint { x: x + dx * unit, y: y + dy * unit, score: 0.8, z: None }
        }
        _ => whole_body(index, x, y, unit),
    });
    let region = Region::new(x - 2.6 * unit, y - 0.3 * unit, 4.6 * unit, 10.6 * unit);
    Person { region, key_points: key_points.collect(), id }
}

/// Face and hands of coco-wholebody-133: an oval, and fans at the wrists.
fn whole_body(index: usize, x: f32, y: f32, unit: f32) -> KeyPoint {
    let (dx, dy) = match index {
        23..91 => {
            let angle = (index - 17) as f32 * 0.34;
            let radius = 0.2 + 0.4 * ((index % 5) as f32 / 4.0);
            (radius * angle.cos(), 0.8 + 1.2 * radius * angle.sin())
        }
        _ => {
            let (hand, (wrist_x, wrist_y)) =
                if index < 112 { (index - 91, STANDING[9]) } else { (index - 112, STANDING[10]) };
            let down = if index < 112 { 1.0 } else { -1.0 };
            let (finger, joint) = (hand.saturating_sub(1) / 4, (hand + 3) % 4 + 1);
            let angle = (finger as f32 - 2.0) * 0.35;
            let reach = if hand == 0 { 0.0 } else { 0.3 + 0.15 * joint as f32 };
            (wrist_x + reach * angle.sin(), wrist_y + down * reach * angle.cos())
        }
    };
    KeyPoint { x: x + dx * unit, y: y + dy * unit, score: 0.8, z: None }
}

fn frame_people(skeleton: &str, size: (u32, u32), people: Vec<Person>) -> FramePeople {
    FramePeople {
        source: "pose".into(),
        width: size.0,
        height: size.1,
        skeleton: skeleton.into(),
        points: Skeleton::by_name(skeleton).unwrap().points,
        people,
        carried: false,
    }
}

fn init() {
    gst::init().unwrap();
    gstrtmpose::plugin_register_static().unwrap();
}

#[test]
#[ignore = "makes pictures to look at"]
fn pictures() {
    init();
    for (width, height, pattern) in [(1280, 720, "smpte75"), (1920, 1080, "white"), (480, 270, "black")] {
        let file = format!("{}/overlay-{width}.png", env!("CARGO_TARGET_TMPDIR"));
        let pipeline = gst::parse::launch(&format!(
            "videotestsrc num-buffers=1 pattern={pattern} ! video/x-raw,format=I420,width={width},height={height} \
             ! identity name=people ! rtmposeoverlay draw-box=true ! videoconvert ! pngenc ! filesink location={file}"
        ))
        .unwrap()
        .downcast::<gst::Pipeline>()
        .unwrap();
        let (w, h) = (width as f32, height as f32);
        let size = (width, height);
        let metas = [
            frame_people(
                "coco-17",
                size,
                vec![
                    standing(0.15 * w, 0.15 * h, 0.7 * h, 17, Some(12)),
                    standing(0.31 * w, 0.45 * h, 0.3 * h, 17, Some(3)),
                    standing(0.99 * w, -0.2 * h, 0.8 * h, 17, Some(907)),
                ],
            ),
            frame_people("halpe-26", size, vec![standing(0.5 * w, 0.1 * h, 0.8 * h, 26, Some(4568))]),
            frame_people("coco-wholebody-133", size, vec![standing(0.77 * w, 0.1 * h, 0.85 * h, 133, None)]),
        ];
        let pad = pipeline.by_name("people").unwrap().static_pad("src").unwrap();
        pad.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
            let buffer = info.buffer_mut().unwrap().make_mut();
            metas.iter().for_each(|people| meta::write(buffer, people).unwrap());
            gst::PadProbeReturn::Ok
        });
        pipeline.set_state(gst::State::Playing).unwrap();
        let bus = pipeline.bus().unwrap();
        let end = patience::message(&bus, &[gst::MessageType::Eos, gst::MessageType::Error]);
        pipeline.set_state(gst::State::Null).unwrap();
        assert_eq!(end.map(|message| message.type_()), Some(gst::MessageType::Eos));
        println!("{file}");
    }
}

#[test]
#[ignore = "measures time"]
fn time_of_one_person() {
    init();
    for (format, skeleton) in [
        (VideoFormat::I420, "coco-17"),
        (VideoFormat::Nv12, "coco-17"),
        (VideoFormat::Bgrx, "coco-17"),
        (VideoFormat::I420, "coco-wholebody-133"),
    ] {
        let info = VideoInfo::builder(format, 1920, 1080).build().unwrap();
        let points = Skeleton::by_name(skeleton).unwrap().points;
        let mut harness = Harness::new("rtmposeoverlay");
        harness.set_src_caps(info.to_caps().unwrap());
        let people = [vec![], vec![standing(800.0, 100.0, 900.0, points, Some(1))]];
        let times = people.map(|people| {
            let people = frame_people(skeleton, (1920, 1080), people);
            let mut times: Vec<Duration> = (0..200)
                .map(|_| {
                    let mut buffer = gst::Buffer::from_mut_slice(vec![99u8; info.size()]);
                    meta::write(buffer.get_mut().unwrap(), &people).unwrap();
                    let start = Instant::now();
                    harness.push(buffer).unwrap();
                    let time = start.elapsed();
                    harness.pull().unwrap();
                    time
                })
                .collect();
            times.sort();
            (times[times.len() / 2], times[0])
        });
        println!(
            "{format} {skeleton}: nobody {:?}, one person {:?} (median; least {:?})",
            times[0].0, times[1].0, times[1].1
        );
    }
}
