//! What must come out of a stream, given what went in.

use std::collections::BTreeMap;

use crate::{
    log::{Arrived, Expected, Found, People, Pushed},
    plan::Format,
    rig::seen_number,
};

/// What the plan allows.
#[derive(Clone, Copy)]
pub struct Rules {
    /// Whether a frame can pass without inference although the network answers.
    pub skips: bool,
    /// Whether a run can fail.
    pub network_fails: bool,
    /// Whether the frame then passes, instead of ending the stream.
    pub passthrough: bool,
}

struct Model<'a> {
    pushed: &'a [Pushed],
    rules: Rules,
    /// Flushes and restarts separate epochs.
    epochs: Vec<usize>,
    frames: BTreeMap<u32, usize>,
    events: BTreeMap<gst::Seqnum, usize>,
}

/// Checks one stream from its first push to its last EOS. An error describes the first broken rule.
pub fn check(pushed: &[Pushed], arrived: &[Arrived], rules: Rules) -> Result<(), String> {
    let mut epochs = Vec::with_capacity(pushed.len());
    let (mut frames, mut events) = (BTreeMap::new(), BTreeMap::new());
    let mut epoch = 0;
    for (index, item) in pushed.iter().enumerate() {
        match item {
            Pushed::Frame { number, .. } => {
                frames.insert(*number, index);
            }
            Pushed::Event { number, .. } => {
                events.insert(*number, index);
            }
            Pushed::Query { .. } => (),
            Pushed::Flush | Pushed::Restart => epoch += 1,
        }
        epochs.push(epoch);
    }
    Model { pushed, rules, epochs, frames, events }.check(arrived)
}

/// The state of the stream at downstream.
#[derive(Default)]
struct Seen {
    epoch: usize,
    /// Place of the latest of the things that arrive once.
    last: Option<usize>,
    /// Latest place of any event of this epoch.
    last_event: Option<usize>,
    format: Option<Format>,
    segment: Option<gst::Seqnum>,
    eos: bool,
    /// People of the last inferred frame of this epoch.
    people: Option<Vec<u32>>,
    /// Whether downstream refused something in this epoch.
    refused: bool,
    /// What arrived once in this epoch.
    once: Vec<usize>,
    /// Places of the frames that downstream refused with EOS.
    refused_with_eos: Vec<usize>,
}

impl Model<'_> {
    fn check(&self, arrived: &[Arrived]) -> Result<(), String> {
        let mut seen = Seen::default();
        for item in arrived {
            match item {
                Arrived::Flush | Arrived::Restart => {
                    self.check_losses(&seen, false)?;
                    seen = Seen { epoch: seen.epoch + 1, format: seen.format, ..Default::default() };
                }
                Arrived::Frame { number, size, people, unchanged, answer } => {
                    let place =
                        *self.frames.get(number).ok_or_else(|| format!("frame {number} was never pushed"))?;
                    self.check_frame(place, *size, people.as_ref(), *unchanged, &mut seen)
                        .map_err(|broken| format!("frame {number}: {broken}"))?;
                    if *answer == Err(gst::FlowError::Eos) {
                        seen.refused_with_eos.push(place);
                    }
                    seen.refused |= answer.is_err();
                }
                Arrived::Event { kind, number } => self
                    .check_event(*kind, *number, &mut seen)
                    .map_err(|broken| format!("{kind:?} event: {broken}"))?,
                Arrived::Query(place) => {
                    if matches!(self.pushed[*place], Pushed::Query { answer: true }) {
                        self.once(*place, &mut seen).map_err(|broken| format!("query: {broken}"))?;
                    }
                }
            }
        }
        if seen.epoch != *self.epochs.last().unwrap_or(&0) {
            return Err(format!("{} flushes and restarts arrived of {:?}", seen.epoch, self.epochs.last()));
        }
        self.check_losses(&seen, true)
    }

    /// Records something that arrives once: in its epoch, and after all before it.
    fn once(&self, place: usize, seen: &mut Seen) -> Result<(), String> {
        if self.epochs[place] != seen.epoch {
            return Err(format!(
                "of epoch {} arrived in epoch {}: it outlived a flush",
                self.epochs[place], seen.epoch
            ));
        }
        if let Some(last) = seen.last.max(seen.last_event).filter(|last| *last >= place) {
            return Err(format!(
                "(pushed as {place}) arrived after {:?} (pushed as {last})",
                self.pushed[last]
            ));
        }
        seen.last = Some(place);
        seen.once.push(place);
        Ok(())
    }

    fn check_frame(
        &self,
        place: usize,
        size: usize,
        people: Option<&Found>,
        unchanged: bool,
        seen: &mut Seen,
    ) -> Result<(), String> {
        let Pushed::Frame { number, expected, format, segment, accepted } = self.pushed[place] else {
            unreachable!("`frames` holds places of frames");
        };
        if !accepted {
            return Err("arrived although it was refused".to_string());
        }
        if seen.eos {
            return Err("arrived after EOS".to_string());
        }
        self.once(place, seen)?;
        if seen.format != Some(format) {
            return Err(format!("of {format:?} arrived with caps {:?}", seen.format));
        }
        if seen.segment != Some(segment) {
            return Err(format!("of segment {segment:?} arrived in {:?}", seen.segment));
        }
        if !unchanged {
            return Err(format!("its {size} bytes are not those that were pushed"));
        }
        self.check_people(number, expected, format, people, seen)
    }

    fn check_people(
        &self,
        number: u32,
        expected: Expected,
        format: Format,
        found: Option<&Found>,
        seen: &mut Seen,
    ) -> Result<(), String> {
        let Expected { people, carried, bare } = expected;
        let Some(found) = found else {
            let known = people != People::Unknown || carried;
            // The frame whose people it would carry may be one that downstream refused.
            let may_lack = carried && seen.refused;
            let must = known && !bare && !may_lack && !self.rules.skips && !self.rules.network_fails;
            if !bare && !carried {
                seen.people = None;
            }
            return if must { Err(format!("no metadata, expected {expected:?}")) } else { Ok(()) };
        };
        if bare {
            return Err(format!("carries {found:?}, expected none"));
        }
        if found.size != format.size {
            return Err(format!("metadata of {:?} on a frame of {:?}", found.size, format.size));
        }
        if found.carried {
            // Unknown: a frame before was refused, so the test lost the count.
            if people != People::Unknown && !carried {
                return Err("carries an earlier frame's people, expected its own".to_string());
            }
            return match &seen.people {
                Some(people) if *people == found.numbers => Ok(()),
                people => Err(format!("carries {:?}, the last inferred frame had {people:?}", found.numbers)),
            };
        }
        if carried {
            return Err("was inferred, expected an earlier frame's people".to_string());
        }
        let number = seen_number(number, format);
        if found.numbers.iter().any(|found| *found != number)
            || matches!(people, People::Exactly(people) if people != found.numbers.len())
        {
            return Err(format!("carries the results {:?}, expected {people:?} of {number}", found.numbers));
        }
        seen.people = Some(found.numbers.clone());
        Ok(())
    }

    fn check_event(&self, kind: gst::EventType, number: gst::Seqnum, seen: &mut Seen) -> Result<(), String> {
        let place = *self.events.get(&number).ok_or("was never pushed")?;
        let Pushed::Event { sticky, format, .. } = self.pushed[place] else {
            unreachable!("`events` holds places of events");
        };
        if kind == gst::EventType::Eos || !sticky {
            self.once(place, seen)?;
        } else {
            // A sticky event may come late, or again with the next frame after a flush or a refusal.
            if self.epochs[place] > seen.epoch {
                return Err("arrived before the flush that it came after".to_string());
            }
            let in_time = self.epochs[place] < seen.epoch || seen.last.is_none_or(|last| last < place);
            if !in_time && !seen.refused && !self.may_stop() {
                return Err(format!("(pushed as {place}) arrived after {:?}", seen.last));
            }
            if self.epochs[place] == seen.epoch {
                seen.last_event = seen.last_event.max(Some(place));
            }
        }
        match kind {
            gst::EventType::Eos => seen.eos = true,
            gst::EventType::StreamStart => seen.eos = false,
            gst::EventType::Segment => {
                seen.eos = false;
                seen.segment = Some(number);
            }
            gst::EventType::Caps => seen.format = format,
            _ => (),
        }
        Ok(())
    }

    /// A failed run can stop the stream.
    fn may_stop(&self) -> bool {
        self.rules.network_fails && !self.rules.passthrough
    }

    /// Everything accepted in the epoch must have arrived, except what a flush dropped or downstream's EOS made
    /// useless.
    fn check_losses(&self, seen: &Seen, is_last: bool) -> Result<(), String> {
        if self.may_stop() {
            return Ok(());
        }
        let mut once = &seen.once[..];
        // When a flush begins, pads refuse events, but not queries, before the queue is told.
        while let [rest @ .., last] = once
            && !is_last
            && matches!(self.pushed[*last], Pushed::Query { .. })
        {
            once = rest;
        }
        let mut once = once.iter().peekable();
        for (place, item) in
            self.pushed.iter().enumerate().filter(|(place, _)| self.epochs[*place] == seen.epoch)
        {
            let must_arrive = match item {
                Pushed::Frame { accepted, .. } => *accepted,
                Pushed::Event { kind, sticky, accepted, .. } => {
                    (!sticky || *kind == gst::EventType::Eos) && *accepted
                }
                Pushed::Query { answer } => *answer,
                Pushed::Flush | Pushed::Restart => false,
            };
            if once.peek() == Some(&&place) {
                once.next();
            } else if must_arrive
                && !self.downstream_has_enough(place, seen)
                && (once.peek().is_some() || is_last)
            {
                return Err(format!("{item:?} (pushed as {place}) was lost without a flush"));
            }
        }
        Ok(())
    }

    /// Whether downstream answered EOS before, with no new segment in between.
    fn downstream_has_enough(&self, place: usize, seen: &Seen) -> bool {
        let Some(refused) = seen.refused_with_eos.iter().rev().find(|refused| **refused < place) else {
            return false;
        };
        !self.pushed[*refused..place].iter().any(|item| {
            matches!(item, Pushed::Event { kind: gst::EventType::Segment | gst::EventType::StreamStart, .. })
        })
    }
}
