//! From a crop's answer to a person's key points in the frame.

use crate::{
    engine::PendingAnswer,
    network::{Kind, ScoreMode},
    pose::KeyPoint,
    video::Crop,
};

/// The key points that were found in a crop. The error is why there are none.
pub(super) fn key_points(
    pending: &PendingAnswer,
    crop: &Crop,
    kind: Kind,
    mode: ScoreMode,
) -> Result<Vec<KeyPoint>, String> {
    pending.row().map(|row| kind.key_points(row, crop, mode))
}
