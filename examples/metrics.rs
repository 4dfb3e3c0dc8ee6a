//! Runs a launch line and serves the figures of every rtmposebatch in it as Prometheus text:
//!
//!     cargo run --release --example metrics -- \
//!         "videotestsrc is-live=true ! videoconvert ! rtmposebatch name=door ! fakesink"
//!     curl http://127.0.0.1:9184/metrics
//!
//! It serves on this machine alone unless --listen says otherwise. The heart of it is `publish`.

#[path = "support/passwords.rs"]
mod passwords;

use std::{error::Error, net::SocketAddr, process::ExitCode, time::Duration};

use clap::Parser;
use gst::prelude::*;
use metrics::{counter, gauge};
use metrics_exporter_prometheus::PrometheusBuilder;
use passwords::{masked, say};

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
    PrometheusBuilder::new().with_http_listener(arguments.listen).install()?;
    say(format!("Figures at http://{}/metrics", arguments.listen));
    if !arguments.listen.ip().is_loopback() {
        say("warning: other machines can read them, without a password");
    }

    let bus = pipeline.bus().ok_or("the pipeline has no bus")?;
    let result = pipeline.set_state(gst::State::Playing).map_err(Into::into);
    let result = result.and_then(|_| serve(&bus, &elements, Duration::from_secs(arguments.interval)));
    pipeline.set_state(gst::State::Null)?;
    // A failed change of state leaves the reason on the bus.
    match bus.pop_filtered(&[gst::MessageType::Error]) {
        Some(message) if result.is_err() => Err(error_text(&message)),
        _ => result,
    }
}

/// Publishes the figures until the pipeline ends.
fn serve(bus: &gst::Bus, elements: &[gst::Element], interval: Duration) -> Result<()> {
    let interval = gst::ClockTime::try_from(interval)?.max(gst::ClockTime::from_mseconds(100));
    loop {
        let message = bus.timed_pop_filtered(interval, &[gst::MessageType::Eos, gst::MessageType::Error]);
        for element in elements {
            publish(&element.name(), &element.property::<gst::Structure>("stats"));
        }
        match message {
            Some(message) if message.type_() == gst::MessageType::Eos => return Ok(()),
            Some(message) => return Err(error_text(&message)),
            None => (),
        }
    }
}

/// Every number in the figures becomes a metric `rtmposebatch_NAME{element="..."}`: whole numbers that only grow as
/// counters, the others as gauges.
fn publish(element: &str, stats: &gst::Structure) {
    for (field, value) in stats.iter() {
        let name = format!("rtmposebatch_{}", field.replace('-', "_"));
        let labels = [("element", element.to_string())];
        if field == "gpu-memory" {
            gauge!(name, &labels).set(value.get::<u64>().unwrap_or_default() as f64);
        } else if let Ok(count) = value.get::<u64>() {
            counter!(name, &labels).absolute(count);
        } else if let Ok(number) = value.get::<u32>() {
            gauge!(name, &labels).set(number);
        } else if let Ok(number) = value.get::<f64>() {
            gauge!(name, &labels).set(number);
        }
    }
}

fn error_text(message: &gst::Message) -> Box<dyn Error> {
    match message.view() {
        gst::MessageView::Error(error) => error.error().to_string().into(),
        _ => "the pipeline failed".into(),
    }
}
