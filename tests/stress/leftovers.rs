//! What sequences may not leave behind: objects of GStreamer, frames, threads, files.

use std::{collections::BTreeMap, sync::atomic::Ordering, time::Duration};

use gst::{glib, prelude::*};
use gstrtmpose::engine;

use crate::{WORKERS, plan::MOST_STREAMS, rig::LIVE_FRAMES};

/// Idle threads that GLib keeps: at most as many as there were tasks at once.
const IDLE_THREADS: usize = WORKERS * MOST_STREAMS;

/// Makes GStreamer count its objects. Must be called before GStreamer is initialised.
pub fn trace() {
    // SAFETY: called first in the only test of this program, so no other thread reads the environment.
    unsafe { std::env::set_var("GST_TRACERS", "leaks") };
}

pub struct Process {
    threads: usize,
    files: usize,
    objects: BTreeMap<String, usize>,
}

impl Process {
    pub fn now() -> Self {
        let count = |folder| std::fs::read_dir(folder).unwrap().count();
        Self { threads: count("/proc/self/task"), files: count("/proc/self/fd"), objects: live_objects() }
    }
}

/// GStreamer's existing objects, by their types.
fn live_objects() -> BTreeMap<String, usize> {
    let tracers = gst::active_tracers();
    let leaks =
        tracers.iter().find(|tracer| tracer.type_().name() == "GstLeaksTracer").expect("it was asked for");
    let answer = leaks.emit_by_name_with_values("get-live-objects", &[]).unwrap();
    let live = answer.get::<gst::Structure>().unwrap();
    // The tracer returns references that it does not own, because it treats all objects as leaked: they must
    // not be released.
    std::mem::forget(answer);
    let mut counts = BTreeMap::new();
    for object in live.get::<gst::List>("live-objects-list").unwrap().iter() {
        let structure = object.get::<gst::Structure>().unwrap();
        let kind = structure
            .value("object")
            .map_or("unknown".to_string(), |object: &glib::SendValue| object.type_().name().to_string());
        *counts.entry(kind).or_default() += 1;
    }
    counts
}

/// Names of this process's threads.
fn threads() -> Vec<String> {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok()).collect()
}

pub fn check(before: &Process) {
    // An abandoned thread ends by itself once its run is released. This is the only wait for its last steps.
    for _ in 0..500 {
        if threads().iter().all(|name| !name.starts_with("rtmpose-run")) {
            break;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    let threads = threads();
    assert!(
        threads.iter().all(|name| !name.starts_with("rtmpose-run")),
        "threads of executors live: {threads:?}"
    );
    assert_eq!(engine::left_behind(), 0);
    assert_eq!(LIVE_FRAMES.load(Ordering::SeqCst), 0, "frames are still in memory");
    let now = Process::now();
    assert!(now.threads <= before.threads + IDLE_THREADS, "{} threads, then {threads:?}", before.threads);
    assert_eq!(now.files, before.files, "open files");
    assert_eq!(now.objects, before.objects, "GStreamer's objects that live");
}
