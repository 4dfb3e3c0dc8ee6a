//! Rows of a crop by NEON, for the layouts of GStreamer's formats; the results are those of `scalar.rs` and `colour.rs` bit
//! for bit.
//!
//! Sixteen output columns at a time: their samples are loaded from the source rows, with loads that separate adjacent
//! components; looked up by table; and weighted by row, then by column, so that no intermediate row is stored. (Blending
//! whole rows first, as `scalar.rs` does, takes twice the instructions if a crop is made smaller.) Packed RGB is processed
//! pixel by pixel: all components of two neighbours are one load.
//!
//! All of the sampler's unsafe code is here: loads whose bounds are checked once a row, for all of them at once
//! (`Layout::load`, `pixel`), and loads and stores of whole vectors (`load`, `store`, `for_each_16`, `write_pixels`).

use super::super::{
    axis::{COLUMN_BITS, Pair, ROW_WEIGHT_BITS},
    colour::{Colour, LIMITED_BLACK, LIMITED_TO_FULL, MATRIX_BITS, ROW_BITS, YuvMatrix},
    group::Part,
};
use std::arch::aarch64::*;

/// From weighted samples to `ROW_BITS` fraction bits.
const SHIFT: i32 = (ROW_WEIGHT_BITS + COLUMN_BITS - ROW_BITS) as i32;
/// Output columns made at a time, and samples of a component in a vector.
const COLUMNS: usize = 16;
/// The largest `PAIRS`.
const PAIRS_MAX: usize = 2;

/// NEON, which every ARM64 CPU has.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Vectors(());

impl Vectors {
    pub fn detect() -> Option<Self> {
        Some(Self(()))
    }
}

/// Scratch memory and tables.
#[derive(Debug, Default)]
pub(in super::super) struct Rows<const PAIRS: usize> {
    groups: [Columns<PAIRS>; 3],
    /// One output row of the components, those of a group in memory order.
    output: Vec<Block>,
    /// One output row of packed RGB, in memory order; the fourth byte has no meaning.
    pixels: Vec<[i16; 4]>,
    /// One row of RGB, with room for whole vectors.
    line: Vec<u8>,
    /// Copies of source rows, if reading whole vectors would exceed the data.
    spare: [[Vec<u8>; 2]; PAIRS_MAX],
}

/// Sixteen columns of each component, with `ROW_BITS` fraction bits.
type Block = [[i16; COLUMNS]; 3];

/// How the output columns of one group are gathered from its source rows.
#[derive(Debug, Default)]
struct Columns<const PAIRS: usize> {
    /// How many loads have the samples of sixteen columns: 1, 2, 4, 8 or 16.
    loads: usize,
    steps: Vec<[Step; PAIRS]>,
    /// For packed RGB, which needs no steps.
    taps: Vec<[Taps; PAIRS]>,
    /// Bytes of a row that all loads together span.
    reach: usize,
}

/// How sixteen columns are made from one of their pairs of samples.
#[derive(Clone, Copy, Debug)]
#[repr(align(16))]
struct Step {
    /// For each column, which of the loaded samples is its left one; the right one follows it.
    left: [u8; COLUMNS],
    /// Weights of the left and the right samples.
    weights: [[i16; COLUMNS]; 2],
    /// The bytes of a row at which each load begins.
    at: [u32; COLUMNS],
}

impl Step {
    const EMPTY: Self = Self { left: [0; COLUMNS], weights: [[0; COLUMNS]; 2], at: [0; COLUMNS] };
}

/// How four pixels of packed RGB are made from one of their pairs: the bytes in a row at which each begins, and the weights
/// of the left and the right pixel of each, in turn.
#[derive(Clone, Copy, Debug)]
struct Taps {
    at: [u32; 4],
    weights: [i16; 8],
}

impl<const PAIRS: usize> Rows<PAIRS> {
    /// Prepares a crop; false if this code does not know the picture's layout.
    pub fn plan(&mut self, parts: &[Option<Part<PAIRS>>; 3], colour: Colour) -> bool {
        for (part, columns) in parts.iter().zip(&mut self.groups) {
            let Some(part) = part else { continue };
            match (part.group.count, part.group.pixel_stride, part.group.apart) {
                (1, 1 | 2, _) | (2, 2, 1) | (2, 4, 2) => columns.plan(part),
                (3, 3 | 4, 1) if colour.is_rgb() => columns.plan_pixels(part),
                _ => return false,
            }
            self.output.resize(part.columns.len().div_ceil(COLUMNS), [[0; COLUMNS]; 3]);
        }
        self.pixels.resize(self.output.len() * COLUMNS, [0; 4]);
        self.line.resize(self.output.len() * 3 * COLUMNS, 0);
        true
    }

    /// Fills `line` (RGB) with output row `y` of the crop that `plan` prepared.
    pub fn draw(
        &mut self,
        _: Vectors,
        parts: &[Option<Part<PAIRS>>; 3],
        y: usize,
        colour: Colour,
        line: &mut [u8],
    ) {
        let mut places = [0, 1, 2];
        for (part, columns) in parts.iter().zip(&self.groups) {
            let Some(part) = part else { continue };
            let group = &part.group;
            let sources = columns.sources(part, y, &mut self.spare);
            let out = &mut self.output[..];
            match (group.count, group.pixel_stride) {
                (1, 1) => sources.gather::<Alone, 1>(group.component, out),
                (1, _) => sources.gather::<EverySecond, 1>(group.component, out),
                (2, 2) => sources.gather::<Two, 2>(group.component, out),
                (2, _) => sources.gather::<TwoOfFour, 2>(group.component, out),
                (_, 3) => sources.gather_pixels::<3>(&mut self.pixels),
                _ => sources.gather_pixels::<4>(&mut self.pixels),
            }
            for (place, of_group) in places[group.component..].iter_mut().zip(&group.places[..group.count]) {
                *place = group.component + of_group;
            }
        }
        let whole = line.len().is_multiple_of(3 * COLUMNS);
        let target = if whole { &mut *line } else { &mut self.line };
        match colour {
            Colour::Yuv(matrix) => write_yuv(&matrix, &self.output, places, target),
            Colour::Gray => write_rgb::<false>(&self.output, [0; 3], target),
            Colour::Rgb if parts[1].is_none() => write_pixels::<false>(&self.pixels, places, target),
            Colour::LimitedRgb if parts[1].is_none() => write_pixels::<true>(&self.pixels, places, target),
            Colour::Rgb => write_rgb::<false>(&self.output, places, target),
            Colour::LimitedRgb => write_rgb::<true>(&self.output, places, target),
        }
        if !whole {
            line.copy_from_slice(&self.line[..line.len()]);
        }
    }
}

impl<const PAIRS: usize> Columns<PAIRS> {
    /// Makes the table.
    fn plan(&mut self, part: &Part<PAIRS>) {
        let stride = part.group.pixel_stride;
        // In samples of a component.
        let at = |column: &[Pair; PAIRS], pair: usize| column[pair].at as usize / stride;
        // A load serves as many columns as find both their samples in it.
        let fits = |loads: usize| {
            part.columns.chunks(COLUMNS / loads).all(|columns| {
                (0..PAIRS).all(|pair| {
                    let (first, last) = ends(columns, |column| at(column, pair));
                    last - first + 2 <= COLUMNS
                })
            })
        };
        self.loads = [1, 2, 4, 8].into_iter().find(|loads| fits(*loads)).unwrap_or(COLUMNS);
        let per_load = COLUMNS / self.loads;

        self.steps.clear();
        self.steps.resize(part.columns.len().div_ceil(COLUMNS), [Step::EMPTY; PAIRS]);
        self.reach = 0;
        for (steps, columns) in self.steps.iter_mut().zip(part.columns.chunks(COLUMNS)) {
            for (pair, step) in steps.iter_mut().enumerate() {
                for (load, columns) in columns.chunks(per_load).enumerate() {
                    let (first, _) = ends(columns, |column| at(column, pair));
                    step.at[load] = (first * stride) as u32;
                    for (x, column) in (load * per_load..).zip(columns) {
                        step.left[x] = (load * COLUMNS + at(column, pair) - first) as u8;
                        [step.weights[0][x], step.weights[1][x]] = column[pair].weights;
                    }
                }
                let last = step.at.iter().fold(0, |last, at| last.max(*at));
                self.reach = self.reach.max(last as usize + COLUMNS * stride);
            }
        }
    }

    /// Makes the table of packed RGB.
    fn plan_pixels(&mut self, part: &Part<PAIRS>) {
        self.taps.clear();
        self.taps.extend(part.columns.chunks(4).map(|columns| {
            std::array::from_fn(|pair| {
                let mut taps = Taps { at: [0; 4], weights: [0; 8] };
                for (i, column) in columns.iter().enumerate() {
                    taps.at[i] = column[pair].at;
                    taps.weights[2 * i..][..2].copy_from_slice(&column[pair].weights);
                }
                taps
            })
        }));
        let last = self.taps.as_flattened().iter().flat_map(|taps| taps.at).fold(0, u32::max);
        self.reach = last as usize + 8;
    }

    /// The source rows of output row `y`, as far as loads span.
    fn sources<'a>(
        &'a self,
        part: &Part<'a, PAIRS>,
        y: usize,
        spare: &'a mut [[Vec<u8>; 2]; PAIRS_MAX],
    ) -> Sources<'a, PAIRS> {
        let mut rows: [[&[u8]; 2]; PAIRS] = [[&[]; 2]; PAIRS];
        let mut weights = [[0; 2]; PAIRS];
        let all = rows.iter_mut().zip(&mut weights).zip(&part.rows[y]).zip(spare);
        for (((rows, weights), pair), spare) in all {
            // A row's weights add up to 128 at most.
            *weights = pair.weights.map(|weight| weight as u8);
            for ((row, at), spare) in rows.iter_mut().zip([pair.at, pair.at + 1]).zip(spare) {
                let start = (at as usize).min(part.group.height - 1) * part.group.row_stride + part.start;
                let data = part.group.data.get(start..).unwrap_or_default();
                *row = data.get(..self.reach).unwrap_or_else(|| {
                    spare.clear();
                    spare.extend_from_slice(&data[..part.len.min(data.len())]);
                    spare.resize(self.reach, 0);
                    spare
                });
            }
        }
        Sources { columns: self, rows, weights }
    }
}

fn ends<T>(of: &[T], value: impl Fn(&T) -> usize) -> (usize, usize) {
    of.iter().map(value).fold((usize::MAX, 0), |(first, last), value| (first.min(value), last.max(value)))
}

/// Where the samples of a group's components are in a row.
trait Layout<const COUNT: usize> {
    /// Bytes from a sample to the next.
    const STRIDE: usize;

    /// Sixteen samples of each component.
    ///
    /// # Safety
    /// `16 * STRIDE` bytes can be read from there.
    unsafe fn load(at: *const u8) -> [uint8x16_t; COUNT];
}

/// `layout!(Name, STRIDE, load, the components' places)`
macro_rules! layout {
    ($name:ident, $stride:literal, $load:ident, $count:literal, $($place:tt),+) => {
        struct $name;
        impl Layout<$count> for $name {
            const STRIDE: usize = $stride;
            #[inline]
            #[target_feature(enable = "neon")]
            unsafe fn load(at: *const u8) -> [uint8x16_t; $count] {
                // SAFETY: it reads 16 times the stride, which the caller says can be read.
                let all = unsafe { $load(at) };
                [$(all.$place),+]
            }
        }
    };
}
layout!(EverySecond, 2, vld2q_u8, 1, 0);
layout!(Two, 2, vld2q_u8, 2, 0, 1);
layout!(TwoOfFour, 4, vld4q_u8, 2, 0, 2);

struct Alone;
impl Layout<1> for Alone {
    const STRIDE: usize = 1;
    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn load(at: *const u8) -> [uint8x16_t; 1] {
        // SAFETY: the caller says that 16 bytes can be read.
        [unsafe { vld1q_u8(at) }]
    }
}

/// The source rows of one output row, each as long as the loads of `columns` span: only `Columns::sources` makes them.
#[derive(Clone, Copy)]
struct Sources<'a, const PAIRS: usize> {
    columns: &'a Columns<PAIRS>,
    rows: [[&'a [u8]; 2]; PAIRS],
    weights: [[u8; 2]; PAIRS],
}

/// The samples of one component for sixteen columns, eight to a vector.
type Samples = [int16x8_t; 2];

impl<const PAIRS: usize> Sources<'_, PAIRS> {
    /// The output rows of a group's components, the first of which is that number `component` of the picture.
    fn gather<L: Layout<COUNT>, const COUNT: usize>(self, component: usize, out: &mut [Block]) {
        // SAFETY: every CPU of ARM64 has NEON.
        unsafe {
            match self.columns.loads {
                1 => self.gather_by::<L, COUNT, 1>(component, out),
                2 => self.gather_by::<L, COUNT, 2>(component, out),
                4 => self.gather_by::<L, COUNT, 4>(component, out),
                8 => self.gather_by::<L, COUNT, 8>(component, out),
                _ => self.gather_by::<L, COUNT, 16>(component, out),
            }
        }
    }

    /// The output row of packed RGB with that many bytes a pixel.
    fn gather_pixels<const STRIDE: usize>(self, out: &mut [[i16; 4]]) {
        // SAFETY: every CPU of ARM64 has NEON.
        unsafe { self.pixels::<STRIDE>(out) }
    }

    #[inline(never)]
    #[target_feature(enable = "neon")]
    fn pixels<const STRIDE: usize>(self, out: &mut [[i16; 4]]) {
        assert!(self.rows.as_flattened().iter().all(|row| self.columns.reach <= row.len()));
        for (taps, out) in self.columns.taps.iter().zip(out.as_chunks_mut().0) {
            let [first, second, third, fourth] = out;
            self.pixel::<STRIDE, 0, 0, 1>(taps, first);
            self.pixel::<STRIDE, 1, 2, 3>(taps, second);
            self.pixel::<STRIDE, 2, 4, 5>(taps, third);
            self.pixel::<STRIDE, 3, 6, 7>(taps, fourth);
        }
    }

    /// One pixel, whose weights are those two.
    #[inline]
    #[target_feature(enable = "neon")]
    fn pixel<const STRIDE: usize, const PIXEL: usize, const LEFT: i32, const RIGHT: i32>(
        self,
        taps: &[Taps; PAIRS],
        out: &mut [i16; 4],
    ) {
        let mut sums = vdupq_n_s32(0);
        for Taps { at, weights } in taps {
            // SAFETY: of a `Taps`, which is as long.
            let weights = unsafe { vld1q_s16(weights.as_ptr()) };
            let mut blended = vdupq_n_u16(0);
            for (row, weight) in self.rows.as_flattened().iter().zip(self.weights.as_flattened()) {
                // SAFETY: eight bytes from any `at` on lie within `Columns::reach`, that within the row (`pixels` saw to it).
                let both = unsafe { vld1_u8(row.as_ptr().add(at[PIXEL] as usize)) };
                blended = vmlal_u8(blended, both, vdup_n_u8(*weight));
            }
            let blended = vreinterpretq_s16_u16(blended);
            sums = vmlal_laneq_s16::<LEFT>(sums, vget_low_s16(blended), weights);
            sums = if STRIDE == 3 {
                let right = vextq_s16::<3>(blended, blended);
                vmlal_laneq_s16::<RIGHT>(sums, vget_low_s16(right), weights)
            } else {
                vmlal_high_laneq_s16::<RIGHT>(sums, blended, weights)
            };
        }
        // SAFETY: a vector of four.
        unsafe { vst1_s16(out.as_mut_ptr(), vrshrn_n_s32::<SHIFT>(sums)) };
    }

    // Not inlined: otherwise all callees would share the registers of one function.
    #[inline(never)]
    #[target_feature(enable = "neon")]
    fn gather_by<L: Layout<COUNT>, const COUNT: usize, const LOADS: usize>(
        self,
        component: usize,
        out: &mut [Block],
    ) {
        assert!(self.rows.as_flattened().iter().all(|row| self.columns.reach <= row.len()));
        for (steps, out) in self.columns.steps.iter().zip(out) {
            let samples = self.columns_of::<L, COUNT, LOADS>(steps);
            for (out, samples) in out[component..].iter_mut().zip(samples) {
                store(out, samples);
            }
        }
    }

    /// Sixteen columns of each component, with `ROW_BITS` fraction bits.
    #[inline]
    #[target_feature(enable = "neon")]
    fn columns_of<L: Layout<COUNT>, const COUNT: usize, const LOADS: usize>(
        self,
        steps: &[Step; PAIRS],
    ) -> [Samples; COUNT] {
        let mut sums = [[vdupq_n_s32(0); 4]; COUNT];
        for step in steps {
            // SAFETY: of a `Step`, which is as long.
            let left = unsafe { vld1q_u8(step.left.as_ptr()) };
            let right = vaddq_u8(left, vdupq_n_u8(1));
            let [left_weights, right_weights] = [load(&step.weights[0]), load(&step.weights[1])];
            // The rows, weighted and added.
            let mut blended = [[[vdupq_n_u16(0); 2]; 2]; COUNT];
            for (row, weight) in self.rows.as_flattened().iter().zip(self.weights.as_flattened()) {
                let loaded: [_; LOADS] = std::array::from_fn(|load| {
                    let at = step.at[load] as usize;
                    debug_assert!(at + COLUMNS * L::STRIDE <= row.len());
                    // SAFETY: from any step's `at` on, 16 samples lie within `Columns::reach`, that within the row
                    // (`gather_by` saw to it).
                    unsafe { L::load(row.as_ptr().add(at)) }
                });
                let weight = vdupq_n_u8(*weight);
                for (component, blended) in blended.iter_mut().enumerate() {
                    let loaded = loaded.map(|components| components[component]);
                    for ([low, high], places) in blended.iter_mut().zip([left, right]) {
                        let samples = look_up(&loaded, places);
                        *low = vmlal_u8(*low, vget_low_u8(samples), vget_low_u8(weight));
                        *high = vmlal_high_u8(*high, samples, weight);
                    }
                }
            }
            for (sums, [left, right]) in sums.iter_mut().zip(blended) {
                for (samples, weights) in [(left, left_weights), (right, right_weights)] {
                    for half in 0..2 {
                        let samples = vreinterpretq_s16_u16(samples[half]);
                        let weights = weights[half];
                        let [low, high] = [2 * half, 2 * half + 1];
                        sums[low] = vmlal_s16(sums[low], vget_low_s16(samples), vget_low_s16(weights));
                        sums[high] = vmlal_high_s16(sums[high], samples, weights);
                    }
                }
            }
        }
        sums.map(|[a, b, c, d]| {
            let narrow = |low, high| vrshrn_high_n_s32::<SHIFT>(vrshrn_n_s32::<SHIFT>(low), high);
            [narrow(a, b), narrow(c, d)]
        })
    }
}

/// The samples at these places of all that are loaded.
#[inline]
#[target_feature(enable = "neon")]
fn look_up<const LOADS: usize>(loaded: &[uint8x16_t; LOADS], places: uint8x16_t) -> uint8x16_t {
    match loaded.as_slice() {
        [a] => vqtbl1q_u8(*a, places),
        [a, b] => vqtbl2q_u8(uint8x16x2_t(*a, *b), places),
        // Places outside four vectors become 0, or are left unchanged.
        all => all.as_chunks().0.iter().enumerate().fold(vdupq_n_u8(0), |found, (nth, [a, b, c, d])| {
            let four = uint8x16x4_t(*a, *b, *c, *d);
            vqtbx4q_u8(found, four, vsubq_u8(places, vdupq_n_u8(64 * nth as u8)))
        }),
    }
}

#[inline]
#[target_feature(enable = "neon")]
fn load(samples: &[i16; COLUMNS]) -> Samples {
    // SAFETY: two vectors of eight.
    unsafe { [vld1q_s16(samples.as_ptr()), vld1q_s16(samples.as_ptr().add(8))] }
}

#[inline]
#[target_feature(enable = "neon")]
fn store(to: &mut [i16; COLUMNS], [first, second]: Samples) {
    // SAFETY: two vectors of eight.
    unsafe {
        vst1q_s16(to.as_mut_ptr(), first);
        vst1q_s16(to.as_mut_ptr().add(8), second);
    }
}

/// A row of RGB from rows of Y, U and V at these places of `blocks`.
fn write_yuv(matrix: &YuvMatrix, blocks: &[Block], places: [usize; 3], line: &mut [u8]) {
    // SAFETY: every CPU of ARM64 has NEON.
    unsafe {
        for_each_16(blocks, places, line, |[y, u, v]| {
            let (black, middle) = (vdupq_n_s16(matrix.black << ROW_BITS), vdupq_n_s16(128 << ROW_BITS));
            let [y, u, v] = [sub(y, black), sub(u, middle), sub(v, middle)];
            let y = add([vdupq_n_s32(0); 4], y, matrix.y);
            let g = add(add(y, u, matrix.u_to_g), v, matrix.v_to_g);
            [levels(add(y, v, matrix.v_to_r)), levels(g), levels(add(y, u, matrix.u_to_b))]
        });
    }
}

/// A row of RGB from rows of R, G and B at these places of `blocks`.
fn write_rgb<const LIMITED: bool>(blocks: &[Block], places: [usize; 3], line: &mut [u8]) {
    // SAFETY: every CPU of ARM64 has NEON.
    unsafe {
        for_each_16(blocks, places, line, |[r, g, b]| {
            [full::<LIMITED>(r), full::<LIMITED>(g), full::<LIMITED>(b)]
        });
    }
}

/// A row of RGB from pixels whose components are at these places.
fn write_pixels<const LIMITED: bool>(pixels: &[[i16; 4]], places: [usize; 3], line: &mut [u8]) {
    // SAFETY: every CPU of ARM64 has NEON.
    unsafe { write_pixels_16::<LIMITED>(pixels, places, line) }
}

#[target_feature(enable = "neon")]
fn write_pixels_16<const LIMITED: bool>(pixels: &[[i16; 4]], places: [usize; 3], line: &mut [u8]) {
    let blocks = pixels.as_chunks::<COLUMNS>().0.iter();
    for (pixels, line) in blocks.zip(line.as_chunks_mut::<{ 3 * COLUMNS }>().0) {
        // SAFETY: twice eight pixels of four.
        let (a, b) = unsafe { (vld4q_s16(pixels.as_ptr().cast()), vld4q_s16(pixels.as_ptr().add(8).cast())) };
        let bytes = [
            bytes(full::<LIMITED>([a.0, b.0])),
            bytes(full::<LIMITED>([a.1, b.1])),
            bytes(full::<LIMITED>([a.2, b.2])),
        ];
        let [r, g, b] = places;
        // SAFETY: three vectors of sixteen bytes.
        unsafe { vst3q_u8(line.as_mut_ptr(), uint8x16x3_t(bytes[r], bytes[g], bytes[b])) };
    }
}

/// Samples in full range; values of limited range beyond black and white stay beyond.
#[inline]
#[target_feature(enable = "neon")]
fn full<const LIMITED: bool>(samples: Samples) -> Samples {
    if !LIMITED {
        return samples;
    }
    let above_black = sub(samples, vdupq_n_s16(LIMITED_BLACK << ROW_BITS));
    levels(add([vdupq_n_s32(0); 4], above_black, LIMITED_TO_FULL))
}

/// Rounded, and limited to 0..=255.
#[inline]
#[target_feature(enable = "neon")]
fn bytes([low, high]: Samples) -> uint8x16_t {
    const BITS: i32 = ROW_BITS as i32;
    vqrshrun_high_n_s16::<BITS>(vqrshrun_n_s16::<BITS>(low), high)
}

#[inline]
#[target_feature(enable = "neon")]
fn sub([first, second]: Samples, from_each: int16x8_t) -> Samples {
    [vsubq_s16(first, from_each), vsubq_s16(second, from_each)]
}

/// Products of samples and a factor, added to sums.
#[inline]
#[target_feature(enable = "neon")]
fn add([a, b, c, d]: [int32x4_t; 4], [first, second]: Samples, factor: i16) -> [int32x4_t; 4] {
    [
        vmlal_n_s16(a, vget_low_s16(first), factor),
        vmlal_high_n_s16(b, first, factor),
        vmlal_n_s16(c, vget_low_s16(second), factor),
        vmlal_high_n_s16(d, second, factor),
    ]
}

/// Levels with `ROW_BITS` fraction bits, as far as i16 allows, from sums with `MATRIX_BITS` more.
#[inline]
#[target_feature(enable = "neon")]
fn levels([a, b, c, d]: [int32x4_t; 4]) -> Samples {
    const BITS: i32 = MATRIX_BITS as i32;
    let level = |low, high| vqshrn_high_n_s32::<BITS>(vqshrn_n_s32::<BITS>(low), high);
    [level(a, b), level(c, d)]
}

/// Writes a row of RGB, sixteen pixels at a time, as `rgb` makes it from the values at these places.
#[inline]
#[target_feature(enable = "neon")]
fn for_each_16(
    blocks: &[Block],
    places: [usize; 3],
    line: &mut [u8],
    rgb: impl Fn([Samples; 3]) -> [Samples; 3],
) {
    let [first, second, third] = places;
    assert!(first < 3 && second < 3 && third < 3);
    for (block, line) in blocks.iter().zip(line.as_chunks_mut::<{ 3 * COLUMNS }>().0) {
        let [r, g, b] = rgb([load(&block[first]), load(&block[second]), load(&block[third])]);
        // SAFETY: three vectors of sixteen bytes.
        unsafe { vst3q_u8(line.as_mut_ptr(), uint8x16x3_t(bytes(r), bytes(g), bytes(b))) };
    }
}
