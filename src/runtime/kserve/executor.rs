//! Sends one batch at a time to the servers, and reads the answers.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    time::{Duration, Instant},
};

use prost::bytes::Bytes;
use tokio::task::AbortHandle;

use super::{
    hub::Hub,
    local::Local,
    model::{Model, Request, normalise},
};
use crate::{
    engine::{Error, ErrorKind, Executor, Shape, Slot},
    sync::{Mutex, lock},
};

pub struct RemoteExecutor {
    hub: Arc<Hub>,
    /// None until a server is ready.
    remote: Option<Remote>,
    local: Option<Arc<Local>>,
    /// The crops, while no server is ready or if the servers accept floats.
    crops: Vec<u8>,
    shape: Shape,
    batch_size: usize,
    ending: Arc<Ending>,
    took: Option<Duration>,
}

/// The buffers for requests and answers.
struct Remote {
    model: Arc<Model>,
    request: Request,
    /// Rows of a full request.
    largest: usize,
    /// The answers, between runs.
    answers: Vec<f32>,
}

impl Remote {
    fn new(hub: &Hub, model: Model, batch_size: usize) -> Self {
        let question = &hub.servers.question;
        let request = Request::new(&model, &question.model, &question.version, batch_size, question.timeout);
        let largest = model.rows_sent(batch_size);
        Self { request, answers: vec![0.0; largest * model.kind.row()], largest, model: Arc::new(model) }
    }
}

/// Ends a run from another thread.
#[derive(Default)]
struct Ending {
    has_ended: AtomicBool,
    task: Mutex<Option<AbortHandle>>,
}

impl RemoteExecutor {
    pub fn new(
        hub: Arc<Hub>,
        model: Option<Model>,
        local: Option<Arc<Local>>,
        batch_size: usize,
        shape: Shape,
    ) -> Self {
        let remote = model.map(|model| Remote::new(&hub, model, batch_size));
        let kept = match &remote {
            Some(remote) if remote.model.takes_floats() => remote.largest,
            Some(_) => 0,
            None => batch_size,
        };
        Self {
            remote,
            local,
            crops: vec![0; kept * shape.crop_bytes()],
            shape,
            batch_size,
            hub,
            ending: Arc::default(),
            took: None,
        }
    }

    fn largest(&self) -> usize {
        self.remote.as_ref().map_or(self.batch_size, |remote| remote.largest)
    }

    /// Once a server is ready, batches go there; this one, too.
    fn look_for_servers(&mut self) {
        if self.remote.is_some() {
            return;
        }
        let Some(model) = self.hub.servers.model() else { return };
        let mut remote = Remote::new(&self.hub, model, self.batch_size);
        if remote.model.takes_floats() {
            self.crops.resize(remote.largest * self.shape.crop_bytes(), 0);
        } else {
            for (row, crop) in
                std::mem::take(&mut self.crops).chunks_exact(self.shape.crop_bytes()).enumerate()
            {
                remote.request.crop_mut(&remote.model, row).copy_from_slice(crop);
            }
        }
        self.remote = Some(remote);
    }

    fn run_anywhere(&mut self, rows: usize, answers: &mut [f32]) -> Result<(), Error> {
        self.look_for_servers();
        let (crops, failed) = match &mut self.remote {
            Some(remote) => {
                let (message, crops) = remote.message(rows, &self.crops);
                match remote.run(&self.hub, &self.ending, message, rows) {
                    Ok(took) => {
                        self.took = Some(took);
                        answers.copy_from_slice(&remote.answers[..answers.len()]);
                        return Ok(());
                    }
                    Err(failed) => (crops, failed),
                }
            }
            None => (None, "no server is ready yet".to_string()),
        };
        match &self.local {
            Some(local) if !self.ending.has_ended.load(Ordering::SeqCst) => {
                let crops = crops.unwrap_or_else(|| Bytes::copy_from_slice(&self.crops));
                let started = Instant::now();
                local.run(crops, self.shape.crop_bytes(), rows, answers)?;
                self.took = Some(started.elapsed());
                Ok(())
            }
            _ => Err(Error::new(ErrorKind::Run, failed)),
        }
    }
}

impl Remote {
    /// Writes the head of a batch's message, and, if the servers accept bytes, its crops into it.
    fn message(&mut self, rows: usize, crops: &[u8]) -> (Bytes, Option<Bytes>) {
        let floats = self.model.takes_floats();
        if floats {
            for (row, crop) in crops.chunks_exact(self.model.crop_bytes()).take(rows).enumerate() {
                normalise(crop, self.request.crop_mut(&self.model, row));
            }
        }
        let (message, sent) = self.request.send(&self.model, rows);
        (message, (!floats).then_some(sent))
    }

    /// Has the servers run a batch, on their thread.
    fn run(&mut self, hub: &Hub, ending: &Ending, message: Bytes, rows: usize) -> Result<Duration, String> {
        let (sender, receiver) = mpsc::channel();
        let (servers, model) = (hub.servers.clone(), self.model.clone());
        let mut answers = std::mem::take(&mut self.answers);
        answers.resize(self.largest * model.kind.row(), 0.0);
        let task = hub.runtime.spawn(async move {
            let result = servers.run(&model, message, rows, &mut answers).await;
            let _ = sender.send((result, answers));
        });
        *lock(&ending.task) = Some(task.abort_handle());
        if ending.has_ended.load(Ordering::SeqCst) {
            task.abort();
        }
        let (result, answers) = receiver.recv().map_err(|_| "the batch was discarded".to_string())?;
        self.answers = answers;
        result
    }
}

impl Executor for RemoteExecutor {
    fn load(&mut self, row: usize, crop: &dyn Slot) {
        match &mut self.remote {
            Some(remote) if !remote.model.takes_floats() => {
                remote.request.crop_mut(&remote.model, row).copy_from_slice(crop.bytes());
            }
            _ => self.crops[row * self.shape.crop_bytes()..][..self.shape.crop_bytes()]
                .copy_from_slice(crop.bytes()),
        }
    }

    fn run(&mut self, rows: usize, answers: &mut [f32]) -> Result<usize, Error> {
        let answers = &mut answers[..rows * self.shape.row];
        let result = self.run_anywhere(rows, answers);
        let sent = self.remote.as_mut().map_or(rows, |remote| {
            remote.request.take_back();
            remote.model.rows_sent(rows)
        });
        result.map(|()| sent)
    }

    fn took(&self) -> Option<Duration> {
        self.took
    }

    fn warm_up_sizes(&self) -> Vec<usize> {
        let smallest = self.remote.as_ref().map_or(1, |remote| remote.model.rows_sent(1));
        let mut sizes = vec![smallest, self.largest()];
        sizes.dedup();
        sizes
    }

    fn most_rows(&self) -> Option<usize> {
        Some(self.largest())
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
