//! The pixel formats of both elements, which are sampled and drawn on without a conversion, the most usual first.

use gst::prelude::*;
use gst_video::VideoFormat::{self, *};

pub(crate) const FORMATS: [VideoFormat; 17] =
    [Nv12, I420, Rgb, Bgr, Rgbx, Bgrx, Xrgb, Xbgr, Rgba, Bgra, Argb, Abgr, Nv21, Yv12, Yuy2, Uyvy, Gray8];

/// Logs which caps an answered query of a sink pad has refused, and why: the pipeline fails upstream of the element, with a
/// message that says neither.
pub(crate) fn log_refusal(category: gst::DebugCategory, pad: &gst::Pad, query: &gst::QueryRef) {
    let offered = match query.view() {
        gst::QueryView::AcceptCaps(query) if !query.result() => query.caps_owned(),
        gst::QueryView::Caps(query) if query.result().is_some_and(|caps| caps.is_empty()) => {
            let Some(filter) = query.filter_owned().filter(|filter| !filter.is_empty()) else { return };
            filter
        }
        _ => return,
    };
    let taken = pad.pad_template_caps();
    if offered.can_intersect(&taken) {
        gst::info!(
            category,
            obj = pad,
            "Caps refused: {offered}: the elements downstream do not accept them"
        );
    } else {
        gst::info!(category, obj = pad, "Caps refused: {offered}: this element accepts {taken}");
    }
}
