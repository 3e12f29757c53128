//! The one file that knows the `metrics` crate. Without its feature nothing is told, and telling costs nothing.
//!
//! What is told is registered when it is told first, and the handle kept: a recorder has to be there by then.

pub(super) use self::told::{Counter, Histogram, gauge, total};

/// The labels of a metric.
pub(super) type Labels<'a> = &'a [(&'static str, &'a str)];

#[cfg(feature = "metrics")]
mod told {
    use std::{sync::OnceLock, time::Duration};

    use super::Labels;

    #[derive(Default)]
    pub(in crate::observe) struct Counter(OnceLock<metrics::Counter>);

    impl Counter {
        #[inline]
        pub(in crate::observe) fn add(&self, name: &'static str, labels: Labels<'_>, count: u64) {
            self.0.get_or_init(|| metrics::counter!(name, owned(labels))).increment(count);
        }
    }

    #[derive(Default)]
    pub(in crate::observe) struct Histogram(OnceLock<metrics::Histogram>);

    impl Histogram {
        pub(in crate::observe) fn record(&self, name: &'static str, labels: Labels<'_>, took: Duration) {
            self.0.get_or_init(|| metrics::histogram!(name, owned(labels))).record(took.as_secs_f64());
        }
    }

    pub(in crate::observe) fn gauge(name: &'static str, labels: Labels<'_>, value: u64) {
        metrics::gauge!(name, owned(labels)).set(value as f64);
    }

    /// A counter that somebody else counts.
    pub(in crate::observe) fn total(name: &'static str, value: u64) {
        metrics::counter!(name).absolute(value);
    }

    #[cold]
    fn owned(labels: Labels<'_>) -> Vec<metrics::Label> {
        labels.iter().map(|(name, value)| metrics::Label::new(*name, (*value).to_owned())).collect()
    }
}

#[cfg(not(feature = "metrics"))]
mod told {
    use std::time::Duration;

    use super::Labels;

    #[derive(Default)]
    pub(in crate::observe) struct Counter;

    impl Counter {
        #[inline(always)]
        pub(in crate::observe) fn add(&self, _: &'static str, _: Labels<'_>, _: u64) {}
    }

    #[derive(Default)]
    pub(in crate::observe) struct Histogram;

    impl Histogram {
        #[inline(always)]
        pub(in crate::observe) fn record(&self, _: &'static str, _: Labels<'_>, _: Duration) {}
    }

    #[inline(always)]
    pub(in crate::observe) fn gauge(_: &'static str, _: Labels<'_>, _: u64) {}

    #[inline(always)]
    pub(in crate::observe) fn total(_: &'static str, _: u64) {}
}
