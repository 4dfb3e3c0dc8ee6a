//! Code that reads foreign bytes, one module each, called with any bytes: by cargo-fuzz (`make fuzz`), and by the test
//! `fuzz_corpus` with the inputs in `corpus/`. None may panic, hang, or use memory that the bytes do not justify.

pub mod boxes;
pub mod crop;
pub mod frames;
pub mod input;
pub mod metadata;
pub mod model;
pub mod skeleton;
