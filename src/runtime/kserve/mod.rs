//! The backend that sends batches to inference servers over gRPC: Triton, KServe, MLServer and OpenVINO Model Server, which
//! share one protocol (KServe's v2, also called Open Inference Protocol).
//!
//! An executor writes a batch's crops into the request's message (`model`), and passes it to the one thread of all
//! connections of the engine (`hub`). There, a task for the batch chooses the server with the fewest batches in flight
//! (`pool`), sends the message (`call`), and reads the answer into rows. A failed batch is sent once to another server, and
//! then runs in this process, if a model was loaded for that (`local`). Each server has a task (`servers`) that connects,
//! asks for the model (`connection`), checks it like a file, and tries again when the connection is lost.

mod address;
mod call;
mod connection;
mod executor;
mod hub;
mod local;
mod messages;
mod model;
mod pool;
mod secret;
mod servers;
#[cfg(test)]
mod simulation;
mod tls;

use std::{
    sync::{
        Arc, Weak,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

pub use address::Address;
pub use hub::Fallback;
pub use secret::Metadata;
pub use tls::Files as TlsFiles;

use crate::{
    engine::{Backend, Error, ErrorKind, Executor, Loading, News, Place},
    network::{Network, Provider, Wanted},
    sync::{Mutex, lock},
};
use connection::Question;
use executor::RemoteExecutor;
use hub::Hub;
use servers::Servers;

/// Batches in flight at once on a server, unless the user sets it: one is sent while the other runs.
const IN_FLIGHT: usize = 2;
/// Batches in flight at once on all servers together: each needs a thread.
const MOST_EXECUTORS: usize = 64;

/// Inference servers, and what they must do.
pub struct KserveBackend {
    pub addresses: Vec<Address>,
    /// The task of the model.
    pub wanted: Wanted,
    pub model: String,
    /// Empty: the server's choice.
    pub version: String,
    /// Crops in a batch; 0: as many as the server supports, up to 8.
    pub batch_size: usize,
    /// Batches in flight at once on each server; 0: two.
    pub in_flight: usize,
    /// The longest time that a batch may take on a server. The start waits ten times as long for the model.
    pub timeout: Duration,
    pub metadata: Metadata,
    pub tls: TlsFiles,
    pub fallback: Option<Fallback>,
    shared: Shared,
}

/// What its executors share.
#[derive(Default)]
struct Shared {
    hub: Mutex<Weak<Hub>>,
    news: Mutex<Arc<News>>,
    /// Servers that were ready at the start.
    servers: AtomicUsize,
}

impl KserveBackend {
    /// Batches for a model on these servers.
    pub fn new(addresses: Vec<Address>, model: String) -> Self {
        Self {
            addresses,
            wanted: Wanted::default(),
            model,
            version: String::new(),
            batch_size: 8,
            in_flight: 0,
            timeout: Duration::from_secs(1),
            metadata: Metadata::default(),
            tls: TlsFiles::default(),
            fallback: None,
            shared: Shared::default(),
        }
    }

    fn in_flight(&self) -> usize {
        if self.in_flight == 0 { IN_FLIGHT } else { self.in_flight }
    }

    fn hub(&self) -> Result<Arc<Hub>, Error> {
        let mut hub = lock(&self.shared.hub);
        if let Some(hub) = hub.upgrade() {
            return Ok(hub);
        }
        let is_tls = self.addresses.iter().any(|address| address.tls);
        let refused = |text| Error::new(ErrorKind::Settings, text);
        let question = Question {
            wanted: self.wanted,
            model: self.model.clone(),
            version: self.version.clone(),
            batch_size: self.batch_size,
            timeout: self.timeout,
            metadata: self.metadata.clone(),
            tls: is_tls.then(|| tls::config(&self.tls)).transpose().map_err(refused)?,
            in_flight: self.in_flight(),
        };
        let news = lock(&self.shared.news).clone();
        // An unnamed file may hold another model than the servers'.
        let can_begin_alone = self.fallback.as_ref().is_some_and(|fallback| fallback.is_named);
        let started = Hub::start(Servers::new(question, self.addresses.clone(), can_begin_alone, news))?;
        *hub = Arc::downgrade(&started);
        Ok(started)
    }
}

impl Backend for KserveBackend {
    type Network = Network;

    fn open(&self, loading: &Loading) -> Result<(Network, Box<dyn Executor>), Error> {
        let hub = self.hub()?;
        let model = hub.wait(loading)?;
        let asked = hub.servers.question.batch_size(model.as_ref()).min(loading.most_crops);
        let fixed = model.as_ref().and_then(|model| model.contract.fixed_batch);
        let batch_size = fixed.unwrap_or(asked);
        let local = hub.local(self.fallback.as_ref(), batch_size, loading)?;
        self.shared.servers.store(hub.servers.ready(), Ordering::SeqCst);
        let network = match (&model, &local) {
            // A server does not tell its model's score unit; the fallback has the same model.
            (Some(model), local) => Network {
                score_unit: local.as_ref().map_or(1.0, |local| local.network.score_unit),
                ..model.network()
            },
            (None, Some(local)) => {
                Network { provider: Provider::Server, sha256: None, ..local.network.clone() }
            }
            (None, None) => unreachable!("only a network in this process begins without servers"),
        };
        let shape = crate::engine::Network::shape(&network);
        Ok((network, Box::new(RemoteExecutor::new(hub, model, local, batch_size, shape))))
    }

    fn report_to(&self, news: &Arc<News>) {
        *lock(&self.shared.news) = news.clone();
    }

    fn places(&self) -> Vec<Place> {
        lock(&self.shared.hub).upgrade().map_or(Vec::new(), |hub| hub.servers.places())
    }

    /// A name can have several servers.
    fn likely_executors(&self) -> usize {
        const LIKELY: usize = 8;
        (self.in_flight() * self.addresses.len().max(LIKELY)).min(MOST_EXECUTORS)
    }

    fn best_executors(&self, _network: &Network) -> usize {
        let servers = self.shared.servers.load(Ordering::SeqCst).max(self.addresses.len());
        (self.in_flight() * servers).min(self.likely_executors())
    }

    fn takes_smaller_batches(&self) -> bool {
        false
    }
}
