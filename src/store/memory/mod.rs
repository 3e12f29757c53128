//! The memory store: bounded in bytes, on moka (size-aware TinyLFU), with a ledger of what each tenant holds.

mod builder;
mod hashed;
mod ledger;
mod locks;
mod sketch;

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use moka::sync::Cache;

pub use self::builder::MemoryStoreBuilder;
use self::{
    hashed::{AsItIs, Hashed, Hashes, Sought},
    ledger::{Ledger, Share, Victim},
    locks::Locks,
};
use super::{Peek, Put, Store, StoreError, StoreSize};
use crate::{
    key::{CacheKey, tenant_component},
    stored::Stored,
};

/// Keeps stored responses in memory, in at most the given number of bytes.
///
/// What is asked for often stays; what is asked for once does not push it out. What is stale stays until its room
/// is needed, so that the memory in use grows to the bound and no further. Clones share one store.
///
/// # Tenants
///
/// A tenant may hold all that no other needs, or its [share](MemoryStoreBuilder::tenant_share). Where there is no room
/// for all, it is made by the tenant that holds most, of what that stored longest ago: whatever one tenant asks for, who
/// holds less than it loses nothing.
///
/// ```
/// use microcache::{CacheLayer, MemoryStore};
///
/// let store = MemoryStore::with_max_bytes(64 << 20);
/// let cache = CacheLayer::new(store.clone());
/// assert_eq!(store.max_bytes(), 64 << 20);
/// # let _ = cache;
/// ```
#[derive(Clone)]
pub struct MemoryStore {
    held: HeldCache,
    hashes: Hashes,
    /// Whoever replaces or evicts what is under a key holds its lock: what was compared is what goes.
    locks: Arc<Locks>,
    ledger: Arc<Ledger>,
    evictions: Arc<AtomicU64>,
    max_bytes: u64,
    share: Share,
}

type HeldCache = Cache<Hashed, Held, AsItIs>;

/// What is stored, how much was charged for it, and under which number.
#[derive(Clone)]
struct Held {
    stored: Stored,
    bytes: u32,
    number: u64,
}

impl MemoryStore {
    /// A store of at most `bytes` bytes: keys, heads, bodies and what it takes to keep them. There is no
    /// unbounded one. With zero it stores nothing.
    #[must_use]
    pub fn with_max_bytes(bytes: u64) -> Self {
        Self::builder().max_bytes(bytes).finish()
    }

    /// For what one tenant may hold.
    pub fn builder() -> MemoryStoreBuilder {
        MemoryStoreBuilder::new()
    }

    fn new(max_bytes: u64, share: Share) -> Self {
        let ledger = Arc::new(Ledger::new(max_bytes, share));
        let evictions = Arc::new(AtomicU64::new(0));
        let (books, evicted, hashes) = (Arc::clone(&ledger), Arc::clone(&evictions), Hashes::default());
        let held = Cache::builder()
            .max_capacity(capacity(max_bytes))
            .weigher(|_: &Hashed, held: &Held| held.bytes)
            .eviction_listener(move |key, held: Held, cause| {
                if held.number == sketch::FILLER {
                    return;
                }
                if cause.was_evicted() {
                    evicted.fetch_add(1, Relaxed);
                }
                books.discharge(tenant_component(&key), held.number);
            })
            .build_with_hasher(AsItIs);
        sketch::prepare(&held, &hashes, capacity(max_bytes));
        Self { held, hashes, locks: Arc::default(), ledger, evictions, max_bytes, share }
    }

    /// The bound it was made with.
    #[must_use]
    pub fn max_bytes(&self) -> u64 {
        self.max_bytes
    }

    /// Whether it is there now: unless there was something newer.
    fn replace(&self, key: Sought<'_>, text: &Arc<str>, held: Held) -> bool {
        // Compared and replaced in one step, so that no newer one can slip in between.
        let _lock = self.locks.of(key.hash);
        let there = self.held.get(&key);
        if there.as_ref().is_some_and(|there| there.stored.began() > held.stored.began()) {
            return false;
        }
        // moka goes by the first size or the last of what changes it and leaves soon after: for good.
        if there.is_some_and(|there| there.bytes != held.bytes) {
            self.held.invalidate(&key);
        }
        self.held.insert(key.kept(text), held);
        true
    }

    /// Removes them, unless something else was stored meanwhile.
    fn evict(&self, victims: Vec<Victim>) {
        for Victim { key, number } in victims {
            let key = self.hashes.of(&key);
            let _lock = self.locks.of(key.hash);
            if self.held.get(&key).is_some_and(|there| there.number == number) {
                self.evictions.fetch_add(1, Relaxed);
                self.held.invalidate(&key);
            }
        }
    }
}

impl Store for MemoryStore {
    fn peek(&self, key: &CacheKey) -> Peek {
        self.held.get(&self.hashes.of(key.as_str())).map_or(Peek::Absent, |held| Peek::Found(held.stored))
    }

    async fn get(&self, key: &CacheKey) -> Result<Option<Stored>, StoreError> {
        Ok(self.held.get(&self.hashes.of(key.as_str())).map(|held| held.stored))
    }

    async fn put(&self, key: &CacheKey, stored: Stored) -> Result<Put, StoreError> {
        let bytes = weight_bytes(key.as_str(), &stored);
        if u64::from(bytes) > self.share.max_bytes.min(capacity(self.max_bytes)) {
            return Ok(Put::Declined);
        }
        let (tenant, sought) = (key.tenant_component(), self.hashes.of(key.as_str()));
        let key = Arc::from(key.as_str());
        // Room first: what is new has not been asked for often, so that moka would not make any for it.
        let (number, victims) = self.ledger.charge(tenant, &key, bytes);
        self.evict(victims);
        if !self.replace(sought, &key, Held { stored, bytes, number }) {
            self.ledger.discharge(tenant, number);
            return Ok(Put::Fenced);
        }
        self.evict(self.ledger.settle(tenant, &key, number));
        // moka makes room for many at a time, and later: before that is too late, now.
        if self.ledger.size().0 > self.max_bytes {
            self.held.run_pending_tasks();
        }
        Ok(Put::Stored)
    }

    async fn remove(&self, key: &CacheKey) -> Result<(), StoreError> {
        self.held.invalidate(&self.hashes.of(key.as_str()));
        Ok(())
    }

    fn size(&self) -> StoreSize {
        let (bytes, responses) = self.ledger.size();
        let (max_bytes, evictions) = (Some(self.max_bytes), Some(self.evictions.load(Relaxed)));
        StoreSize { bytes: Some(bytes), max_bytes, responses: Some(responses), evictions }
    }
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryStore")
            .field("max_bytes", &self.max_bytes)
            .field("share", &self.share)
            .finish_non_exhaustive()
    }
}

fn weight_bytes(key: &str, stored: &Stored) -> u32 {
    let bytes = key.len().saturating_add(stored.size_bytes()).saturating_add(OVERHEAD_BYTES);
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

/// What moka, the ledger and the allocator take for each key beside the key and the stored response.
const OVERHEAD_BYTES: usize = 640;

/// What moka keeps: the rest is for what was put and moka has not looked at yet.
fn capacity(max_bytes: u64) -> u64 {
    max_bytes - max_bytes / 128
}

#[cfg(test)]
mod tests;
