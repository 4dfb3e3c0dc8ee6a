//! The connection to the servers before the first frame: how long it may take, and how it ends.

use std::{pin::pin, sync::Arc, time::Duration};

use tokio::time::Instant;

use super::{Servers, Source, State};
use crate::{
    engine::{Error, ErrorKind, LoadEvent},
    runtime::kserve::{address::is_private, call::Failure, connection::FIRST_RUN, model::Model},
    sync::lock,
};

/// How often progress is reported while waiting for the model.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(1);

impl Servers {
    fn report(&self, event: LoadEvent) {
        lock(&self.opening).events.push(event);
        self.opened.notify_all();
    }

    /// Starts to connect to the servers, and waits for the result, good or bad.
    pub async fn open(self: Arc<Self>) {
        for index in 0..self.addresses.len() {
            tokio::spawn(self.clone().follow_address(index));
        }
        let deadline = Instant::now() + self.question.timeout * FIRST_RUN;
        self.report(LoadEvent::Step(format!(
            "Waiting for the model {} on {}",
            self.question.model,
            self.list()
        )));
        let mut next_report = Instant::now() + PROGRESS_INTERVAL;
        let result = loop {
            let mut changed = pin!(self.changed.notified());
            changed.as_mut().enable();
            let now = Instant::now();
            if let Some(result) = self.verdict(now >= deadline) {
                break result;
            }
            if now >= next_report {
                let trouble = self.troubles().join("; ");
                self.report(LoadEvent::Step(format!("Still waiting for {}: {trouble}", self.list())));
                next_report = now + PROGRESS_INTERVAL;
            }
            let _ = tokio::time::timeout_at(deadline.min(next_report), changed).await;
        };
        self.state().is_open = true;
        lock(&self.opening).result = Some(result);
        self.opened.notify_all();
    }

    pub(super) fn none_ready(&self) -> String {
        let (model, time) = (&self.question.model, self.question.timeout * FIRST_RUN);
        format!("After {time:?}, no server has the model {model} ready")
    }

    fn list(&self) -> String {
        let names: Vec<_> = self.addresses.iter().map(ToString::to_string).collect();
        names.join(", ")
    }

    /// The servers' problems, each as half a sentence.
    pub(super) fn troubles(&self) -> Vec<String> {
        let state = self.state();
        let text = |(source, failure): (&Source, &Failure)| {
            format!("{} ({})", self.name(*source, &state), failure.text)
        };
        state.trouble.iter().map(text).collect()
    }

    fn name(&self, source: Source, state: &State) -> String {
        match source {
            Source::Address(index) => self.addresses[index].to_string(),
            Source::Member(id) => state.pool.get(id).map_or(String::new(), |member| member.name.clone()),
        }
    }

    /// How the opening ends; none while it continues.
    fn verdict(&self, is_over: bool) -> Option<Result<Option<Model>, Error>> {
        let troubles = self.troubles();
        let mut state = self.state();
        if let Some((source, failure)) = state.trouble.iter().find(|(_, failure)| failure.is_final) {
            let text = &failure.text;
            return Some(Err(if text.starts_with("The model") {
                Error::new(ErrorKind::ModelRefused, text.clone())
            } else {
                let name = self.name(*source, &state);
                Error::new(ErrorKind::Server, format!("The server {name} cannot be used: {text}"))
            }));
        }
        let is_settled = |source: Source| match source {
            Source::Address(index) => {
                state.trouble.contains_key(&source)
                    || state.connections.values().any(|connection| connection.address == index)
            }
            Source::Member(id) => {
                state.trouble.contains_key(&source)
                    || state.pool.get(id).is_some_and(|member| member.is_ready)
            }
        };
        let addresses = (0..self.addresses.len()).map(Source::Address);
        let members = state.pool.members().iter().map(|member| Source::Member(member.id));
        let all_settled = addresses.chain(members).all(is_settled);
        let model = state.model.clone().filter(|_| state.pool.ready() > 0);
        match model {
            Some(model) if all_settled || is_over => {
                state.tell_who_comes();
                drop(state);
                if !troubles.is_empty() {
                    self.report(LoadEvent::Warning(format!(
                        "Not all servers are ready; until they are, the others run their batches: {}",
                        troubles.join("; ")
                    )));
                }
                self.warn_of_plain_text();
                if model.takes_floats() {
                    self.report(LoadEvent::Warning(format!(
                        "The model {} on the servers accepts normalised floats, which are four times as large as the \
                         images' bytes: the file that models/server-repository makes from it accepts bytes, with the \
                         same results",
                        self.question.model
                    )));
                }
                Some(Ok(Some(model)))
            }
            None if is_over && self.can_begin_alone => {
                state.tell_who_comes();
                Some(Ok(None))
            }
            None if is_over => Some(Err(Error::new(
                ErrorKind::Server,
                format!(
                    "{}: {}; check inference-server and model-name, or set a longer server-timeout (the start waits \
                     ten times as long); with model-file set to the same model, the element starts with it in this \
                     process",
                    self.none_ready(),
                    troubles.join("; ")
                ),
            ))),
            _ => None,
        }
    }

    /// Images of people, and secrets, must not be readable on the way.
    fn warn_of_plain_text(&self) {
        let open = {
            let state = self.state();
            let mut connections = state.connections.values();
            connections
                .find(|to| !self.addresses[to.address].tls && !is_private(to.at.ip()))
                .map(|to| to.address)
        };
        let Some(index) = open else { return };
        let secret =
            if self.question.metadata.headers().is_empty() { "" } else { ", and so is server-metadata" };
        self.report(LoadEvent::Warning(format!(
            "Images are sent to {} unencrypted over a network that is not private{secret}: use grpcs:// to encrypt them",
            self.addresses[index]
        )));
    }
}
