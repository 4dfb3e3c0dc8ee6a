//! What the two elements that run networks share beyond their stage: properties, the backend and the engine that are made
//! from them, and ONNX Runtime's log.

mod asked;
mod configured;
mod device_ids;
mod enums;
mod log;
mod memory;
mod opening;
mod servers;
mod settings;

pub(crate) use asked::Asked;
pub(crate) use configured::{Configuration, Configured, before_change, property, set_property};
pub use enums::*;
pub(crate) use log::log_batch;
pub(crate) use memory::{caps, cards};
pub(crate) use opening::open_engine;
pub(crate) use settings::Properties;

/// Call this before an element is registered.
pub(crate) fn init() {
    enums::mark_as_plugin_api();
}
