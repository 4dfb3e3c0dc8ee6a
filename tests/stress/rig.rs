//! One stream: an element between two pads of the test, which play the plan's two sides.

use std::{
    sync::{
        Arc, Condvar, Mutex, MutexGuard,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use gst::prelude::*;
use gstrtmpose::engine::{Clock, MonotonicClock};

use crate::{
    common::{self, Fake},
    log::{Arrived, Expected, Found, People, Pushed},
    plan::{ControlStep, Format, Pause, Plan, SourceStep, StreamPlan},
};

/// A fast clock: the 5 s that a hanging run gets pass in a quarter of a second.
#[derive(Default)]
pub struct FastClock(MonotonicClock);

/// A thread on a busy machine waits for less than that quarter of a second.
const SPEED: u32 = 20;

impl Clock for FastClock {
    fn now(&self) -> Duration {
        self.0.now() * SPEED
    }

    fn sleep_until(&self, deadline: Duration) -> Option<Duration> {
        Some(deadline.saturating_sub(self.now()) / SPEED)
    }

    fn on_jump(&self, _wake: Arc<dyn Fn() + Send + Sync>) {}
}

/// The number of frames whose memory exists.
pub static LIVE_FRAMES: AtomicUsize = AtomicUsize::new(0);

struct Pixels(Vec<u8>);

impl Pixels {
    fn new(bytes: Vec<u8>) -> Self {
        LIVE_FRAMES.fetch_add(1, Ordering::SeqCst);
        Self(bytes)
    }
}

impl AsMut<[u8]> for Pixels {
    fn as_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }
}

impl Drop for Pixels {
    fn drop(&mut self) {
        LIVE_FRAMES.fetch_sub(1, Ordering::SeqCst);
    }
}

/// What a frame that was not inferred must carry.
const BARE: Expected = Expected { people: People::Unknown, carried: false, bare: true };

/// The source's state. Its lock stands for the lock that a real source's streaming thread holds.
struct Source {
    next: u32,
    format: Format,
    segment: gst::Seqnum,
    rate: f64,
    /// Frames since the last one that was to be inferred; none: unknown.
    since_inference: Option<u32>,
}

/// How downstream behaves.
#[derive(Default)]
struct Downstream {
    blocked: bool,
    delay: Duration,
    answer: Option<Result<gst::FlowSuccess, gst::FlowError>>,
    /// Whether the answer holds until it is changed.
    lasts: bool,
}

struct Sink {
    downstream: Mutex<Downstream>,
    unblocked: Condvar,
    arrived: Mutex<Vec<Arrived>>,
    eos: Condvar,
    /// Place of the query that the source waits for.
    query: AtomicUsize,
    /// Bytes of each frame, by its number.
    formats: Mutex<std::collections::HashMap<u32, Format>>,
}

pub struct Rig {
    pub element: gst::Element,
    is_detector: bool,
    pub bus: gst::Bus,
    pub plan: StreamPlan,
    network_is_lost: bool,
    fake: Fake,
    source_pad: gst::Pad,
    sink_pad: gst::Pad,
    source: Mutex<Source>,
    pushed: Mutex<Vec<Pushed>>,
    sink: Arc<Sink>,
    pub journal: Arc<Mutex<Vec<String>>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

const FIRST_FORMAT: Format = Format { name: "RGB", size: (64, 48), rate: "30/1" };

fn info(format: Format) -> gst_video::VideoInfo {
    let (width, height) = format.size;
    let (numer, denom) = format.rate.split_once('/').unwrap();
    let name: gst_video::VideoFormat = format.name.parse().unwrap();
    gst_video::VideoInfo::builder(name, width, height)
        .fps(gst::Fraction::new(numer.parse().unwrap(), denom.parse().unwrap()))
        .build()
        .unwrap()
}

/// A picture whose colour is `number`.
fn pixels(number: u32, format: Format) -> Vec<u8> {
    let info = info(format);
    let mut bytes = vec![0; info.size()];
    let colour = number.to_le_bytes();
    for component in 0..info.n_components().min(3) as u8 {
        let component = usize::from(component);
        let stride = info.comp_stride(component as u8) as usize;
        let step = info.comp_pstride(component as u8) as usize;
        let offset = info.comp_offset(component as u8);
        for y in 0..format.size.1 as usize {
            for x in 0..format.size.0 as usize {
                bytes[offset + y * stride + x * step] = colour[component];
            }
        }
    }
    bytes
}

/// What the network sees in a frame of that number.
pub fn seen_number(number: u32, format: Format) -> u32 {
    if format.name == "GRAY8" { (number & 0xff) * 0x01_01_01 } else { number }
}

impl Rig {
    pub fn new(plan: &Plan, index: usize, fake: &Fake, journal: &Arc<Mutex<Vec<String>>>) -> Arc<Self> {
        let stream = plan.streams[index].clone();
        let clock = Arc::new(FastClock::default());
        let element: gst::Element = match plan.is_detector {
            true => common::detector_with_clock(fake, clock).upcast(),
            false => common::element_with_clock(fake, clock).upcast(),
        };
        element.set_property("batch-size", plan.batch_size);
        element.set_property("inference-streams", plan.executors);
        element.set_property("batch-timeout", stream.timeout);
        element.set_property("adaptive-timeout", stream.adaptive);
        element.set_property("input-queue-size", stream.input_queue);
        element.set_property("output-queue-size", stream.output_queue);
        element.set_property("max-lateness", stream.lateness);
        element.set_property("inference-interval", stream.interval);
        element.set_property_from_str("overload", stream.overload);
        if !plan.is_detector {
            element.set_property_from_str("inference-region", stream.region);
            element.set_property_from_str("smoothing", stream.smoothing);
        }
        element.set_property_from_str("on-error", if stream.passthrough { "passthrough" } else { "fail" });
        if plan.streams.len() > 1 {
            element.set_property("model-instance-id", format!("stress-{}", plan.seed));
        }
        let bus = common::bus(&element);
        let sink = Arc::new(Sink {
            downstream: Mutex::default(),
            unblocked: Condvar::new(),
            arrived: Mutex::default(),
            eos: Condvar::new(),
            query: AtomicUsize::new(0),
            formats: Mutex::default(),
        });
        let rig = Arc::new_cyclic(|weak: &std::sync::Weak<Self>| {
            let (weak_event, live) = (weak.clone(), stream.live);
            let source_pad = gst::Pad::builder(gst::PadDirection::Src)
                .name("source")
                .event_function(move |_, _, event| {
                    if let (gst::EventView::Seek(seek), Some(rig)) = (event.view(), weak_event.upgrade()) {
                        rig.seek(seek.get().0, seek.get().1.contains(gst::SeekFlags::FLUSH));
                    }
                    true
                })
                .query_function(move |_, _, query| match query.view_mut() {
                    gst::QueryViewMut::Latency(latency) => {
                        latency.set(live, gst::ClockTime::ZERO, gst::ClockTime::NONE);
                        true
                    }
                    _ => false,
                })
                .build();
            let (chain, event, query) = (sink.clone(), sink.clone(), sink.clone());
            let sink_pad = gst::Pad::builder(gst::PadDirection::Sink)
                .name("sink")
                .chain_function(move |_, _, buffer| chain.chain(buffer))
                .event_function(move |_, _, arriving| event.event(arriving))
                .query_function(move |_, _, asked| query.query(asked))
                .build();
            Self {
                element,
                is_detector: plan.is_detector,
                bus,
                plan: stream,
                network_is_lost: plan.network_is_lost(),
                fake: fake.clone(),
                source_pad,
                sink_pad,
                source: Mutex::new(Source {
                    next: 0,
                    format: FIRST_FORMAT,
                    segment: gst::Seqnum::next(),
                    rate: 1.0,
                    since_inference: Some(u32::MAX),
                }),
                pushed: Mutex::default(),
                sink,
                journal: journal.clone(),
            }
        });
        common::connect(&rig.element, &rig.source_pad, &rig.sink_pad);
        rig.element.set_state(gst::State::Playing).unwrap();
        rig.start(&mut lock(&rig.source));
        rig
    }

    fn note(&self, text: impl FnOnce() -> String) {
        lock(&self.journal).push(format!("{} {}", self.element.name(), text()));
    }

    pub fn logs(&self) -> (Vec<Pushed>, Vec<Arrived>) {
        (lock(&self.pushed).clone(), lock(&self.sink.arrived).clone())
    }

    // The source's side.

    pub fn play_source(&self) {
        for step in &self.plan.source {
            self.note(|| format!("source {step:?}"));
            self.source_step(step, &mut lock(&self.source));
            if self.sink_is_flushing() {
                // A real source waits here until the flush has ended. The next step should sometimes come
                // during that wait.
                std::thread::sleep(Duration::from_micros(100));
            }
        }
        self.note(|| "source is through".to_string());
    }

    fn sink_is_flushing(&self) -> bool {
        self.element.static_pad("sink").unwrap().pad_flags().contains(gst::PadFlags::FLUSHING)
    }

    fn source_step(&self, step: &SourceStep, source: &mut Source) {
        match step {
            SourceStep::Frame { people, no_pts } => {
                self.push_frame(source, *people, *no_pts, gst::BufferFlags::empty());
            }
            SourceStep::Dropped(frames) => source.next += frames,
            SourceStep::GapFrame => self.push_frame(source, 1, false, gst::BufferFlags::GAP),
            SourceStep::EmptyFrame => {
                let mut buffer = gst::Buffer::new();
                buffer.get_mut().unwrap().set_offset(u64::from(source.next));
                self.push_buffer(source, buffer, BARE);
            }
            SourceStep::GapEvent => {
                let start = gst::ClockTime::from_mseconds(33) * u64::from(source.next);
                self.push_event(gst::event::Gap::builder(start).seqnum(gst::Seqnum::next()).build());
            }
            SourceStep::Tag => {
                let mut tags = gst::TagList::new();
                let title = source.next.to_string();
                tags.get_mut().unwrap().add::<gst::tags::Title>(&title.as_str(), gst::TagMergeMode::Append);
                self.push_event(gst::event::Tag::builder(tags).seqnum(gst::Seqnum::next()).build());
            }
            SourceStep::Custom => {
                let structure = gst::Structure::new_empty("stress");
                let event = gst::event::CustomDownstream::builder(structure);
                self.push_event(event.seqnum(gst::Seqnum::next()).build());
            }
            SourceStep::OutOfBand => {
                let structure = gst::Structure::new_empty("stress-oob");
                self.source_pad.push_event(gst::event::CustomDownstreamOob::new(structure));
            }
            SourceStep::Segment(rate) => {
                source.rate = *rate;
                self.push_segment(source);
            }
            SourceStep::Caps(format) => {
                source.format = *format;
                self.push_caps(source);
            }
            SourceStep::Eos => {
                self.push_event(gst::event::Eos::builder().seqnum(gst::Seqnum::next()).build());
                self.start(source);
            }
            SourceStep::Drain => self.query(&mut gst::query::Drain::new()),
            SourceStep::Allocation => {
                let caps = info(source.format).to_caps().unwrap();
                self.query(&mut gst::query::Allocation::new(Some(&caps), true));
            }
        }
    }

    /// Starts a new stream.
    fn start(&self, source: &mut Source) {
        source.since_inference = Some(u32::MAX);
        self.push_event(gst::event::StreamStart::builder("stress").seqnum(gst::Seqnum::next()).build());
        self.push_caps(source);
        self.push_segment(source);
    }

    fn push_caps(&self, source: &Source) {
        let caps = info(source.format).to_caps().unwrap();
        let event = gst::event::Caps::builder(&caps).seqnum(gst::Seqnum::next()).build();
        self.push_event_of(event, Some(source.format));
    }

    fn push_segment(&self, source: &mut Source) {
        let mut segment = gst::FormattedSegment::<gst::ClockTime>::new();
        segment.set_rate(source.rate);
        segment.set_stop(gst::ClockTime::from_seconds(10_000));
        source.segment = gst::Seqnum::next();
        self.push_event(gst::event::Segment::builder(&segment).seqnum(source.segment).build());
    }

    fn push_event(&self, event: gst::Event) {
        self.push_event_of(event, None);
    }

    fn push_event_of(&self, event: gst::Event, format: Option<Format>) {
        let (kind, number, sticky) = (event.type_(), event.seqnum(), event.is_sticky());
        let place = {
            let mut pushed = lock(&self.pushed);
            pushed.push(Pushed::Event { kind, number, sticky, format, accepted: false });
            pushed.len() - 1
        };
        let taken = self.source_pad.push_event(event);
        if let Pushed::Event { accepted, .. } = &mut lock(&self.pushed)[place] {
            *accepted = taken;
        }
    }

    fn query(&self, query: &mut gst::QueryRef) {
        let place = {
            let mut pushed = lock(&self.pushed);
            pushed.push(Pushed::Query { answer: false });
            pushed.len() - 1
        };
        self.sink.query.store(place, Ordering::SeqCst);
        let answered = self.source_pad.peer_query(query);
        lock(&self.pushed)[place] = Pushed::Query { answer: answered };
    }

    fn frame(&self, source: &Source) -> gst::Buffer {
        let number = source.next;
        let mut buffer = gst::Buffer::from_mut_slice(Pixels::new(pixels(number, source.format)));
        let frame = buffer.get_mut().unwrap();
        frame.set_offset(u64::from(number));
        frame.set_pts(gst::ClockTime::from_mseconds(33) * u64::from(number));
        buffer
    }

    fn push_frame(&self, source: &mut Source, people: usize, no_pts: bool, flags: gst::BufferFlags) {
        let mut buffer = self.frame(source);
        let frame = buffer.get_mut().unwrap();
        frame.set_flags(flags);
        if no_pts {
            frame.set_pts(None);
        }
        for _ in (0..people).filter(|_| !self.is_detector) {
            gst_video::VideoRegionOfInterestMeta::add(frame, "person", (1, 1, 2, 2));
        }
        let interval = self.plan.interval;
        let carried = match source.since_inference {
            Some(since) if since < interval.saturating_sub(1) => {
                source.since_inference = Some(since + 1);
                true
            }
            Some(_) => {
                source.since_inference = Some(0);
                false
            }
            None => false,
        };
        let known = interval < 2 || source.since_inference.is_some();
        let people = match (known, self.plan.region) {
            (false, _) => People::Unknown,
            (true, "full-frame") => People::Exactly(1),
            (true, "track") => People::Any,
            (true, "auto") if people == 0 => People::Any,
            (true, "auto" | "roi-list") => People::Exactly(people),
            (true, region) => unreachable!("{region}"),
        };
        let expected = match self.is_detector {
            // Frames between two inferences carry nothing.
            true if carried => BARE,
            true if known => Expected { people: People::Exactly(1), carried: false, bare: false },
            true => Expected { people: People::Unknown, carried: false, bare: false },
            false => Expected { people, carried, bare: false },
        };
        self.push_buffer(source, buffer, expected);
    }

    fn push_buffer(&self, source: &mut Source, buffer: gst::Buffer, expected: Expected) {
        let number = source.next;
        source.next += 1;
        lock(&self.sink.formats).insert(number, source.format);
        let place = {
            let mut pushed = lock(&self.pushed);
            pushed.push(Pushed::Frame {
                number,
                expected,
                format: source.format,
                segment: source.segment,
                accepted: false,
            });
            pushed.len() - 1
        };
        let result = self.source_pad.push(buffer);
        if let Pushed::Frame { accepted, .. } = &mut lock(&self.pushed)[place] {
            *accepted = result.is_ok();
        }
        if let Err(error) = result {
            self.note(|| format!("frame {number} was refused: {error}"));
            // The frame may have been inferred, or not.
            source.since_inference = None;
        }
    }

    fn seek(&self, rate: f64, flush: bool) {
        if flush {
            self.source_pad.push_event(gst::event::FlushStart::new());
        }
        let mut source = lock(&self.source);
        source.rate = rate;
        if flush {
            self.stop_flush(&mut source);
        } else {
            self.push_segment(&mut source);
        }
    }

    fn stop_flush(&self, source: &mut Source) {
        lock(&self.pushed).push(Pushed::Flush);
        self.source_pad.push_event(gst::event::FlushStop::new(true));
        source.since_inference = Some(u32::MAX);
        self.push_segment(source);
    }

    // The other side.

    pub fn play_control(&self) {
        for (pause, step) in &self.plan.control {
            match pause {
                Pause::None => (),
                Pause::Yield => std::thread::yield_now(),
                Pause::Sleep(time) => std::thread::sleep(*time),
            }
            self.note(|| format!("control {step:?}"));
            self.control_step(step);
        }
        self.sink.unblock();
        self.fake.gate.open();
        self.note(|| "control is through".to_string());
    }

    fn control_step(&self, step: &ControlStep) {
        match step {
            ControlStep::Flush => self.flush(),
            ControlStep::Seek(rate) => self.send_seek(*rate, gst::SeekFlags::FLUSH),
            ControlStep::SegmentSeek(rate, flags) => {
                // The source's streaming thread must leave its push first, because nothing flushes.
                if self.network_is_lost {
                    return;
                }
                self.sink.unblock();
                self.fake.gate.open();
                self.send_seek(*rate, *flags);
            }
            ControlStep::Restart(state) => self.restart(*state),
            ControlStep::PauseAndPlay => {
                self.element.set_state(gst::State::Paused).unwrap();
                self.element.set_state(gst::State::Playing).unwrap();
            }
            ControlStep::Reconfigure => {
                self.sink_pad.push_event(gst::event::Reconfigure::new());
            }
            ControlStep::Latency => {
                self.sink_pad.peer_query(&mut gst::query::Latency::new());
            }
            ControlStep::Stats => {
                let stats: gst::Structure = self.element.property("stats");
                let (frames_in, frames_out): (u64, u64) =
                    (stats.get("frames-in").unwrap(), stats.get("frames-out").unwrap());
                assert!(frames_out <= frames_in, "{stats}");
            }
            ControlStep::Qos(late) => {
                let number = lock(&self.pushed).len() as u64;
                let time = gst::ClockTime::SECOND + gst::ClockTime::from_mseconds(33) * number;
                let event = gst::event::Qos::new(gst::QOSType::Underflow, 1.0, *late, Some(time));
                self.sink_pad.push_event(event);
            }
            ControlStep::Timeout(timeout) => self.element.set_property("batch-timeout", timeout),
            ControlStep::Adaptive(adaptive) => self.element.set_property("adaptive-timeout", adaptive),
            ControlStep::Property(name, _) if self.element.find_property(name).is_none() => (),
            ControlStep::ScoreMode(_) if self.is_detector => (),
            ControlStep::Property(name, value) => {
                self.element.set_property_from_str(name, &value.to_string());
            }
            ControlStep::ScoreMode(mode) => self.element.set_property_from_str("score-mode", mode),
            ControlStep::Answer(answer, lasts) => {
                let mut downstream = lock(&self.sink.downstream);
                downstream.answer = Some(*answer);
                downstream.lasts = *lasts;
            }
            ControlStep::BlockSink => lock(&self.sink.downstream).blocked = true,
            ControlStep::UnblockSink => self.sink.unblock(),
            ControlStep::SlowSink(micros) => {
                lock(&self.sink.downstream).delay = Duration::from_micros(*micros);
            }
            ControlStep::CloseGate => self.fake.gate.close(),
            ControlStep::OpenGate => self.fake.gate.open(),
            ControlStep::Network(behaviour) => *lock(&self.fake.behaviour) = behaviour.clone(),
        }
    }

    fn send_seek(&self, rate: f64, flags: gst::SeekFlags) {
        let none = gst::ClockTime::NONE;
        let event = gst::event::Seek::new(
            rate,
            flags,
            gst::SeekType::Set,
            gst::ClockTime::ZERO,
            gst::SeekType::None,
            none,
        );
        // Upstream pads that are flushing refuse events: then there was no seek.
        self.sink_pad.push_event(event);
    }

    pub fn flush(&self) {
        self.source_pad.push_event(gst::event::FlushStart::new());
        let mut source = lock(&self.source);
        self.stop_flush(&mut source);
    }

    /// Stops the element at any moment, and starts it again with a new stream.
    pub fn restart(&self, state: gst::State) {
        self.stop(state);
        self.start_again();
    }

    pub fn stop(&self, state: gst::State) {
        // A real sink would stop with the element; GStreamer does not know the gate in the fake network.
        self.sink.unblock();
        self.fake.gate.open();
        self.element.set_state(state).unwrap();
    }

    pub fn start_again(&self) {
        let mut source = lock(&self.source);
        lock(&self.pushed).push(Pushed::Restart);
        lock(&self.sink.arrived).push(Arrived::Restart);
        self.element.set_state(gst::State::Playing).unwrap();
        self.start(&mut source);
    }

    // The end.

    /// Makes downstream accept everything from now on.
    pub fn calm_down(&self) {
        let mut downstream = lock(&self.sink.downstream);
        *downstream = Downstream::default();
        drop(downstream);
        self.sink.unblocked.notify_all();
    }

    /// Pushes some frames and EOS, and waits for the EOS.
    pub fn finish(&self) {
        let mut source = lock(&self.source);
        for _ in 0..3 {
            self.push_frame(&mut source, 0, false, gst::BufferFlags::empty());
        }
        let eos = gst::event::Eos::builder().seqnum(gst::Seqnum::next()).build();
        let wanted = eos.seqnum();
        self.note(|| "waiting for the last EOS".to_string());
        self.push_event(eos);
        let mut arrived = lock(&self.sink.arrived);
        let is_there = |arrived: &Vec<Arrived>| matches!(arrived.last(), Some(Arrived::Event { kind: gst::EventType::Eos, number }) if *number == wanted);
        // The watchdog ends a wait that lasts too long.
        while !is_there(&arrived) {
            arrived = self.sink.eos.wait(arrived).unwrap();
        }
    }

    /// Stops, and releases everything.
    pub fn dismantle(&self) {
        self.stop(gst::State::Null);
        self.source_pad.set_active(false).unwrap();
        self.sink_pad.set_active(false).unwrap();
    }
}

impl Sink {
    fn unblock(&self) {
        lock(&self.downstream).blocked = false;
        self.unblocked.notify_all();
    }

    fn chain(&self, buffer: gst::Buffer) -> Result<gst::FlowSuccess, gst::FlowError> {
        let number = buffer.offset() as u32;
        let format = lock(&self.formats)[&number];
        let found = common::detected(&buffer);
        let found = found.map(|numbers| Found { size: format.size, numbers, carried: false });
        let people = common::people(&buffer).map(|people| Found {
            size: (people.width, people.height),
            // A person tracked to the frame's edge looks darker than the frame.
            numbers: people
                .people
                .iter()
                .map(|person| person.key_points[0])
                .filter(|point| {
                    let inside = |at: f32, size: u32| (0.0..=size as f32 - 1.0).contains(&at);
                    inside(point.x, people.width) && inside(point.y, people.height)
                })
                .map(|point| point.score as u32)
                .collect(),
            carried: people.carried,
        });
        let people = people.or(found);
        let unchanged =
            buffer.size() == 0 || buffer.map_readable().unwrap().as_slice() == pixels(number, format);
        let mut downstream = lock(&self.downstream);
        while downstream.blocked {
            downstream = self.unblocked.wait(downstream).unwrap();
        }
        let answer = downstream.answer.unwrap_or(Ok(gst::FlowSuccess::Ok));
        if !downstream.lasts {
            downstream.answer = None;
        }
        let delay = downstream.delay;
        drop(downstream);
        lock(&self.arrived).push(Arrived::Frame { number, size: buffer.size(), people, unchanged, answer });
        drop(buffer);
        if !delay.is_zero() {
            let until = Instant::now() + delay;
            while Instant::now() < until {
                std::thread::sleep(Duration::from_micros(50).min(delay));
            }
        }
        answer
    }

    fn event(&self, event: gst::Event) -> bool {
        match event.type_() {
            // A real sink's chain function returns on a flush.
            gst::EventType::FlushStart => self.unblock(),
            gst::EventType::FlushStop => lock(&self.arrived).push(Arrived::Flush),
            kind if event.is_serialized() => {
                lock(&self.arrived).push(Arrived::Event { kind, number: event.seqnum() });
                self.eos.notify_all();
            }
            _ => (),
        }
        true
    }

    fn query(&self, query: &mut gst::QueryRef) -> bool {
        if query.is_serialized() {
            let place = self.query.load(Ordering::SeqCst);
            lock(&self.arrived).push(Arrived::Query(place));
        }
        matches!(query.type_(), gst::QueryType::Drain)
    }
}
