//! CPU time of tracking ten people: planning a frame's looks, a glimpse of what moves every tenth of a second, and
//! processing the model's answers. The model itself and the crops are not included.
//!
//!     cargo bench --bench tracker

use std::time::{Duration, Instant};

use gstrtmpose::pose::{KeyPoint, Skeleton};
use gstrtmpose::track::{Anatomy, Glimpse, Moment, Observation, Planner, Purpose, Seen, Settings, Tracks};
use gstrtmpose::video::{ChromaSite, Colour, Component, Picture, Pixels, YuvMatrix};

const SIZE: (u32, u32) = (1920, 1080);
const PEOPLE: usize = 10;
const FRAMES: usize = 3000;

/// A standing person: offsets of COCO's points from the middle, as shares of the height.
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

/// A person's points in a frame: people sway where they stand.
fn points(person: usize, frame: usize) -> Vec<KeyPoint> {
    let x = 100.0 + 190.0 * person as f32 + 8.0 * (frame as f32 / 9.0 + person as f32).sin();
    let point =
        |[dx, dy]: [f32; 2]| KeyPoint { x: x + dx * 300.0, y: 540.0 + dy * 300.0, score: 0.8, z: None };
    STANDING.into_iter().map(point).collect()
}

fn main() {
    let luma = vec![100; (SIZE.0 * SIZE.1) as usize];
    let plane = Component {
        data: &luma,
        row_stride: SIZE.0 as usize,
        pixel_stride: 1,
        width: SIZE.0 as usize,
        height: SIZE.1 as usize,
    };
    let picture = Picture {
        width: SIZE.0 as usize,
        height: SIZE.1 as usize,
        components: [plane; 3],
        colour: Colour::Yuv(YuvMatrix::new(0.2126, 0.0722, false)),
        chroma_site: ChromaSite::default(),
    };
    let pixels = Pixels::Host(picture);
    let (mut planner, mut tracks) = (
        Planner::default(),
        Tracks::new(Anatomy::of("coco-17", 17, Skeleton::by_name("coco-17").and_then(Skeleton::sigmas))),
    );
    let settings = Settings::default();
    let mut times = Vec::with_capacity(FRAMES);
    let mut followed = 0;
    for frame in 0..FRAMES {
        let now = frame as f64 / 30.0;
        let targets = tracks.targets();
        let start = Instant::now();
        let glimpse = planner.wants_glimpse(now).then(|| Glimpse::of(&pixels, SIZE));
        let looks = planner.plan(
            Moment { now, size: SIZE, search: true, still: false, most: usize::MAX },
            &targets,
            &settings,
            glimpse,
        );
        let planned = start.elapsed();
        let answer = |look: &gstrtmpose::track::Look| {
            let middle = look.region.x + look.region.width / 2.0;
            let nearest = (((middle - 100.0) / 190.0).round().max(0.0) as usize).min(PEOPLE - 1);
            let fits = look.purpose != Purpose::Search || (250.0..600.0).contains(&look.region.height);
            if fits { points(nearest, frame) } else { vec![KeyPoint::default(); 17] }
        };
        let seen = looks.iter().map(|look| Seen { look: *look, points: answer(look) }).collect();
        let observation =
            Observation { now, size: SIZE, detected: false, seen, lifetime: Duration::from_secs(1) };
        let start = Instant::now();
        let people = tracks.observe(observation);
        std::hint::black_box(tracks.targets());
        times.push(planned + start.elapsed());
        followed = people.len();
    }
    assert_eq!(followed, PEOPLE, "all are followed at the end");
    // The first second, in which people are found, does not count.
    let mut times = times.split_off(30);
    let mean = times.iter().sum::<Duration>() / times.len() as u32;
    times.sort_unstable();
    println!(
        "{PEOPLE} people in {}x{}: mean {:.1} µs a frame, median {:.1}, 99th percentile {:.1}",
        SIZE.0,
        SIZE.1,
        mean.as_secs_f64() * 1e6,
        times[times.len() / 2].as_secs_f64() * 1e6,
        times[times.len() * 99 / 100].as_secs_f64() * 1e6
    );
}
