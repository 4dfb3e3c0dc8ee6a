//! Where to look in a frame.

use std::time::Duration;

use super::{
    Look, Purpose, State, Target, Targets,
    body::{around, centre},
    motion::{Glimpse, Motion},
    scaled,
    search::{Budget, Search},
};
use crate::pose::Region;

/// The margin of a box grows by this much for each second of its result's age.
const GROWTH: f32 = 0.6;
/// A shift of a box by this share of its side makes no difference to the network.
const BORNE: f32 = 0.05;
/// How far ahead a velocity holds, in seconds.
const FORESIGHT: f32 = 0.5;
/// Every second look at a candidate has a box this much larger.
const WIDER: f32 = 1.15;
/// Somebody lost is looked for in every frame for so many seconds, and then in every `SELDOM`th.
const AT_ONCE: f64 = 0.3;
const SELDOM: u64 = 6;
/// Frames of a file so many seconds apart are taken as pictures, each by itself.
const PICTURES: f64 = 0.5;

/// What users set.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settings {
    /// Most people that are looked at in a frame.
    pub max_people: usize,
    pub search: Budget,
}

/// A frame to be planned.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// The stream's time in seconds.
    pub now: f64,
    /// In square pixels.
    pub size: (u32, u32),
    /// Also for people nobody knows of.
    pub search: bool,
    /// The frame can be looked at for as long as it takes: nobody waits for it (it is not live).
    pub still: bool,
    /// So many boxes can be searched before the next frame comes, where frames are far apart.
    pub most: usize,
}

/// Plans the looks of frame after frame.
#[derive(Debug, Default)]
pub struct Planner {
    search: Search,
    motion: Motion,
    frames: u64,
    /// Closer looks that are paid for.
    paid: u64,
    last: Option<f64>,
}

impl Planner {
    /// Whether a plan at that time of the stream can make use of a glimpse of the frame.
    pub fn wants_glimpse(&self, now: f64) -> bool {
        self.motion.is_due(now)
    }

    /// Where to look in the frame, as `targets` of an earlier frame say, and where a `glimpse` of it shows that something
    /// moves.
    pub fn plan(
        &mut self,
        moment: Moment,
        targets: &Targets,
        settings: &Settings,
        glimpse: Option<Glimpse>,
    ) -> Vec<Look> {
        let Moment { now, size, search, still, most } = moment;
        let first = self.frames == 0;
        self.frames += 1;
        let by = match targets.size {
            (0, _) | (_, 0) => [1.0; 2],
            (width, height) => [size.0 as f32 / width as f32, size.1 as f32 / height as f32],
        };
        let of = |wanted: fn(&State) -> bool| {
            let targets = targets.list.iter().filter(move |target| wanted(&target.state));
            targets.map(move |target| (target, expected(target, now, by)))
        };
        let mut looks = Vec::new();
        let mut followed = Vec::new();
        for (target, region) in of(|state| *state == State::Followed) {
            looks.push(Look { region, purpose: Purpose::Follow(target.key) });
            followed.push(scaled(&target.region, by));
        }
        let passed = self.last.replace(now).map_or(0.0, |last| now - last);
        let slow = passed >= AT_ONCE;
        // Each shows something else, and who is not found in it may not be found at all.
        let apart = passed >= PICTURES;
        let picture = still && apart;
        for (target, region) in of(|state| matches!(state, State::Lost { .. })) {
            let State::Lost { since } = target.state else { continue };
            if now - since < AT_ONCE || slow || self.frames.is_multiple_of(SELDOM) {
                looks.push(Look { region, purpose: Purpose::Follow(target.key) });
            }
        }
        looks.truncate(settings.max_people);
        self.search.begin_frame(size, now, settings.search);
        // To look for somebody lost is a search, too, and so were the closer looks that came before this one.
        let closer_looks = targets.closer_looks - std::mem::replace(&mut self.paid, targets.closer_looks);
        self.search.pay(looks.len().saturating_sub(followed.len()) + closer_looks as usize);
        let candidates = || of(|state| matches!(state, State::Candidate { .. }));
        let mut new_scene = first;
        if let Some(glimpse) = glimpse {
            let known = looks.iter().map(|look| look.region).chain(candidates().map(|(_, region)| region));
            let movement = self.motion.look(now, glimpse, &known.collect::<Vec<_>>(), picture);
            new_scene |= movement.cut;
            self.search.see(movement, picture);
        }
        if search && looks.len() < settings.max_people {
            let candidates = candidates().take(settings.max_people - looks.len());
            let before = looks.len();
            looks.extend(candidates.map(|(target, region)| {
                let region = closer(&region, self.frames);
                Look { region, purpose: Purpose::Confirm(target.key) }
            }));
            self.search.pay(looks.len() - before);
            // A scene's first frame shows most of those who are in it: what is lent for it is spent on it.
            // Of live frames that are far apart each is searched for as long as may be.
            let at_once = (still && new_scene || apart) && settings.search.crops > 0;
            let most = if at_once { most } else { settings.search.crops };
            let most = most.saturating_sub(looks.len() - before);
            let found = self.search.take(now, most, &followed);
            looks.extend(found.into_iter().map(|region| Look { region, purpose: Purpose::Search }));
        }
        looks
    }
}

/// The box of the closer look of that number at a candidate that is expected in `region`. Looked at through another box,
/// what only looks like somebody looks otherwise.
pub(super) fn closer(region: &Region, number: u64) -> Region {
    let by = if number.is_multiple_of(2) { WIDER } else { 1.0 };
    let [x, y] = centre(region);
    around(x, y, region.width * by, region.height * by)
}

/// The box in which somebody is expected, larger the older the news of him is.
pub(super) fn expected(target: &Target, now: f64, by: [f32; 2]) -> Region {
    let age = ((now - target.seen) as f32).max(0.0);
    let ahead = age.min(FORESIGHT);
    let grown = 1.0 + GROWTH * ahead;
    let region = scaled(&target.region, by);
    let [x, y] = centre(&region);
    // What the network bears anyway is not followed: the speed is never known exactly.
    let shift = |velocity: f32, side: f32| {
        let (shift, borne) = (velocity * ahead, BORNE * side);
        shift - shift.clamp(-borne, borne)
    };
    around(
        x + shift(target.velocity[0] * by[0], region.width),
        y + shift(target.velocity[1] * by[1], region.height),
        region.width * grown,
        region.height * grown,
    )
}

impl Default for Settings {
    fn default() -> Self {
        Self { max_people: 16, search: Budget { crops: 6, interval: Duration::from_secs(1) } }
    }
}
