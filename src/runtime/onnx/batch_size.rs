//! How many crops in one run suit a GPU, and which numbers of crops are prepared.

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

/// The batch sizes to prepare if each costs start-up time and memory, ascending: the whole, then a quarter of the previous
/// one while padding to that would cost much, and finally 1, for a single camera.
pub(super) fn fixed_sizes(batch_size: usize) -> Vec<usize> {
    let mut sizes: Vec<_> =
        std::iter::successors(Some(batch_size), |size| Some(size / 4).filter(|size| *size > 2)).collect();
    if batch_size > 1 {
        sizes.push(1);
    }
    sizes.reverse();
    sizes
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

    #[test]
    fn prepared_sizes_are_the_whole_its_quarters_and_one() {
        assert_eq!(fixed_sizes(64), [1, 4, 16, 64]);
        assert_eq!(fixed_sizes(32), [1, 8, 32]);
        assert_eq!(fixed_sizes(16), [1, 4, 16]);
        assert_eq!(fixed_sizes(8), [1, 8]);
        assert_eq!(fixed_sizes(2), [1, 2]);
        assert_eq!(fixed_sizes(1), [1]);
    }
}
