//! Threads that run foreign code, which can hang: their owner waits a while for their end and then leaves them behind.

use std::{
    io,
    sync::{
        Arc, Weak,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use super::Clock;
use crate::sync::{Condvar, Mutex, lock, thread, wait, wait_timeout};

/// How long a thread has for its end once it was told to end.
pub const PATIENCE: Duration = Duration::from_secs(5);

static LEFT_BEHIND: AtomicUsize = AtomicUsize::new(0);

/// Threads of this process that were left behind and still hang.
pub fn left_behind() -> usize {
    LEFT_BEHIND.load(Ordering::SeqCst)
}

#[derive(Default)]
struct Life {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    ended: bool,
    left_behind: bool,
}

/// Notes the thread's end, also by a panic.
struct End(Arc<Life>);

impl Drop for End {
    fn drop(&mut self) {
        let mut state = lock(&self.0.state);
        state.ended = true;
        if state.left_behind {
            LEFT_BEHIND.fetch_sub(1, Ordering::SeqCst);
        }
        self.0.changed.notify_all();
    }
}

pub(super) struct Thread {
    handle: thread::JoinHandle<()>,
    life: Arc<Life>,
}

impl Thread {
    pub fn spawn(name: String, clock: &dyn Clock, body: impl FnOnce() + Send + 'static) -> io::Result<Self> {
        let life = Arc::new(Life::default());
        let end = End(life.clone());
        let handle = thread::Builder::new().name(name).spawn(move || {
            let _end = end;
            body();
        })?;
        let waker: Weak<Life> = Arc::downgrade(&life);
        clock.on_jump(Arc::new(move || {
            if let Some(life) = waker.upgrade() {
                let _state = lock(&life.state);
                life.changed.notify_all();
            }
        }));
        Ok(Self { handle, life })
    }

    /// Waits for the thread's end, however long it takes.
    pub fn join(self) {
        let _ = self.handle.join();
    }

    /// Waits for the thread's end until the clock reads `deadline`. Tells whether it has ended; else it is left behind.
    pub fn join_until(self, deadline: Duration, clock: &dyn Clock) -> bool {
        let mut state = lock(&self.life.state);
        while !state.ended && clock.now() < deadline {
            state = match clock.sleep_until(deadline) {
                Some(sleep) => wait_timeout(&self.life.changed, state, sleep),
                None => wait(&self.life.changed, state),
            };
        }
        let ended = state.ended;
        if !ended {
            state.left_behind = true;
            LEFT_BEHIND.fetch_add(1, Ordering::SeqCst);
        }
        drop(state);
        if ended {
            let _ = self.handle.join();
        }
        ended
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;
    use crate::engine::ManualClock;

    #[test]
    fn a_thread_that_hangs_is_left_behind_exactly_at_the_deadline() {
        let clock = Arc::new(ManualClock::default());
        let (release, hang) = mpsc::channel::<()>();
        let thread = Thread::spawn("hangs".to_string(), &*clock, move || _ = hang.recv()).unwrap();
        let life = thread.life.clone();
        let (sender, told) = mpsc::channel();
        let waiter = {
            let clock = clock.clone();
            std::thread::spawn(move || sender.send(thread.join_until(PATIENCE, &*clock)).unwrap())
        };
        clock.advance(PATIENCE - Duration::from_nanos(1));
        assert_eq!(told.try_recv(), Err(mpsc::TryRecvError::Empty));
        clock.advance(Duration::from_nanos(1));
        assert!(!told.recv().unwrap());
        assert_eq!(left_behind(), 1);
        waiter.join().unwrap();
        // It ends after all.
        drop(release);
        let mut state = lock(&life.state);
        while !state.ended {
            state = wait(&life.changed, state);
        }
        assert_eq!(left_behind(), 0);
    }

    #[test]
    fn a_thread_that_ends_is_joined_also_after_a_panic() {
        let clock = ManualClock::default();
        let ends = Thread::spawn("ends".to_string(), &clock, || ()).unwrap();
        let panics = Thread::spawn("panics".to_string(), &clock, || panic!("on purpose")).unwrap();
        assert!(ends.join_until(PATIENCE, &clock));
        assert!(panics.join_until(PATIENCE, &clock));
    }
}
