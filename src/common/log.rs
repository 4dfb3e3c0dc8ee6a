//! What both elements log in the same form, and ONNX Runtime's debug category.

use std::{sync::LazyLock, time::Duration};

use crate::{
    engine::BatchReport,
    runtime::onnx::{Log, LogLevel},
};

/// ONNX Runtime's own log.
static ORT_CAT: LazyLock<gst::DebugCategory> = LazyLock::new(|| {
    gst::DebugCategory::new("rtmpose-onnxruntime", gst::DebugColorFlags::empty(), Some("ONNX Runtime's log"))
});

/// One line for each batch, in one form, for tools that read logs.
pub(crate) fn log_batch(category: gst::DebugCategory, report: &BatchReport) {
    let ms = |duration: Duration| duration.as_secs_f64() * 1000.0;
    gst::debug!(
        category,
        "batch: size={}, padding={}, waited-ms={:.3}, run-ms={:.3}",
        report.crops,
        report.padding,
        ms(report.waited),
        ms(report.ran)
    );
}

/// ONNX Runtime logs into its own debug category, no more than its threshold asks for.
pub(super) fn onnx_runtime_log() -> Log {
    let level = match ORT_CAT.threshold() {
        gst::DebugLevel::Trace | gst::DebugLevel::Memdump => LogLevel::Verbose,
        gst::DebugLevel::Log | gst::DebugLevel::Debug => LogLevel::Info,
        gst::DebugLevel::None | gst::DebugLevel::Error => LogLevel::Error,
        _ => LogLevel::Warning,
    };
    Log { level, write: write_onnx_runtime_log }
}

fn write_onnx_runtime_log(level: LogLevel, place: &str, message: &str) {
    let level = match level {
        LogLevel::Fatal | LogLevel::Error => gst::DebugLevel::Error,
        LogLevel::Warning => gst::DebugLevel::Warning,
        LogLevel::Info => gst::DebugLevel::Debug,
        LogLevel::Verbose => gst::DebugLevel::Trace,
    };
    gst::log_with_level!(ORT_CAT, level, "{place}: {message}");
}
