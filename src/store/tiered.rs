//! Memory in front of a store that several processes share.

use std::{fmt, sync::Arc, time::Duration};

use super::{Fence, Lease, Peek, Put, Reach, ServerState, ServerWatch, Store, StoreError, StoreSize};
use crate::{clock::monotonic, key::CacheKey, stored::Stored};

/// A near store in front of a far one: memory answers for at most
/// [`near_freshness`](Self::near_freshness), then the far store is asked.
///
/// What is found in the far store is kept in the near one, and what is stored goes to the far one first. So a hit costs what a memory
/// hit costs, most of the time, and what is purged by another process is gone here within `near_freshness`.
///
/// ```
/// use std::time::Duration;
/// use microcache::{CacheLayer, MemoryStore, Tiered};
///
/// # fn far() -> MemoryStore { MemoryStore::with_max_bytes(1 << 20) }
/// let store = Tiered::new(MemoryStore::with_max_bytes(64 << 20), far()).near_freshness(Duration::from_millis(500));
/// let cache = CacheLayer::new(store);
/// # let _ = cache;
/// ```
#[derive(Clone)]
pub struct Tiered<Near, Far> {
    near: Near,
    far: Far,
    near_freshness: Duration,
}

impl<Near: Store, Far: Store> Tiered<Near, Far> {
    /// `near` in front of `far`.
    pub fn new(near: Near, far: Far) -> Self {
        Self { near, far, near_freshness: Duration::from_secs(1) }
    }

    /// Sets how long the near store may answer without the far one. Default: one second. With zero the far store answers
    /// every hit.
    #[must_use]
    pub fn near_freshness(mut self, lifetime: Duration) -> Self {
        self.near_freshness = lifetime;
        self
    }

    /// Keeps a copy near, while what is known of it lasts. The far store is the one that counts, so nobody waits for what
    /// becomes of it.
    async fn keep_near(&self, key: &CacheKey, stored: Stored) {
        if stored.is_known_within(self.near_freshness) {
            let _ = self.near.put(key, stored).await;
        }
    }
}

impl<Near: Store, Far: Store> Store for Tiered<Near, Far> {
    fn peek(&self, key: &CacheKey) -> Peek {
        match self.near.peek(key) {
            Peek::Found(stored) if stored.is_known_within(self.near_freshness) => Peek::Found(stored),
            _ => self.far.peek(key),
        }
    }

    async fn get(&self, key: &CacheKey) -> Result<Option<Stored>, StoreError> {
        // What is said was so at this moment, however long it takes to be said.
        let asked = monotonic();
        let found = self.far.get(key).await?;
        match &found {
            // Of this moment, or of the one before that the far store has it from.
            Some(stored) => self.keep_near(key, stored.clone().known_at(asked)).await,
            None => {
                let _ = self.near.remove(key).await;
            }
        }
        Ok(found)
    }

    async fn put(&self, key: &CacheKey, stored: Stored) -> Result<Put, StoreError> {
        let asked = monotonic();
        // What is known of it here is nothing to others.
        let put = self.far.put(key, stored.clone().known_anew(None)).await;
        // Only now: until then nobody knows whether a fence covers it.
        match put {
            Ok(Put::Fenced) => drop(self.near.remove(key).await),
            // A marker is for the other processes: this one may have what the far store does not take.
            _ if stored.marker().is_some() => {}
            // What is covered softly is taken, too.
            Ok(_) if matches!(self.far.is_fenced(key, &stored).await, Ok(false)) => {
                self.keep_near(key, stored.known_anew(Some(asked))).await;
            }
            // Whatever covers it was raised after it was asked for: from then on this process may have it for so long.
            Ok(_) | Err(_) => self.keep_near(key, stored).await,
        }
        put
    }

    async fn remove(&self, key: &CacheKey) -> Result<(), StoreError> {
        let _ = self.near.remove(key).await;
        self.far.remove(key).await
    }

    async fn fence(&self, fence: &Fence) -> Result<(), StoreError> {
        let _ = self.near.fence(fence).await;
        self.far.fence(fence).await
    }

    fn is_shared(&self) -> bool {
        self.far.is_shared()
    }

    fn reach(&self) -> Reach {
        self.far.reach().behind(self.near_freshness)
    }

    async fn is_fenced(&self, key: &CacheKey, stored: &Stored) -> Result<bool, StoreError> {
        self.far.is_fenced(key, stored).await
    }

    async fn lease(&self, key: &CacheKey, lifetime: Duration) -> Result<Lease, StoreError> {
        self.far.lease(key, lifetime).await
    }

    /// That of the near store.
    fn size(&self) -> StoreSize {
        self.near.size()
    }

    fn servers(&self) -> Vec<ServerState> {
        let mut servers = self.near.servers();
        servers.extend(self.far.servers());
        servers
    }

    fn watch_servers(&self, watch: ServerWatch) {
        self.near.watch_servers(Arc::clone(&watch));
        self.far.watch_servers(watch);
    }
}

impl<Near: fmt::Debug, Far: fmt::Debug> fmt::Debug for Tiered<Near, Far> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tiered")
            .field("near", &self.near)
            .field("far", &self.far)
            .field("near_freshness", &self.near_freshness)
            .finish()
    }
}
