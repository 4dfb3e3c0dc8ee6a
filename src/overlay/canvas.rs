//! A mapped video frame to draw on, in any 8-bit format whose samples lie in whole bytes.
//!
//! Everything is one primitive, a line with round ends: a disc is a line of no length, a box is four, a digit up to seven.
//! Its coverage of a sample follows from the distance to the line, so nothing is allocated and only samples near the line
//! are touched.

use gst_video::prelude::*;
use gst_video::{VideoColorimetry, VideoFrameRef};

/// A position in pixels of the frame; whole numbers are the pixels' centres.
pub type Point = (f32, f32);

/// Red, green and blue, 0 to 255.
pub type Rgb = [u8; 3];

/// A colour in the frame's own format: one byte a component.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Paint([u8; 4]);

/// Samples of one plane that share their positions, such as R, G and B, or U and V of NV12.
struct Layer {
    plane: u32,
    width: usize,
    height: usize,
    /// Bytes from one row to the next, from one sample to the next.
    stride: usize,
    pixel_stride: usize,
    /// Pixels of the frame from one sample to the next.
    step: Point,
    /// Position in the frame of the first sample: the middle of the pixels it stands for.
    origin: Point,
    /// Byte in the sample and index in [`Paint`] of each component.
    components: Vec<(usize, usize)>,
}

pub struct Canvas<'a, 'b> {
    frame: &'a mut VideoFrameRef<&'b mut gst::BufferRef>,
    layers: Vec<Layer>,
    colorimetry: VideoColorimetry,
}

impl<'a, 'b> Canvas<'a, 'b> {
    /// A canvas on the frame, with the colorimetry of its caps.
    pub fn new(frame: &'a mut VideoFrameRef<&'b mut gst::BufferRef>, colorimetry: VideoColorimetry) -> Self {
        let mut layers: Vec<Layer> = Vec::new();
        let format = frame.format_info();
        for component in 0..format.n_components() as usize {
            let plane = format.plane()[component];
            let pixel_stride = format.pixel_stride()[component] as usize;
            let step =
                ((1u32 << format.w_sub()[component]) as f32, (1u32 << format.h_sub()[component]) as f32);
            let offset = format.poffset()[component] as usize;
            let same = |layer: &&mut Layer| {
                (layer.plane, layer.pixel_stride, layer.step) == (plane, pixel_stride, step)
            };
            match layers.iter_mut().find(same) {
                Some(layer) => layer.components.push((offset, component)),
                None => layers.push(Layer {
                    plane,
                    width: frame.comp_width(component as u32) as usize,
                    height: frame.comp_height(component as u32) as usize,
                    stride: usize::try_from(frame.plane_stride()[plane as usize]).unwrap_or(0),
                    pixel_stride,
                    step,
                    origin: ((step.0 - 1.0) / 2.0, (step.1 - 1.0) / 2.0),
                    components: vec![(offset, component)],
                }),
            }
        }
        Self { frame, layers, colorimetry }
    }

    /// Width and height of the frame in pixels.
    pub fn size(&self) -> (u32, u32) {
        (self.frame.width(), self.frame.height())
    }

    /// The colour in the format of the frame, with the matrix and range of its caps. Where the format has alpha, the
    /// colour is opaque.
    pub fn paint(&self, rgb: Rgb) -> Paint {
        let format = self.frame.format_info();
        let [r, g, b] = rgb.map(|value| f64::from(value) / 255.0);
        let values = if format.is_rgb() {
            [r, g, b, 1.0]
        } else {
            // Caps always say a matrix for YUV; should they not, most small and old material is BT.601.
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

    /// An anti-aliased line with round ends. What lies outside the frame is not drawn and costs nothing; a position that
    /// is not finite draws nothing at all.
    pub fn line(&mut self, from: Point, to: Point, width: f32, paint: Paint) {
        let radius = width / 2.0;
        let Some((from, to)) = self.clip(from, to, radius + 2.0) else { return };
        for layer in &self.layers {
            if let Ok(data) = self.frame.plane_data_mut(layer.plane) {
                layer.line(data, from, to, radius, paint);
            }
        }
    }

    /// The part of the line from which something `margin` away can reach into the frame.
    fn clip(&self, from: Point, to: Point, margin: f32) -> Option<(Point, Point)> {
        if ![from.0, from.1, to.0, to.1, margin].iter().all(|value| value.is_finite()) {
            return None;
        }
        let (width, height) = self.size();
        // In double precision the difference of two finite float32 does not overflow.
        let start = (f64::from(from.0), f64::from(from.1));
        let delta = (f64::from(to.0) - start.0, f64::from(to.1) - start.1);
        let margin = f64::from(margin);
        let (mut first, mut last) = (0.0f64, 1.0f64);
        for (start, delta, size) in [(start.0, delta.0, width), (start.1, delta.1, height)] {
            let (low, high) = (-margin, f64::from(size) - 1.0 + margin);
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
    /// Draws the line, given in pixels of the frame and already clipped, on the layer's samples.
    fn line(&self, data: &mut [u8], from: Point, to: Point, radius: f32, paint: Paint) {
        let (ax, ay) = from;
        let (dx, dy) = (to.0 - ax, to.1 - ay);
        let length = dx.hypot(dy);
        let inverse_square = if length > 0.0 { 1.0 / (length * length) } else { 0.0 };
        // The border is as soft as a sample is wide: coverage falls from 1 to 0 from `inner` to `outer`.
        let softness = (self.step.0 + self.step.1) / 2.0;
        let (inner, outer) = (radius - softness / 2.0, radius + softness / 2.0);
        let solid = if inner > 0.0 { inner * inner } else { -1.0 };

        let rows = range(ay.min(to.1) - outer, ay.max(to.1) + outer, self.origin.1, self.step.1, self.height);
        for row in rows {
            let y = self.origin.1 + row as f32 * self.step.1 - ay;
            // In this row the line lies in its box and in the strip of `outer` around the infinite line.
            let (mut left, mut right) = (ax.min(to.0) - outer, ax.max(to.0) + outer);
            if dy.abs() > 1e-3 * length {
                let (middle, half) = (ax + y * dx / dy, outer * length / dy.abs());
                (left, right) = (left.max(middle - half), right.min(middle + half));
            }
            let columns = range(left, right, self.origin.0, self.step.0, self.width);
            let start = row * self.stride + columns.start * self.pixel_stride;
            let Some(samples) = data.get_mut(start..) else { return };
            for (column, sample) in columns.zip(samples.chunks_mut(self.pixel_stride)) {
                let x = self.origin.0 + column as f32 * self.step.0 - ax;
                let along = ((x * dx + y * dy) * inverse_square).clamp(0.0, 1.0);
                let (off_x, off_y) = (x - along * dx, y - along * dy);
                let square = off_x * off_x + off_y * off_y;
                if square >= outer * outer {
                    continue;
                }
                let coverage = if square <= solid {
                    256
                } else {
                    (((outer - square.sqrt()) / softness).min(1.0) * 256.0) as i32
                };
                for &(offset, component) in &self.components {
                    if let Some(byte) = sample.get_mut(offset) {
                        let (old, new) = (i32::from(*byte), i32::from(paint.0[component]));
                        *byte = (old + (((new - old) * coverage) >> 8)) as u8;
                    }
                }
            }
        }
    }
}

/// Indices of the samples from `low` to `high`, of `count` samples from `origin` on, `step` apart.
fn range(low: f32, high: f32, origin: f32, step: f32, count: usize) -> std::ops::Range<usize> {
    // A float turned into an integer saturates, so this holds for any number.
    let first = ((low - origin) / step).ceil().max(0.0) as usize;
    let end = ((high - origin) / step).floor() + 1.0;
    let end = (end.max(0.0) as usize).min(count);
    first.min(end)..end
}
