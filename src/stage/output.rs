//! The source pad: its task takes the head of the ordered queue once it is ready, and nothing else.

use std::time::{Duration, Instant};

use gst::{glib::translate::from_glib_none, prelude::*};

use super::{
    Fate, Inference, OnError, Running, Stage, Work,
    figures::EngineFigures,
    input::refuse_pull_mode,
    latency::{estimate, greatest},
    queue::{Frame, Item, State, Turn},
};
use crate::{
    engine::{Change, Error, ErrorKind},
    sync::{MutexGuard, lock},
    video::refuse_crop_meta,
};

/// State that the task owns.
#[derive(Default)]
pub(super) struct Output<T> {
    /// The stream that it belongs to.
    generation: u64,
    /// The element's own.
    own: T,
}

impl<I: Inference> Stage<I> {
    /// `turn` is one turn of the task.
    pub(super) fn src_activatemode(
        &self,
        pad: &gst::Pad,
        mode: gst::PadMode,
        active: bool,
        turn: impl FnMut() + Send + 'static,
    ) -> Result<(), gst::LoggableError> {
        refuse_pull_mode(I::category(), mode)?;
        if active {
            drop(self.resume());
            let failed = |_| gst::loggable_error!(I::category(), "The task cannot be started");
            self.srcpad.start_task(turn).map_err(failed)?;
        } else {
            self.flush();
            pad.stop_task()?;
        }
        Ok(())
    }

    /// Lets the task continue after a pause. The queue's lock is held, so that a deactivation of the pad comes either before
    /// this, and nothing is started, or after it, and stops the task.
    pub(super) fn start_task_again(
        &self,
        _state: &mut State<I::Work>,
    ) -> Result<gst::FlowSuccess, gst::FlowError> {
        if self.srcpad.mode() != gst::PadMode::Push {
            return Err(gst::FlowError::Flushing);
        }
        // Not with `gst_pad_start_task`: if there is already a task, that forgets the function that it is given, and leaks a
        // reference to this element.
        let task: Option<gst::Task> = {
            let _lock = self.srcpad.object_lock();
            // SAFETY: the pad lives, and its field `task` is guarded by its object lock.
            unsafe { from_glib_none((*self.srcpad.as_ptr()).task) }
        };
        let started = task.map_or(Ok(()), |task| task.start());
        started.map(|()| gst::FlowSuccess::Ok).map_err(|error| {
            gst::error!(I::category(), obj = self.element(), "The task cannot be started: {error}");
            gst::FlowError::Error
        })
    }

    /// One turn of the task: waits for the head, takes it and sends it downstream.
    pub(super) fn iterate(&self, output: &mut Output<I::Output>) {
        let item = match self.queue.take_ready() {
            Ok(Turn::Send(item, generation)) => {
                if generation != output.generation {
                    *output = Output { generation, own: I::Output::default() };
                }
                item
            }
            Ok(Turn::Step(step)) => return I::step(self, step),
            Err((state, error)) => return self.stop_task_at(state, error),
        };
        let result = match item {
            Item::Frame(frame) => self.send_frame(frame, output),
            Item::Event(event) => self.send_event(event, output),
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

    /// Ends the task's loop, and tells the chain function the reason.
    pub(super) fn stop_task_with(&self, error: gst::FlowError) {
        self.stop_task_at(lock(&self.queue.state), error);
    }

    fn stop_task_at(&self, mut state: MutexGuard<'_, State<I::Work>>, error: gst::FlowError) {
        // A flush may have come first.
        let error = state.flow.err().unwrap_or(error);
        state.flow = Err(error);
        let untold = state.eos && !state.error_posted;
        let queries = state.take_queries();
        gst::debug!(I::category(), obj = self.element(), "The task pauses: {error}");
        // With the lock held, as in gstqueue.c: a thread that sets the flow to OK again starts the task after this. It does
        // not wait, because this is the task.
        let _ = self.srcpad.pause_task();
        drop(state);
        self.queue.changed.notify_all();
        // Their callers wait, and nothing would answer them any more.
        drop(queries);
        // Upstream has already sent EOS, so the chain function cannot tell it.
        if untold && !matches!(error, gst::FlowError::Flushing | gst::FlowError::Eos) {
            self.post_flow_error(error);
        }
    }

    /// Downstream needs no more of this segment: drops what is queued, up to something that it can use, as in gstqueue.c,
    /// and refuses frames until then.
    fn skip_to_a_new_segment(&self, mut state: MutexGuard<'_, State<I::Work>>) {
        gst::debug!(I::category(), obj = self.element(), "Downstream needs no more of this segment");
        let dropped = {
            let useful = |item: &Item<I::Work>| {
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
        gst::element_error!(
            self.element(),
            gst::StreamError::Failed,
            ("Internal data stream error."),
            ["streaming stopped, reason {error:?}"]
        );
    }

    fn send_event(
        &self,
        event: gst::Event,
        output: &mut Output<I::Output>,
    ) -> Result<gst::FlowSuccess, gst::FlowError> {
        let eos = event.type_() == gst::EventType::Eos;
        gst::log!(I::category(), obj = self.element(), "Sending {event:?}");
        self.inference.sends(&event, &mut output.own);
        self.srcpad.push_event(event);
        if eos { Err(gst::FlowError::Eos) } else { Ok(gst::FlowSuccess::Ok) }
    }

    fn send_frame(
        &self,
        frame: Frame<I::Work>,
        output: &mut Output<I::Output>,
    ) -> Result<gst::FlowSuccess, gst::FlowError> {
        let Frame { mut buffer, shape, fate } = frame;
        let running = self.running().ok_or(gst::FlowError::Flushing)?;
        for change in running.stream.news() {
            match &*change {
                Change::Warning(text) => {
                    gst::element_warning!(self.element(), gst::ResourceError::Failed, ("{text}"));
                }
                Change::Info(text) => {
                    gst::element_info!(self.element(), gst::ResourceError::Failed, ("{text}"));
                }
            }
        }
        match fate {
            Fate::Pass => (),
            Fate::Carry => I::carry(self, &mut buffer, shape, &mut output.own),
            Fate::Look(work) => {
                let attached = I::attach(self, &running, &mut buffer, shape, work, &mut output.own);
                attached.or_else(|text| self.inference_failed(&text, output))?;
            }
            Fate::Fail(text) => self.inference_failed(&text, output)?,
        }
        gst::trace!(I::category(), obj = self.element(), "Sending {buffer:?}");
        let result = self.srcpad.push(buffer);
        self.figures().frame_out(Instant::now());
        self.check_latency(&running);
        self.post_statistics_if_due();
        result
    }

    /// As `on-error` says: ends the stream with an error message, or continues after one warning.
    fn inference_failed(&self, text: &str, output: &mut Output<I::Output>) -> Result<(), gst::FlowError> {
        self.inference.failed(&mut output.own);
        match self.inference.settings().on_error {
            OnError::Fail => {
                lock(&self.queue.state).error_posted = true;
                self.post_error(&Error::new(
                    ErrorKind::Run,
                    format!(
                        "Inference failed: {text}; with on-error=passthrough, frames would pass without metadata"
                    ),
                ));
                Err(gst::FlowError::Error)
            }
            OnError::Passthrough => {
                let first = !std::mem::replace(&mut self.figures().warned_of_error, true);
                if first {
                    gst::element_warning!(
                        self.element(),
                        gst::LibraryError::Failed,
                        ("Inference failed: {text}; frames pass without metadata (on-error=passthrough)")
                    );
                }
                Ok(())
            }
        }
    }

    /// Sends a serialized query downstream, in order with the frames.
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

    /// Frames leave unchanged, so downstream's answer is passed on, plus the frames that are held here.
    fn complete_allocation(&self, query: &mut gst::query::Allocation) {
        let (input_queue, batch) = self.running().map_or((0, 0), |running| {
            (running.settings.input_queue_size, running.stream.batch_size() as u32)
        });
        let kept = input_queue.min(batch) + 1;
        refuse_crop_meta(query);
        let pools: Vec<_> = query.allocation_pools().collect();
        if pools.is_empty() {
            let size = query.get_owned().0.and_then(|caps| gst_video::VideoInfo::from_caps(&caps).ok());
            // 0 is any size, as for caps whose frames are too large to compute it.
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
                // The pad is linked again, as in gstqueue.c.
                state.flow = Ok(gst::FlowSuccess::Ok);
                if self.start_task_again(&mut state).is_err() {
                    return false;
                }
            }
            drop(state);
            return self.sinkpad.push_event(event);
        }
        gst::Pad::event_default(pad, Some(&self.element()), event)
    }

    pub(super) fn src_query(&self, pad: &gst::Pad, query: &mut gst::QueryRef) -> bool {
        match query.type_() {
            gst::QueryType::Latency => self.query_latency(pad, query),
            gst::QueryType::Context if self.answer_context(&self.sinkpad, query) => true,
            _ => {
                let answered = gst::Pad::query_default(pad, Some(&self.element()), query);
                self.keep_to_possible_memory(query);
                answered
            }
        }
    }

    fn estimated_latency(&self, running: &Running<I>) -> Duration {
        let timeout = self.inference.settings().policy.timeout;
        let crops = lock(&self.latency).most_crops();
        estimate(timeout, running.stream.run_time(), running.stream.runs_for(crops))
    }

    /// The latency that frames are held to: what the pipeline uses, or would be told now.
    pub(super) fn reported_latency(&self, running: &Running<I>) -> Duration {
        let held_to = lock(&self.latency).held_to();
        held_to.unwrap_or_else(|| self.estimated_latency(running))
    }

    /// Answers the LATENCY query of downstream.
    pub(super) fn query_latency(&self, pad: &gst::Pad, query: &mut gst::QueryRef) -> bool {
        if !gst::Pad::query_default(pad, Some(&self.element()), query) {
            return false;
        }
        let Some(running) = self.running() else { return true };
        let gst::QueryViewMut::Latency(query) = query.view_mut() else { return false };
        let (live, upstream_min, upstream_max) = query.result();
        let least = self.estimated_latency(&running);
        let own_min = gst::ClockTime::try_from(least).unwrap_or(gst::ClockTime::MAX);
        let frame_duration = lock(&self.latency).answer(least, upstream_min.into());
        let queue_size = running.settings.output_queue_size;
        let own_max = frame_duration.map(|frame| greatest(own_min, frame, queue_size));
        let min = upstream_min.saturating_add(own_min);
        let max = upstream_max.zip(own_max).map(|(upstream, own)| upstream.saturating_add(own));
        gst::debug!(
            I::category(),
            obj = self.element(),
            "Latency: live {live}, min {upstream_min} + {own_min}, max {}",
            max.display()
        );
        query.set(live, min, max);
        true
    }

    /// Records the latency that the pipeline uses, from downstream's LATENCY event.
    pub(super) fn configure_latency(&self, latency: gst::ClockTime) {
        gst::debug!(I::category(), obj = self.element(), "The pipeline uses a latency of {latency}");
        lock(&self.latency).configured(latency.into());
    }

    /// Asks the pipeline to query the latency again if the estimate differs from what was reported. Do not call it with a
    /// lock held.
    pub(super) fn check_latency(&self, running: &Running<I>) {
        let estimate = self.estimated_latency(running);
        if lock(&self.latency).must_announce(estimate, Instant::now()) {
            gst::debug!(I::category(), obj = self.element(), "The latency is now {estimate:?}");
            self.post(gst::message::Latency::builder().src(&self.element()).build());
        }
    }

    /// The property `stats`, and the message of that name.
    pub fn statistics(&self) -> gst::Structure {
        let running = self.running();
        let engine = running.as_ref().map(|running| EngineFigures {
            statistics: running.stream.statistics(),
            streams: running.stream.streams(),
            batch_size: running.stream.batch_size(),
            places: running.stream.places(),
            devices: running.stream.devices(),
            gpus: running.gpu_figures(),
        });
        let fill = lock(&self.queue.state).fill();
        let own = self.inference.figures();
        self.figures().structure(&format!("{}-stats", I::NAME), &own, &fill, &engine.unwrap_or_default())
    }

    /// Posts the statistics when `stats-interval` has passed. Do not call it with a lock held.
    fn post_statistics_if_due(&self) {
        let interval = self.inference.settings().stats_interval;
        if self.figures().is_due(interval, Instant::now()) {
            self.post(gst::message::Element::builder(self.statistics()).src(&self.element()).build());
        }
    }
}

impl<W: Work> State<W> {
    /// Whether the EOS event itself left, as opposed to downstream needing no more.
    fn eos_was_sent(&self) -> bool {
        self.eos
            && !self
                .items
                .iter()
                .any(|item| matches!(item, Item::Event(event) if event.type_() == gst::EventType::Eos))
    }
}
