//! How popular things are.

use fastrand::Rng;

/// Chooses the `n`th most popular of so many in proportion to `1 / n^exponent`.
#[derive(Clone, Debug)]
pub(crate) struct Zipf {
    /// Up to each of them, of one.
    sums: Vec<f64>,
}

impl Zipf {
    pub(crate) fn new(exponent: f64, count: usize) -> Self {
        let mut sum = 0.0;
        let add = |n: usize| {
            sum += (n as f64).powf(-exponent);
            sum
        };
        let mut sums: Vec<f64> = (1..=count).map(add).collect();
        sums.iter_mut().for_each(|up_to| *up_to /= sum);
        Self { sums }
    }

    /// From zero, which is the most popular.
    pub(crate) fn draw(&self, random: &mut Rng) -> usize {
        let share = random.f64();
        self.sums.partition_point(|up_to| *up_to <= share).min(self.sums.len() - 1)
    }
}
