//! What the stores are measured beside. They keep no more of the contract than it takes to be measured.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Mutex, PoisonError},
};

use microcache::{CacheKey, Peek, Put, Store, StoreError, Stored};
use moka::sync::Cache;

/// Lets go of what was asked for longest ago.
pub(crate) struct Lru {
    max_bytes: u64,
    shelf: Mutex<Shelf>,
}

#[derive(Default)]
struct Shelf {
    held: HashMap<CacheKey, (u64, Stored)>,
    by_turn: BTreeMap<u64, CacheKey>,
    turn: u64,
    bytes: u64,
}

impl Lru {
    pub(crate) fn with_max_bytes(max_bytes: u64) -> Self {
        Self { max_bytes, shelf: Mutex::default() }
    }
}

impl Store for Lru {
    fn peek(&self, key: &CacheKey) -> Peek {
        let shelf = &mut *self.shelf.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((turn, stored)) = shelf.held.get_mut(key) else { return Peek::Absent };
        shelf.turn += 1;
        shelf.by_turn.remove(turn);
        shelf.by_turn.insert(shelf.turn, key.clone());
        *turn = shelf.turn;
        Peek::Found(stored.clone())
    }

    async fn get(&self, _: &CacheKey) -> Result<Option<Stored>, StoreError> {
        Ok(None)
    }

    async fn put(&self, key: &CacheKey, stored: Stored) -> Result<Put, StoreError> {
        let shelf = &mut *self.shelf.lock().unwrap_or_else(PoisonError::into_inner);
        shelf.turn += 1;
        shelf.bytes += weight_bytes(key, &stored);
        shelf.by_turn.insert(shelf.turn, key.clone());
        shelf.held.insert(key.clone(), (shelf.turn, stored));
        while shelf.bytes > self.max_bytes {
            let Some((_, key)) = shelf.by_turn.pop_first() else { break };
            let gone = shelf.held.remove(&key);
            shelf.bytes -= gone.map_or(0, |(_, stored)| weight_bytes(&key, &stored));
        }
        Ok(Put::Stored)
    }

    async fn remove(&self, _: &CacheKey) -> Result<(), StoreError> {
        Ok(())
    }
}

/// moka as it comes.
pub(crate) struct Plain(Cache<CacheKey, Stored>);

impl Plain {
    /// Bounded in responses, each of which counts the same.
    pub(crate) fn with_max_responses(responses: u64) -> Self {
        Self(Cache::new(responses))
    }

    /// Bounded in so many bytes at a time.
    pub(crate) fn with_max_bytes(max_bytes: u64, unit: u64) -> Self {
        let weigh = move |key: &CacheKey, stored: &Stored| weight_bytes(key, stored).div_ceil(unit) as u32;
        Self(Cache::builder().max_capacity(max_bytes / unit).weigher(weigh).build())
    }
}

impl Store for Plain {
    fn peek(&self, key: &CacheKey) -> Peek {
        self.0.get(key).map_or(Peek::Absent, Peek::Found)
    }

    async fn get(&self, key: &CacheKey) -> Result<Option<Stored>, StoreError> {
        Ok(self.0.get(key))
    }

    async fn put(&self, key: &CacheKey, stored: Stored) -> Result<Put, StoreError> {
        self.0.insert(key.clone(), stored);
        Ok(Put::Stored)
    }

    async fn remove(&self, key: &CacheKey) -> Result<(), StoreError> {
        self.0.invalidate(key);
        Ok(())
    }
}

/// As `MemoryStore` weighs.
fn weight_bytes(key: &CacheKey, stored: &Stored) -> u64 {
    (key.as_str().len() + stored.size_bytes() + 640) as u64
}
