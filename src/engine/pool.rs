//! The fixed set of buffers for crops on their way to an executor: memory stays bounded whatever the number of people.

use std::{collections::BTreeMap, sync::Arc};

use super::{Core, Slot, batcher::StreamId};
use crate::sync::lock;

pub(super) struct Pool {
    free: Vec<Box<dyn Slot>>,
    total: usize,
    held: BTreeMap<StreamId, usize>,
}

impl Pool {
    pub(super) fn new(free: Vec<Box<dyn Slot>>) -> Self {
        Self { total: free.len(), free, held: BTreeMap::new() }
    }

    /// A buffer, unless none is free. A stream that holds its fair share of `streams` streams already may have more of
    /// what is left when one is kept for every other stream that holds less than its share.
    pub(super) fn take(&mut self, stream: StreamId, streams: usize) -> Option<Box<dyn Slot>> {
        let share = (self.total / streams.max(1)).max(1);
        let has_share = |stream: &StreamId| self.held.get(stream).is_some_and(|held| *held >= share);
        if has_share(&stream) {
            let with_share = self.held.keys().filter(|other| has_share(other)).count();
            if self.free.len() <= streams.saturating_sub(with_share) {
                return None;
            }
        }
        let slot = self.free.pop()?;
        *self.held.entry(stream).or_default() += 1;
        Some(slot)
    }

    pub(super) fn give_back(&mut self, stream: StreamId, slot: Box<dyn Slot>) {
        self.free.push(slot);
        if let Some(held) = self.held.get_mut(&stream) {
            *held -= 1;
            if *held == 0 {
                self.held.remove(&stream);
            }
        }
    }
}

/// A buffer for one crop; goes back to its engine when dropped. Not to be dropped with the engine's lock held.
pub struct CropBuffer {
    /// None once it was given back.
    slot: Option<Box<dyn Slot>>,
    stream: StreamId,
    core: Arc<Core>,
}

impl CropBuffer {
    pub(super) fn new(slot: Box<dyn Slot>, stream: StreamId, core: Arc<Core>) -> Self {
        Self { slot: Some(slot), stream, core }
    }

    pub(super) fn stream(&self) -> StreamId {
        self.stream
    }

    pub fn slot(&self) -> &dyn Slot {
        &**self.slot.as_ref().expect("it is here until it is dropped")
    }

    pub fn slot_mut(&mut self) -> &mut dyn Slot {
        &mut **self.slot.as_mut().expect("it is here until it is dropped")
    }

    /// Gives the buffers of a batch back together: those who wait for one wake up once.
    pub(super) fn give_back_all(core: &Core, mut buffers: Vec<Self>) {
        if buffers.is_empty() {
            return;
        }
        buffers.iter_mut().for_each(|buffer| buffer.slot_mut().clear());
        {
            let mut shared = lock(&core.shared);
            for buffer in &mut buffers {
                if let Some(slot) = buffer.slot.take() {
                    shared.pool.give_back(buffer.stream, slot);
                }
            }
        }
        core.buffers.notify_all();
    }
}

impl Drop for CropBuffer {
    fn drop(&mut self) {
        if let Some(mut slot) = self.slot.take() {
            slot.clear();
            lock(&self.core.shared).pool.give_back(self.stream, slot);
            self.core.buffers.notify_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{TimeoutPolicy, batcher::Batcher};

    fn ids(count: usize) -> Vec<StreamId> {
        let mut batcher = Batcher::<()>::new(8);
        let policy = TimeoutPolicy { timeout: std::time::Duration::ZERO, adaptive: true };
        (0..count).map(|_| batcher.attach(policy)).collect()
    }

    fn pool(total: usize) -> Pool {
        Pool::new((0..total).map(|_| Box::new(vec![0u8; 1].into_boxed_slice()) as Box<dyn Slot>).collect())
    }

    fn take_all(pool: &mut Pool, stream: StreamId, streams: usize) -> Vec<Box<dyn Slot>> {
        std::iter::from_fn(|| pool.take(stream, streams)).collect()
    }

    #[test]
    fn a_stream_borrows_what_others_leave_but_each_gets_one_at_once() {
        let ids = ids(8);
        let mut pool = pool(24);
        let mut taken = take_all(&mut pool, ids[0], 8);
        assert_eq!(taken.len(), 24 - 7, "one is kept for each of the others");
        let second = pool.take(ids[1], 8).unwrap();
        assert!(pool.take(ids[0], 8).is_none());
        pool.give_back(ids[1], second);
        assert!(pool.take(ids[0], 8).is_none(), "it is kept again");
        // What a stream gives back goes to those who have less than their share.
        for _ in 0..3 {
            pool.give_back(ids[0], taken.pop().unwrap());
        }
        assert_eq!((0..3).filter_map(|_| pool.take(ids[1], 8)).count(), 3);
    }

    #[test]
    fn a_stream_alone_gets_all() {
        let ids = ids(1);
        assert_eq!(take_all(&mut pool(24), ids[0], 1).len(), 24);
    }

    #[test]
    fn more_streams_than_buffers_get_one_each() {
        let ids = ids(32);
        let mut pool = pool(24);
        assert_eq!(take_all(&mut pool, ids[0], 32).len(), 1);
        assert_eq!(ids.iter().filter_map(|id| pool.take(*id, 32)).count(), 23);
    }
}
