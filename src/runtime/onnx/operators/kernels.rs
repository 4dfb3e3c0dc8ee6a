//! The kernels on a GPU.

use std::{
    ffi::{CStr, c_void},
    ptr,
    sync::{Arc, Mutex, PoisonError},
};

use cudarc::driver::{CudaContext, result, sys};
use ort::operator::ComputeContext;

use super::{Parameter, Place};
use crate::platform::{cuda, nvrtc::load_kernels};

/// Threads of a block.
pub const BLOCK: u32 = 256;

/// Threads that can exchange values.
pub const WARP: u32 = 32;

/// A function of `kernels.cu`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kernel {
    BiasSilu,
    BiasSiluOfRows,
    BiasSiluOfChannels,
    Depthwise3,
    Depthwise5,
    Depthwise3By2,
    Depthwise5By2,
    Pointwise1,
    Pointwise2,
    Pointwise4,
    Largest,
    Mean,
    ScaleNorm,
    Peaks,
}

impl Kernel {
    /// By their order.
    pub const NAMES: [&CStr; 14] = [
        c"bias_silu",
        c"bias_silu_of_rows",
        c"bias_silu_of_channels",
        c"depthwise_3",
        c"depthwise_5",
        c"depthwise_3_by_2",
        c"depthwise_5_by_2",
        c"pointwise_1",
        c"pointwise_2",
        c"pointwise_4",
        c"largest",
        c"mean",
        c"scale_norm",
        c"peaks",
    ];

    /// Threads of a block. Small blocks spread over more of the GPU.
    fn block(self) -> u32 {
        match self {
            Self::Pointwise1 | Self::Pointwise2 | Self::Pointwise4 => 2 * WARP,
            _ => BLOCK,
        }
    }
}

/// The kernels in a GPU's primary context, which ONNX Runtime also uses, for tensors in one type. They are never unloaded.
pub struct Kernels {
    half: bool,
    context: Arc<CudaContext>,
    functions: [sys::CUfunction; Kernel::NAMES.len()],
    has_tensor_cores: bool,
}

// SAFETY: the handles may be used by any thread whose context is theirs.
unsafe impl Send for Kernels {}
// SAFETY: likewise.
unsafe impl Sync for Kernels {}

impl Kernels {
    /// Those of the GPU with that number, which are loaded once; an error if the machine lacks something. No thread may capture
    /// meanwhile.
    pub fn of(number: i32, half: bool) -> Result<Arc<Self>, String> {
        static LOADED: Mutex<Vec<(i32, Arc<Kernels>)>> = Mutex::new(Vec::new());
        let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
        let mut known = loaded.iter().filter(|(known, kernels)| (*known, kernels.half) == (number, half));
        if let Some((_, kernels)) = known.next() {
            return Ok(kernels.clone());
        }
        let kernels = Arc::new(Self::load(number, half)?);
        loaded.push((number, kernels.clone()));
        Ok(kernels)
    }

    fn load(number: i32, half: bool) -> Result<Self, String> {
        let context = cuda::context(number)?;
        let source = format!("{}{}", if half { "#define HALF\n" } else { "" }, include_str!("kernels.cu"));
        let (major, _) =
            context.compute_capability().map_err(|error| format!("CUDA on GPU {number}: {:?}", error.0))?;
        let has_tensor_cores = major >= 8;
        let architecture = has_tensor_cores.then_some(c"--gpu-architecture=compute_80");
        let (_, functions) = load_kernels(c"kernels", &source, architecture, Kernel::NAMES)?;
        Ok(Self { half, context, functions, has_tensor_cores })
    }

    /// Whether [`Kernel::Pointwise1`] and its like can run.
    pub fn has_tensor_cores(&self) -> bool {
        self.has_tensor_cores
    }
}

impl Place for Kernels {
    fn provider(&self) -> Option<&str> {
        Some("CUDAExecutionProvider")
    }

    fn half(&self) -> bool {
        self.half
    }

    unsafe fn launch(
        &self,
        context: &ComputeContext,
        kernel: Kernel,
        threads: u32,
        parameters: &[Parameter],
    ) -> ort::Result<()> {
        let stream = context.stream()?.ok_or_else(|| ort::Error::new("there is no stream"))?.as_ptr();
        let mut parameters = parameters.to_vec();
        let at = |parameter: &mut Parameter| -> *mut c_void {
            match parameter {
                Parameter::Address(address) => ptr::from_mut(address).cast(),
                Parameter::Number(number) => ptr::from_mut(number).cast(),
                Parameter::Factor(factor) => ptr::from_mut(factor).cast(),
            }
        };
        let mut parameters: Vec<_> = parameters.iter_mut().map(at).collect();
        let (function, block) = (self.functions[kernel as usize], kernel.block());
        self.context
            .bind_to_thread()
            .and_then(|()| unsafe {
                result::launch_kernel(
                    function,
                    (threads.div_ceil(block), 1, 1),
                    (block, 1, 1),
                    0,
                    stream.cast(),
                    &mut parameters,
                )
            })
            .map_err(|error| ort::Error::new(format!("CUDA kernel {:?}: {:?}", kernel, error.0)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Without a driver, or on a machine without a GPU of this number.
    #[test]
    fn a_card_that_is_not_there_is_an_error() {
        for number in [-1, 4096] {
            assert!(!Kernels::of(number, true).err().expect("no machine has such a card").is_empty());
        }
    }
}
