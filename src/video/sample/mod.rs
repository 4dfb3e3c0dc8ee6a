//! Samples a crop directly from a frame's own pixel format: no frame is ever converted or copied as a whole.
//!
//! Every format is described as three components, each with its own strides and size, so that the same code handles packed
//! RGB in any order, NV12 and NV21, I420 and YV12, YUY2 and UYVY, and grey. The places of output columns and rows are
//! computed once per crop (`axis.rs`). Rows are then drawn by portable code (`scalar.rs`, `colour.rs`) or, if the CPU has
//! them, by vector instructions (`simd`), with the same results bit for bit. Places partly outside the frame are darkened
//! afterwards, for both, here.

mod axis;
mod colour;
mod group;
mod picture;
mod scalar;
mod simd;

use std::slice::ChunksExactMut;

use super::{
    region::Crop,
    whole::{BORDER, Whole},
};
use axis::{Axis, COLUMN_BITS, FULL, Pair, Place, ROW_WEIGHT_BITS};
pub use colour::{Colour, YuvMatrix};
use group::{Group, Part};
pub use picture::{ChromaSite, Component, Picture};
use simd::Vectors;

/// Samples crops from pictures, for one size of model input. It keeps its tables between crops, so that sampling allocates
/// nothing after the first one: use one sampler per stream.
#[derive(Debug)]
pub struct Sampler {
    network: [usize; 2],
    scale: f64,
    columns: Axis,
    rows: Axis,
    plain: Tables<1>,
    resized: Tables<2>,
    vectors: Option<Vectors>,
    /// What the tables are for, if a whole picture came last: a stream's frames are all alike.
    kept: Option<Geometry>,
}

/// All that the tables of a whole picture depend on.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Geometry {
    inside: [usize; 2],
    picture: [usize; 2],
    colour: Colour,
    chroma_site: ChromaSite,
    groups: [Option<[usize; 9]>; 3],
}

/// Scratch memory, for crops from the frame (1 pair of samples per axis) and from a resized frame (2 pairs).
#[derive(Debug, Default)]
struct Tables<const PAIRS: usize> {
    /// For each group of components.
    pairs: [Pairs<PAIRS>; 3],
    scalar: scalar::Rows,
    simd: simd::Rows<PAIRS>,
    /// The vector code knows how the picture is laid out.
    is_known: bool,
}

#[derive(Debug, Default)]
struct Pairs<const PAIRS: usize> {
    columns: Vec<[Pair; PAIRS]>,
    rows: Vec<[Pair; PAIRS]>,
    /// As those of the `Part`.
    start: usize,
    len: usize,
}

impl Sampler {
    /// For model inputs of that many pixels. With an `inference_scale` below 1, a crop equals one from the frame resized by
    /// it first (as by `cv2.resize`, bilinear; sizes `round(w * scale)`, at least 1). It is limited to 0.01..=1; NaN is 1.
    pub fn new(network_width: u32, network_height: u32, inference_scale: f64) -> Self {
        let scale = if inference_scale < 1.0 { inference_scale.max(0.01) } else { 1.0 };
        Self {
            network: [network_width as usize, network_height as usize],
            scale,
            columns: Axis::default(),
            rows: Axis::default(),
            plain: Tables::default(),
            resized: Tables::default(),
            vectors: Vectors::detect(),
            kept: None,
        }
    }

    /// The scale at which crops are sampled, after limiting.
    pub fn inference_scale(&self) -> f64 {
        self.scale
    }

    /// Uses the portable code, whatever the CPU has: for comparison. Its crops are the same, byte for byte.
    pub fn portable(self) -> Self {
        Self { vectors: None, ..self }
    }

    /// Fills `out` (`H * W * 3` bytes, rows of RGB) with the crop, as `cv2.warpAffine` would from the frame converted to
    /// RGB: bilinear, without half-pixel offset, black outside the frame (mmpose `datasets/transforms/topdown_transforms.py`
    /// `TopdownAffine`).
    ///
    /// All black if there is nothing to sample: no picture, a component whose data is too short for its size, or a crop
    /// completely outside the frame. Bytes of `out` beyond `H * W * 3` become 0, too; if it is too short, the rows that fit
    /// are filled.
    pub fn sample(&mut self, picture: &Picture, crop: &Crop, out: &mut [u8]) {
        let ((cx, cy), (width, height)) = (crop.centre(), crop.size());
        let Self { network, scale, columns, rows, .. } = self;
        columns.plan(cx.into(), width.into(), network[0], picture.width, *scale);
        rows.plan(cy.into(), height.into(), network[1], picture.height, *scale);
        self.kept = None;
        self.draw(picture, Group::all(picture), self.scale < 1.0, false, 0, out);
    }

    /// Fills `out` with the whole picture, fitted in as `whole` says, as `cv2.resize` would with the frame converted to RGB
    /// (bilinear, whatever the `inference_scale`), at the top left of grey 114. All grey if there is no picture, or a
    /// component's data is too short for its size.
    pub fn sample_whole(&mut self, picture: &Picture, whole: &Whole, out: &mut [u8]) {
        let groups = Group::all(picture);
        let geometry = Geometry {
            inside: whole.inside().map(|side| side as usize),
            picture: [picture.width, picture.height],
            colour: picture.colour,
            chroma_site: picture.chroma_site,
            groups: groups.map(|group| Some(group?.shape())),
        };
        let is_kept = self.kept == Some(geometry);
        if !is_kept {
            self.columns.plan_whole(geometry.inside[0].min(self.network[0]), picture.width);
            self.rows.plan_whole(geometry.inside[1].min(self.network[1]), picture.height);
        }
        self.kept = Some(geometry);
        self.draw(picture, groups, false, is_kept, BORDER, out);
    }

    /// Draws what is planned, over a ground if it does not fill `out`; by the tables of the last picture, if they are `kept`.
    fn draw(
        &mut self,
        picture: &Picture,
        groups: [Option<Group>; 3],
        is_resized: bool,
        is_kept: bool,
        ground: u8,
        out: &mut [u8],
    ) {
        let Self { network, columns, rows, vectors, .. } = self;
        if !groups.iter().flatten().all(Group::is_whole) {
            rows.places.clear();
            self.kept = None;
        }
        let drawn = columns.places.len() * rows.places.len() * 3;
        fill_beside([columns, rows], network[0] * 3, ground, out);
        if drawn == 0 {
            return;
        }
        let lines = out.chunks_exact_mut(network[0] * 3);
        if is_resized {
            self.resized.fill(*vectors, picture, groups, [columns, rows], is_kept, lines);
        } else {
            self.plain.fill(*vectors, picture, groups, [columns, rows], is_kept, lines);
        }
    }
}

impl<const PAIRS: usize> Tables<PAIRS> {
    fn fill(
        &mut self,
        vectors: Option<Vectors>,
        picture: &Picture,
        groups: [Option<Group>; 3],
        [columns, rows]: [&Axis; 2],
        is_kept: bool,
        lines: ChunksExactMut<u8>,
    ) {
        let mut pairs = self.pairs.iter_mut();
        let parts = groups.map(|group| {
            let (pairs, group) = (pairs.next()?, group?);
            if !is_kept {
                pairs.plan(&group, picture, columns, rows);
            }
            Some(pairs.part(group))
        });
        if !is_kept {
            self.is_known = vectors.is_some() && self.simd.plan(&parts, picture.colour);
        }
        let vectors = vectors.filter(|_| self.is_known);

        let inside = columns.first * 3..(columns.first + columns.places.len()) * 3;
        for (y, (line, place)) in lines.skip(rows.first).zip(&rows.places).enumerate() {
            let line = &mut line[inside.clone()];
            match vectors {
                Some(vectors) => self.simd.draw(vectors, &parts, y, picture.colour, line),
                None => self.scalar.draw(&parts, y, picture.colour, line),
            }
            shade(line, columns, place.coverage);
        }
    }
}

impl<const PAIRS: usize> Pairs<PAIRS> {
    /// Makes the tables of one group.
    fn plan(&mut self, group: &Group, picture: &Picture, columns: &Axis, rows: &Axis) {
        let site = picture.chroma_site;
        let (across, down) = (picture.width.div_ceil(group.width), picture.height.div_ceil(group.height));
        columns.pairs(across, site.horizontally_cosited, group.width, COLUMN_BITS, &mut self.columns);
        rows.pairs(down, site.vertically_cosited, group.height, ROW_WEIGHT_BITS, &mut self.rows);

        let used = || self.columns.iter().flatten().map(|pair| pair.at as usize);
        let (first, last) = (used().min().unwrap_or(0), used().max().unwrap_or(0) + 1);
        for pair in self.columns.iter_mut().flatten() {
            pair.at = ((pair.at as usize - first) * group.pixel_stride) as u32;
        }
        // A component one sample wide has no second sample for its pair.
        let taken = last.min(group.width - 1) - first;
        self.start = first * group.pixel_stride;
        self.len = taken * group.pixel_stride + group.pixel_span();
    }

    fn part<'a>(&'a self, group: Group<'a>) -> Part<'a, PAIRS> {
        Part { group, start: self.start, len: self.len, columns: &self.columns, rows: &self.rows }
    }
}

/// Fills what is beside the drawn places, in rows of that many bytes: everything, if nothing is drawn.
fn fill_beside([columns, rows]: [&Axis; 2], line: usize, ground: u8, out: &mut [u8]) {
    let (left, right) = (columns.first * 3, (columns.first + columns.places.len()) * 3);
    if right == left || rows.places.is_empty() || line == 0 {
        return out.fill(ground);
    }
    let whole_lines = out.len() / line;
    let first = rows.first.min(whole_lines);
    let last = (rows.first + rows.places.len()).min(whole_lines);
    let (above, rest) = out.split_at_mut(first * line);
    let (beside, below) = rest.split_at_mut((last - first) * line);
    above.fill(ground);
    below.fill(ground);
    if right - left < line {
        for line in beside.chunks_exact_mut(line) {
            line[..left].fill(ground);
            line[right..].fill(ground);
        }
    }
}

/// Darkens places that are only partly inside the frame.
fn shade(line: &mut [u8], columns: &Axis, row_coverage: u32) {
    let (pixels, _) = line.as_chunks_mut::<3>();
    let partly = |place: &&Place| place.coverage < FULL;
    let places = &columns.places;
    let (left, right) = if row_coverage < FULL {
        (places.len(), 0)
    } else {
        // In a complete row, only the ends can be partly covered.
        let left = places.iter().take_while(partly).count();
        (left, places[left..].iter().rev().take_while(partly).count())
    };
    for x in (0..left).chain(places.len() - right..places.len()) {
        let coverage = places[x].coverage * row_coverage;
        pixels[x] =
            pixels[x].map(|value| ((u32::from(value) * coverage + FULL * FULL / 2) / (FULL * FULL)) as u8);
    }
}
