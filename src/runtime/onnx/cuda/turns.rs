//! Who may call CUDA when. ONNX Runtime captures a graph in CUDA's global mode: an allocation or a synchronous copy by
//! any thread of the process spoils the capture. So captures are alone in the process.

use std::{
    mem::ManuallyDrop,
    ops::{Deref, DerefMut},
    sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

/// Loading takes seconds: a capture waits for its end without holding up those who run.
static LOADING: RwLock<()> = RwLock::new(());
static RUNNING: RwLock<()> = RwLock::new(());

/// Held while a network is loaded or closed.
pub(in crate::runtime::onnx) fn load() -> RwLockReadGuard<'static, ()> {
    LOADING.read().unwrap_or_else(PoisonError::into_inner)
}

/// Held during a run.
pub(in crate::runtime::onnx) fn run() -> RwLockReadGuard<'static, ()> {
    RUNNING.read().unwrap_or_else(PoisonError::into_inner)
}

/// Held during a capture: milliseconds, in which nobody else loads or runs.
pub(super) fn capture() -> (RwLockWriteGuard<'static, ()>, RwLockWriteGuard<'static, ()>) {
    (
        LOADING.write().unwrap_or_else(PoisonError::into_inner),
        RUNNING.write().unwrap_or_else(PoisonError::into_inner),
    )
}

/// Something that frees device memory when it is dropped, which waits for the end of a capture.
pub(super) struct DroppedInTurn<T>(ManuallyDrop<T>);

impl<T> DroppedInTurn<T> {
    pub(super) fn new(value: T) -> Self {
        Self(ManuallyDrop::new(value))
    }
}

impl<T> Deref for DroppedInTurn<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> DerefMut for DroppedInTurn<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.0
    }
}

impl<T> Drop for DroppedInTurn<T> {
    fn drop(&mut self) {
        let _turn = load();
        // SAFETY: the value is not used again.
        unsafe { ManuallyDrop::drop(&mut self.0) };
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn a_capture_waits_for_a_load_but_holds_no_run_up_meanwhile() {
        let loading = load();
        let (captured, capturing) = mpsc::channel();
        std::thread::scope(|scope| {
            let capturer = scope.spawn(move || {
                let turn = capture();
                // No run, and nobody who loads, has a turn now.
                captured.send(LOADING.try_read().is_err() && RUNNING.try_read().is_err()).unwrap();
                drop(turn);
            });
            // Whether the capture waits already or not: a run goes on, and nothing was captured.
            drop(run());
            assert!(capturing.try_recv().is_err());
            drop(loading);
            assert!(capturing.recv().unwrap());
            capturer.join().unwrap();
        });
        drop((load(), run()));
    }

    #[test]
    fn what_is_dropped_in_turn_is_dropped_once() {
        struct Count<'a>(&'a std::cell::Cell<u32>);
        impl Drop for Count<'_> {
            fn drop(&mut self) {
                self.0.set(self.0.get() + 1);
            }
        }
        let count = std::cell::Cell::new(0);
        drop(DroppedInTurn::new(Count(&count)));
        assert_eq!(count.get(), 1);
    }
}
