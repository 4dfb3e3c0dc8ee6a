//! The plugin after an installation, by `scripts/install-user` or by the Debian package: run by `gst-launch-1.0` without any
//! of our variables, on machines with and without NVIDIA's driver.
//!
//! `benches/gpu test` runs the tests that need a GPU. On a machine without the checkout's build, PLUGIN, LIBRARY and
//! GPU_LIBRARY are the paths of the plugin, of ONNX Runtime for the CPU, and of the one for CUDA, with the files around it
//! as after `make setup GPU=1`.

mod network_rig;

use std::{
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::LazyLock,
    time::Duration,
};

use gstrtmpose::{
    engine::{Backend, Cancel, LoadEvent, Loading},
    runtime::onnx::{OnnxBackend, Provider, Search},
};
use network_rig::{
    network,
    process::{Folder, run, run_within, text},
    stub::stub,
};

/// The file that the variable names, or else the checkout's.
fn file(variable: &str, of_the_checkout: impl AsRef<Path>) -> PathBuf {
    let file =
        std::env::var_os(variable).map_or_else(|| of_the_checkout.as_ref().to_path_buf(), PathBuf::from);
    let file = std::path::absolute(file).unwrap();
    assert!(file.exists(), "{} is not there: set {variable}", file.display());
    file
}

fn plugin() -> PathBuf {
    // Cargo puts tests and the library into target/<profile>/deps.
    file("PLUGIN", std::env::current_exe().unwrap().with_file_name("libgstrtmpose.so"))
}

/// ONNX Runtime for the CPU only.
fn cpu_library() -> PathBuf {
    file("LIBRARY", ".deps/onnxruntime/libonnxruntime.so.1")
}

/// ONNX Runtime for CUDA. NVIDIA's libraries are where `make setup GPU=1` puts them.
fn gpu_library() -> PathBuf {
    file("GPU_LIBRARY", ".deps/gpu/onnxruntime/capi/libonnxruntime.so.1")
}

/// A home folder whose registry knows GStreamer's own plugins, because scanning them takes seconds.
static REGISTRY: LazyLock<Folder> = LazyLock::new(|| {
    let home = Folder::kept("installed-registry");
    let mut first = scrubbed("gst-inspect-1.0", home.path());
    first.arg("--version");
    let output = run(first);
    assert!(output.status.success() && home.path().join(".cache").exists(), "{}", text(&output));
    home
});

/// A program with only the variables of every login, and those that name this GStreamer.
fn scrubbed(program: &str, home: &Path) -> Command {
    let mut command = Command::new(program);
    command.env_clear().env("HOME", home).env("LC_ALL", "C");
    for name in ["PATH", "GST_PLUGIN_SYSTEM_PATH", "GST_PLUGIN_SCANNER"] {
        command.envs(std::env::var_os(name).map(|value| (name, value)));
    }
    command
}

struct Installation {
    home: Folder,
    /// A folder that GStreamer would search by itself if the package were installed.
    packaged: Option<PathBuf>,
}

impl Installation {
    fn new(name: &str) -> Self {
        let home = Folder::new(&format!("installed-{name}"));
        let status =
            Command::new("cp").arg("-a").arg(REGISTRY.path().join(".cache")).arg(home.path()).status();
        assert!(status.unwrap().success());
        Self { home, packaged: None }
    }

    /// Installs like `make install-user`: with ONNX Runtime, or a link to it, beside the plugin.
    fn user(name: &str, library: &Path, link: bool) -> Self {
        let this = Self::new(name);
        let mut command = scrubbed("bash", this.home.path());
        let script = ". scripts/lib.sh; . scripts/user-folder.sh; put_installed \"$@\"";
        command.args(["-c", script, "bash"]).args([plugin().as_path(), library]);
        command.args(link.then_some("link"));
        let output = run(command);
        assert!(output.status.success(), "{}", text(&output));
        this
    }

    /// Installs like `scripts/deb` or, without a library, like Meson.
    fn packaged(name: &str, library: Option<&Path>) -> Self {
        let mut this = Self::new(name);
        let folder =
            this.home.path().join(format!("usr/lib/{}-linux-gnu/gstreamer-1.0", std::env::consts::ARCH));
        std::fs::create_dir_all(&folder).unwrap();
        for file in [Some(plugin().as_path()), library].into_iter().flatten() {
            std::fs::copy(file, folder.join(file.file_name().unwrap())).unwrap();
        }
        this.packaged = Some(folder);
        this
    }

    /// Both installations, with ONNX Runtime for the CPU.
    fn both(name: &str) -> [Self; 2] {
        let library = cpu_library();
        [
            Self::user(&format!("{name}-user"), &library, false),
            Self::packaged(&format!("{name}-deb"), Some(&library)),
        ]
    }

    /// `gst-launch-1.0` with this line.
    fn launch(&self, line: &str) -> Command {
        let mut command = scrubbed("gst-launch-1.0", self.home.path());
        command.args(line.split_whitespace());
        command.envs(self.packaged.iter().map(|folder| ("GST_PLUGIN_PATH", folder)));
        command
    }

    /// A launch line of twenty frames with those properties, on a network that takes no time.
    fn tiny(&self, properties: &str) -> Command {
        let model = network("dots-small");
        let model = model.display();
        self.launch(&format!(
            "videotestsrc num-buffers=20 ! videoconvert ! rtmposebatch model-file={model} {properties} ! fakesink"
        ))
    }
}

const DRIVER_FILES: [&str; 3] = ["/proc/driver/nvidia/version", "/dev/nvidiactl", "/dev/dxg"];

fn has_driver() -> bool {
    DRIVER_FILES.iter().any(|file| Path::new(file).exists())
}

/// Runs a command in its own namespace, whose /dev has the file of NVIDIA's driver. So the kernel shows the
/// driver, but none of its libraries exist. None, with the reason, if this user cannot make a namespace.
fn with_driver(command: &Command) -> Option<Output> {
    const DEVICES: &str = r#"
        dev=$1; shift
        mount -t tmpfs none "$dev"
        for file in null zero full random urandom tty; do touch "$dev/$file"; mount --bind "/dev/$file" "$dev/$file"; done
        mkdir "$dev/shm"
        touch "$dev/nvidiactl"
        mount --move "$dev" /dev
        exec "$@""#;
    if has_driver() {
        let mut command = copy(command);
        command.env("CUDA_VISIBLE_DEVICES", "");
        return Some(run(command));
    }
    let folder = Folder::new(&format!("driver-{:?}", std::thread::current().id()));
    for namespace in [&["--mount"][..], &["--mount", "--map-root-user"]] {
        let mut test = Command::new("unshare");
        test.args(namespace).args(["sh", "-ec", DEVICES, "sh"]).arg(folder.path()).arg("true");
        if run(test).status.success() {
            let mut inside = copy(command);
            let program = std::mem::replace(&mut inside, Command::new("unshare"));
            inside.args(namespace).args(["sh", "-ec", DEVICES, "sh"]).arg(folder.path());
            inside.arg(program.get_program()).args(program.get_args()).env_clear();
            inside.envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))));
            return Some(run(inside));
        }
    }
    eprintln!("SKIPPED: this user can make no namespace in which the driver's file could be shown");
    None
}

fn copy(command: &Command) -> Command {
    let mut copy = Command::new(command.get_program());
    copy.args(command.get_args()).env_clear();
    copy.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    copy
}

/// Asserts that the line ended as expected, with this number of the element's warnings and errors, and that the
/// output contains these words.
#[track_caller]
fn assert_ended(output: &Output, [warnings, errors]: [usize; 2], words: &[&str]) {
    let text = text(output);
    let count = |what: &str| text.matches(&format!("{what}: from element")).count();
    assert_eq!([count("WARNING"), count("ERROR")], [warnings, errors], "{text}");
    assert_eq!(output.status.success(), errors == 0, "{text}");
    for word in words {
        assert!(text.contains(word), "`{word}` is missing in:\n{text}");
    }
    for noise in ["panicked", "Panic", "CRITICAL"] {
        assert!(!text.contains(noise), "{text}");
    }
}

#[test]
#[cfg(feature = "embedded-model")]
fn the_first_launch_line_runs_with_no_variable_set() {
    for installed in Installation::both("first") {
        let output =
            run(installed.launch("videotestsrc num-buffers=20 ! videoconvert ! rtmposebatch ! fakesink"));
        let warnings = usize::from(has_driver());
        assert_ended(&output, [warnings, 0], &["coco-17 key points on cpu", "Got EOS from element"]);
    }
}

const NO_CUDA: &str = "The CUDA execution provider cannot be used";

/// A machine on which `make setup GPU=1` was not run, or one with the package.
#[test]
fn a_driver_and_a_build_for_the_processor_are_the_processor_and_one_warning() {
    for installed in Installation::both("cpu-build") {
        let Some(output) = with_driver(&installed.tiny("")) else { return };
        assert_ended(
            &output,
            [1, 0],
            &[
                NO_CUDA,
                "`make setup GPU=1`",
                "the model runs on the CPU instead",
                "key points on cpu",
                "Got EOS from element",
            ],
        );
        for (provider, words) in
            [("cuda", NO_CUDA), ("tensorrt", "The TensorRT execution provider cannot be used")]
        {
            let output = with_driver(&installed.tiny(&format!("execution-provider={provider}"))).unwrap();
            assert_ended(&output, [0, 1], &[words, "or set execution-provider=cpu or auto"]);
        }
        let output = with_driver(&installed.tiny("execution-provider=cpu")).unwrap();
        assert_ended(&output, [0, 0], &["key points on cpu"]);
    }
}

/// The plugin alone, as Meson installs it: the property names ONNX Runtime.
#[test]
fn with_a_driver_the_named_library_is_taken() {
    let installed = Installation::packaged("named", None);
    let named = format!("ort-library={}", cpu_library().display());
    let Some(output) = with_driver(&installed.tiny(&named)) else { return };
    assert_ended(&output, [1, 0], &[NO_CUDA, "key points on cpu", "Got EOS from element"]);
    let output = with_driver(&installed.tiny(&format!("{named} execution-provider=cuda"))).unwrap();
    assert_ended(&output, [0, 1], &[NO_CUDA]);
}

/// A library beside the plugin, or named, that cannot be used: the message names it with the reason, whatever
/// the provider.
#[test]
fn with_a_driver_a_library_too_old_is_refused() {
    let folder = Folder::new("old-library");
    let old = stub(&folder, "1.10.0");
    let beside = folder.path().join("libonnxruntime.so.1");
    std::fs::copy(&old, &beside).unwrap();
    let installed = Installation::user("old", &beside, false);
    let reason = ["ONNX Runtime 1.10.0, but 1.20 or newer is needed", "ort-library"];
    for provider in ["auto", "cuda", "tensorrt", "cpu"] {
        let provider = format!("execution-provider={provider}");
        let Some(output) = with_driver(&installed.tiny(&provider)) else { return };
        // The loader may know a newer library.
        if !text(&output).contains("key points on")
            && !text(&output).contains("execution provider cannot be used")
        {
            assert_ended(&output, [0, 1], &reason);
        }
        let output =
            with_driver(&installed.tiny(&format!("{provider} ort-library={}", old.display()))).unwrap();
        assert_ended(&output, [0, 1], &[&reason[..], &["The property ort-library is"]].concat());
    }
}

/// The folder with ONNX Runtime, for `child_process`.
const FOLDER: &str = "RTMPOSE_TEST_FOLDER";

/// Does nothing unless it runs in a child process. Loads as if the kernel showed the driver (`has_driver`).
#[test]
fn child_process() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    for provider in [Provider::Cuda, Provider::TensorRt, Provider::Auto] {
        let warnings = std::cell::Cell::new(0);
        let report = |event| {
            warnings.set(warnings.get() + usize::from(matches!(event, LoadEvent::Warning(_))));
        };
        let backend = OnnxBackend {
            model_file: Some(network("dots-small")),
            provider,
            has_driver: true,
            library: Search { file: None, folders: vec![(&folder).into()] },
            ..OnnxBackend::default()
        };
        let opened = backend.open(&Loading { report: &report, cancelled: &Cancel::default(), most_crops: 8 });
        let said = match opened {
            Ok((model, _)) => format!("runs on {}", model.provider.name()),
            Err(error) => format!("{:?}", error.kind),
        };
        println!("\nRESULT {provider:?}: {said}, {} warnings", warnings.get());
    }
}

/// For users who cannot make a namespace: the first call of a process, with each provider and no variable set.
#[test]
fn the_first_call_of_a_process_loads_the_library() {
    let installed = Installation::user("child", &cpu_library(), false);
    let program = std::env::current_exe().unwrap();
    let mut command = scrubbed(program.to_str().unwrap(), installed.home.path());
    command.args(["--exact", "child_process", "--nocapture"]);
    command.env(FOLDER, installed.home.path().join(".local/share/gstreamer-1.0/plugins"));
    let output = run(command);
    let text = text(&output);
    let results: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("RESULT ")).collect();
    let expected =
        ["Cuda: Provider, 0 warnings", "TensorRt: Provider, 0 warnings", "Auto: runs on cpu, 1 warnings"];
    assert_eq!(results, expected, "{text}");
}

/// Programs linked with the crate and run outside cargo find the ONNX Runtime that was installed for the
/// plugin.
#[test]
fn examples_find_what_the_plugin_finds() {
    // Cargo puts tests into target/<profile>/deps.
    let folder = std::env::current_exe().unwrap().ancestors().nth(2).unwrap().join("examples");
    let properties = format!(
        "execution-provider=cpu inference-region=full-frame model-file={}",
        network("dots-small").display()
    );
    let line =
        format!("videotestsrc num-buffers=3 ! videoconvert ! rtmposebatch name=pose {properties} ! fakesink");
    let installed = Installation::user("examples", &cpu_library(), false);
    let example = |name: &str, arguments: &[&str]| {
        let program = folder.join(name);
        let mut command = scrubbed(program.to_str().unwrap(), installed.home.path());
        command.args(arguments);
        run(command)
    };
    for (name, arguments, words) in [
        ("probe", &[line.as_str()][..], "person 0"),
        ("metrics", &["--listen", "127.0.0.1:0", &line], "Figures at"),
        ("cameras", &["test:", "--sink", "fakesink", "--seconds", "1", "--pose", &properties], "frames in"),
    ] {
        let output = example(name, arguments);
        assert!(output.status.success(), "{name}: {}", text(&output));
        assert!(text(&output).contains(words), "{name}: {}", text(&output));
    }
}

/// One person of the picture in docs, thirty times.
const PERSON: &str = "multifilesrc location=docs/demo.jpg num-buffers=30 caps=image/jpeg,framerate=30/1 ! jpegdec ! \
                      videocrop left=215 right=580 top=368 bottom=262 ! videoconvert";

/// Asserts that every frame has one person with a high score (the mean of its key points' scores).
#[track_caller]
fn assert_found(lines: &Path) {
    let text = std::fs::read_to_string(lines).unwrap();
    assert_eq!(text.lines().count(), 30);
    for line in text.lines() {
        let frame: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!(frame["status"], "inferred", "{line}");
        let people = frame["people"].as_array().unwrap();
        assert_eq!(people.len(), 1, "{line}");
        let points = people[0]["keypoints"].as_array().unwrap();
        assert_eq!(points.len(), 17, "{line}");
        assert!(people[0]["score"].as_f64().unwrap() > 0.5, "{line}");
    }
}

/// Plays the person with these properties. Returns the output, and the lines of JSON.
fn play_person(installed: &Installation, properties: &str) -> (Output, PathBuf) {
    let lines = installed.home.path().join("people.jsonl");
    let line = format!(
        "{PERSON} ! rtmposebatch inference-region=full-frame {properties} ! rtmposejson location={} overwrite=true ! \
         fakesink",
        lines.display()
    );
    // CUDA's libraries are two gigabytes, which may have to come from a disk first.
    (run_within(Duration::from_secs(180), installed.launch(&line)), lines)
}

#[test]
#[cfg(feature = "embedded-model")]
fn an_installation_finds_the_person_of_the_picture() {
    let installed = Installation::user("person", &cpu_library(), false);
    let (output, lines) = play_person(&installed, "execution-provider=cpu");
    assert_ended(&output, [0, 0], &["coco-17 key points on cpu", "Got EOS from element"]);
    assert_found(&lines);
}

/// `make setup GPU=1` with `make install-user`, and the package with that ONNX Runtime named.
#[test]
#[ignore = "needs an NVIDIA GPU"]
fn on_a_card_an_installation_runs_on_it_with_no_variable_set() {
    let library = gpu_library();
    let user = Installation::user("card-user", &library, true);
    let deb = Installation::packaged("card-deb", Some(&cpu_library()));
    let named = format!("ort-library={}", library.display());
    for (installed, named) in [(user, ""), (deb, &named)] {
        for provider in ["auto", "cuda"] {
            let (output, lines) = play_person(&installed, &format!("{named} execution-provider={provider}"));
            println!("{}", text(&output));
            assert_ended(&output, [0, 0], &["coco-17 key points on cuda", "Got EOS from element"]);
            assert_found(&lines);
        }
    }
}

/// An installation without `GPU=1` says how to use the GPU.
#[test]
#[ignore = "needs an NVIDIA GPU"]
fn on_a_card_a_build_for_the_processor_says_what_is_missing() {
    for installed in Installation::both("card-cpu") {
        let (output, lines) = play_person(&installed, "");
        println!("{}", text(&output));
        assert_ended(&output, [1, 0], &[NO_CUDA, "`make setup GPU=1`", "coco-17 key points on cpu"]);
        assert_found(&lines);
        let (output, _) = play_person(&installed, "execution-provider=cuda");
        assert_ended(&output, [0, 1], &[NO_CUDA, "or set execution-provider=cpu or auto"]);
    }
}
