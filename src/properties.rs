//! What the properties of all elements share.

use gst::{glib, prelude::*};

/// Warns that a property was set which the element reads only when it goes from READY to PAUSED. Do not call it with a lock
/// held.
pub(crate) fn warn_of_late_property(element: &impl IsA<gst::Element>, property: &glib::ParamSpec) {
    let name = property.name();
    gst::element_warning!(
        element,
        gst::LibraryError::Settings,
        ("The property {name} was set while the element runs: it takes effect at the next change from READY to PAUSED")
    );
}
