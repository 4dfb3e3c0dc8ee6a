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
        name = "The person regions on the frame, those without any bridged by tracking; people are searched and tracked \
                as long as the stream has carried none",
        nick = "auto"
    )]
    Auto,
    #[enum_value(
        name = "The person regions (GstVideoRegionOfInterestMeta of a type in region-label) on the frame",
        nick = "roi-list"
    )]
    RoiList,
    #[enum_value(name = "People are searched and tracked", nick = "track")]
    Track,
    #[enum_value(name = "The whole frame as one person", nick = "full-frame")]
    FullFrame,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, glib::Enum)]
#[enum_type(name = "GstRtmPoseBatchScoreMode")]
pub enum ScoreMode {
    #[default]
    #[enum_value(name = "The smaller of the two axes' maxima, as in mmpose", nick = "min")]
    Min,
    #[enum_value(name = "The mean of the two axes' maxima, as in rtmlib", nick = "mean")]
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
    #[enum_value(name = "As the network finds them", nick = "none")]
    None,
    #[enum_value(
        name = "One Euro filter: points that rest lie still, fast ones are hardly held back",
        nick = "one-euro"
    )]
    OneEuro,
}

enumerations!(InferenceRegion, ScoreMode, Smoothing);
