//! Numbers that only grow, and how long things took: counted here, and told to whoever collects metrics.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use super::{
    emit::{self, Labels},
    histogram::{Histogram, Snapshot},
};

/// How often something happened.
#[derive(Default)]
pub(super) struct Counter {
    count: AtomicU64,
    told: emit::Counter,
}

impl Counter {
    /// Once more. Under the same name and labels each time.
    #[inline]
    pub(super) fn add(&self, name: &'static str, labels: Labels<'_>) {
        self.count.fetch_add(1, Relaxed);
        self.told.add(name, labels, 1);
    }

    /// So many times more, without labels.
    pub(super) fn add_many(&self, name: &'static str, count: u64) {
        self.count.fetch_add(count, Relaxed);
        self.told.add(name, &[], count);
    }

    pub(super) fn get(&self) -> u64 {
        self.count.load(Relaxed)
    }
}

/// How long something took.
#[derive(Default)]
pub(super) struct Timer {
    histogram: Histogram,
    told: emit::Histogram,
}

impl Timer {
    /// Under the same name and labels each time.
    pub(super) fn record(&self, name: &'static str, labels: Labels<'_>, took: Duration) {
        self.histogram.record(took);
        self.told.record(name, labels, took);
    }

    pub(super) fn snapshot(&self) -> Snapshot {
        self.histogram.snapshot()
    }
}

/// How often something happened for each of the reasons there are.
pub(super) struct ByReason<const N: usize> {
    reasons: &'static [&'static str; N],
    counts: [Counter; N],
    /// For reasons that are not among them.
    other: Counter,
}

impl<const N: usize> ByReason<N> {
    pub(super) fn new(reasons: &'static [&'static str; N]) -> Self {
        Self { reasons, counts: std::array::from_fn(|_| Counter::default()), other: Counter::default() }
    }

    /// The counter for a reason, and what it is called there.
    pub(super) fn of(&self, reason: &str) -> (&'static str, &Counter) {
        match self.reasons.iter().position(|there| *there == reason) {
            Some(index) => (self.reasons[index], &self.counts[index]),
            None => ("other", &self.other),
        }
    }

    /// Those that happened.
    pub(super) fn counts(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let counts = self.reasons.iter().copied().zip(&self.counts).chain([("other", &self.other)]);
        counts.map(|(reason, count)| (reason, count.get())).filter(|(_, count)| *count > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_that_nobody_foresaw_is_counted_with_the_others() {
        let counts = ByReason::new(&["private", "no-store"]);
        for reason in ["no-store", "no-store", "new", "newer"] {
            let (reason, count) = counts.of(reason);
            count.add("a", &[("reason", reason)]);
        }

        assert_eq!(counts.counts().collect::<Vec<_>>(), [("no-store", 2), ("other", 2)]);
    }
}
