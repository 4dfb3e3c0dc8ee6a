//! Tiny models whose correct answer is known (`tests/networks/README.md`), run by ONNX Runtime in the element: a dot in a
//! frame becomes a key point in the frame's metadata.

#[path = "../network_rig/mod.rs"]
mod network_rig;

mod colours;
mod depth;
mod people;
mod positions;
mod sizes;
mod streams;
