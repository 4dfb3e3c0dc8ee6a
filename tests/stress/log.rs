//! What was pushed into a stream and what came out of it, in order.

use crate::plan::Format;

/// What a frame must carry when it comes out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expected {
    /// People with a result of their own.
    pub people: People,
    /// The people of an earlier frame.
    pub carried: bool,
    /// No metadata at all.
    pub bare: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum People {
    /// The test does not know whether the frame is looked at.
    Unknown,
    /// As many as are found.
    Any,
    Exactly(usize),
}

#[derive(Clone, Debug)]
pub enum Pushed {
    Frame {
        number: u32,
        expected: Expected,
        format: Format,
        segment: gst::Seqnum,
        /// The chain function took it.
        accepted: bool,
    },
    Event {
        kind: gst::EventType,
        number: gst::Seqnum,
        sticky: bool,
        /// Of a caps event.
        format: Option<Format>,
        accepted: bool,
    },
    Query {
        answer: bool,
    },
    /// What was queued is dropped.
    Flush,
    /// The element went down and up again.
    Restart,
}

#[derive(Clone, Debug)]
pub enum Arrived {
    Frame {
        number: u32,
        size: usize,
        people: Option<Found>,
        /// The pixels are those that were pushed.
        unchanged: bool,
        /// What downstream answered.
        answer: Result<gst::FlowSuccess, gst::FlowError>,
    },
    Event {
        kind: gst::EventType,
        number: gst::Seqnum,
    },
    /// The query at this place of what was pushed.
    Query(usize),
    Flush,
    Restart,
}

/// The metadata of a frame.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    pub size: (u32, u32),
    /// The number that the network saw in each person's crop.
    pub numbers: Vec<u32>,
    pub carried: bool,
}
