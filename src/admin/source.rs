//! What the service asks of a cache.

use std::{
    sync::{Mutex, PoisonError},
    task::{Context, Poll, ready},
};

use futures_util::{FutureExt, future::BoxFuture};
use serde_json::{Value, json};

use super::{
    problem::Problem,
    purge::{PurgeRequest, Target},
};
use crate::{
    clock::nanos,
    handle::CacheHandle,
    key::Tenant,
    observe::Happened,
    purge::{Purge, PurgeErrorKind, PurgeOf},
};

/// A cache, as the service sees it.
pub(super) trait Source: Send + Sync + 'static {
    /// The counters, as the page reads them.
    fn stats(&self) -> Value;

    /// The counters and what happens, for one client.
    fn watch(&self) -> Box<dyn Watch>;

    /// Purges, and says how far that reaches.
    fn purge(&self, asked: PurgeRequest) -> BoxFuture<'static, Result<String, Problem>>;
}

/// A cache that one client watches.
pub(super) trait Watch: Send + Sync {
    /// The counters now.
    fn stats(&self) -> Value;

    /// What happened since the last time, oldest first; at the first time, what is remembered. Ready when there is
    /// something.
    fn poll_events(&mut self, cx: &mut Context<'_>) -> Poll<Vec<Value>>;
}

impl Source for CacheHandle {
    fn stats(&self) -> Value {
        let stats = Self::stats(self);
        let paused: Vec<_> = stats.routes.iter().filter(|route| route.is_paused).map(|route| &route.route).collect();
        json!({
            "now_ms": stats.now_ms,
            "since_ms": stats.since_ms,
            "is_paused": stats.is_paused,
            "paused_routes": paused,
            "requests": {
                "hits": stats.hits,
                "stale": stats.stale,
                "forwards": stats.forwards,
                "bypasses": stats.bypasses,
                "collapsed": stats.collapsed,
                "refused": stats.refused,
                "overflows": stats.overflows,
            },
            "forwards": stats.forward_reasons,
            "bypasses": stats.bypass_reasons,
            "refreshes": stats.refreshes,
            "second_leaders": stats.second_leaders,
            "stale_if_error": stats.stale_if_error,
            "responses": {
                "stored": stats.stored,
                "fenced": stats.fenced,
                "evicted": stats.store.evictions,
                "not_stored": stats.not_stored_reasons,
            },
            "invalidations": stats.invalidations,
            "purges": stats.purges,
            "store": {
                "bytes": stats.store.bytes,
                "max_bytes": stats.store.max_bytes,
                "responses": stats.store.responses,
                "errors": stats.store_errors,
            },
            "servers": stats.servers,
            "gauges": stats.gauges,
            "latency_us": stats.latencies,
            "hottest": stats.hottest,
            "offenders": stats.offenders,
            "routes": stats.routes,
            "tenants": stats.tenants,
        })
    }

    fn watch(&self) -> Box<dyn Watch> {
        Box::new(Watched { next: Mutex::new(self.next_events(0).boxed()), handle: self.clone(), seen: 0 })
    }

    fn purge(&self, asked: PurgeRequest) -> BoxFuture<'static, Result<String, Problem>> {
        let of = |purge: PurgeOf, tenant: Option<String>| match tenant {
            Some(tenant) => purge.tenant(Tenant::named(tenant)).into(),
            None => purge.into(),
        };
        let purge: Purge = match asked.target {
            Target::Url { url, tenant } => of(Purge::url(url), tenant),
            Target::Tag { tag, tenant } => of(Purge::tag(tag), tenant),
            Target::Tenant(tenant) => Purge::tenant(Tenant::named(tenant)),
            Target::All => Purge::all(),
        };
        let purged = Self::purge(self, if asked.is_soft { purge.soft() } else { purge });
        Box::pin(async move {
            purged.await.map(|purged| purged.to_string()).map_err(|error| match error.kind() {
                PurgeErrorKind::Store => Problem::unavailable(error.to_string()),
                _ => Problem::unprocessable(error.to_string()),
            })
        })
    }
}

/// The cache of a handle, and what is waited for of its events.
struct Watched {
    handle: CacheHandle,
    /// In a lock that nobody waits for, so that it can be shared.
    next: Mutex<BoxFuture<'static, Vec<Happened>>>,
    /// The number of the last one.
    seen: u64,
}

impl Watch for Watched {
    fn stats(&self) -> Value {
        Source::stats(&self.handle)
    }

    fn poll_events(&mut self, cx: &mut Context<'_>) -> Poll<Vec<Value>> {
        let next = self.next.get_mut().unwrap_or_else(PoisonError::into_inner);
        let happened = ready!(next.poll_unpin(cx));
        self.seen = happened.last().map_or(self.seen, |last| last.number);
        *next = self.handle.next_events(self.seen).boxed();
        Poll::Ready(happened.iter().map(shown).collect())
    }
}

/// An event as the page reads it.
fn shown(happened: &Happened) -> Value {
    // It has no map whose keys are not text, so that it is always JSON.
    let mut event = serde_json::to_value(&happened.event).unwrap_or_default();
    if let Some(members) = event.as_object_mut() {
        members.insert("at_ms".to_owned(), (nanos(happened.at) / 1_000_000).into());
    }
    event
}
