//! Element `rtmposejson`: people's key points as lines of JSON.

mod file;
mod imp;
mod line;

use gst::glib;
use gst::prelude::*;

glib::wrapper! {
    pub struct RtmPoseJson(ObjectSubclass<imp::RtmPoseJson>) @extends gst::Element, gst::Object;
}

/// Registers the element `rtmposejson`.
pub fn register(plugin: &gst::Plugin) -> Result<(), glib::BoolError> {
    gst::Element::register(Some(plugin), "rtmposejson", gst::Rank::NONE, RtmPoseJson::static_type())
}
