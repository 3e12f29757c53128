//! Stores that fail, hang or lie: the answer is the origin's, and it is not late.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use microcache::{
    CacheKey, CacheLayer, ManualClock, MemoryStore, Peek, Policy, Put, Store, StoreError, StoreErrorKind, Stored,
};
use tower::Layer;

use crate::common::*;

/// A memory store that can only be waited for, and fails on demand.
#[derive(Clone)]
struct Faulty {
    inner: MemoryStore,
    fails: Arc<AtomicBool>,
    hangs: Arc<AtomicBool>,
}

impl Faulty {
    fn new() -> Self {
        let off = || Arc::new(AtomicBool::new(false));
        Self { inner: MemoryStore::with_max_bytes(1 << 20), fails: off(), hangs: off() }
    }

    async fn fault(&self) -> Result<(), StoreError> {
        if self.hangs.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
        tokio::task::yield_now().await;
        if self.fails.load(Ordering::SeqCst) {
            return Err(StoreError::new(StoreErrorKind::Io, "connection reset"));
        }
        Ok(())
    }
}

impl Store for Faulty {
    async fn get(&self, key: &CacheKey) -> Result<Option<Stored>, StoreError> {
        self.fault().await?;
        self.inner.get(key).await
    }

    async fn put(&self, key: &CacheKey, stored: Stored) -> Result<Put, StoreError> {
        self.fault().await?;
        self.inner.put(key, stored).await
    }

    async fn remove(&self, key: &CacheKey) -> Result<(), StoreError> {
        self.inner.remove(key).await
    }
}

#[tokio::test]
async fn a_store_that_has_to_be_waited_for_works_like_any_other() {
    let (mut cache, origin, _) = cache_on(Faulty::new(), Policy::new());
    origin.queue([reply(200, &[("vary", "accept")], "page"), reply(200, &[("vary", "accept")], "other")]);
    ask(&mut cache, get_with("/", &[("accept", "a")])).await;
    ask(&mut cache, get_with("/", &[("accept", "b")])).await;

    let hit = ask(&mut cache, get_with("/", &[("accept", "a")])).await;

    assert_eq!(status(&hit), "hit; ttl=1");
    assert_eq!(text(hit).await.unwrap(), "page");
}

#[tokio::test]
async fn a_store_that_fails_costs_a_forward_and_no_more() {
    let store = Faulty::new();
    store.fails.store(true, Ordering::SeqCst);
    let layer = CacheLayer::builder(store).clock(ManualClock::new()).build().unwrap();
    let origin = Origin::default();
    let mut cache = layer.layer(origin.clone());
    origin.queue([ok("one"), ok("two")]);

    assert_eq!(text(ask(&mut cache, get("/")).await).await.unwrap(), "one");
    let second = ask(&mut cache, get("/")).await;

    assert_eq!(status(&second), "fwd=uri-miss; fwd-status=200");
    assert_eq!(text(second).await.unwrap(), "two");
    settle().await;
    assert_eq!(layer.handle().stats().store_errors, 4);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_hangs_costs_its_deadline_and_no_more() {
    let store = Faulty::new();
    store.hangs.store(true, Ordering::SeqCst);
    let layer = CacheLayer::builder(store).store_deadline(Duration::from_millis(20)).build().unwrap();
    let origin = Origin::default();
    let mut cache = layer.layer(origin.clone());
    origin.queue([ok("one")]);
    let begin = tokio::time::Instant::now();

    assert_eq!(text(ask(&mut cache, get("/")).await).await.unwrap(), "one");

    // One look; nobody waits for the put. The timer is a millisecond coarse.
    assert!(begin.elapsed() <= Duration::from_millis(21), "{:?}", begin.elapsed());
}

/// Looks as if it had not yet got what it has, for some looks.
struct Behind {
    inner: MemoryStore,
    looks: Arc<AtomicUsize>,
}

impl Store for Behind {
    fn peek(&self, key: &CacheKey) -> Peek {
        let is_behind =
            self.looks.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |looks| looks.checked_sub(1)).is_ok();
        if is_behind { Peek::Absent } else { self.inner.peek(key) }
    }

    async fn get(&self, key: &CacheKey) -> Result<Option<Stored>, StoreError> {
        self.inner.get(key).await
    }

    async fn put(&self, key: &CacheKey, stored: Stored) -> Result<Put, StoreError> {
        self.inner.put(key, stored).await
    }

    async fn remove(&self, key: &CacheKey) -> Result<(), StoreError> {
        self.inner.remove(key).await
    }
}

#[tokio::test]
async fn a_flight_that_landed_between_the_look_and_the_lead_is_not_flown_again() {
    let looks = Arc::new(AtomicUsize::new(0));
    let store = Behind { inner: MemoryStore::with_max_bytes(1 << 20), looks: Arc::clone(&looks) };
    let (mut cache, origin, _) = cache_on(store, Policy::new());
    origin.queue([ok("page")]);
    ask(&mut cache, get("/")).await;

    // The look of the call and that of the flow; the leader's own look finds it.
    looks.store(2, Ordering::SeqCst);
    let answer = ask(&mut cache, get("/")).await;

    assert_eq!(status(&answer), "hit; ttl=1");
    assert_eq!(origin.forwards(), 1);
}

#[tokio::test]
async fn a_forward_is_counted_once_as_stored_or_as_not_stored() {
    let faulty = Faulty::new();
    faulty.fails.store(true, Ordering::SeqCst);
    let small = CacheLayer::new(MemoryStore::with_max_bytes(100));
    for layer in [small, CacheLayer::new(faulty)] {
        let origin = Origin::default();
        let mut cache = layer.layer(origin.clone());
        let (late, feed) = TestBody::declared(4);
        origin.queue([ok("page"), reply(200, &[], late)]);
        ask(&mut cache, get("/at-once")).await;
        let answer = ask(&mut cache, get("/late")).await;
        feed.data("page");
        feed.end();
        assert_eq!(text(answer).await.unwrap(), "page");
        settle().await;

        let stats = layer.handle().stats();
        assert_eq!((stats.forwards, stats.stored, stats.not_stored), (2, 0, 2), "{stats:?}");
    }
}

#[tokio::test]
async fn a_store_too_small_for_the_response_passes_it_on() {
    let (mut cache, origin, _) = cache_on(MemoryStore::with_max_bytes(100), Policy::new());
    origin.queue([ok("one"), ok("two")]);

    let first = ask(&mut cache, get("/")).await;
    assert_eq!(status(&first), "fwd=uri-miss; fwd-status=200");
    assert_eq!(text(ask(&mut cache, get("/")).await).await.unwrap(), "two");
}

/// Always has something to do, and never ends.
struct Busy;

impl Store for Busy {
    async fn get(&self, _: &CacheKey) -> Result<Option<Stored>, StoreError> {
        loop {
            tokio::task::consume_budget().await;
        }
    }

    async fn put(&self, _: &CacheKey, _: Stored) -> Result<Put, StoreError> {
        Ok(Put::Declined)
    }

    async fn remove(&self, _: &CacheKey) -> Result<(), StoreError> {
        Ok(())
    }
}

#[tokio::test]
async fn a_store_that_never_stops_working_costs_its_deadline_and_no_more() {
    let layer = CacheLayer::builder(Busy).store_deadline(Duration::from_millis(20)).build().unwrap();
    let origin = Origin::default();
    let mut cache = layer.layer(origin.clone());
    origin.queue([ok("one")]);

    let answer = tokio::time::timeout(Duration::from_secs(20), ask(&mut cache, get("/"))).await;

    assert_eq!(text(answer.unwrap()).await.unwrap(), "one");
}
