//! Frames that stay in the memory of an NVIDIA card, as GStreamer's decoders leave them there: crops are sampled by a kernel,
//! straight into the network's input. The kernels stand in files of their own, which the tests run on the processor, too.

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

/// The caps feature of frames in a card's memory.
pub const FEATURE: &str = "memory:CUDAMemory";

/// The pixel formats that are drawn on there.
pub const PAINTED_FORMATS: [VideoFormat; 5] =
    [VideoFormat::Nv12, VideoFormat::Rgba, VideoFormat::Bgra, VideoFormat::Rgbx, VideoFormat::Bgrx];

/// The pixel formats that are sampled there.
pub const FORMATS: [VideoFormat; 6] = [
    VideoFormat::Nv12,
    VideoFormat::P01010le,
    VideoFormat::Rgba,
    VideoFormat::Bgra,
    VideoFormat::Rgbx,
    VideoFormat::Bgrx,
];
