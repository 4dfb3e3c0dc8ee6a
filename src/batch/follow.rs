//! Following people through the frames of a stream: between the sink pad, which plans a frame's looks, and the source
//! pad's task, which needs to know who is in it.
//!
//! Frames are settled in order, as soon as their crops are answered, by whichever of the two threads comes first: a
//! blocked sink does not stop the tracker. What a frame's looks are planned from depends only on which earlier frame that
//! is, never on how far the others are.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, OnceLock},
    time::Duration,
};

use crate::{
    engine::Ticket,
    pose::{
        Crop, Person, ScoreMode,
        track::{Anatomy, Glimpse, Look, Observation, Planner, Seen, Settings, Targets, Tracks},
    },
    sync::lock,
};

/// Which frame's people say where to look.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Lookahead {
    /// The one so many frames before: two runs of a file look at the same places.
    Exact(u64),
    /// The newest that is settled.
    Newest,
}

/// The people of a stream, from its start or a flush on.
pub(super) struct Following(Mutex<State>);

struct State {
    planner: Planner,
    tracks: Tracks,
    /// Frames with the network, in order.
    pending: VecDeque<Arc<FollowedFrame>>,
    /// Where people are after each of the last frames that are settled.
    settled: VecDeque<Targets>,
}

/// A frame whose people are followed.
pub(super) struct FollowedFrame {
    /// The stream's time in seconds.
    pub now: f64,
    pub size: (u32, u32),
    /// Upstream said where people are.
    pub detected: bool,
    pub looks: Vec<(Look, Crop, Ticket)>,
    pub score_mode: ScoreMode,
    pub lifetime: Duration,
    /// Who is in it, or why that is not known; set once it is settled.
    people: OnceLock<Result<Vec<Person>, String>>,
}

impl FollowedFrame {
    pub fn new(
        now: f64,
        size: (u32, u32),
        detected: bool,
        looks: Vec<(Look, Crop, Ticket)>,
        score_mode: ScoreMode,
        lifetime: Duration,
    ) -> Self {
        Self { now, size, detected, looks, score_mode, lifetime, people: OnceLock::new() }
    }

    fn is_done(&self) -> bool {
        self.looks.iter().all(|(_, _, ticket)| ticket.outcome().is_some())
    }

    /// What the network found. The first crop that failed fails the frame.
    fn seen(&self) -> Result<Vec<Seen>, String> {
        self.looks
            .iter()
            .map(|(look, crop, ticket)| match ticket.outcome() {
                Some(Ok(peaks)) => {
                    let points = peaks.iter().map(|peak| peak.to_key_point(crop, self.score_mode)).collect();
                    Ok(Seen { look: *look, points })
                }
                Some(Err(error)) => Err(error.message.clone()),
                None => Err("a crop was not answered".to_string()),
            })
            .collect()
    }
}

impl Following {
    pub fn new(anatomy: Anatomy) -> Self {
        Self(Mutex::new(State {
            planner: Planner::default(),
            tracks: Tracks::new(anatomy),
            pending: VecDeque::new(),
            settled: VecDeque::new(),
        }))
    }

    /// Whether the next frame's looks can be planned.
    pub fn is_ready(&self, lookahead: Lookahead) -> bool {
        let state = lock(&self.0);
        let Lookahead::Exact(frames) = lookahead else { return true };
        let in_flight = state.pending.len() as u64;
        // So many of the oldest ones must be done.
        let needed = (in_flight + 1).saturating_sub(frames) as usize;
        state.pending.iter().take(needed).all(|frame| frame.is_done())
    }

    /// Where to look in the next frame. It is to be added once its crops are with the network.
    pub fn plan(
        &self,
        now: f64,
        size: (u32, u32),
        lookahead: Lookahead,
        settings: &Settings,
        search: bool,
        glimpse: impl FnOnce() -> Glimpse,
    ) -> Vec<Look> {
        let mut state = lock(&self.0);
        state.settle();
        let nobody = Targets::default();
        let State { planner, pending, settled, .. } = &mut *state;
        let targets = targets(settled, pending.len(), lookahead).unwrap_or(&nobody);
        let glimpse = (search && planner.wants_glimpse(now)).then(glimpse);
        planner.plan(now, size, targets, settings, search, glimpse)
    }

    /// The next frame, in the stream's order.
    pub fn add(&self, frame: Arc<FollowedFrame>, lookahead: Lookahead) {
        let mut state = lock(&self.0);
        state.pending.push_back(frame);
        // Frames whose boxes come from upstream need no plan, and leave theirs behind.
        state.settle();
        state.forget(lookahead);
    }

    /// Who is in the frame, once it is settled, which it is when it and all before it are done; none before.
    pub fn people(&self, frame: &FollowedFrame) -> Option<Result<Vec<Person>, String>> {
        lock(&self.0).settle();
        frame.people.get().cloned()
    }
}

impl State {
    fn settle(&mut self) {
        while self.pending.front().is_some_and(|frame| frame.is_done())
            && let Some(frame) = self.pending.pop_front()
        {
            let people = frame.seen().map(|seen| {
                self.tracks.observe(Observation {
                    now: frame.now,
                    size: frame.size,
                    detected: frame.detected,
                    seen,
                    lifetime: frame.lifetime,
                })
            });
            let _ = frame.people.set(people);
            self.settled.push_back(self.tracks.targets());
        }
    }

    /// Drops what no later plan needs.
    fn forget(&mut self, lookahead: Lookahead) {
        let keep = match lookahead {
            Lookahead::Newest => 1,
            Lookahead::Exact(frames) => frames as usize,
        };
        let drop = self.settled.len().saturating_sub(keep);
        self.settled.drain(..drop);
    }
}

/// The people that the next frame's looks are planned from; none in the first frames of a stream.
fn targets(settled: &VecDeque<Targets>, pending: usize, lookahead: Lookahead) -> Option<&Targets> {
    let newer = match lookahead {
        Lookahead::Newest => 0,
        // Settled or not, they are not looked at yet.
        Lookahead::Exact(frames) => (frames as usize - 1).saturating_sub(pending),
    };
    settled.len().checked_sub(newer + 1).and_then(|index| settled.get(index))
}
