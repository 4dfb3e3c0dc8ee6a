//! The thread of all connections of an engine, and the state that its executors share.

use std::{
    cell::RefCell,
    sync::{Arc, Weak},
    thread::JoinHandle,
};

use tokio::{runtime, sync::oneshot};

use super::{local::Local, model::Model, servers::Servers};
use crate::{
    engine::{Cancel, Error, ErrorKind, LoadEvent, Loading},
    runtime::Backend,
    sync::{Mutex, lock, wait},
};

type OpenedLocal = Result<Option<Arc<Local>>, Error>;

pub struct Hub {
    pub servers: Arc<Servers>,
    pub runtime: runtime::Handle,
    /// Dropping it ends the thread.
    end: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
    /// What replaces the servers, and the events while it was opened; not set until the first executor asks for it.
    local: Mutex<Option<(OpenedLocal, Vec<LoadEvent>)>>,
}

impl Hub {
    /// Starts to connect to the servers.
    pub fn start(servers: Arc<Servers>) -> Result<Arc<Self>, Error> {
        let failed =
            |error| Error::new(ErrorKind::Run, format!("Cannot start a thread for servers: {error}"));
        let runtime =
            runtime::Builder::new_current_thread().enable_io().enable_time().build().map_err(failed)?;
        let handle = runtime.handle().clone();
        let (end, ended) = oneshot::channel::<()>();
        let opening = servers.clone();
        let body = move || {
            runtime.spawn(opening.open());
            let _ = runtime.block_on(ended);
            // A name lookup in progress is not waited for.
            runtime.shutdown_background();
        };
        let thread =
            std::thread::Builder::new().name("rtmpose-servers".into()).spawn(body).map_err(failed)?;
        Ok(Arc::new(Self {
            servers,
            runtime: handle,
            end: Some(end),
            thread: Some(thread),
            local: Mutex::default(),
        }))
    }

    /// Waits until a server has the model ready; none if the network starts in this process. All waiting callers receive the
    /// events.
    pub fn wait(&self, loading: &Loading) -> Result<Option<Model>, Error> {
        let waker: Weak<Servers> = Arc::downgrade(&self.servers);
        loading.cancelled.on_cancel(move || {
            if let Some(servers) = waker.upgrade() {
                let (_opening, opened) = servers.opening();
                opened.notify_all();
            }
        });
        let mut heard = 0;
        loop {
            let (mut opening, opened) = self.servers.opening();
            while opening.events.len() == heard
                && opening.result.is_none()
                && !loading.cancelled.is_cancelled()
            {
                opening = wait(opened, opening);
            }
            let events = opening.events[heard..].to_vec();
            let result = opening.result.clone();
            drop(opening);
            heard += events.len();
            events.into_iter().for_each(loading.report);
            loading.cancelled.check()?;
            if let Some(result) = result {
                return result;
            }
        }
    }

    /// What replaces the servers, loaded by the first caller. All callers receive the events.
    pub fn local(&self, fallback: Option<&Fallback>, batch_size: usize, loading: &Loading) -> OpenedLocal {
        let mut local = lock(&self.local);
        if local.is_none() {
            let told = RefCell::new(Vec::new());
            let tell = |event| told.borrow_mut().push(event);
            let opened = match fallback {
                Some(fallback) => fallback.open(&self.servers, batch_size, loading.cancelled, &tell),
                None => Ok(None),
            };
            *local = Some((opened, told.into_inner()));
        }
        let (opened, told) = local.clone().expect("it was just opened");
        drop(local);
        told.into_iter().for_each(loading.report);
        opened
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        self.end.take();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// What runs the network when no server is ready.
#[derive(Clone)]
pub struct Fallback {
    pub backend: Arc<Backend>,
    /// The user has set model-file, so it is an error if that model cannot replace the servers'.
    pub is_named: bool,
}

impl Fallback {
    fn open(
        &self,
        servers: &Servers,
        batch_size: usize,
        cancel: &Cancel,
        report: &dyn Fn(LoadEvent),
    ) -> OpenedLocal {
        let warn = |event| {
            if matches!(event, LoadEvent::Warning(_)) {
                report(event);
            }
        };
        let opened = Local::open(self.backend.clone(), batch_size, cancel, &warn).and_then(|local| {
            match servers.set_here(local.here(batch_size)) {
                Ok(()) => Ok(Arc::new(local)),
                Err(why) => Err(Error::new(
                    ErrorKind::Settings,
                    format!("The model in this process cannot replace the servers' model: it {why}"),
                )),
            }
        });
        match opened {
            Ok(local) => Ok(Some(local)),
            Err(error) if error.kind == ErrorKind::Cancelled => Err(error),
            Err(error) if self.is_named => Err(Error::new(
                error.kind,
                format!("{error}; set model-file to the servers' model, or fallback=none"),
            )),
            Err(error) => {
                report(LoadEvent::Info(format!(
                    "Nothing replaces the servers if none is ready ({error}); set model-file to the model that should"
                )));
                Ok(None)
            }
        }
    }
}
