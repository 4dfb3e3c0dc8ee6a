//! What a network takes and gives: what a file must look like, the graph rewritten to take bytes, and the decoding of its
//! answers.

pub(crate) mod contract;
pub mod graph;
mod simcc;

pub use simcc::{Peak, ScoreMode, decode};
