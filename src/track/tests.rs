//! Who is found, tracked, lost and distinguished, in a world whose people a fake model finds.

mod bodies;
mod looks;
mod regions;

use std::{collections::VecDeque, time::Duration};

use super::{body::centre, *};
use crate::pose::Skeleton;
use crate::video::{ChromaSite, Colour, Component, Picture, Pixels};

const SIZE: (u32, u32) = (1280, 720);
/// Seconds between two frames.
const FRAME: f64 = 1.0 / 30.0;

/// A standing person: offsets of COCO's points from the middle of the box, as shares of the height.
const STANDING: [[f32; 2]; 17] = [
    [0.0, -0.42],
    [0.02, -0.44],
    [-0.02, -0.44],
    [0.04, -0.43],
    [-0.04, -0.43],
    [0.1, -0.3],
    [-0.1, -0.3],
    [0.13, -0.13],
    [-0.13, -0.13],
    [0.14, 0.02],
    [-0.14, 0.02],
    [0.07, 0.0],
    [-0.07, 0.0],
    [0.08, 0.22],
    [-0.08, 0.22],
    [0.08, 0.42],
    [-0.08, 0.42],
];

#[derive(Clone, Copy, Debug)]
struct Someone {
    x: f32,
    y: f32,
    height: f32,
    score: f32,
}

fn coco() -> Anatomy {
    Anatomy::of("coco-17", 17, Skeleton::by_name("coco-17").and_then(Skeleton::sigmas))
}

fn someone(x: f32, y: f32, height: f32) -> Someone {
    Someone { x, y, height, score: 0.8 }
}

impl Someone {
    fn points(self) -> Vec<KeyPoint> {
        let point = |[dx, dy]: [f32; 2]| KeyPoint {
            x: self.x + dx * self.height,
            y: self.y + dy * self.height,
            score: self.score,
            z: None,
        };
        STANDING.into_iter().map(point).collect()
    }

    fn score_in(self, region: &Region) -> f32 {
        // The box as the crop shows it, in the network's aspect.
        let height = region.height.max(region.width / 0.75);
        let scale = self.height / height;
        let [x, y] = centre(region);
        let off = ((self.x - x) / (0.75 * height)).abs().max(((self.y - y) / height).abs());
        if (0.45..=1.4).contains(&scale) && off <= 0.35 { self.score } else { 0.0 }
    }
}

/// The model's answer to a look: the person who fits best, or none. Like the real model, it knows no ids.
fn network(look: &Look, people: &[Someone]) -> Vec<KeyPoint> {
    let [x, y] = centre(&look.region);
    let fitting = people.iter().filter(|person| person.score_in(&look.region) > 0.0);
    let best = fitting.min_by(|a, b| {
        let distance = |person: &Someone| (person.x - x).hypot(person.y - y);
        distance(a).total_cmp(&distance(b))
    });
    best.map_or(vec![KeyPoint { x, y, score: 0.05, z: None }; 17], |person| person.points())
}

/// A stream of frames through planner and tracks.
struct Stage {
    planner: Planner,
    tracks: Tracks,
    settings: Settings,
    lifetime: Duration,
    now: f64,
    /// Seconds between two frames.
    step: f64,
    /// Further looks are taken at the same frame.
    still: bool,
    /// Boxes that can be searched in one frame, if frames are far apart.
    most: usize,
    lookahead: usize,
    /// Where people are after each of the last frames.
    targets: VecDeque<Targets>,
    looks: Vec<Look>,
    crops: usize,
}

impl Stage {
    fn new(lookahead: usize) -> Self {
        Self {
            planner: Planner::default(),
            tracks: Tracks::new(coco()),
            settings: Settings::default(),
            lifetime: Duration::from_secs(1),
            now: 0.0,
            step: FRAME,
            still: false,
            most: usize::MAX,
            lookahead,
            targets: VecDeque::new(),
            looks: Vec::new(),
            crops: 0,
        }
    }

    /// The next frame with these people; returns the people who are reported.
    fn frame(&mut self, people: &[Someone]) -> Vec<Person> {
        self.frame_with(|look| Seen { look: *look, points: network(look, people) })
    }

    /// The next frame, with these answers of the model.
    fn frame_with(&mut self, answer: impl Fn(&Look) -> Seen) -> Vec<Person> {
        self.now += self.step;
        let targets = if self.targets.len() == self.lookahead {
            self.targets.pop_front().unwrap()
        } else {
            Targets::default()
        };
        let moment = Moment { now: self.now, size: SIZE, search: true, still: self.still, most: self.most };
        let looks = self.planner.plan(moment, &targets, &self.settings, None);
        self.take(looks, false, answer)
    }

    /// The same with boxes from upstream.
    fn detected(&mut self, boxes: &[(Region, Option<i64>)], people: &[Someone]) -> Vec<Person> {
        self.now += self.step;
        if self.targets.len() == self.lookahead {
            self.targets.pop_front();
        }
        let look = |(region, id): &(Region, Option<i64>)| Look {
            region: *region,
            purpose: Purpose::Detected { id: *id },
        };
        let looks = boxes.iter().map(look).collect();
        self.take(looks, true, |look| Seen { look: *look, points: network(look, people) })
    }

    fn take(&mut self, looks: Vec<Look>, detected: bool, answer: impl Fn(&Look) -> Seen) -> Vec<Person> {
        let seen = |looks: &[Look]| looks.iter().map(&answer).collect::<Vec<_>>();
        self.crops += looks.len();
        let (now, lifetime) = (self.now, self.lifetime);
        let observation = Observation { now, size: SIZE, detected, seen: seen(&looks), lifetime };
        self.looks = looks;
        let mut found = self.tracks.observe(observation);
        while self.still && !detected {
            let looks = self.tracks.closer_looks(now, self.settings.max_people);
            if looks.is_empty() {
                break;
            }
            self.crops += looks.len();
            found = self.tracks.observe_closer(seen(&looks), now);
        }
        self.targets.push_back(self.tracks.targets());
        found
    }

    /// Frames with these people until one is reported; returns how many.
    fn until_reported(&mut self, people: &[Someone]) -> usize {
        (1..=300).find(|_| !self.frame(people).is_empty()).expect("nobody is found in 300 frames")
    }
}

fn ids(people: &[Person]) -> Vec<Option<i64>> {
    people.iter().map(|person| person.id).collect()
}

/// The id of the person at that place.
fn id_at(people: &[Person], someone: Someone) -> Option<i64> {
    let near = |person: &&Person| {
        let nose = person.key_points[0];
        (nose.x - someone.x).hypot(nose.y - (someone.y - 0.42 * someone.height)) < 0.05 * someone.height
    };
    people.iter().find(near).and_then(|person| person.id)
}

#[test]
fn a_candidate_is_reported_after_four_closer_looks_that_agree() {
    let mut stage = Stage::new(1);
    let person = someone(600.0, 400.0, 400.0);
    let mut closer = 0;
    for _ in 0..100 {
        let people = stage.frame(&[person]);
        closer += stage.looks.iter().filter(|look| matches!(look.purpose, Purpose::Confirm(_))).count();
        if !people.is_empty() {
            assert_eq!(ids(&people), [Some(1)]);
            assert_eq!(closer, 4);
            assert_eq!(people[0].key_points, person.points());
            return;
        }
    }
    panic!("not found");
}

#[test]
fn what_scores_low_or_has_no_trunk_is_never_reported() {
    let mut weak = someone(600.0, 400.0, 400.0);
    weak.score = 0.45;
    let mut stage = Stage::new(1);
    for _ in 0..200 {
        assert!(stage.frame(&[weak]).is_empty(), "a mean score of {}", weak.score);
    }
    let anatomy = coco();
    let mut points = someone(600.0, 400.0, 400.0).points();
    assert!(anatomy.is_plausible(&anatomy.pose(points.clone(), SIZE).unwrap()));
    [5, 6, 11, 12].into_iter().for_each(|trunk| points[trunk].score = 0.1);
    assert!(
        !anatomy.is_plausible(&anatomy.pose(points.clone(), SIZE).unwrap()),
        "arms, legs and a head, but no trunk"
    );
    assert!(
        Anatomy::of("hand-21", 17, None).is_plausible(&anatomy.pose(points, SIZE).unwrap()),
        "a hand has no trunk"
    );
}

#[test]
fn somebody_who_walks_is_followed_without_a_miss_at_every_lookahead() {
    for lookahead in [1, 4, 8, 16] {
        let mut stage = Stage::new(lookahead);
        let at = |frame: usize| someone(200.0 + 4.0 * frame as f32, 380.0, 420.0);
        let mut first = None;
        for frame in 0..200 {
            let people = stage.frame(&[at(frame)]);
            if first.is_some() || !people.is_empty() {
                first.get_or_insert(frame);
                assert_eq!(ids(&people), [Some(1)], "lookahead {lookahead}, frame {frame}");
                assert_eq!(people[0].key_points, at(frame).points());
            }
        }
        assert!(first.unwrap() <= 2 * lookahead + 20, "lookahead {lookahead}: first seen in frame {first:?}");
    }
}

#[test]
fn ids_are_kept_when_two_people_cross() {
    let mut stage = Stage::new(1);
    // The second person comes nearer to the camera.
    let at = |frame: usize| {
        let way = 5.0 * frame as f32;
        [someone(300.0 + way, 340.0, 360.0), someone(1000.0 - way, 380.0, 430.0)]
    };
    let mut before = None;
    for frame in 0..140 {
        let pair = at(frame);
        // A person hidden by another is not found.
        let hidden = (pair[0].x - pair[1].x).abs() < 60.0;
        let people = stage.frame(if hidden { &pair[1..] } else { &pair });
        if frame == 50 {
            before = Some(pair.map(|person| id_at(&people, person).expect("both are followed")));
        }
        if let Some(before) = before
            && frame >= 90
        {
            assert_eq!(pair.map(|person| id_at(&people, person)), before.map(Some), "frame {frame}");
        }
    }
}

#[test]
fn somebody_lost_keeps_the_id_within_the_life_time_and_gets_a_new_one_after_it() {
    for (away, expected) in [(20, Some(1)), (40, Some(2))] {
        let mut stage = Stage::new(1);
        let person = someone(600.0, 400.0, 400.0);
        stage.until_reported(&[person]);
        for _ in 0..away {
            assert!(stage.frame(&[]).is_empty());
        }
        stage.until_reported(&[person]);
        assert_eq!(ids(&stage.frame(&[person])), [expected], "away for {away} frames");
    }
}

/// The box of a tracked person goes astray, a search finds the body, and the first box shows nothing any more.
#[test]
fn somebody_found_anew_where_somebody_is_lost_is_that_person() {
    let cases = [(someone(600.0, 400.0, 400.0), Some(1)), (someone(900.0, 400.0, 400.0), Some(2))];
    for (anew, expected) in cases {
        let mut tracks = Tracks::new(coco());
        let mut now = 0.0;
        let mut observe = |looks: &[(Purpose, Someone)]| {
            now += FRAME;
            let region = Region::new(0.0, 0.0, 1280.0, 720.0);
            let seen = looks.iter().map(|(purpose, someone)| Seen {
                look: Look { region, purpose: *purpose },
                points: someone.points(),
            });
            let (seen, lifetime) = (seen.collect(), Duration::from_secs(1));
            tracks.observe(Observation { now, size: SIZE, detected: false, seen, lifetime })
        };
        let (old, new) = (Key(0), Key(1));
        let astray = Someone { score: 0.35, ..someone(640.0, 430.0, 330.0) };
        let nothing = Someone { score: 0.05, ..astray };
        observe(&[(Purpose::Search, astray)]);
        (0..4).for_each(|_| drop(observe(&[(Purpose::Confirm(old), Someone { score: 0.8, ..astray })])));
        let people = observe(&[(Purpose::Follow(old), astray), (Purpose::Search, anew)]);
        assert_eq!(ids(&people), [Some(1)]);
        for _ in 0..3 {
            assert!(observe(&[(Purpose::Follow(old), nothing), (Purpose::Confirm(new), anew)]).is_empty());
        }
        let people = observe(&[(Purpose::Follow(old), nothing), (Purpose::Confirm(new), anew)]);
        assert_eq!((ids(&people), id_at(&people, anew)), (vec![expected], expected));
        // A lost person returns; at the predicted place there is only the newcomer.
        let people = observe(&[(Purpose::Follow(old), astray), (Purpose::Follow(new), anew)]);
        let there = if expected == Some(1) { vec![expected] } else { vec![Some(1), expected] };
        assert_eq!(ids(&people), there);
    }
}

#[test]
fn two_tracks_on_one_person_become_one() {
    let mut stage = Stage::new(1);
    let (left, right) = (someone(500.0, 400.0, 400.0), someone(700.0, 400.0, 400.0));
    stage.until_reported(&[left]);
    for _ in 0..60 {
        stage.frame(&[left, right]);
    }
    assert_eq!(stage.frame(&[left, right]).len(), 2);
    // The right person goes behind the left one: both looks find the same person.
    let meeting = |frame: usize| [left, someone(700.0 - 5.0 * frame as f32, 400.0, 400.0)];
    for frame in 0..40 {
        stage.frame(&meeting(frame));
    }
    for frame in 0..40 {
        let people = stage.frame(&[left]);
        assert_eq!(people.len(), 1, "frame {frame}");
    }
    assert_eq!(stage.targets.back().unwrap().list.len(), 1, "the second track has ended");
}

#[test]
fn no_more_than_max_people_are_looked_at() {
    let crowd: Vec<_> = (0..6).map(|n| someone(120.0 + 200.0 * n as f32, 400.0, 300.0)).collect();
    let mut stage = Stage::new(1);
    stage.settings.max_people = 3;
    let mut most = 0;
    for _ in 0..200 {
        let people = stage.frame(&crowd);
        most = most.max(people.len());
        let closer = stage.looks.iter().filter(|look| look.purpose.key().is_some()).count();
        assert!(closer <= 3, "{closer} people are looked at");
    }
    assert_eq!(most, 3);
    let looks = stage.looks.len();
    assert_eq!(looks, 3, "nobody is searched while as many as may be are followed");
}

#[test]
fn boxes_from_upstream_are_the_people_and_are_bridged() {
    let mut stage = Stage::new(1);
    let person = |frame: usize| someone(400.0 + 3.0 * frame as f32, 400.0, 400.0);
    let region = |frame: usize| Region::new(320.0 + 3.0 * frame as f32, 200.0, 160.0, 400.0);
    for frame in 0..60 {
        let here = person(frame);
        // A detector that runs in every fifth frame.
        let people = if frame % 5 == 0 {
            let people = stage.detected(&[(region(frame), None)], &[here]);
            assert_eq!(people[0].region, region(frame), "upstream's box stays as it is");
            people
        } else {
            stage.frame(&[here])
        };
        assert_eq!(ids(&people), [Some(1)], "frame {frame}");
        assert_eq!(people[0].key_points, here.points(), "frame {frame}");
    }
}

#[test]
fn upstreams_numbers_are_the_ids() {
    let mut stage = Stage::new(1);
    let people = [someone(300.0, 400.0, 400.0), someone(900.0, 400.0, 400.0)];
    let boxes = people.map(|person| Region::new(person.x - 80.0, person.y - 200.0, 160.0, 400.0));
    assert_eq!(ids(&stage.detected(&[(boxes[0], Some(7)), (boxes[1], None)], &people)), [Some(7), None]);
    let bridged = stage.frame(&people);
    assert_eq!((id_at(&bridged, people[0]), id_at(&bridged, people[1]), bridged.len()), (Some(7), None, 2));
    // Upstream moves id 7 to the other place: the tracker accepts this.
    assert_eq!(ids(&stage.detected(&[(boxes[1], Some(7))], &people)), [Some(7)]);
    let bridged = stage.frame(&people);
    assert_eq!(ids(&bridged), [Some(7)]);
    assert_eq!(id_at(&bridged, people[1]), Some(7));
}

#[test]
fn a_box_from_upstream_in_which_nothing_is_seen_stays_a_person() {
    let mut stage = Stage::new(1);
    let region = Region::new(100.0, 100.0, 100.0, 200.0);
    for _ in 0..3 {
        let people = stage.detected(&[(region, None)], &[]);
        assert_eq!((people.len(), people[0].region, people[0].id), (1, region, Some(1)));
    }
    assert!(stage.frame(&[]).is_empty(), "what cannot be seen cannot be followed");
    assert!(stage.detected(&[], &[]).is_empty());
}

#[test]
fn a_frame_of_another_size_shows_the_same_people() {
    let mut stage = Stage::new(1);
    let person = someone(600.0, 400.0, 400.0);
    stage.until_reported(&[person]);
    stage.now += FRAME;
    let size = (SIZE.0 / 2, SIZE.1 / 2);
    let half = someone(300.0, 200.0, 200.0);
    let moment = Moment { now: stage.now, size, search: true, still: false, most: usize::MAX };
    let looks = stage.planner.plan(moment, stage.targets.back().unwrap(), &stage.settings, None);
    let seen = looks.iter().map(|look| Seen { look: *look, points: network(look, &[half]) }).collect();
    let observation =
        Observation { now: stage.now, size, detected: false, seen, lifetime: Duration::from_secs(1) };
    let people = stage.tracks.observe(observation);
    assert_eq!(ids(&people), [Some(1)]);
    assert_eq!(people[0].key_points, half.points());
}

#[test]
fn a_jump_in_time_forgets_everybody() {
    let mut stage = Stage::new(1);
    let person = someone(600.0, 400.0, 400.0);
    stage.until_reported(&[person]);
    stage.now += 1.5;
    assert!(stage.frame(&[person]).is_empty());
    assert_eq!(stage.targets.back().unwrap().list.len(), 1, "only whoever the looks find anew");
}

/// The cost of a scene without people, and of one with one tracked person.
#[test]
fn the_search_keeps_its_budget() {
    let mut stage = Stage::new(8);
    let minute = (60.0 / FRAME) as usize;
    for _ in 0..minute {
        assert!(stage.frame(&[]).is_empty());
        assert!(stage.looks.len() <= 6);
    }
    assert!(stage.crops <= 360, "{} crops in the first minute", stage.crops);
    let before = stage.crops;
    (0..minute).for_each(|_| drop(stage.frame(&[])));
    assert!((355..=361).contains(&(stage.crops - before)), "{} in the second", stage.crops - before);

    let person = someone(600.0, 400.0, 400.0);
    stage.until_reported(&[person]);
    (0..100).for_each(|_| drop(stage.frame(&[person])));
    let before = stage.crops;
    (0..minute).for_each(|_| assert_eq!(stage.frame(&[person]).len(), 1));
    let share = (stage.crops - before) as f64 / minute as f64;
    assert!(share <= 1.21, "{share} crops for each frame of one person");
}

/// Looks for a person who has left are charged to the search.
#[test]
fn who_is_lost_is_looked_for_within_the_budget() {
    let mut stage = Stage::new(1);
    (0..1800).for_each(|_| drop(stage.frame(&[])));
    let person = someone(600.0, 400.0, 400.0);
    stage.until_reported(&[person]);
    (0..300).for_each(|_| drop(stage.frame(&[person])));
    let before = stage.crops;
    let mut looked_for = 0;
    for _ in 0..300 {
        assert!(stage.frame(&[]).is_empty());
        looked_for += stage.looks.iter().filter(|look| look.purpose.key().is_some()).count();
    }
    let crops = stage.crops - before;
    assert!(looked_for >= 10 && crops <= 62, "{crops} crops in 10 s, of them {looked_for} for whom is lost");
}

#[test]
fn what_moves_where_a_closer_look_is_due_is_not_searched() {
    let mut stage = Stage::new(1);
    let person = someone(600.0, 400.0, 400.0);
    let found = |stage: &Stage| !stage.targets.back().unwrap().list.is_empty();
    while stage.targets.is_empty() || !found(&stage) {
        stage.frame(&[person]);
    }
    let candidate = stage.targets.back().unwrap().list[0];
    assert!(matches!(candidate.state, State::Candidate { .. }));
    // Something moves within the candidate's box: 560 to 640 across, 220 to 580 down.
    let moving = |brightness: u8| {
        let inside = |at: usize| (28..32).contains(&(at % 64)) && (11..29).contains(&(at / 64));
        let data: Vec<_> = (0..64 * 36).map(|at| if inside(at) { brightness } else { 0 }).collect();
        let plane = Component { data: &data, row_stride: 64, pixel_stride: 1, width: 64, height: 36 };
        let (width, height) = (SIZE.0 as usize, SIZE.1 as usize);
        let chroma_site = ChromaSite::default();
        let colour = Colour::Gray;
        let picture = Picture { width, height, components: [plane; 3], colour, chroma_site };
        Glimpse::of(&Pixels::Host(picture), SIZE)
    };
    let mut settings = Settings::default();
    settings.search.crops = 2;
    for (targets, expected) in [(Targets::default(), true), (stage.targets.pop_back().unwrap(), false)] {
        let mut planner = Planner::default();
        let mut plan = |now: f64, brightness: u8| {
            let moment = Moment { now, size: SIZE, search: true, still: false, most: usize::MAX };
            planner.plan(moment, &targets, &settings, Some(moving(brightness)))
        };
        plan(0.0, 0);
        plan(0.2, 90);
        let looks = plan(0.4, 180);
        let near =
            |look: &Look| look.purpose == Purpose::Search && overlap(&look.region, &candidate.region) > 0.5;
        assert_eq!(looks.iter().any(near), expected, "{looks:?}");
    }
}

#[test]
fn nobody_is_searched_without_crops() {
    let mut stage = Stage::new(1);
    stage.settings.search.crops = 0;
    (0..100).for_each(|_| assert!(stage.frame(&[someone(600.0, 400.0, 400.0)]).is_empty()));
    assert_eq!(stage.crops, 0);
}
