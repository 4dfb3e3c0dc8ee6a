//! What the rows of a network mean, and the key points that are read from them.

use super::{Peak, ScoreMode};
use crate::{pose::KeyPoint, video::Crop};

/// What the numbers of a row are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// RTMPose, RTMW, DWPose: for each of `points` key points its place in crop pixels, x and y, and what `columns` says.
    SimCc { points: usize, columns: Columns },
}

/// What a row tells of a key point beside its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Columns {
    /// The maxima of both axes.
    Maxima,
    /// The smaller one alone.
    Score,
}

impl Columns {
    /// Numbers of a key point.
    pub fn count(self) -> usize {
        match self {
            Self::Maxima => 4,
            Self::Score => 3,
        }
    }
}

impl Kind {
    /// Numbers in a row, R.
    pub fn row(self) -> usize {
        match self {
            Self::SimCc { points, columns } => points * columns.count(),
        }
    }

    /// Key points of a person, K.
    pub fn points(self) -> usize {
        match self {
            Self::SimCc { points, .. } => points,
        }
    }

    /// Whether a key point has one score, in place of the maxima of both axes.
    pub fn only_score(self) -> bool {
        match self {
            Self::SimCc { columns, .. } => columns == Columns::Score,
        }
    }

    /// The key points of a row, in the frame that the crop is of. NaN in a row makes its key point a missing one.
    pub fn key_points(self, row: &[f32], crop: &Crop, mode: ScoreMode) -> Vec<KeyPoint> {
        match self {
            Self::SimCc { columns: Columns::Maxima, .. } => {
                let peak = |&[x, y, max_x, max_y]: &[f32; 4]| Peak { x, y, max_x, max_y };
                let (rows, _) = row.as_chunks();
                rows.iter().map(|values| peak(values).to_key_point(crop, mode)).collect()
            }
            Self::SimCc { columns: Columns::Score, .. } => {
                let peak = |&[x, y, score]: &[f32; 3]| Peak { x, y, max_x: score, max_y: score };
                let (rows, _) = row.as_chunks();
                rows.iter().map(|values| peak(values).to_key_point(crop, mode)).collect()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pose::Region;

    #[test]
    fn both_kinds_of_columns_become_key_points() {
        // Its pixels are the frame's.
        let crop = Crop::new(&Region::new(0.0, 0.0, 8.0, 8.0), 10, 10).unwrap();
        let points = |columns, row: &[f32]| {
            let kind = Kind::SimCc { points: 2, columns };
            assert_eq!(kind.row(), row.len());
            let points = kind.key_points(row, &crop, ScoreMode::Min);
            let (left, top) = crop.to_frame(0.0, 0.0);
            points.iter().map(|point| [point.x - left, point.y - top, point.score]).collect::<Vec<_>>()
        };
        let maxima = points(Columns::Maxima, &[1.0, 2.5, 0.5, 0.25, 3.0, 4.0, f32::NAN, 1.5]);
        assert_eq!(maxima, [[1.0, 2.5, 0.25], [3.0, 4.0, 0.0]]);
        let score = points(Columns::Score, &[1.0, 2.5, 0.5, 3.0, 4.0, 1.5]);
        assert_eq!(score, [[1.0, 2.5, 0.5], [3.0, 4.0, 1.5]]);
    }
}
