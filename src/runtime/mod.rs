//! What runs models: each room in here makes backends of the engine.

pub mod kserve;
pub mod onnx;

use crate::{engine::BackendOf, network::Network};

/// What the elements receive: a backend whose networks have a kind.
pub type Backend = BackendOf<Network>;
