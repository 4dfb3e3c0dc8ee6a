//! What this process holds: memory, threads, files.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    sync::atomic::{AtomicUsize, Ordering},
};

/// Rust's allocator, with a count of the bytes in use.
pub struct Counting;

static LIVE: AtomicUsize = AtomicUsize::new(0);

// SAFETY: all is System's; counting changes nothing of it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller keeps `alloc`'s contract.
        let memory = unsafe { System.alloc(layout) };
        if !memory.is_null() {
            LIVE.fetch_add(layout.size(), Ordering::Relaxed);
        }
        memory
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller keeps `dealloc`'s contract.
        unsafe { System.dealloc(memory, layout) };
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller keeps `alloc_zeroed`'s contract.
        let memory = unsafe { System.alloc_zeroed(layout) };
        if !memory.is_null() {
            LIVE.fetch_add(layout.size(), Ordering::Relaxed);
        }
        memory
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller keeps `realloc`'s contract.
        let moved = unsafe { System.realloc(memory, layout, size) };
        if !moved.is_null() {
            LIVE.fetch_add(size, Ordering::Relaxed);
            LIVE.fetch_sub(layout.size(), Ordering::Relaxed);
        }
        moved
    }
}

#[derive(Clone, Copy, Debug)]
pub struct Figures {
    /// Bytes that Rust code holds.
    pub rust: usize,
    /// Bytes in use from malloc, also by C and C++.
    pub heap: usize,
    /// Resident memory in bytes.
    pub resident: usize,
    pub threads: usize,
    pub files: usize,
}

impl Figures {
    pub fn now() -> Self {
        // SAFETY: a plain call that fills a structure.
        let heap = unsafe { libc::mallinfo2() };
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = |name: &str| -> usize {
            let value = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            value.trim().trim_end_matches(" kB").parse().unwrap()
        };
        Self {
            rust: LIVE.load(Ordering::Relaxed),
            heap: heap.uordblks + heap.hblkhd,
            resident: line("VmRSS:") * 1024,
            threads: line("Threads:"),
            files: std::fs::read_dir("/proc/self/fd").unwrap().count(),
        }
    }
}

#[test]
fn allocations_are_counted_to_the_byte() {
    // Runs in its own process, because threads of other tests begin and end at any moment, with their memory.
    const ALONE: &str = "RTMPOSE_TEST_COUNTS_ALLOCATIONS";
    if std::env::var_os(ALONE).is_none() {
        let status = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "figures::allocations_are_counted_to_the_byte", "--nocapture"])
            .env(ALONE, "1")
            .status()
            .unwrap();
        assert!(status.success(), "{status}");
        return;
    }
    let before = Figures::now();
    // black_box, so that the compiler does not remove the allocation.
    let memory = std::hint::black_box(vec![1_u8; 1 << 24]);
    let held = Figures::now();
    // The test's harness and reading the figures allocate little.
    assert!((held.rust - before.rust).abs_diff(1 << 24) < 1 << 16, "{before:?} {held:?}");
    assert!((held.heap - before.heap).abs_diff(1 << 24) < 1 << 17, "{before:?} {held:?}");
    drop(memory);
    assert!(Figures::now().rust.abs_diff(before.rust) < 1 << 16);
}
