//! A store of your own: what a [`Store`] owes, on a cache that somebody else has written.
//!
//! `QuickStore` is quick_cache, weighed in bytes. It is complete: `benches/stores.rs` measures it beside `MemoryStore`, and
//! the page on performance says which to take when.
//!
//! ```text
//! cargo run --example custom_store
//! cargo test --example custom_store --features test-util    # checks it against the contract of stores
//! ```

use std::{error::Error, sync::Arc};

use axum::{Router, body::Body, routing::get};
use http::Request;
use microcache::{CacheKey, CacheLayer, Peek, Put, Store, StoreError, StoreSize, Stored};
use quick_cache::{
    DefaultHashBuilder, OptionsBuilder, Weighter,
    sync::{Cache, DefaultLifecycle, EntryAction, EntryResult},
};
use tower::ServiceExt;

/// Keeps stored responses in at most the given number of bytes.
pub(crate) struct QuickStore {
    held: Cache<CacheKey, Held, Bytes>,
    /// What takes more is declined: quick_cache would drop it without a word.
    largest: u64,
}

/// What is stored, and what its place takes: weighed once, since quick_cache asks often.
#[derive(Clone)]
struct Held {
    stored: Stored,
    bytes: u64,
}

#[derive(Clone)]
struct Bytes;

impl Weighter<CacheKey, Held> for Bytes {
    fn weight(&self, _: &CacheKey, held: &Held) -> u64 {
        held.bytes
    }
}

impl QuickStore {
    /// # Errors
    ///
    /// Never with these settings; quick_cache can not know that.
    pub(crate) fn with_max_bytes(max_bytes: u64) -> Result<Self, Box<dyn Error>> {
        // Each shard has its part of the bytes, rounded up: without a rest they add up to no more than there may be.
        let whole = max_bytes - max_bytes % SHARDS;
        let options = OptionsBuilder::new()
            .shards(usize::try_from(SHARDS)?)
            .weight_capacity(whole)
            .estimated_items_capacity(usize::try_from(max_bytes / TYPICAL_BYTES)?)
            .hot_allocation(HOT)
            .build()?;
        let held = Cache::with_options(options, Bytes, DefaultHashBuilder::default(), DefaultLifecycle::default());
        let largest = (held.shard_capacity() as f64 * HOT) as u64;
        Ok(Self { held, largest })
    }
}

impl Store for QuickStore {
    /// All is in memory, so the answer is here at once and `get` is never asked.
    fn peek(&self, key: &CacheKey) -> Peek {
        self.held.get(key).map_or(Peek::Absent, |held| Peek::Found(held.stored))
    }

    async fn get(&self, key: &CacheKey) -> Result<Option<Stored>, StoreError> {
        Ok(self.held.get(key).map(|held| held.stored))
    }

    async fn put(&self, key: &CacheKey, stored: Stored) -> Result<Put, StoreError> {
        let bytes = size_bytes(key, &stored);
        if bytes > self.largest {
            return Ok(Put::Declined);
        }
        // Compared and replaced in one step: who else puts this key waits for the guard, so that no newer one can slip in
        // between. It is held over no `.await`.
        let place = self.held.entry(key, None, |_, there| match there.stored.began() > stored.began() {
            true => EntryAction::Retain(()),
            false => EntryAction::ReplaceWithGuard,
        });
        match place {
            EntryResult::Vacant(guard) | EntryResult::Replaced(guard, _) => {
                // Refused if the key was removed meanwhile, which then came after this.
                let _ = guard.insert(Held { stored, bytes });
                Ok(Put::Stored)
            }
            _ => Ok(Put::Fenced),
        }
    }

    async fn remove(&self, key: &CacheKey) -> Result<(), StoreError> {
        self.held.remove(key);
        Ok(())
    }

    fn size(&self) -> StoreSize {
        let mut size = StoreSize::default();
        size.bytes = Some(self.held.weight());
        size.max_bytes = Some(self.held.capacity());
        size.responses = Some(self.held.len() as u64);
        size
    }
}

/// What one place takes: the key, what is stored, and the tables, which have up to three places for each that is taken.
fn size_bytes(key: &CacheKey, stored: &Stored) -> u64 {
    const PLACE_BYTES: usize = 3 * (size_of::<CacheKey>() + size_of::<Held>() + 21);
    (key.as_str().len() + stored.size_bytes() + PLACE_BYTES) as u64
}

/// Locked one by one, so that threads seldom meet. The largest response is a little less than this part of all.
const SHARDS: u64 = 16;

/// What a response and its key take, more or less: from it quick_cache takes how many keys it remembers that it has let go.
const TYPICAL_BYTES: u64 = 16 << 10;

/// The part of the bytes for what was asked for again.
const HOT: f64 = 0.97;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    // An `Arc` of a store is a store too: this keeps a hand on it.
    let store = Arc::new(QuickStore::with_max_bytes(8 << 20)?);
    let app = Router::new()
        .route("/{page}", get(async |path: axum::extract::Path<String>| format!("this is {}", path.0)))
        .layer(CacheLayer::new(Arc::clone(&store)));

    for path in ["/a", "/a", "/b"] {
        let response = app.clone().oneshot(Request::get(path).body(Body::empty())?).await?;
        let cache_status = response.headers().get("cache-status").map_or(Ok("none"), |value| value.to_str())?;
        println!("GET {path}  cache-status: {cache_status}");
    }
    let size = store.size();
    println!("the store holds {} responses in {} bytes", size.responses.unwrap_or(0), size.bytes.unwrap_or(0));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Asks for each of the paths, whose bodies have so many bytes.
    async fn asked(store: &Arc<QuickStore>, paths: &[String], bytes: usize) -> Result<(), Box<dyn Error>> {
        let page = get(async move || "x".repeat(bytes));
        let app = Router::new().route("/{page}", page).layer(CacheLayer::new(Arc::clone(store)));
        for path in paths {
            let response = app.clone().oneshot(Request::get(path).body(Body::empty())?).await?;
            axum::body::to_bytes(response.into_body(), bytes).await?;
        }
        Ok(())
    }

    #[cfg(feature = "test-util")]
    #[tokio::test]
    async fn it_keeps_the_contract() -> Result<(), Box<dyn Error>> {
        microcache::contract::check(QuickStore::with_max_bytes(8 << 20)?).await;
        Ok(())
    }

    #[tokio::test]
    async fn it_stays_within_its_bound_and_keeps_what_is_asked_for() -> Result<(), Box<dyn Error>> {
        for max_bytes in [40_000, 2_000_000 - 1] {
            let store = Arc::new(QuickStore::with_max_bytes(max_bytes)?);
            for number in 0..500 {
                asked(&store, &["/popular".to_owned(), format!("/{number}")], 5_000).await?;
                assert!(store.held.weight() <= max_bytes, "{} of {max_bytes} bytes", store.held.weight());
            }

            assert!(store.held.capacity() <= max_bytes);
            assert!(store.held.iter().any(|(key, _)| key.as_str().ends_with("/popular")));
            assert_eq!(store.size().bytes, Some(store.held.iter().map(|(_, held)| held.bytes).sum()));
            assert!(store.held.len() < 400);
        }
        Ok(())
    }

    #[tokio::test]
    async fn what_is_too_large_is_declined() -> Result<(), Box<dyn Error>> {
        for (bytes, is_kept) in [(3_000, true), (4_000, false)] {
            let store = Arc::new(QuickStore::with_max_bytes(4_500)?);
            asked(&store, &["/large".to_owned()], bytes).await?;

            assert_eq!(store.held.len() == 1, is_kept, "{bytes}");
        }
        Ok(())
    }
}
