//! What `rtmposebatch` adds to the stage: which looks a frame needs, and attaching people to the frame.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use gst::prelude::*;

use super::{
    decode::key_points,
    enums::{InferenceRegion, ScoreMode, Smoothing},
    follow::{FollowedFrame, Following, Lookahead, Taken},
    log::{CAT, log_batch},
    one_stage::WholeLook,
    opening::skeleton_of,
    regions::{LookSource, Regions},
    settings::{All, Settings},
    timeline::Timeline,
};
use crate::{
    common::{Asked, Configuration, Configured, cards, open_engine},
    engine::{Error, ErrorKind},
    meta::{self, FramePeople, PersonRegion},
    network::{Kind, Network, OnlyScore, Task, Wanted},
    pose::{Person, Skeleton, Smoother, skeleton},
    stage::{self, Arrival, CropCutter, Inference, Opened, Opening, Running, Stage},
    track::{Anatomy, Glimpse, Look, Moment, Purpose, Tracks},
    video::FrameShape,
};

/// The searched boxes of one live frame take no longer than this, so that the next look is not late.
const SEARCHING: Duration = Duration::from_millis(250);

/// The element's own part of its stage.
#[derive(Default)]
pub struct Poses {
    pub(super) configuration: Configuration<Settings>,
    /// Crops for people who were not tracked yet.
    search_crops: AtomicU64,
}

impl Configured for Poses {
    type Own = Settings;

    fn configuration(&self) -> &Configuration<Settings> {
        &self.configuration
    }
}

impl Poses {
    fn count_search(&self, looks: &[Taken]) {
        let searched = |(look, ..): &&Taken| matches!(look.purpose, Purpose::Search | Purpose::Confirm(_));
        self.search_crops.fetch_add(looks.iter().filter(searched).count() as u64, Ordering::Relaxed);
    }
}

/// What is known from READY on.
pub struct Ready {
    /// The settings at NULL->READY. Those that can change while PLAYING are read from the element instead.
    settings: Settings,
    /// Name of the key points' skeleton.
    skeleton: String,
    /// How far labels of its points scatter, if that is known.
    sigmas: Option<&'static [f32]>,
}

impl Ready {
    fn anatomy(&self, kind: Kind) -> Anatomy {
        Anatomy::of(&self.skeleton, kind.points(), self.sigmas)
    }
}

/// What the chain function uses.
#[derive(Default)]
pub struct Input {
    timeline: Timeline,
    /// The time of the last frame that arrived, in seconds.
    now: f64,
    regions: Regions,
    /// The people of this stream; none before the first tracked frame.
    following: Option<Arc<Following>>,
}

/// What the task uses.
#[derive(Default)]
pub struct Output {
    /// The people of the last inferred frame, for frames that carry them.
    last_people: Option<FramePeople>,
    /// Since when each person is in view.
    #[cfg(feature = "v1_26")]
    first_seen: meta::analytics::FirstSeen,
    smoother: Smoother,
    /// The people in the stream, if the model processes whole frames and people get ids.
    tracks: Option<Tracks>,
}

/// What a frame waits for.
pub enum Work {
    /// The people in these crops, at that time; nothing is known from frame to frame.
    Regions(f64, Vec<Taken>),
    /// The people who are tracked in it.
    Follow(Arc<Following>, Arc<FollowedFrame>),
    /// All people, whom the model finds itself.
    Whole(WholeLook),
}

impl stage::Work for Work {
    /// Frames with tracked people must be settled.
    type Step = Arc<Following>;

    fn crops(&self) -> usize {
        match self {
            Self::Regions(_, taken) => taken.len(),
            Self::Follow(_, frame) => frame.crops(),
            Self::Whole(look) => look.frame.crops(),
        }
    }

    fn is_waiting(&self) -> bool {
        match self {
            Self::Regions(_, taken) => taken.iter().any(|(_, _, pending)| !pending.is_handed()),
            Self::Follow(_, frame) => frame.is_waiting(),
            Self::Whole(look) => look.frame.is_waiting(),
        }
    }

    fn is_done(&self) -> bool {
        match self {
            Self::Regions(_, taken) => taken.iter().all(|(_, _, pending)| pending.outcome().is_some()),
            Self::Follow(_, frame) => frame.people().is_some(),
            Self::Whole(look) => look.frame.is_done(),
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
    const SELDOM: &'static str = "people are found late and tracked badly";
    const TURNED: &'static str = "few people are found";
    const REMEDIES: &'static str = "use a smaller model, a faster device, a lower max-people or frame rate, or \
                                    inference-interval";
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
        let All { common, own } = &*self.configuration.current();
        common.for_stage(stage::Settings {
            interval: own.inference_interval,
            scale: own.inference_scale,
            stats_interval: Duration::from_nanos(own.stats_interval),
            ..stage::Settings::default()
        })
    }

    fn open(stage: &Stage<Self>, opening: &Opening) -> Result<Opened<Self>, Error> {
        let configuration = &stage.inference.configuration;
        let all = configuration.current().clone();
        let All { common, own: settings } = &all;
        let asked = Asked {
            model_file: settings.model_file.as_ref().map(PathBuf::from),
            wanted: Wanted { task: Some(Task::Poses), ..Wanted::default() },
            batch_size: settings.batch_size as usize,
            common,
            agreement: all.agreement(),
            observer: log_batch,
        };
        let loaded = open_engine(&stage.element(), configuration.given(), &asked, opening)?;
        let network = &loaded.network;
        if settings.score_mode == ScoreMode::Mean
            && let Some(only) = network.kind.only_score()
        {
            let gives = match only {
                OnlyScore::Minimum => {
                    "only their minimum: set score-mode=min, or export the model with 4 columns in `keypoints`"
                }
                OnlyScore::OneMaximum => "heat maps, each with only one maximum: set score-mode=min",
                OnlyScore::OwnScore => "a score for each point: set score-mode=min",
            };
            return Err(Error::new(
                ErrorKind::Settings,
                format!("score-mode=mean needs the maxima of both axes, but the model returns {gives}"),
            ));
        }
        let points = network.kind.points();
        let published = skeleton_of(settings, points)?;
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
        let (gpus, cards) = cards(&loaded, common.device_id);
        Ok(Opened {
            ready: Ready { settings: settings.clone(), skeleton, sigmas },
            loaded,
            gpus,
            cards,
            description,
            summary,
        })
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
        let settings = poses.configuration.current().own.clone();
        let (now, kind) = (input.now, running.network().kind);
        if let Some(fit) = kind.fit() {
            let frame = cutter.whole(fit)?;
            let followed = settings.inference_region == InferenceRegion::Track;
            let max_people = settings.max_people as usize;
            let lifetime = Duration::from_nanos(settings.track_lifetime);
            return Ok(Work::Whole(WholeLook { now, frame, followed, max_people, lifetime }));
        }
        let detected = |PersonRegion { region, id, .. }| Look { region, purpose: Purpose::Detected { id } };
        let place = input.regions.of_frame(buffer, shape, &settings);
        if let LookSource::Regions(regions) = place {
            let taken = take(cutter, regions.into_iter().map(detected))?;
            return Ok(Work::Regions(now, taken));
        }
        let following = input.following.get_or_insert_with(|| {
            Arc::new(Following::new(running.ready.anatomy(kind), running.network().score_unit))
        });
        let lookahead = if live { Lookahead::Newest } else { lookahead(running) };
        let is_detected = matches!(place, LookSource::Detected(_));
        // A live stream must not wait: further crops come from the next frames.
        let still = !live;
        let size = shape.square_size();
        let looks = match place {
            LookSource::Tracked { search } => {
                // The frame from whose people this one's boxes come.
                let is_ready = || following.is_ready(now, lookahead);
                loop {
                    settle(stage, following);
                    if is_ready() {
                        break;
                    }
                    stage.wait_for_results(running, || is_ready() || following.can_settle())?;
                }
                let glimpse = || Glimpse::of(&cutter.pixels, size);
                let most = if live { crops_within(SEARCHING, running) } else { usize::MAX };
                let moment = Moment { now, size, search, still, most };
                let mut tracking = settings.tracking();
                if tracking.search.crops > 1 {
                    tracking.search.crops = tracking.search.crops.min(most);
                }
                following.plan(moment, lookahead, &tracking, glimpse)
            }
            LookSource::Detected(regions) | LookSource::Regions(regions) => {
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
            let settings = &stage.inference.configuration.current().own;
            let mode = settings.score_mode.into();
            (settings.smoothing, settings.one_euro(), mode, settings.inference_interval)
        };
        let (now, mut people) = match work {
            Work::Regions(now, taken) => {
                // The first crop that failed fails the frame.
                let person = |(look, crop, pending): &Taken| {
                    let key_points = key_points(pending, crop, kind, mode)?;
                    let id = if let Purpose::Detected { id } = look.purpose { id } else { None };
                    Ok::<_, String>(Person { region: look.region, key_points, id })
                };
                (now, taken.iter().map(person).collect::<Result<Vec<_>, _>>()?)
            }
            Work::Whole(look) => {
                let anatomy = || running.ready.anatomy(kind);
                (look.now, look.people(kind, shape.square_size(), &mut output.tracks, anatomy)?)
            }
            Work::Follow(_, followed) => {
                // It cannot have people without being settled.
                let people = followed.people().cloned();
                (
                    followed.now,
                    people
                        .unwrap_or_else(|| Err("the answer for an earlier frame is missing".to_string()))?,
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
        if event.type_() == gst::EventType::StreamStart {
            output.tracks = None;
            #[cfg(feature = "v1_26")]
            output.first_seen.reset();
        }
        // They belong to another stream, or are in pixels of another size.
        if matches!(event.type_(), gst::EventType::StreamStart | gst::EventType::Caps) {
            output.smoother.reset();
        }
    }

    fn failed(&self, output: &mut Output) {
        // Later frames of this stream have no people to carry.
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

/// The looks, with their submitted crops.
fn take(
    cutter: &mut CropCutter<'_>,
    looks: impl IntoIterator<Item = Look>,
) -> Result<Vec<Taken>, gst::FlowError> {
    let taken = |look: Look| {
        let cut = cutter.cut(&look.region)?;
        Ok(cut.map(|(crop, pending)| (look, crop, pending)))
    };
    looks.into_iter().map(taken).filter_map(Result::transpose).collect()
}

/// Settles frames with tracked people as far as their crops are answered. Do not call it with a lock held that the task
/// takes.
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

/// How many crops the model runs in that time, at least one.
fn crops_within(time: Duration, running: &Running<Poses>) -> usize {
    let run = running.stream.run_time().as_secs_f64();
    let crops = time.as_secs_f64() * running.stream.batch_size() as f64 / run;
    // Not a number, or infinite, before anything was run.
    (crops as usize).max(1)
}

/// How many frames may be in flight: as set, or as many as fill every executor's batch.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        engine::PendingAnswer,
        network::Columns,
        posebatch::follow::LOOKED_AT,
        stage::{Fate, Frame, Item, State},
        video::{Crop, Region},
    };

    #[test]
    fn to_look_through_a_full_queue_takes_a_look_or_two_at_each_frame() {
        const FRAMES: usize = 200;
        gst::init().unwrap();
        let following = Arc::new(Following::new(Anatomy::of("coco-17", 17, None), 1.0));
        let mut queue = State::default();
        let kind = Kind::SimCc { points: 17, columns: Columns::Maxima };
        let region = Region::new(0.0, 0.0, 1.0, 1.0);
        let mut unanswered = Vec::new();
        for number in 0..FRAMES {
            let (pending, promise) = PendingAnswer::unanswered();
            unanswered.push(promise);
            let look = Look { region, purpose: Purpose::Search };
            let looks = vec![(look, Crop::new(&region, 1, 1).unwrap(), pending)];
            let settings = Settings::default();
            let followed =
                FollowedFrame::new(number as f64, (1280, 720), false, looks, None, kind, &settings);
            let followed = Arc::new(followed);
            following.add(followed.clone(), Lookahead::Newest);
            let fate = Fate::Look(Work::Follow(following.clone(), followed));
            let shape = FrameShape::new(1280, 720, (1, 1));
            queue.items.push_back(Item::Frame(Frame { buffer: gst::Buffer::new(), shape, fate }));
        }
        assert_eq!(queue.fill().finished, 0);
        // The last half is answered first: none of its frames can continue yet.
        drop(unanswered.split_off(FRAMES / 2));
        assert_eq!(queue.fill().finished, 0);
        drop(unanswered);
        LOOKED_AT.set(0);
        following.settle(&|_, _| Vec::new());
        assert_eq!(queue.fill().finished, FRAMES);
        assert!(LOOKED_AT.get() <= 3 * FRAMES, "{} looks at {FRAMES} frames", LOOKED_AT.get());
    }
}
