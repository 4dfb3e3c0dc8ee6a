//! Groups of key points, written and read, and through GStreamer's transforms.

use gst_analytics::{
    AnalyticsGroupMtd, AnalyticsKeypointMtd, AnalyticsRelationMeta, KeypointDimensions, KeypointVisibility,
    RelTypes, ffi, prelude::*,
};
use gstrtmpose::{
    meta::analytics::{KeyPointGroup, key_point_groups},
    pose::{Region, Skeleton},
};

use crate::rig::*;

/// A group's id and tag, and its members' ids, positions and confidences; none for a member that is not a key
/// point.
type Group = (u32, String, Vec<Option<(u32, [i32; 2], f32)>>);

fn groups(buffer: &gst::BufferRef) -> Vec<Group> {
    let meta = buffer.meta::<AnalyticsRelationMeta>().unwrap();
    meta.iter::<AnalyticsGroupMtd>()
        .map(|group| {
            let members = (0..group.member_count())
                .map(|index| {
                    let point = group.member_typed::<AnalyticsKeypointMtd>(index)?;
                    let position = point.position().unwrap();
                    assert_eq!(position.dimension, KeypointDimensions::_2d);
                    assert_eq!(point.visibility_flags().unwrap(), KeypointVisibility::UNKNOWN);
                    Some((point.id(), [position.x, position.y], point.confidence().unwrap()))
                })
                .collect();
            (group.id(), group.semantic_tag().unwrap().to_string(), members)
        })
        .collect()
}

fn positions(buffer: &gst::BufferRef) -> Vec<Option<[i32; 2]>> {
    let groups = groups(buffer);
    assert_eq!(groups.len(), 1);
    groups[0].2.iter().map(|member| member.map(|(_, position, _)| position)).collect()
}

/// Point i of `count` at 10 + 10 i, 100 + 5 i.
fn points(count: usize) -> Vec<(f32, f32, f32)> {
    (0..count).map(|i| (10.0 + 10.0 * i as f32, 100.0 + 5.0 * i as f32, i as f32 / 16.0)).collect()
}

fn one_person() -> gst::Buffer {
    let mut buffer = grey(320, 240);
    let person = person([0.0, 80.0, 200.0, 120.0], &points(17), Some(6));
    write(&mut buffer, &frame_people("coco-17", vec![person]));
    buffer
}

#[test]
fn every_point_is_a_member_in_its_place() {
    init();
    let mut buffer = gst::Buffer::new();
    let places = [(10.4, 20.6, 0.5), (f32::NAN, 0.0, f32::NAN), (-3.5, 1e20, -1.0), (7.0, 8.0, 1.75)];
    let people =
        [person([0.0; 4], &places, None), person([1.0, 2.0, 3.0, 4.0], &[(1.0, 2.0, 0.25); 4], None)];
    write(&mut buffer, &frame_people("custom-4", people.to_vec()));
    let groups = groups(&buffer);
    assert_eq!(groups.len(), 2);
    let tags: Vec<_> = groups.iter().map(|group| group.1.as_str()).collect();
    assert_eq!(tags, ["pose/custom-4"; 2]);
    let members = |group: usize| -> Vec<_> {
        groups[group]
            .2
            .iter()
            .map(|member| member.map(|(_, position, score)| (position, score)).unwrap())
            .collect()
    };
    assert_eq!(members(0), [([10, 21], 0.5), ([0, 0], 0.0), ([-4, i32::MAX], 0.0), ([7, 8], 1.0)]);
    assert_eq!(members(1), [([1, 2], 0.25); 4]);
}

#[test]
fn tags_and_links_are_those_of_the_skeleton() {
    init();
    for (name, tag) in [("coco-17", "body-pose/coco-17"), ("hand-21", "hand-pose/hand-21")] {
        let skeleton = Skeleton::by_name(name).unwrap();
        let mut buffer = gst::Buffer::new();
        let person = person([0.0, 0.0, 9.0, 9.0], &points(skeleton.points), None);
        write(&mut buffer, &frame_people(name, vec![person]));
        let groups = groups(&buffer);
        assert_eq!(groups[0].1, tag);
        let ids: Vec<_> = groups[0].2.iter().map(|member| member.unwrap().0).collect();
        let meta = buffer.meta::<AnalyticsRelationMeta>().unwrap();
        for a in 0..ids.len() {
            for b in 0..ids.len() {
                let expected = match skeleton.links.contains(&(a as u16, b as u16)) {
                    true => RelTypes::RELATE_TO,
                    false => RelTypes::NONE,
                };
                assert_eq!(meta.relation(ids[a], ids[b]), expected, "{name}: {a} to {b}");
            }
            assert_eq!(meta.relation(groups[0].0, ids[a]), RelTypes::CONTAIN);
            assert_eq!(meta.relation(ids[a], groups[0].0), RelTypes::IS_PART_OF);
        }
        let object = objects(&buffer)[0].id;
        assert_eq!(meta.relation(object, groups[0].0), RelTypes::CONTAIN | RelTypes::RELATE_TO);
        assert_eq!(meta.relation(groups[0].0, object), RelTypes::IS_PART_OF | RelTypes::RELATE_TO);
    }
}

#[test]
fn a_group_belongs_to_the_detectors_object() {
    init();
    let mut buffer = gst::Buffer::new();
    let car = add_object(buffer.make_mut(), "car", [0, 0, 9, 9]);
    let found = add_object(buffer.make_mut(), "person", [1, 2, 30, 40]);
    let person = person([1.0, 2.0, 30.0, 40.0], &points(17), None);
    write(&mut buffer, &frame_people("coco-17", vec![person]));
    let group = groups(&buffer)[0].0;
    let meta = buffer.meta::<AnalyticsRelationMeta>().unwrap();
    assert_eq!(meta.relation(found, group), RelTypes::CONTAIN | RelTypes::RELATE_TO);
    assert_eq!(meta.relation(car, group), RelTypes::NONE);
    // Two objects, a group, its points.
    assert_eq!(entries(&buffer), 2 + 1 + 17);
}

#[test]
fn points_follow_the_frame_when_it_is_scaled() {
    init();
    let scaled = through(
        "videoscale ! capsfilter caps=video/x-raw,width=160,height=480",
        &i420(320, 240),
        one_person(),
    );
    // Whole pixels of the new size, towards zero.
    let expected: Vec<_> = (0..17).map(|i| Some([(10 + 10 * i) / 2, (100 + 5 * i) * 2])).collect();
    assert_eq!(positions(&scaled), expected);
    assert_eq!(
        key_point_groups(&scaled, 160, 480)[0].people.people[0].region,
        Region::new(0.0, 160.0, 100.0, 240.0)
    );
}

#[test]
fn points_follow_the_frame_when_it_is_cropped() {
    init();
    let cropped = through("videocrop left=40 top=20 right=160", &i420(320, 240), one_person());
    // The crop keeps x 40 to 159: points 3 to 14. The other points are outside or gone, and keep their place in
    // the group.
    for (i, position) in (0..).zip(positions(&cropped)) {
        let expected = [10 + 10 * i - 40, 100 + 5 * i - 20];
        match position {
            Some(position) if (3..15).contains(&i) => assert_eq!(position, expected, "point {i}"),
            Some([x, _]) => assert!(!(0..120).contains(&x), "point {i} is at {x}"),
            None => assert!(!(3..15).contains(&i), "point {i} is lost"),
        }
    }
    let group = &key_point_groups(&cropped, 120, 220)[0].people;
    assert_eq!((group.points, group.skeleton.as_str()), (17, "coco-17"));
    let point = group.people[0].key_points[3];
    assert_eq!((point.x, point.y, point.score), (0.0, 95.0, 3.0 / 16.0));
    assert_eq!(group.people[0].id, Some(6));
}

#[test]
fn points_follow_the_frame_when_it_is_flipped() {
    init();
    for (method, expected) in [
        ("horizontal-flip", (|x, y| [320 - x, y]) as fn(i32, i32) -> [i32; 2]),
        ("vertical-flip", |x, y| [x, 240 - y]),
        ("rotate-180", |x, y| [320 - x, 240 - y]),
        ("clockwise", |x, y| [240 - y, x]),
        ("counterclockwise", |x, y| [y, 320 - x]),
    ] {
        let flipped = through(&format!("videoflip method={method}"), &i420(320, 240), one_person());
        for (i, position) in (0..).zip(positions(&flipped)) {
            let [x, y] = expected(10 + 10 * i, 100 + 5 * i);
            let position = position.unwrap_or_else(|| panic!("{method}: point {i} is lost"));
            // A pixel off is allowed: GStreamer's transforms differ in whether a position means a pixel or its
            // border.
            let near = (position[0] - x).abs() <= 1 && (position[1] - y).abs() <= 1;
            assert!(near, "{method}: point {i} is at {position:?}, not at {x}, {y}");
        }
    }
}

#[test]
fn copies_are_whole() {
    init();
    let buffer = one_person();
    let copy = buffer.copy_deep().unwrap();
    assert_eq!(groups(&copy), groups(&buffer));
    assert_eq!(key_point_groups(&copy, 320, 240), key_point_groups(&buffer, 320, 240));
}

#[test]
fn what_is_written_is_read_again() {
    init();
    let mut buffer = gst::Buffer::new();
    let people = [
        person([10.0, 20.0, 60.0, 120.0], &points(17), Some(6)),
        person([30.0, 20.0, 60.0, 120.0], &points(17), None),
    ];
    write(&mut buffer, &frame_people("coco-17", people.to_vec()));
    let read = key_point_groups(&buffer, 320, 240);
    assert!(read.iter().all(|group| group.links.is_empty() && group.people.skeleton == "coco-17"));
    let read: Vec<_> = read.into_iter().flat_map(|group| group.people.people).collect();
    assert_eq!(read, people);
}

fn add_points(buffer: &mut gst::BufferRef, tag: &str, points: &[[i32; 2]], links: &[i32]) -> u32 {
    AnalyticsRelationMeta::add(buffer)
        .add_keypoints_group(tag, KeypointDimensions::_2d, points.as_flattened(), None, None, links)
        .unwrap()
        .id()
}

fn add_group(buffer: &mut gst::BufferRef, members: &[u32]) {
    let mut meta = AnalyticsRelationMeta::add(buffer);
    let id = meta.add_group_mtd(0).unwrap().id();
    for member in members {
        let mut group = ffi::GstAnalyticsMtd { id, meta: meta.as_mut_ptr() };
        // SAFETY: the handle is that of the group just added.
        unsafe { ffi::gst_analytics_group_mtd_add_member((&raw mut group).cast(), *member) };
    }
}

/// Like after a transform that removes what lies outside the frame.
#[test]
fn a_member_that_is_no_point_keeps_its_place() {
    init();
    let mut buffer = gst::Buffer::new();
    let buffer = buffer.get_mut().unwrap();
    let object = add_object(buffer, "ball", [9, 8, 7, 6]);
    let mut add_point = |x| {
        let mut meta = AnalyticsRelationMeta::add(buffer);
        let visible = KeypointVisibility::VISIBLE;
        meta.add_keypoint_mtd(KeypointDimensions::_3d, x, 5, 7, visible, 0.5).unwrap().id()
    };
    let (first, last) = (add_point(3), add_point(4));
    add_group(buffer, &[first, object, last]);
    let group = &key_point_groups(buffer, 64, 48)[0].people;
    let [first, lost, last] = group.people[0].key_points[..] else { panic!("{group:?}") };
    assert_eq!(
        [first, last].map(|point| (point.x, point.y, point.score)),
        [(3.0, 5.0, 0.5), (4.0, 5.0, 0.5)]
    );
    assert!(lost.x.is_nan() && lost.y.is_nan() && lost.score == 0.0);
    // A member is related to its group. So the ball, as the related object, gives the points their region.
    assert_eq!(group.people[0].region, Region::new(9.0, 8.0, 7.0, 6.0));
}

#[test]
fn groups_of_any_writer_are_read() {
    init();
    let mut buffer = gst::Buffer::new();
    let buffer = buffer.get_mut().unwrap();
    let hand = add_points(buffer, "posture/hand-21-kp", &[[3, 4]; 21], &[0, 1]);
    let three = add_points(buffer, "three", &[[1, 2], [5, -6], [7, 8]], &[2, 0]);
    // The number of points differs from the one that the name says.
    add_points(buffer, "body-pose/coco-17", &[[1, 2], [5, 6]], &[]);
    // Groups of things that are not points, and an empty group.
    let object = add_object(buffer, "hand", [9, 8, 7, 6]);
    add_group(buffer, &[object]);
    add_group(buffer, &[]);
    let (first, second) = (add_track(buffer, 11), add_track(buffer, 12));
    // Objects and tracks related from one side only.
    relate(buffer, RelTypes::IS_PART_OF, hand, object);
    relate(buffer, RelTypes::RELATE_TO, first, object);
    relate(buffer, RelTypes::RELATE_TO, three, second);

    let read = key_point_groups(buffer, 64, 48);
    let names: Vec<_> =
        read.iter().map(|group| (group.people.skeleton.as_str(), group.people.points)).collect();
    assert_eq!(names, [("hand-21", 21), ("custom-3", 3), ("custom-2", 2)]);
    let [hand, three, two] = read.try_into().map_err(|_: Vec<KeyPointGroup>| ()).unwrap();
    let person = &hand.people.people[0];
    assert_eq!((person.region, person.id), (Region::new(9.0, 8.0, 7.0, 6.0), Some(11)));
    assert!(person.key_points.iter().all(|point| (point.x, point.y, point.score) == (3.0, 4.0, 1.0)));
    assert!(hand.links.is_empty(), "the skeleton's name tells them");
    let person = &three.people.people[0];
    assert_eq!((person.region, person.id), (Region::new(1.0, -6.0, 6.0, 14.0), Some(12)));
    assert_eq!(three.links, [(0, 2)]);
    assert_eq!((two.people.people[0].id, two.links.len()), (None, 0));
    assert_eq!((two.people.width, two.people.height), (64, 48));
}

#[test]
fn a_tag_that_is_no_text_is_no_skeletons() {
    init();
    let mut buffer = gst::Buffer::new();
    let buffer = buffer.get_mut().unwrap();
    let id = add_points(buffer, "x", &[[1, 2]; 17], &[]);
    let mut meta = buffer.meta_mut::<AnalyticsRelationMeta>().unwrap();
    // SAFETY: the handle is that of the group just added; the string ends with 0.
    unsafe {
        let mut handle = ffi::GstAnalyticsMtd { id, meta: meta.as_mut_ptr() };
        ffi::gst_analytics_mtd_set_semantic_tag(&mut handle, c"co\xffco-17".as_ptr());
        assert_eq!(key_point_groups(buffer, 64, 48)[0].people.skeleton, "custom-17");
        ffi::gst_analytics_mtd_set_semantic_tag(&mut handle, std::ptr::null());
        assert_eq!(key_point_groups(buffer, 64, 48)[0].people.skeleton, "custom-17");
    }
}

#[test]
fn a_buffer_without_any_has_none() {
    init();
    let mut buffer = gst::Buffer::new();
    assert_eq!(key_point_groups(&buffer, 64, 48), []);
    AnalyticsRelationMeta::add(buffer.make_mut());
    assert_eq!(key_point_groups(&buffer, 64, 48), []);
}
