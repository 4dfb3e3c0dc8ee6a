#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| gst_plugin_rtmpose_fuzz::boxes::run(bytes));
