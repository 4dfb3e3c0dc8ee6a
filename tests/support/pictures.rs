//! The same picture laid out in every format the sampler takes, for tests and benches.

use gstrtmpose::video::{ChromaSite, Colour, Component, Picture, YuvMatrix};

/// A format's layout of samples.
#[derive(Clone, Copy, Debug)]
pub enum Layout {
    /// Bytes per pixel, and the places of R, G and B.
    Packed(usize, [usize; 3]),
    /// Y, then two planes of a quarter of the size; whether V comes first.
    Planar(bool),
    /// Y, then a plane of pairs; whether V comes first.
    SemiPlanar(bool),
    /// Four bytes for two pixels: the places of the first Y, of U and of V.
    Packed422([usize; 3]),
    Gray,
}

pub const FORMATS: [(&str, Layout); 17] = [
    ("RGB", Layout::Packed(3, [0, 1, 2])),
    ("BGR", Layout::Packed(3, [2, 1, 0])),
    ("RGBx", Layout::Packed(4, [0, 1, 2])),
    ("BGRx", Layout::Packed(4, [2, 1, 0])),
    ("xRGB", Layout::Packed(4, [1, 2, 3])),
    ("xBGR", Layout::Packed(4, [3, 2, 1])),
    ("RGBA", Layout::Packed(4, [0, 1, 2])),
    ("BGRA", Layout::Packed(4, [2, 1, 0])),
    ("ARGB", Layout::Packed(4, [1, 2, 3])),
    ("ABGR", Layout::Packed(4, [3, 2, 1])),
    ("NV12", Layout::SemiPlanar(false)),
    ("NV21", Layout::SemiPlanar(true)),
    ("I420", Layout::Planar(false)),
    ("YV12", Layout::Planar(true)),
    ("YUY2", Layout::Packed422([0, 1, 3])),
    ("UYVY", Layout::Packed422([1, 0, 2])),
    ("GRAY8", Layout::Gray),
];

/// Red's and blue's share of luma.
#[derive(Clone, Copy, Debug)]
pub struct Matrix {
    pub kr: f64,
    pub kb: f64,
    pub full_range: bool,
}

/// A frame in memory; the padding at the end of its rows is filled with a value no test expects.
pub struct Frame {
    width: usize,
    height: usize,
    layout: Layout,
    matrix: Matrix,
    site: ChromaSite,
    /// Bytes and stride of each plane.
    pub planes: Vec<(Vec<u8>, usize)>,
}

impl Frame {
    /// `rgb(x, y)` gives the picture; `padding` bytes follow each row.
    pub fn new(
        layout: Layout,
        (width, height): (usize, usize),
        padding: usize,
        matrix: Matrix,
        site: ChromaSite,
        rgb: impl Fn(usize, usize) -> [u8; 3],
    ) -> Self {
        let plane =
            |row_bytes: usize, rows: usize| (vec![0xA5; (row_bytes + padding) * rows], row_bytes + padding);
        let half = (width.div_ceil(2), height.div_ceil(2));
        let mut planes = match layout {
            Layout::Packed(bytes, _) => vec![plane(width * bytes, height)],
            Layout::Planar(_) => vec![plane(width, height), plane(half.0, half.1), plane(half.0, half.1)],
            Layout::SemiPlanar(_) => vec![plane(width, height), plane(half.0 * 2, half.1)],
            Layout::Packed422(_) => vec![plane(half.0 * 4, height)],
            Layout::Gray => vec![plane(width, height)],
        };
        let yuv = |x: usize, y: usize| yuv(rgb(x, y), matrix);
        // The mean of the pixels around the place of the chroma sample.
        let chroma = |cx: usize, cy: usize, down: bool| {
            let pair = |at: usize, end: usize, subsampled: bool, cosited: bool| match (subsampled, cosited) {
                (false, _) => [at, at],
                (true, true) => [at * 2, at * 2],
                (true, false) => [at * 2, (at * 2 + 1).min(end - 1)],
            };
            let mut sum = [0.0; 2];
            for y in pair(cy, height, down, site.vertically_cosited) {
                for x in pair(cx, width, true, site.horizontally_cosited) {
                    let [_, u, v] = yuv(x, y);
                    sum = [sum[0] + u / 4.0, sum[1] + v / 4.0];
                }
            }
            sum.map(|value| value.round().clamp(0.0, 255.0) as u8)
        };
        for y in 0..height {
            for x in 0..width {
                let luma = yuv(x, y)[0].round().clamp(0.0, 255.0) as u8;
                let (data, stride) = &mut planes[0];
                match layout {
                    Layout::Packed(bytes, places) => {
                        for (place, value) in places.iter().zip(rgb(x, y)) {
                            data[y * *stride + x * bytes + place] = value;
                        }
                    }
                    Layout::Packed422([place, ..]) => data[y * *stride + x * 2 + place] = luma,
                    Layout::Gray => data[y * *stride + x] = rgb(x, y)[1],
                    _ => data[y * *stride + x] = luma,
                }
            }
        }
        let chroma_rows = if matches!(layout, Layout::Packed422(_)) { height } else { half.1 };
        for y in 0..chroma_rows {
            for x in 0..half.0 {
                match layout {
                    Layout::Planar(v_first) => {
                        let [u, v] = chroma(x, y, true);
                        for (i, value) in [u, v].into_iter().enumerate() {
                            let (data, stride) = &mut planes[1 + (i ^ usize::from(v_first))];
                            data[y * *stride + x] = value;
                        }
                    }
                    Layout::SemiPlanar(v_first) => {
                        let (data, stride) = &mut planes[1];
                        for (i, value) in chroma(x, y, true).into_iter().enumerate() {
                            data[y * *stride + x * 2 + (i ^ usize::from(v_first))] = value;
                        }
                    }
                    Layout::Packed422([_, u, v]) => {
                        let (data, stride) = &mut planes[0];
                        for (place, value) in [u, v].into_iter().zip(chroma(x, y, false)) {
                            data[y * *stride + x * 4 + place] = value;
                        }
                    }
                    _ => {}
                }
            }
        }
        Self { width, height, layout, matrix, site, planes }
    }

    pub fn picture(&self) -> Picture<'_> {
        let (w, h) = (self.width, self.height);
        let half = (w.div_ceil(2), h.div_ceil(2));
        let part = |plane: usize, offset: usize, pixel_stride: usize, (width, height): (usize, usize)| {
            let (data, row_stride) = &self.planes[plane];
            Component { data: &data[offset..], row_stride: *row_stride, pixel_stride, width, height }
        };
        let components = match self.layout {
            Layout::Packed(bytes, places) => places.map(|place| part(0, place, bytes, (w, h))),
            Layout::Planar(v_first) => {
                let (u, v) = if v_first { (2, 1) } else { (1, 2) };
                [part(0, 0, 1, (w, h)), part(u, 0, 1, half), part(v, 0, 1, half)]
            }
            Layout::SemiPlanar(v_first) => {
                let (u, v) = if v_first { (1, 0) } else { (0, 1) };
                [part(0, 0, 1, (w, h)), part(1, u, 2, half), part(1, v, 2, half)]
            }
            Layout::Packed422([y, u, v]) => {
                [part(0, y, 2, (w, h)), part(0, u, 4, (half.0, h)), part(0, v, 4, (half.0, h))]
            }
            Layout::Gray => [part(0, 0, 1, (w, h)); 3],
        };
        let colour = match self.layout {
            Layout::Packed(..) => Colour::Rgb,
            Layout::Gray => Colour::Gray,
            _ => Colour::Yuv(YuvMatrix::new(self.matrix.kr, self.matrix.kb, self.matrix.full_range)),
        };
        Picture { width: w, height: h, components, colour, chroma_site: self.site }
    }
}

fn yuv([r, g, b]: [u8; 3], Matrix { kr, kb, full_range }: Matrix) -> [f64; 3] {
    let [r, g, b] = [r, g, b].map(f64::from);
    let y = kr * r + (1.0 - kr - kb) * g + kb * b;
    let (u, v) = ((b - y) / (2.0 * (1.0 - kb)), (r - y) / (2.0 * (1.0 - kr)));
    if full_range {
        [y, u + 128.0, v + 128.0]
    } else {
        [y * 219.0 / 255.0 + 16.0, u * 224.0 / 255.0 + 128.0, v * 224.0 / 255.0 + 128.0]
    }
}
