//! A store of your own: what a [`Store`] owes, in about a hundred lines.
//!
//! `ClockStore` keeps what fits into a number of bytes. When it is full it lets go of what was not asked for
//! lately: a queue of keys, each with a second chance if it was asked for since it last came to the front.
//!
//! ```text
//! cargo run --example custom_store
//! cargo test --example custom_store --features test-util    # checks it against the contract of stores
//! ```

use std::{
    collections::{HashMap, VecDeque},
    error::Error,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use axum::{Router, body::Body, routing::get};
use http::Request;
use microcache::{CacheKey, CacheLayer, Peek, Put, Store, StoreError, Stored};
use tower::ServiceExt;

/// Keeps stored responses in at most the given number of bytes.
struct ClockStore {
    max_bytes: usize,
    shelf: Mutex<Shelf>,
}

#[derive(Default)]
struct Shelf {
    held: HashMap<CacheKey, Held>,
    /// Each key of `held` once.
    queue: VecDeque<CacheKey>,
    bytes: usize,
}

struct Held {
    stored: Stored,
    bytes: usize,
    was_asked_for: bool,
}

impl ClockStore {
    fn with_max_bytes(max_bytes: usize) -> Self {
        Self { max_bytes, shelf: Mutex::default() }
    }

    /// Held for an operation on the map, never over an `.await`.
    fn shelf(&self) -> MutexGuard<'_, Shelf> {
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store for ClockStore {
    /// All is in memory, so the answer is here at once and `get` is never asked.
    fn peek(&self, key: &CacheKey) -> Peek {
        match self.shelf().held.get_mut(key) {
            Some(held) => {
                held.was_asked_for = true;
                Peek::Found(held.stored.clone())
            }
            None => Peek::Absent,
        }
    }

    async fn get(&self, key: &CacheKey) -> Result<Option<Stored>, StoreError> {
        match self.peek(key) {
            Peek::Found(stored) => Ok(Some(stored)),
            _ => Ok(None),
        }
    }

    async fn put(&self, key: &CacheKey, stored: Stored) -> Result<Put, StoreError> {
        let bytes = size_bytes(key, &stored);
        if bytes > self.max_bytes {
            return Ok(Put::Declined);
        }
        let mut shelf = self.shelf();
        // Compared and replaced under one lock, so that no newer one can slip in between.
        if shelf.held.get(key).is_some_and(|there| there.stored.began() > stored.began()) {
            return Ok(Put::Fenced);
        }
        shelf.insert(key, Held { stored, bytes, was_asked_for: false });
        shelf.shrink_to(self.max_bytes);
        Ok(Put::Stored)
    }

    async fn remove(&self, key: &CacheKey) -> Result<(), StoreError> {
        self.shelf().remove(key);
        Ok(())
    }
}

impl Shelf {
    fn insert(&mut self, key: &CacheKey, held: Held) {
        // What is replaced goes to the end of the queue, so that `shrink_to` meets it last.
        self.remove(key);
        self.bytes += held.bytes;
        self.queue.push_back(key.clone());
        self.held.insert(key.clone(), held);
    }

    fn remove(&mut self, key: &CacheKey) {
        if let Some(held) = self.held.remove(key) {
            self.bytes -= held.bytes;
            // Looks through the whole queue: fine for some thousand keys, not for millions.
            self.queue.retain(|queued| queued != key);
        }
    }

    fn shrink_to(&mut self, max_bytes: usize) {
        while self.bytes > max_bytes {
            let Some(key) = self.queue.pop_front() else { return };
            match self.held.get_mut(&key) {
                Some(held) if held.was_asked_for => {
                    held.was_asked_for = false;
                    self.queue.push_back(key);
                }
                _ => {
                    let gone = self.held.remove(&key);
                    self.bytes -= gone.map_or(0, |held| held.bytes);
                }
            }
        }
    }
}

/// What one place takes: the key is in the map and in the queue.
fn size_bytes(key: &CacheKey, stored: &Stored) -> usize {
    const PLACE_BYTES: usize = 256;
    2 * key.as_str().len() + stored.size_bytes() + PLACE_BYTES
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    // An `Arc` of a store is a store too: this keeps a hand on it.
    let store = Arc::new(ClockStore::with_max_bytes(8 << 20));
    let app = Router::new()
        .route("/{page}", get(async |path: axum::extract::Path<String>| format!("this is {}", path.0)))
        .layer(CacheLayer::new(Arc::clone(&store)));

    for path in ["/a", "/a", "/b"] {
        let response = app.clone().oneshot(Request::get(path).body(Body::empty())?).await?;
        let cache_status = response.headers().get("cache-status").map_or(Ok("none"), |value| value.to_str())?;
        println!("GET {path}  cache-status: {cache_status}");
    }
    let shelf = store.shelf();
    println!("the store holds {} responses in {} bytes", shelf.held.len(), shelf.bytes);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(feature = "test-util")]
    #[tokio::test]
    async fn it_keeps_the_contract() {
        microcache::contract::check(ClockStore::with_max_bytes(8 << 20)).await;
    }

    #[tokio::test]
    async fn it_stays_within_its_bound_and_keeps_what_is_asked_for() -> Result<(), Box<dyn Error>> {
        let store = Arc::new(ClockStore::with_max_bytes(40_000));
        let app =
            Router::new().route("/{page}", get(async || "x".repeat(5_000))).layer(CacheLayer::new(Arc::clone(&store)));

        for number in 0..20 {
            for path in ["/popular".to_owned(), format!("/{number}")] {
                app.clone().oneshot(Request::get(path).body(Body::empty())?).await?;
            }
            let shelf = store.shelf();
            assert!(shelf.bytes <= 40_000, "{} bytes", shelf.bytes);
            assert_eq!(shelf.held.len(), shelf.queue.len());
            assert_eq!(shelf.bytes, shelf.held.values().map(|held| held.bytes).sum::<usize>());
        }

        let shelf = store.shelf();
        assert!(shelf.held.keys().any(|key| key.as_str().ends_with("/popular")));
        assert!(shelf.held.len() < 10);
        Ok(())
    }

    #[tokio::test]
    async fn what_is_too_large_is_declined() -> Result<(), Box<dyn Error>> {
        let store = Arc::new(ClockStore::with_max_bytes(4_000));
        let app =
            Router::new().route("/large", get(async || "x".repeat(5_000))).layer(CacheLayer::new(Arc::clone(&store)));

        let response = app.oneshot(Request::get("/large").body(Body::empty())?).await?;

        assert!(response.status().is_success());
        assert_eq!(store.shelf().bytes, 0);
        Ok(())
    }
}
