//! `examples/metrics.rs` as a program.

mod network_rig;

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
};

use gst::prelude::*;
use network_rig::{
    network,
    process::{Running, example},
};

/// A free port.
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
    let stream = |properties: &str| {
        format!(
            "videotestsrc num-buffers=20 ! video/x-raw,format=I420,width=64,height=48 ! \
             rtmposebatch {properties} execution-provider=cpu inference-region=full-frame model-file={} ! \
             fakesink sync=false async=false ",
            network("dots-small").display()
        )
    };
    // Two streams share a network, the third has its own.
    let line = stream("name=hall model-instance-id=inside")
        + &stream("name=yard model-instance-id=inside")
        + &stream("name=door")
        + "videotestsrc is-live=true ! fakesink async=false";
    let mut program = example("metrics");
    program.args(["--listen", &format!("127.0.0.1:{port}"), &line]);
    let mut running = Running::start(program);
    let said = running.line().unwrap();
    assert!(said.contains(&format!("http://127.0.0.1:{port}/metrics")), "{said}");
    // The second stream never ends, so that the figures can be read until all of them are there.
    let answer = loop {
        let answer = get(port);
        if ["door", "hall", "yard"]
            .iter()
            .all(|name| answer.contains(&format!("rtmposebatch_frames_out{{element=\"{name}\"}} 20")))
        {
            break answer;
        }
        std::thread::yield_now();
    };
    for line in [
        "# TYPE rtmposebatch_frames_out counter",
        "rtmposebatch_crops{network=\"door\"} 20",
        "rtmposebatch_crops{network=\"inside\"} 40",
        "rtmposebatch_streams{network=\"inside\"} 2",
        "# HELP rtmposebatch_frames_in Frames that came in",
        "# HELP rtmposebatch_wait_ms_p99 Milliseconds that a crop waits",
        "# TYPE rtmposebatch_wait_ms_p99 gauge",
        "rtmposebatch_input_queue{element=\"door\"} 0",
    ] {
        assert!(answer.contains(line), "`{line}` is missing in:\n{answer}");
    }
    // A sum over all labels counts each crop once.
    let count = |start: &str| answer.lines().filter(|line| line.starts_with(start)).count();
    assert_eq!([count("rtmposebatch_crops{"), count("rtmposebatch_frames_in{")], [2, 3], "{answer}");
    for figure in answer.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
        let name = figure.split(' ').next().unwrap();
        let help = answer.lines().find(|line| line.starts_with(&format!("# HELP {name} "))).unwrap();
        // The help text of a gauge names its unit.
        let unit = [("_ms_", "Milliseconds"), ("_fps", "per second"), ("_fill", "share")];
        for (part, word) in unit {
            assert!(!name.contains(part) || help.contains(word), "{help}");
        }
    }
}

/// All fields of `stats` that this program does not publish are lists or structures.
#[test]
fn every_number_of_the_figures_is_published() {
    network_rig::init();
    let source = include_str!("../examples/metrics.rs");
    let element = gst::ElementFactory::make("rtmposebatch").build().unwrap();
    let stats = element.property::<gst::Structure>("stats");
    for (field, value) in stats.iter() {
        let is_number = value.get::<f64>().is_ok()
            || value.get::<u64>().is_ok()
            || value.get::<u32>().is_ok()
            || value.get::<bool>().is_ok();
        assert!(!is_number || source.contains(&format!("(\"{field}\", Of::")), "{field} is missing");
    }
}

#[test]
fn other_addresses_are_warned_of_and_errors_named() {
    let port = free_port();
    let run = |listen: &str, line: &str| {
        let output =
            example("metrics").args(["--listen", &format!("{listen}:{port}"), line]).output().unwrap();
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
