//! One person's track: the predicted place, and how a look updates it.

use super::{Anatomy, DOUBTS, Doubt, Extent, FAILURES, Person, Pose, STEADINESS, State, Track, overlap};

impl Track {
    /// The last pose, moved to that time.
    pub(super) fn predicted(&self, now: f64) -> Pose {
        let passed = (now - self.seen) as f32;
        let shift = self.velocity.map(|velocity| velocity * passed);
        let mut pose = self.pose.clone();
        (pose.region.x, pose.region.y) = (pose.region.x + shift[0], pose.region.y + shift[1]);
        for point in &mut pose.points {
            (point.x, point.y) = (point.x + shift[0], point.y + shift[1]);
        }
        pose
    }

    /// Why a candidate is rejected after enough looks.
    pub(super) fn doubt(&self) -> Option<Doubt> {
        match self.state {
            State::Candidate { failed: FAILURES.., .. } => Some(Doubt::NotFoundAgain),
            State::Candidate { agreed: agreed @ DOUBTS.., scores, .. } => {
                Some(Doubt::Unlikely(scores / agreed as f32))
            }
            _ => None,
        }
    }

    /// A look with its own box did not find it.
    pub(super) fn miss(&mut self, now: f64) {
        self.state = match self.state {
            State::Candidate { failed, .. } => {
                State::Candidate { agreed: 0, scores: 0.0, failed: failed + 1 }
            }
            State::Followed => State::Lost { since: now },
            lost => lost,
        };
    }

    /// Continues from a new pose, which a look with its own box, or a search, has found.
    pub(super) fn find(&mut self, anatomy: &Anatomy, pose: Pose, now: f64, own: bool) {
        let passed = now - self.seen;
        // A jump is not a movement: the track has another place now.
        let jumped = overlap(&self.pose.region, &pose.region) == 0.0;
        if jumped {
            self.velocity = [0.0; 2];
        } else if passed > 0.0
            && own
            && self.own
            && let Some(shift) = anatomy.shift(&pose, &self.pose)
        {
            // A search shows the place too roughly for a velocity.
            let share = (1.0 - (-passed / STEADINESS).exp()) as f32;
            for (velocity, shift) in self.velocity.iter_mut().zip(shift) {
                *velocity += (shift / passed as f32 - *velocity) * share;
            }
        }
        if jumped || !self.own {
            self.extent = Extent::of(anatomy, &pose, now);
        } else {
            // The average velocity of the recent past: points that are suddenly wrong do not carry the box away.
            let shift = self.velocity.map(|velocity| velocity * passed as f32);
            self.extent.follow(anatomy, &pose, now, passed, shift);
        }
        self.pose = pose;
        self.own = own;
        self.seen = now;
    }

    pub(super) fn person(&self) -> Person {
        Person { region: self.pose.region, key_points: self.pose.points.clone(), id: self.id }
    }
}
