//! A device that is lost in mid-stream: the network is loaded on the CPU, and batches that were in flight run there.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use super::{BackendOf, Cancel, Change, Core, Error, ErrorKind, Executor, Loading, Network, panicked};
use crate::sync::{Mutex, lock};

/// Ends the run of an executor, whichever executor its thread has at the moment.
#[derive(Clone)]
pub(super) struct Terminator(Arc<Mutex<Arc<dyn Fn() + Send + Sync>>>);

impl Terminator {
    pub fn of(executor: &dyn Executor) -> Self {
        Self(Arc::new(Mutex::new(executor.terminator())))
    }

    pub fn terminate(&self) {
        let terminate = lock(&self.0).clone();
        terminate();
    }

    fn set(&self, terminate: Arc<dyn Fn() + Send + Sync>) {
        *lock(&self.0) = terminate;
    }
}

/// A thread's executor, and what replaces it.
pub(super) struct Runner<N> {
    /// Number of its device in the engine. If that device is lost and there is no other, the fallback takes its number.
    pub device: usize,
    pub network: N,
    pub executor: Box<dyn Executor>,
    pub terminator: Terminator,
    /// None if there is no other place to run, or if it is already used.
    pub fallback: Option<Arc<BackendOf<N>>>,
}

impl<N: Network> Runner<N> {
    /// Replaces the executor by the fallback, because of `lost`. After an error, nothing can run.
    pub fn fall_back(&mut self, core: &Core, lost: &Error) -> Result<(), Error> {
        let is_short = lost.kind == ErrorKind::OutOfMemory;
        let trouble = if is_short { "has too little memory for a run" } else { "is lost" };
        let trouble = format!("{} {trouble} ({lost})", self.network.provider());
        let failed = |why: &Error| {
            Error::new(ErrorKind::Run, format!("{trouble}, and the model cannot run elsewhere: {why}"))
        };
        let fallback = self.fallback.take().ok_or_else(|| lost.clone())?;
        let cancel = Cancel::default();
        let cancelling = cancel.clone();
        self.terminator.set(Arc::new(move || cancelling.cancel()));
        if core.is_closing() {
            return Err(lost.clone());
        }
        let loading = Loading { report: &|_| (), cancelled: &cancel, most_crops: core.batch_size };
        let opened = catch_unwind(AssertUnwindSafe(|| fallback.open(&loading)))
            .unwrap_or_else(|panic| Err(panicked("Loading the model", &*panic)));
        let (network, executor) = opened.map_err(|error| failed(&error))?;
        if !self.network.answers_like(&network) {
            return Err(failed(&Error::new(ErrorKind::Run, "it is a different model there")));
        }
        self.terminator.set(executor.terminator());
        let before = std::mem::replace(&mut self.executor, executor);
        if is_short {
            // The device still answers, so its memory is released.
            drop(before);
        } else {
            // A lost device is not shut down: that would call a device that does not answer.
            std::mem::forget(before);
        }
        let text = format!(
            "{trouble}: the model now runs on {}, and no frame is lost; fallback=none makes this an error",
            network.provider()
        );
        core.news.moved(Some(network.provider()), Change::Warning(text));
        Ok(())
    }
}
