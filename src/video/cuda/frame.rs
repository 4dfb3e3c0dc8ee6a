//! A frame in GPU memory.

use std::sync::Arc;

use super::{
    super::{Colours, Crop, Whole},
    cards::Cards,
    device::{Device, Memory},
    library::{GstCuda, MEMORY_TYPE, Mapped},
    task::{Component, Grid, Layout, Task},
};

/// A frame that is mapped on its GPU; its memory is held until this is dropped.
pub struct DeviceFrame {
    device: Arc<Device>,
    layout: Layout,
    /// None if the frame's bytes were copied.
    _mapped: Option<Mapped>,
    /// The frame's bytes, if its own belong to another context.
    copy: Option<Memory>,
}

/// Whether the buffer's memory is GPU memory of GStreamer's CUDA library.
pub fn is_on_a_card(buffer: &gst::BufferRef) -> bool {
    buffer.n_memory() == 1 && buffer.peek_memory(0).is_type(MEMORY_TYPE)
}

impl DeviceFrame {
    /// Maps the buffer, whose memory is GPU memory, on the GPU of `cards` where it is, or to which it is copied. The error
    /// completes a sentence that begins with 'A frame of '.
    pub(crate) fn map(
        cards: &Cards,
        is_lost: &dyn Fn(u32) -> bool,
        buffer: &gst::BufferRef,
        info: &gst_video::VideoInfo,
        colours: &Colours,
    ) -> Result<Self, String> {
        let format = format!("{}x{} {} in CUDA memory", info.width(), info.height(), info.format());
        let memory = buffer.memory(0).ok_or_else(|| format!("{format} has no memory"))?;
        let mapped = GstCuda::get()?.map(memory);
        let mapped = mapped.ok_or_else(|| format!("{format} cannot be mapped on its GPU"))?;
        let device = cards.for_memory(&mapped, is_lost);
        let device = device.ok_or("CUDA memory cannot be read: the model does not run on a GPU")?;
        let (mut address, bytes) = mapped.place();
        let mut layout = layout(buffer, info, colours, bytes).ok_or_else(|| {
            format!("the offsets and strides (GstVideoMeta) of {format} leave its {bytes} bytes")
        })?;
        let (mapped, copy) = if device.is_own(mapped.context()) {
            (Some(mapped), None)
        } else {
            let copy = device
                .fetch((address, bytes), mapped.context())
                .map_err(|error| format!("{format} cannot be copied to another context: {:?}", error.0))?;
            address = copy.address;
            (None, Some(copy))
        };
        layout.components.iter_mut().for_each(|component| component.data += address);
        Ok(Self { device: device.clone(), layout, _mapped: mapped, copy })
    }

    /// The number of the GPU that reads it.
    pub fn card(&self) -> u32 {
        self.device.number()
    }

    /// Whether it had to be copied, because it belongs to another context.
    pub fn is_copy(&self) -> bool {
        self.copy.is_some()
    }

    /// The kernel's task to sample the crop, in the frame's own pixels.
    pub fn crop(&self, crop: &Crop, network: [i32; 2], inference_scale: f64) -> Task {
        Task::new(&self.layout, crop, network, inference_scale)
    }

    /// The kernel's task to fit the whole frame into the model's input.
    pub fn whole(&self, whole: &Whole, network: [i32; 2]) -> Task {
        Task::whole(&self.layout, whole, network)
    }

    /// Samples a crop into rows of RGB in host memory: for a model that does not run on the GPU.
    pub fn fetch_crop(&self, task: &Task, out: &mut [u8]) -> Result<(), String> {
        let task = task.for_row(0);
        // SAFETY: the frame lives.
        unsafe { self.device.fetch_crop(&task, task.network(), out) }
    }

    /// A grid of brightnesses, each the mean of `samples` x `samples`, row by row; black if the GPU does not answer.
    pub fn brightness(&self, columns: usize, rows: usize, samples: usize) -> Vec<u8> {
        let grid = Grid::new(&self.layout, [columns as i32, rows as i32], samples as i32);
        // SAFETY: the frame lives.
        let cells = unsafe { self.device.glimpse(&grid, columns * rows) };
        cells.unwrap_or_else(|_| vec![0; columns * rows])
    }
}

impl Drop for DeviceFrame {
    fn drop(&mut self) {
        if let Some(copy) = self.copy.take() {
            self.device.give_back(copy);
        }
    }
}

/// Where each plane begins in the buffer's memory, and its bytes from row to row: from its GstVideoMeta, or else its caps.
pub(crate) fn places_of_planes(
    buffer: &gst::BufferRef,
    info: &gst_video::VideoInfo,
) -> (Vec<usize>, Vec<i32>) {
    match buffer.meta::<gst_video::VideoMeta>() {
        Some(meta) => (meta.offset().to_vec(), meta.stride().to_vec()),
        None => (info.offset().to_vec(), info.stride().to_vec()),
    }
}

/// Where the components are, relative to the memory's first byte; none if they leave it.
pub(super) fn layout(
    buffer: &gst::BufferRef,
    info: &gst_video::VideoInfo,
    colours: &Colours,
    bytes: u64,
) -> Option<Layout> {
    let (offsets, strides) = places_of_planes(buffer, info);
    let format = info.format_info();
    let sample_bytes = i32::try_from(format.depth().first()?.div_ceil(8)).ok()?;
    let count = format.n_components().min(3);
    let component = |index: u32| {
        let (index, number) = (index as usize, index as u8);
        let plane = format.plane()[index] as usize;
        let (row_stride, pixel_stride) = (*strides.get(plane)?, info.comp_pstride(number));
        let (width, height) = (info.comp_width(number) as i32, info.comp_height(number) as i32);
        // GStreamer's table for P010 puts V one byte after U.
        let before = format.plane()[..index].iter().filter(|other| **other as usize == plane).count() as u64;
        let in_the_pixel =
            if sample_bytes == 1 { format.poffset()[index].into() } else { before * sample_bytes as u64 };
        let data = *offsets.get(plane)? as u64 + in_the_pixel;
        let last = u64::try_from(row_stride).ok()?.checked_mul(u64::try_from(height - 1).ok()?)?;
        let last = last + u64::try_from(width - 1).ok()? * pixel_stride as u64 + sample_bytes as u64;
        (data.checked_add(last)? <= bytes).then_some(Component {
            data,
            row_stride,
            pixel_stride,
            width,
            height,
        })
    };
    let components: [Option<Component>; 3] = std::array::from_fn(|index| component(index as u32 % count));
    let [Some(first), Some(second), Some(third)] = components else { return None };
    Some(Layout {
        components: [first, second, third],
        width: info.width() as i32,
        height: info.height() as i32,
        sample_bytes,
        colour: colours.colour,
        chroma_site: colours.chroma_site,
    })
}
