//! Where something moves in the frame: people who walk in do, and a crop there finds them long before a pass over the whole
//! grid does.

use std::collections::VecDeque;

use crate::pose::Region;
use crate::video::Pixels;

/// Cells across the frame's longer side.
const CELLS: usize = 64;
/// Pixels that are read for each cell, across and down.
const SAMPLES: usize = 2;
/// Seconds between glimpses.
pub const INTERVAL: f64 = 0.1;
/// Each glimpse is compared with the one before the last.
const COMPARED: usize = 2;
/// A cell has changed if its brightness changed by this much, of 255.
const CHANGED: i16 = 14;
/// If this share of cells changed, the camera moves.
const CAMERA: f32 = 0.4;
/// A new scene begins if the mean change from one glimpse to the next is this large, of 255, and this many times the usual.
const CUT: f32 = 12.0;
const CUT_BY_USUAL: f32 = 4.0;
/// Cells of the smallest thing that counts, and of its height.
const FEWEST: usize = 4;
const LOWEST: usize = 2;

/// A few brightness values of a frame.
#[derive(Clone, Debug, PartialEq)]
pub struct Glimpse {
    columns: usize,
    rows: usize,
    /// Size of the frame in square pixels.
    size: (u32, u32),
    cells: Vec<u8>,
}

impl Glimpse {
    /// Of a frame whose size in square pixels is `size`.
    pub fn of(pixels: &Pixels, size: (u32, u32)) -> Self {
        let longer = u64::from(size.0.max(size.1).max(1));
        let cells =
            |side: u32| (u64::from(side) * CELLS as u64).div_ceil(longer).clamp(1, CELLS as u64) as usize;
        let (columns, rows) = (cells(size.0), cells(size.1));
        Self { columns, rows, size, cells: pixels.brightness(columns, rows, SAMPLES) }
    }

    fn fits(&self, other: &Self) -> bool {
        self.size == other.size
    }

    /// Mean change of a cell.
    fn difference(&self, other: &Self) -> f32 {
        let sum: u32 = self.cells.iter().zip(&other.cells).map(|(a, b)| u32::from(a.abs_diff(*b))).sum();
        sum as f32 / self.cells.len() as f32
    }

    /// Cells that changed differently from the whole frame, which changes when the light does.
    fn changes(&self, other: &Self) -> Vec<bool> {
        let difference = || self.cells.iter().zip(&other.cells).map(|(a, b)| i16::from(*a) - i16::from(*b));
        let mut sorted: Vec<_> = difference().collect();
        let middle = sorted.len() / 2;
        let (_, median, _) = sorted.select_nth_unstable(middle);
        let light = *median;
        difference().map(|change| (change - light).abs() >= CHANGED).collect()
    }
}

/// What the last glimpses show.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Movement {
    /// A new scene has begun.
    pub cut: bool,
    /// Boxes around what moves, in square pixels, largest first. None while the camera moves.
    pub boxes: Vec<Region>,
}

/// Compares glimpses of a stream.
#[derive(Debug, Default)]
pub struct Motion {
    last: VecDeque<Glimpse>,
    /// Mean change from one glimpse to the next.
    usual: f32,
    at: Option<f64>,
}

impl Motion {
    /// Whether it is time for the next glimpse.
    pub fn is_due(&self, now: f64) -> bool {
        self.at.is_none_or(|at| now - at >= INTERVAL)
    }

    /// Compares the glimpse of that time; changes inside the boxes in `known` are ignored. `pictures` are far apart in time,
    /// and usually each differs from the one before.
    pub fn look(&mut self, now: f64, glimpse: Glimpse, known: &[Region], pictures: bool) -> Movement {
        self.at = Some(now);
        if self.last.back().is_some_and(|last| !last.fits(&glimpse)) {
            self.last.clear();
        }
        let mut movement = Movement::default();
        if let Some(last) = self.last.back() {
            let change = glimpse.difference(last);
            movement.cut = change > CUT && (pictures || change > CUT_BY_USUAL * self.usual);
            // A new scene does not count as usual.
            if !movement.cut {
                self.usual += (change - self.usual) / 8.0;
            }
        }
        if movement.cut {
            self.last.clear();
        } else if self.last.len() == COMPARED
            && let Some(before) = self.last.pop_front()
        {
            movement.boxes = boxes(&glimpse, glimpse.changes(&before), known);
        }
        self.last.push_back(glimpse);
        movement
    }
}

/// Boxes around changed cells that are connected.
fn boxes(glimpse: &Glimpse, mut changed: Vec<bool>, known: &[Region]) -> Vec<Region> {
    let (columns, rows) = (glimpse.columns, glimpse.rows);
    let moved = changed.iter().filter(|changed| **changed).count();
    if moved as f32 > CAMERA * changed.len() as f32 {
        return Vec::new();
    }
    let cell = [glimpse.size.0 as f32 / columns as f32, glimpse.size.1 as f32 / rows as f32];
    for (index, changed) in changed.iter_mut().enumerate() {
        let [x, y] = [(index % columns) as f32 + 0.5, (index / columns) as f32 + 0.5];
        let [x, y] = [x * cell[0], y * cell[1]];
        *changed &= !known.iter().any(|region| {
            (region.x..region.x + region.width).contains(&x)
                && (region.y..region.y + region.height).contains(&y)
        });
    }
    let mut found = Vec::new();
    for start in 0..changed.len() {
        if !changed[start] {
            continue;
        }
        let (mut left, mut right, mut top, mut bottom, mut count) = (columns, 0, rows, 0, 0);
        let mut open = vec![start];
        changed[start] = false;
        while let Some(index) = open.pop() {
            let (column, row) = (index % columns, index / columns);
            (left, right) = (left.min(column), right.max(column));
            (top, bottom) = (top.min(row), bottom.max(row));
            count += 1;
            // One unchanged cell between them is allowed.
            for y in row.saturating_sub(2)..(row + 3).min(rows) {
                for x in column.saturating_sub(2)..(column + 3).min(columns) {
                    if std::mem::take(&mut changed[y * columns + x]) {
                        open.push(y * columns + x);
                    }
                }
            }
        }
        if count >= FEWEST && bottom + 1 - top >= LOWEST {
            let size = [(right + 1 - left) as f32 * cell[0], (bottom + 1 - top) as f32 * cell[1]];
            found.push((count, Region::new(left as f32 * cell[0], top as f32 * cell[1], size[0], size[1])));
        }
    }
    found.sort_by_key(|(count, _)| std::cmp::Reverse(*count));
    found.into_iter().map(|(_, region)| region).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::video::Picture;
    use crate::video::{ChromaSite, Colour, Component, YuvMatrix};

    const SIDE: (usize, usize) = (640, 360);

    /// A picture with a bright rectangle: left, top, width, height.
    fn glimpse(ground: u8, bright: [usize; 4]) -> Glimpse {
        let [left, top, width, height] = bright;
        let inside =
            |x: usize, y: usize| (left..left + width).contains(&x) && (top..top + height).contains(&y);
        let pixel = |index: usize| if inside(index % SIDE.0, index / SIDE.0) { 220 } else { ground };
        let data: Vec<u8> = (0..SIDE.0 * SIDE.1).map(pixel).collect();
        let plane =
            Component { data: &data, row_stride: SIDE.0, pixel_stride: 1, width: SIDE.0, height: SIDE.1 };
        let colour = Colour::Yuv(YuvMatrix::new(0.299, 0.114, false));
        let chroma_site = ChromaSite::default();
        let picture = Picture { width: SIDE.0, height: SIDE.1, components: [plane; 3], colour, chroma_site };
        Glimpse::of(&Pixels::Host(picture), (SIDE.0 as u32, SIDE.1 as u32))
    }

    fn look(motion: &mut Motion, number: usize, glimpse: Glimpse, known: &[Region]) -> Movement {
        motion.look(number as f64 * INTERVAL, glimpse, known, false)
    }

    #[test]
    fn what_moves_has_a_box_unless_it_is_known() {
        for known in [vec![], vec![Region::new(80.0, 80.0, 160.0, 220.0)]] {
            let mut motion = Motion::default();
            let mut last = Movement::default();
            for number in 0..3 {
                assert!(motion.is_due(number as f64 * INTERVAL));
                last = look(&mut motion, number, glimpse(60, [100 + 15 * number, 100, 40, 160]), &known);
                assert!(!motion.is_due((number as f64 + 0.5) * INTERVAL));
                assert!(!last.cut && (number == 2 || last.boxes.is_empty()), "{last:?}");
            }
            // It covers the old and the new place, in cells of 10 pixels.
            let expected =
                if known.is_empty() { vec![Region::new(100.0, 100.0, 70.0, 160.0)] } else { vec![] };
            assert_eq!(last.boxes, expected);
        }
    }

    #[test]
    fn a_brighter_light_a_moving_camera_and_specks_are_no_movement() {
        let still = [100, 100, 40, 160];
        for (what, ground, bright) in [
            ("nothing", 60, still),
            ("light", 90, [0, 0, 0, 0]),
            ("a camera", 60, [0, 0, 300, 360]),
            ("a speck", 60, [300, 100, 9, 9]),
        ] {
            let mut motion = Motion::default();
            let before = if what == "nothing" { still } else { [0, 0, 0, 0] };
            for number in 0..2 {
                look(&mut motion, number, glimpse(60, before), &[]);
            }
            motion.usual = 50.0;
            assert_eq!(look(&mut motion, 2, glimpse(ground, bright), &[]), Movement::default(), "{what}");
        }
    }

    #[test]
    fn another_scene_is_a_cut_once() {
        let mut motion = Motion::default();
        for number in 0..10 {
            assert!(!look(&mut motion, number, glimpse(60, [100, 100, 40, 160]), &[]).cut);
        }
        assert!(look(&mut motion, 10, glimpse(140, [300, 0, 200, 360]), &[]).cut);
        for number in 11..20 {
            assert_eq!(look(&mut motion, number, glimpse(140, [300, 0, 200, 360]), &[]), Movement::default());
        }
    }

    #[test]
    fn pictures_of_any_size_have_a_glimpse() {
        let data = [7; 12];
        let plane = Component { data: &data, row_stride: 3, pixel_stride: 1, width: 3, height: 4 };
        let picture = Picture {
            width: 3,
            height: 4,
            components: [plane; 3],
            colour: Colour::Gray,
            chroma_site: ChromaSite::default(),
        };
        assert!(Glimpse::of(&Pixels::Host(picture), (3, 4)).cells.iter().all(|cell| *cell == 7));
        let none = Component { data: &[], row_stride: 0, pixel_stride: 1, width: 0, height: 0 };
        Glimpse::of(&Pixels::Host(Picture { width: 0, height: 0, components: [none; 3], ..picture }), (0, 0));
        Glimpse::of(&Pixels::Host(picture), (u32::MAX, u32::MAX));
    }
}
