//! The CUDA driver behind a few calls: a stream, pinned host memory, and copies between host memory and tensors on the
//! device.

use std::{
    ops::{Deref, DerefMut},
    sync::Arc,
};

use cudarc::driver::{CudaContext, CudaStream, DriverError, result, sys};

use crate::{
    engine::{Error, ErrorKind},
    platform::cuda::has_cuda,
};

/// An address in device memory.
pub(super) type Address = sys::CUdeviceptr;

/// A separate stream in the device's primary context, which ONNX Runtime also uses.
pub struct Stream(Arc<CudaStream>);

impl Stream {
    /// An urgent stream's kernels start before waiting ones of other streams.
    pub(super) fn new(device_id: i32, is_urgent: bool) -> Result<Self, Error> {
        if !has_cuda() {
            return Err(Error::new(ErrorKind::Provider, "NVIDIA's driver library libcuda.so.1 is missing"));
        }
        let ordinal = usize::try_from(device_id)
            .map_err(|_| Error::new(ErrorKind::Provider, format!("there is no device-id {device_id}")))?;
        let open = || {
            let context = CudaContext::new(ordinal)?;
            context.bind_to_thread()?;
            let (least, greatest) = result::stream::get_priority_range()?;
            context.new_stream_with_priority(if is_urgent { greatest } else { least })
        };
        open().map(Self).map_err(|error| failed("device or stream", error))
    }

    /// The stream in CUDA's C interface; it lives as long as this value.
    pub fn handle(&self) -> *mut () {
        self.0.cu_stream().cast()
    }

    /// Pinned memory of `len` values, all of the default one.
    pub(super) fn pinned<T: Copy + Default>(&self, len: usize) -> Result<Pinned<T>, Error> {
        Pinned::new(self.0.context().clone(), len).map_err(|error| failed("pinned memory", error))
    }

    /// Starts to copy values to the device.
    ///
    /// # Safety
    /// There is room for them at `to`. They are not written before `wait` has returned.
    pub(super) unsafe fn copy_in<T: Copy>(&self, from: &[T], to: Address) -> Result<(), Error> {
        self.0
            .context()
            .bind_to_thread()
            .and_then(|()| unsafe { result::memcpy_htod_async(to, from, self.0.cu_stream()) })
            .map_err(|error| failed("copy to the device", error))
    }

    /// Starts to copy values from the device.
    ///
    /// # Safety
    /// There are as many values of this type at `from`. `to` is not touched before `wait` has returned.
    pub(super) unsafe fn copy_out<T: Copy>(&self, from: Address, to: &mut [T]) -> Result<(), Error> {
        self.0
            .context()
            .bind_to_thread()
            .and_then(|()| unsafe { result::memcpy_dtoh_async(to, from, self.0.cu_stream()) })
            .map_err(|error| failed("copy from the device", error))
    }

    /// Whether the device is still working on what was started.
    pub(super) fn is_busy(&self) -> bool {
        // SAFETY: the stream lives as long as this value.
        let state = unsafe { sys::cuStreamQuery(self.0.cu_stream()) };
        state == sys::CUresult::CUDA_ERROR_NOT_READY
    }

    /// Waits until everything that was started is done.
    pub(super) fn wait(&self) -> Result<(), Error> {
        self.0.synchronize().map_err(|error| failed("wait for the device", error))
    }
}

/// A value that uses a stream, together with that stream, which lives longer: the value is always dropped first.
pub(super) struct OnStream<T, S = Stream> {
    // Dropped in this order.
    value: T,
    stream: S,
}

impl<T, S> OnStream<T, S> {
    pub(super) fn try_new<E>(stream: S, make: impl FnOnce(&S) -> Result<T, E>) -> Result<Self, E> {
        let value = make(&stream)?;
        Ok(Self { value, stream })
    }

    /// Replaces the value by what `make` returns. If `make` fails, the value is dropped, too.
    pub(super) fn try_map<U, E>(self, make: impl FnOnce(T) -> Result<U, E>) -> Result<OnStream<U, S>, E> {
        let Self { value, stream } = self;
        // In any case `make` owns the value; only the stream is dropped here.
        let value = make(value)?;
        Ok(OnStream { value, stream })
    }

    pub(super) fn stream(&self) -> &S {
        &self.stream
    }

    pub(super) fn parts(&mut self) -> (&mut T, &S) {
        (&mut self.value, &self.stream)
    }
}

impl<T, S> Deref for OnStream<T, S> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T, S> DerefMut for OnStream<T, S> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.value
    }
}

fn failed(what: &str, error: DriverError) -> Error {
    let kind = if error.0 == sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY {
        ErrorKind::OutOfMemory
    } else {
        ErrorKind::Run
    };
    // CUresult's names are those in NVIDIA's documentation.
    Error::new(kind, format!("CUDA {what}: {:?}", error.0))
}

/// Host memory that the device reads and writes by itself.
pub(super) struct Pinned<T: Copy> {
    start: *mut T,
    len: usize,
    context: Arc<CudaContext>,
}

// SAFETY: it is owned memory, as in a Box.
unsafe impl<T: Copy + Send> Send for Pinned<T> {}

impl<T: Copy + Default> Pinned<T> {
    fn new(context: Arc<CudaContext>, len: usize) -> Result<Self, DriverError> {
        context.bind_to_thread()?;
        // CUDA does not allocate 0 bytes.
        let bytes = (len * size_of::<T>()).max(1);
        // SAFETY: the memory is freed in `drop`, and filled before anyone reads it. Its start is that of a page.
        let start = unsafe { result::malloc_host(bytes, 0) }?.cast::<T>();
        (0..len).for_each(|index| unsafe { start.add(index).write(T::default()) });
        Ok(Self { start, len, context })
    }
}

impl<T: Copy> Deref for Pinned<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        // SAFETY: `new` has filled this many.
        unsafe { std::slice::from_raw_parts(self.start, self.len) }
    }
}

impl<T: Copy> DerefMut for Pinned<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as above; the borrow is exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.start, self.len) }
    }
}

impl<T: Copy> Drop for Pinned<T> {
    fn drop(&mut self) {
        if self.context.bind_to_thread().is_ok() {
            // SAFETY: `malloc_host` allocated it, and nothing uses it any more.
            let _ = unsafe { result::free_host(self.start.cast()) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Without a driver, or on a machine without a GPU of this number.
    #[test]
    fn a_device_that_is_not_there_is_an_error() {
        for device_id in [-1, 4096] {
            let error = Stream::new(device_id, true).err().expect("no machine has such a device");
            assert!(!error.message.is_empty());
        }
    }

    #[test]
    fn a_stream_outlives_what_uses_it() {
        struct Noting<'a>(&'static str, &'a std::cell::RefCell<Vec<&'static str>>);
        impl Drop for Noting<'_> {
            fn drop(&mut self) {
                self.1.borrow_mut().push(self.0);
            }
        }
        let dropped = std::cell::RefCell::new(Vec::new());
        let noting = |name| Noting(name, &dropped);
        let session = || OnStream::try_new(noting("stream"), |_| Ok::<_, ()>(noting("session"))).unwrap();
        // It succeeds.
        drop(session());
        assert_eq!(dropped.take(), ["session", "stream"]);
        // It cannot be made.
        let failed = OnStream::try_new(noting("stream"), |_| {
            let _half = noting("session");
            Err::<(), _>(())
        });
        assert!(failed.is_err());
        assert_eq!(dropped.take(), ["session", "stream"]);
        // Its tensors cannot be bound.
        let failed = session().try_map(|session| {
            let _tensors = noting("tensors");
            let _session = session;
            Err::<(), _>(())
        });
        assert!(failed.is_err());
        assert_eq!(dropped.take(), ["session", "tensors", "stream"]);
        // They can be bound.
        let bound = session().try_map(|session| Ok::<_, ()>((noting("tensors"), session))).ok();
        assert_eq!(dropped.take(), [""; 0]);
        drop(bound);
        assert_eq!(dropped.take(), ["tensors", "session", "stream"]);
        // A panic meanwhile.
        let panics = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let _ = session().try_map(|_session| -> Result<(), ()> { panic!("on purpose") });
        }));
        assert!(panics.is_err());
        assert_eq!(dropped.take(), ["session", "stream"]);
    }
}
