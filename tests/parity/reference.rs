//! Runs `reference.py` and reads what it writes.

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::LazyLock,
};

use gstrtmpose::pose::Region;
use gstrtmpose::video::Crop;

use crate::network_rig::{Rig, network};

/// Amounts that are compared.
struct Amount {
    /// Frames of the video.
    frames: usize,
    /// Boxes besides those of the marked people: a quarter aligned, the others random.
    boxes: usize,
    /// Crops that the element gets unchanged.
    exact_crops: usize,
}

const SHORT: Amount = Amount { frames: 4, boxes: 60, exact_crops: 24 };
const WHOLE: Amount = Amount { frames: 12, boxes: 1336, exact_crops: 200 };

pub struct Frame {
    pub width: usize,
    pub height: usize,
    pub rgb: Vec<u8>,
}

/// Where a box comes from: see `reference.py`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    Mark,
    Random,
    Aligned,
}

pub struct Case {
    pub frame: usize,
    pub kind: Kind,
    pub region: [i32; 4],
    pub matrix: [[f64; 3]; 2],
    pub crop: Vec<u8>,
    /// Only for the model's own crop size.
    pub answer: Option<Answer>,
}

/// rtmlib's answer to one crop.
pub struct Answer {
    /// Rows of each point, for x and for y.
    simcc: [Vec<Vec<f32>>; 2],
    mean: Vec<f32>,
    min: Vec<f32>,
    points: Vec<(f32, f32)>,
}

impl Answer {
    pub fn simcc(&self, axis: usize, point: usize) -> &[f32] {
        &self.simcc[axis][point]
    }

    pub fn maximum(&self, axis: usize, point: usize) -> f32 {
        self.simcc(axis, point).iter().copied().fold(f32::NEG_INFINITY, f32::max)
    }

    pub fn score(&self, mode: &str, point: usize) -> f32 {
        if mode == "min" { self.min[point] } else { self.mean[point] }
    }

    pub fn point(&self, point: usize) -> (f32, f32) {
        self.points[point]
    }
}

/// One size of crop, in pixels.
pub struct Size {
    pub name: String,
    pub width: u32,
    pub height: u32,
    pub cases: Vec<Case>,
}

impl Size {
    pub fn crop(&self, case: &Case) -> Crop {
        let [x, y, width, height] = case.region.map(|number| number as f32);
        Crop::new(&Region::new(x, y, width, height), self.width, self.height).unwrap()
    }

    pub fn crop_bytes(&self) -> usize {
        self.width as usize * self.height as usize * 3
    }
}

/// A picture with a person's box, and what rtmlib's ViTPose finds.
pub struct HeatMapCase {
    pub rgb: Vec<u8>,
    /// A region of a frame; none: the picture is the crop.
    pub region: Option<[i32; 4]>,
    pub points: Vec<(f32, f32)>,
    pub scores: Vec<f32>,
}

pub struct Reference {
    pub frames: Vec<Frame>,
    /// Sizes of crops; the first is the model's.
    pub sizes: Vec<Size>,
    /// Lines of `skeletons.csv`.
    pub skeletons: Vec<[String; 4]>,
    /// Crops, followed by frames.
    pub heat_maps: Vec<HeatMapCase>,
    /// The number of crops that the element gets unchanged.
    pub exact_crops: usize,
    model: PathBuf,
}

impl Reference {
    /// The element with rtmlib's network.
    pub fn start(&self, score_mode: &str) -> Rig {
        start(&self.model, score_mode)
    }
}

/// The element with a network.
pub fn start(model: &Path, score_mode: &str) -> Rig {
    Rig::start_bin(&format!(
        "rtmposebatch execution-provider=cpu batch-size=8 max-people=100000 score-mode={score_mode} model-file=\"{}\"",
        model.display()
    ))
}

/// rtmlib's results, made once for all tests; none if rtmlib is not installed.
pub fn get() -> Option<&'static Reference> {
    static REFERENCE: LazyLock<Option<Reference>> = LazyLock::new(make);
    REFERENCE.as_ref()
}

/// The Python with rtmlib, and the video; none if they are not installed.
pub fn tools() -> Option<(PathBuf, PathBuf)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let python = root.join(".deps/venv/bin/python");
    let video = root.join(".deps/video/demo.mp4");
    let there =
        Command::new(&python).args(["-c", "import rtmlib"]).output().is_ok_and(|run| run.status.success());
    if !there || !video.exists() {
        let missing = "rtmlib or the demo video is not in .deps: scripts/setup --tests";
        assert!(std::env::var("CI").as_deref() != Ok("true"), "{missing}");
        eprintln!("skipped: {missing}");
        return None;
    }
    Some((python, video))
}

fn make() -> Option<Reference> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (python, video) = tools()?;
    let whole = std::env::var("PARITY").as_deref() == Ok("whole");
    let amount = if whole { WHOLE } else { SHORT };
    let out = Path::new(env!("CARGO_TARGET_TMPDIR")).join("parity");
    let _ = std::fs::remove_dir_all(&out);
    let model = root.join("models/rtmpose-t.onnx");
    let mut command = Command::new(python);
    command.arg(root.join("tests/parity/reference.py")).arg(&out);
    command.arg("--model").arg(&model).arg("--heatmaps").arg(network("vitpose")).arg("--video").arg(video);
    command.arg("--marks").arg(root.join("benches/tracking/truth/sports2d.csv"));
    command.arg("--frames").arg(amount.frames.to_string()).arg("--boxes").arg(amount.boxes.to_string());
    if whole {
        command.arg("--pictures").arg(root.join(".deps/pictures"));
    }
    let run = command.output().unwrap();
    assert!(run.status.success(), "{command:?}: {}", String::from_utf8_lossy(&run.stderr));
    let reference = read(&out, model, amount.exact_crops);
    std::fs::remove_dir_all(&out).unwrap();
    Some(reference)
}

fn read(folder: &Path, model: PathBuf, exact_crops: usize) -> Reference {
    let text = |path: PathBuf| std::fs::read_to_string(path).unwrap();
    let bytes = |path: PathBuf| std::fs::read(path).unwrap();

    let all = bytes(folder.join("frames.bin"));
    let mut all = all.as_slice();
    let frames = text(folder.join("frames.csv"))
        .lines()
        .map(|line| {
            let (width, height) = line.split_once(',').unwrap();
            let (width, height) = (width.parse().unwrap(), height.parse().unwrap());
            Frame { width, height, rgb: all.split_off(..width * height * 3).unwrap().to_vec() }
        })
        .collect();
    assert!(all.is_empty());

    let sizes = [("256x192", 192, 256), ("384x288", 288, 384), ("256x256", 256, 256)]
        .map(|(name, width, height)| {
            let file =
                |name: &str| bytes(folder.join(format!("{height}x{width}")).join(format!("{name}.bin")));
            let matrices = file("matrices");
            let crops = file("crops");
            let crop_bytes = (width * height * 3) as usize;
            let mut answers =
                if width == 192 { answers(&file, width, height) } else { Vec::new() }.into_iter();
            let lines = text(folder.join(name).join("boxes.csv"));
            let cases: Vec<_> = lines
                .lines()
                .enumerate()
                .map(|(row, line)| {
                    let fields: Vec<_> = line.split(',').collect();
                    let number = |index: usize| fields[index].parse::<i32>().unwrap();
                    let matrix: Vec<_> = matrices[row * 48..][..48]
                        .as_chunks::<8>()
                        .0
                        .iter()
                        .map(|bytes| f64::from_le_bytes(*bytes))
                        .collect();
                    Case {
                        frame: number(0) as usize,
                        kind: match fields[1] {
                            "mark" => Kind::Mark,
                            "random" => Kind::Random,
                            "aligned" => Kind::Aligned,
                            other => panic!("{other}"),
                        },
                        region: [number(2), number(3), number(4), number(5)],
                        matrix: [[matrix[0], matrix[1], matrix[2]], [matrix[3], matrix[4], matrix[5]]],
                        crop: crops[row * crop_bytes..][..crop_bytes].to_vec(),
                        answer: answers.next(),
                    }
                })
                .collect();
            assert_eq!(crops.len(), cases.len() * crop_bytes);
            Size { name: name.to_string(), width, height, cases }
        })
        .into();
    let skeletons = text(folder.join("skeletons.csv"))
        .lines()
        .map(|line| line.split(',').map(str::to_string).collect::<Vec<_>>().try_into().unwrap())
        .collect();
    let heat_maps = heat_maps(&folder.join("vitpose"));
    Reference { frames, sizes, skeletons, heat_maps, exact_crops, model }
}

fn heat_maps(folder: &Path) -> Vec<HeatMapCase> {
    const POINTS: usize = 17;
    let bytes = |name: &str| std::fs::read(folder.join(name)).unwrap();
    let floats = |name: &str| -> Vec<f32> {
        bytes(name).as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
    };
    let boxes = String::from_utf8(bytes("boxes.csv")).unwrap();
    let region = |line: &str| -> [i32; 4] {
        line.split(',').map(|number| number.parse().unwrap()).collect::<Vec<_>>().try_into().unwrap()
    };
    let cases = |pictures: &str, of: &str, size: usize, regions: Vec<Option<[i32; 4]>>| {
        let (points, scores) = (floats(&format!("{of}_points.bin")), floats(&format!("{of}_scores.bin")));
        let pictures = bytes(pictures);
        assert_eq!((pictures.len() / size, scores.len() / POINTS), (regions.len(), regions.len()));
        let case = move |(row, region): (usize, Option<[i32; 4]>)| HeatMapCase {
            rgb: pictures[row * size..][..size].to_vec(),
            region,
            points: points[row * 2 * POINTS..][..2 * POINTS].chunks_exact(2).map(|p| (p[0], p[1])).collect(),
            scores: scores[row * POINTS..][..POINTS].to_vec(),
        };
        regions.into_iter().enumerate().map(case).collect::<Vec<_>>()
    };
    let frames: Vec<_> = boxes.lines().map(|line| Some(region(line))).collect();
    let mut all = cases("crops.bin", "crop", 192 * 256 * 3, vec![None; frames.len()]);
    all.extend(cases("frames.bin", "frame", 640 * 480 * 3, frames));
    all
}

fn answers(file: &dyn Fn(&str) -> Vec<u8>, width: u32, height: u32) -> Vec<Answer> {
    let floats = |name: &str| -> Vec<f32> {
        file(name).as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
    };
    const POINTS: usize = 17;
    let rows = |name: &str, bins: u32| -> Vec<Vec<Vec<f32>>> {
        let rows: Vec<Vec<f32>> = floats(name).chunks_exact(bins as usize).map(<[f32]>::to_vec).collect();
        rows.chunks_exact(POINTS).map(<[Vec<f32>]>::to_vec).collect()
    };
    let (x, y) = (rows("simcc_x", 2 * width), rows("simcc_y", 2 * height));
    let (mean, min, points) = (floats("mean"), floats("min"), floats("points"));
    x.into_iter()
        .zip(y)
        .enumerate()
        .map(|(row, (x, y))| Answer {
            simcc: [x, y],
            mean: mean[row * POINTS..][..POINTS].to_vec(),
            min: min[row * POINTS..][..POINTS].to_vec(),
            points: points[row * 2 * POINTS..][..2 * POINTS].chunks_exact(2).map(|p| (p[0], p[1])).collect(),
        })
        .collect()
}
