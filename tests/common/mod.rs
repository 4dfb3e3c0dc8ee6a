//! A network that returns a frame's number, and a pipeline of one element around it.

#![allow(dead_code)]

pub mod card;
#[path = "../support/patience.rs"]
pub mod patience;

use std::{
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::ThreadId,
    time::Duration,
};

use gst::prelude::*;
use gstrtmpose::{
    detect::{self, RtmPoseDetect},
    engine::{
        Backend, BackendOf, Clock, Device, Error, ErrorKind, Executor, Loading, ManualClock, MonotonicClock,
        Overlapping, Shape, Slot,
    },
    meta::{self, FramePeople},
    network::{BoxForm, Boxes, Kind, Network},
    posebatch::{RtmPoseBatch, testing},
};

/// Side of the fake network's crops, and of the frames.
pub const SIDE: u32 = 4;

pub fn init() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        gst::init().unwrap();
        gstrtmpose::plugin_register_static().unwrap();
    });
}

/// What a run of the fake network does.
#[derive(Clone, Debug, Default)]
pub enum Behaviour {
    #[default]
    Answer,
    /// Answers after up to so many microseconds, at random.
    Delay(u64),
    Fail,
    /// Fails one run, then answers.
    FailOnce,
    OutOfMemory,
    Panic,
    /// Ends only when the executor is told to end.
    Hang,
    /// Ends only when the test releases it.
    HangForEver,
}

/// The runs that hang now.
#[derive(Default)]
pub struct Hanging {
    state: Mutex<HangingState>,
    changed: Condvar,
}

#[derive(Default)]
struct HangingState {
    hanging: usize,
    released: bool,
}

impl Hanging {
    /// Waits until a run hangs.
    pub fn wait_for_a_run(&self) {
        let mut state = self.state.lock().unwrap();
        while state.hanging == 0 {
            state = self.changed.wait(state).unwrap();
        }
    }

    pub fn count(&self) -> usize {
        self.state.lock().unwrap().hanging
    }

    /// Releases all runs that hang, now and later.
    pub fn release(&self) {
        self.state.lock().unwrap().released = true;
        self.changed.notify_all();
    }

    fn hang(&self, ends: impl Fn() -> bool) {
        let mut state = self.state.lock().unwrap();
        state.hanging += 1;
        self.changed.notify_all();
        while !state.released && !ends() {
            state = self.changed.wait(state).unwrap();
        }
        state.hanging -= 1;
    }
}

/// Blocks runs until it is opened.
#[derive(Default)]
pub struct Gate {
    state: Mutex<GateState>,
    changed: Condvar,
}

#[derive(Default)]
struct GateState {
    closed: bool,
    waiting: usize,
}

impl Gate {
    pub fn close(&self) {
        self.state.lock().unwrap().closed = true;
    }

    pub fn open(&self) {
        self.state.lock().unwrap().closed = false;
        self.changed.notify_all();
    }

    /// Waits until a run is blocked.
    pub fn wait_for_a_run(&self) {
        let mut state = self.state.lock().unwrap();
        while state.waiting == 0 {
            state = self.changed.wait(state).unwrap();
        }
    }

    pub fn pass(&self) {
        let mut state = self.state.lock().unwrap();
        state.waiting += 1;
        self.changed.notify_all();
        while state.closed {
            state = self.changed.wait(state).unwrap();
        }
        state.waiting -= 1;
    }
}

/// A network with one key point, whose score is the number that `frame` wrote into the frame's colour.
#[derive(Clone, Default)]
pub struct Fake {
    pub behaviour: Arc<Mutex<Behaviour>>,
    pub gate: Arc<Gate>,
    /// Number of rows of each run.
    pub runs: Arc<Mutex<Vec<usize>>>,
    /// The error of the next load.
    pub load_error: Arc<Mutex<Option<Error>>>,
    /// Loading waits for this gate.
    pub load_gate: Arc<Gate>,
    /// Number of executors that exist.
    pub executors: Arc<AtomicUsize>,
    pub hanging: Arc<Hanging>,
    /// The fallback when this network is lost.
    pub spare: Option<Arc<Fake>>,
    /// Devices that run the network, by their numbers.
    pub cards: Vec<Fake>,
    /// The frames of successful runs.
    pub seen: Arc<Mutex<Vec<u32>>>,
    /// Whether the next batch can be loaded while one runs.
    pub overlaps: bool,
    /// SHA-256 of the network's file.
    pub sha256: String,
    /// Crops of these frames cannot be loaded.
    pub refuses: Arc<Mutex<Vec<u32>>>,
    /// Threads of abandoned executors.
    pub forsaken: Arc<Mutex<Vec<ThreadId>>>,
    /// Whether it is a detector: it finds one box, the whole frame, with the number and 1 as score.
    pub is_detector: bool,
}

/// A slot for a crop, which can lie on one of the fake's GPUs.
pub struct CardSlot {
    bytes: Box<[u8]>,
    pub card: Option<u32>,
}

impl Slot for CardSlot {
    fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }

    fn device(&self) -> Option<u32> {
        self.card
    }

    fn clear(&mut self) {
        self.card = None;
    }
}

struct FakeExecutor {
    fake: Fake,
    rows: Vec<f32>,
    refused: Vec<(usize, Error)>,
    /// Answers of the run in progress.
    begun: Option<Vec<f32>>,
    seed: u64,
    terminated: Arc<AtomicBool>,
}

impl Backend for Fake {
    type Network = Network;

    fn open(&self, loading: &Loading) -> Result<(Network, Box<dyn Executor>), Error> {
        self.load_gate.pass();
        loading.cancelled.check()?;
        if let Some(error) = self.load_error.lock().unwrap().take() {
            return Err(error);
        }
        let provider = if self.spare.is_some() { "device" } else { "fake" };
        let points = Network::simcc(SIDE, SIDE, 1, provider);
        let boxes = Kind::Boxes(Boxes { form: BoxForm::Queries { classes: 1 }, most: 1 });
        let kind = if self.is_detector { boxes } else { points.kind };
        let network = Network { sha256: Some(self.sha256.clone()), kind, ..points };
        self.executors.fetch_add(1, Ordering::SeqCst);
        let executor = Box::new(FakeExecutor {
            fake: self.clone(),
            rows: Vec::new(),
            refused: Vec::new(),
            begun: None,
            seed: 1,
            terminated: Arc::default(),
        });
        Ok((network, executor))
    }

    fn devices(&self) -> Result<Vec<Device<Network>>, Error> {
        let device = |(number, card): (usize, &Fake)| {
            let (name, backend) = (format!("card {number}"), Arc::new(card.clone()));
            Device { number: number as u32, name, backend }
        };
        Ok(self.cards.iter().enumerate().map(device).collect())
    }

    fn slot(&self, shape: &Shape) -> Box<dyn Slot> {
        Box::new(CardSlot { bytes: vec![0; shape.crop_bytes()].into(), card: None })
    }

    fn left_behind(&self, thread: ThreadId) {
        self.forsaken.lock().unwrap().push(thread);
    }

    fn fallback(&self, _: &Network, _: usize) -> Option<Arc<BackendOf<Network>>> {
        self.spare.clone().map(|spare| spare as Arc<BackendOf<Network>>)
    }
}

impl Executor for FakeExecutor {
    fn load(&mut self, row: usize, crop: &dyn Slot) {
        let crop = crop.bytes();
        // The frame's colour. Pixels outside the frame, or on its edge, are darker.
        let [r, g, b] = [0, 1, 2].map(|channel| crop.iter().skip(channel).step_by(3).max().copied().unwrap());
        self.rows.truncate(row);
        self.rows.push(f32::from(r) + 256.0 * (f32::from(g) + 256.0 * f32::from(b)));
        if self.fake.refuses.lock().unwrap().contains(&(self.rows[row] as u32)) {
            self.refused.push((row, Error::new(ErrorKind::Run, "the crop cannot be loaded")));
        }
    }

    fn refused(&mut self) -> Vec<(usize, Error)> {
        std::mem::take(&mut self.refused)
    }

    fn run(&mut self, rows: usize, answers: &mut [f32]) -> Result<usize, Error> {
        self.fake.gate.pass();
        self.fake.runs.lock().unwrap().push(rows);
        let behaviour = self.fake.behaviour.lock().unwrap().clone();
        match behaviour {
            Behaviour::Answer => (),
            Behaviour::Delay(most) => {
                // A linear congruential generator is random enough for delays.
                self.seed = self.seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                std::thread::sleep(Duration::from_micros((self.seed >> 33) % most));
            }
            Behaviour::Fail => return Err(Error::new(ErrorKind::Run, "the fake network fails")),
            Behaviour::FailOnce => {
                *self.fake.behaviour.lock().unwrap() = Behaviour::Answer;
                return Err(Error::new(ErrorKind::Run, "the fake network fails"));
            }
            Behaviour::OutOfMemory => {
                return Err(Error::new(ErrorKind::OutOfMemory, "the fake network has no room"));
            }
            Behaviour::Panic => panic!("the fake network panics"),
            Behaviour::Hang => {
                let terminated = self.terminated.clone();
                self.fake.hanging.hang(|| terminated.load(Ordering::SeqCst));
                return Err(Error::new(ErrorKind::Run, "the fake network was interrupted"));
            }
            Behaviour::HangForEver => {
                self.fake.hanging.hang(|| false);
                return Err(Error::new(ErrorKind::Run, "the fake network was let go"));
            }
        }
        self.fake.seen.lock().unwrap().extend(self.rows[..rows].iter().map(|number| *number as u32));
        if self.fake.is_detector {
            for (answer, number) in answers.chunks_exact_mut(5).zip(&self.rows[..rows]) {
                let side = SIDE as f32;
                answer.copy_from_slice(&[0.0, 0.0, side, side, number + 1.0]);
            }
            return Ok(rows);
        }
        for (answer, number) in answers.chunks_exact_mut(4).zip(&self.rows[..rows]) {
            answer.copy_from_slice(&[2.0, 2.0, *number, *number]);
        }
        Ok(rows)
    }

    fn warm_up_sizes(&self) -> Vec<usize> {
        Vec::new()
    }

    fn overlapping(&mut self) -> Option<&mut dyn Overlapping> {
        if self.fake.overlaps { Some(self) } else { None }
    }

    fn terminator(&self) -> Arc<dyn Fn() + Send + Sync> {
        let (terminated, hanging) = (self.terminated.clone(), self.fake.hanging.clone());
        Arc::new(move || {
            let _state = hanging.state.lock().unwrap();
            terminated.store(true, Ordering::SeqCst);
            hanging.changed.notify_all();
        })
    }
}

impl Overlapping for FakeExecutor {
    fn begin(&mut self, rows: usize) -> Result<(), Error> {
        assert_eq!(self.rows.len(), rows, "rows of another batch are loaded");
        self.begun = Some(std::mem::take(&mut self.rows));
        Ok(())
    }

    fn finish(&mut self, answers: &mut [f32]) -> Result<usize, Error> {
        let begun = self.begun.take().expect("a run was begun");
        let next = std::mem::replace(&mut self.rows, begun);
        let result = self.run(self.rows.len(), answers);
        self.rows = next;
        result
    }
}

impl Drop for FakeExecutor {
    fn drop(&mut self) {
        self.fake.executors.fetch_sub(1, Ordering::SeqCst);
    }
}

/// An element over a fake network.
pub fn element(fake: &Fake) -> RtmPoseBatch {
    element_with_clock(fake, Arc::new(MonotonicClock::default()))
}

/// An element over a fake network, with a clock that stands still until the test moves it.
pub fn element_by_hand(fake: &Fake) -> (RtmPoseBatch, Arc<ManualClock>) {
    let clock = Arc::new(ManualClock::default());
    (element_with_clock(fake, clock.clone()), clock)
}

pub fn element_with_clock(fake: &Fake, clock: Arc<dyn Clock>) -> RtmPoseBatch {
    init();
    let element = gst::ElementFactory::make("rtmposebatch")
        .property_from_str("inference-region", "full-frame")
        .build()
        .unwrap();
    let element = element.downcast::<RtmPoseBatch>().unwrap();
    testing::inject(&element, Arc::new(fake.clone()), clock);
    element
}

/// An `rtmposedetect` over a fake network.
pub fn detector_with_clock(fake: &Fake, clock: Arc<dyn Clock>) -> RtmPoseDetect {
    init();
    let element = gst::ElementFactory::make("rtmposedetect").build().unwrap();
    let element = element.downcast::<RtmPoseDetect>().unwrap();
    detect::testing::inject(&element, Arc::new(fake.clone()), clock);
    element
}

/// The numbers that a detector found in a frame; none if the frame was not inferred.
pub fn detected(buffer: &gst::BufferRef) -> Option<Vec<u32>> {
    let metas = buffer.iter_meta::<gst_video::VideoRegionOfInterestMeta>();
    let confidence = |meta: gst::MetaRef<'_, gst_video::VideoRegionOfInterestMeta>| {
        meta.param("detection")?.get::<f64>("confidence").ok()
    };
    let numbers = metas.filter_map(confidence).map(|confidence| confidence as u32 - 1).collect();
    meta::was_looked_at(buffer).then_some(numbers)
}

pub const CAPS: &str = "video/x-raw,format=RGB,width=4,height=4,framerate=30/1";

/// A harness around the element, in PLAYING, with caps; upstream is not live.
pub fn harness(element: &RtmPoseBatch) -> gst_check::Harness {
    let mut harness = gst_check::Harness::with_element(element, Some("sink"), Some("src"));
    harness.set_live(false);
    harness.set_src_caps_str(CAPS);
    harness.play();
    harness
}

/// Puts the element between two pads of a test, and activates the pads.
pub fn connect(element: &impl IsA<gst::Element>, source: &gst::Pad, sink: &gst::Pad) {
    source.link(&element.static_pad("sink").unwrap()).unwrap();
    element.static_pad("src").unwrap().link(sink).unwrap();
    sink.set_active(true).unwrap();
    source.set_active(true).unwrap();
}

/// A 4x4 RGB frame whose colour is `number`.
pub fn frame(number: u32) -> gst::Buffer {
    let [r, g, b, _] = number.to_le_bytes();
    let stride = 4 * 3;
    let mut pixels = vec![0; stride * 4];
    pixels.chunks_exact_mut(3).for_each(|pixel| pixel.copy_from_slice(&[r, g, b]));
    let mut buffer = gst::Buffer::from_mut_slice(pixels);
    {
        let buffer = buffer.get_mut().unwrap();
        buffer.set_pts(gst::ClockTime::from_mseconds(33) * u64::from(number));
        buffer.set_offset(u64::from(number));
    }
    buffer
}

/// The people of a buffer, which must carry one meta.
pub fn people(buffer: &gst::BufferRef) -> Option<FramePeople> {
    let mut metas = meta::read(buffer).map(Result::unwrap);
    let people = metas.next();
    assert!(metas.next().is_none(), "one meta a frame");
    people
}

/// The number that the network saw in this frame, from the frame's meta.
pub fn seen_number(buffer: &gst::BufferRef) -> Option<u32> {
    let people = people(buffer)?;
    assert_eq!(people.people.len(), 1);
    Some(people.people[0].key_points[0].score as u32)
}

/// Checks that the buffer is frame `number`, and that its metadata is from this frame.
pub fn check(buffer: &gst::BufferRef, number: u32) {
    assert_eq!(buffer.offset(), u64::from(number));
    assert_eq!(seen_number(buffer), Some(number));
}

/// Texts of the errors and of the warnings posted so far.
pub fn errors_and_warnings(bus: &gst::Bus) -> (Vec<String>, Vec<String>) {
    let (mut errors, mut warnings) = (Vec::new(), Vec::new());
    while let Some(message) = bus.pop() {
        match message.view() {
            gst::MessageView::Error(error) => errors.push(error.error().message().to_string()),
            gst::MessageView::Warning(warning) => warnings.push(warning.error().message().to_string()),
            _ => (),
        }
    }
    (errors, warnings)
}

/// Gives the element its own bus.
pub fn bus(element: &impl IsA<gst::Element>) -> gst::Bus {
    let bus = gst::Bus::new();
    element.set_bus(Some(&bus));
    bus
}
