//! The element's object: properties and states. Its streaming side is a stage; `poses` is what it adds to that.

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
 * @see_also: rtmposedetect, rtmposeoverlay, rtmposejson
 *
 * Finds people's key points with RTMPose. The element collects crops of incoming frames into batches of
 * #GstRtmPoseBatch:batch-size, waits at most #GstRtmPoseBatch:batch-timeout for a batch to fill, and runs the model once for
 * the batch. Every frame leaves unchanged and in order, with its people as `RtmPoseMeta` and, in builds for GStreamer 1.26 or
 * newer, also as GstAnalytics.
 *
 * The element finds and tracks people by itself, or uses the regions of a detector upstream
 * (#GstRtmPoseBatch:inference-region). Elements with the same #GstRtmPoseBatch:model-instance-id share one model.
 *
 * ## Example pipeline
 * |[
 * gst-launch-1.0 v4l2src ! videoconvert ! rtmposebatch ! rtmposeoverlay ! videoconvert ! autovideosink
 * ]| Draws the key points of a person in front of a camera.
 *
 * Since: 0.1.0
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
                OnlyScore::Minimum => "it returns only the minimum of both axes' maxima",
                OnlyScore::OneMaximum => "each of its heat maps has only one maximum",
                OnlyScore::OwnScore => "it returns a score for each point",
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
                "Finds people's key points with RTMPose, in batches of crops, and attaches them to the frames as RtmPoseMeta",
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
