//! What a batch costs on its way to a server and back: crops a second, the client's processor time for a crop, round trips, and
//! memory. The server is another process, on loopback, which answers at once: what is measured is the way.
//!
//!     cargo bench --bench servers -- --seconds 10
//!     cargo bench --bench servers -- --seconds 20 --cameras 8 --servers 2    live cameras: how long a crop waits for its answer
//!     cargo bench --bench servers -- --seconds 4 --faults --servers 2        a live stream while its servers stop and come back
//!     cargo bench --bench servers -- --seconds 60 --minutes 10               memory, a minute each

use std::{
    convert::Infallible,
    io::{BufRead, BufReader, Write},
    net::SocketAddr,
    process::{Child, Command, Stdio},
    sync::{Arc, Condvar, Mutex},
    time::{Duration, Instant},
};

use clap::Parser;
use gst::prelude::*;
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
    /// Number of live cameras with 30 frames a second, instead of crops as fast as they are taken.
    #[arg(long)]
    cameras: Option<u32>,
    #[arg(long, default_value_t = 1)]
    servers: usize,
    /// Seconds for each stop of a server, with one live stream through the element.
    #[arg(long)]
    faults: bool,
    /// Number of measurements, one after another on one connection.
    #[arg(long, default_value_t = 1)]
    minutes: u32,
    /// Be the server.
    #[arg(long)]
    server: bool,
    /// Port of the server; 0: any free port.
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// `cargo bench` adds this.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() {
    let arguments = Arguments::parse();
    match arguments.cameras {
        _ if arguments.server => serve(arguments.port),
        _ if arguments.faults => measure_faults(&arguments),
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

/// Answers every batch with zeros at once.
fn serve(port: u16) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, async {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await.unwrap();
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

/// CPU time of this process, in seconds.
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

/// A server in its own process, which ends when this is dropped.
struct Server {
    process: Child,
    at: SocketAddr,
}

impl Server {
    fn start(port: u16) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--server", "--port", &port.to_string()]).stdout(Stdio::piped());
        let mut process = command.spawn().unwrap();
        let mut at = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut at).unwrap();
        Self { process, at: at.trim().parse().unwrap() }
    }

    fn signal(&self, signal: i32) {
        // SAFETY: a process of ours, which was not waited for yet.
        assert_eq!(unsafe { libc::kill(self.process.id() as i32, signal) }, 0);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Starts `count` servers. Also returns their addresses, as the property `inference-server` takes them.
fn start_all(count: usize) -> (Vec<Server>, String) {
    let servers: Vec<_> = (0..count).map(|_| Server::start(0)).collect();
    let addresses: Vec<_> = servers.iter().map(|server| format!("grpc://{}", server.at)).collect();
    (servers, addresses.join(","))
}

/// An engine whose batches go to the number of servers in the arguments.
fn open(arguments: &Arguments) -> (Vec<Server>, Engine) {
    let (servers, addresses) = start_all(arguments.servers);
    let mut backend = KserveBackend::new(Address::list(&addresses).unwrap(), "any".into());
    backend.in_flight = arguments.streams;
    let settings = EngineSettings { batch_size: BATCH, ..EngineSettings::default() };
    let (engine, _) = Engine::open(Arc::new(backend), settings, &Cancel::default(), &|_| ()).unwrap();
    (servers, engine)
}

/// A stream, and the notification of its answers.
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

/// Cameras with their own phases, one crop a frame. An answer may take the deadline, two round trips and 2 ms.
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
        // The first second does not count.
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

/// Frames that came out of the element since the last query.
#[derive(Default)]
struct Arrived {
    frames: u32,
    inferred: u32,
    last: Option<Instant>,
    longest_gap: Duration,
    /// How late frames may be at the sink, as the pipeline has configured it.
    latency: Duration,
    /// How far beyond that the latest frame was.
    latest: Duration,
}

/// One live stream of 30 frames a second through the element. Each server in turn hangs, continues, is killed
/// and comes back. At last all hang at once.
fn measure_faults(arguments: &Arguments) {
    gst::init().unwrap();
    gstrtmpose::plugin_register_static().unwrap();
    let (mut servers, addresses) = start_all(arguments.servers);
    let line = format!(
        "videotestsrc is-live=true ! video/x-raw,width=640,height=480,framerate=30/1 ! rtmposebatch model-name=any \
         inference-region=full-frame inference-server={addresses} ! fakesink name=sink sync=true"
    );
    let pipeline = gst::parse::launch(&line).unwrap().downcast::<gst::Pipeline>().unwrap();
    let arrived = Arc::<Mutex<Arrived>>::default();
    let counted = arrived.clone();
    let weak = pipeline.downgrade();
    let sink = pipeline.by_name("sink").unwrap().static_pad("sink").unwrap();
    sink.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
        let pipeline = weak.upgrade().unwrap();
        let late = pipeline
            .current_running_time()
            .unwrap_or_default()
            .saturating_sub(info.buffer().unwrap().pts().unwrap());
        let mut arrived = counted.lock().unwrap();
        arrived.frames += 1;
        let looked_at = gstrtmpose::meta::read(info.buffer().unwrap())
            .any(|found| found.is_ok_and(|found| !found.carried));
        arrived.inferred += u32::from(looked_at);
        arrived.latest = arrived.latest.max(Duration::from(late).saturating_sub(arrived.latency));
        let gap = arrived.last.replace(Instant::now()).map_or(Duration::ZERO, |last| last.elapsed());
        arrived.longest_gap = arrived.longest_gap.max(gap);
        gst::PadProbeReturn::Ok
    });
    let told = arrived.clone();
    sink.add_probe(gst::PadProbeType::EVENT_UPSTREAM, move |_, info| {
        if let Some(gst::EventView::Latency(event)) = info.event().map(|event| event.view()) {
            told.lock().unwrap().latency = event.latency().into();
        }
        gst::PadProbeReturn::Ok
    });
    pipeline.set_state(gst::State::Playing).unwrap();
    let bus = pipeline.bus().unwrap();
    let phase = |name: &str| {
        let Arrived { last, latency, .. } = *arrived.lock().unwrap();
        *arrived.lock().unwrap() = Arrived { last, latency, ..Arrived::default() };
        let (started, seconds) = (Instant::now(), Duration::from_secs(arguments.seconds));
        while let Some(left) = seconds.checked_sub(started.elapsed()) {
            let left = gst::ClockTime::from_nseconds(left.as_nanos() as u64);
            if bus.timed_pop_filtered(left, &[gst::MessageType::Latency]).is_some() {
                pipeline.recalculate_latency().unwrap();
            }
        }
        let arrived = arrived.lock().unwrap();
        println!(
            "{name:<24} {:.1} frames/s, {:.0} % of them with an answer, longest gap {:.0} ms; {:.0} ms of latency, at most {:.0} ms behind it",
            arrived.frames as f64 / started.elapsed().as_secs_f64(),
            100.0 * arrived.inferred as f64 / arrived.frames as f64,
            arrived.longest_gap.as_secs_f64() * 1000.0,
            arrived.latency.as_secs_f64() * 1000.0,
            arrived.latest.as_secs_f64() * 1000.0
        );
    };
    phase("starting");
    phase("all well");
    for (number, server) in servers.iter_mut().enumerate() {
        server.signal(libc::SIGSTOP);
        phase(&format!("server {number} hangs"));
        server.signal(libc::SIGCONT);
        phase("goes on");
        let port = server.at.port();
        server.process.kill().unwrap();
        server.process.wait().unwrap();
        phase(&format!("server {number} killed"));
        *server = Server::start(port);
        phase("is back");
    }
    servers.iter().for_each(|server| server.signal(libc::SIGSTOP));
    phase("all hang");
    servers.iter().for_each(|server| server.signal(libc::SIGCONT));
    phase("all go on");
    pipeline.set_state(gst::State::Null).unwrap();
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
            // Waits for a free slot. There are slots for the batches in flight and two more.
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
    for _ in 0..arguments.minutes {
        report(arguments, &stream, run);
    }
}

fn report(arguments: &Arguments, stream: &Stream, run: impl Fn(f64) -> (u64, f64)) {
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
