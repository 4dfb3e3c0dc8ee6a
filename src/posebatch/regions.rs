//! Where people are looked for in a frame.

use super::{enums::InferenceRegion, settings::Settings};
use crate::{
    meta::{self, PersonRegion},
    pose::Region,
    video::FrameShape,
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

    /// Where to look for the people of this frame, in square pixels.
    pub fn of_frame(
        &mut self,
        buffer: &gst::BufferRef,
        shape: FrameShape,
        settings: &Settings,
    ) -> LookSource {
        match settings.inference_region {
            InferenceRegion::FullFrame => {
                let (width, height) = (shape.width as f32, shape.height as f32);
                let region = Region::new(0.0, 0.0, width, height).scaled(shape.to_square());
                LookSource::Regions(vec![PersonRegion { region, id: None, confidence: None }])
            }
            InferenceRegion::RoiList => {
                LookSource::Regions(from_upstream(buffer, shape, settings).unwrap_or_default())
            }
            InferenceRegion::Track => LookSource::Tracked { search: true },
            InferenceRegion::Auto => match from_upstream(buffer, shape, settings) {
                Some(regions) => {
                    self.detector_upstream = true;
                    LookSource::Detected(regions)
                }
                None => LookSource::Tracked { search: !self.detector_upstream },
            },
        }
    }
}

/// Where to look for the people of a frame.
#[derive(Debug, PartialEq)]
pub(super) enum LookSource {
    /// There, and nothing is known from frame to frame.
    Regions(Vec<PersonRegion>),
    /// There, because somebody upstream says so; frames without word from there are bridged.
    Detected(Vec<PersonRegion>),
    /// Where the tracker says, which may search for people or not.
    Tracked { search: bool },
}

/// The people that upstream found: those that a crop can be made of, at most `max-people`, the surest first where
/// upstream says how sure it is, in upstream's order. None: it says nothing of this frame.
fn from_upstream(
    buffer: &gst::BufferRef,
    shape: FrameShape,
    settings: &Settings,
) -> Option<Vec<PersonRegion>> {
    let mut regions = meta::person_regions(buffer, &settings.region_labels())?;
    for person in &mut regions {
        person.region = person.region.scaled(shape.to_square());
    }
    regions.retain(|person| person.region.is_usable());
    let most = settings.max_people as usize;
    if regions.len() > most {
        let confidence = |index: &usize| regions[*index].confidence.unwrap_or(0.0);
        let mut kept: Vec<_> = (0..regions.len()).collect();
        kept.sort_by(|a, b| confidence(b).total_cmp(&confidence(a)));
        kept.truncate(most);
        kept.sort_unstable();
        regions = kept.into_iter().map(|index| regions[index]).collect();
    }
    Some(regions)
}
