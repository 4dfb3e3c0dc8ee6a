//! Writes people as objects, tracks and groups of key points.

use gst::glib;
use gst_analytics::{
    AnalyticsODMtd, AnalyticsRelationMeta, AnalyticsRelationMetaInitParams, RelTypes, ffi, prelude::*,
};

use super::{
    FirstSeen,
    read::{label, track_of},
};
use crate::{
    meta::{FramePeople, person::is_called},
    pose::{Person, Region},
};

type MetaMut<'a> = gst::MetaRefMut<'a, AnalyticsRelationMeta, gst::meta::Standalone>;

/// Bytes of an entry beside its contents (40 in GStreamer 1.30), and the largest entry except for groups.
const ENTRY_SIZE: usize = 40;
const CONTENT_SIZE: usize = 32;
/// Room for other entries, as in GStreamer's default.
const ROOM_FOR_OTHERS: usize = 5;

/// Relations take the square of the entries: 64 MiB for this many.
const MOST_ENTRIES: usize = 8192;

/// An object that was already on the buffer.
struct Detection {
    id: u32,
    region: Region,
    is_person: bool,
    tracked: bool,
    used: bool,
}

/// Adds the people to the buffer's relation meta, which is made if there is none; entries of other elements stay. A person
/// whose box equals that of an object, to the pixel, uses that object.
///
/// If the entries of all people and points would take too much memory, no groups of key points are written. Over 4096
/// people are an error, and nothing is added; `RtmPoseMeta` has them all.
///
/// `now` is the frame's running time, if known. It says when a tracked person was first and last seen.
pub fn write(
    buffer: &mut gst::BufferRef,
    frame: &FramePeople,
    now: Option<gst::ClockTime>,
    first_seen: &mut FirstSeen,
) -> Result<(), glib::BoolError> {
    let mut detections = detections(buffer);
    // Only a new meta can be given its size. Growing later copies all relations, a square, every few entries.
    let entries_of = |each: usize| frame.people.len().saturating_mul(each);
    let with_groups = cfg!(feature = "v1_30") && entries_of(frame.points.saturating_add(3)) <= MOST_ENTRIES;
    // An object and a track for each person, and a group with its points.
    let points = if with_groups { frame.points } else { 0 };
    let (entries, members) = (entries_of(2 + points + usize::from(with_groups)), entries_of(points));
    if entries > MOST_ENTRIES {
        return Err(glib::bool_error!("{} people are too many for GstAnalytics", frame.people.len()));
    }
    let size = AnalyticsRelationMetaInitParams::new(
        entries + ROOM_FOR_OTHERS,
        (entries + ROOM_FOR_OTHERS) * (ENTRY_SIZE + CONTENT_SIZE) + members * size_of::<u32>(),
    );
    let mut meta = AnalyticsRelationMeta::add_full(buffer, &size);
    #[cfg(feature = "v1_30")]
    let skeleton = super::write::groups::Outline::new(frame);
    for person in &frame.people {
        let (object, tracked) = match detection_of(person, &mut detections) {
            Some(detection) => (detection.id, detection.tracked),
            None => (add_object(&mut meta, &person.region, person.score())?, false),
        };
        if let (Some(id), false) = (person.id.filter(|id| *id >= 0), tracked) {
            add_track(&mut meta, object, id, now, first_seen)?;
        }
        #[cfg(feature = "v1_30")]
        if with_groups {
            skeleton.add_group(&mut meta, object, person)?;
        }
    }
    Ok(())
}

/// Adds an object of type `person` for each of a detector's boxes; entries of other elements stay. A frame without people
/// gets an empty relation meta.
pub fn write_objects(buffer: &mut gst::BufferRef, people: &[(Region, f32)]) -> Result<(), glib::BoolError> {
    let entries = people.len() + ROOM_FOR_OTHERS;
    if entries > MOST_ENTRIES {
        return Err(glib::bool_error!("{} people are too many for GstAnalytics", people.len()));
    }
    let size = AnalyticsRelationMetaInitParams::new(entries, entries * (ENTRY_SIZE + CONTENT_SIZE));
    let mut meta = AnalyticsRelationMeta::add_full(buffer, &size);
    for (region, score) in people {
        add_object(&mut meta, region, *score)?;
    }
    Ok(())
}

fn detections(buffer: &gst::BufferRef) -> Vec<Detection> {
    let Some(meta) = buffer.meta::<AnalyticsRelationMeta>() else { return Vec::new() };
    meta.iter::<AnalyticsODMtd>()
        .filter_map(|object| {
            let place = object.location().ok()?;
            Some(Detection {
                id: object.id(),
                region: Region::new(place.x as f32, place.y as f32, place.w as f32, place.h as f32),
                is_person: is_called(label(&object), &["person"]),
                tracked: track_of(&meta, object.id()).is_some(),
                used: false,
            })
        })
        .collect()
}

/// The object of the detector that found the person: an object that is a person, before one with another name.
fn detection_of<'a>(person: &Person, detections: &'a mut [Detection]) -> Option<&'a Detection> {
    let detection = detections
        .iter_mut()
        .filter(|detection| !detection.used && corners(&detection.region) == corners(&person.region))
        .min_by_key(|detection| !detection.is_person)?;
    detection.used = true;
    Some(detection)
}

fn add_object(meta: &mut MetaMut, region: &Region, score: f32) -> Result<u32, glib::BoolError> {
    let [left, top, right, bottom] = corners(region);
    let object = meta.add_od_mtd(
        glib::Quark::from_str("person"),
        left,
        top,
        right.saturating_sub(left),
        bottom.saturating_sub(top),
        confidence(score),
    )?;
    Ok(object.id())
}

fn add_track(
    meta: &mut MetaMut,
    object: u32,
    id: i64,
    now: Option<gst::ClockTime>,
    first_seen: &mut FirstSeen,
) -> Result<(), glib::BoolError> {
    // The time is required; the stream's start replaces an unknown time.
    let now = now.unwrap_or_default();
    let track = meta.add_tracking_mtd(id.unsigned_abs(), first_seen.see(id, now))?.id();
    // Not `mtd_mut()`, which borrows the meta forever.
    // SAFETY: the handle is that of the entry just added to this meta.
    unsafe {
        let mut handle = ffi::GstAnalyticsMtd { id: track, meta: meta.as_mut_ptr() };
        ffi::gst_analytics_tracking_mtd_update_last_seen((&raw mut handle).cast(), now.nseconds());
    }
    meta.set_relation(RelTypes::RELATE_TO, object, track)
}

/// Left, top, right and bottom in whole pixels, as in objects.
fn corners(&Region { x, y, width, height }: &Region) -> [i32; 4] {
    [x, y, x + width, y + height].map(whole)
}

/// Whole pixels; NaN becomes 0, and numbers that are too large the largest possible one.
fn whole(position: f32) -> i32 {
    position.round() as i32
}

/// Readers expect 0 to 1; scores can be a little lower or higher, or NaN.
fn confidence(score: f32) -> f32 {
    if score > 0.0 { score.min(1.0) } else { 0.0 }
}

#[cfg(feature = "v1_30")]
mod groups {
    use gst_analytics::KeypointDimensions;

    use super::*;
    use crate::{meta::analytics::tag, pose::Skeleton};

    /// What is equal for all groups of a frame.
    pub(super) struct Outline {
        tag: String,
        /// Indices of linked points, two for each link.
        links: Vec<i32>,
    }

    impl Outline {
        pub fn new(frame: &FramePeople) -> Self {
            let skeleton =
                Skeleton::by_name(&frame.skeleton).filter(|skeleton| skeleton.points == frame.points);
            let links = skeleton.map_or(&[][..], |skeleton| skeleton.links);
            Self {
                tag: tag::of_skeleton(&frame.skeleton),
                links: links.iter().flat_map(|&(a, b)| [a.into(), b.into()]).collect(),
            }
        }

        /// Adds the person's key points, in order: also those that were not found, with a confidence of 0.
        pub fn add_group(
            &self,
            meta: &mut MetaMut,
            object: u32,
            person: &Person,
        ) -> Result<(), glib::BoolError> {
            if person.key_points.is_empty() {
                return Ok(());
            }
            let positions: Vec<_> =
                person.key_points.iter().flat_map(|point| [whole(point.x), whole(point.y)]).collect();
            let confidences: Vec<_> = person.key_points.iter().map(|point| confidence(point.score)).collect();
            let dimensions = KeypointDimensions::_2d;
            // Whether a point is hidden is not known.
            let group = meta
                .add_keypoints_group(
                    &self.tag,
                    dimensions,
                    &positions,
                    Some(&confidences),
                    None,
                    &self.links,
                )?
                .id();
            // Each call sets all relation types of a direction.
            meta.set_relation(RelTypes::CONTAIN | RelTypes::RELATE_TO, object, group)?;
            meta.set_relation(RelTypes::IS_PART_OF | RelTypes::RELATE_TO, group, object)
        }
    }
}
