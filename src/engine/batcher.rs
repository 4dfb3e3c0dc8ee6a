//! When to cut a batch, and from which crops. Pure data: time is an argument, so every rule is tested without threads and
//! real time.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    ops::Bound::{Excluded, Unbounded},
    time::Duration,
};

/// Names one attached stream of crops.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct StreamId(u64);

/// What an idle executor should do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Cut a batch at once.
    Cut,
    /// Nothing is urgent before this moment.
    WaitUntil(Duration),
    /// No crop is pending.
    Idle,
}

/// A crop that waits for its batch.
#[derive(Debug)]
pub struct Entry<T> {
    /// When the crop was submitted.
    pub arrived: Duration,
    pub item: T,
}

/// Whose executors can take a crop: those of one device, by its number in the engine, or (none) all.
pub type Pin = Option<usize>;

/// How a stream's crops wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeoutPolicy {
    /// Longest wait of a crop for a fuller batch.
    pub timeout: Duration,
    /// Do not wait for crops that will come too late, judging by the recent intervals of their streams.
    pub adaptive: bool,
}

/// Crops of a stream that the same executors can take.
#[derive(Debug)]
struct Lane<T> {
    pin: Pin,
    pending: VecDeque<Entry<T>>,
    /// This many of the oldest crops stand before a barrier.
    hurried: usize,
}

impl<T> Lane<T> {
    fn new(pin: Pin) -> Self {
        Self { pin, pending: VecDeque::new(), hurried: 0 }
    }

    /// Whether it has crops that an executor of the device can take.
    fn is_for(&self, device: usize) -> bool {
        !self.pending.is_empty() && fits(self.pin, device)
    }
}

#[derive(Debug)]
struct Stream<T> {
    /// Nearly always one: a stream's frames lie in one memory.
    lanes: Vec<Lane<T>>,
    /// The pin of its last crop; the next ones probably have the same.
    pin: Pin,
    policy: TimeoutPolicy,
    /// The stream flows. A stream that was stopped, flushed or has ended sends nothing.
    running: bool,
    /// No further crop can come before a pending one is run.
    blocked: bool,
    rhythm: Rhythm,
}

/// Whether an executor of the device can take crops with that pin.
fn fits(pin: Pin, device: usize) -> bool {
    pin.is_none_or(|pinned| pinned == device)
}

impl<T> Stream<T> {
    fn lane(&mut self, pin: Pin) -> &mut Lane<T> {
        let index = self.lanes.iter().position(|lane| lane.pin == pin).unwrap_or_else(|| {
            self.lanes.push(Lane::new(pin));
            self.lanes.len() - 1
        });
        &mut self.lanes[index]
    }

    /// The lanes with crops that an executor of the device can take.
    fn lanes_for(&self, device: usize) -> impl Iterator<Item = &Lane<T>> {
        self.lanes.iter().filter(move |lane| lane.is_for(device))
    }

    /// The lane among them with the oldest first crop.
    fn oldest_lane_for(&mut self, device: usize) -> Option<&mut Lane<T>> {
        let lanes = self.lanes.iter_mut().filter(|lane| lane.is_for(device));
        lanes.min_by_key(|lane| lane.pending[0].arrived)
    }

    fn take_all(&mut self) -> Vec<T> {
        let lanes = std::mem::take(&mut self.lanes);
        lanes.into_iter().flat_map(|lane| lane.pending).map(|entry| entry.item).collect()
    }
}

/// The crops of all streams that wait for an executor.
///
/// Crops can be pinned to the device where their frames are: only its executors take them, besides crops without a pin.
/// Everything below counts only crops that the asking executor can take.
///
/// A batch is cut if it is full; if its oldest crop has waited for its stream's timeout; if a barrier stands behind a crop;
/// if every running stream is blocked, so that no further crop can come; or, for adaptive streams, if no further crop is
/// expected before the oldest one's deadline.
#[derive(Debug)]
pub struct Batcher<T> {
    batch_size: usize,
    streams: BTreeMap<StreamId, Stream<T>>,
    next_id: u64,
    /// The stream of the last crop in the last batch: the next batch starts with the stream after it.
    last_served: Option<StreamId>,
    // What is found without a look at every stream: with many streams on several GPUs, that would be most of the work.
    /// Number of streams whose crops can come.
    running: usize,
    /// The streams with crops, and the number of crops by pin.
    waiting: BTreeSet<StreamId>,
    counts: BTreeMap<Pin, usize>,
    /// The last stream found from which more was to come.
    likely: Option<StreamId>,
    /// The streams that were blocked when a crop of theirs was cut.
    unblocked: Vec<StreamId>,
}

impl<T> Batcher<T> {
    pub fn new(batch_size: usize) -> Self {
        Self {
            batch_size: batch_size.max(1),
            streams: BTreeMap::new(),
            next_id: 0,
            last_served: None,
            running: 0,
            waiting: BTreeSet::new(),
            counts: BTreeMap::new(),
            likely: None,
            unblocked: Vec::new(),
        }
    }

    /// Adds a stream, which does not run yet.
    pub fn attach(&mut self, policy: TimeoutPolicy) -> StreamId {
        let id = StreamId(self.next_id);
        self.next_id += 1;
        let stream = Stream {
            lanes: Vec::new(),
            pin: None,
            policy,
            running: false,
            blocked: false,
            rhythm: Rhythm::default(),
        };
        self.streams.insert(id, stream);
        id
    }

    /// Removes the stream and returns its pending crops.
    pub fn detach(&mut self, id: StreamId) -> Vec<T> {
        let Some(mut stream) = self.streams.remove(&id) else { return Vec::new() };
        self.running -= usize::from(stream.running);
        self.forget(id, &stream);
        stream.take_all()
    }

    /// The stream's crops are taken out.
    fn forget(&mut self, id: StreamId, stream: &Stream<T>) {
        self.waiting.remove(&id);
        for lane in &stream.lanes {
            *self.counts.entry(lane.pin).or_default() -= lane.pending.len();
        }
    }

    fn count(&mut self, id: StreamId, pin: Pin) {
        self.waiting.insert(id);
        *self.counts.entry(pin).or_default() += 1;
    }

    pub fn set_timeout_policy(&mut self, id: StreamId, policy: TimeoutPolicy) {
        if let Some(stream) = self.streams.get_mut(&id) {
            stream.policy = policy;
        }
    }

    /// Crops may come from now on.
    pub fn start(&mut self, id: StreamId, now: Duration) {
        if let Some(stream) = self.streams.get_mut(&id) {
            self.running += usize::from(!std::mem::replace(&mut stream.running, true));
            stream.rhythm = Rhythm { heard: now, ..Rhythm::default() };
        }
    }

    /// No crop comes before the stream is started again.
    pub fn stop(&mut self, id: StreamId) {
        if let Some(stream) = self.streams.get_mut(&id) {
            self.running -= usize::from(std::mem::take(&mut stream.running));
        }
    }

    /// A frame has arrived; its crops follow until `end_frame`.
    pub fn begin_frame(&mut self, id: StreamId, now: Duration) {
        if let Some(stream) = self.streams.get_mut(&id) {
            stream.rhythm.begin_frame(now);
        }
    }

    pub fn end_frame(&mut self, id: StreamId) {
        if let Some(stream) = self.streams.get_mut(&id) {
            stream.rhythm.in_frame = false;
        }
    }

    /// Holds until a crop of the stream is taken.
    pub fn set_blocked(&mut self, id: StreamId, blocked: bool) {
        if let Some(stream) = self.streams.get_mut(&id) {
            stream.blocked = blocked;
        }
    }

    /// The streams that were blocked until `cut` took a crop of theirs, since the last call.
    pub fn take_unblocked(&mut self) -> Vec<StreamId> {
        std::mem::take(&mut self.unblocked)
    }

    /// Puts a barrier behind the stream's pending crops: none of them waits for a fuller batch.
    pub fn hurry(&mut self, id: StreamId) {
        if let Some(stream) = self.streams.get_mut(&id) {
            stream.lanes.iter_mut().for_each(|lane| lane.hurried = lane.pending.len());
        }
    }

    /// Takes out all pending crops of the stream.
    pub fn flush(&mut self, id: StreamId) -> Vec<T> {
        let Some(mut stream) = self.streams.remove(&id) else { return Vec::new() };
        self.forget(id, &stream);
        let taken = stream.take_all();
        self.streams.insert(id, stream);
        taken
    }

    /// Takes out all pending crops of all streams.
    pub fn drain(&mut self) -> Vec<T> {
        self.waiting.clear();
        self.counts.clear();
        self.streams.values_mut().flat_map(Stream::take_all).collect()
    }

    /// Adds a crop. Returns it if its stream is not attached.
    pub fn push(&mut self, id: StreamId, pin: Pin, item: T, now: Duration) -> Result<(), T> {
        let Some(stream) = self.streams.get_mut(&id) else { return Err(item) };
        stream.pin = pin;
        stream.lane(pin).pending.push_back(Entry { arrived: now, item });
        self.count(id, pin);
        Ok(())
    }

    /// Puts a cut crop back in front of its stream's other crops, to be taken at once. Returns it if its stream is no longer
    /// attached.
    pub fn put_back(&mut self, id: StreamId, pin: Pin, entry: Entry<T>) -> Result<(), T> {
        let Some(stream) = self.streams.get_mut(&id) else { return Err(entry.item) };
        let lane = stream.lane(pin);
        lane.pending.push_front(entry);
        lane.hurried += 1;
        self.count(id, pin);
        Ok(())
    }

    /// The device's executors take no more crops: from now on, all others can.
    pub fn unpin(&mut self, device: usize) {
        for stream in self.streams.values_mut() {
            if stream.pin == Some(device) {
                stream.pin = None;
            }
            let Some(index) = stream.lanes.iter().position(|lane| lane.pin == Some(device)) else { continue };
            let Lane { pending, hurried, .. } = stream.lanes.remove(index);
            let lane = stream.lane(None);
            // Crops before a barrier are older than all others.
            lane.hurried += hurried;
            lane.pending.extend(pending);
            lane.pending.make_contiguous().sort_by_key(|entry| entry.arrived);
        }
        let freed = self.counts.remove(&Some(device)).unwrap_or_default();
        *self.counts.entry(None).or_default() += freed;
    }

    /// Number of crops that wait.
    pub fn pending(&self) -> usize {
        self.counts.values().sum()
    }

    /// Number of waiting crops with that pin.
    pub fn pending_with(&self, pin: Pin) -> usize {
        self.counts.get(&pin).copied().unwrap_or_default()
    }

    /// Number of waiting crops that an executor of the device can take.
    pub fn pending_for(&self, device: usize) -> usize {
        self.pending_with(None) + self.pending_with(Some(device))
    }

    /// Whether some waiting crops are for the executors of one device only.
    pub fn has_pins(&self) -> bool {
        self.counts.iter().any(|(pin, count)| pin.is_some() && *count > 0)
    }

    /// The pin of the stream's last crop.
    pub fn pin(&self, id: StreamId) -> Pin {
        self.streams.get(&id).and_then(|stream| stream.pin)
    }

    pub fn batch_size(&self) -> usize {
        self.batch_size
    }

    /// Number of attached streams.
    pub fn streams(&self) -> usize {
        self.streams.len()
    }

    /// Number of streams whose crops can come.
    pub fn running_streams(&self) -> usize {
        self.running
    }

    /// What an idle executor of the device should do.
    pub fn decide(&mut self, device: usize, now: Duration) -> Decision {
        match self.pending_for(device) {
            0 => return Decision::Idle,
            pending if pending >= self.batch_size => return Decision::Cut,
            _ => (),
        }
        let (mut hurried, mut adaptive, mut deadline) = (false, true, Duration::MAX);
        for stream in self.waiting.iter().filter_map(|id| self.streams.get(id)) {
            for lane in stream.lanes_for(device) {
                hurried |= lane.hurried > 0;
                adaptive &= stream.policy.adaptive;
                deadline = deadline.min(lane.pending[0].arrived.saturating_add(stream.policy.timeout));
            }
        }
        if deadline <= now || hurried || !self.more_to_come(device, now, adaptive.then_some(deadline)) {
            Decision::Cut
        } else {
            Decision::WaitUntil(deadline)
        }
    }

    /// Whether further crops can come for the device, before the deadline if there is one.
    fn more_to_come(&mut self, device: usize, now: Duration, deadline: Option<Duration>) -> bool {
        let comes = |stream: &Stream<T>| {
            let open = stream.running && !stream.blocked && fits(stream.pin, device);
            open && deadline.is_none_or(|deadline| stream.rhythm.expects(now, deadline))
        };
        if self.likely.and_then(|id| self.streams.get(&id)).is_some_and(comes) {
            return true;
        }
        self.likely = self.streams.iter().find_map(|(id, stream)| comes(stream).then_some(*id));
        self.likely.is_some()
    }

    /// Takes up to `batch_size` crops that an executor of the device can take, from the streams in turn. Crops of a stream
    /// keep their order.
    pub fn cut(&mut self, device: usize) -> Vec<Entry<T>> {
        let mut batch = Vec::with_capacity(self.batch_size);
        while batch.len() < self.batch_size {
            let Some(id) = self.next_stream(device) else { break };
            let stream = self.streams.get_mut(&id).expect("next_stream gives attached streams");
            // There may now be room for its next crop; if not, the stream says so again.
            if std::mem::take(&mut stream.blocked) {
                self.unblocked.push(id);
            }
            let lane = stream.oldest_lane_for(device).expect("next_stream gives streams with crops");
            lane.hurried = lane.hurried.saturating_sub(1);
            batch.extend(lane.pending.pop_front());
            *self.counts.entry(lane.pin).or_default() -= 1;
            if stream.lanes.iter().all(|lane| lane.pending.is_empty()) {
                self.waiting.remove(&id);
            }
            self.last_served = Some(id);
        }
        batch
    }

    fn next_stream(&self, device: usize) -> Option<StreamId> {
        let has_crops = |id: &&StreamId| {
            self.streams.get(id).is_some_and(|stream| stream.lanes_for(device).next().is_some())
        };
        let behind = self.last_served.map(|last| self.waiting.range((Excluded(last), Unbounded)));
        behind.into_iter().flatten().chain(&self.waiting).find(has_crops).copied()
    }
}

/// When the frames of a stream arrive.
#[derive(Debug, Default)]
struct Rhythm {
    last: Option<Duration>,
    /// When the last frame arrived, or the stream was started.
    heard: Duration,
    /// Between the latest frames.
    intervals: VecDeque<Duration>,
    /// Crops of a frame are being submitted.
    in_frame: bool,
}

impl Rhythm {
    /// How many intervals are kept.
    const LENGTH: usize = 32;
    /// Fewer intervals are too few to judge by.
    const ENOUGH: usize = 8;
    /// A stream without a frame for this long, and for this many of its longest intervals, has stalled: its camera is dead,
    /// or its branch is closed.
    const STALLED: (Duration, u32) = (Duration::from_secs(1), 4);

    fn begin_frame(&mut self, now: Duration) {
        if self.has_stalled(now) {
            // It starts again: the silence was not an interval.
            *self = Self::default();
        }
        self.heard = now;
        if let Some(last) = self.last.replace(now) {
            if self.intervals.len() == Self::LENGTH {
                self.intervals.pop_front();
            }
            self.intervals.push_back(now.saturating_sub(last));
        }
        self.in_frame = true;
    }

    fn has_stalled(&self, now: Duration) -> bool {
        let longest = self.intervals.iter().max().copied().unwrap_or_default();
        let (least, intervals) = Self::STALLED;
        !self.in_frame && now.saturating_sub(self.heard) > least.max(longest.saturating_mul(intervals))
    }

    /// Whether a crop can be expected before the deadline. The next frame is expected after one of the shorter intervals,
    /// their 10th percentile. A late frame can arrive at any time, unless the stream has stalled.
    fn expects(&self, now: Duration, deadline: Duration) -> bool {
        if self.has_stalled(now) {
            return false;
        }
        let Some(last) = self.last.filter(|_| !self.in_frame && self.intervals.len() >= Self::ENOUGH) else {
            return true;
        };
        let mut intervals: Vec<_> = self.intervals.iter().copied().collect();
        let (_, short, _) = intervals.select_nth_unstable(self.intervals.len() / 10);
        last.saturating_add(*short) < deadline
    }
}

#[cfg(test)]
mod tests;
