//! Ten minutes of arrivals in simulated time: how the batcher and the pool of crop buffers serve cameras and files.
//!
//! `cargo test --lib simulation -- --nocapture` prints the table in `docs/cameras.md`.

use std::{collections::VecDeque, fmt, time::Duration};

use super::{
    Slot,
    batcher::{Batcher, Decision, StreamId, TimeoutPolicy},
    pool::Pool,
};

const MS: Duration = Duration::from_millis(1);
const LENGTH: Duration = Duration::from_secs(600);
const TIMEOUT: Duration = Duration::from_millis(15);
const BATCH_SIZE: usize = 8;
/// The element's input-queue-size: frames of a stream that may wait for a batch.
const QUEUE: usize = 20;

fn run_time(crops: usize) -> Duration {
    2 * MS + MS / 5 * crops as u32
}

/// When the frames of a stream arrive, each with one crop.
#[derive(Clone, Copy, Debug)]
enum Source {
    /// This many frames a second, each up to 3 ms early or late.
    Camera(u32),
    /// The same rate, but this many frames arrive at once, as from a network that delays packets.
    Bursts(u32, u32),
    /// The next frame is always there.
    File,
}

/// A linear congruential generator: the same arrivals in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: Duration) -> Duration {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        limit.mul_f64((self.0 >> 11) as f64 / (1u64 << 53) as f64)
    }
}

/// One element: its source and its chain function, which processes one frame after the other.
struct Stream {
    id: StreamId,
    source: Source,
    phase: Duration,
    frames: u32,
    next: Duration,
    /// Arrivals of frames that the chain function has not taken yet.
    backlog: VecDeque<Duration>,
    /// The chain function has a frame whose crop has no buffer yet.
    in_frame: bool,
    pending: usize,
    last_cut: Duration,
    /// From each frame's arrival until its batch was cut, and until the end of its run.
    waits: Vec<Duration>,
    longest_answer: Duration,
}

impl Stream {
    /// The frame after those that came so far.
    fn plan(&mut self, random: &mut Random) {
        self.next = match self.source {
            Source::Camera(rate) => {
                self.phase + Duration::from_secs(1) * self.frames / rate + random.below(6 * MS)
            }
            Source::Bursts(rate, length) => {
                self.phase + Duration::from_secs(1) * (self.frames / length + 1) * length / rate
            }
            Source::File => Duration::MAX,
        };
    }
}

struct Crop {
    stream: usize,
    arrived: Duration,
    buffer: Box<dyn Slot>,
}

struct Simulation {
    now: Duration,
    random: Random,
    batcher: Batcher<Crop>,
    pool: Pool,
    streams: Vec<Stream>,
    /// When each executor ends its run.
    executors: Vec<Duration>,
    batches: usize,
}

impl Simulation {
    fn new(sources: &[Source], adaptive: bool, executors: usize) -> Self {
        let mut random = Random(7);
        let mut batcher = Batcher::new(BATCH_SIZE);
        let streams = sources.iter().map(|&source| {
            let id = batcher.attach(TimeoutPolicy { timeout: TIMEOUT, adaptive });
            batcher.start(id, Duration::ZERO);
            let mut stream = Stream {
                id,
                source,
                phase: random.below(200 * MS),
                frames: 0,
                next: Duration::ZERO,
                backlog: VecDeque::new(),
                in_frame: false,
                pending: 0,
                last_cut: Duration::ZERO,
                waits: Vec::new(),
                longest_answer: Duration::ZERO,
            };
            stream.plan(&mut random);
            stream
        });
        Self {
            streams: streams.collect(),
            now: Duration::ZERO,
            random,
            batcher,
            pool: Pool::new(
                (0..(2 * executors + 1) * BATCH_SIZE)
                    .map(|_| Box::<Box<[u8]>>::default() as Box<dyn Slot>)
                    .collect(),
            ),
            executors: vec![Duration::ZERO; executors],
            batches: 0,
        }
    }

    fn run(mut self) -> Figures {
        while self.now < LENGTH {
            self.arrive();
            let deadline = self.cut();
            let arrivals = self.streams.iter().map(|stream| stream.next);
            let ends = self.executors.iter().copied().filter(|end| *end > self.now);
            self.now = arrivals.chain(ends).chain(deadline).min().expect("something always comes");
        }
        Figures::of(self)
    }

    fn arrive(&mut self) {
        for stream in &mut self.streams {
            while stream.next <= self.now {
                stream.backlog.push_back(stream.next);
                stream.frames += 1;
                stream.plan(&mut self.random);
            }
        }
        self.take_in();
    }

    /// The chain functions take the frames for which there is room.
    fn take_in(&mut self) {
        let attached = self.streams.len();
        for (index, stream) in self.streams.iter_mut().enumerate() {
            loop {
                if matches!(stream.source, Source::File) && stream.backlog.is_empty() {
                    stream.backlog.push_back(self.now);
                }
                let Some(&arrived) = stream.backlog.front() else { break };
                if !stream.in_frame && stream.pending < QUEUE {
                    self.batcher.begin_frame(stream.id, self.now);
                    stream.in_frame = true;
                }
                let buffer = stream.in_frame.then(|| self.pool.take(stream.id, attached)).flatten();
                self.batcher.set_blocked(stream.id, buffer.is_none());
                let Some(buffer) = buffer else { break };
                let pushed =
                    self.batcher.push(stream.id, None, Crop { stream: index, arrived, buffer }, self.now);
                assert!(pushed.is_ok());
                self.batcher.end_frame(stream.id);
                stream.in_frame = false;
                stream.pending += 1;
                stream.backlog.pop_front();
            }
        }
    }

    /// The idle executors cut the batches that are due; returns when to look again.
    fn cut(&mut self) -> Option<Duration> {
        while let Some(executor) = self.executors.iter().position(|end| *end <= self.now) {
            match self.batcher.decide(0, self.now) {
                Decision::Cut => (),
                Decision::WaitUntil(deadline) => return Some(deadline),
                Decision::Idle => return None,
            }
            let batch = self.batcher.cut(0);
            self.batches += 1;
            self.executors[executor] = self.now + run_time(batch.len());
            for Crop { stream, arrived, buffer } in batch.into_iter().map(|entry| entry.item) {
                let stream = &mut self.streams[stream];
                self.pool.give_back(stream.id, buffer);
                stream.pending -= 1;
                assert!(arrived >= stream.last_cut, "a crop was cut before an older one of its stream");
                stream.last_cut = arrived;
                stream.waits.push(self.now - arrived);
                stream.longest_answer = stream.longest_answer.max(self.executors[executor] - arrived);
            }
            self.take_in();
        }
        None
    }
}

fn percentile(sorted: &[Duration], share: f64) -> Duration {
    sorted[((sorted.len() - 1) as f64 * share) as usize]
}

/// For all cameras of a simulation, except for the fill.
struct Figures {
    fill: f64,
    p50: Duration,
    p99: Duration,
    /// For the camera that waits longest.
    worst_p99: Duration,
    longest_answer: Duration,
    /// Crops a second of all files together.
    file_rate: Option<f64>,
}

impl Figures {
    fn of(simulation: Simulation) -> Self {
        let (files, mut cameras): (Vec<_>, Vec<_>) =
            simulation.streams.into_iter().partition(|stream| matches!(stream.source, Source::File));
        cameras.iter_mut().for_each(|camera| camera.waits.sort_unstable());
        let file_crops: usize = files.iter().map(|file| file.waits.len()).sum();
        let mut waits: Vec<_> = cameras.iter().flat_map(|camera| &camera.waits).copied().collect();
        waits.sort_unstable();
        let rows = simulation.batches * BATCH_SIZE;
        Self {
            fill: (waits.len() + file_crops) as f64 / rows as f64,
            p50: percentile(&waits, 0.5),
            p99: percentile(&waits, 0.99),
            worst_p99: cameras.iter().map(|camera| percentile(&camera.waits, 0.99)).max().unwrap_or_default(),
            longest_answer: cameras.iter().map(|camera| camera.longest_answer).max().unwrap_or_default(),
            file_rate: (!files.is_empty()).then(|| file_crops as f64 / LENGTH.as_secs_f64()),
        }
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let ms = |duration: Duration| duration.as_secs_f64() * 1000.0;
        write!(
            f,
            "{:.2} | {:.1} | {:.1} | {:.1} | {:.1} |",
            self.fill,
            ms(self.p50),
            ms(self.p99),
            ms(self.worst_p99),
            ms(self.longest_answer)
        )?;
        self.file_rate.map_or(write!(f, " |"), |rate| write!(f, " {rate:.0} |"))
    }
}

#[test]
fn ten_minutes_of_arrivals() {
    use Source::{Bursts, Camera, File};
    let mut beside_a_file = vec![Camera(30); 7];
    beside_a_file.push(File);
    let arrivals = [
        ("1 camera, 30 fps", vec![Camera(30)]),
        ("8 cameras, 30 fps", vec![Camera(30); 8]),
        ("32 cameras, 30 fps", vec![Camera(30); 32]),
        ("8 cameras, 5 to 60 fps", [60, 60, 30, 30, 25, 15, 10, 5].map(Camera).to_vec()),
        ("8 cameras, 30 fps in bursts of 5", vec![Bursts(30, 5); 8]),
        ("7 cameras, 30 fps, beside a file", beside_a_file),
    ];
    println!(
        "| streams | executors | timeout | fill | wait p50, ms | wait p99 | worst camera's p99 | longest answer | file, crops/s |"
    );
    println!("|---|---|---|---|---|---|---|---|---|");
    std::thread::scope(|scope| {
        let mut rows = Vec::new();
        for (name, sources) in &arrivals {
            for (executors, adaptive) in [(1, false), (1, true), (2, true)] {
                // A second executor changes little for cameras alone.
                if executors > 1 && !sources.iter().any(|source| matches!(source, File)) {
                    continue;
                }
                let simulation = Simulation::new(sources, adaptive, executors);
                rows.push((*name, executors, adaptive, scope.spawn(move || simulation.run())));
            }
        }
        for (name, executors, adaptive, figures) in rows {
            let figures = figures.join().unwrap();
            let timeout = if adaptive { "adaptive" } else { "fixed" };
            let row = format!("| {name} | {executors} | {timeout} | {figures}");
            println!("{row}");
            let run = run_time(BATCH_SIZE);
            // A crop waits for its timeout, or for the runs before its own, and then for its own run.
            assert!(figures.longest_answer <= TIMEOUT + 2 * run, "{row}");
            if name.starts_with("1 camera") {
                let expected = if adaptive { Duration::ZERO } else { TIMEOUT };
                assert_eq!(figures.p50, expected, "{row}");
            }
            // The file gets what the cameras leave.
            assert!(figures.file_rate.is_none_or(|rate| rate > 1500.0), "{row}");
            // One camera does not delay another, either.
            assert!(figures.worst_p99 <= figures.p99 + 2 * run, "{row}");
        }
    });
}
