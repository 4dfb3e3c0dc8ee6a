//! Rows of a crop in portable code, for every layout. The source rows of one output row are blended into one (sequentially,
//! so the compiler vectorises it), then the output columns are gathered from that.

use super::axis::{COLUMN_BITS, Pair, ROW_WEIGHT_BITS};
use super::colour::{self, Colour, ROW_BITS};
use super::group::Part;

/// From weighted samples to `ROW_BITS` fraction bits.
const SHIFT: u32 = ROW_WEIGHT_BITS + COLUMN_BITS - ROW_BITS;

/// Scratch memory.
#[derive(Debug, Default)]
pub(super) struct Rows {
    /// The source rows of one output row, blended.
    blended: Vec<i16>,
    /// One output row of each component; those of a group in memory order.
    output: [Vec<i16>; 3],
}

impl Rows {
    /// Fills `line` (RGB) with output row `y`.
    pub fn draw<const PAIRS: usize>(
        &mut self,
        parts: &[Option<Part<PAIRS>>; 3],
        y: usize,
        colour: Colour,
        line: &mut [u8],
    ) {
        let mut slots = [0, 1, 2];
        for row in &mut self.output {
            row.resize(line.len() / 3, 0);
        }
        for part in parts.iter().flatten() {
            let (first, count) = (part.group.component, part.group.count);
            // If a row has only one sample, the second of a pair is beyond it, with weight 0.
            let room = part.len + part.group.pixel_stride;
            if self.blended.len() < room {
                self.blended.resize(room, 0);
            }
            blend(part, &part.rows[y], &mut self.blended[..part.len]);
            gather_group(part, &self.blended, &mut self.output[first..first + count]);
            for (slot, place) in slots[first..].iter_mut().zip(&part.group.places[..count]) {
                *slot = first + place;
            }
        }
        let Ok(components) = self.output.get_disjoint_mut(slots) else { return };
        colour::write_rgb(colour, components.map(|row| &mut row[..]), line);
    }
}

/// Blends the source rows of `pairs` into `out`.
fn blend<const PAIRS: usize>(part: &Part<PAIRS>, pairs: &[Pair; PAIRS], out: &mut [i16]) {
    let bytes = |row: u32| {
        let row = part.group.row((row as usize).min(part.group.height - 1)).unwrap_or_default();
        row.get(part.start..).unwrap_or_default()
    };
    for (i, pair) in pairs.iter().enumerate() {
        let (upper, lower) = (bytes(pair.at), bytes(pair.at + 1));
        let [a, b] = pair.weights;
        let rows = out.iter_mut().zip(upper.iter().zip(lower));
        if i == 0 {
            rows.for_each(|(out, (upper, lower))| *out = i16::from(*upper) * a + i16::from(*lower) * b);
        } else {
            rows.for_each(|(out, (upper, lower))| *out += i16::from(*upper) * a + i16::from(*lower) * b);
        }
    }
}

/// Gathers the output columns of a group into one row for each of its components.
fn gather_group<const PAIRS: usize>(part: &Part<PAIRS>, blended: &[i16], rows: &mut [Vec<i16>]) {
    let pairs = part.columns;
    // The layouts of known formats get their own code, in which the strides are constants.
    match (rows, part.group.pixel_stride, part.group.apart) {
        ([a], 1, _) => gather(blended, pairs, [a], 1, 0),
        ([a], 2, _) => gather(blended, pairs, [a], 2, 0),
        ([a], stride, _) => gather(blended, pairs, [a], stride, 0),
        ([a, b], 2, 1) => gather(blended, pairs, [a, b], 2, 1),
        ([a, b], 4, 2) => gather(blended, pairs, [a, b], 4, 2),
        ([a, b], stride, apart) => gather(blended, pairs, [a, b], stride, apart),
        ([a, b, c], 3, 1) => gather(blended, pairs, [a, b, c], 3, 1),
        ([a, b, c], 4, 1) => gather(blended, pairs, [a, b, c], 4, 1),
        ([a, b, c], stride, apart) => gather(blended, pairs, [a, b, c], stride, apart),
        _ => {}
    }
}

#[inline(always)]
fn gather<const PAIRS: usize, const COUNT: usize>(
    blended: &[i16],
    pairs: &[[Pair; PAIRS]],
    rows: [&mut Vec<i16>; COUNT],
    stride: usize,
    apart: usize,
) {
    let mut rows = rows.map(|row| &mut row[..pairs.len()]);
    for (x, pairs) in pairs.iter().enumerate() {
        let mut sums = [1 << (SHIFT - 1); COUNT];
        for pair in pairs {
            let at = pair.at as usize;
            let samples = &blended[at..at + stride + (COUNT - 1) * apart + 1];
            let [left, right] = pair.weights.map(i32::from);
            for (i, sum) in sums.iter_mut().enumerate() {
                let (a, b) = (samples[i * apart], samples[i * apart + stride]);
                *sum += i32::from(a) * left + i32::from(b) * right;
            }
        }
        for (row, sum) in rows.iter_mut().zip(sums) {
            row[x] = (sum >> SHIFT) as i16;
        }
    }
}
