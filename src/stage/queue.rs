//! The ordered queue between the sink pad's streaming thread and the source pad's task.

use std::{collections::VecDeque, convert::Infallible, ptr::NonNull};

use crate::{
    engine::{PendingAnswer, Stream},
    sync::{Condvar, Mutex, MutexGuard, lock, mpsc, wait},
    video::FrameShape,
};

/// What a frame in the queue waits for.
pub trait Work: Send {
    /// Work that must be done after answers have come, before the frame can leave. The thread that comes first does it.
    type Step: Send;

    /// Number of its crops that are not answered.
    fn crops(&self) -> usize;

    /// Whether an executor has not taken one of its crops yet.
    fn is_waiting(&self) -> bool;

    /// Whether everything that the frame needs is there.
    fn is_done(&self) -> bool;

    /// Work to do for the frame now; none if it only waits for answers.
    fn step(&self) -> Option<Self::Step>;
}

/// A single crop.
impl Work for PendingAnswer {
    type Step = Infallible;

    fn crops(&self) -> usize {
        1
    }

    fn is_waiting(&self) -> bool {
        !self.is_handed()
    }

    fn is_done(&self) -> bool {
        self.outcome().is_some()
    }

    fn step(&self) -> Option<Infallible> {
        None
    }
}

/// What happens to a frame.
pub enum Fate<W> {
    /// It leaves unchanged.
    Pass,
    /// It carries what was found in the last inferred frame.
    Carry,
    /// It carries what is found in it.
    Look(W),
    /// Its crops could not be made, for this reason.
    Fail(String),
}

pub struct Frame<W> {
    pub buffer: gst::Buffer,
    pub shape: FrameShape,
    pub fate: Fate<W>,
}

impl<W: Work> Frame<W> {
    /// Number of its crops that are not answered.
    pub fn crops(&self) -> usize {
        if let Fate::Look(work) = &self.fate { work.crops() } else { 0 }
    }

    fn is_waiting(&self) -> bool {
        matches!(&self.fate, Fate::Look(work) if work.is_waiting())
    }

    fn is_done(&self) -> bool {
        if let Fate::Look(work) = &self.fate { work.is_done() } else { true }
    }

    fn step(&self) -> Option<W::Step> {
        if let Fate::Look(work) = &self.fate { work.step() } else { None }
    }
}

/// A serialized query whose caller waits. If it is dropped unanswered, the caller receives false.
pub struct Query {
    query: NonNull<gst::QueryRef>,
    answer: mpsc::SyncSender<bool>,
}

// SAFETY: the caller gave away its only reference, and waits for the answer or for the drop of this value.
unsafe impl Send for Query {}

impl Query {
    /// The query, and a receiver with which its caller waits for the answer.
    pub fn new(query: &mut gst::QueryRef) -> (Self, mpsc::Receiver<bool>) {
        let (answer, answered) = mpsc::sync_channel(1);
        (Self { query: NonNull::from(query), answer }, answered)
    }

    pub fn answer(mut self, handle: impl FnOnce(&mut gst::QueryRef) -> bool) {
        // SAFETY: the caller of `new` waits in `Receiver::recv`, so the query lives, and nothing else uses it.
        let handled = handle(unsafe { self.query.as_mut() });
        let _ = self.answer.send(handled);
    }
}

/// What the source pad's task does next.
pub(super) enum Turn<W: Work> {
    /// This leaves, in the stream with that number: each flush or start begins another one.
    Send(Item<W>, u64),
    /// Answers have come.
    Step(W::Step),
}

pub enum Item<W> {
    Frame(Frame<W>),
    Event(gst::Event),
    Query(Query),
}

impl<W> Item<W> {
    pub fn into_event(self) -> Option<gst::Event> {
        if let Self::Event(event) = self { Some(event) } else { None }
    }
}

/// How many frames the queue holds.
pub struct Fill {
    /// Frames with a crop that waits for its batch.
    pub waiting: usize,
    /// Frames that downstream could have at once: finished, with no unfinished one before them.
    pub finished: usize,
    pub all: usize,
}

/// What the queue's lock guards. Names are those of gstqueue.c.
pub struct State<W> {
    pub items: VecDeque<Item<W>>,
    /// Number of the stream: each flush or start begins another one.
    generation: u64,
    /// The result of the source pad's last push. The chain function returns it while it is an error.
    pub flow: Result<gst::FlowSuccess, gst::FlowError>,
    /// The error behind `flow` was already posted, with its own text.
    pub error_posted: bool,
    /// EOS was queued: nothing but a new stream can follow.
    pub eos: bool,
    /// Downstream needs no more: frames are refused until a new segment.
    pub unexpected: bool,
}

impl<W> Default for State<W> {
    fn default() -> Self {
        Self {
            items: VecDeque::new(),
            generation: 0,
            flow: Err(gst::FlowError::Flushing),
            error_posted: false,
            eos: false,
            unexpected: false,
        }
    }
}

impl<W: Work> State<W> {
    /// Why a frame cannot come in; nothing if it can.
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

    /// Takes the queries out of the queue. Dropping them answers them with false.
    pub fn take_queries(&mut self) -> VecDeque<Item<W>> {
        let (queries, others) = self.items.drain(..).partition(|item| matches!(item, Item::Query(_)));
        self.items = others;
        queries
    }

    /// Refuses frames, and takes out everything but the events, some of which are kept during a flush. Drop what is returned
    /// only without the lock.
    pub fn flush(&mut self) -> VecDeque<Item<W>> {
        self.flow = Err(gst::FlowError::Flushing);
        let (events, dropped) = self.items.drain(..).partition(|item| matches!(item, Item::Event(_)));
        self.items = events;
        dropped
    }

    /// Lets frames in again, and returns the events that a flush has kept.
    pub fn resume(&mut self) -> Vec<gst::Event> {
        self.generation += 1;
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

/// The queue with its lock. All waiting threads share one condition: the task waits for a ready head, the chain function for
/// room.
pub(super) struct Queue<W> {
    pub state: Mutex<State<W>>,
    pub changed: Condvar,
}

impl<W> Default for Queue<W> {
    fn default() -> Self {
        Self { state: Mutex::default(), changed: Condvar::default() }
    }
}

/// How many frames may be in the queue.
#[derive(Clone, Copy)]
pub(super) struct Room {
    pub waiting: usize,
    pub finished: usize,
    /// Finished frames behind an unfinished one share the room of the queues and of the batches.
    pub all: usize,
}

impl Room {
    fn is_for(&self, fill: &Fill) -> bool {
        fill.waiting < self.waiting && fill.finished < self.finished && fill.all < self.all
    }
}

impl<W: Work> Queue<W> {
    /// Adds an item at the end, unless frames are refused.
    pub fn push(&self, item: Item<W>) -> Result<(), gst::FlowError> {
        let mut state = lock(&self.state);
        state.refusal()?;
        state.items.push_back(item);
        self.changed.notify_all();
        Ok(())
    }

    /// Takes the head once it is ready, or returns the work to do for it first. An error is the reason why the source pad's
    /// task must stop, with the lock.
    pub fn take_ready(&self) -> Result<Turn<W>, (MutexGuard<'_, State<W>>, gst::FlowError)> {
        let mut state = lock(&self.state);
        loop {
            if let Err(error) = state.flow {
                return Err((state, error));
            }
            if state.head_is_ready() {
                let item = state.items.pop_front().expect("a ready head is there");
                let generation = state.generation;
                drop(state);
                // There may be room now for the chain function.
                self.changed.notify_all();
                return Ok(Turn::Send(item, generation));
            }
            if let Some(Item::Frame(frame)) = state.items.front()
                && let Some(step) = frame.step()
            {
                return Ok(Turn::Step(step));
            }
            state = wait(&self.changed, state);
        }
    }

    /// Waits until another frame can come in. `full` is called each time there is no room.
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
            // While the head waits for its run, no further crop can come, so the batch must not wait for one. While the head
            // is ready, everything waits for downstream, and the batch can keep filling.
            if state.head_is_ready() { Wait::ForDownstream } else { Wait::ForNetwork }
        })
    }

    /// Waits until `is_there` is true, which an answer of the network must bring about.
    pub fn wait_for_results(
        &self,
        stream: &Stream,
        is_there: impl Fn() -> bool,
    ) -> Result<(), gst::FlowError> {
        self.wait_for(stream, |_| if is_there() { Wait::Over } else { Wait::ForNetwork })
    }

    fn wait_for(&self, stream: &Stream, look: impl Fn(&State<W>) -> Wait) -> Result<(), gst::FlowError> {
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

    /// Refuses frames, drops what is queued, and wakes all waiting threads.
    pub fn flush(&self) {
        let dropped = lock(&self.state).flush();
        self.changed.notify_all();
        drop(dropped);
    }

    /// Wakes all waiting threads, after something that they read has changed without the lock.
    pub fn wake(&self) {
        let _state = lock(&self.state);
        self.changed.notify_all();
    }
}
