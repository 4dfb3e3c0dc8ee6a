//! The answer of a model for whole frames: any numbers, of any kind, in a frame of any size.

use gstrtmpose::{
    network::{BoxForm, Boxes, Classes, Kind, Thresholds},
    video::{Fit, FrameShape, Whole},
};

use super::input::Input;

pub fn run(bytes: &[u8]) {
    let mut input = Input(bytes);
    let shape = FrameShape::new(side(&mut input), side(&mut input), (input.u32() as i32, input.u32() as i32));
    let fit = if input.chance(2) { Fit::Letterbox } else { Fit::Stretch };
    let Some(whole) = Whole::new(fit, shape, side(&mut input), side(&mut input)) else { return };
    let thresholds = Thresholds { score: input.f32(), overlap: input.f32(), most: usize::from(input.byte()) };
    let (form, points) = (input.below(4), 1 + usize::from(input.below(5)));
    let count = 1 + usize::from(input.below(3));
    let classes = Classes::of([usize::from(input.byte()), usize::from(input.u16())]);
    let numbers: Vec<f32> = (0..usize::from(input.u16()) % 4096).map(|_| input.f32()).collect();
    let form = match form {
        0 => BoxForm::Suppressed { classes },
        1 => BoxForm::Candidates { classes: count, suppression: None },
        2 => BoxForm::Queries { classes: count },
        _ => {
            let most = thresholds.most;
            let people = Kind::People { most: numbers.len(), points }.people(&numbers, &whole, most);
            assert!(people.len() <= most);
            for person in people {
                assert!(person.region.is_usable() && person.key_points.len() == points, "{person:?}");
                let finite = |point: &gstrtmpose::pose::KeyPoint| {
                    point.x.is_finite() && point.y.is_finite() && point.score.is_finite()
                };
                assert!(person.key_points.iter().all(finite), "{person:?}");
            }
            return;
        }
    };
    let boxes = Boxes { form, most: numbers.len() };
    let found = boxes.detections(&numbers, &whole, &thresholds);
    assert!(found.len() <= thresholds.most);
    for detection in found {
        assert!(
            detection.region.is_usable() && detection.score > 0.0 && detection.score.is_finite(),
            "{detection:?}"
        );
        let (width, height) = (shape.width as f32, shape.height as f32);
        let inside = detection.region.scaled(shape.to_pixels()).clipped(width, height);
        let ends = [inside.x, inside.y, inside.x + inside.width, inside.y + inside.height];
        assert!(ends.iter().all(|end| (0.0..=width.max(height)).contains(end)), "{inside:?}");
    }
}

/// A side of everyday life, seldom an absurd one.
fn side(input: &mut Input) -> u32 {
    match input.byte() {
        0 => 0,
        1 => input.u32(),
        _ => u32::from(input.u16()),
    }
}
