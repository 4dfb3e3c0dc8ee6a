//! The sink pad: frames become crops in the engine and items of the ordered queue; events and queries are queued with
//! them.

use std::{sync::Arc, time::Duration};

use gst::{prelude::*, subclass::prelude::*};

use super::{
    camera::{Camera, Taken, Video},
    follow::{FollowedFrame, Following, Lookahead},
    imp::{RtmPoseBatch, Running},
    log::CAT,
    queue::{Candidate, Fill, Frame, Item, Query, Room, Work},
    regions::{Regions, Where},
    skip::Reason,
    slow::Slow,
    timeline::Timeline,
};
use crate::{
    meta::PersonRegion,
    sync::lock,
    track::{Anatomy, Glimpse, Look, Moment, Purpose},
    video::{Colours, FrameShape, Sampler, log_refusal, misfit, picture},
};

/// The boxes of one live frame that are searched take no longer than this, so that the next look is not late.
const SEARCHING: Duration = Duration::from_millis(250);

/// The stream as the sink pad sees it at the moment.
#[derive(Default)]
pub(super) struct Input {
    video: Option<Arc<Video>>,
    /// Caps whose error was posted: they come again with every frame.
    refused: Option<gst::Caps>,
    segment: gst::FormattedSegment<gst::ClockTime>,
    timeline: Timeline,
    regions: Regions,
    /// The people of this stream; none before the first frame that is tracked.
    following: Option<Arc<Following>>,
    sampler: Option<Sampler>,
    /// Frames since the last one that was inferred; none before the first.
    since_inference: Option<u32>,
    warned_of_orientation: bool,
    /// Whether upstream is live; none until it was asked.
    live: Option<bool>,
    slow: Slow,
}

impl Input {
    /// Forgets the frames so far, as at STREAM_START and after a flush.
    fn restart(&mut self) {
        self.regions.reset();
        self.following = None;
        self.since_inference = None;
        self.timeline.restart();
    }
}

/// How long a frame lasts; none without a framerate.
fn frame_duration(info: &gst_video::VideoInfo) -> Option<gst::ClockTime> {
    let numer = u64::try_from(info.fps().numer()).ok().filter(|numer| *numer > 0)?;
    gst::ClockTime::SECOND.mul_div_floor(u64::try_from(info.fps().denom()).ok()?, numer)
}

impl RtmPoseBatch {
    pub(super) fn sink_activatemode(
        &self,
        pad: &gst::Pad,
        mode: gst::PadMode,
        active: bool,
    ) -> Result<(), gst::LoggableError> {
        refuse_pull_mode(mode)?;
        if active {
            drop(self.resume());
        } else {
            self.flush();
            // The chain function leaves at once; once it has, nothing is put into the queue any more.
            drop(pad.stream_lock());
            self.flush();
        }
        Ok(())
    }

    /// Lets frames in, after an activation or a flush. Hands back the events that were queued before.
    pub(super) fn resume(&self) -> Vec<gst::Event> {
        if let Some(running) = self.running() {
            running.stream.resume();
        }
        lock(&self.qos).reset();
        *lock(&self.last_people) = None;
        #[cfg(feature = "v1_26")]
        lock(&self.first_seen).reset();
        lock(&self.smoother).reset();
        lock(&self.queue.state).resume()
    }

    /// Refuses frames, drops what is queued and wakes all who wait. What runs is not waited for.
    pub(super) fn flush(&self) {
        self.queue.flush();
        if let Some(running) = self.running() {
            running.stream.flush();
        }
    }

    /// Sticky events outlive the frames around them, as in gstqueue.c: downstream gets them with the next frame.
    pub(super) fn keep_sticky(&self, events: impl IntoIterator<Item = gst::Event>) {
        for event in events {
            if event.is_sticky() && !matches!(event.type_(), gst::EventType::Segment | gst::EventType::Eos) {
                let _ = self.srcpad.store_sticky_event(&event);
            }
        }
    }

    pub(super) fn sink_chain(
        &self,
        pad: &gst::Pad,
        buffer: gst::Buffer,
    ) -> Result<gst::FlowSuccess, gst::FlowError> {
        gst::trace!(CAT, obj = pad, "Frame {buffer:?}");
        let running = self.running().ok_or(gst::FlowError::Flushing)?;
        self.wait_for_room(&running)?;
        lock(&self.stats).frames_in += 1;
        self.warn_of_skipped_frames();
        let frame = self.take_in(pad, buffer, &running)?;
        let crops = frame.crops();
        let (live, slow) = {
            let mut input = lock(&self.input);
            (input.live == Some(true), input.slow.news.take())
        };
        // The first frame of a file has very many, and nobody waits for it.
        if crops > 0 && live {
            lock(&self.latency).note_crops(crops);
        }
        if let Some(apart) = slow {
            gst::element_imp_warning!(
                self,
                gst::StreamError::Failed,
                (
                    "This live stream is looked at only every {apart:.1} s, as a batch takes {:.1?}: people are found \
                     and followed late. Take a smaller model, a faster execution-provider or fewer streams",
                    running.stream.run_time()
                )
            );
        }
        // Anything may have come while the crops were sampled.
        self.queue.push(Item::Frame(frame)).map(|()| gst::FlowSuccess::Ok)
    }

    /// The only place where upstream waits for the queue.
    fn wait_for_room(&self, running: &Running) -> Result<(), gst::FlowError> {
        let settings = &running.settings;
        let (input_size, output_size) =
            (settings.input_queue_size as usize, settings.output_queue_size as usize);
        let all = input_size + output_size + running.stream.crops_in_flight();
        // A live sink holds frames back for the latency that the element has asked for: they must not hold up the source.
        let live = lock(&self.input).live == Some(true);
        let held_back = if live { lock(&self.latency).frames_held_back() } else { 0 };
        let room = Room { waiting: input_size, finished: output_size.max(held_back), all };
        self.queue.wait_for_room(room, &running.stream, |Fill { waiting, finished, all }| {
            gst::debug!(
                CAT,
                imp = self,
                "Full: of {all} frames {waiting} wait for a batch, {finished} for downstream"
            );
        })
    }

    /// Makes a frame an item of the queue: its crops are sampled and submitted here, with the caps of this moment.
    fn take_in(
        &self,
        pad: &gst::Pad,
        buffer: gst::Buffer,
        running: &Arc<Running>,
    ) -> Result<Frame, gst::FlowError> {
        let settings = self.settings().clone();
        let mut guard = lock(&self.input);
        if guard.live.is_none() {
            drop(guard);
            let live = self.ask_live(pad);
            guard = lock(&self.input);
            guard.live = Some(live);
        }
        let input = &mut *guard;
        let Some(video) = &input.video else {
            drop(guard);
            return Err(self.not_negotiated());
        };
        let shape = FrameShape::from(&video.info);
        let duration = buffer.duration().or_else(|| frame_duration(&video.info));
        let now = input.timeline.advance(buffer.pts(), duration);
        let frame = |work| Frame { buffer: buffer.clone(), shape, now, work };
        // One with pixels is a frame also where it is flagged GAP: videorate's copies are, and pictures of sources that had
        // nothing new.
        if buffer.size() == 0 {
            gst::trace!(CAT, imp = self, "An empty frame goes on without inference");
            return Ok(frame(Work::Pass));
        }
        let since_inference = input.since_inference.unwrap_or(u32::MAX);
        if since_inference < settings.inference_interval.saturating_sub(1) {
            input.since_inference = Some(since_inference + 1);
            return Ok(frame(Work::Carry));
        }
        let (segment, live) = (&input.segment, input.live == Some(true));
        if let Some(reason) = self.reason_to_skip(&buffer, segment, live, &settings, running) {
            let segment = segment.clone();
            input.slow.skipped |= live && reason == Reason::Overload;
            drop(guard);
            self.count_skipped(&buffer, &segment, live, reason);
            return Ok(frame(Work::Pass));
        }
        input.since_inference = Some(0);
        input.slow.look(now);
        let _in_progress = running.stream.begin_frame();
        let mapped = gst_video::VideoFrameRef::from_buffer_ref_readable(&buffer, &video.info);
        let Some(picture) =
            mapped.as_ref().ok().and_then(|mapped| picture(mapped, &video.info, &video.colours))
        else {
            return Ok(frame(Work::Fail(format!("A frame of {}", misfit(&buffer, &video.info)))));
        };
        let input_size = running.stream.shape();
        let sampler = input.sampler.get_or_insert_with(|| {
            Sampler::new(input_size.width, input_size.height, running.settings.inference_scale)
        });
        let mut camera = Camera { picture, to_pixels: shape.to_pixels(), sampler, stream: &running.stream };
        let place = input.regions.of_frame(&buffer, shape, &settings);
        if let Where::Regions(regions) = place {
            let taken = camera.take(regions, |person| &person.region)?;
            let candidate =
                |(PersonRegion { region, id, .. }, crop, ticket)| Candidate { region, id, crop, ticket };
            return Ok(frame(Work::Infer(taken.into_iter().map(candidate).collect())));
        }
        let anatomy = || Anatomy::of(&running.skeleton, running.network().kind.points(), running.sigmas);
        let following = input.following.get_or_insert_with(|| Arc::new(Following::new(anatomy())));
        let lookahead = if live { Lookahead::Newest } else { lookahead(running) };
        let detected = matches!(place, Where::Detected(_));
        let size = shape.square_size();
        // A live stream is not held up: closer looks come with the next frames.
        let still = !live;
        let looks = match place {
            Where::Tracked { search } => {
                // The frame from whose people this one's boxes come.
                let is_ready = || following.is_ready(now, lookahead);
                loop {
                    self.settle(following);
                    if is_ready() {
                        break;
                    }
                    self.queue.wait_for_results(&running.stream, || is_ready() || following.can_settle())?;
                }
                let glimpse = || Glimpse::of(&camera.picture, size);
                let moment = Moment { now, size, search, still };
                let mut tracking = settings.tracking();
                if live && tracking.search.crops > 1 {
                    tracking.search.crops = tracking.search.crops.min(crops_within(SEARCHING, running));
                }
                following.plan(moment, lookahead, &tracking, glimpse)
            }
            Where::Detected(regions) | Where::Regions(regions) => {
                self.settle(following);
                gst::debug!(CAT, imp = self, "Upstream found {} people in this frame", regions.len());
                let look =
                    |PersonRegion { region, id, .. }| Look { region, purpose: Purpose::Detected { id } };
                regions.into_iter().map(look).collect()
            }
        };
        let looks = camera.take(looks, |look| &look.region)?;
        self.count_search(&looks);
        let pixels = (still && !detected).then(|| (buffer.clone(), video.clone()));
        let followed =
            FollowedFrame::new(now, size, detected, looks, pixels, running.network().kind, &settings);
        let followed = Arc::new(followed);
        following.add(followed.clone(), lookahead);
        Ok(frame(Work::Follow(following.clone(), followed)))
    }

    /// Settles the frames of people who are followed as far as the network has answered. Not to be called with a lock held.
    pub(super) fn settle(&self, following: &Following) {
        let Some(running) = self.running() else { return };
        let changed =
            following.settle(&|(buffer, video), looks| self.look_closer(buffer, video, looks, &running));
        for decision in following.decisions() {
            gst::debug!(CAT, imp = self, "{decision}");
        }
        if changed {
            self.queue.wake();
        }
    }

    /// Looks again at a frame that is queued.
    fn look_closer(
        &self,
        buffer: &gst::Buffer,
        video: &Video,
        looks: Vec<Look>,
        running: &Running,
    ) -> Vec<Taken> {
        let mapped = gst_video::VideoFrameRef::from_buffer_ref_readable(buffer, &video.info);
        let picture = mapped.as_ref().ok().and_then(|mapped| picture(mapped, &video.info, &video.colours));
        let Some(picture) = picture else { return Vec::new() };
        let input_size = running.stream.shape();
        let sampler =
            &mut Sampler::new(input_size.width, input_size.height, running.settings.inference_scale);
        let to_pixels = FrameShape::from(&video.info).to_pixels();
        let mut camera = Camera { picture, to_pixels, sampler, stream: &running.stream };
        let taken = camera.take(looks, |look| &look.region).unwrap_or_default();
        self.count_search(&taken);
        // The frame waits for them, and others behind it.
        running.stream.hurry();
        taken
    }

    fn count_search(&self, looks: &[Taken]) {
        let searched = |(look, ..): &&Taken| matches!(look.purpose, Purpose::Search | Purpose::Confirm(_));
        lock(&self.stats).search_crops += looks.iter().filter(searched).count() as u64;
    }

    fn not_negotiated(&self) -> gst::FlowError {
        gst::element_imp_error!(
            self,
            gst::CoreError::Negotiation,
            ("A frame came without caps that can be read: put videoconvert, or a capsfilter with a format, a width and \
                 a height, in front of the element")
        );
        gst::FlowError::NotNegotiated
    }

    /// Asks upstream whether it is live. Not to be called with a lock held.
    fn ask_live(&self, pad: &gst::Pad) -> bool {
        let mut query = gst::query::Latency::new();
        let live = pad.peer_query(&mut query) && query.result().0;
        gst::info!(CAT, imp = self, "Upstream is {}live", if live { "" } else { "not " });
        lock(&self.stats).live = Some(live);
        live
    }

    pub(super) fn sink_event(
        &self,
        pad: &gst::Pad,
        event: gst::Event,
    ) -> Result<gst::FlowSuccess, gst::FlowError> {
        gst::log!(CAT, obj = pad, "Event {event:?}");
        match event.view() {
            gst::EventView::FlushStart(_) => {
                // Downstream first: the task may be in a push there.
                self.srcpad.push_event(event);
                self.flush();
                let _ = self.srcpad.pause_task();
                return Ok(gst::FlowSuccess::Ok);
            }
            gst::EventView::FlushStop(_) => {
                self.srcpad.push_event(event);
                {
                    let mut input = lock(&self.input);
                    input.segment = Default::default();
                    input.restart();
                }
                let queued = self.resume();
                self.keep_sticky(queued);
                return self.start_task_again(&mut lock(&self.queue.state));
            }
            _ if !event.is_serialized() => {
                let handled = gst::Pad::event_default(pad, Some(&*self.obj()), event);
                return if handled { Ok(gst::FlowSuccess::Ok) } else { Err(gst::FlowError::Error) };
            }
            gst::EventView::StreamStart(_) => {
                let mut input = lock(&self.input);
                input.live = None;
                input.restart();
            }
            gst::EventView::Segment(segment) => {
                if let Some(segment) = segment.segment().downcast_ref() {
                    lock(&self.input).segment = segment.clone();
                }
            }
            gst::EventView::Caps(caps) => self.set_caps(caps.caps())?,
            gst::EventView::Tag(tag) => self.warn_of_orientation(tag.tag()),
            _ => (),
        }
        self.queue_event(event)
    }

    /// A picture that lies on its side has few people in it: one warning, which tells how it is turned.
    fn warn_of_orientation(&self, tags: &gst::TagListRef) {
        let Some(tag) = tags.get::<gst::tags::ImageOrientation>() else { return };
        let orientation = tag.get();
        if orientation == "rotate-0" || lock(&self.input).warned_of_orientation || self.pictures_are_turned()
        {
            return;
        }
        lock(&self.input).warned_of_orientation = true;
        gst::element_imp_warning!(
            self,
            gst::StreamError::Format,
            ("The pictures are not upright (image-orientation {orientation}), and so their people are hardly found: put \
                 videoflip video-direction=auto in front of the element")
        );
    }

    /// Whether an element of the pipeline turns pictures. In GStreamer 1.22 videoflip leaves the tag as it is when it does.
    fn pictures_are_turned(&self) -> bool {
        let mut root: gst::Object = self.obj().clone().upcast();
        while let Some(parent) = root.parent() {
            root = parent;
        }
        let Ok(bin) = root.downcast::<gst::Bin>() else { return false };
        bin.iterate_recurse().into_iter().flatten().any(|element| {
            const DIRECTION: &str = "video-direction";
            let direction = element.find_property(DIRECTION).map(|_| element.property_value(DIRECTION));
            let direction = direction.as_ref().and_then(gst::glib::EnumValue::from_value);
            direction.is_some_and(|(_, direction)| direction.nick() != "identity")
        })
    }

    /// From the next frame on, crops are sampled from this format.
    fn set_caps(&self, caps: &gst::CapsRef) -> Result<(), gst::FlowError> {
        let info = gst_video::VideoInfo::from_caps(caps).ok();
        let video = info.filter(|info| info.interlace_mode() != gst_video::VideoInterlaceMode::Alternate);
        let Some(info) = video else {
            let known = lock(&self.input).refused.replace(caps.to_owned());
            if known.as_deref() != Some(caps) {
                gst::element_imp_error!(
                    self,
                    gst::StreamError::Format,
                    ("Caps that cannot be read: {caps}; raw video with a format, a width and a height is needed, \
                         both fields of a frame in one buffer")
                );
            }
            return Err(gst::FlowError::NotNegotiated);
        };
        gst::debug!(CAT, imp = self, "Frames are {info:?} now");
        lock(&self.latency).set_frame_duration(frame_duration(&info));
        let mut input = lock(&self.input);
        input.video = Some(Arc::new(Video { colours: Colours::of(&info), info }));
        input.refused = None;
        Ok(())
    }

    /// Queues a serialized event, by the rules of gstqueue.c.
    fn queue_event(&self, event: gst::Event) -> Result<gst::FlowSuccess, gst::FlowError> {
        let kind = event.type_();
        let mut state = lock(&self.queue.state);
        if let Err(error) = state.flow
            && !(error == gst::FlowError::Eos && state.eos)
        {
            // Sticky events stay on the pad and cause their errors during data flow.
            if !event.is_sticky() {
                return Err(error);
            }
            if kind == gst::EventType::Eos {
                let posted = state.error_posted;
                drop(state);
                // A flush is no failure: a stop makes one, and may come before the last EOS.
                if !posted && !matches!(error, gst::FlowError::Flushing | gst::FlowError::Eos) {
                    self.post_flow_error(error);
                }
                return Err(error);
            }
        }
        let restart = state.eos;
        if restart {
            if !matches!(kind, gst::EventType::StreamStart | gst::EventType::Segment) {
                return Err(gst::FlowError::Eos);
            }
            self.start_task_again(&mut state)?;
            state.flow = Ok(gst::FlowSuccess::Ok);
            state.eos = false;
            state.unexpected = false;
        }
        match kind {
            gst::EventType::Eos => state.eos = true,
            gst::EventType::Segment => state.unexpected = false,
            _ => (),
        }
        state.items.push_back(Item::Event(event));
        self.queue.changed.notify_all();
        drop(state);
        if let Some(running) = self.running() {
            if kind == gst::EventType::Eos {
                self.warn_of_the_last_skipped_frames();
                running.stream.hurry();
                // No frame follows EOS: other streams' batches must not wait for one.
                running.stream.pause();
            } else if restart {
                running.stream.resume();
            }
        }
        Ok(gst::FlowSuccess::Ok)
    }

    pub(super) fn sink_query(&self, pad: &gst::Pad, query: &mut gst::QueryRef) -> bool {
        gst::log!(CAT, obj = pad, "Query {query:?}");
        if !query.is_serialized() {
            let answered = gst::Pad::query_default(pad, Some(&*self.obj()), query);
            log_refusal(*CAT, pad, query);
            return answered;
        }
        let (query, answered) = Query::new(query);
        {
            let mut state = lock(&self.queue.state);
            if state.flow.is_err() {
                return false;
            }
            state.items.push_back(Item::Query(query));
            self.queue.changed.notify_all();
        }
        self.hurry();
        // An error: the query was dropped by a flush.
        answered.recv().unwrap_or(false)
    }

    /// Someone waits behind the frames that are queued: their batch is cut at once.
    fn hurry(&self) {
        if let Some(running) = self.running() {
            running.stream.hurry();
        }
    }
}

/// Neither pad can be pulled from.
pub(super) fn refuse_pull_mode(mode: gst::PadMode) -> Result<(), gst::LoggableError> {
    if mode == gst::PadMode::Push {
        Ok(())
    } else {
        Err(gst::loggable_error!(CAT, "Only push mode is possible"))
    }
}

/// How many crops the network does in that time, at least one.
fn crops_within(time: Duration, running: &Running) -> usize {
    let run = running.stream.run_time().as_secs_f64();
    let crops = time.as_secs_f64() * running.stream.batch_size() as f64 / run;
    // Not a number or endless before anything was run.
    (crops as usize).max(1)
}

/// How many frames may be with the network: as set, or as many as keep every executor's batch full.
fn lookahead(running: &Running) -> Lookahead {
    match running.settings.track_lookahead {
        0 => Lookahead::Filling(running.stream.crops_in_flight() as u64),
        set => Lookahead::Exact(set.into()),
    }
}
