//! Models that find all people of a frame in one run, such as RTMO. There is no search; ids come from the similarity of
//! people in consecutive frames.

use std::time::Duration;

use crate::{
    network::Kind,
    pose::Person,
    stage::WholeFrame,
    track::{Anatomy, Look, Observation, Purpose, Seen, Tracks},
};

/// A frame that is inferred as a whole.
pub struct WholeLook {
    /// The stream's time in seconds.
    pub now: f64,
    pub frame: WholeFrame,
    /// People get ids.
    pub followed: bool,
    pub max_people: usize,
    pub lifetime: Duration,
}

impl WholeLook {
    /// The people in the frame, whose size is in square pixels. `tracks` are those of earlier frames.
    pub fn people(
        self,
        kind: Kind,
        size: (u32, u32),
        tracks: &mut Option<Tracks>,
        anatomy: impl FnOnce() -> Anatomy,
    ) -> Result<Vec<Person>, String> {
        let answer = self.frame.answer()?;
        let people = answer.map_or(Vec::new(), |(row, whole)| kind.people(row, whole, self.max_people));
        if !self.followed {
            *tracks = None;
            return Ok(people);
        }
        let tracks = tracks.get_or_insert_with(|| Tracks::new(anatomy()));
        let seen = |Person { region, key_points, .. }| {
            let look = Look { region, purpose: Purpose::Detected { id: None } };
            Seen { look, points: key_points }
        };
        let seen = people.into_iter().map(seen).collect();
        let people = tracks.observe(Observation {
            now: self.now,
            size,
            detected: true,
            seen,
            lifetime: self.lifetime,
        });
        // Decisions are not logged: each run finds all people anew.
        tracks.decisions();
        Ok(people)
    }
}
