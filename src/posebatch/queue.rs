//! The ordered queue between the sink pad's streaming thread and the source pad's task.

use std::{collections::VecDeque, ptr::NonNull, sync::Arc};

use super::follow::{FollowedFrame, Following};
use crate::{
    engine::{Stream, Ticket},
    pose::Region,
    sync::{Condvar, Mutex, MutexGuard, lock, mpsc, wait},
    video::{Crop, FrameShape},
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
    pub shape: FrameShape,
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
    /// Number of crops with the network.
    pub fn crops(&self) -> usize {
        match &self.work {
            Work::Infer(candidates) => candidates.len(),
            Work::Follow(_, frame) => frame.crops(),
            Work::Pass | Work::Carry | Work::Fail(_) => 0,
        }
    }

    /// Whether a crop of the frame was not yet handed to an executor.
    fn is_waiting(&self) -> bool {
        match &self.work {
            Work::Infer(candidates) => candidates.iter().any(|candidate| !candidate.ticket.is_handed()),
            Work::Follow(_, frame) => frame.is_waiting(),
            Work::Pass | Work::Carry | Work::Fail(_) => false,
        }
    }

    /// Whether all is there that the frame needs: its own crops' answers, and where people are followed those of the
    /// frames before it.
    fn is_done(&self) -> bool {
        match &self.work {
            Work::Infer(candidates) => {
                candidates.iter().all(|candidate| candidate.ticket.outcome().is_some())
            }
            Work::Follow(_, frame) => frame.people().is_some(),
            Work::Pass | Work::Carry | Work::Fail(_) => true,
        }
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

/// What the source pad's task does next.
pub(super) enum Turn {
    Send(Item),
    /// Answers have come for those who are followed.
    Settle(Arc<Following>),
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

/// What the sink pad's streaming thread still waits for.
enum Wait {
    Over,
    ForNetwork,
    ForDownstream,
}

/// The queue with its lock. One condition serves all who wait: the task for a ready head, the chain function for room.
#[derive(Default)]
pub(super) struct Queue {
    pub state: Mutex<State>,
    pub changed: Condvar,
}

/// How many frames may be in the queue.
#[derive(Clone, Copy)]
pub(super) struct Room {
    pub waiting: usize,
    pub finished: usize,
    /// Finished frames behind one that is not count as the queues' and the batches' room together.
    pub all: usize,
}

impl Room {
    fn is_for(&self, fill: &Fill) -> bool {
        fill.waiting < self.waiting && fill.finished < self.finished && fill.all < self.all
    }
}

impl Queue {
    /// Puts an item behind the others, unless frames are refused.
    pub fn push(&self, item: Item) -> Result<(), gst::FlowError> {
        let mut state = lock(&self.state);
        state.refusal()?;
        state.items.push_back(item);
        self.changed.notify_all();
        Ok(())
    }

    /// Takes the head once it is ready, or tells what must be done for it first. An error is why the source pad's task must
    /// stop, with the lock.
    pub fn take_ready(&self) -> Result<Turn, (MutexGuard<'_, State>, gst::FlowError)> {
        let mut state = lock(&self.state);
        loop {
            if let Err(error) = state.flow {
                return Err((state, error));
            }
            if state.head_is_ready() {
                let item = state.items.pop_front().expect("a ready head is there");
                drop(state);
                // There may be room now for the chain function.
                self.changed.notify_all();
                return Ok(Turn::Send(item));
            }
            if let Some(Item::Frame(Frame { work: Work::Follow(following, _), .. })) = state.items.front()
                && following.can_settle()
            {
                return Ok(Turn::Settle(following.clone()));
            }
            state = wait(&self.changed, state);
        }
    }

    /// Waits until another frame can come. `full` hears of each look that found no room.
    pub fn wait_for_room(
        &self,
        room: Room,
        stream: &Stream,
        full: impl Fn(&Fill),
    ) -> Result<(), gst::FlowError> {
        self.wait_for(stream, |state| {
            let fill = state.fill();
            if room.is_for(&fill) {
                return Wait::Over;
            }
            full(&fill);
            // While the head waits for its run, no further crop can come: the batch must not wait for one. While the
            // head is ready, downstream is what all wait for, and the batch can go on filling.
            if state.head_is_ready() { Wait::ForDownstream } else { Wait::ForNetwork }
        })
    }

    /// Waits until `is_there` says so, which the network must bring about.
    pub fn wait_for_results(
        &self,
        stream: &Stream,
        is_there: impl Fn() -> bool,
    ) -> Result<(), gst::FlowError> {
        self.wait_for(stream, |_| if is_there() { Wait::Over } else { Wait::ForNetwork })
    }

    fn wait_for(&self, stream: &Stream, look: impl Fn(&State) -> Wait) -> Result<(), gst::FlowError> {
        let mut state = lock(&self.state);
        let mut blocked = false;
        let result = loop {
            if let Err(error) = state.refusal() {
                break Err(error);
            }
            blocked = match look(&state) {
                Wait::Over => break Ok(()),
                Wait::ForNetwork => true,
                Wait::ForDownstream => false,
            };
            stream.set_blocked(blocked);
            state = wait(&self.changed, state);
        };
        drop(state);
        if blocked {
            stream.set_blocked(false);
        }
        result
    }

    /// Refuses frames and drops what is queued, and wakes all who wait.
    pub fn flush(&self) {
        let dropped = lock(&self.state).flush();
        self.changed.notify_all();
        drop(dropped);
    }

    /// Wakes all who wait, after something they look at has changed without the lock.
    pub fn wake(&self) {
        let _state = lock(&self.state);
        self.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        network::{Columns, Kind},
        posebatch::{
            follow::{LOOKED_AT, Lookahead},
            settings::Settings,
        },
        track::{Anatomy, Look, Purpose},
    };

    #[test]
    fn to_look_through_a_full_queue_takes_a_look_or_two_at_each_frame() {
        const FRAMES: usize = 200;
        gst::init().unwrap();
        let following = Arc::new(Following::new(Anatomy::of("coco-17", 17, None)));
        let mut queue = State::default();
        let kind = Kind::SimCc { points: 17, columns: Columns::Maxima };
        let region = crate::video::Region::new(0.0, 0.0, 1.0, 1.0);
        let mut unanswered = Vec::new();
        for number in 0..FRAMES {
            let (ticket, duty) = Ticket::unanswered();
            unanswered.push(duty);
            let look = Look { region, purpose: Purpose::Search };
            let looks = vec![(look, Crop::new(&region, 1, 1).unwrap(), ticket)];
            let settings = Settings::default();
            let followed =
                FollowedFrame::new(number as f64, (1280, 720), false, looks, None, kind, &settings);
            let followed = Arc::new(followed);
            following.add(followed.clone(), Lookahead::Newest);
            let work = Work::Follow(following.clone(), followed);
            let shape = FrameShape::new(1280, 720, (1, 1));
            queue.items.push_back(Item::Frame(Frame { buffer: gst::Buffer::new(), shape, now: 0.0, work }));
        }
        assert_eq!(queue.fill().finished, 0);
        // The last half first: none of them could go on.
        drop(unanswered.split_off(FRAMES / 2));
        assert_eq!(queue.fill().finished, 0);
        drop(unanswered);
        LOOKED_AT.set(0);
        following.settle(&|_, _| Vec::new());
        assert_eq!(queue.fill().finished, FRAMES);
        assert!(LOOKED_AT.get() <= 3 * FRAMES, "{} looks at {FRAMES} frames", LOOKED_AT.get());
    }
}
