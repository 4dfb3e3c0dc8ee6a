//! Whether CUDA's driver is there, and its names of GPUs.

use std::sync::Arc;

use cudarc::driver::{CudaContext, DriverError, result, sys};

/// Whether CUDA's driver library is there: without it, any call would panic.
pub fn has_cuda() -> bool {
    // SAFETY: only loads libraries.
    unsafe { sys::is_culib_present() }
}

/// The primary context of the GPU with that number, current in this thread; the error says what is missing.
pub fn context(number: i32) -> Result<Arc<CudaContext>, String> {
    if !has_cuda() {
        return Err("NVIDIA's driver library libcuda.so.1 is missing".to_string());
    }
    let ordinal = usize::try_from(number).map_err(|_| format!("there is no GPU {number}"))?;
    let failed = |error: DriverError| format!("CUDA on GPU {number}: {:?}", error.0);
    let context = CudaContext::new(ordinal).map_err(failed)?;
    context.bind_to_thread().map_err(failed)?;
    Ok(context)
}

/// GPUs that CUDA finds; 0 without its driver.
pub fn count() -> u32 {
    if !has_cuda() || result::init().is_err() {
        return 0;
    }
    result::device::get_count().ok().and_then(|count| u32::try_from(count).ok()).unwrap_or(0)
}

/// None if CUDA does not find the GPU.
pub fn uuid(device: u32) -> Option<String> {
    if !has_cuda() {
        return None;
    }
    result::init().ok()?;
    let device = result::device::get(i32::try_from(device).ok()?).ok()?;
    Some(uuid_text(result::device::get_uuid(device).ok()?.bytes.map(|byte| byte as u8)))
}

/// In NVML's form.
fn uuid_text(bytes: [u8; 16]) -> String {
    let hex = |range: std::ops::Range<usize>| -> String {
        bytes[range].iter().map(|byte| format!("{byte:02x}")).collect()
    };
    format!("GPU-{}-{}-{}-{}-{}", hex(0..4), hex(4..6), hex(6..8), hex(8..10), hex(10..16))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cards_are_counted_without_a_driver_too() {
        assert!((0..count()).all(|number| uuid(number).is_some()));
        assert_eq!(uuid(count()), None);
    }

    #[test]
    fn a_cards_uuid_is_written_as_nvml_does() {
        let bytes = [0x89, 0xfd, 0x86, 0x10, 0x7f, 0x00, 0x01, 0xab, 0xcd, 0xef, 1, 2, 3, 4, 5, 0xf6];
        assert_eq!(uuid_text(bytes), "GPU-89fd8610-7f00-01ab-cdef-0102030405f6");
    }
}
