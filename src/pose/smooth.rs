//! Smoothing of key points in time by the One Euro filter (Casiez, Roussel and Vogel, CHI 2012), as in mmdeploy's
//! PoseTracker (`csrc/mmdeploy/codebase/mmpose/pose_tracker/smoothing_filter.h`): points at rest are smoothed much, fast
//! points little. The parameters are mmdeploy's. mmdeploy counts in frames; this filter counts in seconds, so that smoothing
//! does not depend on the frame rate.

use std::{collections::BTreeMap, f64::consts::TAU};

use super::{KeyPoint, Person};

/// The filter's settings; the default is mmdeploy's.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct OneEuro {
    /// Cutoff frequency of a point at rest, in hertz.
    pub min_cutoff: f64,
    /// Rise of the cutoff frequency with the speed: hertz for each square pixel per second.
    pub beta: f64,
}

impl Default for OneEuro {
    fn default() -> Self {
        Self { min_cutoff: 1.0, beta: 0.007 }
    }
}

/// Cutoff frequency of the speed, in hertz.
const SPEED_CUTOFF: f64 = 1.0;

/// Smooths the people of a stream, each separately.
#[derive(Debug, Default)]
pub struct Smoother {
    people: BTreeMap<Option<i64>, Smoothed>,
}

#[derive(Debug)]
struct Smoothed {
    /// Of the last frame, in the stream's seconds.
    at: f64,
    points: Vec<Point>,
}

#[derive(Clone, Copy, Debug)]
struct Point {
    position: [f64; 2],
    /// Square pixels per second.
    velocity: [f64; 2],
}

impl Smoother {
    /// Smooths the people of the frame at that time (in seconds of the stream). A person who was not in the last frame
    /// starts again, and so do all after a `reset`. People are distinguished by their ids; without ids, only a single person
    /// in the frame is recognised.
    pub fn smooth(&mut self, now: f64, people: &mut [Person], filter: &OneEuro) {
        let alone = people.len() == 1;
        let mut before = std::mem::take(&mut self.people);
        for person in people.iter_mut().filter(|person| person.id.is_some() || alone) {
            let known =
                before.remove(&person.id).filter(|known| known.points.len() == person.key_points.len());
            let smoothed = match known {
                Some(mut known) => {
                    known.follow(now, &person.key_points, filter);
                    known
                }
                None => Smoothed::start(now, &person.key_points),
            };
            for (point, smoothed) in person.key_points.iter_mut().zip(&smoothed.points) {
                (point.x, point.y) = (smoothed.position[0] as f32, smoothed.position[1] as f32);
            }
            self.people.insert(person.id, smoothed);
        }
    }

    pub fn reset(&mut self) {
        self.people.clear();
    }
}

impl Smoothed {
    fn start(now: f64, points: &[KeyPoint]) -> Self {
        let at_rest = |point: &KeyPoint| Point { position: position(point), velocity: [0.0; 2] };
        Self { at: now, points: points.iter().map(at_rest).collect() }
    }

    fn follow(&mut self, now: f64, points: &[KeyPoint], filter: &OneEuro) {
        let passed = now - self.at;
        // The speed is unknown.
        if passed <= 0.0 {
            return;
        }
        self.at = now;
        let speed_share = share(SPEED_CUTOFF, passed);
        for (old, new) in self.points.iter_mut().zip(points) {
            let new = position(new);
            for (velocity, (new, old)) in old.velocity.iter_mut().zip(new.into_iter().zip(old.position)) {
                *velocity += ((new - old) / passed - *velocity) * speed_share;
            }
            let share =
                share(filter.min_cutoff + filter.beta * old.velocity[0].hypot(old.velocity[1]), passed);
            for (old, new) in old.position.iter_mut().zip(new) {
                *old += (new - *old) * share;
            }
        }
    }
}

fn position(point: &KeyPoint) -> [f64; 2] {
    [f64::from(point.x), f64::from(point.y)]
}

/// Weight of a new value in a low-pass filter with that cutoff frequency, that many seconds after the last value.
fn share(cutoff: f64, passed: f64) -> f64 {
    let r = TAU * cutoff * passed;
    r / (r + 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pose::Region;

    fn person(id: Option<i64>, x: f32) -> Person {
        let key_points = vec![KeyPoint { x, y: 2.0 * x, score: 0.5, z: None }];
        Person { region: Region::default(), key_points, id }
    }

    fn smooth(smoother: &mut Smoother, now: f64, id: Option<i64>, x: f32) -> f32 {
        let mut people = [person(id, x)];
        smoother.smooth(now, &mut people, &OneEuro::default());
        people[0].key_points[0].x
    }

    /// The filter's paper, calculated by hand: dt = 0.1 s, from 0 to 10 (and 20 in y).
    #[test]
    fn a_step_is_followed_as_the_formula_says() {
        let mut smoother = Smoother::default();
        assert_eq!(smooth(&mut smoother, 0.0, Some(1), 0.0), 0.0);
        // Share at 1 Hz: r = 0.2 pi = 0.628319, r / (r + 1) = 0.385870. Speed: (100, 200) * share, length 86.28...
        let speed = 100.0_f64.hypot(200.0) * 0.385_869_5;
        let r = 0.2 * std::f64::consts::PI * (1.0 + 0.007 * speed);
        let expected = 10.0 * r / (r + 1.0);
        let found = smooth(&mut smoother, 0.1, Some(1), 10.0);
        assert!((f64::from(found) - expected).abs() < 1e-4, "{found}, not {expected}");
    }

    #[test]
    fn a_lower_cutoff_smooths_more_and_beta_lets_go_of_what_moves() {
        let step = |min_cutoff: f64, beta: f64| {
            let mut smoother = Smoother::default();
            let mut people = [person(Some(1), 0.0)];
            smoother.smooth(0.0, &mut people, &OneEuro { min_cutoff, beta });
            people = [person(Some(1), 10.0)];
            smoother.smooth(0.1, &mut people, &OneEuro { min_cutoff, beta });
            f64::from(people[0].key_points[0].x)
        };
        // Without beta: 10 r / (r + 1) with r = 0.2 pi times the cutoff.
        let r = 0.1 * TAU * 0.25;
        assert!((step(0.25, 0.0) - 10.0 * r / (r + 1.0)).abs() < 1e-4);
        assert!(step(0.25, 0.0) < step(1.0, 0.0) && step(1.0, 0.0) < step(1.0, 0.1));
        assert!(step(1.0, 100.0) > 9.9);
    }

    #[test]
    fn the_frame_rate_does_not_matter_much() {
        let after = |rate: u32| {
            let mut smoother = Smoother::default();
            smooth(&mut smoother, 0.0, Some(1), 0.0);
            (1..=rate / 2)
                .map(|n| smooth(&mut smoother, f64::from(n) / f64::from(rate), Some(1), 10.0))
                .last()
        };
        let (slow, fast) = (after(30).unwrap(), after(120).unwrap());
        assert!((slow - fast).abs() < 0.3, "{slow} at 30 frames a second, {fast} at 120");
    }

    #[test]
    fn who_was_lost_starts_anew() {
        let mut smoother = Smoother::default();
        smooth(&mut smoother, 0.0, Some(1), 0.0);
        assert_ne!(smooth(&mut smoother, 0.1, Some(1), 10.0), 10.0);
        smoother.smooth(0.2, &mut [], &OneEuro::default());
        assert_eq!(smooth(&mut smoother, 0.3, Some(1), 10.0), 10.0);
        assert_eq!(smooth(&mut smoother, 0.4, Some(2), 30.0), 30.0, "somebody else");
        smoother.reset();
        assert_eq!(smooth(&mut smoother, 0.5, Some(2), 40.0), 40.0);
    }

    #[test]
    fn without_ids_only_somebody_alone_is_known_again() {
        let mut smoother = Smoother::default();
        smooth(&mut smoother, 0.0, None, 0.0);
        assert_ne!(smooth(&mut smoother, 0.1, None, 10.0), 10.0);
        let mut two = [person(None, 10.0), person(None, 20.0)];
        smoother.smooth(0.2, &mut two, &OneEuro::default());
        assert_eq!(two.map(|person| person.key_points[0].x), [10.0, 20.0]);
    }

    #[test]
    fn a_frame_at_the_same_time_repeats_the_last_one() {
        let mut smoother = Smoother::default();
        smooth(&mut smoother, 1.0, Some(1), 5.0);
        assert_eq!(smooth(&mut smoother, 1.0, Some(1), 50.0), 5.0);
        assert!(smooth(&mut smoother, 0.9, Some(1), 50.0).is_finite());
    }
}
