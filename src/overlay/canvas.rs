//! A mapped video frame to draw on, in any 8-bit format whose samples are whole bytes.
//!
//! There is one primitive, a line with round ends: a disc is a line of length 0, a box is four lines, a digit up to seven.
//! Its coverage of a sample follows from the distance to the line, so nothing is allocated, and only samples near the line
//! are touched.

use gst_video::prelude::*;
use gst_video::{VideoColorimetry, VideoFormatInfo, VideoFrameRef, VideoInfo};

use crate::video::{
    FrameShape, Region,
    cuda::{self, Stroke},
    planes::PlanesMut,
};

/// A position in square pixels of the frame ([`FrameShape`]), so that circles look round. 0 is the first pixel's centre.
pub type Point = (f32, f32);

/// Red, green and blue, 0 to 255.
pub type Rgb = [u8; 3];

/// A colour in the frame's own format: one byte for each component.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Paint([u8; 4]);

/// Components whose samples are at the same positions of the frame: R, G and B; or Y; or U and V. Their coverage is equal
/// and computed once.
struct Layer {
    width: usize,
    height: usize,
    /// Square pixels between two samples.
    step: Point,
    /// Position in the frame of the first sample: the middle of its pixels.
    origin: Point,
    components: Vec<Component>,
}

/// Where a component's samples are.
struct Component {
    /// Index in [`Paint`].
    index: usize,
    plane: usize,
    /// First byte of the first sample; bytes between rows; bytes between samples.
    offset: usize,
    stride: usize,
    pixel_stride: usize,
}

/// What to draw on.
enum Target<'a> {
    /// Pixels in system memory, at once.
    Host(PlanesMut<'a>),
    /// Pixels in GPU memory, later and all together.
    Card(Vec<Stroke>),
}

pub struct Canvas<'a> {
    target: Target<'a>,
    format: VideoFormatInfo,
    size: (f32, f32),
    layers: Vec<Layer>,
    colorimetry: VideoColorimetry,
}

impl<'a> Canvas<'a> {
    /// A canvas on the frame, with the size and colorimetry in its caps, `info`: a GstVideoMeta may be larger than the
    /// picture. None if the frame's layout leaves its memory.
    pub fn new(frame: &'a mut VideoFrameRef<&mut gst::BufferRef>, info: &VideoInfo) -> Option<Self> {
        let strides = frame.plane_stride().to_vec();
        Some(Self::on(Target::Host(PlanesMut::of(frame)?), info, &strides))
    }

    /// A canvas that collects lines, for a frame in GPU memory with these strides.
    pub fn for_a_card(info: &VideoInfo, strides: &[i32]) -> Self {
        Self::on(Target::Card(Vec::new()), info, strides)
    }

    fn on(target: Target<'a>, info: &VideoInfo, strides: &[i32]) -> Self {
        let shape = FrameShape::from(info);
        let [across, down] = shape.to_square();
        let mut layers: Vec<Layer> = Vec::new();
        let format = info.format_info();
        for index in 0..format.n_components() as usize {
            let plane = format.plane()[index] as usize;
            let component = Component {
                index,
                plane,
                offset: format.poffset()[index] as usize,
                stride: strides.get(plane).and_then(|stride| usize::try_from(*stride).ok()).unwrap_or(0),
                pixel_stride: usize::try_from(format.pixel_stride()[index]).unwrap_or(0).max(1),
            };
            // Pixels that a sample covers.
            let (columns, rows) =
                ((1u32 << format.w_sub()[index]) as f32, (1u32 << format.h_sub()[index]) as f32);
            let step = (columns * across, rows * down);
            match layers.iter_mut().find(|layer| layer.step == step) {
                Some(layer) => layer.components.push(component),
                None => layers.push(Layer {
                    width: info.comp_width(index as u8) as usize,
                    height: info.comp_height(index as u8) as usize,
                    step,
                    origin: ((columns - 1.0) / 2.0 * across, (rows - 1.0) / 2.0 * down),
                    components: vec![component],
                }),
            }
        }
        let size = (shape.width as f32 * across, shape.height as f32 * down);
        Self { format, size, target, layers, colorimetry: info.colorimetry() }
    }

    /// What was drawn for a frame in GPU memory, and its layers, whose planes begin at these places of the memory.
    pub fn for_the_painter(self, offsets: &[usize]) -> (Vec<cuda::Layer>, Vec<Stroke>) {
        let Target::Card(strokes) = self.target else { return (Vec::new(), Vec::new()) };
        let layers = self.layers.iter().map(|layer| {
            let mut told = cuda::Layer {
                width: layer.width as i32,
                height: layer.height as i32,
                step: [layer.step.0, layer.step.1],
                origin: [layer.origin.0, layer.origin.1],
                components: layer.components.len() as i32,
                ..Default::default()
            };
            for (place, component) in layer.components.iter().enumerate() {
                let plane = offsets.get(component.plane).copied().unwrap_or(usize::MAX / 2);
                told.data[place] = (plane + component.offset) as u64;
                told.part[place] = component.index as i32;
                // In every format that can be drawn on there, the components of a layer are in one plane.
                (told.row_stride, told.pixel_stride) =
                    (component.stride as i32, component.pixel_stride as i32);
            }
            told
        });
        (layers.collect(), strokes)
    }

    /// Width and height of the frame in square pixels.
    pub fn size(&self) -> (f32, f32) {
        self.size
    }

    /// The colour in the format of the frame, with the matrix and range in its caps. In formats with alpha, the colour is
    /// opaque.
    pub fn paint(&self, rgb: Rgb) -> Paint {
        let format = self.format;
        let [r, g, b] = rgb.map(|value| f64::from(value) / 255.0);
        let values = if format.is_rgb() {
            [r, g, b, 1.0]
        } else {
            // Caps for YUV always have a matrix; if not, BT.601, which most small and old material uses.
            let (kr, kb) = self.colorimetry.matrix().kr_kb().unwrap_or((0.299, 0.114));
            let y = kr * r + (1.0 - kr - kb) * g + kb * b;
            [y, (b - y) / (2.0 * (1.0 - kb)), (r - y) / (2.0 * (1.0 - kr)), 1.0]
        };
        let (offsets, scales) = format.range_offsets(self.colorimetry.range());
        let mut paint = [0; 4];
        for (index, byte) in paint.iter_mut().enumerate() {
            let value = f64::from(offsets[index]) + f64::from(scales[index]) * values[index];
            *byte = value.round().clamp(0.0, 255.0) as u8;
        }
        Paint(paint)
    }

    /// A filled disc.
    pub fn disc(&mut self, centre: Point, radius: f32, paint: Paint) {
        self.line(centre, centre, 2.0 * radius, paint);
    }

    /// An anti-aliased line with round ends. Parts outside the frame are not drawn and cost nothing; a position that is not
    /// finite draws nothing.
    pub fn line(&mut self, from: Point, to: Point, width: f32, paint: Paint) {
        let radius = width / 2.0;
        let Some((from, to)) = self.clip(from, to, radius + 2.0) else { return };
        match &mut self.target {
            Target::Host(planes) => {
                self.layers.iter().for_each(|layer| layer.line(planes, from, to, radius, paint));
            }
            Target::Card(strokes) => strokes.push(Stroke::new(from, to, radius, paint.0)),
        }
    }

    /// Pixelates a part of a frame in system memory: each square with this side becomes one colour, its mean. All squares
    /// are on one grid for the frame, so that a moving part does not show more of what is below.
    pub fn pixelate(&mut self, area: Region, side: f32) {
        let Target::Host(planes) = &mut self.target else { return };
        let (width, height) = self.size;
        let [left, top] = [area.x.max(0.0), area.y.max(0.0)];
        let [right, bottom] = [(area.x + area.width).min(width), (area.y + area.height).min(height)];
        if left >= right || top >= bottom || !side.is_finite() {
            return;
        }
        let side = side.max(LEAST_SIDE);
        let squares = |from: f32, to: f32| (from / side) as u32..(to / side).ceil() as u32;
        for row in squares(top, bottom) {
            for column in squares(left, right) {
                let (x, y) = (column as f32 * side, row as f32 * side);
                self.layers.iter().for_each(|layer| layer.flatten(planes, (x, y), (x + side, y + side)));
            }
        }
    }

    /// The part of the line from which something `margin` away can reach into the frame.
    fn clip(&self, from: Point, to: Point, margin: f32) -> Option<(Point, Point)> {
        if ![from.0, from.1, to.0, to.1, margin].iter().all(|value| value.is_finite()) {
            return None;
        }
        let (width, height) = self.size();
        // In double precision, the difference of two finite float32 does not overflow.
        let start = (f64::from(from.0), f64::from(from.1));
        let delta = (f64::from(to.0) - start.0, f64::from(to.1) - start.1);
        let margin = f64::from(margin);
        let (mut first, mut last) = (0.0f64, 1.0f64);
        for (start, delta, size) in [(start.0, delta.0, width), (start.1, delta.1, height)] {
            let (low, high) = (-margin, f64::from(size) + margin);
            if delta == 0.0 {
                if start < low || start > high {
                    return None;
                }
            } else {
                let (a, b) = ((low - start) / delta, (high - start) / delta);
                first = first.max(a.min(b));
                last = last.min(a.max(b));
            }
        }
        let at = |t: f64| ((start.0 + t * delta.0) as f32, (start.1 + t * delta.1) as f32);
        (first <= last).then(|| (at(first), at(last)))
    }
}

impl Layer {
    /// Draws the line, given in square pixels and already clipped, on the layer's samples.
    fn line(&self, planes: &mut PlanesMut, from: Point, to: Point, radius: f32, paint: Paint) {
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx2") {
            // SAFETY: the CPU has AVX2.
            return unsafe { self.line_avx2(planes, from, to, radius, paint) };
        }
        self.line_anywhere(planes, from, to, radius, paint);
    }

    /// The same code with wider vectors. Without fused multiplications, so that the pixels are equal.
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2")]
    fn line_avx2(&self, planes: &mut PlanesMut, from: Point, to: Point, radius: f32, paint: Paint) {
        self.line_anywhere(planes, from, to, radius, paint);
    }

    /// Sets all samples of a rectangle in square pixels to their mean. Its right and lower edges belong to the next
    /// rectangle.
    fn flatten(&self, planes: &mut PlanesMut, from: Point, to: Point) {
        let samples = |from: f32, to: f32, origin: f32, step: f32, count: usize| {
            let index = |at: f32| (((at - origin) / step).ceil().max(0.0) as usize).min(count);
            index(from)..index(to)
        };
        let columns = samples(from.0, to.0, self.origin.0, self.step.0, self.width);
        let rows = samples(from.1, to.1, self.origin.1, self.step.1, self.height);
        let count = (columns.len() * rows.len()) as u64;
        for component in &self.components {
            let plane = planes.plane(component.plane);
            let row_of = |row: usize| {
                let start = component.offset + row * component.stride;
                start + columns.start * component.pixel_stride..start + columns.end * component.pixel_stride
            };
            let mut sum = 0;
            for row in rows.clone() {
                // The last sample of a row may be the last byte of the plane.
                let end = row_of(row).end.min(plane.len());
                let Some(row) = plane.get(row_of(row).start..end) else { continue };
                sum +=
                    row.iter().step_by(component.pixel_stride).map(|sample| u64::from(*sample)).sum::<u64>();
            }
            let mean = ((sum + count / 2) / count.max(1)) as u8;
            for row in rows.clone() {
                let end = row_of(row).end.min(plane.len());
                let Some(row) = plane.get_mut(row_of(row).start..end) else { continue };
                row.iter_mut().step_by(component.pixel_stride).for_each(|sample| *sample = mean);
            }
        }
    }

    /// Samples around that place will soon be drawn on.
    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    fn expect(&self, planes: &mut PlanesMut, row: usize, x: f32) {
        for component in &self.components {
            use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            let column = (((x - self.origin.0) / self.step.0) as usize).min(self.width);
            let offset = component.offset + row * component.stride + column * component.pixel_stride;
            if let Some(sample) = planes.plane(component.plane).get(offset) {
                // SAFETY: every x86-64 CPU has it, and it only reads existing memory.
                unsafe { _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(sample).cast()) };
            }
        }
    }

    #[inline(always)]
    fn line_anywhere(&self, planes: &mut PlanesMut, from: Point, to: Point, radius: f32, paint: Paint) {
        let (dx, dy) = (to.0 - from.0, to.1 - from.1);
        let length = dx.hypot(dy);
        // Direction of the line; for a disc, any direction is correct.
        let (ux, uy) = if length > 0.0 { (dx / length, dy / length) } else { (1.0, 0.0) };
        // The border is as soft as a sample is wide: coverage falls from 1 to 0 over that distance, up to `outer`.
        let softness = (self.step.0 + self.step.1) / 2.0;
        let outer = radius + softness / 2.0;
        let scale = 256.0 / softness;

        // In a row, the line is inside its box, and inside the strip of `outer` around the infinite line: `half` to the left
        // and to the right of where the strip crosses the row. (A flat line has only its box.)
        let (left, right) = (from.0.min(to.0) - outer, from.0.max(to.0) + outer);
        let (slope, half) = if uy.abs() > 1e-3 { (ux / uy, outer / uy.abs()) } else { (0.0, f32::INFINITY) };
        let (top, bottom) = (from.1.min(to.1) - outer, from.1.max(to.1) + outer);
        for row in range(top, bottom, self.origin.1, self.step.1, self.height) {
            let y = self.origin.1 + row as f32 * self.step.1 - from.1;
            let middle = from.0 + y * slope;
            let (left, right) = (left.max(middle - half), right.min(middle + half));
            let columns = range(left, right, self.origin.0, self.step.0, self.width);
            let end = columns.end;
            #[cfg(target_arch = "x86_64")]
            self.expect(planes, row + ROWS_AHEAD, middle + ROWS_AHEAD as f32 * self.step.1 * slope);
            for column in columns.step_by(LANES) {
                let start = self.origin.0 + column as f32 * self.step.0 - from.0;
                let count = LANES.min(end - column);
                let coverage: [i16; LANES] = std::array::from_fn(|lane| {
                    let x = start + lane as f32 * self.step.0;
                    let (along, across) = (x * ux + y * uy, x * uy - y * ux);
                    let beyond = along - along.clamp(0.0, length);
                    let distance = (across * across + beyond * beyond).sqrt();
                    let coverage = ((outer - distance) * scale).clamp(0.0, 256.0);
                    // Rounds to the nearest integer: from 2^23 on, a float32 counts in ones, in its lowest bits. (`as i32`
                    // also handles numbers that cannot occur here, one lane at a time.)
                    let coverage = ((coverage + 8_388_608.0).to_bits() & 0x1ff) as i16;
                    if (lane as i16) < count as i16 { coverage } else { 0 }
                });
                for component in &self.components {
                    let start = component.offset + row * component.stride + column * component.pixel_stride;
                    let Some(samples) = planes.plane(component.plane).get_mut(start..) else { continue };
                    let new = paint.0[component.index];
                    // Samples beyond `count` are not covered: they can be written unchanged.
                    if component.pixel_stride == 1
                        && let Some(samples) = samples.first_chunk_mut::<LANES>()
                    {
                        *samples = std::array::from_fn(|lane| blend(samples[lane], new, coverage[lane]));
                    } else {
                        let samples = samples.iter_mut().step_by(component.pixel_stride);
                        for (sample, coverage) in samples.zip(&coverage[..count]) {
                            *sample = blend(*sample, new, *coverage);
                        }
                    }
                }
            }
        }
    }
}

/// Smallest side of a square that becomes one colour.
const LEAST_SIDE: f32 = 8.0;

/// In each row, a line is on another cache line, which a CPU does not predict: this many rows ahead, memory is prefetched,
/// so that it has arrived when it is drawn on. (Measured on x86-64; not done elsewhere.)
#[cfg(target_arch = "x86_64")]
const ROWS_AHEAD: usize = 8;

/// `old` moved by `coverage` / 256 towards `new`, rounded down: shifted so that the product's upper half is the result,
/// which is one vector instruction for 16 bits.
#[inline(always)]
fn blend(old: u8, new: u8, coverage: i16) -> u8 {
    let way = (i16::from(new) - i16::from(old)) << 7;
    let part = (i32::from(way) * i32::from(coverage << 1)) >> 16;
    (i16::from(old) + part as i16) as u8
}

/// Samples whose coverage is computed together: a fixed number, so that the compiler uses vector instructions.
const LANES: usize = 8;

/// Indices of `count` samples, `step` apart from `origin` on, between `low` and `high`. One more at an end does no harm, and
/// one exactly at an end is not covered.
fn range(low: f32, high: f32, origin: f32, step: f32, count: usize) -> std::ops::Range<usize> {
    let (low, high) = ((low - origin) / step, (high - origin) / step);
    // A cast from float to integer is limited to the integer's range, so this is right for any number.
    let first = low as i32;
    let first = first.saturating_add(i32::from(low > first as f32));
    let end = (high as i32).saturating_add(1);
    let end = (end.max(0) as usize).min(count);
    (first.max(0) as usize).min(end)..end
}

#[cfg(test)]
mod tests {
    use gst_video::{VideoFormat, VideoFrame};

    use super::*;
    use crate::video::{FORMATS, cuda::tests::draw_on_the_host};

    /// In every format, the area has the means of its squares, and nothing around it changes.
    #[test]
    fn a_part_is_made_coarse_and_nothing_else() {
        gst::init().unwrap();
        for format in FORMATS {
            for par in [1, 2] {
                let info = VideoInfo::builder(format, 66, 50).par((par, 1)).build().unwrap();
                let bytes: Vec<u8> = (0..info.size()).map(|byte| (byte * 97 % 251) as u8).collect();
                let mut buffer = gst::Buffer::from_mut_slice(bytes.clone());
                {
                    let mut frame =
                        VideoFrameRef::from_buffer_ref_writable(buffer.get_mut().unwrap(), &info).unwrap();
                    // Squares of 10 touch 10 to 40 and 20 to 50; the area leaves the frame on only one side.
                    Canvas::new(&mut frame, &info)
                        .unwrap()
                        .pixelate(Region::new(12.0, 21.0, 20.0, 400.0), 10.0);
                }
                let found = buffer.map_readable().unwrap();
                let mut colours = std::collections::BTreeMap::new();
                for index in 0..info.n_components() as u8 {
                    let (sub_x, sub_y) = (
                        1 << info.format_info().w_sub()[index as usize],
                        1 << info.format_info().h_sub()[index as usize],
                    );
                    let stride = info.comp_stride(index) as usize;
                    for y in 0..info.comp_height(index) as usize {
                        for x in 0..info.comp_width(index) as usize {
                            let at =
                                info.comp_offset(index) + y * stride + x * info.comp_pstride(index) as usize;
                            let centre =
                                |sample: usize, sub: usize| (sample * sub) as f32 + (sub as f32 - 1.0) / 2.0;
                            let across = centre(x, sub_x) * par as f32;
                            let down = centre(y, sub_y);
                            let inside = (10.0..40.0).contains(&across) && down >= 20.0;
                            let square = (index, (across / 10.0) as u32, (down / 10.0) as u32);
                            if inside {
                                let colour = *colours.entry(square).or_insert(found[at]);
                                assert_eq!(found[at], colour, "{format} {par}: {index} at {x}, {y}");
                            } else {
                                assert_eq!(found[at], bytes[at], "{format} {par}: {index} at {x}, {y}");
                            }
                        }
                    }
                }
                assert!(colours.len() >= 9, "{format}: {}", colours.len());
            }
        }
    }

    /// Compares the kernel's drawing, compiled for the CPU, with this one: lines, discs, and lines that leave the frame.
    #[test]
    fn a_card_draws_the_same_picture() {
        gst::init().unwrap();
        let lines = |canvas: &mut Canvas| {
            let mut state = 7u64;
            let mut next = |most: f32| {
                state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                (state >> 40) as f32 / (1u64 << 24) as f32 * most
            };
            let (width, height) = canvas.size();
            for _ in 0..200 {
                let paint = canvas.paint([next(255.0) as u8, next(255.0) as u8, next(255.0) as u8]);
                let mut at = || (next(width * 1.4) - width * 0.2, next(height * 1.4) - height * 0.2);
                let (from, to) = (at(), at());
                let thick = next(12.0) + 0.5;
                canvas.line(from, to, thick, paint);
                canvas.disc(from, next(9.0), paint);
            }
        };
        for (format, par) in
            [(VideoFormat::Nv12, 1), (VideoFormat::Nv12, 2), (VideoFormat::Rgba, 1), (VideoFormat::Bgrx, 1)]
        {
            let info = VideoInfo::builder(format, 321, 203).par((par, 1)).build().unwrap();
            let mut expected = gst::Buffer::from_mut_slice(vec![77u8; info.size()]);
            let mut found = vec![77u8; info.size()];
            {
                let buffer = expected.get_mut().unwrap();
                let mut frame = VideoFrameRef::from_buffer_ref_writable(buffer, &info).unwrap();
                lines(&mut Canvas::new(&mut frame, &info).unwrap());
            }
            let mut canvas = Canvas::for_a_card(&info, info.stride());
            lines(&mut canvas);
            let (layers, strokes) = canvas.for_the_painter(info.offset());
            draw_on_the_host(&mut found, &layers, &strokes);
            let expected = VideoFrame::from_buffer_readable(expected, &info).unwrap();
            let expected = expected.buffer().map_readable().unwrap();
            let apart = expected.iter().zip(&found).map(|(a, b)| a.abs_diff(*b)).max().unwrap();
            assert!(apart <= 2, "{format} {par}: {apart} grey levels");
            let drawn = found.iter().filter(|byte| **byte != 77).count();
            assert!(drawn > found.len() / 4, "{format}: {drawn} bytes are drawn on");
        }
    }
}
