//! The GPUs in whose memory an element's frames can stay: one, or several.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use super::{Device, library::Mapped};

#[derive(Default)]
pub struct Cards {
    devices: Vec<Arc<Device>>,
    /// Counts the frames that are on none of them.
    turn: AtomicUsize,
}

impl Cards {
    pub fn new(devices: Vec<Arc<Device>>) -> Self {
        Self { devices, turn: AtomicUsize::new(0) }
    }

    pub fn is_empty(&self) -> bool {
        self.devices.is_empty()
    }

    pub fn iter(&self) -> impl Iterator<Item = &Arc<Device>> {
        self.devices.iter()
    }

    /// The GPU that reads this memory: the memory's own GPU, in our context or in another one; else one of those that are
    /// not lost, in turn.
    pub(super) fn for_memory(&self, mapped: &Mapped, is_lost: &dyn Fn(u32) -> bool) -> Option<&Arc<Device>> {
        let own = self.devices.iter().position(|device| device.is_own(mapped.context()));
        let same = || {
            let number = mapped.card()?;
            self.devices.iter().position(|device| device.number() == number)
        };
        let index = own.or_else(same).or_else(|| {
            let lost: Vec<_> = self.devices.iter().map(|device| is_lost(device.number())).collect();
            in_turn(&lost, self.turn.fetch_add(1, Ordering::Relaxed))
        });
        self.devices.get(index?)
    }
}

/// The next GPU in turn among those that are not lost; among all, if all are lost.
fn in_turn(lost: &[bool], turn: usize) -> Option<usize> {
    let living: Vec<_> = (0..lost.len()).filter(|index| !lost[*index]).collect();
    match (living.len(), lost.len()) {
        (_, 0) => None,
        (0, all) => Some(turn % all),
        (some, _) => Some(living[turn % some]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_of_no_card_of_ours_go_round_those_that_live() {
        let turns = |lost: &[bool]| (0..4).map(|turn| in_turn(lost, turn)).collect::<Vec<_>>();
        assert_eq!(turns(&[false, false]), [Some(0), Some(1), Some(0), Some(1)]);
        assert_eq!(turns(&[false, true, false]), [Some(0), Some(2), Some(0), Some(2)]);
        assert_eq!(turns(&[true, true]), [Some(0), Some(1), Some(0), Some(1)]);
        assert_eq!(turns(&[]), [None; 4]);
    }
}
