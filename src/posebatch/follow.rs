//! Tracks people through the frames of a stream. The sink pad plans a frame's looks; the source pad's task needs to know who
//! is in the frame.
//!
//! Frames are settled in order, as soon as their crops are answered, by whichever of the two threads comes first, so that a
//! blocked sink does not stop the tracker. In a stream that is not live, a frame with candidates is inferred again, with
//! further crops, before it is settled: it is the first frame with such a person, and may be the only one. A frame's looks
//! depend only on which earlier frame they are planned from, never on how far the other frames are.

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

/// Which frame's people a frame's looks are planned from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Lookahead {
    /// The one this many frames earlier: two runs of a file look at the same places.
    Exact(u64),
    /// The one before as many frames as hold this many crops of people: that many frames for one person, fewer for more.
    /// This, too, makes two runs of a file look at the same places.
    Filling(u64),
    /// The newest settled frame.
    Newest,
}

/// In a file, looks are planned from at most this many seconds earlier: a person who walks would be elsewhere.
const LONGEST: f64 = 0.27;

/// The people of a stream, from its start or a flush on.
pub struct Following(Mutex<State>);

struct State {
    /// The model's (`Network::score_unit`).
    score_unit: f32,
    planner: Planner,
    tracks: Tracks,
    /// Number of the next frame.
    next: u64,
    /// Crops of people in the last planned frame.
    people: u64,
    /// The frame that the last looks were planned from. Later looks use no earlier one.
    base: Option<u64>,
    /// Frames in flight, in order, up to the next.
    pending: VecDeque<Arc<FollowedFrame>>,
    /// The first of them has been observed, and one of the threads is taking further crops of it.
    taking: bool,
    /// The times of the latest settled frames, and where people are after each, up to the first pending frame.
    settled: VecDeque<(f64, Targets)>,
}

/// A frame's pixels, for further crops.
pub type Pixels = (gst::Buffer, Arc<Video>);

/// Samples crops of a frame and submits them.
pub(super) type Retake<'a> = &'a dyn Fn(&Pixels, Vec<Look>) -> Vec<Taken>;

/// A look whose crop was submitted.
pub type Taken = (Look, Crop, PendingAnswer);

/// A frame in which people are tracked.
pub struct FollowedFrame {
    /// The stream's time in seconds.
    pub now: f64,
    /// Of the frame, in square pixels.
    pub size: (u32, u32),
    /// Upstream reported people.
    pub detected: bool,
    pub kind: Kind,
    pub score_mode: ScoreMode,
    pub lifetime: Duration,
    pub max_people: usize,
    looks: Mutex<Looks>,
    /// The people in it, or why they are not known; set once it is settled.
    people: OnceLock<Result<Vec<Person>, String>>,
}

struct Looks {
    taken: Vec<Taken>,
    /// How many of them were observed; none before the first observation.
    observed: Option<usize>,
    /// For further crops; none if these are left to later frames, or once there are none.
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

    /// Crops that were submitted.
    pub fn crops(&self) -> usize {
        lock(&self.looks).taken.len()
    }

    /// Whether an executor has not taken one of its crops yet.
    pub fn is_waiting(&self) -> bool {
        lock(&self.looks).taken.iter().any(|(_, _, pending)| !pending.is_handed())
    }

    /// What the model found in looks that were not observed yet, with scores in that unit. The first crop that failed fails the frame.
    fn seen(&self, score_unit: f32) -> Result<Vec<Seen>, String> {
        let mut looks = lock(&self.looks);
        let all = looks.taken.len();
        let from = looks.observed.replace(all).unwrap_or(0);
        let seen = |(look, crop, pending): &Taken| {
            let mut points = key_points(pending, crop, self.kind, self.score_mode)?;
            points.iter_mut().for_each(|point| point.score /= score_unit);
            Ok(Seen { look: *look, points })
        };
        looks.taken[from..].iter().map(seen).collect()
    }
}

/// What `Following::next_step` returns.
enum Step {
    /// Nothing to do before more crops are answered.
    Wait,
    /// A frame was settled.
    Settled,
    /// Further crops of the frame are needed.
    Closer(Arc<FollowedFrame>, Pixels, Vec<Look>),
}

impl Following {
    /// The tracker's thresholds are for the maxima of SimCC answers, so it gets scores without the model's unit.
    pub fn new(anatomy: Anatomy, score_unit: f32) -> Self {
        Self(Mutex::new(State {
            score_unit,
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

    /// Whether the looks of the next frame, at that time, can be planned.
    pub fn is_ready(&self, now: f64, lookahead: Lookahead) -> bool {
        let state = lock(&self.0);
        let first_pending = state.next - state.pending.len() as u64;
        state.base(now, lookahead).is_none_or(|base| base < first_pending)
    }

    /// Plans the looks of the next frame. Add the frame once its crops are submitted.
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
        // Before anyone is tracked, each further look at a candidate comes from the look before it.
        state.people = if somebody { people as u64 } else { 0 };
        looks
    }

    /// Adds the next frame, in the stream's order.
    pub fn add(&self, frame: Arc<FollowedFrame>, lookahead: Lookahead) {
        let mut state = lock(&self.0);
        if frame.detected {
            // There was no plan that counted it.
            state.people = lock(&frame.looks).taken.len() as u64;
            let settled = state.next - state.pending.len() as u64;
            state.base = state.base(frame.now, lookahead).min(settled.checked_sub(1));
        }
        state.pending.push_back(frame);
        state.next += 1;
        state.forget();
    }

    /// Whether `settle` has something to do. A frame that will never leave, because downstream needs no more, is settled
    /// like others.
    pub fn can_settle(&self) -> bool {
        lock(&self.0).can_settle()
    }

    /// Settles the finished frames in order, up to one that must wait for the model. `retake` takes further crops. Returns
    /// whether anything has changed that other threads may wait for.
    pub fn settle(&self, retake: Retake) -> bool {
        let mut changed = false;
        loop {
            // A separate step, so that the lock is not held while crops are sampled.
            let step = lock(&self.0).next_step();
            match step {
                Step::Wait => return changed,
                Step::Settled => changed = true,
                Step::Closer(frame, pixels, looks) => {
                    let taken = retake(&pixels, looks);
                    {
                        let mut looks = lock(&frame.looks);
                        if taken.is_empty() {
                            // No further crops can be made.
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

    /// The decisions since the last call.
    pub fn decisions(&self) -> Vec<Decision> {
        lock(&self.0).tracks.decisions()
    }
}

impl FollowedFrame {
    /// The people in the frame, once it is settled.
    pub fn people(&self) -> Option<&Result<Vec<Person>, String>> {
        self.people.get()
    }
}

impl State {
    /// The frame from which to plan the looks of the next one, at that time; none in the first frames of a stream.
    fn base(&self, now: f64, lookahead: Lookahead) -> Option<u64> {
        let frames = match lookahead {
            Lookahead::Exact(frames) => frames,
            // Without people's looks, frames in flight would not fill a batch.
            Lookahead::Filling(_) if self.people == 0 => 1,
            Lookahead::Filling(crops) => self.within(now, crops.div_ceil(self.people)),
            Lookahead::Newest => self.pending.len() as u64 + 1,
        };
        self.base.max(self.next.checked_sub(frames))
    }

    /// At most this many frames before the next one, at that time, and at least one: only frames that are recent enough.
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
        let mut people = match frame.seen(self.score_unit) {
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
        let points = people.iter_mut().flatten().flat_map(|person| &mut person.key_points);
        points.for_each(|point| point.score *= self.score_unit);
        // Not before no further crops can be needed: a writer to the frame must be its only owner.
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
    /// How often this thread has checked whether a frame is answered.
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

    /// The model's answer to each look at a person who stands still.
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
        let following = Following::new(Anatomy::of("coco-17", 17, None), 1.0);
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
            // The answers to this frame's looks have already been observed.
            let kind = Kind::SimCc { points: 17, columns: Columns::Maxima };
            let settings = settings::Settings::default();
            let frame = FollowedFrame::new(now, SIZE, false, Vec::new(), None, kind, &settings);
            following.add(Arc::new(frame), lookahead);
            following.settle(&|_, _| Vec::new());
        }
        // Found in frame 0, then inferred four times, each time from the frame before; known to be tracked in frame 5, from
        // which on 8 frames are in flight.
        let expected = (0..24u64).map(|number| match number {
            0 => None,
            1..=5 => Some(number - 1),
            _ => Some((number - 8.min(number)).max(4)),
        });
        assert_eq!(bases, expected.collect::<Vec<_>>());
    }
}
