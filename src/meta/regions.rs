//! Regions of people that an upstream detector put on the buffer.

use gst_video::VideoRegionOfInterestMeta;

use super::person::{PersonRegion, is_called};
use crate::pose::Region;

/// The people that upstream found, in order: the GstAnalytics objects that are people (with build feature `v1_26` or newer),
/// or else every GstVideoRegionOfInterestMeta of a person; some detectors write both. A person is an object or region whose
/// type is one of `labels`, ignoring case. None: the buffer has no such region, and nothing says that there are no people
/// (objects of other kinds, an empty GstAnalyticsRelationMeta, or the mark of `rtmposedetect`).
///
/// With GstAnalytics, the id is that of the track. Of a region, it is the one that DL Streamer's trackers write (field `id`
/// of the meta's parameter `object_id`), or else the meta's own id if it is set. Without a tracker, DL Streamer's detectors
/// write a new number there for every box of every frame, beside a parameter `detection`. That is not an id but a `number`,
/// because other elements write ids there.
pub fn person_regions(buffer: &gst::BufferRef, labels: &[&str]) -> Option<Vec<PersonRegion>> {
    #[cfg(feature = "v1_26")]
    let objects = super::analytics::person_regions(buffer, labels);
    #[cfg(not(feature = "v1_26"))]
    let objects: Option<Vec<PersonRegion>> = None;
    if objects.as_ref().is_some_and(|persons| !persons.is_empty()) {
        return objects;
    }
    let regions: Vec<_> = buffer
        .iter_meta::<VideoRegionOfInterestMeta>()
        // SAFETY: the pointer is that of a meta borrowed from its buffer.
        .filter(|meta| is_called(unsafe { (*meta.as_ptr()).roi_type }, labels))
        .map(|meta| {
            let (x, y, width, height) = meta.rect();
            // The fields are unsigned: the box of a detector that extends over the left or top border wraps around.
            let region = Region::new(x as i32 as f32, y as i32 as f32, width as f32, height as f32);
            let [id, number] = numbers(&meta);
            PersonRegion { region, id, number, confidence: confidence(&meta) }
        })
        .collect();
    if regions.is_empty() && !super::was_looked_at(buffer) { objects } else { Some(regions) }
}

/// The region's id, and a number that may be one.
fn numbers(meta: &VideoRegionOfInterestMeta) -> [Option<i64>; 2] {
    let own = Some(meta.id()).filter(|id| *id > 0).map(i64::from);
    match meta.param("object_id") {
        // Trackers differ in the integer's type.
        Some(object_id) => {
            let id = object_id.value("id").ok().and_then(|id| id.transform::<i64>().ok()?.get().ok());
            [id.filter(|id| *id >= 0), None]
        }
        None if meta.param("detection").is_some() => [None, own],
        None => [own, None],
    }
}

/// As DL Streamer's detectors write it.
fn confidence(meta: &VideoRegionOfInterestMeta) -> Option<f32> {
    let confidence = meta.param("detection")?.get::<f64>("confidence").ok()? as f32;
    confidence.is_finite().then_some(confidence)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::meta::{FrameDetections, write_detections};

    #[test]
    fn people_are_read_as_they_were_written() {
        gst::init().unwrap();
        let mut buffer = gst::Buffer::new();
        let buffer = buffer.get_mut().unwrap();
        let people =
            vec![(Region::new(10.4, 20.6, 30.0, 40.0), 0.75), (Region::new(0.0, 0.0, 0.4, 0.3), 0.5)];
        write_detections(buffer, &FrameDetections { source: "detector".to_string(), people }).unwrap();
        let found = person_regions(buffer, &["person"]).unwrap();
        let regions: Vec<_> = found.iter().map(|person| person.region).collect();
        assert_eq!(regions[0], Region::new(10.0, 21.0, 30.0, 40.0));
        assert_eq!(found.iter().map(|person| person.confidence).collect::<Vec<_>>(), [Some(0.75), Some(0.5)]);
        assert!(found.iter().all(|person| person.id.is_none()));
    }

    #[test]
    fn nobody_is_said_too() {
        gst::init().unwrap();
        let mut buffer = gst::Buffer::new();
        let buffer = buffer.get_mut().unwrap();
        assert_eq!(person_regions(buffer, &["person"]), None);
        write_detections(buffer, &FrameDetections::default()).unwrap();
        assert_eq!(person_regions(buffer, &["person"]), Some(Vec::new()));
    }
}
