//! Where people are looked for in a frame.

use super::{enums::InferenceRegion, settings::Settings};
use crate::{
    meta::{self, PersonRegion},
    pose::Region,
};

/// Follows a stream, since what earlier frames carried counts.
#[derive(Default)]
pub(super) struct Regions {
    /// The stream has carried a person region: somebody upstream looks for people.
    detector_upstream: bool,
}

impl Regions {
    /// Starts anew, as at STREAM_START and after a flush.
    pub fn reset(&mut self) {
        self.detector_upstream = false;
    }

    /// The regions to look at in this frame, at most `max-people`.
    pub fn of_frame(
        &mut self,
        buffer: &gst::BufferRef,
        width: u32,
        height: u32,
        settings: &Settings,
    ) -> Vec<PersonRegion> {
        let whole_frame =
            || vec![PersonRegion { region: Region::new(0.0, 0.0, width as f32, height as f32), id: None }];
        if settings.inference_region == InferenceRegion::FullFrame {
            return whole_frame();
        }
        let found = meta::person_regions(buffer);
        self.detector_upstream |= found.is_some();
        let mut regions = match found {
            Some(regions) => regions,
            None if settings.inference_region == InferenceRegion::Auto && !self.detector_upstream => {
                whole_frame()
            }
            None => Vec::new(),
        };
        regions.retain(|person| person.region.is_usable());
        regions.truncate(settings.max_people as usize);
        regions
    }
}
