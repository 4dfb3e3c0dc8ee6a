//! People in GstAnalytics, GStreamer's own metadata for what was found in a frame: one relation meta for each buffer, to
//! which every element adds.
//!
//! Written for each person: an object of type `person` (the detector's own, if the person comes from one); a track related
//! to it, if the person has an id; and, from GStreamer 1.30 on, a group of key points with the semantic tag of its skeleton
//! (`body-pose/coco-17`), whose links are relations between its points. Group and object are related in both directions.
//! Positions are whole pixels of the frame, and confidences are 0 to 1; unlike `RtmPoseMeta`, they follow the frame through
//! cropping and flipping. A frame without people gets an empty relation meta.
//!
//! Read: people that an upstream detector found, and groups of key points from any element.

mod first_seen;
mod read;
#[cfg(feature = "v1_30")]
mod tag;
mod write;

use gst_analytics::{AnalyticsRelationMeta, RelTypes};

pub use first_seen::FirstSeen;
pub(super) use read::person_regions;
#[cfg(feature = "v1_30")]
pub use read::{KeyPointGroup, key_point_groups};
pub use write::{write, write_objects};

/// Whether there is a relation between the two, in either direction: elements differ in this.
fn related(meta: &AnalyticsRelationMeta, a: u32, b: u32) -> bool {
    meta.relation(a, b) | meta.relation(b, a) != RelTypes::NONE
}
