//! The model in this process, for times without a server: loaded before the first frame, on its own thread, which all
//! executors share.

use std::{
    any::Any,
    sync::{Arc, mpsc},
    thread::JoinHandle,
};

use prost::bytes::Bytes;

use super::servers::Here;

use crate::{
    engine::{Cancel, Error, ErrorKind, Executor, LoadEvent, Loading, Slot},
    network::Network,
    runtime::Backend,
    sync::{Mutex, lock},
};

/// A batch for it.
struct Batch {
    /// The crops, one after the other.
    crops: Bytes,
    crop_bytes: usize,
    rows: usize,
    row: usize,
    answer: mpsc::Sender<Result<Vec<f32>, Error>>,
}

/// A crop of a batch.
struct Crop(Bytes);

impl Slot for Crop {
    fn bytes(&self) -> &[u8] {
        &self.0
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        &mut []
    }
}

pub struct Local {
    /// None once it ends.
    batches: Mutex<Option<mpsc::Sender<Batch>>>,
    terminate: Arc<dyn Fn() + Send + Sync>,
    thread: Option<JoinHandle<()>>,
    pub network: Network,
}

impl Local {
    /// Loads the model for batches of that many crops. Warnings go to `report`.
    pub fn open(
        backend: Arc<Backend>,
        batch_size: usize,
        cancel: &Cancel,
        report: &dyn Fn(LoadEvent),
    ) -> Result<Self, Error> {
        let (batches, next) = mpsc::channel::<Batch>();
        let (events, opening) = mpsc::channel();
        let cancelled = cancel.clone();
        let body = move || {
            let tell = |event| drop(events.send(Step::Event(event)));
            let loading = Loading { report: &tell, cancelled: &cancelled, most_crops: batch_size };
            let opened = backend.open(&loading).and_then(|(network, mut executor)| {
                warm_up(&mut *executor, &network)?;
                Ok((network, executor))
            });
            let mut executor = match opened {
                Ok((network, executor)) => {
                    let _ = events.send(Step::Opened(Ok((network, executor.terminator()))));
                    executor
                }
                Err(error) => return drop(events.send(Step::Opened(Err(error)))),
            };
            drop(events);
            for batch in next {
                let _ = batch.answer.send(run(&mut *executor, &batch));
            }
        };
        let failed =
            |error| Error::new(ErrorKind::Run, format!("Cannot start a thread for inference: {error}"));
        let thread = std::thread::Builder::new().name("rtmpose-local".into()).spawn(body).map_err(failed)?;
        loop {
            match opening.recv() {
                Ok(Step::Event(event)) => report(event),
                Ok(Step::Opened(opened)) => {
                    let (network, terminate) = opened?;
                    let batches = Mutex::new(Some(batches));
                    return Ok(Self { batches, terminate, thread: Some(thread), network });
                }
                Err(mpsc::RecvError) => {
                    return Err(Error::new(ErrorKind::Run, "Loading the model ended with a panic"));
                }
            }
        }
    }

    pub fn here(&self, batch_size: usize) -> Here {
        Here { network: self.network.clone(), batch_size }
    }

    /// Runs a batch; writes rows of numbers to `answers`.
    pub fn run(
        &self,
        crops: Bytes,
        crop_bytes: usize,
        rows: usize,
        answers: &mut [f32],
    ) -> Result<(), Error> {
        let (answer, answered) = mpsc::channel();
        let batch = Batch { crops, crop_bytes, rows, row: answers.len() / rows, answer };
        let ended = || Error::new(ErrorKind::Run, "The model in this process has ended");
        lock(&self.batches).as_ref().ok_or_else(ended)?.send(batch).map_err(|_| ended())?;
        answers.copy_from_slice(&answered.recv().map_err(|_| ended())??);
        Ok(())
    }

    /// Ends a run in progress.
    pub fn terminate(&self) {
        (self.terminate)();
    }
}

impl Drop for Local {
    fn drop(&mut self) {
        lock(&self.batches).take();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

type Terminate = Arc<dyn Fn() + Send + Sync>;

enum Step {
    Event(LoadEvent),
    Opened(Result<(Network, Terminate), Error>),
}

/// The first run takes longer than the next.
fn warm_up(executor: &mut dyn Executor, network: &Network) -> Result<(), Error> {
    let shape = crate::engine::Network::shape(network);
    for size in executor.warm_up_sizes() {
        let black = Crop(vec![0; shape.crop_bytes()].into());
        (0..size).for_each(|row| executor.load(row, &black as &dyn Slot));
        executor.run(size, &mut vec![0.0; size * shape.row])?;
    }
    Ok(())
}

fn run(executor: &mut dyn Executor, batch: &Batch) -> Result<Vec<f32>, Error> {
    for row in 0..batch.rows {
        let start = row * batch.crop_bytes;
        executor.load(row, &Crop(batch.crops.slice(start..start + batch.crop_bytes)));
    }
    let mut answers = vec![0.0; batch.rows * batch.row];
    let run = std::panic::AssertUnwindSafe(|| executor.run(batch.rows, &mut answers));
    let panicked = |_: Box<dyn Any + Send>| Err(Error::new(ErrorKind::Run, "Inference panicked"));
    std::panic::catch_unwind(run).unwrap_or_else(panicked)?;
    Ok(answers)
}
