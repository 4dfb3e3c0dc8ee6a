//! The answer to one submitted crop, between the executor that gives it and the frame that waits for it.

use std::sync::{Arc, OnceLock};

use super::{Error, ErrorKind};
use crate::sync::atomic::{AtomicBool, Ordering};

/// The row of numbers that answers one crop.
pub type Outcome = Result<Box<[f32]>, Error>;

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

    /// One whose answer is an error, once the other value is dropped.
    #[cfg(test)]
    pub fn unanswered() -> (Self, impl Sized) {
        let (duty, ticket) = Duty::new(Arc::new(|| ()));
        (ticket, duty)
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

    /// An executor took these crops. Their streams hear of it once each.
    pub(super) fn hand_all(duties: &[Self]) {
        duties.iter().for_each(|duty| duty.cell.handed.store(true, Ordering::Release));
        notify_each(duties.iter());
    }

    /// Answers crops. Their streams hear of it once each.
    pub(super) fn answer_all(answers: impl IntoIterator<Item = (Self, Outcome)>) {
        let answered = |(duty, outcome): (Self, Outcome)| {
            let _ = duty.cell.outcome.set(outcome);
            duty
        };
        let duties: Vec<_> = answers.into_iter().map(answered).collect();
        notify_each(duties.iter());
    }
}

/// Wakes each stream that one of the duties belongs to, once.
fn notify_each<'a>(duties: impl Iterator<Item = &'a Duty> + Clone) {
    for (index, duty) in duties.clone().enumerate() {
        let is_told = duties.clone().take(index).any(|before| Arc::ptr_eq(&before.notify, &duty.notify));
        if !is_told {
            (duty.notify)();
        }
    }
}

impl Drop for Duty {
    fn drop(&mut self) {
        if self.cell.outcome.get().is_some() {
            return;
        }
        let error = Error::new(ErrorKind::Run, "The crop was given up before it was run");
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
        let (duties, tickets): (Vec<_>, Vec<_>) =
            notifies.into_iter().map(|notify| Duty::new(notify.clone())).unzip();
        let told = || (told_one.load(Ordering::SeqCst), told_other.load(Ordering::SeqCst));
        Duty::hand_all(&duties);
        assert_eq!(told(), (1, 1));
        assert!(tickets.iter().all(Ticket::is_handed));
        Duty::answer_all(duties.into_iter().map(|duty| (duty, Ok(Box::default()))));
        assert_eq!(told(), (2, 2));
        assert!(tickets.iter().all(|ticket| ticket.outcome().is_some_and(Result::is_ok)));
    }

    #[test]
    fn a_duty_that_is_dropped_answers_with_an_error() {
        let (notify, told) = counting();
        let (duty, ticket) = Duty::new(notify);
        drop(duty);
        assert!(ticket.outcome().is_some_and(Result::is_err));
        assert_eq!(told.load(Ordering::SeqCst), 1);
    }
}
