//! What the application calls.

use std::{
    fmt,
    sync::{Arc, atomic::Ordering},
};

use crate::{observe::Stats, service::Core};

/// A handle on one cache: from [`CacheLayer::handle`](crate::CacheLayer::handle), cheap to clone.
///
/// ```
/// use microcache::{CacheLayer, MemoryStore};
///
/// let cache = CacheLayer::new(MemoryStore::with_max_bytes(1 << 20));
/// let handle = cache.handle();
/// handle.pause();
/// assert!(handle.is_paused());
/// handle.resume();
/// assert!(!handle.is_paused());
/// ```
#[derive(Clone)]
pub struct CacheHandle {
    core: Arc<Core>,
}

impl CacheHandle {
    pub(crate) fn new(core: Arc<Core>) -> Self {
        Self { core }
    }

    /// Takes the cache out of the way: every request goes to the origin untouched, until
    /// [`resume`](Self::resume). What is stored stays, and ages. Requests under way are finished as they began.
    #[doc(alias = "disable")]
    pub fn pause(&self) {
        self.core.paused.store(true, Ordering::Relaxed);
    }

    /// Puts the cache back in the way.
    #[doc(alias = "enable")]
    pub fn resume(&self) {
        self.core.paused.store(false, Ordering::Relaxed);
    }

    /// Whether the cache is out of the way.
    #[must_use]
    pub fn is_paused(&self) -> bool {
        self.core.is_paused()
    }

    /// What the cache has done so far.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.core.counters.snapshot()
    }
}

impl fmt::Debug for CacheHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CacheHandle").field("is_paused", &self.is_paused()).field("stats", &self.stats()).finish()
    }
}
