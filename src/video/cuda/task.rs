//! The kernels' tasks, in the layout that they read: `Task` and `Component` of `crop.cu`, `Grid` of `glimpse.cu`.

use super::super::{ChromaSite, Colour, Crop, Region, Whole, whole::BORDER};

/// One colour component of a frame: 8-bit samples, or 16-bit ones of which the upper bits count.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[repr(C)]
pub struct Component {
    /// Address of its first sample, in the memory of the sampler.
    pub data: u64,
    /// In bytes.
    pub row_stride: i32,
    pub pixel_stride: i32,
    /// In samples.
    pub width: i32,
    pub height: i32,
}

/// A frame as the kernels see it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Layout {
    /// R, G, B or Y, U, V; only the first of grey.
    pub components: [Component; 3],
    /// In pixels.
    pub width: i32,
    pub height: i32,
    /// Bytes of a sample: 1 or 2.
    pub sample_bytes: i32,
    pub colour: Colour,
    pub chroma_site: ChromaSite,
}

/// What to sample from a frame, for one row of a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[repr(C)]
pub struct Task {
    components: [Component; 3],
    centre: [f64; 2],
    size: [f64; 2],
    scale: f64,
    frame: [i32; 2],
    network: [i32; 2],
    inside: [i32; 2],
    ground: i32,
    cosited: [i32; 2],
    sample_bytes: i32,
    colour: i32,
    matrix: [i32; 6],
    row: i32,
}

/// A grid of brightnesses.
#[derive(Clone, Copy, Debug, PartialEq)]
#[repr(C)]
pub struct Grid {
    data: u64,
    row_stride: i32,
    pixel_stride: i32,
    width: i32,
    height: i32,
    columns: i32,
    rows: i32,
    samples: i32,
}

impl Task {
    /// The crop, in the frame's own pixels, for a model input of `network` pixels and an inference scale as in
    /// [`Sampler::new`](super::super::Sampler::new).
    pub fn new(layout: &Layout, crop: &Crop, network: [i32; 2], inference_scale: f64) -> Self {
        let (centre, size) = (crop.centre(), crop.size());
        let Layout { components, width, height, sample_bytes, colour, chroma_site } = *layout;
        let (colour, matrix) = match colour {
            Colour::Rgb => (0, [0; 6]),
            Colour::LimitedRgb => (1, [0; 6]),
            Colour::Gray => (2, [0; 6]),
            Colour::Yuv(matrix) => (3, matrix.entries()),
        };
        Self {
            components,
            centre: [centre.0.into(), centre.1.into()],
            size: [size.0.into(), size.1.into()],
            scale: if inference_scale < 1.0 { inference_scale.max(0.01) } else { 1.0 },
            frame: [width, height],
            network,
            inside: [0; 2],
            ground: 0,
            cosited: [chroma_site.horizontally_cosited.into(), chroma_site.vertically_cosited.into()],
            sample_bytes,
            colour,
            matrix,
            row: 0,
        }
    }
}

impl Task {
    /// The whole frame, fitted into a model input of `network` pixels.
    pub fn whole(layout: &Layout, whole: &Whole, network: [i32; 2]) -> Self {
        let inside = whole.inside().map(|side| side as i32);
        let inside = [inside[0].min(network[0]), inside[1].min(network[1])];
        let ground = BORDER.into();
        // Its place as a crop is not used.
        let any = Crop::new(&Region::new(0.0, 0.0, 1.0, 1.0), 1, 1).expect("it has an area");
        Self { inside, ground, ..Self::new(layout, &any, network, 1.0) }
    }

    /// The same task for that row of a batch; it begins with row 0.
    pub fn for_row(&self, row: usize) -> Self {
        Self { row: row as i32, ..*self }
    }

    /// Pixels of the model's input, across and down.
    pub fn network(&self) -> [u32; 2] {
        self.network.map(|side| side as u32)
    }
}

impl Grid {
    /// That many cells, each the mean of `samples` x `samples` brightnesses.
    pub fn new(layout: &Layout, [columns, rows]: [i32; 2], samples: i32) -> Self {
        // Green is used as brightness.
        let Component { data, row_stride, pixel_stride, width, height } =
            layout.components[usize::from(layout.colour.is_rgb())];
        let data = data + layout.sample_bytes as u64 - 1;
        Self { data, row_stride, pixel_stride, width, height, columns, rows, samples }
    }
}
