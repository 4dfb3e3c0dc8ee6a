//! Options of the execution providers other than the CPU's.

use std::fmt::Display;

use ort::ep::{self, ArbitrarilyConfigurableExecutionProvider, ExecutionProviderDispatch};

use super::{
    ConvAlgoSearch, FuseConvBias, OnnxBackend, Precision,
    cuda::{Stream, capture_lock},
    executor::Takes,
    library::Runtime,
    message::readable,
    nvidia,
    session::Builder,
};
use crate::{
    engine::{Error, ErrorKind, Executor, LoadEvent, Loading},
    network::{
        Network, Provider,
        file::ModelFile,
        graph::{Adaptation, Layout},
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

    /// TensorRT, and CUDA for operators that TensorRT does not support. One engine for batches of 1 to the largest, tuned
    /// for half of that; building it takes minutes, so it is kept in the cache folder.
    pub(super) fn open_on_tensorrt(
        &self,
        runtime: Runtime,
        file: &ModelFile,
        loading: &Loading,
    ) -> Result<(Network, Box<dyn Executor>), Error> {
        let unusable = |error: &dyn Display| {
            Error::new(
                ErrorKind::Provider,
                format!(
                    "The TensorRT execution provider cannot be used ({}): it needs an NVIDIA driver, a GPU build of \
                     ONNX Runtime with its TensorRT provider, and that build's TensorRT, CUDA and cuDNN libraries in \
                     the loader's path",
                    readable(&error.to_string())
                ),
            )
        };
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
        let layout = self.layout_on_cuda(file, false);
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
        let unusable = |error: &dyn Display| {
            Error::new(
                ErrorKind::Provider,
                format!(
                    "The OpenVINO execution provider cannot be used ({}): it needs a build of ONNX Runtime with \
                     OpenVINO, such as the one in the Python package onnxruntime-openvino: set ort-library to it",
                    readable(&error.to_string())
                ),
            )
        };
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
