//! What differs between systems: files, drivers, libraries.

pub(crate) mod cuda;
pub(crate) mod files;
pub(crate) mod gpu;
pub(crate) mod nvrtc;
