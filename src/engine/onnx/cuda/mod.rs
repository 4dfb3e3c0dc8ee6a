//! Runs a network on an NVIDIA GPU as captured CUDA graphs, one for each of a few batch sizes: without them a change of
//! the batch size costs ONNX Runtime seconds, and a run spends its time on launching kernels.
//!
//! Each size has a session of its own. (One session can hold several graphs, but what it frees when it sees the next
//! size, a graph captured before may still use: with `prefer_nhwc` the replay read freed memory.) Its tensors on the
//! device are bound once, since a replay knows only their addresses. Crops come from pinned memory and key points go to
//! pinned memory, on the session's own stream.

mod device;
mod turns;

use ort::{
    ep,
    memory::{AllocationDevice, Allocator, AllocatorType, MemoryInfo, MemoryType},
    session::{IoBinding, RunOptions, Session},
    value::{Tensor, TensorRef},
};

use super::run_error;
use crate::{
    engine::{Error, ErrorKind, Executor, LoadEvent, Loading},
    pose::Peak,
};
use device::{Address, Pinned, Stream};
use turns::DroppedInTurn;

/// How often captures are tried: what others do in the process can spoil one.
const ATTEMPTS: usize = 3;

/// Runs of a size, with its tensors bound, before it is captured: even a second run can allocate memory, which a
/// capture must not.
const RUNS_BEFORE_CAPTURE: usize = 2;

/// `gpu_graph_id` of runs that are not captured, and of those that are.
const UNCAPTURED: &str = "-1";
const CAPTURED: &str = "0";

/// Values of a key point in the network's answer: x, y, max_x, max_y.
const COLUMNS: usize = 4;

/// What to capture.
pub(super) struct Network<'a> {
    /// Makes the session for a batch size: uint8 `[N, height, width, 3]` in, float32 `[N, key points, 4]` out.
    pub session: &'a dyn Fn(usize, ep::CUDA) -> Result<Session, Error>,
    pub width: u32,
    pub height: u32,
    pub device_id: i32,
    /// Batch sizes, ascending.
    pub sizes: &'a [usize],
}

impl Network<'_> {
    fn crop_bytes(&self) -> usize {
        self.width as usize * self.height as usize * 3
    }

    fn input_shape(&self, rows: usize) -> [usize; 4] {
        [rows, self.height as usize, self.width as usize, 3]
    }
}

/// Runs prepared batch sizes. Closed when nobody captures.
pub(super) struct CapturedExecutor(DroppedInTurn<Captured>);

struct Captured {
    /// By batch size, ascending.
    graphs: Vec<Graph>,
    /// Replays the graphs.
    options: RunOptions,
    host: Host,
}

/// What is copied to the device and back.
struct Host {
    /// Crops, [largest size, height, width, 3].
    input: Pinned<u8>,
    /// Key points, [largest size, K].
    output: Pinned<[f32; COLUMNS]>,
    crop_bytes: usize,
    points: usize,
}

/// A batch size with its tensors on the device.
struct Graph {
    rows: usize,
    /// Keeps the tensors.
    binding: IoBinding,
    input: Address,
    output: Address,
    session: Session,
    /// Dropped last: the session uses it.
    stream: Stream,
}

/// A session that has run once, in which cuDNN chose its kernels: that takes most of the time of loading.
struct Loaded {
    rows: usize,
    points: usize,
    session: Session,
    stream: Stream,
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
    /// Loads the network and captures a graph of each size. A session whose capture was spoiled is of no use any more:
    /// each attempt makes new ones.
    pub(super) fn open(network: &Network, loading: &Loading) -> Result<Self, Error> {
        for attempt in 1.. {
            match Self::try_open(network, loading) {
                Ok(executor) => return Ok(executor),
                Err(Failure::Capture(error)) if attempt < ATTEMPTS => {
                    let text = format!("CUDA graphs: attempt {attempt} of {ATTEMPTS} failed ({error})");
                    (loading.report)(LoadEvent::Info(text));
                }
                Err(Failure::Capture(error) | Failure::Final(error)) => return Err(error),
            }
        }
        unreachable!("the last attempt returns")
    }

    fn try_open(network: &Network, loading: &Loading) -> Result<Self, Failure> {
        let uncaptured = std::sync::Arc::new(run_options(UNCAPTURED)?);
        let terminated = uncaptured.clone();
        loading.cancelled.on_cancel(move || drop(terminated.terminate()));
        let mut loaded = Vec::new();
        for rows in network.sizes {
            loading.cancelled.check()?;
            let step = format!("Choosing kernels for batches of {rows} on cuda");
            (loading.report)(LoadEvent::Step(step));
            loaded.push(Loaded::new(network, *rows, &uncaptured)?);
        }

        let largest = loaded.last().ok_or_else(|| Error::new(ErrorKind::Run, "No batch size"))?;
        let (rows, points, crop_bytes) = (largest.rows, largest.points, network.crop_bytes());
        let host = {
            let _turn = turns::load();
            let input = largest.stream.pinned(rows * crop_bytes)?;
            let output = largest.stream.pinned(rows * points)?;
            Host { input, output, crop_bytes, points }
        };
        let options = run_options(CAPTURED)?;
        let mut captured = DroppedInTurn::new(Captured { graphs: Vec::new(), options, host });
        for loaded in loaded {
            loading.cancelled.check()?;
            let rows = loaded.rows;
            (loading.report)(LoadEvent::Step(format!("Capturing batches of {rows} on cuda")));
            let Captured { graphs, options, host } = &mut *captured;
            graphs.push({
                let _turn = turns::load();
                Graph::bind(loaded, network)?
            });
            let graph = graphs.last_mut().expect("one was pushed just now");
            for _ in 0..RUNS_BEFORE_CAPTURE {
                let _turn = turns::load();
                graph.run(host, rows, &uncaptured)?;
            }
            let _turn = turns::capture();
            graph.run(host, rows, options).map_err(Failure::Capture)?;
        }
        Ok(Self(captured))
    }

    /// Key points of a person.
    pub(super) fn points(&self) -> usize {
        self.0.host.points
    }
}

impl Loaded {
    fn new(network: &Network, rows: usize, uncaptured: &RunOptions) -> Result<Self, Error> {
        let _turn = turns::load();
        let stream = Stream::new(network.device_id)?;
        let provider = ep::CUDA::default().with_device_id(network.device_id).with_cuda_graph(true);
        // SAFETY: the stream is dropped after the session, here as well as in the structs.
        let provider = unsafe { provider.with_compute_stream(stream.handle()) };
        let t = std::time::Instant::now();
        let mut session = (network.session)(rows, provider)?;
        eprintln!("TMP session {rows} {:?}", t.elapsed());
        let points = count_points(&mut session, network.input_shape(rows), uncaptured)?;
        eprintln!("TMP first run {rows} {:?}", t.elapsed());
        Ok(Self { rows, points, session, stream })
    }
}

/// Runs the session with tensors in host memory: not every file says the number of key points.
fn count_points(session: &mut Session, shape: [usize; 4], options: &RunOptions) -> Result<usize, Error> {
    let crops = vec![0u8; shape.iter().product()];
    let input = TensorRef::from_array_view((shape, crops.as_slice())).map_err(run_error)?;
    let outputs = session.run_with_options(ort::inputs![input], options).map_err(run_error)?;
    let (found, _) = outputs[0].try_extract_tensor::<f32>().map_err(run_error)?;
    match found[..] {
        [n, points, columns] if n == shape[0] as i64 && points > 0 && columns == COLUMNS as i64 => {
            Ok(points as usize)
        }
        _ => Err(Error::new(
            ErrorKind::ModelRefused,
            format!(
                "The network answers a batch of {} with {:?}, expected [{0}, key points, {COLUMNS}]",
                shape[0],
                &found[..]
            ),
        )),
    }
}

fn run_options(graph: &str) -> Result<RunOptions, Error> {
    let mut options = RunOptions::new().map_err(run_error)?;
    options.set("gpu_graph_id", graph).map_err(run_error)?;
    Ok(options)
}

impl Graph {
    /// Gives a session its tensors.
    fn bind(loaded: Loaded, network: &Network) -> Result<Self, Error> {
        let Loaded { rows, points, session, stream } = loaded;
        let bind = || -> ort::Result<_> {
            let device = AllocationDevice::CUDA;
            let memory =
                MemoryInfo::new(device, network.device_id, AllocatorType::Device, MemoryType::Default)?;
            let memory = Allocator::new(&session, memory)?;
            let mut input = Tensor::<u8>::new(&memory, network.input_shape(rows))?;
            let mut output = Tensor::<f32>::new(&memory, [rows, points, COLUMNS])?;
            let addresses = (input.data_ptr_mut() as Address, output.data_ptr_mut() as Address);
            let mut binding = session.create_binding()?;
            binding.bind_input(session.inputs()[0].name(), &input)?;
            binding.bind_output(session.outputs()[0].name(), output)?;
            Ok((binding, addresses))
        };
        let (binding, (input, output)) = bind().map_err(run_error)?;
        Ok(Self { rows, binding, input, output, session, stream })
    }

    /// Runs the first rows of `host.input`, whose key points are in `host.output` then. The first run with the graph's
    /// own options captures it.
    fn run(&mut self, host: &mut Host, rows: usize, options: &RunOptions) -> Result<(), Error> {
        // SAFETY: the tensors hold `self.rows` rows, which is as many or more, and `wait` comes below.
        unsafe { self.stream.copy_in(&host.input[..rows * host.crop_bytes], self.input)? };
        let ran = self.session.run_binding_with_options(&self.binding, options).map(drop).map_err(run_error);
        // SAFETY: likewise.
        let copied = unsafe { self.stream.copy_out(self.output, &mut host.output[..rows * host.points]) };
        // Also after a failure: the device must not read or write any more when this returns.
        let ended = self.stream.wait();
        ran.and(copied).and(ended)
    }
}

impl Executor for CapturedExecutor {
    fn load(&mut self, row: usize, crop: &[u8]) {
        let host = &mut self.0.host;
        let bytes = host.crop_bytes;
        host.input[row * bytes..][..bytes].copy_from_slice(crop);
    }

    fn run(&mut self, rows: usize, peaks: &mut [Peak]) -> Result<usize, Error> {
        let Captured { graphs, options, host } = &mut *self.0;
        let graph = graphs
            .iter_mut()
            .find(|graph| graph.rows >= rows)
            .ok_or_else(|| Error::new(ErrorKind::Run, format!("No batch size for {rows} crops")))?;
        let _turn = turns::run();
        graph.run(host, rows, options)?;
        for (peak, [x, y, max_x, max_y]) in peaks.iter_mut().zip(&host.output[..rows * host.points]) {
            *peak = Peak { x: *x, y: *y, max_x: *max_x, max_y: *max_y };
        }
        Ok(graph.rows)
    }

    fn warm_up_sizes(&self) -> Vec<usize> {
        self.0.graphs.iter().map(|graph| graph.rows).collect()
    }
}
