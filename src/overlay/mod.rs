//! Element `rtmposeoverlay`: draws people's key points on the frame, and hides faces or people (`redact`).

mod canvas;
mod draw;
mod imp;
mod redact;

use gst::glib;
use gst::prelude::*;

glib::wrapper! {
    pub struct RtmPoseOverlay(ObjectSubclass<imp::RtmPoseOverlay>)
        @extends gst_base::BaseTransform, gst::Element, gst::Object;
}

/// Registers the element `rtmposeoverlay`.
pub fn register(plugin: &gst::Plugin) -> Result<(), glib::BoolError> {
    imp::Redact::static_type().mark_as_plugin_api(gst::PluginAPIFlags::empty());
    gst::Element::register(Some(plugin), "rtmposeoverlay", gst::Rank::NONE, RtmPoseOverlay::static_type())
}
