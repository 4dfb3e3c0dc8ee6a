//! What networks are used for.

/// What an element wants of a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Task {
    /// People's key points.
    Poses,
    /// People's boxes.
    Boxes,
}
