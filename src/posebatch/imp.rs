//! The element's object: pads, properties and states. Its streaming sides are in `sink` and `src`.

use std::{
    cell::Cell,
    path::PathBuf,
    sync::{Arc, LazyLock},
};

use gst::{glib, prelude::*, subclass::prelude::*};
use once_cell::sync::OnceCell;

use super::{
    enums::{Fallback, ScoreMode},
    latency::Latency,
    log::{CAT, log_batch, onnx_runtime_log},
    queue::Queue,
    settings::{self, Settings},
    sink::Input,
    skip::Qos,
    stats::Stats,
    testing::Injected,
};
use crate::{
    engine::{
        Cancel, Clock, Engine, EngineSettings, Error, ErrorKind, LoadEvent, MonotonicClock, Registry, Stream,
    },
    meta::FramePeople,
    network::{self, Network, OnlyScore},
    platform::gpu::GpuMonitor,
    pose::{Skeleton, Smoother, skeleton},
    runtime::{
        Backend,
        onnx::{OnnxBackend, Search},
    },
    sync::{Mutex, MutexGuard, lock},
    video::FORMATS,
};

/// What exists from READY on.
pub(super) struct Running {
    // Dropped before its engine.
    pub stream: Stream,
    loaded: Arc<Loaded>,
    /// None where the network does not run on an NVIDIA GPU, or its driver does not tell.
    pub gpu: Option<GpuMonitor>,
    /// The settings at NULL->READY; those that can change while PLAYING are read from the element instead.
    pub settings: Settings,
    /// Name of the key points' skeleton.
    pub skeleton: String,
    /// How far labels of its points scatter, where that is known.
    pub sigmas: Option<&'static [f32]>,
}

/// What interrupts the loading of a network.
#[derive(Default)]
struct LoadingState {
    /// Of the loading that goes on, or went on last.
    cancel: Cancel,
    /// Changes to NULL that were asked for and have not ended. They can wait for a change that has not come to its loading
    /// yet.
    to_null: usize,
}

impl Running {
    pub fn network(&self) -> &Network {
        &self.loaded.network
    }
}

/// An engine with what it runs.
struct Loaded {
    engine: Engine,
    network: Network,
}

impl AsRef<Engine> for Loaded {
    fn as_ref(&self) -> &Engine {
        &self.engine
    }
}

/// The engines that elements share by their model-instance-id.
static SHARED_ENGINES: LazyLock<Registry<Loaded>> = LazyLock::new(Registry::default);

/**
 * SECTION:element-rtmposebatch
 *
 * Finds people's key points with RTMPose. Collects crops of incoming frames into batches of #GstRtmPoseBatch:batch-size,
 * waits at most #GstRtmPoseBatch:batch-timeout for a batch to fill, runs the network once for the batch, and sends every
 * frame on, unchanged and in order, with its people as `RtmPoseMeta` and, where it is built for GStreamer 1.26 or newer, as
 * GstAnalytics.
 *
 * ## Example pipeline
 * |[
 * gst-launch-1.0 v4l2src ! videoconvert ! rtmposebatch ! rtmposeoverlay ! videoconvert ! autovideosink
 * ]| Draws the key points of a person before a camera.
 */
pub struct RtmPoseBatch {
    pub(super) sinkpad: gst::Pad,
    pub(super) srcpad: gst::Pad,
    settings: Mutex<Settings>,
    running: Mutex<Option<Arc<Running>>>,
    /// What only the sink pad's streaming thread uses.
    pub(super) input: Mutex<Input>,
    pub(super) queue: Arc<Queue>,
    pub(super) latency: Mutex<Latency>,
    pub(super) stats: Mutex<Stats>,
    pub(super) qos: Mutex<Qos>,
    /// Of the last frame that was inferred, for those that carry its people on. Used by the source pad's task.
    pub(super) last_people: Mutex<Option<FramePeople>>,
    /// Since when the people are in view. Used by the source pad's task.
    #[cfg(feature = "v1_26")]
    pub(super) first_seen: Mutex<crate::meta::analytics::FirstSeen>,
    /// Used by the source pad's task.
    pub(super) smoother: Mutex<Smoother>,
    loading: Mutex<LoadingState>,
    pub(super) injected: OnceCell<Injected>,
}

#[glib::object_subclass]
impl ObjectSubclass for RtmPoseBatch {
    const NAME: &'static str = "GstRtmPoseBatch";
    type Type = super::RtmPoseBatch;
    type ParentType = gst::Element;

    fn class_init(class: &mut Self::Class) {
        install_set_state(class);
    }

    fn with_class(class: &Self::Class) -> Self {
        let template = |name| class.pad_template(name).expect("the template is registered");
        let sinkpad = gst::Pad::builder_from_template(&template("sink"))
            .activatemode_function(|pad, parent, mode, active| {
                Self::catch_panic_pad_function(
                    parent,
                    || Err(gst::loggable_error!(CAT, "Panic while the sink pad was activated")),
                    |this| this.sink_activatemode(pad, mode, active),
                )
            })
            .chain_function(|pad, parent, buffer| {
                Self::catch_panic_pad_function(
                    parent,
                    || Err(gst::FlowError::Error),
                    |this| this.sink_chain(pad, buffer),
                )
            })
            .event_full_function(|pad, parent, event| {
                Self::catch_panic_pad_function(
                    parent,
                    || Err(gst::FlowError::Error),
                    |this| this.sink_event(pad, event),
                )
            })
            .query_function(|pad, parent, query| {
                Self::catch_panic_pad_function(parent, || false, |this| this.sink_query(pad, query))
            })
            // Caps without a size come through to `set_caps`, whose error says what they lack.
            .flags(
                gst::PadFlags::PROXY_CAPS | gst::PadFlags::PROXY_SCHEDULING | gst::PadFlags::ACCEPT_INTERSECT,
            )
            .build();
        let srcpad = gst::Pad::builder_from_template(&template("src"))
            .activatemode_function(|pad, parent, mode, active| {
                Self::catch_panic_pad_function(
                    parent,
                    || Err(gst::loggable_error!(CAT, "Panic while the source pad was activated")),
                    |this| this.src_activatemode(pad, mode, active),
                )
            })
            .event_function(|pad, parent, event| {
                Self::catch_panic_pad_function(parent, || false, |this| this.src_event(pad, event))
            })
            .query_function(|pad, parent, query| {
                Self::catch_panic_pad_function(parent, || false, |this| this.src_query(pad, query))
            })
            .flags(gst::PadFlags::PROXY_CAPS | gst::PadFlags::PROXY_SCHEDULING)
            .build();
        Self {
            sinkpad,
            srcpad,
            settings: Mutex::default(),
            running: Mutex::default(),
            input: Mutex::default(),
            queue: Arc::default(),
            latency: Mutex::default(),
            stats: Mutex::default(),
            qos: Mutex::default(),
            last_people: Mutex::default(),
            #[cfg(feature = "v1_26")]
            first_seen: Mutex::default(),
            smoother: Mutex::default(),
            loading: Mutex::default(),
            injected: OnceCell::new(),
        }
    }
}

impl ObjectImpl for RtmPoseBatch {
    fn properties() -> &'static [glib::ParamSpec] {
        settings::specifications()
    }

    fn constructed(&self) {
        self.parent_constructed();
        let element = self.obj();
        element.add_pad(&self.sinkpad).expect("a new element takes its pads");
        element.add_pad(&self.srcpad).expect("a new element takes its pads");
    }

    fn set_property(&self, _id: usize, value: &glib::Value, pspec: &glib::ParamSpec) {
        let name = pspec.name();
        self.settings().set(name, value);
        let Some(running) = self.running() else { return };
        if matches!(name, "batch-timeout" | "adaptive-timeout") {
            let patience = self.settings().patience();
            running.stream.set_patience(patience);
            self.check_latency(&running);
        }
        if name == "score-mode"
            && self.settings().score_mode == ScoreMode::Mean
            && let Some(only) = running.network().kind.only_score()
        {
            let gives = match only {
                OnlyScore::Minimum => "it gives the minimum of both axes' maxima only",
                OnlyScore::OneMaximum => "its heat maps have one maximum each",
            };
            gst::element_imp_warning!(
                self,
                gst::LibraryError::Settings,
                ("score-mode=mean has no effect on this model: {gives}")
            );
        }
        if !pspec.flags().contains(gst::PARAM_FLAG_MUTABLE_PLAYING) {
            gst::element_imp_warning!(
                self,
                gst::LibraryError::Settings,
                ("The property {name} was set while a model is loaded: it takes effect at the next change from NULL to READY")
            );
        }
    }

    fn property(&self, _id: usize, pspec: &glib::ParamSpec) -> glib::Value {
        match pspec.name() {
            "model-sha256" => self.running().and_then(|running| running.network().sha256.clone()).to_value(),
            "active-provider" => {
                self.running().map(|running| running.stream.provider().to_string()).to_value()
            }
            "stats" => self.statistics().to_value(),
            name => self.settings().get(name).expect("every property has a value"),
        }
    }
}

impl GstObjectImpl for RtmPoseBatch {}

impl ElementImpl for RtmPoseBatch {
    fn metadata() -> Option<&'static gst::subclass::ElementMetadata> {
        static METADATA: LazyLock<gst::subclass::ElementMetadata> = LazyLock::new(|| {
            gst::subclass::ElementMetadata::new(
                "RTMPose batch",
                "Filter/Analyzer/Video",
                "Finds people's key points in batches of frames with an RTMPose ONNX network and attaches them as \
                 RtmPoseMeta",
                env!("CARGO_PKG_AUTHORS"),
            )
        });
        Some(&METADATA)
    }

    fn pad_templates() -> &'static [gst::PadTemplate] {
        static TEMPLATES: LazyLock<[gst::PadTemplate; 2]> = LazyLock::new(|| {
            let caps = gst_video::VideoCapsBuilder::new().format_list(FORMATS).build();
            let template = |name, direction| {
                gst::PadTemplate::new(name, direction, gst::PadPresence::Always, &caps)
                    .expect("names and caps are valid")
            };
            [template("sink", gst::PadDirection::Sink), template("src", gst::PadDirection::Src)]
        });
        &*TEMPLATES
    }

    fn change_state(
        &self,
        transition: gst::StateChange,
    ) -> Result<gst::StateChangeSuccess, gst::StateChangeError> {
        match transition {
            gst::StateChange::NullToReady => self.load()?,
            gst::StateChange::ReadyToPaused => {
                *lock(&self.input) = Input::default();
                *lock(&self.latency) = Latency::default();
                *lock(&self.stats) = Stats::default();
            }
            _ => (),
        }
        let success = self.parent_change_state(transition)?;
        if transition == gst::StateChange::PausedToReady {
            self.warn_of_the_last_skipped_frames();
        }
        if transition == gst::StateChange::ReadyToNull {
            // Taken out first: closing the engine joins its threads, which must not happen with a lock held.
            let running = lock(&self.running).take();
            self.close(running);
        }
        Ok(success)
    }
}

impl RtmPoseBatch {
    pub(super) fn settings(&self) -> MutexGuard<'_, Settings> {
        lock(&self.settings)
    }

    pub(super) fn running(&self) -> Option<Arc<Running>> {
        lock(&self.running).clone()
    }

    pub(super) fn loading_is_cancelled(&self) -> bool {
        lock(&self.loading).cancel.is_cancelled()
    }

    /// NULL->READY: loads and warms up the network.
    fn load(&self) -> Result<(), gst::StateChangeError> {
        let cancel = Cancel::default();
        {
            let mut loading = lock(&self.loading);
            loading.cancel = cancel.clone();
            if loading.to_null > 0 {
                cancel.cancel();
            }
        }
        let settings = self.settings().clone();
        if settings.timeout_looks_wrong() {
            gst::element_imp_warning!(
                self,
                gst::LibraryError::Settings,
                (
                    "batch-timeout={} means {} µs: the property counts nanoseconds, 15 ms are 15000000",
                    settings.batch_timeout,
                    settings.batch_timeout as f64 / 1000.0
                )
            );
        }
        let progress = |kind, text: &str| {
            let message = gst::message::Progress::builder(kind, "load", text).src(&*self.obj()).build();
            let _ = self.obj().post_message(message);
        };
        progress(gst::ProgressType::Start, "Loading the network");
        match self.open(&settings, &cancel, &progress) {
            Ok(running) => {
                let network = running.network();
                gst::info!(
                    CAT,
                    imp = self,
                    "Loaded {} ({}x{} crops, {} points) on {}, a batch of {} takes {:?}",
                    network.sha256.as_deref().unwrap_or("a network"),
                    network.width,
                    network.height,
                    network.kind.points(),
                    network.provider.name(),
                    running.stream.batch_size(),
                    running.stream.run_time()
                );
                progress(
                    gst::ProgressType::Complete,
                    &format!("{} key points on {}", running.skeleton, network.provider.name()),
                );
                let running = Arc::new(running);
                *lock(&self.running) = Some(running.clone());
                // They may have been set while the network was loaded.
                running.stream.set_patience(self.settings().patience());
                Ok(())
            }
            Err(error) if error.kind == ErrorKind::Cancelled => {
                gst::info!(CAT, imp = self, "{error}");
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

    /// READY->NULL: gives the engine back; the last one closes it.
    fn close(&self, running: Option<Arc<Running>>) {
        // Where somebody reads a property right now, it is closed there.
        let Some(Running { stream, loaded, .. }) = running.and_then(Arc::into_inner) else { return };
        drop(stream);
        if let Some(Err(error)) = Arc::into_inner(loaded).map(|loaded| loaded.engine.close()) {
            self.post_error(&error);
        }
    }

    fn open(
        &self,
        settings: &Settings,
        cancel: &Cancel,
        progress: &dyn Fn(gst::ProgressType, &str),
    ) -> Result<Running, Error> {
        let report = |event| match event {
            LoadEvent::Step(text) => {
                gst::debug!(CAT, imp = self, "{text}");
                progress(gst::ProgressType::Continue, &text);
            }
            LoadEvent::Info(text) => gst::info!(CAT, imp = self, "{text}"),
            LoadEvent::Warning(text) => {
                gst::element_imp_warning!(self, gst::ResourceError::Settings, ("{text}"));
            }
        };
        let (backend, clock) = match self.injected.get() {
            Some(injected) => (injected.backend.clone(), injected.clock.clone()),
            None => (
                Arc::new(self.onnx_backend(settings)) as Arc<Backend>,
                Arc::new(MonotonicClock::default()) as Arc<dyn Clock>,
            ),
        };
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
            let (engine, network) = Engine::open(backend, settings, cancel, &report)?;
            Ok(Loaded { engine, network })
        };
        let loaded = match &settings.model_instance_id {
            Some(name) => {
                let owner = self.obj().path_string();
                let loaded = SHARED_ENGINES.get(name, settings.agreement(), &owner, cancel, open)?;
                if !opened_here.get() {
                    self.warn_of_another_file(settings, name, &loaded.network);
                }
                loaded
            }
            None => Arc::new(open()?),
        };
        if settings.score_mode == ScoreMode::Mean
            && let Some(only) = loaded.network.kind.only_score()
        {
            let gives = match only {
                OnlyScore::Minimum => {
                    "their minimum only: set score-mode=min, or export the model with 4 columns in `keypoints`"
                }
                OnlyScore::OneMaximum => "heat maps, which have one maximum each: set score-mode=min",
            };
            return Err(Error::new(
                ErrorKind::Settings,
                format!("score-mode=mean needs the maxima of both axes, but the model gives {gives}"),
            ));
        }
        let points = loaded.network.kind.points();
        let published = skeleton(settings, points)?;
        let skeleton =
            published.map_or_else(|| skeleton::custom_name(points), |known| known.name.to_string());
        let sigmas = published.and_then(Skeleton::sigmas);
        let queue = self.queue.clone();
        let stream = loaded.engine.attach(settings.patience(), Arc::new(move || queue.wake()));
        let gpu = loaded.network.provider.is_nvidia().then(|| self.watch_gpu(settings.device_id)).flatten();
        Ok(Running { stream, loaded, gpu, settings: settings.clone(), skeleton, sigmas })
    }

    /// The network that runs is the one that its first user loaded, whatever is in the file now.
    fn warn_of_another_file(&self, settings: &Settings, name: &str, network: &Network) {
        let (Some(file), Some(loaded)) = (settings.model_path(), &network.sha256) else { return };
        let now = match network::checksum(&file) {
            Ok(now) if now == *loaded => return,
            Ok(now) => format!("was replaced (it has the SHA-256 {now} now)"),
            Err(why) => format!("cannot be read any more ({why})"),
        };
        gst::element_imp_warning!(
            self,
            gst::ResourceError::Settings,
            (
                "The model file {} {now}, but what it held before (SHA-256 {loaded}) still runs as {name} \
                 (model-instance-id), and is used here too: stop all elements of that name and start them again to load \
                 the file",
                file.display()
            )
        );
    }

    /// Figures of the GPU, and one warning when it gets hot or slows down.
    fn watch_gpu(&self, device: i32) -> Option<GpuMonitor> {
        let element = self.obj().downgrade();
        GpuMonitor::start(u32::try_from(device).ok()?, move |text| {
            if let Some(element) = element.upgrade() {
                gst::element_warning!(element, gst::ResourceError::Busy, ("{text}"));
            }
        })
    }

    fn onnx_backend(&self, settings: &Settings) -> OnnxBackend {
        let plugin_file =
            self.obj().factory().and_then(|factory| factory.plugin()).and_then(|plugin| plugin.filename());
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

    /// Posts the error, and logs it for who does not read the bus: GStreamer itself logs messages at a level that few see.
    pub(super) fn post_error(&self, error: &Error) {
        let text = &error.message;
        gst::error!(CAT, imp = self, "{text}");
        match error.kind {
            ErrorKind::ModelMissing => {
                gst::element_imp_error!(self, gst::ResourceError::NotFound, ("{text}"))
            }
            ErrorKind::ModelRefused => gst::element_imp_error!(self, gst::StreamError::WrongType, ("{text}")),
            ErrorKind::Settings => gst::element_imp_error!(self, gst::LibraryError::Settings, ("{text}")),
            ErrorKind::Library => gst::element_imp_error!(self, gst::LibraryError::Init, ("{text}")),
            ErrorKind::Provider => gst::element_imp_error!(self, gst::ResourceError::OpenRead, ("{text}")),
            ErrorKind::OutOfMemory => {
                gst::element_imp_error!(self, gst::ResourceError::NoSpaceLeft, ("{text}"))
            }
            ErrorKind::Run | ErrorKind::Cancelled => {
                gst::element_imp_error!(self, gst::LibraryError::Failed, ("{text}"));
            }
        }
    }

    /// Called before a change to NULL waits for the change that goes on.
    fn before_change_to_null(&self) {
        let mut loading = lock(&self.loading);
        loading.to_null += 1;
        let cancel = loading.cancel.clone();
        drop(loading);
        cancel.cancel();
    }

    fn after_change_to_null(&self) {
        lock(&self.loading).to_null -= 1;
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
fn skeleton(settings: &Settings, points: usize) -> Result<Option<&'static Skeleton>, Error> {
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

/// Overrides `GstElementClass.set_state`, for which the bindings have no function: `gst_element_set_state (NULL)` waits
/// for the change that goes on, which can be the loading of a network, so that loading must hear of it before the wait.
fn install_set_state(class: &mut <RtmPoseBatch as ObjectSubclass>::Class) {
    use glib::translate::*;

    unsafe extern "C" fn set_state(
        element: *mut gst::ffi::GstElement,
        state: gst::ffi::GstState,
    ) -> gst::ffi::GstStateChangeReturn {
        // SAFETY: GStreamer calls this with an instance of the class that it is installed in.
        unsafe {
            let object: Borrowed<super::RtmPoseBatch> = from_glib_borrow(element as *mut _);
            let parent =
                RtmPoseBatch::type_data().as_ref().parent_class() as *const gst::ffi::GstElementClass;
            let Some(parent_set_state) = (*parent).set_state else {
                return gst::ffi::GST_STATE_CHANGE_FAILURE;
            };
            if state != gst::ffi::GST_STATE_NULL {
                return parent_set_state(element, state);
            }
            object.imp().before_change_to_null();
            let changed = parent_set_state(element, state);
            object.imp().after_change_to_null();
            changed
        }
    }

    // SAFETY: the class struct of a subclass of GstElement begins with GstElementClass.
    unsafe {
        let class = &mut *(class as *mut _ as *mut gst::ffi::GstElementClass);
        class.set_state = Some(set_state);
    }
}
