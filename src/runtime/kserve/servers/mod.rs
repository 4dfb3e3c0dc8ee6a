//! The servers while batches run: which are ready, which gets the next batch, and what users are told about them. All of
//! this runs as tasks on one thread.

mod here;
mod opening;

use std::{
    collections::{BTreeMap, HashMap},
    net::SocketAddr,
    pin::pin,
    sync::Arc,
    time::Duration,
};

pub use here::Here;
use prost::bytes::Bytes;
use tokio::{sync::Notify, time::Instant};
use tonic::transport::Channel;

use super::{
    address::Address,
    call::Failure,
    connection::Question,
    model::Model,
    pool::{Id, Pool},
};
use crate::{
    engine::{Change, Error, LoadEvent, News, Place},
    network::Provider,
    sync::{Condvar, Mutex, MutexGuard, lock},
};

/// A batch that failed on one server is sent to another one, once.
const TRIES: usize = 2;
/// How often a server without batches is asked whether it is still ready.
const CHECK_INTERVAL: Duration = Duration::from_secs(5);
/// How often a name is looked up: at this interval, and at once when one of its servers failed, but no more often than the
/// second value.
const RESOLVE_INTERVAL: Duration = Duration::from_secs(30);
const SHORTEST_RESOLVE_INTERVAL: Duration = Duration::from_millis(200);

pub struct Servers {
    pub question: Question,
    addresses: Vec<Address>,
    /// If no server is ready at the start, the model runs in this process until one is.
    can_begin_alone: bool,
    pub news: Arc<News>,
    state: Mutex<State>,
    /// A server has room or is ready again; during the opening, anything.
    changed: Notify,
    opening: Mutex<Opening>,
    /// The opening has made progress.
    opened: Condvar,
}

struct State {
    pool: Pool,
    connections: HashMap<Id, Connection>,
    /// What all servers must have; none before the first is ready.
    model: Option<Model>,
    /// Why a server, or an entry of the list, was not ready when last tried.
    trouble: BTreeMap<Source, Failure>,
    /// The opening is over: changes are reported.
    is_open: bool,
    /// The model in this process, for times without a server.
    here: Option<Here>,
}

impl State {
    /// Servers that are not ready when the opening ends are reported when they become ready.
    fn tell_who_comes(&mut self) {
        self.connections.values_mut().for_each(|other| other.is_told_out = other.channel.is_none());
    }
}

/// A server, or an entry of the list.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Source {
    Address(usize),
    Member(Id),
}

struct Connection {
    /// None while it is not ready.
    channel: Option<Channel>,
    /// Number of its channel: a late failure on an earlier channel says nothing about this one.
    number: u64,
    /// Its entry in the list.
    address: usize,
    at: SocketAddr,
    failed: Arc<Notify>,
    /// The user was told that it has failed.
    is_told_out: bool,
    /// The reason why it cannot be used, as reported to the user.
    told_refusal: Option<String>,
}

/// The result for callers that wait for the servers.
#[derive(Default)]
pub struct Opening {
    pub events: Vec<LoadEvent>,
    /// Without a model no server is ready, and the model in this process starts.
    pub result: Option<Result<Option<Model>, Error>>,
}

/// A batch's place on a server. If it is dropped, the batch was abandoned.
struct Slot<'a> {
    servers: &'a Servers,
    id: Id,
    name: String,
    channel: Channel,
    number: u64,
    /// When it was asked for, or the first server since was ready.
    since: Instant,
    is_over: bool,
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        if !self.is_over {
            self.servers.state().pool.end(self.id, None);
        }
        self.servers.changed.notify_waiters();
    }
}

impl Servers {
    pub fn new(
        question: Question,
        addresses: Vec<Address>,
        can_begin_alone: bool,
        news: Arc<News>,
    ) -> Arc<Self> {
        use std::hash::BuildHasher;
        // Clients that were started together do not return together.
        let seed = std::hash::RandomState::new().hash_one(0);
        let state = State {
            pool: Pool::new(question.in_flight, seed),
            connections: HashMap::new(),
            model: None,
            trouble: BTreeMap::new(),
            is_open: false,
            here: None,
        };
        Arc::new(Self {
            question,
            addresses,
            can_begin_alone,
            news,
            state: Mutex::new(state),
            changed: Notify::new(),
            opening: Mutex::default(),
            opened: Condvar::new(),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    pub fn opening(&self) -> (MutexGuard<'_, Opening>, &Condvar) {
        (lock(&self.opening), &self.opened)
    }

    /// Adds the model in this process. If no server is ready yet, it starts now. The error is half a sentence.
    pub fn set_here(&self, here: Here) -> Result<(), String> {
        let troubles = self.troubles().join("; ");
        let mut state = self.state();
        match &state.model {
            Some(model) => here.check(model)?,
            None => self.tell_beginning(here.network.provider, &troubles),
        }
        state.here = Some(here);
        Ok(())
    }

    fn tell_beginning(&self, provider: Provider, troubles: &str) {
        let text = format!(
            "{} ({troubles}): the model runs in this process ({}) until a server is ready; fallback=none makes this \
             an error",
            self.none_ready(),
            provider.name()
        );
        self.news.moved(Some(provider.name()), Change::Warning(text));
    }

    /// The servers' model; none before the first is ready.
    pub fn model(&self) -> Option<Model> {
        self.state().model.clone()
    }

    pub fn places(&self) -> Vec<Place> {
        self.state().pool.places()
    }

    /// Servers that are ready.
    pub fn ready(&self) -> usize {
        self.state().pool.ready()
    }

    /// Keeps the servers of a name up to date.
    async fn follow_address(self: Arc<Self>, index: usize) {
        let address = &self.addresses[index];
        let failed = Arc::<Notify>::default();
        let mut second_family = false;
        loop {
            let found = tokio::net::lookup_host((address.host.as_str(), address.port)).await;
            match found.map(Vec::from_iter) {
                Ok(found) if !found.is_empty() => {
                    self.state().trouble.remove(&Source::Address(index));
                    self.set_members(index, &one_family(found, second_family), &failed);
                }
                other => {
                    let why = other.err().map_or("it has no address".to_string(), |error| error.to_string());
                    let failure = Failure::passing(format!("its host name cannot be resolved: {why}"));
                    self.state().trouble.insert(Source::Address(index), failure);
                }
            }
            self.changed.notify_waiters();
            tokio::time::sleep(SHORTEST_RESOLVE_INTERVAL).await;
            let told = tokio::time::timeout(RESOLVE_INTERVAL, failed.notified()).await.is_ok();
            // A server that listens at only one of the machine's two kinds of addresses.
            let state = self.state();
            let mut others = state.connections.values().filter(|other| other.address == index);
            second_family ^= told && others.all(|other| other.channel.is_none());
        }
    }

    /// Sets the servers of a name.
    fn set_members(self: &Arc<Self>, index: usize, found: &[SocketAddr], failed_address: &Arc<Notify>) {
        let address = &self.addresses[index];
        let mut state = self.state();
        let state = &mut *state;
        let gone: Vec<_> = state
            .connections
            .iter()
            .filter(|(_, known)| known.address == index && !found.contains(&known.at))
            .map(|(id, known)| (*id, known.failed.clone()))
            .collect();
        for (id, failed) in gone {
            state.connections.remove(&id);
            state.trouble.remove(&Source::Member(id));
            state.pool.remove(id);
            failed.notify_one();
        }
        for at in found {
            if state.connections.values().any(|known| known.address == index && known.at == *at) {
                continue;
            }
            let name = if found.len() > 1 { format!("{address} ({})", at.ip()) } else { address.to_string() };
            let id = state.pool.add(name);
            let failed = Arc::<Notify>::default();
            let is_told_out = state.is_open;
            let connection = Connection {
                channel: None,
                number: 0,
                address: index,
                at: *at,
                failed: failed.clone(),
                is_told_out,
                told_refusal: None,
            };
            state.connections.insert(id, connection);
            tokio::spawn(self.clone().tend(id, index, *at, failed, failed_address.clone()));
        }
    }

    /// Keeps the connection of a server until it is removed.
    async fn tend(
        self: Arc<Self>,
        id: Id,
        index: usize,
        at: SocketAddr,
        failed: Arc<Notify>,
        failed_address: Arc<Notify>,
    ) {
        loop {
            let window = self
                .state()
                .model
                .as_ref()
                .map_or(0, |model| model.answer_limit(self.question.batch_size(Some(model))));
            let opened = self.question.open(&self.addresses[index], at, window).await;
            if let Err(failure) = opened.and_then(|(channel, model)| self.take_in(id, channel, model)) {
                let mut state = self.state();
                if state.pool.get(id).is_none() {
                    return;
                }
                state.pool.missed(id);
                self.tell_refusal(&mut state, id, &failure);
                state.trouble.insert(Source::Member(id), failure);
                drop(state);
                self.changed.notify_waiters();
            } else {
                self.changed.notify_waiters();
                self.wait_for_failure(id, &failed).await;
            }
            failed_address.notify_one();
            let pause = {
                let mut state = self.state();
                if state.pool.get(id).is_none() {
                    return;
                }
                state.pool.pause(id)
            };
            tokio::time::sleep(pause).await;
        }
    }

    async fn wait_for_failure(&self, id: Id, failed: &Notify) {
        let batches = || self.state().pool.get(id).map(|member| member.batches());
        loop {
            let before = batches();
            if tokio::time::timeout(CHECK_INTERVAL, failed.notified()).await.is_ok() {
                return;
            }
            if batches() != before {
                continue;
            }
            let channel = self.state().connections.get(&id).and_then(|known| known.channel.clone());
            let Some(channel) = channel else { return };
            if let Err(failure) = self.question.check_ready(&channel).await {
                let was_ready = self.state().pool.unready(id);
                self.tell_failure(id, was_ready, &failure);
                return;
            }
        }
    }

    /// A server is ready, if it has the same model as the others.
    fn take_in(&self, id: Id, channel: Channel, model: Model) -> Result<(), Failure> {
        let mut state = self.state();
        let state = &mut *state;
        let Some(connection) = state.connections.get_mut(&id) else { return Ok(()) };
        if let Some(why) = state.here.as_ref().and_then(|here| here.check(&model).err()) {
            return Err(Failure::lasting(format!("the model that runs in this process {why}")));
        }
        let (points, size) = (model.kind.points(), (model.contract.width, model.contract.height));
        if state.model.get_or_insert_with(|| model.clone()) != &model {
            return Err(Failure::lasting(format!(
                "its model {} differs from the other servers': {points} key points of {}x{} crops here",
                self.question.model, size.0, size.1
            )));
        }
        connection.channel = Some(channel);
        connection.number += 1;
        let was_told_out = std::mem::replace(&mut connection.is_told_out, false);
        state.trouble.remove(&Source::Member(id));
        let was_alone = state.pool.ready() == 0;
        state.pool.set_ready(id);
        if !state.is_open {
            return Ok(());
        }
        let name = state.pool.get(id).map_or(String::new(), |member| member.name.clone());
        let (ready, all) = (state.pool.ready(), state.pool.members().len());
        let back = format!("{name} is ready: {ready} of {all} servers now run batches");
        if was_alone && state.here.is_some() {
            self.news.moved(None, Change::Info(format!("{back}, and this process no longer does")));
        } else if was_told_out {
            self.news.tell(Change::Info(back));
        }
        Ok(())
    }

    /// A server has failed. Reports it if it was ready until now.
    fn tell_failure(&self, id: Id, was_ready: bool, failure: &Failure) {
        let mut state = self.state();
        let state = &mut *state;
        let (ready, all) = (state.pool.ready(), state.pool.members().len());
        let Some(name) = state.pool.get(id).map(|member| member.name.clone()) else { return };
        let Some(connection) = state.connections.get_mut(&id) else { return };
        connection.channel = None;
        connection.failed.notify_one();
        if !was_ready || !state.is_open {
            return;
        }
        connection.is_told_out = true;
        let what = format!("{name} failed ({})", failure.text);
        match &state.here {
            _ if ready > 0 => self.news.tell(Change::Warning(format!(
                "{what}: until it is back, the other servers run its batches ({ready} of {all} are left)"
            ))),
            Some(here) => {
                let provider = here.network.provider.name();
                let text = format!(
                    "{what}: no server is left, so the model runs in this process ({provider}) until one is back; \
                     fallback=none makes this an error"
                );
                self.news.moved(Some(provider), Change::Warning(text));
            }
            None => self.news.tell(Change::Warning(format!(
                "{what}: no server is left; batches wait up to server-timeout for one to return"
            ))),
        }
    }

    /// A server that came later cannot be used, and trying again would not help. Each reason is reported once.
    fn tell_refusal(&self, state: &mut State, id: Id, failure: &Failure) {
        if !failure.is_final || !state.is_open {
            return;
        }
        let Some(name) = state.pool.get(id).map(|member| member.name.clone()) else { return };
        let Some(connection) = state.connections.get_mut(&id) else { return };
        if connection.told_refusal.as_ref() != Some(&failure.text) {
            connection.told_refusal = Some(failure.text.clone());
            self.news.tell(Change::Warning(format!("The server {name} cannot be used: {}", failure.text)));
        }
    }

    /// A batch has failed on a server.
    fn fail(&self, slot: &Slot<'_>, failure: &Failure) {
        let mut state = self.state();
        let is_same = state.connections.get(&slot.id).is_some_and(|known| known.number == slot.number);
        let was_ready = state.pool.failed(slot.id, is_same);
        drop(state);
        if is_same {
            self.tell_failure(slot.id, was_ready, failure);
        }
    }

    /// A place on a server, which may have to be waited for. None if no server has room in time.
    async fn slot(&self, except: Option<Id>, deadline: Instant) -> Option<Slot<'_>> {
        let mut since = Instant::now();
        loop {
            let mut changed = pin!(self.changed.notified());
            changed.as_mut().enable();
            let is_any_ready = {
                let mut state = self.state();
                if let Some(id) = state.pool.choose(except) {
                    let name = state.pool.get(id)?.name.clone();
                    let connection = state.connections.get(&id)?;
                    let (channel, number) = (connection.channel.clone()?, connection.number);
                    state.pool.begin(id);
                    return Some(Slot { servers: self, id, name, channel, number, since, is_over: false });
                }
                let is_any_ready = state.pool.ready() > 0;
                if !is_any_ready && state.here.is_some() {
                    return None;
                }
                is_any_ready
            };
            tokio::time::timeout_at(deadline, changed).await.ok()?;
            if !is_any_ready {
                since = Instant::now();
            }
        }
    }

    /// Runs a batch of this many crops; writes its answers to `answers`. Returns how long the server that answered took: the time
    /// of a server that did not answer says nothing about the next run. The error is a sentence.
    pub async fn run(
        &self,
        model: &Model,
        message: Bytes,
        rows: usize,
        answers: &mut [f32],
    ) -> Result<Duration, String> {
        let (mut except, mut why) = (None, None);
        let limit = model.answer_limit(model.rows_sent(rows));
        for _ in 0..TRIES {
            let Some(mut slot) = self.slot(except, Instant::now() + self.question.timeout).await else {
                break;
            };
            let sent = Instant::now();
            let answer = self.question.infer(limit).send(&slot.channel, message.clone()).await;
            slot.is_over = true;
            match answer.and_then(|answer| model.read(answer, rows, answers).map_err(Failure::passing)) {
                Ok(()) => {
                    self.state().pool.end(slot.id, Some(sent.elapsed()));
                    return Ok(slot.since.elapsed());
                }
                Err(failure) => {
                    self.fail(&slot, &failure);
                    except = Some(slot.id);
                    why.get_or_insert(format!("{}: {}", slot.name, failure.text));
                }
            }
        }
        Err(why.unwrap_or_else(|| {
            let troubles = self.troubles().join("; ");
            let troubles = if troubles.is_empty() { "all are busy".to_string() } else { troubles };
            format!("no server ran a batch within {:?} (server-timeout): {troubles}", self.question.timeout)
        }))
    }
}

/// If a machine has addresses of both kinds, keeps one kind, so that it does not count as two servers.
fn one_family(found: Vec<SocketAddr>, second: bool) -> Vec<SocketAddr> {
    let first = found[0].is_ipv4();
    let is_mixed = found.iter().any(|at| at.is_ipv4() != first);
    let mut chosen: Vec<_> =
        found.into_iter().filter(|at| (at.is_ipv4() == first) != (second && is_mixed)).collect();
    chosen.sort_unstable();
    chosen.dedup();
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_with_both_kinds_of_addresses_is_one_server() {
        let at = |text: &str| text.parse::<SocketAddr>().unwrap();
        let both = || vec![at("[::1]:1"), at("127.0.0.1:1"), at("127.0.0.1:1")];
        assert_eq!(one_family(both(), false), [at("[::1]:1")]);
        assert_eq!(one_family(both(), true), [at("127.0.0.1:1")]);
        let many = || vec![at("10.0.0.2:1"), at("10.0.0.1:1")];
        assert_eq!(one_family(many(), true), [at("10.0.0.1:1"), at("10.0.0.2:1")]);
    }
}
