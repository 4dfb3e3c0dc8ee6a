//! The element's object: properties and states. Its streaming side is a stage, and what it does there stands in `poses`.

use std::sync::LazyLock;

use gst::{glib, prelude::*, subclass::prelude::*};

use super::{enums::ScoreMode, poses::Poses, settings::All};
use crate::{
    common,
    network::OnlyScore,
    stage::{self, Stage, Staged},
};

/**
 * SECTION:element-rtmposebatch
 *
 * Finds people's key points with RTMPose. Collects crops of incoming frames into batches of #GstRtmPoseBatch:batch-size,
 * waits at most #GstRtmPoseBatch:batch-timeout for a batch to fill, runs the network once for the batch, and sends every
 * frame on, unchanged and in order, with its people as `RtmPoseMeta` and, where it is built for GStreamer 1.26 or newer, as
 * GstAnalytics.
 *
 * ## Example pipeline
 * |[
 * gst-launch-1.0 v4l2src ! videoconvert ! rtmposebatch ! rtmposeoverlay ! videoconvert ! autovideosink
 * ]| Draws the key points of a person before a camera.
 */
pub struct RtmPoseBatch {
    pub(super) stage: Stage<Poses>,
}

impl Staged for RtmPoseBatch {
    type Inference = Poses;

    fn stage(&self) -> &Stage<Poses> {
        &self.stage
    }
}

#[glib::object_subclass]
impl ObjectSubclass for RtmPoseBatch {
    const NAME: &'static str = "GstRtmPoseBatch";
    type Type = super::RtmPoseBatch;
    type ParentType = gst::Element;

    fn class_init(class: &mut Self::Class) {
        stage::install_set_state::<Self>(class);
    }

    fn with_class(class: &Self::Class) -> Self {
        let template = |name| class.pad_template(name).expect("the template is registered");
        let pads = stage::pads::<Self>(["sink", "src"].map(template));
        Self { stage: Stage::new(Poses::default(), pads) }
    }
}

impl ObjectImpl for RtmPoseBatch {
    fn properties() -> &'static [glib::ParamSpec] {
        static SPECIFICATIONS: LazyLock<Vec<glib::ParamSpec>> =
            LazyLock::new(|| All::specifications("rtmposebatch-stats"));
        &SPECIFICATIONS
    }

    fn constructed(&self) {
        self.parent_constructed();
        self.stage.constructed(self.obj().upcast_ref());
    }

    fn set_property(&self, _id: usize, value: &glib::Value, pspec: &glib::ParamSpec) {
        let Some(running) = common::set_property(&self.stage, value, pspec) else { return };
        if pspec.name() == "score-mode"
            && self.stage.inference.configuration.current().own.score_mode == ScoreMode::Mean
            && let Some(only) = running.network().kind.only_score()
        {
            let gives = match only {
                OnlyScore::Minimum => "it gives the minimum of both axes' maxima only",
                OnlyScore::OneMaximum => "its heat maps have one maximum each",
                OnlyScore::OwnScore => "it gives a score of each point",
            };
            gst::element_imp_warning!(
                self,
                gst::LibraryError::Settings,
                ("score-mode=mean has no effect on this model: {gives}")
            );
        }
    }

    fn property(&self, _id: usize, pspec: &glib::ParamSpec) -> glib::Value {
        common::property(&self.stage, pspec)
    }
}

impl GstObjectImpl for RtmPoseBatch {}

impl ElementImpl for RtmPoseBatch {
    fn metadata() -> Option<&'static gst::subclass::ElementMetadata> {
        static METADATA: LazyLock<gst::subclass::ElementMetadata> = LazyLock::new(|| {
            gst::subclass::ElementMetadata::new(
                "RTMPose batch",
                "Filter/Analyzer/Video",
                "Finds people's key points in batches of frames with an RTMPose ONNX network and attaches them as \
                 RtmPoseMeta",
                env!("CARGO_PKG_AUTHORS"),
            )
        });
        Some(&METADATA)
    }

    fn pad_templates() -> &'static [gst::PadTemplate] {
        static TEMPLATES: LazyLock<[gst::PadTemplate; 2]> =
            LazyLock::new(|| stage::pad_templates(&common::caps()));
        &*TEMPLATES
    }

    fn change_state(
        &self,
        transition: gst::StateChange,
    ) -> Result<gst::StateChangeSuccess, gst::StateChangeError> {
        common::before_change(&self.stage, transition)?;
        let success = self.parent_change_state(transition)?;
        self.stage.after_change(transition);
        Ok(success)
    }
}
