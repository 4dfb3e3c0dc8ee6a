//! The answer to one submitted crop, between the executor that gives it and the frame that waits for it.

use std::sync::{Arc, OnceLock};

use super::{Error, ErrorKind};
use crate::{
    network::Peak,
    sync::atomic::{AtomicBool, Ordering},
};

/// The peaks of one crop, one for each key point.
pub type Outcome = Result<Box<[Peak]>, Error>;

/// Called, without any lock of the engine held, whenever a ticket of a stream went on.
pub type Notify = Arc<dyn Fn() + Send + Sync>;

#[derive(Debug, Default)]
struct Cell {
    handed: AtomicBool,
    outcome: OnceLock<Outcome>,
}

/// Held by the frame whose crop was submitted.
#[derive(Clone, Debug)]
pub struct Ticket(Arc<Cell>);

impl Ticket {
    /// Whether an executor took the crop (or will never take it).
    pub fn is_handed(&self) -> bool {
        self.0.handed.load(Ordering::Acquire) || self.outcome().is_some()
    }

    /// The answer, once it is there.
    pub fn outcome(&self) -> Option<&Outcome> {
        self.0.outcome.get()
    }
}

/// Held by the engine: the duty to answer. Dropped unanswered, it answers with an error.
pub(super) struct Duty {
    cell: Arc<Cell>,
    notify: Notify,
}

impl Duty {
    pub(super) fn new(notify: Notify) -> (Self, Ticket) {
        let cell = Arc::new(Cell::default());
        (Self { cell: cell.clone(), notify }, Ticket(cell))
    }

    pub(super) fn hand(&self) {
        self.cell.handed.store(true, Ordering::Release);
        (self.notify)();
    }

    pub(super) fn answer(self, outcome: Outcome) {
        let _ = self.cell.outcome.set(outcome);
    }
}

impl Drop for Duty {
    fn drop(&mut self) {
        let _ =
            self.cell.outcome.set(Err(Error::new(ErrorKind::Run, "The crop was given up before it was run")));
        (self.notify)();
    }
}
