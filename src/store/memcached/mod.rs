//! The store that several processes share: memcached servers.

mod address;
mod breaker;
mod builder;
mod connection;
mod driver;
mod fenced;
mod fences;
mod format;
mod known;
mod lease;
mod network;
mod node;
mod outgoing;
mod owed;
mod placement;
mod replies;
#[cfg(any(test, feature = "test-util"))]
mod simulated;
mod wire;

use std::{fmt, sync::Arc, time::Duration};

use futures_util::future::{OptionFuture, join, join_all};
use tokio::time::timeout;

pub use self::{builder::MemcachedStoreBuilder, placement::Placement};
use self::{
    fenced::{ATTEMPTS, FencedNode, STUB_SECONDS},
    format::Format,
    known::RECENT,
    wire::{Got, Outcome},
};
use super::{Fence, Lease, Put, Reach, ServerState, ServerWatch, Store, StoreError, StoreErrorKind, fence::Cover};
use crate::{collapse::FinishOnDrop, key::CacheKey, layers::ConfigError, stored::Stored};

/// Keeps stored responses on memcached servers, so that several processes share them.
///
/// Nothing is connected before it is first asked; a server that does not answer costs at most one deadline, and after
/// some of those nothing, until it answers again. Each key has its place on one server ([`Placement`]); a server that is
/// gone is a miss for its keys, and no other takes them over. Put memory in front of it with
/// [`Tiered`](crate::Tiered). Clones share the connections.
///
/// ```
/// use microcache::{CacheLayer, MemcachedStore, MemoryStore, Tiered};
///
/// let servers = MemcachedStore::new(["10.0.0.1:11211", "10.0.0.2:11211"])?;
/// let cache = CacheLayer::new(Tiered::new(MemoryStore::with_max_bytes(64 << 20), servers));
/// # let _ = cache;
/// # Ok::<(), microcache::ConfigError>(())
/// ```
#[derive(Clone)]
pub struct MemcachedStore {
    inner: Arc<Inner>,
}

struct Inner {
    nodes: Vec<Arc<FencedNode>>,
    placement: Placement,
    format: Arc<Format>,
    fence_deadline: Duration,
}

impl MemcachedStore {
    /// On these servers, with the defaults of [`MemcachedStoreBuilder`].
    ///
    /// # Errors
    ///
    /// If there is no server, or an address is none: `host:port`, `[::1]:11211`, `memcache://host:port` or `unix:/path`.
    pub fn new(servers: impl IntoIterator<Item = impl Into<String>>) -> Result<Self, ConfigError> {
        Self::builder(servers).build()
    }

    /// For everything else there is to say.
    pub fn builder(servers: impl IntoIterator<Item = impl Into<String>>) -> MemcachedStoreBuilder {
        MemcachedStoreBuilder::new(servers)
    }

    /// Which bucket and which server each key has.
    #[must_use]
    pub fn placement(&self) -> &Placement {
        &self.inner.placement
    }

    fn node(&self, key: &CacheKey) -> &Arc<FencedNode> {
        &self.inner.nodes[self.inner.placement.index_of(key)]
    }

    fn name(&self, kind: &str, key: &CacheKey) -> String {
        self.inner.format.name(kind, key)
    }
}

impl Store for MemcachedStore {
    async fn get(&self, key: &CacheKey) -> Result<Option<Stored>, StoreError> {
        let (got, seen) = self.node(key).find(key, &self.name("", key)).await?;
        let Got::Value { bytes, .. } = got else { return Ok(None) };
        Ok(self.inner.format.decode(key, &bytes).and_then(|stored| seen.judge(key, stored)))
    }

    async fn put(&self, key: &CacheKey, stored: Stored) -> Result<Put, StoreError> {
        let (node, name, format) = (self.node(key), self.name("", key), &self.inner.format);
        for _ in 0..ATTEMPTS {
            // A stub if there is nothing, so that there is something to compare with.
            let (got, seen) = node.find_now(key, &name, STUB_SECONDS).await?;
            let Got::Value { bytes, cas, .. } = got else { continue };
            let is_hidden = |stored: &Stored| seen.cover(key, stored) == Some(Cover::Hard);
            let there = format.decode(key, &bytes).filter(|there| !is_hidden(there));
            if is_hidden(&stored) || there.is_some_and(|there| stored.began() < there.began()) {
                return Ok(Put::Fenced);
            }
            let Some(parts) = format.encode(key, &stored) else { return Ok(Put::Declined) };
            match node.node.set(&name, parts, lifetime_seconds(stored.useful_for()), cas).await? {
                Outcome::Done => return Ok(Put::Stored),
                // Somebody else was faster: compare again.
                Outcome::Exists | Outcome::NotFound => {}
                Outcome::NotStored => return Ok(Put::Declined),
            }
        }
        Ok(Put::Declined)
    }

    async fn remove(&self, key: &CacheKey) -> Result<(), StoreError> {
        self.node(key).node.delete(&self.name("", key), None).await.map(drop)
    }

    async fn fence(&self, fence: &Fence) -> Result<(), StoreError> {
        let (kept_under, raised) = fences::kept(fence);
        // Owed to all servers before any is waited for.
        let owed: Vec<_> = self.inner.nodes.iter().map(|node| node.owe(&kept_under, &raised)).collect();
        let owed = owed.into_iter().collect::<Result<Vec<_>, _>>()?;
        let removed = fence.key().filter(|_| !fence.is_soft()).map(|key| {
            let (store, key) = (self.clone(), key.clone());
            // At once, and to the end also if nobody waits for it. Should it fail, the fence hides it all the same.
            FinishOnDrop::new(async move { store.remove(&key).await }, OPERATIONS_LIMIT)
        });
        let all = join(join_all(owed), OptionFuture::from(removed));
        match timeout(self.inner.fence_deadline, all).await {
            Ok((told, _)) => told.into_iter().collect(),
            Err(late) => Err(StoreError::new(StoreErrorKind::Timeout, late)),
        }
    }

    fn is_shared(&self) -> bool {
        true
    }

    fn reach(&self) -> Reach {
        Reach::Within(RECENT)
    }

    async fn is_fenced(&self, key: &CacheKey, stored: &Stored) -> Result<bool, StoreError> {
        let seen = self.node(key).fences(key).await?;
        Ok(seen.cover(key, stored).is_some())
    }

    async fn lease(&self, key: &CacheKey, lifetime: Duration) -> Result<Lease, StoreError> {
        lease::ask(self.node(key).node.clone(), self.name("lease:", key), lifetime).await
    }

    fn servers(&self) -> Vec<ServerState> {
        self.inner.nodes.iter().map(|node| node.node.state()).collect()
    }

    fn watch_servers(&self, watch: ServerWatch) {
        self.inner.nodes.iter().for_each(|node| node.node.watched_by(&watch));
    }
}

impl fmt::Debug for MemcachedStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemcachedStore").field("placement", &self.inner.placement).finish_non_exhaustive()
    }
}

/// memcached's own clock is one second coarse: it is only the ceiling, what is fresh says the frame. That clock moves
/// once a second, so it is up to a second behind when it is told, and its next step may come early: one second more
/// would be just enough, and was not always.
fn lifetime_seconds(useful_for: Duration) -> u32 {
    let seconds = useful_for.as_secs().saturating_add(u64::from(useful_for.subsec_nanos() > 0)).saturating_add(2);
    u32::try_from(seconds).unwrap_or(u32::MAX).min(THIRTY_DAYS)
}

/// More seconds than these are a date, to memcached.
const THIRTY_DAYS: u32 = 30 * 24 * 60 * 60;

/// Each operation has a deadline of its own, which is shorter.
const OPERATIONS_LIMIT: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests;
