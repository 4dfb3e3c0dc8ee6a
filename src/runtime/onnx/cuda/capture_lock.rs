//! Which thread may call CUDA when. ONNX Runtime captures a graph in CUDA's global mode: an allocation or a synchronous copy
//! by any thread of the process spoils the capture. So nothing else may use CUDA during a capture.
//!
//! A run can hang with its device. A capture waits for such a run no longer than its limit, during which it blocks other
//! threads, and not at all once the hanging thread was left behind: another thread returns its permit, which no library's
//! lock allows.

use std::{
    mem::ManuallyDrop,
    ops::{Deref, DerefMut},
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use crate::{
    engine::{Cancel, Error, ErrorKind},
    sync::thread::{self, ThreadId},
};

static CAPTURE_LOCK: CaptureLock =
    CaptureLock::new(Limits { loads: Duration::from_secs(600), runs: Duration::from_secs(2) });

/// Held while a network is loaded.
pub(in crate::runtime::onnx) fn load() -> Permit<'static> {
    CAPTURE_LOCK.take(Kind::Load)
}

/// Held during a run, or while a network is closed.
pub(in crate::runtime::onnx) fn run() -> Permit<'static> {
    CAPTURE_LOCK.take(Kind::Run)
}

/// Held during a capture, which takes milliseconds; no other thread loads, runs or closes meanwhile. An error if it is
/// cancelled, or if other threads do not end in time.
pub(super) fn capture(cancel: &Cancel) -> Result<Permit<'static>, Error> {
    cancel.on_cancel(|| CAPTURE_LOCK.wake());
    CAPTURE_LOCK.capture(cancel)
}

/// The thread was left behind: its permits end, whatever it still does.
pub(in crate::runtime::onnx) fn give_up(thread: ThreadId) {
    CAPTURE_LOCK.give_up(thread);
}

/// How long a capture waits.
#[derive(Clone, Copy)]
struct Limits {
    /// For the end of every load, while other threads continue: building an engine for TensorRT takes minutes.
    loads: Duration,
    /// For the end of runs, while no other thread starts one.
    runs: Duration,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Takes seconds: a capture waits for its end without blocking runs and closing.
    Load,
    /// Takes milliseconds.
    Run,
    /// From the moment on when no thread loads.
    Capture,
}

struct CaptureLock {
    limits: Limits,
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    held: Vec<Held>,
    next: u64,
}

struct Held {
    number: u64,
    kind: Kind,
    thread: ThreadId,
}

impl State {
    fn has(&self, kind: Kind) -> bool {
        self.held.iter().any(|held| held.kind == kind)
    }

    fn add(&mut self, kind: Kind) -> u64 {
        self.next += 1;
        self.held.push(Held { number: self.next, kind, thread: thread::current().id() });
        self.next
    }
}

impl CaptureLock {
    const fn new(limits: Limits) -> Self {
        Self { limits, state: Mutex::new(State { held: Vec::new(), next: 0 }), changed: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake(&self) {
        let _state = self.lock();
        self.changed.notify_all();
    }

    fn take(&self, kind: Kind) -> Permit<'_> {
        let mut state = self.lock();
        while state.has(Kind::Capture) {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        Permit { number: state.add(kind), lock: self }
    }

    fn capture(&self, cancel: &Cancel) -> Result<Permit<'_>, Error> {
        let is_free = |state: &State| !state.has(Kind::Load) && !state.has(Kind::Capture);
        let mut state =
            self.wait(self.lock(), self.limits.loads, |state| cancel.is_cancelled() || is_free(state));
        cancel.check()?;
        if !is_free(&state) {
            return Err(still("another model is still being loaded", self.limits.loads));
        }
        // From here on, other threads wait.
        let permit = Permit { number: state.add(Kind::Capture), lock: self };
        let state = self.wait(state, self.limits.runs, |state| !state.has(Kind::Run));
        let ran = state.has(Kind::Run);
        // Dropping the permit takes the lock.
        drop(state);
        if ran { Err(still("a run of another model does not end", self.limits.runs)) } else { Ok(permit) }
    }

    fn wait<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
        limit: Duration,
        is_over: impl Fn(&State) -> bool,
    ) -> MutexGuard<'a, State> {
        let until = Instant::now() + limit;
        while !is_over(&state) {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            let waited = self.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        state
    }

    fn give_up(&self, thread: ThreadId) {
        self.lock().held.retain(|held| held.thread != thread);
        self.changed.notify_all();
    }
}

fn still(what: &str, limit: Duration) -> Error {
    Error::new(ErrorKind::Run, format!("CUDA graphs: {what} after {limit:?}"))
}

/// Ends when dropped.
pub(in crate::runtime::onnx) struct Permit<'a> {
    lock: &'a CaptureLock,
    number: u64,
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        let mut state = self.lock.lock();
        // It may already have been returned by another thread.
        state.held.retain(|held| held.number != self.number);
        drop(state);
        self.lock.changed.notify_all();
    }
}

/// A value that may free device memory when it is dropped; the drop waits for the end of a capture.
pub(in crate::runtime::onnx) struct DroppedUnderLock<T> {
    value: ManuallyDrop<T>,
    takes_lock: bool,
}

impl<T> DroppedUnderLock<T> {
    pub fn new(value: T, takes_lock: bool) -> Self {
        Self { value: ManuallyDrop::new(value), takes_lock }
    }

    pub fn takes_lock(&self) -> bool {
        self.takes_lock
    }

    pub fn set_takes_lock(&mut self, takes_lock: bool) {
        self.takes_lock = takes_lock;
    }

    pub fn into_inner(self) -> T {
        let mut this = ManuallyDrop::new(self);
        // SAFETY: neither it nor the whole is used again, or dropped.
        unsafe { ManuallyDrop::take(&mut this.value) }
    }
}

impl<T> Deref for DroppedUnderLock<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T> DerefMut for DroppedUnderLock<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.value
    }
}

impl<T> Drop for DroppedUnderLock<T> {
    fn drop(&mut self) {
        let _permit = self.takes_lock.then(run);
        // SAFETY: the value is not used again.
        unsafe { ManuallyDrop::drop(&mut self.value) };
    }
}

// On real threads.
#[cfg(all(test, not(shuttle)))]
mod tests {
    use std::sync::mpsc;

    use super::*;

    const FOR_EVER: Duration = Duration::from_secs(3600);

    fn lock_of(loads: Duration, runs: Duration) -> CaptureLock {
        CaptureLock::new(Limits { loads, runs })
    }

    #[test]
    fn a_capture_waits_for_a_load_but_holds_no_run_up_meanwhile() {
        let lock = lock_of(FOR_EVER, FOR_EVER);
        let loading = lock.take(Kind::Load);
        let (captured, capturing) = mpsc::channel();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let permit = lock.capture(&Cancel::default()).unwrap();
                let state = lock.lock();
                captured.send(!state.has(Kind::Load) && !state.has(Kind::Run)).unwrap();
                drop(state);
                drop(permit);
            });
            // Whether the capture already waits or not: runs continue, networks are closed and loaded, and nothing is
            // captured.
            for kind in [Kind::Run, Kind::Run, Kind::Load] {
                drop(lock.take(kind));
            }
            assert!(capturing.try_recv().is_err());
            drop(loading);
            assert!(capturing.recv().unwrap());
        });
    }

    #[test]
    fn nobody_has_a_permit_beside_a_capture() {
        let lock = lock_of(FOR_EVER, FOR_EVER);
        let captured = lock.capture(&Cancel::default()).unwrap();
        let (sender, taken) = mpsc::channel();
        std::thread::scope(|scope| {
            for kind in [Kind::Run, Kind::Load] {
                let (lock, sender) = (&lock, sender.clone());
                scope.spawn(move || {
                    drop(lock.take(kind));
                    sender.send(()).unwrap();
                });
            }
            assert!(taken.try_recv().is_err());
            drop(captured);
            taken.recv().unwrap();
            taken.recv().unwrap();
        });
    }

    #[test]
    fn a_run_that_hangs_fails_a_capture_and_holds_nobody_up() {
        let lock = lock_of(FOR_EVER, Duration::from_millis(1));
        let hangs = lock.take(Kind::Run);
        for _ in 0..3 {
            let error = lock.capture(&Cancel::default()).err().expect("it does not end");
            assert!(error.message.contains("a run of another model does not end"), "{error}");
            // Other threads continue, also to load.
            drop((lock.take(Kind::Run), lock.take(Kind::Load)));
        }
        drop(hangs);
        assert!(lock.capture(&Cancel::default()).is_ok());
    }

    #[test]
    fn a_load_that_hangs_fails_a_capture_by_its_limit_or_its_end() {
        let lock = lock_of(Duration::from_millis(1), FOR_EVER);
        let _hangs = lock.take(Kind::Load);
        let error = lock.capture(&Cancel::default()).err().expect("it does not end");
        assert!(error.message.contains("still being loaded"), "{error}");
        let cancel = Cancel::default();
        cancel.cancel();
        assert_eq!(lock.capture(&cancel).err(), Some(Error::cancelled()));
    }

    #[test]
    fn who_was_left_behind_gives_up_its_permits() {
        let lock = lock_of(FOR_EVER, FOR_EVER);
        let (taken, is_taken) = mpsc::channel();
        let (release, hang) = mpsc::channel::<()>();
        std::thread::scope(|scope| {
            let lock = &lock;
            let hangs = scope.spawn(move || {
                let held = (lock.take(Kind::Run), lock.take(Kind::Load));
                taken.send(()).unwrap();
                let _ = hang.recv();
                drop(held);
            });
            is_taken.recv().unwrap();
            lock.give_up(hangs.thread().id());
            let captured = lock.capture(&Cancel::default()).unwrap();
            // It ends at last, and the capture is still alone.
            drop(release);
            hangs.join().unwrap();
            assert!(lock.lock().has(Kind::Capture));
            drop(captured);
        });
        assert!(lock.lock().held.is_empty());
        // Also a thread that hangs in a capture.
        let captured = lock.capture(&Cancel::default()).unwrap();
        lock.give_up(std::thread::current().id());
        drop(lock.take(Kind::Run));
        drop(captured);
    }

    #[test]
    fn what_is_dropped_under_the_lock_is_dropped_once() {
        struct Count<'a>(&'a std::cell::Cell<u32>);
        impl Drop for Count<'_> {
            fn drop(&mut self) {
                self.0.set(self.0.get() + 1);
            }
        }
        for takes_lock in [true, false] {
            let count = std::cell::Cell::new(0);
            drop(DroppedUnderLock::new(Count(&count), takes_lock));
            assert_eq!(count.get(), 1);
            let inner = DroppedUnderLock::new(Count(&count), takes_lock).into_inner();
            assert_eq!(count.get(), 1);
            drop(inner);
            assert_eq!(count.get(), 2);
        }
    }
}
