//! What inference elements are made of.

pub(crate) mod properties;
