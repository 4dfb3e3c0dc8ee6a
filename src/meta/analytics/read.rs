//! What other elements wrote. It is not trusted: labels and tags may not be text, and times may be missing.

use gst::glib::{self, translate::UnsafeFrom};
use gst_analytics::{AnalyticsODMtd, AnalyticsRelationMeta, AnalyticsTrackingMtd, ffi, prelude::*};

use super::related;
use crate::{
    meta::person::{PersonRegion, is_called},
    pose::Region,
};

type Meta<'a> = gst::MetaRef<'a, AnalyticsRelationMeta>;
type Mtd<'a, T> = gst_analytics::AnalyticsMtdRef<'a, T>;

/// The people among the objects that upstream detected, in order, with the ids of their tracks. None: the buffer has no
/// relation meta, or one without objects. An empty one means that nothing was found, unless the buffer comes from a pool:
/// from GStreamer 1.28 on, such metas stay on the buffer and are emptied, so it may belong to an earlier frame.
pub(in crate::meta) fn person_regions(buffer: &gst::BufferRef, labels: &[&str]) -> Option<Vec<PersonRegion>> {
    let meta = buffer.meta::<AnalyticsRelationMeta>()?;
    let objects: Vec<_> = meta.iter::<AnalyticsODMtd>().collect();
    let kept_by_a_pool = meta.flags().contains(gst::MetaFlags::POOLED);
    if objects.is_empty() && (!meta.is_empty() || kept_by_a_pool) {
        return None;
    }
    let persons = objects.iter().filter(|object| is_called(label(object), labels));
    let regions = persons.filter_map(|object| {
        // The upright box around a rotated object.
        let place = object.location().ok()?;
        let region = Region::new(place.x as f32, place.y as f32, place.w as f32, place.h as f32);
        let confidence = Some(place.loc_conf_lvl).filter(|confidence| confidence.is_finite());
        Some(PersonRegion { region, id: track_of(&meta, object.id()), number: None, confidence })
    });
    Some(regions.collect())
}

/// The object's label; 0 is none.
pub(super) fn label(object: &Mtd<AnalyticsODMtd>) -> glib::ffi::GQuark {
    // Not `obj_type()`, whose quark assumes that any string is UTF-8.
    // SAFETY: the handle is that of a meta borrowed from its buffer.
    unsafe {
        let handle = ffi::GstAnalyticsMtd::unsafe_from(object);
        ffi::gst_analytics_od_mtd_get_obj_type((&raw const handle).cast())
    }
}

/// The id of the track that is related to the object.
pub(super) fn track_of(meta: &Meta, object: u32) -> Option<i64> {
    let track = meta.iter::<AnalyticsTrackingMtd>().find(|track| related(meta, object, track.id()))?;
    let mut id = 0;
    let (none, no_flag) = (std::ptr::null_mut(), std::ptr::null_mut());
    // Not `info()`, which panics at an unknown time.
    // SAFETY: the handle is that of a meta borrowed from its buffer; outputs that are not asked for may be null.
    let found = unsafe {
        let handle = ffi::GstAnalyticsMtd::unsafe_from(&track);
        ffi::gst_analytics_tracking_mtd_get_info((&raw const handle).cast(), &mut id, none, none, no_flag)
    };
    if found == glib::ffi::GFALSE { None } else { i64::try_from(id).ok() }
}

#[cfg(feature = "v1_30")]
pub use groups::{KeyPointGroup, key_point_groups};

#[cfg(feature = "v1_30")]
mod groups {
    use std::ffi::CStr;

    use gst_analytics::{AnalyticsGroupMtd, AnalyticsKeypointMtd, RelTypes};

    use super::*;
    use crate::{
        meta::{FramePeople, analytics::tag},
        pose::{KeyPoint, Person, skeleton},
    };

    /// One person, hand or face, from a group of key points.
    #[derive(Clone, Debug, PartialEq)]
    pub struct KeyPointGroup {
        /// The only one in it. Its region is that of the object related to the group, or else the box around the points.
        pub people: FramePeople,
        /// Pairs of related points, for a group whose skeleton has no known name.
        pub links: Vec<(u16, u16)>,
    }

    /// The groups of key points on the buffer, in order, for a frame of `width` x `height` pixels. Members that are not key
    /// points (cropping removes points outside) keep their place, as points that were not found.
    pub fn key_point_groups(buffer: &gst::BufferRef, width: u32, height: u32) -> Vec<KeyPointGroup> {
        let Some(meta) = buffer.meta::<AnalyticsRelationMeta>() else { return Vec::new() };
        meta.iter::<AnalyticsGroupMtd>()
            .filter_map(|group| read_group(&meta, &group, width, height))
            .collect()
    }

    fn read_group(
        meta: &Meta,
        group: &Mtd<AnalyticsGroupMtd>,
        width: u32,
        height: u32,
    ) -> Option<KeyPointGroup> {
        let members: Vec<_> = (0..group.member_count())
            .map(|index| group.member_typed::<AnalyticsKeypointMtd>(index))
            .collect();
        if members.iter().all(Option::is_none) {
            return None;
        }
        let key_points: Vec<_> = members.iter().map(|member| key_point(member.as_ref())).collect();
        let known = tag::skeleton(&semantic_tag(group)).filter(|known| known.points == members.len());
        let links = if known.is_some() { Vec::new() } else { links(meta, &members) };

        let object = meta.iter::<AnalyticsODMtd>().find(|object| related(meta, group.id(), object.id()));
        let place = object.as_ref().and_then(|object| object.location().ok());
        let region = match place {
            Some(place) => Region::new(place.x as f32, place.y as f32, place.w as f32, place.h as f32),
            None => around(&key_points),
        };
        let id = track_of(meta, group.id())
            .or_else(|| object.as_ref().and_then(|object| track_of(meta, object.id())));
        let points = key_points.len();
        Some(KeyPointGroup {
            people: FramePeople {
                source: "GstAnalytics".into(),
                width,
                height,
                skeleton: known
                    .map_or_else(|| skeleton::custom_name(points), |skeleton| skeleton.name.into()),
                points,
                people: vec![Person { region, key_points, id }],
                carried: false,
            },
            links,
        })
    }

    fn key_point(member: Option<&Mtd<AnalyticsKeypointMtd>>) -> KeyPoint {
        let found = member.and_then(|point| Some((point.position().ok()?, point.confidence().ok()?)));
        match found {
            Some((position, score)) => {
                KeyPoint { x: position.x as f32, y: position.y as f32, score, z: None }
            }
            None => KeyPoint { x: f32::NAN, y: f32::NAN, score: 0.0, z: None },
        }
    }

    fn semantic_tag(group: &Mtd<AnalyticsGroupMtd>) -> Vec<u8> {
        // Not `semantic_tag()`, which assumes that any string is UTF-8.
        // SAFETY: the handle is that of a meta borrowed from its buffer; the string is ours and ends with 0.
        unsafe {
            let tag = ffi::gst_analytics_mtd_get_semantic_tag(&ffi::GstAnalyticsMtd::unsafe_from(group));
            if tag.is_null() {
                return Vec::new();
            }
            let bytes = CStr::from_ptr(tag).to_bytes().to_vec();
            glib::ffi::g_free(tag.cast());
            bytes
        }
    }

    /// Pairs of members with a relation between them, in either direction.
    fn links(meta: &Meta, members: &[Option<Mtd<AnalyticsKeypointMtd>>]) -> Vec<(u16, u16)> {
        let ids: Vec<_> = members
            .iter()
            .zip(0..=u16::MAX)
            .filter_map(|(member, index)| Some((index, member.as_ref()?.id())))
            .collect();
        let mut links = Vec::new();
        for (position, &(a, first)) in ids.iter().enumerate() {
            for &(b, second) in &ids[position + 1..] {
                let types = meta.relation(first, second) | meta.relation(second, first);
                if types.contains(RelTypes::RELATE_TO) {
                    links.push((a, b));
                }
            }
        }
        links
    }

    /// The box around the points that were found.
    fn around(points: &[KeyPoint]) -> Region {
        let found = || points.iter().filter(|point| point.x.is_finite() && point.y.is_finite());
        let (left, right) = found().fold((f32::MAX, f32::MIN), |(l, r), p| (l.min(p.x), r.max(p.x)));
        let (top, bottom) = found().fold((f32::MAX, f32::MIN), |(t, b), p| (t.min(p.y), b.max(p.y)));
        Region::new(left, top, right - left, bottom - top)
    }
}
