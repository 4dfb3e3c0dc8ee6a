//! Element `rtmposejson`: people's key points as JSON. `lines`, `openpose` and `coco` are the formats; `output` is where the
//! texts go: `file`, or a broker (`mqtt`).

mod coco;
mod failure;
mod file;
mod frame;
mod imp;
mod lines;
mod mqtt;
mod openpose;
mod output;
mod settings;
mod utc;
mod whole_body;

use gst::glib;
use gst::prelude::*;

glib::wrapper! {
    pub struct RtmPoseJson(ObjectSubclass<imp::RtmPoseJson>) @extends gst::Element, gst::Object;
}

/// Registers the element `rtmposejson`.
pub fn register(plugin: &gst::Plugin) -> Result<(), glib::BoolError> {
    settings::mark_as_plugin_api();
    gst::Element::register(Some(plugin), "rtmposejson", gst::Rank::NONE, RtmPoseJson::static_type())
}
