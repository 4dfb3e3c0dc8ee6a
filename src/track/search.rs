//! Where a frame is searched for people who are not tracked: in a grid of overlapping, person-shaped boxes, within a budget,
//! and where something moves.

use std::{collections::VecDeque, time::Duration};

use super::{
    body::{area, around, centre, intersection, overlap},
    motion::Movement,
};
use crate::pose::Region;

/// Width of a person's box relative to its height, as in most models' inputs.
const ASPECT: f32 = 0.75;
/// Each size of box is this share of the next larger one. A model trained on boxes of 0.75 to 1.25 of the person still finds
/// the person in one of 0.7 to 1.7.
const SHRINK: f32 = 0.5;
/// Sizes below the whole frame's height.
const SIZES: usize = 3;
/// Distance of neighbouring boxes as a share of their side: a person up to 0.3 of it off the centre is found.
const STEP: f32 = 0.6;
/// Most boxes in a row or column. Up to a frame 28 times as wide as high, their distance is `STEP`; in longer frames it is
/// larger, so that the grid takes little memory whatever the frame's shape.
const MOST_IN_A_LINE: f32 = 256.0;
/// A box filled this much by a tracked person would only show that person again.
const COVERED: f32 = 0.5;

/// A moving thing is searched with a margin, and once more with a larger one if no person was found.
const MARGINS: [f32; 2] = [1.2, 1.8];
/// Boxes that overlap this much show the same thing.
const SAME: f32 = 0.4;
/// Seconds for which a thing that was searched is not searched again.
const TIRED: f64 = 3.0;
/// The share of new credit that repays what was spent before.
const REPAID: f64 = 0.5;
/// The share of the budget for things that move.
const MOVING: f64 = 2.0 / 3.0;

/// The budget: this many crops in each interval on average, saved up to a whole pass over the grid, and at most this many in
/// one frame.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Budget {
    pub crops: usize,
    pub interval: Duration,
}

/// Chooses boxes of the grid, and boxes around what moves.
#[derive(Debug, Default)]
pub struct Search {
    size: (u32, u32),
    grid: Vec<Region>,
    /// Large boxes, which are first in the grid.
    large: usize,
    next: usize,
    /// Saved crops: for what moves, at most as many as one frame may have; and for the grid.
    for_moving: f64,
    for_grid: f64,
    /// Crops that were spent before they were saved, at the start and for new scenes.
    owed: f64,
    /// The stream's time up to which crops were saved.
    last: Option<f64>,
    /// Moving things that were not searched yet.
    moving: Vec<Region>,
    /// Moving things that were searched lately: when, and where.
    looked_at: VecDeque<(f64, Region)>,
}

impl Search {
    /// Saves crops for the time since the last frame; the stream's time is in seconds.
    pub fn begin_frame(&mut self, size: (u32, u32), now: f64, budget: Budget) {
        if self.size != size {
            self.size = size;
            (self.grid, self.large) = grid(size);
            self.next = 0;
        }
        let (few, all) = (budget.crops as f64, self.grid.len() as f64);
        let interval = budget.interval.as_secs_f64();
        let saved = match self.last {
            Some(last) if interval > 0.0 => {
                let saved = (now - last) / interval * few;
                let repaid = (saved * REPAID).min(self.owed);
                self.owed -= repaid;
                saved - repaid
            }
            Some(_) => few + all,
            // The first frames may be searched completely at once.
            None => {
                self.owed = few + all;
                few + all
            }
        };
        self.for_moving += saved * MOVING;
        let over = (self.for_moving - few).max(0.0);
        self.for_moving -= over;
        self.for_grid = (self.for_grid + saved * (1.0 - MOVING) + over).min(all);
        self.last = Some(now);
        while self.looked_at.front().is_some_and(|(then, _)| now - then > TIRED) {
            self.looked_at.pop_front();
        }
    }

    /// What moved in the frame, and whether it is a `picture`, to be searched like the first frame.
    pub fn see(&mut self, movement: Movement, picture: bool) {
        if movement.cut {
            self.looked_at.clear();
            self.next = 0;
            let wanted = if picture { self.grid.len() } else { self.large };
            let lacking = (wanted as f64 - self.for_grid).max(0.0);
            // If scenes change all the time, no more is spent than can be repaid.
            if picture {
                self.for_grid += lacking;
            } else if self.owed + lacking <= self.grid.len() as f64 {
                self.owed += lacking;
                self.for_grid += lacking;
            }
        }
        self.moving = movement.boxes;
    }

    /// Charges crops of further looks at candidates, or at lost people.
    pub fn pay(&mut self, crops: usize) {
        self.for_grid -= crops as f64;
    }

    /// The next boxes, at most `most`, as the budget allows; not those that a person in `followed` fills.
    pub fn take(&mut self, now: f64, most: usize, followed: &[Region]) -> Vec<Region> {
        let is_covered = |region: &Region| {
            followed.iter().any(|other| intersection(region, other) > COVERED * area(region))
        };
        let mut taken = Vec::new();
        for moved in std::mem::take(&mut self.moving) {
            let before = self.looked_at.iter().filter(|(_, region)| overlap(region, &moved) > SAME).count();
            let Some(margin) = MARGINS.get(before) else { continue };
            if taken.len() < most && self.for_moving >= 1.0 && !is_covered(&moved) {
                self.for_moving -= 1.0;
                self.looked_at.push_back((now, moved));
                let [x, y] = centre(&moved);
                // The moving thing may be the upper or the lower half of a person.
                let height = moved.height.max(moved.width);
                taken.push(around(x, y, moved.width * margin, height * margin));
            }
        }
        for _ in 0..self.grid.len() {
            if taken.len() >= most || self.for_grid < 1.0 {
                break;
            }
            let region = self.grid[self.next];
            self.next = (self.next + 1) % self.grid.len();
            if !is_covered(&region) {
                self.for_grid -= 1.0;
                taken.push(region);
            }
        }
        taken
    }
}

/// The whole frame, then boxes of each size, large ones first; and how many of them are not of the smallest size.
fn grid((width, height): (u32, u32)) -> (Vec<Region>, usize) {
    let (width, height) = (width as f32, height as f32);
    let mut grid = vec![Region::new(0.0, 0.0, width, height)];
    let mut large = 0;
    let mut box_height = height.min(width / ASPECT);
    for _ in 0..SIZES {
        large = grid.len();
        let box_width = box_height * ASPECT;
        let level: Vec<_> = starts(height, box_height)
            .flat_map(|y| starts(width, box_width).map(move |x| Region::new(x, y, box_width, box_height)))
            .collect();
        // Neighbours overlap, so the boxes of one frame should be far apart.
        let stride = (0..).map(|n| level.len() / 2 + 1 + n).find(|stride| gcd(*stride, level.len()) == 1);
        let stride = stride.unwrap_or(1);
        grid.extend((0..level.len()).map(|n| level[n * stride % level.len()]));
        box_height *= SHRINK;
    }
    (grid, large)
}

/// Left or upper edges of boxes that cover a side with equal steps.
fn starts(side: f32, box_side: f32) -> impl Iterator<Item = f32> {
    let room = (side - box_side).max(0.0);
    let steps = (room / (box_side * STEP)).ceil().clamp(0.0, MOST_IN_A_LINE - 1.0);
    (0..=steps as usize).map(move |n| if steps > 0.0 { room * n as f32 / steps } else { room / 2.0 })
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: (u32, u32) = (1280, 720);
    const BUDGET: Budget = Budget { crops: 6, interval: Duration::from_secs(1) };

    /// Whether the model finds a person of that height in one of the boxes: not much smaller or larger than the box, and not
    /// far from its middle.
    fn finds(boxes: &[Region], x: f32, y: f32, height: f32) -> bool {
        boxes.iter().any(|region| {
            let side = region.height.max(region.width / ASPECT);
            let [middle_x, middle_y] = centre(region);
            (0.5..=1.5).contains(&(height / side))
                && (x - middle_x).abs() <= 0.31 * ASPECT * side
                && (y - middle_y).abs() <= 0.31 * side
        })
    }

    #[test]
    fn the_grid_finds_people_of_every_size_wherever_they_stand() {
        for (width, height) in [(1280, 720), (720, 1280), (640, 480), (1920, 800)] {
            let (boxes, large) = grid((width, height));
            assert!(boxes.len() <= 300 && large < boxes.len(), "{width}x{height}: {} boxes", boxes.len());
            let (width, height) = (width as f32, height as f32);
            let tallest = height.min(width / ASPECT);
            for share in [0.15, 0.2, 0.3, 0.45, 0.7, 0.95] {
                let person = share * tallest;
                let places = |side: f32, person: f32| {
                    (0..=20).map(move |n| person / 2.0 + (side - person) * n as f32 / 20.0)
                };
                for (x, y) in
                    places(width, person * ASPECT).flat_map(|x| places(height, person).map(move |y| (x, y)))
                {
                    assert!(finds(&boxes, x, y, person), "{width}x{height}: {person} high at {x}, {y}");
                }
            }
        }
    }

    #[test]
    fn the_grid_is_small_whatever_the_shape_of_the_frame() {
        let sides = [1, 2, 3, 17, 1000, 65_536, i32::MAX as u32, u32::MAX];
        for (width, height) in sides.into_iter().flat_map(|width| sides.map(|height| (width, height))) {
            let (boxes, large) = grid((width, height));
            assert!(boxes.len() <= 5000 && large < boxes.len(), "{width}x{height}: {} boxes", boxes.len());
            assert!(boxes.iter().all(Region::is_usable), "{width}x{height}");
        }
    }

    #[test]
    fn what_moves_is_looked_at_first_and_twice() {
        let mut search = Search::default();
        let rounded = |region: Region| [region.x, region.y, region.width, region.height].map(f32::round);
        let moved = Region::new(300.0, 200.0, 100.0, 200.0);
        let mut looks = Vec::new();
        for number in 0..4 {
            search.begin_frame(SIZE, f64::from(number) * 0.1, BUDGET);
            search.see(Movement { cut: false, boxes: vec![moved] }, false);
            looks.push(rounded(search.take(f64::from(number) * 0.1, 6, &[])[0]));
        }
        assert_eq!(looks[0], [290.0, 180.0, 120.0, 240.0]);
        assert_eq!(looks[1], [260.0, 120.0, 180.0, 360.0]);
        assert!(looks[2..].iter().all(|look| *look != looks[0] && *look != looks[1]), "tired of it");
        search.begin_frame(SIZE, 10.0, BUDGET);
        search.see(Movement { cut: false, boxes: vec![moved] }, false);
        assert_eq!(rounded(search.take(10.0, 6, &[])[0]), looks[0], "after a while");
    }

    #[test]
    fn a_new_scene_is_searched_at_once_but_not_for_ever() {
        let mut search = Search::default();
        let mut frame = 0;
        // Crops that are inferred in a second's frames, with or without a new scene at the beginning.
        let mut second = |cut: bool| {
            let mut taken = 0;
            for number in 0..30 {
                let now = f64::from(frame) / 30.0;
                frame += 1;
                search.begin_frame(SIZE, now, BUDGET);
                search.see(Movement { cut: cut && number == 0, boxes: Vec::new() }, false);
                taken += search.take(now, 6, &[]).len();
            }
            taken
        };
        let start = second(false);
        (0..60).for_each(|_| {
            second(false);
        });
        let (large, calm) = (grid(SIZE).1, second(false));
        assert!(start > 100 && calm <= 6, "{start} at the start, {calm} later");
        let cut = second(true);
        assert!((large..=large + 8).contains(&cut), "{cut} after a cut, {large} boxes are large");
        let minute: usize = (0..60).map(|_| second(true)).sum();
        assert!(minute <= 6 * 60 + 130, "{minute} in a minute of cuts");
    }

    #[test]
    fn boxes_full_of_somebody_known_are_left_out() {
        let mut search = Search::default();
        search.begin_frame(SIZE, 0.0, BUDGET);
        let known = Region::new(0.0, 0.0, 640.0, 720.0);
        let taken = search.take(0.0, 200, &[known]);
        assert!(!taken.is_empty());
        assert!(taken.iter().all(|region| intersection(region, &known) <= COVERED * area(region)));
    }
}
