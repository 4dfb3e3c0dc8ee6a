//! Texts as messages to an MQTT broker: `queue` holds messages while it is away, `address` reads the location, `trust` has
//! TLS and passwords. A separate thread talks to the broker; the sender never waits for it.

mod address;
mod queue;
mod trust;

use std::{
    hash::{BuildHasher, RandomState},
    sync::Arc,
    time::{Duration, Instant},
};

use rumqttc::{
    AsyncClient, ConnectionError, Event, EventLoop, LastWill, MqttOptions, Outgoing, Packet, QoS, Request,
    Transport,
};
use tokio::sync::Notify;

use self::{address::Address, queue::Queue};
use super::{
    failure::Failure,
    settings::{Format, Settings},
};
use crate::sync::{Condvar, Mutex, lock, thread, wait_timeout};

pub use address::is_broker;
pub use queue::Figures;

/// Messages that the broker has not acknowledged; more wait in the queue.
const IN_FLIGHT: usize = 64;
/// Between two attempts to connect: the first pause, and the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// How often an idle connection is tested, so that a lost broker is noticed.
const KEEP_ALIVE: Duration = Duration::from_secs(10);
/// How long messages that wait at the end are sent, and how long the disconnection may take.
const LAST_MESSAGES: Duration = Duration::from_secs(2);
const GOODBYE: Duration = Duration::from_secs(1);
/// Bytes of the largest packet of MQTT.
const LARGEST_PACKET: usize = 268_435_455;

/// The messages on `will-topic`.
const HERE: &str = "online";
const GONE: &str = "offline";

/// Sends messages until dropped.
pub struct Publisher {
    shared: Arc<Shared>,
    thread: Option<thread::JoinHandle<()>>,
}

struct Shared {
    queue: Mutex<Queue>,
    /// A message was acknowledged, or the connection was lost.
    progress: Condvar,
    /// The thread must end without waiting for the broker.
    abandoned: Notify,
    client: AsyncClient,
    topic: String,
    qos: QoS,
    retain: bool,
    will: Option<String>,
}

impl Publisher {
    pub fn open(location: &str, name: &str, settings: &Settings) -> Result<Self, Failure> {
        let address = Address::parse(location)?;
        if settings.format == Format::Coco {
            return Err(Failure::settings(
                "The property format is coco, which writes one list for all frames: for messages to a broker set it \
                 to lines or openpose",
            ));
        }
        if settings.overwrite || settings.append {
            return Err(Failure::settings(
                "The properties overwrite and append are for files only: leave them unset for messages to a broker",
            ));
        }
        let topic = settings.topic.clone().unwrap_or_else(|| format!("rtmpose/{name}"));
        for (property, topic) in [("topic", Some(&topic)), ("will-topic", settings.will_topic.as_ref())] {
            if topic.is_some_and(|topic| topic.contains(['+', '#', '\0'])) {
                let text = format!(
                    "The property {property} contains + or #, which are wildcards: set it to a single topic"
                );
                return Err(Failure::settings(text));
            }
        }
        let qos = match settings.qos {
            0 => QoS::AtMostOnce,
            1 => QoS::AtLeastOnce,
            _ => QoS::ExactlyOnce,
        };
        let options = options(&address, settings)?;
        let (client, events) = AsyncClient::new(options, IN_FLIGHT + 2);
        let shared = Arc::new(Shared {
            queue: Mutex::new(Queue::new(address.to_string())),
            progress: Condvar::new(),
            abandoned: Notify::new(),
            client,
            topic,
            qos,
            retain: settings.retain,
            will: settings.will_topic.clone(),
        });
        let theirs = shared.clone();
        let thread =
            thread::Builder::new().name("rtmposejson-mqtt".to_string()).spawn(move || theirs.run(events));
        let thread = thread.map_err(|error| {
            let text = format!("Cannot start a thread for messages: {error}");
            Failure { kind: gst::ResourceError::Failed.into(), text }
        })?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Adds a message at the end of the queue; if the queue is too long, its first messages are dropped.
    pub fn send(&self, text: &[u8]) {
        let text = text.strip_suffix(b"\n").unwrap_or(text).to_vec();
        let mut queue = lock(&self.shared.queue);
        queue.push(text);
        self.shared.hand_over(&mut queue);
    }

    /// What to report to the user now.
    pub fn take_warning(&self) -> Option<String> {
        lock(&self.shared.queue).take_warning(Instant::now())
    }

    pub fn figures(&self) -> Figures {
        lock(&self.shared.queue).figures()
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        let shared = &self.shared;
        let mut queue = lock(&shared.queue);
        let end = Instant::now() + LAST_MESSAGES;
        while queue.has_hope() && !queue.is_done() {
            let Some(left) = end.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) else {
                break;
            };
            queue = wait_timeout(&shared.progress, queue, left);
        }
        queue.closing = true;
        let said_goodbye = queue.connected && shared.say(GONE) && shared.client.try_disconnect().is_ok();
        let end = Instant::now() + GOODBYE;
        while said_goodbye && queue.connected {
            let Some(left) = end.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) else {
                break;
            };
            queue = wait_timeout(&shared.progress, queue, left);
        }
        drop(queue);
        shared.abandoned.notify_one();
        // A panic there was already reported by its own message.
        let _ = self.thread.take().map(thread::JoinHandle::join);
    }
}

fn options(address: &Address, settings: &Settings) -> Result<MqttOptions, Failure> {
    // Two clients with the same name would disconnect each other.
    let id = format!("rtmpose{:016x}", RandomState::new().hash_one(std::process::id()));
    let mut options = MqttOptions::new(id, &address.host, address.port);
    options
        .set_keep_alive(KEEP_ALIVE)
        .set_max_packet_size(LARGEST_PACKET, LARGEST_PACKET)
        .set_inflight(IN_FLIGHT as u16);
    if address.tls {
        options.set_transport(Transport::tls_with_config(trust::tls(settings.ca_file.as_deref())?.into()));
    }
    if let Some((user, password)) = trust::credentials(settings.credentials_file.as_deref())? {
        options.set_credentials(user, password);
    }
    if let Some(topic) = &settings.will_topic {
        options.set_last_will(LastWill::new(topic, GONE, QoS::AtLeastOnce, true));
    }
    Ok(options)
}

impl Shared {
    fn run(&self, events: EventLoop) {
        let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => runtime,
            Err(error) => return lock(&self.queue).lost(format!("cannot start a runtime: {error}")),
        };
        runtime.block_on(async {
            tokio::select! {
                () = self.talk(events) => (),
                () = self.abandoned.notified() => (),
            }
        });
    }

    /// Connects again and again, until the end.
    async fn talk(&self, mut events: EventLoop) {
        let mut pause = FIRST_PAUSE;
        loop {
            match events.poll().await {
                Ok(Event::Incoming(Packet::ConnAck(_))) => {
                    pause = FIRST_PAUSE;
                    self.say(HERE);
                    let mut queue = lock(&self.queue);
                    queue.found();
                    self.hand_over(&mut queue);
                }
                Ok(event) => {
                    if self.is_through(&event) {
                        let mut queue = lock(&self.queue);
                        queue.sent();
                        self.hand_over(&mut queue);
                        self.progress.notify_all();
                    }
                }
                Err(error) => {
                    if self.lose(&mut events, &error) {
                        return;
                    }
                    tokio::time::sleep(pause).await;
                    pause = (2 * pause).min(LONGEST_PAUSE);
                }
            }
        }
    }

    /// The connection is lost; returns whether that is the end.
    fn lose(&self, events: &mut EventLoop, error: &ConnectionError) -> bool {
        let mut queue = lock(&self.queue);
        // Kept here, within the queue's bounds: the library forgets messages that the broker's session does not remember.
        events.clean();
        let back = events.pending.drain(..).filter_map(|request| match request {
            Request::Publish(publish) if publish.topic == self.topic => Some(publish.payload.to_vec()),
            _ => None,
        });
        queue.take_back(back.collect());
        queue.lost(reason(error));
        self.progress.notify_all();
        queue.closing
    }

    /// Gives the client messages, up to its limit.
    fn hand_over(&self, queue: &mut Queue) {
        while queue.connected && queue.in_flight < IN_FLIGHT {
            let Some(text) = queue.next() else { return };
            // There is room for all messages in flight, and for two more.
            if self.client.try_publish(&self.topic, self.qos, self.retain, text).is_err() {
                queue.in_flight -= 1;
                queue.dropped += 1;
            }
        }
    }

    /// Publishes the state on `will-topic`; returns whether there was room for that.
    fn say(&self, word: &str) -> bool {
        let Some(topic) = &self.will else { return true };
        // A different level from the messages', so that the answers can be distinguished.
        let qos = if self.qos == QoS::AtMostOnce { QoS::AtLeastOnce } else { QoS::AtMostOnce };
        self.client.try_publish(topic, qos, true, word).is_ok()
    }

    /// Whether the broker has a message for good.
    fn is_through(&self, event: &Event) -> bool {
        match (self.qos, event) {
            // This is no packet number, and there is no answer.
            (QoS::AtMostOnce, Event::Outgoing(Outgoing::Publish(0)))
            | (QoS::AtLeastOnce, Event::Incoming(Packet::PubAck(_)))
            | (QoS::ExactlyOnce, Event::Incoming(Packet::PubComp(_))) => true,
            _ => false,
        }
    }
}

/// The library's message without its beginning.
fn reason(error: &ConnectionError) -> String {
    match error {
        ConnectionError::ConnectionRefused(code) => format!("it refuses the connection: {code:?}"),
        ConnectionError::Io(error) => error.to_string(),
        other => other.to_string(),
    }
}
