//! Frames in which upstream says where people are: its boxes are the frame's people.

use super::{
    Decision, EQUALLY, LEAST_SIMILAR, Observation, Person, Purpose, Seen, State, Track, Tracks,
    assign::assign,
    body::{Pose, area, centre},
    extent::Extent,
};
use crate::pose::Region;

/// How far a missed person may have moved: shares of the box's longer side, at once and for each second: people run and fall.
const STEP: f32 = 0.3;
const PACE: f32 = 2.5;
/// A box this much larger or smaller than the last is another person's. It is the root of the area that counts: a person who
/// stands up is higher, but hardly larger.
const GROWN: f32 = 1.5;
/// The share of the boxes in the similarity of a known person and one of upstream's. Upstream says where a person is, but in that
/// box the model may show another person, who stands in front.
const BOXES: f32 = 0.9;

impl Tracks {
    /// Upstream's boxes are the frame's people. A known person who is not among them keeps the id for `track-lifetime`:
    /// detectors miss a person now and then.
    pub(super) fn take_detected(&mut self, frame: Observation) -> Vec<Person> {
        let now = frame.now;
        let mut poses = Vec::new();
        for Seen { look, points } in &frame.seen {
            let id = if let Purpose::Detected { id } = look.purpose { id } else { None };
            self.upstream_ids |= id.is_some();
            // A detector's box stays a person even if the points have low scores.
            let pose = self.anatomy.pose(points.clone(), self.size);
            let score = pose.map_or(0.0, |pose| pose.score);
            let pose = Pose { points: points.clone(), region: look.region, score, cut_off: Vec::new() };
            poses.push((id, pose));
        }
        let predicted: Vec<_> = self.list.iter().map(|track| track.predicted(now)).collect();
        let pairs = assign(self.list.len(), poses.len(), LEAST_SIMILAR, |row, column| {
            let (track, (id, pose)) = (&self.list[row], &poses[column]);
            match (track.id, id) {
                (Some(own), Some(id)) if self.upstream_ids => f32::from(own == *id),
                (_, Some(_)) if self.upstream_ids => 0.0,
                _ => self.anatomy.similarity(&predicted[row], pose, BOXES),
            }
        });
        let mut owners = vec![None; poses.len()];
        let mut missed = vec![true; self.list.len()];
        for (row, column) in pairs {
            (owners[column], missed[row]) = (Some(row), false);
        }
        // The people left on both sides: a missed person who ran or fell is not at the predicted place, and the box around key
        // points can be much smaller than a detector's.
        if !self.upstream_ids {
            let rest = |taken: Vec<bool>| (0..taken.len()).filter(|n| !taken[*n]).collect::<Vec<_>>();
            let (rows, columns) = (
                rest(missed.iter().map(|missed| !missed).collect()),
                rest(owners.iter().map(Option::is_some).collect()),
            );
            let pairs = assign(rows.len(), columns.len(), f32::MIN_POSITIVE, |row, column| {
                let (track, (_, pose)) = (&self.list[rows[row]], &poses[columns[column]]);
                let known = !matches!(track.state, State::Candidate { .. });
                let alike = self.anatomy.similarity(&predicted[rows[row]], pose, EQUALLY);
                let alike = if alike >= LEAST_SIMILAR { alike } else { 0.0 };
                let passed = (now - track.seen) as f32;
                if known { nearness(&track.pose.region, &pose.region, passed).max(alike) } else { 0.0 }
            });
            for (row, column) in pairs {
                (owners[columns[column]], missed[rows[row]]) = (Some(rows[row]), false);
            }
        }
        let mut tracks = Vec::with_capacity(poses.len());
        for ((id, pose), owner) in poses.into_iter().zip(owners) {
            let region = pose.region;
            let mut track = match owner {
                Some(row) => {
                    let mut track = self.list[row].clone();
                    // Upstream's box, from which the points' box continues until upstream sends the next.
                    let extent = Extent::of(&self.anatomy, &pose, now);
                    track.find(&self.anatomy, pose, now, true);
                    track.extent = extent;
                    track
                }
                None => self.new_track(pose, now, true),
            };
            let before = track.state;
            track.state = State::Followed;
            track.id = if self.upstream_ids { id } else { Some(track.id.unwrap_or_else(|| self.new_id())) };
            match before {
                State::Followed => (),
                State::Candidate { .. } => self.decisions.push(Decision::Detected { id: track.id, region }),
                State::Lost { .. } | State::Omitted { .. } => {
                    self.decisions.push(Decision::Back { id: track.id, region });
                }
            }
            tracks.push(track);
        }
        let people = tracks.iter().map(Track::person).collect();
        for (track, missed) in self.list.iter_mut().zip(missed) {
            // Candidates of a search are not upstream's people.
            if !missed || matches!(track.state, State::Candidate { .. }) {
                continue;
            }
            let mut waiting = track.clone();
            waiting.state = match track.state {
                State::Followed => {
                    self.decisions.push(Decision::Lost { id: track.id });
                    State::Omitted { since: now }
                }
                State::Lost { since } => State::Omitted { since },
                other => other,
            };
            tracks.push(waiting);
        }
        self.list = tracks;
        people
    }
}

/// 1 to 0: how near a box is to the person's place that many seconds before; 0 if the person cannot have reached it, or if
/// its size is another one.
fn nearness(from: &Region, to: &Region, passed: f32) -> f32 {
    let side = |region: &Region| region.width.max(region.height);
    let ([x, y], [to_x, to_y]) = (centre(from), centre(to));
    let far = (to_x - x).hypot(to_y - y) / ((STEP + PACE * passed) * side(from).max(side(to)));
    let (before, after) = (area(from).sqrt(), area(to).sqrt());
    if before.max(after) > GROWN * before.min(after) { 0.0 } else { (1.0 - far).max(0.0) }
}
