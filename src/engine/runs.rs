//! An executor's thread: runs batch after batch, and answers the crops.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    time::Duration,
};

use super::{
    Batch, BatchReport, Core, CropBuffer, Done, Error, Executor, Network, Overlap, answer::Promise, closed,
    device::State, fallback::Runner, panicked,
};
use crate::sync::lock;

impl Core {
    /// Runs batches until the engine closes, a run panics, or its device is lost and others remain.
    pub(super) fn run_batches<N: Network>(&self, mut runner: Runner<N>) {
        let device = runner.device;
        let mut rows = vec![0f32; self.batch_size * self.shape.row];
        let mut overlap = Overlap::default();
        while let Some(mut batch) = match overlap.next.take() {
            Some(next) => self.unless_ended(next, device),
            None => self.next_batch(device),
        } {
            let Some(result) = self.run_anywhere(&mut runner, &mut batch, &mut rows, &mut overlap) else {
                self.put_back(device, overlap.next.take().into_iter().chain([batch]));
                break;
            };
            let refused = runner.executor.refused();
            overlap.done = Some(self.done(batch, result, &rows, &refused));
            // If there is a next batch, the device gets it before this one is answered.
            if overlap.next.is_none() {
                self.settle(&mut overlap.done, device);
            }
        }
        self.settle(&mut overlap.done, device);
        if self.state_of(device) == State::Lost {
            // It is not shut down: that would call a device that does not answer.
            std::mem::forget(runner.executor);
        }
    }

    /// The batch; none if it was answered with an error.
    fn unless_ended(&self, batch: Batch, device: usize) -> Option<Batch> {
        let error = {
            let mut shared = lock(&self.shared);
            if !shared.has_ended() {
                return Some(batch);
            }
            shared.devices[device].end(batch.promises.len(), None);
            shared.failed.clone().unwrap_or_else(closed)
        };
        Promise::answer_all(batch.promises.into_iter().map(|promise| (promise, Err(error.clone()))));
        None
    }

    fn done(
        &self,
        batch: Batch,
        result: Result<(usize, Duration), Error>,
        answers: &[f32],
        refused: &[(usize, Error)],
    ) -> Done {
        let Batch { promises, crops, waited, .. } = batch;
        let report = result.as_ref().ok().map(|(rows, ran)| BatchReport {
            crops: promises.len(),
            padding: rows.saturating_sub(promises.len()),
            waited,
            ran: *ran,
        });
        let refusal = |row: usize| refused.iter().find(|(refused, _)| *refused == row);
        let outcome = |row: usize| match (&result, refusal(row)) {
            (Ok(_), Some((_, error))) => Err(error.clone()),
            (Ok(_), None) => Ok(answers[row * self.shape.row..][..self.shape.row].into()),
            (Err(error), _) => Err(error.clone()),
        };
        let answers =
            promises.into_iter().enumerate().map(|(row, promise)| (promise, outcome(row))).collect();
        Done { answers, crops, report }
    }

    /// Answers a batch that was run, and reports it.
    fn settle(&self, done: &mut Option<Done>, device: usize) {
        let Some(Done { answers, crops, report }) = done.take() else { return };
        CropBuffer::give_back_all(self, crops);
        self.count(device, answers.len(), report.as_ref());
        if let Some(report) = &report {
            (self.observer)(report);
        }
        Promise::answer_all(answers);
    }

    /// Runs one batch. If the run fails, it is tried again, if something else can run the batch after that: executors of
    /// other devices, for which the batch is then put back (none is returned), or the fallback.
    fn run_anywhere<N: Network>(
        &self,
        runner: &mut Runner<N>,
        batch: &mut Batch,
        answers: &mut [f32],
        overlap: &mut Overlap,
    ) -> Option<Result<(usize, Duration), Error>> {
        let device = runner.device;
        let mut second = false;
        loop {
            let keep = runner.fallback.is_some() || self.has_several_devices;
            let result = self.run_batch(runner, batch, keep, answers, overlap);
            // If the run did not start.
            self.settle(&mut overlap.done, device);
            let error = match result {
                Err(error) if keep && !lock(&self.shared).has_ended() => error,
                other => return Some(other),
            };
            for batch in overlap.next.iter_mut().chain([&mut *batch]) {
                batch.loaded = false;
            }
            // Another executor of the device may already have found this.
            let failed = second || self.is_given_up(device);
            if failed && self.give_up_device(device, &error) {
                return None;
            }
            if failed && runner.fallback.is_none() {
                return Some(Err(error));
            }
            if failed && let Err(error) = runner.fall_back(self, &error) {
                self.give_up(&error);
                return Some(Err(error));
            }
            second = true;
        }
    }

    /// Runs one batch; returns how many rows the network computed, and how long that took. Unless they must be kept, the
    /// crops' buffers are free before the network runs. A panic gives up the engine.
    fn run_batch<N: Network>(
        &self,
        Runner { executor, device, .. }: &mut Runner<N>,
        batch: &mut Batch,
        keep: bool,
        answers: &mut [f32],
        overlap: &mut Overlap,
    ) -> Result<(usize, Duration), Error> {
        let (executor, device) = (&mut **executor, *device);
        let run = || {
            if !batch.loaded {
                self.load(executor, batch, keep);
            }
            let crops = batch.promises.len();
            let started = self.clock.now();
            let rows = match executor.overlapping() {
                None => {
                    self.count_waits(batch, started);
                    executor.run(crops, answers)?
                }
                Some(executor) => {
                    executor.begin(crops)?;
                    self.settle(&mut overlap.done, device);
                    self.count_waits(batch, started);
                    if overlap.next.is_none() {
                        overlap.next = self.next_batch_ahead(device);
                    }
                    if let Some(next) = overlap.next.as_mut().filter(|next| !next.loaded) {
                        self.load(executor, next, keep);
                    }
                    executor.finish(answers)?
                }
            };
            Ok((rows, executor.took().unwrap_or_else(|| self.clock.now().saturating_sub(started))))
        };
        catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|panic| {
            let error = panicked("Inference", &*panic);
            self.give_up(&error);
            Err(error)
        })
    }

    /// Copies a batch into the executor's rows.
    fn load(&self, executor: &mut dyn Executor, batch: &mut Batch, keep: bool) {
        for (row, crop) in batch.crops.iter().enumerate() {
            executor.load(row, crop.slot());
        }
        batch.loaded = true;
        if !keep {
            CropBuffer::give_back_all(self, std::mem::take(&mut batch.crops));
        }
        Promise::hand_all(&batch.promises);
    }

    /// Counts how long the batch's crops waited.
    fn count_waits(&self, batch: &mut Batch, now: Duration) {
        if std::mem::replace(&mut batch.counted, true) {
            return;
        }
        let mut shared = lock(&self.shared);
        for arrived in &batch.arrived {
            let wait = now.saturating_sub(*arrived);
            shared.statistics.waits.add(wait);
            batch.waited = batch.waited.max(wait);
        }
    }

    /// This many crops are no longer running; with a report if their run succeeded.
    fn count(&self, device: usize, crops: usize, report: Option<&BatchReport>) {
        let mut shared = lock(&self.shared);
        shared.devices[device].end(crops, report);
        let Some(report) = report else { return };
        let shared = &mut *shared;
        shared.statistics.count(report);
        let full = report.crops + report.padding >= self.batch_size;
        shared.run_time.add(report.ran, full);
    }
}
