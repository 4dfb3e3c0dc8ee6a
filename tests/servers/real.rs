//! Real servers, started here on loopback: Triton with the repository that `models/server-repository` makes, and MLServer. Both
//! come from PyPI, into the folders that `scripts/servers` fills and names.

use std::{
    fs,
    io::Read,
    net::{SocketAddr, TcpListener},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use gst::prelude::*;

use super::elements::{line, play, pose, start};
use crate::network_rig::{
    init, network, people_of,
    process::{Folder, patience},
};

/// A new server may have to load libraries, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

fn folder_of(variable: &str) -> PathBuf {
    PathBuf::from(
        std::env::var_os(variable).unwrap_or_else(|| panic!("{variable} is not set: run scripts/servers")),
    )
}

/// A free port.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A server's process group.
struct Server {
    child: Child,
    at: SocketAddr,
}

impl Server {
    fn start(mut command: Command, port: u16, log: &Path) -> Self {
        let log = fs::File::create(log).unwrap();
        let command = command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        // SAFETY: what is called between fork and exec is one system call.
        unsafe {
            // The server ends with the test, also if the test is killed.
            command.pre_exec(|| {
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                Ok(())
            });
        }
        // A group of its own, so that signals reach all of it.
        let child = command.process_group(0).spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        Self { child, at: SocketAddr::from(([127, 0, 0, 1], port)) }
    }

    fn name(&self) -> String {
        format!("grpc://{}", self.at)
    }

    /// A signal to all of its processes.
    fn signal(&self, signal: i32) {
        let group = -i32::try_from(self.child.id()).unwrap();
        // SAFETY: it takes two numbers.
        assert_eq!(unsafe { libc::kill(group, signal) }, 0);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.signal(libc::SIGKILL);
        let _ = self.child.wait();
    }
}

/// A repository of these networks of `tests/networks`, as `models/server-repository` makes it.
fn repository(folder: &Folder, networks: &[&str]) -> PathBuf {
    let repository = folder.path().join("repository");
    let test = std::env::current_exe().unwrap();
    let program = test.parent().unwrap().with_file_name("examples").join("server_repository");
    for name in networks {
        let made = Command::new(&program).arg(network(name)).arg(&repository).output().unwrap();
        assert!(made.status.success(), "{made:?}");
    }
    repository
}

/// A tritonserver on that repository. PyPI's Triton has only the Python backend, which runs the files instead
/// of the ONNX Runtime backend. The rest of the configuration is unchanged.
fn triton(folder: &Folder, repository: &Path, port: u16) -> Server {
    let venv = folder_of("TRITON_VENV");
    let packages = fs::read_dir(venv.join("lib")).unwrap().map(|entry| entry.unwrap().path());
    let python = packages.max().unwrap();
    let packages = python.join("site-packages");
    let version = python.file_name().unwrap().to_str().unwrap().trim_start_matches("python").to_string();
    let server = packages.join("pytriton/tritonserver");
    let backend = folder.path().join("backends/python");
    if !backend.exists() {
        fs::create_dir_all(&backend).unwrap();
        for entry in fs::read_dir(server.join("backends/python")).unwrap() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_file() {
                fs::copy(entry.path(), backend.join(entry.file_name())).unwrap();
            }
        }
        let stub = format!("python_backend_stubs/{version}/triton_python_backend_stub");
        fs::copy(server.join(stub), backend.join("triton_python_backend_stub")).unwrap();
    }
    for model in fs::read_dir(repository).unwrap() {
        let model = model.unwrap().path();
        let file = model.join("config.pbtxt");
        let text = fs::read_to_string(&file).unwrap();
        fs::write(file, text.replace("\"onnxruntime\"", "\"python\"").replace("KIND_GPU", "KIND_CPU"))
            .unwrap();
        fs::write(model.join("1/model.py"), include_str!("triton/model.py")).unwrap();
    }
    let mut command = Command::new(server.join("bin/tritonserver"));
    let path = std::env::var("PATH").unwrap_or_default();
    command
        .env("PATH", format!("{}:{path}", venv.join("bin").display()))
        .env("LD_LIBRARY_PATH", packages.join("nvidia_pytriton.libs"))
        .env_remove("PYTHONPATH")
        .arg(format!("--model-repository={}", repository.display()))
        .arg(format!("--backend-directory={}", folder.path().join("backends").display()))
        .args(["--grpc-address=127.0.0.1", "--allow-http=false", "--allow-metrics=false"])
        .arg(format!("--grpc-port={port}"));
    Server::start(command, port, &folder.path().join(format!("triton-{port}.log")))
}

fn log(folder: &Folder, name: &str) -> String {
    let mut text = String::new();
    let _ = fs::File::open(folder.path().join(name)).and_then(|mut file| file.read_to_string(&mut text));
    text
}

/// Waits for a line in a server's log.
fn wait_for(folder: &Folder, name: &str, words: &str) {
    let came = patience::wait(PATIENCE, |time| {
        std::thread::sleep(time / 2);
        log(folder, name).contains(words).then_some(())
    });
    assert!(came.is_some(), "`{words}` never came: {}", log(folder, name));
}

fn started_triton(folder: &Folder, repository: &Path, port: u16) -> Server {
    let server = triton(folder, repository, port);
    wait_for(folder, &format!("triton-{port}.log"), "Started GRPCInferenceService");
    server
}

/// The element finds the same with the file here and on that server.
fn assert_same(server: &str, model: &str, file: &str) {
    let file = network(file);
    let mut here =
        start(&format!("rtmposebatch name=pose execution-provider=cpu model-file={}", file.display()));
    let there = line(server, "fallback=none server-timeout=10000000000");
    let mut there = start(&there.replace("model-name=known", &format!("model-name={model}")));
    for (expected, found) in play(&mut here, 0..20).iter().zip(play(&mut there, 0..20)) {
        assert_eq!(expected.pts(), found.pts());
        let (expected, found) = (people_of(expected), people_of(&found));
        assert_eq!(expected.people.len(), 2);
        assert_eq!(format!("{:?}", expected.people), format!("{:?}", found.people), "{model}");
    }
    assert!(there.errors().is_empty());
    assert_eq!(pose(&there).property::<String>("active-provider"), "server");
}

#[test]
#[ignore = "needs tritonserver: scripts/servers"]
fn triton_finds_what_is_found_here() {
    init();
    let folder = Folder::new("triton");
    let repository = repository(&folder, &["dots-17", "dots-133-256x192", "vitpose", "packed-3"]);
    // mmdeploy's own file, unchanged.
    let plain = repository.join("plain");
    fs::create_dir_all(plain.join("1")).unwrap();
    fs::copy(network("dots-17"), plain.join("1/model.onnx")).unwrap();
    fs::write(
        plain.join("config.pbtxt"),
        r#"backend: "python" max_batch_size: 8
           input [ { name: "input" data_type: TYPE_FP32 dims: [ 3, 256, 192 ] } ]
           output [ { name: "simcc_x" data_type: TYPE_FP32 dims: [ 17, 384 ] },
                    { name: "simcc_y" data_type: TYPE_FP32 dims: [ 17, 512 ] } ]"#,
    )
    .unwrap();
    let server = started_triton(&folder, &repository, free_port());
    for name in ["dots-17", "dots-133-256x192", "vitpose", "packed-3"] {
        assert_same(&server.name(), name, name);
    }
    assert_same(&server.name(), "plain", "dots-17");
    // It has done the first runs of its configuration.
    let log = log(&folder, &format!("triton-{}.log", server.at.port()));
    let errors: Vec<_> =
        log.lines().filter(|line| line.starts_with('E') && !line.contains("CudaDriverHelper")).collect();
    assert!(errors.is_empty(), "{errors:?}");
}

/// MLServer does not have ModelConfig, and needs a few lines of Python for an ONNX file.
#[test]
#[ignore = "needs mlserver: scripts/servers"]
fn mlserver_finds_what_is_found_here() {
    init();
    let folder = Folder::new("mlserver");
    let repository = repository(&folder, &["dots-17"]);
    let ports = [free_port(), free_port(), free_port()];
    let settings = format!(
        r#"{{"host": "127.0.0.1", "http_port": {}, "grpc_port": {}, "metrics_port": {}, "parallel_workers": 0}}"#,
        ports[0], ports[1], ports[2]
    );
    let model = folder.path().join("models");
    fs::create_dir_all(&model).unwrap();
    fs::copy(repository.join("dots-17/1/model.onnx"), model.join("model.onnx")).unwrap();
    fs::write(model.join("onnx_runtime.py"), include_str!("mlserver/onnx_runtime.py")).unwrap();
    fs::write(model.join("settings.json"), settings).unwrap();
    fs::write(model.join("model-settings.json"), include_str!("mlserver/model-settings.json")).unwrap();
    let mut command = Command::new(folder_of("MLSERVER_VENV").join("bin/mlserver"));
    command.arg("start").arg(&model).env_remove("PYTHONPATH").current_dir(&model);
    let server = Server::start(command, ports[1], &folder.path().join("mlserver.log"));
    wait_for(&folder, "mlserver.log", "gRPC server running on");
    assert_same(&server.name(), "dots-17", "dots-17");
}

/// Two Tritons. One is stopped, then killed and started again while frames come. No frame is lost, and each has
/// the same people as without a server.
#[test]
#[ignore = "needs tritonserver, takes long: scripts/servers"]
fn triton_can_be_stopped_killed_and_started_in_mid_stream() {
    init();
    let folder = Folder::new("triton-faults");
    let repository = repository(&folder, &["dots-17"]);
    let ports = [free_port(), free_port()];
    let mut first = Some(started_triton(&folder, &repository, ports[0]));
    let second = started_triton(&folder, &repository, ports[1]);
    let list = format!("{},{}", first.as_ref().unwrap().name(), second.name());
    let mut here = start(&format!(
        "rtmposebatch name=pose execution-provider=cpu model-file={}",
        network("dots-17").display()
    ));
    let there = line(&list, "fallback=none").replace("model-name=known", "model-name=dots-17");
    let mut there = start(&there);
    let mut number = 0;
    let mut same = |here: &mut crate::network_rig::Rig, there: &mut crate::network_rig::Rig| {
        let numbers = number..number + 24;
        number += 24;
        for (expected, found) in play(here, numbers.clone()).iter().zip(play(there, numbers)) {
            assert_eq!(
                format!("{:?}", people_of(expected).people),
                format!("{:?}", people_of(&found).people)
            );
        }
    };
    let mut told = Vec::new();
    let mut until = |here: &mut crate::network_rig::Rig, there: &mut crate::network_rig::Rig, words: &str| {
        let found = patience::wait(PATIENCE, |_| {
            same(here, there);
            // Asks for both types in one call, because the bus drops messages of other types.
            while let Some(message) =
                there.bus.pop_filtered(&[gst::MessageType::Warning, gst::MessageType::Info])
            {
                told.push(format!("{:?}", message.view()));
            }
            told.last().is_some_and(|text| text.contains(words)).then_some(())
        });
        let log = || log(&folder, &format!("triton-{}.log", ports[0]));
        assert!(found.is_some(), "`{words}` was never told: {told:?}\n{}", log());
    };
    for _ in 0..2 {
        first.as_ref().unwrap().signal(libc::SIGSTOP);
        until(&mut here, &mut there, "1 of 2 are left");
        first.as_ref().unwrap().signal(libc::SIGCONT);
        until(&mut here, &mut there, "is ready: 2 of 2");
        drop(first.take());
        until(&mut here, &mut there, "1 of 2 are left");
        first = Some(triton(&folder, &repository, ports[0]));
        until(&mut here, &mut there, "is ready: 2 of 2");
    }
    assert!(there.errors().is_empty());
}
