//! One batch at a time on its way to the servers, and back.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
    mpsc,
};

use prost::bytes::Bytes;
use tokio::task::AbortHandle;

use super::{
    hub::Hub,
    local::Local,
    model::{Model, Request, normalise},
};
use crate::{
    engine::{Error, ErrorKind, Executor, Slot},
    sync::{Mutex, lock},
};

pub struct RemoteExecutor {
    hub: Arc<Hub>,
    model: Arc<Model>,
    local: Option<Arc<Local>>,
    request: Request,
    /// The crops where the server gets floats.
    crops: Vec<u8>,
    largest: usize,
    /// The answers, between runs.
    answers: Vec<f32>,
    ending: Arc<Ending>,
}

/// Ends a run from another thread.
#[derive(Default)]
struct Ending {
    has_ended: AtomicBool,
    task: Mutex<Option<AbortHandle>>,
}

impl RemoteExecutor {
    pub fn new(hub: Arc<Hub>, model: Model, local: Option<Arc<Local>>, batch_size: usize) -> Self {
        let question = &hub.servers.question;
        let request = Request::new(&model, &question.model, &question.version, batch_size, question.timeout);
        let largest = model.rows_sent(batch_size);
        let crops = if model.takes_floats() { largest * model.crop_bytes() } else { 0 };
        Self {
            request,
            crops: vec![0; crops],
            answers: vec![0.0; largest * model.kind.row()],
            largest,
            model: Arc::new(model),
            local,
            hub,
            ending: Arc::default(),
        }
    }

    /// Has the servers run a batch, on their thread.
    fn run_there(&mut self, message: Bytes, rows: usize) -> Result<(), String> {
        let (sender, receiver) = mpsc::channel();
        let (servers, model) = (self.hub.servers.clone(), self.model.clone());
        let mut answers = std::mem::take(&mut self.answers);
        answers.resize(self.largest * model.kind.row(), 0.0);
        let task = self.hub.runtime.spawn(async move {
            let result = servers.run(&model, message, rows, &mut answers).await;
            let _ = sender.send((result, answers));
        });
        *lock(&self.ending.task) = Some(task.abort_handle());
        if self.ending.has_ended.load(Ordering::SeqCst) {
            task.abort();
        }
        let (result, answers) = receiver.recv().map_err(|_| "the batch was given up".to_string())?;
        self.answers = answers;
        result
    }

    fn run_anywhere(&mut self, rows: usize, answers: &mut [f32]) -> Result<(), Error> {
        if self.model.takes_floats() {
            for (row, crop) in self.crops.chunks_exact(self.model.crop_bytes()).take(rows).enumerate() {
                normalise(crop, self.request.crop_mut(&self.model, row));
            }
        }
        let (message, crops) = self.request.send(&self.model, rows);
        let failed = match self.run_there(message, rows) {
            Ok(()) => {
                answers.copy_from_slice(&self.answers[..answers.len()]);
                return Ok(());
            }
            Err(failed) => failed,
        };
        match &self.local {
            Some(local) if !self.ending.has_ended.load(Ordering::SeqCst) => {
                let crops =
                    if self.model.takes_floats() { Bytes::copy_from_slice(&self.crops) } else { crops };
                local.run(crops, self.model.crop_bytes(), rows, answers)
            }
            _ => Err(Error::new(ErrorKind::Run, failed)),
        }
    }
}

impl Executor for RemoteExecutor {
    fn load(&mut self, row: usize, crop: &dyn Slot) {
        let length = self.model.crop_bytes();
        if self.model.takes_floats() {
            self.crops[row * length..][..length].copy_from_slice(crop.bytes());
        } else {
            self.request.crop_mut(&self.model, row).copy_from_slice(crop.bytes());
        }
    }

    fn run(&mut self, rows: usize, answers: &mut [f32]) -> Result<usize, Error> {
        let answers = &mut answers[..rows * self.model.kind.row()];
        let result = self.run_anywhere(rows, answers);
        self.request.take_back();
        result.map(|()| self.model.rows_sent(rows))
    }

    fn warm_up_sizes(&self) -> Vec<usize> {
        let mut sizes = vec![self.model.rows_sent(1), self.largest];
        sizes.dedup();
        sizes
    }

    fn most_rows(&self) -> Option<usize> {
        Some(self.largest)
    }

    fn terminator(&self) -> Arc<dyn Fn() + Send + Sync> {
        let (ending, local) = (self.ending.clone(), self.local.clone());
        Arc::new(move || {
            ending.has_ended.store(true, Ordering::SeqCst);
            if let Some(task) = lock(&ending.task).take() {
                task.abort();
            }
            if let Some(local) = &local {
                local.terminate();
            }
        })
    }
}
