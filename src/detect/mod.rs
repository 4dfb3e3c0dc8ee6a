//! The element `rtmposedetect`.

mod boxes;
mod imp;
mod log;
mod settings;
#[cfg(any(debug_assertions, feature = "testing"))]
pub mod testing;

use gst::{glib, prelude::*};

use crate::common;

glib::wrapper! {
    pub struct RtmPoseDetect(ObjectSubclass<imp::RtmPoseDetect>) @extends gst::Element, gst::Object;
}

pub(crate) fn register(plugin: &gst::Plugin) -> Result<(), glib::BoolError> {
    common::init();
    gst::Element::register(Some(plugin), "rtmposedetect", gst::Rank::NONE, RtmPoseDetect::static_type())
}
