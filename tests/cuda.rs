//! Tests that need an NVIDIA GPU: ignored by default, `cargo test --release --test cuda -- --ignored` runs them.

mod network_rig;

use std::{
    sync::LazyLock,
    time::{Duration, Instant},
};

use gst::prelude::*;
use gstrtmpose::{
    engine::{Backend, Cancel, ErrorKind, Executor, LoadEvent, Loading},
    network::{Network, Peak, Provider as Runs},
    runtime::onnx::{OnnxBackend, Precision, Provider},
    video::{ChromaSite, Colour, Component, Crop, Picture, Region, Sampler},
};
use network_rig::rows::{peaks, printed, room};

const BATCH: usize = 8;

fn open(provider: Provider, precision: Precision) -> (Network, Box<dyn Executor>) {
    let backend =
        OnnxBackend { batch_size: BATCH, provider, precision, log: printed(), ..OnnxBackend::default() };
    let report = |event| {
        assert!(!matches!(event, LoadEvent::Warning(_)), "{event:?}");
        eprintln!("{event:?}");
    };
    let loading = Loading { report: &report, cancelled: &Cancel::default(), most_crops: BATCH };
    backend.open(&loading).unwrap()
}

/// The picture in docs.
struct Photograph {
    width: usize,
    height: usize,
    rgb: Vec<u8>,
}

impl Photograph {
    fn read() -> Self {
        gst::init().unwrap();
        let line = "filesrc location=docs/demo.jpg ! jpegdec ! videoconvert ! video/x-raw,format=RGB ! appsink name=sink";
        let pipeline = gst::parse::launch(line).unwrap().downcast::<gst::Pipeline>().unwrap();
        let sink = pipeline.by_name("sink").unwrap().downcast::<gst_app::AppSink>().unwrap();
        pipeline.set_state(gst::State::Playing).unwrap();
        let sample = sink.pull_sample().expect("docs/demo.jpg is a picture");
        pipeline.set_state(gst::State::Null).unwrap();
        let info = gst_video::VideoInfo::from_caps(sample.caps().unwrap()).unwrap();
        let (width, height) = (info.width() as usize, info.height() as usize);
        assert_eq!(info.stride()[0] as usize, 3 * width);
        Self { width, height, rgb: sample.buffer().unwrap().map_readable().unwrap().to_vec() }
    }

    fn picture(&self) -> Picture<'_> {
        let (width, height) = (self.width, self.height);
        let component = |first: usize| {
            let data = &self.rgb[first..];
            Component { data, row_stride: 3 * width, pixel_stride: 3, width, height }
        };
        let components = [component(0), component(1), component(2)];
        Picture { width, height, components, colour: Colour::Rgb, chroma_site: ChromaSite::default() }
    }
}

/// One of the people of the picture in docs, cropped at a slightly different place for each seed. (In crops
/// without people many bins are about equally high, and half precision picks others.)
fn crop(network: &Network, seed: usize) -> Box<[u8]> {
    static PHOTOGRAPH: LazyLock<Photograph> = LazyLock::new(Photograph::read);
    const PEOPLE: [(f32, f32, f32, f32); 6] = [
        (237.0, 375.0, 50.0, 105.0),
        (112.0, 10.0, 92.0, 100.0),
        (145.0, 268.0, 30.0, 92.0),
        (612.0, 370.0, 28.0, 108.0),
        (52.0, 622.0, 52.0, 106.0),
        (780.0, 132.0, 38.0, 98.0),
    ];
    let (x, y, width, height) = PEOPLE[seed % PEOPLE.len()];
    let moved = |by: usize| (seed * by % 17) as f32 / 2.0 - 4.0;
    let region = Region::new(x + moved(37), y + moved(53), width, height);
    let crop = Crop::new(&region, network.width, network.height).expect("the box has a size");
    let mut pixels = vec![0; (network.width * network.height * 3) as usize];
    Sampler::new(network.width, network.height, 1.0).sample(&PHOTOGRAPH.picture(), &crop, &mut pixels);
    pixels.into()
}

fn run(executor: &mut dyn Executor, network: &Network, seeds: &[usize]) -> Vec<Peak> {
    let mut answers = room(network, seeds.len());
    for (row, seed) in seeds.iter().enumerate() {
        executor.load(row, &crop(network, *seed));
    }
    executor.run(seeds.len(), &mut answers).unwrap();
    peaks(network, &answers)
}

/// Differences of two answers to the same crops.
#[derive(Debug, Default)]
struct Difference {
    points: usize,
    same_place: usize,
    /// Largest difference of a maximum.
    score: f32,
}

impl Difference {
    fn add(&mut self, expected: &[Peak], found: &[Peak]) {
        for (expected, found) in expected.iter().zip(found) {
            self.points += 1;
            self.same_place += usize::from(expected.x == found.x && expected.y == found.y);
            let score = (expected.max_x - found.max_x).abs().max((expected.max_y - found.max_y).abs());
            // NaN counts as the largest difference.
            self.score = if score <= self.score { self.score } else { score };
        }
    }

    fn check(&self, share: f64, score: f32) {
        eprintln!("{self:?}");
        assert!(self.same_place as f64 >= share * self.points as f64 && self.score <= score, "{self:?}");
    }
}

#[test]
#[ignore = "needs an NVIDIA GPU"]
fn captured_graphs_answer_as_the_cpu_does_at_every_batch_fill() {
    // `Fp32`, because `Model` would be 8-bit integers on a CPU with VNNI instructions.
    let (model, mut cpu) = open(Provider::Cpu, Precision::Fp32);
    // Half precision picks another bin if neighbouring bins are nearly as high.
    for (precision, share, score) in
        [(Precision::Fp32, 0.99, 1e-4), (Precision::Tf32, 0.9, 2e-3), (Precision::Fp16, 0.75, 1e-2)]
    {
        let (on_cuda, mut cuda) = open(Provider::Cuda, precision);
        assert_eq!(on_cuda, Network { provider: Runs::Cuda, ..model.clone() });
        let mut difference = Difference::default();
        // Sizes go up and down: a replay must not read what a run of another size has left.
        for fill in (1..=BATCH).chain((1..BATCH).rev()) {
            let seeds: Vec<_> = (0..fill).map(|row| fill * 10 + row).collect();
            difference.add(&run(&mut *cpu, &model, &seeds), &run(&mut *cuda, &model, &seeds));
        }
        eprintln!("{precision:?}:");
        difference.check(share, score);
    }
}

#[test]
#[ignore = "needs an NVIDIA GPU"]
fn executors_in_parallel_answer_as_one_does() {
    let (model, mut alone) = open(Provider::Cuda, Precision::Fp16);
    let batches: Vec<Vec<usize>> =
        (0..200).map(|turn| (0..turn % BATCH + 1).map(|row| turn + row).collect()).collect();
    let expected: Vec<_> = batches.iter().map(|seeds| run(&mut *alone, &model, seeds)).collect();
    // They load, capture and run at the same time, while the first one goes on running.
    std::thread::scope(|scope| {
        let others: Vec<_> = (0..3)
            .map(|_| {
                let (batches, expected) = (&batches, &expected);
                scope.spawn(move || {
                    let (model, mut executor) = open(Provider::Cuda, Precision::Fp16);
                    let mut difference = Difference::default();
                    for (seeds, expected) in batches.iter().zip(expected) {
                        difference.add(expected, &run(&mut *executor, &model, seeds));
                    }
                    difference
                })
            })
            .collect();
        while others.iter().any(|other| !other.is_finished()) {
            for (seeds, expected) in batches.iter().zip(&expected) {
                assert_eq!(run(&mut *alone, &model, seeds), *expected);
            }
        }
        // cuDNN may choose other kernels for another session.
        others.into_iter().for_each(|other| other.join().unwrap().check(0.95, 2e-2));
    });
}

/// Needs an ONNX Runtime that replays graphs without waiting for their end: 1.31 does, 1.24 does not.
#[test]
#[ignore = "needs an NVIDIA GPU"]
fn batches_that_are_loaded_during_a_run_answer_as_alone() {
    let (model, mut cuda) = open(Provider::Cuda, Precision::Fp16);
    let batches: Vec<Vec<usize>> =
        (0..200).map(|turn| (0..turn * 5 % BATCH + 1).map(|row| turn + row).collect()).collect();
    let expected: Vec<_> = batches.iter().map(|seeds| run(&mut *cuda, &model, seeds)).collect();
    let crops: Vec<Vec<Box<[u8]>>> =
        batches.iter().map(|seeds| seeds.iter().map(|seed| crop(&model, *seed)).collect()).collect();
    let load = |executor: &mut dyn Executor, batch: &[Box<[u8]>]| {
        batch.iter().enumerate().for_each(|(row, crop)| executor.load(row, crop));
    };
    let cuda = cuda.overlapping().expect("this ONNX Runtime replays graphs without waiting for their end");
    load(cuda, &crops[0]);
    for (turn, expected) in expected.iter().enumerate() {
        cuda.begin(crops[turn].len()).unwrap();
        if let Some(next) = crops.get(turn + 1) {
            load(cuda, next);
        }
        let mut answers = room(&model, crops[turn].len());
        cuda.finish(&mut answers).unwrap();
        assert_eq!(peaks(&model, &answers), *expected, "batch {turn}");
    }
}

#[test]
#[ignore = "needs an NVIDIA GPU"]
fn no_batch_size_is_slow_after_the_warm_up() {
    let (model, mut cuda) = open(Provider::Cuda, Precision::Fp16);
    let mut took: Vec<Vec<Duration>> = vec![Vec::new(); BATCH + 1];
    for turn in 0..4000usize {
        let fill = turn.wrapping_mul(2654435761) % 1000 % BATCH + 1;
        let mut answers = room(&model, fill);
        let started = Instant::now();
        cuda.run(fill, &mut answers).unwrap();
        took[fill].push(started.elapsed());
    }
    for (fill, took) in took.iter_mut().enumerate().skip(1) {
        took.sort();
        let (median, slowest) = (took[took.len() / 2], took[took.len() - 1]);
        eprintln!("{fill}: median {median:?}, slowest {slowest:?}");
        // A change of the batch size would cost hundreds of milliseconds.
        assert!(
            slowest < 3 * median + Duration::from_millis(5),
            "{fill} crops: median {median:?}, slowest {slowest:?}"
        );
    }
}

/// A session of 64 crops needs far more than 64 MiB for its tensors.
#[test]
#[ignore = "needs an NVIDIA GPU"]
fn too_little_memory_is_told_as_such() {
    let backend = OnnxBackend {
        batch_size: 64,
        provider: Provider::Cuda,
        gpu_memory_limit: 64 << 20,
        ..OnnxBackend::default()
    };
    let loading = Loading { report: &|_| (), cancelled: &Cancel::default(), most_crops: 64 };
    let error = backend.open(&loading).err().expect("the limit is too low");
    assert_eq!(error.kind, ErrorKind::OutOfMemory, "{error}");
}
