//! Following people through the frames of a stream: between the sink pad, which plans a frame's looks, and the source
//! pad's task, which needs to know who is in it.
//!
//! Frames are settled in order, as soon as their crops are answered, by whichever of the two threads comes first: a
//! blocked sink does not stop the tracker. What a frame's looks are planned from depends only on which earlier frame that
//! is, never on how far the others are.

use std::{
    collections::VecDeque,
    sync::{Arc, OnceLock},
    time::Duration,
};

use crate::{
    engine::Ticket,
    network::ScoreMode,
    pose::Person,
    sync::{Mutex, lock},
    track::{Anatomy, Glimpse, Look, Observation, Planner, Purpose, Seen, Settings, Targets, Tracks},
    video::Crop,
};

/// Which frame's people say where to look.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Lookahead {
    /// The one so many frames before: two runs of a file look at the same places.
    Exact(u64),
    /// The one so many frames before that the frames in flight have this many crops of people: as many frames as that for
    /// one person, fewer for more. Two runs of a file look at the same places with this, too.
    Filling(u64),
    /// The newest that is settled.
    Newest,
}

/// The people of a stream, from its start or a flush on.
pub(super) struct Following(Mutex<State>);

struct State {
    planner: Planner,
    tracks: Tracks,
    /// Number of the next frame.
    next: u64,
    /// Crops of people in the last frame that was planned.
    people: u64,
    /// The frame that the last looks were planned from. Later looks never know less.
    base: Option<u64>,
    /// Frames with the network, in order, up to the next.
    pending: VecDeque<Arc<FollowedFrame>>,
    /// So many frames from the first on are done, as far as was looked.
    done: u64,
    /// Where people are after each of the last frames that are settled, up to the first that is pending.
    settled: VecDeque<Targets>,
}

/// A frame whose people are followed.
pub(super) struct FollowedFrame {
    /// The stream's time in seconds.
    pub now: f64,
    /// Of the frame, in square pixels.
    pub size: (u32, u32),
    /// Upstream said where people are.
    pub detected: bool,
    pub looks: Vec<(Look, Crop, Ticket)>,
    pub score_mode: ScoreMode,
    pub lifetime: Duration,
    /// Its number in the stream; set when it is added.
    number: OnceLock<u64>,
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
        let (number, people) = (OnceLock::new(), OnceLock::new());
        Self { now, size, detected, looks, score_mode, lifetime, number, people }
    }

    fn is_done(&self) -> bool {
        #[cfg(test)]
        LOOKED_AT.set(LOOKED_AT.get() + 1);
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
            next: 0,
            people: 0,
            base: None,
            pending: VecDeque::new(),
            done: 0,
            settled: VecDeque::new(),
        }))
    }

    /// Whether the next frame's looks can be planned.
    pub fn is_ready(&self, lookahead: Lookahead) -> bool {
        let state = lock(&self.0);
        let first_pending = state.next - state.pending.len() as u64;
        let needed = state.base(lookahead).map_or(0, |base| (base + 1).saturating_sub(first_pending));
        state.pending.iter().take(needed as usize).all(|frame| frame.is_done())
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
        state.base = state.base(lookahead);
        state.forget();
        let nobody = Targets::default();
        let first_settled = state.first_settled();
        let State { planner, base, settled, .. } = &mut *state;
        let targets = base.and_then(|base| settled.get((base - first_settled) as usize)).unwrap_or(&nobody);
        let glimpse = (search && planner.wants_glimpse(now)).then(glimpse);
        let looks = planner.plan(now, size, targets, settings, search, glimpse);
        let somebody = looks.iter().any(|look| matches!(look.purpose, Purpose::Follow(_)));
        let people = looks.iter().filter(|look| look.purpose != Purpose::Search).count();
        // Before anybody is followed each closer look at a find comes from the look before it.
        state.people = if somebody { people as u64 } else { 0 };
        looks
    }

    /// The next frame, in the stream's order.
    pub fn add(&self, frame: Arc<FollowedFrame>, lookahead: Lookahead) {
        let mut state = lock(&self.0);
        if frame.detected {
            // No plan has moved this on.
            state.people = frame.looks.len() as u64;
            let settled = state.next - state.pending.len() as u64;
            state.base = state.base(lookahead).min(settled.checked_sub(1));
        }
        let _ = frame.number.set(state.next);
        state.pending.push_back(frame);
        state.next += 1;
        state.settle();
        state.forget();
    }

    /// Whether it and all before it are done, also those that will never go out: downstream had enough of them.
    pub fn is_answered(&self, frame: &FollowedFrame) -> bool {
        if !frame.is_done() {
            return false;
        }
        if frame.people.get().is_some() {
            return true;
        }
        let done = lock(&self.0).count_done();
        frame.number.get().is_some_and(|number| *number < done)
    }

    /// Who is in the frame, once it is settled, which it is when it and all before it are done; none before.
    pub fn people(&self, frame: &FollowedFrame) -> Option<Result<Vec<Person>, String>> {
        lock(&self.0).settle();
        frame.people.get().cloned()
    }
}

impl State {
    /// The frame from which the next one's looks are to be planned; none in the first frames of a stream.
    fn base(&self, lookahead: Lookahead) -> Option<u64> {
        let frames = match lookahead {
            Lookahead::Exact(frames) => frames,
            // Nobody's looks: no batch could be filled with them.
            Lookahead::Filling(_) if self.people == 0 => 1,
            Lookahead::Filling(crops) => crops.div_ceil(self.people),
            Lookahead::Newest => self.pending.len() as u64 + 1,
        };
        self.base.max(self.next.checked_sub(frames))
    }

    /// Frames from the first on that are done. The queue asks for each of its frames: none is looked at again that was done.
    fn count_done(&mut self) -> u64 {
        let first_pending = self.next - self.pending.len() as u64;
        self.done = self.done.max(first_pending);
        let more = self.pending.iter().skip((self.done - first_pending) as usize);
        self.done += more.take_while(|frame| frame.is_done()).count() as u64;
        self.done
    }

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

    /// Number of the first frame in `settled`.
    fn first_settled(&self) -> u64 {
        self.next - self.pending.len() as u64 - self.settled.len() as u64
    }

    /// Drops what no later plan needs.
    fn forget(&mut self) {
        let needed_from = self.base.unwrap_or(0);
        let drop = needed_from.saturating_sub(self.first_settled()) as usize;
        self.settled.drain(..drop.min(self.settled.len()));
    }
}

#[cfg(test)]
thread_local! {
    /// How often this thread has looked whether a frame is done.
    pub(super) static LOOKED_AT: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pose::KeyPoint;
    use crate::video::{ChromaSite, Colour, Component, Picture};

    const SIZE: (u32, u32) = (1280, 720);

    fn dark() -> Picture<'static> {
        let none = Component { data: &[], row_stride: 0, pixel_stride: 1, width: 0, height: 0 };
        let (width, height) = (SIZE.0 as usize, SIZE.1 as usize);
        let chroma_site = ChromaSite::default();
        Picture { width, height, components: [none; 3], colour: Colour::Gray, chroma_site }
    }

    /// The network's answer to each look at somebody who stands still.
    fn answers(looks: Vec<Look>) -> Vec<Seen> {
        let points: Vec<_> = (0..17)
            .map(|n| KeyPoint { x: 600.0 + 100.0 * (n % 2) as f32, y: 200.0 + 20.0 * n as f32, score: 0.9 })
            .collect();
        looks.into_iter().map(|look| Seen { look, points: points.clone() }).collect()
    }

    #[test]
    fn until_somebody_is_followed_each_closer_look_comes_from_the_look_before() {
        let following = Following::new(Anatomy::of("coco-17", 17, None));
        let lifetime = Duration::from_secs(1);
        let lookahead = Lookahead::Filling(8);
        let mut bases = Vec::new();
        for number in 0..24 {
            let now = f64::from(number) / 30.0;
            let glimpse = || Glimpse::of(&dark(), SIZE);
            let looks = following.plan(now, SIZE, lookahead, &Settings::default(), true, glimpse);
            let mut state = lock(&following.0);
            bases.push(state.base);
            let seen = answers(looks);
            state.tracks.observe(Observation { now, size: SIZE, detected: false, seen, lifetime });
            drop(state);
            // Its answers have been taken in already.
            let frame = FollowedFrame::new(now, SIZE, false, Vec::new(), ScoreMode::Min, lifetime);
            following.add(Arc::new(frame), lookahead);
        }
        // Found in frame 0, then looked at four times, each time from the frame before; known to be followed in frame 5, from
        // when on 8 frames are in flight.
        let expected = (0..24u64).map(|number| match number {
            0 => None,
            1..=5 => Some(number - 1),
            _ => Some((number - 8.min(number)).max(4)),
        });
        assert_eq!(bases, expected.collect::<Vec<_>>());
    }
}
