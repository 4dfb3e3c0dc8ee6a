//! Networks that find all people of a frame in one look at it, as RTMO: nobody is looked for, and ids come from how people of
//! one frame resemble those of the one before.

use std::time::Duration;

use crate::{
    network::Kind,
    pose::Person,
    stage::WholeFrame,
    track::{Anatomy, Look, Observation, Purpose, Seen, Tracks},
};

/// A frame that is looked at as a whole.
pub struct WholeLook {
    /// The stream's time in seconds.
    pub now: f64,
    pub frame: WholeFrame,
    /// People are to have ids.
    pub followed: bool,
    pub max_people: usize,
    pub lifetime: Duration,
}

impl WholeLook {
    /// Who is in the frame, whose size is in square pixels. `tracks` are those of the frames before.
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
        // They are no news: each look tells of all.
        tracks.decisions();
        Ok(people)
    }
}
