//! Lets tests and fuzzing hand in a model file's bytes, without ONNX Runtime.

use super::network::Network;
use crate::{engine::Error, network::graph::Adaptation};

/// What ONNX Runtime would be given for a file of these bytes; the error that the element would post.
pub fn check_and_adapt(bytes: &[u8], adaptation: &Adaptation) -> Result<Vec<u8>, Error> {
    Network::of(bytes.to_vec().into(), "model.onnx".to_string())?.adapted(adaptation)
}
