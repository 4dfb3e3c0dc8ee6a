//! An element's access to an engine.

use std::{sync::Arc, time::Duration};

use super::{
    Change, Core, CropBuffer, DeviceFigures, Job, Notify, PendingAnswer, Place, Shape, Shared, Statistics,
    answer::Promise,
    batcher::{StreamId, TimeoutPolicy},
    device::{self, Load},
    idle::Wakes,
};
use crate::sync::{
    Condvar,
    atomic::{AtomicBool, AtomicU64, Ordering},
    lock, wait,
};

/// The stream is flushing, and accepts nothing now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flushing;

/// A stream of crops that is attached to an engine. Dropping it detaches it.
pub struct Stream {
    core: Arc<Core>,
    id: StreamId,
    notify: Notify,
    /// The stream waits here for a crop buffer.
    room: Arc<Condvar>,
    flushing: AtomicBool,
    /// Number of the engine's changes that this stream has reported.
    told: AtomicU64,
}

impl Stream {
    pub(super) fn new(core: Arc<Core>, policy: TimeoutPolicy, notify: Notify) -> Self {
        let id = lock(&core.shared).batcher.attach(policy);
        Self {
            core,
            id,
            notify,
            room: Arc::default(),
            flushing: AtomicBool::new(false),
            told: AtomicU64::new(0),
        }
    }

    pub fn shape(&self) -> Shape {
        self.core.shape
    }

    /// Crops in one run.
    pub fn batch_size(&self) -> usize {
        self.core.batch_size
    }

    /// Name of the execution provider in use. It changes if the provider is lost.
    pub fn provider(&self) -> String {
        self.core.provider()
    }

    /// The changes since the last call, to report to the user.
    pub fn news(&self) -> Vec<Arc<Change>> {
        self.core.news.after(&self.told)
    }

    /// The places where the backend runs batches, for the statistics; none if there is only one.
    pub fn places(&self) -> Vec<Place> {
        (self.core.places)()
    }

    /// Figures of the devices, if the engine was opened on several.
    pub fn devices(&self) -> Vec<DeviceFigures> {
        lock(&self.core.shared).devices.iter().filter_map(device::Device::figures).collect()
    }

    /// Whether the engine had a device with that number and has lost it.
    pub fn has_lost(&self, number: u32) -> bool {
        let shared = lock(&self.core.shared);
        shared.devices.iter().any(|device| device.number == Some(number) && !device.runs())
    }

    /// A buffer for a crop. Waits while the stream holds its share of the buffers; a flush, or the end of the engine, ends
    /// the wait.
    pub fn buffer(&self) -> Result<CropBuffer, Flushing> {
        let mut shared = lock(&self.core.shared);
        let mut ticket = None;
        let slot = loop {
            if self.flushing.load(Ordering::SeqCst) || shared.closing {
                break None;
            }
            let streams = shared.batcher.running_streams();
            if let Some(slot) = shared.pool.take(self.id, streams) {
                break Some(slot);
            }
            let mut wakes = Wakes::default();
            if ticket.is_some() {
                // A buffer that this stream may not have can be another's.
                shared.wake_waiting(&mut wakes);
            } else {
                ticket = Some(shared.pool.join_line(self.id, self.room.clone()));
            }
            shared.batcher.set_blocked(self.id, true);
            shared.call_executors(self.core.clock.now(), &mut wakes);
            wakes.send();
            shared = wait(&self.room, shared);
        };
        if let Some(ticket) = ticket {
            shared.pool.leave_line(ticket);
            shared.batcher.set_blocked(self.id, false);
            if slot.is_none() {
                // There may be a buffer that was meant for this stream.
                let mut wakes = Wakes::default();
                shared.wake_waiting(&mut wakes);
                self.core.unlock(shared, wakes);
            }
        }
        slot.map(|slot| CropBuffer::new(slot, self.id, self.core.clone())).ok_or(Flushing)
    }

    /// Queues a crop for the next batch. Do not call it with the lock held that `notify` takes.
    pub fn submit(&self, crop: CropBuffer) -> PendingAnswer {
        let (promise, pending) = Promise::new(self.notify.clone());
        let lies_on = crop.slot().device();
        let job = Job { crop, promise };
        let refused = self.core.change(|shared, _| match shared.failed.clone() {
            Some(error) => Some((job, error)),
            None => {
                let now = self.core.clock.now();
                let pin = device::pin(&shared.devices, lies_on);
                let refused = shared.batcher.push(self.id, pin, job, now).err();
                refused.map(|job| (job, super::Error::new(super::ErrorKind::Run, "The stream is closed")))
            }
        });
        if let Some((Job { promise, .. }, error)) = refused {
            Promise::answer_all([(promise, Err(error))]);
        }
        pending
    }

    /// No pending crop waits for a fuller batch any more: something stands behind them.
    pub fn hurry(&self) {
        self.core.change_batcher(|batcher| batcher.hurry(self.id));
    }

    /// Whether the stream can send no further crop before a pending one is run. Valid until one is taken.
    pub fn set_blocked(&self, blocked: bool) {
        self.core.change_batcher(|batcher| batcher.set_blocked(self.id, blocked));
    }

    pub fn set_timeout_policy(&self, policy: TimeoutPolicy) {
        self.core.change_batcher(|batcher| batcher.set_timeout_policy(self.id, policy));
    }

    /// A frame has arrived: until the handle is dropped, more of its crops can follow.
    pub fn begin_frame(&self) -> FrameInProgress<'_> {
        let now = self.core.clock.now();
        lock(&self.core.shared).batcher.begin_frame(self.id, now);
        FrameInProgress(self)
    }

    /// No further crop comes before `resume`.
    pub fn pause(&self) {
        self.core.change_batcher(|batcher| batcher.stop(self.id));
    }

    /// Drops the pending crops and refuses buffers until `resume`. Running crops finish, but their answers are ignored. Do
    /// not call it with the lock held that `notify` takes.
    pub fn flush(&self) {
        self.flushing.store(true, Ordering::SeqCst);
        let jobs = self.core.change_batcher(|batcher| {
            batcher.stop(self.id);
            batcher.flush(self.id)
        });
        {
            // With the lock held, so that no thread checks before this and waits after it.
            let _shared = lock(&self.core.shared);
            self.room.notify_all();
        }
        drop(jobs);
    }

    /// Crops can come (again).
    pub fn resume(&self) {
        self.flushing.store(false, Ordering::SeqCst);
        let now = self.core.clock.now();
        lock(&self.core.shared).batcher.start(self.id, now);
    }

    /// How long the next run is expected to take.
    pub fn run_time(&self) -> Duration {
        lock(&self.core.shared).run_time.expected()
    }

    /// The longest time that this many crops, submitted now, would wait for the runs before them and their own.
    pub fn time_to_answer(&self, crops: usize) -> Duration {
        let shared = lock(&self.core.shared);
        let load = self.load(&shared);
        shared.run_time.expected().saturating_mul(self.runs(load.before + crops, &load))
    }

    /// Most runs in a row that this many crops need.
    pub fn runs_for(&self, crops: usize) -> u32 {
        self.runs(crops, &self.load(&lock(&self.core.shared)))
    }

    fn load(&self, shared: &Shared) -> Load {
        device::load(&shared.devices, &shared.batcher, shared.batcher.pin(self.id))
    }

    fn runs(&self, crops: usize, load: &Load) -> u32 {
        let runs = crops.div_ceil(self.core.batch_size).div_ceil(load.executors.max(1)).max(1);
        u32::try_from(runs).unwrap_or(u32::MAX)
    }

    /// Most crops that executors run at once.
    pub fn crops_in_flight(&self) -> usize {
        self.core.batch_size * self.core.executors.load(Ordering::SeqCst)
    }

    /// Streams that share the engine.
    pub fn streams(&self) -> usize {
        lock(&self.core.shared).batcher.streams()
    }

    /// The engine's statistics, for all its streams.
    pub fn statistics(&self) -> Statistics {
        lock(&self.core.shared).statistics.clone()
    }
}

/// The crops of a frame are being submitted.
pub struct FrameInProgress<'a>(&'a Stream);

impl Drop for FrameInProgress<'_> {
    fn drop(&mut self) {
        self.0.core.change_batcher(|batcher| batcher.end_frame(self.0.id));
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        drop(self.core.change_batcher(|batcher| batcher.detach(self.id)));
    }
}
