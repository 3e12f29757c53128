//! The cache out of the way, whole or for one route.

use std::sync::atomic::Ordering;

use super::CacheHandle;
use crate::{layers::ConfigError, observe::Event};

impl CacheHandle {
    /// Takes the cache out of the way: every request goes to the origin untouched, until
    /// [`resume`](Self::resume). What is stored stays, and ages. Requests under way are finished as they began.
    #[doc(alias = "disable")]
    pub fn pause(&self) {
        self.settings.core.paused.store(true, Ordering::Relaxed);
        self.settings.core.counters.events.tell(Event::Switched { route: None, is_paused: true });
    }

    /// Puts the cache back in the way.
    #[doc(alias = "enable")]
    pub fn resume(&self) {
        self.settings.core.paused.store(false, Ordering::Relaxed);
        self.settings.core.counters.events.tell(Event::Switched { route: None, is_paused: false });
    }

    /// Whether the cache is out of the way.
    #[must_use]
    pub fn is_paused(&self) -> bool {
        self.settings.core.is_paused()
    }

    /// Does the same as [`pause`](Self::pause) for one route: by its [label](crate::Policy::label), or its path as it was
    /// given to [`CacheLayerBuilder::route`](crate::CacheLayerBuilder::route); `default` for the paths without a route.
    ///
    /// ```
    /// use microcache::{CacheLayer, MemoryStore, Policy};
    ///
    /// let cache = CacheLayer::builder(MemoryStore::with_max_bytes(1 << 20)).route("/reports/{id}", Policy::new()).build()?;
    /// cache.handle().pause_route("/reports/{id}")?;
    /// assert!(cache.handle().stats().routes[1].is_paused);
    /// assert!(cache.handle().pause_route("/repotrs/{id}").is_err());
    /// # Ok::<(), microcache::ConfigError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// If there is no such route.
    pub fn pause_route(&self, route: &str) -> Result<(), ConfigError> {
        self.switch(route, true, "pause_route")
    }

    /// Puts the cache back in the way of one route.
    ///
    /// # Errors
    ///
    /// If there is no such route.
    pub fn resume_route(&self, route: &str) -> Result<(), ConfigError> {
        self.switch(route, false, "resume_route")
    }

    fn switch(&self, name: &str, is_paused: bool, setting: &'static str) -> Result<(), ConfigError> {
        let counters = &self.settings.core.counters;
        let routes = counters.routes.all();
        let Some(route) = routes.iter().find(|route| route.name() == name) else {
            let names: Vec<_> = routes.iter().map(|route| route.name()).collect();
            let message = format!("`{name}` is no route of this cache; there are: {}", names.join(", "));
            return Err(ConfigError::new(setting, message));
        };
        route.set_paused(is_paused);
        counters.events.tell(Event::Switched { route: Some(name.to_owned()), is_paused });
        Ok(())
    }
}
