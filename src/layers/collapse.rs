//! The layer that collapses and stores nothing.

use std::{fmt, time::Duration};

use tower_layer::Layer;

use super::CacheLayer;
use crate::{
    collapse::Collapse,
    handle::CacheHandle,
    key::CacheKey,
    policy::Policy,
    service::Cache,
    store::{Peek, Put, Store, StoreError},
    stored::Stored,
};

/// Lets one request do the work of all that arrive together, and stores nothing.
///
/// A response is shared only with requests that waited for it, and only if it could have been stored for them.
///
/// ```
/// use axum::{Router, routing::get};
/// use microcache::CollapseLayer;
///
/// let app: Router = Router::new().route("/live", get(|| async { "now" })).layer(CollapseLayer::new());
/// # let _ = app;
/// ```
#[doc(alias = "coalesce")]
#[doc(alias = "single-flight")]
#[derive(Clone)]
#[must_use]
pub struct CollapseLayer {
    cache: CacheLayer,
}

impl CollapseLayer {
    /// With the defaults of [`Collapse::new`].
    pub fn new() -> Self {
        Self::with(Collapse::new())
    }

    /// With these settings.
    pub fn with(collapse: Collapse) -> Self {
        Self::with_policy(Policy::new().collapse(collapse))
    }

    /// With a policy, for its key, cookies and size limit; its freshness says nothing here.
    pub fn with_policy(policy: Policy) -> Self {
        // The tags are for a cache around it.
        let policy = policy.default_freshness(Duration::ZERO).keep_tag_fields();
        Self { cache: CacheLayer::new(Nothing).with_policy(policy) }
    }

    /// What the application calls: purge, pause, resume, stats.
    #[must_use]
    pub fn handle(&self) -> CacheHandle {
        self.cache.handle()
    }
}

impl Default for CollapseLayer {
    fn default() -> Self {
        Self::new()
    }
}

impl<S> Layer<S> for CollapseLayer {
    type Service = Cache<S>;

    fn layer(&self, inner: S) -> Cache<S> {
        self.cache.layer(inner)
    }
}

impl fmt::Debug for CollapseLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("CollapseLayer").field(&self.cache).finish()
    }
}

/// Keeps nothing.
struct Nothing;

impl Store for Nothing {
    fn peek(&self, _: &CacheKey) -> Peek {
        Peek::Absent
    }

    async fn get(&self, _: &CacheKey) -> Result<Option<Stored>, StoreError> {
        Ok(None)
    }

    async fn put(&self, _: &CacheKey, _: Stored) -> Result<Put, StoreError> {
        Ok(Put::Declined)
    }

    async fn remove(&self, _: &CacheKey) -> Result<(), StoreError> {
        Ok(())
    }
}
