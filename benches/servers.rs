//! What a batch costs on its way to a server and back: crops a second, the client's processor time for a crop, round trips, and
//! memory. The server is another process, on loopback, which answers at once: what is measured is the way.
//!
//!     cargo bench --bench servers -- --seconds 10
//!     cargo bench --bench servers -- --seconds 20 --cameras 8 --servers 2    live cameras: how long a crop waits for its answer

use std::{
    convert::Infallible,
    io::{BufRead, BufReader, Write},
    process::{Child, Command, Stdio},
    sync::{Arc, Condvar, Mutex},
    time::{Duration, Instant},
};

use clap::Parser;
use gstrtmpose::{
    engine::{Cancel, Engine, EngineSettings, Stream, TimeoutPolicy},
    runtime::kserve::{Address, KserveBackend},
};
use http_body_util::{BodyExt, channel::Channel};
use hyper::{
    HeaderMap, Request, Response,
    body::{Bytes, Incoming},
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use prost::Message;

const HEIGHT: usize = 256;
const WIDTH: usize = 192;
const POINTS: usize = 17;
const BATCH: usize = 8;

#[derive(Parser)]
struct Arguments {
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// Batches in flight at once.
    #[arg(long, default_value_t = 2)]
    streams: usize,
    /// Live cameras of 30 frames a second, in place of as many crops as are taken.
    #[arg(long)]
    cameras: Option<u32>,
    #[arg(long, default_value_t = 1)]
    servers: usize,
    /// Be the server.
    #[arg(long)]
    server: bool,
    /// Given by cargo.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() {
    let arguments = Arguments::parse();
    match arguments.cameras {
        _ if arguments.server => serve(),
        Some(cameras) => measure_cameras(&arguments, cameras),
        None => measure(&arguments),
    }
}

#[derive(Clone, PartialEq, Message)]
struct Tensor {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    datatype: String,
    #[prost(int64, repeated, tag = "3")]
    shape: Vec<i64>,
}

#[derive(Clone, PartialEq, Message)]
struct Metadata {
    #[prost(message, repeated, tag = "4")]
    inputs: Vec<Tensor>,
    #[prost(message, repeated, tag = "5")]
    outputs: Vec<Tensor>,
}

#[derive(Clone, PartialEq, Message)]
struct Answer {
    #[prost(message, repeated, tag = "5")]
    outputs: Vec<Tensor>,
    #[prost(bytes = "vec", repeated, tag = "6")]
    raw: Vec<Vec<u8>>,
}

fn tensor(name: &str, datatype: &str, shape: &[usize], batch: i64) -> Tensor {
    let shape = std::iter::once(batch).chain(shape.iter().map(|side| *side as i64)).collect();
    Tensor { name: name.into(), datatype: datatype.into(), shape }
}

/// Answers every batch with zeros, as soon as it is there.
fn serve() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        println!("{}", listener.local_addr().unwrap());
        std::io::stdout().flush().unwrap();
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            stream.set_nodelay(true).unwrap();
            let connection = hyper::server::conn::http2::Builder::new(Local)
                .initial_stream_window_size(16 << 20)
                .initial_connection_window_size(64 << 20)
                .max_frame_size(1 << 20)
                .serve_connection(TokioIo::new(stream), service_fn(answer));
            tokio::task::spawn_local(connection);
        }
    });
}

#[derive(Clone)]
struct Local;

impl<F: Future + 'static> hyper::rt::Executor<F> for Local
where
    F::Output: 'static,
{
    fn execute(&self, future: F) {
        tokio::task::spawn_local(future);
    }
}

async fn answer(request: Request<Incoming>) -> Result<Response<Channel<Bytes, Infallible>>, Infallible> {
    let call = request.uri().path().rsplit('/').next().unwrap_or_default().to_string();
    let (mut body, mut bytes) = (request.into_body(), 0);
    while let Some(Ok(frame)) = body.frame().await {
        bytes += frame.data_ref().map_or(0, Bytes::len);
    }
    let message = match call.as_str() {
        "ModelMetadata" => Metadata {
            inputs: vec![tensor("image", "UINT8", &[HEIGHT, WIDTH, 3], -1)],
            outputs: vec![tensor("keypoints", "FP32", &[POINTS, 4], -1)],
        }
        .encode_to_vec(),
        "ModelInfer" => {
            let rows = bytes / (HEIGHT * WIDTH * 3);
            let outputs = vec![tensor("keypoints", "FP32", &[POINTS, 4], rows as i64)];
            Answer { outputs, raw: vec![vec![0; rows * POINTS * 16]] }.encode_to_vec()
        }
        "ModelConfig" => Vec::new(),
        // Live, ready: field 1 is true.
        _ => vec![8, 1],
    };
    let mut framed = vec![0];
    framed.extend((message.len() as u32).to_be_bytes());
    framed.extend(message);
    let (mut sender, body) = Channel::new(2);
    tokio::task::spawn_local(async move {
        let _ = sender.send_data(framed.into()).await;
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", "0".parse().unwrap());
        let _ = sender.send_trailers(trailers).await;
    });
    Ok(Response::builder().header("content-type", "application/grpc").body(body).unwrap())
}

/// Seconds of processor time that this process has taken.
fn processor_time() -> f64 {
    // SAFETY: it fills the struct that it is given.
    let usage = unsafe {
        let mut usage = std::mem::zeroed::<libc::rusage>();
        assert_eq!(libc::getrusage(libc::RUSAGE_SELF, &mut usage), 0);
        usage
    };
    let seconds = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 / 1e6;
    seconds(usage.ru_utime) + seconds(usage.ru_stime)
}

/// Memory of this process in MiB.
fn memory() -> f64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: f64 = text.split_whitespace().nth(1).unwrap().parse().unwrap();
    pages * 4096.0 / (1 << 20) as f64
}

/// Servers, each a process, which end with this.
struct Servers(Vec<Child>);

impl Drop for Servers {
    fn drop(&mut self) {
        for server in &mut self.0 {
            let _ = server.kill();
            let _ = server.wait();
        }
    }
}

/// An engine whose batches go to as many servers as are asked for.
fn open(arguments: &Arguments) -> (Servers, Engine) {
    let mut servers = Servers(Vec::new());
    let mut addresses = Vec::new();
    for _ in 0..arguments.servers {
        let mut command = Command::new(std::env::current_exe().unwrap());
        let mut server = command.arg("--server").stdout(Stdio::piped()).spawn().unwrap();
        let mut at = String::new();
        BufReader::new(server.stdout.take().unwrap()).read_line(&mut at).unwrap();
        servers.0.push(server);
        addresses.push(format!("grpc://{}", at.trim()));
    }
    let mut backend = KserveBackend::new(Address::list(&addresses.join(",")).unwrap(), "any".into());
    backend.in_flight = arguments.streams;
    let settings = EngineSettings { batch_size: BATCH, ..EngineSettings::default() };
    let (engine, _) = Engine::open(Arc::new(backend), settings, &Cancel::default(), &|_| ()).unwrap();
    (servers, engine)
}

/// A stream, and what is notified of its answers.
fn attach(engine: &Engine, policy: TimeoutPolicy) -> (Stream, Arc<(Mutex<()>, Condvar)>) {
    let answered = Arc::<(Mutex<()>, Condvar)>::default();
    let tell = answered.clone();
    let notify = Arc::new(move || {
        let _guard = tell.0.lock().unwrap();
        tell.1.notify_all();
    });
    let stream = engine.attach(policy, notify);
    stream.resume();
    (stream, answered)
}

/// Cameras with phases of their own, a crop of each frame. From the crop to its answer it may take the deadline, two round trips
/// and 2 ms.
fn measure_cameras(arguments: &Arguments, cameras: u32) {
    const FRAME: Duration = Duration::from_nanos(1_000_000_000 / 30);
    const DEADLINE: Duration = Duration::from_millis(15);
    let (_servers, engine) = open(arguments);
    let policy = TimeoutPolicy { timeout: DEADLINE, adaptive: true };
    let camera = |number: u32| {
        let (stream, answered) = attach(&engine, policy);
        let started = Instant::now() + FRAME * number / cameras;
        let frames = arguments.seconds as u32 * 30;
        let took = |frame: u32| {
            std::thread::sleep((started + FRAME * frame).saturating_duration_since(Instant::now()));
            let submitted = Instant::now();
            let pending = stream.submit(stream.buffer().unwrap());
            let mut guard = answered.0.lock().unwrap();
            while pending.outcome().is_none() {
                guard = answered.1.wait_timeout(guard, Duration::from_millis(100)).unwrap().0;
            }
            assert!(pending.outcome().unwrap().is_ok());
            submitted.elapsed()
        };
        let mut times: Vec<_> = (0..frames).map(took).collect();
        // The first second finds its way.
        (times.split_off(30), stream.statistics().runs.percentile(0.5))
    };
    let camera = &camera;
    let (mut times, mut round_trip) = (Vec::new(), Duration::ZERO);
    std::thread::scope(|scope| {
        let running: Vec<_> = (0..cameras).map(|number| scope.spawn(move || camera(number))).collect();
        for camera in running {
            let (some, median) = camera.join().unwrap();
            times.extend(some);
            round_trip = median;
        }
    });
    times.sort_unstable();
    let ms = |time: Duration| time.as_secs_f64() * 1000.0;
    let share = |share: f64| ms(times[((times.len() - 1) as f64 * share) as usize]);
    let bound = ms(DEADLINE + 2 * round_trip) + 2.0;
    println!(
        "{cameras} cameras, {} servers: {} crops, p50 {:.1} ms, p99 {:.1} ms, at most {bound:.1} ms ({}); round trip p50 {:.2} ms",
        arguments.servers,
        times.len(),
        share(0.5),
        share(0.99),
        if share(0.99) <= bound { "held" } else { "missed" },
        ms(round_trip)
    );
}

fn measure(arguments: &Arguments) {
    let (_servers, engine) = open(arguments);
    let policy = TimeoutPolicy { timeout: Duration::from_millis(15), adaptive: false };
    let (stream, answered) = attach(&engine, policy);
    let run = |seconds: f64| {
        let started = Instant::now();
        let mut waiting = std::collections::VecDeque::new();
        let mut crops = 0u64;
        while started.elapsed().as_secs_f64() < seconds {
            // Waits for a free slot, of which there are as many as are in flight and two batches more.
            waiting.push_back(stream.submit(stream.buffer().unwrap()));
            while waiting.front().is_some_and(|pending| pending.outcome().is_some()) {
                assert!(waiting.pop_front().unwrap().outcome().unwrap().is_ok());
                crops += 1;
            }
        }
        let mut guard = answered.0.lock().unwrap();
        stream.hurry();
        while waiting.iter().any(|pending| pending.outcome().is_none()) {
            guard = answered.1.wait_timeout(guard, Duration::from_millis(5)).unwrap().0;
        }
        (crops + waiting.len() as u64, started.elapsed().as_secs_f64())
    };
    run(1.0);
    let (before, memory_before) = (processor_time(), memory());
    let (crops, seconds) = run(arguments.seconds as f64);
    let (took, memory_after) = (processor_time() - before, memory());
    let statistics = stream.statistics();
    let ms = |share| statistics.runs.percentile(share).as_secs_f64() * 1000.0;
    println!(
        "{:.0} crops/s, client {:.1} µs of processor time a crop, round trip of a batch p50 {:.2} ms, p99 {:.2} ms, fill {:.2}, \
         memory {memory_before:.0} -> {memory_after:.0} MiB",
        crops as f64 / seconds,
        took / crops as f64 * 1e6,
        ms(0.5),
        ms(0.99),
        statistics.mean_fill(BATCH)
    );
}
