//! Runs a model on an NVIDIA GPU as captured CUDA graphs, one for each of a few batch sizes. Without them, a change of the
//! batch size costs ONNX Runtime seconds, and a run spends its time on launching kernels.
//!
//! Each size has its own session. (One session can hold several graphs, but memory that it frees when it sees the next size
//! may still be used by a graph captured before: with `prefer_nhwc`, the replay read freed memory.) Its tensors on the
//! device are bound once, because a replay knows only their addresses. Crops come from pinned memory and key points go to
//! pinned memory, on the session's own stream. Pinned memory holds two batches: the next one is loaded while one runs, if
//! ONNX Runtime replays a graph without waiting for its end (1.31 does, 1.24 does not).

pub(super) mod capture_lock;
mod device;
mod sampling;

use std::sync::{Arc, Mutex, PoisonError};

use super::{
    library::Runtime,
    session::{Binding, RunOptions, Session},
    slot::{CardCrop, CropSlot, unfetched_crop},
};
use crate::{
    engine::{Error, ErrorKind, Executor, LoadEvent, Loading, Overlapping, Slot},
    network::{
        Kind, Network, Provider, Refusal, Task,
        contract::{self, Contract, IMAGE},
        file::ModelFile,
    },
    video::cuda::Device,
};
use capture_lock::{DroppedUnderLock, Permit};
pub use device::Stream;
use device::{OnStream, Pinned};
use sampling::Sampling;

/// The GPU with that number, for frames that stay there; an error if the machine lacks something. It is opened once.
pub fn device(number: i32) -> Result<Arc<Device>, String> {
    static DEVICES: Mutex<Vec<(i32, Arc<Device>)>> = Mutex::new(Vec::new());
    let mut devices = DEVICES.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((_, device)) = devices.iter().find(|(known, _)| *known == number) {
        return Ok(device.clone());
    }
    let _permit = capture_lock::load();
    let device = Arc::new(Device::open(number)?);
    devices.push((number, device.clone()));
    Ok(device)
}

/// How often captures are tried: other threads of the process can spoil one.
const ATTEMPTS: usize = 3;

/// Runs of a size, with its tensors bound, before it is captured: even a second run can allocate memory, which is not
/// allowed in a capture.
const RUNS_BEFORE_CAPTURE: usize = 2;

/// `gpu_graph_id` of runs that are not captured, and of those that are.
const UNCAPTURED: &str = "-1";
const CAPTURED: &str = "0";

/// What to capture.
pub(super) struct Plan<'a> {
    pub runtime: Runtime,
    /// Makes the session of the adapted graph for a batch size, to be captured on a stream that must outlive it.
    pub session: &'a dyn Fn(usize, &Stream) -> Result<Session, Error>,
    pub contract: Contract,
    /// The model's name in messages.
    pub name: &'a str,
    pub device_id: i32,
    /// Batch sizes, ascending.
    pub sizes: &'a [usize],
}

impl Plan<'_> {
    fn input_shape(&self, rows: usize) -> [usize; 4] {
        [rows, self.contract.height as usize, self.contract.width as usize, 3]
    }
}

/// Runs prepared batch sizes. Closed when no thread captures.
pub(super) struct CapturedExecutor(DroppedUnderLock<Captured>);

struct Captured {
    /// By batch size, ascending.
    graphs: Vec<Graph>,
    /// Replays the graphs.
    options: RunOptions,
    host: Host,
    contract: Contract,
    /// ONNX Runtime does not wait for the end of a replay.
    overlaps: bool,
    begun: Option<Begun>,
}

/// A run in progress on the device.
struct Begun {
    graph: usize,
    rows: usize,
    _permit: Permit<'static>,
}

/// Buffers that are copied to the device and back.
struct Host {
    /// Crops of two runs, [largest size, height, width, 3] each.
    inputs: [Pinned<u8>; 2],
    /// The half that is loaded for the next run; the other half may be in use by the device.
    loading: usize,
    /// Answers, [largest size, R].
    output: Pinned<f32>,
    /// Crops of the same two runs that are in GPU memory: their rows.
    cards: [Vec<(usize, CardCrop)>; 2],
    /// Rows of the same two runs whose crop could not be copied from another GPU, and of the last run.
    unfetched: [Vec<(usize, Error)>; 2],
    refused: Vec<(usize, Error)>,
    /// The GPU's number.
    card: Option<u32>,
    /// None if frames cannot be read on the GPU.
    sampling: Option<Sampling>,
    /// Values of one row of each.
    crop_values: usize,
    answer_values: usize,
    kind: Kind,
}

impl Host {
    /// A run with the crops of that half has ended.
    fn end(&mut self, half: usize) {
        self.cards[half].clear();
        self.refused = std::mem::take(&mut self.unfetched[half]);
    }
}

/// A batch size with its tensors on the device.
struct Graph {
    rows: usize,
    bound: OnStream<Bound>,
}

/// A session and its tensors.
struct Bound {
    /// Keeps the tensors alive. Dropped before the session, whose allocator they came from.
    binding: Binding,
    session: Session,
}

/// A session that has run once, when cuDNN chose its kernels: that is most of the loading time.
struct Loaded {
    rows: usize,
    kind: Kind,
    session: OnStream<Session>,
}

/// Why there are no graphs.
enum Failure {
    /// A capture was spoiled: another one may succeed.
    Capture(Error),
    Final(Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Final(error)
    }
}

impl CapturedExecutor {
    /// Loads the model and captures a graph of each size.
    pub(super) fn open(plan: &Plan, loading: &Loading) -> Result<Self, Error> {
        retried(loading, || Self::try_open(plan, loading))
    }

    fn try_open(plan: &Plan, loading: &Loading) -> Result<Self, Failure> {
        let uncaptured = std::sync::Arc::new(run_options(plan.runtime, UNCAPTURED)?);
        let terminated = uncaptured.clone();
        loading.cancelled.on_cancel(move || terminated.terminate());
        let mut loaded = Vec::new();
        for rows in plan.sizes {
            loaded.push(DroppedUnderLock::new(Loaded::new(plan, *rows, &uncaptured, loading)?, true));
        }

        let largest = loaded.last().ok_or_else(|| Error::new(ErrorKind::Run, "No batch size"))?;
        let (rows, kind) = (largest.rows, largest.kind);
        let crop_values = plan.input_shape(1).iter().product();
        let answer_values = kind.row();
        let host = {
            let _permit = capture_lock::load();
            let stream = largest.session.stream();
            let input = || stream.pinned(rows * crop_values);
            let inputs = [input()?, input()?];
            let output = stream.pinned(rows * answer_values)?;
            let sampling = match device(plan.device_id) {
                Ok(device) => Some(Sampling::new(device, stream, rows, plan)?),
                Err(why) => {
                    let text = format!("Frames in CUDA memory are not accepted: {why}");
                    (loading.report)(LoadEvent::Info(text));
                    None
                }
            };
            Host {
                inputs,
                loading: 0,
                output,
                cards: Default::default(),
                unfetched: Default::default(),
                refused: Vec::new(),
                card: sampling.as_ref().and(u32::try_from(plan.device_id).ok()),
                sampling,
                crop_values,
                answer_values,
                kind,
            }
        };
        let capturing = run_options(plan.runtime, CAPTURED)?;
        let mut options = run_options(plan.runtime, CAPTURED)?;
        options.set("disable_synchronize_execution_providers", "1")?;
        let captured = Captured {
            graphs: Vec::new(),
            options,
            host,
            contract: plan.contract,
            overlaps: false,
            begun: None,
        };
        let mut captured = DroppedUnderLock::new(captured, true);
        for loaded in loaded {
            loading.cancelled.check()?;
            let rows = loaded.rows;
            (loading.report)(LoadEvent::Step(format!("Capturing batches of {rows} on cuda")));
            let Captured { graphs, host, .. } = &mut *captured;
            graphs.push({
                let _permit = capture_lock::load();
                Graph::bind(loaded.into_inner(), plan)?
            });
            let graph = graphs.last_mut().expect("one was pushed just now");
            for _ in 0..RUNS_BEFORE_CAPTURE {
                let _permit = capture_lock::load();
                graph.run(host, rows, &uncaptured)?;
            }
            let _permit = capture_lock::capture(loading.cancelled).map_err(|error| match error.kind {
                ErrorKind::Cancelled => Failure::Final(error),
                _ => Failure::Capture(error),
            })?;
            graph.run(host, rows, &capturing).map_err(Failure::Capture)?;
        }
        captured.try_overlapping()?;
        if !captured.overlaps {
            let text = "This ONNX Runtime waits for the end of each run, so batches are copied between runs; a newer \
                        version is faster";
            (loading.report)(LoadEvent::Info(text.to_string()));
        }
        Ok(Self(captured))
    }

    pub(super) fn with_network(self, file: &ModelFile) -> (Network, Box<dyn Executor>) {
        let Contract { width, height, .. } = self.0.contract;
        let kind = self.0.host.kind;
        let (score_unit, sha256) = (file.score_unit, Some(file.sha256.clone()));
        let network = Network { width, height, kind, provider: Provider::Cuda, score_unit, sha256 };
        (network, Box::new(self))
    }
}

/// Opens sessions again that a spoiled capture has made unusable, a few times.
fn retried<T>(loading: &Loading, mut open: impl FnMut() -> Result<T, Failure>) -> Result<T, Error> {
    let mut attempt = 1;
    loop {
        match open() {
            Ok(opened) => return Ok(opened),
            Err(Failure::Capture(error)) if attempt < ATTEMPTS => {
                let text = format!("CUDA graphs: attempt {attempt} of {ATTEMPTS} failed ({error})");
                (loading.report)(LoadEvent::Info(text));
                attempt += 1;
            }
            Err(Failure::Capture(error) | Failure::Final(error)) => return Err(error),
        }
    }
}

impl Loaded {
    fn new(plan: &Plan, rows: usize, uncaptured: &RunOptions, loading: &Loading) -> Result<Self, Error> {
        let _permit = capture_lock::load();
        // A detector fills the gaps: what it delays are frames that still need the other model, too.
        let is_urgent = plan.contract.task() == Task::Poses;
        let stream = Stream::new(plan.device_id, is_urgent)?;
        let mut session = OnStream::try_new(stream, |stream| (plan.session)(rows, stream))?;
        loading.cancelled.check()?;
        let step = format!("Choosing kernels for batches of {rows} on cuda");
        (loading.report)(LoadEvent::Step(step));
        let kind = see_kind(&mut session, plan, rows, uncaptured)?;
        Ok(Self { rows, kind, session })
    }
}

/// Runs the session with tensors in host memory: not every file declares the number of key points.
fn see_kind(session: &mut Session, plan: &Plan, rows: usize, options: &RunOptions) -> Result<Kind, Error> {
    let shape = plan.input_shape(rows);
    let crops = vec![0u8; shape.iter().product()];
    let outputs = session.run((IMAGE, shape, &crops[..]), Some(options))?;
    let (found, _) = outputs.get(plan.contract.output())?;
    contract::check_rows(&plan.contract, rows, found, plan.name).map_err(Refusal::of_file)
}

fn run_options(runtime: Runtime, graph: &str) -> Result<RunOptions, Error> {
    let mut options = runtime.run_options()?;
    options.set("gpu_graph_id", graph)?;
    Ok(options)
}

impl Graph {
    /// Binds a session's tensors.
    fn bind(loaded: Loaded, plan: &Plan) -> Result<Self, Error> {
        let Loaded { rows, kind, session } = loaded;
        let input = (IMAGE, plan.input_shape(rows));
        let output = (plan.contract.output(), kind.dimensions(rows));
        let bind = |session: Session| {
            let binding = session.bind(plan.device_id, input, output)?;
            Ok(Bound { binding, session })
        };
        Ok(Self { rows, bound: session.try_map(bind)? })
    }

    /// Runs the first rows that are loaded; their key points are then in `host.output`. The first run with the graph's own
    /// options captures it.
    fn run(&mut self, host: &mut Host, rows: usize, options: &RunOptions) -> Result<(), Error> {
        // SAFETY: `wait` comes next.
        let begun = unsafe { self.begin(host, rows, options) };
        // Also after a failure: the device must not read or write after this returns.
        begun.and(self.bound.stream().wait())
    }

    /// Starts that run, and waits for its end only if ONNX Runtime does.
    ///
    /// # Safety
    /// Until the stream was waited for, which is required after a failure, too, the rows must not be written, and
    /// `host.output` must not be touched.
    unsafe fn begin(&mut self, host: &mut Host, rows: usize, options: &RunOptions) -> Result<(), Error> {
        let input = &host.inputs[host.loading][..rows * host.crop_values];
        let cards = &mut host.cards[host.loading];
        // From a batch that was loaded and not run.
        cards.retain(|(row, _)| *row < rows);
        let (Bound { binding, session }, stream) = self.bound.parts();
        // SAFETY: the tensors hold `self.rows` rows, which is as many or more; the caller guarantees the rest.
        unsafe {
            if cards.len() < rows {
                stream.copy_in(input, binding.input)?;
            }
            if let Some(sampling) = &mut host.sampling {
                sampling.begin(cards, stream, binding.input)?;
            }
        }
        let ran = session.run_bound(binding, options);
        // SAFETY: likewise.
        let copied =
            unsafe { stream.copy_out(binding.output, &mut host.output[..rows * host.answer_values]) };
        ran.and(copied)
    }
}

impl Captured {
    /// The smallest graph with room for the rows.
    fn graph_for(&self, rows: usize) -> Result<usize, Error> {
        let found = self.graphs.iter().position(|graph| graph.rows >= rows);
        found.ok_or_else(|| Error::new(ErrorKind::Run, format!("No batch size for {rows} crops")))
    }

    fn read(&self, rows: usize, answers: &mut [f32]) {
        let values = rows * self.host.answer_values;
        answers[..values].copy_from_slice(&self.host.output[..values]);
    }

    /// Checks whether the device is still busy after ONNX Runtime has started a run of the largest size: older versions wait
    /// for the end of a replay, whatever the options say.
    fn try_overlapping(&mut self) -> Result<(), Error> {
        let Some(graph) = self.graphs.last_mut() else { return Ok(()) };
        for _ in 0..3 {
            let _permit = capture_lock::run();
            let rows = graph.rows;
            // SAFETY: no thread loads here, and `wait` comes below.
            let begun = unsafe { graph.begin(&mut self.host, rows, &self.options) };
            self.overlaps |= graph.bound.stream().is_busy();
            begun.and(graph.bound.stream().wait())?;
        }
        Ok(())
    }
}

impl Drop for CapturedExecutor {
    /// After a panic in mid-run: the device must not use host memory after it is freed, and the permit must be returned
    /// before the one for closing is requested.
    fn drop(&mut self) {
        if let Some(Begun { graph, .. }) = self.0.begun.take() {
            let _ = self.0.graphs[graph].bound.stream().wait();
        }
    }
}

impl Executor for CapturedExecutor {
    fn load(&mut self, row: usize, crop: &dyn Slot) {
        let Captured { host, begun, .. } = &mut *self.0;
        let Host { inputs, loading, cards, unfetched, card, crop_values, .. } = host;
        let (cards, unfetched) = (&mut cards[*loading], &mut unfetched[*loading]);
        cards.retain(|(other, _)| *other != row);
        unfetched.retain(|(other, _)| *other != row);
        let input = &mut inputs[*loading][row * *crop_values..][..*crop_values];
        match CropSlot::on_a_card(crop) {
            None => input.copy_from_slice(crop.bytes()),
            Some(crop) if *card == Some(crop.frame.card()) => cards.push((row, crop.clone())),
            // Its own GPU is lost to the engine.
            Some(CardCrop { frame, task }) => {
                // During a run, its permit is enough.
                let _permit = begun.is_none().then(capture_lock::run);
                unfetched.extend(frame.fetch_crop(task, input).err().map(|why| (row, unfetched_crop(&why))));
            }
        }
    }

    fn refused(&mut self) -> Vec<(usize, Error)> {
        std::mem::take(&mut self.0.host.refused)
    }

    fn run(&mut self, rows: usize, answers: &mut [f32]) -> Result<usize, Error> {
        let index = self.0.graph_for(rows)?;
        let Captured { graphs, options, host, .. } = &mut *self.0;
        let _permit = capture_lock::run();
        let ran = graphs[index].run(host, rows, options);
        host.end(host.loading);
        ran?;
        self.0.read(rows, answers);
        Ok(self.0.graphs[index].rows)
    }

    fn warm_up_sizes(&self) -> Vec<usize> {
        self.0.graphs.iter().map(|graph| graph.rows).collect()
    }

    fn overlapping(&mut self) -> Option<&mut dyn Overlapping> {
        if self.0.overlaps { Some(self) } else { None }
    }
}

impl Overlapping for CapturedExecutor {
    fn begin(&mut self, rows: usize) -> Result<(), Error> {
        let index = self.0.graph_for(rows)?;
        let Captured { graphs, options, host, begun, .. } = &mut *self.0;
        let permit = capture_lock::run();
        let graph = &mut graphs[index];
        // SAFETY: `load` uses the other half from now on; `finish` waits before it reads, and `drop` before memory is freed.
        if let Err(error) = unsafe { graph.begin(host, rows, options) } {
            let _ = graph.bound.stream().wait();
            host.end(host.loading);
            return Err(error);
        }
        host.loading = 1 - host.loading;
        *begun = Some(Begun { graph: index, rows, _permit: permit });
        Ok(())
    }

    fn finish(&mut self, answers: &mut [f32]) -> Result<usize, Error> {
        let Some(Begun { graph, rows, _permit }) = self.0.begun.take() else {
            return Err(Error::new(ErrorKind::Run, "No run was begun"));
        };
        let Captured { graphs, host, .. } = &mut *self.0;
        let graph = &graphs[graph];
        let ended = graph.bound.stream().wait();
        // Those of the run that has ended: the other half is loaded for the next one.
        host.end(1 - host.loading);
        ended?;
        let rows_of_the_graph = graph.rows;
        self.0.read(rows, answers);
        Ok(rows_of_the_graph)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Applies to a sequence of results: how many are requested, and what is reported.
    fn attempts(results: Vec<Result<u32, Failure>>) -> (Result<u32, String>, usize, usize) {
        let told = std::cell::Cell::new(0);
        let report = |_| told.set(told.get() + 1);
        let loading = Loading { report: &report, cancelled: &Default::default(), most_crops: 1 };
        let (mut results, mut asked) = (results.into_iter(), 0);
        let result = retried(&loading, || {
            asked += 1;
            results.next().expect("no more is asked for")
        });
        (result.map_err(|error| error.message), asked, told.get())
    }

    #[test]
    fn a_spoiled_capture_is_tried_three_times() {
        let error = |text: &str| Error::new(ErrorKind::Run, text);
        let spoiled = |text| Err(Failure::Capture(error(text)));
        assert_eq!(attempts(vec![Ok(7)]), (Ok(7), 1, 0));
        assert_eq!(attempts(vec![spoiled("1"), spoiled("2"), Ok(7)]), (Ok(7), 3, 2));
        let all = vec![spoiled("1"), spoiled("2"), spoiled("3")];
        assert_eq!(attempts(all), (Err("3".to_string()), 3, 2));
        let other = vec![spoiled("1"), Err(Failure::Final(error("no device")))];
        assert_eq!(attempts(other), (Err("no device".to_string()), 2, 1));
    }
}
