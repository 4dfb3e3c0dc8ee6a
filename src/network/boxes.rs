//! From a detector's row to boxes in the frame: thresholds, classes, and suppression of overlapping boxes, if the file does
//! not suppress them itself (rtmlib `object_detection/yolox.py`, `post_processings.py` `multiclass_nms`).

use super::Classes;
use crate::video::{Fit, Region, Whole};

/// What the rows of a detector mean. Boxes are left, top, right, bottom in pixels of the input.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Boxes {
    pub form: BoxForm,
    /// Boxes in a row. Unused places have a score of 0.
    pub most: usize,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum BoxForm {
    /// YOLOX and RTMDet with suppression in the file: box, score and class.
    Suppressed { classes: Classes },
    /// YOLOX without, or a file whose graph ends before its suppression: box, and its score for each of that many classes.
    Candidates { classes: usize, suppression: Option<Suppression> },
    /// RF-DETR, which needs no suppression: the same, in a stretched frame.
    Queries { classes: usize },
}

impl BoxForm {
    /// Numbers of a box.
    pub fn columns(&self) -> usize {
        match self {
            Self::Suppressed { .. } => 6,
            Self::Candidates { classes, .. } | Self::Queries { classes } => 4 + classes,
        }
    }
}

/// How a file suppresses boxes, as its ONNX operator NonMaxSuppression does.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Suppression {
    /// Boxes with higher scores.
    pub score: f32,
    /// If the intersection of two boxes of a class is more than this share of their union, only the one with the higher
    /// score.
    pub overlap: f32,
    /// At most this many of a class.
    pub of_a_class: usize,
}

/// Which boxes are kept.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Thresholds {
    /// Boxes with higher scores.
    pub score: f32,
    /// If the intersection of two boxes of a class is more than this share of their union, only the one with the higher
    /// score.
    pub overlap: f32,
    /// At most this many, those with the highest scores.
    pub most: usize,
}

/// A box that was found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Detection {
    /// In square pixels; can extend over the frame's border.
    pub region: Region,
    /// Above 0, at most about 1.
    pub score: f32,
}

impl Boxes {
    /// How a frame is fitted into the network's input.
    pub fn fit(&self) -> Fit {
        match self.form {
            BoxForm::Suppressed { .. } | BoxForm::Candidates { .. } => Fit::Letterbox,
            BoxForm::Queries { .. } => Fit::Stretch,
        }
    }

    /// The boxes of a row in the frame of `whole`, by descending score; candidates of YOLOX are ordered by class first, and
    /// boxes of a file with suppression keep the file's order. Boxes without an area, or with numbers that are not finite,
    /// are left out.
    pub fn detections(&self, row: &[f32], whole: &Whole, thresholds: &Thresholds) -> Vec<Detection> {
        let boxes = row.chunks_exact(self.form.columns()).take(self.most);
        let detection = |numbers: &[f32], score: f32| {
            let above = score > thresholds.score.max(0.0) && score.is_finite();
            let region = above.then(|| region(numbers, whole)).flatten()?;
            Some(Detection { region, score })
        };
        let of_class = |class: usize| {
            let found = boxes.clone().filter_map(|numbers| detection(numbers, numbers[4 + class]));
            by_score(found.collect())
        };
        let most = thresholds.most;
        match self.form {
            BoxForm::Suppressed { classes } => {
                let is_wanted = |label: f32| label >= 0.0 && classes.contains(label.round() as usize);
                let wanted = boxes.filter(|numbers| is_wanted(numbers[5]));
                let found = wanted.filter_map(|numbers| detection(numbers, numbers[4])).collect();
                surest(found, most, |found| found.score)
            }
            BoxForm::Candidates { classes, suppression: None } => {
                // As rtmlib does, a box includes its first and its last pixel.
                let kept = |class| suppressed(of_class(class), thresholds.overlap, most, 1.0);
                surest((0..classes).flat_map(kept).collect(), most, |found| found.score)
            }
            BoxForm::Candidates { classes, suppression: Some(own) } => {
                let kept = |class| {
                    let found = of_class(class).into_iter().filter(|found| found.score > own.score).collect();
                    suppressed(found, own.overlap, most.min(own.of_a_class), 0.0)
                };
                let mut found = by_score((0..classes).flat_map(kept).collect());
                found.truncate(most);
                found
            }
            BoxForm::Queries { classes } => {
                let mut found = by_score((0..classes).flat_map(of_class).collect());
                found.truncate(most);
                found
            }
        }
    }
}

/// By descending score.
fn by_score(mut found: Vec<Detection>) -> Vec<Detection> {
    found.sort_by(|a, b| b.score.total_cmp(&a.score));
    found
}

/// A box in the frame; none if it is not one.
fn region(numbers: &[f32], whole: &Whole) -> Option<Region> {
    let (left, top) = whole.to_frame(numbers[0], numbers[1]);
    let (right, bottom) = whole.to_frame(numbers[2], numbers[3]);
    Some(Region::new(left, top, right - left, bottom - top)).filter(Region::is_usable)
}

/// At most this many, those with the highest scores, in their order.
pub(super) fn surest<T>(found: Vec<T>, most: usize, score: impl Fn(&T) -> f32) -> Vec<T> {
    if found.len() <= most {
        return found;
    }
    let mut numbered: Vec<_> = found.into_iter().enumerate().collect();
    numbered.sort_by(|(_, a), (_, b)| score(b).total_cmp(&score(a)));
    numbered.truncate(most);
    numbered.sort_by_key(|(number, _)| *number);
    numbered.into_iter().map(|(_, found)| found).collect()
}

/// The boxes of a class, by descending score, without those that overlap one with a higher score by more than this share.
/// It stops after as many as are kept, so that a very long row takes no longer.
fn suppressed(found: Vec<Detection>, share: f32, most: usize, pixel: f32) -> Vec<Detection> {
    let mut kept: Vec<Detection> = Vec::new();
    for detection in found {
        if kept.len() >= most {
            break;
        }
        let is_shown = kept.iter().any(|surer| overlap(&surer.region, &detection.region, pixel) > share);
        if !is_shown {
            kept.push(detection);
        }
    }
    kept
}

/// Intersection over union. With a `pixel` of 1, boxes include their first and their last pixel.
fn overlap(a: &Region, b: &Region, pixel: f32) -> f32 {
    let side =
        |a: f32, a_size: f32, b: f32, b_size: f32| ((a + a_size).min(b + b_size) - a.max(b) + pixel).max(0.0);
    let area = |of: &Region| (of.width + pixel) * (of.height + pixel);
    let both = side(a.x, a.width, b.x, b.width) * side(a.y, a.height, b.y, b.height);
    both / (area(a) + area(b) - both)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::video::FrameShape;

    const THRESHOLDS: Thresholds = Thresholds { score: 0.3, overlap: 0.45, most: 100 };

    /// For an input whose pixels are the frame's.
    fn whole() -> Whole {
        Whole::new(Fit::Letterbox, FrameShape::new(64, 64, (1, 1)), 64, 64).unwrap()
    }

    fn found(boxes: Boxes, row: &[f32], thresholds: Thresholds) -> Vec<(f32, f32)> {
        boxes
            .detections(row, &whole(), &thresholds)
            .iter()
            .map(|found| (found.region.x, found.score))
            .collect()
    }

    #[test]
    fn a_file_that_suppresses_is_taken_at_its_word() {
        let form = BoxForm::Suppressed { classes: Classes::of([0, 2]) };
        let boxes = Boxes { form, most: 9 };
        #[rustfmt::skip]
        let row = [
            1.0, 1.0, 9.0, 9.0, 0.9, 0.0,
            2.0, 1.0, 9.0, 9.0, 0.8, 1.0, // of another class
            3.0, 1.0, 9.0, 9.0, 0.7, 2.0,
            4.0, 1.0, 9.0, 9.0, 0.3, 0.0, // not above the threshold
            5.0, 1.0, 4.0, 9.0, 0.8, 0.0, // of no width
            6.0, 1.0, f32::NAN, 9.0, 0.8, 0.0,
            7.0, 1.0, 9.0, 9.0, f32::NAN, 0.0,
            8.0, 1.0, 9.0, 9.0, 0.8, f32::NAN,
            -3.0, -4.0, 99.0, 99.0, 0.95, 0.0, // over the border
        ];
        assert_eq!(found(boxes, &row, THRESHOLDS), [(1.0, 0.9), (3.0, 0.7), (-3.0, 0.95)]);
        let two = Thresholds { most: 2, ..THRESHOLDS };
        assert_eq!(found(boxes, &row, two), [(1.0, 0.9), (-3.0, 0.95)], "the surest, in order");
        let nothing = vec![0.0; 6 * 9];
        assert_eq!(found(boxes, &nothing, Thresholds { score: 0.0, ..THRESHOLDS }), []);
        assert_eq!(found(boxes, &[], THRESHOLDS), []);
    }

    #[test]
    fn candidates_are_suppressed_by_class() {
        let boxes = Boxes { form: BoxForm::Candidates { classes: 2, suppression: None }, most: 4 };
        #[rustfmt::skip]
        let row = [
            10.0, 10.0, 30.0, 30.0, 0.6, 0.5,
            11.0, 10.0, 31.0, 30.0, 0.8, 0.1,
            40.0, 10.0, 60.0, 30.0, 0.5, 0.0,
            12.0, 10.0, 32.0, 30.0, 0.7, 0.4,
        ];
        assert_eq!(found(boxes, &row, THRESHOLDS), [(11.0, 0.8), (40.0, 0.5), (10.0, 0.5)]);
        let none = Thresholds { overlap: 1.0, ..THRESHOLDS };
        assert_eq!(found(boxes, &row, none).len(), 6, "as they are");
        // Queries are never suppressed.
        let queries = Boxes { form: BoxForm::Queries { classes: 2 }, most: 4 };
        assert_eq!(found(queries, &row, THRESHOLDS).len(), 6);
    }

    #[test]
    fn a_files_own_suppression_is_by_its_own_limits() {
        let boxes = |suppression| Boxes {
            form: BoxForm::Candidates { classes: 2, suppression: Some(suppression) },
            most: 5,
        };
        // Of 10 x 10 pixels; the second overlaps the first by 8/12, the third by 6/14 and the second by 8/12.
        #[rustfmt::skip]
        let row = [
            10.0, 10.0, 20.0, 20.0, 0.9, 0.1,
            12.0, 10.0, 22.0, 20.0, 0.8, 0.7,
            14.0, 10.0, 24.0, 20.0, 0.6, 0.0,
            40.0, 10.0, 50.0, 20.0, 0.35, 0.0,
            60.0, 10.0, 60.0, 20.0, 0.95, 0.0, // of no width
        ];
        let own = Suppression { score: 0.01, overlap: 0.65, of_a_class: 200 };
        let expected = [(10.0, 0.9), (12.0, 0.7), (14.0, 0.6), (40.0, 0.35)];
        assert_eq!(found(boxes(own), &row, THRESHOLDS), expected, "by score, of both classes");
        let strict = Suppression { overlap: 0.4, ..own };
        assert_eq!(found(boxes(strict), &row, THRESHOLDS), [(10.0, 0.9), (12.0, 0.7), (40.0, 0.35)]);
        let surer = Suppression { score: 0.5, ..own };
        assert_eq!(found(boxes(surer), &row, THRESHOLDS), expected[..3], "the file's, where it is higher");
        let few = Suppression { of_a_class: 1, ..own };
        assert_eq!(found(boxes(few), &row, THRESHOLDS), expected[..2]);
        assert_eq!(found(boxes(own), &row, Thresholds { most: 3, ..THRESHOLDS }), expected[..3]);
    }

    /// Answers of a broken or hostile model: they take no time or memory beyond what is kept.
    #[test]
    fn ten_thousand_boxes_are_held_to_the_most() {
        let row: Vec<f32> = (0..10_000)
            .flat_map(|n| {
                [(n % 100) as f32, (n / 100) as f32, (n % 100) as f32 + 0.5, (n / 100) as f32 + 0.5, 0.9]
            })
            .collect();
        let boxes = Boxes { form: BoxForm::Candidates { classes: 1, suppression: None }, most: 10_000 };
        assert_eq!(found(boxes, &row, Thresholds { overlap: 0.99, ..THRESHOLDS }).len(), 100);
        let none = Thresholds { most: 0, ..THRESHOLDS };
        assert_eq!(found(boxes, &row, none), []);
    }

    #[test]
    fn overlaps_are_of_whole_pixels_or_as_onnx_has_them() {
        let region = |x| Region::new(x, 0.0, 9.0, 9.0);
        assert_eq!(overlap(&region(0.0), &region(0.0), 1.0), 1.0);
        assert_eq!(overlap(&region(0.0), &region(5.0), 1.0), 50.0 / 150.0);
        assert_eq!(overlap(&region(0.0), &region(10.0), 1.0), 0.0);
        assert_eq!(overlap(&region(0.0), &region(0.0), 0.0), 1.0);
        assert_eq!(overlap(&region(0.0), &region(6.0), 0.0), 27.0 / 135.0);
    }
}
