//! The clock that batches are timed with, injected so that tests need no real time.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

#[cfg(any(debug_assertions, feature = "testing"))]
use crate::sync::{Mutex, lock};

/// A monotonic clock.
pub trait Clock: Send + Sync {
    /// Time since some fixed moment.
    fn now(&self) -> Duration;

    /// How long a thread may sleep until this clock shows `deadline`; none: until it is woken.
    fn sleep_until(&self, deadline: Duration) -> Option<Duration>;

    /// Calls `wake` whenever sleepers must read the clock again.
    fn on_jump(&self, wake: Arc<dyn Fn() + Send + Sync>);
}

/// The machine's monotonic clock.
pub struct MonotonicClock(Instant);

impl Default for MonotonicClock {
    fn default() -> Self {
        Self(Instant::now())
    }
}

impl Clock for MonotonicClock {
    fn now(&self) -> Duration {
        self.0.elapsed()
    }

    fn sleep_until(&self, deadline: Duration) -> Option<Duration> {
        Some(deadline.saturating_sub(self.now()))
    }

    fn on_jump(&self, _wake: Arc<dyn Fn() + Send + Sync>) {}
}

/// A clock that stands still until a test moves it.
#[cfg(any(debug_assertions, feature = "testing"))]
#[derive(Default)]
pub struct ManualClock {
    now: Mutex<Duration>,
    wakers: Mutex<Vec<Arc<dyn Fn() + Send + Sync>>>,
}

#[cfg(any(debug_assertions, feature = "testing"))]
impl ManualClock {
    pub fn advance(&self, by: Duration) {
        *lock(&self.now) += by;
        let wakers = lock(&self.wakers).clone();
        wakers.iter().for_each(|wake| wake());
    }
}

#[cfg(any(debug_assertions, feature = "testing"))]
impl Clock for ManualClock {
    fn now(&self) -> Duration {
        *lock(&self.now)
    }

    fn sleep_until(&self, _deadline: Duration) -> Option<Duration> {
        None
    }

    fn on_jump(&self, wake: Arc<dyn Fn() + Send + Sync>) {
        lock(&self.wakers).push(wake);
    }
}
