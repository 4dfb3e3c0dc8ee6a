//! Following people through the frames of a stream: between the sink pad, which plans a frame's looks, and the source
//! pad's task, which needs to know who is in it.
//!
//! Frames are settled in order, as soon as their crops are answered, by whichever of the two threads comes first: a
//! blocked sink does not stop the tracker. In a stream that is not live, a frame in which somebody may have been found is
//! looked at again, more closely, before it is settled: it is the first frame with that person, and may be the only one. What a frame's looks are planned from depends only on which earlier frame that
//! is, never on how far the others are.

use std::{
    collections::VecDeque,
    sync::{Arc, OnceLock},
    time::Duration,
};

use super::decode::key_points;
use crate::{
    engine::PendingAnswer,
    network::{Kind, ScoreMode},
    pose::Person,
    stage::Video,
    sync::{Mutex, lock},
    track::{
        Anatomy, Decision, Glimpse, Look, Moment, Observation, Planner, Purpose, Seen, Settings, Targets,
        Tracks,
    },
    video::Crop,
};

use super::settings;

/// Which frame's people say where to look.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Lookahead {
    /// The one so many frames before: two runs of a file look at the same places.
    Exact(u64),
    /// The one so many frames before that the frames in flight have this many crops of people: as many frames as that for
    /// one person, fewer for more. Two runs of a file look at the same places with this, too.
    Filling(u64),
    /// The newest that is settled.
    Newest,
}

/// A file's looks come from so many seconds before at most: who walks is elsewhere then.
const LONGEST: f64 = 0.27;

/// The people of a stream, from its start or a flush on.
pub struct Following(Mutex<State>);

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
    /// The first of them has been observed, and closer looks at it are being taken by one of the threads.
    taking: bool,
    /// The time of each of the last frames that are settled and where people are after it, up to the first that is pending.
    settled: VecDeque<(f64, Targets)>,
}

/// A frame's pixels, for closer looks.
pub type Pixels = (gst::Buffer, Arc<Video>);

/// Takes crops of a frame's pixels and submits them.
pub(super) type Retake<'a> = &'a dyn Fn(&Pixels, Vec<Look>) -> Vec<Taken>;

/// A look with its crop on the way to the network.
pub type Taken = (Look, Crop, PendingAnswer);

/// A frame whose people are followed.
pub struct FollowedFrame {
    /// The stream's time in seconds.
    pub now: f64,
    /// Of the frame, in square pixels.
    pub size: (u32, u32),
    /// Upstream said where people are.
    pub detected: bool,
    pub kind: Kind,
    pub score_mode: ScoreMode,
    pub lifetime: Duration,
    pub max_people: usize,
    looks: Mutex<Looks>,
    /// Who is in it, or why that is not known; set once it is settled.
    people: OnceLock<Result<Vec<Person>, String>>,
}

struct Looks {
    taken: Vec<Taken>,
    /// So many of them were observed; none before any was.
    observed: Option<usize>,
    /// For closer looks; none where they are left to later frames, or once there are none.
    pixels: Option<Pixels>,
}

impl FollowedFrame {
    pub(super) fn new(
        now: f64,
        size: (u32, u32),
        detected: bool,
        taken: Vec<Taken>,
        pixels: Option<Pixels>,
        kind: Kind,
        settings: &settings::Settings,
    ) -> Self {
        Self {
            now,
            size,
            detected,
            kind,
            score_mode: settings.score_mode.into(),
            lifetime: Duration::from_nanos(settings.track_lifetime),
            max_people: settings.max_people as usize,
            looks: Mutex::new(Looks { taken, observed: None, pixels }),
            people: OnceLock::new(),
        }
    }

    /// Whether all its crops so far are answered.
    fn is_answered(&self) -> bool {
        #[cfg(test)]
        LOOKED_AT.set(LOOKED_AT.get() + 1);
        lock(&self.looks).taken.iter().all(|(_, _, pending)| pending.outcome().is_some())
    }

    /// Crops that are with the network, or were.
    pub fn crops(&self) -> usize {
        lock(&self.looks).taken.len()
    }

    /// Whether a crop was not yet handed to an executor.
    pub fn is_waiting(&self) -> bool {
        lock(&self.looks).taken.iter().any(|(_, _, pending)| !pending.is_handed())
    }

    /// What the network found in looks that were not observed yet. The first crop that failed fails the frame.
    fn seen(&self) -> Result<Vec<Seen>, String> {
        let mut looks = lock(&self.looks);
        let all = looks.taken.len();
        let from = looks.observed.replace(all).unwrap_or(0);
        let seen = |(look, crop, pending): &Taken| {
            let points = key_points(pending, crop, self.kind, self.score_mode)?;
            Ok(Seen { look: *look, points })
        };
        looks.taken[from..].iter().map(seen).collect()
    }
}

/// What `Following::next_step` found to do.
enum Step {
    /// Nothing, before more crops are answered.
    Wait,
    /// A frame was settled.
    Settled,
    /// Closer looks at the frame are wanted.
    Closer(Arc<FollowedFrame>, Pixels, Vec<Look>),
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
            taking: false,
            settled: VecDeque::new(),
        }))
    }

    /// Whether the looks of the next frame, which is at that time, can be planned.
    pub fn is_ready(&self, now: f64, lookahead: Lookahead) -> bool {
        let state = lock(&self.0);
        let first_pending = state.next - state.pending.len() as u64;
        state.base(now, lookahead).is_none_or(|base| base < first_pending)
    }

    /// Where to look in the next frame. It is to be added once its crops are with the network.
    pub fn plan(
        &self,
        moment: Moment,
        lookahead: Lookahead,
        settings: &Settings,
        glimpse: impl FnOnce() -> Glimpse,
    ) -> Vec<Look> {
        let mut state = lock(&self.0);
        state.base = state.base(moment.now, lookahead);
        state.forget();
        let nobody = Targets::default();
        let first_settled = state.first_settled();
        let State { planner, base, settled, .. } = &mut *state;
        let targets = base.and_then(|base| settled.get((base - first_settled) as usize));
        let targets = targets.map_or(&nobody, |(_, targets)| targets);
        let glimpse = (moment.search && planner.wants_glimpse(moment.now)).then(glimpse);
        let looks = planner.plan(moment, targets, settings, glimpse);
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
            state.people = lock(&frame.looks).taken.len() as u64;
            let settled = state.next - state.pending.len() as u64;
            state.base = state.base(frame.now, lookahead).min(settled.checked_sub(1));
        }
        state.pending.push_back(frame);
        state.next += 1;
        state.forget();
    }

    /// Whether `settle` has something to do. A frame that will never go out, because downstream had enough, is settled
    /// like others.
    pub fn can_settle(&self) -> bool {
        lock(&self.0).can_settle()
    }

    /// Settles the frames that are done, in order, up to one that must wait for the network. `retake` takes closer looks.
    /// Whether anything has changed that others may wait for.
    pub fn settle(&self, retake: Retake) -> bool {
        let mut changed = false;
        loop {
            // A step of its own, so that the lock is not held while crops are sampled.
            let step = lock(&self.0).next_step();
            match step {
                Step::Wait => return changed,
                Step::Settled => changed = true,
                Step::Closer(frame, pixels, looks) => {
                    let taken = retake(&pixels, looks);
                    {
                        let mut looks = lock(&frame.looks);
                        if taken.is_empty() {
                            // Nothing can be made of them.
                            looks.pixels = None;
                        }
                        looks.taken.extend(taken);
                    }
                    lock(&self.0).taking = false;
                    changed = true;
                }
            }
        }
    }

    /// What was decided since this was last asked.
    pub fn decisions(&self) -> Vec<Decision> {
        lock(&self.0).tracks.decisions()
    }
}

impl FollowedFrame {
    /// Who is in the frame, once it is settled.
    pub fn people(&self) -> Option<&Result<Vec<Person>, String>> {
        self.people.get()
    }
}

impl State {
    /// The frame from which the looks of the next one, at that time, are to be planned; none in the first frames of a
    /// stream.
    fn base(&self, now: f64, lookahead: Lookahead) -> Option<u64> {
        let frames = match lookahead {
            Lookahead::Exact(frames) => frames,
            // Nobody's looks: no batch could be filled with them.
            Lookahead::Filling(_) if self.people == 0 => 1,
            Lookahead::Filling(crops) => self.within(now, crops.div_ceil(self.people)),
            Lookahead::Newest => self.pending.len() as u64 + 1,
        };
        self.base.max(self.next.checked_sub(frames))
    }

    /// At most so many frames before the next one, which is at that time, and at least one: those that are not too old.
    fn within(&self, now: f64, frames: u64) -> u64 {
        let settled = self.settled.iter().map(|(time, _)| *time);
        let times = settled.chain(self.pending.iter().map(|frame| frame.now)).rev();
        let recent = times.take(frames as usize).take_while(|time| now - time <= LONGEST);
        (recent.count() as u64).max(1)
    }

    fn can_settle(&self) -> bool {
        !self.taking && self.pending.front().is_some_and(|frame| frame.is_answered())
    }

    fn next_step(&mut self) -> Step {
        if !self.can_settle() {
            return Step::Wait;
        }
        let Some(frame) = self.pending.front().cloned() else { return Step::Wait };
        let again = lock(&frame.looks).observed.is_some();
        let people = match frame.seen() {
            Ok(seen) if again => Ok(self.tracks.observe_closer(seen, frame.now)),
            Ok(seen) => Ok(self.tracks.observe(Observation {
                now: frame.now,
                size: frame.size,
                detected: frame.detected,
                seen,
                lifetime: frame.lifetime,
            })),
            Err(error) => Err(error),
        };
        let pixels = lock(&frame.looks).pixels.clone().filter(|_| people.is_ok());
        if let Some(pixels) = pixels {
            let looks = self.tracks.closer_looks(frame.now, frame.max_people);
            if !looks.is_empty() {
                self.taking = true;
                return Step::Closer(frame, pixels, looks);
            }
        }
        // Not before it is known that nobody looks at them again: who writes to the frame must be the only one who has it.
        lock(&frame.looks).pixels = None;
        let _ = frame.people.set(people);
        self.pending.pop_front();
        self.settled.push_back((frame.now, self.tracks.targets()));
        Step::Settled
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
    /// How often this thread has looked whether a frame is answered.
    pub(super) static LOOKED_AT: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        network::Columns,
        pose::KeyPoint,
        video::{ChromaSite, Colour, Component, Picture, Pixels},
    };

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
            .map(|n| KeyPoint {
                x: 600.0 + 100.0 * (n % 2) as f32,
                y: 200.0 + 20.0 * n as f32,
                score: 0.9,
                z: None,
            })
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
            let glimpse = || Glimpse::of(&Pixels::Host(dark()), SIZE);
            let moment = Moment { now, size: SIZE, search: true, still: false, most: usize::MAX };
            let looks = following.plan(moment, lookahead, &Settings::default(), glimpse);
            let mut state = lock(&following.0);
            bases.push(state.base);
            let seen = answers(looks);
            state.tracks.observe(Observation { now, size: SIZE, detected: false, seen, lifetime });
            drop(state);
            // Its answers have been taken in already.
            let kind = Kind::SimCc { points: 17, columns: Columns::Maxima };
            let settings = settings::Settings::default();
            let frame = FollowedFrame::new(now, SIZE, false, Vec::new(), None, kind, &settings);
            following.add(Arc::new(frame), lookahead);
            following.settle(&|_, _| Vec::new());
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
