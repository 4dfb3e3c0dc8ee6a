//! A frame as it is written.

use crate::{meta::FramePeople, pose::Skeleton};

/// What the stream says of a frame.
#[derive(Clone, Debug)]
pub struct Frame {
    /// Frames since the element started, from 0.
    pub number: u64,
    /// Nanoseconds; none when the frame has no time.
    pub pts: Option<u64>,
    /// Nanoseconds; none without a time, and outside the segment.
    pub running_time: Option<u64>,
    /// When it was taken, as ISO 8601; none where nothing tells it.
    pub utc: Option<String>,
    /// Pixels.
    pub width: u32,
    pub height: u32,
}

/// The skeleton that people have: the one that is asked for where it has as many points, else the one that their metadata
/// names. One of another size than the metadata says is not this one's.
pub fn skeleton_of(found: &FramePeople, asked: Option<&'static Skeleton>) -> Option<&'static Skeleton> {
    let fits = |skeleton: &&Skeleton| skeleton.points == found.points;
    asked.filter(fits).or_else(|| Skeleton::by_name(&found.skeleton).filter(fits))
}
