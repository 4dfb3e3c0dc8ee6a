//! A connection to a server, and checks that the server has the required model.

use std::{net::SocketAddr, time::Duration};

use hyper_util::rt::TokioIo;
use prost::Message;
use tokio::net::TcpStream;
use tonic::transport::{Channel, ClientTlsConfig, Endpoint};
use tower::service_fn;

use super::{
    address::Address,
    call::{Call, Failure},
    messages::{
        ModelConfigResponse, ModelInstanceGroup, ModelMetadataResponse, ModelReadyResponse, ModelRequest,
        ServerLiveRequest, ServerLiveResponse,
    },
    model::{Model, Request},
    secret::Metadata,
};
use crate::network::{contract, file::Wanted};

macro_rules! path {
    ($call:literal) => {
        concat!("/inference.GRPCInferenceService/", $call)
    };
}

/// Largest answer to a question about a server or a model.
const LARGEST_WORDS: usize = 1 << 20;
/// What a connection may buffer before it is read: a few answers with whole-body heat maps.
const LEAST_WINDOW: usize = 1 << 20;
const LARGEST_WINDOW: usize = 64 << 20;
/// Crops in a batch, if neither the user nor the server sets it.
const DEFAULT_BATCH_SIZE: usize = 8;
/// Connecting and asking may take at least this long, however short the deadline of a batch is.
const PATIENCE: Duration = Duration::from_secs(1);
/// How much longer a server's first run may take: it may load libraries and choose algorithms.
pub const FIRST_RUN: u32 = 10;
/// A server that does not answer for this long is considered lost.
const KEEP_ALIVE: Duration = Duration::from_secs(30);

/// What all servers are asked for.
pub struct Question {
    /// The task of the model.
    pub wanted: Wanted,
    pub model: String,
    pub version: String,
    /// Crops in a batch; 0: as many as the server supports.
    pub batch_size: usize,
    pub timeout: Duration,
    pub metadata: Metadata,
    /// None if no address uses TLS.
    pub tls: Option<ClientTlsConfig>,
    /// Batches in flight at once.
    pub in_flight: usize,
}

impl Question {
    fn patience(&self) -> Duration {
        self.timeout.max(PATIENCE)
    }

    fn call(&self, path: &'static str) -> Call<'_> {
        Call { path, metadata: self.metadata.headers(), limit: LARGEST_WORDS, deadline: self.patience() }
    }

    fn request(&self) -> ModelRequest {
        ModelRequest { name: self.model.clone(), version: self.version.clone() }
    }

    async fn ask<A: Message + Default>(
        &self,
        channel: &Channel,
        path: &'static str,
        message: &impl Message,
    ) -> Result<A, Failure> {
        self.call(path).ask(channel, message).await
    }

    /// How to send a batch.
    pub fn infer(&self, limit: usize) -> Call<'_> {
        Call { limit, deadline: self.timeout, ..self.call(path!("ModelInfer")) }
    }

    /// Connects to a server.
    async fn connect(&self, address: &Address, at: SocketAddr, window: usize) -> Result<Channel, Failure> {
        let library = |error: tonic::transport::Error| Failure::of_transport(&error);
        let window = window.clamp(LEAST_WINDOW, LARGEST_WINDOW) as u32;
        let mut endpoint = Endpoint::from_shared(address.uri())
            .map_err(library)?
            .initial_stream_window_size(window)
            .initial_connection_window_size(
                window.saturating_mul(self.in_flight as u32).min(LARGEST_WINDOW as u32),
            )
            .tcp_keepalive(Some(KEEP_ALIVE))
            .connect_timeout(self.patience());
        if let Some(tls) = self.tls.as_ref().filter(|_| address.tls) {
            endpoint = endpoint.tls_config(tls.clone()).map_err(library)?;
        }
        // To this address, because the name may have others, too.
        let connector = service_fn(move |_| async move {
            let stream = TcpStream::connect(at).await?;
            stream.set_nodelay(true)?;
            Ok::<_, std::io::Error>(TokioIo::new(stream))
        });
        let connected =
            tokio::time::timeout(self.patience(), endpoint.connect_with_connector(connector)).await;
        match connected {
            Ok(channel) => channel.map_err(library),
            Err(_) => Err(Failure::late(self.patience())),
        }
    }

    /// Connects to a server that has the model ready; returns what the model is. One run shows that it works.
    pub async fn open(
        &self,
        address: &Address,
        at: SocketAddr,
        window: usize,
    ) -> Result<(Channel, Model), Failure> {
        let channel = self.connect(address, at, window).await?;
        let live: ServerLiveResponse = self.ask(&channel, path!("ServerLive"), &ServerLiveRequest {}).await?;
        if !live.live {
            return Err(Failure::passing("it says that it is not live"));
        }
        self.check_ready(&channel).await?;
        let mut model = self.model(&channel, address).await?;
        let rows = model.rows_sent(1);
        let mut request = Request::new(&model, &self.model, &self.version, 1, self.timeout);
        let (message, _) = request.send(&model, 1);
        let call = self.infer(model.any_answer_limit(rows));
        let call = Call { deadline: self.patience() * FIRST_RUN, ..call };
        let answer = call.send(&channel, message).await?;
        model.kind = model.kind_of(answer, rows).map_err(Failure::lasting)?;
        Ok((channel, model))
    }

    pub async fn check_ready(&self, channel: &Channel) -> Result<(), Failure> {
        let ready: ModelReadyResponse = self.ask(channel, path!("ModelReady"), &self.request()).await?;
        if ready.ready {
            Ok(())
        } else {
            Err(Failure::passing(format!("its model {} is not ready", self.model)))
        }
    }

    /// Crops in a batch for a model that accepts any number, or before a model is known.
    pub fn batch_size(&self, model: Option<&Model>) -> usize {
        let most = model.and_then(|model| model.most_crops).unwrap_or(DEFAULT_BATCH_SIZE);
        if self.batch_size == 0 { most.min(DEFAULT_BATCH_SIZE) } else { self.batch_size }
    }

    async fn model(&self, channel: &Channel, address: &Address) -> Result<Model, Failure> {
        let metadata: ModelMetadataResponse =
            self.ask(channel, path!("ModelMetadata"), &self.request()).await?;
        let name = format!("{} of {address}", self.model);
        let mut model = Model::of(&metadata, &name, self.wanted).map_err(Failure::lasting)?;
        contract::check_batch(&model.contract, self.batch_size, &name)
            .map_err(|refusal| Failure::lasting(refusal.text()))?;
        // Only Triton supports this question.
        let config: Result<ModelConfigResponse, _> =
            self.ask(channel, path!("ModelConfig"), &self.request()).await;
        match config {
            Ok(config) => {
                let config = config.config.unwrap_or_default();
                model.most_crops = usize::try_from(config.max_batch_size).ok().filter(|most| *most > 0);
                let on_gpu = |group: &ModelInstanceGroup| group.kind == ModelInstanceGroup::KIND_GPU;
                if config.backend == "onnxruntime" && config.instance_group.iter().any(on_gpu) {
                    // Each change of the number costs the server part of a second.
                    model.padded_to = Some(self.batch_size(Some(&model)));
                }
            }
            Err(failure) if failure.is_unknown_call => (),
            Err(failure) => return Err(failure),
        }
        match model.most_crops {
            Some(most) if most < self.batch_size => Err(Failure::lasting(format!(
                "The model {name} accepts {most} crops at once (max_batch_size), but batch-size is {}: set \
                 batch-size={most}, or a larger max_batch_size in the model's config.pbtxt",
                self.batch_size
            ))),
            _ => Ok(model),
        }
    }
}
