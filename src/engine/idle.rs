//! Executors that wait for a batch, and which of them a change wakes. Each crop changes something several times: if every
//! change woke all executors of several GPUs, their threads would keep the engine's lock from the streams.

use std::{sync::Arc, time::Duration};

use crate::sync::Condvar;

/// The executors of one device that wait for a batch.
#[derive(Default)]
pub(super) struct Idle {
    wake: Arc<Condvar>,
    waiting: usize,
    /// Those among them that were called and will look for a batch.
    called: usize,
    /// When some of them look by themselves.
    alarms: Vec<Duration>,
}

impl Idle {
    pub fn waiting(&self) -> usize {
        self.waiting
    }

    pub fn called(&self) -> usize {
        self.called
    }

    pub fn uncalled(&self) -> usize {
        self.waiting - self.called
    }

    /// An executor begins to look for a batch, and ends with or without one.
    pub fn begin(&mut self) {
        self.waiting += 1;
    }

    pub fn end(&mut self) {
        self.waiting -= 1;
    }

    /// An executor goes to sleep. Returns what wakes it, and the time at which it must wake by itself: none if another one
    /// wakes as early.
    pub fn sleep(&mut self, until: Option<Duration>) -> (Arc<Condvar>, Option<Duration>) {
        let alarm = until.filter(|until| !self.wakes_by(*until));
        self.alarms.extend(alarm);
        (self.wake.clone(), alarm)
    }

    /// It is awake, for whatever reason, and looks for a batch. If it was not the one that was called, that one looks, too.
    pub fn look(&mut self, alarm: Option<Duration>) {
        self.called = self.called.saturating_sub(1);
        if let Some(index) = self.alarms.iter().position(|other| Some(*other) == alarm) {
            self.alarms.swap_remove(index);
        }
    }

    pub fn wakes_by(&self, moment: Duration) -> bool {
        self.alarms.iter().any(|alarm| *alarm <= moment)
    }

    pub fn call(&mut self, wakes: &mut Wakes) {
        self.called += 1;
        wakes.executors.push(self.wake.clone());
    }

    pub fn wake_all(&self) {
        self.wake.notify_all();
    }
}

/// Threads to wake when the engine's lock is free again: until then they could only wait for it.
#[derive(Default)]
#[must_use]
pub(super) struct Wakes {
    executors: Vec<Arc<Condvar>>,
    /// Streams that wait for a buffer.
    pub streams: Vec<Arc<Condvar>>,
}

impl Wakes {
    pub fn send(self) {
        self.executors.iter().for_each(|executor| executor.notify_one());
        self.streams.iter().for_each(|stream| stream.notify_all());
    }
}
