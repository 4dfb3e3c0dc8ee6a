//! The GStreamer plugin `rtmpose`: batched RTMPose pose estimation on live and stored video.
//!
//! `rtmposedetect` finds people, `rtmposebatch` finds their key points and attaches them to the frames, `rtmposeoverlay` draws
//! them, `rtmposejson` turns them into JSON. One frame's way through `rtmposebatch`, and no step back:
//!
//! 1. The sink pad's chain function ([`stage`], `input.rs`) asks [`posebatch`] for the regions to look at ([`meta`],
//!    [`track`]), samples each region's crop from the frame's own pixel format ([`video`]) and submits it to the engine.
//! 2. The frame waits in the ordered queue (`queue.rs`) between the events and queries that came with it.
//! 3. The engine ([`engine`]) cuts batches of crops and runs them ([`runtime`]) on a graph that takes bytes and gives
//!    rows of numbers ([`network::graph`]); each crop gets its answer.
//! 4. The source pad's task (`output.rs`) takes the head of the queue once its answers are there; [`posebatch`] turns
//!    the rows into key points in the frame ([`network`]) and attaches them ([`meta`]); the task pushes the frame.
//!
//! `docs/architecture.md` draws that, and says who owns what and where something new goes. The rooms, top floor first; each
//! uses those below it only, which `tests/rooms.rs` checks:
//!
//! | room | what is in it |
//! |---|---|
//! | [`detect`], [`posebatch`], [`overlay`], [`json`] | the elements |
//! | `common` | what the elements that run networks have in common: properties, and the engine that is opened by them |
//! | [`stage`] | what an inference element is made of, whatever it looks for: pads, ordered queue, task, latency, figures |
//! | [`track`] | following people from frame to frame |
//! | [`meta`] | people and regions <-> buffer metadata |
//! | [`runtime`] | who runs a network: ONNX Runtime, or servers elsewhere |
//! | [`network`] | what a network takes and gives: what a file must look like, the graph rewritten, rows decoded |
//! | [`engine`] | batching, for any network: streams, when to cut, executors, shared engines |
//! | [`pose`] | people: key points, skeletons, smoothing |
//! | [`video`] | frames: formats, planes, colours, what a crop is, crops sampled, also on an NVIDIA card ([`video::cuda`]) |
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
