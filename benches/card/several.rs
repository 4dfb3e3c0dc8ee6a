//! One engine on 1, 2 and 4 cards: 64 streams of decoded frames in system memory, as fast as it takes them, in order.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use gst::prelude::*;
use nvml_wrapper::Nvml;

use super::{
    Options, Result, Run,
    element::{self, Card, Stream},
    report::Row,
};

/// Wanted: crops a second relative to one GPU, for each number of GPUs.
const WANTED: [(usize, f64); 2] = [(2, 1.9), (4, 3.6)];

/// Measures `streams` streams on GPUs 0 to `cards` - 1.
pub fn measure(options: &Options) -> Result<Row> {
    element::init()?;
    let frames = Arc::new(element::frames());
    let (cards, count) = (options.count("cards", 1)?, options.count("streams", 64)?);
    let numbers: Vec<_> = (0..cards).map(|number| number.to_string()).collect();
    let (counted, disorder) = (Arc::<AtomicU64>::default(), Arc::<AtomicU64>::default());
    let started = Instant::now();
    let mut streams = Vec::new();
    for _ in 0..count {
        let element = element::make(options, "cards")?;
        element.set_property("device-ids", numbers.join(","));
        let (counted, disorder, next) = (counted.clone(), disorder.clone(), AtomicU64::new(0));
        let out = move |buffer: &gst::Buffer| {
            counted.fetch_add(1, Ordering::Relaxed);
            let expected = next.fetch_add(1, Ordering::Relaxed);
            disorder.fetch_add(u64::from(buffer.offset() != expected), Ordering::Relaxed);
        };
        streams.push(Stream::start(element, false, out, || ())?);
    }
    let mut row = Row::default();
    row.set("start-s", started.elapsed().as_secs_f64());
    // Warms up: the GPUs' clocks rise, and all queues are full.
    element::feed(&streams, &frames, &counted, Duration::from_millis(500));
    let (rate, _) = element::feed(&streams, &frames, &counted, options.seconds()?);
    row.set("crops-per-second", rate);
    element::stages(&streams[0].element, &mut row);
    let stats: gst::Structure = streams[0].element.property("stats");
    let shares: Vec<_> = stats
        .get::<gst::Array>("gpus")?
        .iter()
        .filter_map(|card| card.get::<gst::Structure>().ok()?.get::<u64>("crops").ok())
        .map(|crops| crops.to_string())
        .collect();
    row.set_text("crops-by-card", &shares.join("/"));
    Card::tell_memory(&mut row);
    match disorder.load(Ordering::Relaxed) {
        0 => Ok(row),
        some => Err(format!("{some} frames came out of order").into()),
    }
}

impl Run<'_> {
    /// Measures 1, 2 and 4 GPUs, as far as the machine has them, in turn, `rounds` times. The ratios compare
    /// the best round of each.
    pub(super) fn cards(mut self) -> Result<Self> {
        let there = Nvml::builder().lib_path("libnvidia-ml.so.1".as_ref()).init()?.device_count()? as usize;
        let numbers: Vec<_> = [1, 2, 4].into_iter().filter(|number| *number <= there).collect();
        let mut best = BTreeMap::new();
        for _ in 0..self.options.count("rounds", 2)? {
            for number in &numbers {
                self.part("cards", &[("cards", &number.to_string())])?;
                let rate =
                    self.rows.last().and_then(|row| row.number("crops-per-second")).unwrap_or_default();
                let known = best.entry(*number).or_insert(0.0);
                *known = f64::max(*known, rate);
            }
        }
        for (number, wanted) in WANTED {
            match (best.get(&1), best.get(&number)) {
                (Some(one), Some(rate)) => {
                    let ratio = rate / one;
                    let held = if ratio >= wanted { "held" } else { "missed" };
                    println!("{number} cards: {ratio:.2} times the crops of one, at least {wanted}: {held}");
                }
                _ => println!("{number} cards: not run, there are {there}"),
            }
        }
        Ok(self)
    }
}
