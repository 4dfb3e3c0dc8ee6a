//! Where the parts of a whole body (coco-wholebody-133) are among its points.

use std::ops::Range;

/// As in COCO; halpe-26 begins with the same points.
pub const BODY: Range<usize> = 0..17;
pub const FEET: Range<usize> = 17..23;
pub const FACE: Range<usize> = 23..91;
pub const LEFT_HAND: Range<usize> = 91..112;
pub const RIGHT_HAND: Range<usize> = 112..133;
