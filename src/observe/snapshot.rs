//! What was counted, put together when somebody asks.

use std::{cmp::Reverse, collections::BTreeMap, sync::Arc, time::SystemTime};

use super::{
    Counters, Gauges, HotKey, Latencies, Latency, Requests, Route, Stats, TenantStats, emit, histogram::Snapshot,
    hottest::Hottest,
};
use crate::{
    clock::nanos,
    store::{BreakerState, ServerState, StoreSize},
};

impl Counters {
    /// What was counted, with what others know. Gauges are told to who collects metrics.
    pub(crate) fn stats(
        &self,
        is_paused: bool,
        gauges: Gauges,
        store: StoreSize,
        servers: Vec<ServerState>,
        now: SystemTime,
    ) -> Stats {
        tell_gauges(&gauges, &store, &servers);
        let routes = self.routes.all();
        let mut by_tenant = BTreeMap::<&str, Requests>::new();
        let mut route_stats = Vec::with_capacity(routes.len());
        let mut total = Requests::default();
        for route in &routes {
            let stats = route.stats(|tenant, requests| by_tenant.entry(tenant).or_default().add(requests));
            total.add(&stats.requests);
            route_stats.push(stats);
        }
        let top = |keys: &Hottest| keys.top(SHOWN_KEYS, now).into_iter().map(HotKey::from).collect();
        Stats {
            hits: total.hits,
            stale: total.stale,
            collapsed: total.collapsed,
            forwards: total.forwards,
            bypasses: total.bypasses,
            refused: total.refused,
            forward_reasons: total.forward_reasons,
            bypass_reasons: total.bypass_reasons,
            refreshes: total.refreshes,
            overflows: total.overflows,
            second_leaders: total.second_leaders,
            stale_if_error: total.stale_if_error,
            stored: total.stored,
            not_stored: total.not_stored,
            not_stored_reasons: total.not_stored_reasons,
            fenced: total.fenced,
            store_errors: self.store_errors.counts().map(|(_, count)| count).sum(),
            invalidations: self.invalidations.get(),
            purges: self.purges.get(),
            tags_dropped: self.tags_dropped.get(),
            gauges,
            latencies: latencies(&routes),
            routes: route_stats,
            tenants: tenants(by_tenant),
            hottest: self.keys.as_ref().map(|keys| top(&keys.hottest)).unwrap_or_default(),
            offenders: self.keys.as_ref().map(|keys| top(&keys.offenders)).unwrap_or_default(),
            is_paused,
            store,
            servers,
            since_ms: nanos(self.since) / 1_000_000,
            now_ms: nanos(now) / 1_000_000,
        }
    }
}

fn tell_gauges(gauges: &Gauges, store: &StoreSize, servers: &[ServerState]) {
    emit::gauge("microcache_flights", &[], gauges.flights);
    emit::gauge("microcache_waiting", &[], gauges.waiting);
    emit::gauge("microcache_markers", &[], gauges.markers);
    let sizes = [
        ("microcache_store_bytes", store.bytes),
        ("microcache_store_max_bytes", store.max_bytes),
        ("microcache_store_responses", store.responses),
    ];
    for (name, size) in sizes {
        size.inspect(|size| emit::gauge(name, &[], *size));
    }
    store.evictions.inspect(|evictions| emit::total("microcache_evictions_total", *evictions));
    for server in servers {
        let is_closed = server.breaker == BreakerState::Closed;
        emit::gauge("microcache_server_up", &[("server", &server.server)], u64::from(is_closed));
    }
}

/// Of all routes together.
fn latencies(routes: &[Arc<Route>]) -> Latencies {
    let all: Vec<_> = routes.iter().map(|route| route.took()).collect();
    let [hit, forward, wait] = std::array::from_fn(|kind| {
        let mut sum: Option<Snapshot> = None;
        for took in &all {
            match &mut sum {
                Some(sum) => sum.merge(&took[kind]),
                None => sum = Some(took[kind].clone()),
            }
        }
        sum.as_ref().and_then(Latency::of)
    });
    Latencies { hit, forward, wait }
}

/// By tenant, the one with the most requests first.
fn tenants(tenants: BTreeMap<&str, Requests>) -> Vec<TenantStats> {
    let stats = |(tenant, requests): (&str, Requests)| TenantStats { tenant: tenant.to_owned(), requests };
    let mut tenants: Vec<_> = tenants.into_iter().map(stats).collect();
    let count = |of: &Requests| of.hits + of.stale + of.collapsed + of.forwards + of.bypasses + of.refused;
    tenants.sort_by_key(|tenant| Reverse(count(&tenant.requests)));
    tenants
}

/// How many keys are shown.
const SHOWN_KEYS: usize = 20;
