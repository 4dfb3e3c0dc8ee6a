//! The limit: batches that are copied from pinned memory to the card, run, and whose key points are copied back, with
//! nothing else to do.

use std::{
    sync::{
        Barrier,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use gstrtmpose::engine::{Backend, Cancel, Executor, LoadEvent, Loading, Network as _, Shape};

use super::{Options, Result, element::Card, report::Row};

/// Opens an executor and runs every batch size once.
pub fn open(options: &Options) -> Result<(Shape, Box<dyn Executor>)> {
    let report = |event| {
        if let LoadEvent::Warning(text) = event {
            eprintln!("{text}");
        }
    };
    let loading = Loading { report: &report, cancelled: &Cancel::default(), most_crops: usize::MAX };
    let (network, mut executor) = options.backend()?.open(&loading)?;
    let shape = network.shape();
    fill(&mut *executor, &shape, options.count("batch", 8)?);
    for size in executor.warm_up_sizes() {
        let mut answers = vec![0.0; size * shape.row];
        (0..3).try_for_each(|_| executor.run(size, &mut answers).map(drop))?;
    }
    Ok((shape, executor))
}

/// Random crops, because a network can be faster on black ones.
fn fill(executor: &mut dyn Executor, shape: &Shape, rows: usize) {
    let mut random = 1u64;
    for row in 0..rows {
        let crop: Box<[u8]> = (0..shape.crop_bytes())
            .map(|_| {
                random = random.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                (random >> 56) as u8
            })
            .collect();
        executor.load(row, &crop);
    }
}

pub fn measure(options: &Options) -> Result<Row> {
    let (in_flight, batch) = (options.count("in-flight", 1)?, options.count("batch", 8)?);
    let seconds = options.seconds()?;
    let (opened, runs) = (Barrier::new(in_flight + 1), AtomicUsize::new(0));
    let turn = Barrier::new(in_flight + 1);
    let started = Instant::now();
    let starts = std::thread::scope(|scope| {
        let run = || -> std::result::Result<f64, String> {
            // Errors are kept until after the barrier, which waits for all threads.
            let executor = open(options).map_err(|error| error.to_string());
            let start = started.elapsed().as_secs_f64();
            opened.wait();
            turn.wait();
            let (shape, mut executor) = executor?;
            let mut answers = vec![0.0; batch * shape.row];
            let begun = Instant::now();
            while begun.elapsed() < seconds {
                executor.run(batch, &mut answers).map_err(|error| error.to_string())?;
                runs.fetch_add(1, Ordering::Relaxed);
            }
            Ok(start)
        };
        let threads: Vec<_> = (0..in_flight).map(|_| scope.spawn(run)).collect();
        opened.wait();
        let waited = options.wait_for_turn();
        turn.wait();
        waited.map_err(|error| error.to_string())?;
        let joined =
            threads.into_iter().map(|thread| thread.join().map_err(|_| "a thread panicked".to_string())?);
        joined.collect::<std::result::Result<Vec<_>, _>>()
    })?;
    let rate = (runs.into_inner() * batch) as f64 / seconds.as_secs_f64();
    let mut row = Row::default();
    row.set("crops-per-second", rate);
    row.set("start-s", starts.into_iter().fold(0.0, f64::max));
    if let Some(teraflops) = options.teraflops(rate) {
        row.set("teraflops", teraflops);
    }
    if let Some(memory) = Card::find().and_then(|card| card.memory_mib()) {
        row.set("gpu-memory-mib-after", memory);
    }
    Ok(row)
}
