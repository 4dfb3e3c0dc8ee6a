//! Crops of a frame on their way to the network.

use crate::{
    engine::{Flushing, PendingAnswer, Stream},
    video::{Colours, Crop, Fit, FrameShape, Picture, Region, Sampler, Whole, picture},
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

    /// The mapped frame as a picture; none if its layout cannot be read.
    pub(super) fn picture<'a>(
        &self,
        frame: &'a gst_video::VideoFrameRef<&gst::BufferRef>,
    ) -> Option<Picture<'a>> {
        picture(frame, &self.info, &self.colours)
    }
}

/// Cuts crops out of a frame and hands them to the engine, one by one.
pub struct CropCutter<'a> {
    pub picture: Picture<'a>,
    pub(super) shape: FrameShape,
    pub(super) sampler: &'a mut Sampler,
    pub(super) stream: &'a Stream,
}

impl CropCutter<'_> {
    /// The crop of a region, in square pixels, on its way to the network; none where no crop can be made of the region.
    /// Waits for a free slot.
    pub fn cut(&mut self, region: &Region) -> Result<Option<(Crop, PendingAnswer)>, gst::FlowError> {
        let shape = self.stream.shape();
        let Some(crop) = Crop::new(region, shape.width, shape.height) else { return Ok(None) };
        let mut slot = self.stream.buffer().map_err(|Flushing| gst::FlowError::Flushing)?;
        self.sampler.sample(&self.picture, &crop.scaled(self.shape.to_pixels()), slot.slot_mut().bytes_mut());
        Ok(Some((crop, self.stream.submit(slot))))
    }

    /// The whole frame, fitted into the network's input, on its way to the network; none where one of them has no pixels. Waits
    /// for a free slot.
    pub fn whole(&mut self, fit: Fit) -> Result<Option<(Whole, PendingAnswer)>, gst::FlowError> {
        let size = self.stream.shape();
        let Some(whole) = Whole::new(fit, self.shape, size.width, size.height) else { return Ok(None) };
        let mut slot = self.stream.buffer().map_err(|Flushing| gst::FlowError::Flushing)?;
        self.sampler.sample_whole(&self.picture, &whole, slot.slot_mut().bytes_mut());
        Ok(Some((whole, self.stream.submit(slot))))
    }
}
