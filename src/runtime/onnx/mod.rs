//! The backend that runs a model file with ONNX Runtime in this process.

#[cfg(test)]
mod adapted;
mod batch_size;
mod cards;
mod cuda;
mod executor;
mod library;
mod loading;
mod message;
mod nvidia;
mod operators;
mod planes;
mod providers;
mod session;
mod slot;
mod threads;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

pub use cards::Cards;
pub use cuda::device;
pub use library::{Log, LogLevel, Search, set_environment};
pub use slot::{CardCrop, CropSlot};

use crate::{
    engine::{Backend, BackendOf, Device, Error, ErrorKind, Executor, LoadEvent, Loading, Shape, Slot},
    network::{self, Network, Refusal, Wanted, contract, file::ModelFile, graph::Adaptation},
    platform::{cuda as driver, gpu},
    sync::thread::ThreadId,
};
use executor::{OnnxExecutor, Takes};
use library::Runtime;
use session::{Builder, Session};

/// Files that exist while NVIDIA's driver runs; the last one is the driver of WSL.
const DRIVER_FILES: [&str; 3] = ["/proc/driver/nvidia/version", "/dev/nvidiactl", "/dev/dxg"];

/// The copies of one batch overlap with the run of another.
const EXECUTORS_ON_A_GPU: usize = 2;

fn has_driver() -> bool {
    DRIVER_FILES.iter().any(|file| Path::new(file).exists())
}

/// The execution provider asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Provider {
    /// CUDA, or the CPU if CUDA cannot be used.
    #[default]
    Auto,
    Cuda,
    TensorRt,
    OpenVino,
    Cpu,
}

/// Number formats of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Precision {
    /// As the file says; float32 products may use TF32. The embedded model also has a form in 8-bit integers, which the CPU
    /// provider uses if the CPU has VNNI instructions.
    #[default]
    Model,
    Tf32,
    /// float32 without TF32.
    Fp32,
    /// Half precision, converted at load if the provider gains from it.
    Fp16,
}

/// How cuDNN chooses a convolution's algorithm.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ConvAlgoSearch {
    Exhaustive,
    #[default]
    Heuristic,
    Default,
}

/// What computes a convolution's bias and activation on CUDA.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FuseConvBias {
    /// Where the activation is SiLU, a kernel of ours for both, behind the convolution.
    #[default]
    Auto,
    /// cuDNN, in one kernel with the convolution.
    On,
    /// A kernel of cuDNN and one of ONNX Runtime.
    Off,
}

/// A model file and how to run it.
#[derive(Clone, Debug)]
pub struct OnnxBackend {
    /// None: the embedded model.
    pub model_file: Option<PathBuf>,
    pub wanted: Wanted,
    /// Crops in one run; 0: as many as suit the device and its memory.
    pub batch_size: usize,
    /// Batches in flight at once, which share the CPU; 0: as many as suit the provider.
    pub executors: usize,
    /// A detector's boxes are suppressed by its file, as on a server; otherwise by `Boxes`, where the answer is the same.
    pub suppresses_in_the_file: bool,
    /// Threads for one batch on the CPU; 0: its cores, divided by the batches in flight.
    pub threads: usize,
    pub provider: Provider,
    pub device_id: i32,
    /// Several GPUs, each with its own executors, instead of `device_id`.
    pub cards: Option<Cards>,
    pub precision: Precision,
    pub conv_algo_search: ConvAlgoSearch,
    pub fuse_conv_bias: FuseConvBias,
    /// Bytes that ONNX Runtime's CUDA provider may use for tensors, for each prepared batch size of each executor; 0: no
    /// limit.
    pub gpu_memory_limit: u64,
    /// The folder for what takes long to build (TensorRT's engines); none: it is built at every load.
    pub cache_folder: Option<PathBuf>,
    /// This machine has NVIDIA's driver, so CUDA is tried.
    pub has_driver: bool,
    pub library: Search,
    pub log: Log,
}

impl Default for OnnxBackend {
    /// The embedded model on the best provider, without ONNX Runtime's log.
    fn default() -> Self {
        Self {
            model_file: None,
            wanted: Wanted::default(),
            batch_size: DEFAULT_BATCH_SIZE,
            executors: 0,
            suppresses_in_the_file: false,
            threads: 0,
            provider: Provider::default(),
            device_id: 0,
            cards: None,
            precision: Precision::default(),
            conv_algo_search: ConvAlgoSearch::default(),
            fuse_conv_bias: FuseConvBias::default(),
            gpu_memory_limit: 0,
            cache_folder: None,
            has_driver: has_driver(),
            library: Search::default(),
            log: Log { level: LogLevel::Fatal, write: |_, _, _| () },
        }
    }
}

/// Crops in one run, if neither the user nor the device decides.
const DEFAULT_BATCH_SIZE: usize = 8;

impl Backend for OnnxBackend {
    type Network = Network;

    fn open(&self, loading: &Loading) -> Result<(Network, Box<dyn Executor>), Error> {
        let file = self.read()?;
        contract::check_batch(&file.contract, self.batch_size, &file.name).map_err(Refusal::of_file)?;
        let runtime = Runtime::load(&self.library, self.log)?;
        loading::probe(&file, || runtime.builder()).map_err(|error| file.first_run_error(error))?;
        let file = if self.suppresses_in_the_file { file } else { loading::cut(file, || runtime.builder())? };
        self.tell_of_shape(&file, loading);
        if self.precision == Precision::Fp16 && file.is_adapted() {
            (loading.report)(LoadEvent::Warning(format!(
                "The model {} accepts bytes and is run unchanged, so precision=fp16 has no effect on it: export it \
                 in half precision instead",
                file.name
            )));
        }
        let opened = match self.provider {
            Provider::Cpu => self.open_on_cpu(runtime, &file, loading),
            Provider::Cuda => self.open_on_cuda(runtime, &file, loading).map_err(with_remedy),
            Provider::TensorRt => self.open_on_tensorrt(runtime, &file, loading).map_err(with_remedy),
            Provider::OpenVino => self.open_on_openvino(runtime, &file, loading).map_err(with_remedy),
            Provider::Auto => self.open_on_the_best(runtime, &file, loading),
        };
        opened.map_err(|error| explain_fixed_batch(error, file.contract.fixed_batch))
    }

    fn devices(&self) -> Result<Vec<Device<Network>>, Error> {
        let runs_on_cards = match self.provider {
            Provider::Cuda | Provider::TensorRt => true,
            Provider::Auto => self.has_driver,
            Provider::OpenVino | Provider::Cpu => false,
        };
        // If CUDA finds none, opening the model reports why.
        let count = if runs_on_cards && self.cards.is_some() { driver::count() } else { 0 };
        let Some(cards) = self.cards.as_ref().filter(|_| count > 0) else { return Ok(Vec::new()) };
        let refused = |why| Error::new(ErrorKind::Settings, format!("device-ids cannot be used: {why}"));
        Ok(self.on_each(&cards.numbers(count).map_err(refused)?))
    }

    fn slot(&self, shape: &Shape) -> Box<dyn Slot> {
        Box::new(CropSlot::new(shape))
    }

    fn likely_executors(&self) -> usize {
        match self.provider {
            Provider::Cuda | Provider::TensorRt => EXECUTORS_ON_A_GPU,
            Provider::Auto if self.has_driver => EXECUTORS_ON_A_GPU,
            Provider::Auto | Provider::OpenVino | Provider::Cpu => threads::executors(threads::cores()),
        }
    }

    fn best_executors(&self, network: &Network) -> usize {
        if network.provider.is_nvidia() { EXECUTORS_ON_A_GPU } else { threads::executors(threads::cores()) }
    }

    fn takes_smaller_batches(&self) -> bool {
        // A file with a fixed batch is run unchanged, whatever is asked for.
        self.read().is_ok_and(|file| file.contract.fixed_batch.is_none())
    }

    fn elsewhere(&self) -> Option<(&'static str, Arc<BackendOf<Network>>)> {
        let on_the_cpu = Self { provider: Provider::Cpu, cards: None, ..self.clone() };
        let may_be_on_a_gpu = self.provider == Provider::Auto && self.has_driver;
        may_be_on_a_gpu.then(|| ("the CPU", Arc::new(on_the_cpu) as Arc<BackendOf<Network>>))
    }

    fn left_behind(&self, thread: ThreadId) {
        cuda::capture_lock::give_up(thread);
    }

    fn fallback(&self, network: &Network, batch_size: usize) -> Option<Arc<BackendOf<Network>>> {
        // Half precision was for the lost device.
        let precision = if self.precision == Precision::Fp16 { Precision::Model } else { self.precision };
        let on_the_cpu = Self { provider: Provider::Cpu, cards: None, precision, batch_size, ..self.clone() };
        (network.provider != network::Provider::Cpu).then(|| Arc::new(on_the_cpu) as Arc<BackendOf<Network>>)
    }
}

/// Adds to the error of a requested provider what to do without it.
fn with_remedy(error: Error) -> Error {
    match error.kind {
        ErrorKind::Provider => {
            Error::new(error.kind, format!("{}; or set execution-provider=cpu or auto", error.message))
        }
        _ => error,
    }
}

/// Adds to an out-of-memory error that the file cannot run smaller batches.
fn explain_fixed_batch(error: Error, fixed_batch: Option<usize>) -> Error {
    match fixed_batch {
        Some(batch) if batch > 1 && error.kind == ErrorKind::OutOfMemory => Error::new(
            error.kind,
            format!(
                "{}; the file allows only batches of {batch}: export it with a dynamic batch dimension to run smaller ones",
                error.message
            ),
        ),
        _ => error,
    }
}

impl OnnxBackend {
    fn read(&self) -> Result<ModelFile, Error> {
        ModelFile::read(self.model_file.as_deref(), self.wanted)
    }

    /// Reports restrictions of a file for whole frames.
    fn tell_of_shape(&self, file: &ModelFile, loading: &Loading) {
        let contract = file.contract;
        if !contract.has_sides {
            (loading.report)(LoadEvent::Info(format!(
                "The model {} has no fixed input size: using {}x{}",
                file.name, contract.width, contract.height
            )));
        }
        if let Some(fixed) = contract.frames_at_once().filter(|fixed| *fixed < self.batch_size) {
            (loading.report)(LoadEvent::Warning(format!(
                "The model {} accepts batches of {fixed}, not {} (batch-size), so batches of {fixed} are run one \
                 after another; set batch-size={fixed}, or export it with a dynamic batch dimension",
                file.name, self.batch_size
            )));
        }
    }

    /// CUDA if there is a driver for it; if CUDA still fails, the CPU with a warning.
    fn open_on_the_best(
        &self,
        runtime: Runtime,
        file: &ModelFile,
        loading: &Loading,
    ) -> Result<(Network, Box<dyn Executor>), Error> {
        if !self.has_driver {
            let text = "No NVIDIA driver on this machine: the model runs on the CPU";
            (loading.report)(LoadEvent::Info(text.to_string()));
            return self.open_on_cpu(runtime, file, loading);
        }
        match self.open_on_cuda(runtime, file, loading) {
            Err(error) if error.kind == ErrorKind::Provider => {
                (loading.report)(LoadEvent::Warning(format!(
                    "{}; the model runs on the CPU instead: set execution-provider=cpu to choose that without a warning",
                    error.message
                )));
                self.open_on_cpu(runtime, file, loading)
            }
            other => other,
        }
    }

    fn open_on_cpu(
        &self,
        runtime: Runtime,
        file: &ModelFile,
        loading: &Loading,
    ) -> Result<(Network, Box<dyn Executor>), Error> {
        self.explain_half_precision("the CPU", loading);
        let int8 = self.takes_int8().then(ModelFile::embedded_int8).transpose()?;
        let file = int8.as_ref().unwrap_or(file);
        let session = self.session(
            runtime,
            file,
            &Takes::of(file, network::Provider::Cpu).adaptation(),
            loading,
            "cpu",
            |builder| builder.with_threads(self.cpu_threads()),
        )?;
        self.any_size(
            runtime,
            file,
            session,
            network::Provider::Cpu,
            self.processor_batch_size(loading),
            loading,
        )
        .map_err(|error| file.first_run_error(error))
    }

    /// An executor on a provider that accepts any size, unless the file fixes one.
    fn any_size(
        &self,
        runtime: Runtime,
        file: &ModelFile,
        session: Session,
        provider: network::Provider,
        batch_size: usize,
        loading: &Loading,
    ) -> Result<(Network, Box<dyn Executor>), Error> {
        let sizes = match file.contract.fixed_batch {
            Some(fixed) => vec![fixed],
            None => (1..=batch_size).collect(),
        };
        let executor = OnnxExecutor::new(runtime, vec![session], sizes, file, provider, loading)?;
        Ok(executor.with_network(provider, file))
    }

    /// Whether the embedded model runs in 8-bit integers: .57 to .71 of the time if the CPU has instructions for it
    /// (measured with VNNI). On other CPUs the gain is smaller, and sums can saturate.
    fn takes_int8(&self) -> bool {
        self.model_file.is_none() && self.precision == Precision::Model && threads::multiplies_bytes()
    }

    /// Threads of one executor on the CPU.
    fn cpu_threads(&self) -> usize {
        match self.threads {
            0 => threads::of_an_executor(threads::cores(), self.executors),
            set => set,
        }
    }

    fn batch_size_or(&self, best: usize) -> usize {
        if self.batch_size == 0 { best } else { self.batch_size }
    }

    /// The batch size on the CPU.
    fn processor_batch_size(&self, loading: &Loading) -> usize {
        self.batch_size_or(DEFAULT_BATCH_SIZE).min(loading.most_crops)
    }

    /// The model on each of these GPUs.
    fn on_each(&self, numbers: &[u32]) -> Vec<Device<Network>> {
        let on = |number: &u32| Self { device_id: *number as i32, cards: None, ..self.clone() };
        // With several GPUs, the engine moves batches to others.
        let provider =
            if numbers.len() > 1 && self.provider == Provider::Auto { Provider::Cuda } else { self.provider };
        // A batch that suits one GPU is padded on another whose sizes are larger.
        let batch_size = numbers.iter().map(|number| self.batch_size_or(on(number).gpu_batch_size())).min();
        let device = |number: &u32| Device {
            number: *number,
            name: format!("GPU {number}"),
            backend: Arc::new(Self {
                provider,
                batch_size: batch_size.unwrap_or(self.batch_size),
                ..on(number)
            }) as Arc<BackendOf<Network>>,
        };
        numbers.iter().map(device).collect()
    }

    /// The batch size that suits the GPU.
    fn gpu_batch_size(&self) -> usize {
        let memory = u32::try_from(self.device_id).ok().and_then(gpu::memory);
        memory.map_or(DEFAULT_BATCH_SIZE, batch_size::batch_size)
    }

    /// If half precision brings no gain, it is not used, and a warning says so.
    fn explain_half_precision(&self, place: &str, loading: &Loading) {
        if self.precision == Precision::Fp16 {
            (loading.report)(LoadEvent::Warning(format!(
                "precision=fp16 has no effect on {place}, where it is not faster: the model runs in float32"
            )));
        }
    }

    /// Whether to compute the model in half precision, on providers that gain from it.
    fn half(&self) -> bool {
        self.precision == Precision::Fp16
    }

    /// A session of the adapted graph.
    fn session(
        &self,
        runtime: Runtime,
        file: &ModelFile,
        adaptation: &Adaptation,
        loading: &Loading,
        provider: &str,
        add_provider: impl FnOnce(Builder) -> Result<Builder, Error>,
    ) -> Result<Session, Error> {
        loading.cancelled.check()?;
        (loading.report)(LoadEvent::Step(format!("Loading the model {} for {provider}", file.name)));
        loading::load(file, add_provider(runtime.builder()?)?, adaptation)
    }
}

#[cfg(test)]
mod tests;
