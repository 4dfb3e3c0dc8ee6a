//! The GStreamer plugin `rtmpose`: batched RTMPose pose estimation on live and stored video.

pub mod batch;
pub mod engine;
pub mod meta;
pub mod pose;
mod sync;

use gst::glib;

fn plugin_init(plugin: &gst::Plugin) -> Result<(), glib::BoolError> {
    meta::init();
    batch::register(plugin)
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
