//! How many crops in one run suit a GPU.

use crate::platform::gpu::GpuMemory;

/// Crops in one run that suit the GPU: 8; 6 if it has less than 6 GiB of memory; 16 if 16 GiB are free, because a GPU of
/// that size runs twice the batch in nearly the same time.
pub(super) fn batch_size(memory: GpuMemory) -> usize {
    const GIB: u64 = 1 << 30;
    match memory {
        GpuMemory { total, .. } if total < 6 * GIB => 6,
        GpuMemory { free, .. } if free >= 16 * GIB => 16,
        _ => 8,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_batch_size_follows_the_memory() {
        const GIB: u64 = 1 << 30;
        let size = |total: u64, free: u64| batch_size(GpuMemory { total, free });
        assert_eq!([size(4 * GIB, 4 * GIB), size(6 * GIB - 1, 0), size(6 * GIB, 0)], [6, 6, 8]);
        assert_eq!(
            [size(24 * GIB, 16 * GIB - 1), size(24 * GIB, 16 * GIB), size(80 * GIB, 79 * GIB)],
            [8, 16, 16]
        );
    }
}
