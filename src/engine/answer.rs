//! The answer to one submitted crop, between the executor that gives it and the frame that waits for it.

use std::sync::{Arc, OnceLock};

use super::{Error, ErrorKind};
use crate::sync::atomic::{AtomicBool, Ordering};

/// The row of numbers that answers one crop.
pub type Outcome = Result<Box<[f32]>, Error>;

/// Called, with no lock of the engine held, whenever an answer that a stream waits for makes progress.
pub type Notify = Arc<dyn Fn() + Send + Sync>;

#[derive(Debug, Default)]
struct Cell {
    handed: AtomicBool,
    outcome: OnceLock<Outcome>,
}

/// Held by the frame whose crop was submitted.
#[derive(Clone, Debug)]
pub struct PendingAnswer(Arc<Cell>);

impl PendingAnswer {
    /// Whether an executor took the crop (or will never take it).
    pub fn is_handed(&self) -> bool {
        self.0.handed.load(Ordering::Acquire) || self.outcome().is_some()
    }

    /// An answer that is an error, once the other value is dropped.
    #[cfg(test)]
    pub fn unanswered() -> (Self, impl Sized) {
        let (promise, pending) = Promise::new(Arc::new(|| ()));
        (pending, promise)
    }

    /// The answer, once it is there.
    pub fn outcome(&self) -> Option<&Outcome> {
        self.0.outcome.get()
    }

    /// The row of numbers that answers the crop, or the error that prevented it.
    pub fn row(&self) -> Result<&[f32], String> {
        match self.outcome() {
            Some(Ok(row)) => Ok(row),
            Some(Err(error)) => Err(error.message.clone()),
            None => Err("a crop was not answered".to_string()),
        }
    }
}

/// Held by the engine: the promise to answer. Dropped unanswered, it answers with an error.
pub(super) struct Promise {
    cell: Arc<Cell>,
    notify: Notify,
}

impl Promise {
    pub(super) fn new(notify: Notify) -> (Self, PendingAnswer) {
        let cell = Arc::new(Cell::default());
        (Self { cell: cell.clone(), notify }, PendingAnswer(cell))
    }

    /// An executor took these crops. Notifies each of their streams once.
    pub(super) fn hand_all(promises: &[Self]) {
        promises.iter().for_each(|promise| promise.cell.handed.store(true, Ordering::Release));
        notify_each(promises.iter());
    }

    /// Answers crops. Notifies each of their streams once.
    pub(super) fn answer_all(answers: impl IntoIterator<Item = (Self, Outcome)>) {
        let answered = |(promise, outcome): (Self, Outcome)| {
            let _ = promise.cell.outcome.set(outcome);
            promise
        };
        let promises: Vec<_> = answers.into_iter().map(answered).collect();
        notify_each(promises.iter());
    }
}

/// Notifies each stream of these promises once.
fn notify_each<'a>(promises: impl Iterator<Item = &'a Promise> + Clone) {
    for (index, promise) in promises.clone().enumerate() {
        let is_told = promises.clone().take(index).any(|before| Arc::ptr_eq(&before.notify, &promise.notify));
        if !is_told {
            (promise.notify)();
        }
    }
}

impl Drop for Promise {
    fn drop(&mut self) {
        if self.cell.outcome.get().is_some() {
            return;
        }
        let error = Error::new(ErrorKind::Run, "The crop was discarded before it was run");
        let _ = self.cell.outcome.set(Err(error));
        (self.notify)();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    fn counting() -> (Notify, Arc<AtomicUsize>) {
        let count = Arc::new(AtomicUsize::new(0));
        let counted = count.clone();
        (Arc::new(move || _ = counted.fetch_add(1, Ordering::SeqCst)), count)
    }

    #[test]
    fn each_stream_of_a_batch_hears_once_of_each_step() {
        let (one, told_one) = counting();
        let (other, told_other) = counting();
        let notifies = [&one, &other, &one, &one, &other];
        let (promises, pending): (Vec<_>, Vec<_>) =
            notifies.into_iter().map(|notify| Promise::new(notify.clone())).unzip();
        let told = || (told_one.load(Ordering::SeqCst), told_other.load(Ordering::SeqCst));
        Promise::hand_all(&promises);
        assert_eq!(told(), (1, 1));
        assert!(pending.iter().all(PendingAnswer::is_handed));
        Promise::answer_all(promises.into_iter().map(|promise| (promise, Ok(Box::default()))));
        assert_eq!(told(), (2, 2));
        assert!(pending.iter().all(|pending| pending.outcome().is_some_and(Result::is_ok)));
    }

    #[test]
    fn a_duty_that_is_dropped_answers_with_an_error() {
        let (notify, told) = counting();
        let (promise, pending) = Promise::new(notify);
        drop(promise);
        assert!(pending.outcome().is_some_and(Result::is_err));
        assert_eq!(told.load(Ordering::SeqCst), 1);
    }
}
