//! Random sequences of everything that a pipeline can do with the element, each from one seed: one of five uses
//! `rtmposedetect`, the others `rtmposebatch`.
//!
//! `RTMPOSE_STRESS_SEED=n` runs only that one, `RTMPOSE_STRESS_COUNT=n` that many, `RTMPOSE_STRESS_MINUTES=n` as many as fit
//! into the time, from `RTMPOSE_STRESS_FIRST=n` on. A seed determines what each thread does, but not how the machine
//! interleaves threads: repeating a failure can take a few hundred runs (`RTMPOSE_STRESS_REPEAT=n`).

#[path = "../common/mod.rs"]
mod common;
mod leftovers;
mod log;
mod model;
mod plan;
mod random;
mod rig;
mod watchdog;

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use common::{Behaviour, Fake, patience};
use gst::prelude::*;
use log::{Arrived, Pushed};
use plan::Plan;
use rig::Rig;

/// The number of sequences in the short form.
const COUNT: u64 = 4000;
/// The number of sequences played at once: they mostly wait.
const WORKERS: usize = 6;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
}

#[test]
fn random_sequences_keep_every_rule() {
    leftovers::trace();
    common::init();
    silence_the_fake_network();
    let first = number("RTMPOSE_STRESS_SEED").or(number("RTMPOSE_STRESS_FIRST")).unwrap_or(1);
    let minutes = number("RTMPOSE_STRESS_MINUTES");
    let repeat = number("RTMPOSE_STRESS_REPEAT").unwrap_or(1);
    let count = match (number("RTMPOSE_STRESS_SEED"), minutes) {
        (Some(_), _) => 1,
        (None, Some(_)) => u64::MAX,
        (None, None) => number("RTMPOSE_STRESS_COUNT").unwrap_or(COUNT),
    };
    // Plays one sequence first: after it GStreamer has made all that it keeps.
    play(first);
    let before = leftovers::Process::now();
    let start = Instant::now();
    let deadline = minutes.map(|minutes| start + Duration::from_secs(60 * minutes));
    let next = AtomicU64::new(0);
    let failed = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| {
                while !failed.load(Ordering::SeqCst)
                    && deadline.is_none_or(|deadline| Instant::now() < deadline)
                {
                    let index = next.fetch_add(1, Ordering::SeqCst);
                    if index >= count.saturating_mul(repeat) {
                        break;
                    }
                    if catch_unwind(AssertUnwindSafe(|| play(first + index % count))).is_err() {
                        failed.store(true, Ordering::SeqCst);
                    }
                }
            });
        }
    });
    assert!(!failed.load(Ordering::SeqCst), "a sequence broke a rule: see above");
    let played = next.load(Ordering::SeqCst).min(count.saturating_mul(repeat));
    println!("{played} sequences from seed {first} on in {:.1} s", start.elapsed().as_secs_f64());
    leftovers::check(&before);
}

/// The fake network's panics are part of the plan.
fn silence_the_fake_network() {
    let print = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if !std::thread::current().name().is_some_and(|name| name.starts_with("rtmpose-run")) {
            print(panic);
        }
    }));
}

/// Plays one sequence and checks what came out.
fn play(seed: u64) {
    let journal = Arc::new(Mutex::new(Vec::new()));
    let watched = watchdog::Watched::new(seed, &journal);
    let result = catch_unwind(AssertUnwindSafe(|| play_plan(&Plan::new(seed), &journal)));
    drop(watched);
    let broken = match result {
        Ok(Ok(())) => return,
        Ok(Err(broken)) => broken,
        Err(panic) => panic.downcast_ref::<String>().cloned().unwrap_or_else(|| "a panic".to_string()),
    };
    eprintln!("{}", journal.lock().unwrap().join("\n"));
    panic!("sequence {seed}: {broken}\nAgain: RTMPOSE_STRESS_SEED={seed} cargo test --test stress");
}

fn play_plan(plan: &Plan, journal: &Arc<Mutex<Vec<String>>>) -> Result<(), String> {
    journal.lock().unwrap().push(format!("{plan:?}"));
    let (overlaps, is_detector) = (plan.overlaps, plan.is_detector);
    let spare = plan.spare.then(|| Arc::new(Fake { is_detector, ..Fake::default() }));
    let fake = Fake { spare, overlaps, is_detector, ..Fake::default() };
    let rigs: Vec<_> = (0..plan.streams.len()).map(|index| Rig::new(plan, index, &fake, journal)).collect();
    std::thread::scope(|scope| {
        let sources: Vec<_> = rigs.iter().map(|rig| scope.spawn(|| rig.play_source())).collect();
        let controls: Vec<_> = rigs.iter().map(|rig| scope.spawn(|| rig.play_control())).collect();
        for control in controls {
            control.join().map_err(|_| "a panic in the control thread")?;
        }
        if plan.network_is_lost() {
            // Only a restart of all elements that share the network brings a new one, and releases those that
            // wait for this one.
            rigs.iter().for_each(|rig| rig.stop(gst::State::Null));
        }
        for source in sources {
            source.join().map_err(|_| "a panic in the source thread")?;
        }
        Ok::<_, String>(())
    })?;
    *fake.behaviour.lock().unwrap() = Behaviour::Answer;
    for rig in &rigs {
        rig.calm_down();
        if plan.network_is_lost() {
            rig.start_again();
        } else if plan.network_fails() || was_refused(&rig.logs().1) {
            rig.flush();
        }
    }
    rigs.iter().for_each(|rig| rig.finish());
    rigs.iter().for_each(|rig| rig.dismantle());
    fake.hanging.release();
    for rig in &rigs {
        check(rig, plan)?;
    }
    // If there is a spare network, only its executors must end: a lost device keeps its own.
    let executors = fake.spare.as_ref().unwrap_or(&Arc::new(fake.clone())).executors.clone();
    while_waiting("executors end", || executors.load(Ordering::SeqCst) == 0)?;
    for rig in rigs {
        let element = rig.element.downgrade();
        // Unlinking the pads would leave a message on the bus, with a reference to the element.
        rig.element.set_bus(None::<&gst::Bus>);
        drop(rig);
        while_waiting("the element is freed", || element.upgrade().is_none())?;
    }
    Ok(())
}

/// Waits for other threads. The watchdog ends a wait that lasts too long.
fn while_waiting(what: &str, is_done: impl Fn() -> bool) -> Result<(), String> {
    let limit = Duration::from_secs(5);
    let done = patience::wait(limit, |_| {
        std::thread::yield_now();
        is_done().then_some(())
    });
    done.ok_or_else(|| format!("{what}: not after {limit:?}"))
}

/// Whether downstream refused a frame since the last flush.
fn was_refused(arrived: &[Arrived]) -> bool {
    arrived
        .iter()
        .rev()
        .take_while(|item| !matches!(item, Arrived::Flush | Arrived::Restart))
        .any(|item| matches!(item, Arrived::Frame { answer: Err(_), .. }))
}

fn check(rig: &Rig, plan: &Plan) -> Result<(), String> {
    let (pushed, arrived) = rig.logs();
    let rules = model::Rules {
        skips: rig.plan.skips(),
        network_fails: plan.network_fails(),
        passthrough: rig.plan.passthrough,
    };
    model::check(&pushed, &arrived, rules).map_err(|broken| {
        let list = |items: Vec<String>| items.join("\n");
        let pushed = pushed.iter().enumerate().map(|(place, item)| format!("{place} {item:?}")).collect();
        let arrived = arrived.iter().map(|item| format!("{item:?}")).collect();
        format!("{}: {broken}\npushed:\n{}\narrived:\n{}", rig.element.name(), list(pushed), list(arrived))
    })?;
    let (errors, warnings) = common::errors_and_warnings(&rig.bus);
    let refused = arrived.iter().any(|item| matches!(item, Arrived::Frame { answer: Err(_), .. }));
    let starts = 1 + pushed
        .iter()
        .filter(|item| {
            let restarts_the_task = matches!(
                item,
                Pushed::Event { kind: gst::EventType::StreamStart | gst::EventType::Segment, .. }
            );
            restarts_the_task || matches!(item, Pushed::Flush | Pushed::Restart)
        })
        .count();
    let failures = errors.iter().filter(|error| error.contains("Inference failed")).count();
    let allowed = |error: &&String| {
        error.contains("Inference failed") && rules.network_fails && !rules.passthrough
            || error.contains("Internal data stream error") && (refused || rules.network_fails)
            || error.contains("A run of the model hangs") && plan.network_is_lost()
    };
    if let Some(error) = errors.iter().find(|error| !allowed(error)) {
        return Err(format!("an error that nothing explains: {error}"));
    }
    if failures > starts {
        return Err(format!("{failures} errors for {starts} starts"));
    }
    let restarts = 1 + pushed.iter().filter(|item| matches!(item, Pushed::Restart)).count();
    let explained = rules.network_fails && rules.passthrough;
    let is_explained = |warning: &&String| {
        explained && warning.contains("Inference failed") || plan.spare && warning.contains("device is lost")
    };
    // Warnings that count frames come at every EOS and stop.
    let counts_frames = |warning: &String| warning.contains("passed without inference, because");
    let (counts, warnings): (Vec<_>, Vec<_>) = warnings.into_iter().partition(counts_frames);
    if let Some(count) = counts.first().filter(|_| !rules.skips) {
        return Err(format!("no frame passes without inference: {count}"));
    }
    match warnings.iter().find(|warning| !is_explained(warning)) {
        Some(warning) => Err(format!("a warning that nothing explains: {warning}")),
        None if warnings.len() > 2 * restarts => Err(format!("{} warnings", warnings.len())),
        None => Ok(()),
    }
}
