//! The element's properties.

use std::time::Duration;

use super::enums::*;
use crate::{
    common::Properties,
    pose::OneEuro,
    stage::properties::settings,
    track::{self, Budget},
};

/// Values of all writable properties.
pub(super) type All = Properties<Settings>;

settings! {
    /// Values of the properties that only this element has.
    #[derive(Debug, Clone)]
    pub(crate) struct Settings {
        #[shared]
        model_file: Option<String> = None,
            "Model file",
            "ONNX file of a pose model: RTMPose, RTMW, DWPose, RTMW3D or RTMO as mmdeploy exports them, or ViTPose. Not set \
             = the RTMPose-t inside the plugin, for research and evaluation only";
        skeleton: Option<String> = None,
            "Skeleton",
            "Skeleton of the model, if the number of key points does not identify it: coco-17, halpe-26, coco-wholebody-133, \
             hand-21, face-106, ap10k-17, or the path of a TOML file (contains a / or ends in .toml)";
        #[shared]
        batch_size: u32 = 8,
            "Batch size",
            "Crops in one run of the model, 0 to 64. 0 = automatic: 8; on a GPU 6 if it has less than 6 GiB of memory, or 16 \
             if 16 GiB are free (stats has the number in use)",
            .maximum(64);
        inference_scale: f64 = 1.0,
            "Inference scale",
            "Sample crops as coarsely as from a frame resized by this factor. Leave it at 1: the model's input has a fixed \
             size, so lower values are not faster, and small people lose detail",
            .minimum(0.1),
            .maximum(1.0);
        inference_region: InferenceRegion = InferenceRegion::default(),
            "Inference region",
            "Where to look for people",
            .mutable_playing();
        max_people: u32 = track().max_people as u32,
            "Maximum people",
            "Most people per frame. If upstream sends more regions, those with the highest confidence are used, else the \
             first ones",
            .minimum(1),
            .mutable_playing();
        region_label: String = "person".to_string(),
            "Region label",
            "Types of regions (GstVideoRegionOfInterestMeta) that are people, separated by commas, such as person or a \
             detector's class number; upper and lower case are the same",
            .mutable_playing();
        track_lookahead: u32 = 0,
            "Tracking lookahead",
            "Frames in flight at once while people are tracked in a stream that is not live: a frame's boxes come from the \
             frame that many frames earlier. More frames fill the batches better, fewer track fast people better. 0 = as \
             many as fill the batches",
            .maximum(1024);
        track_lifetime: u64 = 1_000_000_000,
            "Tracking lifetime",
            "Nanoseconds (1000000000 = 1 s) for which a lost person, or one missing from upstream's regions, is searched for \
             and keeps the id",
            .mutable_playing();
        search_interval: u64 = track().search.interval.as_nanos() as u64,
            "Search interval",
            "Nanoseconds (1000000000 = 1 s) in which search-crops boxes are searched for people who are not tracked yet, on \
             average; 0 = search-crops boxes in every frame",
            .mutable_playing();
        search_crops: u32 = track().search.crops as u32,
            "Search crops",
            "Boxes searched in each search-interval on average, and at most in one frame. The first frame of a file, and \
             still pictures, are searched completely at once. 0 = no search",
            .maximum(1024),
            .mutable_playing();
        smoothing: Smoothing = Smoothing::default(),
            "Smoothing",
            "Filter that removes the jitter of key points. It needs ids, or a single person in the frame",
            .mutable_playing();
        /// Since: 0.2.0
        smoothing_min_cutoff: f64 = OneEuro::default().min_cutoff,
            "Smoothing minimum cutoff",
            "Cutoff frequency of a key point at rest, in hertz (smoothing=one-euro); a lower value removes more jitter",
            .minimum(0.001),
            .maximum(1000.0),
            .mutable_playing();
        /// Since: 0.2.0
        smoothing_beta: f64 = OneEuro::default().beta,
            "Smoothing beta",
            "Rise of the cutoff frequency, in hertz for each pixel per second of a key point's speed (smoothing=one-euro); a \
             higher value reduces lag",
            .minimum(0.0),
            .maximum(1000.0),
            .mutable_playing();
        score_mode: ScoreMode = ScoreMode::default(),
            "Score mode",
            "How a key point's score is computed from its maxima on the x and y axes",
            .mutable_playing();
        inference_interval: u32 = 0,
            "Inference interval",
            "Infer only every n-th frame; the frames between carry its people, marked as carried; 0 and 1 = every frame",
            .mutable_playing();
        stats_interval: u64 = 0,
            "Statistics interval",
            "Nanoseconds between two element messages rtmposebatch-stats; 0 = no messages",
            .mutable_playing();
    }
}

impl Settings {
    /// The types of regions that are people.
    pub fn region_labels(&self) -> Vec<&str> {
        self.region_label.split(',').map(str::trim).filter(|label| !label.is_empty()).collect()
    }

    pub fn one_euro(&self) -> OneEuro {
        OneEuro { min_cutoff: self.smoothing_min_cutoff, beta: self.smoothing_beta }
    }

    pub fn tracking(&self) -> track::Settings {
        let search = Budget {
            crops: self.search_crops as usize,
            interval: Duration::from_nanos(self.search_interval),
        };
        track::Settings { max_people: self.max_people as usize, search }
    }
}

/// The tracker's own defaults.
fn track() -> track::Settings {
    track::Settings::default()
}
