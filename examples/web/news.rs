//! The cameras' states and the engine's statistics, for the page.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use serde::Serialize;
use serde_json::{Map, Value};
use tokio::sync::watch;

use crate::{
    inputs::{Input, Inputs, Phase},
    passwords::masked,
    pipeline::Result,
};

/// How often statistics are sent.
const INTERVAL: Duration = Duration::from_secs(1);

#[derive(Serialize)]
struct All {
    cameras: Vec<Camera>,
    /// The statistics of the shared model: all numbers of `stats`, under their names there.
    network: Map<String, Value>,
}

#[derive(Serialize)]
struct Camera {
    name: String,
    state: &'static str,
    /// Why it has failed.
    reason: Option<String>,
    frames: u64,
    /// The statistics of its own element.
    figures: Map<String, Value>,
}

impl Camera {
    fn new(input: &Input) -> Self {
        let (state, reason) = match &input.phase {
            Phase::Running(_) => ("running", None),
            Phase::Waiting { reason, .. } => ("away", Some(masked(reason))),
            Phase::Ended => ("ended", None),
            Phase::Left { reason } => ("left", Some(masked(reason))),
        };
        let figures = match &input.phase {
            Phase::Running(pipeline) => numbers(&pipeline.stats()),
            _ => Map::new(),
        };
        Self { name: title(&input.address), state, reason, frames: input.total, figures }
    }
}

/// What a viewer may know about an address: a file without its folder, a camera without its login and its query.
fn title(address: &str) -> String {
    let address = address.split(['?', '#']).next().unwrap_or_default();
    match address.split_once("://") {
        Some((_, rest)) => {
            rest.rsplit_once('@').map_or(rest, |(_, rest)| rest).trim_end_matches('/').to_string()
        }
        None if address.starts_with("test:") || address.starts_with("/dev/") => address.to_string(),
        None => address.rsplit('/').next().unwrap_or_default().to_string(),
    }
}

/// The numbers in the statistics.
fn numbers(stats: &gst::StructureRef) -> Map<String, Value> {
    let number = |value: &gst::glib::SendValue| {
        let whole = value.get::<u64>().or(value.get::<u32>().map(u64::from)).map(Value::from);
        whole.or(value.get::<f64>().map(Value::from)).ok()
    };
    stats.iter().filter_map(|(name, value)| Some((name.to_string(), number(value)?))).collect()
}

pub struct News {
    sender: watch::Sender<Arc<str>>,
    told: Instant,
    /// As last sent.
    states: Vec<&'static str>,
}

impl News {
    pub fn new() -> (Self, watch::Receiver<Arc<str>>) {
        let (sender, receiver) = watch::channel("{\"cameras\":[],\"network\":{}}".into());
        (Self { sender, told: Instant::now(), states: Vec::new() }, receiver)
    }

    /// When statistics are due.
    pub fn next(&self) -> Instant {
        self.told + INTERVAL
    }

    /// Sends what is new: statistics when they are due, and a camera that has failed or returned at once.
    pub fn tell(&mut self, inputs: &Inputs) -> Result<()> {
        let cameras: Vec<_> = inputs.inputs.iter().map(Camera::new).collect();
        let states: Vec<_> = cameras.iter().map(|camera| camera.state).collect();
        if states != self.states || self.next() <= Instant::now() {
            let network = numbers(&inputs.network.stats());
            self.sender.send_replace(serde_json::to_string(&All { cameras, network })?.into());
            (self.told, self.states) = (Instant::now(), states);
        }
        Ok(())
    }
}
