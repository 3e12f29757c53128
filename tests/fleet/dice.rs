//! Chance, the same again with the same seed.

use std::time::Duration;

/// A small generator.
#[derive(Clone, Debug)]
pub(crate) struct Dice {
    state: u64,
}

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Less than one.
    fn share(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Until the next of those that come at random, so many a second.
    pub(crate) fn pause(&mut self, a_second: f64) -> Duration {
        Duration::from_secs_f64(-(1.0 - self.share()).ln() / a_second)
    }
}

/// How popular keys are: the second half as much as the first, the third a third as much.
#[derive(Clone, Debug)]
pub(crate) struct Zipf {
    /// Of each key and all before it.
    shares: Vec<f64>,
}

impl Zipf {
    pub(crate) fn new(keys: usize) -> Self {
        let whole: f64 = (1..=keys).map(|rank| 1.0 / rank as f64).sum();
        let mut before = 0.0;
        let share = |rank| {
            before += 1.0 / rank as f64 / whole;
            before
        };
        Self { shares: (1..=keys).map(share).collect() }
    }

    pub(crate) fn draw(&self, dice: &mut Dice) -> usize {
        let share = dice.share();
        self.shares.partition_point(|before| *before <= share).min(self.shares.len() - 1)
    }
}
