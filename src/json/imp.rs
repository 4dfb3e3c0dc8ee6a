/**
 * SECTION:element-rtmposejson
 * @see_also: rtmposebatch
 *
 * Writes one line of JSON for each video frame: its number, timestamps and size, and the people that rtmposebatch found, with
 * their key points in pixels. A frame that was not inferred has a line, too; its `status` distinguishes it from a frame without
 * people. The lines leave as buffers with the frames' timestamps. #GstRtmPoseJson:location also writes them to a file, or sends
 * them to an MQTT broker.
 *
 * #GstRtmPoseJson:format chooses a format for other tools: `openpose` is a text for each frame, as OpenPose writes it; `coco` is
 * one list of all people, for COCO's evaluation. A file in the latter format is complete after every frame.
 *
 * The metadata names the skeleton, which has the key points' names. For a skeleton of your own, set #GstRtmPoseJson:skeleton to
 * the same file as for rtmposebatch.
 *
 * The element does not read pixels, so frames can be in any memory. For both the video and the lines, use a tee.
 *
 * ## Example pipelines
 * |[
 * gst-launch-1.0 filesrc location=people.mp4 ! decodebin ! videoconvert ! videoflip video-direction=auto ! rtmposebatch ! rtmposejson ! filesink location=people.jsonl
 * ]| Writes the key points of the people in a video to a file.
 * |[
 * gst-launch-1.0 v4l2src ! videoconvert ! rtmposebatch ! tee name=t ! queue ! rtmposeoverlay ! videoconvert ! autovideosink t. ! queue ! rtmposejson ! tcpserversink port=5000
 * ]| Shows a camera, and serves its key points to programs on this machine.
 * |[
 * gst-launch-1.0 filesrc location=cam01.mp4 ! decodebin ! videoconvert ! rtmposebatch ! rtmposejson format=openpose location=pose/cam01_json/%06d.json ! fakesink
 * ]| Writes a file for each frame, for Pose2Sim.
 *
 * Since: 0.1.0
 */
use std::sync::LazyLock;

use gst::{glib, prelude::*, subclass::prelude::*};

use super::{
    coco,
    failure::{Failure, Kind},
    frame::Frame,
    lines, openpose,
    output::Output,
    settings::{Format, Settings},
    utc,
};
use crate::{
    meta::{self, FramePeople},
    pose::Skeleton,
    properties::warn_of_late_property,
    stage::properties::{Row, Table},
    sync::{Mutex, lock},
};

static CAT: LazyLock<gst::DebugCategory> = LazyLock::new(|| {
    gst::DebugCategory::new("rtmposejson", gst::DebugColorFlags::empty(), Some("RTMPose JSON"))
});

/// Media types of lines, and of the other formats.
const LINES: &str = "application/x-json-lines";
const JSON: &str = "application/json";

/// The state of the stream.
#[derive(Default)]
struct State {
    /// Width and height of the frames in pixels; none before caps.
    size: Option<(u32, u32)>,
    segment: Option<gst::FormattedSegment<gst::ClockTime>>,
    /// Frames that have arrived.
    frames: u64,
    /// Whether the stream is live; none until it was asked.
    live: Option<bool>,
    /// The elements that inferred the last inferred frame.
    sources: Vec<String>,
    /// What left the source pad, with format=coco.
    list: coco::List,
}

/// What is used from PAUSED on.
struct Running {
    format: Format,
    /// The skeleton of the property `skeleton`.
    skeleton: Option<&'static Skeleton>,
    output: Option<Output>,
}

pub struct RtmPoseJson {
    sinkpad: gst::Pad,
    srcpad: gst::Pad,
    settings: Mutex<Settings>,
    state: Mutex<State>,
    /// None before PAUSED.
    running: Mutex<Option<Running>>,
}

#[glib::object_subclass]
impl ObjectSubclass for RtmPoseJson {
    const NAME: &'static str = "GstRtmPoseJson";
    type Type = super::RtmPoseJson;
    type ParentType = gst::Element;

    fn with_class(class: &Self::Class) -> Self {
        let template = |name| class.pad_template(name).expect("the template is registered");
        let sinkpad = gst::Pad::builder_from_template(&template("sink"))
            .chain_function(|pad, parent, buffer| {
                Self::catch_panic_pad_function(
                    parent,
                    || Err(gst::FlowError::Error),
                    |this| this.sink_chain(pad, buffer),
                )
            })
            .event_function(|pad, parent, event| {
                Self::catch_panic_pad_function(parent, || false, |this| this.sink_event(pad, event))
            })
            .query_function(|pad, parent, query| {
                Self::catch_panic_pad_function(parent, || false, |this| this.sink_query(pad, query))
            })
            .build();
        let srcpad = gst::Pad::builder_from_template(&template("src")).build();
        Self {
            sinkpad,
            srcpad,
            settings: Mutex::default(),
            state: Mutex::default(),
            running: Mutex::default(),
        }
    }
}

impl ObjectImpl for RtmPoseJson {
    fn constructed(&self) {
        self.parent_constructed();
        let element = self.obj();
        for pad in [&self.sinkpad, &self.srcpad] {
            element.add_pad(pad).expect("the element has no pads yet");
        }
    }

    fn properties() -> &'static [glib::ParamSpec] {
        static PROPERTIES: LazyLock<Vec<glib::ParamSpec>> = LazyLock::new(|| {
            // Since: 0.2.0
            let stats = glib::ParamSpecBoxed::builder::<gst::Structure>("stats")
                    .nick("Statistics")
                    .blurb("Structure with the field frames; with a broker also connected, connections, sent, queued and dropped")
                    .read_only();
            Settings::rows().iter().map(|row| (row.specify)()).chain([stats.build()]).collect()
        });
        &PROPERTIES
    }

    // GObject asks only for the properties above, with values of their types.
    fn set_property(&self, _id: usize, value: &glib::Value, pspec: &glib::ParamSpec) {
        let row = Row::find(Settings::rows(), pspec.name()).expect("a property that can be set is a row");
        (row.set)(&mut lock(&self.settings), value);
        if lock(&self.running).is_some() {
            warn_of_late_property(&*self.obj(), pspec);
        }
    }

    fn property(&self, _id: usize, pspec: &glib::ParamSpec) -> glib::Value {
        match Row::find(Settings::rows(), pspec.name()) {
            Some(row) => (row.get)(&lock(&self.settings)),
            None => self.stats().to_value(),
        }
    }
}

impl GstObjectImpl for RtmPoseJson {}

impl ElementImpl for RtmPoseJson {
    fn metadata() -> Option<&'static gst::subclass::ElementMetadata> {
        static METADATA: LazyLock<gst::subclass::ElementMetadata> = LazyLock::new(|| {
            gst::subclass::ElementMetadata::new(
                "RTMPose JSON",
                "Encoder/JSON",
                "Writes the key points that rtmposebatch found as JSON: a line per frame, OpenPose's files, or COCO's list",
                env!("CARGO_PKG_AUTHORS"),
            )
        });
        Some(&METADATA)
    }

    fn pad_templates() -> &'static [gst::PadTemplate] {
        static TEMPLATES: LazyLock<Vec<gst::PadTemplate>> = LazyLock::new(|| {
            let video = gst::Caps::builder("video/x-raw").any_features().build();
            let json: gst::Caps = [LINES, JSON].into_iter().map(gst::Structure::new_empty).collect();
            [("sink", gst::PadDirection::Sink, &video), ("src", gst::PadDirection::Src, &json)]
                .into_iter()
                .filter_map(|(name, direction, caps)| {
                    gst::PadTemplate::new(name, direction, gst::PadPresence::Always, caps).ok()
                })
                .collect()
        });
        &TEMPLATES
    }

    fn change_state(
        &self,
        transition: gst::StateChange,
    ) -> Result<gst::StateChangeSuccess, gst::StateChangeError> {
        if transition == gst::StateChange::ReadyToPaused {
            self.open()?;
        }
        let success = self.parent_change_state(transition)?;
        if transition == gst::StateChange::PausedToReady {
            // Ending the output can take time, during which properties can be read.
            let ended = lock(&self.running).take();
            drop(ended);
            *lock(&self.state) = State::default();
        }
        Ok(success)
    }
}

impl RtmPoseJson {
    fn open(&self) -> Result<(), gst::StateChangeError> {
        let settings = lock(&self.settings).clone();
        let opened = || {
            let skeleton = settings.skeleton.as_deref().map(Skeleton::find).transpose().map_err(|what| {
                Failure::settings(format!("The property skeleton is {what}, or leave the property unset"))
            })?;
            Ok(Running {
                format: settings.format,
                skeleton,
                output: Output::open(&settings, &self.obj().name())?,
            })
        };
        let running = opened().map_err(|failure: Failure| {
            self.post(&failure);
            gst::StateChangeError
        })?;
        *lock(&self.running) = Some(running);
        Ok(())
    }

    fn post(&self, Failure { kind, text }: &Failure) {
        gst::error!(CAT, imp = self, "{text}");
        match *kind {
            Kind::Settings => gst::element_imp_error!(self, gst::LibraryError::Settings, ("{text}")),
            Kind::Encode => gst::element_imp_error!(self, gst::StreamError::Encode, ("{text}")),
            Kind::Resource(kind) => gst::element_imp_error!(self, kind, ("{text}")),
        }
    }

    fn sink_chain(&self, _: &gst::Pad, buffer: gst::Buffer) -> Result<gst::FlowSuccess, gst::FlowError> {
        let (frame, sources, found) = self.look_at(&buffer)?;
        let (format, text) = self.written(&frame, &sources, &found)?;
        gst::trace!(CAT, imp = self, "{} bytes for {buffer:?}", text.len());
        let text = match format {
            Format::Coco => lock(&self.state).list.add(&text),
            _ => text,
        };
        if text.is_empty() {
            return self.push_gap(&buffer);
        }
        let mut out = gst::Buffer::from_mut_slice(text);
        {
            let out = out.make_mut();
            out.set_pts(buffer.pts());
            out.set_duration(buffer.duration());
            out.set_flags(buffer.flags() & (gst::BufferFlags::DISCONT | gst::BufferFlags::RESYNC));
        }
        // The frame returns to its pool before downstream starts to work.
        drop(buffer);
        self.srcpad.push(out)
    }

    /// There is nothing to write for a frame.
    fn push_gap(&self, buffer: &gst::BufferRef) -> Result<gst::FlowSuccess, gst::FlowError> {
        if let Some(pts) = buffer.pts() {
            self.srcpad.push_event(gst::event::Gap::builder(pts).duration(buffer.duration()).build());
        }
        Ok(gst::FlowSuccess::Ok)
    }

    /// The frame, the elements that infer the stream, and the people that they found, in the frame's pixels.
    fn look_at(
        &self,
        buffer: &gst::BufferRef,
    ) -> Result<(Frame, Vec<String>, Vec<FramePeople>), gst::FlowError> {
        let live = self.is_live();
        let mut state = lock(&self.state);
        let (width, height) = state.size.ok_or(gst::FlowError::NotNegotiated)?;
        let mut found: Vec<_> = meta::read(buffer)
            .filter_map(|people| {
                let malformed = |error: &_| {
                    gst::warning!(CAT, imp = self, "Ignoring a malformed {}: {error}", meta::NAME)
                };
                people.inspect_err(malformed).ok()
            })
            .collect();
        found.iter_mut().for_each(|people| people.scale_to(width, height));
        if !found.is_empty() {
            state.sources = found.iter().map(|people| people.source.clone()).collect();
        }
        let sources = state.sources.clone();
        let number = state.frames;
        state.frames += 1;
        let running_time = state.segment.as_ref().and_then(|segment| segment.to_running_time(buffer.pts()));
        drop(state);
        let by_clock = || utc::by_clock(&*self.obj(), running_time.filter(|_| live)?);
        let frame = Frame {
            number,
            pts: buffer.pts().map(gst::ClockTime::nseconds),
            running_time: running_time.map(gst::ClockTime::nseconds),
            utc: utc::told(buffer).or_else(by_clock).and_then(utc::text),
            width,
            height,
        };
        Ok((frame, sources, found))
    }

    /// Whether frames arrive as they are taken. Asks upstream once per stream, with no lock held.
    fn is_live(&self) -> bool {
        let known = lock(&self.state).live;
        known.unwrap_or_else(|| {
            let mut query = gst::query::Latency::new();
            let live = self.sinkpad.peer_query(&mut query) && query.result().0;
            lock(&self.state).live = Some(live);
            live
        })
    }

    /// The text for the frame, after it was written to the output.
    fn written(
        &self,
        frame: &Frame,
        sources: &[String],
        found: &[FramePeople],
    ) -> Result<(Format, Vec<u8>), gst::FlowError> {
        let mut running = lock(&self.running);
        let Running { format, skeleton, output } = running.as_mut().ok_or(gst::FlowError::Flushing)?;
        let text = match *format {
            Format::Lines => lines::line(frame, sources, found, *skeleton),
            Format::OpenPose => openpose::text(found, *skeleton),
            Format::Coco => coco::entries(frame.number, found, *skeleton),
        };
        let text = text.map_err(|error| Failure {
            kind: Kind::Encode,
            text: format!("A frame's people cannot be written as JSON: {error}"),
        });
        let written = text.and_then(|text| {
            let warning = output.as_mut().map_or(Ok(None), |output| output.write(frame.number, &text))?;
            Ok((text, warning))
        });
        let format = *format;
        drop(running);
        let (text, warning) = written.map_err(|failure| {
            self.post(&failure);
            gst::FlowError::Error
        })?;
        if let Some(warning) = warning {
            gst::element_imp_warning!(self, gst::ResourceError::Write, ("{warning}"));
        }
        Ok((format, text))
    }

    fn stats(&self) -> gst::Structure {
        let stats = gst::Structure::builder("rtmposejson-stats").field("frames", lock(&self.state).frames);
        let figures = lock(&self.running).as_ref().and_then(|running| running.output.as_ref()?.figures());
        let Some(figures) = figures else { return stats.build() };
        stats
            .field("connected", figures.connected)
            .field("connections", figures.connections)
            .field("sent", figures.sent)
            .field("queued", figures.queued)
            .field("dropped", figures.dropped)
            .build()
    }

    fn sink_event(&self, pad: &gst::Pad, event: gst::Event) -> bool {
        gst::log!(CAT, obj = pad, "Event {event:?}");
        match event.view() {
            gst::EventView::Caps(caps) => {
                let Some(size) = size(caps.caps()) else {
                    gst::error!(CAT, obj = pad, "No width and height above 0 in {}", caps.caps());
                    return false;
                };
                lock(&self.state).size = Some(size);
                let json = gst::Caps::new_empty_simple(if self.format() == Some(Format::Lines) {
                    LINES
                } else {
                    JSON
                });
                let event = gst::event::Caps::builder(&json).seqnum(event.seqnum()).build();
                return self.srcpad.push_event(event);
            }
            gst::EventView::Segment(segment) => {
                lock(&self.state).segment = segment.segment().clone().downcast().ok();
            }
            gst::EventView::FlushStop(_) => lock(&self.state).segment = None,
            gst::EventView::StreamStart(_) => lock(&self.state).live = None,
            gst::EventView::Eos(_) if self.format() == Some(Format::Coco) => {
                let end = lock(&self.state).list.end();
                // The next push shows whether downstream accepted it.
                let _ = self.srcpad.push(gst::Buffer::from_mut_slice(end));
            }
            _ => (),
        }
        gst::Pad::event_default(pad, Some(&*self.obj()), event)
    }

    /// None before PAUSED.
    fn format(&self) -> Option<Format> {
        lock(&self.running).as_ref().map(|running| running.format)
    }

    fn sink_query(&self, pad: &gst::Pad, query: &mut gst::QueryRef) -> bool {
        if let gst::QueryViewMut::Allocation(query) = query.view_mut() {
            // After a tee, metadata that one branch does not accept is offered to none. Pixels are not read here, so any
            // layout is accepted.
            query.add_allocation_meta::<gst_video::VideoMeta>(None);
            return true;
        }
        gst::Pad::query_default(pad, Some(&*self.obj()), query)
    }
}

/// Width and height, both above 0.
fn size(caps: &gst::CapsRef) -> Option<(u32, u32)> {
    let fields = caps.structure(0)?;
    let number = |name| fields.get::<i32>(name).ok().and_then(|number| u32::try_from(number).ok());
    number("width").zip(number("height")).filter(|&(width, height)| width > 0 && height > 0)
}
