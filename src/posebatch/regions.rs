//! Where people are looked for in a frame.

use std::collections::{BTreeMap, BTreeSet};

use super::{enums::InferenceRegion, settings::Settings};
use crate::{
    meta::{self, PersonRegion},
    pose::Region,
    video::FrameShape,
};

/// State of a stream, because earlier frames matter.
#[derive(Default)]
pub(super) struct Regions {
    /// The stream has carried a region with a person: an upstream element looks for people.
    detector_upstream: bool,
    numbers: Numbers,
}

/// Numbers of boxes, which are ids if they come again.
#[derive(Default)]
struct Numbers {
    /// In the last frame with any: each number with its box.
    last: BTreeMap<i64, Region>,
    are_ids: bool,
}

impl Numbers {
    /// Uses the regions' numbers as ids, if they are ids: once a number has come again on the same thing, and each number in
    /// a frame is unique.
    fn resolve(&mut self, regions: &mut [PersonRegion]) {
        let numbered = regions.iter().filter_map(|person| Some((person.number?, person.region)));
        let now: BTreeMap<_, _> = numbered.collect();
        if now.is_empty() {
            return;
        }
        let on_the_same = |(number, region): (&i64, &Region)| {
            self.last.get(number).is_some_and(|before| overlaps(before, region))
        };
        self.are_ids |= now.iter().any(on_the_same);
        let several = regions.iter().filter(|person| person.number.is_some()).count();
        if self.are_ids && now.len() == several {
            let taken: BTreeSet<_> = regions.iter().filter_map(|person| person.id).collect();
            for person in regions.iter_mut().filter(|person| person.id.is_none()) {
                person.id = person.number.filter(|number| !taken.contains(number));
            }
        }
        self.last = now;
    }
}

fn overlaps(a: &Region, b: &Region) -> bool {
    a.x < b.x + b.width && b.x < a.x + a.width && a.y < b.y + b.height && b.y < a.y + a.height
}

impl Regions {
    /// Starts again, as at STREAM_START and after a flush.
    pub fn reset(&mut self) {
        *self = Self::default();
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
                LookSource::Regions(vec![PersonRegion { region, id: None, number: None, confidence: None }])
            }
            InferenceRegion::RoiList => {
                LookSource::Regions(self.of_upstream(buffer, shape, settings).unwrap_or_default())
            }
            InferenceRegion::Track => LookSource::Tracked { search: true },
            InferenceRegion::Auto => match self.of_upstream(buffer, shape, settings) {
                Some(regions) => {
                    self.detector_upstream = true;
                    LookSource::Detected(regions)
                }
                None => LookSource::Tracked { search: !self.detector_upstream },
            },
        }
    }

    /// The people that upstream found: those of whom a crop can be made, at most `max-people`, those with the highest
    /// confidence if upstream gives one, in upstream's order. None: upstream says nothing about this frame.
    fn of_upstream(
        &mut self,
        buffer: &gst::BufferRef,
        shape: FrameShape,
        settings: &Settings,
    ) -> Option<Vec<PersonRegion>> {
        let mut regions = meta::person_regions(buffer, &settings.region_labels())?;
        for person in &mut regions {
            person.region = person.region.scaled(shape.to_square());
        }
        self.numbers.resolve(&mut regions);
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
}

/// Where to look for the people of a frame.
#[derive(Debug, PartialEq)]
pub(super) enum LookSource {
    /// At these places; nothing is known from frame to frame.
    Regions(Vec<PersonRegion>),
    /// At these places, because upstream says so; frames without regions are tracked.
    Detected(Vec<PersonRegion>),
    /// Where the tracker says; it may search for people or not.
    Tracked { search: bool },
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The ids of a frame's regions with these numbers, each box at this distance from the left.
    fn ids(numbers: &mut Numbers, frame: &[(i64, f32)]) -> Vec<Option<i64>> {
        let region = |(number, x): &(i64, f32)| PersonRegion {
            region: Region::new(*x, 0.0, 50.0, 100.0),
            id: None,
            number: Some(*number),
            confidence: None,
        };
        let mut regions: Vec<_> = frame.iter().map(region).collect();
        numbers.resolve(&mut regions);
        regions.iter().map(|person| person.id).collect()
    }

    #[test]
    fn a_number_that_comes_again_is_an_id() {
        let mut numbers = Numbers::default();
        assert_eq!(ids(&mut numbers, &[(7, 0.0), (9, 300.0)]), [None, None], "not known yet");
        assert_eq!(ids(&mut numbers, &[(9, 310.0), (7, 8.0)]), [Some(9), Some(7)]);
        // No people for a while, then a new one.
        assert!(ids(&mut numbers, &[]).is_empty());
        assert_eq!(ids(&mut numbers, &[(11, 100.0)]), [Some(11)]);
    }

    #[test]
    fn a_box_number_is_no_id() {
        // A new number for each box, as from DL Streamer's detectors; the same number for all; the place in an unordered
        // list.
        for frames in [[[1, 2], [3, 4], [5, 6]], [[1, 1], [1, 1], [1, 1]], [[1, 2], [2, 1], [1, 2]]] {
            let mut numbers = Numbers::default();
            for frame in frames {
                let found = ids(&mut numbers, &[(frame[0], 0.0), (frame[1], 300.0)]);
                assert_eq!(found, [None, None], "{frames:?}");
            }
        }
    }
}
