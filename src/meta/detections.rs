//! What a detector found in a frame, as written by `rtmposedetect`.

use gst::meta::CustomMeta;
use gst_video::VideoRegionOfInterestMeta;

use super::MetaError;
use crate::pose::Region;

/// Name of the custom meta that marks a frame as inferred. Regions alone cannot express a frame without people.
pub(super) const NAME: &str = "RtmPoseDetectMeta";

/// The type of a person's region, and the name of the structure with the detector's confidence in it (DL Streamer's).
const PERSON: &str = "person";
const DETECTION: &str = "detection";

/// The people that a detector found in a frame.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FrameDetections {
    /// Name of the element that found them.
    pub source: String,
    /// Their boxes, in the frame's own pixels and inside the frame, with the detector's confidence, about 0 to 1.
    pub people: Vec<(Region, f32)>,
}

/// Adds the people to the buffer: a GstVideoRegionOfInterestMeta of type `person` for each, with a structure `detection`
/// that has their `confidence` (double); in builds with GstAnalytics an object for each; and a mark that the frame was
/// inferred.
pub fn write_detections(buffer: &mut gst::BufferRef, frame: &FrameDetections) -> Result<(), MetaError> {
    super::init();
    let people = u32::try_from(frame.people.len()).map_err(|_| MetaError::TooMany)?;
    let mut mark = CustomMeta::add(buffer, NAME).map_err(|_| MetaError::Refused)?;
    let fields = mark.mut_structure();
    fields.set("version", 1u32);
    fields.set("source", &frame.source);
    fields.set("people", people);
    for (region, confidence) in &frame.people {
        // Both ends are rounded, so that adjacent boxes stay adjacent.
        let [left, top, right, bottom] =
            [region.x, region.y, region.x + region.width, region.y + region.height]
                .map(|at| at.round() as u32);
        let place = (left, top, (right - left).max(1), (bottom - top).max(1));
        let mut meta = VideoRegionOfInterestMeta::add(buffer, PERSON, place);
        let detection = gst::Structure::builder(DETECTION).field("confidence", f64::from(*confidence));
        meta.add_param(detection.build());
    }
    #[cfg(feature = "v1_26")]
    super::analytics::write_objects(buffer, &frame.people).map_err(|_| MetaError::TooMany)?;
    Ok(())
}

/// Whether `rtmposedetect` has inferred the frame, whatever it found.
pub fn was_looked_at(buffer: &gst::BufferRef) -> bool {
    buffer
        .iter_meta::<gst::Meta>()
        .any(|meta| meta.try_as_custom_meta().is_some_and(|meta| meta.has_name(NAME)))
}
