//! A frame in the sampler's form: three components in memory.

use super::Colour;

/// One colour component's samples inside a plane: 8 bits each, sample (x, y) at `y * row_stride + x * pixel_stride`.
#[derive(Clone, Copy, Debug)]
pub struct Component<'a> {
    /// Starts at the component's first sample (so the R of BGR starts two bytes into the plane); may extend to the plane's
    /// end.
    pub data: &'a [u8],
    /// Bytes from a row to the next.
    pub row_stride: usize,
    /// Bytes from a sample to the next in its row.
    pub pixel_stride: usize,
    /// The component's number of samples in a row, and of rows: for subsampled chroma of a picture w pixels wide,
    /// `w.div_ceil(2)`.
    pub width: usize,
    pub height: usize,
}

/// Where the first sample of subsampled chroma is, in each direction: on the first pixel (cosited), or in the middle of its
/// pixels. No effect on components that are not subsampled.
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

/// A frame in the sampler's form.
#[derive(Clone, Copy, Debug)]
pub struct Picture<'a> {
    /// In pixels.
    pub width: usize,
    pub height: usize,
    /// R, G, B or Y, U, V; only the first of grey.
    pub components: [Component<'a>; 3],
    pub colour: Colour,
    pub chroma_site: ChromaSite,
}

impl Picture<'_> {
    /// A grid of brightnesses, each the mean of `samples` x `samples`, row by row; black if there is nothing to read.
    pub fn brightness(&self, columns: usize, rows: usize, samples: usize) -> Vec<u8> {
        // Green is used as brightness.
        let plane = &self.components[usize::from(self.colour.is_rgb())];
        let (width, height) = (plane.width.max(1), plane.height.max(1));
        let at = |index: usize, of: usize, side: usize| (2 * index + 1) * side / (2 * of * samples);
        let mut cells = Vec::with_capacity(columns * rows);
        for row in 0..rows {
            for column in 0..columns {
                let mut sum = 0;
                for y in (0..samples).map(|n| at(row * samples + n, rows, height)) {
                    for x in (0..samples).map(|n| at(column * samples + n, columns, width)) {
                        let index = y * plane.row_stride + x * plane.pixel_stride;
                        sum += plane.data.get(index).map_or(0, |value| usize::from(*value));
                    }
                }
                cells.push((sum / (samples * samples)) as u8);
            }
        }
        cells
    }
}
