//! The GStreamer plugin `rtmpose`: batched RTMPose pose estimation on live and stored video.
//!
//! `rtmposebatch` finds people's key points and attaches them to the frames, `rtmposeoverlay` draws them, `rtmposejson`
//! turns them into lines of JSON. One frame's way through `rtmposebatch`, and no step back:
//!
//! 1. The sink pad's chain function ([`batch`], `sink.rs`) asks for the regions to look at ([`meta`], `regions.rs`),
//!    samples each region's crop from the frame's own pixel format ([`pose`]) and submits it to the engine.
//! 2. The frame waits in the ordered queue (`queue.rs`) between the events and queries that came with it.
//! 3. The engine ([`engine`]) cuts batches of crops and runs them ([`engine::onnx`]) on a graph that takes bytes and gives
//!    key points ([`engine::onnx::graph`]); each crop's ticket is answered.
//! 4. The source pad's task (`src.rs`) takes the head of the queue once its tickets are answered, turns the network's
//!    peaks into key points in the frame ([`pose`]), attaches them ([`meta`]) and pushes the frame.
//!
//! [`engine`] and [`pose`] know no GStreamer. Dependencies point one way: `batch`, `overlay` and `json` use `meta`, `engine`
//! and `pose`; `meta` and `engine` use `pose`.

mod allocation;
pub mod batch;
pub mod engine;
mod files;
mod formats;
pub mod json;
pub mod meta;
pub mod overlay;
mod planes;
pub mod pose;
mod sync;

use gst::glib;

pub use engine::onnx::set_environment;

fn plugin_init(plugin: &gst::Plugin) -> Result<(), glib::BoolError> {
    meta::init();
    batch::register(plugin)?;
    overlay::register(plugin)?;
    json::register(plugin)
}

gst::plugin_define!(
    rtmpose,
    env!("CARGO_PKG_DESCRIPTION"),
    plugin_init,
    concat!(env!("CARGO_PKG_VERSION"), "-", env!("COMMIT_ID")),
    "Apache 2.0",
    env!("CARGO_PKG_NAME"),
    env!("CARGO_PKG_NAME"),
    env!("CARGO_PKG_NAME"),
    env!("BUILD_REL_DATE")
);
