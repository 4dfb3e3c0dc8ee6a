//! Pixels that are not square: the same scene is inferred in the same way, whatever the video's pixel aspect.

mod network_rig;

use gst_video::VideoFormat;
use gstrtmpose::meta::FramePeople;
use network_rig::{Rig, SMALL_NETWORK, picture::*, pixels_per_network_pixel};

/// Size of the scene as it is shown.
const SHOWN: (u32, u32) = (640, 480);
/// Pixel aspect ratios; the first one is square.
const ASPECTS: [(u32, u32); 3] = [(1, 1), (2, 1), (1, 2)];

/// A video that is shown at that size.
fn info(aspect: (u32, u32)) -> gst_video::VideoInfo {
    let fields = format!(",pixel-aspect-ratio={}/{}", aspect.0, aspect.1);
    video_with(VideoFormat::Rgb, SHOWN.0 / aspect.0, SHOWN.1 / aspect.1, &fields)
}

/// A red, a green and a blue dot below one another: a person for the tests' networks.
fn somebody((x, y): (f32, f32)) -> Picture {
    let dot = |picture: Picture, dy: f32, colour| picture.dot((x, y + dy), 30.0, colour);
    let picture = Picture::new(SHOWN.0, SHOWN.1);
    dot(dot(dot(picture, -80.0, RED), 0.0, GREEN), 80.0, BLUE)
}

fn frame(shown: &Picture, aspect: (u32, u32)) -> gst::Buffer {
    shown.squeezed(aspect.0 as usize, aspect.1 as usize).frame(&info(aspect), Layout::Plain)
}

/// Boxes and points (x and y) of all people, at their places in the shown picture.
fn shown(people: &FramePeople) -> Vec<[f32; 2]> {
    let scale = [SHOWN.0 as f32 / people.width as f32, SHOWN.1 as f32 / people.height as f32];
    let corners = people.people.iter().flat_map(|person| {
        let region = person.region;
        let points = person.key_points.iter().map(|point| [point.x, point.y]);
        points.chain([[region.x, region.y], [region.width, region.height]])
    });
    corners.map(|[x, y]| [x * scale[0], y * scale[1]]).collect()
}

#[track_caller]
fn assert_alike(what: &str, found: &FramePeople, expected: &FramePeople, allowed: f32) {
    let ids = |people: &FramePeople| people.people.iter().map(|person| person.id).collect::<Vec<_>>();
    assert_eq!(ids(found), ids(expected), "{what}");
    for (found, expected) in shown(found).iter().zip(shown(expected)) {
        let near = found.iter().zip(expected).all(|(a, b)| (a - b).abs() <= allowed);
        assert!(near, "{what}: {found:?} is not {expected:?}");
    }
}

#[test]
fn people_are_searched_followed_and_smoothed_alike() {
    let line = "batch-size=1 inference-region=track smoothing=one-euro track-lookahead=1";
    let runs = ASPECTS.map(|aspect| {
        let mut rig = Rig::start("dots-small", line);
        rig.set_video(&info(aspect));
        let found: Vec<_> = (0..60u64)
            .map(|number| {
                let mut buffer = frame(&somebody((200.0 + 3.0 * number as f32, 240.0)), aspect);
                buffer.make_mut().set_pts(gst::ClockTime::SECOND * number / 30);
                rig.harness.push(buffer).unwrap();
                rig.cut();
                rig.pull_people()
            })
            .collect();
        (found, rig.stat("crops"), rig.stat("search-crops"))
    });
    let [(square, crops, searched), others @ ..] = runs;
    let seen = square.iter().filter(|people| people.people.len() == 1).count();
    assert!(seen > 40, "somebody was in {seen} frames");
    for ((found, other_crops, other_searched), aspect) in others.iter().zip(&ASPECTS[1..]) {
        let what = format!("{aspect:?}");
        assert_eq!((*other_crops, *other_searched), (crops, searched), "{what}");
        for (number, (found, expected)) in found.iter().zip(&square).enumerate() {
            let (width, height) = (SHOWN.0 / aspect.0, SHOWN.1 / aspect.1);
            assert_eq!((found.width, found.height), (width, height), "metadata is in the frame's own pixels");
            // A pixel of the crop, whose box is about 200 high.
            assert_alike(&format!("{what}, frame {number}"), found, expected, 4.0);
        }
    }
}

#[test]
fn a_detectors_box_is_cut_out_alike_and_stays_as_it_is() {
    const REGION: [i32; 4] = [200, 100, 160, 280];
    let mut picture = Picture::new(SHOWN.0, SHOWN.1);
    for (channel, y) in [160.0, 240.0, 320.0].into_iter().enumerate() {
        picture = picture.dot((280.0, y), 30.0, std::array::from_fn(|n| if n == channel { 180 } else { 0 }));
    }
    // Brighter dots beside and below the crop, which is 149 to 411 across and 65 to 415 down.
    picture = picture.dot((460.0, 240.0), 40.0, WHITE).dot((280.0, 450.0), 40.0, WHITE);
    let runs = ASPECTS.map(|aspect| {
        let mut rig = Rig::start("dots-small", "batch-size=1 inference-region=roi-list");
        rig.set_video(&info(aspect));
        let mut buffer = frame(&picture, aspect);
        let [across, down] = [aspect.0 as i32, aspect.1 as i32];
        let [x, y, width, height] = REGION;
        add_person(&mut buffer, [x / across, y / down, width / across, height / down]);
        rig.find(buffer)
    });
    let [square, others @ ..] = runs;
    for (found, aspect) in others.iter().zip(&ASPECTS[1..]) {
        let what = format!("{aspect:?}");
        assert_alike(&what, found, &square, 0.5 * pixels_per_network_pixel(REGION, SMALL_NETWORK));
        let region = found.people[0].region;
        let [across, down] = [aspect.0 as f32, aspect.1 as f32];
        let own = [region.x * across, region.y * down, region.width * across, region.height * down];
        let exact = own.iter().zip(REGION).all(|(a, b)| (a - b as f32).abs() < 0.01);
        assert!(exact, "{what}: {region:?} of {REGION:?}");
        // A crop of another shape would contain a white dot.
        let (score, expected) = (found.people[0].score(), square.people[0].score());
        assert!((score - expected).abs() < 0.03, "{what}: a score of {score} instead of {expected}");
    }
}

/// A pixel aspect ratio without width causes no division by zero.
#[test]
fn absurd_pixels_are_borne() {
    for aspect in ["1/2147483647", "2147483647/1", "0/1", "-1/1"] {
        let mut rig = Rig::start("dots-small", "batch-size=1 inference-region=track");
        let caps =
            format!("video/x-raw,format=RGB,width=64,height=48,framerate=30/1,pixel-aspect-ratio={aspect}");
        rig.harness.set_src_caps(caps.parse().unwrap());
        let people = rig.find(gst::Buffer::from_mut_slice(vec![0; 64 * 48 * 3]));
        assert_eq!((people.people.len(), people.width, people.height), (0, 64, 48), "{aspect}");
    }
}
