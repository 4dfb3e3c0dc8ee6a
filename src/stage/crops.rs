//! Crops of a frame on their way to the network.

use std::{any::Any, convert::Infallible, sync::Arc};

use gst_video::prelude::*;

use super::queue::Work;
use crate::{
    engine::{Flushing, PendingAnswer, Slot, Stream},
    runtime::onnx::{CardCrop, CropSlot},
    video::{
        Colours, Crop, Fit, FrameShape, Pixels, Region, Sampler, Whole,
        cuda::{self, DeviceFrame, Task},
        misfit, picture,
    },
};

/// What frames are, by their caps.
pub struct Video {
    pub info: gst_video::VideoInfo,
    colours: Colours,
}

impl Video {
    pub(super) fn new(info: gst_video::VideoInfo) -> Self {
        Self { colours: Colours::of(&info), info }
    }

    pub fn shape(&self) -> FrameShape {
        FrameShape::from(&self.info)
    }

    /// Maps a frame in the memory where it is; on a GPU only if crops can be sampled there. The error completes a sentence
    /// that begins with 'A frame of '.
    pub(super) fn map<'a>(
        &self,
        buffer: &'a gst::BufferRef,
        cards: &cuda::Cards,
        stream: &Stream,
    ) -> Result<Mapped<'a>, String> {
        if cuda::is_on_a_card(buffer) {
            let is_lost = |number| stream.has_lost(number);
            let frame = DeviceFrame::map(cards, &is_lost, buffer, &self.info, &self.colours)?;
            return Ok(Mapped::Card(Arc::new(frame)));
        }
        let mapped = gst_video::VideoFrameRef::from_buffer_ref_readable(buffer, &self.info);
        mapped.map(Mapped::Host).map_err(|_| misfit(buffer, &self.info))
    }

    /// The pixels of a mapped frame.
    pub(super) fn pixels<'a>(&self, mapped: &'a Mapped<'_>) -> Result<Pixels<'a>, String> {
        match mapped {
            Mapped::Host(frame) => picture(frame, &self.info, &self.colours)
                .map(Pixels::Host)
                .ok_or_else(|| misfit(frame.buffer(), &self.info)),
            Mapped::Card(frame) => Ok(Pixels::Card(frame.clone())),
        }
    }
}

/// A frame that is mapped in the memory where it is.
#[expect(clippy::large_enum_variant, reason = "it lives on the stack, one for each frame")]
pub(super) enum Mapped<'a> {
    Host(gst_video::VideoFrameRef<&'a gst::BufferRef>),
    Card(Arc<DeviceFrame>),
}

impl Mapped<'_> {
    /// Whether the frame had to be copied from another CUDA context.
    pub fn is_copy(&self) -> bool {
        matches!(self, Self::Card(frame) if frame.is_copy())
    }
}

/// Samples crops from a frame and passes them to the engine, one by one.
pub struct CropCutter<'a> {
    pub pixels: Pixels<'a>,
    pub(super) shape: FrameShape,
    pub(super) sampler: &'a mut Sampler,
    pub(super) stream: &'a Stream,
}

impl CropCutter<'_> {
    /// Samples the crop of a region, in square pixels, and submits it; none if no crop can be made of the region. Waits for
    /// a free slot.
    pub fn cut(&mut self, region: &Region) -> Result<Option<(Crop, PendingAnswer)>, gst::FlowError> {
        let shape = self.stream.shape();
        let Some(crop) = Crop::new(region, shape.width, shape.height) else { return Ok(None) };
        let mut slot = self.stream.buffer().map_err(|Flushing| gst::FlowError::Flushing)?;
        let in_pixels = crop.scaled(self.shape.to_pixels());
        match &self.pixels {
            Pixels::Host(picture) => self.sampler.sample(picture, &in_pixels, slot.slot_mut().bytes_mut()),
            Pixels::Card(frame) => {
                let network = [shape.width as i32, shape.height as i32];
                let task = frame.crop(&in_pixels, network, self.sampler.inference_scale());
                on_a_card(slot.slot_mut(), frame, task)?;
            }
        }
        Ok(Some((crop, self.stream.submit(slot))))
    }

    /// Fits the whole frame into the network's input, and submits it. Waits for a free slot.
    pub fn whole(&mut self, fit: Fit) -> Result<WholeFrame, gst::FlowError> {
        let size = self.stream.shape();
        let Some(whole) = Whole::new(fit, self.shape, size.width, size.height) else {
            return Ok(WholeFrame(None));
        };
        let mut slot = self.stream.buffer().map_err(|Flushing| gst::FlowError::Flushing)?;
        match &self.pixels {
            Pixels::Host(picture) => self.sampler.sample_whole(picture, &whole, slot.slot_mut().bytes_mut()),
            Pixels::Card(frame) => {
                let task = frame.whole(&whole, [size.width as i32, size.height as i32]);
                on_a_card(slot.slot_mut(), frame, task)?;
            }
        }
        Ok(WholeFrame(Some((whole, self.stream.submit(slot)))))
    }
}

/// A frame that is inferred as a whole; none if it, or the network's input, has no pixels.
pub struct WholeFrame(Option<(Whole, PendingAnswer)>);

impl WholeFrame {
    /// The row that answers it, and the place of the frame in the input; none if there was nothing to infer. The error is
    /// the reason why there is no answer.
    pub fn answer(&self) -> Result<Option<(&[f32], &Whole)>, String> {
        self.0.as_ref().map(|(whole, pending)| Ok((pending.row()?, whole))).transpose()
    }
}

impl Work for WholeFrame {
    type Step = Infallible;

    fn crops(&self) -> usize {
        self.0.iter().count()
    }

    fn is_waiting(&self) -> bool {
        self.0.as_ref().is_some_and(|(_, pending)| pending.is_waiting())
    }

    fn is_done(&self) -> bool {
        self.0.as_ref().is_none_or(|(_, pending)| pending.is_done())
    }

    fn step(&self) -> Option<Infallible> {
        None
    }
}

/// Writes into the slot what to sample on a GPU.
fn on_a_card(slot: &mut dyn Slot, frame: &Arc<DeviceFrame>, task: Task) -> Result<(), gst::FlowError> {
    // If the slots are of another kind, frames in CUDA memory are not accepted.
    let slot = (slot as &mut dyn Any).downcast_mut::<CropSlot>().ok_or(gst::FlowError::NotSupported)?;
    slot.set_on_a_card(CardCrop { frame: frame.clone(), task });
    Ok(())
}
