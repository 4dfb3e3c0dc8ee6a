//! Faults of a real NVIDIA GPU: ignored by default, `cargo test --release --test cuda_faults -- --ignored` runs them.
//! `faults.rs` and the engine's own tests do the same with a fake device.

mod common;

use common::{
    card::{is_alone, lose_the_card},
    errors_and_warnings, init,
};
use cudarc::driver::{CudaContext, result, sys};
use gst::prelude::*;
use gstrtmpose::engine::left_behind;

const SIDE: i32 = 256;

/// The embedded network on the first GPU, with one crop a frame.
fn element() -> (gst::Element, gst::Bus) {
    init();
    let element = gst::ElementFactory::make("rtmposebatch")
        .property_from_str("inference-region", "full-frame")
        .property_from_str("execution-provider", "cuda")
        .build()
        .unwrap();
    let bus = gst::Bus::new();
    element.set_bus(Some(&bus));
    (element, bus)
}

fn harness(element: &gst::Element) -> gst_check::Harness {
    let mut harness = gst_check::Harness::with_element(element, Some("sink"), Some("src"));
    harness.set_live(false);
    harness.set_src_caps_str(&format!("video/x-raw,format=GRAY8,width={SIDE},height={SIDE},framerate=30/1"));
    harness.play();
    harness
}

fn frame(number: u64) -> gst::Buffer {
    let mut buffer = gst::Buffer::from_mut_slice(vec![number as u8; (SIDE * SIDE) as usize]);
    let fields = buffer.get_mut().unwrap();
    fields.set_pts(gst::ClockTime::from_mseconds(33) * number);
    fields.set_offset(number);
    buffer
}

/// Pulls the frames of these numbers, in order, each with its people.
fn check(harness: &mut gst_check::Harness, numbers: std::ops::Range<u64>) {
    for number in numbers {
        let buffer = harness.pull().unwrap();
        assert_eq!(buffer.offset(), number);
        assert_eq!(common::people(&buffer).expect("it was inferred").people.len(), 1);
    }
}

fn provider(element: &gst::Element) -> String {
    element.property("active-provider")
}

/// For their tensors batches of 64 need far more than the limit, small batches less.
#[test]
#[ignore = "needs an NVIDIA GPU"]
fn where_memory_is_short_batches_are_made_smaller() {
    let (element, bus) = element();
    element.set_property("batch-size", 64u32);
    element.set_property("gpu-memory-limit", 48u64 << 20);
    let mut harness = harness(&element);
    let (errors, warnings) = errors_and_warnings(&bus);
    eprintln!("{warnings:#?}");
    assert_eq!(errors, [""; 0]);
    assert!(warnings.iter().any(|warning| warning.contains("trying again with one batch in flight")));
    assert!(warnings.iter().any(|warning| warning.contains("trying again with batches of 32")));
    (0..20).for_each(|number| assert!(harness.push(frame(number)).is_ok()));
    assert!(harness.push_event(gst::event::Eos::new()));
    check(&mut harness, 0..20);
    assert_eq!(provider(&element), "cuda");
    let stats: gst::Structure = element.property("stats");
    let size: u32 = stats.get("batch-size").unwrap();
    assert!((1..64).contains(&size), "{size}");
    element.set_state(gst::State::Null).unwrap();
    assert_eq!(errors_and_warnings(&bus), (vec![], vec![]));
}

#[test]
#[ignore = "needs an NVIDIA GPU"]
fn a_lost_card_loses_no_frame() {
    if !is_alone("a_lost_card_loses_no_frame") {
        return;
    }
    let (element, bus) = element();
    let mut harness = harness(&element);
    (0..40).for_each(|number| assert!(harness.push(frame(number)).is_ok()));
    assert_eq!(provider(&element), "cuda");
    lose_the_card(0);
    (40..100).for_each(|number| assert!(harness.push(frame(number)).is_ok()));
    assert!(harness.push_event(gst::event::Eos::new()));
    check(&mut harness, 0..100);
    assert_eq!(provider(&element), "cpu");
    let (errors, warnings) = errors_and_warnings(&bus);
    eprintln!("{warnings:#?}");
    assert_eq!((errors.len(), warnings.len()), (0, 1), "{errors:?} {warnings:?}");
    assert!(warnings[0].contains("cuda is lost"), "{warnings:?}");
    element.set_state(gst::State::Null).unwrap();
    assert_eq!(errors_and_warnings(&bus), (vec![], vec![]));
}

/// Keeps every multiprocessor of a card busy until it is dropped.
struct Busy {
    flag: *mut u32,
    context: std::sync::Arc<CudaContext>,
    _stream: std::sync::Arc<cudarc::driver::CudaStream>,
}

impl Busy {
    fn make(device: usize) -> Self {
        const KERNEL: &std::ffi::CStr = c"
            .version 6.4
            .target sm_75
            .address_size 64
            .visible .entry spin(.param .u64 flag) {
                .reg .b64 %address;
                .reg .b32 %value;
                .reg .pred %waits;
                ld.param.u64 %address, [flag];
            AGAIN:
                ld.volatile.global.u32 %value, [%address];
                setp.eq.u32 %waits, %value, 0;
                @%waits bra AGAIN;
                ret;
            }";
        // As many threads as a multiprocessor has room for.
        const BLOCKS: u32 = 2;
        const THREADS: u32 = 1024;
        let context = CudaContext::new(device).unwrap();
        context.bind_to_thread().unwrap();
        let count = sys::CUdevice_attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT;
        let multiprocessors = context.attribute(count).unwrap() as u32;
        let stream = context.new_stream().unwrap();
        // SAFETY: the kernel reads the flag, which lives until `drop` has waited for the kernel's end.
        unsafe {
            let flag =
                result::malloc_host(size_of::<u32>(), sys::CU_MEMHOSTALLOC_DEVICEMAP).unwrap().cast::<u32>();
            flag.write_volatile(0);
            let module = result::module::load_data(KERNEL.as_ptr().cast()).unwrap();
            let kernel = result::module::get_function(module, c"spin".to_owned()).unwrap();
            let mut address = flag as sys::CUdeviceptr;
            let mut parameters = [(&raw mut address).cast()];
            let grid = (BLOCKS * multiprocessors, 1, 1);
            result::launch_kernel(kernel, grid, (THREADS, 1, 1), 0, stream.cu_stream(), &mut parameters)
                .unwrap();
            Self { flag, context, _stream: stream }
        }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        // SAFETY: `make` has allocated it; it is freed when nobody reads it any more.
        unsafe {
            self.flag.write_volatile(1);
            self.context.bind_to_thread().unwrap();
            self.context.synchronize().unwrap();
            result::free_host(self.flag.cast()).unwrap();
        }
    }
}

/// A run that hangs on one GPU spoils no capture on another GPU for longer than its limit, and none once the
/// run was abandoned.
#[test]
#[ignore = "needs two NVIDIA GPUs"]
fn a_run_that_hangs_on_one_card_is_not_waited_for_on_another() {
    if CudaContext::device_count().unwrap() < 2 {
        eprintln!("not played: there is one card only");
        return;
    }
    let on_card = |device: i32| {
        let (element, bus) = element();
        element.set_property("device-id", device);
        element.set_property_from_str("fallback", "none");
        (element, bus)
    };
    let (hangs, bus_of_hangs) = on_card(0);
    let mut harness_of_hangs = harness(&hangs);
    (0..8).for_each(|number| assert!(harness_of_hangs.push(frame(number)).is_ok()));
    check(&mut harness_of_hangs, 0..8);
    let busy = Busy::make(0);
    (8..16).for_each(|number| assert!(harness_of_hangs.push(frame(number)).is_ok()));

    let play = |element: &gst::Element| {
        let mut harness = harness(element);
        (0..20).for_each(|number| assert!(harness.push(frame(number)).is_ok()));
        assert!(harness.push_event(gst::event::Eos::new()));
        check(&mut harness, 0..20);
        element.set_state(gst::State::Null).unwrap();
    };
    let (beside, bus_of_beside) = on_card(1);
    play(&beside);
    let (errors, warnings) = errors_and_warnings(&bus_of_beside);
    eprintln!("{warnings:#?}");
    assert_eq!((errors.len(), warnings.len()), (0, 1), "{errors:?} {warnings:?}");
    assert!(
        warnings[0].contains("without CUDA graphs") && warnings[0].contains("does not end"),
        "{warnings:?}"
    );

    hangs.set_state(gst::State::Null).unwrap();
    let (errors, _) = errors_and_warnings(&bus_of_hangs);
    eprintln!("{errors:#?}");
    assert!(errors.iter().any(|error| error.contains("hangs on cuda")), "{errors:?}");
    assert!(left_behind() > 0);
    let (after, bus_of_after) = on_card(1);
    play(&after);
    assert_eq!(errors_and_warnings(&bus_of_after), (vec![], vec![]), "captured as if nothing was");
    drop(busy);
    while left_behind() != 0 {
        std::thread::yield_now();
    }
}
