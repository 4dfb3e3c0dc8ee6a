//! A pipeline whose messages arrive in a channel, where the program waits for them and for other things.

use std::error::Error;
use std::sync::{Mutex, PoisonError, mpsc::Sender};

use gst::{glib, prelude::*};

pub type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

pub enum What {
    /// EOS has reached all sinks.
    Ended,
    Failed(String),
    /// GStreamer has no plugin for it, so trying again would not help.
    Missing(String),
    Warning(String),
    /// An element's latency has changed.
    Latency,
}

/// An input's index, and how often it has been opened: news of an earlier pipeline is ignored. None: the program's own
/// pipelines.
pub type Who = Option<(usize, u32)>;
pub type News = (Who, What);

/// An input's decoder, for everything that GStreamer decodes. Decoders whose frames can also be in other memory
/// (`video/x-raw(memory:...)`), or that support single fields, are included: they output raw video in system memory to
/// elements that need it.
pub const DECODER: &str = "uridecodebin name=address caps=\"video/x-raw(ANY)\" expose-all-streams=false";

/// A pipeline that ends when its handle is dropped.
pub struct Pipeline(pub gst::Pipeline);

impl Pipeline {
    /// Parses a launch line. Important messages on its bus become news.
    pub fn parse(line: &str, who: Who, sender: &Sender<News>) -> Result<Self> {
        let bin =
            gst::parse::bin_from_description(line, false).map_err(|error| format!("{error}, in: {line}"))?;
        let pipeline = gst::Pipeline::new();
        pipeline.add(&bin)?;
        let sender = sender.clone();
        // What GStreamer has no plugin for: a separate message says it before the error.
        let missing = Mutex::new(Vec::new());
        pipeline.bus().ok_or("the pipeline has no bus")?.set_sync_handler(move |_, message| {
            let what = match message.view() {
                gst::MessageView::Eos(_) => Some(What::Ended),
                gst::MessageView::Element(element) => {
                    let name = element.structure().filter(|said| said.name() == "missing-plugin");
                    let name = name.and_then(|said| said.get::<String>("name").ok());
                    missing.lock().unwrap_or_else(PoisonError::into_inner).extend(name);
                    None
                }
                gst::MessageView::Error(error) if is_missing(&error.error()) => {
                    let names = missing.lock().unwrap_or_else(PoisonError::into_inner).join(", ");
                    Some(What::Missing(if names.is_empty() { error.error().to_string() } else { names }))
                }
                gst::MessageView::Error(error) => {
                    // After the place in GStreamer's code, an element may give details.
                    let debug = error.debug().and_then(|debug| Some(debug.split_once('\n')?.1.to_string()));
                    let more = debug.map(|debug| format!(" {debug}")).unwrap_or_default();
                    Some(What::Failed(format!("{}{more}", error.error())))
                }
                gst::MessageView::Warning(warning) => Some(What::Warning(warning.error().to_string())),
                gst::MessageView::Latency(_) => Some(What::Latency),
                _ => None,
            };
            what.map(|what| sender.send((who, what)));
            gst::BusSyncReply::Drop
        });
        Ok(Self(pipeline))
    }

    /// The statistics of its rtmposebatch.
    pub fn stats(&self) -> gst::Structure {
        let pose = self.0.by_name("pose").expect("the launch line has an element of that name");
        pose.property("stats")
    }
}

impl Drop for Pipeline {
    fn drop(&mut self) {
        let _ = self.0.set_state(gst::State::Null);
    }
}

/// Whether rtmposebatch has frames whose first the model has not answered yet, judging by its statistics. That can take
/// long, on a slow machine or if many inputs share the model, and opening the input again would only discard work. A sink
/// that accepts nothing is another case: finished frames wait there.
pub fn wait_for_network(stats: &gst::StructureRef) -> bool {
    let frames = |name| stats.get::<u64>(name).unwrap_or(0);
    frames("frames-in") > frames("frames-out") && stats.get::<u32>("output-queue") == Ok(0)
}

fn is_missing(error: &glib::Error) -> bool {
    error.matches(gst::CoreError::MissingPlugin) || error.matches(gst::StreamError::CodecNotFound)
}
