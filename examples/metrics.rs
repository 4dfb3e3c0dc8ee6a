//! Runs a launch line and serves the figures of every rtmposebatch in it as Prometheus text:
//!
//!     cargo run --release --example metrics -- \
//!         "videotestsrc is-live=true ! videoconvert ! rtmposebatch name=door ! fakesink"
//!     curl http://127.0.0.1:9184/metrics
//!
//! It serves on this machine alone unless --listen says otherwise. The heart of it is `Figures`.

#[path = "support/passwords.rs"]
mod passwords;

use std::{
    collections::BTreeMap,
    error::Error,
    net::SocketAddr,
    process::ExitCode,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use clap::Parser;
use gst::prelude::*;
use passwords::{masked, say};
use prometheus::{GaugeVec, IntCounterVec, Opts, Registry, TextEncoder};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Run a pipeline and serve the figures of its rtmposebatch elements as Prometheus text, at /metrics.
#[derive(Parser)]
struct Arguments {
    /// Where to serve: an address of this machine and a port. Others can read the figures if it is not a loopback address.
    #[arg(long, default_value = "127.0.0.1:9184")]
    listen: SocketAddr,
    /// Seconds between two readings of the figures.
    #[arg(long, default_value_t = 1)]
    interval: u64,
    /// The pipeline, as for gst-launch-1.0.
    #[arg(required = true)]
    pipeline: Vec<String>,
}

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // --help and --version are answers, not errors.
            let text = masked(&error.render().to_string());
            if error.use_stderr() {
                eprint!("{text}")
            } else {
                print!("{text}")
            }
            return if error.use_stderr() { ExitCode::from(2) } else { ExitCode::SUCCESS };
        }
    };
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}", masked(&error.to_string()));
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<()> {
    gst::init()?;
    // A program that is not linked with the plugin leaves this out and has it in GStreamer's plugin path.
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
    // A failed change of state leaves the reason on the bus.
    match bus.pop_filtered(&[gst::MessageType::Error]) {
        Some(message) if result.is_err() => Err(error_text(&message)),
        _ => result,
    }
}

/// Answers requests until the program ends.
fn answer(server: &tiny_http::Server, figures: &Mutex<Figures>) {
    for request in server.incoming_requests() {
        // Not in the middle of a reading: an answer has all of its figures.
        let families = figures.lock().unwrap_or_else(PoisonError::into_inner).registry.gather();
        let (status, text) = match (request.url(), TextEncoder::new().encode_to_string(&families)) {
            ("/metrics", Ok(text)) => (200, text),
            ("/metrics", Err(error)) => (500, error.to_string()),
            _ => (404, "Figures are at /metrics\n".to_string()),
        };
        let response = tiny_http::Response::from_string(text);
        // Whoever asked may have gone.
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
        for element in elements {
            let stats = element.property::<gst::Structure>("stats");
            figures.lock().unwrap_or_else(PoisonError::into_inner).publish(&element.name(), &stats)?;
        }
        match message {
            Some(message) if message.type_() == gst::MessageType::Eos => return Ok(()),
            Some(message) => return Err(error_text(&message)),
            None => (),
        }
    }
}

/// Every number in the figures as a metric `rtmposebatch_NAME{element="..."}`: whole numbers that only grow as counters,
/// the others as gauges.
#[derive(Default)]
struct Figures {
    registry: Registry,
    counters: BTreeMap<String, IntCounterVec>,
    gauges: BTreeMap<String, GaugeVec>,
}

impl Figures {
    fn publish(&mut self, element: &str, stats: &gst::Structure) -> Result<()> {
        for (field, value) in stats.iter() {
            let number = value.get::<f64>().or(value.get::<u32>().map(f64::from));
            match value.get::<u64>() {
                Ok(bytes) if field == "gpu-memory" => self.set(element, field, bytes as f64)?,
                Ok(count) => self.count(element, field, count)?,
                Err(_) => number.map_or(Ok(()), |number| self.set(element, field, number))?,
            }
        }
        Ok(())
    }

    fn count(&mut self, element: &str, field: &str, count: u64) -> Result<()> {
        if !self.counters.contains_key(field) {
            let counter = IntCounterVec::new(options(field), &["element"])?;
            self.registry.register(Box::new(counter.clone()))?;
            self.counters.insert(field.to_string(), counter);
        }
        let counter = self.counters[field].with_label_values(&[element]);
        counter.inc_by(count.saturating_sub(counter.get()));
        Ok(())
    }

    fn set(&mut self, element: &str, field: &str, number: f64) -> Result<()> {
        if !self.gauges.contains_key(field) {
            let gauge = GaugeVec::new(options(field), &["element"])?;
            self.registry.register(Box::new(gauge.clone()))?;
            self.gauges.insert(field.to_string(), gauge);
        }
        self.gauges[field].with_label_values(&[element]).set(number);
        Ok(())
    }
}

fn options(field: &str) -> Opts {
    Opts::new(
        format!("rtmposebatch_{}", field.replace('-', "_")),
        format!("The field {field} of rtmposebatch's stats"),
    )
}

fn error_text(message: &gst::Message) -> Box<dyn Error> {
    match message.view() {
        gst::MessageView::Error(error) => error.error().to_string().into(),
        _ => "the pipeline failed".into(),
    }
}
