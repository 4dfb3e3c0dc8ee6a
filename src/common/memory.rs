//! Which frames are accepted: their formats, in system memory and in GPU memory.

use crate::{
    network::{Network, Provider},
    runtime::onnx,
    stage::Loaded,
    video::{
        FORMATS,
        cuda::{self, Cards},
    },
};

/// The caps of both elements' pads. Frames in GPU memory are accepted if the network runs on a GPU.
pub(crate) fn caps() -> gst::Caps {
    let mut caps = gst_video::VideoCapsBuilder::new().format_list(FORMATS).build();
    let on_a_card = gst_video::VideoCapsBuilder::new().features([cuda::FEATURE]).format_list(cuda::FORMATS);
    caps.merge(on_a_card.build());
    caps
}

/// The numbers of the NVIDIA GPUs that run the network, and of those in whose memory frames can stay; none if it runs
/// elsewhere.
pub(crate) fn cards(loaded: &Loaded<Network>, device_id: i32) -> (Vec<u32>, Cards) {
    let provider = loaded.network.provider;
    let mut numbers = loaded.engine.devices();
    if numbers.is_empty() && provider.is_nvidia() {
        numbers.extend(u32::try_from(device_id));
    }
    let opened = |number: &u32| onnx::device(i32::try_from(*number).ok()?).ok();
    let frames_can_stay = provider == Provider::Cuda;
    let cards = if frames_can_stay { numbers.iter().filter_map(opened).collect() } else { Vec::new() };
    (numbers, Cards::new(cards))
}
