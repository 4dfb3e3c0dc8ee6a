//! Ends the process when a sequence takes too long, with what is known of it.

use std::{
    collections::HashMap,
    io::Write,
    process::{Command, Stdio},
    sync::{Arc, LazyLock, Mutex},
    time::Duration,
};

use crate::common::patience::PatientClock;

type Journal = Arc<Mutex<Vec<String>>>;

/// The sequences in progress, by their seeds: when they began, and their steps so far.
#[derive(Default)]
struct Played {
    clock: PatientClock,
    sequences: HashMap<u64, (Duration, Journal)>,
}

static PLAYED: LazyLock<Mutex<Played>> = LazyLock::new(|| {
    std::thread::Builder::new().name("watchdog".to_string()).spawn(watch).unwrap();
    Mutex::default()
});

/// A sequence in progress. Dropping this ends it.
pub struct Watched(u64);

impl Watched {
    pub fn new(seed: u64, journal: &Journal) -> Self {
        let mut played = PLAYED.lock().unwrap();
        let now = played.clock.now();
        played.sequences.insert(seed, (now, journal.clone()));
        Self(seed)
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        PLAYED.lock().unwrap().sequences.remove(&self.0);
    }
}

fn watch() {
    let patience = std::env::var("RTMPOSE_STRESS_PATIENCE").map_or(10, |seconds| seconds.parse().unwrap());
    loop {
        std::thread::sleep(Duration::from_millis(200));
        let mut played = PLAYED.lock().unwrap();
        let now = played.clock.now();
        let late =
            played.sequences.iter().find(|(_, (start, _))| now - *start > Duration::from_secs(patience));
        if let Some((seed, (_, journal))) = late {
            tell(&format!("Sequence {seed} has not ended after {patience} s. Its steps:"));
            tell(&journal.lock().unwrap().join("\n"));
            print_stacks();
            tell(&format!("Again: RTMPOSE_STRESS_SEED={seed} cargo test --test stress"));
            std::process::exit(1);
        }
    }
}

/// Prints a line. Not with `eprintln`, whose text the test program keeps for the end of the test.
fn tell(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// Prints all stacks with gdb, if it is installed and allowed to attach to this process.
fn print_stacks() {
    // SAFETY: a plain system call. Yama otherwise keeps a child from looking into its parent.
    unsafe { libc_prctl() };
    let pid = std::process::id().to_string();
    let mut gdb = Command::new("gdb");
    gdb.args(["-p", &pid, "-batch", "-ex", "thread apply all bt"]).stdin(Stdio::null());
    // Not through a pipe that this process reads, because gdb stops it.
    let stacks = gdb.stdout(std::io::stderr()).stderr(Stdio::null()).status();
    if let Err(error) = stacks {
        tell(&format!("No stacks: gdb cannot be started ({error})"));
    }
}

unsafe fn libc_prctl() {
    unsafe extern "C" {
        fn prctl(option: i32, ...) -> i32;
    }
    const PR_SET_PTRACER: i32 = 0x59616d61;
    // SAFETY: PR_SET_PTRACER takes a process id; all ones mean any.
    unsafe { prctl(PR_SET_PTRACER, u64::MAX, 0u64, 0u64, 0u64) };
}
