//! The element's properties, but for those that it has in common with `rtmposebatch`.

use crate::{
    common::Properties,
    engine::{Error, ErrorKind},
    network::{Classes, Thresholds},
    stage::properties::settings,
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
            "Detector as ONNX file: YOLOX as OpenMMLab or its authors export it, RTMDet, or RF-DETR";
        #[shared]
        batch_size: u32 = 4,
            "Batch size",
            "Frames in one run of the network. 0 = automatic: 8; on a GPU 6 if it has less than 6 GiB of memory, \
             16 if 16 GiB are free (`stats` tells which). A file for one frame runs 1",
            .maximum(64);
        score_threshold: f64 = 0.3,
            "Score threshold",
            "Boxes of a higher score are people",
            .minimum(0.0),
            .maximum(1.0),
            .mutable_playing();
        nms_threshold: f64 = 0.45,
            "Suppression threshold",
            "Of two boxes that share more than this (intersection over union) only the surer one is taken, with networks \
             whose file does not suppress boxes itself (YOLOX as its authors export it)",
            .minimum(0.0),
            .maximum(1.0),
            .mutable_playing();
        max_detections: u32 = 100,
            "Most detections",
            "Boxes of a frame, those of the highest scores",
            .minimum(1),
            .maximum(1000),
            .mutable_playing();
        #[shared]
        class_ids: String = "0".to_string(),
            "Class numbers",
            "The network's classes that are taken for people, separated by commas; 0 is a person in all published networks";
        inference_interval: u32 = 0,
            "Inference interval",
            "Look only at every n-th frame; the frames between carry nothing, and rtmposebatch follows the people \
             through them; 0 and 1 = every frame",
            .mutable_playing();
        stats_interval: u64 = 0,
            "Statistics interval",
            "Nanoseconds between two element messages rtmposedetect-stats; 0 = none",
            .mutable_playing();
    }
}

impl Settings {
    pub fn thresholds(&self) -> Thresholds {
        Thresholds {
            score: self.score_threshold as f32,
            overlap: self.nms_threshold as f32,
            most: self.max_detections as usize,
        }
    }

    pub fn classes(&self) -> Result<Classes, Error> {
        Classes::read(&self.class_ids).map_err(|wrong| {
            let text = format!(
                "The property class-ids has \"{wrong}\" where the number of a class belongs: set it to numbers from 0 to 511, \
                 separated by commas"
            );
            Error::new(ErrorKind::Settings, text)
        })
    }
}
