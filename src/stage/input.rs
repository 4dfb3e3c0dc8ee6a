//! The sink pad: it turns frames into crops in the engine and items of the ordered queue. Events and queries are queued
//! between them.

use std::sync::Arc;

use gst::prelude::*;

use super::{
    CropCutter, Fate, Inference, Overload, Running, Settings, Stage, Video,
    crops::Mapped,
    overload::Reason,
    queue::{Fill, Frame, Item, Query, Room},
    slow::Slow,
};
use crate::{
    sync::lock,
    video::{FrameShape, Sampler, log_refusal},
};

/// The stream, as the sink pad sees it at the moment.
#[derive(Default)]
pub(super) struct Input<T> {
    video: Option<Arc<Video>>,
    /// Caps whose error was posted: they arrive again with every frame.
    refused: Option<gst::Caps>,
    segment: gst::FormattedSegment<gst::ClockTime>,
    sampler: Option<Sampler>,
    /// Frames since the last inferred one; none before the first.
    since_look: Option<u32>,
    pub warned_of_orientation: bool,
    warned_of_copies: bool,
    /// Whether upstream is live; none until it was asked.
    live: Option<bool>,
    pub slow: Slow,
    /// The element's own.
    own: T,
}

/// A frame that has arrived and is to be inferred.
pub struct Arrival<'a, I: Inference> {
    pub buffer: &'a gst::Buffer,
    pub video: &'a Arc<Video>,
    pub shape: FrameShape,
    pub live: bool,
    pub running: &'a Arc<Running<I>>,
}

/// How long a frame lasts; none without a framerate.
fn frame_duration(info: &gst_video::VideoInfo) -> Option<gst::ClockTime> {
    let numer = u64::try_from(info.fps().numer()).ok().filter(|numer| *numer > 0)?;
    gst::ClockTime::SECOND.mul_div_floor(u64::try_from(info.fps().denom()).ok()?, numer)
}

/// What to do with a frame, and its size.
type Fated<W> = (Fate<W>, FrameShape);

impl<I: Inference> Stage<I> {
    pub(super) fn sink_activatemode(
        &self,
        pad: &gst::Pad,
        mode: gst::PadMode,
        active: bool,
    ) -> Result<(), gst::LoggableError> {
        refuse_pull_mode(I::category(), mode)?;
        if active {
            drop(self.resume());
        } else {
            self.flush();
            // The chain function leaves at once; after that, nothing is added to the queue.
            drop(pad.stream_lock());
            self.flush();
        }
        Ok(())
    }

    /// Lets frames in, after an activation or a flush. Returns the events that were queued before.
    pub(super) fn resume(&self) -> Vec<gst::Event> {
        if let Some(running) = self.running() {
            running.stream.resume();
        }
        lock(&self.qos).reset();
        // The task begins with a new output.
        lock(&self.queue.state).resume()
    }

    /// Refuses frames, drops what is queued, and wakes all waiting threads. Does not wait for running batches.
    pub(super) fn flush(&self) {
        self.queue.flush();
        if let Some(running) = self.running() {
            running.stream.flush();
        }
    }

    /// Sticky events are kept when the frames around them are dropped, as in gstqueue.c: downstream gets them with the next
    /// frame.
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
        gst::trace!(I::category(), obj = pad, "Frame {buffer:?}");
        let running = self.running().ok_or(gst::FlowError::Flushing)?;
        self.wait_for_room(&running)?;
        self.figures().frames_in += 1;
        self.warn_of_skipped_frames();
        let (fate, shape) = self.take_in(pad, &buffer, &running)?;
        let frame = Frame { buffer, shape, fate };
        let crops = frame.crops();
        // The first frame of a file can have very many crops, and no viewer waits for it.
        let live = lock(&self.input).live == Some(true);
        if crops > 0 && live {
            lock(&self.latency).note_crops(crops);
        }
        self.warn_of_seldom_looks(&running);
        // Anything may have happened while the crops were sampled.
        self.queue.push(Item::Frame(frame)).map(|()| gst::FlowSuccess::Ok)
    }

    /// The only place where upstream waits for the queue.
    fn wait_for_room(&self, running: &Running<I>) -> Result<(), gst::FlowError> {
        let settings = &running.settings;
        let (input_size, output_size) =
            (settings.input_queue_size as usize, settings.output_queue_size as usize);
        let all = input_size + output_size + running.stream.crops_in_flight();
        // A live sink holds frames back for the latency that the element has asked for. They must not block the source.
        let live = lock(&self.input).live == Some(true);
        let held_back = if live { lock(&self.latency).frames_held_back() } else { 0 };
        let room = Room { waiting: input_size, finished: output_size.max(held_back), all };
        self.queue.wait_for_room(room, &running.stream, |Fill { waiting, finished, all }| {
            gst::debug!(
                I::category(),
                obj = self.element(),
                "Full: {all} frames, of which {waiting} wait for a batch and {finished} for downstream"
            );
        })
    }

    /// Decides what to do with a frame. Its crops are sampled and submitted here, with the current caps.
    fn take_in(
        &self,
        pad: &gst::Pad,
        buffer: &gst::Buffer,
        running: &Arc<Running<I>>,
    ) -> Result<Fated<I::Work>, gst::FlowError> {
        let settings = self.inference.settings();
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
        let shape = video.shape();
        let duration = buffer.duration().or_else(|| frame_duration(&video.info));
        let now = self.inference.arrived(&mut input.own, buffer.pts(), duration);
        // A frame with pixels is inferred even if it is flagged GAP: copies by videorate are, and frames of sources that had
        // nothing new.
        if buffer.size() == 0 {
            gst::trace!(I::category(), obj = pad, "An empty frame passes without inference");
            return Ok((Fate::Pass, shape));
        }
        let since_look = input.since_look.unwrap_or(u32::MAX);
        if since_look < settings.interval.saturating_sub(1) {
            input.since_look = Some(since_look + 1);
            return Ok((Fate::Carry, shape));
        }
        let (segment, live) = (&input.segment, input.live == Some(true));
        if let Some(reason) = self.reason_to_skip(buffer, segment, live, &settings, running) {
            let segment = segment.clone();
            input.slow.skipped |= live && reason == Reason::Overload;
            drop(guard);
            self.count_skipped(buffer, &segment, live, reason);
            return Ok((Fate::Pass, shape));
        }
        input.since_look = Some(0);
        if let Some(now) = now {
            input.slow.look(now);
        }
        let _in_progress = running.stream.begin_frame();
        let mapped = video.map(buffer, &running.cards, &running.stream);
        let pixels = mapped.as_ref().map_err(String::clone).and_then(|mapped| video.pixels(mapped));
        let pixels = match pixels {
            Ok(pixels) => pixels,
            Err(why) => return Ok((Fate::Fail(format!("A frame of {why}")), shape)),
        };
        let copied = mapped.as_ref().is_ok_and(Mapped::is_copy);
        let warns_of_copies = copied && !std::mem::replace(&mut input.warned_of_copies, true);
        let size = running.stream.shape();
        let sampler = input
            .sampler
            .get_or_insert_with(|| Sampler::new(size.width, size.height, running.settings.scale));
        let mut cutter = CropCutter { pixels, shape, sampler, stream: &running.stream };
        let arrival = Arrival { buffer, video, shape, live, running };
        let work = I::look(self, &arrival, &mut input.own, &mut cutter)?;
        drop(guard);
        if warns_of_copies {
            self.warn_of_copies();
        }
        Ok((Fate::Look(work), shape))
    }

    /// Waits, in the chain function, until `is_there` is true, which an answer of the network must bring about.
    pub fn wait_for_results(
        &self,
        running: &Running<I>,
        is_there: impl Fn() -> bool,
    ) -> Result<(), gst::FlowError> {
        self.queue.wait_for_results(&running.stream, is_there)
    }

    /// Samples more crops from a queued frame. This frame, and those behind it, cannot leave before they are answered, so
    /// they do not wait for a fuller batch.
    pub fn cut_again<T>(
        &self,
        buffer: &gst::Buffer,
        video: &Video,
        running: &Running<I>,
        cut: impl FnOnce(&mut CropCutter<'_>) -> T,
    ) -> Option<T> {
        let mapped = video.map(buffer, &running.cards, &running.stream).ok()?;
        let pixels = video.pixels(&mapped).ok()?;
        let size = running.stream.shape();
        let sampler = &mut Sampler::new(size.width, size.height, running.settings.scale);
        let shape = video.shape();
        let result = cut(&mut CropCutter { pixels, shape, sampler, stream: &running.stream });
        running.stream.hurry();
        Some(result)
    }

    fn reason_to_skip(
        &self,
        buffer: &gst::BufferRef,
        segment: &gst::FormattedSegment<gst::ClockTime>,
        live: bool,
        settings: &Settings,
        running: &Running<I>,
    ) -> Option<Reason> {
        let skips = match settings.overload {
            Overload::Auto => live,
            Overload::Block => false,
            Overload::SkipInference => true,
        };
        let crops = lock(&self.latency).most_crops();
        if skips && running.stream.time_to_answer(crops) > self.reported_latency(running) {
            return Some(Reason::Overload);
        }
        let most = u64::try_from(settings.max_lateness).ok()?;
        let running_time = segment.to_running_time(buffer.pts());
        lock(&self.qos).is_late(running_time, most).then_some(Reason::Lateness)
    }

    fn not_negotiated(&self) -> gst::FlowError {
        gst::element_error!(
            self.element(),
            gst::CoreError::Negotiation,
            ("A frame arrived without usable caps: put videoconvert, or a capsfilter with format, width and height, \
              upstream of this element")
        );
        gst::FlowError::NotNegotiated
    }

    /// Asks upstream whether it is live. Do not call it with a lock held.
    fn ask_live(&self, pad: &gst::Pad) -> bool {
        let mut query = gst::query::Latency::new();
        let live = pad.peer_query(&mut query) && query.result().0;
        gst::info!(I::category(), obj = self.element(), "Upstream is {}live", if live { "" } else { "not " });
        self.figures().live = Some(live);
        live
    }

    pub(super) fn sink_event(
        &self,
        pad: &gst::Pad,
        event: gst::Event,
    ) -> Result<gst::FlowSuccess, gst::FlowError> {
        gst::log!(I::category(), obj = pad, "Event {event:?}");
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
                    input.since_look = None;
                    self.inference.restarted(&mut input.own);
                }
                let queued = self.resume();
                self.keep_sticky(queued);
                return self.start_task_again(&mut lock(&self.queue.state));
            }
            _ if !event.is_serialized() => {
                let handled = gst::Pad::event_default(pad, Some(&self.element()), event);
                return if handled { Ok(gst::FlowSuccess::Ok) } else { Err(gst::FlowError::Error) };
            }
            gst::EventView::StreamStart(_) => {
                let mut input = lock(&self.input);
                input.live = None;
                input.since_look = None;
                self.inference.restarted(&mut input.own);
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

    /// From the next frame on, crops are sampled from this format.
    fn set_caps(&self, caps: &gst::CapsRef) -> Result<(), gst::FlowError> {
        let info = gst_video::VideoInfo::from_caps(caps).ok();
        let video = info.filter(|info| info.interlace_mode() != gst_video::VideoInterlaceMode::Alternate);
        let Some(info) = video else {
            let known = lock(&self.input).refused.replace(caps.to_owned());
            if known.as_deref() != Some(caps) {
                gst::element_error!(
                    self.element(),
                    gst::StreamError::Format,
                    ("Cannot use caps {caps}: raw video with format, width and height is needed, with both fields of \
                      a frame in one buffer")
                );
            }
            return Err(gst::FlowError::NotNegotiated);
        };
        gst::debug!(I::category(), obj = self.element(), "Frames are {info:?} now");
        lock(&self.latency).set_frame_duration(frame_duration(&info));
        let mut input = lock(&self.input);
        input.video = Some(Arc::new(Video::new(info)));
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
            // Sticky events stay on the pad and cause their errors with the next frame.
            if !event.is_sticky() {
                return Err(error);
            }
            if kind == gst::EventType::Eos {
                let posted = state.error_posted;
                drop(state);
                // A flush is no failure: a stop causes one, and it can come before the last EOS.
                if !posted && !matches!(error, gst::FlowError::Flushing | gst::FlowError::Eos) {
                    self.post_flow_error(error);
                }
                return Err(error);
            }
        }
        // A flush that has begun goes on: it pauses the task, and waits for it.
        let restart = state.eos && state.flow != Err(gst::FlowError::Flushing);
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
                // No frame follows EOS, so other streams' batches must not wait for one.
                running.stream.pause();
            } else if restart {
                running.stream.resume();
            }
        }
        Ok(gst::FlowSuccess::Ok)
    }

    pub(super) fn sink_query(&self, pad: &gst::Pad, query: &mut gst::QueryRef) -> bool {
        gst::log!(I::category(), obj = pad, "Query {query:?}");
        if !query.is_serialized() {
            if self.answer_context(pad, query) {
                return true;
            }
            let answered = gst::Pad::query_default(pad, Some(&self.element()), query);
            self.keep_to_possible_memory(query);
            log_refusal(I::category(), pad, query);
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

    /// Something waits behind the queued frames: their batch is cut at once.
    fn hurry(&self) {
        if let Some(running) = self.running() {
            running.stream.hurry();
        }
    }
}

/// Neither pad can be pulled from.
pub(super) fn refuse_pull_mode(
    category: gst::DebugCategory,
    mode: gst::PadMode,
) -> Result<(), gst::LoggableError> {
    if mode == gst::PadMode::Push {
        Ok(())
    } else {
        Err(gst::loggable_error!(category, "Only push mode is possible"))
    }
}
