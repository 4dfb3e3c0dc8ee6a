//! The backend that runs a model file with ONNX Runtime in this process.

mod contract;
mod executor;
mod library;
mod message;
mod nvidia;

use std::{
    borrow::Cow,
    fmt::Write,
    path::{Path, PathBuf},
};

use ort::{
    ep,
    session::{Session, builder::SessionBuilder},
};
use sha2::{Digest, Sha256};

pub use library::{Log, Search, set_environment};

use super::{Backend, Error, ErrorKind, Executor, LoadEvent, Loading, Model};
use executor::OnnxExecutor;
use message::readable;

/// The RTMPose-t that is compiled in; see `models/README.md`.
#[cfg(feature = "embedded-model")]
const EMBEDDED_MODEL: Option<&[u8]> = Some(include_bytes!("../../../models/rtmpose-t.onnx"));
#[cfg(not(feature = "embedded-model"))]
const EMBEDDED_MODEL: Option<&[u8]> = None;

/// Files that NVIDIA's driver shows when it runs; the last one is the driver of WSL.
const DRIVER_FILES: [&str; 3] = ["/proc/driver/nvidia/version", "/dev/nvidiactl", "/dev/dxg"];

/// The execution provider asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Provider {
    /// CUDA, or the CPU where CUDA cannot be used.
    #[default]
    Auto,
    Cuda,
    Cpu,
}

/// Number formats of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Precision {
    /// As the file says; float32 products may use TF32.
    #[default]
    Model,
    Tf32,
    /// float32 without TF32.
    Fp32,
}

/// How cuDNN chooses a convolution's algorithm.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ConvAlgoSearch {
    Exhaustive,
    #[default]
    Heuristic,
    Default,
}

/// A model file and how to run it.
#[derive(Clone, Debug)]
pub struct OnnxBackend {
    /// None: the embedded model.
    pub model_file: Option<PathBuf>,
    pub batch_size: usize,
    pub provider: Provider,
    pub device_id: i32,
    pub precision: Precision,
    pub conv_algo_search: ConvAlgoSearch,
    pub library: Search,
    pub log: Log,
}

impl Backend for OnnxBackend {
    fn open(&self, loading: &Loading) -> Result<(Model, Box<dyn Executor>), Error> {
        let bytes = self.model_bytes()?;
        let sha256 = hexadecimal(&Sha256::digest(&bytes));
        match self.provider {
            Provider::Cpu => self.open_on_cpu(&bytes, sha256, loading),
            Provider::Cuda => self.open_on_cuda(&bytes, sha256, loading).map_err(|error| match error.kind {
                ErrorKind::Provider => Error::new(
                    error.kind,
                    format!("{}; execution-provider=cpu, or auto, runs without it", error.message),
                ),
                _ => error,
            }),
            Provider::Auto => {
                let has_driver = DRIVER_FILES.iter().any(|file| Path::new(file).exists());
                self.open_on_the_best(has_driver, &bytes, sha256, loading)
            }
        }
    }

    fn best_executors(&self, model: &Model) -> usize {
        // On a GPU the copies of one batch overlap with the run of another; a CPU's threads are all busy with one.
        if model.provider == "cuda" { 2 } else { 1 }
    }
}

impl OnnxBackend {
    /// CUDA where there is a driver for it; where that fails nevertheless, the CPU with a warning.
    fn open_on_the_best(
        &self,
        has_driver: bool,
        bytes: &[u8],
        sha256: String,
        loading: &Loading,
    ) -> Result<(Model, Box<dyn Executor>), Error> {
        if !has_driver {
            let text = "No NVIDIA driver on this machine: inference runs on the CPU";
            (loading.report)(LoadEvent::Info(text.to_string()));
            return self.open_on_cpu(bytes, sha256, loading);
        }
        match self.open_on_cuda(bytes, sha256.clone(), loading) {
            Err(error) if error.kind == ErrorKind::Provider => {
                (loading.report)(LoadEvent::Warning(format!(
                    "{}; inference runs on the CPU instead: set execution-provider=cpu to choose that silently",
                    error.message
                )));
                self.open_on_cpu(bytes, sha256, loading)
            }
            other => other,
        }
    }

    /// The model's name in messages.
    fn model_name(&self) -> String {
        self.model_file
            .as_ref()
            .map_or("embedded in the plugin".to_string(), |file| file.display().to_string())
    }

    fn model_bytes(&self) -> Result<Cow<'static, [u8]>, Error> {
        let Some(file) = &self.model_file else {
            return EMBEDDED_MODEL.map(Cow::Borrowed).ok_or_else(|| {
                Error::new(
                    ErrorKind::ModelMissing,
                    "This build of the plugin has no embedded model: set the property model-file to an RTMPose ONNX \
                     file",
                )
            });
        };
        let unreadable = |why: &str| {
            Error::new(
                ErrorKind::ModelMissing,
                format!(
                    "The model file {} cannot be read: {why}; set model-file to an RTMPose ONNX file",
                    file.display()
                ),
            )
        };
        if file.is_dir() {
            return Err(unreadable("it is a folder"));
        }
        let bytes = std::fs::read(file).map_err(|error| {
            let text = error.to_string();
            // The system's number of the error helps nobody.
            unreadable(text.split(" (os error").next().unwrap_or_default())
        })?;
        if bytes.is_empty() {
            return Err(Error::new(
                ErrorKind::ModelRefused,
                format!("The model file {} is empty: get it again", file.display()),
            ));
        }
        Ok(Cow::Owned(bytes))
    }

    fn open_on_cpu(
        &self,
        bytes: &[u8],
        sha256: String,
        loading: &Loading,
    ) -> Result<(Model, Box<dyn Executor>), Error> {
        let session = self.session(bytes, loading, "cpu", Ok)?;
        let contract = contract::check(&session, self.batch_size, &self.model_name())?;
        // The CPU provider takes any size as it is, unless the file fixes one.
        let sizes = contract.fixed_batch.map_or_else(|| (1..=self.batch_size).collect(), |fixed| vec![fixed]);
        let executor = OnnxExecutor::new(vec![session], sizes, contract, &self.model_name())?;
        Ok(executor.with_model("cpu", sha256))
    }

    fn open_on_cuda(
        &self,
        bytes: &[u8],
        sha256: String,
        loading: &Loading,
    ) -> Result<(Model, Box<dyn Executor>), Error> {
        let unusable = |error: &dyn std::fmt::Display| {
            Error::new(
                ErrorKind::Provider,
                format!(
                    "The CUDA execution provider cannot be used ({}): it needs an NVIDIA driver, a GPU build of ONNX \
                     Runtime, and the CUDA and cuDNN libraries that build asks for beside it or in the loader's path; \
                     `make setup GPU=1` in the plugin's source folder installs them",
                    readable(&error.to_string())
                ),
            )
        };
        let open = || -> Result<Session, Error> {
            self.session(bytes, loading, "cuda", |builder| {
                let failed = library::loaded().map_or(&[][..], nvidia::preload);
                if !failed.is_empty() {
                    let text = format!("NVIDIA's libraries that cannot be loaded: {}", failed.join("; "));
                    (loading.report)(LoadEvent::Info(text));
                }
                let cuda = ep::CUDA::default()
                    .with_device_id(self.device_id)
                    .with_tf32(self.precision != Precision::Fp32)
                    .with_conv_algorithm_search(self.conv_algo_search.into());
                builder
                    .with_execution_providers([cuda.build().error_on_failure()])
                    .map_err(|error| unusable(&error))
            })
            .map_err(|error| match error.kind {
                // A file that the CPU cannot read either is refused as such; whatever else fails is the device's.
                ErrorKind::Run => unusable(&error),
                _ => error,
            })
        };
        let first = open()?;
        let contract = contract::check(&first, self.batch_size, &self.model_name())?;
        // A change of shape costs the CUDA provider seconds: each size that can occur has a session of its own.
        let sizes = contract.fixed_batch.map_or_else(|| fixed_sizes(self.batch_size), |fixed| vec![fixed]);
        let mut sessions = vec![first];
        while sessions.len() < sizes.len() {
            sessions.push(open()?);
        }
        let executor = OnnxExecutor::new(sessions, sizes, contract, &self.model_name())
            .map_err(|error| if error.kind == ErrorKind::Run { unusable(&error) } else { error })?;
        Ok(executor.with_model("cuda", sha256))
    }

    fn session(
        &self,
        bytes: &[u8],
        loading: &Loading,
        provider: &str,
        add_provider: impl FnOnce(SessionBuilder) -> Result<SessionBuilder, Error>,
    ) -> Result<Session, Error> {
        loading.cancelled.check()?;
        (loading.report)(LoadEvent::Step(format!("Loading the model {} for {provider}", self.model_name())));
        let environment = library::environment(&self.library, self.log)?;
        let builder = Session::builder(environment)
            // With a busy neighbour spinning threads cost half again as much time (measured).
            .and_then(|builder| Ok(builder.with_intra_op_spinning(false)?))
            .and_then(|builder| Ok(builder.with_inter_op_spinning(false)?))
            .map_err(run_error)?;
        add_provider(builder)?.commit_from_memory(bytes).map_err(|error| {
            let text = readable(error.message());
            match error.code() {
                ort::ErrorCode::InvalidProtobuf
                | ort::ErrorCode::InvalidGraph
                | ort::ErrorCode::InvalidArgument
                | ort::ErrorCode::NotImplemented
                | ort::ErrorCode::ModelLoaded
                | ort::ErrorCode::NoModel => self.not_loadable(&text),
                // The general code, also for what is wrong with a device.
                _ if ["Invalid model", "invalid model", "ShapeInferenceError"]
                    .iter()
                    .any(|hint| text.contains(hint)) =>
                {
                    self.not_loadable(&text)
                }
                _ => Error::new(
                    ErrorKind::Run,
                    format!("The model {} cannot be loaded ({text})", self.model_name()),
                ),
            }
        })
    }

    fn not_loadable(&self, why: &str) -> Error {
        Error::new(
            ErrorKind::ModelRefused,
            format!(
                "The model {} is not an ONNX file that ONNX Runtime can load ({why}): get it again, or export it anew",
                self.model_name()
            ),
        )
    }
}

impl From<ConvAlgoSearch> for ep::cuda::ConvAlgorithmSearch {
    fn from(search: ConvAlgoSearch) -> Self {
        match search {
            ConvAlgoSearch::Exhaustive => Self::Exhaustive,
            ConvAlgoSearch::Heuristic => Self::Heuristic,
            ConvAlgoSearch::Default => Self::Default,
        }
    }
}

/// The batch sizes that are prepared where each one costs start-up time: 1, half and the whole.
fn fixed_sizes(batch_size: usize) -> Vec<usize> {
    let mut sizes = vec![1, batch_size / 2, batch_size];
    sizes.retain(|size| *size > 0);
    sizes.dedup();
    sizes
}

fn run_error(error: ort::Error) -> Error {
    Error::new(ErrorKind::Run, readable(error.message()))
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// With a driver but an ONNX Runtime that cannot use it, as the CPU build of the tests.
    #[test]
    fn auto_warns_and_takes_the_cpu_where_cuda_fails() {
        let backend = OnnxBackend {
            model_file: Some(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/networks/dots-small.onnx").into()),
            batch_size: 2,
            provider: Provider::Auto,
            device_id: 0,
            precision: Precision::default(),
            conv_algo_search: ConvAlgoSearch::default(),
            library: Search::default(),
            log: Log { level: ort::logging::LogLevel::Fatal, write: |_, _, _| () },
        };
        let bytes = backend.model_bytes().unwrap();
        for has_driver in [true, false] {
            let events = std::cell::RefCell::new(Vec::new());
            let report = |event| events.borrow_mut().push(event);
            let loading = Loading { report: &report, cancelled: &Default::default() };
            let (model, _) = backend.open_on_the_best(has_driver, &bytes, String::new(), &loading).unwrap();
            let is_warning =
                |event: &&LoadEvent| matches!(event, LoadEvent::Warning(text) if text.contains("CUDA"));
            let warnings = events.borrow().iter().filter(is_warning).count();
            // A GPU build on a machine with a GPU has nothing to warn of.
            let expected = usize::from(has_driver && model.provider == "cpu");
            assert_eq!(warnings, expected, "driver {has_driver}, {}", model.provider);
        }
    }

    #[test]
    fn prepared_sizes_are_one_half_and_whole() {
        assert_eq!(fixed_sizes(8), [1, 4, 8]);
        assert_eq!(fixed_sizes(3), [1, 3]);
        assert_eq!(fixed_sizes(2), [1, 2]);
        assert_eq!(fixed_sizes(1), [1]);
    }

    #[test]
    fn hexadecimal_pads() {
        assert_eq!(hexadecimal(&[0, 10, 255]), "000aff");
    }
}
