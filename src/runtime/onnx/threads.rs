//! What the CPU has for the model: how its cores are divided among the batches in flight, and its instructions.
//!
//! The streaming threads sample crops and draw; the model takes a hundred times as long, so they get no core of their own.
//! ONNX Runtime's own choice (0 threads) is not used: it binds each thread to a core, even to one that a decoder keeps busy.

/// A batch on more threads than this gains little.
const MOST_FOR_ONE: usize = 8;

/// Cores that this process may use.
pub(super) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// How many batches use the cores best. More than on a GPU would delay the boxes of tracked people.
pub(super) fn executors(cores: usize) -> usize {
    if cores >= MOST_FOR_ONE { 2 } else { 1 }
}

/// Threads for each of that many executors; 0: as `executors` says.
pub(super) fn of_an_executor(cores: usize, number: usize) -> usize {
    let number = if number == 0 { executors(cores) } else { number };
    (cores / number).clamp(1, MOST_FOR_ONE)
}

/// Whether the CPU multiplies 8-bit integers into 32-bit sums in one instruction: VNNI on x86-64, the dot products of ARM64.
pub(super) fn multiplies_bytes() -> bool {
    #[cfg(target_arch = "x86_64")]
    return is_x86_feature_detected!("avx512vnni") || is_x86_feature_detected!("avxvnni");
    #[cfg(target_arch = "aarch64")]
    return std::arch::is_aarch64_feature_detected!("dotprod")
        || std::arch::is_aarch64_feature_detected!("i8mm");
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    return false;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cores_are_divided_among_executors() {
        let auto = |cores| (executors(cores), of_an_executor(cores, 0));
        assert_eq!([1, 2, 4, 8, 16, 64].map(auto), [(1, 1), (1, 2), (1, 4), (2, 4), (2, 8), (2, 8)]);
        assert_eq!([1, 2, 3, 16].map(|number| of_an_executor(2, number)), [2, 1, 1, 1]);
        assert_eq!(of_an_executor(16, 4), 4);
    }
}
