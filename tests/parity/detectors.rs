//! Networks that look at whole frames against rtmlib, on the CPU: letterboxes by the byte, boxes and key points of the same file.
//! `detectors.py` beside this file runs rtmlib.
//!
//! Where rtmlib is wrong these tests state the difference: it does not count what is cut off a letterbox in whole pixels (so that
//! sizes without that are drawn here), of a frame with nobody its RTMO gives one skeleton of zeros, and of people whom the RTMO
//! file has left it suppresses some again (which is turned off here).

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::LazyLock,
};

use gstrtmpose::{
    engine::{Backend, Cancel, Executor, Loading},
    network::{Classes, Kind, Network, ScoreMode, Task, Thresholds, Wanted},
    runtime::onnx::{OnnxBackend, Provider},
    video::{Crop, Fit, FrameShape, Region, Sampler, Whole},
};

use super::{picture_of, reference::Frame};

/// Numbers of video frames and of drawings: in all tests, and with `PARITY=whole`.
const AMOUNTS: [(&str, &str); 2] = [("2", "40"), ("12", "600")];
const SIZES: [(u32, u32); 4] = [(416, 416), (640, 640), (320, 320), (640, 384)];
const DRAWING: (usize, usize) = (640, 360);
/// Largest difference of a box's edge or of a point, in pixels of the frame.
const PIXELS: f32 = 0.5;

struct Reference {
    folder: PathBuf,
    frames: Vec<Frame>,
    drawings: Vec<Frame>,
}

impl Reference {
    fn file(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.folder.join(name)).unwrap()
    }

    /// What rtmlib found in each drawing.
    fn found(&self, name: &str) -> Vec<Vec<Vec<f32>>> {
        let mut all = vec![Vec::new(); self.drawings.len()];
        for line in String::from_utf8(self.file(&format!("{name}.csv"))).unwrap().lines() {
            let (drawing, values) = line.split_once(',').unwrap();
            let values = values.split(',').map(|value| value.parse().unwrap()).collect();
            all[drawing.parse::<usize>().unwrap()].push(values);
        }
        all
    }
}

fn get() -> Option<&'static Reference> {
    static REFERENCE: LazyLock<Option<Reference>> = LazyLock::new(make);
    REFERENCE.as_ref()
}

fn make() -> Option<Reference> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (python, video) = super::reference::tools()?;
    let whole = std::env::var("PARITY").as_deref() == Ok("whole");
    let (frames, drawings) = AMOUNTS[usize::from(whole)];
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("parity-detectors");
    let _ = std::fs::remove_dir_all(&folder);
    let mut command = Command::new(python);
    command.arg(root.join("tests/parity/detectors.py")).arg(&folder);
    command.arg("--networks").arg(root.join("tests/networks")).arg("--video").arg(video);
    command.args(["--frames", frames, "--drawings", drawings]);
    if whole {
        command.arg("--pictures").arg(root.join(".deps/pictures"));
    }
    let run = command.output().unwrap();
    assert!(run.status.success(), "{command:?}: {}", String::from_utf8_lossy(&run.stderr));
    let mut all = std::fs::read(folder.join("frames.bin")).unwrap();
    let frames = std::fs::read_to_string(folder.join("frames.csv")).unwrap();
    let frame = |line: &str| {
        let (width, height) = line.split_once(',').unwrap();
        let (width, height) = (width.parse().unwrap(), height.parse().unwrap());
        let rest = all.split_off(width * height * 3);
        Frame { width, height, rgb: std::mem::replace(&mut all, rest) }
    };
    let frames = frames.lines().map(frame).collect();
    let drawings = std::fs::read(folder.join("drawings.bin")).unwrap();
    let (width, height) = DRAWING;
    let drawings = drawings.chunks_exact(width * height * 3);
    let drawings = drawings.map(|rgb| Frame { width, height, rgb: rgb.to_vec() }).collect();
    Some(Reference { folder, frames, drawings })
}

fn whole(frame: &Frame, fit: Fit, (width, height): (u32, u32)) -> Whole {
    let shape = FrameShape::new(frame.width as u32, frame.height as u32, (1, 1));
    Whole::new(fit, shape, width, height).unwrap()
}

/// Every byte is within 1 of rtmlib's.
#[test]
fn whole_frames_are_fitted_in_as_rtmlib_does() {
    let Some(reference) = get() else { return };
    for (height, width) in SIZES {
        let mut sampler = Sampler::new(width, height, 1.0);
        let mut ours = vec![0; (width * height * 3) as usize];
        for (fit, name) in [(Fit::Letterbox, "letterbox"), (Fit::Stretch, "stretch")] {
            let theirs = reference.file(&format!("{name}-{height}x{width}.bin"));
            assert_eq!(theirs.len(), ours.len() * reference.frames.len());
            let (mut largest, mut differ) = (0, 0);
            for (frame, theirs) in reference.frames.iter().zip(theirs.chunks_exact(ours.len())) {
                sampler.sample_whole(&picture_of(frame), &whole(frame, fit, (width, height)), &mut ours);
                for (at, (a, b)) in ours.iter().zip(theirs).enumerate() {
                    let what =
                        format!("{name} {height}x{width} of {}x{}, byte {at}", frame.width, frame.height);
                    assert!(a.abs_diff(*b) <= 1, "{what}: {a}, not {b}");
                    (largest, differ) = (largest.max(a.abs_diff(*b)), differ + usize::from(a != b));
                }
            }
            let share = 100.0 * differ as f64 / (ours.len() * reference.frames.len()) as f64;
            println!("{name} {height}x{width}: {share:.1} % of the bytes differ, by {largest} at most");
        }
    }
}

fn open(name: &str, task: Task) -> (Network, Box<dyn Executor>) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/networks").join(name).with_extension("onnx");
    let backend = OnnxBackend {
        model_file: Some(file),
        wanted: Wanted { task: Some(task), classes: Classes::of([0, 1]) },
        batch_size: 1,
        provider: Provider::Cpu,
        ..OnnxBackend::default()
    };
    backend.open(&Loading { report: &|_| (), cancelled: &Cancel::default(), most_crops: 1 }).unwrap()
}

/// The answer to a drawing, and how the drawing is fitted into the input.
fn answer(network: &Network, executor: &mut dyn Executor, drawing: &Frame) -> (Vec<f32>, Whole) {
    let whole = whole(drawing, network.kind.fit().unwrap(), (network.width, network.height));
    let mut sampler = Sampler::new(network.width, network.height, 1.0);
    let mut bytes = vec![0u8; (network.width * network.height * 3) as usize].into_boxed_slice();
    sampler.sample_whole(&picture_of(drawing), &whole, &mut bytes);
    executor.load(0, &bytes);
    let mut row = vec![0.0; network.kind.row()];
    executor.run(1, &mut row).unwrap();
    (row, whole)
}

#[track_caller]
fn assert_near(what: &str, ours: &[f32], theirs: &[f32], largest: &mut f32) {
    for (a, b) in ours.iter().zip(theirs) {
        assert!((a - b).abs() <= PIXELS, "{what}: {ours:?}, not {theirs:?}");
        *largest = largest.max((a - b).abs());
    }
}

/// The same boxes in the same order.
#[test]
fn boxes_equal_rtmlibs() {
    let Some(reference) = get() else { return };
    for name in ["yolox", "yolox-anchors", "rtmdet", "rfdetr"] {
        let (network, mut executor) = open(name, Task::Boxes);
        let Kind::Boxes(boxes) = network.kind else { panic!("{name}: {:?}", network.kind) };
        let (mut count, mut largest) = (0, 0.0f32);
        for (number, (drawing, theirs)) in reference.drawings.iter().zip(reference.found(name)).enumerate() {
            let (row, whole) = answer(&network, &mut *executor, drawing);
            let thresholds = Thresholds { score: 0.3, overlap: 0.45, most: 100 };
            let ours = boxes.detections(&row, &whole, &thresholds);
            let what = format!("{name}, drawing {number}");
            assert_eq!(ours.len(), theirs.len(), "{what}: {ours:?}, not {theirs:?}");
            for (ours, theirs) in ours.iter().zip(&theirs) {
                let region = ours.region;
                let ends = [region.x, region.y, region.x + region.width, region.y + region.height];
                assert_near(&what, &ends, theirs, &mut largest);
                count += 1;
            }
        }
        assert!(count > reference.drawings.len(), "{name}: only {count} boxes");
        println!("{name}: {count} boxes, {largest:.1e} px apart at most");
    }
}

/// The same people, except that rtmlib's single skeleton of zeros is no person here.
#[test]
fn rtmos_people_equal_rtmlibs() {
    let Some(reference) = get() else { return };
    let (network, mut executor) = open("rtmo", Task::Poses);
    let (mut count, mut nobody, mut largest) = (0, 0, 0.0f32);
    for (number, (drawing, theirs)) in reference.drawings.iter().zip(reference.found("rtmo")).enumerate() {
        let (row, whole) = answer(&network, &mut *executor, drawing);
        let ours = network.kind.people(&row, &whole, 100);
        let what = format!("drawing {number}");
        if ours.is_empty() {
            assert!(theirs.len() == 1 && theirs[0].iter().all(|value| *value == 0.0), "{what}: {theirs:?}");
            nobody += 1;
            continue;
        }
        assert_eq!(ours.len(), theirs.len(), "{what}");
        for (ours, theirs) in ours.iter().zip(&theirs) {
            assert_eq!(theirs.len(), 3 * ours.key_points.len());
            for (ours, theirs) in ours.key_points.iter().zip(theirs.as_chunks::<3>().0) {
                assert_near(&what, &[ours.x, ours.y], &theirs[..2], &mut largest);
                assert!((ours.score - theirs[2]).abs() < 0.01, "{what}: {ours:?}, not {theirs:?}");
                count += 1;
            }
        }
    }
    assert!(count > 0 && nobody > 0, "{count} points, {nobody} times nobody");
    println!("rtmo: {count} points, {largest:.1e} px apart at most; nobody in {nobody} drawings");
}

/// The bin of each point's depth is rtmlib's, the metres are mmpose's. rtmlib 0.0.16 takes half of the input's
/// height (192) as the middle of the bins. The middle is 144, half of the width; a pixel has two bins.
#[test]
fn rtmw3ds_depths_are_mmposes_and_not_rtmlibs() {
    const RANGE: f32 = 2.174_486_9;
    let Some(reference) = get() else { return };
    let (network, mut executor) = open("rtmw3d", Task::Poses);
    let mut sampler = Sampler::new(network.width, network.height, 1.0);
    let mut bytes = vec![0u8; (network.width * network.height * 3) as usize].into_boxed_slice();
    let mut row = vec![0.0; network.kind.row()];
    let (mut count, mut largest) = (0, 0.0f32);
    for (number, (drawing, theirs)) in reference.drawings.iter().zip(reference.found("rtmw3d")).enumerate() {
        let region = Region::new(0.0, 0.0, drawing.width as f32, drawing.height as f32);
        let crop = Crop::new(&region, network.width, network.height).unwrap();
        sampler.sample(&picture_of(drawing), &crop, &mut bytes);
        executor.load(0, &bytes);
        executor.run(1, &mut row).unwrap();
        let ours = network.kind.key_points(&row, &crop, ScoreMode::Min);
        for (ours, theirs) in ours.iter().zip(theirs[0].as_chunks::<4>().0) {
            let [.., metres, half_bins] = *theirs;
            let what = format!("drawing {number}: {ours:?}, not {theirs:?}");
            assert!((metres - (half_bins / 192.0 - 1.0) * RANGE).abs() < 1e-4, "rtmlib has changed: {what}");
            let expected = (half_bins / 144.0 - 1.0) * RANGE;
            let difference = (ours.z.unwrap() - expected).abs();
            // OpenCV's crop differs by about a grey level, which is 2.3 bins here.
            assert!(difference <= 3.0 * RANGE / 288.0, "{what}");
            (count, largest) = (count + 1, largest.max(difference));
        }
    }
    assert_eq!(count, 133 * reference.drawings.len());
    println!("rtmw3d: {count} depths, {largest:.1e} m apart at most");
}
