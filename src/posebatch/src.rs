//! The source pad: its task takes the head of the ordered queue once it is ready, and nothing else.

use gst::{glib::translate::from_glib_none, prelude::*, subclass::prelude::*};

use super::{
    decode::key_points,
    enums::{OnError, Smoothing},
    imp::{RtmPoseBatch, Running},
    log::CAT,
    queue::{Candidate, Frame, Item, State, Turn, Work},
    settings::Settings,
    sink::refuse_pull_mode,
};
use crate::{
    engine::{Error, ErrorKind},
    meta::{self, FramePeople},
    network::Kind,
    pose::Person,
    sync::{MutexGuard, lock},
    video::refuse_crop_meta,
};

impl RtmPoseBatch {
    pub(super) fn src_activatemode(
        &self,
        pad: &gst::Pad,
        mode: gst::PadMode,
        active: bool,
    ) -> Result<(), gst::LoggableError> {
        refuse_pull_mode(mode)?;
        if active {
            drop(self.resume());
            self.start_task().map_err(|_| gst::loggable_error!(CAT, "The task cannot be started"))?;
        } else {
            self.flush();
            pad.stop_task()?;
        }
        Ok(())
    }

    fn start_task(&self) -> Result<(), gst::glib::BoolError> {
        let this = self.ref_counted();
        self.srcpad.start_task(move || {
            this.catch_panic(|| this.stop_task_with(gst::FlowError::Error), |this| this.iterate());
        })
    }

    /// Lets the task go on after it has paused. With the queue's lock held, so that a deactivation of the pad comes either
    /// before, and nothing is started, or after, and stops what was started here.
    pub(super) fn start_task_again(&self, _state: &mut State) -> Result<gst::FlowSuccess, gst::FlowError> {
        if self.srcpad.mode() != gst::PadMode::Push {
            return Err(gst::FlowError::Flushing);
        }
        // Not by `gst_pad_start_task`: where there is a task it forgets the function that it is given, and with it a
        // reference to this element for ever.
        let task: Option<gst::Task> = {
            let _lock = self.srcpad.object_lock();
            // SAFETY: the pad lives, and its field `task` is guarded by its object lock.
            unsafe { from_glib_none((*self.srcpad.as_ptr()).task) }
        };
        let started = task.map_or(Ok(()), |task| task.start());
        started.map(|()| gst::FlowSuccess::Ok).map_err(|error| {
            gst::error!(CAT, imp = self, "The task cannot be started: {error}");
            gst::FlowError::Error
        })
    }

    /// One turn of the task: waits for the head, takes it and sends it on.
    fn iterate(&self) {
        let item = match self.queue.take_ready() {
            Ok(Turn::Send(item)) => item,
            Ok(Turn::Settle(following)) => return self.settle(&following),
            Err((state, error)) => return self.stop_task_at(state, error),
        };
        let result = match item {
            Item::Frame(frame) => self.send_frame(frame),
            Item::Event(event) => self.send_event(event),
            Item::Query(query) => {
                query.answer(|query| self.send_query(query));
                Ok(gst::FlowSuccess::Ok)
            }
        };
        let Err(error) = result else { return };
        let state = lock(&self.queue.state);
        if error == gst::FlowError::Eos && !state.eos_was_sent() {
            self.skip_to_a_new_segment(state);
        } else {
            self.stop_task_at(state, error);
        }
    }

    /// Ends the task's loop; the chain function hears the reason.
    fn stop_task_with(&self, error: gst::FlowError) {
        self.stop_task_at(lock(&self.queue.state), error);
    }

    fn stop_task_at(&self, mut state: MutexGuard<'_, State>, error: gst::FlowError) {
        // A flush may have come first.
        let error = state.flow.err().unwrap_or(error);
        state.flow = Err(error);
        let untold = state.eos && !state.error_posted;
        let queries = state.take_queries();
        gst::debug!(CAT, imp = self, "The task pauses: {error}");
        // With the lock held, as gstqueue.c does: who makes the flow good again starts the task after this. It does not
        // wait, as this is the task.
        let _ = self.srcpad.pause_task();
        drop(state);
        self.queue.changed.notify_all();
        // Their callers wait, and nobody would come to them any more.
        drop(queries);
        // Upstream has sent its EOS and will not hear of this from the chain function.
        if untold && !matches!(error, gst::FlowError::Flushing | gst::FlowError::Eos) {
            self.post_flow_error(error);
        }
    }

    /// Downstream wants no more of this segment: drops what is queued up to something that it can use, as gstqueue.c
    /// does, and refuses frames until then.
    fn skip_to_a_new_segment(&self, mut state: MutexGuard<'_, State>) {
        gst::debug!(CAT, imp = self, "Downstream has had enough of this segment");
        let dropped = {
            let useful = |item: &Item| {
                matches!(item, Item::Event(event) if matches!(
                    event.type_(),
                    gst::EventType::Eos | gst::EventType::StreamStart | gst::EventType::Segment
                ))
            };
            let position = state.items.iter().position(useful);
            state.unexpected = position.is_none();
            let kept = position.map(|position| state.items.split_off(position)).unwrap_or_default();
            std::mem::replace(&mut state.items, kept)
        };
        drop(state);
        self.queue.changed.notify_all();
        self.keep_sticky(dropped.into_iter().filter_map(Item::into_event));
    }

    /// As `GST_ELEMENT_FLOW_ERROR`.
    pub(super) fn post_flow_error(&self, error: gst::FlowError) {
        gst::element_imp_error!(
            self,
            gst::StreamError::Failed,
            ("Internal data stream error."),
            ["streaming stopped, reason {error:?}"]
        );
    }

    fn send_event(&self, event: gst::Event) -> Result<gst::FlowSuccess, gst::FlowError> {
        let eos = event.type_() == gst::EventType::Eos;
        #[cfg(feature = "v1_26")]
        if event.type_() == gst::EventType::StreamStart {
            lock(&self.first_seen).reset();
        }
        gst::log!(CAT, imp = self, "Sending {event:?}");
        // Positions of another stream, or in pixels of another size.
        if matches!(event.type_(), gst::EventType::StreamStart | gst::EventType::Caps) {
            lock(&self.smoother).reset();
        }
        self.srcpad.push_event(event);
        if eos { Err(gst::FlowError::Eos) } else { Ok(gst::FlowSuccess::Ok) }
    }

    fn send_frame(&self, mut frame: Frame) -> Result<gst::FlowSuccess, gst::FlowError> {
        let running = self.running().ok_or(gst::FlowError::Flushing)?;
        let settings = self.settings().clone();
        if let Some(text) = running.stream.loss() {
            gst::element_imp_warning!(self, gst::ResourceError::Failed, ("{text}"));
        }
        match std::mem::replace(&mut frame.work, Work::Pass) {
            Work::Pass => (),
            Work::Carry => self.carry(&mut frame),
            Work::Infer(candidates) => match decode(&candidates, running.network().kind, &settings) {
                Ok(people) => self.attach(&mut frame, people, &running),
                Err(text) => self.inference_failed(&text, &settings)?,
            },
            Work::Follow(_, followed) => match followed.people() {
                Some(Ok(people)) => self.attach(&mut frame, people.clone(), &running),
                Some(Err(text)) => self.inference_failed(text, &settings)?,
                // It would not have been done.
                None => self.inference_failed("a frame before it was not answered", &settings)?,
            },
            Work::Fail(text) => self.inference_failed(&text, &settings)?,
        }
        gst::trace!(CAT, imp = self, "Sending {:?}", frame.buffer);
        let result = self.srcpad.push(frame.buffer);
        lock(&self.stats).frame_out(std::time::Instant::now());
        self.check_latency(&running);
        self.post_statistics_if_due();
        result
    }

    fn attach(&self, frame: &mut Frame, mut people: Vec<Person>, running: &Running) {
        {
            let (smoothing, filter) = {
                let settings = self.settings();
                (settings.smoothing, settings.one_euro())
            };
            let mut smoother = lock(&self.smoother);
            match smoothing {
                Smoothing::None => smoother.reset(),
                Smoothing::OneEuro => smoother.smooth(frame.now, &mut people, &filter),
            }
        }
        people.iter_mut().for_each(|person| person.scale(frame.shape.to_pixels()));
        let people = FramePeople {
            source: self.obj().name().into(),
            width: frame.shape.width,
            height: frame.shape.height,
            skeleton: running.skeleton.clone(),
            points: running.network().kind.points(),
            people,
            carried: false,
        };
        self.write(frame, &people);
        if self.settings().inference_interval > 1 {
            *lock(&self.last_people) = Some(people);
        }
    }

    /// Gives the frame the people of the last one that was inferred, if there are any yet.
    fn carry(&self, frame: &mut Frame) {
        let Some(mut people) = lock(&self.last_people).clone() else { return };
        people.scale_to(frame.shape.width, frame.shape.height);
        people.carried = true;
        self.write(frame, &people);
    }

    fn write(&self, frame: &mut Frame, people: &FramePeople) {
        let buffer = frame.buffer.make_mut();
        if let Err(error) = meta::write(buffer, people) {
            gst::error!(CAT, imp = self, "The people could not be attached: {error}");
        }
        #[cfg(feature = "v1_26")]
        {
            let segment = self.srcpad.sticky_event::<gst::event::Segment>(0);
            let now = segment.as_ref().and_then(|event| {
                event.segment().downcast_ref::<gst::ClockTime>()?.to_running_time(buffer.pts())
            });
            if let Err(error) = meta::analytics::write(buffer, people, now, &mut lock(&self.first_seen)) {
                gst::error!(CAT, imp = self, "The people could not be attached for GstAnalytics: {error}");
            }
        }
    }

    /// By `on-error`: stops the stream with an error message, or lets it go on after one warning.
    fn inference_failed(&self, text: &str, settings: &Settings) -> Result<(), gst::FlowError> {
        // Nothing of this stream is known that later frames could carry on.
        *lock(&self.last_people) = None;
        lock(&self.smoother).reset();
        match settings.on_error {
            OnError::Fail => {
                lock(&self.queue.state).error_posted = true;
                self.post_error(&Error::new(
                    ErrorKind::Run,
                    format!(
                        "Inference failed: {text}; on-error=passthrough lets frames go on without metadata"
                    ),
                ));
                Err(gst::FlowError::Error)
            }
            OnError::Passthrough => {
                let first = !std::mem::replace(&mut lock(&self.stats).warned_of_error, true);
                if first {
                    gst::element_imp_warning!(
                        self,
                        gst::LibraryError::Failed,
                        ("Inference failed: {text}; frames go on without metadata (on-error=passthrough)")
                    );
                }
                Ok(())
            }
        }
    }

    /// Sends a serialized query on, in the order of the frames.
    fn send_query(&self, query: &mut gst::QueryRef) -> bool {
        let answered = self.srcpad.peer_query(query);
        match query.view_mut() {
            gst::QueryViewMut::Allocation(query) => {
                self.complete_allocation(query);
                true
            }
            _ => answered,
        }
    }

    /// Frames go on unchanged, so that downstream's answer holds, but for the frames that are kept here.
    fn complete_allocation(&self, query: &mut gst::query::Allocation) {
        let (input_queue, batch) = self.running().map_or((0, 0), |running| {
            (running.settings.input_queue_size, running.stream.batch_size() as u32)
        });
        let kept = input_queue.min(batch) + 1;
        refuse_crop_meta(query);
        let pools: Vec<_> = query.allocation_pools().collect();
        if pools.is_empty() {
            let size = query.get_owned().0.and_then(|caps| gst_video::VideoInfo::from_caps(&caps).ok());
            // 0 is any size, as for caps whose frames are larger than can be told.
            let size = size.map_or(0, |info| u32::try_from(info.size()).unwrap_or(0));
            query.add_allocation_pool(gst::BufferPool::NONE, size, kept, 0);
        }
        for (index, (pool, size, min, max)) in pools.into_iter().enumerate() {
            let min = min.saturating_add(kept);
            let max = if max == 0 { 0 } else { max.saturating_add(kept) };
            query.set_nth_allocation_pool(index as u32, pool.as_ref(), size, min, max);
        }
    }

    pub(super) fn src_event(&self, pad: &gst::Pad, event: gst::Event) -> bool {
        if let gst::EventView::Qos(qos) = event.view() {
            let (_, _, late, running_time) = qos.get();
            lock(&self.qos).heard(running_time, late);
        }
        if let gst::EventView::Latency(latency) = event.view() {
            self.configure_latency(latency.latency());
        }
        if event.type_() == gst::EventType::Reconfigure {
            let mut state = lock(&self.queue.state);
            if state.flow == Err(gst::FlowError::NotLinked) {
                // Someone is linked again, as in gstqueue.c.
                state.flow = Ok(gst::FlowSuccess::Ok);
                if self.start_task_again(&mut state).is_err() {
                    return false;
                }
            }
            drop(state);
            return self.sinkpad.push_event(event);
        }
        gst::Pad::event_default(pad, Some(&*self.obj()), event)
    }

    pub(super) fn src_query(&self, pad: &gst::Pad, query: &mut gst::QueryRef) -> bool {
        match query.type_() {
            gst::QueryType::Latency => self.query_latency(pad, query),
            _ => gst::Pad::query_default(pad, Some(&*self.obj()), query),
        }
    }
}

impl State {
    /// Whether the EOS event itself went out, rather than downstream having had enough.
    fn eos_was_sent(&self) -> bool {
        self.eos
            && !self
                .items
                .iter()
                .any(|item| matches!(item, Item::Event(event) if event.type_() == gst::EventType::Eos))
    }
}

/// The people who are in a frame's crops, in square pixels. The first crop that failed fails the frame.
fn decode(people: &[Candidate], kind: Kind, settings: &Settings) -> Result<Vec<Person>, String> {
    let person = |Candidate { region, id, crop, ticket }: &Candidate| {
        let key_points = key_points(ticket, crop, kind, settings.score_mode.into())?;
        Ok(Person { region: *region, key_points, id: *id })
    };
    people.iter().map(person).collect()
}
