//! Messages that wait for the broker, within bounds; and what is reported about them.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

/// Most messages, and most bytes.
const MOST: usize = 1000;
const MOST_BYTES: usize = 16 << 20;
/// Time between two warnings.
const QUIET: Duration = Duration::from_secs(10);

/// What has happened to the messages.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Figures {
    pub connected: bool,
    pub connections: u64,
    pub sent: u64,
    pub dropped: u64,
    pub queued: u64,
}

pub struct Queue {
    /// Named in warnings.
    broker: String,
    waiting: VecDeque<Vec<u8>>,
    bytes: usize,
    pub connected: bool,
    pub closing: bool,
    /// Given to the client and not acknowledged.
    pub in_flight: usize,
    pub dropped: u64,
    connections: u64,
    sent: u64,
    /// Why there is no connection; none while there is one.
    why: Option<String>,
    /// The user was told that the broker is away.
    told_away: bool,
    /// Dropped messages that were reported to the user.
    told_dropped: u64,
    told: Option<Instant>,
}

impl Queue {
    pub fn new(broker: String) -> Self {
        Self {
            broker,
            waiting: VecDeque::new(),
            bytes: 0,
            connected: false,
            closing: false,
            in_flight: 0,
            dropped: 0,
            connections: 0,
            sent: 0,
            why: None,
            told_away: false,
            told_dropped: 0,
            told: None,
        }
    }

    pub fn push(&mut self, text: Vec<u8>) {
        self.bytes += text.len();
        self.waiting.push_back(text);
        self.keep_within_bounds();
    }

    /// Messages that were given out and did not arrive come first.
    pub fn take_back(&mut self, texts: Vec<Vec<u8>>) {
        for text in texts.into_iter().rev() {
            self.bytes += text.len();
            self.waiting.push_front(text);
        }
        self.keep_within_bounds();
    }

    fn keep_within_bounds(&mut self) {
        while self.waiting.len() > MOST || (self.bytes > MOST_BYTES && self.waiting.len() > 1) {
            let oldest = self.waiting.pop_front().unwrap_or_default();
            self.bytes -= oldest.len();
            self.dropped += 1;
        }
    }

    /// The next message, which is now in flight.
    pub fn next(&mut self) -> Option<Vec<u8>> {
        let text = self.waiting.pop_front()?;
        self.bytes -= text.len();
        self.in_flight += 1;
        Some(text)
    }

    pub fn sent(&mut self) {
        self.in_flight = self.in_flight.saturating_sub(1);
        self.sent += 1;
    }

    /// Whether there is a connection, or the first attempt has not failed yet.
    pub fn has_hope(&self) -> bool {
        self.connected || self.why.is_none()
    }

    pub fn is_done(&self) -> bool {
        self.waiting.is_empty() && self.in_flight == 0
    }

    pub fn found(&mut self) {
        self.connected = true;
        self.connections += 1;
        self.why = None;
        self.told_away = false;
    }

    pub fn lost(&mut self, why: String) {
        self.connected = false;
        self.in_flight = 0;
        self.why = Some(why);
    }

    /// A warning when the broker is lost, and from time to time while messages are dropped.
    pub fn take_warning(&mut self, now: Instant) -> Option<String> {
        let away = self.why.as_ref().filter(|_| !self.told_away);
        let dropped = self.dropped - self.told_dropped;
        let quiet = self.told.is_some_and(|told| now.saturating_duration_since(told) < QUIET);
        if quiet || (away.is_none() && dropped == 0) {
            return None;
        }
        let broker = &self.broker;
        let state = match &self.why {
            Some(why) => format!("The broker {broker} cannot be reached: {why}"),
            None => format!("The broker {broker} accepts messages too slowly"),
        };
        let fate = match dropped {
            0 => format!("the last {MOST} messages are kept for it"),
            _ => format!("{dropped} messages were dropped, the oldest first"),
        };
        self.told_away = self.why.is_some();
        self.told_dropped = self.dropped;
        self.told = Some(now);
        Some(format!("{state}; {fate}"))
    }

    pub fn figures(&self) -> Figures {
        Figures {
            connected: self.connected,
            connections: self.connections,
            sent: self.sent,
            dropped: self.dropped,
            queued: (self.waiting.len() + self.in_flight) as u64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue() -> Queue {
        Queue::new("mqtt://here:1883".to_string())
    }

    #[test]
    fn the_oldest_messages_are_dropped() {
        let mut queue = queue();
        (0..MOST as u32 + 5).for_each(|number| queue.push(number.to_le_bytes().to_vec()));
        assert_eq!((queue.figures().queued, queue.figures().dropped), (MOST as u64, 5));
        assert_eq!(queue.next().unwrap(), 5u32.to_le_bytes());
        // Returned messages are older than waiting ones.
        queue.push(vec![]);
        queue.lost("gone".to_string());
        queue.take_back(vec![5u32.to_le_bytes().to_vec()]);
        assert_eq!((queue.figures().queued, queue.figures().dropped), (MOST as u64, 6));
        assert_eq!(queue.next().unwrap(), 6u32.to_le_bytes());
    }

    #[test]
    fn large_messages_are_held_to_their_bytes() {
        let mut queue = queue();
        (0..5).for_each(|number| queue.push(vec![number; MOST_BYTES / 4]));
        assert_eq!((queue.figures().queued, queue.figures().dropped), (4, 1));
        assert_eq!(queue.next().unwrap()[0], 1);
        // A message that is larger than all bounds is still sent.
        queue.push(vec![9; 2 * MOST_BYTES]);
        assert_eq!((queue.figures().dropped, queue.next().unwrap().len()), (4, 2 * MOST_BYTES));
    }

    #[test]
    fn there_is_one_warning_and_another_after_a_while() {
        let mut queue = queue();
        let start = Instant::now();
        assert_eq!(queue.take_warning(start), None);
        queue.lost("refused".to_string());
        let text = queue.take_warning(start).unwrap();
        assert_eq!(
            text,
            "The broker mqtt://here:1883 cannot be reached: refused; the last 1000 messages are kept for it"
        );
        // Each attempt fails.
        queue.lost("refused".to_string());
        assert_eq!(queue.take_warning(start + QUIET), None, "it is known");
        (0..MOST + 3).for_each(|_| queue.push(vec![0]));
        let text = queue.take_warning(start + QUIET).unwrap();
        assert!(text.ends_with("; 3 messages were dropped, the oldest first"), "{text}");
        queue.push(vec![0]);
        assert_eq!(queue.take_warning(start + QUIET + QUIET / 2), None, "not so soon again");
        assert!(queue.take_warning(start + 2 * QUIET).unwrap().contains("; 1 messages were dropped"));
        queue.found();
        queue.lost("reset".to_string());
        assert!(queue.take_warning(start + 3 * QUIET).unwrap().contains(": reset; "));
    }
}
