//! From frames with people to the page's stream: VP8 in WebM, each frame with its people in the same message.
//!
//! The encoder and the muxer pass on a frame's metadata, so that image and people come out together.
//!
//! A message is the length of a JSON text (4 bytes, little-endian), the text, and a piece of the WebM stream.

use std::sync::Arc;

use axum::body::Bytes;
use gst::prelude::*;
use gstrtmpose::meta::{self, FramePeople};
use serde::Serialize;

use crate::{
    inputs::Outlet,
    pipeline::Result,
    stream::{Frame, MOST, Stream},
};

/// What a browser must know about the following pieces.
#[derive(Serialize)]
struct Opening {
    r#type: &'static str,
}

const TYPE: &str = "video/webm; codecs=\"vp8\"";

/// A piece of the stream: one frame.
#[derive(Serialize)]
struct Piece<'a> {
    /// Milliseconds in the WebM stream.
    time: f64,
    /// Missing if the frame was not inferred.
    #[serde(flatten)]
    found: Option<Found<'a>>,
}

#[derive(Serialize)]
struct Found<'a> {
    skeleton: &'a str,
    people: Vec<Person>,
}

/// Positions are fractions of the frame.
#[derive(Serialize)]
struct Person {
    id: Option<i64>,
    score: f32,
    /// x, y, width, height.
    r#box: [f32; 4],
    /// x, y, score.
    points: Vec<[f32; 3]>,
}

impl<'a> Found<'a> {
    fn new(frame: &'a FramePeople) -> Self {
        let (width, height) = (frame.width as f32, frame.height as f32);
        let people = frame.people.iter().map(|person| Person {
            id: person.id,
            score: short(person.score()),
            r#box: {
                let region = person.region;
                [region.x / width, region.y / height, region.width / width, region.height / height].map(short)
            },
            points: person
                .key_points
                .iter()
                .map(|point| [point.x / width, point.y / height, point.score].map(short))
                .collect(),
        });
        Self { skeleton: &frame.skeleton, people: people.collect() }
    }
}

/// Four digits are about a tenth of a pixel.
fn short(value: f32) -> f32 {
    (value * 1e4).round() / 1e4
}

fn message(head: &impl Serialize, piece: &[u8]) -> Result<Bytes> {
    let head = serde_json::to_vec(head)?;
    let mut bytes = Vec::with_capacity(4 + head.len() + piece.len());
    bytes.extend(u32::try_from(head.len())?.to_le_bytes());
    bytes.extend(head);
    bytes.extend(piece);
    Ok(bytes.into())
}

/// How frames are sent.
#[derive(clap::Args, Clone, Copy)]
pub struct Size {
    /// Largest width and height of the frames that are sent; key points are found in the full frame
    #[arg(long, value_name = "PIXELS", default_value_t = 960, value_parser = clap::value_parser!(u32).range(16..=4096))]
    size: u32,
    /// Bits per second of each camera's stream
    #[arg(long, value_name = "BITS", default_value_t = 1_500_000, value_parser = clap::value_parser!(u32).range(10_000..))]
    bitrate: u32,
}

/// Where the frames of all cameras go.
pub struct Pictures {
    pub size: Size,
    pub streams: Vec<Arc<Stream>>,
}

impl Outlet for Pictures {
    fn elements(&self, _index: usize, is_live: bool) -> String {
        let Size { size, bitrate } = self.size;
        // A file plays at its own speed.
        let pace = if is_live { "" } else { "clocksync sync-to-first=true ! " };
        // The end of a stream passes the valve, also when it is closed. A key frame begins a cluster, with which a viewer
        // can begin; times in a cluster have 16 bits.
        format!(
            "{pace}valve name=watched drop-mode=forward-sticky-events ! videoconvert ! videoscale ! \
             video/x-raw,format=I420,width=[1,{size}],height=[1,{size}],pixel-aspect-ratio=1/1 ! \
             vp8enc name=encoder deadline=1 cpu-used=8 end-usage=cbr target-bitrate={bitrate} keyframe-max-dist=60 ! \
             webmmux streamable=true min-cluster-duration=0 max-cluster-duration=20000000000 ! \
             appsink name=pictures sync=false async=false"
        )
    }

    fn connect(&self, index: usize, pipeline: &gst::Pipeline) -> Result<()> {
        let element = |name| pipeline.by_name(name).ok_or("the launch line has such an element");
        let (valve, encoder) = (element("watched")?.downgrade(), element("encoder")?.downgrade());
        let sink = element("pictures")?.downcast::<gst_app::AppSink>().map_err(|_| "it is an appsink")?;
        let stream = self.streams[index].clone();
        stream.connect(move |is_watched| {
            // The pipeline may have gone.
            let (Some(valve), Some(encoder)) = (valve.upgrade(), encoder.upgrade()) else { return };
            valve.set_property("drop", !is_watched);
            if is_watched {
                encoder.send_event(gst_video::UpstreamForceKeyUnitEvent::builder().build());
            }
        });
        let mut muxed = Muxed { stream, opening: Vec::new(), piece: Vec::new() };
        let callbacks = gst_app::AppSinkCallbacks::builder().new_sample(move |sink| {
            let sample = sink.pull_sample().map_err(|_| gst::FlowError::Eos)?;
            if let Some(buffer) = sample.buffer() {
                muxed.take(buffer).map_err(|error| {
                    gst::element_error!(sink, gst::StreamError::Failed, ("{error}"));
                    gst::FlowError::Error
                })?;
            }
            Ok(gst::FlowSuccess::Ok)
        });
        sink.set_callbacks(callbacks.build());
        Ok(())
    }
}

/// The muxer's output, joined.
struct Muxed {
    stream: Arc<Stream>,
    opening: Vec<u8>,
    piece: Vec<u8>,
}

impl Muxed {
    fn take(&mut self, buffer: &gst::BufferRef) -> Result<()> {
        let bytes = buffer.map_readable()?;
        if buffer.flags().contains(gst::BufferFlags::HEADER) {
            self.opening.extend_from_slice(&bytes);
            return Ok(());
        }
        if !self.opening.is_empty() {
            let opening = std::mem::take(&mut self.opening);
            self.stream.begin(message(&Opening { r#type: TYPE }, &opening)?);
        }
        // A frame is the last buffer of its piece, as the encoder made it.
        self.piece.extend_from_slice(&bytes);
        if !buffer.flags().contains(gst::BufferFlags::MARKER) {
            return if self.piece.len() < MOST { Ok(()) } else { Err("the muxer ends no frame".into()) };
        }
        let time = buffer.pts().ok_or("a frame has no time")?;
        let found = meta::read(buffer).next().transpose()?;
        let head = Piece { time: time.nseconds() as f64 / 1e6, found: found.as_ref().map(Found::new) };
        // RFC 6386, 9.1: the lowest bit of a frame is 0 for a key frame.
        let is_key = bytes.first().is_some_and(|byte| byte & 1 == 0);
        self.stream.push(Frame { is_key, bytes: message(&head, &std::mem::take(&mut self.piece))? });
        Ok(())
    }
}
