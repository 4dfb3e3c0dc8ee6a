//! Sessions of model files.

use super::session::{Builder, LoadError, Session};
use crate::{
    engine::Error,
    network::{
        Refusal,
        contract::{self, Form, INPUT, OUTPUTS},
        detector::DETECTIONS,
        file::{ModelFile, not_loadable},
        graph::{
            Adaptation,
            suppression::{KNOWN_BOXES, Trial},
        },
    },
};

/// Adapts the graph and loads it.
pub(super) fn load(file: &ModelFile, builder: Builder, adaptation: &Adaptation) -> Result<Session, Error> {
    builder.load(&file.adapted(adaptation)?).map_err(|error| load_error(file, error))
}

/// If the file does not declare how many bins its answers have, one run of the plain graph on the CPU shows it; the adapted
/// graph's answers do not.
pub(super) fn probe(file: &ModelFile, builder: impl FnOnce() -> Result<Builder, Error>) -> Result<(), Error> {
    if !matches!(file.contract.form, Form::Official { bins_declared: false, .. }) {
        return Ok(());
    }
    let (width, height) = (file.contract.width as usize, file.contract.height as usize);
    let rows = file.contract.fixed_batch.unwrap_or(1);
    let mut session = builder()?.load(&file.bytes).map_err(|error| load_error(file, error))?;
    let black = vec![0f32; rows * 3 * height * width];
    let outputs = session.run((INPUT, [rows, 3, height, width], &black[..]), None)?;
    let points = |output: usize| {
        let (shape, _) = outputs.get(OUTPUTS[output])?;
        contract::check_answer(&file.contract, rows, output, shape, &file.name).map_err(Refusal::of_file)
    };
    match (points(0)?, points(1)?) {
        (x, y) if x == y => Ok(()),
        (x, y) => Err(contract::different_points(&file.name, x, y).of_file()),
    }
}

/// Lets a detector's graph end before it suppresses boxes, if a trial shows that its suppression is the one that `Boxes`
/// computes.
pub(super) fn cut(
    file: ModelFile,
    builder: impl FnOnce() -> Result<Builder, Error>,
) -> Result<ModelFile, Error> {
    let Some(cut) = file.suppression() else { return Ok(file) };
    // The file itself says what is wrong with it.
    let Ok(mut session) = builder()?.with_threads(1)?.load(&cut.trial.file) else { return Ok(file) };
    let succeeds = Trial::scenes().iter().all(|scene| {
        let outputs = session.run((KNOWN_BOXES, scene.shape(), &scene.values[..]), None);
        let rows = outputs.as_ref().ok().and_then(|outputs| outputs.get(DETECTIONS).ok());
        rows.is_some_and(|(_, rows)| cut.trial.succeeds(scene, rows))
    });
    Ok(if succeeds { file.cut(cut) } else { file })
}

fn load_error(file: &ModelFile, error: LoadError) -> Error {
    match error {
        LoadError::File(text) => not_loadable(&file.name, &text),
        LoadError::Other(Error { kind, message }) => {
            Error::new(kind, format!("The model {} cannot be loaded ({message})", file.name))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::{
        network::{BoxForm, Classes, Kind, Suppression, Task, Thresholds, Wanted, contract::IMAGE},
        runtime::onnx::{Log, LogLevel, Search, library::Runtime},
        video::{Fit, FrameShape, Region, Whole},
    };

    fn runtime() -> Runtime {
        let log = Log { level: LogLevel::Fatal, write: |_, _, _| () };
        Runtime::load(&Search::default(), log).unwrap()
    }

    fn read(name: &str, classes: Classes) -> ModelFile {
        let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
        let path = root.join(format!("tests/networks/{name}.onnx"));
        ModelFile::read(Some(&path), Wanted { task: Some(Task::Boxes), classes }).unwrap()
    }

    fn form(file: &ModelFile) -> BoxForm {
        let Kind::Boxes(boxes) = file.contract.kind(0) else { panic!("{} is a detector", file.name) };
        boxes.form
    }

    /// What a file finds in a picture of 96x64 pixels with a red, a green and a blue square, from left to right: box and
    /// score. (The file and `Boxes` may have another order of boxes with the same score.)
    fn found(file: &ModelFile, adaptation: &Adaptation) -> Vec<([f32; 4], f32)> {
        let mut picture = vec![114u8; 64 * 96 * 3];
        for (channel, left) in [4, 30, 60].into_iter().enumerate() {
            for (y, x) in (10..30).flat_map(|y| (left..left + 20).map(move |x| (y, x))) {
                let pixel = &mut picture[(y * 96 + x) * 3..][..3];
                pixel.fill(0);
                pixel[channel] = 255;
            }
        }
        let two = [&picture[..], &picture[..]].concat();
        let mut session = load(file, runtime().builder().unwrap(), adaptation).unwrap();
        let outputs = session.run((IMAGE, [2, 64, 96, 3], &two[..]), None).unwrap();
        let (shape, rows) = outputs.get(file.contract.output()).unwrap();
        let kind =
            contract::check_rows(&file.contract, 2, shape, &file.name).map_err(Refusal::of_file).unwrap();
        let Kind::Boxes(boxes) = kind else { panic!("{kind:?}") };
        let whole = Whole::new(Fit::Letterbox, FrameShape::new(96, 64, (1, 1)), 96, 64).unwrap();
        let thresholds = Thresholds { score: 0.3, overlap: 0.45, most: 100 };
        let of_row = |row: &[f32]| {
            let mut found = boxes.detections(row, &whole, &thresholds);
            found.sort_by(|a, b| a.region.x.total_cmp(&b.region.x));
            let numbers = |region: Region| [region.x, region.y, region.width, region.height];
            found.iter().map(|found| (numbers(found.region), found.score)).collect()
        };
        let rows: Vec<Vec<_>> = rows.chunks_exact(kind.row()).map(of_row).collect();
        assert_eq!(rows[0], rows[1], "both pictures are the same");
        rows[0].clone()
    }

    /// Files in mmdeploy's form are cut, and give the same boxes as whole.
    #[test]
    fn files_are_cut_before_their_suppression() {
        for name in ["yolox-by-class", "rtmdet-by-class"] {
            for (classes, boxes) in
                [(vec![0], 2), (vec![1], 1), (vec![0, 1], 3), (vec![7], 0), (vec![1, 511], 1)]
            {
                let classes = Classes::of(classes);
                let whole = read(name, classes);
                let file = cut(read(name, classes), || runtime().builder()).unwrap();
                let suppression = Some(Suppression { score: 0.01, overlap: 0.65, of_a_class: 10 });
                assert_eq!(form(&file), BoxForm::Candidates { classes: classes.count(), suppression });
                assert!(whole.contract.depends_on_pictures() && !file.contract.depends_on_pictures());
                let expected = found(&whole, &Adaptation::default());
                let is = found(&file, &Adaptation::default());
                assert_eq!(expected.len(), boxes, "{name}, {classes:?}");
                assert_eq!(is, expected, "{name}, {classes:?}");
            }
        }
    }

    /// Others stay whole: an end that uses the boxes' numbers or more than the boxes, or boxes that are not of the picture.
    #[test]
    fn files_with_another_end_stay_whole() {
        for (name, is_tried) in [
            ("yolox", false),
            ("yolox-one", false),
            ("yolox-one-hidden", false),
            ("yolox-doubles", true),
            ("yolox-anchors", false),
            ("rfdetr", false),
            ("boxes-many", false),
        ] {
            let file = read(name, Classes::default());
            let before = form(&file);
            assert_eq!(file.suppression().is_some(), is_tried, "{name}");
            let file = cut(file, || runtime().builder()).unwrap();
            assert_eq!(form(&file), before, "{name}");
        }
    }

    /// Behind the last weights boxes stay in float32, in which pixels keep their fractions.
    #[test]
    #[cfg_attr(
        target_arch = "aarch64",
        ignore = "sums are in half precision there: docs/performance.md, 'On ARM64'"
    )]
    fn cut_files_compute_in_half_precision() {
        for name in ["yolox-by-class", "rtmdet-by-class"] {
            let file = cut(read(name, Classes::of([0, 1])), || runtime().builder()).unwrap();
            let half = Adaptation { half: true, ..Adaptation::default() };
            let (expected, is) = (found(&file, &Adaptation::default()), found(&file, &half));
            assert_eq!((expected.len(), is.len()), (3, 3), "{name}");
            for ((expected, _), (is, _)) in expected.iter().zip(&is) {
                assert!(expected.iter().zip(is).all(|(a, b)| (a - b).abs() < 0.25), "{expected:?}, {is:?}");
            }
        }
    }
}
