//! What the service asks of a cache.

use std::task::{Context, Poll};

use futures_util::future::BoxFuture;
use serde_json::{Value, json};

use super::{
    problem::Problem,
    purge::{PurgeRequest, Target},
};
use crate::{
    handle::CacheHandle,
    key::Tenant,
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
        json!({
            "is_paused": self.is_paused(),
            "requests": {
                "hits": stats.hits,
                "stale": stats.stale,
                "forwards": stats.forwards,
                "bypasses": stats.bypasses,
                "collapsed": stats.collapsed,
                "overflows": stats.overflows,
            },
            "responses": { "stored": stats.stored, "fenced": stats.fenced },
            "invalidations": stats.invalidations,
            "store": { "errors": stats.store_errors },
        })
    }

    fn watch(&self) -> Box<dyn Watch> {
        Box::new(self.clone())
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

impl Watch for CacheHandle {
    fn stats(&self) -> Value {
        Source::stats(self)
    }

    fn poll_events(&mut self, _: &mut Context<'_>) -> Poll<Vec<Value>> {
        Poll::Pending
    }
}
