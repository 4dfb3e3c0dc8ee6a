//! What needs an NVIDIA GPU: ignored by default, `cargo test --release --test cuda -- --ignored` where there is one.

use std::time::{Duration, Instant};

use gstrtmpose::{
    engine::{
        Backend, Cancel, Executor, Loading, Model,
        onnx::{Log, OnnxBackend, Precision, Provider},
    },
    pose::Peak,
};
use ort::logging::LogLevel;

const BATCH: usize = 8;

fn open(provider: Provider, precision: Precision) -> (Model, Box<dyn Executor>) {
    let backend = OnnxBackend {
        batch_size: BATCH,
        provider,
        precision,
        log: Log {
            level: LogLevel::Warning,
            write: |level, place, message| eprintln!("{level:?} {place} {message}"),
        },
        ..OnnxBackend::default()
    };
    let loading = Loading { report: &|event| eprintln!("{event:?}"), cancelled: &Cancel::default() };
    let (model, mut executor) = backend.open(&loading).unwrap();
    for size in executor.warm_up_sizes() {
        let mut peaks = vec![Peak::default(); size * model.points];
        for _ in 0..3 {
            executor.run(size, &mut peaks).unwrap();
        }
    }
    (model, executor)
}

/// A blurred blob on a ramp: something with a clear answer for a network.
fn crop(model: &Model, seed: usize) -> Vec<u8> {
    let (width, height) = (model.width as usize, model.height as usize);
    let (cx, cy) = ((seed * 37) % width, (seed * 53) % height);
    let pixel = |i: usize| {
        let (x, y) = (i % width, i / width);
        let distance = ((x.abs_diff(cx)).pow(2) + (y.abs_diff(cy)).pow(2)) as f32;
        let blob = 200.0 * (-distance / 400.0).exp();
        [blob + (x % 50) as f32, blob + (y % 50) as f32, blob].map(|value| value as u8)
    };
    (0..width * height).flat_map(pixel).collect()
}

fn run(executor: &mut dyn Executor, model: &Model, seeds: &[usize]) -> Vec<Peak> {
    let mut peaks = vec![Peak::default(); seeds.len() * model.points];
    for (row, seed) in seeds.iter().enumerate() {
        executor.load(row, &crop(model, *seed));
    }
    executor.run(seeds.len(), &mut peaks).unwrap();
    peaks
}

#[test]
#[ignore = "needs an NVIDIA GPU"]
fn cuda_answers_as_the_cpu_does_at_every_batch_fill() {
    let (model, mut cpu) = open(Provider::Cpu, Precision::Model);
    for precision in [Precision::Fp32, Precision::Tf32] {
        let (on_cuda, mut cuda) = open(Provider::Cuda, precision);
        assert_eq!(on_cuda.provider, "cuda");
        let (mut compared, mut equal, mut worst) = (0, 0, 0f32);
        for fill in 1..=BATCH {
            let seeds: Vec<_> = (0..fill).map(|row| fill * 10 + row).collect();
            let (expected, found) = (run(&mut *cpu, &model, &seeds), run(&mut *cuda, &model, &seeds));
            for (expected, found) in expected.iter().zip(&found) {
                compared += 1;
                equal += usize::from(expected.x == found.x && expected.y == found.y);
                worst =
                    worst.max((expected.max_x - found.max_x).abs()).max((expected.max_y - found.max_y).abs());
            }
        }
        eprintln!("{precision:?}: {equal} of {compared} positions equal, scores differ by {worst} at most");
        let (share, score) = if precision == Precision::Fp32 { (0.99, 1e-3) } else { (0.9, 2e-2) };
        assert!(equal as f64 >= share * compared as f64);
        assert!(worst <= score);
    }
}

#[test]
#[ignore = "needs an NVIDIA GPU"]
fn no_batch_size_is_slow_after_the_warm_up() {
    let (model, mut cuda) = open(Provider::Cuda, Precision::Model);
    let mut took: Vec<Vec<Duration>> = vec![Vec::new(); BATCH + 1];
    for turn in 0..2000usize {
        let fill = turn.wrapping_mul(2654435761) % 1000 % BATCH + 1;
        let mut peaks = vec![Peak::default(); fill * model.points];
        let started = Instant::now();
        cuda.run(fill, &mut peaks).unwrap();
        took[fill].push(started.elapsed());
    }
    let worst = *took.iter().flatten().max().unwrap();
    for (fill, took) in took.iter_mut().enumerate().skip(1) {
        took.sort();
        eprintln!("{fill}: median {:?}, slowest {:?}", took[took.len() / 2], took[took.len() - 1]);
    }
    // Without prepared sizes a change of size costs 600 ms and more.
    assert!(worst < Duration::from_millis(100), "{worst:?}");
}
