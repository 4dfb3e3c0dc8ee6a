/**
 * SECTION:element-rtmposeoverlay
 * @see_also: rtmposebatch
 *
 * Draws the people of every RtmPoseMeta on the frame: links as lines, key points as discs, and optionally each person's box
 * and id. The person's left side is blue, the right side orange, the rest white. A dark outline makes them visible on dark and
 * on light frames.
 *
 * The metadata names the skeleton, which says which points are linked. For a skeleton of your own, set
 * #GstRtmPoseOverlay:skeleton to the same file as for rtmposebatch.
 *
 * In builds for GStreamer 1.30 or newer, the element also draws groups of key points that other elements wrote as
 * GstAnalytics. A group with the skeleton of an RtmPoseMeta on the frame is taken for the same people and not drawn twice.
 *
 * #GstRtmPoseOverlay:redact pixelates faces or people, under what is drawn. A person who is not found is not hidden: people who
 * are far away, turned away or partly hidden can be missed, and in a live stream people are visible until they are found. Do not
 * rely on it where a person must not be seen.
 *
 * Frames without people pass unchanged, without being mapped. In other frames, only pixels near something drawn change. In
 * formats with alpha, what is drawn is opaque.
 *
 * ## Example pipeline
 * |[
 * gst-launch-1.0 filesrc location=people.mp4 ! decodebin ! videoconvert ! videoflip video-direction=auto ! rtmposebatch ! rtmposeoverlay ! videoconvert ! autovideosink
 * ]| Shows a video with the skeletons of the people in it.
 *
 * Since: 0.1.0
 */
use std::sync::LazyLock;

use gst::glib;
use gst::subclass::prelude::*;
use gst_base::prelude::*;
use gst_base::subclass::BaseTransformMode;
use gst_base::subclass::prelude::*;
use gst_video::{VideoCapsBuilder, VideoFrameRef, VideoInfo};

use super::canvas::Canvas;
use super::draw::{self, Style};
use super::redact::{Cover, Redactor, What};
use crate::{
    meta::{self, FramePeople},
    pose::Skeleton,
    properties::warn_of_late_property,
    sync::{Mutex, lock},
    video::{
        FORMATS, FrameShape,
        cuda::{self, GstCuda, MappedMut, Painter},
        log_refusal, misfit, refuse_crop_meta,
    },
};

static CAT: LazyLock<gst::DebugCategory> = LazyLock::new(|| {
    gst::DebugCategory::new("rtmposeoverlay", gst::DebugColorFlags::empty(), Some("RTMPose overlay"))
});

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, glib::Enum)]
#[enum_type(name = "GstRtmPoseOverlayRedact")]
pub enum Redact {
    #[default]
    #[enum_value(name = "Hide nothing", nick = "none")]
    None,
    #[enum_value(name = "Pixelate the heads of the people in the metadata", nick = "faces")]
    Faces,
    #[enum_value(name = "Pixelate the people in the metadata", nick = "people")]
    People,
}

/// The properties.
#[derive(Clone)]
struct Settings {
    style: Style,
    redact: Redact,
    skeleton: Option<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            style: Style {
                score_threshold: 0.3,
                line_width: 0.0,
                point_radius: 0.0,
                draw_box: false,
                draw_id: true,
            },
            redact: Redact::None,
            skeleton: None,
        }
    }
}

#[derive(Default)]
pub struct RtmPoseOverlay {
    settings: Mutex<Settings>,
    /// The skeleton of the property `skeleton`, from start to stop; none otherwise.
    skeleton: Mutex<Option<Option<&'static Skeleton>>>,
    /// The negotiated format; none before caps.
    info: Mutex<Option<VideoInfo>>,
    /// The people who were hidden, from start to stop.
    redactor: Mutex<Redactor>,
    /// Draws on frames in GPU memory; none before the first one.
    painter: Mutex<Option<Painter>>,
}

#[glib::object_subclass]
impl ObjectSubclass for RtmPoseOverlay {
    const NAME: &'static str = "GstRtmPoseOverlay";
    type Type = super::RtmPoseOverlay;
    type ParentType = gst_base::BaseTransform;
}

impl ObjectImpl for RtmPoseOverlay {
    fn properties() -> &'static [glib::ParamSpec] {
        static PROPERTIES: LazyLock<Vec<glib::ParamSpec>> = LazyLock::new(|| {
            let Style { score_threshold, line_width, point_radius, draw_box, draw_id } =
                Settings::default().style;
            vec![
                glib::ParamSpecFloat::builder("score-threshold")
                    .nick("Score threshold")
                    .blurb("Key points with a lower score, and the links to them, are not drawn (scores are usually 0 to 1, but can be higher)")
                    .minimum(0.0)
                    .default_value(score_threshold)
                    .mutable_playing()
                    .build(),
                glib::ParamSpecFloat::builder("line-width")
                    .nick("Line width")
                    .blurb("Width of the links in pixels, without their dark outline (in rows, if pixels are not square); 0 = by frame size")
                    .minimum(0.0)
                    .maximum(1000.0)
                    .default_value(line_width)
                    .mutable_playing()
                    .build(),
                glib::ParamSpecFloat::builder("point-radius")
                    .nick("Point radius")
                    .blurb("Radius of the key points in pixels, without their dark outline (in rows, if pixels are not square); half as large on faces, and on the hands of a whole body; 0 = by frame size")
                    .minimum(0.0)
                    .maximum(1000.0)
                    .default_value(point_radius)
                    .mutable_playing()
                    .build(),
                glib::ParamSpecBoolean::builder("draw-box")
                    .nick("Draw box")
                    .blurb("Draw each person's box")
                    .default_value(draw_box)
                    .mutable_playing()
                    .build(),
                glib::ParamSpecBoolean::builder("draw-id")
                    .nick("Draw id")
                    .blurb("Draw each tracked person's id above the person's box")
                    .default_value(draw_id)
                    .mutable_playing()
                    .build(),
                // Since: 0.2.0
                glib::ParamSpecEnum::builder::<Redact>("redact")
                    .nick("Redact")
                    .blurb("What to pixelate, under what is drawn. A person who is not found is not hidden. Frames must be in system memory")
                    .mutable_playing()
                    .build(),
                glib::ParamSpecString::builder("skeleton")
                    .nick("Skeleton")
                    .blurb(
                        "Skeleton that is drawn for people with that many key points: its name, or the path of a TOML \
                         file, as for rtmposebatch; not set = the skeleton in the metadata",
                    )
                    .mutable_ready()
                    .build(),
            ]
        });
        &PROPERTIES
    }

    // GObject asks only for the properties above, with values of their types.
    fn set_property(&self, _id: usize, value: &glib::Value, pspec: &glib::ParamSpec) {
        let mut settings = lock(&self.settings);
        let style = &mut settings.style;
        match pspec.name() {
            "score-threshold" => style.score_threshold = value.get().expect("type checked"),
            "line-width" => style.line_width = value.get().expect("type checked"),
            "point-radius" => style.point_radius = value.get().expect("type checked"),
            "draw-box" => style.draw_box = value.get().expect("type checked"),
            "draw-id" => style.draw_id = value.get().expect("type checked"),
            "redact" => settings.redact = value.get().expect("type checked"),
            "skeleton" => {
                let text: Option<String> = value.get().expect("type checked");
                // An empty string stands for none, as in a launch line's `skeleton=""`.
                settings.skeleton = text.filter(|text| !text.is_empty());
                drop(settings);
                if lock(&self.skeleton).is_some() {
                    warn_of_late_property(&*self.obj(), pspec);
                }
            }
            _ => unimplemented!(),
        }
    }

    fn property(&self, _id: usize, pspec: &glib::ParamSpec) -> glib::Value {
        let Settings { style, redact, skeleton } = lock(&self.settings).clone();
        match pspec.name() {
            "score-threshold" => style.score_threshold.to_value(),
            "line-width" => style.line_width.to_value(),
            "point-radius" => style.point_radius.to_value(),
            "draw-box" => style.draw_box.to_value(),
            "draw-id" => style.draw_id.to_value(),
            "redact" => redact.to_value(),
            "skeleton" => skeleton.to_value(),
            _ => unimplemented!(),
        }
    }

    fn constructed(&self) {
        self.parent_constructed();
        // A frame flagged GAP keeps its flag if nothing is drawn on it.
        self.obj().set_gap_aware(true);
    }
}

impl GstObjectImpl for RtmPoseOverlay {}

impl ElementImpl for RtmPoseOverlay {
    fn metadata() -> Option<&'static gst::subclass::ElementMetadata> {
        static METADATA: LazyLock<gst::subclass::ElementMetadata> = LazyLock::new(|| {
            gst::subclass::ElementMetadata::new(
                "RTMPose overlay",
                "Filter/Editor/Video",
                "Draws the key points and skeletons that rtmposebatch found, and can pixelate faces or people",
                env!("CARGO_PKG_AUTHORS"),
            )
        });
        Some(&METADATA)
    }

    fn pad_templates() -> &'static [gst::PadTemplate] {
        static TEMPLATES: LazyLock<Vec<gst::PadTemplate>> = LazyLock::new(|| {
            let mut caps = VideoCapsBuilder::new().format_list(FORMATS).build();
            let on_a_card =
                VideoCapsBuilder::new().features([cuda::FEATURE]).format_list(cuda::PAINTED_FORMATS);
            caps.merge(on_a_card.build());
            [("sink", gst::PadDirection::Sink), ("src", gst::PadDirection::Src)]
                .into_iter()
                .filter_map(|(name, direction)| {
                    gst::PadTemplate::new(name, direction, gst::PadPresence::Always, &caps).ok()
                })
                .collect()
        });
        &TEMPLATES
    }
}

impl BaseTransformImpl for RtmPoseOverlay {
    const MODE: BaseTransformMode = BaseTransformMode::AlwaysInPlace;
    const PASSTHROUGH_ON_SAME_CAPS: bool = false;
    const TRANSFORM_IP_ON_PASSTHROUGH: bool = false;

    fn set_caps(&self, incaps: &gst::Caps, _outcaps: &gst::Caps) -> Result<(), gst::LoggableError> {
        let info = VideoInfo::from_caps(incaps)
            .map_err(|_| gst::loggable_error!(CAT, "Cannot read the video format of {incaps}"))?;
        gst::debug!(CAT, imp = self, "Drawing on {incaps}");
        *lock(&self.info) = Some(info);
        Ok(())
    }

    fn start(&self) -> Result<(), gst::ErrorMessage> {
        let name = lock(&self.settings).skeleton.clone();
        let skeleton = name.as_deref().map(Skeleton::find).transpose().map_err(|what| {
            gst::error_msg!(
                gst::LibraryError::Settings,
                ("The property skeleton is {what}, or leave the property unset")
            )
        })?;
        *lock(&self.skeleton) = Some(skeleton);
        Ok(())
    }

    fn stop(&self) -> Result<(), gst::ErrorMessage> {
        *lock(&self.info) = None;
        *lock(&self.skeleton) = None;
        *lock(&self.painter) = None;
        *lock(&self.redactor) = Redactor::default();
        Ok(())
    }

    /// Frames leave in the memory in which they come, so downstream's answer is passed to upstream.
    fn propose_allocation(
        &self,
        _decide_query: Option<&gst::query::Allocation>,
        query: &mut gst::query::Allocation,
    ) -> Result<(), gst::LoggableError> {
        let pad = self.obj().src_pad().clone();
        match pad.peer_query(query) {
            true => {
                refuse_crop_meta(query);
                Ok(())
            }
            false => Err(gst::loggable_error!(CAT, "Downstream does not answer the ALLOCATION query")),
        }
    }

    fn transform_ip(&self, buffer: &mut gst::BufferRef) -> Result<gst::FlowSuccess, gst::FlowError> {
        let info = lock(&self.info).clone().ok_or(gst::FlowError::NotNegotiated)?;
        let frames = self.people_on(buffer);
        #[cfg(feature = "v1_30")]
        let frames = with_groups(frames, buffer, &info);
        let frames = placed(frames, &info);
        let on_a_card = cuda::is_on_a_card(buffer);
        let covers = self.covers(&frames, buffer.pts());
        let drawn = match (covers, on_a_card) {
            (Some(_), true) => {
                Err("redact needs frames in system memory: put cudadownload upstream of this element".into())
            }
            (None, true) if somebody(&frames) => self.draw_on_a_card(buffer, &info, frames),
            (covers, false)
                if somebody(&frames) || covers.as_ref().is_some_and(|covers| !covers.is_empty()) =>
            {
                self.draw(buffer, &info, &covers.unwrap_or_default(), frames)
                    .ok_or_else(|| misfit(buffer, &info))
            }
            _ => {
                gst::trace!(CAT, imp = self, "No people on {buffer:?}");
                return Ok(gst::FlowSuccess::Ok);
            }
        };
        if let Err(reason) = drawn {
            gst::element_imp_error!(self, gst::StreamError::Failed, ("Cannot draw on a frame: {reason}"));
            return Err(gst::FlowError::Error);
        }
        // It has contents of its own now.
        buffer.unset_flags(gst::BufferFlags::GAP);
        Ok(gst::FlowSuccess::Ok)
    }

    fn query(&self, direction: gst::PadDirection, query: &mut gst::QueryRef) -> bool {
        let answered = BaseTransformImplExt::parent_query(self, direction, query);
        if direction == gst::PadDirection::Sink {
            log_refusal(*CAT, self.obj().sink_pad(), query);
        }
        answered
    }
}

/// Pairs of linked points, if the skeleton's name does not identify them.
type Links = Vec<(u16, u16)>;

impl RtmPoseOverlay {
    /// None if the frame cannot be drawn on.
    fn draw(
        &self,
        buffer: &mut gst::BufferRef,
        info: &VideoInfo,
        covers: &[Cover],
        frames: Vec<(FramePeople, Links)>,
    ) -> Option<()> {
        let mut video = VideoFrameRef::from_buffer_ref_writable(buffer, info).ok()?;
        let mut canvas = Canvas::new(&mut video, info)?;
        covers.iter().for_each(|cover| canvas.pixelate(cover.area, cover.block));
        self.draw_on(&mut canvas, frames);
        Some(())
    }

    /// What to hide in a frame of that time; none if hiding is off.
    fn covers(&self, frames: &[(FramePeople, Links)], time: Option<gst::ClockTime>) -> Option<Vec<Cover>> {
        let what = match lock(&self.settings).redact {
            Redact::None => return None,
            Redact::Faces => What::Faces,
            Redact::People => What::People,
        };
        let asked = lock(&self.skeleton).flatten();
        let people: Vec<_> = frames.iter().map(|(frame, _)| (frame, frame.skeleton_or(asked))).collect();
        Some(lock(&self.redactor).covers(what, &people, time.map(gst::ClockTime::nseconds)))
    }

    /// The same on a frame in GPU memory, which stays there.
    fn draw_on_a_card(
        &self,
        buffer: &mut gst::BufferRef,
        info: &VideoInfo,
        frames: Vec<(FramePeople, Links)>,
    ) -> Result<(), String> {
        let (offsets, strides) = cuda::places_of_planes(buffer, info);
        let mut canvas = Canvas::for_a_card(info, &strides);
        self.draw_on(&mut canvas, frames);
        let (layers, strokes) = canvas.for_the_painter(&offsets);
        let mapped = MappedMut::new(GstCuda::get()?, buffer).ok_or("its CUDA memory cannot be mapped")?;
        Painter::draw(&mut lock(&self.painter), &mapped, &layers, &strokes)
    }

    fn draw_on(&self, canvas: &mut Canvas, frames: Vec<(FramePeople, Links)>) {
        let style = lock(&self.settings).style;
        let asked = lock(&self.skeleton).flatten();
        for (frame, links) in frames {
            gst::trace!(CAT, imp = self, "Drawing {} people of {}", frame.people.len(), frame.source);
            draw::people(canvas, &frame, frame.skeleton_or(asked), &links, &style);
        }
    }

    /// The people of every valid `RtmPoseMeta`, each of which may have none.
    fn people_on(&self, buffer: &gst::BufferRef) -> Vec<(FramePeople, Links)> {
        let mut frames = Vec::new();
        for frame in meta::read(buffer) {
            match frame {
                Ok(frame) => frames.push((frame, Links::new())),
                Err(error) => {
                    gst::warning!(CAT, imp = self, "Not drawing a malformed {}: {error}", meta::NAME)
                }
            }
        }
        frames
    }
}

fn somebody(frames: &[(FramePeople, Links)]) -> bool {
    frames.iter().any(|(frame, _)| !frame.people.is_empty())
}

/// The people in square pixels of the frame.
fn placed(mut frames: Vec<(FramePeople, Links)>, info: &VideoInfo) -> Vec<(FramePeople, Links)> {
    let shape = FrameShape::from(info);
    for (frame, _) in &mut frames {
        frame.scale_to(shape.width, shape.height);
        frame.people.iter_mut().for_each(|person| person.scale(shape.to_square()));
    }
    frames
}

/// Adds the groups of key points that other elements wrote. A group with the skeleton of people in `frames` shows the same
/// people again, in whole pixels, and is ignored.
#[cfg(feature = "v1_30")]
fn with_groups(
    mut frames: Vec<(FramePeople, Links)>,
    buffer: &gst::BufferRef,
    info: &VideoInfo,
) -> Vec<(FramePeople, Links)> {
    let written: Vec<_> = frames.iter().map(|(frame, _)| frame.skeleton.clone()).collect();
    let groups = meta::analytics::key_point_groups(buffer, info.width(), info.height());
    let others = groups.into_iter().filter(|group| !written.contains(&group.people.skeleton));
    frames.extend(others.map(|group| (group.people, group.links)));
    frames
}
