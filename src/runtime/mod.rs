//! Who runs a network: each room in here makes backends of the engine.

pub mod kserve;
pub mod onnx;

use crate::{engine::BackendOf, network::Network};

/// What the elements are given: a backend that tells its networks' kind.
pub type Backend = BackendOf<Network>;
