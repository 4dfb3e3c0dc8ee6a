//! When each tracked person came into view.

use std::collections::VecDeque;

/// Most ids that are remembered, so that a stream of any length takes bounded memory. The latest ones are kept.
const CAPACITY: usize = 1024;

/// The time at which each id was seen for the first time, over the frames of a stream.
#[derive(Debug, Default)]
pub struct FirstSeen {
    /// Ids and times, the id seen last at the back.
    ids: VecDeque<(i64, gst::ClockTime)>,
}

impl FirstSeen {
    /// Records that the id is in view, and returns since when it is known.
    pub(super) fn see(&mut self, id: i64, now: gst::ClockTime) -> gst::ClockTime {
        let known = self.ids.iter().rposition(|(known, _)| *known == id);
        let first = known.and_then(|index| self.ids.remove(index)).map_or(now, |(_, first)| first);
        if self.ids.len() == CAPACITY {
            self.ids.pop_front();
        }
        self.ids.push_back((id, first));
        first
    }

    /// Starts again, as a tracker does at STREAM_START and after a flush.
    pub fn reset(&mut self) {
        self.ids.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> gst::ClockTime {
        gst::ClockTime::from_seconds(seconds)
    }

    #[test]
    fn the_first_time_is_kept() {
        let mut seen = FirstSeen::default();
        assert_eq!(seen.see(7, at(1)), at(1));
        assert_eq!(seen.see(8, at(2)), at(2));
        assert_eq!(seen.see(7, at(3)), at(1));
        assert_eq!(seen.see(8, at(9)), at(2));
        seen.reset();
        assert_eq!(seen.see(7, at(10)), at(10));
    }

    #[test]
    fn the_longest_unseen_is_forgotten() {
        let mut seen = FirstSeen::default();
        for id in 0..CAPACITY as i64 {
            seen.see(id, at(1));
        }
        assert_eq!(seen.see(0, at(2)), at(1));
        seen.see(5000, at(3));
        assert_eq!(seen.ids.len(), CAPACITY);
        assert_eq!(seen.see(0, at(4)), at(1));
        assert_eq!(seen.see(1, at(5)), at(5));
    }
}
