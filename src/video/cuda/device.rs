//! A GPU whose frames are sampled: its context, the kernels, and the context's form for GStreamer's elements.

use std::{ffi::c_void, ptr, sync::Arc};

use cudarc::driver::{CudaContext, CudaStream, DriverError, result, sys};

use super::{
    library::GstCuda,
    task::{Grid, Task},
};
use crate::{
    platform::{cuda, nvrtc::load_kernels},
    sync::{Mutex, lock},
};

/// Threads of a block, across and down.
const BLOCK: [u32; 2] = [32, 8];

/// A GPU with the kernels in its primary context, which ONNX Runtime also uses. It lives as long as the process: GStreamer's
/// elements may hold its context when nothing here uses it any more.
pub struct Device {
    number: u32,
    context: Arc<CudaContext>,
    shared: gst::Context,
    crop: Kernel,
    glimpse: Kernel,
    /// For work that is waited for, one task at a time.
    scratch: Mutex<Scratch>,
    /// Memory of unused copies: returning it to the driver would wait for everything that runs.
    spare: Mutex<Vec<Memory>>,
}

/// A function of a module that is never unloaded.
struct Kernel(sys::CUfunction);

// SAFETY: a handle that any thread may use whose context is the function's.
unsafe impl Send for Kernel {}
// SAFETY: likewise.
unsafe impl Sync for Kernel {}

struct Scratch {
    stream: Arc<CudaStream>,
    cells: Memory,
}

impl Device {
    /// The GPU with that number. Do not call it while another thread captures a CUDA graph.
    pub fn open(number: i32) -> Result<Self, String> {
        let context = cuda::context(number)?;
        let gst = GstCuda::get()?;
        let failed = |error: DriverError| format!("CUDA on GPU {number}: {:?}", error.0);
        let (_, [crop]) = load_kernels(c"crop", include_str!("crop.cu"), None, [c"crop"])?;
        let (_, [glimpse]) = load_kernels(c"glimpse", include_str!("glimpse.cu"), None, [c"glimpse"])?;
        let stream = context.new_stream().map_err(failed)?;
        let cells = Memory::new(&context, 0).map_err(failed)?;
        let shared = gst.context(context.cu_ctx().cast(), context.cu_device())?;
        let scratch = Mutex::new(Scratch { stream, cells });
        let (crop, glimpse) = (Kernel(crop), Kernel(glimpse));
        let number = context.ordinal() as u32;
        Ok(Self { number, context, shared, crop, glimpse, scratch, spare: Mutex::default() })
    }

    /// In CUDA's order.
    pub fn number(&self) -> u32 {
        self.number
    }

    /// The form for GStreamer's elements: of type `gst.cuda.context`.
    pub fn shared_context(&self) -> &gst::Context {
        &self.shared
    }

    /// Whether memory of that CUDA context can be read in ours.
    pub(super) fn is_own(&self, context: *mut c_void) -> bool {
        ptr::eq(context, self.context.cu_ctx().cast())
    }

    /// Copies memory of another context, maybe on another GPU, into memory of ours, and waits for it.
    pub(super) fn fetch(&self, from: (u64, u64), context: *mut c_void) -> Result<Memory, DriverError> {
        let (address, bytes) = from;
        let memory = {
            let mut spare = lock(&self.spare);
            // Copies for frames of another size are not reused.
            spare.retain(|memory| memory.bytes == bytes as usize);
            spare.pop()
        };
        let memory = match memory {
            Some(memory) => memory,
            None => Memory::new(&self.context, bytes as usize)?,
        };
        let scratch = lock(&self.scratch);
        self.context.bind_to_thread()?;
        let (own, stream) = (self.context.cu_ctx(), scratch.stream.cu_stream());
        // SAFETY: there are that many bytes at both addresses, until the copy has ended.
        unsafe {
            result::memcpy_peer_async(own, memory.address, context.cast(), address, bytes as usize, stream)?;
        }
        scratch.stream.synchronize()?;
        Ok(memory)
    }

    /// Keeps the memory of a copy for later.
    pub(super) fn give_back(&self, memory: Memory) {
        lock(&self.spare).push(memory);
    }

    /// Starts to sample the tasks' crops into their rows of `batch`.
    ///
    /// # Safety
    /// `tasks` is the address on the GPU of `count` tasks. Their frames, the tasks and the batch must live until the stream
    /// has finished. `batch` has room for each row.
    pub unsafe fn sample(
        &self,
        stream: *mut (),
        tasks: u64,
        count: u32,
        network: [u32; 2],
        batch: u64,
    ) -> Result<(), String> {
        let blocks = [0, 1].map(|axis| network[axis].div_ceil(BLOCK[axis]));
        let mut parameters = [tasks, batch];
        let [tasks, batch] = &mut parameters;
        let mut parameters = [ptr::from_mut(tasks).cast(), ptr::from_mut(batch).cast()];
        let launched = self.context.bind_to_thread().and_then(|()| unsafe {
            result::launch_kernel(
                self.crop.0,
                (blocks[0], blocks[1], count),
                (BLOCK[0], BLOCK[1], 1),
                0,
                stream.cast(),
                &mut parameters,
            )
        });
        launched.map_err(|error| format!("CUDA sampling of crops: {:?}", error.0))
    }

    /// The grid's cells, row by row. Waits for them.
    ///
    /// # Safety
    /// The grid's frame lives meanwhile.
    pub(super) unsafe fn glimpse(&self, grid: &Grid, count: usize) -> Result<Vec<u8>, DriverError> {
        let mut scratch = lock(&self.scratch);
        if scratch.cells.bytes < count {
            scratch.cells = Memory::new(&self.context, count)?;
        }
        self.context.bind_to_thread()?;
        let Scratch { stream, cells } = &mut *scratch;
        let mut grid = *grid;
        let mut parameters = [ptr::from_mut(&mut grid).cast(), ptr::from_mut(&mut cells.address).cast()];
        let mut found = vec![0u8; count];
        // SAFETY: the caller guarantees the frame; the rest lives until the stream has finished.
        let begun = unsafe {
            result::launch_kernel(
                self.glimpse.0,
                ((count as u32).div_ceil(256), 1, 1),
                (256, 1, 1),
                0,
                stream.cu_stream(),
                &mut parameters,
            )
            .and_then(|()| result::memcpy_dtoh_async(&mut found, cells.address, stream.cu_stream()))
        };
        // After a failure, too: nothing may write here any more.
        begun.and(stream.synchronize())?;
        Ok(found)
    }

    /// Samples a crop into rows of RGB in host memory, and waits for it. The task's row must be 0.
    ///
    /// # Safety
    /// The task's frame lives meanwhile.
    pub(super) unsafe fn fetch_crop(
        &self,
        task: &Task,
        network: [u32; 2],
        out: &mut [u8],
    ) -> Result<(), String> {
        let failed = |error: DriverError| format!("CUDA copy of a crop: {:?}", error.0);
        let mut scratch = lock(&self.scratch);
        let needed = out.len() + size_of::<Task>();
        if scratch.cells.bytes < needed {
            scratch.cells = Memory::new(&self.context, needed).map_err(failed)?;
        }
        let Scratch { stream, cells } = &mut *scratch;
        let (task_at, crop_at) = (cells.address, cells.address + size_of::<Task>() as u64);
        // SAFETY: there is room for both; all of it lives until the stream has finished.
        let begun = unsafe {
            result::memcpy_htod_async(task_at, std::slice::from_ref(task), stream.cu_stream())
                .map_err(failed)
                .and_then(|()| self.sample(stream.cu_stream().cast(), task_at, 1, network, crop_at))
                .and_then(|()| result::memcpy_dtoh_async(out, crop_at, stream.cu_stream()).map_err(failed))
        };
        // After a failure, too: nothing may write here any more.
        begun.and(stream.synchronize().map_err(failed))
    }

    /// Allocates room on the GPU for that many tasks.
    pub fn tasks(&self, count: usize) -> Result<Memory, String> {
        let memory = Memory::new(&self.context, count * size_of::<Task>());
        memory.map_err(|error| format!("CUDA memory: {:?}", error.0))
    }
}

/// Memory on a GPU.
pub struct Memory {
    pub address: u64,
    bytes: usize,
    context: Arc<CudaContext>,
}

impl Memory {
    fn new(context: &Arc<CudaContext>, bytes: usize) -> Result<Self, DriverError> {
        if bytes == 0 {
            return Ok(Self { address: 0, bytes, context: context.clone() });
        }
        context.bind_to_thread()?;
        // SAFETY: it is written before it is read.
        let address = unsafe { result::malloc_sync(bytes)? };
        Ok(Self { address, bytes, context: context.clone() })
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        if self.bytes > 0 && self.context.bind_to_thread().is_ok() {
            // SAFETY: it came from `malloc_sync`, and nothing uses it any more.
            let _ = unsafe { result::free_sync(self.address) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Without a driver, or on a machine without a GPU of this number.
    #[test]
    fn a_card_that_is_not_there_is_an_error() {
        for number in [-1, 4096] {
            assert!(!Device::open(number).err().expect("no machine has such a card").is_empty());
        }
    }
}
