//! NULL->READY: the backend by the element's properties, the engine of its own or shared, and the skeleton.

use std::{
    cell::Cell,
    path::PathBuf,
    sync::{Arc, LazyLock},
};

use gst::{glib, prelude::*};

use super::{
    enums::Fallback,
    log::{log_batch, onnx_runtime_log},
    settings::Settings,
};
use crate::{
    engine::{Clock, EngineSettings, Error, ErrorKind, MonotonicClock, Registry},
    network::{self, Network},
    pose::Skeleton,
    runtime::{
        Backend,
        onnx::{OnnxBackend, Search},
    },
    stage::{Loaded, Opening},
};

/// The engines that elements share by their model-instance-id.
static SHARED_ENGINES: LazyLock<Registry<Loaded<Network>>> = LazyLock::new(Registry::default);

/// The element's engine, its own or one that it shares. What is given takes the place of ONNX Runtime and of the monotonic
/// clock.
pub(super) fn open_engine(
    element: &gst::Element,
    given: Option<(Arc<Backend>, Arc<dyn Clock>)>,
    settings: &Settings,
    opening: &Opening,
) -> Result<Arc<Loaded<Network>>, Error> {
    let (backend, clock) = given
        .unwrap_or_else(|| (Arc::new(onnx_backend(element, settings)), Arc::new(MonotonicClock::default())));
    let opened_here = Cell::new(false);
    let open = || {
        opened_here.set(true);
        let settings = EngineSettings {
            batch_size: settings.batch_size as usize,
            executors: settings.inference_streams as usize,
            fallback: settings.fallback == Fallback::Cpu,
            clock,
            observer: log_batch,
        };
        opening.engine(backend, settings)
    };
    let Some(name) = &settings.model_instance_id else { return open().map(Arc::new) };
    let owner = element.path_string();
    let loaded = SHARED_ENGINES.get(name, settings.agreement(), &owner, opening.cancel, open)?;
    if !opened_here.get() {
        warn_of_another_file(element, settings, name, &loaded.network);
    }
    Ok(loaded)
}

/// The network that runs is the one that its first user loaded, whatever is in the file now.
fn warn_of_another_file(element: &gst::Element, settings: &Settings, name: &str, network: &Network) {
    let (Some(file), Some(loaded)) = (settings.model_path(), &network.sha256) else { return };
    let now = match network::checksum(&file) {
        Ok(now) if now == *loaded => return,
        Ok(now) => format!("was replaced (it has the SHA-256 {now} now)"),
        Err(why) => format!("cannot be read any more ({why})"),
    };
    gst::element_warning!(
        element,
        gst::ResourceError::Settings,
        (
            "The model file {} {now}, but what it held before (SHA-256 {loaded}) still runs as {name} \
             (model-instance-id), and is used here too: stop all elements of that name and start them again to load \
             the file",
            file.display()
        )
    );
}

fn onnx_backend(element: &gst::Element, settings: &Settings) -> OnnxBackend {
    let plugin_file =
        element.factory().and_then(|factory| factory.plugin()).and_then(|plugin| plugin.filename());
    OnnxBackend {
        model_file: settings.model_path(),
        batch_size: settings.batch_size as usize,
        executors: settings.inference_streams as usize,
        threads: settings.inference_threads as usize,
        provider: settings.execution_provider.into(),
        device_id: settings.device_id,
        precision: settings.precision.into(),
        conv_algo_search: settings.cudnn_conv_algo_search.into(),
        gpu_memory_limit: settings.gpu_memory_limit,
        cache_folder: Some(glib::user_cache_dir().join("rtmposebatch")),
        library: Search {
            file: settings.ort_library.as_ref().map(Into::into),
            folders: library_folders(plugin_file),
        },
        log: onnx_runtime_log(),
        ..OnnxBackend::default()
    }
}

/// Where ONNX Runtime is looked for. A program that is linked with this crate finds the one that was installed with the
/// plugin.
fn library_folders(plugin: Option<PathBuf>) -> Vec<PathBuf> {
    let folder = |file: PathBuf| file.parent().map(PathBuf::from);
    let program = std::env::current_exe().ok();
    let users = glib::user_data_dir().join("gstreamer-1.0/plugins");
    // Where GStreamer's own plugins are the package puts ours.
    let systems = gst::Registry::get().find_plugin("coreelements").and_then(|plugin| plugin.filename());
    let folders = [plugin.and_then(folder), program.and_then(folder), Some(users), systems.and_then(folder)];
    folders.into_iter().flatten().collect()
}

/// The key points' skeleton: as the property says, or as their number tells, if it does.
pub(super) fn skeleton_of(settings: &Settings, points: usize) -> Result<Option<&'static Skeleton>, Error> {
    let Some(name) = &settings.skeleton else { return Ok(Skeleton::for_points(points)) };
    let refuse = |what: String| {
        let text = format!("The property skeleton names {what}, or leave the property unset");
        Error::new(ErrorKind::ModelRefused, text)
    };
    let skeleton = Skeleton::find(name).map_err(refuse)?;
    if skeleton.points != points {
        return Err(refuse(format!(
            "{name}, which has {} key points, but the model has {points}: name one that fits, load another model",
            skeleton.points
        )));
    }
    Ok(Some(skeleton))
}
