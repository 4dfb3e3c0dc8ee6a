//! Programs of their own: the plugin as GStreamer's tools load it.

use std::{
    io::{BufRead, BufReader},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Output, Stdio},
    sync::{LazyLock, mpsc},
    time::Duration,
};

#[path = "../support/patience.rs"]
pub mod patience;
use patience::{WATCHDOG, receive};

/// A folder that is deleted when this is dropped.
pub struct Folder(PathBuf);

impl Folder {
    pub fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("rtmpose-test-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    /// A folder in Cargo's folder for tests, where it stays until the next run.
    pub fn kept(name: &str) -> Self {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Writes a file, and returns its path.
    pub fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Runs `case` on its own thread; panics if it hangs.
pub fn watched<T: Send + 'static>(what: &str, case: impl FnOnce() -> T + Send + 'static) -> T {
    let (sender, receiver) = mpsc::channel();
    let thread = std::thread::spawn(move || {
        let _ = sender.send(case());
    });
    match receive(WATCHDOG, &receiver) {
        Some(Ok(result)) => result,
        None => panic!("{what}: hangs"),
        Some(Err(_)) => match thread.join() {
            Err(panic) => std::panic::resume_unwind(panic),
            Ok(()) => unreachable!("the result is sent before the thread ends"),
        },
    }
}

/// Runs a program to its end, and kills it if it hangs.
pub fn run(command: Command) -> Output {
    run_within(WATCHDOG, command)
}

/// Like `run`, for a program that may take this long.
pub fn run_within(time: Duration, mut command: Command) -> Output {
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let child = child.unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let id = child.id();
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || sender.send(child.wait_with_output()));
    match receive(time, &receiver) {
        Some(output) => output.expect("the thread sends").unwrap(),
        None => {
            let _ = Command::new("kill").args(["-KILL", &id.to_string()]).status();
            let output = receiver.recv().unwrap().unwrap();
            panic!("{command:?} hangs: {}", text(&output));
        }
    }
}

/// All output of a program, of both streams.
pub fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// A program of examples/: `cargo test` builds them before it runs tests.
pub fn example(name: &str) -> Command {
    let test = std::env::current_exe().unwrap();
    // Cargo puts tests into target/<profile>/deps.
    let program = test.parent().unwrap().with_file_name("examples").join(name);
    assert!(program.exists(), "{} is missing: cargo build --examples", program.display());
    let mut command = Command::new(program);
    command.env_remove("GST_DEBUG");
    command
}

/// A program whose lines are read while it runs. It is killed when this is dropped.
pub struct Running(pub Child, BufReader<ChildStdout>);

impl Running {
    pub fn start(mut command: Command) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        // SAFETY: what is called between fork and exec is one system call.
        unsafe {
            // The program ends with the test, also if the test hangs or is killed.
            command.pre_exec(|| {
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                Ok(())
            });
        }
        let mut child = command.spawn().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        Self(child, output)
    }

    /// The next line; none when the program has ended.
    pub fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        (self.1.read_line(&mut line).unwrap() > 0).then(|| line.trim_end().to_string())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The plugin built with this test, alone in a folder with its own registry. All tests of a program share it,
/// because GStreamer loads all of its plugins to fill a registry.
static PLUGIN: LazyLock<Folder> = LazyLock::new(|| {
    let folder = Folder::kept("plugin");
    let program = std::env::current_exe().unwrap();
    // Cargo puts tests and the library into target/<profile>/deps.
    let built = program.parent().unwrap().join("libgstrtmpose.so");
    assert!(built.exists(), "{} was not built", built.display());
    std::fs::create_dir(folder.path().join("plugin")).unwrap();
    std::os::unix::fs::symlink(&built, folder.path().join("plugin/libgstrtmpose.so")).unwrap();
    let mut first = tool_in(&folder, "gst-inspect-1.0");
    first.arg("--version");
    run(first);
    folder
});

/// One of GStreamer's tools that sees the plugin.
pub fn tool(name: &str) -> Command {
    tool_in(&PLUGIN, name)
}

fn tool_in(folder: &Folder, name: &str) -> Command {
    let mut command = Command::new(name);
    command
        .env("GST_PLUGIN_PATH", folder.path().join("plugin"))
        .env("GST_REGISTRY", folder.path().join("registry.bin"))
        .env("LC_ALL", "C")
        .env_remove("GST_DEBUG");
    command
}
