//! What the two elements that run networks have in common beyond their stage: properties, the backend and the engine that are
//! made of them, and ONNX Runtime's log.

mod asked;
mod enums;
mod log;
mod memory;
mod opening;
mod servers;
mod settings;

pub(crate) use asked::Asked;
pub use enums::*;
pub(crate) use log::log_batch;
pub(crate) use memory::{caps, card};
#[cfg(any(debug_assertions, feature = "testing"))]
pub(crate) use opening::Given;
pub(crate) use opening::open_engine;
pub(crate) use settings::{Properties, warn_of_late_property, warn_of_milliseconds};

/// To be called before an element is registered.
pub(crate) fn init() {
    enums::mark_as_plugin_api();
}
