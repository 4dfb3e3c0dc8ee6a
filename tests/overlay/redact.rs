//! `redact`: what is hidden, for how long, and that nothing else changes.

use gst::prelude::*;
use gst_check::Harness;
use gst_video::{VideoFormat, VideoInfo};
use gstrtmpose::{
    meta::FramePeople,
    pose::{KeyPoint, Person, Region},
};

use crate::{bytes, info, init, people, with_people};

const WIDTH: usize = 320;
const HEIGHT: usize = 240;

/// A harness whose overlay draws nothing.
fn harness(info: &VideoInfo, redact: &str) -> Harness {
    init();
    let mut harness = Harness::new("rtmposeoverlay");
    let element = harness.element().unwrap();
    element.set_property("score-threshold", 100.0f32);
    element.set_property("draw-id", false);
    element.set_property_from_str("redact", redact);
    harness.set_src_caps(info.to_caps().unwrap());
    harness
}

/// Grey noise, so that all pixelated pixels change.
fn noise(info: &VideoInfo, milliseconds: u64) -> gst::Buffer {
    let mut state = 1u32;
    let bytes: Vec<u8> = (0..info.size())
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        })
        .collect();
    let mut buffer = gst::Buffer::from_mut_slice(bytes);
    buffer.get_mut().unwrap().set_pts(gst::ClockTime::from_mseconds(milliseconds));
    buffer
}

/// A person whose head is 24 pixels high, with its middle at x, y.
fn somebody(x: f32, y: f32) -> Person {
    let at = |dx: f32, dy: f32| KeyPoint { x: x + dx, y: y + dy, score: 0.9, z: None };
    let mut key_points = vec![at(0.0, 2.0), at(3.0, -1.0), at(-3.0, -1.0), at(7.0, 0.0), at(-7.0, 0.0)];
    key_points.extend([at(17.0, 22.0), at(-17.0, 22.0)]);
    key_points.extend((0..4).map(|index| at([20.0, -20.0][index % 2], 50.0)));
    key_points.extend((0..6).map(|index| at([10.0, -10.0][index % 2], 70.0 + 35.0 * (index / 2) as f32)));
    Person { region: Region::new(x - 25.0, y - 14.0, 50.0, 165.0), key_points, id: None }
}

/// The changed pixels of a grey frame: a rectangle around them, and their number.
fn changed(before: &[u8], after: &[u8]) -> Option<([usize; 4], usize)> {
    let places = (0..WIDTH * HEIGHT).filter(|place| before[*place] != after[*place]);
    let places: Vec<_> = places.map(|place| (place % WIDTH, place / WIDTH)).collect();
    let least = |of: fn(&(usize, usize)) -> usize| places.iter().map(of).min();
    let most = |of: fn(&(usize, usize)) -> usize| places.iter().map(of).max();
    Some(([least(|p| p.0)?, least(|p| p.1)?, most(|p| p.0)?, most(|p| p.1)?], places.len()))
}

#[test]
fn faces_or_people_are_pixelated_and_nothing_else() {
    let info = info(VideoFormat::Gray8, WIDTH as u32, HEIGHT as u32);
    for (redact, inside, outside) in [
        ("faces", [150, 48, 170, 72], [120, 20, 200, 100]),
        ("people", [137, 48, 183, 208], [110, 20, 210, 239]),
    ] {
        let mut harness = harness(&info, redact);
        let found = people(WIDTH as u32, HEIGHT as u32, vec![somebody(160.0, 60.0)]);
        let before = noise(&info, 0);
        let after = harness.push_and_pull(with_people(before.copy_deep().unwrap(), &found)).unwrap();
        let (area, count) = changed(&bytes(&before), &bytes(&after)).expect("something is hidden");
        let [left, top, right, bottom] = area;
        assert!(
            left <= inside[0] && top <= inside[1] && right >= inside[2] && bottom >= inside[3],
            "{redact}: {area:?}"
        );
        assert!(
            left >= outside[0] && top >= outside[1] && right <= outside[2] && bottom <= outside[3],
            "{redact}: {area:?}"
        );
        // Hardly a pixel of noise equals the mean.
        assert!(count * 20 > (right - left) * (bottom - top) * 19, "{redact}: {count} pixels in {area:?}");
    }
    let mut harness = harness(&info, "none");
    let found = people(WIDTH as u32, HEIGHT as u32, vec![somebody(160.0, 60.0)]);
    let before = noise(&info, 0);
    let after = harness.push_and_pull(with_people(before.copy_deep().unwrap(), &found)).unwrap();
    assert_eq!(bytes(&before), bytes(&after));
}

/// A lost person is hidden at the last place for half a second. Then frames are left unchanged.
#[test]
fn a_gap_is_bridged() {
    let info = info(VideoFormat::Gray8, WIDTH as u32, HEIGHT as u32);
    let mut harness = harness(&info, "faces");
    let found = people(WIDTH as u32, HEIGHT as u32, vec![somebody(160.0, 60.0)]);
    let nobody = people(WIDTH as u32, HEIGHT as u32, Vec::new());
    let mut hidden = |milliseconds: u64, meta: Option<&FramePeople>| {
        let before = noise(&info, milliseconds);
        let copy = before.copy_deep().unwrap();
        let after = harness
            .push_and_pull(match meta {
                Some(meta) => with_people(copy, meta),
                None => copy,
            })
            .unwrap();
        changed(&bytes(&before), &bytes(&after)).map(|(area, _)| area)
    };
    let first = hidden(0, Some(&found));
    assert!(first.is_some());
    assert_eq!(hidden(40, Some(&nobody)), first, "nobody was found");
    assert_eq!(hidden(500, None), first, "nobody looked");
    assert_eq!(hidden(540, Some(&nobody)), None);
    // The property can change while PLAYING.
    assert!(hidden(580, Some(&found)).is_some());
    harness.element().unwrap().set_property_from_str("redact", "none");
    let before = noise(&info, 620);
    let after = harness.push_and_pull(with_people(before.copy_deep().unwrap(), &found)).unwrap();
    assert_eq!(bytes(&before), bytes(&after));
}
