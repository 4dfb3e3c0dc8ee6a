//! What a sequence does, all of it from one seed.

use std::time::Duration;

use crate::{common::Behaviour, random::Random};

/// Sizes large and square enough that each crop of a tracked box has a pixel completely inside.
const SIZES: [(u32, u32); 4] = [(64, 48), (80, 60), (45, 63), (72, 40)];
/// Formats in which the test can write and read every pixel value exactly. The last one has only 8 bits for a
/// number.
const FORMATS: [&str; 6] = ["RGB", "BGR", "RGBx", "BGRx", "xRGB", "GRAY8"];
const RATES: [&str; 4] = ["30/1", "0/1", "25/1", "60000/1001"];

/// Properties that can change at any moment without a change of what is checked: no frame has 64 people.
const PROPERTIES: [(&str, u64); 6] = [
    ("max-people", 64),
    ("track-lifetime", 1_000_000),
    ("track-lifetime", 1_000_000_000),
    ("search-crops", 1),
    ("stats-interval", 1_000_000),
    ("stats-interval", 0),
];

/// The largest number of streams in a sequence.
pub const MOST_STREAMS: usize = 3;

/// The set-up of a sequence's streams and network, and what happens to them.
#[derive(Clone, Debug)]
pub struct Plan {
    pub seed: u64,
    pub batch_size: u32,
    pub executors: u32,
    /// Whether another network replaces one that fails twice in a row.
    pub spare: bool,
    /// Whether the network takes the next batch while one runs.
    pub overlaps: bool,
    /// Whether the element is `rtmposedetect`.
    pub is_detector: bool,
    /// Streams that share one network; a single one has its own.
    pub streams: Vec<StreamPlan>,
}

#[derive(Clone, Debug)]
pub struct StreamPlan {
    /// In nanoseconds of the test's clock.
    pub timeout: u64,
    pub adaptive: bool,
    pub input_queue: u32,
    pub output_queue: u32,
    pub passthrough: bool,
    pub live: bool,
    pub overload: &'static str,
    pub lateness: i64,
    pub interval: u32,
    pub region: &'static str,
    pub smoothing: &'static str,
    pub source: Vec<SourceStep>,
    pub control: Vec<(Pause, ControlStep)>,
}

/// A video format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Format {
    pub name: &'static str,
    pub size: (u32, u32),
    pub rate: &'static str,
}

/// Steps in the source's streaming thread, one after another.
#[derive(Clone, Debug)]
pub enum SourceStep {
    /// A frame with this number of regions of people.
    Frame {
        people: usize,
        no_pts: bool,
    },
    /// This number of frames that upstream dropped: their numbers never come.
    Dropped(u32),
    /// A frame flagged GAP, with pixels and a region.
    GapFrame,
    EmptyFrame,
    GapEvent,
    Tag,
    /// A serialized event that is not sticky.
    Custom,
    OutOfBand,
    Segment(f64),
    Caps(Format),
    /// EOS and a new stream.
    Eos,
    Drain,
    Allocation,
}

/// Steps at any moment, from another thread.
#[derive(Clone, Debug)]
pub enum ControlStep {
    Flush,
    /// A flushing seek from downstream, with this rate.
    Seek(f64),
    /// A seek that flushes nothing; perhaps a segment seek.
    SegmentSeek(f64, gst::SeekFlags),
    Restart(gst::State),
    PauseAndPlay,
    Reconfigure,
    Latency,
    Stats,
    Qos(i64),
    Timeout(u64),
    Adaptive(bool),
    ScoreMode(&'static str),
    /// A change of a property that changes nothing of what is checked.
    Property(&'static str, u64),
    /// Downstream's answer to the next frame, or to all until it is changed.
    Answer(Result<gst::FlowSuccess, gst::FlowError>, bool),
    BlockSink,
    UnblockSink,
    SlowSink(u64),
    CloseGate,
    OpenGate,
    Network(Behaviour),
}

#[derive(Clone, Copy, Debug)]
pub enum Pause {
    None,
    Yield,
    Sleep(Duration),
}

impl Plan {
    pub fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let streams = random.weighted(&[(70, 1), (20, 2), (10, MOST_STREAMS)]);
        // Sequences without faults have a stricter rule: nothing may be missing.
        let faults = random.weighted(&[
            (55, Faults { downstream: false, network: false }),
            (20, Faults { downstream: true, network: false }),
            (15, Faults { downstream: false, network: true }),
            (10, Faults { downstream: true, network: true }),
        ]);
        Self {
            seed,
            batch_size: random.one_of(&[1, 2, 3, 8, 8]),
            executors: random.one_of(&[1, 1, 2]),
            spare: faults.network && random.chance(40),
            overlaps: seed % 2 == 1,
            is_detector: seed % 5 == 4,
            streams: (0..streams).map(|_| StreamPlan::new(&mut random, faults)).collect(),
        }
    }

    fn any_network(&self, wanted: impl Fn(&Behaviour) -> bool) -> bool {
        let mut steps = self.streams.iter().flat_map(|stream| &stream.control);
        steps.any(|(_, step)| matches!(step, ControlStep::Network(behaviour) if wanted(behaviour)))
    }

    /// Whether a run can fail.
    pub fn network_fails(&self) -> bool {
        self.network_is_lost()
            || !self.spare
                && self.any_network(|behaviour| matches!(behaviour, Behaviour::Fail | Behaviour::FailOnce))
    }

    /// Whether the network can be gone at the end, so that only a restart brings a new one.
    pub fn network_is_lost(&self) -> bool {
        self.any_network(|behaviour| {
            matches!(behaviour, Behaviour::Panic | Behaviour::Hang | Behaviour::HangForEver)
        })
    }
}

#[derive(Clone, Copy)]
struct Faults {
    downstream: bool,
    network: bool,
}

impl StreamPlan {
    fn new(random: &mut Random, faults: Faults) -> Self {
        let skips = random.chance(20);
        let source_steps = 10 + random.below(50);
        let control_steps = random.below(14);
        let region = random.one_of(&["auto", "auto", "track", "roi-list", "full-frame"]);
        Self {
            timeout: random.one_of(&[0, 1_000_000, 15_000_000, 15_000_000, 500_000_000]),
            adaptive: random.chance(50),
            input_queue: random.one_of(&[1, 2, 20, 20]),
            output_queue: random.one_of(&[1, 3, 8, 8]),
            passthrough: random.chance(50),
            live: skips && random.chance(50),
            overload: if skips { random.one_of(&["auto", "skip-inference"]) } else { "block" },
            lateness: if skips { random.one_of(&[-1, 0, 20_000_000]) } else { -1 },
            interval: if skips { 0 } else { random.one_of(&[0, 0, 0, 3]) },
            region,
            // No smoothing for tracked people: the test must know where they were seen.
            smoothing: if matches!(region, "roi-list" | "full-frame") { "one-euro" } else { "none" },
            source: (0..source_steps).map(|_| source_step(random)).collect(),
            control: (0..control_steps).map(|_| (pause(random), control_step(random, faults))).collect(),
        }
    }

    /// Whether a frame can pass without inference although the network answers.
    pub fn skips(&self) -> bool {
        self.overload != "block" || self.lateness >= 0
    }
}

fn pause(random: &mut Random) -> Pause {
    match random.below(3) {
        0 => Pause::None,
        1 => Pause::Yield,
        _ => Pause::Sleep(Duration::from_micros(random.below(1500))),
    }
}

fn rate(random: &mut Random) -> f64 {
    random.one_of(&[1.0, 1.0, 2.0, 0.5, -1.0])
}

fn source_step(random: &mut Random) -> SourceStep {
    use SourceStep::*;
    let people = if random.chance(25) { 1 + random.below(3) as usize } else { 0 };
    let no_pts = random.chance(5);
    let format =
        Format { name: random.one_of(&FORMATS), size: random.one_of(&SIZES), rate: random.one_of(&RATES) };
    let choices = [
        (120, Frame { people, no_pts }),
        (4, Dropped(1 + random.below(3) as u32)),
        (4, GapFrame),
        (2, EmptyFrame),
        (4, GapEvent),
        (5, Tag),
        (5, Custom),
        (3, OutOfBand),
        (4, Segment(rate(random))),
        (6, Caps(format)),
        (3, Eos),
        (3, Drain),
        (2, Allocation),
    ];
    random.weighted(&choices)
}

fn control_step(random: &mut Random, faults: Faults) -> ControlStep {
    use ControlStep::*;
    let seek = rate(random);
    if faults.downstream && random.chance(25) {
        let refusals = [
            gst::FlowError::Eos,
            gst::FlowError::Eos,
            gst::FlowError::Error,
            gst::FlowError::NotLinked,
            gst::FlowError::NotLinked,
            gst::FlowError::Flushing,
            gst::FlowError::NotNegotiated,
        ];
        let choices = [
            (3, Answer(Err(random.one_of(&refusals)), false)),
            (1, Answer(Err(random.one_of(&refusals)), true)),
            (1, Answer(Ok(gst::FlowSuccess::Ok), true)),
            (2, Reconfigure),
        ];
        return random.weighted(&choices);
    }
    if faults.network && random.chance(25) {
        return Network(random.weighted(&[
            (4, Behaviour::FailOnce),
            (2, Behaviour::Fail),
            (3, Behaviour::Answer),
            (1, Behaviour::Panic),
            (1, Behaviour::Hang),
            (1, Behaviour::HangForEver),
        ]));
    }
    let choices = [
        (8, Flush),
        (4, Seek(seek)),
        (3, SegmentSeek(seek, random.one_of(&[gst::SeekFlags::empty(), gst::SeekFlags::SEGMENT]))),
        (3, Restart(gst::State::Ready)),
        (2, Restart(gst::State::Null)),
        (4, PauseAndPlay),
        (2, Reconfigure),
        (3, Latency),
        (3, Stats),
        (3, Qos(random.below(200_000_000) as i64 - 100_000_000)),
        (3, Timeout(random.one_of(&[0, 1_000_000, 15_000_000, 100_000_000]))),
        (2, Adaptive(random.chance(50))),
        (1, ScoreMode(random.one_of(&["min", "mean"]))),
        (3, random.one_of(&PROPERTIES.map(|(name, value)| Property(name, value)))),
        (3, BlockSink),
        (3, UnblockSink),
        (3, SlowSink(random.below(300))),
        (3, CloseGate),
        (3, OpenGate),
        (4, Network(Behaviour::Delay(1 + random.below(400)))),
        (2, Network(Behaviour::Answer)),
    ];
    random.weighted(&choices)
}
