//! The ordered queue between the sink pad's streaming thread and the source pad's task.

use std::{
    collections::VecDeque,
    ptr::NonNull,
    sync::{Arc, Condvar, Mutex, mpsc},
};

use super::follow::{FollowedFrame, Following};
use crate::{
    engine::Ticket,
    pose::{Crop, Region},
    sync::lock,
};

/// A person to be looked for in a frame.
pub(super) struct Candidate {
    pub region: Region,
    pub id: Option<i64>,
    pub crop: Crop,
    pub ticket: Ticket,
}

pub(super) struct Frame {
    pub buffer: gst::Buffer,
    /// Size of the frame in pixels.
    pub width: u32,
    pub height: u32,
    /// When it is, by the stream's own time, in seconds.
    pub now: f64,
    pub work: Work,
}

/// What becomes of a frame.
pub(super) enum Work {
    /// It goes on without metadata.
    Pass,
    /// It carries the people of the last frame that was inferred.
    Carry,
    /// It carries the people found in its crops.
    Infer(Vec<Candidate>),
    /// It carries the people who are followed in it.
    Follow(Arc<Following>, Arc<FollowedFrame>),
    /// Its crops could not be made, for this reason.
    Fail(String),
}

impl Frame {
    fn tickets(&self) -> impl Iterator<Item = &Ticket> {
        let candidates: &[Candidate] =
            if let Work::Infer(candidates) = &self.work { candidates } else { &[] };
        let looks = if let Work::Follow(_, frame) = &self.work { frame.looks.as_slice() } else { &[] };
        let of_looks = looks.iter().map(|(_, _, ticket)| ticket);
        candidates.iter().map(|candidate| &candidate.ticket).chain(of_looks)
    }

    /// Whether a crop of the frame was not yet handed to an executor.
    fn is_waiting(&self) -> bool {
        self.tickets().any(|ticket| !ticket.is_handed())
    }

    /// Whether all crops of the frame are answered.
    fn is_done(&self) -> bool {
        self.tickets().all(|ticket| ticket.outcome().is_some())
    }
}

/// A serialized query whose caller waits; dropped unanswered, the caller hears false.
pub(super) struct Query {
    query: NonNull<gst::QueryRef>,
    answer: mpsc::SyncSender<bool>,
}

// SAFETY: the caller gave its only reference away and waits for the answer, or for the drop of this value.
unsafe impl Send for Query {}

impl Query {
    /// The query, and where its caller waits for the answer.
    pub fn new(query: &mut gst::QueryRef) -> (Self, mpsc::Receiver<bool>) {
        let (answer, answered) = mpsc::sync_channel(1);
        (Self { query: NonNull::from(query), answer }, answered)
    }

    pub fn answer(mut self, handle: impl FnOnce(&mut gst::QueryRef) -> bool) {
        // SAFETY: the caller of `new` waits in `Receiver::recv`, so the query lives and nobody else uses it.
        let handled = handle(unsafe { self.query.as_mut() });
        let _ = self.answer.send(handled);
    }
}

pub(super) enum Item {
    Frame(Frame),
    Event(gst::Event),
    Query(Query),
}

impl Item {
    pub fn into_event(self) -> Option<gst::Event> {
        if let Self::Event(event) = self { Some(event) } else { None }
    }
}

/// How many frames the queue holds.
pub(super) struct Fill {
    /// With a crop that waits for its batch.
    pub waiting: usize,
    /// That downstream could have at once: finished, and with no unfinished one before them.
    pub finished: usize,
    pub all: usize,
}

/// What the queue's lock guards. Names follow gstqueue.c.
pub(super) struct State {
    pub items: VecDeque<Item>,
    /// What the source pad's last push gave: the chain function's answer while it is an error.
    pub flow: Result<gst::FlowSuccess, gst::FlowError>,
    /// The error behind `flow` was posted already, with its own text.
    pub error_posted: bool,
    /// EOS was queued: nothing more may come but a new stream.
    pub eos: bool,
    /// Downstream had enough: frames are refused until a new segment.
    pub unexpected: bool,
}

impl Default for State {
    fn default() -> Self {
        Self {
            items: VecDeque::new(),
            flow: Err(gst::FlowError::Flushing),
            error_posted: false,
            eos: false,
            unexpected: false,
        }
    }
}

impl State {
    /// Why a frame cannot come in; nothing where it can.
    pub fn refusal(&self) -> Result<(), gst::FlowError> {
        self.flow?;
        if self.eos || self.unexpected { Err(gst::FlowError::Eos) } else { Ok(()) }
    }

    /// Whether the source pad's task can take the head.
    pub fn head_is_ready(&self) -> bool {
        match self.items.front() {
            Some(Item::Frame(frame)) => frame.is_done(),
            Some(_) => true,
            None => false,
        }
    }

    pub fn fill(&self) -> Fill {
        let frames = || {
            self.items
                .iter()
                .filter_map(|item| if let Item::Frame(frame) = item { Some(frame) } else { None })
        };
        Fill {
            waiting: frames().filter(|frame| frame.is_waiting()).count(),
            finished: frames().take_while(|frame| frame.is_done()).count(),
            all: frames().count(),
        }
    }

    /// Takes the queries out of the queue. They are answered with false when they are dropped.
    pub fn take_queries(&mut self) -> VecDeque<Item> {
        let (queries, others) = self.items.drain(..).partition(|item| matches!(item, Item::Query(_)));
        self.items = others;
        queries
    }

    /// Refuses frames and takes all out but the events, some of which outlive a flush. What is handed back may only be
    /// dropped without the lock.
    pub fn flush(&mut self) -> VecDeque<Item> {
        self.flow = Err(gst::FlowError::Flushing);
        let (events, dropped) = self.items.drain(..).partition(|item| matches!(item, Item::Event(_)));
        self.items = events;
        dropped
    }

    /// Lets frames in again and hands back the events that a flush has left.
    pub fn resume(&mut self) -> Vec<gst::Event> {
        self.flow = Ok(gst::FlowSuccess::Ok);
        self.error_posted = false;
        self.eos = false;
        self.unexpected = false;
        self.items.drain(..).filter_map(Item::into_event).collect()
    }
}

/// The queue with its lock. One condition serves all who wait: the task for a ready head, the chain function for room.
#[derive(Default)]
pub(super) struct Queue {
    pub state: Mutex<State>,
    pub changed: Condvar,
}

impl Queue {
    /// Wakes all who wait, after something they look at has changed without the lock.
    pub fn wake(&self) {
        let _state = lock(&self.state);
        self.changed.notify_all();
    }
}
