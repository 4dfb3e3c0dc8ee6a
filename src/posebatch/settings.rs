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
    /// Values of the properties that are only this element's.
    #[derive(Debug, Clone)]
    pub(crate) struct Settings {
        #[shared]
        model_file: Option<String> = None,
            "Model file",
            "Pose network as ONNX file: RTMPose, RTMW, DWPose, RTMW3D or RTMO as mmdeploy exports them, ViTPose; not set: the RTMPose-t embedded in \
             the plugin, for research and evaluation";
        skeleton: Option<String> = None,
            "Skeleton",
            "The key points' set where their number does not tell it: coco-17, halpe-26, coco-wholebody-133, \
             hand-21, face-106, ap10k-17, or the path of a TOML file (with a / in it, or ending in .toml)";
        #[shared]
        batch_size: u32 = 8,
            "Batch size",
            "Crops in one run of the network. 0 = automatic: 8; on a GPU 6 if it has less than 6 GiB of memory, \
             16 if 16 GiB are free (`stats` tells which)",
            .maximum(64);
        inference_scale: f64 = 1.0,
            "Inference scale",
            "Resolution at which crops are sampled, as a share of the frame's. The network's input has a fixed \
             size: below 1 nothing gets faster and small people lose detail",
            .minimum(0.1),
            .maximum(1.0);
        inference_region: InferenceRegion = InferenceRegion::default(),
            "Inference region",
            "Where people are looked for",
            .mutable_playing();
        max_people: u32 = track().max_people as u32,
            "Most people",
            "Most people of a frame that are inferred. If upstream gives more regions, those of the highest \
             confidence are kept, or the first ones where none has a confidence",
            .minimum(1),
            .mutable_playing();
        region_label: String = "person".to_string(),
            "Region label",
            "Types of the regions (GstVideoRegionOfInterestMeta) that are people, in any case, separated by \
             commas: person, or a detector's number of the class",
            .mutable_playing();
        track_lookahead: u32 = 0,
            "Tracking lookahead",
            "Frames that are with the network at once when people are tracked in a stream that is not live: the \
             boxes of a frame come from exactly so many frames before it. More fills batches, fewer follows fast \
             people better; 0 = as many as fill the batches: batch-size for each inference stream with one \
             person, fewer with more",
            .maximum(1024);
        track_lifetime: u64 = 1_000_000_000,
            "Tracking life time",
            "Nanoseconds (1000000000 = 1 s) for which somebody who is not found any more is looked for, and keeps the id",
            .mutable_playing();
        search_interval: u64 = track().search.interval.as_nanos() as u64,
            "Search interval",
            "Nanoseconds in which search-crops more boxes are looked at for people who are not tracked yet; 0 = \
             search-crops in every frame",
            .mutable_playing();
        search_crops: u32 = track().search.crops as u32,
            "Search crops",
            "Boxes that a search looks at in each search-interval on average, and in one frame at most; a file's first \
             frame, its new scenes and pictures are looked at all over at once; 0 = nobody is searched",
            .maximum(1024),
            .mutable_playing();
        smoothing: Smoothing = Smoothing::default(),
            "Smoothing",
            "How key points of a person are smoothed in time",
            .mutable_playing();
        smoothing_min_cutoff: f64 = OneEuro::default().min_cutoff,
            "Smoothing's least cutoff",
            "Cutoff frequency in hertz of a key point that rests, with smoothing=one-euro: lower trembles less",
            .minimum(0.001),
            .maximum(1000.0),
            .mutable_playing();
        smoothing_beta: f64 = OneEuro::default().beta,
            "Smoothing's beta",
            "By how much the cutoff frequency rises with a key point's speed, with smoothing=one-euro: hertz for each \
             pixel a second. Higher lags behind less",
            .minimum(0.0),
            .maximum(1000.0),
            .mutable_playing();
        score_mode: ScoreMode = ScoreMode::default(),
            "Score mode",
            "How a key point's score is made of the maxima of its x and y axis",
            .mutable_playing();
        inference_interval: u32 = 0,
            "Inference interval",
            "Infer only every n-th frame; the frames between carry its people on, marked as carried; 0 and 1 = \
             every frame",
            .mutable_playing();
        stats_interval: u64 = 0,
            "Statistics interval",
            "Nanoseconds between two element messages rtmposebatch-stats; 0 = none",
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
