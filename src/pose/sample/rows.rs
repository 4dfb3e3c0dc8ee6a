//! The two steps of interpolation: the source rows of one output row are blended into one (straight through memory, so
//! the compiler vectorises it), then the output columns are gathered from that.

use super::axis::Pair;
use super::colour::ROW_BITS;

/// Unit of the row weights: 255 times this still fits into i16.
pub(super) const ROW_UNIT: i16 = 1 << 7;
/// Unit of the column weights.
pub(super) const COLUMN_UNIT: i16 = 1 << 14;
const SHIFT: u32 = 7 + 14 - ROW_BITS;

/// Components that share their memory and their geometry (R, G and B of a packed format, U and V of NV12), so that one
/// pass serves them all; planes and luma stand alone.
#[derive(Clone, Copy, Debug)]
pub(super) struct Group<'a> {
    /// From the first sample of the component that comes first in memory.
    pub data: &'a [u8],
    pub row_stride: usize,
    pub pixel_stride: usize,
    /// Samples in a row, and rows.
    pub width: usize,
    pub height: usize,
    /// How many components, and the bytes from one to the next.
    pub count: usize,
    pub apart: usize,
}

impl<'a> Group<'a> {
    /// Bytes from the first sample of a pixel to the last, and one.
    pub fn pixel_span(&self) -> usize {
        (self.count - 1) * self.apart + 1
    }

    /// The samples of one row, or None if `data` is too short.
    fn row(&self, row: usize) -> Option<&'a [u8]> {
        let start = row.checked_mul(self.row_stride)?;
        let len = (self.width - 1).checked_mul(self.pixel_stride)?.checked_add(self.pixel_span())?;
        self.data.get(start..start.checked_add(len)?)
    }

    /// Whether `data` holds every row.
    pub fn is_whole(&self) -> bool {
        self.width > 0 && self.height > 0 && self.row(self.height - 1).is_some()
    }

    /// Blends the rows of `pairs` into `out`: the samples from `first` on, `len` bytes of them.
    pub fn blend<const PAIRS: usize>(
        &self,
        pairs: &[Pair; PAIRS],
        first: usize,
        len: usize,
        out: &mut [i16],
    ) {
        let bytes = |row: usize| {
            let row = self.row(row.min(self.height - 1)).unwrap_or_default();
            row.get(first * self.pixel_stride..).unwrap_or_default()
        };
        for (i, pair) in pairs.iter().enumerate() {
            let (upper, lower) = (bytes(pair.at as usize), bytes(pair.at as usize + 1));
            let [a, b] = pair.weights;
            let rows = out[..len].iter_mut().zip(upper.iter().zip(lower));
            if i == 0 {
                rows.for_each(|(out, (upper, lower))| *out = i16::from(*upper) * a + i16::from(*lower) * b);
            } else {
                rows.for_each(|(out, (upper, lower))| *out += i16::from(*upper) * a + i16::from(*lower) * b);
            }
        }
    }

    /// Gathers the output columns of `pairs` (whose `at` counts bytes of `blended`) into one row for each component.
    pub fn gather<const PAIRS: usize>(
        &self,
        blended: &[i16],
        pairs: &[[Pair; PAIRS]],
        rows: &mut [Vec<i16>],
    ) {
        // The layouts of the formats we know get code of their own, in which the strides are constants.
        match (rows, self.pixel_stride, self.apart) {
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
