//! The GStreamer plugin `rtmpose`: RTMPose pose estimation in batches, on live and stored video.
//!
//! `rtmposedetect` finds people, `rtmposebatch` finds their key points and attaches them to the frames, `rtmposeoverlay`
//! draws them, and `rtmposejson` writes them as JSON. A frame takes these steps through `rtmposebatch`:
//!
//! 1. The sink pad's chain function ([`stage`], `input.rs`) asks [`posebatch`] which boxes of the frame to infer ([`meta`],
//!    [`track`]), samples a crop of each from the frame's own pixel format ([`video`]) and submits it to the engine.
//! 2. The frame waits in the ordered queue (`queue.rs`), between the events and queries that came with it.
//! 3. The engine ([`engine`]) cuts batches of crops and runs them ([`runtime`]) on a graph that accepts bytes and returns
//!    rows of numbers ([`network::graph`]). Each crop gets its answer.
//! 4. The source pad's task (`output.rs`) takes the head of the queue once its answers are there. [`posebatch`] turns the
//!    rows into key points in the frame ([`network`]) and attaches them ([`meta`]). The task pushes the frame.
//!
//! `docs/architecture.md` has a drawing of this, and says who owns what and where new code goes. The rooms from top to
//! bottom; each uses only rooms below it, which `tests/rooms.rs` checks:
//!
//! | room | contents |
//! |---|---|
//! | [`detect`], [`posebatch`], [`overlay`], [`json`] | the elements |
//! | `common` | what the elements that run models share: properties, and opening an engine from them |
//! | [`stage`] | what every inference element consists of: pads, ordered queue, task, latency, statistics |
//! | [`track`] | tracking people from frame to frame |
//! | [`meta`] | people and regions <-> buffer metadata |
//! | [`runtime`] | what runs a model: ONNX Runtime, or inference servers |
//! | [`network`] | what a model accepts and returns: checks of the file, the adapted graph, decoding of rows |
//! | [`engine`] | batching, for any model: streams, cutting batches, executors, shared engines |
//! | [`pose`] | people: key points, skeletons, smoothing |
//! | [`video`] | frames: formats, planes, colours, sampling of crops, also on NVIDIA GPUs ([`video::cuda`]) |
//! | `platform` | what differs between systems: files, drivers |

mod common;
pub mod detect;
pub mod engine;
pub mod json;
pub mod meta;
pub mod network;
pub mod overlay;
mod platform;
pub mod pose;
pub mod posebatch;
mod properties;
pub mod runtime;
pub mod stage;
mod sync;
pub mod track;
pub mod video;

use gst::glib;

pub use runtime::onnx::set_environment;

fn plugin_init(plugin: &gst::Plugin) -> Result<(), glib::BoolError> {
    meta::init();
    detect::register(plugin)?;
    posebatch::register(plugin)?;
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
