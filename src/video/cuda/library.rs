//! GStreamer's CUDA library, `libgstcuda-1.0.so.0`: loaded if it is there, because there is no binding and, in Debian 12, no
//! header for it. Its functions are public since GStreamer 1.22.

use std::ffi::{c_int, c_void};

use gst::{glib::translate::*, prelude::*};
use libloading::Library;
use once_cell::sync::OnceCell;

const NAME: &str = "libgstcuda-1.0.so.0";

/// The type of GPU memory.
pub const MEMORY_TYPE: &str = "gst.cuda.memory";
/// The type of a GstContext that holds a GstCudaContext.
pub const CONTEXT_TYPE: &str = "gst.cuda.context";
/// `GST_MAP_CUDA`: the mapped address is on the GPU.
const MAP_CUDA: gst::ffi::GstMapFlags = gst::ffi::GST_MAP_FLAG_LAST << 1;

/// The beginning of `GstCudaMemory`.
#[repr(C)]
struct CudaMemory {
    memory: gst::ffi::GstMemory,
    context: *mut gst::ffi::GstObject,
}

/// The functions that are used.
pub struct GstCuda {
    handle: unsafe extern "C" fn(*mut gst::ffi::GstObject) -> *mut c_void,
    wrap: unsafe extern "C" fn(*mut c_void, c_int) -> *mut gst::ffi::GstObject,
    share: unsafe extern "C" fn(*mut gst::ffi::GstObject) -> *mut gst::ffi::GstContext,
    /// Waits for work on the memory; GStreamer before 1.24 waits before it passes a frame on.
    sync: Option<unsafe extern "C" fn(*mut gst::ffi::GstMemory)>,
    _library: Library,
}

impl GstCuda {
    /// The library, which is loaded once.
    pub fn get() -> Result<&'static Self, String> {
        static LIBRARY: OnceCell<GstCuda> = OnceCell::new();
        LIBRARY.get_or_try_init(Self::load)
    }

    fn load() -> Result<Self, String> {
        let failed = |error: libloading::Error| format!("GStreamer's CUDA library cannot be used: {error}");
        // SAFETY: the functions have these types in every version with this name; the library is never unloaded, as its
        // types are registered.
        unsafe {
            let library = Library::new(NAME).map_err(failed)?;
            let load: unsafe extern "C" fn() -> c_int =
                *library.get(c"gst_cuda_load_library").map_err(failed)?;
            let init: unsafe extern "C" fn() = *library.get(c"gst_cuda_memory_init_once").map_err(failed)?;
            if load() == 0 {
                return Err("GStreamer's CUDA library does not find NVIDIA's driver".to_string());
            }
            init();
            Ok(Self {
                handle: *library.get(c"gst_cuda_context_get_handle").map_err(failed)?,
                wrap: *library.get(c"gst_cuda_context_new_wrapped").map_err(failed)?,
                share: *library.get(c"gst_context_new_cuda_context").map_err(failed)?,
                sync: library.get(c"gst_cuda_memory_sync").ok().map(|sync| *sync),
                _library: library,
            })
        }
    }

    /// A CUDA context of ours, in the form for GStreamer's elements. The context must outlive it.
    pub(super) fn context(&self, handle: *mut c_void, device: i32) -> Result<gst::Context, String> {
        // SAFETY: the handle is a context of that device.
        unsafe {
            let wrapped: Option<gst::Object> = from_glib_full((self.wrap)(handle, device));
            let wrapped = wrapped.ok_or("GStreamer's CUDA library does not accept the plugin's context")?;
            let context = (self.share)(wrapped.as_ptr());
            if context.is_null() {
                return Err("GStreamer's CUDA library cannot share a context".to_string());
            }
            Ok(from_glib_full(context))
        }
    }

    /// Maps GPU memory for reading, after work on it has finished. The memory must be of `MEMORY_TYPE`.
    pub(super) fn map(&'static self, memory: gst::Memory) -> Option<Mapped> {
        // SAFETY: memory of that type begins so.
        let owner = unsafe { (*memory.as_mut_ptr().cast::<CudaMemory>()).context };
        // SAFETY: its context lives as long as the memory.
        let context = unsafe { (self.handle)(owner) };
        // SAFETY: `info` is written by the call; where that succeeds the memory is unmapped in `drop`.
        unsafe {
            let mut info = std::mem::zeroed();
            let flags = gst::ffi::GST_MAP_READ | MAP_CUDA;
            if gst::ffi::gst_memory_map(memory.as_mut_ptr(), &mut info, flags) == gst::glib::ffi::GFALSE {
                return None;
            }
            if let Some(sync) = self.sync {
                sync(memory.as_mut_ptr());
            }
            Some(Mapped { memory, info, context, owner })
        }
    }
}

/// A buffer whose only memory is GPU memory, mapped for reading and writing.
pub struct MappedMut<'a> {
    buffer: &'a mut gst::BufferRef,
    info: gst::ffi::GstMapInfo,
    context: *mut c_void,
    owner: gst::Object,
}

impl<'a> MappedMut<'a> {
    /// None if it cannot be mapped. The buffer's memory must be of `MEMORY_TYPE`; memory that is shared is copied.
    pub fn new(gst: &GstCuda, buffer: &'a mut gst::BufferRef) -> Option<Self> {
        // SAFETY: `info` is written by the call; where that succeeds the buffer is unmapped in `drop`. Memory of that type
        // begins as `CudaMemory`, and its context lives as long as it.
        unsafe {
            if let Some(sync) = gst.sync {
                sync(buffer.peek_memory(0).as_ptr().cast_mut());
            }
            let mut info = std::mem::zeroed();
            let flags = gst::ffi::GST_MAP_READ | gst::ffi::GST_MAP_WRITE | MAP_CUDA;
            if gst::ffi::gst_buffer_map(buffer.as_mut_ptr(), &mut info, flags) == gst::glib::ffi::GFALSE {
                return None;
            }
            let owner = (*info.memory.cast::<CudaMemory>()).context;
            let context = (gst.handle)(owner);
            Some(Self { buffer, info, context, owner: from_glib_none(owner) })
        }
    }

    /// Address on the GPU, and bytes.
    pub fn place(&self) -> (u64, u64) {
        (self.info.data.addr() as u64, self.info.size as u64)
    }

    /// The CUDA context that it belongs to, and the object that keeps the context alive.
    pub fn context(&self) -> *mut c_void {
        self.context
    }

    pub fn owner(&self) -> gst::Object {
        self.owner.clone()
    }
}

impl Drop for MappedMut<'_> {
    fn drop(&mut self) {
        // SAFETY: it was mapped so.
        unsafe { gst::ffi::gst_buffer_unmap(self.buffer.as_mut_ptr(), &mut self.info) };
    }
}

/// Memory that is mapped on its GPU; held until this is dropped.
pub struct Mapped {
    memory: gst::Memory,
    info: gst::ffi::GstMapInfo,
    context: *mut c_void,
    /// The object that keeps the context alive; lives as long as the memory.
    owner: *mut gst::ffi::GstObject,
}

// SAFETY: memory may be unmapped by another thread than the one that has mapped it.
unsafe impl Send for Mapped {}
// SAFETY: what it points to is only read, and by the GPU.
unsafe impl Sync for Mapped {}

impl Mapped {
    /// Address on the GPU, and bytes.
    pub fn place(&self) -> (u64, u64) {
        (self.info.data.addr() as u64, self.info.size as u64)
    }

    /// The CUDA context that it belongs to.
    pub fn context(&self) -> *mut c_void {
        self.context
    }
}

impl Mapped {
    /// The number of its GPU, if GStreamer knows it.
    pub(super) fn card(&self) -> Option<u32> {
        const NUMBER: &str = "cuda-device-id";
        // SAFETY: it lives.
        let owner: gst::Object = unsafe { from_glib_none(self.owner) };
        owner.find_property(NUMBER)?;
        owner.property_value(NUMBER).get().ok()
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        // SAFETY: it was mapped so.
        unsafe { gst::ffi::gst_memory_unmap(self.memory.as_mut_ptr(), &mut self.info) };
    }
}
