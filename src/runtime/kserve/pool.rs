//! Which server gets a batch, and when a failed one is tried again. Times and random numbers are arguments, so that the same
//! code runs in the simulation.

use std::time::Duration;

use crate::engine::{Place, Window};

/// A failed server is left alone for this long, then for twice as long, up to the second value; each time varied by up to
/// half, so that clients do not all return at once.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// Weight of the last round trip in the mean.
const NEWEST: f64 = 0.2;

/// Names a member of the pool.
pub type Id = u64;

/// What is known of a server.
pub struct Member {
    pub id: Id,
    pub name: String,
    pub is_ready: bool,
    pub in_flight: usize,
    batches: u64,
    failures: u64,
    /// Failures since it last answered a batch.
    in_a_row: u32,
    round_trips: Window,
    /// Mean of round trips, in seconds; 0 before the first.
    mean: f64,
}

impl Member {
    /// Batches that it has answered.
    pub fn batches(&self) -> u64 {
        self.batches
    }
}

/// The servers that batches can go to.
pub struct Pool {
    members: Vec<Member>,
    next: Id,
    /// Most batches on a server at once.
    most_in_flight: usize,
    chance: u64,
}

impl Pool {
    pub fn new(most_in_flight: usize, seed: u64) -> Self {
        Self { members: Vec::new(), next: 0, most_in_flight, chance: seed | 1 }
    }

    /// Adds a server that is not ready yet.
    pub fn add(&mut self, name: String) -> Id {
        let id = self.next;
        self.next += 1;
        self.members.push(Member {
            id,
            name,
            is_ready: false,
            in_flight: 0,
            batches: 0,
            failures: 0,
            in_a_row: 0,
            round_trips: Window::default(),
            mean: 0.0,
        });
        id
    }

    pub fn remove(&mut self, id: Id) {
        self.members.retain(|member| member.id != id);
    }

    pub fn get(&self, id: Id) -> Option<&Member> {
        self.members.iter().find(|member| member.id == id)
    }

    fn get_mut(&mut self, id: Id) -> Option<&mut Member> {
        self.members.iter_mut().find(|member| member.id == id)
    }

    pub fn members(&self) -> &[Member] {
        &self.members
    }

    pub fn ready(&self) -> usize {
        self.members.iter().filter(|member| member.is_ready).count()
    }

    /// The server for the next batch: among those that are ready, the one with the fewest in flight; among equals, the
    /// fastest. None while all are full. `except` is used only if there is no other.
    pub fn choose(&self, except: Option<Id>) -> Option<Id> {
        let ready = || self.members.iter().filter(|member| member.is_ready);
        let is_other = |member: &&Member| Some(member.id) != except;
        let others = ready().any(|member| is_other(&member));
        let has_room = |member: &&Member| member.in_flight < self.most_in_flight;
        let best = |one: &&Member, other: &&Member| {
            let by_mean = || one.mean.total_cmp(&other.mean);
            one.in_flight.cmp(&other.in_flight).then_with(by_mean).then(one.id.cmp(&other.id))
        };
        let candidates = ready().filter(|member| is_other(member) || !others).filter(has_room);
        candidates.min_by(best).map(|member| member.id)
    }

    pub fn begin(&mut self, id: Id) {
        if let Some(member) = self.get_mut(id) {
            member.in_flight += 1;
        }
    }

    /// A batch was answered, or abandoned by its executor (none).
    pub fn end(&mut self, id: Id, took: Option<Duration>) {
        let Some(member) = self.get_mut(id) else { return };
        member.in_flight -= 1;
        let Some(took) = took else { return };
        member.batches += 1;
        member.in_a_row = 0;
        member.round_trips.add(took);
        let took = took.as_secs_f64();
        member.mean = if member.mean == 0.0 { took } else { member.mean + NEWEST * (took - member.mean) };
    }

    /// A batch failed there: the server gets none until it is ready again, unless the batch is older than its last return.
    /// Returns whether it was ready until now.
    pub fn failed(&mut self, id: Id, is_news: bool) -> bool {
        let Some(member) = self.get_mut(id) else { return false };
        member.in_flight -= 1;
        member.failures += 1;
        is_news && self.unready(id)
    }

    /// The server is faulty. Returns whether it was ready until now.
    pub fn unready(&mut self, id: Id) -> bool {
        let Some(member) = self.get_mut(id) else { return false };
        let was_ready = std::mem::replace(&mut member.is_ready, false);
        // Batches that were in flight together have failed together.
        member.in_a_row = member.in_a_row.saturating_add(u32::from(was_ready));
        was_ready
    }

    pub fn set_ready(&mut self, id: Id) {
        if let Some(member) = self.get_mut(id) {
            member.is_ready = true;
        }
    }

    /// The server could not be reached again.
    pub fn missed(&mut self, id: Id) {
        if let Some(member) = self.get_mut(id) {
            member.in_a_row = member.in_a_row.saturating_add(1);
        }
    }

    /// How long to wait before it is tried again.
    pub fn pause(&mut self, id: Id) -> Duration {
        let doublings = self.get(id).map_or(0, |member| member.in_a_row.saturating_sub(1)).min(16);
        let pause = FIRST_PAUSE.saturating_mul(1 << doublings).min(LONGEST_PAUSE);
        pause.mul_f64(0.5 + self.random())
    }

    /// From 0 to 1. A linear congruential generator is enough to spread attempts.
    fn random(&mut self) -> f64 {
        self.chance = self.chance.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.chance >> 11) as f64 / (1u64 << 53) as f64
    }

    pub fn places(&self) -> Vec<Place> {
        let place = |member: &Member| Place {
            name: member.name.clone(),
            state: if member.is_ready { "ready" } else { "out" },
            in_flight: member.in_flight,
            batches: member.batches,
            failures: member.failures,
            median: member.round_trips.percentile(0.5),
            percentile_99: member.round_trips.percentile(0.99),
        };
        self.members.iter().map(place).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// A pool of `servers` ready servers, each of which accepts two batches.
    fn pool(servers: usize) -> (Pool, Vec<Id>) {
        let mut pool = Pool::new(2, 7);
        let ids: Vec<_> = (0..servers).map(|number| pool.add(format!("grpc://s{number}:1"))).collect();
        ids.iter().for_each(|id| pool.set_ready(*id));
        (pool, ids)
    }

    #[test]
    fn the_server_with_the_fewest_in_flight_comes_first() {
        let (mut pool, ids) = pool(3);
        let mut chosen = Vec::new();
        while let Some(id) = pool.choose(None) {
            pool.begin(id);
            chosen.push(id);
        }
        assert_eq!(chosen, [ids[0], ids[1], ids[2], ids[0], ids[1], ids[2]], "and none gets a third");
        pool.end(ids[1], Some(9 * MS));
        assert_eq!(pool.choose(None), Some(ids[1]));
    }

    #[test]
    fn of_equals_the_faster_one_comes_first() {
        let (mut pool, ids) = pool(3);
        for (id, took) in ids.iter().zip([30, 3, 4]) {
            pool.begin(*id);
            pool.end(*id, Some(took * MS));
        }
        assert_eq!(pool.choose(None), Some(ids[1]));
        pool.begin(ids[1]);
        assert_eq!(pool.choose(None), Some(ids[2]));
    }

    #[test]
    fn a_batch_that_failed_goes_to_another_server_if_there_is_one() {
        let (mut pool, ids) = pool(2);
        assert_eq!(pool.choose(Some(ids[0])), Some(ids[1]));
        pool.begin(ids[1]);
        pool.begin(ids[1]);
        assert_eq!(pool.choose(Some(ids[0])), None, "the other one is full: it is waited for");
        assert!(pool.failed(ids[1], true) && !pool.failed(ids[1], true), "it was ready until the first");
        assert_eq!(pool.choose(Some(ids[0])), Some(ids[0]), "there is no other");
        pool.unready(ids[0]);
        assert_eq!(pool.choose(None), None);
    }

    #[test]
    fn pauses_double_up_to_a_limit_and_begin_anew_after_an_answer() {
        let (mut pool, ids) = pool(1);
        let id = ids[0];
        let mut expected = FIRST_PAUSE;
        pool.begin(id);
        pool.failed(id, true);
        let mut seen = Vec::new();
        for _ in 0..12 {
            let pause = pool.pause(id);
            assert!(
                (expected.mul_f64(0.5)..expected.mul_f64(1.5)).contains(&pause),
                "{pause:?} for {expected:?}"
            );
            seen.push(pause.as_secs_f64() / expected.as_secs_f64());
            pool.missed(id);
            expected = (2 * expected).min(LONGEST_PAUSE);
        }
        seen.sort_by(f64::total_cmp);
        assert!(seen[11] - seen[0] > 0.3, "they are spread: {seen:?}");
        // A server that can be reached may still not answer batches.
        pool.set_ready(id);
        assert!(pool.pause(id) > FIRST_PAUSE * 2);
        pool.begin(id);
        pool.end(id, Some(MS));
        pool.begin(id);
        pool.failed(id, true);
        assert!(pool.pause(id) < FIRST_PAUSE * 2);
    }

    #[test]
    fn batches_that_fail_together_count_as_one_failure_of_the_server() {
        let (mut pool, ids) = pool(1);
        pool.begin(ids[0]);
        pool.begin(ids[0]);
        pool.failed(ids[0], true);
        pool.failed(ids[0], true);
        assert!(pool.pause(ids[0]) < FIRST_PAUSE * 2);
        assert_eq!((pool.places()[0].failures, pool.places()[0].in_flight), (2, 0));
    }

    #[test]
    fn a_server_that_is_gone_is_forgotten() {
        let (mut pool, ids) = pool(2);
        pool.begin(ids[0]);
        pool.remove(ids[0]);
        pool.end(ids[0], Some(MS));
        assert!(!pool.failed(ids[0], true));
        assert_eq!(pool.choose(None), Some(ids[1]));
        assert_ne!(pool.add("grpc://s0:1".to_string()), ids[0], "its name is another's now");
    }
}
