//! Thousands of cameras on many clients and servers, in simulated time: compares the pool's choice of server with other
//! choices.
//!
//! `cargo test --lib kserve::simulation -- --nocapture` prints the table in `benches/RESULTS.md`.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, VecDeque},
    time::Duration,
};

use super::pool::{Id, Pool};

const LENGTH: f64 = 5.0;
/// Batches that begin before this time are not counted.
const WARM_UP: f64 = 0.5;
const RATE: f64 = 30.0;
const BATCH_SIZE: usize = 8;
const BATCH_TIMEOUT: f64 = 0.015;
const SERVER_TIMEOUT: f64 = 1.0;
/// On each server, from one client.
const IN_FLIGHT: usize = 2;
/// What a server runs at once; further batches wait there.
const INSTANCES: usize = 2;
/// There and back, randomly.
const NETWORK: [f64; 2] = [0.0002, 0.002];

/// Seconds for a batch of eight, two of which run at once: with RTMPose-m in half precision an H100 runs 3,800 crops a
/// second in ONNX Runtime without captured graphs, as Triton uses it, and 8,430 with them (measured).
const H100: f64 = 2.0 * 8.0 / 3800.0;
const CAPTURED: f64 = 2.0 * 8.0 / 8430.0;
/// Not measured: according to its maker's figures for products in half precision (121 and 989 TFLOPS), it has an eighth of
/// that.
const L4: f64 = 8.0 * H100;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Policy {
    /// The pool's own choice.
    Fewest,
    RoundRobin,
    /// The one with fewer in flight of two random servers.
    TwoChoices,
}

/// The same numbers in every run.
struct Random(u64);

impl Random {
    fn share(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 11) as f64 / (1u64 << 53) as f64
    }

    fn between(&mut self, [least, most]: [f64; 2]) -> f64 {
        least + (most - least) * self.share()
    }

    /// Time until the next of random events with this rate per second.
    fn until_next(&mut self, rate: f64) -> f64 {
        -(1.0 - self.share()).ln() / rate
    }
}

#[derive(Clone, Copy, Debug)]
enum Event {
    /// The next batch of a client is full, or its oldest crop has waited long enough.
    Cut(usize),
    Arrive(usize),
    Run(usize, usize),
    Answer(usize),
    Late(usize, u32),
    /// A client tries a server again.
    Probe(usize, Id),
    /// A server stops to answer batches; and starts again.
    Fail(usize),
    Return(usize),
}

struct Batch {
    client: usize,
    oldest: f64,
    /// When and where it was last sent to a server.
    sent: f64,
    server: Id,
    tries: u32,
    is_answered: bool,
}

struct Server {
    /// Seconds for a batch.
    service: f64,
    waiting: VecDeque<usize>,
    running: usize,
    is_down: bool,
}

struct Client {
    pool: Pool,
    waiting: VecDeque<(usize, Option<Id>)>,
    turn: u64,
    latencies: Vec<f64>,
}

struct Simulation {
    now: f64,
    events: BinaryHeap<Reverse<(u64, u64)>>,
    kinds: Vec<Event>,
    random: Random,
    policy: Policy,
    rate: f64,
    clients: Vec<Client>,
    servers: Vec<Server>,
    batches: Vec<Batch>,
    failed: usize,
}

impl Simulation {
    fn new(cameras: usize, clients: usize, services: &[f64], policy: Policy) -> Self {
        let client = |number: usize| {
            let mut pool = Pool::new(IN_FLIGHT, number as u64 + 1);
            for server in 0..services.len() {
                let id = pool.add(format!("grpc://s{server}:8001"));
                pool.set_ready(id);
            }
            Client { pool, waiting: VecDeque::new(), turn: number as u64, latencies: Vec::new() }
        };
        let server = |service: &f64| Server {
            service: *service,
            waiting: VecDeque::new(),
            running: 0,
            is_down: false,
        };
        let mut simulation = Self {
            now: 0.0,
            events: BinaryHeap::new(),
            kinds: Vec::new(),
            random: Random(11),
            policy,
            rate: cameras as f64 * RATE / clients as f64,
            clients: (0..clients).map(client).collect(),
            servers: services.iter().map(server).collect(),
            batches: Vec::new(),
            failed: 0,
        };
        (0..clients).for_each(|client| simulation.begin_batch(client));
        simulation
    }

    fn at(&mut self, time: f64, event: Event) {
        self.events.push(Reverse(((time * 1e9) as u64, self.kinds.len() as u64)));
        self.kinds.push(event);
    }

    /// The first crop of a client's next batch arrives; later enough others do, or the deadline comes.
    fn begin_batch(&mut self, client: usize) {
        let oldest = self.now + self.random.until_next(self.rate);
        let fills = (1..BATCH_SIZE).fold(oldest, |at, _| at + self.random.until_next(self.rate));
        let batch = Batch { client, oldest, sent: 0.0, server: 0, tries: 0, is_answered: false };
        self.batches.push(batch);
        let number = self.batches.len() - 1;
        self.at(fills.min(oldest + BATCH_TIMEOUT), Event::Cut(number));
    }

    fn choose(&mut self, client: usize, except: Option<Id>) -> Option<Id> {
        let Client { pool, turn, .. } = &mut self.clients[client];
        if self.policy == Policy::Fewest {
            return pool.choose(except);
        }
        let room: Vec<_> = pool
            .members()
            .iter()
            .filter(|member| member.is_ready && member.in_flight < IN_FLIGHT && Some(member.id) != except)
            .map(|member| (member.id, member.in_flight))
            .collect();
        if room.is_empty() {
            return None;
        }
        if self.policy == Policy::RoundRobin {
            *turn += 1;
            let next = room.iter().map(|(id, _)| *id).find(|id| *id >= *turn % pool.members().len() as u64);
            return next.or(Some(room[0].0));
        }
        let pick = |random: &mut Random| room[(random.share() * room.len() as f64) as usize];
        let (one, other) = (pick(&mut self.random), pick(&mut self.random));
        Some(if other.1 < one.1 { other.0 } else { one.0 })
    }

    /// Sends a client's batches, as far as servers have room.
    fn send(&mut self, client: usize) {
        while let Some(&(batch, except)) = self.clients[client].waiting.front() {
            let Some(id) = self.choose(client, except) else { return };
            self.clients[client].waiting.pop_front();
            self.clients[client].pool.begin(id);
            let tries = {
                let batch = &mut self.batches[batch];
                (batch.sent, batch.server) = (self.now, id);
                batch.tries += 1;
                batch.tries
            };
            let way = self.random.between(NETWORK) / 2.0;
            self.at(self.now + way, Event::Arrive(batch));
            self.at(self.now + SERVER_TIMEOUT, Event::Late(batch, tries));
        }
    }

    fn serve(&mut self, number: usize) {
        let server = &mut self.servers[number];
        while !server.is_down && server.running < INSTANCES {
            let Some(batch) = server.waiting.pop_front() else { return };
            server.running += 1;
            let end = self.now + server.service;
            self.events.push(Reverse(((end * 1e9) as u64, self.kinds.len() as u64)));
            self.kinds.push(Event::Run(number, batch));
        }
    }

    fn run(mut self) -> Figures {
        while let Some(Reverse((time, number))) = self.events.pop() {
            self.now = time as f64 / 1e9;
            if self.now > LENGTH {
                break;
            }
            self.happen(self.kinds[number as usize]);
        }
        Figures::of(self)
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Cut(batch) => {
                let client = self.batches[batch].client;
                self.clients[client].waiting.push_back((batch, None));
                self.send(client);
                self.begin_batch(client);
            }
            Event::Arrive(batch) => {
                let server = self.batches[batch].server as usize;
                // A stopped server accepts batches and does not answer.
                if !self.servers[server].is_down {
                    self.servers[server].waiting.push_back(batch);
                    self.serve(server);
                }
            }
            Event::Run(server, batch) => {
                self.servers[server].running -= 1;
                if !self.servers[server].is_down && self.batches[batch].server as usize == server {
                    let way = self.random.between(NETWORK) / 2.0;
                    self.at(self.now + way, Event::Answer(batch));
                }
                self.serve(server);
            }
            Event::Answer(number) => {
                let Batch { client, oldest, sent, server, .. } = self.batches[number];
                if std::mem::replace(&mut self.batches[number].is_answered, true) {
                    return;
                }
                let took = Duration::from_secs_f64(self.now - sent);
                self.clients[client].pool.end(server, Some(took));
                if oldest > WARM_UP {
                    self.clients[client].latencies.push(self.now - oldest);
                }
                self.send(client);
            }
            Event::Late(number, tries) => {
                let Batch { client, server, is_answered, tries: now, .. } = self.batches[number];
                if is_answered || tries != now {
                    return;
                }
                if self.clients[client].pool.failed(server, true) {
                    let pause = self.clients[client].pool.pause(server).as_secs_f64();
                    self.at(self.now + pause, Event::Probe(client, server));
                }
                if now < 2 {
                    self.clients[client].waiting.push_front((number, Some(server)));
                } else {
                    self.failed += 1;
                }
                self.send(client);
            }
            Event::Probe(client, id) => {
                if self.servers[id as usize].is_down {
                    self.clients[client].pool.missed(id);
                    let pause = self.clients[client].pool.pause(id).as_secs_f64();
                    self.at(self.now + pause, Event::Probe(client, id));
                } else {
                    self.clients[client].pool.set_ready(id);
                    self.send(client);
                }
            }
            Event::Fail(server) => {
                self.servers[server].is_down = true;
                self.servers[server].waiting.clear();
            }
            Event::Return(server) => self.servers[server].is_down = false,
        }
    }
}

struct Figures {
    /// Batches per second.
    rate: f64,
    p50: f64,
    p99: f64,
    /// For the client that waits longest.
    worst_p99: f64,
    /// Batches that no server answered.
    failed: usize,
    /// Batches that were still in flight at the end.
    open: usize,
}

fn percentile(sorted: &[f64], share: f64) -> f64 {
    sorted[((sorted.len() - 1) as f64 * share) as usize]
}

impl Figures {
    fn of(simulation: Simulation) -> Self {
        let open = simulation.batches.iter().filter(|batch| batch.tries > 0 && !batch.is_answered).count();
        let mut clients = simulation.clients;
        clients.iter_mut().for_each(|client| client.latencies.sort_unstable_by(f64::total_cmp));
        let mut all: Vec<_> = clients.iter().flat_map(|client| &client.latencies).copied().collect();
        all.sort_unstable_by(f64::total_cmp);
        Self {
            rate: all.len() as f64 / (LENGTH - WARM_UP),
            p50: percentile(&all, 0.5),
            p99: percentile(&all, 0.99),
            worst_p99: clients.iter().map(|client| percentile(&client.latencies, 0.99)).fold(0.0, f64::max),
            failed: simulation.failed,
            open: open - simulation.failed,
        }
    }
}

/// A row of the table.
struct Case {
    name: &'static str,
    cameras: usize,
    clients: usize,
    servers: Vec<f64>,
    /// This many servers hang from the first to the second value, in seconds.
    hanging: usize,
}

#[test]
fn many_cameras_on_many_servers() {
    let cases = [
        Case { name: "4 H100", cameras: 350, clients: 8, servers: vec![H100; 4], hanging: 0 },
        Case { name: "40 H100", cameras: 3500, clients: 8, servers: vec![H100; 40], hanging: 0 },
        Case { name: "40 H100", cameras: 3500, clients: 64, servers: vec![H100; 40], hanging: 0 },
        Case {
            name: "40 H100 with captured graphs",
            cameras: 10_000,
            clients: 64,
            servers: vec![CAPTURED; 40],
            hanging: 0,
        },
        Case {
            name: "40 H100, 4 of them hang for a second",
            cameras: 3000,
            clients: 64,
            servers: vec![H100; 40],
            hanging: 4,
        },
        Case { name: "40 L4", cameras: 440, clients: 16, servers: vec![L4; 40], hanging: 0 },
        Case {
            name: "8 H100 and 16 L4",
            cameras: 850,
            clients: 16,
            servers: [[H100; 8].to_vec(), vec![L4; 16]].concat(),
            hanging: 0,
        },
    ];
    println!(
        "| servers | cameras, 30 fps | clients | which server | batches/s | p50, ms | p99 | worst client's p99 |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    std::thread::scope(|scope| {
        let mut rows = Vec::new();
        for case in &cases {
            for policy in [Policy::Fewest, Policy::RoundRobin, Policy::TwoChoices] {
                let mut simulation = Simulation::new(case.cameras, case.clients, &case.servers, policy);
                for server in 0..case.hanging {
                    simulation.at(1.0, Event::Fail(server));
                    simulation.at(2.0, Event::Return(server));
                }
                rows.push((case, policy, scope.spawn(move || simulation.run())));
            }
        }
        let mut fewest = f64::NAN;
        for (case, policy, figures) in rows {
            let figures = figures.join().unwrap();
            let policy_name = match policy {
                Policy::Fewest => "fewest in flight",
                Policy::RoundRobin => "in turn",
                Policy::TwoChoices => "two choices",
            };
            let Figures { rate, p50, p99, worst_p99, failed, open } = figures;
            let ms = |seconds: f64| seconds * 1000.0;
            println!(
                "| {} | {} | {} | {policy_name} | {rate:.0} | {:.1} | {:.1} | {:.1} |",
                case.name,
                case.cameras,
                case.clients,
                ms(p50),
                ms(p99),
                ms(worst_p99)
            );
            assert_eq!(failed, 0, "a batch was lost");
            if policy == Policy::Fewest {
                fewest = p99;
                // The required rate is reached: nothing piles up.
                assert!((open as f64) < 0.1 * rate, "{open} are under way");
                assert!(worst_p99 <= 1.5 * p99 + 0.001, "a client pays for the others");
                // A batch waits until it is full, for earlier batches on its server, and for its own run.
                let slowest = case.servers.iter().copied().fold(0.0, f64::max);
                assert!(p99 < BATCH_TIMEOUT + NETWORK[1] + 3.0 * slowest, "{p99}");
            } else {
                assert!(fewest <= p99 * 1.05, "{policy:?} is better: {p99}");
            }
        }
    });
}
