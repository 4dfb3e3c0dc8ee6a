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

/// How often the run's memory is read, evenly spread.
const TENTHS: u32 = 10;
/// Time until all decoders run.
const WARM_UP: Duration = Duration::from_secs(2);

/// Pipelines for all streams: one for each stream, or one for all, whose decoders then share a CUDA context.
fn pipelines(options: &Options) -> Result<Vec<gst::Pipeline>> {
    let file = options.0.get("file").ok_or("file=STREAM.h264 is missing")?;
    let features = if options.text("memory", "card") == "card" { "(memory:CUDAMemory)" } else { "" };
    let with_pose = options.text("do", "pose") != "decode";
    // Elements downstream of the pose element.
    let further = match options.text("do", "pose") {
        "draw" => "rtmposeoverlay",
        "encode" => "rtmposeoverlay ! nvh264enc ! h264parse",
        _ => "identity silent=true",
    };
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
            // In READY before it is in the pipeline, the decoder makes its own CUDA context instead of asking
            // for ours.
            stream.by_name("decoder").ok_or("no decoder")?.set_state(gst::State::Ready)?;
        }
        let sink = gst::ElementFactory::make("fakesink").property("sync", false).build()?;
        let pipeline = if together { shared.clone() } else { gst::Pipeline::new() };
        pipeline.add_many([stream.upcast_ref(), &sink])?;
        if with_pose {
            let pose = element::make(options, "video")?;
            let further = gst::parse::bin_from_description(further, true)?;
            pipeline.add_many([&pose, further.upcast_ref()])?;
            gst::Element::link_many([stream.upcast_ref(), &pose, further.upcast_ref(), &sink])?;
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

/// Plays `file`, a byte stream of H.264, endlessly into `decoders` decoders. `memory` is card or system. `do`
/// is decode, pose, draw (with the overlay downstream) or encode (with NVENC downstream of that). `contexts` is
/// shared or own.
pub fn measure(options: &Options) -> Result<Row> {
    element::init()?;
    let with_pose = options.text("do", "pose") != "decode";
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
    let memory = || [card.as_ref().and_then(Card::own_or_all_memory_mib), resident_mib()];
    let memory_before = memory();
    let (begun, frames, cpu) = (Instant::now(), decoded.load(Ordering::Relaxed), processor_time());
    let (mut used, mut course) = (Vec::new(), Vec::new());
    let length = options.seconds()?;
    while begun.elapsed() < length {
        thread::sleep(Duration::from_millis(100));
        used.extend(card.as_ref().and_then(Card::parts));
        if begun.elapsed() >= length * (course.len() as u32 + 1) / TENTHS {
            course.extend(memory()[0]);
        }
    }
    let (elapsed, cpu) = (begun.elapsed().as_secs_f64(), processor_time() - cpu);
    let frames = (decoded.load(Ordering::Relaxed) - frames) as f64;
    row.set("frames-per-second", frames / elapsed);
    row.set("cpu-ms", cpu.as_secs_f64() * 1000.0 / frames);
    for (part, name) in ["gpu-use-percent", "decoder-use-percent", "encoder-use-percent"].iter().enumerate() {
        if !used.is_empty() {
            row.set(name, used.iter().map(|parts: &[f64; 3]| parts[part]).sum::<f64>() / used.len() as f64);
        }
    }
    let growth = memory_before.into_iter().zip(memory()).zip(["gpu-growth-mib", "rss-growth-mib"]);
    for ((before, after), name) in growth {
        if let (Some(before), Some(after)) = (before, after) {
            row.set(name, after - before);
        }
    }
    // A leak grows to the end; pools that were still filling have stopped by the middle.
    if let (Some(half), Some(end)) = (course.get(course.len() / 2), course.last()) {
        row.set("gpu-growth-late-mib", end - half);
        let tenths: Vec<_> = course.iter().map(|mib| format!("{mib:.0}")).collect();
        row.set_text("gpu-mib-by-tenth", &tenths.join("/"));
    }
    if with_pose {
        let mut elements =
            pipelines[0].iterate_all_by_element_factory_name("rtmposebatch").into_iter().flatten();
        element::stages(&elements.next().ok_or("no element")?, &mut row);
    }
    Card::tell_memory(&mut row);
    for pipeline in &pipelines {
        pipeline.set_state(gst::State::Null)?;
    }
    Ok(row)
}

/// Resident memory of the process.
fn resident_mib() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.trim().strip_suffix(" kB")?.trim().parse::<f64>().ok()? / 1024.0)
}

/// CPU time of the process so far.
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
    /// Watches for leaks: finds and draws people in decoders=8 streams for seconds=60. Memory may grow by at
    /// most 8 MiB on the GPU, 2 MiB of it in the second half, and by 32 MiB in the process.
    pub(super) fn watch(mut self) -> Result<Self> {
        let (decoders, seconds) =
            (self.options.text("decoders", "8").to_string(), self.options.text("seconds", "60").to_string());
        self.part(
            "video",
            &[("decoders", &decoders), ("seconds", &seconds), ("memory", "card"), ("do", "draw")],
        )?;
        let row = self.rows.last().ok_or("no row")?;
        for (name, most) in [("gpu-growth-mib", 8.0), ("gpu-growth-late-mib", 2.0), ("rss-growth-mib", 32.0)]
        {
            let growth = row.number(name).ok_or(format!("{name} is not known"))?;
            println!(
                "{name}: {growth} in {seconds} s, at most {most}: {}",
                if growth <= most { "held" } else { "missed" }
            );
        }
        Ok(self)
    }

    /// Decoding alone, with people found, and with people drawn and frames encoded, in CUDA memory and in
    /// system memory.
    pub(super) fn video(mut self) -> Result<Self> {
        let numbers = self.options.text("decoders", "1,8,32,64").to_string();
        for decoders in numbers.split(',') {
            for memory in ["card", "system"] {
                for what in ["decode", "pose", "encode"] {
                    self.part("video", &[("decoders", decoders), ("memory", memory), ("do", what)])?;
                }
            }
        }
        Ok(self)
    }
}
