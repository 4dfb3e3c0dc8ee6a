//! The values of the element's enumerated properties, as users see them.

use gst::{glib, prelude::*};

pub use crate::common::{
    CudnnConvAlgoSearch, CudnnFuseConvBias, ExecutionProvider, Fallback, OnError, Overload, Precision,
};
use crate::{network, stage::properties::enumerations};

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, glib::Enum)]
#[enum_type(name = "GstRtmPoseBatchInferenceRegion")]
pub enum InferenceRegion {
    #[default]
    #[enum_value(
        name = "Search and track people until upstream sends a first region; then use regions, and track people \
                through frames without any",
        nick = "auto"
    )]
    Auto,
    #[enum_value(
        name = "Regions from upstream only (GstVideoRegionOfInterestMeta of a type in region-label, or GstAnalytics)",
        nick = "roi-list"
    )]
    RoiList,
    #[enum_value(name = "Search and track people only", nick = "track")]
    Track,
    #[enum_value(name = "One person, in the whole frame", nick = "full-frame")]
    FullFrame,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, glib::Enum)]
#[enum_type(name = "GstRtmPoseBatchScoreMode")]
pub enum ScoreMode {
    #[default]
    #[enum_value(name = "Minimum of the maxima of both axes, as in mmpose", nick = "min")]
    Min,
    #[enum_value(name = "Mean of the maxima of both axes, as in rtmlib", nick = "mean")]
    Mean,
}

impl From<ScoreMode> for network::ScoreMode {
    fn from(mode: ScoreMode) -> Self {
        match mode {
            ScoreMode::Min => Self::Min,
            ScoreMode::Mean => Self::Mean,
        }
    }
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, glib::Enum)]
#[enum_type(name = "GstRtmPoseBatchSmoothing")]
pub enum Smoothing {
    #[default]
    #[enum_value(name = "No smoothing", nick = "none")]
    None,
    #[enum_value(
        name = "One Euro filter: removes the jitter of key points at rest, with little lag when they move fast",
        nick = "one-euro"
    )]
    OneEuro,
}

enumerations!(InferenceRegion, ScoreMode, Smoothing);
