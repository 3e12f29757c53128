//! The layer that caches.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64},
    },
    time::Duration,
};

use tower_layer::Layer;

use super::ConfigError;
use crate::{
    clock::{Clock, SystemClock},
    collapse::{Collapser, TenantLimits},
    handle::CacheHandle,
    key::{Tenancy, Tenant},
    observe::Counters,
    policy::{Policy, Routes, Sightings},
    service::{Cache, Core, Settings},
    store::{Fences, Store},
};

/// Puts a shared cache in front of a service.
///
/// It has no type parameters: anyone can name it, return it, keep it in a struct. Everything that is shared is
/// made when it is built; clones, and every service it is layered on, are one cache.
///
/// ```
/// use axum::{Router, routing::get};
/// use microcache::{CacheLayer, MemoryStore};
///
/// let app: Router = Router::new()
///     .route("/products", get(|| async { "a list" }))
///     .layer(CacheLayer::new(MemoryStore::with_max_bytes(64 << 20)));
/// # let _ = app;
/// ```
#[derive(Clone)]
#[must_use]
pub struct CacheLayer {
    settings: Arc<Settings>,
}

impl CacheLayer {
    /// A cache over `store` with the defaults of [`Policy::new`]: one-second micro-caching, collapsing.
    pub fn new(store: impl Store) -> Self {
        Self::builder(store).finish()
    }

    /// For everything else there is to say.
    pub fn builder(store: impl Store) -> CacheLayerBuilder {
        CacheLayerBuilder {
            settings: Settings {
                core: Arc::new(Core {
                    store: Arc::new(store),
                    store_deadline: STORE_DEADLINE,
                    collapser: Arc::new(Collapser::new(TenantLimits::new())),
                    clock: Arc::new(SystemClock),
                    tenancy: Tenancy::shared(),
                    fences: Fences::default(),
                    sightings: Sightings::default(),
                    last_stamp: AtomicU64::new(0),
                    paused: AtomicBool::new(false),
                    counters: Counters::default(),
                }),
                routes: Routes::new(Policy::new()),
            },
            error: None,
        }
    }

    /// The same cache (store, flights, handle) with another policy, for a route of its own.
    ///
    /// ```
    /// use std::time::Duration;
    /// use axum::{Router, routing::get};
    /// use microcache::{CacheLayer, MemoryStore, Policy};
    ///
    /// let cache = CacheLayer::new(MemoryStore::with_max_bytes(64 << 20));
    /// let slow = cache.with_policy(Policy::new().default_freshness(Duration::from_secs(30)));
    /// let app: Router = Router::new()
    ///     .route("/report", get(|| async { "numbers" }).route_layer(slow))
    ///     .route("/now", get(|| async { "news" }).route_layer(cache));
    /// # let _ = app;
    /// ```
    pub fn with_policy(&self, policy: Policy) -> Self {
        let settings = Settings { core: Arc::clone(&self.settings.core), routes: Routes::new(policy) };
        Self { settings: Arc::new(settings) }
    }

    /// What the application calls: purge, pause, resume, stats, computing without HTTP.
    #[must_use]
    pub fn handle(&self) -> CacheHandle {
        CacheHandle::new(Arc::clone(&self.settings))
    }
}

impl<S> Layer<S> for CacheLayer {
    type Service = Cache<S>;

    fn layer(&self, inner: S) -> Cache<S> {
        Cache::new(inner, Arc::clone(&self.settings))
    }
}

impl fmt::Debug for CacheLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CacheLayer").field("routes", &self.settings.routes).finish_non_exhaustive()
    }
}

/// Builds a [`CacheLayer`].
///
/// ```
/// use std::time::Duration;
/// use microcache::{CacheLayer, MemoryStore, Policy, Tenancy, Tenant};
///
/// let cache = CacheLayer::builder(MemoryStore::with_max_bytes(64 << 20))
///     .tenant(Tenancy::from_fn(|head| match head.headers().get("x-tenant-id") {
///         Some(id) => Tenant::named(String::from_utf8_lossy(id.as_bytes())),
///         None => Tenant::unidentified(),
///     }))
///     .policy(Policy::new().default_freshness(Duration::from_secs(2)))
///     .route("/reports/{id}", Policy::new().default_freshness(Duration::from_secs(30)))
///     .build()?;
/// # let _ = cache;
/// # Ok::<(), microcache::ConfigError>(())
/// ```
#[must_use]
pub struct CacheLayerBuilder {
    settings: Settings,
    error: Option<ConfigError>,
}

impl CacheLayerBuilder {
    /// Sets the policy for all paths without a route of their own. Default: [`Policy::new`].
    pub fn policy(mut self, policy: Policy) -> Self {
        self.settings.routes.set_default(policy);
        self
    }

    /// Sets the policy for the paths that match, in axum's own syntax: `/reports/{id}`, `/static/{*rest}`.
    ///
    /// The path is the one that the layer sees: inside a nested router, what is left of it.
    pub fn route(mut self, path: &str, policy: Policy) -> Self {
        if let Err(error) = self.settings.routes.insert(path, policy) {
            let error = ConfigError::new("route", format!("`{path}` is no route that can be added: {error}"));
            self.error.get_or_insert(error);
        }
        self
    }

    /// Sets how the tenant of a request is found. Default: one tenant for all.
    pub fn tenant(mut self, tenancy: Tenancy) -> Self {
        self.change(|core| core.tenancy = tenancy);
        self
    }

    /// Sets what one tenant may have under way at a time. Default: [`TenantLimits::new`].
    pub fn tenant_limits(mut self, limits: TenantLimits) -> Self {
        self.change(|core| core.collapser = Arc::new(Collapser::new(limits)));
        self
    }

    /// Sets which policy a tenant has in place of the [default](Self::policy), if it has one. A [route's](Self::route)
    /// goes before it, and so does that of [`CacheLayer::with_policy`].
    ///
    /// It is called for each request of a known tenant, hits among them, so it must neither wait nor compute: look it up
    /// in a map. Where policies change while the service runs, swap the map whole (as with an `ArcSwap`).
    ///
    /// ```
    /// use std::{collections::HashMap, sync::Arc, time::Duration};
    /// use microcache::{CacheLayer, MemoryStore, Policy, Tenancy, Tenant};
    ///
    /// let policies = HashMap::from([("acme", Arc::new(Policy::new().default_freshness(Duration::from_secs(5))))]);
    /// # fn identify(_: microcache::RequestHead<'_>) -> Tenant { Tenant::named("acme") }
    /// let cache = CacheLayer::builder(MemoryStore::with_max_bytes(64 << 20))
    ///     .tenant(Tenancy::from_fn(identify))
    ///     .policy_for(move |tenant| policies.get(tenant.name()?).cloned())
    ///     .build()?;
    /// # let _ = cache;
    /// # Ok::<(), microcache::ConfigError>(())
    /// ```
    pub fn policy_for(mut self, of_tenant: impl Fn(&Tenant) -> Option<Arc<Policy>> + Send + Sync + 'static) -> Self {
        self.settings.routes.set_of_tenant(Arc::new(of_tenant));
        self
    }

    /// Sets how long the store may take, for all that one request asks of it together, before the cache goes on without
    /// it. Default: 50 ms.
    pub fn store_deadline(mut self, deadline: Duration) -> Self {
        if deadline.is_zero() {
            let message = "zero leaves the store no time at all; give it some milliseconds".to_owned();
            self.error.get_or_insert(ConfigError::new("store_deadline", message));
        }
        self.change(|core| core.store_deadline = deadline);
        self
    }

    /// Sets the clock. Default: the system's.
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.change(|core| core.clock = Arc::new(clock));
        self
    }

    /// The layer.
    ///
    /// # Errors
    ///
    /// The first setting that can not work.
    pub fn build(self) -> Result<CacheLayer, ConfigError> {
        match self.error {
            Some(error) => Err(error),
            None => Ok(self.finish()),
        }
    }

    fn finish(self) -> CacheLayer {
        CacheLayer { settings: Arc::new(self.settings) }
    }

    fn change(&mut self, change: impl FnOnce(&mut Core)) {
        // Nobody else has it before it is built.
        if let Some(core) = Arc::get_mut(&mut self.settings.core) {
            change(core);
        }
    }
}

impl fmt::Debug for CacheLayerBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CacheLayerBuilder")
            .field("routes", &self.settings.routes)
            .field("error", &self.error)
            .finish_non_exhaustive()
    }
}

const STORE_DEADLINE: Duration = Duration::from_millis(50);
