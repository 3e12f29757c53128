//! The only place that counts, and that tells what was counted.

mod counter;
mod emit;
mod event;
mod histogram;
mod hottest;
mod route;
mod snapshot;
mod stats;
mod tally;
mod tenants;
pub(crate) mod trace;

use std::{sync::Arc, time::SystemTime};

use tokio::time::Instant;

use self::{
    counter::{ByReason, Counter},
    hottest::Hottest,
    tenants::Tenants,
};
pub use self::{
    event::{Event, Happened},
    stats::{Gauges, HotKey, Latencies, Latency, Requests, RouteStats, Stats, TenantStats},
};
pub(crate) use self::{
    event::{Events, Hook},
    route::{Route, RouteBook},
    tally::Tally,
};
use crate::{
    clock::{Clock, monotonic},
    key::{CacheKey, Tenant},
    store::StoreError,
};

/// What one cache has done so far.
pub(crate) struct Counters {
    pub(crate) events: Arc<Events>,
    pub(crate) routes: RouteBook,
    tenants: Tenants,
    store_errors: ByReason<{ STORE_ERRORS.len() }>,
    invalidations: Counter,
    purges: Counter,
    tags_dropped: Counter,
    keys: Option<Keys>,
    since: SystemTime,
}

/// Which keys are asked for, and which are forwarded.
struct Keys {
    hottest: Hottest,
    offenders: Hottest,
}

impl Counters {
    /// `counts_keys`: some keys are kept, to show which are hot.
    pub(crate) fn new(hook: Option<Hook>, clock: Arc<dyn Clock>, counts_keys: bool) -> Self {
        Self {
            since: clock.now(),
            events: Arc::new(Events::new(hook, clock)),
            routes: RouteBook::default(),
            tenants: Tenants::new(),
            store_errors: ByReason::new(&STORE_ERRORS),
            invalidations: Counter::default(),
            purges: Counter::default(),
            tags_dropped: Counter::default(),
            keys: counts_keys.then(|| Keys { hottest: Hottest::new(), offenders: Hottest::one_in(MISSES_ONE_IN) }),
        }
    }

    /// What the requests of this tenant on this route are counted with.
    #[inline]
    pub(crate) fn tally<'a>(&self, route: &'a Route, tenant: &Tenant) -> &'a Arc<Tally> {
        let number = self.tenants.number(tenant);
        route.tally(number, || Tenants::label(number, tenant))
    }

    /// A hit that is one of those that are looked at.
    #[cold]
    pub(crate) fn look_at(&self, key: &CacheKey, tally: &Tally, began: Instant, now: SystemTime) {
        tally.hit_took(began.elapsed());
        if let Some(keys) = &self.keys {
            keys.hottest.look_at(key, 1, now);
        }
    }

    /// A request that could not be answered at once.
    pub(crate) fn missed(&self, key: &CacheKey, now: SystemTime) {
        if let Some(keys) = &self.keys {
            keys.hottest.record(key, 1, now);
        }
    }

    /// A request that goes to the origin.
    pub(crate) fn forwarded(&self, key: &CacheKey, now: SystemTime) {
        if let Some(keys) = &self.keys {
            keys.offenders.record(key, 1, now);
        }
    }

    pub(crate) fn invalidated(&self) {
        self.invalidations.add("microcache_invalidations_total", &[]);
    }

    /// `what`: in words that an operator understands.
    pub(crate) fn purged(&self, what: String, is_soft: bool) {
        self.purges.add("microcache_purges_total", &[]);
        self.events.tell(Event::Purged { what, is_soft });
    }

    /// What had them ends with a purge by any tag.
    pub(crate) fn tags_dropped(&self, tags: u64) {
        if tags == 0 {
            return;
        }
        self.tags_dropped.add_many("microcache_tags_dropped_total", tags);
        self.events.tell_of_many("tags", |count| Event::TagsDropped { count });
    }

    pub(crate) fn store_failed(&self, error: &StoreError) {
        let word = event::word(error.kind());
        let (reason, count) = self.store_errors.of(word);
        count.add("microcache_store_errors_total", &[("reason", reason)]);
        self.events.tell_of_many(word, |count| Event::StoreFailed { kind: error.kind(), count });
    }

    pub(crate) fn overflowed(&self, tally: &Tally) {
        tally.overflowed();
        let (route, tenant) = (tally.route(), tally.tenant());
        let event = |count| Event::Overflowed { route: route.to_owned(), tenant: tenant.to_owned(), count };
        self.events.tell_of_many("overflow", event);
    }

    pub(crate) fn reached_quota(&self, tally: &Tally) {
        let event = |count| Event::QuotaReached { tenant: tally.tenant().to_owned(), count };
        self.events.tell_of_many("quota", event);
    }

    pub(crate) fn second_leader(&self, tally: &Tally) {
        tally.second_leader();
        let (route, tenant) = (tally.route(), tally.tenant());
        let event = |count| Event::SecondLeader { route: route.to_owned(), tenant: tenant.to_owned(), count };
        self.events.tell_of_many("second-leader", event);
    }
}

/// When a hit began, if it is one of those that are looked at.
#[inline]
pub(crate) fn picked() -> Option<Instant> {
    hottest::is_picked().then(monotonic)
}

/// One of so many forwards is looked at.
const MISSES_ONE_IN: u64 = 8;

const STORE_ERRORS: [&str; 4] = ["timeout", "io", "corrupt", "refused"];
