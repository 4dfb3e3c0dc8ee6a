//! A frame to be written.

/// What the stream says about a frame.
#[derive(Clone, Debug)]
pub struct Frame {
    /// Frames since the element started, from 0.
    pub number: u64,
    /// Nanoseconds; none if the frame has no timestamp.
    pub pts: Option<u64>,
    /// Nanoseconds; none without a timestamp, and outside the segment.
    pub running_time: Option<u64>,
    /// When it was taken, as ISO 8601; none if that is not known.
    pub utc: Option<String>,
    /// Pixels.
    pub width: u32,
    pub height: u32,
}
