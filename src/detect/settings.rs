//! The element's properties, except those that it shares with `rtmposebatch`.

use crate::{
    common::Properties,
    engine::{Error, ErrorKind},
    network::{Classes, Thresholds},
    stage::properties::settings,
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
            "ONNX file of a detector: YOLOX as OpenMMLab or its authors export it, RTMDet, or RF-DETR; required, unless \
             inference-server is set";
        #[shared]
        batch_size: u32 = 4,
            "Batch size",
            "Frames in one run of the model, 0 to 64. 0 = automatic: 8; on a GPU 6 if it has less than 6 GiB of memory, or \
             16 if 16 GiB are free (stats has the number in use). Model files that accept one frame run one",
            .maximum(64);
        score_threshold: f64 = 0.3,
            "Score threshold",
            "Boxes with a higher score are people",
            .minimum(0.0),
            .maximum(1.0),
            .mutable_playing();
        nms_threshold: f64 = 0.45,
            "Suppression threshold",
            "Of two boxes that overlap more than this (intersection over union), only the one with the higher score is kept. \
             No effect if the model file suppresses boxes itself, or needs no suppression (RF-DETR)",
            .minimum(0.0),
            .maximum(1.0),
            .mutable_playing();
        max_detections: u32 = 100,
            "Maximum detections",
            "Most boxes per frame; those with the highest scores are kept",
            .minimum(1),
            .maximum(1000),
            .mutable_playing();
        #[shared]
        class_ids: String = "0".to_string(),
            "Class numbers",
            "Classes of the model that are people, separated by commas; 0 is a person in all published models";
        inference_interval: u32 = 0,
            "Inference interval",
            "Infer only every n-th frame; the frames between carry nothing, and rtmposebatch tracks the people through them; \
             0 and 1 = every frame",
            .mutable_playing();
        stats_interval: u64 = 0,
            "Statistics interval",
            "Nanoseconds between two element messages rtmposedetect-stats; 0 = no messages",
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
                "The property class-ids contains \"{wrong}\", which is not a class number: set it to numbers from 0 \
                 to 511, separated by commas"
            );
            Error::new(ErrorKind::Settings, text)
        })
    }
}
