//! For CPUs whose vector instructions are not used here.

use super::super::{colour::Colour, group::Part};

/// There are none.
#[derive(Clone, Copy, Debug)]
pub(in super::super) enum Vectors {}

impl Vectors {
    pub fn detect() -> Option<Self> {
        None
    }
}

#[derive(Debug, Default)]
pub(in super::super) struct Rows<const PAIRS: usize>;

impl<const PAIRS: usize> Rows<PAIRS> {
    pub fn plan(&mut self, _: &[Option<Part<PAIRS>>; 3], _: Colour) -> bool {
        false
    }

    pub fn draw(&mut self, none: Vectors, _: &[Option<Part<PAIRS>>; 3], _: usize, _: Colour, _: &mut [u8]) {
        match none {}
    }
}
