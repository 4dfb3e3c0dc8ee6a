//! NULL->READY and back: the network is loaded and released.

use std::sync::Arc;

use gst::prelude::*;

use super::{Inference, Running, Stage};
use crate::{
    engine::{BackendOf, Cancel, Engine, EngineSettings, Error, ErrorKind, LoadEvent, Network},
    platform::gpu::GpuMonitor,
    sync::lock,
    video::cuda::Cards,
};

/// An engine with its network.
pub struct Loaded<N> {
    pub engine: Engine,
    pub network: N,
}

impl<N> AsRef<Engine> for Loaded<N> {
    fn as_ref(&self) -> &Engine {
        &self.engine
    }
}

/// Passed to the element while it opens its engine.
pub struct Opening<'a> {
    pub cancel: &'a Cancel,
    pub report: &'a dyn Fn(LoadEvent),
}

impl Opening<'_> {
    /// An engine that only this element uses.
    pub fn engine<N: Network>(
        &self,
        backend: Arc<BackendOf<N>>,
        settings: EngineSettings,
    ) -> Result<Loaded<N>, Error> {
        let (engine, network) = Engine::open(backend, settings, self.cancel, self.report)?;
        Ok(Loaded { engine, network })
    }
}

/// What the element has opened.
pub struct Opened<I: Inference> {
    pub loaded: Arc<Loaded<I::Network>>,
    pub ready: I::Ready,
    /// The numbers of the NVIDIA GPUs that run the network.
    pub gpus: Vec<u32>,
    /// Those in whose memory frames can stay.
    pub cards: Cards,
    /// A description of what was loaded, for the log, and a short one for users.
    pub description: String,
    pub summary: String,
}

/// Interrupts the loading of a network.
#[derive(Default)]
pub(super) struct LoadingState {
    /// For the loading that is in progress, or was last.
    cancel: Cancel,
    /// Changes to NULL that were requested and have not ended. They can wait for a change that has not reached its loading
    /// yet.
    to_null: usize,
}

impl<I: Inference> Stage<I> {
    /// Whether the loading in progress was asked to end.
    pub fn loading_is_cancelled(&self) -> bool {
        lock(&self.loading).cancel.is_cancelled()
    }

    /// NULL->READY: loads and warms up the network.
    pub fn load(&self) -> Result<(), gst::StateChangeError> {
        let element = self.element();
        let cancel = Cancel::default();
        {
            let mut loading = lock(&self.loading);
            loading.cancel = cancel.clone();
            if loading.to_null > 0 {
                cancel.cancel();
            }
        }
        let progress = |kind, text: &str| {
            let message = gst::message::Progress::builder(kind, "load", text).src(&element).build();
            let _ = element.post_message(message);
        };
        let report = |event| match event {
            LoadEvent::Step(text) => {
                gst::debug!(I::category(), obj = element, "{text}");
                progress(gst::ProgressType::Continue, &text);
            }
            LoadEvent::Info(text) => gst::info!(I::category(), obj = element, "{text}"),
            LoadEvent::Warning(text) => {
                gst::element_warning!(element, gst::ResourceError::Settings, ("{text}"));
            }
        };
        progress(gst::ProgressType::Start, "Loading the model");
        let settings = self.inference.settings();
        match I::open(self, &Opening { cancel: &cancel, report: &report }) {
            Ok(Opened { loaded, ready, gpus, cards, description, summary }) => {
                let queue = self.queue.clone();
                let stream = loaded.engine.attach(settings.policy, Arc::new(move || queue.wake()));
                gst::info!(
                    I::category(),
                    obj = element,
                    "Loaded {description}, a batch of {} takes {:?}",
                    stream.batch_size(),
                    stream.run_time()
                );
                let watched = |number| Some((number, self.watch_gpu(number)?));
                let gpus = gpus.into_iter().filter_map(watched).collect();
                let running = Arc::new(Running { stream, loaded, gpus, cards, settings, ready });
                progress(gst::ProgressType::Complete, &summary);
                *lock(&self.running) = Some(running.clone());
                self.share_context();
                // Properties may have been set while the network was loaded.
                running.stream.set_timeout_policy(self.inference.settings().policy);
                Ok(())
            }
            Err(error) if error.kind == ErrorKind::Cancelled => {
                gst::info!(I::category(), obj = element, "{error}");
                progress(gst::ProgressType::Canceled, &error.message);
                Err(gst::StateChangeError)
            }
            Err(error) => {
                progress(gst::ProgressType::Error, &error.message);
                self.post_error(&error);
                Err(gst::StateChangeError)
            }
        }
    }

    /// READY->NULL: releases the engine; the last element closes it.
    pub fn unload(&self) {
        // Taken out first: closing the engine joins its threads, which must not happen with a lock held.
        let running = lock(&self.running).take();
        // If a thread is reading a property now, it closes the engine.
        let Some(Running { stream, loaded, .. }) = running.and_then(Arc::into_inner) else { return };
        drop(stream);
        if let Some(Err(error)) = Arc::into_inner(loaded).map(|loaded| loaded.engine.close()) {
            self.post_error(&error);
        }
    }

    /// Figures of the GPU, and one warning if it gets hot or slows down.
    fn watch_gpu(&self, device: u32) -> Option<GpuMonitor> {
        let element = self.element().downgrade();
        GpuMonitor::start(device, move |text| {
            if let Some(element) = element.upgrade() {
                gst::element_warning!(element, gst::ResourceError::Busy, ("{text}"));
            }
        })
    }

    /// Posts the error, and logs it for users who do not read the bus: GStreamer itself logs messages at a level that is
    /// rarely enabled.
    pub(super) fn post_error(&self, error: &Error) {
        let (element, text) = (self.element(), &error.message);
        gst::error!(I::category(), obj = element, "{text}");
        match error.kind {
            ErrorKind::ModelMissing => {
                gst::element_error!(element, gst::ResourceError::NotFound, ("{text}"))
            }
            ErrorKind::ModelRefused => gst::element_error!(element, gst::StreamError::WrongType, ("{text}")),
            ErrorKind::Settings => gst::element_error!(element, gst::LibraryError::Settings, ("{text}")),
            ErrorKind::Library => gst::element_error!(element, gst::LibraryError::Init, ("{text}")),
            ErrorKind::Provider | ErrorKind::Server => {
                gst::element_error!(element, gst::ResourceError::OpenRead, ("{text}"))
            }
            ErrorKind::OutOfMemory => {
                gst::element_error!(element, gst::ResourceError::NoSpaceLeft, ("{text}"))
            }
            ErrorKind::Run | ErrorKind::Cancelled => {
                gst::element_error!(element, gst::LibraryError::Failed, ("{text}"));
            }
        }
    }

    /// Called before a change to NULL waits for the change in progress.
    pub(super) fn before_change_to_null(&self) {
        let mut loading = lock(&self.loading);
        loading.to_null += 1;
        let cancel = loading.cancel.clone();
        drop(loading);
        cancel.cancel();
    }

    pub(super) fn after_change_to_null(&self) {
        lock(&self.loading).to_null -= 1;
    }
}
