//! The only place that counts.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// What one cache has done so far.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    hits: AtomicU64,
    stale: AtomicU64,
    invalidations: AtomicU64,
    forwards: AtomicU64,
    bypasses: AtomicU64,
    collapsed: AtomicU64,
    stored: AtomicU64,
    not_stored: AtomicU64,
    fenced: AtomicU64,
    overflows: AtomicU64,
    store_errors: AtomicU64,
    tags_dropped: AtomicU64,
}

/// What one cache has done since it was built: a snapshot.
///
/// ```
/// use microcache::{CacheLayer, MemoryStore};
///
/// let cache = CacheLayer::new(MemoryStore::with_max_bytes(1 << 20));
/// let stats = cache.handle().stats();
/// assert_eq!((stats.hits, stats.forwards), (0, 0));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Requests answered from the store.
    pub hits: u64,
    /// Requests answered with a stale response because the origin failed, or did not answer in time.
    pub stale: u64,
    /// Target URIs invalidated by unsafe methods (RFC 9111 §4.4).
    pub invalidations: u64,
    /// Requests sent to the origin, those that were bypassed apart.
    pub forwards: u64,
    /// Requests handed to the origin untouched.
    pub bypasses: u64,
    /// Requests answered by the forward of another.
    pub collapsed: u64,
    /// Responses stored.
    pub stored: u64,
    /// Forwards whose response was not stored.
    pub not_stored: u64,
    /// Responses not stored because a newer one was there.
    pub fenced: u64,
    /// Requests that could not wait: the flight was full, or the wait limit passed.
    pub overflows: u64,
    /// Times that the store failed or did not answer in time.
    pub store_errors: u64,
    /// [`Tags`](crate::Tags) that were too long or too many to be kept: what had them ends with a purge by any tag.
    pub tags_dropped: u64,
}

impl Counters {
    pub(crate) fn hit(&self) {
        self.hits.fetch_add(1, Relaxed);
    }

    pub(crate) fn stale(&self) {
        self.stale.fetch_add(1, Relaxed);
    }

    pub(crate) fn invalidated(&self) {
        self.invalidations.fetch_add(1, Relaxed);
    }

    pub(crate) fn forwarded(&self) {
        self.forwards.fetch_add(1, Relaxed);
    }

    pub(crate) fn bypassed(&self) {
        self.bypasses.fetch_add(1, Relaxed);
    }

    pub(crate) fn collapsed(&self) {
        self.collapsed.fetch_add(1, Relaxed);
    }

    pub(crate) fn stored(&self) {
        self.stored.fetch_add(1, Relaxed);
    }

    pub(crate) fn not_stored(&self) {
        self.not_stored.fetch_add(1, Relaxed);
    }

    pub(crate) fn fenced(&self) {
        self.fenced.fetch_add(1, Relaxed);
    }

    pub(crate) fn overflowed(&self) {
        self.overflows.fetch_add(1, Relaxed);
    }

    pub(crate) fn store_failed(&self) {
        self.store_errors.fetch_add(1, Relaxed);
    }

    pub(crate) fn tags_dropped(&self, tags: usize) {
        self.tags_dropped.fetch_add(tags as u64, Relaxed);
    }

    pub(crate) fn snapshot(&self) -> Stats {
        let read = |counter: &AtomicU64| counter.load(Relaxed);
        Stats {
            hits: read(&self.hits),
            stale: read(&self.stale),
            invalidations: read(&self.invalidations),
            forwards: read(&self.forwards),
            bypasses: read(&self.bypasses),
            collapsed: read(&self.collapsed),
            stored: read(&self.stored),
            not_stored: read(&self.not_stored),
            fenced: read(&self.fenced),
            overflows: read(&self.overflows),
            store_errors: read(&self.store_errors),
            tags_dropped: read(&self.tags_dropped),
        }
    }
}
