//! What `rtmposebatch` adds to the stage: which looks a frame needs, and people onto the frame.

use std::{
    cell::Cell,
    path::PathBuf,
    sync::{
        Arc, LazyLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use gst::{glib, prelude::*};
use once_cell::sync::OnceCell;

use super::{
    decode::key_points,
    enums::{Fallback, OnError, Overload, ScoreMode, Smoothing},
    follow::{FollowedFrame, Following, Lookahead, Taken},
    log::{CAT, log_batch, onnx_runtime_log},
    regions::{Regions, Where},
    settings::Settings,
    testing::Injected,
    timeline::Timeline,
};
use crate::{
    engine::{Clock, EngineSettings, Error, ErrorKind, MonotonicClock, Registry},
    meta::{self, FramePeople, PersonRegion},
    network::{self, Network, OnlyScore},
    pose::{Person, Skeleton, Smoother, skeleton},
    runtime::{
        Backend,
        onnx::{OnnxBackend, Search},
    },
    stage::{self, Arrival, CropCutter, Inference, Loaded, Opened, Opening, Running, Stage},
    sync::{Mutex, MutexGuard, lock},
    track::{Anatomy, Glimpse, Look, Moment, Purpose},
    video::FrameShape,
};

/// The boxes of one live frame that are searched take no longer than this, so that the next look is not late.
const SEARCHING: Duration = Duration::from_millis(250);

/// The engines that elements share by their model-instance-id.
static SHARED_ENGINES: LazyLock<Registry<Loaded<Network>>> = LazyLock::new(Registry::default);

/// The element's own part of its stage.
#[derive(Default)]
pub struct Poses {
    settings: Mutex<Settings>,
    /// Crops for people who were not followed yet.
    search_crops: AtomicU64,
    pub(super) injected: OnceCell<Injected>,
}

impl Poses {
    pub(super) fn current(&self) -> MutexGuard<'_, Settings> {
        lock(&self.settings)
    }

    fn count_search(&self, looks: &[Taken]) {
        let searched = |(look, ..): &&Taken| matches!(look.purpose, Purpose::Search | Purpose::Confirm(_));
        self.search_crops.fetch_add(looks.iter().filter(searched).count() as u64, Ordering::Relaxed);
    }
}

/// What is known from READY on.
pub struct Ready {
    /// The settings at NULL->READY; those that can change while PLAYING are read from the element instead.
    settings: Settings,
    /// Name of the key points' skeleton.
    skeleton: String,
    /// How far labels of its points scatter, where that is known.
    sigmas: Option<&'static [f32]>,
}

/// What the chain function uses.
#[derive(Default)]
pub struct Input {
    timeline: Timeline,
    /// The time of the frame that came last, in seconds.
    now: f64,
    regions: Regions,
    /// The people of this stream; none before the first frame that is tracked.
    following: Option<Arc<Following>>,
}

/// What the task uses.
#[derive(Default)]
pub struct Output {
    /// Of the last frame that was inferred, for those that carry its people on.
    last_people: Option<FramePeople>,
    /// Since when the people are in view.
    #[cfg(feature = "v1_26")]
    first_seen: meta::analytics::FirstSeen,
    smoother: Smoother,
}

/// What a frame waits for.
pub enum Work {
    /// The people in these crops, at that time; nothing is known from frame to frame.
    Regions(f64, Vec<Taken>),
    /// The people who are followed in it.
    Follow(Arc<Following>, Arc<FollowedFrame>),
}

impl stage::Work for Work {
    /// Frames of those who are followed are to be settled.
    type Step = Arc<Following>;

    fn crops(&self) -> usize {
        match self {
            Self::Regions(_, taken) => taken.len(),
            Self::Follow(_, frame) => frame.crops(),
        }
    }

    fn is_waiting(&self) -> bool {
        match self {
            Self::Regions(_, taken) => taken.iter().any(|(_, _, ticket)| !ticket.is_handed()),
            Self::Follow(_, frame) => frame.is_waiting(),
        }
    }

    fn is_done(&self) -> bool {
        match self {
            Self::Regions(_, taken) => taken.iter().all(|(_, _, ticket)| ticket.outcome().is_some()),
            Self::Follow(_, frame) => frame.people().is_some(),
        }
    }

    fn step(&self) -> Option<Arc<Following>> {
        match self {
            Self::Follow(following, _) if following.can_settle() => Some(following.clone()),
            _ => None,
        }
    }
}

impl Inference for Poses {
    const SELDOM: &'static str = "people are found and followed late";
    const TURNED: &'static str = "their people are hardly found";
    const NAME: &'static str = "rtmposebatch";

    type Network = Network;
    type Ready = Ready;
    type Work = Work;
    type Input = Input;
    type Output = Output;

    fn category() -> gst::DebugCategory {
        *CAT
    }

    fn settings(&self) -> stage::Settings {
        let settings = self.current();
        stage::Settings {
            patience: settings.patience(),
            input_queue_size: settings.input_queue_size,
            output_queue_size: settings.output_queue_size,
            overload: match settings.overload {
                Overload::Auto => stage::Overload::Auto,
                Overload::Block => stage::Overload::Block,
                Overload::SkipInference => stage::Overload::SkipInference,
            },
            max_lateness: settings.max_lateness,
            interval: settings.inference_interval,
            on_error: match settings.on_error {
                OnError::Fail => stage::OnError::Fail,
                OnError::Passthrough => stage::OnError::Passthrough,
            },
            scale: settings.inference_scale,
            stats_interval: Duration::from_nanos(settings.stats_interval),
        }
    }

    fn open(stage: &Stage<Self>, opening: &Opening) -> Result<Opened<Self>, Error> {
        let settings = stage.inference.current().clone();
        let loaded = open_engine(stage, &settings, opening)?;
        let network = &loaded.network;
        if settings.score_mode == ScoreMode::Mean
            && let Some(only) = network.kind.only_score()
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
        let points = network.kind.points();
        let published = skeleton_of(&settings, points)?;
        let skeleton =
            published.map_or_else(|| skeleton::custom_name(points), |known| known.name.to_string());
        let sigmas = published.and_then(Skeleton::sigmas);
        let Network { width, height, provider, sha256, .. } = network;
        let provider_name = provider.name();
        let description = format!(
            "{} ({width}x{height} crops, {points} points) on {provider_name}",
            sha256.as_deref().unwrap_or("a network")
        );
        let summary = format!("{skeleton} key points on {provider_name}");
        let gpu = provider.is_nvidia().then(|| u32::try_from(settings.device_id).ok()).flatten();
        Ok(Opened { ready: Ready { settings, skeleton, sigmas }, loaded, gpu, description, summary })
    }

    fn arrived(
        &self,
        input: &mut Input,
        pts: Option<gst::ClockTime>,
        duration: Option<gst::ClockTime>,
    ) -> Option<f64> {
        input.now = input.timeline.advance(pts, duration);
        Some(input.now)
    }

    fn restarted(&self, input: &mut Input) {
        input.regions.reset();
        input.following = None;
        input.timeline.restart();
    }

    fn look(
        stage: &Stage<Self>,
        arrival: &Arrival<'_, Self>,
        input: &mut Input,
        cutter: &mut CropCutter<'_>,
    ) -> Result<Work, gst::FlowError> {
        let Arrival { buffer, video, shape, live, running } = *arrival;
        let poses = &stage.inference;
        let settings = poses.current().clone();
        let (now, kind) = (input.now, running.network().kind);
        let detected = |PersonRegion { region, id, .. }| Look { region, purpose: Purpose::Detected { id } };
        let place = input.regions.of_frame(buffer, shape, &settings);
        if let Where::Regions(regions) = place {
            let taken = take(cutter, regions.into_iter().map(detected))?;
            return Ok(Work::Regions(now, taken));
        }
        let ready = &running.ready;
        let anatomy = || Anatomy::of(&ready.skeleton, kind.points(), ready.sigmas);
        let following = input.following.get_or_insert_with(|| Arc::new(Following::new(anatomy())));
        let lookahead = if live { Lookahead::Newest } else { lookahead(running) };
        let is_detected = matches!(place, Where::Detected(_));
        // A live stream is not held up: closer looks come with the next frames.
        let still = !live;
        let size = shape.square_size();
        let looks = match place {
            Where::Tracked { search } => {
                // The frame from whose people this one's boxes come.
                let is_ready = || following.is_ready(now, lookahead);
                loop {
                    settle(stage, following);
                    if is_ready() {
                        break;
                    }
                    stage.wait_for_results(running, || is_ready() || following.can_settle())?;
                }
                let glimpse = || Glimpse::of(&cutter.picture, size);
                let moment = Moment { now, size, search, still };
                let mut tracking = settings.tracking();
                if live && tracking.search.crops > 1 {
                    tracking.search.crops = tracking.search.crops.min(crops_within(SEARCHING, running));
                }
                following.plan(moment, lookahead, &tracking, glimpse)
            }
            Where::Detected(regions) | Where::Regions(regions) => {
                settle(stage, following);
                gst::debug!(
                    CAT,
                    obj = stage.element(),
                    "Upstream found {} people in this frame",
                    regions.len()
                );
                regions.into_iter().map(detected).collect()
            }
        };
        let taken = take(cutter, looks)?;
        poses.count_search(&taken);
        let pixels = (still && !is_detected).then(|| (buffer.clone(), video.clone()));
        let followed = FollowedFrame::new(now, size, is_detected, taken, pixels, kind, &settings);
        let followed = Arc::new(followed);
        following.add(followed.clone(), lookahead);
        Ok(Work::Follow(following.clone(), followed))
    }

    fn step(stage: &Stage<Self>, following: Arc<Following>) {
        settle(stage, &following);
    }

    fn attach(
        stage: &Stage<Self>,
        running: &Running<Self>,
        frame: &mut gst::Buffer,
        shape: FrameShape,
        work: Work,
        output: &mut Output,
    ) -> Result<(), String> {
        let kind = running.network().kind;
        let (smoothing, filter, mode, interval) = {
            let settings = stage.inference.current();
            let mode = settings.score_mode.into();
            (settings.smoothing, settings.one_euro(), mode, settings.inference_interval)
        };
        let (now, mut people) = match work {
            Work::Regions(now, taken) => {
                // The first crop that failed fails the frame.
                let person = |(look, crop, ticket): &Taken| {
                    let key_points = key_points(ticket, crop, kind, mode)?;
                    let id = if let Purpose::Detected { id } = look.purpose { id } else { None };
                    Ok::<_, String>(Person { region: look.region, key_points, id })
                };
                (now, taken.iter().map(person).collect::<Result<Vec<_>, _>>()?)
            }
            Work::Follow(_, followed) => {
                // Without people it would not have been done.
                let people = followed.people().cloned();
                (
                    followed.now,
                    people.unwrap_or_else(|| Err("a frame before it was not answered".to_string()))?,
                )
            }
        };
        match smoothing {
            Smoothing::None => output.smoother.reset(),
            Smoothing::OneEuro => output.smoother.smooth(now, &mut people, &filter),
        }
        people.iter_mut().for_each(|person| person.scale(shape.to_pixels()));
        let people = FramePeople {
            source: stage.element().name().into(),
            width: shape.width,
            height: shape.height,
            skeleton: running.ready.skeleton.clone(),
            points: kind.points(),
            people,
            carried: false,
        };
        write(stage, frame, &people, output);
        if interval > 1 {
            output.last_people = Some(people);
        }
        Ok(())
    }

    fn carry(stage: &Stage<Self>, frame: &mut gst::Buffer, shape: FrameShape, output: &mut Output) {
        let Some(mut people) = output.last_people.clone() else { return };
        people.scale_to(shape.width, shape.height);
        people.carried = true;
        write(stage, frame, &people, output);
    }

    fn sends(&self, event: &gst::EventRef, output: &mut Output) {
        #[cfg(feature = "v1_26")]
        if event.type_() == gst::EventType::StreamStart {
            output.first_seen.reset();
        }
        // Positions of another stream, or in pixels of another size.
        if matches!(event.type_(), gst::EventType::StreamStart | gst::EventType::Caps) {
            output.smoother.reset();
        }
    }

    fn failed(&self, output: &mut Output) {
        // Nothing of this stream is known that later frames could carry on.
        output.last_people = None;
        output.smoother.reset();
    }

    fn figures(&self) -> Vec<(&'static str, u64)> {
        vec![("search-crops", self.search_crops.load(Ordering::Relaxed))]
    }

    fn forget_figures(&self) {
        self.search_crops.store(0, Ordering::Relaxed);
    }
}

/// The looks with their crops on the way to the network.
fn take(
    cutter: &mut CropCutter<'_>,
    looks: impl IntoIterator<Item = Look>,
) -> Result<Vec<Taken>, gst::FlowError> {
    let taken = |look: Look| {
        let cut = cutter.cut(&look.region)?;
        Ok(cut.map(|(crop, ticket)| (look, crop, ticket)))
    };
    looks.into_iter().map(taken).filter_map(Result::transpose).collect()
}

/// Settles the frames of people who are followed as far as the network has answered. Not to be called with a lock held that
/// the task takes.
fn settle(stage: &Stage<Poses>, following: &Following) {
    let Some(running) = stage.running() else { return };
    let changed = following.settle(&|(buffer, video), looks| {
        let cut = |cutter: &mut CropCutter<'_>| take(cutter, looks).unwrap_or_default();
        let taken = stage.cut_again(buffer, video, &running, cut).unwrap_or_default();
        stage.inference.count_search(&taken);
        taken
    });
    for decision in following.decisions() {
        gst::debug!(CAT, obj = stage.element(), "{decision}");
    }
    if changed {
        stage.wake();
    }
}

/// How many crops the network does in that time, at least one.
fn crops_within(time: Duration, running: &Running<Poses>) -> usize {
    let run = running.stream.run_time().as_secs_f64();
    let crops = time.as_secs_f64() * running.stream.batch_size() as f64 / run;
    // Not a number or endless before anything was run.
    (crops as usize).max(1)
}

/// How many frames may be with the network: as set, or as many as keep every executor's batch full.
fn lookahead(running: &Running<Poses>) -> Lookahead {
    match running.ready.settings.track_lookahead {
        0 => Lookahead::Filling(running.stream.crops_in_flight() as u64),
        set => Lookahead::Exact(set.into()),
    }
}

fn write(stage: &Stage<Poses>, frame: &mut gst::Buffer, people: &FramePeople, output: &mut Output) {
    let buffer = frame.make_mut();
    if let Err(error) = meta::write(buffer, people) {
        gst::error!(CAT, obj = stage.element(), "The people could not be attached: {error}");
    }
    #[cfg(feature = "v1_26")]
    {
        let segment = stage.srcpad().sticky_event::<gst::event::Segment>(0);
        let now = segment.as_ref().and_then(|event| {
            event.segment().downcast_ref::<gst::ClockTime>()?.to_running_time(buffer.pts())
        });
        if let Err(error) = meta::analytics::write(buffer, people, now, &mut output.first_seen) {
            gst::error!(
                CAT,
                obj = stage.element(),
                "The people could not be attached for GstAnalytics: {error}"
            );
        }
    }
    #[cfg(not(feature = "v1_26"))]
    let _ = output;
}

/// The element's engine, its own or one that it shares.
fn open_engine(
    stage: &Stage<Poses>,
    settings: &Settings,
    opening: &Opening,
) -> Result<Arc<Loaded<Network>>, Error> {
    let (backend, clock) = match stage.inference.injected.get() {
        Some(injected) => (injected.backend.clone(), injected.clock.clone()),
        None => (
            Arc::new(onnx_backend(&stage.element(), settings)) as Arc<Backend>,
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
        opening.engine(backend, settings)
    };
    let Some(name) = &settings.model_instance_id else { return open().map(Arc::new) };
    let owner = stage.element().path_string();
    let loaded = SHARED_ENGINES.get(name, settings.agreement(), &owner, opening.cancel, open)?;
    if !opened_here.get() {
        warn_of_another_file(&stage.element(), settings, name, &loaded.network);
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
fn skeleton_of(settings: &Settings, points: usize) -> Result<Option<&'static Skeleton>, Error> {
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
