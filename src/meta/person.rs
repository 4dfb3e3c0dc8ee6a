//! A person that an upstream detector found, and how such a person is recognised.

use std::ffi::CStr;

use gst::glib;

use crate::pose::Region;

/// A person that upstream found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PersonRegion {
    /// The person's box in pixels of the frame.
    pub region: Region,
    /// The number that an upstream tracker gave this person, if there is one.
    pub id: Option<i64>,
    /// A number that may be an id, or only that of the box: a region's own, beside a parameter `detection`.
    pub number: Option<i64>,
    /// The detector's confidence, if it gives one.
    pub confidence: Option<f32>,
}

/// Whether that is one of the labels, ignoring case. It takes the quark as it is in the meta, because the wrapper assumes
/// that it is UTF-8.
pub(super) fn is_called(label: glib::ffi::GQuark, labels: &[&str]) -> bool {
    // SAFETY: any number is allowed, and GLib keeps a quark's string forever.
    unsafe {
        let name = glib::ffi::g_quark_to_string(label);
        !name.is_null()
            && labels
                .iter()
                .any(|label| CStr::from_ptr(name).to_bytes().eq_ignore_ascii_case(label.as_bytes()))
    }
}
