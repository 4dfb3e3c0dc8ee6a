//! A frame as it is written.

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
