//! Messages to a broker: Debian's mosquitto, which is stopped, asks for a password, speaks TLS.

use std::{
    io::BufRead,
    net::{TcpListener, TcpStream},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::mpsc,
};

use gst::prelude::*;
use gst_check::Harness;
use serde_json::Value;

use crate::{
    CAPS, frame,
    network_rig::{
        init, messages,
        process::{Folder, patience, run, text, tool},
    },
    people, with_people,
};

const PASSWORD: &str = "hunter2-hunter2";

/// A broker on loopback, which ends when this is dropped.
struct Broker {
    folder: Folder,
    configuration: PathBuf,
    port: u16,
    process: Child,
}

/// A free port.
fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port()
}

impl Broker {
    /// `more` are lines of its configuration, in which FOLDER stands for the broker's folder. First, `write`
    /// puts files there.
    fn start(name: &str, more: &str, write: impl Fn(&Folder)) -> Self {
        let folder = Folder::new(&format!("mqtt-{name}"));
        write(&folder);
        let port = free_port();
        let at = folder.path().to_str().unwrap();
        let text = format!(
            "listener {port} 127.0.0.1\nuser root\npersistence true\npersistence_location {at}/\nmax_queued_messages 0\n{}\n",
            more.replace("FOLDER", at)
        );
        let configuration = folder.write("mosquitto.conf", text);
        let process = Self::process(&configuration, port);
        Self { folder, configuration, port, process }
    }

    fn process(configuration: &std::path::Path, port: u16) -> Child {
        let mut command = Command::new("/usr/sbin/mosquitto");
        command.arg("-c").arg(configuration).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let process = command.spawn().expect("mosquitto is installed by scripts/setup --tests");
        let there = patience::wait(patience::WATCHDOG, |time| {
            let there = TcpStream::connect(("127.0.0.1", port)).ok();
            if there.is_none() {
                std::thread::park_timeout(time / 10);
            }
            there
        });
        there.expect("mosquitto listens");
        process
    }

    /// Ends the broker as systemd does: it keeps what its clients have not received.
    fn stop(&mut self) {
        run({
            let mut kill = Command::new("kill");
            kill.args(["-TERM", &self.process.id().to_string()]);
            kill
        });
        self.process.wait().unwrap();
    }

    fn start_again(&mut self) {
        self.process = Self::process(&self.configuration, self.port);
    }

    fn location(&self) -> String {
        format!("location=mqtt://127.0.0.1:{}", self.port)
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A client that receives everything under rtmpose/, also what came while it or the broker was away.
struct Listener {
    process: Child,
    lines: mpsc::Receiver<String>,
}

impl Listener {
    fn to(port: u16, more: &[&str]) -> Self {
        // stdbuf, because the client would otherwise buffer its lines in a pipe.
        let mut command = Command::new("stdbuf");
        command.args([
            "-oL",
            "mosquitto_sub",
            "-p",
            &port.to_string(),
            "-t",
            "rtmpose/#",
            "-q",
            "2",
            "-c",
            "-i",
            "listener",
            "-d",
            "-F",
            "MESSAGE %t %q %p",
        ]);
        let mut process = command
            .args(more)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let out = std::io::BufReader::new(process.stdout.take().unwrap());
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || out.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        let listener = Self { process, lines };
        while !listener.line().starts_with("Subscribed") {}
        listener
    }

    fn line(&self) -> String {
        patience::receive(patience::WATCHDOG, &self.lines).expect("a line comes in time").expect("it listens")
    }

    /// Topic, quality of service and text of the next message.
    fn next(&self) -> (String, String, String) {
        let line = std::iter::repeat_with(|| self.line())
            .find_map(|line| Some(line.strip_prefix("MESSAGE ")?.to_string()));
        let line = line.unwrap();
        let mut words = line.splitn(3, ' ').map(str::to_string);
        (words.next().unwrap(), words.next().unwrap(), words.next().unwrap())
    }

    /// The number of the frame whose line comes next.
    fn next_frame(&self) -> u64 {
        let (_, _, text) = self.next();
        serde_json::from_str::<Value>(&text).unwrap()["frame"].as_u64().unwrap()
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn harness_of(properties: &str) -> (Harness, gst::Bus) {
    init();
    let mut harness = Harness::new_parse(&format!("rtmposejson {properties}"));
    let bus = gst::Bus::new();
    harness.element().unwrap().set_bus(Some(&bus));
    harness.set_src_caps_str(CAPS);
    (harness, bus)
}

/// The element inside of the harness's bin.
fn stats(harness: &Harness) -> gst::Structure {
    let element = harness.element().unwrap();
    let element = match element.downcast_ref::<gst::Bin>() {
        Some(bin) => bin.children()[0].clone(),
        None => element,
    };
    element.property("stats")
}

/// Waits until the statistics have these values.
#[track_caller]
fn wait_for(harness: &Harness, what: impl Fn(&gst::Structure) -> bool) {
    let found = patience::wait(patience::WATCHDOG, |time| {
        std::thread::park_timeout(time / 20);
        what(&stats(harness)).then_some(())
    });
    assert!(found.is_some(), "{}", stats(harness));
}

fn is_connected(stats: &gst::Structure) -> bool {
    stats.get("connected").unwrap()
}

#[test]
fn each_frame_is_a_message_of_the_quality_that_is_asked_for() {
    let broker = Broker::start("plain", "allow_anonymous true", |_| ());
    let listener = Listener::to(broker.port, &[]);
    for qos in ["0", "1", "2"] {
        let (mut harness, _) = harness_of(&format!(
            "{} topic=rtmpose/door qos={qos} will-topic=rtmpose/status",
            broker.location()
        ));
        for number in 0..5 {
            harness.push(with_people(frame(number), &people())).unwrap();
        }
        // The element sends what is queued, and disconnects.
        drop(harness);
        assert_eq!(listener.next().2, "online");
        for number in 0..5 {
            let (topic, quality, text) = listener.next();
            assert_eq!((topic.as_str(), quality.as_str()), ("rtmpose/door", qos));
            let line: Value = serde_json::from_str(&text).unwrap();
            assert_eq!((line["frame"].as_u64(), &line["people"][0]["id"]), (Some(number), &Value::from(5)));
        }
        let (topic, _, text) = listener.next();
        assert_eq!((topic.as_str(), text.as_str()), ("rtmpose/status", "offline"));
    }
    // A retained message is there for later clients. The default topic has the element's name.
    let (mut harness, _) =
        harness_of(&format!("name=yard {} retain=true format=openpose", broker.location()));
    harness.push(with_people(frame(0), &people())).unwrap();
    drop(harness);
    let mut late = Command::new("mosquitto_sub");
    late.args(["-p", &broker.port.to_string(), "-t", "rtmpose/yard", "-C", "1", "-W", "20"]);
    assert!(text(&run(late)).starts_with(r#"{"version":1.3,"people":[{"person_id":[5]"#));
}

/// The element is killed: the broker sends the last will.
#[test]
fn a_last_will_is_said() {
    let broker = Broker::start("will", "allow_anonymous true", |_| ());
    let listener = Listener::to(broker.port, &[]);
    let line = format!(
        "-q videotestsrc is-live=true ! rtmposejson {} topic=rtmpose/door will-topic=rtmpose/status ! fakesink",
        broker.location()
    );
    let mut command = tool("gst-launch-1.0");
    let mut child =
        command.args(line.split_whitespace()).stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
    assert_eq!(listener.next().2, "online");
    child.kill().unwrap();
    child.wait().unwrap();
    let said =
        std::iter::repeat_with(|| listener.next()).find(|(topic, _, _)| topic == "rtmpose/status").unwrap();
    assert_eq!(said.2, "offline");
}

/// Frames continue while the broker is away. It then gets the last thousand, in order, and the user one
/// warning.
#[test]
fn a_broker_that_comes_back_gets_what_waited() {
    let mut broker = Broker::start("restart", "allow_anonymous true", |_| ());
    let listener = Listener::to(broker.port, &[]);
    let (mut harness, bus) = harness_of(&format!("{} topic=rtmpose/door qos=1", broker.location()));
    (0..3).for_each(|number| _ = harness.push(frame(number)).unwrap());
    assert_eq!([0, 1, 2].map(|_| listener.next_frame()), [0, 1, 2]);
    wait_for(&harness, |stats| stats.get::<u64>("sent").unwrap() == 3);
    broker.stop();
    wait_for(&harness, |stats| !is_connected(stats));
    (3..1203).for_each(|number| _ = harness.push(frame(number)).unwrap());
    let figures = stats(&harness);
    let number = |name: &str| figures.get::<u64>(name).unwrap();
    assert_eq!((number("queued"), number("dropped"), number("sent")), (1000, 200, 3), "{figures}");
    let warnings = messages(&bus, gst::MessageType::Warning);
    let [warning] = &warnings[..] else { panic!("{warnings:?}") };
    let broker_is = format!("The broker mqtt://127.0.0.1:{} cannot be reached: ", broker.port);
    assert!(warning.starts_with(&broker_is), "{warning}");

    broker.start_again();
    let mut last = 2;
    while last < 1202 {
        // At least once: messages that the listener had not acknowledged when the broker stopped come again.
        let next = std::iter::repeat_with(|| listener.next_frame()).find(|number| *number > last).unwrap();
        assert_eq!(next, if last == 2 { 203 } else { last + 1 });
        last = next;
    }
    wait_for(&harness, |stats| stats.get::<u64>("sent").unwrap() == 1003);
    let figures = stats(&harness);
    assert!(is_connected(&figures) && figures.get::<u64>("connections") == Ok(2), "{figures}");
}

/// The password is in no list of processes, no log and no message on the bus.
#[test]
fn a_password_comes_from_a_file_or_the_environment_and_is_not_shown() {
    let broker =
        Broker::start("password", "allow_anonymous false\npassword_file FOLDER/passwords", |folder| {
            let mut command = Command::new("mosquitto_passwd");
            command.arg("-b").arg("-c").arg(folder.path().join("passwords")).args(["door", PASSWORD]);
            assert!(run(command).status.success());
        });
    let listener = Listener::to(broker.port, &["-u", "door", "-P", PASSWORD]);
    let file = broker.folder.write("credentials", format!("door\n{PASSWORD}\n"));
    let topic = "topic=rtmpose/door qos=1";

    let (mut harness, _) =
        harness_of(&format!("{} {topic} credentials-file={}", broker.location(), file.display()));
    harness.push(frame(0)).unwrap();
    assert_eq!(listener.next_frame(), 0);
    drop(harness);

    let line = format!("videotestsrc num-buffers=1 ! rtmposejson {} {topic} ! fakesink", broker.location());
    let mut command = tool("gst-launch-1.0");
    command
        .args(line.split_whitespace())
        .envs([("RTMPOSE_MQTT_USER", "door"), ("RTMPOSE_MQTT_PASSWORD", PASSWORD)]);
    command.envs([("GST_DEBUG", "rtmposejson:9,GST_PROPERTIES:9"), ("RUST_LOG", "trace")]);
    let output = run(command);
    assert!(output.status.success(), "{}", text(&output));
    assert_eq!(listener.next_frame(), 0);
    assert!(text(&output).contains("rtmposejson") && !text(&output).contains(PASSWORD), "{}", text(&output));

    // A wrong password is a warning, and frames continue.
    let wrong = broker.folder.write("wrong", format!("door\n{PASSWORD}2\n"));
    let (mut harness, bus) =
        harness_of(&format!("{} {topic} credentials-file={}", broker.location(), wrong.display()));
    let warning = patience::wait(patience::WATCHDOG, |time| {
        std::thread::park_timeout(time / 20);
        harness.push(frame(0)).unwrap();
        messages(&bus, gst::MessageType::Warning).pop()
    });
    let warning = warning.unwrap();
    assert!(warning.contains("cannot be reached: it refuses the connection: NotAuthorized"), "{warning}");
    assert!(!warning.contains("hunter2"), "{warning}");
}

#[test]
fn tls_trusts_the_authority_that_is_named() {
    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let certificate =
        CertificateParams::new(vec!["localhost".to_string()]).unwrap().signed_by(&key, &authority).unwrap();
    let port = free_port();
    let more = format!(
        "allow_anonymous true\nlistener {port} localhost\ncertfile FOLDER/cert.pem\nkeyfile FOLDER/key.pem"
    );
    let broker = Broker::start("tls", &more, |folder| {
        folder.write("ca.pem", authority.pem());
        folder.write("cert.pem", certificate.pem());
        folder.write("key.pem", key.serialize_pem());
    });
    let listener = Listener::to(broker.port, &[]);
    let location = format!("location=mqtts://localhost:{port} topic=rtmpose/door");
    let ca = broker.folder.path().join("ca.pem");
    let (mut harness, _) = harness_of(&format!("{location} ca-file={}", ca.display()));
    harness.push(frame(0)).unwrap();
    assert_eq!(listener.next_frame(), 0);
    drop(harness);

    // The system does not trust that authority.
    let (mut harness, bus) = harness_of(&location);
    let warning = patience::wait(patience::WATCHDOG, |time| {
        std::thread::park_timeout(time / 20);
        harness.push(frame(0)).unwrap();
        messages(&bus, gst::MessageType::Warning).pop()
    });
    let warning = warning.unwrap();
    assert!(warning.contains("cannot be reached: TLS") || warning.contains("certificate"), "{warning}");
}

#[test]
fn what_cannot_be_is_refused_when_the_element_starts() {
    init();
    let folder = Folder::new("mqtt-refused");
    let empty = folder.write("empty", "");
    for (properties, words) in [
        ("location=mqtt://", "which names no broker"),
        ("location=mqtt://me:hunter2@here", "contains a user or a password"),
        ("location=mqtt://here format=coco", "for messages to a broker set it to lines or openpose"),
        ("location=mqtt://here append=true", "overwrite and append are for files"),
        ("location=mqtt://here topic=rtmpose/#", "The property topic contains + or #"),
        ("location=mqtt://here will-topic=+/status", "The property will-topic contains + or #"),
        ("location=mqtts://here ca-file=/nowhere", "The file /nowhere in ca-file cannot be read"),
        (&format!("location=mqtts://here ca-file={}", empty.display()), "holds no PEM certificate"),
        (
            &format!("location=mqtt://here credentials-file={}", empty.display()),
            "must have exactly two lines",
        ),
    ] {
        let element = gst::parse::launch(&format!("rtmposejson {properties}")).unwrap();
        let bus = gst::Bus::new();
        element.set_bus(Some(&bus));
        assert!(element.set_state(gst::State::Paused).is_err(), "{properties}");
        let errors = messages(&bus, gst::MessageType::Error);
        let [error] = &errors[..] else { panic!("{errors:?}") };
        assert!(error.contains(words) && !error.contains("hunter2"), "{properties}: {error}");
        element.set_state(gst::State::Null).unwrap();
    }
    // Without a broker the element starts all the same, and does not wait at the end.
    let (mut harness, _) = harness_of(&format!("location=mqtt://127.0.0.1:{}", free_port()));
    harness.push(frame(0)).unwrap();
    wait_for(&harness, |stats| !is_connected(stats));
}
