//! Servers that fail and come back while batches run: no crop is lost, none gets another's answer, and each change is told
//! once.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use gstrtmpose::{
    engine::{Backend, Error, ErrorKind, Executor, LoadEvent, Loading, Slot},
    network::{Network, Provider},
    runtime::kserve::Fallback,
};

use super::{
    contract::official_at,
    double::{Double, Fault, Model, POINTS, SIDE, row_of},
    proxy::Proxy,
    rig::{Rig, backend, crop, names, open},
};
use crate::network_rig::process::patience::{self, WATCHDOG};

fn start() -> Double {
    Double::start(Model::default())
}

fn is_warned(rig: &Rig) -> bool {
    rig.told.iter().any(|event| matches!(event, LoadEvent::Warning(_)))
}

/// Runs `crops` crops, several at once. Every answer belongs to its crop.
fn run_many(rig: &Rig, crops: u32) {
    let crops: Vec<_> = (0..crops).map(crop).collect();
    for some in crops.chunks(32) {
        let pending: Vec<_> = some.iter().map(|crop| rig.submit(crop)).collect();
        for (crop, pending) in some.iter().zip(&pending) {
            assert_eq!(rig.answer(pending).unwrap(), row_of(crop));
        }
    }
}

#[test]
fn batches_go_to_all_servers() {
    let doubles = [start(), start(), start()];
    let rig = open(backend(&names(&[&doubles[0], &doubles[1], &doubles[2]]))).unwrap();
    assert_eq!(rig.stream.crops_in_flight(), 3 * 2 * 8, "two batches in flight on each");
    assert!(!is_warned(&rig));
    let before: Vec<_> = doubles.iter().map(|double| double.batches().len()).collect();
    // All servers are slow, so that none can take all batches.
    doubles.iter().for_each(|double| double.fail(Fault::Slow(Duration::from_millis(2))));
    run_many(&rig, 320);
    for (double, before) in doubles.iter().zip(before) {
        assert!(double.batches().len() > before, "one got nothing");
    }
}

#[test]
fn a_server_that_is_killed_costs_nothing_and_comes_back() {
    let (mut first, second) = (start(), start());
    let rig = open(backend(&names(&[&first, &second]))).unwrap();
    let at = first.at;
    for round in 0..3 {
        run_many(&rig, 64);
        first.kill();
        run_many(&rig, 64);
        let out = rig.run_until("1 of 2 are left");
        assert_eq!(out.len(), 1, "round {round}: one message: {out:?}");
        assert!(out[0].starts_with(&format!("warning: grpc://{at} failed (")), "{out:?}");
        first = Double::start_at(at, Model::default(), None, None);
        let back = rig.run_until("is ready: 2 of 2");
        assert_eq!(back, [format!("info: grpc://{at} is ready: 2 of 2 servers now run batches")]);
    }
    run_many(&rig, 64);
}

/// A server as after SIGSTOP: connections stay open, and it sends nothing.
#[test]
fn a_server_that_hangs_costs_one_deadline_and_no_crop() {
    let (first, second) = (start(), start());
    let mut asked = backend(&names(&[&first, &second]));
    asked.timeout = Duration::from_millis(300);
    let rig = open(asked).unwrap();
    first.fail(Fault::Hang);
    run_many(&rig, 320);
    let out = rig.run_until("1 of 2 are left");
    assert!(out.len() == 1 && out[0].contains("did not answer within 300ms (server-timeout)"), "{out:?}");
    let failures = rig.stream.places()[0].failures;
    assert!((1..=2).contains(&failures), "only the batches that were in flight waited: {failures}");
    first.fail(Fault::None);
    rig.run_until("is ready: 2 of 2");
}

/// The expected time of the next batch tells a live pipeline how late its frames are, for as long as the
/// pipeline plays.
#[test]
fn the_wait_for_a_server_that_hangs_is_not_expected_of_the_next_batch() {
    let (first, second) = (start(), start());
    let mut asked = backend(&names(&[&first, &second]));
    asked.timeout = Duration::from_secs(1);
    asked.in_flight = 1;
    let rig = open(asked).unwrap();
    first.fail(Fault::Hang);
    // Two batches at once, so that the first server has one even if it was the slower before.
    let crops: Vec<_> = (0..16).map(crop).collect();
    let _pending: Vec<_> = crops.iter().map(|crop| rig.submit(crop)).collect();
    rig.run_until("1 of 2 are left");
    let longest = rig.stream.statistics().runs.percentile(1.0);
    assert!(longest < Duration::from_secs(1), "{longest:?}");
    assert!(rig.stream.run_time() < Duration::from_secs(1), "{:?}", rig.stream.run_time());
}

/// The other server has all the batches that it takes when the first server's deadline is over. One batch waits
/// for it.
#[test]
fn a_batch_that_failed_waits_for_room_on_another_server() {
    let (first, second) = (start(), start());
    let mut asked = backend(&names(&[&first, &second]));
    asked.timeout = Duration::from_millis(1500);
    asked.in_flight = 1;
    let rig = open(asked).unwrap();
    first.fail(Fault::Hang);
    second.fail(Fault::Hold);
    let crops: Vec<_> = (0..16).map(crop).collect();
    let pending: Vec<_> = crops.iter().map(|crop| rig.submit(crop)).collect();
    second.wait_for_batches(1);
    // Submitted later, so that the second server still has time after the first has failed.
    while rig.news().is_empty() {
        std::thread::yield_now();
        if pending.iter().all(|pending| pending.outcome().is_some()) {
            break;
        }
    }
    second.fail(Fault::None);
    for (crop, pending) in crops.iter().zip(&pending) {
        assert_eq!(rig.answer(pending).unwrap(), row_of(crop));
    }
}

/// A hanging server has its batches in flight. All other batches go to the other server.
#[test]
fn a_slow_server_does_not_hold_up_the_others() {
    let doubles = [start(), start(), start()];
    let mut asked = backend(&names(&[&doubles[0], &doubles[1], &doubles[2]]));
    asked.timeout = Duration::from_secs(3600);
    let rig = open(asked).unwrap();
    doubles[0].fail(Fault::Hold);
    let before = doubles[0].batches().len();
    let crops: Vec<_> = (0..400).map(crop).collect();
    let mut pending = Vec::new();
    for (number, crop) in crops.iter().enumerate() {
        pending.push(rig.submit(crop));
        let unanswered = || pending.iter().filter(|pending| pending.outcome().is_none()).count();
        // The hanging server gets no further batch.
        if number % 8 == 7 {
            rig.wait(|| unanswered() <= 2 * 8);
        }
    }
    let at_once = doubles[0].batches().len() - before;
    assert!((1..=2).contains(&at_once), "{at_once}");
    doubles[0].fail(Fault::None);
    for (crop, pending) in crops.iter().zip(&pending) {
        assert_eq!(rig.answer(pending).unwrap(), row_of(crop));
    }
    assert!(rig.news().is_empty());
}

#[test]
fn a_model_that_is_unloaded_sends_batches_elsewhere() {
    let (first, second) = (start(), start());
    let rig = open(backend(&names(&[&first, &second]))).unwrap();
    first.change_model(|model| model.ready = false);
    run_many(&rig, 320);
    let out = rig.run_until("1 of 2 are left");
    assert!(out[0].contains("it is not ready"), "{out:?}");
    first.change_model(|model| model.ready = true);
    rig.run_until("is ready: 2 of 2");
}

#[test]
fn connections_that_are_reset_in_the_middle_of_an_answer_lose_no_crop() {
    let (first, second) = (start(), start());
    let rig = open(backend(&names(&[&first, &second]))).unwrap();
    first.fail(Fault::Reset);
    run_many(&rig, 640);
    first.fail(Fault::None);
    let told = rig.run_until("is ready: 2 of 2");
    assert!(
        told.iter().any(|text| text.contains("the connection broke before its answer was complete")),
        "{told:?}"
    );
    // The messages alternate: the server is out, the server is back.
    let outs: Vec<_> = told.iter().map(|text| text.starts_with("warning")).collect();
    assert!(outs.chunks(2).all(|pair| pair == [true, false]), "{told:?}");
}

#[test]
fn a_server_that_is_down_at_the_start_is_used_when_it_is_there() {
    let (first, mut second) = (start(), start());
    let (list, at) = (names(&[&first, &second]), second.at);
    second.kill();
    let rig = open(backend(&list)).unwrap();
    let warned = |event: &LoadEvent| matches!(event, LoadEvent::Warning(text) if text.contains("Not all servers are ready") && text.contains(&at.to_string()));
    assert!(rig.told.iter().any(warned), "{:?}", rig.told);
    run_many(&rig, 32);
    let _second = Double::start_at(at, Model::default(), None, None);
    let back = rig.run_until("is ready: 2 of 2");
    assert_eq!(back.len(), 1, "{back:?}");
}

/// Another model on a server that comes back is not used.
#[test]
fn a_server_that_comes_back_with_another_model_stays_out() {
    let (mut first, second) = (start(), start());
    let rig = open(backend(&names(&[&first, &second]))).unwrap();
    let at = first.at;
    first.kill();
    rig.run_until("1 of 2 are left");
    let mut model = Model::default();
    model.outputs[0].shape[1] += 1;
    let first = Double::start_at(
        at,
        model,
        None,
        Some(Box::new(|| Box::new(|_, rows| vec![0.0; rows * (POINTS + 1) * 4]))),
    );
    while first.batches().len() < 2 {
        rig.run(1).unwrap();
    }
    // The server was tried twice by now, and reported once.
    let told = rig.news();
    assert!(told.len() == 1 && told[0].contains("cannot be used: its model known differs"), "{told:?}");
    assert_eq!(rig.stream.places()[0].state, "out");
}

/// With no server and no fallback, a batch waits for a server up to the deadline, and fails.
#[test]
fn with_no_server_left_batches_fail_until_one_is_back() {
    let mut double = start();
    let mut asked = backend(&double.name());
    asked.timeout = Duration::from_millis(400);
    let rig = open(asked).unwrap();
    let at = double.at;
    double.kill();
    let error = rig.run(1).unwrap_err();
    assert!(error.contains(&at.to_string()), "{error}");
    let news = rig.news();
    assert!(
        news.len() == 1 && news[0].contains("no server is left; batches wait up to server-timeout"),
        "{news:?}"
    );
    let error = rig.run(1).unwrap_err();
    assert!(
        error.contains("no server ran a batch within 400ms") && error.contains("Connection refused"),
        "{error}"
    );
    let _double = Double::start_at(at, Model::default(), None, None);
    rig.run_until("is ready: 1 of 1");
    rig.run(2).unwrap();
}

/// An answer counts only when it is complete, with its status. What follows a lost byte is never taken for an
/// answer.
#[test]
fn a_proxy_that_loses_bytes_of_answers_loses_no_crop() {
    let (behind, direct) = (start(), start());
    let proxy = Proxy::before(behind.at);
    let mut asked = backend(&format!("grpc://{},{}", proxy.at, direct.name()));
    asked.timeout = Duration::from_millis(200);
    let rig = open(asked).unwrap();
    run_many(&rig, 64);
    proxy.lose_bytes(true);
    let mut told = Vec::new();
    let is_told = patience::wait(WATCHDOG, |_| {
        // Enough crops at once that both servers get some.
        run_many(&rig, 64);
        told.extend(rig.news());
        told.iter().any(|text| text.contains("1 of 2 are left")).then_some(())
    });
    assert!(is_told.is_some() && told[0].contains(&proxy.at.to_string()), "{told:?}");
    proxy.lose_bytes(false);
    // It may be back already: an answer that is short enough comes through whole.
    while !told.last().is_some_and(|text| text.contains("is ready: 2 of 2")) {
        told.extend(rig.run_until("is ready: 2 of 2"));
    }
}

/// The fallback in this process: it answers like the servers.
#[derive(Clone)]
struct Here {
    batches: Arc<AtomicUsize>,
    points: usize,
}

impl Default for Here {
    fn default() -> Self {
        Self { batches: Arc::default(), points: POINTS }
    }
}

struct HereExecutor(Here, Vec<u8>);

impl Backend for Here {
    type Network = Network;

    fn open(&self, _loading: &Loading) -> Result<(Network, Box<dyn Executor>), Error> {
        let mut network = Network::simcc(SIDE as u32, SIDE as u32, self.points, "here");
        network.provider = Provider::Cpu;
        Ok((network, Box::new(HereExecutor(self.clone(), vec![0; 8 * SIDE * SIDE * 3]))))
    }
}

impl Executor for HereExecutor {
    fn load(&mut self, row: usize, crop: &dyn Slot) {
        let length = SIDE * SIDE * 3;
        self.1[row * length..][..length].copy_from_slice(crop.bytes());
    }

    fn run(&mut self, rows: usize, answers: &mut [f32]) -> Result<usize, Error> {
        self.0.batches.fetch_add(1, Ordering::SeqCst);
        let row = self.0.points.min(POINTS) * 4;
        for (crop, answer) in
            self.1.chunks(SIDE * SIDE * 3).zip(answers.chunks_mut(self.0.points * 4)).take(rows)
        {
            answer[..row].copy_from_slice(&row_of(crop)[..row]);
        }
        Ok(rows)
    }

    fn warm_up_sizes(&self) -> Vec<usize> {
        Vec::new()
    }
}

fn falling_back(list: &str, here: &Here, is_named: bool) -> gstrtmpose::runtime::kserve::KserveBackend {
    let mut asked = backend(list);
    asked.fallback = Some(Fallback { backend: Arc::new(here.clone()), is_named });
    asked
}

#[test]
fn with_no_server_left_the_network_goes_on_here_and_returns() {
    let here = Here::default();
    let (mut first, mut second) = (start(), start());
    let (list, ats) = (names(&[&first, &second]), [first.at, second.at]);
    let rig = open(falling_back(&list, &here, false)).unwrap();
    run_many(&rig, 64);
    assert_eq!(here.batches.load(Ordering::SeqCst), 0);
    first.kill();
    second.kill();
    // Not one crop fails.
    run_many(&rig, 64);
    let told = rig.run_until("so the model runs in this process (cpu)");
    assert_eq!(told.iter().filter(|text| text.starts_with("warning")).count(), told.len());
    assert!(told.len() <= 2 && rig.stream.provider() == "cpu", "{told:?}");
    let here_before = here.batches.load(Ordering::SeqCst);
    assert!(here_before > 0);
    run_many(&rig, 64);
    assert!(rig.news().is_empty(), "it is told once");
    let _first = Double::start_at(ats[0], Model::default(), None, None);
    let back = rig.run_until("is ready: 1 of 2");
    assert!(back.len() == 1 && back[0].contains("this process no longer does"), "{back:?}");
    assert_eq!(rig.stream.provider(), "server");
    let here_before = here.batches.load(Ordering::SeqCst);
    run_many(&rig, 64);
    assert_eq!(here.batches.load(Ordering::SeqCst), here_before);
}

/// A server that has ended. Until it is dropped, no other server gets its address.
fn gone() -> Double {
    let mut double = start();
    double.kill();
    double
}

#[test]
fn with_no_server_at_the_start_the_network_begins_here_and_goes_over() {
    let here = Here::default();
    let gone = gone();
    let at = gone.at;
    let mut asked = falling_back(&gone.name(), &here, true);
    asked.timeout = Duration::from_millis(200);
    let rig = open(asked).unwrap();
    assert_eq!(rig.stream.provider(), "cpu");
    let told = rig.news();
    assert_eq!(told.len(), 1, "{told:?}");
    for word in [
        "After 2s, no server has the model known ready",
        "Connection refused",
        "runs in this process (cpu) until a server is ready",
        "fallback=none",
    ] {
        assert!(told[0].contains(word), "{told:?}");
    }
    run_many(&rig, 64);
    assert!(here.batches.load(Ordering::SeqCst) > 0);
    let double = Double::start_at(at, Model::default(), None, None);
    let back = rig.run_until("is ready: 1 of 1");
    assert!(back.len() == 1 && back[0].contains("this process no longer does"), "{back:?}");
    assert_eq!(rig.stream.provider(), "server");
    let (here_before, there_before) = (here.batches.load(Ordering::SeqCst), double.batches().len());
    run_many(&rig, 64);
    assert_eq!(here.batches.load(Ordering::SeqCst), here_before);
    assert!(double.batches().len() > there_before);
}

/// Crops have the servers' form only once a server is there.
#[test]
fn a_network_that_has_begun_here_goes_over_to_servers_that_take_floats() {
    let gone = gone();
    let at = gone.at;
    let here = Here { points: 1, ..Here::default() };
    let mut asked = falling_back(&gone.name(), &here, true);
    asked.timeout = Duration::from_millis(200);
    let rig = open(asked).unwrap();
    let of = |red: u8| {
        let mut crop = crop(9);
        crop[0] = red;
        (rig.answer(&rig.submit(&crop)).unwrap(), row_of(&crop)[..4].to_vec())
    };
    let (answer, here) = of(3);
    assert_eq!(answer, here);
    let _double = official_at(at);
    patience::wait(WATCHDOG, |_| {
        of(1);
        (rig.stream.provider() == "server").then_some(())
    });
    for red in [0, 3, 7] {
        assert_eq!(of(red).0, [f32::from(red) / 2.0, 0.5, 0.75, 0.5]);
    }
}

#[test]
fn a_server_that_comes_late_with_another_network_is_told_of_once_and_not_used() {
    let here = Here { points: POINTS + 1, ..Here::default() };
    let gone = gone();
    let at = gone.at;
    let mut asked = falling_back(&gone.name(), &here, true);
    asked.timeout = Duration::from_millis(200);
    let rig = open(asked).unwrap();
    let double = Double::start_at(at, Model::default(), None, None);
    let run_and_listen = |told: &mut Vec<String>| {
        rig.answer(&rig.submit(&crop(1))).unwrap();
        told.extend(rig.news());
    };
    let mut told = Vec::new();
    let words = "cannot be used: the model that runs in this process returns 4 key points of 4x4 crops";
    let is_told = patience::wait(WATCHDOG, |_| {
        run_and_listen(&mut told);
        told.last().is_some_and(|text| text.contains(words)).then_some(())
    });
    assert!(
        is_told.is_some() && told.last().unwrap().contains("the servers' model 3 key points"),
        "{told:?}"
    );
    // The server was tried again and again, and reported once.
    let tries = double.batches().len() + 2;
    while double.batches().len() < tries {
        run_and_listen(&mut told);
    }
    assert_eq!((told.len(), rig.stream.provider().as_str()), (2, "cpu"), "{told:?}");
}

/// The embedded network, which no property named, may differ from the servers' model.
#[test]
fn with_no_server_at_the_start_an_unnamed_network_does_not_begin() {
    let gone = gone();
    let mut asked = falling_back(&gone.name(), &Here::default(), false);
    asked.timeout = Duration::from_millis(200);
    let error = open(asked).map(|_| ()).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Server);
    for word in ["no server has the model known ready", "model-file", "starts with it in this process"] {
        assert!(error.message.contains(word), "{error}");
    }
}

#[test]
fn another_network_cannot_take_the_servers_place() {
    let here = Here { points: POINTS + 1, ..Here::default() };
    let double = start();
    let error = open(falling_back(&double.name(), &here, true)).map(|_| ()).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Settings);
    for word in [
        "cannot replace the servers' model",
        "returns 4 key points of 4x4",
        "model 3 key points",
        "fallback=none",
    ] {
        assert!(error.message.contains(word), "{error}");
    }
    // The embedded network, which no property named, is silently not used.
    let rig = open(falling_back(&double.name(), &here, false)).unwrap();
    let told = |event: &LoadEvent| matches!(event, LoadEvent::Info(text) if text.contains("Nothing replaces the servers"));
    assert!(rig.told.iter().any(told) && !is_warned(&rig), "{:?}", rig.told);
}

/// An engine that is closed does not wait for a server that hangs.
#[test]
fn a_batch_that_hangs_ends_with_its_engine() {
    let double = start();
    let mut asked = backend(&double.name());
    asked.timeout = Duration::from_secs(3600);
    let rig = open(asked).unwrap();
    double.fail(Fault::Hang);
    let pending = rig.submit(&crop(1));
    double.wait_for_batches(1);
    drop(rig);
    assert!(pending.outcome().unwrap().is_err());
}
