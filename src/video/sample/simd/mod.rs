//! Rows of a crop by the CPU's vector instructions: AVX2 on x86-64 if it has that, NEON on ARM64, none elsewhere. Each file
//! has a `Vectors`, the proof that the CPU has them, and `Rows`, which draw what `scalar.rs` and `colour.rs` do, bit for
//! bit.

#[cfg_attr(target_arch = "x86_64", path = "avx2.rs")]
#[cfg_attr(target_arch = "aarch64", path = "neon.rs")]
#[cfg_attr(not(any(target_arch = "x86_64", target_arch = "aarch64")), path = "none.rs")]
mod code;

pub(super) use code::{Rows, Vectors};
