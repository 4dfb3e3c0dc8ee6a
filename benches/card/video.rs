//! H.264 files by the card's decoder, with people found in their frames, on the card or in system memory: frames a second in the
//! steady state, processor time of a frame, and what the card's parts do, beside decoding alone.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use gst::prelude::*;

use super::{
    Options, Result, Run,
    element::{self, Card},
    report::Row,
};

/// Until all decoders run.
const WARM_UP: Duration = Duration::from_secs(2);

/// Pipelines of so many streams: one for each, or one for all, whose decoders share a CUDA context then.
fn pipelines(options: &Options) -> Result<Vec<gst::Pipeline>> {
    let file = options.0.get("file").ok_or("file=STREAM.h264 is missing")?;
    let features = if options.text("memory", "card") == "card" { "(memory:CUDAMemory)" } else { "" };
    let with_pose = options.text("do", "pose") == "pose";
    let together = options.text("contexts", "shared") == "shared";
    let count = options.count("decoders", 1)?;
    let shared = gst::Pipeline::new();
    let mut pipelines = Vec::new();
    for number in 0..count {
        let line = format!(
            "multifilesrc location={file} loop=true ! h264parse ! nvh264dec name=decoder ! video/x-raw{features} ! \
             identity name=place silent=true"
        );
        let stream = gst::parse::bin_from_description_with_name(&line, true, &format!("stream{number}"))?;
        if !together {
            // A context of its own, as ours is not asked for.
            stream.by_name("decoder").ok_or("no decoder")?.set_state(gst::State::Ready)?;
        }
        let sink = gst::ElementFactory::make("fakesink").property("sync", false).build()?;
        let pipeline = if together { shared.clone() } else { gst::Pipeline::new() };
        pipeline.add_many([stream.upcast_ref(), &sink])?;
        if with_pose {
            let pose = element::make(options, "video")?;
            pipeline.add(&pose)?;
            gst::Element::link_many([stream.upcast_ref(), &pose, &sink])?;
        } else {
            stream.link(&sink)?;
        }
        if !together || number == 0 {
            pipelines.push(pipeline);
        }
    }
    Ok(pipelines)
}

/// All sinks of a pipeline.
fn sinks(pipeline: &gst::Pipeline) -> Vec<gst::Element> {
    pipeline.iterate_sinks().into_iter().flatten().collect()
}

/// `file`, a byte stream of H.264, endlessly into as many decoders as `decoders` says. `memory` is card or system, `do` decode or
/// pose, `contexts` shared or own.
pub fn measure(options: &Options) -> Result<Row> {
    element::init()?;
    let with_pose = options.text("do", "pose") == "pose";
    let decoded = Arc::new(AtomicU64::new(0));
    let started = Instant::now();
    let pipelines = pipelines(options)?;
    for sink in pipelines.iter().flat_map(sinks) {
        let decoded = decoded.clone();
        let pad = sink.static_pad("sink").ok_or("no pad")?;
        pad.add_probe(gst::PadProbeType::BUFFER, move |_, _| {
            decoded.fetch_add(1, Ordering::Relaxed);
            gst::PadProbeReturn::Ok
        });
    }
    for pipeline in &pipelines {
        pipeline.set_state(gst::State::Playing)?;
    }
    while decoded.load(Ordering::Relaxed) < options.count("decoders", 1)? as u64 {
        for pipeline in &pipelines {
            let bus = pipeline.bus().ok_or("no bus")?;
            if let Some(message) = bus.pop_filtered(&[gst::MessageType::Error]) {
                return Err(format!("{message:?}").into());
            }
        }
        thread::sleep(Duration::from_millis(10));
    }
    let mut row = Row::default();
    row.set("start-s", started.elapsed().as_secs_f64());
    options.wait_for_turn()?;
    thread::sleep(WARM_UP);
    let card = Card::find();
    let (begun, frames, cpu) = (Instant::now(), decoded.load(Ordering::Relaxed), processor_time());
    let mut used = Vec::new();
    while begun.elapsed() < options.seconds()? {
        thread::sleep(Duration::from_millis(100));
        used.extend(card.as_ref().and_then(Card::parts));
    }
    let (elapsed, cpu) = (begun.elapsed().as_secs_f64(), processor_time() - cpu);
    let frames = (decoded.load(Ordering::Relaxed) - frames) as f64;
    row.set("frames-per-second", frames / elapsed);
    row.set("cpu-ms", cpu.as_secs_f64() * 1000.0 / frames);
    for (part, name) in ["gpu-use-percent", "decoder-use-percent"].iter().enumerate() {
        if !used.is_empty() {
            row.set(name, used.iter().map(|parts: &[f64; 2]| parts[part]).sum::<f64>() / used.len() as f64);
        }
    }
    if with_pose {
        let sink = sinks(&pipelines[0]).into_iter().next().ok_or("no sink")?;
        let pose = sink.static_pad("sink").and_then(|pad| pad.peer()).and_then(|pad| pad.parent_element());
        element::stages(&pose.ok_or("no element")?, &mut row);
    }
    Card::tell_memory(&mut row);
    for pipeline in &pipelines {
        pipeline.set_state(gst::State::Null)?;
    }
    Ok(row)
}

/// That the process has used so far.
fn processor_time() -> Duration {
    // SAFETY: the structure is written by the call.
    let usage = unsafe {
        let mut usage = std::mem::zeroed();
        libc::getrusage(libc::RUSAGE_SELF, &mut usage);
        usage
    };
    let time = |time: libc::timeval| Duration::new(time.tv_sec as u64, time.tv_usec as u32 * 1000);
    time(usage.ru_utime) + time(usage.ru_stime)
}

impl Run<'_> {
    /// Decoding alone and with people found, on the card and in system memory.
    pub(super) fn video(mut self) -> Result<Self> {
        let numbers = self.options.text("decoders", "1,8,32,64").to_string();
        for decoders in numbers.split(',') {
            for memory in ["card", "system"] {
                for what in ["decode", "pose"] {
                    self.part("video", &[("decoders", decoders), ("memory", memory), ("do", what)])?;
                }
            }
        }
        Ok(self)
    }
}
