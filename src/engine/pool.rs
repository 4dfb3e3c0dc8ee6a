//! The fixed set of buffers for crops on their way to an executor: memory stays bounded whatever the number of people.

use std::{
    collections::BTreeMap,
    ops::{Deref, DerefMut},
    sync::Arc,
};

use super::{Core, batcher::StreamId};
use crate::sync::lock;

pub(super) struct Pool {
    free: Vec<Box<[u8]>>,
    total: usize,
    held: BTreeMap<StreamId, usize>,
}

impl Pool {
    pub(super) fn new(total: usize, bytes: usize) -> Self {
        Self { free: vec![vec![0; bytes].into_boxed_slice(); total], total, held: BTreeMap::new() }
    }

    /// A buffer, unless none is free or the stream holds its fair share of `streams` streams already.
    pub(super) fn take(&mut self, stream: StreamId, streams: usize) -> Option<Box<[u8]>> {
        let held = self.held.entry(stream).or_default();
        let share = (self.total / streams.max(1)).max(1);
        if *held >= share {
            return None;
        }
        let bytes = self.free.pop()?;
        *held += 1;
        Some(bytes)
    }

    fn give_back(&mut self, stream: StreamId, bytes: Box<[u8]>) {
        self.free.push(bytes);
        if let Some(held) = self.held.get_mut(&stream) {
            *held -= 1;
            if *held == 0 {
                self.held.remove(&stream);
            }
        }
    }
}

/// A buffer for one crop, rows of 8-bit RGB; goes back to its engine when dropped. Not to be dropped with the engine's
/// lock held.
pub struct CropBuffer {
    bytes: Box<[u8]>,
    stream: StreamId,
    core: Arc<Core>,
}

impl CropBuffer {
    pub(super) fn new(bytes: Box<[u8]>, stream: StreamId, core: Arc<Core>) -> Self {
        Self { bytes, stream, core }
    }
}

impl Deref for CropBuffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl DerefMut for CropBuffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }
}

impl Drop for CropBuffer {
    fn drop(&mut self) {
        lock(&self.core.shared).pool.give_back(self.stream, std::mem::take(&mut self.bytes));
        self.core.buffers.notify_all();
    }
}
