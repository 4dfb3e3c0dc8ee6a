//! Who runs a network: each room in here makes `engine::Backend`s.

pub mod onnx;
