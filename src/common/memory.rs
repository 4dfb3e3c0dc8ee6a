//! What frames may be: their formats, in system memory and on a card.

use std::sync::Arc;

use crate::{
    network::Provider,
    runtime::onnx,
    video::{
        FORMATS,
        cuda::{self, Device},
    },
};

/// The caps of both elements' pads. Those of frames on a card hold where the network runs on one.
pub(crate) fn caps() -> gst::Caps {
    let mut caps = gst_video::VideoCapsBuilder::new().format_list(FORMATS).build();
    let on_a_card = gst_video::VideoCapsBuilder::new().features([cuda::FEATURE]).format_list(cuda::FORMATS);
    caps.merge(on_a_card.build());
    caps
}

/// The card on which frames can stay, for a network that runs there.
pub(crate) fn card(provider: &Provider, device_id: i32) -> Option<Arc<Device>> {
    (*provider == Provider::Cuda).then(|| onnx::device(device_id).ok()).flatten()
}
