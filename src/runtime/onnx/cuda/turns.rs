//! Who may call CUDA when. ONNX Runtime captures a graph in CUDA's global mode: an allocation or a synchronous copy by
//! any thread of the process spoils the capture. So captures are alone in the process.
//!
//! A run can hang with its device. A capture waits for it no longer than its limit, in which it holds the others up, and
//! not at all once the thread that runs was left behind: others end its turn, which no lock of a library allows.

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

static TURNS: Turns = Turns::new(Limits { loads: Duration::from_secs(600), runs: Duration::from_secs(2) });

/// Held while a network is loaded.
pub(in crate::runtime::onnx) fn load() -> Turn<'static> {
    TURNS.take(Kind::Load)
}

/// Held during a run, or while a network is closed.
pub(in crate::runtime::onnx) fn run() -> Turn<'static> {
    TURNS.take(Kind::Run)
}

/// Held during a capture: milliseconds, in which nobody else loads, runs or closes. An error if it is cancelled, or if
/// the others do not end.
pub(super) fn capture(cancel: &Cancel) -> Result<Turn<'static>, Error> {
    cancel.on_cancel(|| TURNS.wake());
    TURNS.capture(cancel)
}

/// The thread was left behind: its turns are over, whatever it still does.
pub(in crate::runtime::onnx) fn give_up(thread: ThreadId) {
    TURNS.give_up(thread);
}

/// How long a capture waits.
#[derive(Clone, Copy)]
struct Limits {
    /// For the end of every load, in which the others go on: building an engine for TensorRT takes minutes.
    loads: Duration,
    /// For the end of runs, in which nobody begins another one.
    runs: Duration,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Takes seconds: a capture waits for its end without holding up those who run and close.
    Load,
    /// Takes milliseconds.
    Run,
    /// From the moment on at which nobody loads.
    Capture,
}

struct Turns {
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

impl Turns {
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

    fn take(&self, kind: Kind) -> Turn<'_> {
        let mut state = self.lock();
        while state.has(Kind::Capture) {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        Turn { number: state.add(kind), turns: self }
    }

    fn capture(&self, cancel: &Cancel) -> Result<Turn<'_>, Error> {
        let is_free = |state: &State| !state.has(Kind::Load) && !state.has(Kind::Capture);
        let mut state =
            self.wait(self.lock(), self.limits.loads, |state| cancel.is_cancelled() || is_free(state));
        cancel.check()?;
        if !is_free(&state) {
            return Err(still("another network is still loaded", self.limits.loads));
        }
        // From here on the others wait.
        let turn = Turn { number: state.add(Kind::Capture), turns: self };
        let state = self.wait(state, self.limits.runs, |state| !state.has(Kind::Run));
        let ran = state.has(Kind::Run);
        // The turn that is dropped takes the lock.
        drop(state);
        if ran { Err(still("a run of another network does not end", self.limits.runs)) } else { Ok(turn) }
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

/// Ends when it is dropped.
pub(in crate::runtime::onnx) struct Turn<'a> {
    turns: &'a Turns,
    number: u64,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut state = self.turns.lock();
        // It may have been given up.
        state.held.retain(|held| held.number != self.number);
        drop(state);
        self.turns.changed.notify_all();
    }
}

/// Something that may free device memory when it is dropped, which waits for the end of a capture then.
pub(in crate::runtime::onnx) struct DroppedInTurn<T> {
    value: ManuallyDrop<T>,
    takes_turns: bool,
}

impl<T> DroppedInTurn<T> {
    pub fn new(value: T, takes_turns: bool) -> Self {
        Self { value: ManuallyDrop::new(value), takes_turns }
    }

    pub fn takes_turns(&self) -> bool {
        self.takes_turns
    }

    pub fn set_takes_turns(&mut self, takes_turns: bool) {
        self.takes_turns = takes_turns;
    }

    pub fn into_inner(self) -> T {
        let mut this = ManuallyDrop::new(self);
        // SAFETY: neither it nor the whole is used again, or dropped.
        unsafe { ManuallyDrop::take(&mut this.value) }
    }
}

impl<T> Deref for DroppedInTurn<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T> DerefMut for DroppedInTurn<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.value
    }
}

impl<T> Drop for DroppedInTurn<T> {
    fn drop(&mut self) {
        let _turn = self.takes_turns.then(run);
        // SAFETY: the value is not used again.
        unsafe { ManuallyDrop::drop(&mut self.value) };
    }
}

// On the system's threads.
#[cfg(all(test, not(shuttle)))]
mod tests {
    use std::sync::mpsc;

    use super::*;

    const FOR_EVER: Duration = Duration::from_secs(3600);

    fn turns(loads: Duration, runs: Duration) -> Turns {
        Turns::new(Limits { loads, runs })
    }

    #[test]
    fn a_capture_waits_for_a_load_but_holds_no_run_up_meanwhile() {
        let turns = turns(FOR_EVER, FOR_EVER);
        let loading = turns.take(Kind::Load);
        let (captured, capturing) = mpsc::channel();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let turn = turns.capture(&Cancel::default()).unwrap();
                let state = turns.lock();
                captured.send(!state.has(Kind::Load) && !state.has(Kind::Run)).unwrap();
                drop(state);
                drop(turn);
            });
            // Whether the capture waits already or not: runs go on, networks are closed and loaded, and nothing was captured.
            for kind in [Kind::Run, Kind::Run, Kind::Load] {
                drop(turns.take(kind));
            }
            assert!(capturing.try_recv().is_err());
            drop(loading);
            assert!(capturing.recv().unwrap());
        });
    }

    #[test]
    fn nobody_has_a_turn_beside_a_capture() {
        let turns = turns(FOR_EVER, FOR_EVER);
        let captured = turns.capture(&Cancel::default()).unwrap();
        let (sender, taken) = mpsc::channel();
        std::thread::scope(|scope| {
            for kind in [Kind::Run, Kind::Load] {
                let (turns, sender) = (&turns, sender.clone());
                scope.spawn(move || {
                    drop(turns.take(kind));
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
        let turns = turns(FOR_EVER, Duration::from_millis(1));
        let hangs = turns.take(Kind::Run);
        for _ in 0..3 {
            let error = turns.capture(&Cancel::default()).err().expect("it does not end");
            assert!(error.message.contains("a run of another network does not end"), "{error}");
            // The others go on, also to load.
            drop((turns.take(Kind::Run), turns.take(Kind::Load)));
        }
        drop(hangs);
        assert!(turns.capture(&Cancel::default()).is_ok());
    }

    #[test]
    fn a_load_that_hangs_fails_a_capture_by_its_limit_or_its_end() {
        let turns = turns(Duration::from_millis(1), FOR_EVER);
        let _hangs = turns.take(Kind::Load);
        let error = turns.capture(&Cancel::default()).err().expect("it does not end");
        assert!(error.message.contains("still loaded"), "{error}");
        let cancel = Cancel::default();
        cancel.cancel();
        assert_eq!(turns.capture(&cancel).err(), Some(Error::cancelled()));
    }

    #[test]
    fn who_was_left_behind_gives_up_its_turns() {
        let turns = turns(FOR_EVER, FOR_EVER);
        let (taken, is_taken) = mpsc::channel();
        let (release, hang) = mpsc::channel::<()>();
        std::thread::scope(|scope| {
            let turns = &turns;
            let hangs = scope.spawn(move || {
                let held = (turns.take(Kind::Run), turns.take(Kind::Load));
                taken.send(()).unwrap();
                let _ = hang.recv();
                drop(held);
            });
            is_taken.recv().unwrap();
            turns.give_up(hangs.thread().id());
            let captured = turns.capture(&Cancel::default()).unwrap();
            // It ends after all, and the capture is none the less alone.
            drop(release);
            hangs.join().unwrap();
            assert!(turns.lock().has(Kind::Capture));
            drop(captured);
        });
        assert!(turns.lock().held.is_empty());
        // Who hangs in a capture, too.
        let captured = turns.capture(&Cancel::default()).unwrap();
        turns.give_up(std::thread::current().id());
        drop(turns.take(Kind::Run));
        drop(captured);
    }

    #[test]
    fn what_is_dropped_in_turn_is_dropped_once() {
        struct Count<'a>(&'a std::cell::Cell<u32>);
        impl Drop for Count<'_> {
            fn drop(&mut self) {
                self.0.set(self.0.get() + 1);
            }
        }
        for takes_turns in [true, false] {
            let count = std::cell::Cell::new(0);
            drop(DroppedInTurn::new(Count(&count), takes_turns));
            assert_eq!(count.get(), 1);
            let inner = DroppedInTurn::new(Count(&count), takes_turns).into_inner();
            assert_eq!(count.get(), 1);
            drop(inner);
            assert_eq!(count.get(), 2);
        }
    }
}
