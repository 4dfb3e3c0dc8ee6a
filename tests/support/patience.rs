//! How long a test waits before it says that something hangs.

#![allow(dead_code, reason = "each test uses what it needs")]

use std::{
    sync::mpsc,
    time::{Duration, Instant},
};

/// The time limit of a case on an idle machine. A case that takes longer hangs.
pub const WATCHDOG: Duration = Duration::from_secs(20);

/// The interval between two checks.
const SLICE: Duration = Duration::from_millis(100);
/// Time in which a thread waited for a CPU counts this much less.
const BUSY: u32 = 30;

/// A clock that almost stands still while CPUs are short, as the kernel reports it: a case that is slow because
/// of other programs does not hang. Without the kernel's report, it is an ordinary clock.
pub struct PatientClock {
    passed: Duration,
    seen: (Instant, Duration),
}

impl Default for PatientClock {
    fn default() -> Self {
        Self { passed: Duration::ZERO, seen: (Instant::now(), short_of_processors()) }
    }
}

impl PatientClock {
    pub fn now(&mut self) -> Duration {
        let now = (Instant::now(), short_of_processors());
        let real = now.0 - self.seen.0;
        let busy = now.1.saturating_sub(self.seen.1).min(real);
        self.seen = now;
        self.passed += real - busy + busy / BUSY;
        self.passed
    }
}

/// Time in which CPUs were short, since the machine's start.
fn short_of_processors() -> Duration {
    let pressure = std::fs::read_to_string("/proc/pressure/cpu").unwrap_or_default();
    let total =
        pressure.lines().find(|line| line.starts_with("some ")).and_then(|line| line.split_once("total="));
    Duration::from_micros(total.map_or(0, |(_, micros)| micros.parse().unwrap()))
}

/// Calls `look`, which may wait for the time that it gets, until it returns something; none if this takes
/// longer than `limit`.
pub fn wait<T>(limit: Duration, mut look: impl FnMut(Duration) -> Option<T>) -> Option<T> {
    let mut clock = PatientClock::default();
    loop {
        let found = look(SLICE);
        if found.is_some() || clock.now() >= limit {
            return found;
        }
    }
}

/// The next message of one of these types; none if it takes too long.
pub fn message(bus: &gst::Bus, kinds: &[gst::MessageType]) -> Option<gst::Message> {
    wait(WATCHDOG, |time| bus.timed_pop_filtered(gst::ClockTime::try_from(time).unwrap(), kinds))
}

/// What a thread sends, or that the thread has ended; none if it takes too long.
pub fn receive<T>(limit: Duration, receiver: &mpsc::Receiver<T>) -> Option<Result<T, mpsc::RecvError>> {
    wait(limit, |time| match receiver.recv_timeout(time) {
        Ok(result) => Some(Ok(result)),
        Err(mpsc::RecvTimeoutError::Disconnected) => Some(Err(mpsc::RecvError)),
        Err(mpsc::RecvTimeoutError::Timeout) => None,
    })
}
