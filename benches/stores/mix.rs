//! Which keys are asked for, and how large their responses are. The same in each run.

/// The same numbers in each run (xorshift64).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    /// At least zero and below one.
    pub(crate) fn fraction(&mut self) -> f64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// Chooses the `n`th most popular of so many in proportion to `1 / n^exponent`.
pub(crate) struct Zipf {
    /// Up to each of them, of one.
    sums: Vec<f64>,
}

impl Zipf {
    pub(crate) fn new(exponent: f64, count: usize) -> Self {
        let mut sum = 0.0;
        let mut add = |n: usize| {
            sum += (n as f64).powf(-exponent);
            sum
        };
        let mut sums: Vec<f64> = (1..=count).map(&mut add).collect();
        sums.iter_mut().for_each(|up_to| *up_to /= sum);
        Self { sums }
    }

    pub(crate) fn next(&self, random: &mut Random) -> usize {
        let fraction = random.fraction();
        self.sums.partition_point(|up_to| *up_to < fraction).min(self.sums.len() - 1)
    }
}

/// A way of asking.
#[derive(Clone, Copy)]
pub(crate) struct Mix {
    pub(crate) name: &'static str,
    pub(crate) exponent: f64,
    pub(crate) event: Event,
}

/// What happens after half of the requests.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Event {
    Nothing,
    /// For a while each second request is for a key that nobody asks for again.
    Scan,
    /// From one request to the next, other keys are popular.
    Change,
}

pub(crate) const MIXES: [Mix; 4] = [
    Mix { name: "Zipf 0.8", exponent: 0.8, event: Event::Nothing },
    Mix { name: "Zipf 1.0", exponent: 1.0, event: Event::Nothing },
    Mix { name: "1.0, a scan", exponent: 1.0, event: Event::Scan },
    Mix { name: "1.0, a change", exponent: 1.0, event: Event::Change },
];
