//! Runs a launch line and serves the statistics of every rtmposebatch in it as Prometheus text:
//!
//!     cargo run --release --example metrics -- \
//!         "videotestsrc is-live=true ! videoconvert ! rtmposebatch name=door ! fakesink"
//!     curl http://127.0.0.1:9184/metrics
//!
//! Only this machine can read them, unless --listen has another address. The main part is `Figures`.

#[path = "support/passwords.rs"]
mod passwords;

use std::{
    collections::{BTreeMap, BTreeSet, btree_map::Entry},
    error::Error,
    net::SocketAddr,
    process::ExitCode,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use clap::Parser;
use gst::prelude::*;
use passwords::{run_masked, say};
use prometheus::{GaugeVec, IntCounterVec, Opts, Registry, TextEncoder};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Runs a pipeline and serves the statistics of its rtmposebatch elements as Prometheus text, at /metrics.
#[derive(Parser)]
struct Arguments {
    /// Address and port to listen on. Unless it is a loopback address, other machines can read the statistics.
    #[arg(long, default_value = "127.0.0.1:9184")]
    listen: SocketAddr,
    /// Seconds between two readings of the statistics.
    #[arg(long, default_value_t = 1)]
    interval: u64,
    /// The pipeline, as for gst-launch-1.0.
    #[arg(required = true)]
    pipeline: Vec<String>,
}

fn main() -> ExitCode {
    run_masked(run)
}

fn run(arguments: Arguments) -> Result<()> {
    gst::init()?;
    // A program that is not linked with the plugin omits this, and needs the plugin in GStreamer's plugin path.
    gstrtmpose::plugin_register_static()?;
    let pipeline = gst::parse::launch(&arguments.pipeline.join(" "))?;
    let pipeline =
        pipeline.downcast::<gst::Pipeline>().map_err(|_| "the launch line has only one element")?;
    let of_ours =
        |element: &gst::Element| element.factory().is_some_and(|factory| factory.name() == "rtmposebatch");
    let elements: Vec<_> = pipeline.iterate_recurse().into_iter().flatten().filter(of_ours).collect();
    if elements.is_empty() {
        return Err("there is no rtmposebatch in the launch line".into());
    }
    let figures = Arc::<Mutex<Figures>>::default();
    let server = tiny_http::Server::http(arguments.listen).map_err(|error| {
        format!("cannot serve at {}: {error}; choose another with --listen", arguments.listen)
    })?;
    let answered = figures.clone();
    std::thread::spawn(move || answer(&server, &answered));
    say(format!("Figures at http://{}/metrics", arguments.listen));
    if !arguments.listen.ip().is_loopback() {
        say("warning: other machines can read them, without a password");
    }

    let bus = pipeline.bus().ok_or("the pipeline has no bus")?;
    let result = pipeline.set_state(gst::State::Playing).map_err(Into::into);
    let result =
        result.and_then(|_| serve(&bus, &elements, &figures, Duration::from_secs(arguments.interval)));
    pipeline.set_state(gst::State::Null)?;
    // The reason of a failed change of state is on the bus.
    match bus.pop_filtered(&[gst::MessageType::Error]) {
        Some(message) if result.is_err() => Err(error_text(&message)),
        _ => result,
    }
}

/// Answers requests until the program ends.
fn answer(server: &tiny_http::Server, figures: &Mutex<Figures>) {
    for request in server.incoming_requests() {
        // Not during a reading, so that an answer has all figures.
        let families = figures.lock().unwrap_or_else(PoisonError::into_inner).registry.gather();
        let (status, text) = match (request.url(), TextEncoder::new().encode_to_string(&families)) {
            ("/metrics", Ok(text)) => (200, text),
            ("/metrics", Err(error)) => (500, error.to_string()),
            _ => (404, "Figures are at /metrics\n".to_string()),
        };
        let response = tiny_http::Response::from_string(text);
        // The client may have gone.
        let _ = request.respond(response.with_status_code(status));
    }
}

/// Publishes the figures until the pipeline ends.
fn serve(
    bus: &gst::Bus,
    elements: &[gst::Element],
    figures: &Mutex<Figures>,
    interval: Duration,
) -> Result<()> {
    let interval = gst::ClockTime::try_from(interval)?.max(gst::ClockTime::from_mseconds(100));
    loop {
        let message = bus.timed_pop_filtered(interval, &[gst::MessageType::Eos, gst::MessageType::Error]);
        figures.lock().unwrap_or_else(PoisonError::into_inner).read(elements)?;
        match message {
            Some(message) if message.type_() == gst::MessageType::Eos => return Ok(()),
            Some(message) => return Err(error_text(&message)),
            None => (),
        }
    }
}

/// What a figure describes; its name is the metric's label. Elements that share a model or a GPU all report the same
/// figures of it. They are published once, so that sums over the label are right.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Of {
    Element,
    Network,
    Device,
}

impl Of {
    fn label(self) -> &'static str {
        match self {
            Self::Element => "element",
            Self::Network => "network",
            Self::Device => "device",
        }
    }

    /// The label's value for an element: the shared model's name, or the element's if its model is not shared.
    fn name(self, element: &gst::Element) -> String {
        match self {
            Self::Element => element.name().to_string(),
            Self::Network => element
                .property::<Option<String>>("model-instance-id")
                .unwrap_or_else(|| element.name().to_string()),
            Self::Device => element.property::<i32>("device-id").to_string(),
        }
    }
}

/// The published fields of rtmposebatch's stats, with what each counts, or its unit.
const FIELDS: [(&str, Of, &str); 22] = [
    ("frames-in", Of::Element, "Frames that came in"),
    ("frames-out", Of::Element, "Frames that went out"),
    ("frames-skipped", Of::Element, "Frames that passed without inference, because they were too late"),
    ("search-crops", Of::Element, "Boxes that were searched for people"),
    ("fps", Of::Element, "Frames per second, over the latest that went out"),
    ("input-queue", Of::Element, "Frames that wait for their batch"),
    ("output-queue", Of::Element, "Finished frames that wait for downstream"),
    ("streams", Of::Network, "Streams that share the model"),
    ("crops", Of::Network, "Crops that the model has processed"),
    ("batches", Of::Network, "Runs of the model"),
    ("padding", Of::Network, "Empty crops that filled batches to a prepared size"),
    ("batch-size", Of::Network, "Crops in the largest batch"),
    ("mean-fill", Of::Network, "Crops in a batch, as a share of batch-size (0 to 1), on average"),
    ("wait-ms-p50", Of::Network, "Milliseconds that a crop waits for its run: the median"),
    ("wait-ms-p99", Of::Network, "Milliseconds that a crop waits for its run: 99 of 100 wait no longer"),
    ("inference-ms-p50", Of::Network, "Milliseconds that a run takes: the median"),
    ("inference-ms-p99", Of::Network, "Milliseconds that a run takes: 99 of 100 take no longer"),
    ("gpu-utilization", Of::Device, "Percent of the time in which the GPU was busy, with any program"),
    ("gpu-memory", Of::Device, "Bytes of the GPU's memory in use, by all programs"),
    ("gpu-temperature", Of::Device, "Temperature of the GPU in degrees Celsius"),
    ("gpu-power", Of::Device, "Power of the GPU in watts"),
    ("live", Of::Element, "1 if the stream is live, else 0"),
];

/// The figures as metrics `rtmposebatch_NAME{element="..."}`, or `network`, or `device`: whole numbers that only grow as
/// counters, the others as gauges.
#[derive(Default)]
struct Figures {
    registry: Registry,
    counters: BTreeMap<&'static str, IntCounterVec>,
    gauges: BTreeMap<&'static str, GaugeVec>,
}

impl Figures {
    /// Publishes the elements' current figures.
    fn read(&mut self, elements: &[gst::Element]) -> Result<()> {
        let mut readings: Vec<_> =
            elements.iter().map(|element| (element, element.property::<gst::Structure>("stats"))).collect();
        // An element that has not started, or has ended, knows nothing about the model that it shares.
        readings.sort_by_key(|(_, stats)| std::cmp::Reverse(stats.get::<u64>("crops").unwrap_or(0)));
        let mut told = BTreeSet::new();
        for (element, stats) in &readings {
            for (field, of, help) in FIELDS {
                let name = of.name(element);
                let Ok(value) = stats.value(field) else { continue };
                if told.insert((field, name.clone())) {
                    self.publish((field, of, help), &name, value)?;
                }
            }
            // With several GPUs, each has its own figures.
            let gpus = stats.get::<gst::Array>("gpus").ok();
            for gpu in gpus.iter().flat_map(|gpus| gpus.iter()) {
                let gpu = gpu.get::<gst::Structure>()?;
                let name = gpu.get::<u32>("device-id")?.to_string();
                for field in FIELDS.into_iter().filter(|(_, of, _)| *of == Of::Device) {
                    let Ok(value) = gpu.value(field.0) else { continue };
                    if told.insert((field.0, name.clone())) {
                        self.publish(field, &name, value)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn publish(
        &mut self,
        field: (&'static str, Of, &str),
        name: &str,
        value: &gst::glib::SendValue,
    ) -> Result<()> {
        let number = value.get::<f64>().or(value.get::<u32>().map(f64::from));
        match value.get::<u64>() {
            Ok(bytes) if field.0 == "gpu-memory" => self.set(field, name, bytes as f64),
            Ok(count) => self.count(field, name, count),
            Err(_) => self.set(field, name, number.or(value.get::<bool>().map(f64::from))?),
        }
    }

    fn count(&mut self, field: (&'static str, Of, &str), name: &str, count: u64) -> Result<()> {
        let counter = match self.counters.entry(field.0) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => {
                let counter = IntCounterVec::new(options(field), &[field.1.label()])?;
                self.registry.register(Box::new(counter.clone()))?;
                new.insert(counter)
            }
        };
        let counter = counter.with_label_values(&[name]);
        counter.inc_by(count.saturating_sub(counter.get()));
        Ok(())
    }

    fn set(&mut self, field: (&'static str, Of, &str), name: &str, number: f64) -> Result<()> {
        let gauge = match self.gauges.entry(field.0) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => {
                let gauge = GaugeVec::new(options(field), &[field.1.label()])?;
                self.registry.register(Box::new(gauge.clone()))?;
                new.insert(gauge)
            }
        };
        gauge.with_label_values(&[name]).set(number);
        Ok(())
    }
}

fn options((field, _, help): (&str, Of, &str)) -> Opts {
    Opts::new(format!("rtmposebatch_{}", field.replace('-', "_")), help)
}

fn error_text(message: &gst::Message) -> Box<dyn Error> {
    match message.view() {
        gst::MessageView::Error(error) => error.error().to_string().into(),
        _ => "the pipeline failed".into(),
    }
}
