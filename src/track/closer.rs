//! Further crops of a frame that was already inferred, while its pixels are at hand: candidates in it are confirmed in it,
//! and a person whom further crops of an earlier frame have found meanwhile is searched for in it, too.

use super::{Key, Look, Purpose, Seen, State, Tracks, plan};
use crate::pose::Person;

/// After this many further crops of one frame, a candidate waits for the next frame.
const MOST_ROUNDS: u32 = 16;

impl Tracks {
    /// Where to take the next crops of the last observed frame: at candidates, at most `most` of people and candidates
    /// together. None: everything is decided.
    pub fn closer_looks(&self, now: f64, max_people: usize) -> Vec<Look> {
        let targets = self.targets();
        let look = |key: Key, purpose: Purpose| {
            let target = targets.list.iter().find(|target| target.key == key)?;
            let region = match purpose {
                Purpose::Confirm(_) => plan::closer(target, now, [1.0; 2], u64::from(self.rounds)),
                _ => plan::expected(target, now, [1.0; 2]),
            };
            Some(Look { region, purpose })
        };
        let followed = self.list.iter().filter(|track| track.state == State::Followed);
        let missing = followed.clone().filter(|track| !self.looked_at.contains(&track.key));
        let missing = missing.filter(|track| track.seen != now);
        let mut looks: Vec<_> =
            missing.filter_map(|track| look(track.key, Purpose::Follow(track.key))).collect();
        if self.rounds < MOST_ROUNDS {
            let room = max_people.saturating_sub(followed.count());
            let candidates = self.list.iter().filter(|track| matches!(track.state, State::Candidate { .. }));
            looks.extend(
                candidates.take(room).filter_map(|track| look(track.key, Purpose::Confirm(track.key))),
            );
        }
        looks
    }

    /// Takes the answers of further crops of the last observed frame; returns the people in it.
    pub fn observe_closer(&mut self, seen: Vec<Seen>, now: f64) -> Vec<Person> {
        self.rounds += 1;
        let closer = seen.iter().filter(|seen| matches!(seen.look.purpose, Purpose::Confirm(_)));
        self.closer_looks += closer.count() as u64;
        self.looked_at.extend(seen.iter().filter_map(|seen| seen.look.purpose.key()));
        self.take_looks(seen, now);
        self.people(now)
    }
}
