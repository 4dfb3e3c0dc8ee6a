//! The values of both elements' enumerated properties, as users see them.

use gst::{glib, prelude::*};

use crate::{runtime::onnx, stage, stage::properties::enumerations};

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, glib::Enum)]
#[enum_type(name = "GstRtmPoseBatchExecutionProvider")]
pub enum ExecutionProvider {
    #[default]
    #[enum_value(
        name = "CUDA; without an NVIDIA driver the CPU; if CUDA fails the CPU, with a warning",
        nick = "auto"
    )]
    Auto,
    #[enum_value(name = "CUDA on an NVIDIA GPU; an error if it fails", nick = "cuda")]
    Cuda,
    #[enum_value(
        name = "NVIDIA TensorRT, with CUDA for operators that it does not support; an error if it fails",
        nick = "tensorrt"
    )]
    Tensorrt,
    #[enum_value(name = "OpenVINO on the CPU; an error if it fails", nick = "openvino")]
    Openvino,
    #[enum_value(name = "The CPU", nick = "cpu")]
    Cpu,
}

impl From<ExecutionProvider> for onnx::Provider {
    fn from(provider: ExecutionProvider) -> Self {
        match provider {
            ExecutionProvider::Auto => Self::Auto,
            ExecutionProvider::Cuda => Self::Cuda,
            ExecutionProvider::Tensorrt => Self::TensorRt,
            ExecutionProvider::Openvino => Self::OpenVino,
            ExecutionProvider::Cpu => Self::Cpu,
        }
    }
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, glib::Enum)]
#[enum_type(name = "GstRtmPoseBatchPrecision")]
pub enum Precision {
    #[default]
    #[enum_value(
        name = "As the model file says, with TF32 products on CUDA; the embedded model in 8-bit integers on CPUs with \
                VNNI instructions (ARM64: dotprod or i8mm)",
        nick = "model"
    )]
    Model,
    #[enum_value(name = "float32 with TF32 products on CUDA", nick = "tf32")]
    Tf32,
    #[enum_value(name = "float32 without TF32, also on the CPU", nick = "fp32")]
    Fp32,
    #[enum_value(
        name = "Half precision on CUDA and TensorRT, converted at load; float32 and a warning on other providers",
        nick = "fp16"
    )]
    Fp16,
}

impl From<Precision> for onnx::Precision {
    fn from(precision: Precision) -> Self {
        match precision {
            Precision::Model => Self::Model,
            Precision::Tf32 => Self::Tf32,
            Precision::Fp32 => Self::Fp32,
            Precision::Fp16 => Self::Fp16,
        }
    }
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, glib::Enum)]
#[enum_type(name = "GstRtmPoseBatchCudnnConvAlgoSearch")]
pub enum CudnnConvAlgoSearch {
    #[enum_value(name = "Measure all algorithms at load (cuDNN autotuning)", nick = "exhaustive")]
    Exhaustive,
    #[default]
    #[enum_value(name = "Use cuDNN's heuristics", nick = "heuristic")]
    Heuristic,
    #[enum_value(name = "Use cuDNN's default algorithm", nick = "default")]
    Default,
}

impl From<CudnnConvAlgoSearch> for onnx::ConvAlgoSearch {
    fn from(search: CudnnConvAlgoSearch) -> Self {
        match search {
            CudnnConvAlgoSearch::Exhaustive => Self::Exhaustive,
            CudnnConvAlgoSearch::Heuristic => Self::Heuristic,
            CudnnConvAlgoSearch::Default => Self::Default,
        }
    }
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, glib::Enum)]
#[enum_type(name = "GstRtmPoseBatchCudnnFuseConvBias")]
pub enum CudnnFuseConvBias {
    #[default]
    #[enum_value(name = "The plugin's own kernels for bias and activation, and for more", nick = "auto")]
    Auto,
    #[enum_value(name = "cuDNN's kernels for convolution, bias and activation: a longer start", nick = "on")]
    On,
    #[enum_value(name = "ONNX Runtime's separate kernels", nick = "off")]
    Off,
}

impl From<CudnnFuseConvBias> for onnx::FuseConvBias {
    fn from(fuse: CudnnFuseConvBias) -> Self {
        match fuse {
            CudnnFuseConvBias::Auto => Self::Auto,
            CudnnFuseConvBias::On => Self::On,
            CudnnFuseConvBias::Off => Self::Off,
        }
    }
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, glib::Enum)]
#[enum_type(name = "GstRtmPoseBatchOverload")]
pub enum Overload {
    #[default]
    #[enum_value(name = "skip-inference in live streams, else block", nick = "auto")]
    Auto,
    #[enum_value(name = "Upstream waits", nick = "block")]
    Block,
    #[enum_value(
        name = "Frames that would exceed the reported latency pass without inference",
        nick = "skip-inference"
    )]
    SkipInference,
}

impl From<Overload> for stage::Overload {
    fn from(overload: Overload) -> Self {
        match overload {
            Overload::Auto => Self::Auto,
            Overload::Block => Self::Block,
            Overload::SkipInference => Self::SkipInference,
        }
    }
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, glib::Enum)]
#[enum_type(name = "GstRtmPoseBatchOnError")]
pub enum OnError {
    #[default]
    #[enum_value(name = "Post an error and end the stream", nick = "fail")]
    Fail,
    #[enum_value(name = "Post one warning; frames pass without metadata", nick = "passthrough")]
    Passthrough,
}

impl From<OnError> for stage::OnError {
    fn from(on_error: OnError) -> Self {
        match on_error {
            OnError::Fail => Self::Fail,
            OnError::Passthrough => Self::Passthrough,
        }
    }
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, glib::Enum)]
#[enum_type(name = "GstRtmPoseBatchFallback")]
pub enum Fallback {
    #[enum_value(name = "Treat it as an inference error (on-error)", nick = "none")]
    None,
    #[default]
    #[enum_value(name = "Run the model on the CPU, with a warning and without losing a frame", nick = "cpu")]
    Cpu,
}

enumerations!(
    ExecutionProvider,
    Precision,
    CudnnConvAlgoSearch,
    CudnnFuseConvBias,
    Overload,
    OnError,
    Fallback
);
