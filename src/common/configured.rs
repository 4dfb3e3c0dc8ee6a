//! An element's current properties, and GObject's access to them.

use std::sync::Arc;

use gst::{glib, prelude::*};

use super::{
    opening::Given,
    settings::{Properties, warn_of_late_property, warn_of_milliseconds},
};
use crate::{
    network::Network,
    stage::{Inference, Running, Stage, properties::Table},
    sync::{Mutex, MutexGuard, lock},
};

/// The configuration of an element.
#[derive(Default)]
pub(crate) struct Configuration<S> {
    properties: Mutex<Properties<S>>,
    /// A test's replacement for backend and clock.
    #[cfg(any(debug_assertions, feature = "testing"))]
    given: once_cell::sync::OnceCell<Given>,
}

impl<S: Table> Configuration<S> {
    pub fn current(&self) -> MutexGuard<'_, Properties<S>> {
        lock(&self.properties)
    }

    #[cfg(any(debug_assertions, feature = "testing"))]
    pub fn given(&self) -> Option<Given> {
        self.given.get().cloned()
    }

    #[cfg(not(any(debug_assertions, feature = "testing")))]
    pub fn given(&self) -> Option<Given> {
        None
    }

    /// From the next NULL->READY on, the element runs what is given. Takes effect once.
    #[cfg(any(debug_assertions, feature = "testing"))]
    pub fn give(&self, given: Given) {
        assert!(self.given.set(given).is_ok(), "the element has a fake backend already");
    }
}

/// An inference element whose properties are its own table and the common one.
pub(crate) trait Configured: Inference<Network = Network> {
    type Own: Table;

    fn configuration(&self) -> &Configuration<Self::Own>;
}

/// Sets a property. Returns the running engine, which may react to it. Warns the user of a property that has no effect until
/// the next start.
pub(crate) fn set_property<I: Configured>(
    stage: &Stage<I>,
    value: &glib::Value,
    property: &glib::ParamSpec,
) -> Option<Arc<Running<I>>> {
    let name = property.name();
    stage.inference.configuration().current().set(name, value);
    let running = stage.running()?;
    if matches!(name, "batch-timeout" | "adaptive-timeout") {
        stage.settings_changed();
    }
    warn_of_late_property(&stage.element(), property);
    Some(running)
}

pub(crate) fn property<I: Configured>(stage: &Stage<I>, property: &glib::ParamSpec) -> glib::Value {
    let running = || stage.running();
    match property.name() {
        "model-sha256" => running().and_then(|running| running.network().sha256.clone()).to_value(),
        "active-provider" => running().map(|running| running.stream.provider()).to_value(),
        "stats" => stage.statistics().to_value(),
        name => stage.inference.configuration().current().get(name).expect("every property has a value"),
    }
}

/// Call this before the element's parent changes the state.
pub(crate) fn before_change<I: Configured>(
    stage: &Stage<I>,
    transition: gst::StateChange,
) -> Result<(), gst::StateChangeError> {
    if transition == gst::StateChange::NullToReady {
        let common = stage.inference.configuration().current().common.clone();
        warn_of_milliseconds(&stage.element(), &common);
    }
    stage.before_change(transition)
}
