//! Where a crop waits for ONNX Runtime: its bytes, or its place in GPU memory, where it will be sampled.

use std::{any::Any, sync::Arc};

use crate::{
    engine::{Error, ErrorKind, Shape, Slot},
    video::cuda::{DeviceFrame, Task},
};

pub struct CropSlot {
    /// Rows of 8-bit RGB.
    bytes: Box<[u8]>,
    on_a_card: Option<CardCrop>,
}

/// A crop to be sampled on a GPU.
#[derive(Clone)]
pub struct CardCrop {
    pub frame: Arc<DeviceFrame>,
    pub task: Task,
}

impl CropSlot {
    pub(super) fn new(shape: &Shape) -> Self {
        Self { bytes: vec![0; shape.crop_bytes()].into_boxed_slice(), on_a_card: None }
    }

    /// Sets a crop to be sampled there.
    pub fn set_on_a_card(&mut self, crop: CardCrop) {
        self.on_a_card = Some(crop);
    }

    /// The slot's crop, if it is to be sampled on a GPU.
    pub(super) fn on_a_card(slot: &dyn Slot) -> Option<&CardCrop> {
        (slot as &dyn Any).downcast_ref::<Self>()?.on_a_card.as_ref()
    }
}

/// Why a crop on another GPU was not loaded.
pub(super) fn unfetched_crop(why: &str) -> Error {
    Error::new(ErrorKind::Run, format!("a frame's crop cannot be copied from its GPU: {why}"))
}

impl Slot for CropSlot {
    fn bytes(&self) -> &[u8] {
        if self.on_a_card.is_some() { &[] } else { &self.bytes }
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        self.clear();
        &mut self.bytes
    }

    fn device(&self) -> Option<u32> {
        self.on_a_card.as_ref().map(|crop| crop.frame.card())
    }

    fn clear(&mut self) {
        self.on_a_card = None;
    }
}
