//! `rtmposeoverlay` on groups of key points.

use gst_analytics::{AnalyticsRelationMeta, KeypointDimensions, prelude::*};
use gstrtmpose::{
    meta::{self, FramePeople},
    pose::{KeyPoint, Person},
};

use crate::rig::*;

const SIZE: (usize, usize) = (320, 240);

/// The frame after the overlay has drawn on it.
fn draw(buffer: gst::Buffer) -> Vec<u8> {
    init();
    let drawn = through("rtmposeoverlay draw-box=true", &i420(320, 240), buffer);
    drawn.map_readable().unwrap().to_vec()
}

/// A person whose points lie on a slope, `offset` pixels away from whole pixels.
fn people(offset: f32) -> FramePeople {
    let points: Vec<_> =
        (0..17).map(|i| (20.0 + 15.0 * i as f32 + offset, 60.0 + 7.0 * i as f32, 0.75)).collect();
    frame_people("coco-17", vec![person([10.0, 50.0, 280.0, 150.0], &points, Some(42))])
}

fn plain() -> gst::Buffer {
    grey(SIZE.0, SIZE.1)
}

fn with_meta(people: &FramePeople) -> gst::Buffer {
    let mut buffer = plain();
    meta::write(buffer.make_mut(), people).unwrap();
    buffer
}

fn with_groups(people: &FramePeople) -> gst::Buffer {
    let mut buffer = plain();
    write(&mut buffer, people);
    buffer
}

fn blank() -> Vec<u8> {
    vec![128; SIZE.0 * SIZE.1 * 3 / 2]
}

#[test]
fn groups_are_drawn_as_people_are() {
    let drawn = draw(with_groups(&people(0.0)));
    assert_ne!(drawn, blank());
    assert!(drawn == draw(with_meta(&people(0.0))), "links, points, box and id are the same");
}

#[test]
fn people_in_both_metadata_are_drawn_once() {
    let people = people(0.4);
    let mut both = with_meta(&people);
    write(&mut both, &people);
    let once = draw(with_meta(&people));
    assert!(draw(both) == once);
    // The overlay draws the exact metadata of the two.
    assert!(draw(with_groups(&people)) != once);
}

#[test]
fn other_skeletons_are_drawn_too() {
    let body = people(0.0);
    let hand = frame_people("hand-21", vec![person([0.0; 4], &[(160.0, 20.0, 0.9); 21], None)]);
    let mut buffer = with_meta(&body);
    write(&mut buffer, &body);
    write(&mut buffer, &hand);
    let drawn = draw(buffer);
    assert_eq!(drawn[20 * SIZE.0 + 160], draw(with_meta(&hand))[20 * SIZE.0 + 160]);
    assert_ne!(drawn[20 * SIZE.0 + 160], 128);
    assert_ne!(drawn[60 * SIZE.0 + 20], 128);
}

#[test]
fn groups_stand_in_for_a_malformed_meta() {
    let people = people(0.0);
    let mut buffer = with_meta(&people);
    gst::meta::CustomMeta::from_mut_buffer(buffer.get_mut().unwrap(), meta::NAME)
        .unwrap()
        .mut_structure()
        .remove_field("keypoints");
    write(&mut buffer, &people);
    assert!(draw(buffer) == draw(with_groups(&people)));
}

#[test]
fn unknown_skeletons_are_joined_by_their_relations() {
    let points = [[50, 100], [250, 100]];
    let drawn = |links: &[i32], confidences: &[f32]| {
        let mut buffer = plain();
        AnalyticsRelationMeta::add(buffer.make_mut())
            .add_keypoints_group(
                "two",
                KeypointDimensions::_2d,
                points.as_flattened(),
                Some(confidences),
                None,
                links,
            )
            .unwrap();
        let picture = through("rtmposeoverlay", &i420(320, 240), buffer);
        let picture = picture.map_readable().unwrap();
        [50, 150, 250].map(|x| picture[100 * SIZE.0 + x] > 200)
    };
    assert_eq!(drawn(&[], &[1.0, 1.0]), [true, false, true]);
    assert_eq!(drawn(&[0, 1], &[1.0, 1.0]), [true, true, true]);
    assert_eq!(drawn(&[1, 0], &[1.0, 1.0]), [true, true, true]);
    // Below the score's threshold.
    assert_eq!(drawn(&[0, 1], &[1.0, 0.2]), [true, false, false]);
}

#[test]
fn a_group_of_nobody_draws_nothing() {
    let nobody = FramePeople { people: vec![], ..people(0.0) };
    assert!(draw(with_groups(&nobody)) == blank());
    let lost = Person { key_points: vec![KeyPoint::default(); 17], ..people(0.0).people[0].clone() };
    let mut frame = people(0.0);
    frame.people = vec![lost];
    let mut harness = gst_check::Harness::new_parse("rtmposeoverlay draw-id=false");
    harness.set_src_caps_str(&i420(320, 240));
    let drawn = harness.push_and_pull(with_groups(&frame)).unwrap();
    assert!(*drawn.map_readable().unwrap() == blank()[..]);
}
