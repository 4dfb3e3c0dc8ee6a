//! The element's debug category.

use std::sync::LazyLock;

use crate::{common, engine::BatchReport};

pub(super) static CAT: LazyLock<gst::DebugCategory> = LazyLock::new(|| {
    gst::DebugCategory::new(
        "rtmposedetect",
        gst::DebugColorFlags::empty(),
        Some("Detection of people in batches"),
    )
});

pub(super) fn log_batch(report: &BatchReport) {
    common::log_batch(*CAT, report);
}
