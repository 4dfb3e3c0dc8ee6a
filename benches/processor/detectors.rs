//! Detectors: `rtmposedetect` beside the bare session, detector and pose network together beside rtmlib's `Body`, and letterboxes
//! beside OpenCV's.

use std::path::PathBuf;

use gst::prelude::*;
use gstrtmpose::{
    meta,
    video::{ChromaSite, Fit, FrameShape, Sampler, Whole},
};
use ort::value::TensorRef;

use super::{
    Options, Result, Run, Worker,
    pictures::{FORMATS, Frame, Matrix},
    work::{self, SIZE, Work},
};

/// Networks that models/random_detectors.py writes, the side of their input, and the frames in a block.
const NETWORKS: [(&str, &str, usize); 4] = [
    ("yolox-nano", "416", 48),
    ("yolox-nano-coco", "416", 48),
    ("rtmdet-nano", "320", 64),
    ("rtmo-s", "640", 8),
];

/// The bare session of a network for whole frames: takes ready-made batches, and its answers are read.
pub fn bare(options: &Options) -> Result<(Work, usize)> {
    let mut session = work::session(options)?;
    let (rows, side) = (options.count("batch", 4)?, options.count("side", 416)?);
    let shape = [rows, 3, side, side];
    let length = shape.iter().product();
    let ready = |seed: usize| (0..length).map(|i| ((i / 7 + seed * 31) % 255) as f32).collect();
    let batches: Vec<Vec<f32>> = (0..4).map(ready).collect();
    let mut turn = 0;
    let kept = 4 * length * size_of::<f32>();
    let work = move |frames: usize| {
        for _ in 0..frames / rows {
            turn += 1;
            let input = TensorRef::from_array_view((shape, &batches[turn % batches.len()][..]))?;
            let outputs = session.run(ort::inputs![input])?;
            let (_, numbers) = outputs[0].try_extract_tensor::<f32>()?;
            std::hint::black_box(numbers.iter().sum::<f32>());
        }
        Ok(())
    };
    Ok((Box::new(work), kept))
}

/// An element, or a chain of them, fed with decoded NV12 frames.
fn fed(line: &str, check: fn(&gst::BufferRef, u32) -> Result<()>, people: u32) -> Result<(Work, usize)> {
    let element = gst::parse::bin_from_description(line, true)?;
    let caps = "video/x-raw,format=NV12,width=1280,height=720,framerate=30/1,colorimetry=bt709";
    let pads = work::between_pads(element.upcast(), caps)?;
    let frames = work::frames();
    let kept = frames.iter().map(|frame| frame.size()).sum();
    let work = move |count: usize| {
        for frame in frames.iter().cycle().take(count) {
            pads.source.push(frame.copy())?;
        }
        for buffer in pads.passed.iter().take(count) {
            check(&buffer, people)?;
        }
        Ok(())
    };
    Ok((Box::new(work), kept))
}

fn detecting(options: &Options, file: &str) -> Result<String> {
    Ok(format!(
        "rtmposedetect execution-provider=cpu model-file=\"{file}\" batch-size={} inference-threads={}",
        options.count("batch", 4)?,
        options.count("threads", 0)?
    ))
}

fn posing(options: &Options, file: &str) -> Result<String> {
    Ok(format!(
        "rtmposebatch execution-provider=cpu model-file=\"{file}\" batch-size={} inference-threads={}",
        options.count("pose-batch", 8)?,
        options.count("threads", 0)?
    ))
}

/// Checks that a frame has `people` regions, or `people` people with key points.
fn has_regions(buffer: &gst::BufferRef, people: u32) -> Result<()> {
    let found = buffer.iter_meta::<gst_video::VideoRegionOfInterestMeta>().count();
    if found == people as usize { Ok(()) } else { Err(format!("{found} people instead of {people}").into()) }
}

fn has_people(buffer: &gst::BufferRef, people: u32) -> Result<()> {
    let found = meta::read(buffer).next().ok_or("a frame without people")??.people.len();
    if found == people as usize { Ok(()) } else { Err(format!("{found} people instead of {people}").into()) }
}

/// The network alone in its element.
pub fn element(options: &Options) -> Result<(Work, usize)> {
    work::init()?;
    let (file, people) = (options.text("model", ""), options.count("people", 2)? as u32);
    if file.contains("rtmo") {
        let line = posing(&options.with(&[("pose-batch", options.text("batch", "4"))]), file)?;
        return fed(&line, has_people, people);
    }
    fed(&detecting(options, file)?, has_regions, people)
}

/// Detector, then pose network.
pub fn chain(options: &Options) -> Result<(Work, usize)> {
    work::init()?;
    let line = format!(
        "{} ! {}",
        detecting(options, options.text("detector", ""))?,
        posing(options, options.text("model", ""))?
    );
    fed(&line, has_people, options.count("people", 2)? as u32)
}

/// A whole frame of 1280x720 in a letterbox.
pub fn letterbox(options: &Options) -> Result<Work> {
    let name = options.text("format", "NV12");
    let (_, layout) = FORMATS.iter().find(|(format, _)| *format == name).ok_or("no such format")?;
    let bt709 = Matrix { kr: 0.2126, kb: 0.0722, full_range: false };
    let colour = |x: usize, y: usize| [(x * 3 + y) as u8, (x ^ y) as u8, (x * y / 64) as u8];
    let frame = Frame::new(*layout, SIZE, 0, bt709, ChromaSite::MPEG2, colour);
    let side = options.count("side", 416)? as u32;
    let shape = FrameShape::new(SIZE.0 as u32, SIZE.1 as u32, (1, 1));
    let whole = Whole::new(Fit::Letterbox, shape, side, side).ok_or("sides of nothing")?;
    let mut sampler = Sampler::new(side, side, 1.0);
    let mut out = vec![0; (side * side * 3) as usize];
    Ok(Box::new(move |count| {
        for _ in 0..count {
            sampler.sample_whole(std::hint::black_box(&frame.picture()), &whole, &mut out);
            std::hint::black_box(&out);
        }
        Ok(())
    }))
}

impl Run<'_> {
    fn network(&self, name: &str) -> Result<String> {
        let file = PathBuf::from(self.options.text("models", ".")).join(format!("{name}-random.onnx"));
        match file.to_str().filter(|_| file.exists()) {
            Some(file) => Ok(file.to_string()),
            None => Err(format!(
                "{} is missing: models/random_detectors.py FOLDER NAME... --people 2 writes it",
                file.display()
            )
            .into()),
        }
    }

    /// The bare session and the element, with the same file at the same batch.
    pub(super) fn detectors(mut self) -> Result<Self> {
        let wanted =
            self.options.text("networks", "yolox-nano,yolox-nano-coco,rtmdet-nano,rtmo-s").to_string();
        for (name, side, frames) in
            NETWORKS.into_iter().filter(|(name, ..)| wanted.split(',').any(|one| one == *name))
        {
            let file = self.network(name)?;
            for batch in self.options.text("batches", "4").split(',') {
                let settings = [("model", &file[..]), ("batch", batch), ("side", side)];
                let workers = vec![
                    Worker::own(self.options, "bare-detector", frames, &settings)?,
                    Worker::own(self.options, "detector", frames, &settings)?,
                ];
                self.interleave(workers, &[("bare", 0)])?;
            }
        }
        Ok(self)
    }

    /// Detector and pose network beside rtmlib's `Body` with the same files.
    pub(super) fn chain(mut self) -> Result<Self> {
        let (detector, pose) =
            (self.network("yolox-nano")?, concat!(env!("CARGO_MANIFEST_DIR"), "/models/rtmpose-t.onnx"));
        let settings = [("detector", &detector[..]), ("model", pose)];
        let mut workers = vec![Worker::own(self.options, "chain", 32, &settings)?];
        let mut against = Vec::new();
        // In rtmlib ONNX Runtime's threads spin. That gains time if the process has the cores for itself, and
        // loses time otherwise.
        for (spin, name) in [("on", "rtmlib"), ("off", "rtmlib-not-spinning")] {
            let settings = [settings[0], settings[1], ("spin", spin)];
            if let Some(peer) = Worker::peer(self.options, "body", 32, &settings)? {
                against.push((name, workers.len()));
                workers.push(peer);
            }
        }
        self.interleave(workers, &against)?;
        Ok(self)
    }

    /// Letterboxes on one core, with nothing else.
    pub(super) fn letterbox(mut self) -> Result<Self> {
        let one = self.options.with(&[("threads", "1")]);
        for side in ["416", "640"] {
            let of = |format| [("format", format), ("side", side)];
            let mut workers = vec![
                Worker::own(&one, "letterbox", 1000, &of("NV12"))?,
                Worker::own(&one, "letterbox", 1000, &of("RGB"))?,
            ];
            let mut against = Vec::new();
            for (format, name) in [("NV12", "opencv-NV12"), ("RGB", "opencv-RGB")] {
                if let Some(peer) = Worker::peer(&one, "opencv-letterbox", 100, &of(format))? {
                    against.push((name, workers.len()));
                    workers.push(peer);
                }
            }
            self.interleave(workers, &against)?;
        }
        Ok(self)
    }
}
