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

/// The number of the NVIDIA card that the network runs on, and that card where frames can stay on it; none where it runs
/// elsewhere.
pub(crate) fn cards(provider: Provider, device_id: i32) -> (Option<u32>, Option<Arc<Device>>) {
    let number = provider.is_nvidia().then(|| u32::try_from(device_id).ok()).flatten();
    let card = (provider == Provider::Cuda).then(|| onnx::device(device_id).ok()).flatten();
    (number, card)
}
