//! Finds people in a stream of frames, and tracks them. Nothing here has a clock, a thread or a frame's pixels: the stream's
//! time and the key points of crops come in, and boxes to infer go out.
//!
//! All positions are in square pixels ([`FrameShape`](crate::video::FrameShape)), whatever the shape of the frame's own
//! pixels.
//!
//! The two halves share no state, so that looks (boxes that a frame needs inferred) can be planned while earlier frames are
//! in flight:
//!
//! - [`Planner::plan`] says where to look in a frame, given the [`Targets`] of an earlier frame: the predicted boxes of
//!   tracked people, those of candidates, and as much of a search as the budget allows.
//! - [`Tracks::observe`] takes the looks' key points, frame by frame in order, and returns the people in the frame.
//!
//! What a search finds is a candidate. It is reported as a person after enough looks, each with its own box, agree. A
//! tracked person who is not found is lost: the tracker searches at the predicted place, and forgets the person after
//! `track-lifetime`.

mod assign;
mod body;
mod closer;
mod decision;
mod detected;
mod edge;
mod extent;
mod motion;
mod one;
mod pace;
mod plan;
mod search;
#[cfg(test)]
mod tests;

use std::{collections::BTreeSet, time::Duration};

pub use body::Anatomy;
pub use decision::{Decision, Doubt};
pub use motion::Glimpse;
pub use plan::{Moment, Planner, Settings};
pub use search::Budget;

use crate::pose::{KeyPoint, Person, Region};
use assign::assign;
use body::{Pose, overlap};
use extent::Extent;
use pace::Pace;

// Scores here are maxima of SimCC answers, without the model's unit (`Network::score_unit`).
/// Mean score from which a search's find deserves another look.
const HINT: f32 = 0.25;
/// Mean score of the looks that make a candidate a person, and the minimum of each.
const ACCEPT: f32 = 0.57;
const LEAST_ACCEPTED: f32 = 0.46;
/// Mean score below which a tracked person counts as not found.
const KEEP: f32 = 0.2;
/// Agreement that a look must have with the look before.
const AGREEMENT: f32 = 0.5;
/// A candidate is reported once this many more looks agree than do not.
const AGREEMENTS: u32 = 4;
/// After this many looks that did not find it, or that disagreed, a candidate is rejected.
const FAILURES: u32 = 5;
/// A candidate is also rejected after this many looks that agree, if it is hardly like a person.
const DOUBTS: u32 = 8;
/// A pose this different from a track's prediction is another person.
const LEAST_SIMILAR: f32 = 0.15;
/// Boxes and points count alike in the similarity of two poses.
const EQUALLY: f32 = 0.5;
/// Bonus of a look that was made for the track, over other looks.
const OWN_LOOK: f32 = 0.1;
/// Two poses this similar by their points are the same person.
const SAME_POINTS: f32 = 0.7;
/// A find that overlaps a tracked person this much is that person.
const SAME_BOX: f32 = 0.5;
/// A new find that overlaps a lost person this much is that person.
const SAME_PLACE: f32 = 0.3;
/// Time constant of the measured velocity, in seconds.
const STEADINESS: f64 = 0.2;
/// A person for whom no look was made is remembered for this many seconds, and for this many looks, however far apart they
/// are.
const UNSEEN: f64 = 1.0;
const UNSEEN_LOOKS: f64 = 8.0;

/// Names a track while it lives, also before it has an id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key(u64);

/// The reason of a look.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Purpose {
    /// Upstream found a person there, and may have a number for that person.
    Detected {
        id: Option<i64>,
    },
    /// A tracked or lost person.
    Follow(Key),
    /// A candidate.
    Confirm(Key),
    Search,
}

/// A box of the frame to look at.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Look {
    pub region: Region,
    pub purpose: Purpose,
}

/// What the network found in a look.
#[derive(Clone, Debug)]
pub struct Seen {
    pub look: Look,
    pub points: Vec<KeyPoint>,
}

/// A frame's looks with their answers.
#[derive(Clone, Debug)]
pub struct Observation {
    /// The stream's time in seconds.
    pub now: f64,
    /// Of the frame, in square pixels.
    pub size: (u32, u32),
    /// The looks are upstream's boxes, which define who is in the frame; otherwise the planner's.
    pub detected: bool,
    pub seen: Vec<Seen>,
    /// How long a lost person is searched for.
    pub lifetime: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    /// Found by a search; then by this many looks of its own that agreed with the one before, with this sum of mean scores,
    /// and by this many that did not.
    Candidate {
        agreed: u32,
        scores: f32,
        failed: u32,
    },
    Followed,
    Lost {
        since: f64,
    },
    /// Upstream says who is in the frame, and did not report this person: there are no looks, but a person who returns keeps
    /// the id.
    Omitted {
        since: f64,
    },
}

impl State {
    const NEW: Self = Self::Candidate { agreed: 0, scores: 0.0, failed: 0 };
}

/// A person, tracked or candidate.
#[derive(Clone, Debug)]
struct Track {
    key: Key,
    id: Option<i64>,
    state: State,
    /// The last pose.
    pose: Pose,
    extent: Extent,
    /// Velocity of the box's centre, in square pixels a second.
    velocity: [f32; 2],
    /// When it was last found.
    seen: f64,
    /// The pose comes from a look with its own box.
    own: bool,
}

/// Where people are expected, after one frame.
#[derive(Clone, Debug, Default)]
pub struct Targets {
    size: (u32, u32),
    list: Vec<Target>,
    /// Further looks that were taken at frames up to this one, beside those that were planned.
    closer_looks: u64,
}

#[derive(Clone, Copy, Debug)]
struct Target {
    key: Key,
    state: State,
    region: Region,
    /// Of a candidate, also around the joints that are not seen.
    whole: Region,
    velocity: [f32; 2],
    seen: f64,
}

/// The people in the stream.
#[derive(Debug)]
pub struct Tracks {
    anatomy: Anatomy,
    list: Vec<Track>,
    size: (u32, u32),
    next_key: u64,
    next_id: i64,
    /// Upstream numbers people: no numbers are added to its own.
    upstream_ids: bool,
    pace: Pace,
    /// How long a lost person is searched for.
    lifetime: f64,
    /// The tracks that the last frame's looks were for.
    looked_at: BTreeSet<Key>,
    /// Further looks: rounds taken at the last frame, and the number at all frames.
    rounds: u32,
    closer_looks: u64,
    decisions: Vec<Decision>,
}

impl Tracks {
    pub fn new(anatomy: Anatomy) -> Self {
        Self {
            anatomy,
            list: Vec::new(),
            size: (0, 0),
            next_key: 0,
            next_id: 1,
            upstream_ids: false,
            pace: Pace::default(),
            lifetime: 0.0,
            looked_at: BTreeSet::new(),
            rounds: 0,
            closer_looks: 0,
            decisions: Vec::new(),
        }
    }

    /// The decisions since the last call.
    pub fn decisions(&mut self) -> Vec<Decision> {
        std::mem::take(&mut self.decisions)
    }

    /// Where people are expected after the last frame.
    pub fn targets(&self) -> Targets {
        let others = |key: Key| {
            let others = self.list.iter().filter(move |other| other.key != key);
            others.map(|other| &other.pose.region)
        };
        let target = |track: &Track| Target {
            key: track.key,
            state: track.state,
            region: track.extent.region(others(track.key)),
            whole: match track.state {
                State::Candidate { .. } => self.anatomy.whole(&track.pose, self.size),
                _ => track.pose.region,
            },
            velocity: track.velocity,
            seen: track.seen,
        };
        let list = self.list.iter().map(target).collect();
        Targets { size: self.size, list, closer_looks: self.closer_looks }
    }

    /// Takes the next frame's looks; returns the people in it.
    pub fn observe(&mut self, frame: Observation) -> Vec<Person> {
        self.scale_to(frame.size);
        self.pace.step(frame.now);
        self.lifetime = frame.lifetime.as_secs_f64();
        self.rounds = 0;
        self.forget(frame.now);
        self.looked_at = frame.seen.iter().filter_map(|seen| seen.look.purpose.key()).collect();
        if frame.detected {
            self.take_detected(frame)
        } else {
            self.take_looks(frame.seen, frame.now);
            self.people(frame.now)
        }
    }

    /// The people who are known to be in the frame of that time.
    fn people(&self, now: f64) -> Vec<Person> {
        let here = |track: &&Track| track.state == State::Followed && track.seen == now;
        let mut people: Vec<_> = self.list.iter().filter(here).map(Track::person).collect();
        people.sort_by_key(|person| person.id);
        people
    }

    /// Tracks whose time is over are removed before anything is compared with them.
    fn forget(&mut self, now: f64) {
        let unseen = (UNSEEN_LOOKS * self.pace.usual()).max(UNSEEN).max(self.lifetime);
        let lifetime = self.lifetime;
        let decisions = &mut self.decisions;
        self.list.retain(|track| {
            let age = now - track.seen;
            let known = match track.state {
                State::Candidate { .. } | State::Followed => age <= unseen,
                // People without looks may have left long ago.
                State::Lost { since } | State::Omitted { since } => now - since <= lifetime && age <= unseen,
            };
            if !known {
                decisions.push(match track.state {
                    State::Candidate { .. } => Decision::Rejected { key: track.key, why: Doubt::TooOld },
                    _ => Decision::Forgotten { id: track.id },
                });
            }
            known
        });
    }

    /// Frames of another size show the same scene: everything is scaled with them.
    fn scale_to(&mut self, size: (u32, u32)) {
        if self.size != size && self.size.0 > 0 && self.size.1 > 0 {
            let by = [size.0 as f32 / self.size.0 as f32, size.1 as f32 / self.size.1 as f32];
            for track in &mut self.list {
                track.extent.scale(by);
                track.pose.region = scaled(&track.pose.region, by);
                track.velocity = [track.velocity[0] * by[0], track.velocity[1] * by[1]];
                for point in &mut track.pose.points {
                    (point.x, point.y) = (point.x * by[0], point.y * by[1]);
                }
            }
        }
        self.size = size;
    }

    /// Takes looks at the frame of that time: which known people are in it, and which finds are new.
    fn take_looks(&mut self, seen: Vec<Seen>, now: f64) {
        let looked_at: Vec<_> = seen.iter().filter_map(|seen| seen.look.purpose.key()).collect();
        let finds = self.finds(seen, now);
        let candidate = |track: &&Track| matches!(track.state, State::Candidate { .. });
        let candidates: Vec<_> = self.list.iter().filter(candidate).map(|track| track.key).collect();
        let predicted: Vec<_> = self.list.iter().map(|track| track.predicted(now)).collect();
        let pairs = assign(self.list.len(), finds.len(), LEAST_SIMILAR, |row, column| {
            let (track, find) = (&self.list[row], &finds[column]);
            let own = if find.key == Some(track.key) { OWN_LOOK } else { 0.0 };
            self.anatomy.similarity(&predicted[row], &find.pose, EQUALLY) + own
        });
        let mut free: Vec<_> = finds.into_iter().map(Some).collect();
        let mut found = vec![false; self.list.len()];
        for (row, column) in pairs {
            let find = free[column].take().expect("a find is assigned once");
            found[row] = self.take_find(row, find, &predicted[row], now);
        }
        for (track, found) in self.list.iter_mut().zip(found) {
            if !found && looked_at.contains(&track.key) {
                if track.state == State::Followed {
                    self.decisions.push(Decision::Lost { id: track.id });
                }
                track.miss(now);
            }
        }
        let decisions = &mut self.decisions;
        self.list.retain(|track| {
            let doubt = track.doubt();
            decisions.extend(doubt.map(|why| Decision::Rejected { key: track.key, why }));
            doubt.is_none()
        });
        candidates.into_iter().for_each(|key| self.name(key, now));
        for find in free.into_iter().flatten() {
            self.take_stranger(find, now);
        }
    }

    /// The looks that found a body, each body once: the best look at it.
    fn finds(&self, seen: Vec<Seen>, now: f64) -> Vec<Find> {
        let mut finds: Vec<Find> = seen
            .into_iter()
            .filter_map(|Seen { look, points }| {
                let pose = self.anatomy.pose(points, self.size)?;
                let least = if look.purpose == Purpose::Search { HINT } else { KEEP };
                (pose.score >= least).then_some(Find { key: look.purpose.key(), pose })
            })
            .collect();
        // Looks with their own box are more precise than a search.
        finds.sort_by(|a, b| {
            b.key.is_some().cmp(&a.key.is_some()).then(b.pose.score.total_cmp(&a.pose.score))
        });
        let mut unique: Vec<Find> = Vec::with_capacity(finds.len());
        for find in finds {
            // A person who was already found in this frame is not found again by another look.
            let known = |track: &Track| {
                track.state == State::Followed
                    && track.seen == now
                    && find.key != Some(track.key)
                    && self.anatomy.oks(&track.pose, &find.pose) >= SAME_POINTS
            };
            if !self.list.iter().any(known)
                && unique.iter().all(|other| self.anatomy.oks(&other.pose, &find.pose) < SAME_POINTS)
            {
                unique.push(find);
            }
        }
        unique
    }

    /// Whether the find is good enough for the track, which then continues from it.
    fn take_find(&mut self, row: usize, find: Find, predicted: &Pose, now: f64) -> bool {
        let plausible = self.anatomy.is_plausible(&find.pose);
        let hint = find.pose.score >= HINT && self.anatomy.is_hint(&find.pose);
        let own = find.key.is_some();
        let agrees = || self.anatomy.agreement(predicted, &find.pose) >= AGREEMENT;
        let state = match self.list[row].state {
            State::Candidate { agreed, scores, failed } if own => {
                if plausible && find.pose.score >= LEAST_ACCEPTED && agrees() {
                    let (agreed, scores) = (agreed + 1, scores + find.pose.score);
                    if agreed >= AGREEMENTS + failed && scores >= ACCEPT * agreed as f32 {
                        State::Followed
                    } else {
                        State::Candidate { agreed, scores, failed }
                    }
                } else if agreed > 0 {
                    // Another person, beside the candidate.
                    return false;
                } else {
                    State::Candidate { agreed, scores, failed: failed + 1 }
                }
            }
            State::Lost { .. } | State::Omitted { .. } if !hint => return false,
            State::Lost { .. } | State::Omitted { .. } => {
                let (id, region) = (self.list[row].id, find.pose.region);
                self.decisions.push(Decision::Back { id, region });
                State::Followed
            }
            other @ (State::Candidate { .. } | State::Followed) => other,
        };
        self.list[row].state = state;
        self.list[row].find(&self.anatomy, find.pose, now, own);
        true
    }

    /// Gives an id to a candidate that has become a person. Found where a person is lost, it is that person: the lost
    /// person's box went astray, and a search found the body again.
    fn name(&mut self, key: Key, now: f64) {
        let newcomer = self.list.iter().position(|track| track.key == key && track.state == State::Followed);
        let Some(newcomer) = newcomer else { return };
        let region = self.list[newcomer].pose.region;
        let lost = self.list.iter().filter(|track| matches!(track.state, State::Lost { .. }));
        let lost = lost.map(|track| (track.key, track.id, overlap(&track.predicted(now).region, &region)));
        let same = lost.filter(|(.., share)| *share >= SAME_PLACE).max_by(|a, b| a.2.total_cmp(&b.2));
        let id = match same {
            Some((_, id, _)) => id,
            None => (!self.upstream_ids).then(|| self.new_id()),
        };
        self.list[newcomer].id = id;
        let score = self.list[newcomer].pose.score;
        self.decisions.push(Decision::Confirmed { key, id, region, score });
        self.list.retain(|track| same.is_none_or(|(lost, ..)| track.key != lost));
    }

    /// A find without a track becomes a candidate, unless it overlaps a known person.
    fn take_stranger(&mut self, find: Find, now: f64) {
        let known = |track: &Track| {
            overlap(&track.pose.region, &find.pose.region) > SAME_BOX
                || self.anatomy.oks(&track.pose, &find.pose) > AGREEMENT
        };
        let good = find.pose.score >= HINT && self.anatomy.is_hint(&find.pose);
        if good && !self.list.iter().any(known) {
            let (region, score) = (find.pose.region, find.pose.score);
            let track = self.new_track(find.pose, now, find.key.is_some());
            self.decisions.push(Decision::Found { key: track.key, region, score });
            self.list.push(track);
        }
    }

    fn new_track(&mut self, pose: Pose, now: f64, own: bool) -> Track {
        let key = Key(self.next_key);
        self.next_key += 1;
        let extent = Extent::of(&self.anatomy, &pose, now);
        Track { key, id: None, state: State::NEW, pose, extent, velocity: [0.0; 2], seen: now, own }
    }

    fn new_id(&mut self) -> i64 {
        self.next_id += 1;
        self.next_id - 1
    }
}

/// A body in the frame.
struct Find {
    /// The track whose look found it; none for a search.
    key: Option<Key>,
    pose: Pose,
}

impl Purpose {
    fn key(self) -> Option<Key> {
        match self {
            Self::Follow(key) | Self::Confirm(key) => Some(key),
            Self::Detected { .. } | Self::Search => None,
        }
    }
}

fn scaled(region: &Region, by: [f32; 2]) -> Region {
    Region::new(region.x * by[0], region.y * by[1], region.width * by[0], region.height * by[1])
}
