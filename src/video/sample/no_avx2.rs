//! In the place of `avx2.rs` where there is no AVX2.

use super::colour::Colour;
use super::group::Part;

/// There is none.
#[derive(Clone, Copy, Debug)]
pub(super) enum Avx2 {}

impl Avx2 {
    pub fn detect() -> Option<Self> {
        None
    }
}

#[derive(Debug, Default)]
pub(super) struct Rows<const PAIRS: usize>;

impl<const PAIRS: usize> Rows<PAIRS> {
    pub fn plan(&mut self, _: &[Option<Part<PAIRS>>; 3], _: Colour) -> bool {
        false
    }

    pub fn draw(&mut self, none: Avx2, _: &[Option<Part<PAIRS>>; 3], _: usize, _: Colour, _: &mut [u8]) {
        match none {}
    }
}
