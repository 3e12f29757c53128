//! What became of the requests of one tenant on one route.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use super::{
    counter::{ByReason, Counter, Timer},
    stats::Requests,
};
use crate::{policy::BypassReason, status::ForwardReason};

/// Counts each request once, by what answered it; what happened on the way is counted apart.
pub(crate) struct Tally {
    route: Arc<str>,
    tenant: Arc<str>,
    took: Arc<Took>,
    hits: Counter,
    stale: Counter,
    collapsed: Counter,
    refused: Counter,
    forwards: [Counter; ForwardReason::ALL.len()],
    bypasses: [Counter; BypassReason::ALL.len()],
    overflows: Counter,
    refreshes: Counter,
    second_leaders: Counter,
    stale_if_error: Counter,
    stored: Counter,
    not_stored: ByReason<{ NOT_STORED.len() }>,
    fenced: Counter,
}

/// How long the requests of one route took, whoever they are of.
#[derive(Default)]
pub(super) struct Took {
    pub(super) hit: Timer,
    pub(super) forward: Timer,
    pub(super) wait: Timer,
}

impl Tally {
    pub(super) fn new(route: &Arc<str>, tenant: Arc<str>, took: &Arc<Took>) -> Self {
        Self {
            route: Arc::clone(route),
            tenant,
            took: Arc::clone(took),
            hits: Counter::default(),
            stale: Counter::default(),
            collapsed: Counter::default(),
            refused: Counter::default(),
            forwards: Default::default(),
            bypasses: Default::default(),
            overflows: Counter::default(),
            refreshes: Counter::default(),
            second_leaders: Counter::default(),
            stale_if_error: Counter::default(),
            stored: Counter::default(),
            not_stored: ByReason::new(&NOT_STORED),
            fenced: Counter::default(),
        }
    }

    pub(crate) fn route(&self) -> &str {
        &self.route
    }

    pub(crate) fn tenant(&self) -> &str {
        &self.tenant
    }

    /// Answered from the store.
    #[inline]
    pub(crate) fn hit(&self, is_fresh: bool) {
        match is_fresh {
            true => self.result(&self.hits, "hit"),
            false => self.result(&self.stale, "stale"),
        }
    }

    /// Answered by the forward of another.
    pub(crate) fn collapsed(&self) {
        self.result(&self.collapsed, "collapsed");
    }

    /// Answered with a failure of the cache's own.
    pub(crate) fn refused(&self) {
        self.result(&self.refused, "refused");
    }

    /// Sent to the origin.
    pub(crate) fn forwarded(&self, reason: ForwardReason) {
        self.result_for(&self.forwards[reason as usize], "forward", reason.as_str());
    }

    /// Handed to the origin untouched.
    pub(crate) fn bypassed(&self, reason: BypassReason) {
        self.result_for(&self.bypasses[reason as usize], "bypass", reason.word());
    }

    /// It could not wait; how it was answered is counted, too.
    pub(crate) fn overflowed(&self) {
        self.overflows.add("microcache_overflows_total", &self.labels());
    }

    /// Sent to the origin for no request, but to refresh what is stored.
    pub(crate) fn refreshed(&self) {
        self.refreshes.add("microcache_refreshes_total", &self.labels());
    }

    /// Sent to the origin beside another for the same.
    pub(super) fn second_leader(&self) {
        self.second_leaders.add("microcache_second_leaders_total", &self.labels());
    }

    /// The origin failed, and what is stale answers.
    pub(crate) fn stale_if_error(&self) {
        self.stale_if_error.add("microcache_stale_if_error_total", &self.labels());
    }

    pub(crate) fn stored(&self) {
        self.stored.add("microcache_stored_total", &self.labels());
    }

    /// `reason`: the word for it in `Cache-Status`.
    pub(crate) fn not_stored(&self, reason: &str) {
        let (reason, count) = self.not_stored.of(reason);
        let labels = &[("reason", reason), ("route", &*self.route), ("tenant", &*self.tenant)];
        count.add("microcache_not_stored_total", labels);
    }

    /// A newer one was there, or a fence; it is not stored, too.
    pub(crate) fn fenced(&self) {
        self.fenced.add("microcache_fenced_total", &self.labels());
    }

    /// Until the hit was ready.
    pub(super) fn hit_took(&self, took: Duration) {
        self.took.hit.record("microcache_hit_seconds", &[("route", &self.route)], took);
    }

    /// Until the head of the origin's response was there.
    pub(crate) fn forward_took(&self, took: Duration) {
        self.took.forward.record("microcache_forward_seconds", &[("route", &self.route)], took);
    }

    /// Until the wait for another's forward was over.
    pub(crate) fn waited(&self, took: Duration) {
        self.took.wait.record("microcache_wait_seconds", &[("route", &self.route)], took);
    }

    fn labels(&self) -> [(&'static str, &str); 2] {
        [("route", &self.route), ("tenant", &self.tenant)]
    }

    #[inline]
    fn result(&self, counter: &Counter, result: &'static str) {
        counter.add(REQUESTS, &[("result", result), ("route", &self.route), ("tenant", &self.tenant)]);
    }

    fn result_for(&self, counter: &Counter, result: &'static str, reason: &'static str) {
        let labels = &[("result", result), ("reason", reason), ("route", &self.route), ("tenant", &self.tenant)];
        counter.add(REQUESTS, labels);
    }

    pub(super) fn requests(&self) -> Requests {
        let not_stored_reasons: BTreeMap<_, _> = self.not_stored.counts().collect();
        let mut requests = Requests {
            hits: self.hits.get(),
            stale: self.stale.get(),
            collapsed: self.collapsed.get(),
            refused: self.refused.get(),
            overflows: self.overflows.get(),
            refreshes: self.refreshes.get(),
            second_leaders: self.second_leaders.get(),
            stale_if_error: self.stale_if_error.get(),
            stored: self.stored.get(),
            not_stored: not_stored_reasons.values().sum(),
            not_stored_reasons,
            fenced: self.fenced.get(),
            ..Requests::default()
        };
        for (reason, counter) in ForwardReason::ALL.into_iter().zip(&self.forwards) {
            requests.add_forwards(reason.as_str(), counter.get());
        }
        for (reason, counter) in BypassReason::ALL.into_iter().zip(&self.bypasses) {
            requests.add_bypasses(reason.word(), counter.get());
        }
        requests
    }
}

const REQUESTS: &str = "microcache_requests_total";

/// Why a response was not stored: the words for it in `Cache-Status`, and what only the cache knows.
const NOT_STORED: [&str; 25] = [
    "no-store",
    "private",
    "authorization",
    "must-understand",
    "no-freshness",
    "status",
    "scope",
    "set-cookie",
    "validation",
    "vary",
    "stream",
    "credentials",
    "too-large",
    "length",
    "request",
    "key-too-long",
    "variants",
    "one-off",
    "not-asked",
    "fenced",
    "declined",
    "store-failed",
    "origin-failed",
    "broken-off",
    "confirmed",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_is_counted_as_itself() {
        let tally = Tally::new(&Arc::from("default"), Arc::from("shared"), &Arc::default());
        for reason in ForwardReason::ALL {
            tally.forwarded(reason);
        }
        for reason in BypassReason::ALL {
            tally.bypassed(reason);
        }
        let requests = tally.requests();

        assert_eq!(requests.forwards as usize, ForwardReason::ALL.len());
        assert_eq!(requests.bypasses as usize, BypassReason::ALL.len());
        assert!(requests.forward_reasons.values().chain(requests.bypass_reasons.values()).all(|count| *count == 1));
        assert_eq!(requests.bypass_reasons.len(), BypassReason::ALL.len());
        for (index, reason) in BypassReason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, index);
        }
        for (index, reason) in ForwardReason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, index);
        }
    }
}
