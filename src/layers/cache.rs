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
    observe::{Counters, Event, Hook},
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
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        CacheLayerBuilder {
            settings: Settings {
                core: Arc::new(Core {
                    store: Arc::new(store),
                    store_deadline: STORE_DEADLINE,
                    collapser: Arc::new(Collapser::new(TenantLimits::new())),
                    clock: Arc::clone(&clock),
                    tenancy: Tenancy::shared(),
                    fences: Fences::default(),
                    sightings: Sightings::default(),
                    last_stamp: AtomicU64::new(0),
                    paused: AtomicBool::new(false),
                    counters: Counters::new(None, clock, true),
                }),
                routes: Routes::new(Policy::new()),
            },
            hook: None,
            counts_keys: true,
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
        let core = Arc::clone(&self.settings.core);
        let mut routes = Routes::new(policy);
        routes.enter(&core.counters.routes);
        Self { settings: Arc::new(Settings { core, routes }) }
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
    hook: Option<Hook>,
    counts_keys: bool,
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

    /// Sets what is called when something happens that an operator may want to be told of at once.
    ///
    /// It is called where that happens, on the way of a request, so it must not wait: hand the event on. If it panics,
    /// no response fails by that. It may use the handle of the cache, as to pause it; what it does with that is
    /// remembered, and it is not called for it again.
    ///
    /// ```
    /// use microcache::{CacheLayer, Event, MemoryStore};
    ///
    /// let cache = CacheLayer::builder(MemoryStore::with_max_bytes(64 << 20))
    ///     .on_event(|event| {
    ///         if let Event::BreakerOpened { server } = event {
    ///             eprintln!("{server} is left alone for a while");
    ///         }
    ///     })
    ///     .build()?;
    /// # let _ = cache;
    /// # Ok::<(), microcache::ConfigError>(())
    /// ```
    #[doc(alias = "alert")]
    pub fn on_event(mut self, hook: impl Fn(&Event) + Send + Sync + 'static) -> Self {
        self.hook = Some(Arc::new(hook));
        self
    }

    /// Sets whether some keys are kept to show which are asked for and forwarded most, in
    /// [`Stats`](crate::Stats). Default: yes, about 128 of each, in their [short form](crate::CacheKey::short).
    ///
    /// Keys may hold personal data, as a search query or a cookie: turn it off where whoever sees the statistics must
    /// not see that.
    pub fn count_keys(mut self, counts: bool) -> Self {
        self.counts_keys = counts;
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

    fn finish(mut self) -> CacheLayer {
        let (hook, counts_keys) = (self.hook.take(), self.counts_keys);
        self.change(|core| core.counters = Counters::new(hook, Arc::clone(&core.clock), counts_keys));
        let core = &self.settings.core;
        self.settings.routes.enter(&core.counters.routes);
        let events = Arc::downgrade(&core.counters.events);
        core.store.watch_servers(Arc::new(move |server| {
            if let Some(events) = events.upgrade() {
                events.server_changed(server);
            }
        }));
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
