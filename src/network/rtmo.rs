//! From RTMO's row to people in the frame (rtmlib `pose_estimation/rtmo.py`; the file suppresses boxes itself). A frame
//! without people has none: rtmlib returns a skeleton of zeros. Nothing is suppressed a second time, as in mmpose; rtmlib does
//! that, from an overlap of .45 on.

use super::boxes::surest;
use crate::{
    pose::{KeyPoint, Person},
    video::{Region, Whole},
};

/// Boxes with a higher score are people.
const PERSON: f32 = 0.3;
/// Numbers before the key points: the box, and its score.
const BOX: usize = 5;

/// The people of a row with that many key points each, in the file's order; if they are more than `most`, those with the
/// highest scores. Positions are square pixels of the frame. A point that is not finite was not found, and is put at the
/// box's corner.
pub(super) fn people(row: &[f32], points: usize, whole: &Whole, most: usize) -> Vec<Person> {
    let found = row
        .chunks_exact(BOX + 3 * points)
        .filter(|numbers| numbers[4] > PERSON && numbers[4].is_finite())
        .filter_map(|numbers| Some((numbers[4], person(numbers, whole)?)));
    surest(found.collect(), most, |(score, _)| *score).into_iter().map(|(_, person)| person).collect()
}

fn person(numbers: &[f32], whole: &Whole) -> Option<Person> {
    let (left, top) = whole.to_frame(numbers[0], numbers[1]);
    let (right, bottom) = whole.to_frame(numbers[2], numbers[3]);
    let region = Some(Region::new(left, top, right - left, bottom - top)).filter(Region::is_usable)?;
    let (points, _) = numbers[BOX..].as_chunks::<3>();
    let key_point = |&[x, y, score]: &[f32; 3]| {
        let (x, y) = whole.to_frame(x, y);
        if x.is_finite() && y.is_finite() && score.is_finite() {
            KeyPoint { x, y, score, z: None }
        } else {
            KeyPoint { x: left, y: top, score: 0.0, z: None }
        }
    };
    Some(Person { region, key_points: points.iter().map(key_point).collect(), id: None })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::video::{Fit, FrameShape};

    #[test]
    fn nobody_is_nobody_and_of_many_the_surest_are_kept() {
        // Two pixels of the frame for each of the input.
        let whole = Whole::new(Fit::Letterbox, FrameShape::new(64, 64, (1, 1)), 32, 32).unwrap();
        let found = |row: &[f32], most| {
            let people = people(row, 1, &whole, most);
            people.iter().map(|person| (person.region.x, person.key_points[0])).collect::<Vec<_>>()
        };
        #[rustfmt::skip]
        let row = [
            1.0, 1.0, 9.0, 9.0, 0.5, 3.0, 4.0, 0.75,
            2.0, 1.0, 9.0, 9.0, 0.9, 3.0, f32::NAN, 0.75,
            3.0, 1.0, 9.0, 9.0, 0.3, 3.0, 4.0, 0.75, // not above the threshold
            4.0, 1.0, 9.0, 9.0, 0.5, -3.0, 40.0, 1.5,
            5.0, 1.0, f32::INFINITY, 9.0, 0.9, 3.0, 4.0, 0.75,
            6.0, 9.0, 9.0, 9.0, 0.9, 3.0, 4.0, 0.75, // of no height
            0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0,
        ];
        let point = |x, y, score| KeyPoint { x, y, score, z: None };
        let all = [(2.0, point(6.0, 8.0, 0.75)), (4.0, point(4.0, 2.0, 0.0)), (8.0, point(-6.0, 80.0, 1.5))];
        assert_eq!(found(&row, 9), all);
        assert_eq!(found(&row, 2), all[..2]);
        assert_eq!(found(&row, 1), all[1..2]);
        assert_eq!((found(&row, 0), found(&[0.0; 80], 9)), (vec![], vec![]));
    }
}
