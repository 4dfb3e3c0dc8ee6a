//! Which parts of the frame to pixelate to hide faces or people: located by their key points, as large as these require, and
//! kept for a while at the last position.

use crate::{
    meta::FramePeople,
    pose::{KeyPoint, Person, Region, Skeleton},
};

/// What to hide.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum What {
    Faces,
    People,
}

/// A part of the frame to pixelate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cover {
    /// In square pixels.
    pub area: Region,
    /// Side of a square that becomes one colour: a quarter of a head, so that no face remains.
    pub block: f32,
}

/// Points with a higher score are at their position.
const SURE: f32 = 0.3;
/// Nanoseconds for which a lost person is covered at the last position.
const BRIDGED: u64 = 500_000_000;
/// Time between two frames without timestamps.
const FRAME: u64 = 33_333_333;
/// A person without an id whose middle is nearer than this many sizes is the same as before.
const NEAR: f32 = 1.5;

/// A head's radius, half of its height, as a share of distances in the body: by average measures (a head of 26 cm, ears 15
/// cm and eyes 6.5 cm apart, the nose 11 cm in front of the ears, shoulders 36 cm apart, 50 cm from shoulders to hips, 170
/// cm in total). Distances look shorter at an angle, so the largest radius is used.
const OF_EARS: f32 = 0.87;
const OF_EYES: f32 = 2.0;
const OF_NOSE_TO_EAR: f32 = 1.18;
const OF_SHOULDERS: f32 = 0.36;
const OF_TRUNK: f32 = 0.26;
const OF_HEIGHT: f32 = 0.076;
/// Largest head, as a share of the longer side of the person's box.
const LARGEST: f32 = 0.6;
/// From the middle of the shoulders to the middle of the head, in radii.
const NECK: f32 = 1.9;
/// Additional margin around the head: for hair, and for inexact points.
const MARGIN: f32 = 1.35;
/// Additional margin if the face's points have a score of 0, and around a person whose box is covered.
const UNCERTAIN: f32 = 0.6;
/// From this score of the face's points on, there is no such margin: a maximum of 1 in the embedded model's answers,
/// before its scores became chances (`models/training/calibrate.py`).
const CERTAIN: f32 = 1.3;
const AROUND_PEOPLE: f32 = 0.08;

/// Tracks what was covered.
#[derive(Default)]
pub struct Redactor {
    seen: Vec<Seen>,
    last: Option<u64>,
}

/// A person who was covered.
struct Seen {
    id: Option<i64>,
    place: Place,
    /// Square pixels per nanosecond.
    speed: [f32; 2],
    at: u64,
    /// The time of the last frame with this person, carried or not.
    there: u64,
}

/// The middle of the covered part, half of its sides, and the side of a block.
#[derive(Clone, Copy, Debug)]
struct Place {
    middle: [f32; 2],
    half: [f32; 2],
    block: f32,
}

impl Redactor {
    /// What to cover in a frame with this time in nanoseconds. Positions are in square pixels.
    pub fn covers(
        &mut self,
        what: What,
        frames: &[(&FramePeople, Option<&'static Skeleton>)],
        time: Option<u64>,
    ) -> Vec<Cover> {
        let now = time.unwrap_or_else(|| self.last.map_or(0, |last| last + FRAME));
        let step = self.last.map_or(0, |last| now.saturating_sub(last)).min(BRIDGED);
        if self.last.is_some_and(|last| now < last) {
            // A seek, or another stream.
            self.seen.clear();
        }
        self.last = Some(now);
        let mut covers = Vec::new();
        for (frame, skeleton) in frames {
            let parts = skeleton.map(Parts::of);
            let parts = parts.as_ref();
            for person in &frame.people {
                let place = match what {
                    What::Faces => head(person, parts).unwrap_or_else(|| whole(person, parts)),
                    What::People => whole(person, parts),
                };
                if ![place.middle, place.half].as_flattened().iter().all(|number| number.is_finite()) {
                    continue;
                }
                let before = self.before(person.id, &place, now).map(|index| self.seen.swap_remove(index));
                // Carried people have their positions from an earlier frame, so a person who moves is farther on.
                let (speed, at) = match before {
                    Some(seen) if frame.carried => (seen.speed, seen.at),
                    Some(seen) => {
                        let passed = (now - seen.at).max(1) as f32;
                        (std::array::from_fn(|i| (place.middle[i] - seen.place.middle[i]) / passed), now)
                    }
                    None => ([0.0; 2], now),
                };
                covers.push(place.grown(speed, (now - at + step) as f32));
                self.seen.push(Seen { id: person.id, place, speed, at, there: now });
            }
        }
        self.seen.retain(|seen| now - seen.at <= BRIDGED);
        let gone = self.seen.iter().filter(|seen| seen.there < now);
        covers.extend(gone.map(|seen| seen.place.grown(seen.speed, (now - seen.at) as f32)));
        covers
    }

    /// Which earlier person this one continues.
    fn before(&self, id: Option<i64>, place: &Place, now: u64) -> Option<usize> {
        let apart = |seen: &Seen| {
            let [x, y] = std::array::from_fn(|i| place.middle[i] - seen.place.middle[i]);
            x.hypot(y)
        };
        let reach = NEAR * place.half[0].max(place.half[1]);
        let there = self.seen.iter().enumerate().filter(|(_, seen)| {
            // A person of this frame cannot continue another one of it.
            seen.there < now && seen.id == id && (id.is_some() || apart(seen) <= reach)
        });
        there.min_by(|(_, a), (_, b)| apart(a).total_cmp(&apart(b))).map(|(index, _)| index)
    }
}

impl Place {
    /// How far a person with that speed can have moved in that many nanoseconds.
    fn grown(&self, speed: [f32; 2], time: f32) -> Cover {
        let half: [f32; 2] = std::array::from_fn(|i| self.half[i] + speed[i].abs() * time);
        let area =
            Region::new(self.middle[0] - half[0], self.middle[1] - half[1], 2.0 * half[0], 2.0 * half[1]);
        Cover { area, block: self.block }
    }
}

/// Points of a skeleton that locate the head, by their names.
struct Parts {
    face: Vec<usize>,
    eyes: [Option<usize>; 2],
    ears: [Option<usize>; 2],
    nose: Option<usize>,
    shoulders: [Option<usize>; 2],
    hips: [Option<usize>; 2],
}

impl Parts {
    fn of(skeleton: &Skeleton) -> Self {
        let names = skeleton.point_names();
        let find = |wanted: &[&str]| names.iter().position(|name| wanted.contains(name));
        let sides = |left: [&str; 2], right: [&str; 2]| [find(&left), find(&right)];
        let is_face = |name: &str| {
            name.starts_with("face-")
                || name.starts_with("kpt-")
                || ["nose", "Nose", "head", "L_Eye", "R_Eye"].contains(&name)
                || ["left_eye", "right_eye", "left_ear", "right_ear"].contains(&name)
        };
        Self {
            face: (0..names.len()).filter(|index| is_face(names[*index])).collect(),
            eyes: sides(["left_eye", "L_Eye"], ["right_eye", "R_Eye"]),
            ears: sides(["left_ear"; 2], ["right_ear"; 2]),
            nose: find(&["nose", "Nose"]),
            shoulders: sides(["left_shoulder", "L_Shoulder"], ["right_shoulder", "R_Shoulder"]),
            hips: sides(["left_hip", "L_Hip"], ["right_hip", "R_Hip"]),
        }
    }
}

fn sure(person: &Person, point: Option<usize>) -> Option<[f32; 2]> {
    let point: &KeyPoint = person.key_points.get(point?)?;
    (point.score >= SURE && point.x.is_finite() && point.y.is_finite()).then_some([point.x, point.y])
}

fn between(a: [f32; 2], b: [f32; 2]) -> [f32; 2] {
    [(a[0] + b[0]) / 2.0, (a[1] + b[1]) / 2.0]
}

fn distance(a: [f32; 2], b: [f32; 2]) -> f32 {
    (a[0] - b[0]).hypot(a[1] - b[1])
}

/// Both points, if both are certain.
fn pair(person: &Person, points: [Option<usize>; 2]) -> Option<([f32; 2], [f32; 2])> {
    sure(person, points[0]).zip(sure(person, points[1]))
}

/// The largest radius that a measure gives.
fn radius(person: &Person, parts: &Parts) -> f32 {
    let apart = |points| pair(person, points).map(|(a, b)| distance(a, b));
    let middle = |points| pair(person, points).map(|(a, b)| between(a, b));
    let trunk = middle(parts.shoulders).zip(middle(parts.hips)).map(|(a, b)| distance(a, b));
    let nose_to_ear = parts.ears.into_iter().filter_map(|ear| apart([parts.nose, ear])).reduce(f32::max);
    let longest = person.region.width.max(person.region.height);
    let measures = [
        (apart(parts.ears), OF_EARS),
        (apart(parts.eyes), OF_EYES),
        (nose_to_ear, OF_NOSE_TO_EAR),
        (apart(parts.shoulders), OF_SHOULDERS),
        (trunk, OF_TRUNK),
        (Some(longest), OF_HEIGHT),
    ];
    let radii = measures.into_iter().filter_map(|(length, share)| Some(length? * share));
    radii.fold(0.0, f32::max).min(LARGEST * longest)
}

/// Where the head is; none if no points say so.
fn head(person: &Person, parts: Option<&Parts>) -> Option<Place> {
    let parts = parts?;
    let radius = radius(person, parts);
    let face: Vec<_> = parts.face.iter().filter_map(|point| sure(person, Some(*point))).collect();
    let shoulders = pair(person, parts.shoulders).map(|(a, b)| between(a, b));
    let scores = parts.face.iter().filter_map(|point| person.key_points.get(*point)).map(|point| point.score);
    let (middle, score) = if face.is_empty() {
        // Seen from behind, or turned away: above the shoulders, in the direction of the trunk.
        let shoulders = shoulders?;
        let hips = pair(person, parts.hips).map(|(a, b)| between(a, b));
        let up = hips.map_or([0.0, -1.0], |hips| {
            let length = distance(shoulders, hips).max(1.0);
            [(shoulders[0] - hips[0]) / length, (shoulders[1] - hips[1]) / length]
        });
        ([shoulders[0] + NECK * radius * up[0], shoulders[1] + NECK * radius * up[1]], 0.0)
    } else {
        let count = face.len() as f32;
        let sum = face.iter().fold([0.0; 2], |sum, point| [sum[0] + point[0], sum[1] + point[1]]);
        let mean = scores.clone().sum::<f32>() / scores.count().max(1) as f32;
        ([sum[0] / count, sum[1] / count], if mean.is_finite() { mean.clamp(0.0, CERTAIN) } else { 0.0 })
    };
    let reach = radius * (MARGIN + UNCERTAIN * (1.0 - score / CERTAIN));
    // All points of the face are inside, wherever they are.
    let far = |axis: usize| {
        face.iter().map(|point| (point[axis] - middle[axis]).abs() + 0.3 * radius).fold(reach, f32::max)
    };
    Some(Place { middle, half: [far(0), far(1)], block: radius / 2.0 })
}

/// The person's box and all certain points.
fn whole(person: &Person, parts: Option<&Parts>) -> Place {
    let Region { x, y, width, height } = person.region;
    let (mut low, mut high) = ([x, y], [x + width, y + height]);
    for point in (0..person.key_points.len()).filter_map(|point| sure(person, Some(point))) {
        for axis in 0..2 {
            low[axis] = low[axis].min(point[axis]);
            high[axis] = high[axis].max(point[axis]);
        }
    }
    let more = AROUND_PEOPLE * width.max(height);
    let half = std::array::from_fn(|axis| (high[axis] - low[axis]) / 2.0 + more);
    // A separate part of the body, such as a hand, gets blocks of the size for a head that large.
    let parts = parts.filter(|parts| !parts.face.is_empty());
    let radius = parts.map_or(width.max(height) / 4.0, |parts| radius(person, parts));
    Place { middle: between(low, high), half, block: radius / 2.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    /// A standing person with 17 points and the shoulders at this place, 170 pixels high with a head of 26.
    /// The face's points have this score.
    fn standing([x, y]: [f32; 2], score: f32, id: Option<i64>) -> Person {
        let at = |dx: f32, dy: f32, score: f32| KeyPoint { x: x + dx, y: y + dy, score, z: None };
        let mut key_points = vec![
            at(0.0, -22.0, score),
            at(3.0, -26.0, score),
            at(-3.0, -26.0, score),
            at(7.5, -25.0, score),
            at(-7.5, -25.0, score),
        ];
        let limbs = [(18.0, 0.0), (-18.0, 0.0), (20.0, 25.0), (-20.0, 25.0), (20.0, 50.0), (-20.0, 50.0)];
        let legs = [(10.0, 50.0), (-10.0, 50.0), (10.0, 90.0), (-10.0, 90.0), (10.0, 130.0), (-10.0, 130.0)];
        key_points.extend(limbs.iter().chain(&legs).map(|&(dx, dy)| at(dx, dy, 1.0)));
        Person { region: Region::new(x - 25.0, y - 38.0, 50.0, 172.0), key_points, id }
    }

    fn frame(people: Vec<Person>, carried: bool) -> Vec<(FramePeople, Option<&'static Skeleton>)> {
        let skeleton = Skeleton::by_name("coco-17");
        let frame = FramePeople {
            source: String::new(),
            width: 400,
            height: 400,
            skeleton: "coco-17".to_string(),
            points: 17,
            people,
            carried,
        };
        vec![(frame, skeleton)]
    }

    fn each<'a>(
        found: &'a [(FramePeople, Option<&'static Skeleton>)],
    ) -> Vec<(&'a FramePeople, Option<&'static Skeleton>)> {
        found.iter().map(|(frame, skeleton)| (frame, *skeleton)).collect()
    }

    /// Left, top, right, bottom.
    fn edges(cover: &Cover) -> [f32; 4] {
        let Region { x, y, width, height } = cover.area;
        [x, y, x + width, y + height]
    }

    #[track_caller]
    fn assert_covers(cover: &Cover, [left, top, right, bottom]: [f32; 4]) {
        let [x, y, x1, y1] = edges(cover);
        assert!(x <= left && y <= top && x1 >= right && y1 >= bottom, "{cover:?} does not cover");
    }

    #[test]
    fn a_head_is_covered_and_little_else() {
        let head = [100.0 - 10.0, 100.0 - 38.0, 100.0 + 10.0, 100.0 - 12.0];
        for score in [1.0, 0.5, 0.1] {
            let covers = Redactor::default().covers(
                What::Faces,
                &each(&frame(vec![standing([100.0, 100.0], score, None)], false)),
                Some(0),
            );
            let [cover] = covers[..] else { panic!("{covers:?}") };
            assert_covers(&cover, head);
            assert!(edges(&cover)[3] < 120.0 && cover.area.width < 60.0, "{score}: {cover:?}");
            assert!((5.0..9.0).contains(&cover.block), "{cover:?}");
        }
        let side = |score| {
            let covers = Redactor::default().covers(
                What::Faces,
                &each(&frame(vec![standing([100.0, 100.0], score, None)], false)),
                Some(0),
            );
            covers[0].area.width
        };
        assert!(side(0.4) > side(0.9), "unsure points leave more open");
    }

    #[test]
    fn whoever_moves_is_covered_further() {
        let mut redactor = Redactor::default();
        let mut width = |x: f32, time: u64| {
            redactor.covers(
                What::Faces,
                &each(&frame(vec![standing([x, 100.0], 1.0, Some(1))], false)),
                Some(time),
            )[0]
            .area
            .width
        };
        let rest = width(100.0, 0);
        assert_eq!(width(100.0, SECOND / 25), rest);
        // At 10 pixels a frame the area is 10 pixels wider on each side.
        assert!((width(110.0, 2 * SECOND / 25) - rest - 20.0).abs() < 0.1);
    }

    #[test]
    fn a_gap_of_half_a_second_is_bridged() {
        let nobody = || frame(Vec::new(), false);
        for id in [Some(3), None] {
            let mut redactor = Redactor::default();
            let before = redactor.covers(
                What::Faces,
                &each(&frame(vec![standing([100.0, 100.0], 1.0, id)], false)),
                Some(0),
            );
            for time in [SECOND / 25, SECOND / 4, SECOND / 2] {
                assert_eq!(redactor.covers(What::Faces, &each(&nobody()), Some(time)), before);
            }
            // Frames that were not inferred change nothing, either.
            assert_eq!(redactor.covers(What::Faces, &[], Some(SECOND / 2 + 1)), []);
        }
        // A person who returns in time is one person, not two.
        let mut redactor = Redactor::default();
        for time in [0, SECOND / 10, SECOND / 5] {
            let people =
                if time == SECOND / 10 { Vec::new() } else { vec![standing([100.0, 100.0], 1.0, None)] };
            assert_eq!(redactor.covers(What::Faces, &each(&frame(people, false)), Some(time)).len(), 1);
        }
        // A seek back starts again, and frames without timestamps continue.
        assert_eq!(redactor.covers(What::Faces, &each(&nobody()), Some(0)), []);
        redactor.covers(What::Faces, &each(&frame(vec![standing([100.0, 100.0], 1.0, None)], false)), None);
        let bridged =
            (0..20).take_while(|_| !redactor.covers(What::Faces, &each(&nobody()), None).is_empty()).count();
        assert_eq!(bridged, 15);
    }

    #[test]
    fn carried_people_are_covered_as_far_as_they_may_have_come() {
        let mut redactor = Redactor::default();
        let mut width = |x: f32, time: u64, carried: bool| {
            redactor.covers(
                What::Faces,
                &each(&frame(vec![standing([x, 100.0], 1.0, Some(1))], carried)),
                Some(time),
            )[0]
            .area
            .width
        };
        width(100.0, 0, false);
        let looked = width(110.0, SECOND / 25, false);
        let one = width(110.0, 2 * SECOND / 25, true);
        let two = width(110.0, 3 * SECOND / 25, true);
        assert!(
            (one - looked - 20.0).abs() < 0.1 && (two - looked - 40.0).abs() < 0.1,
            "{looked} {one} {two}"
        );
    }

    #[test]
    fn people_are_covered_whole() {
        let mut person = standing([100.0, 100.0], 1.0, None);
        // An arm stretched out of the box.
        person.key_points[9].x = 200.0;
        let covers = Redactor::default().covers(What::People, &each(&frame(vec![person], false)), Some(0));
        assert_covers(&covers[0], [75.0, 62.0, 200.0, 234.0]);
        assert!((5.0..9.0).contains(&covers[0].block), "{covers:?}");
    }

    #[test]
    fn who_has_no_face_in_the_skeleton_is_covered_whole() {
        let mut found = frame(vec![standing([100.0, 100.0], 1.0, None)], false);
        found[0].1 = None;
        let covers = Redactor::default().covers(What::Faces, &each(&found), Some(0));
        assert_covers(&covers[0], [75.0, 62.0, 125.0, 234.0]);
        // A person without certain points is covered, too.
        let mut person = standing([100.0, 100.0], 0.0, None);
        person.key_points.iter_mut().for_each(|point| point.score = 0.0);
        let covers = Redactor::default().covers(What::Faces, &each(&frame(vec![person], false)), Some(0));
        assert_covers(&covers[0], [75.0, 62.0, 125.0, 234.0]);
    }

    #[test]
    fn numbers_that_are_not_finite_cover_nothing() {
        let mut person = standing([100.0, 100.0], 1.0, None);
        person.region.width = f32::NAN;
        person.key_points.iter_mut().for_each(|point| point.x = f32::NAN);
        assert_eq!(Redactor::default().covers(What::People, &each(&frame(vec![person], false)), Some(0)), []);
    }
}
