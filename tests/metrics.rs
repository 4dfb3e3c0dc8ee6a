//! `examples/metrics.rs` as a program: `cargo test` builds examples before it runs tests.

mod network_rig;

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    process::{Child, Command, Stdio},
};

use network_rig::network;

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn program() -> Command {
    let test = std::env::current_exe().unwrap();
    // Cargo puts tests into target/<profile>/deps.
    let mut command = Command::new(test.parent().unwrap().with_file_name("examples").join("metrics"));
    command.env_remove("GST_DEBUG");
    command
}

/// A port that nobody listens on.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn get(port: u16) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn figures_are_served_as_prometheus_text() {
    let port = free_port();
    let line = format!(
        "videotestsrc num-buffers=20 ! video/x-raw,format=I420,width=64,height=48 ! \
         rtmposebatch name=door execution-provider=cpu inference-region=full-frame model-file={} ! fakesink sync=false \
         videotestsrc is-live=true ! fakesink",
        network("dots-small").display()
    );
    let child = program()
        .args(["--listen", &format!("127.0.0.1:{port}"), &line])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut running = Running(child);
    let mut said = String::new();
    BufReader::new(running.0.stdout.take().unwrap()).read_line(&mut said).unwrap();
    assert!(said.contains(&format!("http://127.0.0.1:{port}/metrics")), "{said}");
    // The second stream goes on for ever, so that the figures can be read until all of them are there.
    let answer = loop {
        let answer = get(port);
        if answer.contains("rtmposebatch_frames_out{element=\"door\"} 20") {
            break answer;
        }
        std::thread::yield_now();
    };
    for line in [
        "# TYPE rtmposebatch_frames_out counter",
        "rtmposebatch_crops{element=\"door\"} 20",
        "# TYPE rtmposebatch_wait_ms_p99 gauge",
        "rtmposebatch_input_queue{element=\"door\"} 0",
    ] {
        assert!(answer.contains(line), "`{line}` is missing in:\n{answer}");
    }
}

#[test]
fn other_addresses_are_warned_of_and_errors_named() {
    let port = free_port();
    let run = |listen: &str, line: &str| {
        let output = program().args(["--listen", &format!("{listen}:{port}"), line]).output().unwrap();
        let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap()).concat();
        (output.status.success(), text)
    };
    let tiny = network("dots-small");
    let short = format!(
        "videotestsrc num-buffers=1 ! video/x-raw,format=RGB,width=64,height=48 ! rtmposebatch model-file={} \
         execution-provider=cpu ! fakesink",
        tiny.display()
    );
    let (ended_well, text) = run("0.0.0.0", &short);
    assert!(ended_well && text.contains("warning: other machines can read them"), "{text}");
    let (ended_well, text) = run("127.0.0.1", "videotestsrc ! fakesink");
    assert!(!ended_well && text.contains("no rtmposebatch"), "{text}");
    let (ended_well, text) =
        run("127.0.0.1", "videotestsrc ! rtmposebatch model-file=/nowhere.onnx ! fakesink");
    assert!(!ended_well && text.contains("/nowhere.onnx"), "{text}");
}
