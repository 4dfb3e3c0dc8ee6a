//! Element `rtmposeoverlay`: draws people's key points on the frame.

mod canvas;
mod draw;
mod imp;

use gst::glib;
use gst::prelude::*;

glib::wrapper! {
    pub struct RtmPoseOverlay(ObjectSubclass<imp::RtmPoseOverlay>)
        @extends gst_base::BaseTransform, gst::Element, gst::Object;
}

/// Registers the element `rtmposeoverlay`.
pub fn register(plugin: &gst::Plugin) -> Result<(), glib::BoolError> {
    gst::Element::register(Some(plugin), "rtmposeoverlay", gst::Rank::NONE, RtmPoseOverlay::static_type())
}
