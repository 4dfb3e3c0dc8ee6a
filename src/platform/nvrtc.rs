//! CUDA kernels from their source, by NVIDIA's kernel compiler, a library that is loaded when it is needed: `libnvrtc` of CUDA 12
//! or newer.

use std::{
    ffi::{CStr, CString, c_char, c_int, c_void},
    ptr::{null, null_mut},
};

use cudarc::driver::{DriverError, result, sys};
use libloading::Library;

/// By version. A program that has loaded one of these from another place finds it by that name, too.
const NAMES: [&str; 3] = ["libnvrtc.so.13", "libnvrtc.so.12", "libnvrtc.so"];

type Program = *mut c_void;
/// 0 is success.
type Status = c_int;
type Size = unsafe extern "C" fn(Program, *mut usize) -> Status;
type Text = unsafe extern "C" fn(Program, *mut c_char) -> Status;

/// The functions, whose types are those of nvrtc.h.
struct Nvrtc {
    create: unsafe extern "C" fn(
        *mut Program,
        *const c_char,
        *const c_char,
        c_int,
        *const *const c_char,
        *const *const c_char,
    ) -> Status,
    compile: unsafe extern "C" fn(Program, c_int, *const *const c_char) -> Status,
    destroy: unsafe extern "C" fn(*mut Program) -> Status,
    ptx: (Size, Text),
    log: (Size, Text),
    _library: Library,
}

impl Nvrtc {
    fn load() -> Result<Self, String> {
        let mut reason = String::new();
        for name in NAMES {
            // SAFETY: NVIDIA's library does nothing when it is loaded.
            match unsafe { Library::new(name) } {
                // SAFETY: the functions have these types in every version with this name.
                Ok(library) => return unsafe { Self::of(library) }.map_err(|error| error.to_string()),
                Err(error) if reason.is_empty() => reason = error.to_string(),
                Err(_) => (),
            }
        }
        Err(format!("NVIDIA's kernel compiler, libnvrtc, cannot be loaded ({reason})"))
    }

    /// # Safety
    /// The library is NVRTC.
    unsafe fn of(library: Library) -> Result<Self, libloading::Error> {
        unsafe {
            Ok(Self {
                create: *library.get(c"nvrtcCreateProgram")?,
                compile: *library.get(c"nvrtcCompileProgram")?,
                destroy: *library.get(c"nvrtcDestroyProgram")?,
                ptx: (*library.get(c"nvrtcGetPTXSize")?, *library.get(c"nvrtcGetPTX")?),
                log: (*library.get(c"nvrtcGetProgramLogSize")?, *library.get(c"nvrtcGetProgramLog")?),
                _library: library,
            })
        }
    }

    /// A text of the program; empty if there is none.
    fn text(&self, program: Program, (size, text): (Size, Text)) -> CString {
        let mut length = 0;
        // SAFETY: the program lives; the text, including its final 0, is as long as `size` says.
        let bytes = unsafe {
            if size(program, &mut length) != 0 {
                length = 0;
            }
            let mut bytes = vec![0u8; length + 1];
            if text(program, bytes.as_mut_ptr().cast()) != 0 {
                bytes.fill(0);
            }
            bytes
        };
        CStr::from_bytes_until_nul(&bytes).map(CStr::to_owned).unwrap_or_default()
    }
}

/// Compiles the file `NAME.cu` for the current context, and finds these kernels in it. They may use what the architecture has, an
/// option of NVRTC's; none: the oldest that NVRTC knows.
pub fn load_kernels<const N: usize>(
    name: &CStr,
    source: &str,
    architecture: Option<&CStr>,
    kernels: [&CStr; N],
) -> Result<(sys::CUmodule, [sys::CUfunction; N]), String> {
    let failed = |error: DriverError| format!("CUDA kernel {name:?}: {:?}", error.0);
    let source = CString::new(source).map_err(|error| error.to_string())?;
    let ptx = compile(name, &source, architecture)?;
    // SAFETY: the text is PTX.
    let module = unsafe { result::module::load_data(ptx.as_ptr().cast()) }.map_err(failed)?;
    let mut found = [null_mut(); N];
    for (function, kernel) in found.iter_mut().zip(kernels) {
        // SAFETY: the module was loaded.
        match unsafe { result::module::get_function(module, kernel.to_owned()) } {
            Ok(kernel) => *function = kernel,
            Err(error) => {
                // SAFETY: nothing uses it.
                let _ = unsafe { result::module::unload(module) };
                return Err(failed(error));
            }
        }
    }
    Ok((module, found))
}

/// Compiles CUDA C++ to PTX, which the driver compiles for its GPU. Products and sums are not fused, as on a CPU. `name` is
/// for messages.
fn compile(name: &CStr, source: &CStr, architecture: Option<&CStr>) -> Result<CString, String> {
    let nvrtc = Nvrtc::load()?;
    let mut program = null_mut();
    // SAFETY: the texts live during the call, and there are no headers.
    let created = unsafe { (nvrtc.create)(&mut program, source.as_ptr(), name.as_ptr(), 0, null(), null()) };
    if created != 0 {
        return Err(format!("NVRTC cannot read {name:?}: error {created}"));
    }
    let options = [Some(c"--fmad=false"), architecture].into_iter().flatten().map(CStr::as_ptr);
    let options: Vec<_> = options.collect();
    // SAFETY: the program was created; the options live during the call.
    let compiled = unsafe { (nvrtc.compile)(program, options.len() as c_int, options.as_ptr()) };
    let result = match compiled {
        0 => Ok(nvrtc.text(program, nvrtc.ptx)),
        error => {
            let log = nvrtc.text(program, nvrtc.log);
            Err(format!("NVRTC cannot compile {name:?}: error {error}: {}", log.to_string_lossy().trim()))
        }
    };
    // SAFETY: nothing uses it any more.
    unsafe { (nvrtc.destroy)(&mut program) };
    result
}

#[cfg(test)]
pub(crate) mod tests {
    use std::{
        path::PathBuf,
        process::Command,
        sync::atomic::{AtomicUsize, Ordering},
    };

    use super::*;

    /// A kernels' file, which is C as well, as a library for the CPU.
    pub(crate) fn compiled(file: &str) -> Library {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("rtmpose-kernel-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let source = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(file);
        let file = folder.join("kernel.so");
        let compiler = std::env::var("CC").unwrap_or("cc".to_string());
        let status = Command::new(compiler)
            .args([
                "-x",
                "c",
                "-std=c99",
                "-O1",
                "-Wall",
                "-Werror",
                "-ffp-contract=off",
                "-shared",
                "-fPIC",
                "-o",
            ])
            .args([&file, &source])
            .arg("-lm")
            .status()
            .expect("Rust links with a C compiler");
        assert!(status.success());
        // SAFETY: it was compiled here.
        let library = unsafe { Library::new(&file) }.unwrap();
        std::fs::remove_dir_all(folder).unwrap();
        library
    }

    /// Holds with and without a compiler.
    #[test]
    fn what_is_no_kernel_is_an_error_with_a_reason() {
        let error = compile(c"nothing.cu", c"this is no kernel", None).unwrap_err();
        assert!(error.contains("libnvrtc") || error.contains("nothing.cu"), "{error}");
    }
}
