//! Harm to a real NVIDIA GPU, and an element that goes through it.

use std::process::Command;

use cudarc::driver::{CudaContext, result};
use gst::prelude::*;

/// An `rtmposebatch` that infers whole frames of these caps on NVIDIA GPUs, with these properties; and its bus.
pub fn harness_on_cards(
    caps: gst::Caps,
    properties: &[(&str, &str)],
) -> (gst_check::Harness, gst::Element, gst::Bus) {
    let element = gst::ElementFactory::make("rtmposebatch").build().unwrap();
    let own = [("execution-provider", "cuda"), ("inference-region", "full-frame")];
    own.iter().chain(properties).for_each(|(name, value)| element.set_property_from_str(name, value));
    let bus = gst::Bus::new();
    element.set_bus(Some(&bus));
    let mut harness = gst_check::Harness::with_element(&element, Some("sink"), Some("src"));
    harness.set_live(false);
    harness.set_src_caps(caps);
    harness.play();
    (harness, element, bus)
}

/// Stops a pipeline after its first error. Otherwise its sinks would wait forever for frames that cannot come.
pub fn stop_after_an_error(pipeline: &gst::Pipeline) {
    // Otherwise the bus forgets its messages in NULL.
    pipeline.set_auto_flush_bus(false);
    let pipeline_of_bus = pipeline.downgrade();
    pipeline.bus().unwrap().set_sync_handler(move |_, message| {
        if let (gst::MessageView::Error(_), Some(pipeline)) = (message.view(), pipeline_of_bus.upgrade()) {
            pipeline.call_async(|pipeline| {
                let _ = pipeline.set_state(gst::State::Null);
            });
        }
        gst::BusSyncReply::Pass
    });
}

/// Runs the test of that name in its own process, because no other test can use the GPU after it is lost.
/// Returns whether this is that process.
pub fn is_alone(test: &str) -> bool {
    const ALONE: &str = "RTMPOSE_TEST_LOSES_THE_CARD";
    if std::env::var_os(ALONE).is_some() {
        return true;
    }
    let status = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", test, "--nocapture"])
        .env(ALONE, "1")
        .status()
        .unwrap();
    assert!(status.success(), "{status}");
    false
}

/// Writes to an invalid address. After that CUDA refuses every call of the process, as when the GPU drops out.
pub fn lose_the_card(number: usize) {
    const KERNEL: &std::ffi::CStr = c"
        .version 6.4
        .target sm_75
        .address_size 64
        .visible .entry lose() {
            .reg .b64 %address;
            .reg .b32 %value;
            mov.u64 %address, 16;
            mov.u32 %value, 1;
            st.global.u32 [%address], %value;
            ret;
        }";
    let context = CudaContext::new(number).unwrap();
    context.bind_to_thread().unwrap();
    // SAFETY: the kernel takes no parameters, and what it does harms this process alone.
    unsafe {
        let module = result::module::load_data(KERNEL.as_ptr().cast()).unwrap();
        let kernel = result::module::get_function(module, c"lose".to_owned()).unwrap();
        let stream = std::ptr::null_mut();
        result::launch_kernel(kernel, (1, 1, 1), (1, 1, 1), 0, stream, &mut []).unwrap();
    }
    let error = context.synchronize().unwrap_err();
    eprintln!("card {number} is lost: {error:?}");
}
