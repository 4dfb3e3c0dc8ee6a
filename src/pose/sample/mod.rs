//! Samples a crop straight from a frame's own pixel format: no frame is ever converted or copied as a whole.
//!
//! Every format is described as three components, each with its own strides and size, so that one code serves packed
//! RGB in any order, NV12 and NV21, I420 and YV12, YUY2 and UYVY, and grey.

mod axis;
mod colour;
mod rows;

use super::Crop;
use axis::{Axis, FULL, Pair, Place};
pub use colour::{Colour, YuvMatrix};
use rows::{COLUMN_UNIT, Group, ROW_UNIT};

/// One colour component's samples inside a plane: 8 bits each, sample (x, y) at `y * row_stride + x * pixel_stride`.
#[derive(Clone, Copy, Debug)]
pub struct Component<'a> {
    /// Starts at the component's first sample (so the R of BGR starts two bytes into the plane); may reach to the
    /// plane's end.
    pub data: &'a [u8],
    /// Bytes from a row to the next.
    pub row_stride: usize,
    /// Bytes from a sample to the next in its row.
    pub pixel_stride: usize,
    /// The component's own number of samples in a row, and of rows: for subsampled chroma of a picture w pixels wide,
    /// `w.div_ceil(2)`.
    pub width: usize,
    pub height: usize,
}

/// Where the first sample of subsampled chroma lies, by direction: on the first pixel (cosited), or in the middle of
/// the pixels it stands for. Without effect on components that are not subsampled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChromaSite {
    pub horizontally_cosited: bool,
    pub vertically_cosited: bool,
}

impl ChromaSite {
    /// MPEG-2, H.264 and most video: cosited horizontally, centred vertically.
    pub const MPEG2: Self = Self { horizontally_cosited: true, vertically_cosited: false };
    /// JPEG and MPEG-1: centred both ways.
    pub const JPEG: Self = Self { horizontally_cosited: false, vertically_cosited: false };
    /// Cosited both ways.
    pub const COSITED: Self = Self { horizontally_cosited: true, vertically_cosited: true };
}

impl Default for ChromaSite {
    fn default() -> Self {
        Self::MPEG2
    }
}

/// A frame, as the sampler sees it.
#[derive(Clone, Copy, Debug)]
pub struct Picture<'a> {
    /// In pixels.
    pub width: usize,
    pub height: usize,
    /// R, G, B or Y, U, V; of grey only the first counts.
    pub components: [Component<'a>; 3],
    pub colour: Colour,
    pub chroma_site: ChromaSite,
}

/// Cuts crops out of pictures, for one size of network input. It keeps its tables from crop to crop, so that sampling
/// allocates nothing once it has run: one sampler per stream.
#[derive(Debug)]
pub struct Sampler {
    network: [usize; 2],
    scale: f64,
    columns: Axis,
    rows: Axis,
    plain: Tables<1>,
    resized: Tables<2>,
}

/// Scratch memory, for crops from the frame (1 pair of samples per axis) and from a resized frame (2 pairs).
#[derive(Debug)]
struct Tables<const PAIRS: usize> {
    /// For each group of components, its column pairs (in bytes of `blended`) and its row pairs.
    columns: [Vec<[Pair; PAIRS]>; 3],
    rows: [Vec<[Pair; PAIRS]>; 3],
    /// The source rows of one output row, blended.
    blended: Vec<i16>,
    /// One output row of each component.
    output: [Vec<i16>; 3],
}

impl<const PAIRS: usize> Default for Tables<PAIRS> {
    fn default() -> Self {
        let empty = || std::array::from_fn(|_| Vec::new());
        Self {
            columns: empty(),
            rows: empty(),
            blended: Vec::new(),
            output: std::array::from_fn(|_| Vec::new()),
        }
    }
}

impl Sampler {
    /// For network inputs of that many pixels. With an `inference_scale` below 1 a crop equals one from the frame
    /// resized by it first (as `cv2.resize` does, bilinear; sizes `round(w * scale)`, at least 1). It is held to
    /// 0.01..=1; NaN counts as 1.
    pub fn new(network_width: u32, network_height: u32, inference_scale: f64) -> Self {
        let scale = if inference_scale < 1.0 { inference_scale.max(0.01) } else { 1.0 };
        Self {
            network: [network_width as usize, network_height as usize],
            scale,
            columns: Axis::default(),
            rows: Axis::default(),
            plain: Tables::default(),
            resized: Tables::default(),
        }
    }

    /// Fills `out` (`H * W * 3` bytes, rows of RGB) with the crop, as `cv2.warpAffine` would from the frame converted
    /// to RGB: bilinear, without half-pixel offset, black outside the frame (mmpose
    /// `datasets/transforms/topdown_transforms.py` `TopdownAffine`).
    ///
    /// All black where there is nothing to take: no picture, a component whose data is too short for its size, a crop
    /// wholly outside the frame. Bytes of `out` beyond `H * W * 3` become 0 too; in one that is too short, the rows
    /// that fit are filled.
    pub fn sample(&mut self, picture: &Picture, crop: &Crop, out: &mut [u8]) {
        out.fill(0);
        let ((cx, cy), (width, height)) = (crop.centre(), crop.size());
        self.columns.plan(cx.into(), width.into(), self.network[0], picture.width, self.scale);
        self.rows.plan(cy.into(), height.into(), self.network[1], picture.height, self.scale);
        if self.columns.places.is_empty() || self.rows.places.is_empty() {
            return;
        }
        if self.scale < 1.0 {
            self.resized.fill(picture, &self.columns, &self.rows, self.network[0], out);
        } else {
            self.plain.fill(picture, &self.columns, &self.rows, self.network[0], out);
        }
    }
}

impl<const PAIRS: usize> Tables<PAIRS> {
    fn fill(&mut self, picture: &Picture, columns: &Axis, rows: &Axis, network_width: usize, out: &mut [u8]) {
        let (groups, slots) = group(picture);
        if !groups.iter().flatten().all(Group::is_whole) {
            return;
        }
        // Each group's tables. `firsts` are the first sample it uses, and how many bytes from there it blends.
        let mut firsts = [(0, 0); 3];
        for (i, group) in groups.iter().enumerate() {
            let Some(group) = group else { continue };
            let site = picture.chroma_site;
            let (across, down) = (picture.width.div_ceil(group.width), picture.height.div_ceil(group.height));
            let table = &mut self.columns[i];
            columns.pairs(across, site.horizontally_cosited, group.width, COLUMN_UNIT, table);
            rows.pairs(down, site.vertically_cosited, group.height, ROW_UNIT, &mut self.rows[i]);

            let used = || table.iter().flatten().map(|pair| pair.at as usize);
            let (first, last) = (used().min().unwrap_or(0), used().max().unwrap_or(0) + 1);
            for pair in table.iter_mut().flatten() {
                pair.at = ((pair.at as usize - first) * group.pixel_stride) as u32;
            }
            let bytes = |last: usize| (last - first) * group.pixel_stride + group.pixel_span();
            firsts[i] = (first, bytes(last.min(group.width - 1)));
            // A component one sample wide has no second sample for its pair: that one counts 0, but is read.
            if self.blended.len() < bytes(last) {
                self.blended.resize(bytes(last), 0);
            }
        }
        for row in &mut self.output {
            row.resize(columns.places.len(), 0);
        }

        let inside = columns.first * 3..(columns.first + columns.places.len()) * 3;
        let lines = out.chunks_exact_mut(network_width * 3).skip(rows.first);
        for (y, (line, place)) in lines.zip(&rows.places).enumerate() {
            let mut slot = 0;
            for (i, group) in groups.iter().enumerate() {
                let Some(group) = group else { continue };
                let (first, bytes) = firsts[i];
                group.blend(&self.rows[i][y], first, bytes, &mut self.blended);
                group.gather(&self.blended, &self.columns[i], &mut self.output[slot..slot + group.count]);
                slot += group.count;
            }
            let line = &mut line[inside.clone()];
            let Ok(components) = self.output.get_disjoint_mut(slots) else { return };
            colour::write_rgb(picture.colour, components.map(|row| &mut row[..]), line);
            shade(line, columns, place.coverage);
        }
    }
}

/// Darkens what lies only partly inside the frame.
fn shade(line: &mut [u8], columns: &Axis, row_coverage: u32) {
    let (pixels, _) = line.as_chunks_mut::<3>();
    let partly = |place: &&Place| place.coverage < FULL;
    let places = &columns.places;
    let (left, right) = if row_coverage < FULL {
        (places.len(), 0)
    } else {
        // In a whole row only the ends can be covered in part.
        let left = places.iter().take_while(partly).count();
        (left, places[left..].iter().rev().take_while(partly).count())
    };
    for x in (0..left).chain(places.len() - right..places.len()) {
        let coverage = places[x].coverage * row_coverage;
        pixels[x] =
            pixels[x].map(|value| ((u32::from(value) * coverage + FULL * FULL / 2) / (FULL * FULL)) as u8);
    }
}

/// The groups of a picture's components, in memory order, and for each component the place of its row among theirs.
fn group<'a>(picture: &Picture<'a>) -> ([Option<Group<'a>>; 3], [usize; 3]) {
    let alone = |component: &Component<'a>| Group {
        data: component.data,
        row_stride: component.row_stride,
        pixel_stride: component.pixel_stride,
        width: component.width,
        height: component.height,
        count: 1,
        apart: 0,
    };
    let [first, second, third] = &picture.components;
    if picture.colour == Colour::Gray {
        return ([Some(alone(first)), None, None], [0, 1, 2]);
    }
    if let Some((group, [a, b, c])) = together([first, second, third]) {
        return ([Some(group), None, None], [a, b, c]);
    }
    if let Some((group, [b, c])) = together([second, third]) {
        return ([Some(alone(first)), Some(group), None], [0, b + 1, c + 1]);
    }
    ([Some(alone(first)), Some(alone(second)), Some(alone(third))], [0, 1, 2])
}

/// One group of several components, and each one's place in it, if their samples lie in the same pixels at even
/// distances.
fn together<'a, const COUNT: usize>(
    components: [&Component<'a>; COUNT],
) -> Option<(Group<'a>, [usize; COUNT])> {
    let base = components.iter().min_by_key(|component| component.data.as_ptr().addr())?;
    let shape = |c: &Component| (c.row_stride, c.pixel_stride, c.width, c.height);
    if components.iter().any(|component| shape(component) != shape(base)) {
        return None;
    }
    let distances = components.map(|component| component.data.as_ptr().addr() - base.data.as_ptr().addr());
    let apart = distances.iter().copied().filter(|distance| *distance > 0).min()?;
    let group = Group {
        data: base.data,
        row_stride: base.row_stride,
        pixel_stride: base.pixel_stride,
        width: base.width,
        height: base.height,
        count: COUNT,
        apart,
    };
    let mut places = [COUNT; COUNT];
    for (place, distance) in places.iter_mut().zip(distances) {
        *place = distance / apart;
        if distance % apart != 0 || *place >= COUNT {
            return None;
        }
    }
    let mut sorted = places;
    sorted.sort_unstable();
    let complete = sorted.iter().copied().eq(0..COUNT);
    // Reading only through the first component's data makes this right even if the addresses are neighbours by chance.
    (complete && group.pixel_span() <= group.pixel_stride && group.is_whole()).then_some((group, places))
}
