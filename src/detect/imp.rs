//! The element's object: properties and states. Its streaming side is a stage; `boxes` is what it adds to that.

use std::sync::LazyLock;

use gst::{glib, prelude::*, subclass::prelude::*};

use super::{boxes::Detections, settings::All};
use crate::{
    common,
    stage::{self, Stage, Staged},
};

/**
 * SECTION:element-rtmposedetect
 * @see_also: rtmposebatch
 *
 * Finds people with a detector, upstream of #GstRtmPoseBatch. The element collects whole frames into batches of
 * #GstRtmPoseDetect:batch-size, waits at most #GstRtmPoseDetect:batch-timeout for a batch to fill, and runs the model once for
 * the batch. Every frame leaves unchanged and in order, with a `GstVideoRegionOfInterestMeta` of type `person` for each person
 * and, in builds for GStreamer 1.26 or newer, also a GstAnalytics object.
 *
 * ## Example pipeline
 * |[
 * gst-launch-1.0 v4l2src ! videoconvert ! rtmposedetect model-file=yolox_tiny.onnx inference-interval=3 ! rtmposebatch ! rtmposeoverlay ! videoconvert ! autovideosink
 * ]| Draws the key points of all people in front of a camera. The detector runs on every third frame.
 *
 * Since: 0.2.0
 */
pub struct RtmPoseDetect {
    pub(super) stage: Stage<Detections>,
}

impl Staged for RtmPoseDetect {
    type Inference = Detections;

    fn stage(&self) -> &Stage<Detections> {
        &self.stage
    }
}

#[glib::object_subclass]
impl ObjectSubclass for RtmPoseDetect {
    const NAME: &'static str = "GstRtmPoseDetect";
    type Type = super::RtmPoseDetect;
    type ParentType = gst::Element;

    fn class_init(class: &mut Self::Class) {
        stage::install_set_state::<Self>(class);
    }

    fn with_class(class: &Self::Class) -> Self {
        let template = |name| class.pad_template(name).expect("the template is registered");
        let pads = stage::pads::<Self>(["sink", "src"].map(template));
        Self { stage: Stage::new(Detections::default(), pads) }
    }
}

impl ObjectImpl for RtmPoseDetect {
    fn properties() -> &'static [glib::ParamSpec] {
        static SPECIFICATIONS: LazyLock<Vec<glib::ParamSpec>> =
            LazyLock::new(|| All::specifications("rtmposedetect-stats"));
        &SPECIFICATIONS
    }

    fn constructed(&self) {
        self.parent_constructed();
        self.stage.constructed(self.obj().upcast_ref());
    }

    fn set_property(&self, _id: usize, value: &glib::Value, pspec: &glib::ParamSpec) {
        common::set_property(&self.stage, value, pspec);
    }

    fn property(&self, _id: usize, pspec: &glib::ParamSpec) -> glib::Value {
        common::property(&self.stage, pspec)
    }
}

impl GstObjectImpl for RtmPoseDetect {}

impl ElementImpl for RtmPoseDetect {
    fn metadata() -> Option<&'static gst::subclass::ElementMetadata> {
        static METADATA: LazyLock<gst::subclass::ElementMetadata> = LazyLock::new(|| {
            gst::subclass::ElementMetadata::new(
                "RTMPose detect",
                "Filter/Analyzer/Video",
                "Finds people with YOLOX, RTMDet or RF-DETR, in batches of frames, and attaches their boxes as \
                 GstVideoRegionOfInterestMeta",
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
