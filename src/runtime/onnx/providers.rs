//! The execution providers other than the CPU's: their options, and models opened on them.

use std::{fmt::Display, sync::Arc};

use ort::ep::{self, ArbitrarilyConfigurableExecutionProvider, ExecutionProviderDispatch};

use super::{
    ConvAlgoSearch, FuseConvBias, OnnxBackend, Precision,
    batch_size::fixed_sizes,
    cuda::{self, Stream, capture_lock},
    executor::{OnnxExecutor, Takes},
    library::Runtime,
    message::readable,
    nvidia,
    operators::{self, Kernels},
    session::Builder,
};
use crate::{
    engine::{Error, ErrorKind, Executor, LoadEvent, Loading},
    network::{
        Network, Provider,
        file::ModelFile,
        graph::{Adaptation, Layout, Operators},
    },
};

/// Loads NVIDIA's libraries beside ONNX Runtime.
pub(super) fn preload_nvidia(runtime: Runtime, loading: &Loading) {
    let failed = nvidia::preload(runtime.file());
    if !failed.is_empty() {
        let text = format!("Some of NVIDIA's libraries cannot be loaded: {}", failed.join("; "));
        (loading.report)(LoadEvent::Info(text));
    }
}

/// The error of a provider that needs something else.
fn unusable(what: &str, error: &dyn Display, needs: &str) -> Error {
    let why = readable(&error.to_string());
    Error::new(ErrorKind::Provider, format!("{what} ({why}): {needs}"))
}

/// Opens a model with operators of ours, if there are kernels for them, and without them if that fails.
fn with_or_without<K, T>(
    kernels: Option<&K>,
    loading: &Loading,
    open: impl Fn(Option<&K>) -> Result<T, Error>,
) -> Result<T, Error> {
    match (open(kernels), kernels) {
        (Err(error), Some(_)) if may_be_the_operators(error.kind) => {
            let text = format!("The model is loaded again without operators of ours ({error})");
            (loading.report)(LoadEvent::Info(text));
            open(None)
        }
        (opened, _) => opened,
    }
}

/// An ONNX Runtime that lacks its operator for channels last refuses the graph.
fn may_be_the_operators(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::Run | ErrorKind::Provider | ErrorKind::ModelRefused)
}

impl OnnxBackend {
    /// CUDA with the user's settings; captured on a stream, which must outlive the session.
    pub(super) fn cuda(&self, captured_on: Option<&Stream>, layout: Layout) -> ExecutionProviderDispatch {
        let cuda = match captured_on {
            // SAFETY: `OnStream` keeps it with the session, and drops it afterwards.
            Some(stream) => unsafe {
                ep::CUDA::default().with_cuda_graph(true).with_compute_stream(stream.handle())
            },
            None => ep::CUDA::default(),
        };
        let cuda = cuda
            .with_device_id(self.device_id)
            .with_prefer_nhwc(layout == Layout::ChannelsLast)
            .with_tf32(self.precision != Precision::Fp32)
            .with_conv_algorithm_search(self.conv_algo_search.into());
        // Not set if it is off: older builds of ONNX Runtime refuse unknown options.
        let fuses = self.fuse_conv_bias == FuseConvBias::On;
        let cuda = if fuses { cuda.with_fuse_conv_bias(true) } else { cuda };
        let cuda = match usize::try_from(self.gpu_memory_limit) {
            Ok(0) | Err(_) => cuda,
            // Without doubling, which would reach the limit early.
            Ok(limit) => cuda
                .with_memory_limit(limit)
                .with_arena_extend_strategy(ep::ArenaExtendStrategy::SameAsRequested),
        };
        cuda.build().error_on_failure()
    }

    /// With operators of ours, if the machine and ONNX Runtime can compute them.
    pub(super) fn open_on_cuda(
        &self,
        runtime: Runtime,
        file: &ModelFile,
        loading: &Loading,
    ) -> Result<(Network, Box<dyn Executor>), Error> {
        let kernels = {
            let _permit = capture_lock::load();
            preload_nvidia(runtime, loading);
            self.kernels(file, loading)
        };
        with_or_without(kernels.as_ref(), loading, |kernels| {
            self.open_on_cuda_with(kernels, runtime, file, loading)
        })
    }

    /// With operators of ours, if there are kernels for them.
    fn open_on_cuda_with(
        &self,
        kernels: Option<&Arc<Kernels>>,
        runtime: Runtime,
        file: &ModelFile,
        loading: &Loading,
    ) -> Result<(Network, Box<dyn Executor>), Error> {
        const NEEDS: &str = "it needs an NVIDIA driver, a GPU build of ONNX Runtime, and that build's CUDA and cuDNN \
            libraries, beside it or in the loader's path; `make setup GPU=1` in the plugin's source folder \
            installs them";
        let unusable =
            |error: &dyn Display| unusable("The CUDA execution provider cannot be used", error, NEEDS);
        let contract = file.contract;
        let batch_size = self.batch_size_or(self.gpu_batch_size()).min(loading.most_crops);
        let sizes = contract.fixed_batch.map_or_else(|| fixed_sizes(batch_size), |fixed| vec![fixed]);
        let layout = self.layout_on_cuda(kernels.is_some());
        let ours = kernels.map(|kernels| Operators { layout, pointwise: kernels.has_tensor_cores() });
        let session = |rows: usize, captured_on: Option<&Stream>| {
            let adaptation = Adaptation {
                half: self.half(),
                fixed_batch: Some(rows),
                operators: ours,
                ..Adaptation::default()
            };
            self.session(runtime, file, &adaptation, loading, "cuda", |builder| {
                let builder = match kernels {
                    Some(kernels) => builder.with_operators(|| operators::operators(kernels))?,
                    None => builder,
                };
                builder
                    // The threads would have nothing to do.
                    .with_threads(1)
                    .and_then(|builder| builder.with_providers(&[self.cuda(captured_on, layout)]))
                    .map_err(|error| unusable(&error))
            })
            .map_err(|error| match error.kind {
                // A file that the CPU cannot read either is refused; any other failure is the device's.
                ErrorKind::Run => unusable(&error),
                _ => error,
            })
        };
        let plan = cuda::Plan {
            runtime,
            session: &|rows, stream| session(rows, Some(stream)),
            contract,
            name: &file.name,
            device_id: self.device_id,
            sizes: &sizes,
        };
        let failed = if contract.depends_on_pictures() {
            None
        } else {
            match cuda::CapturedExecutor::open(&plan, loading) {
                Ok(executor) => return Ok(executor.with_network(file)),
                Err(error) if matches!(error.kind, ErrorKind::Run | ErrorKind::Provider) => Some(error),
                Err(error) => return Err(error),
            }
        };
        // A change of shape costs the CUDA provider seconds, so each possible size has its own session.
        let open = || -> Result<OnnxExecutor, Error> {
            let _permit = capture_lock::load();
            let sessions = sizes.iter().map(|rows| session(*rows, None)).collect::<Result<_, _>>()?;
            let provider = Provider::Cuda;
            OnnxExecutor::new(runtime, sessions, sizes.clone(), file, provider, loading)
        };
        let executor =
            open().map_err(|error| if error.kind == ErrorKind::Run { unusable(&error) } else { error })?;
        if let Some(failed) = failed {
            (loading.report)(LoadEvent::Warning(format!(
                "The model runs without CUDA graphs, and therefore slower: {failed}"
            )));
        }
        Ok(executor.with_network(Provider::Cuda, file))
    }

    /// Tensor cores prefer channels last: a seventh faster in half precision. Without our kernels a quarter in TF32, too, but ONNX
    /// Runtime's own way there chooses kernels for ten seconds instead of two (measured on an H100).
    fn layout_on_cuda(&self, has_kernels: bool) -> Layout {
        let is_last = if has_kernels { self.precision != Precision::Fp32 } else { self.half() };
        if is_last { Layout::ChannelsLast } else { Layout::ChannelsFirst }
    }

    /// Our operators' kernels; none if they are not wanted, or cannot be used.
    fn kernels(&self, file: &ModelFile, loading: &Loading) -> Option<Arc<Kernels>> {
        if self.fuse_conv_bias != FuseConvBias::Auto || file.is_adapted() {
            return None;
        }
        match Kernels::of(self.device_id, self.half()) {
            Ok(kernels) => Some(kernels),
            Err(why) => {
                let text =
                    format!("ONNX Runtime activates convolutions' answers by itself, which is slower: {why}");
                (loading.report)(LoadEvent::Info(text));
                None
            }
        }
    }

    /// TensorRT, and CUDA for operators that TensorRT does not support. One engine for batches of 1 to the largest, tuned
    /// for half of that; building it takes minutes, so it is kept in the cache folder.
    pub(super) fn open_on_tensorrt(
        &self,
        runtime: Runtime,
        file: &ModelFile,
        loading: &Loading,
    ) -> Result<(Network, Box<dyn Executor>), Error> {
        const NEEDS: &str = "it needs an NVIDIA driver, a GPU build of ONNX Runtime with its TensorRT provider, and that \
            build's TensorRT, CUDA and cuDNN libraries in the loader's path";
        let unusable =
            |error: &dyn Display| unusable("The TensorRT execution provider cannot be used", error, NEEDS);
        let batch_size = self.batch_size_or(self.gpu_batch_size()).min(loading.most_crops);
        let mut tensorrt = ep::TensorRT::default().with_device_id(self.device_id).with_fp16(self.half());
        if file.contract.fixed_batch.is_none() {
            let contract = file.contract;
            let shape = |batch: usize| format!("image:{batch}x{}x{}x3", contract.height, contract.width);
            tensorrt = tensorrt
                .with_profile_min_shapes(shape(1))
                .with_profile_opt_shapes(shape(batch_size.div_ceil(2)))
                .with_profile_max_shapes(shape(batch_size));
        }
        if let Some(folder) = &self.cache_folder {
            // TensorRT distinguishes models by their graph, but not by their weights, so each has its own folder.
            let folder = folder.join("tensorrt").join(&file.sha256);
            match std::fs::create_dir_all(&folder) {
                Ok(()) => {
                    let folder = folder.display().to_string();
                    tensorrt = tensorrt.with_engine_cache(true).with_engine_cache_path(&folder);
                    tensorrt = tensorrt.with_timing_cache(true).with_timing_cache_path(folder);
                }
                Err(error) => (loading.report)(LoadEvent::Warning(format!(
                    "TensorRT's engine cannot be saved in {} ({error}): it is built again at every start",
                    folder.display()
                ))),
            }
        }
        let adaptation = Adaptation { half: self.half(), fixed_batch: None, ..Adaptation::default() };
        let layout = self.layout_on_cuda(false);
        let _permit = capture_lock::load();
        let session = self
            .session(runtime, file, &adaptation, loading, "tensorrt", |builder: Builder| {
                preload_nvidia(runtime, loading);
                builder
                    .with_providers(&[tensorrt.build().error_on_failure(), self.cuda(None, layout)])
                    .map_err(|error| unusable(&error))
            })
            .map_err(|error| if error.kind == ErrorKind::Run { unusable(&error) } else { error })?;
        self.any_size(runtime, file, session, Provider::TensorRt, batch_size, loading)
    }

    /// OpenVINO on the CPU, restricted to float32: its own default may be bfloat16 if the CPU supports it.
    pub(super) fn open_on_openvino(
        &self,
        runtime: Runtime,
        file: &ModelFile,
        loading: &Loading,
    ) -> Result<(Network, Box<dyn Executor>), Error> {
        const NEEDS: &str = "it needs a build of ONNX Runtime with OpenVINO, such as the one in the Python package \
            onnxruntime-openvino: set ort-library to it";
        let unusable =
            |error: &dyn Display| unusable("The OpenVINO execution provider cannot be used", error, NEEDS);
        self.explain_half_precision("OpenVINO's CPU device", loading);
        let session = self
            .session(
                runtime,
                file,
                &Takes::of(file, Provider::OpenVino).adaptation(),
                loading,
                "openvino",
                |builder| {
                    let openvino = ep::OpenVINO::default()
                        .with_device_type("CPU")
                        .with_num_threads(self.cpu_threads())
                        .with_arbitrary_config(
                            "load_config",
                            r#"{"CPU":{"INFERENCE_PRECISION_HINT":"f32"}}"#,
                        );
                    builder
                        .with_providers(&[openvino.build().error_on_failure()])
                        .map_err(|error| unusable(&error))
                },
            )
            .map_err(|error| if error.kind == ErrorKind::Run { unusable(&error) } else { error })?;
        self.any_size(runtime, file, session, Provider::OpenVino, self.processor_batch_size(loading), loading)
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

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;
    use crate::engine::Cancel;

    #[test]
    fn a_model_that_fails_with_our_operators_is_loaded_without_them() {
        let (told, cancel) = (RefCell::new(Vec::new()), Cancel::default());
        let report = |event| told.borrow_mut().push(event);
        let loading = Loading { report: &report, cancelled: &cancel, most_crops: usize::MAX };
        let opened = |kernels: Option<&i32>, kind| {
            let tried = RefCell::new(Vec::new());
            let result = with_or_without(kernels, &loading, |kernels| {
                tried.borrow_mut().push(kernels.is_some());
                if kernels.is_some() { Err(Error::new(kind, "because")) } else { Ok("opened") }
            });
            (result.ok(), tried.into_inner(), told.take().len())
        };
        for kind in [ErrorKind::Run, ErrorKind::Provider, ErrorKind::ModelRefused] {
            assert_eq!(opened(Some(&1), kind), (Some("opened"), vec![true, false], 1), "{kind:?}");
        }
        for kind in [ErrorKind::Cancelled, ErrorKind::OutOfMemory] {
            assert_eq!(opened(Some(&1), kind), (None, vec![true], 0), "{kind:?}");
        }
        assert_eq!(opened(None, ErrorKind::Run), (Some("opened"), vec![false], 0));
    }
}
