//! Frames in the memory of an NVIDIA GPU, where GStreamer's decoders leave them: a kernel samples crops directly into the
//! model's input. The kernels are in separate files, which the tests also run on the CPU.

mod cards;
mod device;
mod frame;
mod library;
mod painter;
mod task;
#[cfg(test)]
pub(crate) mod tests;

pub use cards::Cards;
pub use device::{Device, Memory};
pub(crate) use frame::places_of_planes;
pub use frame::{DeviceFrame, is_on_a_card};
pub use library::{CONTEXT_TYPE, GstCuda, MappedMut};
pub use painter::{Layer, Painter, Stroke};
pub use task::Task;

use gst_video::VideoFormat;

/// The caps feature of frames in GPU memory.
pub const FEATURE: &str = "memory:CUDAMemory";

/// The pixel formats that can be drawn on there.
pub const PAINTED_FORMATS: [VideoFormat; 5] =
    [VideoFormat::Nv12, VideoFormat::Rgba, VideoFormat::Bgra, VideoFormat::Rgbx, VideoFormat::Bgrx];

/// The pixel formats that can be sampled there.
pub const FORMATS: [VideoFormat; 6] = [
    VideoFormat::Nv12,
    VideoFormat::P01010le,
    VideoFormat::Rgba,
    VideoFormat::Bgra,
    VideoFormat::Rgbx,
    VideoFormat::Bgrx,
];
