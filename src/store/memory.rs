//! The memory store: bounded in bytes, on moka (size-aware TinyLFU).

use std::fmt;

use foldhash::fast::RandomState;
use moka::{ops::compute::Op, sync::Cache};

use super::{Peek, Put, Store, StoreError};
use crate::{key::CacheKey, stored::Stored};

/// Keeps stored responses in memory, in at most the given number of bytes.
///
/// What is asked for often stays; what is asked for once does not push it out. What is stale stays until its room
/// is needed, so that the memory in use grows to the bound and no further. Clones share one store.
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
    held: Cache<CacheKey, Stored, RandomState>,
    max_bytes: u64,
}

impl MemoryStore {
    /// A store of at most `bytes` bytes: keys, heads, bodies and what it takes to keep them. There is no
    /// unbounded one. With zero it stores nothing.
    #[must_use]
    pub fn with_max_bytes(bytes: u64) -> Self {
        let held = Cache::builder().max_capacity(bytes).weigher(weight_bytes).build_with_hasher(RandomState::default());
        Self { held, max_bytes: bytes }
    }

    /// The bound it was made with.
    #[must_use]
    pub fn max_bytes(&self) -> u64 {
        self.max_bytes
    }
}

impl Store for MemoryStore {
    fn peek(&self, key: &CacheKey) -> Peek {
        self.held.get(key).map_or(Peek::Absent, Peek::Found)
    }

    async fn get(&self, key: &CacheKey) -> Result<Option<Stored>, StoreError> {
        Ok(self.held.get(key))
    }

    async fn put(&self, key: &CacheKey, stored: Stored) -> Result<Put, StoreError> {
        if u64::from(weight_bytes(key, &stored)) > self.max_bytes {
            return Ok(Put::Declined);
        }
        let mut outcome = Put::Stored;
        self.held.entry_by_ref(key).and_compute_with(|there| match there {
            // Compared and replaced in one step, so that no newer one can slip in between.
            Some(there) if there.value().began() > stored.began() => {
                outcome = Put::Fenced;
                Op::Nop
            }
            _ => Op::Put(stored),
        });
        Ok(outcome)
    }

    async fn remove(&self, key: &CacheKey) -> Result<(), StoreError> {
        self.held.invalidate(key);
        Ok(())
    }
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryStore").field("max_bytes", &self.max_bytes).finish_non_exhaustive()
    }
}

fn weight_bytes(key: &CacheKey, stored: &Stored) -> u32 {
    let bytes = key.as_str().len().saturating_add(stored.size_bytes()).saturating_add(OVERHEAD_BYTES);
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

/// What moka and the allocator take for each key beside the key and the stored response.
const OVERHEAD_BYTES: usize = 512;
