//! How long things took: counts in buckets, of which there are always the same.
//!
//! A bucket is a microsecond wide below four microseconds. From there on each doubling has four buckets of one width,
//! so that none is wider than a quarter of what it holds. The last holds all that took longer than a minute and a bit.

use std::{
    array,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

/// Counts what it is told; never waits and never allocates.
#[derive(Debug)]
pub(crate) struct Histogram {
    counts: [AtomicU64; BUCKETS],
}

impl Histogram {
    pub(crate) fn record(&self, took: Duration) {
        let bucket = bucket(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
        self.counts[bucket].fetch_add(1, Relaxed);
    }

    pub(crate) fn snapshot(&self) -> Snapshot {
        Snapshot { counts: array::from_fn(|bucket| self.counts[bucket].load(Relaxed)) }
    }
}

impl Default for Histogram {
    fn default() -> Self {
        Self { counts: array::from_fn(|_| AtomicU64::new(0)) }
    }
}

/// What a histogram has counted, or several.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Snapshot {
    counts: [u64; BUCKETS],
}

impl Snapshot {
    /// Adds what another has counted.
    pub(crate) fn merge(&mut self, other: &Self) {
        for (count, more) in self.counts.iter_mut().zip(other.counts) {
            *count = count.saturating_add(more);
        }
    }

    /// How many there are.
    pub(crate) fn count(&self) -> u64 {
        self.counts.iter().fold(0, |sum, count| sum.saturating_add(*count))
    }

    /// How long the fastest `q` of all took at most: half of them for 0.5, the fastest one for 0, all for 1. None if
    /// there are none.
    ///
    /// It is the end of the bucket in which that one lies, so more than its time by a bucket's width at most. Of the
    /// last bucket, which has no end, it is the beginning.
    pub(crate) fn quantile(&self, q: f64) -> Option<Duration> {
        let count = self.count();
        // What is no number is taken for zero, and what is out of range for its end.
        let rank = ((q * count as f64).ceil() as u64).clamp(1, count.max(1));
        let mut so_far = 0_u64;
        let bucket = self.counts.iter().position(|count| {
            so_far = so_far.saturating_add(*count);
            so_far >= rank
        })?;
        Some(Duration::from_micros(start(bucket.saturating_add(1).min(LAST))))
    }
}

/// The bucket of a time in microseconds.
fn bucket(micros: u64) -> usize {
    if micros < STEPS {
        return usize::try_from(micros).unwrap_or(LAST);
    }
    // The power of two that it reaches, and how many quarters of that it is over it.
    let doubling = u64::from(micros.ilog2());
    let step = (micros >> (doubling - STEP_BITS)) - STEPS;
    usize::try_from((doubling - STEP_BITS + 1) * STEPS + step).map_or(LAST, |bucket| bucket.min(LAST))
}

/// The least time in a bucket, in microseconds.
fn start(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    if bucket < STEPS {
        return bucket;
    }
    (STEPS + bucket % STEPS) << (bucket / STEPS - 1)
}

/// How many buckets each doubling has, and the power of two that this is.
const STEPS: u64 = 1 << STEP_BITS;
const STEP_BITS: u64 = 2;

/// The bucket of all times from 2^26 microseconds, which is 67 seconds.
const LAST: usize = 100;
const BUCKETS: usize = LAST + 1;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(micros: &[u64]) -> Snapshot {
        let histogram = Histogram::default();
        for micros in micros {
            histogram.record(Duration::from_micros(*micros));
        }
        histogram.snapshot()
    }

    #[test]
    fn buckets_are_a_quarter_of_a_doubling_wide() {
        let cases = [
            (0, 0),
            (1, 1),
            (3, 3),
            (4, 4),
            (7, 7),
            (8, 8),
            (9, 8),
            (10, 9),
            (15, 11),
            (16, 12),
            (19, 12),
            (20, 13),
            (1_000, 35),
            (1_023, 35),
            (1_024, 36),
            (60_000_000, 99),
            ((1 << 26) - 1, 99),
            (1 << 26, 100),
            (u64::MAX, 100),
        ];
        for (micros, expected) in cases {
            assert_eq!(bucket(micros), expected, "{micros}");
        }
        for bucket in 0..LAST {
            assert_eq!(super::bucket(start(bucket)), bucket);
            assert_eq!(super::bucket(start(bucket + 1) - 1), bucket);
        }
    }

    #[test]
    fn a_quantile_is_the_end_of_its_bucket() {
        let micros = Duration::from_micros;
        let hundred: Vec<_> = (1..=100).map(|milli| milli * 1_000).collect();
        let cases: [(&[u64], f64, Option<Duration>); 14] = [
            (&[], 0.5, None),
            (&[0], 0.5, Some(micros(1))),
            (&[5], 0.0, Some(micros(6))),
            (&[5], 1.0, Some(micros(6))),
            (&[1, 2, 3], 0.5, Some(micros(3))),
            (&[1, 2, 3], 0.34, Some(micros(3))),
            (&[1, 2, 3], 0.33, Some(micros(2))),
            (&[1, 2, 3], -1.0, Some(micros(2))),
            (&[1, 2, 3], 7.0, Some(micros(4))),
            (&[1, 2, 3], f64::NAN, Some(micros(2))),
            (&hundred, 0.5, Some(micros(57_344))),
            (&hundred, 0.99, Some(micros(114_688))),
            (&[u64::MAX], 0.5, Some(micros(1 << 26))),
            (&[1 << 26], f64::INFINITY, Some(micros(1 << 26))),
        ];
        for (recorded, q, expected) in cases {
            assert_eq!(of(recorded).quantile(q), expected, "{q} of {recorded:?}");
        }
    }

    #[test]
    fn the_longest_duration_can_be_recorded() {
        let histogram = Histogram::default();
        histogram.record(Duration::MAX);

        assert_eq!(histogram.snapshot().quantile(1.0), Some(Duration::from_micros(1 << 26)));
    }

    #[test]
    fn counts_that_would_overflow_stay_at_the_most() {
        let mut full = of(&[]);
        full.counts = [u64::MAX; BUCKETS];
        full.merge(&of(&[1]));

        assert_eq!(full.count(), u64::MAX);
        assert_eq!(full.quantile(0.0), Some(Duration::from_micros(1)));
        assert!(full.quantile(1.0).is_some());
    }

    /// Times of all orders of magnitude.
    fn any_times() -> impl Strategy<Value = Vec<u64>> {
        let time = (0..64_u32, any::<u64>()).prop_map(|(shift, bits)| bits >> shift);
        prop::collection::vec(time, 1..100)
    }

    proptest! {
        #[test]
        fn a_quantile_is_off_by_the_width_of_its_bucket_at_most(times in any_times(), q in 0.0..=1.0) {
            let found = of(&times).quantile(q).unwrap().as_micros();
            let mut times = times;
            times.sort_unstable();
            let rank = ((q * times.len() as f64).ceil() as usize).max(1);
            let exact = times[rank - 1];

            if exact < 1 << 26 {
                let error = found - u128::from(exact);
                prop_assert!(error >= 1 && error <= u128::from(exact / 4).max(1), "{} for {}", found, exact);
            } else {
                prop_assert_eq!(found, 1 << 26);
            }
        }

        #[test]
        fn merged_is_as_if_recorded_in_one(these in any_times(), those in any_times()) {
            let mut merged = of(&these);
            merged.merge(&of(&those));

            prop_assert_eq!(merged.count(), (these.len() + those.len()) as u64);
            prop_assert_eq!(merged, of(&[these, those].concat()));
        }
    }
}
