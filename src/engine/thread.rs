//! Threads that run foreign code, which can hang. Their owner waits a while for their end, and then leaves them behind.

use std::{
    io,
    sync::{
        Arc, Weak,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use super::{Cancel, Clock};
use crate::sync::{
    Condvar, Mutex, lock,
    thread::{self, ThreadId},
    wait, wait_timeout,
};

/// How long a thread may take to end after it was told to.
pub const TIME_TO_END: Duration = Duration::from_secs(5);

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

/// Records the thread's end, also after a panic.
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

impl Life {
    fn wake(&self) {
        let _state = lock(&self.state);
        self.changed.notify_all();
    }
}

pub(super) struct Thread {
    handle: thread::JoinHandle<()>,
    life: Arc<Life>,
    forsaken: Box<dyn FnOnce(ThreadId) + Send + Sync>,
}

impl Thread {
    /// `forsaken` is called if the thread is left behind.
    pub fn spawn(
        name: String,
        clock: &dyn Clock,
        forsaken: impl FnOnce(ThreadId) + Send + Sync + 'static,
        body: impl FnOnce() + Send + 'static,
    ) -> io::Result<Self> {
        let life = Arc::new(Life::default());
        let end = End(life.clone());
        let handle = thread::Builder::new().name(name).spawn(move || {
            let _end = end;
            body();
        })?;
        let waker: Weak<Life> = Arc::downgrade(&life);
        clock.on_jump(Arc::new(move || {
            if let Some(life) = waker.upgrade() {
                life.wake();
            }
        }));
        Ok(Self { handle, life, forsaken: Box::new(forsaken) })
    }

    /// Waits for the thread's end: without a limit or, once `cancel` is cancelled, for a while. Returns whether it has
    /// ended; if not, it is left behind.
    pub fn join_unless(self, cancel: &Cancel, clock: &dyn Clock) -> bool {
        let waker: Weak<Life> = Arc::downgrade(&self.life);
        cancel.on_cancel(move || {
            if let Some(life) = waker.upgrade() {
                life.wake();
            }
        });
        let mut last_moment = None;
        self.join_while(clock, || {
            if last_moment.is_none() && cancel.is_cancelled() {
                last_moment = Some(clock.now().saturating_add(TIME_TO_END));
            }
            last_moment
        })
    }

    /// Waits for the thread's end until the clock shows `deadline`. Returns whether it has ended; if not, it is left behind.
    pub fn join_until(self, deadline: Duration, clock: &dyn Clock) -> bool {
        self.join_while(clock, || Some(deadline))
    }

    fn join_while(self, clock: &dyn Clock, mut deadline: impl FnMut() -> Option<Duration>) -> bool {
        let Self { handle, life, forsaken } = self;
        let mut state = lock(&life.state);
        while !state.ended {
            state = match deadline() {
                None => wait(&life.changed, state),
                Some(deadline) if clock.now() >= deadline => break,
                Some(deadline) => match clock.sleep_until(deadline) {
                    Some(sleep) => wait_timeout(&life.changed, state, sleep),
                    None => wait(&life.changed, state),
                },
            };
        }
        let ended = state.ended;
        if !ended {
            state.left_behind = true;
            LEFT_BEHIND.fetch_add(1, Ordering::SeqCst);
        }
        drop(state);
        if ended {
            let _ = handle.join();
        } else {
            forsaken(handle.thread().id());
        }
        ended
    }
}

/// Tests that count the threads left behind take turns, because the count is the process's.
#[cfg(test)]
pub(super) fn turn() -> std::sync::MutexGuard<'static, ()> {
    static TURN: std::sync::Mutex<()> = std::sync::Mutex::new(());
    TURN.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;
    use crate::engine::ManualClock;

    #[test]
    fn a_thread_that_hangs_is_left_behind_exactly_at_the_deadline() {
        let _turn = turn();
        let clock = Arc::new(ManualClock::default());
        let (release, hang) = mpsc::channel::<()>();
        let (forsaken, heard) = mpsc::channel();
        let forsake = move |id| forsaken.send(id).unwrap();
        let thread = Thread::spawn("hangs".to_string(), &*clock, forsake, move || _ = hang.recv()).unwrap();
        let (life, id) = (thread.life.clone(), thread.handle.thread().id());
        let (sender, told) = mpsc::channel();
        let waiter = {
            let clock = clock.clone();
            std::thread::spawn(move || sender.send(thread.join_until(TIME_TO_END, &*clock)).unwrap())
        };
        clock.advance(TIME_TO_END - Duration::from_nanos(1));
        assert_eq!(told.try_recv(), Err(mpsc::TryRecvError::Empty));
        clock.advance(Duration::from_nanos(1));
        assert!(!told.recv().unwrap());
        assert_eq!(left_behind(), 1);
        waiter.join().unwrap();
        assert_eq!(heard.try_recv(), Ok(id), "what it holds can be given to others");
        // It ends at last.
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
        let forsaken = |_| unreachable!("it ends");
        let ends = Thread::spawn("ends".to_string(), &clock, forsaken, || ()).unwrap();
        let panics = Thread::spawn("panics".to_string(), &clock, forsaken, || panic!("on purpose")).unwrap();
        assert!(ends.join_until(TIME_TO_END, &clock));
        assert!(panics.join_until(TIME_TO_END, &clock));
    }

    #[test]
    fn a_thread_is_waited_for_until_that_is_cancelled() {
        let _turn = turn();
        let clock = Arc::new(ManualClock::default());
        let cancel = Cancel::default();
        let (release, hang) = mpsc::channel::<()>();
        let thread = Thread::spawn("hangs".to_string(), &*clock, |_| (), move || _ = hang.recv()).unwrap();
        let life = thread.life.clone();
        let waiter = {
            let (clock, cancel) = (clock.clone(), cancel.clone());
            std::thread::spawn(move || thread.join_unless(&cancel, &*clock))
        };
        // The loading was not cancelled yet, however late it is.
        clock.advance(10 * TIME_TO_END);
        assert_eq!(left_behind(), 0);
        cancel.cancel();
        while left_behind() == 0 {
            clock.advance(TIME_TO_END);
            std::thread::yield_now();
        }
        assert!(!waiter.join().unwrap());
        drop(release);
        let mut state = lock(&life.state);
        while !state.ended {
            state = wait(&life.changed, state);
        }
    }
}
