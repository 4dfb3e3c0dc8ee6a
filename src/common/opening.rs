//! NULL->READY: makes the backend from an element's properties, and opens its own or a shared engine.

use std::{
    cell::Cell,
    path::{Path, PathBuf},
    sync::{Arc, LazyLock},
};

use gst::{glib, prelude::*};

use super::{asked::Asked, enums::Fallback, log::onnx_runtime_log, servers};
use crate::{
    engine::{Clock, EngineSettings, Error, ErrorKind, MonotonicClock, Registry},
    network::{self, Network, Task},
    runtime::{
        Backend,
        onnx::{Cards, OnnxBackend, Search},
    },
    stage::{Loaded, Opening},
};

/// The engines that elements share by their model-instance-id.
static SHARED_ENGINES: LazyLock<Registry<Loaded<Network>>> = LazyLock::new(Registry::default);

/// A test's replacement for the backend that the properties ask for, and for the monotonic clock.
pub(crate) type Given = (Arc<Backend>, Arc<dyn Clock>);

/// The element's engine: its own, or one that it shares.
pub(crate) fn open_engine(
    element: &gst::Element,
    given: Option<Given>,
    asked: &Asked,
    opening: &Opening,
) -> Result<Arc<Loaded<Network>>, Error> {
    let common = asked.common;
    servers::check(asked)?;
    let cards = common.device_ids.cards(common.device_id, common.execution_provider)?;
    let (backend, clock) = match given {
        Some(given) => given,
        None => (backend(element, asked, cards)?, Arc::new(MonotonicClock::default()) as Arc<dyn Clock>),
    };
    let opened_here = Cell::new(false);
    let open = || {
        opened_here.set(true);
        let settings = EngineSettings {
            batch_size: asked.batch_size,
            // With servers, the number on each server.
            executors: if common.inference_server.is_some() { 0 } else { common.inference_streams as usize },
            fallback: common.fallback == Fallback::Cpu,
            clock,
            observer: asked.observer,
        };
        opening.engine(backend, settings)
    };
    let loaded = match &common.model_instance_id {
        None => open().map(Arc::new)?,
        Some(name) => {
            let owner = element.path_string();
            let loaded = SHARED_ENGINES.get(name, asked.agreement.clone(), &owner, opening.cancel, open)?;
            if !opened_here.get() {
                warn_of_another_file(element, asked.model_file.as_deref(), name, &loaded.network);
            }
            loaded
        }
    };
    // A file was checked before it was loaded. What runs elsewhere is known only now.
    match (loaded.network.kind.task(), asked.wanted.task) {
        (Task::Boxes, Some(Task::Poses)) => Err(of_no_use("a detector", "rtmposedetect")),
        (Task::Poses, Some(Task::Boxes)) => Err(of_no_use("a pose model", "rtmposebatch")),
        _ => Ok(loaded),
    }
}

fn of_no_use(network: &str, element: &str) -> Error {
    Error::new(ErrorKind::ModelRefused, format!("The model is {network}: use {element} for it"))
}

/// A shared engine runs the network that its first user loaded, whatever is in the file now.
fn warn_of_another_file(element: &gst::Element, file: Option<&Path>, name: &str, network: &Network) {
    let (Some(file), Some(loaded)) = (file, &network.sha256) else { return };
    let now = match network::checksum(file) {
        Ok(now) if now == *loaded => return,
        Ok(now) => format!("has changed (its SHA-256 is now {now})"),
        Err(why) => format!("can no longer be read ({why})"),
    };
    gst::element_warning!(
        element,
        gst::ResourceError::Settings,
        (
            "The model file {} {now}, but elements with model-instance-id={name} still run the earlier one (SHA-256 \
             {loaded}), and so does this element: to load the new file, stop all of them and start them again",
            file.display()
        )
    );
}

/// What runs the network: servers, or this process.
fn backend(element: &gst::Element, asked: &Asked, cards: Option<Cards>) -> Result<Arc<Backend>, Error> {
    let here = OnnxBackend { cards, ..onnx_backend(element, asked) };
    Ok(match &asked.common.inference_server {
        Some(list) => Arc::new(servers::backend(list, asked, here)?),
        None => Arc::new(here),
    })
}

fn onnx_backend(element: &gst::Element, asked: &Asked) -> OnnxBackend {
    let common = asked.common;
    let plugin_file =
        element.factory().and_then(|factory| factory.plugin()).and_then(|plugin| plugin.filename());
    OnnxBackend {
        model_file: asked.model_file.clone(),
        wanted: asked.wanted,
        batch_size: asked.batch_size,
        executors: common.inference_streams as usize,
        threads: common.inference_threads as usize,
        provider: common.execution_provider.into(),
        device_id: common.device_id,
        precision: common.precision.into(),
        conv_algo_search: common.cudnn_conv_algo_search.into(),
        fuse_conv_bias: common.cudnn_fuse_conv_bias.into(),
        gpu_memory_limit: common.gpu_memory_limit,
        cache_folder: Some(glib::user_cache_dir().join("rtmposebatch")),
        library: Search {
            file: common.ort_library.as_ref().map(Into::into),
            folders: library_folders(plugin_file),
        },
        log: onnx_runtime_log(),
        ..OnnxBackend::default()
    }
}

/// Where to search for ONNX Runtime. A program that is linked with this crate finds the one that was installed with the
/// plugin.
fn library_folders(plugin: Option<PathBuf>) -> Vec<PathBuf> {
    let folder = |file: PathBuf| file.parent().map(PathBuf::from);
    let program = std::env::current_exe().ok();
    let users = glib::user_data_dir().join("gstreamer-1.0/plugins");
    // The package installs it with GStreamer's own plugins.
    let systems = gst::Registry::get().find_plugin("coreelements").and_then(|plugin| plugin.filename());
    let folders = [plugin.and_then(folder), program.and_then(folder), Some(users), systems.and_then(folder)];
    folders.into_iter().flatten().collect()
}
