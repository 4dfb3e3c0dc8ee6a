//! What takes foreign bytes, one module each, called with any bytes: by cargo-fuzz (`make fuzz`), and by the test
//! `fuzz_corpus` with those that are kept in `corpus/`. None may panic, hang, or take memory that the bytes do not ask for.

pub mod boxes;
pub mod crop;
pub mod frames;
pub mod input;
pub mod metadata;
pub mod model;
pub mod skeleton;
