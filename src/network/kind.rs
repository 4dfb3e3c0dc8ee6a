//! What the rows of a model mean, and how key points are read from them.

use super::{Boxes, Peak, ScoreMode, Task, heatmap, rtmo};
use crate::{
    pose::{KeyPoint, Person},
    video::{Crop, Fit, Whole},
};

/// What the numbers of a row are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// RTMPose, RTMW, DWPose: for each of `points` key points its place in crop pixels, x and y, and the values in
    /// `columns`.
    SimCc { points: usize, columns: Columns },
    /// ViTPose: for each of `points` key points a map of `height` rows of `width` values, over the whole crop.
    HeatMaps { points: usize, width: usize, height: usize },
    /// A detector's boxes.
    Boxes(Boxes),
    /// RTMO: for each of `most` people their box (left, top, right, bottom in pixels of the input) and its score, and for
    /// each of `points` key points x, y and score. Unused places have a box score of 0.
    People { most: usize, points: usize },
}

/// What a row says about a key point besides its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Columns {
    /// The maxima of both axes.
    Maxima,
    /// Only the smaller one.
    Score,
    /// RTMW3D: the maxima of both axes, and metres from the middle of the hips.
    Depth,
}

/// What a model returns instead of the maxima of both axes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnlyScore {
    /// Only the smaller one.
    Minimum,
    /// A heat map has one.
    OneMaximum,
    /// A score for each point.
    OwnScore,
}

impl Columns {
    /// Numbers for each key point.
    pub fn count(self) -> usize {
        match self {
            Self::Maxima => 4,
            Self::Score => 3,
            Self::Depth => 5,
        }
    }
}

impl Kind {
    /// Numbers in a row, R.
    pub fn row(self) -> usize {
        match self {
            Self::SimCc { points, columns } => points * columns.count(),
            Self::HeatMaps { points, width, height } => points * width * height,
            Self::Boxes(boxes) => boxes.most * boxes.form.columns(),
            Self::People { most, points } => most * (5 + 3 * points),
        }
    }

    /// Key points of a person, K; none for a detector.
    pub fn points(self) -> usize {
        match self {
            Self::SimCc { points, .. } | Self::HeatMaps { points, .. } | Self::People { points, .. } => {
                points
            }
            Self::Boxes(_) => 0,
        }
    }

    /// What it is used for.
    pub fn task(self) -> Task {
        if let Self::Boxes(_) = self { Task::Boxes } else { Task::Poses }
    }

    /// How a whole frame is fitted into the input; none if the model processes crops of people.
    pub fn fit(self) -> Option<Fit> {
        match self {
            Self::SimCc { .. } | Self::HeatMaps { .. } => None,
            Self::Boxes(boxes) => Some(boxes.fit()),
            Self::People { .. } => Some(Fit::Letterbox),
        }
    }

    /// The dimensions of the adapted graph's answer to that many crops.
    pub(crate) fn dimensions(self, rows: usize) -> Vec<usize> {
        match self {
            Self::SimCc { points, columns } => vec![rows, points, columns.count()],
            Self::HeatMaps { points, width, height } => vec![rows, points, height, width],
            Self::Boxes(boxes) => vec![rows, boxes.most, boxes.form.columns()],
            Self::People { most, points } => vec![rows, most, 5 + 3 * points],
        }
    }

    /// Why a score cannot be the mean of two maxima; none if it can.
    pub fn only_score(self) -> Option<OnlyScore> {
        match self {
            Self::SimCc { columns: Columns::Maxima | Columns::Depth, .. } => None,
            Self::SimCc { columns: Columns::Score, .. } => Some(OnlyScore::Minimum),
            Self::HeatMaps { .. } => Some(OnlyScore::OneMaximum),
            Self::Boxes(_) | Self::People { .. } => Some(OnlyScore::OwnScore),
        }
    }

    /// The key points of a row, in the frame of the crop; none if the model processes whole frames. With NaN, a SimCC key
    /// point is missing.
    pub fn key_points(self, row: &[f32], crop: &Crop, mode: ScoreMode) -> Vec<KeyPoint> {
        match self {
            Self::SimCc { columns: Columns::Maxima, .. } => {
                let peak = |&[x, y, max_x, max_y]: &[f32; 4]| Peak { x, y, max_x, max_y };
                let (rows, _) = row.as_chunks();
                rows.iter().map(|values| peak(values).to_key_point(crop, mode)).collect()
            }
            Self::SimCc { columns: Columns::Depth, .. } => {
                let point = |&[x, y, max_x, max_y, z]: &[f32; 5]| {
                    Peak { x, y, max_x, max_y }.to_key_point_at(crop, mode, z)
                };
                let (rows, _) = row.as_chunks();
                rows.iter().map(point).collect()
            }
            Self::SimCc { columns: Columns::Score, .. } => {
                let peak = |&[x, y, score]: &[f32; 3]| Peak { x, y, max_x: score, max_y: score };
                let (rows, _) = row.as_chunks();
                rows.iter().map(|values| peak(values).to_key_point(crop, mode)).collect()
            }
            Self::HeatMaps { width, height, .. } => {
                let key_point = |map: &[f32]| {
                    let ([across, down], score) = heatmap::peak(map, width, height);
                    let (x, y) = crop.share_to_frame(across, down);
                    KeyPoint { x, y, score: if score.is_finite() { score } else { 0.0 }, z: None }
                };
                row.chunks_exact(width * height).map(key_point).collect()
            }
            Self::Boxes(_) | Self::People { .. } => Vec::new(),
        }
    }

    /// The people of a row in the frame of `whole`, in square pixels; if they are more than `most`, those with the highest
    /// scores. None if the model processes crops.
    pub fn people(self, row: &[f32], whole: &Whole, most: usize) -> Vec<Person> {
        match self {
            Self::People { points, .. } => rtmo::people(row, points, whole, most),
            Self::SimCc { .. } | Self::HeatMaps { .. } | Self::Boxes(_) => Vec::new(),
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
        let depth = [1.0, 2.5, 0.5, 0.25, -0.75, 3.0, 4.0, 0.5, 0.5, f32::NAN];
        assert_eq!(points(Columns::Depth, &depth), [[1.0, 2.5, 0.25], [3.0, 4.0, 0.5]]);
        let kind = Kind::SimCc { points: 2, columns: Columns::Depth };
        let depths =
            kind.key_points(&depth, &crop, ScoreMode::Min).iter().map(|point| point.z).collect::<Vec<_>>();
        assert_eq!(depths, [Some(-0.75), None]);
        let score = points(Columns::Score, &[1.0, 2.5, 0.5, 3.0, 4.0, 1.5]);
        assert_eq!(score, [[1.0, 2.5, 0.5], [3.0, 4.0, 1.5]]);
    }
}
