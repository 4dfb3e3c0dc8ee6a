//! Crops of a frame on their way to the network.

use crate::{
    engine::{Flushing, Stream, Ticket},
    pose::Region,
    track::Look,
    video::{Colours, Crop, Picture, Sampler},
};

/// What frames are, by their caps.
pub(super) struct Video {
    pub info: gst_video::VideoInfo,
    pub colours: Colours,
}

/// A look with its crop on the way to the network.
pub(super) type Taken = (Look, Crop, Ticket);

/// Takes crops of a frame and hands them to the engine, one by one.
pub(super) struct Camera<'a> {
    pub picture: Picture<'a>,
    /// From square pixels to the picture's own.
    pub to_pixels: [f32; 2],
    pub sampler: &'a mut Sampler,
    pub stream: &'a Stream,
}

impl Camera<'_> {
    /// What is wanted, each with its region's crop on the way to the network, but for that of whose region no crop can be
    /// made.
    pub fn take<T>(
        &mut self,
        wanted: Vec<T>,
        region: impl Fn(&T) -> &Region,
    ) -> Result<Vec<(T, Crop, Ticket)>, gst::FlowError> {
        let shape = self.stream.shape();
        let mut taken = Vec::with_capacity(wanted.len());
        for one in wanted {
            let Some(crop) = Crop::new(region(&one), shape.width, shape.height) else { continue };
            let mut slot = self.stream.buffer().map_err(|Flushing| gst::FlowError::Flushing)?;
            self.sampler.sample(&self.picture, &crop.scaled(self.to_pixels), slot.slot_mut().bytes_mut());
            taken.push((one, crop, self.stream.submit(slot)));
        }
        Ok(taken)
    }
}
