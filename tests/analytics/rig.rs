//! Relation metas as plain values.

use gst::{glib, prelude::*};
use gst_analytics::{
    AnalyticsMtdRef, AnalyticsODMtd, AnalyticsRelationMeta, AnalyticsTrackingMtd, RelTypes, prelude::*,
};
use gstrtmpose::{
    meta::{
        FramePeople,
        analytics::{self, FirstSeen},
    },
    pose::{KeyPoint, Person, Region},
};

pub fn init() {
    crate::network_rig::init();
}

/// An object: id, label, x, y, width and height, confidence.
#[derive(Debug, PartialEq)]
pub struct Object {
    pub id: u32,
    pub label: String,
    pub place: [i32; 4],
    pub confidence: f32,
}

pub fn objects(buffer: &gst::BufferRef) -> Vec<Object> {
    let meta = buffer.meta::<AnalyticsRelationMeta>().expect("no relation meta");
    meta.iter::<AnalyticsODMtd>()
        .map(|object| {
            let place = object.location().unwrap();
            Object {
                id: object.id(),
                label: object.obj_type().unwrap().as_str().to_string(),
                place: [place.x, place.y, place.w, place.h],
                confidence: place.loc_conf_lvl,
            }
        })
        .collect()
}

/// Tracks to which the object is related: id, first and last seen.
pub fn tracks(buffer: &gst::BufferRef, object: u32) -> Vec<(u64, gst::ClockTime, gst::ClockTime)> {
    let meta = buffer.meta::<AnalyticsRelationMeta>().unwrap();
    meta.iter_direct_related::<AnalyticsTrackingMtd>(object, RelTypes::RELATE_TO)
        .map(|track: AnalyticsMtdRef<AnalyticsTrackingMtd>| {
            let (id, first, last, lost) = track.info();
            assert!(!lost);
            (id, first, last)
        })
        .collect()
}

/// The confidence of every object.
pub const CONFIDENCE: f32 = 0.625;

pub fn add_object(buffer: &mut gst::BufferRef, label: &str, [x, y, w, h]: [i32; 4]) -> u32 {
    let mut meta = AnalyticsRelationMeta::add(buffer);
    meta.add_od_mtd(glib::Quark::from_str(label), x, y, w, h, CONFIDENCE).unwrap().id()
}

pub fn add_track(buffer: &mut gst::BufferRef, id: u64) -> u32 {
    let mut meta = AnalyticsRelationMeta::add(buffer);
    meta.add_tracking_mtd(id, gst::ClockTime::from_seconds(1)).unwrap().id()
}

pub fn relate(buffer: &mut gst::BufferRef, types: RelTypes, from: u32, to: u32) {
    buffer.meta_mut::<AnalyticsRelationMeta>().unwrap().set_relation(types, from, to).unwrap();
}

pub fn person([x, y, width, height]: [f32; 4], points: &[(f32, f32, f32)], id: Option<i64>) -> Person {
    let key_points = points.iter().map(|&(x, y, score)| KeyPoint { x, y, score, z: None }).collect();
    Person { region: Region::new(x, y, width, height), key_points, id }
}

/// People, each with the number of points of the first one.
pub fn frame_people(skeleton: &str, people: Vec<Person>) -> FramePeople {
    FramePeople {
        source: "pose".into(),
        width: 320,
        height: 240,
        skeleton: skeleton.into(),
        points: people.first().map_or(17, |person| person.key_points.len()),
        people,
        carried: false,
    }
}

/// Writes the people as at second 5 of a stream.
pub fn write(buffer: &mut gst::Buffer, people: &FramePeople) {
    let now = Some(gst::ClockTime::from_seconds(5));
    analytics::write(buffer.make_mut(), people, now, &mut FirstSeen::default()).unwrap();
}

/// The frame that comes out of GStreamer's `elements` for this frame.
pub fn through(elements: &str, caps: &str, buffer: gst::Buffer) -> gst::Buffer {
    let mut harness = gst_check::Harness::new_parse(elements);
    harness.set_src_caps_str(caps);
    harness.push_and_pull(buffer).unwrap_or_else(|error| panic!("{elements}: {error}"))
}

/// The number of entries in the relation meta.
pub fn entries(buffer: &gst::BufferRef) -> usize {
    buffer.meta::<AnalyticsRelationMeta>().unwrap().len()
}

/// Sets the frame's size in a launch line's caps.
pub fn i420(width: u32, height: u32) -> String {
    format!("video/x-raw,format=I420,width={width},height={height},framerate=30/1")
}

/// A grey I420 frame.
pub fn grey(width: usize, height: usize) -> gst::Buffer {
    init();
    let mut buffer = gst::Buffer::from_mut_slice(vec![128u8; width * height * 3 / 2]);
    buffer.get_mut().unwrap().set_pts(gst::ClockTime::ZERO);
    buffer
}

/// An active pool with one buffer, which it hands out again and again.
pub fn pool_of_one(size: u32) -> gst::BufferPool {
    let pool = gst::BufferPool::new();
    let mut config = pool.config();
    config.set_params(None, size, 1, 1);
    pool.set_config(config).unwrap();
    pool.set_active(true).unwrap();
    pool
}

/// Asserts that GStreamer has an element: without it these tests mean nothing.
pub fn require(element: &str) {
    init();
    assert!(
        gst::ElementFactory::find(element).is_some(),
        "needs the element {element} (gstreamer1.0-plugins-bad)"
    );
}
