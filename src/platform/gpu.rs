//! The state of a GPU, from NVIDIA's management library (NVML), which comes with the driver.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use nvml_wrapper::{
    Device, Nvml, bitmasks::device::ThrottleReasons, enum_wrappers::device::TemperatureSensor,
    error::NvmlError,
};

use super::cuda::uuid;
use crate::sync::{
    Condvar, Mutex, lock,
    thread::{self, JoinHandle},
    wait_timeout,
};

/// How often the GPU is queried.
const INTERVAL: Duration = Duration::from_secs(1);

/// How long the end waits for an answer that is due.
const TIME_TO_END: Duration = Duration::from_secs(5);

/// Above this temperature a GPU is too hot, whether it says so or not.
const HOT: u32 = 85;

/// The GPU slows down because of heat or power.
const HEAT_OR_POWER: ThrottleReasons = ThrottleReasons::HW_SLOWDOWN
    .union(ThrottleReasons::SW_POWER_CAP)
    .union(ThrottleReasons::SW_THERMAL_SLOWDOWN);

/// Figures of one GPU, for all programs that use it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GpuFigures {
    /// Share of time in which it was busy, in percent.
    pub utilization: u32,
    /// Memory in use, in bytes.
    pub memory: u64,
    /// In °C.
    pub temperature: u32,
    /// In W.
    pub power: f64,
}

/// Memory of one GPU, in bytes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GpuMemory {
    pub total: u64,
    pub free: u64,
}

/// None if the driver's library or the device is missing. `device` is CUDA's number.
pub fn memory(device: u32) -> Option<GpuMemory> {
    let info = card(&nvml()?, device).ok()?.memory_info().ok()?;
    Some(GpuMemory { total: info.total, free: info.free })
}

fn nvml() -> Option<Nvml> {
    // Only the versioned name comes with every driver.
    Nvml::builder().lib_path("libnvidia-ml.so.1".as_ref()).init().ok()
}

/// CUDA orders GPUs by `CUDA_VISIBLE_DEVICES` and `CUDA_DEVICE_ORDER`, NVML by PCI bus; the UUID identifies a GPU for both.
fn card(nvml: &Nvml, device: u32) -> Result<Device<'_>, NvmlError> {
    match uuid(device) {
        Some(uuid) => nvml.device_by_uuid(uuid),
        None => nvml.device_by_index(device),
    }
}

/// A GPU that can be queried, through a driver that may hang if something is wrong.
trait Card {
    fn figures(&self) -> Option<GpuFigures>;

    /// A problem of the GPU, if there is one.
    fn complaint(&self, figures: Option<GpuFigures>) -> Option<String>;
}

/// Queries a GPU on its own thread until dropped. A driver that does not answer even then is not waited for.
pub struct GpuMonitor {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
    time_to_end: Duration,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    figures: Option<GpuFigures>,
    closing: bool,
    /// The thread is about to end.
    ended: bool,
}

/// Records the thread's end, also after a panic.
struct End(Arc<Shared>);

impl Drop for End {
    fn drop(&mut self) {
        lock(&self.0.state).ended = true;
        self.0.changed.notify_all();
    }
}

impl GpuMonitor {
    /// None if the driver's library or the device is missing. `device` is CUDA's number. `warn` is called once, from the
    /// monitor's thread, when the GPU gets hot or slows down.
    pub fn start(device: u32, warn: impl Fn(String) + Send + 'static) -> Option<Self> {
        let nvml = nvml()?;
        read(&card(&nvml, device).ok()?).ok()?;
        Self::watch(NvmlCard { nvml, device }, TIME_TO_END, warn)
    }

    fn watch(
        card: impl Card + Send + 'static,
        time_to_end: Duration,
        warn: impl Fn(String) + Send + 'static,
    ) -> Option<Self> {
        let shared = Arc::new(Shared::default());
        let end = End(shared.clone());
        let watch = move || {
            let Shared { state, changed } = &*end.0;
            let mut warned = false;
            let mut guard = lock(state);
            while !guard.closing {
                drop(guard);
                let figures = card.figures();
                if !warned && let Some(complaint) = card.complaint(figures) {
                    warned = true;
                    warn(complaint);
                }
                guard = lock(state);
                guard.figures = figures;
                if !guard.closing {
                    guard = wait_timeout(changed, guard, INTERVAL);
                }
            }
        };
        let thread = thread::Builder::new().name("rtmpose-gpu".to_string()).spawn(watch).ok()?;
        Some(Self { shared, thread: Some(thread), time_to_end })
    }

    /// The last figures, at most about a second old.
    pub fn figures(&self) -> Option<GpuFigures> {
        lock(&self.shared.state).figures
    }
}

impl Drop for GpuMonitor {
    fn drop(&mut self) {
        let Shared { state, changed } = &*self.shared;
        let until = Instant::now() + self.time_to_end;
        let mut guard = lock(state);
        guard.closing = true;
        changed.notify_all();
        while !guard.ended {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            guard = wait_timeout(changed, guard, left);
        }
        drop(guard);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A GPU that NVML reports.
struct NvmlCard {
    nvml: Nvml,
    device: u32,
}

impl Card for NvmlCard {
    fn figures(&self) -> Option<GpuFigures> {
        read(&card(&self.nvml, self.device).ok()?).ok()
    }

    fn complaint(&self, figures: Option<GpuFigures>) -> Option<String> {
        complaint(self.device, &card(&self.nvml, self.device).ok()?, figures)
    }
}

fn read(card: &Device) -> Result<GpuFigures, NvmlError> {
    Ok(GpuFigures {
        utilization: card.utilization_rates()?.gpu,
        memory: card.memory_info()?.used,
        temperature: card.temperature(TemperatureSensor::Gpu)?,
        power: f64::from(card.power_usage()?) / 1000.0,
    })
}

fn complaint(number: u32, card: &Device, figures: Option<GpuFigures>) -> Option<String> {
    let temperature = figures.map_or(0, |figures| figures.temperature);
    let slowed = card.current_throttle_reasons().is_ok_and(|reasons| reasons.intersects(HEAT_OR_POWER));
    (slowed || temperature > HOT).then(|| {
        format!(
            "GPU {number} is at {temperature} °C{}: improve its cooling, raise its power limit, or use a smaller batch-size",
            if slowed { " and slows down because of heat or its power limit" } else { "" }
        )
    })
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn without_a_driver_there_is_no_monitor() {
        // Even with a driver, there is no monitor for a GPU number that no machine has.
        assert_eq!(memory(1_000_000), None);
        assert!(GpuMonitor::start(1_000_000, |_| ()).is_none());
    }

    /// A GPU whose driver reports each query, and does not answer until the other end of `release` is dropped.
    struct Hanging {
        asked: mpsc::Sender<()>,
        release: mpsc::Receiver<()>,
    }

    impl Card for Hanging {
        fn figures(&self) -> Option<GpuFigures> {
            let _ = self.asked.send(());
            let _ = self.release.recv();
            None
        }

        fn complaint(&self, _: Option<GpuFigures>) -> Option<String> {
            None
        }
    }

    fn hanging(time_to_end: Duration) -> (GpuMonitor, mpsc::Receiver<()>, mpsc::Sender<()>) {
        let (asked, is_asked) = mpsc::channel();
        let (releases, release) = mpsc::channel();
        let monitor = GpuMonitor::watch(Hanging { asked, release }, time_to_end, |_| ()).unwrap();
        is_asked.recv().unwrap();
        (monitor, is_asked, releases)
    }

    #[test]
    fn a_driver_that_hangs_holds_nobody_up_for_ever() {
        let (monitor, is_asked, releases) = hanging(Duration::from_millis(1));
        drop(monitor);
        // It answers at last, and its thread ends.
        drop(releases);
        assert_eq!(is_asked.recv(), Err(mpsc::RecvError));
    }

    #[test]
    fn an_answer_on_its_way_is_waited_for() {
        let (monitor, is_asked, releases) = hanging(Duration::from_secs(600));
        drop(releases);
        drop(monitor);
        // It may have been queried again, but by now its thread has ended.
        while is_asked.try_recv().is_ok() {}
        assert_eq!(is_asked.try_recv(), Err(mpsc::TryRecvError::Disconnected));
    }
}
