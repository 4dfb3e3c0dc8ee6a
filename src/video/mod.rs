//! Frames: formats, planes, colours, pictures, and the sampling of crops.

mod allocation;
pub mod cuda;
mod formats;
mod frame;
mod pixels;
pub(crate) mod planes;
mod region;
pub mod sample;
mod shape;
mod whole;

pub(crate) use allocation::refuse_crop_meta;
pub(crate) use formats::{FORMATS, log_refusal};
pub(crate) use frame::{Colours, misfit, picture};
pub use pixels::Pixels;
pub use region::{Crop, Region};
pub use sample::{ChromaSite, Colour, Component, Picture, Sampler, YuvMatrix};
pub use shape::FrameShape;
pub use whole::{Fit, Whole};
