//! Numbers that are the same in every run with the same seed.

/// SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014).
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    pub fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    pub fn one_of<T: Clone>(&mut self, values: &[T]) -> T {
        values[self.below(values.len() as u64) as usize].clone()
    }

    /// One of the values, by their weights.
    pub fn weighted<T: Clone>(&mut self, values: &[(u64, T)]) -> T {
        let mut rest = self.below(values.iter().map(|(weight, _)| weight).sum());
        for (weight, value) in values {
            match rest.checked_sub(*weight) {
                Some(left) => rest = left,
                None => return value.clone(),
            }
        }
        unreachable!("the rest is below the sum of all weights")
    }
}
