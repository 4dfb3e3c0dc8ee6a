/**
 * SECTION:element-rtmposejson
 * @see_also: rtmposebatch
 *
 * Takes video frames and gives one line of JSON for each: its time, its size, and its people with their key points in
 * pixels, as rtmposebatch found them. A frame that was not looked at has its line too; `status` tells it from one with
 * nobody in it. The lines come out as buffers with the frames' times; with #GstRtmPoseJson:location they are written to
 * a file as well.
 *
 * The key points' names are those of the skeleton that the metadata names. One of the user's own has no name there: its file,
 * the same as property skeleton of rtmposebatch, is property skeleton here, too.
 *
 * Pixels are not read, so any memory will do. To have both the video and the lines, put the element behind a tee.
 *
 * ## Example launch lines
 * |[
 * gst-launch-1.0 filesrc location=people.mp4 ! decodebin ! videoconvert ! videoflip video-direction=auto ! rtmposebatch ! rtmposejson ! filesink location=people.jsonl
 * ]| Writes the key points of a video's people.
 * |[
 * gst-launch-1.0 v4l2src ! videoconvert ! rtmposebatch ! tee name=t ! queue ! rtmposeoverlay ! videoconvert ! autovideosink t. ! queue ! rtmposejson ! tcpserversink port=5000
 * ]| Shows a camera and serves its key points to programs of this machine.
 */
use std::{
    fs::File,
    io::{ErrorKind, Write},
    path::PathBuf,
    sync::LazyLock,
};

use gst::{glib, prelude::*, subclass::prelude::*};

use super::{
    file,
    line::{Frame, line},
};
use crate::{
    meta,
    pose::Skeleton,
    properties::warn_of_late_property,
    sync::{Mutex, lock},
};

static CAT: LazyLock<gst::DebugCategory> = LazyLock::new(|| {
    gst::DebugCategory::new("rtmposejson", gst::DebugColorFlags::empty(), Some("RTMPose JSON lines"))
});

/// Media type of the lines.
const MEDIA_TYPE: &str = "application/x-json-lines";

/// The properties.
#[derive(Clone, Default)]
struct Settings {
    location: Option<PathBuf>,
    overwrite: bool,
    skeleton: Option<String>,
}

/// What the stream is at.
#[derive(Default)]
struct State {
    /// Width and height of the frames in pixels; none before caps.
    size: Option<(u32, u32)>,
    segment: Option<gst::FormattedSegment<gst::ClockTime>>,
}

pub struct RtmPoseJson {
    sinkpad: gst::Pad,
    srcpad: gst::Pad,
    settings: Mutex<Settings>,
    state: Mutex<State>,
    /// From PAUSED on, where there is a location.
    file: Mutex<Option<(PathBuf, File)>>,
    /// What the property `skeleton` names, from PAUSED on; none before.
    skeleton: Mutex<Option<Option<&'static Skeleton>>>,
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
            file: Mutex::default(),
            skeleton: Mutex::default(),
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
            let Settings { overwrite, .. } = Settings::default();
            vec![
                glib::ParamSpecString::builder("location")
                    .nick("Location")
                    .blurb(
                        "File that the lines are also written to; only its owner may read it (null = none)",
                    )
                    .mutable_ready()
                    .build(),
                glib::ParamSpecBoolean::builder("overwrite")
                    .nick("Overwrite")
                    .blurb("Empty and use the file of location if it exists, which is an error otherwise")
                    .default_value(overwrite)
                    .mutable_ready()
                    .build(),
                glib::ParamSpecString::builder("skeleton")
                    .nick("Skeleton")
                    .blurb(
                        "Whose names the key points of people have who have as many as this set, whatever their metadata \
                         says: the set's name, or the path of a TOML file as in rtmposebatch; not set: as the metadata says",
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
        match pspec.name() {
            "location" => {
                settings.location = value.get::<Option<String>>().expect("type checked").map(PathBuf::from)
            }
            "overwrite" => settings.overwrite = value.get().expect("type checked"),
            "skeleton" => {
                let text: Option<String> = value.get().expect("type checked");
                // An empty string stands for none, as in a launch line's `skeleton=""`.
                settings.skeleton = text.filter(|text| !text.is_empty());
            }
            _ => unimplemented!(),
        }
        drop(settings);
        if lock(&self.skeleton).is_some() {
            warn_of_late_property(&*self.obj(), pspec);
        }
    }

    fn property(&self, _id: usize, pspec: &glib::ParamSpec) -> glib::Value {
        let settings = lock(&self.settings);
        match pspec.name() {
            "location" => settings.location.as_ref().and_then(|path| path.to_str()).to_value(),
            "overwrite" => settings.overwrite.to_value(),
            "skeleton" => settings.skeleton.to_value(),
            _ => unimplemented!(),
        }
    }
}

impl GstObjectImpl for RtmPoseJson {}

impl ElementImpl for RtmPoseJson {
    fn metadata() -> Option<&'static gst::subclass::ElementMetadata> {
        static METADATA: LazyLock<gst::subclass::ElementMetadata> = LazyLock::new(|| {
            gst::subclass::ElementMetadata::new(
                "RTMPose JSON lines",
                "Encoder/JSON",
                "Turns people's key points, as found by rtmposebatch, into lines of JSON, one for each frame",
                env!("CARGO_PKG_AUTHORS"),
            )
        });
        Some(&METADATA)
    }

    fn pad_templates() -> &'static [gst::PadTemplate] {
        static TEMPLATES: LazyLock<Vec<gst::PadTemplate>> = LazyLock::new(|| {
            let video = gst::Caps::builder("video/x-raw").any_features().build();
            let lines = gst::Caps::new_empty_simple(MEDIA_TYPE);
            [("sink", gst::PadDirection::Sink, &video), ("src", gst::PadDirection::Src, &lines)]
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
            *lock(&self.file) = None;
            *lock(&self.skeleton) = None;
            *lock(&self.state) = State::default();
        }
        Ok(success)
    }
}

impl RtmPoseJson {
    fn open(&self) -> Result<(), gst::StateChangeError> {
        let Settings { location, overwrite, skeleton } = lock(&self.settings).clone();
        let skeleton = skeleton.as_deref().map(Skeleton::find).transpose().map_err(|what| {
            let text = format!("The property skeleton names {what}, or leave the property unset");
            gst::error!(CAT, imp = self, "{text}");
            gst::element_imp_error!(self, gst::LibraryError::Settings, ("{text}"));
            gst::StateChangeError
        })?;
        let file = location.map(|path| self.create(path, overwrite)).transpose()?;
        *lock(&self.file) = file;
        *lock(&self.skeleton) = Some(skeleton);
        Ok(())
    }

    fn create(&self, path: PathBuf, overwrite: bool) -> Result<(PathBuf, File), gst::StateChangeError> {
        match file::create(&path, overwrite) {
            Ok(file) => {
                gst::info!(CAT, imp = self, "Writing to {}", path.display());
                Ok((path, file))
            }
            Err(error) => {
                let remedy = match error.kind() {
                    ErrorKind::AlreadyExists => "; name another, or set overwrite=true",
                    _ => "",
                };
                let text = format!("The file {} cannot be created: {error}{remedy}", path.display());
                gst::error!(CAT, imp = self, "{text}");
                gst::element_imp_error!(self, gst::ResourceError::OpenWrite, ("{text}"));
                Err(gst::StateChangeError)
            }
        }
    }

    fn sink_chain(&self, _: &gst::Pad, buffer: gst::Buffer) -> Result<gst::FlowSuccess, gst::FlowError> {
        let line = self.line(&buffer)?;
        gst::trace!(CAT, imp = self, "{} bytes for {buffer:?}", line.len());
        // Unbuffered, so that whoever follows the file has whole lines at once.
        let failed = lock(&self.file)
            .as_mut()
            .and_then(|(path, file)| Some((path.clone(), file.write_all(&line).err()?)));
        if let Some((path, error)) = failed {
            let kind = match error.kind() {
                ErrorKind::StorageFull => gst::ResourceError::NoSpaceLeft,
                _ => gst::ResourceError::Write,
            };
            gst::element_imp_error!(self, kind, ("Writing to {} failed: {error}", path.display()));
            return Err(gst::FlowError::Error);
        }
        let mut out = gst::Buffer::from_mut_slice(line);
        {
            let out = out.make_mut();
            out.set_pts(buffer.pts());
            out.set_duration(buffer.duration());
            out.set_flags(buffer.flags() & (gst::BufferFlags::DISCONT | gst::BufferFlags::RESYNC));
        }
        // The frame goes back to its pool before downstream gets to work.
        drop(buffer);
        self.srcpad.push(out)
    }

    fn line(&self, buffer: &gst::BufferRef) -> Result<Vec<u8>, gst::FlowError> {
        let frame = {
            let state = lock(&self.state);
            let (width, height) = state.size.ok_or(gst::FlowError::NotNegotiated)?;
            let running_time =
                state.segment.as_ref().and_then(|segment| segment.to_running_time(buffer.pts()));
            Frame {
                pts: buffer.pts().map(gst::ClockTime::nseconds),
                running_time: running_time.map(gst::ClockTime::nseconds),
                width,
                height,
            }
        };
        let found = meta::read(buffer).filter_map(|people| {
            people
                .inspect_err(|error| {
                    gst::warning!(CAT, imp = self, "Leaving out a malformed {}: {error}", meta::NAME)
                })
                .ok()
        });
        let skeleton = lock(&self.skeleton).flatten();
        line(&frame, found.collect(), skeleton).map_err(|error| {
            gst::element_imp_error!(
                self,
                gst::StreamError::Encode,
                ("A frame's people are no JSON: {error}")
            );
            gst::FlowError::Error
        })
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
                let lines = gst::Caps::new_empty_simple(MEDIA_TYPE);
                let event = gst::event::Caps::builder(&lines).seqnum(event.seqnum()).build();
                return self.srcpad.push_event(event);
            }
            gst::EventView::Segment(segment) => {
                lock(&self.state).segment = segment.segment().clone().downcast().ok();
            }
            gst::EventView::FlushStop(_) => lock(&self.state).segment = None,
            _ => (),
        }
        gst::Pad::event_default(pad, Some(&*self.obj()), event)
    }

    fn sink_query(&self, pad: &gst::Pad, query: &mut gst::QueryRef) -> bool {
        if let gst::QueryViewMut::Allocation(query) = query.view_mut() {
            // Behind a tee, what one branch does not take is offered to none: pixels are not read here, so any layout
            // will do.
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
