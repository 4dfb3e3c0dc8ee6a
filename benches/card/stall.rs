//! Random batch sizes: the slowest run against the median of its size, on prepared sizes, and on a session that takes
//! any size as it comes.

use std::time::{Duration, Instant};

use ort::{ep, session::Session, value::TensorRef};

use super::{Options, Result, bare, report::Row};

pub fn measure(options: &Options) -> Result<Row> {
    let batch = options.count("batch", 8)?;
    let run: Box<dyn FnMut(usize) -> Result<()>> = if options.text("prepared", "true") == "true" {
        let (shape, mut executor) = bare::open(options)?;
        let mut answers = vec![0.0; batch * shape.row];
        Box::new(move |rows| Ok(executor.run(rows, &mut answers).map(drop)?))
    } else {
        any_size(options)?
    };
    play(run, batch, options.seconds()?)
}

/// The plain graph on ONNX Runtime's CUDA provider, with TF32.
fn any_size(options: &Options) -> Result<Box<dyn FnMut(usize) -> Result<()>>> {
    let library =
        std::env::var("ORT_DYLIB_PATH").map_err(|_| "set ORT_DYLIB_PATH to ONNX Runtime's library")?;
    let environment = ort::init_from(library)?.with_telemetry(false).build()?;
    let mut builder = Session::builder(&environment)?;
    if options.text("provider", "cuda") == "cuda" {
        let cuda = ep::CUDA::default()
            .with_tf32(true)
            .with_conv_algorithm_search(ep::cuda::ConvAlgorithmSearch::Heuristic);
        builder = builder.with_execution_providers([cuda.build().error_on_failure()])?;
    }
    let mut session = builder.commit_from_file(options.model())?;
    let dims = session.inputs()[0].dtype().tensor_shape().ok_or("the input is no tensor")?;
    let (height, width) = (dims[2] as usize, dims[3] as usize);
    Ok(Box::new(move |rows| {
        let input = vec![0.5f32; rows * 3 * height * width];
        let input = TensorRef::from_array_view(([rows, 3, height, width], &input[..]))?;
        session.run(ort::inputs![input])?;
        Ok(())
    }))
}

fn play(mut run: Box<dyn FnMut(usize) -> Result<()>>, batch: usize, length: Duration) -> Result<Row> {
    let mut took = vec![Vec::new(); batch + 1];
    let (begun, mut random) = (Instant::now(), 1u64);
    while begun.elapsed() < length {
        random = random.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        let rows = (random >> 33) as usize % batch + 1;
        let started = Instant::now();
        run(rows)?;
        took[rows].push(started.elapsed());
    }
    let ms = |time: Duration| time.as_secs_f64() * 1000.0;
    let (mut worst, mut ratio, mut runs) = (Duration::ZERO, 0f64, 0);
    for took in took.iter_mut().filter(|took| !took.is_empty()) {
        took.sort_unstable();
        let (median, slowest) = (took[took.len() / 2], took[took.len() - 1]);
        worst = worst.max(slowest);
        ratio = ratio.max(ms(slowest) / ms(median));
        runs += took.len();
    }
    let mut all: Vec<_> = took.into_iter().flatten().collect();
    all.sort_unstable();
    let mut row = Row::default();
    row.set("worst-ms", ms(worst));
    row.set("median-ms", ms(all[all.len() / 2]));
    row.set("worst-against-median-of-its-size", ratio);
    row.set("runs", runs as f64);
    Ok(row)
}
