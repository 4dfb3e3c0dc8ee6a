//! The element `rtmposebatch`.

mod decode;
mod enums;
mod follow;
mod imp;
mod log;
mod one_stage;
mod opening;
mod poses;
mod regions;
mod settings;
#[cfg(any(debug_assertions, feature = "testing"))]
pub mod testing;
mod timeline;

use gst::{glib, prelude::*};

use crate::common;

pub use enums::*;

glib::wrapper! {
    pub struct RtmPoseBatch(ObjectSubclass<imp::RtmPoseBatch>) @extends gst::Element, gst::Object;
}

pub(crate) fn register(plugin: &gst::Plugin) -> Result<(), glib::BoolError> {
    common::init();
    enums::mark_as_plugin_api();
    gst::Element::register(Some(plugin), "rtmposebatch", gst::Rank::NONE, RtmPoseBatch::static_type())
}
