//! The fixed set of buffers for crops on their way to an executor: it bounds the memory, whatever the number of people.

use std::{collections::BTreeMap, sync::Arc};

use super::{Core, Slot, batcher::StreamId, idle::Wakes};
use crate::sync::Condvar;

pub(super) struct Pool {
    free: Vec<Box<dyn Slot>>,
    total: usize,
    held: BTreeMap<StreamId, usize>,
    /// Each stream's fair share when there was last a change of it, and how many streams hold it.
    share: usize,
    with_share: usize,
    /// Streams that wait for a buffer, in the order in which they came.
    line: Vec<Waiter>,
    next_ticket: u64,
}

/// A stream that waits for a buffer.
struct Waiter {
    ticket: u64,
    stream: StreamId,
    room: Arc<Condvar>,
}

impl Pool {
    pub(super) fn new(free: Vec<Box<dyn Slot>>) -> Self {
        Self {
            total: free.len(),
            free,
            held: BTreeMap::new(),
            share: 1,
            with_share: 0,
            line: Vec::new(),
            next_ticket: 0,
        }
    }

    /// Takes a buffer, if one is free for the stream. A stream that already holds its fair share of `streams` streams gets
    /// more only while a buffer remains for every other stream that holds less than its share.
    pub(super) fn take(&mut self, stream: StreamId, streams: usize) -> Option<Box<dyn Slot>> {
        self.divide(streams);
        if self.has_share(stream) && self.kept_for_others(streams) >= self.free.len() {
            return None;
        }
        let slot = self.free.pop()?;
        let held = self.held.entry(stream).or_default();
        *held += 1;
        self.with_share += usize::from(*held == self.share);
        Some(slot)
    }

    /// Divides the buffers among so many streams.
    fn divide(&mut self, streams: usize) {
        let share = (self.total / streams.max(1)).max(1);
        if share != self.share {
            self.share = share;
            self.with_share = self.held.values().filter(|held| **held >= share).count();
        }
    }

    fn has_share(&self, stream: StreamId) -> bool {
        self.held.get(&stream).is_some_and(|held| *held >= self.share)
    }

    /// Buffers kept for streams that hold less than their share.
    fn kept_for_others(&self, streams: usize) -> usize {
        streams.saturating_sub(self.with_share)
    }

    /// `room` is notified when there is a buffer for the stream, until `leave_line`.
    pub(super) fn join_line(&mut self, stream: StreamId, room: Arc<Condvar>) -> u64 {
        self.next_ticket += 1;
        self.line.push(Waiter { ticket: self.next_ticket, stream, room });
        self.next_ticket
    }

    pub(super) fn leave_line(&mut self, ticket: u64) {
        self.line.retain(|waiter| waiter.ticket != ticket);
    }

    /// Whether the stream waits for a buffer.
    pub(super) fn has_in_line(&self, stream: StreamId) -> bool {
        self.line.iter().any(|waiter| waiter.stream == stream)
    }

    /// Wakes waiting streams that can have a buffer, one for each free buffer, and returns them.
    pub(super) fn wake(&mut self, streams: usize, wakes: &mut Wakes) -> Vec<StreamId> {
        if self.line.is_empty() || self.free.is_empty() {
            return Vec::new();
        }
        self.divide(streams);
        let spare = self.free.len() > self.kept_for_others(streams);
        let can_have = |waiter: &&Waiter| spare || !self.has_share(waiter.stream);
        let woken = self.line.iter().filter(can_have).take(self.free.len());
        let wake = |Waiter { stream, room, .. }: &Waiter| {
            wakes.streams.push(room.clone());
            *stream
        };
        woken.map(wake).collect()
    }

    /// Wakes all waiting streams: none of them will get a buffer.
    pub(super) fn wake_all(&self) {
        self.line.iter().for_each(|waiter| waiter.room.notify_all());
    }

    pub(super) fn give_back(&mut self, stream: StreamId, slot: Box<dyn Slot>) {
        self.free.push(slot);
        if let Some(held) = self.held.get_mut(&stream) {
            self.with_share -= usize::from(*held == self.share);
            *held -= 1;
            if *held == 0 {
                self.held.remove(&stream);
            }
        }
    }
}

/// A buffer for one crop. It returns to its engine when dropped. Do not drop it with the engine's lock held.
pub struct CropBuffer {
    /// None once it was returned.
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

    /// Returns the buffers of a batch together.
    pub(super) fn give_back_all(core: &Core, mut buffers: Vec<Self>) {
        if buffers.is_empty() {
            return;
        }
        buffers.iter_mut().for_each(|buffer| buffer.slot_mut().clear());
        core.change(|shared, wakes| {
            for buffer in &mut buffers {
                if let Some(slot) = buffer.slot.take() {
                    shared.pool.give_back(buffer.stream, slot);
                }
            }
            shared.wake_waiting(wakes);
        });
    }
}

impl Drop for CropBuffer {
    fn drop(&mut self) {
        if let Some(mut slot) = self.slot.take() {
            slot.clear();
            self.core.change(|shared, wakes| {
                shared.pool.give_back(self.stream, slot);
                shared.wake_waiting(wakes);
            });
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

    /// The streams that wake up.
    fn wake(pool: &mut Pool) -> Vec<StreamId> {
        let mut wakes = Wakes::default();
        let woken = pool.wake(4, &mut wakes);
        wakes.send();
        woken
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
        // A stream's returned buffers go to streams that have less than their share.
        for _ in 0..3 {
            pool.give_back(ids[0], taken.pop().unwrap());
        }
        assert_eq!((0..3).filter_map(|_| pool.take(ids[1], 8)).count(), 3);
    }

    /// Waking many threads for one buffer takes longer than a GPU takes for a batch.
    #[test]
    fn as_many_wake_up_as_there_are_buffers_in_the_order_in_which_they_came() {
        let ids = ids(4);
        let mut pool = pool(8);
        let mut taken: Vec<_> = ids.iter().map(|id| take_all(&mut pool, *id, 4)).collect();
        assert_eq!(taken.iter().map(Vec::len).collect::<Vec<_>>(), [5, 2, 1, 0]);
        let room = Arc::<Condvar>::default();
        let tickets = [1, 0, 2, 3].map(|index| pool.join_line(ids[index], room.clone()));
        assert_eq!(wake(&mut pool), [], "nothing is free");
        let mut one_is_given_back = |pool: &mut Pool| pool.give_back(ids[0], taken[0].pop().unwrap());
        one_is_given_back(&mut pool);
        assert_eq!(wake(&mut pool), [ids[2]], "the first of those with less than their share may");
        one_is_given_back(&mut pool);
        assert_eq!(wake(&mut pool), [ids[2], ids[3]]);
        one_is_given_back(&mut pool);
        assert_eq!(wake(&mut pool), [ids[1], ids[0], ids[2]], "there is one for others, too");
        pool.leave_line(tickets[0]);
        assert_eq!(wake(&mut pool), [ids[0], ids[2], ids[3]]);
        assert!(pool.has_in_line(ids[3]) && !pool.has_in_line(ids[1]));
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
