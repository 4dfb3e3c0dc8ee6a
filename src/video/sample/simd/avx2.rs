//! Rows of a crop by AVX2, for the layouts of GStreamer's formats; the results are those of `scalar.rs` and `colour.rs` bit
//! for bit.
//!
//! An output row lies between two source rows. Where most of their samples are taken, both are blended first, and the columns are
//! picked from the blended row. Where a frame is made smaller, the columns are picked from both rows and blended then.
//!
//! All of the sampler's unsafe code is here, in four places: the call into code for AVX2 (`Rows::draw`), loads and stores
//! whose bounds a slice checks (`read`, `write`), and loads whose bounds are checked once a row, for all of them at once
//! (`Picker::pick`, `Picker::pick_bytes`; checking each made a crop 15 to 35 % slower).

use super::super::{
    axis::{COLUMN_BITS, Pair, ROW_WEIGHT_BITS},
    colour::{Colour, LIMITED_BLACK, LIMITED_TO_FULL, MATRIX_BITS, ROW_BITS, YuvMatrix},
    group::Part,
};
use std::arch::x86_64::*;

/// From weighted samples to `ROW_BITS` fraction bits.
const SHIFT: i32 = (ROW_WEIGHT_BITS + COLUMN_BITS - ROW_BITS) as i32;
/// Zero, in a mask for `_mm256_shuffle_epi8`.
const NONE: u8 = 0x80;
/// Instead of a number of loads: two of 16 bytes from each of the two source rows, which were not blended before.
const FROM_ROWS: usize = 0;
/// From so many halves of a source sample for each output sample on, what is blended before is mostly not taken.
const MOSTLY_LEFT_OUT: usize = 3;

/// Proof that the CPU has AVX2: only `detect` makes one.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Vectors(());

impl Vectors {
    pub fn detect() -> Option<Self> {
        is_x86_feature_detected!("avx2").then_some(Self(()))
    }
}

/// Scratch memory and tables.
#[derive(Debug, Default)]
pub(in super::super) struct Rows<const PAIRS: usize> {
    groups: [Columns<PAIRS>; 3],
    /// One output row of each component.
    output: [Vec<i16>; 3],
    /// One row of RGB, with room for whole vectors.
    line: Vec<u8>,
    /// Copies of source rows, if reading whole vectors would exceed the data.
    spare: [[Vec<u8>; 2]; PAIRS_MAX],
}

/// The largest `PAIRS`.
const PAIRS_MAX: usize = 2;

/// How the output columns of one group are gathered from its source rows.
#[derive(Debug, Default)]
struct Columns<const PAIRS: usize> {
    /// 1, or 2 if only every second byte of the source belongs to the group: the others are left out of `blended`.
    squeeze: usize,
    /// How many loads fill a vector: 2 (of 8 samples), 4 (of 4) or 8 (of 2); or `FROM_ROWS`.
    loads: usize,
    steps: Steps<PAIRS>,
    /// The source rows of one output row, blended.
    blended: Vec<i16>,
}

/// How one vector of eight sums is made: samples are loaded, sorted into pairs, weighted and added.
#[derive(Clone, Copy, Debug)]
#[repr(align(32))]
struct Step {
    mask: [u8; 32],
    weights: [i16; 16],
    /// Where in the row each load begins.
    at: [u32; 8],
}

impl Step {
    const EMPTY: Self = Self { mask: [NONE; 32], weights: [0; 16], at: [0; 8] };
}

/// Steps, and how many samples of a blended row they span, or bytes of a source row.
#[derive(Debug, Default)]
struct Steps<const PAIRS: usize> {
    list: Vec<[Step; PAIRS]>,
    reach: usize,
}

impl<const PAIRS: usize> Rows<PAIRS> {
    /// Prepares a crop; false if this code does not know the picture's layout.
    pub fn plan(&mut self, parts: &[Option<Part<PAIRS>>; 3], colour: Colour) -> bool {
        let mut width = 0;
        for (part, columns) in parts.iter().zip(&mut self.groups) {
            let Some(part) = part else { continue };
            if part.group.count == 3 && !colour.is_rgb() || !columns.plan(part) {
                return false;
            }
            width = part.columns.len().next_multiple_of(16);
        }
        self.output.iter_mut().for_each(|row| row.resize(width, 0));
        self.line.resize(width * 3, 0);
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
        // SAFETY: there are `Vectors`, so the CPU has AVX2.
        unsafe { self.draw_row(parts, y, colour, line) }
    }

    #[target_feature(enable = "avx2")]
    fn draw_row(&mut self, parts: &[Option<Part<PAIRS>>; 3], y: usize, colour: Colour, line: &mut [u8]) {
        // Vectors make 16 pixels of RGB.
        let whole = line.len().is_multiple_of(48);
        let target = if whole { &mut *line } else { &mut self.line };
        for (part, columns) in parts.iter().zip(&mut self.groups) {
            let Some(part) = part else { continue };
            let loads = columns.loads;
            let picker = columns.picker(part, y, &mut self.spare);
            let is_limited = colour == Colour::LimitedRgb;
            match (&mut self.output[part.group.component..], loads) {
                (_, FROM_ROWS) if part.group.count == 3 => picker.packed_rgb::<FROM_ROWS>(is_limited, target),
                _ if part.group.count == 3 => picker.packed_rgb::<2>(is_limited, target),
                ([u, v, ..], FROM_ROWS) if part.group.count == 2 => picker.two::<FROM_ROWS>(u, v),
                ([u, v, ..], 2) if part.group.count == 2 => picker.two::<2>(u, v),
                ([u, v, ..], _) if part.group.count == 2 => picker.two::<4>(u, v),
                ([row, ..], FROM_ROWS) => picker.one::<FROM_ROWS>(row),
                ([row, ..], 2) => picker.one::<2>(row),
                ([row, ..], 4) => picker.one::<4>(row),
                ([row, ..], _) => picker.one::<8>(row),
                ([], _) => {}
            }
        }
        let [first, second, third] = &self.output;
        match colour {
            Colour::Yuv(matrix) => write_yuv(&matrix, [first, second, third], target),
            Colour::Gray => write_rgb::<false>([first, first, first], target),
            // Those that lie together are written.
            Colour::Rgb | Colour::LimitedRgb if parts[1].is_none() => {}
            Colour::Rgb => write_rgb::<false>([first, second, third], target),
            Colour::LimitedRgb => write_rgb::<true>([first, second, third], target),
        }
        if !whole {
            line.copy_from_slice(&self.line[..line.len()]);
        }
    }
}

impl<const PAIRS: usize> Columns<PAIRS> {
    /// Makes the table; false for an unknown layout.
    fn plan(&mut self, part: &Part<PAIRS>) -> bool {
        match (part.group.count, part.group.pixel_stride, part.group.apart) {
            (1, squeeze @ 1..=2, _) => self.plan_for::<1>(part, squeeze),
            (2, 2, 1) => self.plan_for::<2>(part, 1),
            (2, 4, 2) => self.plan_for::<2>(part, 2),
            (3, 3 | 4, 1) => self.plan_for::<3>(part, 1),
            _ => return false,
        }
        true
    }

    fn plan_for<const COUNT: usize>(&mut self, part: &Part<PAIRS>, squeeze: usize) {
        // Output columns whose sums one half of a vector makes, and vectors that make complete rows of output: the first
        // halves of all of them make the first columns, so that packing them leaves the columns in order.
        let (half, vectors) = const { if COUNT == 1 { (4, 2) } else { (4 / COUNT, 4) } };
        // A load serves as many columns as find their samples in it.
        let fits =
            |per_load: usize, samples: usize, at: &dyn Fn(&[Pair; PAIRS], usize) -> usize, span: usize| {
                let mut all = part.columns.chunks(per_load);
                all.all(|columns| {
                    (0..PAIRS).all(|pair| {
                        let (first, last) = ends(columns, |column| at(column, pair));
                        last - first + span <= samples
                    })
                })
            };
        let byte = |column: &[Pair; PAIRS], pair: usize| column[pair].at as usize;
        let span = part.group.pixel_stride + part.group.pixel_span();
        let is_made_smaller = part.len * 2 / squeeze >= MOSTLY_LEFT_OUT * part.columns.len() * COUNT;
        if PAIRS == 1 && is_made_smaller && fits(half, 16, &byte, span) {
            return self.plan_from_rows::<COUNT>(part, half, vectors);
        }
        let stride = part.group.pixel_stride / squeeze;
        let at = |column: &[Pair; PAIRS], pair: usize| column[pair].at as usize >> (squeeze - 1);
        let of = |loads: usize| ((half * 2 / loads).max(1), 16 / loads);
        let fit = |loads: &usize| fits(of(*loads).0, of(*loads).1, &at, stride + COUNT);
        let loads = [2, 4].into_iter().find(fit).unwrap_or(8);
        let (per_load, samples) = of(loads);

        // Groups have the sums for as many columns as each other.
        let width = part.columns.len().next_multiple_of(16);
        let mut steps = std::mem::take(&mut self.steps).list;
        steps.clear();
        steps.resize(width / (half * 2), [Step::EMPTY; PAIRS]);
        for (x, columns) in (0..).step_by(per_load).zip(part.columns.chunks(per_load)) {
            let (block, x) = (x / (half * vectors * 2), x % (half * vectors * 2));
            let (second_half, x) = (x / (half * vectors), x % (half * vectors));
            let (vector, x) = (x / half, x % half);
            let load = x / per_load;
            for (pair, step) in steps[block * vectors + vector].iter_mut().enumerate() {
                let (first, _) = ends(columns, |column| at(column, pair));
                step.at[second_half * (loads / 2) + load] = first as u32;
                for (x, column) in (x..).zip(columns) {
                    let sample = load * samples + at(column, pair) - first;
                    for (k, place) in part.group.places[..COUNT].iter().enumerate() {
                        let sum = second_half * 4 + k * half + x;
                        let (left, right) = (2 * (sample + place) as u8, 2 * (sample + place + stride) as u8);
                        step.mask[sum * 4..][..4].copy_from_slice(&[left, left + 1, right, right + 1]);
                        step.weights[sum * 2..][..2].copy_from_slice(&column[pair].weights);
                    }
                }
            }
        }
        // No load takes more than 8 samples.
        self.steps = Steps::new(steps, 8);
        (self.squeeze, self.loads) = (squeeze, loads);
        self.blended.resize(part.len.next_multiple_of(32) / squeeze + 8, 0);
    }

    /// The table for rows that are not blended before: a half's columns are picked from 16 bytes of each row.
    fn plan_from_rows<const COUNT: usize>(&mut self, part: &Part<PAIRS>, half: usize, vectors: usize) {
        let Part { group, columns, .. } = part;
        let width = columns.len().next_multiple_of(16);
        let mut steps = std::mem::take(&mut self.steps).list;
        steps.clear();
        steps.resize(width / (half * 2), [Step::EMPTY; PAIRS]);
        for (number, columns) in columns.chunks(half).enumerate() {
            let (block, number) = (number / (vectors * 2), number % (vectors * 2));
            let (second_half, vector) = (number / vectors, number % vectors);
            let step = &mut steps[block * vectors + vector][0];
            let (first, _) = ends(columns, |column| column[0].at as usize);
            step.at[second_half] = first as u32;
            for (x, column) in columns.iter().enumerate() {
                let pair = column[0];
                for (k, place) in group.places[..COUNT].iter().enumerate() {
                    let sum = second_half * 4 + k * half + x;
                    let left = (pair.at as usize - first + place * group.apart) as u8;
                    let right = left + group.pixel_stride as u8;
                    // In between comes what the same mask takes of the lower row.
                    step.mask[sum * 4..][..4].copy_from_slice(&[left, NONE, right, NONE]);
                    step.weights[sum * 2..][..2].copy_from_slice(&pair.weights);
                }
            }
        }
        self.steps = Steps::new(steps, 16);
        self.loads = FROM_ROWS;
    }

    /// What the columns of output row `y` are picked from.
    #[target_feature(enable = "avx2")]
    fn picker<'a>(
        &'a mut self,
        part: &Part<'a, PAIRS>,
        y: usize,
        spare: &'a mut [[Vec<u8>; 2]; PAIRS_MAX],
    ) -> Picker<'a, PAIRS> {
        let is_blended = self.loads != FROM_ROWS;
        let len =
            if is_blended { part.len.next_multiple_of(32) } else { self.steps.reach.next_multiple_of(32) };
        let mut weights = [0; PAIRS];
        let mut rows: [[&[[u8; 32]]; 2]; PAIRS] = [[&[]; 2]; PAIRS];
        let all = rows.iter_mut().zip(&mut weights).zip(&part.rows[y]).zip(spare);
        for (((rows, weights), pair), spare) in all {
            let (mut at, mut shares) = ([pair.at, pair.at + 1], pair.weights);
            // The whole weight does not fit into i8.
            if let Some(whole) = shares.iter().position(|share| *share == 1 << ROW_WEIGHT_BITS) {
                (at, shares) = ([at[whole]; 2], [1 << (ROW_WEIGHT_BITS - 1); 2]);
            }
            *weights = shares[0] | shares[1] << 8;
            for ((row, at), spare) in rows.iter_mut().zip(at).zip(spare) {
                let start = (at as usize).min(part.group.height - 1) * part.group.row_stride + part.start;
                let data = part.group.data.get(start..).unwrap_or_default();
                let bytes = data.get(..len).unwrap_or_else(|| {
                    spare.clear();
                    spare.extend_from_slice(&data[..part.len.min(data.len())]);
                    spare.resize(len, 0);
                    spare
                });
                *row = bytes.as_chunks().0;
            }
        }
        if !is_blended {
            return self.steps.over_rows(rows[0], weights[0]);
        }
        if self.squeeze == 1 {
            blend(&rows, &weights, &mut self.blended);
        } else {
            blend_every_second(&rows, &weights, &mut self.blended);
        }
        self.steps.over(&self.blended)
    }
}

fn ends<T>(of: &[T], value: impl Fn(&T) -> usize) -> (usize, usize) {
    of.iter().map(value).fold((usize::MAX, 0), |(first, last), value| (first.min(value), last.max(value)))
}

/// Plain bits.
///
/// # Safety
/// Any bits are a value of the type, and it has no padding.
unsafe trait Plain: Copy {}
// SAFETY: integers, and vectors of them, have these properties.
unsafe impl Plain for u8 {}
unsafe impl Plain for i16 {}
unsafe impl Plain for i32 {}
unsafe impl Plain for i64 {}
unsafe impl Plain for __m128i {}
unsafe impl Plain for __m256i {}

/// The elements from `at` on as one `T`.
#[inline(always)]
fn read<T: Plain, E: Plain>(from: &[E], at: usize) -> T {
    let from = &from[at..][..size_of::<T>() / size_of::<E>()];
    // SAFETY: the slice is as long as a T, and any bits are a T.
    unsafe { from.as_ptr().cast::<T>().read_unaligned() }
}

/// Writes over the elements from `at` on.
#[inline(always)]
fn write<T: Plain, E: Plain>(to: &mut [E], at: usize, value: T) {
    let to = &mut to[at..][..size_of::<T>() / size_of::<E>()];
    // SAFETY: the slice is as long as a T, and any bits are elements.
    unsafe { to.as_mut_ptr().cast::<T>().write_unaligned(value) }
}

/// Weights and adds the rows: 32 bytes of each become 32 samples.
#[target_feature(enable = "avx2")]
fn blend<const PAIRS: usize>(rows: &[[&[[u8; 32]]; 2]; PAIRS], weights: &[i16; PAIRS], out: &mut [i16]) {
    for (i, out) in out.as_chunks_mut::<32>().0.iter_mut().enumerate() {
        let (mut low, mut high) = (_mm256_setzero_si256(), _mm256_setzero_si256());
        for ([upper, lower], weights) in rows.iter().zip(weights) {
            let (upper, lower, weights) =
                (read(&upper[i], 0), read(&lower[i], 0), _mm256_set1_epi16(*weights));
            let weigh = |bytes| _mm256_maddubs_epi16(bytes, weights);
            low = _mm256_add_epi16(low, weigh(_mm256_unpacklo_epi8(upper, lower)));
            high = _mm256_add_epi16(high, weigh(_mm256_unpackhi_epi8(upper, lower)));
        }
        write(out, 0, _mm256_permute2x128_si256::<0x20>(low, high));
        write(out, 16, _mm256_permute2x128_si256::<0x31>(low, high));
    }
}

/// Weights and adds the rows: every second of 32 bytes of each becomes one of 16 samples.
#[target_feature(enable = "avx2")]
fn blend_every_second<const PAIRS: usize>(
    rows: &[[&[[u8; 32]]; 2]; PAIRS],
    weights: &[i16; PAIRS],
    out: &mut [i16],
) {
    let even = _mm256_set1_epi16(0xFF);
    for (i, out) in out.as_chunks_mut::<16>().0.iter_mut().enumerate() {
        let mut sum = _mm256_setzero_si256();
        for ([upper, lower], weights) in rows.iter().zip(weights) {
            let (upper, lower) = (read(&upper[i], 0), read(&lower[i], 0));
            let both = _mm256_or_si256(_mm256_and_si256(upper, even), _mm256_slli_epi16::<8>(lower));
            sum = _mm256_add_epi16(sum, _mm256_maddubs_epi16(both, _mm256_set1_epi16(*weights)));
        }
        write(out, 0, sum);
    }
}

impl<const PAIRS: usize> Steps<PAIRS> {
    /// Of loads that take so many samples at most.
    fn new(list: Vec<[Step; PAIRS]>, most: usize) -> Self {
        let last = list.iter().flatten().flat_map(|step| step.at).fold(0, u32::max);
        Self { list, reach: last as usize + most }
    }

    fn over<'a>(&'a self, samples: &'a [i16]) -> Picker<'a, PAIRS> {
        assert!(self.reach <= samples.len());
        Picker { steps: &self.list, samples, rows: [&[]; 2], row_weights: 0 }
    }

    fn over_rows<'a>(&'a self, rows: [&'a [[u8; 32]]; 2], row_weights: i16) -> Picker<'a, PAIRS> {
        let rows = rows.map(<[_]>::as_flattened);
        assert!(rows.iter().all(|row| self.reach <= row.len()));
        Picker { steps: &self.list, samples: &[], rows, row_weights }
    }
}

/// Steps, and a row of samples or two rows of bytes as long as they span: only `Steps::over` and `Steps::over_rows` make one, and
/// loads are `FROM_ROWS` with one of the second.
#[derive(Clone, Copy)]
struct Picker<'a, const PAIRS: usize> {
    steps: &'a [[Step; PAIRS]],
    samples: &'a [i16],
    rows: [&'a [u8]; 2],
    /// Of the upper and the lower row, for `_mm256_maddubs_epi16`.
    row_weights: i16,
}

impl<const PAIRS: usize> Picker<'_, PAIRS> {
    /// The samples from `at` on, which is one of a step's.
    #[inline(always)]
    fn pick<T: Plain>(self, at: u32) -> T {
        const { assert!(size_of::<T>() <= size_of::<[i16; 8]>()) };
        debug_assert!(at as usize + 8 <= self.samples.len());
        // SAFETY: 8 samples from any step's `at` on lie within `Steps::reach`, that within `samples` (`Steps::over` saw to
        // it), a T is no longer than 8 samples, and any bits are one.
        unsafe { self.samples.as_ptr().add(at as usize).cast::<T>().read_unaligned() }
    }

    /// 16 bytes of a row from `at` on, which is one of a step's.
    #[inline(always)]
    fn pick_bytes(self, row: usize, at: u32) -> __m128i {
        debug_assert!(at as usize + 16 <= self.rows[row].len());
        // SAFETY: 16 bytes from any step's `at` on lie within `Steps::reach`, that within both rows (`Steps::over_rows` saw to
        // it), and any bits are a vector.
        unsafe { self.rows[row].as_ptr().add(at as usize).cast::<__m128i>().read_unaligned() }
    }

    /// The sums of one step, with `ROW_BITS` fraction bits.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn sums<const LOADS: usize>(self, step: usize) -> __m256i {
        let mut sum = _mm256_set1_epi32(1 << (SHIFT - 1));
        for Step { mask, weights, at } in &self.steps[step] {
            if LOADS == FROM_ROWS {
                let mask = read(mask, 0);
                let upper = _mm256_set_m128i(self.pick_bytes(0, at[1]), self.pick_bytes(0, at[0]));
                let lower = _mm256_set_m128i(self.pick_bytes(1, at[1]), self.pick_bytes(1, at[0]));
                let (upper, lower) = (_mm256_shuffle_epi8(upper, mask), _mm256_shuffle_epi8(lower, mask));
                let both = _mm256_or_si256(upper, _mm256_slli_epi16::<8>(lower));
                let pairs = _mm256_maddubs_epi16(both, _mm256_set1_epi16(self.row_weights));
                sum = _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, read(weights, 0)));
                continue;
            }
            let at = |load: usize| at[load];
            let samples = match LOADS {
                2 => _mm256_set_m128i(self.pick(at(1)), self.pick(at(0))),
                4 => {
                    let [a, b, c, d] = [0, 1, 2, 3].map(|load| self.pick(at(load)));
                    _mm256_setr_epi64x(a, b, c, d)
                }
                _ => {
                    let [a, b, c, d] = [0, 1, 2, 3].map(|load| self.pick(at(load)));
                    let [e, f, g, h] = [4, 5, 6, 7].map(|load| self.pick(at(load)));
                    _mm256_setr_epi32(a, b, c, d, e, f, g, h)
                }
            };
            let pairs = _mm256_shuffle_epi8(samples, read(mask, 0));
            sum = _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, read(weights, 0)));
        }
        _mm256_srai_epi32::<SHIFT>(sum)
    }

    /// The output row of a single component.
    #[target_feature(enable = "avx2")]
    fn one<const LOADS: usize>(self, row: &mut [i16]) {
        for (i, row) in row.as_chunks_mut::<16>().0.iter_mut().enumerate() {
            let (a, b) = (self.sums::<LOADS>(2 * i), self.sums::<LOADS>(2 * i + 1));
            write(row, 0, _mm256_packs_epi32(a, b));
        }
    }

    /// The output rows of two adjacent components.
    #[target_feature(enable = "avx2")]
    fn two<const LOADS: usize>(self, first: &mut [i16], second: &mut [i16]) {
        let rows = first.as_chunks_mut::<16>().0.iter_mut().zip(second.as_chunks_mut::<16>().0);
        for (i, (first, second)) in rows.enumerate() {
            let (a, b) = (self.sums::<LOADS>(4 * i), self.sums::<LOADS>(4 * i + 1));
            let (c, d) = (self.sums::<LOADS>(4 * i + 2), self.sums::<LOADS>(4 * i + 3));
            write(first, 0, _mm256_packs_epi32(_mm256_unpacklo_epi64(a, b), _mm256_unpacklo_epi64(c, d)));
            write(second, 0, _mm256_packs_epi32(_mm256_unpackhi_epi64(a, b), _mm256_unpackhi_epi64(c, d)));
        }
    }

    /// A row of RGB from adjacent R, G and B.
    #[target_feature(enable = "avx2")]
    fn packed_rgb<const LOADS: usize>(self, is_limited: bool, line: &mut [u8]) {
        const N: i8 = NONE as i8;
        // RGB0 -> RGB in each half, then both halves together.
        let tight =
            _mm256_broadcastsi128_si256(_mm_setr_epi8(0, 1, 2, 4, 5, 6, 8, 9, 10, 12, 13, 14, N, N, N, N));
        let join = _mm256_setr_epi32(0, 1, 2, 4, 5, 6, 3, 7);
        for (i, line) in line.as_chunks_mut::<24>().0.iter_mut().enumerate() {
            let sums = |step: usize| {
                let sums = self.sums::<LOADS>(4 * i + step);
                if is_limited { to_full_range(sums) } else { sums }
            };
            let (ab, cd) = (_mm256_packs_epi32(sums(0), sums(1)), _mm256_packs_epi32(sums(2), sums(3)));
            let rgb0 = to_bytes(ab, cd);
            let rgb = _mm256_permutevar8x32_epi32(_mm256_shuffle_epi8(rgb0, tight), join);
            write(line, 0, _mm256_castsi256_si128(rgb));
            write(line, 16, _mm256_extract_epi64::<2>(rgb));
        }
    }
}

/// Rounds samples with `ROW_BITS` fraction bits to bytes, limited to 0..=255; halves stay halves.
#[inline]
#[target_feature(enable = "avx2")]
fn to_bytes(first: __m256i, second: __m256i) -> __m256i {
    let round = _mm256_set1_epi16(1 << (ROW_BITS - 1));
    let bytes = |samples| _mm256_srai_epi16::<{ ROW_BITS as i32 }>(_mm256_adds_epi16(samples, round));
    _mm256_packus_epi16(bytes(first), bytes(second))
}

/// Converts samples of limited range with `ROW_BITS` fraction bits to full range; values beyond black and white stay beyond.
#[inline]
#[target_feature(enable = "avx2")]
fn to_full_range(samples: __m256i) -> __m256i {
    let above_black = _mm256_sub_epi32(samples, _mm256_set1_epi32(i32::from(LIMITED_BLACK) << ROW_BITS));
    let levels = _mm256_mullo_epi32(above_black, _mm256_set1_epi32(LIMITED_TO_FULL.into()));
    _mm256_srai_epi32::<{ MATRIX_BITS as i32 }>(levels)
}

/// A row of RGB from rows of Y, U and V.
#[target_feature(enable = "avx2")]
fn write_yuv(matrix: &YuvMatrix, rows: [&[i16]; 3], line: &mut [u8]) {
    // Two factors for pairs of samples.
    let pair = |a: i16, b: i16| _mm256_set1_epi32(i32::from(a) & 0xFFFF | i32::from(b) << 16);
    let (y_to_r, y_to_g, y_to_b) =
        (pair(matrix.y, matrix.v_to_r), pair(matrix.y, matrix.u_to_g), pair(matrix.y, matrix.u_to_b));
    let v_to_g = pair(0, matrix.v_to_g);
    let (black, middle) = (_mm256_set1_epi16(matrix.black << ROW_BITS), _mm256_set1_epi16(128 << ROW_BITS));
    let rows = rows.map(|row| row.as_chunks::<16>().0);
    let samples = rows[0].iter().zip(rows[1]).zip(rows[2]);
    for (((y, u), v), line) in samples.zip(line.as_chunks_mut::<48>().0) {
        let y = _mm256_sub_epi16(read(y, 0), black);
        let (u, v) = (_mm256_sub_epi16(read(u, 0), middle), _mm256_sub_epi16(read(v, 0), middle));
        let (yu, yv) = (interleave(y, u), interleave(y, v));
        let times = |[low, high]: [__m256i; 2], factors| {
            [_mm256_madd_epi16(low, factors), _mm256_madd_epi16(high, factors)]
        };
        let level = |[low, high]: [__m256i; 2]| {
            const BITS: i32 = MATRIX_BITS as i32;
            _mm256_packs_epi32(_mm256_srai_epi32::<BITS>(low), _mm256_srai_epi32::<BITS>(high))
        };
        let (yu_to_g, v_to_g) = (times(yu, y_to_g), times(yv, v_to_g));
        let g = [_mm256_add_epi32(yu_to_g[0], v_to_g[0]), _mm256_add_epi32(yu_to_g[1], v_to_g[1])];
        write_16([level(times(yv, y_to_r)), level(g), level(times(yu, y_to_b))], line);
    }
}

#[inline]
#[target_feature(enable = "avx2")]
fn interleave(a: __m256i, b: __m256i) -> [__m256i; 2] {
    [_mm256_unpacklo_epi16(a, b), _mm256_unpackhi_epi16(a, b)]
}

/// A row of RGB from rows of R, G and B.
#[target_feature(enable = "avx2")]
fn write_rgb<const LIMITED: bool>(rows: [&[i16]; 3], line: &mut [u8]) {
    let rows = rows.map(|row| row.as_chunks::<16>().0);
    let samples = rows[0].iter().zip(rows[1]).zip(rows[2]);
    let level = |row: &[i16; 16]| {
        let samples: __m256i = read(row, 0);
        if LIMITED {
            // Each half of the 16 samples as 32 bits, in the order in which they are packed again.
            let [low, high] = interleave(samples, _mm256_srai_epi16::<15>(samples));
            _mm256_packs_epi32(to_full_range(low), to_full_range(high))
        } else {
            samples
        }
    };
    for (((r, g), b), line) in samples.zip(line.as_chunks_mut::<48>().0) {
        write_16([level(r), level(g), level(b)], line);
    }
}

/// Sixteen pixels of RGB.
#[inline]
#[target_feature(enable = "avx2")]
fn write_16([r, g, b]: [__m256i; 3], line: &mut [u8; 48]) {
    const N: i8 = NONE as i8;
    let both = |mask| _mm256_broadcastsi128_si256(mask);
    // In each half eight of R and eight of G, and eight of B twice.
    let (rg, bb) = (to_bytes(r, g), to_bytes(b, b));
    let rg_first = both(_mm_setr_epi8(0, 8, N, 1, 9, N, 2, 10, N, 3, 11, N, 4, 12, N, 5));
    let b_first = both(_mm_setr_epi8(N, N, 0, N, N, 1, N, N, 2, N, N, 3, N, N, 4, N));
    let rg_rest = both(_mm_setr_epi8(13, N, 6, 14, N, 7, 15, N, N, N, N, N, N, N, N, N));
    let b_rest = both(_mm_setr_epi8(N, 5, N, N, 6, N, N, 7, N, N, N, N, N, N, N, N));
    // In each half the first 16 bytes of 24, and the 8 others.
    let first = _mm256_or_si256(_mm256_shuffle_epi8(rg, rg_first), _mm256_shuffle_epi8(bb, b_first));
    let rest = _mm256_or_si256(_mm256_shuffle_epi8(rg, rg_rest), _mm256_shuffle_epi8(bb, b_rest));
    write(line, 0, _mm256_castsi256_si128(first));
    write(line, 16, _mm_cvtsi128_si64(_mm256_castsi256_si128(rest)));
    write(line, 24, _mm256_extracti128_si256::<1>(first));
    write(line, 40, _mm256_extract_epi64::<2>(rest));
}
