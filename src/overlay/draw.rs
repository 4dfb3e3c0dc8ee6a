//! How a person is drawn: links, points, box and id, as lines and discs.

use super::canvas::{Canvas, Paint, Point, Rgb};
use crate::meta::FramePeople;
use crate::pose::{KeyPoint, Person, Side, Skeleton};

/// What to draw and how large.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Style {
    /// Points with a lower score, and the links to them, are not drawn.
    pub score_threshold: f32,
    /// Width of a link's line in square pixels, without its outline; 0 = by frame size.
    pub line_width: f32,
    /// Radius of a point's disc in square pixels, without its outline; 0 = by frame size.
    pub point_radius: f32,
    pub draw_box: bool,
    pub draw_id: bool,
}

/// Colours that people with red-green blindness can distinguish; the dark outline keeps them visible on light frames.
const LEFT: Rgb = [0, 160, 255];
const RIGHT: Rgb = [255, 140, 0];
const CENTRE: Rgb = [255, 255, 255];
const OUTLINE: Rgb = [16, 16, 16];

/// Sizes in square pixels, and the colours in the frame's format.
struct Pen {
    line: f32,
    radius: f32,
    box_line: f32,
    /// How far the outline extends on each side.
    outline: f32,
    /// Height of an id's digits.
    digit: f32,
    left: Paint,
    right: Paint,
    centre: Paint,
    dark: Paint,
}

impl Pen {
    fn new(canvas: &Canvas, style: &Style) -> Self {
        let (width, height) = canvas.size();
        // 1080 rows: lines 4 px wide, points 10 px; at thumbnail size at least 1.5 px.
        let by_size = (width.min(height) / 270.0).max(1.5);
        let or_auto = |value: f32, auto| if value > 0.0 { value } else { auto };
        Self {
            line: or_auto(style.line_width, by_size),
            radius: or_auto(style.point_radius, 1.25 * by_size),
            box_line: or_auto(style.line_width, by_size) / 2.0,
            outline: (by_size / 3.0).max(0.75),
            digit: (6.0 * by_size).max(11.0),
            left: canvas.paint(LEFT),
            right: canvas.paint(RIGHT),
            centre: canvas.paint(CENTRE),
            dark: canvas.paint(OUTLINE),
        }
    }

    fn of(&self, side: Side) -> Paint {
        match side {
            Side::Left => self.left,
            Side::Right => self.right,
            Side::Centre => self.centre,
        }
    }
}

/// Draws the people, whose positions are in square pixels of this canvas, with this skeleton. `links` are for a skeleton
/// without a known name.
pub fn people(
    canvas: &mut Canvas,
    frame: &FramePeople,
    skeleton: Option<&Skeleton>,
    links: &[(u16, u16)],
    style: &Style,
) {
    let pen = Pen::new(canvas, style);
    for person in &frame.people {
        if style.draw_box {
            draw_box(canvas, person, &pen);
        }
        draw_links(canvas, person, skeleton, links, style, &pen);
        draw_points(canvas, person, skeleton, style, &pen);
        if let (true, Some(id)) = (style.draw_id, person.id) {
            draw_id(canvas, person, id, &pen);
        }
    }
}

/// Position of a visible point: its score is high enough, and it is finite.
fn visible(point: Option<&KeyPoint>, style: &Style) -> Option<Point> {
    let point = point?;
    let there = point.score >= style.score_threshold && point.x.is_finite() && point.y.is_finite();
    there.then_some((point.x, point.y))
}

fn draw_links(
    canvas: &mut Canvas,
    person: &Person,
    skeleton: Option<&Skeleton>,
    links: &[(u16, u16)],
    style: &Style,
    pen: &Pen,
) {
    let side = |point| skeleton.map_or(Side::Centre, |skeleton| skeleton.side(point));
    let links: Vec<_> = skeleton
        .map_or(links, |skeleton| skeleton.links)
        .iter()
        .filter_map(|&(a, b)| {
            let (a, b) = (usize::from(a), usize::from(b));
            let from = visible(person.key_points.get(a), style)?;
            let to = visible(person.key_points.get(b), style)?;
            let paint = pen.of(link_side(side(a), side(b)));
            let scale = if skeleton.is_some_and(|skeleton| skeleton.is_fine(b)) { 0.5 } else { 1.0 };
            Some((from, to, scale, paint))
        })
        .collect();
    // All outlines are below all lines; otherwise each joint would show the outline of its last link.
    for &(from, to, scale, _) in &links {
        canvas.line(from, to, scale * (pen.line + 2.0 * pen.outline), pen.dark);
    }
    for &(from, to, scale, paint) in &links {
        canvas.line(from, to, scale * pen.line, paint);
    }
}

/// A link from the middle outwards belongs to that side; a link from left to right to none.
fn link_side(a: Side, b: Side) -> Side {
    match (a, b) {
        (Side::Centre, side) | (side, Side::Centre) => side,
        (a, b) if a == b => a,
        _ => Side::Centre,
    }
}

fn draw_points(canvas: &mut Canvas, person: &Person, skeleton: Option<&Skeleton>, style: &Style, pen: &Pen) {
    for (index, point) in person.key_points.iter().enumerate() {
        let Some(position) = visible(Some(point), style) else { continue };
        let scale = if skeleton.is_some_and(|skeleton| skeleton.is_fine(index)) { 0.5 } else { 1.0 };
        let side = skeleton.map_or(Side::Centre, |skeleton| skeleton.side(index));
        canvas.disc(position, scale * (pen.radius + pen.outline), pen.dark);
        canvas.disc(position, scale * pen.radius, pen.of(side));
    }
}

fn draw_box(canvas: &mut Canvas, person: &Person, pen: &Pen) {
    let region = person.region;
    let (left, top) = (region.x, region.y);
    let (right, bottom) = (left + region.width, top + region.height);
    let corners = [(left, top), (right, top), (right, bottom), (left, bottom)];
    for (width, paint) in [(pen.box_line + 2.0 * pen.outline, pen.dark), (pen.box_line, pen.centre)] {
        for corner in 0..4 {
            canvas.line(corners[corner], corners[(corner + 1) % 4], width, paint);
        }
    }
}

/// The id above the upper left corner of the box, moved into the frame if it would be outside.
fn draw_id(canvas: &mut Canvas, person: &Person, id: i64, pen: &Pen) {
    let (width, height) = canvas.size();
    let region = person.region;
    let inside = region.x < width
        && region.y < height
        && region.x + region.width > 0.0
        && region.y + region.height > 0.0;
    if !inside {
        return;
    }
    let text = id.to_string();
    let (digit_width, advance) = (0.5 * pen.digit, 0.85 * pen.digit);
    let (stroke, plate) = (pen.digit / 6.0, 1.6 * pen.digit);
    let text_width = advance * (text.len() - 1) as f32 + digit_width;
    // min before max: in a frame that is too small for it, the text begins inside.
    let margin = plate / 2.0;
    let x = (region.x + margin).min(width - 1.0 - margin - text_width).max(margin);
    let middle = (region.y - margin).min(height - 1.0 - margin).max(margin);
    // White digits on a dark plate are readable on any frame.
    canvas.line((x, middle), (x + text_width, middle), plate, pen.dark);
    for (index, character) in text.bytes().enumerate() {
        let left = x + index as f32 * advance;
        for &(from, to) in segments(character) {
            let at = |(column, row): (u8, u8)| {
                (left + f32::from(column) * digit_width, middle + (f32::from(row) - 1.0) * pen.digit / 2.0)
            };
            canvas.line(at(from), at(to), stroke, pen.centre);
        }
    }
}

/// A segment of a digit: its ends as (column, row) in a grid of 2 columns and 3 rows.
type Segment = ((u8, u8), (u8, u8));

/// Seven segments to a digit.
fn segments(character: u8) -> &'static [Segment] {
    const TOP: Segment = ((0, 0), (1, 0));
    const MIDDLE: Segment = ((0, 1), (1, 1));
    const BOTTOM: Segment = ((0, 2), (1, 2));
    const UPPER_LEFT: Segment = ((0, 0), (0, 1));
    const UPPER_RIGHT: Segment = ((1, 0), (1, 1));
    const LOWER_LEFT: Segment = ((0, 1), (0, 2));
    const LOWER_RIGHT: Segment = ((1, 1), (1, 2));
    match character {
        b'0' => &[TOP, UPPER_LEFT, UPPER_RIGHT, LOWER_LEFT, LOWER_RIGHT, BOTTOM],
        b'1' => &[UPPER_RIGHT, LOWER_RIGHT],
        b'2' => &[TOP, UPPER_RIGHT, MIDDLE, LOWER_LEFT, BOTTOM],
        b'3' => &[TOP, UPPER_RIGHT, MIDDLE, LOWER_RIGHT, BOTTOM],
        b'4' => &[UPPER_LEFT, UPPER_RIGHT, MIDDLE, LOWER_RIGHT],
        b'5' => &[TOP, UPPER_LEFT, MIDDLE, LOWER_RIGHT, BOTTOM],
        b'6' => &[TOP, UPPER_LEFT, MIDDLE, LOWER_LEFT, LOWER_RIGHT, BOTTOM],
        b'7' => &[TOP, UPPER_RIGHT, LOWER_RIGHT],
        b'8' => &[TOP, UPPER_LEFT, UPPER_RIGHT, MIDDLE, LOWER_LEFT, LOWER_RIGHT, BOTTOM],
        b'9' => &[TOP, UPPER_LEFT, UPPER_RIGHT, MIDDLE, LOWER_RIGHT, BOTTOM],
        b'-' => &[MIDDLE],
        _ => &[],
    }
}
