//! Objects and tracks, as they are written.

use gst_analytics::{AnalyticsClassificationMtd, AnalyticsRelationMeta, RelTypes, prelude::*};
use gstrtmpose::meta::analytics::{self, FirstSeen};

use crate::rig::*;

fn second(number: u64) -> gst::ClockTime {
    gst::ClockTime::from_seconds(number)
}

#[test]
fn each_person_is_an_object_in_whole_pixels() {
    init();
    let mut buffer = gst::Buffer::new();
    let people = [
        person([10.4, -2.6, 20.2, 30.0], &[(0.0, 0.0, 0.5), (1.0, 1.0, 1.0)], None),
        // Scores can be above 1, below 0, or not a number.
        person([0.0, 0.0, 320.0, 240.0], &[(0.0, 0.0, 1.5), (1.0, 1.0, 1.25)], Some(0)),
        person([f32::NAN, 1e30, 5.0, 1e30], &[(0.0, 0.0, -0.5), (1.0, 1.0, -0.5)], Some(i64::MAX)),
        person([1.0, 2.0, 3.0, 4.0], &[(0.0, 0.0, f32::NAN), (1.0, 1.0, 0.5)], Some(-5)),
    ];
    write(&mut buffer, &frame_people("custom-2", people.to_vec()));
    let objects = objects(&buffer);
    let found: Vec<_> =
        objects.iter().map(|object| (object.label.as_str(), object.place, object.confidence)).collect();
    assert_eq!(
        found,
        [
            // From 10.4 to 30.6 is 10 to 31.
            ("person", [10, -3, 21, 30], 0.75),
            ("person", [0, 0, 320, 240], 1.0),
            ("person", [0, i32::MAX, 0, 0], 0.0),
            ("person", [1, 2, 3, 4], 0.0),
        ]
    );
    let tracks: Vec<_> = objects.iter().map(|object| tracks(&buffer, object.id)).collect();
    let now = second(5);
    assert_eq!(tracks, [vec![], vec![(0, now, now)], vec![(i64::MAX as u64, now, now)], vec![]]);
}

/// Relations take memory in proportion to the square of the entries.
#[test]
fn people_without_number_take_no_memory_without_end() {
    init();
    let points = vec![(1.0, 1.0, 0.5); 4096];
    let someone = |id: i64, points: &[(f32, f32, f32)]| person([0.0, 0.0, 9.0, 9.0], points, Some(id));
    let mut buffer = gst::Buffer::new();
    write(&mut buffer, &frame_people("custom-4096", (0..3).map(|id| someone(id, &points)).collect()));
    assert_eq!((objects(&buffer).len(), entries(&buffer)), (3, 6), "objects and tracks, but no groups");
    let mut buffer = gst::Buffer::new();
    write(&mut buffer, &frame_people("custom-1", (0..4096).map(|id| someone(id, &points[..1])).collect()));
    assert_eq!(entries(&buffer), 8192);
    let mut buffer = gst::Buffer::new();
    let crowd = frame_people("custom-1", (0..4097).map(|id| someone(id, &points[..1])).collect());
    assert!(analytics::write(buffer.make_mut(), &crowd, None, &mut FirstSeen::default()).is_err());
    assert!(buffer.meta::<AnalyticsRelationMeta>().is_none());
}

#[test]
fn tracks_tell_since_when_a_person_is_there() {
    init();
    let mut seen = FirstSeen::default();
    let mut track = |id, now| {
        let mut buffer = gst::Buffer::new();
        let people =
            frame_people("custom-1", vec![person([0.0, 0.0, 9.0, 9.0], &[(1.0, 1.0, 0.5)], Some(id))]);
        analytics::write(buffer.make_mut(), &people, now, &mut seen).unwrap();
        tracks(&buffer, objects(&buffer)[0].id)
    };
    assert_eq!(track(3, Some(second(1))), [(3, second(1), second(1))]);
    assert_eq!(track(4, Some(second(2))), [(4, second(2), second(2))]);
    assert_eq!(track(3, Some(second(7))), [(3, second(1), second(7))]);
    // A stream without times.
    assert_eq!(track(9, None), [(9, second(0), second(0))]);
}

#[test]
fn nobody_is_an_empty_relation_meta() {
    init();
    let mut buffer = gst::Buffer::new();
    write(&mut buffer, &frame_people("coco-17", vec![]));
    assert_eq!(entries(&buffer), 0);
    // Other elements can add to the relation meta.
    for number in 0..20 {
        add_object(buffer.make_mut(), "car", [number; 4]);
    }
    assert_eq!(objects(&buffer).len(), 20);
}

#[test]
fn what_a_detector_wrote_stays_and_is_not_written_again() {
    init();
    let mut buffer = gst::Buffer::new();
    let first = buffer.make_mut();
    let car = add_object(first, "car", [10, 20, 30, 40]);
    let found = add_object(first, "Person", [10, 20, 30, 40]);
    let other = add_object(first, "pedestrian", [50, 60, 70, 80]);
    let class = AnalyticsRelationMeta::add(first)
        .add_one_cls_mtd(0.5, gst::glib::Quark::from_str("standing"))
        .unwrap()
        .id();
    let track = add_track(first, 77);
    relate(first, RelTypes::RELATE_TO, found, class);
    relate(first, RelTypes::RELATE_TO, found, track);
    let before = buffer.meta::<AnalyticsRelationMeta>().unwrap().as_ptr();

    let points = [(1.0, 2.0, 0.5)];
    let people = [
        person([10.0, 20.0, 30.0, 40.0], &points, Some(77)),
        person([50.0, 60.0, 70.0, 80.0], &points, Some(5)),
        // Each object is used once: a second person in the same box gets another object.
        person([50.0, 60.0, 70.0, 80.0], &points, None),
    ];
    write(&mut buffer, &frame_people("custom-1", people.to_vec()));

    let meta = buffer.meta::<AnalyticsRelationMeta>().unwrap();
    assert_eq!(meta.as_ptr(), before, "one relation meta");
    assert_eq!(meta.iter::<AnalyticsClassificationMtd>().count(), 1);
    assert_eq!(meta.relation(found, class), RelTypes::RELATE_TO);
    let objects = objects(&buffer);
    let ids: Vec<_> = objects.iter().map(|object| object.id).collect();
    assert_eq!(ids[..3], [car, found, other]);
    assert_eq!((objects.len(), objects[3].place), (4, [50, 60, 70, 80]));
    assert!(objects[..3].iter().all(|object| object.confidence == 0.625));
    // The existing track stays the only one.
    assert_eq!(tracks(&buffer, found), [(77, second(1), second(1))]);
    assert_eq!(tracks(&buffer, other), [(5, second(5), second(5))]);
    assert_eq!(tracks(&buffer, car), []);
}

#[test]
fn copies_and_scaled_frames_keep_the_objects() {
    init();
    let points = [(100.0, 50.0, 0.5); 17];
    let mut buffer = grey(320, 240);
    write(&mut buffer, &frame_people("coco-17", vec![person([40.0, 20.0, 80.0, 160.0], &points, Some(3))]));
    let scaled =
        through("videoscale ! capsfilter caps=video/x-raw,width=160,height=120", &i420(320, 240), buffer);
    let objects = objects(&scaled);
    assert_eq!(objects.len(), 1);
    assert_eq!(objects[0].place, [20, 10, 40, 80]);
    assert_eq!(tracks(&scaled, objects[0].id), [(3, second(5), second(5))]);
}
