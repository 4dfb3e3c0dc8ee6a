//! Objects of upstream detectors as the regions of people.

use gst::prelude::*;
use gst_analytics::{AnalyticsRelationMeta, RelTypes, ffi, prelude::*};
use gst_video::VideoRegionOfInterestMeta;
use gstrtmpose::{
    meta::{PersonRegion, person_regions},
    pose::Region,
};

use crate::rig::*;

fn region([x, y, width, height]: [i32; 4], id: Option<i64>) -> PersonRegion {
    let region = Region::new(x as f32, y as f32, width as f32, height as f32);
    PersonRegion { region, id, number: None, confidence: Some(CONFIDENCE) }
}

#[test]
fn persons_are_known_by_their_label_and_track() {
    init();
    let mut buffer = gst::Buffer::new();
    let buffer = buffer.get_mut().unwrap();
    add_object(buffer, "car", [9, 9, 9, 9]);
    add_object(buffer, "person", [1, -2, 3, 4]);
    let tracked = add_object(buffer, "PERSON", [5, 6, 7, 8]);
    let other = add_object(buffer, "Person", [10, 11, 12, 13]);
    let too_large = add_object(buffer, "person", [0, 0, 1, 1]);
    add_object(buffer, "people", [9, 9, 9, 9]);
    let lonely = add_track(buffer, 1);
    let (track, back) = (add_track(buffer, 41), add_track(buffer, 42));
    let huge = add_track(buffer, u64::MAX);
    relate(buffer, RelTypes::RELATE_TO, tracked, track);
    // The relation in the other direction.
    relate(buffer, RelTypes::IS_PART_OF, back, other);
    relate(buffer, RelTypes::RELATE_TO, too_large, huge);
    relate(buffer, RelTypes::RELATE_TO, lonely, track);
    assert_eq!(
        person_regions(buffer, &["person"]).unwrap(),
        [
            region([1, -2, 3, 4], None),
            region([5, 6, 7, 8], Some(41)),
            region([10, 11, 12, 13], Some(42)),
            region([0, 0, 1, 1], None),
        ]
    );
}

#[test]
fn a_turned_object_is_the_box_around_it() {
    init();
    let mut buffer = gst::Buffer::new();
    let label = gst::glib::Quark::from_str("person");
    let quarter = std::f32::consts::FRAC_PI_2;
    AnalyticsRelationMeta::add(buffer.make_mut())
        .add_oriented_od_mtd(label, 100, 100, 40, 20, quarter, 1.0)
        .unwrap();
    let found = person_regions(&buffer, &["person"]).unwrap()[0].region;
    // A quarter turn around (120, 110), within the library's rounding.
    let expected = [110.0, 90.0, 20.0, 40.0];
    let found = [found.x, found.y, found.width, found.height];
    assert!(found.iter().zip(expected).all(|(a, b): (&f32, f32)| (a - b).abs() <= 1.0), "{found:?}");
}

#[test]
fn a_detector_that_found_nobody_says_so() {
    init();
    let mut buffer = gst::Buffer::new();
    assert_eq!(person_regions(&buffer, &["person"]), None);
    AnalyticsRelationMeta::add(buffer.make_mut());
    assert_eq!(person_regions(&buffer, &["person"]), Some(vec![]));
    add_object(buffer.make_mut(), "car", [1, 2, 3, 4]);
    assert_eq!(person_regions(&buffer, &["person"]), Some(vec![]));

    // Entries that are not objects.
    let mut buffer = gst::Buffer::new();
    add_track(buffer.make_mut(), 1);
    assert_eq!(person_regions(&buffer, &["person"]), None);
}

/// A buffer that comes back from its pool may carry the relation meta of its last use, emptied.
#[test]
fn what_a_pool_left_behind_says_nothing() {
    init();
    let pool = pool_of_one(16);
    let mut buffer = pool.acquire_buffer(None).unwrap();
    add_object(buffer.make_mut(), "person", [1, 2, 3, 4]);
    assert_eq!(person_regions(&buffer, &["person"]).unwrap().len(), 1);
    drop(buffer);
    let mut buffer = pool.acquire_buffer(None).unwrap();
    assert_eq!(person_regions(&buffer, &["person"]), None);
    add_object(buffer.make_mut(), "car", [1, 2, 3, 4]);
    assert_eq!(person_regions(&buffer, &["person"]), Some(vec![]));
    drop(buffer);
    pool.set_active(false).unwrap();
}

/// Some detectors write both metadata for each person.
#[test]
fn nobody_is_there_twice() {
    init();
    let mut buffer = gst::Buffer::new();
    let buffer = buffer.get_mut().unwrap();
    VideoRegionOfInterestMeta::add(buffer, "person", (1, 2, 3, 4));
    VideoRegionOfInterestMeta::add(buffer, "person", (5, 6, 7, 8));
    assert_eq!(person_regions(buffer, &["person"]).unwrap().len(), 2);
    // Objects of other kinds leave the regions as they are.
    add_object(buffer, "car", [9, 9, 9, 9]);
    assert_eq!(person_regions(buffer, &["person"]).unwrap().len(), 2);
    add_object(buffer, "person", [1, 2, 3, 4]);
    assert_eq!(person_regions(buffer, &["person"]).unwrap(), [region([1, 2, 3, 4], None)]);
}

/// Values that only C code can write: no label, a label that is not UTF-8, an unknown time.
#[test]
fn odd_entries_are_harmless() {
    init();
    let mut buffer = gst::Buffer::new();
    let buffer = buffer.get_mut().unwrap();
    let person = add_object(buffer, "person", [1, 2, 3, 4]);
    let track = {
        let mut meta = AnalyticsRelationMeta::add(buffer);
        let mut track = ffi::GstAnalyticsMtd { id: 0, meta: std::ptr::null_mut() };
        // SAFETY: the meta is that of a writable buffer; the strings end with 0.
        unsafe {
            for label in [0, gst::glib::ffi::g_quark_from_string(c"per\xffson".as_ptr()), u32::MAX] {
                let no_handle = &raw mut track;
                ffi::gst_analytics_relation_meta_add_od_mtd(
                    meta.as_mut_ptr(),
                    label,
                    9,
                    9,
                    9,
                    9,
                    1.0,
                    no_handle.cast(),
                );
            }
            let time = gst::ffi::GST_CLOCK_TIME_NONE;
            ffi::gst_analytics_relation_meta_add_tracking_mtd(
                meta.as_mut_ptr(),
                8,
                time,
                (&raw mut track).cast(),
            );
        }
        track.id
    };
    relate(buffer, RelTypes::RELATE_TO, person, track);
    assert_eq!(person_regions(buffer, &["person"]).unwrap(), [region([1, 2, 3, 4], Some(8))]);
}
