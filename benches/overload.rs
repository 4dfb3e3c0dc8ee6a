//! A live stream that is faster than the model keeps its latency: 60 frames a second into a model that runs 40 crops a
//! second, for a minute. Prints, for every ten seconds, how long frames took through the element, how many were skipped, and
//! how many went in and out.
//!
//! `cargo bench --features testing --bench overload`

use std::{
    error::Error,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use gst::prelude::*;
use gstrtmpose::{
    engine::{self, Backend, Executor, Loading, MonotonicClock, Slot},
    network::Network,
    posebatch::{RtmPoseBatch, testing},
};

const FRAMES_A_SECOND: u32 = 60;
/// A batch of 8 takes 200 ms.
const CROP: Duration = Duration::from_millis(25);

struct Slow;

impl Backend for Slow {
    type Network = Network;

    fn open(&self, _: &Loading) -> Result<(Network, Box<dyn Executor>), engine::Error> {
        Ok((Network::simcc(48, 64, 1, "slow"), Box::new(Self)))
    }
}

impl Executor for Slow {
    fn load(&mut self, _: usize, _: &dyn Slot) {}

    fn run(&mut self, rows: usize, _: &mut [f32]) -> Result<usize, engine::Error> {
        std::thread::sleep(CROP * rows as u32);
        Ok(rows)
    }

    fn warm_up_sizes(&self) -> Vec<usize> {
        vec![8]
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    gst::init()?;
    gstrtmpose::plugin_register_static()?;
    let line = format!(
        "videotestsrc is-live=true ! video/x-raw,format=I420,width=320,height=240,framerate={FRAMES_A_SECOND}/1 ! \
         rtmposebatch name=pose inference-region=full-frame ! fakesink sync=false"
    );
    let pipeline = gst::parse::launch(&line)?.downcast::<gst::Pipeline>().map_err(|_| "no pipeline")?;
    let element = pipeline.by_name("pose").ok_or("no element")?;
    let element = element.downcast::<RtmPoseBatch>().map_err(|_| "no rtmposebatch")?;
    testing::inject(&element, Arc::new(Slow), Arc::new(MonotonicClock::default()));

    let arrived = Arc::new(Mutex::new(std::collections::VecDeque::new()));
    let took = Arc::new(Mutex::new(Vec::new()));
    let arrivals = arrived.clone();
    element.static_pad("sink").ok_or("no pad")?.add_probe(gst::PadProbeType::BUFFER, move |_, _| {
        arrivals.lock().unwrap().push_back(Instant::now());
        gst::PadProbeReturn::Ok
    });
    let times = took.clone();
    element.static_pad("src").ok_or("no pad")?.add_probe(gst::PadProbeType::BUFFER, move |_, _| {
        // Frames leave in the order in which they came.
        if let Some(arrival) = arrived.lock().unwrap().pop_front() {
            times.lock().unwrap().push(arrival.elapsed().as_secs_f64() * 1000.0);
        }
        gst::PadProbeReturn::Ok
    });
    pipeline.set_state(gst::State::Playing)?;
    println!(
        "{:>9} {:>8} {:>8} {:>8} {:>8} {:>8} {:>8}",
        "seconds", "p50 ms", "p99 ms", "max ms", "in", "out", "skipped"
    );
    for ten in 1..=6 {
        std::thread::sleep(Duration::from_secs(10));
        let mut took = std::mem::take(&mut *took.lock().unwrap());
        took.sort_by(f64::total_cmp);
        let stats: gst::Structure = element.property("stats");
        let at = |share: f64| took[((took.len() - 1) as f64 * share) as usize];
        println!(
            "{:>3} to {:>2} {:>8.0} {:>8.0} {:>8.0} {:>8} {:>8} {:>8}",
            (ten - 1) * 10,
            ten * 10,
            at(0.5),
            at(0.99),
            at(1.0),
            stats.get::<u64>("frames-in")?,
            stats.get::<u64>("frames-out")?,
            stats.get::<u64>("frames-skipped")?
        );
    }
    pipeline.set_state(gst::State::Null)?;
    Ok(())
}
