//! What differs between systems: files, drivers, libraries.

pub(crate) mod files;
pub(crate) mod gpu;
