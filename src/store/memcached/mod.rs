//! The store that several processes share: memcached servers.

mod address;
mod breaker;
mod builder;
mod connection;
mod driver;
mod node;
mod placement;
mod replies;
mod wire;

use std::{
    fmt,
    sync::Arc,
    time::{Duration, SystemTime},
};

use bytes::Bytes;

pub use self::{builder::MemcachedStoreBuilder, placement::Placement};
use self::{
    node::Node,
    wire::{Got, Outcome},
};
use super::{LONGEST_FORWARD, Lease, LeaseGuard, Put, Store, StoreError, StoreErrorKind};
use crate::{
    collapse::{FinishOnDrop, in_background},
    key::CacheKey,
    layers::ConfigError,
    stored::{CLOCK_SKEW, Kind, Marker, Stored, Why, codec::Codec},
};

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
    nodes: Vec<Node>,
    placement: Placement,
    codec: Codec,
    namespace: String,
    max_value_bytes: usize,
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

    fn node(&self, key: &CacheKey) -> &Node {
        &self.inner.nodes[self.inner.placement.index_of(key)]
    }

    /// What memcached calls a key: at most 250 bytes.
    fn name(&self, kind: &str, key: &CacheKey) -> String {
        let prefix = format!("{}{kind}1:", self.inner.namespace);
        let short = key.short_within(LONGEST_NAME - prefix.len());
        prefix + &short
    }

    /// What is stored, if these bytes are that. Anything else is overwritten when its time comes.
    fn decode(&self, key: &CacheKey, bytes: Bytes) -> Option<Stored> {
        if bytes.is_empty() { None } else { self.inner.codec.decode(key, bytes).ok() }
    }

    /// When what is under `key` was last invalidated, while that is remembered.
    async fn fenced_at(&self, key: &CacheKey) -> Result<Option<SystemTime>, StoreError> {
        let got = self.node(key).get(&self.name("fence:", key), None).await?;
        Ok(if let Got::Value { bytes, .. } = got { self.fence_in(key, bytes) } else { None })
    }

    fn fence_in(&self, key: &CacheKey, bytes: Bytes) -> Option<SystemTime> {
        self.decode(key, bytes)?.marker().filter(|marker| marker.why == Why::Invalidated).map(|marker| marker.began)
    }

    /// Remembers an invalidation under a name of its own, so that nothing that is stored later ends it early.
    async fn raise(&self, key: &CacheKey, at: SystemTime) -> Result<(), StoreError> {
        let fence = Marker { began: at, lifetime: FENCE_LIFETIME, why: Why::Invalidated };
        let parts = self.inner.codec.encode(key, &Stored::new(Kind::Marker(fence)));
        let (node, name) = (self.node(key), self.name("fence:", key));
        for _ in 0..ATTEMPTS {
            let Got::Value { bytes, cas, .. } = node.get(&name, Some(STUB_SECONDS)).await? else { continue };
            if self.fence_in(key, bytes).is_some_and(|there| there >= at) {
                return Ok(());
            }
            let set = node.set(&name, parts.parts.to_vec(), lifetime_seconds(FENCE_LIFETIME), cas).await?;
            if set == Outcome::Done {
                return Ok(());
            }
        }
        Err(StoreError::new(StoreErrorKind::Refused, "the invalidation was overtaken each time"))
    }
}

impl Store for MemcachedStore {
    async fn get(&self, key: &CacheKey) -> Result<Option<Stored>, StoreError> {
        Ok(match self.node(key).get(&self.name("", key), None).await? {
            Got::Value { bytes, .. } => self.decode(key, bytes),
            Got::Miss => None,
        })
    }

    async fn put(&self, key: &CacheKey, mut stored: Stored) -> Result<Put, StoreError> {
        let began = stored.began();
        let (node, name) = (self.node(key), self.name("", key));
        for _ in 0..ATTEMPTS {
            // A stub if there is nothing, so that there is something to compare with.
            let Got::Value { bytes, cas, .. } = node.get(&name, Some(STUB_SECONDS)).await? else { continue };
            // Asked for after that: an invalidation that is not seen here has yet to remove what is there.
            let fence = self.fenced_at(key).await?;
            // Within a millisecond nobody knows the order.
            if fence.is_some_and(|at| began <= at) {
                return Ok(Put::Fenced);
            }
            let there = self.decode(key, bytes).filter(|there| fence.is_none_or(|at| at < there.began()));
            if there.as_ref().is_some_and(|there| began < there.began()) {
                return Ok(Put::Fenced);
            }
            if let Kind::Variants(index) = &mut stored.kind {
                index.follow(there.as_ref().and_then(Stored::index));
            }
            let parts = self.inner.codec.encode(key, &stored);
            // A value that is too large would remove what is there, so it is never sent.
            if parts.encoded_len() > self.inner.max_value_bytes {
                return Ok(Put::Declined);
            }
            match node.set(&name, parts.parts.to_vec(), lifetime_seconds(stored.useful_for()), cas).await? {
                Outcome::Done => return Ok(Put::Stored),
                // Somebody else was faster: compare again.
                Outcome::Exists | Outcome::NotFound => {}
                Outcome::NotStored => return Ok(Put::Declined),
            }
        }
        Ok(Put::Declined)
    }

    async fn remove(&self, key: &CacheKey) -> Result<(), StoreError> {
        self.node(key).delete(&self.name("", key), None).await.map(drop)
    }

    async fn fence(&self, key: &CacheKey, at: SystemTime) -> Result<(), StoreError> {
        let (store, key) = (self.clone(), key.clone());
        let both = async move {
            // In this order: what is stored in between is removed.
            let raised = store.raise(&key, at).await;
            store.remove(&key).await.and(raised)
        };
        // To the end, also if nobody waits for it: half an invalidation is none.
        FinishOnDrop::new(both, OPERATIONS_LIMIT).await
    }

    async fn lease(&self, key: &CacheKey) -> Result<Lease, StoreError> {
        let (node, name) = (self.node(key).clone(), self.name("lease:", key));
        let asked = async move {
            let Got::Value { cas, won: true, .. } = node.get(&name, Some(LEASE_SECONDS)).await? else {
                return Ok(Lease::Held);
            };
            Ok(Lease::Granted(LeaseGuard::new(move || {
                // Handed back at once, if this one is still ours.
                in_background(async move { node.delete(&name, Some(cas)).await.map(drop) }, OPERATIONS_LIMIT);
            })))
        };
        // What is granted when nobody waits for it any more is handed back, too.
        FinishOnDrop::new(asked, OPERATIONS_LIMIT).await
    }
}

impl fmt::Debug for MemcachedStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemcachedStore").field("placement", &self.inner.placement).finish_non_exhaustive()
    }
}

/// memcached's own clock is one second coarse: it is only the ceiling, what is fresh says the frame.
fn lifetime_seconds(useful_for: Duration) -> u32 {
    let seconds = useful_for.as_secs().saturating_add(u64::from(useful_for.subsec_nanos() > 0)).saturating_add(1);
    u32::try_from(seconds).unwrap_or(u32::MAX).min(THIRTY_DAYS)
}

/// More seconds than these are a date, to memcached.
const THIRTY_DAYS: u32 = 30 * 24 * 60 * 60;

/// The longest key that memcached takes.
const LONGEST_NAME: usize = 250;

/// How long a stub lives that somebody has made to store something in its place.
const STUB_SECONDS: u32 = 2;

/// How long a lease lives whose holder does not come back: up to a second less, as memcached counts.
const LEASE_SECONDS: u32 = 3;

/// What was forwarded for longer is not stored, so an invalidation need not be remembered for longer, but for what the
/// clocks of a fleet differ.
const FENCE_LIFETIME: Duration = LONGEST_FORWARD.saturating_add(CLOCK_SKEW);

/// Each operation has a deadline of its own, which is shorter.
const OPERATIONS_LIMIT: Duration = Duration::from_secs(60);

/// How often a write that was overtaken is tried.
const ATTEMPTS: usize = 3;
