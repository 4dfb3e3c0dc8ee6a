//! Which components are adjacent in memory, so that one pass handles them all.

use super::axis::Pair;
use super::{Colour, Component, Picture};

/// Components that share their memory and their geometry (R, G and B of a packed format, U and V of NV12); planes and luma
/// are alone.
#[derive(Clone, Copy, Debug)]
pub(super) struct Group<'a> {
    /// From the first sample of the component that comes first in memory.
    pub data: &'a [u8],
    pub row_stride: usize,
    pub pixel_stride: usize,
    /// Samples in a row, and rows.
    pub width: usize,
    pub height: usize,
    /// The picture's component that comes first in it, how many follow, and the bytes between them.
    pub component: usize,
    pub count: usize,
    pub apart: usize,
    /// For each of its components, in the picture's order, its place in memory.
    pub places: [usize; 3],
}

/// A group, and the part of it that one crop uses.
#[derive(Clone, Copy, Debug)]
pub(super) struct Part<'a, const PAIRS: usize> {
    pub group: Group<'a>,
    /// Bytes from the start of a row to the first sample that is used, and from there to the end of the last.
    pub start: usize,
    pub len: usize,
    /// For each output column, its pairs; `at` counts bytes from `start`.
    pub columns: &'a [[Pair; PAIRS]],
    /// For each output row, its pairs of source rows.
    pub rows: &'a [[Pair; PAIRS]],
}

impl<'a> Group<'a> {
    fn alone(component: usize, of: &Component<'a>) -> Self {
        Self {
            data: of.data,
            row_stride: of.row_stride,
            // No effect if `data` is complete, unless there is only one sample in a row.
            pixel_stride: of.pixel_stride.min(of.data.len()),
            width: of.width,
            height: of.height,
            component,
            count: 1,
            apart: 0,
            places: [0; 3],
        }
    }

    /// One group of `components`, the first of which is the picture's number `component`, if their samples are in the same
    /// pixels at even distances.
    fn together<const COUNT: usize>(component: usize, components: [&Component<'a>; COUNT]) -> Option<Self> {
        let base = components.iter().min_by_key(|component| component.data.as_ptr().addr())?;
        let shape = |c: &Component| (c.row_stride, c.pixel_stride, c.width, c.height);
        if components.iter().any(|component| shape(component) != shape(base)) {
            return None;
        }
        let distances = components.map(|c| c.data.as_ptr().addr() - base.data.as_ptr().addr());
        let apart = distances.iter().copied().filter(|distance| *distance > 0).min()?;
        let mut places = [0; 3];
        let mut seen = [false; COUNT];
        for (place, distance) in places.iter_mut().zip(distances) {
            *place = distance / apart;
            if distance % apart != 0 || *place >= COUNT {
                return None;
            }
            seen[*place] = true;
        }
        let group = Self { count: COUNT, apart, places, ..Self::alone(component, base) };
        // Reading only through the first component's data makes this right even if the addresses are neighbours by chance.
        let complete = seen.iter().all(|seen| *seen);
        (complete && group.pixel_span() <= group.pixel_stride && group.is_whole()).then_some(group)
    }

    /// All about it but where its samples are.
    pub fn shape(&self) -> [usize; 9] {
        let [a, b, c] = self.places;
        [self.pixel_stride, self.width, self.height, self.component, self.count, self.apart, a, b, c]
    }

    /// All groups of a picture.
    pub fn all(picture: &Picture<'a>) -> [Option<Self>; 3] {
        let [first, second, third] = &picture.components;
        if picture.colour == Colour::Gray {
            return [Some(Self::alone(0, first)), None, None];
        }
        if let Some(group) = Self::together(0, [first, second, third]) {
            return [Some(group), None, None];
        }
        let first = Some(Self::alone(0, first));
        if let Some(group) = Self::together(1, [second, third]) {
            return [first, Some(group), None];
        }
        [first, Some(Self::alone(1, second)), Some(Self::alone(2, third))]
    }

    /// Bytes from the first sample of a pixel to the last, and one.
    pub fn pixel_span(&self) -> usize {
        (self.count - 1) * self.apart + 1
    }

    /// The samples of one row, or None if `data` is too short.
    pub fn row(&self, row: usize) -> Option<&'a [u8]> {
        let start = row.checked_mul(self.row_stride)?;
        let len = (self.width - 1).checked_mul(self.pixel_stride)?.checked_add(self.pixel_span())?;
        self.data.get(start..start.checked_add(len)?)
    }

    /// Whether `data` holds every row.
    pub fn is_whole(&self) -> bool {
        self.width > 0 && self.height > 0 && self.row(self.height - 1).is_some()
    }
}
