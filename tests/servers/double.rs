//! A server of KServe's v2 protocol on loopback, with known answers and every fault that a server can have. Written from the
//! protocol, on hyper's server, and not from the plugin's code.

use std::{
    collections::HashMap,
    convert::Infallible,
    net::SocketAddr,
    sync::{Arc, Condvar, Mutex, mpsc},
    thread::JoinHandle,
    time::Duration,
};

use http_body_util::{BodyExt, channel};
use hyper::{
    HeaderMap, Request, Response,
    body::{Bytes, Incoming},
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use prost::Message;
use tokio::{net::TcpListener, sync::oneshot};
use tokio_rustls::TlsAcceptor;

/// Size of the known model's crops, and its key points.
pub const SIDE: usize = 4;
pub const POINTS: usize = 3;

#[derive(Clone, PartialEq, Message)]
pub struct Tensor {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(string, tag = "2")]
    pub datatype: String,
    #[prost(int64, repeated, tag = "3")]
    pub shape: Vec<i64>,
}

#[derive(Clone, PartialEq, Message)]
struct Flag {
    #[prost(bool, tag = "1")]
    value: bool,
}

#[derive(Clone, PartialEq, Message)]
struct Metadata {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(message, repeated, tag = "4")]
    inputs: Vec<Tensor>,
    #[prost(message, repeated, tag = "5")]
    outputs: Vec<Tensor>,
}

#[derive(Clone, PartialEq, Message)]
struct Config {
    #[prost(message, optional, tag = "1")]
    config: Option<ConfigBody>,
}

#[derive(Clone, PartialEq, Message)]
struct ConfigBody {
    #[prost(int32, tag = "4")]
    max_batch_size: i32,
    #[prost(message, repeated, tag = "7")]
    instance_group: Vec<Group>,
    #[prost(string, tag = "17")]
    backend: String,
}

#[derive(Clone, PartialEq, Message)]
struct Group {
    #[prost(int32, tag = "4")]
    kind: i32,
}

#[derive(Clone, PartialEq, Message)]
struct Parameter {
    #[prost(int64, tag = "2")]
    int64: i64,
}

#[derive(Clone, PartialEq, Message)]
struct InferRequest {
    #[prost(string, tag = "1")]
    model_name: String,
    #[prost(string, tag = "2")]
    model_version: String,
    #[prost(map = "string, message", tag = "4")]
    parameters: HashMap<String, Parameter>,
    #[prost(message, repeated, tag = "5")]
    inputs: Vec<Tensor>,
    #[prost(bytes = "bytes", repeated, tag = "7")]
    raw: Vec<Bytes>,
}

#[derive(Clone, PartialEq, Message)]
struct InferResponse {
    #[prost(string, tag = "1")]
    model_name: String,
    #[prost(message, repeated, tag = "5")]
    outputs: Vec<Tensor>,
    #[prost(bytes = "bytes", repeated, tag = "6")]
    raw: Vec<Bytes>,
}

/// What the server does with a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Fault {
    #[default]
    None,
    /// Answers after this time.
    Slow(Duration),
    /// Answers when the test sets another fault.
    Hold,
    /// Takes the batch and never answers.
    Hang,
    /// Ends the connection in the middle of the answer.
    Reset,
    /// Refuses with a status of gRPC.
    Refuse,
    /// Answers with fewer numbers than the shape says.
    TooFewNumbers,
    /// Answers with one row too many.
    TooManyRows,
    /// Answers with another number of key points than before.
    OtherPoints,
    /// Answers with half-precision floats.
    OtherType,
    OtherName,
    NotANumber,
    /// Sends endless bytes behind a prefix that promises few.
    Endless,
    /// Sends endless bytes behind a prefix that promises 4 GB.
    FourGigabytes,
    /// Sends a byte now and then, forever.
    SlowLoris,
    /// Sends half an answer, and ends as if it were complete.
    CutShort,
    NoStatus,
    NoGrpc,
    /// Claims that the answer is compressed.
    Compressed,
    /// Sends a status whose details are not base64.
    BadDetails,
    /// Sends bytes that are not a message of the protocol.
    Garbage,
}

/// What the server says about its model.
#[derive(Clone)]
pub struct Model {
    pub inputs: Vec<Tensor>,
    pub outputs: Vec<Tensor>,
    /// `max_batch_size`; none: the server does not know this call.
    pub most: Option<i32>,
    /// Triton's number for the device: 1 is a GPU, 2 the CPU.
    pub kind: i32,
    pub ready: bool,
    pub live: bool,
}

pub fn tensor(name: &str, datatype: &str, shape: &[i64]) -> Tensor {
    Tensor { name: name.to_string(), datatype: datatype.to_string(), shape: shape.to_vec() }
}

impl Default for Model {
    /// A Triton with the adapted file: bytes in, key points out.
    fn default() -> Self {
        let side = SIDE as i64;
        Self {
            inputs: vec![tensor("image", "UINT8", &[-1, side, side, 3])],
            outputs: vec![tensor("keypoints", "FP32", &[-1, POINTS as i64, 4])],
            most: Some(8),
            kind: 2,
            ready: true,
            live: true,
        }
    }
}

/// The known answer to a crop: its first bytes.
pub fn row_of(crop: &[u8]) -> Vec<f32> {
    crop[..POINTS * 4].iter().map(|byte| f32::from(*byte)).collect()
}

/// Computes rows of crops, instead of the known answers.
pub type Compute = Box<dyn FnMut(&[u8], usize) -> Vec<f32>>;

#[derive(Default)]
struct State {
    model: Model,
    fault: Fault,
    /// Rows of the received batches, and the names and values of the last call's metadata.
    batches: Vec<usize>,
    headers: HeaderMap,
    parameters: HashMap<String, i64>,
    paths: Vec<String>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

pub struct Double {
    pub at: SocketAddr,
    shared: Arc<Shared>,
    /// Dropping this ends the server and all of its connections at once.
    end: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
    /// Reserves the address after the server has ended: the socket is bound but not listening, which refuses
    /// connections.
    _address: tokio::net::TcpSocket,
}

/// A socket at that address, which other sockets that do not listen may share.
fn bound(at: SocketAddr) -> tokio::net::TcpSocket {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.set_reuseaddr(true).unwrap();
    socket.bind(at).unwrap();
    socket
}

/// Makes the server's computation, on the server's thread.
pub type Make = Box<dyn FnOnce() -> Compute + Send>;

impl Double {
    pub fn start(model: Model) -> Self {
        Self::start_at("127.0.0.1:0".parse().unwrap(), model, None, None)
    }

    pub fn start_at(at: SocketAddr, model: Model, tls: Option<TlsAcceptor>, compute: Option<Make>) -> Self {
        let address = bound(at);
        let at = address.local_addr().unwrap();
        let shared = Arc::<Shared>::default();
        shared.state.lock().unwrap().model = model;
        let (end, ended) = oneshot::channel();
        let (sender, listening) = mpsc::channel();
        let served = shared.clone();
        let body = move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let compute = compute.map_or_else(known, |make| make());
            let compute = std::rc::Rc::new(std::cell::RefCell::new(compute));
            let local = tokio::task::LocalSet::new();
            local.spawn_local(async move {
                let listener: TcpListener = bound(at).listen(64).unwrap();
                sender.send(()).unwrap();
                loop {
                    let Ok((stream, _)) = listener.accept().await else { continue };
                    tokio::task::spawn_local(serve(stream, tls.clone(), served.clone(), compute.clone()));
                }
            });
            runtime.block_on(local.run_until(async {
                let _ = ended.await;
            }));
        };
        let thread = std::thread::Builder::new().name("double".into()).spawn(body).unwrap();
        listening.recv().unwrap();
        Self { at, shared, end: Some(end), thread: Some(thread), _address: address }
    }

    /// The server's address, as `inference-server` takes it.
    pub fn name(&self) -> String {
        format!("grpc://{}", self.at)
    }

    pub fn fail(&self, fault: Fault) {
        self.shared.state.lock().unwrap().fault = fault;
    }

    pub fn change_model(&self, change: impl FnOnce(&mut Model)) {
        change(&mut self.shared.state.lock().unwrap().model);
    }

    /// Rows of the batches received so far.
    pub fn batches(&self) -> Vec<usize> {
        self.shared.state.lock().unwrap().batches.clone()
    }

    /// Waits for this number of further batches.
    pub fn wait_for_batches(&self, more: usize) {
        let state = self.shared.state.lock().unwrap();
        let wanted = state.batches.len() + more;
        drop(self.shared.changed.wait_while(state, |state| state.batches.len() < wanted).unwrap());
    }

    pub fn headers(&self) -> HeaderMap {
        self.shared.state.lock().unwrap().headers.clone()
    }

    pub fn parameters(&self) -> HashMap<String, i64> {
        self.shared.state.lock().unwrap().parameters.clone()
    }

    pub fn paths(&self) -> Vec<String> {
        self.shared.state.lock().unwrap().paths.clone()
    }

    /// Ends the server and its connections at once.
    pub fn kill(&mut self) {
        self.end.take();
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

impl Drop for Double {
    fn drop(&mut self) {
        self.kill();
    }
}

fn known() -> Compute {
    Box::new(|crops, rows| crops.chunks_exact(crops.len() / rows).flat_map(row_of).collect())
}

type Computing = std::rc::Rc<std::cell::RefCell<Compute>>;

async fn serve(
    stream: tokio::net::TcpStream,
    tls: Option<TlsAcceptor>,
    shared: Arc<Shared>,
    compute: Computing,
) {
    stream.set_nodelay(true).unwrap();
    match tls {
        None => serve_on(stream, shared, compute).await,
        Some(tls) => {
            // A client that does not trust this server ends here.
            if let Ok(stream) = tls.accept(stream).await {
                serve_on(stream, shared, compute).await;
            }
        }
    }
}

async fn serve_on<S>(stream: S, shared: Arc<Shared>, compute: Computing)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + 'static,
{
    let cut = std::rc::Rc::new(tokio::sync::Notify::new());
    let for_answers = cut.clone();
    let service =
        service_fn(move |request| answer(request, shared.clone(), compute.clone(), for_answers.clone()));
    let connection = hyper::server::conn::http2::Builder::new(LocalExecutor)
        .initial_stream_window_size(8 << 20)
        .initial_connection_window_size(16 << 20)
        .max_frame_size(1 << 20)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    // Waits until the client leaves, or the connection is cut.
    let cut = cut.notified();
    let mut cut = std::pin::pin!(cut);
    std::future::poll_fn(|context| {
        if cut.as_mut().poll(context).is_ready() {
            return std::task::Poll::Ready(());
        }
        connection.as_mut().poll(context).map(|_| ())
    })
    .await;
}

#[derive(Clone)]
struct LocalExecutor;

impl<F: Future + 'static> hyper::rt::Executor<F> for LocalExecutor
where
    F::Output: 'static,
{
    fn execute(&self, future: F) {
        tokio::task::spawn_local(future);
    }
}

type Answer = Response<channel::Channel<Bytes, Infallible>>;

/// A response whose body is written by a task.
fn response(content_type: &str) -> (channel::Sender<Bytes, Infallible>, Answer) {
    let (sender, body) = channel::Channel::new(4);
    (sender, Response::builder().header("content-type", content_type).body(body).unwrap())
}

fn framed(message: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0];
    bytes.extend(u32::try_from(message.len()).unwrap().to_be_bytes());
    bytes.extend(message);
    bytes
}

fn trailers(status: &str, message: &str) -> HeaderMap {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", status.parse().unwrap());
    trailers.insert("grpc-message", message.parse().unwrap());
    trailers
}

/// A complete answer of one message, or a refusal.
fn whole(result: Result<Vec<u8>, (&'static str, &'static str)>) -> Answer {
    let (mut sender, response) = response("application/grpc");
    tokio::task::spawn_local(async move {
        let end = match result {
            Ok(message) => {
                let _ = sender.send_data(framed(&message).into()).await;
                trailers("0", "")
            }
            Err((status, message)) => trailers(status, message),
        };
        let _ = sender.send_trailers(end).await;
    });
    response
}

async fn answer(
    request: Request<Incoming>,
    shared: Arc<Shared>,
    compute: Computing,
    cut: std::rc::Rc<tokio::sync::Notify>,
) -> Result<Answer, Infallible> {
    let path = request.uri().path().to_string();
    let headers = request.headers().clone();
    let Ok(body) = request.into_body().collect().await else {
        return Ok(whole(Err(("1", "cancelled"))));
    };
    let message = body.to_bytes().slice(5..);
    let call = path.rsplit('/').next().unwrap_or_default().to_string();
    let (model, fault) = {
        let mut state = shared.state.lock().unwrap();
        state.headers = headers;
        state.paths.push(path);
        (state.model.clone(), state.fault)
    };
    let flag = |value| Ok(Flag { value }.encode_to_vec());
    Ok(match call.as_str() {
        "ServerLive" => whole(flag(model.live)),
        "ModelReady" => whole(flag(model.ready)),
        "ModelMetadata" => {
            let metadata = Metadata { name: "known".into(), inputs: model.inputs, outputs: model.outputs };
            whole(Ok(metadata.encode_to_vec()))
        }
        "ModelConfig" => whole(match model.most {
            None => Err(("12", "Method not found")),
            Some(max_batch_size) => {
                let instance_group = vec![Group { kind: model.kind }];
                let body = ConfigBody { max_batch_size, instance_group, backend: "onnxruntime".into() };
                Ok(Config { config: Some(body) }.encode_to_vec())
            }
        }),
        "ModelInfer" => infer(message, &model, fault, &shared, &compute, cut).await,
        _ => whole(Err(("12", "no such call"))),
    })
}

async fn infer(
    message: Bytes,
    model: &Model,
    fault: Fault,
    shared: &Arc<Shared>,
    compute: &Computing,
    cut: std::rc::Rc<tokio::sync::Notify>,
) -> Answer {
    let request = InferRequest::decode(message).unwrap();
    let [input] = &request.inputs[..] else { return whole(Err(("3", "one input is needed"))) };
    let rows = usize::try_from(input.shape[0]).unwrap();
    let bytes: i64 = input.shape.iter().product::<i64>() * if input.datatype == "FP32" { 4 } else { 1 };
    if (&input.name, &input.datatype) != (&model.inputs[0].name, &model.inputs[0].datatype)
        || input.shape[1..] != model.inputs[0].shape[1..]
        || request.raw.iter().map(|raw| raw.len() as i64).collect::<Vec<_>>() != [bytes]
    {
        return whole(Err(("3", "another input was promised")));
    }
    if !model.ready {
        return whole(Err(("14", "Request for unknown model: it is not ready")));
    }
    {
        let mut state = shared.state.lock().unwrap();
        state.batches.push(rows);
        state.parameters =
            request.parameters.iter().map(|(name, value)| (name.clone(), value.int64)).collect();
        shared.changed.notify_all();
    }
    let numbers = (compute.borrow_mut())(&request.raw[0], rows);
    let shape = |rows: usize, output: &Tensor| {
        let mut shape = output.shape.clone();
        shape[0] = rows as i64;
        shape
    };
    let mut outputs: Vec<_> = model
        .outputs
        .iter()
        .map(|output| tensor(&output.name, &output.datatype, &shape(rows, output)))
        .collect();
    let mut numbers = numbers;
    match fault {
        Fault::TooFewNumbers => numbers.truncate(1),
        Fault::TooManyRows => {
            outputs[0].shape[0] += 1;
            numbers.extend(vec![0.0; POINTS * 4]);
        }
        Fault::OtherPoints => {
            outputs[0].shape = vec![rows as i64, POINTS as i64 + 1, 4];
            numbers = vec![0.0; rows * (POINTS + 1) * 4];
        }
        Fault::OtherType => outputs[0].datatype = "FP16".into(),
        Fault::OtherName => outputs[0].name = "boxes".into(),
        Fault::NotANumber => numbers.fill(f32::NAN),
        _ => (),
    }
    // `numbers` holds one output after the other.
    let mut rest = &numbers[..];
    let mut raw = Vec::new();
    for (index, output) in outputs.iter().enumerate() {
        let count = output.shape.iter().product::<i64>() as usize;
        let (own, others) =
            if index + 1 == outputs.len() { (rest, &rest[..0]) } else { rest.split_at(count) };
        raw.push(own.iter().flat_map(|number| number.to_le_bytes()).collect::<Vec<u8>>().into());
        rest = others;
    }
    let message = InferResponse { model_name: request.model_name, outputs, raw }.encode_to_vec();
    let bytes = framed(&message);
    let (mut sender, response) =
        response(if fault == Fault::NoGrpc { "text/html" } else { "application/grpc" });
    let held = shared.clone();
    tokio::task::spawn_local(async move {
        let send = |bytes: Vec<u8>| Bytes::from(bytes);
        match fault {
            Fault::Slow(time) => {
                tokio::time::sleep(time).await;
                let _ = sender.send_data(send(bytes)).await;
            }
            Fault::Hold => {
                while held.state.lock().unwrap().fault == Fault::Hold {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                let _ = sender.send_data(send(bytes)).await;
            }
            Fault::Hang => std::future::pending().await,
            Fault::Reset => {
                let _ = sender.send_data(send(bytes[..bytes.len() / 2].to_vec())).await;
                tokio::task::yield_now().await;
                cut.notify_one();
                std::future::pending().await
            }
            Fault::Refuse => {
                let _ = sender.send_trailers(trailers("13", "out%20of%20order")).await;
                return;
            }
            Fault::Endless | Fault::FourGigabytes => {
                let mut first = bytes;
                if fault == Fault::FourGigabytes {
                    first[1..5].copy_from_slice(&u32::MAX.to_be_bytes());
                }
                let mut data = send(first);
                while sender.send_data(data).await.is_ok() {
                    data = Bytes::from_static(&[7; 1 << 16]);
                }
                return;
            }
            Fault::SlowLoris => {
                for byte in bytes {
                    if sender.send_data(send(vec![byte])).await.is_err() {
                        return;
                    }
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
            Fault::CutShort => _ = sender.send_data(send(bytes[..bytes.len() - 9].to_vec())).await,
            Fault::NoStatus => {
                let _ = sender.send_data(send(bytes)).await;
                return;
            }
            Fault::Compressed => {
                let mut bytes = bytes;
                bytes[0] = 1;
                let _ = sender.send_data(send(bytes)).await;
            }
            Fault::BadDetails => {
                let mut end = trailers("13", "internal");
                end.insert("grpc-status-details-bin", "!!no base64!!".parse().unwrap());
                let _ = sender.send_trailers(end).await;
                return;
            }
            Fault::Garbage => _ = sender.send_data(send(framed(&[0xff; 64]))).await,
            _ => _ = sender.send_data(send(bytes)).await,
        }
        let _ = sender.send_trailers(trailers("0", "")).await;
    });
    response
}
