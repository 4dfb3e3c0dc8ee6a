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
/// A shift of a box by this share of its side makes no difference to the model.
const BORNE: f32 = 0.05;
/// How many seconds ahead a velocity is trusted.
const FORESIGHT: f32 = 0.5;
/// Every second look at a candidate uses a box this much larger, around the unseen joints too.
const WIDER: f32 = 1.15;
/// A lost person is searched for in every frame for this many seconds, and then in every `SELDOM`th.
const AT_ONCE: f64 = 0.3;
const SELDOM: u64 = 6;
/// Frames of a file that are this many seconds apart are treated as still pictures, each by itself.
const PICTURES: f64 = 0.5;

/// The user's settings.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settings {
    /// Most people that are inferred in a frame.
    pub max_people: usize,
    pub search: Budget,
}

/// A frame to plan.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// The stream's time in seconds.
    pub now: f64,
    /// In square pixels.
    pub size: (u32, u32),
    /// Also search for people who are not known.
    pub search: bool,
    /// The frame may take any time, because it is not live.
    pub still: bool,
    /// Boxes that can be searched before the next frame comes, if frames are far apart.
    pub most: usize,
}

/// Plans the looks of frame after frame.
#[derive(Debug, Default)]
pub struct Planner {
    search: Search,
    motion: Motion,
    frames: u64,
    /// Further looks that the budget was charged for.
    paid: u64,
    last: Option<f64>,
}

impl Planner {
    /// Whether a plan at that time of the stream can use a glimpse of the frame.
    pub fn wants_glimpse(&self, now: f64) -> bool {
        self.motion.is_due(now)
    }

    /// Where to look in the frame, according to the `targets` of an earlier frame, and to a `glimpse` that shows what moves.
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
        // Each picture shows something else: a person who is not found in this one may never be.
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
        // Looks for lost people are charged to the search, and so are the further looks before this one.
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
            looks.extend(candidates.map(|(target, _)| {
                let region = closer(target, now, by, self.frames);
                Look { region, purpose: Purpose::Confirm(target.key) }
            }));
            self.search.pay(looks.len() - before);
            // A scene's first frame shows most of its people, so the credit is spent on it. Live frames that are far apart
            // are each searched as long as possible.
            let at_once = (still && new_scene || apart) && settings.search.crops > 0;
            let most = if at_once { most } else { settings.search.crops };
            let most = most.saturating_sub(looks.len() - before);
            let found = self.search.take(now, most, &followed);
            looks.extend(found.into_iter().map(|region| Look { region, purpose: Purpose::Search }));
        }
        looks
    }
}

/// The box of that look at a candidate. Something that only resembles a person looks different through another box. Every second
/// box also shows the legs that the search's box may have left out.
pub(super) fn closer(target: &Target, now: f64, by: [f32; 2], number: u64) -> Region {
    if !number.is_multiple_of(2) {
        return expected(target, now, by);
    }
    let region = ahead(target, &target.whole, now, by);
    let [x, y] = centre(&region);
    around(x, y, region.width * WIDER, region.height * WIDER)
}

/// The box in which a person is expected.
pub(super) fn expected(target: &Target, now: f64, by: [f32; 2]) -> Region {
    ahead(target, &target.region, now, by)
}

/// A box of the target's last frame, moved and grown: the older it is, the larger.
fn ahead(target: &Target, region: &Region, now: f64, by: [f32; 2]) -> Region {
    let age = ((now - target.seen) as f32).max(0.0);
    let ahead = age.min(FORESIGHT);
    let grown = 1.0 + GROWTH * ahead;
    let region = scaled(region, by);
    let [x, y] = centre(&region);
    // Small shifts do not matter to the model, so they are not predicted: the velocity is never exact.
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
