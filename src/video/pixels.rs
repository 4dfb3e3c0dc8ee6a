//! A frame's pixels, in any memory.

use std::sync::Arc;

use super::{Picture, cuda::DeviceFrame};

#[derive(Clone)]
pub enum Pixels<'a> {
    Host(Picture<'a>),
    Card(Arc<DeviceFrame>),
}

impl Pixels<'_> {
    /// A grid of brightnesses, each the mean of `samples` x `samples`, row by row.
    pub fn brightness(&self, columns: usize, rows: usize, samples: usize) -> Vec<u8> {
        match self {
            Self::Host(picture) => picture.brightness(columns, rows, samples),
            Self::Card(frame) => frame.brightness(columns, rows, samples),
        }
    }
}
