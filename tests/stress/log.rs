//! What was pushed into a stream and what came out of it, in order.

use crate::plan::Format;

/// What a frame must carry when it comes out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expected {
    /// The people that the frame must carry.
    pub people: People,
    /// Whether the people are of an earlier frame.
    pub carried: bool,
    /// Whether the frame carries no metadata.
    pub bare: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum People {
    /// The test does not know whether the frame is inferred.
    Unknown,
    /// Any number of people.
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
        /// Whether the chain function accepted it.
        accepted: bool,
    },
    Event {
        kind: gst::EventType,
        number: gst::Seqnum,
        sticky: bool,
        /// The format of a caps event.
        format: Option<Format>,
        accepted: bool,
    },
    Query {
        answer: bool,
    },
    /// Queued frames are dropped.
    Flush,
    /// The element stopped and started again.
    Restart,
}

#[derive(Clone, Debug)]
pub enum Arrived {
    Frame {
        number: u32,
        size: usize,
        people: Option<Found>,
        /// Whether the pixels are those that were pushed.
        unchanged: bool,
        /// Downstream's answer.
        answer: Result<gst::FlowSuccess, gst::FlowError>,
    },
    Event {
        kind: gst::EventType,
        number: gst::Seqnum,
    },
    /// The query at this place in the list of what was pushed.
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
