//! When to cut a batch, and of which crops. Pure data: time comes in as an argument, so every rule is tested without
//! threads or real time.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

/// Names one attached stream of crops.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct StreamId(u64);

/// What an idle executor should do.
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

/// How a stream's crops wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeoutPolicy {
    /// Longest wait of a crop for a fuller batch.
    pub timeout: Duration,
    /// Do not wait for crops that, by the rhythm of their streams, will come too late.
    pub adaptive: bool,
}

#[derive(Debug)]
struct Stream<T> {
    pending: VecDeque<Entry<T>>,
    policy: TimeoutPolicy,
    /// The stream flows; one that was stopped, flushed or has ended sends nothing.
    running: bool,
    /// No further crop can come before a pending one is run.
    blocked: bool,
    rhythm: Rhythm,
    /// So many of the pending crops, from the oldest on, stand before a barrier.
    hurried: usize,
}

/// The crops of all streams that wait for an executor.
///
/// A batch is cut when it is full, when its oldest crop has waited for its stream's timeout, when a barrier stands
/// behind a crop, when every running stream is blocked, so that no further crop can come, or, for adaptive streams, when
/// no further crop is expected before the oldest one's deadline.
#[derive(Debug)]
pub struct Batcher<T> {
    batch_size: usize,
    streams: BTreeMap<StreamId, Stream<T>>,
    next_id: u64,
    /// The stream that the last batch ended with: the next one starts behind it.
    last_served: Option<StreamId>,
}

impl<T> Batcher<T> {
    pub fn new(batch_size: usize) -> Self {
        Self { batch_size: batch_size.max(1), streams: BTreeMap::new(), next_id: 0, last_served: None }
    }

    /// Lets a stream in, which does not run yet.
    pub fn attach(&mut self, policy: TimeoutPolicy) -> StreamId {
        let id = StreamId(self.next_id);
        self.next_id += 1;
        let stream = Stream {
            pending: VecDeque::new(),
            policy,
            running: false,
            blocked: false,
            rhythm: Rhythm::default(),
            hurried: 0,
        };
        self.streams.insert(id, stream);
        id
    }

    /// Forgets the stream and hands back its pending crops.
    pub fn detach(&mut self, id: StreamId) -> Vec<T> {
        self.streams
            .remove(&id)
            .map(|stream| stream.pending.into_iter().map(|entry| entry.item).collect())
            .unwrap_or_default()
    }

    pub fn set_timeout_policy(&mut self, id: StreamId, policy: TimeoutPolicy) {
        if let Some(stream) = self.streams.get_mut(&id) {
            stream.policy = policy;
        }
    }

    /// Crops may come from now on.
    pub fn start(&mut self, id: StreamId, now: Duration) {
        if let Some(stream) = self.streams.get_mut(&id) {
            stream.running = true;
            stream.rhythm = Rhythm { heard: now, ..Rhythm::default() };
        }
    }

    /// None comes before it is started again.
    pub fn stop(&mut self, id: StreamId) {
        if let Some(stream) = self.streams.get_mut(&id) {
            stream.running = false;
        }
    }

    /// A frame has come whose crops will follow, until `end_frame`.
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

    /// Puts a barrier behind the stream's pending crops: none of them waits for a fuller batch.
    pub fn hurry(&mut self, id: StreamId) {
        if let Some(stream) = self.streams.get_mut(&id) {
            stream.hurried = stream.pending.len();
        }
    }

    /// Takes all pending crops of the stream out.
    pub fn flush(&mut self, id: StreamId) -> Vec<T> {
        let Some(stream) = self.streams.get_mut(&id) else { return Vec::new() };
        stream.hurried = 0;
        stream.pending.drain(..).map(|entry| entry.item).collect()
    }

    /// Adds a crop. Hands it back if its stream is not attached.
    pub fn push(&mut self, id: StreamId, item: T, now: Duration) -> Result<(), T> {
        let Some(stream) = self.streams.get_mut(&id) else { return Err(item) };
        stream.pending.push_back(Entry { arrived: now, item });
        Ok(())
    }

    /// Number of crops that wait.
    pub fn pending(&self) -> usize {
        self.streams.values().map(|stream| stream.pending.len()).sum()
    }

    /// All that are attached.
    pub fn streams(&self) -> usize {
        self.streams.len()
    }

    /// Those whose crops can come.
    pub fn running_streams(&self) -> usize {
        self.streams.values().filter(|stream| stream.running).count()
    }

    pub fn decide(&self, now: Duration) -> Decision {
        let waiting = || self.streams.values().filter(|stream| !stream.pending.is_empty());
        let deadline =
            waiting().map(|stream| stream.pending[0].arrived.saturating_add(stream.policy.timeout)).min();
        let Some(deadline) = deadline else { return Decision::Idle };
        let adaptive = waiting().all(|stream| stream.policy.adaptive);
        let more_to_come = || {
            let mut open = self.streams.values().filter(|stream| stream.running && !stream.blocked);
            open.any(|stream| !adaptive || stream.rhythm.expects(now, deadline))
        };
        if self.pending() >= self.batch_size
            || deadline <= now
            || waiting().any(|stream| stream.hurried > 0)
            || !more_to_come()
        {
            Decision::Cut
        } else {
            Decision::WaitUntil(deadline)
        }
    }

    /// Takes up to `batch_size` crops, one from each stream in turn; each stream's crops in their order.
    pub fn cut(&mut self) -> Vec<Entry<T>> {
        let mut batch = Vec::with_capacity(self.batch_size.min(self.pending()));
        while batch.len() < self.batch_size {
            let Some(id) = self.next_stream() else { break };
            let stream = self.streams.get_mut(&id).expect("next_stream gives attached streams");
            let entry = stream.pending.pop_front().expect("next_stream gives streams with crops");
            stream.hurried = stream.hurried.saturating_sub(1);
            // There may be room for its next crop now; if not, the stream says so again.
            stream.blocked = false;
            self.last_served = Some(id);
            batch.push(entry);
        }
        batch
    }

    fn next_stream(&self) -> Option<StreamId> {
        let has_crops = |(id, stream): (&StreamId, &Stream<T>)| (!stream.pending.is_empty()).then_some(*id);
        let last = self.last_served;
        let behind = self.streams.iter().filter(|(id, _)| last.is_none_or(|last| **id > last));
        behind.chain(&self.streams).find_map(has_crops)
    }
}

/// When a stream's frames come.
#[derive(Debug, Default)]
struct Rhythm {
    last: Option<Duration>,
    /// When the last one came, or the stream was started.
    heard: Duration,
    /// Between the last frames.
    intervals: VecDeque<Duration>,
    /// Crops of a frame are being submitted.
    in_frame: bool,
}

impl Rhythm {
    /// Intervals that are remembered.
    const LENGTH: usize = 32;
    /// Fewer intervals than this tell nothing.
    const ENOUGH: usize = 8;
    /// A stream that was not heard of for so long, and for so many of its longest intervals, has stalled: a camera that is
    /// dead, a branch that is closed.
    const STALLED: (Duration, u32) = (Duration::from_secs(1), 4);

    fn begin_frame(&mut self, now: Duration) {
        if self.has_stalled(now) {
            // It begins anew: how long it was silent is no interval.
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

    /// Whether a crop can be expected before the deadline: the next frame comes after one of the shorter intervals, their
    /// 10th percentile. A frame that is late can come at any time, unless the stream has stalled.
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
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);
    const TIMEOUT: Duration = Duration::from_millis(15);

    fn attach(batcher: &mut Batcher<u32>, timeout: Duration) -> StreamId {
        let id = batcher.attach(TimeoutPolicy { timeout, adaptive: true });
        batcher.start(id, Duration::ZERO);
        id
    }

    fn items(batch: Vec<Entry<u32>>) -> Vec<u32> {
        batch.into_iter().map(|entry| entry.item).collect()
    }

    #[test]
    fn cuts_at_the_eighth_crop() {
        let mut batcher = Batcher::new(8);
        let stream = attach(&mut batcher, TIMEOUT);
        assert_eq!(batcher.decide(Duration::ZERO), Decision::Idle);
        for item in 0..7 {
            batcher.push(stream, item, MS).unwrap();
            assert_eq!(batcher.decide(MS), Decision::WaitUntil(MS + TIMEOUT));
        }
        batcher.push(stream, 7, MS).unwrap();
        assert_eq!(batcher.decide(MS), Decision::Cut);
        assert_eq!(items(batcher.cut()), (0..8).collect::<Vec<_>>());
        assert_eq!(batcher.decide(MS), Decision::Idle);
    }

    #[test]
    fn cuts_exactly_at_the_oldest_crops_deadline() {
        let mut batcher = Batcher::new(8);
        let stream = attach(&mut batcher, TIMEOUT);
        batcher.push(stream, 0, 2 * MS).unwrap();
        batcher.push(stream, 1, 9 * MS).unwrap();
        let deadline = 2 * MS + TIMEOUT;
        assert_eq!(batcher.decide(deadline - Duration::from_nanos(1)), Decision::WaitUntil(deadline));
        assert_eq!(batcher.decide(deadline), Decision::Cut);
        assert_eq!(items(batcher.cut()), [0, 1]);
    }

    #[test]
    fn a_zero_timeout_never_waits() {
        let mut batcher = Batcher::new(8);
        let stream = attach(&mut batcher, Duration::ZERO);
        batcher.push(stream, 0, MS).unwrap();
        assert_eq!(batcher.decide(MS), Decision::Cut);
    }

    #[test]
    fn an_endless_timeout_does_not_overflow() {
        let mut batcher = Batcher::new(8);
        let stream = attach(&mut batcher, Duration::MAX);
        batcher.push(stream, 0, MS).unwrap();
        assert_eq!(batcher.decide(MS), Decision::WaitUntil(Duration::MAX));
    }

    #[test]
    fn a_barrier_cuts_at_once_and_only_for_what_stands_before_it() {
        let mut batcher = Batcher::new(2);
        let stream = attach(&mut batcher, TIMEOUT);
        for item in 0..3 {
            batcher.push(stream, item, MS).unwrap();
        }
        batcher.hurry(stream);
        assert_eq!(items(batcher.cut()), [0, 1]);
        assert_eq!(batcher.decide(MS), Decision::Cut, "the third crop stands before the barrier too");
        assert_eq!(items(batcher.cut()), [2]);
        batcher.push(stream, 3, MS).unwrap();
        assert_eq!(batcher.decide(MS), Decision::WaitUntil(MS + TIMEOUT));
    }

    #[test]
    fn cuts_when_every_stream_is_blocked() {
        let mut batcher = Batcher::new(8);
        let (a, b) = (attach(&mut batcher, TIMEOUT), attach(&mut batcher, TIMEOUT));
        batcher.push(a, 0, MS).unwrap();
        batcher.set_blocked(a, true);
        assert_eq!(batcher.decide(MS), Decision::WaitUntil(MS + TIMEOUT), "b can still send a crop");
        batcher.set_blocked(b, true);
        assert_eq!(batcher.decide(MS), Decision::Cut);
        batcher.set_blocked(a, false);
        assert_eq!(batcher.decide(MS), Decision::WaitUntil(MS + TIMEOUT));
    }

    #[test]
    fn a_stream_whose_crop_was_taken_is_no_longer_blocked() {
        let mut batcher = Batcher::new(2);
        let stream = attach(&mut batcher, TIMEOUT);
        for item in 0..3 {
            batcher.push(stream, item, MS).unwrap();
        }
        batcher.set_blocked(stream, true);
        assert_eq!(items(batcher.cut()), [0, 1]);
        assert_eq!(batcher.decide(MS), Decision::WaitUntil(MS + TIMEOUT), "a crop can come to the third");
    }

    #[test]
    fn serves_streams_in_turn_and_keeps_each_ones_order() {
        let mut batcher = Batcher::new(4);
        let (a, b) = (attach(&mut batcher, TIMEOUT), attach(&mut batcher, TIMEOUT));
        for item in 0..6 {
            batcher.push(a, item, MS).unwrap();
        }
        batcher.push(b, 100, MS).unwrap();
        batcher.push(b, 101, MS).unwrap();
        assert_eq!(items(batcher.cut()), [0, 100, 1, 101]);
        assert_eq!(items(batcher.cut()), [2, 3, 4, 5]);
    }

    #[test]
    fn flush_and_detach_hand_pending_crops_back() {
        let mut batcher = Batcher::new(4);
        let (a, b) = (attach(&mut batcher, TIMEOUT), attach(&mut batcher, TIMEOUT));
        batcher.push(a, 0, MS).unwrap();
        batcher.push(b, 1, MS).unwrap();
        batcher.hurry(a);
        assert_eq!(batcher.flush(a), [0]);
        assert_eq!(batcher.decide(MS), Decision::WaitUntil(MS + TIMEOUT), "the barrier went with its crops");
        assert_eq!(batcher.detach(b), [1]);
        assert_eq!(batcher.decide(MS), Decision::Idle);
        assert_eq!(batcher.push(b, 2, MS), Err(2));
    }

    #[test]
    fn streams_that_do_not_run_are_not_waited_for() {
        let mut batcher = Batcher::new(8);
        let (a, b) = (attach(&mut batcher, TIMEOUT), attach(&mut batcher, TIMEOUT));
        batcher.push(a, 0, MS).unwrap();
        batcher.set_blocked(a, true);
        batcher.stop(b);
        assert_eq!(batcher.decide(MS), Decision::Cut);
    }

    /// Frames of one stream, so many with such an interval, each with one crop; all batches are taken out.
    fn play(
        batcher: &mut Batcher<u32>,
        id: StreamId,
        start: Duration,
        interval: Duration,
        frames: u32,
    ) -> Duration {
        let mut now = start;
        for number in 0..frames {
            now = start + interval * number;
            batcher.begin_frame(id, now);
            batcher.push(id, number, now).unwrap();
            batcher.end_frame(id);
            batcher.cut();
        }
        now
    }

    #[test]
    fn a_slow_streams_crop_does_not_wait_for_a_frame_that_comes_too_late() {
        let mut batcher = Batcher::new(8);
        let camera = attach(&mut batcher, TIMEOUT);
        // Seven intervals tell nothing.
        let mut now = play(&mut batcher, camera, MS, 33 * MS, 8);
        batcher.push(camera, 99, now).unwrap();
        assert_eq!(batcher.decide(now), Decision::WaitUntil(now + TIMEOUT));
        batcher.cut();
        for _ in 0..2 {
            now += 33 * MS;
            batcher.begin_frame(camera, now);
            batcher.push(camera, 100, now).unwrap();
            assert_eq!(
                batcher.decide(now),
                Decision::WaitUntil(now + TIMEOUT),
                "more of this frame can come"
            );
            batcher.end_frame(camera);
            assert_eq!(batcher.decide(now), Decision::Cut);
            batcher.cut();
        }
        batcher.set_timeout_policy(camera, TimeoutPolicy { timeout: TIMEOUT, adaptive: false });
        now += 33 * MS;
        batcher.push(camera, 101, now).unwrap();
        assert_eq!(batcher.decide(now), Decision::WaitUntil(now + TIMEOUT));
    }

    #[test]
    fn a_stream_that_has_stalled_is_not_waited_for() {
        for frames in [0, 1, 20] {
            let mut batcher = Batcher::new(8);
            let (camera, dead) = (attach(&mut batcher, TIMEOUT), attach(&mut batcher, TIMEOUT));
            let last =
                if frames == 0 { Duration::ZERO } else { play(&mut batcher, dead, MS, 33 * MS, frames) };
            let start = last + 500 * MS;
            let now = play(&mut batcher, camera, start, 33 * MS, 10);
            let look = |batcher: &mut Batcher<u32>, now| {
                batcher.begin_frame(camera, now);
                batcher.push(camera, 0, now).unwrap();
                batcher.end_frame(camera);
                let decision = batcher.decide(now);
                batcher.cut();
                decision
            };
            let late = now + 33 * MS;
            assert_eq!(look(&mut batcher, late), Decision::WaitUntil(late + TIMEOUT), "it may come");
            let stalled = now + 500 * MS;
            assert_eq!(look(&mut batcher, stalled), Decision::Cut, "{frames} frames had come");
            // It is heard of again.
            batcher.begin_frame(dead, stalled + MS);
            batcher.end_frame(dead);
            let again = stalled + 33 * MS;
            assert_eq!(look(&mut batcher, again), Decision::WaitUntil(again + TIMEOUT));
        }
    }

    #[test]
    fn a_crop_waits_for_another_stream_that_comes_in_time() {
        let mut batcher = Batcher::new(8);
        let (a, b) = (attach(&mut batcher, TIMEOUT), attach(&mut batcher, TIMEOUT));
        let last_a = play(&mut batcher, a, MS, 33 * MS, 10);
        // b comes 10 ms behind a.
        let last_b = play(&mut batcher, b, 11 * MS, 33 * MS, 10);
        let now = last_a + 33 * MS;
        batcher.begin_frame(a, now);
        batcher.push(a, 0, now).unwrap();
        batcher.end_frame(a);
        assert_eq!(batcher.decide(now), Decision::WaitUntil(now + TIMEOUT), "b is expected after 10 ms");
        let now = last_b + 33 * MS;
        batcher.begin_frame(b, now);
        batcher.push(b, 0, now).unwrap();
        batcher.end_frame(b);
        assert_eq!(batcher.decide(now), Decision::Cut, "now nobody is expected for 23 ms");
        assert_eq!(batcher.cut().len(), 2);
    }
}
