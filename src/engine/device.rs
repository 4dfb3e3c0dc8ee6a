//! The devices of an engine's executors: one, or several, of which each can be lost.

use std::time::Duration;

use super::{
    BatchReport, Batcher, Change, Core, Error, ErrorKind, Shared, Window,
    batcher::{Decision, Pin},
    idle::{Idle, Wakes},
};
use crate::sync::{atomic::Ordering, lock};

/// A device of an engine.
pub(super) struct Device {
    /// None if the engine has only this device.
    pub number: Option<u32>,
    name: String,
    pub state: State,
    /// Executors that take batches.
    pub executors: usize,
    /// Executors among them that wait for a batch.
    pub idle: Idle,
    /// Batches and crops that they have not answered yet.
    in_flight: usize,
    running: usize,
    crops: u64,
    batches: u64,
    runs: Window,
}

/// Whether a device's executors take batches.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Runs,
    /// It no longer answers.
    Lost,
    /// It answers, but has too little memory for a run.
    Short,
}

/// Figures of one of several devices.
#[derive(Clone, Debug, PartialEq)]
pub struct DeviceFigures {
    pub number: u32,
    /// Whether it accepts batches, as a word for users.
    pub state: &'static str,
    /// Batches that it has not answered yet.
    pub in_flight: usize,
    /// Crops and batches that it has answered.
    pub crops: u64,
    pub batches: u64,
    /// How long the latest runs took.
    pub median: Duration,
    pub percentile_99: Duration,
}

impl Device {
    pub fn new(number: Option<u32>, name: String, executors: usize) -> Self {
        Self {
            number,
            name,
            state: State::Runs,
            executors,
            idle: Idle::default(),
            in_flight: 0,
            running: 0,
            crops: 0,
            batches: 0,
            runs: Window::default(),
        }
    }

    pub fn runs(&self) -> bool {
        self.state == State::Runs
    }

    /// Adds this many crops to it.
    pub fn begin(&mut self, crops: usize) {
        self.in_flight += 1;
        self.running += crops;
    }

    /// It has answered this many crops, or given them back; with a report if their run succeeded.
    pub fn end(&mut self, crops: usize, report: Option<&BatchReport>) {
        self.in_flight -= 1;
        self.running -= crops;
        if let Some(report) = report {
            self.crops += report.crops as u64;
            self.batches += 1;
            self.runs.add(report.ran);
        }
    }

    pub fn figures(&self) -> Option<DeviceFigures> {
        Some(DeviceFigures {
            number: self.number?,
            state: match self.state {
                State::Runs => "ready",
                State::Lost => "lost",
                State::Short => "out-of-memory",
            },
            in_flight: self.in_flight,
            crops: self.crops,
            batches: self.batches,
            median: self.runs.percentile(0.5),
            percentile_99: self.runs.percentile(0.99),
        })
    }
}

/// What new crops of a stream wait for.
pub(super) struct Load {
    /// Most crops that are run before a new crop of the stream.
    pub before: usize,
    /// Executors that can take the stream's crops.
    pub executors: usize,
}

/// The pin of crops on the device with that number: only its executors take them, as long as it has any.
pub(super) fn pin(devices: &[Device], number: Option<u32>) -> Pin {
    let number = number?;
    devices.iter().position(|device| device.number == Some(number) && device.runs())
}

pub(super) fn load<T>(devices: &[Device], batcher: &Batcher<T>, pin: Pin) -> Load {
    let all = devices.iter().map(|device| device.executors).sum::<usize>();
    match pin {
        None => {
            let running = devices.iter().map(|device| device.running).sum::<usize>();
            Load { before: batcher.pending() + running, executors: all }
        }
        Some(index) => {
            let Device { executors, running, .. } = devices[index];
            // Its share of the crops that all executors can take.
            let shared = (batcher.pending_with(None) * executors).div_ceil(all.max(1));
            Load { before: batcher.pending_with(pin) + shared + running, executors }
        }
    }
}

/// Whether there is a batch for an executor of the device that is still running: a full one, which can get no fuller, that
/// no idle executor takes.
pub(super) fn has_batch_ahead<T>(devices: &[Device], batcher: &Batcher<T>, device: usize) -> bool {
    let batch_size = batcher.batch_size();
    let others = devices.iter().enumerate().filter(|(other, _)| *other != device);
    let idle_elsewhere: usize = others.map(|(_, other)| other.idle.waiting()).sum();
    let shared = batcher.pending_with(None).saturating_sub(idle_elsewhere * batch_size);
    let pending = shared + batcher.pending_with(Some(device));
    devices[device].runs() && pending >= (devices[device].idle.waiting() + 1) * batch_size
}

/// The device to call an executor of, among those with executors that wait and were not called: that with the fewest batches
/// now, then that which has run the fewest.
pub(super) fn to_call(devices: &[Device]) -> Option<usize> {
    let burden = |device: &Device| (device.in_flight + device.idle.called(), device.batches);
    let candidates =
        devices.iter().enumerate().filter(|(_, device)| device.runs() && device.idle.uncalled() > 0);
    candidates.min_by_key(|(_, device)| burden(device)).map(|(index, _)| index)
}

impl Shared {
    /// After a change: calls the idle executors that have something to do. An executor that takes a batch calls the next one.
    pub fn call_executors(&mut self, now: Duration, wakes: &mut Wakes) {
        // Without pins, the executors of all devices do the same work.
        let count = self.devices.len();
        let group = if count > 1 && self.batcher.has_pins() { 1 } else { count };
        for first in (0..count).step_by(group) {
            let devices = &mut self.devices[first..first + group];
            let Some(offset) = to_call(devices) else { continue };
            let called = devices.iter().map(|device| device.idle.called()).sum::<usize>();
            let batches = self.batcher.pending_for(first + offset) / self.batcher.batch_size();
            // Those that were called look at everything.
            if called > 0 && batches <= called {
                continue;
            }
            let wanted = match self.batcher.decide(first + offset, now) {
                Decision::Idle => 0,
                Decision::WaitUntil(moment) => {
                    usize::from(!devices.iter().any(|device| device.idle.wakes_by(moment)))
                }
                Decision::Cut => batches.max(1),
            };
            if called < wanted {
                devices[offset].idle.call(wakes);
            }
        }
    }
}

impl Core {
    /// Whether the device's executors must end because others continue without it.
    pub(super) fn is_given_up(&self, device: usize) -> bool {
        self.has_several_devices && !lock(&self.shared).devices[device].runs()
    }

    pub(super) fn state_of(&self, device: usize) -> State {
        lock(&self.shared).devices[device].state
    }

    /// An executor of the device has failed for good. If other devices remain, the device is given up: its executors end,
    /// and other executors try its crops, after `put_back`. False if it is the last device.
    pub(super) fn give_up_device(&self, device: usize, error: &Error) -> bool {
        {
            let mut shared = lock(&self.shared);
            let shared = &mut *shared;
            if !shared.devices[device].runs() {
                return true;
            }
            let others =
                shared.devices.iter().enumerate().filter(|(index, other)| *index != device && other.runs());
            let others: Vec<_> = others.map(|(_, other)| other.name.as_str()).collect();
            if others.is_empty() {
                return false;
            }
            let (state, trouble) = match error.kind {
                ErrorKind::OutOfMemory => (State::Short, "has too little memory for a run"),
                _ => (State::Lost, "is lost"),
            };
            let name = &shared.devices[device].name;
            let text = format!(
                "{name} {trouble} ({error}): the model keeps running on {}, and no frame is lost",
                others.join(", ")
            );
            let given_up = &mut shared.devices[device];
            given_up.state = state;
            self.executors.fetch_sub(std::mem::take(&mut given_up.executors), Ordering::SeqCst);
            // With the lock held, so that losses at the same time are reported in their order.
            self.news.tell(Change::Warning(text));
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn free_devices_take_turns() {
        let mut devices: Vec<_> =
            (0..3).map(|number| Device::new(Some(number), format!("device {number}"), 2)).collect();
        assert_eq!(to_call(&devices), None, "no executor waits");
        devices.iter_mut().for_each(|device| (0..2).for_each(|_| device.idle.begin()));
        let report =
            BatchReport { crops: 8, padding: 0, waited: Duration::ZERO, ran: Duration::from_millis(1) };
        let mut wakes = Wakes::default();
        let mut run_one = |devices: &mut [Device], ends: bool| {
            let chosen = to_call(devices)?;
            let device = &mut devices[chosen];
            device.idle.call(&mut wakes);
            device.idle.look(None);
            device.begin(8);
            if ends {
                device.end(8, Some(&report));
            } else {
                device.idle.end();
            }
            Some(chosen)
        };
        let mut next = |ends| run_one(&mut devices, ends).unwrap();
        assert_eq!([true; 6].map(&mut next), [0, 1, 2, 0, 1, 2]);
        assert_eq!([false; 6].map(&mut next), [0, 1, 2, 0, 1, 2], "each has a batch before one has two");
        assert_eq!(to_call(&devices), None, "all are busy");
        devices[1].idle.begin();
        assert_eq!(to_call(&devices), Some(1));
        devices[1].state = State::Lost;
        assert_eq!(to_call(&devices), None);
        wakes.send();
    }
}
