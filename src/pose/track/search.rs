//! Where a frame is searched for people nobody follows yet: a grid of overlapping boxes of a person's shape, walked
//! through within a budget.

use std::time::Duration;

use super::body::{area, intersection};
use crate::pose::Region;

/// Width of a person's box by its height, as most networks' inputs have it.
const ASPECT: f32 = 0.75;
/// Each size of box is so much smaller than the one before it. A network trained on boxes between 0.75 and 1.25 of the
/// person still finds it in one of 0.7 to 1.7.
const SHRINK: f32 = 0.5;
/// Sizes below the whole frame's height.
const SIZES: usize = 3;
/// Distance of neighbouring boxes as a share of their side: a person up to 0.3 of it off the centre is found.
const STEP: f32 = 0.6;
/// A box mostly filled by somebody who is followed shows that person again.
const COVERED: f32 = 0.5;

/// The budget: so many crops in each interval on average, saved up to a whole walk through the grid, and so many in one
/// frame at most.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Budget {
    pub crops: usize,
    pub interval: Duration,
}

/// Walks through the grid.
#[derive(Debug, Default)]
pub struct Search {
    size: (u32, u32),
    grid: Vec<Region>,
    next: usize,
    saved: f64,
    /// The stream's time up to which the budget was saved.
    last: Option<f64>,
}

impl Search {
    /// Saves up for the time since the last frame; the stream's time is in seconds.
    pub fn begin_frame(&mut self, size: (u32, u32), now: f64, budget: Budget) {
        if self.size != size {
            self.size = size;
            self.grid = grid(size);
            self.next = 0;
        }
        let most = self.grid.len() as f64;
        let interval = budget.interval.as_secs_f64();
        self.saved = match self.last {
            // The first frame may be walked through at once.
            None => most,
            Some(_) if interval <= 0.0 => most,
            Some(last) => (self.saved + (now - last) / interval * budget.crops as f64).min(most),
        };
        self.last = Some(now);
    }

    /// Pays for crops that look closer at what a search has found.
    pub fn pay(&mut self, crops: usize) {
        self.saved -= crops as f64;
    }

    /// The next boxes, at most so many, as the budget allows. Those that somebody in `followed` fills are left out.
    pub fn take(&mut self, most: usize, followed: &[Region]) -> Vec<Region> {
        let most = most.min(self.saved.max(0.0) as usize);
        let mut taken = Vec::new();
        for _ in 0..self.grid.len() {
            if taken.len() == most {
                break;
            }
            let region = self.grid[self.next];
            self.next = (self.next + 1) % self.grid.len();
            let covered = followed.iter().any(|other| intersection(&region, other) > COVERED * area(&region));
            if !covered {
                taken.push(region);
            }
        }
        self.pay(taken.len());
        taken
    }
}

/// The whole frame, then boxes of each size, large ones first.
fn grid((width, height): (u32, u32)) -> Vec<Region> {
    let (width, height) = (width as f32, height as f32);
    let mut grid = vec![Region::new(0.0, 0.0, width, height)];
    let mut box_height = height.min(width / ASPECT);
    for _ in 0..SIZES {
        let box_width = box_height * ASPECT;
        let level: Vec<_> = starts(height, box_height)
            .flat_map(|y| starts(width, box_width).map(move |x| Region::new(x, y, box_width, box_height)))
            .collect();
        // Neighbours overlap: what one frame looks at shall lie apart.
        let stride = (0..).map(|n| level.len() / 2 + 1 + n).find(|stride| gcd(*stride, level.len()) == 1);
        let stride = stride.unwrap_or(1);
        grid.extend((0..level.len()).map(|n| level[n * stride % level.len()]));
        box_height *= SHRINK;
    }
    grid
}

/// Left or upper edges of boxes that cover a side with equal steps.
fn starts(side: f32, box_side: f32) -> impl Iterator<Item = f32> {
    let room = (side - box_side).max(0.0);
    let steps = (room / (box_side * STEP)).ceil().max(0.0);
    (0..=steps as usize).map(move |n| if steps > 0.0 { room * n as f32 / steps } else { room / 2.0 })
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}
