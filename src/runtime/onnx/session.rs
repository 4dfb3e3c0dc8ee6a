//! ONNX Runtime as this room uses it, over the crate `ort`.
//!
//! A call of `ort` without a loaded library searches for one by itself, in other places than [`Search`](super::Search) does,
//! and panics if there is none. So all calls into the library are made from a [`Runtime`], which exists only after the
//! library is loaded. Besides this file, only `library.rs`, which loads it, `providers.rs`, which fills in the providers'
//! options, and `operators`, which are ours, use `ort`.

use std::fmt::Debug;

use ort::{
    ep::ExecutionProviderDispatch,
    memory::{AllocationDevice, Allocator, AllocatorType, MemoryInfo, MemoryType},
    operator::OperatorDomain,
    session::{IoBinding, SessionOutputs, builder::SessionBuilder},
    value::{PrimitiveTensorElementType, Tensor, TensorRef},
};

use super::{library::Runtime, message::readable};
use crate::engine::{Error, ErrorKind};

impl Runtime {
    pub fn builder(self) -> Result<Builder, Error> {
        SessionBuilder::new(self.environment())
            // Next to other work, spinning threads cost half again as much time (measured).
            .and_then(|builder| Ok(builder.with_intra_op_spinning(false)?))
            .and_then(|builder| Ok(builder.with_inter_op_spinning(false)?))
            // Otherwise a file whose producer's name begins with ORTM would be read as ONNX Runtime's own format.
            .and_then(|builder| Ok(builder.with_config_entry("session.load_model_format", "ONNX")?))
            .map(Builder)
            .map_err(run_error)
    }

    #[expect(clippy::disallowed_methods, reason = "the library is loaded")]
    pub fn run_options(self) -> Result<RunOptions, Error> {
        ort::session::RunOptions::new().map(RunOptions).map_err(run_error)
    }
}

/// The settings of a session to be loaded.
pub struct Builder(SessionBuilder);

impl Builder {
    /// Threads that compute one run on the CPU.
    pub fn with_threads(self, number: usize) -> Result<Self, Error> {
        self.0.with_intra_threads(number).map(Self).map_err(|error| run_error(error.into()))
    }

    /// Execution providers, in order of preference; the CPU's is added at the end.
    pub fn with_providers(self, providers: &[ExecutionProviderDispatch]) -> Result<Self, Error> {
        self.0.with_execution_providers(providers).map(Self).map_err(|error| run_error(error.into()))
    }

    /// Operators that ONNX Runtime does not have.
    pub fn with_operators(
        self,
        operators: impl FnOnce() -> ort::Result<OperatorDomain>,
    ) -> Result<Self, Error> {
        let operators = operators().map_err(run_error)?;
        self.0.with_operators(operators).map(Self).map_err(|error| run_error(error.into()))
    }

    /// Loads a model file's bytes.
    pub fn load(mut self, file: &[u8]) -> Result<Session, LoadError> {
        self.0.commit_from_memory(file).map(Session).map_err(LoadError::new)
    }
}

/// Why a model file was not loaded.
pub enum LoadError {
    /// Because of its contents, in ONNX Runtime's words.
    File(String),
    Other(Error),
}

impl LoadError {
    fn new(error: ort::Error) -> Self {
        let text = readable(error.message());
        match error.code() {
            ort::ErrorCode::InvalidProtobuf
            | ort::ErrorCode::InvalidGraph
            | ort::ErrorCode::InvalidArgument
            | ort::ErrorCode::NotImplemented
            | ort::ErrorCode::ModelLoaded
            | ort::ErrorCode::NoModel => Self::File(text),
            // The general code, also for a device's faults.
            _ if ["Invalid model", "invalid model", "ShapeInferenceError"]
                .iter()
                .any(|hint| text.contains(hint)) =>
            {
                Self::File(text)
            }
            _ => Self::Other(run_error(error)),
        }
    }
}

/// Options of runs, and a way to end them from another thread.
pub struct RunOptions(ort::session::RunOptions);

impl RunOptions {
    pub fn set(&mut self, name: &str, value: &str) -> Result<(), Error> {
        self.0.set(name, value).map_err(run_error)
    }

    /// Ends the runs in progress with these options.
    pub fn terminate(&self) {
        // It fails if nothing is running.
        let _ = self.0.terminate();
    }
}

/// A loaded model.
pub struct Session(ort::session::Session);

impl Session {
    /// Runs it on values in host memory.
    pub fn run<'a, T: PrimitiveTensorElementType + Clone + Debug + 'static>(
        &'a mut self,
        (name, shape, values): (&str, [usize; 4], &[T]),
        options: Option<&'a RunOptions>,
    ) -> Result<Outputs<'a>, Error> {
        let input = TensorRef::from_array_view((shape, values)).map_err(run_error)?;
        let inputs = ort::inputs![name => input];
        match options {
            Some(options) => self.0.run_with_options(inputs, &options.0),
            None => self.0.run(inputs),
        }
        .map(Outputs)
        .map_err(run_error)
    }

    /// Makes a byte tensor and a float32 tensor in the memory of a CUDA device, and binds input and output to them.
    #[expect(clippy::disallowed_methods, reason = "there is a session, so the library is loaded")]
    pub fn bind(
        &self,
        device_id: i32,
        (input, input_shape): (&str, [usize; 4]),
        (output, output_shape): (&str, Vec<usize>),
    ) -> Result<Binding, Error> {
        let bind = || -> ort::Result<_> {
            let device = AllocationDevice::CUDA;
            let memory = MemoryInfo::new(device, device_id, AllocatorType::Device, MemoryType::Default)?;
            let memory = Allocator::new(&self.0, memory)?;
            let mut from = Tensor::<u8>::new(&memory, input_shape)?;
            let mut to = Tensor::<f32>::new(&memory, output_shape)?;
            let addresses = (from.data_ptr_mut() as u64, to.data_ptr_mut() as u64);
            let mut binding = self.0.create_binding()?;
            binding.bind_input(input, &from)?;
            binding.bind_output(output, to)?;
            Ok(Binding { tensors: binding, input: addresses.0, output: addresses.1 })
        };
        bind().map_err(run_error)
    }

    /// Runs it on its bound tensors.
    pub fn run_bound(&mut self, binding: &Binding, options: &RunOptions) -> Result<(), Error> {
        self.0.run_binding_with_options(&binding.tensors, &options.0).map(drop).map_err(run_error)
    }
}

/// Tensors in a device's memory, which live as long as this value.
pub struct Binding {
    tensors: IoBinding,
    /// Their addresses there.
    pub input: u64,
    pub output: u64,
}

/// What a run gave.
pub struct Outputs<'a>(SessionOutputs<'a>);

impl Outputs<'_> {
    /// Shape and values of a float32 output.
    pub fn get(&self, name: &str) -> Result<(&[i64], &[f32]), Error> {
        let output =
            self.0.get(name).ok_or_else(|| Error::new(ErrorKind::Run, format!("No output {name}")))?;
        let (shape, values) = output.try_extract_tensor::<f32>().map_err(run_error)?;
        Ok((shape, values))
    }
}

fn run_error(error: ort::Error) -> Error {
    let text = readable(error.message());
    let kind = if is_out_of_memory(&text) { ErrorKind::OutOfMemory } else { ErrorKind::Run };
    Error::new(kind, text)
}

/// Whether ONNX Runtime, CUDA or one of its libraries reports a lack of memory: they share no code for it.
fn is_out_of_memory(text: &str) -> bool {
    [
        "out of memory",
        "OUT_OF_MEMORY",
        "smaller than requested bytes",
        "Failed to allocate memory",
        "ALLOC_FAILED",
    ]
    .iter()
    .any(|hint| text.contains(hint))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_little_memory_is_known_by_its_words() {
        for text in [
            "CUDA failure 2: out of memory ; GPU=0",
            "bfc_arena.cc:376 Available memory of 1024 is smaller than requested bytes; Failed to allocate memory for \
             requested buffer of size 2048",
            "CUBLAS failure 3: CUBLAS_STATUS_ALLOC_FAILED",
            "CUDA pinned memory: CUDA_ERROR_OUT_OF_MEMORY",
        ] {
            assert!(is_out_of_memory(text), "{text}");
        }
        assert!(!is_out_of_memory("CUDA failure 700: an illegal memory access was encountered"));
    }
}
