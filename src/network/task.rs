//! The tasks of models.

/// What an element needs a model for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Task {
    /// People's key points.
    Poses,
    /// People's boxes.
    Boxes,
}
