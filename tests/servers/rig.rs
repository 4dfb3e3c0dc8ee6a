//! An engine whose batches go to servers.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use gstrtmpose::{
    engine::{
        Cancel, Change, Engine, EngineSettings, Error, LoadEvent, PendingAnswer, Stream, TimeoutPolicy,
    },
    network::Network,
    runtime::kserve::{Address, KserveBackend},
};

use super::double::{Double, SIDE, row_of};
use crate::network_rig::process::patience::{self, WATCHDOG};

pub fn backend(list: &str) -> KserveBackend {
    KserveBackend::new(Address::list(list).unwrap(), "known".to_string())
}

pub fn names(doubles: &[&Double]) -> String {
    doubles.iter().map(|double| double.name()).collect::<Vec<_>>().join(",")
}

/// The engine, with its messages while it was opened.
pub struct Rig {
    pub stream: Stream,
    pub network: Network,
    pub told: Vec<LoadEvent>,
    changed: Arc<(Mutex<u64>, std::sync::Condvar)>,
    // Dropped after its stream.
    _engine: Engine,
}

pub fn open(backend: KserveBackend) -> Result<Rig, Error> {
    open_with(backend, &Cancel::default())
}

pub fn open_with(backend: KserveBackend, cancel: &Cancel) -> Result<Rig, Error> {
    let told = Mutex::new(Vec::new());
    let settings = EngineSettings { batch_size: backend.batch_size, ..EngineSettings::default() };
    let (engine, network) =
        Engine::open(Arc::new(backend), settings, cancel, &|event| told.lock().unwrap().push(event))?;
    let changed = Arc::<(Mutex<u64>, std::sync::Condvar)>::default();
    let tell = changed.clone();
    let notify = Arc::new(move || {
        *tell.0.lock().unwrap() += 1;
        tell.1.notify_all();
    });
    let policy = TimeoutPolicy { timeout: Duration::from_millis(1), adaptive: false };
    let stream = engine.attach(policy, notify);
    stream.resume();
    Ok(Rig { stream, network, told: told.into_inner().unwrap(), changed, _engine: engine })
}

/// A crop that differs for each number.
pub fn crop(number: u32) -> Vec<u8> {
    (0..SIDE * SIDE * 3)
        .map(|index| (number.wrapping_mul(31).wrapping_add(index as u32 * 7) >> 1) as u8)
        .collect()
}

impl Rig {
    pub fn submit(&self, bytes: &[u8]) -> PendingAnswer {
        let mut buffer = self.stream.buffer().unwrap();
        buffer.slot_mut().bytes_mut().copy_from_slice(bytes);
        self.stream.submit(buffer)
    }

    /// Waits until answers are there.
    pub fn wait(&self, are_there: impl Fn() -> bool) {
        let (count, condition) = &*self.changed;
        let came = patience::wait(WATCHDOG, |time| {
            let guard = count.lock().unwrap();
            let (_guard, timeout) = condition.wait_timeout_while(guard, time, |_| !are_there()).unwrap();
            (!timeout.timed_out()).then_some(())
        });
        assert!(came.is_some(), "no answer");
    }

    /// Waits for an answer.
    pub fn answer(&self, pending: &PendingAnswer) -> Result<Vec<f32>, String> {
        self.wait(|| pending.outcome().is_some());
        match pending.outcome().unwrap() {
            Ok(row) => Ok(row.to_vec()),
            Err(error) => Err(error.message.clone()),
        }
    }

    /// Runs that crop.
    pub fn run(&self, number: u32) -> Result<(), String> {
        let pending = self.submit(&crop(number));
        let row = self.answer(&pending)?;
        assert_eq!(row, row_of(&crop(number)), "the answer is another crop's");
        Ok(())
    }

    /// Messages since the last call.
    pub fn news(&self) -> Vec<String> {
        let text = |change: Arc<Change>| match &*change {
            Change::Warning(text) => format!("warning: {text}"),
            Change::Info(text) => format!("info: {text}"),
        };
        self.stream.news().into_iter().map(text).collect()
    }

    /// Runs crops until a message contains these words; returns the messages.
    pub fn run_until(&self, words: &str) -> Vec<String> {
        let mut heard = Vec::new();
        let mut numbers = 0..;
        let told = patience::wait(WATCHDOG, |_| {
            std::thread::yield_now();
            let _ = self.run(numbers.next().unwrap());
            heard.extend(self.news());
            heard.iter().any(|text| text.contains(words)).then_some(())
        });
        assert!(told.is_some(), "`{words}` was never told: {heard:?}");
        heard
    }
}
